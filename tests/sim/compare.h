/*
 * compare.h - what was told against what the model predicted.
 */
#ifndef SIM_COMPARE_H
#define SIM_COMPARE_H

#include "tests/sim/model.h"

/* The requests that were under way together. */
struct round {
    const struct scenario *scenario;
    const struct op *ops;
    uint32_t first;
    uint32_t count;
    const bool (*gaps)[SIM_EVENT_SEATS]; /* by event: seats whose versions may have left out some */
    bool crashed;                        /* it ended in a crash */
    bool exact;                          /* nothing else was under way: every figure must be right */
};

/*
 * Compares the answer of an op with the prediction that model_execute() has just made, and teaches the
 * model what only the core could know: the id of a new hold, versions after a replace. NULL: as it must
 * be; else what is wrong, static storage.
 */
const char *compare_answer(struct model *model, const struct round *round, uint32_t op_index,
                           const struct answer *predicted);

/* Marks every seat of the event that a request of the round, but for one op, may have changed. */
void compare_touched(const struct model *model, const struct round *round, uint32_t except, int8_t event,
                     bool *touched);

#endif
