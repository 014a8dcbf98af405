/*
 * The writer of a journal against a host of memory: every transition of its states, the bytes of each
 * batch, the change of segments, sealing, and writes that fail.
 */
#include "persist/journal_writer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SEGMENT = SEGMENT_BYTES_MIN,
    SEGMENTS = 24,
    BATCH_MAX = SEGMENT - 2 * BLOCK_BYTES - sizeof(struct batch_header), /* fills a segment */
    SEAL_MS = 1000,
    FILE_0 = 100, /* segment n is file FILE_0 + n */
    HEADER_CRC = 0xc0ffee,
};

/* The disk, and the write under way. */
struct fixture {
    struct journal *journal;
    uint8_t (*files)[SEGMENT];
    bool under_way;
    bool at_once; /* a write ends inside its call */
    int file;
    const uint8_t *data;
    uint32_t size;
    uint64_t offset;
    uint32_t writes;
    uint64_t sequence; /* last one appended */
};

static void
end_write(struct fixture *fixture, int32_t result, int expected)
{
    assert_true(fixture->under_way);
    fixture->under_way = false;
    if (result == (int32_t)fixture->size)
        memcpy(fixture->files[fixture->file - FILE_0] + fixture->offset, fixture->data, fixture->size);
    assert_int_equal(journal_written(fixture->journal, result), expected);
}

static void
write_done(struct fixture *fixture)
{
    end_write(fixture, (int32_t)fixture->size, 0);
}

static void
begin_write(void *context, int file, const void *data, uint32_t size, uint64_t offset)
{
    struct fixture *fixture = context;
    assert_false(fixture->under_way);
    assert_int_equal((uintptr_t)data % BLOCK_BYTES, 0);
    assert_int_equal(size % BLOCK_BYTES, 0);
    assert_int_equal(offset % BLOCK_BYTES, 0);
    assert_true(offset >= BLOCK_BYTES);
    assert_true(offset + size <= SEGMENT);
    assert_in_range(file, FILE_0, FILE_0 + SEGMENTS - 1);
    for (uint64_t i = offset; i < SEGMENT; i++)
        assert_int_equal(fixture->files[file - FILE_0][i], 0); /* nothing is written twice */
    fixture->under_way = true;
    fixture->file = file;
    fixture->data = data;
    fixture->size = size;
    fixture->offset = offset;
    fixture->writes++;
    if (fixture->at_once)
        write_done(fixture);
}

static void
open_journal(struct fixture *fixture, uint32_t batch_bytes_max)
{
    const struct journal_settings settings = {
        .epoch = 7,
        .segment_bytes = SEGMENT,
        .shard = 3,
        .shard_count = 4,
        .batch_bytes_max = batch_bytes_max,
        .seal_ms = SEAL_MS,
    };
    const struct journal_host host = {.context = fixture, .write = begin_write};
    assert_int_equal(journal_open(&fixture->journal, &settings, &host, FILE_0, HEADER_CRC), 0);
}

static int
set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->files = calloc(SEGMENTS, SEGMENT);
    open_journal(fixture, BATCH_MAX);
    *state = fixture;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *fixture = *state;
    journal_close(fixture->journal);
    free(fixture->files);
    free(fixture);
    return 0;
}

/* Appends `count` records of 8 bytes, their sequence in each. */
static void
append(struct fixture *fixture, uint32_t count, uint64_t now_ms)
{
    static uint64_t records[SEGMENT / 8];
    for (uint32_t i = 0; i < count; i++)
        records[i] = fixture->sequence + 1 + i;
    journal_append(fixture->journal, (const uint8_t *)records, count * 8, count, fixture->sequence + 1,
                   fixture->sequence + count, count % 2 == 0, now_ms);
    memset(records, 0xee, count * 8); /* they were copied */
    fixture->sequence += count;
}

/* Records of a batch of so many blocks. */
static uint32_t
records_of(uint32_t blocks)
{
    return (blocks * BLOCK_BYTES - (uint32_t)sizeof(struct batch_header)) / 8;
}

/* Reads all segments from the start, checking every field of every batch. */
struct reading {
    uint64_t batches;
    uint64_t sequence;
    uint64_t covered;
    uint32_t segment;
    uint64_t offset;
    uint32_t chain;
    uint64_t bytes;
};
static struct reading
read_all(struct fixture *fixture)
{
    struct reading at = {.offset = BLOCK_BYTES, .chain = HEADER_CRC};
    for (;;) {
        const uint8_t *data = fixture->files[at.segment] + at.offset;
        if (at.offset == SEGMENT || batch_check(data, SEGMENT - at.offset) == BATCH_NONE)
            return at;
        assert_int_equal(batch_check(data, SEGMENT - at.offset), BATCH_WHOLE);
        struct batch_header header;
        memcpy(&header, data, sizeof header);
        assert_int_equal(header.chain, at.chain);
        assert_int_equal(header.epoch, 7);
        assert_int_equal(header.shard, 3);
        assert_int_equal(header.shard_count, 4);
        assert_int_equal(header.number, at.batches);
        assert_int_equal(header.sequence_first, at.sequence + 1);
        assert_int_equal(header.durable_upto, at.sequence); /* one write at a time: all before it */
        assert_int_equal(header.records_size, header.record_count * 8);
        assert_int_equal(header.sequence_last, at.sequence + header.record_count);
        const uint8_t *records = data + sizeof header;
        for (uint32_t i = 0; i < header.record_count; i++) {
            uint64_t sequence;
            memcpy(&sequence, records + i * 8, 8);
            assert_int_equal(sequence, at.sequence + 1 + i);
        }
        if (header.record_count > 0)
            assert_int_equal(header.flags, header.record_count % 2 == 0 ? BATCH_EVENTS : 0);
        else
            assert_true(header.flags == BATCH_SEALS || header.flags == BATCH_CLOSES);
        at.batches++;
        at.sequence = header.sequence_last;
        at.covered = header.durable_upto;
        at.chain = header.crc;
        at.offset += header.size;
        at.bytes += header.size;
        if (header.flags & BATCH_CLOSES) {
            at.segment++;
            at.offset = BLOCK_BYTES;
        }
    }
}

/* What is on the disk is what the writer says. */
static void
check(struct fixture *fixture)
{
    struct reading at = read_all(fixture);
    struct journal_position position = journal_position(fixture->journal);
    assert_int_equal(position.epoch, 7);
    assert_int_equal(position.shard, 3);
    assert_int_equal(position.segment, at.segment);
    assert_int_equal(position.offset, at.offset);
    assert_int_equal(position.batch, at.batches);
    assert_int_equal(position.sequence, at.sequence);
    assert_int_equal(position.chain, at.chain);
    assert_int_equal(journal_durable(fixture->journal), at.sequence);
    assert_int_equal(journal_bytes(fixture->journal), at.bytes);
    assert_int_equal(journal_batches(fixture->journal), at.batches);
}

static void
a_batch_is_durable_when_its_write_ends(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    assert_false(journal_busy(journal));
    check(fixture);
    append(fixture, 5, 1000);
    assert_true(journal_busy(journal));
    assert_true(fixture->under_way);
    assert_int_equal(fixture->file, FILE_0);
    assert_int_equal(fixture->offset, BLOCK_BYTES);
    assert_int_equal(fixture->size, BLOCK_BYTES);
    assert_int_equal(journal_durable(journal), 0);
    check(fixture);
    write_done(fixture);
    assert_false(journal_busy(journal));
    assert_int_equal(journal_durable(journal), 5);
    check(fixture);

    append(fixture, records_of(2), 1001);
    assert_int_equal(fixture->offset, 2 * BLOCK_BYTES);
    assert_int_equal(fixture->size, 2 * BLOCK_BYTES);
    assert_int_equal(journal_durable(journal), 5);
    write_done(fixture);
    check(fixture);
    assert_int_equal(fixture->writes, 2);
}

/* The header of the first batch, byte by byte. */
static void
the_bytes_of_a_batch(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, 2, 0x1122334455u);
    write_done(fixture);
    const uint8_t *data = fixture->files[0] + BLOCK_BYTES;
    static const uint8_t expected[] = {
        'H',  'F',  'B',  'A',  'T',
        'C',  'H',  '\n', /* magic; then the crc */
        0,    0,    0,    0,    0xee,
        0xff, 0xc0, 0, /* chain: the file header's */
        7,    0,    0,    0,    0,
        0,    0,    0, /* epoch */
        3,    0,    4,    0,    BATCH_EVENTS,
        0,    0,    0, /* shard, shards, flags */
        0,    0,    0,    0,    0,
        0,    0,    0, /* number */
        1,    0,    0,    0,    0,
        0,    0,    0, /* first */
        2,    0,    0,    0,    0,
        0,    0,    0, /* last */
        0,    0,    0,    0,    0,
        0,    0,    0, /* durable */
        0x55, 0x44, 0x33, 0x22, 0x11,
        0,    0,    0, /* time */
        0,    0x10, 0,    0,    16,
        0,    0,    0, /* size, of records */
        2,    0,    0,    0,    0,
        0,    0,    0, /* records */
        0,    0,    0,    0,    0,
        0,    0,    0,    1,    0,
        0,    0,    0,    0,    0,
        0, /* the records */
        2,    0,    0,    0,    0,
        0,    0,    0,
    };
    assert_memory_equal(data, expected, 8);
    assert_memory_equal(data + 12, expected + 12, sizeof expected - 12);
    for (size_t i = sizeof expected; i < BLOCK_BYTES; i++)
        assert_int_equal(data[i], 0);
    uint32_t crc;
    memcpy(&crc, data + 8, 4);
    assert_int_equal(crc, crc32c(0, data + 12, BLOCK_BYTES - 12));
}

/* IDLE -> CLOSING -> WRITING -> IDLE: the next segment is there in time. */
static void
a_full_segment_is_closed(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    assert_int_equal(journal_segment_wanted(journal), 1);
    journal_segment_give(journal, 1, FILE_0 + 1);
    assert_int_equal(journal_segment_wanted(journal), UINT32_MAX);
    assert_int_equal(journal_closed_file(journal), -1);

    append(fixture, records_of(13), 1000); /* leaves the closing block and one more */
    write_done(fixture);
    append(fixture, records_of(2), 1001);
    assert_true(journal_busy(journal));
    assert_int_equal(fixture->file, FILE_0);
    assert_int_equal(fixture->offset, 14 * BLOCK_BYTES);
    assert_int_equal(fixture->size, BLOCK_BYTES);
    write_done(fixture);
    assert_true(journal_busy(journal));
    assert_true(fixture->under_way);
    assert_int_equal(fixture->file, FILE_0 + 1);
    assert_int_equal(fixture->offset, BLOCK_BYTES);
    assert_int_equal(fixture->size, 2 * BLOCK_BYTES);
    assert_int_equal(journal_durable(journal), records_of(13));
    check(fixture); /* the position is in the next segment already */
    assert_int_equal(journal_segment_wanted(journal), 2);
    assert_int_equal(journal_closed_file(journal), FILE_0);
    assert_int_equal(journal_closed_file(journal), -1);
    write_done(fixture);
    assert_false(journal_busy(journal));
    check(fixture);
    assert_int_equal(journal_batches(journal), 3);
}

/* IDLE -> WAITING -> CLOSING: the next segment comes late. */
static void
a_batch_waits_for_its_segment(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    append(fixture, records_of(14), 1000); /* all but the closing block */
    write_done(fixture);
    append(fixture, 1, 1001);
    assert_true(journal_busy(journal));
    assert_false(fixture->under_way);
    assert_int_equal(journal_room(journal), 0);
    assert_int_equal(journal_seal_ms(journal), UINT64_MAX);
    journal_seal(journal, 1000000); /* nothing to seal: the batch behind will do */
    assert_false(fixture->under_way);
    check(fixture);

    assert_int_equal(journal_segment_wanted(journal), 1);
    journal_segment_give(journal, 1, FILE_0 + 1);
    assert_true(fixture->under_way);
    assert_int_equal(fixture->file, FILE_0);
    assert_int_equal(fixture->offset, 15 * BLOCK_BYTES);
    write_done(fixture);
    assert_int_equal(fixture->file, FILE_0 + 1);
    write_done(fixture);
    assert_false(journal_busy(journal));
    assert_int_equal(journal_durable(journal), fixture->sequence);
    check(fixture);
}

/* Many segments, batches of all sizes; one chain, no gap. */
static void
the_chain_goes_over_segments(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    uint32_t seed = 1;
    int expected_closed = FILE_0;
    while (journal_position(journal).segment < SEGMENTS - 2) {
        uint32_t wanted = journal_segment_wanted(journal);
        if (wanted != UINT32_MAX && seed % 3 != 0)
            journal_segment_give(journal, wanted, FILE_0 + (int)wanted);
        if (!journal_busy(journal))
            append(fixture, 1 + seed % (BATCH_MAX / 8), 1000 + seed % 50);
        else if (fixture->under_way)
            write_done(fixture);
        int closed = journal_closed_file(journal);
        if (closed >= 0)
            assert_int_equal(closed, expected_closed++);
        seed = seed * 1103515245 + 12345;
        seed = seed >> 7 | seed << 25;
    }
    if (fixture->under_way)
        write_done(fixture);
    check(fixture);
    assert_true(journal_batches(journal) > SEGMENTS);
}

/* A host that is told at once, from inside its own call. */
static void
a_write_may_end_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    fixture->at_once = true;
    while (journal_position(journal).segment < 3) {
        uint32_t wanted = journal_segment_wanted(journal);
        if (wanted != UINT32_MAX)
            journal_segment_give(journal, wanted, FILE_0 + (int)wanted);
        append(fixture, records_of(3), 1000);
        assert_false(journal_busy(journal));
        assert_int_equal(journal_durable(journal), fixture->sequence);
        (void)journal_closed_file(journal); /* a number */
    }
    check(fixture);
}

static void
an_idle_shard_covers_its_last_batch(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    assert_int_equal(journal_seal_ms(journal), UINT64_MAX); /* nothing was written */
    journal_seal(journal, 1000000);
    assert_int_equal(fixture->writes, 0);

    append(fixture, 3, 5000);
    assert_int_equal(journal_seal_ms(journal), UINT64_MAX);
    write_done(fixture);
    assert_int_equal(journal_seal_ms(journal), 5000 + SEAL_MS);
    journal_seal(journal, 5000 + SEAL_MS - 1);
    assert_int_equal(fixture->writes, 1);
    journal_seal(journal, 5000 + SEAL_MS);
    assert_int_equal(fixture->writes, 2);
    assert_true(journal_busy(journal));
    assert_int_equal(read_all(fixture).covered, 0);
    write_done(fixture);
    assert_int_equal(read_all(fixture).covered, 3);
    check(fixture);

    assert_int_equal(journal_seal_ms(journal), UINT64_MAX); /* an empty one needs no cover */
    journal_seal(journal, 1000000);
    assert_int_equal(fixture->writes, 2);

    append(fixture, 1, 9000); /* covers what is before it, not itself */
    write_done(fixture);
    assert_int_equal(journal_seal_ms(journal), 9000 + SEAL_MS);
    check(fixture);
}

/* No block is left for a sealing batch: the closing one covers as well, once there is a next segment. */
static void
a_full_segment_is_sealed_by_closing_it(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    append(fixture, records_of(14), 5000);
    write_done(fixture);
    assert_int_equal(journal_seal_ms(journal), UINT64_MAX);
    journal_seal(journal, 5000 + SEAL_MS);
    assert_false(fixture->under_way);

    journal_segment_give(journal, 1, FILE_0 + 1);
    assert_false(fixture->under_way);
    assert_int_equal(journal_seal_ms(journal), 5000 + SEAL_MS);
    journal_seal(journal, 5000 + SEAL_MS);
    assert_true(fixture->under_way);
    assert_int_equal(fixture->offset, 15 * BLOCK_BYTES);
    write_done(fixture);
    assert_false(journal_busy(journal));
    check(fixture);
    assert_int_equal(read_all(fixture).covered, fixture->sequence);
    assert_int_equal(journal_position(journal).segment, 1);
    assert_int_equal(journal_seal_ms(journal), UINT64_MAX);
    append(fixture, 1, 9000);
    assert_int_equal(fixture->file, FILE_0 + 1);
    write_done(fixture);
    check(fixture);
}

static void
room(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    assert_int_equal(journal_room(journal), 14 * BLOCK_BYTES);
    append(fixture, records_of(4), 1000);
    assert_int_equal(journal_room(journal), 10 * BLOCK_BYTES); /* while it is on its way, too */
    write_done(fixture);
    assert_int_equal(journal_room(journal), 10 * BLOCK_BYTES);
    journal_segment_give(journal, 1, FILE_0 + 1);
    assert_int_equal(journal_room(journal), 24 * BLOCK_BYTES);
    append(fixture, records_of(11), 1000);
    assert_int_equal(journal_room(journal), 3 * BLOCK_BYTES);
    write_done(fixture);
    assert_int_equal(journal_room(journal), 3 * BLOCK_BYTES);
    write_done(fixture);
    assert_int_equal(journal_room(journal), 3 * BLOCK_BYTES);
    append(fixture, records_of(3), 1000);
    write_done(fixture);
    assert_int_equal(journal_room(journal), 0);
}

/* Errors and short writes, of each kind of batch: the writer is dead, and what was durable stays so. */
/* Until it is said to be nearly full, a batch that begins and the one that gathers meanwhile find room. */
static void
nearly_full(void **state)
{
    struct fixture *fixture = *state;
    journal_close(fixture->journal);
    open_journal(fixture, 3 * BLOCK_BYTES - sizeof(struct batch_header));
    while (!journal_nearly_full(fixture->journal)) {
        uint64_t room = journal_room(fixture->journal);
        assert_true(room >= 2 * 3 * BLOCK_BYTES + BLOCK_BYTES); /* and a seal between them */
        append(fixture, records_of(1), 1000);
        write_done(fixture);
    }
    append(fixture, records_of(3), 1000);
    write_done(fixture);
    append(fixture, records_of(3), 1000);
    assert_true(fixture->under_way);
    write_done(fixture);
    check(fixture);
}

static void
fail_write(struct fixture *fixture, int32_t result, int expected)
{
    struct journal *journal = fixture->journal;
    struct journal_position before = journal_position(journal);
    uint32_t writes = fixture->writes;
    end_write(fixture, result, expected);
    assert_true(journal_busy(journal));
    assert_int_equal(fixture->writes, writes);
    struct journal_position after = journal_position(journal);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(journal_segment_wanted(journal), UINT32_MAX);
    assert_int_equal(journal_room(journal), 0);
    assert_int_equal(journal_seal_ms(journal), UINT64_MAX);
    journal_seal(journal, UINT64_MAX);
    assert_int_equal(fixture->writes, writes);
    check(fixture);
}

static void
a_failed_write_is_the_end(void **state)
{
    static const struct {
        int32_t result;
        int expected;
    } cases[] = {
        {-EIO, -EIO},        {-ENOSPC, -ENOSPC},          {0, -EIO},
        {BLOCK_BYTES, -EIO}, {2 * BLOCK_BYTES - 1, -EIO}, {2 * BLOCK_BYTES + 1, -EIO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture *fixture = *state;
        append(fixture, 1, 1000);
        write_done(fixture);
        append(fixture, records_of(2), 1000);
        fail_write(fixture, cases[i].result, cases[i].expected);
        assert_int_equal(journal_durable(fixture->journal), 1);
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
    }
}

static void
a_failed_seal_is_the_end(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, 1, 1000);
    write_done(fixture);
    journal_seal(fixture->journal, 1000 + SEAL_MS);
    fail_write(fixture, -EIO, -EIO);
}

static void
a_failed_closing_is_the_end(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, records_of(14), 1000);
    write_done(fixture);
    append(fixture, 1, 1000);
    journal_segment_give(fixture->journal, 1, FILE_0 + 1);
    fail_write(fixture, -EIO, -EIO);
    assert_int_equal(journal_position(fixture->journal).segment, 0);
    /* a segment that was on its way to it all the same */
    journal_segment_give(fixture->journal, 1, FILE_0 + 2);
    assert_int_equal(journal_closed_file(fixture->journal), FILE_0 + 2);
}

static void
at_the_end_all_files_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct journal *journal = fixture->journal;
    journal_segment_give(journal, 1, FILE_0 + 1);
    append(fixture, records_of(14), 1000);
    write_done(fixture);
    append(fixture, 1, 1000);
    write_done(fixture);
    write_done(fixture);
    journal_segment_give(journal, 2, FILE_0 + 2);
    journal_stop(journal);
    bool seen[3] = {false};
    for (int i = 0; i < 3; i++) {
        int file = journal_closed_file(journal);
        assert_in_range(file, FILE_0, FILE_0 + 2);
        assert_false(seen[file - FILE_0]);
        seen[file - FILE_0] = true;
    }
    assert_int_equal(journal_closed_file(journal), -1);
    assert_true(journal_busy(journal));
    check(fixture);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_batch_is_durable_when_its_write_ends),
        TEST(the_bytes_of_a_batch),
        TEST(a_full_segment_is_closed),
        TEST(a_batch_waits_for_its_segment),
        TEST(the_chain_goes_over_segments),
        TEST(a_write_may_end_at_once),
        TEST(an_idle_shard_covers_its_last_batch),
        TEST(a_full_segment_is_sealed_by_closing_it),
        TEST(room),
        TEST(nearly_full),
        TEST(a_failed_write_is_the_end),
        TEST(a_failed_seal_is_the_end),
        TEST(a_failed_closing_is_the_end),
        TEST(at_the_end_all_files_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
