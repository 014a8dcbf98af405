/*
 * migrate.h - the numbered files of persist/migrations, which are built into the binary.
 */
#ifndef HOLDFAST_MIGRATE_H
#define HOLDFAST_MIGRATE_H

#include "persist/pg.h"

/* Applies those that the database has not, each in a transaction of its own, in order, under an advisory
 * lock: several may try at a time. A database that has one which this binary does not know is refused, and
 * so is one whose text has changed since. *ret_applied: how many. False: *ret_error, with what to do. */
bool migrate(struct pg *pg, uint32_t *ret_applied, struct pg_error *ret_error);

/* How many there are. */
uint32_t migration_count(void);

#endif
