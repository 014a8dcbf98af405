/*
 * world.h - the shards, their mailboxes, their disks and their clock, in one thread.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "tests/sim/scenario.h"

#define WORLD_SHARDS 5

struct world;

/* One world for the life of the process: memory is reused from seed to seed. */
struct world *world_open(void);

/* An empty world at the scenario's start. The scenario, the random stream and the ops are the caller's. */
void world_begin(struct world *world, const struct scenario *scenario, struct random *random,
                 struct op *ops);

uint64_t world_now(const struct world *world);
uint64_t world_steps(const struct world *world);
uint32_t world_shard_count(const struct world *world);

/* A client sends this op to its shard. */
void world_send(struct world *world, uint32_t op_index);

/* Time passes; every shard sees it when it is next touched. */
void world_advance(struct world *world, uint64_t ms);

/* One random thing happens: a message arrives, a batch is taken, a write ends, a sweep runs, a shard pauses
 * or goes on. */
void world_step(struct world *world);

/* Until nothing is under way. False: it never ends. With sweep, overdue holds are expired too. */
bool world_quiesce(struct world *world, bool sweep);

/* Everything in memory and on its way is lost; a prefix of each journal that has all that is durable stays.
 * Then a start with this many shards. */
void world_crash(struct world *world, uint32_t shard_count);

/* After a crash: the journals do not fit this start's bounds. The run ends here. */
bool world_full(const struct world *world);

/* Every invariant of every shard; across shards too where all is at rest. */
void world_check(const struct world *world, bool at_rest);

/* A hash over all shards. */
uint64_t world_hash(const struct world *world);

/* What a host must never see, for instance two answers to one command; NULL: nothing. */
const char *world_broken(const struct world *world);

#endif
