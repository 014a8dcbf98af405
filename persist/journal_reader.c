/*
 * journal_reader.c - reading batches back, and judging what is no batch.
 *
 * A window of the file is kept in memory: at least one whole batch, and read ahead, so that a journal is
 * read in large pieces. What stands where the next batch should begin is judged in one place, judge(), by
 * the table in docs/journal-format.md: taken, the end, cut, or damage. To tell a torn tail from damage the
 * rest of the segment is searched for a whole batch of this journal that comes later: only one write is
 * ever on its way, so there is none behind a torn one.
 *
 * A journal that is being written: the reader may see an old state of the place it asks for and a newer one
 * of a place behind it. So before it says CUT or DAMAGED it reads both anew (doubt()); what was in flight
 * is whole then.
 */
#include "persist/journal_reader.h"

#include "core/plant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (4u * 1024u * 1024u)
#define WINDOW_BYTES_FOLLOW                                                                                \
    (16u * 1024u) /* at the end of a journal that is followed; doubled as it is used up */

struct journal_reader {
    /* configuration */
    struct disk disk;
    uint64_t route_seed;
    bool part;
    uint64_t generation;
    bool follow;
    /* state */
    struct journal_position position; /* of the next batch */
    int file;                         /* open, or -1 */
    uint64_t file_size;
    bool last; /* of a part: the batch with BATCH_LAST has been taken */
    char name[FILE_NAME_SIZE];
    uint8_t *window;
    size_t window_wanted; /* so much is read at a time */
    size_t window_capacity;
    uint64_t window_offset; /* in the file */
    size_t window_size;
    struct journal_fault fault;
};

const uint8_t *
batch_records(const struct batch_header *batch)
{
    return (const uint8_t *)(batch + 1);
}

static int
reader_open(struct journal_reader **ret_reader, const struct disk *disk, uint64_t route_seed)
{
    struct journal_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return -ENOMEM;
    reader->disk = *disk;
    reader->route_seed = route_seed;
    reader->window_wanted = WINDOW_BYTES;
    reader->file = -1;
    *ret_reader = reader;
    return 0;
}

int
journal_reader_open(struct journal_reader **ret_reader, const struct disk *disk, uint64_t route_seed,
                    const struct journal_position *position)
{
    int result = reader_open(ret_reader, disk, route_seed);
    if (result == 0) {
        (*ret_reader)->position = *position;
        if (position->offset == 0)
            (*ret_reader)->position.offset = BLOCK_BYTES;
    }
    return result;
}

int
journal_reader_open_part(struct journal_reader **ret_reader, const struct disk *disk, uint64_t route_seed,
                         uint64_t generation, uint32_t shard)
{
    int result = reader_open(ret_reader, disk, route_seed);
    if (result == 0) {
        (*ret_reader)->part = true;
        (*ret_reader)->generation = generation;
        (*ret_reader)->position.shard = shard;
        (*ret_reader)->position.offset = BLOCK_BYTES;
    }
    return result;
}

static void
close_file(struct journal_reader *reader)
{
    if (reader->file >= 0)
        (void)reader->disk.close(reader->disk.context, reader->file); /* only read from */
    reader->file = -1;
    reader->window_size = 0;
}

void
journal_reader_close(struct journal_reader *reader)
{
    close_file(reader);
    free(reader->window);
    free(reader);
}

static enum journal_read
fault(struct journal_reader *reader, enum journal_read kind, uint64_t offset, uint64_t bytes,
      const char *text)
{
    memcpy(reader->fault.file, reader->name, sizeof reader->fault.file);
    reader->fault.offset = offset;
    reader->fault.bytes = bytes;
    reader->fault.error = 0;
    (void)snprintf(reader->fault.text, sizeof reader->fault.text, "%s", text); /* cut where too long */
    return kind;
}

static enum journal_read
failed(struct journal_reader *reader, uint64_t offset, int error)
{
    (void)fault(reader, READ_FAILED, offset, 0, strerror(-error));
    reader->fault.error = error;
    return READ_FAILED;
}

/* Makes the window hold the bytes from `offset` on, at least `size` of them or up to the end of the file;
 * reads more ahead. `anew`: what is in memory is not good enough. 0 or negative errno. */
static int
window_load(struct journal_reader *reader, uint64_t offset, size_t size, bool anew)
{
    uint64_t left = offset < reader->file_size ? reader->file_size - offset : 0;
    if (size > left)
        size = (size_t)left;
    uint64_t end = reader->window_offset + reader->window_size;
    if (!anew && reader->window_size > 0 && offset >= reader->window_offset && offset + size <= end)
        return 0;
    size_t wanted = size < reader->window_wanted ? reader->window_wanted : size;
    if (wanted > left)
        wanted = (size_t)left;
    if (wanted > reader->window_capacity) {
        void *window = aligned_alloc(BLOCK_BYTES, (wanted + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES);
        if (window == NULL)
            return -ENOMEM;
        free(reader->window);
        reader->window = window;
        reader->window_capacity = wanted;
    }
    reader->window_size = 0;
    int result =
        wanted == 0 ? 0
                    : reader->disk.read(reader->disk.context, reader->file, reader->window, wanted, offset);
    if (result != 0)
        return result;
    reader->window_offset = offset;
    reader->window_size = wanted;
    return 0;
}

static const uint8_t *
window_at(const struct journal_reader *reader, uint64_t offset)
{
    return reader->window + (offset - reader->window_offset);
}

static size_t
window_left(const struct journal_reader *reader, uint64_t offset)
{
    return (size_t)(reader->window_offset + reader->window_size - offset);
}

static const char *
check_header(const struct journal_reader *reader, const uint8_t *block, size_t size)
{
    const struct file_header *header = (const struct file_header *)block;
    const struct journal_position *position = &reader->position;
    const char *wrong = file_check(block, size, reader->part ? FILE_PART : FILE_JOURNAL);
    if (wrong != NULL)
        return wrong;
    if (header->route_seed != reader->route_seed)
        return "it belongs to another data directory";
    if (header->shard != position->shard)
        return "its header names another shard than its name";
    if (reader->part)
        return header->generation == reader->generation
                   ? NULL
                   : "its header names another generation than its name";
    if (header->epoch != position->epoch || header->segment != position->segment)
        return "its header names another epoch or segment than its name";
    if (header->file_size != reader->file_size)
        return "it has not the size that its header says";
    return NULL;
}

/* Opens the file of the position and checks its header. READ_BATCH: done. */
static enum journal_read
open_file(struct journal_reader *reader)
{
    struct journal_position *position = &reader->position;
    file_name(reader->name, reader->part ? FILE_PART : FILE_JOURNAL,
              reader->part ? reader->generation : position->epoch, position->shard, position->segment);
    int result = reader->disk.open(reader->disk.context, reader->name, &reader->file, &reader->file_size);
    if (result == -ENOENT) {
        reader->file = -1;
        return fault(reader, READ_DAMAGED, 0, 0, "the file is missing");
    }
    if (result != 0) {
        reader->file = -1;
        return failed(reader, 0, result);
    }
    result = window_load(reader, 0, BLOCK_BYTES, true);
    if (result != 0) {
        close_file(reader);
        return failed(reader, 0, result);
    }
    const char *wrong = check_header(reader, reader->window, reader->window_size);
    if (wrong != NULL) {
        close_file(reader);
        return fault(reader, READ_DAMAGED, 0, 0, wrong);
    }
    const struct file_header *header = (const struct file_header *)reader->window;
    if (reader->part)
        position->epoch = header->epoch;
    if (position->offset == BLOCK_BYTES && position->segment == 0)
        position->chain = header->crc;
    if (position->offset > reader->file_size) {
        close_file(reader);
        return fault(reader, READ_DAMAGED, 0, 0,
                     "it is shorter than the position that it is to be read from");
    }
    return READ_BATCH;
}

/* Is a whole batch the one that must come next? NULL: yes. */
static const char *
check_sequel(const struct journal_reader *reader, const struct batch_header *batch)
{
    const struct journal_position *position = &reader->position;
    if (batch->epoch != position->epoch || batch->shard != position->shard)
        return "a batch of another journal stands here";
    if (batch->number != position->batch)
        return "a batch with another number than the next one stands here";
    if (batch->chain != position->chain && !PLANTED(PLANT_CHAIN_UNCHECKED))
        return "the batch does not continue the one before: its chain does not fit";
    if (!reader->part && batch->sequence_first != position->sequence + 1)
        return "the batch does not continue the one before: records are missing";
    return NULL;
}

/* Looks behind `offset` for a whole batch of this journal, as far as the next one can be: at most one is
 * torn. 1: there is one; 0: none; negative errno. Also says how far bytes that are not zero reach. */
static int
look_behind(struct journal_reader *reader, uint64_t offset, uint64_t *ret_end)
{
    uint64_t until = offset + batch_size(BATCH_RECORDS_MAX) + BLOCK_BYTES;
    if (until > reader->file_size)
        until = reader->file_size;
    *ret_end = offset;
    for (uint64_t at = offset; at < until; at += BLOCK_BYTES) {
        int result = window_load(reader, at, BLOCK_BYTES, at == offset);
        if (result != 0)
            return result;
        const uint8_t *block = window_at(reader, at);
        size_t size = window_left(reader, at) < BLOCK_BYTES ? window_left(reader, at) : BLOCK_BYTES;
        if (block[0] == 0 && memcmp(block, block + 1, size - 1) == 0) /* zeros */
            continue;
        *ret_end = at + size;
        enum batch_check check = batch_check(block, window_left(reader, at));
        if (check == BATCH_SHORT) {
            const struct batch_header *header = (const struct batch_header *)block;
            result = window_load(reader, at, header->size, true);
            if (result != 0)
                return result;
            check = batch_check(window_at(reader, at), window_left(reader, at));
        }
        const struct batch_header *header = (const struct batch_header *)window_at(reader, at);
        if (PLANTED(PLANT_CUT_IN_THE_MIDDLE))
            continue;
        if (check == BATCH_WHOLE && header->epoch == reader->position.epoch &&
            header->shard == reader->position.shard && at > offset)
            return 1;
    }
    return 0;
}

/* The next segment has its first batch, so this one was closed. 1, 0, or negative errno. */
static int
next_begun(struct journal_reader *reader)
{
    _Alignas(8) uint8_t block[BLOCK_BYTES];
    char name[FILE_NAME_SIZE];
    int file;
    uint64_t size;
    file_name(name, FILE_JOURNAL, reader->position.epoch, reader->position.shard,
              reader->position.segment + 1);
    int result = reader->disk.open(reader->disk.context, name, &file, &size);
    if (result != 0)
        return result == -ENOENT ? 0 : result;
    if (size >= 2 * BLOCK_BYTES)
        result = reader->disk.read(reader->disk.context, file, block, sizeof block, BLOCK_BYTES);
    (void)reader->disk.close(reader->disk.context, file); /* only read from */
    if (result != 0 || size < 2 * BLOCK_BYTES)
        return result;
    enum batch_check check = batch_check(block, sizeof block);
    return check == BATCH_WHOLE || check == BATCH_SHORT;
}

/* What stands at the position is not the next batch. */
static enum journal_read
judge(struct journal_reader *reader, const char *wrong)
{
    struct journal_position *position = &reader->position;
    uint64_t end;
    int behind = look_behind(reader, position->offset, &end);
    if (behind == 0 && !reader->part)
        behind = next_begun(reader);
    if (behind < 0)
        return failed(reader, position->offset, behind);
    if (behind == 0 && end == position->offset && !reader->part)
        return READ_END;
    if (reader->part)
        return fault(reader, READ_DAMAGED, position->offset, 0,
                     wrong != NULL ? wrong : "no whole batch stands here, and the last one has not come");
    if (wrong != NULL)
        return fault(reader, READ_DAMAGED, position->offset, 0, wrong);
    if (behind == 1)
        return fault(reader, READ_DAMAGED, position->offset, 0,
                     "no whole batch stands here, and later ones stand behind it");
    return fault(reader, READ_CUT, position->offset, end - position->offset,
                 "the last batch is torn: it was being written when the machine stopped");
}

/* Loads what stands at the position. READ_BATCH: a whole batch is at the front of the window. */
static enum journal_read
load(struct journal_reader *reader, bool anew, const char **ret_wrong)
{
    uint64_t offset = reader->position.offset;
    *ret_wrong = NULL;
    int result = window_load(reader, offset, BLOCK_BYTES, anew);
    if (result != 0)
        return failed(reader, offset, result);
    enum batch_check check = batch_check(window_at(reader, offset), window_left(reader, offset));
    if (check == BATCH_SHORT) {
        const struct batch_header *header = (const struct batch_header *)window_at(reader, offset);
        if (header->size > reader->file_size - offset)
            return READ_END;
        result = window_load(reader, offset, header->size, anew);
        if (result != 0)
            return failed(reader, offset, result);
        check = batch_check(window_at(reader, offset), window_left(reader, offset));
    }
    if (check != BATCH_WHOLE)
        return READ_END; /* to be judged */
    *ret_wrong = check_sequel(reader, (const struct batch_header *)window_at(reader, offset));
    return *ret_wrong == NULL ? READ_BATCH : READ_END;
}

static const struct batch_header *
take(struct journal_reader *reader)
{
    struct journal_position *position = &reader->position;
    const struct batch_header *batch = (const struct batch_header *)window_at(reader, position->offset);
    position->offset += batch->size;
    position->batch++;
    position->chain = batch->crc;
    position->sequence = batch->sequence_last;
    reader->last = (batch->flags & BATCH_LAST) != 0;
    if ((batch->flags & BATCH_CLOSES) != 0) {
        /* The window stays: the batch is the caller's until the next call. */
        position->segment++;
        position->offset = BLOCK_BYTES;
    }
    return batch;
}

/* The one before is closed where its last batch has been taken. */
enum journal_read
journal_reader_file(struct journal_reader *reader)
{
    char name[FILE_NAME_SIZE];
    file_name(name, reader->part ? FILE_PART : FILE_JOURNAL,
              reader->part ? reader->generation : reader->position.epoch, reader->position.shard,
              reader->position.segment);
    if (reader->file >= 0 && strcmp(name, reader->name) == 0)
        return READ_BATCH;
    close_file(reader);
    return open_file(reader);
}

/* Following: the window is small where little was new, and grows where much is. */
static enum journal_read
load_anew(struct journal_reader *reader, const char **ret_wrong)
{
    enum journal_read result = load(reader, true, ret_wrong);
    if (result != READ_BATCH)
        reader->window_wanted = WINDOW_BYTES_FOLLOW;
    else if (reader->window_wanted < WINDOW_BYTES)
        reader->window_wanted *= 2;
    return result;
}

void
journal_reader_follow(struct journal_reader *reader)
{
    reader->follow = true;
    reader->window_wanted = WINDOW_BYTES_FOLLOW;
}

int
journal_reader_sync(struct journal_reader *reader)
{
    return reader->file < 0 ? 0 : reader->disk.sync(reader->disk.context, reader->file);
}

enum journal_read
journal_reader_next(struct journal_reader *reader, const struct batch_header **ret_batch)
{
    const char *wrong;
    enum journal_read result = journal_reader_file(reader);
    if (result != READ_BATCH)
        return result;
    if (reader->part && reader->last) {
        if (reader->position.offset != reader->file_size)
            return fault(reader, READ_DAMAGED, reader->position.offset, 0, "bytes follow the last batch");
        return READ_END;
    }
    result = load(reader, false, &wrong);
    if (result == READ_END && reader->follow) {
        result = load_anew(reader, &wrong);
        if (result == READ_END && wrong != NULL)
            return fault(reader, READ_DAMAGED, reader->position.offset, 0, wrong);
    } else if (result == READ_END) {
        /* Read anew before anything is said: a writer may have been at it. */
        enum journal_read judged = judge(reader, wrong);
        if (judged == READ_END || judged == READ_FAILED)
            return judged;
        result = load(reader, true, &wrong);
        if (result == READ_END)
            return judge(reader, wrong);
    }
    if (result != READ_BATCH)
        return result;
    *ret_batch = take(reader);
    return READ_BATCH;
}

struct journal_position
journal_reader_position(const struct journal_reader *reader)
{
    return reader->position;
}

const struct journal_fault *
journal_reader_fault(const struct journal_reader *reader)
{
    return &reader->fault;
}
