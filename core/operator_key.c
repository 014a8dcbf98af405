/*
 * operator_key.c - idempotency keys of commands that name no user: EVENT CREATE, EVENT SET, CANCEL.
 *
 * Such a key belongs to the caller (the API key's name; without keys, one nameless caller), so it
 * lives at the caller's home, while the command is executed where the event or the hold is. The home
 * remembers the key with a record of its own once the command has succeeded and is durable there:
 *
 *     home: key unknown ─▶ command without its key ─▶ its shard ─▶ answer ─▶ home: KEY_KEPT ─▶ durable ─▶
 * answer
 *
 * A crash between the two forgets a key that nobody was told of. That is harmless: each of these commands
 * says the same when it is repeated. Two of one key at a time: the second waits for the first.
 */
#include "core/shard_internal.h"

#include <assert.h>

static_assert(CALLER_SIZE_MAX <= USER_ID_SIZE_MAX, "key_hash_make() takes a caller for a user");

bool
operator_keyed(const struct command *c)
{
    return c->key.size > 0 &&
           (c->type == COMMAND_EVENT_CREATE || c->type == COMMAND_EVENT_SET || c->type == COMMAND_CANCEL);
}

uint32_t
operator_home(const struct shard *shard, const struct command *c)
{
    return route_shard(route16(user_hash(shard, c->caller)), shard->settings.shard_count);
}

/* Is a command with this key under way? Operators' commands are few: a walk over the operations will do. */
static bool
under_way(const struct shard *shard, const struct key_hash *key)
{
    for (uint32_t slot = 0; slot < shard->operations.fresh; slot++) {
        const struct operation *op = operation_at(shard, slot);
        if (op->stage == STAGE_FORWARDED && op->key.low == key->low && op->key.high == key->high)
            return true;
    }
    return false;
}

void
operator_execute(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct key_hash key;
    struct key_hash fingerprint;
    if (key_answered(shard, origin, c, c->caller, &key, &fingerprint))
        return;
    if (under_way(shard, &key)) {
        if (!park_command(shard, origin, c))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    if (!operation_room(shard, c->type == COMMAND_CANCEL)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct operation *op = operation_take(shard, origin, c->type);
    op->stage = STAGE_FORWARDED;
    op->key_used = 1;
    op->key = key;
    op->fingerprint = fingerprint;
    op->route = route16(user_hash(shard, c->caller));
    struct origin inner = {shard->settings.shard_index, 0, operation_slot(shard, op)};
    struct command bare = *c;
    bare.key.size = 0;
    command_execute(shard, &inner, &bare);
}

/* The command was answered: a success is remembered, a refusal is passed on. */
void
operator_answered(struct shard *shard, uint32_t slot, const struct reply *reply)
{
    struct operation *op = operation_at(shard, slot);
    assert(op->stage == STAGE_FORWARDED);
    shard->wake = true;
    if (reply->status != STATUS_OK) {
        op->stage = STAGE_DECIDED;
        operation_finish_refused(shard, op, reply);
        return;
    }
    op->sequence = record_key(shard, op, reply);
    operation_decided(shard, op, reply);
}
