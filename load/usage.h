/*
 * usage.h - what processes have used: processor time, bytes written.
 */
#ifndef HOLDFAST_LOAD_USAGE_H
#define HOLDFAST_LOAD_USAGE_H

#include <stdint.h>

struct usage {
    double cpu_seconds;
    uint64_t written_bytes; /* to storage; of those that still live */
};

/* Of these processes and all that descend from them; of those that have ended what their parents have taken
 * over. Processes that are not there count nothing. */
struct usage usage_of(const uint32_t *pids, uint32_t count);

/* Of this process, without its children. */
double usage_own_seconds(void);

#endif
