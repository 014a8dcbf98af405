/*
 * mailbox.c - bounded single-producer single-consumer byte rings (after Aeron's one-to-one ring buffer).
 *
 * The ring is `capacity` bytes. head and tail only grow; position & (capacity - 1) is the place.
 *
 *     0             head                       tail          capacity
 *     |   free      | size message | size message |   free   |
 *
 * A message is an 8-byte header {size, kind} and its bytes. It is never cut at the end of the ring: where
 * it does not fit before the end, a header of kind PADDING fills the rest, and the message starts at 0.
 *
 * Each side keeps its own position and a cached copy of the other's on a cache line of its own, so that
 * in the steady state neither touches the other's line but to publish.
 *
 * Order of memory:
 *     producer   writes the message, then stores tail with release;
 *     consumer   loads tail with acquire: it sees the whole message;
 *     consumer   has read the message, then stores head with release;
 *     producer   loads head with acquire: it overwrites only what has been read.
 *
 * The bell. A receiver that sleeps must not miss a message that was sent while it lay down. Both sides do
 * an atomic exchange on the same word, so one of the two comes first in the word's modification order: the
 * sender's first    the receiver's exchange reads from it (acquire), so the look at the mailboxes that
 *                           follows sees the message; it does not sleep;
 *     the receiver's first  the sender's exchange reads 1, and writes the eventfd.
 * This is Dekker's argument without a fence: thread sanitizers understand it, and x86 pays the same. The
 * exchange is once a tick for each receiver that got messages, not once a message.
 */
#include "net/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { KIND_MESSAGE = 1, KIND_PADDING = 2 };

struct header {
    uint32_t size; /* of the message, or of the padding with its header */
    uint32_t kind;
};

/* How far ahead messages are foreseen: some eight of the shortest; and how far their own lines are asked
 * for, which the other processor has. */
#define FORESEEN_BYTES 512
#define FETCHED_BYTES  384

static_assert(sizeof(struct header) == 8, "messages stay 8-aligned");

struct mailbox {
    /* the producer's line */
    _Alignas(64) _Atomic uint64_t tail;
    uint64_t head_cached;
    /* the consumer's line */
    _Alignas(64) _Atomic uint64_t head;
    uint64_t tail_cached;
    uint64_t foreseen; /* messages before it have been */
    /* read by both, written by none */
    _Alignas(64) size_t capacity;
    _Alignas(64) char data[];
};

size_t
mailbox_size(size_t capacity)
{
    assert(capacity >= 64);
    assert((capacity & (capacity - 1)) == 0);
    return sizeof(struct mailbox) + capacity;
}

struct mailbox *
mailbox_open(void *memory, size_t capacity)
{
    struct mailbox *mailbox = memory;
    assert(((uintptr_t)memory & 63) == 0);
    assert(mailbox_size(capacity) > capacity);
    atomic_init(&mailbox->tail, 0);
    atomic_init(&mailbox->head, 0);
    mailbox->head_cached = 0;
    mailbox->tail_cached = 0;
    mailbox->foreseen = 0;
    mailbox->capacity = capacity;
    return mailbox;
}

static struct header *
header_at(struct mailbox *mailbox, uint64_t position)
{
    return (struct header *)(void *)(mailbox->data + (position & (mailbox->capacity - 1)));
}

bool
mailbox_send(struct mailbox *mailbox, const void *message, uint32_t size)
{
    assert(size > 0);
    assert(size % 8 == 0);
    size_t capacity = mailbox->capacity;
    size_t need = sizeof(struct header) + size;
    assert(need <= capacity / 4 + sizeof(struct header));

    /* relaxed: nobody else writes the tail */
    uint64_t tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed);
    size_t to_end = capacity - (size_t)(tail & (capacity - 1));
    size_t padding = need > to_end ? to_end : 0;

    if (tail + padding + need - mailbox->head_cached > capacity) {
        /* acquire: the consumer's reads of what we are about to overwrite have happened */
        mailbox->head_cached = atomic_load_explicit(&mailbox->head, memory_order_acquire);
        if (tail + padding + need - mailbox->head_cached > capacity)
            return false;
    }
    if (padding > 0) {
        *header_at(mailbox, tail) = (struct header){(uint32_t)padding, KIND_PADDING};
        tail += padding;
    }
    struct header *header = header_at(mailbox, tail);
    *header = (struct header){size, KIND_MESSAGE};
    memcpy(header + 1, message, size);
    /* release: whoever sees this tail sees the message */
    atomic_store_explicit(&mailbox->tail, tail + need, memory_order_release);
    return true;
}

bool
mailbox_look(struct mailbox *mailbox)
{
    /* acquire: pairs with the producer's release */
    mailbox->tail_cached = atomic_load_explicit(&mailbox->tail, memory_order_acquire);
    return atomic_load_explicit(&mailbox->head, memory_order_relaxed) !=
           mailbox->tail_cached; /* as below */
}

const void *
mailbox_peek(struct mailbox *mailbox, uint32_t *ret_size)
{
    /* relaxed: nobody else writes the head */
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    if (head == mailbox->tail_cached)
        return NULL;
    struct header *header = header_at(mailbox, head);
    if (header->kind == KIND_PADDING) {
        head += header->size;
        /* release: the padding may be overwritten; a message always follows it under the same tail */
        atomic_store_explicit(&mailbox->head, head, memory_order_release);
        assert(head != mailbox->tail_cached);
        header = header_at(mailbox, head);
    }
    assert(header->kind == KIND_MESSAGE);
    *ret_size = header->size;
    return header + 1;
}

const void *
mailbox_foresee(struct mailbox *mailbox)
{
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    if (mailbox->foreseen < head)
        mailbox->foreseen = head; /* taken before it was foreseen */
    if (mailbox->foreseen == mailbox->tail_cached || mailbox->foreseen - head >= FORESEEN_BYTES)
        return NULL;
    struct header *header = header_at(mailbox, mailbox->foreseen);
    if (header->kind == KIND_PADDING) {
        mailbox->foreseen += header->size;
        header = header_at(mailbox, mailbox->foreseen);
    }
    assert(header->kind == KIND_MESSAGE);
    __builtin_prefetch(header_at(mailbox, mailbox->foreseen + FETCHED_BYTES));
    mailbox->foreseen += sizeof *header + header->size;
    return header + 1;
}

void
mailbox_take(struct mailbox *mailbox)
{
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    assert(head != mailbox->tail_cached);
    struct header *header = header_at(mailbox, head);
    assert(header->kind == KIND_MESSAGE);
    /* release: our reads of the message come before the producer's overwriting it */
    atomic_store_explicit(&mailbox->head, head + sizeof *header + header->size, memory_order_release);
}

bool
mailbox_empty(struct mailbox *mailbox)
{
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    return atomic_load_explicit(&mailbox->tail, memory_order_acquire) == head;
}

size_t
mailbox_used(const struct mailbox *mailbox)
{
    /* relaxed and head first: a figure, never below zero */
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed);
    return tail > head ? (size_t)(tail - head) : 0;
}

int
bell_open(struct bell *bell)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    bell->fd = fd;
    atomic_init(&bell->asleep, 0);
    return 0;
}

void
bell_done(struct bell *bell)
{
    (void)close(bell->fd); /* nothing was written that a close could lose */
    bell->fd = -1;
}

void
bell_sleep(struct bell *bell)
{
    (void)atomic_exchange_explicit(&bell->asleep, 1, memory_order_acq_rel);
}

void
bell_awake(struct bell *bell)
{
    /* relaxed: a ring that comes just now only costs one wake-up for nothing */
    atomic_store_explicit(&bell->asleep, 0, memory_order_relaxed);
}

void
bell_ring(struct bell *bell)
{
    if (atomic_exchange_explicit(&bell->asleep, 0, memory_order_acq_rel) != 0)
        bell_ring_always(bell);
}

void
bell_ring_always(struct bell *bell)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(bell->fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    assert(written == sizeof one);
}

void
bell_wait(struct bell *bell, int timeout_ms)
{
    struct pollfd wait = {.fd = bell->fd, .events = POLLIN};
    uint64_t counter;
    if (poll(&wait, 1, timeout_ms) > 0) {
        ssize_t taken = read(bell->fd, &counter, sizeof counter);
        assert(taken == sizeof counter); /* nobody else reads it */
    }
}
