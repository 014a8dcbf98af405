/*
 * workload.c - what is asked, and what the answers mean: the part that deals, seats and raw commands share.
 *
 * driver.c asks here for the next request, its words, and what to do with an answer; it knows nothing of
 * seats. A workload belongs to one thread, but for the counter of buyers, which all threads draw from, and
 * the flag that ends the asking.
 */
#include "load/workload.h"

#include <assert.h>

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

bool
workload_next(struct workload *workload, struct ask *ret_ask)
{
    if (atomic_load_explicit(workload->stopping, memory_order_relaxed))
        return false;
    /* Looked at before it is drawn: or it would go on growing when all have asked. */
    if (atomic_load_explicit(workload->next_buyer, memory_order_relaxed) >= workload->options->buyers)
        return false;
    uint64_t buyer = atomic_fetch_add_explicit(workload->next_buyer, 1, memory_order_relaxed);
    if (buyer >= workload->options->buyers)
        return false;
    *ret_ask = (struct ask){.buyer = (uint32_t)buyer, .kind = ASK_RAW, .tries = 1};
    if (workload->options->kind != LOAD_RAW)
        sale_choose(workload, ret_ask);
    return true;
}

void
workload_write(struct workload *workload, const struct ask *ask, struct request_text *ret_request)
{
    if (ask->kind == ASK_RAW)
        raw_write(workload->raw, ask->buyer, &workload->random, ret_request);
    else
        sale_write(workload, ask, ret_request);
}

/* An error; or, as a Lua script refuses, an array that begins with a word in capitals. */
static bool
raw_refused(const struct answer *answer, struct bytes *ret_word)
{
    if (answer->values[0].kind == ANSWER_ERROR) {
        *ret_word = answer_text(answer, 0);
        return true;
    }
    if (answer->values[0].kind != ANSWER_ARRAY || answer->count < 2 ||
        answer->values[1].kind != ANSWER_TEXT)
        return false;
    struct bytes word = answer_text(answer, 1);
    for (uint32_t i = 0; i < word.size; i++)
        if (word.data[i] < 'A' || word.data[i] > 'Z')
            return false;
    *ret_word = word;
    return word.size > 0;
}

bool
workload_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
                struct ask *ret_next)
{
    struct tally *tally = workload->tally;
    assert(answer->count > 0);
    if (ask->kind != ASK_CONFIRM)
        tally->answered++;
    if (ask->kind != ASK_RAW)
        return sale_answer(workload, ask, answer, ret_next);
    struct bytes word;
    if (raw_refused(answer, &word))
        refusal_count(&tally->refusals, word, 1);
    else
        tally->held++;
    return false;
}

void
workload_lost(struct workload *workload, const struct ask *ask)
{
    if (ask->kind == ASK_CONFIRM) {
        workload->tally->ledger.grants[ask->grant].state = GRANT_UNSURE;
        return;
    }
    workload->tally->lost++;
    workload->tally->lost_units += ask->units;
}
