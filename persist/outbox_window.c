/*
 * outbox_window.c - the outbox rows that are on their way to Kafka, and how far the watermark may go.
 *
 *            ┌────────── report: returned ────────┐
 *            ▼                                    │
 *   add ─▶ READY ─── given ──▶ FLYING ────────────┴─ delivered ──▶ DELIVERED ─┐
 *     │      ▲                   │                                            ├─▶ the run: settled
 *     ▼      │ the one before    ├── refused, the last try ──────▶ DEAD ──────┘
 *   WAITING ─┘ is done with      └── refused ──▶ RESTING ── due ──▶ READY or ALONE
 *
 * What must hold:
 *
 *   1. Of one key at most one row is undecided and not WAITING: a row is given only after the one before it
 *      is delivered, or is dead and the watermark has passed it (until then a crash would bring it back to
 *      life). So the first copy of every event is in order for its key, whatever the broker refuses, loses
 *      or sees twice, and no failure needs the window to drain. (Two keys that fall into one bucket wait
 *      for each other: that costs a moment, never the order.)
 *   2. The watermark passes a row only when the broker has acknowledged it, or when it is dead and the same
 *      transaction puts it into outbox_dead.
 *   3. A row that was too large, or in a batch that was, is given alone: nothing else flies meanwhile. So
 *      small rows never die of their neighbours.
 *   4. Rows and bytes are bounded; what is read at once may exceed the bytes by its last row.
 *
 * Entry points: window_add(), window_next(), window_report(), window_run(), window_settle(). See also:
 * outbox_relay.c, which drives it; tests/unit/test_outbox_relay.c, its model with crashes.
 */
#include "persist/outbox_window.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "persist/outbox_plant.h"

#define NONE          UINT32_MAX
#define BUCKETS_A_ROW 8u /* of 65,536 rows in 524,288 buckets every sixteenth meets a stranger */

enum row_state { ROW_WAITING, ROW_READY, ROW_ALONE, ROW_RESTING, ROW_FLYING, ROW_DELIVERED, ROW_DEAD };

struct row {
    int64_t position;
    uint64_t due_ms; /* RESTING */
    uint32_t bucket;
    uint32_t behind; /* the next row of the bucket, an index; NONE */
    uint32_t next;   /* in the list of its state; NONE */
    uint32_t size;
    uint8_t state;
    uint8_t tries;
    bool too_large;
};

/* Rows in the order in which they came into the state. */
struct list {
    uint32_t first;
    uint32_t last;
};

struct window {
    /* bounds */
    uint32_t rows_max;
    uint32_t bucket_mask;
    uint64_t bytes_max;

    /* rows first_ticket .. first_ticket + count - 1, each at ticket % rows_max */
    uint64_t first_ticket;
    uint32_t count;
    uint32_t flying;
    uint64_t bytes;
    int64_t watermark;
    struct list ready;
    struct list alone;
    struct list resting;
    uint64_t due_ms; /* not later than the first of the resting ones is due */
    bool one_alone;  /* the row that flies is one of the ALONE ones */
    struct row *rows;
    uint32_t *buckets; /* the last row of each bucket; NONE */
};

static void
list_add(struct window *window, struct list *list, uint32_t index)
{
    window->rows[index].next = NONE;
    if (list->first == NONE)
        list->first = index;
    else
        window->rows[list->last].next = index;
    list->last = index;
}

static uint32_t
list_take(struct window *window, struct list *list)
{
    uint32_t index = list->first;
    assert(index != NONE);
    list->first = window->rows[index].next;
    window->rows[index].next = NONE;
    return index;
}

static uint32_t
index_of(const struct window *window, uint64_t ticket)
{
    assert(ticket >= window->first_ticket);
    assert(ticket < window->first_ticket + window->count);
    return (uint32_t)(ticket % window->rows_max);
}

static uint64_t
ticket_of(const struct window *window, uint32_t index)
{
    uint32_t first = (uint32_t)(window->first_ticket % window->rows_max);
    return window->first_ticket + (index + window->rows_max - first) % window->rows_max;
}

static bool
decided(const struct row *row)
{
    return row->state == ROW_DELIVERED || row->state == ROW_DEAD;
}

struct window *
window_open(uint32_t rows_max, uint64_t bytes_max, int64_t position)
{
    assert(rows_max > 0 && rows_max <= 1u << 24);
    struct window *window = calloc(1, sizeof *window);
    uint32_t buckets = 1;
    while (buckets < rows_max * BUCKETS_A_ROW)
        buckets *= 2;
    if (window == NULL)
        return NULL;
    window->rows_max = rows_max;
    window->bucket_mask = buckets - 1;
    window->bytes_max = bytes_max;
    window->rows = calloc(rows_max, sizeof *window->rows);
    window->buckets = malloc(buckets * sizeof *window->buckets);
    if (window->rows == NULL || window->buckets == NULL) {
        window_free(window);
        return NULL;
    }
    window->first_ticket = 1;
    window_reset(window, position);
    return window;
}

void
window_free(struct window *window)
{
    if (window == NULL)
        return;
    free(window->rows);
    free(window->buckets);
    free(window);
}

void
window_reset(struct window *window, int64_t position)
{
    window->first_ticket += window->count;
    window->count = 0;
    window->flying = 0;
    window->bytes = 0;
    window->watermark = position;
    window->ready = window->alone = window->resting = (struct list){NONE, NONE};
    window->due_ms = UINT64_MAX;
    window->one_alone = false;
    memset(window->buckets, 0xff, ((size_t)window->bucket_mask + 1) * sizeof *window->buckets);
}

bool
window_room(const struct window *window, uint32_t rows, uint64_t bytes)
{
    if (window->count == 0)
        return rows <= window->rows_max;
    return rows <= window->rows_max - window->count && window->bytes <= window->bytes_max &&
           bytes <= window->bytes_max - window->bytes;
}

int64_t
window_position(const struct window *window)
{
    if (window->count == 0)
        return window->watermark;
    return window->rows[index_of(window, window->first_ticket + window->count - 1)].position;
}

uint64_t
window_add(struct window *window, int64_t position, uint64_t key_hash, uint32_t size)
{
    assert(window->count < window->rows_max);
    assert(position > window_position(window));
    uint64_t ticket = window->first_ticket + window->count++;
    uint32_t index = index_of(window, ticket);
    uint32_t bucket = (uint32_t)key_hash & window->bucket_mask;
    struct row *row = &window->rows[index];
    *row = (struct row){.position = position, .bucket = bucket, .behind = NONE, .next = NONE, .size = size};
    uint32_t before = window->buckets[bucket];
    window->buckets[bucket] = index;
    window->bytes += size;
    if (before != NONE)
        window->rows[before].behind = index;
    if (before != NONE && window->rows[before].state != ROW_DELIVERED &&
        !OUTBOX_PLANTED(OUTBOX_KEY_NOT_AWAITED)) {
        row->state = ROW_WAITING;
    } else {
        row->state = ROW_READY;
        list_add(window, &window->ready, index);
    }
    return ticket;
}

/* Those whose rest is over may go again. */
static void
wake_resting(struct window *window, uint64_t now_ms)
{
    struct list resting = window->resting;
    window->resting = (struct list){NONE, NONE};
    window->due_ms = UINT64_MAX;
    while (resting.first != NONE) {
        uint32_t index = list_take(window, &resting);
        struct row *row = &window->rows[index];
        if (row->due_ms > now_ms) {
            list_add(window, &window->resting, index);
            window->due_ms = row->due_ms < window->due_ms ? row->due_ms : window->due_ms;
        } else {
            row->state = row->too_large ? ROW_ALONE : ROW_READY;
            list_add(window, row->too_large ? &window->alone : &window->ready, index);
        }
    }
}

bool
window_next(struct window *window, uint64_t now_ms, uint64_t *ret_ticket)
{
    if (window->due_ms <= now_ms)
        wake_resting(window, now_ms);
    if (window->one_alone)
        return false;
    uint32_t index = window->alone.first;
    if (index != NONE && window->flying > 0)
        return false; /* until nothing else flies */
    if (index == NONE)
        index = window->ready.first;
    if (index == NONE)
        return false;
    *ret_ticket = ticket_of(window, index);
    return true;
}

/* Takes the row of window_next() out of its list. */
static struct row *
take(struct window *window, uint64_t ticket)
{
    uint32_t index = index_of(window, ticket);
    struct row *row = &window->rows[index];
    assert(row->state == ROW_READY || row->state == ROW_ALONE);
    uint32_t taken = list_take(window, row->state == ROW_ALONE ? &window->alone : &window->ready);
    assert(taken == index);
    return row;
}

void
window_given(struct window *window, uint64_t ticket)
{
    struct row *row = take(window, ticket);
    window->one_alone = row->state == ROW_ALONE;
    row->state = ROW_FLYING;
    window->flying++;
    if (OUTBOX_PLANTED(OUTBOX_WATERMARK_TOO_SOON))
        (void)window_report(window, ticket, WINDOW_DELIVERED, 0, 0);
}

/* The row is delivered, or dead and buried: the one behind it may go. */
static void
release_behind(struct window *window, const struct row *row)
{
    if (row->behind == NONE)
        return;
    struct row *behind = &window->rows[row->behind];
    if (OUTBOX_PLANTED(OUTBOX_KEY_NOT_AWAITED) && behind->state != ROW_WAITING)
        return;
    assert(behind->state == ROW_WAITING);
    behind->state = ROW_READY;
    list_add(window, &window->ready, row->behind);
}

static void
rest(struct window *window, struct row *row, uint64_t now_ms, uint64_t random)
{
    uint64_t rest_ms = (uint64_t)WINDOW_REST_MS << (row->tries > 0 ? row->tries - 1 : 0);
    row->state = ROW_RESTING;
    row->due_ms = now_ms + rest_ms / 2 + random % (rest_ms + 1);
    window->due_ms = row->due_ms < window->due_ms ? row->due_ms : window->due_ms;
    list_add(window, &window->resting, (uint32_t)(row - window->rows));
}

bool
window_report(struct window *window, uint64_t ticket, enum window_outcome outcome, uint64_t now_ms,
              uint64_t random)
{
    if (ticket < window->first_ticket || ticket >= window->first_ticket + window->count)
        return false;
    struct row *row = &window->rows[index_of(window, ticket)];
    if (OUTBOX_PLANTED(OUTBOX_WATERMARK_TOO_SOON) && decided(row))
        return false;
    if (row->state == ROW_FLYING) {
        window->flying--;
        window->one_alone = false;
    } else {
        (void)take(window, ticket); /* refused on the spot: never flew */
    }
    if (outcome == WINDOW_DELIVERED) {
        row->state = ROW_DELIVERED;
        release_behind(window, row);
        return true;
    }
    if (outcome == WINDOW_REFUSED || outcome == WINDOW_TOO_LARGE) {
        row->too_large = outcome == WINDOW_TOO_LARGE;
        if (++row->tries == WINDOW_TRIES_MAX) {
            row->state = ROW_DEAD;
            return true;
        }
    }
    rest(window, row, now_ms, random);
    return true;
}

void
window_recall(struct window *window)
{
    window->ready = window->alone = (struct list){NONE, NONE};
    window->flying = 0;
    window->one_alone = false;
    /* in the order of their positions */
    for (uint32_t i = 0; i < window->count; i++) {
        uint32_t index = index_of(window, window->first_ticket + i);
        struct row *row = &window->rows[index];
        if (row->state == ROW_FLYING)
            row->state = OUTBOX_PLANTED(OUTBOX_RECALL_FORGOTTEN) ? ROW_DELIVERED
                         : row->too_large                        ? ROW_ALONE
                                                                 : ROW_READY;
        if (row->state == ROW_READY)
            list_add(window, &window->ready, index);
        else if (row->state == ROW_ALONE)
            list_add(window, &window->alone, index);
    }
}

uint32_t
window_run(const struct window *window, uint32_t rows, struct window_dead *ret_dead, uint32_t dead_max,
           uint32_t *ret_dead_count, int64_t *ret_position)
{
    uint32_t run = 0;
    uint32_t dead_count = 0;
    int64_t position = window->watermark;
    for (; run < window->count && run < rows; run++) {
        uint64_t ticket = window->first_ticket + run;
        const struct row *row = &window->rows[index_of(window, ticket)];
        if (row->state == ROW_DEAD) {
            if (dead_count == dead_max)
                break;
            ret_dead[dead_count++] = (struct window_dead){ticket, row->tries};
        } else if (row->state != ROW_DELIVERED) {
            break;
        }
        position = row->position;
    }
    *ret_dead_count = dead_count;
    *ret_position = position;
    return run;
}

uint64_t
window_settle(struct window *window, uint32_t rows)
{
    assert(rows <= window->count);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t index = index_of(window, window->first_ticket);
        struct row *row = &window->rows[index];
        assert(decided(row));
        if (row->state == ROW_DEAD)
            release_behind(window, row);
        if (window->buckets[row->bucket] == index)
            window->buckets[row->bucket] = NONE;
        window->watermark = row->position;
        window->bytes -= row->size;
        window->first_ticket++;
        window->count--;
    }
    return window->first_ticket;
}

uint32_t
window_tries(const struct window *window, uint64_t ticket)
{
    return window->rows[index_of(window, ticket)].tries;
}

uint64_t
window_due_ms(const struct window *window)
{
    return window->due_ms;
}

static uint32_t
list_count(const struct window *window, const struct list *list, enum row_state state)
{
    uint32_t count = 0;
    for (uint32_t index = list->first; index != NONE; index = window->rows[index].next) {
        assert(window->rows[index].state == state);
        assert(window->rows[index].next != NONE || list->last == index);
        count++;
    }
    return count;
}

struct window_figures
window_look(const struct window *window)
{
    return (struct window_figures){window->count, window->flying, window->bytes};
}

void
window_check(const struct window *window)
{
    uint32_t counts[ROW_DEAD + 1] = {0};
    uint64_t bytes = 0;
    int64_t position = window->watermark;
    for (uint32_t i = 0; i < window->count; i++) {
        uint32_t index = index_of(window, window->first_ticket + i);
        const struct row *row = &window->rows[index];
        assert(row->position > position);
        position = row->position;
        bytes += row->size;
        counts[row->state]++;
        if (row->behind == NONE) {
            assert(window->buckets[row->bucket] == index);
        } else {
            const struct row *behind = &window->rows[row->behind];
            assert(behind->bucket == row->bucket);
            assert(behind->position > row->position);
            assert((behind->state == ROW_WAITING) == (row->state != ROW_DELIVERED) ||
                   OUTBOX_PLANTED(OUTBOX_KEY_NOT_AWAITED));
        }
        assert(row->state != ROW_RESTING || row->due_ms >= window->due_ms);
        assert(row->tries <= WINDOW_TRIES_MAX);
        assert((row->state == ROW_DEAD) == (row->tries == WINDOW_TRIES_MAX));
    }
    assert(bytes == window->bytes);
    assert(counts[ROW_FLYING] == window->flying);
    assert(!window->one_alone || window->flying == 1);
    assert(counts[ROW_READY] == list_count(window, &window->ready, ROW_READY));
    assert(counts[ROW_ALONE] == list_count(window, &window->alone, ROW_ALONE));
    assert(counts[ROW_RESTING] == list_count(window, &window->resting, ROW_RESTING));
}
