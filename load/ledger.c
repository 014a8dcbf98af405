/*
 * ledger.c - what the buyers were told, and whether anything was promised twice.
 *
 * Each thread of the load keeps a ledger of its own; they are merged at the end. Nothing in it comes from
 * asking the server afterwards: a unit is oversold here although the server's own counts may look well.
 *
 * With deadlines a seat may rightly be granted again, so a grant is an interval of the server's time:
 *
 *     start = deadline - hold_seconds                 end = deadline, or never where confirmed
 *
 *     seat A/1/1   |--- u7 ---|  |-- u9 --|           fine: u7's hold had ended
 *                  |--- u7 ---|
 *                        |-- u9 --|                   oversold by one
 *
 * Each shard takes the time once a tick, so the start of one hold, by its shard's clock, may lie before the
 * end of the one that ended before it was granted, by another shard's or by ours: a little mostly, and as
 * long as a tick of a server that is overrun. It certainly is held when its answer has been read, so that
 * is taken for its start where it is later. An overlap of up to SHARD_CLOCKS_MS proves nothing then, and a
 * longer one does. What is confirmed never ends.
 */
#include "load/ledger.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARD_CLOCKS_MS 100u

/* An array with room for so many more elements. */
static void *
grown(void *array, uint32_t *room, uint64_t wanted, size_t element_size)
{
    if (wanted <= *room)
        return array;
    uint64_t next = wanted + wanted / 2 + 1024;
    void *larger = next <= UINT32_MAX ? realloc(array, (size_t)next * element_size) : NULL;
    if (larger == NULL) {
        fprintf(stderr, "holdfast load: out of memory for %llu answers\n", (unsigned long long)wanted);
        exit(1);
    }
    *room = (uint32_t)next;
    return larger;
}

uint32_t
ledger_add(struct ledger *ledger, struct grant grant, const struct granted_seat *seats)
{
    assert(grant.units > 0);
    ledger->grants = grown(ledger->grants, &ledger->grant_room, (uint64_t)ledger->grant_count + 1,
                           sizeof *ledger->grants);
    ledger->seats = grown(ledger->seats, &ledger->seat_room,
                          (uint64_t)ledger->seat_count + grant.seat_count, sizeof *ledger->seats);
    grant.seat_first = ledger->seat_count;
    for (uint32_t i = 0; i < grant.seat_count; i++)
        ledger->seats[ledger->seat_count++] = seats[i];
    ledger->grants[ledger->grant_count] = grant;
    return ledger->grant_count++;
}

void
ledger_merge(struct ledger *into, const struct ledger *from)
{
    for (uint32_t i = 0; i < from->grant_count; i++)
        (void)ledger_add(into, from->grants[i], from->seats + from->grants[i].seat_first);
}

void
ledger_done(struct ledger *ledger)
{
    free(ledger->grants);
    free(ledger->seats);
    *ledger = (struct ledger){0};
}

/* A unit or units promised from start to end. */
struct promise {
    uint64_t start_ms;
    uint64_t end_ms;
    uint32_t seat;
    uint32_t version;
};

static int
promise_compare(const void *left, const void *right)
{
    const struct promise *a = left, *b = right;
    if (a->seat != b->seat)
        return a->seat < b->seat ? -1 : 1;
    if (a->start_ms != b->start_ms)
        return a->start_ms < b->start_ms ? -1 : 1;
    return (a->version > b->version) - (a->version < b->version);
}

static uint64_t
seats_oversold(struct promise *promises, uint64_t count)
{
    qsort(promises, (size_t)count, sizeof *promises, promise_compare);
    uint64_t oversold = 0;
    uint64_t end_ms = 0;
    for (uint64_t i = 0; i < count; i++) {
        bool first = i == 0 || promises[i].seat != promises[i - 1].seat;
        if (!first && promises[i].start_ms < end_ms)
            oversold++;
        if (first || promises[i].end_ms > end_ms)
            end_ms = promises[i].end_ms;
    }
    return oversold;
}

/* Units that begin (above 0) or end (below 0) to be promised. */
struct change {
    uint64_t at_ms;
    int64_t units;
};

static int
change_compare(const void *left, const void *right)
{
    const struct change *a = left, *b = right;
    if (a->at_ms != b->at_ms)
        return a->at_ms < b->at_ms ? -1 : 1;
    return (a->units > b->units) - (a->units < b->units); /* ends first */
}

static uint64_t
pool_oversold(struct change *changes, uint64_t count, uint32_t stock)
{
    qsort(changes, (size_t)count, sizeof *changes, change_compare);
    int64_t promised = 0;
    int64_t most = 0;
    for (uint64_t i = 0; i < count; i++) {
        promised += changes[i].units;
        if (promised > most)
            most = promised;
    }
    return most > (int64_t)stock ? (uint64_t)(most - (int64_t)stock) : 0;
}

/* When a grant certainly no longer lives, less what proves nothing. */
static uint64_t
grant_end_ms(const struct grant *grant)
{
    if (grant->state == GRANT_CONFIRMED)
        return UINT64_MAX;
    bool given_back = grant->state == GRANT_RELEASED || grant->state == GRANT_LEAVING;
    uint64_t end_ms =
        given_back && grant->ended_ms < grant->deadline_ms ? grant->ended_ms : grant->deadline_ms;
    return end_ms > SHARD_CLOCKS_MS ? end_ms - SHARD_CLOCKS_MS : 0;
}

uint64_t
ledger_oversold(const struct ledger *ledger, uint32_t stock, uint32_t hold_seconds)
{
    if (ledger->grant_count == 0)
        return 0;
    struct promise *promises = calloc((size_t)ledger->seat_count + 1, sizeof *promises);
    struct change *changes = calloc((size_t)ledger->grant_count * 2, sizeof *changes);
    if (promises == NULL || changes == NULL) {
        fprintf(stderr, "holdfast load: out of memory for the count of %u answers\n", ledger->grant_count);
        exit(1);
    }
    uint64_t promise_count = 0;
    uint64_t change_count = 0;
    for (uint32_t i = 0; i < ledger->grant_count; i++) {
        const struct grant *grant = &ledger->grants[i];
        uint64_t life_ms = (uint64_t)hold_seconds * 1000;
        uint64_t start_ms = grant->deadline_ms > life_ms ? grant->deadline_ms - life_ms : 0;
        uint64_t end_ms = grant_end_ms(grant);
        if (grant->read_ms > start_ms)
            start_ms = grant->read_ms;
        for (uint32_t j = 0; j < grant->seat_count; j++) {
            const struct granted_seat *seat = &ledger->seats[grant->seat_first + j];
            promises[promise_count++] = (struct promise){start_ms, end_ms, seat->seat, seat->version};
        }
        if (grant->seat_count == 0 && end_ms > start_ms) {
            changes[change_count++] = (struct change){start_ms, grant->units};
            changes[change_count++] = (struct change){end_ms, -(int64_t)grant->units};
        }
    }
    uint64_t oversold = seats_oversold(promises, promise_count);
    if (stock > 0)
        oversold += pool_oversold(changes, change_count, stock);
    free(promises);
    free(changes);
    return oversold;
}

void
hold_text_write(const struct uuid *hold, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t at = 0;
    for (uint32_t i = 0; i < sizeof hold->byte; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret_text[at++] = '-';
        ret_text[at++] = digits[hold->byte[i] >> 4];
        ret_text[at++] = digits[hold->byte[i] & 15];
    }
    assert(at == UUID_TEXT_SIZE);
}

static int
digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

bool
hold_text_read(struct bytes text, struct uuid *ret_hold)
{
    if (text.size != UUID_TEXT_SIZE)
        return false;
    struct uuid hold;
    uint32_t at = 0;
    for (uint32_t i = 0; i < sizeof hold.byte; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && text.data[at++] != '-')
            return false;
        int high = digit_value(text.data[at++]);
        int low = digit_value(text.data[at++]);
        if (high < 0 || low < 0)
            return false;
        hold.byte[i] = (uint8_t)(high << 4 | low);
    }
    *ret_hold = hold;
    return true;
}
