/*
 * sale.c - buyers of deals and seats: what they want, and what they are told.
 *
 *     deal     counted stock: a buyer asks for units of the one pool
 *     hall     a buyer comes as a party of 1 to --party-max and either asks for the best seats, or for
 * seats side by side that he has picked from the map as people do: row r with a weight of 1 / r^zipf, near
 * the middle (the mean of two draws); who is refused picks others, up to --tries times storm    everybody
 * asks for the same seat
 *
 * Every answer is held against the question: a hold of other seats than those asked for, of another number,
 * or not side by side where the best were asked for, is counted as strange, and fails the load.
 */
#include "load/sale.h"

#include "load/audit.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct row_weights {
    uint32_t rows;
    double upto[ROWS_MAX]; /* the share of buyers who want this row or one in front of it */
};

struct row_weights *
row_weights_make(uint32_t rows, double zipf)
{
    struct row_weights *weights = calloc(1, sizeof *weights);
    assert(rows > 0 && rows <= ROWS_MAX);
    if (weights == NULL)
        return NULL;
    double sum = 0;
    weights->rows = rows;
    for (uint32_t i = 0; i < rows; i++)
        weights->upto[i] = sum += pow(i + 1, -zipf);
    for (uint32_t i = 0; i < rows; i++)
        weights->upto[i] /= sum;
    return weights;
}

uint32_t
row_choose(const struct row_weights *weights, double share)
{
    uint32_t first = 0, last = weights->rows - 1;
    while (first < last) {
        uint32_t middle = (first + last) / 2;
        if (share < weights->upto[middle])
            last = middle;
        else
            first = middle + 1;
    }
    return first;
}

void
seats_choose(struct workload *workload, const struct row_weights *weights, struct wish *ret_wish)
{
    const struct load_options *options = workload->options;
    uint64_t *random = &workload->random;
    struct wish wish = {.units = (uint16_t)(1 + random_below(random, options->party_max))};
    wish.want = random_share(random) < options->best_share ? WANT_BEST : WANT_SEATS;
    if (wish.want == WANT_SEATS) {
        uint32_t row = row_choose(weights, random_share(random));
        uint32_t places = options->row_seats - wish.units + 1;
        double side = (random_share(random) + random_share(random)) / 2;
        wish.seat = row * options->row_seats + (uint32_t)(side * places);
        assert(wish.seat + wish.units <= options->rows * options->row_seats);
    }
    *ret_wish = wish;
}

const char *
grant_check(const struct load_options *options, enum want want, uint32_t seat, uint32_t units,
            const struct told *told)
{
    uint32_t seat_count = want == WANT_POOL ? 0 : units;
    if (told->seat_count != seat_count)
        return "another number of seats";
    uint64_t seen = 0;
    for (uint32_t i = 0; i < seat_count; i++) {
        uint32_t first = want == WANT_SEATS ? seat : told->seats[0].seat;
        uint32_t offset = told->seats[i].seat - first;
        if (offset >= seat_count || first / options->row_seats != told->seats[i].seat / options->row_seats)
            return want == WANT_SEATS ? "other seats than those asked for"
                                      : "seats that are not side by side, or not in order";
        seen |= UINT64_C(1) << offset;
    }
    return seen == (UINT64_C(1) << seat_count) - 1 ? NULL : "the same seat twice";
}

/* ---- the workloads ---- */

/* ask.step */
enum sale_step {
    STEP_POOL,
    STEP_SEATS,
    STEP_BEST,
    STEP_CONFIRM,
    STEP_RELEASE,
};

static bool
sale_open(const struct load_options *options, void **ret_shared, char *ret_error)
{
    struct row_weights *weights = row_weights_make(options->rows, options->zipf);
    if (weights == NULL)
        snprintf(ret_error, 256, "out of memory");
    *ret_shared = weights;
    return weights != NULL;
}

static void
hall_choose(struct workload *workload, struct ask *ask)
{
    struct wish wish;
    seats_choose(workload, workload->shared, &wish);
    ask->step = wish.want == WANT_BEST ? STEP_BEST : STEP_SEATS;
    ask->seat = wish.seat;
    ask->units = wish.units;
}

static void
hall_arrive(struct workload *workload, struct ask *ask)
{
    hall_choose(workload, ask);
}

static void
deal_arrive(struct workload *workload, struct ask *ask)
{
    ask->step = STEP_POOL;
    ask->units = (uint16_t)workload->options->quantity;
}

/* In the middle of the front row. */
static void
storm_arrive(struct workload *workload, struct ask *ask)
{
    ask->step = STEP_SEATS;
    ask->units = 1;
    ask->seat = workload->options->row_seats / 2;
}

static struct said
said_of(const struct workload *workload, const struct ask *ask, char *user)
{
    struct said said = {.say = SAY_HOLD, .seat = ask->seat, .units = ask->units};
    said.user = (struct bytes){user, buyer_text(ask->buyer, user)};
    said.want = ask->step == STEP_POOL ? WANT_POOL : ask->step == STEP_BEST ? WANT_BEST : WANT_SEATS;
    if (ask->step == STEP_CONFIRM || ask->step == STEP_RELEASE) {
        said.say = ask->step == STEP_CONFIRM ? SAY_CONFIRM : SAY_RELEASE;
        said.id = workload->tally->ledger.grants[ask->grant].hold;
    }
    return said;
}

static void
sale_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request)
{
    char user[24];
    struct said said = said_of(workload, ask, user);
    speech_of(workload->options)->write(workload->options, &said, ret_request);
    if (ask->step == STEP_RELEASE) { /* from here on it may have ended */
        struct grant *grant = &workload->tally->ledger.grants[ask->grant];
        grant->state = GRANT_LEAVING;
        grant->ended_ms = wall_ms();
    }
}

static bool
hold_refused(struct workload *workload, const struct ask *ask, const char *error, struct ask *ret_next)
{
    refusal_count(&workload->tally->refusals, (struct bytes){error, (uint32_t)strlen(error)}, 1);
    if (workload->kind != &workload_hall || ask->tries >= workload->options->tries ||
        atomic_load_explicit(workload->stopping, memory_order_relaxed))
        return false;
    *ret_next = (struct ask){.buyer = ask->buyer, .tries = (uint8_t)(ask->tries + 1)};
    hall_choose(workload, ret_next);
    return true;
}

static void
confirm_answered(struct workload *workload, const struct ask *ask, const struct told *told)
{
    struct tally *tally = workload->tally;
    if (!told->well) {
        refusal_count(&tally->other_refusals, (struct bytes){told->error, (uint32_t)strlen(told->error)},
                      1);
        return;
    }
    tally->ledger.grants[ask->grant].state = GRANT_CONFIRMED;
    tally->confirmed++;
    tally_add(&tally->sold, ask->units);
}

static void
release_answered(struct workload *workload, const struct ask *ask, const struct told *told)
{
    struct tally *tally = workload->tally;
    if (told->well)
        tally->ledger.grants[ask->grant].state = GRANT_RELEASED;
    else
        refusal_count(&tally->other_refusals, (struct bytes){told->error, (uint32_t)strlen(told->error)},
                      1);
}

/* Who holds pays, gives back, or just goes. False: the latter. */
static bool
decide(struct workload *workload, struct ask *ret_next)
{
    const struct load_options *options = workload->options;
    if (options->confirm_share > 0 && random_share(&workload->random) < options->confirm_share) {
        ret_next->kind = ASK_CONFIRM;
        ret_next->step = STEP_CONFIRM;
        return true;
    }
    if (options->release_share > 0 && random_share(&workload->random) < options->release_share) {
        ret_next->kind = ASK_LEAVE;
        ret_next->step = STEP_RELEASE;
        return true;
    }
    return false;
}

static bool
sale_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
            struct ask *ret_next)
{
    const struct load_options *options = workload->options;
    char user[24];
    struct told told;
    struct said said = said_of(workload, ask, user);
    const char *wrong = speech_of(options)->read(options, &said, answer, &told);
    if (wrong == NULL && told.well && said.say == SAY_HOLD)
        wrong = grant_check(options, said.want, ask->seat, ask->units, &told);
    if (wrong != NULL) {
        strange_note(workload->tally, "buyer u%u (%s of %u) was answered with %s", ask->buyer,
                     said.say == SAY_HOLD      ? "hold"
                     : said.say == SAY_CONFIRM ? "confirm"
                                               : "release",
                     ask->units, wrong);
        return false;
    }
    if (said.say == SAY_CONFIRM) {
        confirm_answered(workload, ask, &told);
        return false;
    }
    if (said.say == SAY_RELEASE) {
        release_answered(workload, ask, &told);
        return false;
    }
    if (!told.well)
        return hold_refused(workload, ask, told.error, ret_next);
    struct grant grant = {.hold = told.id,
                          .deadline_ms = told.deadline_ms,
                          .read_ms = wall_ms(),
                          .buyer = ask->buyer,
                          .units = ask->units,
                          .seat_count = (uint8_t)told.seat_count};
    uint32_t index = ledger_add(&workload->tally->ledger, grant, told.seats);
    tally_add(&workload->tally->held, 1);
    *ret_next = (struct ask){.buyer = ask->buyer, .grant = index, .units = ask->units};
    return decide(workload, ret_next);
}

static void
sale_lost(struct workload *workload, const struct ask *ask)
{
    if (ask->step == STEP_RELEASE)
        return; /* GRANT_LEAVING says it */
    if (ask->step == STEP_CONFIRM) {
        workload->tally->ledger.grants[ask->grant].state = GRANT_UNSURE;
        return;
    }
    workload->tally->lost++;
    workload->tally->lost_units += ask->units;
}

static bool
deal_prepare(const struct load_options *options, void *shared, char *ret_error)
{
    (void)shared;
    return audit_prepare(options, true, false, ret_error);
}

static bool
hall_prepare(const struct load_options *options, void *shared, char *ret_error)
{
    (void)shared;
    return audit_prepare(options, false, false, ret_error);
}

static bool
deal_audit(const struct load_options *options, struct workload *workloads, const struct tally *total,
           struct audit *ret_audit, char *ret_error)
{
    (void)workloads;
    return audit_run(options, true, total, ret_audit, ret_error);
}

static bool
hall_audit(const struct load_options *options, struct workload *workloads, const struct tally *total,
           struct audit *ret_audit, char *ret_error)
{
    (void)workloads;
    return audit_run(options, false, total, ret_audit, ret_error);
}

const struct workload_kind workload_deal = {
    .name = "deal",
    .help = "counted stock: every buyer takes units of one pool",
    .options = OPTIONS_EVENT | OPTIONS_POOL | OPTIONS_PAY | OPTIONS_SALE | OPTIONS_NULL,
    .prepare = deal_prepare,
    .arrive = deal_arrive,
    .write = sale_write,
    .answer = sale_answer,
    .lost = sale_lost,
    .audit = deal_audit,
};

const struct workload_kind workload_hall = {
    .name = "hall",
    .help = "seats: everybody is after the front rows",
    .options = OPTIONS_EVENT | OPTIONS_SEATS | OPTIONS_PAY | OPTIONS_SALE,
    .open = sale_open,
    .done = free,
    .prepare = hall_prepare,
    .arrive = hall_arrive,
    .write = sale_write,
    .answer = sale_answer,
    .lost = sale_lost,
    .audit = hall_audit,
};

const struct workload_kind workload_storm = {
    .name = "storm",
    .help = "seats: everybody asks for the same one",
    .options = OPTIONS_EVENT | OPTIONS_SEATS | OPTIONS_PAY,
    .prepare = hall_prepare,
    .arrive = storm_arrive,
    .write = sale_write,
    .answer = sale_answer,
    .lost = sale_lost,
    .audit = hall_audit,
};
