/*
 * ahead.c - asks for the memory that a command will need, before the commands in front of it are executed.
 *
 * A hold touches places far apart: the user's bucket, the seat, its block, the bucket of the new hold.
 * Where ten million seats are on sale none of them is in a cache, and a command spends most of its time
 * waiting for them one after another. A host that has several commands at hand names them all first, so
 * that these waits overlap: with each other, and with the decoding of the commands behind.
 *
 * Changes nothing and promises nothing (R5): what is asked for in vain costs a little time. So a command
 * may be named that is then executed later, elsewhere or never.
 */
#include "core/shard_internal.h"

static bool
is_here(const struct shard *shard, uint16_t route)
{
    uint32_t count = shard->settings.shard_count;
    return count == 1 || route_shard(route, count) == shard->settings.shard_index;
}

static void
ahead_hold(struct shard *shard, const struct command *c, uint32_t ahead)
{
    const struct event *event = event_find(shard, c->event);
    uint64_t hash = user_hash(shard, c->user);
    uint16_t route = route16(hash);
    if (event == NULL || !is_here(shard, route))
        return;
    user_prefetch(shard, event->number, hash);
    struct uuid id =
        uuid_make(shard->now_ms, shard->settings.id_seed, shard->id_counter + 1 + ahead, route);
    index_prefetch(&shard->holds_index, uuid_hash(&id));
    for (uint32_t i = 0; i < c->seat_count; i++) {
        seat_ref ref;
        if (event_seat_find(event, &c->seats[i], &ref) &&
            event_seat_owner(event, ref) == shard->settings.shard_index)
            event_seat_prefetch(event, ref);
    }
}

void
shard_ahead(struct shard *shard, const struct command *command, uint32_t ahead)
{
    switch (command->type) {
    case COMMAND_HOLD:
        ahead_hold(shard, command, ahead);
        break;
    case COMMAND_CONFIRM:
    case COMMAND_EXTEND:
    case COMMAND_RELEASE:
    case COMMAND_CANCEL:
    case COMMAND_HOLD_GET:
        if (is_here(shard, uuid_route16(&command->hold)))
            index_prefetch(&shard->holds_index, uuid_hash(&command->hold));
        break;
    case COMMAND_HOLDS:
    case COMMAND_EVENT_CREATE:
    case COMMAND_EVENT_SET:
    case COMMAND_EVENT_GET:
    case COMMAND_SEATS:
        break; /* seldom, or too much work for one wait to matter */
    }
}
