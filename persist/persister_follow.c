/*
 * persister_follow.c - reads the journals of an epoch side by side, and holds back the last batch of each
 * until it is certain. Polling is cheap: at its end a journal is asked with one small read.
 *
 *                          reader        kept            given
 *     journal ── batch n+1 ──▶ │ ── n+1 ──▶ │ ── n ──────▶ whoever asks
 *
 * Of all journals the oldest batch is given first.
 *
 * The last batch of a journal that has become quiet is made certain with fsync(2): one for each quiet
 * journal, and not more often than every SYNC_EVERY_MS. It flushes the disk's cache, which the server's own
 * writes do likewise.
 */
#include "persist/persister_follow.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_AFTER_MS 40  /* quiet for so long */
#define SYNC_EVERY_MS 200 /* of one journal */
#define LOOK_EVERY_MS 50  /* for the next epoch */

struct followed {
    struct journal_reader *reader;
    uint8_t *kept[2]; /* copies of batches: the one that is held back, and the one that was given */
    size_t capacity[2];
    uint32_t which;
    bool has_kept; /* kept[which] is held back */
    uint64_t kept_since_ms;
    uint64_t synced_ms;
    struct journal_position given; /* behind what was given */
    struct journal_position end;   /* noted by the next epoch's start file */
};

struct follower {
    const struct data_folder *folder;
    uint64_t epoch;
    uint32_t shard_count;
    uint32_t next; /* the journal that is asked first */
    bool ended;    /* the next epoch has begun: `end` of each is known */
    uint64_t looked_ms;
    struct followed journals[SHARDS_MAX];
    struct journal_fault fault;
};

/* ---- start files ---- */

/* A start file, read and checked; freed by the caller. NULL: there is none, or (fault, if wanted) it is not
 * whole. */
static uint8_t *
read_start(const struct data_folder *folder, uint64_t epoch, struct journal_fault *fault)
{
    struct journal_fault found = {0};
    int file;
    uint64_t size;
    uint8_t *bytes = NULL;
    file_name(found.file, FILE_START, epoch, 0, 0);
    int result = folder->disk.open(folder->disk.context, found.file, &file, &size);
    if (result == -ENOENT)
        return NULL;
    const char *wrong = NULL;
    if (result == 0) {
        if (size < BLOCK_BYTES || size > 16 * BLOCK_BYTES || size % BLOCK_BYTES != 0)
            wrong = "it has a size that no such file has";
        else if ((bytes = aligned_alloc(BLOCK_BYTES, (size_t)size)) == NULL)
            result = -ENOMEM;
        else
            result = folder->disk.read(folder->disk.context, file, bytes, (size_t)size, 0);
        (void)folder->disk.close(folder->disk.context, file); /* only read from */
    }
    if (result == 0 && wrong == NULL) {
        const struct file_header *header = (const struct file_header *)bytes;
        wrong = file_check(bytes, (size_t)size, FILE_START);
        if (wrong == NULL && (header->checked_size != size || header->route_seed != folder->route_seed ||
                              header->epoch != epoch || header->shard_count == 0 ||
                              header->shard_count > SHARDS_MAX || header->position_count > SHARDS_MAX))
            wrong = "its header does not fit its name or this data directory";
    }
    if (result == 0 && wrong == NULL)
        return bytes;
    free(bytes);
    found.error = result;
    (void)snprintf(found.text, sizeof found.text, "%s",
                   wrong != NULL ? wrong : strerror(-result)); /* fits */
    if (fault != NULL)
        *fault = found;
    return NULL;
}

uint32_t
follow_shard_count(const struct data_folder *folder, uint64_t epoch)
{
    uint8_t *start = read_start(folder, epoch, NULL);
    uint32_t count = start != NULL ? ((const struct file_header *)start)->shard_count : 0;
    free(start);
    return count;
}

bool
follow_ends(const struct data_folder *folder, uint64_t epoch, uint32_t shard_count,
            struct journal_position ret_ends[SHARDS_MAX])
{
    uint8_t *start = read_start(folder, epoch + 1, NULL);
    if (start == NULL)
        return false;
    const struct file_header *header = (const struct file_header *)start;
    const struct journal_position *positions = (const struct journal_position *)(start + sizeof *header);
    uint32_t found = 0;
    for (uint32_t i = 0; i < header->position_count; i++)
        if (positions[i].epoch == epoch && positions[i].shard < shard_count) {
            ret_ends[positions[i].shard] = positions[i];
            found++;
        }
    free(start);
    return found == shard_count;
}

/* Has the next epoch begun? Then it says where this one's journals end. */
static void
look_for_end(struct follower *follower, uint64_t now_ms)
{
    struct journal_position ends[SHARDS_MAX];
    if (follower->ended || now_ms < follower->looked_ms + LOOK_EVERY_MS)
        return;
    follower->looked_ms = now_ms;
    follower->ended = follow_ends(follower->folder, follower->epoch, follower->shard_count, ends);
    for (uint32_t i = 0; i < follower->shard_count && follower->ended; i++)
        follower->journals[i].end = ends[i];
}

/* ---- one journal ---- */

static bool
same_place(const struct journal_position *a, const struct journal_position *b)
{
    return a->segment == b->segment && a->offset == b->offset && a->batch == b->batch &&
           a->sequence == b->sequence;
}

static bool
keep(struct followed *journal, const struct batch_header *batch, uint64_t now_ms)
{
    uint32_t other = 1 - journal->which;
    size_t size = sizeof *batch + batch->records_size;
    if (journal->capacity[other] < size) {
        uint8_t *bytes = malloc(size * 2);
        if (bytes == NULL)
            return false;
        free(journal->kept[other]);
        journal->kept[other] = bytes;
        journal->capacity[other] = size * 2;
    }
    memcpy(journal->kept[other], batch, size);
    journal->kept_since_ms = now_ms;
    return true;
}

/* The batch that is held back is certain: it is given. */
static enum follow
give(struct followed *journal, const struct batch_header **ret_batch)
{
    const struct batch_header *batch = (const struct batch_header *)journal->kept[journal->which];
    struct journal_position *given = &journal->given;
    given->offset += batch->size;
    given->batch++;
    given->chain = batch->crc;
    given->sequence = batch->sequence_last;
    if ((batch->flags & BATCH_CLOSES) != 0) {
        given->segment++;
        given->offset = BLOCK_BYTES;
    }
    *ret_batch = batch;
    return FOLLOW_BATCH;
}

static const struct batch_header *
kept_batch(const struct followed *journal)
{
    return (const struct batch_header *)journal->kept[journal->which];
}

/* Nothing stands behind the batch that is held back. Is it certain all the same? */
static enum follow
look_at_last(struct follower *follower, struct followed *journal, uint64_t now_ms,
             const struct batch_header **ret_batch)
{
    struct journal_position at = journal_reader_position(journal->reader);
    if (follower->ended) {
        if (journal->has_kept && same_place(&at, &journal->end)) {
            journal->has_kept = false;
            return give(journal, ret_batch);
        }
        if (!journal->has_kept && same_place(&at, &journal->end))
            return FOLLOW_EPOCH; /* of this journal */
        follower->fault = (struct journal_fault){.offset = at.offset};
        file_name(follower->fault.file, FILE_JOURNAL, at.epoch, at.shard, at.segment);
        (void)snprintf(follower->fault.text, sizeof follower->fault.text,
                       "it ends here, but the start after it noted another end"); /* fits */
        return FOLLOW_FAILED;
    }
    if (!journal->has_kept || kept_batch(journal)->record_count == 0 ||
        now_ms < journal->kept_since_ms + SYNC_AFTER_MS || now_ms < journal->synced_ms + SYNC_EVERY_MS)
        return FOLLOW_NONE;
    journal->synced_ms = now_ms;
    int result = journal_reader_sync(journal->reader);
    if (result != 0)
        return FOLLOW_NONE; /* the server will cover it */
    journal->has_kept = false;
    return give(journal, ret_batch);
}

static enum follow
next_of(struct follower *follower, struct followed *journal, uint64_t now_ms,
        const struct batch_header **ret_batch)
{
    const struct batch_header *batch;
    struct journal_position at = journal_reader_position(journal->reader);
    if (follower->ended && at.batch > 0 && same_place(&at, &journal->end))
        return look_at_last(follower, journal, now_ms, ret_batch);
    enum journal_read read = journal_reader_next(journal->reader, &batch);
    if (read == READ_END)
        return look_at_last(follower, journal, now_ms, ret_batch);
    if (read != READ_BATCH) {
        follower->fault = *journal_reader_fault(journal->reader);
        return FOLLOW_FAILED;
    }
    if (!keep(journal, batch, now_ms)) {
        follower->fault = (struct journal_fault){.error = -ENOMEM, .text = "no memory"};
        return FOLLOW_FAILED;
    }
    bool before = journal->has_kept;
    enum follow result = FOLLOW_NONE;
    if (before)
        result = give(journal, ret_batch); /* stays in its place until the one after next is kept */
    journal->which = 1 - journal->which;
    journal->has_kept = true;
    return result;
}

/* ---- all of them ---- */

/* The journal whose next batch is the oldest, of those that have not been asked; -1: all have. One that has
 * none in hand comes first: it may be older than all. */
static int
oldest_journal(const struct follower *follower, uint64_t asked)
{
    int oldest = -1;
    uint64_t oldest_ms = UINT64_MAX;
    for (uint32_t i = 0; i < follower->shard_count; i++) {
        uint32_t at = (follower->next + i) % follower->shard_count;
        const struct followed *journal = &follower->journals[at];
        uint64_t time_ms = journal->has_kept ? kept_batch(journal)->time_ms : 0;
        if ((asked >> at & 1) == 0 && (oldest < 0 || time_ms < oldest_ms)) {
            oldest = (int)at;
            oldest_ms = time_ms;
        }
    }
    return oldest;
}

/* By time, over all journals: who places a hold has been told of its event before, so the event's record is
 * given before the hold's, or not much later. By turns it could be a million records later. */
enum follow
follower_next(struct follower *follower, uint64_t now_ms, const struct batch_header **ret_batch)
{
    uint32_t ended = 0;
    uint64_t asked = 0;
    look_for_end(follower, now_ms);
    for (int at; (at = oldest_journal(follower, asked)) >= 0;) {
        struct followed *journal = &follower->journals[at];
        bool had = journal->has_kept;
        enum follow result = next_of(follower, journal, now_ms, ret_batch);
        if (result == FOLLOW_BATCH || result == FOLLOW_FAILED) {
            follower->next = ((uint32_t)at + 1) % follower->shard_count;
            return result;
        }
        if (!had && journal->has_kept)
            continue; /* now its time is known */
        asked |= UINT64_C(1) << at;
        ended += result == FOLLOW_EPOCH;
    }
    return ended == follower->shard_count ? FOLLOW_EPOCH : FOLLOW_NONE;
}

static_assert(SHARDS_MAX <= 64, "a bit for each");

void
follower_positions(const struct follower *follower, struct persister_place *place)
{
    place->epoch = follower->epoch;
    place->shard_count = follower->shard_count;
    for (uint32_t i = 0; i < follower->shard_count; i++)
        place->positions[i] = follower->journals[i].given;
}

const struct journal_fault *
follower_fault(const struct follower *follower)
{
    return &follower->fault;
}

static void
drop_journals(struct follower *follower)
{
    for (uint32_t i = 0; i < follower->shard_count; i++) {
        struct followed *journal = &follower->journals[i];
        if (journal->reader != NULL)
            journal_reader_close(journal->reader);
        free(journal->kept[0]);
        free(journal->kept[1]);
        *journal = (struct followed){0};
    }
    follower->shard_count = 0;
}

static int
take_journals(struct follower *follower, const struct persister_place *place)
{
    follower->epoch = place->epoch;
    follower->shard_count = place->shard_count;
    follower->next = 0;
    follower->ended = false;
    follower->looked_ms = 0;
    for (uint32_t i = 0; i < place->shard_count; i++) {
        struct followed *journal = &follower->journals[i];
        struct journal_position position = place->positions[i];
        if (position.offset == 0)
            position.offset = BLOCK_BYTES;
        journal->given = position;
        if (journal_reader_open(&journal->reader, &follower->folder->disk, follower->folder->route_seed,
                                &position) != 0) {
            drop_journals(follower);
            return -ENOMEM;
        }
        journal_reader_follow(journal->reader);
    }
    return 0;
}

bool
follower_next_epoch(struct follower *follower)
{
    struct persister_place place = {.epoch = follower->epoch + 1};
    place.shard_count = follow_shard_count(follower->folder, place.epoch);
    if (place.shard_count == 0) {
        uint8_t *start = read_start(follower->folder, place.epoch, &follower->fault);
        free(start);
        return false;
    }
    for (uint32_t i = 0; i < place.shard_count; i++)
        place.positions[i] = (struct journal_position){.epoch = place.epoch, .shard = i};
    drop_journals(follower);
    return take_journals(follower, &place) == 0;
}

int
follower_open(struct follower **ret_follower, const struct data_folder *folder,
              const struct persister_place *place)
{
    struct follower *follower = calloc(1, sizeof *follower);
    assert(place->epoch != 0);
    if (follower == NULL)
        return -ENOMEM;
    follower->folder = folder;
    int result = take_journals(follower, place);
    if (result != 0) {
        free(follower);
        return result;
    }
    *ret_follower = follower;
    return 0;
}

void
follower_close(struct follower *follower)
{
    if (follower == NULL)
        return;
    drop_journals(follower);
    free(follower);
}
