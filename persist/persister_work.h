/*
 * persister_work.h - one transaction in the making: what certain batches say, as rows.
 *
 *     work_begin ─▶ work_take, for each batch ─▶ the holds in `missing` are read ─▶ work_fold ─▶ rows are
 * written
 *
 * Whatever becomes of one hold, seat, token or event within it becomes one row: its last state. What is
 * published is one row for each change.
 */
#ifndef HOLDFAST_PERSISTER_WORK_H
#define HOLDFAST_PERSISTER_WORK_H

#include "core/text.h"
#include "persist/event_table.h"
#include "persist/journal_format.h"
#include "persist/persister_holds.h"

enum published_type {
    PUBLISHED_HOLD_PLACED,
    PUBLISHED_HOLD_CONFIRMED,
    PUBLISHED_HOLD_RELEASED,
    PUBLISHED_HOLD_EXPIRED,
    PUBLISHED_HOLD_EXTENDED,
    PUBLISHED_HOLD_CANCELLED,
    PUBLISHED_TOKEN_JOINED,
    PUBLISHED_TOKEN_ACTIVATED,
    PUBLISHED_TOKEN_ENDED,
    PUBLISHED_EVENT_CREATED,
    PUBLISHED_EVENT_CHANGED,
};
/* "HoldPlaced", and "hold", "token" or "event": static storage. */
const char *published_type_word(enum published_type type);
const char *published_aggregate_word(enum published_type type);

/* A row of the outbox. */
struct published {
    struct uuid id; /* a function of the data directory and the record: published_id() */
    enum published_type type;
    uint32_t shard;
    uint64_t sequence;
    uint64_t time_ms;
    struct uuid of;            /* the hold or token */
    struct known_event *event; /* EVENT_...: the event */
    struct trace trace;
    struct bytes request_id; /* view into the work's records */
    size_t payload;          /* where it begins in the work's payloads */
    uint32_t payload_size;
};

/* A UUIDv7 for the index-th result of a record, always the same one. */
struct uuid published_id(uint64_t route_seed, uint64_t epoch, uint32_t shard, uint64_t sequence,
                         uint32_t index, uint64_t time_ms);

enum seat_state {
    SEAT_FREE,
    SEAT_HELD,
    SEAT_SOLD,
};
const char *seat_state_word(enum seat_state state);

struct seat_change {
    struct known_event *event;
    seat_ref ref;
    uint32_t version;
    enum seat_state state;
    struct uuid hold; /* not where it is free */
};

struct token_change {
    struct uuid id;
    struct known_event *event;
    struct bytes user; /* view into the work's records */
    enum token_state state;
    uint64_t activated_ms; /* 0: not now */
    uint64_t ended_ms;     /* likewise */
};

/* A batch's records, in the work's own memory. */
struct work_piece {
    uint64_t epoch;
    uint32_t shard;
    size_t at;
    size_t size;
};

/* What a work counts, for metrics and for whoever doubts. */
struct work_counts {
    uint64_t records;
    uint64_t unknown_holds;  /* a record names a hold that neither the journal nor PostgreSQL has told of */
    uint64_t contradictions; /* a record that cannot be, after what came before: an unknown event, a wrong
                                state */
};

struct work {
    uint64_t route_seed;
    struct known_holds *holds;  /* the persister's */
    struct event_table *events; /* likewise */
    uint8_t *records;
    size_t records_size;
    size_t records_capacity;
    struct work_piece *pieces;
    uint32_t piece_count;
    uint32_t piece_capacity;
    struct known_hold **missing; /* to be read: only their ids are known */
    uint32_t missing_count;
    uint32_t missing_capacity;
    /* rows, besides those of holds (holds_next) and events (known_event.touched) */
    struct published *published;
    uint32_t published_count;
    uint32_t published_capacity;
    char *payloads;
    size_t payloads_size;
    size_t payloads_capacity;
    struct seat_change *seats;
    uint32_t seat_count;
    uint32_t seat_capacity;
    uint32_t *seat_slots; /* index + 1 by event and seat */
    uint32_t seat_slot_count;
    struct token_change *tokens;
    uint32_t token_count;
    uint32_t token_capacity;
    uint32_t *token_slots;
    uint32_t token_slot_count;
    bool events_changed;
    bool event_wanted; /* a record names an event that has not been told of yet */
    uint64_t time_last_ms;
    struct work_counts counts;
    bool failed; /* no memory */
};

void work_open(struct work *work, uint64_t route_seed, struct known_holds *holds,
               struct event_table *events);
void work_done(struct work *work);
void work_begin(struct work *work);
/* Copies a batch's records and looks which holds they name. False: no memory, or bytes that are no record.
 */
bool work_take(struct work *work, const struct batch_header *batch);
/* Every event that is named has been told of. Its record is in its owner's journal, and may come after a
 * hold's that is in another one's: then more batches are to be taken first. */
bool work_ready(struct work *work);
/* All that was taken becomes rows. False: no memory. */
bool work_fold(struct work *work);

/* A row of a seat or a token that no record tells: each only once in a work. */
void work_put_seat(struct work *work, const struct seat_change *seat);
void work_put_token(struct work *work, const struct token_change *token);

#endif
