/*
 * rival.c - the list of all rivals, and what those with several round trips a purchase share.
 */
#include "bench/baselines/rival.h"

#include <assert.h>
#include <string.h>

#define RIVAL(name) extern const struct rival name
RIVAL(rival_holdfast_resp_deal);
RIVAL(rival_holdfast_resp_hall);
RIVAL(rival_holdfast_http_deal);
RIVAL(rival_postgres_for_update);
RIVAL(rival_postgres_for_update_pipelined);
RIVAL(rival_postgres_conditional);
RIVAL(rival_postgres_one_statement);
RIVAL(rival_postgres_skip_locked);
RIVAL(rival_postgres_advisory_lock);
RIVAL(rival_postgres_serializable);
RIVAL(rival_postgres_seat_for_update);
RIVAL(rival_postgres_naive);
RIVAL(rival_redis_set_nx);
RIVAL(rival_redis_lua_seat);
RIVAL(rival_redis_lua_deal);
RIVAL(rival_redis_decr);
RIVAL(rival_redlock);
RIVAL(rival_http_order);

const struct rival *const rivals_all[] = {
    &rival_holdfast_resp_deal,
    &rival_holdfast_resp_hall,
    &rival_holdfast_http_deal,
    &rival_postgres_for_update,
    &rival_postgres_for_update_pipelined,
    &rival_postgres_conditional,
    &rival_postgres_one_statement,
    &rival_postgres_skip_locked,
    &rival_postgres_advisory_lock,
    &rival_postgres_serializable,
    &rival_postgres_seat_for_update,
    &rival_postgres_naive,
    &rival_redis_set_nx,
    &rival_redis_lua_seat,
    &rival_redis_lua_deal,
    &rival_redis_decr,
    &rival_redlock,
    &rival_http_order,
    NULL,
};

const struct rival *
rival_find(const char *name)
{
    for (const struct rival *const *rival = rivals_all; *rival != NULL; rival++)
        if (strcmp((*rival)->name, name) == 0)
            return *rival;
    return NULL;
}

void
purchase_write(const struct rival_stage *stage, const struct rival_purchase *purchase,
               struct request_text *ret_request)
{
    (void)stage;
    ret_request->size = 0;
    request_put(ret_request, (struct bytes){(const char *)purchase, sizeof *purchase});
}

void
purchase_queue_add(struct purchase_queue *queue, const struct request_text *request)
{
    assert(request->size == sizeof(struct rival_purchase));
    assert(queue->count < PURCHASES_MAX);
    memcpy(&queue->ring[(queue->first + queue->count++) % PURCHASES_MAX], request->data, request->size);
}

const struct rival_purchase *
purchase_queue_begin(struct purchase_queue *queue)
{
    if (queue->busy || queue->count == 0)
        return NULL;
    queue->busy = true;
    return &queue->ring[queue->first];
}

const struct answer *
purchase_queue_end(struct purchase_queue *queue, const struct rival_outcome *outcome)
{
    assert(queue->busy);
    assert(queue->count > 0);
    queue->busy = false;
    queue->first = (queue->first + 1) % PURCHASES_MAX;
    queue->count--;
    const int64_t numbers[] = {outcome->kind, outcome->tries, outcome->unit};
    for (uint32_t i = 0; i < 3; i++)
        queue->values[i] = (struct answer_value){.kind = ANSWER_INTEGER, .integer = numbers[i]};
    queue->answer = (struct answer){.values = queue->values, .count = 3, .text = ""};
    return &queue->answer;
}

bool
purchase_read(const struct answer *answer, const struct rival_purchase *purchase,
              struct rival_outcome *ret_outcome)
{
    (void)purchase;
    assert(answer->count == 3);
    *ret_outcome = (struct rival_outcome){.kind = (enum rival_outcome_kind)answer->values[0].integer,
                                          .tries = (uint32_t)answer->values[1].integer,
                                          .unit = (uint32_t)answer->values[2].integer};
    return true;
}
