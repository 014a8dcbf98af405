/*
 * recovery_internal.h - a recovery under way, for recovery.c, recovery_plan.c and recovery_read.c alone.
 */
#ifndef HOLDFAST_RECOVERY_INTERNAL_H
#define HOLDFAST_RECOVERY_INTERNAL_H

#include <stdatomic.h>

#include "holdfast/limits.h"
#include "persist/recovery.h"

/* Bytes that grow. */
struct bytes_kept {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

/* A journal, or a part of the snapshot, that is to be read. */
struct source {
    bool part;
    struct journal_position from;
    bool must_end;               /* an earlier epoch's: exactly at `end` */
    struct journal_position end; /* found, or demanded */
    uint32_t shard_count;        /* of its epoch */
    uint64_t records;
    uint64_t batches;
    uint64_t bytes;
    uint64_t time_newest_ms;
    uint64_t reflected; /* part: the newest record that a slice reflects */
    bool cut;
    struct journal_fault fault; /* of the cut, or of the failure */
    int result;
    struct bytes_kept events; /* whole records of events, in order */
};

struct recovery {
    /* configuration */
    struct disk disk;
    uint64_t route_seed;
    uint32_t threads;
    /* plan */
    uint64_t epoch_newest; /* 0: none */
    uint64_t generation;
    uint64_t generation_epoch;
    struct file_id *files; /* what lies in the folder */
    uint32_t file_count;
    uint32_t file_capacity;
    char (*leftovers)[FILE_NAME_SIZE]; /* *.tmp */
    uint32_t leftover_count;
    uint32_t leftover_capacity;
    bool no_memory;
    struct source *sources; /* parts first, then journals in the order of epochs */
    uint32_t source_count;
    uint32_t source_capacity;
    uint32_t part_count;
    atomic_uint source_next;
    /* between recovery_holds() and recovery_settle(), of each home */
    struct done_list {
        struct replay_done *items;
        uint64_t count;
        uint64_t capacity;
    } dones[SHARDS_MAX];
    struct recovery_report report;
};

/* -- recovery.c: what is wrong, for a person; they return `result`. file: a name, or "" -- */
int recovery_fault(struct journal_fault *ret_fault, int result, const char *file, uint64_t offset,
                   const char *text);
int recovery_no_memory(struct journal_fault *ret_fault);

/* -- recovery_plan.c -- */
/* An array with room for one more; NULL: no memory, and the old one stands. */
void *array_grow(void *items, uint32_t count, uint32_t *capacity, size_t size);
/* disk->list's each. */
void folder_see(void *recovery, const char *name);
/* Files of epochs that no start file tells of: leftovers of a start that did not come far, if they hold
 * nothing. */
int plan_check_unstarted(struct recovery *recovery, struct journal_fault *ret_fault);
/* The newest whole generation, or none, and all journals from there on, as sources. */
int plan_generation(struct recovery *recovery, struct journal_fault *ret_fault);

/* -- recovery_read.c -- */
struct source *source_add(struct recovery *recovery);
void sources_drop(struct recovery *recovery);
int source_reader(const struct recovery *recovery, const struct source *source,
                  struct journal_reader **ret_reader);
/* All sources from `first` on, each to its end and checked, in as many threads as there may be. The first
 * failure counts. */
int sources_read(struct recovery *recovery, uint32_t first, struct journal_fault *ret_fault);

#endif
