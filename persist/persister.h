/*
 * persister.h - follows the journals of a data directory and carries what they say to PostgreSQL.
 *
 *     persister_open ─▶ persister_run, until *stop ─▶ persister_close
 *
 * Logs what it does (persist/log.h). One thread; persister_metrics() and persister_healthy() may be called
 * by others.
 */
#ifndef HOLDFAST_PERSISTER_H
#define HOLDFAST_PERSISTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/pg.h"

#define PERSISTER_LOG_SAMPLE 20 /* rows logged a second */

/* Texts stay the caller's as long as the persister is open. */
struct persister_settings {
    const char *data;     /* the data directory */
    const char *postgres; /* pg_uri_wrong() has nothing against it */
    uint32_t batch_records;
    uint32_t copy_rows;
    uint64_t cache_bytes;
    uint32_t wait_ms;
    uint32_t backoff_ms_max;
    uint32_t log_rows_per_second;
    const atomic_bool *stop;
};

struct persister;

/* Publishes its position, so that the server keeps what is needed; connects, migrates, takes the lock, and
 * finds the place to go on from. False: told. */
bool persister_open(struct persister **ret_persister, const struct persister_settings *settings);
/* Until *stop. PostgreSQL may go and come back meanwhile. */
void persister_run(struct persister *persister);
void persister_close(struct persister *persister);

/* Before persister_run(): who is told of each commit that has put rows into the outbox, and whose figures
 * are shown with the persister's. The caller's, and open for longer than the persister runs. */
struct relay_thread;
void persister_set_relay(struct persister *persister, struct relay_thread *relay);

/* Only the schema. False: told. */
bool persister_migrate(const struct persister_settings *settings);

/* Prometheus text; returns its size. */
size_t persister_metrics(struct persister *persister, char *ret_text, size_t size);
/* True: carrying, or waiting for something to carry. ret_text: one line in any case. */
bool persister_healthy(struct persister *persister, char *ret_text, size_t size);

#endif
