/*
 * mirror.c - the state of everything, from records.
 *
 *     parts of a snapshot ─▶ journals of its epoch, from its positions ─▶ journals of the epochs after it
 * ─▶ the place
 *
 * A part tells each hold as it is after some record (docs/journal-format.md, "A snapshot"): records up to
 * that one are passed over for this hold, and likewise for tokens.
 *
 * Seats are kept by their highest version. A snapshot also tells versions of seats that nobody has: such a
 * seat is free, and its version may be one that a reservation took and no record ever named.
 *
 * Everything lies in arrays, with open-addressing tables of indexes over them.
 */
#include "persist/mirror.h"

#include "core/route.h"
#include "persist/persister_follow.h"
#include "persist/persister_work.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An array of items of one size, and where each is by its hash. */
struct heap {
    uint8_t *items;
    size_t size;
    uint32_t count;
    uint32_t capacity;
    uint32_t *slots; /* index + 1 */
    uint32_t slot_count;
};

struct name_kept {
    uint8_t size;
    char text[EVENT_ID_SIZE_MAX];
};

struct mirror {
    const struct data_folder *folder;
    uint64_t generation;
    uint64_t records;
    struct event_table *events;
    struct heap names;   /* struct name_kept */
    struct heap holds;   /* struct mirror_hold * */
    struct heap seats;   /* struct mirror_seat */
    struct heap tokens;  /* struct mirror_token */
    struct heap results; /* struct mirror_result; sorted, without a table */
    bool sorted;
    /* what is being read */
    uint64_t epoch;
    uint32_t shard;
    bool behind_snapshot; /* in the snapshot's own epoch */
    uint64_t slice_reflects;
    enum seeing { SEE_ALL, SEE_EVENTS, SEE_REST } seeing; /* of a part */
    const char *wrong;                                    /* static storage; NULL: all is well */
};

static bool
no_memory(struct mirror *mirror)
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
            (void)no_memory(mirror);
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
            return no_memory(mirror);
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

enum result_type {
    PLACED,
    CONFIRMED,
    RELEASED,
    EXPIRED,
    EXTENDED,
    CANCELLED,
    JOINED,
    ACTIVATED,
    ENDED,
    CREATED,
    CHANGED,
};

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

/* ---- records ---- */

static void
result(struct mirror *mirror, const struct record *record, uint32_t index, enum result_type type,
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

static uint32_t
name_number(struct mirror *mirror, struct bytes id)
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

static void
seat_is(struct mirror *mirror, uint32_t event, seat_ref ref, uint32_t version, uint8_t state,
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

/* A hold that is told in whole. */
static struct mirror_hold *
hold_make(struct mirror *mirror, const struct record *record)
{
    const struct record_hold *told = &record->hold;
    size_t seats_size = told->seat_count * sizeof(struct record_seat);
    size_t pools_size = told->pool_count * sizeof(struct record_pool);
    struct mirror_hold *hold =
        calloc(1, sizeof *hold + seats_size + pools_size + record->user.size + record->request_id.size);
    if (hold == NULL) {
        (void)no_memory(mirror);
        return NULL;
    }
    hold->id = told->id;
    hold->deadline_ms = told->deadline_ms;
    hold->event = name_number(mirror, record->event);
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

static struct record_seat *
seats_of(struct mirror_hold *hold)
{
    return (struct record_seat *)(void *)hold->more;
}

static void
hold_seats_are(struct mirror *mirror, struct mirror_hold *hold, uint32_t raise, uint8_t state)
{
    for (uint32_t i = 0; i < hold->seat_count; i++)
        seat_is(mirror, hold->event, seats_of(hold)[i].ref, seats_of(hold)[i].version + raise, state,
                &hold->id);
}

static void
hold_end(struct mirror *mirror, struct mirror_hold *hold, uint8_t state, uint64_t time_ms)
{
    hold->state = state;
    hold->ended_ms = time_ms;
    hold_seats_are(mirror, hold, 1, 0);
}

static bool
is_reflected(const struct mirror *mirror, uint64_t reflects, const struct record *record)
{
    return mirror->behind_snapshot && record->header->sequence <= reflects;
}

static void
see_placed(struct mirror *mirror, const struct record *record)
{
    uint32_t index = 0;
    if ((record->header->flags & RECORD_REPLACES) != 0) {
        struct mirror_hold *old = mirror_hold_find(mirror, &record->hold.replaces);
        if (old != NULL && !is_reflected(mirror, old->reflects, record)) {
            hold_end(mirror, old, HOLD_RELEASED, record->header->time_ms);
            result(mirror, record, index, RELEASED, &old->id);
        }
        index++;
    }
    struct mirror_hold *hold = mirror_hold_find(mirror, &record->hold.id);
    if (hold != NULL && is_reflected(mirror, hold->reflects, record))
        return;
    if (hold != NULL) {
        mirror->wrong = "a hold is placed twice";
        return;
    }
    hold = hold_make(mirror, record);
    if (hold == NULL)
        return;
    hold_seats_are(mirror, hold, 0, 1);
    result(mirror, record, index, PLACED, &hold->id);
}

static void
set_payment(struct mirror *mirror, struct mirror_hold *hold, struct bytes payment_ref)
{
    if (payment_ref.size == 0)
        return;
    char *copy = malloc(payment_ref.size);
    if (copy == NULL) {
        (void)no_memory(mirror);
        return;
    }
    memcpy(copy, payment_ref.data, payment_ref.size);
    free(hold->payment_ref);
    hold->payment_ref = copy;
    hold->payment_ref_size = (uint8_t)payment_ref.size;
}

static void
see_confirmed(struct mirror *mirror, const struct record *record, struct mirror_hold *hold)
{
    bool late = (record->header->flags & RECORD_LATE) != 0;
    if (hold == NULL && late) {
        hold = hold_make(mirror, record);
        if (hold == NULL)
            return;
    }
    if (hold == NULL)
        return;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        if (late)
            memcpy(&seats_of(hold)[i], record->seats + i * sizeof(struct record_seat),
                   sizeof(struct record_seat));
        else
            seats_of(hold)[i].version++;
    }
    hold->state = HOLD_CONFIRMED;
    hold->ended_ms = 0;
    set_payment(mirror, hold, record->payment_ref);
    hold_seats_are(mirror, hold, 0, 2);
    result(mirror, record, 0, CONFIRMED, &hold->id);
}

static void
see_hold(struct mirror *mirror, const struct record *record)
{
    struct mirror_hold *hold = mirror_hold_find(mirror, &record->hold.id);
    if (hold != NULL && is_reflected(mirror, hold->reflects, record))
        return;
    if (record->header->type == RECORD_HOLD_CONFIRMED) {
        see_confirmed(mirror, record, hold);
        return;
    }
    if (hold == NULL) {
        if (mirror->generation == 0)
            mirror->wrong = "a record names a hold that was never placed";
        return; /* forgotten before the snapshot came to it */
    }
    switch (record->header->type) {
    case RECORD_HOLD_EXTENDED:
        hold->deadline_ms = record->hold.deadline_ms;
        result(mirror, record, 0, EXTENDED, &hold->id);
        break;
    case RECORD_HOLD_RELEASED:
        hold_end(mirror, hold, HOLD_RELEASED, record->header->time_ms);
        result(mirror, record, 0, RELEASED, &hold->id);
        break;
    case RECORD_HOLD_EXPIRED:
        hold_end(mirror, hold, HOLD_EXPIRED, record->header->time_ms);
        result(mirror, record, 0, EXPIRED, &hold->id);
        break;
    default:
        hold_end(mirror, hold, HOLD_CANCELLED, record->header->time_ms);
        result(mirror, record, 0, CANCELLED, &hold->id);
        break;
    }
}

static void
see_hold_kept(struct mirror *mirror, const struct record *record)
{
    struct mirror_hold *hold = hold_make(mirror, record);
    if (hold == NULL)
        return;
    hold->kept = true;
    hold->reflects = mirror->slice_reflects;
    hold->state = record->kept.state;
    if (hold->state == HOLD_HELD) {
        hold_seats_are(mirror, hold, 0, 1);
    } else if (hold->state == HOLD_CONFIRMED) {
        hold_seats_are(mirror, hold, 0, 2);
    } else {
        hold->ended_ms = record->kept.ended_ms;
        hold_seats_are(mirror, hold, 0, 0);
        for (uint32_t i = 0; i < hold->seat_count; i++)
            seats_of(hold)[i].version--; /* as it shows it: without its end */
    }
}

/* The rows of a section's blocks: whole rows, at most BLOCK_SEATS_MAX seats (core/event.c). */
static void
see_seats_kept(struct mirror *mirror, const struct record *record)
{
    static const struct uuid nobody;
    const struct record_seats *kept = record->seats_kept;
    struct bytes id = {kept->event, kept->event_size};
    uint32_t event = name_number(mirror, id);
    const struct event_settings *settings = mirror_event_settings(mirror, event);
    uint32_t block = 0;
    if (settings == NULL) {
        mirror->wrong = "a snapshot tells of seats of an event that it has not told of";
        return;
    }
    for (uint32_t section = 0; section < settings->section_count; section++) {
        uint32_t row_count = event_settings_sections(settings)[section].row_count;
        for (uint32_t row = 0; row < row_count; block++) {
            uint32_t first = row, seats = 0, at = 0;
            while (row < row_count && seats + section_row_seats(settings, section, row) <= BLOCK_SEATS_MAX)
                seats += section_row_seats(settings, section, row++);
            if (block != kept->block)
                continue;
            for (uint32_t r = first; r < row; r++)
                for (uint32_t n = 1; n <= section_row_seats(settings, section, r) && at < kept->seat_count;
                     n++, at++) {
                    uint32_t version;
                    memcpy(&version, record->versions + at * sizeof version, sizeof version);
                    struct mirror_seat *seat = mirror_seat_find(mirror, event, SEAT_REF(section, r, n));
                    if (version == 0 || (seat != NULL && seat->version >= version))
                        continue;
                    seat_is(mirror, event, SEAT_REF(section, r, n), version, 0, &nobody);
                    seat = mirror_seat_find(mirror, event, SEAT_REF(section, r, n));
                    if (seat != NULL)
                        seat->kept = true;
                }
            return;
        }
    }
}

static void
see_token(struct mirror *mirror, const struct record *record)
{
    uint8_t type = record->header->type;
    struct mirror_token *token = mirror_token_find(mirror, &record->token.id);
    if (token != NULL && is_reflected(mirror, token->reflects, record))
        return;
    if (token == NULL) {
        token = heap_add(mirror, &mirror->tokens);
        if (token == NULL)
            return;
        token->id = record->token.id;
        token->event = name_number(mirror, record->event);
        token->user_size = (uint8_t)record->user.size;
        memcpy(token->user, record->user.data, record->user.size);
        token->kept = type != RECORD_TOKEN_JOINED;
        if (!heap_enter(mirror, &mirror->tokens, hash_token))
            return;
    }
    token->state = record->token.state;
    if (type == RECORD_TOKEN_KEPT) {
        token->reflects = mirror->slice_reflects;
        if (token->state > TOKEN_ACTIVE)
            token->ended_ms = record->token.deadline_ms;
        return;
    }
    if (type == RECORD_TOKEN_ACTIVATED)
        token->activated_ms = record->header->time_ms;
    if (type == RECORD_TOKEN_ENDED)
        token->ended_ms = record->header->time_ms;
    result(mirror, record, 0,
           type == RECORD_TOKEN_JOINED      ? JOINED
           : type == RECORD_TOKEN_ACTIVATED ? ACTIVATED
                                            : ENDED,
           &token->id);
}

static void
see_event(struct mirror *mirror, const struct record *record)
{
    struct bytes id;
    bool created = record->header->type == RECORD_EVENT_CREATED;
    bool part = record->header->sequence == 0;
    if (created) {
        id = (struct bytes){record->settings->id, record->settings->id_size};
        if (!event_settings_sound(record->settings, record->settings->size)) {
            mirror->wrong = "the settings of an event are not sound";
            return;
        }
        if (!part && event_table_find(mirror->events, id) != NULL)
            return; /* the snapshot has it */
        if (event_table_put(mirror->events, record->settings, record->header->time_ms) == NULL)
            (void)no_memory(mirror);
    } else {
        id = (struct bytes){record->change->event, record->change->event_size};
        if (event_table_change(mirror->events, record) == NULL)
            mirror->wrong = "a record changes an event that was never made";
    }
    uint32_t number = name_number(mirror, id);
    struct uuid of = {{0}};
    memcpy(of.byte, &number, sizeof number);
    if (!part && mirror->wrong == NULL)
        result(mirror, record, 0, created ? CREATED : CHANGED, &of);
}

static void
see_record(struct mirror *mirror, const struct record *record)
{
    switch (record->header->type) {
    case RECORD_EVENT_CREATED:
    case RECORD_EVENT_CHANGED:
        see_event(mirror, record);
        break;
    case RECORD_HOLD_PLACED:
        see_placed(mirror, record);
        break;
    case RECORD_HOLD_CONFIRMED:
    case RECORD_HOLD_RELEASED:
    case RECORD_HOLD_EXPIRED:
    case RECORD_HOLD_EXTENDED:
    case RECORD_HOLD_CANCELLED:
        see_hold(mirror, record);
        break;
    case RECORD_HOLD_KEPT:
        see_hold_kept(mirror, record);
        break;
    case RECORD_SEATS_KEPT:
        see_seats_kept(mirror, record);
        break;
    case RECORD_TOKEN_JOINED:
    case RECORD_TOKEN_ACTIVATED:
    case RECORD_TOKEN_ENDED:
    case RECORD_TOKEN_KEPT:
        see_token(mirror, record);
        break;
    default:
        break;
    }
}

/* batch_met of journal_tool_internal.h. */
static const char *
see_batch(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    struct mirror *mirror = context;
    (void)at;
    mirror->slice_reflects = batch->sequence_last;
    const uint8_t *record = batch_records(batch);
    for (uint32_t left = batch->records_size; left > 0 && mirror->wrong == NULL;) {
        struct record decoded;
        if (!record_decode(record, left, &decoded))
            return "the batch has bytes that are no record";
        bool event =
            decoded.header->type == RECORD_EVENT_CREATED || decoded.header->type == RECORD_EVENT_CHANGED;
        if (mirror->seeing == SEE_ALL || event == (mirror->seeing == SEE_EVENTS)) {
            see_record(mirror, &decoded);
            mirror->records++;
        }
        record += decoded.header->size;
        left -= decoded.header->size;
    }
    return mirror->wrong;
}

/* ---- journals and parts ---- */

static bool
fail(char ret_text[MIRROR_TEXT_SIZE_MAX], const char *file, uint64_t offset, const char *text)
{
    (void)snprintf(ret_text, MIRROR_TEXT_SIZE_MAX, "%s, byte %" PRIu64 ": %s", file, offset,
                   text); /* fits */
    return false;
}

/* Up to batch number `batch`, and at least to the record `sequence`. */
static bool
see_journal(struct mirror *mirror, struct journal_position *at, uint64_t batch, uint64_t sequence,
            char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct journal_reader *reader;
    char name[FILE_NAME_SIZE];
    const char *wrong = NULL;
    mirror->epoch = at->epoch;
    mirror->shard = at->shard;
    if (at->batch >= batch && at->sequence >= sequence)
        return true;
    if (journal_reader_open(&reader, &mirror->folder->disk, mirror->folder->route_seed, at) != 0)
        return fail(ret_text, "", 0, "no memory");
    while ((at->batch < batch || at->sequence < sequence) && wrong == NULL) {
        const struct batch_header *header;
        enum journal_read read = journal_reader_next(reader, &header);
        if (read == READ_BATCH)
            wrong = see_batch(mirror, header, at);
        else
            wrong = read == READ_END ? "the journal ends here, before the place that PostgreSQL is at"
                                     : journal_reader_fault(reader)->text;
        if (wrong != NULL) {
            file_name(name, FILE_JOURNAL, at->epoch, at->shard, at->segment);
            (void)fail(ret_text, name, at->offset, wrong);
        }
        *at = journal_reader_position(reader);
    }
    journal_reader_close(reader);
    return wrong == NULL;
}

static const struct journal_position *
position_of(const struct small_file *file, uint64_t epoch, uint32_t shard)
{
    for (uint32_t i = 0; i < small_header(file)->position_count; i++)
        if (small_positions(file)[i].epoch == epoch && small_positions(file)[i].shard == shard)
            return &small_positions(file)[i];
    return NULL;
}

/* All of an epoch, from `from` (NULL: from its beginning) to its end, or to the place. */
static bool
see_epoch(struct mirror *mirror, const struct picture *picture, uint64_t epoch,
          const struct small_file *from, const struct persister_place *place,
          char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    const struct small_file *start = picture_start(picture, epoch);
    const struct small_file *next = picture_start(picture, epoch + 1);
    if (start == NULL || (epoch < place->epoch && next == NULL))
        return fail(ret_text, "start file", 0, "it is missing");
    for (uint32_t shard = 0; shard < small_header(start)->shard_count; shard++) {
        struct journal_position at = {.epoch = epoch, .shard = shard, .offset = BLOCK_BYTES};
        const struct journal_position *begin = from != NULL ? position_of(from, epoch, shard) : NULL;
        const struct journal_position *end =
            epoch == place->epoch ? &place->positions[shard] : position_of(next, epoch, shard);
        if (begin != NULL)
            at = *begin;
        if (end == NULL)
            return fail(ret_text, "start file", 0, "it does not say where a journal before it ended");
        if (!see_journal(mirror, &at, end->batch, 0, ret_text))
            return false;
    }
    return true;
}

/* Events of all parts first: the part of one shard tells of seats of an event that another one's tells of.
 */
static bool
see_parts(struct mirror *mirror, const struct small_file *manifest, uint64_t *ret_reflects,
          char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    const struct file_header *header = small_header(manifest);
    mirror->generation = manifest->id.epoch;
    mirror->epoch = header->epoch;
    for (mirror->seeing = SEE_EVENTS; mirror->seeing <= SEE_REST; mirror->seeing++) {
        for (uint32_t shard = 0; shard < header->shard_count; shard++) {
            struct walk_end end;
            mirror->shard = shard;
            mirror->slice_reflects = 0;
            walk_part(mirror->folder, manifest->id.epoch, shard, see_batch, mirror, &end);
            if (end.read != READ_END)
                return fail(ret_text, end.fault.file, end.fault.offset, end.fault.text);
            ret_reflects[shard] = mirror->slice_reflects;
        }
    }
    mirror->seeing = SEE_ALL;
    return true;
}

static bool
from_beginning(const struct picture *picture)
{
    const struct small_file *first = picture_start(picture, 1);
    if (first == NULL)
        return false;
    for (uint32_t i = 0; i < small_header(first)->shard_count; i++)
        if (!picture_has(picture, FILE_JOURNAL, 1, i, 0))
            return false;
    return true;
}

/* The snapshot is not ahead of the place. */
static bool
is_behind(const struct small_file *manifest, const uint64_t *reflects, const struct persister_place *place)
{
    const struct file_header *header = small_header(manifest);
    if (header->epoch != place->epoch)
        return header->epoch < place->epoch;
    for (uint32_t i = 0; i < header->shard_count; i++)
        if (place->positions[i].sequence < reflects[i])
            return false;
    return true;
}

static bool
build(struct mirror *mirror, const struct picture *picture, const struct persister_place *place,
      char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    uint64_t reflects[SHARDS_MAX];
    const struct small_file *from = NULL;
    uint64_t epoch = 1;
    if (!from_beginning(picture)) {
        (void)fail(ret_text, "snapshot", 0,
                   "there is none that is whole and not ahead of PostgreSQL: wait until it has "
                   "caught up");
        for (uint32_t i = picture->manifest_count; i > 0 && from == NULL; i--) {
            const struct small_file *manifest = &picture->manifests[i - 1];
            if (manifest->bytes == NULL || small_header(manifest)->epoch > place->epoch)
                continue;
            if (!see_parts(mirror, manifest, reflects, ret_text))
                return false;
            if (!is_behind(manifest, reflects, place))
                return fail(ret_text, "snapshot", 0,
                            "it is ahead of PostgreSQL: wait until that has caught up");
            from = manifest;
        }
        if (from == NULL)
            return false;
        epoch = small_header(from)->epoch;
    }
    for (; epoch <= place->epoch; epoch++) {
        mirror->behind_snapshot = from != NULL && small_header(from)->epoch == epoch;
        if (!see_epoch(mirror, picture, epoch, mirror->behind_snapshot ? from : NULL, place, ret_text))
            return false;
    }
    return true;
}

bool
mirror_build(struct mirror *mirror, const struct persister_place *place,
             char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct picture picture;
    if (picture_take(mirror->folder, &picture) != 0)
        return fail(ret_text, "journal", 0, "the folder could not be read");
    bool good = build(mirror, &picture, place, ret_text);
    picture_done(&picture);
    return good;
}

bool
mirror_build_base(struct mirror *mirror, struct persister_place *ret_place,
                  char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct picture picture;
    uint64_t reflects[SHARDS_MAX];
    if (picture_take(mirror->folder, &picture) != 0)
        return fail(ret_text, "journal", 0, "the folder could not be read");
    const struct small_file *manifest = NULL;
    for (uint32_t i = picture.manifest_count; i > 0 && manifest == NULL; i--)
        if (picture.manifests[i - 1].bytes != NULL)
            manifest = &picture.manifests[i - 1];
    bool good = manifest != NULL && see_parts(mirror, manifest, reflects, ret_text);
    if (manifest == NULL)
        (void)fail(ret_text, "snapshot", 0, "there is none, and the beginning of the journal is gone");
    if (good) {
        const struct file_header *header = small_header(manifest);
        mirror->behind_snapshot = true;
        *ret_place = (struct persister_place){.epoch = header->epoch, .shard_count = header->shard_count};
        for (uint32_t i = 0; i < header->shard_count && good; i++) {
            ret_place->positions[i] = small_positions(manifest)[i];
            good = see_journal(mirror, &ret_place->positions[i], 0, reflects[i], ret_text);
        }
    }
    picture_done(&picture);
    return good;
}
