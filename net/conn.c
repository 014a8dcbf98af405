/*
 * conn.c - connections as sockets: receiving, sending, pausing, deadlines, closing.
 *
 * What a connection must do next follows from its flags, and is decided in one place, conn_settle(), at the
 * end of each tick in which something touched it:
 *
 *     open ----------------------> closing --------------> lingering ---------> dead ------> free slot
 *      requests are taken           no more requests,       all has left, our    shut down,   when no
 * receive answers still leave     side is shut         waits        or send is under way
 *
 * Closing begins with QUIT, "Connection: close", a framing error, or the client's end of file. Lingering is
 * there because a close() with unread input makes the kernel send a reset, which may overtake and destroy
 * the last answer. From any state a broken socket, a deadline or memory at its bound leads to dead
 * (conn_kill).
 *
 * Output is two buffers: the kernel reads from `leaving` while answers gather in `filling`; when leaving is
 * empty the two swap. So nothing that a send under way points to ever moves, and all answers of a tick
 * leave in one send. Marks hold back what waits for a record (R2): bytes before the first mark whose
 * sequence is not durable may leave.
 *
 * Deadlines: each kind has one fixed duration, so a list in the order of arming is sorted by deadline, and
 * arming, disarming and checking are a few pointers each.
 *
 * Bounds (R7): connections (told busy, closed), input memory (told busy, closed), output memory (closed),
 * input of a connection that may not be read on (the receive is cancelled and armed again later).
 */
#include "net/loop_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
list_push(struct loop *loop, struct conn_list *list, uint32_t index, bool ready)
{
    struct conn *conn = &loop->conns[index];
    *(ready ? &conn->next_ready : &conn->next_touched) = NONE;
    if (list->first == NONE) {
        list->first = index;
    } else {
        struct conn *last = &loop->conns[list->last];
        *(ready ? &last->next_ready : &last->next_touched) = index;
    }
    list->last = index;
}

void
conn_touch(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    if (!conn->in_touched) {
        conn->in_touched = true;
        list_push(loop, &loop->touched, index, false);
    }
}

void
conn_ready(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    if (!conn->in_ready) {
        conn->in_ready = true;
        list_push(loop, &loop->ready, index, true);
    }
}

/* ---- deadlines ---- */

void
conn_timer_clear(struct loop *loop, uint32_t index, enum timer timer)
{
    struct timer_link *link = &loop->conns[index].timers[timer];
    struct conn_list *list = &loop->timers[timer];
    if (link->deadline_ms == 0)
        return;
    if (link->before == NONE)
        list->first = link->after;
    else
        loop->conns[link->before].timers[timer].after = link->after;
    if (link->after == NONE)
        list->last = link->before;
    else
        loop->conns[link->after].timers[timer].before = link->before;
    link->deadline_ms = 0;
}

void
conn_timer_set(struct loop *loop, uint32_t index, enum timer timer)
{
    struct timer_link *link = &loop->conns[index].timers[timer];
    struct conn_list *list = &loop->timers[timer];
    conn_timer_clear(loop, index, timer);
    link->deadline_ms = loop->now_ms + loop->timer_ms[timer];
    link->before = list->last;
    link->after = NONE;
    if (list->last == NONE)
        list->first = index;
    else
        loop->conns[list->last].timers[timer].after = index;
    list->last = index;
}

void
conns_timers(struct loop *loop)
{
    for (enum timer timer = 0; timer < TIMER_COUNT; timer++) {
        /* bounded: each turn takes one connection off the list */
        for (uint32_t index = loop->timers[timer].first; index != NONE; index = loop->timers[timer].first) {
            struct conn *conn = &loop->conns[index];
            if (conn->timers[timer].deadline_ms > loop->now_ms)
                break;
            conn_timer_clear(loop, index, timer);
            if (timer != TIMER_LINGER)
                loop->figures.value[METRIC_TIMED_OUT]++;
            conn_kill(loop, index);
        }
    }
}

/* ---- opening and closing ---- */

static struct conn *
take_slot(struct loop *loop)
{
    uint32_t index = loop->conn_free;
    if (index != NONE)
        loop->conn_free = loop->conns[index].next_touched;
    else if (loop->conns_used < loop->conns_max)
        index = loop->conns_used++;
    else
        return NULL;
    struct conn *conn = &loop->conns[index];
    uint32_t generation = conn->generation;
    *conn = (struct conn){0};
    conn->generation = generation;
    conn->request_first = NONE;
    conn->request_last = NONE;
    conn->watch_first = NONE;
    loop->conn_count++;
    return conn;
}

static struct ring_target
target_of(const struct loop *loop, const struct conn *conn)
{
    return (struct ring_target){conn_index(loop, conn), conn->generation};
}

void
conn_open(struct loop *loop, enum protocol protocol, int fd)
{
    struct server *server = loop->server;
    struct conn *conn = take_slot(loop);
    loop->figures.value[METRIC_ACCEPTED]++;
    if (conn == NULL) {
        loop->figures.value[METRIC_REFUSED]++;
        (void)close(fd); /* nothing was sent: even those who are told that there is no room have no room */
        return;
    }
    conn->fd = fd;
    conn->protocol = (uint8_t)protocol;
    conn->resp_version = 2;
    conn->id = ++loop->accepted * SHARDS_MAX + loop->index;
    loop->figures.value[protocol == PROTOCOL_HTTP ? METRIC_CONNECTIONS_HTTP : METRIC_CONNECTIONS_RESP]++;
    if (loop->guarded)
        guard_connection(loop, conn);
    uint32_t index = conn_index(loop, conn);
    /* relaxed: only the number counts */
    uint32_t others = atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    conn->counted = true;
    if (others >= server->connections_max) {
        struct output output;
        loop->figures.value[METRIC_REFUSED]++;
        (void)atomic_fetch_sub_explicit(&server->connections, 1,
                                        memory_order_relaxed); /* its value is not needed */
        conn->counted = false;
        conn_output_begin(loop, index, &output);
        server_refuse(protocol, "too many connections", &output);
        conn_output_end(loop, index, &output, 0);
        conn_close_after(loop, index);
    }
    conn_touch(loop, index);
}

void
conn_kill(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    if (conn->dead)
        return;
    conn->dead = true;
    conn->closing = true;
    /* Ends the receive and the send that are under way. Fails only where the peer has gone already. */
    (void)shutdown(conn->fd, SHUT_RDWR);
    conn_touch(loop, index);
}

void
conn_close_after(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    conn->closing = true;
    conn->stopped = false;
    conn_timer_clear(loop, index, TIMER_REQUEST);
    conn_touch(loop, index);
}

static void
output_free(struct loop *loop, struct output_buffer *buffer)
{
    if (buffer->data != NULL)
        buffer_give(&loop->outputs, buffer->data, buffer->capacity);
    *buffer = (struct output_buffer){0};
}

/* No operation is under way any more: gives everything back. */
static void
free_slot(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    assert(conn->dead);
    assert(!conn->receiving && !conn->sending);
    requests_forget(loop, index);
    watches_end(loop, index);
    conn_input_free(loop, conn);
    output_free(loop, &conn->held);
    output_free(loop, &conn->leaving);
    output_free(loop, &conn->filling);
    for (enum timer timer = 0; timer < TIMER_COUNT; timer++)
        conn_timer_clear(loop, index, timer);
    if (conn->counted)
        (void)atomic_fetch_sub_explicit(&loop->server->connections, 1,
                                        memory_order_relaxed); /* only the number */
    loop->figures
        .value[conn->protocol == PROTOCOL_HTTP ? METRIC_CONNECTIONS_HTTP : METRIC_CONNECTIONS_RESP]--;
    (void)close(conn->fd); /* what could not be sent is lost with the connection */
    conn->fd = -1;
    conn->generation++;
    conn->next_touched = loop->conn_free;
    loop->conn_free = index;
    loop->conn_count--;
}

/* ---- input ---- */

void
conn_input_free(struct loop *loop, struct conn *conn)
{
    if (conn->input != NULL)
        buffer_give(&loop->inputs, conn->input, conn->input_capacity);
    conn->input = NULL;
    conn->input_offset = 0;
    conn->input_size = 0;
    conn->input_capacity = 0;
}

bool
conn_input_append(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (conn->input_size + size > conn->input_capacity) {
        size_t left = conn->input_size - conn->input_offset;
        if (left + size <= conn->input_capacity / 2) {
            memmove(conn->input, conn->input + conn->input_offset, left);
        } else {
            size_t capacity;
            char *larger = buffer_take(&loop->inputs, left + size, &capacity);
            if (larger == NULL)
                return false;
            if (left > 0)
                memcpy(larger, conn->input + conn->input_offset, left);
            conn_input_free(loop, conn);
            conn->input = larger;
            conn->input_capacity = capacity;
        }
        conn->input_offset = 0;
        conn->input_size = left;
    }
    memcpy(conn->input + conn->input_size, data, size);
    conn->input_size += size;
    return true;
}

static void
arm_receive(struct loop *loop, struct conn *conn)
{
    conn->receiving = true;
    conn->cancelling = false;
    ring_receive(loop->ring, conn->fd, target_of(loop, conn));
}

void
conn_received(struct loop *loop, uint32_t index, const struct ring_completion *completion)
{
    struct conn *conn = &loop->conns[index];
    int32_t result = completion->result;
    if (!completion->more)
        conn->receiving = false;
    conn_touch(loop, index);
    if (conn->dead)
        return;
    if (result > 0) {
        loop->figures.value[METRIC_BYTES_RECEIVED] += (uint64_t)result;
        if (!conn->closing)
            requests_received(loop, index, ring_buffer(loop->ring, completion->buffer), (size_t)result);
    } else if (result == 0) {
        conn->ended = true;
        if (conn->lingering)
            conn_kill(loop, index);
        else if (!conn->closing && !conn->stopped)
            conn_close_after(loop, index);
    } else if (result != -ENOBUFS && result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
        conn_kill(loop, index);
    }
}

/* ---- output ---- */

size_t
conn_unsent(const struct conn *conn)
{
    return conn->leaving.size - conn->leaving.sent + conn->filling.size;
}

/* Where there is no memory the output fails, and the bytes go where nobody reads them. */
static void
output_fail(struct loop *loop, struct output *output)
{
    output->failed = true;
    output->data = loop->swallow;
    output->room = sizeof loop->swallow;
}

/* Makes room behind what output has written to the buffer. */
static void
output_grow(struct loop *loop, struct output_buffer *buffer, struct output *output, size_t size)
{
    if (output->failed) {
        output_fail(loop, output);
        return;
    }
    if (buffer->data != NULL)
        buffer->size = (size_t)(output->data - buffer->data);
    size_t capacity;
    char *larger = buffer_take(&loop->outputs, buffer->size + size, &capacity);
    if (larger == NULL) {
        output_fail(loop, output);
        return;
    }
    if (buffer->size > 0)
        memcpy(larger, buffer->data, buffer->size);
    if (buffer->data != NULL)
        buffer_give(&loop->outputs, buffer->data, buffer->capacity);
    buffer->data = larger;
    buffer->capacity = capacity;
    output->data = larger + buffer->size;
    output->room = capacity - buffer->size;
}

/* The loop whose output grows: a codec's output knows one owner, the buffer, and each thread runs one loop.
 */
static _Thread_local struct loop *growing;

static void
grow(struct output *output, size_t size)
{
    assert(size <= OUTPUT_GROW_MAX);
    output_grow(growing, output->owner, output, size);
}

static void
output_begin(struct loop *loop, struct output_buffer *buffer, struct output *ret_output)
{
    growing = loop;
    *ret_output = (struct output){
        .data = buffer->data == NULL ? NULL : buffer->data + buffer->size,
        .room = buffer->capacity - buffer->size,
        .owner = buffer,
        .grow = grow,
    };
}

void
conn_output_begin(struct loop *loop, uint32_t index, struct output *ret_output)
{
    struct conn *conn = &loop->conns[index];
    conn->answer_begin = conn->filling.size;
    output_begin(loop, &conn->filling, ret_output);
}

/* Marks whose records are durable hold nothing back any more. */
static void
marks_prune(struct loop *loop, struct conn *conn)
{
    uint32_t durable = 0;
    while (durable < conn->mark_count && conn->marks[durable].sequence <= loop->durable)
        durable++;
    if (durable > 0) {
        conn->mark_count -= durable;
        memmove(conn->marks, conn->marks + durable, conn->mark_count * sizeof conn->marks[0]);
    }
}

/* Everything from `position` on waits for the sequence. The marks' sequences grow: an earlier one is
 * implied by the mark before it. Where all marks are in use the last one, which holds back what is behind
 * it anyway, waits for the newer record, too. */
static void
mark_add(struct loop *loop, struct conn *conn, uint64_t position, uint64_t sequence)
{
    marks_prune(loop, conn);
    if (sequence <= loop->durable)
        return;
    if (conn->mark_count > 0 && conn->marks[conn->mark_count - 1].sequence >= sequence)
        return;
    if (conn->mark_count == OUTPUT_MARKS_MAX)
        conn->marks[OUTPUT_MARKS_MAX - 1].sequence = sequence;
    else
        conn->marks[conn->mark_count++] = (struct output_mark){position, sequence};
}

void
conn_output_end(struct loop *loop, uint32_t index, struct output *output, uint64_t sequence)
{
    struct conn *conn = &loop->conns[index];
    struct output_buffer *buffer = &conn->filling;
    if (output->failed) {
        conn->failed = true;
        conn_kill(loop, index);
        return;
    }
    if (loop->server->durable && sequence > 0)
        mark_add(loop, conn, conn->leaving_position + conn->leaving.size + conn->answer_begin, sequence);
    if (buffer->data != NULL)
        buffer->size = (size_t)(output->data - buffer->data);
    conn_touch(loop, index);
}

static bool
answers_in_pieces(const struct loop *loop, const struct conn *conn)
{
    return conn->alone && loop->pendings[conn->request_first].streaming;
}

void
conn_push_begin(struct loop *loop, uint32_t index, struct output *ret_output)
{
    struct conn *conn = &loop->conns[index];
    if (answers_in_pieces(loop, conn))
        output_begin(loop, &conn->held, ret_output);
    else
        conn_output_begin(loop, index, ret_output);
}

void
conn_push_end(struct loop *loop, uint32_t index, struct output *output, uint64_t sequence)
{
    struct conn *conn = &loop->conns[index];
    if (!answers_in_pieces(loop, conn)) {
        conn_output_end(loop, index, output, sequence);
    } else if (output->failed) {
        conn->failed = true;
        conn_kill(loop, index);
    } else {
        conn->held.size = (size_t)(output->data - conn->held.data);
        if (sequence > conn->held_sequence)
            conn->held_sequence = sequence;
    }
    /* Nobody reads them: answers stop by themselves then (request.c), these do not. */
    if (conn_unsent(conn) + conn->held.size > 2 * loop->output_bytes_max)
        conn_kill(loop, index);
}

void
conn_push_held(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    struct output output;
    if (conn->held.size == 0 || conn->dead)
        return;
    assert(!answers_in_pieces(loop, conn));
    conn_output_begin(loop, index, &output);
    for (size_t from = 0; from < conn->held.size && !output.failed;) {
        size_t size = conn->held.size - from;
        if (size > OUTPUT_GROW_MAX)
            size = OUTPUT_GROW_MAX;
        if (output.room < size)
            output.grow(&output, size);
        memcpy(output.data, conn->held.data + from, size);
        output.data += size;
        output.room -= size;
        from += size;
    }
    conn_output_end(loop, index, &output, conn->held_sequence);
    output_free(loop, &conn->held);
    conn->held_sequence = 0;
}

void
scratch_output_begin(struct loop *loop, struct output *ret_output)
{
    loop->scratch.size = 0;
    output_begin(loop, &loop->scratch, ret_output);
}

void
scratch_output_end(struct loop *loop, struct output *output)
{
    if (!output->failed && loop->scratch.data != NULL)
        loop->scratch.size = (size_t)(output->data - loop->scratch.data);
}

/* How many bytes of `leaving` may leave now (R2). */
static size_t
releasable(struct loop *loop, struct conn *conn)
{
    marks_prune(loop, conn);
    if (conn->mark_count == 0)
        return conn->leaving.size;
    uint64_t position = conn->marks[0].position - conn->leaving_position;
    return position < conn->leaving.size ? (size_t)position : conn->leaving.size;
}

static void
send_more(struct loop *loop, struct conn *conn)
{
    if (conn->leaving.sent == conn->leaving.size && conn->filling.size > 0) {
        struct output_buffer empty = conn->leaving;
        conn->leaving_position += empty.size;
        conn->leaving = conn->filling;
        conn->leaving.sent = 0;
        conn->filling = (struct output_buffer){0};
        output_free(loop, &empty);
    }
    size_t size = releasable(loop, conn) - conn->leaving.sent;
    if (size == 0)
        return;
    if (size > INT32_MAX)
        size = INT32_MAX;
    conn->sending = true;
    if (conn->timers[TIMER_WRITE].deadline_ms == 0)
        conn_timer_set(loop, conn_index(loop, conn), TIMER_WRITE);
    ring_send(loop->ring, conn->fd, conn->leaving.data + conn->leaving.sent, (uint32_t)size,
              target_of(loop, conn));
}

void
conn_sent(struct loop *loop, uint32_t index, int32_t result)
{
    struct conn *conn = &loop->conns[index];
    assert(conn->sending);
    conn->sending = false;
    conn_timer_clear(loop, index, TIMER_WRITE);
    conn_touch(loop, index);
    if (conn->dead)
        return;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        conn_kill(loop, index);
        return;
    }
    if (result > 0) {
        conn->leaving.sent += (uint32_t)result;
        loop->figures.value[METRIC_BYTES_SENT] += (uint64_t)result;
        assert(conn->leaving.sent <= conn->leaving.size);
    }
    if (conn->leaving.sent == conn->leaving.size) {
        conn->leaving_position += conn->leaving.size;
        output_free(loop, &conn->leaving);
    }
    if (conn->stopped || conn->alone)
        conn_ready(loop, index);
}

/* ---- the end of a tick ---- */

/* Arms, pauses or leaves the receive. */
static void
settle_receive(struct loop *loop, struct conn *conn)
{
    size_t unread = conn->input_size - conn->input_offset;
    bool wanted;
    if (conn->lingering)
        wanted = true;
    else if (conn->closing)
        wanted = false;
    else
        wanted = !conn->stopped || unread < INPUT_PAUSE_BYTES;
    if (conn->ended || (loop->stop_deadline_ms != 0 && !conn->lingering))
        wanted = false;
    if (wanted && !conn->receiving) {
        arm_receive(loop, conn);
    } else if (!wanted && conn->receiving && !conn->cancelling) {
        conn->cancelling = true;
        ring_cancel(loop->ring, RING_RECEIVE, target_of(loop, conn));
    }
}

static void
settle(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    if (!conn->dead) {
        if (!conn->sending && conn_unsent(conn) > 0)
            send_more(loop, conn);
        bool finished = conn->closing && conn->request_first == NONE && conn_unsent(conn) == 0;
        if (finished && conn->ended) {
            conn_kill(loop, index);
        } else if (finished && !conn->lingering) {
            conn->lingering = true;
            (void)shutdown(conn->fd,
                           SHUT_WR); /* fails only where the peer has gone: the receive tells us */
            conn_timer_set(loop, index, TIMER_LINGER);
        }
    }
    if (!conn->dead)
        settle_receive(loop, conn);
    else if (!conn->receiving && !conn->sending && !conn->in_ready && !conn->in_touched)
        free_slot(loop, index);
}

void
conns_settle(struct loop *loop)
{
    uint32_t index = loop->touched.first;
    loop->touched = (struct conn_list){NONE, NONE};
    /* bounded: what is touched from here on is for the next tick */
    while (index != NONE) {
        struct conn *conn = &loop->conns[index];
        uint32_t next = conn->next_touched;
        conn->in_touched = false;
        settle(loop, index);
        /* held back by a mark: looked at again when more is durable */
        bool gated = conn->fd >= 0 && !conn->dead && !conn->sending && conn_unsent(conn) > 0;
        bool dying = conn->fd >= 0 && conn->dead && !conn->receiving && !conn->sending;
        loop->settle_again |= dying;
        if (gated || dying)
            conn_touch(loop, index);
        index = next;
    }
}

void
conns_stop(struct loop *loop)
{
    for (uint32_t index = 0; index < loop->conns_used; index++) {
        struct conn *conn = &loop->conns[index];
        if (conn->fd < 0 || conn->dead)
            continue;
        bool idle = conn->request_first == NONE && conn_unsent(conn) == 0 && conn->input == NULL;
        if (idle)
            conn_kill(loop, index);
        else if (conn->stopped)
            conn_ready(loop, index); /* takes what has been received, then closes */
        else
            conn_close_after(loop, index);
    }
}
