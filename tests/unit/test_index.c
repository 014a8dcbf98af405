/*
 * test_index.c - the hash table against a plain array of hashes, over several growths and back.
 */
#include "core/index.h"
#include "tests/unit/core_drive.h"

#include <stdlib.h>

static char *
open_index(struct index *index, uint32_t count_max)
{
    struct carve count = {NULL, 0};
    index_open(index, &count, count_max);
    char *memory = aligned_alloc(64, count.offset + 64);
    assert_non_null(memory);
    memset(memory, 0, count.offset + 64);
    struct carve carve = {memory, 0};
    index_open(index, &carve, count_max);
    assert_int_equal(carve.offset, count.offset);
    return memory;
}

/* The item is among the candidates once; of those without its hash there are few. */
static uint32_t
find(const struct index *index, const uint64_t *hashes, uint32_t item, bool wanted)
{
    uint32_t found = 0;
    uint32_t others = 0;
    uint32_t candidate;
    struct index_cursor cursor = index_find(index, hashes[item]);
    while ((candidate = index_next(&cursor)) != SLAB_NONE) {
        found += candidate == item;
        others += hashes[candidate] != hashes[item];
    }
    assert_int_equal(found, wanted);
    return others;
}

/* mask: which bits of the hashes are random: few give long overflow chains */
static void
run(uint32_t count_max, uint64_t mask, uint32_t steps)
{
    struct index index;
    char *memory = open_index(&index, count_max);
    uint64_t *hashes = calloc(count_max, sizeof *hashes);
    bool *in = calloc(count_max, sizeof *in);
    /* to the bound; a large one not quite, since the search for a free number would take all the time */
    uint32_t most = count_max > 50000 ? count_max - count_max / 8 : count_max;
    uint32_t count = 0;
    uint32_t buckets_most = 0;
    uint64_t others = 0;
    uint64_t random = count_max ^ mask;
    uint32_t buckets_first = index.bucket_count;
    for (uint32_t step = 0; step < steps; step++) {
        /* up until it is full, down until it is empty, and again */
        bool up = step / (2 * count_max) % 2 == 0 ? drive_random(&random) % 8 != 0
                                                  : drive_random(&random) % 8 == 0;
        uint32_t item = (uint32_t)(drive_random(&random) % count_max);
        if (up && count < most) {
            while (in[item])
                item = (item + 1) % count_max;
            hashes[item] = drive_random(&random) & mask;
            index_add(&index, hashes[item], item);
            in[item] = true;
            count++;
        } else if (!up && count > 0) {
            while (!in[item])
                item = (item + 1) % count_max;
            index_remove(&index, hashes[item], item);
            in[item] = false;
            count--;
            (void)find(&index, hashes, item, false);
        }
        item = (uint32_t)(drive_random(&random) % count_max);
        others += find(&index, hashes, item, in[item]);
        assert_int_equal(index.count, count);
        buckets_most = index.bucket_count > buckets_most ? index.bucket_count : buckets_most;
        if (step % (steps / 4) == 0) {
            index_check(&index);
            for (uint32_t i = 0; i < count_max; i++)
                (void)find(&index, hashes, i, in[i]);
        }
    }
    if (count_max > 50000)
        assert_true(buckets_most >= buckets_first * 2); /* it did grow */
    if (mask == UINT64_MAX)
        assert_true(others < steps / 50); /* tags tell nearly all apart */
    free(hashes);
    free(in);
    free(memory);
}

static void
test_against_an_array(void **state)
{
    (void)state;
    run(1, UINT64_MAX, 200);
    run(2, UINT64_MAX, 500);
    run(11, UINT64_MAX, 2000);
    run(500, UINT64_MAX, 10000);
    run(5000, UINT64_MAX, 30000);
    run(80000, UINT64_MAX, 320000); /* a table starts with 4,096 buckets at most */
}

/* Bad luck with hashes costs time, not room: there is always room for count_max items. */
static void
test_equal_hashes(void **state)
{
    (void)state;
    run(300, 0, 3000);
    run(300, 1, 3000);
    run(1000, 0xff, 8000);
    run(1000, 0xff00000000000000u, 8000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_equal_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
