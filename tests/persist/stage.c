/*
 * stage.c - see stage.h.
 */
#include "tests/persist/stage.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "persist/housekeeper.h"
#include "persist/journal_writer.h"

#define BATCH_MAX    (32u * 1024u)
#define STEPS_MAX    100000u
#define PICTURE_SIZE 65536u

struct message {
    struct message *next;
    uint32_t from;
    uint32_t to;
    uint32_t size;
    uint64_t bytes[];
};

struct keeper {
    struct stage *stage;
    uint32_t index;
    struct shard *shard;
    void *memory;
    size_t memory_size;
    struct journal *journal;
    uint64_t durable;
    bool writing;
    int file;
    const void *data;
    uint32_t size;
    uint64_t offset;
    bool telling;
};

struct stage {
    struct memory_disk *memory_disk;
    struct disk disk;
    enum stage_how how;
    uint32_t shard_count;
    uint64_t now_ms;
    struct keeper keepers[STAGE_SHARDS];
    struct housekeeper *housekeeper;
    struct recovery_report report;
    struct message *first;
    struct message **last;
    bool dead;
    uint32_t turn;
    uint64_t snapshots;
    uint64_t snapshots_good;
    struct stage_book book;
    /* the one command under way */
    uint64_t tag;
    bool answered; /* by the shard; leaves when `sequence` is durable */
    uint64_t answer_sequence;
    uint32_t answer_shard;
    enum status status;
    struct uuid hold;
    bool has_hold;
    uint32_t row_to;
    uint32_t row_count;
    char *text; /* what a look says, PICTURE_SIZE long */
    size_t text_size;
};

/* ---- hosts ---- */

static bool
host_send(void *context, uint32_t to, const void *message, uint32_t size)
{
    struct keeper *keeper = context;
    struct message *copy = malloc(sizeof *copy + size);
    assert(copy != NULL);
    copy->next = NULL;
    copy->from = keeper->index;
    copy->to = to;
    copy->size = size;
    memcpy(copy->bytes, message, size);
    *keeper->stage->last = copy;
    keeper->stage->last = &copy->next;
    return true;
}

__attribute__((format(printf, 2, 3))) static void
put(struct stage *stage, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int size = vsnprintf(stage->text + stage->text_size, PICTURE_SIZE - stage->text_size, format, list);
    va_end(list);
    assert(size >= 0);
    stage->text_size += (size_t)size;
    assert(stage->text_size < PICTURE_SIZE);
}

static void
put_counts(struct stage *stage, const struct unit_counts *counts)
{
    put(stage, " %" PRIu64 "=%" PRIu64 "+%" PRIu64 "+%" PRIu64, counts->capacity, counts->free,
        counts->held, counts->sold);
    assert(counts->capacity == counts->free + counts->held + counts->sold);
}

static void
put_reply(struct stage *stage, const struct reply *reply)
{
    put(stage, "%s", status_word(reply->status));
    if (reply->status == STATUS_OK && reply->kind == REPLY_HOLD) {
        const struct hold_view *hold = &reply->hold;
        put(stage, " %.*s %.*s %s until %" PRIu64, hold->event->id_size, hold->event->id,
            (int)hold->user.size, hold->user.data, hold_state_word(hold->state), hold->deadline_ms);
        for (uint32_t i = 0; i < hold->seat_count; i++)
            put(stage, " %06" PRIx32 ":%" PRIu32, hold->seats[i].ref, hold->seats[i].version);
        for (uint32_t i = 0; i < hold->pool_count; i++)
            put(stage, " %" PRIu32 "*%" PRIu32, hold->pools[i].pool, hold->pools[i].quantity);
    } else if (reply->status == STATUS_OK && reply->kind == REPLY_EVENT) {
        const struct event_view *view = reply->event_view;
        put(stage, " %.*s %u %" PRIu32 "s", view->settings->id_size, view->settings->id, view->status,
            view->hold_seconds);
        put_counts(stage, &view->total);
    } else if (reply->status == STATUS_OK && reply->kind == REPLY_MAP) {
        const struct map_view *map = reply->map;
        const struct section_settings *section = &event_settings_sections(map->event)[map->section];
        put(stage, " %.*s", (int)((map->row_to - map->row_from) * section->row_seats), map->letters);
        stage->row_to = map->row_to;
        stage->row_count = map->row_count;
    }
    put(stage, "\n");
}

static void
host_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct keeper *keeper = context;
    struct stage *stage = keeper->stage;
    assert(tag == stage->tag);
    assert(!stage->answered);
    stage->answered = true;
    stage->answer_sequence = sequence;
    stage->answer_shard = keeper->index;
    stage->status = reply->status;
    stage->has_hold = reply->status == STATUS_OK && reply->kind == REPLY_HOLD;
    if (stage->has_hold)
        stage->hold = reply->hold.id;
    if (stage->text != NULL)
        put_reply(stage, reply);
}

static void
host_write(void *context, int file, const void *data, uint32_t size, uint64_t offset)
{
    struct keeper *keeper = context;
    assert(!keeper->writing);
    keeper->writing = true;
    keeper->file = file;
    keeper->data = data;
    keeper->size = size;
    keeper->offset = offset;
}

static void
told(void *context, enum housekeeper_news news, uint64_t number, int result)
{
    struct stage *stage = context;
    (void)number;
    (void)result;
    stage->snapshots_good += news == NEWS_SNAPSHOT;
}

/* ---- steps ---- */

static bool
deliver(struct stage *stage)
{
    struct message *message = stage->first;
    if (message == NULL)
        return false;
    stage->first = message->next;
    if (stage->first == NULL)
        stage->last = &stage->first;
    shard_time(stage->keepers[message->to].shard, stage->now_ms);
    shard_message(stage->keepers[message->to].shard, message->from, message->bytes, message->size);
    free(message);
    return true;
}

static void
note_durable(struct stage *stage, struct keeper *keeper)
{
    uint64_t durable = journal_durable(keeper->journal);
    housekeeper_durable(stage->housekeeper, keeper->index, durable, journal_bytes(keeper->journal));
    if (durable > keeper->durable) {
        keeper->durable = durable;
        shard_durable(keeper->shard, durable);
    }
}

static bool
write_step(struct stage *stage, struct keeper *keeper)
{
    if (!keeper->writing)
        return false;
    keeper->writing = false;
    int32_t result = memory_disk_write_batch(stage->memory_disk, keeper->file, keeper->data, keeper->size,
                                             keeper->offset);
    if (journal_written(keeper->journal, result) != 0) {
        stage->dead = true;
        return false;
    }
    note_durable(stage, keeper);
    return true;
}

static bool
journal_step(struct stage *stage, struct keeper *keeper)
{
    struct journal *journal = keeper->journal;
    bool moved = false;
    uint32_t segment = journal_segment_wanted(journal);
    int file;
    if (segment != UINT32_MAX)
        (void)housekeeper_want(stage->housekeeper, keeper->index, segment);
    if ((file = housekeeper_made(stage->housekeeper, keeper->index, &segment)) >= 0) {
        journal_segment_give(journal, segment, file);
        moved = true;
    }
    while ((file = journal_closed_file(journal)) >= 0)
        (void)stage->disk.close(stage->disk.context, file); /* durable byte by byte */
    bool scarce = housekeeper_scarce(stage->housekeeper);
    shard_scarce(keeper->shard, !scarce                        ? SCARCE_NOT
                                : journal_nearly_full(journal) ? SCARCE_ALL
                                                               : SCARCE_NEW);
    if (journal_busy(journal))
        return moved;
    struct shard_batch batch = shard_batch(keeper->shard);
    if (batch.size > 0) {
        journal_append(journal, batch.data, batch.size, batch.record_count, batch.sequence_first,
                       batch.sequence_last, batch.events, stage->now_ms);
        note_durable(stage, keeper);
        return true;
    }
    if (journal_seal_ms(journal) <= stage->now_ms) {
        journal_seal(journal, stage->now_ms);
        return true;
    }
    return moved;
}

static bool
slice_step(struct stage *stage, struct keeper *keeper)
{
    uint64_t generation = housekeeper_generation(stage->housekeeper, keeper->index);
    if (generation != 0 && !keeper->telling) {
        struct journal_position position = journal_position(keeper->journal);
        housekeeper_begun(stage->housekeeper, keeper->index, &position);
        shard_snapshot_begin(keeper->shard, generation);
        keeper->telling = true;
        return true;
    }
    uint8_t *records = keeper->telling ? housekeeper_slice(stage->housekeeper, keeper->index) : NULL;
    if (records == NULL)
        return false;
    uint32_t count = 0;
    bool last = false;
    uint32_t size = shard_snapshot_slice(keeper->shard, records, 512, &count, &last);
    if (size > 0 || last)
        housekeeper_sliced(stage->housekeeper, keeper->index, size, count, shard_sequence(keeper->shard),
                           stage->now_ms, last);
    keeper->telling = !last;
    return size > 0 || last;
}

/* Everything under way, to its end. */
static void
run(struct stage *stage)
{
    bool moved = true;
    for (uint32_t steps = 0; moved && !stage->dead; steps++) {
        assert(steps < STEPS_MAX);
        moved = deliver(stage);
        for (uint32_t i = 0; i < stage->shard_count && stage->how == STAGE_SERVE && !stage->dead; i++) {
            struct keeper *keeper = &stage->keepers[i];
            shard_time(keeper->shard, stage->now_ms);
            moved |= write_step(stage, keeper);
            if (stage->dead)
                return;
            moved |= journal_step(stage, keeper);
            moved |= slice_step(stage, keeper);
        }
        if (stage->how == STAGE_SERVE)
            moved |= housekeeper_step(stage->housekeeper, stage->now_ms);
    }
}

void
stage_pass(struct stage *stage, uint64_t ms)
{
    stage->now_ms += ms;
    for (uint32_t i = 0; i < stage->shard_count; i++) {
        shard_time(stage->keepers[i].shard, stage->now_ms);
        while (shard_expire(stage->keepers[i].shard))
            continue;
    }
    run(stage);
}

/* ---- a start ---- */

static void
host_push(void *context, uint64_t watch, const struct reply *reply, uint64_t sequence)
{
    (void)context;
    (void)watch;
    (void)reply;
    (void)sequence;
    assert(false); /* nobody watches a token */
}

static struct shard_settings
shard_settings(void)
{
    return (struct shard_settings){
        .route_seed = STAGE_SEED,
        .holds_max = 200,
        .users_max = 200,
        .events_max = 4,
        .tokens_max = 16,
        .watchers_max = 16,
        .operations_max = 16,
        .seats_max = 400,
        .event_bytes_max = 1 << 16,
        .key_bytes_max = 1 << 14,
        .batch_bytes_max = BATCH_MAX,
        .ended_ms = 3600 * 1000,
        .key_ms = 24 * 3600 * 1000,
        .expire_batch = 64,
    };
}

static void
open_shards(struct stage *stage, const struct recovery_report *report)
{
    for (uint32_t i = 0; i < stage->shard_count; i++) {
        struct keeper *keeper = &stage->keepers[i];
        struct shard_settings settings = shard_settings();
        settings.shard_index = i;
        settings.shard_count = stage->shard_count;
        settings.id_seed = report->epoch * 1000 + i;
        *keeper = (struct keeper){.stage = stage, .index = i};
        /* pages that are not touched need not be zeroed: that is most of the time of a recovery here */
        keeper->memory_size = shard_size(&settings);
        keeper->memory =
            mmap(NULL, keeper->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert(keeper->memory != MAP_FAILED);
        const struct shard_host host = {keeper, host_send, host_reply, host_push};
        uint64_t now_ms = stage->now_ms;
        keeper->shard = shard_open(keeper->memory, &settings, &host, now_ms);
    }
}

static int
begin(struct stage *stage, struct recovery *recovery, struct journal_fault *ret_fault)
{
    int files[STAGE_SHARDS];
    uint32_t crcs[STAGE_SHARDS];
    int result =
        recovery_begin(recovery, stage->shard_count, STAGE_SEGMENT, stage->now_ms, files, crcs, ret_fault);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < stage->shard_count; i++) {
        const struct journal_settings settings = {
            .epoch = stage->report.epoch,
            .segment_bytes = STAGE_SEGMENT,
            .shard = i,
            .shard_count = stage->shard_count,
            .batch_bytes_max = BATCH_MAX,
            .seal_ms = 1000,
        };
        const struct journal_host host = {&stage->keepers[i], host_write};
        result = journal_open(&stage->keepers[i].journal, &settings, &host, files[i], crcs[i]);
        assert(result == 0);
    }
    const struct housekeeper_settings settings = {
        .epoch = stage->report.epoch,
        .route_seed = STAGE_SEED,
        .segment_bytes = STAGE_SEGMENT,
        .snapshot_bytes = UINT64_MAX,
        .shard_count = stage->shard_count,
        .slice_bytes = SNAPSHOT_SLICE_BYTES,
        .retry_ms = 100,
    };
    const struct recovered recovered = {stage->report.generation, stage->report.journal_bytes};
    result = housekeeper_open(&stage->housekeeper, &stage->disk, &settings, &recovered, told, stage);
    if (result != 0) {
        *ret_fault = (struct journal_fault){.file = ".", .error = result};
        (void)snprintf(ret_fault->text, sizeof ret_fault->text, "%s", strerror(-result));
    }
    return result;
}

static int
recover(struct stage *stage, struct recovery *recovery, struct journal_fault *ret_fault)
{
    struct shard *shards[STAGE_SHARDS];
    stage->report = *recovery_report(recovery);
    if (stage->report.time_newest_ms > stage->now_ms)
        stage->now_ms = stage->report.time_newest_ms;
    open_shards(stage, &stage->report);
    for (uint32_t i = 0; i < stage->shard_count; i++)
        shards[i] = stage->keepers[i].shard;
    int result = recovery_events(recovery, shards, stage->shard_count, ret_fault);
    for (uint32_t i = 0; i < stage->shard_count && result == 0; i++)
        result = recovery_holds(recovery, shards, stage->shard_count, i, ret_fault);
    for (uint32_t i = 0; i < stage->shard_count && result == 0; i++)
        result = recovery_settle(recovery, shards, stage->shard_count, i, ret_fault);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < stage->shard_count; i++)
        shard_check(shards[i]);
    shard_check_all(shards, stage->shard_count);
    return 0;
}

int
stage_open(struct stage **ret_stage, struct memory_disk *disk, uint32_t shard_count, enum stage_how how,
           uint64_t now_ms, struct journal_fault *ret_fault)
{
    assert(shard_count <= STAGE_SHARDS);
    struct recovery *recovery;
    struct disk interface = memory_disk_interface(disk);
    int result = recovery_open(&recovery, &interface, STAGE_SEED, 1, ret_fault);
    if (result != 0)
        return result;
    struct stage *stage = calloc(1, sizeof *stage);
    assert(stage != NULL);
    stage->memory_disk = disk;
    stage->disk = interface;
    stage->how = how;
    stage->shard_count = shard_count;
    stage->now_ms = now_ms;
    stage->last = &stage->first;
    result = recover(stage, recovery, ret_fault);
    if (result == 0 && how == STAGE_SERVE)
        result = begin(stage, recovery, ret_fault);
    recovery_close(recovery);
    if (result != 0) {
        stage_close(stage);
        return result;
    }
    *ret_stage = stage;
    return 0;
}

void
stage_close(struct stage *stage)
{
    while (stage->first != NULL) {
        struct message *message = stage->first;
        stage->first = message->next;
        free(message);
    }
    for (uint32_t i = 0; i < stage->shard_count; i++) {
        journal_close(stage->keepers[i].journal);
        if (stage->keepers[i].memory != NULL)
            (void)munmap(stage->keepers[i].memory, stage->keepers[i].memory_size); /* ours, whole */
    }
    housekeeper_close(stage->housekeeper);
    free(stage);
}

const struct recovery_report *
stage_report(const struct stage *stage)
{
    return &stage->report;
}

bool
stage_dead(const struct stage *stage)
{
    return stage->dead;
}

bool
stage_scarce(const struct stage *stage)
{
    return housekeeper_scarce(stage->housekeeper);
}

struct stage_book *
stage_book(struct stage *stage)
{
    return &stage->book;
}

void
stage_set_book(struct stage *stage, const struct stage_book *book)
{
    stage->book = *book;
}

/* ---- commands ---- */

static enum status
execute(struct stage *stage, const struct command *command)
{
    uint32_t turn = stage->turn++ % stage->shard_count;
    stage->answered = false;
    stage->tag++;
    shard_time(stage->keepers[turn].shard, stage->now_ms);
    shard_command(stage->keepers[turn].shard, stage->tag, command);
    run(stage);
    if (!stage->answered ||
        (stage->how == STAGE_SERVE && stage->answer_sequence > stage->keepers[stage->answer_shard].durable))
        return STATUS_COUNT; /* it must not leave */
    return stage->status;
}

static struct bytes
bytes_of(const char *text)
{
    return (struct bytes){text, (uint32_t)strlen(text)};
}

static enum status
create_event(struct stage *stage, const char *id)
{
    const char *expected;
    void *memory = aligned_alloc(64, (EVENT_DRAFT_SIZE + 63) & ~(size_t)63);
    assert(memory != NULL);
    struct event_draft *draft = event_draft_begin(memory);
    struct command command = {.type = COMMAND_EVENT_CREATE};
    const char *wrong = event_draft_id(draft, bytes_of(id), &expected);
    assert(wrong == NULL);
    wrong = event_draft_section(draft, bytes_of("A"), 4, 8, &expected);
    assert(wrong == NULL);
    wrong = event_draft_pool(draft, bytes_of("ga"), 20, &expected);
    assert(wrong == NULL);
    wrong = event_draft_end(draft, &command.settings, &expected);
    assert(wrong == NULL);
    enum status status = execute(stage, &command);
    free(memory);
    return status;
}

enum status
stage_do(struct stage *stage, const char *line)
{
    char copy[256], *words[24], *rest = NULL;
    uint32_t count = 0;
    assert(strlen(line) < sizeof copy);
    (void)snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL && count < 24;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    assert(count >= 2);
    struct command command = {.type = COMMAND_HOLD};
    if (strcmp(words[0], "EVENT") == 0)
        return create_event(stage, words[1]);
    if (strcmp(words[0], "HOLD") == 0 || strcmp(words[0], "POOL") == 0) {
        command.event = bytes_of(words[1]);
        command.user = bytes_of(words[2]);
        if (words[0][0] == 'P') {
            command.pool_count = 1;
            command.pools[0] = (struct pool_quantity){bytes_of("ga"), (uint32_t)atoi(words[3])};
        }
        for (uint32_t i = 3; i < count && words[0][0] == 'H'; i++) {
            /* A/row/number, each one digit */
            command.seats[command.seat_count++] =
                (struct seat_name){{words[i], 1}, {words[i] + 2, 1}, (uint32_t)(words[i][4] - '0')};
        }
        char key[32];
        int size = snprintf(key, sizeof key, "key-%" PRIu64 "-%" PRIu64, stage->report.epoch, stage->tag);
        command.key = (struct bytes){key, (uint32_t)size};
        command.seconds = 600;
        enum status status = execute(stage, &command);
        if (status == STATUS_OK) {
            assert(stage->has_hold);
            assert(stage->book.count < 64);
            stage->book.holds[stage->book.count++] = stage->hold;
        }
        return status;
    }
    command.type = words[0][0] == 'C'   ? COMMAND_CONFIRM
                   : words[0][0] == 'R' ? COMMAND_RELEASE
                                        : COMMAND_EXTEND;
    command.user = bytes_of(words[1]);
    command.hold = stage->book.holds[atoi(words[2])];
    command.seconds = command.type == COMMAND_EXTEND ? 700 : 0;
    return execute(stage, &command);
}

bool
stage_snapshot(struct stage *stage)
{
    uint64_t ended = housekeeper_snapshots_ended(stage->housekeeper), good = stage->snapshots_good;
    housekeeper_snapshot(stage->housekeeper);
    run(stage);
    for (uint32_t i = 0;
         i < 100 && !stage->dead && housekeeper_snapshots_ended(stage->housekeeper) == ended; i++)
        stage_pass(stage, 200);
    return stage->snapshots_good > good;
}

char *
stage_picture(struct stage *stage)
{
    char *text = malloc(PICTURE_SIZE);
    assert(text != NULL);
    text[0] = '\0';
    stage->text = text;
    stage->text_size = 0;
    static const char *const events[] = {"e", "f"};
    for (uint32_t i = 0; i < 2; i++) {
        struct command get = {.type = COMMAND_EVENT_GET, .event = bytes_of(events[i])};
        (void)execute(stage, &get); /* the answer is in the picture */
        struct command command = {
            .type = COMMAND_SEATS, .event = bytes_of(events[i]), .section = bytes_of("A")};
        do {
            (void)execute(stage, &command);
            command.row_from = stage->row_to;
        } while (stage->status == STATUS_OK && stage->row_to < stage->row_count);
        stage->row_to = 0;
    }
    for (uint32_t i = 0; i < stage->book.count; i++) {
        struct command command = {.type = COMMAND_HOLD_GET, .hold = stage->book.holds[i]};
        (void)execute(stage, &command);
    }
    stage->text = NULL;
    return text;
}
