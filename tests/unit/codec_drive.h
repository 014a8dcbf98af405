/*
 * codec_drive.h - drives a codec as a connection would, without a connection: for unit tests and fuzzers.
 */
#ifndef HOLDFAST_TESTS_CODEC_DRIVE_H
#define HOLDFAST_TESTS_CODEC_DRIVE_H

#include "net/codec.h"

/* Bytes that grow; zero it to begin, drive_free() to end. Ended by a zero byte for easy comparison. */
struct drive_text {
    char *data;
    size_t size;
    size_t capacity;
};

enum drive_protocol { DRIVE_RESP, DRIVE_HTTP };

/* The limits of the server's default settings. */
extern const struct codec_limits drive_limits;

/*
 * Frames and decodes everything in data, of which first `cut` bytes are there, then `step` more at a time.
 * *ret_answers: the answers to refused requests, and a line for each good one that shows everything
 * decoded. *ret_closed: the connection was closed. Each call sees the bytes in an allocation of their exact
 * size, so that a sanitizer sees a read beyond.
 */
void drive(enum drive_protocol protocol, const char *data, size_t size, size_t cut, size_t step,
           struct drive_text *ret_answers, bool *ret_closed);

/* Frames and decodes one whole request. The request's memory is static: one at a time. */
const struct request *drive_decode(enum drive_protocol protocol, const char *data, size_t size);

/* An output that appends to text. */
struct output drive_output(struct drive_text *text);
/* To be called when done with the output: text has all that was written. */
void drive_output_end(struct output *output);
void drive_free(struct drive_text *text);

/* The bytes of a text of the characters U+0000 to U+00FF, given as UTF-8. The result is the caller's to
 * free(). */
char *drive_bytes(const char *text, size_t text_size, size_t *ret_size);

#endif
