/*
 * test_growth.c - what is told to be touched next: always the same parts, in the shard's memory, never
 * falling; at first nothing; with an event what holds need, and all its seats; and never behind what is in
 * use.
 */
#include "core/shard_internal.h"
#include "tests/unit/core_drive.h"

struct look {
    struct shard_growth extents[SHARD_GROWTH_MAX];
    uint32_t count;
};

static struct look
look_at(const struct drive *drive)
{
    struct look look;
    look.count = shard_growth(drive_shard(drive, 0), look.extents);
    return look;
}

static size_t
bytes_of(const struct look *look)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < look->count; i++) {
        assert_true(look->extents[i].to >= look->extents[i].from);
        bytes += (size_t)(look->extents[i].to - look->extents[i].from);
    }
    return bytes;
}

static bool
told(const struct look *look, const void *memory)
{
    for (uint32_t i = 0; i < look->count; i++)
        if ((const char *)memory >= look->extents[i].from && (const char *)memory < look->extents[i].to)
            return true;
    return false;
}

static void
test_what_comes_is_told(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.holds_max = settings.users_max = 100000;
    settings.batch_bytes_max = 300 * 1024;
    struct drive *drive = drive_open(1, &settings);
    const struct shard *shard = drive_shard(drive, 0);
    size_t size = shard_size(&shard->settings);
    struct look before = look_at(drive);
    assert_int_equal(bytes_of(&before), 0);
    (void)ask(drive, "CREATE e SECTION A 1 10 POOL ga 100000");
    drive_checks(drive, false);
    for (uint32_t i = 0; i < 20000; i++) {
        struct look now = look_at(drive);
        assert_int_equal(now.count, before.count);
        for (uint32_t k = 0; k < now.count; k++) {
            assert_true(now.extents[k].from >= (const char *)shard);
            assert_true(now.extents[k].to <= (const char *)shard + size);
            assert_true(now.extents[k].from >= before.extents[k].from);
            assert_true(now.extents[k].to >= before.extents[k].to);
        }
        assert_true(told(&now, slab_item(&shard->holds, shard->holds.fresh)));
        assert_true(told(&now, slab_item(&shard->users, shard->users.fresh)));
        assert_true(told(&now, slab_item(&shard->pool_nodes, shard->pool_nodes.fresh)));
        assert_true(told(&now, shard->operations.items));
        assert_true(told(&now, shard->keys.ring));
        assert_true(told(&now, shard->events.bytes + shard->events.bytes_used));
        assert_true(told(&now, shard->events.seats));
        assert_true(told(&now, shard->events.seats + 9));
        /* the more holds are live, the larger the batch that they may end in */
        size_t batch = shard_batch_ahead(shard);
        size_t most = shard->settings.batch_bytes_max;
        size_t wanted = 256 * 1024 + 4 * (size_t)shard->holds.taken;
        assert_int_equal(batch, wanted < most ? wanted : most);
        assert_true(told(&now, shard->batches[0] + batch - 1));
        assert_true(told(&now, shard->batches[1] + batch - 1));
        (void)ask(drive, "HOLD e u%u POOL ga 1", i);
        before = now;
    }
    assert_int_equal(shard->holds.fresh, 20000);
    drive_close(drive);
}

/* Expected holds are told before there is an event, and as long as they have not come; nobody's seats, keys
 * or commands. */
static void
test_expected_holds_are_told(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.holds_max = settings.users_max = 100000;
    settings.holds_expected = 60000;
    struct drive *drive = drive_open(1, &settings);
    const struct shard *shard = drive_shard(drive, 0);
    struct look before = look_at(drive);
    assert_true(told(&before, slab_item(&shard->holds, 0)));
    assert_false(told(&before, shard->operations.items));
    assert_false(told(&before, shard->keys.ring));
    assert_false(told(&before, shard->events.bytes));
    (void)ask(drive, "CREATE e POOL ga 100000");
    drive_checks(drive, false);
    for (uint32_t i = 0; i < 70000; i++) {
        struct look now = look_at(drive);
        uint32_t last = i < 60000 ? 59999 : i;
        assert_true(told(&now, slab_item(&shard->holds, last)));
        assert_true(told(&now, slab_item(&shard->users, last)));
        assert_true(told(&now, slab_item(&shard->pool_nodes, last)));
        if (i == 0 || i == 59999)
            assert_int_equal(told(&now, slab_item(&shard->holds, 60000)), i > 0);
        (void)ask(drive, "HOLD e u%u POOL ga 1", i);
        if (i == 59999) /* the indices have grown into what was told of them */
            for (uint32_t index = 0; index < 2; index++) {
                const struct index *grown = index == 0 ? &shard->holds_index : &shard->users_index;
                assert_true(told(&before, grown->buckets));
                assert_true(told(&before, grown->buckets + grown->bucket_count - 1));
            }
    }
    drive_close(drive);
}

/* With a waiting room also what places take, and as many admissions as it lets in at once. */
static void
test_a_waiting_room_is_told(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.tokens_max = 100000;
    struct drive *drive = drive_open(1, &settings);
    const struct shard *shard = drive_shard(drive, 0);
    (void)ask(drive, "CREATE e POOL ga 100000");
    struct look before = look_at(drive);
    assert_false(told(&before, shard->queues.tokens.items));
    assert_false(told(&before, shard->admissions.slab.items));
    (void)ask(drive, "CREATE q POOL ga 100000 QUEUE 20000 300 30");
    struct look now = look_at(drive);
    assert_int_equal(now.count, before.count);
    assert_true(told(&now, shard->queues.tokens.items));
    assert_true(told(&now, shard->queues.rank_nodes.items));
    assert_true(told(&now, shard->queues.watchers.items));
    assert_true(told(&now, slab_item(&shard->admissions.slab, 19999)));
    assert_false(told(&now, slab_item(&shard->admissions.slab, 20000)));
    drive_close(drive);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_comes_is_told),
        cmocka_unit_test(test_expected_holds_are_told),
        cmocka_unit_test(test_a_waiting_room_is_told),
    };
    return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}
