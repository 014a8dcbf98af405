/*
 * http_reply.c - heads of HTTP answers, errors, and answers whose size is not known beforehand.
 *
 * A head is put together from prepared pieces into room reserved once: nothing on this way is formatted.
 * A body is written by one function twice where its size is not small: first into an output that only
 * counts, for Content-Length or the chunk's size, then into the real one.
 *
 * Lists of events and seat maps come piece by piece, so they are chunked. HTTP/1.0 knows no chunks: there
 * the body ends with the connection.
 *
 * The answer to HEAD has the head that GET's would have, and ends there (RFC 9110, 9.3.2).
 *
 * See also: http_body.c for the JSON of holds, events and maps; docs/openapi.yaml for what a client sees.
 */
#include "net/http_reply_internal.h"

#include <assert.h>

/* "HTTP/1.1 200 OK\r\nDate: ...", Content-Type, Content-Length, traceparent, X-Request-ID, Retry-After,
 * Allow, Idempotent-Replayed, Connection. */
#define HEAD_SIZE_MAX 1024
static_assert(HEAD_SIZE_MAX > 512 + REQUEST_ID_SIZE_MAX, "the long piece has room");

/* The Date header of this second, and the second it is of. */
static _Thread_local struct {
    uint64_t second;
    uint32_t size;
    char text[48];
} date;

void
http_time(uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    if (second == date.second)
        return;
    date.second = second;
    char *at = put_literal(date.text, "Date: ");
    at = put_http_date(at, now_ms);
    at = put_literal(at, "\r\n");
    date.size = (uint32_t)(at - date.text);
}

static const struct status_line {
    uint16_t status;
    uint16_t size;
    const char *text;
} status_lines[] = {
#define LINE(status, text)                                                                                 \
    {                                                                                                      \
        status, sizeof("HTTP/1.1 " text "\r\n") - 1, "HTTP/1.1 " text "\r\n"                               \
    }
    LINE(200, "200 OK"),
    LINE(201, "201 Created"),
    LINE(400, "400 Bad Request"),
    LINE(401, "401 Unauthorized"),
    LINE(403, "403 Forbidden"),
    LINE(404, "404 Not Found"),
    LINE(405, "405 Method Not Allowed"),
    LINE(409, "409 Conflict"),
    LINE(410, "410 Gone"),
    LINE(413, "413 Content Too Large"),
    LINE(414, "414 URI Too Long"),
    LINE(415, "415 Unsupported Media Type"),
    LINE(422, "422 Unprocessable Content"),
    LINE(429, "429 Too Many Requests"),
    LINE(431, "431 Request Header Fields Too Large"),
    LINE(503, "503 Service Unavailable"),
#undef LINE
};

static char *
put_status_line(char *at, uint16_t status)
{
    for (size_t i = 0; i < sizeof status_lines / sizeof status_lines[0]; i++)
        if (status_lines[i].status == status)
            return put_bytes(at, status_lines[i].text, status_lines[i].size);
    assert(status == 0); /* a status that this server never sends */
    return at;
}

static char *
put_trace(char *at, const struct trace *trace)
{
    at = put_literal(at, "traceparent: 00-");
    at = put_hex(at, trace->trace_id, sizeof trace->trace_id);
    *at++ = '-';
    at = put_hex(at, trace->parent_id, sizeof trace->parent_id);
    *at++ = '-';
    at = put_hex(at, &trace->flags, 1);
    return put_literal(at, "\r\n");
}

/* The head up to the headers that frame the body. media_type: as a whole header line, static. */
static char *
put_head(char *at, const struct reply_context *context, uint16_t status, const char *media_type)
{
    at = put_status_line(at, status);
    at = put_bytes(at, date.text, date.size);
    at = put_bytes(at, media_type, strlen(media_type));
    if (context == NULL)
        return put_literal(at, "Connection: close\r\n");
    at = put_trace(at, &context->trace);
    if (context->request_id_size > 0) {
        at = put_literal(at, "X-Request-ID: ");
        at = put_bytes(at, context->request_id, context->request_id_size);
        at = put_literal(at, "\r\n");
    }
    if (!context->keep_alive)
        at = put_literal(at, "Connection: close\r\n");
    return at;
}

static char *
put_length(char *at, size_t size)
{
    at = put_literal(at, "Content-Length: ");
    at = put_unsigned(at, size);
    return put_literal(at, "\r\n\r\n");
}

static const char type_json[] = "Content-Type: application/json\r\n";
static const char type_problem[] = "Content-Type: application/problem+json\r\n";

/* A whole answer of which the body is in memory and small. extra: further header lines. */
static void
answer(struct output *output, const struct reply_context *context, uint16_t status, const char *media_type,
       const char *extra, const char *body, size_t body_size)
{
    size_t extra_size = strlen(extra);
    char *at = output_reserve(output, HEAD_SIZE_MAX);
    if (at == NULL)
        return;
    assert(extra_size < 256);
    at = put_head(at, context, status, media_type);
    at = put_bytes(at, extra, extra_size);
    output_commit(output, put_length(at, body_size));
    if (context == NULL || !context->head)
        output_put(output, body, body_size);
}

void
http_encode_continue(struct output *output)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    output_put(output, text, sizeof text - 1);
}

void
http_encode_text(struct output *output, const struct reply_context *context, uint16_t status,
                 const char *media_type, struct bytes body)
{
    char line[160];
    size_t size = strlen(media_type);
    assert(size < sizeof line - 32);
    char *at = put_literal(line, "Content-Type: ");
    at = put_bytes(at, media_type, size);
    at = put_literal(at, "\r\n");
    *at = 0;
    answer(output, context, status, line, "", body.data, body.size);
}

/* Counting output: what is written is only counted. */
struct counter {
    struct output output;
    size_t total;
    char scratch[2 * OUTPUT_GROW_MAX];
};

static void
counter_grow(struct output *output, size_t size)
{
    struct counter *counter = output->owner;
    assert(size <= sizeof counter->scratch);
    counter->total += (size_t)(output->data - counter->scratch);
    output->data = counter->scratch;
    output->room = sizeof counter->scratch;
}

static void
counter_begin(struct counter *counter)
{
    counter->total = 0;
    counter->output.data = counter->scratch;
    counter->output.room = sizeof counter->scratch;
    counter->output.failed = false;
    counter->output.owner = counter;
    counter->output.grow = counter_grow;
}

static size_t
counter_end(struct counter *counter)
{
    return counter->total + (size_t)(counter->output.data - counter->scratch);
}

/* One body of unknown size. */
typedef void body_function(struct output *output, const struct reply *reply, uint64_t now_ms);

static size_t
body_size(body_function *body, const struct reply *reply, uint64_t now_ms)
{
    struct counter counter;
    counter_begin(&counter);
    body(&counter.output, reply, now_ms);
    return counter_end(&counter);
}

static void
answer_large(struct output *output, const struct reply_context *context, const struct reply *reply,
             uint64_t now_ms, body_function *body)
{
    char *at = output_reserve(output, HEAD_SIZE_MAX);
    if (at == NULL)
        return;
    at = put_head(at, context, reply->created ? 201 : 200, type_json);
    if (reply->replayed)
        at = put_literal(at, "Idempotent-Replayed: true\r\n");
    output_commit(output, put_length(at, body_size(body, reply, now_ms)));
    if (!context->head)
        body(output, reply, now_ms);
}

/* The head of a body that comes in pieces. */
static void
pieces_begin(struct output *output, const struct reply_context *context)
{
    char *at = output_reserve(output, HEAD_SIZE_MAX);
    if (at == NULL)
        return;
    at = put_head(at, context, 200, type_json);
    if (context->http != 10)
        at = put_literal(at, "Transfer-Encoding: chunked\r\n");
    output_commit(output, put_literal(at, "\r\n"));
}

static void
chunk_size(struct output *output, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char *at = output_reserve(output, 20);
    if (at == NULL)
        return;
    int shift = 60;
    while (shift > 0 && (size >> shift) == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *at++ = digits[size >> shift & 15];
    output_commit(output, put_literal(at, "\r\n"));
}

static void
chunk_text(struct output *output, const struct reply_context *context, const char *text)
{
    size_t size = strlen(text);
    if (context->head)
        return;
    if (context->http != 10)
        chunk_size(output, size);
    output_put(output, text, size);
    if (context->http != 10)
        output_put(output, "\r\n", 2);
}

static void
chunk_body(struct output *output, const struct reply_context *context, const struct reply *reply,
           uint64_t now_ms, body_function *body)
{
    if (context->head)
        return;
    if (context->http != 10) {
        size_t size = body_size(body, reply, now_ms);
        if (size == 0)
            return; /* a chunk of no bytes would end the body */
        chunk_size(output, size);
    }
    body(output, reply, now_ms);
    if (context->http != 10)
        output_put(output, "\r\n", 2);
}

static void
pieces_end(struct output *output, const struct reply_context *context)
{
    if (context->http != 10 && !context->head)
        output_put(output, "0\r\n\r\n", 5);
}

void
http_encode_list_begin(struct output *output, const struct reply_context *context)
{
    pieces_begin(output, context);
    chunk_text(output, context, "{\"events\":[");
}

void
http_encode_list_separator(struct output *output, const struct reply_context *context, uint32_t index)
{
    if (index > 0)
        chunk_text(output, context, ",");
}

void
http_encode_list_end(struct output *output, const struct reply_context *context)
{
    chunk_text(output, context, "]}");
    pieces_end(output, context);
}

static uint16_t
http_status_of(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return 200;
    case STATUS_BADREQUEST:
        return 400;
    case STATUS_NOAUTH:
        return 401;
    case STATUS_NOTADMITTED:
        return 403;
    case STATUS_NOEVENT:
    case STATUS_NOHOLD:
    case STATUS_NOTOKEN:
    case STATUS_NOSEAT:
    case STATUS_NOPOOL:
        return 404;
    case STATUS_EXPIRED:
        return 410;
    case STATUS_KEYREUSED:
        return 422;
    case STATUS_RATELIMIT:
        return 429;
    case STATUS_BUSY:
        return 503;
    default:
        return 409;
    }
}

/* {"type":...,"title":...,"status":...,"detail":...,"code":...  without the end. Texts are static, or were
 * made harmless, or are escaped here. */
static char *
put_problem(char *at, uint16_t http_status, const char *code, const char *title)
{
    at = put_literal(at, "{\"type\":\"urn:holdfast:problem:");
    at = put_bytes(at, code, strlen(code));
    at = put_literal(at, "\",\"title\":\"");
    at = put_bytes(at, title, strlen(title));
    at = put_literal(at, "\",\"status\":");
    at = put_unsigned(at, http_status);
    at = put_literal(at, ",\"code\":\"");
    at = put_bytes(at, code, strlen(code));
    at = put_literal(at, "\",\"detail\":\"");
    return at;
}

static char *
put_number_member(char *at, const char *name, uint64_t value)
{
    at = put_literal(at, ",\"");
    at = put_bytes(at, name, strlen(name));
    at = put_literal(at, "\":");
    return put_unsigned(at, value);
}

static char *
put_detail(char *at, const struct reply *reply)
{
    if ((reply->figures & FIGURE_FIELD) != 0) {
        at = put_bytes(at, reply->field, strnlen(reply->field, sizeof reply->field));
        at = put_literal(at, ": expected ");
        at = put_bytes(at, reply->expected, strnlen(reply->expected, sizeof reply->expected));
    } else {
        const char *text = status_text(reply->status);
        at = put_bytes(at, text, strlen(text));
    }
    if ((reply->figures & FIGURE_UNIT) != 0) {
        at = put_literal(at, ": ");
        at = put_bytes(at, reply->unit, reply->unit_size);
    }
    return at;
}

static char *
put_figures(char *at, const struct reply *reply, uint64_t now_ms)
{
    if ((reply->figures & FIGURE_FIELD) != 0) {
        at = put_literal(at, ",\"field\":\"");
        at = put_bytes(at, reply->field, strnlen(reply->field, sizeof reply->field));
        at = put_literal(at, "\"");
    }
    if ((reply->figures & FIGURE_UNIT) != 0) {
        at = put_literal(at, ",\"unit\":\"");
        at = put_bytes(at, reply->unit, reply->unit_size);
        at = put_literal(at, "\"");
    }
    if ((reply->figures & FIGURE_REMAINING) != 0)
        at = put_number_member(at, "remaining", reply->remaining);
    if ((reply->figures & FIGURE_NEXT_DEADLINE) != 0)
        at = put_number_member(at, "next_deadline_in_ms", time_left_ms(reply->next_deadline_ms, now_ms));
    if ((reply->figures & FIGURE_OWN) != 0) {
        at = put_literal(at, ",\"own\":\"");
        at = put_uuid(at, &reply->own);
        at = put_literal(at, "\"");
    }
    if ((reply->figures & FIGURE_LARGEST_RUN) != 0)
        at = put_number_member(at, "largest_run", reply->largest_run);
    if ((reply->figures & FIGURE_LIMIT) != 0) {
        at = put_number_member(at, "limit", reply->limit);
        at = put_number_member(at, "used", reply->used);
    }
    if ((reply->figures & FIGURE_DEADLINE_MAX) != 0)
        at = put_number_member(at, "deadline_max_in_ms", time_left_ms(reply->deadline_max_ms, now_ms));
    if ((reply->figures & FIGURE_OPENS_AT) != 0)
        at = put_number_member(at, "opens_in_ms", time_left_ms(reply->opens_at_ms, now_ms));
    return at;
}

#define REFUSAL_HEADERS_SIZE 192

static void
answer_refusal(struct output *output, const struct reply_context *context, uint16_t http_status,
               const char *extra, const struct reply *reply, uint64_t now_ms)
{
    char body[1024];
    char *at = put_problem(body, http_status, status_code(reply->status), status_text(reply->status));
    at = put_detail(at, reply);
    at = put_literal(at, "\"");
    at = put_figures(at, reply, now_ms);
    at = put_literal(at, "}");
    assert(at <= body + sizeof body);
    answer(output, context, http_status, type_problem, extra, body, (size_t)(at - body));
}

/* What a refusal's status wants in the head, ended by a zero. rate_policy NULL: no more is known of a limit
 * than that it will be worth trying again. */
static void
refusal_headers(uint16_t http_status, const char *rate_policy, uint32_t per_second, uint32_t retry_seconds,
                char ret_extra[REFUSAL_HEADERS_SIZE])
{
    char *at = ret_extra;
    if (http_status == 401)
        at = put_literal(at, "WWW-Authenticate: Bearer\r\n");
    if (http_status == 503 || http_status == 429) {
        at = put_literal(at, "Retry-After: ");
        at = put_unsigned(at, rate_policy != NULL ? retry_seconds : 1);
        at = put_literal(at, "\r\n");
    }
    if (rate_policy != NULL) {
        assert(strlen(rate_policy) < 16);
        at = put_literal(at, "RateLimit-Policy: \"");
        at = put_bytes(at, rate_policy, strlen(rate_policy));
        at = put_literal(at, "\";q=");
        at = put_unsigned(at, per_second);
        at = put_literal(at, ";w=1\r\nRateLimit: \"");
        at = put_bytes(at, rate_policy, strlen(rate_policy));
        at = put_literal(at, "\";r=0;t=");
        at = put_unsigned(at, retry_seconds);
        at = put_literal(at, "\r\n");
    }
    assert(at < ret_extra + REFUSAL_HEADERS_SIZE);
    *at = 0;
}

static void
answer_hold(struct output *output, const struct reply_context *context, const struct reply *reply,
            uint64_t now_ms)
{
    char body[HOLD_JSON_SIZE_MAX];
    char *end = put_hold_json(body, &reply->hold, OBJECT_ANSWER, now_ms);
    assert(end <= body + sizeof body);
    answer(output, context, reply->created ? 201 : 200, type_json,
           reply->replayed ? "Idempotent-Replayed: true\r\n" : "", body, (size_t)(end - body));
}

static void
answer_token(struct output *output, const struct reply_context *context, const struct reply *reply,
             uint64_t now_ms)
{
    char body[TOKEN_JSON_SIZE_MAX];
    char *end = put_token_json(body, &reply->token, OBJECT_ANSWER, now_ms);
    assert(end <= body + sizeof body);
    answer(output, context, reply->created ? 201 : 200, type_json,
           reply->replayed ? "Idempotent-Replayed: true\r\n" : "", body, (size_t)(end - body));
}

void
http_encode(struct output *output, const struct reply_context *context, const struct reply *reply,
            uint64_t now_ms)
{
    http_time(now_ms);
    if (reply->status != STATUS_OK) {
        char extra[REFUSAL_HEADERS_SIZE];
        refusal_headers(http_status_of(reply->status), NULL, 0, 0, extra);
        answer_refusal(output, context, http_status_of(reply->status), extra, reply, now_ms);
        return;
    }
    switch (reply->kind) {
    case REPLY_HOLD:
        answer_hold(output, context, reply, now_ms);
        return;
    case REPLY_HOLDS:
        answer_large(output, context, reply, now_ms, http_body_holds);
        return;
    case REPLY_EVENT:
        if (context->kind == REQUEST_EVENT_LIST)
            chunk_body(output, context, reply, now_ms, http_body_event);
        else
            answer_large(output, context, reply, now_ms, http_body_event);
        return;
    case REPLY_MAP:
        if (reply->map->row_from == 0)
            pieces_begin(output, context);
        chunk_body(output, context, reply, now_ms, http_body_map);
        if (reply->map->row_to == reply->map->row_count)
            pieces_end(output, context);
        return;
    case REPLY_TOKEN:
        answer_token(output, context, reply, now_ms);
        return;
    case REPLY_NONE:
        answer(output, context, reply->created ? 201 : 200, type_json,
               reply->replayed ? "Idempotent-Replayed: true\r\n" : "", "{}", 2);
        return;
    }
}

static const char *
problem_title(uint16_t http_status)
{
    switch (http_status) {
    case 404:
        return "there is nothing at this path";
    case 405:
        return "this path does not take this method";
    case 415:
        return "the content is of a type that is not taken";
    case 413:
    case 414:
    case 431:
        return "the request is too large";
    default:
        return "the request is malformed or out of range";
    }
}

void
http_encode_error(struct output *output, const struct reply_context *context,
                  const struct request_error *error)
{
    struct reply_context closing;
    if (context != NULL && context->http == 0)
        context = NULL; /* nothing of the request is known: it was not even framed */
    if (error->close && context != NULL && context->keep_alive) {
        closing = *context;
        closing.keep_alive = 0;
        context = &closing;
    }
    if (error->http_status == 0) {
        struct reply reply = {.status = error->status};
        if (error->field[0] != 0) {
            reply.figures = FIGURE_FIELD;
            memcpy(reply.field, error->field, sizeof reply.field);
            memcpy(reply.expected, error->expected, sizeof reply.expected);
        }
        char extra[REFUSAL_HEADERS_SIZE];
        uint16_t http_status = error->forbidden ? 403 : http_status_of(error->status);
        refusal_headers(http_status, error->rate_policy, error->rate_per_second, error->retry_seconds,
                        extra);
        answer_refusal(output, context, http_status, extra, &reply, 0);
        return;
    }
    char body[1024];
    char *at = put_problem(body, error->http_status, error->http_code, problem_title(error->http_status));
    at = put_bytes(at, error->text, strnlen(error->text, sizeof error->text));
    at = put_literal(at, "\"}");
    assert(at <= body + sizeof body);
    char allow[64] = "";
    if (error->allow != NULL) {
        assert(strlen(error->allow) < sizeof allow - 16);
        char *end = put_literal(allow, "Allow: ");
        end = put_bytes(end, error->allow, strlen(error->allow));
        end = put_literal(end, "\r\n");
        *end = 0;
    }
    answer(output, context, error->http_status, type_problem, allow, body, (size_t)(at - body));
}
