/*
 * http_order.c - the typical service: POST /orders, in front of a row in PostgreSQL. fastapi/app.py and
 * go/main.go are two of them, and either does what postgres_for_update.c does or what
 * postgres_conditional.c does. The tables are prepared and audited in PostgreSQL itself, past the service.
 */
#include "bench/baselines/postgres_script.h"

#include <stdio.h>

static void
write_order(const struct rival_stage *stage, const struct rival_purchase *purchase,
            struct request_text *ret_request)
{
    static const char target[] = "/orders";
    char body[64];
    (void)stage;
    int size = snprintf(body, sizeof body, "{\"event\":1,\"user\":%u}", purchase->buyer + 1);
    http_begin(ret_request, "POST", (struct bytes){target, sizeof target - 1});
    http_end(ret_request, (struct bytes){body, (uint32_t)size});
}

static bool
read_order(const struct answer *answer, const struct rival_purchase *purchase,
           struct rival_outcome *ret_outcome)
{
    int64_t status = answer->values[0].integer;
    (void)purchase;
    ret_outcome->kind = status == 201 ? RIVAL_GRANTED : RIVAL_REFUSED;
    if (status != 201)
        return status == 409;
    uint32_t unit = answer_find(answer, 1, "unit");
    if (unit == 0 || answer->values[unit].kind != ANSWER_INTEGER)
        return false;
    ret_outcome->unit = (uint32_t)answer->values[unit].integer;
    return true;
}

const struct rival rival_http_order = {.name = "http-order",
                                       .what = "a service over HTTP in front of PostgreSQL",
                                       .sale = RIVAL_DEAL,
                                       .client = &http_client,
                                       .prepare = postgres_prepare_deal,
                                       .write = write_order,
                                       .read = read_order,
                                       .audit = postgres_audit_deal};
