/*
 * client.h - a connection that never blocks, whatever is spoken on it.
 *
 * The driver carries requests from a workload to a connection and answers back, and knows neither. What the
 * bytes of a request mean is between the workload and the kind of client it names: an array of words for
 * resp_client.c, a whole HTTP request for http_client.c. Answers have one form for all kinds: a flat run of
 * values, which the next answer overwrites.
 *
 *     RESP   *4\r\n $2 id  :17  *1  $1 a          ARRAY 4 | TEXT "id" | INTEGER 17 | ARRAY 1 | TEXT "a"
 *     HTTP   200, {"id":17,"a":[null]}            INTEGER 200 | ARRAY 4 | TEXT "id" | INTEGER 17 | TEXT "a"
 * | ARRAY 1 | NIL
 *
 * A client belongs to one thread.
 */
#ifndef HOLDFAST_LOAD_CLIENT_H
#define HOLDFAST_LOAD_CLIENT_H

#include "holdfast/types.h"

enum answer_kind {
    ANSWER_STATUS,
    ANSWER_ERROR,
    ANSWER_TEXT,
    ANSWER_INTEGER,
    ANSWER_ARRAY, /* RESP3's maps and JSON's objects, too: names and values in turns */
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
    bool push; /* answers no request: the server has something to tell */
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

/* A request being written. Bytes that do not fit are a programmer's error: REQUEST_SIZE_MAX is above all
 * that the load's options allow. */
#define REQUEST_SIZE_MAX 8192
struct request_text {
    uint32_t size;
    char data[REQUEST_SIZE_MAX];
};

void request_put(struct request_text *request, struct bytes bytes);
void request_put_text(struct request_text *request, const char *text);
void request_put_number(struct request_text *request, uint64_t number);

/* Writes a number's digits (at most 20), without a zero behind; returns how many. */
uint32_t digits_write(char *to, uint64_t number);

/* Where to, and as whom. */
struct client_place {
    char address[64];
    uint16_t port;
    const char *key;    /* an API key, or NULL: sent in front of, or with, every request */
    const char *target; /* what --target says, for kinds that need more than a port; or NULL */
    bool push;          /* RESP: speak RESP3, so that the server may tell unasked */
};

struct client;

struct client_kind {
    const char *name;

    /* Connects, at most so many seconds. NULL: ret_error says why, at least 160 bytes. */
    struct client *(*open)(const struct client_place *place, uint32_t seconds, char *ret_error);
    void (*free)(struct client *client);

    int (*fd)(const struct client *client);

    /* Why a call returned below 0. */
    const char *(*error)(const struct client *client);

    /* Puts a request behind those that are under way. */
    void (*append)(struct client *client, const struct request_text *request);

    /* Writes what the socket takes. 1: all is written, 0: some is left, below 0: the connection is gone. */
    int (*flush)(struct client *client);

    /* Reads what has come. Below 0: the connection is gone. */
    int (*read)(struct client *client);

    /* The next whole answer among what was read, in the order of the requests. 1: there is one, 0: not yet,
     * below 0: what came is not understood. */
    int (*next)(struct client *client, const struct answer **ret_answer);
};

/* Every client begins with this. */
struct client {
    const struct client_kind *kind;
};

extern const struct client_kind resp_client; /* resp_client.c */
extern const struct client_kind http_client; /* http_client.c */

static inline void
client_free(struct client *client)
{
    if (client != NULL)
        client->kind->free(client);
}

/* For those who wait: writes everything and reads until the next answer that is no push, at most so many
 * seconds. False: ret_error says why, at least 160 bytes. */
bool client_wait(struct client *client, uint32_t seconds, const struct answer **ret_answer,
                 char *ret_error);

/* RESP's request: an array of so many words, each then added by one of the others. */
void request_begin(struct request_text *request, uint32_t words);
void request_word(struct request_text *request, struct bytes word);
void request_text(struct request_text *request, const char *word);
void request_number(struct request_text *request, uint64_t number);

/* HTTP's request: begun with method and target; then further header lines with http_header(); ended with
 * the body (empty: none), JSON. The key and Host go in by themselves, at the append. */
void http_begin(struct request_text *request, const char *method, struct bytes target);
void http_header(struct request_text *request, const char *name, struct bytes value);
void http_end(struct request_text *request, struct bytes body);

#endif
