/*
 * ledger.h - what the buyers were told: every hold that was granted, with its units.
 */
#ifndef HOLDFAST_LOAD_LEDGER_H
#define HOLDFAST_LOAD_LEDGER_H

#include "holdfast/types.h"

enum grant_state {
    GRANT_HELD,
    GRANT_CONFIRMED,
    GRANT_UNSURE,   /* a confirm was sent and its answer never came */
    GRANT_RELEASED, /* given back at ended_ms */
    GRANT_LEAVING,  /* the same, and its answer never came */
};

struct grant {
    struct uuid hold;
    uint64_t deadline_ms;
    uint64_t read_ms;  /* when its answer was read, by our clock; 0: not noted */
    uint64_t ended_ms; /* when the buyer asked to give it back, by our clock */
    uint32_t buyer;
    uint32_t seat_first; /* in the ledger's seats */
    uint16_t units;
    uint8_t seat_count; /* 0: units of a pool */
    uint8_t state;      /* enum grant_state */
};

struct granted_seat {
    uint32_t seat; /* row * seats in a row + number - 1 */
    uint32_t version;
};

struct ledger {
    struct grant *grants;
    uint32_t grant_count;
    uint32_t grant_room;
    struct granted_seat *seats;
    uint32_t seat_count;
    uint32_t seat_room;
};

/* Adds a grant and its grant.seat_count seats; sets its seat_first. Returns its index. Ends the process
 * where memory ends: a load that forgets what it was told proves nothing. */
uint32_t ledger_add(struct ledger *ledger, struct grant grant, const struct granted_seat *seats);

void ledger_merge(struct ledger *into, const struct ledger *from);
void ledger_done(struct ledger *ledger);

/*
 * Units that were promised to more than one at the same time, by the answers alone: of the grants without
 * seats the greatest sum of units of live holds above the stock (0: there is none); of those with seats the
 * grants of a seat that came while an earlier one still lived. A hold lives from its start (the deadline
 * less hold_seconds: both by the server's clock) to its deadline or until its buyer gave it back, a
 * confirmed one for ever.
 */
uint64_t ledger_oversold(const struct ledger *ledger, uint32_t stock, uint32_t hold_seconds);

/* The hold's id as text of UUID_TEXT_SIZE characters, and back; false where the text is no UUID. */
void hold_text_write(const struct uuid *hold, char *ret_text);
bool hold_text_read(struct bytes text, struct uuid *ret_hold);

#endif
