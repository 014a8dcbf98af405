/*
 * load.c - `holdfast load`: buyers over real connections, and the audit of what they were told.
 *
 *     options.c     what is asked for
 *     audit.c       makes the event                                  deal, seats
 *     driver.c      one a thread: connections, epoll, pipelines      -> resp_client.c, hiredis
 *     workload.c    what the next request is, what its answer means  -> sale.c, raw.c
 *     ledger.c      every grant; what was promised twice
 *     audit.c       the ledger against the server's word
 *     report.c      JSON, table
 *
 * The main thread connects everything first and starts all threads at once, so that the buyers come
 * together; then it only watches: it shows the progress, ends a raw load by the clock, and gives up when
 * nothing is answered any more. SIGINT and SIGTERM end the asking; what was asked is still answered,
 * counted and audited; a second one ends the process.
 */
#include "load/load.h"

#include "load/audit.h"
#include "load/driver.h"
#include "load/report.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct load;

struct worker {
    struct load *load;
    struct driver *driver;
    struct workload workload;
    struct tally tally;
    pthread_t thread;
    uint64_t begin_ns;
    uint64_t end_ns;
};

struct load {
    struct load_options options;
    struct raw_command *raw;

    _Atomic uint64_t next_buyer;
    atomic_bool giving_up;
    _Atomic uint32_t running;
    bool killed; /* the server, by --kill */
    pthread_barrier_t start;
    struct worker *workers;
    struct tally total; /* of all workers, when they have ended */
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
    worker->begin_ns = now_ns();
    driver_run(worker->driver, &worker->load->giving_up);
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

static bool
workers_open(struct load *load)
{
    const struct load_options *options = &load->options;
    load->workers = calloc(options->threads, sizeof *load->workers);
    if (load->workers == NULL) {
        fprintf(stderr, "holdfast load: out of memory for %u threads\n", options->threads);
        return false;
    }
    for (uint32_t i = 0; i < options->threads; i++) {
        struct worker *worker = &load->workers[i];
        char error[256];
        uint32_t connections =
            options->connections / options->threads + (i < options->connections % options->threads);
        worker->load = load;
        worker->workload = (struct workload){.options = options,
                                             .raw = load->raw,
                                             .next_buyer = &load->next_buyer,
                                             .stopping = &stopping,
                                             .tally = &worker->tally,
                                             .random = options->seed + ((uint64_t)i << 48)};
        worker->driver = driver_open(&worker->workload, connections, error);
        if (worker->driver == NULL) {
            fprintf(stderr, "holdfast load: %s\n", error);
            return false;
        }
    }
    return true;
}

static void
load_done(struct load *load)
{
    for (uint32_t i = 0; load->workers != NULL && i < load->options.threads; i++) {
        driver_free(load->workers[i].driver);
        ledger_done(&load->workers[i].tally.ledger);
    }
    free(load->workers);
    ledger_done(&load->total.ledger);
    raw_command_free(load->raw);
}

struct progress {
    uint64_t answered, held;
};

static struct progress
progress_now(const struct load *load)
{
    struct progress progress = {0};
    for (uint32_t i = 0; i < load->options.threads; i++) {
        const struct tally *tally = &load->workers[i].tally;
        progress.answered += atomic_load_explicit(&tally->answered, memory_order_relaxed);
        progress.held += atomic_load_explicit(&tally->held, memory_order_relaxed);
    }
    return progress;
}

static void
progress_show(const struct load *load, struct progress progress, double rate, bool terminal)
{
    uint64_t begun = atomic_load_explicit(&load->next_buyer, memory_order_relaxed);
    fprintf(stderr, "%s%s: %llu of %llu %s, %llu answers, %llu held, %.0f answers/s%s",
            terminal ? "\r" : "", load->options.label,
            (unsigned long long)(begun < load->options.buyers ? begun : load->options.buyers),
            (unsigned long long)load->options.buyers,
            load->options.kind == LOAD_RAW ? "requests" : "buyers", (unsigned long long)progress.answered,
            (unsigned long long)progress.held, rate, terminal ? "\033[K" : "\n");
}

static uint64_t
units_on_sale(const struct load_options *options)
{
    return options->kind == LOAD_DEAL ? options->stock : (uint64_t)options->rows * options->row_seats;
}

/* In the middle of the spike: holds are counted, each is of about as many units as any other. */
static void
kill_in_the_middle(struct load *load, struct progress progress)
{
    const struct load_options *options = &load->options;
    uint64_t each = options->kind == LOAD_DEAL ? options->quantity : (1 + options->party_max) / 2;
    if (load->killed || options->kill_pid == 0 || progress.held * each < units_on_sale(options) / 2)
        return;
    if (kill((pid_t)options->kill_pid, SIGKILL) != 0) {
        fprintf(stderr, "holdfast load: could not kill process %u: %s\n", options->kill_pid,
                strerror(errno));
        exit(1);
    }
    load->killed = true;
    atomic_store(&stopping, true);
}

/* Until all threads have ended. False: given up, since nothing was answered any more. */
static bool
watch(struct load *load)
{
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const uint64_t show_ns = terminal ? 200000000 : 1000000000;
    const struct timespec nap = {.tv_nsec = 1000000};
    uint64_t begin_ns = now_ns(), shown_ns = begin_ns, answered_ns = begin_ns;
    struct progress shown = {0}, last = {0};
    bool patient = true;
    while (atomic_load(&load->running) > 0) {
        (void)nanosleep(&nap, NULL); /* a signal only makes it shorter */
        uint64_t now = now_ns();
        struct progress progress = progress_now(load);
        if (progress.answered != last.answered)
            answered_ns = now;
        last = progress;
        kill_in_the_middle(load, progress);
        if (load->options.seconds > 0 && now - begin_ns >= load->options.seconds * UINT64_C(1000000000))
            atomic_store(&stopping, true);
        if (now - answered_ns >= load->options.patience_seconds * UINT64_C(1000000000)) {
            atomic_store(&load->giving_up, true);
            patient = false;
        }
        if (now - shown_ns >= show_ns) {
            double seconds = (double)(now - shown_ns) / 1e9;
            progress_show(load, progress, (double)(progress.answered - shown.answered) / seconds, terminal);
            shown_ns = now;
            shown = progress;
        }
    }
    if (terminal)
        fprintf(stderr, "\r\033[K");
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
    uint64_t begin_ns = UINT64_MAX, end_ns = 0;
    struct tally *total = &load->total;
    for (uint32_t i = 0; i < load->options.threads; i++) {
        const struct worker *worker = &load->workers[i];
        const struct tally *tally = &worker->tally;
        begin_ns = worker->begin_ns < begin_ns ? worker->begin_ns : begin_ns;
        end_ns = worker->end_ns > end_ns ? worker->end_ns : end_ns;
        total->asked += tally->asked;
        total->answered += tally->answered;
        total->held += tally->held;
        if (tally->held_last_ns > total->held_last_ns)
            total->held_last_ns = tally->held_last_ns;
        total->confirmed += tally->confirmed;
        total->lost += tally->lost;
        total->lost_units += tally->lost_units;
        if (total->strange == 0)
            memcpy(total->strange_first, tally->strange_first, sizeof total->strange_first);
        total->strange += tally->strange;
        refusals_merge(&total->refusals, &tally->refusals);
        refusals_merge(&total->confirm_refusals, &tally->confirm_refusals);
        histogram_merge(&total->latency, &tally->latency);
        ledger_merge(&total->ledger, &tally->ledger);
    }
    return (struct duration){end_ns - begin_ns, total->held > 0 ? total->held_last_ns - begin_ns : 0};
}

/* Starts the threads and waits for them. False: what went wrong is told; what was answered is counted
 * anyway. */
static bool
load_run(struct load *load, struct duration *ret_duration)
{
    uint32_t threads = load->options.threads;
    atomic_store(&load->running, threads);
    if (pthread_barrier_init(&load->start, NULL, threads) != 0) {
        fprintf(stderr, "holdfast load: could not make the barrier of %u threads\n", threads);
        exit(1);
    }
    for (uint32_t i = 0; i < threads; i++) {
        if (pthread_create(&load->workers[i].thread, NULL, worker_run, &load->workers[i]) != 0) {
            fprintf(stderr, "holdfast load: could not start thread %u of %u\n", i + 1, threads);
            exit(1); /* the others wait at the barrier for ever */
        }
    }
    bool well = watch(load);
    if (!well)
        fprintf(stderr, "holdfast load: nothing was answered for %u s: given up\n",
                load->options.patience_seconds);
    for (uint32_t i = 0; i < threads; i++) {
        (void)pthread_join(load->workers[i].thread, NULL); /* cannot fail for a thread of ours */
        uint32_t broken;
        const char *why = driver_broken(load->workers[i].driver, &broken);
        if (broken > 0 && !load->killed) {
            fprintf(stderr, "holdfast load: %u connections of thread %u broke, the first one: %s\n", broken,
                    i + 1, why);
            well = false;
        }
    }
    (void)pthread_barrier_destroy(&load->start);
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
load_report(const struct load *load, struct duration duration)
{
    const struct load_options *options = &load->options;
    const struct tally *total = &load->total;
    static struct audit audit;
    bool sale = options->kind != LOAD_RAW;
    bool well = true;
    uint64_t oversold = 0;
    char error[256];
    if (sale) {
        oversold = ledger_oversold(&total->ledger, options->kind == LOAD_DEAL ? options->stock : 0,
                                   options->hold_seconds);
        if (!audit_run(options, &total->ledger, total->lost_units, &audit, error)) {
            fprintf(stderr, "holdfast load: the audit could not be made: %s\n", error);
            well = false;
        }
        well = verdict(load, oversold, &audit) && well;
    }
    json_t *result =
        report_json(options, total, duration.all_ns, duration.holds_ns, oversold, sale ? &audit : NULL);
    if (options->json) {
        well = json_dumpf(result, stdout, JSON_REAL_PRECISION(10)) == 0 && well;
        putchar('\n');
    } else {
        report_table(&result, 1);
    }
    json_decref(result);
    return well;
}

/* Everything that comes before the first request. */
static bool
load_open(struct load *load)
{
    char error[256];
    descriptors_raise();
    if (load->options.kind == LOAD_RAW) {
        load->raw = raw_command_read(load->options.words, load->options.word_count, error);
        if (load->raw == NULL) {
            fprintf(stderr, "holdfast load: %s\n", error);
            return false;
        }
    } else if (!audit_prepare(&load->options, error)) {
        fprintf(stderr, "holdfast load: %s\n", error);
        return false;
    }
    return workers_open(load);
}

int
load_main(int argc, char **argv)
{
    static struct load load;
    int code = options_read(argc, argv, &load.options);
    if (code >= 0)
        return code;
    if (load.options.kind == LOAD_TABLE)
        return report_files(load.options.words, load.options.word_count);
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
