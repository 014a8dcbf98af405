/*
 * postgres_naive.c - the control: reads the stock, and writes back one less, with nothing in between that
 * keeps others away. It oversells; a comparison whose audit does not count that here proves nothing
 * anywhere.
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    POSTGRES_BEGIN,
    {"look", "SELECT stock FROM deal WHERE event_id = 1"},
    {"write", "UPDATE deal SET stock = $1::bigint WHERE event_id = 1"},
    POSTGRES_HOLD,
    POSTGRES_COMMIT,
    POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    postgres_send(purchase->postgres, "look", 0, NULL);
    postgres_sync(purchase->postgres);
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    if (purchase->round > 1)
        return postgres_taken(purchase, ret_outcome);
    int64_t stock = round->results[0].value[0];
    purchase->kept = stock;
    if (stock <= 0)
        return postgres_taken(purchase, ret_outcome);
    postgres_send(purchase->postgres, "begin", 0, NULL);
    postgres_send(purchase->postgres, "write", 1, &(int64_t){stock - 1});
    postgres_send(purchase->postgres, "hold", 1, &(int64_t){purchase->wanted.buyer});
    postgres_send(purchase->postgres, "commit", 0, NULL);
    postgres_sync(purchase->postgres);
    return POSTGRES_MORE;
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_naive = {.name = "postgres-naive",
                                           .what = "PostgreSQL read, then write (control: oversells)",
                                           .sale = RIVAL_DEAL,
                                           .oversells = true,
                                           .client = &client,
                                           .prepare = postgres_prepare_deal,
                                           .write = purchase_write,
                                           .read = purchase_read,
                                           .audit = postgres_audit_deal};
