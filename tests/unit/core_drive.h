/*
 * core_drive.h - one to five shards of the core with mailboxes, journals and a clock, in one thread, driven
 * by commands and answers as lines of text, so that a test reads like a session:
 *
 *     expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
 *     expect(drive, "HELD unit=A/1/1 remaining=9 next=300000", "HOLD e u2 SEAT A/1/1");
 *     expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1");
 *
 * Commands are those of the RESP interface; "a = " names the hold that is given back, and the name stands
 * for its id from then on (a name that was never given is an id that does not exist). In answers: "new"
 * where HTTP would say 201, "again" for a key's replay; seats as name:version, pools as name*quantity,
 * times as milliseconds from now, counts as capacity=free+held+sold. A token: its state, its position,
 * "none" where there is no chance; "t = JOIN e u1", "QGET t 1000" (waits at most so long), LEAVE, WATCH t
 * 7, UNWATCH t 7.
 *
 * Every command is taken by the next shard in turn. After each one everything that is under way is
 * finished, every invariant is checked, within shards and across them, and a refused command must have left
 * all counts and seat maps as they were.
 */
#ifndef TESTS_UNIT_CORE_DRIVE_H
#define TESTS_UNIT_CORE_DRIVE_H

#include "core/shard.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DRIVE_SHARDS 5

struct drive;

/* Small bounds, everything remembered for an hour. */
struct shard_settings drive_settings(void);

/* settings: NULL takes drive_settings(); index, count and seeds are set by the drive. Freed by
 * drive_close(). */
struct drive *drive_open(uint32_t shard_count, const struct shard_settings *settings);
void drive_close(struct drive *drive);

/* Stops all shards and rebuilds as many as said from all journals so far. What was not yet in a batch that
 * is on disk is lost. */
void drive_restart(struct drive *drive, uint32_t shard_count);

/* Begins a snapshot in all shards, which every later restart begins from; tells one slice of each, true:
 * all is told. It must be told to its end before a restart. */
void drive_snapshot_begin(struct drive *drive);
bool drive_snapshot_step(struct drive *drive, uint32_t size);

uint64_t drive_now(const struct drive *drive);
struct shard *drive_shard(const struct drive *drive, uint32_t shard);
uint32_t drive_shard_count(const struct drive *drive);
/* Sums over the shards. */
struct shard_figures drive_figures(const struct drive *drive);

/* Time passes; nothing is swept. */
void drive_pass(struct drive *drive, uint64_t ms);
/* Every shard sweeps until nothing is due, and everything under way is finished. */
void drive_sweep(struct drive *drive);
/* Finishes what is under way: messages, batches, writes. */
void drive_run(struct drive *drive);

/* While off, batches are not written: nothing becomes durable. */
void drive_disk(struct drive *drive, bool on);
/* Writes one batch of each shard, on or off, and delivers no message: what comes of it is on no disk yet.
 * False: there was none. */
bool drive_write(struct drive *drive);
/* Messages that a mailbox takes before it is full; UINT32_MAX: no bound. Full mailboxes are emptied by
 * drive_run() only. */
void drive_mailbox(struct drive *drive, uint32_t messages_max);
/* Checks after each command; on at first. Off for long runs, which then call drive_check(). */
void drive_checks(struct drive *drive, bool on);
void drive_check(struct drive *drive);

/* The journal of a shard since the last start, as it is on disk. */
struct bytes drive_journal(const struct drive *drive, uint32_t shard);

/* One command, to its end; the answer is valid for the next dozen asks. */
const char *ask(struct drive *drive, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One command to this shard, without waiting; returns its tag. Names are not given by submit(). */
uint32_t submit(struct drive *drive, uint32_t shard, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The answer to a submitted command as far as it may have left (R2), or NULL. */
const char *answer(struct drive *drive, uint32_t tag);
/* The id behind a name. */
struct uuid drive_id(struct drive *drive, const char *name);

#define expect(drive, wanted, ...) assert_string_equal(ask(drive, __VA_ARGS__), wanted)

/* When the token that was answered last is likely to be active, and when to ask again. */
uint64_t drive_eta_ms(const struct drive *drive, uint64_t *ret_poll_ms);
/* What watchers were pushed since the last call, in order: "WATCH state position; ...". */
const char *drive_pushes(struct drive *drive);

/* All counts and all seat maps, one line an event: what a refused command must not change. */
const char *drive_picture(struct drive *drive);

/* A test of a drive of default settings: drive_test() opens it with so many shards, and closes it. */
struct drive_plan {
    void (*test)(struct drive *drive);
    uint32_t shards;
};
void drive_test(void **state);
#define DRIVE_PLAN(test, shards)                                                                           \
    {                                                                                                      \
#test " on " #shards, drive_test, NULL, NULL, &(struct drive_plan)                                 \
        {                                                                                                  \
            test, shards                                                                                   \
        }                                                                                                  \
    }

/* A small generator of its own, so that runs are the same everywhere (splitmix64). */
uint64_t drive_random(uint64_t *state);

#endif
