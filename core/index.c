/*
 * index.c - linear hashing over cache-line buckets.
 *
 * A split moves about half of one bucket's items (six on average, bounded in
 * practice by the evenness of the hash; a chain is as long as equal low bits make it) to a new bucket.
 *
 * Sources: W. Litwin, "Linear hashing", VLDB 1980; the cache-line bucket is an old idea, see valkey's
 * hashtable.c.
 */
#include "core/index.h"

#include <assert.h>

#define TAG_SHIFT_MAX 12 /* a table starts with at most 4,096 buckets */
#define TAG_BITS      16
#define BUCKET_LOAD   6 /* items a bucket on average, at most */

static_assert(sizeof(struct index_bucket) == 64, "one cache line");

static uint16_t
hash_tag(const struct index *index, uint64_t hash)
{
    return (uint16_t)(hash >> index->tag_shift);
}

static uint32_t
bucket_number(const struct index *index, uint64_t hash)
{
    uint32_t number = (uint32_t)hash & index->mask;
    return number < index->bucket_count ? number : number & index->mask >> 1;
}

void
index_open(struct index *index, struct carve *carve, uint32_t count_max)
{
    uint32_t buckets = count_max / BUCKET_LOAD + 1;
    assert(count_max <= (uint32_t)1 << 30);
    uint32_t shift = 0;
    while (shift < TAG_SHIFT_MAX && 1u << (shift + 1) <= buckets)
        shift++;
    assert(buckets >> shift < 1u << TAG_BITS);
    index->buckets = carve_bytes(carve, (size_t)buckets * sizeof *index->buckets);
    /* Every chain beyond its first bucket is full but for its last: at most count_max / 10 overflow
     * buckets are full, and each of the others stands behind a full first bucket. */
    slab_open(&index->overflow, carve, sizeof(struct index_bucket), count_max / INDEX_BUCKET_ITEMS * 2 + 2);
    index->bucket_count = 1u << shift;
    index->bucket_count_max = buckets;
    index->tag_shift = shift;
    index->level = shift;
    index->mask = (2u << shift) - 1;
    index->count = 0;
    index->count_max = count_max;
}

static struct index_bucket *
bucket_more(const struct index *index, const struct index_bucket *bucket)
{
    return bucket->more == 0 ? NULL : slab_item(&index->overflow, bucket->more - 1);
}

static void
bucket_put(struct index *index, struct index_bucket *bucket, uint16_t tag, uint32_t item)
{
    for (;;) {
        if (bucket->items[INDEX_BUCKET_ITEMS - 1] == 0) {
            uint32_t at = 0;
            while (bucket->items[at] != 0)
                at++;
            bucket->tags[at] = tag;
            bucket->items[at] = item + 1;
            return;
        }
        if (bucket->more == 0) {
            uint32_t more = slab_take(&index->overflow);
            assert(more != SLAB_NONE);
            bucket->more = more + 1;
            memset(bucket_more(index, bucket), 0, sizeof *bucket);
        }
        bucket = bucket_more(index, bucket);
    }
}

/* Splits the next bucket in turn between itself and a new one at the end. */
static void
index_split(struct index *index)
{
    uint32_t from = index->bucket_count - (1u << index->level);
    uint16_t bit = (uint16_t)(1u << (index->level - index->tag_shift));
    struct index_bucket old = index->buckets[from];
    struct index_bucket *low = &index->buckets[from];
    struct index_bucket *high = &index->buckets[index->bucket_count];
    memset(low, 0, sizeof *low);
    assert(high->items[0] == 0);
    index->bucket_count++;
    if (index->bucket_count == 2u << index->level) {
        index->level++;
        index->mask = (2u << index->level) - 1;
    }

    for (;;) {
        uint32_t more = old.more;
        for (uint32_t i = 0; i < INDEX_BUCKET_ITEMS && old.items[i] != 0; i++)
            bucket_put(index, (old.tags[i] & bit) != 0 ? high : low, old.tags[i], old.items[i] - 1);
        if (more == 0)
            break;
        old = *(struct index_bucket *)slab_item(&index->overflow, more - 1);
        slab_give(&index->overflow, more - 1);
    }
}

void
index_add(struct index *index, uint64_t hash, uint32_t item)
{
    assert(index->count < index->count_max);
    assert(item < SLAB_NONE);
    bucket_put(index, &index->buckets[bucket_number(index, hash)], hash_tag(index, hash), item);
    index->count++;
    if (index->count > index->bucket_count * (uint64_t)BUCKET_LOAD &&
        index->bucket_count < index->bucket_count_max)
        index_split(index);
}

void
index_remove(struct index *index, uint64_t hash, uint32_t item)
{
    struct index_bucket *bucket = &index->buckets[bucket_number(index, hash)];
    struct index_bucket *hit = NULL;
    struct index_bucket *before = NULL;
    uint32_t hit_at = 0;
    uint32_t last;
    /* The last item of the chain takes the place of the one removed. */
    for (;;) {
        for (last = 0; last < INDEX_BUCKET_ITEMS && bucket->items[last] != 0; last++) {
            if (bucket->items[last] == item + 1) {
                hit = bucket;
                hit_at = last;
            }
        }
        if (bucket->more == 0)
            break;
        before = bucket;
        bucket = bucket_more(index, bucket);
    }
    assert(hit != NULL);
    assert(last > 0);
    hit->tags[hit_at] = bucket->tags[last - 1];
    hit->items[hit_at] = bucket->items[last - 1];
    bucket->items[last - 1] = 0;
    if (last == 1 && before != NULL) {
        slab_give(&index->overflow, before->more - 1);
        before->more = 0;
    }
    index->count--;
}

void
index_prefetch(const struct index *index, uint64_t hash)
{
    __builtin_prefetch(&index->buckets[bucket_number(index, hash)], 1);
}

struct index_cursor
index_find(const struct index *index, uint64_t hash)
{
    return (struct index_cursor){
        .index = index,
        .bucket = &index->buckets[bucket_number(index, hash)],
        .at = 0,
        .tag = hash_tag(index, hash),
    };
}

uint32_t
index_next(struct index_cursor *cursor)
{
    while (cursor->bucket != NULL) {
        const struct index_bucket *bucket = cursor->bucket;
        while (cursor->at < INDEX_BUCKET_ITEMS && bucket->items[cursor->at] != 0) {
            uint32_t at = cursor->at++;
            if (bucket->tags[at] == cursor->tag)
                return bucket->items[at] - 1;
        }
        cursor->bucket = bucket_more(cursor->index, bucket);
        cursor->at = 0;
    }
    return SLAB_NONE;
}

void
index_check(const struct index *index)
{
    uint64_t count = 0;
    assert(index->bucket_count >= 1u << index->level);
    assert(index->bucket_count < 2u << index->level);
    assert(index->mask == (2u << index->level) - 1);
    for (uint32_t i = 0; i < index->bucket_count; i++) {
        for (const struct index_bucket *b = &index->buckets[i]; b != NULL; b = bucket_more(index, b)) {
            assert(b->more == 0 || b->items[INDEX_BUCKET_ITEMS - 1] != 0);
            for (uint32_t k = 0; k < INDEX_BUCKET_ITEMS && b->items[k] != 0; k++)
                count++;
        }
    }
    assert(count == index->count);
    slab_check(&index->overflow);
}
