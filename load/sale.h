/*
 * sale.h - how people choose, and whether they got what they asked for: for all who sell seats and units.
 */
#ifndef HOLDFAST_LOAD_SALE_H
#define HOLDFAST_LOAD_SALE_H

#include "load/speech.h"
#include "load/workload.h"

/* How often each row of a hall is wanted: row r (from 1) with a weight of 1 / r^zipf. NULL where memory
 * ends; the caller's to free(). Read only afterwards, by any thread. */
struct row_weights;
struct row_weights *row_weights_make(uint32_t rows, double zipf);

/* The row (from 0) that belongs to a share from 0 to 1. */
uint32_t row_choose(const struct row_weights *weights, double share);

struct wish {
    enum want want;
    uint32_t seat; /* WANT_SEATS: the first */
    uint16_t units;
};

/* What the next party of a hall would like to have. */
void seats_choose(struct workload *workload, const struct row_weights *weights, struct wish *ret_wish);

/* NULL, or how the hold that was granted does not fit what was asked for. */
const char *grant_check(const struct load_options *options, enum want want, uint32_t seat, uint32_t units,
                        const struct told *told);

#endif
