/*
 * server_files.c - the data directory's journals: recovered at the start, kept by a thread of their own.
 *
 *     files_open      read and check; the clock
 *     files_recover   events, then each shard's holds, then seats and pools
 *     files_begin     the new epoch; from here on the housekeeper's thread runs
 *     files_snapshot  at the stop
 *
 * The housekeeper's thread does one thing after the other until there is nothing to do, then sleeps until a
 * shard rings, or for RETRY_MS. After each thing it rings all shards: one of them waits for it, and which
 * one is not worth knowing.
 */
#include "net/server_files.h"

#include "persist/disk.h"
#include "persist/housekeeper.h"
#include "persist/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS       200u  /* a full disk is asked again so often */
#define STOP_SCARCE_MS 2000u /* and a stop waits so long for room */
/* Durability is not told by a bell, so after something was done it is looked at often for a while. */
#define SLEEP_MS       100
#define SLEEP_SHORT_MS 10
#define SLEEPS_SHORT   100u

struct server_files {
    struct server *server;
    struct disk disk;
    struct recovery *recovery;
    struct housekeeper *housekeeper;
    pthread_t thread;
    bool running; /* the thread */
    uint64_t began_ms;
    _Atomic bool ending;
    _Atomic bool snapshot_asked;
    _Atomic uint64_t
        snapshots_wanted; /* so many must have ended for the one that was asked for; 0: not yet */
};

/* What the persister has published (docs/journal-format.md): housekeeper.h's persisted. */
static int
read_position(void *context, char *ret_text, size_t size)
{
    const struct server_files *files = context;
    char path[SETTING_TEXT_SIZE_MAX + sizeof "/persist.position"];
    (void)snprintf(path, sizeof path, "%s/persist.position", files->server->settings->data); /* fits */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t total = 0;
    ssize_t got = 1;
    while (got > 0 && total < size) {
        got = read(fd, ret_text + total, size - total);
        if (got < 0 && errno == EINTR)
            got = 1; /* again */
        else if (got > 0)
            total += (size_t)got;
    }
    int result = got < 0 ? -errno : (int)total;
    (void)close(fd); /* only read from */
    return result;
}

static uint64_t
monotonic_ms(void)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(result == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int64_t
wall_ms(void)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    assert(result == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
files_recovery_cause(const struct server *server, int result, const struct journal_fault *fault,
                     char *ret_cause, size_t cause_size)
{
    const char *data = server->settings->data;
    if (result == -EBADMSG)
        (void)snprintf(ret_cause, cause_size,
                       "damage in %s/journal/%s at byte %llu: %s: nothing was changed; look with 'holdfast "
                       "journal verify %s', and put the data directory back from a copy",
                       data, fault->file, (unsigned long long)fault->offset, fault->text, data);
    else
        (void)snprintf(ret_cause, cause_size, "could not start from %s/journal/%s (byte %llu): %s%s%s",
                       data, fault->file, (unsigned long long)fault->offset, fault->text,
                       result == -ENOMEM ? "" : ": ", result == -ENOMEM ? "" : strerror(-result));
}

static void
tell_recovery_failed(const struct server *server, int result, const struct journal_fault *fault)
{
    char cause[CAUSE_SIZE];
    files_recovery_cause(server, result, fault, cause, sizeof cause);
    log_error("%s", cause);
}

/* ---- the start ---- */

static void
tell_findings(const struct server *server, const struct recovery_report *report)
{
    const char *data = server->settings->data;
    for (uint32_t i = 0; i < report->cut_count; i++) {
        const struct journal_fault *cut = &report->cuts[i];
        log_warning("%s/journal/%s: cut at byte %llu, %llu bytes: %s; a write that was under way when the "
                    "server or the machine stopped, and that nobody was told of",
                    data, cut->file, (unsigned long long)cut->offset, (unsigned long long)cut->bytes,
                    cut->text);
    }
    if (report->snapshot_damaged)
        log_warning(
            "the newest snapshot is damaged (%s/journal/%s at byte %llu: %s): the one before it and "
            "its journal serve; look at the disk",
            data, report->snapshot_fault.file, (unsigned long long)report->snapshot_fault.offset,
            report->snapshot_fault.text);
}

/* Now is the later of the wall clock and the newest record's time (R8): nothing happens before it. */
static void
set_clock(struct server *server, uint64_t time_newest_ms)
{
    int64_t now_ms = wall_ms();
    if (now_ms < (int64_t)time_newest_ms) {
        log_warning("the wall clock is %lld ms behind the newest record: the server goes by the record",
                    (long long)((int64_t)time_newest_ms - now_ms));
        now_ms = (int64_t)time_newest_ms;
    }
    server->clock_offset_ms = now_ms - (int64_t)monotonic_ms();
    server->started_ms = server_now_ms(server);
}

bool
files_open(struct server_files **ret_files, struct server *server)
{
    char path[SETTING_TEXT_SIZE_MAX + 16];
    struct journal_fault fault = {0};
    struct server_files *files = calloc(1, sizeof *files);
    if (files == NULL) {
        log_error("no memory");
        return false;
    }
    files->server = server;
    files->began_ms = monotonic_ms();
    (void)snprintf(path, sizeof path, "%s/journal", server->settings->data); /* fits */
    int result = disk_files_open(path, 0, &files->disk);
    if (result != 0) {
        log_error("could not write into '%s': %s", path, strerror(-result));
        free(files);
        return false;
    }
    log_info("journal in %s: %s", path,
             disk_files_direct(&files->disk)
                 ? "written directly (O_DIRECT|O_DSYNC)"
                 : "this file system takes no O_DIRECT: written through the page cache (O_DSYNC), slower");
    result = recovery_open(&files->recovery, &files->disk, server->route_seed, server->shard_count, &fault);
    if (result != 0) {
        tell_recovery_failed(server, result, &fault);
        files_close(files);
        return false;
    }
    const struct recovery_report *report = recovery_report(files->recovery);
    tell_findings(server, report);
    set_clock(server, report->time_newest_ms);
    *ret_files = files;
    return true;
}

bool
files_recover(struct server_files *files, struct shard_threads *threads)
{
    struct server *server = files->server;
    struct journal_fault fault = {0};
    threads->recovery = files->recovery;
    int result = recovery_events(files->recovery, threads->shards, server->shard_count, &fault);
    if (result != 0) {
        tell_recovery_failed(server, result, &fault);
        return false;
    }
    if (!shard_threads_step(threads, STEP_HOLDS) || !shard_threads_step(threads, STEP_SETTLE))
        return false;
    const struct recovery_report *report = recovery_report(files->recovery);
    server->epoch = report->epoch;
    server->figures = (struct process_figures){.recovery_ms = monotonic_ms() - files->began_ms,
                                               .recovery_records = report->records,
                                               .recovery_cuts = report->cut_count};
    char snapshot[64] = "no snapshot";
    if (report->generation != 0)
        (void)snprintf(snapshot, sizeof snapshot, "snapshot %llu",
                       (unsigned long long)report->generation); /* fits */
    log_info(
        "recovered in %llu ms: epoch %llu begins, from %s and %llu records in %llu batches, %llu bytes "
        "of journal",
        (unsigned long long)server->figures.recovery_ms, (unsigned long long)report->epoch, snapshot,
        (unsigned long long)report->records, (unsigned long long)report->batches,
        (unsigned long long)report->journal_bytes);
    return true;
}

/* ---- the housekeeper ---- */

/* In the housekeeper's thread. */
static void
hear_news(void *context, enum housekeeper_news news, uint64_t number, int result)
{
    struct server_files *files = context;
    struct server *server = files->server;
    switch (news) {
    case NEWS_SEGMENT_FAILED:
        log_warning("could not make the next segment of shard %llu's journal: %s: new holds and events are "
                    "refused until it can be made; make room in '%s'",
                    (unsigned long long)number, strerror(-result), server->settings->data);
        break;
    case NEWS_SEGMENT_AGAIN:
        log_info("segments of the journal can be made again: holds are taken");
        break;
    case NEWS_SNAPSHOT:
        log_info("snapshot %llu is written", (unsigned long long)number);
        /* relaxed: a figure */
        (void)atomic_fetch_add_explicit(&server->snapshots, 1, memory_order_relaxed);
        break;
    case NEWS_SNAPSHOT_FAILED:
        log_warning(
            "snapshot %llu could not be written: %s: nothing is lost, the journal is kept; make room "
            "in '%s'",
            (unsigned long long)number, strerror(-result), server->settings->data);
        (void)atomic_fetch_add_explicit(&server->snapshots_failed, 1, memory_order_relaxed); /* a figure */
        break;
    case NEWS_REMOVE_FAILED:
        log_warning("could not remove a file of the journal that is not needed any more: %s",
                    strerror(-result));
        break;
    }
}

/* In this thread none begins or ends meanwhile; one that is under way does not reflect all there is. */
static void
take_question(struct server_files *files)
{
    if (!atomic_exchange_explicit(&files->snapshot_asked, false, memory_order_acq_rel))
        return;
    uint64_t wanted = housekeeper_snapshots_ended(files->housekeeper) + 1;
    if (housekeeper_snapshot_under_way(files->housekeeper))
        wanted++;
    housekeeper_snapshot(files->housekeeper);
    atomic_store_explicit(&files->snapshots_wanted, wanted, memory_order_release);
}

static void *
keep_house(void *argument)
{
    struct server_files *files = argument;
    struct server *server = files->server;
    uint32_t idle = 0;
    while (!atomic_load_explicit(&files->ending, memory_order_acquire)) {
        bell_sleep(&server->housekeeper_bell); /* whoever rings from here on is heard */
        take_question(files);
        if (housekeeper_step(files->housekeeper, server_now_ms(server))) {
            idle = 0;
            for (uint32_t i = 0; i < server->shard_count; i++)
                bell_ring_always(&server->bells[i]);
            bell_ring_always(&server->control);
        } else {
            idle++;
            bell_wait(&server->housekeeper_bell, idle < SLEEPS_SHORT ? SLEEP_SHORT_MS : SLEEP_MS);
        }
        bell_awake(&server->housekeeper_bell);
    }
    return NULL;
}

bool
files_begin(struct server_files *files, struct shard_threads *threads)
{
    struct server *server = files->server;
    const struct settings *settings = server->settings;
    struct journal_fault fault = {0};
    int result = recovery_begin(files->recovery, server->shard_count, settings->segment_bytes,
                                server_now_ms(server), threads->files, threads->header_crcs, &fault);
    if (result != 0) {
        log_error("could not begin the journal in '%s/journal' (%s %s): %s: each shard needs "
                  "journal.segment_bytes, %llu bytes",
                  settings->data, fault.file, fault.text, strerror(-result),
                  (unsigned long long)settings->segment_bytes);
        return false;
    }
    disk_files_gentle(&files->disk); /* from here on shards' journals are written beside */
    const struct recovery_report *report = recovery_report(files->recovery);
    struct housekeeper_settings housekeeper_settings = {
        .persisted = read_position,
        .persisted_context = files,
        .epoch = report->epoch,
        .route_seed = server->route_seed,
        .segment_bytes = settings->segment_bytes,
        .snapshot_bytes = settings->snapshot_bytes,
        .shard_count = server->shard_count,
        .slice_bytes = SNAPSHOT_SLICE_BYTES,
        .retry_ms = RETRY_MS,
    };
    struct recovered recovered = {
        .generation = report->generation,
        .journal_bytes = report->journal_bytes + report->old_segments * settings->segment_bytes,
    };
    result = housekeeper_open(&files->housekeeper, &files->disk, &housekeeper_settings, &recovered,
                              hear_news, files);
    if (result == 0) {
        server->housekeeper = files->housekeeper;
        result = -pthread_create(&files->thread, NULL, keep_house, files);
        files->running = result == 0;
    }
    if (result != 0) {
        log_error("could not start the thread that keeps the journal's files: %s", strerror(-result));
        return false;
    }
    recovery_close(files->recovery); /* its memory is of the size of what was read */
    files->recovery = NULL;
    threads->recovery = NULL;
    return true;
}

void
files_snapshot(struct server_files *files)
{
    struct server *server = files->server;
    uint64_t wanted = 0;
    atomic_store_explicit(&files->snapshot_asked, true, memory_order_release);
    bell_ring_always(&server->housekeeper_bell);
    uint64_t roomy_ms = monotonic_ms();
    while (wanted == 0 || housekeeper_snapshots_ended(files->housekeeper) < wanted) {
        bell_wait(&server->control, SLEEP_MS);
        wanted = atomic_load_explicit(&files->snapshots_wanted, memory_order_acquire);
        /* A shard whose last records find no room cannot tell what they change. */
        if (!housekeeper_scarce(files->housekeeper))
            roomy_ms = monotonic_ms();
        else if (monotonic_ms() - roomy_ms > STOP_SCARCE_MS) {
            log_warning("no room for a snapshot: the next start reads the journal instead");
            return;
        }
    }
}

void
files_close(struct server_files *files)
{
    if (files->running) {
        /* release: with the bell; the thread reads it with acquire */
        atomic_store_explicit(&files->ending, true, memory_order_release);
        bell_ring_always(&files->server->housekeeper_bell);
        (void)pthread_join(files->thread, NULL); /* started by us, joined once */
    }
    if (files->housekeeper != NULL)
        housekeeper_close(files->housekeeper);
    if (files->recovery != NULL)
        recovery_close(files->recovery);
    disk_files_close(&files->disk);
    free(files);
}
