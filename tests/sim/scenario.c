/*
 * scenario.c - one seed's play: how many shards, which events, how rough the weather.
 *
 * Events are small and hot: a few rows, pools of a few units, so that requests collide; some seeds have a
 * section of several blocks, and some a pool of thousands from which hundreds are taken at a time, so
 * that slices are handed out, run low and are recalled. The bounds of the core are small in some seeds.
 *
 * See also: history.h for the form of requests, model.c for what they must answer.
 */
#include "tests/sim/scenario.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const user_names[SIM_USERS] = {
    "ann",
    "bob@example.org",
    "c",
    "dan-4",
    "Eve.E-whose-name-is-as-long-as-a-name-of-a-user-may-be-here-ok.",
    "f:oo_6"};
static_assert(REQUEST_ID_SIZE_MAX <= PAYMENT_REF_SIZE_MAX, "one text for both");

/* ---- drawing ---------------------------------------------------------------------------------- */

static void
draw_section(struct event_plan *event, uint32_t index, struct random *random, bool large, bool hot)
{
    static const char *const names[SIM_SECTIONS] = {"A", "BOX", "balcony-left.01@"};
    struct section_plan *section = &event->sections[index];
    (void)snprintf(section->name, sizeof section->name, "%s", names[index]);
    section->regular = large || random_chance(random, 60);
    section->row_count = large ? 3 : random_between(random, 1, hot ? 2 : 4);
    section->seat_first = event->seat_count;
    uint32_t row_seats = large ? random_between(random, 400, 550) : random_between(random, 1, hot ? 3 : 9);
    for (uint32_t row = 0; row < section->row_count; row++) {
        if (!section->regular) {
            row_seats = random_between(random, 1, hot ? 3 : 9);
            (void)snprintf(section->row_names[row], sizeof section->row_names[row], "L%u", row + 7);
        } else {
            (void)snprintf(section->row_names[row], sizeof section->row_names[row], "%u", row + 1);
        }
        section->row_seats[row] = row_seats;
        section->row_first[row] = event->seat_count;
        event->seat_count += row_seats;
    }
    section->seat_count = event->seat_count - section->seat_first;
}

static struct bytes
text_bytes(const char *text)
{
    return (struct bytes){text, (uint32_t)strlen(text)};
}

/* The settings as a codec would make them; copied out of the draft's memory. */
static const struct event_settings *
draw_settings(const struct event_plan *event, uint32_t limit, uint64_t *memory, size_t size)
{
    static uint64_t draft_memory[EVENT_DRAFT_SIZE / 8 + 1];
    struct event_draft *draft = event_draft_begin(draft_memory);
    const char *expected = NULL;
    const char *field = event_draft_id(draft, text_bytes(event->id), &expected);
    for (uint32_t i = 0; i < event->section_count && field == NULL; i++) {
        const struct section_plan *section = &event->sections[i];
        if (section->regular) {
            field = event_draft_section(draft, text_bytes(section->name), section->row_count,
                                        section->row_seats[0], &expected);
            continue;
        }
        for (uint32_t row = 0; row < section->row_count && field == NULL; row++) {
            field = event_draft_row(draft, text_bytes(section->name), text_bytes(section->row_names[row]),
                                    section->row_seats[row], &expected);
        }
    }
    for (uint32_t i = 0; i < event->pool_count && field == NULL; i++) {
        field =
            event_draft_pool(draft, text_bytes(event->pools[i].name), event->pools[i].capacity, &expected);
    }
    if (field == NULL) {
        field = event_draft_hold_seconds(draft, event->hold_seconds, &expected);
    }
    if (field == NULL) {
        field = event_draft_hold_seconds_max(draft, event->hold_seconds_max, &expected);
    }
    if (field == NULL && limit > 0) {
        field = event_draft_units_per_user_max(draft, limit, &expected);
    }
    if (field == NULL && event->active_max > 0) {
        field = event_draft_queue(draft, event->active_max, event->active_seconds, event->grace_seconds,
                                  event->lottery, &expected);
    }
    if (field == NULL && event->opens_at_ms > 0) {
        field = event_draft_opens_at(draft, (int64_t)event->opens_at_ms, &expected);
    }
    const struct event_settings *settings = NULL;
    if (field == NULL) {
        field = event_draft_end(draft, &settings, &expected);
    }
    if (field != NULL) {
        (void)fprintf(stderr, "sim: settings refused: %s: expected %s\n", field, expected);
    }
    assert(field == NULL);
    assert(settings->size <= size);
    memcpy(memory, settings, settings->size);
    struct event_settings *copy = (struct event_settings *)(void *)memory;
    for (uint32_t i = 0; i < LOTTERY_SEED_SIZE && event->lottery; i++) {
        copy->lottery_seed[i] = (uint8_t)(event->opens_at_ms * 31 + i * 7); /* as good as any */
    }
    return copy;
}

/* Waits are longer than a round may take, so that nobody's place begins and ends within one. */
static void
draw_queue(const struct scenario *scenario, struct event_plan *event, struct random *random)
{
    event->active_max = random_between(random, 1, 3);
    event->active_seconds = random_between(random, 5, 15);
    event->grace_seconds = random_between(random, 7, 25);
    event->lottery = random_chance(random, 50);
    event->opens_at_ms = random_chance(random, 40)
                             ? scenario->start_ms + random_between(random, 1000, 25000)
                             : event->opens_at_ms;
}

static void
draw_event(struct scenario *scenario, uint32_t index, struct random *random, bool large,
           struct random *queue)
{
    static const char *const pool_names[SIM_POOLS] = {"ga", "vip", "deal_of.the-day"};
    static uint64_t memory[SIM_EVENTS][2][512];
    struct event_plan *event = &scenario->events[index];
    (void)snprintf(event->id, sizeof event->id, "concert-%u", index * 37 + random_below(random, 30));
    event->section_count = random_below(random, SIM_SECTIONS + 1);
    event->pool_count = random_below(random, SIM_POOLS + 1);
    if (event->section_count + event->pool_count == 0) {
        event->section_count = 1;
    }
    if (scenario->hot) {
        event->section_count = 1;
        event->pool_count = random_below(random, 2);
    }
    for (uint32_t i = 0; i < event->section_count; i++) {
        draw_section(event, i, random, large && i == 0, scenario->hot);
    }
    for (uint32_t i = 0; i < event->pool_count; i++) {
        (void)snprintf(event->pools[i].name, sizeof event->pools[i].name, "%s", pool_names[i]);
        event->pools[i].capacity =
            random_chance(random, 30) ? random_between(random, 1000, 8000) : random_between(random, 1, 60);
    }
    event->hold_seconds = random_between(random, 1, 5);
    event->hold_seconds_max = event->hold_seconds + random_below(random, 10);
    event->hold_seconds = scenario->hot ? 1 : event->hold_seconds;
    event->limit = random_chance(random, 40) ? random_between(random, 1, 12) : 0;
    event->opens_at_ms = random_chance(random, 10) ? scenario->start_ms + random_below(random, 8000) : 0;
    if (queue != NULL && (index == 0 || random_chance(queue, 30))) {
        draw_queue(scenario, event, queue);
    }
    event->settings = draw_settings(event, event->limit, memory[index][0], sizeof memory[index][0]);
    event->other_settings =
        draw_settings(event, event->limit + 1, memory[index][1], sizeof memory[index][1]);
}

static void
draw_bounds(struct scenario *scenario, struct random *random)
{
    struct shard_settings *shard = &scenario->shard;
    *shard = (struct shard_settings){
        .holds_max = 256,
        .users_max = 128,
        .events_max = 8,
        .tokens_max = 2 * SIM_TOKENS,
        .watchers_max = 64,
        .operations_max = 32,
        .seats_max = 8192,
        .event_bytes_max = 65536,
        .key_bytes_max = 262144,
        .batch_bytes_max = 49152,
        .ended_ms = 3600000,
        .key_ms = 86400000,
        .expire_batch = random_between(random, 1, 32),
    };
    if (random_chance(random, 15)) {
        shard->ended_ms = random_between(random, 500, 8000);
    }
    if (random_chance(random, 15)) {
        shard->key_ms = random_between(random, 500, 8000);
    }
    scenario->bounded = random_chance(random, 20);
    if (!scenario->bounded) {
        return;
    }
    if (random_chance(random, 60)) {
        shard->holds_max = random_between(random, 4, 16);
    }
    if (random_chance(random, 40)) {
        shard->users_max = random_between(random, 2, 6);
    }
    if (random_chance(random, 40)) {
        shard->operations_max = 8;
    }
    if (random_chance(random, 40)) {
        shard->key_bytes_max = random_between(random, 1024, 4096);
    }
    if (random_chance(random, 30)) {
        shard->batch_bytes_max = random_between(random, 16384, 20000);
    }
}

static void
draw_disk(struct scenario *scenario, struct random *random)
{
    scenario->text_size = random_chance(random, 50) ? random_between(random, 1, REQUEST_ID_SIZE_MAX) : 0;
    scenario->keep_weight = random_between(random, 1, 8);
    scenario->segment_bytes = 65536u * random_between(random, 1, 3);
    scenario->snapshot_bytes = random_chance(random, 60)   ? random_between(random, 20000, 200000)
                               : random_chance(random, 50) ? random_between(random, 200000, 2000000)
                                                           : UINT64_MAX / 2;
    scenario->slice_bytes = random_chance(random, 50) ? random_between(random, 64, 2048) : 65536;
    scenario->full_percent = random_chance(random, 10) ? random_between(random, 1, 20) : 0;
    scenario->fail_percent = random_chance(random, 15) ? random_between(random, 1, 15) : 0;
    scenario->die_percent = random_chance(random, 20) ? 50 : 0;
    scenario->power_percent = random_between(random, 1, 3) * 33;
    scenario->again_percent = random_chance(random, 30) ? 50 : 0;
    scenario->rot_percent = random_chance(random, 40) ? 60 : 0;
}

/* What is rare elsewhere meets here: units that are wanted again the moment they come back, holds that are
 * forgotten while a snapshot is written, crashes in between. */
static void
draw_hot(struct scenario *scenario, struct random *random)
{
    scenario->hot = true;
    scenario->shard_count = random_between(random, 2, 4);
    scenario->event_count = 1;
    scenario->user_count = random_between(random, 3, SIM_USERS);
    scenario->concurrency_max = random_between(random, 2, SIM_ROUND_OPS);
    scenario->refuse_percent = 0;
    scenario->crash_percent = random_between(random, 15, 30);
    scenario->memory_mode = false;
    scenario->deliver_weight = random_between(random, 1, 10);
    scenario->write_weight = random_between(random, 1, 3);
    scenario->keep_weight = random_between(random, 6, 24);
    scenario->snapshot_bytes = random_between(random, 4096, 30000);
    scenario->full_percent = 0;
    scenario->fail_percent = 0;
    if (random_chance(random, 50)) {
        scenario->bounded = true;
        scenario->shard.holds_max = random_between(random, 6, 10);
    }
    /* Holds end and are forgotten between one shard's part of a snapshot and another's. */
    if (random_chance(random, 60)) {
        scenario->laggard = random_below(random, scenario->shard_count);
        scenario->shard.ended_ms = random_between(random, 1, 500);
    }
}

void
scenario_draw(struct scenario *scenario, struct random *random, uint64_t seed, bool hot)
{
    memset(scenario, 0, sizeof *scenario);
    scenario->seed = seed;
    scenario->start_ms = 1790000000000u + random_below(random, 1000);
    scenario->shard_count = random_between(random, 1, 5);
    scenario->event_count = random_between(random, 1, SIM_EVENTS);
    scenario->user_count = random_between(random, 1, SIM_USERS);
    scenario->round_count = random_between(random, 10, 40);
    scenario->concurrency_max = random_chance(random, 45) ? 1 : random_between(random, 2, SIM_ROUND_OPS);
    scenario->pause_percent = random_chance(random, 30) ? 20 : 0;
    scenario->clock_percent = random_chance(random, 50) ? 30 : 0;
    scenario->crash_percent = random_chance(random, 40) ? random_between(random, 3, 20) : 0;
    scenario->refuse_percent = random_chance(random, 25) ? random_between(random, 10, 70) : 0;
    scenario->deliver_weight = random_between(random, 1, 8);
    scenario->write_weight = random_between(random, 1, 8);
    scenario->key_percent = random_chance(random, 60) ? random_between(random, 10, 60) : 0;
    scenario->memory_mode = random_chance(random, 10);
    scenario->laggard = UINT32_MAX;
    draw_disk(scenario, random);
    scenario->settings_change = random_chance(random, 40);
    draw_bounds(scenario, random);
    scenario->best_alone = scenario->crash_percent > 0 && random_chance(random, 80);
    if (random_chance(random, 20) || hot) {
        draw_hot(scenario, random);
    }
    /* A stream of its own: the other seeds stay as they were. */
    struct random queue;
    random_seed(&queue, seed ^ 0x71756575655f5f00u);
    scenario->queues = random_chance(&queue, hot ? 50 : 25);
    if (scenario->queues) {
        scenario->user_count = random_between(&queue, 3, SIM_USERS);
        /* One queue then: its active ones fit into the homes' tables, which have the same bound. */
        scenario->few_places = random_chance(&queue, 20);
    }
    if (scenario->few_places) {
        scenario->shard.tokens_max = random_between(&queue, 2, 5);
        scenario->event_count = 1;
    }
    bool large = !scenario->hot && random_chance(random, 4);
    for (uint32_t i = 0; i < scenario->event_count; i++) {
        draw_event(scenario, i, random, large && i == 0, scenario->queues ? &queue : NULL);
    }
}

/* ---- names ------------------------------------------------------------------------------------ */

int32_t
scenario_seat(const struct event_plan *event, struct request_seat seat)
{
    if (seat.section < 0 || (uint32_t)seat.section >= event->section_count) {
        return -1;
    }
    const struct section_plan *section = &event->sections[seat.section];
    if (seat.row < 0 || (uint32_t)seat.row >= section->row_count || seat.number == 0 ||
        seat.number > section->row_seats[seat.row]) {
        return -1;
    }
    return (int32_t)(section->row_first[seat.row] + seat.number - 1);
}

struct request_seat
scenario_seat_at(const struct event_plan *event, uint32_t index)
{
    assert(index < event->seat_count);
    for (uint32_t s = 0; s < event->section_count; s++) {
        const struct section_plan *section = &event->sections[s];
        for (uint32_t row = 0; row < section->row_count; row++) {
            uint32_t first = section->row_first[row];
            if (index >= first && index < first + section->row_seats[row]) {
                return (struct request_seat){(int8_t)s, (int8_t)row, (uint16_t)(index - first + 1)};
            }
        }
    }
    assert(false);
    return (struct request_seat){-1, -1, 0};
}

const char *
scenario_section_name(const struct scenario *scenario, int8_t event, int8_t section)
{
    return event < 0 || section < 0 ? "nowhere" : scenario->events[event].sections[section].name;
}

const char *
scenario_pool_name(const struct scenario *scenario, int8_t event, int8_t pool)
{
    return event < 0 || pool < 0 ? "nopool" : scenario->events[event].pools[pool].name;
}

static const char *
row_name(const struct scenario *scenario, int8_t event, int8_t section, int8_t row)
{
    if (event < 0 || section < 0 || row < 0) {
        return "99";
    }
    return scenario->events[event].sections[section].row_names[row];
}

void
scenario_seat_text(const struct scenario *scenario, int8_t event, struct request_seat seat, char *ret_text,
                   size_t size)
{
    (void)snprintf(ret_text, size, "%s/%s/%u", scenario_section_name(scenario, event, seat.section),
                   row_name(scenario, event, seat.section, seat.row), seat.number);
}

/* ---- to the core and back --------------------------------------------------------------------- */

static struct bytes
key_bytes(uint16_t key, char *text, size_t size)
{
    if (key == 0) {
        return (struct bytes){"", 0};
    }
    /* some keys are as long as they may be */
    int length = snprintf(text, size, "key-%u", key);
    assert(length > 0);
    if (key % 7 == 0) {
        memset(text + length, 'x', KEY_SIZE_MAX - (size_t)length);
        length = KEY_SIZE_MAX;
    }
    return (struct bytes){text, (uint32_t)length};
}

static void
fill_hold(const struct scenario *scenario, const struct request *request, struct command *command)
{
    command->seat_count = request->seat_count;
    command->pool_count = request->pool_count;
    command->best_count = request->best_count;
    command->has_replaces = request->has_replaces;
    command->replaces = request->replaces;
    for (uint32_t i = 0; i < request->seat_count; i++) {
        struct request_seat seat = request->seats[i];
        command->seats[i] = (struct seat_name){
            .section = text_bytes(scenario_section_name(scenario, request->event, seat.section)),
            .row = text_bytes(row_name(scenario, request->event, seat.section, seat.row)),
            .number = seat.number,
        };
    }
    for (uint32_t i = 0; i < request->pool_count; i++) {
        command->pools[i] = (struct pool_quantity){
            .name = text_bytes(scenario_pool_name(scenario, request->event, request->pools[i].pool)),
            .quantity = request->pools[i].quantity,
        };
    }
    if (request->best_count > 0) {
        command->section = text_bytes(scenario_section_name(scenario, request->event, request->section));
    }
}

static void
fill_change(const struct scenario *scenario, const struct request *request, struct event_change *change)
{
    memset(change, 0, sizeof *change);
    change->has_status = request->has_status;
    change->has_hold_seconds = request->has_hold_seconds;
    change->has_units_per_user_max = request->has_limit;
    change->status = (enum event_status)request->status;
    change->hold_seconds = request->hold_seconds;
    change->units_per_user_max = request->limit;
    change->has_queue_active_max = request->has_active_max;
    change->queue_active_max = request->active_max;
    change->pool_count = request->pool_count;
    for (uint32_t i = 0; i < request->pool_count; i++) {
        change->pools[i].name =
            text_bytes(scenario_pool_name(scenario, request->event, request->pools[i].pool));
        change->pools[i].quantity = request->pools[i].quantity;
    }
}

void
scenario_command(const struct scenario *scenario, const struct op *op, uint32_t op_index,
                 struct command *ret_command)
{
    static char key_texts[SIM_OPS][KEY_SIZE_MAX + 1];
    static struct event_change changes[SIM_ROUND_OPS + 1];
    const struct request *request = &op->request;
    memset(ret_command, 0, sizeof *ret_command);
    ret_command->type = (enum command_type)request->type;
    ret_command->event =
        text_bytes(request->event < 0 ? "no-such-event" : scenario->events[request->event].id);
    ret_command->user = text_bytes(user_names[request->user]);
    ret_command->key = key_bytes(op->key, key_texts[op_index % SIM_OPS], sizeof key_texts[0]);
    static char text[REQUEST_ID_SIZE_MAX];
    memset(text, 'q', sizeof text);
    ret_command->request_id = (struct bytes){text, scenario->text_size};
    ret_command->payment_ref =
        (struct bytes){text, request->type == COMMAND_CONFIRM ? scenario->text_size : 0};
    ret_command->section = text_bytes("");
    ret_command->hold = request->hold;
    ret_command->late = request->late;
    ret_command->seconds = request->seconds;
    ret_command->wait_ms = request->wait_ms;
    ret_command->watch = ret_command->type == COMMAND_QUEUE_WATCH ? op_index + 1 : request->watch + 1;
    switch (ret_command->type) {
    case COMMAND_HOLD:
        fill_hold(scenario, request, ret_command);
        break;
    case COMMAND_SEATS:
        ret_command->section =
            text_bytes(scenario_section_name(scenario, request->event, request->section));
        ret_command->row_from = op->rows_seen;
        break;
    case COMMAND_EVENT_CREATE:
        ret_command->settings = request->other_settings ? scenario->events[request->event].other_settings
                                                        : scenario->events[request->event].settings;
        break;
    case COMMAND_EVENT_SET: {
        struct event_change *change = &changes[op_index % (SIM_ROUND_OPS + 1)];
        fill_change(scenario, request, change);
        ret_command->change = change;
        break;
    }
    default:
        break;
    }
}

static int8_t
event_of(const struct scenario *scenario, const struct event_settings *settings)
{
    for (uint32_t i = 0; i < scenario->event_count; i++) {
        const char *id = scenario->events[i].id;
        if (settings->id_size == strlen(id) && memcmp(settings->id, id, settings->id_size) == 0) {
            return (int8_t)i;
        }
    }
    return -1;
}

static int8_t
user_of(struct bytes user)
{
    for (uint32_t i = 0; i < SIM_USERS; i++) {
        if (bytes_equal(user, text_bytes(user_names[i]))) {
            return (int8_t)i;
        }
    }
    return -1;
}

static void
copy_hold(const struct scenario *scenario, const struct hold_view *view, struct answer_hold *hold)
{
    hold->id = view->id;
    hold->id_known = true;
    hold->event = view->event == NULL ? -1 : event_of(scenario, view->event);
    hold->user = user_of(view->user);
    hold->state = (uint8_t)view->state;
    hold->deadline_ms = view->deadline_ms;
    hold->seat_count = view->seat_count;
    hold->pool_count = view->pool_count;
    for (uint32_t i = 0; i < view->seat_count; i++) {
        hold->seats[i].ref = view->seats[i].ref;
        hold->seats[i].version = view->seats[i].version;
    }
    for (uint32_t i = 0; i < view->pool_count; i++) {
        hold->pools[i].pool = view->pools[i].pool;
        hold->pools[i].quantity = view->pools[i].quantity;
    }
}

static void
copy_token(const struct scenario *scenario, const struct token_view *view, struct answer_token *token)
{
    token->id = view->id;
    token->id_known = true;
    token->event = event_of(scenario, view->event);
    token->user = user_of(view->user);
    token->state = (uint8_t)view->state;
    token->chance_none = view->chance_none;
    token->position = view->position;
    token->deadline_ms = view->deadline_ms;
}

static void
copy_event(const struct event_view *view, struct answer *answer)
{
    answer->total = view->total;
    for (uint32_t i = 0; i < view->settings->section_count && i < SIM_SECTIONS; i++) {
        answer->sections[i] = view->sections[i];
    }
    for (uint32_t i = 0; i < view->settings->pool_count && i < SIM_POOLS; i++) {
        answer->pools[i] = view->pools[i];
    }
    answer->event_status = (uint8_t)view->status;
    answer->event_hold_seconds = view->hold_seconds;
    answer->event_limit = view->units_per_user_max;
    answer->event_active_max = view->queue_active_max;
    answer->event_seed_shown = view->seed_shown;
}

void
scenario_answer(const struct scenario *scenario, const struct reply *reply, struct answer *answer)
{
    uint32_t letter_count = answer->letter_count;
    memset(answer, 0, offsetof(struct answer, holds));
    answer->status = (uint8_t)reply->status;
    answer->kind = (uint8_t)reply->kind;
    answer->created = reply->created;
    answer->replayed = reply->replayed;
    answer->figures = reply->figures;
    if (reply->status == STATUS_NOEVENT) {
        /* It names the event that was asked for, which the model does not predict. */
        assert(reply->figures == FIGURE_UNIT);
        answer->figures = 0;
    } else if ((reply->figures & FIGURE_UNIT) != 0) {
        assert(reply->unit_size < sizeof answer->unit);
        memcpy(answer->unit, reply->unit, reply->unit_size);
    }
    memcpy(answer->field, reply->field, sizeof answer->field);
    answer->field[sizeof answer->field - 1] = '\0';
    answer->remaining = reply->remaining;
    answer->next_deadline_ms = reply->next_deadline_ms;
    answer->own = reply->own;
    answer->largest_run = reply->largest_run;
    answer->limit = reply->limit;
    answer->used = reply->used;
    answer->deadline_max_ms = reply->deadline_max_ms;
    answer->opens_at_ms = reply->opens_at_ms;
    if (reply->kind == REPLY_HOLD) {
        copy_hold(scenario, &reply->hold, &answer->hold);
    } else if (reply->kind == REPLY_EVENT) {
        copy_event(reply->event_view, answer);
    } else if (reply->kind == REPLY_TOKEN) {
        copy_token(scenario, &reply->token, &answer->token);
    } else if (reply->kind == REPLY_HOLDS) {
        answer->has_token = reply->has_token;
        if (reply->has_token) {
            answer->token.id = reply->token_id;
        }
        struct bytes cursor = reply->holds;
        struct hold_view view;
        memset(&view, 0, sizeof view);
        while (answer->hold_count < ANSWER_HOLDS && reply_next_hold(reply, &cursor, &view)) {
            memset(&answer->holds[answer->hold_count], 0, sizeof answer->holds[0]);
            copy_hold(scenario, &view, &answer->holds[answer->hold_count++]);
        }
        assert(answer->hold_count == reply->hold_count);
    } else if (reply->kind == REPLY_MAP) {
        const struct map_view *map = reply->map;
        for (uint32_t row = map->row_from; row < map->row_to; row++) {
            uint32_t seats = section_row_seats(map->event, map->section, row);
            assert(letter_count + seats <= SIM_EVENT_SEATS);
        }
        uint32_t size = 0;
        for (uint32_t row = map->row_from; row < map->row_to; row++) {
            size += section_row_seats(map->event, map->section, row);
        }
        memcpy(answer->letters + letter_count, map->letters, size);
        answer->letter_count = letter_count + size;
    }
}

/* ---- print ------------------------------------------------------------------------------------ */

static void
print_id(const struct uuid *id)
{
    printf("%02x%02x..%02x%02x", id->byte[4], id->byte[5], id->byte[14], id->byte[15]);
}

void
scenario_print_request(const struct scenario *scenario, const struct op *op)
{
    static const char *const words[] = {"?",       "HOLD",  "CONFIRM", "EXTEND", "RELEASE", "CANCEL",
                                        "GETHOLD", "HOLDS", "CREATE",  "SET",    "GET",     "SEATS",
                                        "JOIN",    "QGET",  "LEAVE",   "WATCH",  "UNWATCH"};
    const struct request *request = &op->request;
    printf("%s e%d u%d", words[request->type], request->event, request->user);
    if (op->key != 0) {
        printf(" key=%u", op->key);
    }
    switch (request->type) {
    case COMMAND_HOLD:
        for (uint32_t i = 0; i < request->seat_count; i++) {
            char text[SEAT_TEXT_SIZE_MAX + 1];
            scenario_seat_text(scenario, request->event, request->seats[i], text, sizeof text);
            printf(" %s", text);
        }
        for (uint32_t i = 0; i < request->pool_count; i++) {
            printf(" %s*%u", scenario_pool_name(scenario, request->event, request->pools[i].pool),
                   request->pools[i].quantity);
        }
        if (request->best_count > 0) {
            printf(" best=%s*%u", scenario_section_name(scenario, request->event, request->section),
                   request->best_count);
        }
        if (request->has_replaces) {
            printf(" replaces=");
            print_id(&request->replaces);
        }
        printf(" ttl=%u", request->seconds);
        break;
    case COMMAND_SEATS:
        printf(" %s", scenario_section_name(scenario, request->event, request->section));
        break;
    case COMMAND_EVENT_SET:
        if (request->has_status) {
            printf(" status=%u", request->status);
        }
        if (request->has_limit) {
            printf(" limit=%u", request->limit);
        }
        if (request->has_active_max) {
            printf(" active_max=%u", request->active_max);
        }
        if (request->has_hold_seconds) {
            printf(" hold_seconds=%u", request->hold_seconds);
        }
        for (uint32_t i = 0; i < request->pool_count; i++) {
            printf(" %s=%u", scenario_pool_name(scenario, request->event, request->pools[i].pool),
                   request->pools[i].quantity);
        }
        break;
    case COMMAND_EVENT_CREATE:
        printf("%s", request->other_settings ? " other" : "");
        break;
    default:
        printf(" ");
        print_id(&request->hold);
        printf("%s seconds=%u wait=%u", request->late ? " late" : "", request->seconds, request->wait_ms);
        break;
    }
    printf(" @%u", op->shard);
}

static void
print_hold(const struct answer_hold *hold)
{
    printf(" [");
    print_id(&hold->id);
    printf(" state=%u e%d u%d deadline=%llu", hold->state, hold->event, hold->user,
           (unsigned long long)hold->deadline_ms);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        printf(" %u/%u/%u:v%u", SEAT_REF_SECTION(hold->seats[i].ref), SEAT_REF_ROW(hold->seats[i].ref),
               SEAT_REF_NUMBER(hold->seats[i].ref), hold->seats[i].version);
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        printf(" pool%u*%u", hold->pools[i].pool, hold->pools[i].quantity);
    }
    printf("]");
}

static void
print_counts(const char *name, uint32_t index, const struct unit_counts *counts)
{
    printf(" %s%u=%llu:%llu/%llu/%llu", name, index, (unsigned long long)counts->capacity,
           (unsigned long long)counts->free, (unsigned long long)counts->held,
           (unsigned long long)counts->sold);
}

void
scenario_print_answer(const struct scenario *scenario, const struct answer *answer)
{
    (void)scenario;
    printf("%s kind=%u%s%s figures=%x", status_word((enum status)answer->status), answer->kind,
           answer->created ? " created" : "", answer->replayed ? " replayed" : "", answer->figures);
    if (answer->figures != 0) {
        printf(" unit=%s remaining=%llu next=%llu run=%u limit=%llu used=%llu max=%llu opens=%llu field=%s "
               "own=",
               answer->unit, (unsigned long long)answer->remaining,
               (unsigned long long)answer->next_deadline_ms, answer->largest_run,
               (unsigned long long)answer->limit, (unsigned long long)answer->used,
               (unsigned long long)answer->deadline_max_ms, (unsigned long long)answer->opens_at_ms,
               answer->field);
        print_id(&answer->own);
    }
    if (answer->kind == REPLY_HOLD) {
        print_hold(&answer->hold);
    }
    if (answer->kind == REPLY_HOLDS) {
        printf(" used=%llu", (unsigned long long)answer->used);
    }
    if (answer->kind == REPLY_HOLDS && answer->has_token) {
        printf(" token=");
        print_id(&answer->token.id);
    }
    if (answer->kind == REPLY_TOKEN) {
        printf(" [");
        print_id(&answer->token.id);
        printf(" %s e%d u%d position=%llu%s deadline=%llu]",
               token_state_word((enum token_state)answer->token.state), answer->token.event,
               answer->token.user, (unsigned long long)answer->token.position,
               answer->token.chance_none ? " chance=none" : "",
               (unsigned long long)answer->token.deadline_ms);
    }
    for (uint32_t i = 0; answer->kind == REPLY_HOLDS && i < answer->hold_count; i++) {
        print_hold(&answer->holds[i]);
    }
    if (answer->kind == REPLY_MAP) {
        printf(" %.*s", (int)answer->letter_count, answer->letters);
    }
    if (answer->kind == REPLY_EVENT) {
        printf(" status=%u seconds=%u limit=%u active_max=%u%s", answer->event_status,
               answer->event_hold_seconds, answer->event_limit, answer->event_active_max,
               answer->event_seed_shown ? " seed" : "");
        print_counts("all", 0, &answer->total);
        for (uint32_t i = 0; i < SIM_SECTIONS; i++) {
            print_counts("s", i, &answer->sections[i]);
        }
        for (uint32_t i = 0; i < SIM_POOLS; i++) {
            print_counts("p", i, &answer->pools[i]);
        }
    }
}
