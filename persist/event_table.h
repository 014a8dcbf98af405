/*
 * event_table.h - the events that the records of a journal name: their settings as of now, by id.
 *
 * For who reads journals from outside of the core: names of seats and pools are numbers there.
 */
#ifndef HOLDFAST_EVENT_TABLE_H
#define HOLDFAST_EVENT_TABLE_H

#include "core/event_settings.h"
#include "core/record.h"

/* An event; stays where it is as long as the table. */
struct known_event {
    struct event_settings *settings; /* the table's */
    uint64_t created_ms;
    uint64_t updated_ms;
    uint32_t number; /* from 0, in the order of becoming known */
    bool touched;    /* the caller's own mark */
};

struct event_table;

int event_table_open(struct event_table **ret_table); /* 0 or -ENOMEM */
void event_table_close(struct event_table *table);    /* NULL: nothing */
void event_table_clear(struct event_table *table);

uint32_t event_table_count(const struct event_table *table);
struct known_event *event_table_at(const struct event_table *table, uint32_t number);
struct known_event *event_table_find(const struct event_table *table,
                                     struct bytes id); /* NULL: not known */

/* Whether the bytes can be settings of an event: what the core writes can. */
bool event_settings_sound(const struct event_settings *settings, size_t size);
/* A copy of sound settings. An event that is known stays as it is. NULL: no memory. */
struct known_event *event_table_put(struct event_table *table, const struct event_settings *settings,
                                    uint64_t created_ms);
/* A record's change. NULL: no such event, or not of its kind. */
struct known_event *event_table_change(struct event_table *table, const struct record *record);

/* The number of a seat by its name SECTION/ROW/NUMBER. False: the event has none such. */
bool event_seat_named(const struct event_settings *settings, struct bytes name, seat_ref *ret_ref);

#endif
