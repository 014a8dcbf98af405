/*
 * recovery.c - from a folder of journals and snapshots to a set of shards, or to a fault that says where
 * and what.
 *
 *     plan      names ─▶ newest epoch ─▶ generation ─▶ the journals from there on, with the end each must
 * reach read      every batch of them, checked; records of events kept aside, since all of them come first
 *     replay    events; then each home: parts, journals in the order of epochs (core/replay.c)
 *     begin     the next epoch
 *
 * Nothing is guessed: a file that must be there and is not, a journal that ends before the place which the
 * next start noted, a header that does not fit its name are faults. The one thing that is cut is a torn
 * last batch of the newest epoch.
 *
 * See also: recovery_plan.c, recovery_read.c.
 */
#include "persist/recovery_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plant.h"
#include "core/record.h"

/* ---- faults ---- */

int
recovery_fault(struct journal_fault *ret_fault, int result, const char *file, uint64_t offset,
               const char *text)
{
    memset(ret_fault, 0, sizeof *ret_fault);
    (void)snprintf(ret_fault->file, sizeof ret_fault->file, "%s", file); /* names of ours fit */
    (void)snprintf(ret_fault->text, sizeof ret_fault->text, "%s", text); /* cut where too long */
    ret_fault->offset = offset;
    ret_fault->error = result == -EBADMSG ? 0 : result;
    return result;
}

int
recovery_no_memory(struct journal_fault *ret_fault)
{
    return recovery_fault(ret_fault, -ENOMEM, "", 0, "no memory");
}

/* What the snapshot reflects was durable before the snapshot counted: a journal that does not reach it has
 * lost something, and what looks like a torn tail is none. */
static int
check_reflected(struct recovery *recovery, struct journal_fault *ret_fault)
{
    for (uint32_t i = 0; i < recovery->part_count; i++) {
        /* its journal: the sources behind the parts begin with those of the generation's epoch */
        const struct source *journal = &recovery->sources[recovery->part_count + i];
        assert(journal->from.epoch == recovery->generation_epoch);
        if (recovery->sources[i].reflected > journal->end.sequence) {
            char name[FILE_NAME_SIZE];
            file_name(name, FILE_JOURNAL, journal->end.epoch, journal->end.shard, journal->end.segment);
            return recovery_fault(ret_fault, -EBADMSG, name, journal->end.offset,
                                  "it ends here, but the snapshot shows that it went on");
        }
    }
    return 0;
}

static int
add_up(struct recovery *recovery, struct journal_fault *ret_fault)
{
    struct recovery_report *report = &recovery->report;
    for (uint32_t i = 0; i < recovery->source_count; i++) {
        const struct source *source = &recovery->sources[i];
        if (source->time_newest_ms > report->time_newest_ms)
            report->time_newest_ms = source->time_newest_ms;
        if (source->part)
            continue;
        report->records += source->records;
        report->batches += source->batches;
        report->journal_bytes += source->bytes;
        if (source->from.epoch < recovery->epoch_newest)
            report->old_segments += source->end.segment - source->from.segment + 1;
        if (source->cut) {
            if (report->cut_count == RECOVERY_CUTS_MAX)
                return recovery_no_memory(ret_fault);
            report->cuts[report->cut_count++] = source->fault;
        }
    }
    return 0;
}

int
recovery_open(struct recovery **ret_recovery, const struct disk *disk, uint64_t route_seed,
              uint32_t threads, struct journal_fault *ret_fault)
{
    struct recovery *recovery = calloc(1, sizeof *recovery);
    if (recovery == NULL)
        return recovery_no_memory(ret_fault);
    recovery->disk = *disk;
    recovery->route_seed = route_seed;
    recovery->threads = threads > SHARDS_MAX ? SHARDS_MAX : threads;
    int result = disk->list(disk->context, folder_see, recovery);
    if (result != 0)
        (void)recovery_fault(ret_fault, result, ".", 0, strerror(-result));
    if (result == 0 && recovery->no_memory)
        result = recovery_no_memory(ret_fault);
    for (uint32_t i = 0; i < recovery->file_count; i++)
        if (recovery->files[i].kind == FILE_START && recovery->files[i].epoch > recovery->epoch_newest)
            recovery->epoch_newest = recovery->files[i].epoch;
    if (result == 0)
        result = plan_check_unstarted(recovery, ret_fault);
    if (result == 0 && recovery->epoch_newest > 0)
        result = plan_generation(recovery, ret_fault);
    if (result == 0 && recovery->source_count > recovery->part_count)
        result = sources_read(recovery, recovery->part_count, ret_fault);
    if (result == -EBADMSG && recovery->generation == 0 && recovery->report.snapshot_damaged)
        *ret_fault =
            recovery->report.snapshot_fault; /* the journals it covered need not be there any more */
    if (result == 0)
        result = check_reflected(recovery, ret_fault);
    if (result == 0)
        result = add_up(recovery, ret_fault);
    if (result != 0) {
        recovery_close(recovery);
        return result;
    }
    recovery->report.epoch = recovery->epoch_newest + 1;
    recovery->report.generation = recovery->generation;
    *ret_recovery = recovery;
    return 0;
}

void
recovery_close(struct recovery *recovery)
{
    sources_drop(recovery);
    free(recovery->sources);
    free(recovery->files);
    free(recovery->leftovers);
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        free(recovery->dones[i].items);
    free(recovery);
}

const struct recovery_report *
recovery_report(const struct recovery *recovery)
{
    return &recovery->report;
}

/* ---- replay ---- */

static struct replay_source
replay_source_of(const struct recovery *recovery, const struct source *source,
                 const struct batch_header *batch)
{
    struct replay_source from = {.kind = REPLAY_AFTER, .shard = source->from.shard};
    if (source->part) {
        from.kind = REPLAY_SNAPSHOT;
        from.reflected = batch == NULL ? 0 : batch->sequence_last;
    } else if (recovery->generation != 0 && source->from.epoch == recovery->generation_epoch) {
        from.kind = REPLAY_BEHIND;
    }
    return from;
}

static int
replay_failed(enum replay_result result, const char *name, uint64_t offset, struct journal_fault *ret_fault)
{
    if (result == REPLAY_FULL)
        return recovery_fault(ret_fault, -ENOMEM, name, offset,
                              "what is recorded here does not fit: raise core.holds_max, core.users_max, "
                              "core.seats_max, core.tokens_max, "
                              "core.events_max or core.event_bytes_max, or use more shards");
    return recovery_fault(ret_fault, -EBADMSG, name, offset,
                          "a record here contradicts what was recorded before");
}

int
recovery_events(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count,
                struct journal_fault *ret_fault)
{
    struct replay replay = {.shards = shards, .shard_count = shard_count};
    for (uint32_t i = 0; i < recovery->source_count; i++) {
        const struct source *source = &recovery->sources[i];
        struct replay_source from = replay_source_of(recovery, source, NULL);
        enum replay_result result =
            shard_replay(&replay, &from, REPLAY_EVENTS, source->events.bytes, source->events.size);
        if (result != REPLAY_OK) {
            char name[FILE_NAME_SIZE];
            file_name(name, source->part ? FILE_PART : FILE_JOURNAL,
                      source->part ? recovery->generation : source->from.epoch, source->from.shard,
                      source->from.segment);
            return replay_failed(result, name, 0, ret_fault);
        }
    }
    return 0;
}

/* Room for what a batch may find. */
static bool
dones_reserve(struct done_list *list, uint64_t count)
{
    if (list->count + count <= list->capacity)
        return true;
    uint64_t capacity = (list->count + count) * 2;
    struct replay_done *items = realloc(list->items, capacity * sizeof items[0]);
    if (items == NULL)
        return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

static int
replay_source_holds(struct recovery *recovery, const struct source *source, struct replay *replay,
                    struct journal_fault *ret_fault)
{
    struct done_list *dones = &recovery->dones[replay->home];
    struct journal_reader *reader;
    const struct batch_header *batch;
    int result = source_reader(recovery, source, &reader);
    if (result != 0)
        return recovery_no_memory(ret_fault);
    /* It has been read to its end once: only the disk can fail now. */
    for (uint64_t i = 0; i < source->batches && result == 0; i++) {
        struct journal_position at = journal_reader_position(reader);
        enum journal_read read = journal_reader_next(reader, &batch);
        if (read != READ_BATCH) {
            *ret_fault = *journal_reader_fault(reader);
            result = read == READ_FAILED ? ret_fault->error : -EBADMSG;
            break;
        }
        if (!dones_reserve(dones, batch->record_count)) {
            result = recovery_no_memory(ret_fault);
            break;
        }
        replay->dones = dones->items;
        replay->done_count = dones->count;
        struct replay_source from = replay_source_of(recovery, source, batch);
        enum replay_result replayed =
            shard_replay(replay, &from, REPLAY_HOLDS, batch_records(batch), batch->records_size);
        dones->count = replay->done_count;
        if (replayed != REPLAY_OK) {
            char name[FILE_NAME_SIZE];
            file_name(name, source->part ? FILE_PART : FILE_JOURNAL,
                      source->part ? recovery->generation : at.epoch, at.shard, at.segment);
            result = replay_failed(replayed, name, at.offset, ret_fault);
        }
    }
    journal_reader_close(reader);
    return result;
}

int
recovery_holds(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count, uint32_t home,
               struct journal_fault *ret_fault)
{
    struct replay replay = {.shards = shards, .shard_count = shard_count, .home = home};
    int result = 0;
    if (recovery->generation != 0) {
        replay.hold_marks = calloc(shard_hold_slots(shards[home]), sizeof(uint64_t));
        replay.token_marks = calloc(shard_token_slots(shards[home]), sizeof(uint64_t));
        if (replay.hold_marks == NULL || replay.token_marks == NULL)
            result = recovery_no_memory(ret_fault);
    }
    for (uint32_t i = 0; i < recovery->source_count && result == 0; i++) {
        uint32_t last = recovery->source_count - 1;
        bool turn = PLANTED(PLANT_EPOCHS_REVERSED) && i >= recovery->part_count;
        const struct source *source = &recovery->sources[turn ? last - (i - recovery->part_count) : i];
        if (replay_concerns(home, shard_count, source->from.shard, source->shard_count))
            result = replay_source_holds(recovery, source, &replay, ret_fault);
    }
    free(replay.hold_marks);
    free(replay.token_marks);
    return result;
}

int
recovery_settle(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count,
                uint32_t shard, struct journal_fault *ret_fault)
{
    struct done_list *dones = &recovery->dones[shard];
    enum replay_result result = replay_settle(shards, shard_count, shard, dones->items, dones->count);
    free(dones->items);
    *dones = (struct done_list){0};
    return result == REPLAY_OK ? 0 : replay_failed(result, "", 0, ret_fault);
}

/* ---- the next epoch ---- */

static int
remove_named(const struct disk *disk, const char *name, struct journal_fault *ret_fault)
{
    int result = disk->remove(disk->context, name);
    return result == 0 || result == -ENOENT ? 0
                                            : recovery_fault(ret_fault, result, name, 0, strerror(-result));
}

static int
remove_journal(const struct disk *disk, const struct file_id *id, struct journal_fault *ret_fault)
{
    char name[FILE_NAME_SIZE];
    file_name(name, FILE_JOURNAL, id->epoch, id->shard, id->segment);
    return remove_named(disk, name, ret_fault);
}

static int
remove_leftovers(struct recovery *recovery, struct journal_fault *ret_fault)
{
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < recovery->leftover_count; i++)
        result = remove_named(&recovery->disk, recovery->leftovers[i], ret_fault);
    for (uint32_t i = 0; result == 0 && i < recovery->file_count; i++) {
        const struct file_id *id = &recovery->files[i];
        if (id->kind == FILE_JOURNAL && id->epoch > recovery->epoch_newest)
            result = remove_journal(&recovery->disk, id, ret_fault);
    }
    return result;
}

/* Each end of a server leaves one or two of them for each shard, and no snapshot may come for long. */
static int
remove_never_begun(struct recovery *recovery, struct journal_fault *ret_fault)
{
    int result = 0;
    for (uint32_t i = recovery->part_count; i < recovery->source_count; i++) {
        const struct journal_position *end = &recovery->sources[i].end;
        for (uint32_t k = 0; result == 0 && k < recovery->file_count; k++) {
            const struct file_id *id = &recovery->files[k];
            if (id->kind == FILE_JOURNAL && id->epoch == end->epoch && id->shard == end->shard &&
                id->segment > end->segment)
                result = remove_journal(&recovery->disk, id, ret_fault);
        }
    }
    return result;
}

static int
write_start(struct recovery *recovery, uint32_t shard_count, uint64_t now_ms,
            struct journal_fault *ret_fault)
{
    const struct disk *disk = &recovery->disk;
    uint32_t positions = 0;
    size_t capacity = 2 * BLOCK_BYTES;
    char name[FILE_NAME_SIZE];
    char temporary[FILE_NAME_SIZE + 4];
    static_assert(sizeof(struct file_header) + SHARDS_MAX * sizeof(struct journal_position) <=
                      2 * BLOCK_BYTES,
                  "all positions fit");
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, capacity);
    if (bytes == NULL)
        return recovery_no_memory(ret_fault);
    memset(bytes, 0, capacity);
    for (uint32_t i = recovery->part_count; i < recovery->source_count; i++) {
        const struct source *source = &recovery->sources[i];
        if (source->end.epoch == recovery->epoch_newest)
            memcpy(bytes + sizeof(struct file_header) + positions++ * sizeof source->end, &source->end,
                   sizeof source->end);
    }
    struct file_header *header = (struct file_header *)bytes;
    header->route_seed = recovery->route_seed;
    header->epoch = recovery->report.epoch;
    header->time_ms = now_ms;
    header->shard_count = shard_count;
    header->position_count = positions;
    uint32_t size = file_seal(bytes, capacity, FILE_START);
    file_name(name, FILE_START, recovery->report.epoch, 0, 0);
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", name); /* fits */
    int file = -1;
    int result = disk->create(disk->context, temporary, DISK_PLAIN, 0, &file);
    if (result == 0)
        result = disk->write(disk->context, file, bytes, size, 0);
    if (result == 0)
        result = disk->sync(disk->context, file);
    if (file >= 0) {
        int closed = disk->close(disk->context, file);
        result = result != 0 ? result : closed;
    }
    if (result == 0)
        result = disk->rename(disk->context, temporary, name);
    if (result == 0 && !PLANTED(PLANT_START_NOT_SYNCED))
        result = disk->sync_folder(disk->context);
    free(bytes);
    return result == 0 ? 0 : recovery_fault(ret_fault, result, name, 0, strerror(-result));
}

int
recovery_begin(struct recovery *recovery, uint32_t shard_count, uint64_t segment_bytes, uint64_t now_ms,
               int *ret_files, uint32_t *ret_crcs, struct journal_fault *ret_fault)
{
    const struct disk *disk = &recovery->disk;
    uint32_t made = 0;
    int result = remove_leftovers(recovery, ret_fault);
    for (; made < shard_count && result == 0; made++) {
        const struct file_header wanted = {
            .route_seed = recovery->route_seed,
            .epoch = recovery->report.epoch,
            .time_ms = now_ms,
            .file_size = segment_bytes,
            .shard = made,
            .shard_count = shard_count,
        };
        result = segment_make(disk, &wanted, &ret_files[made], &ret_crcs[made]);
        if (result != 0) {
            char name[FILE_NAME_SIZE];
            file_name(name, FILE_JOURNAL, recovery->report.epoch, made, 0);
            (void)recovery_fault(ret_fault, result, name, 0, strerror(-result));
            break;
        }
    }
    if (result == 0)
        result = write_start(recovery, shard_count, now_ms, ret_fault);
    if (result == 0)
        result = remove_never_begun(recovery, ret_fault);
    if (result != 0)
        while (made > 0)
            (void)disk->close(disk->context, ret_files[--made]); /* the failure before is what counts */
    return result;
}
