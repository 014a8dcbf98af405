/*
 * persister_write.c - one transaction:
 *
 *     BEGIN; step(n)            the cursor's row is ours, or another persister has moved it: error HF001,
 * nothing is done COPY                      new rows, of each table that has many pipeline new rows of the
 * other tables, changed rows, the cursor, COMMIT
 *
 * With few rows there is no COPY, and the whole transaction is one pipeline: one turn of the network. A
 * COPY costs a turn, but a row of it costs half of what one of unnest() does; decision 0009 has the
 * figures.
 *
 * Because the cursor moves in the same transaction, each record is carried exactly once: a new row is
 * inserted, not upserted, and a key that is there already is an error that should be seen. Only what
 * records of different journals change, a seat, goes by its version. Changed rows join unnest()ed arrays to
 * tables by their primary keys; so that this stays so whatever the tables' statistics say, the session may
 * not choose otherwise (writer_prepare).
 */
#include "persist/persister_write.h"

#include "core/route.h"
#include "persist/object_json.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 12

/* A statement's rows: column by column for unnest(), or row by row for COPY. */
struct rows {
    struct pg_bytes columns[COLUMNS_MAX]; /* COPY: all in the first */
    uint32_t count;
    bool copy;
};

struct table {
    const char *copy; /* NULL: never */
    struct pg_statement insert;
    uint16_t column_count;
    enum pg_type types[COLUMNS_MAX];
};

enum table_id {
    TABLE_HOLD,
    TABLE_HOLD_SEAT,
    TABLE_HOLD_POOL,
    TABLE_OUTBOX,
    TABLE_HOLD_CHANGED,
    TABLE_SEAT_MOVED,
    TABLE_SEAT,
    TABLE_TOKEN,
    TABLE_EVENT,
    TABLE_CURSOR,
    TABLE_COUNT,
};

static const struct table tables[TABLE_COUNT] = {
    [TABLE_HOLD] =
        {"COPY holdfast.hold (created_at, deadline, ended_at, id, event_id, user_id, state, payment_ref, "
         "request_id, "
         "trace_id) FROM STDIN (FORMAT binary)",
         {"hold_new",
          "INSERT INTO holdfast.hold (created_at, deadline, ended_at, id, event_id, user_id, state, "
          "payment_ref, "
          "request_id, trace_id) SELECT * FROM unnest($1::timestamptz[], $2::timestamptz[], "
          "$3::timestamptz[], "
          "$4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])"},
         10,
         {PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT,
          PG_TEXT, PG_TEXT}},
    [TABLE_HOLD_SEAT] =
        {"COPY holdfast.hold_seat (version, hold_id, place, event_id, seat) FROM STDIN (FORMAT binary)",
         {"hold_seat_new",
          "INSERT INTO holdfast.hold_seat (version, hold_id, place, event_id, seat) SELECT * FROM "
          "unnest($1::int8[], $2::uuid[], $3::int4[], $4::text[], $5::text[])"},
         5,
         {PG_INT8, PG_UUID, PG_INT4, PG_TEXT, PG_TEXT}},
    [TABLE_HOLD_POOL] =
        {"COPY holdfast.hold_pool (quantity, hold_id, place, event_id, pool) FROM STDIN (FORMAT binary)",
         {"hold_pool_new",
          "INSERT INTO holdfast.hold_pool (quantity, hold_id, place, event_id, pool) SELECT * FROM "
          "unnest($1::int8[], $2::uuid[], $3::int4[], $4::text[], $5::text[])"},
         5,
         {PG_INT8, PG_UUID, PG_INT4, PG_TEXT, PG_TEXT}},
    [TABLE_OUTBOX] = {"COPY holdfast.outbox (seq, created_at, shard, id, aggregatetype, aggregateid, type, "
                      "trace_id, traceparent, "
                      "request_id, payload) FROM STDIN (FORMAT binary)",
                      {"outbox_new", "INSERT INTO holdfast.outbox (seq, created_at, shard, id, "
                                     "aggregatetype, aggregateid, type, trace_id, "
                                     "traceparent, request_id, payload) SELECT * FROM unnest($1::int8[], "
                                     "$2::timestamptz[], $3::int4[], "
                                     "$4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], "
                                     "$9::text[], $10::text[], $11::jsonb[])"},
                      11,
                      {PG_INT8, PG_TIMESTAMPTZ, PG_INT4, PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT,
                       PG_TEXT, PG_TEXT, PG_JSONB}},
    [TABLE_HOLD_CHANGED] =
        {NULL,
         {"hold_changed",
          "UPDATE holdfast.hold h SET deadline = u.deadline, ended_at = u.ended_at, state = u.state, "
          "payment_ref = "
          "coalesce(u.payment_ref, h.payment_ref) FROM unnest($1::timestamptz[], $2::timestamptz[], "
          "$3::uuid[], "
          "$4::text[], $5::text[]) AS u (deadline, ended_at, id, state, payment_ref) WHERE h.id = u.id"},
         5,
         {PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_UUID, PG_TEXT, PG_TEXT}},
    [TABLE_SEAT_MOVED] = {NULL,
                          {"hold_seat_moved",
                           "UPDATE holdfast.hold_seat s SET version = u.version FROM unnest($1::int8[], "
                           "$2::uuid[], $3::text[]) AS u "
                           "(version, hold_id, seat) WHERE s.hold_id = u.hold_id AND s.seat = u.seat"},
                          3,
                          {PG_INT8, PG_UUID, PG_TEXT}},
    [TABLE_SEAT] = {NULL,
                    {"seat", "INSERT INTO holdfast.seat AS s (version, hold_id, event_id, seat, state) "
                             "SELECT * FROM unnest($1::int8[], "
                             "$2::uuid[], $3::text[], $4::text[], $5::text[]) ON CONFLICT (event_id, seat) "
                             "DO UPDATE SET version = "
                             "excluded.version, hold_id = excluded.hold_id, state = excluded.state WHERE "
                             "s.version < excluded.version"},
                    5,
                    {PG_INT8, PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT}},
    [TABLE_TOKEN] = {NULL,
                     {"token",
                      "INSERT INTO holdfast.token AS t (joined_at, activated_at, ended_at, id, event_id, "
                      "user_id, state) SELECT * "
                      "FROM unnest($1::timestamptz[], $2::timestamptz[], $3::timestamptz[], $4::uuid[], "
                      "$5::text[], $6::text[], "
                      "$7::text[]) ON CONFLICT (id) DO UPDATE SET activated_at = "
                      "coalesce(excluded.activated_at, t.activated_at), "
                      "ended_at = coalesce(excluded.ended_at, t.ended_at), state = excluded.state"},
                     7,
                     {PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_UUID, PG_TEXT, PG_TEXT, PG_TEXT}},
    [TABLE_EVENT] =
        {NULL,
         {"event",
          "WITH u AS (SELECT * FROM unnest($1::timestamptz[], $2::timestamptz[], $3::text[], $4::text[], "
          "$5::jsonb[], "
          "$6::bytea[]) AS u (created_at, updated_at, id, status, settings, record)), kept AS (INSERT INTO "
          "holdfast.event_record (event_id, record) SELECT id, record FROM u ON CONFLICT (event_id) DO "
          "UPDATE SET "
          "record = excluded.record) INSERT INTO holdfast.event (created_at, updated_at, id, status, "
          "settings) SELECT "
          "created_at, updated_at, id, status, settings FROM u ON CONFLICT (id) DO UPDATE SET updated_at = "
          "excluded.updated_at, status = excluded.status, settings = excluded.settings"},
         6,
         {PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_TEXT, PG_TEXT, PG_JSONB, PG_BYTEA}},
    [TABLE_CURSOR] =
        {NULL,
         {"cursor_move",
          "INSERT INTO holdfast.cursor (epoch, shard, seq, segment, byte_offset, batch, chain) SELECT * "
          "FROM "
          "unnest($1::int8[], $2::int4[], $3::int8[], $4::int4[], $5::int8[], $6::int8[], $7::int8[]) ON "
          "CONFLICT "
          "(epoch, shard) DO UPDATE SET seq = excluded.seq, segment = excluded.segment, byte_offset = "
          "excluded.byte_offset, batch = excluded.batch, chain = excluded.chain"},
         7,
         {PG_INT8, PG_INT4, PG_INT8, PG_INT4, PG_INT8, PG_INT8, PG_INT8}},
};

static const struct pg_statement statement_begin = {"begin", "BEGIN"};
static const struct pg_statement statement_step = {"step", "SELECT holdfast.step($1)"};
static const struct pg_statement statement_commit = {"commit", "COMMIT"};
static const struct pg_statement cursor_drop = {"cursor_drop",
                                                "DELETE FROM holdfast.cursor WHERE epoch < $1"};

struct writer {
    uint32_t copy_rows;
    struct rows rows[TABLE_COUNT];
    struct pg_bytes ids; /* of missing holds */
    struct pg_bytes json;
    struct write_counts counts;
};

int
writer_open(struct writer **ret_writer, uint32_t copy_rows)
{
    struct writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return -ENOMEM;
    writer->copy_rows = copy_rows;
    *ret_writer = writer;
    return 0;
}

void
writer_close(struct writer *writer)
{
    if (writer == NULL)
        return;
    for (uint32_t t = 0; t < TABLE_COUNT; t++)
        for (uint32_t i = 0; i < COLUMNS_MAX; i++)
            pg_bytes_done(&writer->rows[t].columns[i]);
    pg_bytes_done(&writer->ids);
    pg_bytes_done(&writer->json);
    free(writer);
}

const struct write_counts *
writer_counts(const struct writer *writer)
{
    return &writer->counts;
}

bool
writer_prepare(struct pg *pg, struct pg_error *ret_error)
{
    return pg_run(
        pg,
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;"
        "SET enable_mergejoin = off; SET enable_bitmapscan = off; SET jit = off;"
        "SET synchronous_commit = on",
        ret_error);
}

bool
writer_clear(struct pg *pg, struct pg_error *ret_error)
{
    return pg_run(
        pg,
        "BEGIN; DELETE FROM holdfast.event; DELETE FROM holdfast.event_record; DELETE FROM holdfast.hold;"
        "DELETE FROM holdfast.hold_seat; DELETE FROM holdfast.hold_pool; DELETE FROM holdfast.seat;"
        "DELETE FROM holdfast.token; COMMIT",
        ret_error);
}

static const struct pg_statement statement_base = {
    "base", "UPDATE holdfast.persister SET base_epoch = $1, base_seq = $2"};

bool
writer_base(struct writer *writer, struct pg *pg, const struct persister_place *place,
            struct pg_error *ret_error)
{
    struct pg_int8 number;
    pg_array_begin(&writer->ids, PG_INT8);
    for (uint32_t i = 0; i < place->shard_count; i++)
        pg_put_int8(&writer->ids, (int64_t)place->positions[i].sequence);
    const struct pg_value values[] = {pg_int8_value(&number, (int64_t)place->epoch),
                                      pg_array_end(&writer->ids, place->shard_count)};
    return pg_query(pg, &statement_base, 2, values, NULL, ret_error);
}

/* ---- rows ---- */

static void
rows_begin(struct rows *rows, enum table_id id, bool copy)
{
    rows->count = 0;
    rows->copy = copy;
    if (copy) {
        pg_bytes_empty(&rows->columns[0]);
        pg_copy_head(&rows->columns[0]);
        return;
    }
    for (uint32_t i = 0; i < tables[id].column_count; i++)
        pg_array_begin(&rows->columns[i], tables[id].types[i]);
}

/* Where the next row's columns go: column i at ret_columns[i]. */
static void
row_begin(struct rows *rows, enum table_id id, struct pg_bytes *ret_columns[COLUMNS_MAX])
{
    if (rows->copy)
        pg_put_fields(&rows->columns[0], tables[id].column_count);
    for (uint32_t i = 0; i < tables[id].column_count; i++)
        ret_columns[i] = &rows->columns[rows->copy ? 0 : i];
    rows->count++;
}

static struct bytes
words(const char *word)
{
    return (struct bytes){word, (uint32_t)strlen(word)};
}

static struct bytes
event_id(const struct known_event *event)
{
    return (struct bytes){event->settings->id, event->settings->id_size};
}

static bool
has_trace(const struct trace *trace)
{
    static const struct trace none;
    return memcmp(trace->trace_id, none.trace_id, sizeof none.trace_id) != 0;
}

static void
put_trace_id(struct pg_bytes *bytes, const struct trace *trace)
{
    char text[32];
    if (!has_trace(trace)) {
        pg_put_null(bytes);
        return;
    }
    (void)put_hex(text, trace->trace_id, sizeof trace->trace_id); /* its end is known */
    pg_put_text(bytes, (struct bytes){text, sizeof text});
}

static void
put_traceparent(struct pg_bytes *bytes, const struct trace *trace)
{
    char text[64];
    if (!has_trace(trace)) {
        pg_put_null(bytes);
        return;
    }
    char *at = put_literal(text, "00-");
    at = put_hex(at, trace->trace_id, sizeof trace->trace_id);
    *at++ = '-';
    at = put_hex(at, trace->parent_id, sizeof trace->parent_id);
    *at++ = '-';
    at = put_hex(at, &trace->flags, 1);
    pg_put_text(bytes, (struct bytes){text, (uint32_t)(at - text)});
}

static void
put_hold_units(struct writer *writer, const struct known_hold *hold)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    char text[SEAT_TEXT_SIZE_MAX];
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        row_begin(&writer->rows[TABLE_HOLD_SEAT], TABLE_HOLD_SEAT, columns);
        pg_put_int8(columns[0], hold->seats[i].version);
        pg_put_uuid(columns[1], &hold->id);
        pg_put_int4(columns[2], (int32_t)i);
        pg_put_text(columns[3], event_id(hold->event));
        pg_put_text(columns[4],
                    (struct bytes){text, seat_text(hold->event->settings, hold->seats[i].ref, text)});
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        const struct name *name = &event_settings_pools(hold->event->settings)[hold->pools[i].pool].name;
        row_begin(&writer->rows[TABLE_HOLD_POOL], TABLE_HOLD_POOL, columns);
        pg_put_int8(columns[0], hold->pools[i].quantity);
        pg_put_uuid(columns[1], &hold->id);
        pg_put_int4(columns[2], (int32_t)i);
        pg_put_text(columns[3], event_id(hold->event));
        pg_put_text(columns[4], (struct bytes){name->text, name->size});
    }
}

static void
put_hold_new(struct writer *writer, const struct known_hold *hold)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    row_begin(&writer->rows[TABLE_HOLD], TABLE_HOLD, columns);
    pg_put_time(columns[0], uuid_time_ms(&hold->id));
    pg_put_time(columns[1], hold->deadline_ms);
    pg_put_time(columns[2], hold->ended_ms);
    pg_put_uuid(columns[3], &hold->id);
    pg_put_text(columns[4], event_id(hold->event));
    pg_put_text(columns[5], (struct bytes){hold->user, hold->user_size});
    pg_put_text(columns[6], words(hold_state_word(hold->state)));
    pg_put_foreign_text(columns[7], hold->payment_ref);
    pg_put_foreign_text(columns[8], hold->request_id);
    put_trace_id(columns[9], &hold->trace);
    put_hold_units(writer, hold);
}

static void
put_hold_changed(struct writer *writer, const struct known_hold *hold)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    char text[SEAT_TEXT_SIZE_MAX];
    row_begin(&writer->rows[TABLE_HOLD_CHANGED], TABLE_HOLD_CHANGED, columns);
    pg_put_time(columns[0], hold->deadline_ms);
    pg_put_time(columns[1], hold->ended_ms);
    pg_put_uuid(columns[2], &hold->id);
    pg_put_text(columns[3], words(hold_state_word(hold->state)));
    pg_put_foreign_text(columns[4], hold->payment_ref);
    for (uint32_t i = 0; hold->versions_moved && i < hold->seat_count; i++) {
        row_begin(&writer->rows[TABLE_SEAT_MOVED], TABLE_SEAT_MOVED, columns);
        pg_put_int8(columns[0], hold->seats[i].version);
        pg_put_uuid(columns[1], &hold->id);
        pg_put_text(columns[2],
                    (struct bytes){text, seat_text(hold->event->settings, hold->seats[i].ref, text)});
    }
}

static void
put_seat(struct writer *writer, const struct seat_change *seat)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    char text[SEAT_TEXT_SIZE_MAX];
    row_begin(&writer->rows[TABLE_SEAT], TABLE_SEAT, columns);
    pg_put_int8(columns[0], seat->version);
    if (seat->state == SEAT_FREE)
        pg_put_null(columns[1]);
    else
        pg_put_uuid(columns[1], &seat->hold);
    pg_put_text(columns[2], event_id(seat->event));
    pg_put_text(columns[3], (struct bytes){text, seat_text(seat->event->settings, seat->ref, text)});
    pg_put_text(columns[4], words(seat_state_word(seat->state)));
}

static void
put_token(struct writer *writer, const struct token_change *token)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    row_begin(&writer->rows[TABLE_TOKEN], TABLE_TOKEN, columns);
    pg_put_time(columns[0], uuid_time_ms(&token->id));
    pg_put_time(columns[1], token->activated_ms);
    pg_put_time(columns[2], token->ended_ms);
    pg_put_uuid(columns[3], &token->id);
    pg_put_text(columns[4], event_id(token->event));
    pg_put_text(columns[5], token->user);
    pg_put_text(columns[6], words(token_state_word(token->state)));
}

static void
put_published(struct writer *writer, const struct work *work, const struct published *row)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    char id[UUID_TEXT_SIZE];
    struct bytes of = {id, sizeof id};
    if (row->event != NULL)
        of = event_id(row->event);
    else
        (void)put_uuid(id, &row->of);
    row_begin(&writer->rows[TABLE_OUTBOX], TABLE_OUTBOX, columns);
    pg_put_int8(columns[0], (int64_t)row->sequence);
    pg_put_time(columns[1], row->time_ms);
    pg_put_int4(columns[2], (int32_t)row->shard);
    pg_put_uuid(columns[3], &row->id);
    pg_put_text(columns[4], words(published_aggregate_word(row->type)));
    pg_put_text(columns[5], of);
    pg_put_text(columns[6], words(published_type_word(row->type)));
    put_trace_id(columns[7], &row->trace);
    put_traceparent(columns[8], &row->trace);
    pg_put_foreign_text(columns[9], row->request_id);
    pg_put_jsonb(columns[10], (struct bytes){work->payloads + row->payload, row->payload_size});
}

/* output->grow: the writer's json. */
static void
grow_json(struct output *output, size_t size)
{
    struct pg_bytes *json = output->owner;
    size_t written = (size_t)((uint8_t *)output->data - json->data);
    size_t capacity = (written + size + OUTPUT_GROW_MAX) * 2;
    uint8_t *data = realloc(json->data, capacity);
    if (data == NULL) {
        output->failed = true;
        json->failed = true;
        return;
    }
    json->data = data;
    json->capacity = capacity;
    output->data = (char *)data + written;
    output->room = capacity - written;
}

static void
put_event(struct writer *writer, const struct known_event *event)
{
    static const char *const statuses[] = {
        [EVENT_OPEN] = "open", [EVENT_PAUSED] = "paused", [EVENT_CLOSED] = "closed"};
    struct pg_bytes *columns[COLUMNS_MAX];
    struct event_view view = {0};
    event_view_fill(&view, event->settings, event->updated_ms);
    struct output output = {.data = (char *)writer->json.data,
                            .room = writer->json.capacity,
                            .owner = &writer->json,
                            .grow = grow_json};
    output_event_json(&output, &view, OBJECT_PUBLISHED, event->updated_ms);
    row_begin(&writer->rows[TABLE_EVENT], TABLE_EVENT, columns);
    pg_put_time(columns[0], event->created_ms);
    pg_put_time(columns[1], event->updated_ms);
    pg_put_text(columns[2], event_id(event));
    pg_put_text(columns[3], words(statuses[event->settings->status]));
    pg_put_jsonb(
        columns[4],
        (struct bytes){(char *)writer->json.data,
                       output.failed ? 0 : (uint32_t)((uint8_t *)output.data - writer->json.data)});
    pg_put_bytea(columns[5], event->settings, event->settings->size);
}

static void
put_cursor(struct writer *writer, const struct persister_place *place)
{
    struct pg_bytes *columns[COLUMNS_MAX];
    for (uint32_t i = 0; i < place->shard_count; i++) {
        const struct journal_position *position = &place->positions[i];
        row_begin(&writer->rows[TABLE_CURSOR], TABLE_CURSOR, columns);
        pg_put_int8(columns[0], (int64_t)place->epoch);
        pg_put_int4(columns[1], (int32_t)i);
        pg_put_int8(columns[2], (int64_t)position->sequence);
        pg_put_int4(columns[3], (int32_t)position->segment);
        pg_put_int8(columns[4], (int64_t)position->offset);
        pg_put_int8(columns[5], (int64_t)position->batch);
        pg_put_int8(columns[6], position->chain);
    }
}

/* How many new rows a table gets: whether it is worth a COPY. */
static void
begin_all(struct writer *writer, const struct work *work)
{
    uint32_t counts[TABLE_COUNT] = {[TABLE_OUTBOX] = work->published_count};
    for (const struct known_hold *hold = NULL; (hold = holds_next(work->holds, hold)) != NULL;) {
        counts[TABLE_HOLD] += hold->fresh;
        counts[TABLE_HOLD_SEAT] += hold->fresh ? hold->seat_count : 0;
        counts[TABLE_HOLD_POOL] += hold->fresh ? hold->pool_count : 0;
    }
    for (enum table_id t = 0; t < TABLE_COUNT; t++)
        rows_begin(&writer->rows[t], t, tables[t].copy != NULL && counts[t] >= writer->copy_rows);
}

static bool
put_all(struct writer *writer, const struct work *work, const struct persister_place *next)
{
    begin_all(writer, work);
    for (const struct known_hold *hold = NULL; (hold = holds_next(work->holds, hold)) != NULL;) {
        if (hold->fresh)
            put_hold_new(writer, hold);
        else
            put_hold_changed(writer, hold);
    }
    for (uint32_t i = 0; i < work->seat_count; i++)
        put_seat(writer, &work->seats[i]);
    for (uint32_t i = 0; i < work->token_count; i++)
        put_token(writer, &work->tokens[i]);
    for (uint32_t i = 0; i < work->published_count; i++)
        put_published(writer, work, &work->published[i]);
    for (uint32_t i = 0; work->events_changed && i < event_table_count(work->events); i++)
        if (event_table_at(work->events, i)->touched)
            put_event(writer, event_table_at(work->events, i));
    put_cursor(writer, next);
    bool failed = writer->json.failed;
    for (uint32_t t = 0; t < TABLE_COUNT; t++)
        for (uint32_t i = 0; i < COLUMNS_MAX; i++)
            failed |= writer->rows[t].columns[i].failed;
    return !failed;
}

/* ---- reading ---- */

static const struct pg_statement select_events = {"events",
                                                  "SELECT e.created_at, e.updated_at, r.record FROM "
                                                  "holdfast.event e JOIN holdfast.event_record r ON "
                                                  "r.event_id = e.id ORDER BY e.created_at, e.id"};

bool
writer_events(struct pg *pg, struct event_table *events, struct pg_error *ret_error)
{
    struct pg_rows *row;
    if (!pg_stream_begin(pg, &select_events, 0, NULL, ret_error))
        return false;
    bool good = true;
    while (good && (good = pg_stream_next(pg, &row, ret_error)) && row != NULL) {
        struct pg_value record = pg_rows_value(row, 0, 2);
        /* what libpq gives lies anywhere: settings are read where they are aligned */
        struct event_settings *settings = aligned_alloc(8, (record.size + 15) / 8 * 8);
        if (settings != NULL)
            memcpy(settings, record.data, record.size);
        struct known_event *event = NULL;
        if (settings != NULL && event_settings_sound(settings, record.size))
            event = event_table_put(events, settings, pg_get_time(pg_rows_value(row, 0, 0)));
        if (event != NULL)
            event->updated_ms = pg_get_time(pg_rows_value(row, 0, 1));
        free(settings);
        pg_rows_free(row);
        if (event == NULL) {
            *ret_error = (struct pg_error){
                .kind = PG_PERMANENT,
                .text = "holdfast.event_record has a row that is no event's: somebody has "
                        "changed it; begin anew with an empty schema (DROP SCHEMA holdfast "
                        "CASCADE)"};
            good = false;
        }
    }
    return good;
}

static const struct pg_statement select_holds = {
    "holds", "SELECT id, 0, event_id, user_id, state, deadline, 0::int8 FROM holdfast.hold WHERE id = ANY "
             "($1) UNION ALL "
             "SELECT hold_id, 1, seat, NULL, NULL, NULL, (version << 8) | place::int8 FROM "
             "holdfast.hold_seat WHERE hold_id = ANY ($1) "
             "UNION ALL "
             "SELECT hold_id, 2, pool, NULL, NULL, NULL, (quantity << 8) | place::int8 FROM "
             "holdfast.hold_pool WHERE hold_id = ANY ($1)"};

static uint8_t
state_of(struct bytes word)
{
    for (enum hold_state state = HOLD_HELD; state <= HOLD_CANCELLED; state++)
        if (bytes_equal(word, words(hold_state_word(state))))
            return (uint8_t)state;
    return 0;
}

/* The hold's own row: how many units it has is still to come. */
static bool
fill_hold(struct work *work, struct known_hold *hold, const struct pg_rows *rows, uint32_t row)
{
    static const struct record_seat seats[HOLD_SEATS_MAX];
    static const struct record_pool pools[HOLD_POOLS_MAX];
    struct known_event *event = event_table_find(work->events, pg_get_bytes(pg_rows_value(rows, row, 2)));
    struct bytes user = pg_get_bytes(pg_rows_value(rows, row, 3));
    hold->state = state_of(pg_get_bytes(pg_rows_value(rows, row, 4)));
    hold->deadline_ms = pg_get_time(pg_rows_value(rows, row, 5));
    if (event == NULL || user.size > USER_ID_SIZE_MAX)
        return true; /* it stays unknown */
    return hold_fill(work->holds, hold, event, user, seats, HOLD_SEATS_MAX, pools, HOLD_POOLS_MAX);
}

static void
fill_unit(struct known_hold *hold, const struct pg_rows *rows, uint32_t row, bool seat, uint8_t counts[2])
{
    struct bytes name = pg_get_bytes(pg_rows_value(rows, row, 2));
    uint64_t packed = (uint64_t)pg_get_int64(pg_rows_value(rows, row, 6));
    uint32_t place = packed & 0xff;
    uint32_t number = (uint32_t)(packed >> 8);
    seat_ref ref;
    if (seat && place < HOLD_SEATS_MAX && event_seat_named(hold->event->settings, name, &ref)) {
        hold->seats[place] = (struct record_seat){ref, number};
        counts[0]++;
    }
    int32_t pool = seat ? -1 : event_settings_find_pool(hold->event->settings, name);
    if (!seat && place < HOLD_POOLS_MAX && pool >= 0) {
        hold->pools[place] = (struct record_pool){(uint32_t)pool, number};
        counts[1]++;
    }
}

bool
writer_missing(struct writer *writer, struct pg *pg, struct work *work, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (work->missing_count == 0)
        return true;
    pg_array_begin(&writer->ids, PG_UUID);
    for (uint32_t i = 0; i < work->missing_count; i++)
        pg_put_uuid(&writer->ids, &work->missing[i]->id);
    struct pg_value ids = pg_array_end(&writer->ids, work->missing_count);
    if (ids.data == NULL) {
        *ret_error = (struct pg_error){.kind = PG_TRANSIENT, .text = "no memory"};
        return false;
    }
    if (!pg_query(pg, &select_holds, 1, &ids, &rows, ret_error))
        return false;
    uint32_t count = pg_rows_count(rows);
    bool made;
    /* holds first, then their units, counted in place of what was made room for */
    for (int pass = 0; pass < 2 && !work->failed; pass++) {
        for (uint32_t i = 0; i < count && !work->failed; i++) {
            struct uuid id = pg_get_uuid(pg_rows_value(rows, i, 0));
            int64_t kind = pg_get_int64(pg_rows_value(rows, i, 1));
            if ((kind == 0) != (pass == 0))
                continue;
            struct known_hold *hold = holds_get(work->holds, &id, &made);
            if (hold == NULL)
                work->failed = true;
            else if (pass == 0)
                work->failed = !fill_hold(work, hold, rows, i);
            else if (hold->event != NULL)
                fill_unit(hold, rows, i, kind == 1, hold->units_read);
        }
    }
    pg_rows_free(rows);
    for (uint32_t i = 0; i < work->missing_count && !work->failed; i++)
        work->failed = !hold_fit(work->holds, work->missing[i]);
    writer->counts.holds_read += work->missing_count;
    if (work->failed)
        *ret_error = (struct pg_error){.kind = PG_TRANSIENT, .text = "no memory"};
    return !work->failed;
}

/* ---- writing ---- */

static bool
send_copies(struct writer *writer, struct pg *pg, struct pg_error *ret_error)
{
    for (uint32_t t = 0; t < TABLE_COUNT; t++) {
        struct rows *rows = &writer->rows[t];
        if (!rows->copy)
            continue;
        pg_copy_tail(&rows->columns[0]);
        if (rows->columns[0].failed) {
            *ret_error = (struct pg_error){.kind = PG_TRANSIENT, .text = "no memory"};
            return false;
        }
        if (!pg_copy_begin(pg, tables[t].copy, ret_error) ||
            !pg_copy_put(pg, rows->columns[0].data, rows->columns[0].size, ret_error) ||
            !pg_copy_end(pg, ret_error))
            return false;
        writer->counts.copy_rows += rows->count;
        writer->counts.rows += rows->count;
    }
    return true;
}

static bool
add_arrays(struct writer *writer, struct pg *pg, struct pg_error *ret_error)
{
    for (uint32_t t = 0; t < TABLE_COUNT; t++) {
        struct rows *rows = &writer->rows[t];
        struct pg_value values[COLUMNS_MAX];
        if (rows->copy || rows->count == 0)
            continue;
        for (uint32_t i = 0; i < tables[t].column_count; i++)
            values[i] = pg_array_end(&rows->columns[i], rows->count);
        if (!pg_pipeline_add(pg, &tables[t].insert, tables[t].column_count, values, ret_error))
            return false;
        writer->counts.rows += rows->count;
    }
    return true;
}

static bool
add_rest(struct writer *writer, struct pg *pg, const struct persister_place *place,
         const struct persister_place *next, struct pg_error *ret_error)
{
    struct pg_int8 number;
    struct pg_value epoch = pg_int8_value(&number, (int64_t)next->epoch);
    return add_arrays(writer, pg, ret_error) &&
           (place->epoch == next->epoch || pg_pipeline_add(pg, &cursor_drop, 1, &epoch, ret_error)) &&
           pg_pipeline_add(pg, &statement_commit, 0, NULL, ret_error);
}

bool
writer_commit(struct writer *writer, struct pg *pg, const struct work *work, struct persister_place *place,
              const struct persister_place *next, struct pg_error *ret_error)
{
    struct pg_int8 number;
    struct pg_value step = pg_int8_value(&number, (int64_t)place->step);
    if (!put_all(writer, work, next)) {
        *ret_error = (struct pg_error){.kind = PG_TRANSIENT, .text = "no memory"};
        return false;
    }
    bool copy = false;
    for (uint32_t t = 0; t < TABLE_COUNT; t++)
        copy |= writer->rows[t].copy;
    if (!pg_pipeline_begin(pg, ret_error) || !pg_pipeline_add(pg, &statement_begin, 0, NULL, ret_error) ||
        !pg_pipeline_add(pg, &statement_step, 1, &step, ret_error))
        return false;
    /* COPY is not for pipelines */
    if (copy && (!pg_pipeline_end(pg, ret_error) || !send_copies(writer, pg, ret_error) ||
                 !pg_pipeline_begin(pg, ret_error)))
        return false;
    if (!add_rest(writer, pg, place, next, ret_error) || !pg_pipeline_end(pg, ret_error))
        return false;
    uint64_t number_of_step = place->step + 1;
    *place = *next;
    place->step = number_of_step;
    return true;
}
