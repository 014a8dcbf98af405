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

void
keeper_execute(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct key_hash key;
    struct key_hash fingerprint;
    if (key_answered(shard, origin, c, key_owner(c), &key, &fingerprint))
        return;
    if (!operation_room(shard, c->type == COMMAND_CANCEL || c->type == COMMAND_QUEUE_LEAVE)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct operation *op = operation_take(shard, origin, c->type);
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

/* The command was answered: a success is remembered, a refusal is passed on. */
void
keeper_answered(struct shard *shard, uint32_t slot, const struct reply *reply)
{
    struct operation *op = operation_at(shard, slot);
    assert(op->stage == STAGE_FORWARDED);
    key_under_way(shard, op, false);
    op->stage = STAGE_DECIDED;
    if (reply->status != STATUS_OK) {
        operation_finish_refused(shard, op, reply);
        return;
    }
    op->sequence = record_key(shard, op, reply);
    operation_decided(shard, op, reply);
}
