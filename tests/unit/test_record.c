/*
 * test_record.c - the journal of real shards: every record decodes to what was done, every cut or damaged
 * one is refused or harmless, and any number of shards rebuilt from it gives the same answers.
 */
#include "core/record.h"
#include "core/route.h"
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A session with every type of record in it. */
static void
session(struct drive *drive)
{
    (void)ask(drive, "CREATE e SECTION A 2 10 ROW BOX L1 3 ROW BOX L2 2 POOL ga 10 POOL vip 3");
    (void)ask(drive, "CREATE deal POOL p 1000 HOLD 5 LIMIT 9");
    expect(drive, "OK new held A/1/1:1 A/1/2:1 ga*2 in=300000",
           "a = HOLD e u1 SEAT A/1/1 SEAT A/1/2 POOL ga 2 KEY ka REQUEST request-a");
    drive_pass(drive, 7);
    expect(drive, "OK confirmed A/1/1:2 A/1/2:2 ga*2 in=299993",
           "CONFIRM a u1 REF paid-7 KEY kb REQUEST request-b");
    expect(drive, "OK new held BOX/L2/1:1 in=300000", "b = HOLD e u2 SEAT BOX/L2/1");
    expect(drive, "OK new held BOX/L2/1:3 BOX/L2/2:1 in=300000",
           "c = HOLD e u2 SEAT BOX/L2/1 SEAT BOX/L2/2 REPLACE b");
    expect(drive, "OK held BOX/L2/1:3 BOX/L2/2:1 in=300000",
           "HOLD e u2 SEAT BOX/L2/1 SEAT BOX/L2/2 KEY own");
    expect(drive, "OK held BOX/L2/1:3 BOX/L2/2:1 in=400000", "EXTEND c u2 400 KEY ext");
    expect(drive, "OK new held A/2/5:1 A/1/5:1 in=1000", "d = HOLD e u3 BEST A 1 SEAT A/2/5 TTL 1");
}

static void
session_more(struct drive *drive)
{
    expect(drive, "OK new held p*7 in=5000", "x = HOLD deal u5 POOL p 7");
    expect(drive, "OK new held p*3 in=5000", "y = HOLD deal u6 POOL p 3");
    expect(drive, "OK new held A/2/1:1 in=5000", "l = HOLD e u4 SEAT A/2/1 TTL 5");
    drive_pass(drive, 5003); /* to the end of the tick */
    drive_sweep(drive);
    expect(drive, "OK confirmed A/2/1:3 in=-3", "CONFIRM l u4 LATE KEY late");
    expect(drive, "OK new held p*2 in=5000", "z = HOLD deal u6 POOL p 2");
    expect(drive, "OK confirmed p*2 in=5000", "CONFIRM z u6");
    expect(drive, "OK new held A/1/9:1 in=300000", "r = HOLD e u7 SEAT A/1/9");
    expect(drive, "OK released A/1/9:1 in=300000", "RELEASE r u7 REQUEST request-r");
    expect(drive, "OK new held A/1/10:1 in=300000", "k = HOLD e u7 SEAT A/1/10");
    expect(drive, "OK confirmed A/1/10:2 in=300000", "CONFIRM k u7");
    expect(drive, "OK cancelled A/1/10:2 in=300000", "CANCEL k KEY can BY operator");
    assert_memory_equal(ask(drive, "SET e status paused hold_seconds 60 units_per_user_max 5 POOL ga 12"),
                        "OK", 2);
    assert_memory_equal(ask(drive, "SET deal status closed"), "OK", 2);
}

static void
whole_session(struct drive *drive)
{
    session(drive);
    session_more(drive);
}

static bool
text_is(struct bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

static struct record_seat
seat_at(const struct record *record, uint32_t i)
{
    struct record_seat seat;
    memcpy(&seat, record->seats + i * sizeof seat, sizeof seat);
    return seat;
}

/* What the session is known to have written. */
static void
check_known(struct drive *drive, const struct record *record)
{
    struct uuid a = drive_id(drive, "a");
    struct uuid b = drive_id(drive, "b");
    struct uuid c = drive_id(drive, "c");
    uint8_t type = record->header->type;
    if (type == RECORD_HOLD_PLACED && uuid_equal(&record->hold.id, &a)) {
        struct record_pool pool;
        memcpy(&pool, record->pools, sizeof pool);
        assert_int_equal(record->hold.seat_count, 2);
        assert_int_equal(record->hold.pool_count, 1);
        assert_int_equal(seat_at(record, 0).ref, SEAT_REF(0, 0, 1));
        assert_int_equal(seat_at(record, 1).ref, SEAT_REF(0, 0, 2));
        assert_int_equal(seat_at(record, 1).version, 1);
        assert_int_equal(pool.pool, 0);
        assert_int_equal(pool.quantity, 2);
        assert_true(text_is(record->event, "e"));
        assert_true(text_is(record->user, "u1"));
        assert_true(text_is(record->request_id, "request-a"));
        assert_true(record->hold.deadline_ms == record->hold.start_ms + 300000);
        assert_true(record->header->time_ms == record->hold.start_ms);
        assert_non_null(record->key);
    }
    if (type == RECORD_HOLD_CONFIRMED && uuid_equal(&record->hold.id, &a)) {
        assert_true(text_is(record->payment_ref, "paid-7"));
        assert_true(text_is(record->request_id, "request-b"));
        assert_non_null(record->key);
    }
    if (type == RECORD_HOLD_PLACED && uuid_equal(&record->hold.id, &c)) {
        assert_true((record->header->flags & RECORD_REPLACES) != 0);
        assert_true(uuid_equal(&record->hold.replaces, &b));
        assert_int_equal(seat_at(record, 0).version, 3);
        assert_null(record->key);
    }
    if (type == RECORD_HOLD_RELEASED)
        assert_true(text_is(record->request_id, "request-r"));
    if (type == RECORD_EVENT_CHANGED && record->change->pool_count == 2) {
        uint32_t capacities[2];
        memcpy(capacities, record->capacities, sizeof capacities);
        assert_int_equal(record->change->status, EVENT_PAUSED);
        assert_int_equal(record->change->hold_seconds, 60);
        assert_int_equal(record->change->units_per_user_max, 5);
        assert_int_equal(capacities[0], 12);
        assert_int_equal(capacities[1], 3);
    }
}

static void
test_every_record_decodes(struct drive *drive)
{
    uint32_t seen[RECORD_KEY_KEPT + 1] = {0};
    uint64_t records = 0;
    whole_session(drive);
    for (uint32_t i = 0; i < drive_shard_count(drive); i++) {
        struct bytes journal = drive_journal(drive, i);
        uint64_t sequence = 0;
        uint64_t time_ms = 0;
        for (size_t at = 0; at < journal.size;) {
            struct record record;
            assert_true(record_decode((const uint8_t *)journal.data + at, journal.size - at, &record));
            assert_int_equal(record.header->size % 8, 0);
            assert_int_equal(record.header->sequence, sequence + 1);
            assert_true(record.header->time_ms >= time_ms);
            assert_true(record.header->time_ms <= drive_now(drive));
            sequence = record.header->sequence;
            time_ms = record.header->time_ms;
            assert_in_range(record.header->type, 1, RECORD_KEY_KEPT);
            seen[record.header->type]++;
            check_known(drive, &record);
            at += record.header->size;
        }
        records += sequence;
    }
    assert_int_equal(records, drive_figures(drive).records);
    for (uint32_t type = 1; type <= RECORD_KEY_KEPT; type++)
        if (seen[type] == 0)
            fail_msg("no record of type %u", type);
    assert_int_equal(seen[RECORD_EVENT_CREATED], 2);
    assert_int_equal(seen[RECORD_EVENT_CHANGED], 2);
    assert_int_equal(seen[RECORD_HOLD_EXPIRED], 4); /* d, x, y, l */
    assert_int_equal(seen[RECORD_HOLD_CONFIRMED], 4);
    assert_int_equal(seen[RECORD_HOLD_RELEASED], 1);
    assert_int_equal(seen[RECORD_HOLD_CANCELLED], 1);
    assert_int_equal(seen[RECORD_HOLD_EXTENDED], 1);
}

/* In memory of exactly that size, so that the address sanitizer sees a byte read too far. */
static bool
decodes(const uint8_t *data, size_t size)
{
    struct record record;
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    assert_non_null(exact);
    memcpy(exact, data, size);
    bool sound = record_decode(exact, size, &record);
    if (sound)
        assert_true(record.header->size <= size);
    free(exact);
    return sound;
}

static void
test_cut_and_damaged_records(struct drive *drive)
{
    uint64_t random = 3;
    whole_session(drive);
    for (uint32_t i = 0; i < drive_shard_count(drive); i++) {
        struct bytes journal = drive_journal(drive, i);
        for (size_t at = 0; at < journal.size;) {
            const uint8_t *data = (const uint8_t *)journal.data + at;
            uint32_t size;
            memcpy(&size, data, sizeof size);
            for (uint32_t cut = 0; cut < size; cut++)
                assert_false(decodes(data, cut));
            assert_true(decodes(data, size));

            static const uint32_t sizes[] = {0, 1, 8, 16, 23, UINT32_MAX, UINT32_MAX - 7, 1u << 31};
            uint8_t *copy = malloc(size);
            assert_non_null(copy);
            for (uint32_t s = 0; s < 8; s++) {
                memcpy(copy, data, size);
                memcpy(copy, &sizes[s], sizeof sizes[s]);
                assert_false(decodes(copy, size));
            }
            for (uint32_t shorter = 8; shorter < size; shorter += 8) { /* says it is shorter than it is */
                memcpy(copy, data, size);
                memcpy(copy, &shorter, sizeof shorter);
                assert_false(decodes(copy, size));
            }
            for (uint32_t type = 0; type < 256; type++) { /* of an unknown type, or taken for another one */
                memcpy(copy, data, size);
                copy[4] = (uint8_t)type;
                bool sound = decodes(copy, size);
                if (type == 0 || type > RECORD_KEY_KEPT)
                    assert_false(sound);
            }
            for (uint32_t damage = 0; damage < 300; damage++) { /* no damage makes it read too far */
                memcpy(copy, data, size);
                copy[drive_random(&random) % size] = (uint8_t)drive_random(&random);
                (void)decodes(copy, size);
            }
            free(copy);
            at += size;
        }
    }
}

#define ANSWERS_SIZE 8192

/* Everything a client could ask about the session. */
static void
all_answers(struct drive *drive, char *ret_text)
{
    static const char *const names[] = {"a", "b", "c", "d", "l", "r", "k", "x", "y", "z"};
    size_t size = (size_t)snprintf(ret_text, ANSWERS_SIZE, "%s", drive_picture(drive));
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        size += (size_t)snprintf(ret_text + size, ANSWERS_SIZE - size, "%s: %s\n", names[i],
                                 ask(drive, "GETHOLD %s", names[i]));
    for (uint32_t u = 1; u < 9; u++)
        for (uint32_t e = 0; e < 2; e++)
            size += (size_t)snprintf(ret_text + size, ANSWERS_SIZE - size, "%s\n",
                                     ask(drive, "HOLDS %s u%u", e == 0 ? "e" : "deal", u));
    assert_true(size < ANSWERS_SIZE);
}

/* Events may be listed in another order after a restart: lines are sorted. */
static int
compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
sort_lines(char *text)
{
    char copy[ANSWERS_SIZE];
    char *lines[200];
    uint32_t count = 0;
    memcpy(copy, text, strlen(text) + 1);
    for (char *line = strtok(copy, "\n"); line != NULL; line = strtok(NULL, "\n"))
        lines[count++] = line;
    qsort(lines, count, sizeof lines[0], compare_lines);
    for (uint32_t i = 0; i < count; i++)
        text += sprintf(text, "%s\n", lines[i]);
}

static void
test_replay_into_any_number_of_shards(struct drive *drive)
{
    char before[ANSWERS_SIZE];
    char after[ANSWERS_SIZE];
    whole_session(drive);
    for (uint32_t round = 0; round < 7; round++) {
        all_answers(drive, before);
        sort_lines(before);
        drive_restart(drive, 1 + (drive_shard_count(drive) + round) % 5);
        all_answers(drive, after);
        sort_lines(after);
        assert_string_equal(after, before);
        /* and life goes on, also what was replayed: versions only grow */
        if (round == 0)
            assert_memory_equal(ask(drive, "SET e status open"), "OK", 2);
        if (round == 1)
            expect(drive, "OK new held A/1/10:4 in=60000", "r = HOLD e u7 SEAT A/1/10"); /* 3: cancelled */
        if (round == 2)
            expect(drive, "OK confirmed A/1/10:5 in=60000", "CONFIRM r u7");
        if (round == 3)
            expect(drive, "OK new held A/2/5:3 in=60000", "d = HOLD e u8 SEAT A/2/5");
        if (round == 4) {
            drive_pass(drive, 400000);
            drive_sweep(drive);
        }
    }
}

/* Holds past their deadline expire after the start, as if it had never stopped. */
static void
test_deadlines_go_on_over_a_restart(struct drive *drive)
{
    session(drive);
    drive_pass(drive, 999);
    drive_restart(drive, 2);
    drive_sweep(drive);
    expect(drive, "OK held A/2/5:1 A/1/5:1 in=1", "GETHOLD d");
    drive_pass(drive, 1);
    expect(drive, "EXPIRED", "CONFIRM d u3");
    drive_pass(drive, 10);
    drive_restart(drive, 4);
    expect(drive, "OK expired A/2/5:1 A/1/5:1 in=-10", "GETHOLD d");
    drive_sweep(drive);
    expect(drive, "OK new held A/2/5:3 in=300000", "HOLD e u9 SEAT A/2/5");
}

/* What was not on disk is gone as if it had never been, and what was stands (R2, R3). */
static void
test_a_crash_keeps_what_was_answered(struct drive *drive)
{
    session(drive);
    drive_disk(drive, false);
    uint32_t hold = submit(drive, 0, "HOLD e u9 SEAT A/2/1");
    uint32_t release = submit(drive, 1, "RELEASE c u2");
    drive_run(drive);
    assert_null(answer(drive, hold));
    assert_null(answer(drive, release));
    drive_restart(drive, 3);
    drive_disk(drive, true);
    expect(drive, "OK held BOX/L2/1:3 BOX/L2/2:1 in=400000", "GETHOLD c");
    expect(drive, "OK new held A/2/1:1 in=300000", "HOLD e u8 SEAT A/2/1");
    expect(drive, "HELD unit=BOX/L2/2 remaining=3 next=400000", "HOLD e u8 SEAT BOX/L2/2");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        DRIVE_PLAN(test_every_record_decodes, 1),
        DRIVE_PLAN(test_every_record_decodes, 3),
        DRIVE_PLAN(test_cut_and_damaged_records, 2),
        DRIVE_PLAN(test_replay_into_any_number_of_shards, 1),
        DRIVE_PLAN(test_replay_into_any_number_of_shards, 3),
        DRIVE_PLAN(test_deadlines_go_on_over_a_restart, 1),
        DRIVE_PLAN(test_deadlines_go_on_over_a_restart, 3),
        DRIVE_PLAN(test_a_crash_keeps_what_was_answered, 1),
        DRIVE_PLAN(test_a_crash_keeps_what_was_answered, 4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
