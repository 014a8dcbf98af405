/*
 * test_buffers.c - byte buffers: sizes, the bound, and that what is given back is used again.
 */
#include "net/buffers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
test_sizes_are_powers_of_two(void **state)
{
    (void)state;
    struct buffers buffers;
    size_t capacity;
    assert_int_equal(buffers_open(&buffers, 1 << 20), 0);
    for (size_t size = 0; size <= 100000; size += 333) {
        char *data = buffer_take(&buffers, size, &capacity);
        assert_non_null(data);
        assert_true(capacity >= size);
        assert_true(capacity >= 256);
        assert_true(capacity < 2 * size || capacity == 256);
        memset(data, 1, capacity);
        assert_int_equal(buffers.bytes_used, capacity);
        buffer_give(&buffers, data, capacity);
        assert_int_equal(buffers.bytes_used, 0);
    }
    buffers_done(&buffers);
}

static void
test_the_bound(void **state)
{
    (void)state;
    struct buffers buffers;
    char *taken[16];
    size_t capacity;
    assert_int_equal(buffers_open(&buffers, 16 * 1024), 0);
    for (size_t i = 0; i < 16; i++) {
        taken[i] = buffer_take(&buffers, 1024, &capacity);
        assert_non_null(taken[i]);
        memset(taken[i], (int)i, capacity);
    }
    assert_null(buffer_take(&buffers, 1, &capacity));
    for (size_t i = 0; i < 16; i++)
        for (size_t at = 0; at < 1024; at++)
            assert_int_equal(taken[i][at], i); /* no two share a byte */
    buffer_give(&buffers, taken[3], 1024);
    assert_ptr_equal(buffer_take(&buffers, 1000, &capacity), taken[3]);
    for (size_t i = 0; i < 16; i++)
        buffer_give(&buffers, taken[i], 1024);
    /* all of it in another class, although the first one has used its whole area */
    char *whole = buffer_take(&buffers, 16 * 1024, &capacity);
    assert_non_null(whole);
    memset(whole, 7, capacity);
    assert_null(buffer_take(&buffers, 1, &capacity));
    buffer_give(&buffers, whole, capacity);
    assert_null(buffer_take(&buffers, 16 * 1024 + 1, &capacity));
    buffers_done(&buffers);
}

static void
test_random_use_never_overlaps(void **state)
{
    (void)state;
    struct buffers buffers;
    struct {
        char *data;
        size_t capacity;
        char mark;
    } out[64] = {0};
    uint32_t seed = 12345;
    assert_int_equal(buffers_open(&buffers, 4 << 20), 0);
    for (uint32_t step = 0; step < 20000; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 10) % 64;
        if (out[i].data != NULL) {
            assert_int_equal(out[i].data[0], out[i].mark);
            assert_int_equal(out[i].data[out[i].capacity - 1], out[i].mark);
            buffer_give(&buffers, out[i].data, out[i].capacity);
            out[i].data = NULL;
            continue;
        }
        out[i].data = buffer_take(&buffers, (seed >> 4) % 400000, &out[i].capacity);
        if (out[i].data == NULL)
            continue;
        out[i].mark = (char)(seed >> 24);
        out[i].data[0] = out[i].mark;
        out[i].data[out[i].capacity - 1] = out[i].mark;
    }
    buffers_done(&buffers);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_are_powers_of_two),
        cmocka_unit_test(test_the_bound),
        cmocka_unit_test(test_random_use_never_overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
