/*
 * workload.c - what all workloads share: dice, names, and the counts of what was not granted.
 */
#include "load/workload.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

uint64_t
wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* this clock always exists */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t
random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* By multiplication instead of division; the bias is below bound / 2^64. */
uint64_t
random_below(uint64_t *state, uint64_t bound)
{
    assert(bound > 0);
    return (uint64_t)((unsigned __int128)random_next(state) * bound >> 64);
}

double
random_share(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

uint32_t
buyer_text(uint32_t buyer, char *ret_text)
{
    ret_text[0] = 'u';
    return 1 + digits_write(ret_text + 1, buyer);
}

void
refusal_count(struct refusals *refusals, struct bytes error, uint64_t times)
{
    uint32_t size = 0;
    while (size < error.size && size < REFUSAL_WORD_SIZE_MAX - 1 && error.data[size] != ' ')
        size++;
    for (uint32_t i = 0; i < refusals->count; i++) {
        if (strlen(refusals->kind[i].word) == size &&
            memcmp(refusals->kind[i].word, error.data, size) == 0) {
            refusals->kind[i].count += times;
            return;
        }
    }
    /* More words than there is room for: the last place counts them all. */
    if (refusals->count == REFUSAL_KINDS_MAX) {
        memcpy(refusals->kind[REFUSAL_KINDS_MAX - 1].word, "OTHERS", sizeof "OTHERS");
        refusals->kind[REFUSAL_KINDS_MAX - 1].count += times;
        return;
    }
    memcpy(refusals->kind[refusals->count].word, error.data, size);
    refusals->kind[refusals->count].word[size] = '\0';
    refusals->kind[refusals->count++].count = times;
}

void
refusals_merge(struct refusals *into, const struct refusals *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        struct bytes word = {from->kind[i].word, (uint32_t)strlen(from->kind[i].word)};
        refusal_count(into, word, from->kind[i].count);
    }
}

void
strange_note(struct tally *tally, const char *format, ...)
{
    if (tally->strange++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(tally->strange_first, sizeof tally->strange_first, format, arguments);
    va_end(arguments);
}
