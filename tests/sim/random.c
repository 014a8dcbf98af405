/*
 * random.c - chance from a seed.
 *
 * One stream decides everything of a run, so a seed is a whole history: the same binary and the same seed
 * give the same steps.
 */
#include "tests/sim/random.h"

#include <assert.h>

static uint64_t
splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void
random_seed(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        random->state[i] = splitmix(&seed);
    }
}

static uint64_t
rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

uint64_t
random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint32_t
random_below(struct random *random, uint32_t bound)
{
    assert(bound > 0);
    return (uint32_t)(((random_next(random) >> 32) * bound) >> 32);
}

uint32_t
random_between(struct random *random, uint32_t from, uint32_t to)
{
    assert(from <= to);
    return from + random_below(random, to - from + 1);
}

bool
random_chance(struct random *random, uint32_t percent)
{
    return random_below(random, 100) < percent;
}
