/*
 * http_request.c - what a framed HTTP request asks for: headers, path, query; and who reads its body.
 *
 * The routes are one table. A path that is in it answers 405 with Allow to any other method; a path that is
 * not answers 404. HEAD is taken wherever GET is. Order: path, method, headers, query, media type, body.
 *
 * Bodies of GET and DELETE have no meaning (RFC 9110, 9.3.1): they are framed and dropped.
 *
 * See also: http.c for the framing that has gone before, http_json.c for bodies, docs/openapi.yaml.
 */
#include "net/http_internal.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>

typedef void decode_function(const struct http_request *http, struct decode_memory *memory,
                             struct request *request);

static void
refuse_http(struct request *request, uint16_t http_status, const char *code, const char *detail)
{
    request_refuse(request, STATUS_BADREQUEST);
    request->error.http_status = http_status;
    request->error.http_code = code;
    (void)snprintf(request->error.text, sizeof request->error.text, "%s", detail);
}

/* Decodes percent-encoding; a text without any stays where it is. False: no memory. Its form was checked
 * with the request line. */
static bool
percent_decode(struct bytes text, struct bytes *ret_text)
{
    if (memchr(text.data, '%', text.size) == NULL) {
        *ret_text = text;
        return true;
    }
    char *decoded = http_arena_take(text.size);
    if (decoded == NULL)
        return false;
    uint32_t size = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '%') {
            c = (char)(hex_digit(text.data[i + 1]) << 4 | hex_digit(text.data[i + 2]));
            i += 2;
        }
        decoded[size++] = c;
    }
    *ret_text = (struct bytes){decoded, size};
    return true;
}

/*
 * The query: name=value joined by &, each name once. At most one parameter is known to any route: `known`,
 * or NULL. False: the request is refused. ret_value->data stays NULL where the parameter is absent.
 */
static bool
query_take(const struct http_request *http, const char *known, struct bytes *ret_value,
           struct request *request)
{
    struct bytes rest = http->query;
    *ret_value = (struct bytes){NULL, 0};
    while (rest.size > 0) {
        const char *ampersand = memchr(rest.data, '&', rest.size);
        struct bytes pair = {rest.data, ampersand != NULL ? (uint32_t)(ampersand - rest.data) : rest.size};
        uint32_t taken = pair.size + (ampersand != NULL);
        rest = (struct bytes){rest.data + taken, rest.size - taken};
        if (pair.size == 0)
            continue;
        const char *equals = memchr(pair.data, '=', pair.size);
        struct bytes name = {pair.data, equals != NULL ? (uint32_t)(equals - pair.data) : pair.size};
        struct bytes value = {name.data + name.size + (equals != NULL), 0};
        value.size = pair.size - name.size - (equals != NULL);
        if (!percent_decode(name, &name) || !percent_decode(value, &value)) {
            request_refuse(request, STATUS_BUSY);
            return false;
        }
        if (known == NULL || name.size != strlen(known) || memcmp(name.data, known, name.size) != 0) {
            request_badrequest_named(request, name, known == NULL ? "no query" : "a known query parameter");
            return false;
        }
        if (ret_value->data != NULL) {
            request_badrequest(request, known, "the parameter once");
            return false;
        }
        *ret_value = value;
    }
    return true;
}

static bool
query_empty(const struct http_request *http, struct request *request)
{
    struct bytes none;
    return query_take(http, NULL, &none, request);
}

/* Refuses where field is not NULL; true: all is well. */
static bool
field_good(struct request *request, const char *field, const char *expected)
{
    if (field == NULL)
        return true;
    request_badrequest(request, field, expected);
    return false;
}

/* The command, its idempotency key, and the event or hold that the path names. */
static bool
event_begin(const struct http_request *http, enum command_type type, struct request *request)
{
    request_command(request, type);
    request->command.key = http->key;
    const char *expected;
    const char *field = command_event(&request->command, http->segments[2], &expected);
    return field_good(request, field, expected);
}

static bool
hold_begin(const struct http_request *http, enum command_type type, struct request *request)
{
    request_command(request, type);
    request->command.key = http->key;
    const char *expected;
    const char *field = command_hold_id(&request->command, http->segments[2], &expected);
    return field_good(request, field, expected);
}

static void
get_healthz(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    request->kind = REQUEST_HEALTHZ;
    (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
get_readyz(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    request->kind = REQUEST_READYZ;
    (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
get_metrics(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    request->kind = REQUEST_METRICS;
    request->metrics = true;
    (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
get_openapi(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    request->kind = REQUEST_OPENAPI;
    (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
get_events(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    request_command(request, COMMAND_EVENT_GET);
    request->kind = REQUEST_EVENT_LIST;
    (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
get_event(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    if (event_begin(http, COMMAND_EVENT_GET, request))
        (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
get_seats(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    struct bytes section;
    if (!event_begin(http, COMMAND_SEATS, request) || !query_take(http, "section", &section, request))
        return;
    const char *expected;
    const char *field = command_section(&request->command, section, &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

static void
get_user(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    if (!event_begin(http, COMMAND_HOLDS, request) || !query_empty(http, request))
        return;
    const char *expected;
    const char *field = command_user(&request->command, http->segments[4], &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

static void
get_hold(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    if (hold_begin(http, COMMAND_HOLD_GET, request))
        (void)query_empty(http, request); /* refused or not, this was the last check */
}

static bool
token_begin(const struct http_request *http, enum command_type type, struct request *request)
{
    request_command(request, type);
    const char *expected;
    const char *field = command_token(&request->command, http->segments[2], &expected);
    return field_good(request, field, expected);
}

static void
get_token(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    struct bytes wait;
    if (!token_begin(http, COMMAND_QUEUE_GET, request) || !query_take(http, "wait_ms", &wait, request) ||
        wait.data == NULL)
        return;
    const char *expected;
    const char *field = command_wait(&request->command, wait, &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

static void
delete_token(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    bool good = token_begin(http, COMMAND_QUEUE_LEAVE, request);
    request->command.key = http->key;
    if (good)
        (void)query_empty(http, request); /* refused or not, this was the last check */
}

static void
delete_hold(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* no body to keep */
    struct bytes user;
    if (!hold_begin(http, COMMAND_RELEASE, request) || !query_take(http, "user", &user, request))
        return;
    const char *expected;
    const char *field = command_user(&request->command, user, &expected);
    (void)field_good(request, field, expected); /* refused or not, this was the last check */
}

/* What stands before the next semicolon, without the white space around it. */
static struct bytes
parameter_take(struct bytes *text)
{
    const char *end = text->data + text->size;
    const char *semicolon = memchr(text->data, ';', text->size);
    const char *part_end = semicolon != NULL ? semicolon : end;
    struct bytes part = {text->data, (uint32_t)(part_end - text->data)};
    const char *rest = semicolon != NULL ? semicolon + 1 : end;
    *text = (struct bytes){rest, (uint32_t)(end - rest)};
    while (part.size > 0 && (part.data[0] == ' ' || part.data[0] == '\t'))
        part = (struct bytes){part.data + 1, part.size - 1};
    while (part.size > 0 && (part.data[part.size - 1] == ' ' || part.data[part.size - 1] == '\t'))
        part.size--;
    return part;
}

/* The media type of a body: application/json, in UTF-8 where a charset is named, or none named at all.
 * Other parameters are overlooked (RFC 9110, 8.3.1). */
static bool
media_type_good(struct bytes type)
{
    static const char charset[] = "charset=";
    if (type.size == 0)
        return true;
    if (!http_name_is(parameter_take(&type), "application/json"))
        return false;
    while (type.size > 0) {
        struct bytes parameter = parameter_take(&type);
        if (parameter.size < sizeof charset - 1 ||
            strncasecmp(parameter.data, charset, sizeof charset - 1) != 0)
            continue;
        struct bytes value = {parameter.data + sizeof charset - 1,
                              parameter.size - (uint32_t)(sizeof charset - 1)};
        if (value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"')
            value = (struct bytes){value.data + 1, value.size - 2};
        if (!http_name_is(value, "utf-8"))
            return false;
    }
    return true;
}

/* The query is empty and the body, if any, is JSON. */
static bool
body_good(const struct http_request *http, struct request *request)
{
    if (!query_empty(http, request))
        return false;
    if (http->body.size > 0 && !media_type_good(http->content_type)) {
        refuse_http(request, 415, "mediatype", "the content is to be application/json");
        return false;
    }
    return true;
}

static void
post_events(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    request_command(request, COMMAND_EVENT_CREATE);
    request->command.key = http->key;
    if (body_good(http, request))
        http_json_event(http->body, memory, request);
}

static void
patch_event(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    if (event_begin(http, COMMAND_EVENT_SET, request) && body_good(http, request))
        http_json_change(http->body, memory, request);
}

static void
post_holds(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* the core copies what it keeps of a hold */
    if (event_begin(http, COMMAND_HOLD, request) && body_good(http, request))
        http_json_hold(http->body, request);
}

static void
post_queue(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* the core copies what it keeps of a place */
    if (event_begin(http, COMMAND_QUEUE_JOIN, request) && body_good(http, request))
        http_json_join(http->body, request);
}

static void
post_confirm(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* the core copies what it keeps of a confirm */
    if (hold_begin(http, COMMAND_CONFIRM, request) && body_good(http, request))
        http_json_confirm(http->body, request);
}

static void
post_extend(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* the core copies what it keeps of an extend */
    if (hold_begin(http, COMMAND_EXTEND, request) && body_good(http, request))
        http_json_extend(http->body, request);
}

static void
post_cancel(const struct http_request *http, struct decode_memory *memory, struct request *request)
{
    (void)memory; /* nothing is in the body */
    if (hold_begin(http, COMMAND_CANCEL, request) && body_good(http, request))
        http_json_cancel(http->body, request);
}

/* A path by its segments, "*" standing for any; up to two methods. */
static const struct route {
    const char *segments[PATH_SEGMENTS_MAX];
    uint32_t segment_count;
    const char *allow;
    struct {
        const char *method;
        decode_function *decode;
    } methods[2];
} routes[] = {
    {{"v1", "events", "*", "holds"}, 4, "POST", {{"POST", post_holds}}},
    {{"v1", "holds", "*", "confirm"}, 4, "POST", {{"POST", post_confirm}}},
    {{"v1", "holds", "*"}, 3, "GET, HEAD, DELETE", {{"GET", get_hold}, {"DELETE", delete_hold}}},
    {{"v1", "holds", "*", "extend"}, 4, "POST", {{"POST", post_extend}}},
    {{"v1", "holds", "*", "cancel"}, 4, "POST", {{"POST", post_cancel}}},
    {{"v1", "events"}, 2, "GET, HEAD, POST", {{"GET", get_events}, {"POST", post_events}}},
    {{"v1", "events", "*"}, 3, "GET, HEAD, PATCH", {{"GET", get_event}, {"PATCH", patch_event}}},
    {{"v1", "events", "*", "seats"}, 4, "GET, HEAD", {{"GET", get_seats}}},
    {{"v1", "events", "*", "users", "*"}, 5, "GET, HEAD", {{"GET", get_user}}},
    {{"v1", "queue", "*"}, 3, "GET, HEAD, DELETE", {{"GET", get_token}, {"DELETE", delete_token}}},
    {{"v1", "events", "*", "queue"}, 4, "POST", {{"POST", post_queue}}},
    {{"healthz"}, 1, "GET, HEAD", {{"GET", get_healthz}}},
    {{"readyz"}, 1, "GET, HEAD", {{"GET", get_readyz}}},
    {{"metrics"}, 1, "GET, HEAD", {{"GET", get_metrics}}},
    {{"openapi.yaml"}, 1, "GET, HEAD", {{"GET", get_openapi}}},
};

static bool
bytes_are(struct bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

static bool
route_matches(const struct route *route, const struct http_request *http)
{
    if (route->segment_count != http->segment_count)
        return false;
    for (uint32_t i = 0; i < route->segment_count; i++)
        if (route->segments[i][0] != '*' && !bytes_are(http->segments[i], route->segments[i]))
            return false;
    return true;
}

/* Splits the path at its slashes and decodes each piece. False: an empty piece, too many, or no memory, so
 * that it is no path of ours. */
static bool
path_split(struct http_request *http)
{
    struct bytes rest = http->path;
    http->segment_count = 0;
    if (rest.size > 0 && rest.data[0] != '/')
        return false; /* the asterisk of OPTIONS */
    while (rest.size > 0) {
        assert(rest.data[0] == '/');
        const char *first = rest.data + 1;
        const char *slash = memchr(first, '/', rest.size - 1);
        uint32_t size = slash != NULL ? (uint32_t)(slash - first) : rest.size - 1;
        if (size == 0 || http->segment_count == PATH_SEGMENTS_MAX)
            return false;
        if (!percent_decode((struct bytes){first, size}, &http->segments[http->segment_count++]))
            return false;
        rest = (struct bytes){first + size, rest.size - 1 - size};
    }
    return true;
}

static void
route_request(struct http_request *http, struct decode_memory *memory, struct request *request)
{
    const struct route *route = NULL;
    if (path_split(http))
        for (size_t i = 0; i < sizeof routes / sizeof routes[0] && route == NULL; i++)
            if (route_matches(&routes[i], http))
                route = &routes[i];
    bool server_wide = bytes_are(http->method, "CONNECT") || bytes_are(http->path, "*");
    if (route == NULL && !server_wide) {
        refuse_http(request, 404, "notfound", "there is nothing at this path");
        return;
    }
    decode_function *decode = NULL;
    /* HEAD is what GET would be, without the content: that is left out where the answer is encoded */
    struct bytes method = request->reply_context.head ? (struct bytes){"GET", 3} : http->method;
    if (route != NULL)
        for (size_t i = 0; i < 2 && route->methods[i].method != NULL; i++)
            if (bytes_are(method, route->methods[i].method))
                decode = route->methods[i].decode;
    if (decode == NULL) {
        refuse_http(request, 405, "method", "this path does not take this method");
        request->error.allow = route != NULL ? route->allow : "GET, HEAD, POST, PATCH, DELETE";
        request->error.close =
            bytes_are(http->method, "CONNECT"); /* what follows may be a tunnel's bytes */
        return;
    }
    decode(http, memory, request);
    /* Comes first, but told last: by then it is known which command was meant, and so whether whoever
     * asks may even be told what is wrong with it. */
    if (http->bad_header != NULL)
        request_badrequest(request, http->bad_header, http->bad_expected);
}

static bool
hex_take(const char *text, uint8_t *bytes, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++) {
        char high = text[2 * i];
        char low = text[2 * i + 1];
        /* Capitals are not allowed here (W3C Trace Context, 3.2). */
        if (hex_digit(high) < 0 || hex_digit(low) < 0 || (high >= 'A' && high <= 'F') ||
            (low >= 'A' && low <= 'F'))
            return false;
        bytes[i] = (uint8_t)(hex_digit(high) << 4 | hex_digit(low));
        all |= bytes[i];
    }
    return all != 0;
}

/* 00-<32 digits>-<16 digits>-<2 digits>; a later version may have more behind a further dash. */
static bool
traceparent_parse(struct bytes text, struct trace *ret_trace)
{
    struct trace trace;
    uint8_t version[1];
    if (text.size < 55 || text.data[2] != '-' || text.data[35] != '-' || text.data[52] != '-')
        return false;
    bool version_zero = text.data[0] == '0' && text.data[1] == '0';
    if (!version_zero && (!hex_take(text.data, version, 1) || version[0] == 0xFF))
        return false;
    if (text.size > 55 && (version_zero || text.data[55] != '-'))
        return false;
    if (!hex_take(text.data + 3, trace.trace_id, 16) || !hex_take(text.data + 36, trace.parent_id, 8))
        return false;
    if (!hex_take(text.data + 53, &trace.flags, 1) && (text.data[53] != '0' || text.data[54] != '0'))
        return false;
    *ret_trace = trace;
    return true;
}

static void
trace_fresh(const uint8_t random[24], struct trace *ret_trace)
{
    memcpy(ret_trace->trace_id, random, 16);
    memcpy(ret_trace->parent_id, random + 16, 8);
    ret_trace->flags = 0;
    /* All zero means that there is none. */
    ret_trace->trace_id[15] |= 1;
    ret_trace->parent_id[7] |= 1;
}

static bool
request_id_good(struct bytes id)
{
    if (id.size == 0 || id.size > REQUEST_ID_SIZE_MAX)
        return false;
    for (uint32_t i = 0; i < id.size; i++)
        if (id.data[i] < '!' || id.data[i] > '~')
            return false;
    return true;
}

/* Does a list such as "keep-alive, close" have the word? */
static bool
list_has(struct bytes list, const char *word)
{
    while (list.size > 0) {
        const char *comma = memchr(list.data, ',', list.size);
        struct bytes item = {list.data, comma != NULL ? (uint32_t)(comma - list.data) : list.size};
        uint32_t taken = item.size + (comma != NULL);
        list = (struct bytes){list.data + taken, list.size - taken};
        while (item.size > 0 && (item.data[0] == ' ' || item.data[0] == '\t')) {
            item.data++;
            item.size--;
        }
        while (item.size > 0 && (item.data[item.size - 1] == ' ' || item.data[item.size - 1] == '\t'))
            item.size--;
        if (http_name_is(item, word))
            return true;
    }
    return false;
}

static void
header_bad(struct http_request *http, const char *header, const char *expected)
{
    if (http->bad_header == NULL) {
        http->bad_header = header;
        http->bad_expected = expected;
    }
}

/* What one header says, if we know it. *traces: how many traceparent there were so far. */
static void
header_read(struct http_request *http, struct reply_context *context, const struct http_line *line,
            uint32_t *traces)
{
    switch (line->name.size) {
    case 9:
        if (http_name_is(line->name, "forwarded"))
            http->forwarded = line->value;
        return;
    case 10:
        if (http_name_is(line->name, "connection") && list_has(line->value, "close"))
            context->keep_alive = 0;
        return;
    case 11:
        if (!http_name_is(line->name, "traceparent"))
            return;
        /* Malformed, or more than one: as if there were none (W3C Trace Context, 3.2.2.5, 4.3). */
        if (!traceparent_parse(line->value, &context->trace))
            *traces = 2;
        ++*traces;
        return;
    case 12:
        if (http_name_is(line->name, "content-type")) {
            if (http->content_type.size > 0)
                header_bad(http, "Content-Type", "the header once");
            http->content_type = line->value;
        } else if (http_name_is(line->name, "x-request-id")) {
            if (context->request_id_size > 0) {
                header_bad(http, "X-Request-ID", "the header once");
            } else if (!request_id_good(line->value)) {
                header_bad(http, "X-Request-ID", "1 to 128 printable ASCII characters without spaces");
            } else {
                context->request_id_size = (uint8_t)line->value.size;
                memcpy(context->request_id, line->value.data, line->value.size);
            }
        }
        return;
    case 13:
        if (!http_name_is(line->name, "authorization"))
            return;
        /* two keys are none: nobody may have the one looked at and the other one used */
        http->authorization = http->authorizations++ == 0 ? line->value : (struct bytes){"", 0};
        return;
    case 15:
        if (http_name_is(line->name, "x-forwarded-for"))
            http->x_forwarded_for = line->value;
        if (!http_name_is(line->name, "idempotency-key"))
            return;
        if (http->key.size > 0)
            header_bad(http, "Idempotency-Key", "the header once");
        if (line->value.size < 1 || line->value.size > KEY_SIZE_MAX)
            header_bad(http, "Idempotency-Key", expected_key);
        http->key = line->value;
        return;
    default:
        return;
    }
}

/* Reads the request line; returns where the headers begin. */
static const char *
request_line_read(const char *data, struct http_request *http, struct reply_context *context)
{
    const char *line_end = rawmemchr(data, '\r');
    const char *space = rawmemchr(data, ' ');
    http->method = (struct bytes){data, (uint32_t)(space - data)};
    const char *target = space + 1;
    const char *target_end = rawmemchr(target, ' ');
    if (target[0] != '/' && target[0] != '*') {
        /* absolute-form: the path is what follows the authority. CONNECT has no path and comes to nothing.
         */
        const char *authority = memmem(target, (size_t)(target_end - target), "://", 3);
        target = authority != NULL ? authority + 3 : target_end;
        while (target < target_end && *target != '/' && *target != '?')
            target++;
    }
    const char *question = memchr(target, '?', (size_t)(target_end - target));
    const char *path_end = question != NULL ? question : target_end;
    http->path = (struct bytes){target, (uint32_t)(path_end - target)};
    http->query = (struct bytes){path_end, 0};
    if (question != NULL)
        http->query = (struct bytes){question + 1, (uint32_t)(target_end - question - 1)};

    context->http = line_end[-1] == '0' ? 10 : 11;
    context->keep_alive = context->http == 11;
    context->head = bytes_are(http->method, "HEAD");
    return line_end + 2;
}

/* Reads the headers up to `end`, or to the empty line behind them; returns where it stopped. */
static const char *
headers_read(const char *at, const char *end, const uint8_t now_random[24], struct http_request *http,
             struct reply_context *context)
{
    struct http_line line;
    uint32_t traces = 0;
    context->request_id_size = 0;
    while (at < end && http_line_take(&at, &line))
        header_read(http, context, &line, &traces);
    if (traces != 1)
        trace_fresh(now_random, &context->trace);
    return at;
}

void
http_context_unframed(const struct frame *frame, const char *data, const uint8_t now_random[24],
                      struct reply_context *ret_context)
{
    struct http_request http = {0};
    *ret_context = (struct reply_context){.http = 11, .kind = REQUEST_ERROR};
    const char *end = data + frame->line;
    const char *headers = frame->line > 0 ? request_line_read(data, &http, ret_context) : end;
    (void)headers_read(headers, end, now_random, &http, ret_context);
    ret_context->keep_alive = 0;
}

void
http_decode(const char *data, size_t size, const uint8_t now_random[24], struct decode_memory *memory,
            struct request *ret_request)
{
    struct request *request = ret_request;
    struct http_request http = {0};
    request->reply_context.resp_version = 0;
    request->reply_context.command = 0;
    http_arena_begin();
    const char *body = request_line_read(data, &http, &request->reply_context);
    body = headers_read(body, data + size, now_random, &http, &request->reply_context) + 2;
    http.body = (struct bytes){body, (uint32_t)(data + size - body)};
    request->metrics = false;
    request->forwarded = http.forwarded;
    request->x_forwarded_for = http.x_forwarded_for;
    if (memory->admit == NULL || memory->admit(memory->owner, http.authorization) ||
        bytes_are(http.path, "/healthz"))
        route_request(&http, memory, request);
    else
        request_refuse(request, STATUS_NOAUTH);
    http_arena_end();
    if (request->kind == REQUEST_COMMAND || request->kind == REQUEST_EVENT_LIST) {
        request->command.trace = request->reply_context.trace;
        request->command.request_id =
            (struct bytes){request->reply_context.request_id, request->reply_context.request_id_size};
    }
    if (request->kind == REQUEST_ERROR && request->error.close)
        request->reply_context.keep_alive = 0;
    request->reply_context.kind = (uint8_t)request->kind;
}
