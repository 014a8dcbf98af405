/*
 * test_queue_codecs.c - the waiting room in both protocols: what is asked decodes alike, and each state of
 * a token and of an event with a queue has its exact bytes. What is refused is in
 * tests/integration/bad_*.json.
 */
#include "net/codec_internal.h"
#include "tests/unit/codec_drive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define ID  "019811f0-7a3b-7c4d-8e5f-0123456789ab"
#define NOW 784111777000u

static const uint8_t id_bytes[16] = {0x01, 0x98, 0x11, 0xf0, 0x7a, 0x3b, 0x7c, 0x4d,
                                     0x8e, 0x5f, 1,    0x23, 0x45, 0x67, 0x89, 0xab};

static const struct request *
resp(const char *text)
{
    const struct request *request = drive_decode(DRIVE_RESP, text, strlen(text));
    assert_non_null(request);
    assert_int_equal(request->kind, REQUEST_COMMAND);
    return request;
}

/* target: method and path; body: may be "" */
static const struct request *
http(const char *target, const char *body)
{
    static char text[2048]; /* the request has views into it */
    int size = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s",
                        target, strlen(body), body);
    const struct request *request = drive_decode(DRIVE_HTTP, text, (size_t)size);
    assert_non_null(request);
    assert_int_equal(request->kind, REQUEST_COMMAND);
    return request;
}

static void
assert_token(const struct request *request, enum command_type type, uint32_t wait_ms)
{
    assert_int_equal(request->command.type, type);
    assert_int_equal(request->reply_context.command, type);
    assert_memory_equal(request->command.hold.byte, id_bytes, sizeof id_bytes);
    assert_int_equal(request->command.wait_ms, wait_ms);
    assert_int_equal(request->command.watch, 0);
}

static void
commands(void **state)
{
    (void)state; /* none */
    for (int i = 0; i < 2; i++) {
        const struct request *request =
            i == 0 ? resp("queue join ev u1\n") : http("POST /v1/events/ev/queue", "{\"user\":\"u1\"}");
        const struct command *command = &request->command;
        assert_int_equal(command->type, COMMAND_QUEUE_JOIN);
        assert_true(bytes_equal(command->event, (struct bytes){"ev", 2}));
        assert_true(bytes_equal(command->user, (struct bytes){"u1", 2}));
    }
    assert_token(resp("QUEUE GET " ID "\n"), COMMAND_QUEUE_GET, 0);
    assert_token(resp("QUEUE LEAVE " ID "\n"), COMMAND_QUEUE_LEAVE, 0);
    assert_token(http("GET /v1/queue/" ID, ""), COMMAND_QUEUE_GET, 0);
    assert_token(http("GET /v1/queue/" ID "?wait_ms=0", ""), COMMAND_QUEUE_GET, 0);
    assert_token(http("GET /v1/queue/" ID "?wait_ms=30000", ""), COMMAND_QUEUE_GET, 30000);
    assert_token(http("GET /v1/queue/" ID "?wait%5fms=25%30", ""), COMMAND_QUEUE_GET, 250);
    assert_token(http("DELETE /v1/queue/" ID, ""), COMMAND_QUEUE_LEAVE, 0);
}

static void
watches_need_resp3(void **state)
{
    (void)state; /* none */
    static const char text[] = "*3\r\n$5\r\nqueue\r\n$5\r\nwatch\r\n$36\r\n" ID "\r\n";
    static struct request request;
    struct decode_memory memory = {.owner = NULL};
    resp_decode(text, sizeof text - 1, 3, &memory, &request);
    assert_int_equal(request.kind, REQUEST_COMMAND);
    assert_token(&request, COMMAND_QUEUE_WATCH, 0);
    resp_decode(text, sizeof text - 1, 2, &memory, &request);
    assert_int_equal(request.kind, REQUEST_ERROR);
    assert_string_equal(request.error.text,
                        "ERR push messages need RESP3: send HELLO 3 first, or ask with QUEUE GET");
}

static void
passes_of_holds(void **state)
{
    (void)state; /* none */
    const struct request *request = resp("HOLD ev u1 SEAT A/1/1 PASS a.b.c\n");
    assert_true(bytes_equal(request->pass, (struct bytes){"a.b.c", 5}));
    request = http("POST /v1/events/ev/holds", "{\"user\":\"u1\",\"seats\":[\"A/1/1\"],\"pass\":\"a.b\"}");
    assert_true(bytes_equal(request->pass, (struct bytes){"a.b", 3}));
    assert_null(resp("HOLD ev u1 SEAT A/1/1\n")->pass.data);
}

static void
assert_queue(const struct request *request, bool lottery)
{
    static const uint8_t no_seed[LOTTERY_SEED_SIZE];
    const struct event_settings *settings = request->command.settings;
    assert_int_equal(request->command.type, COMMAND_EVENT_CREATE);
    assert_int_equal(settings->queue_active_max, 500);
    assert_int_equal(settings->queue_active_seconds, 300);
    assert_int_equal(settings->queue_grace_seconds, 60);
    assert_int_equal(settings->queue_lottery, lottery);
    assert_int_equal(settings->units_per_user_max, 4);
    assert_memory_equal(settings->lottery_seed, no_seed, sizeof no_seed); /* not the codec's to draw */
}

#define JSON_EVENT                                                                                         \
    "{\"id\":\"ev\",\"pools\":[{\"name\":\"p\",\"capacity\":5}],\"units_per_user_max\":4,\"queue\":"

static void
events(void **state)
{
    (void)state; /* none */
    assert_queue(resp("EVENT CREATE ev POOL p 5 QUEUE 500 300 60 LIMIT 4\n"), false);
    assert_queue(resp("EVENT CREATE ev queue 500 300 60 lottery POOL p 5 LIMIT 4\n"), true);
    assert_queue(http("POST /v1/events",
                      JSON_EVENT "{\"active_max\":500,\"active_seconds\":300,\"grace_seconds\":60}}"),
                 false);
    assert_queue(http("POST /v1/events", JSON_EVENT
                      "{\"lottery\":true,\"grace_seconds\":60,\"active_seconds\":300,\"active_max\":500}}"),
                 true);
    assert_queue(http("POST /v1/events", JSON_EVENT "{\"active_max\":500,\"active_seconds\":300,"
                                                    "\"grace_seconds\":60,\"lottery\":false}}"),
                 false);
    const struct event_change *change = resp("EVENT SET ev queue.active_max 7\n")->command.change;
    assert_true(change->has_queue_active_max && !change->has_status);
    assert_int_equal(change->queue_active_max, 7);
    change = http("PATCH /v1/events/ev", "{\"queue\":{\"active_max\":1000000000}}")->command.change;
    assert_true(change->has_queue_active_max && !change->has_status);
    assert_int_equal(change->queue_active_max, 1000000000);
    change = resp("EVENT SET ev status open\n")->command.change;
    assert_false(change->has_queue_active_max);
}

/* ---- answers ---- */

static const struct event_settings *
queue_event(const char *rest)
{
    char text[256];
    (void)snprintf(text, sizeof text, "EVENT CREATE ev POOL p 5 QUEUE 2 100 60%s\n", rest);
    return resp(text)->command.settings;
}

static struct reply
token_reply(enum token_state token_state)
{
    struct reply reply = {.kind = REPLY_TOKEN};
    memcpy(reply.token.id.byte, id_bytes, sizeof id_bytes);
    reply.token.event = queue_event("");
    reply.token.user = (struct bytes){"u1", 2};
    reply.token.state = token_state;
    return reply;
}

/* The bytes behind an HTTP answer's head; RESP: all. */
static void
assert_answer(uint8_t resp_version, enum command_type command, const struct reply *reply,
              const char *expected)
{
    struct reply_context context = {.http = resp_version == 0 ? 11 : 0,
                                    .keep_alive = 1,
                                    .resp_version = resp_version,
                                    .command = (uint8_t)command,
                                    .kind = REQUEST_COMMAND};
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    if (resp_version == 0)
        http_encode(&output, &context, reply, NOW);
    else
        resp_encode(&output, &context, reply, NOW);
    drive_output_end(&output);
    const char *body = resp_version == 0 ? strstr(text.data, "\r\n\r\n") + 4 : text.data;
    assert_string_equal(body, expected);
    if (resp_version == 0)
        assert_non_null(strstr(text.data, reply->created ? "HTTP/1.1 201 Created" : "HTTP/1.1 200 OK"));
    drive_free(&text);
}

#define TOKEN_JSON(state, rest)                                                                            \
    "{\"token\":\"" ID "\",\"event\":\"ev\",\"user\":\"u1\",\"state\":\"" state "\"," rest "}"
#define NOT_WAITING                                                                                        \
    "\"position\":null,\"ahead\":null,\"eta_in_ms\":null,\"poll_in_ms\":null,\"chance\":null,"
#define NOT_ACTIVE "\"deadline\":null,\"deadline_in_ms\":null,\"pass\":null"

static void
waiting_tokens(void **state)
{
    (void)state; /* none */
    struct reply reply = token_reply(TOKEN_WAITING);
    reply.created = true;
    reply.token.position = 41;
    reply.token.eta_ms = 12000;
    reply.token.poll_ms = 3000;
    assert_answer(0, COMMAND_QUEUE_JOIN, &reply,
                  TOKEN_JSON("waiting", "\"position\":41,\"ahead\":40,\"eta_in_ms\":12000,\"poll_in_ms\":"
                                        "3000,\"chance\":\"likely\"," NOT_ACTIVE));
    assert_answer(2, COMMAND_QUEUE_JOIN, &reply,
                  "*5\r\n$36\r\n" ID "\r\n$7\r\nwaiting\r\n:41\r\n$-1\r\n$-1\r\n");
    assert_answer(3, COMMAND_QUEUE_WATCH, &reply,
                  "*5\r\n$36\r\n" ID "\r\n$7\r\nwaiting\r\n:41\r\n_\r\n_\r\n");
    reply.created = false;
    reply.token.position = 1;
    reply.token.chance_none = true;
    assert_answer(0, COMMAND_QUEUE_GET, &reply,
                  TOKEN_JSON("waiting", "\"position\":1,\"ahead\":0,\"eta_in_ms\":12000,\"poll_in_ms\":"
                                        "3000,\"chance\":\"none\"," NOT_ACTIVE));
    reply.token.position = 0; /* before the opening */
    reply.token.chance_none = false;
    assert_answer(0, COMMAND_QUEUE_GET, &reply,
                  TOKEN_JSON("waiting", "\"position\":null,\"ahead\":null,\"eta_in_ms\":12000,\"poll_in_"
                                        "ms\":3000,\"chance\":\"likely\"," NOT_ACTIVE));
    assert_answer(3, COMMAND_QUEUE_GET, &reply, "*5\r\n$36\r\n" ID "\r\n$7\r\nwaiting\r\n_\r\n_\r\n_\r\n");
}

static void
active_tokens(void **state)
{
    (void)state; /* none */
    struct reply reply = token_reply(TOKEN_ACTIVE);
    reply.token.deadline_ms = NOW + 99999;
    reply.token.pass = (struct bytes){"a.b.c", 5};
    assert_answer(0, COMMAND_QUEUE_GET, &reply,
                  TOKEN_JSON("active", NOT_WAITING "\"deadline\":\"1994-11-06T08:51:16.999Z\",\"deadline_"
                                                   "in_ms\":99999,\"pass\":\"a.b.c\""));
    assert_answer(3, COMMAND_QUEUE_LEAVE, &reply,
                  "*5\r\n$36\r\n" ID "\r\n$6\r\nactive\r\n_\r\n$5\r\na.b.c\r\n:784111876999\r\n");
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    resp_encode_push(&output, &reply.token);
    drive_output_end(&output);
    assert_string_equal(text.data, ">6\r\n$5\r\nqueue\r\n$36\r\n" ID
                                   "\r\n$6\r\nactive\r\n_\r\n$5\r\na.b.c\r\n:784111876999\r\n");
    drive_free(&text);
    /* the largest there can be fits what is reserved: the sanitizer and the assertions look */
    char user[USER_ID_SIZE_MAX];
    char pass[TOKEN_PASS_SIZE_MAX];
    memset(user, 'u', sizeof user);
    memset(pass, 'p', sizeof pass);
    reply.token.user = (struct bytes){user, sizeof user};
    reply.token.pass = (struct bytes){pass, sizeof pass};
    reply.token.deadline_ms = 253402300799999;
    struct reply_context context = {.http = 11, .keep_alive = 1, .kind = REQUEST_COMMAND};
    output = drive_output(&text);
    http_encode(&output, &context, &reply, 0);
    drive_output_end(&output);
    assert_non_null(strstr(text.data, "\"deadline_in_ms\":253402300799999,\"pass\":\"ppp"));
    drive_free(&text);
}

static void
ended_tokens(void **state)
{
    (void)state; /* none */
    struct reply reply = token_reply(TOKEN_DONE);
    assert_answer(0, COMMAND_QUEUE_GET, &reply, TOKEN_JSON("done", NOT_WAITING NOT_ACTIVE));
    reply.token.state = TOKEN_LEFT;
    assert_answer(0, COMMAND_QUEUE_LEAVE, &reply, TOKEN_JSON("left", NOT_WAITING NOT_ACTIVE));
    reply.token.state = TOKEN_EXPIRED;
    assert_answer(0, COMMAND_QUEUE_GET, &reply, TOKEN_JSON("expired", NOT_WAITING NOT_ACTIVE));
    assert_answer(2, COMMAND_QUEUE_GET, &reply,
                  "*5\r\n$36\r\n" ID "\r\n$7\r\nexpired\r\n$-1\r\n$-1\r\n$-1\r\n");
}

static void
users_with_a_token(void **state)
{
    (void)state; /* none */
    struct reply reply = {.kind = REPLY_HOLDS, .event = queue_event(""), .user = {"u1", 2}};
    assert_answer(0, COMMAND_HOLDS, &reply,
                  "{\"event\":\"ev\",\"user\":\"u1\",\"holds\":[],\"used\":0,\"token\":null}");
    reply.has_token = true;
    memcpy(reply.token_id.byte, id_bytes, sizeof id_bytes);
    assert_answer(0, COMMAND_HOLDS, &reply,
                  "{\"event\":\"ev\",\"user\":\"u1\",\"holds\":[],\"used\":0,\"token\":\"" ID "\"}");
    assert_answer(2, COMMAND_HOLDS, &reply, "*0\r\n");
}

/* sha256 of 32 zero bytes */
#define COMMITMENT "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
#define ZEROS      "0000000000000000000000000000000000000000000000000000000000000000"
#define JSON_POOL                                                                                          \
    "\"sections\":[],\"pools\":[{\"name\":\"p\",\"capacity\":5,\"counts\":{\"capacity\":5,\"free\":0,"     \
    "\"held\":0,\"sold\":0}}],\"counts\":{\"capacity\":0,\"free\":0,\"held\":0,\"sold\":0}}"
#define JSON_HEAD                                                                                          \
    "{\"id\":\"ev\",\"status\":\"open\",\"hold_seconds\":300,\"hold_seconds_max\":900,"                    \
    "\"units_per_user_max\":0,"
#define JSON_QUEUE "\"queue\":{\"active_max\":2,\"active_seconds\":100,\"grace_seconds\":60,\"lottery\":"

static void
events_with_a_queue(void **state)
{
    (void)state; /* none */
    static struct event_view view;
    struct reply reply = {.kind = REPLY_EVENT, .event_view = &view};
    event_view_fill(&view, queue_event(""), NOW);
    assert_answer(0, COMMAND_EVENT_GET, &reply, JSON_HEAD JSON_QUEUE "false}," JSON_POOL);
    event_view_fill(&view, queue_event(" LOTTERY"), NOW);
    assert_answer(0, COMMAND_EVENT_GET, &reply,
                  JSON_HEAD JSON_QUEUE "true},\"lottery_commitment\":\"" COMMITMENT
                                       "\",\"lottery_seed\":\"" ZEROS "\"," JSON_POOL);
    /* the seed is told from the opening on, not a millisecond before */
    event_view_fill(&view, queue_event(" LOTTERY OPENS 784111777000"), NOW);
    assert_answer(0, COMMAND_EVENT_GET, &reply,
                  JSON_HEAD "\"opens_at\":\"1994-11-06T08:49:37.000Z\",\"opens_in_ms\":0," JSON_QUEUE
                            "true},\"lottery_commitment\":\"" COMMITMENT "\",\"lottery_seed\":\"" ZEROS
                            "\"," JSON_POOL);
    event_view_fill(&view, queue_event(" LOTTERY OPENS 784111777001"), NOW);
    assert_answer(0, COMMAND_EVENT_GET, &reply,
                  JSON_HEAD "\"opens_at\":\"1994-11-06T08:49:37.001Z\",\"opens_in_ms\":1," JSON_QUEUE
                            "true},\"lottery_commitment\":\"" COMMITMENT "\"," JSON_POOL);
    struct reply_context context = {.resp_version = 3, .command = COMMAND_EVENT_GET};
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    event_view_fill(&view, view.settings, NOW + 1);
    resp_encode(&output, &context, &reply, NOW + 1);
    drive_output_end(&output);
    assert_true(strncmp(text.data, "%13\r\n", 5) == 0);
    assert_non_null(strstr(text.data,
                           "$5\r\nqueue\r\n%4\r\n$10\r\nactive_max\r\n:2\r\n$14\r\nactive_seconds\r\n:"
                           "100\r\n$13\r\ngrace_seconds\r\n:60\r\n$7\r\nlottery\r\n:1\r\n"));
    assert_non_null(strstr(text.data, "$18\r\nlottery_commitment\r\n$64\r\n" COMMITMENT
                                      "\r\n$12\r\nlottery_seed\r\n$64\r\n" ZEROS "\r\n"));
    drive_free(&text);
}

/* An answer of before shows the event of before, whatever became of it: only what runs down is counted
 * anew. */
static void
events_as_they_were(void **state)
{
    (void)state; /* none */
    static struct event_view view;
    struct reply reply = {.kind = REPLY_EVENT, .event_view = &view};
    event_view_fill(&view, queue_event(" LOTTERY OPENS 784111777000"), NOW - 1);
    view.status = EVENT_PAUSED;
    view.hold_seconds = 7;
    view.units_per_user_max = 4;
    view.queue_active_max = 9;
    view.pools[0] = (struct unit_counts){3, 1, 1, 1};
    view.total = view.pools[0];
    assert_answer(0, COMMAND_EVENT_SET, &reply,
                  "{\"id\":\"ev\",\"status\":\"paused\",\"hold_seconds\":7,\"hold_seconds_max\":900,"
                  "\"units_per_user_max\":4,\"opens_at\":\"1994-11-06T08:49:37.000Z\",\"opens_in_ms\":0,"
                  "\"queue\":{\"active_max\":9,\"active_seconds\":100,\"grace_seconds\":60,\"lottery\":"
                  "true},\"lottery_commitment\":\"" COMMITMENT "\",\"sections\":[],\"pools\":[{\"name\":"
                  "\"p\",\"capacity\":3,\"counts\":{\"capacity\":3,\"free\":1,\"held\":1,\"sold\":1}}],"
                  "\"counts\":{\"capacity\":3,\"free\":1,\"held\":1,\"sold\":1}}");
    assert_answer(2, COMMAND_EVENT_SET, &reply, "+OK\r\n"); /* a key is of both protocols */
    struct reply_context context = {.resp_version = 3, .command = COMMAND_EVENT_GET};
    struct drive_text text = {0};
    struct output output = drive_output(&text);
    resp_encode(&output, &context, &reply, NOW);
    drive_output_end(&output);
    static const char *const shown[] = {"%12\r\n",
                                        "$6\r\npaused\r\n",
                                        "$12\r\nhold_seconds\r\n:7\r\n",
                                        "$18\r\nunits_per_user_max\r\n:4\r\n",
                                        "$10\r\nactive_max\r\n:9\r\n",
                                        "$8\r\ncapacity\r\n:3\r\n$6\r\ncounts\r\n"};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        assert_non_null(strstr(text.data, shown[i]));
    assert_null(strstr(text.data, "lottery_seed"));
    drive_free(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),
        cmocka_unit_test(watches_need_resp3),
        cmocka_unit_test(passes_of_holds),
        cmocka_unit_test(events),
        cmocka_unit_test(waiting_tokens),
        cmocka_unit_test(active_tokens),
        cmocka_unit_test(ended_tokens),
        cmocka_unit_test(users_with_a_token),
        cmocka_unit_test(events_with_a_queue),
        cmocka_unit_test(events_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
