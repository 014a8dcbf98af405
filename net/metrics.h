/*
 * metrics.h - figures of the shards, each written by its own shard and read by whoever is asked for
 * /metrics.
 */
#ifndef HOLDFAST_METRICS_H
#define HOLDFAST_METRICS_H

#include "core/shard.h"

#include <stdatomic.h>
#include <stdint.h>

/* In the order of the table in metrics.c. */
enum metric {
    METRIC_CONNECTIONS_HTTP,
    METRIC_CONNECTIONS_RESP,
    METRIC_ACCEPTED,
    METRIC_REFUSED,
    METRIC_TIMED_OUT,
    METRIC_NOAUTH,
    METRIC_RATELIMIT_USER,
    METRIC_RATELIMIT_ADDRESS,
    METRIC_RATE_EVICTED,
    METRIC_REQUESTS_IN_FLIGHT,
    METRIC_BYTES_RECEIVED,
    METRIC_BYTES_SENT,
    METRIC_INPUT_BYTES,
    METRIC_OUTPUT_BYTES,
    METRIC_EVENTS,
    METRIC_HOLDS_LIVE,
    METRIC_HOLDS_CONFIRMED,
    METRIC_HOLDS_ENDED,
    METRIC_HOLDS_EXPIRED,
    METRIC_USERS,
    METRIC_KEYS,
    METRIC_OPERATIONS,
    METRIC_PARKED,
    METRIC_RECORDS,
    METRIC_JOURNAL_BYTES,
    METRIC_JOURNAL_BATCHES,
    METRIC_JOURNAL_BY_THREAD,
    METRIC_JOURNAL_WRITE_US_SUM,
    METRIC_JOURNAL_WRITE_US_MAX,
    METRIC_SCARCITY,
    METRIC_EXPIRY_LAG_MS,
    METRIC_QUEUE_WAITING,
    METRIC_QUEUE_ACTIVE,
    METRIC_QUEUE_JOINED,
    METRIC_QUEUE_ACTIVATED,
    METRIC_QUEUE_POLLS,
    METRIC_QUEUE_WATCHES,
    METRIC_MAILBOX_BYTES,
    METRIC_MAILBOX_FULL,
    METRIC_RING_FULL,
    METRIC_TICKS,
    METRIC_TICK_US_MAX,
    METRIC_TICK_US_SUM,
    METRIC_COUNT,
};

/* Commands counted by name: the core's by enum command_type, then the server's own. */
#define METRIC_COMMANDS (COMMAND_QUEUE_UNWATCH + 3)
enum { METRIC_COMMAND_LIST = COMMAND_QUEUE_UNWATCH + 1, METRIC_COMMAND_OTHER = COMMAND_QUEUE_UNWATCH + 2 };

/* Durations of a loop's step: below 1, 2, 4, ... microseconds; the last one is without bound. */
#define TICK_BUCKETS 20

/* One shard's figures: plain numbers in the loop, and their published copy. */
struct loop_figures {
    uint64_t value[METRIC_COUNT];
    uint64_t commands[METRIC_COMMANDS];
    uint64_t outcomes[STATUS_COUNT];
    uint64_t ticks[TICK_BUCKETS];
    uint64_t waits[WAIT_BUCKETS];
    uint64_t waits_ms;
};

struct shard_metrics {
    _Atomic uint64_t value[METRIC_COUNT];
    _Atomic uint64_t commands[METRIC_COMMANDS];
    _Atomic uint64_t outcomes[STATUS_COUNT];
    _Atomic uint64_t ticks[TICK_BUCKETS];
    _Atomic uint64_t waits[WAIT_BUCKETS];
    _Atomic uint64_t waits_ms;
};

/* Figures of the process: of its start, and what its housekeeper has done. */
struct process_figures {
    uint64_t recovery_ms;
    uint64_t recovery_records;
    uint64_t recovery_cuts;
    uint64_t snapshots;
    uint64_t snapshots_failed;
};

/* By the shard's own thread. */
void metrics_publish(struct shard_metrics *metrics, const struct loop_figures *figures);

/* Any thread. Writes the Prometheus text; returns its size, at most room. */
size_t metrics_text(struct shard_metrics *metrics, uint32_t shard_count,
                    const struct process_figures *process, char *ret_text, size_t room);
#define METRICS_TEXT_SIZE(shards) (16384 + (size_t)(shards)*20480)

/* Any thread: one figure summed over the shards. */
uint64_t metrics_sum(struct shard_metrics *metrics, uint32_t shard_count, enum metric metric);

#endif
