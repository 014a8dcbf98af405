/*
 * history.h - what the clients of a run asked and what they were told.
 *
 * Requests name things by small numbers (event 0, user 2, section 1), so that the model need not know
 * names and a request can be compared byte by byte; -1 is something that does not exist. scenario.c turns
 * a request into a command of the core, and a reply of the core back into an answer.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "core/command.h"

#define SIM_EVENTS      3
#define SIM_SECTIONS    3
#define SIM_ROWS        8
#define SIM_POOLS       3
#define SIM_USERS       6
#define SIM_EVENT_SEATS 1800
#define SIM_OPS         1200 /* requests of one run, questions of the audits included */
#define SIM_HOLDS       256  /* requests for a hold in one run */
#define SIM_KEYS        128  /* requests with an idempotency key in one run */
#define SIM_TOKENS      128  /* joins of one run */
#define SIM_ROUND_OPS   5    /* requests under way at once */

struct request_seat {
    int8_t section;  /* -1: none such */
    int8_t row;      /* -1: none such */
    uint16_t number; /* from 1; may be beyond the row */
};

struct request_pool {
    int8_t pool; /* -1: none such */
    uint32_t quantity;
};

/* Zeroed before it is filled: two requests are the same when their bytes are. */
struct request {
    uint8_t type; /* enum command_type */
    int8_t event; /* -1: none such */
    int8_t user;
    int8_t section; /* SEATS, best: -1 none such */
    uint8_t seat_count;
    uint8_t pool_count;
    uint8_t best_count;
    bool has_replaces;
    bool late;
    bool other_settings; /* EVENT_CREATE with settings that differ */
    bool has_status;
    bool has_hold_seconds;
    bool has_limit;
    bool has_active_max;
    uint8_t status;
    uint32_t seconds;
    uint32_t hold_seconds;
    uint32_t limit;
    uint32_t active_max;
    uint32_t wait_ms; /* QUEUE_GET: a long poll */
    uint32_t watch;   /* QUEUE_UNWATCH: which WATCH, by the number of its op */
    struct uuid hold; /* or the token */
    struct uuid replaces;
    struct request_seat seats[HOLD_SEATS_MAX];
    struct request_pool pools[HOLD_POOLS_MAX]; /* EVENT_SET: the new capacities */
};

struct answer_seat {
    seat_ref ref;
    uint32_t version; /* 0 in a prediction: not known before it is told */
};

struct answer_hold {
    struct uuid id;
    int8_t event;
    int8_t user;
    uint8_t state;
    uint8_t seat_count;
    uint8_t pool_count;
    bool id_known; /* false in a prediction: the core chooses */
    int16_t slot;  /* in a prediction: the model's slot */
    uint64_t deadline_ms;
    struct answer_seat seats[HOLD_SEATS_MAX];
    struct {
        uint32_t pool;
        uint32_t quantity;
    } pools[HOLD_POOLS_MAX];
};

/* A place in a queue. */
struct answer_token {
    struct uuid id;
    bool id_known; /* false in a prediction: the core chooses, or a crash took the answer that told it */
    bool chance_none;
    int16_t slot; /* in a prediction: the model's slot */
    int8_t event;
    int8_t user;
    uint8_t state;
    uint64_t position;
    uint64_t position_slack; /* in a prediction: so many have gone, and may be counted still */
    uint64_t deadline_ms;
};

#define ANSWER_HOLDS 64

struct answer {
    uint8_t status; /* enum status */
    uint8_t kind;   /* enum reply_kind */
    bool created;
    bool replayed;
    uint16_t figures;
    char unit[SEAT_TEXT_SIZE_MAX + 1];
    char field[REPLY_FIELD_SIZE_MAX];
    uint64_t remaining;
    uint64_t next_deadline_ms;
    struct uuid own;
    uint32_t largest_run;
    uint64_t limit;
    uint64_t used;
    uint64_t deadline_max_ms;
    uint64_t opens_at_ms;
    struct answer_hold hold;
    struct answer_token token; /* also HOLDS, where has_token: its id */
    bool has_token;
    uint32_t hold_count;
    struct unit_counts total;
    struct unit_counts sections[SIM_SECTIONS];
    struct unit_counts pools[SIM_POOLS];
    uint8_t event_status;
    uint32_t event_hold_seconds;
    uint32_t event_limit;
    uint32_t event_active_max;
    bool event_seed_shown;
    uint32_t letter_count;
    /* the long parts last: copied only as far as used */
    struct answer_hold holds[ANSWER_HOLDS];
    char letters[SIM_EVENT_SEATS];
};

/* One request of the run and its fate. */
struct op {
    struct request request;
    uint16_t key;       /* 0: none */
    int16_t hold_slot;  /* HOLD: the model's slot for its hold */
    int16_t key_slot;   /* with a key: the model's slot for it */
    int16_t token_slot; /* QUEUE_JOIN: the model's slot for its token */
    uint32_t shard;     /* where the client sent it */
    bool sent;
    bool replied;  /* the core has answered */
    bool answered; /* the client has the answer */
    bool lost;     /* a crash took the answer, or the shard it was sent to */
    uint64_t sent_step;
    uint64_t answered_step;
    uint64_t sent_ms;
    uint64_t answered_ms;
    bool early;          /* the answer left before this record was on the disk: */
    uint64_t sequence;   /* the answer waits for this record */
    uint32_t rows_seen;  /* SEATS: pieces so far */
    bool watching;       /* QUEUE_WATCH: there is more to be told */
    uint8_t watch_state; /* and what was told last */
    uint64_t watch_position;
    uint64_t pushed_step; /* when it was told that the place is active, and until when; 0: it was not */
    uint64_t pushed_ms;
    uint64_t pushed_deadline_ms;
    struct answer answer;
};

#endif
