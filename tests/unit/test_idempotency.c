/*
 * test_idempotency.c - keys: a repeated request gets the first answer, a different one is refused, over
 * other changes, restarts and the bound of their memory.
 */
#include "tests/unit/core_drive.h"

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
        cmocka_unit_test(test_the_ring_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
