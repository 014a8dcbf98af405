/*
 * postgres_one_statement.c - the conditional UPDATE and the hold in one statement, which is its own
 * transaction: one round trip, and the row is locked no longer than the server itself needs. The best that
 * one row in PostgreSQL can do.
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    {"buy", "WITH taken AS (UPDATE deal SET stock = stock - 1 WHERE event_id = 1 AND stock > 0"
            " RETURNING event_id, stock), held AS (INSERT INTO hold (event_id, user_id)"
            " SELECT event_id, $1::bigint FROM taken) SELECT stock FROM taken"},
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

const struct rival rival_postgres_one_statement = {
    .name = "postgres-one-statement",
    .what = "PostgreSQL conditional UPDATE and INSERT in one statement",
    .sale = RIVAL_DEAL,
    .client = &client,
    .prepare = postgres_prepare_deal,
    .write = purchase_write,
    .read = purchase_read,
    .audit = postgres_audit_deal};
