/*
 * look.c - counts of an event, letters of a section, figures of a section: each put together from one look
 * at every shard that owns a part.
 *
 * Sections are counted by the owners of their blocks, pools by the homes of the holds: what is held and
 * sold is known where it happened, and free is the rest of the capacity, so that capacity == free + held +
 * sold in every answer. Looks at different shards are not one instant: a unit that went back in one shard
 * and was taken in another between two looks would be counted twice, so what is held is cut to what the
 * capacity leaves.
 *
 * An answer with one shard is made in the shard's scratch; with several it is gathered in a slab, and where
 * that is used up the command waits for another one's end.
 */
#include "core/shard_internal.h"

#include <assert.h>

void
look_reply(struct shard *shard, const struct origin *origin, const struct reply *reply)
{
    uint64_t sequence = shard->sequence > shard->durable ? shard->sequence : 0;
    if (origin->shard == shard->settings.shard_index || sequence == 0) {
        reply_send(shard, origin, reply, sequence);
        return;
    }
    if (reply->kind == REPLY_HOLDS || reply->kind == REPLY_EVENT || !operation_room(shard, true)) {
        /* Too long to be kept until then: asked again when the records are on disk. */
        reply_when_durable(shard, origin, reply, sequence);
        return;
    }
    struct operation *op = operation_take(shard, origin, reply->command);
    op->sequence = sequence;
    op->replayed = reply->replayed;
    operation_decided(shard, op, reply);
}

bool
look_section_own(struct shard *shard, uint32_t from, const struct message_look *message,
                 struct message_looked *ret_answer)
{
    struct event *event = event_at(shard, message->event);
    ret_answer->header = (struct message_header){
        .type = MESSAGE_LOOKED, .operation = message->header.operation, .serial = message->header.serial};
    section_look_open(&ret_answer->look);
    section_look_add(shard, event, message->section, message->best_count, &ret_answer->look);
    if (!message->wait || ret_answer->look.reserved == 0)
        return true;
    struct message_look later = *message;
    later.wait = false;
    return !park_message(shard, from, &later, sizeof later);
}

/* ---- counts ---- */

uint32_t
count_own(struct shard *shard, const struct message_count *message, struct message_counted *ret_answer)
{
    struct event *event = event_at(shard, message->event);
    uint32_t at = 0;
    for (uint32_t i = 0; i < event->settings->section_count; i++, at++) {
        struct section_look look;
        section_look_open(&look);
        section_look_add(shard, event, i, 0, &look);
        ret_answer->units[at].held = look.held;
        ret_answer->units[at].sold = look.sold;
    }
    for (uint32_t i = 0; i < event->settings->pool_count; i++, at++) {
        ret_answer->units[at].held = event->pools[i].held;
        ret_answer->units[at].sold = event->pools[i].sold;
    }
    ret_answer->header = (struct message_header){
        .type = MESSAGE_COUNTED, .operation = message->header.operation, .serial = message->header.serial};
    return ((uint32_t)offsetof(struct message_counted, units) + at * (uint32_t)sizeof ret_answer->units[0] +
            7) &
           ~7u;
}

static void
count_add(const struct event *event, struct event_view *view, const struct message_counted *counted)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < event->settings->section_count; i++, at++) {
        view->sections[i].held += counted->units[at].held;
        view->sections[i].sold += counted->units[at].sold;
    }
    for (uint32_t i = 0; i < event->settings->pool_count; i++, at++) {
        view->pools[i].held += counted->units[at].held;
        view->pools[i].sold += counted->units[at].sold;
    }
}

/* All shards have been looked at: the settings are those of this moment. */
static void
view_close(const struct shard *shard, const struct event *event, struct event_view *view)
{
    event_view_fill(view, event->settings, shard->now_ms);
    for (uint32_t i = 0; i < event->settings->section_count; i++)
        unit_counts_close(&view->sections[i], &view->total);
    for (uint32_t i = 0; i < event->settings->pool_count; i++)
        unit_counts_close(&view->pools[i], &view->total);
}

static void
view_send(struct shard *shard, const struct origin *origin, const struct event_view *view)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_EVENT_GET);
    reply->kind = REPLY_EVENT;
    reply->event_view = view;
    reply_send(shard, origin, reply, 0);
}

struct operation *
gather_begin(struct shard *shard, const struct origin *origin, const struct command *c)
{
    bool room = true;
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        room &= message_room(shard, i);
    if (!room || !operation_room(shard, false)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return NULL;
    }
    uint32_t gather = SLAB_NONE;
    if (shard->settings.shard_count > 1 && (gather = slab_take(&shard->gathers)) == SLAB_NONE) {
        if (!park_command(shard, origin, c))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return NULL;
    }
    struct operation *op = operation_take(shard, origin, c->type);
    op->stage = STAGE_GATHER;
    op->gather = gather;
    return op;
}

/* This shard's counts, where the answer's are put together. */
static void
view_begin(struct shard *shard, const struct event *event, struct event_view *view)
{
    const struct message_count message = {.event = event->number};
    struct message_counted own;
    memset(view, 0, sizeof *view);
    (void)count_own(shard, &message, &own);
    count_add(event, view, &own);
}

static void
event_counted(struct shard *shard, struct operation *op, const struct event *event, struct event_view *view)
{
    view_close(shard, event, view);
    if (op->key_used) {
        keeper_counted(shard, op, view);
        return;
    }
    view_send(shard, &op->origin, view);
    operation_free(shard, op);
}

void
event_count(struct shard *shard, struct operation *op, const struct event *event)
{
    op->stage = STAGE_GATHER;
    op->event = event->number;
    if (shard->settings.shard_count == 1) {
        view_begin(shard, event, &shard->scratch.view);
        event_counted(shard, op, event, &shard->scratch.view);
        return;
    }
    struct gather *gather = slab_item(&shard->gathers, op->gather);
    view_begin(shard, event, &gather->view);
    struct message_count message = {
        .header = {.type = MESSAGE_COUNT, .operation = operation_slot(shard, op), .serial = op->serial},
        .event = event->number,
    };
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if (i == shard->settings.shard_index)
            continue;
        op->awaited++;
        message_send(shard, i, &message, sizeof message);
    }
}

void
command_event_get(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct event *event = NULL;
    assert(origin->shard == shard->settings.shard_index);
    if (c->event.size > 0)
        event = event_find(shard, c->event);
    else if (c->event_index < shard->events.shown)
        event = event_at(shard, shard->events.order[c->event_index]);
    if (event == NULL) {
        reply_noevent(shard, origin, c);
        return;
    }
    if (shard->settings.shard_count == 1) {
        struct event_view *view = &shard->scratch.view;
        view_begin(shard, event, view);
        view_close(shard, event, view);
        view_send(shard, origin, view);
        return;
    }
    struct operation *op = gather_begin(shard, origin, c);
    if (op != NULL)
        event_count(shard, op, event);
}

/* ---- maps ---- */

static void
map_send(struct shard *shard, const struct origin *origin, const struct map_view *map)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_SEATS);
    reply->kind = REPLY_MAP;
    reply->map = map;
    reply_send(shard, origin, reply, 0);
}

/* Rows of one piece: at least one, further ones while there is room. */
static void
map_open(const struct event *event, uint32_t section, uint32_t row_from, struct map_view *map,
         const char *letters)
{
    uint32_t rows = event_settings_sections(event->settings)[section].row_count;
    uint32_t count = 0;
    *map = (struct map_view){.event = event->settings,
                             .section = section,
                             .row_from = row_from,
                             .row_count = rows,
                             .letters = letters};
    map->row_to = row_from;
    while (map->row_to < rows && count < MAP_LETTERS)
        count += section_row_seats(event->settings, section, map->row_to++);
    assert(count <= MAP_LETTERS_MAX);
}

uint32_t
map_own(struct shard *shard, const struct message_map *message, struct message_mapped *ret_answer)
{
    const struct event *event = event_at(shard, message->event);
    uint32_t count =
        section_letters(event, message->section, message->row_from, message->row_to, ret_answer->letters);
    ret_answer->header = (struct message_header){
        .type = MESSAGE_MAPPED, .operation = message->header.operation, .serial = message->header.serial};
    return ((uint32_t)offsetof(struct message_mapped, letters) + count + 7) & ~7u;
}

/* Lays one owner's letters where its rows are. */
static void
map_add(const struct event *event, uint32_t owner, struct gather *gather, const char *letters)
{
    uint32_t at = 0;
    for (uint32_t row = gather->map.row_from; row < gather->map.row_to; row++) {
        uint32_t seats = section_row_seats(event->settings, gather->map.section, row);
        if (event_seat_owner(event, SEAT_REF(gather->map.section, row, 1)) == owner) {
            memcpy(gather->letters + at, letters, seats);
            letters += seats;
        }
        at += seats;
    }
}

void
command_seats(struct shard *shard, const struct origin *origin, const struct command *c)
{
    const struct event *event = event_find(shard, c->event);
    assert(origin->shard == shard->settings.shard_index);
    if (event == NULL) {
        reply_noevent(shard, origin, c);
        return;
    }
    int32_t section = event_section_find(event, c->section);
    if (section < 0 || c->row_from >= event_settings_sections(event->settings)[section].row_count) {
        struct reply *reply = reply_begin(shard, STATUS_NOSEAT, c->type);
        reply->figures = FIGURE_UNIT;
        reply->unit_size = (uint8_t)c->section.size;
        memcpy(reply->unit, c->section.data, c->section.size);
        reply_send(shard, origin, reply, 0);
        return;
    }
    if (shard->settings.shard_count == 1) {
        struct gather *scratch = &shard->scratch;
        map_open(event, (uint32_t)section, c->row_from, &scratch->map, scratch->letters);
        (void)section_letters(event, (uint32_t)section, c->row_from, scratch->map.row_to, scratch->letters);
        map_send(shard, origin, &scratch->map);
        return;
    }
    struct operation *op = gather_begin(shard, origin, c);
    if (op == NULL)
        return;
    struct gather *gather = slab_item(&shard->gathers, op->gather);
    op->event = event->number;
    map_open(event, (uint32_t)section, c->row_from, &gather->map, gather->letters);
    uint64_t owners = 0;
    for (uint32_t row = c->row_from; row < gather->map.row_to; row++)
        owners |= SHARD_BIT(event_seat_owner(event, SEAT_REF(section, row, 1)));
    if ((owners & SHARD_BIT(shard->settings.shard_index)) != 0) {
        (void)section_letters(event, (uint32_t)section, c->row_from, gather->map.row_to,
                              shard->scratch.letters);
        map_add(event, shard->settings.shard_index, gather, shard->scratch.letters);
        owners &= ~SHARD_BIT(shard->settings.shard_index);
    }
    struct message_map message = {
        .header = {.type = MESSAGE_MAP, .operation = operation_slot(shard, op), .serial = op->serial},
        .event = event->number,
        .section = (uint32_t)section,
        .row_from = c->row_from,
        .row_to = gather->map.row_to,
    };
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if ((owners & SHARD_BIT(i)) == 0)
            continue;
        op->awaited++;
        message_send(shard, i, &message, sizeof message);
    }
    if (op->awaited == 0) {
        map_send(shard, origin, &gather->map);
        operation_free(shard, op);
    }
}

void
look_answer(struct shard *shard, struct operation *op, uint32_t from, const struct message_header *header)
{
    const struct event *event = event_at(shard, op->event);
    struct gather *gather = slab_item(&shard->gathers, op->gather);
    assert(op->stage == STAGE_GATHER);
    if (header->type == MESSAGE_COUNTED) {
        count_add(event, &gather->view, (const struct message_counted *)header);
        if (op->awaited == 0)
            event_counted(shard, op, event, &gather->view);
    } else {
        assert(header->type == MESSAGE_MAPPED);
        map_add(event, from, gather, ((const struct message_mapped *)header)->letters);
        if (op->awaited > 0)
            return;
        map_send(shard, &op->origin, &gather->map);
        operation_free(shard, op);
    }
}
