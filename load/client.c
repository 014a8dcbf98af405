/*
 * client.c - what all kinds of clients share: looking into answers, writing requests, waiting.
 */
#include "load/client.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

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

static bool
is_text(const struct answer_value *value)
{
    return value->kind == ANSWER_TEXT || value->kind == ANSWER_STATUS || value->kind == ANSWER_ERROR;
}

uint32_t
answer_find(const struct answer *answer, uint32_t array, const char *name)
{
    if (array >= answer->count || answer->values[array].kind != ANSWER_ARRAY)
        return 0;
    struct bytes wanted = {name, (uint32_t)strlen(name)};
    uint32_t index = array + 1;
    for (uint32_t pair = 0; pair < answer->values[array].size / 2; pair++) {
        if (index + 1 >= answer->count || !is_text(&answer->values[index]))
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

void
request_put(struct request_text *request, struct bytes bytes)
{
    assert(bytes.size <= REQUEST_SIZE_MAX - request->size);
    memcpy(request->data + request->size, bytes.data, bytes.size);
    request->size += bytes.size;
}

void
request_put_text(struct request_text *request, const char *text)
{
    request_put(request, (struct bytes){text, (uint32_t)strlen(text)});
}

void
request_put_number(struct request_text *request, uint64_t number)
{
    char digits[20];
    uint32_t size = digits_write(digits, number);
    request_put(request, (struct bytes){digits, size});
}

static int64_t
monotonic_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool
client_wait(struct client *client, uint32_t seconds, const struct answer **ret_answer, char *ret_error)
{
    const struct client_kind *kind = client->kind;
    int64_t end_ms = monotonic_ms() + (int64_t)seconds * 1000;
    for (;;) {
        int result;
        while ((result = kind->next(client, ret_answer)) > 0)
            if (!(*ret_answer)->push)
                return true;
        int written = result < 0 ? -1 : kind->flush(client);
        if (written < 0) {
            snprintf(ret_error, 160, "%s", kind->error(client));
            return false;
        }
        int64_t left_ms = end_ms - monotonic_ms();
        struct pollfd wait = {.fd = kind->fd(client),
                              .events = (short)(written ? POLLIN : POLLIN | POLLOUT)};
        int ready = left_ms > 0 ? poll(&wait, 1, (int)left_ms) : 0;
        if (ready == 0) {
            snprintf(ret_error, 160, "no answer within %u s", seconds);
            return false;
        }
        if (ready > 0 && (wait.revents & ~POLLOUT) != 0 && kind->read(client) < 0) {
            snprintf(ret_error, 160, "%s", kind->error(client));
            return false;
        }
    }
}
