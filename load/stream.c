/*
 * stream.c - a TCP connection that never blocks, with its buffers.
 *
 * Requests gather in the out buffer and leave with one write; answers are read into the in buffer and
 * parsed where they lie: nothing is copied, so what a client hands out is valid until the next read.
 */
#include "load/stream.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE  65536u
#define FIRST_ROOM 4096u

/* Room for so many bytes more behind the end. */
static bool
buffer_grow(struct buffer *buffer, uint32_t more)
{
    if (buffer->room - buffer->end >= more)
        return true;
    uint32_t size = buffer->end - buffer->first;
    if (buffer->first > 0) {
        memmove(buffer->data, buffer->data + buffer->first, size);
        buffer->first = 0;
        buffer->end = size;
    }
    if (buffer->room - size >= more)
        return true;
    uint64_t room = ((uint64_t)size + more) * 2;
    if ((uint64_t)size + more > STREAM_BYTES_MAX)
        return false;
    char *data = realloc(buffer->data, room);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->room = (uint32_t)room;
    return true;
}

int
stream_fail(struct stream *stream, const char *why)
{
    if (stream->error[0] == '\0')
        snprintf(stream->error, sizeof stream->error, "%s", why);
    return -1;
}

/* Waits for a connection under way; 0, or the errno of its failure. */
static int
connected(int fd, uint32_t seconds)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int ready = poll(&wait, 1, (int)seconds * 1000);
    if (ready <= 0)
        return ready == 0 ? ETIMEDOUT : errno;
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

bool
stream_open(struct stream *stream, const struct client_place *place, uint32_t seconds, char *ret_error)
{
    char port[8];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    *stream = (struct stream){.fd = -1};
    snprintf(port, sizeof port, "%u", place->port);
    int looked = getaddrinfo(place->address, port, &hints, &found);
    if (looked != 0) {
        snprintf(ret_error, 160, "%s", gai_strerror(looked));
        return false;
    }
    int error = 0;
    stream->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->fd < 0)
        error = errno;
    else if (connect(stream->fd, found->ai_addr, found->ai_addrlen) != 0)
        error = errno == EINPROGRESS ? connected(stream->fd, seconds) : errno;
    freeaddrinfo(found);
    const int on = 1;
    if (error == 0 && setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        error = errno;
    if (error == 0 && (!buffer_grow(&stream->in, FIRST_ROOM) || !buffer_grow(&stream->out, FIRST_ROOM)))
        error = ENOMEM;
    if (error != 0)
        snprintf(ret_error, 160, "%s", strerror(error));
    return error == 0;
}

void
stream_done(struct stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    free(stream->in.data);
    free(stream->out.data);
    *stream = (struct stream){.fd = -1};
}

void
stream_append(struct stream *stream, struct bytes bytes)
{
    if (!buffer_grow(&stream->out, bytes.size)) {
        (void)stream_fail(stream, "the server does not read its requests"); /* told by the flush */
        return;
    }
    memcpy(stream->out.data + stream->out.end, bytes.data, bytes.size);
    stream->out.end += bytes.size;
}

int
stream_flush(struct stream *stream)
{
    struct buffer *out = &stream->out;
    if (stream->error[0] != '\0')
        return -1;
    while (out->first < out->end) {
        ssize_t written = send(stream->fd, out->data + out->first, out->end - out->first, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno == EAGAIN ? 0 : stream_fail(stream, strerror(errno));
        out->first += (uint32_t)written;
    }
    out->first = out->end = 0;
    return 1;
}

int
stream_read(struct stream *stream)
{
    struct buffer *in = &stream->in;
    if (in->first == in->end)
        in->first = in->end = 0;
    /* A small answer must not cost a large buffer a connection; a large one doubles it as it comes. */
    uint32_t wanted =
        in->room - in->end > FIRST_ROOM / 2 ? in->room - in->end : in->end - in->first + FIRST_ROOM;
    if (wanted > READ_SIZE)
        wanted = READ_SIZE;
    if (!buffer_grow(in, wanted))
        return stream_fail(stream, "an answer is larger than 64 MiB");
    ssize_t size = recv(stream->fd, in->data + in->end, in->room - in->end, 0);
    if (size == 0)
        return stream_fail(stream, "the server has closed the connection");
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : stream_fail(stream, strerror(errno));
    in->end += (uint32_t)size;
    return 0;
}

struct answer_value *
answer_add(struct answer_room *answer, enum answer_kind kind)
{
    if (answer->count == answer->room) {
        uint32_t room = answer->room * 2 + 64;
        struct answer_value *values =
            room <= ANSWER_VALUES_MAX ? realloc(answer->values, room * sizeof *values) : NULL;
        if (values == NULL)
            return NULL;
        answer->values = values;
        answer->room = room;
    }
    struct answer_value *value = &answer->values[answer->count++];
    *value = (struct answer_value){.kind = kind};
    return value;
}
