/*
 * event.c - a shard's copy of every event, and where its seats lie.
 *
 * Every shard knows every event: its settings, which shard owns each block, and the blocks and pools that
 * are its own. An event comes in two steps, because all shards must have room for it before it is
 * recorded: event_keep() promises room, event_show() uses it, event_drop() gives the promise back. The
 * event's number is the same in all shards: the event's shard gives it.
 *
 * Memory of events is carved from two runs (settings and tables; seats) that only grow: an event is never
 * deleted. Seats that nobody touched are untouched memory.
 *
 *     block of a regular section      row / rows_a_block
 *     block of an irregular section   row_block[row]: rows are packed greedily, front to back
 */
#include "core/shard_internal.h"

#include <assert.h>

#define ALIGN 64

static uint64_t
aligned(uint64_t size)
{
    return (size + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

void
events_open(struct shard *shard, struct carve *carve)
{
    const struct shard_settings *s = &shard->settings;
    struct event_store *store = &shard->events;
    store->by_number =
        carve_bytes(carve, (size_t)s->events_max * s->shard_count * sizeof *store->by_number);
    store->order = carve_bytes(carve, (size_t)s->events_max * sizeof *store->order);
    index_open(&store->by_id, carve, s->events_max);
    store->bytes = carve_bytes(carve, s->event_bytes_max);
    store->seats = carve_bytes(carve, s->seats_max * sizeof(struct seat));
}

static uint64_t
block_hash(const struct event *event, uint32_t block)
{
    return route_hash_part(event->hash, block);
}

static uint32_t
block_shard(const struct shard *shard, const struct event *event, uint32_t block)
{
    return route_shard(route16(block_hash(event, block)), shard->settings.shard_count);
}

uint32_t
event_owner(const struct shard *shard, struct bytes id)
{
    return route_shard(route16(route_hash(shard->settings.route_seed, id)), shard->settings.shard_count);
}

/* Walks the rows of a section into blocks. With block_seats NULL it only counts. Returns the blocks. */
static uint32_t
section_blocks(const struct event_settings *settings, uint32_t index, struct section *section,
               uint32_t *block_seats)
{
    const struct section_settings *s = &event_settings_sections(settings)[index];
    if (s->regular) {
        uint32_t rows = BLOCK_SEATS_MAX / s->row_seats;
        uint32_t count = (s->row_count + rows - 1) / rows;
        if (section != NULL) {
            section->rows_a_block = rows;
            section->row_part = (1u << ROW_PART_BITS) / rows + 1;
            section->row_seats = s->row_seats;
        }
        for (uint32_t i = 0; block_seats != NULL && i < count; i++) {
            uint32_t left = s->row_count - i * rows;
            block_seats[i] = (left < rows ? left : rows) * s->row_seats;
        }
        return count;
    }
    const struct row_settings *rows = event_settings_rows(settings) + s->row_first;
    uint32_t block = 0;
    uint32_t offset = 0;
    for (uint32_t row = 0; row < s->row_count; row++) {
        if (offset + rows[row].seat_count > BLOCK_SEATS_MAX) {
            block++;
            offset = 0;
        }
        if (section != NULL) {
            section->row_block[row] = (uint16_t)block;
            section->row_offset[row] = (uint16_t)offset;
        }
        offset += rows[row].seat_count;
        if (block_seats != NULL)
            block_seats[block] = offset;
    }
    return block + 1;
}

static uint32_t
row_slot_count(uint32_t rows)
{
    uint32_t slots = 2;
    while (slots < 2 * rows)
        slots *= 2;
    return slots;
}

/* Bytes an event takes here at most, and the seats it has if all of them were this shard's: the promise
 * is made before the owners of blocks are known one by one. */
static void
event_needs(const struct shard *shard, const struct event_settings *settings, uint64_t *ret_bytes,
            uint64_t *ret_seats)
{
    const struct section_settings *sections = event_settings_sections(settings);
    struct event probe = {
        .hash = route_hash(shard->settings.route_seed, (struct bytes){settings->id, settings->id_size})};
    uint64_t bytes = aligned(sizeof(struct event)) + aligned(settings->size) +
                     aligned(settings->section_count * sizeof(struct section)) + aligned(SECTION_SLOTS) +
                     aligned(settings->pool_count * sizeof(struct pool)) +
                     settings->pool_count * aligned(shard->settings.shard_count * sizeof(uint64_t));
    uint64_t seats = 0;
    uint32_t blocks = 0;
    uint32_t own = 0;
    uint32_t block_seats[ROWS_MAX];
    for (uint32_t i = 0; i < settings->section_count; i++) {
        uint32_t count = section_blocks(settings, i, NULL, block_seats);
        for (uint32_t k = 0; k < count; k++) {
            if (block_shard(shard, &probe, blocks + k) == shard->settings.shard_index) {
                seats += block_seats[k];
                own++;
            }
        }
        blocks += count;
        if (!sections[i].regular)
            bytes += 2 * aligned(sections[i].row_count * sizeof(uint16_t)) +
                     aligned(row_slot_count(sections[i].row_count) * sizeof(uint16_t));
    }
    bytes += aligned(blocks) + aligned(blocks * sizeof(struct block_place)) +
             aligned(own * sizeof(struct block)) + aligned(own * sizeof(struct block_summary));
    bytes += settings->queue_active_max > 0 ? aligned(sizeof(struct queue)) : 0;
    *ret_bytes = bytes;
    *ret_seats = seats;
}

static void *
take(struct event_store *store, uint64_t size)
{
    void *result = store->bytes + store->bytes_used;
    store->bytes_used += aligned(size);
    assert(store->bytes_used <= store->bytes_kept);
    return result;
}

uint32_t
event_number_free(const struct shard *shard)
{
    uint32_t first = shard->settings.shard_index * shard->settings.events_max;
    for (uint32_t i = 0; i < shard->settings.events_max; i++)
        if (shard->events.by_number[first + i] == NULL)
            return first + i;
    return SLAB_NONE;
}

struct event *
event_known(const struct shard *shard, struct bytes id)
{
    uint64_t hash = route_hash(shard->settings.route_seed, id);
    struct index_cursor cursor = index_find(&shard->events.by_id, hash);
    uint32_t number;
    while ((number = index_next(&cursor)) != SLAB_NONE) {
        struct event *event = event_at(shard, number);
        if (event->settings->id_size == id.size && memcmp(event->settings->id, id.data, id.size) == 0)
            return event;
    }
    return NULL;
}

/* One event takes the whole spike: the one found last is looked at first. */
struct event *
event_find(struct shard *shard, struct bytes id)
{
    struct event *event = shard->events.last;
    if (event != NULL && event->settings->id_size == id.size &&
        memcmp(event->settings->id, id.data, id.size) == 0)
        return event;
    event = event_known(shard, id);
    if (event == NULL || !event->shown)
        return NULL;
    shard->events.last = event;
    return event;
}

const struct event_settings *
event_find_settings(const void *context, struct bytes id)
{
    const struct event *event = event_known(context, id);
    return event == NULL ? NULL : event->settings;
}

/* Names have a few characters: a loop is shorter than a call. */
static bool
name_is(const struct name *name, struct bytes text)
{
    if (name->size != text.size)
        return false;
    for (uint32_t i = 0; i < text.size; i++)
        if (name->text[i] != text.data[i])
            return false;
    return true;
}

/* Small hash of a short name, for tables of section and row names (FNV-1a). */
static uint32_t
name_hash(const char *text, uint32_t size)
{
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static void
section_name_rows(const struct event_settings *settings, uint32_t index, struct section *section)
{
    const struct section_settings *s = &event_settings_sections(settings)[index];
    const struct row_settings *rows = event_settings_rows(settings) + s->row_first;
    for (uint32_t row = 0; row < s->row_count; row++) {
        uint32_t slot = name_hash(rows[row].name.text, rows[row].name.size) & section->row_slot_mask;
        while (section->row_slots[slot] != 0)
            slot = (slot + 1) & section->row_slot_mask;
        section->row_slots[slot] = (uint16_t)(row + 1);
    }
}

/* The tables of sections: names, rows, and the first number of each one's blocks. */
static void
event_lay_sections(struct shard *shard, struct event *event)
{
    struct event_store *store = &shard->events;
    const struct event_settings *settings = event->settings;
    const struct section_settings *sections = event_settings_sections(settings);
    event->sections = take(store, settings->section_count * sizeof *event->sections);
    event->section_slots = take(store, SECTION_SLOTS);
    memset(event->section_slots, 0, SECTION_SLOTS);
    for (uint32_t i = 0; i < settings->section_count; i++) {
        struct section *section = &event->sections[i];
        memset(section, 0, sizeof *section);
        if (!sections[i].regular) {
            uint32_t slots = row_slot_count(sections[i].row_count);
            section->row_block = take(store, sections[i].row_count * sizeof(uint16_t));
            section->row_offset = take(store, sections[i].row_count * sizeof(uint16_t));
            section->row_slots = take(store, slots * sizeof(uint16_t));
            section->row_slot_mask = slots - 1;
            memset(section->row_slots, 0, slots * sizeof(uint16_t));
            section_name_rows(settings, i, section);
        }
        section->block_first = event->block_count;
        section->block_count = section_blocks(settings, i, section, NULL);
        event->block_count += section->block_count;
        uint32_t slot = name_hash(sections[i].name.text, sections[i].name.size) % SECTION_SLOTS;
        while (event->section_slots[slot] != 0)
            slot = (slot + 1) % SECTION_SLOTS;
        event->section_slots[slot] = (uint8_t)(i + 1);
    }
}

static void
event_lay_block(struct shard *shard, struct event *event, uint32_t section, uint32_t in_section,
                uint32_t *row, uint32_t seat_count)
{
    struct block *block = &event->own_blocks[event->own_block_count++];
    memset(block, 0, sizeof *block);
    block->number = event->sections[section].block_first + in_section;
    block->section = section;
    block->row_first = *row;
    block->seat_count = seat_count;
    block->seats = shard->events.seats + shard->events.seats_used;
    shard->events.seats_used += seat_count;
    event->own_seat_count += seat_count;
    for (uint32_t seats = 0; seats < seat_count; block->row_count++)
        seats += section_row_seats(event->settings, section, *row + block->row_count);
    block_open(event, block);
}

static void
event_lay_blocks(struct shard *shard, struct event *event)
{
    struct event_store *store = &shard->events;
    uint32_t block_seats[ROWS_MAX];
    uint32_t own = 0;
    event->block_owner = take(store, event->block_count);
    event->block_places = take(store, event->block_count * sizeof *event->block_places);
    event->own_seats = store->seats + store->seats_used;
    uint32_t seat_first = 0;
    for (uint32_t i = 0; i < event->block_count; i++) {
        event->block_owner[i] = (uint8_t)block_shard(shard, event, i);
        event->block_places[i] = (struct block_place){own, 0};
        own += event->block_owner[i] == shard->settings.shard_index;
    }
    event->own_blocks = take(store, own * sizeof *event->own_blocks);
    event->summaries = take(store, own * sizeof *event->summaries);
    for (uint32_t i = 0; i < event->settings->section_count; i++) {
        struct section *section = &event->sections[i];
        section->own_first = event->own_block_count;
        uint32_t count = section_blocks(event->settings, i, NULL, block_seats);
        uint32_t row = 0;
        for (uint32_t k = 0; k < count; k++) {
            section->owners |= SHARD_BIT(event->block_owner[section->block_first + k]);
            if (event->block_owner[section->block_first + k] == shard->settings.shard_index) {
                event->block_places[section->block_first + k].seat_first = seat_first;
                seat_first += block_seats[k];
                event_lay_block(shard, event, i, k, &row, block_seats[k]);
            }
            for (uint32_t seats = 0; seats < block_seats[k]; row++)
                seats += section_row_seats(event->settings, i, row);
        }
        section->own_count = event->own_block_count - section->own_first;
    }
    assert(event->own_block_count == own);
    assert(store->seats_used <= store->seats_kept);
}

enum status
event_keep(struct shard *shard, uint32_t number, const struct event_settings *settings)
{
    struct event_store *store = &shard->events;
    uint64_t bytes;
    uint64_t seats;
    event_needs(shard, settings, &bytes, &seats);
    if (store->known >= shard->settings.events_max ||
        bytes > shard->settings.event_bytes_max - store->bytes_kept ||
        seats > shard->settings.seats_max - store->seats_kept)
        return STATUS_BUSY;
    store->known++;
    store->bytes_kept += bytes;
    store->seats_kept += seats;
    assert(store->by_number[number] == NULL);

    /* Laid out at once: answers of other shards may name the event before EVENT_SHOW has come. */
    struct event *event = take(store, sizeof *event);
    memset(event, 0, sizeof *event);
    event->settings = take(store, settings->size);
    memcpy(event->settings, settings, settings->size);
    struct bytes id = {event->settings->id, event->settings->id_size};
    event->hash = route_hash(shard->settings.route_seed, id);
    event->number = number;
    event->owner = route_shard(route16(event->hash), shard->settings.shard_count);
    event_lay_sections(shard, event);
    event_lay_blocks(shard, event);
    event->pools = take(store, settings->pool_count * sizeof *event->pools);
    for (uint32_t i = 0; i < settings->pool_count; i++) {
        memset(&event->pools[i], 0, sizeof event->pools[i]);
        event->pools[i].first_ms = take(store, shard->settings.shard_count * sizeof(uint64_t));
        pool_open(shard, event, i);
    }
    if (settings->queue_active_max > 0 && event->owner == shard->settings.shard_index) {
        event->queue = take(store, sizeof *event->queue);
        memset(event->queue, 0, sizeof *event->queue);
    }
    if (settings->queue_active_max > shard->admissions.expected)
        shard->admissions.expected = settings->queue_active_max;
    store->by_number[number] = event;
    index_add(&store->by_id, event->hash, number);
    return STATUS_OK;
}

void
event_show(struct shard *shard, uint32_t number)
{
    struct event *event = event_at(shard, number);
    assert(!event->shown);
    event->shown = true;
    shard->events.order[shard->events.shown++] = number;
    if (event->queue != NULL)
        queue_shown(shard, event);
}

/* Another shard had no room. The bytes are given back only where nothing was laid behind them; at the
 * bound of memory, where this happens, the rest is lost to further events until the next start. */
void
event_drop(struct shard *shard, uint32_t number)
{
    struct event_store *store = &shard->events;
    struct event *event = event_at(shard, number);
    uint64_t bytes;
    uint64_t seats;
    assert(!event->shown);
    event_needs(shard, event->settings, &bytes, &seats);
    index_remove(&store->by_id, event->hash, number);
    store->by_number[number] = NULL;
    store->known--;
    if (store->seats_used == store->seats_kept && store->bytes_used == store->bytes_kept &&
        (char *)event == store->bytes + store->bytes_used - bytes) {
        store->seats_used -= seats;
        store->seats_kept -= seats;
        store->bytes_used -= bytes;
        store->bytes_kept -= bytes;
    }
}

int32_t
event_section_find(const struct event *event, struct bytes name)
{
    const struct section_settings *sections = event_settings_sections(event->settings);
    uint32_t slot = name_hash(name.data, name.size) % SECTION_SLOTS;
    while (event->section_slots[slot] != 0) {
        uint32_t index = event->section_slots[slot] - 1u;
        if (name_is(&sections[index].name, name))
            return (int32_t)index;
        slot = (slot + 1) % SECTION_SLOTS;
    }
    return -1;
}

/* A regular row's name is its number, from 1, without leading zeros. */
static int32_t
regular_row_find(const struct section_settings *section, struct bytes name)
{
    uint32_t number = 0;
    if (name.size == 0 || name.size > 4 || name.data[0] == '0')
        return -1;
    for (uint32_t i = 0; i < name.size; i++) {
        uint32_t digit = (uint32_t)(uint8_t)name.data[i] - '0';
        if (digit > 9)
            return -1;
        number = number * 10 + digit;
    }
    return number <= section->row_count ? (int32_t)number - 1 : -1;
}

static int32_t
irregular_row_find(const struct event *event, uint32_t index, struct bytes name)
{
    const struct section_settings *s = &event_settings_sections(event->settings)[index];
    const struct section *section = &event->sections[index];
    const struct row_settings *rows = event_settings_rows(event->settings) + s->row_first;
    uint32_t slot = name_hash(name.data, name.size) & section->row_slot_mask;
    while (section->row_slots[slot] != 0) {
        uint32_t row = section->row_slots[slot] - 1u;
        if (name_is(&rows[row].name, name))
            return (int32_t)row;
        slot = (slot + 1) & section->row_slot_mask;
    }
    return -1;
}

bool
event_seat_find(const struct event *event, const struct seat_name *name, seat_ref *ret_ref)
{
    int32_t section = event_section_find(event, name->section);
    if (section < 0)
        return false;
    const struct section_settings *s = &event_settings_sections(event->settings)[section];
    int32_t row = s->regular ? regular_row_find(s, name->row)
                             : irregular_row_find(event, (uint32_t)section, name->row);
    if (row < 0)
        return false;
    uint32_t seats =
        s->regular ? s->row_seats : section_row_seats(event->settings, (uint32_t)section, (uint32_t)row);
    if (name->number < 1 || name->number > seats)
        return false;
    *ret_ref = SEAT_REF(section, row, name->number);
    return true;
}

struct pool_settings *
event_pools_settings(struct event *event)
{
    return (struct pool_settings *)((struct section_settings *)(event->settings + 1) +
                                    event->settings->section_count);
}
