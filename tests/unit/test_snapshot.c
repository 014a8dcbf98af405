/*
 * test_snapshot.c - a snapshot told in slices while work goes on, and starts from it: nothing but what the
 * journal behind it says may be missing or be there twice (core/snapshot.c, core/replay.c).
 */
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
create_hall(struct drive *drive)
{
    expect(drive, "OK new e open 65=65+0+0 A 40=40+0+0 ga 25=25+0+0",
           "CREATE e SECTION A 4 10 POOL ga 25 HOLD 300 HOLDMAX 900");
}

static void
snapshot(struct drive *drive, uint32_t slice_size)
{
    uint32_t rounds = 0;
    drive_snapshot_begin(drive);
    while (!drive_snapshot_step(drive, slice_size)) {
        drive_run(drive);
        assert_true(++rounds < 100000);
    }
    drive_run(drive);
}

/* Keys of one home may stand behind all those of another in the ring of a shard that has taken over both:
 * then the first slice with keys has none of that home. */
static void
begins_with(const char *text, const char *beginning)
{
    if (strncmp(text, beginning, strlen(beginning)) != 0)
        fail_msg("'%s', expected '%s...'", text, beginning);
}

static void
test_keys_of_two_homes(struct drive *drive)
{
    uint32_t late = 0;
    create_hall(drive);
    for (uint32_t i = 0; i < 30; i++)
        begins_with(ask(drive, "HOLD e u%u SEAT A/%u/%u KEY k", i, 1 + i / 10, 1 + i % 10), "OK new held");
    snapshot(drive, 4096);
    drive_restart(drive, 1);
    drive_snapshot_begin(drive);
    for (bool last = false; !last; drive_run(drive)) {
        last = drive_snapshot_step(drive, 512);
        if (late < 25)
            begins_with(ask(drive, "HOLD e w%u POOL ga 1 KEY k", late++), "OK new held");
    }
    assert_true(late > 10);
    drive_restart(drive, 2);
    for (uint32_t i = 0; i < 30; i++)
        begins_with(ask(drive, "HOLD e u%u SEAT A/%u/%u KEY k", i, 1 + i / 10, 1 + i % 10),
                    "OK new again held");
    for (uint32_t i = 0; i < late; i++)
        begins_with(ask(drive, "HOLD e w%u POOL ga 1 KEY k", i), "OK new again held");
}

static void
test_every_state_survives(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1 KEY k1");
    expect(drive, "OK new held A/1/2:1 ga*3 in=300000", "b = HOLD e u2 SEAT A/1/2 POOL ga 3");
    expect(drive, "OK confirmed A/1/2:2 ga*3 in=300000", "CONFIRM b u2 KEY k2");
    expect(drive, "OK new held A/1/3:1 in=300000", "c = HOLD e u3 SEAT A/1/3");
    expect(drive, "OK released A/1/3:1 in=300000", "RELEASE c u3");
    expect(drive, "OK new held A/1/4:1 in=5000", "d = HOLD e u4 SEAT A/1/4 TTL 5");
    drive_pass(drive, 6000);
    drive_sweep(drive);
    expect(drive, "OK new held A/1/5:1 in=300000", "f = HOLD e u5 SEAT A/1/5");
    expect(drive, "OK confirmed A/1/5:2 in=300000", "CONFIRM f u5");
    expect(drive, "OK cancelled A/1/5:2 in=300000", "CANCEL f");
    snapshot(drive, 256);
    for (uint32_t shards = 1; shards <= DRIVE_SHARDS; shards++) {
        drive_restart(drive, shards);
        expect(drive, "OK e open 65=60+1+4 A 40=38+1+1 ga 25=22+0+3", "GET e");
        expect(drive, "OK new again held A/1/1:1 in=294000", "HOLD e u1 SEAT A/1/1 KEY k1");
        expect(drive, "OK again confirmed A/1/2:2 ga*3 in=294000", "CONFIRM b u2 KEY k2");
        expect(drive, "OK released A/1/3:1 in=294000", "GETHOLD c");
        expect(drive, "OK expired A/1/4:1 in=-1000", "GETHOLD d");
        expect(drive, "OK cancelled A/1/5:2 in=300000", "GETHOLD f");
    }
    /* versions go on where they were */
    expect(drive, "OK new held A/1/3:3 in=300000", "HOLD e u6 SEAT A/1/3");
    expect(drive, "OK new held A/1/4:3 in=300000", "HOLD e u7 SEAT A/1/4");
    expect(drive, "OK new held A/1/5:4 in=300000", "HOLD e u8 SEAT A/1/5");
}

/* Everything changes while the snapshot is told, hold by hold. */
static void
test_changes_between_slices(struct drive *drive)
{
    create_hall(drive);
    for (uint32_t i = 1; i <= 10; i++)
        (void)ask(drive, "h%u = HOLD e u%u SEAT A/1/%u POOL ga 1", i, i, i);
    drive_snapshot_begin(drive);
    drive_run(drive);
    bool done = false;
    for (uint32_t round = 1; !done; round++) {
        done = drive_snapshot_step(drive, 64);
        switch (round % 5) {
        case 0:
            (void)ask(drive, "CONFIRM h%u u%u KEY c%u", 1 + round % 10, 1 + round % 10, round);
            break;
        case 1:
            (void)ask(drive, "RELEASE h%u u%u KEY r%u", 1 + round % 10, 1 + round % 10, round);
            break;
        case 2:
            (void)ask(drive, "n%u = HOLD e v%u SEAT A/2/%u KEY n%u", round % 10, round, 1 + round % 10,
                      round);
            break;
        case 3:
            (void)ask(drive, "n%u = HOLD e v%u SEAT A/3/%u REPLACE n%u KEY p%u", round % 10, round - 1,
                      1 + round % 10, round % 10, round);
            break;
        default:
            (void)ask(drive, "EXTEND h%u u%u 400", 1 + round % 10, 1 + round % 10);
            break;
        }
        assert_true(round < 1000);
    }
    drive_run(drive);
    char before[4096];
    (void)snprintf(before, sizeof before, "%s", drive_picture(drive));
    for (uint32_t shards = 1; shards <= DRIVE_SHARDS; shards += 2) {
        drive_restart(drive, shards);
        assert_string_equal(drive_picture(drive), before);
    }
}

/* Random work in rounds; snapshots that overlap it; restarts with other shard counts. */
static void
test_random_work(struct drive *drive)
{
    uint64_t random = 7;
    create_hall(drive);
    drive_checks(drive, false);
    for (uint32_t start = 0; start < 6; start++) {
        bool begun = false;
        bool done = false;
        for (uint32_t round = 0; round < 150 || (begun && !done); round++) {
            uint32_t user = (uint32_t)(drive_random(&random) % 12);
            uint32_t seat = 1 + (uint32_t)(drive_random(&random) % 10);
            switch (drive_random(&random) % 8) {
            case 0:
            case 1:
                (void)ask(drive, "h%u = HOLD e u%u SEAT A/1/%u KEY k%u-%u", user, user, seat, start, round);
                break;
            case 2:
                (void)ask(drive, "h%u = HOLD e u%u SEAT A/2/%u POOL ga 1 TTL 3", user, user, seat);
                break;
            case 3:
                (void)ask(drive, "CONFIRM h%u u%u LATE", user, user);
                break;
            case 4:
                (void)ask(drive, "CANCEL h%u KEY x%u-%u", user, start, round);
                break;
            case 5:
                (void)ask(drive, "RELEASE h%u u%u", user, user);
                break;
            case 6:
                (void)ask(drive, "h%u = HOLD e u%u SEAT A/3/%u REPLACE h%u", user, user, seat, user);
                break;
            default:
                drive_pass(drive, 500);
                drive_sweep(drive);
                break;
            }
            if (round == 40) {
                drive_snapshot_begin(drive);
                begun = true;
            }
            if (begun && !done && drive_random(&random) % 2 == 0)
                done = drive_snapshot_step(drive, 200);
            assert_true(round < 5000);
        }
        drive_run(drive);
        drive_check(drive);
        char before[4096];
        (void)snprintf(before, sizeof before, "%s", drive_picture(drive));
        char held[12][1024];
        for (uint32_t i = 0; i < 12; i++)
            (void)snprintf(held[i], sizeof held[i], "%s", ask(drive, "GETHOLD h%u", i));
        drive_restart(drive, 1 + start % DRIVE_SHARDS);
        assert_string_equal(drive_picture(drive), before);
        for (uint32_t i = 0; i < 12; i++)
            expect(drive, held[i], "GETHOLD h%u", i);
    }
}

/* A hold ends and is forgotten while the snapshot is told, before its turn: what its seat's owner was told
 * of it counts. */
static void
test_forgotten_before_its_turn(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 12; steps++) {
        struct shard_settings settings = drive_settings();
        settings.holds_max = 8;
        struct drive *drive = drive_open(1 + steps % 2, &settings);
        create_hall(drive);
        (void)ask(drive, "first = HOLD e u0 SEAT A/2/1"); /* in the slot whose turn is first */
        expect(drive, "OK new held A/1/1:1 in=5000", "a = HOLD e u1 SEAT A/1/1 TTL 5");
        drive_snapshot_begin(drive);
        for (uint32_t i = 0; i < steps; i++) {
            (void)drive_snapshot_step(drive, 1);
            drive_run(drive);
        }
        drive_pass(drive, 6000);
        drive_sweep(drive);
        for (uint32_t i = 0; i < 39 && strcmp(ask(drive, "GETHOLD a"), "NOHOLD") != 0; i++)
            (void)ask(drive, "HOLD e v%u SEAT A/%u/%u", i, 2 + i / 10, 1 + i % 10);
        expect(drive, "NOHOLD", "GETHOLD a");
        for (uint32_t rounds = 0; !drive_snapshot_step(drive, 100); rounds++) {
            drive_run(drive);
            assert_true(rounds < 1000);
        }
        drive_run(drive);
        drive_restart(drive, drive_shard_count(drive));
        drive_pass(drive, 301000);
        drive_sweep(drive);
        expect(drive, "OK new held A/1/1:3 in=300000", "HOLD e u2 SEAT A/1/1");
        drive_close(drive);
    }
}

/* The table is full of holds that stand, but for one. While a snapshot is told some come and go there, and
 * are forgotten for the next ones: the start must not want room for all of them. */
static void
test_a_full_table(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 12; steps++) {
        struct shard_settings settings = drive_settings();
        settings.holds_max = 8;
        struct drive *drive = drive_open(1, &settings);
        create_hall(drive);
        for (uint32_t i = 1; i <= 7; i++)
            (void)ask(drive, "h%u = HOLD e u%u SEAT A/1/%u", i, i, i);
        expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM h1 u1");
        drive_snapshot_begin(drive);
        for (uint32_t i = 0; i < steps; i++) {
            (void)drive_snapshot_step(drive, 1);
            drive_run(drive);
        }
        for (uint32_t i = 0; i < 3; i++) {
            (void)ask(drive, "a = HOLD e v%u SEAT A/2/1", i);
            (void)ask(drive, "RELEASE a v%u", i);
        }
        expect(drive, "OK new held A/2/1:7 in=300000", "b = HOLD e w SEAT A/2/1");
        expect(drive, "BUSY", "HOLD e x SEAT A/2/2");
        for (uint32_t rounds = 0; !drive_snapshot_step(drive, 100); rounds++) {
            drive_run(drive);
            assert_true(rounds < 1000);
        }
        for (uint32_t round = 0; round < 2; round++) {
            drive_restart(drive, 1);
            expect(drive, "OK held A/2/1:7 in=300000", "GETHOLD b");
            expect(drive, "OK confirmed A/1/1:2 in=300000", "GETHOLD h1");
            expect(drive, "BUSY", "HOLD e x SEAT A/2/2");
            snapshot(drive, 100); /* who was new in the one before is told in this one */
        }
        drive_close(drive);
    }
}

/* The table of users is full: who is in it holds more, and is no new one for a start either. */
static void
test_a_full_table_of_users(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.users_max = 3;
    struct drive *drive = drive_open(1, &settings);
    create_hall(drive);
    for (uint32_t i = 1; i <= 3; i++)
        (void)ask(drive, "HOLD e u%u SEAT A/1/%u", i, i);
    expect(drive, "BUSY", "HOLD e u4 SEAT A/1/4");
    expect(drive, "OK new held A/1/4:1 in=300000", "a = HOLD e u1 SEAT A/1/4");
    drive_restart(drive, 1);
    expect(drive, "OK held A/1/4:1 in=300000", "GETHOLD a");
    snapshot(drive, 4096);
    drive_restart(drive, 1);
    expect(drive, "OK held A/1/4:1 in=300000", "GETHOLD a");
    drive_close(drive);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forgotten_before_its_turn),
        cmocka_unit_test(test_a_full_table),
        cmocka_unit_test(test_a_full_table_of_users),
        DRIVE_PLAN(test_every_state_survives, 1),
        DRIVE_PLAN(test_every_state_survives, 3),
        DRIVE_PLAN(test_keys_of_two_homes, 2),
        DRIVE_PLAN(test_changes_between_slices, 1),
        DRIVE_PLAN(test_changes_between_slices, 4),
        DRIVE_PLAN(test_random_work, 1),
        DRIVE_PLAN(test_random_work, 3),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
