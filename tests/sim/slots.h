/*
 * slots.h - who has a slot of a waiting room, as the clients themselves know it for certain.
 *
 * Nothing here looks into the core, or into the model: only requests and answers count.
 */
#ifndef SIM_SLOTS_H
#define SIM_SLOTS_H

#include "tests/sim/scenario.h"

#define SLOTS_TOKENS (2 * SIM_TOKENS)
#define SLOTS_LIMITS 64

/* Something that may end places is under way; or was, until this moment. */
struct slots_doubt {
    uint32_t open;
    uint64_t until_step;
    uint64_t until_ms;
};

struct slots_token {
    struct uuid id;
    int8_t event; /* -1: not told yet */
    int8_t user;
    bool certain;
    struct slots_doubt doubt;
    uint64_t waiting_step; /* later than this it has been let in */
    uint64_t told_step;    /* and earlier than this */
    uint64_t deadline_ms;
};

/* An active_max that may be in force between these moments. */
struct slots_limit {
    uint32_t active_max;
    uint64_t from_step;
    uint64_t from_ms;
    uint64_t until_step;
    uint64_t until_ms;
};

struct slots {
    const struct scenario *scenario;
    uint32_t token_count;
    uint32_t full_count;       /* times that as many were certain as may be */
    uint32_t full_holds_count; /* holds beside which all other slots were certain */
    uint64_t push_step;        /* pushes up to here have been looked at */
    uint32_t limit_counts[SIM_EVENTS];
    struct slots_limit limits[SIM_EVENTS][SLOTS_LIMITS];
    struct slots_doubt users[SIM_USERS];
    struct slots_doubt events[SIM_EVENTS];
    struct slots_token tokens[SLOTS_TOKENS];
};

void slots_begin(struct slots *slots, const struct scenario *scenario);

/* What the clients of a round sent and were told, in that order; by now_ms all is answered or lost.
 * watch_count: ops to look through for watches. NULL: as it must be; else what is wrong, static storage. */
const char *slots_round(struct slots *slots, const struct op *ops, uint32_t first, uint32_t count,
                        uint32_t watch_count, uint64_t now_ms);

#endif
