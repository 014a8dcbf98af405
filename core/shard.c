/*
 * shard.c - the way into a shard and out of it: commands, messages, time, batches, durability.
 *
 *     shard_command ─▶ command_execute ──▶ command_xxx                        (hold_place.c, hold_end.c,
 * ...) └─ another shard's: MESSAGE_COMMAND ─▶ there ─▶ MESSAGE_REPLY ─▶ host.reply shard_message ─▶
 * message_execute ─▶ an owner's work, or operation_answer shard_expire  ─▶ hold_expire for what is due,
 * forgetting, messages that found no room shard_batch, shard_durable ─▶ what waits for the record: units go
 * back (R3), answers leave (R2)
 *
 * Bounds of messages (R7). Each destination has an outbox behind its mailbox. What begins something (a
 * forwarded command, a reserve, units of an expired hold) needs half of the outbox free, else it is refused
 * or put off; the other half is for answers, and is as large as all answers that can be owed at a time:
 * operations_max commands and gathers of every shard, and an event for each gather of its own. So a shard
 * always takes in what others send, and two shards never wait for each other's mailbox.
 */
#include "core/shard_internal.h"

#include <assert.h>

/* What one operation has on its way to one shard at most: an answer, two reserves or looks, two settles. */
#define OPERATION_BYTES 2560

static_assert(640 + 2 * sizeof(struct message_reserved) + 2 * sizeof(struct message_settle) + 5 * 16 <=
                  OPERATION_BYTES,
              "with the entries of the outbox");

/* What a change of an event with a key has on its way besides, while it has a gather: a COUNT, and the
 * event as its answer. */
#define EVENT_ANSWER_BYTES                                                                                 \
    (sizeof(struct message_count) + offsetof(struct message_reply, packed) + REPLY_EVENT_PACKED_MAX +      \
     2 * 16)

/* Homes that are told of a token in one call: about a millisecond of work. */
#define TOKENS_TOLD_BATCH 512

/* ---- opening ---- */

static uint32_t
gather_count(const struct shard_settings *s)
{
    uint32_t count = s->operations_max / 32;
    if (count < 4)
        return 4;
    return count < 256 ? count : 256;
}

static uint64_t
outbox_bytes(const struct shard_settings *s)
{
    if (s->shard_count == 1)
        return 0;
    uint64_t gathered = sizeof(struct message_mapped) + EVENT_ANSWER_BYTES;
    uint64_t answers = (uint64_t)s->operations_max * OPERATION_BYTES + gather_count(s) * gathered;
    return 2 * answers + 4 * (uint64_t)MESSAGE_SIZE_MAX;
}

static uint32_t
pool_node_count(const struct shard_settings *s)
{
    uint64_t count = (uint64_t)s->holds_max + HOLD_POOLS_MAX;
    return count < LINE_NODE_NONE ? (uint32_t)count : LINE_NODE_NONE - 1;
}

static void
lay_out(struct shard *shard, struct carve *carve)
{
    const struct shard_settings *s = &shard->settings;
    events_open(shard, carve);
    slab_open(&shard->users, carve, sizeof(struct user), s->users_max);
    slab_open(&shard->names, carve, USER_ID_SIZE_MAX, s->users_max);
    index_open(&shard->users_index, carve, s->users_max);
    slab_open(&shard->holds, carve, sizeof(struct hold), s->holds_max);
    slab_open(&shard->units, carve, sizeof(struct units_extent), s->holds_max);
    slab_open(&shard->pool_nodes, carve, sizeof(struct pool_node), pool_node_count(s));
    index_open(&shard->holds_index, carve, s->holds_max);
    keys_open(shard, carve);
    queues_open(shard, carve);
    admissions_open(shard, carve);
    slab_open(&shard->operations, carve, sizeof(struct operation), s->operations_max);
    slab_open(&shard->gathers, carve, sizeof(struct gather), gather_count(s));
    slab_open(&shard->parkeds, carve, sizeof(struct parked), s->operations_max);
    shard->pending_max = s->operations_max + 4 * s->expire_batch;
    shard->pending = carve_bytes(carve, shard->pending_max * sizeof *shard->pending);
    for (uint32_t i = 0; i < 2; i++)
        shard->batches[i] = carve_bytes(carve, s->batch_bytes_max);
    shard->outbox_size = outbox_bytes(s);
    for (uint32_t i = 0; i < s->shard_count; i++)
        shard->outboxes[i].bytes = carve_bytes(carve, shard->outbox_size);
}

static void
settings_check(const struct shard_settings *s)
{
    assert(s->shard_count >= 1);
    assert(s->shard_count <= SHARDS_MAX);
    assert(s->shard_index < s->shard_count);
    assert(s->events_max >= 1);
    assert(s->events_max <= EVENTS_MAX);
    assert(s->operations_max >= 1);
    assert(s->tokens_max >= 1);
    assert(s->watchers_max >= 1);
    assert(s->batch_bytes_max >= 16384);
    assert(s->expire_batch >= 1);
}

size_t
shard_size(const struct shard_settings *settings)
{
    struct shard shard;
    struct carve carve = {NULL, 0};
    settings_check(settings);
    (void)carve_bytes(&carve, sizeof shard);
    memset(&shard, 0, sizeof shard);
    shard.settings = *settings;
    lay_out(&shard, &carve);
    return carve.offset;
}

struct shard *
shard_open(void *memory, const struct shard_settings *settings, const struct shard_host *host,
           uint64_t now_ms)
{
    struct carve carve = {memory, 0};
    settings_check(settings);
    assert(((uintptr_t)memory & 63) == 0);
    struct shard *shard = carve_bytes(&carve, sizeof *shard);
    shard->settings = *settings;
    shard->host = *host;
    shard->now_ms = now_ms;
    lay_out(shard, &carve);
    shard->id_random = uuid_random(settings->id_seed, shard->id_draws);
    wheel_open(&shard->wheel, &shard->holds, offsetof(struct hold, wheel), now_ms);
    queues_begin(shard);
    shard->ended_first = shard->ended_last = SLAB_NONE;
    shard->parked_first = shard->parked_last = SLAB_NONE;
    shard->ready_first = shard->ready_last = SLAB_NONE;
    return shard;
}

void
shard_time(struct shard *shard, uint64_t now_ms)
{
    assert(now_ms >= shard->now_ms);
    shard->now_ms = now_ms;
}

/* ---- messages out ---- */

struct outbox_entry {
    uint64_t sequence; /* it must not leave before this record is durable */
    uint32_t size;     /* 0: filler up to the end of the ring */
    uint32_t zero;
};

static uint64_t
outbox_used(const struct outbox *outbox)
{
    return outbox->head - outbox->tail;
}

bool
message_room(const struct shard *shard, uint32_t to)
{
    return to == shard->settings.shard_index || outbox_used(&shard->outboxes[to]) <= shard->outbox_size / 2;
}

static void
outbox_add(struct shard *shard, uint32_t to, const void *message, uint32_t size, uint64_t sequence)
{
    struct outbox *outbox = &shard->outboxes[to];
    uint64_t need = sizeof(struct outbox_entry) + size;
    uint64_t to_end = shard->outbox_size - outbox->head % shard->outbox_size;
    if (to_end < need) {
        if (to_end >= sizeof(struct outbox_entry))
            *(struct outbox_entry *)(outbox->bytes + outbox->head % shard->outbox_size) =
                (struct outbox_entry){.size = 0};
        outbox->head += to_end;
    }
    assert(outbox_used(outbox) + need <= shard->outbox_size);
    uint8_t *at = outbox->bytes + outbox->head % shard->outbox_size;
    *(struct outbox_entry *)at = (struct outbox_entry){.sequence = sequence, .size = size};
    memcpy(at + sizeof(struct outbox_entry), message, size);
    outbox->head += need;
    shard->outbox_used_shards |= SHARD_BIT(to);
}

static void
outbox_flush(struct shard *shard, uint32_t to)
{
    struct outbox *outbox = &shard->outboxes[to];
    while (outbox->tail < outbox->head) {
        uint64_t offset = outbox->tail % shard->outbox_size;
        uint64_t to_end = shard->outbox_size - offset;
        const struct outbox_entry *entry = (const struct outbox_entry *)(outbox->bytes + offset);
        if (to_end < sizeof *entry || entry->size == 0) {
            outbox->tail += to_end;
            continue;
        }
        if (entry->sequence > shard->durable ||
            !shard->host.send(shard->host.context, to, entry + 1, entry->size))
            return;
        outbox->tail += sizeof *entry + entry->size;
    }
    outbox->head = outbox->tail = 0; /* so that the same few pages are used again */
    shard->outbox_used_shards &= ~SHARD_BIT(to);
}

static void
outboxes_flush(struct shard *shard)
{
    for (uint64_t shards = shard->outbox_used_shards; shards != 0; shards &= shards - 1)
        outbox_flush(shard, (uint32_t)__builtin_ctzll(shards));
}

void
message_send(struct shard *shard, uint32_t to, void *message, uint32_t size)
{
    assert(to != shard->settings.shard_index);
    assert(size % 8 == 0);
    assert(size <= MESSAGE_SIZE_MAX);
    ((struct message_header *)message)->size = size;
    if (outbox_used(&shard->outboxes[to]) == 0 && shard->host.send(shard->host.context, to, message, size))
        return;
    outbox_add(shard, to, message, size, 0);
}

void
message_send_when_durable(struct shard *shard, uint32_t to, void *message, uint32_t size)
{
    if (shard->sequence <= shard->durable) {
        message_send(shard, to, message, size);
        return;
    }
    assert(to != shard->settings.shard_index);
    assert(size % 8 == 0);
    ((struct message_header *)message)->size = size;
    outbox_add(shard, to, message, size, shard->sequence);
}

/* ---- replies ---- */

struct reply *
reply_begin(struct shard *shard, enum status status, enum command_type command)
{
    struct reply *reply = &shard->reply;
    reply->status = status;
    reply->kind = REPLY_NONE;
    reply->command = command;
    reply->created = false;
    reply->replayed = false;
    reply->figures = 0;
    reply->used = 0;
    return reply;
}

/* Begins a REPLY message, whose answer the caller packs into it; then reply_message_size(). */
static struct message_reply *
reply_message_begin(struct shard *shard, const struct origin *origin, bool replayed)
{
    struct message_reply *message = &shard->out.reply;
    message->header = (struct message_header){.type = MESSAGE_REPLY, .operation = origin->operation};
    message->tag = origin->tag;
    message->replayed = replayed;
    return message;
}

static uint32_t
reply_message_size(const struct message_reply *message)
{
    return ((uint32_t)offsetof(struct message_reply, packed) + message->packed_size + 7) & ~7u;
}

static uint32_t
reply_message(struct shard *shard, const struct origin *origin, const struct reply *reply)
{
    struct message_reply *message = reply_message_begin(shard, origin, reply->replayed);
    message->packed_size = reply_pack(reply, message->packed);
    return reply_message_size(message);
}

/* Refusals that tell what an earlier command did here: a crash must not take that back (R2). */
static bool
tells_of_records(enum status status)
{
    switch (status) {
    case STATUS_KEYREUSED:
    case STATUS_EXPIRED:
    case STATUS_RELEASED:
    case STATUS_CONFIRMED:
    case STATUS_CANCELLED:
    case STATUS_NOTCONFIRMED:
    case STATUS_NOEXTEND:
    case STATUS_LIMIT:
        return true;
    default:
        return false;
    }
}

void
reply_send(struct shard *shard, const struct origin *origin, const struct reply *reply, uint64_t sequence)
{
    shard->outcomes[reply->status]++;
    if (tells_of_records(reply->status) && shard->sequence > shard->durable)
        sequence = shard->sequence;
    if (origin->operation != SLAB_NONE && origin->shard == shard->settings.shard_index) {
        keeper_answered(shard, origin->operation, reply);
        return;
    }
    if (origin->shard == shard->settings.shard_index) {
        shard->host.reply(shard->host.context, origin->tag, reply, sequence);
        return;
    }
    if (sequence > shard->durable) {
        reply_when_durable(shard, origin, reply, sequence);
        return;
    }
    message_send(shard, origin->shard, &shard->out, reply_message(shard, origin, reply));
}

void
reply_send_packed(struct shard *shard, const struct origin *origin, const uint8_t *packed,
                  uint32_t packed_size, bool replayed)
{
    assert(origin->shard != shard->settings.shard_index);
    struct message_reply *message = reply_message_begin(shard, origin, replayed);
    shard->outcomes[STATUS_OK]++;
    message->packed_size = packed_size;
    memcpy(message->packed, packed, packed_size);
    message_send(shard, origin->shard, message, reply_message_size(message));
}

bool
push_send(struct shard *shard, uint32_t to, uint64_t watch, const struct reply *reply)
{
    uint64_t sequence = shard->sequence > shard->durable ? shard->sequence : 0;
    if (to == shard->settings.shard_index) {
        shard->host.push(shard->host.context, watch, reply, sequence);
        return true;
    }
    if (!message_room(shard, to))
        return false;
    struct origin origin = {to, watch, SLAB_NONE};
    uint32_t size = reply_message(shard, &origin, reply);
    shard->out.header.type = MESSAGE_PUSH;
    if (sequence == 0) {
        message_send(shard, to, &shard->out, size);
        return true;
    }
    shard->out.header.size = size;
    outbox_add(shard, to, &shard->out, size, sequence);
    return true;
}

void
reply_when_durable(struct shard *shard, const struct origin *origin, const struct reply *reply,
                   uint64_t sequence)
{
    uint32_t size = reply_message(shard, origin, reply);
    shard->out.header.size = size;
    outbox_add(shard, origin->shard, &shard->out, size, sequence);
}

void
reply_status(struct shard *shard, const struct origin *origin, enum command_type command,
             enum status status)
{
    reply_send(shard, origin, reply_begin(shard, status, command), 0);
}

void
reply_noevent(struct shard *shard, const struct origin *origin, const struct command *c)
{
    struct reply *reply = reply_begin(shard, STATUS_NOEVENT, c->type);
    assert(c->event.size <= UNIT_TEXT_SIZE_MAX);
    reply->figures = FIGURE_UNIT;
    reply->unit_size = (uint8_t)c->event.size;
    memcpy(reply->unit, c->event.data, c->event.size);
    reply_send(shard, origin, reply, 0);
}

bool
key_replayed(struct shard *shard, const struct origin *origin, const struct command *c, struct bytes owner,
             struct key_hash *ret_key, struct key_hash *ret_fingerprint)
{
    bool same;
    uint32_t size;
    assert(c->key.size > 0);
    *ret_key = key_hash_make(shard, owner, c->key);
    *ret_fingerprint = command_fingerprint(shard, c);
    uint64_t time_ms;
    const uint8_t *packed = key_find(shard, ret_key, ret_fingerprint, &same, &size, &time_ms);
    if (packed == NULL && !key_is_under_way(shard, ret_key))
        return false;
    if (packed == NULL) { /* the first of this key is under way */
        if (!park_command(shard, origin, c))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return true;
    }
    if (!same) {
        reply_status(shard, origin, c->type, STATUS_KEYREUSED);
        return true;
    }
    struct reply *reply = reply_begin(shard, STATUS_OK, c->type);
    reply_unpack(packed, size, event_find_settings, shard, &shard->scratch.view, reply);
    reply->replayed = true;
    if (reply->kind == REPLY_EVENT && PLANTED(PLANT_REPLAY_SHOWS_NOW))
        event_view_fill(&shard->scratch.view, reply->event_view->settings, shard->now_ms);
    if (reply->kind == REPLY_TOKEN) {
        /* what was in so many ms then */
        uint64_t since_ms = shard->now_ms - time_ms;
        reply->token.eta_ms = reply->token.eta_ms > since_ms ? reply->token.eta_ms - since_ms : 0;
        reply->token.poll_ms = reply->token.poll_ms > since_ms ? reply->token.poll_ms - since_ms : 0;
    }
    if (reply->kind == REPLY_EVENT && !message_room(shard, origin->shard)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return true;
    }
    uint32_t slot = reply->kind == REPLY_HOLD ? hold_find(shard, &reply->hold.id) : SLAB_NONE;
    if (slot != SLAB_NONE && (hold_at(shard, slot)->flags & (HOLD_TELLING | HOLD_RETURNING)) != 0) {
        if (!park_command(shard, origin, c))
            reply_status(shard, origin, c->type, STATUS_BUSY);
        return true;
    }
    look_reply(shard, origin, reply);
    return true;
}

/* ---- commands in ---- */

uint64_t
id_draw(struct shard *shard)
{
    uint64_t random = shard->id_random;
    shard->id_random = uuid_random(shard->settings.id_seed, ++shard->id_draws);
    return random;
}

/* The shard that a command belongs to; hash: of its user. */
static uint32_t
command_home(const struct shard *shard, const struct command *c, uint64_t hash)
{
    uint32_t count = shard->settings.shard_count;
    if (keeper_keyed(c))
        return keeper_home(shard, c);
    switch (c->type) {
    case COMMAND_HOLD:
    case COMMAND_HOLDS:
    case COMMAND_CONFIRM:
    case COMMAND_EXTEND:
    case COMMAND_RELEASE:
        /* A hold of another user is unknown here, as it should be; this user's keys are. */
        return route_shard(route16(hash), count);
    case COMMAND_EVENT_CREATE:
        return event_owner(shard, (struct bytes){c->settings->id, c->settings->id_size});
    case COMMAND_EVENT_SET:
    case COMMAND_QUEUE_JOIN:
        return event_owner(shard, c->event);
    case COMMAND_EVENT_GET:
    case COMMAND_SEATS:
        return shard->settings.shard_index;
    default:
        return route_shard(uuid_route16(&c->hold), count);
    }
}

static void
command_forward(struct shard *shard, uint32_t to, const struct origin *origin, const struct command *c)
{
    assert(origin->shard == shard->settings.shard_index);
    if (shard->forwards == shard->settings.operations_max || !message_room(shard, to)) {
        reply_status(shard, origin, c->type, STATUS_BUSY);
        return;
    }
    struct message_command *message = (struct message_command *)&shard->out;
    uint32_t size = command_flatten(c, message);
    message->header = (struct message_header){.type = MESSAGE_COMMAND, .operation = origin->operation};
    message->tag = origin->tag;
    shard->forwards++;
    message_send(shard, to, message, size);
}

void
command_execute(struct shard *shard, const struct origin *origin, const struct command *c)
{
    bool alone = shard->settings.shard_count == 1;
    uint64_t hash = c->user.size > 0 && (!alone || c->type == COMMAND_HOLD) ? user_hash(shard, c->user) : 0;
    uint32_t home = alone ? 0 : command_home(shard, c, hash);
    if (home != shard->settings.shard_index) {
        command_forward(shard, home, origin, c);
        return;
    }
    if (c->key.size > 0 && keeper_keyed(c)) {
        keeper_execute(shard, origin, c);
        return;
    }
    switch (c->type) {
    case COMMAND_HOLD:
        command_hold(shard, origin, c, hash);
        break;
    case COMMAND_CONFIRM:
        command_confirm(shard, origin, c);
        break;
    case COMMAND_EXTEND:
        command_extend(shard, origin, c);
        break;
    case COMMAND_RELEASE:
        command_release(shard, origin, c);
        break;
    case COMMAND_CANCEL:
        command_cancel(shard, origin, c);
        break;
    case COMMAND_HOLD_GET:
        command_hold_get(shard, origin, c);
        break;
    case COMMAND_HOLDS:
        command_holds(shard, origin, c);
        break;
    case COMMAND_EVENT_CREATE:
        command_event_create(shard, origin, c);
        break;
    case COMMAND_EVENT_SET:
        command_event_set(shard, origin, c);
        break;
    case COMMAND_EVENT_GET:
        command_event_get(shard, origin, c);
        break;
    case COMMAND_SEATS:
        command_seats(shard, origin, c);
        break;
    case COMMAND_QUEUE_JOIN:
        command_queue_join(shard, origin, c);
        break;
    case COMMAND_QUEUE_GET:
        command_queue_get(shard, origin, c);
        break;
    case COMMAND_QUEUE_LEAVE:
        command_queue_leave(shard, origin, c);
        break;
    case COMMAND_QUEUE_WATCH:
        command_queue_watch(shard, origin, c);
        break;
    case COMMAND_QUEUE_UNWATCH:
        command_queue_unwatch(shard, origin, c);
        break;
    }
}

void
shard_command(struct shard *shard, uint64_t tag, const struct command *command)
{
    struct origin origin = {shard->settings.shard_index, tag, SLAB_NONE};
    command_execute(shard, &origin, command);
    operations_run_ready(shard);
}

/* ---- messages in ---- */

static void
message_command_in(struct shard *shard, uint32_t from, const struct message_header *header)
{
    uint64_t copy[(COMMAND_FLAT_MAX + 7) / 8];
    assert(header->size <= sizeof copy);
    memcpy(copy, header, header->size);
    struct message_command *message = (struct message_command *)copy;
    struct origin origin = {from, message->tag, message->header.operation};
    command_unflatten(message);
    command_execute(shard, &origin, &message->command);
}

static void
message_reply_in(struct shard *shard, const struct message_reply *message)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, 0);
    assert(shard->forwards > 0);
    shard->forwards--;
    reply_unpack(message->packed, message->packed_size, event_find_settings, shard, &shard->scratch.view,
                 reply);
    reply->replayed = message->replayed != 0;
    if (message->header.operation != SLAB_NONE) {
        keeper_answered(shard, message->header.operation, reply);
        return;
    }
    shard->host.reply(shard->host.context, message->tag, reply, 0);
}

static void
message_push_in(struct shard *shard, const struct message_reply *message)
{
    struct reply *reply = reply_begin(shard, STATUS_OK, COMMAND_QUEUE_WATCH);
    reply_unpack(message->packed, message->packed_size, event_find_settings, shard, &shard->scratch.view,
                 reply);
    shard->host.push(shard->host.context, message->tag, reply, 0);
}

static void
message_reserve_in(struct shard *shard, uint32_t from, const struct message_reserve *message)
{
    struct message_reserved answer;
    if (!owner_reserve(shard, from, message, &answer))
        return;
    if (from != shard->settings.shard_index) {
        message_send(shard, from, &answer, message_reserved_size(&answer));
        return;
    }
    answer.header.size = sizeof answer; /* it had waited here: home and owner are one shard */
    operation_answer(shard, &answer.header, from);
}

static void
message_settle_in(struct shard *shard, uint32_t from, const struct message_settle *message)
{
    owner_settle(shard, from, message);
    if (message->header.operation == SLAB_NONE)
        return;
    struct message_settled answer = {.header = {.type = MESSAGE_SETTLED,
                                                .operation = message->header.operation,
                                                .serial = message->header.serial}};
    message_send(shard, from, &answer, sizeof answer);
}

static void
message_event_in(struct shard *shard, uint32_t from, const struct message_header *header)
{
    struct message_event_done answer = {
        .header = {.type = MESSAGE_EVENT_DONE, .operation = header->operation, .serial = header->serial},
        .status = STATUS_OK,
    };
    if (header->type == MESSAGE_EVENT_OFFER) {
        const struct message_event_offer *offer = (const struct message_event_offer *)header;
        answer.status = event_keep(shard, offer->event, offer->settings);
    } else {
        event_change_apply(shard, (const struct message_event_apply *)header);
    }
    message_send(shard, from, &answer, sizeof answer);
}

void
message_execute(struct shard *shard, uint32_t from, const struct message_header *header)
{
    uint32_t size;
    switch (header->type) {
    case MESSAGE_COMMAND:
        message_command_in(shard, from, header);
        break;
    case MESSAGE_REPLY:
        message_reply_in(shard, (const struct message_reply *)header);
        break;
    case MESSAGE_RESERVE:
        message_reserve_in(shard, from, (const struct message_reserve *)header);
        break;
    case MESSAGE_SETTLE:
        message_settle_in(shard, from, (const struct message_settle *)header);
        break;
    case MESSAGE_LOOK: {
        struct message_looked answer;
        if (!look_section_own(shard, from, (const struct message_look *)header, &answer))
            break;
        answer.header.size = sizeof answer;
        if (from == shard->settings.shard_index)
            operation_answer(shard, &answer.header, from); /* it had waited here */
        else
            message_send(shard, from, &answer, sizeof answer);
        break;
    }
    case MESSAGE_COUNT: {
        struct message_counted answer;
        size = count_own(shard, (const struct message_count *)header, &answer);
        message_send(shard, from, &answer, size);
        break;
    }
    case MESSAGE_MAP:
        size = map_own(shard, (const struct message_map *)header, &shard->out.mapped);
        message_send(shard, from, &shard->out, size);
        break;
    case MESSAGE_RECALL:
        pool_give_slice(shard, from, (const struct message_recall *)header);
        break;
    case MESSAGE_RECALLED:
        pool_recalled(shard, from, (const struct message_recalled *)header);
        break;
    case MESSAGE_ADMIT:
        admission_give(shard, from, (const struct message_admit *)header);
        break;
    case MESSAGE_ADMITTED:
        queue_admitted(shard, (const struct message_admitted *)header);
        break;
    case MESSAGE_REVOKE:
        admission_revoke(shard, from, (const struct message_revoke *)header);
        break;
    case MESSAGE_REVOKED:
        queue_revoked(shard, (const struct message_revoked *)header);
        break;
    case MESSAGE_QUEUE_NOTE:
        queue_note(shard, from, (const struct message_queue_note *)header);
        break;
    case MESSAGE_TOKEN_OF:
        queue_token_of(shard, from, (const struct message_token_of *)header);
        break;
    case MESSAGE_PUSH:
        message_push_in(shard, (const struct message_reply *)header);
        break;
    case MESSAGE_BARRIER:
        snapshot_barrier(shard, from, (const struct message_barrier *)header);
        break;
    case MESSAGE_AGAIN:
        place_begin(shard, operation_at(shard, header->operation));
        break;
    case MESSAGE_EVENT_OFFER:
    case MESSAGE_EVENT_APPLY:
        message_event_in(shard, from, header);
        break;
    default:
        operation_answer(shard, header, from);
        break;
    }
}

/* Events are known to every shard before anybody is asked for their units. */
void
shard_message_foreseen(const struct shard *shard, const void *message)
{
    const struct message_header *header = message;
    if (header->type == MESSAGE_RESERVE) {
        const struct message_reserve *reserve = message;
        const struct event *event = event_at(shard, reserve->event);
        for (uint32_t i = 0; i < reserve->seat_count; i++)
            event_seat_prefetch(event, event_seat_place(event, reserve->seats[i]));
    } else if (header->type == MESSAGE_SETTLE) {
        const struct message_settle *settle = message;
        const struct event *event = event_at(shard, settle->event);
        for (uint32_t i = 0; i < settle->seat_count; i++)
            event_seat_prefetch(event, event_seat_place(event, settle->seats[i].ref));
    }
}

void
shard_message(struct shard *shard, uint32_t from, const void *message, uint32_t size)
{
    const struct message_header *header = message;
    assert(header->size == size);
    assert(from < shard->settings.shard_count);
    assert(from != shard->settings.shard_index);
    message_execute(shard, from, header);
    operations_run_ready(shard);
}

/* ---- records and durability ---- */

/* Every operation under way may have to wait once more, whatever else waits by then: its place is promised.
 */
bool
pending_room(const struct shard *shard, uint32_t count)
{
    uint32_t promised = shard->operations.taken - shard->pending_operations;
    return shard->pending_tail + promised + count <= shard->pending_head + shard->pending_max;
}

void
pending_push(struct shard *shard, uint64_t sequence, uint32_t index, enum pending_kind kind)
{
    assert(shard->pending_tail < shard->pending_head + shard->pending_max);
    shard->pending_operations += kind == PENDING_OPERATION;
    if (kind == PENDING_HOLD && PLANTED(PLANT_RETURN_BEFORE_DURABLE)) {
        hold_return(shard, index);
        return;
    }
    shard->pending[shard->pending_tail++ % shard->pending_max] =
        (struct pending){.sequence = sequence, .index = index, .kind = kind};
}

/* Does what waited for durability, in order; stops where messages find no room, or when it has done so much
 * that the loop would stall: one batch may hold the ends of tens of thousands of holds, and an opening lets
 * in thousands; then shard_backlogged(). True: it could go on at once. */
static bool
pending_run(struct shard *shard)
{
    uint32_t holds = 0, tokens = 0;
    while (shard->pending_head < shard->pending_tail) {
        struct pending next = shard->pending[shard->pending_head % shard->pending_max];
        if (next.sequence > shard->durable ||
            (next.kind == PENDING_HOLD && !hold_return_room(shard, next.index)) ||
            (next.kind >= PENDING_TOKEN && !token_home_room(shard, next.index)))
            return false;
        if ((next.kind == PENDING_HOLD && holds++ == shard->settings.expire_batch) ||
            (next.kind >= PENDING_TOKEN && tokens++ == TOKENS_TOLD_BATCH))
            return true;
        shard->pending_head++;
        switch (next.kind) {
        case PENDING_HOLD:
            hold_return(shard, next.index);
            break;
        case PENDING_TOKEN:
            token_durable(shard, next.index);
            break;
        case PENDING_TOKEN_END:
            token_end_durable(shard, next.index);
            break;
        case PENDING_OPERATION:
            shard->pending_operations--;
            operation_durable(shard, operation_at(shard, next.index));
            break;
        }
    }
    return false;
}

struct shard_batch
shard_batch(struct shard *shard)
{
    struct shard_batch batch = {
        .data = shard->batches[shard->batch_at],
        .size = shard->batch_size,
        .sequence_first = shard->batch_sequence,
        .sequence_last = shard->sequence,
        .record_count = (uint32_t)(shard->records - shard->batch_records),
        .events = shard->batch_events,
    };
    if (shard->batch_size > 0) {
        shard->batch_at ^= 1;
        shard->batch_size = 0;
    }
    return batch;
}

void
shard_durable(struct shard *shard, uint64_t sequence)
{
    assert(sequence >= shard->durable);
    assert(sequence <= shard->sequence);
    shard->durable = sequence;
    (void)pending_run(shard); /* what is left is for shard_expire() */
    outboxes_flush(shard);
    operations_run_ready(shard);
}

/* Commands find room beside a sweep that waits for the disk. */
static bool
sweep_room(const struct shard *shard)
{
    return hold_expire_room(shard) && pending_room(shard, shard->settings.operations_max / 4);
}

bool
shard_expire(struct shard *shard)
{
    uint32_t budget = shard->settings.expire_batch;
    uint32_t slot = SLAB_NONE;
    outboxes_flush(shard);
    bool more = pending_run(shard);
    while (sweep_room(shard) && (slot = wheel_due(&shard->wheel, shard->now_ms, &budget)) != SLAB_NONE)
        hold_expire(shard, slot);
    more |= hold_forget_old(shard, FORGET_BATCH);
    keys_forget_old(shard, FORGET_BATCH);
    more |= queues_sweep(shard);
    more |= admissions_sweep(shard);
    operations_run_ready(shard);
    return more || (wheel_next_ms(&shard->wheel) <= shard->now_ms && sweep_room(shard));
}

uint64_t
shard_next_expiry_ms(const struct shard *shard)
{
    uint64_t next = wheel_next_ms(&shard->wheel);
    uint64_t queues = queues_next_ms(shard);
    if (queues < next)
        next = queues;
    if (shard->ended_first != SLAB_NONE) {
        uint64_t forget = hold_at(shard, shard->ended_first)->ended_ms + shard->settings.ended_ms;
        /* What cannot be forgotten yet, because its user is busy, is tried again by and by. */
        if (forget <= shard->now_ms)
            forget = shard->now_ms + WHEEL_TICK_MS;
        if (forget < next)
            next = forget;
    }
    return next;
}

void
shard_scarce(struct shard *shard, enum scarcity scarcity)
{
    shard->scarcity = scarcity;
}

uint64_t
shard_sequence(const struct shard *shard)
{
    return shard->sequence;
}

bool
shard_backlogged(const struct shard *shard)
{
    bool pending = shard->pending_head < shard->pending_tail &&
                   shard->pending[shard->pending_head % shard->pending_max].sequence <= shard->durable;
    return shard->outbox_used_shards != 0 || pending;
}

/* ---- looks from outside ---- */

uint32_t
shard_event_count(const struct shard *shard)
{
    return shard->events.shown;
}

uint32_t
shard_event_count_laid(const struct shard *shard)
{
    return shard->events.known;
}

const struct event_settings *
shard_event(const struct shard *shard, struct bytes id)
{
    const struct event *event = event_known(shard, id);
    return event == NULL || !event->shown ? NULL : event->settings;
}

void
shard_figures(const struct shard *shard, struct shard_figures *ret_figures)
{
    uint64_t due = wheel_next_ms(&shard->wheel);
    *ret_figures = (struct shard_figures){
        .holds_live = shard->live_count,
        .holds_confirmed = shard->confirmed_count,
        .holds_ended = shard->ended_count,
        .users = shard->users.taken,
        .keys = shard->keys.count,
        .operations = shard->operations.taken,
        .parked = shard->parkeds.taken,
        .records = shard->records,
        .expiry_lag_ms = due < shard->now_ms ? shard->now_ms - due : 0,
        .events = shard->events.shown,
        .expired = shard->expired,
        .tokens_waiting = shard->queues.waiting_count,
        .tokens_active = shard->queues.active_count,
        .joined = shard->queues.joined,
        .activated = shard->queues.activated,
    };
    ret_figures->waits_ms = shard->queues.waits_ms;
    memcpy(ret_figures->waits, shard->queues.waits, sizeof shard->queues.waits);
    memcpy(ret_figures->outcomes, shard->outcomes, sizeof shard->outcomes);
}
