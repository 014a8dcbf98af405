/*
 * outbox_relay.h - carries the rows of the outbox to Kafka, each at least once and in order for its key.
 *
 * The relay itself does no I/O: it asks a store (PostgreSQL: outbox_store.c) and a broker (Kafka: kafka.c);
 * the model test puts others in their place. All of it belongs to one thread but where said otherwise.
 */
#ifndef HOLDFAST_OUTBOX_RELAY_H
#define HOLDFAST_OUTBOX_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdfast/types.h"
#include "persist/outbox_window.h"

#define CLUSTER_SIZE_MAX 128u /* of a cluster's id, with the zero behind it */
#define RELAY_CAUSE_SIZE 768u
#define RELAY_FETCH_ROWS 4096u
#define RELAY_DEAD_MAX   256u /* dead rows that one transaction buries */

/* One row of the outbox; data is NULL where the column is. */
struct outbox_row {
    int64_t position;
    int64_t created_ms;
    struct bytes id;
    struct bytes aggregatetype;
    struct bytes aggregateid;
    struct bytes type;
    struct bytes payload;
    struct bytes seq;
    struct bytes traceparent;
    struct bytes request_id;
    struct bytes trace_id;
};

/* Rows read at once; the store's, until they are released. */
struct outbox_rows {
    struct outbox_row *rows;
    uint32_t count;
    bool more; /* there may be more behind them */
};

/* A row to be moved to outbox_dead. */
struct dead_letter {
    int64_t position;
    const char *reason;
    uint32_t attempts;
};

/*
 * What holds the outbox. Every call waits for its end. 0, or:
 *   -EAGAIN   could not now. Whether a change was made is not known.
 *   -ESTALE   settle, name_cluster: another relay has moved what was expected; nothing was changed
 *   others    cannot, for the reason that is told by why()
 */
struct outbox_store {
    void *context;
    int (*load)(void *context, int64_t *ret_watermark, char ret_cluster[CLUSTER_SIZE_MAX]);
    /* Rows behind a position, in order; the first always, then only while those before it are smaller than
     * bytes_max together. */
    int (*read)(void *context, int64_t after, uint32_t rows_max, uint64_t bytes_max,
                struct outbox_rows **ret_rows);
    void (*release)(void *context, struct outbox_rows *rows);
    /* In one transaction: the dead to outbox_dead, the watermark from one position to another. */
    int (*settle)(void *context, int64_t from, int64_t to, const struct dead_letter *dead,
                  uint32_t dead_count);
    int (*name_cluster)(void *context, const char *old, const char *cluster);
    /* Deletes up to rows_max rows at or before a position that are older than so many seconds. */
    int (*prune)(void *context, int64_t upto, uint64_t keep_seconds, uint32_t rows_max, uint32_t *ret_rows);
    const char *(*why)(void *context);
};

enum broker_give {
    BROKER_GIVEN,     /* a report will follow */
    BROKER_FULL,      /* not now: reports must come first */
    BROKER_REFUSED,   /* this row: on the spot, maybe for good */
    BROKER_TOO_LARGE, /* likewise */
    BROKER_BROKEN,    /* the producer is of no more use */
};

/* What has happened since the last poll, besides reports. */
enum broker_news {
    BROKER_QUIET = 0,
    BROKER_LOST = 1,  /* a connection was lost: who comes back in its place is not known */
    BROKER_FATAL = 2, /* the producer is of no more use */
};

/* reason: static. */
typedef void broker_report(void *context, uint64_t ticket, enum window_outcome outcome, const char *reason);

/* What takes the events. reasons are static strings. */
struct broker {
    void *context;
    /* A producer; connects in the background. 0, or negative errno with why(). */
    int (*open)(void *context);
    /* Ends it with all that it holds: no report comes any more. */
    void (*close)(void *context);
    /* Asks the cluster who it is: one round trip. 0; -EAGAIN: nobody answers; others: refused, with why().
     */
    int (*ask)(void *context, char ret_cluster[CLUSTER_SIZE_MAX]);
    /* Makes topics that are missing, where the settings say so, and looks for them anew. Likewise. */
    int (*make_topics)(void *context);
    /* At the start: may events be written to the topics? 0: yes, or it could not be found out; others: no,
     * with why(). */
    int (*may_write)(void *context);
    /* The row stays as it is until its report has come, or close() has returned. */
    enum broker_give (*give)(void *context, uint64_t ticket, const struct outbox_row *row,
                             const char **ret_reason);
    /* Calls report for all that have come; never waits. Returns enum broker_news, joined by or. */
    unsigned (*poll)(void *context, broker_report *report, void *report_context);
    const char *(*why)(void *context);
};

enum relay_level { RELAY_INFO, RELAY_WARNING, RELAY_ERROR };

struct relay_settings {
    uint32_t rows_max;  /* in the window */
    uint64_t bytes_max; /* of their payloads */
    uint64_t keep_seconds;
    uint64_t random; /* any number: for rests */
    const char
        *cluster; /* told: the watermark goes on with this cluster, whatever it was before. Empty: none */
    void *tell_context;
    /* A line for the log; row: what it is about, or NULL. */
    void (*tell)(void *context, enum relay_level level, const struct outbox_row *row, const char *text);
};

enum circuit_state { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };

struct relay_figures {
    uint64_t delivered;     /* events acknowledged by the broker */
    uint64_t refused;       /* tries that the broker refused */
    uint64_t dead;          /* rows moved to outbox_dead */
    uint64_t pruned;        /* rows deleted by age */
    uint64_t broken;        /* producers given up after a fatal error */
    uint64_t opened_broker; /* times that the circuit to Kafka was opened, and to PostgreSQL */
    uint64_t opened_store;
    uint64_t settles; /* watermarks made durable */
    uint64_t rows;    /* in the window */
    uint64_t bytes;
    uint64_t watermark;
    uint64_t lag_ms;         /* age of the oldest row that is not settled; 0: none */
    uint64_t caught_up;      /* 1: the last look found no row that is not settled */
    uint64_t circuit_broker; /* enum circuit_state */
    uint64_t circuit_store;
};

struct relay;

/* Settings are copied, but for the functions' contexts, which must outlive the relay. NULL: no memory. */
struct relay *relay_open(const struct relay_settings *settings, const struct outbox_store *store,
                         const struct broker *broker);
void relay_free(struct relay *relay);

/*
 * At the start, before the first step: what can be found wrong at once. 0; -EAGAIN: nobody answers yet, and
 * the steps will go on trying; others: ret_cause says what is wrong and what to do.
 */
int relay_check(struct relay *relay, char ret_cause[RELAY_CAUSE_SIZE]);

/* Does what there is to do. now_ms: a monotonic clock; wall_ms: since 1970. Returns the time of the next
 * step. */
uint64_t relay_step(struct relay *relay, uint64_t now_ms, uint64_t wall_ms);

/* There may be new rows: the next step looks. */
void relay_look(struct relay *relay);

/* From now on steps give no more events to the broker, but settle those that it has. */
void relay_end(struct relay *relay);

/* After relay_end(): nothing flies, and nothing that could be settled is not. */
bool relay_ended(const struct relay *relay);

/* Any thread. */
void relay_copy_figures(const struct relay *relay, struct relay_figures *ret_figures);

/* Asserts all invariants. */
void relay_verify(const struct relay *relay);

#endif
