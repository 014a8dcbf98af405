/*
 * test_data_directory.c - whose directory it is: made, found again, locked, and refused where it is not
 * ours.
 */
#include "net/data_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char base[64];
static char path[128];
static char cause[512];

static int
make_base(void **state)
{
    (void)state;
    strcpy(base, "/tmp/holdfast-data-XXXXXX");
    if (mkdtemp(base) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/data", base);
    cause[0] = '\0';
    return 0;
}

static int
remove_base(void **state)
{
    (void)state;
    const char *const names[] = {"lock", "holdfast", "holdfast.tmp", "stranger"};
    char name[256];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(name, sizeof name, "%s/%s", path, names[i]);
        (void)unlink(name); /* those that are there */
    }
    (void)snprintf(name, sizeof name, "%s/journal", path);
    (void)rmdir(name); /* likewise */
    (void)rmdir(path); /* likewise */
    return rmdir(base);
}

static void
write_file(const char *name, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int
open_it(struct data_directory *ret_directory)
{
    return data_directory_open(path, ret_directory, cause, sizeof cause);
}

static void
test_made_and_found_again(void **state)
{
    (void)state;
    struct data_directory first;
    struct data_directory second;
    assert_int_equal(open_it(&first), 0);
    data_directory_close(&first);
    assert_int_equal(open_it(&second), 0);
    assert_true(first.route_seed == second.route_seed);
    data_directory_close(&second);
}

static void
test_locked_against_another(void **state)
{
    (void)state;
    struct data_directory first;
    struct data_directory second;
    assert_int_equal(open_it(&first), 0);
    assert_int_equal(open_it(&second),
                     -EWOULDBLOCK); /* flock is by open file, so this process counts as another */
    assert_non_null(strstr(cause, path));
    assert_non_null(strstr(cause, "in use"));
    data_directory_close(&first);
    assert_int_equal(open_it(&second), 0);
    data_directory_close(&second);
}

static void
test_parent_must_exist(void **state)
{
    (void)state;
    struct data_directory directory;
    char deep[160];
    (void)snprintf(deep, sizeof deep, "%s/no/data", base);
    assert_int_equal(data_directory_open(deep, &directory, cause, sizeof cause), -ENOENT);
    assert_non_null(strstr(cause, deep));
    assert_non_null(strstr(cause, "parent"));
}

static void
test_a_strangers_directory_is_left_alone(void **state)
{
    (void)state;
    struct data_directory directory;
    char lock[160];
    assert_int_equal(mkdir(path, 0755), 0);
    write_file("stranger", "mine\n");
    assert_int_equal(open_it(&directory), -ENOTEMPTY);
    assert_non_null(strstr(cause, path));
    assert_non_null(strstr(cause, "'stranger'"));
    (void)snprintf(lock, sizeof lock, "%s/lock", path);
    assert_int_equal(access(lock, F_OK), -1); /* nothing was put there */
}

static void
test_a_cut_making_is_made_again(void **state)
{
    (void)state;
    struct data_directory directory;
    assert_int_equal(mkdir(path, 0755), 0);
    write_file("lock", "");
    write_file("holdfast.tmp", "holdfast data direc");
    assert_int_equal(open_it(&directory), 0);
    data_directory_close(&directory);
}

static void
test_another_format_is_refused(void **state)
{
    (void)state;
    struct data_directory directory;
    const char *const texts[] = {"holdfast data directory\nformat 2\nroute_seed 0123456789abcdef\n", "",
                                 "hello\n"};
    assert_int_equal(mkdir(path, 0755), 0);
    for (size_t i = 0; i < 3; i++) {
        write_file("holdfast", texts[i]);
        assert_int_equal(open_it(&directory), -EINVAL);
        assert_non_null(strstr(cause, path));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_and_found_again, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_locked_against_another, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_parent_must_exist, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_a_strangers_directory_is_left_alone, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_a_cut_making_is_made_again, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_another_format_is_refused, make_base, remove_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
