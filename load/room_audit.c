/*
 * room_audit.c - whether all that people were told in a waiting room can be true.
 *
 * Active. Whoever reads that he is active has been so since before; whoever asks to end it, or lets his
 * deadline come, is so until then. Between the two, by our clock alone, he is certainly active:
 *
 *     server      |------- active --------|
 *     told             ^ read       ^ asked to leave
 *     certain          |============|
 *
 * More certain stays at one moment than active_max cannot be, whatever the server says of itself. Deadlines
 * are by the server's clock, which may differ from ours by DEADLINE_SLACK_NS.
 */
#include "load/room.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* The start of a hold, by one shard's clock, may lie so much behind a deadline by another's. */
#define SHARD_CLOCKS_MS 100u

struct turn {
    uint64_t at_ns;
    int32_t step; /* +1: a stay begins, -1: one has ended */
};

static int
turn_compare(const void *left, const void *right)
{
    const struct turn *a = left, *b = right;
    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns ? -1 : 1;
    return a->step - b->step; /* ends first */
}

static void *
memory(uint64_t count, size_t size)
{
    void *array = calloc((size_t)count + 1, size);
    if (array == NULL) {
        fprintf(stderr, "holdfast load: out of memory for the audit of %llu people\n",
                (unsigned long long)count);
        exit(1);
    }
    return array;
}

uint64_t
stays_most(const struct stay *stays, uint64_t count)
{
    struct turn *turns = memory(count * 2, sizeof *turns);
    uint64_t turn_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (stays[i].end_ns <= stays[i].begin_ns)
            continue; /* never certain */
        turns[turn_count++] = (struct turn){stays[i].begin_ns, 1};
        turns[turn_count++] = (struct turn){stays[i].end_ns, -1};
    }
    qsort(turns, (size_t)turn_count, sizeof *turns, turn_compare);
    int64_t now = 0, most = 0;
    for (uint64_t i = 0; i < turn_count; i++) {
        now += turns[i].step;
        most = now > most ? now : most;
    }
    free(turns);
    return (uint64_t)most;
}

static int
token_compare(const void *left, const void *right)
{
    return memcmp(left, right, sizeof(struct uuid));
}

uint64_t
tokens_twice(const struct person *const *people, const uint64_t *counts, uint32_t threads)
{
    static const struct uuid none;
    uint64_t all = 0, told = 0, twice = 0;
    for (uint32_t thread = 0; thread < threads; thread++)
        all += counts[thread];
    struct uuid *tokens = memory(all, sizeof *tokens);
    for (uint32_t thread = 0; thread < threads; thread++)
        for (uint64_t i = 0; i < counts[thread]; i++)
            if (!uuid_equal(&people[thread][i].token, &none))
                tokens[told++] = people[thread][i].token;
    qsort(tokens, (size_t)told, sizeof *tokens, token_compare);
    for (uint64_t i = 1; i < told; i++)
        twice += uuid_equal(&tokens[i - 1], &tokens[i]);
    free(tokens);
    return twice;
}

const char *
position_check(uint32_t before, uint32_t now)
{
    if (before == 0 || now <= before)
        return NULL;
    return "a position behind the one told before";
}

static void
active_check(const struct load_options *options, const struct person *const *people, const uint64_t *counts,
             uint32_t threads, struct audit *audit)
{
    uint64_t all = 0, count = 0;
    for (uint32_t thread = 0; thread < threads; thread++)
        all += counts[thread];
    struct stay *stays = memory(all, sizeof *stays);
    for (uint32_t thread = 0; thread < threads; thread++) {
        for (uint64_t i = 0; i < counts[thread]; i++) {
            const struct person *person = &people[thread][i];
            audit->places_checked += person->joined_ns != 0;
            if (person->active_ns != 0)
                stays[count++] = (struct stay){person->active_ns, person->active_end_ns};
        }
    }
    audit->active_most = stays_most(stays, count);
    free(stays);
    if (audit->active_most > options->active_max)
        audit_differs(audit, "%llu people certainly were active at once, %u may be",
                      (unsigned long long)audit->active_most, options->active_max);
}

static void
holders_check(const struct load_options *options, const struct person *const *people,
              const uint64_t *counts, uint32_t threads, const struct ledger *ledger, struct audit *audit)
{
    for (uint32_t i = 0; i < ledger->grant_count; i++) {
        const struct grant *grant = &ledger->grants[i];
        uint32_t thread = grant->buyer % threads;
        assert(grant->buyer / threads < counts[thread]);
        const struct person *person = &people[thread][grant->buyer / threads];
        uint64_t life_ms = (uint64_t)options->hold_seconds * 1000;
        uint64_t start_ms = grant->deadline_ms > life_ms ? grant->deadline_ms - life_ms : 0;
        if (person->active_ns == 0 && !person->barged)
            audit_differs(audit, "u%u has a hold and never was admitted", grant->buyer);
        else if (person->active_ns != 0 && start_ms > person->active_end_ms + SHARD_CLOCKS_MS)
            audit_differs(audit, "u%u got a hold %llu ms after his slot had ended", grant->buyer,
                          (unsigned long long)(start_ms - person->active_end_ms));
        else
            audit->admitted++;
    }
}

void
room_audit(const struct load_options *options, const struct person *const *people, const uint64_t *counts,
           uint32_t threads, const struct ledger *ledger, struct audit *audit)
{
    active_check(options, people, counts, threads, audit);
    holders_check(options, people, counts, threads, ledger, audit);
    uint64_t twice = tokens_twice(people, counts, threads);
    if (twice > 0)
        audit_differs(audit, "%llu places were given to more than one", (unsigned long long)twice);
}
