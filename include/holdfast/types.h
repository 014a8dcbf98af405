/*
 * types.h - the few types that cross folders.
 */
#ifndef HOLDFAST_TYPES_H
#define HOLDFAST_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A view of bytes that somebody else owns; not ended by a zero. */
struct bytes {
    const char *data;
    uint32_t size;
};

/* A UUID as its sixteen bytes, most significant first (RFC 9562). */
struct uuid {
    uint8_t byte[16];
};

#define UUID_TEXT_SIZE 36

/* The W3C trace context of a request: all zero where there is none. */
struct trace {
    uint8_t trace_id[16];
    uint8_t parent_id[8];
    uint8_t flags;
};

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* Copies a short text. Compilers make `rep movs` of a memcpy() of up to 255 bytes, whose start alone takes
 * longer than this whole. */
static inline void
bytes_copy(void *to, struct bytes from)
{
    char *at = to;
    size_t size = from.size;
    if (size >= 16) {
        for (size_t i = 0; i + 16 < size; i += 16)
            memcpy(at + i, from.data + i, 16);
        memcpy(at + size - 16, from.data + size - 16, 16);
    } else if (size >= 8) {
        memcpy(at, from.data, 8);
        memcpy(at + size - 8, from.data + size - 8, 8);
    } else {
        for (size_t i = 0; i < size; i++)
            at[i] = from.data[i];
    }
}

static inline bool
uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

#endif
