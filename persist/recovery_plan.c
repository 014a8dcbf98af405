/*
 * recovery_plan.c - which epoch, which generation of the snapshot, which journals.
 *
 * From the names in the folder: the newest start file says the epoch; the newest manifest whose parts are
 * whole says where to begin; the start files between say how many shards each epoch had, and where the
 * journals before it end. See recovery.c for the whole.
 */
#include "persist/recovery_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plant.h"
#include "core/record.h"

/* ---- what lies in the folder ---- */

void *
array_grow(void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    uint32_t more = *capacity == 0 ? 64 : *capacity * 2;
    void *grown = realloc(items, more * size);
    if (grown != NULL)
        *capacity = more;
    return grown;
}

void
folder_see(void *context, const char *name)
{
    struct recovery *recovery = context;
    struct file_id id;
    size_t size = strlen(name);
    if (size > 4 && size < FILE_NAME_SIZE && strcmp(name + size - 4, ".tmp") == 0) {
        void *grown = array_grow(recovery->leftovers, recovery->leftover_count,
                                 &recovery->leftover_capacity, sizeof recovery->leftovers[0]);
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
    void *grown = array_grow(recovery->files, recovery->file_count, &recovery->file_capacity,
                             sizeof *recovery->files);
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
        return recovery_fault(ret_fault, -EBADMSG, name, 0, "the file is missing");
    if (result != 0)
        return recovery_fault(ret_fault, result, name, 0, strerror(-result));
    uint8_t *bytes = NULL;
    if (size < BLOCK_BYTES || size > 16 * BLOCK_BYTES || size % BLOCK_BYTES != 0)
        result = recovery_fault(ret_fault, -EBADMSG, name, 0, "it has a size that no such file has");
    if (result == 0 && (bytes = aligned_alloc(BLOCK_BYTES, (size_t)size)) == NULL)
        result = recovery_no_memory(ret_fault);
    if (result == 0) {
        result = recovery->disk.read(recovery->disk.context, file, bytes, (size_t)size, 0);
        if (result != 0)
            (void)recovery_fault(ret_fault, result, name, 0, strerror(-result));
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
            result = recovery_fault(ret_fault, -EBADMSG, name, 0, wrong);
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
            return recovery_fault(
                ret_fault, -EBADMSG, name, 0,
                "it does not note the ends of as many journals as the epoch before had shards");
        }
    }
    for (uint32_t i = 0; i < shard_count; i++) {
        struct source *source = source_add(recovery);
        if (source == NULL) {
            free(next);
            return recovery_no_memory(ret_fault);
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
            return recovery_fault(ret_fault, -EBADMSG, name, 0,
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
            return recovery_no_memory(ret_fault);
        }
        source->part = true;
        source->from.shard = i;
        source->shard_count = header->shard_count;
    }
    recovery->part_count = header->shard_count;
    if (header->position_count != header->shard_count || header->epoch > recovery->epoch_newest) {
        char name[FILE_NAME_SIZE];
        file_name(name, FILE_SNAPSHOT, generation, 0, 0);
        result = recovery_fault(ret_fault, -EBADMSG, name, 0, "its positions do not fit its shards");
    }
    if (result == 0)
        result = sources_read(recovery, 0, ret_fault);
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
int
plan_generation(struct recovery *recovery, struct journal_fault *ret_fault)
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
int
plan_check_unstarted(struct recovery *recovery, struct journal_fault *ret_fault)
{
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        const struct file_id *id = &recovery->files[i];
        struct journal_reader *reader;
        const struct batch_header *batch;
        if (id->kind == FILE_SNAPSHOT && recovery->epoch_newest == 0)
            return recovery_fault(ret_fault, -EBADMSG, "*.start", 0,
                                  "there is a snapshot, but no start file");
        if (id->kind != FILE_JOURNAL || id->epoch <= recovery->epoch_newest)
            continue;
        struct journal_position position = {.epoch = id->epoch, .shard = id->shard};
        if (journal_reader_open(&reader, &recovery->disk, recovery->route_seed, &position) != 0)
            return recovery_no_memory(ret_fault);
        enum journal_read read = journal_reader_next(reader, &batch);
        journal_reader_close(reader);
        if (id->segment > 0 || read == READ_BATCH) {
            char name[FILE_NAME_SIZE];
            file_name(name, FILE_START, id->epoch, 0, 0);
            return recovery_fault(ret_fault, -EBADMSG, name, 0,
                                  "the file is missing, but a journal of this epoch has batches");
        }
    }
    return 0;
}
