/*
 * persist_status.h - the persister's own listener: GET /metrics and /healthz, and nothing else.
 */
#ifndef HOLDFAST_PERSIST_STATUS_H
#define HOLDFAST_PERSIST_STATUS_H

#include "net/settings.h"
#include "persist/persister.h"

struct persist_status;

/* Listens, and answers in a thread of its own until it is closed. The persister stays open as long.
 * `address` is set to what it listens at. 0 or negative errno. */
int persist_status_open(struct persist_status **ret_status, struct persister *persister,
                        struct listen_address *address);
void persist_status_close(struct persist_status *status); /* NULL: nothing */

#endif
