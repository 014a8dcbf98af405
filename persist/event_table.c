/*
 * event_table.c - events by id: a hash table of pointers, open addressing, at most half full.
 */
#include "persist/event_table.h"

#include "core/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct event_table {
    struct known_event **events; /* by number */
    uint32_t count;
    uint32_t capacity;
    uint32_t *slots; /* number + 1, 0: free */
    uint32_t slot_count;
};

int
event_table_open(struct event_table **ret_table)
{
    struct event_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return -ENOMEM;
    *ret_table = table;
    return 0;
}

void
event_table_clear(struct event_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        free(table->events[i]->settings);
        free(table->events[i]);
    }
    free(table->events);
    free(table->slots);
    *table = (struct event_table){0};
}

void
event_table_close(struct event_table *table)
{
    if (table == NULL)
        return;
    event_table_clear(table);
    free(table);
}

uint32_t
event_table_count(const struct event_table *table)
{
    return table->count;
}

struct known_event *
event_table_at(const struct event_table *table, uint32_t number)
{
    return table->events[number];
}

static struct bytes
id_of(const struct known_event *event)
{
    return (struct bytes){event->settings->id, event->settings->id_size};
}

/* The slot of this id, or the free one where it belongs. */
static uint32_t *
slot_of(const struct event_table *table, struct bytes id)
{
    uint32_t mask = table->slot_count - 1;
    uint32_t at = (uint32_t)route_hash(0, id) & mask;
    while (table->slots[at] != 0 && !bytes_equal(id_of(table->events[table->slots[at] - 1]), id))
        at = (at + 1) & mask;
    return &table->slots[at];
}

struct known_event *
event_table_find(const struct event_table *table, struct bytes id)
{
    if (table->slot_count == 0)
        return NULL;
    uint32_t slot = *slot_of(table, id);
    return slot == 0 ? NULL : table->events[slot - 1];
}

bool
event_settings_sound(const struct event_settings *settings, size_t size)
{
    if (size < sizeof *settings || settings->size != size || settings->id_size > EVENT_ID_SIZE_MAX ||
        settings->section_count > SECTIONS_MAX || settings->pool_count > POOLS_MAX ||
        settings->row_count > SECTIONS_MAX * ROWS_MAX || settings->status > EVENT_CLOSED)
        return false;
    uint64_t need = sizeof *settings + settings->section_count * sizeof(struct section_settings) +
                    settings->pool_count * sizeof(struct pool_settings) +
                    (uint64_t)settings->row_count * sizeof(struct row_settings);
    if (size < need)
        return false;
    for (uint32_t i = 0; i < settings->section_count; i++) {
        const struct section_settings *section = &event_settings_sections(settings)[i];
        if (section->row_count > ROWS_MAX || section->name.size > NAME_SIZE_MAX ||
            (!section->regular && (uint64_t)section->row_first + section->row_count > settings->row_count))
            return false;
    }
    return true;
}

/* Room for one more, in both arrays. */
static bool
grow(struct event_table *table)
{
    if (table->count == table->capacity) {
        uint32_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        struct known_event **events = realloc(table->events, capacity * sizeof events[0]);
        if (events == NULL)
            return false;
        table->events = events;
        table->capacity = capacity;
    }
    if ((table->count + 1) * 2 <= table->slot_count)
        return true;
    uint32_t slot_count = table->slot_count == 0 ? 128 : table->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof slots[0]);
    if (slots == NULL)
        return false;
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
    for (uint32_t i = 0; i < table->count; i++)
        *slot_of(table, id_of(table->events[i])) = i + 1;
    return true;
}

struct known_event *
event_table_put(struct event_table *table, const struct event_settings *settings, uint64_t created_ms)
{
    struct known_event *event = event_table_find(table, (struct bytes){settings->id, settings->id_size});
    if (event != NULL)
        return event;
    if (!grow(table))
        return NULL;
    event = calloc(1, sizeof *event);
    struct event_settings *copy = malloc(settings->size);
    if (event == NULL || copy == NULL) {
        free(event);
        free(copy);
        return NULL;
    }
    memcpy(copy, settings, settings->size);
    *event = (struct known_event){
        .settings = copy, .created_ms = created_ms, .updated_ms = created_ms, .number = table->count};
    *slot_of(table, id_of(event)) = table->count + 1;
    table->events[table->count++] = event;
    return event;
}

struct known_event *
event_table_change(struct event_table *table, const struct record *record)
{
    const struct record_change *change = record->change;
    struct known_event *event = event_table_find(table, (struct bytes){change->event, change->event_size});
    if (event == NULL || event->settings->pool_count != change->pool_count || change->status > EVENT_CLOSED)
        return NULL;
    struct event_settings *settings = event->settings;
    settings->status = change->status;
    settings->hold_seconds = change->hold_seconds;
    settings->units_per_user_max = change->units_per_user_max;
    settings->queue_active_max = change->queue_active_max;
    /* the pools lie behind the sections, in memory of ours */
    struct pool_settings *pools = (struct pool_settings *)event_settings_pools(settings);
    for (uint32_t i = 0; i < change->pool_count; i++)
        memcpy(&pools[i].capacity, record->capacities + i * sizeof(uint32_t), sizeof(uint32_t));
    event->updated_ms = record->header->time_ms;
    return event;
}

/* Index of a row by its name, or -1. Those of a regular section are named by their numbers. */
static int32_t
find_row(const struct event_settings *settings, uint32_t section, struct bytes wanted)
{
    const struct section_settings *of = &event_settings_sections(settings)[section];
    uint32_t from = 0, to = of->row_count;
    if (of->regular && wanted.size > 0 && wanted.size <= 4) {
        uint32_t number = 0;
        for (uint32_t i = 0; i < wanted.size; i++)
            number = number * 10 + (uint32_t)(uint8_t)(wanted.data[i] - '0');
        from = number - 1; /* of what is no number nothing comes */
        to = number > 0 && number <= of->row_count ? number : 0;
    }
    for (uint32_t row = from; row < to; row++) {
        char text[NAME_SIZE_MAX];
        uint32_t size = section_row_name(settings, section, row, text);
        if (bytes_equal((struct bytes){text, size}, wanted))
            return (int32_t)row;
    }
    return -1;
}

bool
event_seat_named(const struct event_settings *settings, struct bytes name, seat_ref *ret_ref)
{
    const char *end = name.data + name.size;
    const char *first = memchr(name.data, '/', name.size);
    const char *second = first != NULL ? memchr(first + 1, '/', (size_t)(end - first - 1)) : NULL;
    if (second == NULL)
        return false;
    int32_t section =
        event_settings_find_section(settings, (struct bytes){name.data, (uint32_t)(first - name.data)});
    uint32_t number = 0;
    for (const char *at = second + 1; at < end; at++) {
        if (*at < '0' || *at > '9' || number > ROW_SEATS_MAX)
            return false;
        number = number * 10 + (uint32_t)(*at - '0');
    }
    if (section < 0)
        return false;
    const struct bytes wanted = {first + 1, (uint32_t)(second - first - 1)};
    int32_t row = find_row(settings, (uint32_t)section, wanted);
    if (row < 0 || number == 0 || number > section_row_seats(settings, (uint32_t)section, (uint32_t)row))
        return false;
    *ret_ref = SEAT_REF((uint32_t)section, (uint32_t)row, number);
    return true;
}
