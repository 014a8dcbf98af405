/*
 * core_drive.c - see core_drive.h.
 *
 * A mailbox is a list of messages from one shard to another; a journal is the bytes of a shard's batches.
 * drive_run() delivers in a fixed order until nothing moves: every mailbox's first message, then every
 * shard's batch, then every shard's answer to "that is durable".
 */
#include "tests/unit/core_drive.h"

#include "core/route.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE    8192
#define PICTURE_SIZE 65536
#define NAMES_MAX    64
#define JOURNALS_MAX 64
#define DONES_MAX    256   /* used-up admissions that a replay of one home may find */
#define ANSWERS_MAX  65536 /* tags in flight: a ring */
#define TEXTS        16
#define WORDS_MAX    2600

struct message {
    struct message *next;
    uint32_t size;
    uint64_t bytes[];
};

struct mailbox {
    struct message *first;
    struct message **last;
    uint32_t count;
};

struct journal {
    uint8_t *bytes;
    size_t size;
    size_t reserved;
};

/* A shard's part of the snapshot: slices behind each other, a struct slice before each. */
struct slice {
    uint64_t sequence;
    uint64_t size;
};

struct part {
    uint8_t *bytes;
    size_t size;
    size_t journal_size; /* where the journal stood when it began */
    bool done;
};

struct one_answer {
    char *text;
    uint64_t sequence;
    uint32_t shard;
    uint32_t tag;
    bool came;
    bool has_hold;
    bool has_event;
    struct uuid hold;
    uint32_t row_to; /* maps: where the next piece begins; 0: complete */
};

struct host {
    struct drive *drive;
    uint32_t shard;
};

struct drive {
    struct shard_settings settings;
    uint32_t shard_count;
    uint64_t now_ms;
    uint64_t start; /* number of starts: the seed of ids */
    struct shard *shards[DRIVE_SHARDS];
    struct host hosts[DRIVE_SHARDS];
    uint64_t durable[DRIVE_SHARDS];
    struct mailbox mailboxes[DRIVE_SHARDS][DRIVE_SHARDS];
    uint32_t messages_max;
    uint64_t eta_ms; /* of the last answer that was a token */
    uint64_t poll_ms;
    struct journal journals[JOURNALS_MAX]; /* the last shard_count are those of this start */
    uint32_t journal_count;
    struct part parts[DRIVE_SHARDS];
    uint32_t part_count; /* 0: no snapshot */
    uint32_t part_epoch; /* index in journals of the first one of the snapshot's start */
    uint64_t generation;
    bool disk;
    bool checks;
    uint32_t tag;
    struct one_answer *answers;
    struct {
        char text[24];
        struct uuid id;
    } names[NAMES_MAX];
    uint32_t name_count;
    char texts[TEXTS][TEXT_SIZE];
    uint32_t text_at;
    char pictures[2][PICTURE_SIZE];
    uint32_t picture_at;
    char pushes[PICTURE_SIZE];
    char pushes_shown[PICTURE_SIZE];
    /* the command being made */
    char line[TEXT_SIZE];
    void *draft;
    struct event_change change;
};

uint64_t
drive_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- answers as text ---- */

struct text {
    char *to;
    size_t size;
    size_t room;
};

__attribute__((format(printf, 2, 3))) static void
put(struct text *text, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int size = vsnprintf(text->to + text->size, text->room - text->size, format, list);
    va_end(list);
    assert_true(size >= 0);
    assert_true((size_t)size < text->room - text->size);
    text->size += (size_t)size;
}

static void
put_id(struct drive *drive, struct text *text, const struct uuid *id)
{
    for (uint32_t i = drive->name_count; i > 0; i--) {
        if (uuid_equal(&drive->names[i - 1].id, id)) {
            put(text, "%s", drive->names[i - 1].text);
            return;
        }
    }
    put(text, "?");
}

static void
put_hold(struct drive *drive, struct text *text, const struct hold_view *hold)
{
    put(text, " %s", hold_state_word(hold->state));
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        char seat[SEAT_TEXT_SIZE_MAX];
        uint32_t size = seat_text(hold->event, hold->seats[i].ref, seat);
        put(text, " %.*s:%" PRIu32, (int)size, seat, hold->seats[i].version);
    }
    const struct pool_settings *pools = event_settings_pools(hold->event);
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        const struct name *name = &pools[hold->pools[i].pool].name;
        put(text, " %.*s*%" PRIu32, name->size, name->text, hold->pools[i].quantity);
    }
    put(text, " in=%" PRId64, (int64_t)(hold->deadline_ms - drive->now_ms));
}

static void
put_counts(struct text *text, const struct name *name, const struct unit_counts *counts)
{
    if (name != NULL)
        put(text, " %.*s", name->size, name->text);
    put(text, " %" PRIu64 "=%" PRIu64 "+%" PRIu64 "+%" PRIu64, counts->capacity, counts->free, counts->held,
        counts->sold);
    assert_int_equal(counts->capacity, counts->free + counts->held + counts->sold);
}

/* What a change of the event can alter besides its counts: shown where the change itself is answered. */
static void
put_changeable(struct text *text, const struct event_view *view)
{
    put(text, " hold=%" PRIu32 " limit=%" PRIu32 " active=%" PRIu32 "%s", view->hold_seconds,
        view->units_per_user_max, view->queue_active_max, view->seed_shown ? "" : " unopened");
}

static void
put_event(struct text *text, const struct event_view *view)
{
    static const char *const states[] = {"open", "paused", "closed"};
    const struct event_settings *settings = view->settings;
    struct unit_counts sum = {0};
    put(text, " %.*s %s", settings->id_size, settings->id, states[view->status]);
    put_counts(text, NULL, &view->total);
    for (uint32_t i = 0; i < (uint32_t)settings->section_count + settings->pool_count; i++) {
        bool section = i < settings->section_count;
        uint32_t pool = i - settings->section_count;
        const struct unit_counts *counts = section ? &view->sections[i] : &view->pools[pool];
        put_counts(text,
                   section ? &event_settings_sections(settings)[i].name
                           : &event_settings_pools(settings)[pool].name,
                   counts);
        sum.capacity += counts->capacity;
        sum.free += counts->free;
        sum.held += counts->held;
        sum.sold += counts->sold;
    }
    assert_memory_equal(&sum, &view->total, sizeof sum);
}

static void
put_map(struct text *text, const struct map_view *map)
{
    const char *letters = map->letters;
    put(text, "%s", map->row_from == 0 ? " " : "");
    for (uint32_t row = map->row_from; row < map->row_to; row++) {
        uint32_t seats = section_row_seats(map->event, map->section, row);
        put(text, "%s%.*s", row == 0 ? "" : "/", (int)seats, letters);
        letters += seats;
    }
}

static void
put_figures(struct drive *drive, struct text *text, const struct reply *reply)
{
    uint32_t figures = reply->figures;
    if (figures & FIGURE_UNIT)
        put(text, " unit=%.*s", reply->unit_size, reply->unit);
    if (figures & FIGURE_REMAINING)
        put(text, " remaining=%" PRIu64, reply->remaining);
    if (figures & FIGURE_NEXT_DEADLINE)
        put(text, " next=%" PRId64, (int64_t)(reply->next_deadline_ms - drive->now_ms));
    if (figures & FIGURE_OWN) {
        put(text, " own=");
        put_id(drive, text, &reply->own);
    }
    if (figures & FIGURE_LARGEST_RUN)
        put(text, " largest_run=%" PRIu32, reply->largest_run);
    if (figures & FIGURE_LIMIT)
        put(text, " limit=%" PRIu64 " used=%" PRIu64, reply->limit, reply->used);
    if (figures & FIGURE_DEADLINE_MAX)
        put(text, " deadline_max=%" PRId64, (int64_t)(reply->deadline_max_ms - drive->now_ms));
    if (figures & FIGURE_OPENS_AT)
        put(text, " opens=%" PRId64, (int64_t)(reply->opens_at_ms - drive->now_ms));
    if (figures & FIGURE_FIELD)
        put(text, " field=%s", reply->field);
}

static void
put_token(struct drive *drive, struct text *text, const struct token_view *token)
{
    put(text, " %s", token_state_word(token->state));
    if (token->position > 0)
        put(text, " %" PRIu64, token->position);
    if (token->chance_none)
        put(text, " none");
    if (token->deadline_ms > 0)
        put(text, " in=%" PRId64, (int64_t)(token->deadline_ms - drive->now_ms));
}

static void
put_reply(struct drive *drive, struct text *text, const struct reply *reply)
{
    if (reply->kind != REPLY_MAP || reply->map->row_from == 0)
        put(text, "%s%s%s", status_word(reply->status), reply->created ? " new" : "",
            reply->replayed ? " again" : "");
    if (reply->kind == REPLY_HOLD) {
        put_hold(drive, text, &reply->hold);
    } else if (reply->kind == REPLY_EVENT) {
        put_event(text, reply->event_view);
        if (reply->command != COMMAND_EVENT_GET)
            put_changeable(text, reply->event_view);
    } else if (reply->kind == REPLY_MAP) {
        put_map(text, reply->map);
    } else if (reply->kind == REPLY_HOLDS) {
        struct bytes cursor = {0};
        struct hold_view view;
        uint32_t count = 0;
        put(text, " %.*s used=%" PRIu64, (int)reply->user.size, reply->user.data, reply->used);
        cursor = reply->holds;
        while (reply_next_hold(reply, &cursor, &view)) {
            put(text, " [");
            put_id(drive, text, &view.id);
            put_hold(drive, text, &view);
            put(text, "]");
            count++;
        }
        assert_int_equal(count, reply->hold_count);
        if (reply->has_token) {
            put(text, " token=");
            put_id(drive, text, &reply->token_id);
        }
    } else if (reply->kind == REPLY_TOKEN) {
        put_token(drive, text, &reply->token);
    }
    put_figures(drive, text, reply);
}

/* ---- the host's side ---- */

static bool
host_send(void *context, uint32_t to, const void *message, uint32_t size)
{
    struct host *host = context;
    struct mailbox *mailbox = &host->drive->mailboxes[host->shard][to];
    assert_int_equal(size % 8, 0);
    assert_true(size <= MESSAGE_SIZE_MAX);
    assert_true(to != host->shard);
    assert_true(to < host->drive->shard_count);
    if (mailbox->count >= host->drive->messages_max)
        return false;
    struct message *copy = malloc(sizeof *copy + size);
    assert_non_null(copy);
    copy->next = NULL;
    copy->size = size;
    memcpy(copy->bytes, message, size);
    *mailbox->last = copy;
    mailbox->last = &copy->next;
    mailbox->count++;
    return true;
}

static void
host_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct host *host = context;
    struct one_answer *one = &host->drive->answers[tag % ANSWERS_MAX];
    char buffer[TEXT_SIZE * 8];
    struct text text = {buffer, 0, sizeof buffer};
    assert_int_equal(one->tag, tag);
    assert_int_equal(one->shard, host->shard);
    assert_false(one->came); /* exactly one answer */
    put_reply(host->drive, &text, reply);
    one->came = true;
    one->sequence = sequence;
    one->text = malloc(text.size + 1);
    assert_non_null(one->text);
    memcpy(one->text, buffer, text.size + 1);
    if (reply->kind == REPLY_HOLD) {
        one->has_hold = true;
        one->hold = reply->hold.id;
    }
    one->has_event = reply->kind == REPLY_EVENT;
    if (reply->kind == REPLY_TOKEN) {
        one->has_hold = true;
        one->hold = reply->token.id;
        host->drive->eta_ms = reply->token.eta_ms;
        host->drive->poll_ms = reply->token.poll_ms;
    }
    if (reply->kind == REPLY_MAP)
        one->row_to = reply->map->row_to < reply->map->row_count ? reply->map->row_to : 0;
}

/* Pushes are kept as one line, the newest last: "watch state position; ...". */
static void
host_push(void *context, uint64_t watch, const struct reply *reply, uint64_t sequence)
{
    struct host *host = context;
    struct drive *drive = host->drive;
    struct text text = {drive->pushes, strlen(drive->pushes), sizeof drive->pushes};
    (void)sequence; /* every batch is on disk by the time a test looks */
    put(&text, "%s%" PRIu64, text.size == 0 ? "" : "; ", watch);
    put_token(drive, &text, &reply->token);
}

uint64_t
drive_eta_ms(const struct drive *drive, uint64_t *ret_poll_ms)
{
    *ret_poll_ms = drive->poll_ms;
    return drive->eta_ms;
}

const char *
drive_pushes(struct drive *drive)
{
    memcpy(drive->pushes_shown, drive->pushes, sizeof drive->pushes);
    drive->pushes[0] = 0;
    return drive->pushes_shown;
}

static bool
deliver(struct drive *drive)
{
    bool moved = false;
    for (uint32_t from = 0; from < drive->shard_count; from++) {
        for (uint32_t to = 0; to < drive->shard_count; to++) {
            struct mailbox *mailbox = &drive->mailboxes[from][to];
            struct message *message = mailbox->first;
            if (message == NULL)
                continue;
            mailbox->first = message->next;
            if (mailbox->first == NULL)
                mailbox->last = &mailbox->first;
            mailbox->count--;
            shard_time(drive->shards[to], drive->now_ms);
            shard_message(drive->shards[to], from, message->bytes, message->size);
            free(message);
            moved = true;
        }
    }
    return moved;
}

static struct journal *
journal_of(const struct drive *drive, uint32_t shard)
{
    return (struct journal *)&drive->journals[drive->journal_count - drive->shard_count + shard];
}

bool
drive_write(struct drive *drive)
{
    bool moved = false;
    for (uint32_t i = 0; i < drive->shard_count; i++) {
        struct shard_batch batch = shard_batch(drive->shards[i]);
        if (batch.size == 0)
            continue;
        struct journal *journal = journal_of(drive, i);
        assert_int_equal(batch.size % 8, 0);
        assert_int_equal(batch.sequence_first, drive->durable[i] + 1);
        assert_true(batch.sequence_last >= batch.sequence_first);
        if (journal->size + batch.size > journal->reserved) {
            journal->reserved = (journal->size + batch.size) * 2;
            journal->bytes = realloc(journal->bytes, journal->reserved);
            assert_non_null(journal->bytes);
        }
        memcpy(journal->bytes + journal->size, batch.data, batch.size);
        journal->size += batch.size;
        drive->durable[i] = batch.sequence_last;
        shard_durable(drive->shards[i], batch.sequence_last);
        moved = true;
    }
    return moved;
}

void
drive_run(struct drive *drive)
{
    bool moved;
    uint32_t rounds = 0;
    do {
        moved = deliver(drive);
        moved |= drive->disk && drive_write(drive);
        for (uint32_t i = 0; i < drive->shard_count; i++) {
            if (drive->messages_max != UINT32_MAX && shard_backlogged(drive->shards[i])) {
                (void)shard_expire(drive->shards[i]);
                moved = true;
            }
        }
        assert_true(++rounds < 1000000);
    } while (moved);
}

void
drive_pass(struct drive *drive, uint64_t ms)
{
    drive->now_ms += ms;
    for (uint32_t i = 0; i < drive->shard_count; i++)
        shard_time(drive->shards[i], drive->now_ms);
}

void
drive_sweep(struct drive *drive)
{
    bool more = true;
    for (uint32_t rounds = 0; more; rounds++) {
        assert_true(rounds < 100000);
        more = false;
        for (uint32_t i = 0; i < drive->shard_count; i++)
            more |=
                shard_expire(drive->shards[i]) || shard_next_expiry_ms(drive->shards[i]) <= drive->now_ms;
        drive_run(drive);
    }
}

void
drive_disk(struct drive *drive, bool on)
{
    drive->disk = on;
}

void
drive_mailbox(struct drive *drive, uint32_t messages_max)
{
    drive->messages_max = messages_max;
}

void
drive_checks(struct drive *drive, bool on)
{
    drive->checks = on;
}

void
drive_check(struct drive *drive)
{
    for (uint32_t i = 0; i < drive->shard_count; i++)
        shard_check(drive->shards[i]);
    shard_check_all(drive->shards, drive->shard_count);
}

/* ---- open, restart, close ---- */

struct shard_settings
drive_settings(void)
{
    return (struct shard_settings){
        .holds_max = 1000,
        .users_max = 1000,
        .events_max = 20,
        .operations_max = 64,
        .tokens_max = 500,
        .watchers_max = 100,
        .seats_max = 20000,
        .event_bytes_max = 1 << 20,
        .key_bytes_max = 1 << 18,
        .batch_bytes_max = 1 << 18,
        .ended_ms = 3600 * 1000,
        .key_ms = 24 * 3600 * 1000,
        .expire_batch = 64,
    };
}

static void
open_shards(struct drive *drive, uint32_t shard_count)
{
    assert_true(shard_count >= 1);
    assert_true(shard_count <= DRIVE_SHARDS);
    assert_true(drive->journal_count + shard_count <= JOURNALS_MAX);
    drive->shard_count = shard_count;
    drive->journal_count += shard_count;
    drive->start++;
    for (uint32_t i = 0; i < shard_count; i++) {
        struct shard_settings settings = drive->settings;
        settings.shard_index = i;
        settings.shard_count = shard_count;
        settings.route_seed = 20261121;
        settings.id_seed = drive->start * 1000 + i;
        drive->hosts[i] = (struct host){drive, i};
        struct shard_host host = {&drive->hosts[i], host_send, host_reply, host_push};
        size_t size = (shard_size(&settings) + 63) & ~(size_t)63;
        void *memory = aligned_alloc(64, size);
        assert_non_null(memory);
        memset(memory, 0, size);
        drive->shards[i] = shard_open(memory, &settings, &host, drive->now_ms);
        drive->durable[i] = 0;
    }
    for (uint32_t i = 0; i < DRIVE_SHARDS * DRIVE_SHARDS; i++)
        drive->mailboxes[i / DRIVE_SHARDS][i % DRIVE_SHARDS].last =
            &drive->mailboxes[i / DRIVE_SHARDS][i % DRIVE_SHARDS].first;
}

static void
close_shards(struct drive *drive)
{
    for (uint32_t i = 0; i < drive->shard_count; i++)
        free(drive->shards[i]);
    for (uint32_t i = 0; i < DRIVE_SHARDS * DRIVE_SHARDS; i++) {
        struct mailbox *mailbox = &drive->mailboxes[i / DRIVE_SHARDS][i % DRIVE_SHARDS];
        while (mailbox->first != NULL) {
            struct message *message = mailbox->first;
            mailbox->first = message->next;
            free(message);
        }
        mailbox->count = 0;
    }
}

struct drive *
drive_open(uint32_t shard_count, const struct shard_settings *settings)
{
    struct drive *drive = calloc(1, sizeof *drive);
    assert_non_null(drive);
    drive->settings = settings != NULL ? *settings : drive_settings();
    drive->now_ms = 1800000000000;
    drive->messages_max = UINT32_MAX;
    drive->disk = true;
    drive->checks = true;
    drive->answers = calloc(ANSWERS_MAX, sizeof *drive->answers);
    drive->draft = aligned_alloc(64, (EVENT_DRAFT_SIZE + 63) & ~(size_t)63);
    assert_non_null(drive->answers);
    assert_non_null(drive->draft);
    open_shards(drive, shard_count);
    return drive;
}

void
drive_snapshot_begin(struct drive *drive)
{
    drive->generation++;
    drive->part_count = drive->shard_count;
    drive->part_epoch = drive->journal_count - drive->shard_count;
    for (uint32_t i = 0; i < drive->shard_count; i++) {
        drive->parts[i].size = 0;
        drive->parts[i].done = false;
        drive->parts[i].journal_size = journal_of(drive, i)->size;
        shard_snapshot_begin(drive->shards[i], drive->generation);
    }
}

bool
drive_snapshot_step(struct drive *drive, uint32_t size)
{
    static _Alignas(8) uint8_t bytes[SNAPSHOT_SLICE_BYTES];
    bool done = true;
    for (uint32_t i = 0; i < drive->shard_count; i++) {
        struct part *part = &drive->parts[i];
        uint32_t count;
        if (part->done)
            continue;
        struct slice slice = {.size =
                                  shard_snapshot_slice(drive->shards[i], bytes, size, &count, &part->done)};
        slice.sequence = shard_sequence(drive->shards[i]);
        part->bytes = realloc(part->bytes, part->size + sizeof slice + slice.size);
        assert_non_null(part->bytes);
        memcpy(part->bytes + part->size, &slice, sizeof slice);
        memcpy(part->bytes + part->size + sizeof slice, bytes, slice.size);
        part->size += sizeof slice + slice.size;
        done &= part->done;
    }
    return done;
}

static void
replay_all(struct drive *drive, struct replay *replay, uint32_t journal_count, enum replay_pass pass)
{
    for (uint32_t i = 0; i < drive->part_count; i++) {
        const struct part *part = &drive->parts[i];
        assert_true(part->done);
        for (size_t at = 0; at < part->size;) {
            struct slice slice;
            memcpy(&slice, part->bytes + at, sizeof slice);
            const struct replay_source source = {
                .kind = REPLAY_SNAPSHOT, .shard = i, .reflected = slice.sequence};
            assert_int_equal(
                shard_replay(replay, &source, pass, part->bytes + at + sizeof slice, slice.size),
                REPLAY_OK);
            at += sizeof slice + slice.size;
        }
    }
    for (uint32_t i = drive->part_count == 0 ? 0 : drive->part_epoch; i < journal_count; i++) {
        const struct journal *journal = &drive->journals[i];
        bool behind = drive->part_count > 0 && i < drive->part_epoch + drive->part_count;
        const struct replay_source source = {.kind = behind ? REPLAY_BEHIND : REPLAY_AFTER,
                                             .shard = behind ? i - drive->part_epoch : 0};
        size_t from = behind ? drive->parts[source.shard].journal_size : 0;
        assert_int_equal(shard_replay(replay, &source, pass, journal->bytes + from, journal->size - from),
                         REPLAY_OK);
    }
}

void
drive_restart(struct drive *drive, uint32_t shard_count)
{
    close_shards(drive);
    open_shards(drive, shard_count);
    uint32_t old_count = drive->journal_count - shard_count;
    struct replay_done dones[SHARDS_MAX][DONES_MAX];
    uint64_t done_counts[SHARDS_MAX];
    struct replay replay = {.shards = drive->shards, .shard_count = shard_count};
    replay_all(drive, &replay, old_count, REPLAY_EVENTS);
    for (; replay.home < shard_count; replay.home++) {
        replay.hold_marks = calloc(shard_hold_slots(drive->shards[replay.home]), sizeof(uint64_t));
        replay.token_marks = calloc(shard_token_slots(drive->shards[replay.home]), sizeof(uint64_t));
        assert_non_null(replay.hold_marks);
        assert_non_null(replay.token_marks);
        memset(replay.key_marks, 0, sizeof replay.key_marks);
        replay.dones = dones[replay.home];
        replay.done_count = 0;
        replay_all(drive, &replay, old_count, REPLAY_HOLDS);
        done_counts[replay.home] = replay.done_count;
        assert_true(replay.done_count <= DONES_MAX);
        free(replay.hold_marks);
        free(replay.token_marks);
    }
    for (uint32_t i = 0; i < shard_count; i++)
        assert_int_equal(replay_settle(drive->shards, shard_count, i, dones[i], done_counts[i]), REPLAY_OK);
    drive_check(drive);
}

void
drive_close(struct drive *drive)
{
    close_shards(drive);
    for (uint32_t i = 0; i < drive->journal_count; i++)
        free(drive->journals[i].bytes);
    for (uint32_t i = 0; i < DRIVE_SHARDS; i++)
        free(drive->parts[i].bytes);
    for (uint32_t i = 0; i < ANSWERS_MAX; i++)
        free(drive->answers[i].text);
    free(drive->answers);
    free(drive->draft);
    free(drive);
}

void
drive_test(void **state)
{
    const struct drive_plan *plan = *state;
    struct drive *drive = drive_open(plan->shards, NULL);
    plan->test(drive);
    drive_close(drive);
}

uint64_t
drive_now(const struct drive *drive)
{
    return drive->now_ms;
}

struct shard *
drive_shard(const struct drive *drive, uint32_t shard)
{
    return drive->shards[shard];
}

uint32_t
drive_shard_count(const struct drive *drive)
{
    return drive->shard_count;
}

struct shard_figures
drive_figures(const struct drive *drive)
{
    struct shard_figures sum = {0};
    for (uint32_t i = 0; i < drive->shard_count; i++) {
        struct shard_figures one;
        shard_figures(drive->shards[i], &one);
        sum.holds_live += one.holds_live;
        sum.holds_confirmed += one.holds_confirmed;
        sum.holds_ended += one.holds_ended;
        sum.users += one.users;
        sum.keys += one.keys;
        sum.operations += one.operations;
        sum.parked += one.parked;
        sum.records += one.records;
        sum.expired += one.expired;
        sum.tokens_waiting += one.tokens_waiting;
        sum.tokens_active += one.tokens_active;
        sum.joined += one.joined;
        sum.activated += one.activated;
    }
    return sum;
}

struct bytes
drive_journal(const struct drive *drive, uint32_t shard)
{
    const struct journal *journal = journal_of(drive, shard);
    return (struct bytes){(const char *)journal->bytes, (uint32_t)journal->size};
}

/* ---- commands from text ---- */

struct words {
    struct bytes word[WORDS_MAX];
    uint32_t count;
    uint32_t at;
};

static struct bytes
next_word(struct words *words)
{
    assert_true(words->at < words->count);
    return words->word[words->at++];
}

static bool
word_is(struct bytes word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.data, text, word.size) == 0;
}

static int64_t
next_number(struct words *words)
{
    char *end;
    struct bytes word = next_word(words);
    int64_t number = strtoll(word.data, &end, 10);
    assert_ptr_equal(end, word.data + word.size);
    return number;
}

/* The part of a name before the next slash, which is cut off with it. */
static struct bytes
cut_slash(struct bytes *name)
{
    const char *slash = memchr(name->data, '/', name->size);
    assert_non_null(slash);
    struct bytes part = {name->data, (uint32_t)(slash - name->data)};
    name->data += part.size + 1;
    name->size -= part.size + 1;
    return part;
}

static struct uuid
id_of(struct drive *drive, struct bytes name)
{
    for (uint32_t i = drive->name_count; i > 0; i--)
        if (word_is(name, drive->names[i - 1].text))
            return drive->names[i - 1].id;
    return uuid_put(drive->now_ms, name.size, (uint16_t)(name.data[0] << 9), uuid_random(7, name.size));
}

struct uuid
drive_id(struct drive *drive, const char *name)
{
    return id_of(drive, (struct bytes){name, (uint32_t)strlen(name)});
}

static void
make_hold(struct drive *drive, struct words *words, struct command *c)
{
    c->type = COMMAND_HOLD;
    c->event = next_word(words);
    c->user = next_word(words);
    while (words->at < words->count) {
        struct bytes word = next_word(words);
        if (word_is(word, "SEAT")) {
            struct bytes name = next_word(words);
            struct seat_name *seat = &c->seats[c->seat_count++];
            assert_true(c->seat_count <= HOLD_SEATS_MAX);
            seat->section = cut_slash(&name);
            seat->row = cut_slash(&name);
            seat->number = (uint32_t)strtoul(name.data, NULL, 10);
        } else if (word_is(word, "POOL")) {
            assert_true(c->pool_count < HOLD_POOLS_MAX);
            c->pools[c->pool_count].name = next_word(words);
            c->pools[c->pool_count++].quantity = (uint32_t)next_number(words);
        } else if (word_is(word, "BEST")) {
            c->section = next_word(words);
            c->best_count = (uint8_t)next_number(words);
        } else if (word_is(word, "TTL")) {
            c->seconds = (uint32_t)next_number(words);
        } else if (word_is(word, "REPLACE")) {
            c->replaces = id_of(drive, next_word(words));
            c->has_replaces = true;
        } else if (word_is(word, "BADPASS")) {
            c->pass_refused = true;
        } else if (word_is(word, "REQUEST")) {
            c->request_id = next_word(words);
        } else {
            assert_true(word_is(word, "KEY"));
            c->key = next_word(words);
        }
    }
}

static void
make_queue(struct drive *drive, struct words *words, struct command *c)
{
    if (c->type == COMMAND_QUEUE_JOIN) {
        c->event = next_word(words);
        c->user = next_word(words);
    } else {
        c->hold = id_of(drive, next_word(words));
    }
    if (c->type == COMMAND_QUEUE_GET && words->at < words->count)
        c->wait_ms = (uint32_t)next_number(words);
    if (c->type == COMMAND_QUEUE_WATCH || c->type == COMMAND_QUEUE_UNWATCH)
        c->watch = (uint64_t)next_number(words);
    if (words->at < words->count) {
        assert_true(word_is(next_word(words), "KEY"));
        c->key = next_word(words);
    }
    assert_int_equal(words->at, words->count);
}

static void
make_create(struct drive *drive, struct words *words, struct command *c)
{
    const char *expected = NULL;
    const char *field = NULL;
    struct event_draft *draft = event_draft_begin(drive->draft);
    c->type = COMMAND_EVENT_CREATE;
    c->event = next_word(words);
    field = event_draft_id(draft, c->event, &expected);
    while (words->at < words->count && field == NULL) {
        struct bytes word = next_word(words);
        if (word_is(word, "SECTION")) {
            struct bytes name = next_word(words);
            int64_t rows = next_number(words);
            field = event_draft_section(draft, name, rows, next_number(words), &expected);
        } else if (word_is(word, "ROW")) {
            struct bytes section = next_word(words);
            struct bytes row = next_word(words);
            field = event_draft_row(draft, section, row, next_number(words), &expected);
        } else if (word_is(word, "POOL")) {
            struct bytes name = next_word(words);
            field = event_draft_pool(draft, name, next_number(words), &expected);
        } else if (word_is(word, "HOLD")) {
            field = event_draft_hold_seconds(draft, next_number(words), &expected);
        } else if (word_is(word, "HOLDMAX")) {
            field = event_draft_hold_seconds_max(draft, next_number(words), &expected);
        } else if (word_is(word, "LIMIT")) {
            field = event_draft_units_per_user_max(draft, next_number(words), &expected);
        } else if (word_is(word, "QUEUE")) {
            int64_t active_max = next_number(words);
            int64_t active_seconds = next_number(words);
            field =
                event_draft_queue(draft, active_max, active_seconds, next_number(words), false, &expected);
        } else if (word_is(word,
                           "LOTTERY")) { /* behind a QUEUE of one an hour: the draw is what is tested */
            field = event_draft_queue(draft, 1, 3600, 3600, true, &expected);
        } else if (word_is(word, "OPENS")) { /* in so many ms */
            field = event_draft_opens_at(draft, (int64_t)drive->now_ms + next_number(words), &expected);
        } else if (word_is(word, "OPENS_AT")) {
            field = event_draft_opens_at(draft, next_number(words), &expected);
        } else if (word_is(word, "BY")) {
            c->caller = next_word(words);
        } else {
            assert_true(word_is(word, "KEY"));
            c->key = next_word(words);
        }
    }
    if (field == NULL)
        field = event_draft_end(draft, &c->settings, &expected);
    if (field == NULL && c->settings->queue_lottery)
        memset(((struct event_settings *)(uintptr_t)c->settings)->lottery_seed, 7, LOTTERY_SEED_SIZE);
    if (field != NULL)
        fail_msg("settings of the test: %s, expected %s", field, expected);
}

static void
make_set(struct drive *drive, struct words *words, struct command *c)
{
    static const char *const states[] = {"open", "paused", "closed"};
    struct event_change *change = &drive->change;
    memset(change, 0, sizeof *change);
    c->type = COMMAND_EVENT_SET;
    c->event = next_word(words);
    c->change = change;
    while (words->at < words->count) {
        struct bytes word = next_word(words);
        if (word_is(word, "status")) {
            struct bytes state = next_word(words);
            change->has_status = true;
            while (!word_is(state, states[change->status]))
                change->status++;
        } else if (word_is(word, "hold_seconds")) {
            change->has_hold_seconds = true;
            change->hold_seconds = (uint32_t)next_number(words);
        } else if (word_is(word, "units_per_user_max")) {
            change->has_units_per_user_max = true;
            change->units_per_user_max = (uint32_t)next_number(words);
        } else if (word_is(word, "queue.active_max")) {
            change->has_queue_active_max = true;
            change->queue_active_max = (uint32_t)next_number(words);
        } else if (word_is(word, "KEY")) {
            c->key = next_word(words);
        } else {
            assert_true(word_is(word, "POOL"));
            change->pools[change->pool_count].name = next_word(words);
            change->pools[change->pool_count++].quantity = (uint32_t)next_number(words);
        }
    }
}

static void
make_end(struct drive *drive, struct words *words, struct command *c)
{
    c->hold = id_of(drive, next_word(words));
    if (c->type != COMMAND_CANCEL && c->type != COMMAND_HOLD_GET)
        c->user = next_word(words);
    if (c->type == COMMAND_EXTEND)
        c->seconds = (uint32_t)next_number(words);
    while (words->at < words->count) {
        struct bytes word = next_word(words);
        if (word_is(word, "LATE"))
            c->late = true;
        else if (word_is(word, "REF"))
            c->payment_ref = next_word(words);
        else if (word_is(word, "BY"))
            c->caller = next_word(words);
        else if (word_is(word, "REQUEST"))
            c->request_id = next_word(words);
        else if (word_is(word, "KEY"))
            c->key = next_word(words);
        else
            fail_msg("a word of the test: %.*s", (int)word.size, word.data);
    }
}

static void
make_command(struct drive *drive, const char *line, struct command *c)
{
    struct words words = {.count = 0};
    memset(c, 0, sizeof *c);
    while (*line != 0) {
        size_t size = strcspn(line, " ");
        assert_true(words.count < WORDS_MAX);
        words.word[words.count++] = (struct bytes){line, (uint32_t)size};
        line += size;
        line += strspn(line, " ");
    }
    static const struct {
        const char *word;
        enum command_type type;
    } ends[] = {
        {"CONFIRM", COMMAND_CONFIRM}, {"EXTEND", COMMAND_EXTEND},    {"RELEASE", COMMAND_RELEASE},
        {"CANCEL", COMMAND_CANCEL},   {"GETHOLD", COMMAND_HOLD_GET},
    };
    static const struct {
        const char *word;
        enum command_type type;
    } queues[] = {
        {"JOIN", COMMAND_QUEUE_JOIN},   {"QGET", COMMAND_QUEUE_GET},        {"LEAVE", COMMAND_QUEUE_LEAVE},
        {"WATCH", COMMAND_QUEUE_WATCH}, {"UNWATCH", COMMAND_QUEUE_UNWATCH},
    };
    struct bytes verb = next_word(&words);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (word_is(verb, ends[i].word))
            c->type = ends[i].type;
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++)
        if (word_is(verb, queues[i].word))
            c->type = queues[i].type;
    if (c->type >= COMMAND_QUEUE_JOIN) {
        make_queue(drive, &words, c);
    } else if (c->type != 0) {
        make_end(drive, &words, c);
    } else if (word_is(verb, "HOLD")) {
        make_hold(drive, &words, c);
    } else if (word_is(verb, "CREATE")) {
        make_create(drive, &words, c);
    } else if (word_is(verb, "SET")) {
        make_set(drive, &words, c);
    } else {
        c->type = word_is(verb, "HOLDS") ? COMMAND_HOLDS
                  : word_is(verb, "GET") ? COMMAND_EVENT_GET
                                         : COMMAND_SEATS;
        c->event = next_word(&words);
        if (c->type == COMMAND_HOLDS)
            c->user = next_word(&words);
        if (c->type == COMMAND_SEATS)
            c->section = next_word(&words);
        assert_int_equal(words.at, words.count);
    }
}

static uint32_t
submit_command(struct drive *drive, uint32_t shard, const struct command *command)
{
    uint32_t tag = ++drive->tag;
    struct one_answer *one = &drive->answers[tag % ANSWERS_MAX];
    free(one->text);
    *one = (struct one_answer){.tag = tag, .shard = shard};
    shard_time(drive->shards[shard], drive->now_ms);
    shard_command(drive->shards[shard], tag, command);
    return tag;
}

uint32_t
submit(struct drive *drive, uint32_t shard, const char *format, ...)
{
    struct command command;
    va_list list;
    va_start(list, format);
    assert_true(vsnprintf(drive->line, sizeof drive->line, format, list) < (int)sizeof drive->line);
    va_end(list);
    make_command(drive, drive->line, &command);
    return submit_command(drive, shard % drive->shard_count, &command);
}

const char *
answer(struct drive *drive, uint32_t tag)
{
    const struct one_answer *one = &drive->answers[tag % ANSWERS_MAX];
    assert_int_equal(one->tag, tag);
    if (!one->came || one->sequence > drive->durable[one->shard])
        return NULL;
    return one->text;
}

/* To the end; a map's further pieces are asked for and put behind. */
static const struct one_answer *
ask_line(struct drive *drive, const char *line, char *ret_text, size_t room)
{
    struct command command;
    size_t size = 0;
    make_command(drive, line, &command);
    for (;;) {
        uint32_t tag = submit_command(drive, drive->tag % drive->shard_count, &command);
        drive_run(drive);
        const char *text = answer(drive, tag);
        if (text == NULL)
            fail_msg("no answer: %s", line);
        assert_true(size + strlen(text) + 1 <= room);
        memcpy(ret_text + size, text, strlen(text) + 1);
        size += strlen(text);
        const struct one_answer *one = &drive->answers[tag % ANSWERS_MAX];
        if (one->row_to == 0)
            return one;
        command.row_from = one->row_to;
    }
}

const char *
drive_picture(struct drive *drive)
{
    struct text text = {drive->pictures[drive->picture_at++ % 2], 0, PICTURE_SIZE};
    text.to[0] = 0;
    for (uint32_t i = 0; i < shard_event_count(drive->shards[0]); i++) {
        char piece[TEXT_SIZE * 4];
        struct command by_index = {.type = COMMAND_EVENT_GET, .event_index = i};
        uint32_t tag = submit_command(drive, 0, &by_index);
        drive_run(drive);
        const char *got = answer(drive, tag);
        assert_non_null(got);
        assert_memory_equal(got, "OK ", 3);
        int id_size = (int)strcspn(got + 3, " ");
        struct bytes id = {got + 3, (uint32_t)id_size};
        const struct event_settings *settings = shard_event(drive->shards[0], id);
        assert_non_null(settings);
        put(&text, "%s", got);
        for (uint32_t s = 0; s < settings->section_count; s++) {
            const struct name *name = &event_settings_sections(settings)[s].name;
            char line[128];
            (void)snprintf(line, sizeof line, "SEATS %.*s %.*s", settings->id_size, settings->id,
                           name->size, name->text);
            (void)ask_line(drive, line, piece, sizeof piece);
            put(&text, " %s", piece + 3);
        }
        put(&text, "\n");
    }
    return text.to;
}

static void
give_name(struct drive *drive, const char *name, size_t size, const struct uuid *id)
{
    assert_true(drive->name_count < NAMES_MAX);
    assert_true(size < sizeof drive->names[0].text);
    uint32_t at = 0;
    while (at < drive->name_count &&
           !(strlen(drive->names[at].text) == size && memcmp(drive->names[at].text, name, size) == 0))
        at++;
    drive->name_count += at == drive->name_count;
    memcpy(drive->names[at].text, name, size);
    drive->names[at].text[size] = 0;
    drive->names[at].id = *id;
}

/* CREATE and SET without a key answer without the event, as HTTP asks for it afterwards. */
static void
put_changed_event(struct drive *drive, const char *line, char *text)
{
    char get[128];
    char got[TEXT_SIZE];
    size_t size = strlen(text);
    if (memcmp(text, "OK", 2) != 0 || (memcmp(line, "CREATE ", 7) != 0 && memcmp(line, "SET ", 4) != 0))
        return;
    line += strcspn(line, " ") + 1;
    (void)snprintf(get, sizeof get, "GET %.*s", (int)strcspn(line, " "), line);
    (void)ask_line(drive, get, got, sizeof got);
    assert_true(size + strlen(got) < TEXT_SIZE);
    memcpy(text + size, got + 2, strlen(got) - 1);
}

const char *
ask(struct drive *drive, const char *format, ...)
{
    char line[TEXT_SIZE];
    char *text = drive->texts[drive->text_at++ % TEXTS];
    va_list list;
    va_start(list, format);
    assert_true(vsnprintf(line, sizeof line, format, list) < (int)sizeof line);
    va_end(list);
    const char *before = drive->checks ? drive_picture(drive) : NULL;
    uint64_t expired_before = drive_figures(drive).expired;
    const char *equals = strstr(line, " = ");
    const struct one_answer *one = ask_line(drive, equals == NULL ? line : equals + 3, text, TEXT_SIZE);
    if (equals != NULL && one->has_hold)
        give_name(drive, line, (size_t)(equals - line), &one->hold);
    if (!one->has_event)
        put_changed_event(drive, line, text);
    if (drive->checks) {
        drive_check(drive);
        if (memcmp(text, "OK", 2) != 0 && drive_figures(drive).expired == expired_before)
            assert_string_equal(drive_picture(drive), before);
    }
    return text;
}
