/*
 * shard_internal.h - the state of a shard, for the files of core/ alone.
 *
 * Who writes what:
 *
 *     event.c, seat_map.c, pool.c     what this shard owns of the events: blocks, pools (as an owner)
 *     user.c, hold.c, idempotency.c   what this shard is home of: users, holds, answers
 *     token.c, queue.c                places in waiting rooms of this shard's events; admission.c: who of
 *                                     this shard's users may place holds there
 *     operation.c                     commands under way, and what waits for them
 *     hold_place.c, hold_end.c,       the commands themselves: they check, ask owners, change, record
 *     event_change.c, look.c
 *     shard.c                         the way in and out: time, messages, batches, durability
 */
#ifndef HOLDFAST_SHARD_INTERNAL_H
#define HOLDFAST_SHARD_INTERNAL_H

#include <assert.h>

#include "core/deadline_heap.h"
#include "core/expiry_wheel.h"
#include "core/index.h"
#include "core/message.h"
#include "core/plant.h"
#include "core/queue.h"
#include "core/route.h"
#include "core/shard.h"
#include "core/slab.h"

/* ---- seats: core/seat_map.c ---- */

/* 12 bytes a seat; free seats that were never held are never touched. */
struct seat {
    uint32_t version;      /* of the last change that counts (aborted reservations do not) */
    uint32_t deadline_low; /* held or reserved: low 32 bits of the holding hold's deadline in ms */
    uint32_t hold;         /* held or reserved: slot of that hold at its home */
};

static_assert(sizeof(struct seat) == 12, "budget: at most 16 bytes a free seat");

#define BLOCK_WORDS (BLOCK_SEATS_MAX / 64)

/* Where a seat lies, whoever owns it. */
struct seat_place {
    uint32_t block; /* its number in the event */
    uint32_t index; /* of the seat in the block */
};

/* A run of whole rows of one section. A seat is free (bit in free), reserved (bit in reserved: an
 * undecided hold has it), sold (bit in sold), or held (no bit). */
struct block {
    uint32_t number; /* in the event */
    uint32_t section;
    uint32_t row_first;
    uint32_t row_count;
    uint32_t seat_count;
    uint32_t sold_count;
    uint32_t free_count;
    uint32_t reserved_count;
    struct seat *seats;
    uint64_t free[BLOCK_WORDS];
    uint64_t reserved[BLOCK_WORDS];
    uint64_t sold[BLOCK_WORDS];
};

/* What a look wants to know of a block, in an array of its own so that a section is searched in few cache
 * lines; recomputed when stale. */
struct block_summary {
    uint64_t next_deadline_ms; /* of its held seats */
    uint16_t largest_run;
    uint16_t whole_runs; /* bit n - 1: n adjacent seats can be taken without leaving an orphan */
    bool runs_stale;
    bool deadline_stale;
};

/* ---- pools: core/pool.c ---- */

enum pool_mode {
    POOL_EXACT = 0, /* every unit is granted by the owner */
    POOL_SLICED,    /* homes sell from their slices */
    POOL_RECALLING, /* slices are on their way back */
};

struct pool {
    /* as a home */
    uint32_t slice; /* free units this shard may sell by itself */
    uint32_t held;  /* of this shard's live holds */
    uint32_t sold;  /* of this shard's confirmed holds */
    uint32_t heap;  /* live holds of this pool, by deadline */
    bool sliced;
    /* as the owner */
    uint8_t mode; /* enum pool_mode */
    uint8_t zero[2];
    uint32_t free;
    uint32_t reserved;    /* granted to undecided holds */
    uint32_t sold_others; /* exact and recalled: sold by the other homes */
    uint64_t recall_awaited;
    uint32_t capacity_next; /* of a change that is not yet durable */
    uint64_t *first_ms;     /* exact: earliest deadline of each shard's live holds */
};

/* ---- events: core/event.c ---- */

/* A row's block without a division: with part = 2^20 / rows_a_block + 1, row * part >> 20 is
 * row / rows_a_block exactly, as long as row * rows_a_block < 2^20. */
#define ROW_PART_BITS 20
static_assert((uint64_t)(ROWS_MAX - 1) * BLOCK_SEATS_MAX < (1u << ROW_PART_BITS), "the quotient is exact");

struct section {
    uint32_t block_first; /* number of its first block in the event */
    uint32_t block_count;
    uint32_t rows_a_block; /* regular; else 0 */
    uint32_t row_part;     /* regular: row * row_part >> ROW_PART_BITS is row / rows_a_block */
    uint32_t row_seats;    /* regular: of each row */
    uint16_t *row_block;   /* irregular: block of each row, counted from block_first */
    uint16_t *row_offset;  /* irregular: index of the row's first seat in its block */
    uint16_t *row_slots;   /* irregular: row + 1 by hash of its name */
    uint32_t row_slot_mask;
    uint64_t owners;    /* shards that own its blocks */
    uint32_t own_first; /* this shard's blocks of the section: own_blocks[own_first...] */
    uint32_t own_count;
    uint32_t own_seats; /* and the seats in them, by state */
    uint32_t own_free;
    uint32_t own_reserved;
    uint32_t own_sold;
};

/* Where a block of this shard lies. */
struct block_place {
    uint32_t own;        /* index in own_blocks */
    uint32_t seat_first; /* index of its first seat in own_seats */
};

struct event {
    struct event_settings *settings;
    uint64_t hash; /* of the id */
    uint32_t number;
    uint32_t owner;      /* the event's shard: its journal, its pools */
    bool shown;          /* it exists for everyone; before, only room is kept for it */
    bool busy;           /* at the owner: a change is under way, to these settings: */
    struct queue *queue; /* at the owner, where the event has one; else NULL */
    uint8_t status_next;
    uint32_t hold_seconds_next;
    uint32_t units_per_user_max_next;
    uint32_t queue_active_max_next;
    uint32_t block_count;
    uint32_t own_block_count;
    uint64_t own_seat_count;
    struct section *sections;
    uint8_t *section_slots;           /* section + 1 by hash of its name, SECTION_SLOTS of them */
    uint8_t *block_owner;             /* shard of each block */
    struct block_place *block_places; /* of blocks of this shard */
    struct seat *own_seats;           /* of own_blocks, behind each other */
    struct block *own_blocks;         /* front to back */
    struct block_summary *summaries;  /* of own_blocks */
    struct pool *pools;
};

#define SECTION_SLOTS 128

struct event_store {
    struct event **by_number; /* SHARDS_MAX-independent: shard_index * events_max + n */
    uint32_t *order;          /* numbers, in the order they came to this shard; shown ones only */
    struct index by_id;
    struct event *last; /* the one found last */
    char *bytes;        /* settings and tables of all events, behind each other */
    struct seat *seats;
    uint64_t bytes_used; /* of bytes; bytes_kept counts also what is promised */
    uint64_t bytes_kept;
    uint64_t seats_used;
    uint64_t seats_kept;
    uint32_t known; /* shown or promised */
    uint32_t shown;
};

/* ---- users and holds: core/user.c, core/hold.c ---- */

#define USER_INLINE 39

/* One user in one event: made with the first hold, gone with the last. */
struct user {
    uint64_t used; /* units held and confirmed: the limit's measure */
    uint32_t event;
    uint32_t busy;       /* operation that decides something for this user, or SLAB_NONE */
    uint32_t first_hold; /* newest first, remembered ended ones included; SLAB_NONE: none */
    uint32_t name_more;  /* names beyond USER_INLINE: slot in names */
    uint8_t name_size;
    char name[USER_INLINE];
};

static_assert(sizeof(struct user) == 64, "budget: 192 bytes a hold with its user");

enum hold_flag {
    HOLD_RETURNING = 1 << 0,  /* ended; its units go back when that is durable (R3) */
    HOLD_ENDED_LIST = 1 << 1, /* in the list of remembered ended holds */
    HOLD_TELLING = 1 << 2,    /* owners have been told something of it and have not all acknowledged */
    HOLD_NEW = 1 << 3, /* placed since the snapshot began that is still to come to its slot: not told */
};

/* One unit line of a hold: seats first, then pools.
 *     seat  a: ref              b: version
 *     pool  a: quantity         b: pool << 26 | heap node (all ones: in no heap) */
struct unit_line {
    uint32_t a;
    uint32_t b;
};

#define HOLD_INLINE_UNITS 2
#define HOLD_UNITS_MAX    (HOLD_SEATS_MAX + HOLD_POOLS_MAX)
#define LINE_NODE_NONE    ((1u << 26) - 1)

struct hold {
    struct uuid id;
    struct wheel_link
        wheel;         /* live: its deadline. Ended: links of the ended list, and still the deadline */
    uint64_t start_ms; /* for the cap on extensions */
    uint64_t ended_ms;
    uint32_t event;
    uint32_t user;
    uint32_t user_next;
    uint32_t user_prev;
    uint32_t units_more; /* more than HOLD_INLINE_UNITS lines: slot in units */
    uint8_t state;
    uint8_t seat_count;
    uint8_t pool_count;
    uint8_t flags;
    struct unit_line units[HOLD_INLINE_UNITS];
};

static_assert(sizeof(struct hold) == 88, "budget: 192 bytes a hold with its user");

struct units_extent {
    struct unit_line lines[HOLD_UNITS_MAX];
};

/* A pool line's place in its pool's heap. */
struct pool_node {
    struct heap_node node;
    uint32_t hold;
    uint32_t zero;
};

/* ---- idempotency answers: core/idempotency.c ---- */

struct key_hash {
    uint64_t low;
    uint64_t high;
};

struct key_store {
    uint8_t *ring;
    uint64_t size;
    uint64_t head; /* where the next answer goes; positions only grow, ring[position % size] */
    uint64_t tail;
    struct index index;     /* positions / KEY_ALIGN, modulo the ring */
    struct index under_way; /* operations whose key is not remembered yet */
    uint32_t count;
};

/* ---- commands under way: core/operation.c ---- */

enum operation_stage {
    STAGE_FREE = 0,
    STAGE_RESERVE,      /* owner after owner is asked */
    STAGE_AGAIN,        /* the user's own hold gives back what is asked: owners are asked anew then */
    STAGE_PROBE,        /* refused: does an earlier asked unit lie with a later owner? */
    STAGE_LOOK_BEST,    /* best: every shard's look at the section */
    STAGE_LOOK_FIGURES, /* refused: the section's figures */
    STAGE_DECIDED,      /* recorded: acknowledgements and durability are awaited */
    STAGE_FORWARDED,    /* another shard works on it: only the key of an operator's command */
    STAGE_GATHER,       /* counts or letters are put together */
    STAGE_EVENT_OFFER,
    STAGE_EVENT_APPLY,
};

struct operation_seat {
    seat_ref ref;
    uint32_t version;
    struct seat_place place;
    uint8_t owner;
    bool kept; /* already in the hold that is replaced */
};

struct operation_pool {
    uint32_t quantity; /* in the hold */
    uint32_t reserve;  /* of these, to be reserved now */
    uint8_t pool;
    uint8_t owner;
    bool sliced; /* taken out of this shard's slice */
};

struct refusal {
    enum status status; /* STATUS_OK: none */
    uint32_t rank;      /* order asked: seats, then pools, then best */
    uint32_t holder;
    uint32_t remaining;
    uint64_t next_deadline_ms;
};

/* Where an answer goes. */
struct origin {
    uint32_t shard;
    uint64_t tag;
    uint32_t operation; /* of that shard, which wants the answer itself; SLAB_NONE: it is the host's */
};

#define OPERATION_PACKED_MAX 352

struct operation {
    uint32_t free_link; /* the slab's, while it is free */
    uint32_t serial;
    uint8_t stage;
    uint8_t command; /* enum command_type */
    bool late;
    bool multiple;      /* more than one owner, or best besides: reserve first, commit later */
    bool after_durable; /* units go back or are sold once it is durable */
    bool user_busy;     /* this operation holds its user */
    bool orphans;       /* best: no choice without an orphan is left */
    uint8_t event_apply;
    struct origin origin;
    uint32_t event;
    uint32_t user;
    uint32_t hold;
    uint32_t replaced; /* slot of the hold to be replaced, or SLAB_NONE */
    struct uuid replaced_id;
    uint64_t sequence; /* of its record */
    uint64_t deadline_ms;
    uint64_t start_ms;
    uint64_t id_random; /* of its hold's id */
    uint8_t state;      /* enum hold_state after it */
    uint8_t seat_count;
    uint8_t seats_asked; /* without those of best */
    uint8_t pool_count;
    uint8_t best_count;
    uint8_t best_section;
    bool best_wait;     /* best: looks wait for seats that are being decided */
    uint8_t best_again; /* best: after so many looks everything is asked anew; 0: that is not to be */
    uint16_t best_tries;
    uint8_t key_used;
    uint16_t route;   /* route16 of the user, who owns the key too */
    uint64_t to_ask;  /* owners not yet asked, a bit a shard */
    uint64_t granted; /* owners that have units reserved for it */
    uint32_t awaited; /* answers of other shards */
    uint16_t packed_size;
    bool durable;      /* its record is on disk */
    uint16_t promised; /* so much room for its record is counted in shard->promised */
    bool created;      /* a kept key's: what the answer said */
    bool tells_queue;  /* the event's queue learns of it once it is durable */
    bool done;         /* confirm: it uses up the user's admission: */
    struct uuid done_token;
    bool telling; /* its hold, and the replaced one, are HOLD_TELLING for it */
    bool replayed;
    struct refusal refusal;
    struct key_hash key;
    struct key_hash fingerprint;
    struct trace trace;
    uint8_t request_id_size;
    uint8_t payment_ref_size;
    uint8_t event_id_size;  /* 0: none is to be shown */
    uint32_t gather;        /* slot in gathers, or SLAB_NONE */
    uint32_t waiting_first; /* parked commands of the same user */
    uint32_t waiting_last;
    struct operation_seat seats[HOLD_SEATS_MAX];
    struct operation_pool pools[HOLD_POOLS_MAX];
    char request_id[REQUEST_ID_SIZE_MAX];
    union {
        char payment_ref[PAYMENT_REF_SIZE_MAX];
        char event_id[EVENT_ID_SIZE_MAX]; /* a kept key's: of the event to be shown */
    };
    struct section_look look;
    uint8_t packed[OPERATION_PACKED_MAX]; /* the answer, once decided */
};

/* Counts or letters being put together. */
struct gather {
    struct event_view view;
    struct map_view map;
    char letters[MAP_LETTERS_MAX];
};

/* The live and confirmed holds of one user that one answer carries, packed; more: BUSY. */
#define HOLDS_PACKED_MAX (MESSAGE_SIZE_MAX - 2048)

/* A command or message that waits for something else to be decided. */
struct parked {
    uint32_t next;
    uint32_t run_last; /* first of a run of one user's commands: the last of that run */
    uint32_t from;     /* messages: the sender; commands: PARKED_COMMAND */
    uint32_t user;
    struct origin origin;
    uint64_t bytes[(COMMAND_FLAT_MAX + 7) / 8];
};
#define PARKED_COMMAND UINT32_MAX

/* What is to be done once a sequence is durable, in order. */
struct pending {
    uint64_t sequence;
    uint32_t index;
    enum pending_kind {
        PENDING_OPERATION, /* goes on */
        PENDING_HOLD,      /* expired: its units go back */
        PENDING_TOKEN,     /* let in: the home is told */
        PENDING_TOKEN_END, /* let out: likewise */
    } kind;
};

/* A snapshot's part being told: core/snapshot.c. */
enum snapshot_stage {
    SNAPSHOT_NONE = 0,
    SNAPSHOT_TELL, /* what was recorded before it began is done */
    SNAPSHOT_EVENTS,
    SNAPSHOT_TOKENS,
    SNAPSHOT_ADMISSIONS,
    SNAPSHOT_HOLDS,
    SNAPSHOT_KEYS,
    SNAPSHOT_BARRIER,
    SNAPSHOT_WAIT, /* for the other shards' barriers */
    SNAPSHOT_SEATS,
};

struct snapshot {
    uint64_t generation;
    uint64_t sequence;             /* of the last record when it began */
    uint64_t barriers[SHARDS_MAX]; /* the generation of each shard's newest barrier */
    enum snapshot_stage stage;
    uint32_t event;     /* index in the order of events */
    uint32_t block;     /* of this shard, of that event */
    uint32_t hold;      /* slot */
    uint32_t token;     /* slot */
    uint32_t admission; /* slot */
    uint64_t key;       /* position in the ring of keys */
    uint64_t key_end;   /* what is remembered later is in the journal */
};

/* Messages for one shard that found no room in its mailbox. */
struct outbox {
    uint8_t *bytes;
    uint64_t head; /* positions only grow; both go back to 0 when it is empty */
    uint64_t tail;
};

struct shard {
    struct shard_settings settings;
    struct shard_host host;
    uint64_t now_ms;
    uint64_t id_counter; /* ids made */
    uint64_t id_draws;
    uint64_t id_random; /* the draw to come */

    struct event_store events;
    struct slab users;
    struct slab names; /* USER_ID_SIZE_MAX bytes each */
    struct index users_index;
    struct slab holds;
    struct slab units;
    struct slab pool_nodes;
    struct index holds_index;
    struct expiry_wheel wheel;
    uint32_t ended_first; /* remembered ended holds, oldest first */
    uint32_t ended_last;
    uint32_t ended_count;
    uint32_t live_count;
    uint32_t confirmed_count;
    struct key_store keys;

    struct queues queues;
    struct admissions admissions;

    struct slab operations;
    struct slab gathers;
    struct slab parkeds;
    uint32_t operation_serial;
    uint32_t promised;     /* room for records that operations will still append: in RECORD_SIZE_MAX */
    uint32_t forwards;     /* commands under way in other shards */
    uint32_t parked_first; /* waiting for any change; retried when `wake` is set */
    uint32_t parked_last;
    uint32_t ready_first; /* commands whose user is free again */
    uint32_t ready_last;
    bool wake;

    struct pending *pending; /* ring */
    uint64_t pending_head;
    uint64_t pending_tail;
    uint32_t pending_max;
    uint32_t pending_operations; /* of its entries; every other operation has a place promised */

    uint8_t *batches[2];
    size_t batch_size;      /* of the one that fills */
    uint64_t batch_records; /* appended before it */
    bool batch_events;      /* it has records of events */
    enum scarcity scarcity;
    uint32_t batch_at;
    uint64_t batch_sequence; /* of its first record */
    uint64_t sequence;       /* of the last record appended */
    uint64_t durable;

    struct snapshot snapshot;

    struct outbox outboxes[SHARDS_MAX];
    uint64_t outbox_size;
    uint64_t outbox_used_shards; /* a bit for each outbox that is not empty */

    uint64_t records;
    uint64_t expired;
    uint64_t outcomes[STATUS_COUNT];
    struct reply reply;    /* the one being made */
    struct gather scratch; /* where nothing has to be awaited */
    uint8_t packed[HOLDS_PACKED_MAX];
    union {
        struct message_header header;
        struct message_reply reply;
        struct message_mapped mapped;
        uint64_t bytes[MESSAGE_SIZE_MAX / 8];
    } out; /* the message being made */
};

/* Old holds, keys and tokens forgotten in one sweep. */
#define FORGET_BATCH     512
#define SHARD_BIT(shard) ((uint64_t)1 << (shard))

/* -- event.c -- */
void events_open(struct shard *shard, struct carve *carve);
/* Promises room for an event; BUSY where there is none. Then event_show() makes it, or event_drop(). */
enum status event_keep(struct shard *shard, uint32_t number, const struct event_settings *settings);
void event_show(struct shard *shard, uint32_t number);
void event_drop(struct shard *shard, uint32_t number);
/* A number for an event of this shard; SLAB_NONE: all are taken. */
uint32_t event_number_free(const struct shard *shard);
static inline struct event *
event_at(const struct shard *shard, uint32_t number)
{
    struct event *event = shard->events.by_number[number];
    assert(event != NULL);
    return event;
}
/* Shown or only kept room for. */
struct event *event_known(const struct shard *shard, struct bytes id);
struct event *event_find(struct shard *shard, struct bytes id);                       /* shown ones */
const struct event_settings *event_find_settings(const void *shard, struct bytes id); /* kept ones too */
uint32_t event_owner(const struct shard *shard, struct bytes id);
bool event_seat_find(const struct event *event, const struct seat_name *name, seat_ref *ret_ref);
int32_t event_section_find(const struct event *event, struct bytes name);
static inline struct seat_place
event_seat_place(const struct event *event, seat_ref ref)
{
    uint32_t index = SEAT_REF_SECTION(ref);
    uint32_t row = SEAT_REF_ROW(ref);
    const struct section *section = &event->sections[index];
    assert(index < event->settings->section_count);
    if (section->rows_a_block == 0)
        return (struct seat_place){section->block_first + section->row_block[row],
                                   section->row_offset[row] + SEAT_REF_NUMBER(ref) - 1};
    uint32_t block = row * section->row_part >> ROW_PART_BITS;
    return (struct seat_place){section->block_first + block,
                               (row - block * section->rows_a_block) * section->row_seats +
                                   SEAT_REF_NUMBER(ref) - 1};
}
static inline uint32_t
event_place_owner(const struct event *event, struct seat_place place)
{
    return event->block_owner[place.block];
}
static inline uint32_t
event_seat_owner(const struct event *event, seat_ref ref)
{
    return event_place_owner(event, event_seat_place(event, ref));
}
/* A block of this shard, by its number in the event. */
static inline struct block *
event_own_block(const struct event *event, uint32_t number)
{
    struct block *block = &event->own_blocks[event->block_places[number].own];
    assert(block->number == number);
    return block;
}
/* Asks for the memory of a seat of this shard before it is needed: its block's counts and bits, and itself.
 */
static inline void
event_seat_prefetch(const struct event *event, struct seat_place place)
{
    const struct block_place *at = &event->block_places[place.block];
    const struct block *block = &event->own_blocks[at->own];
    __builtin_prefetch(block, 1);
    __builtin_prefetch(&block->free[place.index / 64], 1);
    __builtin_prefetch(&event->own_seats[at->seat_first + place.index], 1);
}
static inline uint64_t
event_open_at(const struct event *event)
{
    return event->settings->opens_at_ms;
}

/* -- seat_map.c: a block owner's part of the commands -- */
void block_open(struct event *event, struct block *block);
bool seat_is_free(const struct event *event, struct seat_place place);
/* Would this seat be granted? OK, HELD, SOLD, or BUSY: reserved by a hold that is not yet decided. */
enum status seat_try(const struct shard *shard, const struct event *event, seat_ref ref, uint32_t *ret_hold,
                     uint64_t *ret_deadline_ms);
/* Takes a free seat: reserved, or with `final` held (or sold) at once; returns the version it gets. */
uint32_t seat_take(struct event *event, struct seat_place place, uint32_t hold, uint64_t deadline_ms,
                   bool final, bool sell);
void seat_settle(struct event *event, struct seat_place place, uint32_t action, uint32_t version,
                 uint32_t hold, uint64_t deadline_ms);
/* Recovery: the seat is held or sold; its version has been noted. */
void seat_restore(struct event *event, seat_ref ref, enum hold_state state, uint32_t version, uint32_t hold,
                  uint64_t deadline_ms);
/* Chooses `count` free adjacent seats in a block; the first one's ref. False: no choice. */
bool block_best(const struct event *event, const struct block *block, uint32_t count, bool orphans,
                seat_ref *ret_first);
/* Adds this shard's blocks of a section to a look. */
void section_look_add(struct shard *shard, struct event *event, uint32_t section, uint32_t best_count,
                      struct section_look *look);
void section_look_open(struct section_look *look);
void section_look_merge(struct section_look *look, const struct section_look *other);
/* Letters of this shard's rows among [row_from, row_to), behind each other; returns their number. */
uint32_t section_letters(const struct event *event, uint32_t section, uint32_t row_from, uint32_t row_to,
                         char *ret_letters);
uint32_t seat_version(const struct event *event, seat_ref ref);
/* Recovery: raises the version, from any thread. */
void seat_version_note(struct event *event, seat_ref ref, uint32_t version);
void block_version_note(struct block *block, uint32_t index, uint32_t version);
void block_check(const struct shard *shard, const struct event *event, const struct block *block);

/* -- pool.c -- */
void pool_open(struct shard *shard, struct event *event, uint32_t pool);
/* The owner's decision: OK, HELDOUT, SOLDOUT, or BUSY: ask again when something has changed. */
enum status pool_try(struct shard *shard, struct event *event, uint32_t pool, uint32_t quantity,
                     uint32_t asked, uint32_t *ret_remaining, uint64_t *ret_next_deadline_ms);
/* Would pool_try() say OK? */
bool pool_is_free(const struct event *event, uint32_t pool, uint32_t quantity);
/* Takes what pool_try() granted. from: the asking shard; returns units added to that shard's slice. */
uint32_t pool_take(struct shard *shard, struct event *event, uint32_t pool, uint32_t quantity,
                   uint32_t from, bool final);
void pool_settle(struct shard *shard, struct event *event, uint32_t pool, uint32_t action,
                 uint32_t quantity, uint32_t from, uint64_t first_ms);
void pool_recall(struct shard *shard, struct event *event, uint32_t pool);
void pool_recalled(struct shard *shard, uint32_t from, const struct message_recalled *message);
void pool_give_slice(struct shard *shard, uint32_t from, const struct message_recall *message);
/* Recovery: what is held and sold is known in every home; the owner's figures follow. */
void pool_restore(struct shard *const shards[], uint32_t shard_count, uint32_t event, uint32_t pool);
uint32_t pool_slice_size(const struct shard *shard, uint32_t capacity);
uint64_t pool_first_ms(const struct shard *shard, const struct pool *pool);
void pool_line_add(struct shard *shard, uint32_t hold, struct unit_line *line, uint64_t deadline_ms);
void pool_line_remove(struct shard *shard, struct hold *hold, struct unit_line *line);

/* -- owner.c: reserve and settle messages, from wherever they come -- */
/* Where owner and home are one shard: takes the operation's own units at once, without a message. False:
 * one is not free, nothing is taken, and owner_reserve() tells why. */
bool owner_take_own(struct shard *shard, struct operation *op);
/* False: parked, an answer comes later. */
bool owner_reserve(struct shard *shard, uint32_t from, const struct message_reserve *message,
                   struct message_reserved *ret_answer);
void owner_settle(struct shard *shard, uint32_t from, const struct message_settle *message);

/* -- user.c -- */
uint64_t user_hash(const struct shard *shard, struct bytes name);
void user_prefetch(const struct shard *shard, uint32_t event, uint64_t hash);
/* When the bucket has come: asks for the users that it names. */
void user_prefetch_found(const struct shard *shard, uint32_t event, uint64_t hash);
uint32_t user_find(const struct shard *shard, uint32_t event, struct bytes name, uint64_t hash);
/* There is room: user_room() said so. */
uint32_t user_make(struct shard *shard, uint32_t event, struct bytes name, uint64_t hash);
bool user_room(const struct shard *shard);
/* Drops the user where nothing is known of them any more. */
void user_release(struct shard *shard, uint32_t user);
struct bytes user_name(const struct shard *shard, const struct user *user);
static inline struct user *
user_at(const struct shard *shard, uint32_t user)
{
    return (struct user *)shard->users.items + user;
}

/* Does a snapshot under way come to what gets this slot only later? part: where it tells of its kind; next:
 * the slot that it tells next there. What is new since it began is not told: its record is behind the
 * snapshot. */
static inline bool
snapshot_comes_to(const struct shard *shard, enum snapshot_stage part, uint32_t next, uint32_t slot)
{
    return shard->snapshot.stage != SNAPSHOT_NONE && shard->snapshot.stage <= part && slot >= next;
}

/* -- hold.c -- */
static inline struct hold *
hold_at(const struct shard *shard, uint32_t hold)
{
    return (struct hold *)shard->holds.items + hold;
}
static inline struct unit_line *
hold_lines(const struct shard *shard, struct hold *hold)
{
    if (hold->seat_count + hold->pool_count <= HOLD_INLINE_UNITS)
        return hold->units;
    return ((struct units_extent *)slab_item(&shard->units, hold->units_more))->lines;
}
void hold_prefetch(const struct shard *shard, uint16_t route, uint64_t random);
/* When the bucket has come: asks for the holds that it names. */
void hold_prefetch_found(const struct shard *shard, const struct uuid *id);
void hold_prefetch_parts(const struct shard *shard, uint32_t hold);
uint32_t hold_find(const struct shard *shard, const struct uuid *id);
/* Makes room for one more hold, forgetting the oldest ended one where need be. False: none. */
bool hold_room(struct shard *shard, uint32_t line_count, bool new_user);
/* Links a hold whose id, event, user, state, times and counts are set; lines are filled by the caller. */
void hold_link(struct shard *shard, uint32_t hold);
void hold_forget(struct shard *shard, uint32_t hold);
/* Live -> ended or confirmed: out of the wheel and its pools' heaps, versions + 1, the user's units. */
void hold_leave_live(struct shard *shard, uint32_t hold, enum hold_state state);
void hold_raise_versions(struct shard *shard, struct hold *hold);
/* The units are back: remembered among the ended ones from now. */
void hold_remember(struct shard *shard, uint32_t hold);
void hold_unremember(struct shard *shard, uint32_t hold);
/* Tells owners what became of the units that an operation has reserved, or keeps (SETTLE_ABORT: or not). */
void settle_granted(struct shard *shard, struct operation *op, uint32_t action);
/* A look's answer shows nothing that a crash could take back: it waits for the records up to now. */
void look_reply(struct shard *shard, const struct origin *origin, const struct reply *reply);
/* True: there may be more to forget at once. */
bool hold_forget_old(struct shard *shard, uint32_t budget);
uint32_t hold_units(const struct shard *shard, struct hold *hold);
/* As it is recorded, and as it is now: an overdue hold is expired. */
void hold_view_recorded(const struct shard *shard, uint32_t hold, struct hold_view *ret_view);
void hold_view(const struct shard *shard, uint32_t hold, struct hold_view *ret_view);
static inline bool
hold_is_live(const struct shard *shard, const struct hold *hold)
{
    return hold->state == HOLD_HELD && shard->now_ms < hold->wheel.deadline_ms;
}
bool hold_has_seat(const struct shard *shard, struct hold *hold, seat_ref ref);
/* Expires one hold: record, then R3. The caller has seen that there is room. */
void hold_expire(struct shard *shard, uint32_t hold);
void hold_return(struct shard *shard, uint32_t hold);
bool hold_return_room(const struct shard *shard, uint32_t hold);
bool hold_expire_room(const struct shard *shard);
/* Holds of one user that a command looks at, newest first. */
#define USER_SCAN_MAX 4096
uint64_t user_overdue_units(const struct shard *shard, uint32_t user);

/* -- token.c, token_watch.c, queue.c -- */
static inline struct token *
token_at(const struct shard *shard, uint32_t token)
{
    return (struct token *)slab_item(&shard->queues.tokens, token);
}
static inline struct watcher *
watcher_at(const struct shard *shard, uint32_t watcher)
{
    return (struct watcher *)slab_item(&shard->queues.watchers, watcher);
}
static inline struct queue *
queue_of(const struct shard *shard, const struct token *token)
{
    return event_at(shard, token->event)->queue;
}
/* Where the items and nodes of a queue's rank_tree lie. */
static inline const struct rank_place *
waiting_places(const struct shard *shard)
{
    return &shard->queues.waiting_places;
}

/* -- snapshot.c -- */
void snapshot_barrier(struct shard *shard, uint32_t from, const struct message_barrier *message);

/* -- idempotency.c -- */
void keys_open(struct shard *shard, struct carve *carve);
/* The operation's command, which has a key, is not decided yet; or is now. */
void key_under_way(struct shard *shard, const struct operation *op, bool on);
bool key_is_under_way(const struct shard *shard, const struct key_hash *key);
struct key_hash key_hash_make(const struct shard *shard, struct bytes owner, struct bytes key);
struct key_hash command_fingerprint(const struct shard *shard, const struct command *command);
/* NULL: unknown. Else the packed reply, whether the fingerprint is the same, and when it was given. */
const uint8_t *key_find(const struct shard *shard, const struct key_hash *key,
                        const struct key_hash *fingerprint, bool *ret_same, uint32_t *ret_size,
                        uint64_t *ret_time_ms);
void key_remember(struct shard *shard, const struct key_hash *key, const struct key_hash *fingerprint,
                  uint16_t route, uint64_t time_ms, const struct reply *reply);
/* The same with a reply that is packed already. */
void key_remember_packed(struct shard *shard, const struct key_hash *key,
                         const struct key_hash *fingerprint, uint16_t route, uint64_t time_ms,
                         const uint8_t *packed, uint32_t packed_size);
/* Walks over what is remembered, oldest first: the first one at or after *position (0 at first) and before
 * `end`, a position too. False: none. The views are valid until the next key is remembered. */
struct key_kept {
    struct key_hash key;
    struct key_hash fingerprint;
    uint64_t time_ms;
    uint16_t route;
    uint16_t reply_size;
    const uint8_t *reply;
};
bool key_kept_next(const struct shard *shard, uint64_t *position, uint64_t end, struct key_kept *ret_kept);
void keys_forget_old(struct shard *shard, uint32_t budget);
void keys_check(const struct shard *shard);

/* -- operation.c -- */
struct operation *operation_take(struct shard *shard, const struct origin *origin,
                                 enum command_type command);
void operation_free(struct shard *shard, struct operation *op);
static inline struct operation *
operation_at(const struct shard *shard, uint32_t slot)
{
    return (struct operation *)shard->operations.items + slot;
}
static inline uint32_t
operation_slot(const struct shard *shard, const struct operation *op)
{
    return (uint32_t)((size_t)((const char *)op - shard->operations.items) / sizeof *op);
}
/* Whoever may fail leaves some operations to those that give units back or pay. */
bool operation_room(const struct shard *shard, bool ends_something);
void operation_user_busy(struct shard *shard, struct operation *op);
void operation_user_free(struct shard *shard, struct operation *op);
bool park_command(struct shard *shard, const struct origin *origin, const struct command *command);
bool park_command_behind(struct shard *shard, uint32_t user, const struct origin *origin,
                         const struct command *command);
bool park_message(struct shard *shard, uint32_t from, const void *message, uint32_t size);
void operations_run_ready(struct shard *shard);
/* Runs the operation's asking of owners again at the next change. False: no room. */
bool park_again(struct shard *shard, const struct operation *op);
void operation_when_durable(struct shard *shard, struct operation *op);
void operation_answer(struct shard *shard, const struct message_header *header, uint32_t from);

/* -- hold_place.c, hold_end.c, event_change.c, look.c: commands, at the shard that owns them -- */
/* user_hash: of the command's user, whom the way here has looked for already. */
void command_hold(struct shard *shard, const struct origin *origin, const struct command *command,
                  uint64_t user_hash);
void command_confirm(struct shard *shard, const struct origin *origin, const struct command *command);
void command_extend(struct shard *shard, const struct origin *origin, const struct command *command);
void command_release(struct shard *shard, const struct origin *origin, const struct command *command);
void command_cancel(struct shard *shard, const struct origin *origin, const struct command *command);
void command_hold_get(struct shard *shard, const struct origin *origin, const struct command *command);
void command_holds(struct shard *shard, const struct origin *origin, const struct command *command);
void command_event_create(struct shard *shard, const struct origin *origin, const struct command *command);
void command_event_set(struct shard *shard, const struct origin *origin, const struct command *command);
void command_event_get(struct shard *shard, const struct origin *origin, const struct command *command);
struct pool_settings *event_pools_settings(struct event *event);
void command_seats(struct shard *shard, const struct origin *origin, const struct command *command);

/* The change is recorded: remembers the answer, frees the user, answers now or when it may. reply NULL: the
 * answer is not remembered, and will be read from the hold. */
void operation_decided(struct shard *shard, struct operation *op, const struct reply *reply);
void operation_durable(struct shard *shard, struct operation *op);
void holds_token_is(struct shard *shard, struct operation *op, const struct message_token_is *message);
void operation_finish_refused(struct shard *shard, struct operation *op, const struct reply *reply);
/* Begins asking the owners in op->to_ask; then decides, or refuses. */
void place_begin(struct shard *shard, struct operation *op);
void place_route(struct shard *shard, struct operation *op);
bool place_room(struct shard *shard, const struct operation *op);
/* Over the user's limit with so many more units? Then the reply has status and figures. */
bool over_limit(struct shard *shard, const struct operation *op, uint64_t units, struct reply *reply);
void place_return_replaced(struct shard *shard, struct operation *op);
void late_decide(struct shard *shard, struct operation *op);
/* The steps of placing a hold, in the files named in hold_place.c. */
void place_next(struct shard *shard, struct operation *op);
void place_reserve_message(const struct shard *shard, const struct operation *op,
                           struct message_reserve *message);
void place_ask(struct shard *shard, struct operation *op, uint32_t owner, struct message_reserve *message);
void place_best(struct shard *shard, struct operation *op);
void best_reserved(struct shard *shard, struct operation *op, uint32_t from,
                   const struct message_reserved *answer);
/* Asks every owner of the section's blocks for its look; true: all answers are here already. */
bool place_look(struct shard *shard, struct operation *op, uint32_t section, uint32_t count);
void place_decide(struct shard *shard, struct operation *op);
void place_refuse(struct shard *shard, struct operation *op);
void place_refuse_send(struct shard *shard, struct operation *op);
void place_return_slices(struct shard *shard, struct operation *op);
/* Is this hold the operation's user's own, live, and of exactly the seats asked? */
bool place_is_own(const struct shard *shard, const struct operation *op, uint32_t hold);
/* Answers with a hold that stands already: nothing changes but that a key is remembered. */
void place_answer_own(struct shard *shard, struct operation *op, uint32_t hold);
void place_reserved(struct shard *shard, struct operation *op, uint32_t from,
                    const struct message_reserved *answer);
void place_looked(struct shard *shard, struct operation *op, uint32_t from,
                  const struct section_look *look);
/* Tells the owners what became of a hold's units; fills one settle message for one owner. */
void settle_begin(struct shard *shard, struct message_settle *settle, uint32_t event, uint32_t hold,
                  uint64_t deadline_ms, const struct operation *op);
void settle_send(struct shard *shard, uint32_t owner, struct message_settle *settle, struct operation *op);
/* Units of a hold go to their owners with one action; op NULL: no acknowledgement. */
void hold_settle_owners(struct shard *shard, uint32_t hold, uint32_t action, struct operation *op);
uint64_t hold_owners(const struct shard *shard, uint32_t hold);
void end_durable(struct shard *shard, struct operation *op);
void operation_meta(struct operation *op, const struct command *command);
void event_change_done(struct shard *shard, struct operation *op, uint32_t from, enum status status);
void event_change_durable(struct shard *shard, struct operation *op);
/* An operation with a gather, where there are several shards; NULL: answered or parked. */
struct operation *gather_begin(struct shard *shard, const struct origin *origin,
                               const struct command *command);
/* Counts the event's units in all shards for such an operation; then keeper_counted(), or the answer. */
void event_count(struct shard *shard, struct operation *op, const struct event *event);
void look_answer(struct shard *shard, struct operation *op, uint32_t from,
                 const struct message_header *header);
/* False: parked until seats that are reserved are decided. */
bool look_section_own(struct shard *shard, uint32_t from, const struct message_look *message,
                      struct message_looked *ret_answer);
uint32_t count_own(struct shard *shard, const struct message_count *message,
                   struct message_counted *ret_answer);
uint32_t map_own(struct shard *shard, const struct message_map *message, struct message_mapped *ret_answer);
void event_change_apply(struct shard *shard, const struct message_event_apply *message);

/* -- record.c: appending; decoding is in core/record.h -- */
bool record_room(const struct shard *shard, size_t size);
/* What a record takes besides settings or an answer, at most. */
#define RECORD_AROUND 256
/* Keeps room for so long a record of the operation, in place of what was kept for it; 0: it is made.
 * Whoever asks for more than an operation has at first has asked record_room(). */
void record_promise(struct shard *shard, struct operation *op, size_t size);
/* Records of a hold: what the operation did, with its key. Returns the sequence. */
uint64_t record_hold(struct shard *shard, uint32_t hold, const struct operation *op);
uint64_t record_expired(struct shard *shard, uint32_t hold);
uint64_t record_event(struct shard *shard, const struct event_settings *settings,
                      const struct operation *op);
/* The settings to which the event is going to change. */
uint64_t record_change(struct shard *shard, const struct event *event, const struct operation *op);
uint64_t record_key(struct shard *shard, const struct operation *op, const struct reply *reply);
/* A record of these parts behind each other. */
uint64_t record_parts(struct shard *shard, enum record_type type, const struct bytes *parts,
                      uint32_t count);
/* A view to a watcher at some shard's connection. */
bool push_send(struct shard *shard, uint32_t to, uint64_t watch, const struct reply *reply);

/* -- key_keeper.c -- */
/* Has it a key that lives elsewhere than where the command is executed? Then it goes by the key's home. */
bool keeper_keyed(const struct command *command);
uint32_t keeper_home(const struct shard *shard, const struct command *command);
void keeper_execute(struct shard *shard, const struct origin *origin, const struct command *command);
void keeper_answered(struct shard *shard, uint32_t operation, const struct reply *reply);
/* The event that was changed is looked at: so it is answered, now and with each replay. */
void keeper_counted(struct shard *shard, struct operation *op, const struct event_view *view);

/* -- shard.c -- */
/* The random part of an id to be, drawn once for each. */
uint64_t id_draw(struct shard *shard);
/* The answer to an operation's command or a refused command; takes shard->reply. */
void reply_send(struct shard *shard, const struct origin *origin, const struct reply *reply,
                uint64_t sequence);
/* The same with a reply that is OK and packed, to another shard. */
void reply_send_packed(struct shard *shard, const struct origin *origin, const uint8_t *packed,
                       uint32_t packed_size, bool replayed);
struct reply *reply_begin(struct shard *shard, enum status status, enum command_type command);
/* An answer too long for an operation, kept as a message until its sequence is durable. */
void reply_when_durable(struct shard *shard, const struct origin *origin, const struct reply *reply,
                        uint64_t sequence);
/* No such event: named as it was asked for. */
void reply_noevent(struct shard *shard, const struct origin *origin, const struct command *command);
void reply_status(struct shard *shard, const struct origin *origin, enum command_type command,
                  enum status status);
void message_send(struct shard *shard, uint32_t to, void *message, uint32_t size);
/* The message tells of something: it leaves when every record up to now is durable (R2). */
void message_send_when_durable(struct shard *shard, uint32_t to, void *message, uint32_t size);
/* Room to begin something that sends to this shard (answers have their own half). */
bool message_room(const struct shard *shard, uint32_t to);
void pending_push(struct shard *shard, uint64_t sequence, uint32_t index, enum pending_kind kind);
bool pending_room(const struct shard *shard, uint32_t count);
void command_execute(struct shard *shard, const struct origin *origin, const struct command *command);
void message_execute(struct shard *shard, uint32_t from, const struct message_header *header);
/* Replays a remembered answer, or refuses a reused key: then true. The command has a key. */
bool key_replayed(struct shard *shard, const struct origin *origin, const struct command *command,
                  struct bytes owner, struct key_hash *ret_key, struct key_hash *ret_fingerprint);
static inline bool
key_answered(struct shard *shard, const struct origin *origin, const struct command *command,
             struct bytes owner, struct key_hash *ret_key, struct key_hash *ret_fingerprint)
{
    return command->key.size > 0 && key_replayed(shard, origin, command, owner, ret_key, ret_fingerprint);
}

#endif
