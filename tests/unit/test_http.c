/*
 * test_http.c - the HTTP codec: bad inputs, heads, routes, answers. Bodies of commands: test_json.c.
 */
#include "net/codec_internal.h"
#include "tests/unit/codec_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* after what it needs and does not include */
#include <cmocka.h>

#define ID "019811f0-7a3b-7c4d-8e5f-0123456789ab"

static void
bad_inputs(void **state)
{
    (void)state; /* none */
    size_t count = codec_table_run(DRIVE_HTTP, HOLDFAST_TESTS "/integration/bad_http.json");
    assert_true(count >= 60);
}

static const struct request *
http_request(const char *text)
{
    const struct request *request = drive_decode(DRIVE_HTTP, text, strlen(text));
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
routes(void **state)
{
    (void)state; /* none */
    static const struct {
        const char *line;
        enum request_kind kind;
        int command;
    } rows[] = {
        {"GET /v1/events", REQUEST_EVENT_LIST, COMMAND_EVENT_GET},
        {"GET /v1/events?", REQUEST_EVENT_LIST, COMMAND_EVENT_GET},
        {"GET /v1/events/ev", REQUEST_COMMAND, COMMAND_EVENT_GET},
        {"GET /%76%31/events/%65v", REQUEST_COMMAND, COMMAND_EVENT_GET},
        {"GET http://other.example:80/v1/events/ev", REQUEST_COMMAND, COMMAND_EVENT_GET},
        {"GET HTTP://[::1]/v1/events/ev", REQUEST_COMMAND, COMMAND_EVENT_GET},
        {"GET /v1/events/ev/seats?section=A", REQUEST_COMMAND, COMMAND_SEATS},
        {"GET /v1/events/ev/seats?&%73ection=%41&", REQUEST_COMMAND, COMMAND_SEATS},
        {"GET /v1/events/ev/users/u1", REQUEST_COMMAND, COMMAND_HOLDS},
        {"GET /v1/holds/" ID, REQUEST_COMMAND, COMMAND_HOLD_GET},
        {"DELETE /v1/holds/" ID "?user=u1", REQUEST_COMMAND, COMMAND_RELEASE},
        {"POST /v1/holds/" ID "/cancel", REQUEST_COMMAND, COMMAND_CANCEL},
        {"GET /healthz", REQUEST_HEALTHZ, 0},
        {"GET /readyz", REQUEST_READYZ, 0},
        {"GET /metrics", REQUEST_METRICS, 0},
        {"GET /openapi.yaml", REQUEST_OPENAPI, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: a\r\n\r\n", rows[i].line);
        const struct request *request = http_request(text);
        assert_int_equal(request->kind, rows[i].kind);
        assert_int_equal(request->reply_context.command, rows[i].command);
        if (rows[i].command == COMMAND_SEATS)
            assert_bytes(request->command.section, "A");
        if (rows[i].command == COMMAND_HOLDS || rows[i].command == COMMAND_RELEASE)
            assert_bytes(request->command.user, "u1");
    }
}

static void
good_hosts(void **state)
{
    (void)state; /* none */
    static const char *const hosts[] = {"a",          "a.example", "127.0.0.1:7780", "[::1]",
                                        "[::1]:7780", "a:",        "A-b_c~d",        "%41"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "GET /healthz HTTP/1.1\r\nhOST:\t%s \t\r\n\r\n", hosts[i]);
        assert_int_equal(http_request(text)->kind, REQUEST_HEALTHZ);
    }
}

static void
headers(void **state)
{
    (void)state; /* none */
    const struct request *request =
        http_request("GET /v1/events/ev HTTP/1.1\r\nHost: a\r\nAccept: "
                     "\xe4\r\nX-Empty:\r\nx-request-id:r-1\r\nIDEMPOTENCY-KEY: a key \r\n"
                     "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
    assert_int_equal(request->kind, REQUEST_COMMAND);
    assert_bytes(request->command.request_id, "r-1");
    assert_bytes(request->command.key, "a key");
    assert_int_equal(request->command.trace.trace_id[0], 0x0a);
    assert_int_equal(request->command.trace.trace_id[15], 0x9c);
    assert_int_equal(request->command.trace.parent_id[0], 0xb7);
    assert_int_equal(request->command.trace.flags, 1);
    assert_int_equal(request->reply_context.keep_alive, 1);
    assert_int_equal(request->reply_context.http, 11);
}

#define TRACE_AGAIN "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void
bad_traceparents_make_fresh_ones(void **state)
{
    (void)state; /* none */
    static const char *const values[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" TRACE_AGAIN),
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "GET /healthz HTTP/1.1\r\nHost: a\r\ntraceparent: %s\r\n\r\n",
                       values[i]);
        const struct trace *trace = &http_request(text)->reply_context.trace;
        assert_int_equal(trace->trace_id[0], 1);
        assert_int_equal(trace->parent_id[0], 17);
        assert_int_equal(trace->flags, 0);
    }
    const struct trace *later =
        &http_request("GET /healthz HTTP/1.1\r\nHost: a\r\n"
                      "traceparent: 01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x\r\n\r\n")
             ->reply_context.trace;
    assert_int_equal(later->trace_id[0], 0x0a);
}

static void
when_the_connection_closes(void **state)
{
    (void)state; /* none */
    static const struct {
        const char *head;
        int keep_alive;
    } rows[] = {
        {"1.1\r\nHost: a\r\n", 1},
        {"1.1\r\nHost: a\r\nConnection: keep-alive\r\n", 1},
        {"1.1\r\nHost: a\r\nConnection: Close\r\n", 0},
        {"1.1\r\nHost: a\r\nConnection: upgrade ,\tclose , x\r\n", 0},
        {"1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n", 0},
        {"1.1\r\nHost: a\r\nConnection: closed\r\n", 1},
        {"1.0\r\n", 0},
        {"1.0\r\nHost: a\r\nConnection: keep-alive\r\n", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "GET /healthz HTTP/%s\r\n", rows[i].head);
        assert_int_equal(http_request(text)->reply_context.keep_alive, rows[i].keep_alive);
    }
}

static void
pipelined(void **state)
{
    (void)state; /* none */
    static const char input[] =
        "\r\nGET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"
        "DELETE /v1/holds/" ID "?user=u1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
        "\r\n\r\nGET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /metrics HTTP/1.1\r\n";
    for (size_t step = 1; step < sizeof input; step++) {
        struct drive_text answers = {0};
        bool closed;
        drive(DRIVE_HTTP, input, sizeof input - 1, step, step, &answers, &closed);
        assert_true(closed);
        const char *healthz = "kind=18 http=11 keep=1 \nkind=1 http=11 keep=1 command=4 ";
        assert_memory_equal(answers.data, healthz, strlen(healthz));
        const char *readyz = strstr(answers.data, "kind=19 http=11 keep=0 \n");
        assert_non_null(readyz);
        assert_string_equal(readyz, "kind=19 http=11 keep=0 \n");
        drive_free(&answers);
    }
}

/* HEAD is routed as GET is; where it is refused the answer has the refusal's head, but no content: the next
 * answer follows at once. */
static void
head_has_no_content(void **state)
{
    (void)state; /* none */
    static const char input[] =
        "HEAD /v1/events/ev/holds HTTP/1.1\r\nHost: a\r\n\r\nHEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    struct drive_text answers = {0};
    bool closed;
    drive(DRIVE_HTTP, input, sizeof input - 1, 0, 1, &answers, &closed);
    assert_false(closed);
    assert_non_null(strstr(answers.data, "HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_non_null(strstr(answers.data, "\r\nAllow: POST\r\n"));
    assert_non_null(strstr(answers.data, "\r\n\r\nkind=18 http=11 keep=1 \n"));
    drive_free(&answers);
}

static void
expectation(void **state)
{
    (void)state; /* none */
    static const char head[] =
        "POST /v1/events/ev/holds HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    struct frame frame = {0};
    struct request_error error;
    size_t size = 0;
    assert_int_equal(http_frame(&frame, &drive_limits, head, sizeof head - 2, &size, &error),
                     FRAME_PARTIAL);
    assert_false(frame.expect_continue);
    assert_int_equal(http_frame(&frame, &drive_limits, head, sizeof head - 1, &size, &error),
                     FRAME_PARTIAL);
    assert_true(frame.expect_continue);
    frame.expect_continue = false;
    assert_int_equal(http_frame(&frame, &drive_limits, head, sizeof head - 1, &size, &error),
                     FRAME_PARTIAL);
    assert_false(frame.expect_continue);

    static const char old[] = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    frame = (struct frame){0};
    assert_int_equal(http_frame(&frame, &drive_limits, old, sizeof old - 1, &size, &error), FRAME_PARTIAL);
    assert_false(frame.expect_continue);
}

static void
bounds_are_exact(void **state)
{
    (void)state; /* none */
    struct codec_limits limits = {.request_bytes_max = 60, .head_bytes_max = 52};
    static const char exact[] = "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n";
    struct frame frame = {0};
    struct request_error error;
    size_t size = 0;
    assert_int_equal(sizeof exact - 1, 56);
    limits.head_bytes_max = 56;
    limits.request_bytes_max = 64;
    assert_int_equal(http_frame(&frame, &limits, exact, 56, &size, &error), FRAME_PARTIAL);
    frame = (struct frame){0};
    limits.request_bytes_max = 63;
    assert_int_equal(http_frame(&frame, &limits, exact, 56, &size, &error), FRAME_ERROR);
    assert_int_equal(error.http_status, 413);
    frame = (struct frame){0};
    limits.head_bytes_max = 55;
    assert_int_equal(http_frame(&frame, &limits, exact, 56, &size, &error), FRAME_ERROR);
    assert_int_equal(error.http_status, 431);
    frame = (struct frame){0};
    limits.head_bytes_max = 25;
    assert_int_equal(http_frame(&frame, &limits, exact, 56, &size, &error), FRAME_ERROR);
    assert_int_equal(error.http_status, 414);
}

/* A large head and body a byte at a time: each byte looked at once, or this would take minutes. */
static void
large_request_by_the_byte(void **state)
{
    (void)state; /* none */
    size_t body = 4 << 20;
    char *data = malloc(body + 16384);
    assert_non_null(data);
    size_t size =
        (size_t)sprintf(data, "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n", body);
    for (int i = 0; i < 90; i++)
        size += (size_t)sprintf(data + size, "X-Header-%d: %0100d\r\n", i, i);
    size += (size_t)sprintf(data + size, "\r\n");
    memset(data + size, ' ', body);
    size += body;
    struct frame frame = {0};
    struct request_error error;
    size_t frame_size = 0;
    for (size_t i = 1; i < size; i++)
        assert_int_equal(http_frame(&frame, &drive_limits, data, i, &frame_size, &error), FRAME_PARTIAL);
    assert_int_equal(http_frame(&frame, &drive_limits, data, size, &frame_size, &error), FRAME_WHOLE);
    assert_int_equal(frame_size, size);
    free(data);
}

/* ---- answers ---- */

#define TRACE "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
#define DATE  "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
#define NOW   784111777000u

static const char event_text[] =
    "EVENT CREATE ev SECTION A 2 3 ROW BOX L1 2 ROW BOX L2 3 POOL ga 50 OPENS 1000\n";

static struct reply_context
context_of(enum request_kind kind)
{
    const struct request *request =
        http_request("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-ID: r-1\r\n" TRACE "\r\n");
    struct reply_context context = request->reply_context;
    context.kind = (uint8_t)kind;
    return context;
}

static void
assert_encoded(const struct reply_context *context, const struct reply *reply, const char *expected)
{
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    http_encode(&output, context, reply, NOW);
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
    reply.hold.event = drive_decode(DRIVE_RESP, event_text, sizeof event_text - 1)->command.settings;
    reply.hold.user = (struct bytes){"u1", 2};
    reply.hold.state = HOLD_HELD;
    reply.hold.deadline_ms = NOW + 299998;
    reply.hold.seat_count = 2;
    reply.hold.seats[0].ref = SEAT_REF(0, 1, 3);
    reply.hold.seats[0].version = 3;
    reply.hold.seats[1].ref = SEAT_REF(1, 0, 2);
    reply.hold.seats[1].version = 4294967295u;
    reply.hold.pool_count = 1;
    reply.hold.pools[0].quantity = 2;
    return reply;
}

#define HOLD_JSON                                                                                          \
    "{\"hold\":\"" ID                                                                                      \
    "\",\"event\":\"ev\",\"user\":\"u1\",\"state\":\"held\",\"seats\":[{\"seat\":\"A/2/3\","               \
    "\"version\":3},{\"seat\":\"BOX/L1/"                                                                   \
    "2\",\"version\":4294967295}],\"pools\":[{\"name\":\"ga\",\"quantity\":2}],"                           \
    "\"deadline\":\"1994-11-06T08:54:36.998Z\",\"deadline_in_ms\":299998}"

static void
answers_of_holds(void **state)
{
    (void)state; /* none */
    struct reply_context context = context_of(REQUEST_COMMAND);
    struct reply reply = hold_reply();
    assert_int_equal(sizeof HOLD_JSON - 1, 266);
    assert_encoded(&context, &reply,
                   "HTTP/1.1 201 Created\r\n" DATE "Content-Type: application/json\r\n" TRACE
                   "X-Request-ID: r-1\r\nContent-Length: 266\r\n\r\n" HOLD_JSON);
    context.request_id_size = 0;
    context.keep_alive = 0;
    reply.created = false;
    reply.replayed = true;
    assert_encoded(
        &context, &reply,
        "HTTP/1.1 200 OK\r\n" DATE "Content-Type: application/json\r\n" TRACE
        "Connection: close\r\nIdempotent-Replayed: true\r\nContent-Length: 266\r\n\r\n" HOLD_JSON);
}

/* The largest hold there can be fits what is reserved for it: the sanitizer and the assertions look. */
static void
largest_hold(void **state)
{
    (void)state; /* none */
    char text[2048];
    size_t size = (size_t)sprintf(text, "EVENT CREATE %064d ROW ................ xxxxxxxxxxxxxxxx 1024", 0);
    for (int i = 0; i < HOLD_POOLS_MAX; i++)
        size += (size_t)sprintf(text + size, " POOL %016d 1000000000", i);
    size += (size_t)sprintf(text + size, "\n");
    struct reply reply = {.kind = REPLY_HOLD};
    reply.hold.event = drive_decode(DRIVE_RESP, text, size)->command.settings;
    char user[USER_ID_SIZE_MAX];
    memset(user, 'u', sizeof user);
    reply.hold.user = (struct bytes){user, sizeof user};
    reply.hold.state = HOLD_CONFIRMED;
    reply.hold.deadline_ms = 253402300799999;
    reply.hold.seat_count = HOLD_SEATS_MAX;
    for (uint32_t i = 0; i < HOLD_SEATS_MAX; i++) {
        reply.hold.seats[i].ref = SEAT_REF(0, 0, 1024 - i);
        reply.hold.seats[i].version = UINT32_MAX;
    }
    reply.hold.pool_count = HOLD_POOLS_MAX;
    for (uint32_t i = 0; i < HOLD_POOLS_MAX; i++) {
        reply.hold.pools[i].pool = i;
        reply.hold.pools[i].quantity = 1000000000;
    }
    struct reply_context context = context_of(REQUEST_COMMAND);
    struct reply_context resp = {.resp_version = 2, .command = COMMAND_HOLD};
    struct drive_text out = {0};
    struct output output = drive_output(&out);
    http_encode(&output, &context, &reply, 0);
    drive_output_end(&output);
    assert_non_null(
        strstr(out.data, "\"deadline\":\"9999-12-31T23:59:59.999Z\",\"deadline_in_ms\":253402300799999}"));
    resp_encode(&output, &resp, &reply, 0);
    drive_output_end(&output);
    drive_free(&out);
}

static void
answers_of_maps(void **state)
{
    (void)state; /* none */
    struct reply_context context = context_of(REQUEST_COMMAND);
    context.request_id_size = 0;
    struct reply reply = hold_reply();
    struct map_view map = {
        .event = reply.hold.event, .section = 1, .row_to = 1, .row_count = 2, .letters = "FH"};
    reply = (struct reply){.kind = REPLY_MAP, .map = &map};
    assert_encoded(&context, &reply,
                   "HTTP/1.1 200 OK\r\n" DATE "Content-Type: application/json\r\n" TRACE
                   "Transfer-Encoding: chunked\r\n\r\n"
                   "32\r\n{\"section\":\"BOX\",\"rows\":[{\"row\":\"L1\",\"seats\":\"FH\"}\r\n");
    map = (struct map_view){
        .event = map.event, .section = 1, .row_from = 1, .row_to = 2, .row_count = 2, .letters = "SSF"};
    assert_encoded(&context, &reply, "1d\r\n,{\"row\":\"L2\",\"seats\":\"SSF\"}]}\r\n0\r\n\r\n");
    context.http = 10;
    assert_encoded(&context, &reply, ",{\"row\":\"L2\",\"seats\":\"SSF\"}]}");
}

static void
answers_of_events(void **state)
{
    (void)state; /* none */
    static struct event_view view;
    event_view_fill(&view, hold_reply().hold.event, NOW);
    view.total = (struct unit_counts){61, 60, 1, 0};
    view.sections[0] = (struct unit_counts){6, 6, 0, 0};
    view.pools[0] = (struct unit_counts){50, 50, 0, 0};
    view.sections[1] = (struct unit_counts){5, 4, 1, 0};
    struct reply reply = {.kind = REPLY_EVENT, .event_view = &view, .created = true};
    struct reply_context context = context_of(REQUEST_COMMAND);
    context.request_id_size = 0;
#define EVENT_JSON                                                                                         \
    "{\"id\":\"ev\",\"status\":\"open\",\"hold_seconds\":300,\"hold_seconds_max\":900,\"units_per_user_"   \
    "max\":0,"                                                                                             \
    "\"opens_at\":\"1970-01-01T00:00:01.000Z\",\"opens_in_ms\":0,"                                         \
    "\"sections\":[{\"name\":\"A\",\"rows\":2,\"seats_per_"                                                \
    "row\":3,"                                                                                             \
    "\"counts\":{\"capacity\":6,\"free\":6,\"held\":0,\"sold\":0}},{\"name\":\"BOX\",\"rows\":[{\"name\":" \
    "\"L1\","                                                                                              \
    "\"seats\":2},{\"name\":\"L2\",\"seats\":3}],\"counts\":{\"capacity\":5,\"free\":4,\"held\":1,"        \
    "\"sold\":0}}],"                                                                                       \
    "\"pools\":[{\"name\":\"ga\",\"capacity\":50,\"counts\":{\"capacity\":50,\"free\":50,\"held\":0,"      \
    "\"sold\":0}}],"                                                                                       \
    "\"counts\":{\"capacity\":61,\"free\":60,\"held\":1,\"sold\":0}}"
    char expected[2048];
    (void)snprintf(expected, sizeof expected,
                   "HTTP/1.1 201 Created\r\n" DATE "Content-Type: application/json\r\n" TRACE
                   "Content-Length: %zu\r\n\r\n" EVENT_JSON,
                   sizeof EVENT_JSON - 1);
    assert_encoded(&context, &reply, expected);

    context.kind = REQUEST_EVENT_LIST;
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    http_encode_list_begin(&output, &context);
    http_encode_list_separator(&output, &context, 0);
    http_encode(&output, &context, &reply, NOW);
    http_encode_list_separator(&output, &context, 1);
    http_encode_list_end(&output, &context);
    drive_output_end(&output);
    (void)snprintf(expected, sizeof expected,
                   "HTTP/1.1 200 OK\r\n" DATE "Content-Type: application/json\r\n" TRACE
                   "Transfer-Encoding: chunked\r\n\r\nb\r\n{\"events\":[\r\n%zx\r\n" EVENT_JSON
                   "\r\n1\r\n,\r\n2\r\n]}\r\n0\r\n\r\n",
                   sizeof EVENT_JSON - 1);
    assert_string_equal(text.data, expected);
    drive_free(&text);
}

static void
every_status_answers(void **state)
{
    (void)state; /* none */
    static const uint16_t expected[STATUS_COUNT] = {
        [STATUS_NOAUTH] = 401,      [STATUS_RATELIMIT] = 429,    [STATUS_BADREQUEST] = 400,
        [STATUS_KEYREUSED] = 422,   [STATUS_NOEVENT] = 404,      [STATUS_NOHOLD] = 404,
        [STATUS_NOTOKEN] = 404,     [STATUS_CLOSED] = 409,       [STATUS_EXPIRED] = 410,
        [STATUS_RELEASED] = 409,    [STATUS_CONFIRMED] = 409,    [STATUS_CANCELLED] = 409,
        [STATUS_NOSEAT] = 404,      [STATUS_NOTCONFIRMED] = 409, [STATUS_NOEXTEND] = 409,
        [STATUS_NOTADMITTED] = 403, [STATUS_NOPOOL] = 404,       [STATUS_LIMIT] = 409,
        [STATUS_HELD] = 409,        [STATUS_SOLD] = 409,         [STATUS_HELDOUT] = 409,
        [STATUS_SOLDOUT] = 409,     [STATUS_NOADJACENT] = 409,   [STATUS_EXISTS] = 409,
        [STATUS_BUSY] = 503,
    };
    struct reply_context context = context_of(REQUEST_COMMAND);
    for (int status = STATUS_OK + 1; status < STATUS_COUNT; status++) {
        struct reply reply = {.status = (enum status)status};
        struct drive_text text = {0};
        struct output output = drive_output(&text);
        http_encode(&output, &context, &reply, NOW);
        drive_output_end(&output);
        char line[64];
        (void)snprintf(line, sizeof line, "HTTP/1.1 %u ", expected[status]);
        assert_memory_equal(text.data, line, strlen(line));
        (void)snprintf(line, sizeof line, "\"status\":%u,\"code\":\"%s\"", expected[status],
                       status_code(reply.status));
        assert_non_null(strstr(text.data, line));
        bool retry = status == STATUS_BUSY || status == STATUS_RATELIMIT;
        assert_int_equal(strstr(text.data, "\r\nRetry-After: 1\r\n") != NULL, retry);
        assert_non_null(strstr(text.data, "\r\nContent-Type: application/problem+json\r\n"));
        drive_free(&text);
    }
}

static void
refusals_carry_figures(void **state)
{
    (void)state; /* none */
    struct reply_context context = context_of(REQUEST_COMMAND);
    context.request_id_size = 0;
    struct reply reply = hold_reply();
    reply.status = STATUS_HELD;
    reply.figures = FIGURE_UNIT | FIGURE_REMAINING | FIGURE_NEXT_DEADLINE | FIGURE_OWN |
                    FIGURE_LARGEST_RUN | FIGURE_LIMIT | FIGURE_DEADLINE_MAX | FIGURE_OPENS_AT;
    reply.unit_size = 5;
    memcpy(reply.unit, "A/1/1", 5);
    reply.remaining = 7;
    reply.next_deadline_ms = NOW - 1;
    reply.own = reply.hold.id;
    reply.largest_run = 2;
    reply.limit = 4;
    reply.used = 3;
    reply.deadline_max_ms = NOW + 5;
    reply.opens_at_ms = NOW + 6;
    assert_encoded(
        &context, &reply,
        "HTTP/1.1 409 Conflict\r\n" DATE "Content-Type: application/problem+json\r\n" TRACE
        "Content-Length: 297\r\n\r\n"
        "{\"type\":\"urn:holdfast:problem:held\",\"title\":\"the seat is "
        "held\",\"status\":409,\"code\":\"held\","
        "\"detail\":\"the seat is held: "
        "A/1/1\",\"unit\":\"A/1/1\",\"remaining\":7,\"next_deadline_in_ms\":0,"
        "\"own\":\"" ID
        "\",\"largest_run\":2,\"limit\":4,\"used\":3,\"deadline_max_in_ms\":5,\"opens_in_ms\":6}");
}

static void
text_answers(void **state)
{
    (void)state; /* none */
    struct reply_context context = context_of(REQUEST_HEALTHZ);
    context.request_id_size = 0;
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    http_time(NOW);
    http_encode_text(&output, &context, 503, "text/plain; charset=utf-8", (struct bytes){"not yet\n", 8});
    http_encode_continue(&output);
    drive_output_end(&output);
    assert_string_equal(text.data, "HTTP/1.1 503 Service Unavailable\r\n" DATE
                                   "Content-Type: text/plain; charset=utf-8\r\n" TRACE
                                   "Content-Length: 8\r\n\r\nnot yet\nHTTP/1.1 100 Continue\r\n\r\n");
    drive_free(&text);
}

static void
times(void **state)
{
    (void)state; /* none */
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-12-01T10:00:00.000Z", 1796119200000},
        {"2026-12-01T11:00:00+01:00", 1796119200000},
        {"2026-12-01T04:30:00-05:30", 1796119200000},
        {"2026-12-01t10:00:00.1z", 1796119200100},
        {"2026-12-01T10:00:00.123999999Z", 1796119200123},
        {"2000-02-29T23:59:59-00:00", 951868799000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"1969-12-31T23:59:59Z", -1000},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t ms;
        assert_true(rfc3339_parse((struct bytes){good[i].text, (uint32_t)strlen(good[i].text)}, &ms));
        assert_true(ms == good[i].ms);
    }
    /* Every day of some four centuries comes back as it went. */
    for (uint64_t day = 0; day < 146097 + 400; day++) {
        char text[24];
        char *end = put_rfc3339(text, day * 86400000 + 12345678);
        int64_t ms;
        assert_int_equal(end - text, 24);
        assert_true(rfc3339_parse((struct bytes){text, 24}, &ms));
        assert_true((uint64_t)ms == day * 86400000 + 12345678);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_inputs),
        cmocka_unit_test(routes),
        cmocka_unit_test(good_hosts),
        cmocka_unit_test(headers),
        cmocka_unit_test(bad_traceparents_make_fresh_ones),
        cmocka_unit_test(when_the_connection_closes),
        cmocka_unit_test(pipelined),
        cmocka_unit_test(head_has_no_content),
        cmocka_unit_test(expectation),
        cmocka_unit_test(bounds_are_exact),
        cmocka_unit_test(large_request_by_the_byte),
        cmocka_unit_test(answers_of_holds),
        cmocka_unit_test(largest_hold),
        cmocka_unit_test(answers_of_maps),
        cmocka_unit_test(answers_of_events),
        cmocka_unit_test(every_status_answers),
        cmocka_unit_test(refusals_carry_figures),
        cmocka_unit_test(text_answers),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
