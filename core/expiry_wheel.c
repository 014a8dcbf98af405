/*
 * expiry_wheel.c - a hierarchical timing wheel (Varghese, Lauck 1987, scheme 7).
 *
 * Ticks are 10 ms. Level 0 has a slot for each of the next 64 ticks, level 1 one for each of the next 64
 * runs of 64 ticks, and so on: five levels reach 124 days, more than the longest hold (30 days).
 *
 *     level 0   |.|.|.|x|.|.|...   one tick a slot
 *     level 1   |   |xx |   |...   64 ticks a slot: when the clock reaches it, its items move to level 0
 *
 * An item of deadline d belongs to tick ceil(d / 10): it comes out when now >= 10 * tick, so never early
 * and at most 10 ms late (R8). Moving items down and taking them out are done one at a time against a
 * budget (R7): the wheel does not go on to the next tick before a slot is empty, so it can stop anywhere
 * and take up again.
 */
#include "core/expiry_wheel.h"

#include <assert.h>

#include "core/plant.h"
#include "holdfast/limits.h"

#define SLOT_BITS 6

static_assert(WHEEL_SLOTS == 1 << SLOT_BITS, "slots are bits of the tick");
static_assert(((uint64_t)1 << (SLOT_BITS * WHEEL_LEVELS)) * WHEEL_TICK_MS >
                  SECONDS_MAX * (uint64_t)1000 * 2,
              "the wheel reaches beyond the longest hold");

static struct wheel_link *
link_of(const struct expiry_wheel *wheel, uint32_t item)
{
    return (struct wheel_link *)((char *)slab_item(wheel->items, item) + wheel->link_offset);
}

void
wheel_open(struct expiry_wheel *wheel, const struct slab *items, uint32_t link_offset, uint64_t now_ms)
{
    memset(wheel, 0, sizeof *wheel);
    wheel->items = items;
    wheel->link_offset = link_offset;
    wheel->tick = now_ms / WHEEL_TICK_MS;
    for (uint32_t i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++)
        wheel->first[i] = SLAB_NONE;
}

void
wheel_add(struct expiry_wheel *wheel, uint32_t item, uint64_t deadline_ms)
{
    uint64_t tick = (deadline_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    if (PLANTED(PLANT_EARLY_BY_A_TICK))
        tick = deadline_ms / WHEEL_TICK_MS - 1;
    if (tick < wheel->tick)
        tick = wheel->tick;
    uint64_t ahead = tick - wheel->tick;
    uint32_t level = 0;
    while (level < WHEEL_LEVELS - 1 && ahead >> (SLOT_BITS * (level + 1)) != 0)
        level++;
    /* Beyond the last level (the sweep has not run for months): in its farthest slot, to be placed anew
     * when that comes. */
    if (ahead >> (SLOT_BITS * WHEEL_LEVELS) != 0)
        tick = wheel->tick + ((uint64_t)1 << (SLOT_BITS * WHEEL_LEVELS)) - 1;
    uint32_t at = (uint32_t)(tick >> (SLOT_BITS * level)) & (WHEEL_SLOTS - 1);
    uint32_t slot = level * WHEEL_SLOTS + at;

    struct wheel_link *link = link_of(wheel, item);
    link->deadline_ms = deadline_ms;
    link->prev = WHEEL_FIRST + slot;
    link->next = wheel->first[slot];
    if (link->next != SLAB_NONE)
        link_of(wheel, link->next)->prev = item;
    wheel->first[slot] = item;
    wheel->occupied[level] |= (uint64_t)1 << at;
    wheel->count++;
}

void
wheel_remove(struct expiry_wheel *wheel, uint32_t item)
{
    struct wheel_link *link = link_of(wheel, item);
    if (link->next != SLAB_NONE)
        link_of(wheel, link->next)->prev = link->prev;
    if (link->prev < WHEEL_FIRST) {
        link_of(wheel, link->prev)->next = link->next;
    } else {
        uint32_t slot = link->prev - WHEEL_FIRST;
        assert(slot < WHEEL_LEVELS * WHEEL_SLOTS);
        assert(wheel->first[slot] == item);
        wheel->first[slot] = link->next;
        if (link->next == SLAB_NONE)
            wheel->occupied[slot / WHEEL_SLOTS] &= ~((uint64_t)1 << (slot % WHEEL_SLOTS));
    }
    link->prev = SLAB_NONE;
    wheel->count--;
}

void
wheel_prefetch(const struct expiry_wheel *wheel, uint32_t item)
{
    const struct wheel_link *link = link_of(wheel, item);
    if (link->next != SLAB_NONE)
        __builtin_prefetch(link_of(wheel, link->next), 1);
    if (link->prev < WHEEL_FIRST)
        __builtin_prefetch(link_of(wheel, link->prev), 1);
}

/* The first tick from wheel->tick on at which some slot has to be looked at. */
static uint64_t
next_tick(const struct expiry_wheel *wheel)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t occupied = wheel->occupied[level];
        if (occupied == 0)
            continue;
        uint32_t shift = SLOT_BITS * level;
        uint32_t at = (uint32_t)(wheel->tick >> shift) & (WHEEL_SLOTS - 1);
        uint64_t turned = at == 0 ? occupied : occupied >> at | occupied << (WHEEL_SLOTS - at);
        /* The slot the clock is in was emptied when the clock came to it, unless it has just come: what
         * lies there now is a whole turn ahead. */
        bool just_come = (wheel->tick & (((uint64_t)1 << shift) - 1)) == 0;
        uint64_t ahead;
        if ((turned & 1) != 0 && just_come)
            ahead = 0;
        else if ((turned & ~(uint64_t)1) != 0)
            ahead = (uint64_t)__builtin_ctzll(turned & ~(uint64_t)1);
        else
            ahead = WHEEL_SLOTS;
        uint64_t tick = ((wheel->tick >> shift) + ahead) << shift;
        if (tick < next)
            next = tick;
    }
    return next;
}

uint64_t
wheel_next_ms(const struct expiry_wheel *wheel)
{
    uint64_t tick = next_tick(wheel);
    return tick == UINT64_MAX ? UINT64_MAX : tick * WHEEL_TICK_MS;
}

uint32_t
wheel_due(struct expiry_wheel *wheel, uint64_t now_ms, uint32_t *budget)
{
    uint64_t now_tick = now_ms / WHEEL_TICK_MS;
    for (;;) {
        uint64_t tick = next_tick(wheel);
        if (tick > now_tick) {
            if (now_tick > wheel->tick)
                wheel->tick = now_tick;
            return SLAB_NONE;
        }
        wheel->tick = tick;
        for (uint32_t level = WHEEL_LEVELS - 1; level > 0; level--) {
            uint32_t shift = SLOT_BITS * level;
            if ((tick & (((uint64_t)1 << shift) - 1)) != 0)
                continue;
            uint32_t slot = level * WHEEL_SLOTS + ((uint32_t)(tick >> shift) & (WHEEL_SLOTS - 1));
            while (wheel->first[slot] != SLAB_NONE) {
                if (*budget == 0)
                    return SLAB_NONE;
                (*budget)--;
                uint32_t item = wheel->first[slot];
                wheel_remove(wheel, item);
                wheel_add(wheel, item, link_of(wheel, item)->deadline_ms);
            }
        }
        uint32_t item = wheel->first[tick & (WHEEL_SLOTS - 1)];
        if (item == SLAB_NONE)
            continue;
        if (*budget == 0)
            return SLAB_NONE;
        (*budget)--;
        assert(PLANTED(PLANT_EARLY_BY_A_TICK) || link_of(wheel, item)->deadline_ms <= now_ms);
        return item;
    }
}

void
wheel_check(const struct expiry_wheel *wheel)
{
    uint32_t filled = 0; /* as many slots as bits, and none without its own: each slot has its bit */
    for (uint32_t slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++)
        filled += wheel->first[slot] != SLAB_NONE;
    uint64_t count = 0;
    for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
        for (uint64_t left = wheel->occupied[level]; left != 0; left &= left - 1, filled--) {
            uint32_t slot = level * WHEEL_SLOTS + (uint32_t)__builtin_ctzll(left);
            uint32_t prev = WHEEL_FIRST + slot;
            assert(wheel->first[slot] != SLAB_NONE);
            for (uint32_t i = wheel->first[slot]; i != SLAB_NONE; i = link_of(wheel, i)->next) {
                assert(link_of(wheel, i)->prev == prev);
                prev = i;
                count++;
                assert(count <= wheel->count);
            }
        }
    }
    assert(filled == 0);
    assert(count == wheel->count);
}
