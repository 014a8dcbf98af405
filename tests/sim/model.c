/*
 * model.c - the oracle: docs' rules of holds as a plain, slow, obvious program.
 *
 * The truth of a model is its list of holds; everything else (who has a seat, how many units of a pool are
 * taken, what a user has) is counted from it whenever it is needed. Only a seat's holder is kept beside,
 * because maps are looked at often.
 *
 * model_execute() is one request at one moment, in the order of checks that the interface promises. It
 * predicts the whole answer but for what only the core can know: the id of a new hold. model_learn()
 * then compares, and learns.
 *
 * An overdue hold is expired for whoever asks for it, but it has its units until it is swept:
 * model_sweep() is a step of its own, and linearize.c decides when it may have happened.
 */
#include "tests/sim/model.h"
#include "tests/sim/model_queue.h"

#include "core/route.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- the state -------------------------------------------------------------------------------- */

size_t
model_size(const struct scenario *scenario)
{
    size_t seats = 0;
    for (uint32_t i = 0; i < scenario->event_count; i++) {
        seats += scenario->events[i].seat_count;
    }
    return sizeof(struct model) + (seats + 1) * sizeof(struct model_seat);
}

static void
place_seats(struct model *model, const struct scenario *scenario)
{
    struct model_seat *next = model->memory;
    for (uint32_t i = 0; i < scenario->event_count; i++) {
        model->seats[i] = next;
        model->seat_counts[i] = scenario->events[i].seat_count;
        next += model->seat_counts[i];
    }
}

void
model_begin(struct model *model, const struct scenario *scenario)
{
    memset(model, 0, model_size(scenario));
    place_seats(model, scenario);
    for (uint32_t i = 0; i < scenario->event_count; i++) {
        for (uint32_t s = 0; s < model->seat_counts[i]; s++) {
            model->seats[i][s].holder = -1;
        }
    }
}

static size_t
seats_size(const struct scenario *scenario)
{
    return model_size(scenario) - sizeof(struct model);
}

void
model_copy(struct model *to, const struct model *from, const struct scenario *scenario)
{
    memcpy(to, from, offsetof(struct model, keys));
    memcpy(to->keys, from->keys, from->key_count * sizeof from->keys[0]);
    memcpy(to->holds, from->holds, from->hold_count * sizeof from->holds[0]);
    memcpy(to->tokens, from->tokens, from->token_count * sizeof from->tokens[0]);
    memcpy(to->memory, from->memory, seats_size(scenario));
    place_seats(to, scenario);
}

bool
model_equal(const struct model *a, const struct model *b, const struct scenario *scenario)
{
    return memcmp(a, b, offsetof(struct model, keys)) == 0 &&
           memcmp(a->keys, b->keys, a->key_count * sizeof a->keys[0]) == 0 &&
           memcmp(a->holds, b->holds, a->hold_count * sizeof a->holds[0]) == 0 &&
           memcmp(a->tokens, b->tokens, a->token_count * sizeof a->tokens[0]) == 0 &&
           memcmp(a->memory, b->memory, seats_size(scenario)) == 0;
}

uint64_t
model_hash(uint64_t seed, const struct model *model, const struct scenario *scenario)
{
    const struct bytes parts[] = {
        {(const char *)model, offsetof(struct model, keys)},
        {(const char *)model->keys, model->key_count * (uint32_t)sizeof model->keys[0]},
        {(const char *)model->holds, model->hold_count * (uint32_t)sizeof model->holds[0]},
        {(const char *)model->tokens, model->token_count * (uint32_t)sizeof model->tokens[0]},
        {(const char *)model->memory, (uint32_t)seats_size(scenario)},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        seed = route_hash(seed, parts[i]);
    }
    return seed;
}

void
model_reserve(struct model *model, uint32_t hold_count, uint32_t key_count, uint32_t token_count)
{
    assert(hold_count <= SIM_HOLDS);
    assert(key_count <= SIM_KEYS);
    assert(token_count <= SIM_TOKENS);
    for (; model->token_count < token_count; model->token_count++) {
        memset(&model->tokens[model->token_count], 0, sizeof model->tokens[0]);
    }
    for (; model->hold_count < hold_count; model->hold_count++) {
        memset(&model->holds[model->hold_count], 0, sizeof model->holds[0]);
    }
    for (; model->key_count < key_count; model->key_count++) {
        memset(&model->keys[model->key_count], 0, sizeof model->keys[0]);
    }
}

bool
model_hold_has_units(const struct model_hold *hold)
{
    return hold->state == HOLD_HELD || hold->state == HOLD_CONFIRMED;
}

int32_t
model_find_hold(const struct model *model, const struct uuid *id)
{
    for (uint32_t i = 0; i < model->hold_count; i++) {
        if (model->holds[i].state != 0 && model->holds[i].id_known && uuid_equal(&model->holds[i].id, id)) {
            return (int32_t)i;
        }
    }
    return -1;
}

uint32_t
model_taken(const struct model *model, int8_t event, uint32_t pool)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        for (uint32_t p = 0; p < hold->pool_count; p++) {
            bool of_it = hold->event == event && hold->pools[p].pool == pool && model_hold_has_units(hold);
            taken += of_it ? hold->pools[p].quantity : 0;
        }
    }
    return taken;
}

static bool
hold_live(const struct model_hold *hold, uint64_t now_ms)
{
    return hold->state == HOLD_HELD && hold->deadline_ms > now_ms;
}

/* What whoever asks for it is told. */
static uint8_t
hold_shown(const struct model_hold *hold, uint64_t now_ms)
{
    return hold->state == HOLD_HELD && hold->deadline_ms <= now_ms ? HOLD_EXPIRED : hold->state;
}

static uint64_t
hold_units(const struct model_hold *hold)
{
    uint64_t units = hold->seat_count;
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        units += hold->pools[i].quantity;
    }
    return units;
}

static uint64_t
user_used(const struct model *model, int8_t event, int8_t user, uint64_t now_ms)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        /* overdue is expired for the limit too, swept or not */
        if ((hold_live(hold, now_ms) || hold->state == HOLD_CONFIRMED) && hold->event == event &&
            hold->user == user) {
            used += hold_units(hold);
        }
    }
    return used;
}

static uint32_t
hold_pool_quantity(const struct model_hold *hold, uint32_t pool)
{
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        if (hold->pools[i].pool == pool) {
            return hold->pools[i].quantity;
        }
    }
    return 0;
}

static struct unit_counts
pool_counts(const struct model *model, int8_t event, uint32_t pool)
{
    struct unit_counts counts = {.capacity = model->events[event].capacity[pool]};
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if (hold->event != event || !model_hold_has_units(hold)) {
            continue;
        }
        if (hold->state == HOLD_CONFIRMED) {
            counts.sold += hold_pool_quantity(hold, pool);
        } else {
            counts.held += hold_pool_quantity(hold, pool);
        }
    }
    assert(counts.held + counts.sold <= counts.capacity);
    counts.free = counts.capacity - counts.held - counts.sold;
    return counts;
}

static uint64_t
pool_next_deadline(const struct model *model, int8_t event, uint32_t pool)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if (hold->event == event && hold->state == HOLD_HELD && hold_pool_quantity(hold, pool) > 0 &&
            hold->deadline_ms < next) {
            next = hold->deadline_ms;
        }
    }
    return next;
}

static char
seat_letter(const struct model *model, int8_t event, uint32_t seat)
{
    int16_t holder = model->seats[event][seat].holder;
    if (holder < 0) {
        return 'F';
    }
    return model->holds[holder].state == HOLD_CONFIRMED ? 'S' : 'H';
}

static struct unit_counts
section_counts(const struct model *model, const struct event_plan *plan, int8_t event, uint32_t section)
{
    struct unit_counts counts = {.capacity = plan->sections[section].seat_count};
    for (uint32_t i = 0; i < plan->sections[section].seat_count; i++) {
        char letter = seat_letter(model, event, plan->sections[section].seat_first + i);
        counts.free += letter == 'F';
        counts.held += letter == 'H';
        counts.sold += letter == 'S';
    }
    return counts;
}

static uint64_t
section_next_deadline(const struct model *model, const struct event_plan *plan, int8_t event,
                      uint32_t section)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < plan->sections[section].seat_count; i++) {
        uint32_t seat = plan->sections[section].seat_first + i;
        if (seat_letter(model, event, seat) == 'H') {
            uint64_t deadline = model->holds[model->seats[event][seat].holder].deadline_ms;
            next = deadline < next ? deadline : next;
        }
    }
    return next;
}

/* ---- ends of holds ---------------------------------------------------------------------------- */

/* The seat goes back: free, and that is a change of its state. Where `kept` has it, that one keeps it. */
static void
give_back(struct model *model, uint32_t slot, uint8_t state, uint64_t now_ms)
{
    struct model_hold *hold = &model->holds[slot];
    assert(model_hold_has_units(hold));
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct model_seat *seat = &model->seats[hold->event][hold->seats[i].index];
        if (seat->holder == (int16_t)slot) {
            seat->holder = -1;
            seat->version++;
        }
    }
    hold->state = state;
    hold->ended_ms = now_ms;
}

void
model_sweep(struct model *model, uint32_t hold)
{
    give_back(model, hold, HOLD_EXPIRED, model->holds[hold].deadline_ms);
}

void
model_forget_unknown(struct model *model)
{
    for (uint32_t i = 0; i < model->hold_count; i++) {
        if (model->holds[i].state != 0 && !model->holds[i].id_known &&
            !model_hold_has_units(&model->holds[i])) {
            memset(&model->holds[i], 0, sizeof model->holds[i]);
        }
    }
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void
answer_begin(struct answer *answer, uint8_t status)
{
    memset(answer, 0, offsetof(struct answer, holds));
    answer->status = status;
    answer->kind = REPLY_NONE;
}

static void
answer_hold(const struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms,
            struct answer_hold *view)
{
    const struct model_hold *hold = &model->holds[slot];
    memset(view, 0, sizeof *view);
    view->id = hold->id;
    view->id_known = hold->id_known;
    view->slot = (int16_t)slot;
    view->event = hold->event;
    view->user = hold->user;
    view->state = hold_shown(hold, now_ms);
    view->deadline_ms = hold->deadline_ms;
    view->seat_count = hold->seat_count;
    view->pool_count = hold->pool_count;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct request_seat seat = scenario_seat_at(&scenario->events[hold->event], hold->seats[i].index);
        view->seats[i].ref = SEAT_REF(seat.section, seat.row, seat.number);
        view->seats[i].version = hold->seats[i].version;
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        view->pools[i].pool = hold->pools[i].pool;
        view->pools[i].quantity = hold->pools[i].quantity;
    }
}

static void
answer_with_hold(const struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms,
                 struct answer *answer)
{
    answer_begin(answer, STATUS_OK);
    answer->kind = REPLY_HOLD;
    answer_hold(model, scenario, slot, now_ms, &answer->hold);
}

/* The refusal that a state of a hold stands for. */
static uint8_t
state_status(uint8_t state)
{
    switch (state) {
    case HOLD_CONFIRMED:
        return STATUS_CONFIRMED;
    case HOLD_RELEASED:
        return STATUS_RELEASED;
    case HOLD_EXPIRED:
        return STATUS_EXPIRED;
    case HOLD_CANCELLED:
        return STATUS_CANCELLED;
    default:
        assert(state == HOLD_HELD);
        return STATUS_OK;
    }
}

/* ---- placing a hold --------------------------------------------------------------------------- */

/* A hold being put together; nothing of the model is changed until all of it is granted. */
struct placing {
    const struct request *request;
    const struct event_plan *plan;
    int32_t replaced; /* slot, -1: none */
    uint32_t seat_count;
    uint16_t seats[HOLD_SEATS_MAX];
};

static bool
placing_has(const struct placing *placing, uint32_t seat)
{
    for (uint32_t i = 0; i < placing->seat_count; i++) {
        if (placing->seats[i] == seat) {
            return true;
        }
    }
    return false;
}

/* Exactly these seats, nothing else, in a live hold of this user: its slot, or -1. */
static int32_t
find_same(const struct model *model, const struct scenario *scenario, const struct request *request,
          uint64_t now_ms)
{
    if (request->pool_count > 0 || request->best_count > 0 || request->seat_count == 0) {
        return -1;
    }
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if (hold->event != request->event || hold->user != request->user || !hold_live(hold, now_ms) ||
            hold->seat_count != request->seat_count || hold->pool_count > 0) {
            continue;
        }
        uint32_t same = 0;
        for (uint32_t s = 0; s < request->seat_count; s++) {
            int32_t seat = scenario_seat(&scenario->events[request->event], request->seats[s]);
            same += seat >= 0 && model->seats[request->event][seat].holder == (int16_t)i;
        }
        if (same == request->seat_count) {
            return (int32_t)i;
        }
    }
    return -1;
}

static bool
refuse_unknown(const struct scenario *scenario, const struct placing *placing, struct answer *answer)
{
    const struct request *request = placing->request;
    for (uint32_t i = 0; i < request->seat_count; i++) {
        if (scenario_seat(placing->plan, request->seats[i]) < 0) {
            answer_begin(answer, STATUS_NOSEAT);
            answer->figures = FIGURE_UNIT;
            scenario_seat_text(scenario, request->event, request->seats[i], answer->unit,
                               sizeof answer->unit);
            return true;
        }
    }
    for (uint32_t i = 0; i < request->pool_count; i++) {
        if (request->pools[i].pool < 0) {
            answer_begin(answer, STATUS_NOPOOL);
            answer->figures = FIGURE_UNIT;
            (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                           scenario_pool_name(scenario, request->event, -1));
            return true;
        }
    }
    if (request->best_count > 0 && request->section < 0) {
        answer_begin(answer, STATUS_NOSEAT);
        answer->figures = FIGURE_UNIT;
        (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                       scenario_section_name(scenario, request->event, -1));
        return true;
    }
    return false;
}

static bool
refuse_over_limit(const struct model *model, const struct placing *placing, uint64_t now_ms,
                  struct answer *answer)
{
    const struct request *request = placing->request;
    uint64_t limit = model->events[request->event].limit;
    uint64_t used = user_used(model, request->event, request->user, now_ms);
    uint64_t asked = request->seat_count + (uint64_t)request->best_count;
    for (uint32_t i = 0; i < request->pool_count; i++) {
        asked += request->pools[i].quantity;
    }
    uint64_t leaving = placing->replaced < 0 ? 0 : hold_units(&model->holds[placing->replaced]);
    if (limit == 0 || used - leaving + asked <= limit) {
        return false;
    }
    answer_begin(answer, STATUS_LIMIT);
    answer->figures = FIGURE_LIMIT;
    answer->limit = limit;
    answer->used = used;
    return true;
}

static bool
refuse_seat(const struct model *model, const struct scenario *scenario, struct placing *placing,
            uint32_t index, uint64_t now_ms, struct answer *answer)
{
    const struct request *request = placing->request;
    struct request_seat named = request->seats[index];
    uint32_t seat = (uint32_t)scenario_seat(placing->plan, named);
    int16_t holder = model->seats[request->event][seat].holder;
    if (holder < 0 || holder == placing->replaced) {
        placing->seats[placing->seat_count++] = (uint16_t)seat;
        return false;
    }
    const struct model_hold *hold = &model->holds[holder];
    answer_begin(answer, hold->state == HOLD_CONFIRMED ? STATUS_SOLD : STATUS_HELD);
    answer->figures = FIGURE_UNIT | FIGURE_REMAINING;
    scenario_seat_text(scenario, request->event, named, answer->unit, sizeof answer->unit);
    answer->remaining = section_counts(model, placing->plan, request->event, (uint32_t)named.section).free;
    if (hold->state == HOLD_HELD) {
        answer->figures |= FIGURE_NEXT_DEADLINE;
        answer->next_deadline_ms = hold->deadline_ms;
        if (hold->user == request->user && hold->deadline_ms > now_ms) {
            answer->figures |= FIGURE_OWN;
            answer->own = hold->id;
        }
    }
    return true;
}

/* Fewer free than asked: may they come back? */
static void
answer_out(struct answer *answer, const struct unit_counts *counts, uint64_t asked,
           uint64_t next_deadline_ms)
{
    bool held = counts->free + counts->held >= asked;
    answer_begin(answer, held ? STATUS_HELDOUT : STATUS_SOLDOUT);
    answer->figures = FIGURE_UNIT | FIGURE_REMAINING;
    answer->remaining = counts->free;
    if (held) {
        answer->figures |= FIGURE_NEXT_DEADLINE;
        answer->next_deadline_ms = next_deadline_ms;
    }
}

static bool
refuse_pool(const struct model *model, const struct scenario *scenario, const struct placing *placing,
            uint32_t index, struct answer *answer)
{
    const struct request *request = placing->request;
    uint32_t pool = (uint32_t)request->pools[index].pool;
    uint64_t asked = request->pools[index].quantity;
    uint64_t kept = placing->replaced < 0 ? 0 : hold_pool_quantity(&model->holds[placing->replaced], pool);
    uint64_t need = asked > kept ? asked - kept : 0;
    struct unit_counts counts = pool_counts(model, request->event, pool);
    if (need <= counts.free) {
        return false;
    }
    answer_out(answer, &counts, asked, pool_next_deadline(model, request->event, pool));
    (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                   scenario_pool_name(scenario, request->event, request->pools[index].pool));
    return true;
}

/* While others were under way: any run that was free will do, the one that was told. */
static bool
take_told_best(const struct model *model, const struct op *op, struct placing *placing)
{
    const struct request *request = placing->request;
    const struct answer_hold *told = &op->answer.hold;
    if (!op->answered || op->answer.kind != REPLY_HOLD ||
        told->seat_count != request->seat_count + request->best_count) {
        return false;
    }
    uint16_t run[HOLD_SEATS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < told->seat_count; i++) {
        struct request_seat named = {(int8_t)SEAT_REF_SECTION(told->seats[i].ref),
                                     (int8_t)SEAT_REF_ROW(told->seats[i].ref),
                                     (uint16_t)SEAT_REF_NUMBER(told->seats[i].ref)};
        int32_t seat = scenario_seat(placing->plan, named);
        if (seat < 0 || placing_has(placing, (uint32_t)seat)) {
            continue;
        }
        bool fits = named.section == request->section && model->seats[request->event][seat].holder < 0 &&
                    (count == 0 || scenario_seat_at(placing->plan, run[0]).row == named.row);
        if (!fits || count == request->best_count) {
            return false;
        }
        run[count++] = (uint16_t)seat;
    }
    uint16_t lowest = UINT16_MAX;
    uint16_t highest = 0;
    for (uint32_t i = 0; i < count; i++) {
        lowest = run[i] < lowest ? run[i] : lowest;
        highest = run[i] > highest ? run[i] : highest;
    }
    if (count != request->best_count || highest - lowest + 1u != count) {
        return false;
    }
    memcpy(&placing->seats[placing->seat_count], run, count * sizeof run[0]);
    placing->seat_count += count;
    return true;
}

/* Side by side, from the front, nearest the middle (the lower number where two are as near), and last of
 * all a choice beside which exactly one free seat is left. */
static bool
refuse_best(const struct model *model, const struct scenario *scenario, struct placing *placing,
            struct answer *answer)
{
    const struct request *request = placing->request;
    const struct section_plan *section = &placing->plan->sections[request->section];
    uint32_t wanted = request->best_count;
    uint32_t largest_run = 0;
    bool found = false;
    uint64_t found_rank = 0;
    uint32_t found_seat = 0;
    for (uint32_t row = 0; row < section->row_count; row++) {
        bool open[SIM_EVENT_SEATS + 2] = {false};
        uint32_t size = section->row_seats[row];
        uint32_t run = 0;
        for (uint32_t i = 0; i < size; i++) {
            uint32_t seat = section->row_first[row] + i;
            open[i] = model->seats[request->event][seat].holder < 0 && !placing_has(placing, seat);
            run = open[i] ? run + 1 : 0;
            largest_run = run > largest_run ? run : largest_run;
            if (run < wanted) {
                continue;
            }
            uint32_t first = i + 1 - wanted;
            uint32_t left = 0;
            uint32_t right = 0;
            while (first > left && open[first - 1 - left] && left < 2) {
                left++;
            }
            for (uint32_t n = i + 1; n < size && right < 2 &&
                                     model->seats[request->event][section->row_first[row] + n].holder < 0 &&
                                     !placing_has(placing, section->row_first[row] + n);
                 n++) {
                right++;
            }
            uint64_t orphan = left == 1 || right == 1;
            int64_t off = 2 * (int64_t)first + (int64_t)wanted - (int64_t)size;
            uint64_t rank =
                (orphan << 60) | ((uint64_t)row << 40) | ((uint64_t)(off < 0 ? -off : off) << 20) | first;
            if (!found || rank < found_rank) {
                found = true;
                found_rank = rank;
                found_seat = section->row_first[row] + first;
            }
        }
    }
    if (found) {
        for (uint32_t i = 0; i < wanted; i++) {
            placing->seats[placing->seat_count++] = (uint16_t)(found_seat + i);
        }
        return false;
    }
    struct unit_counts counts =
        section_counts(model, placing->plan, request->event, (uint32_t)request->section);
    for (uint32_t i = 0; i < placing->seat_count; i++) {
        /* the seats asked for by name come first: they are not free for best */
        uint32_t seat = placing->seats[i];
        counts.free -= seat >= section->seat_first && seat < section->seat_first + section->seat_count &&
                       model->seats[request->event][seat].holder < 0;
    }
    if (counts.free >= wanted) {
        answer_begin(answer, STATUS_NOADJACENT);
        answer->figures = FIGURE_UNIT | FIGURE_LARGEST_RUN;
        answer->largest_run = largest_run;
    } else {
        answer_out(answer, &counts, wanted,
                   section_next_deadline(model, placing->plan, request->event, (uint32_t)request->section));
    }
    (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                   scenario_section_name(scenario, request->event, request->section));
    return true;
}

/* All granted: the new hold stands, and the replaced one gives back what is not in it. */
static void
place(struct model *model, const struct placing *placing, uint32_t slot, uint64_t now_ms)
{
    const struct request *request = placing->request;
    struct model_hold *hold = &model->holds[slot];
    uint64_t seconds = request->seconds > 0 ? request->seconds : model->events[request->event].hold_seconds;
    assert(hold->state == 0);
    *hold = (struct model_hold){
        .state = HOLD_HELD,
        .event = request->event,
        .user = request->user,
        .start_ms = now_ms,
        .deadline_ms = now_ms + seconds * 1000,
        .seat_count = (uint8_t)placing->seat_count,
        .pool_count = request->pool_count,
    };
    for (uint32_t i = 0; i < placing->seat_count; i++) {
        struct model_seat *seat = &model->seats[request->event][placing->seats[i]];
        hold->seats[i].index = placing->seats[i];
        /* A kept seat changes twice: the old hold's release, the new hold. */
        seat->version += seat->holder >= 0 ? 2 : 1;
        seat->holder = (int16_t)slot;
        hold->seats[i].version = seat->version;
    }
    for (uint32_t i = 0; i < request->pool_count; i++) {
        hold->pools[i].pool = (uint32_t)request->pools[i].pool;
        hold->pools[i].quantity = request->pools[i].quantity;
    }
    if (placing->replaced >= 0) {
        struct model_hold *old = &model->holds[placing->replaced];
        uint64_t cap = old->start_ms + placing->plan->hold_seconds_max * (uint64_t)1000;
        hold->start_ms = old->start_ms;
        hold->deadline_ms = hold->deadline_ms > cap ? cap : hold->deadline_ms;
        give_back(model, (uint32_t)placing->replaced, HOLD_RELEASED, now_ms);
        hold->versions_open = true;
    }
}

static bool
refuse_closed(const struct model *model, const struct placing *placing, uint64_t now_ms,
              struct answer *answer)
{
    uint64_t opens_at_ms = placing->plan->opens_at_ms;
    bool early = now_ms < opens_at_ms;
    if (model->events[placing->request->event].status == EVENT_OPEN && !early) {
        return false;
    }
    answer_begin(answer, STATUS_CLOSED);
    if (early && model->events[placing->request->event].status == EVENT_OPEN) {
        answer->figures = FIGURE_OPENS_AT;
        answer->opens_at_ms = opens_at_ms;
    }
    return true;
}

static bool
refuse_replaced(const struct model *model, struct placing *placing, uint64_t now_ms, struct answer *answer)
{
    const struct request *request = placing->request;
    if (!request->has_replaces) {
        return false;
    }
    int32_t slot = model_find_hold(model, &request->replaces);
    if (slot < 0 || model->holds[slot].user != request->user ||
        model->holds[slot].event != request->event) {
        answer_begin(answer, STATUS_NOHOLD);
        return true;
    }
    uint8_t status = state_status(hold_shown(&model->holds[slot], now_ms));
    if (status != STATUS_OK) {
        answer_begin(answer, status);
        return true;
    }
    placing->replaced = slot;
    return false;
}

static void
execute_hold(struct model *model, const struct scenario *scenario, const struct op *op, uint64_t now_ms,
             uint32_t options, struct answer *answer)
{
    const struct request *request = &op->request;
    if (request->event < 0 || !model->events[request->event].exists) {
        answer_begin(answer, STATUS_NOEVENT);
        return;
    }
    int32_t same = find_same(model, scenario, request, now_ms);
    if (same >= 0) {
        answer_with_hold(model, scenario, (uint32_t)same, now_ms, answer);
        return;
    }
    struct placing placing = {
        .request = request, .plan = &scenario->events[request->event], .replaced = -1};
    if (refuse_closed(model, &placing, now_ms, answer)) {
        return;
    }
    if (!queue_admits(model, scenario, op, now_ms, options)) {
        answer_begin(answer, STATUS_NOTADMITTED);
        return;
    }
    if (refuse_replaced(model, &placing, now_ms, answer) || refuse_unknown(scenario, &placing, answer) ||
        refuse_over_limit(model, &placing, now_ms, answer)) {
        return;
    }
    for (uint32_t i = 0; i < request->seat_count; i++) {
        if (refuse_seat(model, scenario, &placing, i, now_ms, answer)) {
            return;
        }
    }
    for (uint32_t i = 0; i < request->pool_count; i++) {
        if (refuse_pool(model, scenario, &placing, i, answer)) {
            return;
        }
    }
    bool told =
        (options & MODEL_LOOSE) != 0 && request->best_count > 0 && take_told_best(model, op, &placing);
    if (request->best_count > 0 && !told && refuse_best(model, scenario, &placing, answer)) {
        return;
    }
    place(model, &placing, (uint32_t)op->hold_slot, now_ms);
    answer_with_hold(model, scenario, (uint32_t)op->hold_slot, now_ms, answer);
    answer->created = true;
}

/* ---- the other requests ----------------------------------------------------------------------- */

static void
mark_sold(struct model *model, uint32_t slot)
{
    struct model_hold *hold = &model->holds[slot];
    hold->state = HOLD_CONFIRMED;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct model_seat *seat = &model->seats[hold->event][hold->seats[i].index];
        assert(seat->holder == (int16_t)slot);
        seat->version++;
        hold->seats[i].version = seat->version;
    }
}

/* Takes an expired hold's units again, where all are free and the limit allows. */
static bool
refuse_late(struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms,
            struct answer *answer)
{
    struct model_hold *hold = &model->holds[slot];
    uint64_t limit = model->events[hold->event].limit;
    uint64_t used = user_used(model, hold->event, hold->user, now_ms);
    if (limit > 0 && used + hold_units(hold) > limit) {
        answer_begin(answer, STATUS_LIMIT);
        answer->figures = FIGURE_LIMIT;
        answer->limit = limit;
        answer->used = used;
        return true;
    }
    if (hold->state == HOLD_HELD) {
        hold->versions_open = true;
        return false; /* overdue, not swept: it has its units still */
    }
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        if (model->seats[hold->event][hold->seats[i].index].holder >= 0) {
            answer_begin(answer, STATUS_EXPIRED);
            answer->figures = FIGURE_UNIT;
            scenario_seat_text(scenario, hold->event,
                               scenario_seat_at(&scenario->events[hold->event], hold->seats[i].index),
                               answer->unit, sizeof answer->unit);
            return true;
        }
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        if (pool_counts(model, hold->event, hold->pools[i].pool).free < hold->pools[i].quantity) {
            answer_begin(answer, STATUS_EXPIRED);
            answer->figures = FIGURE_UNIT;
            (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                           scenario_pool_name(scenario, hold->event, (int8_t)hold->pools[i].pool));
            return true;
        }
    }
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct model_seat *seat = &model->seats[hold->event][hold->seats[i].index];
        seat->holder = (int16_t)slot;
    }
    hold->versions_open = true;
    return false;
}

static void
execute_confirm(struct model *model, const struct scenario *scenario, const struct op *op, uint32_t slot,
                uint64_t now_ms, uint32_t options, struct answer *answer)
{
    const struct request *request = &op->request;
    uint8_t shown = hold_shown(&model->holds[slot], now_ms);
    bool late = shown == HOLD_EXPIRED && request->late;
    if (shown != HOLD_HELD && shown != HOLD_CONFIRMED && !late) {
        answer_begin(answer, state_status(shown));
        return;
    }
    if (late && refuse_late(model, scenario, slot, now_ms, answer)) {
        return;
    }
    if (shown != HOLD_CONFIRMED) {
        mark_sold(model, slot);
        queue_confirmed(model, scenario, op, slot, now_ms, options);
    }
    answer_with_hold(model, scenario, slot, now_ms, answer);
}

static void
execute_extend(struct model *model, const struct scenario *scenario, const struct request *request,
               uint32_t slot, uint64_t now_ms, struct answer *answer)
{
    struct model_hold *hold = &model->holds[slot];
    uint8_t shown = hold_shown(hold, now_ms);
    if (shown != HOLD_HELD) {
        answer_begin(answer, state_status(shown));
        return;
    }
    uint64_t cap = hold->start_ms + scenario->events[hold->event].hold_seconds_max * (uint64_t)1000;
    uint64_t wanted = now_ms + request->seconds * (uint64_t)1000;
    wanted = wanted > cap ? cap : wanted;
    if (hold->deadline_ms >= cap) {
        answer_begin(answer, STATUS_NOEXTEND);
        answer->figures = FIGURE_DEADLINE_MAX;
        answer->deadline_max_ms = cap;
        return;
    }
    hold->deadline_ms = wanted > hold->deadline_ms ? wanted : hold->deadline_ms;
    answer_with_hold(model, scenario, slot, now_ms, answer);
}

static void
execute_release(struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms,
                struct answer *answer)
{
    uint8_t shown = hold_shown(&model->holds[slot], now_ms);
    if (shown == HOLD_HELD) {
        give_back(model, slot, HOLD_RELEASED, now_ms);
    } else if (shown != HOLD_RELEASED) {
        answer_begin(answer, state_status(shown));
        return;
    }
    answer_with_hold(model, scenario, slot, now_ms, answer);
}

static void
execute_cancel(struct model *model, const struct scenario *scenario, uint32_t slot, uint64_t now_ms,
               struct answer *answer)
{
    uint8_t shown = hold_shown(&model->holds[slot], now_ms);
    if (shown == HOLD_CONFIRMED) {
        give_back(model, slot, HOLD_CANCELLED, now_ms);
        model->events[model->holds[slot].event].units_were_left = true;
    } else if (shown != HOLD_CANCELLED) {
        answer_begin(answer, shown == HOLD_HELD ? STATUS_NOTCONFIRMED : state_status(shown));
        return;
    }
    answer_with_hold(model, scenario, slot, now_ms, answer);
}

static void
execute_on_hold(struct model *model, const struct scenario *scenario, const struct op *op, uint64_t now_ms,
                uint32_t options, struct answer *answer)
{
    const struct request *request = &op->request;
    int32_t slot = model_find_hold(model, &request->hold);
    bool anyone = request->type == COMMAND_HOLD_GET || request->type == COMMAND_CANCEL;
    if (slot < 0 || (!anyone && model->holds[slot].user != request->user)) {
        answer_begin(answer, STATUS_NOHOLD);
        return;
    }
    switch (request->type) {
    case COMMAND_CONFIRM:
        execute_confirm(model, scenario, op, (uint32_t)slot, now_ms, options, answer);
        break;
    case COMMAND_EXTEND:
        execute_extend(model, scenario, request, (uint32_t)slot, now_ms, answer);
        break;
    case COMMAND_RELEASE:
        execute_release(model, scenario, (uint32_t)slot, now_ms, answer);
        break;
    case COMMAND_CANCEL:
        execute_cancel(model, scenario, (uint32_t)slot, now_ms, answer);
        break;
    default:
        assert(request->type == COMMAND_HOLD_GET);
        answer_with_hold(model, scenario, (uint32_t)slot, now_ms, answer);
        break;
    }
}

static void
execute_create(struct model *model, const struct scenario *scenario, const struct request *request,
               struct answer *answer)
{
    struct model_event *event = &model->events[request->event];
    const struct event_plan *plan = &scenario->events[request->event];
    answer_begin(answer, STATUS_OK);
    if (event->exists) {
        answer->status = request->other_settings ? STATUS_EXISTS : STATUS_OK;
    } else {
        *event = (struct model_event){
            .exists = true,
            .hold_seconds = plan->hold_seconds,
            .limit = request->other_settings ? plan->limit + 1 : plan->limit,
            .active_max = plan->active_max,
            .active_max_was = plan->active_max,
            .units_were_left = true,
        };
        for (uint32_t i = 0; i < plan->pool_count; i++) {
            event->capacity[i] = plan->pools[i].capacity;
        }
        event->changed = request->other_settings;
        answer->created = true;
    }
}

static void
execute_set(struct model *model, const struct scenario *scenario, const struct request *request,
            uint64_t now_ms, struct answer *answer)
{
    struct model_event *event = &model->events[request->event];
    const struct event_plan *plan = &scenario->events[request->event];
    answer_begin(answer, STATUS_OK);
    if (request->has_hold_seconds && request->hold_seconds > plan->hold_seconds_max) {
        answer->status = STATUS_BADREQUEST;
        answer->figures = FIGURE_FIELD;
    } else if (event->status == EVENT_CLOSED && request->has_status && request->status != EVENT_CLOSED) {
        answer->status = STATUS_CLOSED;
    }
    for (uint32_t i = 0; i < request->pool_count && answer->status == STATUS_OK; i++) {
        if (request->pools[i].pool < 0) {
            answer->status = STATUS_NOPOOL;
            answer->figures = FIGURE_UNIT;
            (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                           scenario_pool_name(scenario, request->event, -1));
            continue;
        }
        uint32_t pool = (uint32_t)request->pools[i].pool;
        struct unit_counts counts = pool_counts(model, request->event, pool);
        if (request->pools[i].quantity < counts.held + counts.sold) {
            answer->status = STATUS_BADREQUEST;
            answer->figures = FIGURE_FIELD;
        }
    }
    if (answer->status != STATUS_OK) {
        return;
    }
    event->changed = true;
    event->status = request->has_status ? request->status : event->status;
    event->hold_seconds = request->has_hold_seconds ? request->hold_seconds : event->hold_seconds;
    event->limit = request->has_limit ? request->limit : event->limit;
    for (uint32_t i = 0; i < request->pool_count; i++) {
        event->capacity[request->pools[i].pool] = request->pools[i].quantity;
    }
    queue_changed_by(model, request, now_ms);
}

static void
counts_add(struct unit_counts *total, const struct unit_counts *part)
{
    total->capacity += part->capacity;
    total->free += part->free;
    total->held += part->held;
    total->sold += part->sold;
}

static void
answer_event(const struct model *model, const struct scenario *scenario, int8_t index, uint64_t now_ms,
             struct answer *answer)
{
    const struct event_plan *plan = &scenario->events[index];
    answer->kind = REPLY_EVENT;
    answer->event_status = model->events[index].status;
    answer->event_hold_seconds = model->events[index].hold_seconds;
    answer->event_limit = model->events[index].limit;
    answer->event_active_max = model->events[index].active_max;
    answer->event_seed_shown = plan->opens_at_ms <= now_ms;
    for (uint32_t i = 0; i < plan->section_count; i++) {
        answer->sections[i] = section_counts(model, plan, index, i);
        counts_add(&answer->total, &answer->sections[i]);
    }
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        answer->pools[i] = pool_counts(model, index, i);
        counts_add(&answer->total, &answer->pools[i]);
    }
}

static void
answer_holds(struct model *model, const struct scenario *scenario, const struct request *request,
             uint64_t now_ms, struct answer *answer)
{
    answer_begin(answer, STATUS_OK);
    answer->kind = REPLY_HOLDS;
    for (uint32_t i = 0; i < model->hold_count; i++) {
        const struct model_hold *hold = &model->holds[i];
        if (hold->event == request->event && hold->user == request->user &&
            (hold_live(hold, now_ms) || hold->state == HOLD_CONFIRMED)) {
            assert(answer->hold_count < ANSWER_HOLDS);
            answer_hold(model, scenario, i, now_ms, &answer->holds[answer->hold_count++]);
            answer->used += hold_units(hold);
        }
    }
    queue_of_user(model, scenario, request, now_ms, answer);
}

static void
answer_map(const struct model *model, const struct scenario *scenario, const struct request *request,
           struct answer *answer)
{
    if (request->section < 0) {
        answer_begin(answer, STATUS_NOSEAT);
        answer->figures = FIGURE_UNIT;
        (void)snprintf(answer->unit, sizeof answer->unit, "%s",
                       scenario_section_name(scenario, request->event, request->section));
        return;
    }
    const struct section_plan *section = &scenario->events[request->event].sections[request->section];
    answer_begin(answer, STATUS_OK);
    answer->kind = REPLY_MAP;
    for (uint32_t i = 0; i < section->seat_count; i++) {
        answer->letters[i] = seat_letter(model, request->event, section->seat_first + i);
    }
    answer->letter_count = section->seat_count;
}

/* ---- one request ------------------------------------------------------------------------------ */

static void
execute_any(struct model *model, const struct scenario *scenario, const struct op *op, uint64_t now_ms,
            uint32_t options, struct answer *answer)
{
    const struct request *request = &op->request;
    bool known = request->event >= 0 && model->events[request->event].exists;
    switch (request->type) {
    case COMMAND_HOLD:
        execute_hold(model, scenario, op, now_ms, options, answer);
        return;
    case COMMAND_CONFIRM:
    case COMMAND_EXTEND:
    case COMMAND_RELEASE:
    case COMMAND_CANCEL:
    case COMMAND_HOLD_GET:
        execute_on_hold(model, scenario, op, now_ms, options, answer);
        return;
    case COMMAND_EVENT_CREATE:
        execute_create(model, scenario, request, answer);
        return;
    case COMMAND_QUEUE_JOIN:
    case COMMAND_QUEUE_GET:
    case COMMAND_QUEUE_LEAVE:
    case COMMAND_QUEUE_WATCH:
    case COMMAND_QUEUE_UNWATCH:
        memset(answer, 0, offsetof(struct answer, holds));
        queue_execute(model, scenario, op, now_ms, options, answer);
        return;
    default:
        break;
    }
    if (!known) {
        answer_begin(answer, STATUS_NOEVENT);
        return;
    }
    switch (request->type) {
    case COMMAND_EVENT_SET:
        execute_set(model, scenario, request, now_ms, answer);
        break;
    case COMMAND_HOLDS:
        answer_holds(model, scenario, request, now_ms, answer);
        break;
    case COMMAND_SEATS:
        answer_map(model, scenario, request, answer);
        break;
    default:
        assert(request->type == COMMAND_EVENT_GET);
        answer_begin(answer, STATUS_OK);
        answer_event(model, scenario, request->event, now_ms, answer);
        break;
    }
}

int8_t
model_key_owner(const struct request *request)
{
    bool change = request->type == COMMAND_EVENT_SET || request->type == COMMAND_EVENT_CREATE;
    return change ? -1 : request->user;
}

static struct model_key *
find_key(struct model *model, const struct op *op)
{
    for (uint32_t i = 0; i < model->key_count; i++) {
        if (model->keys[i].used && model->keys[i].owner == model_key_owner(&op->request) &&
            model->keys[i].key == op->key) {
            return &model->keys[i];
        }
    }
    return NULL;
}

void
model_execute(struct model *model, const struct scenario *scenario, const struct op *ops, uint32_t op_index,
              uint64_t now_ms, uint32_t options, struct answer *ret_answer)
{
    const struct op *op = &ops[op_index];
    const struct request *request = &op->request;
    if (request->type == COMMAND_HOLD && request->event >= 0 && model->events[request->event].exists &&
        request->seconds > scenario->events[request->event].hold_seconds_max) {
        answer_begin(ret_answer, STATUS_BADREQUEST);
        ret_answer->figures = FIGURE_FIELD;
        return;
    }
    struct model_key *key = op->key == 0 ? NULL : find_key(model, op);
    if (key != NULL && (options & MODEL_FORGET_KEY) != 0) {
        key->used = false;
        key = NULL;
    }
    if (key != NULL) {
        if (memcmp(&ops[key->op].request, request, sizeof *request) != 0) {
            answer_begin(ret_answer, STATUS_KEYREUSED);
            return;
        }
        const struct op *first = &ops[key->op];
        if (first->answered) {
            memcpy(ret_answer, &first->answer, offsetof(struct answer, holds));
        } else {
            /* a crash took the first answer: the hold's id is all that binds this one */
            answer_begin(ret_answer, STATUS_OK);
            ret_answer->kind = UINT8_MAX;
        }
        ret_answer->replayed = true;
        return;
    }
    execute_any(model, scenario, op, now_ms, options, ret_answer);
    bool change = request->type == COMMAND_EVENT_SET || request->type == COMMAND_EVENT_CREATE;
    if (op->key != 0 && change && ret_answer->status == STATUS_OK) {
        answer_event(model, scenario, request->event, now_ms, ret_answer);
    }
    if (op->key != 0 && ret_answer->status == STATUS_OK) {
        model->keys[op->key_slot] = (struct model_key){
            .used = true,
            .owner = model_key_owner(request),
            .key = op->key,
            .op = (int16_t)op_index,
            .at_ms = op->sent_ms, /* at the earliest: it may be forgotten from then on */
        };
    }
}
