/*
 * disk.c - files and names, each once as the system shows them and once as the disk has them.
 *
 *     file    bytes            what read() gives
 *             durable          what is on the disk; differs in the sectors that are marked dirty
 *             durable_size     how much of it the disk is certain to have
 *     folder  names            what list() gives
 *             durable_names    what the disk has
 *             changes          what leads from the one to the other, in order
 *
 * A crash settles both: the two are one afterwards, and nothing is open. Memory of files goes back into a
 * list and is taken from there, so that a seed costs no allocation.
 */
#include "tests/sim/disk.h"

#include "persist/journal_format.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX   2048 /* of one seed, removed ones included until a crash */
#define NAMES_MAX   1024
#define CHANGES_MAX 1024
#define HANDLES_MAX 512
#define NO_FILE     UINT32_MAX

struct file {
    bool used;
    bool in_flight;
    enum disk_create how;
    uint32_t handles;
    uint64_t size;
    uint64_t capacity;
    uint64_t durable_size;
    uint64_t dirty_count;
    uint8_t *bytes;
    uint8_t *durable;
    uint8_t *dirty; /* a byte a sector */
    const uint8_t *batch;
    uint64_t batch_offset;
    uint32_t batch_size;
};

struct name {
    char text[DISK_NAME_SIZE];
    uint32_t file;
};

struct names {
    uint32_t count;
    struct name list[NAMES_MAX];
};

struct change {
    char from[DISK_NAME_SIZE]; /* this name goes, if there is one */
    char to[DISK_NAME_SIZE];   /* and this one comes, for that file */
    uint32_t file;
};

struct sim_disk {
    struct random *random;
    bool full;
    bool lost_power;
    uint32_t power_calls; /* left until the power goes; 0: it stays */
    const char *fail_part;
    uint32_t fail_percent;
    uint64_t change_count;
    uint32_t file_count; /* slots looked at */
    struct file files[FILES_MAX];
    uint32_t handles[HANDLES_MAX]; /* slot of the file, or NO_FILE */
    struct names names;
    struct names durable_names;
    uint32_t changes_made;
    struct change changes[CHANGES_MAX];
};

/* ---- memory ----------------------------------------------------------------------------------- */

struct sim_disk *
sim_disk_open(void)
{
    struct sim_disk *disk = calloc(1, sizeof *disk);
    assert(disk != NULL);
    return disk;
}

static void
file_reserve(struct file *file, uint64_t size)
{
    if (size <= file->capacity) {
        return;
    }
    uint64_t capacity = (size + size / 2 + 65535) / 65536 * 65536;
    file->bytes = realloc(file->bytes, capacity);
    file->durable = realloc(file->durable, capacity);
    file->dirty = realloc(file->dirty, capacity / DISK_SECTOR);
    assert(file->bytes != NULL && file->durable != NULL && file->dirty != NULL);
    file->capacity = capacity;
}

/* Longer by zeros. */
static void
file_grow(struct file *file, uint64_t size)
{
    if (size <= file->size) {
        return;
    }
    file_reserve(file, size);
    uint64_t sector = (file->size + DISK_SECTOR - 1) / DISK_SECTOR;
    uint64_t end = (size + DISK_SECTOR - 1) / DISK_SECTOR;
    memset(file->bytes + file->size, 0, end * DISK_SECTOR - file->size);
    memset(file->durable + file->size, 0, end * DISK_SECTOR - file->size);
    memset(file->dirty + sector, 0, end - sector);
    file->size = size;
}

static uint32_t
file_take(struct sim_disk *disk)
{
    uint32_t slot = 0;
    while (slot < disk->file_count && disk->files[slot].used) {
        slot++;
    }
    assert(slot < FILES_MAX);
    if (slot == disk->file_count) {
        disk->file_count++;
    }
    struct file *file = &disk->files[slot];
    struct file fresh = {.used = true,
                         .capacity = file->capacity,
                         .bytes = file->bytes,
                         .durable = file->durable,
                         .dirty = file->dirty};
    *file = fresh;
    return slot;
}

static int32_t
names_find(const struct names *names, const char *text)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->list[i].text, text) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static void
names_remove(struct names *names, const char *text)
{
    int32_t index = names_find(names, text);
    if (index >= 0) {
        names->list[index] = names->list[--names->count];
    }
}

static void
names_set(struct names *names, const char *text, uint32_t file)
{
    int32_t index = names_find(names, text);
    if (index < 0) {
        assert(names->count < NAMES_MAX);
        index = (int32_t)names->count++;
        memcpy(names->list[index].text, text, strlen(text) + 1);
    }
    names->list[index].file = file;
}

static void
names_copy(struct names *to, const struct names *from)
{
    to->count = from->count;
    memcpy(to->list, from->list, from->count * sizeof from->list[0]);
}

/* Files that no name and no handle leads to any more. */
static void
collect(struct sim_disk *disk)
{
    bool named[FILES_MAX] = {false};
    for (uint32_t i = 0; i < disk->names.count; i++) {
        named[disk->names.list[i].file] = true;
    }
    for (uint32_t i = 0; i < disk->durable_names.count; i++) {
        named[disk->durable_names.list[i].file] = true;
    }
    for (uint32_t i = 0; i < disk->changes_made; i++) {
        if (disk->changes[i].file != NO_FILE) {
            named[disk->changes[i].file] = true;
        }
    }
    for (uint32_t i = 0; i < disk->file_count; i++) {
        if (!named[i] && disk->files[i].handles == 0) {
            disk->files[i].used = false;
        }
    }
}

void
sim_disk_empty(struct sim_disk *disk, struct random *random)
{
    disk->random = random;
    disk->full = false;
    disk->lost_power = false;
    disk->power_calls = 0;
    disk->fail_part = NULL;
    disk->fail_percent = 0;
    disk->change_count = 0;
    disk->names.count = 0;
    disk->durable_names.count = 0;
    disk->changes_made = 0;
    for (uint32_t i = 0; i < HANDLES_MAX; i++) {
        disk->handles[i] = NO_FILE;
    }
    for (uint32_t i = 0; i < disk->file_count; i++) {
        disk->files[i].used = false;
    }
}

/* ---- faults ----------------------------------------------------------------------------------- */

void
sim_disk_full(struct sim_disk *disk, bool full)
{
    disk->full = full;
}

bool
sim_disk_is_full(const struct sim_disk *disk)
{
    return disk->full;
}

void
sim_disk_fail(struct sim_disk *disk, const char *part, uint32_t percent)
{
    disk->fail_part = part;
    disk->fail_percent = percent;
}

void
sim_disk_lose_power_at(struct sim_disk *disk, uint32_t calls)
{
    disk->power_calls = calls;
    disk->lost_power = false;
}

void
sim_disk_lose_power(struct sim_disk *disk)
{
    disk->lost_power = true;
}

bool
sim_disk_lost_power(const struct sim_disk *disk)
{
    return disk->lost_power;
}

uint64_t
sim_disk_changes(const struct sim_disk *disk)
{
    return disk->change_count;
}

/* A call that changes something begins. 0, or -EIO; *ret_half: it does half of its work before it fails. */
static int
fault(struct sim_disk *disk, const char *name, bool *ret_half)
{
    *ret_half = false;
    disk->change_count++;
    if (disk->lost_power) {
        return -EIO;
    }
    if (disk->power_calls > 0 && --disk->power_calls == 0) {
        disk->lost_power = true;
        *ret_half = random_chance(disk->random, 50);
        return -EIO;
    }
    if (disk->fail_percent > 0 && name != NULL && strstr(name, disk->fail_part) != NULL &&
        random_chance(disk->random, disk->fail_percent)) {
        *ret_half = random_chance(disk->random, 50);
        return -EIO;
    }
    return 0;
}

/* ---- persist/disk.h --------------------------------------------------------------------------- */

static void
note_change(struct sim_disk *disk, const char *from, const char *to, uint32_t file)
{
    assert(disk->changes_made < CHANGES_MAX);
    struct change *change = &disk->changes[disk->changes_made++];
    memset(change, 0, sizeof *change);
    memcpy(change->from, from, strlen(from));
    memcpy(change->to, to, strlen(to));
    change->file = file;
}

static int
handle_take(struct sim_disk *disk, uint32_t file)
{
    int handle = 0;
    while (disk->handles[handle] != NO_FILE) {
        handle++;
        assert(handle < (int)HANDLES_MAX); /* somebody does not close */
    }
    disk->handles[handle] = file;
    disk->files[file].handles++;
    return handle;
}

static struct file *
handle_file(struct sim_disk *disk, int handle)
{
    assert(handle >= 0 && handle < (int)HANDLES_MAX);
    assert(disk->handles[handle] != NO_FILE);
    return &disk->files[disk->handles[handle]];
}

static const char *
file_text(const struct sim_disk *disk, const struct file *file)
{
    for (uint32_t i = 0; i < disk->names.count; i++) {
        if (&disk->files[disk->names.list[i].file] == file) {
            return disk->names.list[i].text;
        }
    }
    return NULL;
}

static int
disk_list(void *context, void (*each)(void *each_context, const char *name), void *each_context)
{
    struct sim_disk *disk = context;
    if (disk->lost_power) {
        return -EIO;
    }
    for (uint32_t i = 0; i < disk->names.count; i++) {
        each(each_context, disk->names.list[i].text);
    }
    return 0;
}

static int
disk_create(void *context, const char *name, enum disk_create how, uint64_t size, int *ret_file)
{
    struct sim_disk *disk = context;
    assert(strlen(name) < DISK_NAME_SIZE);
    bool half = false;
    int result = fault(disk, name, &half);
    if (result != 0 && !half) {
        return result;
    }
    uint32_t slot = file_take(disk);
    struct file *file = &disk->files[slot];
    file->how = how;
    names_set(&disk->names, name, slot);
    note_change(disk, "", name, slot);
    if (result == 0 && disk->full && size > 0) {
        return -ENOSPC; /* the name is there, as an open() before a failed fallocate() leaves it */
    }
    if (result != 0) {
        return result;
    }
    file_grow(file, size);
    *ret_file = handle_take(disk, slot);
    return 0;
}

static int
disk_open(void *context, const char *name, int *ret_file, uint64_t *ret_size)
{
    struct sim_disk *disk = context;
    if (disk->lost_power) {
        return -EIO;
    }
    int32_t index = names_find(&disk->names, name);
    if (index < 0) {
        return -ENOENT;
    }
    *ret_size = disk->files[disk->names.list[index].file].size;
    *ret_file = handle_take(disk, disk->names.list[index].file);
    return 0;
}

/* What the system shows changes; the disk has it when the sectors are cleaned. */
static void
put(struct file *file, const void *data, size_t size, uint64_t offset)
{
    file_grow(file, offset + size);
    memcpy(file->bytes + offset, data, size);
    for (uint64_t sector = offset / DISK_SECTOR; sector * DISK_SECTOR < offset + size; sector++) {
        file->dirty_count += file->dirty[sector] == 0;
        file->dirty[sector] = 1;
    }
}

/* The file's size, at its last sector in full. */
static uint64_t
sector_end(const struct file *file, uint64_t sector)
{
    uint64_t end = (sector + 1) * DISK_SECTOR;
    return end < file->size ? end : file->size;
}

static void
clean(struct file *file, uint64_t sector)
{
    uint64_t from = sector * DISK_SECTOR;
    uint64_t end = sector_end(file, sector);
    if (file->dirty[sector] != 0) {
        memcpy(file->durable + from, file->bytes + from, end - from);
        file->dirty[sector] = 0;
        file->dirty_count--;
    }
    if (file->durable_size < end) {
        file->durable_size = end;
    }
}

static void
clean_range(struct file *file, uint64_t offset, uint64_t size)
{
    for (uint64_t sector = offset / DISK_SECTOR; sector * DISK_SECTOR < offset + size; sector++) {
        clean(file, sector);
    }
}

static int
disk_write(void *context, int handle, const void *data, size_t size, uint64_t offset)
{
    struct sim_disk *disk = context;
    struct file *file = handle_file(disk, handle);
    assert(!file->in_flight);
    if (file->how == DISK_DURABLE) {
        assert(size % BLOCK_BYTES == 0);
        assert(offset % BLOCK_BYTES == 0);
    }
    bool half = false;
    int result = fault(disk, file_text(disk, file), &half);
    if (result == 0 && disk->full && offset + size > file->size) {
        result = -ENOSPC;
        half = random_chance(disk->random, 50);
    }
    if (result != 0 && !half) {
        return result;
    }
    size_t done = result == 0 ? size : random_below(disk->random, (uint32_t)size + 1);
    if (done > 0) {
        put(file, data, done, offset);
    }
    if (result == 0 && file->how == DISK_DURABLE) {
        clean_range(file, offset, size);
    }
    return result;
}

static int
disk_read(void *context, int handle, void *ret_data, size_t size, uint64_t offset)
{
    struct sim_disk *disk = context;
    const struct file *file = handle_file(disk, handle);
    if (disk->lost_power) {
        return -EIO;
    }
    if (offset + size > file->size) {
        return -ENODATA;
    }
    memcpy(ret_data, file->bytes + offset, size);
    return 0;
}

static int
disk_sync(void *context, int handle)
{
    struct sim_disk *disk = context;
    struct file *file = handle_file(disk, handle);
    bool half = false;
    int result = fault(disk, file_text(disk, file), &half);
    if (result != 0) {
        return result; /* the sectors stay as they are: perhaps there, perhaps not */
    }
    for (uint64_t sector = 0; file->dirty_count > 0 && sector * DISK_SECTOR < file->size; sector++) {
        clean(file, sector);
    }
    file->durable_size = file->size;
    return 0;
}

static int
disk_close(void *context, int handle)
{
    struct sim_disk *disk = context;
    struct file *file = handle_file(disk, handle);
    assert(file->handles > 0);
    file->handles--;
    assert(file->handles > 0 || !file->in_flight);
    disk->handles[handle] = NO_FILE;
    return 0;
}

static int
disk_rename(void *context, const char *from, const char *to)
{
    struct sim_disk *disk = context;
    assert(strlen(to) < DISK_NAME_SIZE);
    bool half = false;
    int result = fault(disk, from, &half);
    if (result != 0 && !half) {
        return result;
    }
    int32_t index = names_find(&disk->names, from);
    if (index < 0) {
        return -ENOENT;
    }
    uint32_t file = disk->names.list[index].file;
    names_remove(&disk->names, from);
    names_set(&disk->names, to, file);
    note_change(disk, from, to, file);
    return result;
}

static int
disk_remove(void *context, const char *name)
{
    struct sim_disk *disk = context;
    bool half = false;
    int result = fault(disk, name, &half);
    if (result != 0 && !half) {
        return result;
    }
    if (names_find(&disk->names, name) < 0) {
        return -ENOENT;
    }
    names_remove(&disk->names, name);
    note_change(disk, name, "", NO_FILE);
    return result;
}

static int
disk_sync_folder(void *context)
{
    struct sim_disk *disk = context;
    bool half = false;
    int result = fault(disk, NULL, &half);
    if (result != 0 && !half) {
        return result;
    }
    names_copy(&disk->durable_names, &disk->names);
    disk->changes_made = 0;
    collect(disk);
    return result;
}

static uint64_t
disk_free_bytes(void *context)
{
    const struct sim_disk *disk = context;
    return disk->full ? 0 : UINT64_C(1) << 40;
}

struct disk
sim_disk_interface(struct sim_disk *disk)
{
    return (struct disk){
        .context = disk,
        .list = disk_list,
        .create = disk_create,
        .open = disk_open,
        .write = disk_write,
        .read = disk_read,
        .sync = disk_sync,
        .close = disk_close,
        .rename = disk_rename,
        .remove = disk_remove,
        .sync_folder = disk_sync_folder,
        .free_bytes = disk_free_bytes,
    };
}

/* ---- the write of a batch --------------------------------------------------------------------- */

void
sim_disk_begin(struct sim_disk *disk, int handle, const void *data, uint32_t size, uint64_t offset)
{
    struct file *file = handle_file(disk, handle);
    assert(file->how == DISK_DURABLE);
    assert(!file->in_flight);
    assert(size > 0);
    assert(size % BLOCK_BYTES == 0);
    assert(offset % BLOCK_BYTES == 0);
    assert(offset + size <= file->size); /* a segment never grows */
    file->in_flight = true;
    file->batch = data;
    file->batch_size = size;
    file->batch_offset = offset;
}

void
sim_disk_end(struct sim_disk *disk, int handle)
{
    struct file *file = handle_file(disk, handle);
    assert(file->in_flight);
    put(file, file->batch, file->batch_size, file->batch_offset);
    clean_range(file, file->batch_offset, file->batch_size);
    file->in_flight = false;
}

/* ---- crashes ---------------------------------------------------------------------------------- */

/* Any of its sectors come through; and often less than a sector, since most batches have one alone that is
 * not zero, and a crc has to find out what no disk promises, too. */
static void
tear(struct sim_disk *disk, struct file *file)
{
    static const uint32_t chances[] = {0, 100, 50, 5, 95};
    uint32_t chance = chances[random_below(disk->random, 5)];
    uint32_t grain = random_chance(disk->random, 50) ? DISK_SECTOR : 64;
    for (uint32_t at = 0; at < file->batch_size; at += grain) {
        if (random_chance(disk->random, chance)) {
            put(file, file->batch + at, grain, file->batch_offset + at);
        }
    }
    clean_range(file, file->batch_offset, file->batch_size);
    file->in_flight = false;
}

/* Of what was not synced any sectors are there; and the file may be short. */
static void
lose_bytes(struct sim_disk *disk, struct file *file)
{
    uint32_t chance = random_below(disk->random, 3) * 50;
    for (uint64_t sector = 0; file->dirty_count > 0 && sector * DISK_SECTOR < file->size; sector++) {
        if (file->dirty[sector] == 0) {
            continue;
        }
        if (random_chance(disk->random, chance)) {
            clean(file, sector);
            continue;
        }
        uint64_t from = sector * DISK_SECTOR;
        memcpy(file->bytes + from, file->durable + from, sector_end(file, sector) - from);
        file->dirty[sector] = 0;
        file->dirty_count--;
    }
    if (file->durable_size < file->size) {
        uint32_t more = (uint32_t)(file->size - file->durable_size);
        uint32_t draw = random_below(disk->random, 4);
        file->size = draw == 0   ? file->durable_size
                     : draw == 1 ? file->durable_size + random_below(disk->random, more + 1)
                                 : file->size;
    }
}

static void
lose_names(struct sim_disk *disk)
{
    uint32_t draw = random_below(disk->random, 4);
    uint32_t first = random_below(disk->random, disk->changes_made + 1);
    for (uint32_t i = 0; i < disk->changes_made; i++) {
        const struct change *change = &disk->changes[i];
        bool keep = draw == 0 || (draw == 1 ? i < first : draw == 2 && random_chance(disk->random, 50));
        if (!keep) {
            continue;
        }
        if (change->from[0] != '\0') {
            names_remove(&disk->durable_names, change->from);
        }
        if (change->to[0] != '\0') {
            names_set(&disk->durable_names, change->to, change->file);
        }
    }
    names_copy(&disk->names, &disk->durable_names);
}

void
sim_disk_crash(struct sim_disk *disk, enum sim_disk_crash how)
{
    for (uint32_t i = 0; i < disk->file_count; i++) {
        struct file *file = &disk->files[i];
        if (!file->used) {
            continue;
        }
        if (file->in_flight) {
            tear(disk, file);
        }
        if (how == CRASH_POWER) {
            lose_bytes(disk, file);
        }
        for (uint64_t sector = 0; file->dirty_count > 0 && sector * DISK_SECTOR < file->size; sector++) {
            clean(file, sector);
        }
        file->dirty_count = 0;
        file->durable_size = file->size;
        file->handles = 0;
    }
    if (how == CRASH_POWER) {
        lose_names(disk);
    } else {
        names_copy(&disk->durable_names, &disk->names);
    }
    disk->changes_made = 0;
    for (uint32_t i = 0; i < HANDLES_MAX; i++) {
        disk->handles[i] = NO_FILE;
    }
    collect(disk);
    disk->full = false;
    disk->lost_power = false;
    disk->power_calls = 0;
    disk->fail_percent = 0;
}

/* ---- damage ----------------------------------------------------------------------------------- */

uint32_t
sim_disk_file_count(const struct sim_disk *disk)
{
    return disk->names.count;
}

const char *
sim_disk_file_name(const struct sim_disk *disk, uint32_t index)
{
    assert(index < disk->names.count);
    return disk->names.list[index].text;
}

const uint8_t *
sim_disk_bytes(const struct sim_disk *disk, const char *name, uint64_t *ret_size)
{
    int32_t index = names_find(&disk->names, name);
    if (index < 0) {
        return NULL;
    }
    const struct file *file = &disk->files[disk->names.list[index].file];
    *ret_size = file->size;
    return file->bytes;
}

void
sim_disk_rot(struct sim_disk *disk, const char *name, uint64_t offset, const void *data, size_t size)
{
    int32_t index = names_find(&disk->names, name);
    assert(index >= 0);
    struct file *file = &disk->files[disk->names.list[index].file];
    assert(offset + size <= file->size);
    memcpy(file->bytes + offset, data, size);
    memcpy(file->durable + offset, data, size);
}
