/*
 * http.c - framing of HTTP/1.1 requests, strictly by RFC 9112: anything doubtful is refused.
 *
 * Two programs that read the same bytes and see different requests are how requests are smuggled past a
 * gateway. So there is one reading here, and whatever has two is answered 400 and the connection closed:
 * line ends other than CRLF, folded lines, white space before a colon, a second Content-Length or Host,
 * any Transfer-Encoding, a length that is not plain digits, control bytes, targets that RFC 3986 does not
 * know, versions other than 1.1 and 1.0.
 *
 *     REQUEST LINE ──▶ HEADER LINE ──(empty line)──▶ BODY ──(Content-Length bytes)──▶ whole
 *                        ▲      │
 *                        └──────┘
 *
 * A line is checked as soon as it is whole, and no byte is looked at twice; what is wrong is decided by
 * the order of the bytes, never by how they were cut into packets.
 *
 * See also: http_request.c for what the head and the path mean, http_json.c for bodies, http_reply.c.
 * Sources: RFC 9110, 9112, 3986; the cases in llhttp's test/request, the tables of Http11Probe and of
 * James Kettle's "HTTP Desync Attacks".
 */
#include "net/http_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <strings.h>

enum { STAGE_REQUEST_LINE, STAGE_HEADERS, STAGE_BODY };

enum seen {
    SEEN_HOST = 1 << 0,
    SEEN_LENGTH = 1 << 1,
    SEEN_EXPECT = 1 << 2,
    SEEN_HTTP_1_0 = 1 << 3,
};

/* More header lines: 431. */
#define HEADERS_MAX 100

/* Bit 0: in tokens (RFC 9110, 5.6.2). Bit 1: in a path or query (RFC 3986), percent and slash included.
 * Bit 2: in a host name or address. */
enum { CLASS_TOKEN = 1, CLASS_TARGET = 2, CLASS_HOST = 4 };
static const uint8_t character_class[256] = {
    ['0' ... '9'] = 7, ['A' ... 'Z'] = 7, ['a' ... 'z'] = 7, ['!'] = 7, ['#'] = 1, ['$'] = 7, ['%'] = 7,
    ['&'] = 7,         ['\''] = 7,        ['*'] = 7,         ['+'] = 7, ['-'] = 7, ['.'] = 7, ['^'] = 1,
    ['_'] = 7,         ['`'] = 1,         ['|'] = 1,         ['~'] = 7, ['('] = 6, [')'] = 6, [','] = 6,
    [';'] = 6,         ['='] = 6,         [':'] = 2,         ['@'] = 2, ['/'] = 2, ['?'] = 2,
};

static bool
characters_are(struct bytes text, uint8_t class)
{
    uint8_t all = class;
    for (uint32_t i = 0; i < text.size; i++)
        all &= character_class[(uint8_t)text.data[i]];
    return all != 0;
}

static enum frame_result
frame_error(struct request_error *error, uint16_t http_status, const char *code, const char *detail)
{
    error_begin(error, STATUS_BADREQUEST);
    error->http_status = http_status;
    error->http_code = code;
    error->close = true;
    (void)snprintf(error->text, sizeof error->text, "%s", detail);
    return FRAME_ERROR;
}

bool
http_name_is(struct bytes name, const char *small)
{
    return name.size == strlen(small) && strncasecmp(name.data, small, name.size) == 0;
}

/* Every percent sign begins two hexadecimal digits. */
static bool
percents_good(struct bytes text)
{
    for (uint32_t i = 0; i < text.size; i++)
        if (text.data[i] == '%')
            if (text.size - i < 3 || hex_digit(text.data[i + 1]) < 0 || hex_digit(text.data[i + 2]) < 0)
                return false;
    return true;
}

/* uri-host [ ":" port ] of RFC 9110, 7.2, not empty. */
static bool
authority_good(struct bytes text)
{
    if (text.size == 0)
        return false;
    const char *end = text.data + text.size;
    const char *at = text.data;
    if (*at == '[') {
        char address[INET6_ADDRSTRLEN];
        struct in6_addr taken;
        const char *close = memchr(at, ']', text.size);
        size_t size = close != NULL ? (size_t)(close - at - 1) : sizeof address;
        if (size >= sizeof address)
            return false;
        memcpy(address, at + 1, size);
        address[size] = '\0';
        if (strlen(address) != size || inet_pton(AF_INET6, address, &taken) != 1)
            return false;
        at = close + 1;
    } else {
        const char *colon = memchr(at, ':', text.size);
        struct bytes host = {at, (uint32_t)((colon != NULL ? colon : end) - at)};
        if (host.size == 0 || !characters_are(host, CLASS_HOST) || !percents_good(host))
            return false;
        at += host.size;
    }
    if (at == end)
        return true;
    if (*at++ != ':' || end - at > 5)
        return false;
    unsigned port = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        port = port * 10 + (unsigned)(*at - '0');
    }
    return port <= 65535;
}

/* origin-form, absolute-form of an http URI, or the two forms that only one method each may use. */
static bool
target_good(struct bytes method, struct bytes target)
{
    if (method.size == 7 && memcmp(method.data, "CONNECT", 7) == 0)
        return authority_good(target);
    if (method.size == 7 && memcmp(method.data, "OPTIONS", 7) == 0 && target.size == 1 &&
        target.data[0] == '*')
        return true;
    if (target.data[0] != '/') {
        if (target.size < 7 || strncasecmp(target.data, "http://", 7) != 0)
            return false;
        uint32_t end = 7;
        while (end < target.size && target.data[end] != '/' && target.data[end] != '?')
            end++;
        if (!authority_good((struct bytes){target.data + 7, end - 7}))
            return false;
        target = (struct bytes){target.data + end, target.size - end};
    }
    return characters_are(target, CLASS_TARGET) && percents_good(target);
}

static const char *
request_line_wrong(struct frame *frame, struct bytes line)
{
    const char *end = line.data + line.size;
    const char *space = memchr(line.data, ' ', line.size);
    if (space == NULL)
        return "a request line is: METHOD target HTTP/1.1";
    struct bytes method = {line.data, (uint32_t)(space - line.data)};
    if (method.size == 0 || !characters_are(method, CLASS_TOKEN))
        return "the method is not a token";
    const char *target = space + 1;
    space = memchr(target, ' ', (size_t)(end - target));
    if (space == NULL || space == target)
        return "a request line is: METHOD target HTTP/1.1";
    size_t version_size = (size_t)(end - space - 1);
    if (version_size != 8 || memcmp(space + 1, "HTTP/1.", 7) != 0 || (space[8] != '1' && space[8] != '0'))
        return "only HTTP/1.1 and HTTP/1.0 are spoken here";
    if (space[8] == '0')
        frame->seen |= SEEN_HTTP_1_0;
    if (!target_good(method, (struct bytes){target, (uint32_t)(space - target)}))
        return "the request target is not well-formed";
    return NULL;
}

/* Splits a header line at its colon. False: it has none. */
static bool
line_split(struct bytes line, struct http_line *ret_line)
{
    const char *colon = memchr(line.data, ':', line.size);
    if (colon == NULL)
        return false;
    const char *first = colon + 1;
    const char *end = line.data + line.size;
    while (first < end && (*first == ' ' || *first == '\t'))
        first++;
    while (end > first && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    ret_line->name = (struct bytes){line.data, (uint32_t)(colon - line.data)};
    ret_line->value = (struct bytes){first, (uint32_t)(end - first)};
    return true;
}

static bool
value_good(struct bytes value)
{
    unsigned bad = 0;
    for (uint32_t i = 0; i < value.size; i++) {
        uint8_t c = (uint8_t)value.data[i];
        bad |= (unsigned)(c < 0x20) & (unsigned)(c != '\t');
        bad |= (unsigned)(c == 0x7F);
    }
    return bad == 0;
}

/* One number without sign, leading zero or list. More digits than fit count as endless: 413 comes later. */
static const char *
length_wrong(struct frame *frame, struct bytes value)
{
    if ((frame->seen & SEEN_LENGTH) != 0)
        return "there is more than one Content-Length";
    frame->seen |= SEEN_LENGTH;
    if (value.size == 0 || (value.data[0] == '0' && value.size > 1))
        return "the Content-Length is not a plain number";
    uint64_t length = 0;
    for (uint32_t i = 0; i < value.size; i++) {
        unsigned digit = (unsigned)(unsigned char)value.data[i] - '0';
        if (digit > 9)
            return "the Content-Length is not a plain number";
        length = length > UINT64_MAX / 16 ? UINT64_MAX : length * 10 + digit;
    }
    frame->remaining = length;
    return NULL;
}

static const char *
header_wrong(struct frame *frame, struct bytes line)
{
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return "a header line is folded or begins with white space";
    struct http_line header;
    if (!line_split(line, &header))
        return "a header line has no colon";
    if (header.name.size == 0 || !characters_are(header.name, CLASS_TOKEN))
        return "a header name is not a token";
    if (!value_good((struct bytes){header.name.data + header.name.size, line.size - header.name.size}))
        return "a header value has control bytes";
    switch (header.name.size) {
    case 4:
        if (!http_name_is(header.name, "host"))
            return NULL;
        if ((frame->seen & SEEN_HOST) != 0)
            return "there is more than one Host";
        frame->seen |= SEEN_HOST;
        return authority_good(header.value) ? NULL : "the Host is not well-formed";
    case 6:
        if (!http_name_is(header.name, "expect"))
            return NULL;
        frame->seen |= SEEN_EXPECT;
        return http_name_is(header.value, "100-continue") ? NULL
                                                          : "no expectation but 100-continue can be met";
    case 14:
        return http_name_is(header.name, "content-length") ? length_wrong(frame, header.value) : NULL;
    case 17:
        return http_name_is(header.name, "transfer-encoding") ? "no transfer coding is taken" : NULL;
    default:
        return NULL;
    }
}

/* The empty line behind the headers was found: is the head complete, and is there room for the body? */
static enum frame_result
head_end(struct frame *frame, const struct codec_limits *limits, struct request_error *ret_error)
{
    frame->head_size = frame->scanned;
    if ((frame->seen & (SEEN_HOST | SEEN_HTTP_1_0)) == 0)
        return frame_error(ret_error, 400, "badrequest", "there is no Host");
    if (frame->head_size > limits->request_bytes_max ||
        frame->remaining > limits->request_bytes_max - frame->head_size)
        return frame_error(ret_error, 413, "toolarge", "the request is larger than this server takes");
    frame->expect_continue =
        (frame->seen & (SEEN_EXPECT | SEEN_HTTP_1_0)) == SEEN_EXPECT && frame->remaining > 0;
    frame->stage = STAGE_BODY;
    return FRAME_WHOLE;
}

static enum frame_result
line_too_long(const struct frame *frame, struct request_error *ret_error)
{
    if (frame->stage == STAGE_REQUEST_LINE)
        return frame_error(ret_error, 414, "toolarge", "the request line is longer than this server takes");
    return frame_error(ret_error, 431, "toolarge", "the headers are larger than this server takes");
}

/* Takes one line of the head; FRAME_WHOLE: there was one. */
static enum frame_result
line_take(struct frame *frame, const struct codec_limits *limits, const char *data, size_t size,
          struct request_error *ret_error)
{
    size_t end = size < limits->head_bytes_max ? size : limits->head_bytes_max;
    const char *lf =
        frame->scanned < end ? memchr(data + frame->scanned, '\n', end - frame->scanned) : NULL;
    if (lf == NULL) {
        frame->scanned = end;
        return end == limits->head_bytes_max ? line_too_long(frame, ret_error) : FRAME_PARTIAL;
    }
    const char *first = data + frame->line;
    if (lf == first || lf[-1] != '\r')
        return frame_error(ret_error, 400, "badrequest", "a line does not end in CRLF");
    struct bytes line = {first, (uint32_t)(lf - 1 - first)};
    frame->scanned = (size_t)(lf + 1 - data);
    const char *wrong;
    if (frame->stage == STAGE_REQUEST_LINE) {
        wrong = request_line_wrong(frame, line);
        frame->stage = STAGE_HEADERS;
    } else if (line.size == 0) {
        return head_end(frame, limits, ret_error);
    } else {
        if (++frame->header_count > HEADERS_MAX)
            return frame_error(ret_error, 431, "toolarge", "there are more than 100 headers");
        wrong = header_wrong(frame, line);
    }
    if (wrong != NULL)
        return frame_error(ret_error, 400, "badrequest", wrong);
    frame->line = frame->scanned;
    return FRAME_WHOLE;
}

enum frame_result
http_frame(struct frame *frame, const struct codec_limits *limits, const char *data, size_t size,
           size_t *ret_size, struct request_error *ret_error)
{
    if (size == 0)
        return FRAME_PARTIAL;
    if (frame->stage == STAGE_REQUEST_LINE && data[0] == '\r') {
        /* An empty line before a request is to be overlooked (RFC 9112, 2.2). */
        if (size == 1)
            return FRAME_PARTIAL;
        if (data[1] != '\n')
            return frame_error(ret_error, 400, "badrequest", "a line does not end in CRLF");
        *ret_size = 2;
        return FRAME_SKIP;
    }
    /* What cannot begin a method (a TLS hello, say) is told at once: its line might never end. */
    if ((character_class[(uint8_t)data[0]] & CLASS_TOKEN) == 0)
        return frame_error(ret_error, 400, "badrequest", "the method is not a token");
    while (frame->stage != STAGE_BODY) {
        enum frame_result result = line_take(frame, limits, data, size, ret_error);
        if (result != FRAME_WHOLE)
            return result;
    }
    assert(size >= frame->head_size);
    if (size - frame->head_size < frame->remaining)
        return FRAME_PARTIAL;
    *ret_size = frame->head_size + (size_t)frame->remaining;
    return FRAME_WHOLE;
}

bool
http_line_take(const char **at, struct http_line *ret_line)
{
    if ((*at)[0] == '\r')
        return false;
    const char *lf = rawmemchr(*at, '\n');
    struct bytes line = {*at, (uint32_t)(lf - 1 - *at)};
    bool split = line_split(line, ret_line);
    assert(split);
    *at = lf + 1;
    return true;
}
