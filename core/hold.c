/*
 * hold.c - the holds this shard is home of.
 *
 *     held ──confirm──▶ confirmed ──cancel──▶ cancelled ─┐
 *       │ ├──release──▶ released ────────────────────────┤  units go back when the record is
 *       │ └──deadline─▶ expired ─────────────────────────┤  durable (R3: HOLD_RETURNING until then),
 *       └──replaced───▶ released ────────────────────────┘  then remembered for ended_ms, then forgotten
 *                       expired ──late confirm──▶ confirmed
 *
 * A hold is in the wheel exactly while it is held, in its pools' heaps likewise, in its user's list as long
 * as it is known, in the list of remembered ones once its units are back. Its unit lines are its seats,
 * then its pools, in the order asked; up to two lie in the hold, more in an extent.
 *
 * Versions: a line's version is that of the hold's own last change of the seat; each change of the hold's
 * state that changes the seat's counts one on (hold_raise_versions).
 */
#include "core/shard_internal.h"

#include <assert.h>

/* The bucket that a hold of such an id will go into. */
void
hold_prefetch(const struct shard *shard, uint16_t route, uint64_t random)
{
    struct uuid id = uuid_put(0, 0, route, random);
    index_prefetch(&shard->holds_index, uuid_hash(&id));
}

/* Asks at once for all that the end of a hold will touch: its user, its seats, its neighbours in the wheel.
 */
void
hold_prefetch_parts(const struct shard *shard, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    const struct event *event = event_at(shard, hold->event);
    __builtin_prefetch(user_at(shard, hold->user), 1);
    if (hold->state != HOLD_HELD)
        return; /* mostly asked for again by somebody who did not get the answer */
    wheel_prefetch(&shard->wheel, slot);
    const struct unit_line *lines = hold_lines(shard, hold);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct seat_place place = event_seat_place(event, lines[i].a);
        if (event_place_owner(event, place) == shard->settings.shard_index)
            event_seat_prefetch(event, place);
    }
}

void
hold_prefetch_found(const struct shard *shard, const struct uuid *id)
{
    struct index_cursor cursor = index_find(&shard->holds_index, uuid_hash(id));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE) {
        const char *hold = (const char *)hold_at(shard, slot);
        __builtin_prefetch(hold, 1);
        __builtin_prefetch(hold + sizeof(struct hold) - 1, 1);
    }
}

uint32_t
hold_find(const struct shard *shard, const struct uuid *id)
{
    struct index_cursor cursor = index_find(&shard->holds_index, uuid_hash(id));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE)
        if (uuid_equal(&hold_at(shard, slot)->id, id))
            return slot;
    return SLAB_NONE;
}

void
hold_unremember(struct shard *shard, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    assert((hold->flags & HOLD_ENDED_LIST) != 0);
    if (hold->wheel.prev == SLAB_NONE)
        shard->ended_first = hold->wheel.next;
    else
        hold_at(shard, hold->wheel.prev)->wheel.next = hold->wheel.next;
    if (hold->wheel.next == SLAB_NONE)
        shard->ended_last = hold->wheel.prev;
    else
        hold_at(shard, hold->wheel.next)->wheel.prev = hold->wheel.prev;
    hold->flags &= (uint8_t)~HOLD_ENDED_LIST;
    shard->ended_count--;
}

void
hold_remember(struct shard *shard, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    assert((hold->flags & HOLD_ENDED_LIST) == 0);
    hold->flags = (uint8_t)((hold->flags & ~HOLD_RETURNING) | HOLD_ENDED_LIST);
    hold->wheel.next = SLAB_NONE;
    hold->wheel.prev = shard->ended_last;
    if (shard->ended_last == SLAB_NONE)
        shard->ended_first = slot;
    else
        hold_at(shard, shard->ended_last)->wheel.next = slot;
    shard->ended_last = slot;
    shard->ended_count++;
}

void
hold_forget(struct shard *shard, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    struct user *user = user_at(shard, hold->user);
    if ((hold->flags & HOLD_ENDED_LIST) != 0)
        hold_unremember(shard, slot);
    if (hold->user_prev == SLAB_NONE)
        user->first_hold = hold->user_next;
    else
        hold_at(shard, hold->user_prev)->user_next = hold->user_next;
    if (hold->user_next != SLAB_NONE)
        hold_at(shard, hold->user_next)->user_prev = hold->user_prev;
    index_remove(&shard->holds_index, uuid_hash(&hold->id), slot);
    user_release(shard, hold->user);
    if (hold->seat_count + hold->pool_count > HOLD_INLINE_UNITS)
        slab_give(&shard->units, hold->units_more);
    hold->state = 0; /* a holder's slot that a block owner names is looked at even if it is another's */
    slab_give(&shard->holds, slot);
}

/* What an operation under way still looks at is not forgotten: its user is busy, or it waits for the hold's
 * units, which are then not back and the hold is not in the list. */
static bool
forget_oldest(struct shard *shard)
{
    uint32_t slot = shard->ended_first;
    for (uint32_t tries = 0; slot != SLAB_NONE && tries < 16; tries++) {
        struct hold *hold = hold_at(shard, slot);
        uint32_t next = hold->wheel.next;
        if (user_at(shard, hold->user)->busy == SLAB_NONE && (hold->flags & HOLD_TELLING) == 0) {
            hold_forget(shard, slot);
            return true;
        }
        slot = next;
    }
    return false;
}

bool
hold_room(struct shard *shard, uint32_t line_count, bool new_user)
{
    while (slab_left(&shard->holds) == 0 || (new_user && !user_room(shard)) ||
           (line_count > HOLD_INLINE_UNITS && slab_left(&shard->units) == 0)) {
        if (!forget_oldest(shard))
            return false;
    }
    return slab_left(&shard->pool_nodes) >= HOLD_POOLS_MAX;
}

bool
hold_forget_old(struct shard *shard, uint32_t budget)
{
    for (; budget > 0 && shard->ended_first != SLAB_NONE; budget--) {
        const struct hold *hold = hold_at(shard, shard->ended_first);
        if (hold->ended_ms + shard->settings.ended_ms > shard->now_ms)
            return false;
        if (user_at(shard, hold->user)->busy != SLAB_NONE || (hold->flags & HOLD_TELLING) != 0)
            return false; /* by and by */
        hold_forget(shard, shard->ended_first);
    }
    return budget == 0;
}

uint32_t
hold_units(const struct shard *shard, struct hold *hold)
{
    uint32_t units = hold->seat_count;
    struct unit_line *lines = hold_lines(shard, hold);
    for (uint32_t i = 0; i < hold->pool_count; i++)
        units += lines[hold->seat_count + i].a;
    return units;
}

/* A hold comes alive, or back from a journal: id, event, user, state, counts, lines and times are set. */
void
hold_link(struct shard *shard, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    struct user *user = user_at(shard, hold->user);
    hold->user_prev = SLAB_NONE;
    hold->user_next = user->first_hold;
    if (user->first_hold != SLAB_NONE)
        hold_at(shard, user->first_hold)->user_prev = slot;
    user->first_hold = slot;
    index_add(&shard->holds_index, uuid_hash(&hold->id), slot);

    struct unit_line *lines = hold_lines(shard, hold);
    struct event *event = event_at(shard, hold->event);
    user->used += hold_units(shard, hold);
    assert(hold->state == HOLD_HELD);
    wheel_add(&shard->wheel, slot, hold->wheel.deadline_ms);
    shard->live_count++;
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        pool_line_add(shard, slot, &lines[i], hold->wheel.deadline_ms);
        event->pools[lines[i].b >> 26].held += lines[i].a;
    }
}

void
hold_raise_versions(struct shard *shard, struct hold *hold)
{
    struct unit_line *lines = hold_lines(shard, hold);
    for (uint32_t i = 0; i < hold->seat_count; i++)
        lines[i].b++;
}

void
hold_leave_live(struct shard *shard, uint32_t slot, enum hold_state state)
{
    struct hold *hold = hold_at(shard, slot);
    struct unit_line *lines = hold_lines(shard, hold);
    assert(hold->state == HOLD_HELD);
    assert(state != HOLD_HELD);
    wheel_remove(&shard->wheel, slot);
    for (uint32_t i = 0; i < hold->pool_count; i++)
        pool_line_remove(shard, hold, &lines[hold->seat_count + i]);
    hold_raise_versions(shard, hold);
    hold->state = (uint8_t)state;
    shard->live_count--;
    if (state == HOLD_CONFIRMED) {
        shard->confirmed_count++;
    } else {
        struct user *user = user_at(shard, hold->user);
        uint32_t units = hold_units(shard, hold);
        assert(user->used >= units);
        user->used -= units;
        hold->ended_ms = shard->now_ms;
    }
    hold->flags |= HOLD_RETURNING;
}

bool
hold_has_seat(const struct shard *shard, struct hold *hold, seat_ref ref)
{
    const struct unit_line *lines = hold_lines(shard, hold);
    for (uint32_t i = 0; i < hold->seat_count; i++)
        if (lines[i].a == ref)
            return true;
    return false;
}

void
hold_view_recorded(const struct shard *shard, uint32_t slot, struct hold_view *ret_view)
{
    struct hold *hold = hold_at(shard, slot);
    const struct unit_line *lines = hold_lines(shard, hold);
    ret_view->id = hold->id;
    ret_view->event = event_at(shard, hold->event)->settings;
    ret_view->user = user_name(shard, user_at(shard, hold->user));
    ret_view->state = hold->state;
    /* A hold shows the version it gave a seat when it took or bought it; a line counts its end, too. */
    uint32_t ended = hold->state == HOLD_HELD || hold->state == HOLD_CONFIRMED ? 0 : 1;
    ret_view->deadline_ms = hold->wheel.deadline_ms;
    ret_view->seat_count = hold->seat_count;
    ret_view->pool_count = hold->pool_count;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        ret_view->seats[i].ref = lines[i].a;
        ret_view->seats[i].version = lines[i].b - ended;
    }
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        ret_view->pools[i].pool = lines[hold->seat_count + i].b >> 26;
        ret_view->pools[i].quantity = lines[hold->seat_count + i].a;
    }
}

void
hold_view(const struct shard *shard, uint32_t slot, struct hold_view *ret_view)
{
    const struct hold *hold = hold_at(shard, slot);
    hold_view_recorded(shard, slot, ret_view);
    if (hold->state == HOLD_HELD && !hold_is_live(shard, hold))
        ret_view->state = HOLD_EXPIRED; /* overdue, but not yet swept */
}

uint64_t
hold_owners(const struct shard *shard, uint32_t slot)
{
    struct hold *hold = hold_at(shard, slot);
    const struct unit_line *lines = hold_lines(shard, hold);
    const struct event *event = event_at(shard, hold->event);
    uint64_t owners = 0;
    for (uint32_t i = 0; i < hold->seat_count; i++)
        owners |= SHARD_BIT(event_seat_owner(event, lines[i].a));
    for (uint32_t i = 0; i < hold->pool_count; i++)
        if (!event->pools[lines[hold->seat_count + i].b >> 26].sliced)
            owners |= SHARD_BIT(event->owner);
    return owners;
}

/* This home's own books of a pool, when units go back or are sold. True: the owner has to be told. */
static bool
pool_line_settle(struct shard *shard, struct event *event, const struct unit_line *line, uint32_t action)
{
    struct pool *pool = &event->pools[line->b >> 26];
    uint32_t quantity = line->a;
    switch (action) {
    case SETTLE_SELL:
        assert(pool->held >= quantity);
        pool->held -= quantity;
        pool->sold += quantity;
        break;
    case SETTLE_FREE:
        assert(pool->held >= quantity);
        pool->held -= quantity;
        break;
    case SETTLE_FREE_SOLD:
        assert(pool->sold >= quantity);
        pool->sold -= quantity;
        break;
    default:
        assert(action == SETTLE_MOVE);
        break;
    }
    if (!pool->sliced)
        return true;
    if (action == SETTLE_FREE || action == SETTLE_FREE_SOLD) {
        if (event->owner == shard->settings.shard_index)
            pool->free += quantity;
        else
            pool->slice += quantity;
    }
    return false;
}

/* One message to one other owner of the hold's units. */
static void
settle_other(struct shard *shard, uint32_t slot, uint32_t owner, uint32_t action, struct operation *op)
{
    struct hold *hold = hold_at(shard, slot);
    const struct unit_line *lines = hold_lines(shard, hold);
    const struct event *event = event_at(shard, hold->event);
    struct message_settle settle;
    settle_begin(shard, &settle, hold->event, slot, hold->wheel.deadline_ms, op);
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        if (event_seat_owner(event, lines[i].a) != owner)
            continue;
        settle.seats[settle.seat_count].ref = lines[i].a;
        settle.seats[settle.seat_count].version = lines[i].b;
        settle.seats[settle.seat_count++].action = action;
    }
    for (uint32_t i = hold->seat_count;
         owner == event->owner && i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        const struct pool *pool = &event->pools[lines[i].b >> 26];
        if (pool->sliced)
            continue; /* nobody has to be told */
        settle.pools[settle.pool_count].pool = (uint8_t)(lines[i].b >> 26);
        settle.pools[settle.pool_count].action = (uint8_t)action;
        settle.pools[settle.pool_count].first_ms = pool_first_ms(shard, pool);
        settle.pools[settle.pool_count++].quantity = lines[i].a;
    }
    settle_send(shard, owner, &settle, op);
}

void
hold_settle_owners(struct shard *shard, uint32_t slot, uint32_t action, struct operation *op)
{
    struct hold *hold = hold_at(shard, slot);
    const struct unit_line *lines = hold_lines(shard, hold);
    struct event *event = event_at(shard, hold->event);
    uint32_t self = shard->settings.shard_index;
    uint64_t others = 0;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        struct seat_place place = event_seat_place(event, lines[i].a);
        uint32_t owner = event_place_owner(event, place);
        if (owner == self)
            seat_settle(event, place, action, lines[i].b, slot, hold->wheel.deadline_ms);
        else
            others |= SHARD_BIT(owner);
    }
    for (uint32_t i = hold->seat_count; i < hold->seat_count + (uint32_t)hold->pool_count; i++) {
        uint32_t pool = lines[i].b >> 26;
        if (!pool_line_settle(shard, event, &lines[i], action))
            continue;
        if (event->owner == self)
            pool_settle(shard, event, pool, action, lines[i].a, self,
                        pool_first_ms(shard, &event->pools[pool]));
        else
            others |= SHARD_BIT(event->owner);
    }
    for (; others != 0; others &= others - 1)
        settle_other(shard, slot, (uint32_t)__builtin_ctzll(others), action, op);
    shard->wake = true;
}

void
settle_begin(struct shard *shard, struct message_settle *settle, uint32_t event, uint32_t hold,
             uint64_t deadline_ms, const struct operation *op)
{
    settle->header = (struct message_header){
        .type = MESSAGE_SETTLE,
        .operation = op == NULL ? SLAB_NONE : operation_slot(shard, op),
        .serial = op == NULL ? 0 : op->serial,
    };
    settle->deadline_ms = deadline_ms;
    settle->event = event;
    settle->hold = hold;
    settle->seat_count = 0;
    settle->pool_count = 0;
}

/* A function call where the owner is this shard, else a message whose answer the operation awaits. */
void
settle_send(struct shard *shard, uint32_t owner, struct message_settle *settle, struct operation *op)
{
    if (settle->seat_count == 0 && settle->pool_count == 0)
        return;
    if (owner == shard->settings.shard_index) {
        owner_settle(shard, owner, settle);
        return;
    }
    if (op != NULL)
        op->awaited++;
    message_send(shard, owner, settle, message_settle_size(settle));
}

bool
hold_return_room(const struct shard *shard, uint32_t slot)
{
    /* an outbox that is empty has room */
    uint64_t owners = shard->outbox_used_shards == 0 ? 0 : hold_owners(shard, slot);
    for (owners &= shard->outbox_used_shards; owners != 0; owners &= owners - 1)
        if (!message_room(shard, (uint32_t)__builtin_ctzll(owners)))
            return false;
    return true;
}

/* An expired hold's record is durable: its units go back (R3). Nobody waits for an answer. */
void
hold_return(struct shard *shard, uint32_t slot)
{
    assert(hold_at(shard, slot)->state == HOLD_EXPIRED);
    hold_settle_owners(shard, slot, SETTLE_FREE, NULL);
    hold_remember(shard, slot);
}

bool
hold_expire_room(const struct shard *shard)
{
    return shard->scarcity != SCARCE_ALL && record_room(shard, 256) && pending_room(shard, 2);
}

void
hold_expire(struct shard *shard, uint32_t slot)
{
    hold_leave_live(shard, slot, HOLD_EXPIRED);
    uint64_t sequence = record_expired(shard, slot);
    shard->expired++;
    pending_push(shard, sequence, slot, PENDING_HOLD);
}

/* Units of the user's overdue holds that the sweep has not reached: they do not count for the limit any
 * more. Of a user with very many holds only the newest are looked at; the sweep will have come by long
 * before that matters. */
uint64_t
user_overdue_units(const struct shard *shard, uint32_t user)
{
    uint64_t units = 0;
    uint32_t slot = user_at(shard, user)->first_hold;
    for (uint32_t i = 0; slot != SLAB_NONE && i < USER_SCAN_MAX; i++) {
        struct hold *hold = hold_at(shard, slot);
        if (hold->state == HOLD_HELD && !hold_is_live(shard, hold))
            units += hold_units(shard, hold);
        slot = hold->user_next;
    }
    return units;
}
