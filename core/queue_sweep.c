/*
 * queue_sweep.c - what time does to waiting rooms: silence, deadlines, openings, what is forgotten; a look
 * at every queue now and then; every invariant. Each step is bounded.
 */
#include <assert.h>

#include "core/shard_internal.h"

#define SWEEP_MS    500
#define CLOSE_BATCH 1024 /* tokens looked at in one sweep, when an event has been closed */

static void
sweep_tokens(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    uint32_t budget = shard->settings.expire_batch;
    uint32_t slot;
    while (token_end_room(shard) &&
           (slot = wheel_due(&queues->wheel, shard->now_ms, &budget)) != SLAB_NONE) {
        struct token *token = token_at(shard, slot);
        uint64_t ends_ms = token->state == TOKEN_WAITING ? token_grace_ends_ms(shard, token) : 0;
        if (ends_ms > shard->now_ms) {
            token_timer_stop(shard, slot);
            token_timer_set(shard, slot, ends_ms);
        } else {
            token_end(shard, slot, TOKEN_EXPIRED, NULL);
        }
    }
}

/* After a start: a fresh grace period for who waits. True: there is more to do. */
static bool
sweep_timers(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    for (uint32_t i = 0; i < CLOSE_BATCH && queues->timer_cursor != SLAB_NONE; i++) {
        if (queues->timer_cursor >= queues->tokens.fresh) {
            queues->timer_cursor = SLAB_NONE;
            return false;
        }
        uint32_t slot = queues->timer_cursor++;
        struct token *token = token_at(shard, slot);
        if ((token->state != TOKEN_WAITING && token->state != TOKEN_ACTIVE) ||
            (token->flags & TOKEN_TIMED) != 0)
            continue;
        token->seen_s = token_now_s(shard);
        token_timer_set(shard, slot,
                        token->state == TOKEN_ACTIVE ? token->wheel.deadline_ms
                                                     : token_grace_ends_ms(shard, token));
    }
    return queues->timer_cursor != SLAB_NONE;
}

/* Tokens of events that have been closed. True: there is more to do, and room for it. */
static bool
sweep_closed(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    if (queues->close_cursor == SLAB_NONE)
        return false;
    for (uint32_t i = 0; i < CLOSE_BATCH; i++) {
        if (queues->close_cursor >= queues->tokens.fresh) {
            queues->close_cursor = SLAB_NONE;
            return false;
        }
        if (!token_end_room(shard))
            return false;
        uint32_t slot = queues->close_cursor++;
        const struct token *token = token_at(shard, slot);
        if ((token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE) &&
            event_at(shard, token->event)->settings->status == EVENT_CLOSED)
            token_end(shard, slot, TOKEN_EXPIRED, NULL);
    }
    return true;
}

static void
sweep_queues(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    if (!queues->kicked && queues->sweep_ms > shard->now_ms)
        return;
    queues->kicked = false;
    uint64_t next_ms = shard->now_ms + SWEEP_MS;
    for (uint32_t number = queues->first; number != SLAB_NONE;) {
        struct event *event = event_at(shard, number);
        queue_kick(shard, event);
        if (event_open_at(event) > shard->now_ms && event_open_at(event) < next_ms)
            next_ms = event_open_at(event);
        number = event->queue->next;
    }
    queues->sweep_ms = queues->first == SLAB_NONE ? UINT64_MAX : next_ms;
}

static void
forget_old(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    for (uint32_t budget = FORGET_BATCH; budget > 0 && queues->ended_first != SLAB_NONE; budget--) {
        if (token_at(shard, queues->ended_first)->wheel.deadline_ms + shard->settings.ended_ms >
            shard->now_ms)
            return;
        token_forget(shard, queues->ended_first);
    }
}

bool
queues_sweep(struct shard *shard)
{
    const struct queues *queues = &shard->queues;
    if (queues->first == SLAB_NONE)
        return false;
    sweep_tokens(shard);
    watchers_sweep(shard);
    sweep_queues(shard);
    forget_old(shard);
    bool more = sweep_timers(shard);
    more |= queues->owed_count > 0 || (queues->polls_ended && queues->watcher_wheel.count > 0);
    more |= sweep_closed(shard) || wheel_next_ms(&queues->watcher_wheel) <= shard->now_ms;
    bool ready = queues->kicked || wheel_next_ms(&queues->wheel) <= shard->now_ms;
    return more || (ready && token_end_room(shard));
}

uint64_t
queues_next_ms(const struct shard *shard)
{
    const struct queues *queues = &shard->queues;
    uint64_t next = queues->sweep_ms;
    uint64_t due = wheel_next_ms(&queues->wheel);
    next = due < next ? due : next;
    due = wheel_next_ms(&queues->watcher_wheel);
    return due < next ? due : next;
}

void
queues_check(const struct shard *shard)
{
    const struct queues *queues = &shard->queues;
    uint32_t waiting = 0;
    uint32_t active = 0;
    uint32_t ended = 0;
    uint32_t slots = 0;
    uint32_t timed = 0;
    uint32_t owed = 0;
    slab_check(&queues->tokens);
    slab_check(&queues->token_names);
    slab_check(&queues->rank_nodes);
    slab_check(&queues->watchers);
    index_check(&queues->by_id);
    index_check(&queues->by_user);
    wheel_check(&queues->wheel);
    wheel_check(&queues->watcher_wheel);
    for (uint32_t slot = 0; slot < queues->tokens.fresh; slot++) {
        const struct token *token = token_at(shard, slot);
        if (token->state == 0)
            continue;
        waiting += token->state == TOKEN_WAITING;
        active += token->state == TOKEN_ACTIVE;
        slots += (token->flags & TOKEN_SLOT) != 0;
        timed += (token->flags & TOKEN_TIMED) != 0;
        ended += token->state > TOKEN_ACTIVE && (token->flags & TOKEN_SLOT) == 0;
        assert((token->state == TOKEN_WAITING) == (token->rank.leaf != SLAB_NONE));
        assert(token->state != TOKEN_ACTIVE || (token->flags & TOKEN_SLOT) != 0);
        assert(token_find(shard, &token->id) == slot);
        for (uint32_t at = token->watchers; at != SLAB_NONE; at = watcher_at(shard, at)->next) {
            assert(watcher_at(shard, at)->token == slot);
            owed += watcher_at(shard, at)->owed;
            assert(watcher_at(shard, at)->kind != WATCH_ONCE || token->state == TOKEN_WAITING ||
                   token_undecided(token)); /* whoever polls is told of every change */
        }
    }
    assert(owed == queues->owed_count);
    assert(waiting == queues->waiting_count);
    assert(active == queues->active_count);
    assert(ended == queues->ended_count);
    assert(queues->wheel.count == timed);
    assert(queues->timer_cursor != SLAB_NONE || timed == waiting + active);
    for (uint32_t number = queues->first; number != SLAB_NONE;
         number = event_at(shard, number)->queue->next) {
        const struct event *event = event_at(shard, number);
        rank_tree_check(&event->queue->waiting, waiting_places(shard));
        waiting -= event->queue->waiting.count;
        slots -= event->queue->active;
    }
    assert(waiting == 0);
    assert(slots == 0);
}
