/*
 * compare.c - field by field: status, unit, figures, hold, versions, counts, map.
 *
 * Where the round was exact every field must be the predicted one. Where others were under way, what the
 * interface calls "one look at each" (counts, remaining, maps of seats that somebody touched) is only
 * checked for what holds always: capacity = free + held + sold, letters of untouched seats.
 */
#include "tests/sim/compare.h"
#include "tests/sim/model_queue.h"

#include <assert.h>
#include <string.h>

/* ---- holds ------------------------------------------------------------------------------------ */

static bool
same_pools(const struct answer_hold *a, const struct answer_hold *b)
{
    if (a->pool_count != b->pool_count) {
        return false;
    }
    uint32_t same = 0;
    for (uint32_t i = 0; i < a->pool_count; i++) {
        for (uint32_t n = 0; n < b->pool_count; n++) {
            same += a->pools[i].pool == b->pools[n].pool && a->pools[i].quantity == b->pools[n].quantity;
        }
    }
    return same == a->pool_count;
}

static const struct answer_seat *
find_seat(const struct answer_hold *hold, seat_ref ref)
{
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        if (hold->seats[i].ref == ref) {
            return &hold->seats[i];
        }
    }
    return NULL;
}

static bool
same_seats(const struct answer_hold *a, const struct answer_hold *b)
{
    if (a->seat_count != b->seat_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->seat_count; i++) {
        if (find_seat(b, a->seats[i].ref) == NULL) {
            return false;
        }
    }
    return true;
}

/* The model takes over the version that was told: never below its own, and above it only where a crash
 * or a late confirm may have counted in between. A snapshot may know the version that a request got which
 * the crash then forgot: the next one is above it. */
static const char *
learn_versions(struct model *model, const struct round *round, uint32_t slot,
               const struct answer_hold *told, bool replay)
{
    struct model_hold *hold = &model->holds[slot];
    const struct event_plan *plan = &round->scenario->events[hold->event];
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct request_seat named = scenario_seat_at(plan, hold->seats[i].index);
        const struct answer_seat *seat = find_seat(told, SEAT_REF(named.section, named.row, named.number));
        assert(seat != NULL);
        if (seat->version == hold->seats[i].version || replay) {
            continue;
        }
        if (seat->version < hold->seats[i].version) {
            return "a seat's version is lower than the changes it has seen";
        }
        struct model_seat *kept = &model->seats[hold->event][hold->seats[i].index];
        bool gap = round->gaps[hold->event][hold->seats[i].index];
        if (!gap && (!hold->versions_open || kept->holder != (int16_t)slot)) {
            return "a seat's version is higher than the changes it has seen";
        }
        kept->version = seat->version;
        hold->seats[i].version = seat->version;
    }
    hold->versions_open = false;
    return NULL;
}

static const char *
compare_hold(struct model *model, const struct round *round, const struct answer_hold *predicted,
             const struct answer_hold *told, uint32_t slot)
{
    if (predicted->id_known && !uuid_equal(&predicted->id, &told->id)) {
        return "another hold's id";
    }
    if (predicted->event != told->event) {
        return "another event's hold";
    }
    if (predicted->user != told->user) {
        return "another user's hold";
    }
    if (predicted->state != told->state) {
        return "the hold's state";
    }
    if (predicted->deadline_ms != told->deadline_ms) {
        return "the hold's deadline";
    }
    if (!same_seats(predicted, told)) {
        return "the hold's seats";
    }
    if (!same_pools(predicted, told)) {
        return "the hold's pools";
    }
    if (!predicted->id_known) {
        if (model_find_hold(model, &told->id) >= 0) {
            return "a new hold has the id of an old one";
        }
        model->holds[slot].id = told->id;
        model->holds[slot].id_known = true;
    }
    return learn_versions(model, round, slot, told, false);
}

/* ---- counts ------------------------------------------------------------------------------------ */

static bool
same_counts(const struct unit_counts *predicted, const struct unit_counts *told, bool exact)
{
    if (told->capacity != told->free + told->held + told->sold || predicted->capacity != told->capacity) {
        return false;
    }
    return !exact || (predicted->free == told->free && predicted->held == told->held &&
                      predicted->sold == told->sold);
}

static const char *
compare_event(const struct answer *predicted, const struct answer *told, bool exact)
{
    if (predicted->event_status != told->event_status ||
        predicted->event_hold_seconds != told->event_hold_seconds ||
        predicted->event_limit != told->event_limit ||
        predicted->event_active_max != told->event_active_max ||
        predicted->event_seed_shown != told->event_seed_shown) {
        return "the event's settings";
    }
    if (!same_counts(&predicted->total, &told->total, exact)) {
        return "the event's counts";
    }
    for (uint32_t i = 0; i < SIM_SECTIONS; i++) {
        if (!same_counts(&predicted->sections[i], &told->sections[i], exact)) {
            return "a section's counts";
        }
    }
    for (uint32_t i = 0; i < SIM_POOLS; i++) {
        if (!same_counts(&predicted->pools[i], &told->pools[i], exact)) {
            return "a pool's counts";
        }
    }
    return NULL;
}

/* ---- replays ----------------------------------------------------------------------------------- */

static const char *
compare_replay(const struct model *model, const struct op *op, const struct answer *predicted)
{
    const struct answer *told = &op->answer;
    if (!told->replayed) {
        return "a repeated key is no replay";
    }
    if (predicted->kind == UINT8_MAX) {
        return told->status == STATUS_OK ? NULL : "a replay of a success is a refusal";
    }
    (void)model;
    const struct answer_hold *a = &predicted->hold;
    const struct answer_hold *b = &told->hold;
    if (predicted->status != told->status || predicted->kind != told->kind) {
        return "a replay differs from the first answer";
    }
    if (predicted->kind == REPLY_TOKEN) {
        const struct answer_token *first = &predicted->token;
        const struct answer_token *again = &told->token;
        return uuid_equal(&first->id, &again->id) && first->state == again->state &&
                       first->position == again->position && first->deadline_ms == again->deadline_ms
                   ? NULL
                   : "a replay shows another place than the first answer";
    }
    if (predicted->created != told->created) {
        return "a replay and the first answer do not both say that it is new";
    }
    if (predicted->kind == REPLY_EVENT) {
        return compare_event(predicted, told, true) == NULL
                   ? NULL
                   : "a replay shows the event otherwise than the first answer";
    }
    if (predicted->kind != REPLY_HOLD) {
        return NULL;
    }
    if (!uuid_equal(&a->id, &b->id) || a->state != b->state || a->deadline_ms != b->deadline_ms ||
        a->event != b->event || a->user != b->user || !same_seats(a, b) || !same_pools(a, b)) {
        return "a replay shows another hold than the first answer";
    }
    for (uint32_t i = 0; i < a->seat_count; i++) {
        if (find_seat(b, a->seats[i].ref)->version != a->seats[i].version) {
            return "a replay shows other versions than the first answer";
        }
    }
    return NULL;
}

/* A list of holds: the known ones by id; one that a crash left unanswered by its content. */
static const char *
compare_holds(struct model *model, const struct round *round, const struct answer *predicted,
              const struct answer *told)
{
    bool taken[ANSWER_HOLDS] = {false};
    if (predicted->hold_count != told->hold_count) {
        return "the number of the user's holds";
    }
    if (predicted->used != told->used) {
        return "the user's used units";
    }
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < predicted->hold_count; i++) {
            const struct answer_hold *hold = &predicted->holds[i];
            if (hold->id_known != (pass == 0)) {
                continue;
            }
            const char *wrong = "a hold of the user is missing";
            for (uint32_t n = 0; n < told->hold_count; n++) {
                if (taken[n] || (hold->id_known && !uuid_equal(&hold->id, &told->holds[n].id)) ||
                    (!hold->id_known && model_find_hold(model, &told->holds[n].id) >= 0)) {
                    continue;
                }
                wrong = compare_hold(model, round, hold, &told->holds[n], (uint32_t)hold->slot);
                if (wrong == NULL) {
                    taken[n] = true;
                    break;
                }
                if (hold->id_known) {
                    return wrong;
                }
            }
            if (wrong != NULL) {
                return wrong;
            }
        }
    }
    return NULL;
}

/* ---- places in queues -------------------------------------------------------------------------- */

static const char *
compare_token(struct model *model, const struct round *round, const struct answer_token *predicted,
              const struct answer_token *told)
{
    if (predicted->id_known && !uuid_equal(&predicted->id, &told->id)) {
        return "another token's id";
    }
    if (!predicted->id_known && queue_find(model, &told->id) >= 0) {
        return "a new token has the id of an old one";
    }
    if (predicted->event != told->event || predicted->user != told->user) {
        return "another user's token";
    }
    if (predicted->state != told->state) {
        return "the token's state";
    }
    if (predicted->deadline_ms != told->deadline_ms) {
        return "the token's deadline";
    }
    if ((predicted->position == 0) != (told->position == 0) ||
        (!round->crashed && (told->position < predicted->position ||
                             told->position > predicted->position + predicted->position_slack))) {
        return "the token's position";
    }
    if (round->exact && predicted->position_slack == 0 && predicted->chance_none != told->chance_none) {
        return "the token's chance";
    }
    if (!predicted->id_known) {
        queue_learn(model, round->scenario, (uint32_t)predicted->slot, &told->id);
    }
    return NULL;
}

/* A place that was named is one: a join stands behind it, answered or not, and no crash takes it back. */
static const char *
compare_named_token(struct model *model, const struct round *round, const struct op *op)
{
    const struct uuid *id = &op->answer.token.id;
    int32_t slot = op->answer.has_token ? queue_find(model, id) : 0;
    if (!op->answer.has_token) {
        return NULL;
    }
    for (uint32_t i = 0; slot < 0 && i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->state != 0 && !token->id_known && token->event == op->request.event &&
            token->user == op->request.user) {
            queue_learn(model, round->scenario, i, id);
            return NULL;
        }
    }
    if (slot < 0) {
        return "a place that nobody has joined for";
    }
    return model->tokens[slot].user == op->request.user && model->tokens[slot].event == op->request.event
               ? NULL
               : "another user's token";
}

/* With the user's holds: looked up by another shard, so exact only where nothing else was under way. */
static const char *
compare_token_of_user(struct model *model, const struct round *round, const struct answer *predicted,
                      const struct op *op)
{
    const struct answer *told = &op->answer;
    if (!round->exact) {
        return compare_named_token(model, round, op);
    }
    if (predicted->has_token != told->has_token) {
        return "whether the user has a place in the queue";
    }
    if (!told->has_token) {
        return NULL;
    }
    if (predicted->token.id_known) {
        return uuid_equal(&predicted->token.id, &told->token.id) ? NULL : "the user's token";
    }
    queue_learn(model, round->scenario, (uint32_t)predicted->token.slot, &told->token.id);
    return NULL;
}

/* ---- maps ----------------------------------------------------------------------------------- */

static void
touch_hold(const struct model *model, const struct uuid *id, int8_t event, bool *touched)
{
    int32_t slot = model_find_hold(model, id);
    if (slot >= 0 && model->holds[slot].event == event) {
        for (uint32_t i = 0; i < model->holds[slot].seat_count; i++) {
            touched[model->holds[slot].seats[i].index] = true;
        }
    }
}

void
compare_touched(const struct model *model, const struct round *round, uint32_t except, int8_t event,
                bool *touched)
{
    const struct event_plan *plan = &round->scenario->events[event];
    for (uint32_t i = round->first; i < round->first + round->count; i++) {
        const struct request *request = &round->ops[i].request;
        if (i == except) {
            continue;
        }
        touch_hold(model, &request->hold, event, touched);
        if (request->type != COMMAND_HOLD || request->event != event) {
            continue;
        }
        touch_hold(model, &request->replaces, event, touched);
        for (uint32_t s = 0; s < request->seat_count; s++) {
            int32_t seat = scenario_seat(plan, request->seats[s]);
            if (seat >= 0) {
                touched[seat] = true;
            }
        }
        if (request->best_count > 0 && request->section >= 0) {
            const struct section_plan *section = &plan->sections[request->section];
            memset(touched + section->seat_first, true, section->seat_count);
        }
    }
}

static const char *
compare_map(const struct model *model, const struct round *round, const struct op *op,
            const struct answer *predicted)
{
    const struct answer *told = &op->answer;
    if (predicted->letter_count != told->letter_count) {
        return "the size of the map";
    }
    int8_t event = op->request.event;
    const struct section_plan *section = &round->scenario->events[event].sections[op->request.section];
    bool touched[SIM_EVENT_SEATS] = {false};
    if (!round->exact) {
        compare_touched(model, round, UINT32_MAX, event, touched);
    }
    for (uint32_t i = 0; i < told->letter_count; i++) {
        if (told->letters[i] != predicted->letters[i] && !touched[section->seat_first + i]) {
            return "a letter of the map";
        }
    }
    return NULL;
}

/* ---- refusals --------------------------------------------------------------------------------- */

static const char *
compare_figures(const struct answer *predicted, const struct answer *told, bool exact)
{
    uint16_t figures = predicted->figures;
    /* one's own hold may have ended while the owner's word was on its way */
    if (!exact && (told->figures & FIGURE_OWN) == 0) {
        figures &= (uint16_t)~FIGURE_OWN;
    }
    if (figures != told->figures) {
        return "which figures are told";
    }
    if ((figures & FIGURE_UNIT) != 0 && strcmp(predicted->unit, told->unit) != 0) {
        return "the unit";
    }
    if ((figures & FIGURE_OWN) != 0 && !uuid_equal(&predicted->own, &told->own)) {
        return "own";
    }
    if ((figures & FIGURE_LIMIT) != 0 &&
        (predicted->limit != told->limit || predicted->used != told->used)) {
        return "limit or used";
    }
    if ((figures & FIGURE_DEADLINE_MAX) != 0 && predicted->deadline_max_ms != told->deadline_max_ms) {
        return "deadline_max";
    }
    if ((figures & FIGURE_OPENS_AT) != 0 && predicted->opens_at_ms != told->opens_at_ms) {
        return "opens_at";
    }
    if ((figures & FIGURE_FIELD) != 0 && told->field[0] == '\0') {
        return "no field";
    }
    if (!exact) {
        return NULL;
    }
    if ((figures & FIGURE_REMAINING) != 0 && predicted->remaining != told->remaining) {
        return "remaining";
    }
    if ((figures & FIGURE_NEXT_DEADLINE) != 0 && predicted->next_deadline_ms != told->next_deadline_ms) {
        return "next_deadline";
    }
    if ((figures & FIGURE_LARGEST_RUN) != 0 && predicted->largest_run != told->largest_run) {
        return "largest_run";
    }
    return NULL;
}

const char *
compare_answer(struct model *model, const struct round *round, uint32_t op_index,
               const struct answer *predicted)
{
    const struct op *op = &round->ops[op_index];
    const struct answer *told = &op->answer;
    if (predicted->status != told->status) {
        return "the outcome";
    }
    if (predicted->replayed || told->replayed) {
        return predicted->replayed ? compare_replay(model, op, predicted) : "a replay of nothing";
    }
    if (predicted->kind != told->kind) {
        return "the kind of the answer";
    }
    if (predicted->status != STATUS_OK) {
        return compare_figures(predicted, told, round->exact);
    }
    if (predicted->created != told->created) {
        return "created";
    }
    switch (predicted->kind) {
    case REPLY_HOLD:
        return compare_hold(model, round, &predicted->hold, &told->hold, (uint32_t)predicted->hold.slot);
    case REPLY_HOLDS: {
        const char *wrong = compare_holds(model, round, predicted, told);
        return wrong != NULL ? wrong : compare_token_of_user(model, round, predicted, op);
    }
    case REPLY_TOKEN:
        return compare_token(model, round, &predicted->token, &told->token);
    case REPLY_EVENT:
        return compare_event(predicted, told, round->exact);
    case REPLY_MAP:
        return compare_map(model, round, op, predicted);
    default:
        return NULL;
    }
}
