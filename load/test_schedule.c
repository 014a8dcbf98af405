/*
 * test_schedule.c - when buyers come, and who waits for what.
 */
#include "load/ask_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct schedule
read_well(const char *text)
{
    struct schedule schedule;
    char error[160] = "";
    if (!schedule_read(text, &schedule, error))
        fail_msg("%s: %s", text, error);
    return schedule;
}

static void
test_constant(void **state)
{
    (void)state;
    struct schedule schedule = read_well("4000");
    assert_true(schedule_count(&schedule) == UINT64_MAX);
    assert_int_equal(schedule_due_ns(&schedule, 0), 0);
    assert_int_equal(schedule_due_ns(&schedule, 1), 250000);
    assert_int_equal(schedule_due_ns(&schedule, 40000000), UINT64_C(10000000000000)); /* no error adds up */
}

/* As many arrivals in each tenth of a second as the area under the rate, and none out of order. */
static void
check_against_rate(const char *text, double seconds, double (*upto)(double seconds))
{
    struct schedule schedule = read_well(text);
    uint64_t count = schedule_count(&schedule);
    assert_int_equal(count, (uint64_t)(upto(seconds) + 1e-6));
    uint64_t arrival = 0, last_ns = 0;
    for (int tenth = 1; tenth <= (int)(seconds * 10); tenth++) {
        for (uint64_t due_ns; (due_ns = schedule_due_ns(&schedule, arrival)) < (uint64_t)tenth * 100000000;
             arrival++) {
            assert_true(due_ns >= last_ns);
            last_ns = due_ns;
        }
        double wanted = upto(tenth / 10.0);
        assert_true((double)arrival >= wanted - 1 && (double)arrival <= wanted + 1);
    }
    assert_true(schedule_due_ns(&schedule, count) == SCHEDULE_NEVER);
}

static double
ramp_upto(double seconds)
{
    return 100 * seconds + (900.0 - 100) / 2 / 4 * seconds * seconds;
}

static double
fall_upto(double seconds)
{
    return 1000 * seconds - 1000.0 / 2 / 2 * seconds * seconds;
}

static double
steps_upto(double seconds)
{
    double first = seconds < 1 ? seconds : 1;
    double third = seconds > 1.5 ? seconds - 1.5 : 0; /* nobody comes for half a second */
    return 10 * first + 500.5 * third;
}

static void
test_ramp_and_steps(void **state)
{
    (void)state;
    check_against_rate("100-900@4", 4, ramp_upto);
    check_against_rate("1000-0@2", 2, fall_upto);
    check_against_rate("10@1,0@0.5,500.5@2", 3.5, steps_upto);
}

static void
test_trace(void **state)
{
    (void)state;
    char path[] = "/tmp/holdfast-trace-XXXXXX", text[64], error[160];
    struct schedule schedule;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0\n0.5\n0.5\n2.000001\n", 19), 19);
    snprintf(text, sizeof text, "trace:%s", path);
    schedule = read_well(text);
    assert_int_equal(schedule_count(&schedule), 4);
    assert_int_equal(schedule_due_ns(&schedule, 2), 500000000);
    assert_in_range(schedule_due_ns(&schedule, 3), 2000000999, 2000001000);
    assert_true(schedule_due_ns(&schedule, 4) == SCHEDULE_NEVER);
    schedule_done(&schedule);
    assert_int_equal(write(fd, "1\n", 2), 2); /* before the one above it */
    assert_false(schedule_read(text, &schedule, error));
    assert_non_null(strstr(error, "line 5"));
    close(fd);
    unlink(path);
    assert_false(schedule_read(text, &schedule, error));
}

static void
test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "x",     "5@",     "5@0",   "-5",  "5-10",
                                      "0",        "5,5@1", "5@1,",   "5@1;5", "1e9", "0@10",
                                      "5@100000", "nan",   "trace:", "0.1@1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct schedule schedule;
        char error[160] = "";
        if (schedule_read(bad[i], &schedule, error))
            fail_msg("'%s' was taken", bad[i]);
        assert_true(error[0] != '\0');
    }
}

static void
test_queue_keeps_the_order(void **state)
{
    (void)state;
    struct ask_queue queue = {0};
    uint32_t put = 0, taken = 0;
    for (uint32_t round = 0; round < 5000; round++) {
        for (uint32_t i = 0; i < round % 7; i++) {
            struct ask ask = {.buyer = put++};
            ask_queue_put(&queue, &ask);
        }
        for (uint32_t i = 0; i < round % 5 && queue.count > 0; i++)
            assert_int_equal(ask_queue_take(&queue).buyer, taken++);
    }
    assert_true(queue.count > 2048); /* it has grown while it had gone round */
    while (queue.count > 0)
        assert_int_equal(ask_queue_take(&queue).buyer, taken++);
    assert_int_equal(taken, put);
    free(queue.asks);
}

static void
test_heap_gives_the_earliest(void **state)
{
    (void)state;
    struct ask_heap heap = {0};
    uint64_t random = 1, last_ns = 0;
    uint32_t seen = 0;
    assert_true(ask_heap_due_ns(&heap) == SCHEDULE_NEVER);
    for (uint32_t i = 0; i < 10000; i++) {
        struct ask ask = {.due_ns = random_below(&random, 500), .buyer = i};
        ask_heap_put(&heap, &ask);
    }
    for (; heap.count > 0; seen++) {
        uint64_t due_ns = ask_heap_due_ns(&heap);
        assert_int_equal(ask_heap_take(&heap).due_ns, due_ns);
        assert_true(due_ns >= last_ns);
        last_ns = due_ns;
    }
    assert_int_equal(seen, 10000);
    free(heap.asks);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_ramp_and_steps),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_queue_keeps_the_order),
        cmocka_unit_test(test_heap_gives_the_earliest),
    };
    return cmocka_run_group_tests_name("load schedule", tests, NULL, NULL);
}
