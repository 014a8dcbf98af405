/*
 * pg_binary.c - values in PostgreSQL's binary forms: everything is big-endian, a field is its size and its
 * bytes, and -1 as the size is NULL. Times are microseconds since 2000-01-01 UTC.
 */
#include "persist/pg_binary.h"

#include "core/text.h"
#include "persist/pg.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH_2000_MS   946684800000ll
#define ARRAY_HEAD_SIZE 20

void
pg_bytes_done(struct pg_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct pg_bytes){0};
}

static uint8_t *
room(struct pg_bytes *bytes, size_t size)
{
    if (bytes->size + size > bytes->capacity) {
        size_t capacity = (bytes->size + size) * 2;
        uint8_t *data = bytes->failed ? NULL : realloc(bytes->data, capacity);
        if (data == NULL) {
            bytes->failed = true;
            return NULL;
        }
        bytes->data = data;
        bytes->capacity = capacity;
    }
    uint8_t *at = bytes->data + bytes->size;
    bytes->size += size;
    return at;
}

static void
put16(uint8_t *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof value);
}

static void
put32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

static void
put64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof value);
}

void
pg_put_null(struct pg_bytes *bytes)
{
    uint8_t *at = room(bytes, 4);
    if (at != NULL)
        put32(at, UINT32_MAX);
}

void
pg_put_int4(struct pg_bytes *bytes, int32_t value)
{
    uint8_t *at = room(bytes, 8);
    if (at == NULL)
        return;
    put32(at, 4);
    put32(at + 4, (uint32_t)value);
}

void
pg_put_int8(struct pg_bytes *bytes, int64_t value)
{
    uint8_t *at = room(bytes, 12);
    if (at == NULL)
        return;
    put32(at, 8);
    put64(at + 4, (uint64_t)value);
}

void
pg_put_bytea(struct pg_bytes *bytes, const void *data, size_t size)
{
    uint8_t *at = room(bytes, 4 + size);
    if (at == NULL)
        return;
    put32(at, (uint32_t)size);
    if (size > 0)
        memcpy(at + 4, data, size);
}

void
pg_put_text(struct pg_bytes *bytes, struct bytes text)
{
    uint8_t *at = room(bytes, 4 + (size_t)text.size);
    if (at == NULL)
        return;
    put32(at, text.size);
    bytes_copy(at + 4, text);
}

void
pg_put_foreign_text(struct pg_bytes *bytes, struct bytes text)
{
    char copy[3 * UINT8_MAX];
    assert(text.size <= UINT8_MAX);
    if (text.size == 0) {
        pg_put_null(bytes);
        return;
    }
    bool utf8 = utf8_valid(text);
    if (utf8 && memchr(text.data, 0, text.size) == NULL) {
        pg_put_text(bytes, text);
        return;
    }
    uint32_t size = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte == 0) {
            memcpy(copy + size, "\xef\xbf\xbd", 3);
            size += 3;
        } else if (byte < 0x80 || utf8) {
            copy[size++] = (char)byte;
        } else {
            copy[size++] = (char)(0xc0 | byte >> 6);
            copy[size++] = (char)(0x80 | (byte & 0x3f));
        }
    }
    pg_put_text(bytes, (struct bytes){copy, size});
}

void
pg_put_uuid(struct pg_bytes *bytes, const struct uuid *id)
{
    pg_put_bytea(bytes, id->byte, sizeof id->byte);
}

void
pg_put_time(struct pg_bytes *bytes, uint64_t ms)
{
    if (ms == 0)
        pg_put_null(bytes);
    else
        pg_put_int8(bytes, ((int64_t)ms - EPOCH_2000_MS) * 1000);
}

void
pg_put_jsonb(struct pg_bytes *bytes, struct bytes text)
{
    uint8_t *at = room(bytes, 5 + (size_t)text.size);
    if (at == NULL)
        return;
    put32(at, text.size + 1);
    at[4] = 1; /* the form's version */
    bytes_copy(at + 5, text);
}

/* Dimensions, whether there are NULLs, the elements' type, how many, the first one's index. */
void
pg_array_begin(struct pg_bytes *bytes, enum pg_type type)
{
    pg_bytes_empty(bytes);
    uint8_t *at = room(bytes, ARRAY_HEAD_SIZE);
    if (at == NULL)
        return;
    put32(at, 1);
    put32(at + 4, 1);
    put32(at + 8, (uint32_t)type);
    put32(at + 12, 0);
    put32(at + 16, 1);
}

struct pg_value
pg_array_end(struct pg_bytes *bytes, uint32_t count)
{
    if (bytes->failed)
        return (struct pg_value){NULL, 0};
    assert(bytes->size >= ARRAY_HEAD_SIZE);
    put32(bytes->data + 12, count);
    return (struct pg_value){bytes->data, (uint32_t)bytes->size};
}

void
pg_copy_head(struct pg_bytes *bytes)
{
    uint8_t *at = room(bytes, 19);
    if (at == NULL)
        return;
    memcpy(at, "PGCOPY\n\377\r\n\0", 11);
    put32(at + 11, 0);
    put32(at + 15, 0);
}

void
pg_put_fields(struct pg_bytes *bytes, uint16_t count)
{
    uint8_t *at = room(bytes, 2);
    if (at != NULL)
        put16(at, count);
}

void
pg_copy_tail(struct pg_bytes *bytes)
{
    pg_put_fields(bytes, UINT16_MAX);
}

bool
pg_get_bool(struct pg_value value)
{
    return value.data != NULL && value.size == 1 && *(const uint8_t *)value.data != 0;
}

int64_t
pg_get_int64(struct pg_value value)
{
    const uint8_t *at = value.data;
    if (at == NULL || value.size == 0)
        return 0;
    assert(value.size <= 8);
    uint64_t number = (at[0] & 0x80) != 0 ? UINT64_MAX : 0;
    for (uint32_t i = 0; i < value.size; i++)
        number = number << 8 | at[i];
    return (int64_t)number;
}

struct bytes
pg_get_bytes(struct pg_value value)
{
    return (struct bytes){value.data, value.size};
}

void
pg_get_text(struct pg_value value, char *ret_text, size_t size)
{
    size_t taken = value.size < size ? value.size : size - 1;
    if (taken > 0)
        memcpy(ret_text, value.data, taken);
    ret_text[taken] = '\0';
}

struct uuid
pg_get_uuid(struct pg_value value)
{
    struct uuid id = {{0}};
    if (value.data != NULL && value.size == sizeof id.byte)
        memcpy(id.byte, value.data, sizeof id.byte);
    return id;
}

uint64_t
pg_get_time(struct pg_value value)
{
    return value.data == NULL ? 0 : (uint64_t)(pg_get_int64(value) / 1000 + EPOCH_2000_MS);
}

struct pg_value
pg_int8_value(struct pg_int8 *place, int64_t value)
{
    put64(place->byte, (uint64_t)value);
    return (struct pg_value){place->byte, sizeof place->byte};
}
