/*
 * journal_format.c - the bytes of journals, snapshots and start files: sealed, and checked.
 *
 *     file    magic | crc | ............ header, positions, zeros ............ |  checked_size
 *                          '--------------------- crc over ------------------'
 *     batch   magic | crc | ... header ... | records | zeros to a whole block |  size
 *                          '--------------------- crc over ------------------'
 *
 * What is checked comes from a disk and may be anything: no size is used before it was compared with what
 * is at hand. See also: docs/journal-format.md.
 */
#include "persist/journal_format.h"

#include "core/plant.h"

#include <inttypes.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* What fits FILE_NAME_SIZE. */
#define NUMBER_MAX 999999999999999u /* epochs, generations: 15 digits */
#define SHARD_MAX  999u

static const char batch_magic[] = "HFBATCH\n";

static const struct {
    const char *magic;
    const char *suffix;
} kinds[] = {
    [FILE_JOURNAL] = {"HFJOURNL", ".journal"},
    [FILE_START] = {"HFSTART\n", ".start"},
    [FILE_PART] = {"HFPART\n\n", ".part"},
    [FILE_SNAPSHOT] = {"HFSNAPS\n", ".snapshot"},
};
#define KIND_COUNT (sizeof kinds / sizeof kinds[0])

static_assert(offsetof(struct file_header, crc) == 8, "the crc covers what is behind it");
static_assert(offsetof(struct batch_header, crc) == 8, "the crc covers what is behind it");
#define UNCHECKED 12u /* magic and crc */

uint32_t
crc32c(uint32_t crc, const void *data, size_t size)
{
    /* ISA-L takes an int, and leaves the inversions before and after to the caller; it does not write. */
    const uint8_t *bytes = data;
    crc = ~crc;
    while (size > 0) {
        int part = size < INT_MAX ? (int)size : INT_MAX;
        crc = crc32_iscsi((unsigned char *)bytes, part, crc);
        bytes += part;
        size -= (size_t)part;
    }
    return ~crc;
}

/* ---- names ---- */

void
file_name(char ret_name[FILE_NAME_SIZE], enum file_kind kind, uint64_t epoch_or_generation, uint32_t shard,
          uint32_t segment)
{
    assert(epoch_or_generation <= NUMBER_MAX);
    assert(shard <= SHARD_MAX);
    int size = -1;
    switch (kind) {
    case FILE_JOURNAL:
        size = snprintf(ret_name, FILE_NAME_SIZE, "%08" PRIu64 "-%03" PRIu32 "-%08" PRIu32 "%s",
                        epoch_or_generation, shard, segment, kinds[kind].suffix);
        break;
    case FILE_PART:
        size = snprintf(ret_name, FILE_NAME_SIZE, "%08" PRIu64 "-%03" PRIu32 "%s", epoch_or_generation,
                        shard, kinds[kind].suffix);
        break;
    case FILE_START:
    case FILE_SNAPSHOT:
        size =
            snprintf(ret_name, FILE_NAME_SIZE, "%08" PRIu64 "%s", epoch_or_generation, kinds[kind].suffix);
        break;
    }
    assert(size > 0);
    assert((uint32_t)size < FILE_NAME_SIZE);
}

/* A number as file_name() writes it: at least `width` digits, no zero in front beyond that. NULL: it is
 * not. Returns what follows it. */
static const char *
parse_number(const char *text, size_t width, uint64_t max, uint64_t *ret_number)
{
    size_t digits = 0;
    uint64_t number = 0;
    while (text[digits] >= '0' && text[digits] <= '9') {
        number = number * 10 + (uint64_t)(text[digits] - '0');
        if (number > max)
            return NULL;
        digits++;
    }
    if (digits < width || (digits > width && text[0] == '0'))
        return NULL;
    *ret_number = number;
    return text + digits;
}

bool
file_name_parse(const char *name, struct file_id *ret_id)
{
    uint64_t number = 0, shard = 0, segment = 0;
    uint32_t numbers = 1;
    const char *rest = parse_number(name, 8, NUMBER_MAX, &number);
    if (rest != NULL && *rest == '-') {
        numbers++;
        rest = parse_number(rest + 1, 3, SHARD_MAX, &shard);
    }
    if (rest != NULL && numbers == 2 && *rest == '-') {
        numbers++;
        rest = parse_number(rest + 1, 8, UINT32_MAX, &segment);
    }
    if (rest == NULL)
        return false;
    for (uint32_t kind = FILE_JOURNAL; kind < KIND_COUNT; kind++) {
        uint32_t expected = kind == FILE_JOURNAL ? 3 : kind == FILE_PART ? 2 : 1;
        if (numbers != expected || strcmp(rest, kinds[kind].suffix) != 0)
            continue;
        *ret_id = (struct file_id){
            .kind = (enum file_kind)kind,
            .epoch = number,
            .shard = (uint32_t)shard,
            .segment = (uint32_t)segment,
        };
        return true;
    }
    return false;
}

/* ---- files ---- */

/* Bytes of a header and its positions, in whole blocks. */
static uint64_t
header_size(uint32_t position_count)
{
    uint64_t size = sizeof(struct file_header) + (uint64_t)position_count * sizeof(struct journal_position);
    return (size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

uint32_t
file_seal(uint8_t *file, size_t capacity, enum file_kind kind)
{
    assert(kind >= FILE_JOURNAL && kind < KIND_COUNT);
    struct file_header header;
    memcpy(&header, file, sizeof header);
    uint64_t size = header_size(header.position_count);
    assert(size <= capacity);
    assert(size <= UINT32_MAX);

    memcpy(header.magic, kinds[kind].magic, sizeof header.magic);
    header.version = FORMAT_VERSION;
    header.checked_size = (uint32_t)size;
    memcpy(file, &header, sizeof header);
    header.crc = crc32c(0, file + UNCHECKED, size - UNCHECKED);
    memcpy(file + offsetof(struct file_header, crc), &header.crc, sizeof header.crc);
    return header.checked_size;
}

const char *
file_check(const uint8_t *file, size_t size, enum file_kind kind)
{
    assert(kind >= FILE_JOURNAL && kind < KIND_COUNT);
    if (size < BLOCK_BYTES)
        return "the file is shorter than its header";
    struct file_header header;
    memcpy(&header, file, sizeof header);
    if (memcmp(header.magic, kinds[kind].magic, sizeof header.magic) != 0)
        return "the header does not begin with the mark of such a file";
    if (header.checked_size < BLOCK_BYTES || header.checked_size % BLOCK_BYTES != 0)
        return "the header's size cannot be";
    if (header.checked_size > size)
        return "the file is shorter than its header says";
    if (header.crc != crc32c(0, file + UNCHECKED, header.checked_size - UNCHECKED))
        return "the header's checksum does not fit";
    if (header.version != FORMAT_VERSION)
        return "the file was written by another version";
    if (header.checked_size != header_size(header.position_count))
        return "the header's count of positions cannot be";
    return NULL;
}

/* ---- batches ---- */

uint32_t
batch_size(uint32_t records_size)
{
    uint64_t size = sizeof(struct batch_header) + (uint64_t)records_size;
    size = (size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    assert(size <= UINT32_MAX);
    return (uint32_t)size;
}

void
batch_seal(uint8_t *batch)
{
    assert((uintptr_t)batch % _Alignof(struct batch_header) == 0);
    struct batch_header *header = (struct batch_header *)batch;
    memcpy(header->magic, batch_magic, sizeof header->magic);
    header->size = batch_size(header->records_size);
    memset(header->zero, 0, sizeof header->zero);
    size_t used = sizeof *header + header->records_size;
    memset(batch + used, 0, header->size - used);
    header->crc = crc32c(0, batch + UNCHECKED, header->size - UNCHECKED);
}

/* The last value of records_size for which batch_size() has an answer. */
#define RECORDS_SIZE_MAX (UINT32_MAX / BLOCK_BYTES * BLOCK_BYTES - (uint32_t)sizeof(struct batch_header))

enum batch_check
batch_check(const uint8_t *data, size_t size)
{
    struct batch_header header;
    if (size < sizeof header)
        return BATCH_NONE;
    memcpy(&header, data, sizeof header);
    if (memcmp(header.magic, batch_magic, sizeof header.magic) != 0)
        return BATCH_NONE;
    if (header.records_size > RECORDS_SIZE_MAX || header.size != batch_size(header.records_size))
        return BATCH_NONE;
    if (header.size > size)
        return BATCH_SHORT;
    if (!PLANTED(PLANT_TORN_TAKEN) && header.crc != crc32c(0, data + UNCHECKED, header.size - UNCHECKED))
        return BATCH_TORN;
    return BATCH_WHOLE;
}
