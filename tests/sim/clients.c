/*
 * clients.c - users who want what others want.
 *
 * Most requests go for a few hot seats and small pools, by users who have holds already, on holds that are
 * alive; a few name what does not exist. Keys are fresh, repeated with the same request (also while the
 * first is under way), or reused with another.
 */
#include "tests/sim/clients.h"

#include <assert.h>
#include <string.h>

static int8_t
pick_user(const struct scenario *scenario, struct random *random)
{
    return (int8_t)random_below(random, scenario->user_count);
}

static struct uuid
random_id(struct random *random)
{
    struct uuid id;
    uint64_t parts[2];
    parts[0] = random_next(random); /* an initialiser's parts may be drawn in any order */
    parts[1] = random_next(random);
    memcpy(id.byte, parts, sizeof id.byte);
    id.byte[6] = (uint8_t)((id.byte[6] & 0x0f) | 0x70);
    id.byte[8] = (uint8_t)((id.byte[8] & 0x3f) | 0x80);
    return id;
}

/* A hold that somebody knows of: mostly one that has its units, of this user in this event where wanted. */
static int32_t
pick_hold(const struct model *model, struct random *random, int8_t event, int8_t user)
{
    int32_t candidates[SIM_HOLDS];
    uint32_t count = 0;
    bool any_state = random_chance(random, 25);
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if (hold->state == 0 || !hold->id_known || (event >= 0 && hold->event != event) ||
            (user >= 0 && hold->user != user) || (!any_state && !model_hold_has_units(hold))) {
            continue;
        }
        candidates[count++] = (int32_t)i;
    }
    return count == 0 ? -1 : candidates[random_below(random, count)];
}

/* ---- holds ------------------------------------------------------------------------------------ */

static void
add_seat(const struct event_plan *plan, struct request *request, struct request_seat seat)
{
    (void)plan;
    for (uint32_t i = 0; i < request->seat_count; i++) {
        if (request->seats[i].section == seat.section && request->seats[i].row == seat.row &&
            request->seats[i].number == seat.number) {
            return;
        }
    }
    if (request->seat_count < HOLD_SEATS_MAX) {
        request->seats[request->seat_count++] = seat;
    }
}

static void
ask_seats(const struct event_plan *plan, struct random *random, struct request *request)
{
    uint32_t hot = plan->seat_count < 8 ? plan->seat_count : 8;
    uint32_t count =
        random_chance(random, 5) ? random_between(random, 8, 16) : random_between(random, 1, 4);
    uint32_t stride = plan->seat_count / hot;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = random_chance(random, 70) ? random_below(random, hot) * stride
                                                   : random_below(random, plan->seat_count);
        struct request_seat seat = scenario_seat_at(plan, index);
        if (random_chance(random, 2)) {
            seat.number = (uint16_t)(plan->sections[seat.section].row_seats[seat.row] + 1);
        } else if (random_chance(random, 1)) {
            seat.row = -1;
        } else if (random_chance(random, 1)) {
            seat.section = -1;
        }
        add_seat(plan, request, seat);
    }
}

static void
ask_pools(const struct event_plan *plan, const struct model *model, struct random *random,
          struct request *request)
{
    uint32_t count = random_between(random, 1, plan->pool_count);
    uint32_t first = random_below(random, plan->pool_count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pool = (first + i) % plan->pool_count;
        uint32_t capacity = model->events[request->event].capacity[pool];
        uint32_t most = capacity / 4 + 1;
        if (random_chance(random, 8)) {
            most = capacity + 1;
        } else if (random_chance(random, 30)) {
            most = capacity / 20 + 1;
        }
        request->pools[i].pool = random_chance(random, 2) ? -1 : (int8_t)pool;
        request->pools[i].quantity = random_between(random, 1, most);
        request->pool_count++;
        if (request->pools[i].pool < 0) {
            return;
        }
    }
}

static void
ask_hold(const struct scenario *scenario, const struct model *model, struct random *random,
         struct request *request)
{
    const struct event_plan *plan = &scenario->events[request->event];
    int32_t own = pick_hold(model, random, request->event, request->user);
    if (own >= 0 && model->holds[own].seat_count > 0 && random_chance(random, 10)) {
        /* the same seats again, in another order, or all but one */
        const struct model_hold *hold = &model->holds[own];
        uint32_t skip = random_chance(random, 70) || hold->seat_count == 1 ? UINT32_MAX : 0;
        for (uint32_t i = hold->seat_count; i-- > 0;) {
            if (i != skip) {
                add_seat(plan, request, scenario_seat_at(plan, hold->seats[i].index));
            }
        }
    } else if (plan->seat_count > 0 && random_chance(random, scenario->hot ? 90 : 60)) {
        ask_seats(plan, random, request);
    }
    if (plan->pool_count > 0 && random_chance(random, request->seat_count == 0 ? 70 : 15)) {
        ask_pools(plan, model, random, request);
    }
    bool empty = request->seat_count == 0 && request->pool_count == 0;
    if (plan->section_count > 0 && request->seat_count < 10 && random_chance(random, empty ? 100 : 10)) {
        request->best_count = (uint8_t)(random_chance(random, 10) ? random_between(random, 5, 6)
                                                                  : random_between(random, 1, 4));
        request->section =
            random_chance(random, 2) ? -1 : (int8_t)random_below(random, plan->section_count);
    } else if (empty) {
        request->pools[0].pool = plan->pool_count == 0 ? -1 : 0;
        request->pools[0].quantity = 1;
        request->pool_count = 1;
    }
    if (random_chance(random, 18)) {
        int8_t event = random_chance(random, 90) ? request->event : -1;
        int8_t user = random_chance(random, 92) ? request->user : -1;
        int32_t old = pick_hold(model, random, event, user);
        if (old >= 0 || random_chance(random, 5)) {
            request->has_replaces = true;
            request->replaces = old >= 0 ? model->holds[old].id : random_id(random);
        }
        if (old >= 0 && model->holds[old].event == request->event && model->holds[old].seat_count > 0 &&
            random_chance(random, 50)) {
            add_seat(plan, request, scenario_seat_at(plan, model->holds[old].seats[0].index));
        }
    }
    while (request->seat_count + request->best_count > HOLD_SEATS_MAX) {
        request->seat_count--;
    }
    if (random_chance(random, 50)) {
        request->seconds = random_between(random, 1, plan->hold_seconds_max + random_chance(random, 6));
    }
}

/* ---- queues ------------------------------------------------------------------------------------ */

/* Somebody with a place in this state, now or once. */
static int32_t
pick_token(const struct model *model, struct random *random, int8_t event, uint32_t states)
{
    int32_t candidates[SIM_TOKENS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->state != 0 && token->id_known && (event < 0 || token->event == event) &&
            (states >> token->state & 1) != 0) {
            candidates[count++] = (int32_t)i;
        }
    }
    return count == 0 ? -1 : candidates[random_below(random, count)];
}

#define PLACES (1u << TOKEN_WAITING | 1u << TOKEN_ACTIVE)

static void
ask_queue(const struct scenario *scenario, const struct model *model, struct random *random,
          struct request *request)
{
    uint32_t draw = random_below(random, 100);
    request->type = draw < 50   ? COMMAND_QUEUE_JOIN
                    : draw < 77 ? COMMAND_QUEUE_GET
                    : draw < 82 ? COMMAND_QUEUE_WATCH
                                : COMMAND_QUEUE_LEAVE;
    if (request->type == COMMAND_QUEUE_GET && random_chance(random, 30)) {
        request->wait_ms = random_between(random, 1, CLIENT_WAIT_MS);
    }
    if (request->type == COMMAND_QUEUE_JOIN) {
        request->user = pick_user(scenario, random);
        request->event = (int8_t)random_below(random, scenario->event_count);
        if (scenario->events[request->event].active_max == 0 && !random_chance(random, 5)) {
            request->event = 0;
        }
        request->event = random_chance(random, 1) ? -1 : request->event;
        return;
    }
    uint32_t states = random_chance(random, 80)   ? PLACES
                      : random_chance(random, 50) ? 1u << TOKEN_ACTIVE
                                                  : UINT32_MAX;
    int32_t token = pick_token(model, random, -1, states);
    request->hold = token < 0 || random_chance(random, 2) ? random_id(random) : model->tokens[token].id;
}

/* The same user once more, while the first join may still be on its way: joins again, or asks what there is
 * (the second answer must not know more than a crash will leave). */
static bool
ask_after_join(const struct op *before, struct random *random, struct request *request)
{
    if (before->request.type != COMMAND_QUEUE_JOIN || before->request.event < 0 ||
        !random_chance(random, 60)) {
        return false;
    }
    *request = before->request;
    if (random_chance(random, 60)) {
        request->type = COMMAND_HOLDS;
    }
    return true;
}

/* The end of some watch; only where nothing else is under way, so that it is certain when. */
static bool
ask_unwatch(const struct clients *clients, struct random *random, const struct op *ops,
            struct request *request)
{
    if (!random_chance(random, 10)) {
        return false;
    }
    for (uint32_t tries = 0; tries < 8 && clients->op_count > 0; tries++) {
        uint32_t index = random_below(random, clients->op_count);
        if (ops[index].watching) {
            request->type = COMMAND_QUEUE_UNWATCH;
            request->hold = ops[index].request.hold;
            request->watch = index;
            return true;
        }
    }
    return false;
}

/* Is one of this type among the requests of the round that is being made up? */
static bool
in_round(const struct clients *clients, const struct op *ops, uint8_t type)
{
    for (uint32_t i = clients->op_count; i-- > 0 && !ops[i].sent;) {
        if (ops[i].request.type == type) {
            return true;
        }
    }
    return false;
}

/* More or fewer may be active, while others join, leave and buy. A look at the event beside it may find it
 * changed here and not yet there, so it is not among those. */
static bool
ask_other_max(const struct scenario *scenario, const struct clients *clients, struct random *random,
              const struct op *ops, struct request *request)
{
    request->event = (int8_t)random_below(random, scenario->event_count);
    if (scenario->events[request->event].active_max == 0 || in_round(clients, ops, COMMAND_EVENT_SET) ||
        in_round(clients, ops, COMMAND_EVENT_GET)) {
        request->event = 0;
        return false;
    }
    request->type = COMMAND_EVENT_SET;
    request->has_active_max = true;
    request->active_max = random_chance(random, 50) ? 1 : random_between(random, 1, 4);
    return true;
}

/* Somebody with a slot gives it up. */
static bool
ask_leave(const struct model *model, struct random *random, struct request *request)
{
    int32_t token = pick_token(model, random, -1, 1u << TOKEN_ACTIVE);
    if (token < 0 || random_chance(random, 50)) {
        return false;
    }
    request->type = COMMAND_QUEUE_LEAVE;
    request->hold = model->tokens[token].id;
    return true;
}

/* ---- the rest --------------------------------------------------------------------------------- */

static void
ask_on_hold(const struct scenario *scenario, const struct model *model, struct random *random,
            struct request *request)
{
    int32_t slot = pick_hold(model, random, -1, -1);
    if (slot < 0 || random_chance(random, 3)) {
        request->hold = random_id(random);
    } else {
        request->hold = model->holds[slot].id;
        if (random_chance(random, 94)) {
            request->user = model->holds[slot].user;
        }
    }
    if (request->type == COMMAND_CONFIRM) {
        request->late = random_chance(random, 35);
    } else if (request->type == COMMAND_EXTEND) {
        request->seconds = random_between(random, 1, scenario->events[0].hold_seconds_max + 3);
    } else if (request->type == COMMAND_HOLD_GET || request->type == COMMAND_CANCEL) {
        request->user = 0;
    }
}

static void
ask_change(const struct scenario *scenario, const struct model *model, struct random *random,
           struct request *request)
{
    const struct event_plan *plan = &scenario->events[request->event];
    const struct model_event *event = &model->events[request->event];
    uint32_t draw = random_below(random, 10);
    if (plan->active_max > 0 && random_chance(random, 40)) {
        request->has_active_max = true;
        request->active_max = random_between(random, 1, 4);
    } else if (draw < 3) {
        request->has_status = true;
        request->status = random_chance(random, 8)      ? EVENT_CLOSED
                          : event->status == EVENT_OPEN ? EVENT_PAUSED
                                                        : EVENT_OPEN;
    } else if (draw < 5) {
        request->has_limit = true;
        request->limit = random_below(random, 12);
    } else if (draw < 6) {
        request->has_hold_seconds = true;
        request->hold_seconds = random_between(random, 1, plan->hold_seconds_max);
    } else if (plan->pool_count > 0) {
        uint32_t pool = random_below(random, plan->pool_count);
        uint32_t capacity = event->capacity[pool];
        request->pool_count = 1;
        request->pools[0].pool = random_chance(random, 4) ? -1 : (int8_t)pool;
        /* Also below what is taken, which has to be refused. */
        uint32_t least = random_chance(random, 30) ? 1 : capacity / 2 + 1;
        request->pools[0].quantity = random_between(random, least, capacity + capacity / 2 + 3);
        uint32_t taken = model_taken(model, request->event, pool);
        if (taken > 1 && random_chance(random, 40)) {
            request->pools[0].quantity = taken - random_below(random, 2);
        }
    } else {
        request->has_status = true;
        request->status = EVENT_OPEN;
    }
}

static uint8_t
pick_type(const struct scenario *scenario, struct random *random, bool alone)
{
    static const struct {
        uint8_t type;
        uint8_t weight;
    } table[] = {
        {COMMAND_HOLD, 42},  {COMMAND_CONFIRM, 14},  {COMMAND_EXTEND, 8},       {COMMAND_RELEASE, 14},
        {COMMAND_CANCEL, 5}, {COMMAND_HOLD_GET, 4},  {COMMAND_HOLDS, 4},        {COMMAND_EVENT_GET, 4},
        {COMMAND_SEATS, 3},  {COMMAND_EVENT_SET, 8}, {COMMAND_EVENT_CREATE, 2},
    };
    for (;;) {
        uint32_t draw = random_below(random, 108);
        uint32_t i = 0;
        while (draw >= table[i].weight) {
            draw -= table[i++].weight;
        }
        uint8_t type = table[i].type;
        bool settings = type == COMMAND_EVENT_SET || type == COMMAND_EVENT_CREATE;
        if (!settings || (alone && scenario->settings_change)) {
            return type;
        }
    }
}

static void
ask_anything(const struct scenario *scenario, const struct model *model, struct random *random, bool alone,
             struct request *request)
{
    request->type = pick_type(scenario, random, alone);
    request->event = (int8_t)random_below(random, scenario->event_count);
    request->user = pick_user(scenario, random);
    if (request->type == COMMAND_HOLD && scenario->events[request->event].active_max > 0) {
        /* mostly by those who are let in, or were */
        int32_t token = pick_token(model, random, request->event,
                                   random_chance(random, 75) ? 1u << TOKEN_ACTIVE : ~PLACES);
        request->user = token < 0 || random_chance(random, 10) ? request->user : model->tokens[token].user;
    }
    bool nowhere = random_chance(random, 1);
    switch (request->type) {
    case COMMAND_HOLD:
        ask_hold(scenario, model, random, request);
        return;
    case COMMAND_HOLDS:
        request->event = nowhere ? -1 : request->event;
        return;
    case COMMAND_EVENT_GET:
        request->event = nowhere ? -1 : request->event;
        request->user = 0;
        return;
    case COMMAND_SEATS:
        request->user = 0;
        request->section =
            nowhere || scenario->events[request->event].section_count == 0
                ? -1
                : (int8_t)random_below(random, scenario->events[request->event].section_count);
        return;
    case COMMAND_EVENT_SET:
        request->user = 0;
        ask_change(scenario, model, random, request);
        return;
    case COMMAND_EVENT_CREATE:
        request->user = 0;
        /* the same settings as those of an event that was changed since: no promise, so not asked */
        request->other_settings = model->events[request->event].changed || random_chance(random, 50);
        if (model->events[request->event].changed) {
            request->type = COMMAND_EVENT_GET;
            request->other_settings = false;
        }
        return;
    default:
        request->event = 0;
        ask_on_hold(scenario, model, random, request);
        return;
    }
}

/* Keys of changes are the caller's: numbered from here, so that they are told apart at a glance. */
#define CHANGE_KEYS 10000

static bool
takes_key(uint8_t type)
{
    return type == COMMAND_HOLD || type == COMMAND_CONFIRM || type == COMMAND_EXTEND ||
           type == COMMAND_RELEASE || type == COMMAND_QUEUE_JOIN;
}

static void
add_key(struct clients *clients, const struct scenario *scenario, struct random *random, struct op *ops,
        struct op *op)
{
    if (!takes_key(op->request.type) || !random_chance(random, scenario->key_percent) ||
        clients->key_count == SIM_KEYS) {
        return;
    }
    uint32_t back = clients->op_count < 12 ? clients->op_count : 12;
    const struct op *earlier = back == 0 ? NULL : &ops[clients->op_count - 1 - random_below(random, back)];
    if (earlier != NULL && earlier->key != 0 && model_key_owner(&earlier->request) >= 0 &&
        random_chance(random, 60)) {
        op->key = earlier->key;
        if (random_chance(random, 70)) {
            op->request = earlier->request;
        } else {
            op->request.user = earlier->request.user;
        }
    } else {
        op->key = clients->key_next++;
    }
    op->key_slot = (int16_t)clients->key_count++;
}

/* May this change be asked for once more? Where its key may have been forgotten it would be made once more:
 * not beside others, and what it was compared with then (EXISTS) may be other settings now. Beside the
 * first one, in the same round, it waits for that one. */
static bool
repeats(const struct scenario *scenario, const struct model *model, const struct op *earlier, bool alone)
{
    if (model_key_owner(&earlier->request) >= 0) {
        return true;
    }
    bool told = earlier->answered && earlier->answer.status == STATUS_OK && !scenario->memory_mode;
    bool twin = !earlier->sent && earlier->request.type == COMMAND_EVENT_SET;
    bool kept = (told || twin) && !scenario->bounded && scenario->shard.key_ms >= 86400000;
    return kept || (alone && (earlier->request.type == COMMAND_EVENT_SET ||
                              !model->events[earlier->request.event].changed));
}

/* Changes of events: some have a key, and are asked for again later, when more has happened. A stream of
 * its own: the rest of the seed stays as it was. */
static void
add_change_key(struct clients *clients, const struct scenario *scenario, const struct model *model,
               bool alone, struct op *ops, struct op *op)
{
    struct random *random = &clients->change_random;
    bool change = model_key_owner(&op->request) < 0;
    const struct op *before = clients->op_count == 0 ? NULL : op - 1;
    bool twin = !change && !alone && op->key == 0 && before != NULL && !before->sent && before->key != 0 &&
                model_key_owner(&before->request) < 0;
    if ((!change && !twin) || clients->key_count == SIM_KEYS || !random_chance(random, 60)) {
        return;
    }
    const struct op *earlier = twin ? before : NULL;
    if (change && clients->change_key > 0 && random_chance(random, 60)) {
        earlier = &ops[clients->change_key - 1];
    }
    bool again =
        earlier != NULL && repeats(scenario, model, earlier, alone) && (twin || random_chance(random, 85));
    if (twin && !again) {
        return;
    }
    if (again) {
        op->request = earlier->request;
    }
    op->key = earlier != NULL ? earlier->key : CHANGE_KEYS + clients->change_keys++;
    op->key_slot = (int16_t)clients->key_count++;
    if (earlier == NULL && random_chance(random, 50)) {
        clients->change_key = clients->op_count + 1;
    }
}

bool
clients_ask(struct clients *clients, const struct scenario *scenario, struct random *random,
            const struct model *model, bool alone, struct op *ops)
{
    if (clients->op_count + 2 >= SIM_OPS || clients->hold_count + 1 >= SIM_HOLDS) {
        return false;
    }
    if (scenario->queues && clients->token_count + 1 >= SIM_TOKENS) {
        return false;
    }
    struct op *op = &ops[clients->op_count];
    memset(op, 0, offsetof(struct op, answer));
    op->answer.letter_count = 0;
    op->hold_slot = -1;
    op->key_slot = -1;
    op->token_slot = -1;
    op->shard = random_below(random, 60);
    do {
        memset(&op->request, 0, sizeof op->request);
        if (scenario->queues && alone && ask_unwatch(clients, random, ops, &op->request)) {
            op->shard = ops[op->request.watch].shard; /* the connection that watches */
        } else if (scenario->queues && !alone && clients->op_count > 0 &&
                   ask_after_join(op - 1, random, &op->request)) {
            continue;
        } else if (scenario->queues && !alone && random_chance(random, 8) &&
                   ask_other_max(scenario, clients, random, ops, &op->request)) {
            continue;
        } else if (scenario->queues && !alone && in_round(clients, ops, COMMAND_EVENT_SET) &&
                   ask_leave(model, random, &op->request)) {
            continue;
        } else if (scenario->queues && random_chance(random, 40)) {
            ask_queue(scenario, model, random, &op->request);
        } else {
            ask_anything(scenario, model, random, alone, &op->request);
        }
    } while (!alone && ((scenario->best_alone && op->request.best_count > 0) ||
                        (scenario->queues && op->request.type == COMMAND_EVENT_GET &&
                         in_round(clients, ops, COMMAND_EVENT_SET))));
    add_key(clients, scenario, random, ops, op);
    add_change_key(clients, scenario, model, alone, ops, op);
    if (op->request.type == COMMAND_HOLD) {
        op->hold_slot = (int16_t)clients->hold_count++;
    }
    if (op->request.type == COMMAND_QUEUE_JOIN) {
        op->token_slot = (int16_t)clients->token_count++;
    }
    clients->op_count++;
    return true;
}
