/*
 * journal_writer.h - one shard's journal of this epoch: batches of records, made durable one at a time.
 *
 * A state machine of one thread (R6) that does no I/O itself: it hands one aligned write to its host, hears
 * of its end, and is given segments that somebody else has made (housekeeper.h).
 *
 *     append ─▶ host->write ─▶ ... ─▶ journal_written ─▶ durable
 */
#ifndef HOLDFAST_JOURNAL_WRITER_H
#define HOLDFAST_JOURNAL_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/journal_format.h"

struct journal;

struct journal_host {
    void *context;
    /* Begins to write `size` bytes (data, size and offset are multiples of BLOCK_BYTES) to a segment's
     * file, durably; its end is told by journal_written(), which may begin the next one. data stays until
     * then. */
    void (*write)(void *context, int file, const void *data, uint32_t size, uint64_t offset);
};

struct journal_settings {
    uint64_t epoch;
    uint64_t segment_bytes;
    uint32_t shard;
    uint32_t shard_count;
    uint32_t batch_bytes_max; /* of records, in one append */
    uint64_t seal_ms;         /* an idle shard covers its last batch after so long */
};

/* file: segment 0, made by the caller, who closes segments' files when told (journal_closed_file);
 * header_crc: of its file header, the first link of the chain. The largest batch fits an empty segment:
 * batch_size(batch_bytes_max) + 2 * BLOCK_BYTES <= segment_bytes. 0 or -ENOMEM. */
int journal_open(struct journal **ret_journal, const struct journal_settings *settings,
                 const struct journal_host *host, int file, uint32_t header_crc);
void journal_close(struct journal *journal);

/* Where a batch of `records` bytes is put together: its memory is touched as far as batches have reached.
 */
const char *journal_buffer(const struct journal *journal, size_t records, size_t *ret_size);

/* No further batch is taken now: a write is under way, or a batch waits for the next segment, or a write
 * has failed. */
bool journal_busy(const struct journal *journal);

/* Begins to write a batch: records in sequence, all of them since the last append; not while busy. The
 * bytes are copied. events: some record is an event's. Where it does not fit into the segment it is written
 * behind the segment's closing batch, once the next segment has been given. */
void journal_append(struct journal *journal, const uint8_t *records, size_t size, uint32_t record_count,
                    uint64_t sequence_first, uint64_t sequence_last, bool events, uint64_t now_ms);

/* Nothing was appended for seal_ms and the last batch is not covered: writes an empty one; else does
 * nothing. */
void journal_seal(struct journal *journal, uint64_t now_ms);
/* When journal_seal() has next to be called; UINT64_MAX: no need. */
uint64_t journal_seal_ms(const struct journal *journal);

/* The host's write has ended: bytes written, or negative errno. 0, or negative errno (-EIO for a short
 * write): then nothing more is written, and nothing more becomes durable. */
int journal_written(struct journal *journal, int32_t result);

/* Records up to here are on disk. */
uint64_t journal_durable(const struct journal *journal);
/* Where the durable part ends. */
struct journal_position journal_position(const struct journal *journal);
/* Bytes of batches written since the start, padding included; and how many batches. */
uint64_t journal_bytes(const struct journal *journal);
uint64_t journal_batches(const struct journal *journal);

/* The number of the segment that is wanted next and has not been given, or UINT32_MAX. One is always wanted
 * ahead, so that the change from one to the next waits for nothing. */
uint32_t journal_segment_wanted(const struct journal *journal);
/* That segment's file; from now on it is closed when told. May begin a write. */
void journal_segment_give(struct journal *journal, uint32_t segment, int file);
/* A file that is not needed any more, once; or -1. Fetch it before the next segment is given. */
int journal_closed_file(struct journal *journal);
/* At the end, no write being under way: nothing more is written, and journal_closed_file() gives all files
 * that are still open. */
void journal_stop(struct journal *journal);
/* Bytes of batches that still fit in what is there: the rest of this segment, and the next one. 0 also
 * while a batch waits for a segment. */
uint64_t journal_room(const struct journal *journal);
/* What there is holds no more than what may still come before the next look: a batch that begins now, and
 * the records of one that gather while it is written. */
bool journal_nearly_full(const struct journal *journal);

#endif
