/*
 * test_journal_writer.c - the protocol of a journal: a batch ends at a poll, never inside its append.
 */
#include "persist/journal_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
test_a_batch_ends_at_a_poll(void **state)
{
    (void)state;
    struct journal_writer *writer;
    const uint8_t records[16] = {0};
    assert_int_equal(journal_open(&writer, 0), 0);
    assert_false(journal_busy(writer));
    assert_int_equal(journal_poll(writer), 0);
    assert_int_equal(journal_durable(writer), 0);

    assert_int_equal(journal_append(writer, records, sizeof records, 1, 5), 0);
    assert_true(journal_busy(writer));
    assert_int_equal(journal_durable(writer), 0);
    assert_int_equal(journal_poll(writer), 0);
    assert_false(journal_busy(writer));
    assert_int_equal(journal_durable(writer), 5);

    assert_int_equal(journal_append(writer, records, 8, 6, 6), 0);
    assert_int_equal(journal_durable(writer), 5);
    assert_int_equal(journal_poll(writer), 0);
    assert_int_equal(journal_durable(writer), 6);
    assert_int_equal(journal_bytes(writer), 24);
    journal_close(writer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_batch_ends_at_a_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
