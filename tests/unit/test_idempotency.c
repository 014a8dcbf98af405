/*
 * test_idempotency.c - keys: a repeated request gets the first answer, a different one is refused, over
 * other changes, restarts and the bound of their memory.
 */
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <string.h>

static void
create(struct drive *drive)
{
    (void)ask(drive, "CREATE e SECTION A 1 10 POOL p 20");
    (void)ask(drive, "CREATE f SECTION A 1 10 POOL p 20");
}

static void
test_repeats_the_first_answer(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new held A/1/1:1 p*2 in=300000", "a = HOLD e u1 SEAT A/1/1 POOL p 2 KEY k1");
    drive_pass(drive, 1000);
    expect(drive, "OK new again held A/1/1:1 p*2 in=299000", "b = HOLD e u1 SEAT A/1/1 POOL p 2 KEY k1");
    expect(drive, "OK e open 30=27+3+0 A 10=9+1+0 p 20=18+2+0", "GET e");
    expect(drive, "OK held A/1/1:1 p*2 in=499000", "EXTEND b u1 499 KEY k2"); /* b is a */
    expect(drive, "OK confirmed A/1/1:2 p*2 in=499000", "CONFIRM a u1 KEY k3");
    expect(drive, "OK cancelled A/1/1:2 p*2 in=499000", "CANCEL a KEY k1 BY op"); /* op's k1, not u1's */
    drive_pass(drive, 1000000);
    /* whatever has happened since: the first answers */
    expect(drive, "OK new again held A/1/1:1 p*2 in=-701000", "HOLD e u1 SEAT A/1/1 POOL p 2 KEY k1");
    expect(drive, "OK again held A/1/1:1 p*2 in=-501000", "EXTEND a u1 499 KEY k2");
    expect(drive, "OK again confirmed A/1/1:2 p*2 in=-501000", "CONFIRM a u1 KEY k3");
    expect(drive, "OK again cancelled A/1/1:2 p*2 in=-501000", "CANCEL a KEY k1 BY op");
    expect(drive, "CANCELLED", "CONFIRM a u1 KEY k4");
    expect(drive, "OK e open 30=30+0+0 A 10=10+0+0 p 20=20+0+0", "GET e");
}

static void
test_another_request_is_keyreused(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/2 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/1 TTL 300 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/1 POOL p 1 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/1 BEST A 1 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/1 REPLACE a KEY k");
    expect(drive, "KEYREUSED", "HOLD f u1 SEAT A/1/1 KEY k"); /* over all events ... */
    expect(drive, "KEYREUSED", "HOLD nowhere u1 SEAT A/1/1 KEY k");
    expect(drive, "KEYREUSED", "CONFIRM a u1 KEY k"); /* ... and commands */
    expect(drive, "KEYREUSED", "RELEASE a u1 KEY k");
    expect(drive, "KEYREUSED", "EXTEND a u1 5 KEY k");
    expect(drive, "KEYREUSED", "CONFIRM nobody u1 KEY k");                            /* before nohold */
    expect(drive, "OK new held A/1/2:1 in=300000", "b = HOLD e u2 SEAT A/1/2 KEY k"); /* another user's */
    expect(drive, "NOHOLD", "CONFIRM a u2 KEY k2");
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1 REF r1 KEY k2");
    expect(drive, "KEYREUSED", "CONFIRM a u1 REF r2 KEY k2");
    expect(drive, "KEYREUSED", "CONFIRM a u1 REF r1 LATE KEY k2");
    expect(drive, "OK again confirmed A/1/1:2 in=300000", "CONFIRM a u1 REF r1 KEY k2");
    expect(drive, "OK new held p*1 in=300000", "HOLD e u3 POOL p 1 KEY k");
    expect(drive, "KEYREUSED", "HOLD e u3 POOL p 2 KEY k");
}

static void
test_only_successes_are_remembered(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "HELD unit=A/1/1 remaining=9 next=300000", "HOLD e u2 SEAT A/1/1 KEY k");
    expect(drive, "OK released A/1/1:1 in=300000", "RELEASE a u1 KEY r");
    expect(drive, "OK new held A/1/1:3 in=300000", "b = HOLD e u2 SEAT A/1/1 KEY k");
    expect(drive, "OK new again held A/1/1:3 in=300000", "HOLD e u2 SEAT A/1/1 KEY k");
    expect(drive, "OK again released A/1/1:1 in=300000", "RELEASE a u1 KEY r");
    expect(drive, "OK released A/1/1:1 in=300000", "RELEASE a u1 KEY r2");
    expect(drive, "OK held A/1/1:3 in=300000", "GETHOLD b");
    expect(drive, "NOHOLD", "RELEASE nobody u1 KEY x");
    expect(drive, "OK new held p*1 in=300000", "HOLD e u1 POOL p 1 KEY x"); /* free to be used */
}

/* A key of a command that names no user belongs to the caller, the API key's name. */
static void
test_callers_have_keys_of_their_own(struct drive *drive)
{
    create(drive);
    (void)ask(drive, "a = HOLD e u1 SEAT A/1/1");
    (void)ask(drive, "b = HOLD e u1 SEAT A/1/2");
    (void)ask(drive, "CONFIRM a u1");
    (void)ask(drive, "CONFIRM b u1");
    expect(drive, "OK cancelled A/1/1:2 in=300000", "CANCEL a KEY k BY op");
    expect(drive, "OK again cancelled A/1/1:2 in=300000", "CANCEL a KEY k BY op");
    expect(drive, "KEYREUSED", "CANCEL b KEY k BY op");
    expect(drive, "OK cancelled A/1/2:2 in=300000", "CANCEL b KEY k BY another");
    expect(drive, "OK again cancelled A/1/2:2 in=300000", "CANCEL b KEY k BY another");
    expect(drive, "OK cancelled A/1/1:2 in=300000",
           "CANCEL a KEY k"); /* nobody's, where there are no keys */
    expect(drive, "KEYREUSED", "CANCEL b KEY k");
}

/* A retry with the same key that comes while the first is under way: one hold, one answer. */
static void
test_twins_at_once(struct drive *drive)
{
    create(drive);
    uint32_t tags[6];
    for (uint32_t i = 0; i < 6; i++)
        tags[i] = submit(drive, i, "HOLD e u1 BEST A 2 POOL p 1 KEY twin");
    drive_run(drive);
    uint32_t first = 0;
    for (uint32_t i = 0; i < 6; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        if (strcmp(got, "OK new held A/1/5:1 A/1/6:1 p*1 in=300000") == 0)
            first++;
        else
            assert_string_equal(got, "OK new again held A/1/5:1 A/1/6:1 p*1 in=300000");
    }
    assert_int_equal(first, 1);
    expect(drive, "OK e open 30=27+3+0 A 10=8+2+0 p 20=19+1+0", "GET e");
}

static void
test_over_restarts(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new held A/1/1:1 p*2 in=300000", "a = HOLD e u1 SEAT A/1/1 POOL p 2 KEY k1");
    expect(drive, "OK new held A/1/2:1 in=300000", "b = HOLD e u1 SEAT A/1/2");
    expect(drive, "OK held A/1/2:1 in=300000",
           "HOLD e u1 SEAT A/1/2 KEY own"); /* nothing else was changed */
    expect(drive, "OK held A/1/2:1 in=300000", "EXTEND b u1 5 KEY still");
    expect(drive, "OK held A/1/2:1 in=600000", "EXTEND b u1 600 KEY longer");
    expect(drive, "OK confirmed A/1/1:2 p*2 in=300000", "CONFIRM a u1 KEY k3");
    expect(drive, "OK confirmed A/1/1:2 p*2 in=300000", "CONFIRM a u1 KEY k4");
    expect(drive, "OK cancelled A/1/1:2 p*2 in=300000", "CANCEL a KEY c BY op");
    expect(drive, "OK released A/1/2:1 in=600000", "RELEASE b u1 KEY r");
    for (uint32_t shards = 1; shards <= DRIVE_SHARDS; shards++) {
        drive_restart(drive, shards);
        expect(drive, "OK new again held A/1/1:1 p*2 in=300000", "HOLD e u1 SEAT A/1/1 POOL p 2 KEY k1");
        expect(drive, "OK again held A/1/2:1 in=300000", "HOLD e u1 SEAT A/1/2 KEY own");
        expect(drive, "OK again held A/1/2:1 in=300000", "EXTEND b u1 5 KEY still");
        expect(drive, "OK again held A/1/2:1 in=600000", "EXTEND b u1 600 KEY longer");
        expect(drive, "OK again confirmed A/1/1:2 p*2 in=300000", "CONFIRM a u1 KEY k3");
        expect(drive, "OK again confirmed A/1/1:2 p*2 in=300000", "CONFIRM a u1 KEY k4");
        expect(drive, "OK again cancelled A/1/1:2 p*2 in=300000", "CANCEL a KEY c BY op");
        expect(drive, "OK again released A/1/2:1 in=600000", "RELEASE b u1 KEY r");
        expect(drive, "KEYREUSED", "HOLD e u1 SEAT A/1/3 KEY k1");
    }
}

/* A small ring, gone round many times: the newest are kept, the oldest give way, and never a wrong answer.
 */
static void
test_the_ring_goes_round(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.key_bytes_max = 4096;
    settings.holds_max = 4000;
    settings.users_max = 4000;
    for (uint32_t shards = 1; shards <= 3; shards += 2) {
        struct drive *drive = drive_open(shards, &settings);
        drive_checks(drive, false);
        (void)ask(drive, "CREATE e POOL p 100000 POOL q 100000");
        for (uint32_t i = 0; i < 1500;
             i++) { /* answers of different sizes: every offset of the end is met */
            const char *more = i % 3 == 0 ? " POOL q 1" : "";
            assert_memory_equal(ask(drive, "HOLD e u%u POOL p %u%s KEY k", i, 1 + i % 50, more),
                                "OK new held", 11);
            for (uint32_t back = 0; back < 3 && back < i; back++) {
                uint32_t j = i - back;
                more = j % 3 == 0 ? " POOL q 1" : "";
                assert_memory_equal(ask(drive, "HOLD e u%u POOL p %u%s KEY k", j, 1 + j % 50, more),
                                    "OK new again", 12);
                expect(drive, "KEYREUSED", "HOLD e u%u POOL q 7 KEY k", j);
            }
        }
        uint64_t keys = drive_figures(drive).keys;
        assert_in_range(keys, 10 * shards, 60 * shards);
        assert_memory_equal(ask(drive, "HOLD e u3 POOL q 9 KEY k"), "OK new held",
                            11); /* forgotten: free again */
        drive_check(drive);
        drive_close(drive);
    }
}

static void
test_kept_for_key_ms(struct drive *drive)
{
    create(drive);
    expect(drive, "OK new held p*1 in=300000", "a = HOLD e u1 POOL p 1 KEY k");
    expect(drive, "OK confirmed p*1 in=300000", "CONFIRM a u1");
    drive_pass(drive, 24 * 3600 * 1000 - 1);
    drive_sweep(drive);
    expect(drive, "OK new again held p*1 in=-86099999", "HOLD e u1 POOL p 1 KEY k");
    assert_int_equal(drive_figures(drive).keys, 1);
    drive_pass(drive, 2);
    drive_sweep(drive);
    assert_int_equal(drive_figures(drive).keys, 0);
    expect(drive, "OK new held p*1 in=300000", "HOLD e u1 POOL p 1 KEY k");
}

/* ---- changes of events: the answer is the event, as it was then ---- */

#define CREATE_E  "CREATE e SECTION A 1 10 POOL p 20 QUEUE 5 100 60 KEY k BY op"
#define CREATED_E "e open 30=30+0+0 A 10=10+0+0 p 20=20+0+0 hold=300 limit=0 active=5"
#define SET_ALL   "SET e status paused hold_seconds 7 units_per_user_max 4 queue.active_max 9 POOL p 15 KEY s"
#define WAS_SET   "e paused 25=22+2+1 A 10=8+1+1 p 15=14+1+0 hold=7 limit=4 active=9"

/* Everything that an event's view shows is other now. */
static void
change_all(struct drive *drive)
{
    expect(drive, "OK new active in=100000", "JOIN e u1");
    expect(drive, "OK new held A/1/1:1 p*1 in=300000", "a = HOLD e u1 SEAT A/1/1 POOL p 1");
    expect(drive, "OK new held A/1/2:1 in=300000", "b = HOLD e u1 SEAT A/1/2");
    expect(drive, "OK confirmed A/1/2:2 in=300000", "CONFIRM b u1");
}

static void
change_all_again(struct drive *drive)
{
    expect(drive, "OK released A/1/1:1 p*1 in=300000", "RELEASE a u1");
    (void)ask(drive, "SET e status open hold_seconds 8 units_per_user_max 5 queue.active_max 8 POOL p 30");
}

static void
test_events_as_they_were(struct drive *drive)
{
    expect(drive, "OK new " CREATED_E, CREATE_E);
    change_all(drive);
    expect(drive, "OK " WAS_SET, SET_ALL);
    expect(drive, "OK new again " CREATED_E, CREATE_E);
    change_all_again(drive);
    expect(drive, "OK new again " CREATED_E, CREATE_E);
    expect(drive, "OK again " WAS_SET, SET_ALL);
    expect(drive, "OK e open 40=39+0+1 A 10=9+0+1 p 30=30+0+0", "GET e");
    expect(drive, "KEYREUSED", "SET e status open KEY s");
    expect(drive, "KEYREUSED", "CREATE f POOL p 20 KEY k BY op");
    /* the same settings as before the changes are not those of now; refused, they are not remembered */
    expect(drive, "EXISTS", "CREATE e SECTION A 1 10 POOL p 20 QUEUE 5 100 60 KEY k BY another");
    expect(drive, "NOEVENT unit=f", "SET f status paused KEY f");
    expect(drive, "OK new f open 1=1+0+0 q 1=1+0+0 hold=300 limit=0 active=0", "CREATE f POOL q 1 KEY f2");
    expect(drive, "OK f paused 1=1+0+0 q 1=1+0+0 hold=300 limit=0 active=0", "SET f status paused KEY f");
}

static void
test_events_over_restarts(struct drive *drive)
{
    expect(drive, "OK new " CREATED_E, CREATE_E);
    change_all(drive);
    expect(drive, "OK " WAS_SET, SET_ALL);
    expect(drive, "OK new f open 2=2+0+0 q 2=2+0+0 hold=300 limit=0 active=0", "CREATE f POOL q 2 KEY f");
    expect(drive, "OK f open 2=2+0+0 q 2=2+0+0 hold=300 limit=0 active=0", "CREATE f POOL q 2 KEY f2");
    for (uint32_t shards = 1; shards <= DRIVE_SHARDS; shards++) {
        if (shards == 3) { /* the answers are told by a snapshot from here on */
            drive_snapshot_begin(drive);
            while (!drive_snapshot_step(drive, 4096))
                drive_run(drive);
        }
        drive_restart(drive, shards);
        expect(drive, "OK new again " CREATED_E, CREATE_E);
        expect(drive, "OK again " WAS_SET, SET_ALL);
        expect(drive, "OK new again f open 2=2+0+0 q 2=2+0+0 hold=300 limit=0 active=0",
               "CREATE f POOL q 2 KEY f");
        expect(drive, "OK again f open 2=2+0+0 q 2=2+0+0 hold=300 limit=0 active=0",
               "CREATE f POOL q 2 KEY f2");
        if (shards == 1)
            change_all_again(drive);
    }
}

/* Was the seed shown? As long as the answer is kept it stays as it was. */
static void
test_seeds_as_they_were(struct drive *drive)
{
    const char *created = "OK new again e open 1=1+0+0 p 1=1+0+0 hold=300 limit=0 active=1 unopened";
    (void)ask(drive, "CREATE e POOL p 1 LOTTERY OPENS_AT %llu KEY k", 1800000005000ull);
    expect(drive, created, "CREATE e POOL p 1 LOTTERY OPENS_AT %llu KEY k", 1800000005000ull);
    expect(drive, "OK e open 1=1+0+0 p 1=1+0+0 hold=5 limit=0 active=1 unopened",
           "SET e hold_seconds 5 KEY s");
    drive_pass(drive, 5000);
    expect(drive, created, "CREATE e POOL p 1 LOTTERY OPENS_AT %llu KEY k", 1800000005000ull);
    expect(drive, "OK again e open 1=1+0+0 p 1=1+0+0 hold=5 limit=0 active=1 unopened",
           "SET e hold_seconds 5 KEY s");
    expect(drive, "OK e open 1=1+0+0 p 1=1+0+0 hold=5 limit=0 active=1", "SET e hold_seconds 5 KEY s2");
}

/* As many sections and pools as there may be: the longest answer there is, kept and over a restart. */
static void
test_the_longest_event(struct drive *drive)
{
    char line[4096] = "CREATE e123456789012345678901234567890123456789012345678901234567890123";
    char shown[4096];
    size_t size = strlen(line);
    drive_checks(drive, false); /* 64 maps each time */
    for (uint32_t i = 0; i < SECTIONS_MAX; i++)
        size += (size_t)snprintf(line + size, sizeof line - size, " SECTION s%u 1 1", i);
    for (uint32_t i = 0; i < POOLS_MAX; i++)
        size += (size_t)snprintf(line + size, sizeof line - size, " POOL p%u 1000000000", i);
    (void)snprintf(line + size, sizeof line - size, " KEY k");
    const char *first = ask(drive, "%s", line);
    assert_memory_equal(first, "OK new e1234", 12);
    (void)snprintf(shown, sizeof shown, "OK new again%s", first + 6);
    (void)ask(
        drive,
        "HOLD e123456789012345678901234567890123456789012345678901234567890123 u SEAT s63/1/1 POOL p63 "
        "999999999");
    expect(drive, shown, "%s", line);
    drive_restart(drive, 2);
    expect(drive, shown, "%s", line);
}

/* A second command with the key while the first is under way: the same answer. */
static void
test_twin_changes(struct drive *drive)
{
    uint32_t tags[4];
    for (uint32_t i = 0; i < 4; i++)
        tags[i] = submit(drive, i, CREATE_E);
    drive_run(drive);
    uint32_t first = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        first += strcmp(got, "OK new " CREATED_E) == 0;
        if (strcmp(got, "OK new " CREATED_E) != 0)
            assert_string_equal(got, "OK new again " CREATED_E);
    }
    assert_int_equal(first, 1);
    for (uint32_t i = 0; i < 4; i++)
        tags[i] = submit(drive, i, "SET e hold_seconds 9 KEY s");
    drive_run(drive);
    first = 0;
    for (uint32_t i = 0; i < 4; i++)
        first += memcmp(answer(drive, tags[i]), "OK e", 4) == 0;
    assert_int_equal(first, 1);
    drive_check(drive);
}

/* More changes with keys than there are gathers: the rest wait, none is refused. */
static void
test_many_changes_at_once(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.operations_max = 64; /* 4 gathers */
    struct drive *drive = drive_open(3, &settings);
    (void)ask(drive, "CREATE e POOL p 10");
    uint32_t tags[20];
    for (uint32_t i = 0; i < 20; i++)
        tags[i] = submit(drive, 0, i % 4 == 3 ? "GET e" : "SET e hold_seconds 9 KEY k%u", i);
    drive_run(drive);
    for (uint32_t i = 0; i < 20; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        assert_memory_equal(got, "OK e open 10=10+0+0 p 10=10+0+0", 31);
        if (i % 4 != 3)
            expect(drive, "OK again e open 10=10+0+0 p 10=10+0+0 hold=9 limit=0 active=0",
                   "SET e hold_seconds 9 KEY k%u", i);
    }
    /* looks alone: who waits for a gather is woken by the end of another one's look */
    for (uint32_t i = 0; i < 20; i++)
        tags[i] = submit(drive, 0, "GET e");
    drive_run(drive);
    for (uint32_t i = 0; i < 20; i++)
        assert_non_null(answer(drive, tags[i]));
    drive_check(drive);
    drive_close(drive);
}

#define BOTH(test) DRIVE_PLAN(test, 1), DRIVE_PLAN(test, 3)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_repeats_the_first_answer),
        BOTH(test_another_request_is_keyreused),
        BOTH(test_only_successes_are_remembered),
        BOTH(test_callers_have_keys_of_their_own),
        BOTH(test_twins_at_once),
        BOTH(test_over_restarts),
        BOTH(test_kept_for_key_ms),
        BOTH(test_events_as_they_were),
        BOTH(test_events_over_restarts),
        BOTH(test_seeds_as_they_were),
        BOTH(test_the_longest_event),
        BOTH(test_twin_changes),
        cmocka_unit_test(test_many_changes_at_once),
        cmocka_unit_test(test_the_ring_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
