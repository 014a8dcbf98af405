/*
 * journal_writer.c - the journal's stand-in: keeps nothing, completes late.
 *
 * Behind the interface that the writer on disk will have. It does not hold the records (nobody could read
 * them back in this version), but it is as strict about the protocol as a disk: one batch in flight,
 * sequences without a gap, and a batch ends only at a poll after its append, never inside it. So everything
 * that waits for durability (R2: replies, R3: units that return) really waits, and a caller that forgets to
 * poll hangs.
 *
 *     idle --append--> busy --poll--> idle, durable = last sequence of the batch
 */
#include "persist/journal_writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct journal_writer {
    uint32_t shard_index;
    bool busy;
    uint64_t sequence_last; /* of the batch on its way, or of the last one */
    uint64_t durable;
    uint64_t bytes;
};

int
journal_open(struct journal_writer **ret_writer, uint32_t shard_index)
{
    struct journal_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return -ENOMEM;
    writer->shard_index = shard_index;
    *ret_writer = writer;
    return 0;
}

void
journal_close(struct journal_writer *writer)
{
    free(writer);
}

bool
journal_busy(const struct journal_writer *writer)
{
    return writer->busy;
}

int
journal_append(struct journal_writer *writer, const uint8_t *data, size_t size, uint64_t sequence_first,
               uint64_t sequence_last)
{
    assert(!writer->busy);
    assert(data != NULL);
    assert(size > 0);
    assert(sequence_first <= sequence_last);
    assert(writer->sequence_last == 0 || sequence_first == writer->sequence_last + 1);
    writer->busy = true;
    writer->sequence_last = sequence_last;
    writer->bytes += size;
    return 0;
}

int
journal_poll(struct journal_writer *writer)
{
    if (writer->busy) {
        assert(writer->sequence_last > writer->durable);
        writer->durable = writer->sequence_last;
        writer->busy = false;
    }
    return 0;
}

uint64_t
journal_durable(const struct journal_writer *writer)
{
    return writer->durable;
}

uint64_t
journal_bytes(const struct journal_writer *writer)
{
    return writer->bytes;
}
