/*
 * test_deadline_heap.c - the heap of a pool's deadlines against an array.
 */
#include "core/deadline_heap.h"
#include "tests/unit/core_drive.h"

#include <stdlib.h>

#define NODES 400

struct node {
    struct heap_node heap; /* the heap's part comes first, as in a pool's nodes */
    uint64_t more;
};

static void
run(uint64_t seed, uint64_t deadlines, uint32_t steps)
{
    struct slab slab;
    char *memory = aligned_alloc(64, sizeof(struct node) * NODES);
    struct carve carve = {memory, 0};
    slab_open(&slab, &carve, sizeof(struct node), NODES);
    for (uint32_t i = 0; i < NODES; i++)
        (void)slab_take(&slab);
    uint32_t roots[2] = {SLAB_NONE, SLAB_NONE}; /* two heaps over one slab */
    uint32_t in[NODES] = {0};
    uint64_t deadline[NODES];
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t node = (uint32_t)(drive_random(&seed) % NODES);
        bool up = step / 1000 % 2 == 0 ? drive_random(&seed) % 5 != 0 : drive_random(&seed) % 5 == 0;
        if (in[node] == 0 && up) {
            in[node] = 1 + (uint32_t)(drive_random(&seed) % 2);
            deadline[node] = deadlines == 0 ? step : drive_random(&seed) % deadlines;
            heap_add(&slab, &roots[in[node] - 1], node, deadline[node]);
        } else if (in[node] != 0 && !up) {
            heap_remove(&slab, &roots[in[node] - 1], node);
            in[node] = 0;
        }
        for (uint32_t h = 0; h < 2; h++) {
            uint64_t first = UINT64_MAX;
            for (uint32_t i = 0; i < NODES; i++)
                if (in[i] == h + 1 && deadline[i] < first)
                    first = deadline[i];
            assert_true(heap_first_ms(&slab, roots[h]) == first);
            if (step % 16 == 0)
                heap_check(&slab, roots[h]);
        }
    }
    for (uint32_t i = 0; i < NODES; i++)
        if (in[i] != 0)
            heap_remove(&slab, &roots[in[i] - 1], i);
    assert_int_equal(roots[0], SLAB_NONE);
    assert_int_equal(roots[1], SLAB_NONE);
    free(memory);
}

static void
test_against_an_array(void **state)
{
    (void)state;
    run(1, 1000000, 12000);
    run(2, 3, 12000); /* many equal ones */
    run(3, 0, 12000); /* ascending, as holds come */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
