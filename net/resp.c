/*
 * resp.c - framing of RESP requests, and which command one is.
 *
 * A request is an array of bulk strings,
 *
 *     *<count>\r\n  $<size>\r\n<bytes>\r\n  $<size>\r\n<bytes>\r\n ...
 *
 * or a line of words as a person types it (inline), with the quotes that Redis knows. Errors are worded as
 * Redis words them; where Redis overlooks a wrong line end after a length or a string, Valkey refuses it,
 * and so does this.
 *
 *     START ─'*'─▶ COUNT ─n > 0─▶ HEADER ◀──────┐
 *       │            │              │ $size      │ next of n
 *       │ else       │ n <= 0       ▼            │
 *       ▼            ▼           PAYLOAD ────────┤
 *     INLINE        skip                         └─▶ whole
 *
 * Framing remembers how far it has looked and never looks again, so that a request that comes a byte at a
 * time costs no more than one that comes at once, and which error is found does not depend on how the
 * bytes were cut.
 *
 * A frame's arguments are walked in place. An inline request is first written anew as an array into memory
 * of the thread, so that all that follows knows one form only.
 *
 * See also: resp_command.c and resp_event.c for the commands' arguments, resp_reply.c for the answers.
 * Sources: the protocol description at redis.io, networking.c and tests/unit/protocol.tcl of Redis 7.0 and
 * Valkey 8, and Redis 7.0.15's answers to the same bytes.
 */
#include "net/resp_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

enum { STAGE_START, STAGE_COUNT, STAGE_HEADER, STAGE_PAYLOAD, STAGE_INLINE };

/* Bounds of framing. More: a protocol error, and the connection closes. */
#define ARGUMENTS_MAX 1048576 /* an EVENT CREATE may name 64 * 1024 rows, four words each, and more */
#define LINE_SIZE_MAX 65536   /* an inline request, or the digits of a count, as in Redis */

void
resp_error_text(struct request *request, const char *format, ...)
{
    request_refuse(request, STATUS_BADREQUEST);
    va_list list;
    va_start(list, format);
    (void)vsnprintf(request->error.text, sizeof request->error.text, format, list); /* cut is fine */
    va_end(list);
}

void
resp_error_arity(struct request *request, const char *name)
{
    resp_error_text(request, "ERR wrong number of arguments for '%s' command", name);
}

void
resp_error_subcommand(struct request *request, const char *container, struct bytes word)
{
    resp_error_text(request, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                    word.size < 128 ? (int)word.size : 128, word.data, container);
}

static enum frame_result
frame_error(struct request_error *error, const char *text)
{
    error_begin(error, STATUS_BADREQUEST);
    error->close = true;
    (void)snprintf(error->text, sizeof error->text, "ERR Protocol error: %s", text);
    return FRAME_ERROR;
}

/* Looks for the line's '\r' and the '\n' behind it. Whole: frame->scanned is past both, and *ret_line is
 * the line without them. */
static enum frame_result
line_take(struct frame *frame, const char *data, size_t size, const char *too_big, struct bytes *ret_line,
          struct request_error *ret_error)
{
    size_t limit = frame->line + LINE_SIZE_MAX;
    size_t end = size < limit ? size : limit;
    const char *cr =
        frame->scanned < end ? memchr(data + frame->scanned, '\r', end - frame->scanned) : NULL;
    if (cr == NULL) {
        frame->scanned = end;
        return end == limit ? frame_error(ret_error, too_big) : FRAME_PARTIAL;
    }
    size_t line_end = (size_t)(cr - data);
    frame->scanned = line_end;
    if (line_end + 1 == size)
        return FRAME_PARTIAL;
    if (cr[1] != '\n')
        return frame_error(ret_error, "invalid CRLF in request");
    frame->scanned = line_end + 2;
    *ret_line = (struct bytes){data + frame->line, (uint32_t)(line_end - frame->line)};
    return FRAME_WHOLE;
}

static enum frame_result
count_take(struct frame *frame, const char *data, size_t size, size_t *ret_size,
           struct request_error *ret_error)
{
    struct bytes line;
    enum frame_result result = line_take(frame, data, size, "too big mbulk count string", &line, ret_error);
    if (result != FRAME_WHOLE)
        return result;
    int64_t count;
    struct bytes digits = {line.data + 1, line.size - 1};
    if (!integer_parse(digits, &count) || count > ARGUMENTS_MAX || count < INT32_MIN)
        return frame_error(ret_error, "invalid multibulk length");
    if (count <= 0) {
        *ret_size = frame->scanned;
        return FRAME_SKIP;
    }
    frame->remaining = (uint64_t)count;
    frame->line = frame->scanned;
    frame->stage = STAGE_HEADER;
    return FRAME_WHOLE;
}

static enum frame_result
header_take(struct frame *frame, const struct codec_limits *limits, const char *data, size_t size,
            struct request_error *ret_error)
{
    int64_t string_size;
    const char *at = data + frame->line;
    if (size - frame->line >= 4 && at[0] == '$' && (unsigned)(at[1] - '0') <= 9 && at[2] == '\r' &&
        at[3] == '\n') {
        string_size = at[1] - '0';
        frame->scanned = frame->line + 4;
    } else {
        struct bytes line;
        enum frame_result result =
            line_take(frame, data, size, "too big bulk count string", &line, ret_error);
        if (result != FRAME_WHOLE)
            return result;
        if (line.size == 0 || line.data[0] != '$') {
            char text[] = "expected '$', got 'x'";
            text[sizeof text - 3] =
                line.size == 0 ? ' ' : line.data[0]; /* Redis: '\r', then made a space */
            return frame_error(ret_error, text);
        }
        struct bytes digits = {line.data + 1, line.size - 1};
        if (!integer_parse(digits, &string_size) || string_size < 0 ||
            string_size > (int64_t)limits->request_bytes_max)
            return frame_error(ret_error, "invalid bulk length");
    }
    frame->scanned += (size_t)string_size + 2;
    frame->stage = STAGE_PAYLOAD;
    if (frame->scanned > limits->request_bytes_max)
        return frame_error(ret_error, "too big request");
    return FRAME_WHOLE;
}

static enum frame_result
inline_take(struct frame *frame, const struct codec_limits *limits, const char *data, size_t size,
            size_t *ret_size, struct request_error *ret_error)
{
    size_t limit = limits->request_bytes_max < LINE_SIZE_MAX ? limits->request_bytes_max : LINE_SIZE_MAX;
    size_t end = size < limit ? size : limit;
    const char *newline =
        frame->scanned < end ? memchr(data + frame->scanned, '\n', end - frame->scanned) : NULL;
    if (newline == NULL) {
        frame->scanned = end;
        return end == limit ? frame_error(ret_error, "too big inline request") : FRAME_PARTIAL;
    }
    size_t line_size = (size_t)(newline - data) + 1;
    *ret_size = line_size;
    for (size_t i = 0; i < line_size; i++)
        if (strchr(" \t\r\n\v\f", data[i]) == NULL || data[i] == 0)
            return FRAME_WHOLE;
    return FRAME_SKIP;
}

enum frame_result
resp_frame(struct frame *frame, const struct codec_limits *limits, const char *data, size_t size,
           size_t *ret_size, struct request_error *ret_error)
{
    if (size == 0)
        return FRAME_PARTIAL;
    if (frame->stage == STAGE_START)
        frame->stage = data[0] == '*' ? STAGE_COUNT : STAGE_INLINE;
    if (frame->stage == STAGE_INLINE)
        return inline_take(frame, limits, data, size, ret_size, ret_error);
    if (frame->stage == STAGE_COUNT) {
        enum frame_result result = count_take(frame, data, size, ret_size, ret_error);
        if (result != FRAME_WHOLE)
            return result;
    }
    for (;;) {
        if (frame->stage == STAGE_HEADER) {
            enum frame_result result = header_take(frame, limits, data, size, ret_error);
            if (result != FRAME_WHOLE)
                return result;
        }
        assert(frame->stage == STAGE_PAYLOAD);
        if (size < frame->scanned)
            return FRAME_PARTIAL;
        if (data[frame->scanned - 2] != '\r' || data[frame->scanned - 1] != '\n')
            return frame_error(ret_error, "invalid CRLF in request");
        frame->line = frame->scanned;
        frame->stage = STAGE_HEADER;
        if (--frame->remaining == 0) {
            *ret_size = frame->scanned;
            return FRAME_WHOLE;
        }
    }
}

/* Inline requests as arrays. One word of one letter and its space become "$1\r\na\r\n". */
#define INLINE_ARRAY_SIZE_MAX (4 * LINE_SIZE_MAX + 16)
static _Thread_local char inline_array[INLINE_ARRAY_SIZE_MAX];
static _Thread_local char inline_word[LINE_SIZE_MAX];

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* One character of a double-quoted word, past its escape. */
static char
escape_take(const char *data, size_t size, size_t *position)
{
    size_t at = *position;
    if (data[at] != '\\' || at + 1 == size) {
        *position = at + 1;
        return data[at];
    }
    if (data[at + 1] == 'x' && at + 3 < size && hex_digit(data[at + 2]) >= 0 &&
        hex_digit(data[at + 3]) >= 0) {
        *position = at + 4;
        return (char)(hex_digit(data[at + 2]) << 4 | hex_digit(data[at + 3]));
    }
    static const char letters[] = "nrtba";
    static const char meanings[] = "\n\r\t\b\a";
    const char *letter = memchr(letters, data[at + 1], sizeof letters - 1);
    *position = at + 2;
    return letter != NULL ? meanings[letter - letters] : data[at + 1];
}

/* The next word into inline_word, as sdssplitargs() of Redis reads it. False: quotes that do not end, or
 * end in the middle of a word. */
static bool
word_take(const char *data, size_t size, size_t *position, uint32_t *ret_size)
{
    size_t at = *position;
    uint32_t word_size = 0;
    char quote = 0;
    for (;;) {
        if (at == size || (quote == 0 && is_space(data[at]))) {
            *position = at;
            *ret_size = word_size;
            return quote == 0;
        }
        char c = data[at];
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
            at++;
        } else if (quote != 0 && c == quote) {
            at++;
            if (at < size && !is_space(data[at]))
                return false;
            quote = 0;
        } else if (quote == '\'' && c == '\\' && at + 1 < size && data[at + 1] == '\'') {
            inline_word[word_size++] = '\'';
            at += 2;
        } else if (quote == '"') {
            inline_word[word_size++] = escape_take(data, size, &at);
        } else {
            inline_word[word_size++] = c;
            at++;
        }
    }
}

/* Writes the words of a line as an array's items. False: unbalanced quotes. */
static bool
inline_arguments(const char *data, size_t size, struct arguments *ret_arguments)
{
    assert(size <= LINE_SIZE_MAX);
    char *at = inline_array;
    uint32_t count = 0;
    size_t position = 0;
    for (;;) {
        while (position < size && is_space(data[position]))
            position++;
        if (position == size)
            break;
        uint32_t word_size;
        if (!word_take(data, size, &position, &word_size))
            return false;
        *at++ = '$';
        at = put_unsigned(at, word_size);
        at = put_literal(at, "\r\n");
        at = put_bytes(at, inline_word, word_size);
        at = put_literal(at, "\r\n");
        count++;
    }
    assert(at <= inline_array + INLINE_ARRAY_SIZE_MAX);
    *ret_arguments = (struct arguments){inline_array, count};
    return true;
}

/* Appends what Redis would print of a client's word: it stops at a zero byte. */
static size_t
shown_append(char *text, size_t at, struct bytes word, size_t size_max)
{
    for (uint32_t i = 0; i < word.size && i < size_max && word.data[i] != 0; i++)
        text[at++] = word.data[i];
    return at;
}

static void
unknown_command(struct request *request, struct bytes name, struct arguments *arguments)
{
    request_refuse(request, STATUS_BADREQUEST);
    char *text = request->error.text;
    size_t at = (size_t)(put_literal(text, "ERR unknown command '") - text);
    at = shown_append(text, at, name, 128);
    at = (size_t)(put_literal(text + at, "', with args beginning with: ") - text);
    size_t first = at;
    while (arguments->left > 0 && at - first < 128) {
        size_t room = 128 - (at - first);
        text[at++] = '\'';
        at = shown_append(text, at, argument_take(arguments), room);
        text[at++] = '\'';
        text[at++] = ' ';
    }
    text[at] = 0;
    assert(at < sizeof request->error.text);
    /* What a browser's form sends to the wrong port: Redis hangs up, too. */
    uint64_t word = word_of(name);
    request->error.close =
        word == WORD('P', 'O', 'S', 'T', 0, 0, 0, 0) || word == WORD('H', 'O', 'S', 'T', ':', 0, 0, 0);
}

static bool
client_name_valid(struct bytes name)
{
    for (uint32_t i = 0; i < name.size; i++)
        if (name.data[i] < '!' || name.data[i] > '~')
            return false;
    return true;
}

static const char client_name_error[] =
    "ERR Client names cannot contain spaces, newlines or special characters.";

static void
decode_hello(struct request *request, struct arguments *arguments)
{
    request->kind = REQUEST_HELLO;
    request->resp_version = 0;
    request->auth_name = (struct bytes){"", 0};
    request->auth_key = (struct bytes){NULL, 0};
    if (arguments->left == 0)
        return;
    int64_t version;
    if (!integer_parse(argument_take(arguments), &version)) {
        resp_error_text(request, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version != 2 && version != 3) {
        resp_error_text(request, "NOPROTO unsupported protocol version");
        return;
    }
    while (arguments->left > 0) {
        struct bytes option = argument_take(arguments);
        uint64_t word = word_of(option);
        if (word == WORD('A', 'U', 'T', 'H', 0, 0, 0, 0) && arguments->left >= 2) {
            request->auth_name = argument_take(arguments);
            request->auth_key = argument_take(arguments);
        } else if (word == WORD('S', 'E', 'T', 'N', 'A', 'M', 'E', 0) && arguments->left >= 1) {
            request->argument = argument_take(arguments);
            if (!client_name_valid(request->argument)) {
                resp_error_text(request, "%s", client_name_error);
                return;
            }
        } else {
            resp_error_text(request, "ERR Syntax error in HELLO option '%.*s'",
                            option.size < 128 ? (int)option.size : 128, option.data);
            return;
        }
    }
    request->resp_version = (uint8_t)version;
}

static void
decode_client(struct request *request, struct arguments *arguments)
{
    struct bytes subcommand = argument_take(arguments);
    switch (word_of(subcommand)) {
    case WORD('S', 'E', 'T', 'N', 'A', 'M', 'E', 0):
        if (arguments->left != 1) {
            resp_error_arity(request, "client|setname");
            return;
        }
        request->kind = REQUEST_CLIENT_SETNAME;
        request->argument = argument_take(arguments);
        if (!client_name_valid(request->argument))
            resp_error_text(request, "%s", client_name_error);
        return;
    case WORD('S', 'E', 'T', 'I', 'N', 'F', 'O', 0): {
        if (arguments->left != 2) {
            resp_error_arity(request, "client|setinfo");
            return;
        }
        struct bytes name = argument_take(arguments);
        request->kind = REQUEST_CLIENT_SETINFO;
        request->argument = argument_take(arguments);
        uint64_t word = word_of(name);
        if (word != WORD('L', 'I', 'B', '-', 'N', 'A', 'M', 'E') &&
            word != WORD('L', 'I', 'B', '-', 'V', 'E', 'R', 0))
            resp_error_text(request, "ERR Unrecognized option '%.*s'",
                            name.size < 128 ? (int)name.size : 128, name.data);
        else if (!client_name_valid(request->argument))
            resp_error_text(request, "ERR %s cannot contain spaces, newlines or special characters.",
                            word == WORD('L', 'I', 'B', '-', 'V', 'E', 'R', 0) ? "lib-ver" : "lib-name");
        return;
    }
    case WORD('G', 'E', 'T', 'N', 'A', 'M', 'E', 0):
        request->kind = REQUEST_CLIENT_GETNAME;
        if (arguments->left != 0)
            resp_error_arity(request, "client|getname");
        return;
    case WORD('I', 'D', 0, 0, 0, 0, 0, 0):
        request->kind = REQUEST_CLIENT_ID;
        if (arguments->left != 0)
            resp_error_arity(request, "client|id");
        return;
    default:
        resp_error_subcommand(request, "CLIENT", subcommand);
    }
}

static void
decode_config(struct request *request, struct arguments *arguments)
{
    struct bytes subcommand = argument_take(arguments);
    if (word_of(subcommand) != WORD('G', 'E', 'T', 0, 0, 0, 0, 0)) {
        resp_error_subcommand(request, "CONFIG", subcommand);
    } else if (arguments->left == 0) {
        resp_error_arity(request, "config|get");
    } else {
        request->kind = REQUEST_CONFIG_GET;
        request->argument = argument_take(arguments);
    }
}

static void
decode_select(struct request *request, struct arguments *arguments)
{
    int64_t number;
    request->kind = REQUEST_SELECT;
    if (!integer_parse(argument_take(arguments), &number))
        resp_error_text(request, "ERR value is not an integer or out of range");
    else if (number != 0)
        resp_error_text(request, "ERR DB index is out of range");
}

static void
decode_command_table(struct request *request, struct arguments *arguments, const char *end)
{
    request->kind = REQUEST_COMMAND_TABLE;
    request->argument = (struct bytes){arguments->at, (uint32_t)(end - arguments->at)};
    if (arguments->left == 0)
        return;
    struct bytes subcommand = argument_take(arguments);
    switch (word_of(subcommand)) {
    case WORD('C', 'O', 'U', 'N', 'T', 0, 0, 0):
        if (arguments->left != 0)
            resp_error_arity(request, "command|count");
        return;
    case WORD('D', 'O', 'C', 'S', 0, 0, 0, 0):
    case WORD('I', 'N', 'F', 'O', 0, 0, 0, 0):
    case WORD('L', 'I', 'S', 'T', 0, 0, 0, 0):
        return;
    default:
        resp_error_subcommand(request, "COMMAND", subcommand);
    }
}

/* One of the few commands that take none or one argument, or any number. */
static void
decode_plain(struct request *request, struct arguments *arguments, enum request_kind kind,
             uint32_t count_min, uint32_t count_max, const char *name)
{
    if (arguments->left < count_min || arguments->left > count_max) {
        resp_error_arity(request, name);
        return;
    }
    request->kind = kind;
    if (arguments->left > 0)
        request->argument = argument_take(arguments);
}

/* What connects clients and is no business of the core. end: behind the frame's last byte. */
static void
decode_server_command(struct request *request, struct bytes name, uint64_t word,
                      struct arguments *arguments, const char *end)
{
    request->argument = (struct bytes){"", 0};
    switch (word) {
    case WORD('P', 'I', 'N', 'G', 0, 0, 0, 0):
        decode_plain(request, arguments, REQUEST_PING, 0, 1, "ping");
        return;
    case WORD('E', 'C', 'H', 'O', 0, 0, 0, 0):
        decode_plain(request, arguments, REQUEST_ECHO, 1, 1, "echo");
        return;
    case WORD('I', 'N', 'F', 'O', 0, 0, 0, 0):
        decode_plain(request, arguments, REQUEST_INFO, 0, ARGUMENTS_MAX, "info");
        return;
    case WORD('Q', 'U', 'I', 'T', 0, 0, 0, 0):
        decode_plain(request, arguments, REQUEST_QUIT, 0, ARGUMENTS_MAX, "quit");
        return;
    case WORD('R', 'E', 'S', 'E', 'T', 0, 0, 0):
        decode_plain(request, arguments, REQUEST_RESET, 0, 0, "reset");
        return;
    case WORD('A', 'U', 'T', 'H', 0, 0, 0, 0):
        decode_plain(request, arguments, REQUEST_AUTH, 1, ARGUMENTS_MAX, "auth");
        request->auth_name = (struct bytes){"", 0};
        request->auth_key = request->argument;
        if (request->kind == REQUEST_AUTH && arguments->left > 0) {
            request->auth_name = request->argument;
            request->argument = argument_take(arguments);
            request->auth_key = request->argument;
        }
        if (request->kind == REQUEST_AUTH && arguments->left > 0)
            resp_error_text(request, "ERR syntax error");
        return;
    case WORD('H', 'E', 'L', 'L', 'O', 0, 0, 0):
        decode_hello(request, arguments);
        return;
    case WORD('C', 'O', 'M', 'M', 'A', 'N', 'D', 0):
        decode_command_table(request, arguments, end);
        return;
    case WORD('C', 'L', 'I', 'E', 'N', 'T', 0, 0):
        if (arguments->left == 0)
            resp_error_arity(request, "client");
        else
            decode_client(request, arguments);
        return;
    case WORD('C', 'O', 'N', 'F', 'I', 'G', 0, 0):
        if (arguments->left == 0)
            resp_error_arity(request, "config");
        else
            decode_config(request, arguments);
        return;
    case WORD('S', 'E', 'L', 'E', 'C', 'T', 0, 0):
        if (arguments->left != 1)
            resp_error_arity(request, "select");
        else
            decode_select(request, arguments);
        return;
    default:
        unknown_command(request, name, arguments);
    }
}

void
resp_decode(const char *data, size_t size, uint8_t resp_version, struct decode_memory *memory,
            struct request *ret_request)
{
    struct request *request = ret_request;
    request->reply_context.http = 0;
    request->reply_context.keep_alive = 1;
    request->reply_context.head = 0;
    request->reply_context.resp_version = resp_version;
    request->reply_context.command = 0;
    request->reply_context.request_id_size = 0;

    struct arguments arguments;
    const char *end = data + size;
    if (data[0] == '*') {
        /* The count looks like a size: a walk over digits to the line's end. */
        const char *at = data + 1;
        uint32_t count = (uint32_t)(*at++ - '0');
        while (*at != '\r')
            count = count * 10 + (uint32_t)(*at++ - '0');
        arguments = (struct arguments){at + 2, count};
    } else if (inline_arguments(data, size, &arguments)) {
        struct arguments all = arguments;
        while (all.left > 0)
            (void)argument_take(&all);
        end = all.at;
    } else {
        request_refuse(request, STATUS_BADREQUEST);
        (void)frame_error(&request->error, "unbalanced quotes in request");
        request->reply_context.kind = REQUEST_ERROR;
        return;
    }

    struct bytes name = argument_take(&arguments);
    uint64_t word = word_of(name);
    switch (word) {
    case WORD('H', 'O', 'L', 'D', 0, 0, 0, 0):
        resp_decode_hold(request, &arguments);
        break;
    case WORD('C', 'O', 'N', 'F', 'I', 'R', 'M', 0):
        resp_decode_confirm(request, &arguments);
        break;
    case WORD('R', 'E', 'L', 'E', 'A', 'S', 'E', 0):
        resp_decode_release(request, &arguments);
        break;
    case WORD('E', 'X', 'T', 'E', 'N', 'D', 0, 0):
        resp_decode_extend(request, &arguments);
        break;
    case WORD('C', 'A', 'N', 'C', 'E', 'L', 0, 0):
        resp_decode_cancel(request, &arguments);
        break;
    case WORD('G', 'E', 'T', 'H', 'O', 'L', 'D', 0):
        resp_decode_gethold(request, &arguments);
        break;
    case WORD('H', 'O', 'L', 'D', 'S', 0, 0, 0):
        resp_decode_holds(request, &arguments);
        break;
    case WORD('S', 'E', 'A', 'T', 'S', 0, 0, 0):
        resp_decode_seats(request, &arguments);
        break;
    case WORD('E', 'V', 'E', 'N', 'T', 0, 0, 0):
        resp_decode_event(request, &arguments, memory);
        break;
    case WORD('Q', 'U', 'E', 'U', 'E', 0, 0, 0):
        resp_decode_queue(request, &arguments);
        break;
    default:
        decode_server_command(request, name, word, &arguments, end);
    }
    request->reply_context.kind = (uint8_t)request->kind;
}
