/*
 * postgres.c - a PostgreSQL connection that never waits. The one file here that touches libpq.
 *
 * libpq's pipeline mode: statements that are prepared already are put one behind the other, a sync ends a
 * round, and a round goes out in one write and comes back in one read. So BEGIN and SELECT ... FOR UPDATE
 * cost one round trip, and UPDATE, INSERT and COMMIT another: what a careful client can do, and more than
 * most drivers do by themselves.
 *
 *     send send sync ──▶            results of one statement, a NULL, of the next, a NULL, the sync
 *
 * Results are read as they come, so a round is kept here until its sync has arrived.
 */
#include "bench/baselines/postgres.h"

#include <assert.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct postgres {
    PGconn *connection;
    struct postgres_round round; /* what has come of the oldest round */
    uint32_t rounds_sent;        /* and not yet returned */
};

static struct postgres *
open_failed(struct postgres *postgres, char *ret_error)
{
    snprintf(ret_error, POSTGRES_ERROR_SIZE, "%s",
             postgres != NULL ? PQerrorMessage(postgres->connection) : "out of memory");
    postgres_close(postgres);
    return NULL;
}

/* Notices ("table does not exist, skipping") are of no use to anybody here. */
static void
notice_drop(void *nobody, const PGresult *notice)
{
    (void)nobody;
    (void)notice;
}

struct postgres *
postgres_open(const char *connection, char *ret_error)
{
    struct postgres *postgres = calloc(1, sizeof *postgres);
    if (postgres == NULL)
        return open_failed(NULL, ret_error);
    postgres->connection = PQconnectdb(connection);
    if (PQstatus(postgres->connection) != CONNECTION_OK)
        return open_failed(postgres, ret_error);
    (void)PQsetNoticeReceiver(postgres->connection, notice_drop, NULL); /* returns the former one */
    return postgres;
}

void
postgres_close(struct postgres *postgres)
{
    if (postgres == NULL)
        return;
    PQfinish(postgres->connection);
    free(postgres);
}

static bool
result_is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

bool
postgres_name(struct postgres *postgres, const char *name, const char *sql, char *ret_error)
{
    assert(PQpipelineStatus(postgres->connection) == PQ_PIPELINE_OFF);
    PGresult *result = PQprepare(postgres->connection, name, sql, 0, NULL);
    bool good = result_is_good(result);
    if (!good)
        snprintf(ret_error, POSTGRES_ERROR_SIZE, "%s: %.200s", name, PQresultErrorMessage(result));
    PQclear(result);
    return good;
}

void
postgres_send(struct postgres *postgres, const char *name, uint32_t count, const int64_t *parameters)
{
    char text[POSTGRES_PARAMETERS_MAX][24];
    const char *values[POSTGRES_PARAMETERS_MAX];
    assert(count <= POSTGRES_PARAMETERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text[i], sizeof text[i], "%lld", (long long)parameters[i]);
        values[i] = text[i];
    }
    if (PQpipelineStatus(postgres->connection) == PQ_PIPELINE_OFF &&
        (PQsetnonblocking(postgres->connection, 1) != 0 || PQenterPipelineMode(postgres->connection) != 1))
        return; /* the connection's error shows at the next flush */
    /* A failure is one of memory or of the connection: it shows at the next flush, too. */
    (void)PQsendQueryPrepared(postgres->connection, name, (int)count, values, NULL, NULL, 0);
}

void
postgres_sync(struct postgres *postgres)
{
    if (PQpipelineSync(postgres->connection) == 1)
        postgres->rounds_sent++;
}

int
postgres_fd(const struct postgres *postgres)
{
    return PQsocket(postgres->connection);
}

const char *
postgres_error(const struct postgres *postgres)
{
    return PQerrorMessage(postgres->connection);
}

int
postgres_advance(struct postgres *postgres, bool readable, bool *ret_wants_room)
{
    if (readable && PQconsumeInput(postgres->connection) != 1)
        return -1;
    int left = PQflush(postgres->connection);
    if (left < 0 || PQstatus(postgres->connection) != CONNECTION_OK)
        return -1;
    *ret_wants_room = left == 1;
    return 0;
}

static int64_t
cell(const PGresult *result, int column)
{
    if (PQntuples(result) == 0 || column >= PQnfields(result))
        return 0;
    return strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

/* What is too long is cut. */
static void
text_keep(char *to, size_t room, const char *text)
{
    size_t size = text != NULL ? strnlen(text, room - 1) : 0;
    if (size > 0)
        memcpy(to, text, size);
    to[size] = '\0';
}

static void
result_keep(struct postgres_round *round, const PGresult *result)
{
    assert(round->count < POSTGRES_ROUND_MAX);
    struct postgres_result *kept = &round->results[round->count++];
    kept->failed = !result_is_good(result);
    kept->rows = (uint32_t)PQntuples(result);
    kept->value[0] = cell(result, 0);
    kept->value[1] = cell(result, 1);
    const char *sqlstate = kept->failed ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    text_keep(kept->sqlstate, sizeof kept->sqlstate, sqlstate);
    text_keep(kept->text, sizeof kept->text,
              kept->failed     ? PQresultErrorMessage(result)
              : kept->rows > 0 ? PQgetvalue(result, 0, 0)
                               : NULL);
}

int
postgres_round(struct postgres *postgres, struct postgres_round *ret_round)
{
    while (postgres->rounds_sent > 0 && !PQisBusy(postgres->connection)) {
        PGresult *result = PQgetResult(postgres->connection);
        if (result == NULL) /* between two statements */
            continue;
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_PIPELINE_SYNC)
            result_keep(&postgres->round, result);
        PQclear(result);
        if (PQstatus(postgres->connection) != CONNECTION_OK)
            return -1;
        if (status == PGRES_PIPELINE_SYNC) {
            postgres->rounds_sent--;
            *ret_round = postgres->round;
            postgres->round.count = 0;
            return 1;
        }
    }
    return 0;
}

bool
postgres_run(const char *connection, const char *sql, int64_t *ret_number, char *ret_error)
{
    struct postgres *postgres = postgres_open(connection, ret_error);
    if (postgres == NULL)
        return false;
    PGresult *result = PQexec(postgres->connection, sql);
    bool good = result_is_good(result);
    if (!good)
        snprintf(ret_error, POSTGRES_ERROR_SIZE, "%s", PQresultErrorMessage(result));
    else if (ret_number != NULL)
        *ret_number = cell(result, 0);
    PQclear(result);
    postgres_close(postgres);
    return good;
}
