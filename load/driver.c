/*
 * driver.c - one thread of the load: its connections, in a closed loop.
 *
 *     fill       as many requests as the pipeline allows, from the workload, into each connection's buffer
 *     flush      what the socket takes; the rest waits for EPOLLOUT
 *     read       once for each readable connection; its answers come in the order of its requests
 *     answer     latency from the request's writing to this read; the workload says what follows
 *
 * A connection's requests under way are a ring: RESP answers in order, so the oldest is always the one
 * answered. An answer's follow-up (a confirm, another try) takes the place that the answer has just freed,
 * so the ring is never over-full. A connection that breaks takes its requests along: their answers are
 * lost, and the audit counts with either outcome; the buyers who have not asked yet go by the other
 * connections.
 */
#include "load/driver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct connection {
    struct resp_client *client; /* NULL: broken */
    struct ask *ring;           /* pipeline asks */
    uint32_t first;
    uint32_t count;
    bool waits_for_room; /* EPOLLOUT is asked for */
};

struct driver {
    struct workload *workload;
    uint32_t pipeline;
    int epoll_fd;

    struct connection *connections;
    uint32_t connection_count;
    struct ask *asks; /* the memory of all rings */
    uint64_t under_way;
    uint32_t broken_count;
    char broken[160];
    struct request_text request;
};

#define EVENTS_AT_ONCE 256

uint64_t
now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool
connections_open(struct driver *driver, uint32_t count, char *ret_error)
{
    const struct load_options *options = driver->workload->options;
    for (uint32_t i = 0; i < count; i++) {
        struct connection *connection = &driver->connections[i];
        char error[160];
        connection->ring = driver->asks + (size_t)i * driver->pipeline;
        connection->client = resp_client_open(options->address, options->port, 10, error);
        if (connection->client == NULL) {
            snprintf(ret_error, 256, "could not connect to %s:%u: %s", options->address, options->port,
                     error);
            return false;
        }
        driver->connection_count = i + 1;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(driver->epoll_fd, EPOLL_CTL_ADD, resp_client_fd(connection->client), &event) != 0) {
            snprintf(ret_error, 256, "could not watch a connection: %s", strerror(errno));
            return false;
        }
    }
    return true;
}

struct driver *
driver_open(struct workload *workload, uint32_t connections, char *ret_error)
{
    assert(connections > 0);
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        snprintf(ret_error, 256, "out of memory");
        return NULL;
    }
    driver->workload = workload;
    driver->pipeline = workload->options->pipeline;
    driver->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    driver->connections = calloc(connections, sizeof *driver->connections);
    driver->asks = calloc((size_t)connections * driver->pipeline, sizeof *driver->asks);
    if (driver->epoll_fd < 0 || driver->connections == NULL || driver->asks == NULL) {
        snprintf(ret_error, 256, "could not set up %u connections: %s", connections, strerror(errno));
        driver_free(driver);
        return NULL;
    }
    if (!connections_open(driver, connections, ret_error)) {
        driver_free(driver);
        return NULL;
    }
    return driver;
}

void
driver_free(struct driver *driver)
{
    if (driver == NULL)
        return;
    for (uint32_t i = 0; i < driver->connection_count; i++)
        resp_client_free(driver->connections[i].client);
    if (driver->epoll_fd >= 0)
        close(driver->epoll_fd);
    free(driver->connections);
    free(driver->asks);
    free(driver);
}

const char *
driver_broken(const struct driver *driver, uint32_t *ret_count)
{
    *ret_count = driver->broken_count;
    return driver->broken;
}

/* Gives up what is under way on a connection. */
static void
connection_lose(struct driver *driver, struct connection *connection)
{
    for (; connection->count > 0; connection->count--) {
        workload_lost(driver->workload, &connection->ring[connection->first]);
        connection->first = (connection->first + 1) % driver->pipeline;
        driver->under_way--;
    }
}

static void
connection_break(struct driver *driver, struct connection *connection)
{
    if (driver->broken_count++ == 0)
        snprintf(driver->broken, sizeof driver->broken, "%s", resp_client_error(connection->client));
    connection_lose(driver, connection);
    resp_client_free(connection->client); /* closing takes it out of the epoll set */
    connection->client = NULL;
}

static void
connection_ask(struct driver *driver, struct connection *connection, const struct ask *ask,
               uint64_t sent_ns)
{
    assert(connection->count < driver->pipeline);
    workload_write(driver->workload, ask, &driver->request);
    resp_client_append(connection->client, &driver->request);
    struct ask *place = &connection->ring[(connection->first + connection->count) % driver->pipeline];
    *place = *ask;
    place->sent_ns = sent_ns;
    connection->count++;
    driver->under_way++;
    if (ask->kind != ASK_CONFIRM)
        driver->workload->tally->asked++;
}

/* As many new buyers as the pipeline has room for; then everything leaves. */
static void
connection_fill(struct driver *driver, struct connection *connection)
{
    struct ask ask;
    uint64_t sent_ns = now_ns();
    while (connection->count < driver->pipeline && workload_next(driver->workload, &ask))
        connection_ask(driver, connection, &ask, sent_ns);
    int written = resp_client_flush(connection->client);
    if (written < 0) {
        connection_break(driver, connection);
        return;
    }
    bool waits = written == 0;
    if (waits == connection->waits_for_room)
        return;
    struct epoll_event event = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.u32 = (uint32_t)(connection - driver->connections)};
    if (epoll_ctl(driver->epoll_fd, EPOLL_CTL_MOD, resp_client_fd(connection->client), &event) != 0) {
        connection_break(driver, connection);
        return;
    }
    connection->waits_for_room = waits;
}

/* Every answer that has come. False: what came is not RESP, or answers nothing. */
static bool
answers_take(struct driver *driver, struct connection *connection)
{
    uint64_t read_ns = now_ns();
    const struct answer *answer;
    int result;
    while ((result = resp_client_next(connection->client, &answer)) > 0) {
        if (connection->count == 0)
            return false;
        struct ask ask = connection->ring[connection->first];
        connection->first = (connection->first + 1) % driver->pipeline;
        connection->count--;
        driver->under_way--;
        if (ask.kind != ASK_CONFIRM)
            histogram_add(&driver->workload->tally->latency, read_ns - ask.sent_ns);
        struct ask next;
        uint64_t held = driver->workload->tally->held;
        if (workload_answer(driver->workload, &ask, answer, &next))
            connection_ask(driver, connection, &next, read_ns);
        if (driver->workload->tally->held != held)
            driver->workload->tally->held_last_ns = read_ns;
    }
    return result == 0;
}

static void
connection_serve(struct driver *driver, struct connection *connection, uint32_t events)
{
    if (connection->client == NULL)
        return;
    if ((events & ~(uint32_t)EPOLLOUT) != 0 &&
        (resp_client_read(connection->client) < 0 || !answers_take(driver, connection))) {
        connection_break(driver, connection);
        return;
    }
    connection_fill(driver, connection);
}

void
driver_run(struct driver *driver, const atomic_bool *giving_up)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    for (uint32_t i = 0; i < driver->connection_count; i++)
        connection_fill(driver, &driver->connections[i]);
    while (driver->under_way > 0 && !atomic_load_explicit(giving_up, memory_order_relaxed)) {
        int count = epoll_wait(driver->epoll_fd, events, EVENTS_AT_ONCE, 100);
        assert(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++)
            connection_serve(driver, &driver->connections[events[i].data.u32], events[i].events);
    }
    for (uint32_t i = 0; i < driver->connection_count; i++)
        connection_lose(driver, &driver->connections[i]);
}
