/*
 * resp_client.c - a RESP connection that never blocks. The one file that touches hiredis.
 *
 * hiredis does the socket's buffers and the parsing. What it is kept from is making an object of every
 * value: its reader takes functions for that, and ours write one flat run of values and one of text, which
 * the next answer overwrites. A load generator at a million answers a second spends its time elsewhere
 * then.
 *
 *     *4\r\n $2 id  :17  *1  $1 a         values:  ARRAY 3 | TEXT "id" | INTEGER 17 | ARRAY 1 | TEXT "a"
 *
 * See also: driver.c, which drives many of these by epoll, and audit.c, which waits for one answer after
 * another.
 */
#include "load/resp_client.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct resp_client {
    redisContext *redis;

    /* the answer that is being parsed, or was last */
    struct answer answer;
    struct answer_value *values;
    uint32_t values_room;
    char *text;
    uint32_t text_size;
    uint32_t text_room;
};

/* hiredis 1.0 made the number of elements a size_t. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* The value after the last; a first value (one without a parent) begins a new answer. */
static struct answer_value *
value_add(const redisReadTask *task, enum answer_kind kind)
{
    struct resp_client *client = task->privdata;
    if (task->parent == NULL) {
        client->answer.count = 0;
        client->text_size = 0;
    }
    if (client->answer.count == client->values_room) {
        uint32_t room = client->values_room * 2;
        struct answer_value *values = realloc(client->values, room * sizeof *values);
        if (values == NULL)
            return NULL;
        client->values = values;
        client->values_room = room;
    }
    struct answer_value *value = &client->values[client->answer.count++];
    *value = (struct answer_value){.kind = kind};
    return value;
}

static void *
create_text(const redisReadTask *task, char *data, size_t size)
{
    struct resp_client *client = task->privdata;
    enum answer_kind kind = task->type == REDIS_REPLY_ERROR    ? ANSWER_ERROR
                            : task->type == REDIS_REPLY_STATUS ? ANSWER_STATUS
                                                               : ANSWER_TEXT;
    struct answer_value *value = value_add(task, kind);
    if (value == NULL)
        return NULL;
    if (size > client->text_room - client->text_size) {
        size_t room = (client->text_size + size) * 2;
        char *text = room <= UINT32_MAX ? realloc(client->text, room) : NULL;
        if (text == NULL)
            return NULL;
        client->text = text;
        client->text_room = (uint32_t)room;
    }
    memcpy(client->text + client->text_size, data, size);
    value->text = client->text_size;
    value->size = (uint32_t)size;
    client->text_size += (uint32_t)size;
    return client; /* anything but NULL: hiredis only hands it back */
}

static void *
create_array(const redisReadTask *task, element_count elements)
{
    struct answer_value *value = value_add(task, ANSWER_ARRAY);
    if (value == NULL)
        return NULL;
    value->size = (uint32_t)elements;
    return task->privdata;
}

static void *
create_integer(const redisReadTask *task, long long integer)
{
    struct answer_value *value = value_add(task, ANSWER_INTEGER);
    if (value == NULL)
        return NULL;
    value->integer = integer;
    return task->privdata;
}

static void *
create_nil(const redisReadTask *task)
{
    return value_add(task, ANSWER_NIL) == NULL ? NULL : task->privdata;
}

static void
free_nothing(void *object)
{
    (void)object; /* the values belong to the client */
}

static redisReplyObjectFunctions functions = {
    .createString = create_text,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_nothing,
};

uint32_t
answer_skip(const struct answer *answer, uint32_t index)
{
    uint64_t left = 1;
    while (left > 0 && index < answer->count) {
        left--;
        if (answer->values[index].kind == ANSWER_ARRAY)
            left += answer->values[index].size;
        index++;
    }
    return index;
}

uint32_t
answer_find(const struct answer *answer, uint32_t array, const char *name)
{
    if (array >= answer->count || answer->values[array].kind != ANSWER_ARRAY)
        return 0;
    struct bytes wanted = {name, (uint32_t)strlen(name)};
    uint32_t index = array + 1;
    for (uint32_t pair = 0; pair < answer->values[array].size / 2; pair++) {
        if (index + 1 >= answer->count || answer->values[index].kind == ANSWER_ARRAY)
            return 0;
        if (bytes_equal(answer_text(answer, index), wanted))
            return index + 1;
        index = answer_skip(answer, index + 1);
    }
    return 0;
}

uint32_t
digits_write(char *to, uint64_t number)
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

static void
request_head(struct request_text *request, char type, uint32_t number)
{
    assert(request->size + 16 <= REQUEST_SIZE_MAX);
    request->data[request->size++] = type;
    request->size += digits_write(request->data + request->size, number);
    request->data[request->size++] = '\r';
    request->data[request->size++] = '\n';
}

void
request_begin(struct request_text *request, uint32_t words)
{
    request->size = 0;
    request_head(request, '*', words);
}

void
request_word(struct request_text *request, struct bytes word)
{
    request_head(request, '$', word.size);
    assert(request->size + word.size + 2 <= REQUEST_SIZE_MAX);
    memcpy(request->data + request->size, word.data, word.size);
    request->size += word.size;
    request->data[request->size++] = '\r';
    request->data[request->size++] = '\n';
}

void
request_text(struct request_text *request, const char *word)
{
    request_word(request, (struct bytes){word, (uint32_t)strlen(word)});
}

void
request_number(struct request_text *request, uint64_t number)
{
    char digits[20];
    uint32_t size = digits_write(digits, number);
    request_word(request, (struct bytes){digits, size});
}

struct resp_client *
resp_client_open(const char *address, uint16_t port, uint32_t seconds, char *ret_error)
{
    struct resp_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        snprintf(ret_error, 160, "out of memory");
        return NULL;
    }
    client->values_room = 64;
    client->text_room = 4096;
    client->values = malloc(client->values_room * sizeof *client->values);
    client->text = malloc(client->text_room);
    client->redis = redisConnectWithTimeout(address, port, (struct timeval){.tv_sec = (time_t)seconds});
    if (client->values == NULL || client->text == NULL || client->redis == NULL ||
        client->redis->err != 0) {
        snprintf(ret_error, 160, "%s", client->redis != NULL ? client->redis->errstr : "out of memory");
        resp_client_free(client);
        return NULL;
    }
    /* Connecting waits, what follows does not. */
    int flags = fcntl(client->redis->fd, F_GETFL);
    if (flags < 0 || fcntl(client->redis->fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        snprintf(ret_error, 160, "fcntl: %s", strerror(errno));
        resp_client_free(client);
        return NULL;
    }
    client->redis->flags &= ~REDIS_BLOCK;
    client->redis->reader->fn = &functions;
    client->redis->reader->privdata = client;
    return client;
}

void
resp_client_free(struct resp_client *client)
{
    if (client == NULL)
        return;
    if (client->redis != NULL)
        redisFree(client->redis);
    free(client->values);
    free(client->text);
    free(client);
}

int
resp_client_fd(const struct resp_client *client)
{
    return client->redis->fd;
}

const char *
resp_client_error(const struct resp_client *client)
{
    return client->redis->errstr;
}

void
resp_client_append(struct resp_client *client, const struct request_text *request)
{
    /* Its only failure is memory, which then fails the connection at the flush. */
    if (redisAppendFormattedCommand(client->redis, request->data, request->size) != REDIS_OK)
        client->redis->err = REDIS_ERR_OOM;
}

int
resp_client_flush(struct resp_client *client)
{
    int done = 0;
    if (client->redis->err != 0 || redisBufferWrite(client->redis, &done) != REDIS_OK)
        return -1;
    return done;
}

int
resp_client_read(struct resp_client *client)
{
    return redisBufferRead(client->redis) == REDIS_OK ? 0 : -1;
}

int
resp_client_next(struct resp_client *client, const struct answer **ret_answer)
{
    void *whole = NULL;
    if (redisGetReplyFromReader(client->redis, &whole) != REDIS_OK)
        return -1;
    if (whole == NULL)
        return 0;
    client->answer.values = client->values;
    client->answer.text = client->text;
    *ret_answer = &client->answer;
    return 1;
}

static int64_t
monotonic_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int
resp_client_wait(struct resp_client *client, uint32_t seconds, const struct answer **ret_answer)
{
    int64_t end_ms = monotonic_ms() + (int64_t)seconds * 1000;
    for (;;) {
        int result = resp_client_next(client, ret_answer);
        if (result != 0)
            return result;
        int written = resp_client_flush(client);
        if (written < 0)
            return -1;
        int64_t left_ms = end_ms - monotonic_ms();
        struct pollfd wait = {.fd = client->redis->fd,
                              .events = (short)(written ? POLLIN : POLLIN | POLLOUT)};
        int ready = left_ms > 0 ? poll(&wait, 1, (int)left_ms) : 0;
        if (ready == 0) {
            snprintf(client->redis->errstr, sizeof client->redis->errstr, "no answer within %u s", seconds);
            return -1;
        }
        if (ready > 0 && (wait.revents & ~POLLOUT) != 0 && resp_client_read(client) < 0)
            return -1;
    }
}
