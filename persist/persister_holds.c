/*
 * persister_holds.c - holds by id, and by last use.
 *
 *     buckets ─▶ hold ─▶ hold          a chain each
 *     newest ⇄ hold ⇄ ... ⇄ oldest     by last use; those of the transaction are in front
 *
 * Bound (R7): bytes_max, and besides what one transaction touches. Beyond: the oldest are forgotten when a
 * transaction stands; they are read from PostgreSQL again when a record names them.
 */
#include "persist/persister_holds.h"

#include "core/route.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_A_HOLD 256 /* about: for the number of buckets */
#define BUCKETS_MIN  1024u

struct known_holds {
    struct known_hold **buckets;
    uint32_t mask;
    uint64_t bytes_max;
    uint64_t bytes;
    uint64_t count;
    struct known_hold *newest;
    struct known_hold *oldest;
};

int
holds_open(struct known_holds **ret_holds, uint64_t bytes_max)
{
    struct known_holds *holds = calloc(1, sizeof *holds);
    uint32_t buckets = BUCKETS_MIN;
    while (buckets < bytes_max / BYTES_A_HOLD && buckets < 1u << 30)
        buckets *= 2;
    if (holds != NULL)
        holds->buckets = calloc(buckets, sizeof holds->buckets[0]);
    if (holds == NULL || holds->buckets == NULL) {
        free(holds);
        return -ENOMEM;
    }
    holds->mask = buckets - 1;
    holds->bytes_max = bytes_max;
    *ret_holds = holds;
    return 0;
}

static uint64_t
size_of(const struct known_hold *hold)
{
    return sizeof *hold + (hold->seats == NULL
                               ? 0
                               : hold->seat_count * sizeof(struct record_seat) +
                                     hold->pool_count * sizeof(struct record_pool) + hold->user_size);
}

static void
unlink_use(struct known_holds *holds, struct known_hold *hold)
{
    if (hold->newer != NULL)
        hold->newer->older = hold->older;
    else
        holds->newest = hold->older;
    if (hold->older != NULL)
        hold->older->newer = hold->newer;
    else
        holds->oldest = hold->newer;
}

static void
link_newest(struct known_holds *holds, struct known_hold *hold)
{
    hold->newer = NULL;
    hold->older = holds->newest;
    if (holds->newest != NULL)
        holds->newest->newer = hold;
    else
        holds->oldest = hold;
    holds->newest = hold;
}

static struct known_hold **
place_of(struct known_holds *holds, const struct uuid *id)
{
    struct known_hold **at = &holds->buckets[uuid_hash(id) & holds->mask];
    while (*at != NULL && !uuid_equal(&(*at)->id, id))
        at = &(*at)->next;
    return at;
}

static void
forget(struct known_holds *holds, struct known_hold *hold)
{
    struct known_hold **place = place_of(holds, &hold->id);
    assert(*place == hold);
    *place = hold->next;
    unlink_use(holds, hold);
    holds->bytes -= size_of(hold);
    holds->count--;
    free(hold->seats);
    free(hold);
}

void
holds_clear(struct known_holds *holds)
{
    while (holds->newest != NULL)
        forget(holds, holds->newest);
    assert(holds->count == 0);
    assert(holds->bytes == 0);
}

void
holds_close(struct known_holds *holds)
{
    if (holds == NULL)
        return;
    holds_clear(holds);
    free(holds->buckets);
    free(holds);
}

struct known_hold *
holds_get(struct known_holds *holds, const struct uuid *id, bool *ret_made)
{
    struct known_hold **place = place_of(holds, id);
    struct known_hold *hold = *place;
    *ret_made = hold == NULL;
    if (hold == NULL) {
        hold = calloc(1, sizeof *hold);
        if (hold == NULL)
            return NULL;
        hold->id = *id;
        *place = hold;
        holds->bytes += size_of(hold);
        holds->count++;
    } else {
        unlink_use(holds, hold);
    }
    link_newest(holds, hold);
    hold->used = true;
    return hold;
}

bool
hold_fill(struct known_holds *holds, struct known_hold *hold, struct known_event *event, struct bytes user,
          const void *seats, uint8_t seat_count, const void *pools, uint8_t pool_count)
{
    size_t seats_size = seat_count * sizeof(struct record_seat);
    size_t pools_size = pool_count * sizeof(struct record_pool);
    uint8_t *memory = malloc(seats_size + pools_size + user.size + 1);
    if (memory == NULL)
        return false;
    holds->bytes -= size_of(hold);
    free(hold->seats);
    hold->event = event;
    hold->seats = (struct record_seat *)memory;
    hold->pools = (struct record_pool *)(memory + seats_size);
    hold->user = (char *)(memory + seats_size + pools_size);
    hold->seat_count = seat_count;
    hold->pool_count = pool_count;
    hold->user_size = (uint8_t)user.size;
    if (seats_size > 0)
        memcpy(hold->seats, seats, seats_size);
    if (pools_size > 0)
        memcpy(hold->pools, pools, pools_size);
    bytes_copy(hold->user, user);
    holds->bytes += size_of(hold);
    return true;
}

bool
hold_fit(struct known_holds *holds, struct known_hold *hold)
{
    struct record_seat seats[HOLD_SEATS_MAX];
    struct record_pool pools[HOLD_POOLS_MAX];
    char user[USER_ID_SIZE_MAX];
    if (hold->event == NULL)
        return true;
    memcpy(seats, hold->seats, hold->units_read[0] * sizeof seats[0]);
    memcpy(pools, hold->pools, hold->units_read[1] * sizeof pools[0]);
    memcpy(user, hold->user, hold->user_size);
    return hold_fill(holds, hold, hold->event, (struct bytes){user, hold->user_size}, seats,
                     hold->units_read[0], pools, hold->units_read[1]);
}

void
hold_view_of(const struct known_hold *hold, struct hold_view *ret_view)
{
    ret_view->id = hold->id;
    ret_view->event = hold->event->settings;
    ret_view->user = (struct bytes){hold->user, hold->user_size};
    ret_view->state = hold->state;
    ret_view->deadline_ms = hold->deadline_ms;
    ret_view->seat_count = hold->seat_count;
    ret_view->pool_count = hold->pool_count;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        ret_view->seats[i].ref = hold->seats[i].ref;
        ret_view->seats[i].version = hold->seats[i].version;
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        ret_view->pools[i].pool = hold->pools[i].pool;
        ret_view->pools[i].quantity = hold->pools[i].quantity;
    }
}

struct known_hold *
holds_next(const struct known_holds *holds, const struct known_hold *hold)
{
    struct known_hold *next = hold == NULL ? holds->newest : hold->older;
    while (next != NULL && next->used && !next->touched)
        next = next->older;
    return next != NULL && next->used ? next : NULL;
}

void
holds_settle(struct known_holds *holds)
{
    /* what the transaction has used is in front */
    struct known_hold *next;
    for (struct known_hold *hold = holds->newest; hold != NULL && hold->used; hold = next) {
        next = hold->older;
        hold->used = false;
        hold->touched = false;
        hold->fresh = false;
        hold->versions_moved = false;
        hold->request_id = (struct bytes){NULL, 0}; /* the records they were views into go */
        hold->payment_ref = (struct bytes){NULL, 0};
        if (hold->event == NULL || (hold->state != HOLD_HELD && hold->state != HOLD_CONFIRMED))
            forget(holds, hold);
    }
    while (holds->bytes > holds->bytes_max && holds->oldest != NULL)
        forget(holds, holds->oldest);
}

uint64_t
holds_count(const struct known_holds *holds)
{
    return holds->count;
}

uint64_t
holds_bytes(const struct known_holds *holds)
{
    return holds->bytes;
}
