/*
 * damage.h - one place of the disk that is not what was written there.
 */
#ifndef SIM_DAMAGE_H
#define SIM_DAMAGE_H

#include "persist/journal_reader.h"
#include "tests/sim/disk.h"

struct rot {
    const uint8_t *bytes; /* of the file it is in; NULL: none */
    char name[DISK_NAME_SIZE];
    bool forged;             /* a batch, and its crc with it: only the next one can tell */
    bool newest_snapshot;    /* in the newest generation ... */
    uint32_t snapshot_count; /* ... of so many */
    uint32_t patch_count;
    struct {
        uint64_t offset;
        uint32_t before;
        uint32_t after;
    } patches[2]; /* four bytes each */
};

/*
 * Changes one bit of one file, or one batch together with its crc, on a disk at rest after a crash. Not
 * touched: what nothing could tell from a torn write (the last batch of a journal of the newest epoch), and
 * what nothing could tell at all (the last batch of any file, forged). Nothing suitable: no rot.
 */
void rot_begin(struct rot *rot, struct sim_disk *disk, struct random *random);
bool rot_active(const struct rot *rot);

/* A start that is refused with this fault is refused for that. */
bool rot_explains(const struct rot *rot, const struct journal_fault *fault);

/* As it was, if the file is there still. */
void rot_repair(struct rot *rot, struct sim_disk *disk);

#endif
