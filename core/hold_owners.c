/*
 * hold_owners.c - asking the owners of a hold's units, one after another in ascending order of shards.
 *
 * Of two holds that want the same units one wins, never neither: both ask the lowest owner first, and who
 * comes second there waits until the first is decided. A refusal ends the asking, but for one thing: where
 * a later owner has a unit that was asked for before the refused one, it is only looked at, because the
 * refusal names the first refused unit in the order asked.
 *
 * A hold of pools alone, all of them sliced and plentiful here, needs no owner at all. See also:
 * hold_place.c.
 */
#include "core/shard_internal.h"

#include <assert.h>

/* Sets the owners to ask; takes from slices where that is all there is to it. */
void
place_route(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    bool sliced = op->seat_count == 0 && op->best_count == 0 && event->owner != shard->settings.shard_index;
    for (uint32_t i = 0; i < op->pool_count; i++) {
        const struct pool *pool = &event->pools[op->pools[i].pool];
        if (!pool->sliced && !PLANTED(PLANT_RECALLED_STILL_SOLD))
            sliced = false;
        if (pool->slice < op->pools[i].reserve)
            sliced = false;
    }
    op->to_ask = 0;
    for (uint32_t i = 0; i < op->seat_count; i++)
        if (!op->seats[i].kept)
            op->to_ask |= SHARD_BIT(op->seats[i].owner);
    bool remote_pool = false;
    for (uint32_t i = 0; i < op->pool_count; i++) {
        op->pools[i].sliced = sliced;
        if (op->pools[i].reserve == 0)
            continue;
        if (sliced) {
            event->pools[op->pools[i].pool].slice -= op->pools[i].reserve;
            continue;
        }
        op->to_ask |= SHARD_BIT(event->owner);
        remote_pool |= event->owner != shard->settings.shard_index;
    }
    bool several = (op->to_ask & (op->to_ask - 1)) != 0 || (op->best_count > 0 && op->to_ask != 0);
    /* A check of the decision itself may still fail where owners were waited for: then nothing may be
     * final. */
    bool waited = shard->settings.shard_count > 1 || op->stage == STAGE_AGAIN;
    bool may_fail = waited && op->replaced != SLAB_NONE;
    op->multiple = several || remote_pool || may_fail;
}

void
place_begin(struct shard *shard, struct operation *op)
{
    place_route(shard, op);
    op->stage = STAGE_RESERVE;
    place_next(shard, op);
}

void
place_reserve_message(const struct shard *shard, const struct operation *op,
                      struct message_reserve *message)
{
    message->header = (struct message_header){
        .type = MESSAGE_RESERVE, .operation = operation_slot(shard, op), .serial = op->serial};
    message->deadline_ms = op->deadline_ms;
    message->event = op->event;
    message->hold = op->hold;
    message->final = !op->multiple;
    message->sell = op->late;
    message->probe = op->stage == STAGE_PROBE;
    message->best_orphans = false;
    message->seat_count = message->pool_count = message->best_count = 0;
}

/* The order asked decides which refusal is named. */
static uint32_t
pool_rank(const struct operation *op, uint32_t i)
{
    return op->seats_asked + i;
}

/* This owner's units; when probing only those asked before the refused one. */
static void
reserve_fill(const struct operation *op, uint32_t owner, struct message_reserve *message)
{
    uint32_t rank_end = message->probe ? op->refusal.rank : UINT32_MAX;
    for (uint32_t i = 0; i < op->seats_asked && i < rank_end; i++)
        if (op->seats[i].owner == owner && !op->seats[i].kept)
            message->seats[message->seat_count++] = op->seats[i].ref;
    for (uint32_t i = 0; i < op->pool_count && pool_rank(op, i) < rank_end; i++) {
        if (op->pools[i].owner != owner || op->pools[i].sliced || op->pools[i].reserve == 0)
            continue;
        message->pools[message->pool_count].pool = op->pools[i].pool;
        message->pools[message->pool_count].asked = op->pools[i].quantity;
        message->pools[message->pool_count++].quantity = op->pools[i].reserve;
    }
}

void
place_ask(struct shard *shard, struct operation *op, uint32_t owner, struct message_reserve *message)
{
    op->awaited++;
    if (owner != shard->settings.shard_index) {
        message_send(shard, owner, message, message_reserve_size(message));
        return;
    }
    struct message_reserved answer;
    if (owner_reserve(shard, owner, message, &answer)) {
        op->awaited--;
        place_reserved(shard, op, owner, &answer);
    }
}

/* One owner after another: what this shard owns is taken at once; another's answer, or a refusal, comes
 * back here. */
void
place_next(struct shard *shard, struct operation *op)
{
    while (op->to_ask != 0) {
        uint32_t owner = (uint32_t)__builtin_ctzll(op->to_ask);
        struct message_reserve message;
        op->to_ask &= ~SHARD_BIT(owner);
        if (owner == shard->settings.shard_index && owner_take_own(shard, op))
            continue;
        place_reserve_message(shard, op, &message);
        reserve_fill(op, owner, &message);
        if (message.seat_count == 0 && message.pool_count == 0)
            continue;
        place_ask(shard, op, owner, &message);
        return;
    }
    if (op->stage == STAGE_PROBE)
        place_refuse(shard, op);
    else if (op->best_count > 0 && op->seat_count == op->seats_asked)
        place_best(shard, op);
    else
        place_decide(shard, op);
}

/* The units of one answer, in the order they were asked. */
static void
granted_note(struct shard *shard, struct operation *op, uint32_t from,
             const struct message_reserved *answer)
{
    struct event *event = event_at(shard, op->event);
    uint32_t next = 0;
    op->granted |= SHARD_BIT(from);
    for (uint32_t i = 0; i < op->seats_asked; i++) {
        if (op->seats[i].owner != from || op->seats[i].kept)
            continue;
        assert(answer->seats[next].ref == op->seats[i].ref);
        op->seats[i].version = answer->seats[next++].version;
    }
    assert(next == answer->seat_count);
    next = 0;
    for (uint32_t i = 0; i < op->pool_count; i++) {
        if (op->pools[i].owner != from || op->pools[i].sliced || op->pools[i].reserve == 0)
            continue;
        uint32_t slice = answer->slices[next++];
        assert(slice == 0 || event->pools[op->pools[i].pool].sliced);
        event->pools[op->pools[i].pool].slice += slice;
    }
}

/* Which of the operation's units did the owner refuse? */
static void
refused_note(struct operation *op, uint32_t from, const struct message_reserved *answer)
{
    struct refusal refusal = {.status = answer->status,
                              .rank = UINT32_MAX,
                              .holder = answer->holder,
                              .remaining = answer->remaining,
                              .next_deadline_ms = answer->next_deadline_ms};
    uint32_t next = 0;
    for (uint32_t i = 0; i < op->seats_asked && refusal.rank == UINT32_MAX; i++)
        if (op->seats[i].owner == from && !op->seats[i].kept && next++ == answer->at)
            refusal.rank = i;
    for (uint32_t i = 0; i < op->pool_count && refusal.rank == UINT32_MAX; i++)
        if (op->pools[i].owner == from && !op->pools[i].sliced && op->pools[i].reserve > 0 &&
            next++ == answer->at)
            refusal.rank = pool_rank(op, i);
    assert(refusal.rank != UINT32_MAX);
    if (op->refusal.status == STATUS_OK || refusal.rank < op->refusal.rank)
        op->refusal = refusal;
}

void
place_reserved(struct shard *shard, struct operation *op, uint32_t from,
               const struct message_reserved *answer)
{
    if (op->stage == STAGE_LOOK_BEST) {
        best_reserved(shard, op, from, answer);
        return;
    }
    if (answer->status == STATUS_BUSY) {
        op->refusal.status = STATUS_BUSY;
        op->stage = STAGE_PROBE;
        place_refuse(shard, op);
        return;
    }
    if (answer->status != STATUS_OK) {
        refused_note(op, from, answer);
        op->stage = STAGE_PROBE;
    } else if (op->stage == STAGE_RESERVE) {
        granted_note(shard, op, from, answer);
    }
    place_next(shard, op);
}
