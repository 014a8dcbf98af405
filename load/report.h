/*
 * report.h - the result of a load: one JSON object, and the table made of such objects.
 */
#ifndef HOLDFAST_LOAD_REPORT_H
#define HOLDFAST_LOAD_REPORT_H

#include "load/audit.h"
#include "load/usage.h"
#include "load/workload.h"

#include <jansson.h>

#define REPORT_RESULTS_MAX 16

/* What a load came to. */
struct outcome {
    const struct load_options *options;
    const struct tally *tally; /* of all threads */
    uint64_t all_ns;           /* how long it took */
    uint64_t holds_ns;         /* until the last purchase was granted */
    bool counted;              /* oversold was counted */
    uint64_t oversold;
    const struct audit *audit; /* NULL: there was none */
    double client_seconds;     /* processor time */
    struct usage server;
    bool server_known;
};

/* The result as a JSON object, the caller's. */
json_t *report_json(const struct outcome *outcome);

/* Prints results side by side on standard output: for people, or as CSV. */
void report_table(json_t *const *results, size_t count, enum output_form form);

/* Writes the distribution of latencies. False: told on standard error. */
bool report_latencies(const char *path, const struct tally *tally);

/* `holdfast load table FILE...`: the exit code. */
int report_files(char **files, int count, enum output_form form);

#endif
