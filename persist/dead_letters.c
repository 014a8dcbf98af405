/*
 * dead_letters.c - `holdfast outbox list|show|requeue|drop`: what Kafka has refused for good, and what
 * becomes of it.
 *
 * The relay moves such events to holdfast.outbox_dead (outbox_relay.c). requeue puts them back at the end
 * of the outbox, with the same id: so that consumers know them again, and behind everything that is there,
 * as the watermark has passed their old position. It locks the outbox against inserts for that moment:
 * positions ascend in the order of commits, or the relay would pass over one that becomes visible late.
 *
 * Each command is one transaction: of several ids either all are done or, if one is not there, none.
 */
#include "persist/dead_letters.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "persist/pg_binary.h"

#define LIST_MAX 1000u
#define IDS_MAX  1000u
#define WAIT_MS  30000u

static const char usage[] =
    "usage: holdfast outbox list [--json]           events that kafka has refused for good, the oldest "
    "first\n"
    "       holdfast outbox show ID...              all of them, with payload and reason\n"
    "       holdfast outbox requeue ID...|--all     publish again: at the end of the outbox, with the same "
    "id\n"
    "       holdfast outbox drop ID...|--all        forget; the row is gone\n"
    "\n"
    "--pg URI names the database (or HOLDFAST_PERSIST_POSTGRES); a password comes from PGPASSFILE or "
    "PGPASSWORD.\n"
    "Of several ids all are done, or none where one is not there. Exit codes: 0 done, 1 failed, 2 usage.\n";

static const struct pg_statement list_statement = {
    "outbox_list",
    "SELECT id::text, type, aggregatetype || ' ' || aggregateid, attempts::text,"
    " to_char(died_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), reason,"
    " (to_jsonb(d) - 'payload')::text FROM holdfast.outbox_dead AS d ORDER BY died_at, id LIMIT $1::bigint",
};
static const struct pg_statement count_statement = {
    "outbox_count",
    "SELECT count(*) FROM holdfast.outbox_dead",
};
static const struct pg_statement show_statement = {
    "outbox_show",
    "SELECT jsonb_pretty(to_jsonb(d)) FROM holdfast.outbox_dead AS d"
    " WHERE id::text = ANY ($1::text[]) ORDER BY died_at, id",
};

/* The second parameter: all, whatever the ids. */
#define CHOSEN "(id::text = ANY ($1::text[]) OR $2::bigint = 1)"

static const struct pg_statement requeue_statement = {
    "outbox_requeue",
    "WITH back AS (DELETE FROM holdfast.outbox_dead WHERE " CHOSEN " RETURNING *), again AS (INSERT INTO"
    " holdfast.outbox (seq, created_at, shard, id, aggregatetype, aggregateid, type, trace_id, "
    "traceparent, request_id,"
    " payload) SELECT seq, created_at, shard, id, aggregatetype, aggregateid, type, trace_id, traceparent, "
    "request_id,"
    " payload FROM back ORDER BY died_at, shard, seq, id RETURNING true) SELECT count(*) FROM again",
};
static const struct pg_statement drop_statement = {
    "outbox_drop",
    "WITH gone AS (DELETE FROM holdfast.outbox_dead WHERE " CHOSEN
    " RETURNING true) SELECT count(*) FROM gone",
};

struct request {
    const char *uri;
    const char *verb;
    bool all;
    bool json;
    uint32_t id_count;
    char ids[IDS_MAX][UUID_TEXT_SIZE + 1];
};

static int
wrong_usage(const char *what, const char *about)
{
    (void)fprintf(stderr, "holdfast outbox: %s%s\n\n%s", what, about, usage);
    return 2;
}

static int
failed(const struct pg_error *error)
{
    (void)fprintf(stderr, "holdfast outbox: %s\n", error->text);
    if (strcmp(error->sqlstate, "42P01") == 0 || strcmp(error->sqlstate, "3F000") == 0)
        (void)fprintf(
            stderr,
            "is this Holdfast's database? `holdfast persist --migrate --pg URI` makes its tables\n");
    return 1;
}

/* Lower case, as PostgreSQL writes it. False: not an id. */
static bool
take_id(struct request *request, const char *text)
{
    if (strlen(text) != UUID_TEXT_SIZE || request->id_count == IDS_MAX)
        return false;
    char *id = request->ids[request->id_count];
    for (size_t i = 0; i < UUID_TEXT_SIZE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        id[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
        if (dash ? id[i] != '-' : strchr("0123456789abcdef", id[i]) == NULL)
            return false;
    }
    for (uint32_t i = 0; i < request->id_count; i++)
        if (strcmp(request->ids[i], id) == 0)
            return true; /* named twice */
    request->id_count++;
    return true;
}

static struct pg_value
chosen_ids(const struct request *request, struct pg_bytes *array)
{
    pg_array_begin(array, PG_TEXT);
    for (uint32_t i = 0; i < request->id_count; i++)
        pg_put_text(array, (struct bytes){request->ids[i], UUID_TEXT_SIZE});
    return pg_array_end(array, request->id_count);
}

static void
print_text(const struct pg_rows *rows, uint32_t row, uint32_t column, const char *behind)
{
    struct pg_value value = pg_rows_value(rows, row, column);
    (void)fwrite(value.data, 1, value.size, stdout); /* looked at by ferror() at the end */
    (void)fputs(behind, stdout);
}

static int
list(struct pg *pg, const struct request *request)
{
    struct pg_error error;
    struct pg_rows *rows;
    struct pg_rows *counted;
    struct pg_int8 place;
    const struct pg_value values[] = {pg_int8_value(&place, LIST_MAX)};
    if (!pg_query(pg, &list_statement, 1, values, &rows, &error))
        return failed(&error);
    uint32_t count = pg_rows_count(rows);
    for (uint32_t i = 0; i < count; i++) {
        if (request->json) {
            print_text(rows, i, 6, "\n");
            continue;
        }
        for (uint32_t column = 0; column < 6; column++)
            print_text(rows, i, column, column < 5 ? "\t" : "\n");
    }
    pg_rows_free(rows);
    if (!pg_query(pg, &count_statement, 0, NULL, &counted, &error))
        return failed(&error);
    long long total = pg_get_int64(pg_rows_value(counted, 0, 0));
    pg_rows_free(counted);
    (void)fprintf(stderr, total > count ? "%lld dead; the first %u are shown\n" : "%lld dead\n", total,
                  count);
    return 0;
}

static int
show(struct pg *pg, const struct request *request, struct pg_bytes *array)
{
    struct pg_error error;
    struct pg_rows *rows;
    const struct pg_value values[] = {chosen_ids(request, array)};
    if (!pg_query(pg, &show_statement, 1, values, &rows, &error))
        return failed(&error);
    uint32_t count = pg_rows_count(rows);
    for (uint32_t i = 0; i < count; i++)
        print_text(rows, i, 0, "\n");
    pg_rows_free(rows);
    if (count == request->id_count)
        return 0;
    (void)fprintf(stderr, "holdfast outbox: %u of %u are not among the dead\n", request->id_count - count,
                  request->id_count);
    return 1;
}

/* requeue and drop. */
static int
change(struct pg *pg, const struct request *request, struct pg_bytes *array,
       const struct pg_statement *statement, const char *done)
{
    struct pg_error error;
    struct pg_rows *rows;
    struct pg_int8 place;
    const struct pg_value values[] = {chosen_ids(request, array), pg_int8_value(&place, request->all)};
    if (!pg_run(pg, "BEGIN; LOCK TABLE holdfast.outbox IN SHARE ROW EXCLUSIVE MODE", &error) ||
        !pg_query(pg, statement, 2, values, &rows, &error))
        return failed(&error); /* the connection's end rolls it back */
    long long count = pg_get_int64(pg_rows_value(rows, 0, 0));
    pg_rows_free(rows);
    if (!request->all && count != request->id_count) {
        (void)fprintf(stderr, "holdfast outbox: %lld of %u are not among the dead; nothing was changed\n",
                      request->id_count - count, request->id_count);
        return 1;
    }
    if (!pg_run(pg, "COMMIT", &error)) {
        (void)fprintf(stderr,
                      "holdfast outbox: whether it was done is not known; see `holdfast outbox list`\n");
        return failed(&error);
    }
    (void)printf("%lld %s\n", count, done);
    return 0;
}

static int
carry_out(const struct request *request)
{
    const struct pg_settings settings = {
        .uri = request->uri, .application = "holdfast outbox", .connect_seconds = 10, .wait_ms = WAIT_MS};
    struct pg_error error;
    struct pg_bytes array = {0};
    struct pg *pg;
    if (!pg_connect(&settings, &pg, &error))
        return failed(&error);
    int result;
    if (strcmp(request->verb, "list") == 0)
        result = list(pg, request);
    else if (strcmp(request->verb, "show") == 0)
        result = show(pg, request, &array);
    else if (strcmp(request->verb, "requeue") == 0)
        result = change(pg, request, &array, &requeue_statement, "requeued");
    else
        result = change(pg, request, &array, &drop_statement, "dropped");
    pg_close(pg);
    pg_bytes_done(&array);
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fprintf(stderr, "holdfast outbox: could not write to standard output\n");
        return 1;
    }
    return result;
}

static int
read_arguments(int argc, char **argv, struct request *request)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--pg") == 0 && i + 1 < argc)
            request->uri = argv[++i];
        else if (strncmp(argv[i], "--pg=", 5) == 0)
            request->uri = argv[i] + 5;
        else if (strcmp(argv[i], "--all") == 0)
            request->all = true;
        else if (strcmp(argv[i], "--json") == 0)
            request->json = true;
        else if (argv[i][0] == '-')
            return wrong_usage("not known, or without its value: ", argv[i]);
        else if (request->verb == NULL)
            request->verb = argv[i];
        else if (!take_id(request, argv[i]))
            return wrong_usage("expected the id of an event (a UUID), at most 1000 of them, not ", argv[i]);
    }
    const char *verb = request->verb == NULL ? "" : request->verb;
    bool lists = strcmp(verb, "list") == 0;
    bool shows = strcmp(verb, "show") == 0;
    bool changes = strcmp(verb, "requeue") == 0 || strcmp(verb, "drop") == 0;
    if (!lists && !shows && !changes)
        return wrong_usage("expected list, show, requeue or drop, not ", verb);
    if ((request->json && !lists) || (request->all && !changes))
        return wrong_usage("not for this command: ", request->json && !lists ? "--json" : "--all");
    if (lists ? request->id_count > 0 : (request->id_count > 0) == request->all)
        return wrong_usage(lists ? "no ids are expected for " : "expected ids, or (not show) --all, for ",
                           verb);
    if (request->uri == NULL || request->uri[0] == '\0')
        return wrong_usage("--pg URI is missing", "");
    const char *wrong = pg_uri_wrong(request->uri);
    return wrong != NULL ? wrong_usage("--pg: ", wrong) : 0;
}

int
outbox_main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        (void)fprintf(stderr, "holdfast outbox: no memory\n");
        return 1;
    }
    request->uri = getenv("HOLDFAST_PERSIST_POSTGRES");
    int result = read_arguments(argc, argv, request);
    if (result == 0)
        result = carry_out(request);
    free(request);
    return result;
}
