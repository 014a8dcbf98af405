/*
 * record.h - what a shard writes into its journal: one entry for each change, enough to rebuild the state.
 *
 * Little-endian, 8-aligned, one behind the other:
 *
 *     header   size (all, multiple of 8), type, flags, sequence, time
 *     key      with RECORD_KEY: hash of the idempotency key and of its command
 *     body     by type
 *
 *     EVENT_CREATED     struct event_settings and what belongs to it;
 *                       with RECORD_CAUSE then struct record_cause, request id
 *     EVENT_CHANGED     struct record_change, then uint32 capacity for each pool; likewise
 *     HOLD_PLACED       struct record_hold, event id, user id, request id, seats, pools
 *     HOLD_CONFIRMED    struct record_hold, request id, payment reference;
 *                       with RECORD_LATE all of HOLD_PLACED's;
 *                       with RECORD_DONE then the uuid of the queue token that it used up
 *     HOLD_EXTENDED     struct record_hold (deadline_ms: the new one), request id
 *     HOLD_RELEASED     struct record_hold, request id
 *     HOLD_CANCELLED    struct record_hold, request id
 *     HOLD_EXPIRED      struct uuid
 *     TOKEN_JOINED      struct record_token, event id, user id, request id
 *     TOKEN_ACTIVATED   likewise (deadline_ms), no request id
 *     TOKEN_ENDED       likewise (state); with request id where somebody has left
 *     KEY_KEPT          struct record_key, packed reply: a key whose command changed nothing else, or was
 *                       executed by another shard; of a change of an event, the event as it was answered
 *
 * A replace is one HOLD_PLACED with `replaces` set: it also releases the old hold.
 *
 * A snapshot tells things as they are, in the same form: EVENT_CREATED with the settings of now, KEY_KEPT,
 * and
 *
 *     SEATS_KEPT        struct record_seats, then uint32 version for each seat of a block
 *     HOLD_KEPT         struct record_hold, struct record_kept, event id, user id, seats, pools
 *     TOKEN_KEPT        struct record_token, event id, user id; deadline_ms: active, or when it ended
 *     ADMISSION_KEPT    the same, of a token whose admission a confirm has used up, as far as its home
 * knows
 *
 * Their header's sequence is 0, their time that of the snapshot (KEY_KEPT: of the key).
 */
#ifndef HOLDFAST_RECORD_H
#define HOLDFAST_RECORD_H

#include "core/command.h"

enum record_type {
    RECORD_EVENT_CREATED = 1,
    RECORD_EVENT_CHANGED,
    RECORD_HOLD_PLACED,
    RECORD_HOLD_CONFIRMED,
    RECORD_HOLD_RELEASED,
    RECORD_HOLD_EXPIRED,
    RECORD_HOLD_EXTENDED,
    RECORD_HOLD_CANCELLED,
    RECORD_KEY_KEPT,
    RECORD_SEATS_KEPT,
    RECORD_HOLD_KEPT,
    RECORD_TOKEN_JOINED,
    RECORD_TOKEN_ACTIVATED,
    RECORD_TOKEN_ENDED,
    RECORD_TOKEN_KEPT,
    RECORD_ADMISSION_KEPT,
    RECORD_TYPE_COUNT, /* with 0, which is no type */
};

enum record_flag {
    RECORD_KEY = 1 << 0,
    RECORD_LATE = 1 << 1,
    RECORD_REPLACES = 1 << 2,
    RECORD_DONE = 1 << 3,
    RECORD_CAUSE = 1 << 4,
};

struct record_header {
    uint32_t size;
    uint8_t type;
    uint8_t flags;
    uint16_t zero;
    uint64_t sequence;
    uint64_t time_ms;
};

struct record_key_hashes {
    uint64_t key[2];
    uint64_t fingerprint[2];
};

struct record_hold {
    struct uuid id;
    struct uuid replaces;
    uint64_t deadline_ms;
    uint64_t start_ms;
    struct trace trace;
    uint8_t event_size;
    uint8_t user_size;
    uint8_t seat_count;
    uint8_t pool_count;
    uint8_t request_id_size;
    uint8_t payment_ref_size;
    uint8_t zero;
};

struct record_token {
    struct uuid id;
    uint64_t key; /* its place in the queue's order */
    uint64_t deadline_ms;
    struct trace trace;
    uint8_t state; /* enum token_state */
    uint8_t event_size;
    uint8_t user_size;
    uint8_t request_id_size;
    uint8_t zero[3];
};

struct record_seat {
    uint32_t ref;
    uint32_t version;
};

struct record_pool {
    uint32_t pool;
    uint32_t quantity;
};

struct record_change {
    uint8_t event_size;
    uint8_t status;
    uint16_t pool_count;
    uint32_t hold_seconds;
    uint32_t units_per_user_max;
    uint32_t queue_active_max;
    char event[EVENT_ID_SIZE_MAX];
};

/* Of the request that made or changed an event. */
struct record_cause {
    struct trace trace;
    uint8_t request_id_size;
    uint8_t zero[6];
};

struct record_key {
    uint16_t route; /* route16 of the key's owner */
    uint16_t zero;
    uint32_t reply_size;
};

struct record_seats {
    uint32_t block; /* number in the event, the same whatever the shard count */
    uint16_t seat_count;
    uint8_t event_size;
    uint8_t zero;
    char event[EVENT_ID_SIZE_MAX];
};

struct record_kept {
    uint64_t ended_ms;
    uint8_t state; /* enum hold_state */
    uint8_t zero[7];
};

static_assert(sizeof(struct record_seats) == 72, "on disk");
static_assert(sizeof(struct record_kept) == 16, "on disk");
static_assert(sizeof(struct record_header) == 24, "on disk");
static_assert(sizeof(struct record_key_hashes) == 32, "on disk");
static_assert(sizeof(struct record_hold) == 80, "on disk");
static_assert(sizeof(struct record_token) == 64, "on disk");
static_assert(sizeof(struct record_change) == 80, "on disk");
static_assert(sizeof(struct record_cause) == 32, "on disk");
static_assert(sizeof(struct record_key) == 8, "on disk");

/* A decoded record: views into its bytes. */
struct record {
    const struct record_header *header;
    const struct record_key_hashes *key;   /* NULL: none */
    const struct event_settings *settings; /* EVENT_CREATED */
    const struct record_change *change;    /* EVENT_CHANGED */
    const uint8_t *capacities;             /* EVENT_CHANGED: uint32 each */
    struct trace event_trace;              /* EVENT_ with RECORD_CAUSE */
    struct record_hold hold;               /* hold records; HOLD_EXPIRED: only the id */
    struct bytes event;
    struct bytes user;
    struct bytes request_id;
    struct bytes payment_ref;
    const uint8_t *seats; /* struct record_seat each */
    const uint8_t *pools; /* struct record_pool each */
    struct record_key key_kept;
    const uint8_t *reply;
    const struct record_seats *seats_kept; /* SEATS_KEPT */
    const uint8_t *versions;               /* SEATS_KEPT: uint32 each */
    struct record_kept kept;               /* HOLD_KEPT */
    struct record_token token;             /* TOKEN_ and ADMISSION_KEPT */
    const uint8_t *done_token;             /* HOLD_CONFIRMED with RECORD_DONE: a uuid */
};

/* Takes the record at the front of data. False: the bytes are no whole, sound record. */
bool record_decode(const uint8_t *data, size_t size, struct record *ret_record);

#endif
