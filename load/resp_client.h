/*
 * resp_client.h - a RESP connection that never blocks, and its answers without an allocation each.
 */
#ifndef HOLDFAST_LOAD_RESP_CLIENT_H
#define HOLDFAST_LOAD_RESP_CLIENT_H

#include "holdfast/types.h"

enum answer_kind {
    ANSWER_STATUS,
    ANSWER_ERROR,
    ANSWER_TEXT,
    ANSWER_INTEGER,
    ANSWER_ARRAY,
    ANSWER_NIL,
};

/* One value of an answer. The values lie one after the other as they came: an array, then its elements,
 * each followed by its own. */
struct answer_value {
    enum answer_kind kind;
    uint32_t size; /* bytes of a text, elements of an array */
    uint32_t text; /* where the text begins in the answer's text */
    int64_t integer;
};

/* An answer: valid until the client's next call. */
struct answer {
    const struct answer_value *values;
    uint32_t count;
    const char *text;
};

/* The text of a value (status, error or text). */
static inline struct bytes
answer_text(const struct answer *answer, uint32_t index)
{
    return (struct bytes){answer->text + answer->values[index].text, answer->values[index].size};
}

/* Index of the value after this one and all that is inside it. */
uint32_t answer_skip(const struct answer *answer, uint32_t index);

/* Index of the value that belongs to a name in an array of names and values, or 0 where there is none (0 is
 * the whole answer and so never a value of a name). */
uint32_t answer_find(const struct answer *answer, uint32_t array, const char *name);

/* A request being written: RESP's array of bulk strings. */
#define REQUEST_SIZE_MAX 8192
struct request_text {
    uint32_t size;
    char data[REQUEST_SIZE_MAX];
};

/* Begins a request of so many words; each is then added by one of the others. Words that do not fit are a
 * programmer's error: REQUEST_SIZE_MAX is above all that the load's options allow. */
void request_begin(struct request_text *request, uint32_t words);
void request_word(struct request_text *request, struct bytes word);
void request_text(struct request_text *request, const char *word);
void request_number(struct request_text *request, uint64_t number);

/* Writes a number's digits (at most 20), without a zero behind; returns how many. */
uint32_t digits_write(char *to, uint64_t number);

struct resp_client;

/* Connects, at most so many seconds. NULL: ret_error says why, at least 160 bytes. Free with
 * resp_client_free(). */
struct resp_client *resp_client_open(const char *address, uint16_t port, uint32_t seconds, char *ret_error);
void resp_client_free(struct resp_client *client);

int resp_client_fd(const struct resp_client *client);

/* Why a call returned below 0. */
const char *resp_client_error(const struct resp_client *client);

/* Puts a request into the output buffer. */
void resp_client_append(struct resp_client *client, const struct request_text *request);

/* Writes what the socket takes. 1: all is written, 0: some is left, below 0: the connection is gone. */
int resp_client_flush(struct resp_client *client);

/* Reads once what has come. Below 0: the connection is gone. */
int resp_client_read(struct resp_client *client);

/* The next whole answer among what was read. 1: there is one, 0: not yet, below 0: what came is not RESP.
 */
int resp_client_next(struct resp_client *client, const struct answer **ret_answer);

/* For those who wait: writes everything and reads until the next answer, at most so many seconds. Below 0:
 * resp_client_error() says why. */
int resp_client_wait(struct resp_client *client, uint32_t seconds, const struct answer **ret_answer);

#endif
