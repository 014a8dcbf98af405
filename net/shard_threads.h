/*
 * shard_threads.h - the shards' threads, from their start to their end, as the main thread drives them.
 */
#ifndef HOLDFAST_SHARD_THREADS_H
#define HOLDFAST_SHARD_THREADS_H

#include "net/loop.h"
#include "persist/recovery.h"

#include <pthread.h>

#define CAUSE_SIZE 2560 /* a sentence that names the longest data directory twice */

/* All threads take a step, each for its shard; the next one begins when all have done it. */
enum shard_step {
    STEP_WAIT,
    STEP_OPEN, /* the loop: a ring belongs to the thread that made it, memory to the core that touched it */
    STEP_HOLDS,  /* recovery_holds() */
    STEP_SETTLE, /* recovery_settle() */
    STEP_WARM,   /* loop_warm() */
    STEP_BEGIN,  /* the journal, in the segment that recovery_begin() has made */
    STEP_RUN,    /* the loop, until the server is finished */
    STEP_END,
};

struct shard_thread {
    struct shard_threads *threads;
    pthread_t thread;
    uint32_t index;
    struct loop *loop;
    char cause[CAUSE_SIZE]; /* why its step failed */
};

struct shard_threads {
    struct server *server;
    struct recovery *recovery; /* from STEP_HOLDS on */
    /* each for its shard */
    struct shard *shards[SHARDS_MAX]; /* set by STEP_OPEN */
    int files[SHARDS_MAX];            /* read by STEP_BEGIN */
    uint32_t header_crcs[SHARDS_MAX];
    /* state, under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum shard_step step;
    uint32_t done;
    uint32_t failed;
    /* state of the main thread */
    uint32_t count;
    struct shard_thread thread[SHARDS_MAX];
};

/* Starts a thread for each shard of the server. False: told. What was started has to be joined. */
bool shard_threads_start(struct shard_threads *threads, struct server *server);
/* Lets all take the step; STEP_RUN returns at once, the others when all are done. False: some failed, the
 * first cause is told. */
bool shard_threads_step(struct shard_threads *threads, enum shard_step step);
/* They end: after STEP_RUN when the server is finished, before it at once. */
void shard_threads_join(struct shard_threads *threads);

#endif
