/*
 * linearize.h - which truths are left after a round?
 */
#ifndef SIM_LINEARIZE_H
#define SIM_LINEARIZE_H

#include "tests/sim/compare.h"

#define TRUTHS_MAX   128
#define ROUND_CLOCKS 8

/* The models that nothing told so far contradicts. Usually one; a crash makes several, until somebody
 * looks. */
struct truths {
    bool overflow; /* there are more: this run can be judged no further */
    uint32_t count;
    struct model *models[TRUTHS_MAX];
};

struct linearize {
    struct round round;
    uint32_t clock_count;
    uint64_t clocks[ROUND_CLOCKS]; /* moments that the clock showed during the round */
    bool busy_allowed;             /* the core may refuse for want of room */
    enum scarcity scarcity;        /* or because the disk is full */
    bool why;                      /* print each order's first contradiction */
    const char *wrong;             /* of the last comparison that failed: for the message */
    uint32_t wrong_op;
    struct answer predicted; /* and what was predicted there */
    uint64_t nodes;
};

/* Reserves memory for the largest scenario; once. */
void linearize_open(void);

/* One truth: nothing has happened. */
void truths_begin(struct truths *truths, const struct scenario *scenario);

/*
 * Replaces the truths by those that some order of the round's requests leads to: each answered one
 * somewhere between its sending and its answer, each lost one there or never, overdue holds swept at any
 * moment. More than fit: overflow. False: there is no such order, and the truths stay as they were.
 */
bool linearize_round(struct linearize *linearize, struct truths *truths);

#endif
