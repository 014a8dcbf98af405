/*
 * persister_follow.h - what is certain in the journals of one epoch after another.
 *
 * Certain is what no start of the server will ever cut (docs/journal-format.md, "Where a journal ends"):
 *
 *     a batch behind which another whole one stands   the journal has one write on its way at a time
 *     a batch before the end that the next epoch's start file notes
 *     the last batch, once we have made the file durable ourselves: it was whole when it was read, and what
 * is whole on disk is taken
 *
 * All journals of an epoch come to their ends before anything of the next epoch is given: a hold's records
 * move to another journal where the number of shards changes. Within an epoch journals are independent of
 * each other.
 */
#ifndef HOLDFAST_PERSISTER_FOLLOW_H
#define HOLDFAST_PERSISTER_FOLLOW_H

#include "persist/journal_tool_internal.h"
#include "persist/persister_session.h"

enum follow {
    FOLLOW_BATCH,  /* *ret_batch: the next certain batch of some journal, valid until the next call */
    FOLLOW_NONE,   /* nothing more is certain now */
    FOLLOW_EPOCH,  /* all of the epoch has been given: follower_next_epoch() goes on */
    FOLLOW_FAILED, /* fault: damage, or a file that is missing */
};

struct follower;

/* folder stays open as long. place->epoch is not 0. 0 or -ENOMEM. */
int follower_open(struct follower **ret_follower, const struct data_folder *folder,
                  const struct persister_place *place);
void follower_close(struct follower *follower); /* NULL: nothing */

enum follow follower_next(struct follower *follower, uint64_t now_ms,
                          const struct batch_header **ret_batch);
/* Behind what has been given, batches without records included. */
void follower_positions(const struct follower *follower, struct persister_place *place);
/* After FOLLOW_EPOCH. False: fault (nothing has changed). */
bool follower_next_epoch(struct follower *follower);
const struct journal_fault *follower_fault(const struct follower *follower);

/* The shards of an epoch, from its start file. 0: there is none (yet). */
uint32_t follow_shard_count(const struct data_folder *folder, uint64_t epoch);
/* Where each journal of an epoch ends, from the start file of the next one. False: there is none (yet). */
bool follow_ends(const struct data_folder *folder, uint64_t epoch, uint32_t shard_count,
                 struct journal_position ret_ends[SHARDS_MAX]);

#endif
