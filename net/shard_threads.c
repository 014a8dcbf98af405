/*
 * shard_threads.c - one thread for each shard, which take the steps of a start together, then run.
 *
 *     main thread     each shard
 *     step(OPEN)      opens its loop
 *     step(HOLDS)     its holds, out of the journals
 *     step(SETTLE)    its seats
 *     step(WARM)      the memory of holds to come
 *     step(BEGIN)     its journal
 *     step(RUN)       its loop, until the server is finished
 *     join            closes
 *
 * The mutex and the condition are for start and end only: there is no lock in the request path.
 */
#include "net/shard_threads.h"

#include "net/server_files.h"
#include "persist/log.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

static void
pin(const struct shard_thread *thread)
{
    int core = thread->threads->server->cores[thread->index];
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    /* unpinned it runs as well, only less steadily */
    int result = pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    if (result != 0)
        log_warning("could not pin shard %u to core %d: %s", thread->index, core, strerror(result));
}

static int
take_step(struct shard_thread *thread, enum shard_step step)
{
    struct shard_threads *threads = thread->threads;
    struct server *server = threads->server;
    uint32_t index = thread->index;
    struct journal_fault fault = {0};
    int result = 0;
    switch (step) {
    case STEP_OPEN:
        result = loop_open(&thread->loop, server, index, thread->cause, sizeof thread->cause);
        if (result == 0)
            threads->shards[index] = loop_shard(thread->loop);
        break;
    case STEP_HOLDS:
        result = recovery_holds(threads->recovery, threads->shards, server->shard_count, index, &fault);
        if (result != 0)
            files_recovery_cause(server, result, &fault, thread->cause, sizeof thread->cause);
        break;
    case STEP_SETTLE:
        result = recovery_settle(threads->recovery, threads->shards, server->shard_count, index, &fault);
        if (result != 0)
            files_recovery_cause(server, result, &fault, thread->cause, sizeof thread->cause);
        break;
    case STEP_WARM:
        loop_warm(thread->loop);
        break;
    case STEP_BEGIN:
        result = loop_begin(thread->loop, threads->files[index], threads->header_crcs[index]);
        if (result != 0)
            (void)snprintf(thread->cause, sizeof thread->cause,
                           "no memory or no thread for the journal of shard %u (%s): lower "
                           "core.batch_bytes_max, or raise the limits of memory and of processes",
                           index, strerror(-result));
        break;
    case STEP_RUN:
        loop_run(thread->loop);
        break;
    case STEP_WAIT:
    case STEP_END:
        break;
    }
    return result;
}

static void *
run_shard(void *argument)
{
    struct shard_thread *thread = argument;
    struct shard_threads *threads = thread->threads;
    enum shard_step step = STEP_WAIT;
    char name[16]; /* what the kernel takes, and top -H shows */
    (void)snprintf(name, sizeof name, "shard %u", thread->index % 1000); /* fits */
    (void)pthread_setname_np(pthread_self(), name);                      /* without one, too */
    pin(thread);
    while (step != STEP_RUN && step != STEP_END) {
        (void)pthread_mutex_lock(&threads->mutex); /* cannot fail: ours, not recursive */
        while (threads->step == step)
            (void)pthread_cond_wait(&threads->changed, &threads->mutex);
        step = threads->step;
        (void)pthread_mutex_unlock(&threads->mutex);

        int result = take_step(thread, step);

        (void)pthread_mutex_lock(&threads->mutex); /* as above */
        threads->done++;
        threads->failed += result != 0;
        (void)pthread_cond_broadcast(&threads->changed);
        (void)pthread_mutex_unlock(&threads->mutex);
    }
    if (thread->loop != NULL)
        loop_close(thread->loop);
    return NULL;
}

bool
shard_threads_start(struct shard_threads *threads, struct server *server)
{
    threads->server = server;
    (void)pthread_mutex_init(&threads->mutex, NULL);  /* cannot fail with no attributes */
    (void)pthread_cond_init(&threads->changed, NULL); /* likewise */
    for (; threads->count < server->shard_count; threads->count++) {
        struct shard_thread *thread = &threads->thread[threads->count];
        thread->threads = threads;
        thread->index = threads->count;
        int result = pthread_create(&thread->thread, NULL, run_shard, thread);
        if (result != 0) {
            log_error("could not start the thread of shard %u: %s", threads->count, strerror(result));
            return false;
        }
    }
    return true;
}

bool
shard_threads_step(struct shard_threads *threads, enum shard_step step)
{
    (void)pthread_mutex_lock(&threads->mutex); /* as in run_shard() */
    threads->step = step;
    threads->done = 0;
    (void)pthread_cond_broadcast(&threads->changed);
    while (step != STEP_RUN && threads->done < threads->count)
        (void)pthread_cond_wait(&threads->changed, &threads->mutex);
    bool done = threads->failed == 0;
    (void)pthread_mutex_unlock(&threads->mutex);
    for (uint32_t i = 0; i < threads->count && !done; i++)
        if (threads->thread[i].cause[0] != '\0') {
            log_error("%s", threads->thread[i].cause); /* the others fail for the same reason */
            break;
        }
    return done;
}

void
shard_threads_join(struct shard_threads *threads)
{
    (void)pthread_mutex_lock(&threads->mutex); /* as in run_shard() */
    if (threads->step != STEP_RUN)
        threads->step = STEP_END;
    (void)pthread_cond_broadcast(&threads->changed);
    (void)pthread_mutex_unlock(&threads->mutex);
    for (uint32_t i = 0; i < threads->count; i++)
        (void)pthread_join(threads->thread[i].thread, NULL); /* started by us, joined once */
}
