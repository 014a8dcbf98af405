/*
 * loop.c - the tick of one shard.
 *
 *     wait     for completions, a message's bell, or the next deadline
 *     reap     completions: new connections, received bytes, sent bytes     -> conn.c, request.c
 *              received bytes become commands, applied at once              -> shard_command()
 *              a batch, where half of the last one's records have come      -> loop_journal.c
 *     resume   connections that had to stop                                 -> request.c
 *     drain    mailboxes of the other shards, bounded                       -> shard_message()
 *     expire   what is due, bounded                                         -> shard_expire()
 *     unwatch  what nobody watches any more, bounded                        -> watch.c
 *     journal  the next batch, the next slice of a snapshot                 -> loop_journal.c
 *     settle   send, receive, close                                         -> conn.c
 *     ring the bells of shards that got messages
 *
 * The order is that of core/shard.h. Replies may come in any of these steps; they leave in `settle`, one
 * send for each connection, submitted by the next wait, so a tick is one system call, or two with an early
 * batch.
 *
 * Nothing is lost at a bound (R7): a mailbox that is full makes send() say no and the core keeps the
 * message; a drain that stops early makes the next wait not wait.
 *
 * Stopping: the listeners close, connections take no further request; when the last one has gone, or
 * net.stop_seconds are over, this shard is drained. It goes on ticking until server.c says that it is
 * finished (all shards are drained, and a snapshot is written), and until its records are on disk.
 */
#include "net/loop_internal.h"

#include "persist/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define MESSAGES_PER_DRAIN 1024 /* from one mailbox in one tick */
#define WAIT_MS_MAX        100u /* deadlines of connections are looked at this often */
#define ACCEPT_LOG_MS      1000u
#define PUBLISH_MS         10u
#define REAP_ROUNDS        128u /* of completions, before the rest of the tick has its turn */

uint64_t
loop_clock_ns(void)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(result == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t
server_ms(const struct server *server, uint64_t clock_ns)
{
    return (uint64_t)((int64_t)(clock_ns / 1000000u) + server->clock_offset_ms);
}

uint64_t
server_now_ms(const struct server *server)
{
    return server_ms(server, loop_clock_ns());
}

/* ---- opening ---- */

static void *
reserve(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* host->send */
static bool
send_message(void *context, uint32_t to, const void *message, uint32_t size)
{
    struct loop *loop = context;
    struct mailbox *mailbox = loop->server->mailboxes[loop->index][to];
    assert(mailbox != NULL);
    loop->bells |= 1ull << to;
    bool sent = mailbox_send(mailbox, message, size);
    loop->figures.value[METRIC_MAILBOX_FULL] += !sent;
    return sent;
}

static int
open_shard(struct loop *loop)
{
    const struct settings *settings = loop->server->settings;
    struct shard_settings shard_settings = {
        .shard_index = loop->index,
        .shard_count = loop->server->shard_count,
        .route_seed = loop->server->route_seed,
        .holds_max = (uint32_t)settings->holds_max,
        .holds_expected = (uint32_t)settings->holds_expected,
        .users_max = (uint32_t)settings->users_max,
        .events_max = (uint32_t)settings->events_max,
        .tokens_max = (uint32_t)settings->tokens_max,
        .watchers_max = (uint32_t)settings->watchers_max,
        .operations_max = (uint32_t)settings->operations_max,
        .seats_max = settings->seats_max,
        .event_bytes_max = settings->event_bytes_max,
        .key_bytes_max = settings->key_bytes_max,
        .batch_bytes_max = settings->batch_bytes_max,
        .ended_ms = settings->ended_seconds * 1000,
        .key_ms = settings->key_seconds * 1000,
        .expire_batch = (uint32_t)settings->expire_batch,
    };
    struct shard_host host = {
        .context = loop, .send = send_message, .reply = requests_reply, .push = watch_pushed};
    if (getrandom(&shard_settings.id_seed, sizeof shard_settings.id_seed, 0) !=
            sizeof shard_settings.id_seed ||
        getrandom(loop->random, sizeof loop->random, 0) != sizeof loop->random)
        return -EIO;
    loop->shard_memory_size = shard_size(&shard_settings);
    loop->shard_memory = reserve(loop->shard_memory_size);
    if (loop->shard_memory == NULL)
        return -ENOMEM;
    /* A hold touches places far apart: with pages of 4 KiB each of them costs a walk through the page
     * tables, too, twice as long in a virtual machine. Only advice: where it is refused, all works the
     * same. */
    (void)madvise(loop->shard_memory, loop->shard_memory_size, MADV_HUGEPAGE);
    loop->shard = shard_open(loop->shard_memory, &shard_settings, &host, loop->now_ms);
    return 0;
}

static size_t
share(uint64_t bytes, uint32_t shard_count)
{
    size_t size = (size_t)(bytes / shard_count);
    return size < 4096 ? 4096 : size;
}

static int
open_memory(struct loop *loop)
{
    const struct settings *settings = loop->server->settings;
    uint32_t shards = loop->server->shard_count;
    loop->conns_max = loop->server->connections_max + CONNECTIONS_REFUSED_MAX;
    loop->pendings_max = (uint32_t)settings->requests_max;
    loop->conns = reserve(sizeof(struct conn) * loop->conns_max);
    loop->pendings = reserve(sizeof(struct pending) * loop->pendings_max);
    uint64_t half = settings->requests_max < settings->operations_max ? settings->requests_max
                                                                      : settings->operations_max;
    loop->poll_max = (uint32_t)half / 2; /* the rest is for requests that end soon */
    loop->event_memories = reserve(sizeof(struct event_memory) * EVENT_MEMORIES_MAX);
    if (loop->conns == NULL || loop->pendings == NULL || loop->event_memories == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < EVENT_MEMORIES_MAX; i++) {
        loop->event_memories[i].next_free = loop->event_memory_free;
        loop->event_memory_free = &loop->event_memories[i];
    }
    int result = watches_open(loop);
    if (result == 0)
        result = buffers_open(&loop->inputs, share(settings->input_bytes_max, shards));
    if (result == 0)
        result = buffers_open(&loop->outputs, share(settings->replies_bytes_max, shards));
    return result;
}

static void
configure(struct loop *loop)
{
    const struct settings *settings = loop->server->settings;
    loop->limits = (struct codec_limits){settings->request_bytes_max, settings->head_bytes_max};
    loop->timer_ms[TIMER_REQUEST] = settings->request_seconds * 1000;
    loop->timer_ms[TIMER_WRITE] = settings->write_seconds * 1000;
    loop->timer_ms[TIMER_LINGER] = LINGER_MS;
    loop->output_bytes_max = settings->output_bytes_max;
    loop->pipeline_max = (uint32_t)settings->pipeline_max;
    loop->conn_free = NONE;
    loop->pending_free = NONE;
    loop->current = NONE;
    loop->ready = (struct conn_list){NONE, NONE};
    loop->touched = (struct conn_list){NONE, NONE};
    for (enum timer timer = 0; timer < TIMER_COUNT; timer++)
        loop->timers[timer] = (struct conn_list){NONE, NONE};
    loop->now_ms = server_now_ms(loop->server);
}

int
loop_open(struct loop **ret_loop, struct server *server, uint32_t shard_index, char *ret_cause,
          size_t cause_size)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        (void)snprintf(ret_cause, cause_size, "no memory for a shard"); /* short */
        return -ENOMEM;
    }
    loop->server = server;
    loop->index = shard_index;
    configure(loop);
    struct ring_settings ring_settings = {
        .entries = (uint32_t)server->settings->ring_entries,
        .buffers = (uint32_t)server->settings->buffers,
        .buffer_bytes = (uint32_t)server->settings->buffer_bytes,
    };
    int result = ring_open(&loop->ring, &ring_settings, ret_cause, cause_size);
    if (result == 0) {
        result = open_memory(loop);
        if (result == 0)
            result = open_shard(loop);
        if (result == 0 && guard_open(loop) != 0)
            result = -ENOMEM;
        if (result != 0)
            (void)snprintf(ret_cause, cause_size,
                           "could not reserve memory for shard %u (%s): lower core.holds_max, "
                           "core.seats_max and the like, "
                           "or allow overcommit (sysctl vm.overcommit_memory=0 or 1)",
                           shard_index, strerror(-result)); /* cut where too long */
    }
    if (result != 0) {
        loop_close(loop);
        return result;
    }
    *ret_loop = loop;
    return 0;
}

static void
release(void *memory, size_t size)
{
    if (memory != NULL)
        (void)munmap(memory, size); /* mapped so by reserve() */
}

int
loop_begin(struct loop *loop, int file, uint32_t header_crc)
{
    int result = loop_journal_open(loop, file, header_crc);
    if (result == 0) {
        loop_publish(loop); /* what was recovered is seen from the first look on */
        loop_look_warm(loop);
    }
    return result;
}

void
loop_warm(struct loop *loop)
{
    struct shard_growth growth[SHARD_GROWTH_MAX];
    if (loop->server->settings->holds_expected > 0)
        warm_now(growth, shard_growth(loop->shard, growth));
}

struct shard *
loop_shard(struct loop *loop)
{
    return loop->shard;
}

void
loop_close(struct loop *loop)
{
    if (loop->ring != NULL)
        ring_close(loop->ring);
    for (uint32_t i = 0; i < loop->conns_used; i++)
        if (loop->conns[i].fd >= 0)
            (void)close(loop->conns[i].fd); /* the time to answer is over */
    loop_journal_close(loop);
    guard_close(loop);
    buffers_done(&loop->inputs);
    buffers_done(&loop->outputs);
    release(loop->conns, sizeof(struct conn) * loop->conns_max);
    release(loop->pendings, sizeof(struct pending) * loop->pendings_max);
    release(loop->event_memories, sizeof(struct event_memory) * EVENT_MEMORIES_MAX);
    release(loop->watches.memory, loop->watches.memory_size);
    release(loop->shard_memory, loop->shard_memory_size);
    free(loop);
}

/* ---- the steps of a tick ---- */

static void
arm_accepts(struct loop *loop)
{
    for (enum protocol p = 0; p < PROTOCOL_COUNT; p++) {
        int fd = loop->server->listeners[loop->index][p];
        if (fd >= 0 && !loop->accepting[p]) {
            loop->accepting[p] = true;
            ring_accept(loop->ring, fd, (struct ring_target){p, 0});
        }
    }
}

static void
arm_wake(struct loop *loop)
{
    ring_wake_on(loop->ring, loop->server->bells[loop->index].fd, &loop->wake_counter,
                 (struct ring_target){0, 0});
}

static void
accepted(struct loop *loop, const struct ring_completion *completion)
{
    enum protocol protocol = completion->target.slot;
    if (!completion->more)
        loop->accepting[protocol] = false; /* armed again with the next look at the deadlines */
    if (completion->result < 0) {
        bool news = loop->now_ms - loop->accept_logged_ms >= ACCEPT_LOG_MS;
        if (completion->result != -ECANCELED && loop->stop_deadline_ms == 0 && news) {
            loop->accept_logged_ms = loop->now_ms;
            log_warning("could not accept a connection on shard %u: %s", loop->index,
                        strerror(-completion->result));
        }
    } else if (loop->stop_deadline_ms != 0) {
        (void)close(completion->result); /* accepted while we stopped: nothing was taken from it */
    } else {
        conn_open(loop, protocol, completion->result);
    }
}

static bool
current_target(const struct loop *loop, struct ring_target target)
{
    return target.slot < loop->conns_used && loop->conns[target.slot].fd >= 0 &&
           loop->conns[target.slot].generation == target.generation;
}

/* The one place where completions go their ways. */
static void
dispatch(struct loop *loop, const struct ring_completion *completion)
{
    struct ring_target target = completion->target;
    switch (completion->operation) {
    case RING_ACCEPT:
        accepted(loop, completion);
        break;
    case RING_RECEIVE:
        if (current_target(loop, target))
            conn_received(loop, target.slot, completion);
        if (completion->buffer >= 0)
            ring_buffer_return(loop->ring, completion->buffer);
        break;
    case RING_SEND:
        if (current_target(loop, target))
            conn_sent(loop, target.slot, completion->result);
        break;
    case RING_WAKE:
        arm_wake(loop);
        break;
    case RING_WRITE:
        loop_journal_written(loop, completion->result);
        break;
    case RING_CANCEL:
        if (current_target(loop, target)) {
            /* found nothing: what it was for has ended by itself, or was not armed yet: decided anew */
            if (completion->result != 0)
                loop->conns[target.slot].cancelling = false;
            conn_touch(loop, target.slot);
        }
        break;
    }
}

/*
 * Now, for what is decided from here on. A request must not be decided by a clock that is behind the moment
 * at which it was sent, or a thread that was kept from running in the middle of a tick would confirm a hold
 * behind its deadline (R8). So it is read again wherever something new comes in: behind the wait, behind
 * every further look for completions, and behind the look at the mailboxes.
 */
static uint64_t
read_clock(struct loop *loop)
{
    uint64_t clock_ns = loop_clock_ns();
    loop->now_ms = server_ms(loop->server, clock_ns);
    shard_time(loop->shard, loop->now_ms);
    return clock_ns;
}

static void
reap(struct loop *loop)
{
    uint32_t max = sizeof loop->completions / sizeof loop->completions[0];
    for (uint32_t round = 0; round < REAP_ROUNDS; round++) {
        uint32_t count = ring_reap(loop->ring, loop->completions, max);
        if (round > 0)
            (void)read_clock(loop);
        for (uint32_t i = 0; i < count; i++) {
            dispatch(loop, &loop->completions[i]);
            loop_journal_early(loop);
        }
        if (count < max)
            break;
    }
}

static void
resume(struct loop *loop)
{
    uint32_t index = loop->ready.first;
    loop->ready = (struct conn_list){NONE, NONE};
    /* bounded: what becomes ready from here on is for the next tick */
    while (index != NONE) {
        struct conn *conn = &loop->conns[index];
        uint32_t next = conn->next_ready;
        conn->in_ready = false;
        requests_resume(loop, index);
        index = next;
    }
}

/* True: some mailbox has more. */
static bool
drain(struct loop *loop)
{
    bool some = false, more = false;
    for (uint32_t from = 0; from < loop->server->shard_count; from++)
        if (loop->server->mailboxes[from][loop->index] != NULL)
            some |= mailbox_look(loop->server->mailboxes[from][loop->index]);
    if (!some)
        return false;
    (void)read_clock(loop);
    for (uint32_t from = 0; from < loop->server->shard_count; from++) {
        struct mailbox *mailbox = loop->server->mailboxes[from][loop->index];
        if (mailbox == NULL)
            continue;
        uint32_t count = 0;
        uint32_t size;
        const void *message, *next;
        while (count < MESSAGES_PER_DRAIN && (message = mailbox_peek(mailbox, &size)) != NULL) {
            while ((next = mailbox_foresee(mailbox)) != NULL)
                shard_message_foreseen(loop->shard, next);
            shard_message(loop->shard, from, message, size);
            mailbox_take(mailbox);
            count++;
        }
        more |= count == MESSAGES_PER_DRAIN;
    }
    return more;
}

static void
ring_bells(struct loop *loop)
{
    uint64_t bells = loop->bells;
    loop->bells = 0;
    while (bells != 0) {
        bell_ring(&loop->server->bells[__builtin_ctzll(bells)]);
        bells &= bells - 1;
    }
}

void
loop_publish(struct loop *loop)
{
    struct shard_figures figures;
    uint64_t *value = loop->figures.value;
    shard_figures(loop->shard, &figures);
    memcpy(loop->figures.outcomes, figures.outcomes, sizeof figures.outcomes);
    memcpy(loop->figures.waits, figures.waits, sizeof figures.waits);
    loop->figures.waits_ms = figures.waits_ms;
    value[METRIC_REQUESTS_IN_FLIGHT] = loop->pending_count;
    value[METRIC_INPUT_BYTES] = loop->inputs.bytes_used;
    value[METRIC_OUTPUT_BYTES] = loop->outputs.bytes_used;
    value[METRIC_EVENTS] = figures.events;
    value[METRIC_HOLDS_LIVE] = figures.holds_live;
    value[METRIC_HOLDS_CONFIRMED] = figures.holds_confirmed;
    value[METRIC_HOLDS_ENDED] = figures.holds_ended;
    value[METRIC_HOLDS_EXPIRED] = figures.expired;
    value[METRIC_USERS] = figures.users;
    value[METRIC_KEYS] = figures.keys;
    value[METRIC_OPERATIONS] = figures.operations;
    value[METRIC_PARKED] = figures.parked;
    value[METRIC_RECORDS] = figures.records;
    value[METRIC_JOURNAL_BYTES] = journal_bytes(loop->journal);
    value[METRIC_JOURNAL_BATCHES] = journal_batches(loop->journal);
    value[METRIC_EXPIRY_LAG_MS] = figures.expiry_lag_ms;
    value[METRIC_QUEUE_WAITING] = figures.tokens_waiting;
    value[METRIC_QUEUE_ACTIVE] = figures.tokens_active;
    value[METRIC_QUEUE_JOINED] = figures.joined;
    value[METRIC_QUEUE_ACTIVATED] = figures.activated;
    value[METRIC_QUEUE_POLLS] = loop->poll_count;
    value[METRIC_QUEUE_WATCHES] = loop->watches.slab.taken;
    value[METRIC_RING_FULL] = ring_full_count(loop->ring);
    value[METRIC_MAILBOX_BYTES] = 0;
    for (uint32_t from = 0; from < loop->server->shard_count; from++)
        if (loop->server->mailboxes[from][loop->index] != NULL)
            value[METRIC_MAILBOX_BYTES] += mailbox_used(loop->server->mailboxes[from][loop->index]);
    metrics_publish(&loop->server->metrics[loop->index], &loop->figures);
    loop->published_ms = loop->now_ms;
}

void
loop_look_warm(struct loop *loop)
{
    loop->events_warmed = shard_event_count_laid(loop->shard);
    struct shard_growth growth[WARM_EXTENTS_MAX];
    uint32_t count = shard_growth(loop->shard, growth);
    size_t size, batch = shard_batch_ahead(loop->shard);
    const char *buffer = journal_buffer(loop->journal, batch, &size);
    growth[count++] = (struct shard_growth){buffer, buffer + (batch > 0 ? size : 0)};
    warm_look(&loop->server->warmer, loop->index, growth, count);
}

/* ---- stopping ---- */

static void
begin_stop(struct loop *loop)
{
    loop->stop_deadline_ms = loop->now_ms + loop->server->settings->stop_seconds * 1000;
    for (enum protocol p = 0; p < PROTOCOL_COUNT; p++)
        if (loop->accepting[p])
            ring_cancel(loop->ring, RING_ACCEPT, (struct ring_target){p, 0});
    shard_polls_end(loop->shard); /* nobody is kept waiting by a long poll */
    conns_stop(loop);
}

/* True: nobody needs this shard any more, and all it has recorded is on disk. */
static bool
stopped(struct loop *loop)
{
    struct server *server = loop->server;
    /* relaxed: a flag that is looked at once a tick */
    if (loop->stop_deadline_ms == 0 && atomic_load_explicit(&server->stopping, memory_order_relaxed))
        begin_stop(loop);
    if (loop->stop_deadline_ms == 0)
        return false;
    if (!loop->drained && (loop->conn_count == 0 || loop->now_ms >= loop->stop_deadline_ms)) {
        loop->drained = true;
        (void)atomic_fetch_add_explicit(&server->drained, 1, memory_order_acq_rel); /* read by server.c */
        bell_ring_always(&server->control);
    }
    return atomic_load_explicit(&server->finished, memory_order_acquire) && loop_journal_done(loop);
}

/* ---- the tick ---- */

/* How long there is nothing to do unless something comes. 0: there is something to do now. */
static uint32_t
idle_ms(struct loop *loop, bool more)
{
    if (more || loop->expire_more || loop->settle_again || loop->ready.first != NONE)
        return 0;
    if (shard_backlogged(loop->shard) || loop->watches_more || loop->cold_count > 0)
        return 1;
    uint64_t wait = WAIT_MS_MAX;
    if (loop->published_ms != loop->now_ms)
        wait = PUBLISH_MS;
    uint64_t journal = loop_journal_wait_ms(loop);
    if (journal < wait)
        wait = journal;
    uint64_t next = shard_next_expiry_ms(loop->shard);
    if (next <= loop->now_ms)
        return 1;
    if (next - loop->now_ms < wait)
        wait = next - loop->now_ms;
    return (uint32_t)wait;
}

static bool
mail_waits(struct loop *loop)
{
    for (uint32_t from = 0; from < loop->server->shard_count; from++) {
        struct mailbox *mailbox = loop->server->mailboxes[from][loop->index];
        if (mailbox != NULL && !mailbox_empty(mailbox))
            return true;
    }
    return false;
}

static void
wait(struct loop *loop, uint32_t timeout_ms)
{
    struct bell *bell = &loop->server->bells[loop->index];
    if (timeout_ms > 0) {
        bell_sleep(bell);
        if (mail_waits(loop) || journal_thread_ended(&loop->journal_thread))
            timeout_ms = 0;
    }
    if (timeout_ms > 0)
        write_ways_sleep(&loop->write_ways);
    int result = ring_wait(loop->ring, timeout_ms);
    bell_awake(bell);
    if (result != 0) {
        log_error("the ring of shard %u failed: %s", loop->index, strerror(-result));
        exit(1);
    }
}

static void
measure(struct loop *loop)
{
    uint64_t us = (loop_clock_ns() - loop->tick_began_ns) / 1000;
    uint32_t bucket = us == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(us);
    if (bucket >= TICK_BUCKETS)
        bucket = TICK_BUCKETS - 1;
    loop->figures.ticks[bucket]++;
    loop->figures.value[METRIC_TICKS]++;
    loop->figures.value[METRIC_TICK_US_SUM] += us;
    if (us > loop->figures.value[METRIC_TICK_US_MAX])
        loop->figures.value[METRIC_TICK_US_MAX] = us;
}

/* What is looked at now and then: deadlines of connections, listeners that could not accept. */
static void
look_around(struct loop *loop)
{
    if (loop->now_ms - loop->timers_checked_ms < WAIT_MS_MAX / 2)
        return;
    loop->timers_checked_ms = loop->now_ms;
    conns_timers(loop);
    if (loop->stop_deadline_ms == 0)
        arm_accepts(loop);
}

static void
step_time(struct loop *loop)
{
    loop->tick_began_ns = read_clock(loop);
    http_time(loop->now_ms);
    if (loop->keys != NULL)
        guard_tick(loop);
}

void
loop_run(struct loop *loop)
{
    bool more = false;
    arm_accepts(loop);
    arm_wake(loop);
    step_time(loop);
    while (!stopped(loop)) {
        wait(loop, idle_ms(loop, more));
        step_time(loop);
        loop->settle_again = false;
        reap(loop);
        resume(loop);
        more = drain(loop);
        loop->expire_more = shard_expire(loop->shard);
        loop->watches_more = watches_step(loop);
        loop_journal_step(loop);
        look_around(loop);
        if (loop->cold_count > 0)
            requests_warmed(loop);
        conns_settle(loop);
        ring_bells(loop);
        if (shard_event_count_laid(loop->shard) != loop->events_warmed)
            loop_look_warm(loop);
        if (loop->now_ms - loop->published_ms >= PUBLISH_MS) {
            loop_publish(loop);
            loop_look_warm(loop);
        }
        measure(loop);
    }
    loop_publish(loop);
}
