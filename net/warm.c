/*
 * warm.c - see warm.h.
 */
#include "net/warm.h"

#include "persist/log.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* linux/mman.h since 5.14 */
#endif

#define PAGE    ((uintptr_t)4096)
#define STEP    ((uintptr_t)2 * 1024 * 1024) /* a huge page */
#define WAIT_MS 1000

void
warm_look(struct warmer *warmer, uint32_t shard_index, const struct shard_growth *growth, uint32_t count)
{
    assert(count <= WARM_EXTENTS_MAX);
    bool news = false;
    if (!warmer->running)
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct warm_extent *extent = &warmer->extents[shard_index][i];
        uintptr_t to = (uintptr_t)growth[i].to;
        /* relaxed: this thread alone writes it. Told in steps: most looks have nothing to tell. */
        if (growth[i].to == growth[i].from ||
            to / STEP == atomic_load_explicit(&extent->to, memory_order_relaxed) / STEP)
            continue;
        atomic_store_explicit(&extent->from, (uintptr_t)growth[i].from, memory_order_relaxed);
        atomic_store_explicit(&extent->to, to, memory_order_release);
        news = true;
    }
    if (news) {
        /* release: whoever reads it with acquire sees the extents */
        (void)atomic_fetch_add_explicit(&warmer->told, 1, memory_order_release);
        bell_ring(&warmer->bell);
    }
}

uint64_t
warm_told(const struct warmer *warmer)
{
    return atomic_load_explicit(&warmer->told, memory_order_acquire);
}

bool
warm_reached(const struct warmer *warmer, uint64_t told)
{
    /* relaxed: nothing is read after it but memory that any thread may touch */
    return !warmer->running || atomic_load_explicit(&warmer->warm, memory_order_relaxed) >= told;
}

static bool
touch(uintptr_t from, uintptr_t to)
{
    from &= ~(PAGE - 1);
    to = (to + PAGE - 1) & ~(PAGE - 1);
    return from == to || madvise((void *)from, to - from, MADV_POPULATE_WRITE) == 0;
}

static void
tell_refusal(void)
{
    log_info("memory is not touched ahead of its use: the kernel is older than 5.14, or has none left");
}

void
warm_now(const struct shard_growth *growth, uint32_t count)
{
    bool refused = false;
    for (uint32_t i = 0; i < count && !refused; i++)
        refused = !touch((uintptr_t)growth[i].from, (uintptr_t)growth[i].to);
    if (refused)
        tell_refusal();
}

/* Touches one step of an extent. False: there is nothing to do. */
static bool
warm_step(struct warm_extent *extent, bool *ret_refused)
{
    uintptr_t to = atomic_load_explicit(&extent->to, memory_order_acquire);
    uintptr_t from = atomic_load_explicit(&extent->from, memory_order_relaxed) & ~(PAGE - 1);
    if (extent->done < from)
        extent->done = from; /* the shard was faster */
    if (extent->done >= to)
        return false;
    uintptr_t end = (extent->done / STEP + 1) * STEP;
    if (end > to)
        end = (to + PAGE - 1) & ~(PAGE - 1);
    *ret_refused = !touch(extent->done, end);
    extent->done = end;
    return true;
}

/* One step of each, so that none waits for another one's many. */
static bool
warm_round(struct warmer *warmer, bool *ret_refused)
{
    bool moved = false;
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++)
        for (uint32_t i = 0; i < WARM_EXTENTS_MAX && !*ret_refused; i++)
            moved |= warm_step(&warmer->extents[shard][i], ret_refused);
    return moved;
}

static void *
warm_run(void *argument)
{
    struct warmer *warmer = argument;
    bool refused = false;
    while (!refused && !atomic_load_explicit(&warmer->ending, memory_order_acquire)) {
        bell_sleep(&warmer->bell); /* whoever rings from here on is heard */
        uint64_t told = warm_told(warmer);
        if (!warm_round(warmer, &refused)) {
            atomic_store_explicit(&warmer->warm, told, memory_order_relaxed);
            bell_wait(&warmer->bell, WAIT_MS);
        }
        bell_awake(&warmer->bell);
    }
    atomic_store_explicit(&warmer->warm, UINT64_MAX, memory_order_relaxed);
    if (refused)
        tell_refusal();
    return NULL;
}

bool
warm_start(struct warmer *warmer)
{
    memset(warmer, 0, sizeof *warmer);
    warmer->bell.fd = -1;
    if (bell_open(&warmer->bell) != 0)
        return false;
    warmer->running = pthread_create(&warmer->thread, NULL, warm_run, warmer) == 0;
    return warmer->running;
}

void
warm_stop(struct warmer *warmer)
{
    if (warmer->running) {
        /* release: with the bell; the thread reads it with acquire */
        atomic_store_explicit(&warmer->ending, true, memory_order_release);
        bell_ring_always(&warmer->bell);
        (void)pthread_join(warmer->thread, NULL); /* started by us, joined once */
        warmer->running = false;
    }
    if (warmer->bell.fd >= 0)
        bell_done(&warmer->bell);
}
