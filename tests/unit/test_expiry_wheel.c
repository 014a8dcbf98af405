/*
 * test_expiry_wheel.c - the timing wheel against a plain array of deadlines: all levels, jumps of time,
 * small budgets.
 */
#include "core/expiry_wheel.h"
#include "holdfast/limits.h"
#include "tests/unit/core_drive.h"

#include <stddef.h>
#include <stdlib.h>

#define ITEMS        300
#define DELAY_MAX_MS (SECONDS_MAX * (uint64_t)1000)

struct item {
    uint32_t other;
    struct wheel_link link;
};

struct world {
    struct slab slab;
    char *memory;
    struct expiry_wheel wheel;
    uint64_t now_ms;
    uint64_t random;
    bool in[ITEMS];
    uint64_t deadlines[ITEMS];
    uint32_t count;
};

static void
world_open(struct world *world, uint64_t now_ms, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->memory = aligned_alloc(64, 64 * ITEMS);
    struct carve carve = {world->memory, 0};
    slab_open(&world->slab, &carve, sizeof(struct item), ITEMS);
    for (uint32_t i = 0; i < ITEMS; i++)
        (void)slab_take(&world->slab);
    world->now_ms = now_ms;
    world->random = seed;
    wheel_open(&world->wheel, &world->slab, offsetof(struct item, link), now_ms);
}

/* The wheel's grain: a deadline within a tick is due at its end, at most 10 ms late. */
static uint64_t
tick_end(uint64_t deadline_ms)
{
    return (deadline_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS * WHEEL_TICK_MS;
}

static uint64_t
first_deadline(const struct world *world)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < ITEMS; i++)
        if (world->in[i] && world->deadlines[i] < first)
            first = world->deadlines[i];
    return first;
}

static void
add(struct world *world, uint32_t item, uint64_t deadline_ms)
{
    wheel_add(&world->wheel, item, deadline_ms);
    world->in[item] = true;
    world->deadlines[item] = deadline_ms;
    world->count++;
}

static void
leave(struct world *world, uint32_t item)
{
    wheel_remove(&world->wheel, item);
    world->in[item] = false;
    world->count--;
}

/* All that is due, with this budget a call; then nothing whose tick is over may be left. */
static void
sweep(struct world *world, uint32_t budget_each)
{
    uint32_t calls = 0;
    for (;;) {
        uint32_t budget = budget_each;
        uint32_t item = wheel_due(&world->wheel, world->now_ms, &budget);
        assert_true(budget <= budget_each);
        assert_true(++calls < 100 * ITEMS);
        if (item != SLAB_NONE) {
            assert_true(world->in[item]);
            assert_true(world->deadlines[item] <= world->now_ms); /* never before its time */
            leave(world, item);
        } else if (wheel_next_ms(&world->wheel) > world->now_ms) {
            break;
        }
    }
    assert_true(world->count == 0 || tick_end(first_deadline(world)) > world->now_ms);
}

static void
check_next(const struct world *world)
{
    uint64_t next = wheel_next_ms(&world->wheel);
    if (world->count == 0) {
        assert_true(next == UINT64_MAX);
        return;
    }
    uint64_t first = first_deadline(world);
    assert_true(next <= tick_end(first));
    if (first <= world->now_ms)
        assert_true(next <= world->now_ms + WHEEL_TICK_MS);
}

static uint64_t
some_delay(struct world *world)
{
    /* as often in each level: 10 ms * 64^level, up to the longest hold */
    uint64_t span = (uint64_t)WHEEL_TICK_MS << (6 * (1 + drive_random(&world->random) % WHEEL_LEVELS));
    return drive_random(&world->random) % (span < DELAY_MAX_MS ? span : DELAY_MAX_MS);
}

static void
run(uint64_t seed, uint64_t start_ms, uint64_t step_ms, uint32_t steps)
{
    struct world world;
    world_open(&world, start_ms, seed);
    for (uint32_t step = 0; step < steps; step++) {
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t item = (uint32_t)(drive_random(&world.random) % ITEMS);
            if (!world.in[item])
                add(&world, item, world.now_ms + some_delay(&world));
            else if (drive_random(&world.random) % 4 == 0)
                leave(&world, item);
        }
        wheel_check(&world.wheel);
        check_next(&world);
        assert_int_equal(world.wheel.count, world.count);
        bool jump = drive_random(&world.random) % 50 == 0;
        world.now_ms += jump ? some_delay(&world) : drive_random(&world.random) % step_ms;
        if (jump || drive_random(&world.random) % 3 != 0)
            sweep(&world, 1 + (uint32_t)(drive_random(&world.random) % 5));
    }
    while (world.count > 0) { /* nothing is ever forgotten: from next to next */
        uint64_t next = wheel_next_ms(&world.wheel);
        assert_true(next != UINT64_MAX);
        if (next > world.now_ms)
            world.now_ms = next;
        sweep(&world, 64);
        wheel_check(&world.wheel);
    }
    assert_true(wheel_next_ms(&world.wheel) == UINT64_MAX);
    free(world.memory);
}

static void
test_against_an_array(void **state)
{
    (void)state;
    run(1, 1800000000000, 30, 3000);
    run(2, 1800000000007, 1000, 3000);
    run(3, 0, 100000, 3000);
    run(4, 1800000000000, 50000000, 2000);
    run(5, ((uint64_t)WHEEL_TICK_MS << 30) - 5, 10, 3000); /* where all levels turn over */
}

/* One item, every distance around the edges of each level: not an ms early, at most a tick late. */
static void
test_edges_of_levels(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1800000000003, 9);
    for (uint32_t level = 0; level < WHEEL_LEVELS; level++) { /* the last one: beyond 19 days */
        uint64_t edge = (uint64_t)WHEEL_TICK_MS << (6 * level);
        for (int64_t around = -25; around <= 25; around++) {
            if ((int64_t)edge + around < 0)
                continue;
            uint64_t deadline = world.now_ms + edge + (uint64_t)around;
            add(&world, 0, deadline);
            uint32_t rounds = 0;
            while (world.in[0]) {
                assert_true(++rounds < 1000);
                uint64_t next = wheel_next_ms(&world.wheel);
                assert_true(next < deadline + WHEEL_TICK_MS);
                if (next > world.now_ms)
                    world.now_ms = next;
                uint32_t budget = 8;
                if (wheel_due(&world.wheel, world.now_ms, &budget) == 0)
                    leave(&world, 0);
            }
            assert_in_range(world.now_ms, deadline, deadline + WHEEL_TICK_MS - 1);
        }
    }
    free(world.memory);
}

/* A deadline that has passed, by a tick or more, is due at once. */
static void
test_overdue_when_added(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1800000000000, 9);
    world.now_ms += 12345;
    sweep(&world, 1);
    for (uint32_t i = 0; i < 5; i++)
        add(&world, i, world.now_ms - (i + 1) * 1000);
    assert_true(wheel_next_ms(&world.wheel) <= world.now_ms);
    sweep(&world, 1);
    assert_int_equal(world.count, 0);
    free(world.memory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_edges_of_levels),
        cmocka_unit_test(test_overdue_when_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
