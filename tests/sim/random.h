/*
 * random.h - the simulator's only source of chance: xoshiro256** of Blackman and Vigna (public domain,
 * https://prng.di.unimi.it/xoshiro256starstar.c), seeded by their splitmix64.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);

/* 0 to bound - 1; bound at least 1. */
uint32_t random_below(struct random *random, uint32_t bound);

/* from to to, both included. */
uint32_t random_between(struct random *random, uint32_t from, uint32_t to);

/* True in `percent` of 100 cases. */
bool random_chance(struct random *random, uint32_t percent);

#endif
