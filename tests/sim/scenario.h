/*
 * scenario.h - what one seed plays: its parameters, its events, and requests in the core's own form.
 */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "core/shard.h"
#include "tests/sim/history.h"
#include "tests/sim/random.h"

struct section_plan {
    char name[NAME_SIZE_MAX + 1];
    bool regular;
    uint32_t row_count;
    uint32_t row_seats[SIM_ROWS];
    uint32_t row_first[SIM_ROWS]; /* index of the row's first seat in the event */
    char row_names[SIM_ROWS][NAME_SIZE_MAX + 1];
    uint32_t seat_first;
    uint32_t seat_count;
};

struct event_plan {
    char id[EVENT_ID_SIZE_MAX + 1];
    uint32_t section_count;
    uint32_t pool_count;
    struct section_plan sections[SIM_SECTIONS];
    struct {
        char name[NAME_SIZE_MAX + 1];
        uint32_t capacity;
    } pools[SIM_POOLS];
    uint32_t seat_count;
    uint32_t hold_seconds;
    uint32_t hold_seconds_max;
    uint32_t limit;
    uint64_t opens_at_ms;
    uint32_t active_max; /* 0: no queue */
    uint32_t active_seconds;
    uint32_t grace_seconds;
    bool lottery;
    const struct event_settings *settings;
    const struct event_settings *other_settings; /* the same id, one thing different */
};

/* Each seed draws its own: that is what makes rare corners common somewhere (swarm testing). */
struct scenario {
    uint64_t seed;
    uint32_t shard_count;
    uint32_t event_count;
    uint32_t user_count;
    uint32_t round_count;
    uint32_t concurrency_max; /* requests under way at once; 1: a sequential seed */
    uint32_t pause_percent;
    uint32_t clock_percent;  /* chance that the clock moves inside a round */
    uint32_t crash_percent;  /* chance of a crash in a round */
    uint32_t refuse_percent; /* chance that a mailbox has no room */
    uint32_t deliver_weight; /* how willing messages are to arrive ... */
    uint32_t write_weight;   /* ... and writes to end, against everything else */
    uint32_t key_percent;
    uint32_t text_size;   /* of request ids and payment references: records of more than a sector */
    uint32_t keep_weight; /* how willing the housekeeper is */
    uint64_t segment_bytes;
    uint64_t snapshot_bytes; /* of journal, then a snapshot begins */
    uint32_t slice_bytes;    /* of records in one slice of a snapshot */
    uint32_t laggard;        /* tells its part of a snapshot long after the others; UINT32_MAX: nobody */
    uint32_t full_percent;   /* chance in a step that the disk is full from then on */
    uint32_t fail_percent;   /* of what is done to files of a snapshot fails */
    uint32_t die_percent;    /* of the crashes: a batch's write fails; of the others: */
    uint32_t power_percent;  /* the power goes, and not only the process */
    uint32_t again_percent;  /* chance that the start after a crash does not come to its end, either */
    uint32_t rot_percent;    /* chance that a bit is another one after a crash */
    uint32_t check_every;    /* shard_check() at every n-th step: 1, but where planted bugs are hunted */
    bool memory_mode;        /* answers leave before they are durable: a crash may take them back */
    bool bounded;            /* small pools in the core: BUSY and forgetting are allowed */
    bool hot;                /* few seats, short holds, many crashes, snapshots without end */
    bool best_alone;         /* best is asked for while nothing else is under way */
    bool settings_change;    /* EVENT SET is among the requests */
    bool queues;             /* some event has a queue */
    bool few_places;         /* and the core has room for a few of them: joins are BUSY */
    struct shard_settings shard; /* all but index, count and seeds */
    uint64_t start_ms;
    struct event_plan events[SIM_EVENTS];
};

/* Draws everything of a scenario; hot: of those seeds in which what is rare meets, else a fifth of them are
 * so. Memory for settings is static: one scenario at a time. */
void scenario_draw(struct scenario *scenario, struct random *random, uint64_t seed, bool hot);

/* Turns a request into a command. The command's views point into static memory that stays valid until
 * the call with the same op number modulo SIM_OPS. */
void scenario_command(const struct scenario *scenario, const struct op *op, uint32_t op_index,
                      struct command *ret_command);

/* Copies a reply into an answer. A SEATS piece is appended to what the answer holds. */
void scenario_answer(const struct scenario *scenario, const struct reply *reply, struct answer *answer);

/* Index of a seat in its event, or -1 where it does not exist. */
int32_t scenario_seat(const struct event_plan *event, struct request_seat seat);
struct request_seat scenario_seat_at(const struct event_plan *event, uint32_t index);

/* Names as the core's answers spell them. */
void scenario_seat_text(const struct scenario *scenario, int8_t event, struct request_seat seat,
                        char *ret_text, size_t size);
const char *scenario_section_name(const struct scenario *scenario, int8_t event, int8_t section);
const char *scenario_pool_name(const struct scenario *scenario, int8_t event, int8_t pool);

/* One line about a request or an answer, for --trace and failures. */
void scenario_print_request(const struct scenario *scenario, const struct op *op);
void scenario_print_answer(const struct scenario *scenario, const struct answer *answer);

#endif
