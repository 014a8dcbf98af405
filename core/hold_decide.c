/*
 * hold_decide.c - all units are granted: the hold comes into being, its record is written, owners are told.
 *
 * A replace ends the old hold by the same record. The versions of seats in both count twice: the old hold's
 * release, then the new hold. What only the old hold had goes back when the record is durable (R3).
 */
#include "core/shard_internal.h"

#include <assert.h>

/* Tells owners what became of the units they reserved, or of those a new hold keeps. */
void
settle_granted(struct shard *shard, struct operation *op, uint32_t action)
{
    struct event *event = event_at(shard, op->event);
    bool committing = action != SETTLE_ABORT;
    uint64_t owners = op->granted;
    for (uint32_t i = 0; committing && i < op->seat_count; i++)
        if (op->seats[i].kept)
            owners |= SHARD_BIT(op->seats[i].owner);
    if (committing && op->replaced != SLAB_NONE && op->pool_count > 0)
        owners |= SHARD_BIT(event->owner);
    for (uint32_t owner = 0; owner < shard->settings.shard_count; owner++) {
        if ((owners & SHARD_BIT(owner)) == 0)
            continue;
        bool reserved = (op->granted & SHARD_BIT(owner)) != 0 && op->multiple;
        struct message_settle settle;
        settle_begin(shard, &settle, op->event, op->hold, op->deadline_ms, committing ? op : NULL);
        for (uint32_t i = 0; i < op->seat_count; i++) {
            if (op->seats[i].owner != owner || (op->seats[i].kept ? !committing : !reserved))
                continue;
            settle.seats[settle.seat_count].ref = op->seats[i].ref;
            settle.seats[settle.seat_count].version = op->seats[i].version;
            settle.seats[settle.seat_count++].action = op->seats[i].kept ? SETTLE_MOVE : action;
        }
        for (uint32_t i = 0; owner == event->owner && i < op->pool_count; i++) {
            const struct pool *pool = &event->pools[op->pools[i].pool];
            bool own = reserved && op->pools[i].reserve > 0 && !op->pools[i].sliced;
            if (!own && (!committing || op->replaced == SLAB_NONE || pool->sliced))
                continue;
            settle.pools[settle.pool_count].pool = op->pools[i].pool;
            settle.pools[settle.pool_count].action = (uint8_t)(own ? action : SETTLE_MOVE);
            settle.pools[settle.pool_count].first_ms = pool_first_ms(shard, pool);
            settle.pools[settle.pool_count++].quantity = own ? op->pools[i].reserve : 0;
        }
        settle_send(shard, owner, &settle, op->stage == STAGE_DECIDED ? op : NULL);
    }
}

/* Units out of the slice go back to it, or to the owner where it was recalled meanwhile. */
void
place_return_slices(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    for (uint32_t i = 0; i < op->pool_count; i++) {
        if (!op->pools[i].sliced || op->pools[i].reserve == 0)
            continue;
        assert(event->pools[op->pools[i].pool].sliced); /* slices are taken and used in one step */
        event->pools[op->pools[i].pool].slice += op->pools[i].reserve;
    }
}

static void
hold_fill(struct shard *shard, struct operation *op)
{
    struct hold *hold = hold_at(shard, op->hold);
    bool new = snapshot_comes_to(shard, SNAPSHOT_HOLDS, shard->snapshot.hold, op->hold);
    hold->id = uuid_put(shard->now_ms, ++shard->id_counter, op->route, op->id_random);
    hold->wheel.deadline_ms = op->deadline_ms;
    hold->start_ms = op->start_ms;
    hold->ended_ms = 0;
    hold->event = op->event;
    hold->user = op->user;
    hold->state = HOLD_HELD;
    hold->flags = new ? HOLD_NEW : 0;
    hold->seat_count = op->seat_count;
    hold->pool_count = op->pool_count;
    struct unit_line *lines = hold_lines(shard, hold);
    for (uint32_t i = 0; i < op->seat_count; i++)
        lines[i] = (struct unit_line){op->seats[i].ref, op->seats[i].version};
    for (uint32_t i = 0; i < op->pool_count; i++)
        lines[op->seat_count + i] =
            (struct unit_line){op->pools[i].quantity, (uint32_t)op->pools[i].pool << 26 | LINE_NODE_NONE};
}

/* The versions of kept seats: the old hold's release is one change, the new hold the next. */
static void
versions_kept(struct shard *shard, struct operation *op)
{
    struct hold *old = hold_at(shard, op->replaced);
    const struct unit_line *lines = hold_lines(shard, old);
    for (uint32_t i = 0; i < op->seat_count; i++)
        for (uint32_t k = 0; op->seats[i].kept && k < old->seat_count; k++)
            if (lines[k].a == op->seats[i].ref)
                op->seats[i].version = lines[k].b + 1;
}

/* Of a replaced hold's pool line: how much the new hold keeps. */
static uint32_t
pool_kept(const struct operation *op, const struct unit_line *line)
{
    for (uint32_t i = 0; i < op->pool_count; i++)
        if (op->pools[i].pool == line->b >> 26)
            return op->pools[i].quantity < line->a ? op->pools[i].quantity : line->a;
    return 0;
}

/* The old hold ends. What the new one keeps of its pools is counted once; the rest when it goes back. */
static void
replaced_end(struct shard *shard, struct operation *op)
{
    struct hold *old = hold_at(shard, op->replaced);
    const struct unit_line *lines = hold_lines(shard, old);
    struct event *event = event_at(shard, op->event);
    hold_leave_live(shard, op->replaced, HOLD_RELEASED);
    versions_kept(shard, op);
    for (uint32_t i = old->seat_count; i < old->seat_count + (uint32_t)old->pool_count; i++)
        event->pools[lines[i].b >> 26].held -= pool_kept(op, &lines[i]);
}

void
place_decide(struct shard *shard, struct operation *op)
{
    /* What may have changed while owners were asked. */
    if (op->replaced != SLAB_NONE && !hold_is_live(shard, hold_at(shard, op->replaced))) {
        op->refusal.status = STATUS_EXPIRED;
        place_refuse(shard, op);
        return;
    }
    if (op->late) {
        late_decide(shard, op);
        return;
    }
    if (op->replaced != SLAB_NONE)
        replaced_end(shard, op);
    hold_fill(shard, op);
    hold_link(shard, op->hold);
    op->sequence = record_hold(shard, op->hold, op);
    op->after_durable = op->replaced != SLAB_NONE;
    op->stage = STAGE_DECIDED;
    if (op->multiple || op->replaced != SLAB_NONE)
        settle_granted(shard, op, SETTLE_COMMIT);
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_HOLD);
    reply->kind = REPLY_HOLD;
    reply->created = true;
    hold_view_recorded(shard, op->hold, &reply->hold);
    operation_decided(shard, op, reply);
}

/* The record of a replace is durable: what the old hold had and the new one has not goes back. */
void
place_return_replaced(struct shard *shard, struct operation *op)
{
    struct hold *old = hold_at(shard, op->replaced);
    const struct unit_line *lines = hold_lines(shard, old);
    struct event *event = event_at(shard, op->event);
    for (uint32_t owner = 0; owner < shard->settings.shard_count; owner++) {
        struct message_settle settle;
        settle_begin(shard, &settle, op->event, op->replaced, 0, op);
        for (uint32_t i = 0; i < old->seat_count; i++) {
            bool kept = false;
            for (uint32_t k = 0; k < op->seat_count; k++)
                kept |= op->seats[k].ref == lines[i].a;
            if ((kept && !PLANTED(PLANT_REPLACE_FREES_KEPT)) ||
                event_seat_owner(event, lines[i].a) != owner)
                continue;
            settle.seats[settle.seat_count].ref = lines[i].a;
            settle.seats[settle.seat_count].version = lines[i].b;
            settle.seats[settle.seat_count++].action = SETTLE_FREE;
        }
        for (uint32_t i = old->seat_count;
             owner == event->owner && i < old->seat_count + (uint32_t)old->pool_count; i++) {
            struct pool *pool = &event->pools[lines[i].b >> 26];
            uint32_t back = lines[i].a - pool_kept(op, &lines[i]);
            assert(pool->held >= back);
            pool->held -= back;
            if (pool->sliced) {
                if (event->owner == shard->settings.shard_index)
                    pool->free += back;
                else
                    pool->slice += back;
                continue;
            }
            settle.pools[settle.pool_count].pool = (uint8_t)(lines[i].b >> 26);
            settle.pools[settle.pool_count].action = SETTLE_FREE;
            settle.pools[settle.pool_count].first_ms = pool_first_ms(shard, pool);
            settle.pools[settle.pool_count++].quantity = back;
        }
        settle_send(shard, owner, &settle, op);
    }
    hold_remember(shard, op->replaced);
    shard->wake = true;
}
