/*
 * core_bench.c - micro benchmark of the core, through core/shard.h alone.
 *
 *     hold, hot           64 seats held and released again and again: everything stays in the cache
 *     hold, 10M seats     1M holds of random seats of ten events of 1M seats, each by another user
 *     pool hold           one unit of a hot pool, each by another user
 *     confirm, release    of holds of the 10M seats and of the pool, in random order of memory
 *     memory              resident bytes a free seat and a live hold (by 36-byte and by short user ids)
 *     expiry              1M holds whose deadlines lie in one second: the longest step of the loop
 *     shards              two shards in two threads against one (shards_bench.c)
 *
 * Commands are prepared in runs of 64 outside of the measured time, as the codec would leave them; then the
 * run is applied, its records are taken and made durable, and that is what the clock sees. The memory of
 * the 10M seats is touched before (what the first touch costs besides is a figure of its own). Each figure
 * is the median of several runs, with the least and the greatest. Nothing is asserted about the figures; a
 * refused command ends the program.
 */
#include "bench/stage.h"

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define RUN         64
#define EVENT_ROWS  1000
#define ROW_SEATS   1000
#define EVENT_SEATS ((uint64_t)EVENT_ROWS * ROW_SEATS)

struct settings {
    uint32_t runs;
    uint64_t seats;      /* of the large set: a multiple of EVENT_SEATS */
    uint64_t operations; /* in one run of a large benchmark */
    bool json;
    const char *only;
};

static struct order orders[RUN];

/* Applies the prepared orders; tags count from tag. Returns nanoseconds. */
static uint64_t
orders_apply(struct stage_shard *at, uint32_t count, uint64_t tag)
{
    uint64_t begin_ns = bench_now_ns();
    for (uint32_t i = 0; i < count; i++)
        shard_command(at->shard, tag + i, &orders[i].command);
    stage_settle(at);
    return bench_now_ns() - begin_ns;
}

/* A walk over 0 .. size - 1 in an order that no cache and no prefetcher likes: each number once in a
 * period. */
struct walk {
    uint64_t size;
    uint64_t mask;
    uint64_t at;
};

static struct walk
walk_begin(uint64_t size, uint64_t from)
{
    uint64_t mask = 1;
    while (mask < size)
        mask <<= 1;
    return (struct walk){size, mask - 1, from & (mask - 1)};
}

/* A linear congruential generator of full period (Hull and Dobell), its low bits mixed by a permutation. */
static uint64_t
walk_next(struct walk *walk)
{
    for (;;) {
        walk->at = (walk->at * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407)) & walk->mask;
        uint64_t mixed = (walk->at ^ walk->at >> 9) & walk->mask;
        if (mixed < walk->size)
            return mixed;
    }
}

static bool
wanted(const struct settings *settings, const char *name)
{
    return settings->only == NULL || strcmp(settings->only, name) == 0;
}

static struct uuid *
holds_new(uint64_t count)
{
    struct uuid *holds = calloc((size_t)count, sizeof *holds);
    if (holds == NULL) {
        fprintf(stderr, "core_bench: no memory for the ids of %llu holds\n", (unsigned long long)count);
        exit(1);
    }
    /* touched now, so that it is not counted as the core's */
    memset(holds, 1, (size_t)count * sizeof *holds);
    return holds;
}

static void
bench_hot(const struct settings *settings)
{
    struct result hold = {.name = "hold of a seat, hot", .unit = "ns"};
    struct result release = {.name = "release of a seat, hot", .unit = "ns"};
    struct stage stage;
    struct stage_shard *at = &stage.shards[0];
    struct uuid holds[RUN];
    uint64_t rounds = settings->operations / RUN;
    stage_open(&stage, 1, 4096, 65536, false);
    stage_event(&stage, 0, 64, 64, 0);
    at->holds = holds;
    for (uint32_t run = 0; run <= settings->runs; run++) {
        uint64_t hold_ns = 0, release_ns = 0;
        for (uint64_t round = 0; round < rounds; round++) {
            for (uint32_t i = 0; i < RUN; i++)
                order_hold(&orders[i], 0, i, USER_UUID, i / 8, i % 8);
            hold_ns += orders_apply(at, RUN, 0);
            for (uint32_t i = 0; i < RUN; i++)
                order_end(&orders[i], COMMAND_RELEASE, i, USER_UUID, &holds[i]);
            release_ns += orders_apply(at, RUN, 0);
            stage_forget(at);
        }
        stage_expect(at, rounds * RUN * 2, "hot");
        if (run == 0)
            continue; /* warm now */
        result_add(&hold, (double)hold_ns / (double)(rounds * RUN));
        result_add(&release, (double)release_ns / (double)(rounds * RUN));
    }
    result_print(&hold, settings->json);
    result_print(&release, settings->json);
    stage_done(&stage);
}

/* Holds `count` seats along a walk, or units of the pool where walk is NULL, the users numbered from user.
 */
static uint64_t
holds_place(struct stage_shard *at, struct walk *walk, uint64_t count, uint64_t user, enum user_form form)
{
    uint64_t spent_ns = 0;
    for (uint64_t done = 0; done < count; done += RUN) {
        for (uint32_t i = 0; i < RUN; i++) {
            uint64_t seat = walk != NULL ? walk_next(walk) : 0;
            uint64_t in_event = seat % EVENT_SEATS;
            order_hold(&orders[i], (uint32_t)(seat / EVENT_SEATS), user + done + i, form,
                       walk != NULL ? (uint32_t)(in_event / ROW_SEATS) : ROW_NONE,
                       (uint32_t)(in_event % ROW_SEATS));
        }
        spent_ns += orders_apply(at, RUN, done);
    }
    stage_expect(at, count, "hold");
    return spent_ns;
}

/* Ends holds [from, to) of those placed, in a random order. */
static uint64_t
holds_end(struct stage_shard *at, enum command_type type, uint64_t from, uint64_t to, uint64_t user,
          enum user_form form)
{
    struct walk walk = walk_begin(to - from, 1);
    uint64_t spent_ns = 0;
    for (uint64_t done = from; done < to; done += RUN) {
        for (uint32_t i = 0; i < RUN; i++) {
            uint64_t index = from + walk_next(&walk);
            order_end(&orders[i], type, user + index, form, &at->holds[index]);
        }
        spent_ns += orders_apply(at, RUN, UINT64_MAX / 2);
    }
    return spent_ns;
}

static void
events_make(struct stage *stage, uint64_t seats)
{
    for (uint64_t i = 0; i < seats / EVENT_SEATS; i++)
        stage_event(stage, (uint32_t)i, EVENT_ROWS, ROW_SEATS, 0);
}

/* Holds and releases every seat once, sixteen at a time, so that all memory of the seats has been touched.
 */
static void
seats_touch(struct stage_shard *at, uint64_t seats)
{
    struct uuid *kept = at->holds;
    struct uuid holds[RUN];
    uint64_t orders_due = 0;
    at->holds = holds;
    for (uint64_t seat = 0; seat < seats;) {
        uint32_t count = 0;
        for (; count < RUN && seat < seats; count++) {
            uint32_t in_row = (uint32_t)(seat % ROW_SEATS);
            uint32_t several = ROW_SEATS - in_row < HOLD_SEATS_MAX ? ROW_SEATS - in_row : HOLD_SEATS_MAX;
            order_hold(&orders[count], (uint32_t)(seat / EVENT_SEATS), count, USER_SHORT,
                       (uint32_t)(seat % EVENT_SEATS / ROW_SEATS), in_row);
            struct command *command = &orders[count].command;
            for (uint32_t i = 1; i < several; i++) {
                command->seats[i] = command->seats[0];
                command->seats[i].number += i;
            }
            command->seat_count = (uint8_t)several;
            seat += several;
        }
        (void)orders_apply(at, count, 0);
        for (uint32_t i = 0; i < count; i++)
            order_end(&orders[i], COMMAND_RELEASE, i, USER_SHORT, &holds[i]);
        (void)orders_apply(at, count, 0);
        orders_due += 2 * (uint64_t)count;
        stage_forget(at);
    }
    stage_expect(at, orders_due, "touching the seats");
    at->holds = kept;
}

static void
bench_large(const struct settings *settings)
{
    struct result first = {.name = "hold of a random seat, first touch", .unit = "ns"};
    struct result hold = {.name = "hold of a random seat, large", .unit = "ns"};
    struct result confirm = {.name = "confirm, large", .unit = "ns"};
    struct result release = {.name = "release, large", .unit = "ns"};
    uint64_t count = settings->operations;
    uint64_t confirms = count / 4 / RUN * RUN;
    struct stage stage;
    struct stage_shard *at = &stage.shards[0];
    stage_open(&stage, 1, (uint32_t)(count + confirms * settings->runs + 4096), settings->seats + 65536,
               false);
    events_make(&stage, settings->seats);
    at->holds = holds_new(count);
    struct walk walk = walk_begin(settings->seats, 12345);
    uint64_t user = 0;
    for (uint32_t run = 0; run <= settings->runs; run++, user += count) {
        uint64_t spent_ns = holds_place(at, &walk, count, user, USER_UUID);
        result_add(run == 0 ? &first : &hold, (double)spent_ns / (double)count);
        /* confirmed seats are gone for good; the walk meets each seat once in all runs */
        uint64_t confirm_ns = run == 0 ? 0 : holds_end(at, COMMAND_CONFIRM, 0, confirms, user, USER_UUID);
        uint64_t from = run == 0 ? 0 : confirms;
        uint64_t release_ns = holds_end(at, COMMAND_RELEASE, from, count, user, USER_UUID);
        stage_expect(at, count, "confirm and release");
        if (run > 0) {
            result_add(&confirm, (double)confirm_ns / (double)confirms);
            result_add(&release, (double)release_ns / (double)(count - confirms));
        } else {
            seats_touch(at, settings->seats);
        }
        stage_forget(at);
    }
    result_print(&first, settings->json);
    result_print(&hold, settings->json);
    result_print(&confirm, settings->json);
    result_print(&release, settings->json);
    free(at->holds);
    stage_done(&stage);
}

static void
bench_pool(const struct settings *settings)
{
    struct result hold = {.name = "hold of a unit of a pool", .unit = "ns"};
    struct result release = {.name = "release of a unit of a pool", .unit = "ns"};
    uint64_t count = settings->operations;
    struct stage stage;
    struct stage_shard *at = &stage.shards[0];
    stage_open(&stage, 1, (uint32_t)count + 4096, 65536, false);
    stage_event(&stage, 0, 0, 0, POOL_CAPACITY_MAX);
    at->holds = holds_new(count);
    for (uint32_t run = 0; run <= settings->runs; run++) {
        uint64_t hold_ns = holds_place(at, NULL, count, run * count, USER_UUID);
        uint64_t release_ns = holds_end(at, COMMAND_RELEASE, 0, count, run * count, USER_UUID);
        stage_expect(at, count, "release");
        stage_forget(at);
        if (run == 0)
            continue; /* the memory is touched now */
        result_add(&hold, (double)hold_ns / (double)count);
        result_add(&release, (double)release_ns / (double)count);
    }
    result_print(&hold, settings->json);
    result_print(&release, settings->json);
    free(at->holds);
    stage_done(&stage);
}

static void
bench_memory(const struct settings *settings)
{
    struct result untouched = {.name = "memory of a free seat never held", .unit = "bytes"};
    struct result touched = {.name = "memory of a free seat held before", .unit = "bytes"};
    struct result live[] = {{.name = "memory of a live hold, short user ids", .unit = "bytes"},
                            {.name = "memory of a live hold, 36-byte user ids", .unit = "bytes"}};
    uint64_t count = settings->operations;
    for (uint32_t form = USER_SHORT; form <= USER_UUID; form++) {
        struct stage stage;
        struct stage_shard *at = &stage.shards[0];
        stage_open(&stage, 1, (uint32_t)count + 4096, settings->seats + 65536, false);
        at->holds = holds_new(count);
        uint64_t empty = resident_bytes();
        events_make(&stage, settings->seats);
        uint64_t made = resident_bytes();
        seats_touch(at, settings->seats);
        uint64_t used = resident_bytes();
        struct walk walk = walk_begin(settings->seats, 777);
        (void)holds_place(at, &walk, count, 0, (enum user_form)form);
        uint64_t full = resident_bytes();
        result_add(&untouched, (double)(made - empty) / (double)settings->seats);
        result_add(&touched, (double)(used - empty) / (double)settings->seats);
        result_add(&live[form], (double)(full - used) / (double)count);
        free(at->holds);
        stage_done(&stage);
    }
    result_print(&untouched, settings->json);
    result_print(&touched, settings->json);
    result_print(&live[USER_SHORT], settings->json);
    result_print(&live[USER_UUID], settings->json);
}

/* Holds whose deadlines are spread over one second; then the steps of a loop, in real time, until all have
 * expired. */
static void
bench_expiry(const struct settings *settings)
{
    struct result longest = {.name = "expiry within one second: longest step", .unit = "us"};
    struct result mean = {.name = "expiry within one second: a hold", .unit = "ns"};
    struct result last = {.name = "expiry within one second: last one late by", .unit = "ms"};
    uint64_t count = settings->operations;
    for (uint32_t run = 0; run < settings->runs; run++) {
        struct stage stage;
        struct stage_shard *at = &stage.shards[0];
        struct shard_figures figures;
        struct walk walk = walk_begin(settings->seats, run);
        stage_open(&stage, 1, (uint32_t)count + 4096, settings->seats + 65536, false);
        events_make(&stage, settings->seats);
        for (uint64_t part = 0; part < 1000; part++) {
            (void)holds_place(at, &walk, count / 1000 / RUN * RUN, part * count, USER_UUID);
            shard_time(at->shard, ++at->now_ms);
        }
        uint64_t placed = count / 1000 / RUN * RUN * 1000;
        uint64_t deadline_ms = at->now_ms - 1000 + 86400 * 1000;
        shard_time(at->shard, deadline_ms - 1); /* the leap of a day is not what is measured */
        while (shard_expire(at->shard) || shard_next_expiry_ms(at->shard) < deadline_ms)
            stage_settle(at);
        uint64_t begin_ns = bench_now_ns(), longest_ns = 0, spent_ns = 0, end_ms;
        do {
            uint64_t step_ns = bench_now_ns();
            end_ms = deadline_ms + (step_ns - begin_ns) / 1000000;
            shard_time(at->shard, end_ms);
            (void)shard_expire(at->shard); /* more is due: the next step is here already */
            stage_settle(at);
            uint64_t took_ns = bench_now_ns() - step_ns;
            shard_figures(at->shard, &figures);
            spent_ns += figures.expired > 0 ? took_ns : 0;
            longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        } while (figures.expired < placed && end_ms < deadline_ms + 60000);
        if (figures.expired < placed) {
            fprintf(stderr, "core_bench: only %llu of %llu holds expired within a minute\n",
                    (unsigned long long)figures.expired, (unsigned long long)placed);
            exit(1);
        }
        result_add(&longest, (double)longest_ns / 1e3);
        result_add(&mean, (double)spent_ns / (double)placed);
        result_add(&last, end_ms > deadline_ms + 1000 ? (double)(end_ms - deadline_ms - 1000) : 0);
        stage_done(&stage);
    }
    result_print(&longest, settings->json);
    result_print(&mean, settings->json);
    result_print(&last, settings->json);
}

static const char help[] =
    "usage: core_bench [--runs N] [--operations N] [--seats N] [--quick] [--json] [--only NAME]\n"
    "  --runs N        runs a figure is the median of                        (5)\n"
    "  --operations N  commands a run; a multiple of 64000 is taken          (1024000)\n"
    "  --seats N       of the large set; a multiple of 1000000 is taken      (10000000)\n"
    "                  at least the operations of all runs and one more\n"
    "  --quick         a short smoke: 1 run, 64000 commands, 1000000 seats\n"
    "  --json          one JSON object a line\n"
    "  --only NAME     hot, large, pool, memory, expiry, shards or machine\n";

static bool
number_read(const char *text, uint64_t min, uint64_t max, uint64_t step, uint64_t *ret_number)
{
    char *end = NULL;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || number < min || number > max)
        return false;
    *ret_number = number / step * step;
    return true;
}

static bool
settings_read(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        {"runs", required_argument, NULL, 'r'},  {"operations", required_argument, NULL, 'o'},
        {"seats", required_argument, NULL, 's'}, {"quick", no_argument, NULL, 'q'},
        {"json", no_argument, NULL, 'j'},        {"only", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    static const char *const names[] = {"hot", "large", "pool", "memory", "expiry", "shards", "machine"};
    uint64_t number;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'r':
            if (!number_read(optarg, 1, RUNS_MAX - 1, 1, &number))
                return false;
            settings->runs = (uint32_t)number;
            break;
        case 'o':
            if (!number_read(optarg, 64000, 64000000, 64000, &settings->operations))
                return false;
            break;
        case 's':
            if (!number_read(optarg, EVENT_SEATS, 50 * EVENT_SEATS, EVENT_SEATS, &settings->seats))
                return false;
            break;
        case 'q':
            settings->runs = 1;
            settings->operations = 64000;
            settings->seats = EVENT_SEATS;
            break;
        case 'j':
            settings->json = true;
            break;
        case 'n':
            settings->only = optarg;
            break;
        default:
            return false;
        }
    }
    bool known = settings->only == NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        known = known || strcmp(settings->only, names[i]) == 0;
    return known && optind == argc && settings->operations * (settings->runs + 1) <= settings->seats;
}

int
main(int argc, char **argv)
{
    struct settings settings = {.runs = 5, .operations = 1024000, .seats = 10 * EVENT_SEATS};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (!settings_read(argc, argv, &settings)) {
        fputs(help, stderr);
        return 2;
    }
    if (wanted(&settings, "hot"))
        bench_hot(&settings);
    if (wanted(&settings, "large"))
        bench_large(&settings);
    if (wanted(&settings, "pool"))
        bench_pool(&settings);
    if (wanted(&settings, "memory"))
        bench_memory(&settings);
    if (wanted(&settings, "expiry"))
        bench_expiry(&settings);
    if (wanted(&settings, "shards"))
        bench_shards(settings.runs, settings.operations, settings.json);
    if (wanted(&settings, "machine"))
        bench_machine(settings.runs, settings.operations, settings.json);
    return 0;
}
