/*
 * rank_tree.c - one node at a time, upwards: what is added to a full node splits it, what leaves a node
 * that has little takes from its neighbour, or becomes one with it.
 *
 * So each node has at least a quarter of its entries, but for the root and the right edge, where appending
 * has just begun a new one: that bounds the nodes (rank_nodes_max).
 */
#include "core/rank_tree.h"

#include <assert.h>
#include <string.h>
#include <wchar.h>

static_assert(sizeof(struct rank_node) == 512, "eight cache lines");

static inline struct rank_item *
item_at(const struct rank_place *place, uint32_t slot)
{
    return (struct rank_item *)((char *)slab_item(place->items, slot) + place->offset);
}

static inline struct rank_node *
node_at(const struct rank_place *place, uint32_t node)
{
    return slab_item(place->nodes, node);
}

static uint32_t
entries_max(const struct rank_node *node)
{
    return node->leaf ? RANK_LEAF_MAX : RANK_INNER_MAX;
}

void
rank_tree_open(struct rank_tree *tree)
{
    *tree = (struct rank_tree){.root = SLAB_NONE, .last = SLAB_NONE};
}

static uint32_t
node_make(const struct rank_place *place, bool leaf)
{
    uint32_t made = slab_take(place->nodes);
    assert(made != SLAB_NONE); /* rank_nodes_max() */
    struct rank_node *node = node_at(place, made);
    node->parent = SLAB_NONE;
    node->at = 0;
    node->count = 0;
    node->leaf = leaf;
    return made;
}

/* Items below the node. */
static uint32_t
size_of(const struct rank_node *node)
{
    uint32_t size = 0;
    if (node->leaf)
        return node->count;
    for (uint32_t i = 0; i < node->count; i++)
        size += node->sizes[i];
    return size;
}

/* The sizes above a node, up to the root, change by `change`. */
static void
count_up(const struct rank_place *place, const struct rank_node *node, int32_t change)
{
    while (node->parent != SLAB_NONE) {
        struct rank_node *parent = node_at(place, node->parent);
        parent->sizes[node->at] += (uint32_t)change;
        node = parent;
    }
}

/* ---- moving ---- */

/* Entries [from, from + count) of a node are those of another one from `at` on, and what hangs there is
 * told. */
static void
entries_copy(const struct rank_place *place, uint32_t to_index, uint32_t at, const struct rank_node *node,
             uint32_t from, uint32_t count)
{
    struct rank_node *to = node_at(place, to_index);
    for (uint32_t i = 0; i < count && node->leaf; i++) {
        to->items[at + i] = node->items[from + i];
        item_at(place, node->items[from + i])->leaf = to_index;
    }
    for (uint32_t i = 0; i < count && !node->leaf; i++) {
        struct rank_node *child = node_at(place, node->children[from + i]);
        to->keys[at + i] = node->keys[from + i];
        to->children[at + i] = node->children[from + i];
        to->sizes[at + i] = node->sizes[from + i];
        child->parent = to_index;
        child->at = (uint16_t)(at + i);
    }
}

/* Entries [from, count) of a node go `by` places on, or back, where they replace others. */
static void
shift(const struct rank_place *place, struct rank_node *node, uint32_t from, int by)
{
    uint32_t to = (uint32_t)((int)from + by);
    size_t count = node->count - from;
    if (node->leaf) {
        memmove(&node->items[to], &node->items[from], count * sizeof node->items[0]);
    } else {
        memmove(&node->keys[to], &node->keys[from], count * sizeof node->keys[0]);
        memmove(&node->children[to], &node->children[from], count * sizeof node->children[0]);
        memmove(&node->sizes[to], &node->sizes[from], count * sizeof node->sizes[0]);
        for (uint32_t i = 0; i < count; i++)
            node_at(place, node->children[to + i])->at = (uint16_t)(to + i);
    }
    node->count = (uint8_t)((int)node->count + by);
}

/* The key of an entry; of an inner node's first one it must have been set. */
static uint64_t
key_of(const struct rank_place *place, const struct rank_node *node, uint32_t at)
{
    return node->leaf ? item_at(place, node->items[at])->key : node->keys[at];
}

/* ---- growing ---- */

static void
child_put(const struct rank_place *place, uint32_t parent_index, uint32_t at, uint32_t child_index,
          uint64_t key)
{
    struct rank_node *parent = node_at(place, parent_index);
    struct rank_node *child = node_at(place, child_index);
    shift(place, parent, at, 1);
    parent->keys[at] = key;
    parent->children[at] = child_index;
    parent->sizes[at] = size_of(child);
    child->parent = parent_index;
    child->at = (uint16_t)at;
}

/*
 * Half of a full node goes into a new one right of it; returns how many stay. Appended, on the right edge:
 * all that can stay do, so that nodes are full where nothing is inserted between others; `key` is that of
 * the item to come.
 */
static uint32_t
split(struct rank_tree *tree, const struct rank_place *place, uint32_t index, bool append, uint64_t key)
{
    struct rank_node *node = node_at(place, index);
    uint32_t stay = append ? (node->leaf ? RANK_LEAF_MAX : RANK_INNER_MAX - 1) : entries_max(node) / 2;
    if (node->parent == SLAB_NONE) {
        tree->root = node_make(place, false);
        child_put(place, tree->root, 0, index, 0);
    }
    if (node_at(place, node->parent)->count == RANK_INNER_MAX)
        (void)split(tree, place, node->parent, append, key); /* how many stay there is all one */
    uint32_t made = node_make(place, node->leaf);
    uint32_t go = node->count - stay;
    entries_copy(place, made, 0, node, stay, go);
    node_at(place, made)->count = (uint8_t)go;
    node->count = (uint8_t)stay;
    node_at(place, node->parent)->sizes[node->at] = size_of(node);
    child_put(place, node->parent, node->at + 1u, made,
              go > 0 ? key_of(place, node_at(place, made), 0) : key);
    if (tree->last == index)
        tree->last = made;
    return stay;
}

/* The leaf where the key goes, behind its equals. */
static uint32_t
leaf_for(const struct rank_tree *tree, const struct rank_place *place, uint64_t key)
{
    uint32_t index = tree->root;
    for (;;) {
        const struct rank_node *node = node_at(place, index);
        if (node->leaf)
            return index;
        uint32_t at = 1;
        while (at < node->count && node->keys[at] <= key)
            at++;
        index = node->children[at - 1];
    }
}

/* How many of the leaf's keys are not greater. */
static uint32_t
place_for(const struct rank_place *place, const struct rank_node *leaf, uint64_t key)
{
    uint32_t low = 0;
    for (uint32_t high = leaf->count; low < high;) {
        uint32_t middle = (low + high) / 2;
        if (item_at(place, leaf->items[middle])->key <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void
rank_tree_insert(struct rank_tree *tree, const struct rank_place *place, uint32_t slot, uint64_t key)
{
    struct rank_item *item = item_at(place, slot);
    assert(item->leaf == SLAB_NONE);
    item->key = key;
    if (tree->root == SLAB_NONE)
        tree->root = tree->last = node_make(place, true);
    uint32_t index = tree->last;
    struct rank_node *leaf = node_at(place, index);
    uint32_t at = leaf->count;
    if (at > 0 && key < item_at(place, leaf->items[at - 1])->key) {
        index = leaf_for(tree, place, key);
        leaf = node_at(place, index);
        at = place_for(place, leaf, key);
    }
    if (leaf->count == RANK_LEAF_MAX) {
        bool append = at == RANK_LEAF_MAX && index == tree->last;
        uint32_t stay = split(tree, place, index, append, key);
        if (at > stay || append) { /* else its key is less than the right one's first */
            const struct rank_node *parent = node_at(place, leaf->parent);
            index = parent->children[leaf->at + 1];
            leaf = node_at(place, index);
            at -= stay;
        }
    }
    shift(place, leaf, at, 1);
    leaf->items[at] = slot;
    item->leaf = index;
    count_up(place, leaf, 1);
    tree->count++;
}

/* ---- shrinking ---- */

/* Two neighbours have half of their entries each. */
static void
balance(const struct rank_place *place, struct rank_node *parent, uint32_t left)
{
    uint32_t a_index = parent->children[left];
    uint32_t b_index = parent->children[left + 1];
    struct rank_node *a = node_at(place, a_index);
    struct rank_node *b = node_at(place, b_index);
    uint32_t half = (a->count + b->count) / 2u;
    if (!b->leaf)
        b->keys[0] = parent->keys[left + 1];
    if (a->count < half) {
        uint32_t more = half - a->count;
        entries_copy(place, a_index, a->count, b, 0, more);
        a->count = (uint8_t)half;
        shift(place, b, more, -(int)more);
    } else {
        uint32_t more = a->count - half;
        shift(place, b, 0, (int)more);
        entries_copy(place, b_index, 0, a, half, more);
        a->count = (uint8_t)half;
    }
    parent->keys[left + 1] = key_of(place, b, 0);
    parent->sizes[left] = size_of(a);
    parent->sizes[left + 1] = size_of(b);
}

/* Two neighbours become one. */
static void
merge(struct rank_tree *tree, const struct rank_place *place, struct rank_node *parent, uint32_t left)
{
    uint32_t kept = parent->children[left];
    uint32_t gone = parent->children[left + 1];
    struct rank_node *to = node_at(place, kept);
    struct rank_node *from = node_at(place, gone);
    if (!from->leaf)
        from->keys[0] = parent->keys[left + 1];
    entries_copy(place, kept, to->count, from, 0, from->count);
    to->count = (uint8_t)(to->count + from->count);
    parent->sizes[left] += parent->sizes[left + 1];
    shift(place, parent, left + 2, -1);
    slab_give(place->nodes, gone);
    if (tree->last == gone)
        tree->last = kept;
}

/* A node has lost an entry. */
static void
settle(struct rank_tree *tree, const struct rank_place *place, uint32_t index)
{
    for (;;) {
        const struct rank_node *node = node_at(place, index);
        uint32_t up = node->parent;
        if (up == SLAB_NONE || node->count >= entries_max(node) / 4)
            return;
        struct rank_node *parent = node_at(place, up);
        if (parent->count == 1) { /* on the right edge */
            if (node->count > 0)
                return;
            slab_give(place->nodes, index);
            parent->count = 0;
        } else {
            uint32_t left = node->at > 0 ? node->at - 1u : 0;
            uint32_t both = node_at(place, parent->children[left])->count +
                            node_at(place, parent->children[left + 1])->count;
            if (both > entries_max(node) * 3 / 4) {
                balance(place, parent, left);
                return;
            }
            merge(tree, place, parent, left);
        }
        index = up;
    }
}

/* A root of one child is none, nor is one of nothing. */
static void
lower(struct rank_tree *tree, const struct rank_place *place)
{
    while (tree->root != SLAB_NONE) {
        uint32_t index = tree->root;
        const struct rank_node *root = node_at(place, index);
        if (root->count > (root->leaf ? 0 : 1))
            return;
        tree->root = root->count == 0 ? SLAB_NONE : root->children[0];
        if (tree->root != SLAB_NONE)
            node_at(place, tree->root)->parent = SLAB_NONE;
        slab_give(place->nodes, index);
    }
}

static uint32_t
last_leaf(const struct rank_tree *tree, const struct rank_place *place)
{
    uint32_t index = tree->root;
    while (index != SLAB_NONE && !node_at(place, index)->leaf)
        index = node_at(place, index)->children[node_at(place, index)->count - 1];
    return index;
}

static_assert(sizeof(wchar_t) == sizeof(uint32_t), "wmemchr() looks for one");

/* Which of the leaf's items it is. */
static uint32_t
item_place(const struct rank_node *leaf, uint32_t slot)
{
    const wchar_t *items = (const wchar_t *)leaf->items;
    const wchar_t *at = wmemchr(items, (wchar_t)slot, leaf->count);
    assert(at != NULL);
    return (uint32_t)(at - items);
}

void
rank_tree_remove(struct rank_tree *tree, const struct rank_place *place, uint32_t slot)
{
    struct rank_item *item = item_at(place, slot);
    uint32_t index = item->leaf;
    assert(index != SLAB_NONE);
    struct rank_node *leaf = node_at(place, index);
    shift(place, leaf, item_place(leaf, slot) + 1, -1);
    item->leaf = SLAB_NONE;
    count_up(place, leaf, -1);
    tree->count--;
    bool last = tree->last == index;
    settle(tree, place, index);
    lower(tree, place);
    if (last)
        tree->last = last_leaf(tree, place);
}

/* ---- looking ---- */

uint32_t
rank_tree_rank(const struct rank_place *place, uint32_t slot)
{
    uint32_t index = item_at(place, slot)->leaf;
    assert(index != SLAB_NONE);
    const struct rank_node *node = node_at(place, index);
    uint32_t rank = item_place(node, slot) + 1;
    while (node->parent != SLAB_NONE) {
        const struct rank_node *parent = node_at(place, node->parent);
        for (uint32_t i = 0; i < node->at; i++)
            rank += parent->sizes[i];
        node = parent;
    }
    return rank;
}

uint32_t
rank_tree_first(const struct rank_tree *tree, const struct rank_place *place)
{
    uint32_t index = tree->root;
    if (index == SLAB_NONE)
        return SLAB_NONE;
    while (!node_at(place, index)->leaf)
        index = node_at(place, index)->children[0];
    return node_at(place, index)->items[0];
}

/* ---- checking ---- */

struct walk {
    uint32_t count;
    uint64_t key;  /* the last one */
    uint32_t leaf; /* likewise */
};

static uint32_t
check_leaf(const struct rank_place *place, uint32_t index, uint64_t least, struct walk *walk)
{
    const struct rank_node *leaf = node_at(place, index);
    for (uint32_t i = 0; i < leaf->count; i++) {
        const struct rank_item *item = item_at(place, leaf->items[i]);
        assert(item->leaf == index);
        assert(item->key >= walk->key && item->key >= least);
        walk->key = item->key;
        assert(++walk->count == rank_tree_rank(place, leaf->items[i]));
    }
    walk->leaf = index;
    return leaf->count;
}

/* edge: nothing is right of it. */
static uint32_t
check_node(const struct rank_place *place, uint32_t index, uint64_t least, bool edge, struct walk *walk)
{
    const struct rank_node *node = node_at(place, index);
    uint32_t size = 0;
    assert(node->count >= (edge ? 1 : entries_max(node) / 4));
    if (node->leaf)
        return check_leaf(place, index, least, walk);
    for (uint32_t i = 0; i < node->count; i++) {
        const struct rank_node *child = node_at(place, node->children[i]);
        assert(child->parent == index && child->at == i);
        assert(i == 0 || node->keys[i] >= walk->key); /* none before it is greater */
        uint32_t below = check_node(place, node->children[i], i == 0 ? least : node->keys[i],
                                    edge && i + 1u == node->count, walk);
        assert(node->sizes[i] == below);
        size += below;
    }
    return size;
}

void
rank_tree_check(const struct rank_tree *tree, const struct rank_place *place)
{
    struct walk walk = {.leaf = SLAB_NONE};
    if (tree->root != SLAB_NONE) {
        assert(node_at(place, tree->root)->parent == SLAB_NONE);
        uint32_t size = check_node(place, tree->root, 0, true, &walk);
        assert(size == tree->count);
    }
    assert(walk.count == tree->count);
    assert(tree->last == walk.leaf);
}
