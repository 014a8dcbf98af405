/*
 * token.c - a place in a waiting room: found by its id or its user, made, shown, timed, ended, remembered
 * and forgotten. core/queue.h has its states; who is let in is queue.c's.
 *
 * Silence. A sign of life only notes the time, to the second, rounded up; the wheel finds a token a grace
 * period after it was put there, and puts it back if it has been heard of since. Who is watched is alive,
 * and silent from the end of the watch on. A place that has been silent for too long has ended for whoever
 * looks (R8), and ends when it is touched, whether the sweep has come by or not.
 */
#include <assert.h>

#include "core/shard_internal.h"

#define RECORD_TOKEN_SIZE 512 /* at most */

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
uint32_t
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

/* ---- time ---- */

void
token_timer_set(struct shard *shard, uint32_t slot, uint64_t deadline_ms)
{
    assert((token_at(shard, slot)->flags & TOKEN_TIMED) == 0);
    token_at(shard, slot)->flags |= TOKEN_TIMED;
    wheel_add(&shard->queues.wheel, slot, deadline_ms);
}

void
token_timer_stop(struct shard *shard, uint32_t slot)
{
    if ((token_at(shard, slot)->flags & TOKEN_TIMED) != 0)
        wheel_remove(&shard->queues.wheel, slot);
    token_at(shard, slot)->flags &= (uint8_t)~TOKEN_TIMED;
}

uint32_t
token_now_s(const struct shard *shard)
{
    return (uint32_t)((shard->now_ms - shard->queues.started_ms) / 1000 + 1);
}

uint64_t
token_grace_ends_ms(const struct shard *shard, const struct token *token)
{
    uint64_t grace_ms = event_at(shard, token->event)->settings->queue_grace_seconds * (uint64_t)1000;
    bool restored = (token->flags & TOKEN_TIMED) == 0 && shard->queues.timer_cursor != SLAB_NONE;
    if (token->watchers != SLAB_NONE || restored) /* after a start nobody's grace has begun yet */
        return shard->now_ms + grace_ms;
    return shard->queues.started_ms + token->seen_s * (uint64_t)1000 + grace_ms;
}

/* ---- what a token shows ---- */

enum token_state
token_state_now(const struct shard *shard, const struct token *token)
{
    if (token->state > TOKEN_ACTIVE)
        return token->state;
    if ((token->flags & TOKEN_USED) != 0)
        return TOKEN_DONE;
    uint64_t ends_ms =
        token->state == TOKEN_ACTIVE ? token->wheel.deadline_ms : token_grace_ends_ms(shard, token);
    if (PLANTED(PLANT_SILENT_REVIVED) && token->state == TOKEN_WAITING)
        ends_ms = UINT64_MAX;
    if (event_at(shard, token->event)->settings->status == EVENT_CLOSED || ends_ms <= shard->now_ms)
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
        .state = token_state_now(shard, token),
    };
    if (ret_view->state == TOKEN_ACTIVE)
        ret_view->deadline_ms = token->wheel.deadline_ms;
    if (ret_view->state != TOKEN_WAITING)
        return;
    uint64_t rank = rank_tree_rank(waiting_places(shard), slot);
    uint64_t opens_in_ms = event_open_at(event) > shard->now_ms ? event_open_at(event) - shard->now_ms : 0;
    if (opens_in_ms == 0) {
        ret_view->position = PLANTED(PLANT_RANK_COUNTS_LEAVERS) ? (token->rank.key & ~TICKET) + 1 : rank;
        ret_view->chance_none = rank > queue_units_left(queue);
    }
    /* Before a draw nobody learns his place, by a guess as little as by its number: the middle one's is
     * told. */
    if (opens_in_ms > 0 && event->settings->queue_lottery)
        rank = queue->waiting.count / 2 + 1;
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

struct reply *
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
void
token_answer(struct shard *shard, const struct origin *origin, uint32_t slot, enum command_type command,
             bool created)
{
    const struct token *token = token_at(shard, slot);
    bool settled = token->state <= TOKEN_ACTIVE &&
                   (command != COMMAND_QUEUE_JOIN || (PLANTED(PLANT_JOIN_TOLD_TOO_SOON) && !created));
    struct reply *reply = token_reply(shard, slot, command, created);
    reply_send(shard, origin, reply, settled || shard->sequence <= shard->durable ? 0 : shard->sequence);
}

/* ---- the beginning ---- */

/* An ended token makes room for a new one where there is none. */
bool
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
    bool new = snapshot_comes_to(shard, SNAPSHOT_TOKENS, shard->snapshot.token, slot);
    *token = (struct token){
        .flags = new ? TOKEN_NEW : 0,
        .event = event->number,
        .watchers = SLAB_NONE,
        .rank.leaf = SLAB_NONE,
        .id = *id,
        .seen_s = token_now_s(shard),
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
    rank_tree_insert(&queue->waiting, waiting_places(shard), slot, key);
    if ((key & TICKET) != 0 && (key & ~TICKET) >= queue->ticket)
        queue->ticket = (key & ~TICKET) + 1;
    shard->queues.waiting_count++;
}

/* ---- the end ---- */

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

void
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
        rank_tree_remove(&queue->waiting, waiting_places(shard), slot);
        queues->waiting_count--;
    } else {
        queues->active_count--;
    }
    index_remove(&queues->by_user, place_hash(user_hash(shard, token_user(shard, token)), token->event),
                 slot);
    token->state = (uint8_t)state;
}

bool
token_end_room(const struct shard *shard)
{
    return shard->scarcity != SCARCE_ALL && record_room(shard, RECORD_TOKEN_SIZE) && pending_room(shard, 2);
}

void
token_end(struct shard *shard, uint32_t slot, enum token_state state, const struct command *c)
{
    struct token *token = token_at(shard, slot);
    bool slot_held = (token->flags & TOKEN_SLOT) != 0;
    bool used = (token->flags & TOKEN_USED) != 0; /* by a confirm before whatever ends it now */
    token_timer_stop(shard, slot);
    token_leave(shard, slot, used ? TOKEN_DONE : state);
    uint64_t sequence = record_token(shard, RECORD_TOKEN_ENDED, slot, c);
    if (slot_held) {
        pending_push(shard, sequence, slot, PENDING_TOKEN_END);
        return;
    }
    token_remember(shard, slot, shard->now_ms);
    token_changed(shard, slot);
}

/* What is over its deadline, or was used up before a start, ends when it is touched. */
void
token_end_overdue(struct shard *shard, uint32_t slot)
{
    const struct token *token = token_at(shard, slot);
    enum token_state state = token_state_now(shard, token);
    if (token->state <= TOKEN_ACTIVE && state > TOKEN_ACTIVE && token_end_room(shard))
        token_end(shard, slot, state, NULL);
}
