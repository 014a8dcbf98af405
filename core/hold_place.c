/*
 * hold_place.c - HOLD: the checks in the contract's order, and everything the decision will need (R4).
 *
 *     command_hold     hold_place.c    checks that need no owner
 *     place_begin      hold_owners.c   owner after owner, ascending by shard: all its units, or its refusal
 *     place_reserved   hold_owners.c   an owner's answer: go on, or find which refused unit was asked first
 *     place_best       hold_best.c     last: every owner's look at the section, then its best block
 *     place_decide     hold_decide.c   all granted: the hold, its record, commits
 *     place_refuse     hold_refuse.c   aborts what was granted; figures for the refusal
 *
 * Where one owner has all units what it grants is final; with several, units are reserved first and
 * committed after the decision, and nobody sees them taken in between. Where owner and home are one shard
 * every step is a function call, and the whole of it runs through at once. A late confirm goes the same way
 * (hold_end.c).
 */
#include "core/shard_internal.h"

#include <assert.h>

/* ---- what is asked, as refs ---- */

struct asked {
    const struct command *command;
    enum status unknown; /* NOSEAT, NOPOOL or OK */
    uint8_t unit_size;   /* the first unknown one, as asked */
    char unit[SEAT_TEXT_SIZE_MAX];
};

static void
asked_unknown_text(struct asked *asked, enum status status, struct bytes name)
{
    asked->unknown = status;
    asked->unit_size = (uint8_t)name.size;
    memcpy(asked->unit, name.data, name.size);
}

static void
asked_unknown_seat(struct asked *asked, const struct seat_name *name)
{
    char text[SEAT_TEXT_SIZE_MAX];
    char digits[10];
    uint32_t size = 0;
    uint32_t count = 0;
    memcpy(text, name->section.data, name->section.size);
    size += name->section.size;
    text[size++] = '/';
    memcpy(text + size, name->row.data, name->row.size);
    size += name->row.size;
    text[size++] = '/';
    for (uint32_t n = name->number; n > 0; n /= 10)
        digits[count++] = (char)('0' + n % 10);
    while (count > 0)
        text[size++] = digits[--count];
    asked_unknown_text(asked, STATUS_NOSEAT, (struct bytes){text, size});
}

static void
resolve(const struct shard *shard, struct operation *op, const struct event *event, struct asked *asked)
{
    const struct command *c = asked->command;
    asked->unknown = STATUS_OK;
    op->seat_count = op->seats_asked = c->seat_count;
    op->pool_count = c->pool_count;
    op->best_count = c->best_count;
    for (uint32_t i = 0; i < c->seat_count; i++) {
        op->seats[i].kept = false;
        if (!event_seat_find(event, &c->seats[i], &op->seats[i].ref)) {
            asked_unknown_seat(asked, &c->seats[i]);
            return;
        }
        op->seats[i].place = event_seat_place(event, op->seats[i].ref);
        op->seats[i].owner = (uint8_t)event_place_owner(event, op->seats[i].place);
        if (op->seats[i].owner == shard->settings.shard_index)
            event_seat_prefetch(event, op->seats[i].place);
    }
    for (uint32_t i = 0; i < c->pool_count; i++) {
        int32_t pool = event_settings_find_pool(event->settings, c->pools[i].name);
        if (pool < 0) {
            asked_unknown_text(asked, STATUS_NOPOOL, c->pools[i].name);
            return;
        }
        op->pools[i] = (struct operation_pool){
            .quantity = c->pools[i].quantity,
            .reserve = c->pools[i].quantity,
            .pool = (uint8_t)pool,
            .owner = (uint8_t)event->owner,
        };
    }
    if (c->best_count > 0) {
        int32_t section = event_section_find(event, c->section);
        if (section < 0) {
            asked_unknown_text(asked, STATUS_NOSEAT, c->section);
            return;
        }
        op->best_section = (uint8_t)section;
    }
}

/* ---- one's own hold of exactly these seats ---- */

bool
place_is_own(const struct shard *shard, const struct operation *op, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    if (op->pool_count > 0 || op->best_count > 0 || hold->user != op->user || !hold_is_live(shard, hold) ||
        hold->seat_count != op->seats_asked || hold->pool_count > 0)
        return false;
    for (uint32_t i = 0; i < op->seats_asked; i++)
        if (!hold_has_seat(shard, hold, op->seats[i].ref))
            return false;
    return true;
}

static uint32_t
own_same_scan(const struct shard *shard, const struct operation *op)
{
    if (op->user == SLAB_NONE || op->pool_count > 0 || op->best_count > 0)
        return SLAB_NONE;
    uint32_t slot = user_at(shard, op->user)->first_hold;
    for (uint32_t i = 0; slot != SLAB_NONE && i < USER_SCAN_MAX; i++) {
        if (place_is_own(shard, op, slot))
            return slot;
        slot = hold_at(shard, slot)->user_next;
    }
    return SLAB_NONE;
}

/* Answers with a hold that stands already: nothing changes but that a key is remembered. */
void
place_answer_own(struct shard *shard, struct operation *op, uint32_t slot)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_HOLD);
    reply->kind = REPLY_HOLD;
    hold_view(shard, slot, &reply->hold);
    op->sequence = shard->sequence;
    if (op->key_used)
        op->sequence = record_key(shard, op, reply);
    op->after_durable = false;
    operation_decided(shard, op, reply);
}

/* ---- checks ---- */

static void
refuse(struct shard *shard, struct operation *op, enum status status)
{
    operation_finish_refused(shard, op, reply_begin(shard, status, op->command));
}

static enum status
replaced_check(const struct shard *shard, const struct operation *op, const struct command *c,
               uint32_t *ret_slot)
{
    static const enum status ended[] = {
        [HOLD_CONFIRMED] = STATUS_CONFIRMED,
        [HOLD_RELEASED] = STATUS_RELEASED,
        [HOLD_EXPIRED] = STATUS_EXPIRED,
        [HOLD_CANCELLED] = STATUS_CANCELLED,
    };
    uint32_t slot = hold_find(shard, &c->replaces);
    if (slot == SLAB_NONE)
        return STATUS_NOHOLD;
    const struct hold *hold = hold_at(shard, slot);
    if (hold->event != op->event || hold->user != op->user)
        return STATUS_NOHOLD;
    if (hold->state != HOLD_HELD)
        return ended[hold->state];
    if (!hold_is_live(shard, hold))
        return STATUS_EXPIRED;
    *ret_slot = slot;
    return STATUS_OK;
}

static uint64_t
operation_units(const struct operation *op)
{
    uint64_t units = (uint64_t)op->seats_asked + op->best_count;
    for (uint32_t i = 0; i < op->pool_count; i++)
        units += op->pools[i].quantity;
    return units;
}

/* Over the user's limit? Then the reply has the figures. */
bool
over_limit(struct shard *shard, const struct operation *op, uint64_t units, struct reply *reply)
{
    const struct event *event = event_at(shard, op->event);
    uint64_t limit = event->settings->units_per_user_max;
    uint64_t given_back = op->replaced == SLAB_NONE ? 0 : hold_units(shard, hold_at(shard, op->replaced));
    uint64_t used = 0;
    if (limit == 0)
        return false;
    if (op->user != SLAB_NONE && !PLANTED(PLANT_LIMIT_PER_REQUEST)) {
        used = user_at(shard, op->user)->used;
        if (used - given_back + units > limit)
            used -= user_overdue_units(shard, op->user);
    }
    if (PLANTED(PLANT_LIMIT_PER_REQUEST))
        given_back = 0;
    if (used - given_back + units <= limit)
        return false;
    reply->status = STATUS_LIMIT;
    reply->figures = FIGURE_LIMIT;
    reply->limit = limit;
    reply->used = used;
    return true;
}

/* Everything the decision will need is there, so that it cannot fail. */
bool
place_room(struct shard *shard, const struct operation *op)
{
    uint32_t lines = (uint32_t)op->seats_asked + op->best_count + op->pool_count;
    for (uint64_t used = shard->outbox_used_shards; used != 0; used &= used - 1)
        if (!message_room(shard, (uint32_t)__builtin_ctzll(used)))
            return false; /* an outbox that is empty has room */
    return op->late ? slab_left(&shard->pool_nodes) >= HOLD_POOLS_MAX
                    : hold_room(shard, lines, op->user == SLAB_NONE);
}

/* Marks what the replaced hold has already. */
static void
keep_replaced(struct shard *shard, struct operation *op)
{
    struct hold *old = hold_at(shard, op->replaced);
    const struct unit_line *lines = hold_lines(shard, old);
    for (uint32_t i = 0; i < op->seat_count; i++)
        op->seats[i].kept = hold_has_seat(shard, old, op->seats[i].ref);
    for (uint32_t i = 0; i < op->pool_count; i++) {
        for (uint32_t k = old->seat_count; k < old->seat_count + (uint32_t)old->pool_count; k++) {
            if (lines[k].b >> 26 != op->pools[i].pool)
                continue;
            uint32_t has = lines[k].a;
            op->pools[i].reserve = op->pools[i].quantity > has ? op->pools[i].quantity - has : 0;
        }
    }
}

static void
closed_figures(const struct shard *shard, const struct event *event, struct reply *reply)
{
    if (event->settings->status == EVENT_OPEN && event_open_at(event) > shard->now_ms) {
        reply->figures = FIGURE_OPENS_AT;
        reply->opens_at_ms = event_open_at(event);
    }
}

/* The checks in the contract's order. False: answered. */
static bool
place_checks(struct shard *shard, struct operation *op, const struct event *event,
             const struct asked *asked)
{
    const struct command *c = asked->command;
    uint32_t own = SLAB_NONE;
    uint32_t replaced = SLAB_NONE;
    enum status replaced_status = STATUS_OK;
    if (c->has_replaces)
        replaced_status = replaced_check(shard, op, c, &replaced);
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_HOLD);
    if (event->settings->status != EVENT_OPEN || event_open_at(event) > shard->now_ms) {
        reply->status = STATUS_CLOSED;
        closed_figures(shard, event, reply);
    } else if (c->pass_refused || (event->settings->queue_active_max > 0 &&
                                   !admitted(shard, event, c->user, user_hash(shard, c->user)))) {
        reply->status = STATUS_NOTADMITTED;
    } else if (replaced_status != STATUS_OK) {
        reply->status = replaced_status;
    } else if (asked->unknown != STATUS_OK) {
        reply->status = asked->unknown;
        reply->figures = FIGURE_UNIT;
        reply->unit_size = asked->unit_size;
        memcpy(reply->unit, asked->unit, asked->unit_size);
    } else {
        op->replaced = replaced;
        if (event->settings->units_per_user_max > 0)
            (void)over_limit(shard, op, operation_units(op), reply);
    }
    /* One's own same hold comes before all of these refusals; where there is none of them its seats are
     * refused as held, and it is found by that. Only a replaced hold's own seats would not be refused. */
    if (asked->unknown == STATUS_OK) {
        if (replaced != SLAB_NONE && place_is_own(shard, op, replaced))
            own = replaced;
        else if (reply->status != STATUS_OK)
            own = own_same_scan(shard, op);
    }
    uint32_t touched = own != SLAB_NONE ? own : replaced;
    if (touched != SLAB_NONE && (hold_at(shard, touched)->flags & HOLD_TELLING) != 0) {
        bool parked = park_command(shard, &op->origin, c);
        struct origin origin = op->origin;
        operation_free(shard, op);
        if (!parked)
            reply_status(shard, &origin, c->type, STATUS_BUSY);
        return false;
    }
    if (own != SLAB_NONE) {
        place_answer_own(shard, op, own);
        return false;
    }
    if (reply->status != STATUS_OK) {
        operation_finish_refused(shard, op, reply);
        return false;
    }
    return true;
}

void
command_hold(struct shard *shard, const struct origin *origin, const struct command *c, uint64_t hash)
{
    struct key_hash key;
    struct key_hash fingerprint;
    struct event *event = event_find(shard, c->event);
    if (event != NULL && c->seconds > event->settings->hold_seconds_max) {
        struct reply *reply = reply_begin(shard, STATUS_BADREQUEST, c->type);
        reply->figures = FIGURE_FIELD;
        memcpy(reply->field, "hold_seconds", sizeof "hold_seconds");
        memcpy(reply->expected, "at most the event's hold_seconds_max",
               sizeof "at most the event's hold_seconds_max");
        reply_send(shard, origin, reply, 0);
        return;
    }
    if (key_answered(shard, origin, c, c->user, &key, &fingerprint))
        return;
    if (event == NULL) {
        reply_noevent(shard, origin, c);
        return;
    }
    if (shard->scarcity != SCARCE_NOT || !operation_room(shard, false)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    /* Four places in memory are far from each other: the user's, the seat's (resolve), the new hold's
     * bucket. They are asked for at once and used later: that is why the id is drawn now. */
    uint64_t id_random = id_draw(shard);
    user_prefetch(shard, event->number, hash);
    hold_prefetch(shard, route16(hash), id_random);
    struct operation *op = operation_take(shard, origin, c->type);
    op->event = event->number;
    op->key_used = c->key.size > 0;
    op->route = route16(hash);
    op->id_random = id_random;
    op->key = key;
    op->fingerprint = fingerprint;
    operation_meta(op, c);

    struct asked asked;
    asked.command = c;
    resolve(shard, op, event, &asked);
    op->user = user_find(shard, event->number, c->user, hash);
    if (op->user != SLAB_NONE && user_at(shard, op->user)->busy != SLAB_NONE) {
        bool parked = park_command_behind(shard, op->user, origin, c);
        operation_free(shard, op);
        if (!parked)
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    if (!place_checks(shard, op, event, &asked))
        return;
    uint32_t remembered = shard->ended_count;
    if (!place_room(shard, op)) {
        refuse(shard, op, STATUS_BUSY);
        return;
    }
    /* Making room may have forgotten the user's last ended hold, and the user with it. */
    if (shard->ended_count != remembered)
        op->user = user_find(shard, event->number, c->user, hash);
    if (op->user == SLAB_NONE)
        op->user = user_make(shard, event->number, c->user, hash);
    op->hold = slab_take(&shard->holds);
    assert(op->hold != SLAB_NONE);
    hold_at(shard, op->hold)->state = 0;
    if (op->seats_asked + op->best_count + op->pool_count > HOLD_INLINE_UNITS)
        hold_at(shard, op->hold)->units_more = slab_take(&shard->units);
    operation_user_busy(shard, op);

    op->start_ms = shard->now_ms;
    op->deadline_ms =
        shard->now_ms + (c->seconds == 0 ? event->settings->hold_seconds : c->seconds) * (uint64_t)1000;
    op->state = HOLD_HELD;
    if (op->replaced != SLAB_NONE) {
        const struct hold *old = hold_at(shard, op->replaced);
        uint64_t cap = old->start_ms + event->settings->hold_seconds_max * (uint64_t)1000;
        op->start_ms = old->start_ms;
        op->replaced_id = old->id;
        if (op->deadline_ms > cap)
            op->deadline_ms = cap;
        keep_replaced(shard, op);
    }
    place_begin(shard, op);
}
