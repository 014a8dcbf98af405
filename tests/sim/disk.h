/*
 * disk.h - a folder on a disk that loses power: what persist/ writes to in the simulator.
 *
 * What is on the disk, and what only the system knows yet, are kept apart, as persist/disk.h promises no
 * more:
 *
 *     bytes   DISK_PLAIN: on the disk after sync(). DISK_DURABLE: when write() has ended. Before: any of
 * their 512-byte sectors may be there; an unsynced file may be shorter than it was made names   there after
 * sync_folder(); before, any of the changes, or their first few, may be batch   the one asynchronous write
 * a file may have (sim_disk_begin); until sim_disk_end() any of its sectors, or parts of them
 *
 * One thread. Chance comes from the stream that disk_empty() is given.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "persist/disk.h"
#include "tests/sim/random.h"

#define DISK_SECTOR    512u
#define DISK_NAME_SIZE 48u

struct sim_disk;

struct sim_disk *sim_disk_open(void);

/* An empty folder without faults. */
void sim_disk_empty(struct sim_disk *disk, struct random *random);

/* As persist/ sees it. */
struct disk sim_disk_interface(struct sim_disk *disk);

/* ---- faults ---- */

/* No room: what would need more fails with -ENOSPC. */
void sim_disk_full(struct sim_disk *disk, bool full);
bool sim_disk_is_full(const struct sim_disk *disk);
/* Of 100 calls that change a file whose name contains `part`, so many fail with -EIO; 0: none. The text is
 * the caller's. */
void sim_disk_fail(struct sim_disk *disk, const char *part, uint32_t percent);
/* The power goes away in the middle of the n-th call from now on that changes something: that call and all
 * after it fail with -EIO. 0: it stays. */
void sim_disk_lose_power_at(struct sim_disk *disk, uint32_t calls);
void sim_disk_lose_power(struct sim_disk *disk); /* now */
bool sim_disk_lost_power(const struct sim_disk *disk);
/* Calls that changed something, since sim_disk_empty(). */
uint64_t sim_disk_changes(const struct sim_disk *disk);

/* ---- the write of a batch ---- */

void sim_disk_begin(struct sim_disk *disk, int file, const void *data, uint32_t size, uint64_t offset);
/* All of it is on the disk. */
void sim_disk_end(struct sim_disk *disk, int file);

/* ---- crashes ---- */

enum sim_disk_crash {
    CRASH_KILL,  /* the process ends: what was written stays; of a batch on its way any sectors */
    CRASH_POWER, /* only what is durable stays for certain */
};
/* Ends every file and every batch on its way. Faults end, too. */
void sim_disk_crash(struct sim_disk *disk, enum sim_disk_crash how);

/* ---- damage ---- */

uint32_t sim_disk_file_count(const struct sim_disk *disk);
/* The n-th name, in the order of the folder. */
const char *sim_disk_file_name(const struct sim_disk *disk, uint32_t index);
/* A file's bytes; NULL: no such name. */
const uint8_t *sim_disk_bytes(const struct sim_disk *disk, const char *name, uint64_t *ret_size);
/* Changes them behind everybody's back: on the disk, and so for whoever reads. */
void sim_disk_rot(struct sim_disk *disk, const char *name, uint64_t offset, const void *data, size_t size);

#endif
