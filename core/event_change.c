/*
 * event_change.c - EVENT CREATE and EVENT SET, at the event's shard.
 *
 *     create   room in every shard (OFFER) ─▶ record ─▶ durable ─▶ everybody shows it (APPLY) ─▶ answer
 *                    └─ one has none: DROP everywhere, BUSY
 *     set      checks ─▶ record ─▶ durable ─▶ everybody changes it (APPLY) ─▶ answer
 *
 * A change of an event applies only when it is durable: otherwise a crash could keep holds of units that
 * the surviving settings do not have. A capacity that falls is the exception that proves it: the units are
 * taken out of sale before the record, and put back by nobody.
 *
 * One change of an event at a time: further ones wait.
 */
#include "core/shard_internal.h"

#include <assert.h>

static bool
room_everywhere(const struct shard *shard)
{
    bool room = operation_room(shard, false);
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        room &= message_room(shard, i);
    return room;
}

/* ---- create ---- */

/* The same settings again, apart from the status, which is not given when an event is made. */
static bool
same_settings(const struct event *event, const struct event_settings *settings)
{
    if (event->settings->size != settings->size)
        return false;
    struct event_settings fixed = *event->settings;
    fixed.status = settings->status;
    memcpy(fixed.lottery_seed, settings->lottery_seed, sizeof fixed.lottery_seed);
    return memcmp(&fixed, settings, sizeof fixed) == 0 &&
           memcmp(event->settings + 1, settings + 1, settings->size - sizeof fixed) == 0;
}

static void
apply_everywhere(struct shard *shard, struct operation *op, const struct message_event_apply *message)
{
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if (i == shard->settings.shard_index)
            continue;
        struct message_event_apply copy = *message;
        copy.header = (struct message_header){
            .type = MESSAGE_EVENT_APPLY, .operation = operation_slot(shard, op), .serial = op->serial};
        op->awaited++;
        message_send(shard, i, &copy, sizeof copy);
    }
    event_change_apply(shard, message);
}

static void
answer(struct shard *shard, struct operation *op, enum status status)
{
    struct reply *reply = reply_begin(shard, status, op->command);
    reply->created = status == STATUS_OK && op->command == COMMAND_EVENT_CREATE;
    reply_send(shard, &op->origin, reply, 0);
    operation_free(shard, op);
    shard->wake = true;
}

static void
create_record(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    op->sequence = record_event(shard, event->settings, op);
    record_promise(shard, op, 0);
    op->stage = STAGE_EVENT_APPLY;
    op->event_apply = EVENT_SHOW;
    operation_when_durable(shard, op);
}

static void
create_drop(struct shard *shard, struct operation *op)
{
    /* Those that had no room have nothing to drop: each knows for itself. */
    struct message_event_apply message = {.event = op->event, .apply = EVENT_DROP};
    op->stage = STAGE_EVENT_APPLY;
    op->event_apply = EVENT_DROP;
    apply_everywhere(shard, op, &message);
    if (op->awaited == 0)
        answer(shard, op, STATUS_BUSY);
}

/* Every shard has said whether it has room. */
static void
create_offered(struct shard *shard, struct operation *op)
{
    if (op->awaited > 0)
        return;
    if (op->refusal.status != STATUS_OK)
        create_drop(shard, op);
    else
        create_record(shard, op);
}

void
command_event_create(struct shard *shard, const struct origin *origin, const struct command *c)
{
    const struct event_settings *settings = c->settings;
    struct bytes id = {settings->id, settings->id_size};
    if (event_find_settings(shard, id) != NULL) {
        struct event *event = event_find(shard, id);
        if (event == NULL || event->busy) { /* being made or changed at this moment */
            if (!park_command(shard, origin, c))
                reply_status(shard, origin, c->type, STATUS_BUSY);
            return;
        }
        reply_status(shard, origin, c->type, same_settings(event, settings) ? STATUS_OK : STATUS_EXISTS);
        return;
    }
    uint32_t number = event_number_free(shard);
    if (shard->scarcity != SCARCE_NOT || !room_everywhere(shard) ||
        !record_room(shard, RECORD_AROUND + settings->size) || number == SLAB_NONE ||
        event_keep(shard, number, settings) != STATUS_OK) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct operation *op = operation_take(shard, origin, c->type);
    operation_meta(op, c);
    record_promise(shard, op, RECORD_AROUND + settings->size); /* made when all shards have answered */
    op->stage = STAGE_EVENT_OFFER;
    op->event = number;
    event_at(shard, number)->busy = true;
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if (i == shard->settings.shard_index)
            continue;
        struct message_event_offer offer = {
            .header = {.type = MESSAGE_EVENT_OFFER,
                       .operation = operation_slot(shard, op),
                       .serial = op->serial},
            .event = number,
            .settings = event_at(shard, number)->settings,
        };
        op->awaited++;
        message_send(shard, i, &offer, sizeof offer);
    }
    create_offered(shard, op);
}

/* ---- set ---- */

static void
refuse_field(struct shard *shard, const struct origin *origin, const char *field, const char *expected)
{
    struct reply *reply = reply_begin(shard, STATUS_BADREQUEST, COMMAND_EVENT_SET);
    reply->figures = FIGURE_FIELD;
    assert(strlen(field) < REPLY_FIELD_SIZE_MAX);
    assert(strlen(expected) < REPLY_EXPECTED_SIZE_MAX);
    memcpy(reply->field, field, strlen(field) + 1);
    memcpy(reply->expected, expected, strlen(expected) + 1);
    reply_send(shard, origin, reply, 0);
}

/* Checks everything; fills the message with the new settings. True: go on. */
static bool
set_check(struct shard *shard, const struct origin *origin, const struct command *c, struct event *event,
          struct message_event_apply *message)
{
    const struct event_change *change = c->change;
    *message = (struct message_event_apply){
        .event = event->number,
        .apply = EVENT_CHANGE,
        .status = change->has_status ? change->status : event->settings->status,
        .hold_seconds = change->has_hold_seconds ? change->hold_seconds : event->settings->hold_seconds,
        .units_per_user_max = change->has_units_per_user_max ? change->units_per_user_max
                                                             : event->settings->units_per_user_max,
        .queue_active_max =
            change->has_queue_active_max ? change->queue_active_max : event->settings->queue_active_max,
    };
    if (change->has_queue_active_max && event->settings->queue_active_max == 0) {
        refuse_field(shard, origin, "queue.active_max", "an event with a queue");
        return false;
    }
    if (message->hold_seconds > event->settings->hold_seconds_max) {
        refuse_field(shard, origin, "hold_seconds", "at most the event's hold_seconds_max");
        return false;
    }
    if (event->settings->status == EVENT_CLOSED && change->has_status && change->status != EVENT_CLOSED) {
        reply_status(shard, origin, c->type, STATUS_CLOSED);
        return false;
    }
    for (uint32_t i = 0; i < event->settings->pool_count; i++)
        message->capacities[i] = event_settings_pools(event->settings)[i].capacity;
    for (uint32_t i = 0; i < change->pool_count; i++) {
        int32_t pool = event_settings_find_pool(event->settings, change->pools[i].name);
        if (pool < 0) {
            struct reply *reply = reply_begin(shard, STATUS_NOPOOL, c->type);
            reply->figures = FIGURE_UNIT;
            reply->unit_size = (uint8_t)change->pools[i].name.size;
            memcpy(reply->unit, change->pools[i].name.data, change->pools[i].name.size);
            reply_send(shard, origin, reply, 0);
            return false;
        }
        message->capacities[pool] = change->pools[i].quantity;
    }
    return true;
}

/* A change of a capacity looks at exact figures only. False: answered, or parked until they are. */
static bool
set_capacities(struct shard *shard, const struct origin *origin, const struct command *c,
               struct event *event, const struct message_event_apply *message)
{
    bool exact = true;
    uint64_t units = 0;
    for (uint32_t i = 0; i < event->settings->pool_count; i++) {
        struct pool *pool = &event->pools[i];
        if (message->capacities[i] == event_settings_pools(event->settings)[i].capacity)
            continue;
        if (pool->mode == POOL_SLICED)
            pool_recall(shard, event, i);
        exact &= pool->mode == POOL_EXACT;
    }
    if (!exact) {
        if (!park_command(shard, origin, c))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return false;
    }
    for (uint32_t i = 0; i < event->settings->pool_count; i++) {
        uint32_t capacity = event_settings_pools(event->settings)[i].capacity;
        if (message->capacities[i] < capacity && !PLANTED(PLANT_CAPACITY_UNCHECKED) &&
            capacity - message->capacities[i] > event->pools[i].free) {
            refuse_field(shard, origin, "pools.capacity", "at least what is held and sold");
            return false;
        }
        units += message->capacities[i];
    }
    if (units == 0 && event->settings->section_count == 0) {
        refuse_field(shard, origin, "pools.capacity", "at least one seat or pool unit in all");
        return false;
    }
    return true;
}

void
command_event_set(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct event *event = event_find(shard, c->event);
    if (event == NULL) {
        reply_noevent(shard, origin, c);
        return;
    }
    if (!room_everywhere(shard)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    if (event->busy) {
        if (!park_command(shard, origin, c))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct message_event_apply message;
    if (!set_check(shard, origin, c, event, &message) || !set_capacities(shard, origin, c, event, &message))
        return;

    struct operation *op = operation_take(shard, origin, c->type);
    operation_meta(op, c);
    op->stage = STAGE_EVENT_APPLY;
    op->event = event->number;
    op->event_apply = EVENT_CHANGE;
    event->busy = true;
    /* Out of sale before the record; what is added comes with the record's durability. */
    for (uint32_t i = 0; i < event->settings->pool_count; i++) {
        uint32_t capacity = event_settings_pools(event->settings)[i].capacity;
        if (message.capacities[i] < capacity)
            event->pools[i].free -= capacity - message.capacities[i];
        event->pools[i].capacity_next = message.capacities[i];
    }
    event->status_next = (uint8_t)message.status;
    event->hold_seconds_next = message.hold_seconds;
    event->units_per_user_max_next = message.units_per_user_max;
    event->queue_active_max_next = message.queue_active_max;
    op->sequence = record_change(shard, event, op);
    operation_when_durable(shard, op);
}

/* ---- both ---- */

void
event_change_durable(struct shard *shard, struct operation *op)
{
    struct event *event = event_at(shard, op->event);
    struct message_event_apply message = {
        .event = op->event,
        .apply = op->event_apply,
        .status = event->status_next,
        .hold_seconds = event->hold_seconds_next,
        .units_per_user_max = event->units_per_user_max_next,
        .queue_active_max = event->queue_active_max_next,
    };
    if (op->event_apply == EVENT_CHANGE)
        for (uint32_t i = 0; i < event->settings->pool_count; i++)
            message.capacities[i] = event->pools[i].capacity_next;
    event->busy = false;
    apply_everywhere(shard, op, &message);
    if (op->awaited == 0)
        answer(shard, op, STATUS_OK);
}

/* A shard has answered an offer, or has applied. */
void
event_change_done(struct shard *shard, struct operation *op, uint32_t from, enum status status)
{
    (void)from;
    if (op->stage == STAGE_EVENT_OFFER) {
        if (status != STATUS_OK)
            op->refusal.status = status;
        create_offered(shard, op);
        return;
    }
    assert(op->stage == STAGE_EVENT_APPLY);
    if (op->awaited == 0)
        answer(shard, op, op->event_apply == EVENT_DROP ? STATUS_BUSY : STATUS_OK);
}

void
event_change_apply(struct shard *shard, const struct message_event_apply *message)
{
    if (message->apply == EVENT_DROP) {
        if (shard->events.by_number[message->event] != NULL)
            event_drop(shard, message->event);
        return;
    }
    if (message->apply == EVENT_SHOW) {
        event_show(shard, message->event);
        return;
    }
    struct event *event = event_at(shard, message->event);
    struct pool_settings *pools = event_pools_settings(event);
    event->settings->status = (uint8_t)message->status;
    event->settings->hold_seconds = message->hold_seconds;
    event->settings->units_per_user_max = message->units_per_user_max;
    event->settings->queue_active_max = message->queue_active_max;
    for (uint32_t i = 0; i < event->settings->pool_count; i++) {
        if (event->owner == shard->settings.shard_index && message->capacities[i] > pools[i].capacity)
            event->pools[i].free += message->capacities[i] - pools[i].capacity;
        pools[i].capacity = message->capacities[i];
    }
    if (event->queue != NULL)
        queue_changed(shard, event);
    shard->wake = true;
}
