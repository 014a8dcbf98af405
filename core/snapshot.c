/*
 * snapshot.c - a shard tells what it knows, a slice a tick, while it goes on working.
 *
 *     TELL        what was recorded before is done: its events are shown
 *     EVENTS      that this shard owns
 *     TOKENS      of the queues it owns
 *     ADMISSIONS  used up by confirms here, of which the queues' owners may not know
 *     HOLDS       that it is home of: slot by slot
 *     KEYS        answers it remembers, up to the newest when the stage begins
 *     BARRIER     to every other shard
 *     WAIT        for their barriers
 *     SEATS       versions of the seats it owns
 *
 * A slice is one instant: what it tells is the state after the shard's record shard_sequence(). Two slices
 * are two instants, and that does no harm (docs/journal-format.md, "A snapshot"): replay passes over what a
 * slice reflects already. What it must never do is to miss something that no record behind the snapshot's
 * position tells again:
 *
 *     - A hold that was forgotten before its slot's turn is missed rightly, whenever it ended; but its
 * seats' versions live on at the seats' owners. They were told before the hold could be forgotten, so
 * before this shard's barrier, and wait for it before SEATS.
 *     - A hold that comes into a slot whose turn has passed has its record behind the position.
 *     - An event whose record is before the position is shown when TELL ends (it is done when durable).
 *
 * A hold or token that is made while its slot's turn is still to come has its record behind the position,
 * too, and is not told (HOLD_NEW, TOKEN_NEW). It may stand where another one stood that came, went and was
 * forgotten since the beginning; replay makes that one, too, and with both of them there would be more than
 * ever stood at a time: where all others are taken, a start that does not fit (core.holds_max, users_max,
 * tokens_max).
 */
#include "core/record.h"
#include "core/shard_internal.h"

#include <assert.h>

#define HOLDS_PER_SLICE  2048 /* slots looked at, so that a slice is short also where most are free */
#define BLOCKS_PER_SLICE 256

static_assert(SNAPSHOT_SLICE_WANTED_MAX + sizeof(struct record_header) + EVENT_SETTINGS_SIZE_MAX + 8 <=
                  SNAPSHOT_SLICE_BYTES,
              "what begins before the slice is full fits");

struct slice {
    uint8_t *bytes;
    uint32_t size; /* of what stands there */
    uint32_t size_wanted;
    uint32_t count;
    uint32_t start; /* of the record being made */
};

static bool
slice_full(const struct slice *slice)
{
    return slice->size >= slice->size_wanted;
}

static void
put(struct slice *slice, const void *data, size_t size)
{
    if (size > 0)
        memcpy(slice->bytes + slice->size, data, size);
    slice->size += (uint32_t)size;
}

static void
put_begin(struct slice *slice, enum record_type type, uint8_t flags, uint64_t time_ms)
{
    struct record_header header = {.type = (uint8_t)type, .flags = flags, .time_ms = time_ms};
    slice->start = slice->size;
    put(slice, &header, sizeof header);
}

static void
put_end(struct slice *slice)
{
    while ((slice->size & 7) != 0)
        slice->bytes[slice->size++] = 0;
    uint32_t size = slice->size - slice->start;
    memcpy(slice->bytes + slice->start, &size, sizeof size);
    slice->count++;
    assert(slice->size <= SNAPSHOT_SLICE_BYTES);
}

void
shard_snapshot_begin(struct shard *shard, uint64_t generation)
{
    struct snapshot *snapshot = &shard->snapshot;
    assert(snapshot->stage == SNAPSHOT_NONE);
    assert(generation > snapshot->generation);
    snapshot->generation = generation;
    snapshot->sequence = shard->sequence;
    snapshot->stage = SNAPSHOT_TELL;
    snapshot->event = 0;
    snapshot->block = 0;
    snapshot->hold = 0;
    snapshot->token = 0;
    snapshot->admission = 0;
    snapshot->key = 0;
}

void
snapshot_barrier(struct shard *shard, uint32_t from, const struct message_barrier *message)
{
    assert(message->generation > shard->snapshot.barriers[from]);
    shard->snapshot.barriers[from] = message->generation;
}

/* What waits for durability is in the order of records: nothing from before is left. */
static bool
told(const struct shard *shard)
{
    const struct pending *next = &shard->pending[shard->pending_head % shard->pending_max];
    return shard->pending_head == shard->pending_tail || next->sequence > shard->snapshot.sequence;
}

static bool
send_barriers(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        if (!message_room(shard, i))
            return false;
    for (uint32_t i = 0; i < shard->settings.shard_count; i++) {
        if (i == shard->settings.shard_index)
            continue;
        struct message_barrier message = {.header = {.type = MESSAGE_BARRIER, .operation = SLAB_NONE},
                                          .generation = shard->snapshot.generation};
        message_send(shard, i, &message, sizeof message);
    }
    return true;
}

static bool
barriers_came(const struct shard *shard)
{
    if (PLANTED(PLANT_BARRIER_NOT_AWAITED))
        return true;
    for (uint32_t i = 0; i < shard->settings.shard_count; i++)
        if (i != shard->settings.shard_index && shard->snapshot.barriers[i] < shard->snapshot.generation)
            return false;
    return true;
}

/* True: all told. An event that is being changed is waited for: it is durable soon. */
static bool
tell_events(struct shard *shard, struct slice *slice)
{
    uint32_t *at = &shard->snapshot.event;
    for (; *at < shard->events.shown && !slice_full(slice); ++*at) {
        const struct event *event = event_at(shard, shard->events.order[*at]);
        if (event->owner != shard->settings.shard_index)
            continue;
        if (event->busy)
            return false;
        put_begin(slice, RECORD_EVENT_CREATED, 0, shard->now_ms);
        put(slice, event->settings, event->settings->size);
        put_end(slice);
    }
    return *at == shard->events.shown;
}

static void
tell_block(struct shard *shard, struct slice *slice, const struct event *event, const struct block *block)
{
    uint32_t any = 0;
    struct record_seats body = {
        .block = block->number,
        .seat_count = (uint16_t)block->seat_count,
        .event_size = event->settings->id_size,
    };
    for (uint32_t i = 0; i < block->seat_count; i++)
        any |= block->seats[i].version;
    if (any == 0 || PLANTED(PLANT_VERSIONS_NOT_KEPT))
        return;
    memcpy(body.event, event->settings->id, event->settings->id_size);
    put_begin(slice, RECORD_SEATS_KEPT, 0, shard->now_ms);
    put(slice, &body, sizeof body);
    for (uint32_t i = 0; i < block->seat_count; i++)
        put(slice, &block->seats[i].version, sizeof(uint32_t));
    put_end(slice);
}

static bool
tell_seats(struct shard *shard, struct slice *slice)
{
    struct snapshot *snapshot = &shard->snapshot;
    for (uint32_t steps = 0; steps < BLOCKS_PER_SLICE && !slice_full(slice); steps++) {
        if (snapshot->event == shard->events.shown)
            return true;
        const struct event *event = event_at(shard, shard->events.order[snapshot->event]);
        if (snapshot->block == event->own_block_count) {
            snapshot->event++;
            snapshot->block = 0;
            continue;
        }
        tell_block(shard, slice, event, &event->own_blocks[snapshot->block++]);
    }
    return false;
}

static void
tell_hold(struct shard *shard, struct slice *slice, struct hold *hold)
{
    const struct event_settings *settings = event_at(shard, hold->event)->settings;
    struct bytes user = user_name(shard, user_at(shard, hold->user));
    const struct unit_line *lines = hold_lines(shard, hold);
    struct record_hold body = {
        .id = hold->id,
        .deadline_ms = hold->wheel.deadline_ms,
        .start_ms = hold->start_ms,
        .event_size = settings->id_size,
        .user_size = (uint8_t)user.size,
        .seat_count = hold->seat_count,
        .pool_count = hold->pool_count,
    };
    struct record_kept kept = {.ended_ms = hold->ended_ms, .state = hold->state};
    put_begin(slice, RECORD_HOLD_KEPT, 0, shard->now_ms);
    put(slice, &body, sizeof body);
    put(slice, &kept, sizeof kept);
    put(slice, settings->id, settings->id_size);
    put(slice, user.data, user.size);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct record_seat seat = {lines[i].a, lines[i].b};
        put(slice, &seat, sizeof seat);
    }
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        struct record_pool pool = {lines[i].b >> 26, lines[i].a};
        put(slice, &pool, sizeof pool);
    }
    put_end(slice);
}

static bool
tell_holds(struct shard *shard, struct slice *slice)
{
    uint32_t *at = &shard->snapshot.hold;
    for (uint32_t steps = 0; steps < HOLDS_PER_SLICE && !slice_full(slice); steps++) {
        if (*at == shard->holds.fresh)
            return true;
        struct hold *hold = hold_at(shard, (*at)++);
        bool new = hold->state != 0 && (hold->flags & HOLD_NEW) != 0;
        hold->flags &= (uint8_t)~HOLD_NEW; /* for the next snapshot it is not */
        if (hold->state != 0 && !new)
            tell_hold(shard, slice, hold);
    }
    return false;
}

static void
tell_token(struct slice *slice, enum record_type type, const struct record_token *body, struct bytes event,
           struct bytes user, uint64_t now_ms)
{
    put_begin(slice, type, 0, now_ms);
    put(slice, body, sizeof *body);
    put(slice, event.data, event.size);
    put(slice, user.data, user.size);
    put_end(slice);
}

static bool
tell_tokens(struct shard *shard, struct slice *slice)
{
    struct record_token body;
    struct bytes event;
    struct bytes user;
    for (uint32_t steps = 0; steps < HOLDS_PER_SLICE && !slice_full(slice); steps++) {
        if (!token_kept_next(shard, &shard->snapshot.token, &body, &event, &user))
            return true;
        tell_token(slice, RECORD_TOKEN_KEPT, &body, event, user, shard->now_ms);
    }
    return false;
}

static bool
tell_admissions(struct shard *shard, struct slice *slice)
{
    struct admission_kept kept;
    while (!slice_full(slice)) {
        if (!admission_kept_next(shard, &shard->snapshot.admission, &kept))
            return true;
        const struct event_settings *settings = event_at(shard, kept.event)->settings;
        struct record_token body = {.id = kept.token,
                                    .state = TOKEN_DONE,
                                    .event_size = settings->id_size,
                                    .user_size = (uint8_t)kept.user.size};
        tell_token(slice, RECORD_ADMISSION_KEPT, &body, (struct bytes){settings->id, settings->id_size},
                   kept.user, shard->now_ms);
    }
    return false;
}

static bool
tell_keys(struct shard *shard, struct slice *slice)
{
    struct key_kept kept;
    if (PLANTED(PLANT_KEYS_NOT_IN_SNAPSHOT))
        return true;
    while (!slice_full(slice)) {
        if (!key_kept_next(shard, &shard->snapshot.key, shard->snapshot.key_end, &kept))
            return true;
        struct record_key_hashes hashes = {
            .key = {kept.key.low, kept.key.high},
            .fingerprint = {kept.fingerprint.low, kept.fingerprint.high},
        };
        struct record_key body = {.route = kept.route, .reply_size = kept.reply_size};
        put_begin(slice, RECORD_KEY_KEPT, RECORD_KEY, kept.time_ms);
        put(slice, &hashes, sizeof hashes);
        put(slice, &body, sizeof body);
        put(slice, kept.reply, kept.reply_size);
        put_end(slice);
    }
    return false;
}

uint32_t
shard_snapshot_slice(struct shard *shard, uint8_t *ret_records, uint32_t size, uint32_t *ret_record_count,
                     bool *ret_last)
{
    struct snapshot *snapshot = &shard->snapshot;
    struct slice slice = {.bytes = ret_records, .size_wanted = size};
    bool done = false;
    assert(snapshot->stage != SNAPSHOT_NONE);
    assert(size <= SNAPSHOT_SLICE_WANTED_MAX);
    assert(((uintptr_t)ret_records & 7) == 0);
    if (snapshot->stage == SNAPSHOT_TELL && told(shard))
        snapshot->stage = SNAPSHOT_EVENTS;
    if (snapshot->stage == SNAPSHOT_EVENTS && tell_events(shard, &slice))
        snapshot->stage = SNAPSHOT_TOKENS;
    if (snapshot->stage == SNAPSHOT_TOKENS && tell_tokens(shard, &slice))
        snapshot->stage = SNAPSHOT_ADMISSIONS;
    if (snapshot->stage == SNAPSHOT_ADMISSIONS && tell_admissions(shard, &slice))
        snapshot->stage = SNAPSHOT_HOLDS;
    if (snapshot->stage == SNAPSHOT_HOLDS && tell_holds(shard, &slice) && !slice_full(&slice)) {
        /* What is remembered from here on has its record behind what this slice, the first with keys,
         * reflects. */
        snapshot->stage = SNAPSHOT_KEYS;
        snapshot->key_end = shard->keys.head;
    }
    if (snapshot->stage == SNAPSHOT_KEYS && tell_keys(shard, &slice))
        snapshot->stage = SNAPSHOT_BARRIER;
    if (snapshot->stage == SNAPSHOT_BARRIER && send_barriers(shard))
        snapshot->stage = SNAPSHOT_WAIT;
    if (snapshot->stage == SNAPSHOT_WAIT && barriers_came(shard)) {
        snapshot->stage = SNAPSHOT_SEATS;
        snapshot->event = 0;
    }
    if (snapshot->stage == SNAPSHOT_SEATS && tell_seats(shard, &slice)) {
        snapshot->stage = SNAPSHOT_NONE;
        done = true;
    }
    *ret_record_count = slice.count;
    *ret_last = done;
    return slice.size;
}
