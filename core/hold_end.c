/*
 * hold_end.c - CONFIRM, EXTEND, RELEASE, CANCEL, and the looks at holds.
 *
 * Each is decided at the hold's home in one step: checks, change, record. The owners learn of it
 *
 *     extend                  at once: it gives nothing away
 *     confirm                 when the record is durable
 *     release, cancel         when the record is durable (R3), and only then is the unit free
 *
 * and the answer leaves when the record is durable (R2) and the owners have acknowledged, so that its
 * effect is visible to whoever asks next. Until then the hold is HOLD_RETURNING, and a further command on
 * it that looks at its state's effect waits.
 *
 * A late confirm reserves the expired hold's units again, by the way of hold_place.c, and sells them in one
 * step.
 */
#include "core/shard_internal.h"

#include <assert.h>

static const enum status ended_status[] = {
    [HOLD_CONFIRMED] = STATUS_CONFIRMED,
    [HOLD_RELEASED] = STATUS_RELEASED,
    [HOLD_EXPIRED] = STATUS_EXPIRED,
    [HOLD_CANCELLED] = STATUS_CANCELLED,
};

/* Finds the command's hold and makes sure that nothing is under way for it or its user; SLAB_NONE: answered
 * or parked. Overdue holds are expired here and now, so that the state says what is. */
static uint32_t
hold_for(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = hold_find(shard, &c->hold);
    if (slot == SLAB_NONE) {
        reply_status(shard, origin, c->type, STATUS_NOHOLD);
        return SLAB_NONE;
    }
    struct hold *hold = hold_at(shard, slot);
    const struct user *user = user_at(shard, hold->user);
    hold_prefetch_parts(shard, slot);
    if (c->type != COMMAND_CANCEL && !bytes_equal(user_name(shard, user), c->user)) {
        reply_status(shard, origin, c->type, STATUS_NOHOLD);
        return SLAB_NONE;
    }
    bool parked = true;
    if (user->busy != SLAB_NONE) {
        parked = park_command_behind(shard, hold->user, origin, c);
    } else if (hold->state == HOLD_HELD && !hold_is_live(shard, hold) && !PLANTED(PLANT_CONFIRM_OVERDUE)) {
        if (hold_expire_room(shard)) {
            hold_expire(shard, slot);
            return hold_for(shard, origin, c);
        }
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return SLAB_NONE;
    } else if ((hold->flags & HOLD_TELLING) != 0 ||
               ((hold->flags & HOLD_RETURNING) != 0 && (hold->state != HOLD_EXPIRED || c->late))) {
        parked = park_command(shard, origin, c);
    } else {
        return slot;
    }
    if (!parked)
        reply_status(shard, origin, c->type, STATUS_BUSY);
    return SLAB_NONE;
}

/* A hold that a command begins with, and the command's key. */
struct opening {
    uint32_t slot;
    enum hold_state state;
    struct key_hash key;
    struct key_hash fingerprint;
};

#define STATE_BIT(state) (1u << (state))

/* CONFIRM, EXTEND and RELEASE begin alike: the key may be answered already, the hold must be there, and in
 * one of these states. False: answered or parked. */
static bool
opened(struct shard *shard, const struct origin *origin, const struct command *c, uint32_t states,
       struct opening *ret_opening)
{
    if (key_answered(shard, origin, c, c->user, &ret_opening->key, &ret_opening->fingerprint))
        return false;
    ret_opening->slot = hold_for(shard, origin, c);
    if (ret_opening->slot == SLAB_NONE)
        return false;
    ret_opening->state = hold_at(shard, ret_opening->slot)->state;
    if ((states & STATE_BIT(ret_opening->state)) != 0)
        return true;
    assert(ret_opening->state != HOLD_HELD);
    reply_status(shard, origin, c->type, ended_status[ret_opening->state]);
    return false;
}

static struct operation *
begin(struct shard *shard, const struct origin *origin, const struct command *c,
      const struct opening *opening)
{
    if (!operation_room(shard, true)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return NULL;
    }
    const struct hold *hold = hold_at(shard, opening->slot);
    struct operation *op = operation_take(shard, origin, c->type);
    op->event = hold->event;
    op->user = hold->user;
    op->hold = opening->slot;
    op->key_used = c->key.size > 0;
    if (op->key_used) {
        op->key = opening->key;
        op->fingerprint = opening->fingerprint;
    }
    op->route = uuid_route16(&hold->id);
    operation_meta(op, c);
    return op;
}

static void
decided(struct shard *shard, struct operation *op)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, op->command);
    reply->kind = REPLY_HOLD;
    hold_view(shard, op->hold, &reply->hold);
    operation_decided(shard, op, reply);
}

/* The same answer again: nothing changes but that a key is remembered. */
static void
answer_again(struct shard *shard, struct operation *op)
{
    op->sequence = shard->sequence;
    if (op->key_used) {
        struct reply *reply = reply_begin(shard, STATUS_OK, op->command);
        reply->kind = REPLY_HOLD;
        hold_view(shard, op->hold, &reply->hold);
        op->sequence = record_key(shard, op, reply);
    }
    decided(shard, op);
}

static void
record_and_decide(struct shard *shard, struct operation *op)
{
    op->sequence = record_hold(shard, op->hold, op);
    op->after_durable = true;
    if (op->key_used)
        decided(shard, op);
    else
        operation_decided(shard, op, NULL); /* the hold tells it when the time has come */
}

/* The record is on disk: the owners may know. */
void
end_durable(struct shard *shard, struct operation *op)
{
    struct hold *hold = hold_at(shard, op->hold);
    if (op->replaced != SLAB_NONE) {
        place_return_replaced(shard, op);
        return;
    }
    switch (op->command) {
    case COMMAND_CONFIRM:
        hold_settle_owners(shard, op->hold, SETTLE_SELL, op);
        hold->flags &= (uint8_t)~HOLD_RETURNING;
        break;
    case COMMAND_RELEASE:
        hold_settle_owners(shard, op->hold, SETTLE_FREE, op);
        hold_remember(shard, op->hold);
        break;
    default:
        assert(op->command == COMMAND_CANCEL);
        hold_settle_owners(shard, op->hold, SETTLE_FREE_SOLD, op);
        hold_remember(shard, op->hold);
        break;
    }
}

/* ---- late confirm ---- */

static void
late_begin(struct shard *shard, struct operation *op)
{
    struct hold *hold = hold_at(shard, op->hold);
    const struct unit_line *lines = hold_lines(shard, hold);
    const struct event *event = event_at(shard, op->event);
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_CONFIRM);
    if (!PLANTED(PLANT_LATE_BEYOND_LIMIT) && over_limit(shard, op, hold_units(shard, hold), reply)) {
        operation_finish_refused(shard, op, reply);
        return;
    }
    op->late = true;
    op->seat_count = op->seats_asked = hold->seat_count;
    op->pool_count = hold->pool_count;
    op->deadline_ms = hold->wheel.deadline_ms;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct seat_place place = event_seat_place(event, lines[i].a);
        op->seats[i] = (struct operation_seat){
            .ref = lines[i].a, .place = place, .owner = (uint8_t)event_place_owner(event, place)};
    }
    for (uint32_t i = 0; i < hold->pool_count; i++)
        op->pools[i] = (struct operation_pool){
            .quantity = lines[hold->seat_count + i].a,
            .reserve = lines[hold->seat_count + i].a,
            .pool = (uint8_t)(lines[hold->seat_count + i].b >> 26),
            .owner = (uint8_t)event->owner,
        };
    if (!place_room(shard, op)) {
        operation_finish_refused(shard, op, reply_begin(shard, STATUS_BUSY, COMMAND_CONFIRM));
        return;
    }
    operation_user_busy(shard, op);
    place_begin(shard, op);
}

static void
confirm_now(struct shard *shard, struct operation *op)
{
    admission_use(shard, op);
    hold_leave_live(shard, op->hold, HOLD_CONFIRMED);
    record_and_decide(shard, op);
}

void
command_confirm(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct opening opening;
    uint32_t states = STATE_BIT(HOLD_HELD) | STATE_BIT(HOLD_CONFIRMED);
    if (!opened(shard, origin, c, c->late ? states | STATE_BIT(HOLD_EXPIRED) : states, &opening))
        return;
    struct operation *op = begin(shard, origin, c, &opening);
    if (op == NULL)
        return;
    op->payment_ref_size = (uint8_t)c->payment_ref.size;
    bytes_copy(op->payment_ref, c->payment_ref);
    if (opening.state == HOLD_EXPIRED)
        late_begin(shard, op);
    else if (opening.state == HOLD_CONFIRMED)
        answer_again(shard, op);
    else
        confirm_now(shard, op);
}

/* ---- extend ---- */

static void
extend_now(struct shard *shard, struct operation *op, uint64_t deadline_ms)
{
    struct hold *hold = hold_at(shard, op->hold);
    struct unit_line *lines = hold_lines(shard, hold);
    wheel_remove(&shard->wheel, op->hold);
    wheel_add(&shard->wheel, op->hold, deadline_ms);
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        pool_line_remove(shard, hold, &lines[i]);
        pool_line_add(shard, op->hold, &lines[i], deadline_ms);
    }
    op->sequence = PLANTED(PLANT_EXTEND_NOT_RECORDED) ? shard->sequence : record_hold(shard, op->hold, op);
    hold_settle_owners(shard, op->hold, SETTLE_MOVE, op);
    decided(shard, op);
}

void
command_extend(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct opening opening;
    if (!opened(shard, origin, c, STATE_BIT(HOLD_HELD), &opening))
        return;
    const struct hold *hold = hold_at(shard, opening.slot);
    uint64_t cap =
        hold->start_ms + event_at(shard, hold->event)->settings->hold_seconds_max * (uint64_t)1000;
    uint64_t deadline = shard->now_ms + c->seconds * (uint64_t)1000;
    if (deadline > cap && !PLANTED(PLANT_EXTEND_BEYOND_CAP))
        deadline = cap;
    if (hold->wheel.deadline_ms >= cap && !PLANTED(PLANT_EXTEND_BEYOND_CAP)) {
        struct reply *reply = reply_begin(shard, STATUS_NOEXTEND, c->type);
        reply->figures = FIGURE_DEADLINE_MAX;
        reply->deadline_max_ms = cap;
        reply_send(shard, origin, reply, 0);
        return;
    }
    struct operation *op = begin(shard, origin, c, &opening);
    if (op == NULL)
        return;
    if (deadline <= hold->wheel.deadline_ms)
        answer_again(shard, op);
    else
        extend_now(shard, op, deadline);
}

/* ---- release and cancel ---- */

void
command_release(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct opening opening;
    if (!opened(shard, origin, c, STATE_BIT(HOLD_HELD) | STATE_BIT(HOLD_RELEASED), &opening))
        return;
    struct operation *op = begin(shard, origin, c, &opening);
    if (op == NULL)
        return;
    if (opening.state == HOLD_RELEASED) {
        answer_again(shard, op);
        return;
    }
    hold_leave_live(shard, opening.slot, HOLD_RELEASED);
    record_and_decide(shard, op);
}

void
command_cancel(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct opening opening = {.slot = hold_for(shard, origin, c)};
    if (opening.slot == SLAB_NONE)
        return;
    struct hold *hold = hold_at(shard, opening.slot);
    if (hold->state != HOLD_CONFIRMED && hold->state != HOLD_CANCELLED) {
        reply_status(shard, origin, c->type,
                     hold->state == HOLD_HELD ? STATUS_NOTCONFIRMED : ended_status[hold->state]);
        return;
    }
    struct operation *op = begin(shard, origin, c, &opening);
    if (op == NULL)
        return;
    op->key_used = 0; /* an operator's key is kept where the command came from: shard.c */
    if (hold->state == HOLD_CANCELLED) {
        answer_again(shard, op);
        return;
    }
    struct user *user = user_at(shard, hold->user);
    uint32_t units = hold_units(shard, hold);
    assert(user->used >= units);
    user->used -= units;
    hold_raise_versions(shard, hold);
    hold->state = HOLD_CANCELLED;
    hold->ended_ms = shard->now_ms;
    hold->flags |= HOLD_RETURNING;
    shard->confirmed_count--;
    admission_use(shard, op);
    record_and_decide(shard, op);
}

/* The expired hold's units are this user's again, and sold. */
void
late_decide(struct shard *shard, struct operation *op)
{
    struct hold *hold = hold_at(shard, op->hold);
    struct unit_line *lines = hold_lines(shard, hold);
    struct event *event = event_at(shard, op->event);
    assert(hold->state == HOLD_EXPIRED);
    admission_use(shard, op);
    hold_unremember(shard, op->hold);
    hold->state = HOLD_CONFIRMED;
    hold->ended_ms = 0;
    shard->confirmed_count++;
    user_at(shard, op->user)->used += hold_units(shard, hold);
    for (uint32_t i = 0; i < op->seat_count; i++)
        lines[i].b = op->seats[i].version;
    for (uint32_t i = 0; i < op->pool_count; i++)
        event->pools[op->pools[i].pool].sold += op->pools[i].quantity;
    op->sequence = record_hold(shard, op->hold, op);
    op->stage = STAGE_DECIDED;
    if (op->multiple)
        settle_granted(shard, op, SETTLE_SELL_RESERVED);
    decided(shard, op);
}

/* ---- looks ---- */

void
command_hold_get(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = hold_find(shard, &c->hold);
    if (slot == SLAB_NONE) {
        reply_status(shard, origin, c->type, STATUS_NOHOLD);
        return;
    }
    struct reply *reply = reply_begin(shard, STATUS_OK, c->type);
    reply->kind = REPLY_HOLD;
    hold_view(shard, slot, &reply->hold);
    look_reply(shard, origin, reply);
}

/* The user's live and confirmed holds; token: of their place in the queue, or NULL. */
static void
holds_answer(struct shard *shard, const struct origin *origin, const struct event *event, struct bytes name,
             const struct uuid *token)
{
    uint8_t *packed = shard->packed;
    uint32_t size = 0;
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_HOLDS);
    reply->kind = REPLY_HOLDS;
    reply->event = event->settings;
    reply->user = name;
    reply->used = 0;
    reply->hold_count = 0;
    reply->has_token = token != NULL;
    if (token != NULL)
        reply->token_id = *token;
    uint32_t user = user_find(shard, event->number, name, user_hash(shard, name));
    uint32_t slot = SLAB_NONE;
    if (user != SLAB_NONE) {
        slot = user_at(shard, user)->first_hold;
        reply->used = user_at(shard, user)->used;
    }
    for (; slot != SLAB_NONE; slot = hold_at(shard, slot)->user_next) {
        struct hold *hold = hold_at(shard, slot);
        if (hold->state == HOLD_HELD && !hold_is_live(shard, hold))
            reply->used -= hold_units(shard, hold);
        if (!hold_is_live(shard, hold) && hold->state != HOLD_CONFIRMED)
            continue;
        if (size + HOLD_PACKED_MAX > HOLDS_PACKED_MAX || !message_room(shard, origin->shard)) {
            reply_status(shard, origin, COMMAND_HOLDS, STATUS_BUSY); /* more than one answer carries */
            return;
        }
        struct hold_view view;
        hold_view(shard, slot, &view);
        size += hold_view_pack(&view, packed + size);
        reply->hold_count++;
    }
    reply->holds = (struct bytes){(const char *)packed, size};
    look_reply(shard, origin, reply);
}

/* The queue's owner has said whether the user has a place. */
void
holds_token_is(struct shard *shard, struct operation *op, const struct message_token_is *message)
{
    holds_answer(shard, &op->origin, event_at(shard, op->event),
                 (struct bytes){message->user, message->user_size},
                 message->has_token ? &message->token : NULL);
    operation_free(shard, op);
}

void
command_holds(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct event *event = event_find(shard, c->event);
    struct uuid token;
    if (event == NULL) {
        reply_noevent(shard, origin, c);
        return;
    }
    if (event->settings->queue_active_max == 0) {
        holds_answer(shard, origin, event, c->user, NULL);
        return;
    }
    if (event->owner == shard->settings.shard_index) {
        bool has_token = queue_user_token(shard, event->number, c->user, &token);
        holds_answer(shard, origin, event, c->user, has_token ? &token : NULL);
        return;
    }
    if (!operation_room(shard, false) || !message_room(shard, event->owner)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct operation *op = operation_take(shard, origin, c->type);
    op->stage = STAGE_GATHER;
    op->event = event->number;
    op->awaited = 1;
    struct message_token_of message = {
        .header = {.type = MESSAGE_TOKEN_OF, .operation = operation_slot(shard, op), .serial = op->serial},
        .event = event->number,
        .user_size = (uint8_t)c->user.size,
    };
    memcpy(message.user, c->user.data, c->user.size);
    message_send(shard, event->owner, &message, sizeof message);
}
