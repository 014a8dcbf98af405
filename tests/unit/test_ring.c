/*
 * test_ring.c - a durable write through the ring, both ways of it: ended once, whatever happens.
 */
#include "net/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 8192u

static struct ring *ring;
static char name[] = "test_ring.XXXXXX";
static int file;
static char data[SIZE];

static int
open_ring(uint32_t entries)
{
    char cause[256];
    struct ring_settings settings = {.entries = entries, .buffers = 8, .buffer_bytes = 4096};
    int result = ring_open(&ring, &settings, cause, sizeof cause);
    if (result != 0)
        fail_msg("%s", cause);
    return result;
}

static int
setup(void **state)
{
    (void)state;
    memset(data, 'x', sizeof data);
    (void)strcpy(name, "test_ring.XXXXXX"); /* fits: it is its own size */
    file = mkstemp(name);
    assert_true(file >= 0);
    return open_ring(64);
}

static int
teardown(void **state)
{
    (void)state;
    ring_close(ring);
    assert_int_equal(close(file), 0);
    assert_int_equal(unlink(name), 0);
    return 0;
}

/* The one completion of a write; none comes behind it. */
static int32_t
written(void)
{
    struct ring_completion completions[8];
    int32_t result = 0;
    uint32_t count = 0;
    for (int looks = 0; looks < 200 && count == 0; looks++) {
        assert_int_equal(ring_wait(ring, 50), 0);
        count = ring_reap(ring, completions, 8);
    }
    assert_int_equal(count, 1);
    assert_int_equal(completions[0].operation, RING_WRITE);
    result = completions[0].result;
    assert_int_equal(ring_wait(ring, 50), 0);
    assert_int_equal(ring_reap(ring, completions, 8), 0);
    return result;
}

static void
test_written(void **state)
{
    (void)state;
    char back[SIZE];
    for (enum write_way way = 0; way < WRITE_WAYS; way++) {
        data[0] = (char)('a' + way);
        ring_write(ring, file, data, SIZE, SIZE * way, way);
        assert_int_equal(written(), SIZE);
        assert_int_equal(pread(file, back, SIZE, SIZE * way), SIZE);
        assert_memory_equal(back, data, SIZE);
    }
}

static void
test_write_fails(void **state)
{
    (void)state;
    int read_only = open(name, O_RDONLY);
    assert_true(read_only >= 0);
    for (enum write_way way = 0; way < WRITE_WAYS; way++) {
        ring_write(ring, read_only, data, SIZE, 0, way);
        assert_int_equal(written(), -EBADF);
        ring_write(ring, file, data, SIZE, 0, way); /* and the next one works */
        assert_int_equal(written(), SIZE);
    }
    assert_int_equal(close(read_only), 0);
}

static void
test_written_in_part(void **state)
{
    (void)state;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){SIZE / 2, before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    for (enum write_way way = 0; way < WRITE_WAYS; way++) {
        assert_int_equal(ftruncate(file, 0), 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        ring_write(ring, file, data, SIZE, 0, way);
        int32_t result = written();
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(result, SIZE / 2);
    }
}

/* A pipe takes the bytes and cannot be synced: so there is a sync, and its failure is the write's. */
static void
test_sync_fails(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    ring_write(ring, ends[1], data, SIZE, 0, WRITE_BEHIND);
    assert_int_equal(written(), -EINVAL);
    char back[SIZE];
    assert_int_equal(read(ends[0], back, SIZE), SIZE);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
}

/* Where the queue is full in the middle, the two still go together. */
static void
test_full_queue(void **state)
{
    (void)state;
    ring_close(ring);
    assert_int_equal(open_ring(2), 0);
    int counter = eventfd(0, EFD_CLOEXEC), ends[2];
    uint64_t count;
    assert_true(counter >= 0);
    assert_int_equal(pipe(ends), 0);
    ring_wake_on(ring, counter, &count, (struct ring_target){0, 0}); /* one of two is taken; never rung */
    ring_write(ring, ends[1], data, SIZE, 0, WRITE_BEHIND);
    assert_int_equal(ring_full_count(ring), 1);
    assert_int_equal(written(), -EINVAL);
    ring_write(ring, file, data, SIZE, 0, WRITE_BEHIND);
    assert_int_equal(written(), SIZE);
    assert_int_equal(close(counter), 0);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_written_in_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_queue, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
