/*
 * owner.c - what an owner of blocks and pools does for a hold's home: reserve, and settle.
 *
 * RESERVE names all the hold's units that this shard owns. It is decided in one step: first everything is
 * checked, in the order asked, then everything is taken, or nothing (R4). Where the hold's other units lie
 * with other owners the units are only reserved, and a SETTLE commits or aborts them. For the home in this
 * same shard owner_take_own() decides the same way, without a message.
 *
 * Who asks for a unit that is reserved waits here, parked, until it is settled. Homes ask owners in
 * ascending order and hold nothing of a later one while they wait for an earlier one, so nobody waits in a
 * circle; a choice of best seats, which comes last and in any order, never waits: it takes from what is
 * free.
 */
#include "core/shard_internal.h"

#include <assert.h>

/* Checks in the order asked: the first unit that is refused decides. BUSY: one must be waited for. */
static enum status
reserve_check(struct shard *shard, struct event *event, const struct message_reserve *message,
              struct message_reserved *answer)
{
    for (uint32_t i = 0; i < message->seat_count; i++) {
        enum status status =
            seat_try(shard, event, message->seats[i], &answer->holder, &answer->next_deadline_ms);
        if (PLANTED(PLANT_CHECK_THEN_ACT) && i > 0)
            continue;
        if (status != STATUS_OK) {
            answer->at = (uint8_t)i;
            return status;
        }
    }
    for (uint32_t i = 0; i < message->pool_count; i++) {
        enum status status =
            pool_try(shard, event, message->pools[i].pool, message->pools[i].quantity,
                     message->pools[i].asked, &answer->remaining, &answer->next_deadline_ms);
        if (status != STATUS_OK) {
            answer->at = (uint8_t)(message->seat_count + i);
            return status;
        }
    }
    return STATUS_OK;
}

static bool
reserve_best(struct event *event, const struct message_reserve *message, struct message_reserved *answer)
{
    const struct block *block = event_own_block(event, message->best_block);
    seat_ref first;
    if (!block_best(event, block, message->best_count, message->best_orphans, &first))
        return false;
    for (uint32_t i = 0; i < message->best_count; i++)
        answer->seats[i].ref = first + i; /* the number is the lowest part of a ref */
    answer->seat_count = message->best_count;
    return true;
}

static bool
own_are_free(const struct event *event, const struct operation *op, uint32_t self)
{
    for (uint32_t i = 0; i < op->seats_asked; i++) {
        if (op->seats[i].owner != self || op->seats[i].kept)
            continue;
        if (!seat_is_free(event, op->seats[i].place))
            return false;
        if (PLANTED(PLANT_CHECK_THEN_ACT))
            break;
    }
    for (uint32_t i = 0; i < op->pool_count; i++)
        if (op->pools[i].owner == self && !op->pools[i].sliced && op->pools[i].reserve > 0 &&
            !pool_is_free(event, op->pools[i].pool, op->pools[i].reserve))
            return false;
    return true;
}

bool
owner_take_own(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    uint32_t self = shard->settings.shard_index;
    bool final = !op->multiple;
    if (op->stage != STAGE_RESERVE || !own_are_free(event, op, self))
        return false;
    op->granted |= SHARD_BIT(self);
    for (uint32_t i = 0; i < op->seats_asked; i++)
        if (op->seats[i].owner == self && !op->seats[i].kept)
            op->seats[i].version =
                seat_take(event, op->seats[i].place, op->hold, op->deadline_ms, final, op->late);
    for (uint32_t i = 0; i < op->pool_count; i++)
        if (op->pools[i].owner == self && !op->pools[i].sliced && op->pools[i].reserve > 0)
            (void)pool_take(shard, event, op->pools[i].pool, op->pools[i].reserve, self,
                            final); /* the owner's slice is the pool itself */
    return true;
}

bool
owner_reserve(struct shard *shard, uint32_t from, const struct message_reserve *message,
              struct message_reserved *answer)
{
    struct event *event = event_at(shard, message->event);
    answer->header = (struct message_header){
        .type = MESSAGE_RESERVED, .operation = message->header.operation, .serial = message->header.serial};
    answer->event = message->event;
    answer->pool_count = 0;
    answer->seat_count = 0;
    answer->status = reserve_check(shard, event, message, answer);
    if (answer->status == STATUS_BUSY) /* no room to park: BUSY is the answer */
        return !park_message(shard, from, message, message_reserve_size(message));
    if (answer->status != STATUS_OK || message->probe)
        return true;

    answer->seat_count = message->seat_count;
    for (uint32_t i = 0; i < message->seat_count; i++)
        answer->seats[i].ref = message->seats[i];
    if (message->best_count > 0 && !reserve_best(event, message, answer)) {
        answer->status = STATUS_NOADJACENT; /* somebody else was quicker: look again */
        return true;
    }
    for (uint32_t i = 0; i < answer->seat_count; i++)
        answer->seats[i].version =
            seat_take(event, event_seat_place(event, answer->seats[i].ref), message->hold,
                      message->deadline_ms, message->final, message->sell);
    answer->pool_count = message->pool_count;
    for (uint32_t i = 0; i < message->pool_count; i++)
        answer->slices[i] = pool_take(shard, event, message->pools[i].pool, message->pools[i].quantity,
                                      from, message->final);
    return true;
}

void
owner_settle(struct shard *shard, uint32_t from, const struct message_settle *message)
{
    struct event *event = event_at(shard, message->event);
    for (uint32_t i = 0; i < message->seat_count; i++)
        seat_settle(event, event_seat_place(event, message->seats[i].ref), message->seats[i].action,
                    message->seats[i].version, message->hold, message->deadline_ms);
    for (uint32_t i = 0; i < message->pool_count; i++)
        pool_settle(shard, event, message->pools[i].pool, message->pools[i].action,
                    message->pools[i].quantity, from, message->pools[i].first_ms);
    shard->wake = true;
}
