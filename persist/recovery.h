/*
 * recovery.h - a set of shards from a data directory.
 *
 *     recovery_open     which epoch, which generation, which journals; checks every byte of them
 *     recovery_events   once
 *     recovery_holds    once for each shard, each in a thread of its own or one after the other
 *     recovery_settle   likewise, after all of them
 *     recovery_begin    writes the new epoch's first segments and its start file
 *
 * A function of what is on the disk, the shards' settings, and nothing else. Until recovery_begin() nothing
 * on the disk is changed.
 */
#ifndef HOLDFAST_RECOVERY_H
#define HOLDFAST_RECOVERY_H

#include "core/shard.h"
#include "persist/disk.h"
#include "persist/housekeeper.h"
#include "persist/journal_reader.h"

struct recovery;

#define RECOVERY_CUTS_MAX 64 /* one a shard of the newest epoch */

struct recovery_report {
    uint64_t epoch; /* of this start */
    uint64_t time_newest_ms;
    uint64_t generation; /* of the snapshot that was used; 0: none */
    uint64_t records;    /* replayed from journals */
    uint64_t batches;
    uint64_t journal_bytes;
    uint64_t old_segments; /* files of epochs before the last, read until a snapshot covers them */
    uint32_t cut_count;
    struct journal_fault cuts[RECOVERY_CUTS_MAX];
    bool snapshot_damaged; /* the newest generation was not used: */
    struct journal_fault snapshot_fault;
};

/* 0; -EBADMSG: damage, *ret_fault says where and what to do; other negative errno: the disk, likewise.
 * threads: for the reading. */
int recovery_open(struct recovery **ret_recovery, const struct disk *disk, uint64_t route_seed,
                  uint32_t threads, struct journal_fault *ret_fault);
void recovery_close(struct recovery *recovery);
const struct recovery_report *recovery_report(const struct recovery *recovery);

/* The shards are open and empty. -ENOMEM: what is on the disk does not fit their bounds; -EBADMSG: records
 * contradict each other (*ret_fault names the journal). */
int recovery_events(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count,
                    struct journal_fault *ret_fault);
int recovery_holds(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count,
                   uint32_t home, struct journal_fault *ret_fault);
int recovery_settle(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count,
                    uint32_t shard, struct journal_fault *ret_fault);

/* Removes what a crash left unfinished, makes segment 0 of each shard, then the start file, then removes
 * the segments that were made ahead and never begun: the start file tells that their journals end before
 * them. ret_files, ret_crcs: of the segments, shard_count each. */
int recovery_begin(struct recovery *recovery, uint32_t shard_count, uint64_t segment_bytes, uint64_t now_ms,
                   int *ret_files, uint32_t *ret_crcs, struct journal_fault *ret_fault);

#endif
