/*
 * redis_decr.c - DECR of the stock: not below zero is a unit. The smallest thing that sells no more than
 * there is. It does not know to whom it sold; an answer that is lost on its way is a unit that nobody has;
 * and nothing gives back a unit that is not paid for.
 */
#include "bench/baselines/rival.h"

static bool
prepare(struct rival_stage *stage, char *ret_error)
{
    return redis_prepare(stage, "stock", NULL, ret_error);
}

static void
write_decr(const struct rival_stage *stage, const struct rival_purchase *purchase,
           struct request_text *ret_request)
{
    (void)stage;
    (void)purchase;
    request_begin(ret_request, 2);
    request_text(ret_request, "DECR");
    request_text(ret_request, "stock");
}

static bool
read_decr(const struct answer *answer, const struct rival_purchase *purchase,
          struct rival_outcome *ret_outcome)
{
    (void)purchase;
    return stock_read(answer, ret_outcome);
}

/* It records no holds: what is gone from the stock must be with somebody. */
static bool
audit(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    const char *const words[] = {"GET", "stock", NULL};
    if (!redis_numbers(stage, words, &ret_audit->units_left, words, &ret_audit->units_left, ret_error))
        return false;
    ret_audit->holds = stage->units - ret_audit->units_left;
    return true;
}

const struct rival rival_redis_decr = {.name = "redis-decr",
                                       .what = "Redis DECR",
                                       .sale = RIVAL_DEAL,
                                       .client = &resp_client,
                                       .prepare = prepare,
                                       .write = write_decr,
                                       .read = read_decr,
                                       .audit = audit};
