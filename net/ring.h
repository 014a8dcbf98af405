/*
 * ring.h - what a shard's loop asks of the kernel, and what comes back. ring.c is the only file that knows
 * io_uring, so that another backend can stand in.
 *
 * A ring belongs to the thread that opened it; every function here is called by that thread only.
 */
#ifndef HOLDFAST_RING_H
#define HOLDFAST_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring;

enum ring_operation {
    RING_ACCEPT = 1, /* many completions: a new file descriptor each */
    RING_RECEIVE,    /* many completions: bytes in a provided buffer, or 0 at the end */
    RING_SEND,       /* bytes sent, maybe fewer than asked */
    RING_WAKE,       /* the eventfd was read */
    RING_WRITE,      /* bytes written to a file, maybe fewer than asked */
    RING_CANCEL,     /* a cancellation has been looked at; its target completes by itself */
};

#define RING_SLOTS_MAX (1u << 24)

/* Whom a completion is for: the owner's slot, and its generation so that a late one is recognised. */
struct ring_target {
    uint32_t slot; /* below RING_SLOTS_MAX */
    uint32_t generation;
};

struct ring_completion {
    enum ring_operation operation;
    struct ring_target target;
    int32_t result; /* negative errno, or as the operation says */
    int32_t buffer; /* provided buffer that holds the bytes, or -1; give it back */
    bool more;      /* the operation stays armed; false: it has ended */
};

struct ring_settings {
    uint32_t entries; /* of the submission queue, a power of two */
    uint32_t buffers; /* provided receive buffers, a power of two up to 32768 */
    uint32_t buffer_bytes;
};

/* 0, or negative errno with the cause and the cure in words. */
int ring_open(struct ring **ret_ring, const struct ring_settings *settings, char *ret_cause,
              size_t cause_size);
void ring_close(struct ring *ring);

/* Begin an operation; it is submitted by the next ring_submit() or ring_wait(), or when the queue is full.
 * What send, wake and write point to stays the caller's, in place, until the completion. */
void ring_accept(struct ring *ring, int fd, struct ring_target target);
void ring_receive(struct ring *ring, int fd, struct ring_target target);
void ring_send(struct ring *ring, int fd, const char *data, uint32_t size, struct ring_target target);
void ring_wake_on(struct ring *ring, int fd, uint64_t *counter, struct ring_target target);
/* To a file; as durable when it completes as the file's flags make it. */
void ring_write(struct ring *ring, int fd, const void *data, uint32_t size, uint64_t offset,
                struct ring_target target);
void ring_cancel(struct ring *ring, enum ring_operation operation, struct ring_target target);

/* The bytes of a provided buffer; valid until it is given back. */
const char *ring_buffer(const struct ring *ring, int32_t buffer);
void ring_buffer_return(struct ring *ring, int32_t buffer);

/* Submits what was begun. timeout_ms 0: only looks what has completed; else waits until something has, or
 * the time is up. 0, or negative errno. */
int ring_wait(struct ring *ring, uint32_t timeout_ms);

/* Times that the submission queue was full: a figure. */
uint64_t ring_full_count(const struct ring *ring);

/* Looks for a write that has ended, ahead of all that completed before it: true, and *ret_result as in a
 * completion, which ring_reap() then passes over. */
bool ring_written(struct ring *ring, int32_t *ret_result);

/* Takes up to max completions. */
uint32_t ring_reap(struct ring *ring, struct ring_completion *ret_completions, uint32_t max);

#endif
