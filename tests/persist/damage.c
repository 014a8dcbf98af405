/*
 * damage.c - every single-bit flip and every truncation of a small directory: recovered, or refused with
 * file, offset and cause; never something in between.
 *
 *     damage --all         every bit and every length of every block that is not all zero, a sample of the
 * rest; of files that a start does not open (what the newest snapshot covers) a sample, too damage one bit
 * of every byte that is not zero, of every seventh other one, and some lengths damage --part 1/2    the
 * first half of either (for two processors)
 *
 * The directory: three epochs on 2, 3 and 2 shards, two generations of snapshots, the second in the newest
 * epoch, work behind it, and a last batch in each journal that nothing covers.
 *
 * What a damaged directory may come to:
 *
 *     all       the state is that of the whole directory, and no journal is reported as cut before its end
 *     cut       only a last batch of the newest epoch, where the damage is: the report names its file and
 *               offset, and the state is that of the directory without this batch
 *     refused   -EBADMSG, with file and cause
 *
 * Damage within what a later batch's durable_upto covers and a start needs must be refused: this is asked
 * of the bytes themselves, by parsing the whole directory's journals here (plan_regions), not of the
 * reader.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/persist/stage.h"

#define CUTS_MAX      (STAGE_SHARDS)
#define FAILURES_TOLD 20

/* The last batch of a journal of the newest epoch. */
struct tail {
    char file[FILE_NAME_SIZE];
    uint64_t begin;
    uint64_t end;
    char *picture; /* of the directory without it */
};

struct test {
    struct memory_disk whole;
    struct memory_disk damaged;
    struct stage_book book;
    uint32_t shard_count;
    uint64_t epoch;
    uint64_t generation;
    uint64_t now_ms;
    char *picture;
    struct tail tails[CUTS_MAX];
    uint32_t tail_count;
    uint64_t trials, all, cuts, refused, older;
    uint64_t failures;
};

/* ---- the directory ---- */

static void
must(struct stage *stage, const char *line)
{
    enum status status = stage_do(stage, line);
    if (status != STATUS_OK) {
        fprintf(stderr, "damage: '%s': %s\n", line,
                status == STATUS_COUNT ? "no answer" : status_word(status));
        abort();
    }
}

static struct stage *
start(struct memory_disk *disk, uint32_t shard_count, uint64_t now_ms, const struct stage_book *book)
{
    struct journal_fault fault;
    struct stage *stage;
    int result = stage_open(&stage, disk, shard_count, STAGE_SERVE, now_ms, &fault);
    if (result != 0) {
        fprintf(stderr, "damage: the start is refused: %s at %" PRIu64 ": %s\n", fault.file, fault.offset,
                fault.text);
        abort();
    }
    stage_set_book(stage, book);
    return stage;
}

static void
make_directory(struct test *test)
{
    struct stage *stage = start(&test->whole, 2, STAGE_NOW, &test->book);
    must(stage, "EVENT e");
    must(stage, "HOLD e u1 A/1/1 A/1/2");
    must(stage, "HOLD e u2 A/2/1 A/3/2");
    must(stage, "CONFIRM u1 0");
    must(stage, "POOL e u3 3");
    bool snapshot = stage_snapshot(stage);
    assert(snapshot);
    must(stage, "RELEASE u2 1");
    test->book = *stage_book(stage);
    stage_close(stage);

    stage = start(&test->whole, 3, STAGE_NOW + 5000, &test->book);
    must(stage, "EVENT f");
    must(stage, "HOLD f u1 A/1/1");
    must(stage, "HOLD e u4 A/2/1 A/2/2 A/2/3");
    must(stage, "EXTEND u3 2");
    test->book = *stage_book(stage);
    stage_close(stage);

    stage = start(&test->whole, 2, STAGE_NOW + 9000, &test->book);
    must(stage, "CONFIRM u4 4");
    must(stage, "POOL f u5 2");
    snapshot = stage_snapshot(stage);
    assert(snapshot);
    for (uint32_t i = 0; i < 6; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "HOLD f u%" PRIu32 " A/2/%" PRIu32, 10 + i, 1 + i);
        must(stage, line);
    }
    stage_pass(stage, 2000);
    must(stage, "CONFIRM u1 3");
    must(stage, "HOLD f u20 A/3/1 A/4/1");
    must(stage, "HOLD e u21 A/4/4");
    must(stage, "RELEASE u20 12");
    test->book = *stage_book(stage);
    test->now_ms = STAGE_NOW + 12000;
    test->shard_count = 2;
    test->epoch = stage_report(stage)->epoch;
    stage_close(stage);
}

/* Where the last batch of each journal of the newest epoch stands. */
static void
plan_regions(struct test *test)
{
    for (uint32_t shard = 0; shard < 2; shard++) {
        struct tail *tail = &test->tails[test->tail_count++];
        file_name(tail->file, FILE_JOURNAL, test->epoch, shard, 0);
        struct memory_file *file = memory_disk_find(&test->whole, tail->file);
        assert(file != NULL);
        tail->end = BLOCK_BYTES;
        while (batch_check(file->bytes + tail->end, (size_t)(file->size - tail->end)) == BATCH_WHOLE) {
            const struct batch_header *batch = (const struct batch_header *)(file->bytes + tail->end);
            tail->begin = tail->end;
            tail->end += batch->size;
        }
        assert(tail->end > 2 * BLOCK_BYTES);
    }
}

/* ---- trials ---- */

static bool
look(struct test *test, char **ret_picture, struct recovery_report *ret_report,
     struct journal_fault *ret_fault)
{
    struct stage *stage;
    ret_fault->file[0] = ret_fault->text[0] = '\0';
    ret_fault->error = 0;
    if (stage_open(&stage, &test->damaged, test->shard_count, STAGE_LOOK, test->now_ms, ret_fault) != 0)
        return false;
    stage_set_book(stage, &test->book);
    *ret_report = *stage_report(stage);
    *ret_picture = stage_picture(stage);
    stage_close(stage);
    return true;
}

static void
fail(struct test *test, const char *what, const char *file, uint64_t offset, uint32_t bit, const char *why)
{
    test->failures++;
    if (test->failures <= FAILURES_TOLD)
        fprintf(stderr, "damage: %s %s offset %" PRIu64 " bit %" PRIu32 ": %s\n", what, file, offset, bit,
                why);
}

/* Likewise, with what is there and what was expected, once. */
static void
fail_with(struct test *test, const char *what, const char *file, uint64_t offset, uint32_t bit,
          const char *why, const char *is, const char *expected)
{
    fail(test, what, file, offset, bit, why);
    if (test->failures == 1)
        fprintf(stderr, "is:\n%s\nexpected:\n%s\n", is, expected);
}

/* One damaged directory. begin, end: the bytes that were changed. */
static void
try(struct test *test, const char *what, const char *file, uint64_t begin, uint64_t end, uint32_t bit)
{
    struct recovery_report report;
    struct journal_fault fault;
    char *picture = NULL;
    test->trials++;
    if (!look(test, &picture, &report, &fault)) {
        test->refused++;
        if (fault.error != 0 || fault.text[0] == '\0' || fault.file[0] == '\0')
            fail(test, what, file, begin, bit,
                 "refused without file or cause, or as a failure of the disk");
        return;
    }
    const struct tail *tail = NULL;
    for (uint32_t i = 0; i < test->tail_count; i++)
        if (strcmp(test->tails[i].file, file) == 0 && begin >= test->tails[i].begin)
            tail = &test->tails[i];
    struct file_id id;
    bool parsed = file_name_parse(file, &id);
    assert(parsed);
    test->older += report.snapshot_damaged;
    if (report.snapshot_damaged &&
        ((id.kind != FILE_PART && id.kind != FILE_SNAPSHOT) || report.snapshot_fault.file[0] == '\0' ||
         report.snapshot_fault.text[0] == '\0'))
        fail(test, what, file, begin, bit, "a snapshot is called damaged that is not, or not by its name");
    if (report.cut_count > 1 ||
        (report.cut_count == 1 && (tail == NULL || strcmp(report.cuts[0].file, file) != 0)))
        fail(test, what, file, begin, bit, "a journal was cut that is not damaged there");
    else if (report.cut_count == 1 && report.cuts[0].offset == tail->begin) {
        test->cuts++;
        if (report.cuts[0].bytes == 0 || begin >= tail->end)
            fail(test, what, file, begin, bit, "cut, and not by the damaged bytes");
        if (strcmp(picture, tail->picture) != 0)
            fail_with(test, what, file, begin, bit, "cut, and more is missing than the last batch", picture,
                      tail->picture);
    } else {
        test->all++;
        if (report.cut_count == 1 && (report.cuts[0].offset < tail->end || report.cuts[0].offset > end))
            fail(test, what, file, begin, bit, "the report names another place than the damaged one");
        if (strcmp(picture, test->picture) != 0)
            fail_with(test, what, file, begin, bit, "recovered without a word, and something is missing",
                      picture, test->picture);
    }
    free(picture);
}

/* A flip where a start must refuse: in a batch of the newest epoch's journals, behind the snapshot, that a
 * later one covers; or in an earlier epoch's end that the older generation does not need is allowed either
 * way. */
static bool
covered(const struct test *test, const char *file, uint64_t offset)
{
    for (uint32_t i = 0; i < test->tail_count; i++) {
        const struct tail *tail = &test->tails[i];
        if (strcmp(tail->file, file) != 0 || offset >= tail->begin)
            continue;
        /* from where the newest generation needs it */
        char name[FILE_NAME_SIZE];
        file_name(name, FILE_SNAPSHOT, test->generation, 0, 0);
        const struct memory_file *manifest = memory_disk_find((struct memory_disk *)&test->whole, name);
        assert(manifest != NULL);
        const struct journal_position *positions =
            (const struct journal_position *)(manifest->bytes + sizeof(struct file_header));
        return offset >= positions[i].offset || offset < sizeof(struct file_header);
    }
    return false;
}

static void
flip(struct test *test, struct memory_file *file, uint64_t offset, uint32_t bit)
{
    uint64_t refused = test->refused;
    file->bytes[offset] ^= (uint8_t)(1u << bit);
    try(test, "flip", file->name, offset, offset + 1, bit);
    file->bytes[offset] ^= (uint8_t)(1u << bit);
    if (covered(test, file->name, offset) && test->refused == refused)
        fail(test, "flip", file->name, offset, bit, "what is covered by durable_upto was not missed");
}

static bool
block_zero(const struct memory_file *file, uint64_t block)
{
    for (uint64_t i = block; i < block + BLOCK_BYTES && i < file->size; i++)
        if (file->bytes[i] != 0)
            return false;
    return true;
}

static void
flip_file(struct test *test, struct memory_file *file, bool all)
{
    for (uint64_t block = 0; block < file->size; block += BLOCK_BYTES) {
        bool zero = block_zero(file, block);
        for (uint64_t i = block; i < block + BLOCK_BYTES && i < file->size; i++) {
            if (zero && (i - block) % 509 != (block / BLOCK_BYTES) % 509)
                continue;
            for (uint32_t bit = 0; bit < 8; bit++)
                if ((all && !zero) ||
                    (bit == (i * 5 + block) % 8 && (zero || i % 7 == 0 || file->bytes[i] != 0)))
                    flip(test, file, i, bit);
        }
    }
}

static void
truncate_file(struct test *test, struct memory_file *file, bool all)
{
    uint64_t size = file->size;
    bool zero = false;
    for (uint64_t length = 0; length < size; length++) {
        uint64_t in_block = length % BLOCK_BYTES;
        if (in_block == 0)
            zero = block_zero(file, length);
        bool sample = in_block <= 1 || in_block == BLOCK_BYTES - 1 ||
                      (length <= 64 * 1024 && (in_block % 512 == 0 || length % 97 == 0));
        if (!sample && (zero || !all))
            continue;
        file->size = length;
        try(test, "truncation", file->name, length, size, 0);
        file->size = size;
    }
    char name[sizeof file->name];
    memcpy(name, file->name, sizeof name);
    (void)snprintf(file->name, sizeof file->name, "elsewhere");
    try(test, "removal", name, 0, size, 0);
    memcpy(file->name, name, sizeof name);
}

/* What the directory says without a journal's last batch. */
static void
picture_tails(struct test *test)
{
    struct recovery_report report;
    struct journal_fault fault;
    for (uint32_t i = 0; i < test->tail_count; i++) {
        struct tail *tail = &test->tails[i];
        struct memory_file *file = memory_disk_find(&test->damaged, tail->file);
        memset(file->bytes + tail->begin, 0, (size_t)(tail->end - tail->begin));
        bool looked = look(test, &tail->picture, &report, &fault);
        assert(looked);
        memcpy(file->bytes, memory_disk_find(&test->whole, tail->file)->bytes, (size_t)file->size);
        if (strcmp(tail->picture, test->picture) == 0) {
            fprintf(stderr, "damage: the last batch of %s changes nothing\n", tail->file);
            abort();
        }
    }
}

int
main(int argc, char **argv)
{
    static struct test test;
    struct recovery_report report;
    struct journal_fault fault;
    bool all = false;
    unsigned part = 1, parts = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0) {
            all = true;
        } else if (strcmp(argv[i], "--part") != 0 || i + 1 == argc ||
                   sscanf(argv[++i], "%u/%u", &part, &parts) != 2 || part < 1 || part > parts) {
            fprintf(stderr, "usage: damage [--all] [--part N/M]\n");
            return 2;
        }
    }
    memory_disk_open(&test.whole);
    memory_disk_open(&test.damaged);
    make_directory(&test);
    plan_regions(&test);
    memory_disk_copy(&test.damaged, &test.whole);
    bool looked = look(&test, &test.picture, &report, &fault);
    if (!looked || report.cut_count > 0 || report.snapshot_damaged || report.generation == 0) {
        fprintf(stderr, "damage: the whole directory is not: %s %s\n", fault.file, fault.text);
        return 1;
    }
    test.generation = report.generation;
    static bool opened[MEMORY_FILES_MAX];
    for (uint32_t i = 0; i < MEMORY_FILES_MAX; i++)
        opened[i] = test.damaged.files[i].opened > 0;
    picture_tails(&test);
    uint32_t at = 0;
    for (uint32_t i = 0; i < MEMORY_FILES_MAX; i++) {
        struct memory_file *file = &test.damaged.files[i];
        if (file->bytes == NULL || file->gone || at++ % parts != part - 1)
            continue;
        flip_file(&test, file, all && opened[i]);
        truncate_file(&test, file, all && opened[i]);
    }
    printf("%" PRIu32 " files; %" PRIu64 " damaged directories: %" PRIu64 " recovered whole (%" PRIu64
           " from the older snapshot), %" PRIu64 " cut at the last batch, %" PRIu64 " refused\n",
           at, test.trials, test.all, test.older, test.cuts, test.refused);
    if (test.cuts == 0 && parts == 1)
        test.failures++;
    printf("%u passed, %" PRIu64 " failed\n", test.failures == 0, test.failures);
    free(test.picture);
    for (uint32_t i = 0; i < test.tail_count; i++)
        free(test.tails[i].picture);
    memory_disk_close(&test.whole);
    memory_disk_close(&test.damaged);
    return test.failures == 0 ? 0 : 1;
}
