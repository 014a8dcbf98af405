/*
 * postgres_client.c - what all rivals on PostgreSQL share: the way of a purchase, the tables, the audit.
 *
 *     begin    the script's begin() sends its first round
 *     next     a round has come: then() sends another one, or knows the outcome, or has lost and begins
 * again
 *
 * The tables are those of a small shop: a row that counts a deal's stock, or a row for each unit, or a row
 * for each seat; and a row for each hold, with the index that somebody who lets holds expire needs. Rows
 * that are updated again and again have room beside them on their page (fillfactor), so that these updates
 * touch no index (HOT).
 */
#include "bench/baselines/postgres_script.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without an end a rival that loses again and again would look like one that waits. */
#define TRIES_MAX 1000

struct postgres_client {
    struct client client;
    const struct postgres_script *script;
    struct purchase_queue queue;
    struct postgres_purchase purchase;
    uint32_t tries;
    bool wants_room;
    char error[RIVAL_ERROR_SIZE];
};

static struct postgres_client *
self(struct client *client)
{
    return (struct postgres_client *)client;
}

struct client *
postgres_client_open(const struct client_kind *kind, const struct postgres_script *script,
                     const struct client_place *place, char *ret_error)
{
    struct postgres_client *postgres_client = calloc(1, sizeof *postgres_client);
    if (postgres_client == NULL) {
        snprintf(ret_error, 160, "out of memory");
        return NULL;
    }
    char error[RIVAL_ERROR_SIZE] = "";
    struct postgres *postgres = postgres_open(place->target, error);
    postgres_client->client.kind = kind;
    postgres_client->script = script;
    postgres_client->purchase.postgres = postgres;
    bool well = postgres != NULL;
    for (const struct postgres_statement *statement = script->statements; well && statement->name != NULL;
         statement++)
        well = postgres_name(postgres, statement->name, statement->sql, error);
    if (!well) {
        snprintf(ret_error, 160, "%.150s", error);
        postgres_client_free(&postgres_client->client);
        return NULL;
    }
    return &postgres_client->client;
}

void
postgres_client_free(struct client *client)
{
    postgres_close(self(client)->purchase.postgres);
    free(client);
}

int
postgres_client_fd(const struct client *client)
{
    return postgres_fd(((const struct postgres_client *)client)->purchase.postgres);
}

const char *
postgres_client_error(const struct client *client)
{
    return ((const struct postgres_client *)client)->error;
}

static void
begin(struct postgres_client *postgres_client)
{
    postgres_client->tries++;
    postgres_client->purchase.round = 0;
    postgres_client->script->begin(&postgres_client->purchase);
}

/* The next purchase, where the connection has nothing to do. */
static void
begin_next(struct postgres_client *postgres_client)
{
    const struct rival_purchase *wanted = purchase_queue_begin(&postgres_client->queue);
    if (wanted == NULL)
        return;
    postgres_client->purchase.wanted = *wanted;
    postgres_client->tries = 0;
    begin(postgres_client);
}

void
postgres_client_append(struct client *client, const struct request_text *request)
{
    purchase_queue_add(&self(client)->queue, request);
    begin_next(self(client));
}

static int
advance(struct postgres_client *postgres_client, bool readable)
{
    struct postgres *postgres = postgres_client->purchase.postgres;
    int result = postgres_advance(postgres, readable, &postgres_client->wants_room);
    if (result < 0)
        snprintf(postgres_client->error, sizeof postgres_client->error, "%s", postgres_error(postgres));
    return result;
}

int
postgres_client_flush(struct client *client)
{
    return advance(self(client), false) < 0 ? -1 : !self(client)->wants_room;
}

int
postgres_client_read(struct client *client)
{
    return advance(self(client), true);
}

bool
postgres_round_lost(const struct postgres_round *round)
{
    for (uint32_t i = 0; i < round->count; i++)
        if (strcmp(round->results[i].sqlstate, "40001") == 0 ||
            strcmp(round->results[i].sqlstate, "40P01") == 0)
            return true;
    return false;
}

/* An error that no script expects ends the connection, and so the measurement. */
static bool
round_is_well(struct postgres_client *postgres_client, const struct postgres_round *round)
{
    if (postgres_client->script->may_lose && postgres_round_lost(round))
        return true;
    for (uint32_t i = 0; i < round->count; i++) {
        if (round->results[i].failed) {
            snprintf(postgres_client->error, sizeof postgres_client->error,
                     "statement %u of a round failed with SQLSTATE %s", i + 1, round->results[i].sqlstate);
            return false;
        }
    }
    return true;
}

int
postgres_client_next(struct client *client, const struct answer **ret_answer)
{
    struct postgres_client *postgres_client = self(client);
    struct postgres_purchase *purchase = &postgres_client->purchase;
    struct postgres_round round;
    struct rival_outcome outcome = {.unit = RIVAL_UNIT_NONE};
    int come;
    while ((come = postgres_round(purchase->postgres, &round)) > 0) {
        if (!round_is_well(postgres_client, &round))
            return -1;
        purchase->round++;
        enum postgres_step step = postgres_client->script->then(purchase, &round, &outcome);
        if (step == POSTGRES_AGAIN && postgres_client->tries == TRIES_MAX) {
            outcome.kind = RIVAL_GAVE_UP;
            step = POSTGRES_DONE;
        }
        if (step == POSTGRES_DONE) {
            outcome.tries = postgres_client->tries;
            *ret_answer = purchase_queue_end(&postgres_client->queue, &outcome);
            begin_next(postgres_client);
        } else if (step == POSTGRES_AGAIN) {
            begin(postgres_client);
        }
        if (advance(postgres_client, false) < 0)
            return -1;
        if (step == POSTGRES_DONE)
            return 1;
    }
    if (come < 0)
        snprintf(postgres_client->error, sizeof postgres_client->error, "%s",
                 postgres_error(purchase->postgres));
    return come;
}

void
postgres_take_and_hold(struct postgres_purchase *purchase, int64_t stock)
{
    purchase->kept = stock;
    if (stock > 0) {
        postgres_send(purchase->postgres, "take", 0, NULL);
        postgres_send(purchase->postgres, "hold", 1, &(int64_t){purchase->wanted.buyer});
    }
    postgres_send(purchase->postgres, "commit", 0, NULL);
    postgres_sync(purchase->postgres);
}

enum postgres_step
postgres_taken(const struct postgres_purchase *purchase, struct rival_outcome *ret_outcome)
{
    ret_outcome->kind = purchase->kept > 0 ? RIVAL_GRANTED : RIVAL_REFUSED;
    ret_outcome->unit = purchase->kept > 0 ? (uint32_t)(purchase->kept - 1) : RIVAL_UNIT_NONE;
    return POSTGRES_DONE;
}

/* ---- tables and audit ---- */

static const char schema[] =
    "DROP TABLE IF EXISTS deal, unit, seat, hold;"
    "CREATE TABLE deal (event_id int PRIMARY KEY, stock bigint NOT NULL) WITH (fillfactor = 10);"
    "CREATE TABLE unit (event_id int, unit_id int, state \"char\" NOT NULL DEFAULT 'F',"
    " PRIMARY KEY (event_id, unit_id)) WITH (fillfactor = 70);"
    "CREATE INDEX unit_free ON unit (event_id, unit_id) WHERE state = 'F';"
    "CREATE TABLE seat (event_id int, seat_id int, state \"char\" NOT NULL DEFAULT 'F', hold_id uuid,"
    " deadline timestamptz, PRIMARY KEY (event_id, seat_id)) WITH (fillfactor = 50);"
    "CREATE TABLE hold (hold_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), event_id int NOT NULL,"
    " user_id bigint NOT NULL, unit_id int, state \"char\" NOT NULL DEFAULT 'H',"
    " deadline timestamptz NOT NULL DEFAULT now() + interval '5 minutes');"
    "CREATE INDEX hold_deadline ON hold (deadline) WHERE state = 'H';";

/* A checkpoint at the end, so that none that belongs to the preparation falls into what is measured. */
static bool
prepare(const struct rival_stage *stage, const char *fill, char *ret_error)
{
    char sql[160];
    snprintf(sql, sizeof sql, fill, stage->units);
    return postgres_run(stage->place.target, schema, NULL, ret_error) &&
           postgres_run(stage->place.target, sql, NULL, ret_error) &&
           postgres_run(stage->place.target, "VACUUM ANALYZE deal, unit, seat, hold", NULL, ret_error) &&
           postgres_run(stage->place.target, "CHECKPOINT", NULL, ret_error);
}

bool
postgres_prepare_deal(struct rival_stage *stage, char *ret_error)
{
    return prepare(stage, "INSERT INTO deal VALUES (1, %u)", ret_error);
}

bool
postgres_prepare_units(struct rival_stage *stage, char *ret_error)
{
    return prepare(stage, "INSERT INTO unit SELECT 1, generate_series(0, %u - 1)", ret_error);
}

bool
postgres_prepare_seats(struct rival_stage *stage, char *ret_error)
{
    return prepare(stage, "INSERT INTO seat SELECT 1, generate_series(0, %u - 1)", ret_error);
}

static bool
audit(const struct rival_stage *stage, const char *left, struct rival_audit *ret_audit, char *ret_error)
{
    int64_t holds, units_left;
    if (!postgres_run(stage->place.target, "SELECT count(*) FROM hold", &holds, ret_error) ||
        !postgres_run(stage->place.target, left, &units_left, ret_error))
        return false;
    *ret_audit = (struct rival_audit){(uint64_t)holds, units_left > 0 ? (uint64_t)units_left : 0};
    return true;
}

bool
postgres_audit_deal(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    return audit(stage, "SELECT stock FROM deal WHERE event_id = 1", ret_audit, ret_error);
}

bool
postgres_audit_units(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    return audit(stage, "SELECT count(*) FROM unit WHERE state = 'F'", ret_audit, ret_error);
}

bool
postgres_audit_seats(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    return audit(stage, "SELECT count(*) FROM seat WHERE state = 'F'", ret_audit, ret_error);
}
