/*
 * journal_thread.h - the thread beside a shard that writes batches the plain way: pwrite() to a file that
 * is open with O_DSYNC (so it is durable when it ends: R2), one at a time.
 *
 * It runs on its shard's own core and needs no worker of the kernel, so no other core's load keeps it from
 * running. When it is the better way, and when the ring is: write_way.h. Between the two threads there are
 * one atomic and two bells; the shard waits for nothing.
 *
 *     shard        REST ── write ──▶ ASKED                     WRITTEN ── written ──▶ REST
 *     its thread                     ASKED ── pwrite, bell ──▶ WRITTEN
 */
#ifndef HOLDFAST_JOURNAL_THREAD_H
#define HOLDFAST_JOURNAL_THREAD_H

#include "net/mailbox.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum journal_stage { JOURNAL_REST, JOURNAL_ASKED, JOURNAL_WRITTEN };

struct journal_thread {
    pthread_t thread;
    bool running;
    struct bell *shard_bell; /* rung when a write has ended */
    struct bell bell;        /* the thread's own */
    _Atomic bool ending;
    _Atomic uint32_t stage; /* enum journal_stage: whose turn it is owns what follows */
    int file;
    const void *data;
    uint32_t size;
    uint64_t offset;
    int32_t result;
};

/* All functions are the shard's thread's; the new one inherits its core. The shard's bell must outlive it.
 * 0, or negative errno. */
int journal_thread_start(struct journal_thread *thread, uint32_t shard_index, struct bell *shard_bell);
/* Ends the thread, behind a write that is under way. Nothing is done where it was not started. */
void journal_thread_stop(struct journal_thread *thread);

/* Begins to write; none may be under way. data stays the caller's, in place, until the write has ended. */
void journal_thread_write(struct journal_thread *thread, int file, const void *data, uint32_t size,
                          uint64_t offset);

/* The write that was begun has ended, told once: bytes written, maybe fewer than asked, or negative
 * errno. */
bool journal_thread_written(struct journal_thread *thread, int32_t *ret_result);

/* journal_thread_written() has something to tell. */
static inline bool
journal_thread_ended(const struct journal_thread *thread)
{
    return atomic_load_explicit(&thread->stage, memory_order_acquire) == JOURNAL_WRITTEN;
}

#endif
