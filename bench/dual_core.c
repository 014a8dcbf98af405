/*
 * dual_core.c - dual-run's one side: Holdfast's core on two shards, at the time it is told.
 *
 * The core itself, not the server: the server's clock is the machine's, and no two programs read that at
 * the same moment, so that at a deadline they would differ rightly. Everything the rules are made of is in
 * the core (R5); that the server gives it the commands as they came is tested elsewhere
 * (tests/integration).
 *
 * Users live on both shards, the seats' block and the pool on one, so that commands are forwarded and units
 * are reserved by messages as in a server.
 */
#include "bench/dual_run.h"
#include "bench/stage.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARDS      2
#define REMEMBER_MS (UINT64_C(1) << 40) /* for ever: PostgreSQL forgets nothing either */
#define EVENT       ((struct bytes){"e", 1})

struct dual_core {
    struct stage stage;
    uint64_t now_ms;

    /* By command: the hold it was answered with, zero where none. And back: the first command that was
     * answered with a hold, open addressing by the id's random half. */
    struct uuid *given;
    uint64_t *first;
    uint64_t first_mask;

    /* the command under way */
    const struct dual_order *order;
    char *outcome;
    bool answered;
};

/* The number of the command that placed the hold; this one's, where nobody was given it before. */
static uint64_t
hold_number(struct dual_core *core, const struct uuid *hold, uint64_t number)
{
    uint64_t at;
    memcpy(&at, hold->byte + 8, sizeof at);
    for (at *= UINT64_C(0x9e3779b97f4a7c15);; at++) {
        uint64_t *first = &core->first[at & core->first_mask];
        if (*first == 0)
            *first = number;
        if (*first == number || uuid_equal(&core->given[*first], hold))
            return *first;
    }
}

static int
hold_write(struct dual_core *core, const struct hold_view *hold, char *to)
{
    const struct dual_order *order = core->order;
    char seat[SEAT_TEXT_SIZE_MAX];
    if (order->verb == DUAL_HOLD)
        core->given[order->number] = hold->id;
    uint64_t number = hold_number(core, &hold->id, order->number);
    int size = snprintf(to, DUAL_OUTCOME_SIZE, "%llu OK %s deadline=%llu", (unsigned long long)number,
                        hold_state_word(hold->state), (unsigned long long)hold->deadline_ms);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        uint32_t name = seat_text(hold->event, hold->seats[i].ref, seat);
        size += snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " %.*s:%u", (int)name, seat,
                         hold->seats[i].version);
    }
    if (hold->pool_count > 0)
        size += snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " p*%u", hold->pools[0].quantity);
    return size;
}

static void
refusal_write(const struct reply *reply, char *to)
{
    int size = snprintf(to, DUAL_OUTCOME_SIZE, "0 %s", status_word(reply->status));
    if (reply->figures & FIGURE_UNIT)
        size +=
            snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " %.*s", reply->unit_size, reply->unit);
    if (reply->figures & FIGURE_REMAINING)
        size += snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " remaining=%llu",
                         (unsigned long long)reply->remaining);
    if (reply->figures & FIGURE_NEXT_DEADLINE)
        size += snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " next=%llu",
                         (unsigned long long)reply->next_deadline_ms);
    if (reply->figures & FIGURE_OWN)
        size += snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " own");
    if (reply->figures & FIGURE_LIMIT)
        size += snprintf(to + size, DUAL_OUTCOME_SIZE - (size_t)size, " limit=%llu used=%llu",
                         (unsigned long long)reply->limit, (unsigned long long)reply->used);
}

static void
heard(void *context, uint64_t tag, const struct reply *reply)
{
    struct dual_core *core = context;
    (void)tag;
    core->answered = true;
    if (core->order == NULL) /* the event */
        assert(reply->status == STATUS_OK);
    else if (reply->status != STATUS_OK)
        refusal_write(reply, core->outcome);
    else if (reply->kind == REPLY_HOLD)
        (void)hold_write(core, &reply->hold, core->outcome);
    else
        snprintf(core->outcome, DUAL_OUTCOME_SIZE, "0 OK without a hold");
}

/* Everything under way, to its end: messages, what is due, batches. */
static void
finish(struct dual_core *core)
{
    for (uint32_t quiet = 0; quiet < 2;) {
        bool moved = false;
        for (uint32_t i = 0; i < SHARDS; i++) {
            struct stage_shard *at = &core->stage.shards[i];
            const void *message;
            uint32_t size;
            (void)mailbox_look(at->inbox[1 - i]); /* the peek tells */
            while ((message = mailbox_peek(at->inbox[1 - i], &size)) != NULL) {
                shard_message(at->shard, 1 - i, message, size);
                mailbox_take(at->inbox[1 - i]);
                moved = true;
            }
            moved = shard_expire(at->shard) || moved;
            struct shard_batch batch = shard_batch(at->shard);
            if (batch.size > 0) {
                shard_durable(at->shard, batch.sequence_last);
                moved = true;
            }
        }
        quiet = moved ? 0 : quiet + 1;
    }
}

static void
event_make(struct dual_core *core)
{
    void *memory = malloc(EVENT_DRAFT_SIZE);
    struct event_draft *draft = memory != NULL ? event_draft_begin(memory) : NULL;
    struct command command = {.type = COMMAND_EVENT_CREATE};
    const char *expected = "memory";
    bool bad =
        draft == NULL || event_draft_id(draft, EVENT, &expected) != NULL ||
        event_draft_section(draft, (struct bytes){"A", 1}, DUAL_ROWS, DUAL_ROW_SEATS, &expected) != NULL ||
        event_draft_pool(draft, (struct bytes){"p", 1}, DUAL_UNITS, &expected) != NULL ||
        event_draft_units_per_user_max(draft, DUAL_UNITS_PER_USER_MAX, &expected) != NULL ||
        event_draft_end(draft, &command.settings, &expected) != NULL;
    if (bad) {
        fprintf(stderr, "holdfast bench dual-run: the event: expected %s\n", expected);
        exit(1);
    }
    shard_command(core->stage.shards[0].shard, 0, &command);
    finish(core);
    assert(core->answered);
    free(memory);
}

struct dual_core *
dual_core_open(uint64_t commands)
{
    struct dual_core *core = calloc(1, sizeof *core);
    uint64_t places = 1;
    while (places < commands * 2)
        places *= 2;
    if (core != NULL) {
        core->given = calloc(commands + 1, sizeof *core->given);
        core->first = calloc(places, sizeof *core->first);
        core->first_mask = places - 1;
    }
    if (core == NULL || core->given == NULL || core->first == NULL) {
        dual_core_free(core);
        return NULL;
    }
    stage_open_remembering(&core->stage, SHARDS, (uint32_t)commands + 1024, DUAL_SEATS + 1024, REMEMBER_MS);
    core->now_ms = STAGE_EPOCH_MS;
    for (uint32_t i = 0; i < SHARDS; i++) {
        core->stage.shards[i].heard = heard;
        core->stage.shards[i].heard_context = core;
    }
    event_make(core);
    return core;
}

void
dual_core_free(struct dual_core *core)
{
    if (core == NULL)
        return;
    if (core->stage.shard_count > 0)
        stage_done(&core->stage);
    free(core->given);
    free(core->first);
    free(core);
}

static void
command_make(const struct dual_core *core, const struct dual_order *order, char (*names)[4],
             struct command *ret)
{
    static const enum command_type types[DUAL_VERBS] = {COMMAND_HOLD, COMMAND_CONFIRM, COMMAND_RELEASE,
                                                        COMMAND_CANCEL};
    *ret = (struct command){.type = types[order->verb]};
    ret->user = (struct bytes){names[0], (uint32_t)snprintf(names[0], 4, "u%u", order->user % 100)};
    if (order->verb != DUAL_HOLD) {
        ret->hold = core->given[order->of];
        return;
    }
    ret->event = EVENT;
    ret->seconds = order->seconds;
    for (uint32_t i = 0; i < 2 && order->seat[i] > 0; i++) {
        uint32_t seat = order->seat[i] - 1;
        struct bytes row = {names[1 + i],
                            (uint32_t)snprintf(names[1 + i], 4, "%u", seat / DUAL_ROW_SEATS % 100 + 1)};
        ret->seats[ret->seat_count++] = (struct seat_name){{"A", 1}, row, seat % DUAL_ROW_SEATS + 1};
    }
    if (order->units > 0)
        ret->pools[ret->pool_count++] = (struct pool_quantity){{"p", 1}, order->units};
}

void
dual_core_do(struct dual_core *core, const struct dual_order *order, char *ret_outcome)
{
    char names[3][4], key[16];
    struct command command;
    command_make(core, order, names, &command);
    if (order->key > 0)
        command.key = (struct bytes){key, (uint32_t)snprintf(key, sizeof key, "k%u", order->key)};
    core->order = order;
    core->outcome = ret_outcome;
    core->answered = false;
    if (core->now_ms != order->now_ms) {
        core->now_ms = order->now_ms;
        for (uint32_t i = 0; i < SHARDS; i++)
            shard_time(core->stage.shards[i].shard, order->now_ms);
        if (order->verb == DUAL_HOLD || order->number % 2 == 0)
            finish(core);
    }
    shard_command(core->stage.shards[order->number / 2 % SHARDS].shard, order->number, &command);
    finish(core);
    assert(core->answered);
}
