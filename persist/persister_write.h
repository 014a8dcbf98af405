/*
 * persister_write.h - a work's rows into PostgreSQL, in one transaction with the cursor.
 */
#ifndef HOLDFAST_PERSISTER_WRITE_H
#define HOLDFAST_PERSISTER_WRITE_H

#include "persist/persister_session.h"
#include "persist/persister_work.h"
#include "persist/pg_binary.h"

struct writer;

struct write_counts {
    uint64_t rows;      /* written, of all tables */
    uint64_t copy_rows; /* of these by COPY */
    uint64_t holds_read;
};

/* copy_rows: so many new rows of a table, or more, go by COPY. 0 or -ENOMEM. */
int writer_open(struct writer **ret_writer, uint32_t copy_rows);
void writer_close(struct writer *writer); /* NULL: nothing */

/* How this session plans; once after it was opened. */
bool writer_prepare(struct pg *pg, struct pg_error *ret_error);
/* Rows that an interrupted base has left, where the cursor says that nothing has been carried. */
bool writer_clear(struct pg *pg, struct pg_error *ret_error);
/* A base reaches up to here: nothing before it is published. */
bool writer_base(struct writer *writer, struct pg *pg, const struct persister_place *place,
                 struct pg_error *ret_error);
/* All events that PostgreSQL has, into an empty table. */
bool writer_events(struct pg *pg, struct event_table *events, struct pg_error *ret_error);
/* What the work's records name and is not known here. A hold that PostgreSQL has not either stays unknown.
 */
bool writer_missing(struct writer *writer, struct pg *pg, struct work *work, struct pg_error *ret_error);
/* place: what the cursor says now; next: what it will say. The epoch may be another one. On success *place
 * is next, with the step that follows. On failure nothing is known: the transaction may stand or not
 * (session_place() tells). */
bool writer_commit(struct writer *writer, struct pg *pg, const struct work *work,
                   struct persister_place *place, const struct persister_place *next,
                   struct pg_error *ret_error);

const struct write_counts *writer_counts(const struct writer *writer);

#endif
