/*
 * load.c - `holdfast load`: buyers over real connections, and the audit of what they were told.
 *
 *     options.c     what is asked for                                -> schedule.c
 *     audit.c       makes the event                                  deal, hall, storm, open
 *     driver.c      one a thread: connections, arrivals, time        -> client.h: resp_client.c,
 * http_client.c workload.h    what the next request is, what its answer means  -> sale.c, room.c, raw.c
 *     ledger.c      every grant; what was promised twice
 *     audit.c       the ledger against the server's word             -> room_audit.c
 *     report.c      JSON, CSV, table                                 -> progress.c, the live line
 *
 * The main thread connects everything first and starts all threads at once, so that the buyers come
 * together; then it only watches: it shows the progress, ends a load by the clock, and gives up when
 * nothing is answered any more. SIGINT and SIGTERM end the asking; what was asked is still answered,
 * counted and audited; a second one ends the process.
 */
#include "load/load.h"

#include "load/driver.h"
#include "load/null_server.h"
#include "load/progress.h"
#include "load/report.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct load;

struct worker {
    struct load *load;
    struct driver *driver;
    struct tally tally;
    pthread_t thread;
    uint64_t end_ns;
};

struct load {
    struct load_options options;
    void *shared; /* the workload's */

    uint64_t begin_ns;
    atomic_bool giving_up;
    atomic_bool finished; /* the workload has nothing left to ask for */
    _Atomic uint32_t running;
    bool killed; /* the server, by --kill */
    pid_t null_pid;
    pthread_barrier_t start;
    struct worker *workers;
    struct workload *workloads;
    const struct tally **tallies; /* of the workers */
    struct tally total;           /* of all workers, when they have ended */

    double client_seconds;
    struct usage server;
};

static atomic_bool stopping;

static void
stop(int signal_number)
{
    atomic_store(&stopping, true);
    signal(signal_number, SIG_DFL);
}

static void *
worker_run(void *argument)
{
    struct worker *worker = argument;
    (void)pthread_barrier_wait(&worker->load->start); /* tells one thread apart, which is of no use here */
    driver_run(worker->driver, worker->load->begin_ns, &worker->load->giving_up);
    worker->end_ns = now_ns();
    atomic_fetch_sub(&worker->load->running, 1);
    return NULL;
}

/* Many connections need many descriptors; where the limit does not allow them, connecting says so. */
static void
descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* So many of a number of things belong to this of the threads. */
static uint32_t
share_of(uint32_t all, uint32_t threads, uint32_t thread)
{
    return all / threads + (thread < all % threads);
}

static bool
workers_open(struct load *load)
{
    const struct load_options *options = &load->options;
    uint32_t threads = options->threads;
    load->workers = calloc(threads, sizeof *load->workers);
    load->workloads = calloc(threads, sizeof *load->workloads);
    load->tallies = calloc(threads, sizeof *load->tallies);
    if (load->workers == NULL || load->workloads == NULL || load->tallies == NULL) {
        fprintf(stderr, "holdfast load: out of memory for %u threads\n", threads);
        return false;
    }
    for (uint32_t i = 0; i < threads; i++) {
        struct worker *worker = &load->workers[i];
        struct workload *workload = &load->workloads[i];
        char error[256];
        uint32_t waits = share_of(options->wait_connections, threads, i);
        worker->load = load;
        load->tallies[i] = &worker->tally;
        *workload = (struct workload){.kind = options->workload,
                                      .options = options,
                                      .shared = load->shared,
                                      .stopping = &stopping,
                                      .finished = &load->finished,
                                      .thread = i,
                                      .tally = &worker->tally,
                                      .random = options->seed + ((uint64_t)i << 48)};
        worker->driver = NULL;
        if (options->workload->begin == NULL || options->workload->begin(workload, error))
            worker->driver =
                driver_open(workload, share_of(options->connections, threads, i) + waits, waits, error);
        if (worker->driver == NULL) {
            fprintf(stderr, "holdfast load: %s\n", error);
            return false;
        }
        workload->driver = worker->driver;
    }
    return true;
}

static void
load_done(struct load *load)
{
    const struct workload_kind *kind = load->options.workload;
    for (uint32_t i = 0; load->tallies != NULL && i < load->options.threads; i++) {
        driver_free(load->workers[i].driver);
        if (kind->end != NULL && load->workloads[i].kind != NULL)
            kind->end(&load->workloads[i]);
        ledger_done(&load->workers[i].tally.ledger);
    }
    free(load->workers);
    free(load->workloads);
    free(load->tallies);
    ledger_done(&load->total.ledger);
    if (kind->done != NULL && load->shared != NULL)
        kind->done(load->shared);
    if (load->null_pid > 0)
        null_server_stop(load->null_pid);
    options_done(&load->options);
}

/* In the middle of the spike: holds are counted, each is of about as many units as any other. */
static void
kill_in_the_middle(struct load *load, const struct progress *progress)
{
    const struct load_options *options = &load->options;
    bool pool = (options->workload->options & OPTIONS_POOL) != 0;
    uint64_t each = pool ? options->quantity : (1 + options->party_max) / 2;
    if (load->killed || options->kill_pid == 0 || progress->held * each < options_units(options, pool) / 2)
        return;
    if (kill((pid_t)options->kill_pid, SIGKILL) != 0) {
        fprintf(stderr, "holdfast load: could not kill process %u: %s\n", options->kill_pid,
                strerror(errno));
        exit(1);
    }
    load->killed = true;
    atomic_store(&stopping, true);
}

/* Nobody may have to be answered for a while, as where all wait for their time to come. */
static bool
is_quiet(const struct load *load, const struct progress *progress)
{
    const struct load_options *options = &load->options;
    bool all_here = progress->arrived >= options->buyers || atomic_load(&stopping);
    return options->open_loop && !all_here;
}

/* Until all threads have ended. False: given up, since nothing was answered any more. */
static bool
watch(struct load *load, struct progress_view *view)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    uint64_t answered_ns = load->begin_ns;
    struct progress last = {0};
    bool patient = true;
    for (bool running = true; running;) {
        running = atomic_load(&load->running) > 0;
        uint64_t now = now_ns();
        struct progress progress = progress_now(load->tallies, load->options.threads);
        if (progress.answered != last.answered || is_quiet(load, &progress))
            answered_ns = now;
        last = progress;
        kill_in_the_middle(load, &progress);
        if (load->options.seconds > 0 &&
            now - load->begin_ns >= load->options.seconds * UINT64_C(1000000000))
            atomic_store(&stopping, true);
        if (now - answered_ns >= load->options.patience_seconds * UINT64_C(1000000000)) {
            atomic_store(&load->giving_up, true);
            patient = false;
        }
        progress_step(view, &progress, now, !running);
        if (running)
            (void)nanosleep(&nap, NULL); /* a signal only makes it shorter */
    }
    return patient;
}

/* How long the threads asked, all together, and how long it took until the last hold was granted. */
struct duration {
    uint64_t all_ns;
    uint64_t holds_ns;
};

static struct duration
tallies_merge(struct load *load)
{
    uint64_t end_ns = load->begin_ns;
    struct tally *total = &load->total;
    for (uint32_t i = 0; i < load->options.threads; i++) {
        const struct worker *worker = &load->workers[i];
        const struct tally *tally = &worker->tally;
        end_ns = worker->end_ns > end_ns ? worker->end_ns : end_ns;
        total->arrived += tally->arrived;
        total->dropped += tally->dropped;
        total->asked += tally->asked;
        total->answered += tally->answered;
        total->held += tally->held;
        total->sold += tally->sold;
        total->waiting += tally->waiting;
        total->active += tally->active;
        if (tally->held_last_ns > total->held_last_ns)
            total->held_last_ns = tally->held_last_ns;
        total->confirmed += tally->confirmed;
        total->lost += tally->lost;
        total->lost_units += tally->lost_units;
        total->retried += tally->retried;
        total->queued_max += tally->queued_max;
        if (total->strange == 0)
            memcpy(total->strange_first, tally->strange_first, sizeof total->strange_first);
        total->strange += tally->strange;
        refusals_merge(&total->refusals, &tally->refusals);
        refusals_merge(&total->other_refusals, &tally->other_refusals);
        for (uint32_t kind = 0; kind < ASK_KINDS; kind++)
            histogram_merge(&total->latency[kind], &tally->latency[kind]);
        histogram_merge(&total->service, &tally->service);
        histogram_merge(&total->lateness, &tally->lateness);
        histogram_merge(&total->wait, &tally->wait);
        ledger_merge(&total->ledger, &tally->ledger);
    }
    return (struct duration){end_ns - load->begin_ns,
                             total->held > 0 ? total->held_last_ns - load->begin_ns : 0};
}

static void
threads_start(struct load *load)
{
    uint32_t threads = load->options.threads;
    atomic_store(&load->running, threads);
    if (pthread_barrier_init(&load->start, NULL, threads + 1) != 0) {
        fprintf(stderr, "holdfast load: could not make the barrier of %u threads\n", threads);
        exit(1);
    }
    for (uint32_t i = 0; i < threads; i++) {
        if (pthread_create(&load->workers[i].thread, NULL, worker_run, &load->workers[i]) != 0) {
            fprintf(stderr, "holdfast load: could not start thread %u of %u\n", i + 1, threads);
            exit(1); /* the others wait at the barrier for ever */
        }
    }
    load->client_seconds = usage_own_seconds();
    load->server = usage_of(load->options.server_pids, load->options.server_count);
    load->begin_ns = now_ns();
    (void)pthread_barrier_wait(&load->start); /* tells one thread apart, which is of no use here */
}

/* Waits for the threads. False: a connection broke that should not have. */
static bool
threads_end(struct load *load)
{
    bool well = true;
    for (uint32_t i = 0; i < load->options.threads; i++) {
        (void)pthread_join(load->workers[i].thread, NULL); /* cannot fail for a thread of ours */
        uint32_t broken;
        const char *why = driver_broken(load->workers[i].driver, &broken);
        if (broken == 0 || load->killed)
            continue;
        fprintf(stderr, "holdfast load: %u connections of thread %u broke, the first one: %s\n", broken,
                i + 1, why);
        well = load->options.workload->retries && well;
    }
    (void)pthread_barrier_destroy(&load->start);
    return well;
}

/* Starts the threads and waits for them. False: what went wrong is told; what was answered is counted
 * anyway. */
static bool
load_run(struct load *load, struct duration *ret_duration)
{
    struct progress_view view;
    threads_start(load);
    if (!progress_open(&load->options, load->begin_ns, &view))
        exit(1); /* the threads have begun */
    bool well = watch(load, &view);
    load->client_seconds = usage_own_seconds() - load->client_seconds;
    struct usage server = usage_of(load->options.server_pids, load->options.server_count);
    load->server.cpu_seconds = server.cpu_seconds - load->server.cpu_seconds;
    load->server.written_bytes = server.written_bytes - load->server.written_bytes;
    if (!well)
        fprintf(stderr, "holdfast load: nothing was answered for %u s: given up\n",
                load->options.patience_seconds);
    well = threads_end(load) && well;
    well = progress_close(&view) && well;
    *ret_duration = tallies_merge(load);
    if (load->options.kill_pid != 0 && !load->killed) {
        fprintf(stderr, "holdfast load: --kill: half of all was never held, the server lives\n");
        well = false;
    }
    return well;
}

/* Whether the buyers and the server tell the same story. */
static bool
verdict(const struct load *load, uint64_t oversold, const struct audit *audit)
{
    const struct tally *total = &load->total;
    if (oversold > 0)
        fprintf(stderr,
                "holdfast load: OVERSOLD by %llu: so many units were promised to more than one buyer\n",
                (unsigned long long)oversold);
    if (total->strange > 0)
        fprintf(stderr, "holdfast load: %llu answers do not fit their requests, the first: %s\n",
                (unsigned long long)total->strange, total->strange_first);
    for (uint64_t i = 0; i < audit->differences && i < DIFFERENCES_SHOWN_MAX; i++)
        fprintf(stderr, "holdfast load: audit: %s\n", audit->shown[i]);
    if (audit->differences > DIFFERENCES_SHOWN_MAX)
        fprintf(stderr, "holdfast load: audit: and %llu more\n",
                (unsigned long long)(audit->differences - DIFFERENCES_SHOWN_MAX));
    return oversold == 0 && total->strange == 0 && audit->differences == 0;
}

static bool
result_print(const struct load_options *options, const struct outcome *outcome)
{
    json_t *result = report_json(outcome);
    bool well = true;
    if (options->output == OUTPUT_JSON) {
        well = json_dumpf(result, stdout, JSON_REAL_PRECISION(10)) == 0;
        putchar('\n');
    } else {
        report_table(&result, 1, options->output);
    }
    json_decref(result);
    return well;
}

static bool
load_report(struct load *load, struct duration duration)
{
    const struct load_options *options = &load->options;
    const struct tally *total = &load->total;
    static struct audit audit = {.recorded = -1, .units_left = -1};
    struct outcome outcome = {.options = options,
                              .tally = total,
                              .all_ns = duration.all_ns,
                              .holds_ns = duration.holds_ns,
                              .client_seconds = load->client_seconds,
                              .server = load->server,
                              .server_known = options->server_count > 0};
    bool well = true;
    char error[256];
    if (options->workload->audit != NULL && !options->null) {
        bool pool = (options->workload->options & OPTIONS_POOL) != 0;
        outcome.counted = true;
        outcome.oversold =
            ledger_oversold(&total->ledger, pool ? options->stock : 0, options->hold_seconds);
        outcome.audit = &audit;
        if (!options->workload->audit(options, load->workloads, total, &audit, error)) {
            fprintf(stderr, "holdfast load: the audit could not be made: %s\n", error);
            well = false;
        }
    }
    well = verdict(load, outcome.oversold, &audit) && well;
    if (options->latencies != NULL)
        well = report_latencies(options->latencies, total) && well;
    return result_print(options, &outcome) && well;
}

/* Everything that comes before the first request. */
static bool
load_open(struct load *load)
{
    char error[256];
    struct load_options *options = &load->options;
    const struct workload_kind *kind = options->workload;
    descriptors_raise();
    if (options->null) {
        load->null_pid = null_server_start(options->protocol, &options->place.port, error);
        snprintf(options->place.address, sizeof options->place.address, "127.0.0.1");
        if (load->null_pid > 0 && options->server_count < LOAD_SERVERS_MAX)
            options->server_pids[options->server_count++] = (uint32_t)load->null_pid;
    }
    bool well = load->null_pid >= 0 && (kind->open == NULL || kind->open(options, &load->shared, error)) &&
                (options->null || kind->prepare == NULL || kind->prepare(options, load->shared, error));
    if (!well)
        fprintf(stderr, "holdfast load: %s\n", error);
    return well && workers_open(load);
}

int
load_main_with(int argc, char **argv, const struct workload_kind *const *kinds)
{
    static struct load load;
    if (argc > 1 && strcmp(argv[1], "null") == 0)
        return null_main(argc - 1, argv + 1);
    int code = options_read(argc, argv, kinds, &load.options);
    if (code >= 0)
        return code;
    if (load.options.workload == NULL)
        return report_files(load.options.words, load.options.word_count, load.options.output);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    if (!load_open(&load)) {
        load_done(&load);
        return 1;
    }
    struct duration duration = {0};
    bool well = load_run(&load, &duration);
    well = load_report(&load, duration) && well;
    load_done(&load);
    return well ? 0 : 1;
}

int
load_main(int argc, char **argv)
{
    static const struct workload_kind *const kinds[] = {&workload_deal, &workload_hall, &workload_storm,
                                                        &workload_open, &workload_raw,  NULL};
    return load_main_with(argc, argv, kinds);
}
