/*
 * room.h - people in a waiting room: what each was told, and whether all of it can be true.
 */
#ifndef HOLDFAST_LOAD_ROOM_H
#define HOLDFAST_LOAD_ROOM_H

#include "load/audit.h"
#include "load/speech.h"

enum person_state {
    PERSON_AWAY, /* has not joined yet */
    PERSON_JOINING,
    PERSON_WAITING,
    PERSON_ACTIVE,
    PERSON_GONE, /* paid, left, vanished, or lost the place */
};

struct person {
    struct uuid token; /* all zero: none was told yet */
    uint64_t joined_ns;
    uint64_t active_ns;     /* told active; 0: never */
    uint64_t active_end_ns; /* until then certainly active */
    uint64_t active_end_ms; /* the deadline he was told, by the server's clock */
    uint32_t position;      /* last told; 0: none */
    uint8_t state;          /* enum person_state */
    bool watches;           /* a watch is asked for or stands */
    bool disordered;        /* watched a second time: what is told may come in any order */
    bool barged;            /* got a hold before he was told active, and was found active afterwards */
};

/* Somebody is certainly active from begin to end. */
struct stay {
    uint64_t begin_ns;
    uint64_t end_ns;
};

/* How many stays overlap at most. Sorts them. Ends the process where memory ends. */
uint64_t stays_most(const struct stay *stays, uint64_t count);

/* Tokens that more than one was given. */
uint64_t tokens_twice(const struct person *const *people, const uint64_t *counts, uint32_t threads);

/* Compares what people were told of their places: never more active at once than active_max; nobody has
 * another's place; whoever holds was active, and not after his slot had ended. people: of each thread,
 * buyer b is people[b % threads][b / threads]. */
void room_audit(const struct load_options *options, const struct person *const *people,
                const uint64_t *counts, uint32_t threads, const struct ledger *ledger, struct audit *audit);

/* NULL, or what cannot be true of a position told after another; 0 stands for none. */
const char *position_check(uint32_t before, uint32_t now);

#endif
