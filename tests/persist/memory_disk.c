/*
 * memory_disk.c - see memory_disk.h.
 *
 * A failure is as unkind as a disk may be: a failed write has written half of its sectors, a failed sync
 * has lost what was not synced before (Linux drops such pages), a failed create may leave an empty file.
 */
#include "tests/persist/memory_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

void
memory_disk_open(struct memory_disk *disk)
{
    memset(disk, 0, sizeof *disk);
    disk->free_bytes = UINT64_MAX;
}

void
memory_disk_close(struct memory_disk *disk)
{
    for (uint32_t i = 0; i < MEMORY_FILES_MAX; i++)
        free(disk->files[i].bytes);
    memset(disk, 0, sizeof *disk);
}

static uint8_t *
bytes_of(uint64_t size)
{
    uint8_t *bytes = calloc(1, size > 0 ? (size_t)size : 1);
    assert(bytes != NULL);
    return bytes;
}

void
memory_disk_copy(struct memory_disk *to, const struct memory_disk *from)
{
    memory_disk_close(to);
    to->free_bytes = UINT64_MAX;
    for (uint32_t i = 0; i < MEMORY_FILES_MAX; i++) {
        if (from->files[i].bytes == NULL || from->files[i].gone)
            continue;
        to->files[i] = from->files[i];
        to->files[i].open = 0;
        to->files[i].opened = 0;
        to->files[i].bytes = bytes_of(from->files[i].size);
        memcpy(to->files[i].bytes, from->files[i].bytes, (size_t)from->files[i].size);
    }
}

struct memory_file *
memory_disk_find(struct memory_disk *disk, const char *name)
{
    for (uint32_t i = 0; i < MEMORY_FILES_MAX; i++)
        if (disk->files[i].bytes != NULL && !disk->files[i].gone && strcmp(disk->files[i].name, name) == 0)
            return &disk->files[i];
    return NULL;
}

/* Counts a call. Negative errno where it is to fail. */
static int
call(struct memory_disk *disk, const char *what, const char *name, bool changes)
{
    struct memory_failure *failure = &disk->failure;
    disk->calls++;
    if (failure->call == disk->calls) {
        failure->happened = true;
        (void)snprintf(failure->what, sizeof failure->what, "%s %s", what, name);
        return failure->error;
    }
    return failure->happened && failure->for_good && changes ? failure->error : 0;
}

static struct memory_file *
file_of(struct memory_disk *disk, int file)
{
    assert(file > 0);
    assert(file <= MEMORY_FILES_MAX);
    struct memory_file *found = &disk->files[file - 1];
    assert(found->bytes != NULL);
    assert(found->open > 0);
    return found;
}

static void
drop(struct memory_file *file)
{
    file->gone = true;
    if (file->open == 0) {
        free(file->bytes);
        memset(file, 0, sizeof *file);
    }
}

static int
list(void *context, void (*each)(void *each_context, const char *name), void *each_context)
{
    struct memory_disk *disk = context;
    int result = call(disk, "list", "", false);
    for (uint32_t i = 0; i < MEMORY_FILES_MAX && result == 0; i++)
        if (disk->files[i].bytes != NULL && !disk->files[i].gone)
            each(each_context, disk->files[i].name);
    return result;
}

static int
create_file(void *context, const char *name, enum disk_create how, uint64_t size, int *ret_file)
{
    struct memory_disk *disk = context;
    int result = call(disk, "create", name, true);
    if (result == 0 && size > disk->free_bytes)
        result = -ENOSPC;
    struct memory_file *old = memory_disk_find(disk, name);
    if (old != NULL)
        drop(old);
    for (uint32_t i = 0; i < MEMORY_FILES_MAX; i++) {
        struct memory_file *file = &disk->files[i];
        if (file->bytes != NULL)
            continue;
        (void)snprintf(file->name, sizeof file->name, "%s", name);
        file->bytes = bytes_of(result == 0 ? size : 0);
        file->size = result == 0 ? size : 0;
        file->synced = how == DISK_DURABLE ? file->size : 0;
        file->how = how;
        file->open = result == 0;
        *ret_file = result == 0 ? (int)i + 1 : *ret_file;
        if (disk->free_bytes != UINT64_MAX)
            disk->free_bytes -= file->size;
        return result;
    }
    abort(); /* more files than a test needs */
}

static int
open_file(void *context, const char *name, int *ret_file, uint64_t *ret_size)
{
    struct memory_disk *disk = context;
    int result = call(disk, "open", name, false);
    struct memory_file *file = memory_disk_find(disk, name);
    if (result == 0 && file == NULL)
        result = -ENOENT;
    if (result != 0)
        return result;
    file->open++;
    file->opened++;
    *ret_file = (int)(file - disk->files) + 1;
    *ret_size = file->size;
    return 0;
}

static int
write_bytes(struct memory_disk *disk, int handle, const void *data, size_t size, uint64_t offset,
            int result)
{
    struct memory_file *file = file_of(disk, handle);
    disk->writes_after_failure += disk->failed_file == handle;
    if (result != 0) {
        disk->failed_file = handle;
        size = size / SECTOR / 2 * SECTOR;
    }
    if (offset + size > file->size) {
        uint8_t *bytes = bytes_of(offset + size);
        memcpy(bytes, file->bytes, (size_t)file->size);
        free(file->bytes);
        file->bytes = bytes;
        file->size = offset + size;
    }
    if (size > 0)
        memcpy(file->bytes + offset, data, size);
    if (file->how == DISK_DURABLE)
        file->synced = file->size;
    else if (file->synced > offset)
        file->synced = offset;
    return result;
}

static int
write_file(void *context, int file, const void *data, size_t size, uint64_t offset)
{
    struct memory_disk *disk = context;
    return write_bytes(disk, file, data, size, offset,
                       call(disk, "write", file_of(disk, file)->name, true));
}

int32_t
memory_disk_write_batch(struct memory_disk *disk, int file, const void *data, uint32_t size,
                        uint64_t offset)
{
    int result = write_bytes(disk, file, data, size, offset,
                             call(disk, "write batch", file_of(disk, file)->name, true));
    /* a failure without an errno: a short write */
    if (result == -EINTR)
        return (int32_t)(size / SECTOR / 2 * SECTOR);
    return result == 0 ? (int32_t)size : result;
}

static int
read_file(void *context, int file, void *ret_data, size_t size, uint64_t offset)
{
    struct memory_disk *disk = context;
    const struct memory_file *from = file_of(disk, file);
    int result = call(disk, "read", from->name, false);
    if (result == 0 && offset + size > from->size)
        result = -ENODATA;
    if (result == 0)
        memcpy(ret_data, from->bytes + offset, size);
    return result;
}

static int
sync_file(void *context, int handle)
{
    struct memory_disk *disk = context;
    struct memory_file *file = file_of(disk, handle);
    int result = call(disk, "sync", file->name, true);
    if (result == 0) {
        file->synced = file->size;
        return 0;
    }
    disk->failed_file = handle;
    memset(file->bytes + file->synced, 0, (size_t)(file->size - file->synced));
    return result;
}

static int
close_file(void *context, int handle)
{
    struct memory_disk *disk = context;
    struct memory_file *file = file_of(disk, handle);
    int result = call(disk, "close", file->name, false);
    if (disk->failed_file == handle)
        disk->failed_file = 0;
    file->open--;
    if (file->gone)
        drop(file);
    return result;
}

static int
rename_file(void *context, const char *from, const char *to)
{
    struct memory_disk *disk = context;
    int result = call(disk, "rename", to, true);
    struct memory_file *file = memory_disk_find(disk, from);
    if (result != 0 || file == NULL)
        return result != 0 ? result : -ENOENT;
    struct memory_file *old = memory_disk_find(disk, to);
    if (old != NULL)
        drop(old);
    (void)snprintf(file->name, sizeof file->name, "%s", to);
    return 0;
}

static int
remove_file(void *context, const char *name)
{
    struct memory_disk *disk = context;
    int result = call(disk, "remove", name, true);
    struct memory_file *file = memory_disk_find(disk, name);
    if (result != 0 || file == NULL)
        return result != 0 ? result : -ENOENT;
    if (disk->free_bytes != UINT64_MAX)
        disk->free_bytes += file->size;
    drop(file);
    return 0;
}

static int
sync_folder(void *context)
{
    return call(context, "sync folder", "", true);
}

static uint64_t
free_bytes(void *context)
{
    const struct memory_disk *disk = context;
    return disk->free_bytes;
}

struct disk
memory_disk_interface(struct memory_disk *disk)
{
    return (struct disk){
        .context = disk,
        .list = list,
        .create = create_file,
        .open = open_file,
        .write = write_file,
        .read = read_file,
        .sync = sync_file,
        .close = close_file,
        .rename = rename_file,
        .remove = remove_file,
        .sync_folder = sync_folder,
        .free_bytes = free_bytes,
    };
}
