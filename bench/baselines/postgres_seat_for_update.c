/*
 * postgres_seat_for_update.c - a row for each seat; the seat's row is locked, looked at, then changed.
 *
 *     BEGIN; SELECT ... FOR UPDATE                whether the seat is free, or its hold is over
 *     UPDATE seat; INSERT hold; COMMIT            or COMMIT alone
 */
#include "bench/baselines/postgres_script.h"

static const struct postgres_statement statements[] = {
    POSTGRES_BEGIN,
    {"look", "SELECT (state = 'F' OR (state = 'H' AND deadline < now()))::int FROM seat WHERE event_id = 1"
             " AND seat_id = $1::int FOR UPDATE"},
    {"hold", "WITH held AS (INSERT INTO hold (event_id, user_id, unit_id) VALUES (1, $1::bigint, $2::int)"
             " RETURNING hold_id, deadline) UPDATE seat SET state = 'H', hold_id = held.hold_id,"
             " deadline = held.deadline FROM held WHERE event_id = 1 AND seat_id = $2::int"},
    POSTGRES_COMMIT,
    POSTGRES_END,
};

static void
begin(struct postgres_purchase *purchase)
{
    postgres_send(purchase->postgres, "begin", 0, NULL);
    postgres_send(purchase->postgres, "look", 1, &(int64_t){purchase->wanted.seat});
    postgres_sync(purchase->postgres);
}

static enum postgres_step
then(struct postgres_purchase *purchase, const struct postgres_round *round,
     struct rival_outcome *ret_outcome)
{
    if (purchase->round > 1)
        return postgres_taken(purchase, ret_outcome);
    bool free = round->results[1].value[0] == 1;
    purchase->kept = free ? (int64_t)purchase->wanted.seat + 1 : 0;
    if (free)
        postgres_send(purchase->postgres, "hold", 2,
                      (int64_t[]){purchase->wanted.buyer, purchase->wanted.seat});
    postgres_send(purchase->postgres, "commit", 0, NULL);
    postgres_sync(purchase->postgres);
    return POSTGRES_MORE;
}

static const struct postgres_script script = {.statements = statements, .begin = begin, .then = then};
POSTGRES_CLIENT(client);

const struct rival rival_postgres_seat_for_update = {.name = "postgres-seat-for-update",
                                                     .what = "PostgreSQL FOR UPDATE, a row a seat",
                                                     .sale = RIVAL_HALL,
                                                     .client = &client,
                                                     .prepare = postgres_prepare_seats,
                                                     .write = purchase_write,
                                                     .read = purchase_read,
                                                     .audit = postgres_audit_seats};
