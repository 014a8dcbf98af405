/*
 * idempotency.c - the first answers to idempotency keys.
 *
 * A ring of bytes, oldest first: when it is full, or an answer older than key_ms, the oldest is forgotten.
 *
 *      0  key_hash    128-bit keyed hash of (user, key)
 *     16  key_hash    128-bit keyed hash of the decoded command
 *     32  uint64      when, in ms
 *     40  uint32      size of the entry, a multiple of KEY_ALIGN
 *     44  uint16      size of the packed reply; 0: a filler at the end of the ring, or forgotten
 *     46  uint16      route16 of the key's owner, for a start with another shard count
 *     48  reply
 *
 * A key whose command is not decided yet stands in an index of its own: another command with it waits.
 *
 * Keys and commands are told apart by 128 bits of XXH3 under the data directory's seed: two of a billion
 * keys share one with a probability of about 10^-21.
 */
#include "core/shard_internal.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define KEY_ALIGN 16

struct key_entry {
    struct key_hash key;
    struct key_hash fingerprint;
    uint64_t time_ms;
    uint32_t size;
    uint16_t reply_size;
    uint16_t route; /* route16 of the key's owner */
};

static_assert(sizeof(struct key_entry) == 48, "as drawn above");

void
keys_open(struct shard *shard, struct carve *carve)
{
    struct key_store *keys = &shard->keys;
    keys->size = shard->settings.key_bytes_max / KEY_ALIGN * KEY_ALIGN;
    keys->ring = carve_bytes(carve, keys->size);
    uint64_t count_max = keys->size / (sizeof(struct key_entry) + KEY_ALIGN) + 1;
    index_open(&keys->index, carve, count_max > (1u << 30) ? 1u << 30 : (uint32_t)count_max);
    index_open(&keys->under_way, carve, shard->settings.operations_max);
}

void
key_under_way(struct shard *shard, const struct operation *op, bool on)
{
    assert(op->key_used);
    if (on) {
        index_add(&shard->keys.under_way, op->key.low, operation_slot(shard, op));
        return;
    }
    index_remove(&shard->keys.under_way, op->key.low, operation_slot(shard, op));
    shard->wake = true; /* whoever waits for it looks again */
}

bool
key_is_under_way(const struct shard *shard, const struct key_hash *key)
{
    const struct key_store *keys = &shard->keys;
    if (keys->under_way.count == 0)
        return false;
    struct index_cursor cursor = index_find(&keys->under_way, key->low);
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE) {
        const struct operation *op = operation_at(shard, slot);
        if (op->key.low == key->low && op->key.high == key->high)
            return true;
    }
    return false;
}

static struct key_hash
hash_of(const struct shard *shard, const void *data, size_t size)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(data, size, shard->settings.route_seed);
    return (struct key_hash){.low = hash.low64, .high = hash.high64};
}

struct key_hash
key_hash_make(const struct shard *shard, struct bytes owner, struct bytes key)
{
    char text[1 + USER_ID_SIZE_MAX + KEY_SIZE_MAX];
    assert(owner.size <= USER_ID_SIZE_MAX);
    assert(key.size <= KEY_SIZE_MAX);
    text[0] = (char)owner.size;
    if (owner.size > 0)
        memcpy(text + 1, owner.data, owner.size);
    memcpy(text + 1 + owner.size, key.data, key.size);
    return hash_of(shard, text, 1 + owner.size + key.size);
}

/* A canonical run of bytes: each part with its size before it. */
struct canon {
    size_t size;
    char bytes[4096];
};

static void
canon_add(struct canon *canon, const void *data, uint32_t size)
{
    assert(canon->size + sizeof size + size <= sizeof canon->bytes);
    memcpy(canon->bytes + canon->size, &size, sizeof size);
    canon->size += sizeof size;
    if (size > 0)
        memcpy(canon->bytes + canon->size, data, size);
    canon->size += size;
}

static void
canon_number(struct canon *canon, uint64_t number)
{
    canon_add(canon, &number, sizeof number);
}

static void
canon_hold(struct canon *canon, const struct command *c)
{
    canon_number(canon, c->seconds);
    if (c->has_replaces)
        canon_add(canon, &c->replaces, sizeof c->replaces);
    canon_number(canon, c->seat_count);
    for (uint32_t i = 0; i < c->seat_count; i++) {
        canon_add(canon, c->seats[i].section.data, c->seats[i].section.size);
        canon_add(canon, c->seats[i].row.data, c->seats[i].row.size);
        canon_number(canon, c->seats[i].number);
    }
    canon_number(canon, c->pool_count);
    for (uint32_t i = 0; i < c->pool_count; i++) {
        canon_add(canon, c->pools[i].name.data, c->pools[i].name.size);
        canon_number(canon, c->pools[i].quantity);
    }
    canon_number(canon, c->best_count);
    if (c->best_count > 0)
        canon_add(canon, c->section.data, c->section.size);
}

static void
canon_change(struct canon *canon, const struct event_change *change)
{
    canon_number(canon, change->has_status ? 1 + (uint64_t)change->status : 0);
    canon_number(canon, change->has_hold_seconds ? 1 + (uint64_t)change->hold_seconds : 0);
    canon_number(canon, change->has_units_per_user_max ? 1 + (uint64_t)change->units_per_user_max : 0);
    canon_number(canon, change->has_queue_active_max ? 1 + (uint64_t)change->queue_active_max : 0);
    for (uint32_t i = 0; i < change->pool_count; i++) {
        canon_add(canon, change->pools[i].name.data, change->pools[i].name.size);
        canon_number(canon, change->pools[i].quantity);
    }
}

struct key_hash
command_fingerprint(const struct shard *shard, const struct command *c)
{
    struct canon canon;
    canon.size = 0;
    canon_number(&canon, c->type);
    switch (c->type) {
    case COMMAND_HOLD:
        canon_add(&canon, c->event.data, c->event.size);
        canon_add(&canon, c->user.data, c->user.size);
        canon_hold(&canon, c);
        break;
    case COMMAND_CONFIRM:
        canon_add(&canon, c->payment_ref.data, c->payment_ref.size);
        canon_number(&canon, c->late);
        canon_add(&canon, &c->hold, sizeof c->hold);
        break;
    case COMMAND_EXTEND:
        canon_number(&canon, c->seconds);
        canon_add(&canon, &c->hold, sizeof c->hold);
        break;
    case COMMAND_EVENT_CREATE: {
        /* the lottery's seed is drawn anew for each request */
        struct event_settings fixed = *c->settings;
        memset(fixed.lottery_seed, 0, sizeof fixed.lottery_seed);
        struct key_hash rest = hash_of(shard, c->settings + 1, c->settings->size - sizeof fixed);
        canon_add(&canon, &fixed, sizeof fixed);
        canon_add(&canon, &rest, sizeof rest);
        break;
    }
    case COMMAND_EVENT_SET:
        canon_add(&canon, c->event.data, c->event.size);
        canon_change(&canon, c->change);
        break;
    case COMMAND_QUEUE_JOIN:
        canon_add(&canon, c->event.data, c->event.size);
        canon_add(&canon, c->user.data, c->user.size);
        break;
    default:
        canon_add(&canon, &c->hold, sizeof c->hold);
        break;
    }
    return hash_of(shard, canon.bytes, canon.size);
}

static struct key_entry *
entry_at(const struct key_store *keys, uint64_t position)
{
    return (struct key_entry *)(keys->ring + position % keys->size);
}

/* Size of what stands at a position, and whether it is an answer: at the end of the ring a filler, for
 * whose fields there may be no room. */
static uint32_t
entry_size(const struct key_store *keys, uint64_t position, bool *ret_answer)
{
    uint64_t to_end = keys->size - position % keys->size;
    if (to_end < sizeof(struct key_entry)) {
        *ret_answer = false;
        return (uint32_t)to_end;
    }
    *ret_answer = entry_at(keys, position)->reply_size > 0;
    return entry_at(keys, position)->size;
}

static uint32_t
entry_item(const struct key_store *keys, uint64_t position)
{
    return (uint32_t)(position % keys->size / KEY_ALIGN);
}

const uint8_t *
key_find(const struct shard *shard, const struct key_hash *key, const struct key_hash *fingerprint,
         bool *ret_same, uint32_t *ret_size, uint64_t *ret_time_ms)
{
    const struct key_store *keys = &shard->keys;
    struct index_cursor cursor = index_find(&keys->index, key->low);
    uint32_t item;
    while ((item = index_next(&cursor)) != SLAB_NONE) {
        const struct key_entry *entry = (const struct key_entry *)(keys->ring + (uint64_t)item * KEY_ALIGN);
        if (entry->key.low != key->low || entry->key.high != key->high)
            continue;
        if (entry->time_ms + shard->settings.key_ms <= shard->now_ms)
            return NULL;
        *ret_same =
            entry->fingerprint.low == fingerprint->low && entry->fingerprint.high == fingerprint->high;
        *ret_size = entry->reply_size;
        *ret_time_ms = entry->time_ms;
        return (const uint8_t *)(entry + 1);
    }
    return NULL;
}

static void
forget_oldest(struct key_store *keys)
{
    bool answer;
    uint32_t size = entry_size(keys, keys->tail, &answer);
    if (answer) {
        index_remove(&keys->index, entry_at(keys, keys->tail)->key.low, entry_item(keys, keys->tail));
        keys->count--;
    }
    keys->tail += size;
    assert(keys->tail <= keys->head);
}

static void
make_room(struct key_store *keys, uint32_t size)
{
    while (keys->head + size - keys->tail > keys->size)
        forget_oldest(keys);
}

/* An answer that is not remembered any more, because its key has expired, makes way for the new one. */
static void
forget_same(struct shard *shard, const struct key_hash *key)
{
    struct key_store *keys = &shard->keys;
    struct index_cursor cursor = index_find(&keys->index, key->low);
    uint32_t item;
    while ((item = index_next(&cursor)) != SLAB_NONE) {
        struct key_entry *entry = (struct key_entry *)(keys->ring + (uint64_t)item * KEY_ALIGN);
        if (entry->key.low == key->low && entry->key.high == key->high) {
            index_remove(&keys->index, key->low, item);
            entry->reply_size = 0;
            keys->count--;
            return;
        }
    }
}

void
key_remember(struct shard *shard, const struct key_hash *key, const struct key_hash *fingerprint,
             uint16_t route, uint64_t time_ms, const struct reply *reply)
{
    uint8_t packed[REPLY_EVENT_PACKED_MAX];
    uint32_t packed_size = reply_pack(reply, packed);
    key_remember_packed(shard, key, fingerprint, route, time_ms, packed, packed_size);
}

void
key_remember_packed(struct shard *shard, const struct key_hash *key, const struct key_hash *fingerprint,
                    uint16_t route, uint64_t time_ms, const uint8_t *packed, uint32_t reply_size)
{
    struct key_store *keys = &shard->keys;
    uint32_t size =
        (uint32_t)(sizeof(struct key_entry) + reply_size + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
    assert(reply_size <= UINT16_MAX);
    forget_same(shard, key);
    if (size > keys->size / 2)
        return; /* the bound is so small that nothing is kept */
    uint64_t to_end = keys->size - keys->head % keys->size;
    if (to_end < size) {
        make_room(keys, (uint32_t)to_end);
        if (to_end >= sizeof(struct key_entry)) {
            struct key_entry *filler = entry_at(keys, keys->head);
            filler->size = (uint32_t)to_end;
            filler->reply_size = 0;
        }
        keys->head += to_end;
    }
    make_room(keys, size);
    struct key_entry *entry = entry_at(keys, keys->head);
    entry->key = *key;
    entry->fingerprint = *fingerprint;
    entry->time_ms = time_ms;
    entry->size = size;
    entry->reply_size = (uint16_t)reply_size;
    entry->route = route;
    memcpy(entry + 1, packed, reply_size);
    index_add(&keys->index, key->low, entry_item(keys, keys->head));
    keys->head += size;
    keys->count++;
}

bool
key_kept_next(const struct shard *shard, uint64_t *position, uint64_t end, struct key_kept *ret_kept)
{
    const struct key_store *keys = &shard->keys;
    if (*position < keys->tail)
        *position = keys->tail; /* forgotten meanwhile */
    while (*position < end) {
        bool answer;
        uint64_t at = *position;
        *position += entry_size(keys, at, &answer);
        if (!answer)
            continue;
        const struct key_entry *entry = entry_at(keys, at);
        *ret_kept = (struct key_kept){
            .key = entry->key,
            .fingerprint = entry->fingerprint,
            .time_ms = entry->time_ms,
            .route = entry->route,
            .reply_size = entry->reply_size,
            .reply = (const uint8_t *)(entry + 1),
        };
        return true;
    }
    return false;
}

void
keys_forget_old(struct shard *shard, uint32_t budget)
{
    struct key_store *keys = &shard->keys;
    for (; budget > 0 && keys->tail < keys->head; budget--) {
        bool answer;
        (void)entry_size(keys, keys->tail, &answer);
        if (answer && entry_at(keys, keys->tail)->time_ms + shard->settings.key_ms > shard->now_ms)
            break;
        forget_oldest(keys);
    }
}

void
keys_check(const struct shard *shard)
{
    const struct key_store *keys = &shard->keys;
    uint32_t count = 0;
    assert(keys->head - keys->tail <= keys->size);
    uint32_t size;
    for (uint64_t at = keys->tail; at < keys->head; at += size) {
        bool answer;
        size = entry_size(keys, at, &answer);
        assert(size >= KEY_ALIGN);
        assert(size % KEY_ALIGN == 0);
        count += answer;
    }
    assert(count == keys->count);
    assert(count == keys->index.count);
    index_check(&keys->under_way);
}
