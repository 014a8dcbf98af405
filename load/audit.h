/*
 * audit.h - what the buyers were told against what the server says.
 */
#ifndef HOLDFAST_LOAD_AUDIT_H
#define HOLDFAST_LOAD_AUDIT_H

#include "load/ledger.h"
#include "load/options.h"

#define DIFFERENCES_SHOWN_MAX 20
#define DIFFERENCE_SIZE_MAX   240

struct audit {
    uint64_t differences;
    char shown[DIFFERENCES_SHOWN_MAX][DIFFERENCE_SIZE_MAX]; /* the first of them */
    uint64_t seats_checked;
    uint64_t holds_checked;
};

/* Makes the event the load sells. False: ret_error says why, at least 256 bytes; an event that has holds
 * already is refused, because the audit could not tell them from the load's. */
bool audit_prepare(const struct load_options *options, char *ret_error);

/* Compares. lost_units: of requests whose answer never came, so that they may be held or not. False: the
 * server could not be asked; ret_error says why. */
bool audit_run(const struct load_options *options, const struct ledger *ledger, uint64_t lost_units,
               struct audit *ret_audit, char *ret_error);

#endif
