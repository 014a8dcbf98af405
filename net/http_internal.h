/*
 * http_internal.h - what the parts of the HTTP codec share.
 */
#ifndef HOLDFAST_HTTP_INTERNAL_H
#define HOLDFAST_HTTP_INTERNAL_H

#include "net/codec_internal.h"

#define PATH_SEGMENTS_MAX 6

/* A request after its head has been read: views into the frame, and into the thread's arena where
 * something was percent-encoded. */
struct http_request {
    struct bytes method;
    struct bytes path;
    struct bytes query;         /* without the question mark; may be empty */
    struct bytes content_type;  /* empty: none given */
    struct bytes key;           /* Idempotency-Key; empty: none given */
    struct bytes authorization; /* empty: none, or more than one */
    struct bytes forwarded;     /* the last one; empty: none given */
    struct bytes x_forwarded_for;
    uint32_t authorizations;
    struct bytes body;
    struct bytes segments[PATH_SEGMENTS_MAX]; /* of the path, decoded */
    uint32_t segment_count;
    const char *bad_header; /* a header that is wrong, or NULL; then *bad_expected too */
    const char *bad_expected;
};

/* http.c: one line of a head. A line without its line end; value: without white space around it. */
struct http_line {
    struct bytes name;
    struct bytes value;
};
/* The header line at `at`, which was checked by http_frame(); moves *at behind it. False: the head ends. */
bool http_line_take(const char **at, struct http_line *ret_line);
bool http_name_is(struct bytes name, const char *small);

/*
 * http_arena.c: memory of the thread for one decode, reserved once and given back as a whole by the next
 * decode. jansson's allocations come from here as long as a decode is under way.
 */
void http_arena_begin(void);
void http_arena_end(void);
/* NULL: the bound is reached. */
void *http_arena_take(size_t size);
/* The bound was reached in this decode: jansson does not always say so. */
bool http_arena_full(void);

/* http_json.c and http_event_json.c: bodies into the request, whose command's type is set. */
void http_json_hold(struct bytes body, struct request *request);
void http_json_confirm(struct bytes body, struct request *request);
void http_json_extend(struct bytes body, struct request *request);
void http_json_join(struct bytes body, struct request *request);
void http_json_cancel(struct bytes body, struct request *request);
void http_json_event(struct bytes body, struct decode_memory *memory, struct request *request);
void http_json_change(struct bytes body, struct decode_memory *memory, struct request *request);

#endif
