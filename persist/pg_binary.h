/*
 * pg_binary.h - values in PostgreSQL's binary forms (the documentation's "Binary Format" of COPY, and the
 * send and receive functions of its types). Pure: no I/O.
 *
 * A struct pg_bytes grows as it is written to; where there is no memory it fails once and for all, and
 * whoever uses it asks pg_bytes_failed() at the end. It keeps its memory when it is emptied.
 *
 *     an array parameter:  pg_array_begin, fields ..., pg_array_end      for unnest()
 *     rows of COPY:        pg_copy_head, for each row pg_put_fields and its fields, pg_copy_tail
 */
#ifndef HOLDFAST_PG_BINARY_H
#define HOLDFAST_PG_BINARY_H

#include "holdfast/types.h"
#include "persist/pg.h"

struct pg_bytes {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed;
};

/* Types by their numbers in pg_type.dat: they never change. */
enum pg_type {
    PG_BYTEA = 17,
    PG_INT8 = 20,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_TIMESTAMPTZ = 1184,
    PG_UUID = 2950,
    PG_JSONB = 3802,
};

void pg_bytes_done(struct pg_bytes *bytes);
static inline void
pg_bytes_empty(struct pg_bytes *bytes)
{
    bytes->size = 0;
}

/* Fields: size and value. */
void pg_put_null(struct pg_bytes *bytes);
void pg_put_int4(struct pg_bytes *bytes, int32_t value);
void pg_put_int8(struct pg_bytes *bytes, int64_t value);
void pg_put_text(struct pg_bytes *bytes, struct bytes text);
/* NULL where it is empty. Bytes that are no UTF-8 are taken as Latin-1, and a zero becomes U+FFFD: text in
 * PostgreSQL knows neither. */
void pg_put_foreign_text(struct pg_bytes *bytes, struct bytes text);
void pg_put_bytea(struct pg_bytes *bytes, const void *data, size_t size);
void pg_put_uuid(struct pg_bytes *bytes, const struct uuid *id);
/* Milliseconds since 1970; 0: NULL. */
void pg_put_time(struct pg_bytes *bytes, uint64_t ms);
void pg_put_jsonb(struct pg_bytes *bytes, struct bytes text);

/* An array of one dimension: its head is filled at the end. */
void pg_array_begin(struct pg_bytes *bytes, enum pg_type type);
struct pg_value pg_array_end(struct pg_bytes *bytes, uint32_t count);

void pg_copy_head(struct pg_bytes *bytes);
void pg_put_fields(struct pg_bytes *bytes, uint16_t count);
void pg_copy_tail(struct pg_bytes *bytes);

/* Values as they come; the type is the caller's to know. NULL gives 0, false, nothing. */
bool pg_get_bool(struct pg_value value);
int64_t pg_get_int64(struct pg_value value); /* int2, int4, int8 */
struct bytes pg_get_bytes(struct pg_value value);
/* Cut where it does not fit; ended by a zero. */
void pg_get_text(struct pg_value value, char *ret_text, size_t size);
struct uuid pg_get_uuid(struct pg_value value);
uint64_t pg_get_time(struct pg_value value); /* milliseconds since 1970; NULL: 0 */

/* Single values as parameters. */
struct pg_int8 {
    uint8_t byte[8];
};
struct pg_value pg_int8_value(struct pg_int8 *place, int64_t value);

#endif
