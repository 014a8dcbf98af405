/*
 * rank_tree.h - items of a slab in the order of their keys, each with its exact rank: an order-statistic
 * treap.
 *
 * C. Aragon, R. Seidel: Randomized Search Trees (1989); sizes of subtrees as in Cormen et al., Introduction
 * to Algorithms, 14.1. The priority of a node is a hash of its key, so that the tree's shape follows from
 * the keys alone (R5). Insert, remove and rank take O(log n) steps expected; appending behind the last key
 * too.
 *
 * Items of one slab may be in different trees. Equal keys keep the order in which they came.
 */
#ifndef HOLDFAST_RANK_TREE_H
#define HOLDFAST_RANK_TREE_H

#include "core/slab.h"

/* Lies in the item. */
struct rank_node {
    uint64_t key;
    uint32_t left;
    uint32_t right;
    uint32_t parent;
    uint32_t size; /* of its subtree; 0: in no tree */
};

struct rank_tree {
    uint32_t root; /* SLAB_NONE: empty */
    uint32_t last; /* the greatest key's */
};

/* Of all trees over one slab: where the node lies in its items. */
struct rank_place {
    const struct slab *slab;
    size_t offset;
};

void rank_tree_open(struct rank_tree *tree);
void rank_tree_insert(struct rank_tree *tree, struct rank_place place, uint32_t slot, uint64_t key);
void rank_tree_remove(struct rank_tree *tree, struct rank_place place, uint32_t slot);
/* 1: the first one. */
uint32_t rank_tree_rank(const struct rank_tree *tree, struct rank_place place, uint32_t slot);
uint32_t rank_tree_count(const struct rank_tree *tree, struct rank_place place);
/* The least key's slot, or SLAB_NONE. */
uint32_t rank_tree_first(const struct rank_tree *tree, struct rank_place place);
/* Asserts keys, priorities, parents and sizes. */
void rank_tree_check(const struct rank_tree *tree, struct rank_place place);

#endif
