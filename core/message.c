/*
 * message.c - flattening of commands and replies, so that they can cross from shard to shard, and be kept
 * with a key (there they stand in the journal, too: record.h, KEY_KEPT).
 *
 * A packed hold (little pieces, no padding, little-endian):
 *
 *      0  uuid        id
 *     16  uint64      deadline_ms
 *     24  uint8       state, seat_count, pool_count, 0
 *     28  {uint32 ref, uint32 version}      for each seat
 *         {uint32 pool, uint32 quantity}    for each pool
 *
 * A packed event: what a change can alter, and counts; what is free follows, and the rest is in its
 * settings.
 *
 *      0  uint32      hold_seconds, units_per_user_max, queue_active_max
 *     12  uint8       status, seed_shown, section_count, pool_count
 *     16  {uint32 held, uint32 sold}                     for each section
 *         {uint32 capacity, uint32 held, uint32 sold}    for each pool
 */
#include "core/message.h"

#include <assert.h>

static_assert(HOLD_PACKED_MAX == 188, "as drawn above");

/* Appends a view's bytes behind the message and makes it an offset. */
static void
flatten_bytes(struct message_command *message, uint32_t *size, struct bytes *view)
{
    bytes_copy((char *)message + *size, *view);
    view->data = (const char *)(uintptr_t)*size;
    *size += view->size;
}

static void
unflatten_bytes(struct message_command *message, struct bytes *view)
{
    view->data = (const char *)message + (uintptr_t)view->data;
}

uint32_t
command_flatten(const struct command *command, struct message_command *ret_message)
{
    struct command *c = &ret_message->command;
    /* The texts begin behind the last seat in use. */
    uint32_t size = (uint32_t)(offsetof(struct message_command, command.seats) +
                               command->seat_count * sizeof command->seats[0]);
    memcpy(c, command, size - offsetof(struct message_command, command));
    flatten_bytes(ret_message, &size, &c->event);
    flatten_bytes(ret_message, &size, &c->user);
    flatten_bytes(ret_message, &size, &c->key);
    flatten_bytes(ret_message, &size, &c->caller);
    flatten_bytes(ret_message, &size, &c->request_id);
    flatten_bytes(ret_message, &size, &c->payment_ref);
    flatten_bytes(ret_message, &size, &c->section);
    for (uint32_t i = 0; i < c->seat_count; i++) {
        flatten_bytes(ret_message, &size, &c->seats[i].section);
        flatten_bytes(ret_message, &size, &c->seats[i].row);
    }
    for (uint32_t i = 0; i < c->pool_count; i++)
        flatten_bytes(ret_message, &size, &c->pools[i].name);
    size = (size + 7) & ~7u;
    assert(size <= COMMAND_FLAT_MAX);
    return size;
}

void
command_unflatten(struct message_command *message)
{
    struct command *c = &message->command;
    unflatten_bytes(message, &c->event);
    unflatten_bytes(message, &c->user);
    unflatten_bytes(message, &c->key);
    unflatten_bytes(message, &c->caller);
    unflatten_bytes(message, &c->request_id);
    unflatten_bytes(message, &c->payment_ref);
    unflatten_bytes(message, &c->section);
    for (uint32_t i = 0; i < c->seat_count; i++) {
        unflatten_bytes(message, &c->seats[i].section);
        unflatten_bytes(message, &c->seats[i].row);
    }
    for (uint32_t i = 0; i < c->pool_count; i++)
        unflatten_bytes(message, &c->pools[i].name);
}

uint32_t
hold_view_pack(const struct hold_view *view, uint8_t *ret_packed)
{
    uint8_t *at = ret_packed;
    memcpy(at, &view->id, 16);
    memcpy(at + 16, &view->deadline_ms, 8);
    at[24] = (uint8_t)view->state;
    at[25] = view->seat_count;
    at[26] = view->pool_count;
    at[27] = 0;
    bytes_copy(at + 28, (struct bytes){(const char *)view->seats, view->seat_count * 8u});
    at += 28 + view->seat_count * 8u;
    bytes_copy(at, (struct bytes){(const char *)view->pools, view->pool_count * 8u});
    return (uint32_t)(at - ret_packed) + view->pool_count * 8u;
}

static uint32_t
hold_view_unpack(const uint8_t *packed, struct hold_view *ret_view)
{
    memcpy(&ret_view->id, packed, 16);
    memcpy(&ret_view->deadline_ms, packed + 16, 8);
    ret_view->state = packed[24];
    ret_view->seat_count = packed[25];
    ret_view->pool_count = packed[26];
    assert(ret_view->seat_count <= HOLD_SEATS_MAX);
    assert(ret_view->pool_count <= HOLD_POOLS_MAX);
    bytes_copy(ret_view->seats, (struct bytes){(const char *)packed + 28, ret_view->seat_count * 8u});
    uint32_t size = 28 + ret_view->seat_count * 8u;
    bytes_copy(ret_view->pools, (struct bytes){(const char *)packed + size, ret_view->pool_count * 8u});
    return size + ret_view->pool_count * 8u;
}

bool
reply_next_hold(const struct reply *reply, struct bytes *cursor, struct hold_view *ret_view)
{
    if (cursor->data == NULL)
        *cursor = reply->holds;
    if (cursor->size == 0)
        return false;
    uint32_t size = hold_view_unpack((const uint8_t *)cursor->data, ret_view);
    assert(size <= cursor->size);
    ret_view->event = reply->event;
    ret_view->user = reply->user;
    cursor->data += size;
    cursor->size -= size;
    return true;
}

/* A token's view, without event and user. */
struct token_packed {
    struct uuid id;
    uint64_t position;
    uint64_t eta_ms;
    uint64_t poll_ms;
    uint64_t deadline_ms;
    uint8_t state;
    uint8_t chance_none;
    uint8_t zero[6];
};

static uint32_t
token_view_pack(const struct token_view *view, uint8_t *ret_packed)
{
    struct token_packed packed = {
        .id = view->id,
        .position = view->position,
        .eta_ms = view->eta_ms,
        .poll_ms = view->poll_ms,
        .deadline_ms = view->deadline_ms,
        .state = (uint8_t)view->state,
        .chance_none = view->chance_none,
    };
    memcpy(ret_packed, &packed, sizeof packed);
    return sizeof packed;
}

static uint32_t
token_view_unpack(const uint8_t *packed, struct token_view *ret_view)
{
    struct token_packed from;
    memcpy(&from, packed, sizeof from);
    ret_view->id = from.id;
    ret_view->position = from.position;
    ret_view->eta_ms = from.eta_ms;
    ret_view->poll_ms = from.poll_ms;
    ret_view->deadline_ms = from.deadline_ms;
    ret_view->state = from.state;
    ret_view->chance_none = from.chance_none != 0;
    return sizeof from;
}

struct event_packed {
    uint32_t hold_seconds;
    uint32_t units_per_user_max;
    uint32_t queue_active_max;
    uint8_t status;
    uint8_t seed_shown;
    uint8_t section_count;
    uint8_t pool_count;
};

static_assert(sizeof(struct event_packed) == 16, "as drawn above");
static_assert(SECTIONS_MAX <= UINT8_MAX, "section_count is a byte");
static_assert(POOLS_MAX <= UINT8_MAX, "pool_count is a byte");
static_assert((uint64_t)ROWS_MAX * ROW_SEATS_MAX <= UINT32_MAX, "seats of a section fit");

/* Numbers follow each other: appended, and taken off again. */
static uint8_t *
put_count(uint8_t *at, uint64_t count)
{
    uint32_t number = (uint32_t)count;
    assert(count <= UINT32_MAX);
    memcpy(at, &number, sizeof number);
    return at + sizeof number;
}

static const uint8_t *
take_count(const uint8_t *at, uint64_t *ret_count)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    *ret_count = number;
    return at + sizeof number;
}

static uint32_t
event_view_pack(const struct event_view *view, uint8_t *ret_packed)
{
    struct event_packed packed = {
        .hold_seconds = view->hold_seconds,
        .units_per_user_max = view->units_per_user_max,
        .queue_active_max = view->queue_active_max,
        .status = (uint8_t)view->status,
        .seed_shown = view->seed_shown,
        .section_count = (uint8_t)view->settings->section_count,
        .pool_count = (uint8_t)view->settings->pool_count,
    };
    uint8_t *at = ret_packed;
    memcpy(at, &packed, sizeof packed);
    at += sizeof packed;
    for (uint32_t i = 0; i < packed.section_count; i++) {
        at = put_count(at, view->sections[i].held);
        at = put_count(at, view->sections[i].sold);
    }
    for (uint32_t i = 0; i < packed.pool_count; i++) {
        at = put_count(at, view->pools[i].capacity);
        at = put_count(at, view->pools[i].held);
        at = put_count(at, view->pools[i].sold);
    }
    return (uint32_t)(at - ret_packed);
}

static uint32_t
event_view_unpack(const uint8_t *from, const struct event_settings *settings, struct event_view *ret_view)
{
    struct event_packed packed;
    const uint8_t *at = from;
    memcpy(&packed, at, sizeof packed);
    at += sizeof packed;
    assert(packed.section_count == settings->section_count);
    assert(packed.pool_count == settings->pool_count);
    memset(ret_view, 0, sizeof *ret_view);
    ret_view->settings = settings;
    ret_view->status = packed.status;
    ret_view->seed_shown = packed.seed_shown != 0;
    ret_view->hold_seconds = packed.hold_seconds;
    ret_view->units_per_user_max = packed.units_per_user_max;
    ret_view->queue_active_max = packed.queue_active_max;
    for (uint32_t i = 0; i < packed.section_count; i++) {
        struct unit_counts *counts = &ret_view->sections[i];
        counts->capacity = event_settings_sections(settings)[i].seat_count;
        at = take_count(at, &counts->held);
        at = take_count(at, &counts->sold);
        unit_counts_close(counts, &ret_view->total);
    }
    for (uint32_t i = 0; i < packed.pool_count; i++) {
        struct unit_counts *counts = &ret_view->pools[i];
        at = take_count(at, &counts->capacity);
        at = take_count(at, &counts->held);
        at = take_count(at, &counts->sold);
        unit_counts_close(counts, &ret_view->total);
    }
    return (uint32_t)(at - from);
}

/* The part of a reply that has a fixed size, as it is packed. */
struct reply_fixed {
    uint8_t status;
    uint8_t kind;
    uint8_t command;
    uint8_t created;
    uint8_t event_size;
    uint8_t user_size;
    uint16_t figures;
    uint32_t hold_count;
    uint32_t holds_size;
    uint32_t token_size; /* HOLDS: of the token's id */
    uint32_t zero;
    uint64_t used;
};

struct reply_figures {
    uint64_t remaining;
    uint64_t next_deadline_ms;
    uint64_t limit;
    uint64_t deadline_max_ms;
    uint64_t opens_at_ms;
    struct uuid own;
    uint32_t largest_run;
    uint8_t unit_size;
    char unit[UNIT_TEXT_SIZE_MAX];
    char field[REPLY_FIELD_SIZE_MAX];
    char expected[REPLY_EXPECTED_SIZE_MAX];
};

static_assert(sizeof(struct reply_fixed) + sizeof(struct reply_figures) + EVENT_ID_SIZE_MAX +
                      USER_ID_SIZE_MAX + HOLD_PACKED_MAX <=
                  REPLY_PACKED_MAX,
              "every reply but HOLDS and EVENT fits");
static_assert(sizeof(struct reply_fixed) + EVENT_ID_SIZE_MAX + sizeof(struct event_packed) +
                      SECTIONS_MAX * 8 + POOLS_MAX * 12 <=
                  REPLY_EVENT_PACKED_MAX,
              "an event fits");

uint32_t
reply_pack(const struct reply *reply, uint8_t *ret_packed)
{
    const struct event_settings *event = NULL;
    struct bytes user = {NULL, 0};
    if (reply->kind == REPLY_HOLD) {
        event = reply->hold.event;
        user = reply->hold.user;
    } else if (reply->kind == REPLY_HOLDS) {
        event = reply->event;
        user = reply->user;
    } else if (reply->kind == REPLY_TOKEN) {
        event = reply->token.event;
        user = reply->token.user;
    } else if (reply->kind == REPLY_EVENT) {
        event = reply->event_view->settings;
    } else {
        assert(reply->kind == REPLY_NONE);
    }
    struct reply_fixed fixed = {
        .status = (uint8_t)reply->status,
        .kind = (uint8_t)reply->kind,
        .command = (uint8_t)reply->command,
        .created = reply->created,
        .event_size = event == NULL ? 0 : event->id_size,
        .user_size = (uint8_t)user.size,
        .figures = reply->figures,
        .hold_count = reply->kind == REPLY_HOLDS ? reply->hold_count : 0,
        .holds_size = reply->kind == REPLY_HOLDS ? reply->holds.size : 0,
        .token_size = reply->kind == REPLY_HOLDS && reply->has_token ? sizeof reply->token_id : 0,
        .used = reply->used,
    };
    uint8_t *at = ret_packed;
    memcpy(at, &fixed, sizeof fixed);
    at += sizeof fixed;
    if (reply->figures != 0) {
        struct reply_figures figures;
        memset(&figures, 0, sizeof figures);
        figures.remaining = reply->remaining;
        figures.next_deadline_ms = reply->next_deadline_ms;
        figures.limit = reply->limit;
        figures.deadline_max_ms = reply->deadline_max_ms;
        figures.opens_at_ms = reply->opens_at_ms;
        figures.own = reply->own;
        figures.largest_run = reply->largest_run;
        if ((reply->figures & FIGURE_UNIT) != 0) {
            figures.unit_size = reply->unit_size;
            memcpy(figures.unit, reply->unit, reply->unit_size);
        }
        if ((reply->figures & FIGURE_FIELD) != 0) {
            memcpy(figures.field, reply->field, sizeof figures.field);
            memcpy(figures.expected, reply->expected, sizeof figures.expected);
        }
        memcpy(at, &figures, sizeof figures);
        at += sizeof figures;
    }
    if (event != NULL)
        bytes_copy(at, (struct bytes){event->id, fixed.event_size});
    at += fixed.event_size;
    bytes_copy(at, user);
    at += user.size;
    if (reply->kind == REPLY_HOLD)
        at += hold_view_pack(&reply->hold, at);
    if (reply->kind == REPLY_TOKEN)
        at += token_view_pack(&reply->token, at);
    if (reply->kind == REPLY_EVENT)
        at += event_view_pack(reply->event_view, at);
    if (reply->kind == REPLY_HOLDS && reply->has_token)
        memcpy(at, &reply->token_id, sizeof reply->token_id);
    at += fixed.token_size;
    if (fixed.holds_size > 0)
        memcpy(at, reply->holds.data, fixed.holds_size);
    at += fixed.holds_size;
    return (uint32_t)(at - ret_packed);
}

void
reply_unpack(const uint8_t *packed, uint32_t size, event_find_function *find, const void *context,
             struct event_view *view, struct reply *ret_reply)
{
    struct reply_fixed fixed;
    const uint8_t *at = packed;
    memcpy(&fixed, at, sizeof fixed);
    at += sizeof fixed;
    ret_reply->status = fixed.status;
    ret_reply->kind = fixed.kind;
    ret_reply->command = fixed.command;
    ret_reply->created = fixed.created != 0;
    ret_reply->replayed = false;
    ret_reply->figures = fixed.figures;
    ret_reply->used = fixed.used;
    if (fixed.figures != 0) {
        struct reply_figures figures;
        memcpy(&figures, at, sizeof figures);
        at += sizeof figures;
        ret_reply->remaining = figures.remaining;
        ret_reply->next_deadline_ms = figures.next_deadline_ms;
        ret_reply->limit = figures.limit;
        ret_reply->deadline_max_ms = figures.deadline_max_ms;
        ret_reply->opens_at_ms = figures.opens_at_ms;
        ret_reply->own = figures.own;
        ret_reply->largest_run = figures.largest_run;
        ret_reply->unit_size = figures.unit_size;
        memcpy(ret_reply->unit, figures.unit, sizeof figures.unit);
        memcpy(ret_reply->field, figures.field, sizeof figures.field);
        memcpy(ret_reply->expected, figures.expected, sizeof figures.expected);
    }
    struct bytes event_id = {(const char *)at, fixed.event_size};
    const struct event_settings *event = NULL;
    if (fixed.event_size > 0) {
        event = find(context, event_id);
        assert(event != NULL);
    }
    at += fixed.event_size;
    struct bytes user = {(const char *)at, fixed.user_size};
    at += fixed.user_size;
    if (ret_reply->kind == REPLY_HOLD) {
        at += hold_view_unpack(at, &ret_reply->hold);
        ret_reply->hold.event = event;
        ret_reply->hold.user = user;
    } else if (ret_reply->kind == REPLY_HOLDS) {
        ret_reply->event = event;
        ret_reply->user = user;
        ret_reply->hold_count = fixed.hold_count;
        ret_reply->has_token = fixed.token_size > 0;
        if (ret_reply->has_token)
            memcpy(&ret_reply->token_id, at, sizeof ret_reply->token_id);
        at += fixed.token_size;
        ret_reply->holds = (struct bytes){(const char *)at, fixed.holds_size};
        at += fixed.holds_size;
    } else if (ret_reply->kind == REPLY_TOKEN) {
        at += token_view_unpack(at, &ret_reply->token);
        ret_reply->token.event = event;
        ret_reply->token.user = user;
    } else if (ret_reply->kind == REPLY_EVENT) {
        assert(event != NULL);
        at += event_view_unpack(at, event, view);
        ret_reply->event_view = view;
    }
    assert((size_t)(at - packed) == size);
}
