/*
 * redis_lua_seat.c - a hold of a seat as people write it for Redis: one script, so that nothing comes
 * between its steps. Who holds the seat, how many the user has against a limit, and a sorted set of
 * deadlines for somebody who sweeps them. Run by its digest (EVALSHA).
 */
#include "bench/baselines/rival.h"

#include <stdio.h>

static const char lua[] = "local holder = redis.call('HGET', KEYS[1], ARGV[1])\n"
                          "if holder then return {'HELD', holder} end\n"
                          "if redis.call('HINCRBY', KEYS[3], ARGV[2], 1) > tonumber(ARGV[4]) then\n"
                          "    redis.call('HINCRBY', KEYS[3], ARGV[2], -1)\n"
                          "    return {'LIMIT', ARGV[4]}\n"
                          "end\n"
                          "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])\n"
                          "redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])\n"
                          "return ARGV[3]\n";

#define DEADLINE_MS UINT64_C(4000000000000) /* far away; a real one differs in its value only */

static bool
prepare(struct rival_stage *stage, char *ret_error)
{
    return redis_prepare(stage, NULL, lua, ret_error);
}

static void
write_hold(const struct rival_stage *stage, const struct rival_purchase *purchase,
           struct request_text *ret_request)
{
    char user[24];
    snprintf(user, sizeof user, "u%u", purchase->buyer);
    request_begin(ret_request, 10);
    request_text(ret_request, "EVALSHA");
    request_text(ret_request, stage->sha);
    request_text(ret_request, "3");
    request_text(ret_request, "seats");
    request_text(ret_request, "deadlines");
    request_text(ret_request, "users");
    request_number(ret_request, purchase->seat);
    request_text(ret_request, user);
    request_number(ret_request, DEADLINE_MS);
    request_text(ret_request, "4");
}

static bool
read_hold(const struct answer *answer, const struct rival_purchase *purchase,
          struct rival_outcome *ret_outcome)
{
    bool granted = answer->values[0].kind == ANSWER_TEXT;
    ret_outcome->kind = granted ? RIVAL_GRANTED : RIVAL_REFUSED;
    if (granted)
        ret_outcome->unit = purchase->seat;
    return granted || answer->values[0].kind == ANSWER_ARRAY;
}

static bool
audit(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    uint64_t deadlines;
    if (!redis_numbers(stage, (const char *const[]){"HLEN", "seats", NULL}, &ret_audit->holds,
                       (const char *const[]){"ZCARD", "deadlines", NULL}, &deadlines, ret_error))
        return false;
    ret_audit->units_left = stage->units - deadlines;
    return true;
}

const struct rival rival_redis_lua_seat = {.name = "redis-lua-seat",
                                           .what = "Redis, a hold of a seat in Lua",
                                           .sale = RIVAL_HALL,
                                           .client = &resp_client,
                                           .prepare = prepare,
                                           .write = write_hold,
                                           .read = read_hold,
                                           .audit = audit};
