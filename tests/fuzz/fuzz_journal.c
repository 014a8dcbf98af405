/*
 * fuzz_journal.c - any bytes as a segment or as a part of a snapshot: the reader ends, and what it gives
 * out is whole; recovery refuses or takes it.
 *
 *     mode                      1 byte
 *     size, bytes               uint16, and so many: one block or more of the file, filled up with zeros
 *     size, bytes               ...
 *
 * So a batch is as short here as its header and its records, and an input stays small. Checksums would keep
 * nearly every mutation out, therefore the mode says what is put right before the reader sees the file: the
 * file's header; batches' magic, sizes, checksums and chain; their numbers, epoch and shard.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/record.h"
#include "persist/journal_reader.h"
#include "persist/recovery.h"
#include "tests/persist/memory_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum mode {
    MODE_PART = 1 << 0,
    MODE_FIX_HEADER = 1 << 1,
    MODE_FIX_BATCHES = 1 << 2,
    MODE_FIX_NUMBERS = 1 << 3,
};

#define FILE_BYTES SEGMENT_BYTES_MIN
#define SEED       0x5eedull

static uint32_t
lay_out(const uint8_t *data, size_t size, uint8_t *ret_file)
{
    uint32_t at = 0;
    while (size >= 2 && at < FILE_BYTES) {
        uint32_t chunk = data[0] | (uint32_t)data[1] << 8;
        data += 2;
        size -= 2;
        if (chunk > size)
            chunk = (uint32_t)size;
        if (chunk > FILE_BYTES - at)
            chunk = FILE_BYTES - at;
        memcpy(ret_file + at, data, chunk);
        data += chunk;
        size -= chunk;
        at += (chunk + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    }
    return at;
}

static void
fix_header(uint8_t *file, bool part)
{
    struct file_header *header = (struct file_header *)file;
    memset(file, 0, BLOCK_BYTES);
    header->route_seed = SEED;
    header->epoch = 1;
    header->generation = part ? 1 : 0;
    header->file_size = part ? 0 : FILE_BYTES;
    header->shard_count = 1;
    (void)file_seal(file, BLOCK_BYTES, part ? FILE_PART : FILE_JOURNAL);
}

static void
fix_batches(uint8_t *file, uint32_t size, uint8_t mode)
{
    uint32_t chain = ((const struct file_header *)file)->crc;
    uint64_t number = 0, sequence = 0;
    for (uint32_t at = BLOCK_BYTES; at + BLOCK_BYTES <= size;) {
        struct batch_header *batch = (struct batch_header *)(file + at);
        uint32_t records_size = batch->records_size;
        if (records_size > BLOCK_BYTES * 2 || at + batch_size(records_size) > size)
            records_size = BLOCK_BYTES - (uint32_t)sizeof *batch;
        batch->records_size = records_size;
        batch->chain = chain;
        if ((mode & MODE_FIX_NUMBERS) != 0) {
            uint64_t count = batch->sequence_last - batch->sequence_first;
            batch->epoch = 1;
            batch->shard = 0;
            batch->shard_count = 1;
            batch->number = number++;
            if ((mode & MODE_PART) == 0) {
                batch->sequence_first = sequence + 1;
                batch->sequence_last = batch->record_count == 0 ? sequence : sequence + 1 + count % 64;
                sequence = batch->sequence_last;
            }
        }
        batch_seal(file + at);
        chain = batch->crc;
        at += batch->size;
    }
}

/* The reader to its end: what it gives is whole and in order. */
static void
read_all(const struct disk *disk, bool part, uint32_t file_size)
{
    struct journal_position position = {.epoch = 1};
    struct journal_reader *reader;
    const struct batch_header *batch;
    enum journal_read read;
    uint64_t number = 0, offset = BLOCK_BYTES;
    int result = part ? journal_reader_open_part(&reader, disk, SEED, 1, 0)
                      : journal_reader_open(&reader, disk, SEED, &position);
    if (result != 0)
        abort();
    while ((read = journal_reader_next(reader, &batch)) == READ_BATCH) {
        assert(batch_check((const uint8_t *)batch, batch->size) == BATCH_WHOLE);
        assert(batch->number == number);
        number++;
        offset += batch->size;
        assert(offset <= file_size);
        const uint8_t *record = batch_records(batch);
        struct record decoded;
        for (uint32_t left = batch->records_size; left > 0 && record_decode(record, left, &decoded);) {
            record += decoded.header->size;
            left -= decoded.header->size;
        }
    }
    const struct journal_fault *fault = journal_reader_fault(reader);
    if (read == READ_CUT) {
        assert(!part);
        assert(fault->bytes > 0);
        assert(fault->offset + fault->bytes <= file_size);
    }
    if (read != READ_END) {
        assert(fault->file[0] != '\0');
        assert(fault->text[0] != '\0');
    }
    /* asked again it says the same */
    assert(journal_reader_next(reader, &batch) == read);
    journal_reader_close(reader);
}

static void
put_file(struct memory_disk *disk, const char *name, const uint8_t *bytes, uint32_t size)
{
    struct disk interface = memory_disk_interface(disk);
    int file;
    int result = interface.create(disk, name, DISK_PLAIN, 0, &file);
    if (result == 0)
        result = interface.write(disk, file, bytes, size, 0);
    if (result == 0)
        result = interface.close(disk, file);
    if (result != 0)
        abort();
}

/* Recovery of a directory that has this file: refused, or checked to its end. */
static void
recover(const struct disk *disk, struct memory_disk *memory, bool part)
{
    static _Alignas(8) uint8_t block[BLOCK_BYTES];
    char name[FILE_NAME_SIZE];
    struct recovery *recovery;
    struct journal_fault fault = {.error = 0};
    struct file_header *header = (struct file_header *)block;
    memset(block, 0, sizeof block);
    *header = (struct file_header){.route_seed = SEED, .epoch = 1, .shard_count = 1};
    (void)file_seal(block, sizeof block, FILE_START);
    file_name(name, FILE_START, 1, 0, 0);
    put_file(memory, name, block, sizeof block);
    if (part) {
        memset(block, 0, sizeof block);
        *header = (struct file_header){
            .route_seed = SEED, .epoch = 1, .generation = 1, .shard_count = 1, .position_count = 1};
        struct journal_position *position = (struct journal_position *)(header + 1);
        *position = (struct journal_position){.epoch = 1, .offset = BLOCK_BYTES};
        (void)file_seal(block, sizeof block, FILE_SNAPSHOT);
        file_name(name, FILE_SNAPSHOT, 1, 0, 0);
        put_file(memory, name, block, sizeof block);
    }
    if (recovery_open(&recovery, disk, SEED, 1, &fault) == 0) {
        recovery_close(recovery);
        return;
    }
    assert(fault.file[0] != '\0');
    assert(fault.text[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(BLOCK_BYTES) uint8_t file[FILE_BYTES];
    static struct memory_disk memory;
    char name[FILE_NAME_SIZE];
    if (size < 1)
        return 0;
    uint8_t mode = data[0];
    bool part = (mode & MODE_PART) != 0;
    memset(file, 0, sizeof file);
    uint32_t used = lay_out(data + 1, size - 1, file);
    if ((mode & MODE_FIX_HEADER) != 0)
        fix_header(file, part);
    if ((mode & MODE_FIX_BATCHES) != 0)
        fix_batches(file, used, mode);
    uint32_t file_size = part ? used : FILE_BYTES;

    memory_disk_open(&memory);
    struct disk disk = memory_disk_interface(&memory);
    file_name(name, part ? FILE_PART : FILE_JOURNAL, 1, 0, 0);
    put_file(&memory, name, file, file_size);
    read_all(&disk, part, file_size);
    recover(&disk, &memory, part);
    memory_disk_close(&memory);
    return 0;
}
