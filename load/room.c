/*
 * room.c - the workload "open": people who join a waiting room, wait, choose, and pay or walk away.
 *
 *     join ──▶ waiting ─ watch, long poll or poll ──▶ active ──▶ hold ──▶ pay ──▶ gone
 *                 │                                     │ ▲       │
 *                 │ some try to hold all the same       │ └─ other seats, where refused
 *                 └▶ must be refused                    └▶ release, leave; or just go
 *
 * A person has one request under way at a time, but for those who join twice at once (both must get the
 * same place) and those who barge in. Between two steps people think, 0 to twice --think-ms. A request
 * whose answer was lost is asked again: holds and confirms under the same idempotency key, so that nobody
 * gets two holds.
 *
 * The load is over when every unit is paid, or every person is gone.
 *
 * What is checked at once: positions never rise, nobody is refused as not admitted while his slot lasts,
 * nobody gets a second place. What is checked at the end: room_audit.c.
 */
#include "load/room.h"

#include "load/driver.h"
#include "load/sale.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* Our clock may differ from the server's by so much: a slot lasts at least until so long before its
 * deadline. */
#define DEADLINE_SLACK_NS UINT64_C(1000000000)
#define LONG_POLL_MS      20000u
#define AGAIN_NS          UINT64_C(50000000) /* after a lost answer */
#define SOLDOUT_WAIT_NS   UINT64_C(1000000000)
#define POLL_MS_MIN       10u
#define KEY_TEXT_MAX      (EVENT_ID_SIZE_MAX + 48)

/* ask.step */
enum room_step {
    STEP_JOIN,
    STEP_JOIN_AGAIN,
    STEP_WATCH,
    STEP_LONG_POLL,
    STEP_POLL,
    STEP_BARGE,      /* a hold without a slot */
    STEP_BARGE_LOOK, /* it was granted: was he active? */
    STEP_SEATS,
    STEP_BEST,
    STEP_PAY,
    STEP_RELEASE,
    STEP_BARGE_RELEASE,
    STEP_LEAVE,
};

/* ask.grant of a hold that is asked again: it is counted as lost meanwhile. */
#define HOLD_LOST 1u

struct room {
    struct row_weights *weights;
    _Atomic uint64_t sold;       /* units, by all threads */
    _Atomic uint64_t soldout_ns; /* when somebody was first told so, or 0 */
};

/* A thread's. */
struct people {
    struct person *people;
    uint64_t count;
    uint32_t *by_token; /* open addressing: index + 1, or 0 */
    uint64_t by_token_mask;
    int64_t wall_less_clock_ms; /* the wall clock less that of now_ns() */
};

/* ---- people ---- */

static struct person *
person_of(struct workload *workload, uint32_t buyer)
{
    struct people *people = workload->own;
    uint64_t index = buyer / workload->options->threads;
    assert(index < people->count);
    return &people->people[index];
}

static uint64_t
token_place(const struct people *people, const struct uuid *token)
{
    uint64_t half[2];
    memcpy(half, token->byte, sizeof half);
    uint64_t mixed = (half[0] ^ (half[1] * UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xbf58476d1ce4e5b9);
    return (mixed ^ mixed >> 32) & people->by_token_mask;
}

static void
token_note(struct people *people, uint64_t index)
{
    uint64_t place = token_place(people, &people->people[index].token);
    while (people->by_token[place] != 0)
        place = (place + 1) & people->by_token_mask;
    people->by_token[place] = (uint32_t)index + 1;
}

/* The person with this token, or NULL. */
static struct person *
token_find(const struct people *people, const struct uuid *token)
{
    uint64_t place = token_place(people, token);
    for (uint32_t index; (index = people->by_token[place]) != 0;
         place = (place + 1) & people->by_token_mask)
        if (uuid_equal(&people->people[index - 1].token, token))
            return &people->people[index - 1];
    return NULL;
}

static uint32_t
buyer_of(const struct workload *workload, const struct person *person)
{
    const struct people *people = workload->own;
    return (uint32_t)((uint64_t)(person - people->people) * workload->options->threads + workload->thread);
}

/* ---- steps ---- */

static uint64_t
think_ns(struct workload *workload)
{
    return random_below(&workload->random, (uint64_t)workload->options->think_ms * 2000000 + 1);
}

static void
step_later(struct workload *workload, uint32_t buyer, enum room_step step, enum ask_kind kind,
           uint64_t due_ns)
{
    struct ask ask = {
        .due_ns = due_ns, .buyer = buyer, .step = (uint8_t)step, .kind = (uint8_t)kind, .tries = 1};
    driver_later(workload->driver, &ask);
}

static void
count_refusal(struct refusals *refusals, const char *word)
{
    refusal_count(refusals, (struct bytes){word, (uint32_t)strlen(word)}, 1);
}

/* The person is no longer where he was. */
static void
state_set(struct workload *workload, struct person *person, enum person_state state)
{
    struct tally *tally = workload->tally;
    tally_add(&tally->waiting, (uint64_t)(state == PERSON_WAITING) - (person->state == PERSON_WAITING));
    tally_add(&tally->active, (uint64_t)(state == PERSON_ACTIVE) - (person->state == PERSON_ACTIVE));
    if (person->watches && state != PERSON_WAITING) {
        person->watches = false;
        workload->expecting--;
    }
    person->state = (uint8_t)state;
}

/* A hold to be asked for: as the party likes, or, where that was refused, what is left. Nobody asks when
 * his slot has ended, which he was told. */
static void
hold_later(struct workload *workload, uint32_t buyer, uint8_t tries, uint16_t units, uint64_t due_ns)
{
    const struct room *room = workload->shared;
    struct person *person = person_of(workload, buyer);
    if (due_ns > person->active_end_ns + DEADLINE_SLACK_NS) {
        count_refusal(&workload->tally->other_refusals, "SLOT-ENDED");
        state_set(workload, person, PERSON_GONE);
        return;
    }
    struct wish wish = {.want = WANT_BEST, .units = units};
    if (units == 0)
        seats_choose(workload, room->weights, &wish);
    struct ask ask = {.due_ns = due_ns,
                      .buyer = buyer,
                      .step = wish.want == WANT_BEST ? STEP_BEST : STEP_SEATS,
                      .kind = ASK_BUY,
                      .seat = wish.seat,
                      .units = wish.units,
                      .tries = tries};
    driver_later(workload->driver, &ask);
}

static void
active_begin(struct workload *workload, struct person *person, const struct told *told)
{
    if (person->state != PERSON_JOINING && person->state != PERSON_WAITING)
        return; /* told twice */
    const struct people *people = workload->own;
    uint64_t now = now_ns();
    int64_t end_ms = (int64_t)told->deadline_ms - people->wall_less_clock_ms;
    uint64_t end_ns = end_ms > 0 ? (uint64_t)end_ms * 1000000 : 0;
    person->active_ns = now;
    person->active_end_ms = told->deadline_ms;
    person->active_end_ns = end_ns > DEADLINE_SLACK_NS ? end_ns - DEADLINE_SLACK_NS : 0;
    histogram_add(&workload->tally->wait, now - person->joined_ns);
    state_set(workload, person, PERSON_ACTIVE);
    hold_later(workload, buyer_of(workload, person), 1, 0, now + think_ns(workload));
}

/* Until the state changes: by a watch, by a long poll where a connection for that is free, or by asking. */
static void
wait_on(struct workload *workload, struct person *person, uint32_t poll_in_ms)
{
    const struct load_options *options = workload->options;
    uint32_t buyer = buyer_of(workload, person);
    struct ask ask = {.buyer = buyer, .kind = ASK_PLACE, .lane = LANE_WAIT, .tries = 1};
    if (options->wait == WAIT_WATCH) {
        if (person->watches)
            return;
        person->watches = true;
        workload->expecting++;
        ask.step = STEP_WATCH;
        driver_later(workload->driver, &ask);
        return;
    }
    if (options->wait == WAIT_LONG_POLL && driver_places_free(workload->driver, LANE_WAIT) > 0) {
        ask.step = STEP_LONG_POLL;
        driver_later(workload->driver, &ask);
        return;
    }
    uint32_t ms = poll_in_ms > 0 ? poll_in_ms : options->poll_ms;
    uint64_t due_ns = now_ns() + (uint64_t)(ms < POLL_MS_MIN ? POLL_MS_MIN : ms) * 1000000;
    step_later(workload, buyer, STEP_POLL, ASK_PLACE, due_ns);
}

/* What a place says, whoever asked for it. in_order: nothing that was told earlier can come later. */
static void
place_told(struct workload *workload, struct person *person, const struct told *told, bool in_order)
{
    if (person->state != PERSON_JOINING && person->state != PERSON_WAITING)
        return;
    in_order = in_order && !person->disordered;
    const char *wrong =
        in_order && told->state == PLACE_WAITING ? position_check(person->position, told->position) : NULL;
    if (wrong != NULL)
        strange_note(workload->tally, "u%u was told %s: %u, then %u", buyer_of(workload, person), wrong,
                     person->position, told->position);
    if (in_order && told->position != 0)
        person->position = told->position;
    switch (told->state) {
    case PLACE_ACTIVE:
        active_begin(workload, person, told);
        return;
    case PLACE_WAITING:
        if (person->state == PERSON_JOINING)
            state_set(workload, person, PERSON_WAITING);
        return;
    default:
        count_refusal(&workload->tally->other_refusals, "PLACE-LOST"); /* expired, or the event has ended */
        state_set(workload, person, PERSON_GONE);
    }
}

/* ---- requests ---- */

static void
room_arrive(struct workload *workload, struct ask *ask)
{
    struct person *person = person_of(workload, ask->buyer);
    person->joined_ns = ask->due_ns;
    person->state = PERSON_JOINING;
    ask->step = STEP_JOIN;
    ask->kind = ASK_JOIN;
    if (workload->options->twice_share > 0 &&
        random_share(&workload->random) < workload->options->twice_share)
        step_later(workload, ask->buyer, STEP_JOIN_AGAIN, ASK_OTHER, ask->due_ns);
}

struct texts {
    char user[24];
    char key[KEY_TEXT_MAX];
};

static struct said
said_of(struct workload *workload, const struct ask *ask, struct texts *texts)
{
    const struct person *person = person_of(workload, ask->buyer);
    struct said said = {.id = person->token, .seat = ask->seat, .units = ask->units};
    bool grant = false, key = false;
    said.user = (struct bytes){texts->user, buyer_text(ask->buyer, texts->user)};
    switch ((enum room_step)ask->step) {
    case STEP_JOIN:
    case STEP_JOIN_AGAIN:
        said.say = SAY_JOIN;
        break;
    case STEP_WATCH:
        said.say = SAY_WATCH;
        break;
    case STEP_LONG_POLL:
        said.wait_ms = LONG_POLL_MS;
        said.say = SAY_PLACE;
        break;
    case STEP_POLL:
    case STEP_BARGE_LOOK:
        said.say = SAY_PLACE;
        break;
    case STEP_BARGE:
    case STEP_BEST:
        said.say = SAY_HOLD;
        said.want = WANT_BEST;
        key = true;
        break;
    case STEP_SEATS:
        said.say = SAY_HOLD;
        said.want = WANT_SEATS;
        key = true;
        break;
    case STEP_PAY:
        said.say = SAY_CONFIRM;
        grant = key = true;
        break;
    case STEP_RELEASE:
    case STEP_BARGE_RELEASE:
        said.say = SAY_RELEASE;
        grant = true;
        break;
    case STEP_LEAVE:
        said.say = SAY_LEAVE;
        break;
    }
    if (grant)
        said.id = workload->tally->ledger.grants[ask->grant].hold;
    if (key) {
        /* The same request has the same key, another one another: a user's keys are one set for all events.
         */
        int size = snprintf(texts->key, sizeof texts->key, "%s.%u.%u.%u", workload->options->event,
                            ask->buyer, ask->step, ask->tries);
        said.key = (struct bytes){texts->key, (uint32_t)size};
    }
    return said;
}

static void
room_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request)
{
    struct texts texts;
    struct said said = said_of(workload, ask, &texts);
    struct person *person = person_of(workload, ask->buyer);
    speech_of(workload->options)->write(workload->options, &said, ret_request);
    /* From here on it may have ended. */
    uint64_t now = now_ns();
    if ((ask->step == STEP_PAY || ask->step == STEP_LEAVE) && person->active_end_ns > now)
        person->active_end_ns = now;
    if (ask->step == STEP_RELEASE || ask->step == STEP_BARGE_RELEASE) {
        struct grant *grant = &workload->tally->ledger.grants[ask->grant];
        if (grant->state == GRANT_HELD)
            grant->ended_ms = wall_ms();
        grant->state = GRANT_LEAVING;
    }
}

/* ---- answers ---- */

static bool
is_over(const struct workload *workload)
{
    return atomic_load_explicit(workload->finished, memory_order_relaxed) ||
           atomic_load_explicit(workload->stopping, memory_order_relaxed);
}

static void
ask_again(struct workload *workload, const struct ask *ask, uint64_t after_ns)
{
    struct ask again = *ask;
    again.due_ns = now_ns() + after_ns;
    driver_later(workload->driver, &again);
}

static void
token_told(struct workload *workload, struct person *person, const struct told *told)
{
    static const struct uuid none;
    struct people *people = workload->own;
    uint64_t since_ns = now_ns() - person->joined_ns;
    if (uuid_equal(&person->token, &none)) {
        person->token = told->id;
        token_note(people, (uint64_t)(person - people->people));
        return;
    }
    /* A place that may have ended since is followed by another, rightly. */
    bool may_have_ended = person->state == PERSON_GONE || person->active_ns != 0 ||
                          since_ns > (uint64_t)workload->options->grace_seconds * 500000000;
    if (!uuid_equal(&person->token, &told->id) && !may_have_ended)
        strange_note(workload->tally, "u%u was given a second place", buyer_of(workload, person));
}

static void
join_answered(struct workload *workload, const struct ask *ask, const struct told *told)
{
    struct person *person = person_of(workload, ask->buyer);
    const struct load_options *options = workload->options;
    token_told(workload, person, told);
    if (ask->step == STEP_JOIN_AGAIN)
        return;
    place_told(workload, person, told, true);
    if (person->state != PERSON_WAITING)
        return;
    wait_on(workload, person, told->poll_in_ms);
    if (options->barge_share > 0 && random_share(&workload->random) < options->barge_share) {
        struct ask barge = {
            .buyer = ask->buyer, .step = STEP_BARGE, .kind = ASK_OTHER, .units = 1, .tries = 1};
        driver_later(workload->driver, &barge);
    }
}

static uint32_t
grant_add(struct workload *workload, const struct ask *ask, const struct told *told)
{
    struct grant grant = {.hold = told->id,
                          .deadline_ms = told->deadline_ms,
                          .read_ms = wall_ms(),
                          .buyer = ask->buyer,
                          .units = ask->units,
                          .seat_count = (uint8_t)told->seat_count};
    tally_add(&workload->tally->held, 1);
    return ledger_add(&workload->tally->ledger, grant, told->seats);
}

static void
leave(struct workload *workload, struct person *person)
{
    uint32_t buyer = buyer_of(workload, person);
    state_set(workload, person, PERSON_GONE);
    step_later(workload, buyer, STEP_LEAVE, ASK_LEAVE, 0);
}

static void
hold_granted(struct workload *workload, const struct ask *ask, const struct told *told)
{
    struct person *person = person_of(workload, ask->buyer);
    const struct load_options *options = workload->options;
    struct ask next = {.buyer = ask->buyer, .units = ask->units, .tries = 1};
    next.grant = grant_add(workload, ask, told);
    if (random_share(&workload->random) < options->confirm_share) {
        next.step = STEP_PAY;
        next.kind = ASK_CONFIRM;
    } else if (random_share(&workload->random) < options->vanish_share) {
        state_set(workload, person, PERSON_GONE);
        return;
    } else {
        next.step = STEP_RELEASE;
        next.kind = ASK_LEAVE;
    }
    next.due_ns = now_ns() + think_ns(workload);
    driver_later(workload->driver, &next);
}

static bool
word_is(const char *word, const char *wanted)
{
    return strcmp(word, wanted) == 0;
}

/* Nothing is left, so it is over; but somebody may still be asking again for the answer to his payment. */
static void
soldout_told(struct workload *workload, const struct ask *ask)
{
    struct room *room = workload->shared;
    uint64_t never = 0, now = now_ns();
    bool first = atomic_compare_exchange_strong(&room->soldout_ns, &never, now);
    bool last_look = person_of(workload, ask->buyer)->active_end_ns < now;
    if (last_look || (!first && now - never > SOLDOUT_WAIT_NS))
        atomic_store(workload->finished, true);
    else
        hold_later(workload, ask->buyer, ask->tries, 1, now + SOLDOUT_WAIT_NS / 4);
}

static void
hold_refused(struct workload *workload, const struct ask *ask, const char *error)
{
    struct person *person = person_of(workload, ask->buyer);
    count_refusal(&workload->tally->refusals, error);
    if (word_is(error, "NOTADMITTED")) {
        if (person->active_end_ns > now_ns())
            strange_note(workload->tally, "u%u is active and was refused as not admitted", ask->buyer);
        state_set(workload, person, PERSON_GONE);
        return;
    }
    if (word_is(error, "BUSY") || word_is(error, "RATELIMIT")) {
        struct ask again = *ask;
        again.grant = 0;
        ask_again(workload, &again, AGAIN_NS + think_ns(workload));
        return;
    }
    if (word_is(error, "SOLDOUT") && ask->units == 1) {
        soldout_told(workload, ask);
        return;
    }
    if (ask->tries >= workload->options->tries) {
        leave(workload, person);
        return;
    }
    /* Not so many, or not side by side: fewer, whatever they are; else others. */
    bool few = word_is(error, "NOADJACENT") || word_is(error, "HELDOUT") || word_is(error, "SOLDOUT");
    uint16_t units = few ? (uint16_t)((ask->units + 1) / 2) : 0;
    hold_later(workload, ask->buyer, (uint8_t)(ask->tries + 1), units, now_ns() + think_ns(workload));
}

static void
pay_answered(struct workload *workload, const struct ask *ask, const struct told *told)
{
    struct room *room = workload->shared;
    struct tally *tally = workload->tally;
    struct person *person = person_of(workload, ask->buyer);
    if (!told->well) {
        count_refusal(&tally->other_refusals, told->error);
        tally->ledger.grants[ask->grant].state = GRANT_HELD;
        leave(workload, person);
        return;
    }
    tally->ledger.grants[ask->grant].state = GRANT_CONFIRMED;
    tally->confirmed++;
    tally_add(&tally->sold, ask->units);
    state_set(workload, person, PERSON_GONE);
    if (atomic_fetch_add(&room->sold, ask->units) + ask->units >= options_units(workload->options, false))
        atomic_store(workload->finished, true);
}

static void
barge_answered(struct workload *workload, const struct ask *ask, const struct told *told,
               struct ask *ret_next, bool *ret_follows)
{
    if (!told->well) {
        count_refusal(&workload->tally->other_refusals, told->error);
        return;
    }
    *ret_next = (struct ask){.buyer = ask->buyer, .step = STEP_BARGE_LOOK, .kind = ASK_OTHER, .tries = 1};
    ret_next->grant = grant_add(workload, ask, told);
    ret_next->units = ask->units;
    *ret_follows = true;
}

/* He holds: so he must have been active then, and cannot be waiting now. */
static void
barge_looked(struct workload *workload, const struct ask *ask, const struct told *told,
             struct ask *ret_next)
{
    if (told->state == PLACE_WAITING)
        strange_note(workload->tally, "u%u holds a seat and is still waiting", ask->buyer);
    else
        person_of(workload, ask->buyer)->barged = true;
    *ret_next = *ask;
    ret_next->step = STEP_BARGE_RELEASE;
    ret_next->kind = ASK_LEAVE;
}

static void
released(struct workload *workload, const struct ask *ask, const struct told *told)
{
    if (told->well)
        workload->tally->ledger.grants[ask->grant].state = GRANT_RELEASED;
    else
        count_refusal(&workload->tally->other_refusals, told->error);
    if (ask->step == STEP_RELEASE)
        leave(workload, person_of(workload, ask->buyer));
}

static bool
step_is_hold(uint8_t step)
{
    return step == STEP_SEATS || step == STEP_BEST || step == STEP_BARGE;
}

/* A look, a watch or a join that was refused: later again, unless there is nothing to look at. */
static void
place_refused(struct workload *workload, const struct ask *ask, const char *error)
{
    struct person *person = person_of(workload, ask->buyer);
    count_refusal(&workload->tally->other_refusals, error);
    if (word_is(error, "BUSY") || word_is(error, "RATELIMIT") || word_is(error, "CLOSED")) {
        if (ask->step == STEP_JOIN && word_is(error, "CLOSED"))
            state_set(workload, person, PERSON_GONE); /* there is nothing more to be had */
        else if (ask->step != STEP_JOIN_AGAIN)
            ask_again(workload, ask, AGAIN_NS + think_ns(workload));
        return;
    }
    state_set(workload, person, PERSON_GONE);
}

static bool
room_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
            struct ask *ret_next)
{
    const struct load_options *options = workload->options;
    struct person *person = person_of(workload, ask->buyer);
    struct texts texts;
    struct told told;
    struct said said = said_of(workload, ask, &texts);
    bool follows = false;
    const char *wrong = speech_of(options)->read(options, &said, answer, &told);
    if (wrong == NULL && told.well && step_is_hold(ask->step))
        wrong = grant_check(options, said.want, ask->seat, ask->units, &told);
    if (wrong != NULL) {
        strange_note(workload->tally, "u%u (step %u) was answered with %s", ask->buyer, ask->step, wrong);
        return false;
    }
    if (step_is_hold(ask->step) && ask->grant == HOLD_LOST) {
        workload->tally->lost--;
        workload->tally->lost_units -= ask->units;
    }
    switch ((enum room_step)ask->step) {
    case STEP_JOIN:
    case STEP_JOIN_AGAIN:
        if (told.well)
            join_answered(workload, ask, &told);
        else
            place_refused(workload, ask, told.error);
        break;
    case STEP_WATCH:
    case STEP_LONG_POLL:
    case STEP_POLL:
        if (!told.well) {
            place_refused(workload, ask, told.error);
            break;
        }
        place_told(workload, person, &told, true);
        if (person->state == PERSON_WAITING)
            wait_on(workload, person, told.poll_in_ms);
        break;
    case STEP_BARGE:
        barge_answered(workload, ask, &told, ret_next, &follows);
        break;
    case STEP_BARGE_LOOK:
        if (told.well)
            barge_looked(workload, ask, &told, ret_next);
        return told.well;
    case STEP_SEATS:
    case STEP_BEST:
        if (told.well)
            hold_granted(workload, ask, &told);
        else
            hold_refused(workload, ask, told.error);
        break;
    case STEP_PAY:
        pay_answered(workload, ask, &told);
        break;
    case STEP_RELEASE:
    case STEP_BARGE_RELEASE:
        released(workload, ask, &told);
        break;
    case STEP_LEAVE:
        if (!told.well)
            count_refusal(&workload->tally->other_refusals, told.error);
        break;
    }
    return follows;
}

static void
room_push(struct workload *workload, const struct answer *answer)
{
    struct told told;
    const char *wrong = speech_push(answer, &told);
    if (wrong != NULL) {
        strange_note(workload->tally, "%s", wrong);
        return;
    }
    struct person *person = token_find(workload->own, &told.id);
    if (person == NULL) {
        strange_note(workload->tally, "a push message of a place that nobody here has");
        return;
    }
    place_told(workload, person, &told, true);
}

/* Everything is asked again. Until the answer to that has come a payment is unsure, and a hold counts as
 * lost: the end may come before. */
static void
room_lost(struct workload *workload, const struct ask *ask)
{
    struct ask again = *ask;
    if (ask->step == STEP_PAY) {
        workload->tally->ledger.grants[ask->grant].state = GRANT_UNSURE;
    } else if (step_is_hold(ask->step) && ask->grant != HOLD_LOST) {
        workload->tally->lost++;
        workload->tally->lost_units += ask->units;
        again.grant = HOLD_LOST;
    }
    if (is_over(workload) || ask->step == STEP_WATCH) /* room_unwatched() asks for watches */
        return;
    workload->tally->retried++;
    ask_again(workload, &again, AGAIN_NS);
}

/* A connection for watches is gone, and with it who was watched there: everybody is watched anew. */
static void
room_unwatched(struct workload *workload)
{
    struct people *people = workload->own;
    for (uint64_t i = 0; i < people->count && !is_over(workload); i++) {
        struct person *person = &people->people[i];
        if (person->state != PERSON_WAITING || !person->watches)
            continue;
        person->disordered = true;
        struct ask ask = {.due_ns = now_ns() + AGAIN_NS,
                          .buyer = buyer_of(workload, person),
                          .kind = ASK_PLACE,
                          .lane = LANE_WAIT,
                          .step = STEP_WATCH,
                          .tries = 1};
        driver_later(workload->driver, &ask);
    }
}

/* ---- the workload ---- */

static bool
room_open(const struct load_options *options, void **ret_shared, char *ret_error)
{
    struct room *room = calloc(1, sizeof *room);
    if (room != NULL)
        room->weights = row_weights_make(options->rows, options->zipf);
    if (room == NULL || room->weights == NULL) {
        snprintf(ret_error, 256, "out of memory");
        free(room);
        return false;
    }
    *ret_shared = room;
    return true;
}

static void
room_done(void *shared)
{
    struct room *room = shared;
    free(room->weights);
    free(room);
}

static bool
room_prepare(const struct load_options *options, void *shared, char *ret_error)
{
    (void)shared;
    return audit_prepare(options, false, true, ret_error);
}

static bool
room_begin(struct workload *workload, char *ret_error)
{
    const struct load_options *options = workload->options;
    struct people *people = calloc(1, sizeof *people);
    if (people != NULL) {
        people->count = (options->buyers + options->threads - 1 - workload->thread) / options->threads;
        uint64_t places = 1024;
        while (places < people->count * 2)
            places *= 2;
        people->by_token_mask = places - 1;
        people->people = calloc(people->count + 1, sizeof *people->people);
        people->by_token = calloc(places, sizeof *people->by_token);
        people->wall_less_clock_ms = (int64_t)wall_ms() - (int64_t)(now_ns() / 1000000);
    }
    workload->own = people;
    if (people == NULL || people->people == NULL || people->by_token == NULL) {
        snprintf(ret_error, 256, "out of memory for %llu people", (unsigned long long)options->buyers);
        return false;
    }
    return true;
}

static void
room_end(struct workload *workload)
{
    struct people *people = workload->own;
    if (people == NULL)
        return;
    free(people->people);
    free(people->by_token);
    free(people);
    workload->own = NULL;
}

static bool
room_check(const struct load_options *options, struct workload *workloads, const struct tally *total,
           struct audit *ret_audit, char *ret_error)
{
    const struct person *people[LOAD_THREADS_MAX];
    uint64_t counts[LOAD_THREADS_MAX];
    for (uint32_t i = 0; i < options->threads; i++) {
        const struct people *own = workloads[i].own;
        people[i] = own->people;
        counts[i] = own->count;
    }
    room_audit(options, people, counts, options->threads, &total->ledger, ret_audit);
    return audit_run(options, false, total, ret_audit, ret_error);
}

const struct workload_kind workload_open = {
    .name = "open",
    .help = "a waiting room: people join, wait, choose seats, pay or walk away",
    .options = OPTIONS_EVENT | OPTIONS_SEATS | OPTIONS_PAY | OPTIONS_ROOM,
    .retries = true,
    .open = room_open,
    .done = room_done,
    .prepare = room_prepare,
    .begin = room_begin,
    .end = room_end,
    .arrive = room_arrive,
    .write = room_write,
    .answer = room_answer,
    .lost = room_lost,
    .push = room_push,
    .unwatched = room_unwatched,
    .audit = room_check,
};
