/*
 * http_json.c - JSON bodies of requests about holds.
 *
 * jansson reads the text: it refuses what RFC 8259 refuses, bad UTF-8, members that come twice, NUL in
 * strings, anything behind the value, and nesting past its bound. What it has read is walked member by
 * member: one that is unknown, of another type, or missing is a BADREQUEST that names it. Integers are
 * integers: jansson tells 1 from 1.0 and 1e0.
 *
 * All nodes and strings lie in the thread's arena and are never freed one by one.
 *
 * See also: http_event_json.c for events, codec_command.c for the checks of values.
 */
#include "net/http_json_internal.h"

#include <assert.h>

#define OPEN_MAX 8 /* objects and arrays in one another: more than any body has */

/* The string that begins at body[*at], as it is written; *at becomes its last quote. */
static struct bytes
string_pass(struct bytes body, uint32_t *at)
{
    uint32_t first = ++*at;
    while (*at < body.size && body.data[*at] != '"')
        *at += body.data[*at] == '\\' ? 2 : 1;
    return (struct bytes){body.data + first, (*at < body.size ? *at : body.size) - first};
}

/* Puts a name behind a path of so many bytes; returns how many it has then. What is too long is cut. */
static uint32_t
path_add(char path[REPLY_FIELD_SIZE_MAX], uint32_t size, struct bytes name)
{
    if (size > 0 && size < REPLY_FIELD_SIZE_MAX)
        path[size++] = '.';
    uint32_t room = REPLY_FIELD_SIZE_MAX - size;
    uint32_t taken = name.size < room ? name.size : room;
    memcpy(path + size, name.data, taken);
    return size + taken;
}

/* The way to the member at which jansson stopped, as pools.quantity: the last name of each object that is
 * open there. */
static void
refuse_stopped(struct request *request, struct bytes body, const json_error_t *error, const char *expected)
{
    struct {
        uint32_t path_size; /* outside of it */
        bool object;
    } open[OPEN_MAX];
    char path[REPLY_FIELD_SIZE_MAX];
    uint32_t path_size = 0;
    uint32_t count = 0;
    bool name_next = false;
    if (error->position >= 0 && (uint32_t)error->position < body.size)
        body.size = (uint32_t)error->position;
    for (uint32_t i = 0; i < body.size && count < OPEN_MAX; i++) {
        switch (body.data[i]) {
        case '{':
        case '[':
            name_next = body.data[i] == '{';
            open[count].object = name_next;
            open[count++].path_size = path_size;
            break;
        case '}':
        case ']':
            if (count > 0)
                path_size = open[--count].path_size;
            break;
        case ',':
            name_next = count > 0 && open[count - 1].object;
            break;
        case '"': {
            struct bytes text = string_pass(body, &i);
            if (name_next && count > 0)
                path_size = path_add(path, open[count - 1].path_size, text);
            name_next = false;
            break;
        }
        default:
            break;
        }
    }
    bool known = path_size > 0 && count < OPEN_MAX;
    request_badrequest_named(request, known ? (struct bytes){path, path_size} : (struct bytes){"body", 4},
                             expected);
}

json_t *
json_object_read(struct bytes body, struct request *request)
{
    json_error_t error;
    json_t *root = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root == NULL) {
        enum json_error_code code = json_error_code(&error);
        if (http_arena_full())
            request_badrequest(request, "body", "a smaller JSON document");
        else if (code == json_error_duplicate_key)
            refuse_stopped(request, body, &error, "each member once");
        else if (code == json_error_numeric_overflow)
            refuse_stopped(request, body, &error, "a number that is not so large");
        else
            request_badrequest(request, "body", "a JSON object (RFC 8259)");
        return NULL;
    }
    if (!json_is_object(root)) {
        request_badrequest(request, "body", "a JSON object (RFC 8259)");
        return NULL;
    }
    return root;
}

bool
json_refuse(struct request *request, const char *field, const char *expected)
{
    if (field != NULL)
        request_badrequest(request, field, expected);
    return field == NULL;
}

void
json_refuse_member(struct request *request, const char *parent, const char *name)
{
    char field[2 * REPLY_FIELD_SIZE_MAX];
    size_t parent_size = strlen(parent);
    assert(parent_size < REPLY_FIELD_SIZE_MAX - 1);
    memcpy(field, parent, parent_size);
    if (parent_size > 0)
        field[parent_size++] = '.';
    size_t name_size = strnlen(name, REPLY_FIELD_SIZE_MAX);
    memcpy(field + parent_size, name, name_size);
    request_badrequest_named(request, (struct bytes){field, (uint32_t)(parent_size + name_size)},
                             "no such member");
}

bool
json_string_read(const json_t *value, struct request *request, const char *field, struct bytes *ret_text)
{
    if (!json_is_string(value)) {
        request_badrequest(request, field, "a string");
        return false;
    }
    *ret_text = (struct bytes){json_string_value(value), (uint32_t)json_string_length(value)};
    return true;
}

bool
json_integer_read(const json_t *value, struct request *request, const char *field, int64_t *ret_number)
{
    if (!json_is_integer(value)) {
        request_badrequest(request, field, expected_integer);
        return false;
    }
    *ret_number = json_integer_value(value);
    return true;
}

bool
json_named_read(const json_t *object, struct request *request, const char *parent, const char *field,
                const char *number_name, const char *number_field, struct named_number *ret)
{
    if (!json_is_object(object)) {
        request_badrequest(request, parent, "an object");
        return false;
    }
    *ret = (struct named_number){.name = {NULL, 0}};
    bool has_number = false;
    const char *key;
    json_t *value;
    const char *text_name = strrchr(field, '.') + 1;
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcmp(key, text_name) == 0) {
            if (!json_string_read(value, request, field, &ret->name))
                return false;
        } else if (strcmp(key, number_name) == 0) {
            if (!json_integer_read(value, request, number_field, &ret->number))
                return false;
            has_number = true;
        } else {
            json_refuse_member(request, parent, key);
            return false;
        }
    }
    if (ret->name.data == NULL)
        request_badrequest(request, field, "the member");
    else if (!has_number)
        request_badrequest(request, number_field, "the member");
    return ret->name.data != NULL && has_number;
}

static bool
hold_seats(const json_t *array, struct request *request)
{
    if (!json_is_array(array))
        return json_refuse(request, "seats", "an array of seats as SECTION/ROW/NUMBER");
    size_t count = json_array_size(array);
    for (size_t i = 0; i < count; i++) {
        struct bytes text;
        if (!json_string_read(json_array_get(array, i), request, "seats", &text))
            return false;
        const char *expected;
        const char *field = command_seat(&request->command, text, &expected);
        if (!json_refuse(request, field, expected))
            return false;
    }
    return true;
}

static bool
hold_pools(const json_t *array, struct request *request)
{
    if (!json_is_array(array))
        return json_refuse(request, "pools", "an array of objects");
    size_t count = json_array_size(array);
    for (size_t i = 0; i < count; i++) {
        struct named_number pool;
        if (!json_named_read(json_array_get(array, i), request, "pools", "pools.name", "quantity",
                             "pools.quantity", &pool))
            return false;
        const char *expected;
        const char *field = command_pool(&request->command, pool.name, pool.number, &expected);
        if (!json_refuse(request, field, expected))
            return false;
    }
    return true;
}

static bool
hold_best(const json_t *object, struct request *request)
{
    struct named_number best;
    if (!json_named_read(object, request, "best", "best.section", "quantity", "best.quantity", &best))
        return false;
    const char *expected;
    const char *field = command_best(&request->command, best.name, best.number, &expected);
    return json_refuse(request, field, expected);
}

static bool
member_user(const json_t *value, struct request *request)
{
    struct bytes text;
    if (!json_string_read(value, request, "user", &text))
        return false;
    const char *expected;
    const char *field = command_user(&request->command, text, &expected);
    return json_refuse(request, field, expected);
}

static bool
member_seconds(const json_t *value, struct request *request, const char *name)
{
    int64_t seconds;
    if (!json_integer_read(value, request, name, &seconds))
        return false;
    const char *expected;
    const char *field = command_seconds(&request->command, seconds, name, &expected);
    return json_refuse(request, field, expected);
}

static bool
hold_replaces(const json_t *value, struct request *request)
{
    struct bytes text;
    if (!json_string_read(value, request, "replaces", &text))
        return false;
    const char *expected;
    const char *field = command_replaces(&request->command, text, &expected);
    return json_refuse(request, field, expected);
}

static bool
hold_member(const char *key, const json_t *value, struct request *request)
{
    if (strcmp(key, "user") == 0)
        return member_user(value, request);
    if (strcmp(key, "seats") == 0)
        return hold_seats(value, request);
    if (strcmp(key, "pools") == 0)
        return hold_pools(value, request);
    if (strcmp(key, "best") == 0)
        return hold_best(value, request);
    if (strcmp(key, "hold_seconds") == 0)
        return member_seconds(value, request, "hold_seconds");
    if (strcmp(key, "replaces") == 0)
        return hold_replaces(value, request);
    if (strcmp(key, "pass") == 0)
        return json_string_read(value, request, "pass", &request->pass);
    json_refuse_member(request, "", key);
    return false;
}

/* A body without its user is no request. */
static bool
user_there(struct request *request)
{
    return json_refuse(request, request->command.user.size > 0 ? NULL : "user", "the member");
}

void
http_json_hold(struct bytes body, struct request *request)
{
    json_t *root = json_object_read(body, request);
    if (root == NULL)
        return;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) if (!hold_member(key, value, request)) return;
    if (!user_there(request))
        return;
    const char *expected;
    const char *field = command_hold_end(&request->command, &expected);
    (void)json_refuse(request, field, expected); /* refused or not, this was the last check */
}

static bool
confirm_member(const char *key, const json_t *value, struct request *request)
{
    if (strcmp(key, "user") == 0)
        return member_user(value, request);
    if (strcmp(key, "payment_ref") == 0) {
        struct bytes text;
        if (!json_string_read(value, request, "payment_ref", &text))
            return false;
        const char *expected;
        const char *field = command_payment_ref(&request->command, text, &expected);
        return json_refuse(request, field, expected);
    }
    if (strcmp(key, "late") == 0) {
        request->command.late = json_is_true(value);
        return json_refuse(request, json_is_boolean(value) ? NULL : "late", "true or false");
    }
    json_refuse_member(request, "", key);
    return false;
}

void
http_json_confirm(struct bytes body, struct request *request)
{
    json_t *root = json_object_read(body, request);
    if (root == NULL)
        return;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) if (!confirm_member(key, value, request)) return;
    (void)user_there(request); /* refused or not, this was the last check */
}

void
http_json_extend(struct bytes body, struct request *request)
{
    json_t *root = json_object_read(body, request);
    if (root == NULL)
        return;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        bool good = false;
        if (strcmp(key, "user") == 0)
            good = member_user(value, request);
        else if (strcmp(key, "seconds") == 0)
            good = member_seconds(value, request, "seconds");
        else
            json_refuse_member(request, "", key);
        if (!good)
            return;
    }
    if (user_there(request))
        (void)json_refuse(request, request->command.seconds > 0 ? NULL : "seconds", "the member");
}

void
http_json_join(struct bytes body, struct request *request)
{
    json_t *root = json_object_read(body, request);
    if (root == NULL)
        return;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "user") != 0) {
            json_refuse_member(request, "", key);
            return;
        }
        if (!member_user(value, request))
            return;
    }
    (void)user_there(request); /* refused or not, this was the last check */
}

void
http_json_cancel(struct bytes body, struct request *request)
{
    if (body.size == 0)
        return;
    json_t *root = json_object_read(body, request);
    if (root == NULL || json_object_size(root) == 0)
        return;
    json_refuse_member(request, "", json_object_iter_key(json_object_iter(root)));
}
