/*
 * loop.h - one shard's thread: its loop, as the server starts and stops it.
 */
#ifndef HOLDFAST_LOOP_H
#define HOLDFAST_LOOP_H

#include "core/shard.h"
#include "net/client_address.h"
#include "net/keys.h"
#include "net/mailbox.h"
#include "net/metrics.h"
#include "net/pass.h"
#include "net/rate_limit.h"
#include "net/settings.h"
#include "net/warm.h"

#include <stdatomic.h>

enum protocol { PROTOCOL_HTTP, PROTOCOL_RESP, PROTOCOL_COUNT };

/*
 * What the loops of one process share. Made before the first thread, freed after the last; read-only but
 * for what is atomic and for the mailboxes, whose two ends belong to two threads.
 */
struct server {
    /* configuration */
    const struct settings *settings;
    uint32_t shard_count;
    uint64_t route_seed;
    uint32_t connections_max;
    bool durable;            /* answers wait for their records (R2) */
    int64_t clock_offset_ms; /* wall clock minus monotonic clock, at the start (R8) */
    uint64_t started_ms;
    uint64_t epoch;                 /* of this start (persist/recovery.h) */
    struct process_figures figures; /* of the start; the housekeeper's are below */
    struct proxies proxies;         /* whose word on the client's address counts */
    struct pass_secrets pass_secrets;
    char http_text[64]; /* the listeners, as told on the ready line */
    char resp_text[64];
    /* one of each for each shard */
    int listeners[SHARDS_MAX][PROTOCOL_COUNT];         /* -1: off */
    int cores[SHARDS_MAX];                             /* the core a shard is pinned to */
    struct mailbox *mailboxes[SHARDS_MAX][SHARDS_MAX]; /* [from][to]; NULL where both are one */
    struct bell bells[SHARDS_MAX];
    /* files */
    struct housekeeper *housekeeper;
    struct bell housekeeper_bell; /* its thread's */
    struct shard_metrics metrics[SHARDS_MAX];
    struct warmer warmer;
    /* state */
    _Atomic uint32_t connections; /* of all shards: the only count that bounds them together */
    _Atomic bool stopping;        /* no connection is accepted, no request taken any more */
    _Atomic uint32_t drained;     /* shards that have no connection any more */
    _Atomic bool finished;        /* the loops end */
    struct bell control;          /* the main thread's, while it stops the server */
    _Atomic uint64_t snapshots;
    _Atomic uint64_t snapshots_failed;
    /* The table of keys, NULL without a keys file; replaced as a whole by the main thread on SIGHUP. A
     * shard says in keys_taken which one it uses; the one before is freed when all use the newest. */
    _Atomic(const struct keys *) keys;
    _Atomic(const struct keys *) keys_taken[SHARDS_MAX];
    /* of all shards: rate_limit.c says why */
    struct rate_limit rate_user;
    struct rate_limit rate_address;
};

struct loop;

/* Makes the loop of one shard: its memory, ring and empty core; called by the thread that will run it. 0,
 * or negative errno with the cause and the cure in words. */
int loop_open(struct loop **ret_loop, struct server *server, uint32_t shard_index, char *ret_cause,
              size_t cause_size);

/* The core, for the recovery that comes before loop_begin(). */
struct shard *loop_shard(struct loop *loop);

/* Touches the memory of the holds that the settings expect. */
void loop_warm(struct loop *loop);

/* The epoch's first segment is there (recovery_begin()): the journal opens. 0 or -ENOMEM. */
int loop_begin(struct loop *loop, int file, uint32_t header_crc);

/* Runs until server->finished is set and all records are on disk. */
void loop_run(struct loop *loop);

void loop_close(struct loop *loop);

/* Milliseconds since 1970 by the monotonic clock, anchored to the wall clock at the start. */
uint64_t server_now_ms(const struct server *server);

#endif
