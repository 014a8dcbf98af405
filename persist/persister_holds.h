/*
 * persister_holds.h - the holds that records will still speak of: a bounded memory of what PostgreSQL has.
 *
 * A record of a confirm or an end names a hold by its id alone; its event, user and units are what its
 * placing said. They are remembered here, and what has been forgotten is read from PostgreSQL again
 * (persister_write.h). Between transactions it says the same as PostgreSQL; what a transaction that failed
 * has changed goes with all the rest (holds_clear).
 */
#ifndef HOLDFAST_PERSISTER_HOLDS_H
#define HOLDFAST_PERSISTER_HOLDS_H

#include "core/command.h"
#include "core/record.h"
#include "persist/event_table.h"

struct known_hold {
    struct uuid id;
    struct known_hold *next;  /* in its bucket */
    struct known_hold *newer; /* by last use */
    struct known_hold *older;
    struct known_event *event; /* NULL: nothing is known but its id */
    uint64_t deadline_ms;
    uint64_t ended_ms; /* 0: live or confirmed */
    uint8_t state;     /* enum hold_state */
    uint8_t user_size;
    uint8_t seat_count;
    uint8_t pool_count;
    /* Of the transaction that is being made; cleared with holds_settle(). */
    bool used;                /* named by it */
    bool touched;             /* its row changes */
    bool fresh;               /* its row is new */
    bool versions_moved;      /* those of its units change */
    uint8_t units_read[2];    /* seats and pools that PostgreSQL has told: hold_fit() */
    struct bytes request_id;  /* fresh: views into the transaction's records */
    struct bytes payment_ref; /* of a confirm: likewise */
    struct trace trace;
    /* Seats, then pools, then the user's name: one piece of memory. NULL where the event is. */
    struct record_seat *seats; /* version: that of the last change by this hold, as HTTP shows it */
    struct record_pool *pools;
    char *user;
};

struct known_holds;

int holds_open(struct known_holds **ret_holds, uint64_t bytes_max); /* 0 or -ENOMEM */
void holds_close(struct known_holds *holds);                        /* NULL: nothing */
void holds_clear(struct known_holds *holds);

/* The hold of this id, made with nothing but its id where there is none: *ret_made. NULL: no memory. */
struct known_hold *holds_get(struct known_holds *holds, const struct uuid *id, bool *ret_made);
/* Gives it event, user and units. False: no memory. */
bool hold_fill(struct known_holds *holds, struct known_hold *hold, struct known_event *event,
               struct bytes user, const void *seats, uint8_t seat_count, const void *pools,
               uint8_t pool_count);
/* It was given room for as many units as there may be, and units_read of them were told: it keeps these.
 * False: no memory. */
bool hold_fit(struct known_holds *holds, struct known_hold *hold);
void hold_view_of(const struct known_hold *hold, struct hold_view *ret_view);

/* The transaction stands: its marks are cleared, what no record will speak of again is forgotten, and so is
 * the oldest where there is too much. */
void holds_settle(struct known_holds *holds);

uint64_t holds_count(const struct known_holds *holds);
uint64_t holds_bytes(const struct known_holds *holds);
/* All holds that the transaction has touched, newest use first: NULL begins. */
struct known_hold *holds_next(const struct known_holds *holds, const struct known_hold *hold);

#endif
