/*
 * workload.h - what is asked, and what the answers mean: sale.c (deals and seats), raw.c.
 */
#ifndef HOLDFAST_LOAD_WORKLOAD_H
#define HOLDFAST_LOAD_WORKLOAD_H

#include "load/histogram.h"
#include "load/ledger.h"
#include "load/options.h"
#include "load/resp_client.h"

#include <stdatomic.h>

enum ask_kind {
    ASK_POOL,
    ASK_SEATS,
    ASK_BEST,
    ASK_CONFIRM,
    ASK_RAW,
};

/* One request, kept until its answer. */
struct ask {
    uint64_t sent_ns;
    uint32_t buyer;
    uint32_t seat;  /* ASK_SEATS: the first */
    uint32_t grant; /* ASK_CONFIRM: in the ledger */
    uint16_t units;
    uint8_t tries; /* this one included */
    uint8_t kind;  /* enum ask_kind */
};

/* Refusals by the first word of the error. */
#define REFUSAL_KINDS_MAX     32
#define REFUSAL_WORD_SIZE_MAX 24
struct refusals {
    uint32_t count;
    struct {
        char word[REFUSAL_WORD_SIZE_MAX];
        uint64_t count;
    } kind[REFUSAL_KINDS_MAX];
};

#define STRANGE_SIZE_MAX 200

/* What one thread has seen. The first counts are read by the progress line meanwhile. */
struct tally {
    _Atomic uint64_t asked; /* holds, or raw requests; confirms are not asked for */
    _Atomic uint64_t answered;
    _Atomic uint64_t held; /* raw: answers that are no refusal */
    uint64_t held_last_ns; /* when the last of these was answered */
    uint64_t confirmed;
    uint64_t lost; /* asked and never answered: the connection broke */
    uint64_t lost_units;
    uint64_t strange; /* answers that do not fit what was asked */
    char strange_first[STRANGE_SIZE_MAX];
    struct refusals refusals;
    struct refusals confirm_refusals;
    struct histogram latency; /* of holds or raw requests, in ns */
    struct ledger ledger;
};

struct raw_command;

/* A thread's view of the workload. */
struct workload {
    const struct load_options *options;
    const struct raw_command *raw; /* LOAD_RAW: shared, read only */
    _Atomic uint64_t *next_buyer;  /* shared */
    atomic_bool *stopping;         /* shared: ask no more */
    struct tally *tally;
    uint64_t random;
};

/* The next request of somebody who has not asked yet; false when there is nobody left. */
bool workload_next(struct workload *workload, struct ask *ret_ask);

/* The request's words. */
void workload_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request);

/* Takes an answer into the tally. True: the same buyer asks ret_next. */
bool workload_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
                     struct ask *ret_next);

/* The answer to this will never come. */
void workload_lost(struct workload *workload, const struct ask *ask);

/* The next number of a series that looks random (splitmix64): whole, below a bound, from 0 to 1. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);
double random_share(uint64_t *state);

void refusal_count(struct refusals *refusals, struct bytes error, uint64_t times);
void refusals_merge(struct refusals *into, const struct refusals *from);

/* raw.c: the words with their placeholders. NULL: ret_error says why, at least 160 bytes. */
struct raw_command *raw_command_read(char **words, int count, char *ret_error);
void raw_command_free(struct raw_command *command);
void raw_write(const struct raw_command *command, uint64_t number, uint64_t *random,
               struct request_text *ret_request);

/* sale.c */
void sale_choose(struct workload *workload, struct ask *ask);
void sale_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request);
bool sale_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
                 struct ask *ret_next);

#define SALE_POOL    "deal"
#define SALE_SECTION "A"

/* Writes SECTION/ROW/NUMBER of a seat; returns the size. text holds SEAT_TEXT_SIZE_MAX bytes. */
uint32_t sale_seat_text(const struct load_options *options, uint32_t seat, char *ret_text);
/* And back; false where the text is no seat of the hall. */
bool sale_seat_read(const struct load_options *options, struct bytes text, uint32_t *ret_seat);
/* The name of a buyer: "u" and a number; returns the size. text holds 24 bytes. */
uint32_t sale_user_text(uint32_t buyer, char *ret_text);

#endif
