/*
 * memory_disk.c - names lead to inodes twice over: as they are, and as they were when the folder was last
 * synced; an inode has its bytes twice over, as they are, and as they were when it was last synced.
 */
#include "memory_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "persist/journal_format.h"

static struct memory_name *
find(const struct memory_disk *disk, const char *name)
{
    for (uint32_t i = 0; i < disk->name_count; i++) {
        if (strcmp(disk->names[i].name, name) == 0)
            return (struct memory_name *)&disk->names[i];
    }
    return NULL;
}

static struct memory_name *
name_of(struct memory_disk *disk, const char *name)
{
    struct memory_name *found = find(disk, name);
    for (uint32_t i = 0; i < disk->name_count && found == NULL; i++) {
        if (disk->names[i].inode < 0 && disk->names[i].inode_durable < 0)
            found = &disk->names[i];
    }
    if (found == NULL) {
        assert(disk->name_count < MEMORY_NAMES);
        found = &disk->names[disk->name_count++];
        found->inode = found->inode_durable = -1;
    }
    assert(strlen(name) < sizeof found->name);
    memcpy(found->name, name, strlen(name) + 1);
    return found;
}

static void
grow(struct memory_inode *inode, size_t size)
{
    if (size <= inode->size)
        return;
    inode->data = realloc(inode->data, size);
    assert(inode->data != NULL);
    memset(inode->data + inode->size, 0, size - inode->size);
    inode->size = size;
}

static void
make_durable(struct memory_inode *inode)
{
    if (inode->size == 0)
        return;
    inode->durable = realloc(inode->durable, inode->size);
    assert(inode->durable != NULL);
    memcpy(inode->durable, inode->data, inode->size);
    inode->size_durable = inode->size;
}

static int
handle(struct memory_disk *disk, int inode)
{
    for (int i = 0; i < MEMORY_OPEN; i++) {
        if (disk->open[i] < 0) {
            disk->open[i] = inode;
            disk->open_count++;
            return i;
        }
    }
    assert(false);
    return -1;
}

static struct memory_inode *
at(struct memory_disk *disk, int file)
{
    assert(file >= 0);
    assert(file < MEMORY_OPEN);
    assert(disk->open[file] >= 0);
    return &disk->inodes[disk->open[file]];
}

/* Counts a call. True: it fails now, and does nothing. */
static bool
fails(struct memory_disk *disk)
{
    return ++disk->calls == disk->fail_at && disk->fault == FAULT_BEFORE;
}

/* What a call says that has done its work. */
static int
done(struct memory_disk *disk, int result)
{
    if (disk->look != NULL)
        disk->look(disk->look_context, disk);
    return disk->calls == disk->fail_at ? disk->fault_result : result;
}

static int
list(void *context, void (*each)(void *each_context, const char *name), void *each_context)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    for (uint32_t i = disk->name_count; i > 0; i--) {
        if (disk->names[i - 1].inode >= 0)
            each(each_context, disk->names[i - 1].name);
    }
    return done(disk, 0);
}

static int
create(void *context, const char *name, enum disk_create how, uint64_t size, int *ret_file)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    if (disk->full)
        return done(disk, -ENOSPC);
    assert(disk->inode_count < MEMORY_INODES);
    int number = (int)disk->inode_count++;
    struct memory_inode *inode = &disk->inodes[number];
    memset(inode, 0, sizeof *inode);
    inode->direct = how == DISK_DURABLE;
    grow(inode, size);
    name_of(disk, name)->inode = number;
    int result = done(disk, 0);
    if (result == 0)
        *ret_file = handle(disk, number);
    return result;
}

static int
open_file(void *context, const char *name, int *ret_file, uint64_t *ret_size)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    const struct memory_name *found = find(disk, name);
    if (found == NULL || found->inode < 0)
        return done(disk, -ENOENT);
    int result = done(disk, 0);
    if (result != 0)
        return result;
    *ret_file = handle(disk, found->inode);
    *ret_size = disk->inodes[found->inode].size;
    return 0;
}

static int
write_file(void *context, int file, const void *data, size_t size, uint64_t offset)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    struct memory_inode *inode = at(disk, file);
    grow(inode, offset + size);
    memcpy(inode->data + offset, data, size);
    if (inode->direct) {
        assert((uintptr_t)data % BLOCK_BYTES == 0);
        assert(size % BLOCK_BYTES == 0);
        assert(offset % BLOCK_BYTES == 0);
        if (offset + size <= inode->size_durable)
            memcpy(inode->durable + offset, data, size);
    }
    return done(disk, 0);
}

static int
read_file(void *context, int file, void *ret_data, size_t size, uint64_t offset)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    struct memory_inode *inode = at(disk, file);
    if (offset > inode->size || size > inode->size - offset)
        return done(disk, -ENODATA);
    memcpy(ret_data, inode->data + offset, size);
    return done(disk, 0);
}

static int
sync_file(void *context, int file)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    make_durable(at(disk, file));
    return done(disk, 0);
}

static int
close_file(void *context, int file)
{
    struct memory_disk *disk = context;
    (void)at(disk, file);
    disk->open[file] = -1; /* also where it fails: as close(2) */
    disk->open_count--;
    return fails(disk) ? disk->fault_result : done(disk, 0);
}

static int
rename_file(void *context, const char *from, const char *to)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    struct memory_name *source = find(disk, from);
    if (source == NULL || source->inode < 0)
        return done(disk, -ENOENT);
    name_of(disk, to)->inode = source->inode;
    source->inode = -1;
    return done(disk, 0);
}

static int
remove_file(void *context, const char *name)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    struct memory_name *found = find(disk, name);
    if (found == NULL || found->inode < 0)
        return done(disk, -ENOENT);
    if (disk->fail_removing != NULL && strcmp(disk->fail_removing, name) == 0)
        return done(disk, -EACCES);
    found->inode = -1;
    return done(disk, 0);
}

static int
sync_folder(void *context)
{
    struct memory_disk *disk = context;
    if (fails(disk))
        return done(disk, 0);
    for (uint32_t i = 0; i < disk->name_count; i++)
        disk->names[i].inode_durable = disk->names[i].inode;
    return done(disk, 0);
}

static uint64_t
free_bytes(void *context)
{
    const struct memory_disk *disk = context;
    return disk->full ? 0 : UINT64_MAX;
}

void
memory_disk_open(struct memory_disk *disk)
{
    memset(disk, 0, sizeof *disk);
    for (int i = 0; i < MEMORY_OPEN; i++)
        disk->open[i] = -1;
    disk->fault_result = -EIO;
    disk->disk = (struct disk){
        .context = disk,
        .list = list,
        .create = create,
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

void
memory_disk_close(struct memory_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        free(disk->inodes[i].data);
        free(disk->inodes[i].durable);
    }
}

void
memory_disk_put(struct memory_disk *disk, const char *name, const void *data, size_t size)
{
    assert(disk->inode_count < MEMORY_INODES);
    int number = (int)disk->inode_count++;
    struct memory_inode *inode = &disk->inodes[number];
    memset(inode, 0, sizeof *inode);
    grow(inode, size);
    if (size > 0)
        memcpy(inode->data, data, size);
    make_durable(inode);
    struct memory_name *found = name_of(disk, name);
    found->inode = found->inode_durable = number;
}

bool
memory_disk_has(const struct memory_disk *disk, const char *name)
{
    const struct memory_name *found = find(disk, name);
    return found != NULL && found->inode >= 0;
}

const uint8_t *
memory_disk_durable(const struct memory_disk *disk, const char *name, bool certain, size_t *ret_size)
{
    const struct memory_name *found = find(disk, name);
    if (found == NULL || (certain && found->inode != found->inode_durable))
        return NULL;
    int number = found->inode >= 0 ? found->inode : found->inode_durable;
    if (number < 0)
        return NULL;
    *ret_size = disk->inodes[number].size_durable;
    static const uint8_t none[1];
    return disk->inodes[number].durable != NULL ? disk->inodes[number].durable : none;
}

const char *
memory_disk_name(const struct memory_disk *disk, int file)
{
    for (uint32_t i = 0; i < disk->name_count; i++) {
        if (disk->open[file] >= 0 && disk->names[i].inode == disk->open[file])
            return disk->names[i].name;
    }
    return "";
}
