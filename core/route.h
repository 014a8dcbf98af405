/*
 * route.h - which shard owns what, and ids that carry their route.
 */
#ifndef HOLDFAST_ROUTE_H
#define HOLDFAST_ROUTE_H

#include "holdfast/types.h"

/* A keyed 64-bit hash of a name (XXH3, seeded once for each data directory). Its upper 16 bits are the
 * route16; the rest serve hash tables. */
uint64_t route_hash(uint64_t seed, struct bytes name);

/* The hash of a part of something that has a hash: a section's block, a user within an event. */
uint64_t route_hash_part(uint64_t hash, uint64_t part);

static inline uint16_t
route16(uint64_t hash)
{
    return (uint16_t)(hash >> 48);
}

static inline uint32_t
route_shard(uint16_t route, uint32_t shard_count)
{
    return (uint32_t)route * shard_count >> 16;
}

/*
 * A UUIDv7 (RFC 9562, 5.7):
 *
 *     48 bits  milliseconds since 1970
 *      4 bits  version 7
 *     12 bits  low bits of the counter: ids of one millisecond sort as they were made
 *      2 bits  variant
 *     16 bits  route16 of the owner
 *     46 bits  a keyed hash of the number of a draw: not to be guessed, and spread evenly over hash tables
 */

/* When it was made, in milliseconds since 1970 (RFC 9562, 5.7). */
static inline uint64_t
uuid_time_ms(const struct uuid *id)
{
    uint64_t ms = 0;
    for (uint32_t i = 0; i < 6; i++)
        ms = ms << 8 | id->byte[i];
    return ms;
}

struct uuid uuid_put(uint64_t now_ms, uint64_t counter, uint16_t route, uint64_t random);
/* The 46 bits of one draw; they can be drawn before the rest is known. */
uint64_t uuid_random(uint64_t seed, uint64_t draw);

uint16_t uuid_route16(const struct uuid *id);

/* A hash for tables, from the id's 46 random bits. */
uint64_t uuid_hash(const struct uuid *id);

#endif
