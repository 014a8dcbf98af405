/*
 * journal_tool_records.c - dump: each record as a line of JSON; stats: how much of what.
 *
 * Names of seats and pools need the settings of their event. So dump goes over everything twice: first for
 * the events (the parts of the snapshots tell those whose records have been removed), then for the records,
 * epoch by epoch, shard by shard, each journal in its order. Where an event is not known, a seat is given
 * as "#section/row/number", by position.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/record.h"
#include "core/text.h"
#include "persist/journal_tool_internal.h"

static const char *const type_words[] = {
    [RECORD_EVENT_CREATED] = "event_created", [RECORD_EVENT_CHANGED] = "event_changed",
    [RECORD_HOLD_PLACED] = "hold_placed",     [RECORD_HOLD_CONFIRMED] = "hold_confirmed",
    [RECORD_HOLD_RELEASED] = "hold_released", [RECORD_HOLD_EXPIRED] = "hold_expired",
    [RECORD_HOLD_EXTENDED] = "hold_extended", [RECORD_HOLD_CANCELLED] = "hold_cancelled",
    [RECORD_KEY_KEPT] = "key_kept",           [RECORD_SEATS_KEPT] = "seats_kept",
    [RECORD_HOLD_KEPT] = "hold_kept",         [RECORD_TOKEN_JOINED] = "token_joined",
    [RECORD_TOKEN_ENDED] = "token_ended",     [RECORD_TOKEN_ACTIVATED] = "token_activated",
    [RECORD_TOKEN_KEPT] = "token_kept",       [RECORD_ADMISSION_KEPT] = "admission_kept",
};
#define TYPE_COUNT (sizeof type_words / sizeof type_words[0])
static_assert(TYPE_COUNT == RECORD_TYPE_COUNT, "a word for each type");

/* What only snapshots tell. */
static bool
of_snapshot(uint8_t type)
{
    return type == RECORD_SEATS_KEPT || type == RECORD_HOLD_KEPT || type == RECORD_TOKEN_KEPT ||
           type == RECORD_ADMISSION_KEPT;
}

struct events {
    struct event_settings **settings; /* ours */
    uint32_t count;
    uint32_t capacity;
};

struct dump {
    struct events events;
    uint64_t count;
    bool no_memory;
};

struct stats {
    uint64_t types[TYPE_COUNT];
    uint64_t batches;
    uint64_t empty_batches;
    uint64_t records;
    uint64_t bytes;
    uint64_t records_bytes;
    uint64_t time_first_ms;
    uint64_t time_last_ms;
};

/* ---- events ---- */

static const struct event_settings *
event_of(const struct events *events, struct bytes id)
{
    for (uint32_t i = 0; i < events->count; i++) {
        const struct event_settings *settings = events->settings[i];
        if (bytes_equal((struct bytes){settings->id, settings->id_size}, id))
            return settings;
    }
    return NULL;
}

static bool
event_keep_settings(struct events *events, const struct event_settings *settings)
{
    if (settings->id_size > EVENT_ID_SIZE_MAX || settings->section_count > SECTIONS_MAX ||
        settings->pool_count > POOLS_MAX ||
        event_of(events, (struct bytes){settings->id, settings->id_size}) != NULL)
        return true;
    uint64_t size = sizeof *settings + settings->section_count * sizeof(struct section_settings) +
                    settings->pool_count * sizeof(struct pool_settings) +
                    (uint64_t)settings->row_count * sizeof(struct row_settings);
    if (settings->size < size)
        return true; /* not what the core writes: seats are told by position */
    if (events->count == events->capacity) {
        uint32_t capacity = events->capacity == 0 ? 64 : events->capacity * 2;
        void *grown = realloc(events->settings, capacity * sizeof events->settings[0]);
        if (grown == NULL)
            return false;
        events->settings = grown;
        events->capacity = capacity;
    }
    struct event_settings *copy = malloc(settings->size);
    if (copy == NULL)
        return false;
    memcpy(copy, settings, settings->size);
    events->settings[events->count++] = copy;
    return true;
}

static const char *
see_events(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    (void)at;
    struct dump *dump = context;
    const uint8_t *record = batch_records(batch);
    struct record decoded;
    for (uint32_t left = batch->records_size; left > 0 && record_decode(record, left, &decoded);) {
        if (decoded.header->type == RECORD_EVENT_CREATED &&
            !event_keep_settings(&dump->events, decoded.settings))
            dump->no_memory = true;
        record += decoded.header->size;
        left -= decoded.header->size;
    }
    return dump->no_memory ? "no memory" : NULL;
}

/* ---- a record as JSON ---- */

static json_t *
json_text(struct bytes text)
{
    json_t *value = json_stringn(text.data, text.size);
    if (value != NULL)
        return value;
    /* not UTF-8: as Latin-1, so that every byte is to be seen */
    char latin[2 * UINT8_MAX];
    size_t size = 0;
    for (uint32_t i = 0; i < text.size && i < UINT8_MAX; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte >= 0x80)
            latin[size++] = (char)(0xc0 | byte >> 6);
        latin[size++] = (char)(byte >= 0x80 ? (0x80 | (byte & 0x3f)) : byte);
    }
    return json_stringn(latin, size);
}

static json_t *
json_uuid(const struct uuid *id)
{
    char text[UUID_TEXT_SIZE];
    (void)put_uuid(text, id);
    return json_stringn(text, sizeof text);
}

static void
set_number(json_t *object, const char *name, uint64_t value)
{
    (void)json_object_set_new(object, name, json_integer((json_int_t)value)); /* no memory: seen by dump */
}

static void
set_text(json_t *object, const char *name, struct bytes text)
{
    if (text.size > 0)
        (void)json_object_set_new(object, name, json_text(text)); /* likewise */
}

static json_t *
json_seat(const struct event_settings *event, const struct record_seat *seat)
{
    char text[SEAT_TEXT_SIZE_MAX + 32];
    uint32_t section = SEAT_REF_SECTION(seat->ref), row = SEAT_REF_ROW(seat->ref);
    json_t *object = json_object();
    if (event != NULL && section < event->section_count &&
        row < event_settings_sections(event)[section].row_count) {
        uint32_t size = seat_text(event, seat->ref, text);
        set_text(object, "seat", (struct bytes){text, size});
    } else {
        int size = snprintf(text, sizeof text, "#%" PRIu32 "/%" PRIu32 "/%" PRIu32, section, row,
                            SEAT_REF_NUMBER(seat->ref));
        set_text(object, "seat", (struct bytes){text, (uint32_t)size});
    }
    set_number(object, "version", seat->version);
    return object;
}

static json_t *
json_pool(const struct event_settings *event, const struct record_pool *pool)
{
    json_t *object = json_object();
    if (event != NULL && pool->pool < event->pool_count) {
        const struct name *name = &event_settings_pools(event)[pool->pool].name;
        set_text(object, "name", (struct bytes){name->text, name->size});
    } else {
        set_number(object, "pool", pool->pool);
    }
    set_number(object, "quantity", pool->quantity);
    return object;
}

static void
set_hex(json_t *object, const char *name, const uint8_t *bytes, size_t size)
{
    char text[2 * sizeof(struct trace) + 1];
    for (size_t i = 0; i < size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]); /* fits */
    (void)json_object_set_new(object, name, json_stringn(text, 2 * size));
}

static void
set_trace(json_t *object, const struct trace *trace)
{
    static const struct trace none;
    char text[64];
    int size = 3;
    if (memcmp(trace->trace_id, none.trace_id, sizeof none.trace_id) == 0)
        return;
    memcpy(text, "00-", 3);
    for (size_t i = 0; i < sizeof trace->trace_id; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%02x", trace->trace_id[i]);
    text[size++] = '-';
    for (size_t i = 0; i < sizeof trace->parent_id; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%02x", trace->parent_id[i]);
    size += snprintf(text + size, sizeof text - (size_t)size, "-%02x", trace->flags);
    set_text(object, "traceparent", (struct bytes){text, (uint32_t)size});
}

static void
set_hold(json_t *object, const struct events *events, const struct record *record)
{
    static const enum hold_state states[TYPE_COUNT] = {
        [RECORD_HOLD_PLACED] = HOLD_HELD,       [RECORD_HOLD_CONFIRMED] = HOLD_CONFIRMED,
        [RECORD_HOLD_RELEASED] = HOLD_RELEASED, [RECORD_HOLD_EXPIRED] = HOLD_EXPIRED,
        [RECORD_HOLD_EXTENDED] = HOLD_HELD,     [RECORD_HOLD_CANCELLED] = HOLD_CANCELLED,
    };
    uint8_t type = record->header->type;
    const struct record_hold *hold = &record->hold;
    (void)json_object_set_new(object, "hold", json_uuid(&hold->id));
    (void)json_object_set_new(object, "state", json_string(hold_state_word(states[type])));
    if (type == RECORD_HOLD_EXPIRED)
        return;
    if ((record->header->flags & RECORD_REPLACES) != 0)
        (void)json_object_set_new(object, "replaces", json_uuid(&hold->replaces));
    if ((record->header->flags & RECORD_LATE) != 0)
        (void)json_object_set_new(object, "late", json_true());
    set_text(object, "event", record->event);
    set_text(object, "user", record->user);
    set_number(object, "deadline_ms", hold->deadline_ms);
    set_number(object, "start_ms", hold->start_ms);
    if (hold->seat_count + hold->pool_count > 0) {
        const struct event_settings *event = event_of(events, record->event);
        json_t *seats = json_array(), *pools = json_array();
        for (uint32_t i = 0; i < hold->seat_count; i++) {
            struct record_seat seat;
            memcpy(&seat, record->seats + i * sizeof seat, sizeof seat);
            (void)json_array_append_new(seats, json_seat(event, &seat));
        }
        for (uint32_t i = 0; i < hold->pool_count; i++) {
            struct record_pool pool;
            memcpy(&pool, record->pools + i * sizeof pool, sizeof pool);
            (void)json_array_append_new(pools, json_pool(event, &pool));
        }
        (void)json_object_set_new(object, "seats", seats);
        (void)json_object_set_new(object, "pools", pools);
    }
    set_text(object, "payment_ref", record->payment_ref);
    set_text(object, "request_id", record->request_id);
    set_trace(object, &hold->trace);
    if (record->done_token != NULL) {
        struct uuid token;
        memcpy(&token, record->done_token, sizeof token);
        (void)json_object_set_new(object, "done_token", json_uuid(&token));
    }
}

static void
set_token(json_t *object, const struct record *record)
{
    const struct record_token *token = &record->token;
    char key[17];
    (void)json_object_set_new(object, "token", json_uuid(&token->id));
    (void)json_object_set_new(object, "state", json_string(token_state_word(token->state)));
    set_text(object, "event", record->event);
    set_text(object, "user", record->user);
    (void)snprintf(key, sizeof key, "%016" PRIx64, token->key); /* fits */
    set_text(object, "queue_key", (struct bytes){key, sizeof key - 1});
    if (record->header->type == RECORD_TOKEN_ACTIVATED)
        set_number(object, "deadline_ms", token->deadline_ms);
    set_text(object, "request_id", record->request_id);
    set_trace(object, &token->trace);
}

/* The seed of a draw is nobody's to read before the opening: it is not told. */
static void
set_queue(json_t *object, const struct event_settings *settings)
{
    json_t *queue = json_object();
    set_number(queue, "active_max", settings->queue_active_max);
    set_number(queue, "active_seconds", settings->queue_active_seconds);
    set_number(queue, "grace_seconds", settings->queue_grace_seconds);
    (void)json_object_set_new(queue, "lottery", json_boolean(settings->queue_lottery));
    (void)json_object_set_new(object, "queue", queue);
}

static void
set_event_created(json_t *object, const struct event_settings *settings)
{
    set_text(object, "event", (struct bytes){settings->id, settings->id_size});
    set_number(object, "hold_seconds", settings->hold_seconds);
    set_number(object, "hold_seconds_max", settings->hold_seconds_max);
    set_number(object, "units_per_user_max", settings->units_per_user_max);
    if (settings->opens_at_ms != 0)
        set_number(object, "opens_at_ms", settings->opens_at_ms);
    if (settings->queue_active_max != 0)
        set_queue(object, settings);
    json_t *sections = json_array(), *pools = json_array();
    for (uint32_t i = 0; i < settings->section_count; i++) {
        const struct section_settings *section = &event_settings_sections(settings)[i];
        json_t *part = json_object();
        set_text(part, "name", (struct bytes){section->name.text, section->name.size});
        set_number(part, "rows", section->row_count);
        set_number(part, "seats", section->seat_count);
        (void)json_array_append_new(sections, part);
    }
    for (uint32_t i = 0; i < settings->pool_count; i++) {
        const struct pool_settings *pool = &event_settings_pools(settings)[i];
        json_t *part = json_object();
        set_text(part, "name", (struct bytes){pool->name.text, pool->name.size});
        set_number(part, "capacity", pool->capacity);
        (void)json_array_append_new(pools, part);
    }
    (void)json_object_set_new(object, "sections", sections);
    (void)json_object_set_new(object, "pools", pools);
}

static void
set_event_changed(json_t *object, const struct events *events, const struct record *record)
{
    static const char *const statuses[] = {
        [EVENT_OPEN] = "open", [EVENT_PAUSED] = "paused", [EVENT_CLOSED] = "closed"};
    const struct record_change *change = record->change;
    const struct bytes id = {change->event, change->event_size};
    const struct event_settings *event = event_of(events, id);
    set_text(object, "event", id);
    if (change->status <= EVENT_CLOSED)
        (void)json_object_set_new(object, "status", json_string(statuses[change->status]));
    set_number(object, "hold_seconds", change->hold_seconds);
    set_number(object, "units_per_user_max", change->units_per_user_max);
    if (change->queue_active_max != 0)
        set_number(object, "queue_active_max", change->queue_active_max);
    json_t *pools = json_array();
    for (uint32_t i = 0; i < change->pool_count; i++) {
        uint32_t capacity;
        memcpy(&capacity, record->capacities + i * sizeof capacity, sizeof capacity);
        json_t *part = json_object();
        if (event != NULL && i < event->pool_count) {
            const struct name *name = &event_settings_pools(event)[i].name;
            set_text(part, "name", (struct bytes){name->text, name->size});
        }
        set_number(part, "capacity", capacity);
        (void)json_array_append_new(pools, part);
    }
    (void)json_object_set_new(object, "pools", pools);
}

static void
set_cause(json_t *object, const struct record *record)
{
    set_text(object, "request_id", record->request_id);
    set_trace(object, &record->event_trace);
}

static json_t *
json_record(const struct events *events, const struct batch_header *batch, const struct record *record)
{
    json_t *object = json_object();
    uint8_t type = record->header->type;
    set_number(object, "epoch", batch->epoch);
    set_number(object, "shard", batch->shard);
    set_number(object, "sequence", record->header->sequence);
    set_number(object, "time_ms", record->header->time_ms);
    (void)json_object_set_new(object, "type", json_string(type_words[type]));
    if (type == RECORD_EVENT_CREATED) {
        if (event_of(events, (struct bytes){record->settings->id, record->settings->id_size}) != NULL)
            set_event_created(object, record->settings);
        set_cause(object, record);
    } else if (type == RECORD_EVENT_CHANGED) {
        set_event_changed(object, events, record);
        set_cause(object, record);
    } else if (type >= RECORD_TOKEN_JOINED) {
        set_token(object, record);
    } else if (type != RECORD_KEY_KEPT) {
        set_hold(object, events, record);
    }
    if (record->key != NULL)
        set_hex(object, "key_hash", (const uint8_t *)record->key->key, sizeof record->key->key);
    return object;
}

static const char *
print_batch(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    (void)at;
    struct dump *dump = context;
    const uint8_t *record = batch_records(batch);
    for (uint32_t left = batch->records_size; left > 0;) {
        struct record decoded;
        if (!record_decode(record, left, &decoded) || of_snapshot(decoded.header->type))
            return "the batch has bytes that are no record of a journal";
        json_t *object = json_record(&dump->events, batch, &decoded);
        int result = json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(object);
        if (result != 0)
            return ferror(stdout) ? "could not write" : "no memory";
        (void)putchar('\n'); /* a failure is seen at the end */
        dump->count++;
        record += decoded.header->size;
        left -= decoded.header->size;
    }
    return NULL;
}

/* ---- all journals ---- */

/* One journal to its end. Beside a server retention may remove segments that were not read yet: what stands
 * behind them is then read on. 0, or 1 where it is damaged: told on standard error. */
static int
walk_all_of(const struct data_folder *folder, const struct picture *picture, const struct file_id *id,
            batch_met *met, void *context)
{
    struct walk_end end;
    struct picture newer = {0};
    uint32_t first, last;
    int code = 0;
    walk_journal(folder, picture, id->epoch, id->shard, met, context, &end);
    while (end.read == READ_DAMAGED || end.read == READ_FAILED) {
        uint32_t missing = end.position.segment;
        picture_done(&newer);
        bool moved = picture_take(folder, &newer) == 0 &&
                     (!picture_segments(&newer, id->epoch, id->shard, &first, &last) || first > missing);
        if (!moved) {
            (void)fprintf(stderr,
                          "holdfast journal: %s, offset %" PRIu64 ": %s; see holdfast journal verify\n",
                          end.fault.file, end.fault.offset, end.fault.text);
            code = 1;
            break;
        }
        if (!picture_segments(&newer, id->epoch, id->shard, &first, &last))
            break; /* all of it has been removed */
        walk_journal(folder, &newer, id->epoch, id->shard, met, context, &end);
    }
    picture_done(&newer);
    return code;
}

/* Every journal there is, epoch by epoch. */
static int
walk_journals(const struct data_folder *folder, const struct picture *picture, batch_met *met,
              void *context)
{
    int code = 0;
    for (uint32_t i = 0; i < picture->file_count; i++) {
        const struct file_id *id = &picture->files[i];
        bool first = i == 0 || picture->files[i - 1].kind != FILE_JOURNAL ||
                     picture->files[i - 1].epoch != id->epoch || picture->files[i - 1].shard != id->shard;
        if (id->kind == FILE_JOURNAL && first && id->epoch <= picture_epoch(picture) &&
            walk_all_of(folder, picture, id, met, context) != 0)
            code = 1;
    }
    return code;
}

static int
take(const struct data_folder *folder, struct picture *ret_picture)
{
    int result = picture_take(folder, ret_picture);
    if (result != 0)
        (void)fprintf(stderr, "holdfast journal: could not read '%s/journal': %s\n", folder->path,
                      strerror(-result));
    return result;
}

static int
flushed(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    (void)fprintf(stderr, "holdfast journal: could not write: %s\n", strerror(errno));
    return 1;
}

int
journal_dump(const struct data_folder *folder)
{
    struct dump dump = {0};
    struct picture picture;
    struct walk_end end;
    if (take(folder, &picture) != 0)
        return 1;
    for (uint32_t i = 0; i < picture.file_count; i++)
        if (picture.files[i].kind == FILE_PART) /* a damaged one costs names, no records */
            walk_part(folder, picture.files[i].epoch, picture.files[i].shard, see_events, &dump, &end);
    int code = walk_journals(folder, &picture, see_events, &dump);
    if (code == 0 && !dump.no_memory)
        code = walk_journals(folder, &picture, print_batch, &dump);
    for (uint32_t i = 0; i < dump.events.count; i++)
        free(dump.events.settings[i]);
    free(dump.events.settings);
    picture_done(&picture);
    return flushed(code);
}

/* ---- stats ---- */

static const char *
count_batch(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    (void)at;
    struct stats *stats = context;
    const uint8_t *record = batch_records(batch);
    stats->batches++;
    stats->empty_batches += batch->record_count == 0;
    stats->bytes += batch->size;
    stats->records_bytes += batch->records_size;
    if (stats->time_first_ms == 0 || batch->time_ms < stats->time_first_ms)
        stats->time_first_ms = batch->time_ms;
    if (batch->time_ms > stats->time_last_ms)
        stats->time_last_ms = batch->time_ms;
    for (uint32_t left = batch->records_size; left > 0;) {
        struct record decoded;
        if (!record_decode(record, left, &decoded))
            return "the batch has bytes that are no record";
        stats->types[decoded.header->type]++;
        stats->records++;
        record += decoded.header->size;
        left -= decoded.header->size;
    }
    return NULL;
}

static double
ratio(uint64_t of, uint64_t to)
{
    return to == 0 ? 0 : (double)of / (double)to;
}

int
journal_stats(const struct data_folder *folder)
{
    struct stats stats = {0};
    struct picture picture;
    if (take(folder, &picture) != 0)
        return 1;
    int code = walk_journals(folder, &picture, count_batch, &stats);
    (void)printf("batches           %" PRIu64 " (%" PRIu64 " without records)\n", stats.batches,
                 stats.empty_batches);
    (void)printf("records           %" PRIu64 "\n", stats.records);
    for (size_t type = 1; type < TYPE_COUNT; type++)
        if (stats.types[type] > 0)
            (void)printf("  %-15s %" PRIu64 "\n", type_words[type], stats.types[type]);
    (void)printf("bytes             %" PRIu64 "\n", stats.bytes);
    (void)printf("  records         %" PRIu64 "\n", stats.records_bytes);
    (void)printf("  heads, padding  %" PRIu64 " (%.1f %%)\n", stats.bytes - stats.records_bytes,
                 100 * ratio(stats.bytes - stats.records_bytes, stats.bytes));
    (void)printf("records a batch   %.2f\n", ratio(stats.records, stats.batches - stats.empty_batches));
    (void)printf("bytes a record    %.1f (%.1f with heads and padding)\n",
                 ratio(stats.records_bytes, stats.records), ratio(stats.bytes, stats.records));
    (void)printf("bytes a hold      %.1f (%.1f with heads and padding)\n",
                 ratio(stats.records_bytes, stats.types[RECORD_HOLD_PLACED]),
                 ratio(stats.bytes, stats.types[RECORD_HOLD_PLACED]));
    (void)printf("time              %" PRIu64 " to %" PRIu64 " ms since 1970 (%.3f s)\n",
                 stats.time_first_ms, stats.time_last_ms,
                 (double)(stats.time_last_ms - stats.time_first_ms) / 1000);
    picture_done(&picture);
    return flushed(code);
}
