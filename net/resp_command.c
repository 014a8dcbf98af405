/*
 * resp_command.c - the arguments of RESP's commands about holds and seats.
 *
 * Fixed arguments come first, then keywords with their values in any order and case. Too few fixed ones is
 * Redis' "wrong number of arguments"; anything wrong behind them is BADREQUEST with the field's name, the
 * same one that HTTP has for it.
 *
 * HOLD is the busiest command, so a keyword is one number to switch on, and nothing is looked up.
 *
 * See also: codec_command.c for the checks, resp_event.c for EVENT.
 */
#include "net/resp_internal.h"

static const char expected_value[] = "a value behind the keyword";
static const char expected_once[] = "the keyword once";
static const char expected_keyword[] = "a keyword of this command";

enum single {
    SINGLE_BEST = 1 << 0,
    SINGLE_TTL = 1 << 1,
    SINGLE_REPLACE = 1 << 2,
    SINGLE_PASS = 1 << 3,
    SINGLE_KEY = 1 << 4,
    SINGLE_REF = 1 << 5,
    SINGLE_LATE = 1 << 6,
};

/* A keyword that may come once and has `count` values: are they there? If not, the request is refused. */
static bool
keyword_good(struct request *request, const struct arguments *arguments, uint32_t count, enum single single,
             unsigned *seen, const char *field)
{
    if (arguments->left < count) {
        request_badrequest(request, field, expected_value);
        return false;
    }
    if ((*seen & single) != 0) {
        request_badrequest(request, field, expected_once);
        return false;
    }
    *seen |= single;
    return true;
}

static bool
value_there(struct request *request, const struct arguments *arguments, uint32_t count, const char *field)
{
    if (arguments->left >= count)
        return true;
    request_badrequest(request, field, expected_value);
    return false;
}

/* Refuses where field is not NULL; true: all is well. */
static inline bool
field_good(struct request *request, const char *field, const char *expected)
{
    if (field == NULL)
        return true;
    request_badrequest(request, field, expected);
    return false;
}

static bool
key_take(struct request *request, struct arguments *arguments, unsigned *seen)
{
    if (!keyword_good(request, arguments, 1, SINGLE_KEY, seen, "key"))
        return false;
    request->command.key = argument_take(arguments);
    bool good = request->command.key.size >= 1 && request->command.key.size <= KEY_SIZE_MAX;
    return field_good(request, good ? NULL : "key", expected_key);
}

/* An integer argument; one that is none becomes a number that every range refuses. */
static int64_t
integer_take(struct arguments *arguments)
{
    int64_t value;
    return integer_parse(argument_take(arguments), &value) ? value : -1;
}

static bool
hold_seat(struct request *request, struct arguments *arguments)
{
    if (!value_there(request, arguments, 1, "seats"))
        return false;
    const char *expected;
    const char *field = command_seat(&request->command, argument_take(arguments), &expected);
    return field_good(request, field, expected);
}

static bool
hold_pool(struct request *request, struct arguments *arguments)
{
    if (!value_there(request, arguments, 2, "pools"))
        return false;
    struct bytes name = argument_take(arguments);
    const char *expected;
    const char *field = command_pool(&request->command, name, integer_take(arguments), &expected);
    return field_good(request, field, expected);
}

static bool
hold_best(struct request *request, struct arguments *arguments, unsigned *seen)
{
    if (!keyword_good(request, arguments, 2, SINGLE_BEST, seen, "best"))
        return false;
    struct bytes section = argument_take(arguments);
    const char *expected;
    const char *field = command_best(&request->command, section, integer_take(arguments), &expected);
    return field_good(request, field, expected);
}

static bool
hold_ttl(struct request *request, struct arguments *arguments, unsigned *seen)
{
    if (!keyword_good(request, arguments, 1, SINGLE_TTL, seen, "hold_seconds"))
        return false;
    const char *expected;
    const char *field =
        command_seconds(&request->command, integer_take(arguments), "hold_seconds", &expected);
    return field_good(request, field, expected);
}

static bool
hold_replace(struct request *request, struct arguments *arguments, unsigned *seen)
{
    if (!keyword_good(request, arguments, 1, SINGLE_REPLACE, seen, "replaces"))
        return false;
    const char *expected;
    const char *field = command_replaces(&request->command, argument_take(arguments), &expected);
    return field_good(request, field, expected);
}

static bool
hold_pass(struct request *request, struct arguments *arguments, unsigned *seen)
{
    if (!keyword_good(request, arguments, 1, SINGLE_PASS, seen, "pass"))
        return false;
    request->pass = argument_take(arguments);
    return true;
}

/* One keyword of HOLD and what belongs to it. False: the request is refused. */
static bool
hold_keyword(struct request *request, struct arguments *arguments, unsigned *seen)
{
    struct bytes keyword = argument_take(arguments);
    switch (word_of(keyword)) {
    case WORD('S', 'E', 'A', 'T', 0, 0, 0, 0):
        return hold_seat(request, arguments);
    case WORD('P', 'O', 'O', 'L', 0, 0, 0, 0):
        return hold_pool(request, arguments);
    case WORD('B', 'E', 'S', 'T', 0, 0, 0, 0):
        return hold_best(request, arguments, seen);
    case WORD('T', 'T', 'L', 0, 0, 0, 0, 0):
        return hold_ttl(request, arguments, seen);
    case WORD('R', 'E', 'P', 'L', 'A', 'C', 'E', 0):
        return hold_replace(request, arguments, seen);
    case WORD('P', 'A', 'S', 'S', 0, 0, 0, 0):
        return hold_pass(request, arguments, seen);
    case WORD('K', 'E', 'Y', 0, 0, 0, 0, 0):
        return key_take(request, arguments, seen);
    default:
        request_badrequest_named(request, keyword, expected_keyword);
        return false;
    }
}

void
resp_decode_hold(struct request *request, struct arguments *arguments)
{
    if (arguments->left < 2) {
        resp_error_arity(request, "hold");
        return;
    }
    request_command(request, COMMAND_HOLD);
    const char *expected;
    const char *field = command_event(&request->command, argument_take(arguments), &expected);
    if (!field_good(request, field, expected))
        return;
    field = command_user(&request->command, argument_take(arguments), &expected);
    if (!field_good(request, field, expected))
        return;
    unsigned seen = 0;
    while (arguments->left > 0)
        if (!hold_keyword(request, arguments, &seen))
            return;
    field = command_hold_end(&request->command, &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

/* A hold's id and its user, with which CONFIRM, EXTEND and RELEASE begin. */
static bool
hold_and_user(struct request *request, struct arguments *arguments, enum command_type type)
{
    request_command(request, type);
    const char *expected;
    const char *field = command_hold_id(&request->command, argument_take(arguments), &expected);
    if (!field_good(request, field, expected))
        return false;
    field = command_user(&request->command, argument_take(arguments), &expected);
    return field_good(request, field, expected);
}

/* The keywords behind EXTEND's and RELEASE's fixed arguments: KEY alone. */
static void
key_only(struct request *request, struct arguments *arguments)
{
    unsigned seen = 0;
    while (arguments->left > 0) {
        struct bytes keyword = argument_take(arguments);
        if (word_of(keyword) != WORD('K', 'E', 'Y', 0, 0, 0, 0, 0)) {
            request_badrequest_named(request, keyword, expected_keyword);
            return;
        }
        if (!key_take(request, arguments, &seen))
            return;
    }
}

static bool
confirm_keyword(struct request *request, struct arguments *arguments, unsigned *seen)
{
    struct bytes keyword = argument_take(arguments);
    const char *expected;
    switch (word_of(keyword)) {
    case WORD('R', 'E', 'F', 0, 0, 0, 0, 0): {
        if (!keyword_good(request, arguments, 1, SINGLE_REF, seen, "payment_ref"))
            return false;
        const char *field = command_payment_ref(&request->command, argument_take(arguments), &expected);
        return field_good(request, field, expected);
    }
    case WORD('L', 'A', 'T', 'E', 0, 0, 0, 0):
        request->command.late = true;
        return keyword_good(request, arguments, 0, SINGLE_LATE, seen, "late");
    case WORD('K', 'E', 'Y', 0, 0, 0, 0, 0):
        return key_take(request, arguments, seen);
    default:
        request_badrequest_named(request, keyword, expected_keyword);
        return false;
    }
}

void
resp_decode_confirm(struct request *request, struct arguments *arguments)
{
    if (arguments->left < 2) {
        resp_error_arity(request, "confirm");
        return;
    }
    if (!hold_and_user(request, arguments, COMMAND_CONFIRM))
        return;
    unsigned seen = 0;
    while (arguments->left > 0)
        if (!confirm_keyword(request, arguments, &seen))
            return;
}

void
resp_decode_extend(struct request *request, struct arguments *arguments)
{
    if (arguments->left < 3) {
        resp_error_arity(request, "extend");
        return;
    }
    if (!hold_and_user(request, arguments, COMMAND_EXTEND))
        return;
    const char *expected;
    const char *field = command_seconds(&request->command, integer_take(arguments), "seconds", &expected);
    if (field_good(request, field, expected))
        key_only(request, arguments);
}

void
resp_decode_release(struct request *request, struct arguments *arguments)
{
    if (arguments->left < 2)
        resp_error_arity(request, "release");
    else if (hold_and_user(request, arguments, COMMAND_RELEASE))
        key_only(request, arguments);
}

static void
hold_alone(struct request *request, struct arguments *arguments, enum command_type type, const char *name)
{
    if (arguments->left != 1) {
        resp_error_arity(request, name);
        return;
    }
    request_command(request, type);
    const char *expected;
    const char *field = command_hold_id(&request->command, argument_take(arguments), &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

void
resp_decode_cancel(struct request *request, struct arguments *arguments)
{
    hold_alone(request, arguments, COMMAND_CANCEL, "cancel");
}

void
resp_decode_gethold(struct request *request, struct arguments *arguments)
{
    hold_alone(request, arguments, COMMAND_HOLD_GET, "gethold");
}

void
resp_decode_holds(struct request *request, struct arguments *arguments)
{
    if (arguments->left != 2) {
        resp_error_arity(request, "holds");
        return;
    }
    request_command(request, COMMAND_HOLDS);
    const char *expected;
    const char *field = command_event(&request->command, argument_take(arguments), &expected);
    if (field == NULL)
        field = command_user(&request->command, argument_take(arguments), &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

void
resp_decode_seats(struct request *request, struct arguments *arguments)
{
    if (arguments->left != 2) {
        resp_error_arity(request, "seats");
        return;
    }
    request_command(request, COMMAND_SEATS);
    const char *expected;
    const char *field = command_event(&request->command, argument_take(arguments), &expected);
    if (field == NULL)
        field = command_section(&request->command, argument_take(arguments), &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}
