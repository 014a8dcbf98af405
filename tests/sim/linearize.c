/*
 * linearize.c - is there an order of the requests in which each answer is right?
 *
 * The method of Wing and Gong (1993), on rounds: a few requests are under way together, and all are
 * answered, or lost in a crash, before the next round begins; so the search is over a handful of requests,
 * and what one round leaves is where the next one starts.
 *
 *     a request may be next where none that is left had its answer before this one was sent
 *     answered: executed at each moment of the clock while it was under way; the answer must be the model's
 *     lost: executed, or left out
 *     an overdue hold may be swept before any request
 *
 * Different orders that lead to the same state are one truth. So the search goes on from a state with the
 * same requests done once only (Lowe, "Testing for linearizability", 2017), and knows it by a hash of 64
 * bits.
 */
#include "tests/sim/linearize.h"
#include "tests/sim/model_queue.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX (SIM_ROUND_OPS + 16)
#define NODES_MAX 400000
#define VISITED   4096 /* half of it is used: what does not fit is searched again */

static struct model *stack[DEPTH_MAX + 1];
static struct model *spare[2][TRUTHS_MAX];
static uint32_t spare_side;
static uint64_t visited[VISITED]; /* hashes, open addressing; 0: none */
static uint32_t visited_count;

void
linearize_open(void)
{
    size_t size = sizeof(struct model) + (SIM_EVENTS * SIM_EVENT_SEATS + 1) * sizeof(struct model_seat);
    size = (size + 63) / 64 * 64;
    for (uint32_t i = 0; i <= DEPTH_MAX; i++) {
        stack[i] = calloc(1, size);
        assert(stack[i] != NULL);
    }
    for (uint32_t i = 0; i < TRUTHS_MAX; i++) {
        for (uint32_t side = 0; side < 2; side++) {
            spare[side][i] = calloc(1, size);
            assert(spare[side][i] != NULL);
        }
    }
}

void
truths_begin(struct truths *truths, const struct scenario *scenario)
{
    spare_side = 0;
    truths->overflow = false;
    truths->count = 1;
    truths->models[0] = spare[0][0];
    model_begin(truths->models[0], scenario);
}

/* ---- search ----------------------------------------------------------------------------------- */

/* Keeps what stands at this depth. Nobody goes on from there: the models change places, else a copy. */
static void
emit(const struct linearize *linearize, uint32_t depth, bool last, struct truths *found)
{
    for (uint32_t i = 0; i < found->count; i++) {
        if (model_equal(found->models[i], stack[depth], linearize->round.scenario)) {
            return;
        }
    }
    if (found->count == TRUTHS_MAX) {
        found->overflow = true;
        return;
    }
    struct model **place = &spare[spare_side ^ 1][found->count];
    if (last && depth > 0) {
        struct model *kept = stack[depth];
        stack[depth] = *place;
        *place = kept;
    } else {
        model_copy(*place, stack[depth], linearize->round.scenario);
    }
    found->models[found->count] = *place;
    found->count++;
}

static bool
may_be_next(const struct round *round, uint32_t index, uint32_t done)
{
    const struct op *op = &round->ops[round->first + index];
    for (uint32_t i = 0; i < round->count; i++) {
        const struct op *other = &round->ops[round->first + i];
        if ((done >> i & 1) == 0 && other->answered && other->answered_step < op->sent_step) {
            return false;
        }
    }
    return true;
}

/* An ended hold may be forgotten once the core need not remember it any more. */
static bool
may_be_forgotten(const struct model *model, const struct scenario *scenario, const struct uuid *id,
                 uint64_t now_ms)
{
    int32_t slot = model_find_hold(model, id);
    if (slot < 0) {
        return false;
    }
    const struct model_hold *hold = &model->holds[slot];
    bool overdue = hold->state == HOLD_HELD && hold->deadline_ms <= now_ms;
    uint64_t ended_ms = overdue ? hold->deadline_ms : hold->ended_ms;
    if (!overdue && model_hold_has_units(hold)) {
        return false;
    }
    return scenario->bounded || ended_ms + scenario->shard.ended_ms <= now_ms;
}

static bool
token_may_be_forgotten(const struct model *model, const struct scenario *scenario, const struct uuid *id,
                       uint64_t now_ms)
{
    int32_t slot = queue_find(model, id);
    if (slot < 0 || model->tokens[slot].state == TOKEN_WAITING) {
        return false;
    }
    const struct model_token *token = &model->tokens[slot];
    uint64_t ended_ms = token->state == TOKEN_ACTIVE ? token->deadline_first_ms : token->ended_ms;
    bool ended = token->state > TOKEN_ACTIVE || ended_ms <= now_ms;
    return (scenario->few_places && ended) || ended_ms + scenario->shard.ended_ms <= now_ms;
}

/* While the disk is full new holds and changes of events wait; what ends a hold, or pays, only when the
 * reserve is used up, too. */
static bool
refused_by_scarcity(const struct linearize *linearize, const struct op *op)
{
    bool begins = op->request.type == COMMAND_HOLD || op->request.type == COMMAND_EVENT_CREATE ||
                  op->request.type == COMMAND_EVENT_SET || op->request.type == COMMAND_QUEUE_JOIN;
    return linearize->scarcity == SCARCE_ALL || (linearize->scarcity == SCARCE_NEW && begins);
}

/* So many places stood when the last one joined, or more: with those that a crash then undid. */
static uint32_t
places_at_most(const struct round *round, const struct model *model)
{
    uint32_t places = model->places;
    for (uint32_t i = round->first; i < round->first + round->count; i++) {
        places += round->ops[i].lost && round->ops[i].request.type == COMMAND_QUEUE_JOIN;
    }
    return places;
}

/* Refusals that the model does not know: for want of room, or of a hold long ended. */
static bool
refused_by_bound(const struct linearize *linearize, const struct model *model, const struct op *op,
                 uint64_t now_ms)
{
    const struct scenario *scenario = linearize->round.scenario;
    if (!op->answered) {
        return false;
    }
    if (op->answer.status == STATUS_BUSY) {
        bool no_place = scenario->few_places && op->request.type == COMMAND_QUEUE_JOIN &&
                        places_at_most(&linearize->round, model) >= scenario->shard.tokens_max;
        return linearize->busy_allowed || refused_by_scarcity(linearize, op) || no_place;
    }
    if (op->answer.status == STATUS_NOTOKEN) {
        return token_may_be_forgotten(model, scenario, &op->request.hold, now_ms);
    }
    return op->answer.status == STATUS_NOHOLD &&
           (may_be_forgotten(model, scenario, &op->request.hold, now_ms) ||
            (op->request.has_replaces && may_be_forgotten(model, scenario, &op->request.replaces, now_ms)));
}

/* Best is one look at a section, and a replace or a release of several seats changes them one after
 * another: with somebody else at work there, a look may find fewer together than any single moment had. */
static bool
refused_by_a_look(const struct linearize *linearize, const struct model *model, const struct op *op,
                  uint32_t op_index)
{
    const struct round *round = &linearize->round;
    const struct request *request = &op->request;
    uint8_t status = op->answer.status;
    if (round->exact || !op->answered || request->best_count == 0 || request->section < 0 ||
        (status != STATUS_HELDOUT && status != STATUS_SOLDOUT && status != STATUS_NOADJACENT) ||
        strcmp(op->answer.unit, scenario_section_name(round->scenario, request->event, request->section)) !=
            0) {
        return false;
    }
    bool touched[SIM_EVENT_SEATS] = {false};
    const struct section_plan *section =
        &round->scenario->events[request->event].sections[request->section];
    compare_touched(model, round, op_index, request->event, touched);
    for (uint32_t i = 0; i < section->seat_count; i++) {
        if (touched[section->seat_first + i]) {
            return true;
        }
    }
    return false;
}

static bool
hold_has_unit(const struct model_hold *hold, const struct scenario *scenario, const char *unit)
{
    const struct event_plan *plan = &scenario->events[hold->event];
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        char text[SEAT_TEXT_SIZE_MAX + 1];
        scenario_seat_text(scenario, hold->event, scenario_seat_at(plan, hold->seats[i].index), text,
                           sizeof text);
        if (strcmp(text, unit) == 0) {
            return true;
        }
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        if (strcmp(scenario_pool_name(scenario, hold->event, (int8_t)hold->pools[i].pool), unit) == 0) {
            return true;
        }
    }
    return false;
}

/* Placed or ended by this round's requests, or its deadline has come. */
static bool
changed_in_round(const struct linearize *linearize, const struct model_hold *hold, uint32_t slot)
{
    const struct round *round = &linearize->round;
    if (hold->state == HOLD_HELD && hold->deadline_ms <= linearize->clocks[linearize->clock_count - 1]) {
        return true;
    }
    for (uint32_t i = round->first; i < round->first + round->count; i++) {
        const struct request *other = &round->ops[i].request;
        bool by_id = other->type == COMMAND_RELEASE || other->type == COMMAND_CONFIRM ||
                     other->type == COMMAND_CANCEL;
        if (round->ops[i].hold_slot == (int16_t)slot || (by_id && uuid_equal(&other->hold, &hold->id)) ||
            (other->has_replaces && uuid_equal(&other->replaces, &hold->id))) {
            return true;
        }
    }
    return false;
}

/* The event in which a request wanted units and was refused for want of one. -1: it was not. */
static int32_t
refused_for_units(const struct model *model, const struct op *op)
{
    uint8_t status = op->answer.status;
    if (!op->answered) {
        return -1;
    }
    if (op->request.type == COMMAND_HOLD && (status == STATUS_HELD || status == STATUS_SOLD ||
                                             status == STATUS_HELDOUT || status == STATUS_SOLDOUT)) {
        return op->request.event;
    }
    if (op->request.type == COMMAND_CONFIRM && op->request.late && status == STATUS_EXPIRED &&
        (op->answer.figures & FIGURE_UNIT) != 0) {
        for (uint32_t i = 0; i < model->hold_count; i++) {
            if (model->holds[i].state != 0 && uuid_equal(&model->holds[i].id, &op->request.hold)) {
                return model->holds[i].event;
            }
        }
    }
    return -1;
}

/* A hold that ends in this round gives its units back one after another, each by its owner (R3), and its
 * home knows before they do: a refusal may name one that is still taken when another, or the user's limit,
 * is free again. What is linearizable is each unit by itself. */
static bool
refused_by_a_changing_one(const struct linearize *linearize, const struct model *model, const struct op *op)
{
    int32_t event = linearize->round.exact ? -1 : refused_for_units(model, op);
    if (event < 0) {
        return false;
    }
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if ((int32_t)hold->event == event && hold->state != 0 && changed_in_round(linearize, hold, i) &&
            hold_has_unit(hold, linearize->round.scenario, op->answer.unit)) {
            return true;
        }
    }
    return false;
}

/* In a round that ends in a crash: the units were taken by a request that the crash then undid. A refusal
 * for want of units is no promise; what a home says of its own holds is, and is not excused here. */
static bool
refused_by_a_lost_one(const struct linearize *linearize, const struct op *op)
{
    const struct round *round = &linearize->round;
    uint8_t status = op->answer.status;
    bool unit_gone =
        status == STATUS_EXPIRED && op->request.late && (op->answer.figures & FIGURE_UNIT) != 0;
    if (!op->answered || (status != STATUS_HELD && status != STATUS_SOLD && status != STATUS_HELDOUT &&
                          status != STATUS_SOLDOUT && status != STATUS_NOADJACENT &&
                          status != STATUS_NOTADMITTED && !unit_gone)) {
        return false;
    }
    for (uint32_t i = round->first; i < round->first + round->count; i++) {
        if (round->ops[i].lost) {
            return true;
        }
    }
    return false;
}

static bool
key_may_be_forgotten(const struct linearize *linearize, const struct model *model, const struct op *op,
                     uint64_t now_ms)
{
    for (uint32_t i = 0; op->key != 0 && i < model->key_count; i++) {
        const struct model_key *key = &model->keys[i];
        if (key->used && key->owner == model_key_owner(&op->request) && key->key == op->key) {
            /* a join or a change and its key are two records, and who was not answered may have but the
             * first */
            const struct op *first = &linearize->round.ops[key->op];
            bool two_records =
                first->request.type == COMMAND_QUEUE_JOIN || model_key_owner(&first->request) < 0;
            return linearize->round.scenario->bounded || (two_records && !first->answered) ||
                   key->at_ms + linearize->round.scenario->shard.key_ms <= now_ms;
        }
    }
    return false;
}

static void search(struct linearize *linearize, uint32_t depth, uint32_t done, int32_t swept,
                   struct truths *found);

static void
try_op(struct linearize *linearize, uint32_t depth, uint32_t done, uint32_t index, uint64_t now_ms,
       struct truths *found)
{
    static struct answer predicted;
    const struct round *round = &linearize->round;
    uint32_t op_index = round->first + index;
    const struct op *op = &round->ops[op_index];
    if (refused_by_bound(linearize, stack[depth], op, now_ms) ||
        refused_by_a_changing_one(linearize, stack[depth], op) ||
        refused_by_a_look(linearize, stack[depth], op, op_index) || refused_by_a_lost_one(linearize, op)) {
        model_copy(stack[depth + 1], stack[depth], round->scenario);
        search(linearize, depth + 1, done | 1u << index, -1, found);
    }
    bool forgotten = key_may_be_forgotten(linearize, stack[depth], op, now_ms);
    bool unaware = queue_unaware(stack[depth], round->scenario, op, now_ms);
    for (uint32_t options = 0; options < 4; options++) {
        if (((options & 1) != 0 && !forgotten) || ((options & 2) != 0 && !unaware)) {
            continue;
        }
        struct model *next = stack[depth + 1]; /* another one each time (emit()) */
        model_copy(next, stack[depth], round->scenario);
        model_execute(next, round->scenario, round->ops, op_index, now_ms,
                      ((options & 1) != 0 ? MODEL_FORGET_KEY : 0) |
                          ((options & 2) != 0 ? MODEL_UNAWARE : 0) | (round->exact ? 0 : MODEL_LOOSE) |
                          (round->crashed ? MODEL_CRASHED : 0),
                      &predicted);
        const char *wrong = op->answered ? compare_answer(next, round, op_index, &predicted) : NULL;
        if (wrong != NULL) {
            if (linearize->why) {
                printf("    try %u at %llu: %s: ", op_index, (unsigned long long)now_ms, wrong);
                scenario_print_answer(round->scenario, &predicted);
                printf("\n");
            }
            linearize->wrong = wrong;
            linearize->wrong_op = op_index;
            linearize->predicted = predicted;
            continue;
        }
        search(linearize, depth + 1, done | 1u << index, -1, found);
    }
}

/* Notes that the search goes on from here; true: it has done so before. */
static bool
visit(const struct linearize *linearize, uint32_t depth, uint32_t done, int32_t swept)
{
    uint64_t seed = (uint64_t)done << 32 | (uint32_t)swept;
    uint64_t hash = model_hash(seed, stack[depth], linearize->round.scenario) | 1;
    uint32_t at = (hash >> 32) % VISITED;
    for (; visited[at] != 0; at = (at + 1) % VISITED) {
        if (visited[at] == hash) {
            return true;
        }
    }
    if (visited_count < VISITED / 2) {
        visited[at] = hash;
        visited_count++;
    }
    return false;
}

static void
search(struct linearize *linearize, uint32_t depth, uint32_t done, int32_t swept, struct truths *found)
{
    const struct round *round = &linearize->round;
    assert(depth < DEPTH_MAX);
    if (visit(linearize, depth, done, swept)) {
        return;
    }
    linearize->nodes++;
    if (linearize->nodes > NODES_MAX) {
        found->overflow = true;
        return;
    }
    bool all = done == (1u << round->count) - 1;
    bool whole = true;
    for (uint32_t i = 0; i < round->count; i++) {
        whole = whole && ((done >> i & 1) != 0 || !round->ops[round->first + i].answered);
    }
    if (whole && swept < 0) {
        emit(linearize, depth, all, found);
    }
    if (all) {
        return;
    }
    for (uint32_t i = 0; i < round->count; i++) {
        const struct op *op = &round->ops[round->first + i];
        if ((done >> i & 1) != 0 || !op->sent || !may_be_next(round, i, done)) {
            continue;
        }
        for (uint32_t c = 0; c < linearize->clock_count; c++) {
            uint64_t now_ms = linearize->clocks[c];
            if (now_ms >= op->sent_ms && (!op->answered || now_ms <= op->answered_ms)) {
                try_op(linearize, depth, done, i, now_ms, found);
            }
        }
    }
    for (uint32_t i = (uint32_t)(swept + 1); i < stack[depth]->hold_count; i++) {
        const struct model_hold *hold = &stack[depth]->holds[i];
        if (hold->state == HOLD_HELD &&
            hold->deadline_ms <= linearize->clocks[linearize->clock_count - 1]) {
            model_copy(stack[depth + 1], stack[depth], round->scenario);
            model_sweep(stack[depth + 1], i);
            search(linearize, depth + 1, done, (int32_t)i, found);
        }
    }
}

bool
linearize_round(struct linearize *linearize, struct truths *truths)
{
    struct truths found = {.count = 0};
    linearize->nodes = 0;
    linearize->wrong = NULL;
    struct model *bottom = stack[0];
    memset(visited, 0, sizeof visited);
    visited_count = 0;
    for (uint32_t i = 0; i < truths->count; i++) {
        stack[0] = truths->models[i]; /* only read */
        search(linearize, 0, 0, -1, &found);
    }
    stack[0] = bottom;
    if (found.count == 0 && !found.overflow) {
        return false;
    }
    *truths = found;
    spare_side ^= 1;
    return true;
}
