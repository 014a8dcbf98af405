/*
 * histogram.c - latencies in log-linear buckets.
 *
 * A value below 2^7 has a bucket of its own. Above, the highest bit chooses a group of 128 buckets, and the
 * seven bits after it the bucket in the group:
 *
 *     value    0 .. 127      128 .. 255     256 .. 511     512 .. 1023 ...
 *     bucket   0 .. 127      128 .. 255     256 .. 383     384 .. 511  ...
 *     width    1             1              2              4
 *
 * So a bucket is never wider than 1/128 of what it holds. (After Gil Tene's HDR histogram.)
 */
#include "load/histogram.h"

#include <assert.h>

static uint32_t
bucket_of(uint64_t value)
{
    if (value >> HISTOGRAM_VALUE_BITS != 0)
        return HISTOGRAM_BUCKETS - 1;
    if (value >> HISTOGRAM_LINEAR_BITS == 0)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_LINEAR_BITS;
    return (shift << HISTOGRAM_LINEAR_BITS) + (uint32_t)(value >> shift);
}

uint64_t
histogram_bucket_top(uint32_t bucket)
{
    assert(bucket < HISTOGRAM_BUCKETS);
    uint32_t group = bucket >> HISTOGRAM_LINEAR_BITS;
    if (group <= 1)
        return bucket;
    uint32_t shift = group - 1;
    uint64_t first = (uint64_t)(bucket - (shift << HISTOGRAM_LINEAR_BITS)) << shift;
    return first + (UINT64_C(1) << shift) - 1;
}

void
histogram_add(struct histogram *histogram, uint64_t value)
{
    uint32_t bucket = bucket_of(value);
    assert(bucket < HISTOGRAM_BUCKETS);
    histogram->bucket[bucket]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

void
histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t
histogram_at(const struct histogram *histogram, double share)
{
    assert(share >= 0 && share <= 1);
    uint64_t wanted = (uint64_t)(share * (double)histogram->count);
    if (wanted < histogram->count)
        wanted++;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->bucket[i];
        if (seen >= wanted && seen > 0) {
            uint64_t top = i == HISTOGRAM_BUCKETS - 1 ? histogram->max : histogram_bucket_top(i);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return 0;
}
