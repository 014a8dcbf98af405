/*
 * loop_journal.c - the part of a shard's tick that makes records durable, and what goes with it.
 *
 *     dispatch   a write by the ring has ended                -> journal_written(), shard_durable()
 *     early      a write has ended, by the thread or the ring -> likewise
 *                half of the last batch's records are there   -> as the next batch below
 *     step       the thread's write, as above
 *                files: one that is not needed any more, the next segment
 *                room: what the core may still begin          -> shard_scarce()
 *                the next batch, or an idle journal's seal    -> shard_batch(), journal_append()
 *                the snapshot that is being written: a slice  -> shard_snapshot_slice()
 *
 * Files are made and removed by the housekeeper's thread (server_files.c); between it and this thread there
 * are only atomics. It rings this shard's bell when it has done something, so nothing here polls.
 *
 * Scarcity follows two facts anew before each batch, so service returns by itself: the housekeeper cannot
 * make segments; what there is holds fewer than two batches of the largest size. The one that begins takes
 * one of them, and since records that are not written yet are bounded by that size, they find room, too,
 * before everything is refused.
 */
#include "net/loop_internal.h"

#include "persist/disk.h"
#include "persist/housekeeper.h"
#include "persist/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EARLY_MIN          32u            /* records: a write costs as much as some requests */
#define LOOK_NS            20000u         /* a look costs a few hundred ns, a system call with it */
#define SEAL_MS            500u           /* within a second, even where a tick comes late */
#define SLICE_BYTES_WANTED (256u * 1024u) /* a fraction of a millisecond */

/* host->write */
static void
write_batch(void *context, int file, const void *data, uint32_t size, uint64_t offset)
{
    struct loop *loop = context;
    assert(!loop->writing);
    loop->writing = true;
    loop->write_began_ns = loop_clock_ns();
    loop->write_looked_ns = loop->write_began_ns;
    loop->write_way = write_ways_choose(&loop->write_ways, loop->write_began_ns);
    loop->figures.value[METRIC_JOURNAL_BY_THREAD] += loop->write_way == WRITE_BY_THREAD;
    if (loop->write_way == WRITE_BY_THREAD)
        journal_thread_write(&loop->journal_thread, file, data, size, offset);
    else
        ring_write(loop->ring, file, data, size, offset, (struct ring_target){0, 0});
}

int
loop_journal_open(struct loop *loop, int file, uint32_t header_crc)
{
    struct server *server = loop->server;
    struct journal_settings settings = {
        .epoch = server->epoch,
        .segment_bytes = server->settings->segment_bytes,
        .shard = loop->index,
        .shard_count = server->shard_count,
        .batch_bytes_max = (uint32_t)server->settings->batch_bytes_max,
        .seal_ms = SEAL_MS,
    };
    struct journal_host host = {.context = loop, .write = write_batch};
    int result = journal_open(&loop->journal, &settings, &host, file, header_crc);
    if (result == 0)
        result = journal_thread_start(&loop->journal_thread, loop->index, &server->bells[loop->index]);
    return result;
}

static void
close_files(struct loop *loop)
{
    int file;
    while ((file = journal_closed_file(loop->journal)) >= 0)
        (void)close(file); /* every write to it was durable when it ended */
}

void
loop_journal_close(struct loop *loop)
{
    if (loop->journal == NULL)
        return;
    journal_thread_stop(&loop->journal_thread);
    if (!loop->writing) /* else the process ends with a write on its way: after a failed start only */
        journal_stop(loop->journal);
    close_files(loop);
    journal_close(loop->journal);
    loop->journal = NULL;
}

/* A failed write is never retried and never acknowledged: the process ends with the cause, at once, so that
 * nothing that waits for it can still leave. */
_Noreturn static void
journal_failed(const struct loop *loop, int result)
{
    log_error("the journal of shard %u could not be written: %s: stopping; nothing that is not on disk was "
              "acknowledged; look at the disk, then start again",
              loop->index, strerror(-result));
    _exit(1);
}

void
loop_journal_written(struct loop *loop, int32_t written)
{
    uint64_t now_ns = loop_clock_ns();
    uint64_t us = (now_ns - loop->write_began_ns) / 1000;
    write_ways_took(&loop->write_ways, loop->write_way, now_ns - loop->write_began_ns, now_ns);
    loop->figures.value[METRIC_JOURNAL_WRITE_US_SUM] += us;
    if (us > loop->figures.value[METRIC_JOURNAL_WRITE_US_MAX])
        loop->figures.value[METRIC_JOURNAL_WRITE_US_MAX] = us;
    assert(loop->writing);
    loop->writing = false; /* the next one may begin inside */
    int result = journal_written(loop->journal, written);
    if (result != 0)
        journal_failed(loop, result);
    uint64_t durable = journal_durable(loop->journal);
    if (durable > loop->durable) {
        loop->durable = durable;
        shard_durable(loop->shard, durable);
    }
    housekeeper_durable(loop->server->housekeeper, loop->index, durable, journal_bytes(loop->journal));
}

static void
look_at_thread(struct loop *loop)
{
    int32_t written;
    if (journal_thread_written(&loop->journal_thread, &written))
        loop_journal_written(loop, written);
}

/* Its end is told with what the loop takes next from the ring, and a tick may be longer than a write. */
static void
look_at_ring(struct loop *loop)
{
    if (!loop->writing || loop->write_way != WRITE_BY_RING)
        return;
    uint64_t now_ns = loop_clock_ns();
    int32_t written;
    if (now_ns - loop->write_looked_ns < LOOK_NS)
        return;
    loop->write_looked_ns = now_ns;
    if (ring_written(loop->ring, &written))
        loop_journal_written(loop, written);
}

static void
take_segment(struct loop *loop)
{
    struct server *server = loop->server;
    uint32_t wanted = journal_segment_wanted(loop->journal);
    if (wanted == UINT32_MAX)
        return;
    if (housekeeper_want(server->housekeeper, loop->index, wanted))
        bell_ring(&server->housekeeper_bell);
    uint32_t segment;
    int file = housekeeper_made(server->housekeeper, loop->index, &segment);
    if (file >= 0)
        journal_segment_give(loop->journal, segment, file);
}

static void
look_for_room(struct loop *loop)
{
    enum scarcity scarcity = SCARCE_NOT;
    if (housekeeper_scarce(loop->server->housekeeper))
        scarcity = journal_nearly_full(loop->journal) ? SCARCE_ALL : SCARCE_NEW;
    if (scarcity != loop->scarcity) {
        loop->scarcity = scarcity;
        loop->figures.value[METRIC_SCARCITY] = scarcity;
        shard_scarce(loop->shard, scarcity);
    }
}

static void
begin_batch(struct loop *loop)
{
    if (journal_busy(loop->journal))
        return;
    struct shard_batch batch = shard_batch(loop->shard);
    if (batch.size == 0) {
        journal_seal(loop->journal, loop->now_ms);
        return;
    }
    loop->batched = batch.sequence_last;
    loop->early = batch.record_count / 2 < EARLY_MIN ? EARLY_MIN : batch.record_count / 2;
    journal_append(loop->journal, batch.data, batch.size, batch.record_count, batch.sequence_first,
                   batch.sequence_last, batch.events, loop->now_ms);
}

/*
 * In the middle of a tick. Clients who are answered together ask together: all would come in one tick and
 * wait for one write, and this shard for it, too. So a batch begins as soon as half of what the last one
 * had is there, and the other half is executed while it is written.
 */
void
loop_journal_early(struct loop *loop)
{
    look_at_thread(loop);
    look_at_ring(loop);
    if (!loop->server->durable || journal_busy(loop->journal) ||
        shard_sequence(loop->shard) - loop->batched < loop->early)
        return;
    look_for_room(loop);
    begin_batch(loop);
    (void)ring_wait(loop->ring, 0); /* only submits; what fails fails again at the tick's end */
}

/* At most one slice a tick. */
static void
go_on_with_snapshot(struct loop *loop)
{
    struct server *server = loop->server;
    struct housekeeper *housekeeper = server->housekeeper;
    loop->slice_next = false;
    if (!loop->slicing) {
        uint64_t generation = housekeeper_generation(housekeeper, loop->index);
        if (generation == 0)
            return;
        struct journal_position position = journal_position(loop->journal);
        housekeeper_begun(housekeeper, loop->index, &position);
        shard_snapshot_begin(loop->shard, generation);
        loop->slicing = true;
    }
    uint8_t *slice = housekeeper_slice(housekeeper, loop->index);
    if (slice == NULL)
        return; /* the bell tells when it is written */
    uint32_t count = 0;
    bool last = false;
    uint32_t size = shard_snapshot_slice(loop->shard, slice, SLICE_BYTES_WANTED, &count, &last);
    loop->slice_next = !last;
    if (size == 0 && !last)
        return;
    housekeeper_sliced(housekeeper, loop->index, size, count, shard_sequence(loop->shard), loop->now_ms,
                       last);
    bell_ring(&server->housekeeper_bell);
    loop->slicing = !last;
}

void
loop_journal_step(struct loop *loop)
{
    look_at_thread(loop);
    close_files(loop);
    take_segment(loop);
    look_for_room(loop);
    begin_batch(loop);
    go_on_with_snapshot(loop);
}

uint64_t
loop_journal_wait_ms(const struct loop *loop)
{
    /* more of a snapshot is to be told, or to be waited for that makes no bell ring */
    if (loop->slice_next)
        return 1;
    uint64_t due_ms = journal_seal_ms(loop->journal);
    if (due_ms == UINT64_MAX)
        return UINT64_MAX;
    return due_ms > loop->now_ms ? due_ms - loop->now_ms : 1;
}

bool
loop_journal_done(const struct loop *loop)
{
    /* without room what is not written stays so; nobody was told of it */
    return !loop->writing && (loop->durable == shard_sequence(loop->shard) || loop->scarcity != SCARCE_NOT);
}
