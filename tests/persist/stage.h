/*
 * stage.h - a small Holdfast without sockets and threads: shards, their journals, the housekeeper, on a
 * memory disk. What net/server.c does, one step after the other.
 */
#ifndef TESTS_PERSIST_STAGE_H
#define TESTS_PERSIST_STAGE_H

#include "core/shard.h"
#include "persist/recovery.h"
#include "tests/persist/memory_disk.h"

#define STAGE_SHARDS  3
#define STAGE_SEED    0x5eed5eed5eedull
#define STAGE_SEGMENT (64u * 1024u)
#define STAGE_NOW     1800000000000ull

struct stage;

enum stage_how {
    STAGE_SERVE, /* a whole start: the next epoch begins */
    STAGE_LOOK,  /* recovery only; nothing on the disk is changed, nothing may be changed by a command */
};

/* 0, or what recovery said, with *ret_fault. The disk is the caller's, and outlives the stage. */
int stage_open(struct stage **ret_stage, struct memory_disk *disk, uint32_t shard_count, enum stage_how how,
               uint64_t now_ms, struct journal_fault *ret_fault);
/* As a kill does it: nothing is finished. */
void stage_close(struct stage *stage);

const struct recovery_report *stage_report(const struct stage *stage);
/* A journal's write has failed: the process would have ended. */
bool stage_dead(const struct stage *stage);
/* New holds are refused for want of room. */
bool stage_scarce(const struct stage *stage);

/* Time passes; everything under way is finished, seals and sweeps included. */
void stage_pass(struct stage *stage, uint64_t ms);

/* A line of text, "EVENT e", "HOLD e u1 A/1/1 A/1/2", "POOL e u1 2", "CONFIRM u1 n", "RELEASE u1 n",
 * "EXTEND u1 n": n is the number of the hold in order of success, from 0. STATUS_COUNT: no answer came. */
enum status stage_do(struct stage *stage, const char *line);

/* Asks for a snapshot and waits for its end. False: it failed. */
bool stage_snapshot(struct stage *stage);

/* Holds that were answered, on this stage or one before it on the same disk. */
struct stage_book {
    struct uuid holds[64];
    uint32_t count;
};
struct stage_book *stage_book(struct stage *stage);
void stage_set_book(struct stage *stage, const struct stage_book *book);

/* Everything that can be asked, as text: events with counts and maps, and the holds of the book.
 * malloc()ed. */
char *stage_picture(struct stage *stage);

#endif
