/*
 * The bytes of journals: checksums, names, sealed files and batches. What a flipped bit or a missing byte
 * does to them.
 */
#include "persist/journal_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 3720, appendix B.4 (there in the byte order of iSCSI), and the check value of the catalogues. */
static void
crc_vectors(void **state)
{
    (void)state;
    uint8_t bytes[48];
    memset(bytes, 0, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794eu);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, bytes, 32), 0x113fdb5cu);
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
        0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    assert_int_equal(crc32c(0, read_command, sizeof read_command), 0xd9963a56u);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(0, "", 0), 0);
}

/* In pieces it is the same as at once, at any alignment. */
static void
crc_in_pieces(void **state)
{
    (void)state;
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 13);
    uint32_t whole = crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        uint32_t crc = crc32c(0, bytes, cut);
        assert_int_equal(crc32c(crc, bytes + cut, sizeof bytes - cut), whole);
    }
}

static void
names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct file_id id;
    } good[] = {
        {"00000007.start", {FILE_START, 7, 0, 0}},
        {"00000007-003-00000012.journal", {FILE_JOURNAL, 7, 3, 12}},
        {"00000042-003.part", {FILE_PART, 42, 3, 0}},
        {"00000042.snapshot", {FILE_SNAPSHOT, 42, 0, 0}},
        {"100000000.snapshot", {FILE_SNAPSHOT, 100000000, 0, 0}},
        {"999999999999999-999-4294967295.journal", {FILE_JOURNAL, 999999999999999u, 999, UINT32_MAX}},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char name[FILE_NAME_SIZE];
        file_name(name, good[i].id.kind, good[i].id.epoch, good[i].id.shard, good[i].id.segment);
        assert_string_equal(name, good[i].name);
        struct file_id id;
        memset(&id, 0xee, sizeof id);
        assert_true(file_name_parse(name, &id));
        assert_int_equal(id.kind, good[i].id.kind);
        assert_int_equal(id.epoch, good[i].id.epoch);
        assert_int_equal(id.shard, good[i].id.shard);
        assert_int_equal(id.segment, good[i].id.segment);
    }
}

static void
names_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ".",
        "..",
        ".start",
        "holdfast",
        "7.start",
        "0000007.start",
        "000000007.start",
        "00000007.start.tmp",
        "00000007.starts",
        "00000007",
        "00000007-",
        "00000007-003",
        "00000007-003-",
        "00000007-003-00000012",
        "00000007-003.journal",
        "00000007.journal",
        "00000007-003-00000012.part",
        "00000042.part",
        "00000042-003.snapshot",
        "00000042-3.part",
        "00000042-0003.part",
        "00000042-1000.part",
        "00000007-003-000000012.journal",
        "00000007-003-4294967296.journal",
        "00000007-003-00000012-1.journal",
        "1000000000000000.start",
        "99999999999999999999999999.start",
        "-0000007.start",
        "+0000007.start",
        " 0000007.start",
        "0000000a.start",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct file_id id;
        assert_false(file_name_parse(bad[i], &id));
    }
}

/* A manifest of 100 positions is two blocks. */
static uint32_t
sealed_file(uint8_t *file, size_t capacity, enum file_kind kind, uint32_t position_count)
{
    memset(file, 0, capacity);
    struct file_header header = {
        .route_seed = 0x123456789abcdef0u,
        .epoch = 7,
        .time_ms = 1700000000000u,
        .generation = 42,
        .shard_count = position_count,
        .position_count = position_count,
    };
    memcpy(file, &header, sizeof header);
    for (uint32_t i = 0; i < position_count; i++) {
        struct journal_position position = {.epoch = 7, .shard = i, .segment = i * 3, .offset = 4096};
        memcpy(file + sizeof header + i * sizeof position, &position, sizeof position);
    }
    return file_seal(file, capacity, kind);
}

static void
files_sealed(void **state)
{
    (void)state;
    static uint8_t file[4 * BLOCK_BYTES];
    for (enum file_kind kind = FILE_JOURNAL; kind <= FILE_SNAPSHOT; kind++) {
        assert_int_equal(sealed_file(file, sizeof file, kind, 3), BLOCK_BYTES);
        for (enum file_kind other = FILE_JOURNAL; other <= FILE_SNAPSHOT; other++) {
            const char *wrong = file_check(file, BLOCK_BYTES, other);
            assert_true((wrong == NULL) == (kind == other));
        }
    }
    /* the last position that fits the first block, and one more */
    uint32_t most = (BLOCK_BYTES - sizeof(struct file_header)) / sizeof(struct journal_position);
    assert_int_equal(sealed_file(file, sizeof file, FILE_START, most), BLOCK_BYTES);
    assert_null(file_check(file, BLOCK_BYTES, FILE_START));
    assert_int_equal(sealed_file(file, sizeof file, FILE_START, most + 1), 2 * BLOCK_BYTES);
    assert_null(file_check(file, sizeof file, FILE_START));
    assert_null(file_check(file, 2 * BLOCK_BYTES, FILE_START));
    for (size_t size = 0; size < 2 * BLOCK_BYTES; size++)
        assert_non_null(file_check(file, size, FILE_START));
}

static void
files_flipped(void **state)
{
    (void)state;
    static uint8_t file[2 * BLOCK_BYTES];
    assert_int_equal(sealed_file(file, sizeof file, FILE_SNAPSHOT, 100), 2 * BLOCK_BYTES);
    for (size_t bit = 0; bit < sizeof file * 8; bit++) {
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_non_null(file_check(file, sizeof file, FILE_SNAPSHOT));
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_null(file_check(file, sizeof file, FILE_SNAPSHOT));
}

/* A header that is whole and yet cannot be. */
static void
files_contradicting(void **state)
{
    (void)state;
    static uint8_t file[4 * BLOCK_BYTES];
    struct file_header header;
    sealed_file(file, sizeof file, FILE_START, 1);
    memcpy(&header, file, sizeof header);
    header.version = FORMAT_VERSION + 1;
    memcpy(file, &header, sizeof header);
    header.crc = crc32c(0, file + 12, BLOCK_BYTES - 12);
    memcpy(file, &header, sizeof header);
    assert_string_equal(file_check(file, sizeof file, FILE_START),
                        "the file was written by another version");

    header.version = FORMAT_VERSION;
    header.position_count = UINT32_MAX;
    memcpy(file, &header, sizeof header);
    header.crc = crc32c(0, file + 12, BLOCK_BYTES - 12);
    memcpy(file, &header, sizeof header);
    assert_non_null(file_check(file, sizeof file, FILE_START));
}

static void
batch_sizes(void **state)
{
    (void)state;
    assert_int_equal(batch_size(0), BLOCK_BYTES);
    assert_int_equal(batch_size(BLOCK_BYTES - 96), BLOCK_BYTES);
    assert_int_equal(batch_size(BLOCK_BYTES - 95), 2 * BLOCK_BYTES);
}

static void
sealed_batch(uint8_t *batch, uint32_t records_size)
{
    memset(batch, 0xdb, batch_size(records_size));
    struct batch_header header = {
        .chain = 5,
        .epoch = 7,
        .shard = 3,
        .shard_count = 4,
        .number = 9,
        .sequence_first = 11,
        .sequence_last = 20,
        .records_size = records_size,
        .record_count = 10,
        .zero = {1, 2, 3},
    };
    memcpy(batch, &header, sizeof header);
    batch_seal(batch);
}

static void
batches_sealed(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t batch[3 * BLOCK_BYTES];
    for (uint32_t size = 0; size <= 2 * BLOCK_BYTES; size += 8) {
        sealed_batch(batch, size);
        struct batch_header header;
        memcpy(&header, batch, sizeof header);
        assert_int_equal(header.size, batch_size(size));
        assert_memory_equal(header.magic, "HFBATCH\n", 8);
        for (size_t i = sizeof header; i < header.size; i++)
            assert_int_equal(batch[i], i < sizeof header + size ? 0xdb : 0);
        assert_int_equal(batch_check(batch, header.size), BATCH_WHOLE);
        assert_int_equal(batch_check(batch, sizeof batch), BATCH_WHOLE);
    }
}

/* However little of it there is. The bytes lie at the end of a block of their own, so that a sanitizer sees
 * a read behind them. */
static void
batches_cut_short(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t batch[2 * BLOCK_BYTES];
    sealed_batch(batch, BLOCK_BYTES);
    for (size_t size = 0; size < sizeof batch; size++) {
        uint8_t *copy = malloc(size > 0 ? size : 1);
        assert_non_null(copy);
        memcpy(copy, batch, size);
        assert_int_equal(batch_check(copy, size),
                         size < sizeof(struct batch_header) ? BATCH_NONE : BATCH_SHORT);
        free(copy);
    }
}

static void
batches_flipped(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t batch[2 * BLOCK_BYTES];
    sealed_batch(batch, BLOCK_BYTES);
    for (size_t bit = 0; bit < sizeof batch * 8; bit++) {
        batch[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(batch_check(batch, sizeof batch), BATCH_WHOLE);
        batch[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(batch_check(batch, sizeof batch), BATCH_WHOLE);
}

/* Any subset of its sectors but all of them, as a power loss leaves it. */
static void
batches_torn(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t batch[2 * BLOCK_BYTES], torn[sizeof batch];
    sealed_batch(batch, BLOCK_BYTES);
    memset(batch + sizeof(struct batch_header), 0x77, BLOCK_BYTES);
    batch_seal(batch);
    enum { SECTOR = 512, SECTORS = sizeof batch / SECTOR };
    for (uint32_t subset = 0; subset < 1u << SECTORS; subset++) {
        memset(torn, 0, sizeof torn);
        for (uint32_t i = 0; i < SECTORS; i++) {
            if (subset >> i & 1)
                memcpy(torn + i * SECTOR, batch + i * SECTOR, SECTOR);
        }
        bool whole = memcmp(torn, batch, sizeof torn) == 0;
        assert_true((batch_check(torn, sizeof torn) == BATCH_WHOLE) == whole);
    }
}

/* Sizes that cannot be, with every other byte in order. */
static void
batches_with_bad_sizes(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {
        {0, 0},
        {1, 0},
        {BLOCK_BYTES - 1, 0},
        {2 * BLOCK_BYTES, 0},
        {BLOCK_BYTES, BLOCK_BYTES},
        {0, UINT32_MAX},
        {UINT32_MAX, UINT32_MAX},
        {UINT32_MAX - BLOCK_BYTES + 1, UINT32_MAX - BLOCK_BYTES},
        {BLOCK_BYTES, UINT32_MAX - 100},
    };
    static _Alignas(8) uint8_t batch[4 * BLOCK_BYTES];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sealed_batch(batch, 8);
        struct batch_header header;
        memcpy(&header, batch, sizeof header);
        header.size = sizes[i][0];
        header.records_size = sizes[i][1];
        memcpy(batch, &header, sizeof header);
        assert_int_equal(batch_check(batch, sizeof batch), BATCH_NONE);
    }
    memset(batch, 0, sizeof batch);
    assert_int_equal(batch_check(batch, sizeof batch), BATCH_NONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_vectors),
        cmocka_unit_test(crc_in_pieces),
        cmocka_unit_test(names),
        cmocka_unit_test(names_that_are_none),
        cmocka_unit_test(files_sealed),
        cmocka_unit_test(files_flipped),
        cmocka_unit_test(files_contradicting),
        cmocka_unit_test(batch_sizes),
        cmocka_unit_test(batches_sealed),
        cmocka_unit_test(batches_cut_short),
        cmocka_unit_test(batches_flipped),
        cmocka_unit_test(batches_torn),
        cmocka_unit_test(batches_with_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
