/*
 * sale.c - buyers of deals and seats: what they want, and what they are told.
 *
 * A deal's buyer asks for units of the one pool. A hall's buyer comes as a party of 1 to --party-max and
 * either asks for the best seats, or for seats side by side that he has picked from the map as people do:
 * the front rows first (row = rows x u^3, so half of all want the front eighth), near the middle (the mean
 * of two draws). Who is refused seats picks others, up to --tries times.
 *
 * Every answer is held against the question: a hold of other seats than those asked for, of another number,
 * or not side by side where the best were asked for, is counted as strange, and fails the load.
 */
#include "load/workload.h"

#include <assert.h>
#include <stdio.h>

static void
seats_choose(struct workload *workload, struct ask *ask)
{
    const struct load_options *options = workload->options;
    uint64_t *random = &workload->random;
    ask->units = (uint16_t)(1 + random_below(random, options->party_max));
    if (random_share(random) < options->best_share) {
        ask->kind = ASK_BEST;
        return;
    }
    ask->kind = ASK_SEATS;
    double depth = random_share(random);
    uint32_t row = (uint32_t)(depth * depth * depth * options->rows);
    uint32_t places = options->row_seats - ask->units + 1;
    double side = (random_share(random) + random_share(random)) / 2;
    ask->seat = row * options->row_seats + (uint32_t)(side * places);
    assert(ask->seat + ask->units <= options->rows * options->row_seats);
}

void
sale_choose(struct workload *workload, struct ask *ask)
{
    if (workload->options->kind == LOAD_DEAL) {
        ask->kind = ASK_POOL;
        ask->units = (uint16_t)workload->options->quantity;
    } else {
        seats_choose(workload, ask);
    }
}

uint32_t
sale_user_text(uint32_t buyer, char *ret_text)
{
    ret_text[0] = 'u';
    return 1 + digits_write(ret_text + 1, buyer);
}

uint32_t
sale_seat_text(const struct load_options *options, uint32_t seat, char *ret_text)
{
    uint32_t size = sizeof SALE_SECTION - 1;
    memcpy(ret_text, SALE_SECTION, size);
    ret_text[size++] = '/';
    size += digits_write(ret_text + size, seat / options->row_seats + 1);
    ret_text[size++] = '/';
    size += digits_write(ret_text + size, seat % options->row_seats + 1);
    return size;
}

bool
sale_seat_read(const struct load_options *options, struct bytes text, uint32_t *ret_seat)
{
    uint32_t part[2] = {0, 0};
    uint32_t at = sizeof SALE_SECTION - 1;
    if (text.size >= SEAT_TEXT_SIZE_MAX || text.size <= at || memcmp(text.data, SALE_SECTION, at) != 0)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        if (at == text.size || text.data[at++] != '/')
            return false;
        for (; at < text.size && text.data[at] >= '0' && text.data[at] <= '9' && part[i] < 100000; at++)
            part[i] = part[i] * 10 + (uint32_t)(text.data[at] - '0');
    }
    if (at != text.size || part[0] - 1 >= options->rows || part[1] - 1 >= options->row_seats)
        return false;
    *ret_seat = (part[0] - 1) * options->row_seats + part[1] - 1;
    return true;
}

static void
confirm_write(struct workload *workload, const struct ask *ask, struct request_text *request)
{
    char hold[UUID_TEXT_SIZE];
    char user[24];
    hold_text_write(&workload->tally->ledger.grants[ask->grant].hold, hold);
    request_begin(request, 3);
    request_text(request, "CONFIRM");
    request_word(request, (struct bytes){hold, UUID_TEXT_SIZE});
    request_word(request, (struct bytes){user, sale_user_text(ask->buyer, user)});
}

void
sale_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request)
{
    if (ask->kind == ASK_CONFIRM) {
        confirm_write(workload, ask, ret_request);
        return;
    }
    char user[24];
    request_begin(ret_request, ask->kind == ASK_SEATS ? 3 + 2 * (uint32_t)ask->units : 6);
    request_text(ret_request, "HOLD");
    request_text(ret_request, workload->options->event);
    request_word(ret_request, (struct bytes){user, sale_user_text(ask->buyer, user)});
    for (uint32_t i = 0; ask->kind == ASK_SEATS && i < ask->units; i++) {
        char seat[SEAT_TEXT_SIZE_MAX];
        request_text(ret_request, "SEAT");
        request_word(ret_request,
                     (struct bytes){seat, sale_seat_text(workload->options, ask->seat + i, seat)});
    }
    if (ask->kind != ASK_SEATS) {
        request_text(ret_request, ask->kind == ASK_POOL ? "POOL" : "BEST");
        request_text(ret_request, ask->kind == ASK_POOL ? SALE_POOL : SALE_SECTION);
        request_number(ret_request, ask->units);
    }
}

/* [hold, deadline_ms, seat, version, ...]: NULL, or what is wrong with it. */
static const char *
grant_read(const struct load_options *options, const struct ask *ask, const struct answer *answer,
           struct grant *ret_grant, struct granted_seat *ret_seats)
{
    const struct answer_value *values = answer->values;
    uint32_t seat_count = ask->kind == ASK_POOL ? 0 : ask->units;
    if (values[0].kind != ANSWER_ARRAY || answer->count != values[0].size + 1)
        return "no array of plain values";
    if (values[0].size != 2 + 2 * seat_count)
        return "not as many values as units were asked for";
    *ret_grant =
        (struct grant){.buyer = ask->buyer, .units = ask->units, .seat_count = (uint8_t)seat_count};
    if (values[1].kind != ANSWER_TEXT || !hold_text_read(answer_text(answer, 1), &ret_grant->hold))
        return "no hold's id";
    if (values[2].kind != ANSWER_INTEGER || values[2].integer <= 0)
        return "no deadline";
    ret_grant->deadline_ms = (uint64_t)values[2].integer;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < seat_count; i++) {
        const struct answer_value *name = &values[3 + 2 * i];
        if (name->kind != ANSWER_TEXT || name[1].kind != ANSWER_INTEGER || name[1].integer <= 0 ||
            !sale_seat_read(options, answer_text(answer, 3 + 2 * i), &ret_seats[i].seat))
            return "no seat and version";
        ret_seats[i].version = (uint32_t)name[1].integer;
        uint32_t first = ask->kind == ASK_SEATS ? ask->seat : ret_seats[0].seat;
        uint32_t offset = ret_seats[i].seat - first;
        if (offset >= seat_count || first / options->row_seats != ret_seats[i].seat / options->row_seats)
            return ask->kind == ASK_SEATS ? "other seats than those asked for"
                                          : "seats that are not side by side";
        seen |= UINT64_C(1) << offset;
    }
    if (seen != (UINT64_C(1) << seat_count) - 1)
        return "the same seat twice";
    return NULL;
}

static void
strange_note(struct tally *tally, const struct ask *ask, const char *what)
{
    if (tally->strange++ == 0)
        snprintf(tally->strange_first, sizeof tally->strange_first,
                 "buyer u%u (%s of %u) was answered with %s", ask->buyer,
                 ask->kind == ASK_CONFIRM ? "confirm" : "hold", ask->units, what);
}

static bool
hold_refused(struct workload *workload, const struct ask *ask, struct bytes error, struct ask *ret_next)
{
    refusal_count(&workload->tally->refusals, error, 1);
    if (ask->kind == ASK_POOL || ask->tries >= workload->options->tries ||
        atomic_load_explicit(workload->stopping, memory_order_relaxed))
        return false;
    *ret_next = (struct ask){.buyer = ask->buyer, .tries = (uint8_t)(ask->tries + 1)};
    seats_choose(workload, ret_next);
    return true;
}

static bool
confirm_answered(struct workload *workload, const struct ask *ask, const struct answer *answer)
{
    struct tally *tally = workload->tally;
    if (answer->values[0].kind == ANSWER_STATUS) {
        tally->ledger.grants[ask->grant].state = GRANT_CONFIRMED;
        tally->confirmed++;
    } else if (answer->values[0].kind == ANSWER_ERROR) {
        refusal_count(&tally->confirm_refusals, answer_text(answer, 0), 1);
    } else {
        strange_note(tally, ask, "neither OK nor an error");
    }
    return false;
}

bool
sale_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
            struct ask *ret_next)
{
    if (ask->kind == ASK_CONFIRM)
        return confirm_answered(workload, ask, answer);
    if (answer->values[0].kind == ANSWER_ERROR)
        return hold_refused(workload, ask, answer_text(answer, 0), ret_next);
    struct grant grant;
    struct granted_seat seats[LOAD_PARTY_MAX];
    const char *wrong = grant_read(workload->options, ask, answer, &grant, seats);
    if (wrong != NULL) {
        strange_note(workload->tally, ask, wrong);
        return false;
    }
    workload->tally->held++;
    uint32_t index = ledger_add(&workload->tally->ledger, grant, seats);
    double share = workload->options->confirm_share;
    if (share == 0 || random_share(&workload->random) >= share)
        return false;
    *ret_next = (struct ask){.kind = ASK_CONFIRM, .buyer = ask->buyer, .grant = index, .units = ask->units};
    return true;
}
