/*
 * rate_limit.h - how many requests a second one name may make: token buckets that all threads share.
 */
#ifndef HOLDFAST_RATE_LIMIT_H
#define HOLDFAST_RATE_LIMIT_H

#include "holdfast/types.h"

#include <stdatomic.h>

#define RATE_PER_SECOND_MAX 1000000u
#define RATE_BUCKETS_MIN    8u

/* One kind of limit. Set up before the first thread, freed after the last; only the buckets change. */
struct rate_limit {
    uint32_t per_second; /* 0: no limit, and no table */
    uint64_t seed;       /* nobody outside can choose names that share a bucket */
    uint64_t interval;   /* time between two tokens, in units of rate_limit.c */
    uint64_t burst;      /* of a full bucket, likewise: one second's worth */
    uint64_t set_mask;
    size_t size; /* bytes */
    _Atomic uint64_t *buckets;
};

/* buckets: a power of two. 0, or negative errno. */
int rate_limit_open(struct rate_limit *ret_limit, uint32_t per_second, uint64_t seed, uint32_t buckets);
void rate_limit_done(struct rate_limit *limit);

struct rate_answer {
    bool allowed;
    bool evicted;     /* a bucket that was not full made room for this one */
    uint32_t wait_ms; /* not allowed: until there is a token again, at least 1 */
};

/* Takes a token from the name's bucket. Any thread; now_ns: of the monotonic clock. Only where per_second
 * is not 0. */
struct rate_answer rate_limit_take(struct rate_limit *limit, const void *name, size_t size,
                                   uint64_t now_ns);

#endif
