/*
 * hold_place.c - HOLD: the checks in their order, the owners in theirs, the decision. Also the way of a
 * late confirm, which asks for an expired hold's units again.
 *
 *     command_hold      checks that need no owner; everything the hold will need is there (R4)
 *     place_begin       owner after owner, ascending by shard: all its units, or its refusal
 *     place_reserved    an owner's answer: go on, or find out which refused unit was asked first
 *     place_best        last: every owner's look at the section, then its best block
 *     place_decide      all granted: the hold, its record, commits
 *     place_refuse      aborts what was granted; figures for the refusal
 *
 * Where one owner has all units what it grants is final; with several, units are reserved first and
 * committed after the decision, and nobody sees them taken in between. Where owner and home are one shard
 * every step is a function call, and the whole of it runs through at once.
 *
 * A hold of pools alone, all of them sliced and plentiful here, needs no owner at all.
 */
#include "core/shard_internal.h"

#include <assert.h>

#define USER_SCAN_MAX  4096 /* newest holds of a user that are compared with what is asked */
#define BEST_TRIES_MAX 64   /* looks at a section before BUSY: each failed one means others got seats */

static void place_next(struct shard *shard, struct operation *op);
static void place_decide(struct shard *shard, struct operation *op);
static void place_refuse(struct shard *shard, struct operation *op);

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
        op->seats[i].owner = (uint8_t)event_seat_owner(event, op->seats[i].ref);
        if (op->seats[i].owner == shard->settings.shard_index)
            event_seat_prefetch(event, op->seats[i].ref);
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

static bool
is_own_same(const struct shard *shard, const struct operation *op, uint32_t slot)
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
        if (is_own_same(shard, op, slot))
            return slot;
        slot = hold_at(shard, slot)->user_next;
    }
    return SLAB_NONE;
}

/* Answers with a hold that stands already: nothing changes but that a key is remembered. */
static void
answer_own(struct shard *shard, struct operation *op, uint32_t slot)
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
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        if (!message_room(shard, i))
            return false;
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
    } else if (replaced_status != STATUS_OK) {
        reply->status = replaced_status;
    } else if (asked->unknown != STATUS_OK) {
        reply->status = asked->unknown;
        reply->figures = FIGURE_UNIT;
        reply->unit_size = asked->unit_size;
        memcpy(reply->unit, asked->unit, asked->unit_size);
    } else {
        op->replaced = replaced;
        (void)over_limit(shard, op, operation_units(op), reply);
    }
    /* One's own same hold comes before all of these refusals; where there is none of them its seats are
     * refused as held, and it is found by that. Only a replaced hold's own seats would not be refused. */
    if (asked->unknown == STATUS_OK) {
        if (replaced != SLAB_NONE && is_own_same(shard, op, replaced))
            own = replaced;
        else if (reply->status != STATUS_OK)
            own = own_same_scan(shard, op);
    }
    if (own != SLAB_NONE) {
        answer_own(shard, op, own);
        return false;
    }
    if (reply->status != STATUS_OK) {
        operation_finish_refused(shard, op, reply);
        return false;
    }
    return true;
}

void
command_hold(struct shard *shard, const struct origin *origin, const struct command *c)
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
        reply_status(shard, origin, c->type, STATUS_NOEVENT);
        return;
    }
    if (!operation_room(shard, false)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    /* Four places in memory are far from each other: the user's, the seat's (resolve), the new hold's
     * bucket. They are asked for at once and used later. */
    uint64_t hash = user_hash(shard, c->user);
    user_prefetch(shard, event->number, hash);
    hold_prefetch(shard, route16(hash));
    struct operation *op = operation_take(shard, origin, c->type);
    op->event = event->number;
    op->key_used = c->key.size > 0;
    op->route = route16(hash);
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

/* ---- owners ---- */

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
    bool may_fail = shard->settings.shard_count > 1 && (op->key_used || op->replaced != SLAB_NONE);
    op->multiple = several || remote_pool || may_fail;
}

void
place_begin(struct shard *shard, struct operation *op)
{
    place_route(shard, op);
    op->stage = STAGE_RESERVE;
    place_next(shard, op);
}

static void
reserve_message(const struct shard *shard, const struct operation *op, struct message_reserve *message)
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

static void
ask(struct shard *shard, struct operation *op, uint32_t owner, struct message_reserve *message)
{
    op->awaited++;
    if (owner != shard->settings.shard_index) {
        message_send(shard, owner, message, sizeof *message);
        return;
    }
    struct message_reserved answer;
    if (owner_reserve(shard, owner, message, &answer)) {
        op->awaited--;
        place_reserved(shard, op, owner, &answer);
    }
}

static void place_best(struct shard *shard, struct operation *op);

/* One owner a call; the answer comes back here. With every owner local this recurses once an owner. */
static void
place_next(struct shard *shard, struct operation *op)
{
    while (op->to_ask != 0) {
        uint32_t owner = (uint32_t)__builtin_ctzll(op->to_ask);
        struct message_reserve message;
        op->to_ask &= ~SHARD_BIT(owner);
        reserve_message(shard, op, &message);
        reserve_fill(op, owner, &message);
        if (message.seat_count == 0 && message.pool_count == 0)
            continue;
        ask(shard, op, owner, &message);
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
        assert(answer->seats[next] == op->seats[i].ref);
        op->seats[i].version = answer->versions[next++];
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

static void best_reserved(struct shard *shard, struct operation *op, uint32_t from,
                          const struct message_reserved *answer);

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

/* ---- best ---- */

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
static bool
look_ask(struct shard *shard, struct operation *op, uint32_t section, uint32_t count)
{
    struct event *event = event_at(shard, op->event);
    const struct section *s = &event->sections[section];
    uint64_t owners = 0;
    for (uint32_t i = s->block_first; i < s->block_first + s->block_count; i++)
        owners |= SHARD_BIT(event->block_owner[i]);
    section_look_open(&op->look);
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if ((owners & SHARD_BIT(i)) == 0)
            continue;
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
static void refuse_send(struct shard *shard, struct operation *op);

static void
place_best(struct shard *shard, struct operation *op)
{
    op->stage = STAGE_LOOK_BEST;
    if (!op->best_wait)
        op->best_tries++;
    if (look_ask(shard, op, op->best_section, op->best_count))
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
        refuse_send(shard, op);
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

static void
best_choose(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    op->orphans = op->look.block == UINT32_MAX;
    uint32_t block = op->orphans ? op->look.block_orphans : op->look.block;
    if (block != UINT32_MAX) {
        struct message_reserve message;
        reserve_message(shard, op, &message);
        message.best_orphans = op->orphans;
        message.best_count = op->best_count;
        message.best_section = op->best_section;
        message.best_block = block;
        ask(shard, op, event->block_owner[block], &message);
        return;
    }
    look_without_own(op, op->best_section, &op->look);
    op->refusal.rank = op->seats_asked + (uint32_t)op->pool_count;
    op->refusal.remaining = op->look.free;
    op->refusal.next_deadline_ms = op->look.next_deadline_ms;
    if (op->look.free >= op->best_count) {
        if (op->look.reserved > 0) {
            /* Others are being decided; what they leave may be side by side. Who has nothing reserved waits
             * for them; who has might be waited for, so it only looks again. */
            op->best_wait = op->granted == 0;
            if (op->best_wait || op->best_tries < BEST_TRIES_MAX) {
                place_best(shard, op);
                return;
            }
            op->refusal.status = STATUS_BUSY;
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

static void
best_reserved(struct shard *shard, struct operation *op, uint32_t from,
              const struct message_reserved *answer)
{
    if (answer->status != STATUS_OK) {
        assert(answer->status == STATUS_NOADJACENT);
        op->best_wait = false;
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
        seat->ref = answer->seats[i];
        seat->version = answer->versions[i];
        seat->owner = (uint8_t)from;
        seat->kept = false;
    }
    place_decide(shard, op);
}

/* ---- decision ---- */

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
static void
slices_return(struct shard *shard, struct operation *op)
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
    hold->id = uuid_make(shard->now_ms, shard->settings.id_seed, ++shard->id_counter, op->route);
    hold->wheel.deadline_ms = op->deadline_ms;
    hold->start_ms = op->start_ms;
    hold->ended_ms = 0;
    hold->event = op->event;
    hold->user = op->user;
    hold->state = HOLD_HELD;
    hold->flags = 0;
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

static void
place_decide(struct shard *shard, struct operation *op)
{
    /* What may have changed while owners were asked. */
    if (op->replaced != SLAB_NONE && !hold_is_live(shard, hold_at(shard, op->replaced))) {
        op->refusal.status = STATUS_EXPIRED;
        place_refuse(shard, op);
        return;
    }
    bool same;
    uint32_t size;
    if (op->key_used && key_find(shard, &op->key, &op->fingerprint, &same, &size) != NULL) {
        op->refusal.status = STATUS_KEYREUSED;
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
    op->created = true;
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

/* ---- refusal ---- */

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

static void
refuse_send(struct shard *shard, struct operation *op)
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

/* Is the refused seat on its way back from a hold of this same user, one that has ended? */
static bool
own_is_returning(const struct shard *shard, const struct operation *op)
{
    if (op->refusal.status != STATUS_HELD || op->refusal.holder >= shard->holds.fresh)
        return false;
    struct hold *hold = hold_at(shard, op->refusal.holder);
    return hold->state != 0 && (hold->flags & HOLD_RETURNING) != 0 && hold->user == op->user &&
           hold_has_seat(shard, hold, op->seats[op->refusal.rank].ref);
}

static void
place_refuse(struct shard *shard, struct operation *op)
{
    assert(op->refusal.status != STATUS_OK);
    if (op->multiple && op->granted != 0)
        settle_granted(shard, op, SETTLE_ABORT);
    op->granted = 0;
    slices_return(shard, op);
    if (own_is_returning(shard, op)) {
        op->refusal.status = STATUS_OK;
        op->seat_count = op->seats_asked;
        op->stage = STAGE_AGAIN;
        op->sequence = shard->sequence;
        operation_when_durable(shard, op);
        return;
    }
    if (!op->late) {
        if (op->seats_asked + op->best_count + op->pool_count > HOLD_INLINE_UNITS)
            slab_give(&shard->units, hold_at(shard, op->hold)->units_more);
        slab_give(&shard->holds, op->hold);
        op->hold = SLAB_NONE;
    }
    if (op->refusal.status != STATUS_HELD && op->refusal.status != STATUS_SOLD) {
        refuse_send(shard, op);
        return;
    }
    if (op->refusal.status == STATUS_HELD && !op->late) {
        holder_check(shard, op);
        if (op->refusal.holder != SLAB_NONE && is_own_same(shard, op, op->refusal.holder)) {
            answer_own(shard, op, op->refusal.holder);
            return;
        }
    }
    op->stage = STAGE_LOOK_FIGURES;
    op->best_wait = false;
    if (op->late || look_ask(shard, op, SEAT_REF_SECTION(op->seats[op->refusal.rank].ref), 0))
        refuse_send(shard, op);
}
