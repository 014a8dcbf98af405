/*
 * test_settings.c - the four places a setting comes from, which is stronger, and what is said of wrong
 * ones.
 */
#include "net/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct settings settings;
static struct settings_error failure;

static bool
read_with(char *const environment[], int count, char *arguments[])
{
    memset(&settings, 0, sizeof settings);
    failure.text[0] = '\0';
    return settings_read(count, arguments, environment, &settings, &failure);
}

#define READ(environment, ...)                                                                             \
    read_with(environment, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), (char *[]){__VA_ARGS__})

static char *const nothing[] = {NULL};

static void
assert_says(const char *part)
{
    if (strstr(failure.text, part) == NULL)
        fail_msg("'%s' is not in: %s", part, failure.text);
}

static void
test_defaults(void **state)
{
    (void)state;
    assert_true(read_with(nothing, 0, NULL));
    assert_string_equal(settings.data, "./data");
    assert_string_equal(settings.http, "127.0.0.1:7780");
    assert_string_equal(settings.resp, "127.0.0.1:7781");
    assert_string_equal(settings.durability, "journal");
    assert_int_equal(settings.shards, 0);
    assert_int_equal(settings.request_bytes_max, 8u << 20);
    assert_int_equal(settings.head_bytes_max, 16384);
    assert_int_equal(settings.request_seconds, 30);
    assert_int_equal(settings.segment_bytes, 64u << 20);
    assert_int_equal(settings.snapshot_bytes, 512u << 20);
    assert_int_equal(settings.batch_bytes_max, 16u << 20);
}

static void
test_short_long_and_equals(void **state)
{
    (void)state;
    assert_true(
        READ(nothing, "--shards", "3", "--data=/x/y", "--net.pipeline_max=7", "--server.resp", "off"));
    assert_int_equal(settings.shards, 3);
    assert_string_equal(settings.data, "/x/y");
    assert_int_equal(settings.pipeline_max, 7);
    assert_string_equal(settings.resp, "off");
}

static void
test_bytes_have_units(void **state)
{
    (void)state;
    assert_true(READ(nothing, "--net.request_bytes_max", "2MiB", "--net.head_bytes_max", "4k"));
    assert_int_equal(settings.request_bytes_max, 2u << 20);
    assert_int_equal(settings.head_bytes_max, 4096);
    assert_false(READ(nothing, "--net.request_bytes_max", "2MB"));
    assert_false(READ(nothing, "--net.pipeline_max", "2k")); /* a count is not bytes */
    assert_false(READ(nothing, "--net.request_bytes_max", "99999999999999999999GiB"));
    assert_false(READ(nothing, "--net.request_bytes_max", "18446744073709551615GiB"));
}

static void
test_the_nearer_the_stronger(void **state)
{
    (void)state;
    char path[] = "/tmp/holdfast-settings-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "[net]\npipeline_max = 11\nbuffers = 16\n[server]\nshards = 5 ; five\n";
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(close(fd), 0);
    char *const environment[] = {"HOLDFAST_NET_PIPELINE_MAX=12",
                                 "HOLDFAST_SERVER_SHARDS=6",
                                 "PATH=/bin",
                                 "HOLDFAST_BINARY=./x",
                                 "HOLDFAST_PORT_7780_TCP=tcp://10.0.0.1:7780",
                                 "HOLDFAST_SERVICE_HOST=10.0.0.1",
                                 "HOLDFAST_SERVICE_PORT=7780",
                                 NULL};

    assert_true(READ(nothing, "--config", path));
    assert_int_equal(settings.buffers, 16);
    assert_int_equal(settings.pipeline_max, 11);
    assert_int_equal(settings.shards, 5);

    assert_true(READ(environment, "--config", path));
    assert_int_equal(settings.buffers, 16);
    assert_int_equal(settings.pipeline_max, 12);
    assert_int_equal(settings.shards, 6);

    assert_true(
        READ(environment, "--shards", "7", "--config", path)); /* the place of --config does not matter */
    assert_int_equal(settings.buffers, 16);
    assert_int_equal(settings.pipeline_max, 12);
    assert_int_equal(settings.shards, 7);
    assert_int_equal(unlink(path), 0);
}

static void
test_unknown_names_the_nearest(void **state)
{
    (void)state;
    assert_false(READ(nothing, "--net.pipelin_max", "3"));
    assert_says("net.pipelin_max");
    assert_says("nearest known one is '--net.pipeline_max'");
    assert_false(READ(nothing, "--shard", "3"));
    assert_says("'--shards'");
    char *const environment[] = {"HOLDFAST_NET_BUFERS=12", NULL};
    assert_false(read_with(environment, 0, NULL));
    assert_says("HOLDFAST_NET_BUFERS");
    assert_says("net.buffers");
    char *const section[] = {"HOLDFAST_NTE_BUFFERS=12", NULL};
    assert_false(read_with(section, 0, NULL));
    assert_says("HOLDFAST_NTE_BUFFERS");
    assert_says("net.buffers");
}

static void
test_file_errors(void **state)
{
    (void)state;
    const char *const texts[][2] = {
        {"[net]\nbufers = 3\n", "nearest known one is 'net.buffers'"},
        {"[net]\nbuffers = many\n", "'many'"},
        {"[net]\nwhat is this\n", "line 2"},
        {"[server]\nnet.buffers = 3\n", "unknown"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char path[] = "/tmp/holdfast-settings-XXXXXX";
        int fd = mkstemp(path);
        size_t size = strlen(texts[i][0]);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, texts[i][0], size), size);
        assert_int_equal(close(fd), 0);
        assert_false(READ(nothing, "--config", path));
        assert_says(texts[i][1]);
        assert_says(path);
        assert_int_equal(unlink(path), 0);
    }
    assert_false(READ(nothing, "--config", "/nowhere/at/all"));
    assert_says("/nowhere/at/all");
}

static void
test_bad_values_are_named(void **state)
{
    (void)state;
    const char *const bad[][3] = {
        {"--shards", "65", "from 0 to 64"},
        {"--shards", "-1", "server.shards"},
        {"--shards", "", "'' is not valid"},
        {"--shards", "1x", "'1x'"},
        {"--net.buffers", "3", "power of two"},
        {"--durability", "disk", "journal memory"},
        {"--durability", "jour", "'jour'"},
        {"--http", "7780", "ADDR:PORT"},
        {"--http", "127.0.0.1:65536", "'127.0.0.1:65536'"},
        {"--http", "example.org:80", "numeric address"},
        {"--http", "0.0.0.0:7780", "no keys file: a listener beyond loopback would let everyone in"},
        {"--resp", "[::]:7781", "no keys file"},
        {"--data", "", "server.data"},
        {"--net.head_bytes_max", "16MiB", "net.head_bytes_max"},
        {"--journal.segment_bytes", "1MiB", "journal.segment_bytes"},
        {"--journal.segment_bytes", "16MiB",
         "core.batch_bytes_max (16777216) is too much for journal.segment"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *arguments[] = {(char *)(uintptr_t)bad[i][0], (char *)(uintptr_t)bad[i][1]};
        assert_false(read_with(nothing, 2, arguments));
        assert_says(bad[i][2]);
    }
    assert_false(READ(nothing, "--http", "off", "--resp", "off"));
    assert_says("both off");
    /* a segment must hold a batch and three blocks */
    assert_false(READ(nothing, "--journal.segment_bytes", "4194304", "--core.batch_bytes_max", "4182017"));
    assert_true(READ(nothing, "--journal.segment_bytes", "4194304", "--core.batch_bytes_max", "4182016"));
    /* a segment is of whole blocks */
    assert_false(READ(nothing, "--journal.segment_bytes", "4198399", "--core.batch_bytes_max", "4186111"));
    assert_false(READ(nothing, "--shards"));
    assert_says("value is missing");
    assert_false(READ(nothing, "shards"));
    assert_says("unexpected argument 'shards'");
}

static void
test_failure_leaves_the_result(void **state)
{
    (void)state;
    struct settings before;
    assert_true(READ(nothing, "--shards", "2"));
    before = settings;
    char *arguments[] = {"--shards", "3", "--net.buffers", "5"};
    assert_false(settings_read(4, arguments, nothing, &settings, &failure));
    assert_memory_equal(&before, &settings, sizeof settings);
}

static void
test_addresses(void **state)
{
    (void)state;
    struct listen_address address;
    char text[64];
    assert_true(listen_address_parse("[::1]:7780", &address));
    assert_true(address.loopback);
    listen_address_text(&address, text);
    assert_string_equal(text, "[::1]:7780");
    assert_true(listen_address_parse("127.9.9.9:0", &address));
    assert_true(address.loopback);
    assert_true(listen_address_parse("localhost:1", &address));
    listen_address_text(&address, text);
    assert_string_equal(text, "127.0.0.1:1");
    assert_true(listen_address_parse("10.0.0.1:1", &address));
    assert_false(address.loopback);
    assert_true(listen_address_parse("off", &address));
    assert_true(address.off);
    listen_address_text(&address, text);
    assert_string_equal(text, "off");
    assert_false(listen_address_parse("", &address));
    assert_false(listen_address_parse(":", &address));
    assert_false(listen_address_parse("[::1:80", &address));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_short_long_and_equals),
        cmocka_unit_test(test_bytes_have_units),
        cmocka_unit_test(test_the_nearer_the_stronger),
        cmocka_unit_test(test_unknown_names_the_nearest),
        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_bad_values_are_named),
        cmocka_unit_test(test_failure_leaves_the_result),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
