/*
 * message.h - what shards say to each other. The structures stay inside one process: no byte order, no
 * versions. Every message starts with a header; sizes are multiples of 8.
 *
 *     COMMAND         any -> home     a command, flattened
 *     REPLY           home -> any     its answer, gated by R2
 *     RESERVE         home -> owner   reserve these units, all or none      answered by RESERVED
 *     SETTLE          home -> owner   what became of units                  answered by SETTLED if asked
 *     LOOK            home -> owner   figures of one section                answered by LOOKED
 *     COUNT, MAP      any -> owner    counts of an event, letters of rows   answered by COUNTED, MAPPED
 *     RECALL          owner -> home   give back your slice of a pool        answered by RECALLED
 *     EVENT_OFFER     event's -> any  room for this event?                  answered by EVENT_DONE
 *     EVENT_APPLY     event's -> any  show it, drop it, or change it        answered by EVENT_DONE
 */
#ifndef HOLDFAST_MESSAGE_H
#define HOLDFAST_MESSAGE_H

#include "core/shard.h"

enum message_type {
    MESSAGE_COMMAND = 1,
    MESSAGE_REPLY,
    MESSAGE_RESERVE,
    MESSAGE_RESERVED,
    MESSAGE_SETTLE,
    MESSAGE_SETTLED,
    MESSAGE_LOOK,
    MESSAGE_LOOKED,
    MESSAGE_COUNT,
    MESSAGE_COUNTED,
    MESSAGE_MAP,
    MESSAGE_MAPPED,
    MESSAGE_RECALL,
    MESSAGE_RECALLED,
    MESSAGE_EVENT_OFFER,
    MESSAGE_EVENT_APPLY,
    MESSAGE_EVENT_DONE,
    MESSAGE_ADMIT, /* queue's owner to the user's home */
    MESSAGE_ADMITTED,
    MESSAGE_REVOKE,
    MESSAGE_REVOKED,
    MESSAGE_QUEUE_NOTE, /* home to the queue's owner: sold, done */
    MESSAGE_QUEUE_NOTED,
    MESSAGE_TOKEN_OF, /* home to the queue's owner: does this user have a place? */
    MESSAGE_TOKEN_IS,
    MESSAGE_PUSH,    /* queue's owner to a watcher's shard */
    MESSAGE_BARRIER, /* of a snapshot: everything before it has been told */
    MESSAGE_AGAIN,   /* to oneself, parked: place_begin() once more */
};

struct message_header {
    _Alignas(8) uint32_t type;
    uint32_t size;
    uint32_t operation; /* slot of the sender's operation, given back in the answer */
    uint32_t serial;    /* and its serial: an answer to an operation that is over is a defect */
};

struct message_reserve {
    struct message_header header;
    uint64_t deadline_ms;
    uint32_t event;
    uint32_t hold;     /* the hold's slot at its home */
    bool final;        /* nothing else can fail: what is granted is held (or sold) at once */
    bool sell;         /* with final: sold, not held (late confirm) */
    bool probe;        /* only tell what would be refused; reserve nothing */
    bool best_orphans; /* best: a choice that leaves an orphan is allowed */
    uint8_t seat_count;
    uint8_t pool_count;
    uint8_t best_count;
    uint8_t best_section;
    uint32_t best_block; /* number of the block in the event */
    seat_ref seats[HOLD_SEATS_MAX];
    struct {
        uint32_t quantity;
        uint32_t asked; /* with what a replaced hold has of it already */
        uint8_t pool;
        uint8_t zero[3];
    } pools[HOLD_POOLS_MAX];
};

struct message_reserved {
    struct message_header header;
    enum status status; /* OK: all granted; else the first unit that is not */
    uint32_t event;
    uint8_t seat_count; /* granted, in the order asked */
    uint8_t pool_count;
    uint8_t at;         /* refused: index in this message's seats, or seat_count + index in its pools */
    uint32_t holder;    /* HELD: slot of the holding hold at the holder's home */
    uint32_t remaining; /* pools */
    uint64_t next_deadline_ms;
    struct {
        seat_ref ref; /* best: what was chosen */
        uint32_t version;
    } seats[HOLD_SEATS_MAX];
    uint32_t slices[HOLD_POOLS_MAX]; /* units added to the asker's slice, besides those granted */
};

enum settle_action {
    SETTLE_COMMIT = 1,    /* reserved -> held */
    SETTLE_ABORT,         /* reserved -> free, version as it was */
    SETTLE_FREE,          /* held -> free */
    SETTLE_FREE_SOLD,     /* sold -> free (cancel) */
    SETTLE_SELL,          /* held -> sold */
    SETTLE_SELL_RESERVED, /* reserved -> sold (late confirm) */
    SETTLE_MOVE,          /* held stays held, by this hold and until this deadline */
};

struct message_settle {
    struct message_header header; /* operation SLAB_NONE: no answer wanted */
    uint64_t deadline_ms;
    uint32_t event;
    uint32_t hold;
    uint8_t seat_count;
    uint8_t pool_count;
    struct {
        seat_ref ref;
        uint32_t version;
        uint32_t action;
    } seats[HOLD_SEATS_MAX];
    struct {
        uint64_t first_ms; /* earliest deadline among this home's live holds of the pool now */
        uint32_t quantity;
        uint8_t pool;
        uint8_t action; /* MOVE: only first_ms */
        uint8_t zero[2];
    } pools[HOLD_POOLS_MAX];
};

struct message_settled {
    struct message_header header;
};

/* RESERVE, RESERVED and SETTLE end with arrays of seats and of pools. Mostly one seat is all they carry:
 * where there are no pools, nothing behind the last seat is sent. The arrays begin at `seats`. */
static inline uint32_t
message_units_size(uint32_t whole, uint32_t seats, uint32_t seat_size, uint8_t seat_count,
                   uint8_t pool_count)
{
    return pool_count > 0 ? whole : (seats + seat_count * seat_size + 7) & ~7u;
}

static inline uint32_t
message_reserve_size(const struct message_reserve *message)
{
    return message_units_size(sizeof *message, offsetof(struct message_reserve, seats),
                              sizeof message->seats[0], message->seat_count, message->pool_count);
}

static inline uint32_t
message_reserved_size(const struct message_reserved *message)
{
    return message_units_size(sizeof *message, offsetof(struct message_reserved, seats),
                              sizeof message->seats[0], message->seat_count, message->pool_count);
}

static inline uint32_t
message_settle_size(const struct message_settle *message)
{
    return message_units_size(sizeof *message, offsetof(struct message_settle, seats),
                              sizeof message->seats[0], message->seat_count, message->pool_count);
}

struct message_look {
    struct message_header header;
    uint32_t event;
    uint8_t section;
    uint8_t best_count; /* 0: figures only */
    bool wait;          /* while seats are reserved, answer only when something has been settled */
};

struct section_look {
    uint32_t free; /* reserved ones included: nobody has them yet */
    uint32_t held;
    uint32_t sold;
    uint32_t reserved;
    uint32_t largest_run;
    uint32_t block;         /* first block with a choice that leaves no orphan; UINT32_MAX: none */
    uint32_t block_orphans; /* first block with any choice */
    uint64_t next_deadline_ms;
};

struct message_looked {
    struct message_header header;
    struct section_look look;
};

struct message_count {
    struct message_header header;
    uint32_t event;
};

struct message_counted {
    struct message_header header;
    struct {
        uint32_t held;
        uint32_t sold;
    } units[SECTIONS_MAX + POOLS_MAX]; /* sections, then pools; only as many as there are are sent */
};

struct message_map {
    struct message_header header;
    uint32_t event;
    uint32_t section;
    uint32_t row_from;
    uint32_t row_to;
};

/* A piece of a map never has more letters: rows are added while fewer than MAP_LETTERS stand there. */
#define MAP_LETTERS     8192
#define MAP_LETTERS_MAX (MAP_LETTERS + ROW_SEATS_MAX)

struct message_mapped {
    struct message_header header;
    char letters[MAP_LETTERS_MAX]; /* the owner's rows only, behind each other */
};

struct message_recall {
    struct message_header header;
    uint32_t event;
    uint32_t pool;
};

struct message_recalled {
    struct message_header header;
    uint64_t first_ms;
    uint32_t event;
    uint32_t pool;
    uint32_t slice;
    uint32_t sold;
};

enum event_apply {
    EVENT_SHOW = 1, /* it is durable: it exists */
    EVENT_DROP,     /* another shard had no room */
    EVENT_CHANGE,   /* settings below */
};

struct message_event_offer {
    struct message_header header;
    uint32_t event;
    const struct event_settings *settings; /* stays until EVENT_DONE; read only */
};

struct message_event_apply {
    struct message_header header;
    uint32_t event;
    enum event_apply apply;
    uint32_t status;
    uint32_t hold_seconds;
    uint32_t units_per_user_max;
    uint32_t queue_active_max;
    uint32_t capacities[POOLS_MAX];
};

struct message_admit {
    struct message_header header; /* operation: slot of the token at its owner */
    struct uuid token;
    uint64_t deadline_ms;
    uint32_t event;
    uint8_t user_size;
    char user[USER_ID_SIZE_MAX];
};

struct message_admitted {
    struct message_header header; /* operation: as it was sent */
    struct uuid token;
    bool done; /* false: no room at the home now */
};

struct message_revoke {
    struct message_header header;
    struct uuid token;
    uint32_t event;
    uint8_t user_size;
    char user[USER_ID_SIZE_MAX];
};

struct message_revoked {
    struct message_header header;
    struct uuid token;
};

struct message_queue_note {
    struct message_header header; /* operation SLAB_NONE: no answer wanted */
    struct uuid token;
    int64_t sold; /* units: confirmed, or below 0: cancelled */
    uint32_t event;
    bool done; /* the token's admission has been used up */
};

struct message_queue_noted {
    struct message_header header;
};

struct message_token_of {
    struct message_header header;
    uint32_t event;
    uint8_t user_size;
    char user[USER_ID_SIZE_MAX];
};

struct message_token_is {
    struct message_header header;
    struct uuid token;
    bool has_token;
    uint8_t user_size;
    char user[USER_ID_SIZE_MAX];
};

struct message_barrier {
    struct message_header header;
    uint64_t generation;
};

struct message_event_done {
    struct message_header header;
    enum status status;
};

/*
 * COMMAND and REPLY are flattened: the structure's views become one run of bytes behind it. The largest
 * flattened command is COMMAND_FLAT_MAX; settings and change stay pointers, as command.h promises.
 */
struct message_command {
    struct message_header header;
    uint64_t tag;
    /* Views are offsets from the start of the message until unflattened; texts stand in the place of the
     * seats that are not used. */
    struct command command;
};

#define COMMAND_FLAT_MAX                                                                                   \
    (sizeof(struct message_command) + EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX + KEY_SIZE_MAX +                \
     CALLER_SIZE_MAX + REQUEST_ID_SIZE_MAX + PAYMENT_REF_SIZE_MAX +                                        \
     NAME_SIZE_MAX * (1 + 2 * HOLD_SEATS_MAX + HOLD_POOLS_MAX) + 8)

/* Returns the size, a multiple of 8; memory holds COMMAND_FLAT_MAX bytes, 8-aligned. */
uint32_t command_flatten(const struct command *command, struct message_command *ret_message);
/* Makes the views of a flat command point into the message. */
void command_unflatten(struct message_command *message);

/* A reply packed into bytes: for the REPLY message, the idempotency answers and HOLDS. An event is longer
 * than all others but HOLDS, and is kept with a key only. */
#define REPLY_PACKED_MAX       1024
#define REPLY_EVENT_PACKED_MAX 1408
struct message_reply {
    struct message_header header;
    uint64_t tag;
    uint32_t packed_size;
    uint32_t replayed;
    uint8_t packed[MESSAGE_SIZE_MAX - 40];
};

/* Of all kinds but MAP. ret_packed holds REPLY_PACKED_MAX bytes and what reply->holds needs; of kind EVENT
 * REPLY_EVENT_PACKED_MAX. */
uint32_t reply_pack(const struct reply *reply, uint8_t *ret_packed);
/* event and user of the views are found by `find` (the id's settings, or NULL: a defect). The reply has
 * views into packed; an event's is written to `view`, which the reply then shows. */
typedef const struct event_settings *event_find_function(const void *context, struct bytes id);
void reply_unpack(const uint8_t *packed, uint32_t size, event_find_function *find, const void *context,
                  struct event_view *view, struct reply *ret_reply);

/* Packs one hold; returns its size, at most HOLD_PACKED_MAX. */
#define HOLD_PACKED_MAX (16 + 8 + 4 + HOLD_SEATS_MAX * 8 + HOLD_POOLS_MAX * 8)
uint32_t hold_view_pack(const struct hold_view *view, uint8_t *ret_packed);

static_assert(sizeof(struct message_mapped) <= MESSAGE_SIZE_MAX, "fits");

#endif
