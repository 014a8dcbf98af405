/*
 * rival.h - one way to sell without overselling: prepare, one purchase, audit.
 *
 * Holdfast itself is one of them. A rival has a file of its own, which says what a purchase is. The
 * generator (load/) drives them all by the same lines: a rival brings a kind of client (client.h), the
 * bytes of a purchase, and what an answer means. Redis and Holdfast are spoken to by the generator's own
 * RESP and HTTP clients; a purchase that takes several round trips, as PostgreSQL's and Redlock's do, by
 * clients of their own (postgres_script.h, redlock.c), for which a purchase is one request and its outcome
 * one answer.
 */
#ifndef HOLDFAST_BENCH_RIVAL_H
#define HOLDFAST_BENCH_RIVAL_H

#include "load/client.h"

#define RIVAL_ERROR_SIZE 256
#define RIVAL_SHA_SIZE   41

/* What is on sale. Of a deal any unit will do; of a hall a purchase names its seat. */
enum rival_sale {
    RIVAL_DEAL,
    RIVAL_HALL,
};

/* Made before the connections open, read only afterwards. */
struct rival_stage {
    struct client_place place; /* place.target: PostgreSQL's connection string */
    const char *event;         /* a name that this load has for itself */
    uint32_t units;            /* stock of the deal, seats of the hall */
    char sha[RIVAL_SHA_SIZE];  /* of a Lua script, by the rival's prepare() */
};

struct rival_purchase {
    uint32_t buyer;
    uint32_t seat; /* RIVAL_HALL: from 0 */
};

enum rival_outcome_kind {
    RIVAL_GRANTED,
    RIVAL_REFUSED, /* sold out, or somebody else has the seat */
    RIVAL_GAVE_UP, /* neither: after many tries */
};

#define RIVAL_UNIT_NONE UINT32_MAX

struct rival_outcome {
    enum rival_outcome_kind kind;
    uint32_t tries; /* 1 where the first one decided */
    uint32_t unit;  /* which unit of all it is, from 0, by the answer; RIVAL_UNIT_NONE where the answer says
                       none */
};

/* What the server says afterwards. */
struct rival_audit {
    uint64_t holds;      /* recorded */
    uint64_t units_left; /* for sale */
};

struct rival {
    const char *name;
    const char *what; /* a line for people */
    enum rival_sale sale;
    bool oversells; /* the control */
    const struct client_kind *client;

    /* Empties it and puts the units on sale. False: ret_error says why, RIVAL_ERROR_SIZE bytes. */
    bool (*prepare)(struct rival_stage *stage, char *ret_error);

    /* The bytes of a purchase, for the kind of client it names. */
    void (*write)(const struct rival_stage *stage, const struct rival_purchase *purchase,
                  struct request_text *ret_request);

    /* What the answer says. ret_outcome is set to tries 1 and no unit before. False: a purchase has no such
     * answer. */
    bool (*read)(const struct answer *answer, const struct rival_purchase *purchase,
                 struct rival_outcome *ret_outcome);

    bool (*audit)(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error);
};

/* By name; NULL where there is none. */
const struct rival *rival_find(const char *name);

/* All of them, ending with NULL. */
extern const struct rival *const rivals_all[];

/* ---- purchases of several round trips: one request, one answer ---- */

/* For write(): the purchase as it is. */
void purchase_write(const struct rival_stage *stage, const struct rival_purchase *purchase,
                    struct request_text *ret_request);

/* For read(): what purchase_queue_next() answered. */
bool purchase_read(const struct answer *answer, const struct rival_purchase *purchase,
                   struct rival_outcome *ret_outcome);

/* The purchases that a client was asked for. It works on one at a time, the oldest; more of them wait, as
 * buyers wait for a connection of a pool. */
#define PURCHASES_MAX 1024
struct purchase_queue {
    struct rival_purchase ring[PURCHASES_MAX];
    uint32_t first;
    uint32_t count;
    bool busy; /* the oldest is under way */
    struct answer_value values[3];
    struct answer answer;
};

/* For append(). More than PURCHASES_MAX are a programmer's error. */
void purchase_queue_add(struct purchase_queue *queue, const struct request_text *request);

/* The oldest one, where none is under way; from then on it is. NULL: nothing to begin. */
const struct rival_purchase *purchase_queue_begin(struct purchase_queue *queue);

/* The one under way is over. The answer is valid until the next call. */
const struct answer *purchase_queue_end(struct purchase_queue *queue, const struct rival_outcome *outcome);

/* ---- for those who wait: one connection, one command after the other ---- */

/* Words up to NULL. False: ret_error says why, also where the answer is an error. */
bool resp_command(struct client *client, const char *const *words, const struct answer **ret_answer,
                  char *ret_error);

/* The same for one number: an integer, or a text that is one; below zero and nil are 0. */
bool resp_number(struct client *client, const char *const *words, uint64_t *ret_number, char *ret_error);

/* Empties a Redis; puts the stock of a deal there (NULL: of none); loads a script (NULL: none). */
bool redis_prepare(struct rival_stage *stage, const char *stock_key, const char *lua, char *ret_error);

/* Two numbers of a Redis, each asked for by the words of one command. */
bool redis_numbers(const struct rival_stage *stage, const char *const *words_1, uint64_t *ret_1,
                   const char *const *words_2, uint64_t *ret_2, char *ret_error);

/* An integer answer: what is left of the stock, below zero where there is none. */
bool stock_read(const struct answer *answer, struct rival_outcome *ret_outcome);

#endif
