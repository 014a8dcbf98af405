/*
 * damage.c - which bits may rot so that nobody may overlook it.
 *
 * A start after this has two right answers: it is refused, and the fault names the file; or everything is
 * there (the place was not needed, or the older generation of the snapshot served), which the audits find
 * out. To lose something silently is never right.
 *
 * See also: docs/journal-format.md, "Where a journal ends".
 */
#include "tests/sim/damage.h"

#include "core/record.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define TRIES_MAX 20

/* The batches of a journal or part, front to back: where the n-th begins; their number. */
static uint32_t
walk(const uint8_t *bytes, uint64_t size, uint64_t *ret_offsets, uint32_t max)
{
    uint32_t count = 0;
    for (uint64_t offset = BLOCK_BYTES; offset < size && count < max; count++) {
        if (batch_check(bytes + offset, size - offset) != BATCH_WHOLE) {
            break;
        }
        struct batch_header header;
        memcpy(&header, bytes + offset, sizeof header);
        ret_offsets[count] = offset;
        offset += header.size;
    }
    return count;
}

static uint64_t
newest(const struct sim_disk *disk, enum file_kind kind, uint32_t *ret_count)
{
    uint64_t number = 0;
    *ret_count = 0;
    for (uint32_t i = 0; i < sim_disk_file_count(disk); i++) {
        struct file_id id;
        if (file_name_parse(sim_disk_file_name(disk, i), &id) && id.kind == kind) {
            number = id.epoch > number ? id.epoch : number;
            (*ret_count)++;
        }
    }
    return number;
}

/* Whether a later segment of this journal has a batch. */
static bool
goes_on(const struct sim_disk *disk, const struct file_id *id)
{
    char name[FILE_NAME_SIZE];
    uint64_t offset = 0;
    uint64_t size = 0;
    file_name(name, FILE_JOURNAL, id->epoch, id->shard, id->segment + 1);
    const uint8_t *bytes = sim_disk_bytes(disk, name, &size);
    return bytes != NULL && walk(bytes, size, &offset, 1) > 0;
}

static void
patch(struct rot *rot, struct sim_disk *disk, const char *name, uint64_t offset, uint32_t after)
{
    uint64_t size = 0;
    rot->bytes = sim_disk_bytes(disk, name, &size);
    assert(offset + sizeof after <= size);
    (void)snprintf(rot->name, sizeof rot->name, "%s", name);
    rot->patches[rot->patch_count].offset = offset;
    rot->patches[rot->patch_count].after = after;
    memcpy(&rot->patches[rot->patch_count].before, rot->bytes + offset, sizeof after);
    rot->patch_count++;
    sim_disk_rot(disk, name, offset, &after, sizeof after);
}

static void
flip(struct rot *rot, struct sim_disk *disk, struct random *random, const char *name, uint64_t offset)
{
    uint64_t size = 0;
    uint32_t word = 0;
    offset -= offset % sizeof word;
    memcpy(&word, sim_disk_bytes(disk, name, &size) + offset, sizeof word);
    patch(rot, disk, name, offset, word ^ 1u << random_below(random, 32));
}

/* Where in the batch the deadline of a new hold stands; 0: it has none. */
static uint32_t
deadline_at(const uint8_t *batch)
{
    struct batch_header header;
    memcpy(&header, batch, sizeof header);
    uint32_t at = sizeof header;
    while (at < sizeof header + header.records_size) {
        struct record record;
        if (!record_decode(batch + at, header.size - at, &record)) {
            return 0;
        }
        if (record.header->type == RECORD_HOLD_PLACED) {
            uint32_t key = record.key != NULL ? sizeof *record.key : 0;
            return at + (uint32_t)(sizeof *record.header + key + offsetof(struct record_hold, deadline_ms));
        }
        at += record.header->size;
    }
    return 0;
}

/* The batch is whole by itself, and not what was written: some hold has another deadline. Only the link
 * from the next batch to it is broken. */
static bool
forge(struct rot *rot, struct sim_disk *disk, const char *name, uint64_t offset)
{
    uint64_t size = 0;
    const uint8_t *batch = sim_disk_bytes(disk, name, &size) + offset;
    uint32_t at = deadline_at(batch);
    if (at == 0) {
        return false;
    }
    uint32_t deadline = 0;
    memcpy(&deadline, batch + at, sizeof deadline);
    struct batch_header header;
    memcpy(&header, batch, sizeof header);
    patch(rot, disk, name, offset + at, deadline ^ 1024);
    uint32_t checked = offsetof(struct batch_header, crc) + sizeof header.crc;
    patch(rot, disk, name, offset + offsetof(struct batch_header, crc),
          crc32c(0, batch + checked, header.size - checked));
    rot->forged = true;
    return true;
}

/* One try at this file. */
static bool
rot_file(struct rot *rot, struct sim_disk *disk, struct random *random, const char *name)
{
    static uint64_t offsets[4096];
    struct file_id id;
    uint64_t size = 0;
    const uint8_t *bytes = sim_disk_bytes(disk, name, &size);
    if (!file_name_parse(name, &id) || size == 0) {
        return false;
    }
    uint32_t count = 0;
    uint64_t epoch = newest(disk, FILE_START, &count);
    uint64_t generation = newest(disk, FILE_SNAPSHOT, &rot->snapshot_count);
    bool batches = id.kind == FILE_JOURNAL || id.kind == FILE_PART;
    uint32_t batch_count = batches ? walk(bytes, size, offsets, 4096) : 0;
    rot->newest_snapshot = id.kind != FILE_JOURNAL && id.kind != FILE_START && id.epoch == generation;
    if (id.kind == FILE_JOURNAL && id.epoch > epoch) {
        return false; /* of a start that did not come that far: nothing was ever answered from it */
    }
    for (uint32_t i = 0; batch_count > 1 && random_chance(random, 80) && i < 8; i++) {
        if (forge(rot, disk, name, offsets[random_below(random, batch_count - 1)])) {
            return true;
        }
    }
    uint64_t end = size;
    if (id.kind == FILE_JOURNAL && id.epoch == epoch && !goes_on(disk, &id)) {
        end = batch_count > 0 ? offsets[batch_count - 1] : BLOCK_BYTES;
    } else if (id.kind == FILE_JOURNAL && batch_count > 0 && random_chance(random, 80)) {
        end = offsets[batch_count - 1] + BLOCK_BYTES;
    }
    flip(rot, disk, random, name, random_below(random, (uint32_t)end));
    return true;
}

void
rot_begin(struct rot *rot, struct sim_disk *disk, struct random *random)
{
    *rot = (struct rot){.bytes = NULL};
    bool snapshots = random_chance(random, 40);
    for (uint32_t i = 0; i < TRIES_MAX && rot->patch_count == 0; i++) {
        const char *name = sim_disk_file_name(disk, random_below(random, sim_disk_file_count(disk)));
        struct file_id id;
        bool of_snapshot = file_name_parse(name, &id) && id.kind != FILE_JOURNAL && id.kind != FILE_START;
        if (of_snapshot == snapshots) {
            (void)rot_file(rot, disk, random, name);
        }
    }
}

bool
rot_active(const struct rot *rot)
{
    return rot->bytes != NULL;
}

/* Two names of one journal, or of one generation's parts. */
static bool
related(const char *a, const char *b)
{
    struct file_id x;
    struct file_id y;
    return file_name_parse(a, &x) && file_name_parse(b, &y) && x.kind == y.kind && x.epoch == y.epoch &&
           x.shard == y.shard;
}

bool
rot_explains(const struct rot *rot, const struct journal_fault *fault)
{
    if (!rot_active(rot) || (rot->newest_snapshot && rot->snapshot_count > 1)) {
        return false; /* the older one should have served */
    }
    return strcmp(fault->file, rot->name) == 0 || (rot->forged && related(fault->file, rot->name));
}

void
rot_repair(struct rot *rot, struct sim_disk *disk)
{
    uint64_t size = 0;
    if (sim_disk_bytes(disk, rot->name, &size) == rot->bytes) {
        for (uint32_t i = 0; i < rot->patch_count; i++) {
            uint64_t offset = rot->patches[i].offset;
            if (offset + 4 <= size && memcmp(rot->bytes + offset, &rot->patches[i].after, 4) == 0) {
                sim_disk_rot(disk, rot->name, offset, &rot->patches[i].before, 4);
            }
        }
    }
    rot->bytes = NULL;
}
