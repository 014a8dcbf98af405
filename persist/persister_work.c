/*
 * persister_work.c - from records to rows.
 *
 * What a record does to the rows of a hold (v: the version that the hold's seat has):
 *
 *     placed               new hold, held; its seats held at v as told
 *     ... replaces another also: the old one released; its seats free at v + 1, unless the new one's higher
 * version wins confirmed            v + 1; seats sold at v confirmed late       units and v as told; seats
 * sold at v extended             deadline released, expired    seats free at v + 1; the hold keeps showing
 * v cancelled            likewise
 *
 * A token's row follows TOKEN_ records alone: they come from the journal of its queue's owner, which is the
 * truth about it (R1). A seat is held by one hold after another, of different journals, and only versions
 * tell their order; so of a seat the highest version stands, here and in PostgreSQL.
 */
#include "persist/persister_work.h"

#include "core/route.h"
#include "persist/journal_reader.h"
#include "persist/object_json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *word;
    const char *aggregate;
} types[] = {
    [PUBLISHED_HOLD_PLACED] = {"HoldPlaced", "hold"},
    [PUBLISHED_HOLD_CONFIRMED] = {"HoldConfirmed", "hold"},
    [PUBLISHED_HOLD_RELEASED] = {"HoldReleased", "hold"},
    [PUBLISHED_HOLD_EXPIRED] = {"HoldExpired", "hold"},
    [PUBLISHED_HOLD_EXTENDED] = {"HoldExtended", "hold"},
    [PUBLISHED_HOLD_CANCELLED] = {"HoldCancelled", "hold"},
    [PUBLISHED_TOKEN_JOINED] = {"TokenJoined", "token"},
    [PUBLISHED_TOKEN_ACTIVATED] = {"TokenActivated", "token"},
    [PUBLISHED_TOKEN_ENDED] = {"TokenEnded", "token"},
    [PUBLISHED_EVENT_CREATED] = {"EventCreated", "event"},
    [PUBLISHED_EVENT_CHANGED] = {"EventChanged", "event"},
};

const char *
published_type_word(enum published_type type)
{
    return types[type].word;
}

const char *
published_aggregate_word(enum published_type type)
{
    return types[type].aggregate;
}

const char *
seat_state_word(enum seat_state state)
{
    static const char *const words[] = {[SEAT_FREE] = "free", [SEAT_HELD] = "held", [SEAT_SOLD] = "sold"};
    return words[state];
}

/* Time, then 12 bits of the sequence, then shard, epoch and index, then a hash of all: two results of one
 * data directory never have the same, and a record has the same ones whenever it is read. */
struct uuid
published_id(uint64_t route_seed, uint64_t epoch, uint32_t shard, uint64_t sequence, uint32_t index,
             uint64_t time_ms)
{
    assert(index < 2);
    assert(shard < SHARDS_MAX);
    static_assert(SHARDS_MAX <= 64, "six bits");
    uint64_t journal = route_hash_part(route_hash_part(route_seed, epoch), shard);
    uint16_t route = (uint16_t)(shard << 10 | (epoch & 0x1ff) << 1 | index);
    return uuid_put(time_ms, sequence, route, uuid_random(journal, sequence << 1 | index));
}

/* ---- memory that grows ---- */

/* Room for `more` items behind `count`. False: no memory, and the work has failed. */
static bool
room(struct work *work, void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    uint32_t grown = *capacity == 0 ? 1024 : *capacity * 2;
    void **place = items;
    void *memory = realloc(*place, grown * size);
    if (memory == NULL) {
        work->failed = true;
        return false;
    }
    *place = memory;
    *capacity = grown;
    return true;
}

void
work_open(struct work *work, uint64_t route_seed, struct known_holds *holds, struct event_table *events)
{
    *work = (struct work){.route_seed = route_seed, .holds = holds, .events = events};
}

void
work_done(struct work *work)
{
    free(work->records);
    free(work->pieces);
    free(work->missing);
    free(work->published);
    free(work->payloads);
    free(work->seats);
    free(work->seat_slots);
    free(work->tokens);
    free(work->token_slots);
    *work = (struct work){0};
}

void
work_begin(struct work *work)
{
    work->records_size = 0;
    work->piece_count = 0;
    work->missing_count = 0;
    work->published_count = 0;
    work->payloads_size = 0;
    work->seat_count = 0;
    work->token_count = 0;
    if (work->seat_slots != NULL)
        memset(work->seat_slots, 0, work->seat_slot_count * sizeof work->seat_slots[0]);
    if (work->token_slots != NULL)
        memset(work->token_slots, 0, work->token_slot_count * sizeof work->token_slots[0]);
    work->events_changed = false;
    work->event_wanted = false;
    work->time_last_ms = 0;
    work->counts = (struct work_counts){0};
    work->failed = false;
}

/* ---- taking ---- */

static bool
name_hold(struct work *work, const struct uuid *id, bool placed)
{
    bool made;
    struct known_hold *hold = holds_get(work->holds, id, &made);
    if (hold == NULL)
        return false;
    if (!made || placed)
        return true;
    if (!room(work, &work->missing, work->missing_count, &work->missing_capacity, sizeof work->missing[0]))
        return false;
    work->missing[work->missing_count++] = hold;
    return true;
}

static bool
name_holds(struct work *work, const struct record *record)
{
    switch (record->header->type) {
    case RECORD_HOLD_PLACED:
        return name_hold(work, &record->hold.id, true) && ((record->header->flags & RECORD_REPLACES) == 0 ||
                                                           name_hold(work, &record->hold.replaces, false));
    case RECORD_HOLD_CONFIRMED:
    case RECORD_HOLD_RELEASED:
    case RECORD_HOLD_EXPIRED:
    case RECORD_HOLD_EXTENDED:
    case RECORD_HOLD_CANCELLED:
        return name_hold(work, &record->hold.id, false);
    default:
        return true;
    }
}

/* The event that a record names; empty: none. */
static struct bytes
named_event(const struct record *record)
{
    switch (record->header->type) {
    case RECORD_HOLD_PLACED:
    case RECORD_TOKEN_JOINED:
    case RECORD_TOKEN_ACTIVATED:
    case RECORD_TOKEN_ENDED:
        return record->event;
    case RECORD_HOLD_CONFIRMED:
        if ((record->header->flags & RECORD_LATE) != 0)
            return record->event;
        break;
    default:
        break;
    }
    return (struct bytes){NULL, 0};
}

/* An event is known from its record on, whatever the order in which journals are read. */
static bool
name_event(struct work *work, const struct record *record)
{
    if (record->header->type == RECORD_EVENT_CREATED) {
        size_t size = (size_t)((const uint8_t *)record->header + record->header->size -
                               (const uint8_t *)record->settings);
        return record->settings->size <= size &&
               event_settings_sound(record->settings, record->settings->size) &&
               event_table_put(work->events, record->settings, record->header->time_ms) != NULL;
    }
    struct bytes id = named_event(record);
    if (id.size > 0 && event_table_find(work->events, id) == NULL)
        work->event_wanted = true;
    return true;
}

bool
work_ready(struct work *work)
{
    if (!work->event_wanted)
        return true;
    for (uint32_t i = 0; i < work->piece_count; i++) {
        const uint8_t *at = work->records + work->pieces[i].at;
        for (size_t left = work->pieces[i].size; left > 0;) {
            struct record record;
            bool sound = record_decode(at, left, &record);
            assert(sound); /* it was, in work_take() */
            struct bytes id = named_event(&record);
            if (id.size > 0 && event_table_find(work->events, id) == NULL)
                return false;
            at += record.header->size;
            left -= record.header->size;
        }
    }
    work->event_wanted = false;
    return true;
}

bool
work_take(struct work *work, const struct batch_header *batch)
{
    if (batch->records_size == 0)
        return true;
    size_t size = work->records_size + batch->records_size;
    if (size > work->records_capacity) {
        uint8_t *records = realloc(work->records, size * 2);
        if (records == NULL)
            return false;
        work->records = records;
        work->records_capacity = size * 2;
    }
    if (!room(work, &work->pieces, work->piece_count, &work->piece_capacity, sizeof work->pieces[0]))
        return false;
    uint8_t *at = work->records + work->records_size;
    memcpy(at, batch_records(batch), batch->records_size);
    work->pieces[work->piece_count++] =
        (struct work_piece){batch->epoch, batch->shard, work->records_size, batch->records_size};
    work->records_size = size;
    for (uint32_t left = batch->records_size; left > 0;) {
        struct record record;
        if (!record_decode(at, left, &record) || !name_event(work, &record) || !name_holds(work, &record))
            return false;
        if (record.header->time_ms > work->time_last_ms)
            work->time_last_ms = record.header->time_ms;
        work->counts.records++;
        at += record.header->size;
        left -= record.header->size;
    }
    return true;
}

/* ---- seats and tokens: one row each ---- */

static uint32_t
seat_slot(const struct work *work, const struct known_event *event, seat_ref ref)
{
    uint32_t mask = work->seat_slot_count - 1;
    uint32_t at = (uint32_t)route_hash_part(event->number, ref) & mask;
    while (work->seat_slots[at] != 0) {
        const struct seat_change *change = &work->seats[work->seat_slots[at] - 1];
        if (change->event == event && change->ref == ref)
            break;
        at = (at + 1) & mask;
    }
    return at;
}

static uint32_t
token_slot(const struct work *work, const struct uuid *id)
{
    uint32_t mask = work->token_slot_count - 1;
    uint32_t at = (uint32_t)uuid_hash(id) & mask;
    while (work->token_slots[at] != 0 && !uuid_equal(&work->tokens[work->token_slots[at] - 1].id, id))
        at = (at + 1) & mask;
    return at;
}

/* Slots for one more of `count`, at most half full. True: there are more of them, all free. */
static bool
more_slots(struct work *work, uint32_t **slots, uint32_t *slot_count, uint32_t count)
{
    if ((count + 1) * 2 <= *slot_count)
        return false;
    uint32_t grown = *slot_count == 0 ? 4096 : *slot_count * 2;
    uint32_t *memory = calloc(grown, sizeof memory[0]);
    if (memory == NULL) {
        work->failed = true;
        return false;
    }
    free(*slots);
    *slots = memory;
    *slot_count = grown;
    return true;
}

static void
change_seat(struct work *work, struct known_event *event, const struct record_seat *seat, uint32_t raise,
            enum seat_state state, const struct uuid *hold)
{
    if (more_slots(work, &work->seat_slots, &work->seat_slot_count, work->seat_count))
        for (uint32_t i = 0; i < work->seat_count; i++)
            work->seat_slots[seat_slot(work, work->seats[i].event, work->seats[i].ref)] = i + 1;
    if (work->failed ||
        !room(work, &work->seats, work->seat_count, &work->seat_capacity, sizeof work->seats[0]))
        return;
    uint32_t slot = seat_slot(work, event, seat->ref);
    if (work->seat_slots[slot] == 0) {
        work->seats[work->seat_count] = (struct seat_change){.event = event, .ref = seat->ref};
        work->seat_slots[slot] = ++work->seat_count;
    }
    struct seat_change *change = &work->seats[work->seat_slots[slot] - 1];
    if (seat->version + raise < change->version)
        return;
    change->version = seat->version + raise;
    change->state = state;
    change->hold = *hold;
}

static void
change_seats(struct work *work, const struct known_hold *hold, uint32_t raise, enum seat_state state)
{
    for (uint32_t i = 0; i < hold->seat_count; i++)
        change_seat(work, hold->event, &hold->seats[i], raise, state, &hold->id);
}

/* ---- publishing ---- */

static char *
payload_room(struct work *work, size_t size)
{
    if (work->payloads_size + size > work->payloads_capacity) {
        size_t capacity = (work->payloads_size + size) * 2;
        char *payloads = realloc(work->payloads, capacity);
        if (payloads == NULL) {
            work->failed = true;
            return NULL;
        }
        work->payloads = payloads;
        work->payloads_capacity = capacity;
    }
    return work->payloads + work->payloads_size;
}

/* The record that is being folded. */
struct folding {
    const struct work_piece *piece;
    const struct record *record;
    uint32_t index; /* of the next result */
};

/* A row whose payload is still to be written, behind the payloads. NULL: the work has failed. */
static struct published *
publish(struct work *work, struct folding *folding, enum published_type type, size_t payload_room_size)
{
    const struct record *record = folding->record;
    if (!room(work, &work->published, work->published_count, &work->published_capacity,
              sizeof work->published[0]) ||
        payload_room(work, payload_room_size) == NULL)
        return NULL;
    struct published *row = &work->published[work->published_count++];
    *row = (struct published){
        .id = published_id(work->route_seed, folding->piece->epoch, folding->piece->shard,
                           record->header->sequence, folding->index++, record->header->time_ms),
        .type = type,
        .shard = folding->piece->shard,
        .sequence = record->header->sequence,
        .time_ms = record->header->time_ms,
        .request_id = record->request_id,
        .payload = work->payloads_size,
    };
    return row;
}

static void
payload_end(struct work *work, struct published *row, const char *end)
{
    row->payload_size = (uint32_t)((size_t)(end - work->payloads) - row->payload);
    work->payloads_size += row->payload_size;
}

static void
publish_hold(struct work *work, struct folding *folding, enum published_type type,
             const struct known_hold *hold)
{
    struct published *row = publish(work, folding, type, HOLD_JSON_SIZE_MAX);
    if (row == NULL)
        return;
    struct hold_view view;
    hold_view_of(hold, &view);
    row->of = hold->id;
    row->trace = folding->record->hold.trace;
    payload_end(work, row, put_hold_json(work->payloads + row->payload, &view, OBJECT_PUBLISHED, 0));
}

static void
publish_token(struct work *work, struct folding *folding, enum published_type type,
              const struct token_change *token, uint64_t deadline_ms)
{
    struct published *row = publish(work, folding, type, TOKEN_JSON_SIZE_MAX);
    if (row == NULL)
        return;
    const struct token_view view = {
        .id = token->id,
        .event = token->event->settings,
        .user = token->user,
        .state = token->state,
        .deadline_ms = deadline_ms,
    };
    row->of = token->id;
    row->trace = folding->record->token.trace;
    payload_end(work, row, put_token_json(work->payloads + row->payload, &view, OBJECT_PUBLISHED, 0));
}

/* output->grow: the payloads' memory. */
static void
grow_payload(struct output *output, size_t size)
{
    struct work *work = output->owner;
    size_t written = (size_t)(output->data - (work->payloads + work->payloads_size));
    if (payload_room(work, written + size + OUTPUT_GROW_MAX) == NULL) {
        output->failed = true;
        return;
    }
    output->data = work->payloads + work->payloads_size + written;
    output->room = work->payloads_capacity - work->payloads_size - written;
}

static void
publish_event(struct work *work, struct folding *folding, enum published_type type,
              struct known_event *event)
{
    struct published *row = publish(work, folding, type, OUTPUT_GROW_MAX);
    if (row == NULL)
        return;
    row->event = event;
    row->trace = folding->record->event_trace;
    struct event_view view = {0};
    event_view_fill(&view, event->settings, row->time_ms);
    struct output output = {.data = work->payloads + row->payload,
                            .room = work->payloads_capacity - row->payload,
                            .owner = work,
                            .grow = grow_payload};
    output_event_json(&output, &view, OBJECT_PUBLISHED, row->time_ms);
    if (!output.failed)
        payload_end(work, row, output.data);
}

/* ---- folding ---- */

static void
contradiction(struct work *work)
{
    work->counts.contradictions++;
}

static struct known_hold *
get(struct work *work, const struct uuid *id)
{
    bool made;
    struct known_hold *hold = holds_get(work->holds, id, &made);
    if (hold == NULL)
        work->failed = true;
    return hold;
}

/* The hold leaves what it was in: released, expired, cancelled. */
static void
end_hold(struct work *work, struct folding *folding, struct known_hold *hold, enum hold_state state,
         enum published_type type)
{
    hold->state = (uint8_t)state;
    hold->ended_ms = folding->record->header->time_ms;
    hold->touched = true;
    change_seats(work, hold, 1, SEAT_FREE);
    publish_hold(work, folding, type, hold);
}

/* Gives a hold what a record tells in whole. */
static bool
fill_from(struct work *work, struct known_hold *hold, const struct record *record)
{
    struct known_event *event = event_table_find(work->events, record->event);
    if (event == NULL) {
        contradiction(work);
        return false;
    }
    if (!hold_fill(work->holds, hold, event, record->user, record->seats, record->hold.seat_count,
                   record->pools, record->hold.pool_count)) {
        work->failed = true;
        return false;
    }
    hold->deadline_ms = record->hold.deadline_ms;
    return true;
}

static void
fold_placed(struct work *work, struct folding *folding)
{
    const struct record *record = folding->record;
    if ((record->header->flags & RECORD_REPLACES) != 0) {
        struct known_hold *old = get(work, &record->hold.replaces);
        if (old != NULL && old->event != NULL && old->state == HOLD_HELD)
            end_hold(work, folding, old, HOLD_RELEASED, PUBLISHED_HOLD_RELEASED);
        else if (old != NULL)
            work->counts.unknown_holds++;
    }
    struct known_hold *hold = get(work, &record->hold.id);
    if (hold == NULL || !fill_from(work, hold, record))
        return;
    hold->state = HOLD_HELD;
    hold->ended_ms = 0;
    hold->touched = true;
    hold->fresh = true;
    hold->request_id = record->request_id;
    hold->payment_ref = (struct bytes){NULL, 0};
    hold->trace = record->hold.trace;
    change_seats(work, hold, 0, SEAT_HELD);
    publish_hold(work, folding, PUBLISHED_HOLD_PLACED, hold);
}

static void
confirm(struct work *work, struct folding *folding, struct known_hold *hold)
{
    hold->state = HOLD_CONFIRMED;
    hold->ended_ms = 0;
    hold->touched = true;
    hold->versions_moved = true;
    hold->payment_ref = folding->record->payment_ref;
    change_seats(work, hold, 0, SEAT_SOLD);
    publish_hold(work, folding, PUBLISHED_HOLD_CONFIRMED, hold);
}

/* The record tells the whole hold, and its new versions. Where it had been forgotten, it is new. */
static void
fold_late(struct work *work, struct folding *folding, struct known_hold *hold)
{
    bool fresh = hold->event == NULL || hold->fresh;
    uint64_t deadline_ms = hold->deadline_ms;
    if (!fill_from(work, hold, folding->record))
        return;
    hold->fresh = fresh;
    if (!fresh)
        hold->deadline_ms = deadline_ms;
    confirm(work, folding, hold);
}

static void
fold_hold(struct work *work, struct folding *folding)
{
    const struct record *record = folding->record;
    struct known_hold *hold = get(work, &record->hold.id);
    if (hold == NULL)
        return;
    if ((record->header->flags & RECORD_LATE) != 0) {
        fold_late(work, folding, hold);
        return;
    }
    if (hold->event == NULL) {
        work->counts.unknown_holds++;
        return;
    }
    uint8_t before = record->header->type == RECORD_HOLD_CANCELLED ? HOLD_CONFIRMED : HOLD_HELD;
    if (hold->state != before) {
        contradiction(work);
        return;
    }
    switch (record->header->type) {
    case RECORD_HOLD_CONFIRMED:
        for (uint32_t i = 0; i < hold->seat_count; i++)
            hold->seats[i].version++;
        confirm(work, folding, hold);
        break;
    case RECORD_HOLD_EXTENDED:
        hold->deadline_ms = record->hold.deadline_ms;
        hold->touched = true;
        publish_hold(work, folding, PUBLISHED_HOLD_EXTENDED, hold);
        break;
    case RECORD_HOLD_RELEASED:
        end_hold(work, folding, hold, HOLD_RELEASED, PUBLISHED_HOLD_RELEASED);
        break;
    case RECORD_HOLD_EXPIRED:
        end_hold(work, folding, hold, HOLD_EXPIRED, PUBLISHED_HOLD_EXPIRED);
        break;
    default:
        assert(record->header->type == RECORD_HOLD_CANCELLED);
        end_hold(work, folding, hold, HOLD_CANCELLED, PUBLISHED_HOLD_CANCELLED);
        break;
    }
}

static void
fold_token(struct work *work, struct folding *folding, enum published_type type)
{
    const struct record *record = folding->record;
    struct known_event *event = event_table_find(work->events, record->event);
    if (event == NULL) {
        contradiction(work);
        return;
    }
    if (more_slots(work, &work->token_slots, &work->token_slot_count, work->token_count))
        for (uint32_t i = 0; i < work->token_count; i++)
            work->token_slots[token_slot(work, &work->tokens[i].id)] = i + 1;
    if (work->failed ||
        !room(work, &work->tokens, work->token_count, &work->token_capacity, sizeof work->tokens[0]))
        return;
    uint32_t slot = token_slot(work, &record->token.id);
    if (work->token_slots[slot] == 0) {
        work->tokens[work->token_count] = (struct token_change){.id = record->token.id};
        work->token_slots[slot] = ++work->token_count;
    }
    struct token_change *token = &work->tokens[work->token_slots[slot] - 1];
    token->event = event;
    token->user = record->user;
    token->state = record->token.state;
    if (type == PUBLISHED_TOKEN_ACTIVATED)
        token->activated_ms = record->header->time_ms;
    if (type == PUBLISHED_TOKEN_ENDED)
        token->ended_ms = record->header->time_ms;
    publish_token(work, folding, type, token, record->token.deadline_ms);
}

static void
fold_event(struct work *work, struct folding *folding)
{
    const struct record *record = folding->record;
    struct known_event *event;
    bool created = record->header->type == RECORD_EVENT_CREATED;
    if (created) {
        event =
            event_table_find(work->events, (struct bytes){record->settings->id, record->settings->id_size});
        assert(event != NULL); /* since work_take() */
    } else {
        event = event_table_change(work->events, record);
        if (event == NULL)
            contradiction(work);
    }
    if (event == NULL)
        return;
    event->touched = true;
    work->events_changed = true;
    publish_event(work, folding, created ? PUBLISHED_EVENT_CREATED : PUBLISHED_EVENT_CHANGED, event);
}

static void
fold_record(struct work *work, struct folding *folding)
{
    switch (folding->record->header->type) {
    case RECORD_EVENT_CREATED:
    case RECORD_EVENT_CHANGED:
        fold_event(work, folding);
        break;
    case RECORD_HOLD_PLACED:
        fold_placed(work, folding);
        break;
    case RECORD_HOLD_CONFIRMED:
    case RECORD_HOLD_RELEASED:
    case RECORD_HOLD_EXPIRED:
    case RECORD_HOLD_EXTENDED:
    case RECORD_HOLD_CANCELLED:
        fold_hold(work, folding);
        break;
    case RECORD_TOKEN_JOINED:
        fold_token(work, folding, PUBLISHED_TOKEN_JOINED);
        break;
    case RECORD_TOKEN_ACTIVATED:
        fold_token(work, folding, PUBLISHED_TOKEN_ACTIVATED);
        break;
    case RECORD_TOKEN_ENDED:
        fold_token(work, folding, PUBLISHED_TOKEN_ENDED);
        break;
    default:
        break; /* answers to idempotency keys: nobody else's business */
    }
}

bool
work_fold(struct work *work)
{
    /* An event's record is in its owner's journal, its first hold may be in another one's that is read
     * first. */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < work->piece_count && !work->failed; i++) {
            const uint8_t *at = work->records + work->pieces[i].at;
            for (size_t left = work->pieces[i].size; left > 0 && !work->failed;) {
                struct record record;
                bool sound = record_decode(at, left, &record);
                assert(sound); /* it was, in work_take() */
                struct folding folding = {.piece = &work->pieces[i], .record = &record};
                bool event = record.header->type == RECORD_EVENT_CREATED ||
                             record.header->type == RECORD_EVENT_CHANGED;
                if (event == (pass == 0))
                    fold_record(work, &folding);
                at += record.header->size;
                left -= record.header->size;
            }
        }
    }
    return !work->failed;
}

void
work_put_seat(struct work *work, const struct seat_change *seat)
{
    if (room(work, &work->seats, work->seat_count, &work->seat_capacity, sizeof work->seats[0]))
        work->seats[work->seat_count++] = *seat;
}

void
work_put_token(struct work *work, const struct token_change *token)
{
    if (room(work, &work->tokens, work->token_count, &work->token_capacity, sizeof work->tokens[0]))
        work->tokens[work->token_count++] = *token;
}
