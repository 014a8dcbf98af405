/*
 * admission.c - who may place holds in events with a queue, at the users' home: core/queue.h has the
 * states.
 *
 * Given by the queue's owner (ADMIT), taken back by it (REVOKE), or used up here by the confirm that leaves
 * the user no other live hold. Then it is DONE in the same step as the confirm, so no hold comes after it;
 * the confirm's record says which token it was, and the owner is told when that is durable. DONE stays
 * until the owner has acknowledged: after a crash it is known from the record, and told again.
 */
#include <assert.h>

#include "core/record.h"
#include "core/shard_internal.h"

#define ADMISSION_INLINE 46
#define RESEND_BATCH     256

static inline struct admission *
admission_at(const struct shard *shard, uint32_t slot)
{
    return slab_item(&shard->admissions.slab, slot);
}

void
admissions_open(struct shard *shard, struct carve *carve)
{
    const struct shard_settings *s = &shard->settings;
    slab_open(&shard->admissions.slab, carve, sizeof(struct admission), s->tokens_max);
    slab_open(&shard->admissions.names, carve, USER_ID_SIZE_MAX, s->tokens_max);
    index_open(&shard->admissions.by_user, carve, s->tokens_max);
    shard->admissions.resend_cursor = SLAB_NONE;
}

static struct bytes
admission_user(const struct shard *shard, const struct admission *admission)
{
    const char *name = admission->name;
    if (admission->name_size > ADMISSION_INLINE)
        name = slab_item(&shard->admissions.names, admission->name_more);
    return (struct bytes){name, admission->name_size};
}

static uint32_t
admission_find(const struct shard *shard, uint32_t event, struct bytes user, uint64_t hash)
{
    struct index_cursor cursor = index_find(&shard->admissions.by_user, route_hash_part(hash, event));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE) {
        const struct admission *admission = admission_at(shard, slot);
        if (admission->event == event && bytes_equal(admission_user(shard, admission), user))
            return slot;
    }
    return SLAB_NONE;
}

/* The user's entry, made where there is none; SLAB_NONE: no room. */
static uint32_t
admission_make(struct shard *shard, uint32_t event, struct bytes user)
{
    struct admissions *admissions = &shard->admissions;
    uint64_t hash = user_hash(shard, user);
    uint32_t slot = admission_find(shard, event, user, hash);
    if (slot != SLAB_NONE)
        return slot;
    if (slab_left(&admissions->slab) == 0)
        return SLAB_NONE;
    slot = slab_take(&admissions->slab);
    struct admission *admission = admission_at(shard, slot);
    *admission =
        (struct admission){.event = event, .name_more = SLAB_NONE, .name_size = (uint8_t)user.size};
    char *to = admission->name;
    if (user.size > ADMISSION_INLINE) {
        admission->name_more = slab_take(&admissions->names);
        to = slab_item(&admissions->names, admission->name_more);
    }
    memcpy(to, user.data, user.size);
    index_add(&admissions->by_user, route_hash_part(hash, event), slot);
    return slot;
}

static void
admission_drop(struct shard *shard, uint32_t slot)
{
    struct admissions *admissions = &shard->admissions;
    struct admission *admission = admission_at(shard, slot);
    uint64_t hash = user_hash(shard, admission_user(shard, admission));
    index_remove(&admissions->by_user, route_hash_part(hash, admission->event), slot);
    if (admission->name_more != SLAB_NONE)
        slab_give(&admissions->names, admission->name_more);
    admission->state = 0;
    slab_give(&admissions->slab, slot);
}

void
admission_give(struct shard *shard, uint32_t from, const struct message_admit *message)
{
    struct message_admitted answer = {
        .header = {.type = MESSAGE_ADMITTED, .size = sizeof answer, .operation = message->header.operation},
        .token = message->token,
    };
    uint32_t slot =
        admission_make(shard, message->event, (struct bytes){message->user, message->user_size});
    answer.done = slot != SLAB_NONE;
    if (answer.done) {
        struct admission *admission = admission_at(shard, slot);
        admission->token = message->token;
        admission->deadline_ms = message->deadline_ms;
        admission->state = ADMISSION_GIVEN;
    }
    if (from == shard->settings.shard_index)
        queue_admitted(shard, &answer);
    else
        message_send(shard, from, &answer, sizeof answer);
}

void
admission_revoke(struct shard *shard, uint32_t from, const struct message_revoke *message)
{
    struct bytes user = {message->user, message->user_size};
    struct message_revoked answer = {
        .header = {.type = MESSAGE_REVOKED, .size = sizeof answer, .operation = message->header.operation},
        .token = message->token,
    };
    uint32_t slot = admission_find(shard, message->event, user, user_hash(shard, user));
    if (slot != SLAB_NONE && uuid_equal(&admission_at(shard, slot)->token, &message->token) &&
        !PLANTED(PLANT_REVOKE_IGNORED))
        admission_drop(shard, slot);
    if (from == shard->settings.shard_index)
        queue_revoked(shard, &answer);
    else
        message_send(shard, from, &answer, sizeof answer);
}

bool
admitted(const struct shard *shard, const struct event *event, struct bytes user, uint64_t hash)
{
    if (event->settings->queue_active_max == 0)
        return true;
    uint32_t slot = admission_find(shard, event->number, user, hash);
    if (slot == SLAB_NONE)
        return false;
    const struct admission *admission = admission_at(shard, slot);
    return admission->state == ADMISSION_GIVEN &&
           (shard->now_ms < admission->deadline_ms || PLANTED(PLANT_ADMITTED_OVERDUE));
}

/* Does the user have another hold that is live? */
static bool
other_live(const struct shard *shard, uint32_t user, uint32_t hold)
{
    uint32_t slot = user_at(shard, user)->first_hold;
    for (uint32_t i = 0; slot != SLAB_NONE && i < USER_SCAN_MAX; i++) {
        if (slot != hold && hold_is_live(shard, hold_at(shard, slot)))
            return true;
        slot = hold_at(shard, slot)->user_next;
    }
    return false;
}

void
admission_use(struct shard *shard, struct operation *op)
{
    op->tells_queue = event_at(shard, op->event)->settings->queue_active_max > 0;
    if (!op->tells_queue || op->command == COMMAND_CANCEL)
        return;
    struct bytes user = user_name(shard, user_at(shard, op->user));
    uint32_t slot = admission_find(shard, op->event, user, user_hash(shard, user));
    if (slot == SLAB_NONE || other_live(shard, op->user, op->hold))
        return;
    struct admission *admission = admission_at(shard, slot);
    if (admission->state != ADMISSION_GIVEN || admission->deadline_ms <= shard->now_ms)
        return;
    if (!PLANTED(PLANT_DONE_STILL_ADMITTED))
        admission->state = ADMISSION_DONE;
    op->done = true;
    op->done_token = admission->token;
}

void
admission_tell(struct shard *shard, struct operation *op)
{
    uint32_t owner = event_at(shard, op->event)->owner;
    int64_t units = hold_units(shard, hold_at(shard, op->hold));
    bool own = owner == shard->settings.shard_index;
    struct message_queue_note note = {
        .header = {.type = MESSAGE_QUEUE_NOTE,
                   .size = sizeof note,
                   .operation = own ? SLAB_NONE : operation_slot(shard, op),
                   .serial = op->serial},
        .token = op->done_token,
        .sold = op->command == COMMAND_CANCEL ? -units : units,
        .event = op->event,
        .done = op->done,
    };
    if (own) {
        queue_note(shard, owner, &note);
        return;
    }
    op->awaited++;
    message_send(shard, owner, &note, sizeof note);
}

/* After a start: what the owners may not know. True: there is more. */
bool
admissions_sweep(struct shard *shard)
{
    struct admissions *admissions = &shard->admissions;
    for (uint32_t i = 0; i < RESEND_BATCH && admissions->resend_cursor != SLAB_NONE; i++) {
        uint32_t slot = admissions->resend_cursor;
        if (slot >= admissions->slab.fresh) {
            admissions->resend_cursor = SLAB_NONE;
            return false;
        }
        const struct admission *admission = admission_at(shard, slot);
        if (admission->state == ADMISSION_DONE) {
            uint32_t owner = event_at(shard, admission->event)->owner;
            struct message_queue_note note = {
                .header = {.type = MESSAGE_QUEUE_NOTE, .size = sizeof note, .operation = SLAB_NONE},
                .token = admission->token,
                .event = admission->event,
                .done = true,
            };
            if (!message_room(shard, owner))
                return true;
            if (owner == shard->settings.shard_index)
                queue_note(shard, owner, &note);
            else
                message_send(shard, owner, &note, sizeof note);
        }
        admissions->resend_cursor++;
    }
    return admissions->resend_cursor != SLAB_NONE;
}

bool
admission_kept_next(const struct shard *shard, uint32_t *slot, struct admission_kept *ret_kept)
{
    while (*slot < shard->admissions.slab.fresh) {
        const struct admission *admission = admission_at(shard, (*slot)++);
        if (admission->state != ADMISSION_DONE)
            continue;
        *ret_kept =
            (struct admission_kept){admission->event, admission_user(shard, admission), admission->token};
        return true;
    }
    return false;
}

/* The token, where its owner's queue counts it as one with a slot; NULL: it has ended, or is not known any
 * more. */
static struct token *
active_token(const struct shard *owner, const struct uuid *id)
{
    uint32_t slot = token_find(owner, id);
    struct token *token = slot == SLAB_NONE ? NULL : slab_item(&owner->queues.tokens, slot);
    return token != NULL && token->state == TOKEN_ACTIVE ? token : NULL;
}

bool
admissions_settle(struct shard *const shards[], uint32_t shard_count, uint32_t home,
                  const struct replay_done dones[], uint64_t done_count)
{
    struct shard *shard = shards[home];
    for (uint64_t i = 0; i < done_count; i++) {
        const struct shard *owner = shards[event_at(shard, dones[i].event)->owner];
        struct token *token = active_token(owner, &dones[i].token);
        uint32_t slot;
        if (token == NULL)
            continue;
        if ((slot = admission_make(shard, dones[i].event, token_user(owner, token))) == SLAB_NONE)
            return false;
        admission_at(shard, slot)->token = token->id;
        admission_at(shard, slot)->state = ADMISSION_DONE;
        if (!PLANTED(PLANT_DONE_UNTIL_A_START))
            token->flags |= TOKEN_USED; /* another shard's, but nobody else looks at a token's flags here */
    }
    for (uint32_t owner = 0; owner < shard_count; owner++) {
        const struct queues *queues = &shards[owner]->queues;
        for (uint32_t i = 0; i < queues->tokens.fresh; i++) {
            const struct token *token = slab_item(&queues->tokens, i);
            if (token->state != TOKEN_ACTIVE)
                continue;
            struct bytes user = token_user(shards[owner], token);
            if (route_shard(route16(user_hash(shard, user)), shard_count) != home)
                continue;
            uint32_t slot = admission_make(shard, token->event, user);
            if (slot == SLAB_NONE)
                return false;
            struct admission *admission = admission_at(shard, slot);
            if (admission->state == ADMISSION_DONE)
                continue; /* used up; the owner is told again */
            admission->token = token->id;
            admission->deadline_ms = token->wheel.deadline_ms;
            admission->state = ADMISSION_GIVEN;
        }
    }
    shard->admissions.resend_cursor = 0;
    return true;
}

void
admissions_check(const struct shard *shard)
{
    uint32_t count = 0;
    slab_check(&shard->admissions.slab);
    slab_check(&shard->admissions.names);
    index_check(&shard->admissions.by_user);
    for (uint32_t slot = 0; slot < shard->admissions.slab.fresh; slot++)
        count += admission_at(shard, slot)->state != 0;
    assert(count == shard->admissions.slab.taken);
}
