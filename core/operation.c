/*
 * operation.c - commands under way, and what waits for them.
 *
 * A command that is decided at once takes an operation, uses it as its notes, and gives it back in the same
 * call. One that asks other shards keeps it until the answers have come:
 *
 *     take ─▶ reserve ... ─▶ decided (recorded) ─▶ durable and acknowledged ─▶ answered, free
 *                  └─▶ refused, answered, free
 *
 * Waiting, each kind bounded by the slab `parkeds` (at the bound: BUSY):
 *
 *     a command whose user is busy        stands behind the operation that holds the user
 *     a reserve of a unit that is         stands in the shard's parked list, which is run again whenever
 *     undecided, a command on a hold      something was settled (shard->wake)
 *     whose units are on their way back
 */
#include "core/shard_internal.h"

#include <assert.h>

struct operation *
operation_take(struct shard *shard, const struct origin *origin, enum command_type command)
{
    uint32_t slot = slab_take(&shard->operations);
    assert(slot != SLAB_NONE);
    struct operation *op = operation_at(shard, slot);
    op->serial = ++shard->operation_serial;
    op->command = (uint8_t)command;
    op->stage = STAGE_RESERVE;
    op->late = op->multiple = op->after_durable = op->user_busy = op->orphans = op->durable = false;
    op->key_used = 0;
    op->origin = *origin;
    op->user = op->hold = op->replaced = op->gather = SLAB_NONE;
    op->seat_count = op->seats_asked = op->pool_count = op->best_count = 0;
    op->best_tries = 0;
    op->to_ask = op->granted = 0;
    op->awaited = 0;
    op->refusal.status = STATUS_OK;
    op->telling = false;
    op->replayed = op->best_wait = false;
    op->best_again = 0;
    op->tells_queue = op->done = false;
    op->promised = 1;
    shard->promised++;
    op->created = false;
    op->event_id_size = 0;
    op->request_id_size = op->payment_ref_size = 0;
    op->waiting_first = op->waiting_last = SLAB_NONE;
    op->sequence = 0;
    return op;
}

void
operation_meta(struct operation *op, const struct command *command)
{
    op->trace = command->trace;
    op->request_id_size = (uint8_t)command->request_id.size;
    bytes_copy(op->request_id, command->request_id);
}

void
operation_free(struct shard *shard, struct operation *op)
{
    assert(op->stage != STAGE_FREE);
    assert(op->waiting_first == SLAB_NONE);
    assert(!op->user_busy);
    record_promise(shard, op, 0);
    if (op->gather != SLAB_NONE) {
        slab_give(&shard->gathers, op->gather);
        shard->wake = true; /* somebody may wait for it */
    }
    op->stage = STAGE_FREE;
    slab_give(&shard->operations, operation_slot(shard, op));
}

bool
operation_room(const struct shard *shard, bool ends_something)
{
    const struct shard_settings *s = &shard->settings;
    uint32_t keep = ends_something ? 0 : s->operations_max / 8;
    uint64_t keep_bytes = ends_something ? 0 : s->batch_bytes_max / 8;
    return shard->scarcity != SCARCE_ALL && slab_left(&shard->operations) > keep &&
           pending_room(shard, keep + 1) && record_room(shard, 2048 + keep_bytes);
}

void
operation_user_busy(struct shard *shard, struct operation *op)
{
    struct user *user = user_at(shard, op->user);
    assert(user->busy == SLAB_NONE);
    user->busy = operation_slot(shard, op);
    op->user_busy = true;
    if (op->key_used)
        key_under_way(shard, op, true);
}

void
operation_user_free(struct shard *shard, struct operation *op)
{
    if (!op->user_busy)
        return;
    struct user *user = user_at(shard, op->user);
    assert(user->busy == operation_slot(shard, op));
    user->busy = SLAB_NONE;
    op->user_busy = false;
    if (op->key_used)
        key_under_way(shard, op, false);
    if (op->waiting_first != SLAB_NONE) {
        struct parked *first = slab_item(&shard->parkeds, op->waiting_first);
        first->run_last = op->waiting_last;
        if (shard->ready_first == SLAB_NONE)
            shard->ready_first = op->waiting_first;
        else
            ((struct parked *)slab_item(&shard->parkeds, shard->ready_last))->next = op->waiting_first;
        shard->ready_last = op->waiting_last;
        op->waiting_first = op->waiting_last = SLAB_NONE;
    }
    user_release(shard, op->user);
}

static struct parked *
parked_take(struct shard *shard, uint32_t *ret_slot)
{
    uint32_t slot = slab_take(&shard->parkeds);
    if (slot == SLAB_NONE)
        return NULL;
    struct parked *parked = slab_item(&shard->parkeds, slot);
    parked->next = SLAB_NONE;
    parked->run_last = SLAB_NONE;
    parked->user = SLAB_NONE;
    *ret_slot = slot;
    return parked;
}

static void
list_append(struct shard *shard, uint32_t *first, uint32_t *last, uint32_t slot)
{
    if (*first == SLAB_NONE)
        *first = slot;
    else
        ((struct parked *)slab_item(&shard->parkeds, *last))->next = slot;
    *last = slot;
}

bool
park_command(struct shard *shard, const struct origin *origin, const struct command *command)
{
    uint32_t slot;
    struct parked *parked = parked_take(shard, &slot);
    if (parked == NULL)
        return false;
    parked->from = PARKED_COMMAND;
    parked->origin = *origin;
    (void)command_flatten(command, (struct message_command *)parked->bytes);
    list_append(shard, &shard->parked_first, &shard->parked_last, slot);
    return true;
}

bool
park_command_behind(struct shard *shard, uint32_t user, const struct origin *origin,
                    const struct command *command)
{
    struct operation *op = operation_at(shard, user_at(shard, user)->busy);
    uint32_t slot;
    struct parked *parked = parked_take(shard, &slot);
    if (parked == NULL)
        return false;
    assert(op->stage != STAGE_FREE);
    parked->from = PARKED_COMMAND;
    parked->origin = *origin;
    parked->user = user;
    (void)command_flatten(command, (struct message_command *)parked->bytes);
    list_append(shard, &op->waiting_first, &op->waiting_last, slot);
    return true;
}

bool
park_message(struct shard *shard, uint32_t from, const void *message, uint32_t size)
{
    uint32_t slot;
    struct parked *parked = parked_take(shard, &slot);
    if (parked == NULL)
        return false;
    assert(size <= sizeof parked->bytes);
    parked->from = from;
    memcpy(parked->bytes, message, size);
    list_append(shard, &shard->parked_first, &shard->parked_last, slot);
    return true;
}

/* Runs one parked thing; it may park itself again, which takes another slot, so this one is copied out. */
static void
parked_run(struct shard *shard, uint32_t slot)
{
    struct parked copy = *(struct parked *)slab_item(&shard->parkeds, slot);
    slab_give(&shard->parkeds, slot);
    if (copy.from == PARKED_COMMAND) {
        struct message_command *message = (struct message_command *)copy.bytes;
        command_unflatten(message);
        command_execute(shard, &copy.origin, &message->command);
    } else {
        message_execute(shard, copy.from, (const struct message_header *)copy.bytes);
    }
}

/* The first of the ready: its user may be busy anew, then the whole run stands behind that operation. */
static void
ready_run_first(struct shard *shard)
{
    uint32_t slot = shard->ready_first;
    struct parked *parked = slab_item(&shard->parkeds, slot);
    uint32_t run_last = parked->run_last;
    assert(run_last != SLAB_NONE);
    uint32_t busy = user_at(shard, parked->user)->busy;
    if (busy != SLAB_NONE) {
        struct parked *last = slab_item(&shard->parkeds, run_last);
        struct operation *op = operation_at(shard, busy);
        shard->ready_first = last->next;
        if (shard->ready_first == SLAB_NONE)
            shard->ready_last = SLAB_NONE;
        last->next = op->waiting_first;
        if (op->waiting_first == SLAB_NONE)
            op->waiting_last = run_last;
        op->waiting_first = slot;
        return;
    }
    shard->ready_first = parked->next;
    if (shard->ready_first == SLAB_NONE)
        shard->ready_last = SLAB_NONE;
    else if (slot != run_last)
        ((struct parked *)slab_item(&shard->parkeds, shard->ready_first))->run_last = run_last;
    parked_run(shard, slot);
}

bool
park_again(struct shard *shard, const struct operation *op)
{
    struct message_header header = {.type = MESSAGE_AGAIN,
                                    .size = sizeof header,
                                    .operation = operation_slot(shard, op),
                                    .serial = op->serial};
    return park_message(shard, shard->settings.shard_index, &header, sizeof header);
}

void
operations_run_ready(struct shard *shard)
{
    /* Each round runs what was there when it began; what parks again waits for the next change. */
    for (uint32_t rounds = 0; rounds < 2 && (shard->wake || shard->ready_first != SLAB_NONE); rounds++) {
        while (shard->ready_first != SLAB_NONE)
            ready_run_first(shard);
        if (!shard->wake)
            continue;
        shard->wake = false;
        uint32_t slot = shard->parked_first;
        shard->parked_first = shard->parked_last = SLAB_NONE;
        while (slot != SLAB_NONE) {
            uint32_t next = ((struct parked *)slab_item(&shard->parkeds, slot))->next;
            parked_run(shard, slot);
            slot = next;
        }
    }
    while (shard->ready_first != SLAB_NONE)
        ready_run_first(shard);
}

void
operation_when_durable(struct shard *shard, struct operation *op)
{
    if (op->sequence <= shard->durable || PLANTED(PLANT_ANSWER_BEFORE_DURABLE))
        operation_durable(shard, op);
    else
        pending_push(shard, op->sequence, operation_slot(shard, op), PENDING_OPERATION);
}

/* While owners have yet to acknowledge, nobody else is given an answer about the hold that they do not
 * show. */
static void
telling(struct shard *shard, struct operation *op, bool on)
{
    uint32_t holds[2] = {op->hold, op->replaced};
    if (op->telling == on)
        return;
    op->telling = on;
    for (uint32_t i = 0; i < 2; i++) {
        if (holds[i] == SLAB_NONE)
            continue;
        struct hold *hold = hold_at(shard, holds[i]);
        assert(((hold->flags & HOLD_TELLING) != 0) != on);
        hold->flags ^= HOLD_TELLING;
    }
    shard->wake = true;
}

/* Is the answer to be read from the hold itself? One that was confirmed, released or cancelled stays as it
 * was decided until the answer has left: HOLD_RETURNING, and then HOLD_TELLING, keep everybody off. */
static bool
told_by_hold(const struct operation *op)
{
    return op->after_durable && op->replaced == SLAB_NONE;
}

static void
finish(struct shard *shard, struct operation *op)
{
    if (!op->durable || op->awaited > 0)
        return;
    telling(shard, op, false);
    if (!told_by_hold(op) && op->origin.shard != shard->settings.shard_index) {
        reply_send_packed(shard, &op->origin, op->packed, op->packed_size, op->replayed);
        operation_free(shard, op);
        return;
    }
    struct reply *reply = reply_begin(shard, STATUS_OK, op->command);
    if (told_by_hold(op)) {
        reply->kind = REPLY_HOLD;
        hold_view_recorded(shard, op->hold, &reply->hold);
    } else {
        reply_unpack(op->packed, op->packed_size, event_find_settings, shard, &shard->scratch.view, reply);
    }
    reply->replayed = op->replayed;
    reply_send(shard, &op->origin, reply, 0);
    operation_free(shard, op);
}

void
operation_decided(struct shard *shard, struct operation *op, const struct reply *reply)
{
    op->stage = STAGE_DECIDED;
    record_promise(shard, op, 0);
    if (op->key_used && !PLANTED(PLANT_KEY_FORGOTTEN))
        key_remember(shard, &op->key, &op->fingerprint, op->route, shard->now_ms, reply);
    operation_user_free(shard, op);
    /* An event is too long to be kept until its record is durable: also to another shard it is sent now,
     * and waits on the way. */
    bool now =
        op->origin.shard == shard->settings.shard_index || (reply != NULL && reply->kind == REPLY_EVENT);
    if (now && !op->after_durable && op->awaited == 0 && !op->tells_queue) {
        reply_send(shard, &op->origin, reply, op->sequence);
        operation_free(shard, op);
        return;
    }
    /* A late confirm's hold has long been known: a further command on it may come before this one is
     * durable. */
    if (op->awaited > 0 || op->late)
        telling(shard, op, true);
    if (!told_by_hold(op)) {
        assert(reply->figures == 0);
        assert(reply->status == STATUS_OK);
        op->packed_size = (uint16_t)reply_pack(reply, op->packed);
        assert(op->packed_size <= OPERATION_PACKED_MAX);
    }
    operation_when_durable(shard, op);
}

void
operation_durable(struct shard *shard, struct operation *op)
{
    if (op->stage == STAGE_AGAIN) {
        place_begin(shard, op);
        return;
    }
    assert(op->stage == STAGE_DECIDED || op->stage == STAGE_EVENT_APPLY);
    if (op->stage == STAGE_EVENT_APPLY) {
        event_change_durable(shard, op);
        return;
    }
    op->durable = true;
    if (op->after_durable)
        end_durable(shard, op);
    if (op->tells_queue)
        admission_tell(shard, op);
    if (op->awaited > 0)
        telling(shard, op, true);
    finish(shard, op);
}

void
operation_finish_refused(struct shard *shard, struct operation *op, const struct reply *reply)
{
    operation_user_free(shard, op);
    reply_send(shard, &op->origin, reply, 0);
    operation_free(shard, op);
}

/* An answer of another shard to an operation of this one. */
void
operation_answer(struct shard *shard, const struct message_header *header, uint32_t from)
{
    struct operation *op = operation_at(shard, header->operation);
    assert(header->operation < shard->operations.fresh);
    assert(op->stage != STAGE_FREE);
    assert(op->serial == header->serial);
    assert(op->awaited > 0);
    op->awaited--;
    switch (header->type) {
    case MESSAGE_RESERVED:
        place_reserved(shard, op, from, (const struct message_reserved *)header);
        break;
    case MESSAGE_SETTLED:
    case MESSAGE_QUEUE_NOTED:
        finish(shard, op);
        break;
    case MESSAGE_TOKEN_IS:
        holds_token_is(shard, op, (const struct message_token_is *)header);
        break;
    case MESSAGE_LOOKED:
        place_looked(shard, op, from, &((const struct message_looked *)header)->look);
        break;
    case MESSAGE_EVENT_DONE:
        event_change_done(shard, op, from, ((const struct message_event_done *)header)->status);
        break;
    default:
        look_answer(shard, op, from, header);
        break;
    }
}
