/*
 * segment.c - makes a segment's file: the order in which it comes to its name.
 *
 *     create NAME.tmp, zeros in full ─▶ header ─▶ sync ─▶ rename to NAME ─▶ sync of the folder
 *
 * So a segment that has its name is whole, whatever a crash does, and no batch is written to one whose name
 * may yet be lost. See also: docs/journal-format.md, housekeeper.c (all but segment 0), recovery.c.
 */
#include "persist/segment.h"

#include "core/plant.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
file_name_tmp(char ret_name[TMP_NAME_SIZE], const char *name)
{
    size_t size = strlen(name);
    assert(size < FILE_NAME_SIZE);
    memcpy(ret_name, name, size);
    memcpy(ret_name + size, ".tmp", sizeof ".tmp");
}

/* The header's block, and its crc. */
static int
write_header(const struct disk *disk, const struct file_header *wanted, int file, uint32_t *ret_crc)
{
    void *block;
    if (posix_memalign(&block, BLOCK_BYTES, BLOCK_BYTES) != 0)
        return -ENOMEM;
    memset(block, 0, BLOCK_BYTES);
    memcpy(block, wanted, sizeof *wanted);
    uint32_t size = file_seal(block, BLOCK_BYTES, FILE_JOURNAL);
    assert(size == BLOCK_BYTES);
    int result = disk->write(disk->context, file, block, BLOCK_BYTES, 0);
    if (result == 0)
        memcpy(ret_crc, (uint8_t *)block + offsetof(struct file_header, crc), sizeof *ret_crc);
    free(block);
    return result;
}

int
segment_make(const struct disk *disk, const struct file_header *wanted, int *ret_file,
             uint32_t *ret_header_crc)
{
    assert(wanted->file_size >= SEGMENT_BYTES_MIN);
    assert(wanted->file_size % BLOCK_BYTES == 0);
    assert(wanted->shard < wanted->shard_count);
    assert(wanted->position_count == 0);
    char name[FILE_NAME_SIZE], tmp[TMP_NAME_SIZE];
    file_name(name, FILE_JOURNAL, wanted->epoch, wanted->shard, wanted->segment);
    file_name_tmp(tmp, name);

    int file = -1;
    uint32_t crc = 0;
    bool named = false;
    int result = disk->create(disk->context, tmp, DISK_DURABLE, wanted->file_size, &file);
    if (result == 0)
        result = write_header(disk, wanted, file, &crc);
    if (result == 0)
        result = disk->sync(disk->context, file);
    if (result == 0)
        result = disk->rename(disk->context, tmp, name);
    if (result == 0) {
        named = true;
        result = PLANTED(PLANT_FOLDER_NOT_SYNCED) ? 0 : disk->sync_folder(disk->context);
    }
    if (result != 0) {
        /* what went wrong is known; what cannot be tidied up now is removed at the next start */
        if (file >= 0)
            (void)disk->close(disk->context, file);
        (void)disk->remove(disk->context, named ? name : tmp);
        return result;
    }
    *ret_file = file;
    if (ret_header_crc != NULL)
        *ret_header_crc = crc;
    return 0;
}
