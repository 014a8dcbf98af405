/*
 * user.c - one user in one event: the units they have, their holds, and the operation that decides
 * something for them.
 *
 * A user's commands are serialised by `busy`: a command that has to wait for other shards makes its user
 * busy, and the user's next command stands behind it. So limits and idempotency keys are checked and
 * changed without anything in between, over holds and connections.
 *
 * An entry exists while the user has a hold that is remembered, or an operation under way.
 */
#include "core/shard_internal.h"

#include <assert.h>

uint64_t
user_hash(const struct shard *shard, struct bytes name)
{
    return route_hash(shard->settings.route_seed, name);
}

/* The table's hash of a user in an event; the route depends on the user alone. */
static uint64_t
entry_hash(uint64_t hash, uint32_t event)
{
    return hash ^ (event * (uint64_t)0x9e3779b97f4a7c15);
}

struct bytes
user_name(const struct shard *shard, const struct user *user)
{
    const char *name = user->name;
    if (user->name_size > USER_INLINE)
        name = slab_item(&shard->names, user->name_more);
    return (struct bytes){name, user->name_size};
}

void
user_prefetch(const struct shard *shard, uint32_t event, uint64_t hash)
{
    index_prefetch(&shard->users_index, entry_hash(hash, event));
}

void
user_prefetch_found(const struct shard *shard, uint32_t event, uint64_t hash)
{
    struct index_cursor cursor = index_find(&shard->users_index, entry_hash(hash, event));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE) {
        const char *user = (const char *)user_at(shard, slot);
        __builtin_prefetch(user, 1);
        __builtin_prefetch(user + sizeof(struct user) - 1, 1);
    }
}

uint32_t
user_find(const struct shard *shard, uint32_t event, struct bytes name, uint64_t hash)
{
    struct index_cursor cursor = index_find(&shard->users_index, entry_hash(hash, event));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE) {
        const struct user *user = user_at(shard, slot);
        if (user->event == event && bytes_equal(user_name(shard, user), name))
            return slot;
    }
    return SLAB_NONE;
}

bool
user_room(const struct shard *shard)
{
    return slab_left(&shard->users) > 0 && slab_left(&shard->names) > 0;
}

uint32_t
user_make(struct shard *shard, uint32_t event, struct bytes name, uint64_t hash)
{
    uint32_t slot = slab_take(&shard->users);
    assert(slot != SLAB_NONE);
    assert(name.size <= USER_ID_SIZE_MAX);
    struct user *user = user_at(shard, slot);
    user->event = event;
    user->used = 0;
    user->busy = SLAB_NONE;
    user->first_hold = SLAB_NONE;
    user->name_more = SLAB_NONE;
    user->name_size = (uint8_t)name.size;
    char *to = user->name;
    if (name.size > USER_INLINE) {
        user->name_more = slab_take(&shard->names);
        assert(user->name_more != SLAB_NONE);
        to = slab_item(&shard->names, user->name_more);
    }
    bytes_copy(to, name);
    index_add(&shard->users_index, entry_hash(hash, event), slot);
    return slot;
}

void
user_release(struct shard *shard, uint32_t slot)
{
    struct user *user = user_at(shard, slot);
    if (user->first_hold != SLAB_NONE || user->busy != SLAB_NONE)
        return;
    assert(user->used == 0);
    uint64_t hash = user_hash(shard, user_name(shard, user));
    index_remove(&shard->users_index, entry_hash(hash, user->event), slot);
    if (user->name_more != SLAB_NONE)
        slab_give(&shard->names, user->name_more);
    slab_give(&shard->users, slot);
}
