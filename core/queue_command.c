/*
 * queue_command.c - QUEUE JOIN, GET, LEAVE, WATCH, UNWATCH, at the shard that owns the event's queue.
 */
#include <assert.h>
#include <nettle/hmac.h>

#include "core/shard_internal.h"
#include "core/text.h"

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
    (void)put_uuid(text, token);
    hmac_sha256_set_key(&hmac, sizeof settings->lottery_seed, settings->lottery_seed);
    hmac_sha256_update(&hmac, sizeof text, (const uint8_t *)text);
    hmac_sha256_digest(&hmac, sizeof digest, digest);
    for (uint32_t i = 0; i < sizeof digest; i++)
        key = key << 8 | digest[i];
    return key >> 1;
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
        token_end_overdue(shard, slot);
        if (token_state_now(shard, token_at(shard, slot)) <= TOKEN_ACTIVE) {
            token_at(shard, slot)->seen_s = token_now_s(shard);
            token_answer_now_or_later(shard, origin, slot, c->type, false);
            return;
        }
    }
    if (event->settings->status != EVENT_OPEN) {
        refuse(shard, origin, c, STATUS_CLOSED, NULL, NULL);
        return;
    }
    bool unswept = slot != SLAB_NONE && token_at(shard, slot)->state <= TOKEN_ACTIVE;
    if (unswept || shard->scarcity != SCARCE_NOT || !answer_room(shard) || !token_end_room(shard) ||
        !token_room(shard) || !message_room(shard, origin->shard)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct uuid id = uuid_put(shard->now_ms, ++shard->id_counter, route16(event->hash), id_draw(shard));
    bool early = event_open_at(event) > shard->now_ms;
    uint64_t key = early && event->settings->queue_lottery && !PLANTED(PLANT_DRAW_BY_ARRIVAL)
                       ? lottery_key(event->settings, &id)
                       : TICKET | event->queue->ticket;
    slot = token_make(shard, event, &id, c->user);
    token_wait(shard, slot, key);
    token_timer_set(shard, slot, token_grace_ends_ms(shard, token_at(shard, slot)));
    shard->queues.joined++;
    (void)record_token(shard, RECORD_TOKEN_JOINED, slot, c);
    queue_kick(shard, event);
    token_answer_now_or_later(shard, origin, slot, c->type, true);
}

/* The command's token; SLAB_NONE: answered. */
static uint32_t
token_for(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_find(shard, &c->hold);
    if (slot == SLAB_NONE) {
        struct reply *reply = reply_begin(shard, STATUS_NOTOKEN, c->type);
        reply->figures = FIGURE_UNIT;
        reply->unit_size = (uint8_t)(put_uuid(reply->unit, &c->hold) - reply->unit);
        reply_send(shard, origin, reply, 0);
        return SLAB_NONE;
    }
    token_end_overdue(shard, slot);
    if (token_state_now(shard, token_at(shard, slot)) == TOKEN_WAITING)
        token_at(shard, slot)->seen_s = token_now_s(shard);
    return slot;
}

void
command_queue_get(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    if (c->wait_ms > 0 && !shard->queues.polls_ended &&
        token_state_now(shard, token_at(shard, slot)) == TOKEN_WAITING) {
        if (!watchers_room(shard) ||
            !watcher_add(shard, slot, WATCH_ONCE, origin, c->type, false, c->wait_ms))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    token_answer_now_or_later(shard, origin, slot, c->type, false);
}

void
command_queue_leave(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    if (token_at(shard, slot)->state <= TOKEN_ACTIVE) {
        if (!answer_room(shard) || !token_end_room(shard)) {
            reply_status(shard, origin, c->type, STATUS_BUSY);
            return;
        }
        token_end(shard, slot, TOKEN_LEFT, c);
    }
    token_answer_now_or_later(shard, origin, slot, c->type, false);
}

void
command_queue_watch(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    if (token_state_now(shard, token_at(shard, slot)) > TOKEN_ACTIVE) {
        token_answer_now_or_later(shard, origin, slot, c->type, false);
        return;
    }
    token_watch_begin(shard, origin, slot, c->watch);
}

void
command_queue_unwatch(struct shard *shard, const struct origin *origin, const struct command *c)
{
    uint32_t slot = token_for(shard, origin, c);
    if (slot == SLAB_NONE)
        return;
    token_watch_end(shard, slot, origin->shard, c->watch);
    token_answer_now_or_later(shard, origin, slot, c->type, false);
}
