/*
 * write_way.c - see write_way.h.
 */
#include "net/write_way.h"

#define AVERAGE_WEIGHT 8u     /* a new one counts for so small a part */
#define LOSS_NS_MIN    16000u /* what a trial lost at least, for the time of the next */

/* The one that was never tried, first. */
static enum write_way
better(const struct write_ways *ways)
{
    uint64_t thread_ns = ways->took_ns[WRITE_BY_THREAD];
    uint64_t borne_ns = thread_ns + (ways->slept ? 0 : thread_ns / 100 * WRITE_WAY_RING_FAVOUR);
    return ways->took_ns[WRITE_BY_RING] <= borne_ns ? WRITE_BY_RING : WRITE_BY_THREAD;
}

enum write_way
write_ways_choose(struct write_ways *ways, uint64_t now_ns)
{
    enum write_way way = better(ways);
    ways->slept = false;
    ways->trial = now_ns >= ways->trial_ns;
    return ways->trial ? WRITE_WAYS - 1 - way : way;
}

void
write_ways_sleep(struct write_ways *ways)
{
    ways->slept = true;
}

void
write_ways_took(struct write_ways *ways, enum write_way way, uint64_t took_ns, uint64_t now_ns)
{
    uint64_t *average = &ways->took_ns[way];
    bool old = ways->trial || *average == 0; /* what was known of it, if anything */
    *average = old ? took_ns : (*average * (AVERAGE_WEIGHT - 1) + took_ns) / AVERAGE_WEIGHT;
    if (!ways->trial)
        return;
    uint64_t other = ways->took_ns[WRITE_WAYS - 1 - way];
    uint64_t loss_ns = took_ns > other + LOSS_NS_MIN ? took_ns - other : LOSS_NS_MIN;
    ways->trial_ns = now_ns + loss_ns * WRITE_WAY_TRIAL_SHARE;
}
