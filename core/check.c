/*
 * check.c - the invariants of a shard and of a set of shards, and the hash of a state. For tests and the
 * simulator: these walk everything.
 */
#include "core/shard_internal.h"

#include <assert.h>

/* Units of a hold that this home's books count as held, or as sold. */
static bool
counts_as(const struct hold *hold, bool sold)
{
    bool returning = (hold->flags & HOLD_RETURNING) != 0;
    switch (hold->state) {
    case HOLD_HELD:
        return !sold;
    case HOLD_CONFIRMED:
        return returning ? !sold : sold;
    case HOLD_CANCELLED:
        return returning && sold;
    default:
        return returning && !sold;
    }
}

static void
check_user(const struct shard *shard, uint32_t first)
{
    uint32_t user = hold_at(shard, first)->user;
    uint64_t used = 0;
    uint32_t prev = SLAB_NONE;
    for (uint32_t slot = first; slot != SLAB_NONE; slot = hold_at(shard, slot)->user_next) {
        struct hold *hold = hold_at(shard, slot);
        assert(hold->user == user);
        assert(hold->user_prev == prev);
        if (hold->state == HOLD_HELD || hold->state == HOLD_CONFIRMED)
            used += hold_units(shard, hold);
        prev = slot;
    }
    assert(user_at(shard, user)->first_hold == first);
    assert(user_at(shard, user)->used == used);
}

static void
check_holds(const struct shard *shard)
{
    uint32_t live = 0;
    uint32_t confirmed = 0;
    uint32_t ended = 0;
    for (uint32_t slot = 0; slot < shard->holds.fresh; slot++) {
        struct hold *hold = hold_at(shard, slot);
        if (hold->state == 0)
            continue;
        live += hold->state == HOLD_HELD;
        confirmed += hold->state == HOLD_CONFIRMED;
        ended += (hold->flags & HOLD_ENDED_LIST) != 0;
        assert(hold->seat_count + hold->pool_count > 0);
        assert(hold_find(shard, &hold->id) == slot);
        if (hold->user_prev == SLAB_NONE)
            check_user(shard, slot);
    }
    assert(live == shard->live_count);
    assert(live == shard->wheel.count);
    assert(confirmed == shard->confirmed_count);
    assert(ended == shard->ended_count);
}

static void
check_pool_books(const struct shard *shard, const struct event *event, uint32_t index)
{
    uint64_t held = 0;
    uint64_t sold = 0;
    for (uint32_t slot = 0; slot < shard->holds.fresh; slot++) {
        struct hold *hold = hold_at(shard, slot);
        if (hold->state == 0 || hold->event != event->number)
            continue;
        const struct unit_line *lines = hold_lines(shard, hold);
        for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
            if (lines[i].b >> 26 != index)
                continue;
            assert((hold->state == HOLD_HELD) == ((lines[i].b & LINE_NODE_NONE) != LINE_NODE_NONE));
            held += counts_as(hold, false) ? lines[i].a : 0;
            sold += counts_as(hold, true) ? lines[i].a : 0;
        }
    }
    const struct pool *pool = &event->pools[index];
    assert(pool->sold == sold);
    /* A replace under way counts what it keeps once. */
    assert(pool->held == held || shard->operations.taken > 0);
    heap_check(&shard->pool_nodes, pool->heap);
}

/* Whoever is under way has a place in it, or one promised. */
static void
check_pending(const struct shard *shard)
{
    uint32_t operations = 0;
    for (uint64_t i = shard->pending_head; i < shard->pending_tail; i++)
        operations += shard->pending[i % shard->pending_max].kind == PENDING_OPERATION;
    assert(operations == shard->pending_operations);
    assert(operations <= shard->operations.taken);
    assert(pending_room(shard, 0));
}

void
shard_check(const struct shard *shard)
{
    slab_check(&shard->users);
    slab_check(&shard->names);
    slab_check(&shard->holds);
    slab_check(&shard->units);
    slab_check(&shard->pool_nodes);
    slab_check(&shard->operations);
    slab_check(&shard->gathers);
    slab_check(&shard->parkeds);
    index_check(&shard->users_index);
    index_check(&shard->holds_index);
    index_check(&shard->events.by_id);
    wheel_check(&shard->wheel);
    keys_check(shard);
    queues_check(shard);
    admissions_check(shard);
    check_holds(shard);
    assert(shard->durable <= shard->sequence);
    check_pending(shard);
    for (uint32_t i = 0; i < shard->events.shown; i++) {
        const struct event *event = event_at(shard, shard->events.order[i]);
        for (uint32_t k = 0; k < event->own_block_count; k++)
            block_check(shard, event, &event->own_blocks[k]);
        for (uint32_t k = 0; k < event->settings->pool_count; k++)
            check_pool_books(shard, event, k);
    }
}

/* ---- a set of shards at rest ---- */

static uint64_t
check_hold_seats(struct shard *const shards[], uint32_t home, struct hold *hold, uint32_t slot)
{
    const struct unit_line *lines = hold_lines(shards[home], hold);
    const struct event *event = event_at(shards[home], hold->event);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct shard *owner = shards[event_seat_owner(event, lines[i].a)];
        uint32_t holder = SLAB_NONE;
        uint64_t deadline = 0;
        enum status status = seat_try(owner, event_at(owner, hold->event), lines[i].a, &holder, &deadline);
        if (hold->state == HOLD_CONFIRMED) {
            assert(status == STATUS_SOLD);
        } else {
            assert(status == STATUS_HELD);
            assert(holder == slot);
            assert(deadline == hold->wheel.deadline_ms);
        }
        assert(seat_version(event_at(owner, hold->event), lines[i].a) == lines[i].b);
    }
    return hold->seat_count;
}

static void
check_event_all(struct shard *const shards[], uint32_t shard_count, uint32_t number)
{
    uint64_t taken = 0;
    uint64_t lines = 0;
    for (uint32_t s = 0; s < shard_count; s++) {
        const struct event *event = event_at(shards[s], number);
        for (uint32_t k = 0; k < event->own_block_count; k++) {
            assert(event->own_blocks[k].reserved_count == 0);
            taken += event->own_blocks[k].seat_count - event->own_blocks[k].free_count;
        }
        for (uint32_t slot = 0; slot < shards[s]->holds.fresh; slot++) {
            struct hold *hold = hold_at(shards[s], slot);
            if (hold->event == number && (hold->state == HOLD_HELD || hold->state == HOLD_CONFIRMED))
                lines += check_hold_seats(shards, s, hold, slot);
        }
    }
    assert(taken == lines); /* R3: every taken seat has exactly one live or confirmed hold */
}

static void
check_pool_all(struct shard *const shards[], uint32_t shard_count, uint32_t number, uint32_t index)
{
    const struct event *event = event_at(shards[event_at(shards[0], number)->owner], number);
    const struct pool *pool = &event->pools[index];
    uint64_t sum = pool->free;
    uint64_t sold = 0;
    for (uint32_t s = 0; s < shard_count; s++) {
        const struct pool *home = &event_at(shards[s], number)->pools[index];
        sum += (uint64_t)home->slice + home->held + home->sold;
        sold += home == pool ? 0 : home->sold;
    }
    assert(pool->reserved == 0);
    assert(pool->mode != POOL_RECALLING);
    assert(sum == event_settings_pools(event->settings)[index].capacity);
    assert(pool->mode == POOL_SLICED || pool->sold_others == sold);
}

/* Commands of this shard that wait elsewhere for a token's change. */
static uint32_t
watches_of(struct shard *const shards[], uint32_t shard_count, uint32_t shard)
{
    uint32_t count = 0;
    for (uint32_t owner = 0; owner < shard_count; owner++) {
        const struct slab *watchers = &shards[owner]->queues.watchers;
        for (uint32_t i = 0; owner != shard && i < watchers->fresh; i++) {
            const struct watcher *watcher = slab_item(watchers, i);
            count += watcher->kind == WATCH_ONCE && watcher->shard == shard;
        }
    }
    return count;
}

void
shard_check_all(struct shard *const shards[], uint32_t shard_count)
{
    for (uint32_t s = 0; s < shard_count; s++) {
        shard_check(shards[s]);
        assert(shards[s]->operations.taken == 0);
        assert(shards[s]->parkeds.taken == 0);
        assert(shards[s]->forwards == watches_of(shards, shard_count, s));
    }
    for (uint32_t i = 0; i < shards[0]->events.shown; i++) {
        uint32_t number = shards[0]->events.order[i];
        check_event_all(shards, shard_count, number);
        for (uint32_t k = 0; k < event_at(shards[0], number)->settings->pool_count; k++)
            check_pool_all(shards, shard_count, number, k);
    }
}

bool
shard_queue_load(struct shard *const shards[], uint32_t shard_count, struct bytes event, uint64_t now_ms,
                 struct queue_load *ret_load)
{
    *ret_load = (struct queue_load){.admitted = 0};
    bool found = false;
    for (uint32_t s = 0; s < shard_count; s++) {
        const struct event *shown = event_find(shards[s], event);
        if (shown == NULL || shown->settings->queue_active_max == 0)
            continue;
        if (shown->owner == s) {
            found = true;
            ret_load->slots = shown->queue->active;
            ret_load->active_max = shown->settings->queue_active_max;
        }
        const struct slab *slab = &shards[s]->admissions.slab;
        for (uint32_t i = 0; i < slab->fresh; i++) {
            const struct admission *admission = slab_item(slab, i);
            ret_load->admitted += admission->state == ADMISSION_GIVEN &&
                                  admission->event == shown->number && now_ms < admission->deadline_ms;
        }
    }
    return found;
}

/* ---- hash ---- */

static uint64_t
mix_bytes(uint64_t hash, const void *data, size_t size)
{
    return route_hash(hash, (struct bytes){data, (uint32_t)size});
}

static uint64_t
hash_event(const struct event *event, uint64_t hash)
{
    hash = mix_bytes(hash, event->settings, event->settings->size);
    for (uint32_t i = 0; i < event->own_block_count; i++) {
        const struct block *block = &event->own_blocks[i];
        hash = mix_bytes(hash, block->free, sizeof block->free);
        hash = mix_bytes(hash, block->reserved, sizeof block->reserved);
        hash = mix_bytes(hash, block->sold, sizeof block->sold);
        for (uint32_t k = 0; k < block->seat_count; k++)
            hash = route_hash_part(hash, block->seats[k].version);
    }
    for (uint32_t i = 0; i < event->settings->pool_count; i++) {
        const struct pool *pool = &event->pools[i];
        hash = route_hash_part(hash, (uint64_t)pool->slice << 32 | pool->free);
        hash = route_hash_part(hash, (uint64_t)pool->held << 32 | pool->sold);
        hash = route_hash_part(hash, (uint64_t)pool->reserved << 32 | pool->mode);
    }
    return hash;
}

uint64_t
shard_hash(const struct shard *shard)
{
    uint64_t hash = shard->now_ms;
    for (uint32_t i = 0; i < shard->events.shown; i++)
        hash = hash_event(event_at(shard, shard->events.order[i]), hash);
    for (uint32_t slot = 0; slot < shard->holds.fresh; slot++) {
        struct hold *hold = hold_at(shard, slot);
        if (hold->state == 0)
            continue;
        hash = mix_bytes(hash, &hold->id, sizeof hold->id);
        hash = route_hash_part(hash, (uint64_t)hold->state << 8 | hold->flags);
        hash = route_hash_part(hash, hold->wheel.deadline_ms);
        hash = mix_bytes(hash, hold_lines(shard, hold), (hold->seat_count + (size_t)hold->pool_count) * 8);
    }
    hash = route_hash_part(hash, shard->keys.head);
    hash = route_hash_part(hash, shard->sequence);
    hash = route_hash_part(hash, shard->durable);
    hash = route_hash_part(hash, (uint64_t)shard->operations.taken << 32 | shard->parkeds.taken);
    return hash;
}
