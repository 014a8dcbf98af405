/*
 * replay.c - state from records (R1): the journals of homes are the truth, everything else is derived.
 *
 * Any shard count to any other: a record finds its home by the route in its id. Events come first, because
 * holds name them; then the holds of every journal, each journal in its order, older epochs first. Seats'
 * versions are raised by every record that names one; what is held and sold is derived at the end from the
 * holds that stand (shard_replay_done), and there R3 is asserted: no seat twice, no pool beyond its
 * capacity.
 */
#include "core/record.h"
#include "core/shard_internal.h"

#include <assert.h>

struct replay {
    struct shard *const *shards;
    uint32_t shard_count;
};

static struct shard *
home_of(const struct replay *replay, uint16_t route)
{
    return replay->shards[route_shard(route, replay->shard_count)];
}

static bool
replay_event_created(const struct replay *replay, const struct record *record)
{
    struct bytes id = {record->settings->id, record->settings->id_size};
    struct shard *owner = replay->shards[event_owner(replay->shards[0], id)];
    uint32_t number = event_number_free(owner);
    if (number == SLAB_NONE)
        return false;
    for (uint32_t i = 0; i < replay->shard_count; i++) {
        if (event_keep(replay->shards[i], number, record->settings) != STATUS_OK)
            return false;
        event_show(replay->shards[i], number);
    }
    return true;
}

static bool
replay_event_changed(const struct replay *replay, const struct record *record)
{
    const struct record_change *change = record->change;
    struct event *event = event_find(replay->shards[0], (struct bytes){change->event, change->event_size});
    if (event == NULL || change->pool_count != event->settings->pool_count)
        return false;
    struct message_event_apply message = {
        .event = event->number,
        .apply = EVENT_CHANGE,
        .status = change->status,
        .hold_seconds = change->hold_seconds,
        .units_per_user_max = change->units_per_user_max,
    };
    memcpy(message.capacities, record->capacities, change->pool_count * sizeof(uint32_t));
    for (uint32_t i = 0; i < replay->shard_count; i++)
        event_change_apply(replay->shards[i], &message);
    return true;
}

/* Every version a record names raises the seat's. */
static void
versions_note(const struct replay *replay, struct shard *home, struct hold *hold)
{
    const struct unit_line *lines = hold_lines(home, hold);
    const struct event *event = event_at(home, hold->event);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct shard *owner = replay->shards[event_seat_owner(event, lines[i].a)];
        if (!PLANTED(PLANT_VERSION_RESET))
            seat_restore(event_at(owner, hold->event), lines[i].a, HOLD_RELEASED, lines[i].b, SLAB_NONE, 0);
    }
}

/* Live -> ended or confirmed, with the books of this home's pools. */
static void
replay_leave(struct shard *home, uint32_t slot, enum hold_state state, uint64_t time_ms)
{
    struct hold *hold = hold_at(home, slot);
    const struct unit_line *lines = hold_lines(home, hold);
    struct event *event = event_at(home, hold->event);
    hold_leave_live(home, slot, state);
    hold->flags &= (uint8_t)~HOLD_RETURNING;
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        struct pool *pool = &event->pools[lines[i].b >> 26];
        pool->held -= lines[i].a;
        if (state == HOLD_CONFIRMED)
            pool->sold += lines[i].a;
    }
    if (state != HOLD_CONFIRMED) {
        hold->ended_ms = time_ms;
        hold_remember(home, slot);
    }
}

/* Makes the hold that a record tells in whole, held. SLAB_NONE: it does not fit this set of shards. */
static uint32_t
replay_make(const struct replay *replay, const struct record *record)
{
    struct shard *home = home_of(replay, uuid_route16(&record->hold.id));
    struct event *event = event_find(home, record->event);
    uint32_t line_count = (uint32_t)record->hold.seat_count + record->hold.pool_count;
    if (event == NULL || line_count == 0 || !hold_room(home, line_count, true))
        return SLAB_NONE;
    uint64_t hash = user_hash(home, record->user);
    uint32_t user = user_find(home, event->number, record->user, hash);
    if (user == SLAB_NONE)
        user = user_make(home, event->number, record->user, hash);
    uint32_t slot = slab_take(&home->holds);
    struct hold *hold = hold_at(home, slot);
    memset(hold, 0, sizeof *hold);
    hold->id = record->hold.id;
    hold->wheel.deadline_ms = record->hold.deadline_ms;
    hold->start_ms = record->hold.start_ms;
    hold->event = event->number;
    hold->user = user;
    hold->state = HOLD_HELD;
    hold->seat_count = record->hold.seat_count;
    hold->pool_count = record->hold.pool_count;
    if (line_count > HOLD_INLINE_UNITS)
        hold->units_more = slab_take(&home->units);
    struct unit_line *lines = hold_lines(home, hold);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct record_seat seat;
        memcpy(&seat, record->seats + i * sizeof seat, sizeof seat);
        lines[i] = (struct unit_line){seat.ref, seat.version};
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        struct record_pool pool;
        memcpy(&pool, record->pools + i * sizeof pool, sizeof pool);
        lines[hold->seat_count + i] = (struct unit_line){pool.quantity, pool.pool << 26 | LINE_NODE_NONE};
    }
    hold_link(home, slot);
    return slot;
}

static bool
replay_placed(const struct replay *replay, const struct record *record)
{
    struct shard *home = home_of(replay, uuid_route16(&record->hold.id));
    if ((record->header->flags & RECORD_REPLACES) != 0 && !PLANTED(PLANT_REPLACE_NOT_REPLAYED)) {
        uint32_t old = hold_find(home, &record->hold.replaces);
        if (old == SLAB_NONE || hold_at(home, old)->state != HOLD_HELD)
            return false;
        replay_leave(home, old, HOLD_RELEASED, record->header->time_ms);
        versions_note(replay, home, hold_at(home, old));
    }
    uint32_t slot = replay_make(replay, record);
    if (slot == SLAB_NONE)
        return false;
    versions_note(replay, home, hold_at(home, slot));
    return true;
}

static void
replay_late(struct shard *home, uint32_t slot, const struct record *record)
{
    struct hold *hold = hold_at(home, slot);
    struct unit_line *lines = hold_lines(home, hold);
    struct event *event = event_at(home, hold->event);
    assert(hold->state == HOLD_EXPIRED);
    assert(record->hold.seat_count == hold->seat_count);
    hold_unremember(home, slot);
    hold->state = HOLD_CONFIRMED;
    hold->ended_ms = 0;
    home->confirmed_count++;
    user_at(home, hold->user)->used += hold_units(home, hold);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct record_seat seat;
        memcpy(&seat, record->seats + i * sizeof seat, sizeof seat);
        lines[i].b = seat.version;
    }
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++)
        event->pools[lines[i].b >> 26].sold += lines[i].a;
}

static void
replay_cancelled(struct shard *home, uint32_t slot, uint64_t time_ms)
{
    struct hold *hold = hold_at(home, slot);
    const struct unit_line *lines = hold_lines(home, hold);
    struct event *event = event_at(home, hold->event);
    assert(hold->state == HOLD_CONFIRMED);
    user_at(home, hold->user)->used -= hold_units(home, hold);
    hold_raise_versions(home, hold);
    hold->state = HOLD_CANCELLED;
    hold->ended_ms = time_ms;
    home->confirmed_count--;
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++)
        event->pools[lines[i].b >> 26].sold -= lines[i].a;
    hold_remember(home, slot);
}

static void
replay_extended(struct shard *home, uint32_t slot, uint64_t deadline_ms)
{
    struct hold *hold = hold_at(home, slot);
    struct unit_line *lines = hold_lines(home, hold);
    wheel_remove(&home->wheel, slot);
    wheel_add(&home->wheel, slot, deadline_ms);
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        pool_line_remove(home, hold, &lines[i]);
        pool_line_add(home, slot, &lines[i], deadline_ms);
    }
}

/* What follows a hold's placing. A hold that memory bounds have made forgotten is passed over. */
static bool
replay_hold(const struct replay *replay, const struct record *record)
{
    struct shard *home = home_of(replay, uuid_route16(&record->hold.id));
    uint32_t slot = hold_find(home, &record->hold.id);
    uint64_t time_ms = record->header->time_ms;
    bool late = (record->header->flags & RECORD_LATE) != 0;
    if (slot == SLAB_NONE && late) {
        slot = replay_make(replay, record);
        if (slot == SLAB_NONE)
            return false;
        replay_leave(home, slot, HOLD_EXPIRED, time_ms);
    }
    if (slot == SLAB_NONE)
        return true;
    struct hold *hold = hold_at(home, slot);
    enum hold_state before = HOLD_HELD;
    if (late)
        before = HOLD_EXPIRED;
    else if (record->header->type == RECORD_HOLD_CANCELLED)
        before = HOLD_CONFIRMED;
    if (hold->state != before)
        return false;
    switch (record->header->type) {
    case RECORD_HOLD_CONFIRMED:
        if (late)
            replay_late(home, slot, record);
        else
            replay_leave(home, slot, HOLD_CONFIRMED, time_ms);
        break;
    case RECORD_HOLD_RELEASED:
        replay_leave(home, slot, HOLD_RELEASED, time_ms);
        break;
    case RECORD_HOLD_EXPIRED:
        replay_leave(home, slot, HOLD_EXPIRED, time_ms);
        break;
    case RECORD_HOLD_EXTENDED:
        replay_extended(home, slot, record->hold.deadline_ms);
        break;
    default:
        assert(record->header->type == RECORD_HOLD_CANCELLED);
        replay_cancelled(home, slot, time_ms);
        break;
    }
    versions_note(replay, home, hold);
    return true;
}

/* The answer that the key's command got, from the hold as the record left it. */
static void
replay_key(const struct replay *replay, const struct record *record)
{
    static const uint8_t commands[] = {
        [RECORD_HOLD_PLACED] = COMMAND_HOLD,      [RECORD_HOLD_CONFIRMED] = COMMAND_CONFIRM,
        [RECORD_HOLD_RELEASED] = COMMAND_RELEASE, [RECORD_HOLD_EXTENDED] = COMMAND_EXTEND,
        [RECORD_HOLD_CANCELLED] = COMMAND_CANCEL,
    };
    struct key_hash key = {record->key->key[0], record->key->key[1]};
    struct key_hash fingerprint = {record->key->fingerprint[0], record->key->fingerprint[1]};
    struct shard *home;
    struct reply *reply;
    if (record->header->type == RECORD_KEY_KEPT) {
        home = home_of(replay, record->key_kept.route);
        reply = reply_begin(home, STATUS_OK, 0);
        reply_unpack(record->reply, record->key_kept.reply_size, event_find_settings, home, reply);
    } else {
        home = home_of(replay, uuid_route16(&record->hold.id));
        uint32_t slot = hold_find(home, &record->hold.id);
        if (slot == SLAB_NONE)
            return;
        reply = reply_begin(home, STATUS_OK, commands[record->header->type]);
        reply->kind = REPLY_HOLD;
        reply->created = record->header->type == RECORD_HOLD_PLACED;
        hold_view_recorded(home, slot, &reply->hold);
    }
    key_remember(home, &key, &fingerprint, record->header->time_ms, reply);
}

static bool
replay_one(const struct replay *replay, enum replay_pass pass, const struct record *record)
{
    bool event =
        record->header->type == RECORD_EVENT_CREATED || record->header->type == RECORD_EVENT_CHANGED;
    bool ok = true;
    if (event != (pass == REPLAY_EVENTS))
        return true;
    switch (record->header->type) {
    case RECORD_EVENT_CREATED:
        ok = replay_event_created(replay, record);
        break;
    case RECORD_EVENT_CHANGED:
        ok = replay_event_changed(replay, record);
        break;
    case RECORD_HOLD_PLACED:
        ok = replay_placed(replay, record);
        break;
    case RECORD_KEY_KEPT:
        break;
    default:
        ok = replay_hold(replay, record);
        break;
    }
    if (ok && record->key != NULL)
        replay_key(replay, record);
    return ok;
}

bool
shard_replay(struct shard *const shards[], uint32_t shard_count, enum replay_pass pass,
             const uint8_t *records, size_t size)
{
    const struct replay replay = {shards, shard_count};
    while (size > 0) {
        struct record record;
        if (!record_decode(records, size, &record) || !replay_one(&replay, pass, &record))
            return false;
        records += record.header->size;
        size -= record.header->size;
    }
    return true;
}

void
shard_replay_done(struct shard *const shards[], uint32_t shard_count)
{
    for (uint32_t s = 0; s < shard_count; s++) {
        struct shard *home = shards[s];
        for (uint32_t slot = 0; slot < home->holds.fresh; slot++) {
            struct hold *hold = hold_at(home, slot);
            if (hold->state != HOLD_HELD && hold->state != HOLD_CONFIRMED)
                continue;
            const struct unit_line *lines = hold_lines(home, hold);
            const struct event *event = event_at(home, hold->event);
            for (uint32_t i = 0; i < hold->seat_count; i++) {
                struct shard *owner = shards[event_seat_owner(event, lines[i].a)];
                seat_restore(event_at(owner, hold->event), lines[i].a, hold->state, lines[i].b, slot,
                             hold->wheel.deadline_ms);
            }
        }
    }
    for (uint32_t i = 0; i < shards[0]->events.shown; i++) {
        uint32_t number = shards[0]->events.order[i];
        const struct event_settings *settings = event_at(shards[0], number)->settings;
        for (uint32_t pool = 0; pool < settings->pool_count; pool++)
            pool_restore(shards, shard_count, number, pool);
    }
}
