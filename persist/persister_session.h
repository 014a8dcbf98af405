/*
 * persister_session.h - a connection that may carry: the schema is there and ours, the lock is held.
 */
#ifndef HOLDFAST_PERSISTER_SESSION_H
#define HOLDFAST_PERSISTER_SESSION_H

#include "holdfast/limits.h"
#include "persist/journal_format.h"
#include "persist/pg.h"

/* How far PostgreSQL is. */
struct persister_place {
    uint64_t step;        /* number of the last transaction */
    uint64_t epoch;       /* 0: nothing has been carried yet */
    uint32_t shard_count; /* of the epoch */
    struct journal_position positions[SHARDS_MAX];
};

/* application_name: says where this process is. text holds at least 128 bytes. */
void session_application(char *ret_text, size_t size);

/* Connects; where `first`, also migrates and looks at what this role may do. Then the lock. False:
 * *ret_error, whose text says what to do. *ret_locked_by_other: the error is that another persister is at
 * work. */
bool session_open(const struct pg_settings *settings, bool first, struct pg **ret_pg,
                  bool *ret_locked_by_other, struct pg_error *ret_error);

/* Whose database it is, and how far. It becomes this directory's where it is nobody's. False: *ret_error.
 */
bool session_place(struct pg *pg, uint64_t route_seed, struct persister_place *ret_place,
                   struct pg_error *ret_error);

/* The same without a claim: for who only looks. */
bool session_look(struct pg *pg, uint64_t route_seed, struct persister_place *ret_place,
                  struct pg_error *ret_error);

#endif
