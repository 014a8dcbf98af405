/*
 * seat_map.c - the seats of the blocks this shard owns: reserve, settle, best choice, letters.
 *
 *             reserve (final)
 *     free ──────────────────────▶ held ──sell──▶ sold
 *      ▲ │                          ▲  │           │
 *      │ └─reserve──▶ reserved ─────┘  │           │
 *      │   abort │      commit         │           │
 *      └─────────┴────────free─────────┴───────────┘
 *
 * Reserved is between the shards only: an undecided hold of several owners has the seat. Nobody is told
 * so: counts and letters show it free, and who asks for it waits until it is decided.
 *
 * Versions: reserve() promises version + 1 and stores it only when the seat becomes held or sold, so an
 * aborted reservation leaves no trace. From then on the hold's home counts (confirm, release, expire) and
 * hands the version back with the seat; a version that would fall is a defect and is asserted.
 *
 * Best seats. A run is a maximal row of adjacent free seats. Taking n out of a run of length L leaves no
 * orphan (a single free seat) exactly if n == L, or n <= L - 2: put to one end it leaves L - n >= 2. Each
 * block remembers the n for which it has such a choice and its longest run, so a section is searched by
 * reading two words a block. The row's choice is the one nearest to its middle; of two equally near, the
 * one with the lower number.
 */
#include "core/shard_internal.h"

#include <assert.h>

static bool
bit_get(const uint64_t *bits, uint32_t i)
{
    return (bits[i / 64] >> (i % 64) & 1) != 0;
}

static void
bit_set(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= (uint64_t)1 << (i % 64);
}

static void
bit_clear(uint64_t *bits, uint32_t i)
{
    bits[i / 64] &= ~((uint64_t)1 << (i % 64));
}

/* Deadlines are kept as 32 bits: a hold ends within 30 days, and what is overdue is swept long before ten
 * days have passed, so one of 49 days' worth of milliseconds is meant. */
#define DEADLINE_BACK_MS (10u * 86400u * 1000u)

static uint64_t
deadline_whole(uint64_t now_ms, uint32_t low)
{
    uint64_t base = now_ms < DEADLINE_BACK_MS ? 0 : now_ms - DEADLINE_BACK_MS;
    return base + (uint32_t)(low - (uint32_t)base);
}

static_assert((uint64_t)SECONDS_MAX * 1000 + DEADLINE_BACK_MS < (uint64_t)UINT32_MAX,
              "32 bits tell deadlines apart");

static struct block_summary *
summary_of(const struct event *event, const struct block *block)
{
    return &event->summaries[block - event->own_blocks];
}

void
block_open(struct event *event, struct block *block)
{
    struct section *section = &event->sections[block->section];
    assert(block->seat_count <= BLOCK_SEATS_MAX);
    for (uint32_t i = 0; i < block->seat_count; i++)
        bit_set(block->free, i);
    block->free_count = block->seat_count;
    section->own_seats += block->seat_count;
    section->own_free += block->seat_count;
    *summary_of(event, block) = (struct block_summary){.next_deadline_ms = UINT64_MAX, .runs_stale = true};
}

/* Seats of a block change state: its counts, its section's, and its runs. */
static void
count_free(struct event *event, struct block *block, int32_t by)
{
    block->free_count += (uint32_t)by;
    event->sections[block->section].own_free += (uint32_t)by;
    summary_of(event, block)->runs_stale = true;
}

static void
count_reserved(struct event *event, struct block *block, int32_t by)
{
    block->reserved_count += (uint32_t)by;
    event->sections[block->section].own_reserved += (uint32_t)by;
}

static void
count_sold(struct event *event, struct block *block, int32_t by)
{
    block->sold_count += (uint32_t)by;
    event->sections[block->section].own_sold += (uint32_t)by;
}

static struct block *
place_block(const struct event *event, struct seat_place place)
{
    struct block *block = event_own_block(event, place.block);
    assert(place.index < block->seat_count);
    return block;
}

static struct block *
seat_block(const struct event *event, seat_ref ref, uint32_t *ret_index)
{
    struct seat_place place = event_seat_place(event, ref);
    *ret_index = place.index;
    return place_block(event, place);
}

uint32_t
seat_version(const struct event *event, seat_ref ref)
{
    uint32_t i;
    return seat_block(event, ref, &i)->seats[i].version;
}

bool
seat_is_free(const struct event *event, struct seat_place place)
{
    return bit_get(place_block(event, place)->free, place.index);
}

enum status
seat_try(const struct shard *shard, const struct event *event, seat_ref ref, uint32_t *ret_hold,
         uint64_t *ret_deadline_ms)
{
    uint32_t i;
    const struct block *block = seat_block(event, ref, &i);
    if (bit_get(block->free, i))
        return STATUS_OK;
    if (bit_get(block->reserved, i))
        return STATUS_BUSY;
    if (bit_get(block->sold, i))
        return STATUS_SOLD;
    *ret_hold = block->seats[i].hold;
    *ret_deadline_ms = deadline_whole(shard->now_ms, block->seats[i].deadline_low);
    return STATUS_HELD;
}

/* A deadline joins or leaves the block's held seats. */
static void
deadline_note(struct event *event, struct block *block, bool joins, uint64_t deadline_ms)
{
    struct block_summary *summary = summary_of(event, block);
    if (!joins)
        summary->deadline_stale = true;
    else if (!summary->deadline_stale && deadline_ms < summary->next_deadline_ms)
        summary->next_deadline_ms = deadline_ms;
}

static void
version_set(struct seat *seat, uint32_t version)
{
    assert(PLANTED(PLANT_VERSION_NOT_RAISED) || version > seat->version);
    seat->version = version;
}

uint32_t
seat_take(struct event *event, struct seat_place place, uint32_t hold, uint64_t deadline_ms, bool final,
          bool sell)
{
    uint32_t i = place.index;
    struct block *block = place_block(event, place);
    struct seat *seat = &block->seats[i];
    uint32_t version = seat->version + (PLANTED(PLANT_VERSION_NOT_RAISED) ? 0 : 1);
    assert(PLANTED(PLANT_CHECK_THEN_ACT) || bit_get(block->free, i));
    assert(seat->version < UINT32_MAX);
    bit_clear(block->free, i);
    count_free(event, block, -1);
    seat->hold = hold;
    seat->deadline_low = (uint32_t)deadline_ms;
    if (!final) {
        bit_set(block->reserved, i);
        count_reserved(event, block, 1);
        return version;
    }
    seat->version = version;
    if (sell) {
        bit_set(block->sold, i);
        count_sold(event, block, 1);
    } else {
        deadline_note(event, block, true, deadline_ms);
    }
    return version;
}

/* Held or sold -> free. */
static void
seat_free(struct event *event, struct block *block, uint32_t i, uint32_t action, uint32_t version)
{
    assert(!bit_get(block->free, i));
    assert(!bit_get(block->reserved, i));
    assert(bit_get(block->sold, i) == (action == SETTLE_FREE_SOLD));
    if (action == SETTLE_FREE_SOLD) {
        bit_clear(block->sold, i);
        count_sold(event, block, -1);
    }
    bit_set(block->free, i);
    count_free(event, block, 1);
    deadline_note(event, block, false, 0);
    version_set(&block->seats[i], version);
}

void
seat_settle(struct event *event, struct seat_place place, uint32_t action, uint32_t version, uint32_t hold,
            uint64_t deadline_ms)
{
    uint32_t i = place.index;
    struct block *block = place_block(event, place);
    struct seat *seat = &block->seats[i];
    switch (action) {
    case SETTLE_COMMIT:
        assert(bit_get(block->reserved, i));
        bit_clear(block->reserved, i);
        count_reserved(event, block, -1);
        seat->hold = hold;
        seat->deadline_low = (uint32_t)deadline_ms;
        version_set(seat, version);
        deadline_note(event, block, true, deadline_ms);
        break;
    case SETTLE_ABORT:
        assert(bit_get(block->reserved, i));
        bit_clear(block->reserved, i);
        bit_set(block->free, i);
        count_reserved(event, block, -1);
        count_free(event, block, 1);
        break;
    case SETTLE_SELL:
    case SETTLE_SELL_RESERVED:
        assert(!bit_get(block->free, i));
        assert(!bit_get(block->sold, i));
        assert(bit_get(block->reserved, i) == (action == SETTLE_SELL_RESERVED));
        if (action == SETTLE_SELL_RESERVED) {
            bit_clear(block->reserved, i);
            count_reserved(event, block, -1);
        }
        bit_set(block->sold, i);
        count_sold(event, block, 1);
        deadline_note(event, block, false, 0);
        version_set(seat, version);
        break;
    case SETTLE_MOVE:
        assert(!bit_get(block->free, i));
        assert(!bit_get(block->sold, i));
        seat->hold = hold;
        seat->deadline_low = (uint32_t)deadline_ms;
        if (version != seat->version)
            version_set(seat, version);
        deadline_note(event, block, false, 0);
        break;
    default:
        seat_free(event, block, i, action, version);
        break;
    }
}

void
block_version_note(struct block *block, uint32_t index, uint32_t version)
{
    uint32_t *at = &block->seats[index].version;
    uint32_t seen = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (version > seen &&
           !__atomic_compare_exchange_n(at, &seen, version, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

void
seat_version_note(struct event *event, seat_ref ref, uint32_t version)
{
    uint32_t i;
    struct block *block = seat_block(event, ref, &i);
    block_version_note(block, i, version);
}

void
seat_restore(struct event *event, seat_ref ref, enum hold_state state, uint32_t version, uint32_t hold,
             uint64_t deadline_ms)
{
    uint32_t i;
    struct block *block = seat_block(event, ref, &i);
    struct seat *seat = &block->seats[i];
    assert(state == HOLD_HELD || state == HOLD_CONFIRMED);
    assert(version <= seat->version); /* the record that told of it has raised it */
    assert(bit_get(block->free, i));  /* R3: no seat has two live holds, whatever survived */
    bit_clear(block->free, i);
    count_free(event, block, -1);
    deadline_note(event, block, false, 0);
    if (state == HOLD_CONFIRMED) {
        bit_set(block->sold, i);
        count_sold(event, block, 1);
    } else {
        seat->hold = hold;
        seat->deadline_low = (uint32_t)deadline_ms;
    }
}

/* The first bit of this value in [from, to), or to. */
static uint32_t
bits_next(const uint64_t *bits, uint32_t from, uint32_t to, bool value)
{
    while (from < to) {
        uint64_t word = (value ? bits[from / 64] : ~bits[from / 64]) >> (from % 64);
        if (word != 0) {
            uint32_t at = from + (uint32_t)__builtin_ctzll(word);
            return at < to ? at : to;
        }
        from = (from / 64 + 1) * 64;
    }
    return to;
}

/* Finds the next run of free seats of a row at or after *at. */
static bool
next_run(const struct block *block, uint32_t row_start, uint32_t row_seats, uint32_t *at,
         uint32_t *ret_length)
{
    uint32_t row_end = row_start + row_seats;
    uint32_t first = bits_next(block->free, row_start + *at, row_end, true);
    if (first == row_end)
        return false;
    *at = first - row_start;
    *ret_length = bits_next(block->free, first, row_end, false) - first;
    return true;
}

static void
runs_refresh(const struct event *event, const struct block *block, struct block_summary *summary)
{
    uint32_t start = 0;
    summary->runs_stale = false;
    summary->whole_runs = 0;
    summary->largest_run = 0;
    for (uint32_t r = 0; r < block->row_count; r++) {
        uint32_t seats = section_row_seats(event->settings, block->section, block->row_first + r);
        uint32_t length;
        for (uint32_t at = 0; next_run(block, start, seats, &at, &length); at += length) {
            if (length > summary->largest_run)
                summary->largest_run = (uint16_t)length;
            if (length <= HOLD_SEATS_MAX)
                summary->whole_runs |= (uint16_t)(1u << (length - 1));
            if (length > 2) {
                uint32_t upto = length - 2 < HOLD_SEATS_MAX ? length - 2 : HOLD_SEATS_MAX;
                summary->whole_runs |= (uint16_t)((1u << upto) - 1);
            }
        }
        start += seats;
    }
}

/* The start within one run that is nearest to the row's middle, and twice its distance (so that it is
 * whole); false: every start leaves an orphan. Only the second and the last but one start can leave one, so
 * the nearest good start is near the ideal one, or at an end. */
static bool
run_best(uint32_t row_seats, uint32_t at, uint32_t length, uint32_t count, bool orphans,
         uint32_t *ret_start, uint32_t *ret_distance)
{
    if (length < count)
        return false;
    uint32_t last = at + length - count;
    uint32_t ideal = row_seats > count ? (row_seats - count) / 2 : 0;
    if (ideal < at)
        ideal = at;
    if (ideal > last)
        ideal = last;
    uint32_t from = ideal >= at + 2 ? ideal - 2 : at;
    uint32_t to = ideal + 3 <= last ? ideal + 3 : last;
    uint32_t candidates[8] = {at};
    uint32_t candidate_count = 1;
    for (uint32_t start = from; start <= to; start++)
        candidates[candidate_count++] = start;
    candidates[candidate_count++] = last;

    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < candidate_count; i++) {
        uint32_t start = candidates[i];
        if (!orphans && !PLANTED(PLANT_BEST_LEAVES_ORPHANS) && (start == at + 1 || start + 1 == last))
            continue;
        int32_t twice = (int32_t)(2 * start + count) - (int32_t)row_seats;
        uint32_t distance = (uint32_t)(twice < 0 ? -twice : twice);
        if (best == UINT32_MAX || distance < *ret_distance || (distance == *ret_distance && start < best)) {
            best = start;
            *ret_distance = distance;
        }
    }
    *ret_start = best;
    return best != UINT32_MAX;
}

bool
block_best(const struct event *event, const struct block *block, uint32_t count, bool orphans,
           seat_ref *ret_first)
{
    uint32_t start = 0;
    assert(count >= 1);
    assert(count <= HOLD_SEATS_MAX);
    for (uint32_t r = 0; r < block->row_count; r++) {
        uint32_t seats = section_row_seats(event->settings, block->section, block->row_first + r);
        uint32_t best = UINT32_MAX;
        uint32_t best_distance = UINT32_MAX;
        uint32_t length;
        for (uint32_t at = 0; next_run(block, start, seats, &at, &length); at += length) {
            uint32_t run_start = 0;
            uint32_t distance = 0;
            if (run_best(seats, at, length, count, orphans, &run_start, &distance) &&
                distance < best_distance) {
                best = run_start;
                best_distance = distance;
            }
        }
        if (best != UINT32_MAX) {
            *ret_first = SEAT_REF(block->section, block->row_first + r, best + 1);
            return true;
        }
        start += seats;
    }
    return false;
}

static void
deadline_refresh(const struct shard *shard, const struct block *block, struct block_summary *summary)
{
    summary->deadline_stale = false;
    summary->next_deadline_ms = UINT64_MAX;
    for (uint32_t word = 0; word * 64 < block->seat_count; word++) {
        uint64_t held = ~(block->free[word] | block->sold[word] | block->reserved[word]);
        for (; held != 0; held &= held - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(held);
            if (i >= block->seat_count)
                break;
            uint64_t deadline = deadline_whole(shard->now_ms, block->seats[i].deadline_low);
            if (deadline < summary->next_deadline_ms)
                summary->next_deadline_ms = deadline;
        }
    }
}

void
section_look_open(struct section_look *look)
{
    memset(look, 0, sizeof *look);
    look->block = look->block_orphans = UINT32_MAX;
    look->next_deadline_ms = UINT64_MAX;
}

void
section_look_merge(struct section_look *look, const struct section_look *other)
{
    look->free += other->free;
    look->held += other->held;
    look->sold += other->sold;
    look->reserved += other->reserved;
    if (other->largest_run > look->largest_run)
        look->largest_run = other->largest_run;
    if (other->block < look->block)
        look->block = other->block;
    if (other->block_orphans < look->block_orphans)
        look->block_orphans = other->block_orphans;
    if (other->next_deadline_ms < look->next_deadline_ms)
        look->next_deadline_ms = other->next_deadline_ms;
}

/* What is asked for when nothing can be had: the longest run, and when the next held seat may come back. */
static void
section_look_refusal(const struct shard *shard, const struct event *event, const struct section *section,
                     struct section_look *look)
{
    for (uint32_t i = section->own_first; i < section->own_first + section->own_count; i++) {
        struct block_summary *summary = &event->summaries[i];
        if (summary->deadline_stale)
            deadline_refresh(shard, &event->own_blocks[i], summary);
        if (summary->largest_run > look->largest_run)
            look->largest_run = summary->largest_run;
        if (summary->next_deadline_ms < look->next_deadline_ms)
            look->next_deadline_ms = summary->next_deadline_ms;
    }
}

void
section_look_add(struct shard *shard, struct event *event, uint32_t index, uint32_t best_count,
                 struct section_look *look)
{
    const struct section *section = &event->sections[index];
    look->free += section->own_free + section->own_reserved;
    look->reserved += section->own_reserved;
    look->sold += section->own_sold;
    look->held += section->own_seats - section->own_free - section->own_reserved - section->own_sold;
    if (best_count == 0)
        return;
    uint32_t whole = UINT32_MAX;
    uint32_t orphans = UINT32_MAX;
    for (uint32_t i = section->own_first;
         whole == UINT32_MAX && i < section->own_first + section->own_count; i++) {
        struct block_summary *summary = &event->summaries[i];
        if (summary->runs_stale)
            runs_refresh(event, &event->own_blocks[i], summary);
        if ((summary->whole_runs >> (best_count - 1) & 1) != 0)
            whole = i;
        if (orphans == UINT32_MAX && summary->largest_run >= best_count)
            orphans = i;
    }
    if (whole != UINT32_MAX)
        look->block = event->own_blocks[whole].number;
    if (orphans != UINT32_MAX)
        look->block_orphans = event->own_blocks[orphans].number;
    else
        section_look_refusal(shard, event, section, look);
}

uint32_t
section_letters(const struct event *event, uint32_t section, uint32_t row_from, uint32_t row_to,
                char *ret_letters)
{
    uint32_t count = 0;
    for (uint32_t row = row_from; row < row_to; row++) {
        struct seat_place place = event_seat_place(event, SEAT_REF(section, row, 1));
        uint32_t start = place.index;
        uint32_t own = event->block_places[place.block].own;
        if (own >= event->own_block_count || event->own_blocks[own].number != place.block)
            continue;
        const struct block *block = &event->own_blocks[own];
        uint32_t seats = section_row_seats(event->settings, section, row);
        for (uint32_t i = start; i < start + seats; i++) {
            char letter = 'H';
            if (bit_get(block->free, i) || bit_get(block->reserved, i))
                letter = 'F';
            else if (bit_get(block->sold, i))
                letter = 'S';
            ret_letters[count++] = letter;
        }
    }
    return count;
}

void
block_check(const struct shard *shard, const struct event *event, const struct block *block)
{
    uint32_t free = 0;
    uint32_t reserved = 0;
    uint32_t sold = 0;
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < block->seat_count; i++) {
        bool f = bit_get(block->free, i);
        bool r = bit_get(block->reserved, i);
        bool s = bit_get(block->sold, i);
        assert(f + r + s <= 1);
        free += f;
        reserved += r;
        sold += s;
        if (f + r + s == 0) {
            uint64_t deadline = deadline_whole(shard->now_ms, block->seats[i].deadline_low);
            if (deadline < first)
                first = deadline;
        }
    }
    assert(free == block->free_count);
    assert(reserved == block->reserved_count);
    assert(sold == block->sold_count);
    const struct block_summary *summary = summary_of(event, block);
    assert(summary->deadline_stale || summary->next_deadline_ms == first);
    if (!summary->runs_stale) {
        struct block_summary fresh = *summary;
        runs_refresh(event, block, &fresh);
        assert(fresh.largest_run == summary->largest_run);
        assert(fresh.whole_runs == summary->whole_runs);
    }
}
