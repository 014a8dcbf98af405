/*
 * test_bounds.c - every bound of struct shard_settings, reached with small values: the documented refusal,
 * nothing lost, and service again afterwards (R7).
 */
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <string.h>

static bool
is_ok(const char *text)
{
    assert_non_null(text);
    return memcmp(text, "OK", 2) == 0;
}

static void
test_holds_max(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.holds_max = 4;
    struct drive *drive = drive_open(1, &settings);
    (void)ask(drive, "CREATE e SECTION A 1 10");
    for (uint32_t i = 1; i <= 4; i++)
        assert_true(is_ok(ask(drive, "h%u = HOLD e u%u SEAT A/1/%u", i, i, i)));
    expect(drive, "BUSY", "HOLD e u5 SEAT A/1/5");
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM h1 u1"); /* confirmed ones stay */
    expect(drive, "BUSY", "HOLD e u5 SEAT A/1/5");
    expect(drive, "OK released A/1/2:1 in=300000", "RELEASE h2 u2");
    expect(drive, "OK released A/1/2:1 in=300000", "GETHOLD h2");
    expect(drive, "OK new held A/1/5:1 in=300000",
           "h5 = HOLD e u5 SEAT A/1/5"); /* the ended one gives way */
    expect(drive, "NOHOLD", "GETHOLD h2");
    expect(drive, "BUSY", "HOLD e u6 SEAT A/1/6");
    drive_pass(drive, 300000);
    drive_sweep(drive);
    expect(drive, "OK new held A/1/6:1 in=300000", "HOLD e u6 SEAT A/1/6");
    expect(drive, "OK e open 10=8+1+1 A 10=8+1+1", "GET e");
    drive_close(drive);
}

/* Oldest first, and only ended ones. */
static void
test_ended_give_way_oldest_first(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.holds_max = 5;
    struct drive *drive = drive_open(1, &settings);
    (void)ask(drive, "CREATE e POOL p 100");
    for (uint32_t i = 0; i < 20; i++) {
        assert_true(is_ok(ask(drive, "h%u = HOLD e u POOL p 1", i)));
        assert_true(is_ok(ask(drive, "RELEASE h%u u", i)));
        for (uint32_t j = 0; j <= i; j++)
            assert_int_equal(is_ok(ask(drive, "GETHOLD h%u", j)), j + 5 > i);
    }
    drive_close(drive);
}

static void
test_users_max(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.users_max = 3;
    struct drive *drive = drive_open(1, &settings);
    (void)ask(drive, "CREATE e POOL p 100");
    (void)ask(drive, "CREATE f POOL p 100");
    expect(drive, "OK new held p*1 in=300000", "a = HOLD e u1 POOL p 1");
    expect(drive, "OK new held p*1 in=300000", "b = HOLD e u2 POOL p 1");
    expect(drive, "OK new held p*1 in=300000", "c = HOLD f u1 POOL p 1"); /* pairs of event and user */
    expect(drive, "BUSY", "HOLD e u3 POOL p 1");
    expect(drive, "BUSY", "HOLD f u2 POOL p 1");
    expect(drive, "OK new held p*2 in=300000", "HOLD e u1 POOL p 2"); /* who is known goes on */
    expect(drive, "OK confirmed p*1 in=300000", "CONFIRM a u1");
    expect(drive, "OK released p*1 in=300000", "RELEASE b u2");
    expect(drive, "OK new held p*1 in=300000", "d = HOLD e u3 POOL p 1"); /* only ended holds: forgotten */
    expect(drive, "BUSY", "HOLD e u4 POOL p 1");
    drive_pass(drive, 300000);
    drive_sweep(drive);
    expect(drive, "OK new held p*1 in=300000", "HOLD e u4 POOL p 1");
    drive_close(drive);
}

static void
test_events_max(struct drive *drive)
{
    for (uint32_t i = 0; i < 20; i++) /* of drive_settings() */
        assert_true(is_ok(ask(drive, "CREATE e%u POOL p 1", i)));
    expect(drive, "BUSY", "CREATE one-more POOL p 1");
    expect(drive, "OK e3 open 1=1+0+0 p 1=1+0+0", "CREATE e3 POOL p 1"); /* what is there is there */
    expect(drive, "EXISTS", "CREATE e3 POOL p 2");
    expect(drive, "NOEVENT unit=one-more", "GET one-more");
    expect(drive, "OK new held p*1 in=300000", "HOLD e19 u POOL p 1");
    drive_restart(drive, 2);
    expect(drive, "BUSY", "CREATE one-more POOL p 1");
    assert_int_equal(shard_event_count(drive_shard(drive, 0)), 20);
}

/* Small events beyond one shard's share or the whole: refused, and a smaller one still fits. */
static void
test_seats_max(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.seats_max = 1000;
    for (uint32_t shards = 1; shards <= 3; shards += 2) {
        struct drive *drive = drive_open(shards, &settings);
        expect(drive, "BUSY", "CREATE big SECTION A 40 100");
        expect(drive, "NOEVENT unit=big", "GET big");
        assert_true(is_ok(ask(drive, "CREATE e SECTION A 9 100")));
        uint32_t made = 0;
        while (is_ok(ask(drive, "CREATE e%u SECTION A 1 100", made)) && made < 50)
            made++;
        assert_in_range(made, 1, 10 * shards); /* 1,000 seats a shard */
        assert_memory_equal(ask(drive, "GET e%u", made), "NOEVENT", 7);
        expect(drive, "OK new p open 5=5+0+0 p 5=5+0+0", "CREATE p POOL p 5"); /* pools have no seats */
        expect(drive, "OK new held A/9/100:1 in=300000", "HOLD e u SEAT A/9/100");
        drive_restart(drive, shards);
        expect(drive, "HELD unit=A/9/100 remaining=899 next=300000", "HOLD e v SEAT A/9/100");
        drive_close(drive);
    }
}

static void
test_event_bytes_max(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.event_bytes_max = 16384;
    struct drive *drive = drive_open(2, &settings);
    char line[4000];
    size_t size = (size_t)snprintf(line, sizeof line, "CREATE big");
    for (uint32_t i = 0; i < 30; i++)
        size += (size_t)snprintf(line + size, sizeof line - size, " ROW R row-%u %u", i, 1 + i % 2);
    uint32_t made = 0;
    while (made < 20) {
        line[7] = (char)('a' + made);
        if (!is_ok(ask(drive, "%s", line)))
            break;
        made++;
    }
    if (made == 20)
        made = 0; /* events_max came first: the sizes of this test are wrong */
    assert_true(made > 0);
    expect(drive, "BUSY", "%s", line);
    assert_memory_equal(ask(drive, "GET %cig", 'a' + (int)made), "NOEVENT", 7);
    line[7] = 'a';
    assert_true(is_ok(ask(drive, "%s", line)));
    drive_close(drive);
}

/* Nothing becomes durable, so commands stay under way until there is room for no more. */
static void
no_disk(struct drive *drive, uint32_t commands, uint32_t busy_least)
{
    uint32_t tags[2000];
    uint32_t ok = 0;
    uint32_t busy = 0;
    assert_true(commands <= 2000);
    drive_checks(drive, false);
    (void)ask(drive, "CREATE e SECTION A 10 100 POOL p 5000");
    expect(drive, "OK new held A/10/100:1 in=300000", "mine = HOLD e me SEAT A/10/100");
    drive_disk(drive, false);
    for (uint32_t i = 0; i < commands; i++)
        tags[i] = submit(drive, i, "HOLD e u%u POOL p 1", i);
    uint32_t release = submit(drive, 0, "RELEASE mine me");
    drive_run(drive);
    for (uint32_t i = 0; i < commands; i++) {
        const char *got = answer(drive, tags[i]);
        if (got != NULL) /* before anything is on disk only refusals may be out */
            assert_string_equal(got, "BUSY");
    }
    drive_disk(drive, true);
    drive_run(drive);
    for (uint32_t i = 0; i < commands; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got); /* no answer is lost */
        if (strcmp(got, "OK new held p*1 in=300000") == 0) {
            ok++;
        } else {
            assert_string_equal(got, "BUSY");
            busy++;
        }
    }
    assert_true(busy >= busy_least);
    assert_true(ok >= 1);
    if (strcmp(answer(drive, release), "BUSY") == 0) /* the batch is full for everyone */
        expect(drive, "OK released A/10/100:1 in=300000", "RELEASE mine me");
    else
        assert_string_equal(answer(drive, release), "OK released A/10/100:1 in=300000");
    drive_check(drive);
    char wanted[100];
    (void)snprintf(wanted, sizeof wanted, "OK e open 6000=%u+%u+0 A 1000=1000+0+0 p 5000=%u+%u+0",
                   6000 - ok, ok, 5000 - ok, ok);
    expect(drive, wanted, "GET e");
    expect(drive, "OK new held A/10/100:3 in=300000", "HOLD e other SEAT A/10/100");
    assert_int_equal(drive_figures(drive).operations, 0);
    assert_int_equal(drive_figures(drive).parked, 0);
}

/* A release is under way until its units may go back. Others are refused before those who give something
 * back: an eighth of the operations is kept for them. */
static void
test_operations_max(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.operations_max = 16;
    struct drive *drive = drive_open(1, &settings);
    uint32_t tags[30];
    (void)ask(drive, "CREATE e SECTION A 1 40");
    for (uint32_t i = 0; i < 30; i++)
        assert_true(is_ok(ask(drive, "h%u = HOLD e u%u SEAT A/1/%u", i, i, i + 1)));
    drive_disk(drive, false);
    for (uint32_t i = 0; i < 30; i++) {
        tags[i] = submit(drive, 0, "RELEASE h%u u%u", i, i);
        if (i == 13) { /* two are left */
            uint32_t hold = submit(drive, 0, "HOLD e v SEAT A/1/40");
            assert_string_equal(answer(drive, hold), "BUSY");
        }
    }
    drive_run(drive);
    for (uint32_t i = 0; i < 30; i++) {
        if (i < 16)
            assert_null(answer(drive, tags[i]));
        else
            assert_string_equal(answer(drive, tags[i]), "BUSY");
    }
    assert_int_equal(drive_figures(drive).operations, 16);
    drive_disk(drive, true);
    drive_run(drive);
    assert_int_equal(drive_figures(drive).operations, 0);
    drive_check(drive);
    for (uint32_t i = 0; i < 16; i++)
        assert_true(is_ok(answer(drive, tags[i])));
    expect(drive, "OK e open 40=26+14+0 A 40=26+14+0", "GET e");
    for (uint32_t i = 16; i < 30; i++)
        assert_true(is_ok(ask(drive, "RELEASE h%u u%u", i, i)));
    assert_true(is_ok(ask(drive, "HOLD e v SEAT A/1/40")));
    drive_close(drive);
}

/* Holds over several shards that cannot end: refused beyond the bound, all answered in the end. */
static void
test_operations_max_over_shards(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.operations_max = 8;
    struct drive *drive = drive_open(4, &settings);
    no_disk(drive, 300, 0);
    drive_close(drive);
}

static void
test_batch_bytes_max(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= 4; shards += 3) {
        struct shard_settings settings = drive_settings();
        settings.batch_bytes_max = 16384;
        settings.operations_max = 2000;
        settings.holds_max = 2000;
        settings.users_max = 2000;
        struct drive *drive = drive_open(shards, &settings);
        /* a record is more than 100 bytes: the batch that fills and the one before it */
        no_disk(drive, 1500, 1500 - 2 * shards * (16384 / 100));
        drive_close(drive);
    }
}

/* Mailboxes that take one message: everything is slower, and nothing else changes. */
static void
test_full_mailboxes(void **state)
{
    (void)state;
    struct drive *drive = drive_open(4, NULL);
    uint32_t tags[400];
    uint32_t ok = 0;
    uint32_t sold_out = 0;
    uint32_t busy = 0;
    drive_checks(drive, false);
    (void)ask(drive, "CREATE e SECTION A 10 100 POOL p 50");
    drive_mailbox(drive, 1);
    for (uint32_t i = 0; i < 400; i++)
        tags[i] = submit(drive, i, "HOLD e u%u POOL p 1 SEAT A/%u/1 SEAT A/%u/2", i, 1 + i % 10,
                         1 + (i + 3) % 10);
    drive_run(drive);
    for (uint32_t i = 0; i < 400; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        ok += is_ok(got);
        sold_out += memcmp(got, "HELD", 4) == 0;
        busy += strcmp(got, "BUSY") == 0;
    }
    assert_int_equal(ok + sold_out + busy, 400);
    assert_in_range(ok, 1, 10);
    assert_int_equal(drive_figures(drive).operations, 0);
    drive_check(drive);
    char wanted[100];
    (void)snprintf(wanted, sizeof wanted, "OK e open 1050=%u+%u+0 A 1000=%u+%u+0 p 50=%u+%u+0",
                   1050 - 3 * ok, 3 * ok, 1000 - 2 * ok, 2 * ok, 50 - ok, ok);
    expect(drive, wanted, "GET e");
    drive_mailbox(drive, UINT32_MAX);
    expect(drive, wanted, "GET e");
    for (uint32_t i = 0; i < 20; i++)
        assert_true(is_ok(ask(drive, "HOLD e late%u SEAT A/5/%u", i, 50 + i)));
    drive_close(drive);
}

/* A mailbox that takes nothing for a while. */
static void
test_closed_mailboxes(void **state)
{
    (void)state;
    struct drive *drive = drive_open(3, NULL);
    static uint32_t tags[3000];
    uint32_t ok = 0;
    uint32_t busy = 0;
    drive_checks(drive, false);
    (void)ask(drive, "CREATE e SECTION A 10 100 POOL p 5000");
    drive_mailbox(drive, 0);
    for (uint32_t i = 0; i < 3000; i++)
        tags[i] = submit(drive, i, "HOLD e u%u SEAT A/%u/%u", i, 1 + i % 10, 1 + i / 10 % 100);
    drive_mailbox(drive, 3);
    drive_run(drive);
    for (uint32_t i = 0; i < 3000; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        ok += is_ok(got);
        busy += strcmp(got, "BUSY") == 0;
        if (!is_ok(got) && strcmp(got, "BUSY") != 0)
            assert_memory_equal(got, "HELD", 4);
    }
    assert_true(busy > 0);
    assert_true(ok > 0);
    drive_check(drive);
    char wanted[100];
    (void)snprintf(wanted, sizeof wanted, "OK e open 6000=%u+%u+0 A 1000=%u+%u+0 p 5000=5000+0+0",
                   6000 - ok, ok, 1000 - ok, ok);
    expect(drive, wanted, "GET e");
    drive_close(drive);
}

static void
test_expire_batch(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.expire_batch = 3;
    struct drive *drive = drive_open(1, &settings);
    (void)ask(drive, "CREATE e SECTION A 1 20 POOL p 100");
    for (uint32_t i = 0; i < 20; i++)
        assert_true(is_ok(ask(drive, "h%u = HOLD e u%u SEAT A/1/%u POOL p 2 TTL 5", i, i, i + 1)));
    drive_pass(drive, 5000);
    for (uint32_t round = 0;; round++) {
        uint64_t before = drive_figures(drive).expired;
        bool more = shard_expire(drive_shard(drive, 0));
        uint64_t swept = drive_figures(drive).expired - before;
        assert_true(swept <= 3);
        drive_run(drive);
        drive_check(drive);
        assert_true(round < 100);
        if (!more)
            break;
        if (round == 1) { /* what is not yet swept is expired all the same */
            for (uint32_t i = 0; i < 20; i++)
                expect(drive, "EXPIRED", "CONFIRM h%u u%u", i, i);
        }
    }
    assert_int_equal(drive_figures(drive).expired, 20);
    assert_true(shard_next_expiry_ms(drive_shard(drive, 0)) > drive_now(drive));
    expect(drive, "OK e open 120=120+0+0 A 20=20+0+0 p 100=100+0+0", "GET e");
    drive_close(drive);
}

/* A batch may hold the ends of many holds: their units go back some at a time, so that no step of the loop
 * is long. */
static void
test_returned_some_at_a_time(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.expire_batch = 3;
    struct drive *drive = drive_open(1, &settings);
    struct shard *shard = drive_shard(drive, 0);
    (void)ask(drive, "CREATE e SECTION A 1 20");
    for (uint32_t i = 0; i < 12; i++)
        assert_true(is_ok(ask(drive, "HOLD e u%u SEAT A/1/%u TTL 5", i, i + 1)));
    drive_disk(drive, false);
    drive_pass(drive, 5000);
    for (uint32_t i = 0; i < 10; i++)
        (void)shard_expire(shard);
    assert_int_equal(drive_figures(drive).expired, 12);
    assert_false(shard_backlogged(shard));
    (void)shard_batch(shard);
    shard_durable(shard, shard_sequence(shard)); /* 3 of them */
    for (uint32_t left = 9; left > 0; left -= 3) {
        assert_true(shard_backlogged(shard));
        assert_int_equal(shard_expire(shard), left > 3);
    }
    assert_false(shard_backlogged(shard));
    expect(drive, "OK e open 20=20+0+0 A 20=20+0+0", "GET e");
    drive_close(drive);
}

/* Expired holds wait for the disk beside operations: however many, there is a place for whoever is under
 * way and decides only then, and for new ones. */
static void
test_sweep_leaves_places(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.expire_batch = 1;
    settings.operations_max = 64;
    struct drive *drive = drive_open(2, &settings);
    uint32_t tags[6];
    (void)ask(drive, "CREATE e SECTION A 40 40 SECTION B 40 40");
    for (uint32_t i = 0; i < 200; i++)
        assert_true(is_ok(ask(drive, "HOLD e u%u SEAT A/%u/%u TTL 5", i, i % 40 + 1, i / 40 + 1)));
    drive_disk(drive, false);
    drive_pass(drive, 5000);
    for (uint32_t i = 0; i < 6; i++) /* seats of both shards: some must be asked for */
        tags[i] = submit(drive, i % 2, "HOLD e v%u SEAT A/%u/20 SEAT B/%u/20", i, i + 1, i + 1);
    for (uint32_t i = 0; i < 400; i++)
        (void)shard_expire(drive_shard(drive, i % 2));
    assert_true(drive_figures(drive).expired < 200);
    drive_run(drive);
    uint32_t late = submit(drive, 0, "HOLD e w SEAT B/1/1");
    drive_run(drive);
    assert_null(answer(drive, late));
    drive_disk(drive, true);
    drive_sweep(drive);
    for (uint32_t i = 0; i < 6; i++)
        assert_true(is_ok(answer(drive, tags[i])));
    assert_true(is_ok(answer(drive, late)));
    assert_int_equal(drive_figures(drive).expired, 200);
    drive_check(drive);
    drive_close(drive);
}

/* The sweep needs room for records: without a disk it stops, and goes on afterwards. */
static void
test_sweep_without_a_disk(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.expire_batch = 4;
    settings.operations_max = 8;
    settings.batch_bytes_max = 16384;
    struct drive *drive = drive_open(1, &settings);
    drive_checks(drive, false);
    (void)ask(drive, "CREATE e POOL p 500");
    for (uint32_t i = 0; i < 500; i++)
        assert_true(is_ok(ask(drive, "HOLD e u%u POOL p 1 TTL 5", i)));
    drive_disk(drive, false);
    drive_pass(drive, 5000);
    for (uint32_t i = 0; i < 1000; i++)
        (void)shard_expire(drive_shard(drive, 0));
    assert_true(drive_figures(drive).expired < 500);
    assert_false(
        shard_expire(drive_shard(drive, 0))); /* nothing to do before there is room: nobody spins */
    uint32_t look =
        submit(drive, 0, "HOLDS e u7"); /* one of those not yet swept, or whose end is not yet safe */
    drive_disk(drive, true);
    drive_sweep(drive);
    assert_int_equal(drive_figures(drive).expired, 500);
    assert_string_equal(answer(drive, look), "OK u7 used=0");
    expect(drive, "OK e open 500=500+0+0 p 500=500+0+0", "GET e");
    drive_check(drive);
    drive_close(drive);
}

static void
test_ended_ms(struct drive *drive)
{
    (void)ask(drive, "CREATE e POOL p 5");
    expect(drive, "OK new held p*1 in=300000", "a = HOLD e u POOL p 1");
    expect(drive, "OK new held p*1 in=300000", "s = HOLD e u POOL p 1");
    expect(drive, "OK confirmed p*1 in=300000", "CONFIRM s u");
    expect(drive, "OK released p*1 in=300000", "RELEASE a u");
    drive_pass(drive, 3600 * 1000 - 1); /* of drive_settings(): an hour, and not less */
    drive_sweep(drive);
    expect(drive, "OK released p*1 in=-3299999", "RELEASE a u");
    drive_pass(drive, 1000);
    drive_sweep(drive);
    expect(drive, "NOHOLD", "RELEASE a u");
    expect(drive, "NOHOLD", "GETHOLD a");
    expect(drive, "OK confirmed p*1 in=-3300999", "GETHOLD s"); /* for ever */
    assert_int_equal(drive_figures(drive).holds_ended, 0);
    assert_int_equal(drive_figures(drive).users, 1);
}

/* More holds than one HOLDS answer carries: refused, and one's holds still go one by one. */
static void
test_holds_of_one_user(void **state)
{
    (void)state;
    struct shard_settings settings = drive_settings();
    settings.holds_max = 5000;
    settings.batch_bytes_max = 1 << 20;
    struct drive *drive = drive_open(2, &settings);
    drive_checks(drive, false);
    (void)ask(drive, "CREATE e POOL p 5000");
    for (uint32_t i = 0; i < 3000; i++)
        assert_true(is_ok(ask(drive, "last = HOLD e u POOL p 1")));
    expect(drive, "BUSY", "HOLDS e u");
    expect(drive, "OK confirmed p*1 in=300000", "CONFIRM last u");
    drive_pass(drive, 300000);
    expect(drive, "OK u used=1 [last confirmed p*1 in=0]", "HOLDS e u");
    drive_close(drive);
}

/* Letting in and sending away need room for records, too. */
static void
test_waiting_room_without_a_disk(void **state)
{
    (void)state;
    enum { PEOPLE = 500 };
    struct shard_settings settings = drive_settings();
    settings.tokens_max = 2 * PEOPLE;
    settings.users_max = 2 * PEOPLE;
    settings.batch_bytes_max = 16384;
    struct drive *drive = drive_open(1, &settings);
    struct shard *shard = drive_shard(drive, 0);
    drive_checks(drive, false);
    (void)ask(drive, "CREATE q POOL p 5000 QUEUE 1 100 100");
    for (uint32_t i = 0; i < PEOPLE; i++)
        assert_true(is_ok(ask(drive, "JOIN q v%u", i)));
    (void)submit(drive, 0, "SET q queue.active_max %u", PEOPLE);
    (void)drive_write(drive);
    for (uint32_t i = 0; i < 100; i++)
        (void)shard_expire(shard);
    assert_in_range(drive_figures(drive).tokens_active, 2, PEOPLE - 1);
    assert_false(shard_expire(shard)); /* nothing to do before there is room */
    for (uint32_t i = 0; i < PEOPLE; i++) {
        drive_sweep(drive);
        drive_pass(drive, 1);
    }
    assert_int_equal(drive_figures(drive).tokens_active, PEOPLE);
    drive_disk(drive, false);
    drive_pass(drive, 101000); /* all of them are too late */
    for (uint32_t i = 0; i < 100; i++)
        (void)shard_expire(shard);
    assert_in_range(drive_figures(drive).tokens_active, 1, PEOPLE - 1);
    assert_false(shard_expire(shard));
    drive_disk(drive, true);
    drive_sweep(drive);
    assert_int_equal(drive_figures(drive).tokens_active, 0);
    drive_check(drive);
    drive_close(drive);
}

/* A hold has expired on disk, but its units have not gone back, since more tokens than are told at once
 * stand before it. Its user asks for one of them: that waits for the return. */
static void
test_a_return_behind_tokens(void **state)
{
    (void)state;
    enum { PEOPLE = 1500 };
    struct shard_settings settings = drive_settings();
    settings.operations_max = 2 * PEOPLE;
    settings.tokens_max = 2 * PEOPLE;
    settings.users_max = 2 * PEOPLE;
    struct drive *drive = drive_open(1, &settings);
    drive_checks(drive, false);
    (void)ask(drive, "CREATE q POOL p 5000 QUEUE 1 100 100");
    (void)ask(drive, "CREATE e SECTION A 1 10");
    for (uint32_t i = 0; i < PEOPLE; i++)
        assert_true(is_ok(ask(drive, "JOIN q v%u", i)));
    assert_true(is_ok(ask(drive, "HOLD e u SEAT A/1/1 TTL 1")));
    (void)submit(drive, 0, "SET q queue.active_max 2000");
    (void)drive_write(drive);
    for (uint32_t i = 0; i < 10; i++)
        (void)shard_expire(drive_shard(drive, 0)); /* lets in */
    drive_pass(drive, 2000);
    (void)shard_expire(drive_shard(drive, 0)); /* ends the hold */
    (void)drive_write(drive);
    uint32_t again = submit(drive, 0, "HOLD e u SEAT A/1/1");
    assert_null(answer(drive, again));
    while (shard_backlogged(drive_shard(drive, 0)))
        (void)shard_expire(drive_shard(drive, 0));
    drive_sweep(drive);
    assert_true(is_ok(answer(drive, again)));
    drive_check(drive);
    drive_close(drive);
}

/* Two holds, each of one end of a row and of any two seats beside each other, hinder each other: one of
 * them gets the row, whatever the order in which messages come. */
static void
test_best_in_step(void **state)
{
    (void)state;
    struct drive *drive = drive_open(2, NULL);
    for (uint32_t i = 0; i < 16; i++) {
        (void)ask(drive, "CREATE e%u SECTION A 1 3", i);
        uint32_t left = submit(drive, i % 2, "HOLD e%u u%u SEAT A/1/1 BEST A 2", i, 2 * i);
        uint32_t right = submit(drive, i % 2, "HOLD e%u u%u SEAT A/1/3 BEST A 2", i, 2 * i + 1);
        drive_run(drive);
        assert_int_equal(is_ok(answer(drive, left)) + is_ok(answer(drive, right)), 1);
        char event[40];
        (void)snprintf(event, sizeof event, "OK e%u open 3=0+3+0 A 3=0+3+0", i);
        expect(drive, event, "GET e%u", i);
    }
    drive_close(drive);
}

/* An event's record is made when all shards have room for the event; what others record meanwhile leaves it
 * its own. */
static void
test_room_for_a_long_event(void **state)
{
    (void)state;
    for (uint32_t owner = 0; owner < 8; owner++) {
        struct shard_settings settings = drive_settings();
        settings.batch_bytes_max = 16384;
        struct drive *drive = drive_open(2, &settings);
        char text[8000];
        int size = snprintf(text, sizeof text, "CREATE e%u", owner);
        for (uint32_t i = 0; i < 63; i++)
            size += snprintf(text + size, sizeof text - (size_t)size, " POOL %u 1 SECTION %u 1 1", i, i);
        for (uint32_t i = 1; i < 400; i++)
            size += snprintf(text + size, sizeof text - (size_t)size, " ROW A r%u %u", i, 1 + i % 2);
        drive_checks(drive, false);
        (void)ask(drive, "CREATE stock POOL p 100000");
        drive_disk(drive, false);
        uint32_t made = submit(drive, owner % 2, "%s", text);
        for (uint32_t i = 0; i < 400; i++)
            (void)submit(drive, owner % 2, "HOLD stock u%u POOL p 1", i);
        drive_disk(drive, true);
        drive_run(drive);
        assert_non_null(answer(drive, made));
        drive_check(drive);
        drive_close(drive);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holds_max),
        cmocka_unit_test(test_ended_give_way_oldest_first),
        cmocka_unit_test(test_users_max),
        DRIVE_PLAN(test_events_max, 1),
        DRIVE_PLAN(test_events_max, 3),
        cmocka_unit_test(test_seats_max),
        cmocka_unit_test(test_event_bytes_max),
        cmocka_unit_test(test_operations_max),
        cmocka_unit_test(test_operations_max_over_shards),
        cmocka_unit_test(test_batch_bytes_max),
        cmocka_unit_test(test_full_mailboxes),
        cmocka_unit_test(test_closed_mailboxes),
        cmocka_unit_test(test_waiting_room_without_a_disk),
        cmocka_unit_test(test_a_return_behind_tokens),
        cmocka_unit_test(test_best_in_step),
        cmocka_unit_test(test_room_for_a_long_event),
        cmocka_unit_test(test_expire_batch),
        cmocka_unit_test(test_returned_some_at_a_time),
        cmocka_unit_test(test_sweep_leaves_places),
        cmocka_unit_test(test_sweep_without_a_disk),
        DRIVE_PLAN(test_ended_ms, 1),
        DRIVE_PLAN(test_ended_ms, 3),
        cmocka_unit_test(test_holds_of_one_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
