/*
 * expiry_wheel.h - a hierarchical timing wheel: which items are due, in bounded steps.
 */
#ifndef HOLDFAST_EXPIRY_WHEEL_H
#define HOLDFAST_EXPIRY_WHEEL_H

#include "core/slab.h"

#define WHEEL_TICK_MS 10
#define WHEEL_LEVELS  5
#define WHEEL_SLOTS   64

/* Lies in the item. */
struct wheel_link {
    uint64_t deadline_ms;
    uint32_t next;
    uint32_t prev; /* of the first in a slot: WHEEL_FIRST + level * WHEEL_SLOTS + slot */
};
#define WHEEL_FIRST 0x80000000u

struct expiry_wheel {
    const struct slab *items;
    uint32_t link_offset;
    uint64_t tick;                   /* every tick before this one is done */
    uint64_t occupied[WHEEL_LEVELS]; /* a bit for each slot that is not empty */
    uint32_t first[WHEEL_LEVELS * WHEEL_SLOTS];
    uint32_t count;
};

void wheel_open(struct expiry_wheel *wheel, const struct slab *items, uint32_t link_offset,
                uint64_t now_ms);

/* An item may be added with a deadline that has passed; it is due with the next tick. */
void wheel_add(struct expiry_wheel *wheel, uint32_t item, uint64_t deadline_ms);
void wheel_remove(struct expiry_wheel *wheel, uint32_t item);
/* Asks for what wheel_remove() will write besides the item itself. */
void wheel_prefetch(const struct expiry_wheel *wheel, uint32_t item);

/* An item whose deadline is at or before now_ms, never one before its time; none: SLAB_NONE. It stays in
 * the wheel until the caller removes it, which it does before the next call. *budget counts down for each
 * item looked at; at 0 it returns SLAB_NONE though more may be due (wheel_next_ms() tells). */
uint32_t wheel_due(struct expiry_wheel *wheel, uint64_t now_ms, uint32_t *budget);

/* When wheel_due() next has work, in ms; UINT64_MAX: never. Not later than the first deadline's tick. */
uint64_t wheel_next_ms(const struct expiry_wheel *wheel);

void wheel_check(const struct expiry_wheel *wheel);

#endif
