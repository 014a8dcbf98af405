/*
 * relay_thread.h - the relay as `holdfast persist` runs it: a thread with a connection of its own to
 * PostgreSQL, and a Kafka producer.
 */
#ifndef HOLDFAST_RELAY_THREAD_H
#define HOLDFAST_RELAY_THREAD_H

#include "persist/kafka.h"
#include "persist/outbox_store.h"

struct relay_thread_settings {
    struct pg_settings postgres; /* its texts must outlive the thread; stop is set by the thread itself */
    struct kafka_settings kafka; /* wake_fd is set by the thread itself */
    const char *cluster;         /* persist.kafka_cluster */
    uint32_t rows_max;
    uint64_t bytes_max;
    uint64_t keep_seconds;
};

struct relay_thread;

/*
 * Checks what can be checked at once: settings, the outbox, and, where the brokers answer, who they are and
 * whether the topics can be used. Brokers that do not answer are only warned of. 0, or negative errno with
 * what is wrong and what to do in ret_cause. The outbox's tables must be there.
 */
int relay_thread_open(const struct relay_thread_settings *settings, struct relay_thread **ret_thread,
                      char ret_cause[RELAY_CAUSE_SIZE]);

/* 0, or negative errno. */
int relay_thread_start(struct relay_thread *thread);

/* Any thread: there are new rows in the outbox. */
void relay_thread_wake(struct relay_thread *thread);

/* What the broker has already is settled, for a few seconds at most; then the thread ends. Frees it. NULL:
 * nothing. */
void relay_thread_stop(struct relay_thread *thread);

/* Any thread. Prometheus text, at most room bytes; returns its size. */
#define RELAY_METRICS_SIZE 8192u
size_t relay_thread_metrics(const struct relay_thread *thread, char *ret_text, size_t room);

#endif
