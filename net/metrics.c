/*
 * metrics.c - Prometheus text from the shards' figures.
 *
 * A shard counts in plain numbers (struct loop_figures). Every few milliseconds it publishes them: relaxed
 * stores of one writer, relaxed loads of any reader. That is the one exception to R6 besides the mailboxes:
 * no figure decides anything, and readers may see some figures older than others.
 */
#include "net/metrics.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct metric_name {
    const char *name;
    const char *labels; /* besides shard, with a comma before them */
    const char *type;
    const char *help;
    double scale; /* from the counted unit to the published one */
};

static const struct metric_name metric_names[METRIC_COUNT] = {
    [METRIC_CONNECTIONS_HTTP] = {"holdfast_connections", ",protocol=\"http\"", "gauge", "Open connections.",
                                 1},
    [METRIC_CONNECTIONS_RESP] = {"holdfast_connections", ",protocol=\"resp\"", "gauge", "Open connections.",
                                 1},
    [METRIC_ACCEPTED] = {"holdfast_connections_accepted_total", "", "counter", "Connections accepted.", 1},
    [METRIC_REFUSED] = {"holdfast_connections_refused_total", "", "counter",
                        "Connections beyond the bound.", 1},
    [METRIC_TIMED_OUT] = {"holdfast_connections_timed_out_total", "", "counter",
                          "Connections closed by a deadline: incomplete request, or nothing read.", 1},
    [METRIC_NOAUTH] = {"holdfast_requests_refused_total", ",reason=\"noauth\"", "counter",
                       "Requests refused at the door, by reason.", 1},
    [METRIC_RATELIMIT_USER] = {"holdfast_requests_refused_total", ",reason=\"ratelimit_user\"", "counter",
                               "Requests refused at the door, by reason.", 1},
    [METRIC_RATELIMIT_ADDRESS] = {"holdfast_requests_refused_total", ",reason=\"ratelimit_address\"",
                                  "counter", "Requests refused at the door, by reason.", 1},
    [METRIC_RATE_EVICTED] = {"holdfast_rate_buckets_evicted_total", "", "counter",
                             "Buckets that were not full and made room for others (rate.buckets).", 1},
    [METRIC_REQUESTS_IN_FLIGHT] = {"holdfast_requests_in_flight", "", "gauge", "Requests not yet answered.",
                                   1},
    [METRIC_BYTES_RECEIVED] = {"holdfast_received_bytes_total", "", "counter", "Bytes received.", 1},
    [METRIC_BYTES_SENT] = {"holdfast_sent_bytes_total", "", "counter", "Bytes sent.", 1},
    [METRIC_INPUT_BYTES] = {"holdfast_input_bytes", "", "gauge", "Memory for incomplete requests.", 1},
    [METRIC_OUTPUT_BYTES] = {"holdfast_output_bytes", "", "gauge", "Memory for answers that wait.", 1},
    [METRIC_EVENTS] = {"holdfast_events", "", "gauge", "Events this shard knows.", 1},
    [METRIC_HOLDS_LIVE] = {"holdfast_holds", ",state=\"held\"", "gauge", "Holds by state.", 1},
    [METRIC_HOLDS_CONFIRMED] = {"holdfast_holds", ",state=\"confirmed\"", "gauge", "Holds by state.", 1},
    [METRIC_HOLDS_ENDED] = {"holdfast_holds", ",state=\"ended\"", "gauge", "Holds by state.", 1},
    [METRIC_HOLDS_EXPIRED] = {"holdfast_holds_expired_total", "", "counter",
                              "Holds that reached their deadline.", 1},
    [METRIC_USERS] = {"holdfast_users", "", "gauge", "Users with a hold, for each event.", 1},
    [METRIC_KEYS] = {"holdfast_idempotency_keys", "", "gauge", "Idempotency answers remembered.", 1},
    [METRIC_OPERATIONS] = {"holdfast_operations", "", "gauge", "Commands under way in the core.", 1},
    [METRIC_PARKED] = {"holdfast_parked", "", "gauge",
                       "Messages and commands waiting for another one's end.", 1},
    [METRIC_RECORDS] = {"holdfast_records_total", "", "counter", "Records appended to the journal.", 1},
    [METRIC_JOURNAL_BYTES] = {"holdfast_journal_bytes_total", "", "counter",
                              "Bytes of batches in the journal, padding included.", 1},
    [METRIC_JOURNAL_BATCHES] = {"holdfast_journal_batches_total", "", "counter",
                                "Batches written to the journal.", 1},
    [METRIC_JOURNAL_BY_THREAD] = {"holdfast_journal_thread_batches_total", "", "counter",
                                  "Batches written by the thread beside the shard, not by its ring.", 1},
    [METRIC_JOURNAL_WRITE_US_SUM] =
        {"holdfast_journal_write_seconds_total", "", "counter",
         "Time that batches took from their writing to the step that saw its end.", 0.000001},
    [METRIC_JOURNAL_WRITE_US_MAX] = {"holdfast_journal_write_seconds_max", "", "gauge",
                                     "Longest writing of a batch since the start.", 0.000001},
    [METRIC_SCARCITY] = {"holdfast_journal_scarcity", "", "gauge",
                         "Room for the journal: 0 enough, 1 nothing new is begun, 2 nothing is changed.",
                         1},
    [METRIC_EXPIRY_LAG_MS] = {"holdfast_expiry_lag_seconds", "", "gauge", "How far the sweep is behind.",
                              0.001},
    [METRIC_QUEUE_WAITING] = {"holdfast_queue_tokens", ",state=\"waiting\"", "gauge",
                              "Places in waiting rooms by state.", 1},
    [METRIC_QUEUE_ACTIVE] = {"holdfast_queue_tokens", ",state=\"active\"", "gauge",
                             "Places in waiting rooms by state.", 1},
    [METRIC_QUEUE_JOINED] = {"holdfast_queue_joins_total", "", "counter", "Places given to who joined.", 1},
    [METRIC_QUEUE_ACTIVATED] = {"holdfast_queue_activations_total", "", "counter",
                                "Places that became active.", 1},
    [METRIC_QUEUE_POLLS] = {"holdfast_queue_polls", "", "gauge", "Long polls that wait.", 1},
    [METRIC_QUEUE_WATCHES] = {"holdfast_queue_watches", "", "gauge", "Tokens that connections watch.", 1},
    [METRIC_MAILBOX_BYTES] = {"holdfast_mailbox_bytes", "", "gauge",
                              "Bytes waiting in this shard's mailboxes.", 1},
    [METRIC_MAILBOX_FULL] = {"holdfast_mailbox_full_total", "", "counter",
                             "Times that another shard's mailbox had no room for a message.", 1},
    [METRIC_RING_FULL] = {"holdfast_ring_full_total", "", "counter",
                          "Times that the ring's queue was full and was submitted before the step's end.",
                          1},
    [METRIC_TICKS] = {"holdfast_loop_ticks_total", "", "counter", "Steps of the loop.", 1},
    [METRIC_TICK_US_MAX] = {"holdfast_loop_tick_seconds_max", "", "gauge",
                            "Longest step of the loop since the start.", 0.000001},
    [METRIC_TICK_US_SUM] = {"holdfast_loop_busy_seconds_total", "", "counter", "Time in steps of the loop.",
                            0.000001},
};

static const char *const command_names[METRIC_COMMANDS] = {
    [0] = NULL,
    [COMMAND_HOLD] = "hold",
    [COMMAND_CONFIRM] = "confirm",
    [COMMAND_EXTEND] = "extend",
    [COMMAND_RELEASE] = "release",
    [COMMAND_CANCEL] = "cancel",
    [COMMAND_HOLD_GET] = "hold_get",
    [COMMAND_HOLDS] = "holds",
    [COMMAND_EVENT_CREATE] = "event_create",
    [COMMAND_EVENT_SET] = "event_set",
    [COMMAND_EVENT_GET] = "event_get",
    [COMMAND_SEATS] = "seats",
    [COMMAND_QUEUE_JOIN] = "queue_join",
    [COMMAND_QUEUE_GET] = "queue_get",
    [COMMAND_QUEUE_LEAVE] = "queue_leave",
    [COMMAND_QUEUE_WATCH] = "queue_watch",
    [COMMAND_QUEUE_UNWATCH] = "queue_unwatch",
    [METRIC_COMMAND_LIST] = "event_list",
    [METRIC_COMMAND_OTHER] = "other",
};

static void
publish(_Atomic uint64_t *to, const uint64_t *from, size_t count)
{
    /* relaxed: nobody draws a conclusion from one figure about another */
    for (size_t i = 0; i < count; i++)
        atomic_store_explicit(&to[i], from[i], memory_order_relaxed);
}

void
metrics_publish(struct shard_metrics *metrics, const struct loop_figures *figures)
{
    publish(metrics->value, figures->value, METRIC_COUNT);
    publish(metrics->commands, figures->commands, METRIC_COMMANDS);
    publish(metrics->outcomes, figures->outcomes, STATUS_COUNT);
    publish(metrics->ticks, figures->ticks, TICK_BUCKETS);
    publish(metrics->waits, figures->waits, WAIT_BUCKETS);
    publish(&metrics->waits_ms, &figures->waits_ms, 1);
}

uint64_t
metrics_sum(struct shard_metrics *metrics, uint32_t shard_count, enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < shard_count; i++)
        sum += atomic_load_explicit(&metrics[i].value[metric], memory_order_relaxed);
    return sum;
}

/* Text that grows up to a bound; beyond it is cut at a line. */
struct text {
    char *data;
    size_t size;
    size_t room;
};

static void line(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
line(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->data + text->size, text->room - text->size, format, arguments);
    va_end(arguments);
    if (size > 0 && (size_t)size < text->room - text->size)
        text->size += (size_t)size;
}

static void
head(struct text *text, const char *name, const char *type, const char *help)
{
    line(text, "# HELP %s %s\n", name, help);
    line(text, "# TYPE %s %s\n", name, type);
}

static uint64_t
figure(_Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void
text_values(struct text *text, struct shard_metrics *metrics, uint32_t shard_count)
{
    for (uint32_t m = 0; m < METRIC_COUNT; m++) {
        const struct metric_name *name = &metric_names[m];
        assert(name->name != NULL);
        if (m == 0 || strcmp(name->name, metric_names[m - 1].name) != 0)
            head(text, name->name, name->type, name->help);
        for (uint32_t i = 0; i < shard_count; i++) {
            uint64_t value = figure(&metrics[i].value[m]);
            if (name->scale == 1)
                line(text, "%s{shard=\"%u\"%s} %llu\n", name->name, i, name->labels,
                     (unsigned long long)value);
            else
                line(text, "%s{shard=\"%u\"%s} %.6f\n", name->name, i, name->labels,
                     (double)value * name->scale);
        }
    }
}

static void
text_ticks(struct text *text, struct shard_metrics *metrics, uint32_t shard_count)
{
    static const char name[] = "holdfast_loop_tick_seconds";
    head(text, name, "histogram", "Duration of a step of the loop.");
    for (uint32_t i = 0; i < shard_count; i++) {
        uint64_t sum = 0;
        for (uint32_t b = 0; b < TICK_BUCKETS; b++) {
            sum += figure(&metrics[i].ticks[b]);
            if (b + 1 < TICK_BUCKETS)
                line(text, "%s_bucket{shard=\"%u\",le=\"%.6f\"} %llu\n", name, i, (double)(1u << b) * 1e-6,
                     (unsigned long long)sum);
        }
        line(text, "%s_bucket{shard=\"%u\",le=\"+Inf\"} %llu\n", name, i, (unsigned long long)sum);
        line(text, "%s_sum{shard=\"%u\"} %.6f\n", name, i,
             (double)figure(&metrics[i].value[METRIC_TICK_US_SUM]) * 1e-6);
        line(text, "%s_count{shard=\"%u\"} %llu\n", name, i, (unsigned long long)sum);
    }
}

static void
text_waits(struct text *text, struct shard_metrics *metrics, uint32_t shard_count)
{
    static const char name[] = "holdfast_queue_wait_seconds";
    head(text, name, "histogram", "From the join to the activation, of places that became active.");
    for (uint32_t i = 0; i < shard_count; i++) {
        uint64_t sum = 0;
        for (uint32_t b = 0; b < WAIT_BUCKETS - 1; b++) {
            sum += figure(&metrics[i].waits[b]);
            line(text, "%s_bucket{shard=\"%u\",le=\"%u\"} %llu\n", name, i, wait_bounds_s[b],
                 (unsigned long long)sum);
        }
        sum += figure(&metrics[i].waits[WAIT_BUCKETS - 1]);
        line(text, "%s_bucket{shard=\"%u\",le=\"+Inf\"} %llu\n", name, i, (unsigned long long)sum);
        line(text, "%s_sum{shard=\"%u\"} %.3f\n", name, i, (double)figure(&metrics[i].waits_ms) * 0.001);
        line(text, "%s_count{shard=\"%u\"} %llu\n", name, i, (unsigned long long)sum);
    }
}

static void
text_process(struct text *text, const struct process_figures *process)
{
    head(text, "holdfast_recovery_seconds", "gauge", "How long the start took to recover.");
    line(text, "holdfast_recovery_seconds %.3f\n", (double)process->recovery_ms * 0.001);
    head(text, "holdfast_recovery_records", "gauge", "Records that the start replayed from journals.");
    line(text, "holdfast_recovery_records %llu\n", (unsigned long long)process->recovery_records);
    head(text, "holdfast_recovery_cuts", "gauge", "Journals whose torn end the start cut off.");
    line(text, "holdfast_recovery_cuts %llu\n", (unsigned long long)process->recovery_cuts);
    head(text, "holdfast_snapshots_total", "counter", "Snapshots, by outcome.");
    line(text, "holdfast_snapshots_total{outcome=\"written\"} %llu\n",
         (unsigned long long)process->snapshots);
    line(text, "holdfast_snapshots_total{outcome=\"failed\"} %llu\n",
         (unsigned long long)process->snapshots_failed);
}

size_t
metrics_text(struct shard_metrics *metrics, uint32_t shard_count, const struct process_figures *process,
             char *ret_text, size_t room)
{
    struct text text = {ret_text, 0, room};
    text_values(&text, metrics, shard_count);
    text_ticks(&text, metrics, shard_count);
    text_waits(&text, metrics, shard_count);
    text_process(&text, process);
    head(&text, "holdfast_commands_total", "counter", "Commands received, by kind.");
    for (uint32_t i = 0; i < shard_count; i++)
        for (uint32_t c = 0; c < METRIC_COMMANDS; c++)
            if (command_names[c] != NULL)
                line(&text, "holdfast_commands_total{shard=\"%u\",command=\"%s\"} %llu\n", i,
                     command_names[c], (unsigned long long)figure(&metrics[i].commands[c]));
    head(&text, "holdfast_outcomes_total", "counter", "Answers of the core, by outcome.");
    for (uint32_t i = 0; i < shard_count; i++)
        for (uint32_t s = 0; s < STATUS_COUNT; s++)
            line(&text, "holdfast_outcomes_total{shard=\"%u\",status=\"%s\"} %llu\n", i,
                 status_code((enum status)s), (unsigned long long)figure(&metrics[i].outcomes[s]));
    return text.size;
}
