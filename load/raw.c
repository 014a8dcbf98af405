/*
 * raw.c - one command again and again, with random parts.
 *
 *     HOLD ev u{#} SEAT A/{1-1000}/{1-1000}
 *
 * Each word is a run of pieces: text, a random number from A to B, or the number of the request. The same
 * client code then asks Holdfast and any other server that speaks RESP, so that the client costs both the
 * same. Over HTTP the words are the method, the target and, where there is one, the body:
 *
 *     POST /v1/events/ev/holds {"user":"u{#}","seats":["A/{1-1000}/{1-1000}"]}
 *
 * There a brace that begins no placeholder is a brace.
 */
#include "load/raw.h"

#include <assert.h>

#include <stdio.h>
#include <stdlib.h>

enum piece_kind {
    PIECE_TEXT,
    PIECE_RANDOM,
    PIECE_NUMBER,
};

struct piece {
    enum piece_kind kind;
    bool word_ends;    /* this is the last piece of its word */
    struct bytes text; /* into the argument */
    uint64_t min;
    uint64_t max;
};

/* Enough for 32 words of four pieces; REQUEST_SIZE_MAX holds them all. */
#define PIECES_MAX   128
#define RAW_TEXT_MAX 2048
#define RAW_WORD_MAX 1024
#define FILLED_MAX   (RAW_TEXT_MAX + PIECES_MAX * 20)

static_assert(FILLED_MAX + LOAD_RAW_WORDS_MAX * 16 < REQUEST_SIZE_MAX, "a request holds any command");

struct raw_command {
    bool http;
    uint32_t word_count;
    uint32_t piece_count;
    struct piece pieces[PIECES_MAX];
};

/* The piece that begins here; returns its size, or 0 where a brace is not understood. */
static size_t
piece_read(const char *word, bool http, struct piece *ret_piece)
{
    if (strncmp(word, "{#}", 3) == 0) {
        *ret_piece = (struct piece){.kind = PIECE_NUMBER};
        return 3;
    }
    unsigned long long min, max;
    int taken = 0;
    if (sscanf(word, "{%19llu-%19llu}%n", &min, &max, &taken) == 2 && taken > 0 && min <= max) {
        *ret_piece = (struct piece){.kind = PIECE_RANDOM, .min = min, .max = max};
        return (size_t)taken;
    }
    if (word[0] == '{' && !http)
        return 0;
    size_t size = 1 + strcspn(word + 1, "{");
    *ret_piece = (struct piece){.kind = PIECE_TEXT, .text = {word, (uint32_t)size}};
    return size;
}

struct raw_command *
raw_command_read(char **words, int count, bool http, char *ret_error)
{
    if (http && (count < 2 || count > 3)) {
        snprintf(ret_error, 160, "%d words: expected over HTTP METHOD TARGET [BODY]", count);
        return NULL;
    }
    struct raw_command *command = calloc(1, sizeof *command);
    size_t text_size = 0;
    for (int i = 0; command != NULL && i < count; i++) {
        const char *word = words[i];
        size_t size = strlen(word);
        text_size += size;
        do {
            struct piece piece = {.kind = PIECE_TEXT, .text = {word, 0}}; /* an empty word has one, too */
            size_t taken = *word != '\0' ? piece_read(word, http, &piece) : 0;
            bool bad = *word != '\0' && taken == 0;
            if (bad || count > LOAD_RAW_WORDS_MAX || command->piece_count == PIECES_MAX ||
                size > RAW_WORD_MAX || text_size > RAW_TEXT_MAX) {
                snprintf(ret_error, 160,
                         "the word '%.60s': expected text, {A-B} or {#}, all in all at most %d words", word,
                         LOAD_RAW_WORDS_MAX);
                free(command);
                return NULL;
            }
            word += taken;
            piece.word_ends = *word == '\0';
            command->pieces[command->piece_count++] = piece;
        } while (*word != '\0');
        command->word_count++;
    }
    if (command == NULL)
        snprintf(ret_error, 160, "out of memory");
    else
        command->http = http;
    return command;
}

void
raw_command_free(struct raw_command *command)
{
    free(command);
}

/* Each word filled in, one behind the other. */
struct filled {
    char text[FILLED_MAX];
    struct bytes word[LOAD_RAW_WORDS_MAX];
};

static void
fill(const struct raw_command *command, uint64_t number, uint64_t *random, struct filled *filled)
{
    char *at = filled->text;
    char *begin = at;
    uint32_t word = 0;
    for (uint32_t i = 0; i < command->piece_count; i++) {
        const struct piece *piece = &command->pieces[i];
        switch (piece->kind) {
        case PIECE_TEXT:
            memcpy(at, piece->text.data, piece->text.size);
            at += piece->text.size;
            break;
        case PIECE_RANDOM:
            at += digits_write(at, piece->min + random_below(random, piece->max - piece->min + 1));
            break;
        case PIECE_NUMBER:
            at += digits_write(at, number);
            break;
        }
        if (piece->word_ends) {
            filled->word[word++] = (struct bytes){begin, (uint32_t)(at - begin)};
            begin = at;
        }
    }
    assert(word == command->word_count);
}

void
raw_write(const struct raw_command *command, uint64_t number, uint64_t *random,
          struct request_text *ret_request)
{
    struct filled filled;
    fill(command, number, random, &filled);
    if (!command->http) {
        request_begin(ret_request, command->word_count);
        for (uint32_t i = 0; i < command->word_count; i++)
            request_word(ret_request, filled.word[i]);
        return;
    }
    char method[16];
    struct bytes body = command->word_count > 2 ? filled.word[2] : (struct bytes){NULL, 0};
    snprintf(method, sizeof method, "%.*s", (int)filled.word[0].size, filled.word[0].data);
    http_begin(ret_request, method, filled.word[1]);
    http_end(ret_request, body);
}

/* ---- the workload ---- */

static bool
raw_open(const struct load_options *options, void **ret_shared, char *ret_error)
{
    struct raw_command *command =
        raw_command_read(options->words, options->word_count, options->protocol == &http_client, ret_error);
    *ret_shared = command;
    return command != NULL;
}

static void
raw_done(void *shared)
{
    raw_command_free(shared);
}

static void
raw_arrive(struct workload *workload, struct ask *ask)
{
    (void)workload;
    (void)ask; /* the number of the buyer is all there is to it */
}

static void
raw_write_ask(struct workload *workload, const struct ask *ask, struct request_text *ret_request)
{
    raw_write(workload->shared, ask->buyer, &workload->random, ret_request);
}

/* An error; a status of 400 or more; or, as a Lua script refuses, an array that begins with a word in
 * capitals. */
static bool
raw_refused(const struct load_options *options, const struct answer *answer, char *ret_word)
{
    struct bytes word = {NULL, 0};
    if (options->protocol == &http_client) {
        snprintf(ret_word, REFUSAL_WORD_SIZE_MAX, "HTTP-%lld", (long long)answer->values[0].integer);
        return answer->values[0].integer >= 400;
    }
    bool array = answer->values[0].kind == ANSWER_ARRAY && answer->count > 1 &&
                 answer->values[1].kind == ANSWER_TEXT;
    if (answer->values[0].kind == ANSWER_ERROR)
        word = answer_text(answer, 0);
    else if (array)
        word = answer_text(answer, 1);
    uint32_t size = 0;
    while (size < word.size && size < REFUSAL_WORD_SIZE_MAX - 1 && word.data[size] != ' ')
        size++;
    for (uint32_t i = 0; array && i < word.size; i++)
        if (word.data[i] < 'A' || word.data[i] > 'Z')
            return false;
    memcpy(ret_word, word.data != NULL ? word.data : "", size);
    ret_word[size] = '\0';
    return size > 0;
}

static bool
raw_answer(struct workload *workload, const struct ask *ask, const struct answer *answer,
           struct ask *ret_next)
{
    (void)ask;
    (void)ret_next; /* nothing follows */
    char word[REFUSAL_WORD_SIZE_MAX];
    if (raw_refused(workload->options, answer, word))
        refusal_count(&workload->tally->refusals, (struct bytes){word, (uint32_t)strlen(word)}, 1);
    else
        tally_add(&workload->tally->held, 1);
    return false;
}

static void
raw_lost(struct workload *workload, const struct ask *ask)
{
    (void)ask;
    workload->tally->lost++;
}

const struct workload_kind workload_raw = {
    .name = "raw",
    .help = "one command again and again, also against other servers: raw [options] -- WORD...",
    .options = OPTIONS_RAW | OPTIONS_NULL,
    .open = raw_open,
    .done = raw_done,
    .arrive = raw_arrive,
    .write = raw_write_ask,
    .answer = raw_answer,
    .lost = raw_lost,
};
