/*
 * persister_session.c - what stands between a connection and carrying:
 *
 *     connect ─▶ (first: migrate, rights) ─▶ lock ─▶ whose is it, and how far?
 *
 * Of two persisters the second is refused here, by an advisory lock that lasts as long as the session; it
 * learns who has it. The lock is for people. What keeps two from both carrying, whatever becomes of
 * sessions and locks, is holdfast.step(): see persister_write.c.
 */
#include "persist/persister_session.h"

#include "persist/migrate.h"
#include "persist/pg_binary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The session's lock: any number that nobody else is likely to take. */
#define LOCK_HIGH "1684629350"
#define LOCK_LOW  "1"

void
session_application(char *ret_text, size_t size)
{
    char host[48] = "?";
    (void)gethostname(host, sizeof host - 1); /* cut where too long; it is for people */
    (void)snprintf(ret_text, size, "holdfast persist %s:%d", host, (int)getpid());
}

static bool
fail(struct pg_error *ret_error, const char *text)
{
    *ret_error = (struct pg_error){.kind = PG_PERMANENT};
    (void)snprintf(ret_error->text, sizeof ret_error->text, "%s", text); /* cut where too long */
    return false;
}

/* Puts what to do behind what the server said. */
static void
advise(struct pg_error *error, const char *advice)
{
    size_t size = strlen(error->text);
    (void)snprintf(error->text + size, sizeof error->text - size, ": %s", advice); /* cut where too long */
}

static const struct pg_statement select_rights = {
    "rights", "SELECT string_agg(name, ', ') FROM "
              "unnest(ARRAY['event','hold','hold_seat','hold_pool','seat','token','outbox',"
              "'outbox_dead','cursor','persister','event_record','relay']) AS name"
              " WHERE NOT (has_table_privilege('holdfast.' || name, 'SELECT') AND"
              " has_table_privilege('holdfast.' || name, 'INSERT') AND has_table_privilege('holdfast.' || "
              "name, 'UPDATE') AND"
              " has_table_privilege('holdfast.' || name, 'DELETE'))"};

static bool
look_at_rights(struct pg *pg, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (!pg_query(pg, &select_rights, 0, NULL, &rows, ret_error))
        return false;
    struct pg_value missing = pg_rows_value(rows, 0, 0);
    bool good = missing.data == NULL;
    if (!good) {
        char text[PG_TEXT_SIZE_MAX];
        (void)snprintf(
            text, sizeof text,
            "this role may not read and write all of schema holdfast (not: %.*s): GRANT SELECT, INSERT, "
            "UPDATE, DELETE ON ALL TABLES IN SCHEMA holdfast and USAGE ON SCHEMA holdfast to it, or "
            "connect as the owner",
            (int)missing.size, (const char *)missing.data); /* cut where too long */
        (void)fail(ret_error, text);
    }
    pg_rows_free(rows);
    return good;
}

static const struct pg_statement select_lock = {"lock",
                                                "SELECT pg_try_advisory_lock(" LOCK_HIGH ", " LOCK_LOW ")"};
static const struct pg_statement select_holder = {
    "holder", "SELECT a.pid::int8, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'the "
              "local socket'),"
              " to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
              " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
              " WHERE l.locktype = 'advisory' AND l.granted AND l.classid = " LOCK_HIGH
              " AND l.objid = " LOCK_LOW " AND l.objsubid = 2 AND l.database = (SELECT oid FROM "
              "pg_database WHERE datname = current_database())"};

static bool
tell_holder(struct pg *pg, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    char text[PG_TEXT_SIZE_MAX] = "another persister is at work on this database";
    if (!pg_query(pg, &select_holder, 0, NULL, &rows, ret_error))
        return false;
    if (pg_rows_count(rows) > 0) {
        char application[128], address[64], since[32];
        pg_get_text(pg_rows_value(rows, 0, 1), application, sizeof application);
        pg_get_text(pg_rows_value(rows, 0, 2), address, sizeof address);
        pg_get_text(pg_rows_value(rows, 0, 3), since, sizeof since);
        (void)snprintf(text, sizeof text,
                       "another persister is at work on this database: '%s', connected from %s since %s as "
                       "PostgreSQL's "
                       "process %" PRId64 ": stop that one first, or leave it to it",
                       application, address, since, pg_get_int64(pg_rows_value(rows, 0, 0))); /* fits */
    }
    pg_rows_free(rows);
    return fail(ret_error, text);
}

static bool
take_lock(struct pg *pg, bool *ret_locked_by_other, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (!pg_query(pg, &select_lock, 0, NULL, &rows, ret_error))
        return false;
    bool taken = pg_get_bool(pg_rows_value(rows, 0, 0));
    pg_rows_free(rows);
    *ret_locked_by_other = !taken;
    return taken || tell_holder(pg, ret_error);
}

bool
session_open(const struct pg_settings *settings, bool first, struct pg **ret_pg, bool *ret_locked_by_other,
             struct pg_error *ret_error)
{
    struct pg *pg;
    uint32_t applied = 0;
    *ret_locked_by_other = false;
    if (!pg_connect(settings, &pg, ret_error))
        return false;
    bool good = true;
    if (first) {
        good = migrate(pg, &applied, ret_error);
        if (!good && strcmp(ret_error->sqlstate, "42501") == 0) /* insufficient_privilege */
            advise(ret_error,
                   "the schema has to be made or changed: let the database's owner run holdfast persist "
                   "--migrate, or GRANT CREATE ON DATABASE to this role");
        if (!good && strcmp(ret_error->sqlstate, "25006") == 0)
            advise(ret_error, "this is a standby: connect to the primary");
        good = good && look_at_rights(pg, ret_error);
    }
    good = good && take_lock(pg, ret_locked_by_other, ret_error);
    if (!good) {
        pg_close(pg);
        return false;
    }
    *ret_pg = pg;
    return true;
}

static const struct pg_statement claim = {
    "claim",
    "UPDATE holdfast.persister SET directory = $1, begun_at = clock_timestamp() WHERE directory IS NULL"};
static const struct pg_statement select_persister = {"persister",
                                                     "SELECT step, directory FROM holdfast.persister"};
static const struct pg_statement select_cursor = {"cursor",
                                                  "SELECT epoch, shard, seq, segment, byte_offset, batch, "
                                                  "chain FROM holdfast.cursor ORDER BY epoch, shard"};

static bool
read_cursor(struct pg *pg, struct persister_place *place, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (!pg_query(pg, &select_cursor, 0, NULL, &rows, ret_error))
        return false;
    bool good = true;
    place->shard_count = pg_rows_count(rows);
    for (uint32_t i = 0; i < place->shard_count && good; i++) {
        struct journal_position position = {
            .epoch = (uint64_t)pg_get_int64(pg_rows_value(rows, i, 0)),
            .shard = (uint32_t)pg_get_int64(pg_rows_value(rows, i, 1)),
            .sequence = (uint64_t)pg_get_int64(pg_rows_value(rows, i, 2)),
            .segment = (uint32_t)pg_get_int64(pg_rows_value(rows, i, 3)),
            .offset = (uint64_t)pg_get_int64(pg_rows_value(rows, i, 4)),
            .batch = (uint64_t)pg_get_int64(pg_rows_value(rows, i, 5)),
            .chain = (uint32_t)pg_get_int64(pg_rows_value(rows, i, 6)),
        };
        good = i < SHARDS_MAX && position.shard == i && (i == 0 || position.epoch == place->epoch);
        if (!good)
            break;
        place->epoch = position.epoch;
        place->positions[i] = position;
    }
    pg_rows_free(rows);
    return good ||
           fail(ret_error,
                "the rows of holdfast.cursor contradict each other: somebody has changed them; begin "
                "anew with an empty schema (DROP SCHEMA holdfast CASCADE)");
}

bool
session_look(struct pg *pg, uint64_t route_seed, struct persister_place *ret_place,
             struct pg_error *ret_error)
{
    struct pg_rows *rows;
    struct persister_place place = {0};
    char ours[17], theirs[17];
    (void)snprintf(ours, sizeof ours, "%016" PRIx64, route_seed); /* fits */
    if (!pg_query(pg, &select_persister, 0, NULL, &rows, ret_error))
        return false;
    bool good = pg_rows_count(rows) == 1;
    if (good) {
        place.step = (uint64_t)pg_get_int64(pg_rows_value(rows, 0, 0));
        pg_get_text(pg_rows_value(rows, 0, 1), theirs, sizeof theirs);
    }
    pg_rows_free(rows);
    if (!good)
        return fail(ret_error,
                    "holdfast.persister has not its one row: somebody has changed it; begin anew with an "
                    "empty schema (DROP SCHEMA holdfast CASCADE)");
    if (strcmp(ours, theirs) != 0) {
        char text[256];
        (void)snprintf(
            text, sizeof text,
            "this database belongs to another data directory (mark %s there, %s here): use another "
            "database, or that directory",
            theirs, ours); /* fits */
        return fail(ret_error, text);
    }
    if (!read_cursor(pg, &place, ret_error))
        return false;
    *ret_place = place;
    return true;
}

bool
session_place(struct pg *pg, uint64_t route_seed, struct persister_place *ret_place,
              struct pg_error *ret_error)
{
    char ours[17];
    (void)snprintf(ours, sizeof ours, "%016" PRIx64, route_seed); /* fits */
    const struct pg_value value = {ours, 16};
    return pg_query(pg, &claim, 1, &value, NULL, ret_error) &&
           session_look(pg, route_seed, ret_place, ret_error);
}
