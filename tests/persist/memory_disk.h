/*
 * memory_disk.h - a folder in memory, for tests that need thousands of them: may be damaged, and may fail
 * at a call of choice.
 */
#ifndef TESTS_PERSIST_MEMORY_DISK_H
#define TESTS_PERSIST_MEMORY_DISK_H

#include "persist/disk.h"
#include "persist/journal_format.h"

#define MEMORY_FILES_MAX 128

struct memory_file {
    char name[FILE_NAME_SIZE + 8];
    uint8_t *bytes;
    uint64_t size;
    uint64_t synced; /* bytes from the front that a sync has covered; DISK_DURABLE: all */
    enum disk_create how;
    uint32_t open;
    uint32_t opened; /* for reading, so often */
    bool gone;       /* removed or replaced while open */
};

/* What fails, as it is told. */
struct memory_failure {
    uint64_t call; /* number of the call that fails, from 1; 0: none does */
    int error;
    bool for_good; /* and all after it that change something */
    bool happened;
    char what[64]; /* the call that failed */
};

struct memory_disk {
    struct memory_file files[MEMORY_FILES_MAX];
    uint64_t calls;
    uint64_t writes_after_failure; /* to the file whose write or sync has failed */
    int failed_file;               /* handle; 0: none */
    struct memory_failure failure;
    uint64_t free_bytes;
};

void memory_disk_open(struct memory_disk *disk);
void memory_disk_close(struct memory_disk *disk);
/* A copy with no file open and no failure; the target is open and empty. */
void memory_disk_copy(struct memory_disk *to, const struct memory_disk *from);
struct disk memory_disk_interface(struct memory_disk *disk);

/* NULL: not there. */
struct memory_file *memory_disk_find(struct memory_disk *disk, const char *name);
/* A write of a batch, as journal_writer's host does it: bytes written, or negative errno. */
int32_t memory_disk_write_batch(struct memory_disk *disk, int file, const void *data, uint32_t size,
                                uint64_t offset);

#endif
