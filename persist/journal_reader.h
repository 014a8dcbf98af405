/*
 * journal_reader.h - batch after batch of one journal or of one part of a snapshot, checked; and whether
 * what follows is the end, a torn tail, or damage (docs/journal-format.md, "Where a journal ends").
 *
 * Never writes. Also follows a journal that another process is writing: at its end it may be asked again.
 */
#ifndef HOLDFAST_JOURNAL_READER_H
#define HOLDFAST_JOURNAL_READER_H

#include <stdbool.h>

#include "persist/disk.h"
#include "persist/journal_format.h"

enum journal_read {
    READ_BATCH,   /* *ret_batch */
    READ_END,     /* nothing more (yet) */
    READ_CUT,     /* something that is no batch and that nothing behind it covers */
    READ_DAMAGED, /* fault */
    READ_FAILED,  /* the disk: fault */
};

/* Where and what: for a person. */
struct journal_fault {
    char file[FILE_NAME_SIZE];
    uint64_t offset;
    uint64_t bytes; /* cut: from offset on */
    int error;      /* READ_FAILED: negative errno */
    char text[200]; /* what is wrong; ends without a full stop */
};

struct journal_reader;

/* From `position` on; {epoch, shard, 0...} begins with segment 0. 0, or -ENOMEM. */
int journal_reader_open(struct journal_reader **ret_reader, const struct disk *disk, uint64_t route_seed,
                        const struct journal_position *position);
/* The batches of a snapshot's part; the last has BATCH_LAST, and a part without it is damaged. */
int journal_reader_open_part(struct journal_reader **ret_reader, const struct disk *disk,
                             uint64_t route_seed, uint64_t generation, uint32_t shard);
void journal_reader_close(struct journal_reader *reader);

/* Opens the file of the position, where it is not open, and checks its header. READ_BATCH: it is whole, and
 * at the begin of a journal its position knows the chain. */
enum journal_read journal_reader_file(struct journal_reader *reader);
/* The next batch: header and records behind each other, 8-aligned, valid until the next call. */
enum journal_read journal_reader_next(struct journal_reader *reader, const struct batch_header **ret_batch);
/* For who follows a journal that is being written, often, and is not its judge: reads little where little
 * is new, and says READ_END for whatever is no whole next batch, torn or not: more may come. READ_DAMAGED
 * only where a whole batch is there that cannot be the next one, or the file is missing. */
void journal_reader_follow(struct journal_reader *reader);
/* Makes durable what has been read of the file of the last batch, whoever wrote it. 0 or negative errno. */
int journal_reader_sync(struct journal_reader *reader);
/* The records of a batch. */
const uint8_t *batch_records(const struct batch_header *batch);

/* Where the batch that comes next begins. */
struct journal_position journal_reader_position(const struct journal_reader *reader);
/* After CUT, DAMAGED and FAILED. */
const struct journal_fault *journal_reader_fault(const struct journal_reader *reader);

#endif
