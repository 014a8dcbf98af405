/*
 * codec_command.c - the checks of a command that need no state, the same for both protocols.
 *
 * A codec calls a function for each part of a command as it finds it; the function checks it and enters
 * it. What is wrong is told by the name that the part has in HTTP (RESP tells the same names), and by what
 * was expected, worded so that it can follow "expected".
 *
 * See also: event_settings.h for the draft of an event, which works the same way.
 */
#include "core/route.h"
#include "net/codec_internal.h"

#include <assert.h>

static const char expected_id[] = "1 to 64 characters of A-Z a-z 0-9 . _ : @ -";
static const char expected_name[] = "1 to 16 characters of A-Z a-z 0-9 . _ @ -";
static const char expected_uuid[] = "a UUIDv7 of 36 characters";
static const char expected_seconds[] = "a whole number from 1 to 2592000";
const char expected_key[] = "an idempotency key of 1 to 255 bytes";
const char expected_integer[] = "a whole number";

static_assert(SECONDS_MAX == 2592000, "the text above says so");

const char *
command_event(struct command *command, struct bytes id, const char **ret_expected)
{
    *ret_expected = expected_id;
    command->event = id;
    return id_valid(id) ? NULL : "event";
}

const char *
command_user(struct command *command, struct bytes id, const char **ret_expected)
{
    *ret_expected = expected_id;
    command->user = id;
    return id_valid(id) ? NULL : "user";
}

const char *
command_hold_id(struct command *command, struct bytes id, const char **ret_expected)
{
    *ret_expected = expected_uuid;
    return uuid_parse(id, &command->hold) ? NULL : "hold";
}

const char *
command_token(struct command *command, struct bytes id, const char **ret_expected)
{
    *ret_expected = expected_uuid;
    return uuid_parse(id, &command->hold) ? NULL : "token";
}

const char *
command_wait(struct command *command, struct bytes text, const char **ret_expected)
{
    int64_t wait_ms;
    *ret_expected = "a whole number from 0 to 30000";
    if (!integer_parse(text, &wait_ms) || wait_ms < 0 || wait_ms > POLL_MS_MAX)
        return "wait_ms";
    command->wait_ms = (uint32_t)wait_ms;
    return NULL;
}

const char *
command_replaces(struct command *command, struct bytes id, const char **ret_expected)
{
    *ret_expected = expected_uuid;
    command->has_replaces = true;
    return uuid_parse(id, &command->replaces) ? NULL : "replaces";
}

const char *
command_section(struct command *command, struct bytes name, const char **ret_expected)
{
    *ret_expected = expected_name;
    command->section = name;
    return name_valid(name) ? NULL : "section";
}

/* The part of *text before the next slash, which both go; false where there is none. */
static bool
part_take(struct bytes *text, struct bytes *ret_part)
{
    const char *slash = memchr(text->data, '/', text->size);
    if (slash == NULL)
        return false;
    *ret_part = (struct bytes){text->data, (uint32_t)(slash - text->data)};
    text->size -= ret_part->size + 1;
    text->data = slash + 1;
    return name_valid(*ret_part);
}

/* A seat's number: from 1, no leading zero, at most nine digits. 0: it is none. */
static uint32_t
seat_number(struct bytes text)
{
    if (text.size == 0 || text.size > 9 || text.data[0] == '0')
        return 0;
    uint32_t number = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9)
            return 0;
        number = number * 10 + digit;
    }
    return number;
}

static bool
seat_equal(const struct seat_name *a, const struct seat_name *b)
{
    return a->number == b->number && bytes_equal(a->row, b->row) && bytes_equal(a->section, b->section);
}

const char *
command_seat(struct command *command, struct bytes text, const char **ret_expected)
{
    if (command->seat_count == HOLD_SEATS_MAX) {
        *ret_expected = "at most 16 seats, those of best included";
        return "seats";
    }
    struct seat_name *seat = &command->seats[command->seat_count];
    struct bytes rest = text;
    *ret_expected = "a seat as SECTION/ROW/NUMBER";
    if (!part_take(&rest, &seat->section) || !part_take(&rest, &seat->row))
        return "seats";
    seat->number = seat_number(rest);
    if (seat->number == 0)
        return "seats";
    for (uint32_t i = 0; i < command->seat_count; i++) {
        if (seat_equal(&command->seats[i], seat)) {
            *ret_expected = "each seat once";
            return "seats";
        }
    }
    command->seat_count++;
    return NULL;
}

const char *
command_pool(struct command *command, struct bytes name, int64_t quantity, const char **ret_expected)
{
    if (command->pool_count == HOLD_POOLS_MAX) {
        *ret_expected = "at most 4 pools";
        return "pools";
    }
    if (!name_valid(name)) {
        *ret_expected = expected_name;
        return "pools.name";
    }
    if (quantity < 1 || quantity > POOL_CAPACITY_MAX) {
        *ret_expected = "a whole number from 1 to 1000000000";
        return "pools.quantity";
    }
    for (uint32_t i = 0; i < command->pool_count; i++) {
        if (bytes_equal(command->pools[i].name, name)) {
            *ret_expected = "each pool once";
            return "pools";
        }
    }
    command->pools[command->pool_count++] = (struct pool_quantity){name, (uint32_t)quantity};
    return NULL;
}

const char *
command_best(struct command *command, struct bytes section, int64_t quantity, const char **ret_expected)
{
    if (!name_valid(section)) {
        *ret_expected = expected_name;
        return "best.section";
    }
    if (quantity < 1 || quantity > HOLD_SEATS_MAX) {
        *ret_expected = "a whole number from 1 to 16";
        return "best.quantity";
    }
    command->section = section;
    command->best_count = (uint8_t)quantity;
    return NULL;
}

const char *
command_seconds(struct command *command, int64_t seconds, const char *field, const char **ret_expected)
{
    *ret_expected = expected_seconds;
    if (seconds < 1 || seconds > SECONDS_MAX)
        return field;
    command->seconds = (uint32_t)seconds;
    return NULL;
}

const char *
command_payment_ref(struct command *command, struct bytes text, const char **ret_expected)
{
    *ret_expected = "1 to 128 bytes of UTF-8";
    command->payment_ref = text;
    bool good = text.size > 0 && text.size <= PAYMENT_REF_SIZE_MAX && utf8_valid(text) &&
                memchr(text.data, 0, text.size) == NULL;
    return good ? NULL : "payment_ref";
}

const char *
command_hold_end(struct command *command, const char **ret_expected)
{
    if (command->seat_count + command->pool_count + command->best_count == 0) {
        *ret_expected = "at least one of seats, pools, best";
        return "seats";
    }
    if (command->seat_count + command->best_count > HOLD_SEATS_MAX) {
        *ret_expected = "at most 16 seats, those of best included";
        return "seats";
    }
    return NULL;
}

const char *
change_status(struct event_change *change, struct bytes word, const char **ret_expected)
{
    static const char *const words[] = {
        [EVENT_OPEN] = "open",
        [EVENT_PAUSED] = "paused",
        [EVENT_CLOSED] = "closed",
    };
    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (word.size == strlen(words[i]) && memcmp(word.data, words[i], word.size) == 0) {
            change->has_status = true;
            change->status = (enum event_status)i;
            return NULL;
        }
    }
    *ret_expected = "open, paused or closed";
    return "status";
}

const char *
change_hold_seconds(struct event_change *change, int64_t seconds, const char **ret_expected)
{
    *ret_expected = expected_seconds;
    if (seconds < 1 || seconds > SECONDS_MAX)
        return "hold_seconds";
    change->has_hold_seconds = true;
    change->hold_seconds = (uint32_t)seconds;
    return NULL;
}

const char *
change_units_per_user_max(struct event_change *change, int64_t units, const char **ret_expected)
{
    *ret_expected = "a whole number from 0 to 1000000000";
    if (units < 0 || units > UNITS_PER_USER_MAX)
        return "units_per_user_max";
    change->has_units_per_user_max = true;
    change->units_per_user_max = (uint32_t)units;
    return NULL;
}

const char *
change_queue_active_max(struct event_change *change, int64_t active_max, const char **ret_expected)
{
    *ret_expected = "a whole number from 1 to 1000000000";
    if (active_max < 1 || active_max > QUEUE_ACTIVE_MAX)
        return "queue.active_max";
    change->has_queue_active_max = true;
    change->queue_active_max = (uint32_t)active_max;
    return NULL;
}

const char *
change_pool(struct event_change *change, char *names, struct bytes name, int64_t capacity,
            const char **ret_expected)
{
    if (change->pool_count == POOLS_MAX) {
        *ret_expected = "at most 64 pools";
        return "pools";
    }
    if (!name_valid(name)) {
        *ret_expected = expected_name;
        return "pools.name";
    }
    if (capacity < 0 || capacity > POOL_CAPACITY_MAX) {
        *ret_expected = "a whole number from 0 to 1000000000";
        return "pools.capacity";
    }
    for (uint32_t i = 0; i < change->pool_count; i++) {
        if (bytes_equal(change->pools[i].name, name)) {
            *ret_expected = "each pool once";
            return "pools";
        }
    }
    char *text = names + (size_t)change->pool_count * NAME_SIZE_MAX;
    memcpy(text, name.data, name.size);
    change->pools[change->pool_count++] = (struct pool_quantity){{text, name.size}, (uint32_t)capacity};
    return NULL;
}

const char *
change_end(const struct event_change *change, const char **ret_expected)
{
    *ret_expected = "at least one field to change";
    bool any = change->has_status || change->has_hold_seconds || change->has_units_per_user_max ||
               change->has_queue_active_max || change->pool_count > 0;
    return any ? NULL : "status";
}

void
request_command(struct request *request, enum command_type type)
{
    /* A kilobyte of pools and seats behind stays as it is: the counts say that none of it is there. */
    memset(&request->command, 0, offsetof(struct command, pools));
    request->kind = REQUEST_COMMAND;
    request->pass = (struct bytes){NULL, 0};
    request->command.type = type;
    request->reply_context.command = (uint8_t)type;
}

void
error_begin(struct request_error *error, enum status status)
{
    error->status = status;
    error->http_status = 0;
    error->http_code = NULL;
    error->allow = NULL;
    error->close = false;
    error->forbidden = false;
    error->rate_policy = NULL;
    error->field[0] = 0;
    error->expected[0] = 0;
    error->text[0] = 0;
}

void
request_refuse(struct request *request, enum status status)
{
    request->kind = REQUEST_ERROR;
    error_begin(&request->error, status);
}

void
request_badrequest_named(struct request *request, struct bytes field, const char *expected)
{
    request_refuse(request, STATUS_BADREQUEST);
    struct request_error *error = &request->error;
    if (field.size == 0)
        field = (struct bytes){"?", 1}; /* an empty name must be told, too */
    uint32_t size = field.size < REPLY_FIELD_SIZE_MAX ? field.size : REPLY_FIELD_SIZE_MAX - 1;
    for (uint32_t i = 0; i < size; i++) {
        char c = field.data[i];
        error->field[i] = c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != '=' ? c : '?';
    }
    error->field[size] = 0;
    size_t expected_size = strlen(expected);
    assert(expected_size < REPLY_EXPECTED_SIZE_MAX);
    memcpy(error->expected, expected, expected_size + 1);
}

void
request_badrequest(struct request *request, const char *field, const char *expected)
{
    request_badrequest_named(request, (struct bytes){field, (uint32_t)strlen(field)}, expected);
}
