/*
 * record.c - appending records to the batch that fills, and reading them.
 *
 * The batch is bounded: a command that needs a record is refused (BUSY) while the batch has no room for it
 * and for what must always be possible, so appending itself never fails.
 */
#include "core/record.h"

#include <assert.h>

#include "core/shard_internal.h"

/* The longest record of a hold or a key, but for one whose answer is an event. */
#define RECORD_SIZE_MAX 1280

static_assert(sizeof(struct record_header) + sizeof(struct record_key_hashes) + sizeof(struct record_key) +
                      REPLY_PACKED_MAX + 8 <=
                  RECORD_SIZE_MAX,
              "a kept key fits");
static_assert(sizeof(struct record_header) + sizeof(struct record_key_hashes) + sizeof(struct record_key) +
                      8 <=
                  RECORD_AROUND,
              "a kept key fits around an answer of any size");
static_assert(sizeof(struct record_header) + sizeof(struct record_cause) + REQUEST_ID_SIZE_MAX + 8 <=
                  RECORD_AROUND,
              "an event's cause fits around its settings");
static_assert(sizeof(struct record_header) + sizeof(struct record_key_hashes) + sizeof(struct record_hold) +
                      EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX + REQUEST_ID_SIZE_MAX + PAYMENT_REF_SIZE_MAX +
                      HOLD_SEATS_MAX * sizeof(struct record_seat) +
                      HOLD_POOLS_MAX * sizeof(struct record_pool) + sizeof(struct uuid) + 8 <=
                  RECORD_SIZE_MAX,
              "a hold fits");

/* Room for so many bytes besides the records that operations under way are going to append. */
bool
record_room(const struct shard *shard, size_t size)
{
    uint64_t promised = (uint64_t)shard->promised * RECORD_SIZE_MAX;
    return shard->batch_size + promised + size <= shard->settings.batch_bytes_max;
}

void
record_promise(struct shard *shard, struct operation *op, size_t size)
{
    static_assert(EVENT_SETTINGS_SIZE_MAX / RECORD_SIZE_MAX < UINT16_MAX,
                  "no record is longer than can be promised");
    shard->promised -= op->promised;
    op->promised = (uint16_t)((size + RECORD_SIZE_MAX - 1) / RECORD_SIZE_MAX);
    shard->promised += op->promised;
}

/* Writes into the batch that fills; `at` is where the next part goes. */
struct writer {
    uint8_t *start;
    uint8_t *at;
};

static inline void
put(struct writer *w, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(w->at, data, size);
        w->at += size;
    }
}

static inline void
put_text(struct writer *w, struct bytes text)
{
    bytes_copy(w->at, text);
    w->at += text.size;
}

/* The next part, to be filled in place: only behind parts of a multiple of eight bytes. */
static inline void *
part(struct writer *w, size_t size)
{
    void *at = w->at;
    w->at += size;
    return at;
}

static struct writer
record_begin(struct shard *shard, enum record_type type, uint8_t flags, const struct operation *op)
{
    struct writer w;
    w.start = w.at = shard->batches[shard->batch_at] + shard->batch_size;
    bool keyed = op != NULL && op->key_used != 0;
    struct record_header *header = part(&w, sizeof *header);
    *header = (struct record_header){
        .type = (uint8_t)type,
        .flags = (uint8_t)(flags | (keyed ? RECORD_KEY : 0)),
        .sequence = shard->sequence + 1,
        .time_ms = shard->now_ms,
    };
    if (keyed) {
        struct record_key_hashes *hashes = part(&w, sizeof *hashes);
        *hashes = (struct record_key_hashes){
            .key = {op->key.low, op->key.high},
            .fingerprint = {op->fingerprint.low, op->fingerprint.high},
        };
    }
    return w;
}

static uint64_t
record_end(struct shard *shard, struct writer *w)
{
    while (((w->at - w->start) & 7) != 0)
        *w->at++ = 0;
    uint32_t size = (uint32_t)(w->at - w->start);
    assert(shard->batch_size + size <= shard->settings.batch_bytes_max);
    memcpy(w->start, &size, sizeof size);
    if (shard->batch_size == 0) {
        shard->batch_sequence = shard->sequence + 1;
        shard->batch_records = shard->records;
        shard->batch_events = false;
    }
    shard->batch_size += size;
    shard->records++;
    return ++shard->sequence;
}

/* The record of what an operation did to a hold: placed, confirmed, extended, released, cancelled. */
uint64_t
record_hold(struct shard *shard, uint32_t slot, const struct operation *op)
{
    static const uint8_t types[] = {
        [COMMAND_HOLD] = RECORD_HOLD_PLACED,      [COMMAND_CONFIRM] = RECORD_HOLD_CONFIRMED,
        [COMMAND_EXTEND] = RECORD_HOLD_EXTENDED,  [COMMAND_RELEASE] = RECORD_HOLD_RELEASED,
        [COMMAND_CANCEL] = RECORD_HOLD_CANCELLED,
    };
    struct hold *hold = hold_at(shard, slot);
    const struct unit_line *lines = hold_lines(shard, hold);
    /* A late confirm tells the whole hold: where memory is short, it may be forgotten by the time it is
     * replayed. */
    bool whole = op->command == COMMAND_HOLD || op->late;
    uint8_t flags = 0;
    if (op->late)
        flags |= RECORD_LATE;
    if (whole && op->replaced != SLAB_NONE)
        flags |= RECORD_REPLACES;
    bool done = op->done && !PLANTED(PLANT_DONE_NOT_RECORDED);
    if (done)
        flags |= RECORD_DONE;
    struct writer w = record_begin(shard, types[op->command], flags, op);
    struct record_hold *body = part(&w, sizeof *body);
    *body = (struct record_hold){
        .id = hold->id,
        .deadline_ms = hold->wheel.deadline_ms,
        .start_ms = hold->start_ms,
        .trace = op->trace,
        .request_id_size = op->request_id_size,
        .payment_ref_size = op->payment_ref_size,
    };
    if (whole) {
        const struct event_settings *settings = event_at(shard, hold->event)->settings;
        struct bytes user = user_name(shard, user_at(shard, hold->user));
        body->event_size = settings->id_size;
        body->user_size = (uint8_t)user.size;
        body->seat_count = hold->seat_count;
        body->pool_count = hold->pool_count;
        if (op->replaced != SLAB_NONE)
            body->replaces = op->replaced_id;
        put_text(&w, (struct bytes){settings->id, settings->id_size});
        put_text(&w, user);
    }
    put_text(&w, (struct bytes){op->request_id, op->request_id_size});
    put_text(&w, (struct bytes){op->payment_ref, op->payment_ref_size});
    for (uint32_t i = 0; i < body->seat_count; i++) {
        struct record_seat seat = {lines[i].a, lines[i].b};
        put(&w, &seat, sizeof seat);
    }
    for (uint32_t i = 0; i < body->pool_count; i++) {
        const struct unit_line *line = &lines[hold->seat_count + i];
        struct record_pool pool = {line->b >> 26, line->a};
        put(&w, &pool, sizeof pool);
    }
    if (done)
        put(&w, &op->done_token, sizeof op->done_token);
    return record_end(shard, &w);
}

uint64_t
record_parts(struct shard *shard, enum record_type type, const struct bytes *parts, uint32_t count)
{
    struct writer w = record_begin(shard, type, 0, NULL);
    for (uint32_t i = 0; i < count; i++)
        put(&w, parts[i].data, parts[i].size);
    return record_end(shard, &w);
}

uint64_t
record_expired(struct shard *shard, uint32_t slot)
{
    struct writer w = record_begin(shard, RECORD_HOLD_EXPIRED, 0, NULL);
    put(&w, &hold_at(shard, slot)->id, sizeof(struct uuid));
    return record_end(shard, &w);
}

static void
put_cause(struct writer *w, const struct operation *op)
{
    const struct record_cause cause = {.trace = op->trace, .request_id_size = op->request_id_size};
    put(w, &cause, sizeof cause);
    put_text(w, (struct bytes){op->request_id, op->request_id_size});
}

uint64_t
record_event(struct shard *shard, const struct event_settings *settings, const struct operation *op)
{
    struct writer w = record_begin(shard, RECORD_EVENT_CREATED, RECORD_CAUSE, op);
    put(&w, settings, settings->size);
    put_cause(&w, op);
    uint64_t sequence = record_end(shard, &w);
    shard->batch_events = true;
    return sequence;
}

uint64_t
record_change(struct shard *shard, const struct event *event, const struct operation *op)
{
    const struct event_settings *settings = event->settings;
    struct record_change change = {
        .event_size = settings->id_size,
        .status = event->status_next,
        .pool_count = settings->pool_count,
        .hold_seconds = event->hold_seconds_next,
        .units_per_user_max = event->units_per_user_max_next,
        .queue_active_max = event->queue_active_max_next,
    };
    memcpy(change.event, settings->id, settings->id_size);
    struct writer w = record_begin(shard, RECORD_EVENT_CHANGED, RECORD_CAUSE, op);
    put(&w, &change, sizeof change);
    for (uint32_t i = 0; i < settings->pool_count; i++)
        put(&w, &event->pools[i].capacity_next, sizeof(uint32_t));
    put_cause(&w, op);
    uint64_t sequence = record_end(shard, &w);
    shard->batch_events = true;
    return sequence;
}

uint64_t
record_key(struct shard *shard, const struct operation *op, const struct reply *reply)
{
    uint8_t packed[REPLY_EVENT_PACKED_MAX];
    struct record_key body = {.route = op->route, .reply_size = reply_pack(reply, packed)};
    struct writer w = record_begin(shard, RECORD_KEY_KEPT, 0, op);
    put(&w, &body, sizeof body);
    put(&w, packed, body.reply_size);
    return record_end(shard, &w);
}

/* Takes `size` bytes off the front of a view, or fails. */
static const uint8_t *
take(struct bytes *rest, size_t size)
{
    const uint8_t *at = (const uint8_t *)rest->data;
    if (size > rest->size)
        return NULL;
    rest->data += size;
    rest->size -= (uint32_t)size;
    return at;
}

static bool
take_text(struct bytes *rest, uint32_t size, struct bytes *ret_text)
{
    const uint8_t *at = take(rest, size);
    *ret_text = (struct bytes){(const char *)at, size};
    return at != NULL;
}

static bool
decode_hold(struct bytes *rest, struct record *ret_record)
{
    struct record_hold *hold = &ret_record->hold;
    const uint8_t *at = take(rest, sizeof *hold);
    if (at == NULL)
        return false;
    memcpy(hold, at, sizeof *hold);
    if (hold->seat_count > HOLD_SEATS_MAX || hold->pool_count > HOLD_POOLS_MAX ||
        hold->event_size > EVENT_ID_SIZE_MAX || hold->user_size > USER_ID_SIZE_MAX)
        return false;
    if (ret_record->header->type == RECORD_HOLD_KEPT) {
        at = take(rest, sizeof ret_record->kept);
        if (at == NULL)
            return false;
        memcpy(&ret_record->kept, at, sizeof ret_record->kept);
        if (ret_record->kept.state < HOLD_HELD || ret_record->kept.state > HOLD_CANCELLED)
            return false;
    }
    if (!take_text(rest, hold->event_size, &ret_record->event) ||
        !take_text(rest, hold->user_size, &ret_record->user) ||
        !take_text(rest, hold->request_id_size, &ret_record->request_id) ||
        !take_text(rest, hold->payment_ref_size, &ret_record->payment_ref))
        return false;
    ret_record->seats = take(rest, hold->seat_count * sizeof(struct record_seat));
    if (ret_record->seats == NULL)
        return false;
    ret_record->pools = take(rest, hold->pool_count * sizeof(struct record_pool));
    if (ret_record->pools == NULL)
        return false;
    if ((ret_record->header->flags & RECORD_DONE) != 0)
        ret_record->done_token = take(rest, sizeof(struct uuid));
    return (ret_record->header->flags & RECORD_DONE) == 0 || ret_record->done_token != NULL;
}

static bool
decode_token(struct bytes *rest, struct record *ret_record)
{
    struct record_token *token = &ret_record->token;
    const uint8_t *at = take(rest, sizeof *token);
    if (at == NULL)
        return false;
    memcpy(token, at, sizeof *token);
    return token->state >= TOKEN_WAITING && token->state <= TOKEN_EXPIRED &&
           token->event_size <= EVENT_ID_SIZE_MAX && token->user_size <= USER_ID_SIZE_MAX &&
           take_text(rest, token->event_size, &ret_record->event) &&
           take_text(rest, token->user_size, &ret_record->user) &&
           take_text(rest, token->request_id_size, &ret_record->request_id);
}

static bool
decode_cause(struct bytes *rest, struct record *ret_record)
{
    struct record_cause cause;
    if ((ret_record->header->flags & RECORD_CAUSE) == 0)
        return true;
    const uint8_t *at = take(rest, sizeof cause);
    if (at == NULL)
        return false;
    memcpy(&cause, at, sizeof cause);
    ret_record->event_trace = cause.trace;
    return take_text(rest, cause.request_id_size, &ret_record->request_id);
}

static bool
decode_body(struct bytes *rest, struct record *ret_record)
{
    const uint8_t *at;
    switch (ret_record->header->type) {
    case RECORD_EVENT_CREATED:
        ret_record->settings = (const struct event_settings *)rest->data;
        at = take(rest, sizeof *ret_record->settings);
        return at != NULL && ret_record->settings->size >= sizeof *ret_record->settings &&
               take(rest, ret_record->settings->size - sizeof *ret_record->settings) != NULL &&
               decode_cause(rest, ret_record);
    case RECORD_EVENT_CHANGED:
        at = take(rest, sizeof *ret_record->change);
        if (at == NULL)
            return false;
        ret_record->change = (const struct record_change *)at;
        ret_record->capacities = take(rest, ret_record->change->pool_count * sizeof(uint32_t));
        return ret_record->capacities != NULL && ret_record->change->event_size <= EVENT_ID_SIZE_MAX &&
               decode_cause(rest, ret_record);
    case RECORD_HOLD_EXPIRED:
        at = take(rest, sizeof(struct uuid));
        if (at == NULL)
            return false;
        memcpy(&ret_record->hold.id, at, sizeof(struct uuid));
        return true;
    case RECORD_KEY_KEPT:
        at = take(rest, sizeof ret_record->key_kept);
        if (at == NULL)
            return false;
        memcpy(&ret_record->key_kept, at, sizeof ret_record->key_kept);
        ret_record->reply = take(rest, ret_record->key_kept.reply_size);
        return ret_record->reply != NULL && ret_record->key != NULL &&
               ret_record->key_kept.reply_size <= REPLY_EVENT_PACKED_MAX;
    case RECORD_SEATS_KEPT:
        at = take(rest, sizeof *ret_record->seats_kept);
        if (at == NULL)
            return false;
        ret_record->seats_kept = (const struct record_seats *)at;
        ret_record->versions = take(rest, ret_record->seats_kept->seat_count * sizeof(uint32_t));
        return ret_record->versions != NULL && ret_record->seats_kept->event_size <= EVENT_ID_SIZE_MAX;
    case RECORD_TOKEN_JOINED:
    case RECORD_TOKEN_ACTIVATED:
    case RECORD_TOKEN_ENDED:
    case RECORD_TOKEN_KEPT:
    case RECORD_ADMISSION_KEPT:
        return decode_token(rest, ret_record);
    case RECORD_HOLD_KEPT:
    case RECORD_HOLD_PLACED:
    case RECORD_HOLD_CONFIRMED:
    case RECORD_HOLD_RELEASED:
    case RECORD_HOLD_EXTENDED:
    case RECORD_HOLD_CANCELLED:
        return decode_hold(rest, ret_record);
    default:
        return false;
    }
}

bool
record_decode(const uint8_t *data, size_t size, struct record *ret_record)
{
    assert(((uintptr_t)data & 7) == 0);
    if (size < sizeof(struct record_header))
        return false;
    memset(ret_record, 0, sizeof *ret_record);
    ret_record->header = (const struct record_header *)data;
    if (ret_record->header->size < sizeof(struct record_header) || ret_record->header->size > size ||
        (ret_record->header->size & 7) != 0)
        return false;
    struct bytes rest = {(const char *)data + sizeof(struct record_header),
                         ret_record->header->size - (uint32_t)sizeof(struct record_header)};
    if ((ret_record->header->flags & RECORD_KEY) != 0) {
        ret_record->key = (const struct record_key_hashes *)take(&rest, sizeof *ret_record->key);
        if (ret_record->key == NULL)
            return false;
    }
    return decode_body(&rest, ret_record) && rest.size < 8;
}
