/*
 * loop_internal.h - the state of one shard's loop, for the files of net/ alone: loop.c (the tick),
 * loop_journal.c (records become durable), conn.c (sockets), request*.c (requests and the order of their
 * answers), guard.c (who may ask, and how often), server_commands.c (what the server answers itself).
 *
 * Everything here belongs to one thread (R6). Memory is reserved when the loop is opened; nothing is
 * allocated later.
 */
#ifndef HOLDFAST_LOOP_INTERNAL_H
#define HOLDFAST_LOOP_INTERNAL_H

#include "core/index.h"
#include "net/buffers.h"
#include "net/codec.h"
#include "net/journal_thread.h"
#include "net/loop.h"
#include "net/ring.h"
#include "net/write_way.h"
#include "persist/journal_writer.h"

#define NONE UINT32_MAX

/* Connections beyond net.connections_max that are told so before they are closed; more are closed without a
 * word. */
#define CONNECTIONS_REFUSED_MAX 64
/* Memories for EVENT CREATE and EVENT SET under way in a shard; more: BUSY. */
#define EVENT_MEMORIES_MAX 16
/* Requests taken from one connection before the others have their turn. */
#define DECODE_BATCH_MAX 256
/* Tokens that one connection watches; more: BUSY. */
#define WATCHES_OF_CONNECTION_MAX 65536
/* Watches of closed connections that are ended in one tick. */
#define WATCHES_ENDED_BATCH 256
/* Unread input beyond which a connection that may not be read on is no longer received from. */
#define INPUT_PAUSE_BYTES (64u * 1024)
/* Longest time a closing connection is given to take note of the last answer. */
#define LINGER_MS            1000u
#define CLIENT_NAME_SIZE_MAX 64

enum timer { TIMER_REQUEST, TIMER_WRITE, TIMER_LINGER, TIMER_COUNT };

/* A run of output bytes; data[sent .. size) still has to leave. */
struct output_buffer {
    char *data;
    size_t size;
    size_t sent;
    size_t capacity;
};

/* Output from this position on waits until `sequence` is durable (R2). */
struct output_mark {
    uint64_t position;
    uint64_t sequence;
};
#define OUTPUT_MARKS_MAX 8

struct timer_link {
    uint32_t before;
    uint32_t after;
    uint64_t deadline_ms; /* 0: not armed */
};

struct conn {
    /* configuration */
    int fd;              /* -1: the slot is free */
    uint32_t generation; /* of the slot: completions of an earlier connection are recognised by it */
    uint64_t id;         /* CLIENT ID */
    uint8_t protocol;    /* enum protocol */
    uint8_t resp_version;
    /* state of the socket */
    bool counted;    /* in server->connections */
    bool receiving;  /* a receive is armed */
    bool cancelling; /* and is being cancelled */
    bool sending;
    bool ended;     /* the client sends no more */
    bool closing;   /* no request is taken any more; closes when all answers have left */
    bool lingering; /* all has left; waits for the client to see it */
    bool dead;      /* shut down; the slot is freed when no operation is under way */
    /* state of the lists */
    bool in_ready;
    bool in_touched;
    uint32_t next_ready;
    uint32_t next_touched; /* also links free slots */
    struct timer_link timers[TIMER_COUNT];
    /* state of the input: bytes received, not yet taken */
    bool stopped; /* requests may be there, but may not be taken now */
    char *input;
    size_t input_offset;
    size_t input_size;
    size_t input_capacity;
    struct frame frame;
    /* state of the requests in flight, oldest first */
    bool alone; /* the one in flight takes several commands: nothing behind it is taken */
    uint32_t request_first;
    uint32_t request_last;
    uint32_t request_count;
    /* state of the output: `leaving` is what the kernel reads from, `filling` what comes behind it */
    bool failed; /* an answer found no memory: the connection must be closed */
    struct output_buffer leaving;
    struct output_buffer filling;
    size_t answer_begin;       /* in filling: where the answer begins that is being encoded */
    uint64_t leaving_position; /* of leaving.data[0] in the stream of all bytes ever answered */
    uint32_t mark_count;
    struct output_mark marks[OUTPUT_MARKS_MAX];
    /* state of the push messages: those that came in the midst of an answer of several pieces wait in
     * `held`
     */
    uint32_t watch_first;
    uint32_t watch_count;
    struct output_buffer held;
    uint64_t held_sequence;
    uint8_t name_size;
    char name[CLIENT_NAME_SIZE_MAX];
    /* who is there: only where there are keys or limits (guard.c) */
    bool proxy;   /* the peer is one of rate.proxies */
    bool charged; /* the request at hand has paid, but could not be taken yet */
    uint32_t key; /* RESP: index in the table of key_generation, or KEY_ABSENT */
    uint64_t key_generation;
    uint8_t key_hash[KEY_HASH_SIZE];
    struct client_address peer;
};

/* What lies in memory that the core reads until it has replied. */
struct event_memory {
    _Alignas(8) char draft[EVENT_DRAFT_SIZE];
    struct event_change change;
    struct event_memory *next_free;
};

enum pending_state {
    PENDING_WAITING,  /* a command of it is in the core, or will be */
    PENDING_ANSWERED, /* its bytes are in stash, until its turn comes */
};

/* A request in flight: from its decoding until its answer is in its connection's output. */
struct pending {
    uint32_t generation;
    uint32_t conn; /* NONE: the connection has gone; freed when the core has replied */
    uint32_t next; /* the next request of the connection, or the next free slot */
    uint8_t state;
    bool in_core;   /* exactly one reply will come */
    bool streaming; /* answered by several commands, piece by piece */
    bool follow;    /* HTTP: where the change is answered without the event, a look at it follows */
    bool created;
    bool replayed;
    bool poll;         /* it may wait: counted in loop->poll_count */
    bool cold;         /* its answer waits in the stash until memory is warm */
    uint32_t position; /* streaming: next row, or index of the next event */
    uint32_t count;    /* EVENT LIST: events */
    uint64_t sequence; /* the answer waits for this record */
    uint64_t watch;    /* of a WATCH or UNWATCH: its tag; 0: none */
    struct event_memory *memory;
    char *stash;
    uint32_t stash_size;
    size_t stash_capacity;
    struct reply_context context;
    uint8_t event_size; /* streaming, follow */
    uint8_t section_size;
    char event[EVENT_ID_SIZE_MAX];
    char section[NAME_SIZE_MAX];
};

/* Answers that wait until the memory of an event that was made is warm; more of them do not wait. */
#define COLD_MAX    64
#define COLD_MS_MAX 1000u
struct cold_answer {
    uint32_t slot;
    uint32_t generation;
    uint64_t told; /* by warm_told() */
    uint64_t until_ms;
};

/* A token that a connection watches: watch.c. */
struct watch {
    uint32_t next; /* of the connection, or of those to be ended; first four bytes: also the slab's */
    uint32_t before;
    uint32_t conn; /* NONE: not watched any more, and to be ended in the core */
    uint32_t generation;
    struct uuid token;
};

struct watches {
    struct slab slab;
    struct index by_token; /* of a connection */
    uint32_t ended_first;  /* the core is to be told */
    void *memory;
    size_t memory_size;
};

struct conn_list {
    uint32_t first;
    uint32_t last;
};

struct loop {
    /* configuration */
    struct server *server;
    uint32_t index;
    struct codec_limits limits;
    uint64_t timer_ms[TIMER_COUNT];
    size_t output_bytes_max;
    uint32_t pipeline_max;
    uint32_t conns_max;
    uint32_t pendings_max;
    /* what it drives */
    struct shard *shard;
    void *shard_memory;
    size_t shard_memory_size;
    struct journal *journal;
    struct journal_thread journal_thread;
    struct ring *ring;
    /* state: time */
    uint64_t now_ms;
    uint64_t tick_began_ns;
    uint64_t published_ms;
    uint64_t accept_logged_ms;
    uint64_t timers_checked_ms;
    uint32_t events_warmed;    /* so many were there when the warming thread was told of memory last */
    uint64_t stop_deadline_ms; /* 0: not stopping */
    bool drained;
    bool expire_more;
    bool watches_more;     /* more watches are to be ended */
    bool settle_again;     /* a dead connection can be freed at the next step */
    uint64_t bells;        /* shards that got messages in this tick */
    uint64_t wake_counter; /* where the eventfd is read to */
    bool accepting[PROTOCOL_COUNT];
    /* state: journal */
    uint64_t durable; /* sequence */
    bool writing;     /* a batch is on its way */
    uint64_t batched; /* sequence of the last record that was given to the journal */
    uint64_t early;   /* so many records behind it go off before the tick ends */
    uint64_t write_began_ns;
    uint64_t write_looked_ns; /* when the ring was last asked for its end */
    enum write_way write_way; /* of the batch on its way */
    struct write_ways write_ways;
    enum scarcity scarcity;
    bool slicing;    /* a snapshot has been begun and has more to tell */
    bool slice_next; /* and room for it */
    /* state: connections */
    struct conn *conns;
    uint32_t conns_used;
    uint32_t conn_free;
    uint32_t conn_count;
    struct conn_list ready;   /* may have requests to take, or a stream to go on with */
    struct conn_list touched; /* to be looked after at the end of the tick */
    struct conn_list timers[TIMER_COUNT];
    uint64_t accepted;
    /* state: requests */
    struct pending *pendings;
    uint32_t pendings_used;
    uint32_t pending_free;
    uint32_t pending_count;
    struct cold_answer cold[COLD_MAX];
    uint32_t cold_count;
    uint32_t poll_count; /* long polls under way */
    uint32_t poll_max;
    struct watches watches;
    struct event_memory *event_memories;
    struct event_memory *event_memory_free;
    struct event_memory *event_memory_taken; /* by the decode that is under way */
    struct event_change change;              /* what a decode writes to */
    uint32_t current;                        /* the request whose command is being given to the core */
    struct request request;                  /* and its decoded form */
    /* state: the front door */
    bool guarded;            /* there are keys, or limits */
    const struct keys *keys; /* NULL: no keys */
    struct key_reader *key_reader;
    uint32_t bearer; /* HTTP: the key of the request that is decoded, or KEY_ABSENT */
    uint64_t random[4];
    struct buffers inputs;
    struct buffers outputs;
    struct output_buffer scratch;      /* answers out of turn are encoded here first */
    char swallow[2 * OUTPUT_GROW_MAX]; /* where bytes go that found no memory */
    struct loop_figures figures;
    struct ring_completion completions[16]; /* few: a write's end is looked for among those behind them */
};

/* ---- conn.c ---- */
void conn_open(struct loop *loop, enum protocol protocol, int fd);
void conn_received(struct loop *loop, uint32_t index, const struct ring_completion *completion);
void conn_sent(struct loop *loop, uint32_t index, int32_t result);
/* Shuts it down at once; what it had is given back at the end of the tick. */
void conn_kill(struct loop *loop, uint32_t index);
/* No further requests; closes when the answers have left. */
void conn_close_after(struct loop *loop, uint32_t index);
void conn_touch(struct loop *loop, uint32_t index);
void conn_ready(struct loop *loop, uint32_t index);
/* At the end of a tick: sends, receives, closes, as far as it can be done. */
void conns_settle(struct loop *loop);
void conns_timers(struct loop *loop);
/* Stop: no more requests from anyone. */
void conns_stop(struct loop *loop);
void conn_timer_set(struct loop *loop, uint32_t index, enum timer timer);
void conn_timer_clear(struct loop *loop, uint32_t index, enum timer timer);
/* Bytes of output that have not left. */
size_t conn_unsent(const struct conn *conn);
/* Keeps bytes behind the input that is there. False: no memory. */
bool conn_input_append(struct loop *loop, struct conn *conn, const char *data, size_t size);
void conn_input_free(struct loop *loop, struct conn *conn);
/* Output in the connection's own turn: begin, encode, end. The bytes wait for the sequence. */
void conn_output_begin(struct loop *loop, uint32_t index, struct output *ret_output);
void conn_output_end(struct loop *loop, uint32_t index, struct output *output, uint64_t sequence);
/* Likewise a push message, which waits where an answer is being given in pieces. */
void conn_push_begin(struct loop *loop, uint32_t index, struct output *ret_output);
void conn_push_end(struct loop *loop, uint32_t index, struct output *output, uint64_t sequence);
/* The answer in pieces is whole. */
void conn_push_held(struct loop *loop, uint32_t index);
/* An output into the scratch buffer. */
void scratch_output_begin(struct loop *loop, struct output *ret_output);
void scratch_output_end(struct loop *loop, struct output *output);

/* ---- request.c ---- */
/* New bytes of a connection. */
void requests_received(struct loop *loop, uint32_t index, const char *data, size_t size);
/* Requests that were stopped, streams. */
void requests_resume(struct loop *loop, uint32_t index);

/* ---- request_order.c ---- */
/* A slot for a request in flight, or NONE. */
uint32_t request_take(struct loop *loop);
/* The request is the connection's newest. */
void request_append(struct loop *loop, struct conn *conn, uint32_t slot);
/* Gives a command of the request to the core; exactly one reply will come, maybe at once. */
void request_give(struct loop *loop, uint32_t slot, const struct command *command);
void event_memory_give(struct loop *loop, struct event_memory *memory);
/* Is it this one's turn to answer? */
bool answer_is_first(const struct conn *conn, const struct loop *loop, const struct pending *pending);
void answer_begin(struct loop *loop, struct conn *conn, struct pending *pending, struct output *ret_output);
/* The answer is whole. The slot may be gone afterwards. */
void answer_end(struct loop *loop, struct conn *conn, struct pending *pending, struct output *output);
void answer_encode(struct loop *loop, struct output *output, const struct reply_context *context,
                   const struct reply *reply);
/* host->reply */
void requests_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence);
/* Answers that waited for memory leave when it is warm. */
void requests_warmed(struct loop *loop);
/* The connection has gone: its requests are forgotten, those in the core when they reply. */
void requests_forget(struct loop *loop, uint32_t index);
/* The pass of an active token, written to text (PASS_SIZE_MAX bytes); empty for any other. */
struct bytes requests_pass(const struct loop *loop, const struct token_view *token, char *text);
/* A command of nobody's connection. False: no slot for it now. */
bool requests_own(struct loop *loop, const struct command *command, uint64_t watch);

/* ---- request_alone.c ---- */
/* Must run alone on its connection: takes several commands, or changes what the next ones refer to. */
bool request_runs_alone(const struct request *request);
/* Begins the decoded request in its slot: WATCH and UNWATCH; all others. */
void request_begin_watch(struct loop *loop, struct conn *conn, uint32_t slot);
void request_begin_alone(struct loop *loop, struct conn *conn, uint32_t slot);
/* Gives the next command of a request that takes several. */
void request_stream_next(struct loop *loop, uint32_t slot);
void request_stream_reply(struct loop *loop, struct conn *conn, uint32_t slot, const struct reply *reply);
void request_follow_reply(struct loop *loop, struct conn *conn, uint32_t slot, const struct reply *reply);

/* ---- watch.c ---- */
int watches_open(struct loop *loop);
/* Is there room for the WATCH that has been decoded? */
bool watch_room(const struct loop *loop, const struct conn *conn, const struct command *command);
/* Enters what a WATCH or UNWATCH concerns; the command becomes a plain GET where nothing is to be changed.
 * Returns its tag, or 0. */
uint64_t watch_begin(struct loop *loop, uint32_t index, struct command *command);
/* The core has answered a WATCH or UNWATCH of this tag. */
void watch_replied(struct loop *loop, uint64_t tag, const struct reply *reply);
/* host->push */
void watch_pushed(void *context, uint64_t watch, const struct reply *reply, uint64_t sequence);
/* The connection watches nothing any more. */
void watches_end(struct loop *loop, uint32_t index);
/* Tells the core what is not watched any more; bounded. True: there is more. */
bool watches_step(struct loop *loop);

/* ---- server_commands.c ---- */
/* Answers a request that is not for the core. */
void server_answer(struct loop *loop, uint32_t index, const struct request *request, struct output *output);
/* Tells a connection that it is one too many. */
void server_refuse(enum protocol protocol, const char *what, struct output *output);

/* ---- loop_journal.c ---- */
int loop_journal_open(struct loop *loop, int file, uint32_t header_crc);
void loop_journal_close(struct loop *loop);
/* The ring's write has ended. */
void loop_journal_written(struct loop *loop, int32_t written);
void loop_journal_step(struct loop *loop);
/* Between two completions: sees that a write has ended; begins a batch where enough has been recorded. */
void loop_journal_early(struct loop *loop);
/* So long it has nothing to do unless something comes. */
uint64_t loop_journal_wait_ms(const struct loop *loop);
/* Everything is on disk that can be. */
bool loop_journal_done(const struct loop *loop);

/* ---- guard.c ---- */
/* 0, or -1: no memory. */
int guard_open(struct loop *loop);
void guard_close(struct loop *loop);
/* Once a tick where there are keys: takes up the newest table. */
void guard_tick(struct loop *loop);
void guard_connection(struct loop *loop, struct conn *conn);
/* decode_memory.admit of the loop: notes the key of an HTTP request. False: there is none, or a wrong one.
 */
bool guard_bearer(void *owner, struct bytes authorization);
/* Where loop->guarded: leaves the decoded request as it is, or turns it into its refusal. */
void guard_request(struct loop *loop, struct conn *conn);
/* RESP: has this connection shown a key, if there are keys? */
bool guard_authenticated(struct loop *loop, struct conn *conn);
/* RESP: AUTH; name may be empty. False: not a key, or not of this name; the connection stays what it was.
 */
bool guard_authenticate(struct loop *loop, struct conn *conn, struct bytes name, struct bytes text);

/* ---- loop.c ---- */
void loop_publish(struct loop *loop);
/* Tells the warming thread what comes next. */
void loop_look_warm(struct loop *loop);
/* Of the monotonic clock. */
uint64_t loop_clock_ns(void);

static inline uint32_t
conn_index(const struct loop *loop, const struct conn *conn)
{
    return (uint32_t)(conn - loop->conns);
}

#endif
