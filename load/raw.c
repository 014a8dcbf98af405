/*
 * raw.c - one command again and again, with random parts.
 *
 *     HOLD ev u{#} SEAT A/{1-1000}/{1-1000}
 *
 * Each word is a run of pieces: text, a random number from A to B, or the number of the request. The same
 * client code then asks Holdfast and any other server that speaks RESP, so that the client costs both the
 * same.
 */
#include "load/workload.h"

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
#define RAW_WORD_MAX 512

struct raw_command {
    uint32_t word_count;
    uint32_t piece_count;
    struct piece pieces[PIECES_MAX];
};

/* The piece that begins here; returns its size, or 0 where a brace is not understood. */
static size_t
piece_read(const char *word, struct piece *ret_piece)
{
    if (word[0] != '{') {
        size_t size = strcspn(word, "{");
        *ret_piece = (struct piece){.kind = PIECE_TEXT, .text = {word, (uint32_t)size}};
        return size;
    }
    if (strncmp(word, "{#}", 3) == 0) {
        *ret_piece = (struct piece){.kind = PIECE_NUMBER};
        return 3;
    }
    unsigned long long min, max;
    int size = 0;
    if (sscanf(word, "{%19llu-%19llu}%n", &min, &max, &size) != 2 || size == 0 || min > max)
        return 0;
    *ret_piece = (struct piece){.kind = PIECE_RANDOM, .min = min, .max = max};
    return (size_t)size;
}

struct raw_command *
raw_command_read(char **words, int count, char *ret_error)
{
    struct raw_command *command = calloc(1, sizeof *command);
    size_t text_size = 0;
    for (int i = 0; command != NULL && i < count; i++) {
        const char *word = words[i];
        size_t size = strlen(word);
        text_size += size;
        do {
            struct piece piece = {.kind = PIECE_TEXT, .text = {word, 0}}; /* an empty word has one, too */
            size_t taken = *word != '\0' ? piece_read(word, &piece) : 0;
            bool bad = *word != '\0' && taken == 0;
            if (bad || count > LOAD_RAW_WORDS_MAX || command->piece_count == PIECES_MAX ||
                size > RAW_WORD_MAX / 4 || text_size > RAW_TEXT_MAX) {
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
    return command;
}

void
raw_command_free(struct raw_command *command)
{
    free(command);
}

void
raw_write(const struct raw_command *command, uint64_t number, uint64_t *random,
          struct request_text *ret_request)
{
    char word[RAW_WORD_MAX * 5];
    uint32_t size = 0;
    request_begin(ret_request, command->word_count);
    for (uint32_t i = 0; i < command->piece_count; i++) {
        const struct piece *piece = &command->pieces[i];
        switch (piece->kind) {
        case PIECE_TEXT:
            memcpy(word + size, piece->text.data, piece->text.size);
            size += piece->text.size;
            break;
        case PIECE_RANDOM:
            size +=
                digits_write(word + size, piece->min + random_below(random, piece->max - piece->min + 1));
            break;
        case PIECE_NUMBER:
            size += digits_write(word + size, number);
            break;
        }
        if (piece->word_ends) {
            request_word(ret_request, (struct bytes){word, size});
            size = 0;
        }
    }
}
