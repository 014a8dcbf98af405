/*
 * shards_bench.c - two shards in two threads against one.
 *
 * Each thread drives its shard as the server's loop does: a few commands, then the mailboxes, then records
 * and durability; at most UNDER_WAY_MAX commands of its own are unanswered. Four loads, since "two shards"
 * is not one thing:
 *
 *     pool, users at home     commands come to their users' home, units from its slice: no message at all
 *     pool, any user          half of the commands go to the other shard, and their answers come back
 *     seats, users at home    half of the seats are the other shard's: reserve, answer, acknowledgement
 *     seats, any user         both: what a server sees whose clients connect to any shard
 *
 * The figure is holds a second of all threads together, and the scaling is the ratio of the medians. The
 * memory is touched before the start: else both threads wait for the kernel's one lock on their address
 * space, of which a shard knows nothing. Threads are pinned to the first processors this process may use;
 * where others use them, too, each shard waits for the other's turn, and the ratio says nothing: look at
 * the load of the machine first. With fewer processors than threads a warning says so.
 */
#include "bench/stage.h"

#include "core/route.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define AT_ONCE       32
#define UNDER_WAY_MAX 512
#define EVENT_ROWS    1000
#define ROW_SEATS     1000
#define EVENTS        4
#define SEATS         (EVENTS * EVENT_ROWS * ROW_SEATS)

struct race {
    struct stage *stage;
    uint64_t operations; /* of each thread */
    bool seats;
    bool any_user;
    _Atomic uint32_t finished;
    pthread_barrier_t start;
};

/* A command to be: who wants which seat. */
struct ticket {
    char user[UUID_TEXT_SIZE];
    uint32_t seat;
};

static struct {
    uint32_t size;
    char text[4];
} row_names[EVENT_ROWS];

struct runner {
    struct race *race;
    struct stage_shard *at;
    pthread_t thread;
    struct ticket *tickets; /* all its commands, made before the start */
    uint64_t begin_ns;
    uint64_t end_ns;
    struct order orders[AT_ONCE];
};

/* Makes the tickets: the users are numbered by the runner itself, the seats are its part of a walk over
 * all. */
static void
tickets_make(struct runner *runner)
{
    const struct race *race = runner->race;
    uint32_t shards = race->stage->shard_count;
    uint64_t user = runner->at->index;
    runner->tickets = malloc(race->operations * sizeof *runner->tickets);
    if (runner->tickets == NULL) {
        fprintf(stderr, "core_bench: no memory for %llu tickets\n", (unsigned long long)race->operations);
        exit(1);
    }
    for (uint64_t i = 0; i < race->operations; user += shards) {
        struct order *order = &runner->orders[0];
        order_hold(order, 0, user, USER_UUID, ROW_NONE, 0);
        uint64_t hash = route_hash(STAGE_SEED, order->command.user);
        if (!race->any_user && route_shard(route16(hash), shards) != runner->at->index)
            continue;
        struct ticket *ticket = &runner->tickets[i];
        memcpy(ticket->user, order->user, sizeof ticket->user);
        /* 7919 is prime to the number of seats: each comes once */
        ticket->seat = (uint32_t)((i * shards + runner->at->index) * 7919 % SEATS);
        i++;
    }
    for (uint32_t i = 0; i < AT_ONCE; i++)
        order_hold(&runner->orders[i], 0, 0, USER_UUID, race->seats ? 0 : ROW_NONE, 0);
}

/* Puts a ticket into a prepared order: a few stores, so that the measured time is the core's. */
static void
order_fill(struct runner *runner, struct order *order, const struct ticket *ticket)
{
    struct command *command = &order->command;
    uint32_t row = ticket->seat / ROW_SEATS;
    command->user.data = ticket->user;
    if (!runner->race->seats)
        return;
    order->event[1] = (char)('0' + row / EVENT_ROWS);
    command->seats[0].row =
        (struct bytes){row_names[row % EVENT_ROWS].text, row_names[row % EVENT_ROWS].size};
    command->seats[0].number = ticket->seat % ROW_SEATS + 1;
}

/* One turn of the loop; the commands were prepared before. */
static void
turn(struct runner *runner, uint32_t count)
{
    struct stage_shard *at = runner->at;
    for (uint32_t i = 0; i < count; i++)
        shard_command(at->shard, i, &runner->orders[i].command);
    stage_messages(at);
    if (shard_backlogged(at->shard))
        (void)shard_expire(at->shard); /* tries again what found no room */
    stage_settle(at);
}

static void *
runner_run(void *argument)
{
    struct runner *runner = argument;
    struct race *race = runner->race;
    uint64_t sent = 0;
    bench_pin(runner->at->index);
    tickets_make(runner);
    (void)pthread_barrier_wait(&race->start);
    runner->begin_ns = bench_now_ns();
    while (runner->at->answered < race->operations) {
        uint32_t count = 0;
        for (; count < AT_ONCE && sent < race->operations && sent - runner->at->answered < UNDER_WAY_MAX;
             count++)
            order_fill(runner, &runner->orders[count], &runner->tickets[sent++]);
        turn(runner, count);
    }
    runner->end_ns = bench_now_ns();
    atomic_fetch_add(&race->finished, 1);
    while (atomic_load(&race->finished) < race->stage->shard_count)
        turn(runner, 0);
    return NULL;
}

/* Holds a second. */
static double
race_run(uint32_t shard_count, uint64_t operations, bool seats, bool any_user)
{
    struct stage stage;
    struct runner *runners = calloc(shard_count, sizeof *runners);
    struct race race = {.stage = &stage, .operations = operations, .seats = seats, .any_user = any_user};
    assert(runners != NULL);
    stage_open(&stage, shard_count, (uint32_t)(operations + operations / 8 + 4096), SEATS + 65536, true);
    for (uint32_t i = 0; i < EVENTS; i++)
        stage_event(&stage, i, EVENT_ROWS, ROW_SEATS, POOL_CAPACITY_MAX);
    if (pthread_barrier_init(&race.start, NULL, shard_count) != 0)
        exit(1);
    for (uint32_t i = 0; i < shard_count; i++) {
        runners[i].race = &race;
        runners[i].at = &stage.shards[i];
        if (pthread_create(&runners[i].thread, NULL, runner_run, &runners[i]) != 0) {
            fprintf(stderr, "core_bench: could not start a thread\n");
            exit(1);
        }
    }
    uint64_t begin_ns = UINT64_MAX, end_ns = 0;
    for (uint32_t i = 0; i < shard_count; i++) {
        (void)pthread_join(runners[i].thread, NULL); /* cannot fail for a thread of ours */
        begin_ns = runners[i].begin_ns < begin_ns ? runners[i].begin_ns : begin_ns;
        end_ns = runners[i].end_ns > end_ns ? runners[i].end_ns : end_ns;
        stage_expect(&stage.shards[i], operations, "two shards");
    }
    for (uint32_t i = 0; i < shard_count; i++)
        free(runners[i].tickets);
    (void)pthread_barrier_destroy(&race.start);
    stage_done(&stage);
    free(runners);
    return (double)(operations * shard_count) / ((double)(end_ns - begin_ns) / 1e9);
}

void
bench_shards(uint32_t runs, uint64_t operations, bool json)
{
    static const struct {
        const char *names[3];
        bool seats, any_user;
    } loads[] = {
        {{"pool, users at home, 1 shard", "pool, users at home, 2 shards",
          "pool, users at home, 2 against 1"},
         false,
         false},
        {{"pool, any user, 1 shard", "pool, any user, 2 shards", "pool, any user, 2 against 1"},
         false,
         true},
        {{"seats, users at home, 1 shard", "seats, users at home, 2 shards",
          "seats, users at home, 2 against 1"},
         true,
         false},
        {{"seats, any user, 1 shard", "seats, any user, 2 shards", "seats, any user, 2 against 1"},
         true,
         true},
    };
    for (uint32_t i = 0; i < EVENT_ROWS; i++) {
        char name[8];
        row_names[i].size = (uint32_t)snprintf(name, sizeof name, "%u", i + 1);
        memcpy(row_names[i].text, name, row_names[i].size);
    }
    if (operations * 2 > SEATS)
        operations = SEATS / 2;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < 2)
        fprintf(stderr, "core_bench: one processor only: two shards share it, their figures say nothing\n");
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        struct result one = {.name = loads[i].names[0], .unit = "holds/s"};
        struct result two = {.name = loads[i].names[1], .unit = "holds/s"};
        struct result ratio = {.name = loads[i].names[2], .unit = "times"};
        for (uint32_t run = 0; run < runs; run++) {
            double single = race_run(1, operations, loads[i].seats, loads[i].any_user);
            double both = race_run(2, operations, loads[i].seats, loads[i].any_user);
            result_add(&one, single);
            result_add(&two, both);
            result_add(&ratio, both / single);
        }
        result_print(&one, json);
        result_print(&two, json);
        result_print(&ratio, json);
    }
}
