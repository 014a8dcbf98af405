/*
 * journal_writer.h - where a shard's batches of records go, and how far they are durable.
 *
 * One writer a shard, used by that shard's thread only. One batch is on its way at a time: the records that
 * come meanwhile form the next one (group commit without a timer).
 */
#ifndef HOLDFAST_JOURNAL_WRITER_H
#define HOLDFAST_JOURNAL_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal_writer;

/* Opens the journal of one shard. 0, or negative errno. The caller closes it. */
int journal_open(struct journal_writer **ret_writer, uint32_t shard_index);
void journal_close(struct journal_writer *writer);

/* A batch is on its way: no other may be appended before journal_poll() has seen its end. */
bool journal_busy(const struct journal_writer *writer);

/*
 * Begins to write one batch; sequences follow one another without a gap. data stays the caller's and must
 * stay untouched until the batch has ended. 0, or negative errno (nothing begun).
 */
int journal_append(struct journal_writer *writer, const uint8_t *data, size_t size, uint64_t sequence_first,
                   uint64_t sequence_last);

/* Takes notice of a batch's end. 0, or negative errno: the write failed; it is never retried, the process
 * ends with the cause. */
int journal_poll(struct journal_writer *writer);

/* Every record up to this sequence is durable. */
uint64_t journal_durable(const struct journal_writer *writer);

/* Bytes of records taken since the start. */
uint64_t journal_bytes(const struct journal_writer *writer);

#endif
