/*
 * test_queue.c - the waiting room: places, slots, who may hold; over several shards and over restarts.
 */
#include "core/shard_internal.h"
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
create(struct drive *drive)
{
    expect(drive, "OK new e open 45=45+0+0 A 40=40+0+0 ga 5=5+0+0",
           "CREATE e SECTION A 4 10 POOL ga 5 HOLD 300 HOLDMAX 900 QUEUE 2 100 60");
}

/* Refused, and the token named. */
static void
expect_gone(struct drive *drive, const char *command)
{
    static const char refused[] = "NOTOKEN unit=";
    const char *answer = ask(drive, "%s", command);
    assert_int_equal(strncmp(answer, refused, sizeof refused - 1), 0);
    assert_int_equal(strlen(answer), sizeof refused - 1 + 36);
}

static void
test_in_order_of_arrival(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "OK new waiting 2", "t4 = JOIN e u4");
    expect(drive, "OK new waiting 3", "t5 = JOIN e u5");
    expect(drive, "OK waiting 2", "JOIN e u4");
    expect(drive, "OK active in=100000", "JOIN e u1");
    expect(drive, "OK left", "LEAVE t4");
    expect(drive, "OK left", "LEAVE t4");
    expect(drive, "OK waiting 2", "QGET t5");
    expect(drive, "OK left", "LEAVE t1");
    expect(drive, "OK active in=100000", "QGET t3");
    expect(drive, "OK waiting 1", "QGET t5");
    expect(drive, "OK new waiting 2", "t6 = JOIN e u1"); /* a new token, at the end */
    expect(drive, "OK u3 used=0 token=t3", "HOLDS e u3");
    expect(drive, "OK u5 used=0 token=t5", "HOLDS e u5");
    expect(drive, "OK u4 used=0", "HOLDS e u4");
    expect_gone(drive, "QGET x");
    expect(drive, "NOEVENT unit=f", "JOIN f u1");
    expect(drive, "OK new f open 5=5+0+0 ga 5=5+0+0", "CREATE f POOL ga 5");
    expect(drive, "BADREQUEST field=event", "JOIN f u1");
}

/* With all polls and watches taken, who joins is let in and who leaves is out, and both are told so; with
 * the answers' own room taken, too, they are busy, and nothing has been done. */
static void
test_watchers_leave_room_for_answers(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.watchers_max = 4;
    settings.operations_max = 6;
    struct drive *drive = drive_open(1, &settings);
    expect(drive, "OK new e open 99=99+0+0 ga 99=99+0+0", "CREATE e POOL ga 99 QUEUE 9 100 60");
    expect(drive, "OK new f open 99=99+0+0 ga 99=99+0+0", "CREATE f POOL ga 99 QUEUE 1 100 60");
    expect(drive, "OK new active in=100000", "a = JOIN f a");
    for (uint32_t i = 0; i < 5; i++)
        (void)ask(drive, "w%u = JOIN f w%u", i, i);
    for (uint32_t i = 0; i < 4; i++)
        (void)ask(drive, "WATCH w%u %u", i, i + 1);
    expect(drive, "BUSY", "WATCH w4 5");
    expect(drive, "BUSY", "QGET w4 1000");
    expect(drive, "OK new active in=100000", "b = JOIN e b");
    expect(drive, "OK left", "LEAVE b");
    expect(drive, "OK left", "LEAVE a");
    expect(drive, "OK active in=100000", "QGET w0");
    drive_disk(drive, false);
    uint32_t tags[8];
    uint32_t busy = 0;
    for (uint32_t i = 0; i < 8; i++)
        tags[i] = submit(drive, 0, "JOIN e c%u", i);
    for (uint32_t i = 0; i < 8; i++)
        busy += answer(drive, tags[i]) != NULL;
    assert_int_equal(busy, 2);
    drive_disk(drive, true);
    drive_run(drive);
    for (uint32_t i = 0; i < 8; i++)
        assert_string_equal(answer(drive, tags[i]), i < 6 ? "OK new active in=100000" : "BUSY");
    assert_int_equal(drive_figures(drive).tokens_active, 1 + 6);
    drive_close(drive);
}

/* Whoever has seen the ids of many tokens can tell no hold's: their random parts come from one source. */
static void
test_no_id_tells_of_another(struct drive *drive)
{
    uint64_t seen[48];
    uint32_t count = 0;
    expect(drive, "OK new e open 99=99+0+0 ga 99=99+0+0", "CREATE e POOL ga 99 QUEUE 100 100 60");
    for (uint32_t i = 0; i < 16; i++) {
        char name[2][8];
        (void)snprintf(name[0], sizeof name[0], "t%u", i);
        (void)snprintf(name[1], sizeof name[1], "h%u", i);
        expect(drive, "OK new active in=100000", "%s = JOIN e u%u", name[0], i);
        if (i % 3 == 0)
            (void)ask(drive, "HOLD e u%u POOL ga 100", i); /* refused: a draw for nothing */
        (void)ask(drive, "%s = HOLD e u%u POOL ga 1", name[1], i);
        for (uint32_t k = 0; k < 2; k++, count++) {
            struct uuid id = drive_id(drive, name[k]);
            seen[count] = uuid_hash(&id) & (((uint64_t)1 << 46) - 1);
            for (uint32_t other = 0; other < count; other++)
                assert_true(seen[other] != seen[count]);
        }
    }
}

/* Whatever the event asks for: what is shown must be good. */
static void
test_a_bad_pass_without_a_queue(struct drive *drive)
{
    expect(drive, "OK new e open 3=3+0+0 ga 3=3+0+0", "CREATE e POOL ga 3");
    expect(drive, "NOTADMITTED", "HOLD e u1 POOL ga 1 BADPASS");
    expect(drive, "OK new held ga*1 in=300000", "a = HOLD e u1 POOL ga 1");
}

static void
test_only_who_is_admitted_holds(struct drive *drive)
{
    create(drive);
    expect(drive, "NOTADMITTED", "HOLD e u1 SEAT A/1/1");
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "NOTADMITTED", "HOLD e u3 SEAT A/1/1");
    expect(drive, "NOTADMITTED", "HOLD e u1 SEAT A/1/1 BADPASS");
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "OK new held A/1/2:1 in=300000", "b = HOLD e u1 SEAT A/1/2");
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1");
    expect(drive, "OK active in=100000", "QGET t1"); /* another hold is live */
    expect(drive, "OK confirmed A/1/2:2 in=300000", "CONFIRM b u1");
    expect(drive, "OK done", "QGET t1");
    expect(drive, "NOTADMITTED", "HOLD e u1 SEAT A/1/3");
    expect(drive, "OK active in=100000", "QGET t3");
    expect(drive, "OK new held A/1/3:1 in=300000", "c = HOLD e u3 SEAT A/1/3");
    expect(drive, "OK left", "LEAVE t3");
    expect(drive, "NOTADMITTED", "HOLD e u3 SEAT A/1/4");
    expect(drive, "OK held A/1/3:1 in=300000",
           "HOLD e u3 SEAT A/1/3");                                  /* one's own same hold comes first */
    expect(drive, "OK confirmed A/1/3:2 in=300000", "CONFIRM c u3"); /* holds it has stay */
}

static void
test_deadlines_and_grace(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "OK new waiting 2", "t4 = JOIN e u4");
    drive_pass(drive, 50000);
    drive_sweep(drive);
    expect(drive, "OK waiting 2", "QGET t4"); /* a sign of life */
    drive_pass(drive, 12000);
    drive_sweep(drive);
    expect(drive, "OK expired", "QGET t3");
    expect(drive, "OK waiting 1", "QGET t4");
    drive_pass(drive, 37999);
    drive_sweep(drive);
    expect(drive, "OK active in=1", "QGET t1");
    expect(drive, "OK new held A/1/1:1 in=300000", "HOLD e u1 SEAT A/1/1");
    drive_pass(drive, 1);
    /* over, swept or not */
    expect(drive, "NOTADMITTED", "HOLD e u1 SEAT A/1/2");
    expect(drive, "OK expired", "QGET t1");
    drive_sweep(drive);
    expect(drive, "OK active in=100000", "QGET t4");
    expect(drive, "OK new active in=100000", "t5 = JOIN e u5");
    expect(drive, "OK new waiting 1", "t6 = JOIN e u6");
}

static void
test_nobody_waits_in_vain(struct drive *drive)
{
    expect(drive, "OK new e open 3=3+0+0 ga 3=3+0+0", "CREATE e POOL ga 3 QUEUE 1 100 60 HOLD 300");
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new waiting 1", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 2", "t3 = JOIN e u3");
    expect(drive, "OK new waiting 3", "t4 = JOIN e u4");
    expect(drive, "OK new waiting 4 none", "t5 = JOIN e u5");
    expect(drive, "OK new held ga*2 in=300000", "a = HOLD e u1 POOL ga 2");
    expect(drive, "OK waiting 3", "QGET t4"); /* held units may come back */
    expect(drive, "OK confirmed ga*2 in=300000", "CONFIRM a u1");
    expect(drive, "OK active in=100000", "QGET t2");
    expect(drive, "OK waiting 1", "QGET t3");
    expect(drive, "OK waiting 2 none", "QGET t4");
    expect(drive, "OK new held ga*1 in=300000", "b = HOLD e u2 POOL ga 1");
    expect(drive, "OK confirmed ga*1 in=300000", "CONFIRM b u2");
    expect(drive, "OK waiting 1 none", "QGET t3"); /* nothing is left: nobody is let in */
    expect(drive, "OK cancelled ga*2 in=300000", "CANCEL a");
    expect(drive, "OK active in=100000", "QGET t3");
    expect(drive, "OK waiting 1", "QGET t4");
    expect(drive, "OK waiting 2", "QGET t5");
}

static void
test_changes_of_the_event(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "OK new waiting 2", "t4 = JOIN e u4");
    expect(drive, "OK e open 45=45+0+0 A 40=40+0+0 ga 5=5+0+0", "SET e queue.active_max 3");
    expect(drive, "OK active in=100000", "QGET t3");
    (void)ask(drive, "SET e queue.active_max 1");
    expect(drive, "OK left", "LEAVE t1");
    expect(drive, "OK left", "LEAVE t2");
    expect(drive, "OK waiting 1", "QGET t4");
    expect(drive, "OK left", "LEAVE t3");
    expect(drive, "OK active in=100000", "QGET t4");
    expect(drive, "OK new waiting 1", "t5 = JOIN e u5");
    (void)ask(drive, "SET e status paused");
    expect(drive, "CLOSED", "JOIN e u6");
    expect(drive, "OK waiting 1", "JOIN e u5");
    (void)ask(drive, "SET e status closed");
    expect(drive, "OK expired", "QGET t4");
    expect(drive, "OK expired", "QGET t5");
    drive_sweep(drive);
    expect(drive, "OK expired", "QGET t5");
    assert_int_equal(drive_figures(drive).tokens_waiting, 0);
    assert_int_equal(drive_figures(drive).tokens_active, 0);
    expect(drive, "OK new f open 5=5+0+0 ga 5=5+0+0", "CREATE f POOL ga 5");
    expect(drive, "BADREQUEST field=queue.active_max", "SET f queue.active_max 5");
}

static void
test_slots_are_free_when_ends_are_on_disk(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "OK new waiting 2", "t4 = JOIN e u4");
    drive_disk(drive, false);
    uint32_t first = submit(drive, 0, "LEAVE t1");
    drive_run(drive);
    drive_disk(drive, true);
    drive_run(drive); /* t3 is let in */
    drive_disk(drive, false);
    uint32_t second = submit(drive, 0, "LEAVE t2");
    uint32_t third = submit(drive, 0, "LEAVE t3");
    drive_run(drive);
    assert_null(answer(drive, second));
    assert_null(answer(drive, third));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, first), "OK left");
    assert_string_equal(answer(drive, second), "OK left");
    assert_string_equal(answer(drive, third), "OK left");
    expect(drive, "OK active in=100000", "QGET t4");
    expect(drive, "OK new active in=100000", "t5 = JOIN e u5");
}

/* The opening lets in, and who was let in leaves at once. */
static void
test_left_before_the_opening_was_recorded(struct drive *drive)
{
    expect(drive, "OK new e open 40=40+0+0 A 40=40+0+0",
           "CREATE e SECTION A 4 10 HOLD 300 HOLDMAX 900 QUEUE 2 100 60 OPENS 5000");
    expect(drive, "OK new waiting", "t1 = JOIN e u1");
    expect(drive, "OK new waiting", "t2 = JOIN e u2");
    expect(drive, "OK new waiting", "t3 = JOIN e u3");
    drive_disk(drive, false);
    drive_pass(drive, 5000);
    drive_sweep(drive);
    uint32_t leave = submit(drive, 0, "LEAVE t1");
    drive_run(drive);
    assert_null(answer(drive, leave));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, leave), "OK left");
    expect(drive, "OK active in=100000", "QGET t2");
    expect(drive, "OK active in=100000", "QGET t3");
    expect(drive, "NOTADMITTED", "HOLD e u1 SEAT A/1/1");
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u3 SEAT A/1/1");
}

/* A late confirm tells the queue that its user's place is used up; until that is acknowledged nothing else
 * ends the hold, even where it was asked for before the confirm was durable. */
static void
test_cancel_behind_late_confirm(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new held A/1/1:1 in=5000", "a = HOLD e u1 SEAT A/1/1 TTL 5");
    drive_pass(drive, 5000);
    drive_sweep(drive);
    drive_disk(drive, false);
    uint32_t confirm = submit(drive, 0, "CONFIRM a u1 LATE");
    drive_run(drive);
    uint32_t cancel = submit(drive, drive_shard_count(drive) - 1, "CANCEL a");
    drive_run(drive);
    assert_null(answer(drive, confirm));
    assert_null(answer(drive, cancel));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, confirm), "OK confirmed A/1/1:3 in=0");
    assert_string_equal(answer(drive, cancel), "OK cancelled A/1/1:3 in=0");
    expect(drive, "OK done", "QGET t1");
}

static void
test_long_polls_and_watches(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    for (uint32_t i = 3; i <= 22; i++)
        (void)ask(drive, "t%u = JOIN e u%u", i, i);
    uint32_t poll = submit(drive, 0, "QGET t3 30000");
    uint32_t late = submit(drive, 1, "QGET t22 1000");
    expect(drive, "OK waiting 20", "WATCH t22 7");
    drive_run(drive);
    assert_null(answer(drive, poll));
    drive_pass(drive, 1010);
    drive_sweep(drive);
    assert_string_equal(answer(drive, late), "OK waiting 20"); /* its time is up */
    assert_null(answer(drive, poll));
    expect(drive, "OK left", "LEAVE t1");
    drive_run(drive);
    assert_string_equal(answer(drive, poll), "OK active in=100000");
    expect(drive, "OK left", "LEAVE t10");
    drive_sweep(drive);
    assert_string_equal(drive_pushes(drive), "7 waiting 18"); /* a tenth less */
    drive_pass(drive, 70000);
    drive_sweep(drive); /* all others are silent; who is watched is not */
    assert_string_equal(drive_pushes(drive), "7 waiting 1");
    expect(drive, "OK waiting 1", "QGET t22");
    expect(drive, "OK left", "LEAVE t2");
    drive_run(drive);
    assert_string_equal(drive_pushes(drive), "7 active in=100000");
    expect(drive, "OK active in=100000", "UNWATCH t22 7");
    expect(drive, "OK left", "LEAVE t22");
    assert_string_equal(drive_pushes(drive), "");
}

static void
test_the_draw(struct drive *drive)
{
    char first[64];
    expect(drive, "OK new e open 40=40+0+0 A 40=40+0+0", "CREATE e SECTION A 4 10 LOTTERY OPENS 10000");
    for (uint32_t i = 0; i < 30; i++)
        expect(drive, "OK new waiting", "t%u = JOIN e u%u", i, i);
    expect(drive, "CLOSED opens=10000", "HOLD e u1 SEAT A/1/1");
    uint64_t poll_first, poll;
    (void)ask(drive, "QGET t0");
    uint64_t eta_first = drive_eta_ms(drive, &poll_first);
    for (uint32_t i = 0; i < 30; i++) { /* nothing tells a place of the draw before it is known */
        expect(drive, "OK waiting", "QGET t%u", i);
        assert_int_equal(drive_eta_ms(drive, &poll), eta_first);
        assert_int_equal(poll, poll_first);
    }
    drive_pass(drive, 10000);
    drive_sweep(drive);
    expect(drive, "OK new waiting 30", "t30 = JOIN e late");
    uint32_t position[30] = {0};
    uint32_t in_order = 0;
    for (uint32_t i = 0; i < 30; i++) {
        (void)snprintf(first, sizeof first, "%s", ask(drive, "QGET t%u", i));
        uint32_t at = strncmp(first, "OK active", 9) == 0 ? 0 : (uint32_t)atoi(first + 11);
        assert_true(at < 30);
        assert_int_equal(position[at], 0);
        position[at] = i + 1;
        in_order += at == i;
    }
    assert_true(in_order < 10);
    for (uint32_t shards = 1; shards <= 3;
         shards++) { /* the order is what the seed and the tokens say, after a start too */
        drive_restart(drive, shards);
        for (uint32_t at = 1; at < 30; at++) {
            (void)snprintf(first, sizeof first, "OK waiting %u", at);
            expect(drive, first, "QGET t%u", position[at] - 1);
        }
        expect(drive, "OK waiting 30", "QGET t30");
    }
}

/* Watched before the opening: the position is told when there is one, and when it has fallen. */
static void
test_watched_before_the_opening(struct drive *drive)
{
    expect(drive, "OK new e open 100=100+0+0 g 100=100+0+0",
           "CREATE e POOL g 100 QUEUE 1 100 100 OPENS 10000 HOLD 300");
    for (uint32_t i = 0; i < 12; i++)
        expect(drive, "OK new waiting", "t%u = JOIN e u%u", i, i);
    expect(drive, "OK waiting", "WATCH t11 7");
    drive_sweep(drive);
    assert_string_equal(drive_pushes(drive), "");
    drive_pass(drive, 10000);
    drive_sweep(drive);
    assert_string_equal(drive_pushes(drive), "7 waiting 12");
    drive_sweep(drive);
    assert_string_equal(drive_pushes(drive), "");
    expect(drive, "OK left", "LEAVE t5");
    expect(drive, "OK left", "LEAVE t6");
    drive_sweep(drive);
    assert_string_equal(drive_pushes(drive), "7 waiting 9");
}

static void
test_restarts(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "OK new waiting 2",
           "t4 = JOIN e a-user-with-a-name-that-is-longer-than-most-of-them-are");
    expect(drive, "OK new waiting 3", "t5 = JOIN e u5");
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1");
    expect(drive, "OK active in=100000", "QGET t3");
    drive_pass(drive, 59000);
    for (uint32_t shards = 1; shards <= DRIVE_SHARDS; shards++) {
        drive_restart(drive, shards);
        drive_sweep(drive);
        expect(drive, "OK done", "QGET t1");
        expect(drive, "OK active in=41000", "QGET t2");
        expect(drive, "OK active in=41000", "QGET t3");
        expect(drive, "OK waiting 1", "QGET t4");
        expect(drive, "OK waiting 2", "QGET t5");
        expect(drive, "NOTADMITTED", "HOLD e u1 SEAT A/1/2");
        expect(drive, "NOTADMITTED", "HOLD e u5 SEAT A/1/2");
        expect(drive,
               shards == 1 ? "OK new held A/1/3:1 A/1/4:1 ga*1 in=300000"
                           : "OK new again held A/1/3:1 A/1/4:1 ga*1 in=300000",
               "HOLD e u2 SEAT A/1/3 POOL ga 1 SEAT A/1/4 KEY k");
    }
}

static void
test_restart_again_and_again(struct drive *drive)
{
    create(drive);
    for (uint32_t i = 1; i <= 12; i++)
        (void)ask(drive, "t%u = JOIN e u%u", i, i);
    for (uint32_t round = 0; round < 8; round++) {
        drive_restart(drive, 1 + round % DRIVE_SHARDS);
        drive_sweep(drive);
        uint32_t active = 1 + round;
        expect(drive, "OK active in=100000", "QGET t%u", active);
        expect(drive, "OK left", "LEAVE t%u", active);
        expect(drive, "OK active in=100000", "QGET t%u", active + 1);
        expect(drive, "OK active in=100000", "QGET t%u", active + 2);
        expect(drive, "OK waiting 1", "QGET t%u", active + 3);
        if (round == 3) {
            drive_snapshot_begin(drive);
            while (!drive_snapshot_step(drive, 100))
                drive_run(drive);
        }
    }
}

/* The table of places holds remembered ended ones, too: they make room for a new one, and at a restart
 * likewise, where the journal tells of more places than fit. */
static void
test_more_places_than_are_remembered(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    uint32_t more = drive_settings().tokens_max + 20;
    for (uint32_t i = 0; i < more; i++) {
        expect(drive, "OK new waiting 2", "t = JOIN e somebody-with-a-rather-long-name-%u", i);
        expect(drive, "OK left", "LEAVE t");
    }
    for (uint32_t round = 0; round < 3; round++) {
        drive_restart(drive, drive_shard_count(drive));
        drive_sweep(drive);
        expect(drive, "OK active in=100000", "QGET t1");
        expect(drive, "OK active in=100000", "QGET t2");
        expect(drive, "OK waiting 1", "QGET t3");
        expect(drive, "OK left", "QGET t");
        if (round == 0) {
            drive_snapshot_begin(drive);
            while (!drive_snapshot_step(drive, 1000))
                drive_run(drive);
        }
    }
    expect(drive, "OK new waiting 2", "t = JOIN e one-more");
}

/* The table is full of places that stand, but for one. While a snapshot is told somebody comes and goes
 * there, and is forgotten for the next one: the start must not want room for both. */
static void
test_a_full_table_in_a_snapshot(struct drive *drive)
{
    create(drive);
    uint32_t standing = drive_settings().tokens_max - 1;
    drive_checks(drive, false);
    (void)ask(drive, "t1 = JOIN e u1");
    (void)ask(drive, "t2 = JOIN e u2");
    for (uint32_t i = 3; i <= standing; i++)
        (void)ask(drive, "JOIN e u%u", i);
    drive_checks(drive, true);
    drive_snapshot_begin(drive);
    expect(drive, "OK left", "LEAVE t2"); /* from before the beginning: never told, where it is forgotten */
    (void)ask(drive, "a = JOIN e came-and-went");
    expect(drive, "OK left", "LEAVE a");
    (void)ask(drive, "b = JOIN e came-and-stayed");
    (void)ask(drive, "c = JOIN e stayed-too");
    expect(drive, "BUSY", "JOIN e one-too-many");
    while (!drive_snapshot_step(drive, 1000))
        drive_run(drive);
    for (uint32_t round = 0; round < 2; round++) {
        drive_restart(drive, drive_shard_count(drive));
        drive_sweep(drive);
        expect(drive, "OK active in=100000", "QGET t1");
        assert_null(strstr(ask(drive, "QGET b"), "NOTOKEN"));
        assert_null(strstr(ask(drive, "QGET c"), "NOTOKEN"));
        expect_gone(drive, "QGET a");
        expect(drive, "BUSY", "JOIN e one-too-many");
        drive_snapshot_begin(drive); /* who was new in the one before is told in this one */
        while (!drive_snapshot_step(drive, 1000))
            drive_run(drive);
    }
}

/* The confirm is on disk, but the queue's owner has not heard of it: the place has ended all the same. */
static void
test_done_is_known_after_a_crash(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3");
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    drive_mailbox(drive, 0);
    (void)submit(drive, 0, "CONFIRM a u1");
    drive_mailbox(drive, UINT32_MAX);
    drive_restart(drive, drive_shard_count(drive));
    drive_sweep(drive);
    const char *state = ask(drive, "QGET t1");
    const char *hold = ask(drive, "GETHOLD a");
    /* whatever survived: both or none */
    assert_true((strncmp(hold, "OK confirmed", 12) == 0) == (strcmp(state, "OK done") == 0));
}

/* The confirms were answered, so their places are done, though the queue's owner had not recorded it when
 * the power went: for whoever looks before the homes have told it again, and however late that is. */
static void
test_done_once_answered_is_done_after_a_crash(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2");
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "OK new held A/1/2:1 in=300000", "b = HOLD e u2 SEAT A/1/2");
    drive_disk(drive, false);
    uint32_t first = submit(drive, 0, "CONFIRM a u1");
    uint32_t second = submit(drive, 0, "CONFIRM b u2");
    drive_run(drive);
    assert_null(answer(drive, first));
    assert_true(drive_write(drive)); /* the confirms, and nothing that comes of them */
    drive_run(drive);
    assert_string_equal(answer(drive, first), "OK confirmed A/1/1:2 in=300000");
    assert_string_equal(answer(drive, second), "OK confirmed A/1/2:2 in=300000");
    drive_restart(drive, drive_shard_count(drive));
    drive_disk(drive, true);
    expect(drive, "OK done", "QGET t1");
    drive_pass(drive, 100000);
    drive_sweep(drive); /* t2 is over its deadline, and nobody has looked at it */
    expect(drive, "OK done", "QGET t2");
    expect(drive, "OK done", "QGET t1");
    expect(drive, "NOTADMITTED", "HOLD e u2 SEAT A/1/3");
    expect(drive, "OK new active in=100000", "n1 = JOIN e u1");
    expect(drive, "OK new active in=100000", "n2 = JOIN e u2");
}

/* One place ends, and the next one is let in: recorded, but on no disk, so its home has not been told. */
static void
leave_undecided(struct drive *drive, const char *leaves)
{
    drive_disk(drive, false);
    (void)submit(drive, 0, "LEAVE %s", leaves);
    drive_run(drive);
    assert_true(drive_write(drive));
    drive_run(drive);
}

/* Asked for while it is decided whether the place is active: a watch begins with its answer, and what that
 * tells is no news. */
static void
test_a_watch_begins_with_its_answer(struct drive *drive)
{
    create(drive);
    for (uint32_t i = 1; i <= 5; i++)
        (void)ask(drive, "t%u = JOIN e u%u", i, i);
    leave_undecided(drive, "t1");
    uint32_t watch = submit(drive, 0, "WATCH t3 7");
    drive_run(drive);
    assert_null(answer(drive, watch));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, watch), "OK active in=100000");
    assert_string_equal(drive_pushes(drive), "");

    leave_undecided(drive, "t2");
    watch = submit(drive, 0, "WATCH t4 8");
    uint32_t leave = submit(drive, 0, "LEAVE t4");
    drive_run(drive);
    assert_null(answer(drive, watch));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, watch), "OK left");
    assert_string_equal(answer(drive, leave), "OK left");
    assert_string_equal(drive_pushes(drive), "");

    expect(drive, "OK new waiting 1", "t6 = JOIN e u6");
    leave_undecided(drive, "t3");
    watch = submit(drive, 0, "WATCH t6 9");
    uint32_t unwatch = submit(drive, 0, "UNWATCH t6 9");
    drive_run(drive);
    assert_null(answer(drive, watch));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, watch), "OK active in=100000");
    assert_string_equal(answer(drive, unwatch), "OK active in=100000");
    expect(drive, "OK left", "LEAVE t6");
    assert_string_equal(drive_pushes(drive), "7 left"); /* of t3; t6 is not watched any more */
}

/* Joined twice at once: the second answer tells of a place that must outlive a crash, too. */
static void
test_the_second_join_waits_for_the_disk(struct drive *drive)
{
    create(drive);
    (void)ask(drive, "t1 = JOIN e u1");
    (void)ask(drive, "t2 = JOIN e u2");
    drive_disk(drive, false);
    uint32_t first = submit(drive, 0, "JOIN e u3");
    uint32_t second = submit(drive, 0, "JOIN e u3");
    drive_run(drive);
    assert_null(answer(drive, first));
    assert_null(answer(drive, second));
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, first), "OK new waiting 1");
    assert_string_equal(answer(drive, second), "OK waiting 1");
}

/* Silence longer than the grace ends a place, whether a sweep has been or not: nobody revives it. */
static void
test_silence_ends_a_place_for_whoever_looks(struct drive *drive)
{
    create(drive);
    for (uint32_t i = 1; i <= 8; i++)
        (void)ask(drive, "t%u = JOIN e u%u", i, i);
    drive_pass(drive, 50000);
    expect(drive, "OK waiting 6", "QGET t8");
    drive_pass(drive, 10999);
    expect(drive, "OK waiting 5", "JOIN e u7"); /* the last moment: signs of life are noted to the second */
    drive_pass(drive, 1);
    expect(drive, "OK expired", "QGET t3");
    expect(drive, "OK expired", "LEAVE t4");
    expect(drive, "OK u5 used=0", "HOLDS e u5");
    expect(drive, "OK new waiting 4", "n5 = JOIN e u5"); /* behind t6, whom nobody has touched, t7, t8 */
    expect(drive, "OK expired", "WATCH t6 9");
    drive_sweep(drive);
    expect(drive, "OK waiting 1", "QGET t7");
    expect(drive, "OK waiting 2", "QGET t8");
    expect(drive, "OK waiting 3", "QGET n5");
    assert_int_equal(drive_figures(drive).tokens_waiting, 3);
}

/* A poll is a sign of life to its end, so silence begins there. */
static void
test_grace_begins_where_a_poll_ends(struct drive *drive)
{
    create(drive);
    (void)ask(drive, "t1 = JOIN e u1");
    (void)ask(drive, "t2 = JOIN e u2");
    (void)ask(drive, "t3 = JOIN e u3");
    uint32_t poll = submit(drive, 0, "QGET t3 30000");
    drive_run(drive);
    for (uint32_t i = 0; i < 30; i++) {
        drive_pass(drive, 1000);
        drive_sweep(drive);
    }
    drive_pass(drive, 10);
    drive_sweep(drive);
    assert_string_equal(answer(drive, poll), "OK waiting 1");
    drive_pass(drive, 59000);
    drive_sweep(drive);
    expect(drive, "OK waiting 1", "QGET t3");
    expect(drive, "OK waiting 1", "WATCH t3 5");
    drive_pass(drive, 99000);
    drive_sweep(drive);
    expect(drive, "OK active in=100000", "UNWATCH t3 5"); /* the active ones' time was over meanwhile */
}

/* However long a start takes: grace begins anew where it has ended. */
static void
test_nobodys_grace_runs_out_in_a_start(struct drive *drive)
{
    create(drive);
    for (uint32_t i = 1; i <= 5; i++)
        (void)ask(drive, "t%u = JOIN e u%u", i, i);
    drive_pass(drive, 30000);
    drive_restart(drive, drive_shard_count(drive));
    drive_pass(drive, 65000); /* before the first tick */
    expect(drive, "OK waiting 1", "QGET t3");
    drive_sweep(drive);
    expect(drive, "OK waiting 1", "QGET t3");
    expect(drive, "OK waiting 3", "QGET t5");
}

/* HOLDS names no place that a crash could take back (R2), wherever the queue is. */
static void
test_a_place_is_named_when_it_is_on_disk(struct drive *drive)
{
    create(drive);
    (void)ask(drive, "t1 = JOIN e u1");
    (void)ask(drive, "t2 = JOIN e u2");
    for (uint32_t i = 3; i < 3 + 2 * DRIVE_SHARDS; i++) { /* homes everywhere */
        drive_disk(drive, false);
        uint32_t join = submit(drive, 0, "JOIN e u%u", i);
        drive_run(drive);
        uint32_t holds = submit(drive, 1 % drive_shard_count(drive), "HOLDS e u%u", i);
        drive_run(drive);
        assert_null(answer(drive, join));
        assert_null(answer(drive, holds));
        drive_disk(drive, true);
        drive_run(drive);
        assert_int_equal(strncmp(answer(drive, join), "OK new waiting", 14), 0);
        assert_non_null(strstr(answer(drive, holds), " token="));
    }
}

/* A join's key is its user's and lives at their home, a leave's the caller's; the event's shard executes.
 */
static void
test_keys(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new active in=100000", "t1 = JOIN e u1 KEY k");
    expect(drive, "OK new active in=100000", "t2 = JOIN e u2 KEY k");
    expect(drive, "OK new waiting 1", "t3 = JOIN e u3 KEY k");
    (void)ask(drive, "SET e status paused");
    expect(drive, "CLOSED", "JOIN e u4 KEY k"); /* only successes are remembered */
    (void)ask(drive, "SET e status open");
    expect(drive, "OK new waiting 2", "t4 = JOIN e u4 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/1 KEY k");
    expect(drive, "OK new held A/1/1:1 in=300000", "HOLD e u1 SEAT A/1/1 KEY h");
    expect(drive, "KEYREUSED", "JOIN e u1 KEY h");
    expect(drive, "OK left", "LEAVE t1 KEY k");
    expect(drive, "KEYREUSED", "LEAVE t2 KEY k");
    drive_pass(drive, 1000);
    expect(drive, "OK active in=99000", "JOIN e u3"); /* as it is; and as it was: */
    for (uint32_t shards = 1; shards <= DRIVE_SHARDS; shards++) {
        expect(drive, "OK new again active in=99000", "JOIN e u1 KEY k");
        expect(drive, "OK new again waiting 1", "JOIN e u3 KEY k");
        expect(drive, "OK new again waiting 2", "JOIN e u4 KEY k");
        expect(drive, "OK again left", "LEAVE t1 KEY k");
        expect(drive, "KEYREUSED", "LEAVE t2 KEY k");
        drive_restart(drive, shards);
    }
}

/* One key twice at once: the second waits for the first, whatever becomes of that. */
static void
test_one_key_twice_at_once(struct drive *drive)
{
    create(drive);
    (void)ask(drive, "t1 = JOIN e u1");
    (void)ask(drive, "t2 = JOIN e u2");
    for (uint32_t i = 3; i < 3 + 2 * DRIVE_SHARDS; i++) {
        char wanted[32];
        drive_disk(drive, false);
        uint32_t shards = drive_shard_count(drive);
        uint32_t first = submit(drive, 0, "JOIN e u%u KEY k", i);
        drive_run(drive);
        uint32_t second = submit(drive, i % shards, "JOIN e u%u KEY k", i);
        uint32_t third = submit(drive, i % shards, "HOLD e u%u SEAT A/1/1 KEY k", i);
        drive_run(drive);
        assert_null(answer(drive, first));
        assert_null(answer(drive, second));
        drive_disk(drive, true);
        drive_run(drive);
        (void)snprintf(wanted, sizeof wanted, "OK new waiting %u", i - 2);
        assert_string_equal(answer(drive, first), wanted);
        (void)snprintf(wanted, sizeof wanted, "OK new again waiting %u", i - 2);
        assert_string_equal(answer(drive, second), wanted);
        assert_string_equal(answer(drive, third), "KEYREUSED");
    }
}

/* A slot that nobody has heard of: active_max is another one behind everybody's back, as a defect would
 * leave it. The look at every queue now and then finds it, and nothing else is needed. */
static void
test_the_sweep_repairs_a_lost_wake_up(struct drive *drive)
{
    create(drive);
    for (uint32_t i = 1; i <= 4; i++)
        (void)ask(drive, "t%u = JOIN e u%u", i, i);
    for (uint32_t i = 0; i < drive_shard_count(drive); i++) {
        struct shard *shard = drive_shard(drive, i);
        struct event *event = event_find(shard, (struct bytes){"e", 1});
        event->settings->queue_active_max = 3;
    }
    expect(drive, "OK waiting 1", "QGET t3");
    drive_pass(drive, 499);
    expect(drive, "OK waiting 1", "QGET t3");
    drive_pass(drive, 501);
    drive_sweep(drive);
    expect(drive, "OK active in=100000", "QGET t3");
    expect(drive, "OK waiting 1", "QGET t4");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        DRIVE_PLAN(test_in_order_of_arrival, 1),
        DRIVE_PLAN(test_in_order_of_arrival, 3),
        cmocka_unit_test(test_watchers_leave_room_for_answers),
        DRIVE_PLAN(test_no_id_tells_of_another, 1),
        DRIVE_PLAN(test_no_id_tells_of_another, 3),
        DRIVE_PLAN(test_a_bad_pass_without_a_queue, 1),
        DRIVE_PLAN(test_only_who_is_admitted_holds, 1),
        DRIVE_PLAN(test_only_who_is_admitted_holds, 4),
        DRIVE_PLAN(test_deadlines_and_grace, 1),
        DRIVE_PLAN(test_deadlines_and_grace, 3),
        DRIVE_PLAN(test_nobody_waits_in_vain, 1),
        DRIVE_PLAN(test_nobody_waits_in_vain, 3),
        DRIVE_PLAN(test_changes_of_the_event, 1),
        DRIVE_PLAN(test_changes_of_the_event, 3),
        DRIVE_PLAN(test_slots_are_free_when_ends_are_on_disk, 1),
        DRIVE_PLAN(test_slots_are_free_when_ends_are_on_disk, 3),
        DRIVE_PLAN(test_left_before_the_opening_was_recorded, 1),
        DRIVE_PLAN(test_left_before_the_opening_was_recorded, 3),
        DRIVE_PLAN(test_long_polls_and_watches, 1),
        DRIVE_PLAN(test_long_polls_and_watches, 3),
        DRIVE_PLAN(test_the_draw, 1),
        DRIVE_PLAN(test_the_draw, 3),
        DRIVE_PLAN(test_watched_before_the_opening, 1),
        DRIVE_PLAN(test_watched_before_the_opening, 3),
        DRIVE_PLAN(test_silence_ends_a_place_for_whoever_looks, 1),
        DRIVE_PLAN(test_silence_ends_a_place_for_whoever_looks, 3),
        DRIVE_PLAN(test_grace_begins_where_a_poll_ends, 1),
        DRIVE_PLAN(test_grace_begins_where_a_poll_ends, 3),
        DRIVE_PLAN(test_nobodys_grace_runs_out_in_a_start, 1),
        DRIVE_PLAN(test_nobodys_grace_runs_out_in_a_start, 3),
        DRIVE_PLAN(test_a_place_is_named_when_it_is_on_disk, 1),
        DRIVE_PLAN(test_a_place_is_named_when_it_is_on_disk, 4),
        DRIVE_PLAN(test_the_sweep_repairs_a_lost_wake_up, 1),
        DRIVE_PLAN(test_the_sweep_repairs_a_lost_wake_up, 3),
        DRIVE_PLAN(test_keys, 1),
        DRIVE_PLAN(test_keys, 4),
        DRIVE_PLAN(test_one_key_twice_at_once, 1),
        DRIVE_PLAN(test_one_key_twice_at_once, 4),
        DRIVE_PLAN(test_restarts, 1),
        DRIVE_PLAN(test_restarts, 3),
        DRIVE_PLAN(test_restart_again_and_again, 3),
        DRIVE_PLAN(test_more_places_than_are_remembered, 1),
        DRIVE_PLAN(test_more_places_than_are_remembered, 3),
        DRIVE_PLAN(test_a_full_table_in_a_snapshot, 1),
        DRIVE_PLAN(test_a_full_table_in_a_snapshot, 3),
        DRIVE_PLAN(test_the_second_join_waits_for_the_disk, 1),
        DRIVE_PLAN(test_the_second_join_waits_for_the_disk, 3),
        DRIVE_PLAN(test_done_is_known_after_a_crash, 1),
        DRIVE_PLAN(test_done_is_known_after_a_crash, 3),
        DRIVE_PLAN(test_done_once_answered_is_done_after_a_crash, 1),
        DRIVE_PLAN(test_done_once_answered_is_done_after_a_crash, 3),
        DRIVE_PLAN(test_a_watch_begins_with_its_answer, 1),
        DRIVE_PLAN(test_a_watch_begins_with_its_answer, 3),
        DRIVE_PLAN(test_cancel_behind_late_confirm, 1),
        DRIVE_PLAN(test_cancel_behind_late_confirm, 4),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
