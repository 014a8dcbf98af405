/*
 * snapshot.c - a generation of the snapshot: its parts, then its manifest. A part of the housekeeper.
 *
 *     NONE ──▶ WRITING ──▶ NAMING ──▶ COVERING ──▶ NONE          it counts
 *                 │           │          │
 *                 ▼           ▼          ▼
 *              DRAINING ─────────────────────────▶ NONE          it failed: its files are removed
 *
 *     NONE      until snapshot_bytes of journal have been written since the last one, or one is asked for
 *     WRITING   a slice of any shard: a batch of its part, NNN.part.tmp; until every shard's last one
 *     NAMING    a part: sync, close, rename; then, behind the last one, the folder is synced
 *     COVERING  until every record that some part reflects is durable; then the manifest: written, synced,
 *               renamed, the folder synced. From here on the generation counts
 *     DRAINING  slices are taken and thrown away until every shard's last one, so that shards need no abort
 *
 * Whatever part has a name is whole, and whatever manifest has a name has its parts: at any crash there are
 * the generations that counted, and leftovers without a manifest. A manifest whose name may or may not be
 * on disk (the folder's sync failed) is taken back, and its parts stay until that is certain.
 *
 * A number is never used twice, so leftovers of one that failed are never taken for another one's.
 */
#include "persist/housekeeper_internal.h"

#include "core/plant.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS     60000u             /* after one that failed, however little has been written since */
#define UNSYNCED_MAX (4u * 1024 * 1024) /* of a part: so that no sync at its end takes long */

/* Bytes of all journals, those that were replayed at the start included. */
static uint64_t
journal_total(struct housekeeper *housekeeper)
{
    uint64_t total = housekeeper->bytes_recovered;
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++)
        total += atomic_load_explicit(&housekeeper->sides[i].bytes, memory_order_acquire);
    return total;
}

/* ---- a part ---- */

static void
part_names(const struct housekeeper *housekeeper, uint32_t shard, char ret_name[FILE_NAME_SIZE],
           char ret_tmp[TMP_NAME_SIZE])
{
    file_name(ret_name, FILE_PART, housekeeper->snapshot.generation, shard, 0);
    file_name_tmp(ret_tmp, ret_name);
}

static int
part_begin(struct housekeeper *housekeeper, uint32_t shard, uint64_t now_ms)
{
    const struct disk *disk = &housekeeper->disk;
    struct part *part = &housekeeper->snapshot.parts[shard];
    char name[FILE_NAME_SIZE], tmp[TMP_NAME_SIZE];
    part_names(housekeeper, shard, name, tmp);
    part->begun = true;
    int result = disk->create(disk->context, tmp, DISK_PLAIN, 0, &part->file);
    if (result != 0) {
        part->file = -1;
        return result;
    }
    _Alignas(8) uint8_t block[BLOCK_BYTES] = {0};
    struct file_header *header = (struct file_header *)block;
    header->route_seed = housekeeper->settings.route_seed;
    header->epoch = housekeeper->settings.epoch;
    header->time_ms = now_ms;
    header->generation = housekeeper->snapshot.generation;
    header->shard = shard;
    header->shard_count = housekeeper->settings.shard_count;
    uint32_t size = file_seal(block, sizeof block, FILE_PART);
    part->chain = header->crc;
    part->offset = size;
    return disk->write(disk->context, part->file, block, size, 0);
}

/* Makes a batch of the slice and writes it. */
static int
part_slice(struct housekeeper *housekeeper, uint32_t shard, uint64_t now_ms)
{
    const struct disk *disk = &housekeeper->disk;
    struct part *part = &housekeeper->snapshot.parts[shard];
    struct side *side = &housekeeper->sides[shard];
    int result = part->file < 0 ? part_begin(housekeeper, shard, now_ms) : 0;
    if (result != 0)
        return result;
    struct batch_header *header = (struct batch_header *)side->slice;
    *header = (struct batch_header){
        .chain = part->chain,
        .epoch = housekeeper->settings.epoch,
        .shard = (uint16_t)shard,
        .shard_count = (uint16_t)housekeeper->settings.shard_count,
        .flags = side->slice_last ? BATCH_LAST : 0,
        .number = part->number,
        .sequence_first = side->slice_reflects + 1,
        .sequence_last = side->slice_reflects,
        .time_ms = side->slice_ms,
        .records_size = side->slice_size,
        .record_count = side->slice_records,
    };
    batch_seal(side->slice);
    result = disk->write(disk->context, part->file, side->slice, header->size, part->offset);
    if (result != 0)
        return result;
    part->chain = header->crc;
    part->number++;
    part->offset += header->size;
    part->unsynced += header->size;
    if (part->unsynced < UNSYNCED_MAX)
        return 0;
    part->unsynced = 0;
    return disk->sync(disk->context, part->file);
}

static int
part_name(struct housekeeper *housekeeper, uint32_t shard)
{
    const struct disk *disk = &housekeeper->disk;
    struct part *part = &housekeeper->snapshot.parts[shard];
    char name[FILE_NAME_SIZE], tmp[TMP_NAME_SIZE];
    part_names(housekeeper, shard, name, tmp);
    assert(part->last);
    assert(part->file >= 0);
    int result = PLANTED(PLANT_PART_NOT_SYNCED) ? 0 : disk->sync(disk->context, part->file);
    if (result != 0)
        return result;
    result = disk->close(disk->context, part->file);
    part->file = -1;
    if (result != 0)
        return result;
    part->named = true;
    return disk->rename(disk->context, tmp, name);
}

/* ---- the manifest ---- */

static int
manifest_write(struct housekeeper *housekeeper, const struct journal_position positions[], uint64_t now_ms)
{
    const struct disk *disk = &housekeeper->disk;
    struct snapshot *snapshot = &housekeeper->snapshot;
    const uint32_t shard_count = housekeeper->settings.shard_count;
    _Alignas(8) uint8_t block[BLOCK_BYTES] = {0};
    static_assert(sizeof(struct file_header) + SHARDS_MAX * sizeof(struct journal_position) <= sizeof block,
                  "all positions fit");
    struct file_header *header = (struct file_header *)block;
    header->route_seed = housekeeper->settings.route_seed;
    header->epoch = housekeeper->settings.epoch;
    header->time_ms = now_ms;
    header->generation = snapshot->generation;
    header->shard_count = shard_count;
    header->position_count = shard_count;
    memcpy(block + sizeof *header, positions, shard_count * sizeof positions[0]);
    uint32_t size = file_seal(block, sizeof block, FILE_SNAPSHOT);

    char name[FILE_NAME_SIZE], tmp[TMP_NAME_SIZE];
    file_name(name, FILE_SNAPSHOT, snapshot->generation, 0, 0);
    file_name_tmp(tmp, name);
    int file;
    snapshot->manifest_begun = true;
    int result = disk->create(disk->context, tmp, DISK_PLAIN, 0, &file);
    if (result != 0)
        return result;
    result = disk->write(disk->context, file, block, size, 0);
    if (result == 0)
        result = disk->sync(disk->context, file);
    int closed = disk->close(disk->context, file);
    if (result == 0)
        result = closed;
    if (result != 0)
        return result;
    snapshot->manifest_named = true;
    result = disk->rename(disk->context, tmp, name);
    return result == 0 ? disk->sync_folder(disk->context) : result;
}

/* ---- its end ---- */

static void
end(struct housekeeper *housekeeper, enum housekeeper_news news, int result)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    snapshot->phase = SNAPSHOT_NONE;
    atomic_store_explicit(&housekeeper->generation, 0, memory_order_release);
    housekeeper->told(housekeeper->told_context, news, snapshot->generation, result);
    atomic_fetch_add_explicit(&housekeeper->ended, 1, memory_order_release);
}

static bool
remove_if_there(struct housekeeper *housekeeper, const char *name)
{
    int result = housekeeper->disk.remove(housekeeper->disk.context, name);
    return result == 0 || result == -ENOENT;
}

/* Removes what there is of it; what cannot be removed now goes when a later generation counts, or at the
 * next start. A part goes only when there is certainly no manifest. */
static void
remove_files(struct housekeeper *housekeeper)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    char name[FILE_NAME_SIZE], tmp[TMP_NAME_SIZE];
    file_name(name, FILE_SNAPSHOT, snapshot->generation, 0, 0);
    file_name_tmp(tmp, name);
    if (snapshot->manifest_begun)
        (void)remove_if_there(housekeeper, tmp);
    if (snapshot->manifest_named && (!remove_if_there(housekeeper, name) ||
                                     housekeeper->disk.sync_folder(housekeeper->disk.context) != 0))
        return;
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        if (!snapshot->parts[i].begun)
            continue;
        part_names(housekeeper, i, name, tmp);
        (void)remove_if_there(housekeeper, tmp);
        if (snapshot->parts[i].named)
            (void)remove_if_there(housekeeper, name);
    }
}

/* Ends one that failed, once every shard has handed over its last slice. */
static void
end_failed(struct housekeeper *housekeeper, uint64_t now_ms)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    remove_files(housekeeper);
    snapshot->failed = true;
    snapshot->failed_ms = now_ms;
    snapshot->mark = journal_total(housekeeper);
    end(housekeeper, NEWS_SNAPSHOT_FAILED, snapshot->result);
}

void
snapshot_drop(struct housekeeper *housekeeper)
{
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        struct part *part = &housekeeper->snapshot.parts[i];
        if (part->file >= 0)
            (void)housekeeper->disk.close(housekeeper->disk.context, part->file); /* it will not be used */
        part->file = -1;
    }
}

static void
fail(struct housekeeper *housekeeper, int result)
{
    housekeeper->snapshot.phase = SNAPSHOT_DRAINING;
    housekeeper->snapshot.result = result;
    snapshot_drop(housekeeper);
}

/* ---- steps ---- */

static bool
begin(struct housekeeper *housekeeper, uint64_t now_ms)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    uint64_t total = journal_total(housekeeper);
    bool asked = atomic_exchange_explicit(&housekeeper->asked, false, memory_order_acq_rel);
    bool again = snapshot->failed && now_ms >= snapshot->failed_ms + RETRY_MS;
    if (!asked && !again && total - snapshot->mark < housekeeper->settings.snapshot_bytes)
        return false;
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++)
        snapshot->parts[i] = (struct part){.file = -1};
    snapshot->manifest_begun = false;
    snapshot->manifest_named = false;
    snapshot->bytes = total;
    snapshot->generation++;
    snapshot->phase = SNAPSHOT_WRITING;
    atomic_store_explicit(&housekeeper->generation, snapshot->generation, memory_order_release);
    return true;
}

/* Takes one slice of some shard, to write it or to throw it away. False: there is none. */
static bool
take_slice(struct housekeeper *housekeeper, uint64_t now_ms)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        uint32_t shard = (snapshot->next_shard + i) % housekeeper->settings.shard_count;
        struct side *side = &housekeeper->sides[shard];
        struct part *part = &snapshot->parts[shard];
        if (!atomic_load_explicit(&side->full, memory_order_acquire))
            continue;
        assert(!part->last);
        snapshot->next_shard = shard + 1;
        part->last = side->slice_last;
        if (side->slice_reflects > part->reflects)
            part->reflects = side->slice_reflects;
        if (snapshot->phase == SNAPSHOT_WRITING && (side->slice_records > 0 || side->slice_last)) {
            int result = part_slice(housekeeper, shard, now_ms);
            if (result != 0)
                fail(housekeeper, result);
        }
        atomic_store_explicit(&side->full, false, memory_order_release);
        return true;
    }
    return false;
}

static bool
all_last(const struct housekeeper *housekeeper)
{
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        if (!housekeeper->snapshot.parts[i].last)
            return false;
    }
    return true;
}

/* Names one part; behind the last one all names are made durable. */
static void
name_parts(struct housekeeper *housekeeper)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    int result;
    uint32_t shard = 0;
    while (shard < housekeeper->settings.shard_count && snapshot->parts[shard].named)
        shard++;
    if (shard < housekeeper->settings.shard_count)
        result = part_name(housekeeper, shard);
    else {
        result = housekeeper->disk.sync_folder(housekeeper->disk.context);
        snapshot->phase = SNAPSHOT_COVERING;
    }
    if (result != 0)
        fail(housekeeper, result);
}

/* Every record that a part reflects is durable: else a start from this generation would know of records
 * that no journal has. */
static bool
covered(struct housekeeper *housekeeper)
{
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        uint64_t durable = atomic_load_explicit(&housekeeper->sides[i].durable, memory_order_acquire);
        if (durable < housekeeper->snapshot.parts[i].reflects && !PLANTED(PLANT_SNAPSHOT_TOO_SOON))
            return false;
    }
    return true;
}

static void
finish(struct housekeeper *housekeeper, uint64_t now_ms)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    struct journal_position positions[SHARDS_MAX];
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++) {
        uint64_t begun = atomic_load_explicit(&housekeeper->sides[i].begun, memory_order_acquire);
        assert(begun == snapshot->generation);
        positions[i] = housekeeper->sides[i].begun_at;
    }
    int result = manifest_write(housekeeper, positions, now_ms);
    if (result != 0) {
        fail(housekeeper, result);
        return;
    }
    snapshot->failed = false;
    snapshot->mark = snapshot->bytes;
    retention_counts(housekeeper, positions);
    end(housekeeper, NEWS_SNAPSHOT, 0);
}

bool
snapshot_step(struct housekeeper *housekeeper, uint64_t now_ms)
{
    struct snapshot *snapshot = &housekeeper->snapshot;
    switch (snapshot->phase) {
    case SNAPSHOT_NONE:
        return begin(housekeeper, now_ms);
    case SNAPSHOT_WRITING:
        if (take_slice(housekeeper, now_ms))
            return true;
        if (!all_last(housekeeper))
            return false;
        snapshot->phase = SNAPSHOT_NAMING;
        return true;
    case SNAPSHOT_NAMING:
        name_parts(housekeeper);
        return true;
    case SNAPSHOT_COVERING:
        if (!covered(housekeeper))
            return false;
        finish(housekeeper, now_ms);
        return true;
    case SNAPSHOT_DRAINING:
        if (take_slice(housekeeper, now_ms))
            return true;
        if (!all_last(housekeeper))
            return false;
        end_failed(housekeeper, now_ms);
        return true;
    }
    return false;
}
