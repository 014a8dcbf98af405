/*
 * persister_lag.h - what stands in the journals and is not in PostgreSQL yet.
 *
 * Measured when it is asked for, from the files and the place alone: so it is true whatever the persister
 * is doing, also while PostgreSQL is away and nothing is read, and costs nothing while nobody asks.
 */
#ifndef HOLDFAST_PERSISTER_LAG_H
#define HOLDFAST_PERSISTER_LAG_H

#include <pthread.h>

#include "persist/journal_tool_internal.h"
#include "persist/persister_session.h"

struct lag {
    uint64_t ms;      /* age of the oldest record that is not carried; 0: all are */
    uint64_t records; /* behind the place, of all journals */
    uint64_t bytes;   /* of journal, from the place to the end; 0 where there are no records */
};

/* The place as of the last commit, for another thread than the one that commits. */
struct lag_meter {
    pthread_mutex_t lock;
    struct persister_place place;
    struct lag last; /* shown again where a look fails: a file was being removed, say */
};

void lag_meter_open(struct lag_meter *meter);
void lag_meter_close(struct lag_meter *meter);
/* PostgreSQL is here now. */
void lag_meter_move(struct lag_meter *meter, const struct persister_place *place);
/* Any thread. */
struct lag lag_meter_read(struct lag_meter *meter, const struct data_folder *folder, uint64_t wall_ms);

/* The same for any place. 0 or negative errno. */
int lag_measure(const struct data_folder *folder, const struct persister_place *place, uint64_t wall_ms,
                struct lag *ret_lag);

#endif
