/*
 * histogram.h - latencies in log-linear buckets.
 */
#ifndef HOLDFAST_LOAD_HISTOGRAM_H
#define HOLDFAST_LOAD_HISTOGRAM_H

#include <stdint.h>

/* 128 buckets for each power of two: an error of at most 1/128. Values from 2^40 ns (18 min) on count as
 * the last bucket. */
#define HISTOGRAM_LINEAR_BITS 7
#define HISTOGRAM_VALUE_BITS  40
#define HISTOGRAM_BUCKETS     ((HISTOGRAM_VALUE_BITS - HISTOGRAM_LINEAR_BITS + 1) << HISTOGRAM_LINEAR_BITS)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t sum;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The least upper bound of a bucket below or in which `share` (0 to 1) of the values lie, but at most the
 * greatest value seen; 0 where there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);

/* The greatest value that falls into a bucket. */
uint64_t histogram_bucket_top(uint32_t bucket);

#endif
