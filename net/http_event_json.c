/*
 * http_event_json.c - JSON bodies that make an event or change one.
 *
 * See also: http_json.c for the reading of members, core/event_settings.h for the draft.
 */
#include "net/http_json_internal.h"

/* What a section's object says; each member at most once, since jansson has refused doubles. */
struct section_members {
    struct bytes name;
    const json_t *rows;
    const json_t *seats_per_row;
};

static bool
section_members_read(const json_t *object, struct request *request, struct section_members *ret)
{
    if (!json_is_object(object))
        return json_refuse(request, "sections", "an array of objects");
    *ret = (struct section_members){.rows = NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcmp(key, "name") == 0) {
            if (!json_string_read(value, request, "sections.name", &ret->name))
                return false;
        } else if (strcmp(key, "rows") == 0) {
            ret->rows = value;
        } else if (strcmp(key, "seats_per_row") == 0) {
            ret->seats_per_row = value;
        } else {
            json_refuse_member(request, "sections", key);
            return false;
        }
    }
    if (ret->name.data == NULL)
        return json_refuse(request, "sections.name", "the member");
    return json_refuse(request, ret->rows != NULL ? NULL : "sections.rows", "the member");
}

/* {"name": "A", "rows": 20, "seats_per_row": 30} */
static bool
section_regular(struct event_draft *draft, const struct section_members *section, struct request *request)
{
    int64_t rows;
    int64_t seats;
    if (section->seats_per_row == NULL)
        return json_refuse(request, "sections.seats_per_row", "the member beside a number of rows");
    if (!json_integer_read(section->rows, request, "sections.rows", &rows) ||
        !json_integer_read(section->seats_per_row, request, "sections.seats_per_row", &seats))
        return false;
    const char *expected;
    const char *field = event_draft_section(draft, section->name, rows, seats, &expected);
    return json_refuse(request, field, expected);
}

/* {"name": "BOX", "rows": [ {"name": "L1", "seats": 6}, ... ]} */
static bool
section_irregular(struct event_draft *draft, const struct section_members *section, struct request *request)
{
    if (section->seats_per_row != NULL)
        return json_refuse(request, "sections.seats_per_row", "the member only beside a number of rows");
    size_t count = json_array_size(section->rows);
    if (count == 0)
        return json_refuse(request, "sections.rows", "1 to 1024 rows");
    for (size_t i = 0; i < count; i++) {
        struct named_number row;
        if (!json_named_read(json_array_get(section->rows, i), request, "sections.rows",
                             "sections.rows.name", "seats", "sections.rows.seats", &row))
            return false;
        const char *expected;
        const char *field = event_draft_row(draft, section->name, row.name, row.number, &expected);
        if (!json_refuse(request, field, expected))
            return false;
    }
    return true;
}

static bool
event_sections(struct event_draft *draft, const json_t *array, struct request *request)
{
    struct bytes names[SECTIONS_MAX];
    if (!json_is_array(array))
        return json_refuse(request, "sections", "an array of objects");
    size_t count = json_array_size(array);
    if (count > SECTIONS_MAX)
        return json_refuse(request, "sections", "at most 64 sections");
    for (size_t i = 0; i < count; i++) {
        struct section_members section;
        if (!section_members_read(json_array_get(array, i), request, &section))
            return false;
        /* The draft would add rows of a second list to the first. */
        for (size_t k = 0; k < i; k++)
            if (bytes_equal(names[k], section.name))
                return json_refuse(request, "sections.name", "each section once");
        names[i] = section.name;
        bool good = json_is_array(section.rows) ? section_irregular(draft, &section, request)
                                                : section_regular(draft, &section, request);
        if (!good)
            return false;
    }
    return true;
}

static bool
event_pools(struct event_draft *draft, const json_t *array, struct request *request)
{
    if (!json_is_array(array))
        return json_refuse(request, "pools", "an array of objects");
    size_t count = json_array_size(array);
    for (size_t i = 0; i < count; i++) {
        struct named_number pool;
        if (!json_named_read(json_array_get(array, i), request, "pools", "pools.name", "capacity",
                             "pools.capacity", &pool))
            return false;
        const char *expected;
        const char *field = event_draft_pool(draft, pool.name, pool.number, &expected);
        if (!json_refuse(request, field, expected))
            return false;
    }
    return true;
}

static bool
event_integer(struct event_draft *draft, const json_t *value, struct request *request, const char *name,
              const char *(*enter)(struct event_draft *, int64_t, const char **))
{
    int64_t number;
    if (!json_integer_read(value, request, name, &number))
        return false;
    const char *expected;
    const char *field = enter(draft, number, &expected);
    return json_refuse(request, field, expected);
}

static bool
event_opens_at(struct event_draft *draft, const json_t *value, struct request *request)
{
    struct bytes text;
    int64_t ms;
    if (!json_string_read(value, request, "opens_at", &text))
        return false;
    if (!rfc3339_parse(text, &ms))
        return json_refuse(request, "opens_at", "a time by RFC 3339, such as 2026-12-01T10:00:00.000Z");
    const char *expected;
    const char *field = event_draft_opens_at(draft, ms, &expected);
    return json_refuse(request, field, expected);
}

/* {"active_max": 500, "active_seconds": 300, "grace_seconds": 60, "lottery": true} */
static bool
event_queue(struct event_draft *draft, const json_t *object, struct request *request)
{
    static const char *const fields[] = {"queue.active_max", "queue.active_seconds", "queue.grace_seconds"};
    int64_t numbers[3];
    bool there[3] = {false, false, false};
    bool lottery = false;
    if (!json_is_object(object))
        return json_refuse(request, "queue", "an object");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t number = 0;
        while (number < 3 && strcmp(key, fields[number] + sizeof "queue." - 1) != 0)
            number++;
        if (number < 3) {
            if (!json_integer_read(value, request, fields[number], &numbers[number]))
                return false;
            there[number] = true;
        } else if (strcmp(key, "lottery") == 0) {
            if (!json_is_boolean(value))
                return json_refuse(request, "queue.lottery", "true or false");
            lottery = json_is_true(value);
        } else {
            json_refuse_member(request, "queue", key);
            return false;
        }
    }
    for (size_t i = 0; i < 3; i++)
        if (!there[i])
            return json_refuse(request, fields[i], "the member");
    const char *expected;
    const char *field = event_draft_queue(draft, numbers[0], numbers[1], numbers[2], lottery, &expected);
    return json_refuse(request, field, expected);
}

static bool
event_member(struct event_draft *draft, const char *key, const json_t *value, struct request *request)
{
    if (strcmp(key, "id") == 0) {
        struct bytes id;
        if (!json_string_read(value, request, "id", &id))
            return false;
        const char *expected;
        const char *field = event_draft_id(draft, id, &expected);
        return json_refuse(request, field, expected);
    }
    if (strcmp(key, "sections") == 0)
        return event_sections(draft, value, request);
    if (strcmp(key, "pools") == 0)
        return event_pools(draft, value, request);
    if (strcmp(key, "hold_seconds") == 0)
        return event_integer(draft, value, request, "hold_seconds", event_draft_hold_seconds);
    if (strcmp(key, "hold_seconds_max") == 0)
        return event_integer(draft, value, request, "hold_seconds_max", event_draft_hold_seconds_max);
    if (strcmp(key, "units_per_user_max") == 0)
        return event_integer(draft, value, request, "units_per_user_max", event_draft_units_per_user_max);
    if (strcmp(key, "opens_at") == 0)
        return event_opens_at(draft, value, request);
    if (strcmp(key, "queue") == 0)
        return event_queue(draft, value, request);
    json_refuse_member(request, "", key);
    return false;
}

void
http_json_event(struct bytes body, struct decode_memory *memory, struct request *request)
{
    json_t *root = json_object_read(body, request);
    if (root == NULL)
        return;
    void *draft_memory = memory->draft(memory->owner);
    if (draft_memory == NULL) {
        request_refuse(request, STATUS_BUSY);
        return;
    }
    struct event_draft *draft = event_draft_begin(draft_memory);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) if (!event_member(draft, key, value, request)) return;
    const char *expected;
    const char *field = event_draft_end(draft, &request->command.settings, &expected);
    (void)json_refuse(request, field, expected); /* refused or not, this was the last check */
}

static bool
change_pools(struct event_change *change, const json_t *array, struct decode_memory *memory,
             struct request *request)
{
    if (!json_is_array(array))
        return json_refuse(request, "pools", "an array of objects");
    size_t count = json_array_size(array);
    if (count == 0)
        return true;
    char *names = memory->draft(memory->owner);
    if (names == NULL) {
        request_refuse(request, STATUS_BUSY);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct named_number pool;
        if (!json_named_read(json_array_get(array, i), request, "pools", "pools.name", "capacity",
                             "pools.capacity", &pool))
            return false;
        const char *expected;
        const char *field = change_pool(change, names, pool.name, pool.number, &expected);
        if (!json_refuse(request, field, expected))
            return false;
    }
    return true;
}

static bool
change_integer(struct event_change *change, const json_t *value, struct request *request, const char *name,
               const char *(*enter)(struct event_change *, int64_t, const char **))
{
    int64_t number;
    if (!json_integer_read(value, request, name, &number))
        return false;
    const char *expected;
    const char *field = enter(change, number, &expected);
    return json_refuse(request, field, expected);
}

/* {"active_max": 700}: of a queue nothing else can be changed */
static bool
change_queue(struct event_change *change, const json_t *object, struct request *request)
{
    if (!json_is_object(object))
        return json_refuse(request, "queue", "an object");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcmp(key, "active_max") != 0) {
            json_refuse_member(request, "queue", key);
            return false;
        }
        if (!change_integer(change, value, request, "queue.active_max", change_queue_active_max))
            return false;
    }
    return json_refuse(request, change->has_queue_active_max ? NULL : "queue.active_max", "the member");
}

static bool
change_member(struct event_change *change, const char *key, const json_t *value,
              struct decode_memory *memory, struct request *request)
{
    if (strcmp(key, "status") == 0) {
        struct bytes word;
        if (!json_string_read(value, request, "status", &word))
            return false;
        const char *expected;
        const char *field = change_status(change, word, &expected);
        return json_refuse(request, field, expected);
    }
    if (strcmp(key, "hold_seconds") == 0)
        return change_integer(change, value, request, "hold_seconds", change_hold_seconds);
    if (strcmp(key, "units_per_user_max") == 0)
        return change_integer(change, value, request, "units_per_user_max", change_units_per_user_max);
    if (strcmp(key, "pools") == 0)
        return change_pools(change, value, memory, request);
    if (strcmp(key, "queue") == 0)
        return change_queue(change, value, request);
    json_refuse_member(request, "", key);
    return false;
}

void
http_json_change(struct bytes body, struct decode_memory *memory, struct request *request)
{
    json_t *root = json_object_read(body, request);
    if (root == NULL)
        return;
    struct event_change *change = memory->change;
    memset(change, 0, offsetof(struct event_change, pools));
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) if (!change_member(change, key, value, memory, request)) return;
    const char *expected;
    const char *field = change_end(change, &expected);
    if (json_refuse(request, field, expected))
        request->command.change = change;
}
