/*
 * persister_place.c - is the place that PostgreSQL is at a place in these journals?
 *
 * It is not where the data directory was put back from an older copy: then PostgreSQL knows of what never
 * happened here, and going on would mix two histories. Nor where the journal that comes next is gone. Both
 * are found at the start: the segment is read from its beginning up to the place, and the batch before it
 * must be the one that was carried.
 */
#include "persist/persister_place.h"

#include "persist/persister_follow.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char advice_ahead[] = "PostgreSQL is ahead of the journal: the data directory is older than "
                                   "what was carried from it (put back from a "
                                   "copy?); give it the newer data directory, or begin anew with an empty "
                                   "schema (DROP SCHEMA holdfast CASCADE)";
static const char advice_gone[] =
    "the journal that comes next has been removed (was persist.position removed?); begin anew with an "
    "empty schema "
    "(DROP SCHEMA holdfast CASCADE): its rows then come from the newest snapshot";

static enum place_found
wrong(char ret_text[PLACE_TEXT_SIZE_MAX], const struct journal_position *at, const char *advice)
{
    (void)snprintf(ret_text, PLACE_TEXT_SIZE_MAX,
                   "epoch %" PRIu64 ", shard %u, segment %u, byte %" PRIu64 ": %s", at->epoch, at->shard,
                   at->segment, at->offset, advice); /* cut where too long */
    return PLACE_WRONG;
}

/* The place where the segment of this position begins, as its first batch has it. 1, 0: it has none, or
 * negative errno. */
static int
segment_begin(const struct data_folder *folder, const struct journal_position *at,
              struct journal_position *ret_begin)
{
    _Alignas(8) uint8_t block[BLOCK_BYTES];
    char name[FILE_NAME_SIZE];
    int file;
    uint64_t size;
    file_name(name, FILE_JOURNAL, at->epoch, at->shard, at->segment);
    int result = folder->disk.open(folder->disk.context, name, &file, &size);
    if (result != 0)
        return result;
    if (size >= 2 * BLOCK_BYTES)
        result = folder->disk.read(folder->disk.context, file, block, sizeof block, BLOCK_BYTES);
    (void)folder->disk.close(folder->disk.context, file); /* only read from */
    if (result != 0)
        return result;
    enum batch_check check = size >= 2 * BLOCK_BYTES ? batch_check(block, sizeof block) : BATCH_NONE;
    if (check != BATCH_WHOLE && check != BATCH_SHORT)
        return 0;
    const struct batch_header *header = (const struct batch_header *)block;
    *ret_begin = (struct journal_position){
        .epoch = at->epoch,
        .shard = at->shard,
        .segment = at->segment,
        .offset = BLOCK_BYTES,
        .batch = header->number,
        .sequence = header->sequence_first - 1,
        .chain = header->chain,
    };
    return 1;
}

static enum place_found
check_position(const struct data_folder *folder, const struct journal_position *at,
               char ret_text[PLACE_TEXT_SIZE_MAX])
{
    struct journal_position begin;
    struct journal_reader *reader;
    int result = segment_begin(folder, at, &begin);
    if (result < 0)
        return wrong(ret_text, at, result == -ENOENT ? advice_gone : strerror(-result));
    if (at->offset <= BLOCK_BYTES) /* the first batch is still to come, or to be read */
        return PLACE_GOOD;
    if (result == 0)
        return wrong(ret_text, at, advice_ahead);
    if (journal_reader_open(&reader, &folder->disk, folder->route_seed, &begin) != 0)
        return wrong(ret_text, at, "no memory");
    journal_reader_follow(reader);
    struct journal_position now = begin;
    while (now.segment == at->segment && now.offset < at->offset) {
        const struct batch_header *batch;
        if (journal_reader_next(reader, &batch) != READ_BATCH)
            break;
        now = journal_reader_position(reader);
    }
    journal_reader_close(reader);
    bool same = now.segment == at->segment && now.offset == at->offset && now.batch == at->batch &&
                now.sequence == at->sequence && now.chain == at->chain;
    return same ? PLACE_GOOD : wrong(ret_text, at, advice_ahead);
}

static enum place_found
find_beginning(const struct data_folder *folder, const struct picture *picture,
               struct persister_place *place)
{
    if (picture->start_count == 0)
        return PLACE_EMPTY;
    const struct small_file *first = picture_start(picture, 1);
    if (first == NULL)
        return PLACE_SNAPSHOT;
    uint32_t shard_count = small_header(first)->shard_count;
    for (uint32_t i = 0; i < shard_count; i++)
        if (!picture_has(picture, FILE_JOURNAL, 1, i, 0))
            return PLACE_SNAPSHOT;
    (void)folder; /* all that is asked of it is in the picture */
    place->epoch = 1;
    place->shard_count = shard_count;
    for (uint32_t i = 0; i < shard_count; i++)
        place->positions[i] = (struct journal_position){.epoch = 1, .shard = i, .offset = BLOCK_BYTES};
    return PLACE_GOOD;
}

enum place_found
place_find(const struct data_folder *folder, struct persister_place *place,
           char ret_text[PLACE_TEXT_SIZE_MAX])
{
    struct picture picture;
    int result = picture_take(folder, &picture);
    if (result != 0) {
        (void)snprintf(ret_text, PLACE_TEXT_SIZE_MAX, "could not read '%s/journal': %s", folder->path,
                       strerror(-result)); /* cut where too long */
        return PLACE_WRONG;
    }
    enum place_found found = PLACE_GOOD;
    if (place->epoch == 0) {
        found = find_beginning(folder, &picture, place);
    } else {
        const struct small_file *start = picture_start(&picture, place->epoch);
        const struct journal_position *at = &place->positions[0];
        if (place->epoch > picture_epoch(&picture))
            found = wrong(ret_text, at, advice_ahead);
        else if (start == NULL)
            found = wrong(ret_text, at, advice_gone);
        else if (small_header(start)->shard_count != place->shard_count)
            found = wrong(ret_text, at, advice_ahead);
        for (uint32_t i = 0; i < place->shard_count && found == PLACE_GOOD; i++)
            found = check_position(folder, &place->positions[i], ret_text);
    }
    picture_done(&picture);
    return found;
}

/* ---- what the server keeps ---- */

static int
write_file(int folder, const char *text, size_t size)
{
    int file = openat(folder, "persist.position.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        return -errno;
    ssize_t written = write(file, text, size);
    int result = written == (ssize_t)size ? 0 : written < 0 ? -errno : -ENOSPC;
    if (result == 0 && fsync(file) != 0)
        result = -errno;
    if (close(file) != 0 && result == 0)
        result = -errno;
    if (result == 0 && renameat(folder, "persist.position.tmp", folder, "persist.position") != 0)
        result = -errno;
    if (result == 0 && fsync(folder) != 0)
        result = -errno;
    return result;
}

int
place_publish(const char *data, const struct persister_place *place)
{
    char text[SHARDS_MAX * 80] = "1 0 0 0\n"; /* the first journal's first segment: all is still needed */
    size_t size = strlen(text);
    if (place->epoch != 0) {
        size = 0;
        for (uint32_t i = 0; i < place->shard_count; i++)
            size += (size_t)snprintf(text + size, sizeof text - size, "%" PRIu64 " %u %" PRIu64 " %u\n",
                                     place->epoch, i, place->positions[i].sequence,
                                     place->positions[i].segment); /* fits */
    }
    int folder = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -errno;
    int result = write_file(folder, text, size);
    (void)close(folder); /* synced */
    return result;
}

int
place_publish_first(const char *data)
{
    const struct persister_place nothing = {0};
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/persist.position", data) >= sizeof path)
        return -ENAMETOOLONG;
    return access(path, F_OK) == 0 ? 0 : place_publish(data, &nothing);
}
