/*
 * test_json.c - JSON bodies that are good, and the bounds of what they may take. Bad ones: bad_http.json.
 */
#include "tests/unit/codec_drive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* after what it needs and does not include */
#include <cmocka.h>
#include <jansson.h>

#define ID "019811f0-7a3b-7c4d-8e5f-0123456789ab"

static const struct request *
request_with(const char *line, const char *body, size_t body_size)
{
    static char *text; /* kept: the request's views point into it */
    free(text);
    text = malloc(body_size + 256);
    assert_non_null(text);
    int head = snprintf(text, 256,
                        "%s HTTP/1.1\r\nHost: a\r\nContent-Type: Application/JSON; charset=\"UTF-8\"\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        line, body_size);
    memcpy(text + head, body, body_size);
    const struct request *request = drive_decode(DRIVE_HTTP, text, (size_t)head + body_size);
    assert_non_null(request);
    return request;
}

static const struct command *
command_with(const char *line, const char *body)
{
    const struct request *request = request_with(line, body, strlen(body));
    if (request->kind != REQUEST_COMMAND)
        fail_msg("%s refused: field %s, expected %s", body, request->error.field, request->error.expected);
    return &request->command;
}

static void
assert_bytes(struct bytes bytes, const char *text)
{
    assert_int_equal(bytes.size, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.size);
}

static void
holds(void **state)
{
    (void)state; /* none */
    const struct command *command = command_with(
        "POST /v1/events/ev/holds", " {\"pass\":\"x.y\\u00e9\\ud83d\\ude00\",\"replaces\":\"" ID
                                    "\",\"hold_seconds\":120,\n\t\"best\":{\"quantity\":2,"
                                    "\"section\":\"B\"},\"pools\":[{\"name\":\"ga\",\"quantity\":2},{"
                                    "\"quantity\":1000000000,\"name\":\"vip\"}],"
                                    "\"seats\":[\"A\\/12\\/7\",\"\\u0041/12/8\"],\"user\":\"u1\"}\r\n ");
    assert_int_equal(command->type, COMMAND_HOLD);
    assert_bytes(command->event, "ev");
    assert_bytes(command->user, "u1");
    assert_int_equal(command->seat_count, 2);
    assert_bytes(command->seats[0].section, "A");
    assert_bytes(command->seats[0].row, "12");
    assert_int_equal(command->seats[0].number, 7);
    assert_bytes(command->seats[1].section, "A");
    assert_int_equal(command->seats[1].number, 8);
    assert_int_equal(command->pool_count, 2);
    assert_bytes(command->pools[1].name, "vip");
    assert_int_equal(command->pools[1].quantity, 1000000000);
    assert_int_equal(command->best_count, 2);
    assert_bytes(command->section, "B");
    assert_int_equal(command->seconds, 120);
    assert_true(command->has_replaces);
}

static void
confirm_extend_cancel(void **state)
{
    (void)state; /* none */
    const struct command *command =
        command_with("POST /v1/holds/" ID "/confirm",
                     "{\"user\":\"u1\",\"payment_ref\":\"Zahlung \xc3\xa4 1\",\"late\":true}");
    assert_int_equal(command->type, COMMAND_CONFIRM);
    assert_true(command->late);
    assert_bytes(command->payment_ref, "Zahlung \xc3\xa4 1");
    command = command_with("POST /v1/holds/" ID "/confirm", "{\"user\":\"u1\",\"late\":false}");
    assert_false(command->late);
    assert_int_equal(command->payment_ref.size, 0);
    command = command_with("POST /v1/holds/" ID "/extend", "{\"seconds\":2592000,\"user\":\"u1\"}");
    assert_int_equal(command->type, COMMAND_EXTEND);
    assert_int_equal(command->seconds, 2592000);
    assert_int_equal(command_with("POST /v1/holds/" ID "/cancel", "")->type, COMMAND_CANCEL);
    assert_int_equal(command_with("POST /v1/holds/" ID "/cancel", " {} ")->type, COMMAND_CANCEL);
}

static void
events(void **state)
{
    (void)state; /* none */
    const struct event_settings *settings =
        command_with(
            "POST /v1/events",
            "{\"id\":\"concert-42\",\"sections\":[{\"name\":\"A\",\"rows\":20,\"seats_per_row\":30},"
            "{\"name\":\"BOX\",\"rows\":[{\"name\":\"L1\",\"seats\":6},{\"seats\":8,\"name\":\"L2\"}]}],"
            "\"pools\":[{\"name\":\"ga\",\"capacity\":5000}],\"hold_seconds\":300,\"hold_seconds_max\":900,"
            "\"units_per_user_max\":4,\"opens_at\":\"2026-12-01T10:00:00.000Z\"}")
            ->settings;
    assert_int_equal(settings->section_count, 2);
    assert_int_equal(settings->row_count, 2);
    assert_int_equal(event_settings_sections(settings)[0].seat_count, 600);
    assert_int_equal(event_settings_sections(settings)[1].seat_count, 14);
    assert_int_equal(event_settings_pools(settings)[0].capacity, 5000);
    assert_true(settings->opens_at_ms == 1796119200000);
    assert_int_equal(settings->hold_seconds_max, 900);
}

static void
changes(void **state)
{
    (void)state; /* none */
    const struct event_change *change =
        command_with("PATCH /v1/events/ev",
                     "{\"status\":\"closed\",\"hold_seconds\":5,\"units_per_user_max\":0,"
                     "\"pools\":[{\"name\":\"ga\",\"capacity\":0},{\"name\":\"b\",\"capacity\":7}]}")
            ->change;
    assert_true(change->has_status);
    assert_int_equal(change->status, EVENT_CLOSED);
    assert_true(change->has_hold_seconds);
    assert_int_equal(change->hold_seconds, 5);
    assert_true(change->has_units_per_user_max);
    assert_int_equal(change->units_per_user_max, 0);
    assert_int_equal(change->pool_count, 2);
    assert_bytes(change->pools[0].name, "ga");
    assert_bytes(change->pools[1].name, "b");
    assert_int_equal(change->pools[1].quantity, 7);
    change = command_with("PATCH /v1/events/ev", "{\"status\":\"open\"}")->change;
    assert_false(change->has_hold_seconds);
    assert_int_equal(change->pool_count, 0);
}

/* 64 sections of 1,024 listed rows: the largest event there can be is taken. */
static void
largest_event(void **state)
{
    (void)state; /* none */
    char *body = malloc((size_t)SECTIONS_MAX * ROWS_MAX * 48);
    assert_non_null(body);
    size_t size = (size_t)sprintf(body, "{\"id\":\"ev\",\"sections\":[");
    for (int section = 0; section < SECTIONS_MAX; section++) {
        size += (size_t)sprintf(body + size, "%s{\"name\":\"section-%08d\",\"rows\":[",
                                section > 0 ? "," : "", section);
        for (int row = 0; row < ROWS_MAX; row++)
            size += (size_t)sprintf(body + size, "%s{\"name\":\"row-%012d\",\"seats\":%d}",
                                    row > 0 ? "," : "", row, row + 1);
        size += (size_t)sprintf(body + size, "]}");
    }
    size += (size_t)sprintf(body + size, "]}");
    const struct request *request = request_with("POST /v1/events", body, size);
    assert_int_equal(request->kind, REQUEST_COMMAND);
    assert_int_equal(request->command.settings->row_count, SECTIONS_MAX * ROWS_MAX);
    free(body);
    holds(state); /* and small ones after it */
}

/* What would take more memory than a thread has is refused, and the next request finds it all there. */
static void
memory_is_bounded(void **state)
{
    (void)state; /* none */
    size_t size = (8u << 20) - 256;
    char *body = malloc(size + 16);
    assert_non_null(body);
    size_t at = (size_t)sprintf(body, "{\"seats\":[[]");
    while (at + 5 < size)
        at += (size_t)sprintf(body + at, ",[]");
    at += (size_t)sprintf(body + at, "]}");
    const struct request *request = request_with("POST /v1/events/ev/holds", body, at);
    assert_int_equal(request->kind, REQUEST_ERROR);
    assert_string_equal(request->error.field, "body");
    assert_string_equal(request->error.expected, "a smaller JSON document");
    free(body);
    holds(state);
}

/* Nodes made outside of a decode are not in its memory: a decode in between does not touch them. */
static void
other_users_of_jansson_live_on(void **state)
{
    (void)state; /* none */
    json_t *mine = json_pack("{s:s}", "a", "b");
    holds(state);
    json_t *after = json_pack("{s:s}", "a", "b");
    holds(state);
    assert_true(json_equal(mine, after));
    json_decref(mine);
    json_decref(after);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds),
        cmocka_unit_test(confirm_extend_cancel),
        cmocka_unit_test(events),
        cmocka_unit_test(changes),
        cmocka_unit_test(largest_event),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(other_users_of_jansson_live_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
