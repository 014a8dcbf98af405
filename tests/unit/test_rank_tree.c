/*
 * test_rank_tree.c - against a plain sorted array, and the budget of steps.
 */
#include "core/rank_tree.h"
#include "tests/unit/core_drive.h"

#include <stdlib.h>

struct item {
    uint32_t slab_link;
    uint32_t zero;
    struct rank_node node;
};

struct fixture {
    void *memory;
    struct slab slab;
    struct rank_tree tree;
    struct rank_place place;
};

static void
open_fixture(struct fixture *f, uint32_t count)
{
    struct carve measure = {NULL, 0};
    slab_open(&f->slab, &measure, sizeof(struct item), count);
    f->memory = aligned_alloc(64, (measure.offset + 63) & ~(size_t)63);
    assert_non_null(f->memory);
    memset(f->memory, 0, measure.offset);
    struct carve carve = {f->memory, 0};
    slab_open(&f->slab, &carve, sizeof(struct item), count);
    rank_tree_open(&f->tree);
    f->place = (struct rank_place){&f->slab, offsetof(struct item, node)};
}

static void
test_against_an_array(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t random = 11;
    uint32_t slots[300];
    uint64_t keys[300];
    uint32_t count = 0;
    open_fixture(&f, 300);
    for (uint32_t round = 0; round < 20000; round++) {
        uint64_t draw = drive_random(&random);
        if (count < 300 && draw % 100 < (round / 2000 % 2 == 0 ? 60u : 40u)) {
            uint64_t key = draw % 3 == 0 && count > 0 ? keys[count - 1] + draw % 2 : draw >> 40;
            uint32_t slot = slab_take(&f.slab);
            uint32_t at = count;
            for (; at > 0 && keys[at - 1] > key; at--) {
                keys[at] = keys[at - 1];
                slots[at] = slots[at - 1];
            }
            keys[at] = key;
            slots[at] = slot;
            count++;
            rank_tree_insert(&f.tree, f.place, slot, key);
        } else if (count > 0) {
            uint32_t at = (uint32_t)(draw >> 32) % count;
            rank_tree_remove(&f.tree, f.place, slots[at]);
            slab_give(&f.slab, slots[at]);
            count--;
            for (; at < count; at++) {
                keys[at] = keys[at + 1];
                slots[at] = slots[at + 1];
            }
        }
        assert_int_equal(rank_tree_count(&f.tree, f.place), count);
        assert_int_equal(rank_tree_first(&f.tree, f.place), count == 0 ? SLAB_NONE : slots[0]);
        if (count > 0) {
            uint32_t at = (uint32_t)(draw >> 20) % count;
            assert_int_equal(rank_tree_rank(&f.tree, f.place, slots[at]), at + 1);
        }
        if (round % 100 == 0)
            rank_tree_check(&f.tree, f.place);
    }
    free(f.memory);
}

static uint32_t
depth(const struct fixture *f, uint32_t slot)
{
    uint32_t steps = 0;
    while (slot != SLAB_NONE) {
        slot = ((const struct item *)slab_item(&f->slab, slot))->node.parent;
        steps++;
    }
    return steps;
}

/* Appended one after the other, as a queue is: the tree stays flat (O(log n), four times the least). */
static void
test_appending_stays_flat(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t count = 1u << 18;
    uint32_t deepest = 0;
    open_fixture(&f, count);
    for (uint32_t i = 0; i < count; i++)
        rank_tree_insert(&f.tree, f.place, slab_take(&f.slab), i);
    for (uint32_t i = 0; i < count; i++)
        deepest = depth(&f, i) > deepest ? depth(&f, i) : deepest;
    assert_true(deepest < 4 * 18);
    rank_tree_check(&f.tree, f.place);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = rank_tree_first(&f.tree, f.place);
        assert_int_equal(((const struct item *)slab_item(&f.slab, first))->node.key, i);
        rank_tree_remove(&f.tree, f.place, first);
    }
    assert_int_equal(rank_tree_count(&f.tree, f.place), 0);
    free(f.memory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_appending_stays_flat),
    };
    return cmocka_run_group_tests_name("rank_tree", tests, NULL, NULL);
}
