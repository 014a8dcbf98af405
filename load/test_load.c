/*
 * test_load.c - the parts of `holdfast load` that a verdict stands on: the count of what was promised
 * twice, the percentiles, the reading of seats and holds. That the whole finds a lie of a server is
 * tests/integration's.
 */
#include "load/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

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
    struct raw_command *command = raw_command_read(words, 4, error);
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
    assert_null(raw_command_read(wrong, 1, error));
    wrong[0] = (char *)"{x}";
    assert_null(raw_command_read(wrong, 1, error));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seat_granted_twice),   cmocka_unit_test(test_seat_granted_again),
        cmocka_unit_test(test_pool_above_its_stock), cmocka_unit_test(test_ledgers_merged),
        cmocka_unit_test(test_percentiles),          cmocka_unit_test(test_seats_and_holds_as_text),
        cmocka_unit_test(test_raw_placeholders),
    };
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
