/*
 * shard.h - one shard of the core, as its host (the server's loop, the simulator, a benchmark) drives
 * it.
 *
 * Pure (R5): a shard does no I/O, reads no clock, draws no randomness and allocates nothing after
 * shard_open(). Everything comes in by arguments; everything goes out by the host's three functions
 * and by the batch of records. One thread drives a shard (R6).
 *
 * The order of a tick:
 *
 *     shard_time(now)                     never goes back; again whenever more has come in
 *     shard_command() ...                 from this shard's own connections
 *     shard_message() ...                 from the other shards' mailboxes, each mailbox in order
 *     shard_expire()
 *     shard_batch()                       records to be written; the host writes them
 *     shard_durable(sequence)             when they are on disk: returns units (R3), sends answers (R2)
 */
#ifndef HOLDFAST_SHARD_H
#define HOLDFAST_SHARD_H

#include "core/command.h"

struct shard;

struct shard_settings {
    uint32_t shard_index;
    uint32_t shard_count;    /* 1 to SHARDS_MAX */
    uint64_t route_seed;     /* one for each data directory, the same for all shards */
    uint64_t id_seed;        /* fresh for each shard and start: makes ids unguessable */
    uint32_t holds_max;      /* live, confirmed and remembered ended ones; more: BUSY */
    uint32_t holds_expected; /* whose memory is told of from the start on; 0: as they come */
    uint32_t users_max;      /* (event, user) pairs with a hold; more: BUSY */
    uint32_t events_max;     /* at most EVENTS_MAX; more: BUSY */
    uint32_t tokens_max;   /* places in queues this shard owns; and admissions of users it is home of; more:
                              BUSY */
    uint32_t watchers_max; /* long polls and watches; more: BUSY */
    uint32_t operations_max;  /* commands under way in this shard; more: BUSY */
    uint64_t seats_max;       /* seats this shard owns; an event beyond: BUSY */
    uint64_t event_bytes_max; /* settings of all events; an event beyond: BUSY */
    uint64_t key_bytes_max;   /* idempotency answers; beyond: the oldest are forgotten */
    uint64_t batch_bytes_max; /* records not yet taken by shard_batch(); beyond: BUSY */
    uint64_t ended_ms;        /* how long ended holds are remembered, memory permitting */
    uint64_t key_ms;          /* how long idempotency answers are kept, memory permitting */
    uint32_t expire_batch;    /* holds expired in one shard_expire() at most, and returned in one go */
};

/* The largest message a shard sends. */
#define MESSAGE_SIZE_MAX 65536

struct shard_host {
    void *context;
    /* Hands a message to another shard's mailbox, in order. Messages are 8-aligned in size. False:
     * no room now; the shard keeps it and tries again at its next call, so nothing is lost. */
    bool (*send)(void *context, uint32_t to, const void *message, uint32_t size);
    /* The answer to the command submitted here with this tag, exactly one for each. It must not leave
     * before the records up to `sequence` of this shard are durable (0: it may leave at once). May be
     * called from inside shard_command(). The reply is valid during the call only. */
    void (*reply)(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence);
    /* News of a watched token: `watch` is the command's. As with reply, of this shard's connections, and it
     * must not leave before `sequence`. */
    void (*push)(void *context, uint64_t watch, const struct reply *reply, uint64_t sequence);
};

/* Bytes of memory a shard needs, all reserved at start; touched only when used. */
size_t shard_size(const struct shard_settings *settings);

/* Makes a shard in memory (zeroed, 64-aligned, shard_size() bytes; the caller's, and it must outlive
 * the shard). The host is copied. now_ms: milliseconds since 1970. */
struct shard *shard_open(void *memory, const struct shard_settings *settings, const struct shard_host *host,
                         uint64_t now_ms);

/* The time from now on, in milliseconds since 1970 by a clock that does not step. */
void shard_time(struct shard *shard, uint64_t now_ms);

/* Executes a command or passes it to the shard that owns it; the reply comes by host->reply. */
void shard_command(struct shard *shard, uint64_t tag, const struct command *command);

/* A message that is soon to be taken: asks for the memory it will need, and changes nothing. */
void shard_message_foreseen(const struct shard *shard, const void *message);

/* Takes one message that `from` has sent. */
void shard_message(struct shard *shard, uint32_t from, const void *message, uint32_t size);

/* Expires what is due, up to expire_batch holds, returns as many whose end is on disk, and forgets what is
 * old. True: there is more to do already, call again soon. What is due and finds no room is not: a batch on
 * disk makes it. Also retries messages that found no room. */
bool shard_expire(struct shard *shard);

/* When shard_expire() has next to be called, in ms since 1970; UINT64_MAX: no need. */
uint64_t shard_next_expiry_ms(const struct shard *shard);

/* Takes the records appended since the last call: a view valid until the call after the next one, so
 * that one batch can be on its way to disk while the next one fills. Size 0: none. */
struct shard_batch {
    const uint8_t *data;
    size_t size;
    uint64_t sequence_first;
    uint64_t sequence_last;
    uint32_t record_count;
    bool events; /* some record is an event's */
};
struct shard_batch shard_batch(struct shard *shard);

/* All records up to `sequence` are on disk. What waited for it is done, in order, up to expire_batch
 * returns; the rest by shard_expire(). */
void shard_durable(struct shard *shard, uint64_t sequence);

/* The host stops: long polls are answered soon, and new ones at once. */
void shard_polls_end(struct shard *shard);

/* True where some message waits for room, or something durable is not done yet: the host should call
 * shard_expire() soon. */
bool shard_backlogged(const struct shard *shard);

/* The journal has no room to grow (a full disk): what may be begun only where it has. */
enum scarcity {
    SCARCE_NOT,
    SCARCE_NEW, /* new holds and events: BUSY; the rest goes on from the reserve */
    SCARCE_ALL, /* the reserve is used up, too: whatever needs a record is BUSY, nothing expires */
};
void shard_scarce(struct shard *shard, enum scarcity scarcity);

/*
 * A snapshot of a shard, in slices between ticks, while work goes on (docs/journal-format.md, "A
 * snapshot"). The host notes the durable position of the journal, then begins; slices follow until the last
 * one. Each slice tells things as they are after the shard's record shard_sequence(). One snapshot at a
 * time, the same generation in all shards.
 */
void shard_snapshot_begin(struct shard *shard, uint64_t generation);
/* Writes records into ret_records (8-aligned, SNAPSHOT_SLICE_BYTES long) until there are `size` bytes of
 * them (at most SNAPSHOT_SLICE_WANTED_MAX; the last one may go beyond) or enough was looked at. Returns
 * their size; it may be 0: the other shards' barriers have not come yet, or nothing was there to tell; ask
 * again in a later tick until *ret_last. */
#define SNAPSHOT_SLICE_BYTES      (2u * 1024u * 1024u)
#define SNAPSHOT_SLICE_WANTED_MAX (512u * 1024u)
uint32_t shard_snapshot_slice(struct shard *shard, uint8_t *ret_records, uint32_t size,
                              uint32_t *ret_record_count, bool *ret_last);
/* Memory that the shard will soon touch for the first time, of each of its parts: [from, to), always the
 * same number of them in the same order; they fall back only where an index has become empty again or an
 * event could not be made. A host may have another thread touch it, which changes nothing there. */
#define SHARD_GROWTH_MAX 32
struct shard_growth {
    const char *from;
    const char *to;
};
uint32_t shard_growth(const struct shard *shard, struct shard_growth ret_extents[SHARD_GROWTH_MAX]);
/* Bytes of records that a batch may soon have, which the host copies: at most batch_bytes_max. */
size_t shard_batch_ahead(const struct shard *shard);

/* Sequence of the last record appended. */
uint64_t shard_sequence(const struct shard *shard);

/* Events this shard knows; COMMAND_EVENT_GET with event_index below this finds one. */
uint32_t shard_event_count(const struct shard *shard);
/* The same and those that are being made: where it changes, shard_growth() has news. */
uint32_t shard_event_count_laid(const struct shard *shard);

/* The settings of an event by id, this shard's copy, or NULL. Valid as long as the shard. */
const struct event_settings *shard_event(const struct shard *shard, struct bytes id);

/* Waits of those who were let in, from the join to the activation, by length: as many as took at most
 * wait_bounds_s[i] seconds, and not so few that they are counted before; the last one: longer ones. */
#define WAIT_BUCKETS 15
extern const uint32_t wait_bounds_s[WAIT_BUCKETS - 1];

/* Figures for metrics and tests. */
struct shard_figures {
    uint64_t holds_live;
    uint64_t holds_confirmed;
    uint64_t holds_ended; /* remembered */
    uint64_t users;
    uint64_t keys;
    uint64_t operations;    /* under way */
    uint64_t parked;        /* messages and commands waiting for another one's end */
    uint64_t records;       /* appended since the start */
    uint64_t expiry_lag_ms; /* how far the sweep is behind */
    uint64_t events;
    uint64_t tokens_waiting;
    uint64_t tokens_active;
    uint64_t joined;                 /* since the start */
    uint64_t activated;              /* since the start */
    uint64_t waits[WAIT_BUCKETS];    /* of those activated since the start */
    uint64_t waits_ms;               /* in all */
    uint64_t outcomes[STATUS_COUNT]; /* replies by status, of commands executed here */
    uint64_t expired;                /* holds expired since the start */
};
void shard_figures(const struct shard *shard, struct shard_figures *ret_figures);

/*
 * Rebuilding a set of shards from records (recovery, the simulator). Open all shards; then
 *
 *     REPLAY_EVENTS   every record of the snapshot's parts and of every journal, older epochs first, one
 * thread REPLAY_HOLDS    the same for each home: only what concerns that shard is taken. Parts first, then
 * journals, older epochs first, each in its order. Each home in its own thread, or one after the other
 *     replay_settle   for each shard, when all homes are done; likewise
 *
 * No host function is called meanwhile. The shard count may differ from that of the journals. A journal's
 * records concern only those homes whose routes overlap those of the shard that wrote it (replay_concerns).
 */
enum replay_pass { REPLAY_EVENTS, REPLAY_HOLDS };

/* A token whose user's admission was used up, as the home's records say: its owner may not know. */
struct replay_done {
    struct uuid token;
    uint32_t event;
};
struct replay {
    struct shard *const *shards;
    uint32_t shard_count;
    uint32_t home;
    /* With a snapshot: what it reflects of each hold of this home, by slot (holds_max numbers, zeroed), and
     * of each of its parts' keys (one more than the record; 0: none). The caller's; NULL without one. */
    uint64_t *hold_marks;
    uint64_t *token_marks; /* likewise, tokens_max numbers */
    uint64_t key_marks[SHARDS_MAX];
    /* Found so far, for replay_settle(). The caller's, with room for one more for each record that a call
     * replays. */
    struct replay_done *dones;
    uint64_t done_count;
};

/* Where records come from. */
struct replay_source {
    enum {
        REPLAY_SNAPSHOT, /* a slice of a part */
        REPLAY_BEHIND,   /* a journal of the snapshot's epoch, behind its position */
        REPLAY_AFTER,    /* a journal of a later epoch, or there is no snapshot */
    } kind;
    uint32_t shard;     /* that wrote them */
    uint64_t reflected; /* SNAPSHOT: the slice tells things as they are after this record */
};

enum replay_result {
    REPLAY_OK,
    REPLAY_FULL,       /* does not fit the bounds of these shards */
    REPLAY_CONTRADICTS /* what was recorded before; or no whole record */
};
enum replay_result shard_replay(struct replay *replay, const struct replay_source *source,
                                enum replay_pass pass, const uint8_t *records, size_t size);
bool replay_concerns(uint32_t home, uint32_t shard_count, uint32_t writer, uint32_t writer_count);
/* How many numbers hold_marks has. */
uint64_t shard_hold_slots(const struct shard *shard);
uint64_t shard_token_slots(const struct shard *shard);
/* Seats and pools that this shard owns follow from the holds; R3 is asserted. dones: of this home's replay.
 * REPLAY_FULL: more of its users have a slot than core.tokens_max. */
enum replay_result replay_settle(struct shard *const shards[], uint32_t shard_count, uint32_t shard,
                                 const struct replay_done dones[], uint64_t done_count);

/* Verifies every invariant of the shard's own state; asserts on the first that does not hold. */
void shard_check(const struct shard *shard);

/* Verifies what spans shards at rest (no message under way): seats and pools against holds, R3. */
void shard_check_all(struct shard *const shards[], uint32_t shard_count);

/* Of an event with a queue, over all shards: users for whom a hold would pass at this moment, slots that
 * its owner counts as taken, and how many there may be. False: no such event yet. At any time, not only at
 * rest, admitted <= slots; and slots rises only up to active_max. */
struct queue_load {
    uint32_t admitted;
    uint32_t slots;
    uint32_t active_max;
};
bool shard_queue_load(struct shard *const shards[], uint32_t shard_count, struct bytes event,
                      uint64_t now_ms, struct queue_load *ret_load);

/* A hash over the whole state, for determinism: equal states give equal hashes. */
uint64_t shard_hash(const struct shard *shard);

#endif
