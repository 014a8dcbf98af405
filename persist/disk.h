/*
 * disk.h - the folder of a data directory in which journals lie, as persist/ uses it.
 *
 * Two implementations: disk_files.c (a real folder) and tests/sim/disk.c (a disk that loses power). All
 * calls block; the one write that must not, that of a batch, goes through journal_writer.h's own host.
 * Results are 0 or negative errno. Names are file names inside the folder.
 *
 * What a crash keeps: bytes that were written to a file with DISK_DURABLE, or synced; names that were there
 * when the folder was synced. Everything else may be there or not.
 */
#ifndef HOLDFAST_DISK_H
#define HOLDFAST_DISK_H

#include <stddef.h>
#include <stdint.h>

enum disk_create {
    DISK_PLAIN,   /* written, then synced */
    DISK_DURABLE, /* each write is durable when it ends; direct where the file system can */
};

struct disk {
    void *context;
    /* Every name in the folder, in any order. `each` returns nothing; it must not change the folder. */
    int (*list)(void *context, void (*each)(void *each_context, const char *name), void *each_context);
    /* A new file for writing, `size` zeros long and these zeros written; one of that name is replaced. */
    int (*create)(void *context, const char *name, enum disk_create how, uint64_t size, int *ret_file);
    int (*open)(void *context, const char *name, int *ret_file, uint64_t *ret_size); /* for reading */
    /* All of it, or an error. For DISK_DURABLE files: data, size and offset are multiples of BLOCK_BYTES.
     */
    int (*write)(void *context, int file, const void *data, size_t size, uint64_t offset);
    /* All of it; -ENODATA where the file ends before. */
    int (*read)(void *context, int file, void *ret_data, size_t size, uint64_t offset);
    int (*sync)(void *context, int file);
    int (*close)(void *context, int file);
    int (*rename)(void *context, const char *from, const char *to);
    int (*remove)(void *context, const char *name);
    int (*sync_folder)(void *context);
    uint64_t (*free_bytes)(void *context); /* what is left on the file system */
};

/* A real folder; it must exist. read_only: nothing may be created, and nothing is (-EROFS). Freed by
 * disk_files_close(). Files are file descriptors. Any thread may use it. */
int disk_files_open(const char *path, int read_only, struct disk *ret_disk);
void disk_files_close(struct disk *disk);

/* Whether files made with DISK_DURABLE are written past the page cache (O_DIRECT|O_DSYNC), or through it
 * (O_DSYNC alone: durable all the same, and slower). Found out when the folder was opened. */
int disk_files_direct(const struct disk *disk);

/* From now on zeros are written in small pieces, each durable: others' writes to the same disk wait for one
 * piece at most, and not for all that lies in the disk's cache. A file then takes several times as long. */
void disk_files_gentle(struct disk *disk);

#endif
