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
                 struct op *ops, bool trace);

uint64_t world_now(const struct world *world);
uint64_t world_steps(const struct world *world);
uint32_t world_shard_count(const struct world *world);

/* A client sends this op to its shard. */
void world_send(struct world *world, uint32_t op_index);

/* Time passes; every shard sees it when it is next touched. */
void world_advance(struct world *world, uint64_t ms);

/* One random thing happens: a message arrives, a batch is taken, a write ends, the housekeeper does
 * something, a slice of a snapshot is told, a sweep runs, a shard pauses or goes on, the disk is full or
 * not any more. may_fail: also a write may fail, or the power that world_threaten() spoke of go. Then
 * world_died(), and a crash has to follow. */
void world_step(struct world *world, bool may_fail);
/* Every shard's sweep runs. pause: one shard does nothing more, so what it recorded stays in memory. */
void world_sweep(struct world *world, bool pause);
/* The power goes at the n-th change of the disk from now on; 0: it stays. */
void world_threaten(struct world *world, uint32_t calls);
bool world_died(const struct world *world);
/* A batch is on its way. */
bool world_writing(const struct world *world);

/* Until nothing is under way. False: it never ends. With sweep, overdue holds are expired too. */
bool world_quiesce(struct world *world, bool sweep);

/* Everything in memory is lost; what the disk has by then is all that stays (disk.h). Sometimes a bit of it
 * rots. Then a start with this many shards, or several, where one is cut off. */
void world_crash(struct world *world, uint32_t shard_count);

/* How far a shard's journal is durable. */
uint64_t world_durable(const struct world *world, uint32_t shard);

/* The worst that a shard was told since this was last asked: new holds, or everything, may be BUSY. */
enum scarcity world_scarcity(struct world *world);

/* Over all seeds: that something was tried at all. */
struct world_counts {
    uint64_t crashes;
    uint64_t in_flight; /* crashes with a batch on its way */
    uint64_t cut_off;   /* starts that did not come to their end */
    uint64_t cuts;      /* torn last batches */
    uint64_t snapshots;
    uint64_t snapshots_failed;
    uint64_t segments_failed;
    uint64_t rotten;
    uint64_t damaged_snapshots; /* the older generation served */
    uint64_t refused;           /* rightly: damage */
};
const struct world_counts *world_counts(const struct world *world);

/* After a crash: the journals do not fit this start's bounds. The run ends here. */
bool world_full(const struct world *world);

/* Every invariant of every shard, and across them: all is at rest. */
void world_check(const struct world *world);

/* A hash over all shards. */
uint64_t world_hash(const struct world *world);

/* What a host must never see, for instance two answers to one command; NULL: nothing. */
const char *world_broken(const struct world *world);

#endif
