/*
 * key_keeper.c - idempotency keys of commands that are executed elsewhere than where their key lives.
 *
 * A key lives at the home of its owner. For HOLD, CONFIRM, EXTEND and RELEASE that is the shard that
 * executes them. JOIN is executed at the event's shard, and its key is the user's; EVENT CREATE, EVENT SET,
 * CANCEL and LEAVE name no user, so their keys belong to the caller (the API key's name; without keys, one
 * nameless caller). There the home keeps the key: it sends the command on without it, and remembers the
 * answer with a record of its own once the command has succeeded and is durable where it was executed:
 *
 *     home: key unknown ─▶ command without its key ─▶ its shard ─▶ answer ─▶ home: KEY_KEPT ─▶ durable ─▶
 * answer
 *
 * An event is answered as the change left it, also when the answer is repeated. So the home looks at it in
 * all shards, which show the change by then, before it records what it saw:
 *
 *     ... ─▶ answer ─▶ home: COUNT ─▶ every shard ─▶ COUNTED ─▶ home: KEY_KEPT ─▶ durable ─▶ answer
 *
 * All that this needs is taken before the command is sent on: a gather, and room for a longer record. Until
 * the answer is recorded the key is under way, and a second command with it waits.
 *
 * A crash between the two forgets a key that nobody was told of. That is harmless: each of these commands
 * says the same when it is repeated.
 */
#include "core/shard_internal.h"

#include <assert.h>

static_assert(CALLER_SIZE_MAX <= USER_ID_SIZE_MAX, "key_hash_make() takes a caller for a user");

bool
keeper_keyed(const struct command *c)
{
    if (c->key.size == 0)
        return false;
    switch (c->type) {
    case COMMAND_EVENT_CREATE:
    case COMMAND_EVENT_SET:
    case COMMAND_CANCEL:
    case COMMAND_QUEUE_JOIN:
    case COMMAND_QUEUE_LEAVE:
        return true;
    default:
        return false;
    }
}

static struct bytes
key_owner(const struct command *c)
{
    return c->type == COMMAND_QUEUE_JOIN ? c->user : c->caller;
}

uint32_t
keeper_home(const struct shard *shard, const struct command *c)
{
    return route_shard(route16(user_hash(shard, key_owner(c))), shard->settings.shard_count);
}

/* The event whose change is to be answered with the event itself; empty: none. */
static struct bytes
shown_event(const struct command *c)
{
    switch (c->type) {
    case COMMAND_EVENT_CREATE:
        return (struct bytes){c->settings->id, c->settings->id_size};
    case COMMAND_EVENT_SET:
        return c->event;
    default:
        return (struct bytes){NULL, 0};
    }
}

/* An operation with all that the answer will need; NULL: answered or parked. */
static struct operation *
keeper_begin(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct bytes event = shown_event(c);
    if (event.size == 0) {
        if (operation_room(shard, c->type == COMMAND_CANCEL || c->type == COMMAND_QUEUE_LEAVE))
            return operation_take(shard, origin, c->type);
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return NULL;
    }
    struct operation *op = gather_begin(shard, origin, c);
    if (op == NULL)
        return NULL;
    op->event_id_size = (uint8_t)event.size;
    bytes_copy(op->event_id, event);
    record_promise(shard, op, RECORD_AROUND + REPLY_EVENT_PACKED_MAX);
    return op;
}

void
keeper_execute(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct key_hash key;
    struct key_hash fingerprint;
    if (key_answered(shard, origin, c, key_owner(c), &key, &fingerprint))
        return;
    struct operation *op = keeper_begin(shard, origin, c);
    if (op == NULL)
        return;
    op->stage = STAGE_FORWARDED;
    op->key_used = 1;
    op->key = key;
    op->fingerprint = fingerprint;
    op->route = route16(user_hash(shard, key_owner(c)));
    key_under_way(shard, op, true);
    struct origin inner = {shard->settings.shard_index, 0, operation_slot(shard, op)};
    struct command bare = *c;
    bare.key.size = 0;
    command_execute(shard, &inner, &bare);
}

/* A success is remembered: durable, it is the answer, now and whenever the command is repeated. */
static void
keep(struct shard *shard, struct operation *op, const struct reply *reply)
{
    key_under_way(shard, op, false);
    op->sequence = record_key(shard, op, reply);
    operation_decided(shard, op, reply);
}

/* The command was answered: a refusal is passed on. */
void
keeper_answered(struct shard *shard, uint32_t slot, const struct reply *reply)
{
    struct operation *op = operation_at(shard, slot);
    assert(op->stage == STAGE_FORWARDED);
    if (reply->status != STATUS_OK) {
        key_under_way(shard, op, false);
        operation_finish_refused(shard, op, reply);
        return;
    }
    if (op->event_id_size == 0) {
        keep(shard, op, reply);
        return;
    }
    const struct event *event = event_find(shard, (struct bytes){op->event_id, op->event_id_size});
    assert(event != NULL); /* its shard has told this one of it before it answered */
    op->created = reply->created;
    event_count(shard, op, event);
}

void
keeper_counted(struct shard *shard, struct operation *op, const struct event_view *view)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, op->command);
    reply->kind = REPLY_EVENT;
    reply->created = op->created;
    reply->event_view = view;
    keep(shard, op, reply);
}
