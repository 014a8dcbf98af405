/*
 * mirror_replay.c - the state of everything, from records.
 *
 *     parts of a snapshot ─▶ journals of its epoch, from its positions ─▶ journals of the epochs after it
 * ─▶ the place
 *
 * A part tells each hold as it is after some record (docs/journal-format.md, "A snapshot"): records up to
 * that one are passed over for this hold, and likewise for tokens.
 *
 * Seats are kept by their highest version. A snapshot also tells versions of seats that nobody has: such a
 * seat is free, and its version may be one that a reservation took and no record ever named.
 */
#include "persist/mirror_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- records ---- */

static struct record_seat *
seats_of(struct mirror_hold *hold)
{
    return (struct record_seat *)(void *)hold->more;
}

static void
hold_seats_are(struct mirror *mirror, struct mirror_hold *hold, uint32_t raise, uint8_t state)
{
    for (uint32_t i = 0; i < hold->seat_count; i++)
        mirror_put_seat(mirror, hold->event, seats_of(hold)[i].ref, seats_of(hold)[i].version + raise,
                        state, &hold->id);
}

static void
hold_end(struct mirror *mirror, struct mirror_hold *hold, uint8_t state, uint64_t time_ms)
{
    hold->state = state;
    hold->ended_ms = time_ms;
    hold_seats_are(mirror, hold, 1, 0);
}

static bool
is_reflected(const struct mirror *mirror, uint64_t reflects, const struct record *record)
{
    return mirror->behind_snapshot && record->header->sequence <= reflects;
}

static void
see_placed(struct mirror *mirror, const struct record *record)
{
    uint32_t index = 0;
    if ((record->header->flags & RECORD_REPLACES) != 0) {
        struct mirror_hold *old = mirror_hold_find(mirror, &record->hold.replaces);
        if (old != NULL && !is_reflected(mirror, old->reflects, record)) {
            hold_end(mirror, old, HOLD_RELEASED, record->header->time_ms);
            mirror_put_result(mirror, record, index, RELEASED, &old->id);
        }
        index++;
    }
    struct mirror_hold *hold = mirror_hold_find(mirror, &record->hold.id);
    if (hold != NULL && is_reflected(mirror, hold->reflects, record))
        return;
    if (hold != NULL) {
        mirror->wrong = "a hold is placed twice";
        return;
    }
    hold = mirror_put_hold(mirror, record);
    if (hold == NULL)
        return;
    hold_seats_are(mirror, hold, 0, 1);
    mirror_put_result(mirror, record, index, PLACED, &hold->id);
}

static void
set_payment(struct mirror *mirror, struct mirror_hold *hold, struct bytes payment_ref)
{
    if (payment_ref.size == 0)
        return;
    char *copy = malloc(payment_ref.size);
    if (copy == NULL) {
        (void)mirror_no_memory(mirror);
        return;
    }
    memcpy(copy, payment_ref.data, payment_ref.size);
    free(hold->payment_ref);
    hold->payment_ref = copy;
    hold->payment_ref_size = (uint8_t)payment_ref.size;
}

static void
see_confirmed(struct mirror *mirror, const struct record *record, struct mirror_hold *hold)
{
    bool late = (record->header->flags & RECORD_LATE) != 0;
    if (hold == NULL && late) {
        hold = mirror_put_hold(mirror, record);
        if (hold == NULL)
            return;
    }
    if (hold == NULL)
        return;
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        if (late)
            memcpy(&seats_of(hold)[i], record->seats + i * sizeof(struct record_seat),
                   sizeof(struct record_seat));
        else
            seats_of(hold)[i].version++;
    }
    hold->state = HOLD_CONFIRMED;
    hold->ended_ms = 0;
    set_payment(mirror, hold, record->payment_ref);
    hold_seats_are(mirror, hold, 0, 2);
    mirror_put_result(mirror, record, 0, CONFIRMED, &hold->id);
}

static void
see_hold(struct mirror *mirror, const struct record *record)
{
    struct mirror_hold *hold = mirror_hold_find(mirror, &record->hold.id);
    if (hold != NULL && is_reflected(mirror, hold->reflects, record))
        return;
    if (record->header->type == RECORD_HOLD_CONFIRMED) {
        see_confirmed(mirror, record, hold);
        return;
    }
    if (hold == NULL) {
        if (mirror->generation == 0)
            mirror->wrong = "a record names a hold that was never placed";
        return; /* forgotten before the snapshot came to it */
    }
    switch (record->header->type) {
    case RECORD_HOLD_EXTENDED:
        hold->deadline_ms = record->hold.deadline_ms;
        mirror_put_result(mirror, record, 0, EXTENDED, &hold->id);
        break;
    case RECORD_HOLD_RELEASED:
        hold_end(mirror, hold, HOLD_RELEASED, record->header->time_ms);
        mirror_put_result(mirror, record, 0, RELEASED, &hold->id);
        break;
    case RECORD_HOLD_EXPIRED:
        hold_end(mirror, hold, HOLD_EXPIRED, record->header->time_ms);
        mirror_put_result(mirror, record, 0, EXPIRED, &hold->id);
        break;
    default:
        hold_end(mirror, hold, HOLD_CANCELLED, record->header->time_ms);
        mirror_put_result(mirror, record, 0, CANCELLED, &hold->id);
        break;
    }
}

static void
see_hold_kept(struct mirror *mirror, const struct record *record)
{
    struct mirror_hold *hold = mirror_put_hold(mirror, record);
    if (hold == NULL)
        return;
    hold->kept = true;
    hold->reflects = mirror->slice_reflects;
    hold->state = record->kept.state;
    if (hold->state == HOLD_HELD) {
        hold_seats_are(mirror, hold, 0, 1);
    } else if (hold->state == HOLD_CONFIRMED) {
        hold_seats_are(mirror, hold, 0, 2);
    } else {
        hold->ended_ms = record->kept.ended_ms;
        hold_seats_are(mirror, hold, 0, 0);
        for (uint32_t i = 0; i < hold->seat_count; i++)
            seats_of(hold)[i].version--; /* as it shows it: without its end */
    }
}

/* The rows of a section's blocks: whole rows, at most BLOCK_SEATS_MAX seats (core/event.c). */
static void
see_seats_kept(struct mirror *mirror, const struct record *record)
{
    static const struct uuid nobody;
    const struct record_seats *kept = record->seats_kept;
    struct bytes id = {kept->event, kept->event_size};
    uint32_t event = mirror_put_name(mirror, id);
    const struct event_settings *settings = mirror_event_settings(mirror, event);
    uint32_t block = 0;
    if (settings == NULL) {
        mirror->wrong = "a snapshot tells of seats of an event that it has not told of";
        return;
    }
    for (uint32_t section = 0; section < settings->section_count; section++) {
        uint32_t row_count = event_settings_sections(settings)[section].row_count;
        for (uint32_t row = 0; row < row_count; block++) {
            uint32_t first = row, seats = 0, at = 0;
            while (row < row_count && seats + section_row_seats(settings, section, row) <= BLOCK_SEATS_MAX)
                seats += section_row_seats(settings, section, row++);
            if (block != kept->block)
                continue;
            for (uint32_t r = first; r < row; r++)
                for (uint32_t n = 1; n <= section_row_seats(settings, section, r) && at < kept->seat_count;
                     n++, at++) {
                    uint32_t version;
                    memcpy(&version, record->versions + at * sizeof version, sizeof version);
                    struct mirror_seat *seat = mirror_seat_find(mirror, event, SEAT_REF(section, r, n));
                    if (version == 0 || (seat != NULL && seat->version >= version))
                        continue;
                    mirror_put_seat(mirror, event, SEAT_REF(section, r, n), version, 0, &nobody);
                    seat = mirror_seat_find(mirror, event, SEAT_REF(section, r, n));
                    if (seat != NULL)
                        seat->kept = true;
                }
            return;
        }
    }
}

static void
see_token(struct mirror *mirror, const struct record *record)
{
    uint8_t type = record->header->type;
    struct mirror_token *token = mirror_token_find(mirror, &record->token.id);
    if (token != NULL && is_reflected(mirror, token->reflects, record))
        return;
    if (token == NULL) {
        token = mirror_put_token(mirror, record);
        if (token == NULL)
            return;
        token->kept = type != RECORD_TOKEN_JOINED;
    }
    token->state = record->token.state;
    if (type == RECORD_TOKEN_KEPT) {
        token->reflects = mirror->slice_reflects;
        if (token->state > TOKEN_ACTIVE)
            token->ended_ms = record->token.deadline_ms;
        return;
    }
    if (type == RECORD_TOKEN_ACTIVATED)
        token->activated_ms = record->header->time_ms;
    if (type == RECORD_TOKEN_ENDED)
        token->ended_ms = record->header->time_ms;
    mirror_put_result(mirror, record, 0,
                      type == RECORD_TOKEN_JOINED      ? JOINED
                      : type == RECORD_TOKEN_ACTIVATED ? ACTIVATED
                                                       : ENDED,
                      &token->id);
}

static void
see_event(struct mirror *mirror, const struct record *record)
{
    struct bytes id;
    bool created = record->header->type == RECORD_EVENT_CREATED;
    bool part = record->header->sequence == 0;
    if (created) {
        id = (struct bytes){record->settings->id, record->settings->id_size};
        if (!event_settings_sound(record->settings, record->settings->size)) {
            mirror->wrong = "the settings of an event are not sound";
            return;
        }
        if (!part && event_table_find(mirror->events, id) != NULL)
            return; /* the snapshot has it */
        if (event_table_put(mirror->events, record->settings, record->header->time_ms) == NULL)
            (void)mirror_no_memory(mirror);
    } else {
        id = (struct bytes){record->change->event, record->change->event_size};
        if (event_table_change(mirror->events, record) == NULL)
            mirror->wrong = "a record changes an event that was never made";
    }
    uint32_t number = mirror_put_name(mirror, id);
    struct uuid of = {{0}};
    memcpy(of.byte, &number, sizeof number);
    if (!part && mirror->wrong == NULL)
        mirror_put_result(mirror, record, 0, created ? CREATED : CHANGED, &of);
}

static void
see_record(struct mirror *mirror, const struct record *record)
{
    switch (record->header->type) {
    case RECORD_EVENT_CREATED:
    case RECORD_EVENT_CHANGED:
        see_event(mirror, record);
        break;
    case RECORD_HOLD_PLACED:
        see_placed(mirror, record);
        break;
    case RECORD_HOLD_CONFIRMED:
    case RECORD_HOLD_RELEASED:
    case RECORD_HOLD_EXPIRED:
    case RECORD_HOLD_EXTENDED:
    case RECORD_HOLD_CANCELLED:
        see_hold(mirror, record);
        break;
    case RECORD_HOLD_KEPT:
        see_hold_kept(mirror, record);
        break;
    case RECORD_SEATS_KEPT:
        see_seats_kept(mirror, record);
        break;
    case RECORD_TOKEN_JOINED:
    case RECORD_TOKEN_ACTIVATED:
    case RECORD_TOKEN_ENDED:
    case RECORD_TOKEN_KEPT:
        see_token(mirror, record);
        break;
    default:
        break;
    }
}

/* batch_met of journal_tool_internal.h. */
static const char *
see_batch(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    struct mirror *mirror = context;
    (void)at;
    mirror->slice_reflects = batch->sequence_last;
    const uint8_t *record = batch_records(batch);
    for (uint32_t left = batch->records_size; left > 0 && mirror->wrong == NULL;) {
        struct record decoded;
        if (!record_decode(record, left, &decoded))
            return "the batch has bytes that are no record";
        bool event =
            decoded.header->type == RECORD_EVENT_CREATED || decoded.header->type == RECORD_EVENT_CHANGED;
        if (mirror->seeing == SEE_ALL || event == (mirror->seeing == SEE_EVENTS)) {
            see_record(mirror, &decoded);
            mirror->records++;
        }
        record += decoded.header->size;
        left -= decoded.header->size;
    }
    return mirror->wrong;
}

/* ---- journals and parts ---- */

static bool
fail(char ret_text[MIRROR_TEXT_SIZE_MAX], const char *file, uint64_t offset, const char *text)
{
    (void)snprintf(ret_text, MIRROR_TEXT_SIZE_MAX, "%s, byte %" PRIu64 ": %s", file, offset,
                   text); /* fits */
    return false;
}

/* Up to batch number `batch`, and at least to the record `sequence`. */
static bool
see_journal(struct mirror *mirror, struct journal_position *at, uint64_t batch, uint64_t sequence,
            char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct journal_reader *reader;
    char name[FILE_NAME_SIZE];
    const char *wrong = NULL;
    mirror->epoch = at->epoch;
    mirror->shard = at->shard;
    if (at->batch >= batch && at->sequence >= sequence)
        return true;
    if (journal_reader_open(&reader, &mirror->folder->disk, mirror->folder->route_seed, at) != 0)
        return fail(ret_text, "", 0, "no memory");
    while ((at->batch < batch || at->sequence < sequence) && wrong == NULL) {
        const struct batch_header *header;
        enum journal_read read = journal_reader_next(reader, &header);
        if (read == READ_BATCH)
            wrong = see_batch(mirror, header, at);
        else
            wrong = read == READ_END ? "the journal ends here, before the place that PostgreSQL is at"
                                     : journal_reader_fault(reader)->text;
        if (wrong != NULL) {
            file_name(name, FILE_JOURNAL, at->epoch, at->shard, at->segment);
            (void)fail(ret_text, name, at->offset, wrong);
        }
        *at = journal_reader_position(reader);
    }
    journal_reader_close(reader);
    return wrong == NULL;
}

static const struct journal_position *
position_of(const struct small_file *file, uint64_t epoch, uint32_t shard)
{
    for (uint32_t i = 0; i < small_header(file)->position_count; i++)
        if (small_positions(file)[i].epoch == epoch && small_positions(file)[i].shard == shard)
            return &small_positions(file)[i];
    return NULL;
}

/* All of an epoch, from `from` (NULL: from its beginning) to its end, or to the place. */
static bool
see_epoch(struct mirror *mirror, const struct picture *picture, uint64_t epoch,
          const struct small_file *from, const struct persister_place *place,
          char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    const struct small_file *start = picture_start(picture, epoch);
    const struct small_file *next = picture_start(picture, epoch + 1);
    if (start == NULL || (epoch < place->epoch && next == NULL))
        return fail(ret_text, "start file", 0, "it is missing");
    for (uint32_t shard = 0; shard < small_header(start)->shard_count; shard++) {
        struct journal_position at = {.epoch = epoch, .shard = shard, .offset = BLOCK_BYTES};
        const struct journal_position *begin = from != NULL ? position_of(from, epoch, shard) : NULL;
        const struct journal_position *end =
            epoch == place->epoch ? &place->positions[shard] : position_of(next, epoch, shard);
        if (begin != NULL)
            at = *begin;
        if (end == NULL)
            return fail(ret_text, "start file", 0, "it does not say where a journal before it ended");
        if (!see_journal(mirror, &at, end->batch, 0, ret_text))
            return false;
    }
    return true;
}

/* Events of all parts first: the part of one shard tells of seats of an event that another one's tells of.
 */
static bool
see_parts(struct mirror *mirror, const struct small_file *manifest, uint64_t *ret_reflects,
          char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    const struct file_header *header = small_header(manifest);
    mirror->generation = manifest->id.epoch;
    mirror->epoch = header->epoch;
    for (mirror->seeing = SEE_EVENTS; mirror->seeing <= SEE_REST; mirror->seeing++) {
        for (uint32_t shard = 0; shard < header->shard_count; shard++) {
            struct walk_end end;
            mirror->shard = shard;
            mirror->slice_reflects = 0;
            walk_part(mirror->folder, manifest->id.epoch, shard, see_batch, mirror, &end);
            if (end.read != READ_END)
                return fail(ret_text, end.fault.file, end.fault.offset, end.fault.text);
            ret_reflects[shard] = mirror->slice_reflects;
        }
    }
    mirror->seeing = SEE_ALL;
    return true;
}

static bool
from_beginning(const struct picture *picture)
{
    const struct small_file *first = picture_start(picture, 1);
    if (first == NULL)
        return false;
    for (uint32_t i = 0; i < small_header(first)->shard_count; i++)
        if (!picture_has(picture, FILE_JOURNAL, 1, i, 0))
            return false;
    return true;
}

/* The snapshot is not ahead of the place. */
static bool
is_behind(const struct small_file *manifest, const uint64_t *reflects, const struct persister_place *place)
{
    const struct file_header *header = small_header(manifest);
    if (header->epoch != place->epoch)
        return header->epoch < place->epoch;
    for (uint32_t i = 0; i < header->shard_count; i++)
        if (place->positions[i].sequence < reflects[i])
            return false;
    return true;
}

static bool
build(struct mirror *mirror, const struct picture *picture, const struct persister_place *place,
      char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    uint64_t reflects[SHARDS_MAX];
    const struct small_file *from = NULL;
    uint64_t epoch = 1;
    if (!from_beginning(picture)) {
        (void)fail(ret_text, "snapshot", 0,
                   "there is none that is whole and not ahead of PostgreSQL: wait until it has "
                   "caught up");
        for (uint32_t i = picture->manifest_count; i > 0 && from == NULL; i--) {
            const struct small_file *manifest = &picture->manifests[i - 1];
            if (manifest->bytes == NULL || small_header(manifest)->epoch > place->epoch)
                continue;
            if (!see_parts(mirror, manifest, reflects, ret_text))
                return false;
            if (!is_behind(manifest, reflects, place))
                return fail(ret_text, "snapshot", 0,
                            "it is ahead of PostgreSQL: wait until that has caught up");
            from = manifest;
        }
        if (from == NULL)
            return false;
        epoch = small_header(from)->epoch;
    }
    for (; epoch <= place->epoch; epoch++) {
        mirror->behind_snapshot = from != NULL && small_header(from)->epoch == epoch;
        if (!see_epoch(mirror, picture, epoch, mirror->behind_snapshot ? from : NULL, place, ret_text))
            return false;
    }
    return true;
}

bool
mirror_build(struct mirror *mirror, const struct persister_place *place,
             char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct picture picture;
    if (picture_take(mirror->folder, &picture) != 0)
        return fail(ret_text, "journal", 0, "the folder could not be read");
    bool good = build(mirror, &picture, place, ret_text);
    picture_done(&picture);
    return good;
}

bool
mirror_build_base(struct mirror *mirror, struct persister_place *ret_place,
                  char ret_text[MIRROR_TEXT_SIZE_MAX])
{
    struct picture picture;
    uint64_t reflects[SHARDS_MAX];
    if (picture_take(mirror->folder, &picture) != 0)
        return fail(ret_text, "journal", 0, "the folder could not be read");
    const struct small_file *manifest = NULL;
    for (uint32_t i = picture.manifest_count; i > 0 && manifest == NULL; i--)
        if (picture.manifests[i - 1].bytes != NULL)
            manifest = &picture.manifests[i - 1];
    bool good = manifest != NULL && see_parts(mirror, manifest, reflects, ret_text);
    if (manifest == NULL)
        (void)fail(ret_text, "snapshot", 0, "there is none, and the beginning of the journal is gone");
    if (good) {
        const struct file_header *header = small_header(manifest);
        mirror->behind_snapshot = true;
        *ret_place = (struct persister_place){.epoch = header->epoch, .shard_count = header->shard_count};
        for (uint32_t i = 0; i < header->shard_count && good; i++) {
            ret_place->positions[i] = small_positions(manifest)[i];
            good = see_journal(mirror, &ret_place->positions[i], 0, reflects[i], ret_text);
        }
    }
    picture_done(&picture);
    return good;
}
