/*
 * resp_reply.c - answers in RESP2 and RESP3.
 *
 * The two differ in maps (RESP2: a flat array of names and values) and in null. An answer that takes part
 * of a known largest size is written through a pointer into room reserved once, since the answer to HOLD is
 * as hot as the command; what may be large goes through the output piece by piece.
 *
 * See also: docs/protocol.md for the form of each answer, http_reply.c for the same in JSON.
 */
#include "net/resp_internal.h"

#include <assert.h>

/* "$nn\r\n", a seat, "\r\n", ":", a version, "\r\n" */
#define SEAT_SIZE_MAX (5 + SEAT_TEXT_SIZE_MAX + 2 + 1 + 10 + 2)
/* "*nn\r\n", "$36\r\n", a hold, "\r\n", ":", a deadline, "\r\n" */
#define HOLD_HEAD_SIZE_MAX (5 + 5 + UUID_TEXT_SIZE + 2 + 1 + 20 + 2)
static_assert(HOLD_HEAD_SIZE_MAX + HOLD_SEATS_MAX * SEAT_SIZE_MAX <= OUTPUT_GROW_MAX, "one reservation");

static char *
put_header(char *at, char type, uint64_t number)
{
    *at++ = type;
    if (number < 10)
        *at++ = (char)('0' + number);
    else
        at = put_unsigned(at, number);
    return put_literal(at, "\r\n");
}

static char *
put_bulk(char *at, const char *data, uint32_t size)
{
    at = put_header(at, '$', size);
    at = put_bytes(at, data, size);
    return put_literal(at, "\r\n");
}

static char *
put_bulk_uuid(char *at, const struct uuid *uuid)
{
    at = put_literal(at, "$36\r\n");
    at = put_uuid(at, uuid);
    return put_literal(at, "\r\n");
}

static void
header(struct output *output, char type, uint64_t number)
{
    char *at = output_reserve(output, 24);
    if (at != NULL)
        output_commit(output, put_header(at, type, number));
}

void
resp_simple(struct output *output, const char *text)
{
    output_put(output, "+", 1);
    output_put(output, text, strlen(text));
    output_put(output, "\r\n", 2);
}

void
resp_bulk(struct output *output, struct bytes text)
{
    header(output, '$', text.size);
    output_put(output, text.data, text.size);
    output_put(output, "\r\n", 2);
}

void
resp_integer(struct output *output, int64_t value)
{
    if (value >= 0) {
        header(output, ':', (uint64_t)value);
        return;
    }
    output_put(output, ":-", 2);
    char *at = output_reserve(output, 24);
    if (at == NULL)
        return;
    at = put_unsigned(at, 0 - (uint64_t)value);
    output_commit(output, put_literal(at, "\r\n"));
}

void
resp_array(struct output *output, uint32_t count)
{
    header(output, '*', count);
}

void
resp_map(struct output *output, uint8_t resp_version, uint32_t pairs)
{
    if (resp_version == 3)
        header(output, '%', pairs);
    else
        header(output, '*', 2 * (uint64_t)pairs);
}

void
resp_null(struct output *output, uint8_t resp_version)
{
    if (resp_version == 3)
        output_put(output, "_\r\n", 3);
    else
        output_put(output, "$-1\r\n", 5);
}

static void
text(struct output *output, const char *literal)
{
    resp_bulk(output, (struct bytes){literal, (uint32_t)strlen(literal)});
}

static void
member_integer(struct output *output, const char *name, uint64_t value)
{
    text(output, name);
    header(output, ':', value);
}

static void
name_value(struct output *output, const struct name *name)
{
    text(output, "name");
    resp_bulk(output, (struct bytes){name->text, name->size});
}

/* The answer to HOLD: [hold, deadline_ms, seat, version, ...]. */
static void
encode_hold(struct output *output, const struct hold_view *hold)
{
    char *at = output_reserve(output, HOLD_HEAD_SIZE_MAX + (size_t)hold->seat_count * SEAT_SIZE_MAX);
    if (at == NULL)
        return;
    at = put_header(at, '*', 2 + 2 * (uint64_t)hold->seat_count);
    at = put_bulk_uuid(at, &hold->id);
    at = put_header(at, ':', hold->deadline_ms);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        char seat[SEAT_TEXT_SIZE_MAX];
        uint32_t size = seat_text(hold->event, hold->seats[i].ref, seat);
        at = put_bulk(at, seat, size);
        at = put_header(at, ':', hold->seats[i].version);
    }
    output_commit(output, at);
}

/* The answer to GETHOLD, and an element of HOLDS. */
static void
encode_hold_map(struct output *output, uint8_t version, const struct hold_view *hold, uint64_t now_ms)
{
    resp_map(output, version, 8);
    text(output, "hold");
    char *at = output_reserve(output, 64);
    if (at != NULL)
        output_commit(output, put_bulk_uuid(at, &hold->id));
    text(output, "event");
    resp_bulk(output, (struct bytes){hold->event->id, hold->event->id_size});
    text(output, "user");
    resp_bulk(output, hold->user);
    text(output, "state");
    text(output, hold_state_word(hold->state));
    text(output, "seats");
    resp_array(output, hold->seat_count);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        char seat[SEAT_TEXT_SIZE_MAX];
        uint32_t size = seat_text(hold->event, hold->seats[i].ref, seat);
        resp_map(output, version, 2);
        text(output, "seat");
        resp_bulk(output, (struct bytes){seat, size});
        member_integer(output, "version", hold->seats[i].version);
    }
    text(output, "pools");
    resp_array(output, hold->pool_count);
    const struct pool_settings *pools = event_settings_pools(hold->event);
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        resp_map(output, version, 2);
        name_value(output, &pools[hold->pools[i].pool].name);
        member_integer(output, "quantity", hold->pools[i].quantity);
    }
    member_integer(output, "deadline_ms", hold->deadline_ms);
    member_integer(output, "deadline_in_ms", time_left_ms(hold->deadline_ms, now_ms));
}

static void
encode_holds(struct output *output, uint8_t version, const struct reply *reply, uint64_t now_ms)
{
    resp_array(output, reply->hold_count);
    struct bytes cursor = reply->holds;
    struct hold_view hold;
    uint32_t count = 0;
    while (reply_next_hold(reply, &cursor, &hold)) {
        encode_hold_map(output, version, &hold, now_ms);
        count++;
    }
    assert(count == reply->hold_count);
}

static void
encode_counts(struct output *output, uint8_t version, const struct unit_counts *counts)
{
    text(output, "counts");
    resp_map(output, version, 4);
    member_integer(output, "capacity", counts->capacity);
    member_integer(output, "free", counts->free);
    member_integer(output, "held", counts->held);
    member_integer(output, "sold", counts->sold);
}

static void
encode_section(struct output *output, uint8_t version, const struct event_view *view, uint32_t index)
{
    const struct event_settings *settings = view->settings;
    const struct section_settings *section = &event_settings_sections(settings)[index];
    resp_map(output, version, section->regular ? 4 : 3);
    name_value(output, &section->name);
    if (section->regular) {
        member_integer(output, "rows", section->row_count);
        member_integer(output, "seats_per_row", section->row_seats);
    } else {
        text(output, "rows");
        resp_array(output, section->row_count);
        const struct row_settings *rows = event_settings_rows(settings) + section->row_first;
        for (uint32_t i = 0; i < section->row_count; i++) {
            resp_map(output, version, 2);
            name_value(output, &rows[i].name);
            member_integer(output, "seats", rows[i].seat_count);
        }
    }
    encode_counts(output, version, &view->sections[index]);
}

static void
encode_queue(struct output *output, uint8_t version, const struct event_view *view)
{
    const struct event_settings *settings = view->settings;
    text(output, "queue");
    resp_map(output, version, 4);
    member_integer(output, "active_max", view->queue_active_max);
    member_integer(output, "active_seconds", settings->queue_active_seconds);
    member_integer(output, "grace_seconds", settings->queue_grace_seconds);
    member_integer(output, "lottery", settings->queue_lottery);
}

/* What the seed is is known from the start by its hash, and told when all who are drawn have come. */
static void
encode_lottery(struct output *output, const struct event_settings *settings, bool open)
{
    char hex[64];
    static_assert(2 * LOTTERY_SEED_SIZE == sizeof hex, "as long as a SHA-256");
    text(output, "lottery_commitment");
    char *end = put_lottery_commitment(hex, settings);
    resp_bulk(output, (struct bytes){hex, (uint32_t)(end - hex)});
    if (!open)
        return;
    text(output, "lottery_seed");
    end = put_hex(hex, settings->lottery_seed, sizeof settings->lottery_seed);
    resp_bulk(output, (struct bytes){hex, (uint32_t)(end - hex)});
}

/* The answer to EVENT GET, and an element of EVENT LIST. */
static void
encode_event(struct output *output, uint8_t version, const struct event_view *view, uint64_t now_ms)
{
    static const char *const statuses[] = {
        [EVENT_OPEN] = "open",
        [EVENT_PAUSED] = "paused",
        [EVENT_CLOSED] = "closed",
    };
    const struct event_settings *settings = view->settings;
    bool queue = view->queue_active_max != 0;
    resp_map(output, version,
             8u + 2u * (settings->opens_at_ms != 0) + queue + settings->queue_lottery +
                 (settings->queue_lottery && view->seed_shown));
    text(output, "id");
    resp_bulk(output, (struct bytes){settings->id, settings->id_size});
    text(output, "status");
    text(output, statuses[view->status]);
    text(output, "sections");
    resp_array(output, settings->section_count);
    for (uint32_t i = 0; i < settings->section_count; i++)
        encode_section(output, version, view, i);
    text(output, "pools");
    resp_array(output, settings->pool_count);
    const struct pool_settings *pools = event_settings_pools(settings);
    for (uint32_t i = 0; i < settings->pool_count; i++) {
        resp_map(output, version, 3);
        name_value(output, &pools[i].name);
        member_integer(output, "capacity", view->pools[i].capacity);
        encode_counts(output, version, &view->pools[i]);
    }
    member_integer(output, "hold_seconds", view->hold_seconds);
    member_integer(output, "hold_seconds_max", settings->hold_seconds_max);
    member_integer(output, "units_per_user_max", view->units_per_user_max);
    if (settings->opens_at_ms != 0) {
        member_integer(output, "opens_at_ms", settings->opens_at_ms);
        member_integer(output, "opens_in_ms", time_left_ms(settings->opens_at_ms, now_ms));
    }
    if (queue)
        encode_queue(output, version, view);
    if (settings->queue_lottery)
        encode_lottery(output, settings, view->seed_shown);
    encode_counts(output, version, &view->total);
}

/* A piece of the answer to SEATS: [row, seats, row, seats, ...]. */
static void
encode_map(struct output *output, const struct map_view *map)
{
    if (map->row_from == 0)
        header(output, '*', 2 * (uint64_t)map->row_count);
    const char *letters = map->letters;
    for (uint32_t row = map->row_from; row < map->row_to; row++) {
        char name[NAME_SIZE_MAX];
        uint32_t name_size = section_row_name(map->event, map->section, row, name);
        uint32_t seats = section_row_seats(map->event, map->section, row);
        resp_bulk(output, (struct bytes){name, name_size});
        resp_bulk(output, (struct bytes){letters, seats});
        letters += seats;
    }
}

static char *
put_figure(char *at, const char *name, uint64_t value)
{
    *at++ = ' ';
    at = put_bytes(at, name, strlen(name));
    *at++ = '=';
    return put_unsigned(at, value);
}

/* -CODE text key=value ...; for BADREQUEST the text is what was expected. */
static void
encode_refusal(struct output *output, const struct reply *reply, uint64_t now_ms)
{
    char *at = output_reserve(output, 1024);
    if (at == NULL)
        return;
    const char *word = status_word(reply->status);
    const char *words = status_text(reply->status);
    *at++ = '-';
    at = put_bytes(at, word, strlen(word));
    *at++ = ' ';
    if ((reply->figures & FIGURE_FIELD) != 0) {
        at = put_literal(at, "expected ");
        at = put_bytes(at, reply->expected, strnlen(reply->expected, sizeof reply->expected));
        at = put_literal(at, " field=");
        at = put_bytes(at, reply->field, strnlen(reply->field, sizeof reply->field));
    } else {
        at = put_bytes(at, words, strlen(words));
    }
    if ((reply->figures & FIGURE_UNIT) != 0) {
        at = put_literal(at, " unit=");
        at = put_bytes(at, reply->unit, reply->unit_size);
    }
    if ((reply->figures & FIGURE_REMAINING) != 0)
        at = put_figure(at, "remaining", reply->remaining);
    if ((reply->figures & FIGURE_NEXT_DEADLINE) != 0)
        at = put_figure(at, "next_deadline_in_ms", time_left_ms(reply->next_deadline_ms, now_ms));
    if ((reply->figures & FIGURE_OWN) != 0) {
        at = put_literal(at, " own=");
        at = put_uuid(at, &reply->own);
    }
    if ((reply->figures & FIGURE_LARGEST_RUN) != 0)
        at = put_figure(at, "largest_run", reply->largest_run);
    if ((reply->figures & FIGURE_LIMIT) != 0) {
        at = put_figure(at, "limit", reply->limit);
        at = put_figure(at, "used", reply->used);
    }
    if ((reply->figures & FIGURE_DEADLINE_MAX) != 0)
        at = put_figure(at, "deadline_max_in_ms", time_left_ms(reply->deadline_max_ms, now_ms));
    if ((reply->figures & FIGURE_OPENS_AT) != 0)
        at = put_figure(at, "opens_in_ms", time_left_ms(reply->opens_at_ms, now_ms));
    output_commit(output, put_literal(at, "\r\n"));
}

void
resp_encode(struct output *output, const struct reply_context *context, const struct reply *reply,
            uint64_t now_ms)
{
    if (reply->status != STATUS_OK) {
        encode_refusal(output, reply, now_ms);
        return;
    }
    switch (context->command) {
    case COMMAND_HOLD:
        encode_hold(output, &reply->hold);
        return;
    case COMMAND_EXTEND:
        header(output, ':', reply->hold.deadline_ms);
        return;
    case COMMAND_HOLD_GET:
        encode_hold_map(output, context->resp_version, &reply->hold, now_ms);
        return;
    case COMMAND_HOLDS:
        encode_holds(output, context->resp_version, reply, now_ms);
        return;
    case COMMAND_EVENT_GET:
        encode_event(output, context->resp_version, reply->event_view, now_ms);
        return;
    case COMMAND_SEATS:
        encode_map(output, reply->map);
        return;
    case COMMAND_QUEUE_JOIN:
    case COMMAND_QUEUE_GET:
    case COMMAND_QUEUE_LEAVE:
    case COMMAND_QUEUE_WATCH:
    case COMMAND_QUEUE_UNWATCH:
        resp_encode_token(output, context->resp_version, &reply->token);
        return;
    default:
        output_put(output, "+OK\r\n", 5);
    }
}

void
resp_encode_error(struct output *output, const struct request_error *error)
{
    if (error->text[0] != 0) {
        char line[sizeof error->text];
        size_t size = strnlen(error->text, sizeof error->text);
        /* It may repeat what was asked, and is one line. */
        for (size_t i = 0; i < size; i++)
            line[i] = error->text[i] == '\r' || error->text[i] == '\n' ? ' ' : error->text[i];
        output_put(output, "-", 1);
        output_put(output, line, size);
        output_put(output, "\r\n", 2);
        return;
    }
    struct reply reply = {.status = error->status};
    if (error->field[0] != 0) {
        reply.figures = FIGURE_FIELD;
        memcpy(reply.field, error->field, sizeof reply.field);
        memcpy(reply.expected, error->expected, sizeof reply.expected);
    }
    encode_refusal(output, &reply, 0);
}

void
resp_encode_list_begin(struct output *output, const struct reply_context *context, uint32_t count)
{
    assert(context->kind == REQUEST_EVENT_LIST);
    resp_array(output, count);
}

/*
 * The COMMAND table: enough for clients that ask for it before they send anything (redis-cli for hints,
 * some libraries for the place of the key). Arity counts the name; negative: at least so many. No command
 * has keys in Redis' sense: nothing here is a cluster's business.
 */
struct command_entry {
    const char *name;
    int arity;
    const char *flag;
    const char *summary;
};

static const struct command_entry command_table[] = {
    {"auth", -2, "fast", "Gives credentials"},
    {"cancel", 2, "write", "Puts the units of a confirmed hold back on sale"},
    {"client", -2, "fast", "Names this connection, or tells about it"},
    {"command", -1, "fast", "Tells about commands"},
    {"config", -2, "fast", "Tells a setting"},
    {"confirm", -3, "write", "Sells what a hold has"},
    {"echo", 2, "fast", "Answers its argument"},
    {"event", -2, "write", "Makes, shows, lists and changes events"},
    {"extend", -4, "write", "Moves a hold's deadline"},
    {"gethold", 2, "readonly", "Shows a hold"},
    {"hello", -1, "fast", "Chooses the version of the protocol"},
    {"hold", -3, "write", "Holds seats and units of pools for a user"},
    {"holds", 3, "readonly", "Shows a user's holds in an event"},
    {"info", -1, "fast", "Tells about the server"},
    {"ping", -1, "fast", "Answers PONG"},
    {"queue", -2, "write", "Joins, shows, leaves and watches a waiting room"},
    {"quit", -1, "fast", "Ends the connection"},
    {"release", -3, "write", "Gives a hold up"},
    {"reset", 1, "fast", "Makes the connection as new"},
    {"seats", 3, "readonly", "Shows the seats of a section"},
    {"select", 2, "fast", "Takes database 0"},
};
#define COMMAND_TABLE_COUNT ((uint32_t)(sizeof command_table / sizeof command_table[0]))

static const struct command_entry *
command_find(struct bytes name)
{
    for (uint32_t i = 0; i < COMMAND_TABLE_COUNT; i++) {
        const char *entry = command_table[i].name;
        struct bytes entry_name = {entry, (uint32_t)strlen(entry)};
        if (word_of(entry_name) == word_of(name))
            return &command_table[i];
    }
    return NULL;
}

static void
encode_command_entry(struct output *output, const struct command_entry *entry)
{
    resp_array(output, 10); /* as of Redis 7 */
    text(output, entry->name);
    resp_integer(output, entry->arity);
    resp_array(output, 1);
    resp_simple(output, entry->flag);
    resp_integer(output, 0);
    resp_integer(output, 0);
    resp_integer(output, 0);
    for (uint32_t i = 0; i < 4; i++) /* categories, tips, keys, subcommands */
        resp_array(output, 0);
}

static void
encode_command_doc(struct output *output, uint8_t version, const struct command_entry *entry)
{
    text(output, entry->name);
    resp_map(output, version, 2);
    text(output, "summary");
    text(output, entry->summary);
    text(output, "group");
    text(output, "holdfast");
}

static void
encode_command_docs(struct output *output, uint8_t version, struct bytes names)
{
    if (names.size == 0) {
        resp_map(output, version, COMMAND_TABLE_COUNT);
        for (uint32_t i = 0; i < COMMAND_TABLE_COUNT; i++)
            encode_command_doc(output, version, &command_table[i]);
        return;
    }
    struct arguments all = {names.data, UINT32_MAX};
    uint32_t count = 0;
    while (all.at < names.data + names.size)
        count += command_find(argument_take(&all)) != NULL;
    resp_map(output, version, count);
    all.at = names.data;
    while (all.at < names.data + names.size) {
        const struct command_entry *entry = command_find(argument_take(&all));
        if (entry != NULL)
            encode_command_doc(output, version, entry);
    }
}

static void
encode_command_infos(struct output *output, uint8_t version, struct bytes names)
{
    if (names.size == 0) {
        resp_array(output, COMMAND_TABLE_COUNT);
        for (uint32_t i = 0; i < COMMAND_TABLE_COUNT; i++)
            encode_command_entry(output, &command_table[i]);
        return;
    }
    struct arguments all = {names.data, UINT32_MAX};
    uint32_t count = 0;
    for (; all.at < names.data + names.size; count++)
        (void)argument_take(&all);
    resp_array(output, count);
    all.at = names.data;
    while (all.at < names.data + names.size) {
        const struct command_entry *entry = command_find(argument_take(&all));
        if (entry != NULL)
            encode_command_entry(output, entry);
        else
            resp_null(output, version);
    }
}

void
resp_encode_command_table(struct output *output, const struct reply_context *context, struct bytes argument)
{
    struct arguments arguments = {argument.data, UINT32_MAX};
    uint64_t word =
        argument.size > 0 ? word_of(argument_take(&arguments)) : WORD('I', 'N', 'F', 'O', 0, 0, 0, 0);
    struct bytes names = {arguments.at, (uint32_t)(argument.data + argument.size - arguments.at)};
    switch (word) {
    case WORD('C', 'O', 'U', 'N', 'T', 0, 0, 0):
        resp_integer(output, COMMAND_TABLE_COUNT);
        return;
    case WORD('D', 'O', 'C', 'S', 0, 0, 0, 0):
        encode_command_docs(output, context->resp_version, names);
        return;
    case WORD('L', 'I', 'S', 'T', 0, 0, 0, 0):
        resp_array(output, COMMAND_TABLE_COUNT);
        for (uint32_t i = 0; i < COMMAND_TABLE_COUNT; i++)
            text(output, command_table[i].name);
        return;
    default:
        encode_command_infos(output, context->resp_version, names);
    }
}
