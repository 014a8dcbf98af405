/*
 * persist_status.c - GET /metrics and /healthz of the persister.
 *
 * One thread, one connection at a time: who asks is a scraper and a probe. Bounds: a request of 4 KiB
 * within two seconds, one answer, then the connection is closed; others wait in the kernel's queue of 16.
 */
#include "net/persist_status.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REQUEST_SIZE_MAX 4096
#define BODY_SIZE_MAX    32768
#define BACKLOG          16
#define LOOK_MS          200

struct persist_status {
    struct persister *persister;
    int listener;
    pthread_t thread;
    atomic_bool ending;
    char body[BODY_SIZE_MAX];
};

static void
send_all(int connection, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(connection, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* gone, or too slow: nothing is owed to it */
        data += sent;
        size -= (size_t)sent;
    }
}

static void
answer(int connection, const char *status, const char *type, const char *extra, const char *body,
       size_t size)
{
    char head[256];
    int head_size =
        snprintf(head, sizeof head,
                 "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
                 status, type, size, extra);
    assert(head_size > 0 && (size_t)head_size < sizeof head);
    send_all(connection, head, (size_t)head_size);
    send_all(connection, body, size);
}

/* Is the request for this path? A query behind it is allowed. */
static bool
asks_for(const char *target, const char *path)
{
    size_t size = strlen(path);
    return strncmp(target, path, size) == 0 && (target[size] == ' ' || target[size] == '?');
}

static void
serve_request(struct persist_status *status, int connection, const char *request)
{
    static const char text[] = "text/plain; charset=utf-8";
    if (strncmp(request, "GET ", 4) != 0) {
        answer(connection, "405 Method Not Allowed", text, "Allow: GET\r\n", "only GET\n", 9);
    } else if (asks_for(request + 4, "/metrics")) {
        size_t size = persister_metrics(status->persister, status->body, sizeof status->body);
        answer(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8", "", status->body, size);
    } else if (asks_for(request + 4, "/healthz")) {
        bool healthy = persister_healthy(status->persister, status->body, 256);
        answer(connection, healthy ? "200 OK" : "503 Service Unavailable", text, "", status->body,
               strlen(status->body));
    } else {
        answer(connection, "404 Not Found", text, "", "/metrics or /healthz\n", 21);
    }
}

static void
serve_connection(struct persist_status *status, int connection)
{
    char request[REQUEST_SIZE_MAX + 1];
    size_t size = 0;
    const struct timeval patience = {.tv_sec = 2};
    (void)setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience,
                     sizeof patience); /* without them it is only */
    (void)setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* more patient */
    while (size < REQUEST_SIZE_MAX) {
        ssize_t got = recv(connection, request + size, REQUEST_SIZE_MAX - size, 0);
        if (got <= 0)
            return;
        size += (size_t)got;
        request[size] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) {
            serve_request(status, connection, request);
            return;
        }
    }
}

static void *
run(void *argument)
{
    struct persist_status *status = argument;
    struct pollfd wait = {.fd = status->listener, .events = POLLIN};
    while (!atomic_load_explicit(&status->ending, memory_order_acquire)) {
        if (poll(&wait, 1, LOOK_MS) <= 0)
            continue;
        int connection = accept4(status->listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue; /* it has gone again; where descriptors are short the next look comes with the next
                         poll */
        serve_connection(status, connection);
        (void)close(connection); /* all that was owed is sent */
    }
    return NULL;
}

int
persist_status_open(struct persist_status **ret_status, struct persister *persister,
                    struct listen_address *address)
{
    struct persist_status *status = calloc(1, sizeof *status);
    const int on = 1;
    if (status == NULL)
        return -ENOMEM;
    status->persister = persister;
    status->listener = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = status->listener < 0 ? -errno : 0;
    if (result == 0)
        (void)setsockopt(status->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* bind() will say */
    if (result == 0 && (bind(status->listener, (struct sockaddr *)&address->address, address->size) != 0 ||
                        listen(status->listener, BACKLOG) != 0))
        result = -errno;
    address->size = sizeof address->address;
    if (result == 0 &&
        getsockname(status->listener, (struct sockaddr *)&address->address, &address->size) != 0)
        result = -errno;
    if (result == 0)
        result = -pthread_create(&status->thread, NULL, run, status);
    if (result != 0) {
        if (status->listener >= 0)
            (void)close(status->listener); /* nobody was heard */
        free(status);
        return result;
    }
    *ret_status = status;
    return 0;
}

void
persist_status_close(struct persist_status *status)
{
    if (status == NULL)
        return;
    atomic_store_explicit(&status->ending, true, memory_order_release);
    (void)pthread_join(status->thread, NULL); /* started by us, joined once */
    (void)close(status->listener);
    free(status);
}
