/*
 * ask_queue.h - requests that wait: in the order they came, or for a time.
 */
#ifndef HOLDFAST_LOAD_ASK_QUEUE_H
#define HOLDFAST_LOAD_ASK_QUEUE_H

#include "load/workload.h"

/* First in, first out; grows as needed, its bound is the caller's. Ends the process where memory ends. */
struct ask_queue {
    struct ask *asks;
    uint32_t first;
    uint32_t count;
    uint32_t room; /* a power of two, or 0 */
};

void ask_queue_put(struct ask_queue *queue, const struct ask *ask);
struct ask ask_queue_take(struct ask_queue *queue); /* there must be one */

/* A heap by due_ns: the earliest first. */
struct ask_heap {
    struct ask *asks;
    uint32_t count;
    uint32_t room;
};

void ask_heap_put(struct ask_heap *heap, const struct ask *ask);
struct ask ask_heap_take(struct ask_heap *heap); /* there must be one */

/* SCHEDULE_NEVER where there is none. */
static inline uint64_t
ask_heap_due_ns(const struct ask_heap *heap)
{
    return heap->count > 0 ? heap->asks[0].due_ns : SCHEDULE_NEVER;
}

#endif
