/*
 * request_alone.c - requests that run alone on their connection: those that take several commands (SEATS
 * and EVENT LIST piece by piece, event changes that are answered with the event), and WATCH, UNWATCH.
 *
 * Such a request begins when no other is in flight on its connection, and nothing behind it is taken before
 * it has been answered (conn->alone). So its pieces go straight into the output, and the next piece is
 * asked for only while the client keeps up.
 */
#include "net/loop_internal.h"

#include <assert.h>
#include <string.h>

/* ---- beginning ---- */

/* Must run alone on its connection: takes several commands, or changes what the next ones refer to. */
bool
request_runs_alone(const struct request *request)
{
    if (request->kind == REQUEST_EVENT_LIST)
        return true;
    if (request->kind != REQUEST_COMMAND)
        return false;
    enum command_type type = request->command.type;
    return type == COMMAND_QUEUE_WATCH || type == COMMAND_QUEUE_UNWATCH || type == COMMAND_SEATS ||
           type == COMMAND_EVENT_CREATE || type == COMMAND_EVENT_SET;
}

static void
remember(char *to, uint8_t *to_size, struct bytes from, size_t room)
{
    assert(from.size <= room);
    memcpy(to, from.data, from.size);
    *to_size = (uint8_t)from.size;
}

/* WATCH and UNWATCH: the answer leaves before any push message that follows from it. */
void
request_begin_watch(struct loop *loop, struct conn *conn, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    pending->context = loop->request.reply_context;
    pending->watch = watch_begin(loop, conn_index(loop, conn), &loop->request.command);
    conn->alone = true;
    conn->stopped = true;
    request_give(loop, slot, &loop->request.command);
}

static void
list_begin(struct loop *loop, struct conn *conn, struct pending *pending)
{
    struct output output;
    conn_output_begin(loop, conn_index(loop, conn), &output);
    if (pending->context.http != 0)
        http_encode_list_begin(&output, &pending->context);
    else
        resp_encode_list_begin(&output, &pending->context, pending->count);
    if (pending->count > 0) {
        conn_output_end(loop, conn_index(loop, conn), &output, 0);
        return;
    }
    if (pending->context.http != 0)
        http_encode_list_end(&output, &pending->context);
    answer_end(loop, conn, pending, &output);
}

/* SEATS, EVENT CREATE, EVENT SET, EVENT LIST: keeps what the later commands need, and the memory the core
 * reads. */
void
request_begin_alone(struct loop *loop, struct conn *conn, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    struct request *request = &loop->request;
    struct command *command = &request->command;
    pending->context = request->reply_context;
    pending->position = 0;
    pending->count = 0;
    pending->event_size = 0;
    pending->section_size = 0;
    pending->memory = loop->event_memory_taken;
    loop->event_memory_taken = NULL;
    conn->alone = true;
    conn->stopped = true;
    if (request->kind == REQUEST_EVENT_LIST) {
        pending->streaming = true;
        pending->count = shard_event_count(loop->shard);
        list_begin(loop, conn, pending);
        conn_ready(loop, conn_index(loop, conn));
        return;
    }
    if (command->type == COMMAND_EVENT_CREATE)
        remember(pending->event, &pending->event_size,
                 (struct bytes){command->settings->id, command->settings->id_size}, sizeof pending->event);
    else
        remember(pending->event, &pending->event_size, command->event, sizeof pending->event);
    if (command->type == COMMAND_SEATS) {
        pending->streaming = true;
        remember(pending->section, &pending->section_size, command->section, sizeof pending->section);
    } else {
        pending->follow = pending->context.http != 0;
    }
    if (command->type == COMMAND_EVENT_SET) {
        pending->memory->change = *command->change;
        command->change = &pending->memory->change;
    }
    request_give(loop, slot, command);
}

/* ---- going on ---- */

/* Gives the next command of a request that takes several. */
void
request_stream_next(struct loop *loop, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    struct command command = {0};
    command.trace = pending->context.trace;
    command.request_id = (struct bytes){pending->context.request_id, pending->context.request_id_size};
    if (pending->streaming && pending->context.kind == REQUEST_EVENT_LIST) {
        command.type = COMMAND_EVENT_GET;
        command.event_index = pending->position;
    } else if (pending->streaming) {
        command.type = COMMAND_SEATS;
        command.row_from = pending->position;
        command.section = (struct bytes){pending->section, pending->section_size};
    } else {
        command.type = COMMAND_EVENT_GET;
    }
    command.event = (struct bytes){pending->event, pending->event_size};
    request_give(loop, slot, &command);
}

/* A piece of a stream has come. True: that was the last one. */
static bool
stream_piece(struct loop *loop, struct pending *pending, struct output *output, const struct reply *reply)
{
    const struct reply_context *context = &pending->context;
    if (context->kind == REQUEST_EVENT_LIST) {
        if (context->http != 0)
            http_encode_list_separator(output, context, pending->position);
        answer_encode(loop, output, context, reply);
        pending->position++;
        if (pending->position < pending->count)
            return false;
        if (context->http != 0)
            http_encode_list_end(output, context);
        return true;
    }
    answer_encode(loop, output, context, reply);
    if (reply->status != STATUS_OK)
        return true;
    assert(reply->kind == REPLY_MAP);
    assert(reply->map->row_to > pending->position);
    pending->position = reply->map->row_to;
    return reply->map->row_to == reply->map->row_count;
}

void
request_stream_reply(struct loop *loop, struct conn *conn, uint32_t slot, const struct reply *reply)
{
    struct pending *pending = &loop->pendings[slot];
    assert(answer_is_first(conn, loop, pending));
    bool begun = pending->position > 0 || pending->context.kind == REQUEST_EVENT_LIST;
    if (begun && reply->status != STATUS_OK) {
        /* In the middle of an answer there is no way to tell an error: a full core is asked again, and
         * anything else (there is nothing else: events and sections never go) ends the connection. */
        if (reply->status != STATUS_BUSY)
            conn_kill(loop, conn_index(loop, conn));
        conn_ready(loop, conn_index(loop, conn));
        return;
    }
    struct output output;
    conn_output_begin(loop, conn_index(loop, conn), &output);
    if (stream_piece(loop, pending, &output, reply)) {
        answer_end(loop, conn, pending, &output);
        return;
    }
    conn_output_end(loop, conn_index(loop, conn), &output, pending->sequence);
    conn_ready(loop, conn_index(loop, conn));
}

/* The event is changed; over HTTP the answer is the event: as it is now, or, with an idempotency key, as it
 * was at the first answer, which the core has kept. (Answers that were kept before it did so show the event
 * as it is now.) */
void
request_follow_reply(struct loop *loop, struct conn *conn, uint32_t slot, const struct reply *reply)
{
    struct pending *pending = &loop->pendings[slot];
    bool view = reply->command == COMMAND_EVENT_GET;
    if (!view && reply->status == STATUS_OK && reply->kind == REPLY_NONE) {
        pending->created = reply->created;
        pending->replayed = reply->replayed;
        conn_ready(loop, conn_index(loop, conn));
        return;
    }
    if (view && reply->status == STATUS_BUSY) {
        conn_ready(loop, conn_index(loop, conn)); /* the change has been made: it must be told */
        return;
    }
    struct output output;
    struct reply answer = *reply;
    if (view) {
        answer.created = pending->created;
        answer.replayed = pending->replayed;
    }
    answer_begin(loop, conn, pending, &output);
    answer_encode(loop, &output, &pending->context, &answer);
    answer_end(loop, conn, pending, &output);
}
