/*
 * pg.c - one connection to PostgreSQL through libpq.
 *
 * libpq is used in its non-blocking form only: what is to be sent is queued, pump() moves bytes both ways
 * and waits in poll(2) until there is a result, a stop is asked for, or the server has been silent for too
 * long. So no call can hang, and a large COPY never deadlocks with a server that has something to say.
 *
 * What is transient and what is permanent is decided in one place, by SQLSTATE: kind_of().
 *
 * libpq's messages can name the host and the user; a password they do not. They come with line ends, and
 * are made one line.
 */
#include "persist/pg.h"

#include <assert.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATEMENTS_MAX 64
#define LOOK_MS        100 /* how often a wait looks for a stop */
#define SQLSTATE_SIZE  5

struct pg {
    PGconn *conn;
    const atomic_bool *stop;
    uint32_t wait_ms;
    bool dead;
    uint32_t prepared_count;
    const struct pg_statement *prepared[STATEMENTS_MAX];
    /* A pipeline: results that are still to come. */
    uint32_t pending;
};

/* ---- errors ---- */

static bool
is_class(const char *sqlstate, const char *class)
{
    return memcmp(sqlstate, class, 2) == 0;
}

static enum pg_kind
kind_of(const char *sqlstate)
{
    static const char *const transient_classes[] = {"08", "40", "53", "55", "57", "58"};
    if (strcmp(sqlstate, "25006") == 0) /* read_only_sql_transaction: it has become a standby */
        return PG_TRANSIENT;
    for (size_t i = 0; i < sizeof transient_classes / sizeof transient_classes[0]; i++)
        if (is_class(sqlstate, transient_classes[i]))
            return PG_TRANSIENT;
    return PG_PERMANENT;
}

/* One line without an end. */
static void
error_text(struct pg_error *error, const char *text)
{
    size_t size = 0;
    bool gap = false;
    for (; *text != '\0' && size + 2 < sizeof error->text; text++) {
        if (*text == '\n' || *text == '\t' || *text == ' ') {
            gap = size > 0;
            continue;
        }
        if (gap)
            error->text[size++] = ' ';
        gap = false;
        error->text[size++] = *text;
    }
    error->text[size] = '\0';
}

static bool
fail_words(struct pg_error *ret_error, enum pg_kind kind, const char *text)
{
    *ret_error = (struct pg_error){.kind = kind};
    error_text(ret_error, text);
    return false;
}

/* Something between us and the server: the connection is of no more use. */
static bool
fail_connection(struct pg *pg, struct pg_error *ret_error, const char *text)
{
    pg->dead = true;
    return fail_words(ret_error, PG_TRANSIENT, text[0] != '\0' ? text : "the connection was lost");
}

static bool
fail_result(struct pg *pg, const PGresult *result, struct pg_error *ret_error)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate == NULL || strlen(sqlstate) != SQLSTATE_SIZE)
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    *ret_error = (struct pg_error){.kind = kind_of(sqlstate)};
    memcpy(ret_error->sqlstate, sqlstate, SQLSTATE_SIZE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    char text[PG_TEXT_SIZE_MAX];
    (void)snprintf(text, sizeof text, "%s%s%s", primary != NULL ? primary : "refused",
                   detail != NULL ? ": " : "", detail != NULL ? detail : ""); /* cut where too long */
    error_text(ret_error, text);
    /* the server says so before it ends the session */
    if (is_class(sqlstate, "57") && strcmp(sqlstate, "57014") != 0)
        pg->dead = true;
    return false;
}

/* ---- waiting ---- */

static uint64_t
clock_ms(void)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(result == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits until the socket is ready for `events`, at most until deadline_ms. */
static bool
wait_for(struct pg *pg, short events, uint64_t deadline_ms, struct pg_error *ret_error)
{
    struct pollfd wait = {.fd = PQsocket(pg->conn), .events = events};
    if (wait.fd < 0)
        return fail_connection(pg, ret_error, "the connection was lost");
    for (;;) {
        /* acquire: whoever asks for the stop may have said why before */
        if (pg->stop != NULL && atomic_load_explicit(pg->stop, memory_order_acquire))
            return fail_connection(pg, ret_error, "stopped while waiting for PostgreSQL");
        uint64_t now_ms = clock_ms();
        if (now_ms >= deadline_ms)
            return fail_connection(pg, ret_error, "PostgreSQL did not answer in time");
        uint64_t left_ms = deadline_ms - now_ms;
        int ready = poll(&wait, 1, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return fail_connection(pg, ret_error, strerror(errno));
    }
}

/* Moves bytes both ways until a result is there, or (flush_only) until all is sent. */
static bool
pump(struct pg *pg, bool flush_only, struct pg_error *ret_error)
{
    uint64_t deadline_ms = clock_ms() + pg->wait_ms;
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent < 0)
            return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
        if (flush_only ? unsent == 0 : !PQisBusy(pg->conn))
            return true;
        if (!wait_for(pg, unsent > 0 ? POLLIN | POLLOUT : POLLIN, deadline_ms, ret_error))
            return false;
        if (!PQconsumeInput(pg->conn))
            return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    }
}

static bool
next_result(struct pg *pg, PGresult **ret_result, struct pg_error *ret_error)
{
    if (!pump(pg, false, ret_error))
        return false;
    *ret_result = PQgetResult(pg->conn);
    return true;
}

static bool
is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY ||
           status == PGRES_COPY_IN;
}

/* All results of what was sent; the last one that is good is the caller's where it is asked for. The first
 * error counts. */
static bool
all_results(struct pg *pg, PGresult **ret_result, struct pg_error *ret_error)
{
    PGresult *result = NULL, *last = NULL;
    struct pg_error dropped;
    bool good = true;
    for (;;) {
        if (!next_result(pg, &result, good ? ret_error : &dropped)) {
            PQclear(last);
            return false;
        }
        if (result == NULL)
            break;
        if (!is_good(result) && good)
            good = fail_result(pg, result, ret_error);
        PQclear(last);
        last = result;
        if (pg->dead || PQresultStatus(result) == PGRES_COPY_IN)
            break;
    }
    if (!good || ret_result == NULL) {
        PQclear(last);
        return good;
    }
    *ret_result = last;
    return true;
}

/* ---- connecting ---- */

const char *
pg_uri_wrong(const char *uri)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(uri, &message);
    PQfreemem(message); /* it may quote the text, and with it a password */
    if (options == NULL)
        return "it is neither a URI like postgresql://user@host:5432/database nor a list of key=value";
    const char *wrong = NULL;
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
        if (strcmp(option->keyword, "password") == 0 && option->val != NULL)
            wrong = "it has a password in it, which others can read there: put it into a file of mode 0600 "
                    "named by "
                    "PGPASSFILE, or into PGPASSWORD";
    PQconninfoFree(options);
    return wrong;
}

void
pg_uri_text(const char *uri, char *ret_text, size_t size)
{
    const char *host = NULL, *port = NULL, *database = NULL;
    PQconninfoOption *given = PQconninfoParse(uri, NULL);
    PQconninfoOption *standard = PQconndefaults();
    PQconninfoOption *const sources[] = {given, standard};
    for (size_t i = 0; i < 2; i++) {
        for (const PQconninfoOption *option = sources[i]; option != NULL && option->keyword != NULL;
             option++) {
            if (option->val == NULL || option->val[0] == '\0')
                continue;
            if (host == NULL && strcmp(option->keyword, "host") == 0)
                host = option->val;
            if (port == NULL && strcmp(option->keyword, "port") == 0)
                port = option->val;
            if (database == NULL && strcmp(option->keyword, "dbname") == 0)
                database = option->val;
        }
    }
    (void)snprintf(ret_text, size, "database '%s' on %s port %s",
                   database != NULL ? database : "(the user's)", host != NULL ? host : "the local socket",
                   port != NULL ? port : "5432"); /* cut where too long */
    PQconninfoFree(given);
    PQconninfoFree(standard);
}

static bool
connect_poll(struct pg *pg, uint32_t connect_seconds, struct pg_error *ret_error)
{
    uint64_t deadline_ms = clock_ms() + (uint64_t)connect_seconds * 1000;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED) {
            /* libpq gives no SQLSTATE here: what the server's words say is for a person */
            (void)fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
            static const char *const permanent[] = {
                "authentication failed", "no password supplied",           "does not exist",
                "pg_hba.conf",           "permission denied for database", "not permitted to log in"};
            for (size_t i = 0; i < sizeof permanent / sizeof permanent[0]; i++)
                if (strstr(ret_error->text, permanent[i]) != NULL)
                    ret_error->kind = PG_PERMANENT;
            return false;
        }
        if (!wait_for(pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms, ret_error))
            return false;
        status = PQconnectPoll(pg->conn);
    }
    return true;
}

static void
be_silent(void *context, const PGresult *result)
{
    (void)context;
    (void)result; /* "relation exists, skipping" is no news */
}

bool
pg_connect(const struct pg_settings *settings, struct pg **ret_pg, struct pg_error *ret_error)
{
    /* dbname may be a whole URI (expand_dbname); what stands behind it is stronger */
    const char *const keywords[] = {
        "dbname", "application_name", "client_encoding", "keepalives_idle", "tcp_user_timeout", "options",
        NULL};
    const char *const values[] = {
        settings->uri, settings->application, "UTF8", "10", "30000", "-c datestyle=ISO -c timezone=UTC",
        NULL};
    const char *wrong = pg_uri_wrong(settings->uri);
    if (wrong != NULL)
        return fail_words(ret_error, PG_PERMANENT, wrong);
    struct pg *pg = calloc(1, sizeof *pg);
    if (pg == NULL)
        return fail_words(ret_error, PG_TRANSIENT, "no memory");
    pg->stop = settings->stop;
    pg->wait_ms = settings->wait_ms;
    pg->conn = PQconnectStartParams(keywords, values, 1);
    bool good = pg->conn != NULL && PQstatus(pg->conn) != CONNECTION_BAD;
    if (!good)
        (void)fail_words(ret_error, PG_PERMANENT,
                         pg->conn != NULL ? PQerrorMessage(pg->conn) : "no memory");
    if (good)
        good = connect_poll(pg, settings->connect_seconds, ret_error);
    if (good && PQsetnonblocking(pg->conn, 1) != 0)
        good = fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    if (good && PQserverVersion(pg->conn) < PG_SERVER_OLDEST) {
        char text[160];
        (void)snprintf(
            text, sizeof text,
            "the server is PostgreSQL %d, and %d is the oldest that will do: upgrade it, or name "
            "another one",
            PQserverVersion(pg->conn) / 10000, PG_SERVER_OLDEST / 10000); /* fits */
        good = fail_words(ret_error, PG_PERMANENT, text);
    }
    if (!good) {
        pg_close(pg);
        return false;
    }
    (void)PQsetNoticeReceiver(pg->conn, be_silent, NULL); /* the one before is libpq's own */
    *ret_pg = pg;
    return true;
}

void
pg_close(struct pg *pg)
{
    if (pg == NULL)
        return;
    PQfinish(pg->conn);
    free(pg);
}

bool
pg_alive(const struct pg *pg)
{
    return pg != NULL && !pg->dead && PQstatus(pg->conn) == CONNECTION_OK;
}

uint32_t
pg_server_version(const struct pg *pg)
{
    return (uint32_t)PQserverVersion(pg->conn);
}

uint32_t
pg_backend_pid(const struct pg *pg)
{
    return (uint32_t)PQbackendPID(pg->conn);
}

/* ---- commands ---- */

bool
pg_idle(struct pg *pg, uint32_t ms, struct pg_error *ret_error)
{
    struct pollfd wait = {.fd = PQsocket(pg->conn), .events = POLLIN};
    /* the server's last words are a readable socket, too: PQconsumeInput() takes them, and then finds the
     * end */
    if (poll(&wait, 1, (int)ms) > 0 && (!PQconsumeInput(pg->conn) || PQstatus(pg->conn) == CONNECTION_BAD))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    return true;
}

bool
pg_run(struct pg *pg, const char *sql, struct pg_error *ret_error)
{
    if (!PQsendQuery(pg->conn, sql))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    return all_results(pg, NULL, ret_error);
}

static bool
is_prepared(const struct pg *pg, const struct pg_statement *statement)
{
    for (uint32_t i = 0; i < pg->prepared_count; i++)
        if (pg->prepared[i] == statement)
            return true;
    return false;
}

static bool
send_statement(struct pg *pg, const struct pg_statement *statement, uint32_t count,
               const struct pg_value values[], struct pg_error *ret_error)
{
    const char *data[PG_VALUES_MAX];
    int sizes[PG_VALUES_MAX];
    int formats[PG_VALUES_MAX];
    assert(count <= PG_VALUES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        data[i] = values[i].data;
        sizes[i] = (int)values[i].size;
        formats[i] = 1;
    }
    if (!PQsendQueryPrepared(pg->conn, statement->name, (int)count, data, sizes, formats, 1))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    return true;
}

static bool
prepare(struct pg *pg, const struct pg_statement *statement, struct pg_error *ret_error)
{
    assert(pg->prepared_count < STATEMENTS_MAX);
    if (!PQsendPrepare(pg->conn, statement->name, statement->sql, 0, NULL))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    if (!all_results(pg, NULL, ret_error))
        return false;
    pg->prepared[pg->prepared_count++] = statement;
    return true;
}

bool
pg_query(struct pg *pg, const struct pg_statement *statement, uint32_t count,
         const struct pg_value values[], struct pg_rows **ret_rows, struct pg_error *ret_error)
{
    PGresult *result = NULL;
    if (!is_prepared(pg, statement) && !prepare(pg, statement, ret_error))
        return false;
    if (!send_statement(pg, statement, count, values, ret_error))
        return false;
    if (!all_results(pg, ret_rows != NULL ? &result : NULL, ret_error))
        return false;
    if (ret_rows != NULL)
        *ret_rows = (struct pg_rows *)result;
    return true;
}

/* ---- a pipeline ---- */

bool
pg_pipeline_begin(struct pg *pg, struct pg_error *ret_error)
{
    if (!PQenterPipelineMode(pg->conn))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    pg->pending = 0;
    return true;
}

bool
pg_pipeline_add(struct pg *pg, const struct pg_statement *statement, uint32_t count,
                const struct pg_value values[], struct pg_error *ret_error)
{
    if (!is_prepared(pg, statement)) {
        assert(pg->prepared_count < STATEMENTS_MAX);
        if (!PQsendPrepare(pg->conn, statement->name, statement->sql, 0, NULL))
            return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
        /* where it fails the session is ended, see pg_pipeline_end() */
        pg->prepared[pg->prepared_count++] = statement;
        pg->pending++;
    }
    if (!send_statement(pg, statement, count, values, ret_error))
        return false;
    pg->pending++;
    return pump(pg, true, ret_error);
}

bool
pg_pipeline_end(struct pg *pg, struct pg_error *ret_error)
{
    PGresult *result;
    struct pg_error dropped;
    bool good = true;
    if (!PQpipelineSync(pg->conn))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    /* each statement: a result and a NULL; then the synchronisation */
    for (uint32_t left = pg->pending; left > 0;) {
        if (!next_result(pg, &result, good ? ret_error : &dropped))
            return false;
        if (result == NULL) {
            left--;
            continue;
        }
        ExecStatusType status = PQresultStatus(result);
        if (good && status == PGRES_PIPELINE_ABORTED)
            good = fail_words(ret_error, PG_TRANSIENT, "an earlier statement of the pipeline has failed");
        else if (good && !is_good(result))
            good = fail_result(pg, result, ret_error);
        PQclear(result);
        if (pg->dead)
            return false;
    }
    if (!next_result(pg, &result, good ? ret_error : &dropped))
        return false;
    bool synced = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    PQclear(result);
    if (!synced || !PQexitPipelineMode(pg->conn))
        return fail_connection(pg, good ? ret_error : &dropped, PQerrorMessage(pg->conn));
    if (!good)
        pg->prepared_count = 0; /* some may not have been prepared: ask anew, under names that are free */
    if (!good && PQtransactionStatus(pg->conn) != PQTRANS_UNKNOWN)
        return pg_run(pg, "ROLLBACK; DEALLOCATE ALL", &dropped) && good;
    return good;
}

/* ---- COPY ---- */

bool
pg_copy_begin(struct pg *pg, const char *sql, struct pg_error *ret_error)
{
    if (!PQsendQuery(pg->conn, sql))
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    PGresult *result;
    if (!all_results(pg, &result, ret_error))
        return false;
    bool good = PQresultStatus(result) == PGRES_COPY_IN;
    PQclear(result);
    return good || fail_connection(pg, ret_error, "the command is no COPY FROM STDIN");
}

bool
pg_copy_put(struct pg *pg, const void *data, size_t size, struct pg_error *ret_error)
{
    const char *at = data;
    while (size > 0) {
        int piece = size < (1u << 20) ? (int)size : 1 << 20;
        if (PQputCopyData(pg->conn, at, piece) != 1)
            return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
        if (!pump(pg, true, ret_error)) /* bounded: nothing piles up in libpq */
            return false;
        at += piece;
        size -= (size_t)piece;
    }
    return true;
}

bool
pg_copy_end(struct pg *pg, struct pg_error *ret_error)
{
    if (PQputCopyEnd(pg->conn, NULL) != 1)
        return fail_connection(pg, ret_error, PQerrorMessage(pg->conn));
    return all_results(pg, NULL, ret_error);
}

/* ---- streams ---- */

bool
pg_stream_begin(struct pg *pg, const struct pg_statement *statement, uint32_t count,
                const struct pg_value values[], struct pg_error *ret_error)
{
    if (!is_prepared(pg, statement) && !prepare(pg, statement, ret_error))
        return false;
    if (!send_statement(pg, statement, count, values, ret_error))
        return false;
    if (!PQsetSingleRowMode(pg->conn))
        return fail_connection(pg, ret_error, "rows cannot be read one by one");
    return true;
}

bool
pg_stream_next(struct pg *pg, struct pg_rows **ret_rows, struct pg_error *ret_error)
{
    PGresult *result;
    *ret_rows = NULL;
    if (!next_result(pg, &result, ret_error))
        return false;
    if (result == NULL)
        return true;
    if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) {
        *ret_rows = (struct pg_rows *)result;
        return true;
    }
    bool good = is_good(result);
    if (!good)
        (void)fail_result(pg, result, ret_error);
    PQclear(result);
    struct pg_error dropped;
    if (!pg->dead && !all_results(pg, NULL, &dropped)) /* the end of the results */
        return good ? fail_words(ret_error, dropped.kind, dropped.text) : false;
    return good;
}

/* ---- rows: a PGresult under another name ---- */

uint32_t
pg_rows_count(const struct pg_rows *rows)
{
    return (uint32_t)PQntuples((const PGresult *)rows);
}

struct pg_value
pg_rows_value(const struct pg_rows *rows, uint32_t row, uint32_t column)
{
    const PGresult *result = (const PGresult *)rows;
    if (PQgetisnull(result, (int)row, (int)column))
        return (struct pg_value){NULL, 0};
    return (struct pg_value){PQgetvalue(result, (int)row, (int)column),
                             (uint32_t)PQgetlength(result, (int)row, (int)column)};
}

void
pg_rows_free(struct pg_rows *rows)
{
    PQclear((PGresult *)rows);
}
