/*
 * test_write_way.c - the way of a durable write: the faster one is taken, by a busy shard the ring where it
 * is not much slower; what trials cost is bounded.
 */
#include "net/write_way.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define US UINT64_C(1000)

struct run {
    struct write_ways ways;
    bool busy;
    uint64_t now_ns;
    uint64_t counts[WRITE_WAYS];
    uint64_t lost_ns; /* against the better way throughout */
};

static enum write_way
better(bool busy, uint64_t ring_us, uint64_t thread_us)
{
    return (busy ? 2 * ring_us <= 3 * thread_us : ring_us <= thread_us) ? WRITE_BY_RING : WRITE_BY_THREAD;
}

/* For so long, one write behind another, each as long as its way takes. */
static void
write_for(struct run *run, uint64_t ring_us, uint64_t thread_us, uint64_t ms)
{
    uint64_t took[WRITE_WAYS] = {ring_us * US, thread_us * US};
    uint64_t best = took[better(run->busy, ring_us, thread_us)];
    run->counts[WRITE_BY_RING] = run->counts[WRITE_BY_THREAD] = run->lost_ns = 0;
    for (uint64_t end_ns = run->now_ns + ms * 1000 * US; run->now_ns < end_ns;) {
        if (!run->busy)
            write_ways_sleep(&run->ways);
        enum write_way way = write_ways_choose(&run->ways, run->now_ns);
        run->now_ns += took[way];
        run->counts[way]++;
        run->lost_ns += took[way] > best ? took[way] - best : 0;
        write_ways_took(&run->ways, way, took[way], run->now_ns);
    }
}

static void
test_the_better_one_is_taken(void **state)
{
    (void)state;
    static const uint64_t cases[][2] = {{120, 150},  {170, 120},  {190, 120},
                                        {4000, 120}, {120, 4000}, {15, 30}};
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof cases[0]); i++) {
        struct run run = {.busy = i % 2 == 0, .now_ns = 1};
        uint64_t ring = cases[i / 2][0], thread = cases[i / 2][1];
        write_for(&run, ring, thread, 10000);
        enum write_way best = better(run.busy, ring, thread);
        assert_true(run.counts[WRITE_WAYS - 1 - best] > 0); /* it was tried */
        assert_true(run.counts[best] > 50 * run.counts[WRITE_WAYS - 1 - best]);
        assert_true(run.lost_ns < 10000 * 1000 * US / WRITE_WAY_TRIAL_SHARE + 2 * 4000 * US);
    }
}

/* Another core becomes busy, then free again. */
static void
test_it_follows_what_changes(void **state)
{
    (void)state;
    struct run run = {.now_ns = 1};
    for (int round = 0; round < 5; round++) {
        write_for(&run, 120, 150, 10000); /* the last trial of before, of 4 ms, is over within 5 s */
        write_for(&run, 120, 150, 1000);
        assert_true(run.counts[WRITE_BY_RING] > 100 * run.counts[WRITE_BY_THREAD]);
        write_for(&run, 4000, 150, 1000);
        assert_true(run.counts[WRITE_BY_RING] <= 3); /* the first that is slow already turns it */
        assert_true(run.counts[WRITE_BY_THREAD] > 6000);
    }
}

/* One write that took long for another reason does not keep the better way away for long. */
static void
test_an_outlier_is_forgotten(void **state)
{
    (void)state;
    struct run run = {.now_ns = 1};
    write_for(&run, 120, 150, 1000);
    enum write_way way;
    while ((way = write_ways_choose(&run.ways, run.now_ns)) != WRITE_BY_RING)
        write_ways_took(&run.ways, way, 150 * US, run.now_ns += 150 * US);
    write_ways_took(&run.ways, way, 20000 * US, run.now_ns += 20000 * US);
    write_for(&run, 120, 150, 200);
    write_for(&run, 120, 150, 200);
    assert_true(run.counts[WRITE_BY_RING] > 100 * run.counts[WRITE_BY_THREAD]);
}

/* Whether it slept is told anew for each write. */
static void
test_sleep_counts_for_one_write(void **state)
{
    (void)state;
    struct run run = {.now_ns = 1};
    write_for(&run, 140, 120, 1000);
    run.ways.trial_ns = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write_ways_choose(&run.ways, run.now_ns), WRITE_BY_RING);
        write_ways_sleep(&run.ways);
        assert_int_equal(write_ways_choose(&run.ways, run.now_ns), WRITE_BY_THREAD);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_better_one_is_taken),
        cmocka_unit_test(test_it_follows_what_changes),
        cmocka_unit_test(test_an_outlier_is_forgotten),
        cmocka_unit_test(test_sleep_counts_for_one_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
