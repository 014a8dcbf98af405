/*
 * test_journal_thread.c - the thread that writes for a shard: each write ends once, with its result, and
 * neither side sleeps through what the other one has for it.
 */
#include "net/journal_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE     8192u
#define ROUNDS   20000
#define LOOKS_MS 10000 /* a bell that is not heard */

static struct bell bell;
static struct journal_thread thread;
static char name[] = "test_journal_thread.XXXXXX";
static int file;
static char data[SIZE];

static int
setup(void **state)
{
    (void)state;
    memset(data, 'x', sizeof data);
    (void)strcpy(name, "test_journal_thread.XXXXXX"); /* fits: it is its own size */
    file = mkstemp(name);
    assert_true(file >= 0);
    assert_int_equal(bell_open(&bell), 0);
    return journal_thread_start(&thread, 3, &bell);
}

static int
teardown(void **state)
{
    (void)state;
    journal_thread_stop(&thread);
    journal_thread_stop(&thread); /* nothing is left to stop */
    bell_done(&bell);
    assert_int_equal(close(file), 0);
    assert_int_equal(unlink(name), 0);
    return 0;
}

/* Waits as a shard's loop does. */
static int32_t
written(void)
{
    int32_t result = 0;
    for (bool told = false; !told;) {
        bell_sleep(&bell);
        if (!journal_thread_ended(&thread)) {
            struct pollfd wait = {.fd = bell.fd, .events = POLLIN};
            assert_int_equal(poll(&wait, 1, LOOKS_MS), 1);
            uint64_t counter;
            assert_int_equal(read(bell.fd, &counter, sizeof counter), sizeof counter);
        }
        bell_awake(&bell);
        told = journal_thread_written(&thread, &result);
    }
    assert_false(journal_thread_written(&thread, &result)); /* once */
    return result;
}

static void
test_written(void **state)
{
    (void)state;
    char back[SIZE];
    int32_t none;
    assert_false(journal_thread_written(&thread, &none)); /* none was begun */
    for (uint32_t i = 0; i < 3; i++) {
        data[0] = (char)('a' + i);
        journal_thread_write(&thread, file, data, SIZE, SIZE * i);
        assert_int_equal(written(), SIZE);
        assert_int_equal(pread(file, back, SIZE, SIZE * i), SIZE);
        assert_memory_equal(back, data, SIZE);
    }
}

static void
test_failed(void **state)
{
    (void)state;
    int read_only = open(name, O_RDONLY);
    assert_true(read_only >= 0);
    journal_thread_write(&thread, read_only, data, SIZE, 0);
    assert_int_equal(written(), -EBADF);
    journal_thread_write(&thread, file, data, SIZE, 0); /* the host ends the process; the thread goes on */
    assert_int_equal(written(), SIZE);
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
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    journal_thread_write(&thread, file, data, SIZE, 0);
    int32_t result = written();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(result, SIZE / 2);
}

static void
test_nobody_sleeps_through_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t size = i % 7 + 1;
        journal_thread_write(&thread, file, data, size, i % 5);
        if (i % 3 == 0)
            while (!journal_thread_ended(&thread)) /* awake, and looks */
                ;
        assert_int_equal(written(), size);
    }
}

/* Ends behind the write that is under way. */
static void
test_stopped_while_it_writes(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(ftruncate(file, 0), 0);
        journal_thread_write(&thread, file, data, SIZE, 0);
        journal_thread_stop(&thread);
        assert_int_equal(lseek(file, 0, SEEK_END), SIZE);
        assert_true(journal_thread_ended(&thread));
        assert_int_equal(journal_thread_start(&thread, 3, &bell), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_written_in_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_sleeps_through_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_while_it_writes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
