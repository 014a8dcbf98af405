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
#define ACTIVE_MAX      65536u         /* let in at once: 6 MiB */
#define BATCH_AHEAD     (256u * 1024u) /* larger ones are rare, but where many holds end at once: */
#define BATCH_HOLD      4u             /* bytes for each live one: all within a second, a write of 100 ms */
#define BATCH_AHEAD_MAX (4u * 1024u * 1024u)
#define EVENT_AHEAD     (64u * 1024u) /* bytes: an event of some ten thousand seats */
#define KEYS_AHEAD      (64u * 1024u) /* bytes: answers that idempotency keys repeat */
#define COMMANDS_AHEAD  64u           /* under way at once, and still one page */

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

/* As many again as are in use, within bounds, and those that are expected. */
static size_t
items_ahead(uint32_t used, uint32_t expected)
{
    uint32_t more = expected > used ? expected - used : 0;
    uint32_t ahead = used < AHEAD_ITEMS_MIN   ? AHEAD_ITEMS_MIN
                     : used > AHEAD_ITEMS_MAX ? AHEAD_ITEMS_MAX
                                              : used;
    return used == 0 && expected == 0 ? 0 : ahead > more ? ahead : more;
}

size_t
shard_batch_ahead(const struct shard *shard)
{
    if (shard->events.known == 0)
        return 0;
    size_t ahead = BATCH_AHEAD + (size_t)shard->holds.taken * BATCH_HOLD;
    if (ahead > BATCH_AHEAD_MAX)
        ahead = BATCH_AHEAD_MAX;
    return ahead < shard->settings.batch_bytes_max ? ahead : shard->settings.batch_bytes_max;
}

/* expected: so many items will be in use, as far as that is known. */
static void
put_slab(struct growth *growth, const struct slab *slab, uint32_t expected)
{
    size_t size = slab->item_size;
    put(growth, slab->items, slab->fresh * size, items_ahead(slab->fresh, expected) * size,
        slab->count_max * size);
}

/* A bucket for six items (index.c), and those it begins with; what does not fit there goes to the overflow,
 * which grows slowly. */
static void
put_index(struct growth *growth, const struct index *index, uint32_t expected)
{
    size_t size = sizeof(struct index_bucket);
    size_t used = index->count > 0 ? index->bucket_count : 0;
    size_t ahead = items_ahead(index->count, expected) / 4;
    if (ahead > 0)
        ahead += index->bucket_count - used;
    put(growth, index->buckets, used * size, ahead * size, index->bucket_count_max * size);
    put_slab(growth, &index->overflow, 0);
}

uint32_t
shard_growth(const struct shard *shard, struct shard_growth ret_extents[SHARD_GROWTH_MAX])
{
    struct growth growth = {.extents = ret_extents};
    const struct event_store *events = &shard->events;
    const struct queues *queues = &shard->queues;
    const struct admissions *admissions = &shard->admissions;
    bool wanted = events->known > 0;
    uint32_t waiting = admissions->expected > 0;
    uint32_t active = admissions->expected < ACTIVE_MAX ? (uint32_t)admissions->expected : ACTIVE_MAX;
    /* what a hold by a new user takes */
    uint32_t holds = shard->settings.holds_expected > 0 ? shard->settings.holds_expected : wanted;
    put_slab(&growth, &shard->holds, holds);
    put_slab(&growth, &shard->users, holds);
    put_slab(&growth, &shard->pool_nodes, holds);
    put_index(&growth, &shard->holds_index, holds);
    put_index(&growth, &shard->users_index, holds);
    for (uint32_t i = 0; i < 2; i++)
        put(&growth, shard->batches[i], 0, shard_batch_ahead(shard), shard->settings.batch_bytes_max);
    /* commands under way */
    put(&growth, shard->operations.items, 0, wanted ? COMMANDS_AHEAD * shard->operations.item_size : 0,
        shard->operations.count_max * (size_t)shard->operations.item_size);
    put(&growth, shard->pending, 0, wanted ? COMMANDS_AHEAD * sizeof *shard->pending : 0,
        shard->pending_max * sizeof *shard->pending);
    /* the next event; a seat is there from the beginning, and anybody may want any of them */
    put(&growth, events->bytes, events->bytes_used, wanted ? EVENT_AHEAD : 0,
        shard->settings.event_bytes_max);
    put(&growth, events->seats, 0, events->seats_used * sizeof(struct seat),
        shard->settings.seats_max * sizeof(struct seat));
    /* what not every hold takes */
    put_slab(&growth, &shard->units, 0);
    put_slab(&growth, &shard->names, 0);
    put_index(&growth, &shard->keys.index, wanted);
    put(&growth, shard->keys.ring,
        shard->keys.head < shard->keys.size ? shard->keys.head : shard->keys.size, wanted ? KEYS_AHEAD : 0,
        shard->keys.size);
    /* waiting rooms */
    put_slab(&growth, &queues->tokens, waiting);
    put_slab(&growth, &queues->token_names, 0);
    put_slab(&growth, &queues->rank_nodes, waiting);
    put_index(&growth, &queues->by_id, waiting);
    put_index(&growth, &queues->by_user, waiting);
    put_slab(&growth, &queues->watchers, waiting);
    put_slab(&growth, &admissions->slab, active);
    put_index(&growth, &admissions->by_user, active);
    assert(growth.count <= SHARD_GROWTH_MAX);
    return growth.count;
}
