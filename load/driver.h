/*
 * driver.h - one thread of the load: its connections, and who asks when.
 */
#ifndef HOLDFAST_LOAD_DRIVER_H
#define HOLDFAST_LOAD_DRIVER_H

#include "load/workload.h"

struct driver;

/* Connects so many connections, the last wait_connections of them for those who wait. The workload stays
 * the caller's. NULL: ret_error says why, at least 256 bytes. */
struct driver *driver_open(struct workload *workload, uint32_t connections, uint32_t wait_connections,
                           char *ret_error);

/* Asks until nobody is left and everything is answered, or *giving_up. start_ns: when the schedule begins.
 * Runs on any one thread. */
void driver_run(struct driver *driver, uint64_t start_ns, const atomic_bool *giving_up);

/* Why the first connection broke, or "" where none did. */
const char *driver_broken(const struct driver *driver, uint32_t *ret_count);

/* Places on a lane that nobody uses or stands in front of. */
uint32_t driver_places_free(const struct driver *driver, enum lane lane);

void driver_free(struct driver *driver);

#endif
