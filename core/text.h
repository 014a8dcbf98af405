/*
 * text.h - writing into an output; texts of numbers, ids and times.
 *
 * put_x() writes at a place that has room enough and returns the place behind.
 */
#ifndef HOLDFAST_TEXT_H
#define HOLDFAST_TEXT_H

#include "holdfast/types.h"

/*
 * A sink of bytes: grows by the owner's function, never fails: where there is no room the owner marks the
 * output as failed and swallows the rest (the connection is then closed).
 */
struct output {
    char *data;  /* where the next byte goes */
    size_t room; /* bytes left there */
    bool failed;
    void *owner;
    /* Makes room for at least `size` more bytes (size <= OUTPUT_GROW_MAX): sets data and room, or failed.
     */
    void (*grow)(struct output *output, size_t size);
};
#define OUTPUT_GROW_MAX 2048

/* Room for `size` bytes (at most OUTPUT_GROW_MAX) and where they go, or NULL where the output has failed.
 */
static inline char *
output_reserve(struct output *output, size_t size)
{
    if (output->room < size) {
        if (!output->failed)
            output->grow(output, size);
        if (output->failed || output->room < size)
            return NULL;
    }
    return output->data;
}

/* Takes what was written from the place output_reserve() gave up to end. */
static inline void
output_commit(struct output *output, char *end)
{
    output->room -= (size_t)(end - output->data);
    output->data = end;
}

/* Bytes of any number. */
void output_put(struct output *output, const char *data, size_t size);

static inline char *
put_bytes(char *at, const char *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

/* The text of a literal, without its zero. */
#define put_literal(at, literal) put_bytes((at), "" literal, sizeof(literal) - 1)

/* At most 20 bytes. */
char *put_unsigned(char *at, uint64_t value);
/* UUID_TEXT_SIZE bytes, small letters. */
char *put_uuid(char *at, const struct uuid *uuid);
/* Two small hexadecimal digits a byte. */
char *put_hex(char *at, const uint8_t *data, size_t size);
/* 24 bytes: 2026-12-01T10:00:00.000Z. The year is at most 9999. */
char *put_rfc3339(char *at, uint64_t ms);
/* 29 bytes: Tue, 01 Dec 2026 10:00:00 GMT, RFC 9110's IMF-fixdate. */
char *put_http_date(char *at, uint64_t ms);

/* Decimal, no sign but a minus, no leading zero: the only text of its number. */
bool integer_parse(struct bytes text, int64_t *ret_value);
/* UUID_TEXT_SIZE characters, hexadecimal digits of either case, version 7. False: ret_uuid is untouched. */
bool uuid_parse(struct bytes text, struct uuid *ret_uuid);
bool rfc3339_parse(struct bytes text, int64_t *ret_ms);
/* Value of a hexadecimal digit, or -1. */
int hex_digit(char c);
bool utf8_valid(struct bytes text);

static inline uint64_t
time_left_ms(uint64_t deadline_ms, uint64_t now_ms)
{
    return deadline_ms > now_ms ? deadline_ms - now_ms : 0;
}

#endif
