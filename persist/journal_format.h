/*
 * journal_format.h - the bytes of journals, snapshots and start files; drawn in docs/journal-format.md.
 *
 * Pure: no I/O here. Everything on disk is little-endian and starts at a multiple of BLOCK_BYTES.
 */
#ifndef HOLDFAST_JOURNAL_FORMAT_H
#define HOLDFAST_JOURNAL_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_BYTES       4096u
#define FORMAT_VERSION    1u
/* Records in one batch. So what stands behind a torn batch begins at most so far behind it. */
#define BATCH_RECORDS_MAX (16u * 1024u * 1024u)
#define FILE_NAME_SIZE    40u /* with its end */
#define SEGMENT_BYTES_MIN (64u * 1024u)

enum file_kind {
    FILE_JOURNAL = 1, /* a segment */
    FILE_START,       /* an epoch began */
    FILE_PART,        /* one shard's part of a snapshot */
    FILE_SNAPSHOT,    /* a generation's manifest */
};

/* Where a journal has got to: the place of the next batch, and what the batch before it was. */
struct journal_position {
    uint64_t epoch;
    uint32_t shard;
    uint32_t segment;
    uint64_t offset;   /* in the segment's file */
    uint64_t batch;    /* number of the next batch */
    uint64_t sequence; /* of the last record before */
    uint32_t chain;    /* crc of the batch before */
    uint32_t zero;
};

/* The first bytes of every file. A start file and a manifest go on with `position_count` positions; the
 * crc is over everything behind it up to `checked_size`. */
struct file_header {
    char magic[8]; /* by kind */
    uint32_t crc;
    uint32_t version;
    uint64_t route_seed; /* of the data directory: no file of another one is taken */
    uint64_t epoch;
    uint64_t time_ms;
    uint64_t file_size;  /* segments: of the whole file; else 0 */
    uint64_t generation; /* snapshots */
    uint32_t shard;
    uint32_t shard_count;
    uint32_t segment;
    uint32_t position_count;
    uint32_t checked_size; /* bytes from the start of the file, a multiple of BLOCK_BYTES */
    uint32_t zero;
};

enum batch_flag {
    BATCH_SEALS = 1 << 0,  /* empty: it only covers the one before */
    BATCH_CLOSES = 1 << 1, /* empty: the last one of its segment; the next segment exists */
    BATCH_LAST = 1 << 2,   /* of a snapshot's part */
    BATCH_EVENTS = 1 << 3, /* has records of events */
};

struct batch_header {
    char magic[8];
    uint32_t crc; /* of everything behind it, to the end of the batch */
    uint32_t chain;
    uint64_t epoch;
    uint16_t shard;
    uint16_t shard_count;
    uint32_t flags;
    uint64_t number;
    uint64_t sequence_first;
    uint64_t sequence_last; /* none: sequence_first - 1. In a part: the record up to which it reflects */
    uint64_t durable_upto;
    uint64_t time_ms;
    uint32_t size; /* of all, a multiple of BLOCK_BYTES */
    uint32_t records_size;
    uint32_t record_count;
    uint32_t zero[3];
};

static_assert(sizeof(struct journal_position) == 48, "on disk");
static_assert(sizeof(struct file_header) == 80, "on disk");
static_assert(sizeof(struct batch_header) == 96, "on disk");

/* CRC-32C (RFC 3720, appendix B.4). */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The name of a file, by its kind and numbers; those that a kind has not are ignored. Numbers of epochs and
 * generations have at most 15 digits, shards at most 3. */
void file_name(char ret_name[FILE_NAME_SIZE], enum file_kind kind, uint64_t epoch_or_generation,
               uint32_t shard, uint32_t segment);

/* Takes a name apart. False: it is none of these four. */
struct file_id {
    enum file_kind kind;
    uint64_t epoch; /* or generation */
    uint32_t shard;
    uint32_t segment;
};
bool file_name_parse(const char *name, struct file_id *ret_id);

/* Fills magic, version, checked_size and crc of the header at the front of a buffer of `capacity` zeroed
 * bytes, behind which header->position_count positions already stand. Returns checked_size. */
uint32_t file_seal(uint8_t *file, size_t capacity, enum file_kind kind);

/* The front of a file is whole and of that kind. NULL: yes; else what is wrong, in words. `size`: bytes at
 * hand. */
const char *file_check(const uint8_t *file, size_t size, enum file_kind kind);

/* Bytes of a batch with so many bytes of records. */
uint32_t batch_size(uint32_t records_size);

/* Fills magic, size and crc of a batch: the header's other fields are set, the records stand behind it;
 * this zeroes the rest of the last block. The buffer is 8-aligned and holds
 * batch_size(records_size) bytes. */
void batch_seal(uint8_t *batch);

enum batch_check {
    BATCH_WHOLE,
    BATCH_NONE,  /* not even the magic, or sizes that cannot be */
    BATCH_SHORT, /* a header, and fewer bytes at hand than it says */
    BATCH_TORN,  /* a header, and the crc does not fit */
};
/* Looks at what stands at the front of `size` bytes. */
enum batch_check batch_check(const uint8_t *data, size_t size);

#endif
