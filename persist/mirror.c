/*
 * mirror.c - the tables of a mirror: holds, seats, tokens, events' names, results; found, counted, put in.
 *
 * Everything lies in arrays, with open-addressing tables of indexes over them. Memory that ends is noted in
 * mirror->wrong; who puts in looks there. What is put in, and when: mirror_replay.c.
 */
#include "persist/mirror_internal.h"

#include "core/route.h"
#include "persist/persister_work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool
mirror_no_memory(struct mirror *mirror)
{
    mirror->wrong = "no memory";
    return false;
}

/* ---- heaps ---- */

static void *
heap_at(const struct heap *heap, uint32_t index)
{
    return heap->items + index * heap->size;
}

static void *
heap_add(struct mirror *mirror, struct heap *heap)
{
    if (heap->count == heap->capacity) {
        uint32_t capacity = heap->capacity == 0 ? 1024 : heap->capacity * 2;
        void *items = realloc(heap->items, capacity * heap->size);
        if (items == NULL) {
            (void)mirror_no_memory(mirror);
            return NULL;
        }
        heap->items = items;
        heap->capacity = capacity;
    }
    void *item = heap_at(heap, heap->count++);
    memset(item, 0, heap->size);
    return item;
}

typedef uint64_t hash_of(const void *item);
typedef bool is_item(const void *item, const void *key);

static uint32_t *
heap_slot(const struct heap *heap, uint64_t hash, is_item *is, const void *key)
{
    uint32_t mask = heap->slot_count - 1;
    uint32_t at = (uint32_t)hash & mask;
    while (heap->slots[at] != 0 && !(key != NULL && is(heap_at(heap, heap->slots[at] - 1), key)))
        at = (at + 1) & mask;
    return &heap->slots[at];
}

static void *
heap_find(const struct heap *heap, uint64_t hash, is_item *is, const void *key)
{
    if (heap->slot_count == 0)
        return NULL;
    uint32_t slot = *heap_slot(heap, hash, is, key);
    return slot == 0 ? NULL : heap_at(heap, slot - 1);
}

/* Enters the newest item into the table. */
static bool
heap_enter(struct mirror *mirror, struct heap *heap, hash_of *hash)
{
    if (heap->count * 2 > heap->slot_count) {
        uint32_t slot_count = heap->slot_count == 0 ? 4096 : heap->slot_count * 2;
        uint32_t *slots = calloc(slot_count, sizeof slots[0]);
        if (slots == NULL)
            return mirror_no_memory(mirror);
        free(heap->slots);
        heap->slots = slots;
        heap->slot_count = slot_count;
        for (uint32_t i = 0; i + 1 < heap->count; i++)
            *heap_slot(heap, hash(heap_at(heap, i)), NULL, NULL) = i + 1;
    }
    *heap_slot(heap, hash(heap_at(heap, heap->count - 1)), NULL, NULL) = heap->count;
    return true;
}

static uint64_t
hash_name(const void *item)
{
    const struct name_kept *name = item;
    return route_hash(0, (struct bytes){name->text, name->size});
}

static bool
is_name(const void *item, const void *key)
{
    const struct name_kept *name = item;
    const struct bytes *wanted = key;
    return bytes_equal((struct bytes){name->text, name->size}, *wanted);
}

static uint64_t
hash_hold(const void *item)
{
    return uuid_hash(&(*(struct mirror_hold *const *)item)->id);
}

static bool
is_hold(const void *item, const void *key)
{
    return uuid_equal(&(*(struct mirror_hold *const *)item)->id, key);
}

static uint64_t
hash_seat(const void *item)
{
    return route_hash_part(7, ((const struct mirror_seat *)item)->key);
}

static bool
is_seat(const void *item, const void *key)
{
    return ((const struct mirror_seat *)item)->key == *(const uint64_t *)key;
}

static uint64_t
hash_token(const void *item)
{
    return uuid_hash(&((const struct mirror_token *)item)->id);
}

static bool
is_token(const void *item, const void *key)
{
    return uuid_equal(&((const struct mirror_token *)item)->id, key);
}

/* ---- what is in it ---- */

int
mirror_open(struct mirror **ret_mirror, const struct data_folder *folder)
{
    struct mirror *mirror = calloc(1, sizeof *mirror);
    if (mirror == NULL || event_table_open(&mirror->events) != 0) {
        free(mirror);
        return -ENOMEM;
    }
    mirror->folder = folder;
    mirror->names.size = sizeof(struct name_kept);
    mirror->holds.size = sizeof(struct mirror_hold *);
    mirror->seats.size = sizeof(struct mirror_seat);
    mirror->tokens.size = sizeof(struct mirror_token);
    mirror->results.size = sizeof(struct mirror_result);
    *ret_mirror = mirror;
    return 0;
}

void
mirror_close(struct mirror *mirror)
{
    if (mirror == NULL)
        return;
    for (uint32_t i = 0; i < mirror->holds.count; i++) {
        free(mirror_hold_at(mirror, i)->payment_ref);
        free(mirror_hold_at(mirror, i));
    }
    struct heap *const heaps[] = {&mirror->names, &mirror->holds, &mirror->seats, &mirror->tokens,
                                  &mirror->results};
    for (size_t i = 0; i < sizeof heaps / sizeof heaps[0]; i++) {
        free(heaps[i]->items);
        free(heaps[i]->slots);
    }
    event_table_close(mirror->events);
    free(mirror);
}

uint64_t
mirror_generation(const struct mirror *mirror)
{
    return mirror->generation;
}

uint64_t
mirror_records(const struct mirror *mirror)
{
    return mirror->records;
}

struct event_table *
mirror_events(struct mirror *mirror)
{
    return mirror->events;
}

struct bytes
mirror_event_id(const struct mirror *mirror, uint32_t event)
{
    const struct name_kept *name = heap_at(&mirror->names, event);
    return (struct bytes){name->text, name->size};
}

const struct event_settings *
mirror_event_settings(const struct mirror *mirror, uint32_t event)
{
    const struct known_event *known = event_table_find(mirror->events, mirror_event_id(mirror, event));
    return known != NULL ? known->settings : NULL;
}

int64_t
mirror_event_find(const struct mirror *mirror, struct bytes id)
{
    const void *item = heap_find(&mirror->names, route_hash(0, id), is_name, &id);
    return item == NULL ? -1 : ((const uint8_t *)item - mirror->names.items) / (int64_t)mirror->names.size;
}

uint32_t
mirror_hold_count(const struct mirror *mirror)
{
    return mirror->holds.count;
}

struct mirror_hold *
mirror_hold_at(const struct mirror *mirror, uint32_t index)
{
    return *(struct mirror_hold **)heap_at(&mirror->holds, index);
}

struct mirror_hold *
mirror_hold_find(const struct mirror *mirror, const struct uuid *id)
{
    struct mirror_hold **found = heap_find(&mirror->holds, uuid_hash(id), is_hold, id);
    return found == NULL ? NULL : *found;
}

const struct record_seat *
mirror_hold_seats(const struct mirror_hold *hold)
{
    return (const struct record_seat *)(const void *)hold->more;
}

const struct record_pool *
mirror_hold_pools(const struct mirror_hold *hold)
{
    return (const struct record_pool *)(const void *)(hold->more +
                                                      hold->seat_count * sizeof(struct record_seat));
}

struct bytes
mirror_hold_user(const struct mirror_hold *hold)
{
    return (struct bytes){(const char *)(mirror_hold_pools(hold) + hold->pool_count), hold->user_size};
}

struct bytes
mirror_hold_request_id(const struct mirror_hold *hold)
{
    struct bytes user = mirror_hold_user(hold);
    return (struct bytes){user.data + user.size, hold->request_id_size};
}

uint32_t
mirror_seat_count(const struct mirror *mirror)
{
    return mirror->seats.count;
}

struct mirror_seat *
mirror_seat_at(const struct mirror *mirror, uint32_t index)
{
    return heap_at(&mirror->seats, index);
}

struct mirror_seat *
mirror_seat_find(const struct mirror *mirror, uint32_t event, seat_ref ref)
{
    const struct mirror_seat probe = {.key = (uint64_t)event << 32 | ref};
    return heap_find(&mirror->seats, hash_seat(&probe), is_seat, &probe.key);
}

uint32_t
mirror_token_count(const struct mirror *mirror)
{
    return mirror->tokens.count;
}

struct mirror_token *
mirror_token_at(const struct mirror *mirror, uint32_t index)
{
    return heap_at(&mirror->tokens, index);
}

struct mirror_token *
mirror_token_find(const struct mirror *mirror, const struct uuid *id)
{
    return heap_find(&mirror->tokens, uuid_hash(id), is_token, id);
}

uint32_t
mirror_result_count(const struct mirror *mirror)
{
    return mirror->results.count;
}

struct mirror_result *
mirror_result_at(const struct mirror *mirror, uint32_t index)
{
    return heap_at(&mirror->results, index);
}

static int
compare_results(const void *left, const void *right)
{
    return memcmp(((const struct mirror_result *)left)->id.byte,
                  ((const struct mirror_result *)right)->id.byte, sizeof(struct uuid));
}

struct mirror_result *
mirror_result_find(struct mirror *mirror, const struct uuid *id)
{
    struct mirror_result probe = {.id = *id};
    if (!mirror->sorted && mirror->results.count > 0)
        qsort(mirror->results.items, mirror->results.count, mirror->results.size, compare_results);
    mirror->sorted = true;
    return mirror->results.count == 0 ? NULL
                                      : bsearch(&probe, mirror->results.items, mirror->results.count,
                                                mirror->results.size, compare_results);
}

const char *
mirror_result_word(uint8_t type)
{
    static const char *const words[] = {
        [PLACED] = "HoldPlaced",    [CONFIRMED] = "HoldConfirmed",  [RELEASED] = "HoldReleased",
        [EXPIRED] = "HoldExpired",  [EXTENDED] = "HoldExtended",    [CANCELLED] = "HoldCancelled",
        [JOINED] = "TokenJoined",   [ACTIVATED] = "TokenActivated", [ENDED] = "TokenEnded",
        [CREATED] = "EventCreated", [CHANGED] = "EventChanged",
    };
    return words[type];
}

/* ---- what is put in ---- */

void
mirror_put_result(struct mirror *mirror, const struct record *record, uint32_t index, enum result_type type,
                  const struct uuid *of)
{
    struct mirror_result *item = heap_add(mirror, &mirror->results);
    if (item == NULL)
        return;
    item->id = published_id(mirror->folder->route_seed, mirror->epoch, mirror->shard,
                            record->header->sequence, index, record->header->time_ms);
    item->of = *of;
    item->epoch = mirror->epoch;
    item->sequence = record->header->sequence;
    item->shard = (uint16_t)mirror->shard;
    item->type = (uint8_t)type;
}

uint32_t
mirror_put_name(struct mirror *mirror, struct bytes id)
{
    int64_t found = mirror_event_find(mirror, id);
    if (found >= 0)
        return (uint32_t)found;
    struct name_kept *name = heap_add(mirror, &mirror->names);
    if (name == NULL)
        return 0;
    name->size = (uint8_t)id.size;
    memcpy(name->text, id.data, id.size);
    (void)heap_enter(mirror, &mirror->names, hash_name); /* no memory: told */
    return mirror->names.count - 1;
}

void
mirror_put_seat(struct mirror *mirror, uint32_t event, seat_ref ref, uint32_t version, uint8_t state,
                const struct uuid *hold)
{
    struct mirror_seat *seat = mirror_seat_find(mirror, event, ref);
    if (seat == NULL) {
        seat = heap_add(mirror, &mirror->seats);
        if (seat == NULL)
            return;
        seat->key = (uint64_t)event << 32 | ref;
        if (!heap_enter(mirror, &mirror->seats, hash_seat))
            return;
    }
    if (version < seat->version)
        return;
    *seat = (struct mirror_seat){.key = seat->key, .version = version, .state = state, .hold = *hold};
}

struct mirror_hold *
mirror_put_hold(struct mirror *mirror, const struct record *record)
{
    const struct record_hold *told = &record->hold;
    size_t seats_size = told->seat_count * sizeof(struct record_seat);
    size_t pools_size = told->pool_count * sizeof(struct record_pool);
    struct mirror_hold *hold =
        calloc(1, sizeof *hold + seats_size + pools_size + record->user.size + record->request_id.size);
    if (hold == NULL) {
        (void)mirror_no_memory(mirror);
        return NULL;
    }
    hold->id = told->id;
    hold->deadline_ms = told->deadline_ms;
    hold->event = mirror_put_name(mirror, record->event);
    hold->state = HOLD_HELD;
    hold->seat_count = told->seat_count;
    hold->pool_count = told->pool_count;
    hold->user_size = told->user_size;
    hold->request_id_size = told->request_id_size;
    hold->trace = told->trace;
    memcpy(hold->more, record->seats, seats_size);
    memcpy(hold->more + seats_size, record->pools, pools_size);
    memcpy(hold->more + seats_size + pools_size, record->user.data, record->user.size);
    if (record->request_id.size > 0)
        memcpy(hold->more + seats_size + pools_size + record->user.size, record->request_id.data,
               record->request_id.size);
    struct mirror_hold **place = heap_add(mirror, &mirror->holds);
    if (place == NULL) {
        free(hold);
        return NULL;
    }
    *place = hold;
    return heap_enter(mirror, &mirror->holds, hash_hold) ? hold : NULL;
}

struct mirror_token *
mirror_put_token(struct mirror *mirror, const struct record *record)
{
    struct mirror_token *token = heap_add(mirror, &mirror->tokens);
    if (token == NULL)
        return NULL;
    token->id = record->token.id;
    token->event = mirror_put_name(mirror, record->event);
    token->user_size = (uint8_t)record->user.size;
    memcpy(token->user, record->user.data, record->user.size);
    return heap_enter(mirror, &mirror->tokens, hash_token) ? token : NULL;
}
