/*
 * slab.c - bounded pools of equal items over memory reserved at start.
 */
#include "core/slab.h"

#include <assert.h>

void *
carve_bytes(struct carve *carve, size_t size)
{
    void *result = carve->base == NULL ? NULL : carve->base + carve->offset;
    assert(size <= SIZE_MAX / 2 - carve->offset);
    carve->offset += (size + 63) & ~(size_t)63;
    return result;
}

void
slab_open(struct slab *slab, struct carve *carve, uint32_t item_size, uint32_t count_max)
{
    assert(item_size >= sizeof(uint32_t));
    assert(count_max < SLAB_NONE);
    slab->items = carve_bytes(carve, (size_t)item_size * count_max);
    slab->item_size = item_size;
    slab->count_max = count_max;
    slab->fresh = 0;
    slab->free_first = SLAB_NONE;
    slab->taken = 0;
}

uint32_t
slab_take(struct slab *slab)
{
    uint32_t index = slab->free_first;
    if (index != SLAB_NONE) {
        memcpy(&slab->free_first, slab_item(slab, index), sizeof slab->free_first);
        /* The next one to be taken may lie anywhere: it is asked for now, with its link. */
        if (slab->free_first != SLAB_NONE) {
            const char *next = slab_item(slab, slab->free_first);
            __builtin_prefetch(next, 1);
            __builtin_prefetch(next + slab->item_size - 1, 1);
        }
    } else {
        if (slab->fresh == slab->count_max)
            return SLAB_NONE;
        index = slab->fresh++;
    }
    slab->taken++;
    return index;
}

void
slab_give(struct slab *slab, uint32_t index)
{
    assert(index < slab->fresh);
    assert(slab->taken > 0);
    memcpy(slab_item(slab, index), &slab->free_first, sizeof slab->free_first);
    slab->free_first = index;
    slab->taken--;
}

void
slab_check(const struct slab *slab)
{
    uint32_t free = 0;
    for (uint32_t i = slab->free_first; i != SLAB_NONE; free++) {
        assert(i < slab->fresh);
        assert(free <= slab->fresh);
        memcpy(&i, slab_item(slab, i), sizeof i);
    }
    assert(slab->taken + free == slab->fresh);
    assert(slab->fresh <= slab->count_max);
}
