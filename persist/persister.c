/*
 * persister.c - the way of a persister.
 *
 *     open    publish the position (before the server may remove anything) ─▶ PostgreSQL: schema, lock,
 * place run     ┌─▶ take certain batches ─▶ rows ─▶ one transaction with the cursor ─▶ position ─┐ │
 * nothing there: sleep a little                                                │
 *             └────────────────────────────────────────────────────────────────────────────────┘
 *             any failure: everything in memory is dropped, and built again from what PostgreSQL says
 *
 * The last line is the whole of its recovery: what a COMMIT whose answer was lost has done, what another
 * persister did meanwhile, what a server put back from a copy has forgotten: there is one way to find out,
 * and it is gone every time.
 *
 * Circuit breaker (R7): after a failure PostgreSQL is left alone for 0.1 s, then twice that and so on up to
 * backoff_ms_max, each time a random part of half of it less, so that many persisters do not come back at
 * once; then it is tried once (half open). Meanwhile nothing is read and no memory grows: the journal waits
 * on disk.
 */
#include "persist/persister.h"

#include "persist/journal_tool_internal.h"
#include "persist/log.h"
#include "persist/migrate.h"
#include "persist/persister_base.h"
#include "persist/persister_follow.h"
#include "persist/persister_lag.h"
#include "persist/persister_place.h"
#include "persist/persister_session.h"
#include "persist/persister_write.h"
#include "persist/relay_thread.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define CONNECT_SECONDS 10
#define CAUSE_SIZE      4200
#define REFUSAL_SIZE    1536
#define BACKOFF_MS_MIN  100
#define IDLE_MS_MIN     1
#define IDLE_MS_MAX     16
#define EVENT_WAIT_MS   10000   /* for an event's record in another journal */
#define READ_ON_RECORDS 262144u /* for it, beyond a transaction's size; memory grows no further */
#define LOCK_WAIT_MS    3000    /* at the start: for the session of one that was killed to end */

enum breaker {
    BREAKER_CLOSED,
    BREAKER_OPEN,
    BREAKER_HALF_OPEN,
};

/* Read by the listener's thread: relaxed, nothing is decided by them. */
struct figures {
    _Atomic uint64_t steps;
    _Atomic uint64_t records;
    _Atomic uint64_t rows;
    _Atomic uint64_t copy_rows;
    _Atomic uint64_t published;
    _Atomic uint64_t holds_read;
    _Atomic uint64_t unknown_holds;
    _Atomic uint64_t contradictions;
    _Atomic uint64_t failures;
    _Atomic uint64_t connects;
    _Atomic uint64_t breaker_opened;
    _Atomic uint64_t breaker;
    _Atomic uint64_t cache_holds;
    _Atomic uint64_t cache_bytes;
    _Atomic uint64_t epoch;
    _Atomic uint64_t commit_us_sum;
    _Atomic uint64_t commit_us_max;
};

struct persister {
    struct persister_settings settings;
    char application[128];
    struct data_folder folder;
    /* what is dropped after a failure */
    struct pg *pg;              /* NULL: not connected */
    struct follower *follower;  /* NULL: there is no journal yet */
    struct relay_thread *relay; /* NULL: none */
    struct persister_place place;
    struct event_table *events;
    struct known_holds *holds;
    struct work work;
    bool working; /* the work has records */
    uint64_t event_wanted_since_ms;
    struct writer *writer;
    struct persister_place published; /* in persist.position */
    /* the breaker */
    enum breaker breaker;
    uint32_t backoff_ms;
    uint64_t retry_ms;
    uint64_t away_since_ms;
    char trouble[REFUSAL_SIZE]; /* what is wrong now; for the log */
    /* lines about rows */
    uint64_t log_second;
    uint32_t logged;
    struct figures figures;
    struct lag_meter lag;
};

static uint64_t
clock_of(clockid_t clock)
{
    struct timespec now;
    int result = clock_gettime(clock, &now);
    assert(result == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t
monotonic_ms(void)
{
    return clock_of(CLOCK_MONOTONIC) / 1000;
}

static uint64_t
wall_ms(void)
{
    return clock_of(CLOCK_REALTIME) / 1000;
}

static bool
stopping(const struct persister *persister)
{
    return atomic_load_explicit(persister->settings.stop, memory_order_acquire);
}

static void
figure_set(_Atomic uint64_t *figure, uint64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

static void
figure_add(_Atomic uint64_t *figure, uint64_t value)
{
    (void)atomic_fetch_add_explicit(figure, value, memory_order_relaxed); /* the old value is nobody's */
}

static uint64_t
figure(_Atomic uint64_t *figure_of)
{
    return atomic_load_explicit(figure_of, memory_order_relaxed);
}

static struct pg_settings
session_settings(const struct persister *persister)
{
    return (struct pg_settings){
        .uri = persister->settings.postgres,
        .application = persister->application,
        .connect_seconds = CONNECT_SECONDS,
        .wait_ms = persister->settings.wait_ms,
        .stop = persister->settings.stop,
    };
}

/* "database 'x' on HOST port N: what it said (SQLSTATE 00000)" */
static void
refusal_text(const struct persister_settings *settings, const struct pg_error *error,
             char ret_text[REFUSAL_SIZE])
{
    char where[256];
    pg_uri_text(settings->postgres, where, sizeof where);
    (void)snprintf(ret_text, REFUSAL_SIZE, "PostgreSQL, %s: %s%s%s%s", where, error->text,
                   error->sqlstate[0] != '\0' ? " (SQLSTATE " : "", error->sqlstate,
                   error->sqlstate[0] != '\0' ? ")" : ""); /* cut where too long */
}

static void
tell_refused(const struct persister_settings *settings, const struct pg_error *error)
{
    char text[REFUSAL_SIZE];
    refusal_text(settings, error, text);
    log_error("%s", text);
}

bool
persister_migrate(const struct persister_settings *settings)
{
    struct persister persister = {.settings = *settings};
    struct pg_error error;
    struct pg *pg;
    uint32_t applied = 0;
    session_application(persister.application, sizeof persister.application);
    struct pg_settings pg_settings = session_settings(&persister);
    if (!pg_connect(&pg_settings, &pg, &error)) {
        tell_refused(settings, &error);
        return false;
    }
    bool good = migrate(pg, &applied, &error);
    pg_close(pg);
    if (good)
        log_info("the schema has %u migrations; %u of them were applied now", migration_count(), applied);
    else
        tell_refused(settings, &error);
    return good;
}

/* ---- the position ---- */

/* Only a new epoch or segment lets the server remove something. */
static void
publish_position(struct persister *persister)
{
    const struct persister_place *place = &persister->place;
    bool same = persister->published.epoch == place->epoch &&
                persister->published.shard_count == place->shard_count;
    for (uint32_t i = 0; i < place->shard_count && same; i++)
        same = persister->published.positions[i].segment == place->positions[i].segment;
    if (same)
        return;
    int result = place_publish(persister->settings.data, place);
    if (result == 0)
        persister->published = *place;
    else
        log_warning(
            "could not write '%s/persist.position': %s: the server keeps more journal than is needed",
            persister->settings.data, strerror(-result));
}

/* ---- sessions ---- */

/* Everything that may not be what PostgreSQL says. */
static void
drop_session(struct persister *persister)
{
    pg_close(persister->pg);
    persister->pg = NULL;
    follower_close(persister->follower);
    persister->follower = NULL;
    holds_clear(persister->holds);
    event_table_clear(persister->events);
    work_begin(&persister->work);
    persister->working = false;
    persister->event_wanted_since_ms = 0;
    persister->place = (struct persister_place){0};
}

/* The journals, from the place on. `text`: of PLACE_WRONG. */
static enum place_found
find_place(struct persister *persister, char ret_text[PLACE_TEXT_SIZE_MAX])
{
    struct persister_place place = persister->place;
    enum place_found found = place_find(&persister->folder, &place, ret_text);
    if (found == PLACE_GOOD && follower_open(&persister->follower, &persister->folder, &place) != 0) {
        (void)snprintf(ret_text, PLACE_TEXT_SIZE_MAX, "no memory"); /* fits */
        return PLACE_WRONG;
    }
    if (found == PLACE_GOOD) {
        persister->place = place;
        lag_meter_move(&persister->lag, &place);
    }
    return found;
}

/* What a work has changed is in PostgreSQL now. */
static void
settle_work(struct persister *persister)
{
    holds_settle(persister->holds);
    figure_set(&persister->figures.cache_holds, holds_count(persister->holds));
    figure_set(&persister->figures.cache_bytes, holds_bytes(persister->holds));
    for (uint32_t i = 0; persister->work.events_changed && i < event_table_count(persister->events); i++)
        event_table_at(persister->events, i)->touched = false;
    work_begin(&persister->work);
}

/* Several transactions, of which only the last moves the cursor: whoever comes after an interrupted one
 * clears up. */
static bool
carry_base(struct persister *persister, struct base *base, struct pg_error *ret_error)
{
    struct work *work = &persister->work;
    struct persister_place place = persister->place;
    const struct persister_place nowhere = {.step = place.step};
    uint64_t holds = 0;
    event_table_clear(persister->events);
    if (!writer_clear(persister->pg, ret_error) ||
        !writer_base(persister->writer, persister->pg, base_place(base), ret_error))
        return false;
    for (work_begin(work); base_next(base, work);) {
        if (!writer_commit(persister->writer, persister->pg, work, &place, &nowhere, ret_error))
            return false;
        settle_work(persister);
    }
    holds = writer_counts(persister->writer)->rows;
    if (work->failed) {
        *ret_error = (struct pg_error){.kind = PG_TRANSIENT, .text = "no memory"};
        return false;
    }
    work_begin(work);
    if (!writer_commit(persister->writer, persister->pg, work, &place, base_place(base), ret_error))
        return false;
    persister->place = place;
    log_info("begun with snapshot %" PRIu64 ": %" PRIu64 " rows; what happened before it is not published",
             base_generation(base), holds);
    return true;
}

/* The beginning of the journal is gone. */
static bool
begin_with_snapshot(struct persister *persister, struct pg_error *ret_error)
{
    struct base *base;
    char text[MIRROR_TEXT_SIZE_MAX];
    log_info("the beginning of the journal has been removed, and this database has nothing yet: beginning "
             "with the "
             "newest snapshot");
    *ret_error = (struct pg_error){.kind = PG_PERMANENT};
    if (!base_open(&base, &persister->folder, text)) {
        (void)snprintf(ret_error->text, sizeof ret_error->text,
                       "(not PostgreSQL:) there is no snapshot to begin with: %s", text); /* fits */
        return false;
    }
    bool good = carry_base(persister, base, ret_error);
    base_close(base);
    return good;
}

static bool
prepare_session(struct persister *persister, struct pg_error *ret_error)
{
    if (!session_place(persister->pg, persister->folder.route_seed, &persister->place, ret_error) ||
        !writer_prepare(persister->pg, ret_error) ||
        !writer_events(persister->pg, persister->events, ret_error))
        return false;
    char text[PLACE_TEXT_SIZE_MAX];
    enum place_found found = find_place(persister, text);
    if (found == PLACE_SNAPSHOT) {
        if (!begin_with_snapshot(persister, ret_error))
            return false;
        found = find_place(persister, text);
    }
    if (found == PLACE_WRONG || found == PLACE_SNAPSHOT) {
        *ret_error = (struct pg_error){.kind = PG_PERMANENT};
        (void)snprintf(ret_error->text, sizeof ret_error->text, "(not PostgreSQL:) %s", text); /* fits */
        return false;
    }
    figure_add(&persister->figures.connects, 1);
    figure_set(&persister->figures.steps, persister->place.step);
    figure_set(&persister->figures.epoch, persister->place.epoch);
    return true;
}

static bool
open_session(struct persister *persister, bool first, bool *ret_locked, struct pg_error *ret_error)
{
    struct pg_settings settings = session_settings(persister);
    if (!session_open(&settings, first, &persister->pg, ret_locked, ret_error))
        return false;
    if (!prepare_session(persister, ret_error)) {
        drop_session(persister);
        return false;
    }
    return true;
}

/* ---- the breaker ---- */

static void
set_breaker(struct persister *persister, enum breaker breaker)
{
    persister->breaker = breaker;
    figure_set(&persister->figures.breaker, breaker);
}

static void
breaker_trip(struct persister *persister, const struct pg_error *error)
{
    uint32_t random = 0;
    char text[REFUSAL_SIZE];
    (void)getrandom(&random, sizeof random, 0); /* none: no jitter */
    drop_session(persister);
    figure_add(&persister->figures.failures, 1);
    if (persister->breaker == BREAKER_CLOSED) {
        persister->backoff_ms = BACKOFF_MS_MIN;
        persister->away_since_ms = monotonic_ms();
        figure_add(&persister->figures.breaker_opened, 1);
    } else if (persister->backoff_ms < persister->settings.backoff_ms_max) {
        persister->backoff_ms *= 2;
        if (persister->backoff_ms > persister->settings.backoff_ms_max)
            persister->backoff_ms = persister->settings.backoff_ms_max;
    }
    set_breaker(persister, BREAKER_OPEN);
    uint32_t wait_ms = persister->backoff_ms - random % (persister->backoff_ms / 2);
    persister->retry_ms = monotonic_ms() + wait_ms;
    refusal_text(&persister->settings, error, text);
    if (stopping(persister) || strcmp(text, persister->trouble) == 0)
        return; /* told already */
    memcpy(persister->trouble, text, sizeof text);
    if (error->kind == PG_PERMANENT)
        log_error("%s: this needs somebody; trying again after %u ms and more", text, wait_ms);
    else
        log_warning("%s: the journal waits; trying again after %u ms and more", text, wait_ms);
}

/* False: it is still away. */
static bool
breaker_try(struct persister *persister)
{
    struct pg_error error;
    bool locked;
    if (monotonic_ms() < persister->retry_ms)
        return false;
    set_breaker(persister, BREAKER_HALF_OPEN);
    if (!open_session(persister, false, &locked, &error)) {
        breaker_trip(persister, &error);
        return false;
    }
    set_breaker(persister, BREAKER_CLOSED);
    log_info("PostgreSQL is there again after %" PRIu64 " ms: going on behind step %" PRIu64,
             monotonic_ms() - persister->away_since_ms, persister->place.step);
    persister->trouble[0] = '\0';
    return true;
}

/* ---- carrying ---- */

/* Lines about what requests with an id of their own have caused. */
static void
log_rows(struct persister *persister)
{
    const struct work *work = &persister->work;
    uint64_t second = monotonic_ms() / 1000;
    if (second != persister->log_second) {
        persister->log_second = second;
        persister->logged = 0;
    }
    for (uint32_t i = 0; i < work->published_count; i++) {
        const struct published *row = &work->published[i];
        struct log_cause cause = {.trace_id = ""};
        char of[UUID_TEXT_SIZE];
        if (row->request_id.size == 0 || persister->logged >= persister->settings.log_rows_per_second)
            continue;
        persister->logged++;
        memcpy(cause.request_id, row->request_id.data, row->request_id.size);
        (void)put_hex(cause.trace_id, row->trace.trace_id,
                      sizeof row->trace.trace_id); /* its end is known */
        (void)put_uuid(of, &row->of);              /* likewise */
        log_info_of(&cause, "carried %s %.*s", published_type_word(row->type), (int)sizeof of, of);
    }
}

static void
count_work(struct persister *persister, uint64_t commit_us)
{
    const struct work_counts *counts = &persister->work.counts;
    struct figures *figures = &persister->figures;
    const struct write_counts *written = writer_counts(persister->writer);
    figure_set(&figures->steps, persister->place.step);
    figure_set(&figures->epoch, persister->place.epoch);
    figure_add(&figures->records, counts->records);
    figure_add(&figures->published, persister->work.published_count);
    figure_add(&figures->unknown_holds, counts->unknown_holds);
    figure_add(&figures->contradictions, counts->contradictions);
    figure_set(&figures->rows, written->rows);
    figure_set(&figures->copy_rows, written->copy_rows);
    figure_set(&figures->holds_read, written->holds_read);
    figure_add(&figures->commit_us_sum, commit_us);
    if (commit_us > figure(&figures->commit_us_max))
        figure_set(&figures->commit_us_max, commit_us);
    if (counts->unknown_holds + counts->contradictions > 0)
        log_error("step %" PRIu64 ": %" PRIu64 " records name holds that PostgreSQL does not have, %" PRIu64
                  " contradict what came before: they were passed over; run holdfast verify",
                  persister->place.step, counts->unknown_holds, counts->contradictions);
}

/* One transaction: what was taken, or only the cursor. */
static bool
carry_work(struct persister *persister, const struct persister_place *next)
{
    struct pg_error error;
    struct work *work = &persister->work;
    uint64_t begun_us = clock_of(CLOCK_MONOTONIC);
    bool good = writer_missing(persister->writer, persister->pg, work, &error);
    if (good && !work_fold(work)) {
        error = (struct pg_error){.kind = PG_TRANSIENT, .text = "no memory"};
        good = false;
    }
    good = good && writer_commit(persister->writer, persister->pg, work, &persister->place, next, &error);
    if (!good) {
        breaker_trip(persister, &error);
        return false;
    }
    if (persister->relay != NULL && work->published_count > 0)
        relay_thread_wake(persister->relay);
    lag_meter_move(&persister->lag, &persister->place);
    count_work(persister, clock_of(CLOCK_MONOTONIC) - begun_us);
    log_rows(persister);
    settle_work(persister);
    persister->working = false;
    persister->event_wanted_since_ms = 0;
    publish_position(persister);
    return true;
}

static void
journal_failed(struct persister *persister, const struct journal_fault *fault)
{
    struct pg_error error = {.kind = PG_PERMANENT};
    (void)snprintf(error.text, sizeof error.text,
                   "(not PostgreSQL:) the journal cannot be followed: %s/journal/%s, byte %" PRIu64
                   ": %s: see holdfast journal verify",
                   persister->settings.data, fault->file, fault->offset,
                   fault->text); /* cut where too long */
    breaker_trip(persister, &error);
}

/* Takes what is certain, up to a transaction's size, and beyond where an event's record is still wanted. */
static enum follow
take_batches(struct persister *persister)
{
    const struct batch_header *batch;
    enum follow follow = FOLLOW_NONE;
    uint64_t most = persister->settings.batch_records;
    while (persister->work.counts.records < most ||
           (persister->work.counts.records < most + READ_ON_RECORDS && !work_ready(&persister->work))) {
        follow = follower_next(persister->follower, monotonic_ms(), &batch);
        if (follow != FOLLOW_BATCH)
            break;
        if (!work_take(&persister->work, batch)) {
            struct journal_fault fault = {.text = "no memory, or a batch with bytes that are no record"};
            journal_failed(persister, &fault);
            return FOLLOW_FAILED;
        }
    }
    if (follow == FOLLOW_FAILED)
        journal_failed(persister, follower_fault(persister->follower));
    return follow;
}

/* Does one thing. False: there was nothing to do. */
static bool
carry(struct persister *persister)
{
    struct persister_place next = persister->place;
    char text[PLACE_TEXT_SIZE_MAX];
    if (persister->follower == NULL && find_place(persister, text) != PLACE_GOOD)
        return false; /* no journal yet */
    if (!persister->working)
        work_begin(&persister->work);
    enum follow follow = take_batches(persister);
    if (follow == FOLLOW_FAILED)
        return true;
    persister->working = persister->work.counts.records > 0;
    if (persister->working) {
        if (!work_ready(&persister->work)) {
            uint64_t now_ms = monotonic_ms();
            if (persister->event_wanted_since_ms == 0)
                persister->event_wanted_since_ms = now_ms;
            if (follow != FOLLOW_EPOCH && now_ms < persister->event_wanted_since_ms + EVENT_WAIT_MS)
                return follow == FOLLOW_BATCH;
        }
        follower_positions(persister->follower, &next);
        return carry_work(persister, &next);
    }
    if (follow == FOLLOW_EPOCH) {
        if (!follower_next_epoch(persister->follower)) {
            journal_failed(persister, follower_fault(persister->follower));
            return true;
        }
        follower_positions(persister->follower, &next);
        log_info("epoch %" PRIu64 " has been carried to its end; going on with epoch %" PRIu64
                 " of %u shards",
                 persister->place.epoch, next.epoch, next.shard_count);
        return carry_work(persister, &next);
    }
    return false;
}

void
persister_run(struct persister *persister)
{
    uint32_t idle_ms = IDLE_MS_MIN;
    while (!stopping(persister)) {
        if (persister->pg == NULL && !breaker_try(persister)) {
            (void)poll(NULL, 0, IDLE_MS_MAX); /* a signal ends it earlier */
            continue;
        }
        if (carry(persister)) {
            idle_ms = IDLE_MS_MIN;
            continue;
        }
        struct pg_error error;
        if (persister->pg == NULL)
            continue; /* it has failed */
        if (!pg_idle(persister->pg, idle_ms, &error)) {
            breaker_trip(persister, &error);
            continue;
        }
        if (idle_ms < IDLE_MS_MAX)
            idle_ms *= 2;
    }
}

/* ---- opening ---- */

/* The first session. Whoever was killed a moment ago may still have the lock: its end is waited for. */
static bool
open_first(struct persister *persister)
{
    struct pg_error error;
    bool locked;
    uint64_t deadline_ms = monotonic_ms() + LOCK_WAIT_MS;
    while (!open_session(persister, true, &locked, &error)) {
        if (!locked || monotonic_ms() >= deadline_ms || stopping(persister)) {
            tell_refused(&persister->settings, &error);
            return false;
        }
        (void)poll(NULL, 0, 100);
    }
    publish_position(persister);
    if (persister->place.epoch == 0)
        log_info("waiting for the server's first journal in '%s'", persister->settings.data);
    else
        log_info("going on behind step %" PRIu64 ", in epoch %" PRIu64, persister->place.step,
                 persister->place.epoch);
    return true;
}

static bool
open_parts(struct persister *persister)
{
    if (event_table_open(&persister->events) != 0 ||
        holds_open(&persister->holds, persister->settings.cache_bytes) != 0 ||
        writer_open(&persister->writer, persister->settings.copy_rows) != 0) {
        log_error("no memory");
        return false;
    }
    work_open(&persister->work, persister->folder.route_seed, persister->holds, persister->events);
    return true;
}

bool
persister_open(struct persister **ret_persister, const struct persister_settings *settings)
{
    char cause[CAUSE_SIZE];
    struct persister *persister = calloc(1, sizeof *persister);
    if (persister == NULL) {
        log_error("no memory");
        return false;
    }
    persister->settings = *settings;
    lag_meter_open(&persister->lag);
    session_application(persister->application, sizeof persister->application);
    if (data_folder_open(settings->data, &persister->folder, cause, sizeof cause) != 0) {
        log_error("%s: is it the server's (--data)? a server must have been started there once", cause);
        lag_meter_close(&persister->lag);
        free(persister);
        return false;
    }
    int result = place_publish_first(settings->data);
    if (result != 0)
        log_error("could not write '%s/persist.position': %s: run as the user of the server",
                  settings->data, strerror(-result));
    if (result != 0 || !open_parts(persister) || !open_first(persister)) {
        persister_close(persister);
        return false;
    }
    *ret_persister = persister;
    return true;
}

void
persister_set_relay(struct persister *persister, struct relay_thread *relay)
{
    persister->relay = relay;
}

void
persister_close(struct persister *persister)
{
    pg_close(persister->pg);
    follower_close(persister->follower);
    writer_close(persister->writer);
    work_done(&persister->work);
    holds_close(persister->holds);
    event_table_close(persister->events);
    data_folder_close(&persister->folder);
    lag_meter_close(&persister->lag);
    free(persister);
}

/* ---- for the listener ---- */

static size_t
put_metric(char *text, size_t size, const char *kind, const char *name, const char *help, uint64_t value)
{
    int written = snprintf(
        text, size,
        "# HELP holdfast_persister_%s %s\n# TYPE holdfast_persister_%s %s\nholdfast_persister_%s %" PRIu64
        "\n",
        name, help, name, kind, name, value);
    return written > 0 && (size_t)written < size ? (size_t)written : 0;
}

size_t
persister_metrics(struct persister *persister, char *ret_text, size_t size)
{
    struct figures *figures = &persister->figures;
    const struct {
        const char *kind;
        const char *name;
        const char *help;
        _Atomic uint64_t *value;
    } metrics[] = {
        {"counter", "transactions_total", "transactions that carried something, of all time",
         &figures->steps},
        {"counter", "records_total", "records carried", &figures->records},
        {"counter", "rows_total", "rows written", &figures->rows},
        {"counter", "rows_copied_total", "of these by COPY", &figures->copy_rows},
        {"counter", "outbox_rows_total", "results put into the outbox", &figures->published},
        {"counter", "holds_read_total", "holds read again from PostgreSQL", &figures->holds_read},
        {"counter", "holds_missing_total", "records of holds that PostgreSQL has not",
         &figures->unknown_holds},
        {"counter", "contradictions_total", "records that were passed over", &figures->contradictions},
        {"counter", "failures_total", "transactions and connects that failed", &figures->failures},
        {"counter", "connects_total", "sessions begun", &figures->connects},
        {"gauge", "breaker_state", "PostgreSQL: 0 closed, 1 open, 2 half open", &figures->breaker},
        {"counter", "breaker_opened_total", "times it was found away", &figures->breaker_opened},
        {"gauge", "cache_holds", "holds remembered", &figures->cache_holds},
        {"gauge", "cache_bytes", "bytes of these", &figures->cache_bytes},
        {"gauge", "epoch", "of the server, that is being carried", &figures->epoch},
        {"counter", "transaction_us_sum", "time of transactions", &figures->commit_us_sum},
        {"gauge", "transaction_us_max", "the longest one", &figures->commit_us_max},
    };
    const struct lag lag = lag_meter_read(&persister->lag, &persister->folder, wall_ms());
    size_t used = put_metric(ret_text, size, "gauge", "lag_ms",
                             "age of the oldest record in the journals that is not carried", lag.ms);
    used += put_metric(ret_text + used, size - used, "gauge", "lag_records",
                       "records in the journals that are not carried", lag.records);
    used += put_metric(ret_text + used, size - used, "gauge", "lag_bytes",
                       "of journal, from the first of them on", lag.bytes);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        used += put_metric(ret_text + used, size - used, metrics[i].kind, metrics[i].name, metrics[i].help,
                           figure(metrics[i].value));
    if (persister->relay != NULL)
        used += relay_thread_metrics(persister->relay, ret_text + used, size - used);
    return used;
}

bool
persister_healthy(struct persister *persister, char *ret_text, size_t size)
{
    bool healthy = figure(&persister->figures.breaker) == BREAKER_CLOSED;
    (void)snprintf(ret_text, size, "%s\n",
                   healthy ? "ok" : "PostgreSQL is away: the journal waits"); /* fits */
    return healthy;
}
