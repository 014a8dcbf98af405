/*
 * model_queue.c - who waits, who is let in, who may place holds.
 *
 * Letting in is not anybody's request: a slot that frees is somebody's a few messages later. So the model
 * is lazy while requests are under way: it lets the first ones in where an answer says that they are in,
 * and only where there are slots for all of those before them, too. At rest it is strict: queue_rest().
 * When somebody was let in is known up to a span of time; the next answer that tells the deadline ends
 * that.
 *
 * A place has two sides, its queue's owner and its user's home. Between a leave, or a confirm that ends the
 * place, and its answer one of them may not have heard of it: model_token.stale.
 */
#include "tests/sim/model_queue.h"

#include "core/text.h"

#include <assert.h>
#include <nettle/hmac.h>
#include <stdio.h>
#include <string.h>

#define SWEEP_MS   20   /* a sweep is at most two ticks late */
#define SILENCE_MS 1000 /* signs of life are noted to the second, rounded up */
#define DRAWN_LAST (UINT64_MAX >> 1)

/* ---- looking ---- */

static bool
is_open(const struct model *model, const struct scenario *scenario, int8_t event, uint64_t now_ms)
{
    return model->events[event].status != EVENT_CLOSED && scenario->events[event].opens_at_ms <= now_ms;
}

static uint64_t
units_left(const struct model *model, const struct scenario *scenario, int8_t event)
{
    uint64_t capacity = scenario->events[event].seat_count;
    uint64_t sold = 0;
    for (uint32_t i = 0; i < scenario->events[event].pool_count; i++) {
        capacity += model->events[event].capacity[i];
    }
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if (hold->event == event && hold->state == HOLD_CONFIRMED) {
            sold += hold->seat_count;
            for (uint32_t p = 0; p < hold->pool_count; p++) {
                sold += hold->pools[p].quantity;
            }
        }
    }
    return capacity > sold ? capacity - sold : 0;
}

static bool
stands_before(const struct model_token *a, const struct model_token *b)
{
    return a->drawn != b->drawn ? a->drawn : a->order < b->order;
}

static bool
waits(const struct model_token *token, int8_t event)
{
    return token->state == TOKEN_WAITING && token->event == event;
}

static uint32_t
waiting_before(const struct model *model, uint32_t slot)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < model->token_count; i++) {
        before += i != slot && waits(&model->tokens[i], model->tokens[slot].event) &&
                  stands_before(&model->tokens[i], &model->tokens[slot]);
    }
    return before;
}

/* Who has gone by silence, and is counted until somebody touches the place. */
static uint32_t
unswept_before(const struct model *model, uint32_t slot)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < model->token_count; i++) {
        before += model->tokens[i].unswept && model->tokens[i].event == model->tokens[slot].event &&
                  stands_before(&model->tokens[i], &model->tokens[slot]);
    }
    return before;
}

static int32_t
first_waiting(const struct model *model, int8_t event)
{
    int32_t first = -1;
    for (uint32_t i = 0; i < model->token_count; i++) {
        if (waits(&model->tokens[i], event) &&
            (first < 0 || stands_before(&model->tokens[i], &model->tokens[first]))) {
            first = (int32_t)i;
        }
    }
    return first;
}

static uint32_t
active_count(const struct model *model, int8_t event, uint64_t now_ms)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        count += token->event == event && token->state == TOKEN_ACTIVE && token->deadline_first_ms > now_ms;
    }
    return count;
}

int32_t
queue_find(const struct model *model, const struct uuid *id)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        if (model->tokens[i].state != 0 && model->tokens[i].id_known &&
            uuid_equal(&model->tokens[i].id, id)) {
            return (int32_t)i;
        }
    }
    return -1;
}

static int32_t
place_of(const struct model *model, int8_t event, int8_t user)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->event == event && token->user == user &&
            (token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE)) {
            return (int32_t)i;
        }
    }
    return -1;
}

/* One that has ended in this round, and that this request may still see as it was. */
static int32_t
stale_place_of(const struct model *model, const struct op *op, int8_t event, uint8_t stale)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->event == event && token->user == op->request.user && token->stale == stale &&
            op->sent_step < token->stale_until) {
            return (int32_t)i;
        }
    }
    return -1;
}

bool
queue_open_question(const struct model_token *token)
{
    return token->id_known &&
           ((token->state == TOKEN_WAITING && token->may_be_active) ||
            (token->state == TOKEN_ACTIVE && token->deadline_first_ms < token->deadline_last_ms));
}

/* ---- ends and beginnings ---- */

static void
end_token(struct model_token *token, uint8_t state, uint64_t ended_ms)
{
    token->state = state;
    token->ended_ms = ended_ms;
    token->may_be_active = false;
}

/* What time, or the event's end, has ended for whoever looks. */
static void
end_by_time(struct model *model, int8_t event, uint64_t now_ms)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        struct model_token *token = &model->tokens[i];
        if (token->event != event) {
            continue;
        }
        if (token->state == TOKEN_ACTIVE && token->deadline_last_ms <= now_ms) {
            end_token(token, TOKEN_EXPIRED, token->deadline_first_ms);
        }
    }
}

static void
let_in(const struct model *model, const struct scenario *scenario, struct model_token *token,
       uint64_t now_ms)
{
    const struct event_plan *plan = &scenario->events[token->event];
    uint64_t first_ms = model->round_ms > plan->opens_at_ms ? model->round_ms : plan->opens_at_ms;
    if (!token->may_be_active) {
        token->deadline_first_ms = first_ms + plan->active_seconds * (uint64_t)1000;
    }
    token->deadline_last_ms = now_ms + plan->active_seconds * (uint64_t)1000;
    token->state = TOKEN_ACTIVE;
    token->may_be_active = false;
    token->admitted = false;
}

static bool
may_let_in(const struct model *model, const struct scenario *scenario, int8_t event, uint32_t count,
           uint64_t now_ms, uint32_t options)
{
    const struct model_event *e = &model->events[event];
    bool units = (options & MODEL_LOOSE) != 0 || units_left(model, scenario, event) > 0;
    return units && active_count(model, event, now_ms) + count <= e->active_max_was;
}

/* The first one that waits is let in, where that may have happened. */
static bool
let_in_first(struct model *model, const struct scenario *scenario, int8_t event, uint64_t now_ms,
             uint32_t options)
{
    int32_t first = first_waiting(model, event);
    if (first < 0 || !is_open(model, scenario, event, now_ms) ||
        (!model->tokens[first].may_be_active && !may_let_in(model, scenario, event, 1, now_ms, options))) {
        return false;
    }
    let_in(model, scenario, &model->tokens[first], now_ms);
    return true;
}

/* This one, and so all before it. */
static bool
make_active(struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms,
            uint32_t options)
{
    while (model->tokens[slot].state == TOKEN_WAITING) {
        if (!let_in_first(model, scenario, model->tokens[slot].event, now_ms, options)) {
            return false;
        }
    }
    return model->tokens[slot].state == TOKEN_ACTIVE;
}

static bool
could_be_active(const struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms)
{
    const struct model_token *token = &model->tokens[slot];
    return token->state == TOKEN_ACTIVE ||
           (token->state == TOKEN_WAITING && is_open(model, scenario, token->event, now_ms) &&
            (token->may_be_active || may_let_in(model, scenario, token->event,
                                                waiting_before(model, slot) + 1, now_ms, MODEL_LOOSE)));
}

/* ---- requests ---- */

void
queue_learn(struct model *model, const struct scenario *scenario, uint32_t slot, const struct uuid *id)
{
    struct model_token *token = &model->tokens[slot];
    token->id = *id;
    token->id_known = true;
    if (!token->drawn) {
        return;
    }
    struct hmac_sha256_ctx hmac;
    const struct event_settings *settings = scenario->events[token->event].settings;
    char text[37];
    uint32_t at = 0;
    for (uint32_t i = 0; i < sizeof id->byte; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text[at++] = '-';
        }
        (void)snprintf(text + at, 3, "%02x", id->byte[i]);
        at += 2;
    }
    uint8_t digest[8];
    hmac_sha256_set_key(&hmac, sizeof settings->lottery_seed, settings->lottery_seed);
    hmac_sha256_update(&hmac, 36, (const uint8_t *)text);
    hmac_sha256_digest(&hmac, sizeof digest, digest);
    token->order = 0;
    for (uint32_t i = 0; i < sizeof digest; i++) {
        token->order = token->order << 8 | digest[i];
    }
    token->order >>= 1;
}

static void
sign_of_life(struct model_token *token, const struct op *op, uint64_t now_ms)
{
    uint64_t last_ms = op->answered ? op->answered_ms : now_ms;
    token->seen_first_ms = op->sent_ms > token->seen_first_ms ? op->sent_ms : token->seen_first_ms;
    token->seen_last_ms = last_ms > token->seen_last_ms ? last_ms : token->seen_last_ms;
}

/* What was told says how far things have come: as far as they may have, the model goes along. */
static void
go_along(struct model *model, const struct scenario *scenario, uint32_t slot, const struct op *op,
         uint64_t now_ms, uint32_t options)
{
    struct model_token *token = &model->tokens[slot];
    if (!op->answered || op->answer.status != STATUS_OK || op->answer.kind != REPLY_TOKEN) {
        return;
    }
    const struct answer_token *told = &op->answer.token;
    if (token->state == TOKEN_WAITING &&
        (told->state == TOKEN_ACTIVE || (token->may_be_active && told->state != TOKEN_WAITING))) {
        (void)make_active(model, scenario, slot, now_ms, options);
    }
    if (token->state == TOKEN_WAITING && told->state == TOKEN_WAITING) {
        for (uint32_t i = 0; i < model->token_count; i++) {
            struct model_token *other = &model->tokens[i];
            if (i == slot || (waits(other, token->event) && stands_before(token, other))) {
                other->may_be_active = false;
            }
        }
        while ((options & MODEL_CRASHED) == 0 && told->position > 0 &&
               waiting_before(model, slot) + 1 > told->position &&
               let_in_first(model, scenario, token->event, now_ms, options)) {
        }
    }
    if (token->state == TOKEN_ACTIVE && told->state == TOKEN_EXPIRED &&
        token->deadline_first_ms <= now_ms) {
        end_token(token, TOKEN_EXPIRED, token->deadline_first_ms);
    }
    if (token->state == TOKEN_ACTIVE && told->state == TOKEN_ACTIVE &&
        told->deadline_ms >= token->deadline_first_ms && told->deadline_ms <= token->deadline_last_ms &&
        told->deadline_ms > now_ms) {
        token->deadline_first_ms = token->deadline_last_ms = told->deadline_ms;
        if (!token->admitted || op->answered_step < token->admitted_step) {
            token->admitted_step = op->answered_step;
        }
        token->admitted = true;
    }
    if (token->state == TOKEN_DONE && token->unheard && told->state == TOKEN_EXPIRED &&
        token->deadline_first_ms <= now_ms) {
        token->state = TOKEN_EXPIRED;
    }
    token->unheard = token->unheard && told->state != TOKEN_DONE && told->state != TOKEN_EXPIRED;
    if (token->state > TOKEN_ACTIVE && token->stale == STALE_HOME &&
        op->answered_step < token->stale_until) {
        token->stale_until = op->answered_step; /* nobody holds from this answer on */
    }
}

static void
answer_token(const struct model *model, const struct scenario *scenario, uint32_t slot, const struct op *op,
             uint64_t now_ms, struct answer *answer)
{
    const struct model_token *token = &model->tokens[slot];
    const struct answer_token *told = &op->answer.token;
    answer->status = STATUS_OK;
    answer->kind = REPLY_TOKEN;
    answer->token.slot = (int16_t)slot;
    answer->token.id = token->id;
    answer->token.id_known = token->id_known;
    answer->token.event = token->event;
    answer->token.user = token->user;
    answer->token.state = token->state;
    if (token->state == TOKEN_DONE && token->stale == STALE_OWNER && op->sent_step < token->stale_until &&
        op->answered && told->state == TOKEN_ACTIVE && told->deadline_ms > now_ms &&
        told->deadline_ms >= token->deadline_first_ms && told->deadline_ms <= token->deadline_last_ms) {
        answer->token.state = TOKEN_ACTIVE;
        answer->token.deadline_ms = told->deadline_ms;
        return;
    }
    if (token->state == TOKEN_ACTIVE) {
        answer->token.deadline_ms = token->deadline_first_ms;
    }
    if (token->state == TOKEN_WAITING && scenario->events[token->event].opens_at_ms <= now_ms) {
        answer->token.position = waiting_before(model, slot) + 1;
        answer->token.position_slack = unswept_before(model, slot);
        answer->token.chance_none = answer->token.position > units_left(model, scenario, token->event);
    }
}

static void
execute_join(struct model *model, const struct scenario *scenario, const struct op *op, uint64_t now_ms,
             uint32_t options, struct answer *answer)
{
    int8_t event = op->request.event;
    if (event < 0 || !model->events[event].exists) {
        answer->status = STATUS_NOEVENT;
        return;
    }
    struct model_event *e = &model->events[event];
    if (e->active_max == 0) {
        answer->status = STATUS_BADREQUEST;
        answer->figures = FIGURE_FIELD;
        return;
    }
    end_by_time(model, event, now_ms);
    int32_t slot = place_of(model, event, op->request.user);
    bool told = op->answered && op->answer.status == STATUS_OK && op->answer.kind == REPLY_TOKEN;
    if (slot >= 0 && told && op->answer.created && model->tokens[slot].state == TOKEN_ACTIVE &&
        model->tokens[slot].deadline_first_ms <= now_ms) {
        end_token(&model->tokens[slot], TOKEN_EXPIRED, model->tokens[slot].deadline_first_ms);
        slot = -1;
    }
    if (slot < 0 && told && !op->answer.created) {
        slot = stale_place_of(model, op, event, STALE_OWNER);
    }
    if (slot < 0 && told && !op->answer.created && op->answer.token.state > TOKEN_ACTIVE) {
        /* it stood when the join came, and has ended while the answer waited for its being let in */
        int32_t ended = queue_find(model, &op->answer.token.id);
        if (ended >= 0 && model->tokens[ended].event == event &&
            model->tokens[ended].user == op->request.user &&
            op->sent_step < model->tokens[ended].stale_until) {
            slot = ended;
        }
    }
    if (slot < 0 && e->status != EVENT_OPEN) {
        answer->status = STATUS_CLOSED;
        return;
    }
    if (slot < 0) {
        slot = op->token_slot;
        assert(model->tokens[slot].state == 0);
        bool drawn = scenario->events[event].lottery && scenario->events[event].opens_at_ms > now_ms;
        model->tokens[slot] = (struct model_token){
            .state = TOKEN_WAITING,
            .event = event,
            .user = op->request.user,
            .drawn = drawn,
            .order = drawn ? DRAWN_LAST : e->ticket++,
        };
        if (told) {
            queue_learn(model, scenario, (uint32_t)slot, &op->answer.token.id);
            model->tokens[slot].id_known = false; /* whether it is new is compared */
        }
        answer->created = true;
        model->places++;
    }
    sign_of_life(&model->tokens[slot], op, now_ms);
    go_along(model, scenario, (uint32_t)slot, op, now_ms, options);
    answer_token(model, scenario, (uint32_t)slot, op, now_ms, answer);
}

void
queue_execute(struct model *model, const struct scenario *scenario, const struct op *op, uint64_t now_ms,
              uint32_t options, struct answer *answer)
{
    if (op->request.type == COMMAND_QUEUE_JOIN) {
        execute_join(model, scenario, op, now_ms, options, answer);
        return;
    }
    int32_t slot = queue_find(model, &op->request.hold);
    if (slot < 0) {
        answer->status = STATUS_NOTOKEN;
        answer->figures = FIGURE_UNIT;
        *put_uuid(answer->unit, &op->request.hold) = '\0';
        return;
    }
    struct model_token *token = &model->tokens[slot];
    end_by_time(model, token->event, now_ms);
    bool leave = op->request.type == COMMAND_QUEUE_LEAVE;
    bool told_left = op->answered && op->answer.kind == REPLY_TOKEN && op->answer.token.state == TOKEN_LEFT;
    if (!leave) {
        sign_of_life(token, op, now_ms);
    }
    if (!leave || (op->answered && !told_left)) {
        go_along(model, scenario, (uint32_t)slot, op, now_ms, options);
    }
    bool there = token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE;
    if (op->request.type == COMMAND_QUEUE_WATCH && there && token->watched < UINT8_MAX) {
        token->watched++;
    } else if (op->request.type == COMMAND_QUEUE_UNWATCH && token->watched > 0) {
        token->watched--;
    }
    bool unheard = token->stale == STALE_OWNER && op->sent_step < token->stale_until && told_left;
    if (leave && (token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE || unheard)) {
        bool held = could_be_active(model, scenario, (uint32_t)slot, now_ms);
        end_token(token, TOKEN_LEFT, now_ms);
        token->stale = held ? STALE_HOME : STALE_NOBODY;
        token->stale_until = op->answered ? op->answered_step : UINT64_MAX;
    }
    answer_token(model, scenario, (uint32_t)slot, op, now_ms, answer);
}

/* ---- holds ---- */

bool
queue_admits(struct model *model, const struct scenario *scenario, const struct op *op, uint64_t now_ms,
             uint32_t options)
{
    int8_t event = op->request.event;
    if (model->events[event].active_max == 0) {
        return true;
    }
    bool wanted = !op->answered || op->answer.status != STATUS_NOTADMITTED;
    end_by_time(model, event, now_ms);
    if (wanted && stale_place_of(model, op, event, STALE_HOME) >= 0) {
        return true;
    }
    int32_t slot = place_of(model, event, op->request.user);
    if (slot < 0) {
        return false;
    }
    struct model_token *token = &model->tokens[slot];
    if (!wanted) {
        if (token->state == TOKEN_ACTIVE && token->deadline_first_ms <= now_ms) {
            end_token(token, TOKEN_EXPIRED, token->deadline_first_ms);
        }
        return token->state == TOKEN_ACTIVE && token->admitted && op->answered_step >= token->admitted_step;
    }
    if (!make_active(model, scenario, (uint32_t)slot, now_ms, options)) {
        return false;
    }
    if (!token->admitted || op->answered_step < token->admitted_step) {
        token->admitted_step = op->answered ? op->answered_step : 0;
    }
    token->admitted = true;
    if (token->deadline_first_ms <= now_ms) {
        token->deadline_first_ms = now_ms + 1;
    }
    return true;
}

bool
queue_unaware(const struct model *model, const struct scenario *scenario, const struct op *op,
              uint64_t now_ms)
{
    int32_t hold = op->request.type == COMMAND_CONFIRM ? model_find_hold(model, &op->request.hold) : -1;
    if (hold < 0 || model->events[model->holds[hold].event].active_max == 0) {
        return false;
    }
    int32_t slot = place_of(model, model->holds[hold].event, model->holds[hold].user);
    if (slot < 0) {
        return false;
    }
    const struct model_token *token = &model->tokens[slot];
    if (token->state == TOKEN_ACTIVE) {
        /* A join is one request here, but comes and is let in at two moments: one that another request
         * found there (HOLDS) may still be let in behind a confirm that was sent before anybody was told
         * so. */
        bool certain = token->admitted && op->sent_step >= token->admitted_step;
        return token->deadline_last_ms > now_ms && (!certain || token->deadline_first_ms <= now_ms);
    }
    return could_be_active(model, scenario, (uint32_t)slot, now_ms);
}

void
queue_confirmed(struct model *model, const struct scenario *scenario, const struct op *op, uint32_t hold,
                uint64_t now_ms, uint32_t options)
{
    int8_t event = model->holds[hold].event;
    int8_t user = model->holds[hold].user;
    if (model->events[event].active_max == 0 || (options & MODEL_UNAWARE) != 0) {
        return;
    }
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *other = &model->holds[i];
        if (other->event == event && other->user == user && other->state == HOLD_HELD &&
            other->deadline_ms > now_ms) {
            return;
        }
    }
    end_by_time(model, event, now_ms);
    int32_t slot = place_of(model, event, user);
    if (slot < 0 || !make_active(model, scenario, (uint32_t)slot, now_ms, options)) {
        return;
    }
    struct model_token *token = &model->tokens[slot];
    end_token(token, TOKEN_DONE, now_ms);
    /* The hold was confirmed in time, but the owner hears of it by a message: one that is under way when
     * the place's own deadline comes finds it expired. An answer from before that has waited for the owner.
     */
    token->unheard = !op->answered || op->answered_ms >= token->deadline_first_ms;
    token->stale = STALE_OWNER;
    token->stale_until = op->answered ? op->answered_step : UINT64_MAX;
}

/* ---- events ---- */

void
queue_changed_by(struct model *model, const struct request *request, uint64_t now_ms)
{
    struct model_event *event = &model->events[request->event];
    if (request->has_active_max) {
        event->active_max = request->active_max;
        if (event->active_max > event->active_max_was) {
            event->active_max_was = event->active_max;
        }
    }
    event->units_were_left = event->units_were_left || request->pool_count > 0;
    if (event->status != EVENT_CLOSED) {
        return;
    }
    for (uint32_t i = 0; i < model->token_count; i++) {
        struct model_token *token = &model->tokens[i];
        if (token->event == request->event &&
            (token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE)) {
            end_token(token, TOKEN_EXPIRED, now_ms);
        }
    }
}

void
queue_of_user(struct model *model, const struct scenario *scenario, const struct request *request,
              uint64_t now_ms, struct answer *answer)
{
    (void)scenario;
    end_by_time(model, request->event, now_ms);
    int32_t slot = place_of(model, request->event, request->user);
    answer->has_token = slot >= 0;
    if (slot >= 0) {
        answer->token.slot = (int16_t)slot;
        answer->token.id = model->tokens[slot].id;
        answer->token.id_known = model->tokens[slot].id_known;
    }
}

/* ---- at rest ---- */

static void
rest_event(struct model *model, const struct scenario *scenario, int8_t event, uint64_t now_ms)
{
    struct model_event *e = &model->events[event];
    uint64_t silent_ms = scenario->events[event].grace_seconds * (uint64_t)1000 + SILENCE_MS + SWEEP_MS;
    end_by_time(model, event, now_ms);
    for (uint32_t i = 0; i < model->token_count; i++) {
        struct model_token *token = &model->tokens[i];
        if (waits(token, event) && token->watched == 0 && token->seen_last_ms + silent_ms <= now_ms) {
            end_token(token, TOKEN_EXPIRED, token->seen_first_ms);
        }
        token->unswept = token->unswept && token->event != event;
    }
    bool open = is_open(model, scenario, event, now_ms);
    bool units = units_left(model, scenario, event) > 0;
    int32_t first;
    while (open && units && (first = first_waiting(model, event)) >= 0 &&
           active_count(model, event, 0) < e->active_max) {
        let_in(model, scenario, &model->tokens[first], now_ms);
    }
    for (uint32_t i = 0; i < model->token_count; i++) {
        struct model_token *token = &model->tokens[i];
        token->admitted = token->admitted || (token->event == event && token->state == TOKEN_ACTIVE);
        token->admitted_step = 0;
    }
    /* There was a moment when more might be let in than now. */
    uint32_t more = 0;
    uint32_t active = active_count(model, event, 0);
    if (open && (units || e->units_were_left) && active < e->active_max_was) {
        more = e->active_max_was - active;
    }
    for (uint32_t i = 0; i < model->token_count; i++) {
        struct model_token *token = &model->tokens[i];
        if (waits(token, event) && waiting_before(model, i) < more) {
            struct model_token in = *token;
            let_in(model, scenario, &in, now_ms);
            token->may_be_active = true;
            token->deadline_first_ms = in.deadline_first_ms;
        }
    }
    e->active_max_was = e->active_max;
    e->units_were_left = units;
}

void
queue_rest(struct model *model, const struct scenario *scenario, uint64_t now_ms)
{
    for (uint32_t e = 0; e < scenario->event_count; e++) {
        if (model->events[e].exists && model->events[e].active_max > 0) {
            rest_event(model, scenario, (int8_t)e, now_ms);
        }
    }
    for (uint32_t i = 0; i < model->token_count; i++) {
        model->tokens[i].stale = STALE_NOBODY;
        model->tokens[i].stale_until = 0;
    }
    model->places = 0;
    for (uint32_t i = 0; i < model->token_count; i++) {
        uint8_t state = model->tokens[i].state;
        model->places += state == TOKEN_WAITING || state == TOKEN_ACTIVE;
    }
    model->round_ms = now_ms;
}

bool
queue_silent(const struct model *model, const struct scenario *scenario, uint64_t now_ms)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->state == TOKEN_WAITING && token->watched == 0 &&
            token->seen_first_ms + scenario->events[token->event].grace_seconds * (uint64_t)1000 <=
                now_ms) {
            return true;
        }
    }
    return false;
}

void
queue_silence(struct model *model, const struct scenario *scenario, uint64_t now_ms)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        struct model_token *token = &model->tokens[i];
        uint64_t grace_ms = scenario->events[token->event].grace_seconds * (uint64_t)1000;
        if (token->state == TOKEN_WAITING && token->watched == 0 &&
            token->seen_last_ms + grace_ms + SILENCE_MS <= now_ms) {
            end_token(token, TOKEN_EXPIRED, token->seen_first_ms);
            token->unswept = true;
        }
    }
}

bool
queue_ends_at(const struct model *model, uint64_t now_ms)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->state == TOKEN_ACTIVE && token->deadline_first_ms <= now_ms &&
            now_ms <= token->deadline_last_ms) {
            return true;
        }
    }
    return false;
}

void
queue_restarted(struct model *model, uint64_t first_ms, uint64_t last_ms)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        if (model->tokens[i].state == TOKEN_WAITING) {
            model->tokens[i].seen_first_ms = first_ms;
            model->tokens[i].seen_last_ms = last_ms;
            model->tokens[i].watched = 0;
        }
    }
}

uint64_t
queue_sure_ms(const struct model *model, const struct scenario *scenario, uint64_t now_ms,
              uint64_t margin_ms)
{
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        uint64_t from_ms = UINT64_MAX;
        uint64_t to_ms = 0;
        if (token->state == TOKEN_WAITING && token->watched == 0) {
            uint64_t grace_ms = scenario->events[token->event].grace_seconds * (uint64_t)1000;
            from_ms = token->seen_first_ms + grace_ms - margin_ms;
            to_ms = token->seen_last_ms + grace_ms + SILENCE_MS + SWEEP_MS;
        } else if (margin_ms == 0 ? token->state == TOKEN_ACTIVE || token->state == TOKEN_EXPIRED
                                  : token->state == TOKEN_ACTIVE &&
                                        token->deadline_first_ms < token->deadline_last_ms) {
            /* expired: for whoever looks at it, but maybe not swept */
            from_ms = token->deadline_first_ms;
            to_ms = token->deadline_last_ms + SWEEP_MS;
        }
        if (now_ms >= from_ms && now_ms < to_ms) {
            return queue_sure_ms(model, scenario, to_ms, margin_ms);
        }
    }
    for (uint32_t e = 0; e < scenario->event_count; e++) {
        uint64_t opens_at_ms = scenario->events[e].opens_at_ms;
        if (scenario->events[e].active_max > 0 && now_ms < opens_at_ms && now_ms + 1000 > opens_at_ms) {
            return queue_sure_ms(model, scenario, opens_at_ms, margin_ms);
        }
    }
    return now_ms;
}
