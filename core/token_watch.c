/*
 * token_watch.c - who waits for news of a token: long polls and answers that wait for a decision (ONCE),
 * and watches of connections (PUSH).
 *
 * A token's watchers stand in its list. A change of its state answers the first kind and tells the second;
 * the sweep answers those whose time is up, and tells of positions that the opening has given or that have
 * fallen by a tenth, some watchers at a time. News that finds no room on its way to another shard is owed,
 * and told by the sweep.
 */
#include <assert.h>

#include "core/shard_internal.h"

#define WATCH_BATCH 256   /* watchers looked at in one sweep */
#define DECISION_MS 10000 /* an answer that waits for an activation: it is decided in microseconds */

void
watcher_remove(struct shard *shard, uint32_t slot)
{
    struct watcher *watcher = watcher_at(shard, slot);
    uint32_t *link = &token_at(shard, watcher->token)->watchers;
    while (*link != slot)
        link = &watcher_at(shard, *link)->next;
    *link = watcher->next;
    token_at(shard, watcher->token)->seen_s = token_now_s(shard); /* it was alive until now */
    if (watcher->kind == WATCH_ONCE)
        wheel_remove(&shard->queues.watcher_wheel, slot);
    shard->queues.owed_count -= watcher->owed;
    watcher->kind = 0;
    slab_give(&shard->queues.watchers, slot);
}

bool
watchers_room(const struct shard *shard)
{
    return slab_left(&shard->queues.watchers) > shard->settings.operations_max;
}

bool
answer_room(const struct shard *shard)
{
    return slab_left(&shard->queues.watchers) > 0;
}

bool
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
        .operation = origin->operation,
        .kind = (uint8_t)kind,
        .command = (uint8_t)command,
        .created = created,
    };
    token_at(shard, token)->watchers = slot;
    if (kind == WATCH_ONCE)
        wheel_add(&shard->queues.watcher_wheel, slot, shard->now_ms + wait_ms);
    return true;
}

/* There is room, and the token has not ended. */
static void
watch_add(struct shard *shard, uint32_t to, uint32_t token, uint64_t tag)
{
    struct origin watch = {to, tag, SLAB_NONE};
    bool added = watcher_add(shard, token, WATCH_PUSH, &watch, COMMAND_QUEUE_WATCH, false, 0);
    assert(added);
    const struct reply *reply = token_reply(shard, token, COMMAND_QUEUE_WATCH, false);
    watcher_at(shard, token_at(shard, token)->watchers)->told_position = reply->token.position;
}

static void
watcher_answer(struct shard *shard, uint32_t slot)
{
    struct watcher *watcher = watcher_at(shard, slot);
    struct origin origin = {watcher->shard, watcher->tag, watcher->operation};
    uint32_t token = watcher->token;
    uint64_t watch = watcher->watch;
    enum command_type command = watcher->command;
    bool created = watcher->created;
    watcher_remove(shard, slot);
    if (watch != 0 && token_state_now(shard, token_at(shard, token)) <= TOKEN_ACTIVE)
        watch_add(shard, origin.shard, token, watch); /* in the room that has just been left */
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
void
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

/* ---- answers that wait for a decision ---- */

/* Let in, but the home has not said so yet; or let out, likewise. */
bool
token_undecided(const struct token *token)
{
    return (token->flags & TOKEN_SLOT) != 0 &&
           (token->state != TOKEN_ACTIVE || (token->flags & TOKEN_ADMITTED) == 0);
}

/* An answer that must wait for what is being decided about the token. */
static void
answer_later(struct shard *shard, const struct origin *origin, uint32_t slot, enum command_type command,
             bool created)
{
    if (watcher_add(shard, slot, WATCH_ONCE, origin, command, created, DECISION_MS))
        return;
    assert(!created); /* answer_room(): BUSY says that nothing was changed (R7) */
    reply_status(shard, origin, command, STATUS_BUSY);
}

void
token_answer_now_or_later(struct shard *shard, const struct origin *origin, uint32_t slot,
                          enum command_type command, bool created)
{
    const struct token *token = token_at(shard, slot);
    if (token_undecided(token) && token_state_now(shard, token) == token->state)
        answer_later(shard, origin, slot, command, created);
    else
        token_answer(shard, origin, slot, command, created);
}

/* ---- watches ---- */

void
token_watch_begin(struct shard *shard, const struct origin *origin, uint32_t slot, uint64_t tag)
{
    bool later = token_undecided(token_at(shard, slot));
    assert(tag != 0);
    if (!watchers_room(shard)) {
        reply_status(shard, origin, COMMAND_QUEUE_WATCH, STATUS_BUSY);
        return;
    }
    if (!later)
        watch_add(shard, origin->shard, slot, tag);
    token_answer_now_or_later(shard, origin, slot, COMMAND_QUEUE_WATCH, false);
    if (later) /* what the answer tells is no news, and after an end there is none */
        watcher_at(shard, token_at(shard, slot)->watchers)->watch = tag;
}

void
token_watch_end(struct shard *shard, uint32_t slot, uint32_t to, uint64_t tag)
{
    uint32_t next;
    for (uint32_t at = token_at(shard, slot)->watchers; at != SLAB_NONE; at = next) {
        struct watcher *watcher = watcher_at(shard, at);
        next = watcher->next;
        if (watcher->shard != to)
            continue;
        if (watcher->kind == WATCH_PUSH && watcher->tag == tag)
            watcher_remove(shard, at);
        else if (watcher->kind == WATCH_ONCE && watcher->watch == tag)
            watcher->watch = 0; /* it is still to be answered */
    }
}

/* ---- the sweep ---- */

/* Answers whose time is up; and pushes to those whose position has fallen by a tenth. */
void
watchers_sweep(struct shard *shard)
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
            if (queues->polls_ended && !token_undecided(token))
                watcher_answer(shard, queues->watch_cursor - 1);
            continue;
        }
        if (watcher->owed) {
            watcher_push(shard, queues->watch_cursor - 1);
            continue;
        }
        if (token->state != TOKEN_WAITING || event_open_at(event_at(shard, token->event)) > shard->now_ms)
            continue;
        /* told 0: before the opening, and now there is a position */
        uint64_t rank = rank_tree_rank(waiting_places(shard), watcher->token);
        if (watcher->told_position == 0 || rank * 10 <= watcher->told_position * 9)
            watcher_push(shard, queues->watch_cursor - 1);
    }
}

void
shard_polls_end(struct shard *shard)
{
    shard->queues.polls_ended = true;
}
