/*
 * test_rate_limit.c - token buckets: how many pass in a burst and in the long run, how long the wait is
 * that is told, what the bound of the table does, and that threads together get no more than one alone.
 */
#include "net/rate_limit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SECOND 1000000000u
#define BEGIN  (1000 * (uint64_t)SECOND)

static uint32_t
take_all(struct rate_limit *limit, const char *name, uint64_t now_ns)
{
    uint32_t taken = 0;
    while (taken < 10000000 && rate_limit_take(limit, name, strlen(name), now_ns).allowed)
        taken++;
    return taken;
}

static void
test_rates(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 3, 50, 100, 999, 10000, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct rate_limit limit;
        uint32_t rate = rates[i];
        assert_int_equal(rate_limit_open(&limit, rate, 5, 1024), 0);
        assert_int_equal(take_all(&limit, "u1", BEGIN), rate); /* a burst of one second's worth */
        struct rate_answer answer = rate_limit_take(&limit, "u1", 2, BEGIN);
        assert_false(answer.allowed);
        assert_in_range(answer.wait_ms, 1, 1000 / rate + 1);
        /* after the time that was told there is one */
        assert_true(rate_limit_take(&limit, "u1", 2, BEGIN + answer.wait_ms * 1000000ull).allowed);
        assert_int_equal(take_all(&limit, "u2", BEGIN), rate); /* others do not notice */
        /* ten times its rate for ten seconds: the rate */
        uint32_t passed = 0;
        uint64_t begin = BEGIN + 10 * (uint64_t)SECOND;
        assert_int_equal(take_all(&limit, "u1", begin), rate); /* full again */
        uint32_t asked = rate > 10000 ? 100000 : rate * 100;
        for (uint32_t n = 1; n <= asked; n++)
            passed += rate_limit_take(&limit, "u1", 2, begin + n * 10 * (uint64_t)SECOND / asked).allowed;
        if (asked == rate * 100)
            assert_in_range(passed, rate * 10 - 1, rate * 10 + 1);
        else
            assert_int_equal(passed, asked);
        rate_limit_done(&limit);
    }
}

/* Time goes on, for 60 hours and round the clock of 40 bits: nobody is refused who has waited. */
static void
test_long_times(void **state)
{
    (void)state;
    struct rate_limit limit;
    assert_int_equal(rate_limit_open(&limit, 2, 5, 64), 0);
    uint64_t now = BEGIN;
    for (int n = 0; n < 216000; n++, now += SECOND + 1000) {
        assert_true(rate_limit_take(&limit, "u", 1, now).allowed);
        assert_true(rate_limit_take(&limit, "u", 1, now + SECOND / 2).allowed);
    }
    for (int hours = 1; hours < 100; hours++) {
        now += (uint64_t)hours * 3600 * SECOND;
        assert_int_equal(take_all(&limit, "u", now), 2);
    }
    /* a thread whose clock is a tick behind another's: no second burst */
    assert_false(rate_limit_take(&limit, "u", 1, now - 5000000).allowed);
    rate_limit_done(&limit);
}

static void
test_bound(void **state)
{
    (void)state;
    struct rate_limit limit;
    uint32_t evicted = 0;
    char name[16];
    assert_int_equal(rate_limit_open(&limit, 10, 5, 64), 0);
    assert_int_equal(take_all(&limit, "greedy", BEGIN), 10);
    /* names that have been full again make room first: nothing is lost */
    for (int n = 0; n < 5000; n++) {
        (void)snprintf(name, sizeof name, "u%d", n);
        struct rate_answer answer =
            rate_limit_take(&limit, name, strlen(name), BEGIN + (uint64_t)n * 100000000u);
        assert_true(answer.allowed);
        assert_false(answer.evicted);
    }
    /* more than fit, all at once: some begin anew, none is refused for another one's sake */
    for (int n = 0; n < 5000; n++) {
        (void)snprintf(name, sizeof name, "v%d", n);
        struct rate_answer answer =
            rate_limit_take(&limit, name, strlen(name), BEGIN + 600 * (uint64_t)SECOND);
        assert_true(answer.allowed);
        evicted += answer.evicted;
    }
    assert_in_range(evicted, 5000 - 64, 5000 - 8);
    rate_limit_done(&limit);
    /* the one that has asked most stays longest: it is full last */
    assert_int_equal(rate_limit_open(&limit, 100, 5, 8), 0);
    assert_int_equal(take_all(&limit, "greedy", BEGIN), 100);
    for (int n = 0; n < 1000; n++) {
        (void)snprintf(name, sizeof name, "w%d", n);
        assert_true(rate_limit_take(&limit, name, strlen(name), BEGIN).allowed);
        assert_false(rate_limit_take(&limit, "greedy", 6, BEGIN).allowed);
    }
    rate_limit_done(&limit);
}

#define THREADS 4

static struct rate_limit shared;
static _Atomic uint32_t shared_taken;

static void *
take_shared(void *argument)
{
    (void)argument;
    for (int n = 0; n < 20000; n++)
        if (rate_limit_take(&shared, "one user", 8, BEGIN).allowed)
            (void)atomic_fetch_add(&shared_taken, 1); /* only the sum counts */
    return NULL;
}

static void
test_threads_share(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    assert_int_equal(rate_limit_open(&shared, 30000, 5, 1024), 0);
    assert_true(rate_limit_take(&shared, "one user", 8, BEGIN).allowed);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_shared, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    /* whoever lost the exchange 16 times in turn went through untold: seldom */
    assert_in_range(atomic_load(&shared_taken), 29999, 30099);
    rate_limit_done(&shared);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_long_times),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_threads_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
