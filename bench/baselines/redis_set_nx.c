/*
 * redis_set_nx.c - SET seat user NX PX: one key a seat, which goes by itself when the hold's time is over.
 *
 * Nothing else is kept: no limit a user, no list of a user's holds, no way to pay that does not race with
 * the key's end. The quickest thing that keeps two buyers from one seat.
 */
#include "bench/baselines/rival.h"

#include <stdio.h>

static bool
prepare(struct rival_stage *stage, char *ret_error)
{
    return redis_prepare(stage, NULL, NULL, ret_error);
}

static void
write_set(const struct rival_stage *stage, const struct rival_purchase *purchase,
          struct request_text *ret_request)
{
    char seat[24], user[24];
    (void)stage;
    snprintf(seat, sizeof seat, "seat:%u", purchase->seat);
    snprintf(user, sizeof user, "u%u", purchase->buyer);
    request_begin(ret_request, 6);
    request_text(ret_request, "SET");
    request_text(ret_request, seat);
    request_text(ret_request, user);
    request_text(ret_request, "NX");
    request_text(ret_request, "PX");
    request_text(ret_request, "300000");
}

static bool
read_set(const struct answer *answer, const struct rival_purchase *purchase,
         struct rival_outcome *ret_outcome)
{
    enum answer_kind kind = answer->values[0].kind;
    ret_outcome->kind = kind == ANSWER_STATUS ? RIVAL_GRANTED : RIVAL_REFUSED;
    if (kind == ANSWER_STATUS)
        ret_outcome->unit = purchase->seat;
    return kind == ANSWER_STATUS || kind == ANSWER_NIL;
}

static bool
audit(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    const char *const words[] = {"DBSIZE", NULL};
    if (!redis_numbers(stage, words, &ret_audit->holds, words, &ret_audit->holds, ret_error))
        return false;
    ret_audit->units_left = stage->units - ret_audit->holds;
    return true;
}

const struct rival rival_redis_set_nx = {.name = "redis-set-nx",
                                         .what = "Redis SET seat NX PX",
                                         .sale = RIVAL_HALL,
                                         .client = &resp_client,
                                         .prepare = prepare,
                                         .write = write_set,
                                         .read = read_set,
                                         .audit = audit};
