/*
 * migrate.c - brings the schema to the state that this binary knows.
 *
 *     lock ─▶ schema and table of migrations, if missing ─▶ what is recorded? ─▶ for each further one:
 *             BEGIN, the file, its record, COMMIT ─▶ unlock
 *
 * A file is named NNNN_words.sql; its number is its place. What was applied is recorded with a checksum of
 * its text, because a file that is changed after it was applied somewhere makes two databases that differ
 * and say they are the same: corrections are new files.
 */
#include "persist/migrate.h"

#include "persist/journal_format.h"
#include "persist/pg_binary.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Made by the build from persist/migrations/, in the order of names. */
struct migration {
    const char *name;
    const char *begin;
    const char *end;
};
extern const struct migration migrations_begin[];
extern const struct migration migrations_end[];

uint32_t
migration_count(void)
{
    return (uint32_t)(migrations_end - migrations_begin);
}

static uint32_t
checksum(const struct migration *migration)
{
    return crc32c(0, migration->begin, (size_t)(migration->end - migration->begin));
}

static bool
fail(struct pg_error *ret_error, const char *format, const char *name)
{
    *ret_error = (struct pg_error){.kind = PG_PERMANENT};
    (void)snprintf(ret_error->text, sizeof ret_error->text, format, name); /* cut where too long */
    return false;
}

static const char prelude[] =
    "CREATE SCHEMA IF NOT EXISTS holdfast;"
    "CREATE TABLE IF NOT EXISTS holdfast.migration (number int PRIMARY KEY, name text NOT NULL,"
    " checksum bigint NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());";

/* Any number that nobody else is likely to lock. */
#define LOCK_NUMBER "7235126590245138541"

static const struct pg_statement select_there = {"migration_there",
                                                 "SELECT to_regclass('holdfast.migration') IS NOT NULL"};
static const struct pg_statement select_done = {
    "migration_done", "SELECT number, name, checksum FROM holdfast.migration ORDER BY number"};

/* How many have been applied, after a look at each that was. */
static bool
read_done(struct pg *pg, uint32_t *ret_done, struct pg_error *ret_error)
{
    struct pg_rows *rows;
    if (!pg_query(pg, &select_done, 0, NULL, &rows, ret_error))
        return false;
    bool good = true;
    uint32_t count = pg_rows_count(rows);
    for (uint32_t i = 0; i < count && good; i++) {
        char name[128];
        pg_get_text(pg_rows_value(rows, i, 1), name, sizeof name);
        if (i >= migration_count())
            good = fail(ret_error,
                        "the database has the migration '%s', which this version does not know: use the "
                        "version that applied it, or a newer one",
                        name);
        else if (strcmp(name, migrations_begin[i].name) != 0 ||
                 pg_get_int64(pg_rows_value(rows, i, 2)) != (int64_t)checksum(&migrations_begin[i]))
            good =
                fail(ret_error,
                     "the migration '%s' that the database has is not the one of this version: the schema "
                     "was made by something else; use another database",
                     name);
    }
    pg_rows_free(rows);
    *ret_done = count;
    return good;
}

static bool
apply(struct pg *pg, uint32_t index, struct pg_error *ret_error)
{
    const struct migration *migration = &migrations_begin[index];
    size_t size = (size_t)(migration->end - migration->begin);
    size_t capacity = size + 512;
    char *sql = malloc(capacity);
    if (sql == NULL)
        return fail(ret_error, "no memory for the migration '%s'", migration->name);
    (void)snprintf(sql, capacity,
                   "BEGIN;\n%.*s\nINSERT INTO holdfast.migration (number, name, checksum) VALUES (%u, "
                   "'%s', %u);\nCOMMIT;",
                   (int)size, migration->begin, index + 1, migration->name,
                   checksum(migration)); /* fits: names are ours */
    bool good = pg_run(pg, sql, ret_error);
    free(sql);
    struct pg_error dropped;
    if (!good && pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", &dropped); /* the first error is what counts */
    return good;
}

static bool
bring(struct pg *pg, uint32_t *ret_applied, struct pg_error *ret_error)
{
    uint32_t done;
    struct pg_rows *rows;
    if (!pg_query(pg, &select_there, 0, NULL, &rows, ret_error))
        return false;
    bool there = pg_get_bool(pg_rows_value(rows, 0, 0));
    pg_rows_free(rows);
    /* asked first: whoever may only use the schema needs no right to make it */
    if ((!there && !pg_run(pg, prelude, ret_error)) || !read_done(pg, &done, ret_error))
        return false;
    for (*ret_applied = 0; done < migration_count(); done++, (*ret_applied)++)
        if (!apply(pg, done, ret_error))
            return false;
    return true;
}

bool
migrate(struct pg *pg, uint32_t *ret_applied, struct pg_error *ret_error)
{
    if (!pg_run(pg, "SELECT pg_advisory_lock(" LOCK_NUMBER ")", ret_error))
        return false;
    bool good = bring(pg, ret_applied, ret_error);
    struct pg_error dropped;
    if (pg_alive(pg) && !pg_run(pg, "SELECT pg_advisory_unlock(" LOCK_NUMBER ")", &dropped) && good) {
        *ret_error = dropped;
        good = false;
    }
    return good;
}
