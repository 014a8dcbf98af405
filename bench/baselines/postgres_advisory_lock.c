/*
 * postgres_advisory_lock.c - a lock by number keeps buyers apart, until the transaction's end; the row
 * itself is then never waited for. The lock comes in a statement before the look: a statement sees what was
 * committed when it began, and one that waited for the lock inside would see too little.
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    POSTGRES_BEGIN,
    {"lock", "SELECT pg_advisory_xact_lock(1, 1)"},
    {"look", "SELECT stock FROM deal WHERE event_id = 1"},
    POSTGRES_TAKE,
    POSTGRES_HOLD,
    POSTGRES_COMMIT,
    POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    postgres_send(purchase->postgres, "begin", 0, NULL);
    postgres_send(purchase->postgres, "lock", 0, NULL);
    postgres_send(purchase->postgres, "look", 0, NULL);
    postgres_sync(purchase->postgres);
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    if (purchase->round > 1)
        return postgres_taken(purchase, ret_outcome);
    postgres_take_and_hold(purchase, round->results[2].value[0]);
    return POSTGRES_MORE;
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_advisory_lock = {.name = "postgres-advisory-lock",
                                                   .what = "PostgreSQL advisory lock",
                                                   .sale = RIVAL_DEAL,
                                                   .client = &client,
                                                   .prepare = postgres_prepare_deal,
                                                   .write = purchase_write,
                                                   .read = purchase_read,
                                                   .audit = postgres_audit_deal};
