/*
 * workload.h - what is asked, and what the answers mean.
 *
 * A workload is a struct workload_kind: how what is on sale is made ready, one purchase (which may be
 * several requests: an answer may lead to the next), and the audit. The driver does the rest: connections,
 * arrivals, time, percentiles.
 *
 *     sale.c    deal, hall, storm        one request a buyer, more where he is refused or pays
 *     room.c    open                     join, wait, choose, pay or walk away
 *     raw.c     raw                      one command again and again
 *
 * Other programs bring further kinds: load_main() takes a table of them.
 */
#ifndef HOLDFAST_LOAD_WORKLOAD_H
#define HOLDFAST_LOAD_WORKLOAD_H

#include "load/client.h"
#include "load/histogram.h"
#include "load/ledger.h"
#include "load/options.h"

#include <stdatomic.h>

struct audit;
struct driver;

/* What a request is for: latencies are counted apart. */
enum ask_kind {
    ASK_BUY, /* the purchase itself: its latency is the load's */
    ASK_CONFIRM,
    ASK_JOIN,
    ASK_PLACE, /* a look at one's place in the waiting room, a watch, a long poll */
    ASK_LEAVE, /* one's place, or a hold, is given up */
    ASK_OTHER,
    ASK_KINDS,
};

/* Connections are in lanes: requests that are answered at once, and those that wait for something to happen
 * (long polls, watches), so that nobody stands behind a waiter. */
enum lane {
    LANE_ASK,
    LANE_WAIT,
    LANES,
};

/* One request, kept until its answer. */
struct ask {
    uint64_t due_ns;  /* when it should have been sent: latency counts from here */
    uint64_t sent_ns; /* when it was: set by the driver */
    uint32_t buyer;
    uint32_t grant; /* in the ledger; or what the workload likes */
    uint32_t seat;  /* the first; or what the workload likes */
    uint16_t units;
    uint8_t tries; /* this one included */
    uint8_t kind;  /* enum ask_kind */
    uint8_t lane;  /* enum lane */
    uint8_t step;  /* the workload's own */
};

/* Refusals by the first word of the error. */
#define REFUSAL_KINDS_MAX     32
#define REFUSAL_WORD_SIZE_MAX 24
struct refusals {
    uint32_t count;
    struct {
        char word[REFUSAL_WORD_SIZE_MAX];
        uint64_t count;
    } kind[REFUSAL_KINDS_MAX];
};

#define STRANGE_SIZE_MAX 240

/* What one thread has seen. The first counts are read by the progress line meanwhile. */
struct tally {
    _Atomic uint64_t arrived;  /* buyers whose time has come */
    _Atomic uint64_t dropped;  /* of these, who found the queue before the connections full, and went */
    _Atomic uint64_t asked;    /* of ASK_BUY */
    _Atomic uint64_t answered; /* of all requests */
    _Atomic uint64_t held;     /* purchases granted; raw: answers that are no refusal */
    _Atomic uint64_t sold;     /* units that are paid */
    _Atomic uint64_t waiting;  /* in the waiting room now, as far as was told */
    _Atomic uint64_t active;
    uint64_t held_last_ns; /* when the last purchase was granted */
    uint64_t confirmed;
    uint64_t lost; /* asked and never answered: the connection broke */
    uint64_t lost_units;
    uint64_t retried;    /* asked again under the same key after a lost answer */
    uint64_t queued_max; /* the longest queue before the connections */
    uint64_t strange;    /* answers that do not fit what was asked */
    char strange_first[STRANGE_SIZE_MAX];
    struct refusals refusals; /* of ASK_BUY */
    struct refusals other_refusals;
    struct histogram latency[ASK_KINDS]; /* from the time a request was due to its answer, in ns */
    struct histogram service;            /* from its writing, ASK_BUY */
    struct histogram lateness;           /* arrivals: how late this program noticed that one was due */
    struct histogram wait;               /* in the waiting room */
    struct ledger ledger;
};

/* One thread writes a tally, others only look: no locked instruction is needed. */
static inline void
tally_add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

struct workload_kind;

/* A thread's view of the workload. */
struct workload {
    const struct workload_kind *kind;
    const struct load_options *options;
    void *shared;                /* what open() made, for all threads */
    void *own;                   /* what begin() made, for this thread */
    struct driver *driver;       /* this thread's, for driver_later() */
    const atomic_bool *stopping; /* begin nothing new */
    atomic_bool *finished; /* shared: set by the workload when nothing is left to be had: ask no more */
    uint32_t thread;       /* of options->threads; its buyers are thread, thread + threads, ... */
    uint64_t expecting;    /* buyers that wait for a push message: the thread does not end meanwhile */
    struct tally *tally;
    uint64_t random;
};

struct workload_kind {
    const char *name; /* the word after "load" */
    const char *help; /* a line for --help */
    unsigned options; /* which groups of options it takes: OPTIONS_... of options.h */

    /* What is spoken; NULL: RESP or HTTP, as the options have it. */
    const struct client_kind *client;

    /* Whether a request whose answer was lost is asked again: broken connections are opened again then. */
    bool retries;

    /* Once, before everything: what the threads share. False: ret_error says why, at least 256 bytes. May
     * be NULL, as may done. */
    bool (*open)(const struct load_options *options, void **ret_shared, char *ret_error);
    void (*done)(void *shared);

    /* Makes what is on sale. False: ret_error says why, at least 256 bytes. NULL: nothing to make. */
    bool (*prepare)(const struct load_options *options, void *shared, char *ret_error);

    /* Each thread, before the start. May be NULL, as may end. */
    bool (*begin)(struct workload *workload, char *ret_error);
    void (*end)(struct workload *workload);

    /* A buyer comes: his first request. buyer, due_ns and tries = 1 are set; the rest is zero. */
    void (*arrive)(struct workload *workload, struct ask *ret_ask);

    /* The request's bytes. */
    void (*write)(struct workload *workload, const struct ask *ask, struct request_text *ret_request);

    /* Takes an answer into the tally. True: the same buyer asks ret_next, at once and on the same
     * connection (and so within the same transaction). Requests for later go to driver_later(). */
    bool (*answer)(struct workload *workload, const struct ask *ask, const struct answer *answer,
                   struct ask *ret_next);

    /* The answer to this will never come. */
    void (*lost)(struct workload *workload, const struct ask *ask);

    /* A push message. NULL where none is asked for. unwatched: a connection that could bring some is gone.
     */
    void (*push)(struct workload *workload, const struct answer *answer);
    void (*unwatched)(struct workload *workload);

    /* After all threads have ended: what the buyers were told against what is there. workloads: of all
     * threads, total: their tallies together. False: it could not be made; ret_error says why, at least 256
     * bytes. NULL: nothing to audit. */
    bool (*audit)(const struct load_options *options, struct workload *workloads, const struct tally *total,
                  struct audit *ret_audit, char *ret_error);
};

/* Asks this when its due_ns has come (0: now), on any connection of its lane. For workloads, from within
 * their own calls. */
void driver_later(struct driver *driver, const struct ask *ask);

/* The clock of due_ns and sent_ns. */
uint64_t now_ns(void);

/* The wall clock, in ms since 1970: that of deadlines, where the server runs on this machine. */
uint64_t wall_ms(void);

/* The next number of a series that looks random (splitmix64): whole, below a bound, from 0 to 1. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);
double random_share(uint64_t *state);

void refusal_count(struct refusals *refusals, struct bytes error, uint64_t times);
void refusals_merge(struct refusals *into, const struct refusals *from);

/* Counts an answer that does not fit its request; the first is kept. */
__attribute__((format(printf, 2, 3))) void strange_note(struct tally *tally, const char *format, ...);

/* "u" and the number of a buyer; returns the size. text holds 24 bytes. */
uint32_t buyer_text(uint32_t buyer, char *ret_text);

extern const struct workload_kind workload_deal, workload_hall, workload_storm; /* sale.c */
extern const struct workload_kind workload_open;                                /* room.c */
extern const struct workload_kind workload_raw;                                 /* raw.c */

#endif
