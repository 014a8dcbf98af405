/*
 * sim.c - the simulator: seeds in, verdict out.
 *
 *     sim --seeds FROM COUNT      plays COUNT seeds; ends with a line such as "20000 passed, 0 failed"
 *     sim --seed N [--trace]      plays one, and shows each round
 *     sim --endless               plays from a seed of the wall clock on until something fails
 *     sim ... --twice             plays each seed twice and compares the states (R5); else every 50th
 *     sim ... --hash              prints a hash of all states of all seeds: the same for every compiler
 *     sim ... --sparse            checks the shards at every 16th step only: plants see more seeds so
 *     sim ... --why               prints what each order that was tried is contradicted by
 *     sim ... --keep-going        goes on after a failure
 *
 * One seed is one history, in rounds: requests are sent, things happen in any order, all is answered or
 * lost in a crash, then the order is sought that explains every answer (linearize.c). A round of one
 * request is checked to the last figure. After a crash, and at the end, everything is looked at.
 */
#include "tests/sim/clients.h"
#include "tests/sim/linearize.h"
#include "tests/sim/model_queue.h"
#include "tests/sim/slots.h"
#include "tests/sim/world.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* By then a sweep has come by: a deadline is at most two ticks of the wheel late. */
#define SWEEP_MS        20
#define QUEUE_MARGIN_MS 6000 /* a round's clock moves by less */
/* More seeds that cannot be followed to their end are a failure, where there are some hundreds. */
#define CUT_SHORT_PERCENT     8
#define CUT_SHORT_HOT_PERCENT 22
#define SEED_SECONDS_MAX                                                                                   \
    240 /* a seed that runs longer hangs; sanitizers take up to fifty times as long                        \
         */

struct run {
    struct scenario scenario;
    struct random random;
    struct clients clients;
    struct truths truths;
    struct linearize linearize;
    struct slots slots;
    struct world *world;
    bool trace;
    bool hot; /* every seed draws what is rare elsewhere */
    bool sparse;
    bool cut_short; /* the seed is not followed to its end */
    bool hashing;
    uint64_t hash;
    const char *failure;
    bool restarted; /* and not swept since: timers of queues are not set */
    uint64_t restarted_ms;
    bool crashed; /* the round that is judged */
    bool calm;    /* no crash in this round: who has been silent has gone, and nothing says so yet */
    bool gaps[SIM_EVENTS][SIM_EVENT_SEATS];
    struct op ops[SIM_OPS];
};

static struct run run;
static volatile uint64_t seed_now;
static uint64_t all_hash;   /* of all seeds, where it is asked for */
static uint64_t cut_short;  /* seeds with more truths than can be followed */
static uint64_t full_count; /* times that the clients knew of as many slots as there may be */
static uint64_t full_holds_count;
static uint64_t no_place_count; /* joins refused where there is room for a few */

/* ---- rounds ----------------------------------------------------------------------------------- */

static void
print_round(const struct op *ops, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (!ops[i].sent) {
            continue;
        }
        printf("  %u ", i);
        scenario_print_request(&run.scenario, &ops[i]);
        printf(" sent=%llu@%llu", (unsigned long long)ops[i].sent_step, (unsigned long long)ops[i].sent_ms);
        if (ops[i].answered) {
            printf(" answered=%llu@%llu\n      ", (unsigned long long)ops[i].answered_step,
                   (unsigned long long)ops[i].answered_ms);
            scenario_print_answer(&run.scenario, &ops[i].answer);
            printf("\n");
        } else {
            printf(" %s\n", ops[i].lost ? "lost" : "no answer");
        }
    }
    (void)fflush(stdout);
}

static bool
fail(const char *what)
{
    if (run.failure == NULL) {
        run.failure = what;
    }
    return false;
}

/* A hold that is over its deadline and, for all this truth knows, has its units still. */
static uint32_t
overdue_count(uint64_t now_ms)
{
    uint32_t most = 0;
    for (uint32_t t = 0; t < run.truths.count; t++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < run.truths.models[t]->hold_count; i++) {
            const struct model_hold *hold = &run.truths.models[t]->holds[i];
            count += hold->state == HOLD_HELD && hold->deadline_ms <= now_ms;
        }
        most = count > most ? count : most;
    }
    return most;
}

/* What a sweep finds must not hang on a tick: to the next moment at which no truth leaves that open. */
static void
be_sure(uint64_t margin_ms)
{
    uint64_t now_ms = world_now(run.world);
    uint64_t sure_ms = now_ms;
    for (uint32_t t = 0; run.scenario.queues && t < run.truths.count; t++) {
        uint64_t next_ms = queue_sure_ms(run.truths.models[t], &run.scenario, sure_ms, margin_ms);
        if (next_ms > sure_ms) {
            sure_ms = next_ms;
            t = UINT32_MAX; /* for all of them at once */
        }
    }
    world_advance(run.world, sure_ms - now_ms);
}

/* Time goes on until no deadline is too near to say whether its sweep has been; then all are swept. */
static bool
sweep_all(void)
{
    if (run.scenario.queues && run.restarted) {
        /* The first sweep only sets timers; the next tick finds what is over. */
        if (!world_quiesce(run.world, true)) {
            return fail("the shards never come to rest");
        }
        for (uint32_t t = 0; t < run.truths.count; t++) {
            queue_restarted(run.truths.models[t], run.restarted_ms, world_now(run.world));
        }
        run.restarted = false;
        world_advance(run.world, SWEEP_MS);
    }
    for (uint32_t turn = 0;; turn++) {
        be_sure(0);
        if (!world_quiesce(run.world, true)) {
            return fail("the shards never come to rest");
        }
        uint64_t now_ms = world_now(run.world);
        for (uint32_t t = 0; t < run.truths.count; t++) {
            struct model *model = run.truths.models[t];
            for (uint32_t i = 0; i < model->hold_count; i++) {
                if (model->holds[i].state == HOLD_HELD &&
                    model->holds[i].deadline_ms + SWEEP_MS <= now_ms) {
                    model_sweep(model, i);
                }
            }
            model_forget_unknown(model);
            if (run.scenario.queues) {
                queue_rest(model, &run.scenario, now_ms);
            }
        }
        if (overdue_count(now_ms) == 0) {
            return true;
        }
        assert(turn < 1000);
        world_advance(run.world, SWEEP_MS);
    }
}

static void
note_clock(void)
{
    uint64_t now_ms = world_now(run.world);
    if (run.linearize.clock_count == 0 || run.linearize.clocks[run.linearize.clock_count - 1] != now_ms) {
        assert(run.linearize.clock_count < ROUND_CLOCKS);
        run.linearize.clocks[run.linearize.clock_count++] = now_ms;
    }
}

/* All answers are in, or lost: which truths are left? */
static bool
judge(const struct op *ops, uint32_t first, uint32_t count, bool exact)
{
    struct linearize *linearize = &run.linearize;
    if (world_broken(run.world) != NULL) {
        return fail(world_broken(run.world));
    }
    for (uint32_t i = first; i < first + count; i++) {
        const struct op *op = &ops[i];
        if (op->answered && op->answer.kind == REPLY_TOKEN && op->answer.token.state == TOKEN_WAITING &&
            op->answer.status == STATUS_OK && op->answered_ms < op->sent_ms + op->request.wait_ms) {
            print_round(ops, first, count);
            return fail("a long poll was answered though nothing has changed");
        }
        no_place_count += op->answered && op->request.type == COMMAND_QUEUE_JOIN &&
                          op->answer.status == STATUS_BUSY && run.scenario.few_places;
    }
    const char *slots_wrong =
        slots_round(&run.slots, ops, first, count, run.clients.op_count, world_now(run.world));
    if (slots_wrong != NULL) {
        print_round(ops, first, count);
        return fail(slots_wrong);
    }
    linearize->round = (struct round){
        .scenario = &run.scenario,
        .ops = ops,
        .first = first,
        .count = count,
        .gaps = (const bool(*)[SIM_EVENT_SEATS])run.gaps,
        .exact = exact,
        .crashed = run.crashed,
    };
    linearize->scarcity = world_scarcity(run.world);
    linearize->busy_allowed = run.scenario.bounded || run.scenario.refuse_percent > 0;
    for (uint32_t t = 0; t < run.truths.count; t++) {
        model_reserve(run.truths.models[t], run.clients.hold_count, run.clients.key_count,
                      run.clients.token_count);
    }
    if (linearize_round(linearize, &run.truths)) {
        return !run.truths.overflow;
    }
    if (run.failure == NULL) {
        printf("round at step %llu, %u truths, %s:\n", (unsigned long long)world_steps(run.world),
               run.truths.count, exact ? "exact" : "not exact");
        print_round(ops, first, count);
        if (linearize->wrong != NULL) {
            printf("  for instance %u: %s; predicted:\n      ", linearize->wrong_op, linearize->wrong);
            scenario_print_answer(&run.scenario, &linearize->predicted);
            printf("\n");
        }
    }
    return fail("no order of the requests explains the answers");
}

static bool
all_answered(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (!run.ops[i].answered) {
            return false;
        }
    }
    return true;
}

/* A question of the audit: alone, and looked at to the last figure. */
static bool
ask(const struct request *request)
{
    uint32_t index = SIM_OPS - 1;
    struct op *op = &run.ops[index];
    memset(op, 0, offsetof(struct op, answer));
    op->answer.letter_count = 0;
    op->request = *request;
    op->hold_slot = -1;
    op->key_slot = -1;
    op->token_slot = -1;
    op->shard = random_below(&run.random, 60);
    run.linearize.clock_count = 0;
    note_clock();
    world_send(run.world, index);
    if (!world_quiesce(run.world, false)) {
        return fail("the shards never come to rest");
    }
    if (!op->answered) {
        print_round(run.ops, index, 1);
        return fail("a question got no answer");
    }
    if (run.trace) {
        print_round(run.ops, index, 1);
    }
    return judge(run.ops, index, 1, true);
}

/* Places about which something is open, or all that the core must know. */
static bool
ask_tokens(bool all)
{
    struct request request;
    for (uint32_t i = 0; i < run.clients.token_count; i++) {
        const struct model *model = run.truths.models[0];
        const struct model_token *token = &model->tokens[i];
        if (i >= model->token_count || token->state == 0 || !token->id_known ||
            !(all ? token->state <= TOKEN_ACTIVE || i + 12 >= model->token_count
                  : queue_open_question(token))) {
            continue;
        }
        memset(&request, 0, sizeof request);
        request.type = COMMAND_QUEUE_GET;
        request.hold = token->id;
        if (!ask(&request)) {
            return false;
        }
        for (uint32_t w = 0; w < run.clients.op_count; w++) {
            if (run.ops[w].watching && uuid_equal(&run.ops[w].request.hold, &request.hold) &&
                run.ops[w].watch_state != run.ops[SIM_OPS - 1].answer.token.state) {
                return fail("who watches has not been told");
            }
        }
    }
    return true;
}

/* Right after a start, before any sweep, when homes have told nothing again: a place that an answered
 * confirm has ended is done already. */
static bool
ask_done(void)
{
    const struct model *model = run.truths.models[0];
    for (uint32_t i = 0; run.scenario.queues && i < model->token_count; i++) {
        const struct model_token *token = &model->tokens[i];
        if (token->state != TOKEN_DONE || !token->id_known || i + 12 < model->token_count) {
            continue;
        }
        struct request request;
        memset(&request, 0, sizeof request);
        request.type = COMMAND_QUEUE_GET;
        request.hold = token->id;
        if (!ask(&request)) {
            return false;
        }
        model = run.truths.models[0];
    }
    return true;
}

/* Everything: each event's counts and maps, each user's holds, each hold. */
static bool
audit(void)
{
    if (!sweep_all()) {
        return false;
    }
    if (run.trace) {
        printf("audit\n");
    }
    struct request request;
    for (uint32_t e = 0; e < run.scenario.event_count; e++) {
        for (uint32_t u = 0; u < run.scenario.user_count; u++) {
            memset(&request, 0, sizeof request);
            request.type = COMMAND_HOLDS;
            request.event = (int8_t)e;
            request.user = (int8_t)u;
            if (!ask(&request)) {
                return false;
            }
        }
        for (uint32_t s = 0; s < run.scenario.events[e].section_count; s++) {
            memset(&request, 0, sizeof request);
            request.type = COMMAND_SEATS;
            request.event = (int8_t)e;
            request.section = (int8_t)s;
            if (!ask(&request)) {
                return false;
            }
        }
        memset(&request, 0, sizeof request);
        request.type = COMMAND_EVENT_GET;
        request.event = (int8_t)e;
        if (!ask(&request)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < run.clients.hold_count; i++) {
        const struct model_hold *hold = &run.truths.models[0]->holds[i];
        if (i < run.truths.models[0]->hold_count && hold->state != 0 && hold->id_known) {
            memset(&request, 0, sizeof request);
            request.type = COMMAND_HOLD_GET;
            request.hold = hold->id;
            if (!ask(&request)) {
                return false;
            }
        }
    }
    if (run.scenario.queues && !ask_tokens(true)) {
        return false;
    }
    world_check(run.world);
    return true;
}

/* An answer that left early is no promise where the record had not got to the disk by then (and it may have
 * got there unseen, so it is as if there was no answer). */
static void
crash(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        struct op *op = &run.ops[i];
        if (op->answered && op->early && op->sequence > world_durable(run.world, op->shard)) {
            op->answered = false;
        }
        op->lost = op->sent && !op->answered;
    }
    for (uint32_t i = 0; i < run.clients.op_count; i++) {
        run.ops[i].watching = false;
    }
    struct round round = {.scenario = &run.scenario, .ops = run.ops, .first = first, .count = count};
    for (uint32_t e = 0; e < run.scenario.event_count; e++) {
        compare_touched(run.truths.models[0], &round, UINT32_MAX, (int8_t)e, run.gaps[e]);
    }
    uint32_t shard_count = random_chance(&run.random, 50) ? world_shard_count(run.world)
                                                          : random_between(&run.random, 1, WORLD_SHARDS);
    world_crash(run.world, shard_count);
}

static uint32_t
answered_count(uint32_t first, uint32_t count)
{
    uint32_t answered = 0;
    for (uint32_t i = first; i < first + count; i++) {
        answered += run.ops[i].answered && run.ops[i].answer.status == STATUS_OK;
    }
    return answered;
}

/* When the crash of a round comes. Each is where something else may have been forgotten. */
struct crash_plan {
    enum {
        CRASH_NEVER,
        CRASH_AT_STEP,
        CRASH_IN_WRITE,      /* a batch is on its way: in the n-th step of those */
        CRASH_BEHIND_ANSWER, /* the n-th: what it rests on is on the disk, whatever others have not written
                              */
        CRASH_BEHIND_SNAPSHOT, /* which counts from then on, so what it reflects has to be there */
    } when;
    uint32_t left;
    uint32_t step; /* at the latest */
    uint64_t snapshots;
};

static struct crash_plan
plan_crash(uint32_t count, uint32_t *steps_max)
{
    struct random *random = &run.random;
    struct crash_plan plan = {.when = CRASH_AT_STEP, .step = random_below(random, *steps_max)};
    uint32_t draw = random_below(random, 100);
    if (draw < 80) {
        plan.when = draw < 28 ? CRASH_IN_WRITE : draw < 65 ? CRASH_BEHIND_ANSWER : CRASH_BEHIND_SNAPSHOT;
        plan.left = random_between(random, 1, draw < 28 ? 8 : count);
        plan.snapshots = world_counts(run.world)->snapshots;
        *steps_max = 60 + 60 * count;
        plan.step = *steps_max - 1;
    }
    if (random_chance(random, 25)) {
        world_threaten(run.world, random_between(random, 1, 30));
    }
    return plan;
}

static bool
crash_is_due(struct crash_plan *plan, uint32_t step, uint32_t first, uint32_t count)
{
    if (plan->when == CRASH_NEVER || step == plan->step || world_died(run.world)) {
        return plan->when != CRASH_NEVER;
    }
    switch (plan->when) {
    case CRASH_IN_WRITE:
        return world_writing(run.world) && --plan->left == 0;
    case CRASH_BEHIND_ANSWER:
        return answered_count(first, count) >= plan->left;
    case CRASH_BEHIND_SNAPSHOT:
        return world_counts(run.world)->snapshots > plan->snapshots;
    default:
        return false;
    }
}

/* The change of active_max among these requests, or UINT32_MAX. */
static uint32_t
find_change(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; count > 1 && i < first + count; i++) {
        if (run.ops[i].request.type == COMMAND_EVENT_SET) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* The requests of one round are sent while other things happen. Returns whether it ended in a crash. */
static bool
play(uint32_t first, uint32_t count)
{
    struct random *random = &run.random;
    uint32_t sent = 0;
    bool will_crash = random_chance(random, run.scenario.crash_percent) && !run.calm;
    bool clock_moves = !will_crash && random_chance(random, run.scenario.clock_percent);
    /* Often the others come a moment after it is answered: then it has to be in force. */
    uint32_t change = will_crash ? UINT32_MAX : find_change(first, count);
    change = change != UINT32_MAX && random_chance(random, 70) ? change : UINT32_MAX;
    uint32_t moves = clock_moves ? random_between(random, 1, 3) : 0;
    uint32_t steps_max = random_between(random, 5, 40 + 60 * count);
    struct crash_plan plan = {.when = CRASH_NEVER};
    if (will_crash) {
        plan = plan_crash(count, &steps_max);
    }
    bool may_fail = will_crash && random_chance(random, run.scenario.die_percent);
    if (run.scenario.hot && (will_crash || random_chance(random, 30))) {
        world_sweep(run.world, will_crash); /* so that units come back while others ask for them */
    }
    for (uint32_t step = 0; step < steps_max; step++) {
        if (crash_is_due(&plan, step, first, count)) {
            crash(first, count);
            return true;
        }
        if (change != UINT32_MAX && run.ops[change].answered) {
            change = UINT32_MAX;
            world_advance(run.world, random_between(random, 1, 20));
            note_clock();
        }
        bool held = change < first + sent && step + count < steps_max;
        if (sent < count && !held && (random_chance(random, 30) || step + count >= steps_max)) {
            world_send(run.world, first + sent++);
        } else if (moves > 0 && random_chance(random, 10)) {
            moves--;
            world_advance(run.world, random_chance(random, 50) ? random_between(random, 1, 20)
                                                               : random_between(random, 20, 1500));
            note_clock();
        } else if (sent == count && all_answered(first, count) && !will_crash) {
            break;
        } else {
            world_step(run.world, may_fail);
        }
    }
    while (sent < count) {
        world_send(run.world, first + sent++);
    }
    return false;
}

static void
pass_time(void)
{
    struct random *random = &run.random;
    const struct model *model = run.truths.models[0];
    uint32_t draw = random_below(random, 100);
    uint64_t now_ms = world_now(run.world);
    if (draw < 30) {
        return;
    }
    if (draw < 50) {
        world_advance(run.world, random_between(random, 1, 50));
        return;
    }
    if (draw < 85) {
        /* to the neighbourhood of somebody's deadline */
        for (uint32_t tries = 0; tries < 8 && run.scenario.queues && model->token_count > 0; tries++) {
            const struct model_token *token = &model->tokens[random_below(random, model->token_count)];
            uint64_t deadline_ms = token->deadline_first_ms + random_below(random, 3) - 1;
            if (token->state == TOKEN_ACTIVE && deadline_ms > now_ms && random_chance(random, 30)) {
                world_advance(run.world, deadline_ms - now_ms);
                return;
            }
        }
        for (uint32_t tries = 0; tries < 8 && model->hold_count > 0; tries++) {
            const struct model_hold *hold = &model->holds[random_below(random, model->hold_count)];
            int64_t offset =
                draw < 68 ? -(int64_t)random_between(random, 1, 12) : (int64_t)random_below(random, 26);
            int64_t wait = (int64_t)(hold->deadline_ms - now_ms) + offset;
            if (hold->state == HOLD_HELD && hold->deadline_ms > now_ms && wait > 0) {
                world_advance(run.world, (uint64_t)wait);
                return;
            }
        }
        return;
    }
    world_advance(run.world,
                  draw < 96 ? random_between(random, 100, 2000) : random_between(random, 5000, 20000));
}

/* Somebody who joined before a draw and whose answer was lost has a place, or has none; where in the order
 * nobody can say who does not know the token. */
static bool
draw_is_anyones_guess(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        const struct op *op = &run.ops[i];
        if (!op->lost || op->request.type != COMMAND_QUEUE_JOIN || op->request.event < 0)
            continue; /* or of an event that nobody has made */
        const struct event_plan *event = &run.scenario.events[op->request.event];
        if (event->lottery && event->opens_at_ms > op->sent_ms)
            return true;
    }
    return false;
}

/* A crash forgets who was looked past: where best had no answer, and others were at the same event, no
 * model says which seats it took. */
static bool
best_is_anyones_guess(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        const struct op *best = &run.ops[i];
        for (uint32_t k = first; k < first + count && best->lost && best->request.best_count > 0; k++) {
            uint8_t type = run.ops[k].request.type;
            if (k != i && run.ops[k].sent &&
                (type == COMMAND_HOLD || type == COMMAND_RELEASE || type == COMMAND_CONFIRM ||
                 type == COMMAND_CANCEL)) {
                return true;
            }
        }
    }
    return false;
}

/* Everybody who waits has a fresh period of grace. */
static void
restarted(void)
{
    run.restarted = true;
    run.restarted_ms = world_now(run.world);
    for (uint32_t t = 0; t < run.truths.count; t++) {
        queue_restarted(run.truths.models[t], run.restarted_ms, run.restarted_ms);
    }
}

/* Nobody's grace runs out in the round: then a sign of life and the end of the place would race. Where it
 * has run out before, a sweep ends the places, or none comes by, and whoever looks sees the same. */
static bool
leave_silence(void)
{
    for (;;) {
        bool silent = false;
        be_sure(QUEUE_MARGIN_MS);
        for (uint32_t t = 0; t < run.truths.count; t++) {
            silent |= queue_silent(run.truths.models[t], &run.scenario, world_now(run.world));
        }
        if (!silent) {
            return true;
        }
        if (random_chance(&run.random, 40)) {
            for (uint32_t t = 0; t < run.truths.count; t++) {
                queue_silence(run.truths.models[t], &run.scenario, world_now(run.world));
            }
            run.calm = true;
            return true;
        }
        if (!sweep_all() || !ask_tokens(false)) {
            return false;
        }
    }
}

/* Polls that nothing has answered so far: their time goes by. */
static bool
end_polls(uint32_t first, uint32_t count)
{
    bool waiting = false;
    for (uint32_t i = first; i < first + count; i++) {
        waiting |= !run.ops[i].answered && run.ops[i].request.wait_ms > 0;
    }
    if (!waiting) {
        return true;
    }
    world_advance(run.world, CLIENT_WAIT_MS + SWEEP_MS);
    note_clock();
    world_sweep(run.world, false);
    return world_quiesce(run.world, false);
}

/* A place whose time ends in this very millisecond is given on before a request or after it. */
static bool
place_ends_now(void)
{
    for (uint32_t t = 0; run.scenario.queues && t < run.truths.count; t++) {
        if (queue_ends_at(run.truths.models[t], world_now(run.world))) {
            return true;
        }
    }
    return false;
}

/* One round; false where something is wrong. */
static bool
play_round(void)
{
    struct random *random = &run.random;
    pass_time();
    run.calm = false;
    if (run.scenario.queues) {
        if (!leave_silence()) {
            return false;
        }
        for (uint32_t t = 0; t < run.truths.count; t++) {
            run.truths.models[t]->round_ms = world_now(run.world);
        }
    }
    if (random_chance(random, run.scenario.hot ? 25 : 60) || overdue_count(world_now(run.world)) > 2) {
        if (!sweep_all()) {
            return false;
        }
    } else if (random_chance(random, 30) && !world_quiesce(run.world, true)) {
        return fail("the shards never come to rest");
    }
    uint32_t first = run.clients.op_count;
    uint32_t wanted = random_between(random, 1, run.scenario.concurrency_max);
    for (uint32_t i = 0; i < wanted; i++) {
        if (!clients_ask(&run.clients, &run.scenario, random, run.truths.models[0], wanted == 1, run.ops)) {
            break;
        }
    }
    uint32_t count = run.clients.op_count - first;
    if (count == 0) {
        return true;
    }
    run.linearize.clock_count = 0;
    note_clock();
    bool crashed = play(first, count);
    run.crashed = crashed;
    if (world_full(run.world)) {
        return false;
    }
    if (crashed && (best_is_anyones_guess(first, count) || draw_is_anyones_guess(first, count))) {
        run.truths.overflow = world_broken(run.world) == NULL;
        return run.truths.overflow ? false : fail(world_broken(run.world));
    }
    if (!crashed && (!world_quiesce(run.world, false) || !end_polls(first, count))) {
        return fail("the shards never come to rest");
    }
    if (run.trace) {
        printf("round\n");
        print_round(run.ops, first, count);
    }
    if (!crashed && !all_answered(first, count)) {
        print_round(run.ops, first, count);
        return fail("a request got no answer");
    }
    bool exact = count == 1 && run.linearize.clock_count == 1 && overdue_count(world_now(run.world)) == 0 &&
                 !place_ends_now();
    if (!judge(run.ops, first, count, exact)) {
        return false;
    }
    run.crashed = false;
    world_check(run.world);
    if (run.hashing) {
        run.hash = (run.hash ^ world_hash(run.world)) * 0x9e3779b97f4a7c15u;
    }
    if (crashed) {
        restarted();
        world_advance(run.world, random_chance(random, 50) ? 0 : random_below(random, 3000));
        return ask_done() && audit();
    }
    if (run.scenario.queues) {
        return sweep_all() && ask_tokens(false);
    }
    return true;
}

/* At rest everything that was answered is on the disk, so a crash takes nothing. */
static bool
end_and_look(void)
{
    crash(0, 0);
    if (world_full(run.world)) {
        return false;
    }
    if (world_broken(run.world) != NULL) {
        return fail(world_broken(run.world));
    }
    restarted();
    return ask_done() && audit();
}

static bool
create_events(void)
{
    for (uint32_t e = 0; e < run.scenario.event_count; e++) {
        struct request request;
        memset(&request, 0, sizeof request);
        request.type = COMMAND_EVENT_CREATE;
        request.event = (int8_t)e;
        if (random_chance(&run.random, 95) && !ask(&request)) {
            return false;
        }
    }
    return true;
}

/* ---- seeds ------------------------------------------------------------------------------------ */

static bool
play_seed(uint64_t seed, bool hashing, uint64_t *ret_hash)
{
    seed_now = seed;
    (void)alarm(SEED_SECONDS_MAX);
    random_seed(&run.random, seed);
    scenario_draw(&run.scenario, &run.random, seed, run.hot);
    run.scenario.check_every = run.sparse ? 16 : 1;
    world_begin(run.world, &run.scenario, &run.random, run.ops, run.trace);
    truths_begin(&run.truths, &run.scenario);
    slots_begin(&run.slots, &run.scenario);
    memset(run.gaps, 0, sizeof run.gaps);
    run.clients = (struct clients){.key_next = 1};
    random_seed(&run.clients.change_random, seed ^ 0x6368616e67655f5fu);
    run.hashing = hashing;
    run.hash = 0;
    run.failure = NULL;
    run.restarted = run.crashed = false;
    if (run.trace) {
        printf("seed %llu: %u shards, %u events, %u users, %u at once, crash %u%%, refuse %u%%, ended %llu "
               "ms, keys %llu ms%s%s\n",
               (unsigned long long)seed, run.scenario.shard_count, run.scenario.event_count,
               run.scenario.user_count, run.scenario.concurrency_max, run.scenario.crash_percent,
               run.scenario.refuse_percent, (unsigned long long)run.scenario.shard.ended_ms,
               (unsigned long long)run.scenario.shard.key_ms, run.scenario.bounded ? ", bounded" : "",
               run.scenario.memory_mode ? ", memory" : "");
    }
    bool sound = create_events();
    for (uint32_t i = 0; sound && i < run.scenario.round_count; i++) {
        sound = play_round();
    }
    if (sound) {
        sound = audit();
    }
    if (sound && run.scenario.crash_percent > 0) {
        sound = end_and_look();
    }
    *ret_hash = run.hash;
    full_count += run.slots.full_count;
    full_holds_count += run.slots.full_holds_count;
    run.cut_short = run.truths.overflow || (world_full(run.world) && run.failure == NULL);
    if (run.cut_short) {
        return true;
    }
    if (!sound) {
        printf("seed %llu failed at step %llu: %s (again: sim --seed %llu%s --trace)\n",
               (unsigned long long)seed, (unsigned long long)world_steps(run.world), run.failure,
               (unsigned long long)seed, run.hot ? " --hot" : "");
        (void)fflush(stdout);
    }
    return sound;
}

static bool
play_checked(uint64_t seed, bool twice, bool hash)
{
    uint64_t first_hash = 0;
    uint64_t second_hash = 0;
    if (!play_seed(seed, twice || hash, &first_hash)) {
        return false;
    }
    all_hash = (all_hash ^ first_hash) * 0x100000001b3u;
    cut_short += run.cut_short;
    if (twice && (!play_seed(seed, twice, &second_hash) || first_hash != second_hash)) {
        printf("seed %llu failed: two runs, two states (R5)\n", (unsigned long long)seed);
        return false;
    }
    return true;
}

/* An assertion of the core, or a hang: name the seed, then end. */
static void
on_signal(int number)
{
    char text[128];
    int size = snprintf(text, sizeof text, "seed %llu failed: %s\n", (unsigned long long)seed_now,
                        number == SIGALRM ? "it takes too long" : "the core has aborted");
    if (write(STDOUT_FILENO, text, size > 0 ? (size_t)size : 0) < 0) {
        _exit(2);
    }
    _exit(1);
}

static int
usage(void)
{
    (void)fprintf(stderr,
                  "usage: sim --seeds FROM COUNT | --seed N | --endless  [--hot] [--twice] [--hash] "
                  "[--sparse] [--trace] [--why] [--keep-going]\n");
    return 2;
}

int
main(int argc, char **argv)
{
    uint64_t from = 1;
    uint64_t count = 1000;
    bool twice = false;
    bool hash = false;
    bool keep_going = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            from = strtoull(argv[++i], NULL, 10);
            count = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            from = strtoull(argv[++i], NULL, 10);
            count = 1;
        } else if (strcmp(argv[i], "--endless") == 0) {
            from = (uint64_t)time(NULL) << 20;
            count = UINT64_MAX;
        } else if (strcmp(argv[i], "--twice") == 0) {
            twice = true;
        } else if (strcmp(argv[i], "--hash") == 0) {
            hash = true;
        } else if (strcmp(argv[i], "--trace") == 0) {
            run.trace = true;
        } else if (strcmp(argv[i], "--hot") == 0) {
            run.hot = true;
        } else if (strcmp(argv[i], "--sparse") == 0) {
            run.sparse = true;
        } else if (strcmp(argv[i], "--why") == 0) {
            run.linearize.why = true;
        } else if (strcmp(argv[i], "--keep-going") == 0) {
            keep_going = true;
        } else {
            return usage();
        }
    }
    (void)signal(SIGABRT, on_signal);
    (void)signal(SIGSEGV, on_signal);
    (void)signal(SIGBUS, on_signal);
    (void)signal(SIGALRM, on_signal);
    run.world = world_open();
    linearize_open();
    uint64_t passed = 0;
    uint64_t failed = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (play_checked(from + i, twice || (from + i) % 50 == 0, hash)) {
            passed++;
        } else {
            failed++;
            if (!keep_going) {
                break;
            }
        }
        if (count == UINT64_MAX && passed % 10000 == 0) {
            printf("%llu passed\n", (unsigned long long)passed);
            (void)fflush(stdout);
        }
    }
    if (cut_short > 0) {
        printf("%llu seeds were followed only in part: more truths than fit, or a start that does not\n",
               (unsigned long long)cut_short);
    }
    if (cut_short * 100 > passed * (run.hot ? CUT_SHORT_HOT_PERCENT : CUT_SHORT_PERCENT) && passed >= 500) {
        printf("which is too many: a test that looks away\n");
        failed++;
    }
    if (hash) {
        printf("states %016llx\n", (unsigned long long)all_hash);
    }
    const struct world_counts *counts = world_counts(run.world);
    printf("%llu crashes, %llu with a batch on its way, %llu starts cut off, %llu torn ends; %llu "
           "snapshots, %llu failed; %llu times no room\n",
           (unsigned long long)counts->crashes, (unsigned long long)counts->in_flight,
           (unsigned long long)counts->cut_off, (unsigned long long)counts->cuts,
           (unsigned long long)counts->snapshots, (unsigned long long)counts->snapshots_failed,
           (unsigned long long)counts->segments_failed);
    printf("%llu times damage: %llu refused, %llu served by the older snapshot\n",
           (unsigned long long)counts->rotten, (unsigned long long)counts->refused,
           (unsigned long long)counts->damaged_snapshots);
    printf(
        "%llu times every slot was certainly somebody's; %llu holds beside a full room; %llu joins refused "
        "for want of room\n",
        (unsigned long long)full_count, (unsigned long long)full_holds_count,
        (unsigned long long)no_place_count);
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed > 0 ? 1 : 0;
}
