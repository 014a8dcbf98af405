/*
 * route.c - hashing of names, and UUIDv7 ids that carry the route of their owner.
 *
 * An id finds its shard whatever the shard count is: the route is 16 bits of a hash, and the shard is
 * route16 * shard_count >> 16. See also: docs/architecture.md, "Sharding".
 */
#include "core/route.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t
route_hash(uint64_t seed, struct bytes name)
{
    return XXH3_64bits_withSeed(name.data, name.size, seed);
}

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014), as a mix of two words. */
uint64_t
route_hash_part(uint64_t hash, uint64_t part)
{
    uint64_t z = hash + 0x9e3779b97f4a7c15u * (part + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t
uuid_random(uint64_t seed, uint64_t draw)
{
    return XXH3_64bits_withSeed(&draw, sizeof draw, seed) >> 18;
}

struct uuid
uuid_put(uint64_t now_ms, uint64_t counter, uint16_t route, uint64_t random)
{
    assert(now_ms < (uint64_t)1 << 48);
    uint64_t high = now_ms << 16 | 0x7000u | (counter & 0xfffu);
    uint64_t low = (uint64_t)2 << 62 | (uint64_t)route << 46 | random;
    struct uuid id;
    high = __builtin_bswap64(high);
    low = __builtin_bswap64(low);
    memcpy(id.byte, &high, 8);
    memcpy(id.byte + 8, &low, 8);
    return id;
}

static uint64_t
uuid_low(const struct uuid *id)
{
    uint64_t low;
    memcpy(&low, id->byte + 8, 8);
    return __builtin_bswap64(low);
}

uint16_t
uuid_route16(const struct uuid *id)
{
    return (uint16_t)(uuid_low(id) >> 46);
}

uint64_t
uuid_hash(const struct uuid *id)
{
    return uuid_low(id);
}
