/*
 * rival_load.c - `holdfast bench rival NAME`: one rival under the generator's load.
 *
 * Every rival is a workload of the generator (load/workload.h), so that connections, arrivals, percentiles
 * and the count of what was oversold are the same lines for all. What is here is the way between the two: a
 * buyer's purchase to the rival's bytes, its outcome to the ledger, the rival's own books to the audit.
 *
 * A purchase that names its unit is entered with it: two buyers with one unit are oversold, however many
 * units there still were. One that names none counts against the stock.
 */
#include "bench/baselines/rival_load.h"

#include "bench/baselines/rival.h"
#include "load/audit.h"
#include "load/load.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define RIVALS_MAX 32

struct rival_shared {
    const struct rival *rival;
    struct rival_stage stage;
};

static bool
shared_open(const struct load_options *options, void **ret_shared, char *ret_error)
{
    struct rival_shared *shared = calloc(1, sizeof *shared);
    if (shared == NULL) {
        snprintf(ret_error, RIVAL_ERROR_SIZE, "out of memory");
        return false;
    }
    shared->rival = rival_find(options->workload->name);
    shared->stage.place = options->place;
    shared->stage.event = options->event;
    shared->stage.units = options->stock;
    if (shared->stage.place.target == NULL)
        shared->stage.place.target = "";
    *ret_shared = shared;
    return true;
}

static bool
rival_prepare(const struct load_options *options, void *shared_void, char *ret_error)
{
    struct rival_shared *shared = shared_void;
    (void)options;
    return shared->rival->prepare(&shared->stage, ret_error);
}

static struct rival_purchase
purchase_of(const struct ask *ask)
{
    return (struct rival_purchase){.buyer = ask->buyer, .seat = ask->seat};
}

static void
rival_arrive(struct workload *workload, struct ask *ret_ask)
{
    const struct rival_shared *shared = workload->shared;
    ret_ask->units = 1;
    if (shared->rival->sale == RIVAL_HALL)
        ret_ask->seat = (uint32_t)random_below(&workload->random, shared->stage.units);
}

static void
rival_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request)
{
    const struct rival_shared *shared = workload->shared;
    struct rival_purchase purchase = purchase_of(ask);
    shared->rival->write(&shared->stage, &purchase, ret_request);
}

static void
grant_enter(struct workload *workload, const struct ask *ask, uint32_t unit)
{
    struct granted_seat seat = {.seat = unit};
    struct grant grant = {.buyer = ask->buyer, .units = 1, .state = GRANT_CONFIRMED};
    grant.seat_count = unit != RIVAL_UNIT_NONE;
    (void)ledger_add(&workload->tally->ledger, grant, &seat);
}

static bool
rival_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
             struct ask *ret_next)
{
    const struct rival_shared *shared = workload->shared;
    struct rival_purchase purchase = purchase_of(ask);
    struct rival_outcome outcome = {.tries = 1, .unit = RIVAL_UNIT_NONE};
    (void)ret_next; /* a purchase is one request here, whatever it is on the wire */
    if (!shared->rival->read(answer, &purchase, &outcome)) {
        struct bytes text = answer->values[0].kind == ANSWER_INTEGER ? (struct bytes){"a number", 8}
                                                                     : answer_text(answer, 0);
        strange_note(workload->tally, "%.*s", (int)(text.size < 160 ? text.size : 160), text.data);
        return false;
    }
    workload->tally->retried += outcome.tries - 1;
    if (shared->rival->sale == RIVAL_HALL && outcome.kind == RIVAL_GRANTED && outcome.unit != ask->seat)
        strange_note(workload->tally, "seat %u was asked for, and %u granted", ask->seat, outcome.unit);
    switch (outcome.kind) {
    case RIVAL_GRANTED:
        tally_add(&workload->tally->held, 1);
        grant_enter(workload, ask, outcome.unit);
        break;
    case RIVAL_REFUSED:
        refusal_count(&workload->tally->refusals, (struct bytes){"REFUSED", 7}, 1);
        break;
    case RIVAL_GAVE_UP:
        refusal_count(&workload->tally->refusals, (struct bytes){"GAVEUP", 6}, 1);
        break;
    }
    return false;
}

static void
rival_lost(struct workload *workload, const struct ask *ask)
{
    workload->tally->lost++;
    workload->tally->lost_units += ask->units;
}

/* Answers that never came may be recorded or not; every other grant must be there, and nothing besides. */
static bool
rival_audit(const struct load_options *options, struct workload *workloads, const struct tally *total,
            struct audit *ret_audit, char *ret_error)
{
    const struct rival_shared *shared = workloads[0].shared;
    struct rival_audit books;
    (void)options;
    if (!shared->rival->audit(&shared->stage, &books, ret_error))
        return false;
    ret_audit->recorded = (int64_t)books.holds;
    ret_audit->units_left = (int64_t)books.units_left;
    uint64_t held = total->held;
    if (books.holds < held)
        audit_differs(ret_audit, "%llu purchases were granted, and %llu are recorded",
                      (unsigned long long)held, (unsigned long long)books.holds);
    if (books.holds > held + total->lost_units)
        audit_differs(ret_audit, "%llu purchases are recorded, and %llu were granted",
                      (unsigned long long)books.holds, (unsigned long long)held);
    return true;
}

int
rival_main(int argc, char **argv)
{
    static struct workload_kind kinds[RIVALS_MAX];
    static const struct workload_kind *table[RIVALS_MAX + 1];
    uint32_t count = 0;
    for (const struct rival *const *rival = rivals_all; *rival != NULL; rival++) {
        assert(count < RIVALS_MAX);
        kinds[count] = (struct workload_kind){.name = (*rival)->name,
                                              .help = (*rival)->what,
                                              .options = OPTIONS_ALL | OPTIONS_EVENT | OPTIONS_POOL,
                                              .client = (*rival)->client,
                                              .open = shared_open,
                                              .done = free,
                                              .prepare = rival_prepare,
                                              .arrive = rival_arrive,
                                              .write = rival_write,
                                              .answer = rival_answer,
                                              .lost = rival_lost,
                                              .audit = rival_audit};
        table[count] = &kinds[count];
        count++;
    }
    return load_main_with(argc, argv, table);
}
