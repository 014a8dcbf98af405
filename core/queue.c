/*
 * queue.c - the waiting rooms of the events that this shard owns: who is let in, and when a slot is free
 * again. core/queue.h has the states.
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
 * look at every queue now and then (queue_sweep.c) repairs what a defect may have forgotten, and nothing
 * relies on it.
 */
#include <assert.h>

#include "core/shard_internal.h"

#define KICK_BATCH 256 /* activations in one go; more: in the next tick */
#define PACE_SHIFT 5   /* the moving average's weight: 1/32 */

void
queues_open(struct shard *shard, struct carve *carve)
{
    const struct shard_settings *s = &shard->settings;
    struct queues *queues = &shard->queues;
    slab_open(&queues->tokens, carve, sizeof(struct token), s->tokens_max);
    slab_open(&queues->token_names, carve, USER_ID_SIZE_MAX, s->tokens_max);
    slab_open(&queues->rank_nodes, carve, sizeof(struct rank_node),
              rank_nodes_max(s->tokens_max, s->events_max));
    queues->waiting_places =
        (struct rank_place){&queues->tokens, offsetof(struct token, rank), &queues->rank_nodes};
    index_open(&queues->by_id, carve, s->tokens_max);
    index_open(&queues->by_user, carve, s->tokens_max);
    slab_open(&queues->watchers, carve, sizeof(struct watcher), s->watchers_max + s->operations_max);
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

/* ---- events ---- */

/* Units that are not sold: what everybody who waits can hope for. */
uint64_t
queue_units_left(const struct queue *queue)
{
    return queue->capacity > queue->sold ? queue->capacity - queue->sold : 0;
}

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
    shard->queues.kicked |= PLANTED(PLANT_LOWERED_UNHEARD);
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

const uint32_t wait_bounds_s[WAIT_BUCKETS - 1] = {1,   2,   5,   10,   20,   30,   60,
                                                  120, 300, 600, 1200, 1800, 3600, 7200};

/* How long somebody has waited; the token's id says since when. */
static void
wait_note(struct shard *shard, const struct token *token)
{
    struct queues *queues = &shard->queues;
    uint64_t joined_ms = uuid_time_ms(&token->id);
    uint64_t wait_ms = shard->now_ms > joined_ms ? shard->now_ms - joined_ms : 0;
    uint32_t bucket = 0;
    while (bucket < WAIT_BUCKETS - 1 && wait_ms > wait_bounds_s[bucket] * (uint64_t)1000)
        bucket++;
    queues->waits[bucket]++;
    queues->waits_ms += wait_ms;
}

static void
activate(struct shard *shard, struct event *event, uint32_t slot)
{
    struct queues *queues = &shard->queues;
    struct token *token = token_at(shard, slot);
    rank_tree_remove(&event->queue->waiting, waiting_places(shard), slot);
    token_timer_stop(shard, slot);
    token->state = TOKEN_ACTIVE;
    token->flags |= TOKEN_SLOT;
    token_timer_set(shard, slot, shard->now_ms + event->settings->queue_active_seconds * (uint64_t)1000);
    event->queue->active++;
    queues->waiting_count--;
    queues->active_count++;
    queues->activated++;
    pace_note(shard, event->queue);
    wait_note(shard, token);
    uint64_t sequence = record_token(shard, RECORD_TOKEN_ACTIVATED, slot, NULL);
    pending_push(shard, sequence, slot, PENDING_TOKEN);
}

/* Lets in whom it may. */
void
queue_kick(struct shard *shard, struct event *event)
{
    struct queue *queue = event->queue;
    uint32_t slot;
    if (event->settings->status == EVENT_CLOSED || event_open_at(event) > shard->now_ms)
        return;
    queue->early = false;
    for (uint32_t count = 0;
         queue->active < event->settings->queue_active_max && queue_units_left(queue) > 0 &&
         (slot = rank_tree_first(&queue->waiting, waiting_places(shard))) != SLAB_NONE;
         count++) {
        if (count == KICK_BATCH || !token_end_room(shard)) {
            shard->queues.kicked = true;
            return;
        }
        if (token_grace_ends_ms(shard, token_at(shard, slot)) <= shard->now_ms)
            token_end(shard, slot, TOKEN_EXPIRED, NULL);
        else if (!PLANTED(PLANT_WAKE_LOST) || queue->active == 0)
            activate(shard, event, slot);
        else
            return;
    }
}

/* ---- letting in and out, with the home ---- */

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
    if (PLANTED(PLANT_LOWERED_UNHEARD) && shard->queues.kicked && token_end_room(shard) &&
        event->queue->active >= event->settings->queue_active_max &&
        (slot = rank_tree_first(&event->queue->waiting, waiting_places(shard))) != SLAB_NONE)
        activate(shard, event, slot);
    queue_kick(shard, event);
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
        if (token_end_room(shard))
            token_end(shard, slot, TOKEN_EXPIRED, NULL);
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

/* ---- what homes tell and ask ---- */

void
queue_note(struct shard *shard, uint32_t from, const struct message_queue_note *message)
{
    struct event *event = event_at(shard, message->event);
    uint32_t slot = message->done ? token_find(shard, &message->token) : SLAB_NONE;
    bool ends = slot != SLAB_NONE && token_at(shard, slot)->state == TOKEN_ACTIVE;
    if (ends && !token_end_room(shard) && park_message(shard, from, message, sizeof *message))
        return;
    assert(message->sold >= 0 || event->queue->sold >= (uint64_t)-message->sold);
    event->queue->sold += (uint64_t)message->sold;
    if (ends && token_end_room(shard)) /* no room, not even to wait: its deadline will end it, and the home
                                    admits nobody by it */
        token_end(shard, slot, TOKEN_DONE, NULL);
    if (message->header.operation != SLAB_NONE) {
        struct message_queue_noted answer = {.header = {.type = MESSAGE_QUEUE_NOTED,
                                                        .operation = message->header.operation,
                                                        .serial = message->header.serial}};
        message_send(shard, from, &answer, sizeof answer);
    }
    if (message->sold < 0)
        queue_kick(shard, event);
}

/* The user's place, if there is one. */
bool
queue_user_token(struct shard *shard, uint32_t event, struct bytes user, struct uuid *ret_token)
{
    uint32_t slot = token_of_user(shard, event, user, user_hash(shard, user));
    if (slot == SLAB_NONE)
        return false;
    token_end_overdue(shard, slot);
    if (token_state_now(shard, token_at(shard, slot)) > TOKEN_ACTIVE)
        return false;
    *ret_token = token_at(shard, slot)->id;
    return true;
}

/* The place, or that there is none any more, may still be on its way to disk (R2). */
void
queue_token_of(struct shard *shard, uint32_t from, const struct message_token_of *message)
{
    struct bytes user = {message->user, message->user_size};
    struct message_token_is answer = {
        .header = {.type = MESSAGE_TOKEN_IS,
                   .operation = message->header.operation,
                   .serial = message->header.serial},
        .user_size = message->user_size,
    };
    memcpy(answer.user, message->user, sizeof answer.user);
    answer.has_token = queue_user_token(shard, message->event, user, &answer.token);
    if (PLANTED(PLANT_PLACE_NAMED_TOO_SOON))
        message_send(shard, from, &answer, sizeof answer);
    else
        message_send_when_durable(shard, from, &answer, sizeof answer);
}
