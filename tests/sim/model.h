/*
 * model.h - the rules of the interface once more, plain and slow: what each request must answer.
 *
 * It shares no code with core/. One model is one possible truth; it takes one request at a time.
 * compare.c compares what it predicts with what was told, linearize.c finds the order.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "tests/sim/scenario.h"

struct model_seat {
    int16_t holder;   /* slot of the hold that has it, -1: free */
    uint32_t version; /* at least this much */
};

struct model_hold {
    struct uuid id;
    bool id_known;
    bool versions_open; /* the core may have counted further: the next answer tells */
    uint8_t state;      /* enum hold_state; 0: never placed */
    int8_t event;
    int8_t user;
    uint8_t seat_count;
    uint8_t pool_count;
    uint64_t start_ms;
    uint64_t deadline_ms;
    uint64_t ended_ms;
    struct {
        uint16_t index;
        uint32_t version; /* 0: not known yet */
    } seats[HOLD_SEATS_MAX];
    struct {
        uint32_t pool;
        uint32_t quantity;
    } pools[HOLD_POOLS_MAX];
};

/* Who may still see a place that has ended in this round as it was: two shards know of it. */
enum model_stale {
    STALE_NOBODY = 0,
    STALE_HOME,  /* left: holds are still let through, until that is answered */
    STALE_OWNER, /* done by a confirm: still shown as active, until that is answered */
};

struct model_token {
    struct uuid id;
    bool id_known;
    uint8_t state; /* enum token_state; 0: never joined */
    int8_t event;
    int8_t user;
    bool drawn;    /* early, and there is a lottery */
    bool admitted; /* active: the home knows for certain */
    bool unheard;  /* done by a confirm, but its deadline may have ended it first: see queue_confirmed() */
    bool may_be_active;
    bool unswept;    /* ended by silence, but others may still count it */
    uint8_t watched; /* by so many */
    uint8_t stale;
    uint64_t stale_until;   /* step: requests sent before it may see what was */
    uint64_t admitted_step; /* from then on it is certain */
    uint64_t order;
    uint64_t seen_first_ms; /* the last sign of life came between these two */
    uint64_t seen_last_ms;
    uint64_t deadline_first_ms; /* active: the deadline is between these two */
    uint64_t deadline_last_ms;
    uint64_t ended_ms;
};

struct model_key {
    bool used;
    int8_t owner; /* model_key_owner() */
    uint16_t key;
    int16_t op; /* whose request and answer it repeats */
    uint64_t at_ms;
};

struct model_event {
    bool exists;
    bool changed; /* since it was created */
    uint8_t status;
    uint32_t hold_seconds;
    uint32_t limit;
    uint32_t active_max;
    uint32_t active_max_was; /* the largest since the queue was at rest */
    bool units_were_left;    /* then, or since */
    uint64_t ticket;         /* of the next who joins */
    uint32_t capacity[SIM_POOLS];
};

/* Copied often: the long arrays come last and only their used part is copied. */
struct model {
    uint32_t hold_count;
    uint32_t key_count;
    uint32_t token_count;
    uint32_t places;   /* that stood when all was at rest, and who joined since: at most so many stood */
    uint64_t round_ms; /* when this round began: whatever happened since */
    uint32_t seat_counts[SIM_EVENTS];
    struct model_event events[SIM_EVENTS];
    struct model_key keys[SIM_KEYS];
    struct model_hold holds[SIM_HOLDS];
    struct model_token tokens[SIM_TOKENS];
    struct model_seat *seats[SIM_EVENTS]; /* into the memory below */
    struct model_seat memory[];
};

enum model_option {
    MODEL_FORGET_KEY = 1 << 0, /* the key's answer was forgotten: execute */
    MODEL_UNAWARE = 1 << 2,    /* a confirm: its home does not know that the user has been let in */
    MODEL_CRASHED = 1 << 3,    /* positions were told of what the crash then undid */
    MODEL_LOOSE = 1 << 1,      /* others were under way: best is one look, not the best of any moment */
};

size_t model_size(const struct scenario *scenario);
void model_begin(struct model *model, const struct scenario *scenario);
void model_copy(struct model *to, const struct model *from, const struct scenario *scenario);
bool model_equal(const struct model *a, const struct model *b, const struct scenario *scenario);
/* Of what model_equal() compares. */
uint64_t model_hash(uint64_t seed, const struct model *model, const struct scenario *scenario);

/* Executes the op at this moment: changes the model and predicts the answer. ops: all of the run. */
/* An answer is the caller's; its long parts are written as far as they are used. */
void model_execute(struct model *model, const struct scenario *scenario, const struct op *ops,
                   uint32_t op_index, uint64_t now_ms, uint32_t options, struct answer *ret_answer);

/* Makes room for this many holds and keys in all. */
void model_reserve(struct model *model, uint32_t hold_count, uint32_t key_count, uint32_t token_count);

/* Whose key a request has: its user's, or -1: the caller's, where it names no user. */
int8_t model_key_owner(const struct request *request);

/* Gives the units of an overdue hold back. */
void model_sweep(struct model *model, uint32_t hold);

/* Drops holds that ended before anybody learned their id: nobody can ask for them. */
void model_forget_unknown(struct model *model);

/* Slot of a hold by id, or -1. */
int32_t model_find_hold(const struct model *model, const struct uuid *id);

/* Units of a pool that holds have. */
uint32_t model_taken(const struct model *model, int8_t event, uint32_t pool);

/* Live or confirmed: it has its units. */
bool model_hold_has_units(const struct model_hold *hold);

#endif
