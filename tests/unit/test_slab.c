/*
 * test_slab.c - bounded pools and the carving of memory, against an array of who is taken.
 */
#include "core/slab.h"
#include "tests/unit/core_drive.h"

#include <stdlib.h>

#define ITEMS 100

static char *
zeroed(size_t size)
{
    char *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);
    assert_non_null(memory);
    memset(memory, 0, (size + 63) & ~(size_t)63);
    return memory;
}

/* Counting and laying out agree, pieces are aligned to cache lines and do not overlap. */
static void
test_carve(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 63, 65, 0, 4096, 7};
    struct carve count = {NULL, 0};
    for (uint32_t i = 0; i < 7; i++)
        assert_null(carve_bytes(&count, sizes[i]));
    char *memory = zeroed(count.offset);
    struct carve carve = {memory, 0};
    char *end = memory;
    for (uint32_t i = 0; i < 7; i++) {
        char *piece = carve_bytes(&carve, sizes[i]);
        assert_int_equal((uintptr_t)piece % 64, 0);
        assert_true(piece >= end);
        end = piece + sizes[i];
        assert_true(end <= memory + count.offset);
    }
    assert_int_equal(carve.offset, count.offset);
    free(memory);
}

static void
test_against_an_array(void **state)
{
    (void)state;
    struct slab slab;
    struct carve count = {NULL, 0};
    slab_open(&slab, &count, 24, ITEMS);
    char *memory = zeroed(count.offset);
    struct carve carve = {memory, 0};
    slab_open(&slab, &carve, 24, ITEMS);
    assert_int_equal(slab_left(&slab), ITEMS);
    bool taken[ITEMS] = {false};
    uint32_t taken_count = 0;
    uint64_t random = 1;
    for (uint32_t step = 0; step < 20000; step++) {
        /* long runs up and down, so that both ends are met */
        bool up = step / 500 % 2 == 0 ? drive_random(&random) % 4 != 0 : drive_random(&random) % 4 == 0;
        if (up) {
            uint32_t index = slab_take(&slab);
            if (taken_count == ITEMS) {
                assert_int_equal(index, SLAB_NONE);
            } else {
                assert_true(index < ITEMS);
                assert_false(taken[index]);
                taken[index] = true;
                taken_count++;
                memset(slab_item(&slab, index), (int)index, 24);
            }
        } else if (taken_count > 0) {
            uint32_t index = (uint32_t)(drive_random(&random) % ITEMS);
            while (!taken[index])
                index = (index + 1) % ITEMS;
            const unsigned char *item = slab_item(&slab, index);
            for (uint32_t b = 0; b < 24; b++)
                assert_int_equal(item[b], index); /* nobody else wrote into it */
            slab_give(&slab, index);
            taken[index] = false;
            taken_count--;
            if (step % 7 == 0) { /* the item freed last is taken first */
                assert_int_equal(slab_take(&slab), index);
                slab_give(&slab, index);
            }
        }
        assert_int_equal(slab.taken, taken_count);
        assert_int_equal(slab_left(&slab), ITEMS - taken_count);
        if (step % 100 == 0)
            slab_check(&slab);
    }
    free(memory);
}

/* Memory beyond the highest item ever taken is never touched. */
static void
test_untouched_memory(void **state)
{
    (void)state;
    struct slab slab;
    char *memory = zeroed(64 * ITEMS);
    memset(memory, 0xaa, 64 * ITEMS);
    struct carve carve = {memory, 0};
    slab_open(&slab, &carve, 64, ITEMS);
    for (uint32_t round = 0; round < 100; round++) {
        uint32_t first = slab_take(&slab);
        uint32_t second = slab_take(&slab);
        slab_give(&slab, first);
        slab_give(&slab, second);
    }
    for (size_t i = 2 * 64; i < 64 * ITEMS; i++)
        assert_int_equal((unsigned char)memory[i], 0xaa);
    free(memory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_carve),
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_untouched_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
