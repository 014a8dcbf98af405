/*
 * test_answers.c - answers of both protocols as values, however they are cut; what is no answer is refused.
 *
 * A client is connected to one end of a socket; the test writes into the other.
 */
#include "load/json_flat.h"
#include "load/speech.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A client of a kind with the server's end of its connection. */
struct pair {
    struct client *client;
    int server;
};

static struct pair
pair_make(const struct client_kind *kind, const struct client_place *place)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct client_place there = *place;
    char error[160] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    snprintf(there.address, sizeof there.address, "127.0.0.1");
    there.port = ntohs(address.sin_port);
    struct pair pair = {.client = kind->open(&there, 10, error)};
    if (pair.client == NULL)
        fail_msg("%s", error);
    pair.server = accept(listener, NULL, NULL);
    assert_true(pair.server >= 0);
    close(listener);
    return pair;
}

static void
pair_free(struct pair *pair)
{
    client_free(pair->client);
    close(pair->server);
}

static void
text_add(char *to, size_t room, const char *text)
{
    size_t size = strlen(to);
    snprintf(to + size, room - size, "%s", text);
}

/* An answer in one line: "[2 'id' 17]". */
static void
answer_show(const struct answer *answer, char *ret_text, size_t room)
{
    ret_text[0] = '\0';
    if (answer->push)
        text_add(ret_text, room, "> ");
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct answer_value *value = &answer->values[i];
        char one[128];
        static const char marks[] = {[ANSWER_STATUS] = '+', [ANSWER_ERROR] = '-', [ANSWER_TEXT] = '\''};
        if (value->kind == ANSWER_INTEGER)
            snprintf(one, sizeof one, "%lld ", (long long)value->integer);
        else if (value->kind == ANSWER_ARRAY)
            snprintf(one, sizeof one, "[%u ", value->size);
        else if (value->kind == ANSWER_NIL)
            snprintf(one, sizeof one, "nil ");
        else
            snprintf(one, sizeof one, "%c%.*s ", marks[value->kind], (int)answer_text(answer, i).size,
                     answer_text(answer, i).data);
        text_add(ret_text, room, one);
    }
}

/* What a client makes of bytes that come in pieces of a size: answers, one a line; "!" where it fails. */
static void
read_in_pieces(const struct client_kind *kind, struct bytes bytes, size_t piece, char *ret_text,
               size_t room)
{
    const struct client_place place = {.port = 0};
    struct pair pair = pair_make(kind, &place);
    bool failed = false;
    ret_text[0] = '\0';
    for (size_t at = 0; at < bytes.size && !failed; at += piece) {
        size_t size = bytes.size - at < piece ? bytes.size - at : piece;
        const struct answer *answer;
        char line[512];
        int result;
        assert_int_equal(write(pair.server, bytes.data + at, size), size);
        for (size_t got = 0; got < size && !failed;) {
            char look[65536];
            ssize_t there = recv(kind->fd(pair.client), look, sizeof look, MSG_PEEK);
            if (there <= 0)
                continue;
            assert_int_equal(kind->read(pair.client), 0);
            ssize_t left = recv(kind->fd(pair.client), look, sizeof look, MSG_PEEK);
            got += (size_t)there - (size_t)(left > 0 ? left : 0);
            while ((result = kind->next(pair.client, &answer)) > 0) {
                answer_show(answer, line, sizeof line);
                text_add(ret_text, room, line);
                text_add(ret_text, room, "\n");
            }
            failed = result < 0;
        }
    }
    if (failed) {
        text_add(ret_text, room, "!");
        assert_true(kind->error(pair.client)[0] != '\0');
    }
    pair_free(&pair);
}

struct example {
    const char *bytes;
    const char *wanted;
};

static void
check_examples(const struct client_kind *kind, const struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes bytes = {examples[i].bytes, (uint32_t)strlen(examples[i].bytes)};
        static const size_t pieces[] = {100000, 1, 7};
        for (size_t j = 0; j < sizeof pieces / sizeof pieces[0]; j++) {
            char got[2048];
            read_in_pieces(kind, bytes, pieces[j], got, sizeof got);
            if (strcmp(got, examples[i].wanted) != 0)
                fail_msg("%s\nin pieces of %zu: got\n%s\nexpected\n%s", examples[i].bytes, pieces[j], got,
                         examples[i].wanted);
        }
    }
}

static void
test_resp(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"+OK\r\n", "+OK \n"},
        {"-HELD the seat\r\n:-17\r\n:9223372036854775807\r\n",
         "-HELD the seat \n-17 \n9223372036854775807 \n"},
        {"$2\r\nid\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n", "'id \n' \nnil \nnil \n[0 \n"},
        {"*4\r\n$2\r\nid\r\n:17\r\n*1\r\n$1\r\na\r\n$2\r\n\r\n\r\n", "[4 'id 17 [1 'a '\r\n \n"},
        {"%1\r\n+a\r\n~1\r\n#t\r\n_\r\n,1.5\r\n(12\r\n=6\r\ntxt:ab\r\n!3\r\nERR\r\n",
         "[2 +a [1 1 \nnil \n'1.5 \n'12 \n'txt:ab \n-ERR \n"},
        {"+A\r\n>2\r\n$5\r\nqueue\r\n_\r\n+B\r\n", "+A \n> [2 'queue nil \n+B \n"},
        {"OK\r\n", "!"},
        {"+OK\rx", "!"},
        {":12x\r\n", "!"},
        {":\r\n", "!"},
        {":99999999999999999999\r\n", "!"},
        {"$2\r\nidx\r\n", "!"},
        {"$-2\r\n", "!"},
        {"*-5\r\n", "!"},
        {"$99999999999\r\n", "!"},
        {"*99999999\r\n", "!"},
        {"*1\r\n?\r\n", "!"},
        {"|1\r\n+a\r\n+b\r\n", "!"},
        {"#true\r\n", "!"},
    };
    check_examples(&resp_client, examples, sizeof examples / sizeof examples[0]);
}

static void
test_http(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 \n"},
        {"HTTP/1.1 201 Created\r\nDate: x\r\nContent-Type: application/json\r\ncontent-length:17 "
         "\r\n\r\n{\"a\":[1,null,\"\"]}"
         "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!",
         "201 [2 'a [3 1 nil ' \n404 'no! \n"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n5\r\n[true\r\nA\r\n,\"xxxxx\",2\r\n1\r\n]\r\n0\r\n\r\n"
         "HTTP/1.1 204 No Content\r\n\r\n",
         "200 [3 1 'xxxxx 2 \n204 \n"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", "200 [0 \n"},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]", "200 [0 \n!"},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]", "200 [0 \n!"},
        {"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n[]", "!"},
        {"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n[]", "!"},
        {"HTTP/1.1 200 OK\r\n\r\n", "!"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n[]", "!"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[]", "!"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "!"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "!"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "!"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[]\r\n", "!"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", "!"},
        {"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\n[]", "!"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", "!"},
    };
    check_examples(&http_client, examples, sizeof examples / sizeof examples[0]);
}

static bool
flatten(const char *json, char *ret_text, size_t room)
{
    char text[512];
    struct answer_room values = {0};
    size_t size = strlen(json);
    memcpy(text, json, size + 1);
    bool read = json_flatten(text, 0, (uint32_t)size, &values);
    const struct answer answer = {values.values, values.count, text, false};
    answer_show(&answer, ret_text, room);
    free(values.values);
    return read;
}

static void
test_json(void **state)
{
    (void)state;
    static const struct example good[] = {
        {"{\"a\":1,\"b\":{\"c\":[true,false,null]},\"d\":\"x\"}", "[6 'a 1 'b [2 'c [3 1 0 nil 'd 'x "},
        {" [ ] ", "[0 "},
        {"[-0,12.5,1e3,-7,999999999999999999,1234567890123456789]",
         "[6 0 '12.5 '1e3 -7 999999999999999999 '1234567890123456789 "},
        {"\"a\\n\\\"\\u00e9\\u20ac\\ud83d\\ude00\\/\"", "'a\n\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80/ "},
        {"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", "[1 [1 [1 [1 [1 [1 [1 [1 [1 [1 [1 [1 [1 [1 [1 [0 "},
    };
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{a:1}",
                                      "[1 2]",
                                      "01",
                                      "1.",
                                      "-",
                                      "+1",
                                      "1e",
                                      "nul",
                                      "\"a",
                                      "\"\\x\"",
                                      "\"\\ud800\"",
                                      "\"\\udc00\"",
                                      "\"\n\"",
                                      "[] []",
                                      "\"\\u12g4\"",
                                      "\"\\",
                                      "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"};
    char got[512];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(flatten(good[i].bytes, got, sizeof got));
        assert_string_equal(got, good[i].wanted);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (flatten(bad[i], got, sizeof got))
            fail_msg("'%s' was taken", bad[i]);
}

static void
test_find_in_answers(void **state)
{
    (void)state;
    char text[] = "{\"a\":{\"b\":[1,{\"c\":2}],\"d\":3},\"c\":4}";
    struct answer_room values = {0};
    assert_true(json_flatten(text, 0, sizeof text - 1, &values));
    const struct answer answer = {values.values, values.count, text, false};
    uint32_t a = answer_find(&answer, 0, "a");
    assert_true(a != 0);
    assert_int_equal(answer.values[answer_find(&answer, a, "d")].integer, 3);
    assert_int_equal(answer.values[answer_find(&answer, 0, "c")].integer,
                     4); /* not the one deeper inside */
    assert_int_equal(answer_find(&answer, 0, "b"), 0);
    assert_int_equal(answer_find(&answer, a + 1, "b"), 0); /* no array */
    assert_int_equal(answer_find(&answer, 99, "b"), 0);
    assert_int_equal(answer_skip(&answer, 0), answer.count);
    free(values.values);
}

/* A key is said first, once over RESP and with every request over HTTP; a refusal of it fails the client.
 */
static void
test_keys(void **state)
{
    (void)state;
    const struct client_place place = {.key = "secret", .push = true};
    struct request_text request;
    const struct answer *answer;
    char got[512];
    struct pair pair = pair_make(&resp_client, &place);
    request_begin(&request, 1);
    request_text(&request, "PING");
    resp_client.append(pair.client, &request);
    assert_int_equal(resp_client.flush(pair.client), 1);
    static const char wanted[] =
        "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$6\r\nsecret\r\n"
        "*1\r\n$4\r\nPING\r\n";
    assert_int_equal(read(pair.server, got, sizeof got), sizeof wanted - 1);
    assert_memory_equal(got, wanted, sizeof wanted - 1);
    assert_int_equal(write(pair.server, "%1\r\n+a\r\n+b\r\n+PONG\r\n", 19), 19);
    char error[160];
    assert_true(client_wait(pair.client, 10, &answer, error));
    assert_int_equal(answer->values[0].kind, ANSWER_STATUS); /* the greeting's answer is nobody else's */
    pair_free(&pair);

    pair = pair_make(&resp_client, &place);
    assert_int_equal(write(pair.server, "-NOAUTH wrong\r\n", 15), 15);
    assert_false(client_wait(pair.client, 10, &answer, error));
    assert_non_null(strstr(error, "NOAUTH"));
    pair_free(&pair);

    pair = pair_make(&http_client, &place);
    http_begin(&request, "GET", (struct bytes){"/x", 2});
    http_end(&request, (struct bytes){"", 0});
    http_client.append(pair.client, &request);
    assert_int_equal(http_client.flush(pair.client), 1);
    ssize_t size = read(pair.server, got, sizeof got - 1);
    assert_true(size > 0);
    got[size] = '\0';
    assert_memory_equal(got, "GET /x HTTP/1.1\r\nHost: 127.0.0.1:", 33);
    assert_non_null(strstr(got, "\r\nAuthorization: Bearer secret\r\n\r\n"));
    pair_free(&pair);
}

/* What an answer of HTTP tells, word for word. */
static void
http_tell(enum say say, int status, const char *json, struct told *ret_told, const char **ret_wrong)
{
    const struct load_options options = {.rows = 3, .row_seats = 10};
    char text[512];
    struct answer_room values = {0};
    struct answer_value *first = answer_add(&values, ANSWER_INTEGER);
    assert_non_null(first);
    first->integer = status;
    memcpy(text, json, strlen(json) + 1);
    assert_true(json_flatten(text, 0, (uint32_t)strlen(json), &values));
    const struct answer answer = {values.values, values.count, text, false};
    const struct said said = {.say = say};
    *ret_wrong = http_speech.read(&options, &said, &answer, ret_told);
    free(values.values);
}

#define ID "0198c0de-0123-7456-89ab-cdef00112233"

static void
test_told_over_http(void **state)
{
    (void)state;
    struct told told = {0};
    const char *wrong;
    http_tell(
        SAY_HOLD, 201,
        "{\"hold\":\"" ID
        "\",\"seats\":[{\"seat\":\"A/2/3\",\"version\":7}],\"deadline\":\"2026-11-20T10:00:00.123Z\"}",
        &told, &wrong);
    assert_null(wrong);
    assert_true(told.well);
    assert_true(told.deadline_ms == UINT64_C(1795168800123));
    assert_int_equal(told.seat_count, 1);
    assert_int_equal(told.seats[0].seat, 12);
    assert_int_equal(told.seats[0].version, 7);
    http_tell(SAY_HOLD, 409, "{\"status\":409,\"code\":\"heldout\"}", &told, &wrong);
    assert_null(wrong);
    assert_false(told.well);
    assert_string_equal(told.error, "HELDOUT");
    http_tell(SAY_HOLD, 502, "{}", &told, &wrong);
    assert_string_equal(told.error, "HTTP-502");
    http_tell(SAY_JOIN, 201,
              "{\"token\":\"" ID
              "\",\"state\":\"waiting\",\"position\":5,\"deadline\":null,\"poll_in_ms\":900}",
              &told, &wrong);
    assert_null(wrong);
    assert_int_equal(told.state, PLACE_WAITING);
    assert_int_equal(told.position, 5);
    assert_int_equal(told.poll_in_ms, 900);
    http_tell(SAY_JOIN, 200, "{\"token\":\"" ID "\",\"state\":\"asleep\"}", &told, &wrong);
    assert_non_null(wrong);
    http_tell(SAY_HOLD, 201, "{\"hold\":\"" ID "\",\"deadline\":\"2026-11-20 10:00:00.123Z\"}", &told,
              &wrong);
    assert_non_null(wrong);
    http_tell(SAY_HOLD, 201,
              "{\"hold\":\"" ID
              "\",\"deadline\":\"2026-11-20T10:00:00.123Z\",\"seats\":[{\"seat\":\"A/4/1\"}]}",
              &told, &wrong);
    assert_non_null(wrong); /* there are three rows */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resp),
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_find_in_answers),
        cmocka_unit_test(test_told_over_http),
    };
    return cmocka_run_group_tests_name("load answers", tests, NULL, NULL);
}
