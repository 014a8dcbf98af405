/*
 * hold_best.c - seats side by side: every owner looks at the section, then the best block's owner chooses.
 *
 * The choice is from one look at each owner; in the meantime somebody may have been quicker, then all look
 * again. Where nothing can be had only because seats are reserved by holds that are not decided, the hold
 * waits for their end. See also: seat_map.c for the order of choices, hold_place.c.
 */
#include "core/shard_internal.h"

#include <assert.h>

/* Looks at a section before BUSY, those after asking anew included: each failed one means that others got
 * seats, or had some in hand. */
#define BEST_TRIES_MAX 1024

static void
best_look_message(const struct shard *shard, const struct operation *op, uint32_t section, uint32_t count,
                  struct message_look *message)
{
    *message = (struct message_look){
        .header = {.type = MESSAGE_LOOK, .operation = operation_slot(shard, op), .serial = op->serial},
        .event = op->event,
        .section = (uint8_t)section,
        .best_count = (uint8_t)count,
        .wait = op->best_wait,
    };
}

/* Asks every owner of the section's blocks; true: all answers are here already. */
bool
place_look(struct shard *shard, struct operation *op, uint32_t section, uint32_t count)
{
    uint64_t owners = event_at(shard, op->event)->sections[section].owners;
    section_look_open(&op->look);
    for (; owners != 0; owners &= owners - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(owners);
        struct message_look message;
        best_look_message(shard, op, section, count, &message);
        if (i != shard->settings.shard_index) {
            op->awaited++;
            message_send(shard, i, &message, sizeof message);
            continue;
        }
        struct message_looked own;
        if (look_section_own(shard, i, &message, &own))
            section_look_merge(&op->look, &own.look);
        else
            op->awaited++;
    }
    return op->awaited == 0;
}

static void best_choose(struct shard *shard, struct operation *op);

void
place_best(struct shard *shard, struct operation *op)
{
    op->stage = STAGE_LOOK_BEST;
    if (!op->best_wait)
        op->best_tries++;
    if (place_look(shard, op, op->best_section, op->best_count))
        best_choose(shard, op);
}

void
place_looked(struct shard *shard, struct operation *op, uint32_t from, const struct section_look *look)
{
    (void)from;
    section_look_merge(&op->look, look);
    if (op->awaited > 0)
        return;
    if (op->stage == STAGE_LOOK_BEST)
        best_choose(shard, op);
    else
        place_refuse_send(shard, op);
}

/* The section's free seats without those this very operation has reserved. */
static void
look_without_own(const struct operation *op, uint32_t section, struct section_look *look)
{
    for (uint32_t i = 0; i < op->seats_asked; i++) {
        if (op->seats[i].kept || SEAT_REF_SECTION(op->seats[i].ref) != section)
            continue;
        assert(look->reserved > 0);
        look->free--;
        look->reserved--;
    }
}

/* Two that hindered each other must not come again in the same step, for mailboxes keep their order, and
 * they would hinder each other for ever: after the n-th time each looks a number of times of its own, below
 * 2^n, before it asks (binary exponential backoff, as on a shared cable: Metcalfe and Boggs, "Ethernet",
 * 1976). The first one to ask makes the other one's look wait. */
static uint8_t
looks_before_again(const struct shard *shard, const struct operation *op)
{
    uint32_t times = op->best_tries < 7 ? op->best_tries : 7u;
    uint32_t own = (op->serial * SHARDS_MAX + shard->settings.shard_index) * 0x9e3779b1u;
    own = (own ^ op->best_tries) * 0x85ebca6bu;
    return (uint8_t)(1 + (own >> 24 & ((1u << times) - 1)));
}

static void
best_choose(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    op->best_wait = op->best_again > 1;
    if (op->best_again > 0) {
        if (--op->best_again > 0)
            place_best(shard, op);
        else
            place_begin(shard, op);
        return;
    }
    op->orphans = op->look.block == UINT32_MAX;
    uint32_t block = op->orphans ? op->look.block_orphans : op->look.block;
    if (block != UINT32_MAX) {
        struct message_reserve message;
        place_reserve_message(shard, op, &message);
        message.best_orphans = op->orphans;
        message.best_count = op->best_count;
        message.best_section = op->best_section;
        message.best_block = block;
        place_ask(shard, op, event->block_owner[block], &message);
        return;
    }
    look_without_own(op, op->best_section, &op->look);
    op->refusal.rank = op->seats_asked + (uint32_t)op->pool_count;
    op->refusal.remaining = op->look.free;
    op->refusal.next_deadline_ms = op->look.next_deadline_ms;
    if (op->look.free >= op->best_count) {
        if (op->look.reserved > 0) {
            /* Others are being decided; what they leave may be side by side. Nobody waits for them with
             * units in hand, or two would wait for each other: what is granted goes back, and all is asked
             * anew. */
            if (op->granted != 0) {
                if (op->best_tries >= BEST_TRIES_MAX) {
                    op->refusal.status = STATUS_BUSY;
                    place_refuse(shard, op);
                    return;
                }
                settle_granted(shard, op, SETTLE_ABORT);
                op->granted = 0;
                op->best_again = looks_before_again(shard, op);
            }
            op->best_wait = true;
            place_best(shard, op);
            return;
        } else {
            op->refusal.status = STATUS_NOADJACENT;
        }
    } else if (op->look.free + (uint64_t)op->look.held >= op->best_count) {
        op->refusal.status = STATUS_HELDOUT;
    } else {
        op->refusal.status = STATUS_SOLDOUT;
    }
    place_refuse(shard, op);
}

void
best_reserved(struct shard *shard, struct operation *op, uint32_t from,
              const struct message_reserved *answer)
{
    if (answer->status != STATUS_OK) {
        assert(answer->status == STATUS_NOADJACENT);
        if (op->best_tries >= BEST_TRIES_MAX) {
            op->refusal.status = STATUS_BUSY;
            place_refuse(shard, op);
        } else {
            place_best(shard, op);
        }
        return;
    }
    assert(answer->seat_count == op->best_count);
    op->granted |= SHARD_BIT(from);
    for (uint32_t i = 0; i < answer->seat_count; i++) {
        struct operation_seat *seat = &op->seats[op->seat_count++];
        seat->ref = answer->seats[i].ref;
        seat->version = answer->seats[i].version;
        seat->place = event_seat_place(event_at(shard, op->event), seat->ref);
        seat->owner = (uint8_t)from;
        seat->kept = false;
    }
    place_decide(shard, op);
}
