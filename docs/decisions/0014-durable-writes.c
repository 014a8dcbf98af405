/*
 * 0014-durable-writes.c - what one durable write of 4 KiB takes, by five ways: the evidence of decision
 * 0014. Not part of the build:
 *
 *     gcc -std=c17 -D_GNU_SOURCE -O2 -o build/durable-writes docs/decisions/0014-durable-writes.c -luring -lpthread
 *     build/durable-writes FILE CORE       on the disk to be measured; CORE: where the writer is pinned
 *     taskset -c 1 sh -c 'while :; do :; done' &      beside it: another core that is busy
 *
 * Each way in turn writes into zeros that are on the disk already, 60 us after the last answer.
 */
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BLOCK      4096
#define FILE_BYTES (64u << 20)
#define WRITES     1000
#define PAUSE_NS   60000

enum way { PLAIN, RING_DSYNC, RING_LINKED, THREAD_SAME_CORE, THREAD_ANY_CORE, WAYS };
static const char *const names[WAYS] = {
    "pwritev2(RWF_DSYNC)", "io_uring, RWF_DSYNC", "io_uring, data sync linked behind", "thread on the same core",
    "thread on any core",
};

static int file, asked, done;
static char *block;
static uint64_t offset;
static cpu_set_t every;
static _Atomic bool ending;

static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t
now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
write_plainly(void)
{
    struct iovec piece = {block, BLOCK};
    if (pwritev2(file, &piece, 1, (off_t)offset, RWF_DSYNC) != BLOCK)
        fail("pwritev2");
}

static void *
write_when_asked(void *any_core)
{
    uint64_t count;
    if (any_core != NULL)
        (void)pthread_setaffinity_np(pthread_self(), sizeof every, &every);
    for (;;) {
        if (read(asked, &count, sizeof count) != sizeof count)
            fail("read");
        if (ending)
            return NULL;
        write_plainly();
        count = 1;
        if (write(done, &count, sizeof count) != sizeof count)
            fail("write");
    }
}

static void
await(struct io_uring *ring)
{
    struct io_uring_cqe *entry;
    if (io_uring_submit_and_wait(ring, 1) < 0 || io_uring_peek_cqe(ring, &entry) != 0 || entry->res < 0)
        fail("io_uring");
    io_uring_cqe_seen(ring, entry);
}

static void
write_once(struct io_uring *ring, enum way way)
{
    uint64_t count = 1;
    struct io_uring_sqe *entry;
    switch (way) {
    case PLAIN:
        write_plainly();
        break;
    case RING_DSYNC:
    case RING_LINKED:
        entry = io_uring_get_sqe(ring);
        io_uring_prep_write(entry, file, block, BLOCK, offset);
        if (way == RING_DSYNC) {
            entry->rw_flags = RWF_DSYNC;
        } else {
            entry->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
            io_uring_prep_fsync(io_uring_get_sqe(ring), file, IORING_FSYNC_DATASYNC);
        }
        await(ring);
        break;
    default:
        io_uring_prep_read(io_uring_get_sqe(ring), done, &count, sizeof count, 0);
        count = 1;
        if (write(asked, &count, sizeof count) != sizeof count)
            fail("write");
        await(ring);
    }
}

static int
by_size(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, two = *(const uint64_t *)b;
    return one < two ? -1 : one > two;
}

static void
measure(struct io_uring *ring, enum way way)
{
    static uint64_t took[WRITES];
    pthread_t thread;
    ending = false;
    if (way >= THREAD_SAME_CORE)
        (void)pthread_create(&thread, NULL, write_when_asked, way == THREAD_ANY_CORE ? &every : NULL);
    for (int i = 0; i < WRITES; i++) {
        struct timespec pause = {0, PAUSE_NS};
        (void)nanosleep(&pause, NULL);
        offset = (offset + BLOCK) % FILE_BYTES;
        uint64_t begin = now_ns();
        write_once(ring, way);
        took[i] = now_ns() - begin;
    }
    if (way >= THREAD_SAME_CORE) {
        uint64_t count = 1;
        ending = true;
        if (write(asked, &count, sizeof count) != sizeof count)
            fail("write");
        (void)pthread_join(thread, NULL);
    }
    qsort(took, WRITES, sizeof took[0], by_size);
    printf("%-36s p50 %5.0f us   p99 %5.0f us\n", names[way], (double)took[WRITES / 2] / 1000,
           (double)took[WRITES * 99 / 100] / 1000);
}

int
main(int argc, char **argv)
{
    struct io_uring ring;
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    cpu_set_t own;
    if (argc != 3 || posix_memalign((void **)&block, BLOCK, BLOCK) != 0)
        return 2;
    memset(block, 0, BLOCK);
    file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0644);
    asked = eventfd(0, 0);
    done = eventfd(0, 0);
    if (file < 0 || asked < 0 || done < 0 || io_uring_queue_init_params(8, &ring, &params) != 0)
        fail(argv[1]);
    for (uint64_t at = 0; at < FILE_BYTES; at += BLOCK)
        if (pwrite(file, block, BLOCK, (off_t)at) != BLOCK)
            fail("pwrite");
    if (fsync(file) != 0)
        fail("fsync");
    (void)sched_getaffinity(0, sizeof every, &every);
    CPU_ZERO(&own);
    CPU_SET((size_t)atoi(argv[2]), &own);
    (void)sched_setaffinity(0, sizeof own, &own);
    for (enum way way = 0; way < WAYS; way++)
        measure(&ring, way);
    (void)unlink(argv[1]);
    return 0;
}
