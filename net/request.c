/*
 * request.c - from received bytes to commands.
 *
 * Entry points: requests_received() with new bytes, and requests_resume() for a connection that had to
 * stop. Replies come back by request_order.c, which keeps the order of the answers; requests that take
 * several commands are request_alone.c's.
 *
 * Stopping. No request is taken while the connection has net.pipeline_max in flight, or too much unread
 * output, or no slot is free: it is `stopped`, its input waits (conn.c stops receiving when that grows),
 * and it is looked at again when one of its answers or sends is done. Nothing is ever dropped.
 */
#include "net/loop_internal.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

/* ---- decoding ---- */

static void *
take_draft(void *owner)
{
    struct loop *loop = owner;
    if (loop->event_memory_taken == NULL && loop->event_memory_free != NULL) {
        loop->event_memory_taken = loop->event_memory_free;
        loop->event_memory_free = loop->event_memory_taken->next_free;
    }
    return loop->event_memory_taken == NULL ? NULL : loop->event_memory_taken->draft;
}

static uint64_t
random_next(uint64_t state[4])
{
    /* xoshiro256++ (Blackman, Vigna) */
    uint64_t sum = state[0] + state[3];
    uint64_t result = (sum << 23 | sum >> 41) + state[0];
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = state[3] << 45 | state[3] >> 19;
    return result;
}

/* 24 bytes, for a fresh traceparent. */
static void
random_fill(struct loop *loop, uint8_t ret_bytes[24])
{
    uint64_t random[3] = {random_next(loop->random), random_next(loop->random), random_next(loop->random)};
    memcpy(ret_bytes, random, sizeof random);
}

static void
decode(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    struct decode_memory memory = {.owner = loop,
                                   .draft = take_draft,
                                   .change = &loop->change,
                                   .admit = loop->keys != NULL ? guard_bearer : NULL};
    assert(loop->event_memory_taken == NULL);
    if (conn->protocol == PROTOCOL_HTTP) {
        uint8_t random[24];
        random_fill(loop, random);
        http_decode(data, size, random, &memory, &loop->request);
    } else {
        resp_decode(data, size, conn->resp_version, &memory, &loop->request);
    }
}

/* Whose pass came with a HOLD? */
static void
check_pass(struct loop *loop, struct request *request)
{
    struct command *command = &request->command;
    command->pass_refused = !pass_check(&loop->server->pass_secrets, request->pass, command->user,
                                        command->event, loop->now_ms);
}

/* What a decoded command needs beyond what came with it. False: it finds no memory. */
static bool
complete(struct loop *loop, const struct conn *conn, const struct command *command)
{
    switch (command->type) {
    case COMMAND_EVENT_SET:
        return take_draft(loop) != NULL; /* else EVENT_MEMORIES_MAX changes are under way */
    case COMMAND_EVENT_CREATE: {
        if (!command->settings->queue_lottery)
            return true;
        /* the settings lie in the draft's memory */
        char *draft = loop->event_memory_taken->draft;
        size_t offset = (size_t)((const char *)command->settings - draft);
        struct event_settings *settings = (struct event_settings *)(void *)(draft + offset);
        return getrandom(settings->lottery_seed, sizeof settings->lottery_seed, 0) ==
               sizeof settings->lottery_seed;
    }
    case COMMAND_QUEUE_WATCH:
        return watch_room(loop, conn, command);
    default:
        return true;
    }
}

/* ---- executing ---- */

static void
begin_command(struct loop *loop, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    uint32_t generation = pending->generation;
    struct command *command = &loop->request.command;
    if (command->type == COMMAND_QUEUE_GET && command->wait_ms > 0 && loop->poll_count == loop->poll_max) {
        command->wait_ms = 0; /* too many wait already: answered at once, with poll_in_ms */
    } else if (command->type == COMMAND_QUEUE_GET && command->wait_ms > 0) {
        pending->poll = true;
        loop->poll_count++;
    }
    loop->current = slot;
    request_give(loop, slot, command);
    loop->current = NONE;
    /* not answered, and not freed and lent to another: the context must outlive the decoded request */
    if (pending->generation == generation && pending->in_core)
        pending->context = loop->request.reply_context;
}

/* What the server answers itself: at once where nothing is in flight, else in its turn. */
static bool
answer_here(struct loop *loop, struct conn *conn)
{
    uint32_t index = conn_index(loop, conn);
    struct output output;
    if (conn->request_first == NONE) {
        conn_output_begin(loop, index, &output);
        server_answer(loop, index, &loop->request, &output);
        conn_output_end(loop, index, &output, 0);
        return true;
    }
    uint32_t slot = request_take(loop);
    if (slot == NONE)
        return false;
    request_append(loop, conn, slot);
    struct pending *pending = &loop->pendings[slot];
    answer_begin(loop, conn, pending, &output);
    server_answer(loop, index, &loop->request, &output);
    answer_end(loop, conn, pending, &output);
    return true;
}

static void
count_request(struct loop *loop, const struct request *request)
{
    uint32_t command = METRIC_COMMAND_OTHER;
    if (request->kind == REQUEST_COMMAND)
        command = request->command.type;
    else if (request->kind == REQUEST_EVENT_LIST)
        command = METRIC_COMMAND_LIST;
    loop->figures.commands[command]++;
}

/* Executes one whole request. False: not now; it is to be decoded again later. */
static bool
execute(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    struct request *request = &loop->request;
    uint32_t index = conn_index(loop, conn);
    bool taken = true;
    decode(loop, conn, data, size);
    if (loop->guarded)
        guard_request(loop, conn);
    if (request->kind == REQUEST_COMMAND && request->command.type == COMMAND_HOLD &&
        request->pass.data != NULL)
        check_pass(loop, request);
    if (request->kind == REQUEST_COMMAND && !complete(loop, conn, &request->command)) {
        request->kind = REQUEST_ERROR;
        request->error = (struct request_error){.status = STATUS_BUSY};
    }
    if (request_runs_alone(request) && conn->request_first != NONE) {
        taken = false;
    } else if (request->kind == REQUEST_COMMAND || request->kind == REQUEST_EVENT_LIST) {
        uint32_t slot = request_take(loop);
        taken = slot != NONE;
        if (taken) {
            request_append(loop, conn, slot);
            bool watches =
                request->kind == REQUEST_COMMAND && (request->command.type == COMMAND_QUEUE_WATCH ||
                                                     request->command.type == COMMAND_QUEUE_UNWATCH);
            if (watches)
                request_begin_watch(loop, conn, slot);
            else if (request_runs_alone(request))
                request_begin_alone(loop, conn, slot);
            else
                begin_command(loop, slot);
        } else {
            conn_ready(loop, index); /* slots come back within this machine, soon */
        }
    } else {
        taken = answer_here(loop, conn);
        if (!taken)
            conn_ready(loop, index);
    }
    if (loop->event_memory_taken != NULL) {
        event_memory_give(loop, loop->event_memory_taken);
        loop->event_memory_taken = NULL;
    }
    if (!taken)
        return false;
    conn->charged = false;
    count_request(loop, request);
    bool last = request->kind == REQUEST_QUIT || (request->kind == REQUEST_ERROR && request->error.close) ||
                (request->reply_context.http != 0 && !request->reply_context.keep_alive);
    if (last)
        conn->closing = true;
    return true;
}

/* ---- taking ---- */

/* Nothing can be framed any more: one answer, behind all the others, then the end. data: where the request
 * begins; NULL: it is not at hand. */
static void
answer_framing_error(struct loop *loop, struct conn *conn, const struct request_error *error,
                     const char *data)
{
    struct request *request = &loop->request;
    request->kind = REQUEST_ERROR;
    request->error = *error;
    request->error.close = true;
    request->reply_context = (struct reply_context){.resp_version = conn->resp_version};
    if (data != NULL && conn->protocol == PROTOCOL_HTTP) {
        uint8_t random[24];
        random_fill(loop, random);
        http_context_unframed(&conn->frame, data, random, &request->reply_context);
    }
    if (!answer_here(loop, conn))
        conn_kill(loop, conn_index(loop, conn)); /* no slot for an answer that ends the connection anyway */
    loop->figures.commands[METRIC_COMMAND_OTHER]++;
    conn->closing = true;
}

static bool
may_take(const struct loop *loop, const struct conn *conn)
{
    return conn->request_count < loop->pipeline_max && conn_unsent(conn) < loop->output_bytes_max;
}

static void
answer_continue(struct loop *loop, struct conn *conn)
{
    struct output output;
    if (!conn->frame.expect_continue || conn->request_first != NONE)
        return;
    conn->frame.expect_continue = false;
    conn_output_begin(loop, conn_index(loop, conn), &output);
    http_encode_continue(&output);
    conn_output_end(loop, conn_index(loop, conn), &output, 0);
}

/* Takes whole requests off the data, in order; returns the bytes taken. Sets conn->stopped where some may
 * be left that may not be taken now. */
static size_t
take(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    size_t taken = 0;
    uint32_t count = 0;
    conn->stopped = false;
    while (taken < size && !conn->closing && !conn->stopped) {
        if (count == DECODE_BATCH_MAX)
            conn_ready(loop, conn_index(loop, conn));
        if (count == DECODE_BATCH_MAX || !may_take(loop, conn)) {
            conn->stopped = true;
            break;
        }
        size_t frame_size;
        struct request_error error;
        enum frame_result result =
            conn->protocol == PROTOCOL_HTTP
                ? http_frame(&conn->frame, &loop->limits, data + taken, size - taken, &frame_size, &error)
                : resp_frame(&conn->frame, &loop->limits, data + taken, size - taken, &frame_size, &error);
        if (result == FRAME_PARTIAL) {
            answer_continue(loop, conn);
            break;
        }
        if (result == FRAME_ERROR) {
            answer_framing_error(loop, conn, &error, data + taken);
            break;
        }
        conn->frame = (struct frame){0};
        if (result == FRAME_WHOLE && !execute(loop, conn, data + taken, frame_size)) {
            conn->stopped = true;
            break;
        }
        taken += frame_size;
        count++;
    }
    return taken;
}

/* After requests were taken: the deadline of an incomplete one, the end of the input. */
static void
taken_some(struct loop *loop, struct conn *conn, bool progress)
{
    uint32_t index = conn_index(loop, conn);
    bool partial = conn->input_size > conn->input_offset && !conn->stopped && !conn->closing;
    if (!partial)
        conn_timer_clear(loop, index, TIMER_REQUEST);
    else if (progress || conn->timers[TIMER_REQUEST].deadline_ms == 0)
        conn_timer_set(loop, index, TIMER_REQUEST);
    if (conn->closing || (!conn->stopped && (conn->ended || loop->stop_deadline_ms != 0)))
        conn_close_after(loop, index);
    if (conn->closing)
        conn_input_free(loop, conn);
}

static void
take_from_input(struct loop *loop, struct conn *conn)
{
    size_t size = conn->input_size - conn->input_offset;
    size_t taken = 0;
    conn->stopped = false;
    if (size > 0)
        taken = take(loop, conn, conn->input + conn->input_offset, size);
    conn->input_offset += taken;
    if (conn->input_offset == conn->input_size)
        conn_input_free(loop, conn);
    taken_some(loop, conn, taken > 0);
}

/* No memory for an incomplete request: told, and closed. */
static void
refuse_input(struct loop *loop, struct conn *conn)
{
    struct request_error error = {.status = STATUS_BUSY, .close = true};
    answer_framing_error(loop, conn, &error, NULL);
    conn_close_after(loop, conn_index(loop, conn));
    conn_input_free(loop, conn);
}

void
requests_received(struct loop *loop, uint32_t index, const char *data, size_t size)
{
    struct conn *conn = &loop->conns[index];
    if (conn->input == NULL && !conn->stopped) {
        size_t taken = take(loop, conn, data, size);
        if (!conn->closing && taken < size && !conn_input_append(loop, conn, data + taken, size - taken)) {
            refuse_input(loop, conn);
            return;
        }
        taken_some(loop, conn, taken > 0);
        return;
    }
    if (!conn_input_append(loop, conn, data, size))
        refuse_input(loop, conn);
    else if (!conn->stopped)
        take_from_input(loop, conn);
}

void
requests_resume(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    if (conn->dead)
        return;
    answer_continue(loop, conn);
    if (conn->alone) {
        /* nothing else is taken until it has been answered */
        if (!loop->pendings[conn->request_first].in_core && conn_unsent(conn) < loop->output_bytes_max)
            request_stream_next(loop, conn->request_first);
        return;
    }
    if (conn->stopped && !conn->closing) {
        take_from_input(loop, conn);
        conn_touch(loop, index);
    }
}
