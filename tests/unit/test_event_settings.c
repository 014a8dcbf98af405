/*
 * test_event_settings.c - settings put together field by field: the bytes, the defaults, every bound.
 */
#include "core/event_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void *memory[2];
static const char *expected;

static struct bytes
text(const char *text)
{
    return (struct bytes){text, (uint32_t)strlen(text)};
}

static struct event_draft *
begin(uint32_t which)
{
    memset(memory[which], 0xa5, EVENT_DRAFT_SIZE); /* need not be zeroed */
    struct event_draft *draft = event_draft_begin(memory[which]);
    assert_null(event_draft_id(draft, text("e"), &expected));
    return draft;
}

static const struct event_settings *
end(struct event_draft *draft)
{
    const struct event_settings *settings = NULL;
    const char *field = event_draft_end(draft, &settings, &expected);
    if (field != NULL)
        fail_msg("%s: %s", field, expected);
    assert_non_null(settings);
    return settings;
}

static void
refused(const char *field, const char *wanted)
{
    assert_non_null(field);
    assert_string_equal(field, wanted);
    assert_non_null(expected);
    assert_true(strlen(expected) > 0);
    assert_true(strlen(expected) < 96);
}

static void
test_defaults(void **state)
{
    (void)state;
    struct event_draft *draft = begin(0);
    assert_null(event_draft_pool(draft, text("ga"), 5, &expected));
    const struct event_settings *settings = end(draft);
    assert_int_equal(settings->hold_seconds, 300);
    assert_int_equal(settings->hold_seconds_max, 900);
    assert_int_equal(settings->units_per_user_max, 0);
    assert_int_equal(settings->opens_at_ms, 0);
    assert_int_equal(settings->status, EVENT_OPEN);
    assert_int_equal(settings->section_count, 0);
    assert_int_equal(settings->pool_count, 1);
    assert_int_equal(settings->size, sizeof *settings + sizeof(struct pool_settings));
    assert_int_equal(event_settings_pools(settings)[0].capacity, 5);
    assert_int_equal(event_settings_find_pool(settings, text("ga")), 0);
    assert_int_equal(event_settings_find_pool(settings, text("g")), -1);
    assert_int_equal(event_settings_find_section(settings, text("ga")), -1);

    draft = begin(0);
    assert_null(event_draft_pool(draft, text("ga"), 5, &expected));
    assert_null(event_draft_hold_seconds(draft, SECONDS_MAX, &expected));
    settings = end(draft);
    assert_int_equal(settings->hold_seconds_max, SECONDS_MAX); /* 3 times, but never beyond the bound */

    draft = begin(0);
    assert_null(event_draft_pool(draft, text("ga"), 5, &expected));
    assert_null(event_draft_hold_seconds_max(draft, 600, &expected)); /* before hold_seconds: any order */
    assert_null(event_draft_hold_seconds(draft, 600, &expected));
    assert_int_equal(end(draft)->hold_seconds_max, 600);
    draft = begin(0);
    assert_null(event_draft_pool(draft, text("ga"), 5, &expected));
    assert_null(event_draft_hold_seconds_max(draft, 299, &expected));
    const struct event_settings *none = NULL;
    refused(event_draft_end(draft, &none, &expected), "hold_seconds_max");
    assert_null(none);
}

static void
test_rows_names_and_order(void **state)
{
    (void)state;
    struct event_draft *draft = begin(0);
    /* rows of two sections come in turns */
    assert_null(event_draft_row(draft, text("X"), text("r2"), 7, &expected));
    assert_null(event_draft_row(draft, text("Y"), text("a"), 1, &expected));
    assert_null(event_draft_section(draft, text("A"), 1024, 1024, &expected));
    assert_null(event_draft_row(draft, text("X"), text("r1"), 3, &expected));
    assert_null(event_draft_row(draft, text("Y"), text("b"), 2, &expected));
    const struct event_settings *settings = end(draft);
    const struct section_settings *sections = event_settings_sections(settings);
    char name[NAME_SIZE_MAX];
    assert_int_equal(settings->section_count, 3);
    int32_t x = event_settings_find_section(settings, text("X"));
    int32_t y = event_settings_find_section(settings, text("Y"));
    int32_t a = event_settings_find_section(settings, text("A"));
    assert_int_equal(x, 0);
    assert_int_equal(y, 1);
    assert_int_equal(a, 2);
    assert_int_equal(sections[x].seat_count, 10);
    assert_int_equal(sections[y].seat_count, 3);
    assert_int_equal(sections[a].seat_count, 1024 * 1024);
    assert_int_equal(section_row_seats(settings, (uint32_t)x, 0), 7);
    assert_int_equal(section_row_seats(settings, (uint32_t)x, 1), 3);
    assert_int_equal(section_row_seats(settings, (uint32_t)y, 1), 2);
    assert_int_equal(section_row_seats(settings, (uint32_t)a, 1023), 1024);
    assert_int_equal(section_row_name(settings, (uint32_t)x, 1, name), 2);
    assert_memory_equal(name, "r1", 2);
    assert_int_equal(section_row_name(settings, (uint32_t)y, 0, name), 1);
    assert_memory_equal(name, "a", 1);
    for (uint32_t row = 0; row < 1024; row++) {
        char wanted[8];
        int size = snprintf(wanted, sizeof wanted, "%u", row + 1);
        assert_int_equal(section_row_name(settings, (uint32_t)a, row, name), size);
        assert_memory_equal(name, wanted, (size_t)size);
    }
}

/* Equal settings have equal bytes, however they were put. */
static void
test_equal_settings_equal_bytes(void **state)
{
    (void)state;
    struct event_draft *draft = begin(0);
    assert_null(event_draft_section(draft, text("A"), 12, 4, &expected));
    assert_null(event_draft_pool(draft, text("p"), 9, &expected));
    assert_null(event_draft_hold_seconds(draft, 300, &expected));
    const struct event_settings *regular = end(draft);
    draft = begin(1);
    memset(memory[1], 0x5a, EVENT_DRAFT_SIZE); /* other rubbish before */
    draft = event_draft_begin(memory[1]);
    assert_null(event_draft_pool(draft, text("p"), 9, &expected));
    for (uint32_t row = 1; row <= 12; row++) {
        char name[4];
        (void)snprintf(name, sizeof name, "%u", row);
        assert_null(event_draft_row(draft, text("A"), text(name), 4, &expected));
    }
    assert_null(event_draft_id(draft, text("e"), &expected));
    const struct event_settings *rows = end(draft);
    assert_int_equal(rows->size, regular->size);
    assert_memory_equal(rows, regular, regular->size);

    draft = begin(1); /* one seat more in one row: another event */
    assert_null(event_draft_pool(draft, text("p"), 9, &expected));
    assert_null(event_draft_row(draft, text("A"), text("1"), 4, &expected));
    assert_null(event_draft_row(draft, text("A"), text("02"), 4, &expected));
    rows = end(draft);
    assert_int_equal(rows->row_count, 2);
    assert_int_equal(event_settings_sections(rows)[0].regular, 0);
}

static void
test_names(void **state)
{
    (void)state;
    char long_text[70];
    memset(long_text, 'x', sizeof long_text);
    for (uint32_t size = 0; size <= 66; size++) {
        assert_int_equal(id_valid((struct bytes){long_text, size}), size >= 1 && size <= 64);
        assert_int_equal(name_valid((struct bytes){long_text, size}), size >= 1 && size <= 16);
    }
    for (uint32_t c = 0; c < 256; c++) {
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '_' || c == '@' || c == '-';
        char two[2] = {'a', (char)c};
        assert_int_equal(id_valid((struct bytes){two, 2}), plain || c == ':');
        assert_int_equal(name_valid((struct bytes){two, 2}), plain);
    }
}

static void
test_bounds(void **state)
{
    (void)state;
    static const int64_t bad_rows[] = {0, -1, 1025, INT64_MAX, INT64_MIN, (int64_t)1 << 32 | 1};
    static const int64_t bad_seconds[] = {0, -1, 2592001, INT64_MAX, INT64_MIN, (int64_t)1 << 32 | 1};
    static const int64_t bad_capacity[] = {-1, 1000000001, INT64_MAX, INT64_MIN, (int64_t)1 << 32 | 1};
    for (uint32_t i = 0; i < 6; i++) {
        refused(event_draft_section(begin(0), text("A"), bad_rows[i], 1, &expected), "sections.rows");
        refused(event_draft_section(begin(0), text("A"), 1, bad_rows[i], &expected),
                "sections.seats_per_row");
        refused(event_draft_row(begin(0), text("A"), text("1"), bad_rows[i], &expected),
                "sections.rows.seats");
        refused(event_draft_hold_seconds(begin(0), bad_seconds[i], &expected), "hold_seconds");
        refused(event_draft_hold_seconds_max(begin(0), bad_seconds[i], &expected), "hold_seconds_max");
    }
    for (uint32_t i = 0; i < 5; i++)
        refused(event_draft_pool(begin(0), text("A"), bad_capacity[i], &expected), "pools.capacity");
    refused(event_draft_units_per_user_max(begin(0), -1, &expected), "units_per_user_max");
    refused(event_draft_units_per_user_max(begin(0), 1000000001, &expected), "units_per_user_max");
    refused(event_draft_opens_at(begin(0), -1, &expected), "opens_at");
    refused(event_draft_id(begin(0), text("a b"), &expected), "id");
    refused(event_draft_section(begin(0), text("a:b"), 1, 1, &expected), "sections.name");
    refused(event_draft_row(begin(0), text("A"), text(""), 1, &expected), "sections.rows.name");
    refused(event_draft_pool(begin(0), text("a/b"), 1, &expected), "pools.name");
    const struct event_settings *settings = NULL;
    refused(event_draft_end(begin(0), &settings, &expected), "sections"); /* nothing to sell */
    refused(event_draft_end(event_draft_begin(memory[0]), &settings, &expected), "id");
    assert_null(settings);
}

static void
test_repeats(void **state)
{
    (void)state;
    struct event_draft *draft = begin(0);
    assert_null(event_draft_section(draft, text("A"), 1, 1, &expected));
    refused(event_draft_section(draft, text("A"), 1, 1, &expected), "sections.name");
    draft = begin(0);
    assert_null(event_draft_pool(draft, text("A"), 1, &expected));
    refused(event_draft_pool(draft, text("A"), 1, &expected), "pools.name");
    const struct event_settings *settings = NULL;
    draft = begin(0);
    assert_null(event_draft_row(draft, text("A"), text("x"), 1, &expected));
    assert_null(event_draft_row(draft, text("B"), text("x"), 1, &expected));
    const char *field = event_draft_row(draft, text("A"), text("x"), 1, &expected);
    if (field == NULL)
        field = event_draft_end(draft, &settings, &expected);
    refused(field, "sections.rows.name");
    draft = begin(0); /* a section of rows given as a number takes no further row */
    assert_null(event_draft_section(draft, text("A"), 1, 1, &expected));
    field = event_draft_row(draft, text("A"), text("2"), 1, &expected);
    assert_non_null(field);
}

/* All bounds at once, and one beyond each. */
static void
test_the_largest_event(void **state)
{
    (void)state;
    struct event_draft *draft = begin(0);
    char name[NAME_SIZE_MAX + 1];
    for (uint32_t s = 0; s < SECTIONS_MAX; s++) {
        for (uint32_t r = 0; r < ROWS_MAX; r++) {
            char section[8];
            (void)snprintf(section, sizeof section, "s%u", s);
            (void)snprintf(name, sizeof name, "row-%u", r);
            assert_null(event_draft_row(draft, text(section), text(name), ROW_SEATS_MAX, &expected));
        }
    }
    for (uint32_t p = 0; p < POOLS_MAX; p++) {
        (void)snprintf(name, sizeof name, "p%u", p);
        assert_null(event_draft_pool(draft, text(name), POOL_CAPACITY_MAX, &expected));
    }
    assert_null(event_draft_hold_seconds(draft, SECONDS_MAX, &expected));
    assert_null(event_draft_units_per_user_max(draft, UNITS_PER_USER_MAX, &expected));
    assert_null(event_draft_opens_at(draft, 253402300799999, &expected));
    const struct event_settings *settings = end(draft);
    assert_int_equal(settings->size, EVENT_SETTINGS_SIZE_MAX);
    assert_int_equal(settings->row_count, SECTIONS_MAX * ROWS_MAX);
    assert_int_equal(event_settings_sections(settings)[63].seat_count, ROWS_MAX * ROW_SEATS_MAX);
    assert_int_equal(section_row_name(settings, 63, 1023, name), 8);
    assert_memory_equal(name, "row-1023", 8);
    for (uint32_t i = 0; i < SECTIONS_MAX; i++) {
        (void)snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(event_settings_find_section(settings, text(name)), i);
    }

    for (uint32_t what = 0; what < 3; what++) {
        draft = begin(0);
        const char *field = NULL;
        uint32_t count = what == 2 ? ROWS_MAX : SECTIONS_MAX;
        for (uint32_t i = 0; i <= count; i++) {
            (void)snprintf(name, sizeof name, "n%u", i);
            if (what == 0)
                field = event_draft_section(draft, text(name), 1, 1, &expected);
            else if (what == 1)
                field = event_draft_pool(draft, text(name), 1, &expected);
            else
                field = event_draft_row(draft, text("A"), text(name), 1, &expected);
            assert_int_equal(field != NULL, i == count);
        }
        refused(field, what == 0 ? "sections" : what == 1 ? "pools" : "sections.rows");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_rows_names_and_order),
        cmocka_unit_test(test_equal_settings_equal_bytes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_the_largest_event),
    };
    for (uint32_t i = 0; i < 2; i++)
        memory[i] = aligned_alloc(64, (EVENT_DRAFT_SIZE + 63) & ~(size_t)63);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(memory[0]);
    free(memory[1]);
    return failed;
}
