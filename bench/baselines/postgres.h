/*
 * postgres.h - a PostgreSQL connection that never waits.
 */
#ifndef HOLDFAST_BENCH_POSTGRES_H
#define HOLDFAST_BENCH_POSTGRES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct postgres;

#define POSTGRES_ERROR_SIZE 256

/* What came back for one statement: of its first row the first two columns, as numbers, and the first as
 * text. */
#define POSTGRES_TEXT_SIZE 200
struct postgres_result {
    bool failed;
    char sqlstate[6]; /* where it failed; "" where a statement before it did */
    uint32_t rows;
    int64_t value[2];              /* 0 where null or no number */
    char text[POSTGRES_TEXT_SIZE]; /* what is longer is cut; the error's, where it failed */
};

/* The statements from one postgres_sync() to the next. */
#define POSTGRES_ROUND_MAX 8
struct postgres_round {
    uint32_t count;
    struct postgres_result results[POSTGRES_ROUND_MAX];
};

/* Connects, waiting. NULL: ret_error says why, POSTGRES_ERROR_SIZE bytes. */
struct postgres *postgres_open(const char *connection, char *ret_error);
void postgres_close(struct postgres *postgres);

/* Gives a statement a name, waiting. Only before the first postgres_send(). */
bool postgres_name(struct postgres *postgres, const char *name, const char *sql, char *ret_error);

/* Adds a statement by its name, with its parameters as numbers. What lies between two syncs goes out at
 * once; without BEGIN it is one transaction. */
#define POSTGRES_PARAMETERS_MAX 8
void postgres_send(struct postgres *postgres, const char *name, uint32_t count, const int64_t *parameters);
void postgres_sync(struct postgres *postgres);

int postgres_fd(const struct postgres *postgres);

/* Writes and reads what there is, without waiting; ret_wants_room: what was sent did not all fit into the
 * socket. Below 0: the connection is gone. */
int postgres_advance(struct postgres *postgres, bool readable, bool *ret_wants_room);

/* The oldest round, when all of it has come: 1; 0: not yet; below 0: the connection is gone. */
int postgres_round(struct postgres *postgres, struct postgres_round *ret_round);

/* Why a call returned below 0. */
const char *postgres_error(const struct postgres *postgres);

/* Statements that nobody measures, on a connection of their own. ret_number: of the last one's first row
 * the first column; NULL where there is none to be had. */
bool postgres_run(const char *connection, const char *sql, int64_t *ret_number, char *ret_error);

#endif
