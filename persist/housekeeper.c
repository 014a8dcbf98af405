/*
 * housekeeper.c - what has to be done with files beside the writing of batches: what shards' threads see of
 * it, the order of its steps, and segments made ahead. See also: snapshot.c, retention.c, segment.c.
 *
 * Between a shard and the housekeeper's thread there are only these, one writer each but for the two that
 * are handed over, empty to full by the one and full to empty by the other:
 *
 *     shard                                           housekeeper
 *     want = segment + 1     ───────────────────────▶ makes it
 *                            ◀───── made ──────────── full: the file       (the shard empties it)
 *     durable, bytes         ───────────────────────▶ when to begin, when a generation counts
 *                            ◀───── scarce ──────────
 *                            ◀───── generation ────── a snapshot is to be begun
 *     begun_at, then begun   ───────────────────────▶
 *     slice, then full       ───────────────────────▶ written, or thrown away; then empties it
 *
 * All that is handed over is written before a release and read behind an acquire. A shard never waits.
 *
 * Order of a step: a segment (a shard may be waiting for it), else the snapshot, else what can go.
 *
 * A segment that cannot be made: scarce is set, told once, and tried again every retry_ms, after a look at
 * what could be removed. The first that succeeds ends it.
 */
#include "persist/housekeeper_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
housekeeper_open(struct housekeeper **ret_housekeeper, const struct disk *disk,
                 const struct housekeeper_settings *settings, const struct recovered *recovered,
                 housekeeper_told *told, void *told_context)
{
    assert(settings->shard_count > 0);
    assert(settings->shard_count <= SHARDS_MAX);
    assert(settings->segment_bytes >= SEGMENT_BYTES_MIN);
    assert(settings->snapshot_bytes > 0);
    assert(settings->slice_bytes > 0);
    assert(settings->slice_bytes % 8 == 0);
    void *memory;
    if (posix_memalign(&memory, SIDE_ALIGN, sizeof(struct housekeeper)) != 0)
        return -ENOMEM;
    struct housekeeper *housekeeper = memory;
    memset(housekeeper, 0, sizeof *housekeeper);
    housekeeper->disk = *disk;
    housekeeper->settings = *settings;
    if (housekeeper->settings.retry_ms == 0)
        housekeeper->settings.retry_ms = 1;
    housekeeper->told = told;
    housekeeper->told_context = told_context;
    housekeeper->bytes_recovered = recovered->journal_bytes;
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        housekeeper->snapshot.parts[i].file = -1;

    int result = 0;
    for (uint32_t i = 0; i < settings->shard_count && result == 0; i++) {
        /* reserved, and touched only when a snapshot is written */
        if (posix_memalign(&memory, BLOCK_BYTES, batch_size(settings->slice_bytes)) != 0)
            result = -ENOMEM;
        else
            housekeeper->sides[i].slice = memory;
    }
    if (result == 0)
        result = retention_open(housekeeper, recovered->generation);
    if (result != 0) {
        housekeeper_close(housekeeper);
        return result;
    }
    *ret_housekeeper = housekeeper;
    return 0;
}

void
housekeeper_close(struct housekeeper *housekeeper)
{
    if (housekeeper == NULL)
        return;
    snapshot_drop(housekeeper);
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        uint32_t segment;
        int file = housekeeper_made(housekeeper, i, &segment);
        if (file >= 0)
            (void)housekeeper->disk.close(housekeeper->disk.context, file); /* nothing was written to it */
        free(housekeeper->sides[i].slice);
    }
    free(housekeeper);
}

/* ---- segments ---- */

static void
make_segment(struct housekeeper *housekeeper, uint32_t shard, uint32_t segment, uint64_t now_ms)
{
    const struct file_header wanted = {
        .route_seed = housekeeper->settings.route_seed,
        .epoch = housekeeper->settings.epoch,
        .time_ms = now_ms,
        .file_size = housekeeper->settings.segment_bytes,
        .shard = shard,
        .shard_count = housekeeper->settings.shard_count,
        .segment = segment,
    };
    int file;
    int result = segment_make(&housekeeper->disk, &wanted, &file, NULL);
    bool scarce = atomic_load_explicit(&housekeeper->scarce, memory_order_relaxed);
    if (result != 0) {
        housekeeper->segment_again_ms = now_ms + housekeeper->settings.retry_ms;
        retention_urged(housekeeper);
        atomic_store_explicit(&housekeeper->scarce, true, memory_order_release);
        if (!scarce)
            housekeeper->told(housekeeper->told_context, NEWS_SEGMENT_FAILED, shard, result);
        return;
    }
    struct side *side = &housekeeper->sides[shard];
    assert(atomic_load_explicit(&side->made, memory_order_acquire) == 0);
    housekeeper->given[shard] = (uint64_t)segment + 1;
    atomic_store_explicit(&side->made, (uint64_t)segment << 32 | ((uint32_t)file + 1),
                          memory_order_release);
    housekeeper->segment_again_ms = 0;
    if (scarce) {
        atomic_store_explicit(&housekeeper->scarce, false, memory_order_release);
        housekeeper->told(housekeeper->told_context, NEWS_SEGMENT_AGAIN, shard, 0);
    }
}

static bool
segments_step(struct housekeeper *housekeeper, uint64_t now_ms)
{
    if (now_ms < housekeeper->segment_again_ms)
        return false;
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        uint32_t shard = (housekeeper->next_shard + i) % housekeeper->settings.shard_count;
        uint64_t want = atomic_load_explicit(&housekeeper->sides[shard].want, memory_order_acquire);
        if (want <= housekeeper->given[shard])
            continue;
        housekeeper->next_shard = shard + 1;
        make_segment(housekeeper, shard, (uint32_t)(want - 1), now_ms);
        return true;
    }
    return false;
}

bool
housekeeper_step(struct housekeeper *housekeeper, uint64_t now_ms)
{
    return segments_step(housekeeper, now_ms) || snapshot_step(housekeeper, now_ms) ||
           retention_step(housekeeper, now_ms);
}

void
housekeeper_snapshot(struct housekeeper *housekeeper)
{
    atomic_store_explicit(&housekeeper->asked, true, memory_order_release);
}

bool
housekeeper_snapshot_under_way(const struct housekeeper *housekeeper)
{
    return housekeeper->snapshot.phase != SNAPSHOT_NONE;
}

uint64_t
housekeeper_snapshots_ended(const struct housekeeper *housekeeper)
{
    return atomic_load_explicit(&housekeeper->ended, memory_order_acquire);
}

/* ---- shard s ---- */

static struct side *
side_of(struct housekeeper *housekeeper, uint32_t shard)
{
    assert(shard < housekeeper->settings.shard_count);
    return &housekeeper->sides[shard];
}

bool
housekeeper_want(struct housekeeper *housekeeper, uint32_t shard, uint32_t segment)
{
    struct side *side = side_of(housekeeper, shard);
    uint64_t want = (uint64_t)segment + 1;
    uint64_t before = atomic_load_explicit(&side->want, memory_order_relaxed);
    if (want == before)
        return false;
    assert(want > before);
    atomic_store_explicit(&side->want, want, memory_order_release);
    return true;
}

int
housekeeper_made(struct housekeeper *housekeeper, uint32_t shard, uint32_t *ret_segment)
{
    struct side *side = side_of(housekeeper, shard);
    uint64_t made = atomic_load_explicit(&side->made, memory_order_acquire);
    if (made == 0)
        return -1;
    *ret_segment = (uint32_t)(made >> 32);
    atomic_store_explicit(&side->made, 0, memory_order_release);
    return (int)((uint32_t)made - 1);
}

bool
housekeeper_scarce(const struct housekeeper *housekeeper)
{
    return atomic_load_explicit(&housekeeper->scarce, memory_order_acquire);
}

void
housekeeper_durable(struct housekeeper *housekeeper, uint32_t shard, uint64_t sequence, uint64_t bytes)
{
    struct side *side = side_of(housekeeper, shard);
    atomic_store_explicit(&side->durable, sequence, memory_order_release);
    atomic_store_explicit(&side->bytes, bytes, memory_order_release);
}

uint64_t
housekeeper_generation(const struct housekeeper *housekeeper, uint32_t shard)
{
    assert(shard < housekeeper->settings.shard_count);
    uint64_t generation = atomic_load_explicit(&housekeeper->generation, memory_order_acquire);
    uint64_t begun = atomic_load_explicit(&housekeeper->sides[shard].begun, memory_order_relaxed);
    return generation != begun ? generation : 0;
}

void
housekeeper_begun(struct housekeeper *housekeeper, uint32_t shard, const struct journal_position *position)
{
    struct side *side = side_of(housekeeper, shard);
    uint64_t generation = housekeeper_generation(housekeeper, shard);
    assert(generation != 0);
    assert(position->epoch == housekeeper->settings.epoch);
    assert(position->shard == shard);
    side->begun_at = *position;
    atomic_store_explicit(&side->begun, generation, memory_order_release);
}

uint8_t *
housekeeper_slice(struct housekeeper *housekeeper, uint32_t shard)
{
    struct side *side = side_of(housekeeper, shard);
    if (atomic_load_explicit(&side->full, memory_order_acquire))
        return NULL;
    return side->slice + sizeof(struct batch_header);
}

void
housekeeper_sliced(struct housekeeper *housekeeper, uint32_t shard, uint32_t records_size,
                   uint32_t record_count, uint64_t sequence, uint64_t now_ms, bool last)
{
    struct side *side = side_of(housekeeper, shard);
    assert(!atomic_load_explicit(&side->full, memory_order_acquire));
    assert(records_size <= housekeeper->settings.slice_bytes);
    side->slice_size = records_size;
    side->slice_records = record_count;
    side->slice_reflects = sequence;
    side->slice_ms = now_ms;
    side->slice_last = last;
    atomic_store_explicit(&side->full, true, memory_order_release);
}
