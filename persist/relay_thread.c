/*
 * relay_thread.c - the relay as `holdfast persist` runs it: its thread, its waits, its figures and log.
 *
 * The thread lies in poll(2) on one eventfd, which librdkafka writes to when there are reports, and
 * relay_thread_wake() when there are rows. See also: outbox_relay.c, which does the work.
 */
#include "persist/relay_thread.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "persist/log.h"

#define STOP_MS     3000u /* how long a stop waits for reports that are under way */
#define WAIT_MS_MAX 1000u

struct relay_thread {
    struct kafka *kafka;
    struct pg_store *store;
    struct relay *relay;
    int wake_fd;
    bool started;
    pthread_t thread;
    atomic_bool look; /* there are new rows */
    atomic_bool stop;
    atomic_bool hurry; /* the stop has waited long enough: ends PostgreSQL's waits, too */
};

static uint64_t
clock_ms(clockid_t clock)
{
    struct timespec now = {0};
    (void)clock_gettime(clock, &now); /* cannot fail: the clock exists */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
copy_text(char *to, size_t size, struct bytes from)
{
    size_t length = from.data == NULL ? 0 : from.size < size - 1 ? from.size : size - 1;
    if (length > 0)
        memcpy(to, from.data, length);
    to[length] = '\0';
}

static void
write_log(void *context, enum relay_level level, const struct outbox_row *row, const char *text)
{
    (void)context;
    if (row != NULL) {
        struct log_cause cause;
        copy_text(cause.trace_id, sizeof cause.trace_id, row->trace_id);
        copy_text(cause.request_id, sizeof cause.request_id, row->request_id);
        (level == RELAY_INFO ? log_info_of : log_error_of)(&cause, "%s", text);
        return;
    }
    switch (level) {
    case RELAY_INFO:
        log_info("%s", text);
        break;
    case RELAY_WARNING:
        log_warning("%s", text);
        break;
    case RELAY_ERROR:
        log_error("%s", text);
        break;
    }
}

static void
ring(struct relay_thread *thread)
{
    static const uint64_t one = 1;
    ssize_t written = write(thread->wake_fd, &one, sizeof one);
    (void)written; /* full: then it is awake anyway */
}

static void *
run(void *argument)
{
    struct relay_thread *thread = argument;
    uint64_t stop_ms = UINT64_MAX;
    for (;;) {
        uint64_t now_ms = clock_ms(CLOCK_MONOTONIC);
        if (atomic_load(&thread->stop) && stop_ms == UINT64_MAX) {
            relay_end(thread->relay);
            stop_ms = now_ms + STOP_MS;
        }
        if (atomic_exchange(&thread->look, false))
            relay_look(thread->relay);
        uint64_t next_ms = relay_step(thread->relay, now_ms, clock_ms(CLOCK_REALTIME));
        if (stop_ms != UINT64_MAX && (now_ms >= stop_ms || relay_ended(thread->relay)))
            return NULL;
        now_ms = clock_ms(CLOCK_MONOTONIC);
        uint64_t wait_ms = next_ms <= now_ms ? 0 : next_ms - now_ms;
        struct pollfd fd = {.fd = thread->wake_fd, .events = POLLIN};
        if (poll(&fd, 1, (int)(wait_ms < WAIT_MS_MAX ? wait_ms : WAIT_MS_MAX)) > 0) {
            uint64_t count;
            ssize_t got = read(thread->wake_fd, &count, sizeof count);
            (void)got; /* how often it rang does not matter */
        }
    }
}

static void
release(struct relay_thread *thread)
{
    relay_free(thread->relay);
    kafka_free(thread->kafka);
    pg_store_free(thread->store);
    if (thread->wake_fd >= 0)
        (void)close(thread->wake_fd); /* nothing was written to a disk */
    free(thread);
}

static int
no_memory(char ret_cause[RELAY_CAUSE_SIZE])
{
    (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "no memory for the relay");
    return -ENOMEM;
}

static int
set_up(struct relay_thread *thread, const struct relay_thread_settings *settings,
       char ret_cause[RELAY_CAUSE_SIZE])
{
    struct kafka_settings kafka = settings->kafka;
    struct pg_settings postgres = settings->postgres;
    struct relay_settings relay = {.rows_max = settings->rows_max,
                                   .bytes_max = settings->bytes_max,
                                   .keep_seconds = settings->keep_seconds,
                                   .cluster = settings->cluster,
                                   .tell_context = thread,
                                   .tell = write_log};
    if (strlen(settings->cluster) >= CLUSTER_SIZE_MAX) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "persist.kafka_cluster is too long for a cluster's id");
        return -EINVAL;
    }
    thread->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (thread->wake_fd < 0)
        return no_memory(ret_cause);
    if (getrandom(&relay.random, sizeof relay.random, 0) != sizeof relay.random)
        relay.random = clock_ms(CLOCK_REALTIME); /* only rests depend on it */
    kafka.wake_fd = thread->wake_fd;
    postgres.stop = &thread->hurry;
    int result = kafka_new(&kafka, &thread->kafka, ret_cause);
    if (result != 0)
        return result;
    thread->store = pg_store_new(&postgres);
    if (thread->store == NULL)
        return no_memory(ret_cause);
    const struct outbox_store store = pg_store_outbox(thread->store);
    const struct broker broker = kafka_broker(thread->kafka);
    thread->relay = relay_open(&relay, &store, &broker);
    if (thread->relay == NULL)
        return no_memory(ret_cause);
    result = relay_check(thread->relay, ret_cause);
    if (result == -EAGAIN)
        log_warning("relay: could not reach kafka: %s; trying on, events wait in the outbox", ret_cause);
    return result == -EAGAIN ? 0 : result;
}

int
relay_thread_open(const struct relay_thread_settings *settings, struct relay_thread **ret_thread,
                  char ret_cause[RELAY_CAUSE_SIZE])
{
    struct relay_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return no_memory(ret_cause);
    thread->wake_fd = -1;
    int result = set_up(thread, settings, ret_cause);
    if (result != 0) {
        release(thread);
        return result;
    }
    *ret_thread = thread;
    return 0;
}

int
relay_thread_start(struct relay_thread *thread)
{
    int error = pthread_create(&thread->thread, NULL, run, thread);
    thread->started = error == 0;
    return -error;
}

void
relay_thread_wake(struct relay_thread *thread)
{
    if (!atomic_exchange(&thread->look, true))
        ring(thread);
}

void
relay_thread_stop(struct relay_thread *thread)
{
    if (thread == NULL)
        return;
    if (thread->started) {
        struct timespec until = {0};
        (void)clock_gettime(CLOCK_REALTIME, &until); /* cannot fail: the clock exists */
        until.tv_sec += STOP_MS / 1000;
        atomic_store(&thread->stop, true);
        ring(thread);
        if (pthread_timedjoin_np(thread->thread, NULL, &until) != 0) {
            atomic_store(&thread->hurry, true);
            int error = pthread_join(thread->thread, NULL);
            assert(error == 0);
        }
    }
    release(thread);
}

struct figure {
    const char *name;
    const char *type;
    const char *help;
    size_t offset;
};

#define AT(field) offsetof(struct relay_figures, field)

static const struct figure figures[] = {
    {"holdfast_relay_delivered_total", "counter", "events that kafka has acknowledged", AT(delivered)},
    {"holdfast_relay_refused_total", "counter", "tries that kafka has refused", AT(refused)},
    {"holdfast_relay_dead_total", "counter", "events moved to outbox_dead", AT(dead)},
    {"holdfast_relay_pruned_total", "counter", "delivered events deleted from the outbox by age",
     AT(pruned)},
    {"holdfast_relay_producers_broken_total", "counter", "producers given up after a fatal error",
     AT(broken)},
    {"holdfast_relay_settles_total", "counter", "times that the watermark was moved", AT(settles)},
    {"holdfast_relay_watermark", "gauge", "position up to which all events are delivered or dead",
     AT(watermark)},
    {"holdfast_relay_window_rows", "gauge", "events read from the outbox and not yet settled", AT(rows)},
    {"holdfast_relay_window_bytes", "gauge", "their payloads", AT(bytes)},
    {"holdfast_relay_lag_milliseconds", "gauge", "age of the oldest event that is not settled", AT(lag_ms)},
    {"holdfast_relay_caught_up", "gauge", "1: the last look into the outbox found nothing new",
     AT(caught_up)},
};

size_t
relay_thread_metrics(const struct relay_thread *thread, char *ret_text, size_t room)
{
    static const char *const states[] = {"closed", "open", "half_open"};
    static const char *const sides[] = {"kafka", "postgres"};
    struct relay_figures values;
    relay_copy_figures(thread->relay, &values);
    FILE *file = fmemopen(ret_text, room, "w");
    if (file == NULL)
        return 0;
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&values + figures[i].offset, sizeof value);
        (void)fprintf(file, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", figures[i].name, figures[i].help,
                      figures[i].name, figures[i].type, figures[i].name, (unsigned long long)value);
    }
    const uint64_t state[] = {values.circuit_broker, values.circuit_store};
    const uint64_t opened[] = {values.opened_broker, values.opened_store};
    (void)fprintf(file, "# HELP holdfast_relay_circuit 1: the circuit to that side is in that state\n"
                        "# TYPE holdfast_relay_circuit gauge\n");
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < 3; i++)
            (void)fprintf(file, "holdfast_relay_circuit{side=\"%s\",state=\"%s\"} %d\n", sides[side],
                          states[i], state[side] == i);
    (void)fprintf(file,
                  "# HELP holdfast_relay_circuit_opened_total times that a side was found to be away\n"
                  "# TYPE holdfast_relay_circuit_opened_total counter\n");
    for (size_t side = 0; side < 2; side++)
        (void)fprintf(file, "holdfast_relay_circuit_opened_total{side=\"%s\"} %llu\n", sides[side],
                      (unsigned long long)opened[side]);
    long size = ftell(file);
    (void)fclose(file); /* memory only */
    return size < 0 || (size_t)size >= room ? 0 : (size_t)size;
}
