/*
 * disk_files.c - a real folder, as persist/ uses it (disk.h).
 *
 * A durable file is made in three steps:
 *
 *     fallocate           a full disk says so at once, and the file lies together
 *     zeros, 1 MiB each   a first write into space that is only allocated changes metadata too, which the
 *                         file system then commits before the write is durable: half as long again
 *     fsync, open again   O_DSYNC cannot be switched on later, and is not wanted for the zeros: together
 *                         they are faster; unless others write to the disk meanwhile (disk_files_gentle)
 *
 * Whether the file system takes O_DIRECT is found out by trying, since no flag says so. Where it does not,
 * files are written through the page cache, and O_DSYNC alone makes each write durable.
 */
#include "persist/disk.h"

#include "persist/journal_format.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PIECE_BYTES        ((size_t)1 << 20)
#define PIECE_BYTES_GENTLE ((size_t)256 << 10)
#define PROBE_NAME         "probe.tmp" /* what a crash leaves of it is removed like all that ends so */
#define MODE               0644

struct folder {
    int fd;
    bool read_only;
    bool direct;
    bool gentle;
    void *zeros; /* PIECE_BYTES of them, aligned; read-only */
};

static int
write_all(int file, const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t written = pwrite(file, data, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        if (written == 0)
            return -EIO;
        data += written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

static int
write_file(void *context, int file, const void *data, size_t size, uint64_t offset)
{
    (void)context; /* a file is a file descriptor */
    return write_all(file, data, size, offset);
}

static int
read_file(void *context, int file, void *ret_data, size_t size, uint64_t offset)
{
    (void)context; /* as above */
    uint8_t *data = ret_data;
    while (size > 0) {
        ssize_t got = pread(file, data, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return -ENODATA; /* behind the file's end */
        data += got;
        size -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

static int
sync_fd(int fd)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

static int
sync_file(void *context, int file)
{
    (void)context; /* as above */
    return sync_fd(file);
}

static int
close_file(void *context, int file)
{
    (void)context;                                          /* as above */
    return close(file) == 0 || errno == EINTR ? 0 : -errno; /* interrupted: closed all the same */
}

static int
reserve(int file, uint64_t size)
{
    int result;
    do
        result = fallocate(file, 0, 0, (off_t)size);
    while (result != 0 && errno == EINTR);
    /* where it is not known the zeros will find out */
    return result == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

static int
write_zeros(const struct folder *folder, int file, uint64_t size)
{
    int result = size > 0 ? reserve(file, size) : 0;
    size_t piece = folder->gentle ? PIECE_BYTES_GENTLE : PIECE_BYTES;
    for (uint64_t offset = 0; offset < size && result == 0; offset += piece) {
        uint64_t rest = size - offset;
        result = write_all(file, folder->zeros, rest < piece ? (size_t)rest : piece, offset);
    }
    return result;
}

/* The same file once more, with O_DSYNC. */
static int
open_durable(const struct folder *folder, const char *name, int file)
{
    int result = sync_fd(file);
    if (result != 0)
        return result;
    int again = openat(folder->fd, name, O_RDWR | O_DSYNC | O_CLOEXEC | (folder->direct ? O_DIRECT : 0));
    return again >= 0 ? again : -errno;
}

static int
create_file(void *context, const char *name, enum disk_create how, uint64_t size, int *ret_file)
{
    struct folder *folder = context;
    if (folder->read_only)
        return -EROFS;
    if (unlinkat(folder->fd, name, 0) != 0 && errno != ENOENT)
        return -errno;
    /* only whole pieces go past the page cache */
    bool direct = how == DISK_DURABLE && folder->direct && size % BLOCK_BYTES == 0;
    int flags = (direct ? O_DIRECT : 0) | (how == DISK_DURABLE && folder->gentle ? O_DSYNC : 0);
    int file = openat(folder->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags, MODE);
    if (file < 0)
        return -errno;
    int result = write_zeros(folder, file, size);
    if (result == 0 && how == DISK_DURABLE) {
        int durable = open_durable(folder, name, file);
        (void)close(file); /* synced */
        file = durable;
        result = durable < 0 ? durable : 0;
    }
    if (result != 0) {
        if (file >= 0)
            (void)close(file);               /* goes away */
        (void)unlinkat(folder->fd, name, 0); /* what stays ends in .tmp, and the next start removes it */
        return result;
    }
    *ret_file = file;
    return 0;
}

static int
open_file(void *context, const char *name, int *ret_file, uint64_t *ret_size)
{
    struct folder *folder = context;
    int file = openat(folder->fd, name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -errno;
    struct stat status;
    if (fstat(file, &status) != 0) {
        int error = errno;
        (void)close(file); /* not even read from */
        return -error;
    }
    *ret_file = file;
    *ret_size = (uint64_t)status.st_size;
    return 0;
}

static int
rename_file(void *context, const char *from, const char *to)
{
    struct folder *folder = context;
    if (folder->read_only)
        return -EROFS;
    return renameat(folder->fd, from, folder->fd, to) == 0 ? 0 : -errno;
}

static int
remove_file(void *context, const char *name)
{
    struct folder *folder = context;
    if (folder->read_only)
        return -EROFS;
    return unlinkat(folder->fd, name, 0) == 0 ? 0 : -errno;
}

static int
sync_folder(void *context)
{
    struct folder *folder = context;
    return sync_fd(folder->fd);
}

static int
list(void *context, void (*each)(void *each_context, const char *name), void *each_context)
{
    struct folder *folder = context;
    int copy = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy >= 0 ? fdopendir(copy) : NULL;
    if (directory == NULL) {
        int error = errno;
        if (copy >= 0)
            (void)close(copy); /* not even read from */
        return -error;
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(each_context, entry->d_name);
        errno = 0;
    }
    int result = -errno;
    (void)closedir(directory); /* only read from */
    return result;
}

static uint64_t
free_bytes(void *context)
{
    struct folder *folder = context;
    struct statvfs status;
    if (fstatvfs(folder->fd, &status) != 0)
        return 0; /* a file system that cannot even say so has no room for us */
    return (uint64_t)status.f_bavail * status.f_frsize;
}

/* 1: durable files can be direct; 0: they cannot; negative errno: nothing can be written here at all. */
static int
probe(const struct folder *folder)
{
    int file = openat(folder->fd, PROBE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT | O_DSYNC, MODE);
    if (file < 0 && errno != EINVAL && errno != EOPNOTSUPP)
        return -errno;
    int result = file >= 0 ? write_all(file, folder->zeros, BLOCK_BYTES, 0) : -EINVAL;
    if (file >= 0)
        (void)close(file); /* only to see whether it goes */
    if (unlinkat(folder->fd, PROBE_NAME, 0) != 0 && errno != ENOENT && result == 0)
        result = -errno;
    if (result == -EINVAL || result == -EOPNOTSUPP)
        return 0;
    /* a full disk takes no block; that it takes the flag is all we ask */
    return result == 0 || result == -ENOSPC || result == -EDQUOT ? 1 : result;
}

int
disk_files_open(const char *path, int read_only, struct disk *ret_disk)
{
    struct folder *folder = calloc(1, sizeof *folder);
    void *zeros = aligned_alloc(BLOCK_BYTES, PIECE_BYTES);
    if (folder == NULL || zeros == NULL) {
        free(folder);
        free(zeros);
        return -ENOMEM;
    }
    memset(zeros, 0, PIECE_BYTES);
    *folder = (struct folder){.fd = -1, .read_only = read_only != 0, .zeros = zeros};
    int result = 0;
    folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0)
        result = -errno;
    if (result == 0 && !folder->read_only)
        result = probe(folder);
    folder->direct = result == 1;
    struct disk disk = {.context = folder,
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
                        .free_bytes = free_bytes};
    if (result < 0) {
        disk_files_close(&disk);
        return result;
    }
    *ret_disk = disk;
    return 0;
}

void
disk_files_close(struct disk *disk)
{
    struct folder *folder = disk->context;
    if (folder->fd >= 0)
        (void)close(folder->fd); /* synced by whoever changed it */
    free(folder->zeros);
    free(folder);
    disk->context = NULL;
}

void
disk_files_gentle(struct disk *disk)
{
    struct folder *folder = disk->context;
    folder->gentle = true;
}

int
disk_files_direct(const struct disk *disk)
{
    const struct folder *folder = disk->context;
    return folder->direct;
}
