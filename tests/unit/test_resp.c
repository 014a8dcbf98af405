/*
 * test_resp.c - the RESP codec: bad inputs, good commands, answers in both versions.
 */
#include "tests/unit/codec_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* after what it needs and does not include */
#include <cmocka.h>

static void
bad_inputs(void **state)
{
    (void)state; /* none */
    size_t count = codec_table_run(DRIVE_RESP, HOLDFAST_TESTS "/integration/bad_resp.json");
    assert_true(count >= 40);
}

static const struct request *
inline_request(const char *text)
{
    const struct request *request = drive_decode(DRIVE_RESP, text, strlen(text));
    assert_non_null(request);
    return request;
}

static void
assert_bytes(struct bytes bytes, const char *text)
{
    assert_int_equal(bytes.size, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.size);
}

static void
hold_with_everything(void **state)
{
    (void)state; /* none */
    const struct request *request = inline_request(
        "hold ev:1 u@1 KEY k1 seat A/12/7 Pool ga 2 TTL 120 BEST B 3 pass x.y.z SEAT BOX/L1/999999999 "
        "REPLACE 019811F0-7a3b-7C4D-8e5f-0123456789ab pool vip 1000000000\r\n");
    assert_int_equal(request->kind, REQUEST_COMMAND);
    const struct command *command = &request->command;
    assert_int_equal(command->type, COMMAND_HOLD);
    assert_int_equal(request->reply_context.command, COMMAND_HOLD);
    assert_bytes(command->event, "ev:1");
    assert_bytes(command->user, "u@1");
    assert_bytes(command->key, "k1");
    assert_int_equal(command->seat_count, 2);
    assert_bytes(command->seats[0].section, "A");
    assert_bytes(command->seats[0].row, "12");
    assert_int_equal(command->seats[0].number, 7);
    assert_bytes(command->seats[1].section, "BOX");
    assert_bytes(command->seats[1].row, "L1");
    assert_int_equal(command->seats[1].number, 999999999);
    assert_int_equal(command->pool_count, 2);
    assert_bytes(command->pools[0].name, "ga");
    assert_int_equal(command->pools[0].quantity, 2);
    assert_int_equal(command->pools[1].quantity, 1000000000);
    assert_int_equal(command->best_count, 3);
    assert_bytes(command->section, "B");
    assert_int_equal(command->seconds, 120);
    assert_true(command->has_replaces);
    assert_int_equal(command->replaces.byte[0], 0x01);
    assert_int_equal(command->replaces.byte[15], 0xab);
    assert_int_equal(command->request_id.size, 0);
    struct trace none = {0};
    assert_memory_equal(&command->trace, &none, sizeof none);
}

#define ID "019811f0-7a3b-7c4d-8e5f-0123456789ab"

static void
other_commands(void **state)
{
    (void)state; /* none */
    const struct command *command =
        &inline_request("CONFIRM " ID " u1 KEY k late REF \"pay 1\"\n")->command;
    assert_int_equal(command->type, COMMAND_CONFIRM);
    assert_true(command->late);
    assert_bytes(command->payment_ref, "pay 1");
    assert_bytes(command->key, "k");
    command = &inline_request("extend " ID " u1 2592000\n")->command;
    assert_int_equal(command->type, COMMAND_EXTEND);
    assert_int_equal(command->seconds, 2592000);
    assert_false(command->late);
    assert_int_equal(command->key.size, 0);
    command = &inline_request("RELEASE " ID " u1 key k\n")->command;
    assert_int_equal(command->type, COMMAND_RELEASE);
    assert_bytes(command->user, "u1");
    assert_int_equal(inline_request("CANCEL " ID "\n")->command.type, COMMAND_CANCEL);
    assert_int_equal(inline_request("GETHOLD " ID "\n")->command.type, COMMAND_HOLD_GET);
    assert_int_equal(inline_request("HOLDS ev u1\n")->command.type, COMMAND_HOLDS);
    assert_int_equal(inline_request("EVENT GET ev\n")->command.type, COMMAND_EVENT_GET);
    assert_int_equal(inline_request("EVENT LIST\n")->kind, REQUEST_EVENT_LIST);
    command = &inline_request("seats ev A\n")->command;
    assert_int_equal(command->type, COMMAND_SEATS);
    assert_bytes(command->section, "A");
}

static void
event_commands(void **state)
{
    (void)state; /* none */
    const struct command *command =
        &inline_request("EVENT CREATE ev ROW BOX L1 6 SECTION A 20 30 ROW BOX L2 8 POOL ga 5000 "
                        "HOLD 10 HOLDMAX 20 LIMIT 4 OPENS 1700000000123\n")
             ->command;
    assert_int_equal(command->type, COMMAND_EVENT_CREATE);
    const struct event_settings *settings = command->settings;
    assert_int_equal(settings->section_count, 2);
    assert_int_equal(settings->pool_count, 1);
    assert_int_equal(settings->row_count, 2);
    assert_int_equal(settings->hold_seconds, 10);
    assert_int_equal(settings->hold_seconds_max, 20);
    assert_int_equal(settings->units_per_user_max, 4);
    assert_true(settings->opens_at_ms == 1700000000123);
    command = &inline_request(
                   "event set ev STATUS paused hold_seconds 5 units_per_user_max 0 pool.a.b.capacity 7\n")
                   ->command;
    assert_int_equal(command->type, COMMAND_EVENT_SET);
    assert_true(command->change->has_status);
    assert_int_equal(command->change->status, EVENT_PAUSED);
    assert_int_equal(command->change->hold_seconds, 5);
    assert_true(command->change->has_units_per_user_max);
    assert_int_equal(command->change->units_per_user_max, 0);
    assert_int_equal(command->change->pool_count, 1);
    assert_bytes(command->change->pools[0].name, "a.b");
    assert_int_equal(command->change->pools[0].quantity, 7);
}

static void
server_commands(void **state)
{
    (void)state; /* none */
    static const struct {
        const char *text;
        enum request_kind kind;
        const char *argument;
    } rows[] = {
        {"ping\r\n", REQUEST_PING, ""},
        {"PING \"a\\x41\\n\"\r\n", REQUEST_PING, "aA\n"},
        {"ping 'it\\'s'\n", REQUEST_PING, "it's"},
        {"ECHO ''\r\n", REQUEST_ECHO, ""},
        {"HELLO\r\n", REQUEST_HELLO, ""},
        {"HELLO 3 AUTH a b SETNAME me\r\n", REQUEST_HELLO, "me"},
        {"AUTH user password\r\n", REQUEST_AUTH, "password"},
        {"INFO server\r\n", REQUEST_INFO, "server"},
        {"CLIENT SETNAME me\r\n", REQUEST_CLIENT_SETNAME, "me"},
        {"CLIENT setinfo LIB-NAME redis-py\r\n", REQUEST_CLIENT_SETINFO, "redis-py"},
        {"CLIENT GETNAME\r\n", REQUEST_CLIENT_GETNAME, ""},
        {"client id\r\n", REQUEST_CLIENT_ID, ""},
        {"CONFIG GET save\r\n", REQUEST_CONFIG_GET, "save"},
        {"SELECT 0\r\n", REQUEST_SELECT, ""},
        {"QUIT\r\n", REQUEST_QUIT, ""},
        {"RESET\r\n", REQUEST_RESET, ""},
        {"COMMAND\r\n", REQUEST_COMMAND_TABLE, ""},
        {"COMMAND DOCS\r\n", REQUEST_COMMAND_TABLE, "$4\r\nDOCS\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct request *request = inline_request(rows[i].text);
        assert_int_equal(request->kind, rows[i].kind);
        assert_bytes(request->argument, rows[i].argument);
    }
    assert_int_equal(inline_request("HELLO 3\r\n")->resp_version, 3);
    assert_int_equal(inline_request("HELLO\r\n")->resp_version, 0);
}

/* Framing looks at each byte once: a large request a byte at a time must not take quadratic time, which
 * for these ten million arguments' bytes would be hours. */
static void
large_request_by_the_byte(void **state)
{
    (void)state; /* none */
    uint32_t rows = SECTIONS_MAX * ROWS_MAX;
    char *data = malloc((size_t)rows * 64 + 256);
    assert_non_null(data);
    size_t size = (size_t)sprintf(data, "*%u\r\n$5\r\nEVENT\r\n$6\r\nCREATE\r\n$2\r\nev\r\n", 3 + 4 * rows);
    for (uint32_t i = 0; i < rows; i++) {
        char section[8];
        char row[8];
        int section_size = snprintf(section, sizeof section, "S%u", i / ROWS_MAX);
        int row_size = snprintf(row, sizeof row, "R%u", i % ROWS_MAX);
        size += (size_t)sprintf(data + size, "$3\r\nROW\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$1\r\n7\r\n",
                                section_size, section, row_size, row);
    }
    struct frame frame = {0};
    struct request_error error;
    size_t frame_size = 0;
    for (size_t i = 1; i < size; i++)
        assert_int_equal(resp_frame(&frame, &drive_limits, data, i, &frame_size, &error), FRAME_PARTIAL);
    assert_int_equal(resp_frame(&frame, &drive_limits, data, size, &frame_size, &error), FRAME_WHOLE);
    assert_int_equal(frame_size, size);
    const struct request *request = drive_decode(DRIVE_RESP, data, size);
    assert_int_equal(request->kind, REQUEST_COMMAND);
    assert_int_equal(request->command.settings->row_count, rows);
    free(data);
}

static void
request_over_the_limit(void **state)
{
    (void)state; /* none */
    struct codec_limits limits = {.request_bytes_max = 64, .head_bytes_max = 64};
    static const char exact[] =
        "*2\r\n$4\r\nECHO\r\n$43\r\n0123456789012345678901234567890123456789012\r\n";
    static const char above[] = "*2\r\n$4\r\nECHO\r\n$44\r\n";
    struct frame frame = {0};
    struct request_error error;
    size_t size = 0;
    assert_int_equal(sizeof exact - 1, 64);
    assert_int_equal(resp_frame(&frame, &limits, exact, 64, &size, &error), FRAME_WHOLE);
    frame = (struct frame){0};
    assert_int_equal(resp_frame(&frame, &limits, above, sizeof above - 1, &size, &error), FRAME_ERROR);
    assert_string_equal(error.text, "ERR Protocol error: too big request");
    assert_true(error.close);
}

static void
skips_what_asks_nothing(void **state)
{
    (void)state; /* none */
    static const char input[] = "\r\n*0\r\n*-10\r\n   \r\n\nPING\r\n*1\r\n$4\r\nping\r\n";
    struct drive_text answers = {0};
    bool closed;
    drive(DRIVE_RESP, input, sizeof input - 1, 0, 1, &answers, &closed);
    assert_false(closed);
    assert_string_equal(answers.data,
                        "kind=4 http=0 keep=1  argument=0:\nkind=4 http=0 keep=1  argument=0:\n");
    drive_free(&answers);
}

/* ---- answers ---- */

static const struct event_settings *
hall(void)
{
    return inline_request("EVENT CREATE ev SECTION A 2 3 ROW BOX L1 2 ROW BOX L2 3 POOL ga 50\n")
        ->command.settings;
}

static void
assert_encoded(const struct reply *reply, enum command_type command, uint8_t version, const char *expected)
{
    struct drive_text text = {0};
    struct reply_context context = {
        .resp_version = version, .kind = REQUEST_COMMAND, .command = (uint8_t)command};
    struct output output = drive_output(&text);
    resp_encode(&output, &context, reply, 1000);
    drive_output_end(&output);
    assert_string_equal(text.data, expected);
    drive_free(&text);
}

static struct reply
hold_reply(void)
{
    static const uint8_t id[16] = {0x01, 0x98, 0x11, 0xf0, 0x7a, 0x3b, 0x7c, 0x4d,
                                   0x8e, 0x5f, 1,    0x23, 0x45, 0x67, 0x89, 0xab};
    struct reply reply = {.kind = REPLY_HOLD, .created = true};
    memcpy(reply.hold.id.byte, id, sizeof id);
    reply.hold.event = hall();
    reply.hold.user = (struct bytes){"u1", 2};
    reply.hold.state = HOLD_HELD;
    reply.hold.deadline_ms = 301000;
    reply.hold.seat_count = 2;
    reply.hold.seats[0].ref = SEAT_REF(0, 1, 3);
    reply.hold.seats[0].version = 1;
    reply.hold.seats[1].ref = SEAT_REF(1, 0, 2);
    reply.hold.seats[1].version = 4294967295u;
    reply.hold.pool_count = 1;
    reply.hold.pools[0].quantity = 2;
    return reply;
}

static void
answers_of_holds(void **state)
{
    (void)state; /* none */
    struct reply reply = hold_reply();
    assert_encoded(&reply, COMMAND_HOLD, 2,
                   "*6\r\n$36\r\n" ID
                   "\r\n:301000\r\n$5\r\nA/2/3\r\n:1\r\n$8\r\nBOX/L1/2\r\n:4294967295\r\n");
    assert_encoded(&reply, COMMAND_EXTEND, 2, ":301000\r\n");
    assert_encoded(&reply, COMMAND_CONFIRM, 3, "+OK\r\n");
    assert_encoded(&reply, COMMAND_RELEASE, 3, "+OK\r\n");
    assert_encoded(&reply, COMMAND_CANCEL, 3, "+OK\r\n");
    assert_encoded(&reply, COMMAND_HOLD_GET, 3,
                   "%8\r\n$4\r\nhold\r\n$36\r\n" ID
                   "\r\n$5\r\nevent\r\n$2\r\nev\r\n$4\r\nuser\r\n$2\r\nu1\r\n"
                   "$5\r\nstate\r\n$4\r\nheld\r\n$5\r\nseats\r\n*2\r\n%2\r\n$4\r\nseat\r\n$5\r\nA/2/"
                   "3\r\n$7\r\nversion\r\n:1\r\n"
                   "%2\r\n$4\r\nseat\r\n$8\r\nBOX/L1/2\r\n$7\r\nversion\r\n:4294967295\r\n"
                   "$5\r\npools\r\n*1\r\n%2\r\n$4\r\nname\r\n$2\r\nga\r\n$8\r\nquantity\r\n:2\r\n"
                   "$11\r\ndeadline_ms\r\n:301000\r\n$14\r\ndeadline_in_ms\r\n:300000\r\n");
    reply.hold.seat_count = 0;
    reply.hold.state = HOLD_EXPIRED;
    reply.hold.deadline_ms = 999;
    assert_encoded(&reply, COMMAND_HOLD_GET, 2,
                   "*16\r\n$4\r\nhold\r\n$36\r\n" ID
                   "\r\n$5\r\nevent\r\n$2\r\nev\r\n$4\r\nuser\r\n$2\r\nu1\r\n"
                   "$5\r\nstate\r\n$7\r\nexpired\r\n$5\r\nseats\r\n*0\r\n"
                   "$5\r\npools\r\n*1\r\n*4\r\n$4\r\nname\r\n$2\r\nga\r\n$8\r\nquantity\r\n:2\r\n"
                   "$11\r\ndeadline_ms\r\n:999\r\n$14\r\ndeadline_in_ms\r\n:0\r\n");
}

static void
answers_of_maps(void **state)
{
    (void)state; /* none */
    const struct event_settings *event = hall();
    struct map_view map = {
        .event = event, .section = 1, .row_from = 0, .row_to = 1, .row_count = 2, .letters = "FH"};
    struct reply reply = {.kind = REPLY_MAP, .map = &map};
    assert_encoded(&reply, COMMAND_SEATS, 2, "*4\r\n$2\r\nL1\r\n$2\r\nFH\r\n");
    map = (struct map_view){
        .event = event, .section = 1, .row_from = 1, .row_to = 2, .row_count = 2, .letters = "SSF"};
    assert_encoded(&reply, COMMAND_SEATS, 2, "$2\r\nL2\r\n$3\r\nSSF\r\n");
}

static void
answers_of_events(void **state)
{
    (void)state; /* none */
    static struct event_view view;
    event_view_fill(&view, inline_request("EVENT CREATE e POOL ga 50 OPENS 5\n")->command.settings, 1000);
    view.total = (struct unit_counts){50, 48, 1, 1};
    view.pools[0] = view.total;
    struct reply reply = {.kind = REPLY_EVENT, .event_view = &view};
    assert_encoded(
        &reply, COMMAND_EVENT_GET, 3,
        "%10\r\n$2\r\nid\r\n$1\r\ne\r\n$6\r\nstatus\r\n$4\r\nopen\r\n$8\r\nsections\r\n*0\r\n$"
        "5\r\npools\r\n*1\r\n"
        "%3\r\n$4\r\nname\r\n$2\r\nga\r\n$8\r\ncapacity\r\n:50\r\n$6\r\ncounts\r\n"
        "%4\r\n$8\r\ncapacity\r\n:50\r\n$4\r\nfree\r\n:48\r\n$4\r\nheld\r\n:1\r\n$4\r\nsold\r\n:1\r\n"
        "$12\r\nhold_seconds\r\n:300\r\n$16\r\nhold_seconds_max\r\n:900\r\n$18\r\nunits_per_user_max\r\n:"
        "0\r\n"
        "$11\r\nopens_at_ms\r\n:5\r\n$11\r\nopens_in_ms\r\n:0\r\n$6\r\ncounts\r\n"
        "%4\r\n$8\r\ncapacity\r\n:50\r\n$4\r\nfree\r\n:48\r\n$4\r\nheld\r\n:1\r\n$4\r\nsold\r\n:1\r\n");
}

static void
refusals_carry_figures(void **state)
{
    (void)state; /* none */
    struct reply reply = hold_reply();
    reply.status = STATUS_HELD;
    reply.figures = FIGURE_UNIT | FIGURE_REMAINING | FIGURE_NEXT_DEADLINE | FIGURE_OWN;
    reply.unit_size = 5;
    memcpy(reply.unit, "A/1/1", 5);
    reply.remaining = 7;
    reply.next_deadline_ms = 1500;
    reply.own = reply.hold.id;
    assert_encoded(&reply, COMMAND_HOLD, 2,
                   "-HELD the seat is held unit=A/1/1 remaining=7 next_deadline_in_ms=500 own=" ID "\r\n");
    reply = (struct reply){.status = STATUS_LIMIT, .figures = FIGURE_LIMIT, .limit = 4, .used = 3};
    assert_encoded(&reply, COMMAND_HOLD, 2,
                   "-LIMIT the user would be over the limit of units limit=4 used=3\r\n");
    reply =
        (struct reply){.status = STATUS_NOEXTEND, .figures = FIGURE_DEADLINE_MAX, .deadline_max_ms = 900};
    assert_encoded(&reply, COMMAND_EXTEND, 2,
                   "-NOEXTEND the hold cannot be extended further deadline_max_in_ms=0\r\n");
    reply = (struct reply){.status = STATUS_CLOSED, .figures = FIGURE_OPENS_AT, .opens_at_ms = 1001};
    assert_encoded(&reply, COMMAND_HOLD, 2, "-CLOSED the event takes no holds now opens_in_ms=1\r\n");
    reply = (struct reply){.status = STATUS_NOADJACENT, .figures = FIGURE_LARGEST_RUN, .largest_run = 2};
    assert_encoded(&reply, COMMAND_HOLD, 2,
                   "-NOADJACENT not so many seats are free side by side largest_run=2\r\n");
    reply = (struct reply){.status = STATUS_BADREQUEST,
                           .figures = FIGURE_FIELD,
                           .field = "pools.capacity",
                           .expected = "more"};
    assert_encoded(&reply, COMMAND_EVENT_SET, 2, "-BADREQUEST expected more field=pools.capacity\r\n");
}

static void
plain_values(void **state)
{
    (void)state; /* none */
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    resp_integer(&output, INT64_MIN);
    resp_integer(&output, 0);
    resp_map(&output, 2, 2);
    resp_map(&output, 3, 2);
    resp_null(&output, 2);
    resp_null(&output, 3);
    resp_array(&output, 4294967295u);
    resp_simple(&output, "PONG");
    resp_bulk(&output, (struct bytes){"", 0});
    drive_output_end(&output);
    assert_string_equal(
        text.data,
        ":-9223372036854775808\r\n:0\r\n*4\r\n%2\r\n$-1\r\n_\r\n*4294967295\r\n+PONG\r\n$0\r\n\r\n");
    drive_free(&text);
}

static void
command_table(void **state)
{
    (void)state; /* none */
    struct reply_context context = {.resp_version = 3};
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    const struct request *request = inline_request("COMMAND INFO hold nothing\r\n");
    resp_encode_command_table(&output, &context, request->argument);
    request = inline_request("COMMAND DOCS HOLD\r\n");
    resp_encode_command_table(&output, &context, request->argument);
    request = inline_request("COMMAND COUNT\r\n");
    resp_encode_command_table(&output, &context, request->argument);
    drive_output_end(&output);
    assert_string_equal(
        text.data,
        "*2\r\n*10\r\n$4\r\nhold\r\n:-3\r\n*1\r\n+write\r\n:0\r\n:0\r\n:0\r\n"
        "*0\r\n*0\r\n*0\r\n*0\r\n_\r\n"
        "%1\r\n$4\r\nhold\r\n%2\r\n$7\r\nsummary\r\n$41\r\nHolds seats and units of pools for a user\r\n"
        "$5\r\ngroup\r\n$8\r\nholdfast\r\n:21\r\n");
    drive_free(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_inputs),
        cmocka_unit_test(hold_with_everything),
        cmocka_unit_test(other_commands),
        cmocka_unit_test(event_commands),
        cmocka_unit_test(server_commands),
        cmocka_unit_test(large_request_by_the_byte),
        cmocka_unit_test(request_over_the_limit),
        cmocka_unit_test(skips_what_asks_nothing),
        cmocka_unit_test(answers_of_holds),
        cmocka_unit_test(answers_of_maps),
        cmocka_unit_test(answers_of_events),
        cmocka_unit_test(refusals_carry_figures),
        cmocka_unit_test(plain_values),
        cmocka_unit_test(command_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
