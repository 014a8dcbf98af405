/*
 * journal_writer.c - one shard's journal of this epoch: one batch on its way at a time.
 *
 * States, and what moves between them:
 *
 *            append, it fits                          written
 *     IDLE ───────────────────▶ WRITING ───────────────────────────────────────▶ IDLE
 *       │ seal, a block fits       ▲
 *       ├──────────────────────────┘
 *       │                          ▲ written: now in the next segment, the batch goes after it
 *       │ append, it does not fit  │
 *       ├────────────────────▶ CLOSING ── written, no batch behind it ─────────▶ IDLE
 *       │   seal, no block fits    ▲
 *       │                          │ segment_give
 *       └────────────────────▶ WAITING
 *        append, it does not fit, and the next segment has not been given
 *
 *     any write that fails or is short ──▶ DEAD: nothing is written, nothing becomes durable any more
 *
 * A segment:
 *
 *     header | batch | batch | ... | batch | CLOSES |  rest, never written
 *                                          '-- its last block is kept for it: a batch never takes it
 *
 * So a segment can always be closed, and is only closed when the next one exists. The chain and the
 * batches' numbers go on over the closing batch into the next segment. A closing batch covers the one
 * before it just as a sealing one does: both are empty and carry durable_upto.
 *
 * The buffer, at the alignment that direct writes need, touched only as far as batches reach:
 *
 *     0             BLOCK_BYTES
 *     empty batch | batch of records ...
 *
 * While the closing batch is on its way the batch of records waits behind it; it is sealed afterwards,
 * since its chain and its durable_upto are not known before.
 */
#include "persist/journal_writer.h"

#include "core/plant.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum state {
    IDLE,
    WRITING, /* a batch, into this segment */
    CLOSING, /* the closing batch; then the batch that waits, if there is one */
    WAITING, /* a batch waits for the next segment */
    DEAD,
};

#define FILES_MAX 3 /* this segment's, the next one's, and one that is not needed any more */

struct journal {
    struct journal_settings settings;
    struct journal_host host;
    uint8_t *buffer;

    enum state state;
    int file;              /* of the segment being written */
    int next_file;         /* of the one after it; -1: not given yet */
    int closed[FILES_MAX]; /* not needed any more, not fetched yet */
    uint32_t closed_count;

    struct journal_position durable; /* behind the last batch that is on disk */
    uint64_t covered;                /* durable_upto of that batch */
    uint64_t sent;                   /* last sequence of the batches handed over */
    uint64_t sent_ms;                /* time of the last batch of records */
    struct batch_header on_way;      /* of the write under way */
    uint32_t waiting_size;           /* of the batch of records behind the closing one; 0: none */

    uint64_t bytes;
    uint64_t batches;
};

int
journal_open(struct journal **ret_journal, const struct journal_settings *settings,
             const struct journal_host *host, int file, uint32_t header_crc)
{
    assert(settings->segment_bytes >= SEGMENT_BYTES_MIN);
    assert(settings->segment_bytes % BLOCK_BYTES == 0);
    assert(settings->shard < settings->shard_count);
    assert(settings->shard_count <= UINT16_MAX);
    /* the largest batch fits an empty segment: header, batch, closing batch */
    assert(batch_size(settings->batch_bytes_max) + 2 * (uint64_t)BLOCK_BYTES <= settings->segment_bytes);
    assert(settings->batch_bytes_max <= BATCH_RECORDS_MAX);
    assert(file >= 0);

    struct journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return -ENOMEM;
    void *buffer;
    if (posix_memalign(&buffer, BLOCK_BYTES, BLOCK_BYTES + (size_t)batch_size(settings->batch_bytes_max)) !=
        0) {
        free(journal);
        return -ENOMEM;
    }
    journal->settings = *settings;
    journal->host = *host;
    journal->buffer = buffer;
    journal->file = file;
    journal->next_file = -1;
    journal->durable = (struct journal_position){
        .epoch = settings->epoch,
        .shard = settings->shard,
        .offset = BLOCK_BYTES,
        .chain = header_crc,
    };
    *ret_journal = journal;
    return 0;
}

void
journal_close(struct journal *journal)
{
    if (journal == NULL)
        return;
    free(journal->buffer);
    free(journal);
}

const char *
journal_buffer(const struct journal *journal, size_t records, size_t *ret_size)
{
    assert(records <= journal->settings.batch_bytes_max);
    *ret_size = BLOCK_BYTES + (size_t)batch_size((uint32_t)records);
    return (const char *)journal->buffer;
}

bool
journal_busy(const struct journal *journal)
{
    return journal->state != IDLE;
}

/* ---- writing ---- */

/* So many bytes can be written into this segment, and it can still be closed behind them. */
static bool
fits(const struct journal *journal, uint32_t size)
{
    return journal->durable.offset + size + BLOCK_BYTES <= journal->settings.segment_bytes;
}

/* Fills what every batch says, seals it, and hands it over. The last thing a caller does: the host may say
 * at once that it is written. */
static void
send(struct journal *journal, uint8_t *batch, enum state state)
{
    struct batch_header *header = (struct batch_header *)batch;
    header->chain = journal->durable.chain;
    header->epoch = journal->settings.epoch;
    header->shard = (uint16_t)journal->settings.shard;
    header->shard_count = (uint16_t)journal->settings.shard_count;
    header->number = journal->durable.batch;
    header->durable_upto = journal->durable.sequence;
    batch_seal(batch);
    assert(header->sequence_first == journal->durable.sequence + 1);
    assert(journal->durable.offset + header->size <= journal->settings.segment_bytes);
    journal->on_way = *header;
    journal->state = state;
    journal->host.write(journal->host.context, journal->file, batch, header->size, journal->durable.offset);
}

/* An empty batch: it covers the one before, or closes the segment. */
static void
send_empty(struct journal *journal, uint32_t flags, uint64_t now_ms, enum state state)
{
    struct batch_header *header = (struct batch_header *)journal->buffer;
    *header = (struct batch_header){
        .flags = flags,
        .sequence_first = journal->durable.sequence + 1,
        .sequence_last = journal->durable.sequence,
        .time_ms = now_ms,
    };
    send(journal, journal->buffer, state);
}

static void
send_waiting(struct journal *journal)
{
    assert(journal->waiting_size > 0);
    assert(fits(journal, journal->waiting_size));
    journal->waiting_size = 0;
    send(journal, journal->buffer + BLOCK_BYTES, WRITING);
}

void
journal_append(struct journal *journal, const uint8_t *records, size_t size, uint32_t record_count,
               uint64_t sequence_first, uint64_t sequence_last, bool events, uint64_t now_ms)
{
    assert(journal->state == IDLE);
    assert(size > 0);
    assert(size <= journal->settings.batch_bytes_max);
    assert(record_count > 0);
    assert(sequence_first == journal->sent + 1);
    assert(sequence_last >= sequence_first);

    uint8_t *batch = journal->buffer + BLOCK_BYTES;
    struct batch_header *header = (struct batch_header *)batch;
    *header = (struct batch_header){
        .flags = events ? BATCH_EVENTS : 0,
        .sequence_first = sequence_first,
        .sequence_last = sequence_last,
        .time_ms = now_ms,
        .records_size = (uint32_t)size,
        .record_count = record_count,
    };
    memcpy(batch + sizeof *header, records, size);
    journal->sent = sequence_last;
    journal->sent_ms = now_ms;
    journal->waiting_size = batch_size((uint32_t)size);

    if (fits(journal, journal->waiting_size))
        send_waiting(journal);
    else if (journal->next_file >= 0)
        send_empty(journal, BATCH_CLOSES, now_ms, CLOSING);
    else
        journal->state = WAITING;
}

/* An empty batch can be written: into this segment, or as its closing one. */
static bool
seal_wanted(const struct journal *journal)
{
    return journal->state == IDLE && journal->covered < journal->durable.sequence &&
           (fits(journal, BLOCK_BYTES) || journal->next_file >= 0);
}

uint64_t
journal_seal_ms(const struct journal *journal)
{
    return seal_wanted(journal) ? journal->sent_ms + journal->settings.seal_ms : UINT64_MAX;
}

void
journal_seal(struct journal *journal, uint64_t now_ms)
{
    if (!seal_wanted(journal) || now_ms < journal_seal_ms(journal))
        return;
    if (fits(journal, BLOCK_BYTES))
        send_empty(journal, BATCH_SEALS, now_ms, WRITING);
    else
        send_empty(journal, BATCH_CLOSES, now_ms, CLOSING);
}

/* ---- segments ---- */

static void
close_file(struct journal *journal, int file)
{
    assert(journal->closed_count < FILES_MAX);
    journal->closed[journal->closed_count++] = file;
}

/* The closing batch is on disk: the next segment is this one. */
static void
change_segment(struct journal *journal)
{
    assert(journal->next_file >= 0);
    assert(journal->durable.segment < UINT32_MAX - 1);
    close_file(journal, journal->file);
    journal->file = journal->next_file;
    journal->next_file = -1;
    journal->durable.segment++;
    journal->durable.offset = BLOCK_BYTES;
}

uint32_t
journal_segment_wanted(const struct journal *journal)
{
    if (journal->next_file >= 0 || journal->state == DEAD)
        return UINT32_MAX;
    return journal->durable.segment + 1;
}

void
journal_segment_give(struct journal *journal, uint32_t segment, int file)
{
    assert(file >= 0);
    if (journal->state == DEAD) { /* it was on its way when the write failed */
        close_file(journal, file);
        return;
    }
    assert(segment == journal_segment_wanted(journal));
    journal->next_file = file;
    if (journal->state == WAITING)
        send_empty(journal, BATCH_CLOSES, journal->sent_ms, CLOSING);
}

int
journal_closed_file(struct journal *journal)
{
    return journal->closed_count > 0 ? journal->closed[--journal->closed_count] : -1;
}

void
journal_stop(struct journal *journal)
{
    assert(journal->state == IDLE || journal->state == WAITING || journal->state == DEAD);
    journal->state = DEAD;
    if (journal->file >= 0)
        close_file(journal, journal->file);
    if (journal->next_file >= 0)
        close_file(journal, journal->next_file);
    journal->file = -1;
    journal->next_file = -1;
}

uint64_t
journal_room(const struct journal *journal)
{
    const uint64_t whole = journal->settings.segment_bytes - 2 * BLOCK_BYTES;
    const uint64_t next = journal->next_file >= 0 ? whole : 0;
    const uint64_t rest =
        journal->settings.segment_bytes - BLOCK_BYTES - journal->durable.offset; /* of this segment */
    switch (journal->state) {
    case IDLE:
        return rest + next;
    case WRITING:
        return rest - journal->on_way.size + next;
    case CLOSING:
        return next - journal->waiting_size;
    case WAITING:
    case DEAD:
        break;
    }
    return 0;
}

bool
journal_nearly_full(const struct journal *journal)
{
    /* and the block that closes the segment; a seal may come between */
    return journal_room(journal) <
           2 * ((uint64_t)batch_size(journal->settings.batch_bytes_max) + BLOCK_BYTES);
}

/* ---- a write's end ---- */

int
journal_written(struct journal *journal, int32_t result)
{
    assert(journal->state == WRITING || journal->state == CLOSING);
    const struct batch_header *batch = &journal->on_way;
    bool short_write = (uint32_t)result != batch->size && !PLANTED(PLANT_SHORT_WRITE_TAKEN);
    if (result < 0 || short_write) {
        journal->state = DEAD;
        return result < 0 ? result : -EIO;
    }

    journal->durable.offset += batch->size;
    journal->durable.batch = batch->number + 1;
    journal->durable.sequence = batch->sequence_last;
    journal->durable.chain = batch->crc;
    journal->covered = batch->durable_upto;
    journal->bytes += batch->size;
    journal->batches++;

    bool closed = journal->state == CLOSING;
    journal->state = IDLE;
    if (closed)
        change_segment(journal);
    if (journal->waiting_size > 0)
        send_waiting(journal);
    return 0;
}

/* ---- figures ---- */

uint64_t
journal_durable(const struct journal *journal)
{
    return PLANTED(PLANT_ACKNOWLEDGED_TOO_SOON) ? journal->sent : journal->durable.sequence;
}

struct journal_position
journal_position(const struct journal *journal)
{
    return journal->durable;
}

uint64_t
journal_bytes(const struct journal *journal)
{
    return journal->bytes;
}

uint64_t
journal_batches(const struct journal *journal)
{
    return journal->batches;
}
