/*
 * journal_thread.c - see journal_thread.h.
 *
 * What is asked, and how it ended, change hands by `stage`: released by whose turn ends, acquired by whose
 * turn begins. Signals are the main thread's; a write is not interrupted.
 */
#include "net/journal_thread.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *
run(void *argument)
{
    struct journal_thread *thread = argument;
    for (;;) {
        bell_sleep(&thread->bell); /* whoever rings from here on is heard */
        if (atomic_load_explicit(&thread->stage, memory_order_acquire) == JOURNAL_ASKED) {
            bell_awake(&thread->bell);
            ssize_t written = pwrite(thread->file, thread->data, thread->size, (off_t)thread->offset);
            thread->result = written < 0 ? -errno : (int32_t)written;
            atomic_store_explicit(&thread->stage, JOURNAL_WRITTEN, memory_order_release);
            bell_ring(thread->shard_bell);
        } else if (atomic_load_explicit(&thread->ending, memory_order_acquire)) {
            return NULL;
        } else {
            bell_wait(&thread->bell, -1);
        }
    }
}

int
journal_thread_start(struct journal_thread *thread, uint32_t shard_index, struct bell *shard_bell)
{
    memset(thread, 0, sizeof *thread);
    thread->shard_bell = shard_bell;
    int result = bell_open(&thread->bell);
    if (result != 0)
        return result;
    result = pthread_create(&thread->thread, NULL, run, thread);
    if (result != 0) {
        bell_done(&thread->bell);
        return -result;
    }
    thread->running = true;
    char name[16]; /* what the kernel takes, and top -H shows */
    (void)snprintf(name, sizeof name, "journal %u", shard_index % 1000); /* fits */
    (void)pthread_setname_np(thread->thread, name);                      /* without one, too */
    return 0;
}

void
journal_thread_stop(struct journal_thread *thread)
{
    if (!thread->running)
        return;
    atomic_store_explicit(&thread->ending, true, memory_order_release);
    bell_ring_always(&thread->bell);
    (void)pthread_join(thread->thread, NULL); /* started by us, joined once */
    bell_done(&thread->bell);
    thread->running = false;
}

void
journal_thread_write(struct journal_thread *thread, int file, const void *data, uint32_t size,
                     uint64_t offset)
{
    assert(atomic_load_explicit(&thread->stage, memory_order_relaxed) == JOURNAL_REST);
    thread->file = file;
    thread->data = data;
    thread->size = size;
    thread->offset = offset;
    atomic_store_explicit(&thread->stage, JOURNAL_ASKED, memory_order_release);
    bell_ring(&thread->bell);
}

bool
journal_thread_written(struct journal_thread *thread, int32_t *ret_result)
{
    if (!journal_thread_ended(thread))
        return false;
    *ret_result = thread->result;
    atomic_store_explicit(&thread->stage, JOURNAL_REST,
                          memory_order_relaxed); /* ours until the next write */
    return true;
}
