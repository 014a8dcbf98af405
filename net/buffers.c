/*
 * buffers.c - power-of-two buffers from reserved memory.
 *
 * One area of address space for each size class, as large as the bound itself, so that a class never runs
 * out of addresses before the bound is reached and nothing ever fragments. Pages are touched only when a
 * buffer is used the first time; large buffers give their pages back to the kernel when they are given
 * back, small ones are kept, last used first, since they are warm in the cache.
 *
 *     memory   | class 256 | class 512 | class 1 KiB | ... | class 2 GiB |     each area_size bytes
 */
#include "net/buffers.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define KEEP_PAGES_MAX (256u * 1024)

static uint32_t
class_of(size_t size)
{
    uint32_t class = BUFFER_CLASS_MIN;
    while ((size_t)1 << class < size)
        class ++;
    return class;
}

int
buffers_open(struct buffers *buffers, size_t bytes_max)
{
    *buffers = (struct buffers){0};
    assert(bytes_max >= (size_t)1 << BUFFER_CLASS_MIN);
    buffers->bytes_max = bytes_max;
    buffers->area_size = (bytes_max + 4095) / 4096 * 4096;
    void *memory = mmap(NULL, buffers->area_size * BUFFER_CLASS_COUNT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    buffers->memory = memory;
    return 0;
}

void
buffers_done(struct buffers *buffers)
{
    if (buffers->memory != NULL)
        (void)munmap(buffers->memory, buffers->area_size * BUFFER_CLASS_COUNT); /* mapped so by us */
    buffers->memory = NULL;
}

char *
buffer_take(struct buffers *buffers, size_t size, size_t *ret_capacity)
{
    if (size > buffers->bytes_max)
        return NULL;
    uint32_t class = class_of(size);
    size_t capacity = (size_t)1 << class;
    if (class > BUFFER_CLASS_MAX || capacity > buffers->bytes_max - buffers->bytes_used)
        return NULL;
    uint32_t index = class - BUFFER_CLASS_MIN;
    char *data = buffers->free[index];
    if (data != NULL) {
        buffers->free[index] = *(void **)(void *)data;
    } else {
        /* what is out of a class never exceeds bytes_used, and bytes_used never exceeds the area */
        assert(buffers->area_used[index] + capacity <= buffers->area_size);
        data = buffers->memory + (size_t)index * buffers->area_size + buffers->area_used[index];
        buffers->area_used[index] += capacity;
    }
    buffers->bytes_used += capacity;
    *ret_capacity = capacity;
    return data;
}

void
buffer_give(struct buffers *buffers, char *data, size_t capacity)
{
    uint32_t index = class_of(capacity) - BUFFER_CLASS_MIN;
    assert(capacity == (size_t)1 << class_of(capacity));
    assert(buffers->bytes_used >= capacity);
    buffers->bytes_used -= capacity;
    if (capacity >= KEEP_PAGES_MAX)
        (void)madvise(data, capacity, MADV_DONTNEED); /* only advice: refused, the pages stay */
    *(void **)(void *)data = buffers->free[index];
    buffers->free[index] = data;
}
