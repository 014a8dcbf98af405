/*
 * postgres_serializable.c - no lock is asked for; PostgreSQL lets one of two transactions that cannot be
 * put in an order fail (40001), and the client begins again. It begins again at once: the loser has waited
 * for the winner's commit already, so a pause would only add to that.
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    {"begin", "BEGIN ISOLATION LEVEL SERIALIZABLE"},
    {"look", "SELECT stock FROM deal WHERE event_id = 1"},
    POSTGRES_TAKE,
    POSTGRES_HOLD,
    POSTGRES_COMMIT,
    {"rollback", "ROLLBACK"},
    POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    purchase->kept = -1;
    postgres_send(purchase->postgres, "begin", 0, NULL);
    postgres_send(purchase->postgres, "look", 0, NULL);
    postgres_sync(purchase->postgres);
}

/* Rounds: looked; taken and committed. One that lost is followed by a round with the rollback. */
static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    if (purchase->kept == INT64_MIN)
        return POSTGRES_AGAIN;
    if (postgres_round_lost(round)) {
        purchase->kept = INT64_MIN;
        postgres_send(purchase->postgres, "rollback", 0, NULL);
        postgres_sync(purchase->postgres);
        return POSTGRES_MORE;
    }
    if (purchase->round > 1)
        return postgres_taken(purchase, ret_outcome);
    postgres_take_and_hold(purchase, round->results[1].value[0]);
    return POSTGRES_MORE;
}

static const struct postgres_script script = {
    .statements = statements, .begin = begin, .then = then, .may_lose = true};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_serializable = {.name = "postgres-serializable",
                                                  .what = "PostgreSQL SERIALIZABLE, again where it lost",
                                                  .sale = RIVAL_DEAL,
                                                  .client = &client,
                                                  .prepare = postgres_prepare_deal,
                                                  .write = purchase_write,
                                                  .read = purchase_read,
                                                  .audit = postgres_audit_deal};
