/*
 * housekeeper.h - what has to be done with files beside the writing of batches: segments made ahead, parts
 * of snapshots written, what is not needed any more removed.
 *
 * One thread of the server (and of the simulator: a step at a time) calls housekeeper_step(); shards'
 * threads call the functions marked "shard s". Between the two there are only atomics (R6).
 */
#ifndef HOLDFAST_HOUSEKEEPER_H
#define HOLDFAST_HOUSEKEEPER_H

#include "persist/disk.h"
#include "persist/journal_format.h"
#include "persist/segment.h"

struct housekeeper;

struct housekeeper_settings {
    uint64_t epoch;
    uint64_t route_seed;
    uint64_t segment_bytes;
    uint64_t snapshot_bytes; /* of journal, all shards together, after which a snapshot begins */
    uint32_t shard_count;
    uint32_t slice_bytes; /* room for one slice of a snapshot */
    uint64_t retry_ms;    /* after a failure: a full disk is asked again so often; 0 counts as 1 */
    /* Reads what the persister has published into ret_text: lines `epoch shard sequence segment`, one for
     * each journal that it has not come to the end of; a segment is passed when its journal's line names a
     * later one, or when every line is of a later epoch. Returns its bytes; -ENOENT: there is no persister;
     * another negative errno: not known, and everything is kept. NULL: no persister. Called in
     * housekeeper_step(). */
    int (*persisted)(void *context, char *ret_text, size_t size);
    void *persisted_context;
};

/* What the caller hears of, for logs and metrics; called in housekeeper_step()'s thread. */
enum housekeeper_news {
    NEWS_SEGMENT_FAILED,  /* could not make a segment of shard `number`. Told once, until it works again */
    NEWS_SEGMENT_AGAIN,   /* it works again */
    NEWS_SNAPSHOT,        /* generation `number` counts from now on */
    NEWS_SNAPSHOT_FAILED, /* generation `number` will never be: result says why; another one is tried later
                           */
    NEWS_REMOVE_FAILED,   /* could not remove a file that is not needed. Told once, until it works again */
};
typedef void housekeeper_told(void *context, enum housekeeper_news news, uint64_t number, int result);

/* What recovery found (recovery.h). */
struct recovered {
    uint64_t generation;    /* the newest one that is whole, 0: none; its manifest is read from the disk */
    uint64_t journal_bytes; /* that this start had to read: they count towards the next snapshot */
};
/* Settings and disk are copied. 0 or negative errno: -ENOMEM, or what the disk said (-EBADMSG: the manifest
 * is not whole any more). */
int housekeeper_open(struct housekeeper **ret_housekeeper, const struct disk *disk,
                     const struct housekeeper_settings *settings, const struct recovered *recovered,
                     housekeeper_told *told, void *told_context);
/* No thread is in it any more. Files that nobody has fetched are closed; a snapshot under way is given up:
 * its files are removed at the next start. */
void housekeeper_close(struct housekeeper *housekeeper);

/* Does one thing that is to be done, of bounded length. True: it did something, and there may be more.
 * False: call again when woken (housekeeper_want() was true, a slice was filled, a snapshot asked for), or
 * after 10 ms: durability is not told by a call of its own. now_ms: the shards' clock. */
bool housekeeper_step(struct housekeeper *housekeeper, uint64_t now_ms);

/* Begins a snapshot at the next step, whatever has been written (at the end of the server); while one is
 * under way, another one behind it. */
void housekeeper_snapshot(struct housekeeper *housekeeper);
/* One is under way; told by the thread of housekeeper_step() only. */
bool housekeeper_snapshot_under_way(const struct housekeeper *housekeeper);
/* Generations that have ended since the start, well or not. */
uint64_t housekeeper_snapshots_ended(const struct housekeeper *housekeeper);

/* ---- shard s ---- */

/* The segment that its journal wants (journal_segment_wanted(), not UINT32_MAX); idempotent. True: the
 * housekeeper's thread has something new to do (wake it). */
bool housekeeper_want(struct housekeeper *housekeeper, uint32_t shard, uint32_t segment);
/* That segment's file, once, when it is made: the caller's from then on; else -1. */
int housekeeper_made(struct housekeeper *housekeeper, uint32_t shard, uint32_t *ret_segment);
/* True while segments cannot be made: new holds are to be refused. */
bool housekeeper_scarce(const struct housekeeper *housekeeper);

/* How far this shard's journal is durable: parts that reflect more have to wait. */
void housekeeper_durable(struct housekeeper *housekeeper, uint32_t shard, uint64_t sequence,
                         uint64_t bytes);

/* The generation that is being written and that this shard has not begun, or 0. */
uint64_t housekeeper_generation(const struct housekeeper *housekeeper, uint32_t shard);
/* It begins its part of it here. */
void housekeeper_begun(struct housekeeper *housekeeper, uint32_t shard,
                       const struct journal_position *position);
/* Room for the next slice, slice_bytes of records, 8-aligned; NULL: the one before is still being written.
 */
uint8_t *housekeeper_slice(struct housekeeper *housekeeper, uint32_t shard);
/* The slice is filled. sequence: up to which it reflects the shard's records. last: of this part. Also when
 * the snapshot has failed meanwhile: slices are then taken and thrown away, so that the shard need not
 * know. */
void housekeeper_sliced(struct housekeeper *housekeeper, uint32_t shard, uint32_t records_size,
                        uint32_t record_count, uint64_t sequence, uint64_t now_ms, bool last);

#endif
