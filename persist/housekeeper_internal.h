/*
 * housekeeper_internal.h - the housekeeper's state, for housekeeper.c, snapshot.c and retention.c.
 */
#ifndef HOLDFAST_HOUSEKEEPER_INTERNAL_H
#define HOLDFAST_HOUSEKEEPER_INTERNAL_H

#include <stdatomic.h>

#include "holdfast/limits.h"
#include "persist/housekeeper.h"

#define SIDE_ALIGN 64 /* two shards do not share a line of the cache */

/* Between one shard and the housekeeper; housekeeper.c draws who writes what. */
struct side {
    _Alignas(SIDE_ALIGN) _Atomic uint64_t want; /* segment + 1; 0: none yet */
    _Atomic uint64_t durable;                   /* sequence */
    _Atomic uint64_t bytes;                     /* of journal, since the start */
    _Atomic uint64_t begun;                     /* generation; publishes begun_at */
    struct journal_position begun_at;

    _Atomic uint64_t made; /* segment << 32 | file + 1; 0: empty */
    _Atomic bool full;     /* hands over the slice: */
    uint8_t *slice;        /* a batch: header, records */
    uint64_t slice_reflects;
    uint64_t slice_ms;
    uint32_t slice_size; /* of records */
    uint32_t slice_records;
    bool slice_last;
};

/* A shard's part of the generation under way. */
struct part {
    int file;   /* -1: not open */
    bool begun; /* a name may be there */
    bool last;  /* its last slice has been taken */
    bool named;
    uint32_t chain;
    uint64_t number; /* of the next batch */
    uint64_t offset;
    uint64_t unsynced;
    uint64_t reflects; /* the greatest sequence */
};

enum snapshot_phase {
    SNAPSHOT_NONE,
    SNAPSHOT_WRITING,
    SNAPSHOT_NAMING,
    SNAPSHOT_COVERING,
    SNAPSHOT_DRAINING,
};

struct snapshot {
    enum snapshot_phase phase;
    uint64_t generation; /* of this one, or of the last one */
    uint64_t mark;       /* journal bytes after which the next one counts its own */
    uint64_t bytes;      /* journal bytes when it began */
    uint64_t failed_ms;
    bool failed;         /* the last one did */
    bool manifest_begun; /* its .tmp may be there */
    bool manifest_named; /* it may be there */
    int result;          /* of one that failed */
    uint32_t next_shard; /* whose slice is looked for first */
    struct part parts[SHARDS_MAX];
};

/* A generation that is kept. */
struct kept {
    uint64_t generation; /* 0: none */
    uint64_t epoch;
    uint32_t shard_count;
    uint32_t segments[SHARDS_MAX]; /* where each journal goes on behind it */
};

enum retention_phase {
    RETENTION_NONE,
    RETENTION_MANIFESTS,
    RETENTION_REST,
};

struct retention {
    enum retention_phase phase;
    bool due;
    bool generations;  /* a new one counts: older ones go, too */
    bool held_back;    /* by the persister */
    bool failed;       /* told */
    uint64_t again_ms; /* held back: look again */
    struct kept newest;
    struct kept older;
};

struct housekeeper {
    struct disk disk;
    struct housekeeper_settings settings;
    housekeeper_told *told;
    void *told_context;

    uint64_t bytes_recovered;
    uint64_t given[SHARDS_MAX]; /* segment + 1: the last one made */
    uint64_t segment_again_ms;  /* after a failure */
    uint32_t next_shard;        /* whose segment is looked for first */
    struct snapshot snapshot;
    struct retention retention;

    _Atomic bool scarce;
    _Atomic bool asked;          /* for a snapshot */
    _Atomic uint64_t generation; /* that shards are to begin; 0: none */
    _Atomic uint64_t ended;
    struct side sides[SHARDS_MAX];
};

/* snapshot.c */
bool snapshot_step(struct housekeeper *housekeeper, uint64_t now_ms);
void snapshot_drop(struct housekeeper *housekeeper); /* closes what is open */

/* retention.c */
/* Learns what the folder holds: the highest number of a generation, and the generations that are kept. 0 or
 * negative errno. */
int retention_open(struct housekeeper *housekeeper, uint64_t generation_recovered);
/* A generation counts from now on. */
void retention_counts(struct housekeeper *housekeeper, const struct journal_position positions[]);
/* Space is short. */
void retention_urged(struct housekeeper *housekeeper);
bool retention_step(struct housekeeper *housekeeper, uint64_t now_ms);

#endif
