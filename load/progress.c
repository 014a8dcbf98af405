/*
 * progress.c - the live line, which is written over and over on a terminal and once a second elsewhere, and
 * the counts over time as CSV, ten lines a second.
 */
#include "load/progress.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SERIES_NS        UINT64_C(100000000)
#define SHOW_TERMINAL_NS UINT64_C(200000000)
#define SHOW_ELSE_NS     UINT64_C(1000000000)

static uint64_t
look(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct progress
progress_now(const struct tally *const *tallies, uint32_t count)
{
    struct progress progress = {0};
    for (uint32_t i = 0; i < count; i++) {
        const struct tally *tally = tallies[i];
        progress.arrived += look(&tally->arrived);
        progress.dropped += look(&tally->dropped);
        progress.answered += look(&tally->answered);
        progress.held += look(&tally->held);
        progress.sold += look(&tally->sold);
        progress.waiting += look(&tally->waiting);
        progress.active += look(&tally->active);
    }
    return progress;
}

bool
progress_open(const struct load_options *options, uint64_t begin_ns, struct progress_view *ret_view)
{
    struct progress_view view = {.options = options,
                                 .terminal = isatty(STDERR_FILENO) == 1,
                                 .begin_ns = begin_ns,
                                 .shown_ns = begin_ns,
                                 .written_ns = begin_ns};
    if (options->series != NULL) {
        view.series = fopen(options->series, "w");
        if (view.series == NULL ||
            fputs("seconds,arrived,dropped,answered,held,sold,waiting,active\n", view.series) < 0) {
            fprintf(stderr, "holdfast load: could not write %s: %s\n", options->series, strerror(errno));
            return false;
        }
    }
    *ret_view = view;
    return true;
}

static void
show(struct progress_view *view, const struct progress *progress, uint64_t now)
{
    const struct load_options *options = view->options;
    bool room = (options->workload->options & OPTIONS_ROOM) != 0;
    double rate =
        (double)(progress->answered - view->shown.answered) / ((double)(now - view->shown_ns) / 1e9);
    fprintf(stderr, "%s%s: %5.1f s, %llu of %llu came", view->terminal ? "\r" : "", options->label,
            (double)(now - view->begin_ns) / 1e9, (unsigned long long)progress->arrived,
            (unsigned long long)options->buyers);
    if (room)
        fprintf(stderr, ", %llu waiting, %llu choosing, %llu of %llu sold",
                (unsigned long long)progress->waiting, (unsigned long long)progress->active,
                (unsigned long long)progress->sold, (unsigned long long)options_units(options, false));
    else
        fprintf(stderr, ", %llu held", (unsigned long long)progress->held);
    if (progress->dropped > 0)
        fprintf(stderr, ", %llu DROPPED", (unsigned long long)progress->dropped);
    fprintf(stderr, ", %.0f answers/s%s", rate, view->terminal ? "\033[K" : "\n");
    view->shown = *progress;
    view->shown_ns = now;
}

void
progress_step(struct progress_view *view, const struct progress *progress, uint64_t now, bool last)
{
    if (now - view->shown_ns >= (view->terminal ? SHOW_TERMINAL_NS : SHOW_ELSE_NS))
        show(view, progress, now);
    if (view->series != NULL && (last || now - view->written_ns >= SERIES_NS)) {
        /* An error stays with the file, and is told at its end. */
        (void)fprintf(view->series, "%.3f,%llu,%llu,%llu,%llu,%llu,%llu,%llu\n",
                      (double)(now - view->begin_ns) / 1e9, (unsigned long long)progress->arrived,
                      (unsigned long long)progress->dropped, (unsigned long long)progress->answered,
                      (unsigned long long)progress->held, (unsigned long long)progress->sold,
                      (unsigned long long)progress->waiting, (unsigned long long)progress->active);
        view->written_ns = now;
    }
    if (last && view->terminal)
        fprintf(stderr, "\r\033[K");
}

bool
progress_close(struct progress_view *view)
{
    if (view->series == NULL)
        return true;
    bool failed = ferror(view->series) != 0;
    failed = fclose(view->series) != 0 || failed;
    if (failed)
        fprintf(stderr, "holdfast load: could not write %s: %s\n", view->options->series, strerror(errno));
    return !failed;
}
