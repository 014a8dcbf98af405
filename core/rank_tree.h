/*
 * rank_tree.h - items of a slab in the order of their keys, each with its exact rank: a counted B+ tree.
 *
 * R. Bayer, E. McCreight: Organization and Maintenance of Large Ordered Indices (1972), with all items in
 * the leaves as in D. Comer: The Ubiquitous B-Tree (1979); counts of what is below each child as in Cormen
 * et al., Introduction to Algorithms, 14.1. A million items are four nodes deep, so a rank costs a handful
 * of cache misses, where a binary tree costs one for each of its thirty levels.
 *
 * Items of one slab may be in different trees, whose nodes come from one slab, too. Equal keys keep the
 * order in which they came. Insert, remove and rank take O(log n) steps; appending behind the last key
 * fills nodes to the brim.
 */
#ifndef HOLDFAST_RANK_TREE_H
#define HOLDFAST_RANK_TREE_H

#include "core/slab.h"

#define RANK_LEAF_MAX  126
#define RANK_INNER_MAX 31

/* Lies in the item. */
struct rank_item {
    uint64_t key;
    uint32_t leaf; /* SLAB_NONE: in no tree; to be set before the first insert */
};

struct rank_node {
    uint32_t parent; /* SLAB_NONE: the root */
    uint16_t at;     /* which of the parent's children */
    uint8_t count;   /* items, or children */
    bool leaf;
    union {
        uint32_t items[RANK_LEAF_MAX];
        struct {
            /* child i has keys from keys[i] on, and none greater than keys[i + 1]; keys[0] is not looked at
             */
            uint64_t keys[RANK_INNER_MAX];
            uint32_t children[RANK_INNER_MAX];
            uint32_t sizes[RANK_INNER_MAX]; /* items below each */
        };
    };
};

struct rank_tree {
    uint32_t root; /* SLAB_NONE: empty */
    uint32_t last; /* the leaf with the greatest keys */
    uint32_t count;
};

/* Of all trees over one slab. */
struct rank_place {
    const struct slab *items;
    size_t offset; /* of the rank_item in an item */
    struct slab *nodes;
};

/* Nodes that so many items in so many trees may need at most: a quarter full each, but for the right edges.
 */
static inline uint32_t
rank_nodes_max(uint32_t items, uint32_t trees)
{
    return items / 24 + 8 * trees;
}

void rank_tree_open(struct rank_tree *tree);
void rank_tree_insert(struct rank_tree *tree, const struct rank_place *place, uint32_t slot, uint64_t key);
void rank_tree_remove(struct rank_tree *tree, const struct rank_place *place, uint32_t slot);
/* 1: the first one. */
uint32_t rank_tree_rank(const struct rank_place *place, uint32_t slot);
/* The least key's slot, or SLAB_NONE. */
uint32_t rank_tree_first(const struct rank_tree *tree, const struct rank_place *place);
/* Asserts keys, parents, counts and how full nodes are. */
void rank_tree_check(const struct rank_tree *tree, const struct rank_place *place);

#endif
