/*
 * postgres_for_update_pipelined.c - postgres_for_update.c by a driver that sends statements together where
 * none needs the answer of the one before: the row is locked for one round trip less than three.
 *
 *     BEGIN; SELECT stock ... FOR UPDATE     one round trip, which waits for whoever has the row
 *     UPDATE stock - 1; INSERT hold; COMMIT  another one; the commit's fsync frees the row
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    POSTGRES_BEGIN,  {"look", "SELECT stock FROM deal WHERE event_id = 1 FOR UPDATE"},
    POSTGRES_TAKE,   POSTGRES_HOLD,
    POSTGRES_COMMIT, POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    postgres_send(purchase->postgres, "begin", 0, NULL);
    postgres_send(purchase->postgres, "look", 0, NULL);
    postgres_sync(purchase->postgres);
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    if (purchase->round > 1)
        return postgres_taken(purchase, ret_outcome);
    postgres_take_and_hold(purchase, round->results[1].value[0]);
    return POSTGRES_MORE;
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_for_update_pipelined = {
    .name = "postgres-for-update-pipelined",
    .what = "PostgreSQL SELECT ... FOR UPDATE, statements sent together",
    .sale = RIVAL_DEAL,
    .client = &client,
    .prepare = postgres_prepare_deal,
    .write = purchase_write,
    .read = purchase_read,
    .audit = postgres_audit_deal};
