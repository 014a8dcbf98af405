/*
 * postgres_for_update.c - the row of the stock is locked, looked at, then changed: what most shops do.
 *
 *     BEGIN                            a round trip for each statement, as drivers and pgbench have it
 *     SELECT stock ... FOR UPDATE      waits for whoever has the row
 *     UPDATE stock - 1; INSERT hold    where there was some
 *     COMMIT                           its fsync frees the row
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    POSTGRES_BEGIN,  {"look", "SELECT stock FROM deal WHERE event_id = 1 FOR UPDATE"},
    POSTGRES_TAKE,   POSTGRES_HOLD,
    POSTGRES_COMMIT, POSTGRES_END,
};

static void
send_alone(struct postgres_purchase *purchase, const char *statement)
{
    postgres_send(purchase->postgres, statement, 0, NULL);
    postgres_sync(purchase->postgres);
}

static void
begin(struct postgres_purchase *purchase)
{
    send_alone(purchase, "begin");
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    enum { BEGUN = 1, LOOKED, TAKEN, HELD, COMMITTED };
    switch (purchase->round) {
    case BEGUN:
        send_alone(purchase, "look");
        return POSTGRES_MORE;
    case LOOKED:
        purchase->kept = round->results[0].value[0];
        if (purchase->kept > 0) {
            send_alone(purchase, "take");
        } else {
            send_alone(purchase, "commit");
            purchase->round = HELD;
        }
        return POSTGRES_MORE;
    case TAKEN:
        postgres_send(purchase->postgres, "hold", 1, &(int64_t){purchase->wanted.buyer});
        postgres_sync(purchase->postgres);
        return POSTGRES_MORE;
    case HELD:
        send_alone(purchase, "commit");
        return POSTGRES_MORE;
    default:
        return postgres_taken(purchase, ret_outcome);
    }
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_for_update = {.name = "postgres-for-update",
                                                .what = "PostgreSQL SELECT ... FOR UPDATE",
                                                .sale = RIVAL_DEAL,
                                                .client = &client,
                                                .prepare = postgres_prepare_deal,
                                                .write = purchase_write,
                                                .read = purchase_read,
                                                .audit = postgres_audit_deal};
