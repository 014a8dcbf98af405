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
 */
#include "persist/recovery.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plant.h"
#include "core/record.h"
#include "holdfast/limits.h"

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
    struct recovery_report report;
};

/* ---- faults ---- */

static int
fault_at(struct journal_fault *ret_fault, int result, const char *file, uint64_t offset, const char *text)
{
    memset(ret_fault, 0, sizeof *ret_fault);
    (void)snprintf(ret_fault->file, sizeof ret_fault->file, "%s", file); /* names of ours fit */
    (void)snprintf(ret_fault->text, sizeof ret_fault->text, "%s", text); /* cut where too long */
    ret_fault->offset = offset;
    ret_fault->error = result == -EBADMSG ? 0 : result;
    return result;
}

static int
no_memory(struct journal_fault *ret_fault)
{
    return fault_at(ret_fault, -ENOMEM, "", 0, "no memory");
}

/* ---- what lies in the folder ---- */

static void *
grow(void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    uint32_t more = *capacity == 0 ? 64 : *capacity * 2;
    void *grown = realloc(items, more * size);
    if (grown != NULL)
        *capacity = more;
    return grown;
}

static void
see_name(void *context, const char *name)
{
    struct recovery *recovery = context;
    struct file_id id;
    size_t size = strlen(name);
    if (size > 4 && size < FILE_NAME_SIZE && strcmp(name + size - 4, ".tmp") == 0) {
        void *grown = grow(recovery->leftovers, recovery->leftover_count, &recovery->leftover_capacity,
                           sizeof recovery->leftovers[0]);
        if (grown == NULL) {
            recovery->no_memory = true;
            return;
        }
        recovery->leftovers = grown;
        memcpy(recovery->leftovers[recovery->leftover_count++], name, size + 1);
        return;
    }
    if (!file_name_parse(name, &id))
        return; /* not ours: left alone */
    void *grown =
        grow(recovery->files, recovery->file_count, &recovery->file_capacity, sizeof *recovery->files);
    if (grown == NULL) {
        recovery->no_memory = true;
        return;
    }
    recovery->files = grown;
    recovery->files[recovery->file_count++] = id;
}

/* Reads the header of a start file or a manifest and the positions behind it. The caller frees *ret_file.
 */
static int
read_small(struct recovery *recovery, enum file_kind kind, uint64_t number, uint8_t **ret_file,
           struct journal_fault *ret_fault)
{
    char name[FILE_NAME_SIZE];
    int file;
    uint64_t size;
    file_name(name, kind, number, 0, 0);
    int result = recovery->disk.open(recovery->disk.context, name, &file, &size);
    if (result == -ENOENT)
        return fault_at(ret_fault, -EBADMSG, name, 0, "the file is missing");
    if (result != 0)
        return fault_at(ret_fault, result, name, 0, strerror(-result));
    uint8_t *bytes = NULL;
    if (size < BLOCK_BYTES || size > 16 * BLOCK_BYTES || size % BLOCK_BYTES != 0)
        result = fault_at(ret_fault, -EBADMSG, name, 0, "it has a size that no such file has");
    if (result == 0 && (bytes = aligned_alloc(BLOCK_BYTES, (size_t)size)) == NULL)
        result = no_memory(ret_fault);
    if (result == 0) {
        result = recovery->disk.read(recovery->disk.context, file, bytes, (size_t)size, 0);
        if (result != 0)
            (void)fault_at(ret_fault, result, name, 0, strerror(-result));
    }
    (void)recovery->disk.close(recovery->disk.context, file); /* only read from */
    if (result == 0) {
        const struct file_header *header = (const struct file_header *)bytes;
        const char *wrong = file_check(bytes, (size_t)size, kind);
        uint64_t said = kind == FILE_START ? header->epoch : header->generation;
        if (wrong == NULL && header->checked_size != size)
            wrong = "it has not the size that its header says";
        if (wrong == NULL && header->route_seed != recovery->route_seed)
            wrong = "it belongs to another data directory";
        if (wrong == NULL && said != number)
            wrong = "its header names another number than its name";
        if (wrong == NULL && (header->shard_count == 0 || header->shard_count > SHARDS_MAX ||
                              header->position_count > SHARDS_MAX))
            wrong = "it names more shards than there can be";
        if (wrong != NULL)
            result = fault_at(ret_fault, -EBADMSG, name, 0, wrong);
    }
    if (result != 0) {
        free(bytes);
        return result;
    }
    *ret_file = bytes;
    return 0;
}

static const struct journal_position *
positions_of(const uint8_t *file)
{
    return (const struct journal_position *)(file + sizeof(struct file_header));
}

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

static int
reader_for(const struct recovery *recovery, const struct source *source, struct journal_reader **ret_reader)
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
        return fault_at(&source->fault, -EBADMSG, name, at.offset,
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
    int result = reader_for(recovery, source, &reader);
    if (result != 0)
        return no_memory(&source->fault);
    for (bool first = true;; first = false) {
        struct journal_position at = journal_reader_position(reader);
        /* chain: of an empty journal the reader learns it with the file's header */
        if (source->must_end && !(first && at.batch == 0) && same_position(&at, &source->end))
            break;
        enum journal_read read = journal_reader_next(reader, &batch);
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
            (void)fault_at(&source->fault, result, name, at.offset,
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
static int
read_all(struct recovery *recovery, uint32_t first, struct journal_fault *ret_fault)
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

static struct source *
source_add(struct recovery *recovery)
{
    void *grown = grow(recovery->sources, recovery->source_count, &recovery->source_capacity,
                       sizeof *recovery->sources);
    if (grown == NULL)
        return NULL;
    recovery->sources = grown;
    struct source *source = &recovery->sources[recovery->source_count++];
    memset(source, 0, sizeof *source);
    return source;
}

static void
sources_drop(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->source_count; i++)
        free(recovery->sources[i].events.bytes);
    recovery->source_count = 0;
    recovery->part_count = 0;
}

/* ---- the plan ---- */

/* The journals of an epoch: from the snapshot's positions, or from their beginnings. */
static int
plan_epoch(struct recovery *recovery, uint64_t epoch, uint32_t shard_count,
           const struct journal_position *from, struct journal_fault *ret_fault)
{
    uint8_t *next = NULL;
    if (epoch < recovery->epoch_newest) {
        int result = read_small(recovery, FILE_START, epoch + 1, &next, ret_fault);
        if (result != 0)
            return result;
        if (((const struct file_header *)next)->position_count != shard_count) {
            char name[FILE_NAME_SIZE];
            free(next);
            file_name(name, FILE_START, epoch + 1, 0, 0);
            return fault_at(ret_fault, -EBADMSG, name, 0,
                            "it does not note the ends of as many journals as the epoch before had shards");
        }
    }
    for (uint32_t i = 0; i < shard_count; i++) {
        struct source *source = source_add(recovery);
        if (source == NULL) {
            free(next);
            return no_memory(ret_fault);
        }
        source->shard_count = shard_count;
        source->from = from != NULL
                           ? from[i]
                           : (struct journal_position){.epoch = epoch, .shard = i, .offset = BLOCK_BYTES};
        source->must_end = next != NULL;
        if (next != NULL)
            source->end = positions_of(next)[i];
    }
    free(next);
    return 0;
}

/* All journals from a generation on (manifest), or from the first epoch. */
static int
plan_journals(struct recovery *recovery, const uint8_t *manifest, struct journal_fault *ret_fault)
{
    const struct file_header *header = (const struct file_header *)manifest;
    uint64_t first = manifest != NULL ? header->epoch : 1;
    for (uint64_t epoch = first; epoch <= recovery->epoch_newest; epoch++) {
        uint8_t *start = NULL;
        int result = read_small(recovery, FILE_START, epoch, &start, ret_fault);
        if (result != 0)
            return result;
        uint32_t shard_count = ((const struct file_header *)start)->shard_count;
        uint64_t time_ms = ((const struct file_header *)start)->time_ms;
        free(start);
        if (time_ms > recovery->report.time_newest_ms)
            recovery->report.time_newest_ms = time_ms;
        bool from_manifest = manifest != NULL && epoch == first;
        if (from_manifest && header->position_count != shard_count) {
            char name[FILE_NAME_SIZE];
            file_name(name, FILE_SNAPSHOT, header->generation, 0, 0);
            return fault_at(ret_fault, -EBADMSG, name, 0,
                            "it has positions for another number of shards than its epoch had");
        }
        result = plan_epoch(recovery, epoch, shard_count, from_manifest ? positions_of(manifest) : NULL,
                            ret_fault);
        if (result != 0)
            return result;
    }
    return 0;
}

/* Takes a generation: its parts are whole, and every journal from it on. */
static int
try_generation(struct recovery *recovery, uint64_t generation, struct journal_fault *ret_fault)
{
    uint8_t *manifest = NULL;
    sources_drop(recovery);
    recovery->generation = generation;
    int result = read_small(recovery, FILE_SNAPSHOT, generation, &manifest, ret_fault);
    if (result != 0)
        return result;
    const struct file_header *header = (const struct file_header *)manifest;
    recovery->generation_epoch = header->epoch;
    for (uint32_t i = 0; i < header->shard_count; i++) {
        struct source *source = source_add(recovery);
        if (source == NULL) {
            free(manifest);
            return no_memory(ret_fault);
        }
        source->part = true;
        source->from.shard = i;
        source->shard_count = header->shard_count;
    }
    recovery->part_count = header->shard_count;
    if (header->position_count != header->shard_count || header->epoch > recovery->epoch_newest) {
        char name[FILE_NAME_SIZE];
        file_name(name, FILE_SNAPSHOT, generation, 0, 0);
        result = fault_at(ret_fault, -EBADMSG, name, 0, "its positions do not fit its shards");
    }
    if (result == 0)
        result = read_all(recovery, 0, ret_fault);
    if (result == 0) {
        if (header->time_ms > recovery->report.time_newest_ms)
            recovery->report.time_newest_ms = header->time_ms;
        result = plan_journals(recovery, manifest, ret_fault);
    }
    free(manifest);
    return result;
}

static uint64_t
generation_below(const struct recovery *recovery, uint64_t limit)
{
    uint64_t newest = 0;
    for (uint32_t i = 0; i < recovery->file_count; i++)
        if (recovery->files[i].kind == FILE_SNAPSHOT && recovery->files[i].epoch < limit &&
            recovery->files[i].epoch > newest)
            newest = recovery->files[i].epoch;
    return newest;
}

/* The newest whole generation, or none. Journals themselves are read afterwards: what is wrong with them is
 * wrong with an older generation, too. */
static int
choose_generation(struct recovery *recovery, struct journal_fault *ret_fault)
{
    uint64_t generation = generation_below(recovery, UINT64_MAX);
    struct journal_fault fault;
    for (; generation != 0; generation = generation_below(recovery, generation)) {
        int result = try_generation(recovery, generation, &fault);
        if (result == 0)
            return 0;
        if (result != -EBADMSG) {
            *ret_fault = fault;
            return result;
        }
        if (!recovery->report.snapshot_damaged)
            recovery->report.snapshot_fault = fault;
        recovery->report.snapshot_damaged = true;
    }
    sources_drop(recovery);
    recovery->generation = 0;
    recovery->generation_epoch = 0;
    int result = plan_journals(recovery, NULL, &fault);
    if (result != 0)
        *ret_fault = recovery->report.snapshot_damaged && result == -EBADMSG
                         ? recovery->report.snapshot_fault
                         : fault;
    return result;
}

/* Files of epochs that no start file tells of: leftovers of a start that did not come far, if they hold
 * nothing. */
static int
check_unstarted(struct recovery *recovery, struct journal_fault *ret_fault)
{
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        const struct file_id *id = &recovery->files[i];
        struct journal_reader *reader;
        const struct batch_header *batch;
        if (id->kind == FILE_SNAPSHOT && recovery->epoch_newest == 0)
            return fault_at(ret_fault, -EBADMSG, "*.start", 0, "there is a snapshot, but no start file");
        if (id->kind != FILE_JOURNAL || id->epoch <= recovery->epoch_newest)
            continue;
        struct journal_position position = {.epoch = id->epoch, .shard = id->shard};
        if (journal_reader_open(&reader, &recovery->disk, recovery->route_seed, &position) != 0)
            return no_memory(ret_fault);
        enum journal_read read = journal_reader_next(reader, &batch);
        journal_reader_close(reader);
        if (id->segment > 0 || read == READ_BATCH) {
            char name[FILE_NAME_SIZE];
            file_name(name, FILE_START, id->epoch, 0, 0);
            return fault_at(ret_fault, -EBADMSG, name, 0,
                            "the file is missing, but a journal of this epoch has batches");
        }
    }
    return 0;
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
            return fault_at(ret_fault, -EBADMSG, name, journal->end.offset,
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
        if (source->cut) {
            if (report->cut_count == RECOVERY_CUTS_MAX)
                return no_memory(ret_fault);
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
        return no_memory(ret_fault);
    recovery->disk = *disk;
    recovery->route_seed = route_seed;
    recovery->threads = threads > SHARDS_MAX ? SHARDS_MAX : threads;
    int result = disk->list(disk->context, see_name, recovery);
    if (result != 0)
        (void)fault_at(ret_fault, result, ".", 0, strerror(-result));
    if (result == 0 && recovery->no_memory)
        result = no_memory(ret_fault);
    for (uint32_t i = 0; i < recovery->file_count; i++)
        if (recovery->files[i].kind == FILE_START && recovery->files[i].epoch > recovery->epoch_newest)
            recovery->epoch_newest = recovery->files[i].epoch;
    if (result == 0)
        result = check_unstarted(recovery, ret_fault);
    if (result == 0 && recovery->epoch_newest > 0)
        result = choose_generation(recovery, ret_fault);
    if (result == 0 && recovery->source_count > recovery->part_count)
        result = read_all(recovery, recovery->part_count, ret_fault);
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
        return fault_at(
            ret_fault, -ENOMEM, name, offset,
            "what is recorded here does not fit: raise core.holds_max, core.users_max, core.seats_max, "
            "core.events_max or core.event_bytes_max, or use more shards");
    return fault_at(ret_fault, -EBADMSG, name, offset,
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

static int
replay_source_holds(struct recovery *recovery, const struct source *source, struct replay *replay,
                    struct journal_fault *ret_fault)
{
    struct journal_reader *reader;
    const struct batch_header *batch;
    int result = reader_for(recovery, source, &reader);
    if (result != 0)
        return no_memory(ret_fault);
    /* It has been read to its end once: only the disk can fail now. */
    for (uint64_t i = 0; i < source->batches && result == 0; i++) {
        struct journal_position at = journal_reader_position(reader);
        enum journal_read read = journal_reader_next(reader, &batch);
        if (read != READ_BATCH) {
            *ret_fault = *journal_reader_fault(reader);
            result = read == READ_FAILED ? ret_fault->error : -EBADMSG;
            break;
        }
        struct replay_source from = replay_source_of(recovery, source, batch);
        enum replay_result replayed =
            shard_replay(replay, &from, REPLAY_HOLDS, batch_records(batch), batch->records_size);
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
            result = no_memory(ret_fault);
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

void
recovery_settle(struct recovery *recovery, struct shard *const shards[], uint32_t shard_count,
                uint32_t shard)
{
    (void)recovery; /* the order of the steps is recovery's, this one has nothing to read any more */
    replay_settle(shards, shard_count, shard);
}

/* ---- the next epoch ---- */

static int
remove_leftovers(struct recovery *recovery, struct journal_fault *ret_fault)
{
    const struct disk *disk = &recovery->disk;
    char name[FILE_NAME_SIZE];
    for (uint32_t i = 0; i < recovery->leftover_count; i++) {
        int result = disk->remove(disk->context, recovery->leftovers[i]);
        if (result != 0 && result != -ENOENT)
            return fault_at(ret_fault, result, recovery->leftovers[i], 0, strerror(-result));
    }
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        const struct file_id *id = &recovery->files[i];
        if (id->kind != FILE_JOURNAL || id->epoch <= recovery->epoch_newest)
            continue;
        file_name(name, FILE_JOURNAL, id->epoch, id->shard, id->segment);
        int result = disk->remove(disk->context, name);
        if (result != 0 && result != -ENOENT)
            return fault_at(ret_fault, result, name, 0, strerror(-result));
    }
    return 0;
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
        return no_memory(ret_fault);
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
    return result == 0 ? 0 : fault_at(ret_fault, result, name, 0, strerror(-result));
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
            (void)fault_at(ret_fault, result, name, 0, strerror(-result));
            break;
        }
    }
    if (result == 0)
        result = write_start(recovery, shard_count, now_ms, ret_fault);
    if (result != 0)
        while (made > 0)
            (void)disk->close(disk->context, ret_files[--made]); /* the failure before is what counts */
    return result;
}
