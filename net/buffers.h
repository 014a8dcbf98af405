/*
 * buffers.h - byte buffers of any size for input and output that waits, out of a bounded amount of memory.
 */
#ifndef HOLDFAST_BUFFERS_H
#define HOLDFAST_BUFFERS_H

#include <stddef.h>
#include <stdint.h>

#define BUFFER_CLASS_MIN   8u  /* 256 bytes */
#define BUFFER_CLASS_MAX   31u /* 2 GiB */
#define BUFFER_CLASS_COUNT (BUFFER_CLASS_MAX - BUFFER_CLASS_MIN + 1)

/* One thread's. */
struct buffers {
    size_t bytes_max;
    size_t bytes_used; /* capacities of the buffers that are out */
    char *memory;      /* reserved: BUFFER_CLASS_COUNT areas, touched only when used */
    size_t area_size;
    size_t area_used[BUFFER_CLASS_COUNT];
    void *free[BUFFER_CLASS_COUNT]; /* lists through the buffers' first bytes */
};

/* 0 or negative errno. */
int buffers_open(struct buffers *buffers, size_t bytes_max);
void buffers_done(struct buffers *buffers);

/* A buffer of at least size bytes, or NULL: the bound is reached. The taker gives it back with the same
 * capacity. */
char *buffer_take(struct buffers *buffers, size_t size, size_t *ret_capacity);
void buffer_give(struct buffers *buffers, char *data, size_t capacity);

#endif
