/*
 * ask_queue.c - requests that wait: a ring and a binary heap.
 */
#include "load/ask_queue.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static struct ask *
grown(struct ask *asks, uint64_t count)
{
    struct ask *larger = count <= UINT32_MAX ? realloc(asks, (size_t)count * sizeof *asks) : NULL;
    if (larger == NULL) {
        fprintf(stderr, "holdfast load: out of memory for %llu requests that wait\n",
                (unsigned long long)count);
        exit(1);
    }
    return larger;
}

void
ask_queue_put(struct ask_queue *queue, const struct ask *ask)
{
    if (queue->count == queue->room) {
        uint32_t room = queue->room > 0 ? queue->room * 2 : 1024;
        queue->asks = grown(queue->asks, room);
        /* What had gone round to the beginning comes behind the rest again. */
        memcpy(queue->asks + queue->room, queue->asks, queue->first * sizeof *queue->asks);
        queue->room = room;
    }
    queue->asks[(queue->first + queue->count++) & (queue->room - 1)] = *ask;
}

struct ask
ask_queue_take(struct ask_queue *queue)
{
    assert(queue->count > 0);
    struct ask ask = queue->asks[queue->first];
    queue->first = (queue->first + 1) & (queue->room - 1);
    queue->count--;
    return ask;
}

void
ask_heap_put(struct ask_heap *heap, const struct ask *ask)
{
    if (heap->count == heap->room) {
        uint64_t room = heap->room > 0 ? (uint64_t)heap->room * 2 : 1024;
        heap->asks = grown(heap->asks, room);
        heap->room = (uint32_t)room;
    }
    uint32_t at = heap->count++;
    while (at > 0 && heap->asks[(at - 1) / 2].due_ns > ask->due_ns) {
        heap->asks[at] = heap->asks[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->asks[at] = *ask;
}

struct ask
ask_heap_take(struct ask_heap *heap)
{
    assert(heap->count > 0);
    struct ask earliest = heap->asks[0];
    const struct ask last = heap->asks[--heap->count];
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap->asks[child + 1].due_ns < heap->asks[child].due_ns)
            child++;
        if (last.due_ns <= heap->asks[child].due_ns)
            break;
        heap->asks[at] = heap->asks[child];
    }
    if (heap->count > 0)
        heap->asks[at] = last;
    return earliest;
}
