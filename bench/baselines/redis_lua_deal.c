/*
 * redis_lua_deal.c - counted stock as people write it for Redis: one script that looks, takes, and says so
 * in a stream from which a worker carries the sale on. Run by its digest (EVALSHA).
 */
#include "bench/baselines/rival.h"

#include <stdio.h>

static const char lua[] = "local stock = tonumber(redis.call('GET', KEYS[1]))\n"
                          "if not stock or stock < 1 then return -1 end\n"
                          "redis.call('DECR', KEYS[1])\n"
                          "redis.call('XADD', KEYS[2], '*', 'user', ARGV[1], 'quantity', 1)\n"
                          "return stock - 1\n";

static bool
prepare(struct rival_stage *stage, char *ret_error)
{
    return redis_prepare(stage, "stock", lua, ret_error);
}

static void
write_buy(const struct rival_stage *stage, const struct rival_purchase *purchase,
          struct request_text *ret_request)
{
    char user[24];
    snprintf(user, sizeof user, "u%u", purchase->buyer);
    request_begin(ret_request, 6);
    request_text(ret_request, "EVALSHA");
    request_text(ret_request, stage->sha);
    request_text(ret_request, "2");
    request_text(ret_request, "stock");
    request_text(ret_request, "sales");
    request_text(ret_request, user);
}

static bool
read_buy(const struct answer *answer, const struct rival_purchase *purchase,
         struct rival_outcome *ret_outcome)
{
    (void)purchase;
    return stock_read(answer, ret_outcome);
}

static bool
audit(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    return redis_numbers(stage, (const char *const[]){"XLEN", "sales", NULL}, &ret_audit->holds,
                         (const char *const[]){"GET", "stock", NULL}, &ret_audit->units_left, ret_error);
}

const struct rival rival_redis_lua_deal = {.name = "redis-lua-deal",
                                           .what = "Redis, stock and a stream in Lua",
                                           .sale = RIVAL_DEAL,
                                           .client = &resp_client,
                                           .prepare = prepare,
                                           .write = write_buy,
                                           .read = read_buy,
                                           .audit = audit};
