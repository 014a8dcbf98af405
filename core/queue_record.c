/*
 * queue_record.c - tokens as records, and queues from records.
 *
 * The journal of the queue's owner is the truth about tokens (R1). Who is admitted at the homes, slots and
 * units sold are derived: admissions_settle(), queues_settle(). A start gives everybody who waits a fresh
 * grace period.
 */
#include <assert.h>

#include "core/record.h"
#include "core/shard_internal.h"

/* ---- writing ---- */

uint64_t
record_token(struct shard *shard, enum record_type type, uint32_t slot, const struct command *c)
{
    const struct token *token = token_at(shard, slot);
    const struct event_settings *settings = event_at(shard, token->event)->settings;
    struct bytes user = token_user(shard, token);
    struct record_token body = {
        .id = token->id,
        .key = token->rank.key,
        .deadline_ms = token->wheel.deadline_ms,
        .state = token->state,
        .event_size = settings->id_size,
        .user_size = (uint8_t)user.size,
    };
    if (c != NULL) {
        body.trace = c->trace;
        body.request_id_size = (uint8_t)c->request_id.size;
    }
    const struct bytes parts[] = {
        {(const char *)&body, sizeof body},
        {settings->id, settings->id_size},
        user,
        {c == NULL ? NULL : c->request_id.data, body.request_id_size},
    };
    return record_parts(shard, type, parts, sizeof parts / sizeof parts[0]);
}

bool
token_kept_next(struct shard *shard, uint32_t *slot, struct record_token *ret_body, struct bytes *ret_event,
                struct bytes *ret_user)
{
    const struct queues *queues = &shard->queues;
    while (*slot < queues->tokens.fresh) {
        struct token *token = token_at(shard, (*slot)++);
        bool new = (token->flags & TOKEN_NEW) != 0 && !PLANTED(PLANT_SNAPSHOT_TELLS_NEW);
        token->flags &= (uint8_t)~TOKEN_NEW; /* for the next snapshot it is not */
        if (token->state == 0 || new || (token->state == TOKEN_WAITING && PLANTED(PLANT_TOKEN_LOST)))
            continue;
        const struct event_settings *settings = event_at(shard, token->event)->settings;
        *ret_event = (struct bytes){settings->id, settings->id_size};
        *ret_user = token_user(shard, token);
        *ret_body = (struct record_token){
            .id = token->id,
            .key = token->rank.key,
            .deadline_ms = token->state == TOKEN_WAITING ? 0 : token->wheel.deadline_ms,
            .state = token->state,
            .event_size = settings->id_size,
            .user_size = (uint8_t)ret_user->size,
        };
        /* Its slot is not given on yet: it has ended, and when that is remembered from is not known yet. */
        if (token->state > TOKEN_ACTIVE && (token->flags & TOKEN_SLOT) != 0)
            ret_body->deadline_ms = shard->now_ms;
        return true;
    }
    return false;
}

/* ---- reading ---- */

/* The snapshot tells this token as it is after this record, or a later one. */
static bool
reflected(const struct replay *replay, const struct replay_source *source, uint32_t slot, uint64_t sequence)
{
    return source->kind == REPLAY_BEHIND && replay->token_marks != NULL &&
           replay->token_marks[slot] >= sequence;
}

static void
mark(struct replay *replay, uint32_t slot, uint64_t sequence)
{
    if (replay->token_marks != NULL)
        replay->token_marks[slot] = sequence;
}

static enum replay_result
replay_joined(struct shard *home, const struct record *record, uint32_t *ret_slot)
{
    const struct event *event = event_find(home, record->event);
    if (event == NULL || event->queue == NULL || event->owner != home->settings.shard_index)
        return REPLAY_CONTRADICTS;
    if (!token_room(home)) /* as when it was joined: the oldest ended one is forgotten */
        return REPLAY_FULL;
    *ret_slot = token_make(home, event, &record->token.id, record->user);
    token_wait(home, *ret_slot, record->token.key);
    return REPLAY_OK;
}

/* Out of the waiting ones, into those with a slot. Timers come with queues_settle(). */
static void
replay_active(struct shard *home, uint32_t slot, uint64_t deadline_ms)
{
    struct token *token = token_at(home, slot);
    struct event *event = event_at(home, token->event);
    rank_tree_remove(&event->queue->waiting, waiting_places(home), slot);
    token->state = TOKEN_ACTIVE;
    token->flags = TOKEN_SLOT | TOKEN_ADMITTED;
    token->wheel.deadline_ms = deadline_ms;
    event->queue->active++;
    home->queues.waiting_count--;
    home->queues.active_count++;
}

static void
replay_ended(struct shard *home, uint32_t slot, enum token_state state, uint64_t ended_ms)
{
    struct token *token = token_at(home, slot);
    bool active = token->state == TOKEN_ACTIVE;
    token_leave(home, slot, state);
    if (active)
        event_at(home, token->event)->queue->active--;
    token->flags = 0;
    token_remember(home, slot, ended_ms);
}

static enum replay_result
replay_kept(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    struct shard *home = replay->shards[replay->home];
    uint32_t slot;
    if (token_find(home, &record->token.id) != SLAB_NONE)
        return REPLAY_CONTRADICTS;
    enum replay_result result = replay_joined(home, record, &slot);
    if (result != REPLAY_OK)
        return result;
    mark(replay, slot, source->reflected);
    if (record->token.state == TOKEN_ACTIVE)
        replay_active(home, slot, record->token.deadline_ms);
    else if (record->token.state > TOKEN_ACTIVE)
        replay_ended(home, slot, record->token.state, record->token.deadline_ms);
    return REPLAY_OK;
}

enum replay_result
token_replay(struct replay *replay, const struct replay_source *source, const struct record *record)
{
    struct shard *home = replay->shards[replay->home];
    uint32_t slot = token_find(home, &record->token.id);
    if (record->header->type == RECORD_TOKEN_KEPT)
        return replay_kept(replay, source, record);
    if (slot != SLAB_NONE && reflected(replay, source, slot, record->header->sequence))
        return REPLAY_OK;
    switch (record->header->type) {
    case RECORD_TOKEN_JOINED: {
        if (slot != SLAB_NONE)
            return REPLAY_CONTRADICTS;
        enum replay_result result = replay_joined(home, record, &slot);
        if (result == REPLAY_OK)
            mark(replay, slot, 0);
        return result;
    }
    case RECORD_TOKEN_ACTIVATED:
        if (slot == SLAB_NONE)
            return REPLAY_OK; /* forgotten */
        if (token_at(home, slot)->state != TOKEN_WAITING)
            return REPLAY_CONTRADICTS;
        replay_active(home, slot, record->token.deadline_ms);
        return REPLAY_OK;
    default:
        assert(record->header->type == RECORD_TOKEN_ENDED);
        if (slot == SLAB_NONE)
            return REPLAY_OK;
        if (token_at(home, slot)->state > TOKEN_ACTIVE)
            return REPLAY_CONTRADICTS;
        replay_ended(home, slot, record->token.state, record->header->time_ms);
        return REPLAY_OK;
    }
}

/* Units of confirmed holds of the events with a queue that this shard owns. */
static void
settle_sold(const struct shard *home, struct shard *owner)
{
    for (uint32_t slot = 0; slot < home->holds.fresh; slot++) {
        struct hold *hold = hold_at(home, slot);
        if (hold->state != HOLD_CONFIRMED)
            continue;
        struct event *event = event_at(owner, hold->event);
        if (event->owner == owner->settings.shard_index && event->queue != NULL)
            event->queue->sold += hold_units(home, hold);
    }
}

void
queues_settle(struct shard *const shards[], uint32_t shard_count, uint32_t index)
{
    struct shard *shard = shards[index];
    struct queues *queues = &shard->queues;
    if (queues->first == SLAB_NONE)
        return;
    for (uint32_t home = 0; home < shard_count; home++)
        settle_sold(shards[home], shard);
    queues->timer_cursor = 0;
    queues->close_cursor = 0; /* an event may have been closed, and its tokens not ended yet */
    queues->kicked = true;
}
