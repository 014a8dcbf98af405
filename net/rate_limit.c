/*
 * rate_limit.c - token buckets in one table of the process.
 *
 * One table for all shards, not one each: a user's requests come in through any connection on any shard, so
 * N tables would give N times the rate, and a bucket at the user's home would cost every refused request
 * a message between threads, when refusing has to be cheap. So a bucket is one word, taken from with one
 * compare-and-exchange. It is an exception to R6: no decision of the core depends on it, and where two
 * threads meet one of them tries again.
 *
 * A bucket of `per_second` tokens that fills at `per_second` is told whole by one time, when it will be
 * full again (GCRA, the virtual scheduling form; ITU-T I.371): a token moves that time by `interval`, and
 * may be taken while it lies no more than one second ahead. What lies in the past is a full bucket, and so
 * is a name that has none.
 *
 *     63        40 39                     0
 *     | tag       | full again at          |   0: free
 *     24 bits      40 bits of 1/16 microsecond
 *
 * 40 bits go round in 19 hours: a time further ahead than any bucket can be is one of long ago, and the
 * bucket is full. (One that is seen again after exactly so long, to the second, seems less than full: at
 * worst its owner waits for a moment.)
 *
 * A name's hash chooses a set of eight words, one cache line, and the rest of it is the tag. Two names
 * share a bucket when both agree: with 2^20 buckets once in 2^41 pairs, and nobody can look for such names,
 * since the hash has a secret seed.
 *
 * Bound (R7): the table is as large as it was made. A new name takes, of the eight words of its set, a free
 * one; else one whose bucket is full again, which loses nothing; else the one that is full soonest:
 * that name begins anew with a full bucket, so at the bound the limit is looser, never stricter.
 * rate_limit_take() tells of it, and /metrics counts it.
 *
 * Two threads that meet a new name at the same time may give it two words. Both are found by the tag, the
 * first one from then on, and the other is full within a second: it may cost one burst, once.
 */
#include "net/rate_limit.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SET_SIZE         8u
#define TIME_BITS        40
#define TIME_MASK        (((uint64_t)1 << TIME_BITS) - 1)
#define UNITS_PER_SECOND 16000000u
#define UNITS_PER_MS     16000u
/* Farther than this the clocks of two threads are never apart. */
#define CLOCKS_APART_MAX UNITS_PER_SECOND
/* Turns of the compare-and-exchange; whoever loses so often goes through untold. */
#define TRIES_MAX 16

static_assert(SET_SIZE * sizeof(uint64_t) == 64, "a set is a cache line");
static_assert(UNITS_PER_SECOND / RATE_PER_SECOND_MAX >= 16, "an interval is told to some percent");

int
rate_limit_open(struct rate_limit *ret_limit, uint32_t per_second, uint64_t seed, uint32_t buckets)
{
    assert(buckets >= RATE_BUCKETS_MIN);
    assert((buckets & (buckets - 1)) == 0);
    assert(per_second <= RATE_PER_SECOND_MAX);
    struct rate_limit limit = {.per_second = per_second, .seed = seed};
    if (per_second > 0) {
        limit.interval = (UNITS_PER_SECOND + per_second / 2) / per_second;
        limit.burst = limit.interval * per_second;
        limit.set_mask = buckets / SET_SIZE - 1;
        limit.size = (size_t)buckets * sizeof(uint64_t);
        void *memory = mmap(NULL, limit.size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return -errno;
        limit.buckets = memory;
    }
    *ret_limit = limit;
    return 0;
}

void
rate_limit_done(struct rate_limit *limit)
{
    if (limit->buckets != NULL)
        (void)munmap((void *)limit->buckets, limit->size); /* ours, whole: cannot fail */
    limit->buckets = NULL;
}

/* How far ahead the bucket is full; 0: it is. May be more than the burst: threads look at the clock once a
 * tick, so one may read what another wrote a little later. */
static uint64_t
ahead(const struct rate_limit *limit, uint64_t word, uint64_t now)
{
    uint64_t time = (word - now) & TIME_MASK;
    return time <= limit->burst + CLOCKS_APART_MAX ? time : 0;
}

/* The word of a tag's bucket in its set, or the one that it shall take; and what is in it. */
static _Atomic uint64_t *
find(const struct rate_limit *limit, _Atomic uint64_t *set, uint64_t tag, uint64_t now, uint64_t *ret_word)
{
    _Atomic uint64_t *best = NULL;
    uint64_t best_ahead = UINT64_MAX;
    for (uint32_t i = 0; i < SET_SIZE; i++) {
        /* relaxed: a word is whole in itself, and nothing else is learnt from it */
        uint64_t word = atomic_load_explicit(&set[i], memory_order_relaxed);
        if (word != 0 && word >> TIME_BITS == tag) {
            *ret_word = word;
            return &set[i];
        }
        uint64_t word_ahead = word == 0 ? 0 : ahead(limit, word, now);
        if (word_ahead < best_ahead) {
            best = &set[i];
            best_ahead = word_ahead;
            *ret_word = word;
        }
    }
    return best;
}

struct rate_answer
rate_limit_take(struct rate_limit *limit, const void *name, size_t size, uint64_t now_ns)
{
    assert(limit->per_second > 0);
    uint64_t hash = XXH3_64bits_withSeed(name, size, limit->seed);
    uint64_t now = now_ns / 1000 * 16 + now_ns % 1000 * 16 / 1000;
    uint64_t tag = hash >> TIME_BITS;
    if (tag == 0)
        tag = 1; /* a word of nothing but zeros is a free one */
    _Atomic uint64_t *set = limit->buckets + (hash & limit->set_mask) * SET_SIZE;
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        uint64_t word;
        _Atomic uint64_t *bucket = find(limit, set, tag, now, &word);
        uint64_t there = word == 0 ? 0 : ahead(limit, word, now);
        bool own = word != 0 && word >> TIME_BITS == tag;
        uint64_t full = (own ? there : 0) + limit->interval;
        if (full > limit->burst)
            return (struct rate_answer){
                .wait_ms = (uint32_t)((full - limit->burst + UNITS_PER_MS - 1) / UNITS_PER_MS)};
        uint64_t next = tag << TIME_BITS | ((now + full) & TIME_MASK);
        /* relaxed, as in find() */
        if (atomic_compare_exchange_weak_explicit(bucket, &word, next, memory_order_relaxed,
                                                  memory_order_relaxed))
            return (struct rate_answer){.allowed = true, .evicted = !own && there > 0};
    }
    return (struct rate_answer){.allowed = true};
}
