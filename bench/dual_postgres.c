/*
 * dual_postgres.c - dual-run's other side: the rules as functions in SQL (dual_run.sql), one command a
 * transaction.
 *
 * Commands are pipelined, so that the network's time is not waited for; the server takes them one after the
 * other.
 */
#include "bench/baselines/postgres.h"
#include "bench/dual_run.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

extern const char dual_run_sql[]; /* dual_run_sql.S: ends with a zero */

struct dual_postgres {
    struct postgres *postgres;
    bool wants_room;
};

static const struct {
    const char *name;
    const char *sql;
} statements[DUAL_VERBS] = {
    [DUAL_HOLD] = {"place",
                   "SELECT dual.place($1::bigint, $2::bigint, $3::int, $4::int, $5::int, $6::int, $7::int,"
                   " $8::int)"},
    [DUAL_CONFIRM] = {"confirm", "SELECT dual.confirm($1::bigint, $2::bigint, $3::int, $4::int)"},
    [DUAL_RELEASE] = {"release", "SELECT dual.release($1::bigint, $2::bigint, $3::int, $4::int)"},
    [DUAL_CANCEL] = {"cancel", "SELECT dual.cancel($1::bigint, $2::bigint)"},
};

static bool
schema_make(const char *connection, char *ret_error)
{
    char fill[256];
    snprintf(
        fill, sizeof fill,
        "INSERT INTO dual.rule VALUES (%u, %u);"
        "INSERT INTO dual.seat SELECT id, format('A/%%s/%%s', id / %u + 1, id %% %u + 1), 'free', NULL, 0"
        " FROM generate_series(0, %u - 1) id",
        DUAL_UNITS, DUAL_UNITS_PER_USER_MAX, DUAL_ROW_SEATS, DUAL_ROW_SEATS, DUAL_SEATS);
    return postgres_run(connection, dual_run_sql, NULL, ret_error) &&
           postgres_run(connection, fill, NULL, ret_error);
}

struct dual_postgres *
dual_postgres_open(const char *connection, bool plant, char *ret_error)
{
    char options[160];
    if (!schema_make(connection, ret_error))
        return NULL;
    /* What a crash would forget is of no interest here; and plans made for empty tables must serve full
     * ones. By the environment, since `connection` may be a URI as well as a list of words. */
    (void)snprintf(options, sizeof options,
                   "-c synchronous_commit=off -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off -c "
                   "dual.grace_ms=%d",
                   plant ? 1 : 0); /* fits */
    if (setenv("PGOPTIONS", options, 1) != 0)
        return NULL;
    struct dual_postgres *postgres = calloc(1, sizeof *postgres);
    if (postgres == NULL)
        return NULL;
    postgres->postgres = postgres_open(connection, ret_error);
    bool well = postgres->postgres != NULL;
    for (uint32_t verb = 0; well && verb < DUAL_VERBS; verb++)
        well = postgres_name(postgres->postgres, statements[verb].name, statements[verb].sql, ret_error);
    if (!well) {
        dual_postgres_free(postgres);
        return NULL;
    }
    return postgres;
}

void
dual_postgres_free(struct dual_postgres *postgres)
{
    if (postgres == NULL)
        return;
    postgres_close(postgres->postgres);
    free(postgres);
}

void
dual_postgres_send(struct dual_postgres *postgres, const struct dual_order *order)
{
    static const uint32_t counts[DUAL_VERBS] = {8, 4, 4, 2};
    uint64_t first = order->verb == DUAL_HOLD ? order->number : order->of;
    int64_t parameters[8] = {(int64_t)first, (int64_t)order->now_ms, order->user,  order->key,
                             order->seat[0], order->seat[1],         order->units, order->seconds};
    postgres_send(postgres->postgres, statements[order->verb].name, counts[order->verb], parameters);
    postgres_sync(postgres->postgres);
}

bool
dual_postgres_take(struct dual_postgres *postgres, char *ret_outcome, char *ret_error)
{
    struct postgres_round round;
    int come = postgres_advance(postgres->postgres, false, &postgres->wants_room);
    while (come >= 0 && (come = postgres_round(postgres->postgres, &round)) == 0) {
        struct pollfd wait = {.fd = postgres_fd(postgres->postgres),
                              .events = (short)(postgres->wants_room ? POLLIN | POLLOUT : POLLIN)};
        int ready = poll(&wait, 1, 60000);
        if (ready == 0) {
            snprintf(ret_error, 256, "PostgreSQL has not answered for a minute");
            return false;
        }
        come = postgres_advance(postgres->postgres, (wait.revents & POLLIN) != 0, &postgres->wants_room);
    }
    if (come < 0 || round.count != 1 || round.results[0].failed) {
        snprintf(ret_error, 256, "PostgreSQL: %.200s",
                 come < 0 ? postgres_error(postgres->postgres) : round.results[0].text);
        return false;
    }
    snprintf(ret_outcome, DUAL_OUTCOME_SIZE, "%s", round.results[0].text);
    return true;
}
