/*
 * slots.c - never more certain slots than active_max, and no hold without one.
 *
 * A client that was told that it is active certainly has its slot from that answer on, until it sends what
 * may end the place (a leave; any confirm of that user's), its deadline comes, or somebody closes the
 * event. An answer counts only where nothing of that kind was under way while it was on its way.
 *
 *     told    ───────────●━━━━━━━━━━━━━━━━○  leave sent
 *     let in  ───○───────●━━━━━━━━━━━━━━━━━━━━━━━○  deadline
 *                at deadline - active_seconds: that, too, the answer tells
 *
 * Whoever is let in keeps the slot, also when active_max is lowered. So of those whose intervals meet, all
 * had slots when the last one of them was let in, and that many were allowed then: by an active_max in
 * force at that millisecond, after the place was last told to be waiting, before it was told to be active.
 * A change under way, or lost in a crash, may be in force or not.
 *
 * A hold that was granted proves a slot, too, at some moment between its sending and its answer: one more
 * than the others that have theirs for all that time.
 */
#include "tests/sim/slots.h"

#include <assert.h>
#include <string.h>

#define MOMENTS_MAX (2 * SIM_ROUND_OPS + 64)

enum moment_kind { MOMENT_SENT, MOMENT_ANSWERED, MOMENT_PUSHED };

struct moment {
    uint64_t step;
    const struct op *op;
    enum moment_kind kind;
};

void
slots_begin(struct slots *slots, const struct scenario *scenario)
{
    memset(slots, 0, sizeof *slots);
    slots->scenario = scenario;
    for (uint32_t e = 0; e < scenario->event_count; e++) {
        slots->limit_counts[e] = 1;
        slots->limits[e][0] = (struct slots_limit){
            .active_max = scenario->events[e].active_max, .until_step = UINT64_MAX, .until_ms = UINT64_MAX};
    }
}

/* The token's entry, made where there is none; NULL: no room, so nothing is known of it. */
static struct slots_token *
find_token(struct slots *slots, const struct uuid *id)
{
    for (uint32_t i = 0; i < slots->token_count; i++) {
        if (uuid_equal(&slots->tokens[i].id, id)) {
            return &slots->tokens[i];
        }
    }
    if (slots->token_count == SLOTS_TOKENS) {
        return NULL;
    }
    struct slots_token *token = &slots->tokens[slots->token_count++];
    *token = (struct slots_token){.id = *id, .event = -1};
    return token;
}

/* ---- what may end places ---- */

static void
doubt_begin(struct slots_doubt *doubt)
{
    doubt->open++;
}

static void
doubt_end(struct slots_doubt *doubt, uint64_t step, uint64_t ms)
{
    assert(doubt->open > 0);
    doubt->open--;
    doubt->until_step = step;
    doubt->until_ms = ms;
}

/* Nothing was under way since this step, or since the place began. */
static bool
no_doubt(const struct slots_doubt *doubt, uint64_t since_step, uint64_t let_in_ms)
{
    return doubt->open == 0 && (doubt->until_step < since_step || doubt->until_ms < let_in_ms);
}

static void
doubts_refresh(struct slots *slots, uint64_t now_ms)
{
    for (uint32_t i = 0; i < slots->token_count; i++) {
        struct slots_token *token = &slots->tokens[i];
        if (token->certain &&
            (token->deadline_ms <= now_ms || token->doubt.open > 0 || slots->users[token->user].open > 0 ||
             slots->events[token->event].open > 0)) {
            token->certain = false;
        }
    }
}

static struct slots_doubt *
doubted_by(struct slots *slots, const struct request *request)
{
    if (request->type == COMMAND_CONFIRM) {
        return &slots->users[request->user];
    }
    if (request->type == COMMAND_EVENT_SET && request->has_status && request->status == EVENT_CLOSED) {
        return &slots->events[request->event];
    }
    if (request->type == COMMAND_QUEUE_LEAVE) {
        struct slots_token *token = find_token(slots, &request->hold);
        return token == NULL ? NULL : &token->doubt;
    }
    return NULL;
}

/* ---- active_max ---- */

static void
limit_sent(struct slots *slots, const struct op *op)
{
    uint32_t *count = &slots->limit_counts[op->request.event];
    assert(*count < SLOTS_LIMITS);
    slots->limits[op->request.event][(*count)++] = (struct slots_limit){
        .active_max = op->request.active_max,
        .from_step = op->sent_step,
        .from_ms = op->sent_ms,
        .until_step = UINT64_MAX,
        .until_ms = UINT64_MAX,
    };
}

/* From this answer on only this one is in force: of those sent before, all others have passed. */
static void
limit_known(struct slots *slots, int8_t event, uint32_t active_max, const struct op *op)
{
    for (uint32_t i = 0; i < slots->limit_counts[event]; i++) {
        struct slots_limit *limit = &slots->limits[event][i];
        if (limit->active_max != active_max && limit->from_step <= op->sent_step &&
            limit->until_step == UINT64_MAX) {
            limit->until_step = op->answered_step;
            limit->until_ms = op->answered_ms;
        }
    }
}

static void
limit_answered(struct slots *slots, const struct op *op)
{
    int8_t event = op->request.event;
    if (op->request.type == COMMAND_EVENT_SET && op->answer.status == STATUS_OK && !op->answer.replayed) {
        limit_known(slots, event, op->request.active_max, op);
    } else if (op->request.type == COMMAND_EVENT_GET) {
        limit_known(slots, event, op->answer.event_active_max, op);
    } else {
        for (uint32_t i = 0; i < slots->limit_counts[event]; i++) {
            if (slots->limits[event][i].from_step ==
                op->sent_step) { /* refused, or a replay: never in force */
                slots->limits[event][i] = slots->limits[event][--slots->limit_counts[event]];
            }
        }
    }
}

/* The largest that may have been in force at some moment of these. */
static uint32_t
limit_between(const struct slots *slots, int8_t event, uint64_t from_step, uint64_t until_step,
              uint64_t from_ms, uint64_t until_ms)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < slots->limit_counts[event]; i++) {
        const struct slots_limit *limit = &slots->limits[event][i];
        if (limit->from_step <= until_step && limit->until_step >= from_step &&
            limit->from_ms <= until_ms && limit->until_ms >= from_ms && limit->active_max > most) {
            most = limit->active_max;
        }
    }
    return most;
}

/* ---- the two rules ---- */

static uint64_t
let_in_ms(const struct slots *slots, const struct slots_token *token)
{
    return token->deadline_ms - slots->scenario->events[token->event].active_seconds * (uint64_t)1000;
}

/* Those let in up to a moment, that moment's limit: for the moment of each who is certain now. */
static bool
few_enough(struct slots *slots, int8_t event)
{
    bool full = false;
    for (uint32_t i = 0; i < slots->token_count; i++) {
        const struct slots_token *last = &slots->tokens[i];
        if (!last->certain || last->event != event) {
            continue;
        }
        uint32_t count = 0;
        uint32_t most = 0;
        for (uint32_t k = 0; k < slots->token_count; k++) {
            const struct slots_token *token = &slots->tokens[k];
            if (!token->certain || token->event != event ||
                let_in_ms(slots, token) > let_in_ms(slots, last)) {
                continue;
            }
            count++;
            if (let_in_ms(slots, token) == let_in_ms(slots, last)) { /* either may have been the last one */
                uint64_t ms = let_in_ms(slots, token);
                uint32_t limit = limit_between(slots, event, token->waiting_step, token->told_step, ms, ms);
                most = limit > most ? limit : most;
            }
        }
        if (count > most) {
            return false;
        }
        full |= count == most;
    }
    slots->full_count += full;
    return true;
}

/* This user has just been told of a new hold. */
static bool
had_a_slot(struct slots *slots, const struct op *op)
{
    int8_t event = op->request.event;
    uint32_t others = 0;
    uint64_t last_ms = 0;
    for (uint32_t i = 0; i < slots->token_count; i++) {
        const struct slots_token *token = &slots->tokens[i];
        if (token->certain && token->event == event && token->user != op->request.user &&
            token->told_step < op->sent_step) {
            others++;
            last_ms = let_in_ms(slots, token) > last_ms ? let_in_ms(slots, token) : last_ms;
        }
    }
    uint32_t most = limit_between(slots, event, 0, op->answered_step, last_ms, op->answered_ms);
    slots->full_holds_count += others > 0 && others + 1 == most;
    return others == 0 || others + 1 <= most;
}

/* ---- a round, moment by moment ---- */

static void
token_told(struct slots *slots, const struct op *op, const struct answer_token *told, uint64_t step,
           uint64_t now_ms)
{
    struct slots_token *token = find_token(slots, &told->id);
    if (token == NULL || slots->scenario->events[told->event].active_max == 0) {
        return;
    }
    token->event = told->event;
    token->user = told->user;
    if (op->answer.created || told->state == TOKEN_WAITING) {
        token->waiting_step = op->sent_step > token->waiting_step ? op->sent_step : token->waiting_step;
    }
    if (told->state != TOKEN_ACTIVE || told->deadline_ms <= now_ms) {
        token->certain = token->certain && told->state <= TOKEN_ACTIVE;
        return;
    }
    bool was = token->certain;
    token->deadline_ms = told->deadline_ms;
    uint64_t since_ms = let_in_ms(slots, token);
    token->certain = no_doubt(&token->doubt, op->sent_step, since_ms) &&
                     no_doubt(&slots->users[token->user], op->sent_step, since_ms) &&
                     no_doubt(&slots->events[token->event], op->sent_step, since_ms);
    if (!was || !token->certain) {
        token->told_step = step;
    }
}

static const char *
answered(struct slots *slots, const struct op *op)
{
    const struct request *request = &op->request;
    const struct answer *answer = &op->answer;
    struct slots_doubt *doubt = doubted_by(slots, request);
    if (doubt != NULL) {
        doubt_end(doubt, op->answered_step, op->answered_ms);
    }
    if (request->type == COMMAND_EVENT_SET && request->has_active_max) {
        limit_answered(slots, op);
    }
    if (request->type == COMMAND_EVENT_GET && answer->status == STATUS_OK) {
        limit_answered(slots, op);
    }
    if (answer->status != STATUS_OK || answer->replayed) {
        return NULL;
    }
    if (request->type == COMMAND_HOLD && answer->created &&
        slots->scenario->events[request->event].active_max > 0 && !had_a_slot(slots, op)) {
        return "a hold was placed by somebody whose slot others certainly have";
    }
    if (answer->kind == REPLY_TOKEN) {
        token_told(slots, op, &answer->token, op->answered_step, op->answered_ms);
        if (!few_enough(slots, answer->token.event)) {
            return "more certainly have a slot than active_max";
        }
    }
    return NULL;
}

static const char *
happens(struct slots *slots, const struct moment *moment)
{
    const struct op *op = moment->op;
    if (moment->kind == MOMENT_SENT) {
        struct slots_doubt *doubt = doubted_by(slots, &op->request);
        if (doubt != NULL) {
            doubt_begin(doubt);
        }
        if (op->request.type == COMMAND_EVENT_SET && op->request.has_active_max) {
            limit_sent(slots, op);
        }
        doubts_refresh(slots, op->sent_ms);
        return NULL;
    }
    if (moment->kind == MOMENT_ANSWERED) {
        doubts_refresh(slots, op->answered_ms);
        return answered(slots, op);
    }
    doubts_refresh(slots, op->pushed_ms);
    struct answer_token told = op->answer.token;
    told.state = TOKEN_ACTIVE;
    told.deadline_ms = op->pushed_deadline_ms;
    token_told(slots, op, &told, op->pushed_step, op->pushed_ms);
    return few_enough(slots, told.event) ? NULL : "more certainly have a slot than active_max";
}

static uint32_t
add_moment(struct moment *moments, uint32_t count, uint64_t step, const struct op *op,
           enum moment_kind kind)
{
    assert(count < MOMENTS_MAX);
    uint32_t at = count;
    for (; at > 0 && moments[at - 1].step > step; at--) {
        moments[at] = moments[at - 1];
    }
    moments[at] = (struct moment){step, op, kind};
    return count + 1;
}

const char *
slots_round(struct slots *slots, const struct op *ops, uint32_t first, uint32_t count, uint32_t watch_count,
            uint64_t now_ms)
{
    struct moment moments[MOMENTS_MAX];
    uint32_t moment_count = 0;
    if (!slots->scenario->queues) {
        return NULL;
    }
    for (uint32_t i = first; i < first + count; i++) {
        if (ops[i].sent) {
            moment_count = add_moment(moments, moment_count, ops[i].sent_step, &ops[i], MOMENT_SENT);
        }
        if (ops[i].answered) {
            moment_count =
                add_moment(moments, moment_count, ops[i].answered_step, &ops[i], MOMENT_ANSWERED);
        }
    }
    uint64_t push_step = slots->push_step;
    /* News of a place is told by a watch of this round, or of one before. */
    for (uint32_t i = 0; i < watch_count; i++) {
        if (ops[i].answered && ops[i].pushed_step > slots->push_step && moment_count < MOMENTS_MAX) {
            moment_count = add_moment(moments, moment_count, ops[i].pushed_step, &ops[i], MOMENT_PUSHED);
            push_step = ops[i].pushed_step > push_step ? ops[i].pushed_step : push_step;
        }
    }
    slots->push_step = push_step;
    const char *wrong = NULL;
    for (uint32_t i = 0; i < moment_count && wrong == NULL; i++) {
        wrong = happens(slots, &moments[i]);
    }
    /* What a crash took the answer of has happened by now, or never will. */
    for (uint32_t i = first; i < first + count; i++) {
        struct slots_doubt *doubt =
            ops[i].sent && !ops[i].answered ? doubted_by(slots, &ops[i].request) : NULL;
        if (doubt != NULL) {
            doubt_end(doubt, moments[moment_count - 1].step, now_ms);
        }
    }
    return wrong;
}
