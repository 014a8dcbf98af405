/*
 * command.h - a decoded command and its reply: what RESP and HTTP both turn into, and what the core
 * answers.
 *
 * A command is views into memory of the caller; shard_command() copies what it must keep. A reply is
 * views into memory of the core, valid only during the call that hands it over.
 */
#ifndef HOLDFAST_COMMAND_H
#define HOLDFAST_COMMAND_H

#include "core/event_settings.h"
#include "holdfast/limits.h"
#include "holdfast/status.h"
#include "holdfast/types.h"

enum command_type {
    COMMAND_HOLD = 1,
    COMMAND_CONFIRM,
    COMMAND_EXTEND,
    COMMAND_RELEASE,
    COMMAND_CANCEL,
    COMMAND_HOLD_GET,
    COMMAND_HOLDS,
    COMMAND_EVENT_CREATE,
    COMMAND_EVENT_SET,
    COMMAND_EVENT_GET,
    COMMAND_SEATS,
    COMMAND_QUEUE_JOIN,
    COMMAND_QUEUE_GET,
    COMMAND_QUEUE_LEAVE,
    COMMAND_QUEUE_WATCH,
    COMMAND_QUEUE_UNWATCH,
};

struct seat_name {
    struct bytes section;
    struct bytes row;
    uint32_t number; /* from 1, at most nine digits */
};

struct pool_quantity {
    struct bytes name;
    uint32_t quantity; /* 1 to POOL_CAPACITY_MAX */
};

/* What EVENT SET or PATCH changes: fields named in set; at least one. */
struct event_change {
    bool has_status;
    bool has_hold_seconds;
    bool has_units_per_user_max;
    bool has_queue_active_max;
    enum event_status status;
    uint32_t hold_seconds;
    uint32_t units_per_user_max;
    uint32_t queue_active_max;
    uint32_t pool_count;
    struct pool_quantity pools[POOLS_MAX]; /* quantity: the new capacity */
};

/*
 * The codec has checked everything that needs no state (forms of names and ids, ranges, the same unit
 * twice, counts): what it lets through is well-formed, and the core asserts it. BADREQUEST of the core
 * is only for what needs state (a hold_seconds above the event's hold_seconds_max, a capacity below
 * what is taken).
 */
struct command {
    enum command_type type;
    struct bytes event;  /* HOLD, HOLDS, EVENT_SET, EVENT_GET, SEATS, QUEUE_JOIN; empty: see event_index */
    struct bytes user;   /* HOLD, CONFIRM, EXTEND, RELEASE, HOLDS, QUEUE_JOIN */
    struct bytes key;    /* idempotency key; empty: none */
    struct bytes caller; /* name of the API key it came with, at most CALLER_SIZE_MAX; may be empty */
    struct bytes request_id;  /* may be empty */
    struct bytes payment_ref; /* CONFIRM; may be empty */
    struct trace trace;
    struct uuid hold;     /* CONFIRM, EXTEND, RELEASE, CANCEL, HOLD_GET; the token: QUEUE_ but JOIN */
    struct uuid replaces; /* HOLD with has_replaces */
    bool has_replaces;
    bool late;            /* CONFIRM */
    bool pass_refused;    /* HOLD: a pass came with it, and is forged, expired or somebody else's */
    uint8_t seat_count;   /* HOLD */
    uint8_t pool_count;   /* HOLD */
    uint8_t best_count;   /* HOLD: seats wanted side by side; 0: none */
    uint32_t seconds;     /* HOLD: 0 takes the event's hold_seconds. EXTEND: 1 to SECONDS_MAX */
    uint32_t event_index; /* EVENT_GET with an empty event: the n-th event, for listing */
    uint32_t row_from;    /* SEATS: first row of this piece */
    uint32_t wait_ms;     /* QUEUE_GET: answer when the state changes, at the latest after so long */
    uint64_t watch; /* QUEUE_WATCH, QUEUE_UNWATCH: the host's name for it, given back with each push */
    struct bytes section;                  /* SEATS; HOLD with best_count */
    const struct event_settings *settings; /* EVENT_CREATE: stays unchanged until the reply has come */
    const struct event_change *change;     /* EVENT_SET: likewise, with all it points to */
    struct pool_quantity pools[HOLD_POOLS_MAX];
    struct seat_name seats[HOLD_SEATS_MAX]; /* last: what is not used is not copied (command_flatten) */
};

enum hold_state {
    HOLD_HELD = 1,
    HOLD_CONFIRMED,
    HOLD_RELEASED,
    HOLD_EXPIRED,
    HOLD_CANCELLED,
};

/* "held", "confirmed", ...: static storage. */
const char *hold_state_word(enum hold_state state);

/* A seat of an event: 6 bits section, 10 bits row, 10 bits number - 1. */
typedef uint32_t seat_ref;
#define SEAT_REF(section, row, number)                                                                     \
    ((seat_ref)(((uint32_t)(section) << 20) | ((uint32_t)(row) << 10) | ((uint32_t)(number)-1)))
#define SEAT_REF_SECTION(ref) ((ref) >> 20)
#define SEAT_REF_ROW(ref)     (((ref) >> 10) & 1023u)
#define SEAT_REF_NUMBER(ref)  (((ref)&1023u) + 1)

struct hold_view {
    struct uuid id;
    const struct event_settings *event;
    struct bytes user;
    enum hold_state state;
    uint8_t seat_count;
    uint8_t pool_count;
    uint64_t deadline_ms;
    struct {
        seat_ref ref;
        uint32_t version;
    } seats[HOLD_SEATS_MAX];
    struct {
        uint32_t pool; /* index in the event's pools */
        uint32_t quantity;
    } pools[HOLD_POOLS_MAX];
};

/* Writes SECTION/ROW/NUMBER; text holds at least SEAT_TEXT_SIZE_MAX bytes; returns its size. */
uint32_t seat_text(const struct event_settings *event, seat_ref ref, char *ret_text);

enum token_state {
    TOKEN_WAITING = 1,
    TOKEN_ACTIVE,
    TOKEN_DONE,
    TOKEN_LEFT,
    TOKEN_EXPIRED,
};

/* "waiting", "active", ...: static storage. */
const char *token_state_word(enum token_state state);

/* A place in a queue. */
struct token_view {
    struct uuid id;
    const struct event_settings *event;
    struct bytes user;
    enum token_state state;
    bool chance_none;     /* waiting: free and held units cannot reach the position */
    uint64_t position;    /* waiting in an open event, from 1; else 0 */
    uint64_t eta_ms;      /* waiting: until it is likely to be active */
    uint64_t poll_ms;     /* waiting: ask again after so long */
    uint64_t deadline_ms; /* active; else 0 */
    struct bytes pass;    /* empty; the host's place for the pass of an active one */
};

struct unit_counts {
    uint64_t capacity;
    uint64_t free;
    uint64_t held;
    uint64_t sold;
};

/* Capacity, held and sold are known: free is the rest of the capacity, whatever the others say, and all is
 * added to the total. */
void unit_counts_close(struct unit_counts *counts, struct unit_counts *total);

/* An event as it is, or was when an answer was given: what a change can alter stands here, and is not to be
 * read from the settings, which go on changing. */
struct event_view {
    const struct event_settings *settings;
    enum event_status status;
    bool seed_shown; /* the opening has come: whoever is drawn has joined */
    uint32_t hold_seconds;
    uint32_t units_per_user_max;
    uint32_t queue_active_max;
    struct unit_counts total;
    struct unit_counts sections[SECTIONS_MAX];
    struct unit_counts pools[POOLS_MAX];
};

/* All but what is free, held and sold: the settings as they are at this moment. */
void event_view_fill(struct event_view *view, const struct event_settings *settings, uint64_t now_ms);

/* A piece of a section's map: whole rows. */
struct map_view {
    const struct event_settings *event;
    uint32_t section;
    uint32_t row_from;
    uint32_t row_to;     /* one past the last row of this piece */
    uint32_t row_count;  /* of the section: the map is complete when row_to == row_count */
    const char *letters; /* F, H or S, row after row, without separators */
};

enum reply_kind {
    REPLY_NONE = 0, /* errors, and successes that carry nothing but OK */
    REPLY_HOLD,
    REPLY_HOLDS,
    REPLY_EVENT,
    REPLY_MAP,
    REPLY_TOKEN,
};

/* Which figures an error carries. */
enum figure {
    FIGURE_UNIT = 1 << 0,
    FIGURE_REMAINING = 1 << 1,
    FIGURE_NEXT_DEADLINE = 1 << 2,
    FIGURE_OWN = 1 << 3,
    FIGURE_LARGEST_RUN = 1 << 4,
    FIGURE_LIMIT = 1 << 5, /* limit and used */
    FIGURE_DEADLINE_MAX = 1 << 6,
    FIGURE_OPENS_AT = 1 << 7,
    FIGURE_FIELD = 1 << 8, /* field and expected */
};

#define REPLY_FIELD_SIZE_MAX    32
#define REPLY_EXPECTED_SIZE_MAX 96

struct reply {
    enum status status;
    enum reply_kind kind;
    enum command_type command; /* the command that is answered */
    bool created;              /* HTTP 201 instead of 200 */
    bool replayed;             /* the answer of an idempotency key's first use */
    uint16_t figures;          /* enum figure */
    uint8_t unit_size;
    char unit[UNIT_TEXT_SIZE_MAX];
    uint64_t remaining;
    uint64_t next_deadline_ms; /* times are absolute; the encoders make *_in_ms, never below 0 */
    struct uuid own;
    uint32_t largest_run;
    uint64_t limit;
    uint64_t used; /* also with REPLY_HOLDS */
    uint64_t deadline_max_ms;
    uint64_t opens_at_ms;
    char field[REPLY_FIELD_SIZE_MAX];       /* ended by a zero */
    char expected[REPLY_EXPECTED_SIZE_MAX]; /* ended by a zero */
    struct hold_view hold;                  /* REPLY_HOLD */
    struct bytes user;                      /* REPLY_HOLDS */
    const struct event_settings *event;     /* REPLY_HOLDS */
    uint32_t hold_count;                    /* REPLY_HOLDS: then reply_next_hold() */
    struct bytes holds;                     /* REPLY_HOLDS: packed views */
    const struct event_view *event_view;    /* REPLY_EVENT */
    const struct map_view *map;             /* REPLY_MAP */
    struct token_view token;                /* REPLY_TOKEN */
    bool has_token;                         /* REPLY_HOLDS: the user has a place in the queue */
    struct uuid token_id;                   /* REPLY_HOLDS */
};

/* Takes the next packed view off reply->holds; event and user come from the reply. False at the end. */
bool reply_next_hold(const struct reply *reply, struct bytes *cursor, struct hold_view *ret_view);

#endif
