/*
 * replay.c - state from records (R1): the journals of homes are the truth, everything else is derived.
 *
 * Any shard count to any other: a record finds its home by the route in its id. Events come first, because
 * holds name them; then the holds: each home takes its own, of a snapshot's parts first, then of the
 * journals, older epochs first. Seats' versions are raised by every record that names one; what is held and
 * sold is derived at the end from the holds that stand (replay_settle), and there R3 is asserted: no seat
 * twice, no pool beyond its capacity.
 *
 * A snapshot is not one instant: each slice tells things as they are after some record. For a hold that a
 * slice told, the journal's records up to there are passed over (hold_marks); for the keys of a part, those
 * up to its first slice with keys (key_marks). A hold that the snapshot does not have was forgotten before
 * its turn, or comes in a later record: what the journal says of it applies as it is.
 *
 * Homes may be replayed in parallel: each touches its own shard, and of the others only the versions of
 * seats, which are raised atomically.
 */
#include "core/record.h"
#include "core/shard_internal.h"

#include <assert.h>

static struct shard *
home_shard(const struct replay *replay)
{
    return replay->shards[replay->home];
}

static bool
is_home(const struct replay *replay, uint16_t route)
{
    return route_shard(route, replay->shard_count) == replay->home;
}

uint64_t
shard_hold_slots(const struct shard *shard)
{
    return shard->settings.holds_max;
}

uint64_t
shard_token_slots(const struct shard *shard)
{
    return shard->settings.tokens_max;
}

bool
replay_concerns(uint32_t home, uint32_t shard_count, uint32_t writer, uint32_t writer_count)
{
    /* route_shard() gives each shard one run of routes: do the runs [i/n, (i+1)/n) overlap? */
    return (uint64_t)home * writer_count < (uint64_t)(writer + 1) * shard_count &&
           (uint64_t)writer * shard_count < (uint64_t)(home + 1) * writer_count;
}

/* The snapshot tells this hold as it is after this record, or a later one. */
static bool
reflected(const struct replay *replay, const struct replay_source *source, uint32_t slot, uint64_t sequence)
{
    return !PLANTED(PLANT_MARKS_IGNORED) && source->kind == REPLAY_BEHIND && replay->hold_marks != NULL &&
           replay->hold_marks[slot] >= sequence;
}

static void
mark(struct replay *replay, uint32_t slot, uint64_t sequence)
{
    if (replay->hold_marks != NULL)
        replay->hold_marks[slot] = sequence;
}

static enum replay_result
replay_event_created(const struct replay *replay, const struct record *record)
{
    struct bytes id = {record->settings->id, record->settings->id_size};
    if (event_find(replay->shards[0], id) != NULL)
        return REPLAY_OK; /* the snapshot has it */
    struct shard *owner = replay->shards[event_owner(replay->shards[0], id)];
    uint32_t number = event_number_free(owner);
    if (number == SLAB_NONE)
        return REPLAY_FULL;
    for (uint32_t i = 0; i < replay->shard_count; i++) {
        if (event_keep(replay->shards[i], number, record->settings) != STATUS_OK)
            return REPLAY_FULL;
        event_show(replay->shards[i], number);
    }
    return REPLAY_OK;
}

/* A change that the snapshot has already is followed by those that came after it: the last one stands. */
static enum replay_result
replay_event_changed(const struct replay *replay, const struct record *record)
{
    const struct record_change *change = record->change;
    struct event *event = event_find(replay->shards[0], (struct bytes){change->event, change->event_size});
    if (event == NULL || change->pool_count != event->settings->pool_count)
        return REPLAY_CONTRADICTS;
    struct message_event_apply message = {
        .event = event->number,
        .apply = EVENT_CHANGE,
        .status = change->status,
        .hold_seconds = change->hold_seconds,
        .units_per_user_max = change->units_per_user_max,
        .queue_active_max = change->queue_active_max,
    };
    memcpy(message.capacities, record->capacities, change->pool_count * sizeof(uint32_t));
    for (uint32_t i = 0; i < replay->shard_count; i++)
        event_change_apply(replay->shards[i], &message);
    return REPLAY_OK;
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
            seat_version_note(event_at(owner, hold->event), lines[i].a, lines[i].b);
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

/* Makes the hold that a record tells in whole, held. */
static enum replay_result
replay_make(struct replay *replay, const struct record *record, uint32_t *ret_slot)
{
    struct shard *home = home_shard(replay);
    struct event *event = event_find(home, record->event);
    uint32_t line_count = (uint32_t)record->hold.seat_count + record->hold.pool_count;
    if (event == NULL || line_count == 0)
        return REPLAY_CONTRADICTS;
    uint64_t hash = user_hash(home, record->user);
    bool known = user_find(home, event->number, record->user, hash) != SLAB_NONE; /* wants no room then */
    if (!hold_room(home, line_count, !known))
        return REPLAY_FULL;
    uint32_t user = user_find(home, event->number, record->user, hash); /* may have been forgotten for it */
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
    mark(replay, slot, 0);
    *ret_slot = slot;
    return REPLAY_OK;
}

static enum replay_result
replay_replaced(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    struct shard *home = home_shard(replay);
    uint32_t old = hold_find(home, &record->hold.replaces);
    if (old == SLAB_NONE && source->kind == REPLAY_BEHIND)
        return REPLAY_OK; /* forgotten before the snapshot came to it */
    if (old != SLAB_NONE && reflected(replay, source, old, record->header->sequence))
        return REPLAY_OK;
    if (old == SLAB_NONE || hold_at(home, old)->state != HOLD_HELD)
        return REPLAY_CONTRADICTS;
    replay_leave(home, old, HOLD_RELEASED, record->header->time_ms);
    versions_note(replay, home, hold_at(home, old));
    return REPLAY_OK;
}

static enum replay_result
replay_placed(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    struct shard *home = home_shard(replay);
    enum replay_result result = REPLAY_OK;
    if ((record->header->flags & RECORD_REPLACES) != 0 && !PLANTED(PLANT_REPLACE_NOT_REPLAYED))
        result = replay_replaced(replay, source, record);
    uint32_t slot = hold_find(home, &record->hold.id);
    if (result != REPLAY_OK ||
        (slot != SLAB_NONE && reflected(replay, source, slot, record->header->sequence)))
        return result;
    if (slot != SLAB_NONE)
        return REPLAY_CONTRADICTS;
    result = replay_make(replay, record, &slot);
    if (result == REPLAY_OK)
        versions_note(replay, home, hold_at(home, slot));
    return result;
}

/* A hold as a snapshot's slice found it. */
static enum replay_result
replay_kept(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    struct shard *home = home_shard(replay);
    uint32_t slot;
    if (hold_find(home, &record->hold.id) != SLAB_NONE)
        return REPLAY_CONTRADICTS;
    enum replay_result result = replay_make(replay, record, &slot);
    if (result != REPLAY_OK)
        return result;
    struct hold *hold = hold_at(home, slot);
    if (record->kept.state != HOLD_HELD) {
        replay_leave(home, slot, record->kept.state, record->kept.ended_ms);
        /* Leaving counts on; what was told has counted already. */
        struct unit_line *lines = hold_lines(home, hold);
        for (uint32_t i = 0; i < hold->seat_count; i++)
            lines[i].b--;
    }
    mark(replay, slot, source->reflected);
    versions_note(replay, home, hold);
    return REPLAY_OK;
}

/* The versions of a block's seats, at their new owner. */
static enum replay_result
replay_seats(const struct replay *replay, const struct record *record)
{
    const struct record_seats *kept = record->seats_kept;
    struct shard *owner = home_shard(replay);
    struct event *event = event_find(owner, (struct bytes){kept->event, kept->event_size});
    if (event == NULL || kept->block >= event->block_count)
        return REPLAY_CONTRADICTS;
    if (event->block_owner[kept->block] != replay->home)
        return REPLAY_OK;
    struct block *block = &event->own_blocks[event->block_places[kept->block].own];
    if (block->seat_count != kept->seat_count)
        return REPLAY_CONTRADICTS;
    for (uint32_t i = 0; i < block->seat_count; i++) {
        uint32_t version;
        memcpy(&version, record->versions + i * sizeof version, sizeof version);
        block_version_note(block, i, version);
    }
    return REPLAY_OK;
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
static enum replay_result
replay_hold(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    struct shard *home = home_shard(replay);
    uint32_t slot = hold_find(home, &record->hold.id);
    uint64_t time_ms = record->header->time_ms;
    bool late = (record->header->flags & RECORD_LATE) != 0;
    if (slot == SLAB_NONE && late) {
        enum replay_result result = replay_make(replay, record, &slot);
        if (result != REPLAY_OK)
            return result;
        replay_leave(home, slot, HOLD_EXPIRED, time_ms);
    }
    if (slot == SLAB_NONE || reflected(replay, source, slot, record->header->sequence))
        return REPLAY_OK;
    struct hold *hold = hold_at(home, slot);
    enum hold_state before = HOLD_HELD;
    if (late)
        before = HOLD_EXPIRED;
    else if (record->header->type == RECORD_HOLD_CANCELLED)
        before = HOLD_CONFIRMED;
    if (hold->state != before)
        return REPLAY_CONTRADICTS;
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
    if (record->done_token != NULL) {
        struct replay_done *done = &replay->dones[replay->done_count++];
        memcpy(&done->token, record->done_token, sizeof done->token);
        done->event = hold->event;
    }
    return REPLAY_OK;
}

/* The answer that the key's command got, from the hold as the record left it. */
static void
replay_key(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    static const uint8_t commands[] = {
        [RECORD_HOLD_PLACED] = COMMAND_HOLD,      [RECORD_HOLD_CONFIRMED] = COMMAND_CONFIRM,
        [RECORD_HOLD_RELEASED] = COMMAND_RELEASE, [RECORD_HOLD_EXTENDED] = COMMAND_EXTEND,
        [RECORD_HOLD_CANCELLED] = COMMAND_CANCEL,
    };
    struct key_hash key = {record->key->key[0], record->key->key[1]};
    struct key_hash fingerprint = {record->key->fingerprint[0], record->key->fingerprint[1]};
    struct shard *home = home_shard(replay);
    if (source->kind == REPLAY_BEHIND && record->header->sequence < replay->key_marks[source->shard])
        return;
    if (record->header->type == RECORD_KEY_KEPT) {
        key_remember_packed(home, &key, &fingerprint, record->key_kept.route, record->header->time_ms,
                            record->reply, record->key_kept.reply_size);
        return;
    }
    uint32_t slot = hold_find(home, &record->hold.id);
    if (slot == SLAB_NONE || commands[record->header->type] == 0)
        return;
    struct reply *reply = reply_begin(home, STATUS_OK, commands[record->header->type]);
    reply->kind = REPLY_HOLD;
    reply->created = record->header->type == RECORD_HOLD_PLACED;
    hold_view_recorded(home, slot, &reply->hold);
    key_remember(home, &key, &fingerprint, uuid_route16(&record->hold.id), record->header->time_ms, reply);
}

static enum replay_result
replay_event(const struct replay *replay, const struct record *record)
{
    switch (record->header->type) {
    case RECORD_EVENT_CREATED:
        return replay_event_created(replay, record);
    case RECORD_EVENT_CHANGED:
        return replay_event_changed(replay, record);
    default:
        return REPLAY_OK;
    }
}

/* A used-up admission that the queue's owner may not know of. */
static enum replay_result
replay_admission(struct replay *replay, const struct record *record)
{
    struct shard *home = home_shard(replay);
    const struct event *event = event_find(home, record->event);
    if (!is_home(replay, route16(user_hash(home, record->user))))
        return REPLAY_OK;
    if (event == NULL)
        return REPLAY_CONTRADICTS;
    replay->dones[replay->done_count++] = (struct replay_done){record->token.id, event->number};
    return REPLAY_OK;
}

static enum replay_result
replay_one(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    enum replay_result result = REPLAY_OK;
    uint16_t route = uuid_route16(&record->hold.id);
    switch (record->header->type) {
    case RECORD_EVENT_CREATED:
    case RECORD_EVENT_CHANGED:
        return REPLAY_OK;
    case RECORD_SEATS_KEPT:
        return replay_seats(replay, record);
    case RECORD_KEY_KEPT:
        /* whoever's key it is: the part's first slice with keys may have none of this home */
        if (source->kind == REPLAY_SNAPSHOT && replay->key_marks[source->shard] == 0)
            replay->key_marks[source->shard] = source->reflected + 1;
        route = record->key_kept.route;
        break;
    case RECORD_TOKEN_JOINED:
    case RECORD_TOKEN_ACTIVATED:
    case RECORD_TOKEN_ENDED:
    case RECORD_TOKEN_KEPT:
        return is_home(replay, uuid_route16(&record->token.id)) ? token_replay(replay, source, record)
                                                                : REPLAY_OK;
    case RECORD_ADMISSION_KEPT:
        return replay_admission(replay, record);
    case RECORD_HOLD_KEPT:
        return is_home(replay, route) ? replay_kept(replay, source, record) : REPLAY_OK;
    case RECORD_HOLD_PLACED:
        if (is_home(replay, route))
            result = replay_placed(replay, source, record);
        break;
    default:
        if (is_home(replay, route))
            result = replay_hold(replay, source, record);
        break;
    }
    if (result == REPLAY_OK && record->key != NULL && is_home(replay, route))
        replay_key(replay, source, record);
    return result;
}

/*
 * What a record touches lies anywhere: index, hold, user, seat, each a wait for memory and each found by
 * the one before. So records are decoded some way ahead, and at each distance that is asked for which is
 * then known:
 *
 *     AHEAD_BUCKETS   the index's buckets, of the hold and of the user
 *     AHEAD_ITEMS     what the buckets name: the hold, the user; the seats of a new hold
 *     AHEAD_PARTS     of that hold its user, its seats, its neighbours in the wheel; of the user the newest
 * hold 0               the record is replayed
 *
 * Asking changes nothing, and what it went by may have changed by the record's turn: then it waits.
 */
#define AHEAD_BUCKETS 24u
#define AHEAD_ITEMS   16u
#define AHEAD_PARTS   8u
#define AHEAD_RING    32u

static_assert(AHEAD_RING > AHEAD_BUCKETS, "no record is overwritten before its turn");
static_assert((AHEAD_RING & (AHEAD_RING - 1)) == 0, "places by mask");

struct foreseen {
    struct record record;
    bool home;           /* the record is of a hold of this home */
    struct event *event; /* of a record that tells a hold in whole */
    uint64_t user_hash;  /* likewise */
};

static void
foresee_seat(const struct replay *replay, const struct event *event, seat_ref ref)
{
    /* it may not even exist: a record before this one may end the replay */
    const struct section_settings *sections = event_settings_sections(event->settings);
    if (SEAT_REF_SECTION(ref) >= event->settings->section_count ||
        SEAT_REF_ROW(ref) >= sections[SEAT_REF_SECTION(ref)].row_count)
        return;
    struct seat_place place = event_seat_place(event, ref);
    event_seat_prefetch(event_at(replay->shards[event_place_owner(event, place)], event->number), place);
}

static void
foresee_buckets(const struct replay *replay, struct foreseen *foreseen)
{
    const struct record *record = &foreseen->record;
    struct shard *home = home_shard(replay);
    uint8_t type = record->header->type;
    foreseen->event = NULL;
    foreseen->home = type >= RECORD_HOLD_PLACED && type != RECORD_KEY_KEPT && type != RECORD_SEATS_KEPT &&
                     is_home(replay, uuid_route16(&record->hold.id));
    if (!foreseen->home)
        return;
    index_prefetch(&home->holds_index, uuid_hash(&record->hold.id));
    if (type != RECORD_HOLD_PLACED && type != RECORD_HOLD_KEPT)
        return;
    foreseen->event = event_find(home, record->event);
    if (foreseen->event == NULL)
        return;
    foreseen->user_hash = user_hash(home, record->user);
    user_prefetch(home, foreseen->event->number, foreseen->user_hash);
}

static void
foresee_items(const struct replay *replay, const struct foreseen *foreseen)
{
    const struct record *record = &foreseen->record;
    const struct shard *home = home_shard(replay);
    if (!foreseen->home)
        return;
    if (foreseen->event == NULL) {
        hold_prefetch_found(home, &record->hold.id);
        return;
    }
    user_prefetch_found(home, foreseen->event->number, foreseen->user_hash);
    for (uint32_t i = 0; i < record->hold.seat_count; i++) {
        struct record_seat seat;
        memcpy(&seat, record->seats + i * sizeof seat, sizeof seat);
        foresee_seat(replay, foreseen->event, seat.ref);
    }
}

static void
foresee_parts(const struct replay *replay, const struct foreseen *foreseen)
{
    const struct record *record = &foreseen->record;
    const struct shard *home = home_shard(replay);
    if (!foreseen->home)
        return;
    if (foreseen->event != NULL) {
        uint32_t user = user_find(home, foreseen->event->number, record->user, foreseen->user_hash);
        if (user != SLAB_NONE && user_at(home, user)->first_hold != SLAB_NONE)
            __builtin_prefetch(hold_at(home, user_at(home, user)->first_hold), 1);
        return;
    }
    uint32_t slot = hold_find(home, &record->hold.id);
    if (slot == SLAB_NONE)
        return;
    struct hold *hold = hold_at(home, slot);
    const struct unit_line *lines = hold_lines(home, hold);
    const struct event *event = event_at(home, hold->event);
    __builtin_prefetch(user_at(home, hold->user), 1);
    if (hold->state == HOLD_HELD)
        wheel_prefetch(&home->wheel, slot);
    for (uint32_t i = 0; i < hold->seat_count; i++)
        foresee_seat(replay, event, lines[i].a);
}

static enum replay_result
replay_holds(struct replay *replay, const struct replay_source *source, const uint8_t *records, size_t size)
{
    struct foreseen ring[AHEAD_RING];
    uint64_t decoded = 0;
    for (uint64_t next = 0;; next++) {
        while (size > 0 && decoded <= next + AHEAD_BUCKETS) {
            struct foreseen *far = &ring[decoded % AHEAD_RING];
            if (!record_decode(records, size, &far->record))
                return REPLAY_CONTRADICTS;
            foresee_buckets(replay, far);
            records += far->record.header->size;
            size -= far->record.header->size;
            decoded++;
        }
        if (next == decoded)
            return REPLAY_OK;
        if (next + AHEAD_ITEMS < decoded)
            foresee_items(replay, &ring[(next + AHEAD_ITEMS) % AHEAD_RING]);
        if (next + AHEAD_PARTS < decoded)
            foresee_parts(replay, &ring[(next + AHEAD_PARTS) % AHEAD_RING]);
        enum replay_result result = replay_one(replay, source, &ring[next % AHEAD_RING].record);
        if (result != REPLAY_OK)
            return result;
    }
}

enum replay_result
shard_replay(struct replay *replay, const struct replay_source *source, enum replay_pass pass,
             const uint8_t *records, size_t size)
{
    if (pass == REPLAY_HOLDS)
        return replay_holds(replay, source, records, size);
    while (size > 0) {
        struct record record;
        if (!record_decode(records, size, &record))
            return REPLAY_CONTRADICTS;
        enum replay_result result = replay_event(replay, &record);
        if (result != REPLAY_OK)
            return result;
        records += record.header->size;
        size -= record.header->size;
    }
    return REPLAY_OK;
}

static bool
ended_in_order(const struct shard *shard)
{
    uint64_t before_ms = 0;
    for (uint32_t slot = shard->ended_first; slot != SLAB_NONE; slot = hold_at(shard, slot)->wheel.next) {
        if (hold_at(shard, slot)->ended_ms < before_ms)
            return false;
        before_ms = hold_at(shard, slot)->ended_ms;
    }
    return true;
}

/* Remembered ended holds came from several journals: they are forgotten oldest first. Merge sort of the
 * list, by runs that are doubled (Knuth, The Art of Computer Programming 3, 5.2.4, algorithm L). */
static void
sort_ended(struct shard *shard)
{
    uint32_t merges =
        ended_in_order(shard) ? 1 : 2; /* of one journal they are: 23 passes less for 5M holds */
    for (uint32_t run = 1; merges > 1; run *= 2) {
        uint32_t left = shard->ended_first;
        uint32_t last = SLAB_NONE;
        shard->ended_first = SLAB_NONE;
        for (merges = 0; left != SLAB_NONE; merges++) {
            uint32_t right = left;
            uint32_t left_count = 0;
            uint32_t right_count = run;
            for (; left_count < run && right != SLAB_NONE; left_count++)
                right = hold_at(shard, right)->wheel.next;
            while (left_count > 0 || (right_count > 0 && right != SLAB_NONE)) {
                bool from_left =
                    right_count == 0 || right == SLAB_NONE ||
                    (left_count > 0 && hold_at(shard, left)->ended_ms <= hold_at(shard, right)->ended_ms);
                uint32_t *from = from_left ? &left : &right;
                uint32_t taken = *from;
                *from = hold_at(shard, taken)->wheel.next;
                if (from_left)
                    left_count--;
                else
                    right_count--;
                if (last == SLAB_NONE)
                    shard->ended_first = taken;
                else
                    hold_at(shard, last)->wheel.next = taken;
                hold_at(shard, taken)->wheel.prev = last;
                last = taken;
            }
            left = right;
        }
        if (last != SLAB_NONE)
            hold_at(shard, last)->wheel.next = SLAB_NONE;
        shard->ended_last = last;
    }
}

/* Asks for the seats of a hold that comes soon: they lie anywhere. */
static void
settle_ahead(const struct shard *home, uint32_t slot, const struct shard *owner)
{
    struct hold *hold = hold_at(home, slot);
    if (hold->state != HOLD_HELD && hold->state != HOLD_CONFIRMED)
        return;
    const struct unit_line *lines = hold_lines(home, hold);
    const struct event *event = event_at(owner, hold->event);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct seat_place place = event_seat_place(event, lines[i].a);
        if (event_place_owner(event, place) == owner->settings.shard_index)
            event_seat_prefetch(event, place);
    }
}

static void
settle_seats(struct shard *const shards[], uint32_t home, uint32_t owner)
{
    const struct shard *shard = shards[home];
    for (uint32_t slot = 0; slot < shard->holds.fresh; slot++) {
        struct hold *hold = hold_at(shard, slot);
        if (hold->state != HOLD_HELD && hold->state != HOLD_CONFIRMED)
            continue;
        const struct unit_line *lines = hold_lines(shard, hold);
        struct event *event = event_at(shards[owner], hold->event);
        if (slot + AHEAD_PARTS < shard->holds.fresh)
            settle_ahead(shard, slot + AHEAD_PARTS, shards[owner]);
        for (uint32_t i = 0; i < hold->seat_count; i++)
            if (event_seat_owner(event, lines[i].a) == owner)
                seat_restore(event, lines[i].a, hold->state, lines[i].b, slot, hold->wheel.deadline_ms);
    }
}

enum replay_result
replay_settle(struct shard *const shards[], uint32_t shard_count, uint32_t shard,
              const struct replay_done dones[], uint64_t done_count)
{
    const struct event_store *events = &shards[shard]->events;
    for (uint32_t home = 0; home < shard_count; home++)
        settle_seats(shards, home, shard);
    for (uint32_t i = 0; i < events->shown; i++) {
        const struct event *event = event_at(shards[shard], events->order[i]);
        if (event->owner != shard)
            continue;
        for (uint32_t pool = 0; pool < event->settings->pool_count; pool++)
            pool_restore(shards, shard_count, event->number, pool);
    }
    sort_ended(shards[shard]);
    queues_settle(shards, shard_count, shard);
    return admissions_settle(shards, shard_count, shard, dones, done_count) ? REPLAY_OK : REPLAY_FULL;
}
