/*
 * test_seat_map.c - seats through holds: best choice against a brute-force chooser for every pattern of a
 * row of up to 12 seats, sections of many rows and blocks over several shards, and the section's figures.
 *
 * The plain rule of "best": of all runs of n free seats of all rows, first those that leave no run of
 * exactly one free seat beside them; of these the front row; in it the one whose middle is nearest the
 * row's middle; of two equally near the one with the lower number.
 */
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_TRIED 40

struct hall {
    uint32_t rows;
    uint32_t seats[ROWS_TRIED];
    char letters[ROWS_TRIED][1100]; /* F or other, as SEATS shows them */
};

static bool
is_free(const struct hall *hall, uint32_t row, int64_t seat)
{
    return seat >= 0 && seat < hall->seats[row] && hall->letters[row][seat] == 'F';
}

static bool
leaves_orphan(const struct hall *hall, uint32_t row, int64_t first, int64_t count)
{
    bool left = is_free(hall, row, first - 1) && !is_free(hall, row, first - 2);
    bool right = is_free(hall, row, first + count) && !is_free(hall, row, first + count + 1);
    return left || right;
}

/* False: no run of so many. */
static bool
choose(const struct hall *hall, uint32_t count, uint32_t *ret_row, uint32_t *ret_first)
{
    bool found = false;
    bool found_orphan = false;
    int64_t found_distance = 0;
    for (uint32_t row = 0; row < hall->rows; row++) {
        for (int64_t first = 0; first + count <= hall->seats[row]; first++) {
            bool all = true;
            for (int64_t i = 0; i < count; i++)
                all = all && is_free(hall, row, first + i);
            if (!all)
                continue;
            bool orphan = leaves_orphan(hall, row, first, count);
            int64_t distance = llabs(2 * first + count - hall->seats[row]); /* twice that of the middles */
            bool better = !found || (found_orphan && !orphan) ||
                          (found_orphan == orphan && *ret_row == row && distance < found_distance);
            if (better) {
                found = true;
                found_orphan = orphan;
                found_distance = distance;
                *ret_row = row;
                *ret_first = (uint32_t)first;
            }
        }
    }
    return found;
}

static void
figures(const struct hall *hall, uint32_t *ret_free, uint32_t *ret_taken, uint32_t *ret_longest)
{
    *ret_free = *ret_taken = *ret_longest = 0;
    for (uint32_t row = 0; row < hall->rows; row++) {
        uint32_t run = 0;
        for (uint32_t i = 0; i < hall->seats[row]; i++) {
            bool one = is_free(hall, row, i);
            run = one ? run + 1 : 0;
            *ret_free += one;
            *ret_taken += !one;
            *ret_longest = run > *ret_longest ? run : *ret_longest;
        }
    }
}

/* What the answer to HOLD e u BEST A n must begin with; all taken seats are held until next_ms. */
static void
wanted_best(const struct hall *hall, uint32_t count, uint64_t next_ms, char *ret_text, size_t room)
{
    uint32_t row;
    uint32_t first;
    uint32_t free_count;
    uint32_t taken;
    uint32_t longest;
    figures(hall, &free_count, &taken, &longest);
    if (choose(hall, count, &row, &first))
        (void)snprintf(ret_text, room, "OK new held A/%u/%u:", row + 1, first + 1);
    else if (free_count >= count)
        (void)snprintf(ret_text, room, "NOADJACENT unit=A largest_run=%u", longest);
    else if (free_count + taken >= count)
        (void)snprintf(ret_text, room, "HELDOUT unit=A remaining=%u next=%lu", free_count,
                       (unsigned long)next_ms);
    else
        (void)snprintf(ret_text, room, "SOLDOUT unit=A remaining=%u", free_count);
}

static void
check_best(struct drive *drive, const struct hall *hall, uint32_t count, uint64_t next_ms)
{
    char wanted[80];
    wanted_best(hall, count, next_ms, wanted, sizeof wanted);
    const char *got = ask(drive, "best = HOLD e best BEST A %u", count);
    if (memcmp(got, wanted, strlen(wanted)) != 0)
        fail_msg("of %s: %s, expected %s", hall->letters[0], got, wanted);
    if (memcmp(got, "OK", 2) != 0)
        return;
    uint32_t colons = 0; /* n seats, side by side */
    uint32_t row;
    uint32_t first;
    for (const char *at = got; (at = strchr(at, ':')) != NULL; at++)
        colons++;
    assert_int_equal(colons, count);
    assert_true(choose(hall, count, &row, &first));
    for (uint32_t i = 0; i < count; i++) {
        char seat[32];
        (void)snprintf(seat, sizeof seat, " A/%u/%u:", row + 1, first + i + 1);
        assert_non_null(strstr(got, seat));
    }
    assert_memory_equal(ask(drive, "RELEASE best best"), "OK released", 11);
}

/* Every pattern of a row, one seat changed at a time (a Gray code). */
static void
every_pattern(struct drive *drive, uint32_t length)
{
    struct hall hall = {.rows = 1, .seats = {length}};
    memset(hall.letters[0], 'F', length);
    for (uint32_t step = 0; step < 1u << length; step++) {
        uint32_t changed = step == 0 ? length : (uint32_t)__builtin_ctz(step);
        if (changed < length && hall.letters[0][changed] == 'F') {
            assert_memory_equal(ask(drive, "s%u = HOLD e u%u SEAT A/1/%u", changed, changed, changed + 1),
                                "OK new held", 11);
            hall.letters[0][changed] = 'H';
        } else if (changed < length) {
            assert_memory_equal(ask(drive, "RELEASE s%u u%u", changed, changed), "OK released", 11);
            hall.letters[0][changed] = 'F';
        }
        for (uint32_t count = 1; count <= 5; count++)
            check_best(drive, &hall, count, 300000);
    }
    drive_check(drive);
}

static void
test_every_pattern(void **state)
{
    (void)state;
    for (uint32_t length = 1; length <= 12; length++) {
        struct shard_settings settings = drive_settings();
        settings.holds_max = 32; /* ended ones give way */
        struct drive *drive = drive_open(1, &settings);
        drive_checks(drive, false);
        (void)ask(drive, "CREATE e SECTION A 1 %u", length);
        every_pattern(drive, length);
        drive_close(drive);
    }
}

static void
compare_map(struct drive *drive, const struct hall *hall)
{
    char wanted[4096];
    size_t size = (size_t)snprintf(wanted, sizeof wanted, "OK ");
    for (uint32_t row = 0; row < hall->rows; row++)
        size += (size_t)snprintf(wanted + size, sizeof wanted - size, "%s%s", row == 0 ? "" : "/",
                                 hall->letters[row]);
    assert_string_equal(ask(drive, "SEATS e A"), wanted);
}

/* Random holds, confirms and releases in a section of many blocks. */
static void
random_hall(uint32_t shards, uint32_t rows, uint32_t seats, uint64_t random)
{
    struct drive *drive = drive_open(shards, NULL);
    struct hall hall = {.rows = rows};
    drive_checks(drive, false);
    (void)ask(drive, "CREATE e SECTION Z 3 1000 SECTION A %u %u SECTION Y 2 7", rows, seats);
    for (uint32_t row = 0; row < rows; row++) {
        hall.seats[row] = seats;
        memset(hall.letters[row], 'F', seats);
    }
    for (uint32_t step = 0; step < 150; step++) {
        uint32_t row = (uint32_t)(drive_random(&random) % rows);
        uint32_t from = (uint32_t)(drive_random(&random) % seats);
        uint32_t to = from + (uint32_t)(drive_random(&random) % 16);
        char line[512];
        size_t size = (size_t)snprintf(line, sizeof line, "x = HOLD e u%u", step);
        bool all = true;
        for (uint32_t i = from; i < to + 1 && i < seats; i++) {
            all = all && hall.letters[row][i] == 'F';
            size += (size_t)snprintf(line + size, sizeof line - size, " SEAT A/%u/%u", row + 1, i + 1);
        }
        bool ok = memcmp(ask(drive, "%s", line), "OK", 2) == 0;
        assert_int_equal(ok, all);
        bool sell = ok && drive_random(&random) % 3 == 0;
        if (sell)
            assert_memory_equal(ask(drive, "CONFIRM x u%u", step), "OK confirmed", 12);
        for (uint32_t i = from; ok && i < to + 1 && i < seats; i++)
            hall.letters[row][i] = sell ? 'S' : 'H';
        uint32_t best_row;
        uint32_t best_first;
        uint32_t count = 1 + (uint32_t)(drive_random(&random) % 5);
        if (choose(&hall, count, &best_row, &best_first))
            check_best(drive, &hall, count, 300000);
        if (step % 50 == 0)
            compare_map(drive, &hall);
    }
    compare_map(drive, &hall);
    drive_check(drive);
    drive_close(drive);
}

static void
test_sections_of_many_blocks(void **state)
{
    (void)state;
    random_hall(1, 40, 90, 1);
    random_hall(3, 40, 90, 2);
    random_hall(5, 12, 300, 3);
    random_hall(2, 3, 1024, 4); /* a row a block */
    random_hall(4, 40, 3, 5);
}

/* Figures of a section that lies with several shards; the next deadline is the earliest of all. */
static void
test_figures_over_blocks(struct drive *drive)
{
    (void)ask(drive, "CREATE e SECTION A 4 1000 HOLD 100 HOLDMAX 1000");
    expect(drive, "OK new held A/4/1:1 in=50000", "a = HOLD e u1 SEAT A/4/1 TTL 50");
    expect(drive, "OK new held A/2/1000:1 in=70000", "b = HOLD e u1 SEAT A/2/1000 TTL 70");
    expect(drive, "HELD unit=A/4/1 remaining=3998 next=50000", "HOLD e u2 SEAT A/4/1");
    expect(drive, "HELD unit=A/2/1000 remaining=3998 next=70000", "HOLD e u2 SEAT A/2/1000");
    expect(drive, "OK confirmed A/4/1:2 in=50000", "CONFIRM a u1");
    expect(drive, "SOLD unit=A/4/1 remaining=3998", "HOLD e u2 SEAT A/4/1");
    expect(drive, "OK e open 4000=3998+1+1 A 4000=3998+1+1", "GET e");
}

/* HELDOUT of best: the earliest of all held seats, wherever they lie, as holds come, extend and go. */
static void
test_next_deadline_of_a_section(struct drive *drive)
{
    (void)ask(drive, "CREATE e ROW A x 2 ROW A y 1 HOLD 100 HOLDMAX 1000");
    expect(drive, "OK new held A/x/1:1 in=60000", "a = HOLD e u1 SEAT A/x/1 TTL 60");
    expect(drive, "OK new held A/x/2:1 in=40000", "b = HOLD e u2 SEAT A/x/2 TTL 40");
    expect(drive, "OK new held A/y/1:1 in=50000", "c = HOLD e u3 SEAT A/y/1 TTL 50");
    expect(drive, "HELDOUT unit=A remaining=0 next=40000", "HOLD e u4 BEST A 1");
    expect(drive, "OK held A/x/2:1 in=55000", "EXTEND b u2 55");
    expect(drive, "HELDOUT unit=A remaining=0 next=50000", "HOLD e u4 BEST A 1");
    expect(drive, "HELD unit=A/x/2 remaining=0 next=55000", "HOLD e u4 SEAT A/x/2");
    expect(drive, "OK confirmed A/y/1:2 in=50000", "CONFIRM c u3");
    expect(drive, "HELDOUT unit=A remaining=0 next=55000", "HOLD e u4 BEST A 1");
    expect(drive, "SOLDOUT unit=A remaining=0", "HOLD e u4 BEST A 3");
    expect(drive, "OK released A/x/2:1 in=55000", "RELEASE b u2");
    expect(drive, "HELDOUT unit=A remaining=1 next=60000", "HOLD e u4 BEST A 2");
    expect(drive, "OK confirmed A/x/1:2 in=60000", "CONFIRM a u1");
    expect(drive, "SOLDOUT unit=A remaining=1", "HOLD e u4 BEST A 2");
    expect(drive, "OK new held A/x/2:3 in=100000", "HOLD e u4 BEST A 1");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pattern),           cmocka_unit_test(test_sections_of_many_blocks),
        DRIVE_PLAN(test_figures_over_blocks, 1),        DRIVE_PLAN(test_figures_over_blocks, 4),
        DRIVE_PLAN(test_next_deadline_of_a_section, 1), DRIVE_PLAN(test_next_deadline_of_a_section, 3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
