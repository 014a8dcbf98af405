/*
 * stream.h - a TCP connection that never blocks, with its buffers: what the clients of a protocol stand on.
 */
#ifndef HOLDFAST_LOAD_STREAM_H
#define HOLDFAST_LOAD_STREAM_H

#include "load/client.h"

/* An answer, or requests that nobody reads, beyond this: the connection has failed. */
#define STREAM_BYTES_MAX (64u << 20)

struct buffer {
    char *data;
    uint32_t first; /* not yet taken */
    uint32_t end;
    uint32_t room;
};

struct stream {
    int fd;
    struct buffer in;
    struct buffer out;
    char error[128];
};

/* Connects, at most so many seconds. False: ret_error says why, at least 160 bytes. End with stream_done(),
 * also after a failure. */
bool stream_open(struct stream *stream, const struct client_place *place, uint32_t seconds,
                 char *ret_error);
void stream_done(struct stream *stream);

/* As client_kind's. An append that finds no memory fails at the flush. */
void stream_append(struct stream *stream, struct bytes bytes);
int stream_flush(struct stream *stream);
int stream_read(struct stream *stream);

/* Notes why the connection is of no use any more, unless it was noted before; returns -1. */
int stream_fail(struct stream *stream, const char *why);

/* The values of an answer while it is read. */
struct answer_room {
    struct answer_value *values;
    uint32_t count;
    uint32_t room;
};

/* The value after the last, all zero but for its kind; NULL where memory or ANSWER_VALUES_MAX ends. */
#define ANSWER_VALUES_MAX (1u << 24)
struct answer_value *answer_add(struct answer_room *answer, enum answer_kind kind);

#endif
