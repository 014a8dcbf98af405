/*
 * queue.h - the waiting room's state, for the files of core/ alone.
 *
 *     token.c           a place in an event's queue, at the event's shard: found, made, timed, ended
 *     token_watch.c     who waits for news of a token
 *     queue.c           who is let in, and when a slot is free again
 *     queue_command.c   JOIN, GET, LEAVE, WATCH, UNWATCH
 *     queue_sweep.c     what time does to queues; every invariant
 *     queue_record.c    tokens as records, and queues from records
 *     admission.c       what a user's home knows: who may place holds now
 *
 * A token's life at the queue's owner, and what the user's home is told:
 *
 *     waiting ──▶ active ─────────────────────▶ done, left, expired
 *        │      recorded ─▶ durable ─▶ ADMIT      recorded ─▶ durable ─▶ REVOKE ─▶ acknowledged:
 *        │      acknowledged: shown as active     the slot is free (the waiting room's R3)
 *        └───────────────────────────────────▶ left, expired
 *
 * `done` comes from the home: the confirm that leaves the user no other live hold uses the admission up in
 * the same step, and its record says so: recovery knows, also where the owner had not heard of it, or had
 * not recorded it yet. The confirm was answered, so such a token is done from the start on, for whoever
 * looks, whenever the home tells it again and however late it is by then (TOKEN_USED).
 */
#ifndef HOLDFAST_QUEUE_H
#define HOLDFAST_QUEUE_H

#include "core/expiry_wheel.h"
#include "core/index.h"
#include "core/message.h"
#include "core/rank_tree.h"
#include "core/record.h"
#include "core/shard.h"

struct shard;
struct event;
struct operation;
struct origin;

enum token_flag {
    TOKEN_SLOT = 1 << 0,     /* it has one of the event's active_max slots */
    TOKEN_ADMITTED = 1 << 1, /* the home has acknowledged: shown as active */
    TOKEN_TIMED = 1 << 2,    /* in the wheel */
    TOKEN_USED = 1 << 3,     /* after a start: its home's records say that a confirm has used it up */
    TOKEN_NEW = 1 << 4,      /* made since the snapshot began that is still to come to its slot: not told */
};

/* A waiting token's key: this bit and the ticket of its arrival; or without the bit, a place in a draw. */
#define TICKET       (1ull << 63)

#define TOKEN_INLINE 29

struct token {
    uint32_t event;
    uint32_t watchers; /* first one, or SLAB_NONE */
    struct uuid id;
    struct wheel_link
        wheel; /* waiting: grace. Active: its deadline. Ended: links of the ended list, and when */
    struct rank_item rank; /* waiting */
    uint32_t seen_s;       /* waiting: last sign of life, seconds since the shard began, rounded up */
    uint32_t name_more;    /* names beyond TOKEN_INLINE: slot in token_names */
    uint8_t state;         /* enum token_state */
    uint8_t flags;
    uint8_t name_size;
    char name[TOKEN_INLINE];
};

static_assert(sizeof(struct token) == 96,
              "budget: 128 bytes a waiting token with its places in two tables");

enum watcher_kind {
    WATCH_ONCE = 1, /* a long poll, or an answer that waits: at the next change, or when its time is up */
    WATCH_PUSH,     /* until unwatched */
};

struct watcher {
    uint32_t next; /* of the token; first four bytes: also the slab's */
    uint32_t token;
    struct wheel_link wheel; /* ONCE: when its time is up */
    uint64_t tag;
    uint64_t watch;         /* ONCE: the tag of the watch that begins with this answer, or 0 */
    uint64_t told_position; /* PUSH */
    uint32_t shard;         /* where the connection is */
    uint32_t operation;     /* ONCE: of that shard, which wants the answer itself, or SLAB_NONE */
    uint8_t kind;
    uint8_t command;
    bool created;
    bool owed; /* PUSH: news that found no room: the walk over watchers tells it */
};

/* Of an event with a queue, at its owner. */
struct queue {
    struct rank_tree waiting;
    uint64_t ticket;   /* of the next arrival */
    uint64_t sold;     /* units of confirmed holds */
    uint64_t capacity; /* of the event */
    uint64_t pace_us;  /* between two activations, a moving average */
    uint64_t activated_ms;
    uint32_t active; /* slots taken */
    uint32_t next;   /* events with a queue of this shard: number, or SLAB_NONE */
    bool early;      /* it has not opened yet */
};

/* Of a shard. */
struct queues {
    struct slab tokens;
    struct slab token_names;
    struct slab rank_nodes; /* of all queues' trees */
    struct rank_place waiting_places;
    struct index by_id;
    struct index by_user; /* those that have a place */
    struct expiry_wheel wheel;
    struct slab watchers; /* polls and watches, and answers that wait: watchers_room() */
    struct expiry_wheel watcher_wheel;
    uint32_t watch_cursor; /* of the walk over watchers */
    uint32_t owed_count;
    bool polls_ended;      /* the host stops: nobody is kept waiting for a change */
    uint32_t first;        /* event with a queue of this shard */
    uint32_t timer_cursor; /* after a start: tokens get their timers from here on; SLAB_NONE: all have */
    uint32_t
        close_cursor; /* tokens of closed events are ended from here on; SLAB_NONE: none are looked for */
    uint32_t ended_first;
    uint32_t ended_last;
    uint32_t ended_count;
    uint32_t waiting_count;
    uint32_t active_count;
    uint64_t started_ms;
    uint64_t sweep_ms; /* of the next look at all queues */
    bool kicked;       /* some queue may let somebody in, and had no room or time */
    uint64_t joined;   /* since the start, for figures */
    uint64_t activated;
    uint64_t waits[WAIT_BUCKETS];
    uint64_t waits_ms;
};

/* ---- the home's side ---- */

enum admission_state {
    ADMISSION_GIVEN = 1,
    ADMISSION_DONE, /* used up by a confirm; until the owner takes it back */
};

struct admission {
    uint32_t event;
    uint32_t name_more;
    struct uuid token;
    uint64_t deadline_ms;
    uint8_t state;
    uint8_t name_size;
    char name[46];
};

struct admissions {
    struct slab slab;
    struct slab names;
    struct index by_user;
    uint32_t resend_cursor; /* after a start: DONE ones are told again from here on; SLAB_NONE: all are */
    uint64_t expected;      /* the largest active_max of an event: an opening lets in as many at once */
};

/* -- token.c -- */
struct bytes token_user(const struct shard *shard, const struct token *token);
uint32_t token_find(const struct shard *shard, const struct uuid *id);
/* The user's place, waiting or active; hash: of the user. */
uint32_t token_of_user(const struct shard *shard, uint32_t event, struct bytes user, uint64_t hash);
void token_timer_set(struct shard *shard, uint32_t token, uint64_t deadline_ms);
void token_timer_stop(struct shard *shard, uint32_t token);
uint32_t token_now_s(const struct shard *shard);
/* When the silence of who waits will have been too long. */
uint64_t token_grace_ends_ms(const struct shard *shard, const struct token *token);
/* As it is for whoever looks, swept or not. */
enum token_state token_state_now(const struct shard *shard, const struct token *token);
struct reply *token_reply(struct shard *shard, uint32_t token, enum command_type command, bool created);
void token_answer(struct shard *shard, const struct origin *origin, uint32_t token,
                  enum command_type command, bool created);
/* An ended token makes room for a new one where there is none. False: none has ended. */
bool token_room(struct shard *shard);
/* A token of these names and times, in no queue yet; there is room. */
uint32_t token_make(struct shard *shard, const struct event *event, const struct uuid *id,
                    struct bytes user);
/* Into the queue, by its key. */
void token_wait(struct shard *shard, uint32_t token, uint64_t key);
/* A place ends: out of the queue or out of the active ones; the slot is kept until it may be given on. */
void token_leave(struct shard *shard, uint32_t token, enum token_state state);
void token_remember(struct shard *shard, uint32_t token, uint64_t ended_ms);
void token_forget(struct shard *shard, uint32_t token);
bool token_end_room(const struct shard *shard);
/* There is room: token_end_room() said so. c: who asked for it, for the record; NULL: nobody. */
void token_end(struct shard *shard, uint32_t token, enum token_state state, const struct command *c);
/* What is over its deadline, or was used up before a start, ends when it is touched. */
void token_end_overdue(struct shard *shard, uint32_t token);

/* -- token_watch.c -- */
/* Room for one more poll or watch. Beyond it operations_max watchers are left to answers that wait for a
 * decision: what has been done must be told. */
bool watchers_room(const struct shard *shard);
/* Room for such an answer, to be looked at before anything is done. */
bool answer_room(const struct shard *shard);
/* False: there is no room. */
bool watcher_add(struct shard *shard, uint32_t token, enum watcher_kind kind, const struct origin *origin,
                 enum command_type command, bool created, uint64_t wait_ms);
/* From now on that shard is told of the token, which is there, by this tag; a token that is being decided
 * about is told of in the answer, and watched from then on. The answer is given, or will be. */
void token_watch_begin(struct shard *shard, const struct origin *origin, uint32_t token, uint64_t tag);
void token_watch_end(struct shard *shard, uint32_t token, uint32_t to, uint64_t tag);
void watcher_remove(struct shard *shard, uint32_t watcher);
/* The token's state has changed, for all to see: who waits for it hears of it. */
void token_changed(struct shard *shard, uint32_t token);
/* Let in, but the home has not said so yet; or let out, likewise. */
bool token_undecided(const struct token *token);
void token_answer_now_or_later(struct shard *shard, const struct origin *origin, uint32_t token,
                               enum command_type command, bool created);
void watchers_sweep(struct shard *shard);

/* -- queue.c -- */
void queues_open(struct shard *shard, struct carve *carve);
void queues_begin(struct shard *shard);
/* An event with a queue is shown at its owner. */
void queue_shown(struct shard *shard, struct event *event);
void queue_changed(struct shard *shard, struct event *event);
/* Units that are not sold: what everybody who waits can hope for. */
uint64_t queue_units_left(const struct queue *queue);
/* Lets in whom it may. */
void queue_kick(struct shard *shard, struct event *event);
/* A token's record is durable: its home is told. There is room in that mailbox: token_home_room() said so.
 */
bool token_home_room(const struct shard *shard, uint32_t token);
void token_durable(struct shard *shard, uint32_t token);
void token_end_durable(struct shard *shard, uint32_t token);
void queue_admitted(struct shard *shard, const struct message_admitted *message);
void queue_revoked(struct shard *shard, const struct message_revoked *message);
void queue_note(struct shard *shard, uint32_t from, const struct message_queue_note *message);
bool queue_user_token(struct shard *shard, uint32_t event, struct bytes user, struct uuid *ret_token);
void queue_token_of(struct shard *shard, uint32_t from, const struct message_token_of *message);

/* -- queue_command.c -- */
void command_queue_join(struct shard *shard, const struct origin *origin, const struct command *command);
void command_queue_get(struct shard *shard, const struct origin *origin, const struct command *command);
void command_queue_leave(struct shard *shard, const struct origin *origin, const struct command *command);
void command_queue_watch(struct shard *shard, const struct origin *origin, const struct command *command);
void command_queue_unwatch(struct shard *shard, const struct origin *origin, const struct command *command);

/* -- queue_sweep.c -- */
/* Grace, deadlines, watchers, openings, and a look at every queue now and then; bounded. True: more is due.
 */
bool queues_sweep(struct shard *shard);
uint64_t queues_next_ms(const struct shard *shard);
void queues_check(const struct shard *shard);

/* -- queue_record.c -- */
uint64_t record_token(struct shard *shard, enum record_type type, uint32_t token,
                      const struct command *command);
/* Snapshot: the next token at or after *slot that was there when it began. */
bool token_kept_next(struct shard *shard, uint32_t *slot, struct record_token *ret_body,
                     struct bytes *ret_event, struct bytes *ret_user);
/* Recovery: tokens come with their records, and are put where they belong at the end, with a fresh grace
 * period. */
enum replay_result token_replay(struct replay *replay, const struct replay_source *source,
                                const struct record *record);
/* Of what this shard owns, when all homes are done: slots, units sold, timers. */
void queues_settle(struct shard *const shards[], uint32_t shard_count, uint32_t shard);

/* -- admission.c -- */
void admissions_open(struct shard *shard, struct carve *carve);
void admission_give(struct shard *shard, uint32_t from, const struct message_admit *message);
void admission_revoke(struct shard *shard, uint32_t from, const struct message_revoke *message);
/* May this user place holds in an event with a queue now? */
bool admitted(const struct shard *shard, const struct event *event, struct bytes user, uint64_t user_hash);
/* A confirm of this hold is about to be recorded, or a cancel: the queue is to be told. Where the confirm
 * uses up the user's admission, op->done and op->done_token are set. */
void admission_use(struct shard *shard, struct operation *op);
/* The confirm, or cancel, is durable: the queue's owner learns of it; op awaits its answer. */
void admission_tell(struct shard *shard, struct operation *op);
bool admissions_sweep(struct shard *shard);
/* Snapshot: the next one at or after *slot that has been used up, and that the owner has not taken back. */
struct admission_kept {
    uint32_t event;
    struct bytes user;
    struct uuid token;
};
bool admission_kept_next(const struct shard *shard, uint32_t *slot, struct admission_kept *ret_kept);
/* Recovery: whom the queues' owners let in; and of those used up (dones), which the owners do not know of
 * yet: they are told again. False: no room. */
bool admissions_settle(struct shard *const shards[], uint32_t shard_count, uint32_t shard,
                       const struct replay_done dones[], uint64_t done_count);
void admissions_check(const struct shard *shard);

#endif
