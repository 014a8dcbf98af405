/*
 * journal_tool.c - the way in, pictures of the folder, and walks through journals.
 *
 * Entry points: journal_main() for the command; picture_take() and walk_*() for verify, dump and stats. See
 * also: docs/journal-format.md; journal_reader.c, which does the judging; recovery.c, which does much the
 * same in earnest.
 */
#include "persist/journal_tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holdfast/limits.h"
#include "persist/journal_tool_internal.h"

#define SMALL_BYTES_MAX (16u * BLOCK_BYTES)

/* ---- pictures ---- */

static void
see_name(void *context, const char *name)
{
    struct picture *picture = context;
    struct file_id id;
    size_t size = strlen(name);
    if (size > 4 && strcmp(name + size - 4, ".tmp") == 0) {
        picture->tmp_count++;
        return;
    }
    if (!file_name_parse(name, &id))
        return;
    if (picture->file_count == picture->file_capacity) {
        uint32_t capacity = picture->file_capacity == 0 ? 256 : picture->file_capacity * 2;
        void *files = realloc(picture->files, capacity * sizeof picture->files[0]);
        if (files == NULL) {
            picture->no_memory = true;
            return;
        }
        picture->files = files;
        picture->file_capacity = capacity;
    }
    picture->files[picture->file_count++] = id;
}

static int
compare_ids(const void *left, const void *right)
{
    const struct file_id *a = left, *b = right;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->shard != b->shard)
        return a->shard < b->shard ? -1 : 1;
    return a->segment < b->segment ? -1 : a->segment > b->segment;
}

const struct file_header *
small_header(const struct small_file *file)
{
    return (const struct file_header *)file->bytes;
}

const struct journal_position *
small_positions(const struct small_file *file)
{
    return (const struct journal_position *)(file->bytes + sizeof(struct file_header));
}

static const char *
check_small(const struct data_folder *folder, const struct small_file *file)
{
    const char *wrong = file_check(file->bytes, (size_t)file->size, file->id.kind);
    if (wrong != NULL)
        return wrong;
    const struct file_header *header = small_header(file);
    if (header->checked_size != file->size)
        return "it has not the size that its header says";
    if (header->route_seed != folder->route_seed)
        return "it belongs to another data directory";
    if ((file->id.kind == FILE_START ? header->epoch : header->generation) != file->id.epoch)
        return "its header names another number than its name";
    if (header->shard_count == 0 || header->shard_count > SHARDS_MAX || header->position_count > SHARDS_MAX)
        return "it names more shards than there can be";
    if (sizeof *header + header->position_count * sizeof(struct journal_position) > file->size)
        return "it is too short for its positions";
    if (file->id.kind == FILE_SNAPSHOT && header->position_count != header->shard_count)
        return "its positions do not fit its shards";
    return NULL;
}

/* Reads a start file or a manifest; what is wrong with it stands in it. */
static void
read_small(const struct data_folder *folder, struct small_file *file)
{
    int handle;
    file_name(file->fault.file, file->id.kind, file->id.epoch, 0, 0);
    file->error = folder->disk.open(folder->disk.context, file->fault.file, &handle, &file->size);
    if (file->error == 0) {
        if (file->size < BLOCK_BYTES || file->size > SMALL_BYTES_MAX || file->size % BLOCK_BYTES != 0) {
            file->error = -EBADMSG;
            (void)snprintf(file->fault.text, sizeof file->fault.text,
                           "it has a size that no such file has");
        } else {
            file->bytes = aligned_alloc(BLOCK_BYTES, (size_t)file->size);
            file->error = file->bytes == NULL ? -ENOMEM
                                              : folder->disk.read(folder->disk.context, handle, file->bytes,
                                                                  (size_t)file->size, 0);
        }
        (void)folder->disk.close(folder->disk.context, handle); /* only read from */
    }
    if (file->error == 0) {
        const char *wrong = check_small(folder, file);
        if (wrong != NULL) {
            file->error = -EBADMSG;
            (void)snprintf(file->fault.text, sizeof file->fault.text, "%s", wrong);
        }
    }
    if (file->error != 0) {
        if (file->error != -EBADMSG) {
            file->fault.error = file->error;
            (void)snprintf(file->fault.text, sizeof file->fault.text, "%s", strerror(-file->error));
        }
        free(file->bytes);
        file->bytes = NULL;
    }
}

static int
read_smalls(const struct data_folder *folder, const struct picture *picture, enum file_kind kind,
            struct small_file **ret_smalls, uint32_t *ret_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < picture->file_count; i++)
        count += picture->files[i].kind == kind;
    struct small_file *smalls = calloc(count + 1, sizeof *smalls);
    if (smalls == NULL)
        return -ENOMEM;
    uint32_t at = 0;
    for (uint32_t i = 0; i < picture->file_count; i++) {
        if (picture->files[i].kind != kind)
            continue;
        smalls[at].id = picture->files[i];
        read_small(folder, &smalls[at++]);
    }
    *ret_smalls = smalls;
    *ret_count = count;
    return 0;
}

int
picture_take(const struct data_folder *folder, struct picture *ret_picture)
{
    struct picture picture = {0};
    int result = folder->disk.list(folder->disk.context, see_name, &picture);
    if (result == 0 && picture.no_memory)
        result = -ENOMEM;
    if (result == 0) {
        if (picture.file_count > 0)
            qsort(picture.files, picture.file_count, sizeof picture.files[0], compare_ids);
        result = read_smalls(folder, &picture, FILE_START, &picture.starts, &picture.start_count);
    }
    if (result == 0)
        result = read_smalls(folder, &picture, FILE_SNAPSHOT, &picture.manifests, &picture.manifest_count);
    if (result != 0) {
        picture_done(&picture);
        return result;
    }
    *ret_picture = picture;
    return 0;
}

void
picture_done(struct picture *picture)
{
    for (uint32_t i = 0; i < picture->start_count; i++)
        free(picture->starts[i].bytes);
    for (uint32_t i = 0; i < picture->manifest_count; i++)
        free(picture->manifests[i].bytes);
    free(picture->starts);
    free(picture->manifests);
    free(picture->files);
    memset(picture, 0, sizeof *picture);
}

const struct small_file *
picture_start(const struct picture *picture, uint64_t epoch)
{
    for (uint32_t i = 0; i < picture->start_count; i++)
        if (picture->starts[i].id.epoch == epoch && picture->starts[i].bytes != NULL)
            return &picture->starts[i];
    return NULL;
}

uint64_t
picture_epoch(const struct picture *picture)
{
    return picture->start_count == 0 ? 0 : picture->starts[picture->start_count - 1].id.epoch;
}

bool
picture_has(const struct picture *picture, enum file_kind kind, uint64_t epoch, uint32_t shard,
            uint32_t segment)
{
    const struct file_id id = {.kind = kind, .epoch = epoch, .shard = shard, .segment = segment};
    for (uint32_t i = 0; i < picture->file_count; i++)
        if (compare_ids(&picture->files[i], &id) == 0)
            return true;
    return false;
}

bool
picture_segments(const struct picture *picture, uint64_t epoch, uint32_t shard, uint32_t *ret_first,
                 uint32_t *ret_last)
{
    bool found = false;
    for (uint32_t i = 0; i < picture->file_count; i++) {
        const struct file_id *id = &picture->files[i];
        if (id->kind != FILE_JOURNAL || id->epoch != epoch || id->shard != shard)
            continue;
        if (!found)
            *ret_first = id->segment;
        *ret_last = id->segment;
        found = true;
    }
    return found;
}

/* ---- walks ---- */

static void
walk_fault(struct walk_end *ret_end, enum journal_read read, enum file_kind kind,
           const struct journal_position *at, uint64_t number, const char *text)
{
    ret_end->read = read;
    ret_end->position = *at;
    memset(&ret_end->fault, 0, sizeof ret_end->fault);
    file_name(ret_end->fault.file, kind, number, at->shard, at->segment);
    ret_end->fault.offset = at->offset;
    (void)snprintf(ret_end->fault.text, sizeof ret_end->fault.text, "%s", text); /* cut where too long */
}

static bool
same_place(const struct journal_position *a, const struct journal_position *b)
{
    return a->segment == b->segment && a->offset == b->offset && a->batch == b->batch &&
           a->sequence == b->sequence;
}

/* Where a journal begins whose first segments retention has removed: its own first batch says, and where it
 * has none yet, the snapshot that covers what went before. */
static void
first_position(const struct data_folder *folder, const struct picture *picture,
               struct journal_position *position)
{
    _Alignas(8) uint8_t block[BLOCK_BYTES];
    char name[FILE_NAME_SIZE];
    int file;
    uint64_t size;
    position->offset = BLOCK_BYTES;
    file_name(name, FILE_JOURNAL, position->epoch, position->shard, position->segment);
    int result = folder->disk.open(folder->disk.context, name, &file, &size);
    if (result == 0) {
        result = size < 2 * BLOCK_BYTES
                     ? -ENODATA
                     : folder->disk.read(folder->disk.context, file, block, sizeof block, BLOCK_BYTES);
        (void)folder->disk.close(folder->disk.context, file); /* only read from */
    }
    if (result == 0) {
        enum batch_check check = batch_check(block, sizeof block);
        if (check == BATCH_WHOLE || check == BATCH_SHORT) {
            const struct batch_header *batch = (const struct batch_header *)block;
            position->batch = batch->number;
            position->sequence = batch->sequence_first - 1;
            position->chain = batch->chain;
            return;
        }
    }
    for (uint32_t i = 0; i < picture->manifest_count; i++) {
        const struct small_file *manifest = &picture->manifests[i];
        if (manifest->bytes == NULL)
            continue;
        for (uint32_t j = 0; j < small_header(manifest)->position_count; j++) {
            const struct journal_position *known = &small_positions(manifest)[j];
            if (known->epoch == position->epoch && known->shard == position->shard &&
                known->segment == position->segment && known->offset == BLOCK_BYTES)
                *position = *known;
        }
    }
}

/* The end that the start file of the next epoch notes; NULL: none. */
static const struct journal_position *
noted_end(const struct picture *picture, uint64_t epoch, uint32_t shard)
{
    const struct small_file *next = picture_start(picture, epoch + 1);
    if (next == NULL)
        return NULL;
    for (uint32_t i = 0; i < small_header(next)->position_count; i++) {
        const struct journal_position *end = &small_positions(next)[i];
        if (end->epoch == epoch && end->shard == shard)
            return end;
    }
    return NULL;
}

void
walk_journal(const struct data_folder *folder, const struct picture *picture, uint64_t epoch,
             uint32_t shard, batch_met *met, void *context, struct walk_end *ret_end)
{
    struct journal_position at = {.epoch = epoch, .shard = shard, .offset = BLOCK_BYTES};
    struct journal_reader *reader;
    const struct batch_header *batch;
    uint32_t last;
    memset(ret_end, 0, sizeof *ret_end);
    if (!picture_segments(picture, epoch, shard, &at.segment, &last)) {
        walk_fault(ret_end, READ_DAMAGED, FILE_JOURNAL, &at, epoch, "the file is missing");
        return;
    }
    if (at.segment > 0)
        first_position(folder, picture, &at);
    const struct journal_position *end = noted_end(picture, epoch, shard);
    if (journal_reader_open(&reader, &folder->disk, folder->route_seed, &at) != 0) {
        walk_fault(ret_end, READ_FAILED, FILE_JOURNAL, &at, epoch, "no memory");
        ret_end->fault.error = -ENOMEM;
        return;
    }
    for (;;) {
        at = journal_reader_position(reader);
        /* an empty journal is opened all the same, for its header */
        if (end != NULL && at.batch > 0 && same_place(&at, end)) {
            ret_end->read = READ_END;
            ret_end->to_noted_end = true;
            break;
        }
        ret_end->read = journal_reader_next(reader, &batch);
        if (ret_end->read != READ_BATCH) {
            if (ret_end->read != READ_END)
                ret_end->fault = *journal_reader_fault(reader);
            if (end == NULL)
                break;
            if (same_place(&at, end) && (ret_end->read == READ_END || ret_end->read == READ_CUT)) {
                ret_end->read = READ_END;
                ret_end->to_noted_end = true;
            } else if (ret_end->read == READ_END || ret_end->read == READ_CUT) {
                walk_fault(ret_end, READ_DAMAGED, FILE_JOURNAL, &at, epoch,
                           "it ends here, but the start after it noted that it goes on");
            }
            break;
        }
        const char *wrong = met(context, batch, &at);
        if (wrong != NULL) {
            walk_fault(ret_end, READ_DAMAGED, FILE_JOURNAL, &at, epoch, wrong);
            break;
        }
    }
    ret_end->position = journal_reader_position(reader);
    journal_reader_close(reader);
}

void
walk_part(const struct data_folder *folder, uint64_t generation, uint32_t shard, batch_met *met,
          void *context, struct walk_end *ret_end)
{
    struct journal_reader *reader;
    const struct batch_header *batch;
    memset(ret_end, 0, sizeof *ret_end);
    if (journal_reader_open_part(&reader, &folder->disk, folder->route_seed, generation, shard) != 0) {
        ret_end->read = READ_FAILED;
        ret_end->fault.error = -ENOMEM;
        return;
    }
    for (;;) {
        struct journal_position at = journal_reader_position(reader);
        ret_end->read = journal_reader_next(reader, &batch);
        if (ret_end->read != READ_BATCH) {
            if (ret_end->read != READ_END)
                ret_end->fault = *journal_reader_fault(reader);
            break;
        }
        const char *wrong = met(context, batch, &at);
        if (wrong != NULL) {
            walk_fault(ret_end, READ_DAMAGED, FILE_PART, &at, generation, wrong);
            break;
        }
    }
    ret_end->position = journal_reader_position(reader);
    journal_reader_close(reader);
}

/* ---- the way in ---- */

/* The mark is net/data_directory.c's: three lines, the seed in the last one. */
static int
read_mark(const char *path, uint64_t *ret_route_seed)
{
    char name[4096];
    if ((size_t)snprintf(name, sizeof name, "%s/holdfast", path) >= sizeof name)
        return -ENAMETOOLONG;
    FILE *mark = fopen(name, "re");
    if (mark == NULL)
        return -errno;
    int format = 0;
    int count =
        fscanf(mark, "holdfast data directory format %d route_seed %" SCNx64, &format, ret_route_seed);
    (void)fclose(mark); /* only read from */
    return count == 2 && format == 1 ? 0 : -EINVAL;
}

int
data_folder_open(const char *path, struct data_folder *ret_folder, char *ret_cause, size_t cause_size)
{
    struct data_folder folder = {.path = path};
    char name[4096];
    int result = read_mark(path, &folder.route_seed);
    if (result != 0) {
        (void)snprintf(ret_cause, cause_size,
                       "'%s' is not a data directory of this version: its file 'holdfast': %s", path,
                       strerror(-result)); /* cut where too long */
        return result;
    }
    (void)snprintf(name, sizeof name, "%s/journal", path); /* fits: the mark's name did */
    result = disk_files_open(name, 1, &folder.disk);
    if (result != 0)
        (void)snprintf(ret_cause, cause_size, "could not open '%s': %s", name,
                       strerror(-result)); /* likewise */
    else
        *ret_folder = folder;
    return result;
}

void
data_folder_close(struct data_folder *folder)
{
    disk_files_close(&folder->disk);
}

static int
usage(FILE *file)
{
    (void)fprintf(file,
                  "usage: holdfast journal verify|dump|stats DIR\n\n"
                  "  verify  read every file of the data directory DIR to its end and say what is whole;\n"
                  "          exit code 0: all of it (a torn last batch is reported), 1: damage\n"
                  "  dump    every record of the journals as a line of JSON\n"
                  "  stats   how many batches, records and bytes, and of what kind\n\n"
                  "Nothing is changed. The server may be running.\n");
    return file == stdout ? 0 : 2;
}

int
journal_main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct data_folder *folder);
    } jobs[] = {{"verify", journal_verify}, {"dump", journal_dump}, {"stats", journal_stats}};
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0)
            return usage(stdout);
    if (argc != 3)
        return usage(stderr);
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        if (strcmp(argv[1], jobs[i].name) != 0)
            continue;
        struct data_folder folder;
        char cause[4200];
        if (data_folder_open(argv[2], &folder, cause, sizeof cause) != 0) {
            (void)fprintf(stderr, "holdfast journal: %s\n", cause);
            return 1;
        }
        int code = jobs[i].run(&folder);
        data_folder_close(&folder);
        return code;
    }
    (void)fprintf(stderr, "holdfast journal: unknown command '%s'\n\n", argv[1]);
    return usage(stderr);
}
