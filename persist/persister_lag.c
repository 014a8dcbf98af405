/*
 * persister_lag.c - how far PostgreSQL is behind, told from the headers of batches.
 *
 *      place                                                          end
 *        │ segment 7         │ segment 8         │ segment 9          │
 *     ───┴───────────────────┼───────────────────┼─▪─▪──▪─▪───▪───────┴ ─ ─ zeros
 *        first header with   └─ sequence_first ──┘  header by header
 *        records: the age       and sizes of files
 *
 * Whole segments are passed over: the first header of the next one says which record it begins with. Only
 * in the last one headers are read one after another, 96 bytes each; a persister that keeps up has a few of
 * them in front of it. Records are counted by their sequence numbers, so they are exact; bytes have the few
 * that no batch fitted into at the end of a segment.
 *
 * Checksums are not looked at: a batch that is just being written, or was torn by a power loss and waits
 * for the start that cuts it, may be counted. Where a later epoch has noted the end, the note counts.
 */
#include "persist/persister_lag.h"

#include "persist/persister_follow.h"

#include <assert.h>
#include <errno.h>

/* A way through a journal, with the file of its position open. */
struct stride {
    const struct data_folder *folder;
    struct journal_position at;
    int file; /* -1: none */
    uint64_t file_size;
};

static int
stride_open(struct stride *stride)
{
    char name[FILE_NAME_SIZE];
    const struct disk *disk = &stride->folder->disk;
    file_name(name, FILE_JOURNAL, stride->at.epoch, stride->at.shard, stride->at.segment);
    int result = disk->open(disk->context, name, &stride->file, &stride->file_size);
    if (result != 0)
        stride->file = -1;
    return result;
}

static void
stride_close(struct stride *stride)
{
    if (stride->file >= 0)
        (void)stride->folder->disk.close(stride->folder->disk.context, stride->file); /* only read from */
    stride->file = -1;
}

/* The header of a batch of this journal that stands at an offset of the file. 1, 0: none, or negative
 * errno. */
static int
header_at(const struct stride *stride, uint64_t offset, struct batch_header *ret_header)
{
    struct batch_header header = {0};
    const struct disk *disk = &stride->folder->disk;
    if (offset + BLOCK_BYTES > stride->file_size)
        return 0;
    int result = disk->read(disk->context, stride->file, &header, sizeof header, offset);
    if (result != 0)
        return result;
    if (batch_check((const uint8_t *)&header, sizeof header) != BATCH_SHORT ||
        header.epoch != stride->at.epoch || header.shard != stride->at.shard)
        return 0;
    *ret_header = header;
    return 1;
}

/* Steps over the next batch. Likewise. */
static int
step(struct stride *stride, struct batch_header *ret_header)
{
    struct batch_header header = {0};
    struct journal_position *at = &stride->at;
    int result = stride->file >= 0 ? 0 : stride_open(stride);
    if (result != 0)
        return result == -ENOENT ? 0 : result;
    result = header_at(stride, at->offset, &header);
    if (result != 1)
        return result;
    if (header.number != at->batch || header.sequence_first != at->sequence + 1)
        return 0;
    at->offset += header.size;
    at->batch++;
    at->sequence = header.sequence_last;
    if ((header.flags & BATCH_CLOSES) != 0) {
        at->segment++;
        at->offset = BLOCK_BYTES;
        stride_close(stride);
    }
    *ret_header = header;
    return 1;
}

/* Is the next segment begun? Then to its beginning. Likewise. */
static int
leap(struct stride *stride)
{
    struct stride next = {.folder = stride->folder, .at = stride->at, .file = -1};
    struct batch_header header = {0};
    next.at.segment++;
    int result = stride_open(&next);
    if (result != 0)
        return result == -ENOENT ? 0 : result;
    result = header_at(&next, BLOCK_BYTES, &header);
    if (result != 1) {
        stride_close(&next);
        return result;
    }
    next.at.offset = BLOCK_BYTES;
    next.at.batch = header.number;
    next.at.sequence = header.sequence_first - 1;
    stride_close(stride);
    *stride = next;
    return 1;
}

static int
find_end(const struct data_folder *folder, const struct journal_position *from,
         struct journal_position *ret_end)
{
    struct stride stride = {.folder = folder, .at = *from, .file = -1};
    struct batch_header header = {0};
    int result;
    do
        result = leap(&stride);
    while (result == 1);
    while (result >= 0 && (result = step(&stride, &header)) == 1)
        ;
    stride_close(&stride);
    if (result == 0)
        *ret_end = stride.at;
    return result;
}

/* The time of the first batch with records behind a place where there is one. */
static int
find_oldest(const struct data_folder *folder, const struct journal_position *from, uint64_t *ret_time_ms)
{
    struct stride stride = {.folder = folder, .at = *from, .file = -1};
    struct batch_header header = {0};
    int result;
    do
        result = step(&stride, &header);
    while (result == 1 && header.record_count == 0);
    stride_close(&stride);
    if (result == 1)
        *ret_time_ms = header.time_ms;
    return result == 1 ? 0 : result == 0 ? -EAGAIN : result;
}

/* Of journal between two places. */
static int
count_bytes(const struct data_folder *folder, const struct journal_position *from,
            const struct journal_position *end, uint64_t *ret_bytes)
{
    struct stride stride = {.folder = folder, .at = *from, .file = -1};
    uint64_t bytes = 0;
    while (stride.at.segment < end->segment) {
        int result = stride_open(&stride);
        if (result != 0)
            return result;
        stride_close(&stride);
        bytes += stride.file_size - stride.at.offset;
        stride.at.segment++;
        stride.at.offset = BLOCK_BYTES;
    }
    *ret_bytes = bytes + (end->offset > stride.at.offset ? end->offset - stride.at.offset : 0);
    return 0;
}

/* What one journal has, from a place on. noted: its end, where it is known; else NULL. */
static int
add_journal(const struct data_folder *folder, const struct journal_position *from,
            const struct journal_position *noted, struct lag *lag, uint64_t *oldest_ms)
{
    struct journal_position end;
    uint64_t bytes, time_ms;
    int result = 0;
    if (noted != NULL)
        end = *noted;
    else
        result = find_end(folder, from, &end);
    if (result != 0 || end.sequence <= from->sequence)
        return result;
    result = find_oldest(folder, from, &time_ms);
    if (result == 0)
        result = count_bytes(folder, from, &end, &bytes);
    if (result != 0)
        return result;
    lag->records += end.sequence - from->sequence;
    lag->bytes += bytes;
    if (*oldest_ms == 0 || time_ms < *oldest_ms)
        *oldest_ms = time_ms;
    return 0;
}

int
lag_measure(const struct data_folder *folder, const struct persister_place *place, uint64_t wall_ms,
            struct lag *ret_lag)
{
    struct lag lag = {0};
    uint64_t oldest_ms = 0;
    uint64_t epoch = place->epoch;
    uint32_t shard_count = place->shard_count;
    while (epoch != 0 && shard_count != 0) {
        struct journal_position ends[SHARDS_MAX];
        bool ended = follow_ends(folder, epoch, shard_count, ends);
        for (uint32_t i = 0; i < shard_count; i++) {
            struct journal_position from = {.epoch = epoch, .shard = i};
            if (epoch == place->epoch)
                from = place->positions[i];
            if (from.offset == 0)
                from.offset = BLOCK_BYTES;
            int result = add_journal(folder, &from, ended ? &ends[i] : NULL, &lag, &oldest_ms);
            if (result != 0)
                return result;
        }
        if (!ended)
            break;
        shard_count = follow_shard_count(folder, ++epoch);
    }
    if (oldest_ms != 0 && wall_ms > oldest_ms)
        lag.ms = wall_ms - oldest_ms;
    *ret_lag = lag;
    return 0;
}

/* ---- between two threads ---- */

void
lag_meter_open(struct lag_meter *meter)
{
    *meter = (struct lag_meter){0};
    int error = pthread_mutex_init(&meter->lock, NULL);
    assert(error == 0); /* cannot fail without attributes */
}

void
lag_meter_close(struct lag_meter *meter)
{
    int error = pthread_mutex_destroy(&meter->lock);
    assert(error == 0); /* nobody has it */
}

static void
meter_lock(struct lag_meter *meter)
{
    int error = pthread_mutex_lock(&meter->lock);
    assert(error == 0); /* cannot fail, nor the unlock */
}

static void
meter_unlock(struct lag_meter *meter)
{
    int error = pthread_mutex_unlock(&meter->lock);
    assert(error == 0);
}

void
lag_meter_move(struct lag_meter *meter, const struct persister_place *place)
{
    meter_lock(meter);
    meter->place = *place;
    meter_unlock(meter);
}

struct lag
lag_meter_read(struct lag_meter *meter, const struct data_folder *folder, uint64_t wall_ms)
{
    struct lag lag;
    meter_lock(meter);
    const struct persister_place place = meter->place;
    meter_unlock(meter);
    int result = lag_measure(folder, &place, wall_ms, &lag);
    meter_lock(meter);
    if (result == 0)
        meter->last = lag;
    else
        lag = meter->last;
    meter_unlock(meter);
    return lag;
}
