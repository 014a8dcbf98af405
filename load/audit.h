/*
 * audit.h - what the buyers were told against what the server says.
 */
#ifndef HOLDFAST_LOAD_AUDIT_H
#define HOLDFAST_LOAD_AUDIT_H

#include "load/workload.h"

#define DIFFERENCES_SHOWN_MAX 20
#define DIFFERENCE_SIZE_MAX   240

struct audit {
    uint64_t differences;
    char shown[DIFFERENCES_SHOWN_MAX][DIFFERENCE_SIZE_MAX]; /* the first of them */
    uint64_t seats_checked;
    uint64_t holds_checked;

    /* the waiting room (room_audit.c) */
    uint64_t places_checked;
    uint64_t active_most; /* who certainly were active at once */
    uint64_t admitted;    /* holds whose buyer was certainly active when he asked */

    /* for workloads that keep books of their own: what is recorded there, what is left; negative: not told
     */
    int64_t recorded;
    int64_t units_left;
};

/* Notes a difference. */
__attribute__((format(printf, 2, 3))) void audit_differs(struct audit *audit, const char *format, ...);

/* Makes the event the load sells: a pool or a hall, with a waiting room or without. False: ret_error says
 * why, at least 256 bytes; an event that has holds already is refused, because the audit could not tell
 * them from the load's. */
bool audit_prepare(const struct load_options *options, bool pool, bool room, char *ret_error);

/* Compares what the buyers of the total were told with what the server says. False: the server could not be
 * asked; ret_error says why. */
bool audit_run(const struct load_options *options, bool pool, const struct tally *total,
               struct audit *ret_audit, char *ret_error);

#endif
