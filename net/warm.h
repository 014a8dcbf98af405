/*
 * warm.h - memory that shards will soon touch is touched before, by a thread of its own.
 *
 * A shard's thread says every few milliseconds what comes next (core/growth.c), and at once where an event
 * was laid out; only atomics go from it to the warming thread, so it waits for nothing. Only the answer to
 * whoever made an event waits until all that was told is warm: the crowd comes after it. Where the kernel
 * cannot do it (before Linux 5.14), or has no memory left, nothing is warmed and all works the same.
 */
#ifndef HOLDFAST_WARM_H
#define HOLDFAST_WARM_H

#include "core/shard.h"
#include "net/mailbox.h"

#include <pthread.h>
#include <stdatomic.h>

#define WARM_EXTENTS_MAX (SHARD_GROWTH_MAX + 1) /* a shard's, and its journal's buffer */

struct warm_extent {
    _Atomic uintptr_t from;
    _Atomic uintptr_t to; /* written after from */
    uintptr_t done;       /* the warming thread's: touched up to here */
};

struct warmer {
    pthread_t thread;
    bool running;
    _Atomic bool ending;
    _Atomic uint64_t told; /* looks that had news */
    _Atomic uint64_t warm; /* so many of them are done; UINT64_MAX: the thread has given up */
    struct bell bell;
    struct warm_extent extents[SHARDS_MAX][WARM_EXTENTS_MAX];
};

/* Touches all of it now, in this thread. */
void warm_now(const struct shard_growth *growth, uint32_t count);
/* False: no thread; all works without. */
bool warm_start(struct warmer *warmer);
void warm_stop(struct warmer *warmer);
/* In the shard's thread: what it told of its memory, always as many in the same order. */
void warm_look(struct warmer *warmer, uint32_t shard_index, const struct shard_growth *growth,
               uint32_t count);
/* All that any shard has told so far; is it warm (or never will be)? Any thread. */
uint64_t warm_told(const struct warmer *warmer);
bool warm_reached(const struct warmer *warmer, uint64_t told);

#endif
