/*
 * postgres_conditional.c - the stock is changed where there is some; the hold follows in the same
 * transaction.
 *
 *     BEGIN; UPDATE stock - 1 WHERE stock > 0     one round trip; its row says whether there was one
 *     INSERT hold; COMMIT                         another one
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    POSTGRES_BEGIN,
    {"take", "UPDATE deal SET stock = stock - 1 WHERE event_id = 1 AND stock > 0 RETURNING stock"},
    POSTGRES_HOLD,
    POSTGRES_COMMIT,
    POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    postgres_send(purchase->postgres, "begin", 0, NULL);
    postgres_send(purchase->postgres, "take", 0, NULL);
    postgres_sync(purchase->postgres);
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    if (purchase->round > 1)
        return postgres_taken(purchase, ret_outcome);
    const struct postgres_result *taken = &round->results[1];
    purchase->kept = taken->rows > 0 ? taken->value[0] + 1 : 0;
    if (taken->rows > 0)
        postgres_send(purchase->postgres, "hold", 1, &(int64_t){purchase->wanted.buyer});
    postgres_send(purchase->postgres, "commit", 0, NULL);
    postgres_sync(purchase->postgres);
    return POSTGRES_MORE;
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_conditional = {.name = "postgres-conditional",
                                                 .what = "PostgreSQL conditional UPDATE",
                                                 .sale = RIVAL_DEAL,
                                                 .client = &client,
                                                 .prepare = postgres_prepare_deal,
                                                 .write = purchase_write,
                                                 .read = purchase_read,
                                                 .audit = postgres_audit_deal};
