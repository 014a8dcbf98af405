/*
 * server_files.h - the files of a running server: what a start makes of them, and the thread that keeps
 * them.
 */
#ifndef HOLDFAST_SERVER_FILES_H
#define HOLDFAST_SERVER_FILES_H

#include "net/shard_threads.h"

struct server_files;

/* Opens the folder of journals, reads and checks all that a recovery needs (nothing is changed), and sets
 * the server's clock: it goes on from the newest record where the wall clock is behind. False: told. */
bool files_open(struct server_files **ret_files, struct server *server);
/* Rebuilds the shards; their threads have taken STEP_OPEN. False: told. */
bool files_recover(struct server_files *files, struct shard_threads *threads);
/* The new epoch: first segments, start file, the housekeeper and its thread. False: told. */
bool files_begin(struct server_files *files, struct shard_threads *threads);
/* Writes a snapshot; all shards run. Returns when it is written, or cannot be. */
void files_snapshot(struct server_files *files);
/* After the shards' threads have ended. */
void files_close(struct server_files *files);

/* What a fault of the recovery means for a person. */
void files_recovery_cause(const struct server *server, int result, const struct journal_fault *fault,
                          char *ret_cause, size_t cause_size);

#endif
