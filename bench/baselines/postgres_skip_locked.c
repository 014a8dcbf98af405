/*
 * postgres_skip_locked.c - a row for each unit; a purchase takes the first one that is free and that nobody
 * has locked. Buyers do not wait for each other; the price is a row and an index entry a unit, dead entries
 * that every purchase steps over until they are vacuumed, and "sold out" said while the last units are
 * locked by purchases that may still fail.
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    {"buy",
     "WITH free AS (SELECT unit_id FROM unit WHERE event_id = 1 AND state = 'F' ORDER BY unit_id LIMIT 1"
     " FOR UPDATE SKIP LOCKED), taken AS (UPDATE unit SET state = 'H' FROM free WHERE unit.event_id = 1"
     " AND unit.unit_id = free.unit_id RETURNING unit.event_id, unit.unit_id)"
     " INSERT INTO hold (event_id, user_id, unit_id) SELECT event_id, $1::bigint, unit_id FROM taken"
     " RETURNING unit_id"},
    POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    postgres_send(purchase->postgres, "buy", 1, &(int64_t){purchase->wanted.buyer});
    postgres_sync(purchase->postgres);
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    const struct postgres_result *taken = &round->results[0];
    purchase->kept = taken->rows > 0 ? taken->value[0] + 1 : 0;
    return postgres_taken(purchase, ret_outcome);
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_skip_locked = {.name = "postgres-skip-locked",
                                                 .what = "PostgreSQL FOR UPDATE SKIP LOCKED, a row a unit",
                                                 .sale = RIVAL_DEAL,
                                                 .client = &client,
                                                 .prepare = postgres_prepare_units,
                                                 .write = purchase_write,
                                                 .read = purchase_read,
                                                 .audit = postgres_audit_units};
