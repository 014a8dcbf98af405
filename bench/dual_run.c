/*
 * dual_run.c - `holdfast bench dual-run`: one seeded stream of commands through Holdfast and through
 * PostgreSQL, outcome by outcome the same.
 *
 *     order ──▶ dual_core.c       the core, at once
 *       │
 *       └─────▶ dual_postgres.c   the same rules in SQL, up to WINDOW commands behind
 *                                 ─▶ the two outcomes as text: the same or a difference
 *
 * Few seats, few users and short holds, so that everybody is in everybody's way. The clock is the stream's:
 * it mostly stands still or goes on a little, and often jumps to a deadline, or to the millisecond before
 * one. A tenth of all commands repeat an earlier one with its key, and a few take its key for something
 * else.
 *
 * A hold is over at its deadline, to the millisecond, for whoever asks about it. Its units are for sale
 * again when the sweep has come by, whose tick is 10 ms. So HOLDs come on such ticks here, after the sweep,
 * and all deadlines lie on one; the others come at any millisecond, half of them before the sweep.
 */
#include "bench/dual_run.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW            256 /* under way in PostgreSQL */
#define RECENT            32  /* orders and holds that later ones refer to */
#define DIFFERENCES_SHOWN 10
#define KINDS_MAX         24

struct stream {
    uint64_t random;
    uint64_t now_ms;
    uint64_t number;
    uint32_t keys;
    struct dual_order recent[RECENT]; /* the last orders with a key */
    uint32_t recent_count;
    uint64_t holds[RECENT]; /* some that were granted lately */
    uint64_t deadlines[RECENT];
    uint32_t hold_count;
    uint64_t sold[DUAL_SEATS + DUAL_UNITS]; /* confirmed, and mostly not yet cancelled */
    uint32_t sold_count;
    struct dual_order *orders; /* all, by number */
};

struct pending {
    struct dual_order order;
    char outcome[DUAL_OUTCOME_SIZE];
};

/* How often each word of an outcome came. */
struct kinds {
    uint32_t count;
    struct {
        char word[32];
        uint64_t count;
    } kind[KINDS_MAX];
};

struct dual_options {
    const char *postgres;
    uint64_t commands;
    uint64_t seed;
    bool plant;
};

static const char help[] =
    "usage: holdfast bench dual-run --postgres CONNECTION [options]\n"
    "\n"
    "The same commands through Holdfast's core and through the rules as PostgreSQL functions, outcome by "
    "outcome.\n"
    "\n"
    "  --postgres CONNECTION  a libpq connection string; the schema \"dual\" there is dropped and made\n"
    "  --commands N           (1000000)\n"
    "  --seed N               (1)\n"
    "  --plant                PostgreSQL lets holds live a millisecond longer: this must be found\n"
    "\n"
    "Exit codes: 0 no outcome differs, 1 some do or it could not be run, 2 usage.\n";

static uint64_t
draw(struct stream *stream, uint64_t bound)
{
    uint64_t z = stream->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % bound;
}

static uint32_t
draw_small(struct stream *stream, uint32_t bound)
{
    return (uint32_t)draw(stream, bound);
}

static void
clock_move(struct stream *stream)
{
    uint64_t deadline = stream->hold_count > 0 ? stream->deadlines[draw(stream, stream->hold_count)] : 0;
    uint32_t die = draw_small(stream, 100);
    if (die < 2 && deadline > stream->now_ms)
        stream->now_ms = deadline - die;
    else if (die < 40)
        stream->now_ms += draw(stream, 200);
}

/* The clock goes on to the sweep's next tick. */
static uint64_t
tick(struct stream *stream)
{
    stream->now_ms = (stream->now_ms + DUAL_TICK_MS - 1) / DUAL_TICK_MS * DUAL_TICK_MS;
    return stream->now_ms;
}

static void
hold_draw(struct stream *stream, struct dual_order *order)
{
    uint32_t die = draw_small(stream, 10);
    order->verb = DUAL_HOLD;
    order->now_ms = tick(stream);
    order->seconds = 1 + draw_small(stream, 8);
    if (die < 7)
        order->seat[0] = 1 + draw_small(stream, DUAL_SEATS);
    if (die < 3) {
        uint32_t other = 1 + draw_small(stream, DUAL_SEATS);
        order->seat[1] = other != order->seat[0] ? other : 0;
    }
    if (die >= 6)
        order->units = 1 + draw_small(stream, 4);
}

/* What came of an order, as far as later ones refer to it: so that holds are confirmed, and what is sold
 * comes back. */
static void
stream_learn(struct stream *stream, const struct dual_order *order, const char *outcome)
{
    unsigned long long hold;
    char state[16];
    if (sscanf(outcome, "%llu OK %15s", &hold, state) != 2 || hold == 0)
        return;
    if (order->verb == DUAL_HOLD && hold == order->number) {
        uint32_t place = stream->hold_count < RECENT ? stream->hold_count++ : draw_small(stream, RECENT);
        stream->holds[place] = order->number;
        stream->deadlines[place] = order->now_ms + order->seconds * UINT64_C(1000);
    }
    for (uint32_t i = 0; i < stream->sold_count; i++) /* once, whatever it is now */
        if (stream->sold[i] == hold)
            stream->sold[i--] = stream->sold[--stream->sold_count];
    if (order->verb == DUAL_CONFIRM && stream->sold_count < DUAL_SEATS + DUAL_UNITS)
        stream->sold[stream->sold_count++] = hold;
}

/* An earlier command once more: as it was, or its key for something else. */
static bool
repeat_draw(struct stream *stream, struct dual_order *order)
{
    if (stream->recent_count == 0 || draw(stream, 100) >= 12)
        return false;
    const struct dual_order *old = &stream->recent[draw(stream, stream->recent_count)];
    if (draw(stream, 10) < 8) {
        struct dual_order again = *old;
        again.number = order->number;
        again.now_ms = old->verb == DUAL_HOLD ? tick(stream) : order->now_ms;
        *order = again;
        return true;
    }
    order->user = old->user;
    order->key = old->key;
    return false;
}

static void
order_draw(struct stream *stream, struct dual_order *ret_order)
{
    clock_move(stream);
    *ret_order = (struct dual_order){.number = ++stream->number, .now_ms = stream->now_ms};
    ret_order->user = 1 + draw_small(stream, DUAL_USERS);
    if (repeat_draw(stream, ret_order))
        return;
    bool taken_key = ret_order->key > 0;
    uint32_t die = draw_small(stream, 100);
    if (stream->hold_count == 0 || die < 45) {
        hold_draw(stream, ret_order);
    } else {
        uint32_t place = draw_small(stream, stream->hold_count);
        ret_order->verb = die < 63 ? DUAL_CONFIRM : die < 75 ? DUAL_RELEASE : DUAL_CANCEL;
        ret_order->of = stream->holds[place];
        if (ret_order->verb == DUAL_CANCEL && stream->sold_count > 0 && draw(stream, 4) > 0)
            ret_order->of = stream->sold[draw(stream, stream->sold_count)];
        /* Mostly whoever asked for it; the others get NOHOLD. */
        if (!taken_key && draw(stream, 3) > 0)
            ret_order->user = stream->orders[ret_order->of].user;
    }
    if (ret_order->verb == DUAL_CANCEL) {
        ret_order->key = 0; /* the caller's, not a user's */
        return;
    }
    if (taken_key || draw(stream, 10) >= 4)
        return;
    ret_order->key = ++stream->keys;
    uint32_t place = stream->recent_count < RECENT ? stream->recent_count++ : draw_small(stream, RECENT);
    stream->recent[place] = *ret_order;
}

static void
kind_count(struct kinds *kinds, const char *outcome)
{
    char word[32];
    const char *begin = strchr(outcome, ' ');
    if (begin == NULL || sscanf(begin, " %31s", word) != 1)
        snprintf(word, sizeof word, "?");
    if (strcmp(word, "OK") == 0) /* and the state */
        (void)sscanf(begin, " OK %31s", word);
    for (uint32_t i = 0; i < kinds->count; i++) {
        if (strcmp(kinds->kind[i].word, word) == 0) {
            kinds->kind[i].count++;
            return;
        }
    }
    if (kinds->count < KINDS_MAX) {
        snprintf(kinds->kind[kinds->count].word, sizeof word, "%s", word);
        kinds->kind[kinds->count++].count = 1;
    }
}

static void
difference_show(const struct pending *pending, const char *other)
{
    static const char *const verbs[DUAL_VERBS] = {"HOLD", "CONFIRM", "RELEASE", "CANCEL"};
    const struct dual_order *order = &pending->order;
    printf("command %llu at %llu: %s user=%u key=%u seats=%u,%u units=%u seconds=%u of=%llu\n"
           "  Holdfast:   %s\n"
           "  PostgreSQL: %s\n",
           (unsigned long long)order->number, (unsigned long long)order->now_ms, verbs[order->verb],
           order->user, order->key, order->seat[0], order->seat[1], order->units, order->seconds,
           (unsigned long long)order->of, pending->outcome, other);
}

static double
seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Takes the oldest outcome of PostgreSQL. False: it could not be had. */
static bool
compare_one(struct dual_postgres *postgres, const struct pending *pending, uint64_t *differences)
{
    char other[DUAL_OUTCOME_SIZE], error[256];
    if (!dual_postgres_take(postgres, other, error)) {
        fprintf(stderr, "holdfast bench dual-run: command %llu: %s\n",
                (unsigned long long)pending->order.number, error);
        return false;
    }
    if (strcmp(other, pending->outcome) != 0 && ++*differences <= DIFFERENCES_SHOWN)
        difference_show(pending, other);
    return true;
}

static int
dual_run(const struct dual_options *options, struct dual_core *core, struct dual_postgres *postgres)
{
    static struct pending window[WINDOW];
    static struct stream stream;
    struct kinds kinds = {0};
    uint64_t differences = 0, compared = 0;
    double begin = seconds_now();
    stream = (struct stream){.random = options->seed, .now_ms = DUAL_EPOCH_MS};
    stream.orders = calloc(options->commands + 1, sizeof *stream.orders);
    bool well = stream.orders != NULL;
    while (well && compared < options->commands && differences < DIFFERENCES_SHOWN) {
        if (stream.number < options->commands && stream.number - compared < WINDOW) {
            struct pending *pending = &window[stream.number % WINDOW];
            order_draw(&stream, &pending->order);
            stream.orders[pending->order.number] = pending->order;
            dual_core_do(core, &pending->order, pending->outcome);
            stream_learn(&stream, &pending->order, pending->outcome);
            dual_postgres_send(postgres, &pending->order);
            kind_count(&kinds, pending->outcome);
            continue;
        }
        well = compare_one(postgres, &window[compared % WINDOW], &differences);
        compared++;
    }
    free(stream.orders);
    for (uint32_t i = 0; i < kinds.count; i++)
        printf("%-14s %10llu\n", kinds.kind[i].word, (unsigned long long)kinds.kind[i].count);
    printf("%llu commands, seed %llu: %llu mismatches (%.1f s)\n", (unsigned long long)compared,
           (unsigned long long)options->seed, (unsigned long long)differences, seconds_now() - begin);
    return well && differences == 0 ? 0 : 1;
}

static int
usage(const char *wrong)
{
    fprintf(stderr, "holdfast bench dual-run: %s\n\n%s", wrong, help);
    return 2;
}

int
dual_run_main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"postgres", required_argument, NULL, 'p'}, {"commands", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'},     {"plant", no_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    struct dual_options options = {.commands = 1000000, .seed = 1};
    char error[256] = "out of memory";
    int letter;
    optind = 1;
    while ((letter = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (letter) {
        case 'p':
            options.postgres = optarg;
            break;
        case 'c':
            options.commands = strtoull(optarg, NULL, 10);
            break;
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        case 'x':
            options.plant = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return usage("expected the options below");
        }
    }
    if (options.postgres == NULL || optind != argc)
        return usage("expected --postgres CONNECTION");
    if (options.commands < 1 || options.commands > 10000000)
        return usage("expected 1 to 10000000 commands");
    struct dual_postgres *postgres = dual_postgres_open(options.postgres, options.plant, error);
    struct dual_core *core = postgres != NULL ? dual_core_open(options.commands) : NULL;
    int code = 1;
    if (core != NULL)
        code = dual_run(&options, core, postgres);
    else
        fprintf(stderr, "holdfast bench dual-run: %s\n", error);
    dual_core_free(core);
    dual_postgres_free(postgres);
    return code;
}
