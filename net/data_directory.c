/*
 * data_directory.c - whose directory it is, and that only one process uses it.
 *
 *     DIR/lock        flock()ed by the server that runs
 *     DIR/holdfast    marks the directory as ours:
 *                         holdfast data directory
 *                         format 1
 *                         route_seed 0123456789abcdef
 *     DIR/journal     the folder of journals and snapshots (docs/journal-format.md)
 *
 * The mark is written to holdfast.tmp, synced and renamed, so it is whole or not there; a directory with
 * nothing but lock and holdfast.tmp is one whose making was cut short, and is made again. Anything else
 * without a mark is somebody else's, and refused.
 */
#include "net/data_directory.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK_FORMAT "holdfast data directory\nformat %d\nroute_seed %016" PRIx64 "\n"
#define FORMAT      1

/* The name of an entry that is not ours in an unmarked directory, or an empty text. */
static int
find_stranger(int fd, char *ret_name, size_t name_size)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = copy >= 0 ? fdopendir(copy) : NULL;
    if (directory == NULL) {
        int error = -errno;
        if (copy >= 0)
            (void)close(copy); /* only read from */
        return error;
    }
    ret_name[0] = '\0';
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "lock") != 0 &&
            strcmp(name, "holdfast.tmp") != 0)
            (void)snprintf(ret_name, name_size, "%s", name); /* fits: a name has at most 255 bytes */
    }
    (void)closedir(directory); /* only read from */
    return 0;
}

/* The directory's own name. Where its parent is not ours to open, nor is the name. */
static int
sync_parent(int fd)
{
    int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return errno == EACCES ? 0 : -errno;
    int result = fsync(parent) == 0 ? 0 : -errno;
    (void)close(parent); /* synced, or failed */
    return result;
}

static int
write_mark(int fd, uint64_t route_seed)
{
    char text[128];
    int size = snprintf(text, sizeof text, MARK_FORMAT, FORMAT, route_seed);
    int mark = openat(fd, "holdfast.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (mark < 0)
        return -errno;
    ssize_t written = write(mark, text, (size_t)size);
    int result = written == size ? 0 : written < 0 ? -errno : -ENOSPC;
    if (result == 0 && fsync(mark) != 0)
        result = -errno;
    if (close(mark) != 0 && result == 0)
        result = -errno;
    if (result == 0 && renameat(fd, "holdfast.tmp", fd, "holdfast") != 0)
        result = -errno;
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    return result;
}

/* 1: read; 0: there is none; negative errno, -EINVAL where it is not one of ours. */
static int
read_mark(int fd, uint64_t *ret_route_seed)
{
    int mark = openat(fd, "holdfast", O_RDONLY | O_CLOEXEC);
    if (mark < 0)
        return errno == ENOENT ? 0 : -errno;
    char text[128] = {0};
    ssize_t size = read(mark, text, sizeof text - 1);
    int error = errno;
    (void)close(mark); /* only read from */
    if (size < 0)
        return -error;
    int format;
    uint64_t seed;
    if (sscanf(text, "holdfast data directory format %d route_seed %" SCNx64, &format, &seed) != 2 ||
        format != FORMAT)
        return -EINVAL;
    *ret_route_seed = seed;
    return 1;
}

static int
open_marked(int fd, const char *path, uint64_t *ret_route_seed, char *ret_cause, size_t cause_size)
{
    int found = read_mark(fd, ret_route_seed);
    if (found > 0)
        return 0;
    if (found < 0) {
        (void)snprintf(
            ret_cause, cause_size,
            "the data directory '%s' has a file 'holdfast' that this version cannot read (%s): use another "
            "directory, or the version that made it",
            path, strerror(-found));
        return found;
    }
    char stranger[256];
    int result = find_stranger(fd, stranger, sizeof stranger);
    if (result == 0 && stranger[0] != '\0') {
        (void)snprintf(
            ret_cause, cause_size,
            "'%s' is not empty and not a Holdfast data directory (it has '%s' and no file 'holdfast'): use "
            "an empty or a new directory",
            path, stranger);
        return -ENOTEMPTY;
    }
    uint64_t seed;
    if (result == 0 && getrandom(&seed, sizeof seed, 0) != sizeof seed)
        result = -EIO;
    if (result == 0)
        result = sync_parent(fd);
    if (result == 0)
        result = write_mark(fd, seed);
    if (result != 0) {
        (void)snprintf(ret_cause, cause_size, "could not write into the data directory '%s': %s", path,
                       strerror(-result));
        return result;
    }
    *ret_route_seed = seed;
    return 0;
}

static int
make_journal_folder(int fd, const char *path, char *ret_cause, size_t cause_size)
{
    int result = mkdirat(fd, "journal", 0755) == 0 || errno == EEXIST ? 0 : -errno;
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (result != 0)
        (void)snprintf(ret_cause, cause_size, "could not make the folder '%s/journal': %s", path,
                       strerror(-result));
    return result;
}

static int
lock(int fd, const char *path, int *ret_lock_fd, char *ret_cause, size_t cause_size)
{
    int lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_fd < 0 || flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        if (lock_fd >= 0)
            (void)close(lock_fd); /* nothing was written */
        if (error == EWOULDBLOCK)
            (void)snprintf(ret_cause, cause_size,
                           "the data directory '%s' is in use by another process: stop that one, or use "
                           "another directory",
                           path);
        else
            (void)snprintf(ret_cause, cause_size, "could not lock the data directory '%s': %s", path,
                           strerror(error));
        return -error;
    }
    *ret_lock_fd = lock_fd;
    return 0;
}

int
data_directory_open(const char *path, struct data_directory *ret_directory, char *ret_cause,
                    size_t cause_size)
{
    struct data_directory directory = {-1, 0};
    if (mkdir(path, 0755) != 0 && errno != EEXIST) {
        int error = errno;
        (void)snprintf(ret_cause, cause_size, "could not make the data directory '%s': %s%s", path,
                       strerror(error), error == ENOENT ? " (its parent must exist)" : "");
        return -error;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        (void)snprintf(ret_cause, cause_size, "could not open the data directory '%s': %s", path,
                       strerror(error));
        return -error;
    }
    /* Looked at before it is locked, so that nothing is made in a directory that is not ours. */
    uint64_t seed;
    char stranger[256] = "";
    int result = 0;
    if (read_mark(fd, &seed) == 0)
        (void)find_stranger(fd, stranger, sizeof stranger); /* open_marked() looks again, and reports */
    if (stranger[0] == '\0')
        result = lock(fd, path, &directory.lock_fd, ret_cause, cause_size);
    if (result == 0)
        result = open_marked(fd, path, &directory.route_seed, ret_cause, cause_size);
    if (result == 0)
        result = make_journal_folder(fd, path, ret_cause, cause_size);
    (void)close(fd); /* what was written has been synced */
    if (result != 0) {
        data_directory_close(&directory);
        return result;
    }
    *ret_directory = directory;
    return 0;
}

void
data_directory_close(struct data_directory *directory)
{
    if (directory->lock_fd >= 0)
        (void)close(directory->lock_fd); /* releases the lock */
    directory->lock_fd = -1;
}
