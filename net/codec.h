/*
 * codec.h - what the two protocols have in common: bytes of a connection become requests, replies become
 * bytes. resp.c and http.c are the two codecs. Pure: no I/O, no clock, no state but what is passed in,
 * so that fuzzers and tests drive them alone.
 *
 * A connection calls
 *
 *     X_frame(frame, data, size)      how many bytes the first whole request takes, resumable
 *     X_decode(data, frame size, ..)  the request: a command for the core, or one for the server itself
 *     X_encode(...)                   the reply's bytes
 */
#ifndef HOLDFAST_CODEC_H
#define HOLDFAST_CODEC_H

#include "core/command.h"
#include "core/text.h"
#include "persist/object_json.h"

/* What a framing call remembers between calls with more and more of the same bytes. Zero it for a new
 * request (and after each frame taken). */
struct frame {
    size_t scanned;         /* bytes already looked at: never looked at again */
    uint64_t remaining;     /* RESP: arguments still to come. HTTP: bytes of body */
    size_t head_size;       /* HTTP: once the head is whole */
    size_t line;            /* HTTP: where the line begins that is being read; those before it are well-formed */
    uint16_t header_count;  /* HTTP */
    uint8_t stage;
    uint8_t seen;           /* HTTP: which single headers have come */
    /* HTTP: set with the FRAME_PARTIAL of a request that waits for "100 Continue" before it sends its body:
     * answer http_encode_continue() once, behind all earlier answers, and clear this. */
    bool expect_continue;
};

enum frame_result {
    FRAME_PARTIAL,          /* more bytes are needed */
    FRAME_WHOLE,            /* *ret_size bytes are one request; 0 < *ret_size <= size */
    FRAME_SKIP,             /* *ret_size bytes are to be dropped (an empty line) */
    FRAME_ERROR,            /* *ret_error is to be answered, then the connection closes */
};

/* A request for the server itself rather than the core. */
enum request_kind {
    REQUEST_COMMAND = 1,    /* request->command is for the core */
    REQUEST_ERROR,          /* answered at once with request->error; see also close */
    REQUEST_EVENT_LIST,     /* every event, one COMMAND_EVENT_GET by index after the other */
    /* RESP */
    REQUEST_PING,           /* argument: the message, may be empty */
    REQUEST_ECHO,           /* argument */
    REQUEST_HELLO,          /* resp_version: 0 unchanged, 2 or 3; argument: SETNAME's name; auth_name, auth_key */
    REQUEST_AUTH,           /* auth_name, auth_key */
    REQUEST_INFO,           /* argument: section or empty */
    REQUEST_COMMAND_TABLE,  /* COMMAND [COUNT|DOCS|INFO|LIST]: resp_encode_command_table(argument) */
    REQUEST_CLIENT_SETNAME, /* argument */
    REQUEST_CLIENT_GETNAME,
    REQUEST_CLIENT_SETINFO,
    REQUEST_CLIENT_ID,
    REQUEST_CONFIG_GET,     /* argument: the pattern */
    REQUEST_SELECT,
    REQUEST_QUIT,
    REQUEST_RESET,
    /* HTTP */
    REQUEST_HEALTHZ,
    REQUEST_READYZ,
    REQUEST_METRICS,
    REQUEST_OPENAPI,
};

/* An error made by a codec, before the core is asked. */
struct request_error {
    enum status status;         /* STATUS_BADREQUEST and so on; ignored where http_status or resp_text rules */
    uint16_t http_status;       /* 404 notfound, 405, 413, 414, 415, 431: HTTP's own; else 0 */
    const char *http_code;      /* "notfound", "method", "toolarge", "mediatype"; static */
    const char *allow;          /* with 405; static */
    bool close;                 /* the connection closes after the answer */
    char field[REPLY_FIELD_SIZE_MAX];
    char expected[REPLY_EXPECTED_SIZE_MAX];
    bool forbidden;             /* NOAUTH: the key is good, its role may not do this */
    const char *rate_policy;    /* RATELIMIT: which limit, "user" or "address"; static */
    uint32_t rate_per_second;   /* and what it is */
    uint32_t retry_seconds;     /* and when there is room again */
    char text[384];             /* RESP: a whole error line such as "ERR unknown command 'FOO', ..."; HTTP: detail */
};

/* What must be known of a request to encode its reply; small, kept by the connection until then. */
struct reply_context {
    uint8_t http;               /* this came over HTTP: 11 or 10, the version; over RESP 0 */
    uint8_t keep_alive;         /* HTTP: else the connection closes after the answer */
    uint8_t head;               /* HTTP: the method is HEAD, so the answer has no content */
    uint8_t resp_version;       /* 2 or 3: the connection's when the command was decoded */
    uint8_t kind;               /* enum request_kind */
    uint8_t command;            /* enum command_type */
    uint8_t request_id_size;
    char request_id[REQUEST_ID_SIZE_MAX];   /* HTTP: returned as X-Request-ID where one was given */
    struct trace trace;                     /* HTTP: returned as traceparent */
};

struct request {
    enum request_kind kind;
    struct reply_context reply_context;
    struct command command;         /* views into the frame's bytes, or into scratch */
    struct request_error error;
    struct bytes argument;
    struct bytes pass;              /* HOLD: the pass that came with it; data NULL: none */
    uint8_t resp_version;
    bool metrics;                   /* HTTP: was for /metrics, also where it is a REQUEST_ERROR now */
    struct bytes auth_name;         /* AUTH, HELLO: may be empty */
    struct bytes auth_key;          /* AUTH; HELLO: data is NULL where it has no AUTH */
    struct bytes forwarded;         /* HTTP: Forwarded and X-Forwarded-For, the last of each; may be empty */
    struct bytes x_forwarded_for;
};

/*
 * Memory a decode may use; its owner keeps it untouched until the reply has come, since settings and
 * change lie in it. draft is asked for by EVENT CREATE, and by EVENT SET for the names of pools
 * (EVENT_DRAFT_SIZE bytes, 8-aligned, or NULL where none is left: the codec then answers BUSY).
 */
struct decode_memory {
    void *owner;
    void *(*draft)(void *owner);
    struct event_change *change;    /* one, always there */
    /* NULL, or asked by http_decode() once the head is read: may whoever sent this Authorization (empty:
     * none, or more than one) come in? False: the request is refused with NOAUTH before its path or body
     * is looked at, unless it is for /healthz. */
    bool (*admit)(void *owner, struct bytes authorization);
};

/* Small limits of framing, from the settings (net.*). */
struct codec_limits {
    size_t request_bytes_max;       /* a whole request, body included: RESP error / 413 */
    size_t head_bytes_max;          /* HTTP: request line and headers: 414 / 431 */
};

enum frame_result resp_frame(struct frame *frame, const struct codec_limits *limits, const char *data,
                             size_t size, size_t *ret_size, struct request_error *ret_error);
/* resp_version: the connection's now. The frame's bytes stay in place until the reply has come or
 * shard_command() has returned (the core copies what it keeps). */
void resp_decode(const char *data, size_t size, uint8_t resp_version, struct decode_memory *memory,
                 struct request *ret_request);

enum frame_result http_frame(struct frame *frame, const struct codec_limits *limits, const char *data,
                             size_t size, size_t *ret_size, struct request_error *ret_error);
/* now_random: 24 bytes of randomness for a fresh traceparent. JSON strings with escapes are unescaped
 * into thread-local memory that is valid until the next http_decode() of the thread. */
void http_decode(const char *data, size_t size, const uint8_t now_random[24],
                 struct decode_memory *memory, struct request *ret_request);
/* After FRAME_ERROR, of the same data: what the answer takes from the lines before the one that was wrong:
 * traceparent, X-Request-ID, and that the method was HEAD. */
void http_context_unframed(const struct frame *frame, const char *data, const uint8_t now_random[24],
                           struct reply_context *ret_context);

/*
 * Encoders. now_ms: for the *_in_ms figures.
 *
 * A reply of kind EVENT that answers REQUEST_EVENT_LIST is an element of the list: the connection calls
 * X_encode_list_begin(count), X_encode() for each, X_encode_list_end(). A map comes in pieces: the codec
 * writes the opening with row_from == 0 and the closing with row_to == row_count. Over HTTP both are sent
 * with chunked transfer coding (to HTTP/1.0 clients: unframed, then close).
 */
void resp_encode(struct output *output, const struct reply_context *context, const struct reply *reply,
                 uint64_t now_ms);
void resp_encode_error(struct output *output, const struct request_error *error);
void resp_encode_list_begin(struct output *output, const struct reply_context *context, uint32_t count);

/* News of a token that is watched: a push message, in RESP3. */
void resp_encode_push(struct output *output, const struct token_view *token);

/* The answer to COMMAND and its subcommands. argument: of the request, while the frame's bytes stand. */
void resp_encode_command_table(struct output *output, const struct reply_context *context,
                               struct bytes argument);

/* The time for the Date of the answers that follow in this thread: once a tick. Without it the Date is
 * that of the last http_encode(), or absent where there was none. */
void http_time(uint64_t now_ms);
/* "100 Continue": see struct frame */
void http_encode_continue(struct output *output);
void http_encode(struct output *output, const struct reply_context *context, const struct reply *reply,
                 uint64_t now_ms);
/* context may be NULL where nothing of the request was read */
void http_encode_error(struct output *output, const struct reply_context *context,
                       const struct request_error *error);
void http_encode_list_begin(struct output *output, const struct reply_context *context);
/* index of the element about to come: a comma before all but the first */
void http_encode_list_separator(struct output *output, const struct reply_context *context, uint32_t index);
void http_encode_list_end(struct output *output, const struct reply_context *context);
/* a whole plain answer: healthz, readyz, metrics, openapi */
void http_encode_text(struct output *output, const struct reply_context *context, uint16_t status,
                      const char *media_type, struct bytes body);

/* Plain RESP values for the server's own commands (INFO, HELLO, CONFIG GET ...). */
void resp_simple(struct output *output, const char *text);
void resp_bulk(struct output *output, struct bytes text);
void resp_integer(struct output *output, int64_t value);
void resp_array(struct output *output, uint32_t count);
void resp_map(struct output *output, uint8_t resp_version, uint32_t pairs);
void resp_null(struct output *output, uint8_t resp_version);

#endif
