/*
 * dual_run.h - one stream of commands through Holdfast and through PostgreSQL.
 */
#ifndef HOLDFAST_BENCH_DUAL_RUN_H
#define HOLDFAST_BENCH_DUAL_RUN_H

#include <stdbool.h>
#include <stdint.h>

/* argv[0]: "dual-run". Exit code: 0 no outcome differs, 1 some do or it could not be run, 2 usage. */
int dual_run_main(int argc, char **argv);

/* What both sell: one section A, one pool p. Both know these figures. */
#define DUAL_ROWS               8u
#define DUAL_ROW_SEATS          5u
#define DUAL_SEATS              (DUAL_ROWS * DUAL_ROW_SEATS)
#define DUAL_UNITS              30u
#define DUAL_UNITS_PER_USER_MAX 6u
#define DUAL_USERS              12u
#define DUAL_TICK_MS            10u /* of the sweep: core/expiry_wheel.h */
#define DUAL_EPOCH_MS           UINT64_C(1800000000000)

enum dual_verb {
    DUAL_HOLD,
    DUAL_CONFIRM,
    DUAL_RELEASE,
    DUAL_CANCEL,
    DUAL_VERBS,
};

/* One command. Numbers only: a hold is named by the command that it was the answer to. */
struct dual_order {
    enum dual_verb verb;
    uint64_t number;  /* of the command, from 1 */
    uint64_t now_ms;  /* the time at which both take it */
    uint32_t user;    /* from 1 */
    uint32_t key;     /* 0: none */
    uint32_t seat[2]; /* HOLD: from 1; 0: none */
    uint32_t units;   /* HOLD: of the pool */
    uint32_t seconds; /* HOLD */
    uint64_t of;      /* the others: number of an earlier HOLD */
};

/* The outcome in words, which both sides write alike, behind the number of the hold it is about (0: none):
 *
 *     17 OK held deadline=1800000004000 A/1/3:5 A/1/4:5 p*2
 *     0 HELD A/1/3 remaining=5 next=1800000004000 own
 */
#define DUAL_OUTCOME_SIZE 200

/* dual_core.c: the core on two shards, durable at once. */
struct dual_core;
struct dual_core *dual_core_open(uint64_t commands);
void dual_core_free(struct dual_core *core);
void dual_core_do(struct dual_core *core, const struct dual_order *order, char *ret_outcome);

/* dual_postgres.c: the same rules in SQL. False: ret_error says why, 256 bytes. */
struct dual_postgres;
struct dual_postgres *dual_postgres_open(const char *connection, bool plant, char *ret_error);
void dual_postgres_free(struct dual_postgres *postgres);
/* Puts an order behind those under way. */
void dual_postgres_send(struct dual_postgres *postgres, const struct dual_order *order);
/* Waits for the oldest outcome. */
bool dual_postgres_take(struct dual_postgres *postgres, char *ret_outcome, char *ret_error);

#endif
