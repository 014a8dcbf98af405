/*
 * test_load.c - the parts of `holdfast load` that a verdict stands on: the count of what was promised
 * twice, the percentiles, the reading of seats and holds. That the whole finds a lie of a server is
 * tests/integration's.
 */
#include "load/raw.h"
#include "load/room.h"
#include "load/sale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define LIFE_SECONDS 10
#define LIFE_MS      (LIFE_SECONDS * 1000)
#define START_MS     UINT64_C(1000000)

static void
seat_grant(struct ledger *ledger, uint32_t seat, uint32_t version, uint64_t start_ms,
           enum grant_state state)
{
    struct granted_seat granted = {seat, version};
    struct grant grant = {
        .deadline_ms = start_ms + LIFE_MS, .units = 1, .seat_count = 1, .state = (uint8_t)state};
    (void)ledger_add(ledger, grant, &granted);
}

static void
units_grant(struct ledger *ledger, uint16_t units, uint64_t start_ms, enum grant_state state)
{
    struct grant grant = {.deadline_ms = start_ms + LIFE_MS, .units = units, .state = (uint8_t)state};
    (void)ledger_add(ledger, grant, NULL);
}

static void
test_seat_granted_twice(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 0);
    seat_grant(&ledger, 5, 1, START_MS, GRANT_HELD);
    seat_grant(&ledger, 6, 1, START_MS, GRANT_HELD);
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 0);
    seat_grant(&ledger, 5, 2, START_MS + LIFE_MS - 100,
               GRANT_HELD); /* as far as shards' clocks are apart */
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 0);
    seat_grant(&ledger, 7, 1, START_MS, GRANT_HELD);
    seat_grant(&ledger, 7, 2, START_MS + LIFE_MS - 101, GRANT_HELD); /* a millisecond too early */
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 1);
    seat_grant(&ledger, 5, 1, START_MS, GRANT_HELD);
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 2);
    ledger_done(&ledger);
}

static void
test_seat_granted_again(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    seat_grant(&ledger, 5, 3, START_MS + LIFE_MS,
               GRANT_CONFIRMED); /* in the order in which threads are merged */
    seat_grant(&ledger, 5, 1, START_MS, GRANT_HELD);
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 0);
    seat_grant(&ledger, 5, 9, START_MS + 100 * LIFE_MS, GRANT_HELD); /* sold long ago */
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 1);
    ledger_done(&ledger);
}

static void
test_pool_above_its_stock(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    units_grant(&ledger, 4, START_MS, GRANT_HELD);
    units_grant(&ledger, 6, START_MS + 1, GRANT_CONFIRMED);
    assert_int_equal(ledger_oversold(&ledger, 10, LIFE_SECONDS), 0);
    units_grant(&ledger, 4, START_MS + LIFE_MS, GRANT_HELD); /* the first four, again */
    assert_int_equal(ledger_oversold(&ledger, 10, LIFE_SECONDS), 0);
    units_grant(&ledger, 3, START_MS + LIFE_MS + 1, GRANT_HELD);
    assert_int_equal(ledger_oversold(&ledger, 10, LIFE_SECONDS), 3);
    ledger_done(&ledger);
}

static void
test_ledgers_merged(void **state)
{
    (void)state;
    struct ledger one = {0}, other = {0};
    seat_grant(&one, 1, 1, START_MS, GRANT_HELD);
    seat_grant(&other, 2, 1, START_MS, GRANT_HELD);
    seat_grant(&other, 1, 2, START_MS, GRANT_HELD);
    ledger_merge(&one, &other);
    assert_int_equal(one.grant_count, 3);
    assert_int_equal(one.seats[one.grants[1].seat_first].seat, 2);
    assert_int_equal(ledger_oversold(&one, 0, LIFE_SECONDS), 1);
    ledger_done(&one);
    ledger_done(&other);
}

static void
test_percentiles(void **state)
{
    (void)state;
    static struct histogram histogram;
    assert_int_equal(histogram_at(&histogram, 0.99), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(&histogram, i * 1000);
    static const double shares[] = {0.5, 0.99, 0.999};
    for (size_t i = 0; i < 3; i++) {
        double exact = shares[i] * 1e8;
        double got = (double)histogram_at(&histogram, shares[i]);
        assert_true(got >= exact && got <= exact * (1 + 1.0 / 64));
    }
    assert_int_equal(histogram_at(&histogram, 1), 100000000);
    histogram_add(&histogram, UINT64_MAX);
    assert_true(histogram_at(&histogram, 1) == UINT64_MAX);
}

static struct bytes
text(const char *chars)
{
    return (struct bytes){chars, (uint32_t)strlen(chars)};
}

static void
test_seats_and_holds_as_text(void **state)
{
    (void)state;
    struct load_options options = {.rows = 20, .row_seats = 30};
    char seat_name[SEAT_TEXT_SIZE_MAX];
    uint32_t seat = 99;
    for (uint32_t i = 0; i < 600; i++) {
        uint32_t size = sale_seat_text(&options, i, seat_name);
        assert_true(sale_seat_read(&options, (struct bytes){seat_name, size}, &seat));
        assert_int_equal(seat, i);
    }
    static const char *const bad[] = {
        "",       "A",      "A/1",   "A/1/",    "A//1",   "A/0/1",          "A/1/0",
        "A/21/1", "A/1/31", "B/1/1", "A/1/1/1", "A/1/1x", "A/99999999999/1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sale_seat_read(&options, text(bad[i]), &seat));
    struct uuid hold;
    char hold_name[UUID_TEXT_SIZE];
    assert_true(hold_text_read(text("0198c0de-0123-7456-89ab-cdef00112233"), &hold));
    hold_text_write(&hold, hold_name);
    assert_memory_equal(hold_name, "0198c0de-0123-7456-89ab-cdef00112233", UUID_TEXT_SIZE);
    assert_false(hold_text_read(text("0198c0de-0123-7456-89ab-cdef0011223"), &hold));
    assert_false(hold_text_read(text("0198c0de00123-7456-89ab-cdef00112233"), &hold));
    assert_false(hold_text_read(text("0198c0de-0123-7456-89ab-cdef0011223g"), &hold));
}

static void
test_raw_placeholders(void **state)
{
    (void)state;
    char error[160];
    char *words[] = {(char *)"HOLD", (char *)"u{#}x", (char *)"{3-3}/{7-9}", (char *)""};
    struct raw_command *command = raw_command_read(words, 4, false, error);
    assert_non_null(command);
    static struct request_text request;
    uint64_t random = 1;
    bool seen[3] = {false, false, false};
    for (uint64_t i = 0; i < 100; i++) {
        raw_write(command, 41, &random, &request);
        assert_int_equal(request.size, 39);
        assert_memory_equal(request.data, "*4\r\n$4\r\nHOLD\r\n$4\r\nu41x\r\n$3\r\n3/", 30);
        assert_in_range(request.data[30], '7', '9');
        seen[request.data[30] - '7'] = true;
        assert_memory_equal(request.data + 31, "\r\n$0\r\n\r\n", 8);
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    raw_command_free(command);
    char *wrong[] = {(char *)"{9-3}"};
    assert_null(raw_command_read(wrong, 1, false, error));
    wrong[0] = (char *)"{x}";
    assert_null(raw_command_read(wrong, 1, false, error));
}

static void
test_raw_over_http(void **state)
{
    (void)state;
    char error[160];
    char *words[] = {(char *)"POST", (char *)"/v1/{#}", (char *)"{\"user\":\"u{3-3}\",\"pools\":[{}]}"};
    struct raw_command *command = raw_command_read(words, 3, true, error);
    assert_non_null(command);
    static struct request_text request;
    uint64_t random = 1;
    raw_write(command, 7, &random, &request);
    static const char wanted[] = "POST /v1/7 HTTP/1.1\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 26\r\n\r\n{\"user\":\"u3\",\"pools\":[{}]}";
    assert_int_equal(request.size, sizeof wanted - 1);
    assert_memory_equal(request.data, wanted, sizeof wanted - 1);
    raw_command_free(command);
    assert_null(raw_command_read(words, 1, true, error));
}

static void
test_given_back(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    struct granted_seat seat = {5, 1};
    struct grant grant = {.deadline_ms = START_MS + LIFE_MS, .units = 1, .seat_count = 1};
    grant.state = GRANT_RELEASED;
    grant.ended_ms = START_MS + 2000;
    (void)ledger_add(&ledger, grant, &seat);
    seat_grant(&ledger, 5, 3, START_MS + 1901, GRANT_HELD);
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 0);
    seat_grant(&ledger, 6, 1, START_MS, GRANT_HELD);
    seat.seat = 6;
    grant.deadline_ms = START_MS + 1000 + LIFE_MS; /* granted before the first was given back */
    (void)ledger_add(&ledger, grant, &seat);
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 1);
    units_grant(&ledger, 11, START_MS, GRANT_CONFIRMED); /* beside seats: counted apart */
    assert_int_equal(ledger_oversold(&ledger, 10, LIFE_SECONDS), 2);
    ledger_done(&ledger);
}

/* A server that is overrun takes the time seldom: what it says of a start may be long past. */
static void
test_start_by_a_late_clock(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    struct granted_seat seat = {5, 1};
    struct grant grant = {
        .deadline_ms = START_MS + LIFE_MS, .units = 1, .seat_count = 1, .read_ms = START_MS + 10};
    grant.state = GRANT_RELEASED;
    grant.ended_ms = START_MS + 2000;
    (void)ledger_add(&ledger, grant, &seat);
    grant.state = GRANT_HELD;
    grant.deadline_ms =
        START_MS + 1500 + LIFE_MS;   /* so it began 500 ms before the other one was given back */
    grant.read_ms = START_MS + 2000; /* but who was told of it was told after that */
    (void)ledger_add(&ledger, grant, &seat);
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 0);
    ledger.grants[1].read_ms = START_MS + 1899; /* before that: both had it */
    assert_int_equal(ledger_oversold(&ledger, 0, LIFE_SECONDS), 1);
    ledger_done(&ledger);
}

static void
test_percentiles_of_few_and_merged(void **state)
{
    (void)state;
    static struct histogram one, other;
    histogram_add(&one, 5);
    assert_int_equal(histogram_at(&one, 0.5), 5);
    assert_int_equal(histogram_at(&one, 0.9999), 5);
    for (uint64_t i = 0; i < 9999; i++)
        histogram_add(&other, 3);
    histogram_merge(&one, &other);
    assert_int_equal(one.count, 10000);
    assert_int_equal(one.sum, 5 + 3 * 9999);
    assert_int_equal(histogram_at(&one, 0.9998), 3);
    assert_int_equal(histogram_at(&one, 1), 5);
    /* every value is at most its bucket's top, and a bucket is no wider than 1/128 of it */
    for (uint64_t value = 1; value < UINT64_C(1) << 39; value += value / 3 + 1) {
        static struct histogram alone;
        alone = (struct histogram){0};
        histogram_add(&alone, value);
        for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
            if (alone.bucket[bucket] == 0)
                continue;
            uint64_t top = histogram_bucket_top(bucket);
            assert_true(top >= value && top - value <= value / 128);
        }
    }
}

static void
test_rows_by_zipf(void **state)
{
    (void)state;
    struct row_weights *even = row_weights_make(4, 0), *steep = row_weights_make(4, 1);
    assert_non_null(even);
    assert_non_null(steep);
    uint32_t count[2][4] = {{0}};
    for (uint32_t i = 0; i < 2500; i++) {
        double share = (i + 0.5) / 2500;
        count[0][row_choose(even, share)]++;
        count[1][row_choose(steep, share)]++;
    }
    static const uint32_t wanted[2][4] = {{625, 625, 625, 625}, {1200, 600, 400, 300}};
    assert_memory_equal(count, wanted, sizeof wanted);
    assert_int_equal(row_choose(steep, 1), 3);
    free(even);
    free(steep);
}

static void
test_answers_against_questions(void **state)
{
    (void)state;
    struct load_options options = {.rows = 2, .row_seats = 10};
    struct told told = {.well = true, .seat_count = 2, .seats = {{4, 1}, {5, 1}}};
    assert_null(grant_check(&options, WANT_SEATS, 4, 2, &told));
    assert_null(grant_check(&options, WANT_BEST, 0, 2, &told));
    assert_non_null(grant_check(&options, WANT_SEATS, 3, 2, &told));
    assert_non_null(grant_check(&options, WANT_SEATS, 4, 3, &told));
    assert_non_null(grant_check(&options, WANT_POOL, 0, 2, &told));
    told.seats[1].seat = 4;
    assert_non_null(grant_check(&options, WANT_SEATS, 4, 2, &told));
    told.seats[0].seat = 9; /* the last of a row and the first of the next */
    told.seats[1].seat = 10;
    assert_non_null(grant_check(&options, WANT_BEST, 0, 2, &told));
}

/* ---- the waiting room ---- */

static void
test_active_at_once(void **state)
{
    (void)state;
    const struct stay stays[] = {{10, 20}, {20, 30}, {15, 25}, {30, 30}, {40, 35}};
    assert_int_equal(stays_most(stays, 0), 0);
    assert_int_equal(stays_most(stays, 2), 1); /* one ends when the other begins */
    assert_int_equal(stays_most(stays, 5), 2); /* what is never certain counts nothing */
}

#define PEOPLE 4

/* Two threads with two people each, all of whom were active one after the other. */
static void
people_make(struct person *people)
{
    for (uint32_t i = 0; i < PEOPLE; i++) {
        people[i] =
            (struct person){.joined_ns = 1, .active_ns = 100 + 10 * i, .active_end_ns = 110 + 10 * i};
        people[i].token.byte[0] = (uint8_t)(i + 1);
        people[i].active_end_ms = START_MS + 5000;
    }
}

static uint64_t
people_audited(const struct person *people, const struct ledger *ledger, struct audit *ret_audit)
{
    const struct load_options options = {.active_max = 1, .hold_seconds = LIFE_SECONDS};
    const struct person *each[] = {people, people + 2};
    const uint64_t counts[] = {2, 2};
    *ret_audit = (struct audit){0};
    room_audit(&options, each, counts, 2, ledger, ret_audit);
    return ret_audit->differences;
}

static void
test_people_of_a_room(void **state)
{
    (void)state;
    static struct audit audit;
    struct person people[PEOPLE];
    struct ledger ledger = {0};
    struct granted_seat seat = {1, 1};
    struct grant grant = {.buyer = 3, .units = 1, .seat_count = 1, .deadline_ms = START_MS + LIFE_MS};
    people_make(people);
    (void)ledger_add(&ledger, grant, &seat);
    assert_int_equal(people_audited(people, &ledger, &audit), 0);
    assert_int_equal(audit.active_most, 1);
    assert_int_equal(audit.admitted, 1);
    assert_int_equal(audit.places_checked, PEOPLE);

    people[1].active_end_ns++; /* more at once than may be */
    assert_int_equal(people_audited(people, &ledger, &audit), 1);
    people_make(people);
    people[2].token = people[0].token; /* one place, two people */
    assert_int_equal(people_audited(people, &ledger, &audit), 1);
    people_make(people);
    people[3].active_ns = 0; /* u3 is the second of thread 1: has a hold, was never let in */
    assert_int_equal(people_audited(people, &ledger, &audit), 1);
    people[3].barged = true; /* but was found active when he was looked for */
    assert_int_equal(people_audited(people, &ledger, &audit), 0);
    people_make(people);
    people[3].active_end_ms = START_MS - 101; /* held after the slot had ended */
    assert_int_equal(people_audited(people, &ledger, &audit), 1);
    ledger_done(&ledger);
}

static void
test_positions(void **state)
{
    (void)state;
    assert_null(position_check(0, 7));
    assert_null(position_check(7, 7));
    assert_null(position_check(7, 1));
    assert_non_null(position_check(7, 8));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seat_granted_twice),
        cmocka_unit_test(test_seat_granted_again),
        cmocka_unit_test(test_pool_above_its_stock),
        cmocka_unit_test(test_ledgers_merged),
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_seats_and_holds_as_text),
        cmocka_unit_test(test_raw_placeholders),
        cmocka_unit_test(test_raw_over_http),
        cmocka_unit_test(test_given_back),
        cmocka_unit_test(test_percentiles_of_few_and_merged),
        cmocka_unit_test(test_rows_by_zipf),
        cmocka_unit_test(test_answers_against_questions),
        cmocka_unit_test(test_active_at_once),
        cmocka_unit_test(test_people_of_a_room),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_start_by_a_late_clock),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
