/*
 * resp_event.c - EVENT CREATE, GET, LIST and SET.
 *
 * CREATE fills an event_draft in memory that the connection lends until the reply has come. SET fills the
 * connection's event_change; where it names pools, their names are copied into a draft's memory, since the
 * request's own bytes may be gone before the answer is there.
 *
 * See also: core/event_settings.h for the draft, resp_command.c for the other commands.
 */
#include "net/resp_internal.h"

#include <strings.h>

static const char expected_value[] = "a value behind the keyword";
static const char expected_once[] = "the keyword once";

enum single {
    SINGLE_HOLD = 1 << 0,
    SINGLE_HOLDMAX = 1 << 1,
    SINGLE_LIMIT = 1 << 2,
    SINGLE_OPENS = 1 << 3,
    SINGLE_QUEUE = 1 << 4,
};

/* What a keyword of CREATE is: its values, its name in an error, and its bit where it may come once. */
struct keyword {
    uint64_t word;
    uint32_t value_count;
    unsigned single;
    const char *field;
};

static const struct keyword keywords[] = {
    {WORD('S', 'E', 'C', 'T', 'I', 'O', 'N', 0), 3, 0, "sections"},
    {WORD('R', 'O', 'W', 0, 0, 0, 0, 0), 3, 0, "sections.rows"},
    {WORD('P', 'O', 'O', 'L', 0, 0, 0, 0), 2, 0, "pools"},
    {WORD('H', 'O', 'L', 'D', 0, 0, 0, 0), 1, SINGLE_HOLD, "hold_seconds"},
    {WORD('H', 'O', 'L', 'D', 'M', 'A', 'X', 0), 1, SINGLE_HOLDMAX, "hold_seconds_max"},
    {WORD('L', 'I', 'M', 'I', 'T', 0, 0, 0), 1, SINGLE_LIMIT, "units_per_user_max"},
    {WORD('O', 'P', 'E', 'N', 'S', 0, 0, 0), 1, SINGLE_OPENS, "opens_at"},
    {WORD('Q', 'U', 'E', 'U', 'E', 0, 0, 0), 3, SINGLE_QUEUE, "queue"},
};

/* An integer argument; one that is none becomes a number that every range refuses. */
static int64_t
integer_take(struct arguments *arguments)
{
    int64_t value;
    return integer_parse(argument_take(arguments), &value) ? value : -1;
}

/* <active-max> <active-seconds> <grace-seconds> [LOTTERY] */
static const char *
create_queue(struct event_draft *draft, struct arguments *arguments, const char **ret_expected)
{
    int64_t active_max = integer_take(arguments);
    int64_t active_seconds = integer_take(arguments);
    int64_t grace_seconds = integer_take(arguments);
    struct arguments rest = *arguments;
    bool lottery =
        rest.left > 0 && word_of(argument_take(&rest)) == WORD('L', 'O', 'T', 'T', 'E', 'R', 'Y', 0);
    if (lottery)
        *arguments = rest;
    return event_draft_queue(draft, active_max, active_seconds, grace_seconds, lottery, ret_expected);
}

/* Enters one keyword's values, which are there, into the draft. */
static const char *
create_values(struct event_draft *draft, const struct keyword *keyword, struct arguments *arguments,
              const char **ret_expected)
{
    struct bytes name;
    int64_t number;
    switch (keyword->word) {
    case WORD('S', 'E', 'C', 'T', 'I', 'O', 'N', 0):
        name = argument_take(arguments);
        number = integer_take(arguments);
        return event_draft_section(draft, name, number, integer_take(arguments), ret_expected);
    case WORD('R', 'O', 'W', 0, 0, 0, 0, 0): {
        name = argument_take(arguments);
        struct bytes row = argument_take(arguments);
        return event_draft_row(draft, name, row, integer_take(arguments), ret_expected);
    }
    case WORD('P', 'O', 'O', 'L', 0, 0, 0, 0):
        name = argument_take(arguments);
        return event_draft_pool(draft, name, integer_take(arguments), ret_expected);
    case WORD('H', 'O', 'L', 'D', 0, 0, 0, 0):
        return event_draft_hold_seconds(draft, integer_take(arguments), ret_expected);
    case WORD('H', 'O', 'L', 'D', 'M', 'A', 'X', 0):
        return event_draft_hold_seconds_max(draft, integer_take(arguments), ret_expected);
    case WORD('L', 'I', 'M', 'I', 'T', 0, 0, 0):
        return event_draft_units_per_user_max(draft, integer_take(arguments), ret_expected);
    case WORD('Q', 'U', 'E', 'U', 'E', 0, 0, 0):
        return create_queue(draft, arguments, ret_expected);
    default:
        return event_draft_opens_at(draft, integer_take(arguments), ret_expected);
    }
}

static const struct keyword *
keyword_find(uint64_t word)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (keywords[i].word == word)
            return &keywords[i];
    return NULL;
}

/* One keyword of CREATE and its values. False: the request is refused. */
static bool
create_keyword(struct request *request, struct event_draft *draft, struct arguments *arguments,
               unsigned *seen)
{
    struct bytes text = argument_take(arguments);
    uint64_t word = word_of(text);
    const struct keyword *keyword = keyword_find(word);
    if (keyword == NULL) {
        request_badrequest_named(request, text, "a keyword of EVENT CREATE");
        return false;
    }
    if (arguments->left < keyword->value_count) {
        request_badrequest(request, keyword->field, expected_value);
        return false;
    }
    if ((*seen & keyword->single) != 0) {
        request_badrequest(request, keyword->field, expected_once);
        return false;
    }
    *seen |= keyword->single;
    const char *expected;
    const char *field = create_values(draft, keyword, arguments, &expected);
    if (field != NULL)
        request_badrequest(request, field, expected);
    return field == NULL;
}

static void
decode_create(struct request *request, struct arguments *arguments, struct decode_memory *memory)
{
    if (arguments->left < 1) {
        resp_error_arity(request, "event|create");
        return;
    }
    request_command(request, COMMAND_EVENT_CREATE);
    void *draft_memory = memory->draft(memory->owner);
    if (draft_memory == NULL) {
        request_refuse(request, STATUS_BUSY);
        return;
    }
    struct event_draft *draft = event_draft_begin(draft_memory);
    const char *expected;
    const char *field = event_draft_id(draft, argument_take(arguments), &expected);
    if (field != NULL) {
        request_badrequest(request, field, expected);
        return;
    }
    unsigned seen = 0;
    while (arguments->left > 0)
        if (!create_keyword(request, draft, arguments, &seen))
            return;
    field = event_draft_end(draft, &request->command.settings, &expected);
    if (field != NULL)
        request_badrequest(request, field, expected);
}

static bool
text_is(struct bytes text, const char *literal)
{
    return text.size == strlen(literal) && strncasecmp(text.data, literal, text.size) == 0;
}

/* The name within pool.<name>.capacity; false where the field is none such. */
static bool
pool_of_field(struct bytes field, struct bytes *ret_name)
{
    static const char before[] = "pool.";
    static const char after[] = ".capacity";
    uint32_t around = sizeof before - 1 + sizeof after - 1;
    if (field.size <= around || strncasecmp(field.data, before, sizeof before - 1) != 0)
        return false;
    uint32_t name_size = field.size - around;
    if (strncasecmp(field.data + sizeof before - 1 + name_size, after, sizeof after - 1) != 0)
        return false;
    *ret_name = (struct bytes){field.data + sizeof before - 1, name_size};
    return true;
}

/* One field of SET. *names: where names of pools go, asked for when first needed. */
static bool
set_field(struct request *request, struct event_change *change, struct decode_memory *memory, char **names,
          struct bytes name, struct bytes value)
{
    const char *expected;
    const char *field;
    int64_t number;
    struct bytes pool;
    if (!integer_parse(value, &number))
        number = -1;
    if (text_is(name, "status")) {
        expected = expected_once;
        field = change->has_status ? "status" : change_status(change, value, &expected);
    } else if (text_is(name, "hold_seconds")) {
        expected = expected_once;
        field = change->has_hold_seconds ? "hold_seconds" : change_hold_seconds(change, number, &expected);
    } else if (text_is(name, "units_per_user_max")) {
        expected = expected_once;
        field = change->has_units_per_user_max ? "units_per_user_max"
                                               : change_units_per_user_max(change, number, &expected);
    } else if (text_is(name, "queue.active_max")) {
        expected = expected_once;
        field = change->has_queue_active_max ? "queue.active_max"
                                             : change_queue_active_max(change, number, &expected);
    } else if (pool_of_field(name, &pool)) {
        if (*names == NULL)
            *names = memory->draft(memory->owner);
        if (*names == NULL) {
            request_refuse(request, STATUS_BUSY);
            return false;
        }
        field = change_pool(change, *names, pool, number, &expected);
    } else {
        request_badrequest_named(request, name, "a field of EVENT SET");
        return false;
    }
    if (field != NULL)
        request_badrequest(request, field, expected);
    return field == NULL;
}

static void
decode_set(struct request *request, struct arguments *arguments, struct decode_memory *memory)
{
    if (arguments->left < 3) {
        resp_error_arity(request, "event|set");
        return;
    }
    request_command(request, COMMAND_EVENT_SET);
    const char *expected;
    const char *field = command_event(&request->command, argument_take(arguments), &expected);
    if (field != NULL) {
        request_badrequest(request, field, expected);
        return;
    }
    struct event_change *change = memory->change;
    memset(change, 0, offsetof(struct event_change, pools));
    char *names = NULL;
    while (arguments->left > 0) {
        struct bytes name = argument_take(arguments);
        if (arguments->left == 0) {
            request_badrequest_named(request, name, expected_value);
            return;
        }
        if (!set_field(request, change, memory, &names, name, argument_take(arguments)))
            return;
    }
    request->command.change = change;
}

void
resp_decode_event(struct request *request, struct arguments *arguments, struct decode_memory *memory)
{
    if (arguments->left == 0) {
        resp_error_arity(request, "event");
        return;
    }
    struct bytes subcommand = argument_take(arguments);
    switch (word_of(subcommand)) {
    case WORD('C', 'R', 'E', 'A', 'T', 'E', 0, 0):
        decode_create(request, arguments, memory);
        return;
    case WORD('S', 'E', 'T', 0, 0, 0, 0, 0):
        decode_set(request, arguments, memory);
        return;
    case WORD('G', 'E', 'T', 0, 0, 0, 0, 0): {
        if (arguments->left != 1) {
            resp_error_arity(request, "event|get");
            return;
        }
        request_command(request, COMMAND_EVENT_GET);
        const char *expected;
        const char *field = command_event(&request->command, argument_take(arguments), &expected);
        if (field != NULL)
            request_badrequest(request, field, expected);
        return;
    }
    case WORD('L', 'I', 'S', 'T', 0, 0, 0, 0):
        if (arguments->left != 0) {
            resp_error_arity(request, "event|list");
            return;
        }
        request_command(request, COMMAND_EVENT_GET);
        request->kind = REQUEST_EVENT_LIST;
        return;
    default:
        resp_error_subcommand(request, "EVENT", subcommand);
    }
}
