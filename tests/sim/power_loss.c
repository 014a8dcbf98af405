/*
 * power_loss.c - every way in which a batch on its way can end, one after another.
 *
 *     power_loss          ends with a line such as "44 passed, 0 failed": writes
 *
 * A small history of one shard: batches of one block and of more, closed segments, seals. While each write
 * is on its way the disk is looked at with every subset of its 512-byte sectors, or, where it has more than
 * eight, every subset in which at most so many are there, or missing. Recovery has to find every record
 * that was durable before; those of the batch where all of it is there; and otherwise a cut with its place,
 * or nothing to cut.
 */
#include "persist/journal_writer.h"
#include "persist/recovery.h"
#include "persist/segment.h"
#include "tests/sim/disk.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_BYTES     SEGMENT_BYTES_MIN
#define ROUTE_SEED        0x9e3779b97f4a7c15u
#define ALL_SUBSETS_UP_TO 8 /* sectors */
#define FEW               6 /* sectors there, or missing, of a larger batch */
#define BATCHES           40
#define RECORDS_MAX       20000

struct history {
    struct sim_disk *disk;
    struct disk files;
    struct random random;
    struct journal *journal;
    int file; /* the write that is on its way */
    uint32_t size;
    bool writing;
    uint32_t segment;
    bool closes;      /* the write on its way */
    uint64_t records; /* durable */
    uint64_t on_way;  /* with those of the write on its way */
    uint64_t appended;
    uint32_t writes;
    uint64_t subsets;
    uint32_t failed;
};

static void
say(struct history *history, uint64_t sectors, const char *what, const struct journal_fault *fault)
{
    printf("write %u, sectors %llx: %s: %s at %llu: %s\n", history->writes, (unsigned long long)sectors,
           what, fault->file, (unsigned long long)fault->offset, fault->text);
    history->failed++;
}

/* What a start would make of the disk as it is. whole: all of the batch is there; torn: some of it. */
static void
look(struct history *history, uint64_t sectors, bool whole, bool torn, const char *name, uint64_t offset)
{
    struct recovery *recovery = NULL;
    struct journal_fault fault = {.error = 0};
    history->subsets++;
    if (recovery_open(&recovery, &history->files, ROUTE_SEED, 1, &fault) != 0) {
        say(history, sectors, "refused", &fault);
        return;
    }
    const struct recovery_report *report = recovery_report(recovery);
    if (report->records != (whole ? history->on_way : history->records)) {
        say(history, sectors, "other records than there should be", &fault);
    } else if (whole && report->cut_count != 0) {
        say(history, sectors, "cut, though it is whole", &report->cuts[0]);
    } else if (!whole && report->cut_count != torn) {
        say(history, sectors, "cut, or not cut, where it should be the other way", &report->cuts[0]);
    } else if (report->cut_count == 1 &&
               (strcmp(report->cuts[0].file, name) != 0 || report->cuts[0].offset != offset)) {
        say(history, sectors, "cut elsewhere", &report->cuts[0]);
    }
    recovery_close(recovery);
}

static uint32_t
bits(uint64_t word)
{
    return (uint32_t)__builtin_popcountll(word);
}

/* The segment is as it was before this write; then it is everything that it can be after it. */
static void
try_all(struct history *history, const char *name, const uint8_t *data, uint32_t size, uint64_t offset)
{
    static uint8_t before[64 * DISK_SECTOR];
    static uint8_t now[64 * DISK_SECTOR];
    uint32_t sectors = size / DISK_SECTOR;
    uint64_t file_size = 0;
    assert(sectors < 32);
    memcpy(before, sim_disk_bytes(history->disk, name, &file_size) + offset, size);
    for (uint64_t set = 0; set < UINT64_C(1) << sectors; set++) {
        if (sectors > ALL_SUBSETS_UP_TO && bits(set) > FEW && bits(set) < sectors - FEW) {
            continue;
        }
        memcpy(now, before, size);
        for (uint32_t i = 0; i < sectors; i++) {
            if ((set >> i & 1) != 0) {
                memcpy(now + i * DISK_SECTOR, data + i * DISK_SECTOR, DISK_SECTOR);
            }
        }
        sim_disk_rot(history->disk, name, offset, now, size);
        bool whole = memcmp(now, data, size) == 0;
        look(history, set, whole, !whole && memcmp(now, before, size) != 0, name, offset);
    }
    sim_disk_rot(history->disk, name, offset, before, size);
}

static void
host_write(void *context, int file, const void *data, uint32_t size, uint64_t offset)
{
    struct history *history = context;
    struct batch_header header;
    char name[FILE_NAME_SIZE];
    memcpy(&header, data, sizeof header);
    file_name(name, FILE_JOURNAL, 1, 0, history->segment);
    sim_disk_begin(history->disk, file, data, size, offset);
    history->file = file;
    history->size = size;
    history->writing = true;
    history->on_way = header.sequence_last;
    history->closes = (header.flags & BATCH_CLOSES) != 0;
    try_all(history, name, data, size, offset);
    history->writes++;
}

/* The write ends, and what the writer does then. */
static void
end_write(struct history *history)
{
    while (history->writing) {
        sim_disk_end(history->disk, history->file);
        history->writing = false;
        history->segment += history->closes;
        int failed = journal_written(history->journal, (int32_t)history->size);
        assert(failed == 0);
        history->records = journal_durable(history->journal);
    }
}

static void
give_segment(struct history *history)
{
    uint32_t segment = journal_segment_wanted(history->journal);
    if (segment == UINT32_MAX) {
        return;
    }
    const struct file_header wanted = {
        .route_seed = ROUTE_SEED,
        .epoch = 1,
        .file_size = SEGMENT_BYTES,
        .shard = 0,
        .shard_count = 1,
        .segment = segment,
    };
    int file = -1;
    uint32_t crc = 0;
    int failed = segment_make(&history->files, &wanted, &file, &crc);
    assert(failed == 0);
    journal_segment_give(history->journal, segment, file);
}

static void
append(struct history *history, uint32_t size, uint64_t now_ms)
{
    static _Alignas(8) uint8_t records[RECORDS_MAX];
    for (uint32_t i = 0; i < size; i++) {
        records[i] = (uint8_t)random_next(&history->random);
    }
    history->appended++;
    journal_append(history->journal, records, size, 1, history->appended, history->appended, false, now_ms);
}

static void
begin(struct history *history)
{
    struct recovery *recovery = NULL;
    struct journal_fault fault;
    int file = -1;
    uint32_t crc = 0;
    sim_disk_empty(history->disk, &history->random);
    int failed = recovery_open(&recovery, &history->files, ROUTE_SEED, 1, &fault);
    assert(failed == 0);
    failed = recovery_begin(recovery, 1, SEGMENT_BYTES, 1, &file, &crc, &fault);
    assert(failed == 0);
    recovery_close(recovery);
    const struct journal_settings settings = {
        .epoch = 1,
        .segment_bytes = SEGMENT_BYTES,
        .shard = 0,
        .shard_count = 1,
        .batch_bytes_max = RECORDS_MAX,
        .seal_ms = 1000,
    };
    const struct journal_host host = {history, host_write};
    failed = journal_open(&history->journal, &settings, &host, file, crc);
    assert(failed == 0);
}

int
main(void)
{
    static struct history history;
    history.disk = sim_disk_open();
    history.files = sim_disk_interface(history.disk);
    random_seed(&history.random, 1);
    begin(&history);
    uint64_t now_ms = 1;
    for (uint32_t i = 0; i < BATCHES; i++) {
        give_segment(&history);
        assert(!journal_busy(history.journal));
        append(&history, i % 20 == 7 ? 4400 : 8 * random_between(&history.random, 4, 490), now_ms);
        end_write(&history);
        now_ms += 600;
        if (journal_seal_ms(history.journal) <= now_ms) {
            journal_seal(history.journal, now_ms);
            end_write(&history);
        }
        now_ms += i % 5 == 4 ? 600 : 0;
    }
    for (int file = 0; file >= 0;) {
        file = journal_closed_file(history.journal);
    }
    journal_close(history.journal);
    printf("%llu subsets of the sectors of %u writes, %u segments\n", (unsigned long long)history.subsets,
           history.writes, history.segment + 1);
    printf("%u passed, %u failed\n", history.writes, history.failed);
    return history.failed > 0 ? 1 : 0;
}
