/*
 * test_disk_files.c - a real folder: what is created, written, renamed and removed in it, on a file system
 * that takes O_DIRECT and on one that may not; a full disk; a folder that may only be read.
 */
#include "persist/disk.h"
#include "persist/journal_format.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static struct disk disk;
static uint8_t *block; /* aligned, for direct files */

static int
make_folder_in(const char *base)
{
    (void)snprintf(path, sizeof path, "%s/holdfast-disk-XXXXXX", base);
    block = aligned_alloc(BLOCK_BYTES, 2 * BLOCK_BYTES);
    if (mkdtemp(path) == NULL || block == NULL)
        return -1;
    return disk_files_open(path, 0, &disk);
}

static int
make_folder(void **state)
{
    (void)state;
    return make_folder_in(".");
}

/* Where a file system in memory is, its way of writing is tried too. */
static int
make_folder_in_memory(void **state)
{
    (void)state;
    return make_folder_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static void
remove_name(void *context, const char *name)
{
    (void)context;
    char full[320];
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    (void)unlink(full); /* rmdir() would tell */
}

static int
remove_folder(void **state)
{
    (void)state;
    (void)disk.list(disk.context, remove_name, NULL); /* rmdir() tells */
    disk_files_close(&disk);
    free(block);
    return rmdir(path);
}

struct names {
    unsigned count;
    char last[256];
};

static void
note_name(void *context, const char *name)
{
    struct names *names = context;
    names->count++;
    (void)snprintf(names->last, sizeof names->last, "%s", name);
}

static unsigned
count_names(void)
{
    struct names names = {0};
    assert_int_equal(disk.list(disk.context, note_name, &names), 0);
    return names.count;
}

static void
test_durable_file(void **state)
{
    (void)state;
    int file;
    int flags;
    uint64_t size = 3 * 1024 * 1024 + BLOCK_BYTES;
    assert_int_equal(disk.create(disk.context, "one", DISK_DURABLE, size, &file), 0);
    flags = fcntl(file, F_GETFL);
    assert_int_equal(flags & O_DSYNC, O_DSYNC);
    assert_int_equal((flags & O_DIRECT) != 0, disk_files_direct(&disk));
    memset(block, 'x', 2 * BLOCK_BYTES);
    assert_int_equal(disk.write(disk.context, file, block, 2 * BLOCK_BYTES, BLOCK_BYTES), 0);
    struct stat status;
    assert_int_equal(fstat(file, &status), 0);
    assert_int_equal(status.st_size, size);
    assert_true((uint64_t)status.st_blocks * 512 >= size); /* no hole */
    assert_int_equal(disk.close(disk.context, file), 0);

    uint64_t found;
    assert_int_equal(disk.open(disk.context, "one", &file, &found), 0);
    assert_int_equal(found, size);
    uint8_t *all = malloc((size_t)size);
    assert_non_null(all);
    assert_int_equal(disk.read(disk.context, file, all, (size_t)size, 0), 0);
    for (uint64_t i = 0; i < size; i++)
        if (all[i] != (i >= BLOCK_BYTES && i < 3 * BLOCK_BYTES ? 'x' : 0))
            fail_msg("byte %llu is %d", (unsigned long long)i, all[i]);
    free(all);
    assert_int_equal(disk.read(disk.context, file, block, BLOCK_BYTES, size - 1), -ENODATA);
    assert_int_equal(disk.close(disk.context, file), 0);
}

static void
test_gentle_file(void **state)
{
    disk_files_gentle(&disk);
    test_durable_file(state);
}

static void
test_plain_file(void **state)
{
    (void)state;
    int file;
    uint64_t size;
    char text[16] = "";
    assert_int_equal(disk.create(disk.context, "part", DISK_PLAIN, 0, &file), 0);
    assert_int_equal(disk.write(disk.context, file, "hello", 5, 0), 0);
    assert_int_equal(disk.write(disk.context, file, "there", 5, 5), 0);
    assert_int_equal(disk.sync(disk.context, file), 0);
    assert_int_equal(disk.close(disk.context, file), 0);
    assert_int_equal(disk.open(disk.context, "part", &file, &size), 0);
    assert_int_equal(size, 10);
    assert_int_equal(disk.read(disk.context, file, text, 10, 0), 0);
    assert_string_equal(text, "hellothere");
    assert_int_equal(disk.close(disk.context, file), 0);
    /* one of that name is replaced, not written over */
    assert_int_equal(disk.create(disk.context, "part", DISK_PLAIN, 3, &file), 0);
    assert_int_equal(disk.close(disk.context, file), 0);
    assert_int_equal(disk.open(disk.context, "part", &file, &size), 0);
    assert_int_equal(size, 3);
    assert_int_equal(disk.close(disk.context, file), 0);
    assert_true(disk.free_bytes(disk.context) > 0);
}

static void
test_names(void **state)
{
    (void)state;
    int file;
    uint64_t size;
    assert_int_equal(count_names(), 0); /* the probe left nothing */
    assert_int_equal(disk.create(disk.context, "a.tmp", DISK_PLAIN, 0, &file), 0);
    assert_int_equal(disk.close(disk.context, file), 0);
    assert_int_equal(disk.rename(disk.context, "a.tmp", "a"), 0);
    assert_int_equal(disk.sync_folder(disk.context), 0);
    struct names names = {0};
    assert_int_equal(disk.list(disk.context, note_name, &names), 0);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.last, "a");
    assert_int_equal(disk.remove(disk.context, "a"), 0);
    assert_int_equal(disk.remove(disk.context, "a"), -ENOENT);
    assert_int_equal(disk.rename(disk.context, "a", "b"), -ENOENT);
    assert_int_equal(disk.open(disk.context, "a", &file, &size), -ENOENT);
    assert_int_equal(count_names(), 0);
}

/* No room: nothing of it stays. */
static void
test_no_room(void **state)
{
    (void)state;
    int file = -7;
    assert_int_equal(disk.create(disk.context, "huge", DISK_DURABLE, UINT64_C(1) << 50, &file) < 0, true);
    assert_int_equal(count_names(), 0);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {2 * 1024 * 1024, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(disk.create(disk.context, "large", DISK_DURABLE, 4 * 1024 * 1024, &file), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(file, -7); /* untouched */
    assert_int_equal(count_names(), 0);
}

static void
test_read_only(void **state)
{
    (void)state;
    int file;
    struct disk reader;
    assert_int_equal(disk.create(disk.context, "a", DISK_PLAIN, 0, &file), 0);
    assert_int_equal(disk.close(disk.context, file), 0);
    assert_int_equal(disk_files_open(path, 1, &reader), 0);
    assert_int_equal(reader.create(reader.context, "b", DISK_PLAIN, 0, &file), -EROFS);
    assert_int_equal(reader.rename(reader.context, "a", "b"), -EROFS);
    assert_int_equal(reader.remove(reader.context, "a"), -EROFS);
    disk_files_close(&reader);
    assert_int_equal(count_names(), 1);
    struct disk none;
    assert_int_equal(disk_files_open("no/such/folder", 0, &none), -ENOENT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_durable_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_durable_file, make_folder_in_memory, remove_folder),
        cmocka_unit_test_setup_teardown(test_gentle_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_plain_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_names, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_names, make_folder_in_memory, remove_folder),
        cmocka_unit_test_setup_teardown(test_no_room, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_no_room, make_folder_in_memory, remove_folder),
        cmocka_unit_test_setup_teardown(test_read_only, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
