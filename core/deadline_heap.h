/*
 * deadline_heap.h - the earliest deadline among the live holds of one pool.
 *
 * HELDOUT tells when the next held unit may come back, exactly. Seats find theirs by a look at their
 * block; counted units have no block, so the holds of a pool stand in a heap.
 */
#ifndef HOLDFAST_DEADLINE_HEAP_H
#define HOLDFAST_DEADLINE_HEAP_H

#include "core/slab.h"

struct heap_node {
    uint64_t deadline_ms;
    uint32_t left;
    uint32_t right;
    uint32_t parent;
    uint32_t rank; /* nodes on the right spine below and with this one */
};

/* root: SLAB_NONE when empty. nodes: a slab of struct heap_node. */
void heap_add(const struct slab *nodes, uint32_t *root, uint32_t node, uint64_t deadline_ms);
void heap_remove(const struct slab *nodes, uint32_t *root, uint32_t node);

/* UINT64_MAX when empty. */
uint64_t heap_first_ms(const struct slab *nodes, uint32_t root);

void heap_check(const struct slab *nodes, uint32_t root);

#endif
