/*
 * verify.c - replays the journals into a mirror and compares it with PostgreSQL, row by row.
 *
 *     one snapshot of PostgreSQL (REPEATABLE READ) ─▶ its cursor ─▶ the mirror, up to there ─▶ each table
 * streamed, each row looked up, and marked; what is not marked at the end is missing in PostgreSQL
 *
 * Where the beginning of the journal is gone the mirror begins with a snapshot. It does not know then what
 * was over before it: such rows are counted as older, and must be rows of what has ended.
 *
 * Memory: the mirror, about 150 bytes a hold with one unit and 64 a result; PostgreSQL's rows are read one
 * by one.
 */
#include "persist/verify.h"

#include "core/route.h"
#include "core/text.h"
#include "persist/mirror.h"
#include "persist/persister_session.h"
#include "persist/pg_binary.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TOLD_MAX 10 /* mismatches in full */

struct tally {
    const char *table;
    uint64_t rows;
    uint64_t older;
    uint64_t mismatches;
};

struct verify {
    struct pg *pg;
    struct mirror *mirror;
    uint64_t told;
    struct tally *tally; /* of the table that is being compared */
    uint64_t base_epoch; /* 0: carried from the beginning */
    uint64_t base_seq[SHARDS_MAX];
    bool pruned; /* the relay has delivered something: rows of the outbox may have gone */
    uint64_t gone;
    struct pg_bytes scratch;
};

static void tell(struct verify *verify, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
tell(struct verify *verify, const char *format, ...)
{
    va_list arguments;
    verify->tally->mismatches++;
    if (verify->told++ >= TOLD_MAX)
        return;
    va_start(arguments, format);
    (void)printf("%s: ", verify->tally->table);
    (void)vprintf(format, arguments);
    (void)printf("\n");
    va_end(arguments);
}

struct id_text {
    char text[UUID_TEXT_SIZE + 1];
};

static struct id_text
text_of(const struct uuid *id)
{
    struct id_text result = {{0}};
    (void)put_uuid(result.text, id); /* the zero behind it is there */
    return result;
}

static bool
is_word(struct pg_value value, const char *word)
{
    return value.data != NULL && value.size == strlen(word) && memcmp(value.data, word, value.size) == 0;
}

static bool
is_text(struct pg_value value, struct bytes text)
{
    return value.data != NULL && bytes_equal(pg_get_bytes(value), text);
}

/* Text that came from outside: none is NULL, and what is no UTF-8 was made so. */
static bool
is_foreign(struct verify *verify, struct pg_value value, struct bytes text)
{
    if (text.size == 0)
        return value.data == NULL;
    pg_bytes_empty(&verify->scratch);
    pg_put_foreign_text(&verify->scratch, text);
    return !verify->scratch.failed && value.data != NULL && value.size == verify->scratch.size - 4 &&
           memcmp(value.data, verify->scratch.data + 4, value.size) == 0;
}

static bool
is_trace(struct pg_value value, const struct trace *trace)
{
    static const struct trace none;
    char text[33];
    if (memcmp(trace->trace_id, none.trace_id, sizeof none.trace_id) == 0)
        return value.data == NULL;
    for (size_t i = 0; i < sizeof trace->trace_id; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", trace->trace_id[i]); /* fits */
    return is_word(value, text);
}

/* One column of a row. */
static void
expect(struct verify *verify, bool same, const char *of, const char *column, struct pg_value value)
{
    if (same)
        return;
    char text[80] = "NULL";
    if (value.data != NULL && (value.size > 8 || value.size == 0 || *(const uint8_t *)value.data >= 0x20))
        pg_get_text(value, text, sizeof text);
    else if (value.data != NULL)
        (void)snprintf(text, sizeof text, "%" PRId64, pg_get_int64(value)); /* fits */
    tell(verify, "%s: %s is not what the journal says: %s", of, column, text);
}

typedef void compare_row(struct verify *verify, const struct pg_rows *row);

static bool
compare_table(struct verify *verify, struct tally *tally, const struct pg_statement *statement,
              compare_row *compare, struct pg_error *ret_error)
{
    struct pg_rows *row;
    verify->tally = tally;
    if (!pg_stream_begin(verify->pg, statement, 0, NULL, ret_error))
        return false;
    for (;;) {
        if (!pg_stream_next(verify->pg, &row, ret_error))
            return false;
        if (row == NULL)
            return true;
        tally->rows++;
        compare(verify, row);
        pg_rows_free(row);
    }
}

/* ---- events ---- */

static const struct pg_statement select_events = {"v_event",
                                                  "SELECT id, status, created_at, updated_at, settings ->> "
                                                  "'hold_seconds' FROM holdfast.event ORDER BY id"};

static void
compare_event(struct verify *verify, const struct pg_rows *row)
{
    static const char *const statuses[] = {
        [EVENT_OPEN] = "open", [EVENT_PAUSED] = "paused", [EVENT_CLOSED] = "closed"};
    char id[EVENT_ID_SIZE_MAX + 1], seconds[16];
    pg_get_text(pg_rows_value(row, 0, 0), id, sizeof id);
    struct known_event *event =
        event_table_find(mirror_events(verify->mirror), pg_get_bytes(pg_rows_value(row, 0, 0)));
    if (event == NULL) {
        tell(verify, "%s: the journal does not know it", id);
        return;
    }
    event->touched = true;
    (void)snprintf(seconds, sizeof seconds, "%u", event->settings->hold_seconds); /* fits */
    expect(verify, is_word(pg_rows_value(row, 0, 1), statuses[event->settings->status]), id, "status",
           pg_rows_value(row, 0, 1));
    if (mirror_generation(verify->mirror) == 0) {
        expect(verify, pg_get_time(pg_rows_value(row, 0, 2)) == event->created_ms, id, "created_at",
               pg_rows_value(row, 0, 2));
        expect(verify, pg_get_time(pg_rows_value(row, 0, 3)) == event->updated_ms, id, "updated_at",
               pg_rows_value(row, 0, 3));
    }
    expect(verify, is_word(pg_rows_value(row, 0, 4), seconds), id, "settings.hold_seconds",
           pg_rows_value(row, 0, 4));
}

static void
missing_events(struct verify *verify)
{
    for (uint32_t i = 0; i < event_table_count(mirror_events(verify->mirror)); i++) {
        const struct known_event *event = event_table_at(mirror_events(verify->mirror), i);
        if (!event->touched)
            tell(verify, "%.*s: PostgreSQL does not have it", event->settings->id_size,
                 event->settings->id);
    }
}

/* ---- holds ---- */

static const struct pg_statement select_holds = {"v_hold",
                                                 "SELECT id, event_id, user_id, state, payment_ref, "
                                                 "created_at, deadline, ended_at, request_id, trace_id "
                                                 "FROM holdfast.hold ORDER BY id"};

static bool
has_ended(struct pg_value state)
{
    return is_word(state, "released") || is_word(state, "expired") || is_word(state, "cancelled");
}

static void
compare_hold(struct verify *verify, const struct pg_rows *row)
{
    struct uuid id = pg_get_uuid(pg_rows_value(row, 0, 0));
    struct id_text text = text_of(&id);
    struct mirror_hold *hold = mirror_hold_find(verify->mirror, &id);
    struct pg_value state = pg_rows_value(row, 0, 3);
    if (hold == NULL && mirror_generation(verify->mirror) != 0 && has_ended(state)) {
        verify->tally->older++;
        return;
    }
    if (hold == NULL) {
        tell(verify, "%s: the journal does not know it", text.text);
        return;
    }
    hold->seen = true;
    expect(verify, is_text(pg_rows_value(row, 0, 1), mirror_event_id(verify->mirror, hold->event)),
           text.text, "event_id", pg_rows_value(row, 0, 1));
    expect(verify, is_text(pg_rows_value(row, 0, 2), mirror_hold_user(hold)), text.text, "user_id",
           pg_rows_value(row, 0, 2));
    expect(verify, is_word(state, hold_state_word(hold->state)), text.text, "state", state);
    expect(verify, pg_get_time(pg_rows_value(row, 0, 5)) == uuid_time_ms(&id), text.text, "created_at",
           pg_rows_value(row, 0, 5));
    expect(verify, pg_get_time(pg_rows_value(row, 0, 6)) == hold->deadline_ms, text.text, "deadline",
           pg_rows_value(row, 0, 6));
    expect(verify, pg_get_time(pg_rows_value(row, 0, 7)) == hold->ended_ms, text.text, "ended_at",
           pg_rows_value(row, 0, 7));
    struct bytes payment = {hold->payment_ref, hold->payment_ref_size};
    if (!hold->kept || payment.size > 0)
        expect(verify, is_foreign(verify, pg_rows_value(row, 0, 4), payment), text.text, "payment_ref",
               pg_rows_value(row, 0, 4));
    if (hold->kept)
        return;
    expect(verify, is_foreign(verify, pg_rows_value(row, 0, 8), mirror_hold_request_id(hold)), text.text,
           "request_id", pg_rows_value(row, 0, 8));
    expect(verify, is_trace(pg_rows_value(row, 0, 9), &hold->trace), text.text, "trace_id",
           pg_rows_value(row, 0, 9));
}

static void
missing_holds(struct verify *verify)
{
    for (uint32_t i = 0; i < mirror_hold_count(verify->mirror); i++) {
        const struct mirror_hold *hold = mirror_hold_at(verify->mirror, i);
        if (!hold->seen)
            tell(verify, "%s: PostgreSQL does not have it", text_of(&hold->id).text);
    }
}

static const struct pg_statement select_hold_seats = {
    "v_hold_seat",
    "SELECT hold_id, place, seat, version, event_id FROM holdfast.hold_seat ORDER BY hold_id, seat"};
static const struct pg_statement select_hold_pools = {
    "v_hold_pool",
    "SELECT hold_id, place, pool, quantity, event_id FROM holdfast.hold_pool ORDER BY hold_id, pool"};

/* A unit of a hold that is in the mirror; else it is told, or older. */
static struct mirror_hold *
unit_hold(struct verify *verify, const struct pg_rows *row, struct id_text *ret_text)
{
    struct uuid id = pg_get_uuid(pg_rows_value(row, 0, 0));
    struct mirror_hold *hold = mirror_hold_find(verify->mirror, &id);
    *ret_text = text_of(&id);
    if (hold == NULL && mirror_generation(verify->mirror) != 0)
        verify->tally->older++; /* of a hold that was told, if it should not be */
    else if (hold == NULL)
        tell(verify, "%s: the journal does not know this hold", ret_text->text);
    return hold;
}

static void
compare_hold_seat(struct verify *verify, const struct pg_rows *row)
{
    struct id_text text;
    char name[SEAT_TEXT_SIZE_MAX];
    const struct mirror_hold *hold = unit_hold(verify, row, &text);
    int64_t place = pg_get_int64(pg_rows_value(row, 0, 1));
    if (hold == NULL)
        return;
    const struct event_settings *settings = mirror_event_settings(verify->mirror, hold->event);
    if (place < 0 || place >= hold->seat_count || settings == NULL) {
        tell(verify, "%s: the hold has no such seat", text.text);
        return;
    }
    const struct record_seat *seat = &mirror_hold_seats(hold)[place];
    struct bytes said = {name, seat_text(settings, seat->ref, name)};
    expect(verify, is_text(pg_rows_value(row, 0, 2), said), text.text, "seat", pg_rows_value(row, 0, 2));
    expect(verify, pg_get_int64(pg_rows_value(row, 0, 3)) == seat->version, text.text, "version",
           pg_rows_value(row, 0, 3));
    expect(verify, is_text(pg_rows_value(row, 0, 4), mirror_event_id(verify->mirror, hold->event)),
           text.text, "event_id", pg_rows_value(row, 0, 4));
}

static void
compare_hold_pool(struct verify *verify, const struct pg_rows *row)
{
    struct id_text text;
    const struct mirror_hold *hold = unit_hold(verify, row, &text);
    int64_t place = pg_get_int64(pg_rows_value(row, 0, 1));
    if (hold == NULL)
        return;
    const struct event_settings *settings = mirror_event_settings(verify->mirror, hold->event);
    if (place < 0 || place >= hold->pool_count || settings == NULL) {
        tell(verify, "%s: the hold has no such pool", text.text);
        return;
    }
    const struct record_pool *pool = &mirror_hold_pools(hold)[place];
    const struct name *name = &event_settings_pools(settings)[pool->pool].name;
    expect(verify, is_text(pg_rows_value(row, 0, 2), (struct bytes){name->text, name->size}), text.text,
           "pool", pg_rows_value(row, 0, 2));
    expect(verify, pg_get_int64(pg_rows_value(row, 0, 3)) == pool->quantity, text.text, "quantity",
           pg_rows_value(row, 0, 3));
}

/* Each unit is there once (the tables' keys), so as many rows as units means all of them. */
static void
missing_units(struct verify *verify, bool seats)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < mirror_hold_count(verify->mirror); i++) {
        const struct mirror_hold *hold = mirror_hold_at(verify->mirror, i);
        units += seats ? hold->seat_count : hold->pool_count;
    }
    if (units != verify->tally->rows - verify->tally->older)
        tell(verify, "%" PRIu64 " rows in PostgreSQL, %" PRIu64 " units in the journal",
             verify->tally->rows - verify->tally->older, units);
}

/* ---- seats ---- */

static const struct pg_statement select_seats = {
    "v_seat", "SELECT event_id, seat, state, version, hold_id FROM holdfast.seat ORDER BY event_id, seat"};

static void
compare_seat(struct verify *verify, const struct pg_rows *row)
{
    static const char *const states[] = {"free", "held", "sold"};
    char text[EVENT_ID_SIZE_MAX + SEAT_TEXT_SIZE_MAX + 2];
    struct bytes event_id = pg_get_bytes(pg_rows_value(row, 0, 0)),
                 name = pg_get_bytes(pg_rows_value(row, 0, 1));
    (void)snprintf(text, sizeof text, "%.*s %.*s", (int)event_id.size, event_id.data, (int)name.size,
                   name.data); /* fits, or is cut */
    int64_t event = mirror_event_find(verify->mirror, event_id);
    const struct event_settings *settings =
        event >= 0 ? mirror_event_settings(verify->mirror, (uint32_t)event) : NULL;
    seat_ref ref;
    struct mirror_seat *seat = settings != NULL && event_seat_named(settings, name, &ref)
                                   ? mirror_seat_find(verify->mirror, (uint32_t)event, ref)
                                   : NULL;
    if (seat == NULL) {
        tell(verify, "%s: the journal has never touched it", text);
        return;
    }
    seat->seen = true;
    int64_t version = pg_get_int64(pg_rows_value(row, 0, 3));
    struct uuid hold = pg_get_uuid(pg_rows_value(row, 0, 4));
    expect(verify, is_word(pg_rows_value(row, 0, 2), states[seat->state]), text, "state",
           pg_rows_value(row, 0, 2));
    expect(verify, seat->kept ? version <= seat->version : version == seat->version, text, "version",
           pg_rows_value(row, 0, 3));
    bool same = seat->state == 0 ? pg_rows_value(row, 0, 4).data == NULL : uuid_equal(&hold, &seat->hold);
    expect(verify, same, text, "hold_id", pg_rows_value(row, 0, 4));
}

static void
missing_seats(struct verify *verify)
{
    for (uint32_t i = 0; i < mirror_seat_count(verify->mirror); i++) {
        const struct mirror_seat *seat = mirror_seat_at(verify->mirror, i);
        if (seat->seen || seat->kept)
            continue;
        char name[SEAT_TEXT_SIZE_MAX];
        const struct event_settings *settings =
            mirror_event_settings(verify->mirror, (uint32_t)(seat->key >> 32));
        uint32_t size = settings != NULL ? seat_text(settings, (seat_ref)seat->key, name) : 0;
        tell(verify, "%.*s: PostgreSQL does not have it", (int)size, name);
    }
}

/* ---- tokens ---- */

static const struct pg_statement select_tokens = {"v_token",
                                                  "SELECT id, event_id, user_id, state, joined_at, "
                                                  "activated_at, ended_at FROM holdfast.token ORDER BY id"};

static void
compare_token(struct verify *verify, const struct pg_rows *row)
{
    struct uuid id = pg_get_uuid(pg_rows_value(row, 0, 0));
    struct id_text text = text_of(&id);
    struct mirror_token *token = mirror_token_find(verify->mirror, &id);
    struct pg_value state = pg_rows_value(row, 0, 3);
    bool ended = !is_word(state, "waiting") && !is_word(state, "active");
    if (token == NULL && mirror_generation(verify->mirror) != 0 && ended) {
        verify->tally->older++;
        return;
    }
    if (token == NULL) {
        tell(verify, "%s: the journal does not know it", text.text);
        return;
    }
    token->seen = true;
    expect(verify, is_text(pg_rows_value(row, 0, 1), mirror_event_id(verify->mirror, token->event)),
           text.text, "event_id", pg_rows_value(row, 0, 1));
    expect(verify, is_text(pg_rows_value(row, 0, 2), (struct bytes){token->user, token->user_size}),
           text.text, "user_id", pg_rows_value(row, 0, 2));
    expect(verify, is_word(state, token_state_word(token->state)), text.text, "state", state);
    expect(verify, pg_get_time(pg_rows_value(row, 0, 4)) == uuid_time_ms(&id), text.text, "joined_at",
           pg_rows_value(row, 0, 4));
    if (token->kept)
        return;
    expect(verify, pg_get_time(pg_rows_value(row, 0, 5)) == token->activated_ms, text.text, "activated_at",
           pg_rows_value(row, 0, 5));
    expect(verify, pg_get_time(pg_rows_value(row, 0, 6)) == token->ended_ms, text.text, "ended_at",
           pg_rows_value(row, 0, 6));
}

static void
missing_tokens(struct verify *verify)
{
    for (uint32_t i = 0; i < mirror_token_count(verify->mirror); i++) {
        const struct mirror_token *token = mirror_token_at(verify->mirror, i);
        if (!token->seen)
            tell(verify, "%s: PostgreSQL does not have it", text_of(&token->id).text);
    }
}

/* ---- the outbox ---- */

static const struct pg_statement select_outbox = {
    "v_outbox",
    "SELECT id, aggregateid, type, seq, shard, payload ->> coalesce(nullif(aggregatetype, 'event'), 'id') "
    "FROM (SELECT id, aggregatetype, aggregateid, type, seq, shard, payload FROM holdfast.outbox UNION ALL "
    "SELECT id, aggregatetype, aggregateid, type, seq, shard, payload FROM holdfast.outbox_dead) AS o"};

static void
compare_published(struct verify *verify, const struct pg_rows *row)
{
    struct uuid id = pg_get_uuid(pg_rows_value(row, 0, 0));
    struct id_text text = text_of(&id);
    struct mirror_result *result = mirror_result_find(verify->mirror, &id);
    if (result == NULL && mirror_generation(verify->mirror) != 0) {
        verify->tally->older++;
        return;
    }
    if (result == NULL) {
        tell(verify, "%s: the journal has no such result", text.text);
        return;
    }
    if (result->seen)
        tell(verify, "%s: it is there twice", text.text);
    result->seen = true;
    const char *word = mirror_result_word(result->type);
    bool event = strncmp(word, "Event", 5) == 0;
    uint32_t number;
    memcpy(&number, result->of.byte, sizeof number);
    struct id_text of = text_of(&result->of);
    struct bytes wanted =
        event ? mirror_event_id(verify->mirror, number) : (struct bytes){of.text, UUID_TEXT_SIZE};
    expect(verify, is_text(pg_rows_value(row, 0, 1), wanted), text.text, "aggregateid",
           pg_rows_value(row, 0, 1));
    expect(verify, is_text(pg_rows_value(row, 0, 5), wanted), text.text, "payload",
           pg_rows_value(row, 0, 5));
    expect(verify, is_word(pg_rows_value(row, 0, 2), word), text.text, "type", pg_rows_value(row, 0, 2));
    expect(verify, pg_get_int64(pg_rows_value(row, 0, 3)) == (int64_t)result->sequence, text.text, "seq",
           pg_rows_value(row, 0, 3));
    expect(verify, pg_get_int64(pg_rows_value(row, 0, 4)) == result->shard, text.text, "shard",
           pg_rows_value(row, 0, 4));
}

static void
missing_published(struct verify *verify)
{
    for (uint32_t i = 0; i < mirror_result_count(verify->mirror); i++) {
        const struct mirror_result *result = mirror_result_at(verify->mirror, i);
        if (result->seen ||
            (result->epoch == verify->base_epoch && result->sequence <= verify->base_seq[result->shard]))
            continue;
        if (verify->pruned)
            verify->gone++;
        else
            tell(verify, "%s (%s): PostgreSQL does not have it", text_of(&result->id).text,
                 mirror_result_word(result->type));
    }
}

/* ---- all ---- */

static const struct pg_statement select_relay = {"v_relay", "SELECT position FROM holdfast.relay"};
static const struct pg_statement select_base = {"v_base",
                                                "SELECT base_epoch, base.seq FROM holdfast.persister, "
                                                "unnest(base_seq) WITH ORDINALITY AS base (seq, n) "
                                                "ORDER BY n"};

static bool
look_at_base(struct verify *verify, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (!pg_query(verify->pg, &select_base, 0, NULL, &rows, ret_error))
        return false;
    for (uint32_t i = 0; i < pg_rows_count(rows) && i < SHARDS_MAX; i++) {
        verify->base_epoch = (uint64_t)pg_get_int64(pg_rows_value(rows, i, 0));
        verify->base_seq[i] = (uint64_t)pg_get_int64(pg_rows_value(rows, i, 1));
    }
    pg_rows_free(rows);
    return true;
}

static bool
look_at_relay(struct verify *verify, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (!pg_query(verify->pg, &select_relay, 0, NULL, &rows, ret_error))
        return false;
    verify->pruned = pg_rows_count(rows) > 0 && pg_get_int64(pg_rows_value(rows, 0, 0)) > 0;
    pg_rows_free(rows);
    return true;
}

static bool
compare_all(struct verify *verify, struct tally *tallies, uint32_t count, struct pg_error *ret_error)
{
    static const struct {
        const struct pg_statement *statement;
        compare_row *compare;
    } tables[] = {{&select_events, compare_event},         {&select_holds, compare_hold},
                  {&select_hold_seats, compare_hold_seat}, {&select_hold_pools, compare_hold_pool},
                  {&select_seats, compare_seat},           {&select_tokens, compare_token},
                  {&select_outbox, compare_published}};
    for (uint32_t i = 0; i < count; i++) {
        if (!compare_table(verify, &tallies[i], tables[i].statement, tables[i].compare, ret_error))
            return false;
        verify->tally = &tallies[i];
        if (i == 0)
            missing_events(verify);
        else if (i == 1)
            missing_holds(verify);
        else if (i <= 3)
            missing_units(verify, i == 2);
        else if (i == 4)
            missing_seats(verify);
        else if (i == 5)
            missing_tokens(verify);
        else
            missing_published(verify);
    }
    return true;
}

static int
report(const struct verify *verify, const struct persister_place *place, const struct tally *tallies,
       uint32_t count)
{
    uint64_t mismatches = 0, rows = 0;
    (void)printf("%-12s %12s %12s %12s\n", "table", "rows", "older", "mismatches");
    for (uint32_t i = 0; i < count; i++) {
        (void)printf("%-12s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", tallies[i].table, tallies[i].rows,
                     tallies[i].older, tallies[i].mismatches);
        mismatches += tallies[i].mismatches;
        rows += tallies[i].rows;
    }
    if (verify->gone > 0)
        (void)printf("%" PRIu64 " results are not in the outbox any more: the relay has delivered some\n",
                     verify->gone);
    (void)printf("epoch %" PRIu64 ", step %" PRIu64 ": %" PRIu64 " records of journal, %" PRIu64
                 " rows, %" PRIu64 " mismatches\n",
                 place->epoch, place->step, mirror_records(verify->mirror), rows, mismatches);
    return mismatches == 0 ? 0 : 1;
}

static int
compare(struct verify *verify, const struct persister_place *place)
{
    struct tally tallies[] = {{.table = "event"},     {.table = "hold"}, {.table = "hold_seat"},
                              {.table = "hold_pool"}, {.table = "seat"}, {.table = "token"},
                              {.table = "outbox"}};
    const uint32_t count = sizeof tallies / sizeof tallies[0];
    struct pg_error error;
    char text[MIRROR_TEXT_SIZE_MAX];
    if (place->epoch == 0) {
        (void)fprintf(stderr,
                      "holdfast verify: PostgreSQL has nothing yet: no persister has carried anything\n");
        return 1;
    }
    if (!mirror_build(verify->mirror, place, text)) {
        (void)fprintf(stderr,
                      "holdfast verify: the journal cannot be replayed up to where PostgreSQL is: %s\n",
                      text);
        return 1;
    }
    if (!look_at_relay(verify, &error) || !look_at_base(verify, &error) ||
        !compare_all(verify, tallies, count, &error)) {
        (void)fprintf(stderr, "holdfast verify: PostgreSQL: %s\n", error.text);
        return 1;
    }
    return report(verify, place, tallies, count);
}

int
verify(const char *data, const struct pg_settings *settings)
{
    struct data_folder folder;
    struct persister_place place;
    struct verify verify = {.told = 0};
    struct pg_error error;
    char cause[4200];
    int code = 1;
    if (data_folder_open(data, &folder, cause, sizeof cause) != 0) {
        (void)fprintf(stderr, "holdfast verify: %s\n", cause);
        return 1;
    }
    if (!pg_connect(settings, &verify.pg, &error) ||
        !pg_run(verify.pg, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", &error) ||
        !session_look(verify.pg, folder.route_seed, &place, &error))
        (void)fprintf(stderr, "holdfast verify: PostgreSQL: %s\n", error.text);
    else if (mirror_open(&verify.mirror, &folder) != 0)
        (void)fprintf(stderr, "holdfast verify: no memory\n");
    else
        code = compare(&verify, &place);
    mirror_close(verify.mirror);
    pg_bytes_done(&verify.scratch);
    pg_close(verify.pg);
    data_folder_close(&folder);
    return code;
}
