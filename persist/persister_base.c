/*
 * persister_base.c - the mirror of a snapshot (mirror.h), piece by piece into works.
 */
#include "persist/persister_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 8192u /* holds, seats or tokens in one work */

struct base {
    struct mirror *mirror;
    struct persister_place place;
    bool events;
    uint32_t hold;
    uint32_t seat;
    uint32_t token;
};

bool
base_open(struct base **ret_base, const struct data_folder *folder, char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct base *base = calloc(1, sizeof *base);
    if (base == NULL || mirror_open(&base->mirror, folder) != 0) {
        (void)snprintf(ret_text, MIRROR_TEXT_SIZE_MAX, "no memory"); /* fits */
        free(base);
        return false;
    }
    if (!mirror_build_base(base->mirror, &base->place, ret_text)) {
        base_close(base);
        return false;
    }
    *ret_base = base;
    return true;
}

void
base_close(struct base *base)
{
    if (base == NULL)
        return;
    mirror_close(base->mirror);
    free(base);
}

uint64_t
base_generation(const struct base *base)
{
    return mirror_generation(base->mirror);
}

const struct persister_place *
base_place(const struct base *base)
{
    return &base->place;
}

static void
put_events(const struct base *base, struct work *work)
{
    struct event_table *events = mirror_events(base->mirror);
    for (uint32_t i = 0; i < event_table_count(events) && !work->failed; i++) {
        const struct known_event *told = event_table_at(events, i);
        struct known_event *event = event_table_put(work->events, told->settings, told->created_ms);
        work->failed = event == NULL;
        if (event != NULL)
            event->touched = true;
    }
    work->events_changed = true;
}

static struct known_event *
event_of(const struct base *base, const struct work *work, uint32_t number)
{
    return event_table_find(work->events, mirror_event_id(base->mirror, number));
}

static void
put_hold(const struct base *base, struct work *work, const struct mirror_hold *told)
{
    bool made;
    struct known_event *event = event_of(base, work, told->event);
    struct known_hold *hold = event != NULL ? holds_get(work->holds, &told->id, &made) : NULL;
    if (event == NULL) {
        work->counts.contradictions++;
        return;
    }
    if (hold == NULL ||
        !hold_fill(work->holds, hold, event, mirror_hold_user(told), mirror_hold_seats(told),
                   told->seat_count, mirror_hold_pools(told), told->pool_count)) {
        work->failed = true;
        return;
    }
    hold->state = told->state;
    hold->deadline_ms = told->deadline_ms;
    hold->ended_ms = told->ended_ms;
    hold->touched = true;
    hold->fresh = true;
    hold->payment_ref = (struct bytes){told->payment_ref, told->payment_ref_size};
    hold->request_id = mirror_hold_request_id(told);
    hold->trace = told->trace;
}

bool
base_next(struct base *base, struct work *work)
{
    const struct mirror *mirror = base->mirror;
    uint32_t count = 0;
    if (!base->events) {
        put_events(base, work);
        base->events = true;
        return !work->failed;
    }
    for (; count < PIECE && base->hold < mirror_hold_count(mirror); count++)
        put_hold(base, work, mirror_hold_at(mirror, base->hold++));
    for (; count < PIECE && base->seat < mirror_seat_count(mirror); count++) {
        const struct mirror_seat *told = mirror_seat_at(mirror, base->seat++);
        const struct seat_change seat = {.event = event_of(base, work, (uint32_t)(told->key >> 32)),
                                         .ref = (seat_ref)told->key,
                                         .version = told->version,
                                         .state = (enum seat_state)told->state,
                                         .hold = told->hold};
        if (seat.event != NULL)
            work_put_seat(work, &seat);
    }
    for (; count < PIECE && base->token < mirror_token_count(mirror); count++) {
        const struct mirror_token *told = mirror_token_at(mirror, base->token++);
        const struct token_change token = {.id = told->id,
                                           .event = event_of(base, work, told->event),
                                           .user = {told->user, told->user_size},
                                           .state = told->state,
                                           .activated_ms = told->activated_ms,
                                           .ended_ms = told->ended_ms};
        if (token.event != NULL)
            work_put_token(work, &token);
    }
    return count > 0 && !work->failed;
}
