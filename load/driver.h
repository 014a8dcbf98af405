/*
 * driver.h - one thread of the load: its connections, in a closed loop.
 */
#ifndef HOLDFAST_LOAD_DRIVER_H
#define HOLDFAST_LOAD_DRIVER_H

#include "load/workload.h"

struct driver;

/* Connects so many connections. The workload stays the caller's. NULL: ret_error says why, at least 256
 * bytes. */
struct driver *driver_open(struct workload *workload, uint32_t connections, char *ret_error);

/* Asks until nobody is left and everything is answered, or *giving_up. Runs on any one thread. */
void driver_run(struct driver *driver, const atomic_bool *giving_up);

/* Why the first connection broke, or "" where none did. */
const char *driver_broken(const struct driver *driver, uint32_t *ret_count);

void driver_free(struct driver *driver);

uint64_t now_ns(void);

#endif
