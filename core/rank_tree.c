/*
 * rank_tree.c - insert by descent and rotations up, remove by rotations down, rank by a walk to the root.
 */
#include "core/rank_tree.h"

#include <assert.h>

static inline struct rank_node *
node_at(struct rank_place place, uint32_t slot)
{
    return (struct rank_node *)((char *)slab_item(place.slab, slot) + place.offset);
}

static inline uint32_t
size_of(struct rank_place place, uint32_t slot)
{
    return slot == SLAB_NONE ? 0 : node_at(place, slot)->size;
}

/* splitmix64's finalizer (Steele, Lea, Flood 2014): tickets one after the other get priorities that are
 * not. */
static uint64_t
priority(uint64_t key)
{
    key += 0x9e3779b97f4a7c15u;
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
    key = (key ^ key >> 27) * 0x94d049bb133111ebu;
    return key ^ key >> 31;
}

void
rank_tree_open(struct rank_tree *tree)
{
    tree->root = SLAB_NONE;
    tree->last = SLAB_NONE;
}

/* Puts `slot` (may be SLAB_NONE) where `old` hangs. */
static void
replace_child(struct rank_tree *tree, struct rank_place place, uint32_t parent, uint32_t old, uint32_t slot)
{
    if (parent == SLAB_NONE)
        tree->root = slot;
    else if (node_at(place, parent)->left == old)
        node_at(place, parent)->left = slot;
    else
        node_at(place, parent)->right = slot;
    if (slot != SLAB_NONE)
        node_at(place, slot)->parent = parent;
}

/* The node goes up, its parent becomes its child. */
static void
rotate_up(struct rank_tree *tree, struct rank_place place, uint32_t slot)
{
    struct rank_node *node = node_at(place, slot);
    uint32_t parent_slot = node->parent;
    struct rank_node *parent = node_at(place, parent_slot);
    uint32_t inner;
    replace_child(tree, place, parent->parent, parent_slot, slot);
    if (parent->left == slot) {
        inner = node->right;
        parent->left = inner;
        node->right = parent_slot;
    } else {
        inner = node->left;
        parent->right = inner;
        node->left = parent_slot;
    }
    parent->parent = slot;
    if (inner != SLAB_NONE)
        node_at(place, inner)->parent = parent_slot;
    node->size = parent->size;
    parent->size = 1 + size_of(place, parent->left) + size_of(place, parent->right);
}

void
rank_tree_insert(struct rank_tree *tree, struct rank_place place, uint32_t slot, uint64_t key)
{
    struct rank_node *node = node_at(place, slot);
    *node = (struct rank_node){
        .key = key, .left = SLAB_NONE, .right = SLAB_NONE, .parent = SLAB_NONE, .size = 1};
    if (tree->root == SLAB_NONE) {
        tree->root = tree->last = slot;
        return;
    }
    uint32_t at = tree->root;
    bool right = true;
    if (key >= node_at(place, tree->last)->key) {
        at = tree->last;
        tree->last = slot;
    } else {
        for (;;) {
            const struct rank_node *here = node_at(place, at);
            right = key >= here->key;
            uint32_t next = right ? here->right : here->left;
            if (next == SLAB_NONE)
                break;
            at = next;
        }
    }
    node->parent = at;
    if (right)
        node_at(place, at)->right = slot;
    else
        node_at(place, at)->left = slot;
    for (uint32_t up = at; up != SLAB_NONE; up = node_at(place, up)->parent)
        node_at(place, up)->size++;
    uint64_t own = priority(key);
    while (node->parent != SLAB_NONE && priority(node_at(place, node->parent)->key) < own)
        rotate_up(tree, place, slot);
}

/* The slot before this one in order; SLAB_NONE: it is the first. */
static uint32_t
before(struct rank_place place, uint32_t slot)
{
    uint32_t at = node_at(place, slot)->left;
    if (at != SLAB_NONE) {
        while (node_at(place, at)->right != SLAB_NONE)
            at = node_at(place, at)->right;
        return at;
    }
    for (at = node_at(place, slot)->parent; at != SLAB_NONE && node_at(place, at)->left == slot;
         at = node_at(place, at)->parent)
        slot = at;
    return at;
}

void
rank_tree_remove(struct rank_tree *tree, struct rank_place place, uint32_t slot)
{
    struct rank_node *node = node_at(place, slot);
    assert(node->size > 0);
    if (tree->last == slot)
        tree->last = before(place, slot);
    while (node->left != SLAB_NONE && node->right != SLAB_NONE) {
        bool left = priority(node_at(place, node->left)->key) > priority(node_at(place, node->right)->key);
        rotate_up(tree, place, left ? node->left : node->right);
    }
    uint32_t child = node->left != SLAB_NONE ? node->left : node->right;
    uint32_t parent = node->parent;
    replace_child(tree, place, parent, slot, child);
    for (uint32_t up = parent; up != SLAB_NONE; up = node_at(place, up)->parent)
        node_at(place, up)->size--;
    node->size = 0;
}

uint32_t
rank_tree_rank(const struct rank_tree *tree, struct rank_place place, uint32_t slot)
{
    const struct rank_node *node = node_at(place, slot);
    assert(node->size > 0);
    uint32_t rank = size_of(place, node->left) + 1;
    for (uint32_t up = node->parent; up != SLAB_NONE; up = node_at(place, up)->parent) {
        const struct rank_node *parent = node_at(place, up);
        if (parent->right == slot)
            rank += size_of(place, parent->left) + 1;
        slot = up;
    }
    assert(slot == tree->root);
    return rank;
}

uint32_t
rank_tree_count(const struct rank_tree *tree, struct rank_place place)
{
    return size_of(place, tree->root);
}

uint32_t
rank_tree_first(const struct rank_tree *tree, struct rank_place place)
{
    uint32_t at = tree->root;
    while (at != SLAB_NONE && node_at(place, at)->left != SLAB_NONE)
        at = node_at(place, at)->left;
    return at;
}

void
rank_tree_check(const struct rank_tree *tree, struct rank_place place)
{
    uint32_t count = 0;
    uint32_t previous = SLAB_NONE;
    uint32_t at = rank_tree_first(tree, place);
    while (at != SLAB_NONE) {
        const struct rank_node *node = node_at(place, at);
        assert(node->size == 1 + size_of(place, node->left) + size_of(place, node->right));
        if (node->parent == SLAB_NONE)
            assert(tree->root == at);
        else
            assert(priority(node_at(place, node->parent)->key) >= priority(node->key));
        if (previous != SLAB_NONE)
            assert(node_at(place, previous)->key <= node->key);
        assert(++count == rank_tree_rank(tree, place, at));
        previous = at;
        if (node->right != SLAB_NONE) {
            for (at = node->right; node_at(place, at)->left != SLAB_NONE;)
                at = node_at(place, at)->left;
            continue;
        }
        uint32_t child = at;
        for (at = node->parent; at != SLAB_NONE && node_at(place, at)->right == child;) {
            child = at;
            at = node_at(place, at)->parent;
        }
    }
    assert(tree->last == previous);
    assert(count == rank_tree_count(tree, place));
}
