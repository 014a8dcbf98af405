/*
 * resp_client.c - RESP from the client's side: requests as arrays of strings, answers of RESP2 and RESP3.
 *
 * An answer is parsed once all of it is there, in one pass without recursion: how many values are still to
 * come is a number that every array raises. Texts stay where they were read.
 *
 *     *4\r\n $2 id  :17  *1  $1 a         values:  ARRAY 4 | TEXT "id" | INTEGER 17 | ARRAY 1 | TEXT "a"
 *
 * Why not hiredis: Debian 12 has 0.14, whose reader knows no RESP3, and push messages are RESP3's
 * (docs/decisions/0012).
 *
 * See also: net/resp.c for the other side.
 */
#include "load/stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct resp {
    struct client client;
    struct stream stream;
    struct answer answer;
    struct answer_room room;
    uint32_t greetings; /* answers still to come to what open() has said */
};

/* ---- requests ---- */

static void
request_head(struct request_text *request, char type, uint32_t number)
{
    assert(request->size + 16 <= REQUEST_SIZE_MAX);
    request->data[request->size++] = type;
    request->size += digits_write(request->data + request->size, number);
    request->data[request->size++] = '\r';
    request->data[request->size++] = '\n';
}

void
request_begin(struct request_text *request, uint32_t words)
{
    request->size = 0;
    request_head(request, '*', words);
}

void
request_word(struct request_text *request, struct bytes word)
{
    request_head(request, '$', word.size);
    request_put(request, word);
    request_put(request, (struct bytes){"\r\n", 2});
}

void
request_text(struct request_text *request, const char *word)
{
    request_word(request, (struct bytes){word, (uint32_t)strlen(word)});
}

void
request_number(struct request_text *request, uint64_t number)
{
    char digits[20];
    uint32_t size = digits_write(digits, number);
    request_word(request, (struct bytes){digits, size});
}

/* ---- answers ---- */

enum parsed {
    PARSED_BAD = -1,
    PARSED_SHORT = 0, /* more has to come */
    PARSED_WHOLE = 1,
};

/* A line from *at to the next CRLF, which must not be far. */
#define LINE_SIZE_MAX 65536u

static enum parsed
line_take(const struct buffer *in, uint32_t *at, struct bytes *ret_line)
{
    uint32_t left = in->end - *at;
    const char *begin = in->data + *at;
    const char *end = memchr(begin, '\r', left < LINE_SIZE_MAX ? left : LINE_SIZE_MAX);
    if (end == NULL)
        return left < LINE_SIZE_MAX ? PARSED_SHORT : PARSED_BAD;
    uint32_t size = (uint32_t)(end - begin);
    if (size + 1 == left)
        return PARSED_SHORT;
    if (end[1] != '\n')
        return PARSED_BAD;
    *ret_line = (struct bytes){begin, size};
    *at += size + 2;
    return PARSED_WHOLE;
}

static bool
integer_read(struct bytes text, int64_t *ret_integer)
{
    bool minus = text.size > 0 && text.data[0] == '-';
    uint64_t number = 0;
    uint32_t i = minus;
    if (text.size == i || text.size - i > 19)
        return false;
    for (; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (number > INT64_MAX)
        return false;
    *ret_integer = minus ? -(int64_t)number : (int64_t)number;
    return true;
}

/* A text of so many bytes and its CRLF. */
static enum parsed
string_take(const struct buffer *in, uint32_t *at, int64_t size, struct answer_value *value)
{
    if (size > STREAM_BYTES_MAX)
        return PARSED_BAD;
    if (in->end - *at < (uint64_t)size + 2)
        return PARSED_SHORT;
    value->text = *at;
    value->size = (uint32_t)size;
    *at += (uint32_t)size + 2;
    return in->data[*at - 2] == '\r' && in->data[*at - 1] == '\n' ? PARSED_WHOLE : PARSED_BAD;
}

static enum parsed
line_value(struct resp *resp, struct bytes line, enum answer_kind kind)
{
    struct answer_value *value = answer_add(&resp->room, kind);
    if (value == NULL)
        return PARSED_BAD;
    value->text = (uint32_t)(line.data + 1 - resp->stream.in.data);
    value->size = line.size - 1;
    return PARSED_WHOLE;
}

/* The value whose first line this is. *left grows by the values inside it. */
static enum parsed
value_take(struct resp *resp, struct bytes line, uint32_t *at, uint64_t *left)
{
    char type = line.size > 0 ? line.data[0] : '\0';
    switch (type) {
    case '+':
        return line_value(resp, line, ANSWER_STATUS);
    case '-':
        return line_value(resp, line, ANSWER_ERROR);
    case ',':
    case '(':
        return line_value(resp, line, ANSWER_TEXT);
    case '_':
        return answer_add(&resp->room, ANSWER_NIL) != NULL ? PARSED_WHOLE : PARSED_BAD;
    case '#': {
        struct answer_value *truth = answer_add(&resp->room, ANSWER_INTEGER);
        if (truth == NULL || line.size != 2)
            return PARSED_BAD;
        truth->integer = line.data[1] == 't';
        return PARSED_WHOLE;
    }
    case ':':
    case '$':
    case '=':
    case '!':
    case '*':
    case '~':
    case '%':
    case '>':
        break;
    default:
        return PARSED_BAD;
    }
    int64_t number;
    if (!integer_read((struct bytes){line.data + 1, line.size - 1}, &number))
        return PARSED_BAD;
    bool nil = number == -1 && (type == '$' || type == '*');
    if (type != ':' && number < 0 && !nil)
        return PARSED_BAD;
    bool string = type == '$' || type == '=' || type == '!';
    struct answer_value *value = answer_add(&resp->room, nil           ? ANSWER_NIL
                                                         : type == ':' ? ANSWER_INTEGER
                                                         : type == '!' ? ANSWER_ERROR
                                                         : string      ? ANSWER_TEXT
                                                                       : ANSWER_ARRAY);
    if (value == NULL)
        return PARSED_BAD;
    if (nil)
        return PARSED_WHOLE;
    if (type == ':') {
        value->integer = number;
        return PARSED_WHOLE;
    }
    if (string)
        return string_take(&resp->stream.in, at, number, value);
    if (number > ANSWER_VALUES_MAX / 2)
        return PARSED_BAD;
    value->size = (uint32_t)number * (type == '%' ? 2 : 1);
    *left += value->size;
    return PARSED_WHOLE;
}

/* Any number of further lines, a value each, until none is missing. */
static enum parsed
answer_take(struct resp *resp, uint32_t *at)
{
    uint64_t left = 1;
    resp->room.count = 0;
    while (left > 0) {
        struct bytes line;
        enum parsed parsed = line_take(&resp->stream.in, at, &line);
        if (parsed == PARSED_WHOLE)
            parsed = value_take(resp, line, at, &left);
        if (parsed != PARSED_WHOLE)
            return parsed;
        left--;
    }
    return PARSED_WHOLE;
}

static int
resp_next(struct client *client, const struct answer **ret_answer)
{
    struct resp *resp = (struct resp *)client;
    struct buffer *in = &resp->stream.in;
    for (;;) {
        if (in->first == in->end)
            return 0;
        uint32_t at = in->first;
        bool push = in->data[at] == '>';
        enum parsed parsed = answer_take(resp, &at);
        if (parsed == PARSED_BAD)
            return stream_fail(&resp->stream, "what came is not RESP");
        if (parsed == PARSED_SHORT)
            return 0;
        in->first = at;
        resp->answer = (struct answer){resp->room.values, resp->room.count, in->data, push};
        if (push || resp->greetings == 0)
            break;
        resp->greetings--;
        if (resp->answer.values[0].kind == ANSWER_ERROR) {
            char why[sizeof resp->stream.error];
            struct bytes error = answer_text(&resp->answer, 0);
            snprintf(why, sizeof why, "%.*s", (int)(error.size < 100 ? error.size : 100), error.data);
            return stream_fail(&resp->stream, why);
        }
    }
    *ret_answer = &resp->answer;
    return 1;
}

/* ---- the connection ---- */

static void
resp_free(struct client *client)
{
    struct resp *resp = (struct resp *)client;
    stream_done(&resp->stream);
    free(resp->room.values);
    free(resp);
}

/* What is said before all else; its answer is looked at by resp_next(). */
static void
greet(struct resp *resp, const struct client_place *place)
{
    struct request_text request;
    if (!place->push && place->key == NULL)
        return;
    if (place->push) {
        request_begin(&request, place->key != NULL ? 5 : 2);
        request_text(&request, "HELLO");
        request_text(&request, "3");
        if (place->key != NULL) {
            request_text(&request, "AUTH");
            request_text(&request, "default");
        }
    } else {
        request_begin(&request, 2);
        request_text(&request, "AUTH");
    }
    if (place->key != NULL)
        request_text(&request, place->key);
    stream_append(&resp->stream, (struct bytes){request.data, request.size});
    resp->greetings = 1;
}

static struct client *
resp_open(const struct client_place *place, uint32_t seconds, char *ret_error)
{
    struct resp *resp = calloc(1, sizeof *resp);
    if (resp == NULL) {
        snprintf(ret_error, 160, "out of memory");
        return NULL;
    }
    resp->client.kind = &resp_client;
    if (!stream_open(&resp->stream, place, seconds, ret_error)) {
        resp_free(&resp->client);
        return NULL;
    }
    greet(resp, place);
    return &resp->client;
}

static int
resp_fd(const struct client *client)
{
    return ((const struct resp *)client)->stream.fd;
}

static const char *
resp_error(const struct client *client)
{
    return ((const struct resp *)client)->stream.error;
}

static void
resp_append(struct client *client, const struct request_text *request)
{
    stream_append(&((struct resp *)client)->stream, (struct bytes){request->data, request->size});
}

static int
resp_flush(struct client *client)
{
    return stream_flush(&((struct resp *)client)->stream);
}

static int
resp_read(struct client *client)
{
    return stream_read(&((struct resp *)client)->stream);
}

const struct client_kind resp_client = {
    .name = "RESP",
    .open = resp_open,
    .free = resp_free,
    .fd = resp_fd,
    .error = resp_error,
    .append = resp_append,
    .flush = resp_flush,
    .read = resp_read,
    .next = resp_next,
};
