/*
 * clients.h - what the clients of a run ask next.
 */
#ifndef SIM_CLIENTS_H
#define SIM_CLIENTS_H

#include "tests/sim/model.h"

/* The longest wait of a long poll. */
#define CLIENT_WAIT_MS 40

/* How far a run has come with its numbered things. */
struct clients {
    uint32_t op_count;
    uint32_t hold_count;         /* slots given to requests for holds */
    uint32_t token_count;        /* slots given to joins */
    uint32_t key_count;          /* slots given to requests with a key */
    uint16_t key_next;           /* the next fresh idempotency key */
    struct random change_random; /* of keys of changes of events */
    uint16_t change_keys;        /* fresh ones so far */
    uint32_t change_key;         /* one more than the op of some change with a key; 0: none */
};

/* Fills the next op with a request that suits what is known (one of the truths). alone: nothing else will
 * be under way. False: the run has no more room. */
bool clients_ask(struct clients *clients, const struct scenario *scenario, struct random *random,
                 const struct model *model, bool alone, struct op *ops);

#endif
