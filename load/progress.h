/*
 * progress.h - what is going on, while it goes on: the live line and the counts over time.
 */
#ifndef HOLDFAST_LOAD_PROGRESS_H
#define HOLDFAST_LOAD_PROGRESS_H

#include "load/workload.h"

#include <stdio.h>

/* Counts of all threads at one moment. */
struct progress {
    uint64_t arrived, dropped, answered, held, sold, waiting, active;
};

struct progress progress_now(const struct tally *const *tallies, uint32_t count);

struct progress_view {
    const struct load_options *options;
    bool terminal;
    FILE *series; /* or NULL */
    uint64_t begin_ns;
    uint64_t shown_ns;
    uint64_t written_ns;
    struct progress shown;
};

/* Opens the file of --series, where there is one. False: told on standard error. */
bool progress_open(const struct load_options *options, uint64_t begin_ns, struct progress_view *ret_view);

/* Shows and writes what is due by now; all of it where it is the last. */
void progress_step(struct progress_view *view, const struct progress *progress, uint64_t now, bool last);

/* False: the file could not be written, which has been told. */
bool progress_close(struct progress_view *view);

#endif
