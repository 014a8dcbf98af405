/*
 * ring.c - io_uring, and nothing else. The only file that includes liburing.
 *
 * user_data, one layout for every operation:
 *
 *     63      56 55            32 31                  0
 *     | operation |   slot      |     generation      |
 *
 * Set-up: SINGLE_ISSUER and DEFER_TASKRUN, so that completions are worked out only when the loop asks for
 * them and never interrupt it; SUBMIT_ALL, so that one bad entry does not hold back the others; a
 * completion queue of four times the submission queue, since multishot operations complete more often than
 * they are submitted.
 *
 * Should the completion queue still overflow, the kernel keeps what did not fit (FEAT_NODROP) and hands it
 * over at the next enter with GETEVENTS, and it ends multishot operations early: they complete without the
 * `more` flag, and their owner arms them again. So nothing is lost, only slower.
 *
 * Provided buffers: liburing 2.3 has no io_uring_setup_buf_ring(), so the ring of buffers is our own
 * page-aligned memory, registered with io_uring_register_buf_ring(). A buffer that is in use when all are
 * makes a receive end with -ENOBUFS; its owner arms it again once buffers have come back.
 */
#include "net/ring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define BUFFER_GROUP 0
#define TAKEN        0 /* user_data of a completion that ring_written() took: no operation */

struct ring {
    /* configuration */
    uint32_t buffers;
    uint32_t buffer_bytes;
    /* state */
    struct io_uring uring;
    struct io_uring_buf_ring *buffer_ring; /* the kernel's view of which buffers are free */
    char *buffer_memory;                   /* buffers * buffer_bytes */
    size_t buffer_ring_bytes;
    uint32_t returned; /* buffers given back, not yet shown to the kernel */
    uint64_t full_count;
};

static uint64_t
pack(enum ring_operation operation, struct ring_target target)
{
    assert(target.slot < RING_SLOTS_MAX);
    return (uint64_t)operation << 56 | (uint64_t)target.slot << 32 | target.generation;
}

/* Touched at once: buffers go round, so each of them is soon used, and the first requests should not wait
 * for the kernel to find and clear it. */
static void *
map_pages(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void
explain_queue(int error, char *ret_cause, size_t cause_size)
{
    const char *text;
    switch (error) {
    case -EPERM:
        text =
            "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0, or, in a container, "
            "allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile";
        break;
    case -ENOSYS:
        text = "this kernel has no io_uring, or a seccomp profile hides it: use Linux 6.1 or later, and in "
               "a container "
               "allow io_uring_setup, io_uring_enter and io_uring_register";
        break;
    case -EINVAL:
        text =
            "this kernel's io_uring is too old (no SINGLE_ISSUER or DEFER_TASKRUN): use Linux 6.1 or later";
        break;
    case -ENOMEM:
        text = "no memory for io_uring: raise the limit of locked memory (ulimit -l), or lower "
               "net.ring_entries or "
               "server.shards";
        break;
    default:
        text = "io_uring could not be set up";
        break;
    }
    (void)snprintf(ret_cause, cause_size, "%s (%s)", text, strerror(-error)); /* cut where too long */
}

static int
open_buffers(struct ring *ring)
{
    ring->buffer_ring_bytes = ring->buffers * sizeof(struct io_uring_buf);
    ring->buffer_ring = map_pages(ring->buffer_ring_bytes);
    ring->buffer_memory = map_pages((size_t)ring->buffers * ring->buffer_bytes);
    if (ring->buffer_ring == NULL || ring->buffer_memory == NULL)
        return -ENOMEM;
    struct io_uring_buf_reg registration = {0};
    registration.ring_addr = (uint64_t)(uintptr_t)ring->buffer_ring;
    registration.ring_entries = ring->buffers;
    registration.bgid = BUFFER_GROUP;
    int result = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (result != 0)
        return result;
    io_uring_buf_ring_init(ring->buffer_ring);
    for (uint32_t i = 0; i < ring->buffers; i++)
        ring_buffer_return(ring, (int32_t)i);
    return 0;
}

static void
show_returned_buffers(struct ring *ring)
{
    if (ring->returned > 0) {
        io_uring_buf_ring_advance(ring->buffer_ring, (int)ring->returned);
        ring->returned = 0;
    }
}

int
ring_open(struct ring **ret_ring, const struct ring_settings *settings, char *ret_cause, size_t cause_size)
{
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        explain_queue(-ENOMEM, ret_cause, cause_size);
        return -ENOMEM;
    }
    ring->buffers = settings->buffers;
    ring->buffer_bytes = settings->buffer_bytes;
    struct io_uring_params params = {0};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                   IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_TASKRUN_FLAG;
    params.cq_entries = settings->entries * 4;
    int result = io_uring_queue_init_params(settings->entries, &ring->uring, &params);
    if (result != 0) {
        explain_queue(result, ret_cause, cause_size);
        free(ring);
        return result;
    }
    result = open_buffers(ring);
    if (result != 0) {
        (void)snprintf(
            ret_cause, cause_size,
            "receive buffers could not be registered (%s): raise the limit of locked memory (ulimit -l), "
            "lower net.buffers, or use Linux 6.1 or later",
            strerror(-result)); /* cut where too long */
        ring_close(ring);
        return result;
    }
    show_returned_buffers(ring);
    *ret_ring = ring;
    return 0;
}

void
ring_close(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    if (ring->buffer_ring != NULL)
        (void)munmap(ring->buffer_ring, ring->buffer_ring_bytes); /* ours, and mapped so */
    if (ring->buffer_memory != NULL)
        (void)munmap(ring->buffer_memory, (size_t)ring->buffers * ring->buffer_bytes); /* likewise */
    free(ring);
}

/* The next free submission entry; submits the queue where it is full. */
static struct io_uring_sqe *
next_entry(struct ring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);
    while (entry == NULL) {
        ring->full_count++;
        int result = io_uring_submit(&ring->uring);
        /* EBUSY: completions overflow; taking events makes room. Every other error is ours. */
        if (result == -EBUSY || result == -EAGAIN || result == -EINTR)
            (void)io_uring_get_events(&ring->uring); /* tried again by the loop around it */
        else
            assert(result >= 0);
        entry = io_uring_get_sqe(&ring->uring);
    }
    return entry;
}

void
ring_accept(struct ring *ring, int fd, struct ring_target target)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_multishot_accept(entry, fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(entry, pack(RING_ACCEPT, target));
}

void
ring_receive(struct ring *ring, int fd, struct ring_target target)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = BUFFER_GROUP;
    io_uring_sqe_set_data64(entry, pack(RING_RECEIVE, target));
}

void
ring_send(struct ring *ring, int fd, const char *data, uint32_t size, struct ring_target target)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_send(entry, fd, data, size, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(entry, pack(RING_SEND, target));
}

void
ring_wake_on(struct ring *ring, int fd, uint64_t *counter, struct ring_target target)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_read(entry, fd, counter, sizeof *counter, 0);
    io_uring_sqe_set_data64(entry, pack(RING_WAKE, target));
}

void
ring_write(struct ring *ring, int fd, const void *data, uint32_t size, uint64_t offset,
           struct ring_target target)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_write(entry, fd, data, size, offset);
    io_uring_sqe_set_data64(entry, pack(RING_WRITE, target));
}

void
ring_cancel(struct ring *ring, enum ring_operation operation, struct ring_target target)
{
    struct io_uring_sqe *entry = next_entry(ring);
    io_uring_prep_cancel64(entry, pack(operation, target), 0);
    io_uring_sqe_set_data64(entry, pack(RING_CANCEL, target));
}

const char *
ring_buffer(const struct ring *ring, int32_t buffer)
{
    assert(buffer >= 0);
    assert((uint32_t)buffer < ring->buffers);
    return ring->buffer_memory + (size_t)buffer * ring->buffer_bytes;
}

void
ring_buffer_return(struct ring *ring, int32_t buffer)
{
    assert(buffer >= 0);
    assert((uint32_t)buffer < ring->buffers);
    assert(ring->returned < ring->buffers);
    io_uring_buf_ring_add(ring->buffer_ring, ring->buffer_memory + (size_t)buffer * ring->buffer_bytes,
                          ring->buffer_bytes, (unsigned short)buffer, io_uring_buf_ring_mask(ring->buffers),
                          (int)ring->returned);
    ring->returned++;
}

/* There is work of the kernel that only an enter with GETEVENTS does: deferred completions, or an overflow.
 */
static bool
kernel_has_more(const struct ring *ring)
{
    unsigned flags = __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_ACQUIRE);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

int
ring_wait(struct ring *ring, uint32_t timeout_ms)
{
    int result;
    show_returned_buffers(ring);
    if (timeout_ms == 0) {
        result = io_uring_sq_ready(&ring->uring) > 0 ? io_uring_submit(&ring->uring) : 0;
        if (result >= 0 && kernel_has_more(ring))
            result = io_uring_get_events(&ring->uring);
    } else {
        struct __kernel_timespec timeout = {timeout_ms / 1000, (long long)(timeout_ms % 1000) * 1000000};
        struct io_uring_cqe *first;
        result = io_uring_submit_and_wait_timeout(&ring->uring, &first, 1, &timeout, NULL);
    }
    /* the time is up, a signal came, or completions overflow: the loop reaps and comes again */
    if (result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN)
        return 0;
    return result < 0 ? result : 0;
}

uint64_t
ring_full_count(const struct ring *ring)
{
    return ring->full_count;
}

bool
ring_written(struct ring *ring, int32_t *ret_result)
{
    unsigned head;
    struct io_uring_cqe *entry;
    if (kernel_has_more(ring))
        (void)io_uring_get_events(&ring->uring); /* what fails fails again in ring_wait() */
    io_uring_for_each_cqe(&ring->uring, head, entry)
    {
        if (entry->user_data >> 56 == RING_WRITE) {
            *ret_result = entry->res;
            entry->user_data = TAKEN;
            return true;
        }
    }
    return false;
}

uint32_t
ring_reap(struct ring *ring, struct ring_completion *ret_completions, uint32_t max)
{
    uint32_t count = 0;
    uint32_t passed = 0;
    unsigned head;
    struct io_uring_cqe *entry;
    io_uring_for_each_cqe(&ring->uring, head, entry)
    {
        if (count == max)
            break;
        uint64_t data = entry->user_data;
        if (data == TAKEN) {
            passed++;
            continue;
        }
        struct ring_completion *completion = &ret_completions[count++];
        completion->operation = (enum ring_operation)(data >> 56);
        completion->target.slot = (uint32_t)(data >> 32) & (RING_SLOTS_MAX - 1);
        completion->target.generation = (uint32_t)data;
        completion->result = entry->res;
        completion->more = (entry->flags & IORING_CQE_F_MORE) != 0;
        completion->buffer = (entry->flags & IORING_CQE_F_BUFFER) != 0
                                 ? (int32_t)(entry->flags >> IORING_CQE_BUFFER_SHIFT)
                                 : -1;
    }
    io_uring_cq_advance(&ring->uring, count + passed);
    return count;
}
