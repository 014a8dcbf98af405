/*
 * persister_place.h - where to go on, and what of the journal may be removed.
 */
#ifndef HOLDFAST_PERSISTER_PLACE_H
#define HOLDFAST_PERSISTER_PLACE_H

#include "persist/journal_tool_internal.h"
#include "persist/persister_session.h"

#define PLACE_TEXT_SIZE_MAX 512

enum place_found {
    PLACE_GOOD,     /* here it goes on */
    PLACE_EMPTY,    /* no server has come so far as to write a journal */
    PLACE_SNAPSHOT, /* of the journal only the end is there: begin with the newest snapshot */
    PLACE_WRONG,    /* ret_text says why, and what to do */
};

/* Where PostgreSQL has nothing yet (place->epoch is 0): the beginning of all journals, if they are there
 * from their beginning. Else: does the journal have what comes next? */
enum place_found place_find(const struct data_folder *folder, struct persister_place *place,
                            char ret_text[PLACE_TEXT_SIZE_MAX]);

/* Writes DIR/persist.position: the server keeps what comes from there on (docs/journal-format.md). epoch 0:
 * everything. 0 or negative errno. */
int place_publish(const char *data, const struct persister_place *place);
/* The same with everything, unless there is such a file already. */
int place_publish_first(const char *data);

#endif
