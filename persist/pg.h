/*
 * pg.h - one connection to PostgreSQL. pg.c is the only file of persist/ that touches libpq.
 *
 * A connection is used by one thread at a time, and waits in poll(2), so that a stop or a silent network
 * never holds it: each call ends at the latest after the settings' wait_ms without a byte from the server,
 * with a transient error. After an error outside of the server's own refusals the connection is dead
 * (pg_alive() is false), and only pg_close() is left.
 *
 * Values go and come in PostgreSQL's binary forms: pg_binary.h writes and reads them.
 */
#ifndef HOLDFAST_PG_H
#define HOLDFAST_PG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PG_TEXT_SIZE_MAX   1024
#define PG_VALUES_MAX      16
#define PG_SERVER_OLDEST   130000  /* 13: as libpq counts */
#define PG_SQLSTATE_FENCED "HF001" /* raised by holdfast.step(): somebody else has moved the cursor */

/*
 * Transient: the same may work later, unchanged. No connection, one that broke, a server that starts,
 * stops, has no room (53), was told to cancel, is a standby now, or chose between us and somebody (40, 55).
 * Permanent: the same will fail again until a person changes something: rights, passwords, schema, data.
 */
enum pg_kind {
    PG_NONE = 0,
    PG_TRANSIENT,
    PG_PERMANENT,
};

/* What went wrong; never with a password in it. */
struct pg_error {
    enum pg_kind kind;
    char sqlstate[6];            /* empty: not from the server */
    char text[PG_TEXT_SIZE_MAX]; /* in words, one line, without a full stop */
};

struct pg_settings {
    const char
        *uri; /* URI or key=value pairs; the rest comes from PG* and PGPASSFILE as libpq knows them */
    const char *application; /* application_name */
    uint32_t connect_seconds;
    uint32_t wait_ms;
    const atomic_bool *stop; /* NULL, or: ends every wait with a transient error once it is true */
};

struct pg;
struct pg_rows;

/* NULL: the text is one that libpq takes and has no password in it. Else what is wrong with it (static
 * storage). A password would be seen in the list of processes and in files that many read: PGPASSFILE and
 * PGPASSWORD are for it. */
const char *pg_uri_wrong(const char *uri);
/* The host (or directory of sockets), port and database that it means, for a person: "db on
 * 127.0.0.1:5432". */
void pg_uri_text(const char *uri, char *ret_text, size_t size);

/* All functions that return bool: false: *ret_error. */
bool pg_connect(const struct pg_settings *settings, struct pg **ret_pg, struct pg_error *ret_error);
void pg_close(struct pg *pg); /* NULL: nothing */
bool pg_alive(const struct pg *pg);
uint32_t pg_server_version(const struct pg *pg);
uint32_t pg_backend_pid(const struct pg *pg);

/* Waits for `ms` with nothing under way: whether the connection is still there is seen at once. A signal
 * ends it earlier. */
bool pg_idle(struct pg *pg, uint32_t ms, struct pg_error *ret_error);

/* A value: binary, or NULL (data == NULL). Types are those that the statement gives its parameters. */
struct pg_value {
    const void *data;
    uint32_t size;
};

/* A statement that is prepared once a connection, at its first use; static storage. */
struct pg_statement {
    const char *name;
    const char *sql;
};

/* Any number of commands without values; their rows are thrown away. */
bool pg_run(struct pg *pg, const char *sql, struct pg_error *ret_error);
/* One command. ret_rows may be NULL; else the caller frees them, also after the connection is gone. */
bool pg_query(struct pg *pg, const struct pg_statement *statement, uint32_t count,
              const struct pg_value values[], struct pg_rows **ret_rows, struct pg_error *ret_error);

/*
 * A pipeline: statements are sent without waiting for one another, and fail together from the first that
 * fails on. begin, any number of add, end. Inside, add's errors are those of the connection; a refusal is
 * told by end.
 */
bool pg_pipeline_begin(struct pg *pg, struct pg_error *ret_error);
bool pg_pipeline_add(struct pg *pg, const struct pg_statement *statement, uint32_t count,
                     const struct pg_value values[], struct pg_error *ret_error);
bool pg_pipeline_end(struct pg *pg, struct pg_error *ret_error);

/* COPY ... FROM STDIN (FORMAT binary): put takes whole tuples, or any pieces of the stream; pg_binary.h has
 * its head and end. */
bool pg_copy_begin(struct pg *pg, const char *sql, struct pg_error *ret_error);
bool pg_copy_put(struct pg *pg, const void *data, size_t size, struct pg_error *ret_error);
bool pg_copy_end(struct pg *pg, struct pg_error *ret_error);

/* Rows one by one, however many: begin, then next until it gives no row. A stream that is not read to its
 * end ends with its connection. */
bool pg_stream_begin(struct pg *pg, const struct pg_statement *statement, uint32_t count,
                     const struct pg_value values[], struct pg_error *ret_error);
/* *ret_rows: one row, to be freed; NULL: the end. */
bool pg_stream_next(struct pg *pg, struct pg_rows **ret_rows, struct pg_error *ret_error);

/* Rows, all binary; views live as long as the rows. */
uint32_t pg_rows_count(const struct pg_rows *rows);
struct pg_value pg_rows_value(const struct pg_rows *rows, uint32_t row, uint32_t column);
void pg_rows_free(struct pg_rows *rows); /* NULL: nothing */

#endif
