/*
 * http_client.c - HTTP/1.1 from the client's side, as much of it as a server of an interface answers with.
 *
 *     status line      HTTP/1.1 or 1.0, three digits; 1xx are skipped
 *     headers          Content-Length, Transfer-Encoding (chunked alone) and Connection are read, all else
 * is passed over body             so many bytes, or chunks, which are put together where they lie; JSON
 * comes as values
 *
 * A body that ends with the connection, trailers, a length beside chunks, anything doubtful: the connection
 * has failed. An answer is looked at when all of it is there, so that nothing is remembered between reads.
 */
#include "load/json_flat.h"
#include "load/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HEAD_SIZE_MAX 16384u

struct http {
    struct client client;
    struct stream stream;
    struct answer answer;
    struct answer_room room;
    struct request_text head; /* header lines of every request: Host, perhaps Authorization */
    bool last;                /* the server closes behind this answer */
};

/* ---- requests ---- */

void
http_begin(struct request_text *request, const char *method, struct bytes target)
{
    request->size = 0;
    request_put_text(request, method);
    request_put(request, (struct bytes){" ", 1});
    request_put(request, target);
    request_put_text(request, " HTTP/1.1\r\n");
}

void
http_header(struct request_text *request, const char *name, struct bytes value)
{
    request_put_text(request, name);
    request_put(request, (struct bytes){": ", 2});
    request_put(request, value);
    request_put(request, (struct bytes){"\r\n", 2});
}

void
http_end(struct request_text *request, struct bytes body)
{
    if (body.size > 0) {
        request_put_text(request, "Content-Type: application/json\r\nContent-Length: ");
        request_put_number(request, body.size);
        request_put(request, (struct bytes){"\r\n", 2});
    }
    request_put(request, (struct bytes){"\r\n", 2});
    request_put(request, body);
}

static void
http_append(struct client *client, const struct request_text *request)
{
    struct http *http = (struct http *)client;
    const char *line_end = memchr(request->data, '\n', request->size);
    uint32_t line = line_end != NULL ? (uint32_t)(line_end + 1 - request->data) : 0;
    stream_append(&http->stream, (struct bytes){request->data, line});
    stream_append(&http->stream, (struct bytes){http->head.data, http->head.size});
    stream_append(&http->stream, (struct bytes){request->data + line, request->size - line});
}

/* ---- answers ---- */

struct head {
    uint32_t status;
    uint32_t size; /* all of it, with the empty line */
    bool length_known;
    uint32_t length;
    bool chunked;
    bool closes;
};

static bool
name_is(struct bytes name, const char *wanted)
{
    return name.size == strlen(wanted) && strncasecmp(name.data, wanted, name.size) == 0;
}

static bool
size_read(struct bytes text, uint32_t base, uint32_t *ret_size)
{
    uint64_t size = 0;
    if (text.size == 0 || text.size > 9)
        return false;
    for (uint32_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 99;
        if (digit >= base)
            return false;
        size = size * base + digit;
    }
    if (size > STREAM_BYTES_MAX)
        return false;
    *ret_size = (uint32_t)size;
    return true;
}

static bool
header_read(struct bytes line, struct head *head)
{
    const char *colon = memchr(line.data, ':', line.size);
    if (colon == NULL || colon == line.data)
        return false;
    struct bytes name = {line.data, (uint32_t)(colon - line.data)};
    struct bytes value = {colon + 1, line.size - name.size - 1};
    for (; value.size > 0 && (value.data[0] == ' ' || value.data[0] == '\t'); value.data++)
        value.size--;
    while (value.size > 0 && (value.data[value.size - 1] == ' ' || value.data[value.size - 1] == '\t'))
        value.size--;
    if (name_is(name, "Content-Length")) {
        bool again = head->length_known;
        head->length_known = true;
        return !again && size_read(value, 10, &head->length);
    }
    if (name_is(name, "Transfer-Encoding")) {
        bool again = head->chunked;
        head->chunked = true;
        return !again && name_is(value, "chunked");
    }
    if (name_is(name, "Connection") && name_is(value, "close"))
        head->closes = true;
    return true;
}

/* 1: a whole head, 0: more has to come, below 0: it is none. */
static int
head_read(struct bytes text, struct head *ret_head)
{
    struct head head = {0};
    const char *end =
        memmem(text.data, text.size < HEAD_SIZE_MAX ? text.size : HEAD_SIZE_MAX, "\r\n\r\n", 4);
    if (end == NULL)
        return text.size < HEAD_SIZE_MAX ? 0 : -1;
    head.size = (uint32_t)(end - text.data) + 4;
    const char *at = memchr(text.data, '\r', head.size);
    uint32_t line = (uint32_t)(at - text.data);
    if (line < 12 || memcmp(text.data, "HTTP/1.", 7) != 0 || (text.data[7] != '0' && text.data[7] != '1') ||
        text.data[8] != ' ' || (line > 12 && text.data[12] != ' ') ||
        !size_read((struct bytes){text.data + 9, 3}, 10, &head.status) || head.status < 100)
        return -1;
    head.closes = text.data[7] == '0';
    for (at += 2; at < end + 2;) {
        const char *line_end = memmem(at, (size_t)(end + 2 - at), "\r\n", 2);
        if (!header_read((struct bytes){at, (uint32_t)(line_end - at)}, &head))
            return -1;
        at = line_end + 2;
    }
    bool bodiless = head.status < 200 || head.status == 204 || head.status == 304;
    if (bodiless) {
        head.length = 0;
        head.chunked = false;
    } else if (head.length_known == head.chunked) {
        return -1;
    }
    *ret_head = head;
    return 1;
}

/* A chunk's head at *at: 1 (then *at is behind it), 0, below 0. */
static int
chunk_head(struct bytes text, uint32_t *at, uint32_t *ret_size)
{
    const char *begin = text.data + *at;
    uint32_t left = text.size - *at;
    const char *end = memmem(begin, left < 32 ? left : 32, "\r\n", 2);
    if (end == NULL)
        return left < 32 ? 0 : -1;
    if (!size_read((struct bytes){begin, (uint32_t)(end - begin)}, 16, ret_size))
        return -1;
    *at += (uint32_t)(end - begin) + 2;
    return 1;
}

/* Goes over the chunks behind the head; where to is not NULL, puts them together there (in front of where
 * they are). ret_end: behind the last one. */
static int
chunks_read(struct bytes text, uint32_t first, char *to, uint32_t *ret_body, uint32_t *ret_end)
{
    uint32_t at = first;
    uint64_t body = 0;
    for (;;) {
        uint32_t size;
        int result = chunk_head(text, &at, &size);
        if (result <= 0)
            return result;
        if (text.size - at < (uint64_t)size + 2)
            return 0;
        if (memcmp(text.data + at + size, "\r\n", 2) != 0)
            return -1;
        if (to != NULL)
            memmove(to + body, text.data + at, size);
        body += size;
        at += size + 2;
        if (size == 0) {
            *ret_body = (uint32_t)body;
            *ret_end = at;
            return 1;
        }
    }
}

static bool
body_values(struct http *http, uint32_t first, uint32_t size)
{
    char *data = http->stream.in.data;
    if (size == 0)
        return true;
    if (data[first] == '{' || data[first] == '[')
        return json_flatten(data, first, first + size, &http->room);
    struct answer_value *value = answer_add(&http->room, ANSWER_TEXT);
    if (value == NULL)
        return false;
    value->text = first;
    value->size = size;
    return true;
}

/* A whole answer that is no 1xx, into the values: 1, 0, below 0. */
static int
answer_take(struct http *http)
{
    struct buffer *in = &http->stream.in;
    struct head head;
    uint32_t body, end;
    do {
        struct bytes text = {in->data + in->first, in->end - in->first};
        int result = head_read(text, &head);
        if (result <= 0)
            return result;
        body = head.length;
        end = head.size + head.length;
        if (head.chunked)
            result = chunks_read(text, head.size, NULL, &body, &end);
        if (result <= 0 || text.size < end)
            return result < 0 ? -1 : 0;
        if (head.chunked)
            (void)chunks_read(text, head.size, in->data + in->first + head.size, &body,
                              &end); /* as before */
        http->room.count = 0;
        struct answer_value *status = answer_add(&http->room, ANSWER_INTEGER);
        if (status == NULL)
            return -1;
        status->integer = head.status;
        if (!body_values(http, in->first + head.size, body))
            return -1;
        in->first += end;
    } while (head.status < 200);
    http->last = head.closes;
    return 1;
}

static int
http_next(struct client *client, const struct answer **ret_answer)
{
    struct http *http = (struct http *)client;
    if (http->last)
        return stream_fail(&http->stream, "the server closes the connection behind its answer");
    if (http->stream.in.first == http->stream.in.end)
        return 0;
    int result = answer_take(http);
    if (result < 0)
        return stream_fail(&http->stream, "what came is no answer of HTTP/1.1 that is understood here");
    if (result == 0)
        return 0;
    http->answer = (struct answer){http->room.values, http->room.count, http->stream.in.data, false};
    *ret_answer = &http->answer;
    return 1;
}

/* ---- the connection ---- */

static void
http_free(struct client *client)
{
    struct http *http = (struct http *)client;
    stream_done(&http->stream);
    free(http->room.values);
    free(http);
}

static struct client *
http_open(const struct client_place *place, uint32_t seconds, char *ret_error)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        snprintf(ret_error, 160, "out of memory");
        return NULL;
    }
    http->client.kind = &http_client;
    if (!stream_open(&http->stream, place, seconds, ret_error)) {
        http_free(&http->client);
        return NULL;
    }
    bool six = strchr(place->address, ':') != NULL;
    request_put_text(&http->head, six ? "Host: [" : "Host: ");
    request_put_text(&http->head, place->address);
    request_put_text(&http->head, six ? "]:" : ":");
    request_put_number(&http->head, place->port);
    request_put_text(&http->head, "\r\n");
    if (place->key != NULL) {
        request_put_text(&http->head, "Authorization: Bearer ");
        request_put_text(&http->head, place->key);
        request_put_text(&http->head, "\r\n");
    }
    return &http->client;
}

static int
http_fd(const struct client *client)
{
    return ((const struct http *)client)->stream.fd;
}

static const char *
http_error(const struct client *client)
{
    return ((const struct http *)client)->stream.error;
}

static int
http_flush(struct client *client)
{
    return stream_flush(&((struct http *)client)->stream);
}

static int
http_read(struct client *client)
{
    return stream_read(&((struct http *)client)->stream);
}

const struct client_kind http_client = {
    .name = "HTTP",
    .open = http_open,
    .free = http_free,
    .fd = http_fd,
    .error = http_error,
    .append = http_append,
    .flush = http_flush,
    .read = http_read,
    .next = http_next,
};
