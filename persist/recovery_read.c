/*
 * recovery_read.c - reading a journal, or a part of a snapshot, to its end, and judging that end.
 *
 * Records of events are kept aside: all of them come before the first hold. See recovery.c for the whole.
 */
#include "persist/recovery_internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plant.h"
#include "core/record.h"

/* ---- reading sources ---- */

static int
keep_events(struct source *source, const struct batch_header *batch)
{
    const uint8_t *record = batch_records(batch);
    uint32_t left = batch->records_size;
    while (left > 0) {
        struct record decoded;
        if (!record_decode(record, left, &decoded))
            return -EBADMSG;
        uint32_t size = decoded.header->size;
        if (decoded.header->type == RECORD_EVENT_CREATED || decoded.header->type == RECORD_EVENT_CHANGED) {
            struct bytes_kept *kept = &source->events;
            if (kept->size + size > kept->capacity) {
                size_t capacity = (kept->size + size) * 2;
                void *bytes = realloc(kept->bytes, capacity);
                if (bytes == NULL)
                    return -ENOMEM;
                kept->bytes = bytes;
                kept->capacity = capacity;
            }
            memcpy(kept->bytes + kept->size, record, size);
            kept->size += size;
        }
        record += size;
        left -= size;
    }
    return 0;
}

static bool
same_position(const struct journal_position *a, const struct journal_position *b)
{
    return a->segment == b->segment && a->offset == b->offset && a->batch == b->batch &&
           a->sequence == b->sequence && a->chain == b->chain;
}

int
source_reader(const struct recovery *recovery, const struct source *source,
              struct journal_reader **ret_reader)
{
    return source->part
               ? journal_reader_open_part(ret_reader, &recovery->disk, recovery->route_seed,
                                          recovery->generation, source->from.shard)
               : journal_reader_open(ret_reader, &recovery->disk, recovery->route_seed, &source->from);
}

/* The journal's reader has come to its end, or cannot go on. */
static int
source_ended(struct source *source, struct journal_reader *reader, enum journal_read read)
{
    struct journal_position at = journal_reader_position(reader);
    char name[FILE_NAME_SIZE];
    if (read == READ_FAILED || read == READ_DAMAGED) {
        source->fault = *journal_reader_fault(reader);
        return read == READ_FAILED ? source->fault.error : -EBADMSG;
    }
    if (source->must_end && !PLANTED(PLANT_END_NOT_CHECKED)) {
        /* short of its end, or it would have been left at it */
        file_name(name, FILE_JOURNAL, at.epoch, at.shard, at.segment);
        return recovery_fault(&source->fault, -EBADMSG, name, at.offset,
                              "it ends here, but the start after it noted that it goes on");
    }
    if (read == READ_CUT) {
        source->cut = true;
        source->fault = *journal_reader_fault(reader);
    }
    if (!source->part)
        source->end = at;
    return 0;
}

/* Reads a source to its end and checks all of it. */
static int
source_read(const struct recovery *recovery, struct source *source)
{
    struct journal_reader *reader;
    const struct batch_header *batch;
    int result = source_reader(recovery, source, &reader);
    if (result != 0)
        return recovery_no_memory(&source->fault);
    /* of an empty journal, which needs no more reading, the reader learns the chain with the header */
    bool empty = source->must_end && source->end.batch == 0;
    enum journal_read read = empty ? journal_reader_file(reader) : READ_BATCH;
    for (;;) {
        struct journal_position at = journal_reader_position(reader);
        if (read == READ_BATCH && source->must_end && same_position(&at, &source->end))
            break;
        if (read == READ_BATCH)
            read = journal_reader_next(reader, &batch);
        if (read != READ_BATCH) {
            at = journal_reader_position(reader);
            if (source->must_end && same_position(&at, &source->end) &&
                (read == READ_END || read == READ_CUT))
                break;
            result = source_ended(source, reader, read);
            break;
        }
        source->batches++;
        source->bytes += batch->size;
        source->records += batch->record_count;
        if (batch->time_ms > source->time_newest_ms)
            source->time_newest_ms = batch->time_ms;
        if (source->part && batch->sequence_last > source->reflected)
            source->reflected = batch->sequence_last;
        if (source->part || (batch->flags & BATCH_EVENTS) != 0)
            result = keep_events(source, batch);
        if (result != 0) {
            char name[FILE_NAME_SIZE];
            file_name(name, source->part ? FILE_PART : FILE_JOURNAL,
                      source->part ? recovery->generation : at.epoch, at.shard, at.segment);
            (void)recovery_fault(&source->fault, result, name, at.offset,
                                 result == -ENOMEM ? "no memory" : "a batch has bytes that are no record");
            break;
        }
    }
    journal_reader_close(reader);
    return result;
}

static void *
read_sources(void *context)
{
    struct recovery *recovery = context;
    uint32_t index;
    while ((index = atomic_fetch_add(&recovery->source_next, 1)) < recovery->source_count)
        recovery->sources[index].result = source_read(recovery, &recovery->sources[index]);
    return NULL;
}

/* All sources from `first` on, in as many threads as there may be. The first failure counts. */
int
sources_read(struct recovery *recovery, uint32_t first, struct journal_fault *ret_fault)
{
    pthread_t threads[SHARDS_MAX];
    uint32_t started = 0;
    atomic_store(&recovery->source_next, first);
    for (uint32_t i = 1; i < recovery->threads && i < recovery->source_count - first; i++) {
        if (pthread_create(&threads[started], NULL, read_sources, recovery) != 0)
            break; /* fewer will do */
        started++;
    }
    (void)read_sources(recovery);
    for (uint32_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL); /* started here, joined once */
    for (uint32_t i = first; i < recovery->source_count; i++) {
        if (recovery->sources[i].result != 0) {
            *ret_fault = recovery->sources[i].fault;
            return recovery->sources[i].result;
        }
    }
    return 0;
}

struct source *
source_add(struct recovery *recovery)
{
    void *grown = array_grow(recovery->sources, recovery->source_count, &recovery->source_capacity,
                             sizeof *recovery->sources);
    if (grown == NULL)
        return NULL;
    recovery->sources = grown;
    struct source *source = &recovery->sources[recovery->source_count++];
    memset(source, 0, sizeof *source);
    return source;
}

void
sources_drop(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->source_count; i++)
        free(recovery->sources[i].events.bytes);
    recovery->source_count = 0;
    recovery->part_count = 0;
}
