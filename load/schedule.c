/*
 * schedule.c - when buyers come.
 *
 * A piece lasts some seconds, in which its rate goes evenly from r to s. After t of its d seconds so many
 * have come, and so the arrival after n others comes at:
 *
 *     n(t) = r t + (s - r) t^2 / (2 d)              t(n) = 2 n / (r + sqrt(r^2 + 2 (s - r) n / d))
 *
 * This form of the root needs no case for s = r, and loses no digits where s is near r. Times are computed
 * from the number of the arrival alone, so that no error adds up and threads need not talk: each takes
 * every so-manieth arrival.
 */
#include "load/schedule.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
number_take(const char **at, double max, double *ret_number)
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    double number = strtod(*at, &end);
    if (!(number >= 0 && number <= max))
        return false;
    *at = end;
    *ret_number = number;
    return true;
}

/* RATE, RATE@SECONDS or FROM-TO@SECONDS. */
static bool
piece_read(const char **at, struct schedule_piece *ret_piece)
{
    struct schedule_piece piece = {.seconds = INFINITY};
    if (!number_take(at, SCHEDULE_RATE_MAX, &piece.rate_from))
        return false;
    piece.rate_to = piece.rate_from;
    if (**at == '-') {
        ++*at;
        if (!number_take(at, SCHEDULE_RATE_MAX, &piece.rate_to))
            return false;
    }
    if (**at == '@') {
        ++*at;
        if (!number_take(at, SCHEDULE_SECONDS_MAX, &piece.seconds) || piece.seconds <= 0)
            return false;
    }
    if (isinf(piece.seconds) && (piece.rate_from != piece.rate_to || piece.rate_from <= 0))
        return false;
    *ret_piece = piece;
    return true;
}

static double
piece_arrivals(const struct schedule_piece *piece)
{
    return (piece->rate_from + piece->rate_to) / 2 * piece->seconds;
}

static bool
pieces_read(const char *text, struct schedule *schedule, char *ret_error)
{
    const char *at = text;
    for (;;) {
        struct schedule_piece *piece = &schedule->piece[schedule->piece_count];
        if (schedule->piece_count == SCHEDULE_PIECES_MAX || !piece_read(&at, piece) ||
            (*at != '\0' && (*at != ',' || isinf(piece->seconds)))) {
            snprintf(ret_error, 160,
                     "'%.40s': expected up to %d of RATE@SECONDS or FROM-TO@SECONDS with commas, the last "
                     "perhaps only RATE, or " SCHEDULE_TRACE_PREFIX "FILE",
                     at, SCHEDULE_PIECES_MAX);
            return false;
        }
        if (schedule->piece_count > 0) {
            piece->before = piece[-1].before + piece_arrivals(&piece[-1]);
            piece->begin_seconds = piece[-1].begin_seconds + piece[-1].seconds;
        }
        schedule->piece_count++;
        if (*at++ == '\0')
            return true;
    }
}

/* Grows by doubling; false where memory ends. */
static bool
trace_add(struct schedule *schedule, uint64_t *room, uint64_t at_ns)
{
    if (schedule->trace_count == *room) {
        uint64_t larger = *room * 2 + 1024;
        uint64_t *trace_ns = realloc(schedule->trace_ns, larger * sizeof *trace_ns);
        if (trace_ns == NULL)
            return false;
        schedule->trace_ns = trace_ns;
        *room = larger;
    }
    schedule->trace_ns[schedule->trace_count++] = at_ns;
    return true;
}

static bool
trace_read(const char *path, struct schedule *schedule, char *ret_error)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        snprintf(ret_error, 160, "could not open %.80s: %s", path, strerror(errno));
        return false;
    }
    char line[64];
    uint64_t room = 0, last_ns = 0;
    bool good = true;
    while (good && fgets(line, sizeof line, file) != NULL) {
        const char *at = line;
        double seconds = 0;
        good = number_take(&at, SCHEDULE_SECONDS_MAX, &seconds) && (*at == '\n' || *at == '\0');
        uint64_t at_ns = (uint64_t)(seconds * 1e9);
        good = good && at_ns >= last_ns && schedule->trace_count < SCHEDULE_TRACE_MAX &&
               trace_add(schedule, &room, at_ns);
        last_ns = at_ns;
    }
    good = good && ferror(file) == 0 && schedule->trace_count > 0;
    (void)fclose(file); /* only read */
    if (!good)
        snprintf(ret_error, 160, "%.60s, line %llu: expected a time in seconds, none before the one above",
                 path, (unsigned long long)schedule->trace_count + 1);
    return good;
}

bool
schedule_read(const char *text, struct schedule *ret_schedule, char *ret_error)
{
    struct schedule schedule = {.piece_count = 0};
    size_t prefix = sizeof SCHEDULE_TRACE_PREFIX - 1;
    bool good = strncmp(text, SCHEDULE_TRACE_PREFIX, prefix) == 0
                    ? trace_read(text + prefix, &schedule, ret_error)
                    : pieces_read(text, &schedule, ret_error);
    if (good && schedule_count(&schedule) == 0) {
        snprintf(ret_error, 160, "'%.80s': nobody ever comes", text);
        good = false;
    }
    if (good)
        *ret_schedule = schedule;
    else
        schedule_done(&schedule);
    return good;
}

void
schedule_done(struct schedule *schedule)
{
    free(schedule->trace_ns);
    schedule->trace_ns = NULL;
}

uint64_t
schedule_count(const struct schedule *schedule)
{
    if (schedule->trace_count > 0)
        return schedule->trace_count;
    assert(schedule->piece_count > 0);
    const struct schedule_piece *last = &schedule->piece[schedule->piece_count - 1];
    if (isinf(last->seconds))
        return UINT64_MAX;
    /* Half an arrival is none; what falls short of a whole one by rounding alone is one. */
    return (uint64_t)(last->before + piece_arrivals(last) + 1e-6);
}

uint64_t
schedule_due_ns(const struct schedule *schedule, uint64_t arrival)
{
    if (schedule->trace_ns != NULL)
        return arrival < schedule->trace_count ? schedule->trace_ns[arrival] : SCHEDULE_NEVER;
    if (arrival >= schedule_count(schedule))
        return SCHEDULE_NEVER;
    uint32_t i = 0;
    while (i + 1 < schedule->piece_count && (double)arrival >= schedule->piece[i + 1].before)
        i++;
    const struct schedule_piece *piece = &schedule->piece[i];
    double n = (double)arrival - piece->before;
    double r = piece->rate_from;
    double bend = isinf(piece->seconds) ? 0 : 2 * (piece->rate_to - r) * n / piece->seconds;
    double under = r * r + bend;
    double root = sqrt(under > 0 ? under : 0);
    double seconds = n > 0 ? 2 * n / (r + root) : 0;
    if (seconds > piece->seconds)
        seconds = piece->seconds;
    return (uint64_t)((piece->begin_seconds + seconds) * 1e9);
}
