/*
 * mailbox.h - one-way queues of messages between two shards, and the bell that wakes a sleeping one.
 */
#ifndef HOLDFAST_MAILBOX_H
#define HOLDFAST_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bounded, single producer, single consumer. The memory is the caller's and outlives both threads.
 * Producer functions are called by one thread, consumer functions by one (other) thread.
 */
struct mailbox;

/* Bytes of memory for a mailbox that holds `capacity` bytes: a power of two, at least 64. */
size_t mailbox_size(size_t capacity);

/* Makes an empty mailbox in zeroed, 64-aligned memory of mailbox_size(capacity) bytes. */
struct mailbox *mailbox_open(void *memory, size_t capacity);

/* Producer. Size: a multiple of 8, above 0. False: no room now, nothing was sent. A message of up to a
 * quarter of the capacity always finds room in an empty mailbox. */
bool mailbox_send(struct mailbox *mailbox, const void *message, uint32_t size);

/* Consumer. Looks what has been sent: until the next look, these messages are all there is to peek at. A
 * clock that is read behind it is not behind the clock of any of their senders. True: there is one. */
bool mailbox_look(struct mailbox *mailbox);

/* Consumer. The oldest message of the last look, in place and 8-aligned, or NULL; it stays until
 * mailbox_take(). */
const void *mailbox_peek(struct mailbox *mailbox, uint32_t *ret_size);
void mailbox_take(struct mailbox *mailbox);

/* Consumer. After a peek: each message once, in order, before it is the oldest, so that its memory can be
 * asked for; NULL where none is there yet, or they are too far ahead. */
const void *mailbox_foresee(struct mailbox *mailbox);

/* Consumer: nothing to take. */
bool mailbox_empty(struct mailbox *mailbox);

/* Bytes queued, for metrics; any thread, approximate. */
size_t mailbox_used(const struct mailbox *mailbox);

/*
 * The bell of one receiver. Receiver: bell_sleep(), then a look at every mailbox, then wait for the
 * eventfd, then bell_awake(). Sender: send all, then bell_ring().
 */
struct bell {
    _Atomic uint32_t asleep;
    int fd; /* eventfd, the receiver's */
    char padding[56];
};

int bell_open(struct bell *bell); /* 0 or negative errno */
void bell_done(struct bell *bell);
void bell_sleep(struct bell *bell);
void bell_awake(struct bell *bell);
void bell_ring(struct bell *bell);        /* only where the receiver sleeps */
void bell_ring_always(struct bell *bell); /* stopping the server */
/* The receiver waits until it is rung, or the time is up. */
void bell_wait(struct bell *bell, int timeout_ms);

#endif
