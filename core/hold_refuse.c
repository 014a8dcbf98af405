/*
 * hold_refuse.c - a hold is refused: what was granted goes back, and the refusal gets its figures.
 *
 * Two refusals are none: the seats are in a live hold of this same user, and just these are asked (the
 * answer is that hold); or they are on their way back from a hold of this user that has just ended (they
 * are asked for again).
 */
#include "core/shard_internal.h"

#include <assert.h>

static void
refusal_unit(const struct shard *shard, const struct operation *op, struct reply *reply)
{
    const struct event_settings *settings = event_at(shard, op->event)->settings;
    uint32_t rank = op->refusal.rank;
    reply->figures |= FIGURE_UNIT;
    if (rank < op->seats_asked) {
        reply->unit_size = (uint8_t)seat_text(settings, op->seats[rank].ref, reply->unit);
        return;
    }
    const struct name *name;
    if (rank < op->seats_asked + (uint32_t)op->pool_count)
        name = &event_settings_pools(settings)[op->pools[rank - op->seats_asked].pool].name;
    else
        name = &event_settings_sections(settings)[op->best_section].name;
    memcpy(reply->unit, name->text, name->size);
    reply->unit_size = name->size;
}

static void
figure_next_deadline(const struct shard *shard, struct reply *reply, uint64_t deadline_ms)
{
    reply->figures |= FIGURE_NEXT_DEADLINE;
    /* Units on their way back have no deadline any more: now. */
    reply->next_deadline_ms = deadline_ms == UINT64_MAX ? shard->now_ms : deadline_ms;
}

void
place_refuse_send(struct shard *shard, struct operation *op)
{
    struct reply *reply = reply_begin(shard, op->refusal.status, op->command);
    const struct refusal *refusal = &op->refusal;
    uint64_t sequence = 0;
    if (op->late && (refusal->status == STATUS_HELD || refusal->status == STATUS_SOLD ||
                     refusal->status == STATUS_HELDOUT || refusal->status == STATUS_SOLDOUT)) {
        reply->status = STATUS_EXPIRED;
        refusal_unit(shard, op, reply);
        operation_finish_refused(shard, op, reply);
        return;
    }
    switch (refusal->status) {
    case STATUS_HELD:
        refusal_unit(shard, op, reply);
        figure_next_deadline(shard, reply, refusal->next_deadline_ms);
        reply->figures |= FIGURE_REMAINING;
        reply->remaining = op->look.free;
        if (refusal->holder != SLAB_NONE) {
            reply->figures |= FIGURE_OWN;
            reply->own = hold_at(shard, refusal->holder)->id;
            sequence = shard->sequence;
        }
        break;
    case STATUS_SOLD:
        refusal_unit(shard, op, reply);
        reply->figures |= FIGURE_REMAINING;
        reply->remaining = op->look.free;
        break;
    case STATUS_HELDOUT:
        refusal_unit(shard, op, reply);
        figure_next_deadline(shard, reply, refusal->next_deadline_ms);
        reply->figures |= FIGURE_REMAINING;
        reply->remaining = refusal->remaining;
        break;
    case STATUS_SOLDOUT:
        refusal_unit(shard, op, reply);
        reply->figures |= FIGURE_REMAINING;
        reply->remaining = refusal->remaining;
        break;
    case STATUS_NOADJACENT:
        refusal_unit(shard, op, reply);
        reply->figures |= FIGURE_LARGEST_RUN;
        reply->largest_run = op->look.largest_run;
        break;
    default:
        break;
    }
    operation_user_free(shard, op);
    reply_send(shard, &op->origin, reply, sequence);
    operation_free(shard, op);
}

/* Is the refused seat in a live hold of this same user? A holder named by an owner is a slot at the
 * holder's home, which need not be this shard: only a hold here that really has the seat counts. */
static void
holder_check(const struct shard *shard, struct operation *op)
{
    uint32_t slot = op->refusal.holder;
    op->refusal.holder = SLAB_NONE;
    if (slot >= shard->holds.fresh)
        return;
    struct hold *hold = hold_at(shard, slot);
    if (hold->state == HOLD_HELD && hold->user == op->user && hold_is_live(shard, hold) &&
        hold_has_seat(shard, hold, op->seats[op->refusal.rank].ref))
        op->refusal.holder = slot;
}

/* Is the refused seat in a hold of this same user that owners have not yet been told everything of? Then
 * the hold's flags that say so; 0: no. */
static uint8_t
own_unsettled(const struct shard *shard, const struct operation *op)
{
    if (op->refusal.status != STATUS_HELD || op->refusal.holder >= shard->holds.fresh)
        return 0;
    struct hold *hold = hold_at(shard, op->refusal.holder);
    if (hold->state == 0 || hold->user != op->user ||
        !hold_has_seat(shard, hold, op->seats[op->refusal.rank].ref))
        return 0;
    return hold->flags & (HOLD_RETURNING | HOLD_TELLING);
}

/* Asks all owners once more: when the hold's end is durable, its seats come back; when owners have
 * acknowledged, its own answer may be given. False: no room to wait. */
static bool
ask_again(struct shard *shard, struct operation *op, uint8_t unsettled)
{
    if ((unsettled & HOLD_RETURNING) == 0 && !park_again(shard, op))
        return false;
    op->refusal.status = STATUS_OK;
    op->seat_count = op->seats_asked;
    op->stage = STAGE_AGAIN;
    if ((unsettled & HOLD_RETURNING) != 0) {
        /* Behind the hold's own entry, even where its record is on disk: what stands before it, or room,
         * may still keep it from going back. */
        op->sequence = shard->sequence;
        pending_push(shard, op->sequence, operation_slot(shard, op), PENDING_OPERATION);
    }
    return true;
}

void
place_refuse(struct shard *shard, struct operation *op)
{
    assert(op->refusal.status != STATUS_OK);
    if (op->multiple && op->granted != 0 && !PLANTED(PLANT_ABORT_FORGOTTEN))
        settle_granted(shard, op, SETTLE_ABORT);
    op->granted = 0;
    place_return_slices(shard, op);
    uint8_t unsettled = own_unsettled(shard, op);
    if (unsettled != 0 && ask_again(shard, op, unsettled))
        return;
    if (!op->late) {
        if (op->seats_asked + op->best_count + op->pool_count > HOLD_INLINE_UNITS)
            slab_give(&shard->units, hold_at(shard, op->hold)->units_more);
        slab_give(&shard->holds, op->hold);
        op->hold = SLAB_NONE;
    }
    if (op->refusal.status != STATUS_HELD && op->refusal.status != STATUS_SOLD) {
        place_refuse_send(shard, op);
        return;
    }
    if (op->refusal.status == STATUS_HELD && !op->late) {
        holder_check(shard, op);
        if (op->refusal.holder != SLAB_NONE && place_is_own(shard, op, op->refusal.holder)) {
            place_answer_own(shard, op, op->refusal.holder);
            return;
        }
    }
    op->stage = STAGE_LOOK_FIGURES;
    op->best_wait = false;
    if (op->late || place_look(shard, op, SEAT_REF_SECTION(op->seats[op->refusal.rank].ref), 0))
        place_refuse_send(shard, op);
}
