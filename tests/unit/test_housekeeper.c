/*
 * The housekeeper against a disk of memory: segments, snapshots, what goes and what stays; every call to
 * the disk failing once; what a power loss would leave, looked at after every call.
 */
#include "persist/housekeeper.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "holdfast/limits.h"
#include "memory_disk.h"

enum {
    SHARDS = 2,
    SEGMENT = SEGMENT_BYTES_MIN,
    SLICE = 8192,
    SLICES = 3, /* of a shard's part */
    SNAPSHOT_BYTES = 60000,
    SEGMENT_OF_BYTES = 15000, /* of journal, so that a generation takes some */
    RETRY_MS = 500,
    SEED = 0x5eed,
};

/* A shard as the housekeeper sees one: it writes nothing itself. */
struct mock_shard {
    uint64_t sequence;
    uint64_t durable;
    uint64_t bytes;
    uint32_t segment;
    uint32_t slice; /* the next one; SLICES: none is wanted */
};

struct fixture {
    struct memory_disk disk;
    struct housekeeper_settings settings;
    struct housekeeper *housekeeper;
    struct mock_shard shards[SHARDS];
    uint64_t now_ms;
    uint64_t counted; /* generations told to count */
    uint64_t newest;
    uint64_t news[NEWS_REMOVE_FAILED + 1];
    int result;         /* of the last news */
    uint64_t look_from; /* the disk is looked at from this call on */
    const char *persisted;
    int persisted_result;
};

/* ---- what a power loss would leave ---- */

/* A part that has its name has it for certain, is whole, and ends with its last slice. */
static void
check_part(const struct memory_disk *disk, uint64_t generation, uint32_t shard)
{
    char name[FILE_NAME_SIZE];
    size_t size;
    file_name(name, FILE_PART, generation, shard, 0);
    const uint8_t *file = memory_disk_durable(disk, name, true, &size);
    assert_non_null(file);
    assert_null(file_check(file, size, FILE_PART));
    struct file_header header;
    memcpy(&header, file, sizeof header);
    assert_int_equal(header.generation, generation);
    assert_int_equal(header.shard, shard);
    assert_int_equal(header.route_seed, SEED);
    uint32_t chain = header.crc;
    uint64_t number = 0, offset = BLOCK_BYTES;
    for (bool last = false; !last; number++) {
        assert_int_equal(batch_check(file + offset, size - offset), BATCH_WHOLE);
        struct batch_header batch;
        memcpy(&batch, file + offset, sizeof batch);
        assert_int_equal(batch.chain, chain);
        assert_int_equal(batch.number, number);
        assert_int_equal(batch.epoch, header.epoch);
        assert_int_equal(batch.shard, shard);
        assert_int_equal(batch.records_size, batch.record_count * 8);
        const uint8_t *records = file + offset + sizeof batch;
        assert_int_equal(records[0], (uint8_t)(number + shard)); /* and all others are like it */
        assert_int_equal(memcmp(records, records + 1, batch.records_size - 1),
                         0); /* cmocka compares slowly */
        chain = batch.crc;
        offset += batch.size;
        last = batch.flags & BATCH_LAST;
    }
    assert_int_equal(offset, size);
    assert_int_equal(number, SLICES);
}

static void
check_journals(const struct memory_disk *disk, const struct fixture *fixture, const uint8_t *manifest)
{
    struct file_header header;
    memcpy(&header, manifest, sizeof header);
    if (header.epoch != fixture->settings.epoch)
        return;
    for (uint32_t shard = 0; shard < header.position_count; shard++) {
        struct journal_position position;
        memcpy(&position, manifest + sizeof header + shard * sizeof position, sizeof position);
        assert_int_equal(position.shard, shard);
        for (uint32_t i = position.segment; i <= fixture->shards[shard].segment; i++) {
            char name[FILE_NAME_SIZE];
            size_t size;
            file_name(name, FILE_JOURNAL, header.epoch, shard, i);
            assert_non_null(memory_disk_durable(disk, name, true, &size));
        }
    }
}

/* Whichever names of those that are not synced a power loss keeps: each manifest has its parts and its
 * journals, and of the generations that were told to count the last two are there for certain. */
static void
check_disk(void *context, struct memory_disk *disk)
{
    const struct fixture *fixture = context;
    if (disk->calls < fixture->look_from)
        return;
    uint64_t certain = 0;
    bool newest = false;
    for (uint32_t i = 0; i < disk->name_count; i++) {
        const char *name = disk->names[i].name;
        struct file_id id;
        size_t size;
        if (!file_name_parse(name, &id))
            continue;
        const uint8_t *file = memory_disk_durable(disk, name, false, &size);
        if (file == NULL)
            continue;
        if (id.kind == FILE_JOURNAL) {
            assert_null(file_check(file, size, FILE_JOURNAL));
            struct file_header header;
            memcpy(&header, file, sizeof header);
            assert_int_equal(header.file_size, size);
            assert_int_equal(header.segment, id.segment);
            assert_int_equal(header.shard, id.shard);
            assert_int_equal(header.epoch, id.epoch);
        }
        if (id.kind != FILE_SNAPSHOT)
            continue;
        assert_null(file_check(file, size, FILE_SNAPSHOT));
        struct file_header header;
        memcpy(&header, file, sizeof header);
        assert_int_equal(header.generation, id.epoch);
        for (uint32_t shard = 0; shard < header.shard_count; shard++)
            check_part(disk, id.epoch, shard);
        check_journals(disk, fixture, file);
        if (memory_disk_durable(disk, name, true, &size) != NULL) {
            certain++;
            newest = newest || id.epoch == fixture->newest;
        }
    }
    assert_true(certain >= (fixture->counted < 2 ? fixture->counted : 2));
    assert_true(fixture->counted == 0 || newest);
}

/* ---- the fixture ---- */

static void
told(void *context, enum housekeeper_news news, uint64_t number, int result)
{
    struct fixture *fixture = context;
    fixture->news[news]++;
    fixture->result = result;
    if (news == NEWS_SNAPSHOT) {
        fixture->counted++;
        fixture->newest = number;
    }
    assert_true((result == 0) == (news == NEWS_SNAPSHOT || news == NEWS_SEGMENT_AGAIN));
}

static int
persisted(void *context, char *ret_text, size_t size)
{
    const struct fixture *fixture = context;
    if (fixture->persisted == NULL)
        return fixture->persisted_result;
    assert_true(strlen(fixture->persisted) <= size);
    memcpy(ret_text, fixture->persisted, strlen(fixture->persisted));
    return (int)strlen(fixture->persisted);
}

static void
put_segment(struct fixture *fixture, uint64_t epoch, uint32_t shard, uint32_t segment)
{
    uint8_t *file = calloc(1, SEGMENT);
    struct file_header header = {
        .route_seed = SEED,
        .epoch = epoch,
        .file_size = SEGMENT,
        .shard = shard,
        .shard_count = SHARDS,
        .segment = segment,
    };
    memcpy(file, &header, sizeof header);
    (void)file_seal(file, SEGMENT, FILE_JOURNAL); /* one block */
    char name[FILE_NAME_SIZE];
    file_name(name, FILE_JOURNAL, epoch, shard, segment);
    memory_disk_put(&fixture->disk, name, file, SEGMENT);
    free(file);
}

static int
try_open(struct fixture *fixture, uint64_t epoch, uint64_t generation, uint64_t bytes)
{
    fixture->settings.epoch = epoch;
    const struct recovered recovered = {.generation = generation, .journal_bytes = bytes};
    return housekeeper_open(&fixture->housekeeper, &fixture->disk.disk, &fixture->settings, &recovered,
                            told, fixture);
}

/* A start: epoch by epoch each shard begins with segment 0. */
static void
start(struct fixture *fixture, uint64_t epoch, uint64_t generation)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        fixture->shards[i] = (struct mock_shard){.slice = SLICES};
        put_segment(fixture, epoch, i, 0);
    }
    char name[FILE_NAME_SIZE];
    file_name(name, FILE_START, epoch, 0, 0);
    memory_disk_put(&fixture->disk, name, "start", 5);
    assert_int_equal(try_open(fixture, epoch, generation, 0), 0);
}

static int
set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    memory_disk_open(&fixture->disk);
    fixture->disk.look = check_disk;
    fixture->disk.look_context = fixture;
    fixture->now_ms = 1000000;
    fixture->persisted_result = -ENOENT;
    fixture->settings = (struct housekeeper_settings){
        .route_seed = SEED,
        .segment_bytes = SEGMENT,
        .snapshot_bytes = SNAPSHOT_BYTES,
        .shard_count = SHARDS,
        .slice_bytes = SLICE,
        .retry_ms = RETRY_MS,
        .persisted = persisted,
        .persisted_context = fixture,
    };
    start(fixture, 1, 0);
    *state = fixture;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *fixture = *state;
    housekeeper_close(fixture->housekeeper);
    assert_int_equal(fixture->disk.open_count, 0);
    memory_disk_close(&fixture->disk);
    free(fixture);
    return 0;
}

static uint32_t
steps(struct fixture *fixture)
{
    uint32_t count = 0;
    while (housekeeper_step(fixture->housekeeper, fixture->now_ms)) {
        count++;
        assert_true(count < 10000);
    }
    return count;
}

static bool
has(const struct fixture *fixture, const char *name)
{
    return memory_disk_has(&fixture->disk, name);
}

/* Fills the next slice, if one is wanted and there is room. */
static void
give_slice(struct fixture *fixture, uint32_t index)
{
    struct mock_shard *shard = &fixture->shards[index];
    if (shard->slice == SLICES)
        return;
    uint8_t *slice = housekeeper_slice(fixture->housekeeper, index);
    if (slice == NULL)
        return;
    assert_int_equal((uintptr_t)slice % 8, 0);
    bool last = shard->slice == SLICES - 1;
    uint32_t size = shard->slice == 1 ? SLICE : 16;
    memset(slice, (int)(shard->slice + index), size);
    shard->sequence++; /* work goes on meanwhile */
    housekeeper_sliced(fixture->housekeeper, index, size, size / 8, shard->sequence, fixture->now_ms, last);
    shard->slice++;
}

/* What a shard does in a tick. */
static void
tick(struct fixture *fixture, uint32_t index)
{
    struct housekeeper *housekeeper = fixture->housekeeper;
    struct mock_shard *shard = &fixture->shards[index];
    uint32_t segment;
    int file = -1;
    (void)housekeeper_want(housekeeper, index, shard->segment + 1); /* nobody has to be woken */
    if (shard->bytes >= (shard->segment + 1) * SEGMENT_OF_BYTES)
        file = housekeeper_made(housekeeper, index, &segment);
    if (file >= 0) { /* goes on in it at once */
        assert_int_equal(segment, shard->segment + 1);
        char name[FILE_NAME_SIZE];
        size_t size;
        file_name(name, FILE_JOURNAL, fixture->settings.epoch, index, segment);
        assert_string_equal(memory_disk_name(&fixture->disk, file), name);
        assert_non_null(memory_disk_durable(&fixture->disk, name, true, &size));
        assert_int_equal(size, SEGMENT);
        (void)fixture->disk.disk.close(&fixture->disk, file); /* may be the call that fails */
        shard->segment = segment;
        (void)housekeeper_want(housekeeper, index, shard->segment + 1);
    }
    shard->durable = shard->sequence;
    shard->sequence += 10;
    shard->bytes += 5000;
    housekeeper_durable(housekeeper, index, shard->durable, shard->bytes);
    if (housekeeper_generation(housekeeper, index) != 0) {
        assert_int_equal(shard->slice, SLICES);
        struct journal_position position = {
            .epoch = fixture->settings.epoch,
            .shard = index,
            .segment = shard->segment,
            .offset = BLOCK_BYTES,
            .sequence = shard->durable,
        };
        housekeeper_begun(housekeeper, index, &position);
        assert_int_equal(housekeeper_generation(housekeeper, index), 0);
        shard->slice = 0;
    }
    give_slice(fixture, index);
}

/* Shards and housekeeper until so many generations have ended. */
static void
run_until_ended(struct fixture *fixture, uint64_t ended)
{
    for (uint32_t i = 0; housekeeper_snapshots_ended(fixture->housekeeper) < ended; i++) {
        assert_true(i < 10000);
        tick(fixture, i % SHARDS);
        (void)steps(fixture);
        fixture->now_ms += 10;
    }
    (void)steps(fixture);
}

/* ---- segments ---- */

static void
a_wanted_segment_is_made(void **state)
{
    struct fixture *fixture = *state;
    uint32_t segment;
    assert_int_equal(steps(fixture), 0);
    assert_int_equal(housekeeper_made(fixture->housekeeper, 1, &segment), -1);
    assert_true(housekeeper_want(fixture->housekeeper, 1, 1));
    assert_false(housekeeper_want(fixture->housekeeper, 1, 1));
    assert_int_equal(steps(fixture), 1);
    assert_int_equal(housekeeper_made(fixture->housekeeper, 0, &segment), -1);
    int file = housekeeper_made(fixture->housekeeper, 1, &segment);
    assert_true(file >= 0);
    assert_int_equal(segment, 1);
    assert_string_equal(memory_disk_name(&fixture->disk, file), "00000001-001-00000001.journal");
    assert_int_equal(housekeeper_made(fixture->housekeeper, 1, &segment), -1);
    assert_false(housekeeper_want(fixture->housekeeper, 1, 1));
    assert_int_equal(steps(fixture), 0);

    size_t size;
    const uint8_t *data = memory_disk_durable(&fixture->disk, "00000001-001-00000001.journal", true, &size);
    assert_non_null(data);
    struct file_header header;
    memcpy(&header, data, sizeof header);
    assert_int_equal(header.time_ms, fixture->now_ms);
    assert_int_equal(header.route_seed, SEED);
    assert_int_equal(header.shard_count, SHARDS);
    static const uint8_t zeros[SEGMENT];
    assert_memory_equal(data + BLOCK_BYTES, zeros, size - BLOCK_BYTES);
    assert_int_equal(fixture->disk.disk.close(&fixture->disk, file), 0);
    /* one that nobody fetches is closed in the end */
    assert_true(housekeeper_want(fixture->housekeeper, 0, 1));
    assert_int_equal(steps(fixture), 1);
    assert_int_equal(fixture->disk.open_count, 1);
}

static void
a_full_disk_is_asked_again(void **state)
{
    struct fixture *fixture = *state;
    uint32_t segment;
    fixture->disk.full = true;
    assert_false(housekeeper_scarce(fixture->housekeeper));
    (void)housekeeper_want(fixture->housekeeper, 0, 1);
    (void)housekeeper_want(fixture->housekeeper, 1, 1);
    (void)steps(fixture);
    assert_true(housekeeper_scarce(fixture->housekeeper));
    assert_int_equal(fixture->news[NEWS_SEGMENT_FAILED], 1);
    assert_int_equal(fixture->result, -ENOSPC);
    uint64_t calls = fixture->disk.calls;
    fixture->now_ms += RETRY_MS - 1;
    (void)steps(fixture);
    assert_int_equal(fixture->disk.calls, calls);
    fixture->now_ms += 1;
    (void)steps(fixture);
    assert_true(fixture->disk.calls > calls);
    assert_int_equal(fixture->news[NEWS_SEGMENT_FAILED], 1);
    assert_true(housekeeper_scarce(fixture->housekeeper));

    fixture->disk.full = false;
    fixture->now_ms += RETRY_MS;
    (void)steps(fixture);
    assert_false(housekeeper_scarce(fixture->housekeeper));
    assert_int_equal(fixture->news[NEWS_SEGMENT_AGAIN], 1);
    for (uint32_t i = 0; i < SHARDS; i++) {
        int file = housekeeper_made(fixture->housekeeper, i, &segment);
        assert_true(file >= 0);
        assert_int_equal(fixture->disk.disk.close(&fixture->disk, file), 0);
    }
    fixture->disk.full = true;
    (void)housekeeper_want(fixture->housekeeper, 0, 2);
    (void)steps(fixture);
    assert_int_equal(fixture->news[NEWS_SEGMENT_FAILED], 2);
}

/* Each call of it failing once, doing nothing or all of it: nothing is left, the next try succeeds. */
static void
a_segment_fails_at_every_step(void **state)
{
    for (enum memory_fault fault = FAULT_BEFORE; fault <= FAULT_AFTER; fault++) {
        for (uint64_t i = 1; i <= 5; i++) { /* create, write, sync, rename, sync of the folder */
            struct fixture *fixture = *state;
            fixture->disk.fault = fault;
            fixture->disk.fail_at = fixture->disk.calls + i;
            (void)housekeeper_want(fixture->housekeeper, 0, 1);
            (void)steps(fixture);
            assert_true(housekeeper_scarce(fixture->housekeeper));
            assert_int_equal(fixture->disk.open_count, 0);
            bool lost = fault == FAULT_AFTER && (i == 1 || i == 4);
            assert_true(lost || !has(fixture, "00000001-000-00000001.journal"));
            assert_true(lost || !has(fixture, "00000001-000-00000001.journal.tmp"));
            fixture->now_ms += RETRY_MS;
            (void)steps(fixture);
            assert_false(housekeeper_scarce(fixture->housekeeper));
            assert_true(has(fixture, "00000001-000-00000001.journal"));
            assert_int_equal(fixture->disk.open_count, 1);
            assert_int_equal(tear_down(state), 0);
            assert_int_equal(set_up(state), 0);
        }
    }
}

/* ---- snapshots ---- */

static void
a_snapshot_begins_after_so_much_journal(void **state)
{
    struct fixture *fixture = *state;
    housekeeper_durable(fixture->housekeeper, 0, 10, SNAPSHOT_BYTES / 2);
    housekeeper_durable(fixture->housekeeper, 1, 10, SNAPSHOT_BYTES / 2 - 1);
    assert_int_equal(steps(fixture), 0);
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 0), 0);
    housekeeper_durable(fixture->housekeeper, 1, 10, SNAPSHOT_BYTES / 2);
    (void)steps(fixture);
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 0), 1);
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 1), 1);

    /* what was replayed counts */
    housekeeper_close(fixture->housekeeper);
    assert_int_equal(try_open(fixture, 1, 0, SNAPSHOT_BYTES - 1), 0);
    assert_int_equal(steps(fixture), 0);
    housekeeper_durable(fixture->housekeeper, 1, 1, 1);
    (void)steps(fixture);
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 0), 1);

    /* and one that is asked for */
    housekeeper_close(fixture->housekeeper);
    assert_int_equal(try_open(fixture, 1, 0, 0), 0);
    housekeeper_snapshot(fixture->housekeeper);
    (void)steps(fixture);
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 0), 1);
}

static void
a_generation_counts_when_it_is_covered(void **state)
{
    struct fixture *fixture = *state;
    struct housekeeper *housekeeper = fixture->housekeeper;
    housekeeper_snapshot(housekeeper);
    (void)steps(fixture);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct journal_position position = {.epoch = 1,
                                            .shard = i,
                                            .segment = 0,
                                            .offset = 8192 + i,
                                            .batch = 5,
                                            .sequence = 50,
                                            .chain = i};
        housekeeper_begun(housekeeper, i, &position);
        fixture->shards[i] = (struct mock_shard){.sequence = 100, .slice = 0};
    }
    for (uint32_t slice = 0; slice < SLICES; slice++) {
        give_slice(fixture, 0);
        assert_null(housekeeper_slice(housekeeper, 0)); /* it is still to be written */
        give_slice(fixture, 1);
        (void)steps(fixture);
    }
    assert_true(has(fixture, "00000001-000.part"));
    assert_true(has(fixture, "00000001-001.part"));
    assert_false(has(fixture, "00000001.snapshot"));
    assert_int_equal(housekeeper_snapshots_ended(housekeeper), 0);
    housekeeper_durable(housekeeper, 0, 103, 1);
    housekeeper_durable(housekeeper, 1, 102, 1);
    assert_int_equal(steps(fixture), 0);
    housekeeper_durable(housekeeper, 1, 103, 1);
    (void)steps(fixture);
    assert_true(has(fixture, "00000001.snapshot"));
    assert_int_equal(housekeeper_snapshots_ended(housekeeper), 1);
    assert_int_equal(fixture->news[NEWS_SNAPSHOT], 1);
    assert_int_equal(fixture->newest, 1);
    assert_int_equal(housekeeper_generation(housekeeper, 0), 0);

    size_t size;
    const uint8_t *data = memory_disk_durable(&fixture->disk, "00000001.snapshot", true, &size);
    assert_int_equal(size, BLOCK_BYTES);
    struct file_header header;
    memcpy(&header, data, sizeof header);
    assert_int_equal(header.epoch, 1);
    assert_int_equal(header.shard_count, SHARDS);
    assert_int_equal(header.position_count, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct journal_position position;
        memcpy(&position, data + sizeof header + i * sizeof position, sizeof position);
        assert_int_equal(position.offset, 8192 + i);
        assert_int_equal(position.sequence, 50);
        assert_int_equal(position.chain, i);
    }
    /* each slice says up to where it reflects the journal */
    data = memory_disk_durable(&fixture->disk, "00000001-000.part", true, &size);
    struct batch_header batch;
    memcpy(&batch, data + BLOCK_BYTES, sizeof batch);
    assert_int_equal(batch.sequence_last, 101);
    assert_int_equal(fixture->disk.open_count, 0);
}

static void
two_generations_are_kept(void **state)
{
    struct fixture *fixture = *state;
    run_until_ended(fixture, 1);
    assert_true(has(fixture, "00000001.snapshot"));
    assert_true(fixture->shards[0].segment > 1);
    assert_true(has(fixture, "00000001-000-00000000.journal")); /* one alone lets nothing go */
    run_until_ended(fixture, 2);
    assert_true(has(fixture, "00000001.snapshot"));
    assert_true(has(fixture, "00000001-000.part"));
    assert_true(has(fixture, "00000002.snapshot"));
    assert_false(has(fixture, "00000001-000-00000000.journal"));
    assert_false(has(fixture, "00000001-001-00000000.journal"));
    run_until_ended(fixture, 3);
    assert_false(has(fixture, "00000001.snapshot"));
    assert_false(has(fixture, "00000001-000.part"));
    assert_false(has(fixture, "00000001-001.part"));
    assert_true(has(fixture, "00000002.snapshot"));
    assert_true(has(fixture, "00000003-001.part"));
    run_until_ended(fixture, 12);
    assert_int_equal(fixture->counted, 12);
    uint32_t files = 0;
    for (uint32_t i = 0; i < fixture->disk.name_count; i++)
        files += fixture->disk.names[i].inode >= 0;
    assert_true(files < 200);
    assert_int_equal(fixture->news[NEWS_REMOVE_FAILED], 0);
}

/* Over starts: epochs that the older generation does not need go, with their start files. */
static void
earlier_epochs_go(void **state)
{
    struct fixture *fixture = *state;
    run_until_ended(fixture, 1);
    housekeeper_close(fixture->housekeeper);
    start(fixture, 2, 1);
    (void)steps(fixture);
    assert_true(has(fixture, "00000001.start"));
    run_until_ended(fixture, 1); /* generation 2; generation 1 is of epoch 1 */
    assert_int_equal(fixture->newest, 2);
    assert_true(has(fixture, "00000001.start"));
    run_until_ended(fixture, 2);
    assert_true(has(fixture, "00000002.snapshot"));
    assert_true(has(fixture, "00000002.start"));
    for (uint32_t i = 0; i < fixture->disk.name_count; i++) {
        if (fixture->disk.names[i].inode >= 0)
            assert_true(strncmp(fixture->disk.names[i].name, "00000001", 8) != 0);
    }
}

static void
the_persister_holds_back(void **state)
{
    struct fixture *fixture = *state;
    fixture->persisted = "1 0 55 1\n1 1 0 0\n";
    run_until_ended(fixture, 3);
    assert_false(has(fixture, "00000001-000-00000000.journal"));
    assert_true(has(fixture, "00000001-000-00000001.journal"));
    assert_true(has(fixture, "00000001-001-00000000.journal"));
    assert_int_equal(fixture->news[NEWS_REMOVE_FAILED], 0);

    /* it goes on, and no new generation has to come for it */
    fixture->persisted = "1 0 55 2\n1 1 77 1\n";
    fixture->now_ms += RETRY_MS;
    (void)steps(fixture);
    assert_false(has(fixture, "00000001-000-00000001.journal"));
    assert_true(has(fixture, "00000001-000-00000002.journal"));
    assert_false(has(fixture, "00000001-001-00000000.journal"));
    assert_true(has(fixture, "00000001-001-00000001.journal"));

    /* what is not known, or cannot be understood, holds everything back; told once */
    static const char *const bad[] = {"",
                                      "1 0 55",
                                      "1 0 55 9",
                                      "1 0 55 9\n1 1 5\n",
                                      "1 0 55 9 \n",
                                      "-1 0 55 9\n",
                                      "1 0 55 9\n\n",
                                      "a\n",
                                      "1  0 55 9\n",
                                      "1 0 55 99999999999999999999\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fixture->persisted = bad[i];
        fixture->now_ms += RETRY_MS;
        (void)steps(fixture);
        assert_true(has(fixture, "00000001-000-00000002.journal"));
        assert_int_equal(fixture->news[NEWS_REMOVE_FAILED], 1);
    }
    fixture->persisted = NULL;
    fixture->persisted_result = -EIO;
    fixture->now_ms += RETRY_MS;
    (void)steps(fixture);
    assert_true(has(fixture, "00000001-000-00000002.journal"));

    fixture->persisted_result = -ENOENT; /* no persister any more */
    fixture->now_ms += RETRY_MS;
    (void)steps(fixture);
    assert_false(has(fixture, "00000001-000-00000002.journal"));
}

static void
the_persister_holds_back_epochs(void **state)
{
    struct fixture *fixture = *state;
    run_until_ended(fixture, 1);
    housekeeper_close(fixture->housekeeper);
    start(fixture, 2, 1);
    uint32_t last = fixture->shards[1].segment;
    fixture->persisted = "2 0 9 0\n1 1 500 1\n"; /* one journal of epoch 1 is not done */
    run_until_ended(fixture, 3);
    assert_true(has(fixture, "00000001.start"));
    assert_true(has(fixture, "00000001-001-00000001.journal"));
    assert_false(has(fixture, "00000001-001-00000000.journal"));
    (void)last;
    fixture->persisted = "2 0 9 0\n2 1 0 0\n";
    fixture->now_ms += RETRY_MS;
    (void)steps(fixture);
    assert_false(has(fixture, "00000001.start"));
    assert_false(has(fixture, "00000001-001-00000001.journal"));
    assert_true(has(fixture, "00000002-001-00000000.journal"));
    assert_true(has(fixture, "00000002.start"));
}

static void
leftovers_go(void **state)
{
    struct fixture *fixture = *state;
    static const char *const leftovers[] = {
        "00000007-000.part",     "00000007-001.part.tmp",
        "00000007.snapshot.tmp", "00000001-000-00000009.journal.tmp",
        "00000002.start.tmp",    "00000003-063.part",
    };
    static const char *const strangers[] = {"notes.txt", "00000007.snapshot.tmp.tmp", "lost+found", ".tmp"};
    for (size_t i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++)
        memory_disk_put(&fixture->disk, leftovers[i], "x", 1);
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        memory_disk_put(&fixture->disk, strangers[i], "x", 1);
    for (uint32_t i = 0; i < 200; i++) { /* more than go in one step */
        char name[FILE_NAME_SIZE];
        file_name(name, FILE_PART, 3 + i / 60, i % 60, 0);
        memory_disk_put(&fixture->disk, name, "x", 1);
    }
    housekeeper_close(fixture->housekeeper);
    assert_int_equal(try_open(fixture, 1, 0, 0), 0);
    run_until_ended(fixture, 1);
    assert_int_equal(fixture->newest, 8); /* no number is used twice */
    for (size_t i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++)
        assert_false(has(fixture, leftovers[i]));
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        assert_true(has(fixture, strangers[i]));
    for (uint32_t i = 0; i < 200; i++) {
        char name[FILE_NAME_SIZE];
        file_name(name, FILE_PART, 3 + i / 60, i % 60, 0);
        assert_false(has(fixture, name));
    }
}

/* A process that ends behind its snapshot may have no time to remove: the next one does, and waits for no
 * generation. */
static void
what_a_stop_has_left_goes_at_the_start(void **state)
{
    struct fixture *fixture = *state;
    run_until_ended(fixture, 3);
    assert_false(has(fixture, "00000001-000.part"));
    housekeeper_close(fixture->housekeeper);
    memory_disk_put(&fixture->disk, "00000001-000.part", "x", 1);
    memory_disk_put(&fixture->disk, "00000007-000.part", "x", 1);
    start(fixture, 2, 3);
    (void)steps(fixture);
    assert_false(has(fixture, "00000001-000.part"));
    assert_true(has(fixture, "00000002.snapshot"));
    assert_true(has(fixture, "00000002-000.part"));
    assert_true(has(fixture, "00000003.snapshot"));
    assert_true(has(fixture, "00000003-000.part"));
    assert_true(has(fixture, "00000007-000.part")); /* a failed one keeps its number */
}

/* A newer generation that recovery did not want: its manifest goes before its parts. */
static void
a_damaged_generation_goes(void **state)
{
    struct fixture *fixture = *state;
    run_until_ended(fixture, 2);
    housekeeper_close(fixture->housekeeper);
    start(fixture, 2, 1);
    fixture->counted = 0; /* the disk as it is has one fewer for a while */
    run_until_ended(fixture, 1);
    assert_int_equal(fixture->newest, 3);
    assert_true(has(fixture, "00000001.snapshot"));
    assert_false(has(fixture, "00000002.snapshot"));
    assert_false(has(fixture, "00000002-000.part"));
    assert_true(has(fixture, "00000003.snapshot"));
}

static void
what_cannot_be_removed_is_told_once(void **state)
{
    struct fixture *fixture = *state;
    fixture->disk.fail_removing = "00000001-000-00000000.journal";
    run_until_ended(fixture, 4);
    assert_int_equal(fixture->news[NEWS_REMOVE_FAILED], 1);
    assert_true(has(fixture, "00000001-000-00000000.journal"));
    assert_false(has(fixture, "00000001-001-00000000.journal")); /* others go all the same */
    fixture->disk.fail_removing = NULL;
    run_until_ended(fixture, 5);
    assert_false(has(fixture, "00000001-000-00000000.journal"));
    assert_int_equal(fixture->news[NEWS_REMOVE_FAILED], 1);
}

/* The retry of a generation that failed: after as much journal again, or after a minute. */
static void
a_failed_snapshot_comes_again(void **state)
{
    struct fixture *fixture = *state;
    fixture->disk.full = true;
    housekeeper_snapshot(fixture->housekeeper);
    (void)steps(fixture);
    for (uint32_t slice = 0; slice < SLICES; slice++) {
        for (uint32_t i = 0; i < SHARDS; i++) {
            if (slice == 0) {
                struct journal_position position = {.epoch = 1, .shard = i, .offset = BLOCK_BYTES};
                housekeeper_begun(fixture->housekeeper, i, &position);
                fixture->shards[i].slice = 0;
            }
            assert_int_equal(fixture->news[NEWS_SNAPSHOT_FAILED], 0); /* shards go on to their end */
            give_slice(fixture, i);
            (void)steps(fixture);
        }
    }
    assert_int_equal(fixture->news[NEWS_SNAPSHOT_FAILED], 1);
    assert_int_equal(fixture->result, -ENOSPC);
    assert_int_equal(housekeeper_snapshots_ended(fixture->housekeeper), 1);
    fixture->disk.full = false;
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 0), 0);
    fixture->now_ms += 59999;
    assert_int_equal(steps(fixture), 0);
    fixture->now_ms += 1;
    (void)steps(fixture);
    assert_int_equal(housekeeper_generation(fixture->housekeeper, 0), 2);
    run_until_ended(fixture, 2);
    assert_int_equal(fixture->newest, 2);
}

/* Every call to the disk, over three generations with all that goes and comes, failing once. What a power
 * loss would leave is looked at after each of them. */
static void
every_call_fails_once(void **state)
{
    uint64_t failed = 0;
    for (enum memory_fault fault = FAULT_BEFORE; fault <= FAULT_AFTER; fault++) {
        bool reached = true;
        for (uint64_t call = 1; reached; call++) {
            struct fixture *fixture = *state;
            fixture->disk.fault = fault;
            fixture->disk.fail_at = fixture->disk.calls + call;
            fixture->look_from = fixture->disk.fail_at; /* before, all runs are alike */
            run_until_ended(fixture, 3);
            reached = fixture->disk.calls >= fixture->disk.fail_at;
            failed += fixture->news[NEWS_SNAPSHOT_FAILED];
            assert_true(fixture->news[NEWS_SNAPSHOT_FAILED] <= 1);
            fixture->disk.fail_at = 0;

            /* afterwards all is well: nothing is left behind, new generations count */
            uint64_t counted = fixture->counted;
            fixture->now_ms += RETRY_MS;
            run_until_ended(fixture, 5);
            assert_int_equal(fixture->counted, counted + 2);
            assert_false(housekeeper_scarce(fixture->housekeeper));
            for (uint32_t i = 0; i < fixture->disk.name_count; i++) {
                struct file_id id;
                const struct memory_name *name = &fixture->disk.names[i];
                if (name->inode < 0)
                    continue;
                assert_true(file_name_parse(name->name, &id)); /* no .tmp */
                assert_true(id.kind == FILE_JOURNAL || id.kind == FILE_START || id.epoch >= 4);
            }
            assert_int_equal(tear_down(state), 0);
            assert_int_equal(set_up(state), 0);
        }
    }
    assert_true(failed > 40);
}

static void
opening(void **state)
{
    struct fixture *fixture = *state;
    run_until_ended(fixture, 2);
    housekeeper_close(fixture->housekeeper);
    fixture->housekeeper = NULL;
    fixture->disk.look = NULL;
    assert_int_equal(try_open(fixture, 1, 77, 0), -ENOENT);
    for (uint64_t i = 1; i <= 3; i++) { /* list, open, read */
        fixture->disk.fail_at = fixture->disk.calls + i;
        assert_int_equal(try_open(fixture, 1, 2, 0), -EIO);
        assert_int_equal(fixture->disk.open_count, 0);
    }
    memory_disk_put(&fixture->disk, "00000002.snapshot", "damaged", 7);
    assert_int_equal(try_open(fixture, 1, 2, 0), -EBADMSG);
    uint8_t zeros[BLOCK_BYTES] = {0};
    memory_disk_put(&fixture->disk, "00000002.snapshot", zeros, sizeof zeros);
    assert_int_equal(try_open(fixture, 1, 2, 0), -EBADMSG);
    assert_null(fixture->housekeeper);
    /* the older one serves */
    assert_int_equal(try_open(fixture, 1, 1, 0), 0);
}

/* ---- threads ---- */

struct thread {
    struct fixture *fixture;
    uint32_t index;
    _Atomic bool *stop;
    pthread_t thread;
};

/* A shard in a thread of its own, which touches no disk. */
static void *
thread_run(void *context)
{
    struct thread *thread = context;
    struct housekeeper *housekeeper = thread->fixture->housekeeper;
    struct mock_shard *shard = &thread->fixture->shards[thread->index];
    while (!*thread->stop) {
        shard->sequence++;
        shard->bytes += 100;
        housekeeper_durable(housekeeper, thread->index, shard->sequence, shard->bytes);
        if (housekeeper_generation(housekeeper, thread->index) != 0) {
            struct journal_position position = {
                .epoch = 1, .shard = thread->index, .offset = BLOCK_BYTES, .sequence = shard->sequence};
            housekeeper_begun(housekeeper, thread->index, &position);
            shard->slice = 0;
        }
        give_slice(thread->fixture, thread->index);
        (void)sched_yield(); /* always 0 */
    }
    return NULL;
}

static void
shards_in_threads(void **state)
{
    struct fixture *fixture = *state;
    struct thread threads[SHARDS];
    _Atomic bool stop = false;
    for (uint32_t i = 0; i < SHARDS; i++) {
        threads[i] = (struct thread){.fixture = fixture, .index = i, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, thread_run, &threads[i]), 0);
    }
    while (housekeeper_snapshots_ended(fixture->housekeeper) < 20) {
        if (!housekeeper_step(fixture->housekeeper, 1000000)) /* their time does not matter */
            (void)sched_yield();                              /* always 0 */
    }
    stop = true;
    for (uint32_t i = 0; i < SHARDS; i++)
        assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
    assert_int_equal(fixture->counted, 20);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_wanted_segment_is_made),
        TEST(a_full_disk_is_asked_again),
        TEST(a_segment_fails_at_every_step),
        TEST(a_snapshot_begins_after_so_much_journal),
        TEST(a_generation_counts_when_it_is_covered),
        TEST(two_generations_are_kept),
        TEST(earlier_epochs_go),
        TEST(the_persister_holds_back),
        TEST(the_persister_holds_back_epochs),
        TEST(leftovers_go),
        TEST(what_a_stop_has_left_goes_at_the_start),
        TEST(a_damaged_generation_goes),
        TEST(what_cannot_be_removed_is_told_once),
        TEST(a_failed_snapshot_comes_again),
        TEST(every_call_fails_once),
        TEST(opening),
        TEST(shards_in_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
