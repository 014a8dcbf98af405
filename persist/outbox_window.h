/*
 * outbox_window.h - the outbox rows that are on their way to Kafka, and how far the watermark may go.
 *
 * Pure: no I/O, no clock, no randomness of its own. Belongs to the relay's thread.
 */
#ifndef HOLDFAST_OUTBOX_WINDOW_H
#define HOLDFAST_OUTBOX_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/* A refused row is tried so often in all, then it is dead. */
#define WINDOW_TRIES_MAX 4u
/* Rest before the second try; doubled for each one after it; half of it to one and a half, by chance. */
#define WINDOW_REST_MS 500u

/* What became of a row that was given to the broker. */
enum window_outcome {
    WINDOW_DELIVERED, /* acknowledged by all replicas that matter */
    WINDOW_RETURNED,  /* through no fault of its own: tried again for ever */
    WINDOW_REFUSED,   /* by the broker, maybe for good: tried again, then dead */
    WINDOW_TOO_LARGE, /* it, or the batch it was in: tried again alone, then dead */
};

struct window;

/* A row of the settled run that is dead, for the transaction that passes it. */
struct window_dead {
    uint64_t ticket;
    uint32_t tries;
};

struct window_figures {
    uint32_t rows;
    uint32_t flying; /* given, without a report yet */
    uint64_t bytes;
};

/* position: the watermark. NULL: no memory. */
struct window *window_open(uint32_t rows_max, uint64_t bytes_max, int64_t position);
void window_free(struct window *window);

/* Forgets all rows: the watermark is at position. Tickets go on, so that a late report finds no row. */
void window_reset(struct window *window, int64_t position);

/* Is there room for rows, and for so many bytes? Into an empty window any bytes fit. */
bool window_room(const struct window *window, uint32_t rows, uint64_t bytes);

/* The last row added, or the watermark where there is none: where to read on. */
int64_t window_position(const struct window *window);

/*
 * Adds the row behind all others; its position is greater than theirs, and there is room. key_hash: of its
 * Kafka key; rows of one key go out one after another. Returns its ticket: tickets count up from 1 without
 * a gap, so a ring of rows_max entries holds what belongs to them.
 */
uint64_t window_add(struct window *window, int64_t position, uint64_t key_hash, uint32_t size);

/* The row to be given to the broker now; false: none. The caller gives it, and then says so, or not. */
bool window_next(struct window *window, uint64_t now_ms, uint64_t *ret_ticket);

/* The row of window_next() is with the broker: exactly one report will follow. */
void window_given(struct window *window, uint64_t ticket);

/*
 * A report for a row that was given, or a refusal of the row of window_next() on the spot. random: any
 * number, for the length of the rest. False: there is no such row (any more).
 */
bool window_report(struct window *window, uint64_t ticket, enum window_outcome outcome, uint64_t now_ms,
                   uint64_t random);

/* The producer is gone: what was given counts as returned, and may go out again at once. */
void window_recall(struct window *window);

/*
 * The run of delivered and dead rows from the oldest on: the watermark may go to ret_position. Returns its
 * length, at most rows. ret_dead: the dead ones among them, room for dead_max; the run ends where that is
 * used up. Changes nothing.
 */
uint32_t window_run(const struct window *window, uint32_t rows, struct window_dead *ret_dead,
                    uint32_t dead_max, uint32_t *ret_dead_count, int64_t *ret_position);

/* The watermark is durable at the end of a run of so many rows: they leave. Returns the first ticket that
 * stays. */
uint64_t window_settle(struct window *window, uint32_t rows);

/* Tries so far, of a row in the window. */
uint32_t window_tries(const struct window *window, uint64_t ticket);

/* When window_next() may give a row that rests now; UINT64_MAX: none rests. */
uint64_t window_due_ms(const struct window *window);

struct window_figures window_look(const struct window *window);

/* Asserts all invariants; as long as the window. */
void window_check(const struct window *window);

#endif
