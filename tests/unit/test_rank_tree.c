/*
 * test_rank_tree.c - against a plain sorted array, and the budget of steps and of nodes.
 */
#include "core/rank_tree.h"
#include "tests/unit/core_drive.h"

#include <stdlib.h>

struct item {
    uint32_t slab_link;
    uint32_t zero;
    struct rank_item rank;
};

struct fixture {
    void *memory;
    struct slab slab;
    struct slab nodes;
    struct rank_tree tree;
    struct rank_place place;
};

static void
open_fixture(struct fixture *f, uint32_t count)
{
    struct carve measure = {NULL, 0};
    slab_open(&f->slab, &measure, sizeof(struct item), count);
    slab_open(&f->nodes, &measure, sizeof(struct rank_node), rank_nodes_max(count, 1));
    f->memory = aligned_alloc(64, (measure.offset + 63) & ~(size_t)63);
    assert_non_null(f->memory);
    memset(f->memory, 0, measure.offset);
    struct carve carve = {f->memory, 0};
    slab_open(&f->slab, &carve, sizeof(struct item), count);
    slab_open(&f->nodes, &carve, sizeof(struct rank_node), rank_nodes_max(count, 1));
    rank_tree_open(&f->tree);
    f->place = (struct rank_place){&f->slab, offsetof(struct item, rank), &f->nodes};
}

static struct item *
item_of(const struct fixture *f, uint32_t slot)
{
    return slab_item(&f->slab, slot);
}

static uint32_t
put(struct fixture *f, uint64_t key)
{
    uint32_t slot = slab_take(&f->slab);
    item_of(f, slot)->rank.leaf = SLAB_NONE;
    rank_tree_insert(&f->tree, &f->place, slot, key);
    return slot;
}

/* Up to ITEMS items: leaves come and go; the draw of each round says how many more come than leave. */
#define ITEMS 3000
static void
test_against_an_array(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t random = 11;
    static uint32_t slots[ITEMS];
    static uint64_t keys[ITEMS];
    uint32_t count = 0;
    open_fixture(&f, ITEMS);
    for (uint32_t round = 0; round < 60000; round++) {
        uint64_t draw = drive_random(&random);
        if (count < ITEMS && draw % 100 < (round / 6000 % 2 == 0 ? 70u : 30u)) {
            uint64_t key = draw % 3 == 0 && count > 0 ? keys[count - 1] + draw % 2
                                                      : draw >> (round % 7 == 0 ? 58 : 40);
            uint32_t at = count;
            for (; at > 0 && keys[at - 1] > key; at--) {
                keys[at] = keys[at - 1];
                slots[at] = slots[at - 1];
            }
            keys[at] = key;
            slots[at] = put(&f, key);
            count++;
        } else if (count > 0) {
            uint32_t at = round % 5 == 0 ? 0 : (uint32_t)(draw >> 32) % count;
            rank_tree_remove(&f.tree, &f.place, slots[at]);
            slab_give(&f.slab, slots[at]);
            count--;
            for (; at < count; at++) {
                keys[at] = keys[at + 1];
                slots[at] = slots[at + 1];
            }
        }
        assert_int_equal(f.tree.count, count);
        assert_int_equal(rank_tree_first(&f.tree, &f.place), count == 0 ? SLAB_NONE : slots[0]);
        if (count > 0) {
            uint32_t at = (uint32_t)(draw >> 20) % count;
            assert_int_equal(rank_tree_rank(&f.place, slots[at]), at + 1);
        }
        if (round % 100 == 0)
            rank_tree_check(&f.tree, &f.place);
    }
    free(f.memory);
}

static uint32_t
depth(const struct fixture *f, uint32_t slot)
{
    uint32_t steps = 1;
    for (uint32_t node = item_of(f, slot)->rank.leaf; node != SLAB_NONE; steps++)
        node = ((const struct rank_node *)slab_item(&f->nodes, node))->parent;
    return steps;
}

/* Appended one after the other, as a queue is: nodes are full, and few lie above one another. Then it is
 * emptied from the front. */
static void
test_appending_fills_nodes(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t count = 1u << 18;
    open_fixture(&f, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(put(&f, i), i);
    assert_true(f.nodes.taken < count / RANK_LEAF_MAX * 11 / 10);
    for (uint32_t i = 0; i < count; i++)
        assert_true(depth(&f, i) <= 5);
    rank_tree_check(&f.tree, &f.place);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = rank_tree_first(&f.tree, &f.place);
        assert_int_equal(item_of(&f, first)->rank.key, i);
        rank_tree_remove(&f.tree, &f.place, first);
    }
    assert_int_equal(f.tree.count, 0);
    assert_int_equal(f.nodes.taken, 0);
    free(f.memory);
}

/* Whatever is left of it: nodes are never more than the bound for the items that are there. */
static void
test_nodes_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    const uint32_t count = 200000;
    uint64_t random = 5;
    for (uint32_t way = 0; way < 4; way++) {
        uint32_t left = count;
        open_fixture(&f, count);
        for (uint32_t i = 0; i < count; i++)
            (void)put(&f, way == 3 ? drive_random(&random) : i);
        rank_tree_check(&f.tree, &f.place);
        for (uint32_t i = 0; i < count; i++) {
            /* all but one of each leaf; backwards; every second one, then the others; at random, or all but
             * some at the end */
            uint32_t slot = way == 1 ? count - 1 - i : way == 2 ? i * 2 % (count - 1) : i;
            if (way == 0 && i % RANK_LEAF_MAX == 0)
                continue;
            if (item_of(&f, slot)->rank.leaf == SLAB_NONE)
                continue;
            rank_tree_remove(&f.tree, &f.place, slot);
            left--;
            assert_true(f.nodes.taken <= rank_nodes_max(left, 1));
        }
        rank_tree_check(&f.tree, &f.place);
        free(f.memory);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_appending_fills_nodes),
        cmocka_unit_test(test_nodes_are_bounded),
    };
    return cmocka_run_group_tests_name("rank_tree", tests, NULL, NULL);
}
