/*
 * report.h - the result of a load: one JSON object, and the table made of such objects.
 */
#ifndef HOLDFAST_LOAD_REPORT_H
#define HOLDFAST_LOAD_REPORT_H

#include "load/audit.h"
#include "load/workload.h"

#include <jansson.h>

/* The result as a JSON object, the caller's: all_ns is how long it took, holds_ns until the last hold was
 * granted. The tally is that of all threads; audit is NULL for raw loads.
 */
json_t *report_json(const struct load_options *options, const struct tally *tally, uint64_t all_ns,
                    uint64_t holds_ns, uint64_t oversold, const struct audit *audit);

/* Prints results side by side on standard output. */
void report_table(json_t *const *results, size_t count);

/* `holdfast load table FILE...`: the exit code. */
int report_files(char **files, int count);

#define REPORT_RESULTS_MAX 16

#endif
