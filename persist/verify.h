/* verify.h - `holdfast verify`: is PostgreSQL what the journals say? */
#ifndef HOLDFAST_VERIFY_H
#define HOLDFAST_VERIFY_H

#include "persist/pg.h"

/* Compares every row, up to where the cursor is; the server and the persister may run. Prints what it
 * found. 0: all is the same; 1: something is not, or could not be compared. */
int verify(const char *data, const struct pg_settings *settings);

#endif
