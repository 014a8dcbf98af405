/*
 * stage.c - shards in memory with a trivial host: what the micro benchmarks run on.
 *
 * The host does what the server's loop does, without sockets and disk: messages go through the server's own
 * mailboxes, records are taken as batches and are "durable" at once. So a figure measured here holds
 * everything the core does for a command, its record included, and nothing else.
 */
#include "bench/stage.h"

#include "core/route.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAILBOX_BYTES (1u << 20)

uint64_t
bench_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool
host_send(void *context, uint32_t to, const void *message, uint32_t size)
{
    struct stage_shard *at = context;
    return mailbox_send(at->stage->shards[to].inbox[at->index], message, size);
}

static void
host_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct stage_shard *at = context;
    (void)sequence; /* nobody waits for the answer to leave */
    at->answered++;
    if (at->heard != NULL)
        at->heard(at->heard_context, tag, reply);
    if (reply->status != STATUS_OK) {
        at->refused++;
        at->refusal = reply->status;
    } else if (at->holds != NULL && reply->command == COMMAND_HOLD) {
        at->holds[tag] = reply->hold.id;
    }
}

void *
stage_memory(size_t size, bool touched)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "core_bench: no %zu bytes of memory\n", size);
        exit(1);
    }
    (void)madvise(memory, size, MADV_HUGEPAGE); /* only advice */
    for (size_t at = 0; touched && at < size; at += 4096)
        ((volatile char *)memory)[at] = 0;
    return memory;
}

static void
host_push(void *context, uint64_t watch, const struct reply *reply, uint64_t sequence)
{
    (void)context;
    (void)watch;
    (void)reply;
    (void)sequence;
    assert(false); /* nobody watches a token */
}

static void
open_all(struct stage *stage, uint32_t shard_count, uint32_t holds_max, uint64_t seats_max, bool touched,
         uint64_t remember_ms, uint64_t key_bytes_max)
{
    assert(shard_count >= 1 && shard_count <= STAGE_SHARDS_MAX);
    *stage = (struct stage){.shard_count = shard_count};
    for (uint32_t i = 0; i < shard_count; i++) {
        struct stage_shard *at = &stage->shards[i];
        struct shard_settings settings = {
            .shard_index = i,
            .shard_count = shard_count,
            .route_seed = STAGE_SEED,
            .id_seed = STAGE_SEED + 1 + i,
            .holds_max = holds_max,
            .users_max = holds_max,
            .events_max = 64,
            .tokens_max = 64,
            .watchers_max = 64,
            .operations_max = 4096,
            .seats_max = seats_max,
            .event_bytes_max = 64u << 20,
            .key_bytes_max = key_bytes_max,
            .batch_bytes_max = 16u << 20,
            .ended_ms = remember_ms,
            .key_ms = remember_ms,
            .expire_batch = 256, /* as the server has it */
        };
        struct shard_host host = {.context = at, .send = host_send, .reply = host_reply, .push = host_push};
        at->stage = stage;
        at->index = i;
        at->now_ms = STAGE_EPOCH_MS;
        at->memory_size = shard_size(&settings);
        at->memory = stage_memory(at->memory_size, touched);
        at->shard = shard_open(at->memory, &settings, &host, at->now_ms);
        for (uint32_t from = 0; from < shard_count; from++) {
            stage->mailbox_memory[i][from] = stage_memory(mailbox_size(MAILBOX_BYTES), touched);
            at->inbox[from] = mailbox_open(stage->mailbox_memory[i][from], MAILBOX_BYTES);
        }
    }
}

void
stage_open(struct stage *stage, uint32_t shard_count, uint32_t holds_max, uint64_t seats_max, bool touched)
{
    open_all(stage, shard_count, holds_max, seats_max, touched, 1, 1u << 20);
}

void
stage_open_remembering(struct stage *stage, uint32_t shard_count, uint32_t holds_max, uint64_t seats_max,
                       uint64_t remember_ms)
{
    open_all(stage, shard_count, holds_max, seats_max, false, remember_ms, UINT64_C(1) << 30);
}

void
stage_done(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->shard_count; i++) {
        (void)munmap(stage->shards[i].memory, stage->shards[i].memory_size); /* what was mapped unmaps */
        for (uint32_t from = 0; from < stage->shard_count; from++)
            (void)munmap(stage->mailbox_memory[i][from], mailbox_size(MAILBOX_BYTES));
    }
}

void
stage_messages(struct stage_shard *at)
{
    for (uint32_t from = 0; from < at->stage->shard_count; from++) {
        const void *message, *next;
        uint32_t size;
        if (from == at->index || !mailbox_look(at->inbox[from]))
            continue;
        while ((message = mailbox_peek(at->inbox[from], &size)) != NULL) {
            while ((next = mailbox_foresee(at->inbox[from])) != NULL)
                shard_message_foreseen(at->shard, next);
            shard_message(at->shard, from, message, size);
            mailbox_take(at->inbox[from]);
        }
    }
}

void
stage_settle(struct stage_shard *at)
{
    struct shard_batch batch = shard_batch(at->shard);
    if (batch.size > 0)
        shard_durable(at->shard, batch.sequence_last);
}

void
stage_forget(struct stage_shard *at)
{
    at->now_ms += 20; /* two ticks of the wheel */
    shard_time(at->shard, at->now_ms);
    while (shard_expire(at->shard) || shard_next_expiry_ms(at->shard) <= at->now_ms)
        stage_settle(at);
    stage_settle(at);
}

void
stage_expect(struct stage_shard *at, uint64_t answered, const char *what)
{
    if (at->answered == answered && at->refused == 0) {
        at->answered = 0;
        return;
    }
    fprintf(stderr, "core_bench: %s: %llu of %llu commands were answered, %llu refused, the last with %s\n",
            what, (unsigned long long)at->answered, (unsigned long long)answered,
            (unsigned long long)at->refused, at->refused > 0 ? status_word(at->refusal) : "nothing");
    exit(1);
}

static void
draft_must(const char *wrong_field, const char *expected)
{
    if (wrong_field == NULL)
        return;
    fprintf(stderr, "core_bench: the event's %s is wrong: expected %s\n", wrong_field, expected);
    exit(1);
}

/* Every shard in turn, until the one that was asked has answered. */
static void
stage_pump(struct stage *stage, const struct stage_shard *asked)
{
    for (uint32_t round = 0; asked->answered == 0 && round < 1000; round++) {
        for (uint32_t i = 0; i < stage->shard_count; i++) {
            stage_messages(&stage->shards[i]);
            (void)shard_expire(
                stage->shards[i].shard); /* sends what found no room; more comes next round */
            stage_settle(&stage->shards[i]);
        }
    }
}

void
stage_event(struct stage *stage, uint32_t number, uint32_t rows, uint32_t row_seats, uint32_t pool_capacity)
{
    void *memory = malloc(EVENT_DRAFT_SIZE);
    struct event_draft *draft = memory != NULL ? event_draft_begin(memory) : NULL;
    char id[8];
    const char *expected = "";
    assert(draft != NULL);
    int size = snprintf(id, sizeof id, "e%u", number);
    draft_must(event_draft_id(draft, (struct bytes){id, (uint32_t)size}, &expected), expected);
    if (rows > 0)
        draft_must(event_draft_section(draft, (struct bytes){"A", 1}, rows, row_seats, &expected),
                   expected);
    if (pool_capacity > 0)
        draft_must(event_draft_pool(draft, (struct bytes){"p", 1}, pool_capacity, &expected), expected);
    draft_must(event_draft_hold_seconds(draft, 86400, &expected), expected);
    struct command command = {.type = COMMAND_EVENT_CREATE};
    draft_must(event_draft_end(draft, &command.settings, &expected), expected);
    shard_command(stage->shards[0].shard, 0, &command);
    stage_pump(stage, &stage->shards[0]);
    stage_expect(&stage->shards[0], 1, "EVENT CREATE");
    free(memory);
}

static uint32_t
digits(char *to, uint64_t number)
{
    char reversed[20];
    uint32_t size = 0;
    do {
        reversed[size++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    for (uint32_t i = 0; i < size; i++)
        to[i] = reversed[size - 1 - i];
    return size;
}

/* A number as the text of a UUID, spread so that neighbours differ everywhere. */
static uint32_t
user_write(char *to, uint64_t user, enum user_form form)
{
    static const char hex[] = "0123456789abcdef";
    if (form == USER_SHORT) {
        to[0] = 'u';
        return 1 + digits(to + 1, user);
    }
    uint64_t high = user * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t low = (user + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    uint32_t at = 0;
    for (uint32_t i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            to[at++] = '-';
        to[at++] = hex[(i < 16 ? high >> (i * 4) : low >> (i * 4 - 64)) & 15];
    }
    return at;
}

void
order_hold(struct order *order, uint32_t event, uint64_t user, enum user_form form, uint32_t row,
           uint32_t seat)
{
    struct command *command = &order->command;
    memset(command, 0, sizeof *command);
    command->type = COMMAND_HOLD;
    order->event[0] = 'e';
    command->event = (struct bytes){order->event, 1 + digits(order->event + 1, event)};
    command->user = (struct bytes){order->user, user_write(order->user, user, form)};
    if (row == ROW_NONE) {
        command->pool_count = 1;
        command->pools[0] = (struct pool_quantity){{"p", 1}, 1};
        return;
    }
    command->seat_count = 1;
    command->seats[0] = (struct seat_name){{"A", 1}, {order->row, digits(order->row, row + 1)}, seat + 1};
}

void
order_end(struct order *order, enum command_type type, uint64_t user, enum user_form form,
          const struct uuid *hold)
{
    struct command *command = &order->command;
    memset(command, 0, sizeof *command);
    command->type = type;
    command->user = (struct bytes){order->user, user_write(order->user, user, form)};
    command->hold = *hold;
}

void
bench_pin(uint32_t index)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&allowed);
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one); /* unpinned it runs, too */
            return;
        }
    }
}

void
result_add(struct result *result, double value)
{
    assert(result->count < RUNS_MAX);
    result->values[result->count++] = value;
}

static int
value_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void
result_print(struct result *result, bool json)
{
    assert(result->count > 0);
    qsort(result->values, result->count, sizeof result->values[0], value_compare);
    double median = result->count % 2 == 1
                        ? result->values[result->count / 2]
                        : (result->values[result->count / 2 - 1] + result->values[result->count / 2]) / 2;
    double least = result->values[0];
    double most = result->values[result->count - 1];
    if (json)
        printf("{\"name\": \"%s\", \"unit\": \"%s\", \"runs\": %u, \"median\": %.6g, \"min\": %.6g, "
               "\"max\": %.6g}\n",
               result->name, result->unit, result->count, median, least, most);
    else
        printf("%-44s %12.4g %-10s (min %.4g, max %.4g, %u runs)\n", result->name, median, result->unit,
               least, most, result->count);
    fflush(stdout);
}

uint64_t
resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long long size = 0, resident = 0;
    if (file == NULL || fscanf(file, "%llu %llu", &size, &resident) != 2) {
        fprintf(stderr, "core_bench: could not read /proc/self/statm\n");
        exit(1);
    }
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
