/*
 * pool.c - counted stock: slices in the plentiful phase, the owner alone when it runs low.
 *
 *     SLICED      every home sells from its slice without a message; a home whose slice is short asks the
 *                 owner, who grants from the reserve and adds to the slice while there is plenty
 *     RECALLING   the reserve runs low: every home gives back what is left of its slice, and how many it
 *                 has sold; who asks meanwhile waits
 *     EXACT       every unit is granted by the owner. Its figures are exact, so "sold out" is never said
 * while a unit is free, and the last units go first come, first served
 *
 * Invariant at the owner, exact:   capacity == free + reserved + held everywhere + sold + sold_others
 * so   free + held < asked   is the same as   capacity - sold - sold_others < asked.
 *
 * Where the shard count is 1, or a pool is small, it is exact from the start. A pool that is exact stays so
 * until the next start; a change of capacity recalls first.
 *
 * The earliest deadline. Each home keeps its live holds of a pool in a heap (deadline_heap.c), and tells
 * the owner its first one with each message about the pool, so the owner answers HELDOUT by a look at a
 * small array. For that to be exact a hold granted to another home is always reserved first and committed
 * by a second message.
 */
#include "core/shard_internal.h"

#include <assert.h>

#define SLICE_MAX 4096

/* What a home gets at a time; 0: the pool is too small to be worth it. */
uint32_t
pool_slice_size(const struct shard *shard, uint32_t capacity)
{
    uint32_t slice = capacity / (shard->settings.shard_count * 16);
    if (shard->settings.shard_count == 1 || slice < 4)
        return 0;
    return slice < SLICE_MAX ? slice : SLICE_MAX;
}

static uint32_t
pool_capacity(const struct event *event, uint32_t pool)
{
    return event_settings_pools(event->settings)[pool].capacity;
}

void
pool_open(struct shard *shard, struct event *event, uint32_t index)
{
    struct pool *pool = &event->pools[index];
    uint32_t capacity = pool_capacity(event, index);
    uint32_t slice = pool_slice_size(shard, capacity);
    pool->heap = SLAB_NONE;
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        pool->first_ms[i] = UINT64_MAX;
    pool->sliced = slice > 0;
    if (event->owner != shard->settings.shard_index) {
        pool->slice = slice;
        return;
    }
    /* Every other home has one slice from the start; they know its size as well as we do. */
    pool->mode = slice > 0 ? POOL_SLICED : POOL_EXACT;
    pool->free = capacity - slice * (shard->settings.shard_count - 1);
}

uint64_t
pool_first_ms(const struct shard *shard, const struct pool *pool)
{
    return heap_first_ms(&shard->pool_nodes, pool->heap);
}

static uint64_t
next_deadline(const struct shard *shard, const struct pool *pool)
{
    uint64_t first = pool_first_ms(shard, pool);
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        if (i != shard->settings.shard_index && pool->first_ms[i] < first)
            first = pool->first_ms[i];
    return first;
}

static void
recall_finish(struct shard *shard, struct pool *pool)
{
    pool->mode = POOL_EXACT;
    shard->wake = true;
}

void
pool_recall(struct shard *shard, struct event *event, uint32_t index)
{
    struct pool *pool = &event->pools[index];
    assert(pool->mode == POOL_SLICED);
    assert(event->owner == shard->settings.shard_index);
    pool->mode = POOL_RECALLING;
    pool->sliced = false;
    pool->sold_others = 0;
    pool->recall_awaited = 0;
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if (i == shard->settings.shard_index)
            continue;
        struct message_recall message = {
            .header = {.type = MESSAGE_RECALL, .operation = SLAB_NONE},
            .event = event->number,
            .pool = index,
        };
        pool->recall_awaited |= SHARD_BIT(i);
        message_send(shard, i, &message, sizeof message);
    }
    if (pool->recall_awaited == 0)
        recall_finish(shard, pool);
}

void
pool_give_slice(struct shard *shard, uint32_t from, const struct message_recall *message)
{
    struct pool *pool = &event_at(shard, message->event)->pools[message->pool];
    struct message_recalled answer = {
        .header = {.type = MESSAGE_RECALLED, .operation = SLAB_NONE},
        .first_ms = pool_first_ms(shard, pool),
        .event = message->event,
        .pool = message->pool,
        .slice = pool->slice,
        .sold = pool->sold,
    };
    assert(pool->sliced);
    if (!PLANTED(PLANT_RECALLED_STILL_SOLD)) {
        pool->slice = 0;
        pool->sliced = false;
    }
    message_send(shard, from, &answer, sizeof answer);
}

void
pool_recalled(struct shard *shard, uint32_t from, const struct message_recalled *message)
{
    struct pool *pool = &event_at(shard, message->event)->pools[message->pool];
    assert(pool->mode == POOL_RECALLING);
    assert((pool->recall_awaited & SHARD_BIT(from)) != 0);
    pool->recall_awaited &= ~SHARD_BIT(from);
    pool->free += message->slice;
    pool->sold_others += message->sold;
    pool->first_ms[from] = message->first_ms;
    if (pool->recall_awaited == 0)
        recall_finish(shard, pool);
}

bool
pool_is_free(const struct event *event, uint32_t index, uint32_t quantity)
{
    const struct pool *pool = &event->pools[index];
    return pool->mode != POOL_RECALLING && pool->free >= quantity;
}

enum status
pool_try(struct shard *shard, struct event *event, uint32_t index, uint32_t quantity, uint32_t asked,
         uint32_t *ret_remaining, uint64_t *ret_next_deadline_ms)
{
    struct pool *pool = &event->pools[index];
    if (pool->mode == POOL_SLICED) {
        if (pool->free >= quantity)
            return STATUS_OK;
        pool_recall(shard, event, index);
    }
    if (pool->mode == POOL_RECALLING)
        return STATUS_BUSY;
    if (pool->free >= quantity)
        return STATUS_OK;
    if (pool->free + (uint64_t)pool->reserved >= quantity)
        return STATUS_BUSY; /* an undecided hold may give them back */
    *ret_remaining = pool->free + pool->reserved;
    *ret_next_deadline_ms = next_deadline(shard, pool);
    if (PLANTED(PLANT_SOLD_OUT_TOO_SOON))
        return STATUS_SOLDOUT;
    return pool_capacity(event, index) - pool->sold - pool->sold_others < asked ? STATUS_SOLDOUT
                                                                                : STATUS_HELDOUT;
}

uint32_t
pool_take(struct shard *shard, struct event *event, uint32_t index, uint32_t quantity, uint32_t from,
          bool final)
{
    struct pool *pool = &event->pools[index];
    assert(pool->free >= quantity);
    assert(!final || from == shard->settings.shard_index);
    pool->free -= quantity;
    if (!final)
        pool->reserved += quantity;
    if (pool->mode != POOL_SLICED)
        return 0;
    uint32_t slice = pool_slice_size(shard, pool_capacity(event, index));
    uint32_t added = 0;
    if (from != shard->settings.shard_index && pool->free >= slice * (shard->settings.shard_count + 1)) {
        pool->free -= slice;
        added = slice;
    }
    if (pool->free < slice)
        pool_recall(shard, event, index);
    return added;
}

void
pool_settle(struct shard *shard, struct event *event, uint32_t index, uint32_t action, uint32_t quantity,
            uint32_t from, uint64_t first_ms)
{
    struct pool *pool = &event->pools[index];
    bool exact = pool->mode != POOL_SLICED;
    bool own = from == shard->settings.shard_index; /* its books as a home say what it has sold */
    pool->first_ms[from] = first_ms;
    switch (action) {
    case SETTLE_COMMIT:
        assert(pool->reserved >= quantity);
        pool->reserved -= quantity;
        break;
    case SETTLE_ABORT:
        assert(pool->reserved >= quantity);
        pool->reserved -= quantity;
        pool->free += quantity;
        break;
    case SETTLE_FREE:
        pool->free += quantity;
        break;
    case SETTLE_FREE_SOLD:
        if (!own) {
            assert(pool->sold_others >= quantity);
            pool->sold_others -= quantity;
        }
        pool->free += quantity;
        break;
    case SETTLE_SELL:
        if (!own)
            pool->sold_others += quantity;
        break;
    case SETTLE_SELL_RESERVED:
        assert(pool->reserved >= quantity);
        pool->reserved -= quantity;
        /* A home whose recall is on its way counts it and tells with its slice. */
        if (!own && exact && (pool->recall_awaited & SHARD_BIT(from)) == 0)
            pool->sold_others += quantity;
        break;
    default:
        assert(action == SETTLE_MOVE);
        break;
    }
    assert(pool->free <= pool_capacity(event, index));
    shard->wake = true;
}

/* A hold's pool line joins its pool's live holds. */
void
pool_line_add(struct shard *shard, uint32_t hold, struct unit_line *line, uint64_t deadline_ms)
{
    uint32_t node = slab_take(&shard->pool_nodes);
    assert(node < LINE_NODE_NONE);
    struct pool_node *n = slab_item(&shard->pool_nodes, node);
    n->hold = hold;
    n->zero = 0;
    struct pool *pool = &event_at(shard, hold_at(shard, hold)->event)->pools[line->b >> 26];
    heap_add(&shard->pool_nodes, &pool->heap, node, deadline_ms);
    line->b = (line->b & ~LINE_NODE_NONE) | node;
}

void
pool_line_remove(struct shard *shard, struct hold *hold, struct unit_line *line)
{
    uint32_t node = line->b & LINE_NODE_NONE;
    assert(node != LINE_NODE_NONE);
    struct pool *pool = &event_at(shard, hold->event)->pools[line->b >> 26];
    heap_remove(&shard->pool_nodes, &pool->heap, node);
    slab_give(&shard->pool_nodes, node);
    line->b |= LINE_NODE_NONE;
}

void
pool_restore(struct shard *const shards[], uint32_t shard_count, uint32_t number, uint32_t index)
{
    uint32_t owner = event_at(shards[0], number)->owner;
    struct event *event = event_at(shards[owner], number);
    struct pool *pool = &event->pools[index];
    uint32_t capacity = pool_capacity(event, index);
    uint64_t taken = 0;
    pool->sold_others = 0;
    for (uint32_t i = 0; i < shard_count; i++) {
        const struct pool *home = &event_at(shards[i], number)->pools[index];
        taken += (uint64_t)home->held + home->sold;
        pool->sold_others += i == owner ? 0 : home->sold;
        pool->first_ms[i] = pool_first_ms(shards[i], home);
    }
    assert(taken <= capacity); /* R3 */
    pool->free = capacity - (uint32_t)taken;
    uint32_t slice = pool_slice_size(shards[owner], capacity);
    bool sliced = slice > 0 && pool->free >= slice * (shard_count + 1);
    pool->mode = sliced ? POOL_SLICED : POOL_EXACT;
    for (uint32_t i = 0; i < shard_count; i++) {
        struct pool *home = &event_at(shards[i], number)->pools[index];
        home->sliced = sliced;
        home->slice = sliced && i != owner ? slice : 0;
        if (sliced && i != owner)
            pool->free -= slice;
    }
}
