/*
 * queue.c - the waiting rooms of the events that this shard owns: core/queue.h has the states.
 *
 * Order. Waiting tokens of an event stand in a rank_tree by key: those who came before the opening of an
 * event with a lottery by 63 bits of HMAC-SHA256(seed, token), all others by ticket with the top bit set.
 * So the draw is made join by join, the opening itself has nothing to do, and later arrivals queue behind.
 * (Two early tokens of equal 63 bits stand in order of arrival: of a million joiners one pair in ten
 * million events.)
 *
 * Slots. `active` counts tokens with TOKEN_SLOT: from the decision to let somebody in, until the home of
 * who had the slot has acknowledged that it admits them no more. So it never exceeds active_max by an
 * activation; when active_max is lowered, nobody is let in until enough have gone.
 *
 * An event, not a poll: whatever frees a slot, brings a waiter, units, or the opening calls queue_kick(). A
 * look at every queue each SWEEP_MS repairs what a defect may have forgotten, and nothing relies on it.
 *
 * Silence. A sign of life only notes the time; the wheel finds a token a grace period after it was put
 * there, and puts it back if it has been heard of since. Watched tokens are alive.
 */
#include "core/queue.h"

#include <assert.h>
#include <nettle/hmac.h>

#include "core/shard_internal.h"

#define SWEEP_MS          500
#define KICK_BATCH        256   /* activations in one go; more: in the next tick */
#define WATCH_BATCH       256   /* watchers looked at in one sweep */
#define CLOSE_BATCH       1024  /* tokens looked at in one sweep, when an event has been closed */
#define DECISION_MS       10000 /* an answer that waits for an activation: it is decided in microseconds */
#define TICKET            (1ull << 63)
#define PACE_SHIFT        5   /* the moving average's weight: 1/32 */
#define RECORD_TOKEN_SIZE 512 /* at most */

static inline struct token *
token_at(const struct shard *shard, uint32_t slot)
{
    return slab_item(&shard->queues.tokens, slot);
}

static inline struct watcher *
watcher_at(const struct shard *shard, uint32_t slot)
{
    return slab_item(&shard->queues.watchers, slot);
}

static inline struct rank_place
place_of(const struct shard *shard)
{
    return (struct rank_place){&shard->queues.tokens, offsetof(struct token, rank)};
}

void
queues_open(struct shard *shard, struct carve *carve)
{
    const struct shard_settings *s = &shard->settings;
    struct queues *queues = &shard->queues;
    slab_open(&queues->tokens, carve, sizeof(struct token), s->tokens_max);
    slab_open(&queues->token_names, carve, USER_ID_SIZE_MAX, s->tokens_max);
    index_open(&queues->by_id, carve, s->tokens_max);
    index_open(&queues->by_user, carve, s->tokens_max);
    slab_open(&queues->watchers, carve, sizeof(struct watcher), s->watchers_max);
}

void
queues_begin(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    wheel_open(&queues->wheel, &queues->tokens, offsetof(struct token, wheel), shard->now_ms);
    wheel_open(&queues->watcher_wheel, &queues->watchers, offsetof(struct watcher, wheel), shard->now_ms);
    queues->first = SLAB_NONE;
    queues->ended_first = queues->ended_last = SLAB_NONE;
    queues->close_cursor = queues->timer_cursor = SLAB_NONE;
    queues->sweep_ms = UINT64_MAX;
    queues->started_ms = shard->now_ms;
}

/* ---- finding ---- */

struct bytes
token_user(const struct shard *shard, const struct token *token)
{
    const char *name = token->name;
    if (token->name_size > TOKEN_INLINE)
        name = slab_item(&shard->queues.token_names, token->name_more);
    return (struct bytes){name, token->name_size};
}

static uint64_t
place_hash(uint64_t user_hash, uint32_t event)
{
    return route_hash_part(user_hash, event);
}

uint32_t
token_find(const struct shard *shard, const struct uuid *id)
{
    struct index_cursor cursor = index_find(&shard->queues.by_id, uuid_hash(id));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE)
        if (uuid_equal(&token_at(shard, slot)->id, id))
            return slot;
    return SLAB_NONE;
}

/* The user's place: waiting or active. */
static uint32_t
token_of_user(const struct shard *shard, uint32_t event, struct bytes user, uint64_t hash)
{
    struct index_cursor cursor = index_find(&shard->queues.by_user, place_hash(hash, event));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE) {
        const struct token *token = token_at(shard, slot);
        if (token->event == event && bytes_equal(token_user(shard, token), user))
            return slot;
    }
    return SLAB_NONE;
}

static void
timer_set(struct shard *shard, uint32_t slot, uint64_t deadline_ms)
{
    assert((token_at(shard, slot)->flags & TOKEN_TIMED) == 0);
    token_at(shard, slot)->flags |= TOKEN_TIMED;
    wheel_add(&shard->queues.wheel, slot, deadline_ms);
}

static void
timer_stop(struct shard *shard, uint32_t slot)
{
    if ((token_at(shard, slot)->flags & TOKEN_TIMED) != 0)
        wheel_remove(&shard->queues.wheel, slot);
    token_at(shard, slot)->flags &= (uint8_t)~TOKEN_TIMED;
}

static struct queue *
queue_of(const struct shard *shard, const struct token *token)
{
    return event_at(shard, token->event)->queue;
}

/* Units that are not sold: what everybody who waits can hope for. */
static uint64_t
units_left(const struct queue *queue)
{
    return queue->capacity > queue->sold ? queue->capacity - queue->sold : 0;
}

static uint32_t
now_s(const struct shard *shard)
{
    return (uint32_t)((shard->now_ms - shard->queues.started_ms) / 1000 + 1);
}

/* Silent beyond the grace period? */
static uint64_t
grace_ends_ms(const struct shard *shard, const struct token *token)
{
    uint64_t grace_ms = event_at(shard, token->event)->settings->queue_grace_seconds * (uint64_t)1000;
    if (token->watchers != SLAB_NONE)
        return shard->now_ms + grace_ms;
    return shard->queues.started_ms + token->seen_s * (uint64_t)1000 + grace_ms;
}

/* ---- events ---- */

static uint64_t
event_capacity(const struct event_settings *settings)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < settings->section_count; i++)
        units += event_settings_sections(settings)[i].seat_count;
    for (uint32_t i = 0; i < settings->pool_count; i++)
        units += event_settings_pools(settings)[i].capacity;
    return units;
}

static void queue_kick(struct shard *shard, struct event *event);

void
queue_shown(struct shard *shard, struct event *event)
{
    struct queue *queue = event->queue;
    rank_tree_open(&queue->waiting);
    queue->capacity = event_capacity(event->settings);
    queue->pace_us =
        event->settings->queue_active_seconds * (uint64_t)1000000 / event->settings->queue_active_max;
    queue->early = event_open_at(event) > shard->now_ms;
    queue->next = shard->queues.first;
    shard->queues.first = event->number;
    shard->queues.sweep_ms = shard->now_ms;
}

void
queue_changed(struct shard *shard, struct event *event)
{
    event->queue->capacity = event_capacity(event->settings);
    if (event->settings->status == EVENT_CLOSED)
        shard->queues.close_cursor = 0;
    queue_kick(shard, event);
}

/* ---- what a token shows ---- */

static enum token_state
state_now(const struct shard *shard, const struct token *token)
{
    if (token->state > TOKEN_ACTIVE)
        return token->state;
    if (event_at(shard, token->event)->settings->status == EVENT_CLOSED ||
        (token->state == TOKEN_ACTIVE && token->wheel.deadline_ms <= shard->now_ms))
        return TOKEN_EXPIRED; /* not swept yet */
    return token->state;
}

static void
token_view(const struct shard *shard, uint32_t slot, struct token_view *ret_view)
{
    const struct token *token = token_at(shard, slot);
    const struct event *event = event_at(shard, token->event);
    const struct queue *queue = event->queue;
    *ret_view = (struct token_view){
        .id = token->id,
        .event = event->settings,
        .user = token_user(shard, token),
        .state = state_now(shard, token),
    };
    if (ret_view->state == TOKEN_ACTIVE)
        ret_view->deadline_ms = token->wheel.deadline_ms;
    if (ret_view->state != TOKEN_WAITING)
        return;
    uint64_t rank = rank_tree_rank(&queue->waiting, place_of(shard), slot);
    uint64_t opens_in_ms = event_open_at(event) > shard->now_ms ? event_open_at(event) - shard->now_ms : 0;
    if (opens_in_ms == 0) {
        ret_view->position = PLANTED(PLANT_RANK_COUNTS_LEAVERS) ? (token->rank.key & ~TICKET) + 1 : rank;
        ret_view->chance_none = rank > units_left(queue);
    }
    ret_view->eta_ms = opens_in_ms + rank * queue->pace_us / 1000;
    uint64_t poll_max = event->settings->queue_grace_seconds * (uint64_t)1000 / 3;
    ret_view->poll_ms = ret_view->eta_ms / 4;
    if (ret_view->poll_ms > poll_max)
        ret_view->poll_ms = poll_max;
    if (ret_view->poll_ms > 10000)
        ret_view->poll_ms = 10000;
    if (ret_view->poll_ms < 250)
        ret_view->poll_ms = 250;
}

static struct reply *
token_reply(struct shard *shard, uint32_t slot, enum command_type command, bool created)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, command);
    reply->kind = REPLY_TOKEN;
    reply->created = created;
    token_view(shard, slot, &reply->token);
    return reply;
}

/* What has ended, and what is new, may still be on its way to disk (R2); also where a second join finds
 * what a first one has just made. */
static void
token_answer(struct shard *shard, const struct origin *origin, uint32_t slot, enum command_type command,
             bool created)
{
    const struct token *token = token_at(shard, slot);
    bool settled = token->state <= TOKEN_ACTIVE && command != COMMAND_QUEUE_JOIN;
    struct reply *reply = token_reply(shard, slot, command, created);
    reply_send(shard, origin, reply, settled || shard->sequence <= shard->durable ? 0 : shard->sequence);
}

/* ---- watchers ---- */

static void
watcher_remove(struct shard *shard, uint32_t slot)
{
    struct watcher *watcher = watcher_at(shard, slot);
    uint32_t *link = &token_at(shard, watcher->token)->watchers;
    while (*link != slot)
        link = &watcher_at(shard, *link)->next;
    *link = watcher->next;
    if (watcher->kind == WATCH_ONCE)
        wheel_remove(&shard->queues.watcher_wheel, slot);
    shard->queues.owed_count -= watcher->owed;
    watcher->kind = 0;
    slab_give(&shard->queues.watchers, slot);
}

static bool
watcher_add(struct shard *shard, uint32_t token, enum watcher_kind kind, const struct origin *origin,
            enum command_type command, bool created, uint64_t wait_ms)
{
    uint32_t slot = slab_take(&shard->queues.watchers);
    if (slot == SLAB_NONE)
        return false;
    struct watcher *watcher = watcher_at(shard, slot);
    *watcher = (struct watcher){
        .next = token_at(shard, token)->watchers,
        .token = token,
        .tag = origin->tag,
        .shard = origin->shard,
        .kind = (uint8_t)kind,
        .command = (uint8_t)command,
        .created = created,
    };
    token_at(shard, token)->watchers = slot;
    if (kind == WATCH_ONCE)
        wheel_add(&shard->queues.watcher_wheel, slot, shard->now_ms + wait_ms);
    return true;
}

static void
watcher_answer(struct shard *shard, uint32_t slot)
{
    struct watcher *watcher = watcher_at(shard, slot);
    struct origin origin = {watcher->shard, watcher->tag, SLAB_NONE};
    uint32_t token = watcher->token;
    enum command_type command = watcher->command;
    bool created = watcher->created;
    watcher_remove(shard, slot);
    token_answer(shard, &origin, token, command, created);
}

static void
watcher_push(struct shard *shard, uint32_t slot)
{
    struct watcher *watcher = watcher_at(shard, slot);
    struct reply *reply = token_reply(shard, watcher->token, COMMAND_QUEUE_WATCH, false);
    bool told = push_send(shard, watcher->shard, watcher->tag, reply);
    shard->queues.owed_count += (uint32_t)!told - (uint32_t)watcher->owed;
    watcher->owed = !told;
    watcher->told_position = reply->token.position;
    if (told && reply->token.state > TOKEN_ACTIVE)
        watcher_remove(shard, slot); /* there is nothing more to tell, and the host knows */
}

/* The token's state has changed, for all to see: who waits for it hears of it. */
static void
token_changed(struct shard *shard, uint32_t slot)
{
    uint32_t next;
    for (uint32_t at = token_at(shard, slot)->watchers; at != SLAB_NONE; at = next) {
        next = watcher_at(shard, at)->next;
        if (watcher_at(shard, at)->kind == WATCH_ONCE)
            watcher_answer(shard, at);
        else
            watcher_push(shard, at);
    }
}

/* ---- the end of a token ---- */

static void
ended_unlink(struct shard *shard, uint32_t slot)
{
    struct queues *queues = &shard->queues;
    struct token *token = token_at(shard, slot);
    if (token->wheel.prev == SLAB_NONE)
        queues->ended_first = token->wheel.next;
    else
        token_at(shard, token->wheel.prev)->wheel.next = token->wheel.next;
    if (token->wheel.next == SLAB_NONE)
        queues->ended_last = token->wheel.prev;
    else
        token_at(shard, token->wheel.next)->wheel.prev = token->wheel.prev;
    queues->ended_count--;
}

void
token_remember(struct shard *shard, uint32_t slot, uint64_t ended_ms)
{
    struct queues *queues = &shard->queues;
    struct token *token = token_at(shard, slot);
    token->wheel =
        (struct wheel_link){.deadline_ms = ended_ms, .next = SLAB_NONE, .prev = queues->ended_last};
    if (queues->ended_last == SLAB_NONE)
        queues->ended_first = slot;
    else
        token_at(shard, queues->ended_last)->wheel.next = slot;
    queues->ended_last = slot;
    queues->ended_count++;
}

static void
token_forget(struct shard *shard, uint32_t slot)
{
    struct queues *queues = &shard->queues;
    struct token *token = token_at(shard, slot);
    while (token->watchers != SLAB_NONE)
        watcher_remove(shard, token->watchers);
    ended_unlink(shard, slot);
    index_remove(&queues->by_id, uuid_hash(&token->id), slot);
    if (token->name_more != SLAB_NONE)
        slab_give(&queues->token_names, token->name_more);
    token->state = 0;
    slab_give(&queues->tokens, slot);
}

/* A place ends: out of the queue or out of the active ones; the slot is kept until it may be given on. */
void
token_leave(struct shard *shard, uint32_t slot, enum token_state state)
{
    struct queues *queues = &shard->queues;
    struct token *token = token_at(shard, slot);
    struct queue *queue = queue_of(shard, token);
    assert(token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE);
    assert(state > TOKEN_ACTIVE);
    if (token->state == TOKEN_WAITING) {
        rank_tree_remove(&queue->waiting, place_of(shard), slot);
        queues->waiting_count--;
    } else {
        queues->active_count--;
    }
    index_remove(&queues->by_user, place_hash(user_hash(shard, token_user(shard, token)), token->event),
                 slot);
    token->state = (uint8_t)state;
}

static bool
end_room(const struct shard *shard)
{
    return shard->scarcity != SCARCE_ALL && record_room(shard, RECORD_TOKEN_SIZE) && pending_room(shard, 1);
}

/* There is room: end_room() said so. */
static void
token_end(struct shard *shard, uint32_t slot, enum token_state state)
{
    struct token *token = token_at(shard, slot);
    bool slot_held = (token->flags & TOKEN_SLOT) != 0;
    timer_stop(shard, slot);
    token_leave(shard, slot, state);
    uint64_t sequence = record_token(shard, RECORD_TOKEN_ENDED, slot, NULL);
    if (slot_held) {
        pending_push(shard, sequence, slot, PENDING_TOKEN_END);
        return;
    }
    token_remember(shard, slot, shard->now_ms);
    token_changed(shard, slot);
}

/* Nobody is admitted by it any more: the slot is free. */
static void
slot_free(struct shard *shard, uint32_t slot)
{
    struct token *token = token_at(shard, slot);
    struct event *event = event_at(shard, token->event);
    assert((token->flags & TOKEN_SLOT) != 0);
    assert(event->queue->active > 0);
    token->flags &= (uint8_t)~TOKEN_SLOT;
    event->queue->active--;
    token_remember(shard, slot, shard->now_ms);
    token_changed(shard, slot);
    queue_kick(shard, event);
}

/* ---- letting in ---- */

static void
pace_note(const struct shard *shard, struct queue *queue)
{
    uint64_t now_us = shard->now_ms * 1000;
    uint64_t since_us = now_us - queue->activated_ms * 1000;
    if (queue->activated_ms != 0)
        queue->pace_us += (since_us >> PACE_SHIFT) - (queue->pace_us >> PACE_SHIFT);
    queue->activated_ms = shard->now_ms;
}

static void
activate(struct shard *shard, struct event *event, uint32_t slot)
{
    struct queues *queues = &shard->queues;
    struct token *token = token_at(shard, slot);
    rank_tree_remove(&event->queue->waiting, place_of(shard), slot);
    timer_stop(shard, slot);
    token->state = TOKEN_ACTIVE;
    token->flags = TOKEN_SLOT;
    timer_set(shard, slot, shard->now_ms + event->settings->queue_active_seconds * (uint64_t)1000);
    event->queue->active++;
    queues->waiting_count--;
    queues->active_count++;
    queues->activated++;
    pace_note(shard, event->queue);
    uint64_t sequence = record_token(shard, RECORD_TOKEN_ACTIVATED, slot, NULL);
    pending_push(shard, sequence, slot, PENDING_TOKEN);
}

/* Lets in whom it may. */
static void
queue_kick(struct shard *shard, struct event *event)
{
    struct queue *queue = event->queue;
    uint32_t slot;
    if (event->settings->status == EVENT_CLOSED || event_open_at(event) > shard->now_ms)
        return;
    queue->early = false;
    for (uint32_t count = 0; queue->active < event->settings->queue_active_max && units_left(queue) > 0 &&
                             (slot = rank_tree_first(&queue->waiting, place_of(shard))) != SLAB_NONE;
         count++) {
        if (count == KICK_BATCH || !end_room(shard)) {
            shard->queues.kicked = true;
            return;
        }
        if (grace_ends_ms(shard, token_at(shard, slot)) <= shard->now_ms)
            token_end(shard, slot, TOKEN_EXPIRED);
        else if (!PLANTED(PLANT_WAKE_LOST) || queue->active == 0)
            activate(shard, event, slot);
        else
            return;
    }
}

static uint32_t
user_home(const struct shard *shard, struct bytes user)
{
    return route_shard(route16(user_hash(shard, user)), shard->settings.shard_count);
}

static void
admit(struct shard *shard, uint32_t slot)
{
    const struct token *token = token_at(shard, slot);
    struct bytes user = token_user(shard, token);
    uint32_t home = user_home(shard, user);
    struct message_admit message = {
        .header = {.type = MESSAGE_ADMIT, .operation = slot},
        .token = token->id,
        .deadline_ms = token->wheel.deadline_ms,
        .event = token->event,
        .user_size = (uint8_t)user.size,
    };
    memcpy(message.user, user.data, user.size);
    if (home == shard->settings.shard_index)
        admission_give(shard, home, &message);
    else
        message_send(shard, home, &message, sizeof message);
}

static void
revoke(struct shard *shard, uint32_t slot)
{
    struct token *token = token_at(shard, slot);
    struct bytes user = token_user(shard, token);
    uint32_t home = user_home(shard, user);
    struct message_revoke message = {
        .header = {.type = MESSAGE_REVOKE, .operation = slot},
        .token = token->id,
        .event = token->event,
        .user_size = (uint8_t)user.size,
    };
    memcpy(message.user, user.data, user.size);
    if (home == shard->settings.shard_index)
        admission_revoke(shard, home, &message);
    else
        message_send(shard, home, &message, sizeof message);
}

bool
token_home_room(const struct shard *shard, uint32_t slot)
{
    return message_room(shard, user_home(shard, token_user(shard, token_at(shard, slot))));
}

void
token_durable(struct shard *shard, uint32_t slot)
{
    const struct token *token = token_at(shard, slot);
    assert((token->flags & TOKEN_SLOT) != 0);
    /* else it has ended meanwhile: nobody was let in, and the end's record, which comes behind, says so */
    if (token->state == TOKEN_ACTIVE)
        admit(shard, slot);
}

void
token_end_durable(struct shard *shard, uint32_t slot)
{
    assert((token_at(shard, slot)->flags & TOKEN_SLOT) != 0);
    assert(token_at(shard, slot)->state > TOKEN_ACTIVE);
    revoke(shard, slot);
    if (PLANTED(PLANT_SLOT_BEFORE_REVOKED) && (token_at(shard, slot)->flags & TOKEN_SLOT) != 0)
        slot_free(shard, slot);
}

void
queue_admitted(struct shard *shard, const struct message_admitted *message)
{
    uint32_t slot = message->header.operation;
    struct token *token = token_at(shard, slot);
    if (token->state != TOKEN_ACTIVE || !uuid_equal(&token->id, &message->token))
        return; /* it has ended meanwhile */
    if (!message->done) {
        /* The home's bound is reached: this place ends, the slot goes to the next one. */
        if (end_room(shard))
            token_end(shard, slot, TOKEN_EXPIRED);
        return; /* no room for that either: its deadline will end it */
    }
    token->flags |= TOKEN_ADMITTED;
    token_changed(shard, slot);
}

void
queue_revoked(struct shard *shard, const struct message_revoked *message)
{
    struct token *token = token_at(shard, message->header.operation);
    if (!uuid_equal(&token->id, &message->token) || (token->flags & TOKEN_SLOT) == 0) {
        assert(PLANTED(PLANT_SLOT_BEFORE_REVOKED));
        return;
    }
    slot_free(shard, message->header.operation);
}

void
queue_note(struct shard *shard, uint32_t from, const struct message_queue_note *message)
{
    struct event *event = event_at(shard, message->event);
    uint32_t slot = message->done ? token_find(shard, &message->token) : SLAB_NONE;
    bool ends = slot != SLAB_NONE && token_at(shard, slot)->state == TOKEN_ACTIVE;
    if (ends && !end_room(shard) && park_message(shard, from, message, sizeof *message))
        return;
    assert(message->sold >= 0 || event->queue->sold >= (uint64_t)-message->sold);
    event->queue->sold += (uint64_t)message->sold;
    if (ends && end_room(shard)) /* no room, not even to wait: its deadline will end it, and the home admits
                                    nobody by it */
        token_end(shard, slot, TOKEN_DONE);
    if (message->header.operation != SLAB_NONE) {
        struct message_queue_noted answer = {.header = {.type = MESSAGE_QUEUE_NOTED,
                                                        .operation = message->header.operation,
                                                        .serial = message->header.serial}};
        message_send(shard, from, &answer, sizeof answer);
    }
    if (message->sold < 0)
        queue_kick(shard, event);
}

void
queue_token_of(struct shard *shard, uint32_t from, const struct message_token_of *message)
{
    struct bytes user = {message->user, message->user_size};
    uint32_t slot = token_of_user(shard, message->event, user, user_hash(shard, user));
    struct message_token_is answer = {
        .header = {.type = MESSAGE_TOKEN_IS,
                   .operation = message->header.operation,
                   .serial = message->header.serial},
        .user_size = message->user_size,
    };
    memcpy(answer.user, message->user, sizeof answer.user);
    answer.has_token = slot != SLAB_NONE && state_now(shard, token_at(shard, slot)) <= TOKEN_ACTIVE;
    if (answer.has_token)
        answer.token = token_at(shard, slot)->id;
    message_send(shard, from, &answer, sizeof answer);
}

bool
queue_user_token(const struct shard *shard, uint32_t event, struct bytes user, struct uuid *ret_token)
{
    uint32_t slot = token_of_user(shard, event, user, user_hash(shard, user));
    if (slot == SLAB_NONE || state_now(shard, token_at(shard, slot)) > TOKEN_ACTIVE)
        return false;
    *ret_token = token_at(shard, slot)->id;
    return true;
}

/* ---- commands ---- */

static void
refuse(struct shard *shard, const struct origin *origin, const struct command *c, enum status status,
       const char *field, const char *expected)
{
    struct reply *reply = reply_begin(shard, status, c->type);
    if (field != NULL) {
        reply->figures = FIGURE_FIELD;
        memcpy(reply->field, field, strlen(field) + 1);
        memcpy(reply->expected, expected, strlen(expected) + 1);
    }
    reply_send(shard, origin, reply, 0);
}

/* A place in the draw: the first 63 bits of HMAC-SHA256(seed, text of the token). */
static uint64_t
lottery_key(const struct event_settings *settings, const struct uuid *token)
{
    struct hmac_sha256_ctx hmac;
    char text[UUID_TEXT_SIZE];
    uint8_t digest[8];
    uint64_t key = 0;
    uuid_format(token, text);
    hmac_sha256_set_key(&hmac, sizeof settings->lottery_seed, settings->lottery_seed);
    hmac_sha256_update(&hmac, sizeof text, (const uint8_t *)text);
    hmac_sha256_digest(&hmac, sizeof digest, digest);
    for (uint32_t i = 0; i < sizeof digest; i++)
        key = key << 8 | digest[i];
    return key >> 1;
}

/* An ended token makes room for a new one where there is none. */
static bool
token_room(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    while (slab_left(&queues->tokens) == 0 || slab_left(&queues->token_names) == 0) {
        if (queues->ended_first == SLAB_NONE)
            return false;
        token_forget(shard, queues->ended_first);
    }
    return true;
}

/* A token of these names and times, in no queue yet. */
uint32_t
token_make(struct shard *shard, const struct event *event, const struct uuid *id, struct bytes user)
{
    struct queues *queues = &shard->queues;
    uint32_t slot = slab_take(&queues->tokens);
    assert(slot != SLAB_NONE);
    struct token *token = token_at(shard, slot);
    *token = (struct token){
        .event = event->number,
        .watchers = SLAB_NONE,
        .id = *id,
        .seen_s = now_s(shard),
        .name_more = SLAB_NONE,
        .state = TOKEN_WAITING,
        .name_size = (uint8_t)user.size,
    };
    char *to = token->name;
    if (user.size > TOKEN_INLINE) {
        token->name_more = slab_take(&queues->token_names);
        to = slab_item(&queues->token_names, token->name_more);
    }
    memcpy(to, user.data, user.size);
    index_add(&queues->by_id, uuid_hash(id), slot);
    index_add(&queues->by_user, place_hash(user_hash(shard, user), event->number), slot);
    return slot;
}

/* Into the queue, by its key. */
void
token_wait(struct shard *shard, uint32_t slot, uint64_t key)
{
    struct token *token = token_at(shard, slot);
    struct queue *queue = queue_of(shard, token);
    rank_tree_insert(&queue->waiting, place_of(shard), slot, key);
    if ((key & TICKET) != 0 && (key & ~TICKET) >= queue->ticket)
        queue->ticket = (key & ~TICKET) + 1;
    shard->queues.waiting_count++;
}

/* An answer that must wait for what is being decided about the token. */
static void
answer_later(struct shard *shard, const struct origin *origin, uint32_t slot, enum command_type command,
             bool created)
{
    if (!watcher_add(shard, slot, WATCH_ONCE, origin, command, created, DECISION_MS))
        reply_status(shard, origin, command, STATUS_BUSY);
}

/* Let in, but the home has not said so yet; or let out, likewise. */
static bool
undecided(const struct token *token)
{
    return (token->flags & TOKEN_SLOT) != 0 &&
           (token->state != TOKEN_ACTIVE || (token->flags & TOKEN_ADMITTED) == 0);
}

static void
answer_now_or_later(struct shard *shard, const struct origin *origin, uint32_t slot,
                    enum command_type command, bool created)
{
    const struct token *token = token_at(shard, slot);
    if (undecided(token) && state_now(shard, token) == token->state)
        answer_later(shard, origin, slot, command, created);
    else
        token_answer(shard, origin, slot, command, created);
}

/* What is over its deadline ends when it is touched. */
static void
end_overdue(struct shard *shard, uint32_t slot)
{
    const struct token *token = token_at(shard, slot);
    if (token->state <= TOKEN_ACTIVE && state_now(shard, token) == TOKEN_EXPIRED && end_room(shard))
        token_end(shard, slot, TOKEN_EXPIRED);
}

void
command_queue_join(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct event *event = event_find(shard, c->event);
    if (event == NULL) {
        reply_noevent(shard, origin, c);
        return;
    }
    if (event->settings->queue_active_max == 0) {
        refuse(shard, origin, c, STATUS_BADREQUEST, "event", "an event with a queue");
        return;
    }
    uint64_t hash = user_hash(shard, c->user);
    uint32_t slot = token_of_user(shard, event->number, c->user, hash);
    if (slot != SLAB_NONE) {
        end_overdue(shard, slot);
        if (state_now(shard, token_at(shard, slot)) <= TOKEN_ACTIVE) {
            token_at(shard, slot)->seen_s = now_s(shard);
            answer_now_or_later(shard, origin, slot, c->type, false);
            return;
        }
    }
    if (event->settings->status != EVENT_OPEN) {
        refuse(shard, origin, c, STATUS_CLOSED, NULL, NULL);
        return;
    }
    bool unswept = slot != SLAB_NONE && token_at(shard, slot)->state <= TOKEN_ACTIVE;
    if (unswept || shard->scarcity != SCARCE_NOT || !end_room(shard) || !token_room(shard) ||
        !message_room(shard, origin->shard)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct uuid id =
        uuid_make(shard->now_ms, shard->settings.id_seed, ++shard->id_counter, route16(event->hash));
    bool early = event_open_at(event) > shard->now_ms;
    uint64_t key = early && event->settings->queue_lottery && !PLANTED(PLANT_DRAW_BY_ARRIVAL)
                       ? lottery_key(event->settings, &id)
                       : TICKET | event->queue->ticket;
    slot = token_make(shard, event, &id, c->user);
    token_wait(shard, slot, key);
    timer_set(shard, slot, grace_ends_ms(shard, token_at(shard, slot)));
    shard->queues.joined++;
    (void)record_token(shard, RECORD_TOKEN_JOINED, slot, c);
    queue_kick(shard, event);
    answer_now_or_later(shard, origin, slot, c->type, true);
}

/* The command's token; SLAB_NONE: answered. */
static uint32_t
token_for(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_find(shard, &c->hold);
    if (slot == SLAB_NONE) {
        reply_status(shard, origin, c->type, STATUS_NOTOKEN);
        return SLAB_NONE;
    }
    end_overdue(shard, slot);
    token_at(shard, slot)->seen_s = now_s(shard);
    return slot;
}

void
command_queue_get(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    if (c->wait_ms > 0 && !shard->queues.polls_ended &&
        state_now(shard, token_at(shard, slot)) == TOKEN_WAITING) {
        if (!watcher_add(shard, slot, WATCH_ONCE, origin, c->type, false, c->wait_ms))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    answer_now_or_later(shard, origin, slot, c->type, false);
}

void
command_queue_leave(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    if (token_at(shard, slot)->state <= TOKEN_ACTIVE) {
        if (!end_room(shard)) {
            reply_status(shard, origin, c->type, STATUS_BUSY);
            return;
        }
        token_end(shard, slot, TOKEN_LEFT);
    }
    answer_now_or_later(shard, origin, slot, c->type, false);
}

void
command_queue_watch(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    if (state_now(shard, token_at(shard, slot)) > TOKEN_ACTIVE) {
        answer_now_or_later(shard, origin, slot, c->type, false);
        return;
    }
    struct origin watch = {origin->shard, c->watch, SLAB_NONE};
    if (!watcher_add(shard, slot, WATCH_PUSH, &watch, c->type, false, 0)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct reply *reply = token_reply(shard, slot, c->type, false);
    watcher_at(shard, token_at(shard, slot)->watchers)->told_position = reply->token.position;
    answer_now_or_later(shard, origin, slot, c->type, false);
}

void
command_queue_unwatch(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    uint32_t next;
    for (uint32_t at = token_at(shard, slot)->watchers; at != SLAB_NONE; at = next) {
        const struct watcher *watcher = watcher_at(shard, at);
        next = watcher->next;
        if (watcher->kind == WATCH_PUSH && watcher->tag == c->watch && watcher->shard == origin->shard)
            watcher_remove(shard, at);
    }
    answer_now_or_later(shard, origin, slot, c->type, false);
}

void
shard_polls_end(struct shard *shard)
{
    shard->queues.polls_ended = true;
}

/* ---- the sweep ---- */

static void
sweep_tokens(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    uint32_t budget = shard->settings.expire_batch;
    uint32_t slot;
    while (end_room(shard) && (slot = wheel_due(&queues->wheel, shard->now_ms, &budget)) != SLAB_NONE) {
        struct token *token = token_at(shard, slot);
        uint64_t ends_ms = token->state == TOKEN_WAITING ? grace_ends_ms(shard, token) : 0;
        if (ends_ms > shard->now_ms) {
            timer_stop(shard, slot);
            timer_set(shard, slot, ends_ms);
        } else {
            token_end(shard, slot, TOKEN_EXPIRED);
        }
    }
}

/* Answers whose time is up; and pushes to those whose position has fallen by a tenth. */
static void
sweep_watchers(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    uint32_t budget = WATCH_BATCH;
    uint32_t slot;
    while ((slot = wheel_due(&queues->watcher_wheel, shard->now_ms, &budget)) != SLAB_NONE &&
           message_room(shard, watcher_at(shard, slot)->shard))
        watcher_answer(shard, slot);
    uint32_t looks = queues->watchers.fresh < WATCH_BATCH ? queues->watchers.fresh : WATCH_BATCH;
    for (uint32_t i = 0; i < looks && queues->watchers.taken > 0; i++) {
        if (queues->watch_cursor >= queues->watchers.fresh)
            queues->watch_cursor = 0;
        struct watcher *watcher = watcher_at(shard, queues->watch_cursor++);
        if (watcher->kind == 0 || !message_room(shard, watcher->shard))
            continue;
        const struct token *token = token_at(shard, watcher->token);
        if (watcher->kind == WATCH_ONCE) {
            if (queues->polls_ended && !undecided(token))
                watcher_answer(shard, queues->watch_cursor - 1);
            continue;
        }
        if (watcher->owed) {
            watcher_push(shard, queues->watch_cursor - 1);
            continue;
        }
        if (watcher->told_position == 0)
            continue;
        if (token->state != TOKEN_WAITING)
            continue;
        uint64_t rank = rank_tree_rank(&queue_of(shard, token)->waiting, place_of(shard), watcher->token);
        if (rank * 10 <= watcher->told_position * 9)
            watcher_push(shard, queues->watch_cursor - 1);
    }
}

/* After a start: a fresh grace period for who waits. True: there is more to do. */
static bool
sweep_timers(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    for (uint32_t i = 0; i < CLOSE_BATCH && queues->timer_cursor != SLAB_NONE; i++) {
        if (queues->timer_cursor >= queues->tokens.fresh) {
            queues->timer_cursor = SLAB_NONE;
            return false;
        }
        uint32_t slot = queues->timer_cursor++;
        struct token *token = token_at(shard, slot);
        if ((token->state != TOKEN_WAITING && token->state != TOKEN_ACTIVE) ||
            (token->flags & TOKEN_TIMED) != 0)
            continue;
        token->seen_s = now_s(shard);
        timer_set(shard, slot,
                  token->state == TOKEN_ACTIVE ? token->wheel.deadline_ms : grace_ends_ms(shard, token));
    }
    return queues->timer_cursor != SLAB_NONE;
}

/* Tokens of events that have been closed. True: there is more to do. */
static bool
sweep_closed(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    if (queues->close_cursor == SLAB_NONE)
        return false;
    for (uint32_t i = 0; i < CLOSE_BATCH; i++) {
        if (queues->close_cursor >= queues->tokens.fresh) {
            queues->close_cursor = SLAB_NONE;
            return false;
        }
        if (!end_room(shard))
            return true;
        uint32_t slot = queues->close_cursor++;
        const struct token *token = token_at(shard, slot);
        if ((token->state == TOKEN_WAITING || token->state == TOKEN_ACTIVE) &&
            event_at(shard, token->event)->settings->status == EVENT_CLOSED)
            token_end(shard, slot, TOKEN_EXPIRED);
    }
    return true;
}

static void
sweep_queues(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    if (!queues->kicked && queues->sweep_ms > shard->now_ms)
        return;
    queues->kicked = false;
    uint64_t next_ms = shard->now_ms + SWEEP_MS;
    for (uint32_t number = queues->first; number != SLAB_NONE;) {
        struct event *event = event_at(shard, number);
        queue_kick(shard, event);
        if (event_open_at(event) > shard->now_ms && event_open_at(event) < next_ms)
            next_ms = event_open_at(event);
        number = event->queue->next;
    }
    queues->sweep_ms = queues->first == SLAB_NONE ? UINT64_MAX : next_ms;
}

static void
forget_old(struct shard *shard)
{
    struct queues *queues = &shard->queues;
    for (uint32_t budget = FORGET_BATCH; budget > 0 && queues->ended_first != SLAB_NONE; budget--) {
        if (token_at(shard, queues->ended_first)->wheel.deadline_ms + shard->settings.ended_ms >
            shard->now_ms)
            return;
        token_forget(shard, queues->ended_first);
    }
}

bool
queues_sweep(struct shard *shard)
{
    const struct queues *queues = &shard->queues;
    if (queues->first == SLAB_NONE)
        return false;
    sweep_tokens(shard);
    sweep_watchers(shard);
    sweep_queues(shard);
    forget_old(shard);
    bool more = sweep_timers(shard);
    more |= queues->owed_count > 0 || (queues->polls_ended && queues->watcher_wheel.count > 0);
    return sweep_closed(shard) || more || queues->kicked || queues_next_ms(shard) <= shard->now_ms;
}

uint64_t
queues_next_ms(const struct shard *shard)
{
    const struct queues *queues = &shard->queues;
    uint64_t next = queues->sweep_ms;
    uint64_t due = wheel_next_ms(&queues->wheel);
    next = due < next ? due : next;
    due = wheel_next_ms(&queues->watcher_wheel);
    return due < next ? due : next;
}

void
queues_check(const struct shard *shard)
{
    const struct queues *queues = &shard->queues;
    uint32_t waiting = 0;
    uint32_t active = 0;
    uint32_t ended = 0;
    uint32_t slots = 0;
    uint32_t timed = 0;
    uint32_t owed = 0;
    slab_check(&queues->tokens);
    slab_check(&queues->token_names);
    slab_check(&queues->watchers);
    index_check(&queues->by_id);
    index_check(&queues->by_user);
    wheel_check(&queues->wheel);
    wheel_check(&queues->watcher_wheel);
    for (uint32_t slot = 0; slot < queues->tokens.fresh; slot++) {
        const struct token *token = token_at(shard, slot);
        if (token->state == 0)
            continue;
        waiting += token->state == TOKEN_WAITING;
        active += token->state == TOKEN_ACTIVE;
        slots += (token->flags & TOKEN_SLOT) != 0;
        timed += (token->flags & TOKEN_TIMED) != 0;
        ended += token->state > TOKEN_ACTIVE && (token->flags & TOKEN_SLOT) == 0;
        assert((token->state == TOKEN_WAITING) == (token->rank.size > 0));
        assert(token->state != TOKEN_ACTIVE || (token->flags & TOKEN_SLOT) != 0);
        assert(token_find(shard, &token->id) == slot);
        for (uint32_t at = token->watchers; at != SLAB_NONE; at = watcher_at(shard, at)->next) {
            assert(watcher_at(shard, at)->token == slot);
            owed += watcher_at(shard, at)->owed;
        }
    }
    assert(owed == queues->owed_count);
    assert(waiting == queues->waiting_count);
    assert(active == queues->active_count);
    assert(ended == queues->ended_count);
    assert(queues->wheel.count == timed);
    assert(queues->timer_cursor != SLAB_NONE || timed == waiting + active);
    for (uint32_t number = queues->first; number != SLAB_NONE;
         number = event_at(shard, number)->queue->next) {
        const struct event *event = event_at(shard, number);
        rank_tree_check(&event->queue->waiting, place_of(shard));
        waiting -= rank_tree_count(&event->queue->waiting, place_of(shard));
        slots -= event->queue->active;
    }
    assert(waiting == 0);
    assert(slots == 0);
}
