/*
 * index.h - a hash table from 64-bit hashes to slab indexes that grows without ever stopping.
 *
 * Linear hashing (Litwin 1980): one bucket splits with each few insertions, so that no insertion pays
 * for a whole table, and memory is touched in proportion to what is stored. A bucket is one cache line:
 *
 *      0  uint16  tags[10]     16 bits of each item's hash, from bit tag_shift on
 *     20  uint32  items[10]    item + 1; packed to the front, so the first 0 ends the bucket
 *     60  uint32  more         overflow bucket + 1, only behind a full one; 0: none
 *
 * A bucket's number is the low bits of the hash. The table starts with 1 << tag_shift buckets, so the
 * tags hold every bit by which buckets ever split: a split never looks at the items themselves.
 */
#ifndef HOLDFAST_INDEX_H
#define HOLDFAST_INDEX_H

#include "core/slab.h"

#define INDEX_BUCKET_ITEMS 10

struct index_bucket {
    uint16_t tags[INDEX_BUCKET_ITEMS];
    uint32_t items[INDEX_BUCKET_ITEMS];
    uint32_t more;
};

struct index {
    struct index_bucket *buckets;
    struct slab overflow; /* of struct index_bucket */
    uint32_t bucket_count;
    uint32_t bucket_count_max;
    uint32_t tag_shift; /* the table starts with 1 << tag_shift buckets */
    uint32_t level;     /* 1 << level <= bucket_count < 2 << level */
    uint32_t mask;      /* (2 << level) - 1 */
    uint32_t count;
    uint32_t count_max;
};

/* The carved memory must be zero: an unused bucket is all zero. */
void index_open(struct index *index, struct carve *carve, uint32_t count_max);

/* There is always room for count_max items. */
void index_add(struct index *index, uint64_t hash, uint32_t item);
void index_remove(struct index *index, uint64_t hash, uint32_t item);

/*
 * Finding: candidates by hash, of which the caller compares the keys.
 *
 *     struct index_cursor cursor = index_find(index, hash);
 *     while ((item = index_next(&cursor)) != SLAB_NONE) ...
 */
struct index_cursor {
    const struct index *index;
    const struct index_bucket *bucket;
    uint32_t at;
    uint16_t tag;
};
struct index_cursor index_find(const struct index *index, uint64_t hash);
uint32_t index_next(struct index_cursor *cursor);

/* Asks for the memory of a hash's bucket before it is needed. */
void index_prefetch(const struct index *index, uint64_t hash);

void index_check(const struct index *index);

#endif
