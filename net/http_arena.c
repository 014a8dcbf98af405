/*
 * http_arena.c - memory for one decode, so that reading JSON calls no malloc in the request path.
 *
 * Each thread reserves its arena when it decodes its first request and keeps it; pages are touched only
 * when used. Allocation is a pointer that moves up; freeing does nothing; the next decode starts from the
 * bottom. The bound is ARENA_SIZE: past it there is no memory, and the request is refused.
 *
 * jansson has one pair of allocation functions for the whole process. They take from the arena while a
 * decode of this thread is under way, else from malloc(), so that other users of jansson (the load
 * generator, tests) live with it.
 */
#include "net/http_internal.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <threads.h>

/* The largest event (64 sections of 1,024 listed rows) needs about 40 MB of nodes. */
#define ARENA_SIZE ((size_t)128 << 20)
/* What one decode used beyond this goes back to the system. */
#define ARENA_KEPT ((size_t)1 << 20)

static _Thread_local struct {
    char *base;
    size_t used;
    bool active;
    bool full; /* something found no room in this decode */
} arena;

static once_flag allocator_once = ONCE_FLAG_INIT;

static void *
json_allocate(size_t size)
{
    return arena.active ? http_arena_take(size) : malloc(size);
}

static void
json_release(void *memory)
{
    uintptr_t address = (uintptr_t)memory;
    uintptr_t base = (uintptr_t)arena.base;
    if (base == 0 || address < base || address >= base + ARENA_SIZE)
        free(memory);
}

static void
allocator_set(void)
{
    json_set_alloc_funcs(json_allocate, json_release);
    json_object_seed(0);
}

void
http_arena_begin(void)
{
    if (arena.base == NULL) {
        call_once(&allocator_once, allocator_set);
        void *base = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        arena.base = base == MAP_FAILED ? NULL : base; /* then every body is refused as too large */
    }
    assert(!arena.active);
    if (arena.used > ARENA_KEPT)
        (void)madvise(arena.base + ARENA_KEPT, arena.used - ARENA_KEPT, MADV_DONTNEED); /* advice only */
    arena.used = 0;
    arena.active = true;
    arena.full = false;
}

void
http_arena_end(void)
{
    assert(arena.active);
    arena.active = false;
}

bool
http_arena_full(void)
{
    return arena.full;
}

void *
http_arena_take(size_t size)
{
    if (arena.base == NULL || size > ARENA_SIZE - arena.used) {
        arena.full = true;
        return NULL;
    }
    char *memory = arena.base + arena.used;
    size_t rounded = (size + 15) & ~(size_t)15;
    arena.used = rounded > ARENA_SIZE - arena.used ? ARENA_SIZE : arena.used + rounded;
    return memory;
}
