/*
 * outbox_store.c - the outbox in PostgreSQL, as the relay's store.
 *
 * Rows come as PostgreSQL writes them (ids and payloads as text: what a consumer gets is the jsonb's own
 * text, byte for byte), and lie where libpq has put them until the relay releases them: nothing is copied.
 *
 * settle() is one statement, so one transaction: the watermark moves if it still stands where this relay
 * believes it, and only then the dead go from outbox to outbox_dead.
 */
#include "persist/outbox_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "persist/pg_binary.h"

static const struct pg_statement load_statement = {
    "relay_load",
    "SELECT position, coalesce(cluster, '') FROM holdfast.relay",
};

/* The first row always, then those whose predecessors are smaller together than the third parameter (as
 * they are stored, which is cheap to know). */
static const struct pg_statement read_statement = {
    "relay_read",
    "SELECT position, created_at, id::text, aggregatetype, aggregateid, type, payload::text, seq::text, "
    "traceparent,"
    " request_id, trace_id FROM (SELECT *, sum(pg_column_size(payload)) OVER (ORDER BY position) -"
    " pg_column_size(payload) AS before FROM holdfast.outbox WHERE position > $1::bigint"
    " ORDER BY position LIMIT $2::bigint) AS next WHERE before < $3::bigint ORDER BY position",
};

static const struct pg_statement settle_statement = {
    "relay_settle",
    "UPDATE holdfast.relay SET position = $2::bigint, updated_at = clock_timestamp() WHERE position = "
    "$1::bigint"
    " RETURNING true",
};

static const struct pg_statement bury_statement = {
    "relay_bury",
    "WITH moved AS (UPDATE holdfast.relay SET position = $2::bigint, updated_at = clock_timestamp()"
    " WHERE position = $1::bigint RETURNING true),"
    " letter AS (SELECT * FROM unnest($3::bigint[], $4::text[], $5::int[]) AS l (position, reason, "
    "attempts)),"
    " gone AS (DELETE FROM holdfast.outbox AS o USING letter WHERE o.position = letter.position"
    " AND EXISTS (SELECT FROM moved) RETURNING o.*, letter.reason, letter.attempts),"
    " buried AS (INSERT INTO holdfast.outbox_dead (seq, created_at, shard, attempts, id, aggregatetype, "
    "aggregateid,"
    " type, trace_id, traceparent, request_id, payload, reason) SELECT seq, created_at, shard, attempts, "
    "id,"
    " aggregatetype, aggregateid, type, trace_id, traceparent, request_id, payload, reason FROM gone)"
    " SELECT true FROM moved",
};

static const struct pg_statement name_statement = {
    "relay_name_cluster",
    "UPDATE holdfast.relay SET cluster = $2::text, updated_at = clock_timestamp()"
    " WHERE coalesce(cluster, '') = $1::text RETURNING true",
};

/* Only the first rows are looked at, old or not: they are the oldest. */
static const struct pg_statement prune_statement = {
    "relay_prune",
    "WITH first AS (SELECT position, created_at FROM holdfast.outbox WHERE position <= $1::bigint"
    " ORDER BY position LIMIT $3::bigint),"
    " gone AS (DELETE FROM holdfast.outbox AS o USING first WHERE o.position = first.position"
    " AND first.created_at < now() - make_interval(secs => $2::bigint) RETURNING true) SELECT count(*) "
    "FROM gone",
};

enum read_column {
    COLUMN_POSITION,
    COLUMN_CREATED_AT,
    COLUMN_ID,
    COLUMN_AGGREGATETYPE,
    COLUMN_AGGREGATEID,
    COLUMN_TYPE,
    COLUMN_PAYLOAD,
    COLUMN_SEQ,
    COLUMN_TRACEPARENT,
    COLUMN_REQUEST_ID,
    COLUMN_TRACE_ID,
};

struct pg_store {
    struct pg_settings settings;
    struct pg *pg; /* NULL: not connected */
    struct pg_bytes positions;
    struct pg_bytes reasons;
    struct pg_bytes attempts;
    char why[PG_TEXT_SIZE_MAX];
};

/* The relay's view of rows, which lie in the query's. */
struct read_rows {
    struct outbox_rows outbox; /* first: the relay has its address */
    struct pg_rows *held;
};

static int
failed(struct pg_store *store, const struct pg_error *error)
{
    (void)snprintf(store->why, sizeof store->why, "%s", error->text);
    if (store->pg != NULL && !pg_alive(store->pg)) {
        pg_close(store->pg);
        store->pg = NULL;
    }
    return error->kind == PG_TRANSIENT ? -EAGAIN : -EIO;
}

static int
query(struct pg_store *store, const struct pg_statement *statement, uint32_t count,
      const struct pg_value values[], struct pg_rows **ret_rows)
{
    struct pg_error error;
    if (store->pg == NULL && !pg_connect(&store->settings, &store->pg, &error)) {
        store->pg = NULL;
        return failed(store, &error);
    }
    if (!pg_query(store->pg, statement, count, values, ret_rows, &error))
        return failed(store, &error);
    return 0;
}

static int
pg_store_load(void *context, int64_t *ret_watermark, char ret_cluster[CLUSTER_SIZE_MAX])
{
    struct pg_store *store = context;
    struct pg_rows *rows;
    int result = query(store, &load_statement, 0, NULL, &rows);
    if (result != 0)
        return result;
    if (pg_rows_count(rows) == 1) {
        *ret_watermark = pg_get_int64(pg_rows_value(rows, 0, 0));
        pg_get_text(pg_rows_value(rows, 0, 1), ret_cluster, CLUSTER_SIZE_MAX);
    } else {
        (void)snprintf(store->why, sizeof store->why, "holdfast.relay has no row: somebody has deleted it");
        result = -EIO;
    }
    pg_rows_free(rows);
    return result;
}

static struct bytes
text_of(const struct pg_rows *rows, uint32_t row, enum read_column column)
{
    struct pg_value value = pg_rows_value(rows, row, column);
    return (struct bytes){value.data, value.size};
}

static int
pg_store_read(void *context, int64_t after, uint32_t rows_max, uint64_t bytes_max,
              struct outbox_rows **ret_rows)
{
    struct pg_store *store = context;
    struct pg_int8 places[3];
    const struct pg_value values[] = {pg_int8_value(&places[0], after), pg_int8_value(&places[1], rows_max),
                                      pg_int8_value(&places[2], (int64_t)bytes_max)};
    struct pg_rows *held;
    int result = query(store, &read_statement, 3, values, &held);
    if (result != 0)
        return result;
    uint32_t count = pg_rows_count(held);
    struct read_rows *rows = calloc(1, sizeof *rows);
    struct outbox_row *row = calloc(count + 1, sizeof *row);
    if (rows == NULL || row == NULL) {
        pg_rows_free(held);
        free(rows);
        free(row);
        (void)snprintf(store->why, sizeof store->why, "no memory for rows of the outbox");
        return -EAGAIN;
    }
    for (uint32_t i = 0; i < count; i++) {
        row[i] = (struct outbox_row){
            .position = pg_get_int64(pg_rows_value(held, i, COLUMN_POSITION)),
            .created_ms = (int64_t)pg_get_time(pg_rows_value(held, i, COLUMN_CREATED_AT)),
            .id = text_of(held, i, COLUMN_ID),
            .aggregatetype = text_of(held, i, COLUMN_AGGREGATETYPE),
            .aggregateid = text_of(held, i, COLUMN_AGGREGATEID),
            .type = text_of(held, i, COLUMN_TYPE),
            .payload = text_of(held, i, COLUMN_PAYLOAD),
            .seq = text_of(held, i, COLUMN_SEQ),
            .traceparent = text_of(held, i, COLUMN_TRACEPARENT),
            .request_id = text_of(held, i, COLUMN_REQUEST_ID),
            .trace_id = text_of(held, i, COLUMN_TRACE_ID),
        };
    }
    /* cut by the bytes, it is never empty: then there is one more look */
    *rows = (struct read_rows){{row, count, count > 0}, held};
    *ret_rows = &rows->outbox;
    return 0;
}

static void
pg_store_release(void *context, struct outbox_rows *outbox)
{
    struct read_rows *rows = (struct read_rows *)outbox;
    (void)context;
    pg_rows_free(rows->held);
    free(rows->outbox.rows);
    free(rows);
}

/* One row says that it was done; none that somebody else was there before. */
static int
changed(int result, struct pg_rows *rows)
{
    if (result != 0)
        return result;
    uint32_t count = pg_rows_count(rows);
    pg_rows_free(rows);
    return count == 1 ? 0 : -ESTALE;
}

static int
pg_store_settle(void *context, int64_t from, int64_t to, const struct dead_letter *dead,
                uint32_t dead_count)
{
    struct pg_store *store = context;
    struct pg_int8 places[2];
    struct pg_rows *rows = NULL;
    struct pg_value values[5] = {pg_int8_value(&places[0], from), pg_int8_value(&places[1], to)};
    if (dead_count == 0) {
        int result = query(store, &settle_statement, 2, values, &rows);
        return changed(result, rows);
    }
    pg_array_begin(&store->positions, PG_INT8);
    pg_array_begin(&store->reasons, PG_TEXT);
    pg_array_begin(&store->attempts, PG_INT4);
    for (uint32_t i = 0; i < dead_count; i++) {
        pg_put_int8(&store->positions, dead[i].position);
        pg_put_text(&store->reasons, (struct bytes){dead[i].reason, (uint32_t)strlen(dead[i].reason)});
        pg_put_int4(&store->attempts, (int32_t)dead[i].attempts);
    }
    values[2] = pg_array_end(&store->positions, dead_count);
    values[3] = pg_array_end(&store->reasons, dead_count);
    values[4] = pg_array_end(&store->attempts, dead_count);
    if (store->positions.failed || store->reasons.failed || store->attempts.failed) {
        (void)snprintf(store->why, sizeof store->why, "no memory for dead letters");
        return -EAGAIN;
    }
    int result = query(store, &bury_statement, 5, values, &rows);
    return changed(result, rows);
}

static int
pg_store_name_cluster(void *context, const char *old, const char *cluster)
{
    struct pg_store *store = context;
    const struct pg_value values[] = {{old, (uint32_t)strlen(old)}, {cluster, (uint32_t)strlen(cluster)}};
    struct pg_rows *rows = NULL;
    int result = query(store, &name_statement, 2, values, &rows);
    return changed(result, rows);
}

static int
pg_store_prune(void *context, int64_t upto, uint64_t keep_seconds, uint32_t rows_max, uint32_t *ret_rows)
{
    struct pg_store *store = context;
    struct pg_int8 places[3];
    const struct pg_value values[] = {pg_int8_value(&places[0], upto),
                                      pg_int8_value(&places[1], (int64_t)keep_seconds),
                                      pg_int8_value(&places[2], rows_max)};
    struct pg_rows *rows;
    int result = query(store, &prune_statement, 3, values, &rows);
    if (result != 0)
        return result;
    *ret_rows = (uint32_t)pg_get_int64(pg_rows_value(rows, 0, 0));
    pg_rows_free(rows);
    return 0;
}

static const char *
pg_store_why(void *context)
{
    const struct pg_store *store = context;
    return store->why;
}

struct outbox_store
pg_store_outbox(struct pg_store *store)
{
    return (struct outbox_store){store,           pg_store_load,         pg_store_read,  pg_store_release,
                                 pg_store_settle, pg_store_name_cluster, pg_store_prune, pg_store_why};
}

struct pg_store *
pg_store_new(const struct pg_settings *settings)
{
    struct pg_store *store = calloc(1, sizeof *store);
    if (store != NULL)
        store->settings = *settings;
    return store;
}

void
pg_store_free(struct pg_store *store)
{
    if (store == NULL)
        return;
    pg_close(store->pg);
    pg_bytes_done(&store->positions);
    pg_bytes_done(&store->reasons);
    pg_bytes_done(&store->attempts);
    free(store);
}
