/*
 * write_way.h - which of two ways a durable write takes: the one that was faster lately.
 *
 * Which one is faster depends on the disk, on its interrupt and on what runs on the other cores: by a fifth
 * this way, by thirty times the other way (docs/decisions/0014-two-ways-of-a-durable-write.md). So both are
 * measured: now and then a write goes the other way, so rarely that what it loses stays below
 * 1/WRITE_WAY_TRIAL_SHARE of all time. A shard that is busy while its records are written does not wait for
 * them, but the thread's writes take a sixth of its core from it: then the thread must be faster by half.
 *
 * One write at a time; belongs to one thread.
 */
#ifndef HOLDFAST_WRITE_WAY_H
#define HOLDFAST_WRITE_WAY_H

#include <stdbool.h>
#include <stdint.h>

#define WRITE_WAY_TRIAL_SHARE 1024u
#define WRITE_WAY_RING_FAVOUR 50u /* percent that the ring may take longer, then */

enum write_way {
    WRITE_BY_RING,   /* the kernel's workers finish it, on the core of the disk's interrupt */
    WRITE_BY_THREAD, /* journal_thread.h */
    WRITE_WAYS
};

struct write_ways {
    uint64_t took_ns[WRITE_WAYS]; /* moving average; 0: never tried */
    uint64_t trial_ns;            /* from then on the slower way may be tried */
    bool trial;                   /* the write under way is one */
    bool slept;                   /* the shard, since the last write began */
};

/* The way of the write that begins now. All zeros is a good start. */
enum write_way write_ways_choose(struct write_ways *ways, uint64_t now_ns);

/* The shard sleeps until something happens. */
void write_ways_sleep(struct write_ways *ways);

/* The write of this way, chosen last, has ended after so long. */
void write_ways_took(struct write_ways *ways, enum write_way way, uint64_t took_ns, uint64_t now_ns);

#endif
