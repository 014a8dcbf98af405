/*
 * machine_bench.c - what the machine itself takes for what the core cannot avoid.
 *
 *     a line of memory        that no cache has: at random in as much memory as the large set touches, each
 * wait before the next three of them at once   as a hold of a random seat asks for its user, its seat and
 * its own place a message and answer    between two shards: 56 bytes there, 48 back, 32 at a time, nothing
 * done with either
 *
 * The figures of core_bench are read beside these: see "What the machine allows" in docs/performance.md.
 */
#include "bench/stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LINE_BYTES    64
#define LINES         ((UINT64_C(512) << 20) / LINE_BYTES)
#define CHAINS_MAX    3
#define MAILBOX_BYTES ((size_t)1 << 20)
#define AT_ONCE       32
#define QUESTION      56
#define ANSWER        48

/* ---- memory ---- */

/* A random cycle through all lines (Sattolo, 1986): the first word of each says which is next. */
static uint64_t *
cycle_make(void)
{
    uint64_t *lines = stage_memory(LINES * LINE_BYTES, false);
    const uint64_t words = LINE_BYTES / sizeof *lines;
    uint64_t random = STAGE_SEED;
    for (uint64_t i = 0; i < LINES; i++)
        lines[i * words] = i;
    for (uint64_t i = LINES - 1; i > 0; i--) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407; /* Knuth's MMIX */
        uint64_t other = (random >> 33) % i;
        uint64_t kept = lines[i * words];
        lines[i * words] = lines[other * words];
        lines[other * words] = kept;
    }
    return lines;
}

static void
bench_lines(uint32_t runs, uint64_t operations, bool json)
{
    struct result one = {.name = "a line of memory", .unit = "ns"};
    struct result three = {.name = "three of them at once", .unit = "ns"};
    const uint64_t words = LINE_BYTES / sizeof(uint64_t);
    uint64_t *lines = cycle_make();
    uint64_t at[CHAINS_MAX] = {0, LINES / 3, LINES / 3 * 2};
    for (uint32_t run = 0; run < runs; run++) {
        uint64_t begin_ns = bench_now_ns();
        for (uint64_t i = 0; i < operations; i++)
            at[0] = lines[at[0] * words];
        result_add(&one, (double)(bench_now_ns() - begin_ns) / (double)operations);
        begin_ns = bench_now_ns();
        for (uint64_t i = 0; i < operations; i++) {
            for (uint32_t chain = 0; chain < CHAINS_MAX; chain++)
                at[chain] = lines[at[chain] * words];
            /* the next three are asked for when all of these have come, as a hold waits for all that it
             * needs */
            uint64_t all = (at[0] | at[1] | at[2]) >> 63;
            for (uint32_t chain = 0; chain < CHAINS_MAX; chain++)
                at[chain] += all;
        }
        result_add(&three, (double)(bench_now_ns() - begin_ns) / (double)operations);
    }
    lines[0] = at[0] + at[1] + at[2];        /* so that the walks are not left out */
    (void)munmap(lines, LINES * LINE_BYTES); /* what was mapped unmaps */
    result_print(&one, json);
    result_print(&three, json);
}

/* ---- messages ---- */

struct end {
    struct mailbox *in, *out;
    uint64_t pairs; /* questions of this end */
    uint32_t index;
    pthread_t thread;
    pthread_barrier_t *start;
    _Atomic uint32_t *finished;
    uint64_t took_ns;
};

/* Answers what has come; returns how many of it were answers. */
static uint64_t
end_drain(struct end *end)
{
    static const uint64_t answer[ANSWER / 8] = {ANSWER};
    uint64_t answers = 0;
    uint32_t size;
    const uint64_t *message;
    (void)mailbox_look(end->in); /* the peek tells */
    while ((message = mailbox_peek(end->in, &size)) != NULL) {
        if (message[0] == ANSWER)
            answers++;
        else if (!mailbox_send(end->out, answer, ANSWER))
            break; /* no room: it stays, and is looked at again */
        mailbox_take(end->in);
    }
    return answers;
}

static void *
end_run(void *argument)
{
    static const uint64_t question[QUESTION / 8] = {QUESTION};
    struct end *end = argument;
    uint64_t asked = 0, answered = 0;
    bench_pin(end->index);
    (void)pthread_barrier_wait(end->start);
    uint64_t begin_ns = bench_now_ns();
    while (answered < end->pairs) {
        for (uint32_t i = 0; i < AT_ONCE && asked < end->pairs; i++, asked++)
            if (!mailbox_send(end->out, question, QUESTION))
                break;
        answered += end_drain(end);
    }
    end->took_ns = bench_now_ns() - begin_ns;
    atomic_fetch_add(end->finished, 1);
    while (atomic_load(end->finished) < 2)
        (void)end_drain(end);
    return NULL;
}

static void
bench_messages(uint32_t runs, uint64_t operations, bool json)
{
    struct result pair = {.name = "a message and its answer, both processors'", .unit = "ns"};
    for (uint32_t run = 0; run < runs; run++) {
        struct mailbox *mailboxes[2];
        void *memory[2];
        pthread_barrier_t start;
        _Atomic uint32_t finished = 0;
        struct end ends[2];
        for (uint32_t i = 0; i < 2; i++) {
            memory[i] = stage_memory(mailbox_size(MAILBOX_BYTES), true);
            mailboxes[i] = mailbox_open(memory[i], MAILBOX_BYTES);
        }
        if (pthread_barrier_init(&start, NULL, 2) != 0) {
            fprintf(stderr, "core_bench: could not make a barrier of two threads\n");
            exit(1);
        }
        for (uint32_t i = 0; i < 2; i++) {
            ends[i] = (struct end){.in = mailboxes[i],
                                   .out = mailboxes[1 - i],
                                   .pairs = operations,
                                   .index = i,
                                   .start = &start,
                                   .finished = &finished};
            if (pthread_create(&ends[i].thread, NULL, end_run, &ends[i]) != 0) {
                fprintf(stderr, "core_bench: could not start a thread\n");
                exit(1);
            }
        }
        uint64_t spent_ns = 0;
        for (uint32_t i = 0; i < 2; i++) {
            (void)pthread_join(ends[i].thread, NULL); /* cannot fail for a thread of ours */
            spent_ns += ends[i].took_ns;
        }
        result_add(&pair, (double)spent_ns / (double)(2 * operations));
        (void)pthread_barrier_destroy(&start);
        for (uint32_t i = 0; i < 2; i++)
            (void)munmap(memory[i], mailbox_size(MAILBOX_BYTES)); /* what was mapped unmaps */
    }
    result_print(&pair, json);
}

void
bench_machine(uint32_t runs, uint64_t operations, bool json)
{
    bench_lines(runs, operations, json);
    bench_messages(runs, operations, json);
}
