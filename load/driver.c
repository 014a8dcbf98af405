/*
 * driver.c - one thread of the load: its connections, and who asks when.
 *
 * One turn of the loop:
 *
 *     arrive     open loop: whose time has come stands in the queue of his lane, or is dropped where that
 * is at its bound; requests that were put off come in behind fill       from the queue onto connections
 * that have room, as many as the pipeline allows; closed loop: where the queue is empty, the next buyer
 * comes now flush      what was written leaves, a send a connection; what the socket does not take waits
 *     wait       until something can be read, or the next one is due
 *     answer     in the order of the requests; what follows at once goes out on the same connection
 *
 * Time counts from when a request was due, not from when there was room for it: a server that stands still
 * for a second makes everybody late who came in that second, and the percentiles say so (coordinated
 * omission is what it is called where they do not). The closed loop has no other time than that of the
 * writing, and asks less of a slow server: its percentiles are those of these buyers, not of a crowd.
 *
 * How late this thread itself was is counted apart (tally.lateness): from the time an arrival was due to
 * the turn that took notice of it. What is beyond that is the server's, or the connections' being too few.
 *
 * A connection that breaks takes its requests along: their answers are lost. Where the workload asks again,
 * it is opened again; else the buyers who have not asked yet go by the other connections.
 */
#include "load/driver.h"

#include "load/ask_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE  256
#define NAP_NS          UINT64_C(100000000) /* flags are looked at at least so often */
#define REOPEN_AFTER_NS UINT64_C(100000000)
#define CONNECT_SECONDS 10
#define REOPEN_SECONDS  1

struct connection {
    struct client *client; /* NULL: broken */
    struct ask *ring;      /* of the lane's pipeline */
    uint32_t first;
    uint32_t count;
    uint8_t lane;
    bool waits_to_write; /* EPOLLOUT is asked for */
    bool written;        /* in the list of those to be flushed */
    bool has_room;       /* in the lane's ring of those with room */
};

struct lane_state {
    uint32_t pipeline;
    uint32_t connection_count;
    uint32_t living;
    uint64_t under_way;
    struct ask_queue queue;
    uint32_t *with_room; /* a ring of connections, as long as there are connections */
    uint32_t room_first;
    uint32_t room_count;
};

struct driver {
    struct workload *workload;
    const struct client_kind *client_kind;
    int epoll_fd;

    struct connection *connections;
    uint32_t connection_count;
    struct ask *asks; /* the memory of all rings */
    struct lane_state lanes[LANES];
    uint32_t *written; /* connections to be flushed */
    uint32_t written_count;

    struct ask_heap later;
    uint64_t start_ns;
    uint64_t arrived; /* buyers of this thread so far */
    uint64_t backlog; /* bound of the queue for arrivals */
    uint64_t now_ns;  /* of this turn */
    bool over;        /* the workload has nothing left to ask for */

    uint32_t broken_count; /* connections that broke by themselves */
    uint32_t closed_count; /* of all, those that are closed now */
    uint64_t reopen_ns;
    char broken[160];
    struct request_text request;
};

uint64_t
now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- connections ---- */

/* To be flushed at the end of this turn. */
static void
written_add(struct driver *driver, struct connection *connection)
{
    if (connection->written)
        return;
    connection->written = true;
    driver->written[driver->written_count++] = (uint32_t)(connection - driver->connections);
}

static bool
connection_open(struct driver *driver, struct connection *connection, uint32_t seconds, char *ret_error)
{
    struct client_place place = driver->workload->options->place;
    place.push = connection->lane == LANE_WAIT && driver->workload->kind->push != NULL;
    connection->client = driver->client_kind->open(&place, seconds, ret_error);
    if (connection->client == NULL)
        return false;
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u32 = (uint32_t)(connection - driver->connections)};
    if (epoll_ctl(driver->epoll_fd, EPOLL_CTL_ADD, driver->client_kind->fd(connection->client), &event) !=
        0) {
        snprintf(ret_error, 160, "could not watch a connection: %s", strerror(errno));
        client_free(connection->client);
        connection->client = NULL;
        return false;
    }
    connection->waits_to_write = false;
    driver->lanes[connection->lane].living++;
    written_add(driver, connection); /* what the client says first, a key, goes out */
    return true;
}

static void
room_add(struct driver *driver, struct connection *connection)
{
    struct lane_state *lane = &driver->lanes[connection->lane];
    if (connection->has_room || connection->client == NULL || connection->count == lane->pipeline)
        return;
    assert(lane->room_count < lane->connection_count);
    lane->with_room[(lane->room_first + lane->room_count++) % lane->connection_count] =
        (uint32_t)(connection - driver->connections);
    connection->has_room = true;
}

/* A connection with room, or NULL. Those that broke meanwhile are passed over. */
static struct connection *
room_take(struct driver *driver, struct lane_state *lane)
{
    while (lane->room_count > 0) {
        struct connection *connection = &driver->connections[lane->with_room[lane->room_first]];
        lane->room_first = (lane->room_first + 1) % lane->connection_count;
        lane->room_count--;
        connection->has_room = false;
        if (connection->client != NULL && connection->count < lane->pipeline)
            return connection;
    }
    return NULL;
}

static bool
connections_open(struct driver *driver, uint32_t count, uint32_t wait_count, char *ret_error)
{
    const struct load_options *options = driver->workload->options;
    struct ask *ring = driver->asks;
    for (uint32_t i = 0; i < count; i++) {
        struct connection *connection = &driver->connections[i];
        char error[160];
        connection->lane = i < count - wait_count ? LANE_ASK : LANE_WAIT;
        connection->ring = ring;
        ring += driver->lanes[connection->lane].pipeline;
        driver->connection_count = i + 1;
        if (!connection_open(driver, connection, CONNECT_SECONDS, error)) {
            snprintf(ret_error, 256, "could not connect to %s:%u: %s", options->place.address,
                     options->place.port, error);
            return false;
        }
        room_add(driver, connection);
    }
    return true;
}

struct driver *
driver_open(struct workload *workload, uint32_t connections, uint32_t wait_connections, char *ret_error)
{
    assert(connections > wait_connections);
    const struct load_options *options = workload->options;
    struct driver *driver = calloc(1, sizeof *driver);
    if (driver == NULL) {
        snprintf(ret_error, 256, "out of memory");
        return NULL;
    }
    driver->workload = workload;
    driver->client_kind = workload->kind->client != NULL ? workload->kind->client : options->protocol;
    driver->backlog = options->backlog / options->threads + 1;
    bool alone = options->wait == WAIT_LONG_POLL; /* a connection each: answers come in order */
    driver->lanes[LANE_ASK] = (struct lane_state){.pipeline = options->pipeline,
                                                  .connection_count = connections - wait_connections};
    driver->lanes[LANE_WAIT] = (struct lane_state){.pipeline = alone ? 1 : LOAD_PIPELINE_MAX / 16,
                                                   .connection_count = wait_connections};
    size_t asks = 0;
    bool well = true;
    for (uint32_t i = 0; i < LANES; i++) {
        struct lane_state *lane = &driver->lanes[i];
        asks += (size_t)lane->connection_count * lane->pipeline;
        lane->with_room = calloc(lane->connection_count + 1, sizeof *lane->with_room);
        well = well && lane->with_room != NULL;
    }
    driver->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    driver->connections = calloc(connections, sizeof *driver->connections);
    driver->written = calloc(connections, sizeof *driver->written);
    driver->asks = calloc(asks, sizeof *driver->asks);
    if (!well || driver->epoll_fd < 0 || driver->connections == NULL || driver->written == NULL ||
        driver->asks == NULL) {
        snprintf(ret_error, 256, "could not set up %u connections: %s", connections, strerror(errno));
        driver_free(driver);
        return NULL;
    }
    if (!connections_open(driver, connections, wait_connections, ret_error)) {
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
        client_free(driver->connections[i].client);
    if (driver->epoll_fd >= 0)
        close(driver->epoll_fd);
    for (uint32_t i = 0; i < LANES; i++) {
        free(driver->lanes[i].with_room);
        free(driver->lanes[i].queue.asks);
    }
    free(driver->later.asks);
    free(driver->connections);
    free(driver->written);
    free(driver->asks);
    free(driver);
}

const char *
driver_broken(const struct driver *driver, uint32_t *ret_count)
{
    *ret_count = driver->broken_count;
    return driver->broken;
}

uint32_t
driver_places_free(const struct driver *driver, enum lane lane)
{
    const struct lane_state *state = &driver->lanes[lane];
    uint64_t places = (uint64_t)state->living * state->pipeline;
    uint64_t taken = state->under_way + state->queue.count;
    return taken < places ? (uint32_t)(places - taken) : 0;
}

/* Gives up what is under way on a connection, and the connection. */
static void
connection_close(struct driver *driver, struct connection *connection)
{
    struct lane_state *lane = &driver->lanes[connection->lane];
    client_free(connection->client); /* closing takes it out of the epoll set */
    connection->client = NULL;
    lane->living--;
    driver->closed_count++;
    driver->reopen_ns = driver->now_ns + REOPEN_AFTER_NS;
    for (; connection->count > 0; connection->count--) {
        struct ask ask = connection->ring[connection->first];
        connection->first = (connection->first + 1) % lane->pipeline;
        lane->under_way--;
        if (!driver->over || connection->lane == LANE_ASK)
            driver->workload->kind->lost(driver->workload, &ask);
    }
    if (connection->lane == LANE_WAIT && driver->workload->kind->unwatched != NULL)
        driver->workload->kind->unwatched(driver->workload);
}

static void
connection_break(struct driver *driver, struct connection *connection)
{
    if (driver->broken_count++ == 0)
        snprintf(driver->broken, sizeof driver->broken, "%s",
                 driver->client_kind->error(connection->client));
    connection_close(driver, connection);
}

/* Those that are closed, where the workload asks again. A server that is not there yet costs a refusal. */
static void
connections_reopen(struct driver *driver)
{
    if (driver->closed_count == 0 || !driver->workload->kind->retries || driver->over ||
        driver->now_ns < driver->reopen_ns)
        return;
    driver->reopen_ns = driver->now_ns + REOPEN_AFTER_NS;
    for (uint32_t i = 0; i < driver->connection_count && driver->closed_count > 0; i++) {
        char error[160];
        if (driver->connections[i].client != NULL)
            continue;
        if (!connection_open(driver, &driver->connections[i], REOPEN_SECONDS, error))
            return;
        driver->closed_count--;
        room_add(driver, &driver->connections[i]);
    }
}

/* ---- asking ---- */

static void
connection_ask(struct driver *driver, struct connection *connection, const struct ask *ask,
               uint64_t sent_ns)
{
    struct workload *workload = driver->workload;
    struct lane_state *lane = &driver->lanes[connection->lane];
    assert(connection->count < lane->pipeline);
    workload->kind->write(workload, ask, &driver->request);
    driver->client_kind->append(connection->client, &driver->request);
    struct ask *place = &connection->ring[(connection->first + connection->count) % lane->pipeline];
    *place = *ask;
    place->sent_ns = sent_ns;
    connection->count++;
    lane->under_way++;
    if (ask->kind == ASK_BUY)
        tally_add(&workload->tally->asked, 1);
    written_add(driver, connection);
}

static bool
is_over(const struct driver *driver)
{
    return driver->over || atomic_load_explicit(driver->workload->stopping, memory_order_relaxed);
}

void
driver_later(struct driver *driver, const struct ask *ask)
{
    if (is_over(driver))
        return;
    if (ask->due_ns > driver->now_ns) {
        ask_heap_put(&driver->later, ask);
        return;
    }
    struct ask now = *ask;
    if (now.due_ns == 0)
        now.due_ns = driver->now_ns;
    ask_queue_put(&driver->lanes[now.lane].queue, &now);
}

/* The number of this thread's next buyer; false where there is none. */
static bool
next_buyer(const struct driver *driver, uint64_t *ret_buyer)
{
    const struct load_options *options = driver->workload->options;
    uint64_t buyer = driver->arrived * options->threads + driver->workload->thread;
    *ret_buyer = buyer;
    return buyer < options->buyers && !is_over(driver);
}

/* When the next arrival of the schedule is due; SCHEDULE_NEVER where there is none, or no schedule. */
static uint64_t
next_arrival_ns(const struct driver *driver)
{
    uint64_t buyer;
    if (!driver->workload->options->open_loop || !next_buyer(driver, &buyer))
        return SCHEDULE_NEVER;
    uint64_t due_ns = schedule_due_ns(&driver->workload->options->schedule, buyer);
    return due_ns == SCHEDULE_NEVER ? SCHEDULE_NEVER : driver->start_ns + due_ns;
}

static struct ask
arrive(struct driver *driver, uint64_t due_ns)
{
    const struct load_options *options = driver->workload->options;
    uint64_t buyer = driver->arrived++ * options->threads + driver->workload->thread;
    struct ask ask = {.due_ns = due_ns, .buyer = (uint32_t)buyer, .tries = 1};
    tally_add(&driver->workload->tally->arrived, 1);
    driver->workload->kind->arrive(driver->workload, &ask);
    return ask;
}

/* Everybody whose time has come. */
static void
arrivals_take(struct driver *driver)
{
    struct tally *tally = driver->workload->tally;
    struct ask_queue *queue = &driver->lanes[LANE_ASK].queue;
    uint64_t due_ns;
    while ((due_ns = next_arrival_ns(driver)) <= driver->now_ns) {
        histogram_add(&tally->lateness, driver->now_ns - due_ns);
        if (queue->count >= driver->backlog) {
            driver->arrived++;
            tally_add(&tally->arrived, 1);
            tally_add(&tally->dropped, 1);
            continue;
        }
        struct ask ask = arrive(driver, due_ns);
        ask_queue_put(queue, &ask);
    }
    while (ask_heap_due_ns(&driver->later) <= driver->now_ns) {
        struct ask ask = ask_heap_take(&driver->later);
        ask_queue_put(&driver->lanes[ask.lane].queue, &ask);
    }
}

/* From the queue onto connections with room; in a closed loop new buyers behind them. */
static void
lane_fill(struct driver *driver, enum lane number)
{
    struct lane_state *lane = &driver->lanes[number];
    bool closed = number == LANE_ASK && !driver->workload->options->open_loop;
    struct connection *connection;
    uint64_t buyer;
    while ((lane->queue.count > 0 || (closed && next_buyer(driver, &buyer))) &&
           (connection = room_take(driver, lane)) != NULL) {
        while (connection->count < lane->pipeline && lane->queue.count > 0) {
            struct ask ask = ask_queue_take(&lane->queue);
            connection_ask(driver, connection, &ask, driver->now_ns);
        }
        while (closed && connection->count < lane->pipeline && next_buyer(driver, &buyer)) {
            struct ask ask = arrive(driver, driver->now_ns);
            connection_ask(driver, connection, &ask, driver->now_ns);
        }
        room_add(driver, connection);
    }
    if (number == LANE_ASK && lane->queue.count > driver->workload->tally->queued_max)
        driver->workload->tally->queued_max = lane->queue.count;
}

static void
connection_flush(struct driver *driver, struct connection *connection)
{
    if (connection->client == NULL)
        return;
    int written = driver->client_kind->flush(connection->client);
    if (written < 0) {
        connection_break(driver, connection);
        return;
    }
    bool waits = written == 0;
    if (waits == connection->waits_to_write)
        return;
    struct epoll_event event = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.u32 = (uint32_t)(connection - driver->connections)};
    if (epoll_ctl(driver->epoll_fd, EPOLL_CTL_MOD, driver->client_kind->fd(connection->client), &event) !=
        0) {
        connection_break(driver, connection);
        return;
    }
    connection->waits_to_write = waits;
}

static void
connections_flush(struct driver *driver)
{
    for (uint32_t i = 0; i < driver->written_count; i++) {
        struct connection *connection = &driver->connections[driver->written[i]];
        connection->written = false;
        connection_flush(driver, connection);
    }
    driver->written_count = 0;
}

/* ---- answers ---- */

static void
answer_take(struct driver *driver, struct connection *connection, const struct answer *answer,
            uint64_t read_ns)
{
    struct workload *workload = driver->workload;
    struct lane_state *lane = &driver->lanes[connection->lane];
    struct tally *tally = workload->tally;
    struct ask ask = connection->ring[connection->first];
    connection->first = (connection->first + 1) % lane->pipeline;
    connection->count--;
    lane->under_way--;
    tally_add(&tally->answered, 1);
    histogram_add(&tally->latency[ask.kind], read_ns - ask.due_ns);
    if (ask.kind == ASK_BUY)
        histogram_add(&tally->service, read_ns - ask.sent_ns);
    uint64_t held = atomic_load_explicit(&tally->held, memory_order_relaxed);
    struct ask next;
    if (workload->kind->answer(workload, &ask, answer, &next)) {
        next.due_ns = read_ns;
        connection_ask(driver, connection, &next, read_ns);
    }
    if (atomic_load_explicit(&tally->held, memory_order_relaxed) != held)
        tally->held_last_ns = read_ns;
}

/* Every answer that has come. False: what came is not understood, or answers nothing. */
static bool
answers_take(struct driver *driver, struct connection *connection)
{
    const struct answer *answer;
    int result;
    driver->now_ns = now_ns();
    while ((result = driver->client_kind->next(connection->client, &answer)) > 0) {
        if (answer->push) {
            if (driver->workload->kind->push == NULL)
                return false;
            driver->workload->kind->push(driver->workload, answer);
            continue;
        }
        if (connection->count == 0)
            return false;
        answer_take(driver, connection, answer, driver->now_ns);
    }
    return result == 0;
}

static void
connection_serve(struct driver *driver, struct connection *connection, uint32_t events)
{
    double cut_share = driver->workload->options->cut_share;
    if (connection->client == NULL)
        return;
    if ((events & ~(uint32_t)EPOLLOUT) != 0) {
        if (cut_share > 0 && connection->lane == LANE_ASK && connection->count > 0 &&
            random_share(&driver->workload->random) < cut_share) {
            connection_close(driver, connection);
            return;
        }
        if (driver->client_kind->read(connection->client) < 0 || !answers_take(driver, connection)) {
            connection_break(driver, connection);
            return;
        }
    }
    written_add(driver, connection); /* also what a client of several round trips has to say by itself */
    room_add(driver, connection);
}

/* ---- the loop ---- */

/* Whether anything is still to be asked or answered. */
static bool
is_busy(const struct driver *driver)
{
    const struct lane_state *asks = &driver->lanes[LANE_ASK], *waits = &driver->lanes[LANE_WAIT];
    uint64_t buyer;
    if (driver->over)
        return asks->under_way > 0;
    if (asks->under_way > 0)
        return true;
    if (asks->living == 0 && !driver->workload->kind->retries)
        return false;
    if (asks->queue.count > 0 || next_buyer(driver, &buyer))
        return driver->workload->options->open_loop || asks->queue.count > 0 || asks->living > 0;
    if (is_over(driver))
        return false; /* whoever waits for something does so no longer */
    return waits->under_way > 0 || waits->queue.count > 0 || driver->later.count > 0 ||
           driver->workload->expecting > 0;
}

static void
wait_for_events(struct driver *driver)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t next_ns = next_arrival_ns(driver);
    uint64_t later_ns = ask_heap_due_ns(&driver->later);
    if (later_ns < next_ns)
        next_ns = later_ns;
    uint64_t now = now_ns();
    uint64_t nap_ns = next_ns <= now ? 0 : next_ns - now;
    if (nap_ns > NAP_NS)
        nap_ns = NAP_NS;
    const struct timespec nap = {.tv_nsec = (long)nap_ns};
    int count = epoll_pwait2(driver->epoll_fd, events, EVENTS_AT_ONCE, &nap, NULL);
    assert(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++)
        connection_serve(driver, &driver->connections[events[i].data.u32], events[i].events);
}

void
driver_run(struct driver *driver, uint64_t start_ns, const atomic_bool *giving_up)
{
    struct workload *workload = driver->workload;
    (void)prctl(PR_SET_TIMERSLACK, 1); /* else arrivals would be noticed 50 us late; it cannot fail */
    driver->start_ns = start_ns;
    driver->now_ns = now_ns();
    connections_flush(driver);
    while (is_busy(driver) && !atomic_load_explicit(giving_up, memory_order_relaxed)) {
        driver->now_ns = now_ns();
        driver->over = atomic_load_explicit(workload->finished, memory_order_relaxed);
        if (driver->over)
            driver->lanes[LANE_ASK].queue.count = driver->lanes[LANE_WAIT].queue.count = 0;
        connections_reopen(driver);
        arrivals_take(driver);
        for (uint32_t lane = 0; lane < LANES; lane++)
            lane_fill(driver, lane);
        connections_flush(driver);
        wait_for_events(driver);
    }
    driver->over = true;
    for (uint32_t i = 0; i < driver->connection_count; i++)
        if (driver->connections[i].client != NULL && driver->connections[i].count > 0)
            connection_close(driver, &driver->connections[i]);
}
