/*
 * deadline_heap.c - a leftist heap (Crane 1972; Knuth, TAOCP 5.2.3) with links to parents.
 *
 * Every node's deadline is at or after its parent's, and a left child's rank is at least the right one's,
 * so a right spine has at most log2(n + 1) nodes: merging two heaps, which is all that adding and removing
 * do, walks right spines only and is bounded by about 2 * 32 steps however the deadlines come (R7). A
 * pairing heap would be shorter to write and stall when a first node with a million children goes.
 */
#include "core/deadline_heap.h"

#include <assert.h>

#define SPINE_MAX 64 /* two right spines of 2^32 nodes at the very most */

static struct heap_node *
node_at(const struct slab *nodes, uint32_t node)
{
    return slab_item(nodes, node);
}

static uint32_t
rank_of(const struct slab *nodes, uint32_t node)
{
    return node == SLAB_NONE ? 0 : node_at(nodes, node)->rank;
}

/* Restores left >= right in rank and the node's own rank; false where nothing changed. */
static bool
node_settle(const struct slab *nodes, struct heap_node *n)
{
    if (rank_of(nodes, n->left) < rank_of(nodes, n->right)) {
        uint32_t left = n->left;
        n->left = n->right;
        n->right = left;
    }
    uint32_t rank = rank_of(nodes, n->right) + 1;
    bool changed = rank != n->rank;
    n->rank = rank;
    return changed;
}

/* Merges two heaps; the result's parent is SLAB_NONE. */
static uint32_t
merge(const struct slab *nodes, uint32_t a, uint32_t b)
{
    uint32_t root = SLAB_NONE;
    uint32_t last = SLAB_NONE;
    uint32_t steps = 0;
    while (a != SLAB_NONE || b != SLAB_NONE) {
        if (a == SLAB_NONE ||
            (b != SLAB_NONE && node_at(nodes, b)->deadline_ms < node_at(nodes, a)->deadline_ms)) {
            uint32_t other = a;
            a = b;
            b = other;
        }
        assert(steps < SPINE_MAX);
        steps++;
        struct heap_node *n = node_at(nodes, a);
        n->parent = last;
        if (last == SLAB_NONE)
            root = a;
        else
            node_at(nodes, last)->right = a;
        last = a;
        if (b == SLAB_NONE)
            break; /* the rest of a's spine stays as it is */
        a = n->right;
    }
    for (uint32_t i = last; i != SLAB_NONE; i = node_at(nodes, i)->parent)
        (void)node_settle(nodes, node_at(nodes, i));
    return root;
}

void
heap_add(const struct slab *nodes, uint32_t *root, uint32_t node, uint64_t deadline_ms)
{
    struct heap_node *n = node_at(nodes, node);
    n->deadline_ms = deadline_ms;
    n->left = n->right = n->parent = SLAB_NONE;
    n->rank = 1;
    *root = merge(nodes, *root, node);
}

void
heap_remove(const struct slab *nodes, uint32_t *root, uint32_t node)
{
    struct heap_node *n = node_at(nodes, node);
    uint32_t parent = n->parent;
    uint32_t rest = merge(nodes, n->left, n->right);
    if (rest != SLAB_NONE)
        node_at(nodes, rest)->parent = parent;
    if (parent == SLAB_NONE) {
        assert(*root == node);
        *root = rest;
        return;
    }
    struct heap_node *p = node_at(nodes, parent);
    if (p->left == node) {
        p->left = rest;
    } else {
        assert(p->right == node);
        p->right = rest;
    }
    while (parent != SLAB_NONE && node_settle(nodes, node_at(nodes, parent)))
        parent = node_at(nodes, parent)->parent;
}

uint64_t
heap_first_ms(const struct slab *nodes, uint32_t root)
{
    return root == SLAB_NONE ? UINT64_MAX : node_at(nodes, root)->deadline_ms;
}

void
heap_check(const struct slab *nodes, uint32_t root)
{
    /* In order, without a stack: down by children, up by parents. */
    uint32_t from = SLAB_NONE;
    uint32_t at = root;
    while (at != SLAB_NONE) {
        const struct heap_node *n = node_at(nodes, at);
        if (from == n->parent) {
            assert(n->parent == SLAB_NONE || node_at(nodes, n->parent)->deadline_ms <= n->deadline_ms);
            assert(rank_of(nodes, n->left) >= rank_of(nodes, n->right));
            assert(n->rank == rank_of(nodes, n->right) + 1);
        }
        uint32_t next = n->parent;
        if (from == n->parent && n->left != SLAB_NONE)
            next = n->left;
        else if ((from == n->parent || from == n->left) && n->right != SLAB_NONE && from != n->right)
            next = n->right;
        from = at;
        at = next;
    }
}
