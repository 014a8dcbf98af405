/*
 * schedule.h - when buyers come: an open loop's arrivals, whatever the server does.
 */
#ifndef HOLDFAST_LOAD_SCHEDULE_H
#define HOLDFAST_LOAD_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_PIECES_MAX   64
#define SCHEDULE_RATE_MAX     10000000.0
#define SCHEDULE_SECONDS_MAX  86400.0
#define SCHEDULE_TRACE_MAX    100000000u /* lines of a trace */
#define SCHEDULE_TRACE_PREFIX "trace:"
#define SCHEDULE_NEVER        UINT64_MAX

/* The rate goes evenly from one value to the other. */
struct schedule_piece {
    double rate_from; /* arrivals a second */
    double rate_to;
    double seconds; /* infinite for a last one without an end */
    double begin_seconds;
    double before; /* arrivals before this piece, not necessarily whole */
};

struct schedule {
    struct schedule_piece piece[SCHEDULE_PIECES_MAX];
    uint32_t piece_count;
    uint64_t *trace_ns; /* a recorded one: the time of each arrival; else NULL */
    uint64_t trace_count;
};

/* Reads a schedule: pieces, one after the other, separated by commas, or a file with the time of one
 * arrival in each line, in seconds, in order:
 *
 *     5000                      5,000 a second, until all have come
 *     1000-20000@30             from 1,000 to 20,000 a second in 30 seconds
 *     1000@10,20000@5,1000@10   steps
 *     trace:FILE
 *
 * False: ret_error says why, at least 160 bytes. End with schedule_done(). */
bool schedule_read(const char *text, struct schedule *ret_schedule, char *ret_error);
void schedule_done(struct schedule *schedule);

/* When the arrival of this number (from 0) is due, in ns from the start; SCHEDULE_NEVER where the schedule
 * has ended before. */
uint64_t schedule_due_ns(const struct schedule *schedule, uint64_t arrival);

/* How many arrivals there are in all; UINT64_MAX where there is no end. */
uint64_t schedule_count(const struct schedule *schedule);

#endif
