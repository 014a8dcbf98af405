/*
 * growth.c - which memory a shard is about to touch for the first time.
 *
 * Memory is reserved by the limits, and the kernel gives and clears it at the first touch: a page of 2 MiB
 * takes 0.1 ms and more, and where the host of a virtual machine must find it first, 17 ms have been seen.
 * In a spike everybody waits for that. So the host of a shard asks what comes next, and has it touched by
 * another thread in time: as much again as is in use, within bounds.
 */
#include "core/shard_internal.h"

#include <assert.h>

#define AHEAD_ITEMS_MIN 8192u
#define AHEAD_ITEMS_MAX 32768u
#define BATCH_AHEAD     (1024u * 1024u) /* larger ones are rare */

struct growth {
    struct shard_growth *extents;
    uint32_t count;
};

static void
put(struct growth *growth, const void *memory, size_t used, size_t ahead, size_t size)
{
    const char *from = (const char *)memory + used;
    growth->extents[growth->count++] =
        (struct shard_growth){from, from + (ahead < size - used ? ahead : size - used)};
}

static uint32_t
items_ahead(uint32_t used)
{
    return used < AHEAD_ITEMS_MIN ? AHEAD_ITEMS_MIN : used > AHEAD_ITEMS_MAX ? AHEAD_ITEMS_MAX : used;
}

/* `wanted`: it will be used, though nothing of it is yet. */
static void
put_slab(struct growth *growth, const struct slab *slab, bool wanted)
{
    size_t size = slab->item_size;
    uint32_t ahead = slab->fresh > 0 || wanted ? items_ahead(slab->fresh) : 0;
    put(growth, slab->items, slab->fresh * size, ahead * size, slab->count_max * size);
}

/* A bucket for six items (index.c); what does not fit there goes to the overflow, which grows slowly. */
static void
put_index(struct growth *growth, const struct index *index, bool wanted)
{
    size_t size = sizeof(struct index_bucket);
    size_t used = index->count > 0 ? index->bucket_count * size : 0;
    size_t ahead = index->count > 0 || wanted ? items_ahead(index->count) / 4 * size : 0;
    put(growth, index->buckets, used, ahead, index->bucket_count_max * size);
    put_slab(growth, &index->overflow, false);
}

uint32_t
shard_growth(const struct shard *shard, struct shard_growth ret_extents[SHARD_GROWTH_MAX])
{
    struct growth growth = {.extents = ret_extents};
    const struct event_store *events = &shard->events;
    bool wanted = events->shown > 0;
    /* what a hold by a new user takes */
    put_slab(&growth, &shard->holds, wanted);
    put_slab(&growth, &shard->users, wanted);
    put_index(&growth, &shard->holds_index, wanted);
    put_index(&growth, &shard->users_index, wanted);
    for (uint32_t i = 0; i < 2; i++)
        put(&growth, shard->batches[i], 0, wanted ? BATCH_AHEAD : 0, shard->settings.batch_bytes_max);
    /* a seat is there from the beginning, and anybody may want any of them */
    put(&growth, events->seats, 0, events->seats_used * sizeof(struct seat),
        shard->settings.seats_max * sizeof(struct seat));
    put_slab(&growth, &shard->units, false);
    put_slab(&growth, &shard->pool_nodes, false);
    put_slab(&growth, &shard->names, false);
    put_index(&growth, &shard->keys.index, false);
    put_slab(&growth, &shard->queues.tokens, false);
    put_slab(&growth, &shard->queues.token_names, false);
    put_slab(&growth, &shard->queues.rank_nodes, false);
    put_index(&growth, &shard->queues.by_id, false);
    put_index(&growth, &shard->queues.by_user, false);
    put_slab(&growth, &shard->admissions.slab, false);
    put_index(&growth, &shard->admissions.by_user, false);
    assert(growth.count <= SHARD_GROWTH_MAX);
    return growth.count;
}
