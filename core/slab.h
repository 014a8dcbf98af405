/*
 * slab.h - a bounded pool of equal items, and the carving of a shard's memory.
 */
#ifndef HOLDFAST_SLAB_H
#define HOLDFAST_SLAB_H

#include "holdfast/types.h"

/* "No item" wherever an item's index is kept. */
#define SLAB_NONE UINT32_MAX

/*
 * Items are named by index. A freed item's first four bytes link the free list; the item freed last is
 * taken first, so a shard that holds little touches little memory. Memory beyond the highest item ever
 * taken is never touched.
 */
struct slab {
    char *items;
    uint32_t item_size;
    uint32_t count_max;
    uint32_t fresh;      /* items from here on were never taken */
    uint32_t free_first; /* SLAB_NONE: none */
    uint32_t taken;
};

/* A cursor over the memory of a shard: with base NULL it only counts, so that the same code tells the size
 * and lays it out. */
struct carve {
    char *base;
    size_t offset;
};

/* The next `size` bytes, aligned to a cache line; NULL while counting. */
void *carve_bytes(struct carve *carve, size_t size);

void slab_open(struct slab *slab, struct carve *carve, uint32_t item_size, uint32_t count_max);

/* Takes an item, its contents undefined; SLAB_NONE at the bound. */
uint32_t slab_take(struct slab *slab);
void slab_give(struct slab *slab, uint32_t index);

static inline void *
slab_item(const struct slab *slab, uint32_t index)
{
    return slab->items + (size_t)index * slab->item_size;
}

static inline uint32_t
slab_left(const struct slab *slab)
{
    return slab->count_max - slab->taken;
}

void slab_check(const struct slab *slab);

#endif
