/*
 * request.c - from received bytes to commands, and from replies back to bytes in the order of the requests.
 *
 * Entry points: requests_received() with new bytes, requests_resume() for a connection that had to stop,
 * and requests_reply(), which the core calls, often from inside shard_command().
 *
 * Order. The commands of a connection run at the same time and may end in any order, on several shards. A
 * request in flight is a struct pending in its connection's list, oldest first. A reply that comes in its
 * turn is encoded straight into the connection's output, and so are the stashed ones behind it; one that
 * comes early is encoded into its own small buffer, its stash, and waits:
 *
 *     requests   1 . . . . 2 . . . . 3 . . . . 4
 *                in core   stash     in core   stash         nothing leaves
 *     1 replies  ------------------------------------>       1 and 2 leave, 3 is the oldest
 *
 * The fast path: one shard, the reply comes inside shard_command(), nothing older is in flight: the bytes
 * go from the codec into the output, and the pending slot, which was only lent, is hot in the cache.
 *
 * Alone. A request that takes several commands (SEATS and EVENT LIST piece by piece, event changes that are
 * answered with the event) begins when no other is in flight on its connection, and nothing behind it is
 * taken before it has been answered (conn->alone). So its pieces go straight into the output, and the next
 * piece is asked for only while the client keeps up.
 *
 * Stopping. No request is taken while the connection has net.pipeline_max in flight, or too much unread
 * output, or no slot is free: it is `stopped`, its input waits (conn.c stops receiving when that grows),
 * and it is looked at again when one of its answers or sends is done. Nothing is ever dropped.
 */
#include "net/loop_internal.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

/* ---- pending slots ---- */

static uint32_t
pending_take(struct loop *loop)
{
    uint32_t slot = loop->pending_free;
    if (slot != NONE)
        loop->pending_free = loop->pendings[slot].next;
    else if (loop->pendings_used < loop->pendings_max)
        slot = loop->pendings_used++;
    else
        return NONE;
    struct pending *pending = &loop->pendings[slot];
    pending->next = NONE;
    pending->state = PENDING_WAITING;
    pending->in_core = false;
    pending->streaming = false;
    pending->follow = false;
    pending->created = false;
    pending->replayed = false;
    pending->poll = false;
    pending->sequence = 0;
    pending->watch = 0;
    pending->memory = NULL;
    pending->stash = NULL;
    loop->pending_count++;
    return slot;
}

static void
event_memory_give(struct loop *loop, struct event_memory *memory)
{
    memory->next_free = loop->event_memory_free;
    loop->event_memory_free = memory;
}

static void
pending_free(struct loop *loop, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    assert(!pending->in_core);
    if (pending->memory != NULL)
        event_memory_give(loop, pending->memory);
    if (pending->stash != NULL)
        buffer_give(&loop->outputs, pending->stash, pending->stash_capacity);
    pending->generation++;
    pending->next = loop->pending_free;
    loop->pending_free = slot;
    assert(loop->pending_count > 0);
    loop->pending_count--;
}

static void
list_append(struct loop *loop, struct conn *conn, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    pending->conn = conn_index(loop, conn);
    if (conn->request_first == NONE)
        conn->request_first = slot;
    else
        loop->pendings[conn->request_last].next = slot;
    conn->request_last = slot;
    conn->request_count++;
}

static void
list_drop_first(struct loop *loop, struct conn *conn)
{
    uint32_t slot = conn->request_first;
    conn->request_first = loop->pendings[slot].next;
    if (conn->request_first == NONE)
        conn->request_last = NONE;
    conn->request_count--;
    pending_free(loop, slot);
}

void
requests_forget(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    /* bounded by net.pipeline_max */
    while (conn->request_first != NONE) {
        uint32_t slot = conn->request_first;
        struct pending *pending = &loop->pendings[slot];
        if (!pending->in_core) {
            list_drop_first(loop, conn);
            continue;
        }
        conn->request_first = pending->next;
        pending->conn = NONE;
        pending->next = NONE;
    }
    conn->request_last = NONE;
    conn->request_count = 0;
}

/* ---- answers ---- */

/* What was stashed behind an answer that has just been given leaves with it. */
static void
flush_stashes(struct loop *loop, struct conn *conn)
{
    uint32_t index = conn_index(loop, conn);
    conn_push_held(loop, index);
    while (conn->request_first != NONE && !conn->dead) {
        struct pending *pending = &loop->pendings[conn->request_first];
        if (pending->state != PENDING_ANSWERED)
            break;
        struct output output;
        conn_output_begin(loop, index, &output);
        for (uint32_t from = 0; from < pending->stash_size && !output.failed;) {
            uint32_t size = pending->stash_size - from;
            if (size > OUTPUT_GROW_MAX)
                size = OUTPUT_GROW_MAX;
            if (output.room < size)
                output.grow(&output, size);
            memcpy(output.data, pending->stash + from, size);
            output.data += size;
            output.room -= size;
            from += size;
        }
        conn_output_end(loop, index, &output, pending->sequence);
        if (!conn->dead)
            list_drop_first(loop, conn);
    }
    if (conn->stopped || conn->frame.expect_continue)
        conn_ready(loop, index);
}

static bool
is_first(const struct conn *conn, const struct loop *loop, const struct pending *pending)
{
    return conn->request_first != NONE && &loop->pendings[conn->request_first] == pending;
}

static void
answer_begin(struct loop *loop, struct conn *conn, struct pending *pending, struct output *ret_output)
{
    if (is_first(conn, loop, pending))
        conn_output_begin(loop, conn_index(loop, conn), ret_output);
    else
        scratch_output_begin(loop, ret_output);
}

/* The answer is whole. The slot may be gone afterwards. */
static void
answer_end(struct loop *loop, struct conn *conn, struct pending *pending, struct output *output)
{
    pending->state = PENDING_ANSWERED;
    conn->alone = false; /* the only one in flight, where it was set */
    if (is_first(conn, loop, pending)) {
        conn_output_end(loop, conn_index(loop, conn), output, pending->sequence);
        if (conn->dead)
            return; /* freed with its connection */
        list_drop_first(loop, conn);
        flush_stashes(loop, conn);
        return;
    }
    scratch_output_end(loop, output);
    pending->stash_size = (uint32_t)loop->scratch.size;
    if (!output->failed && pending->stash_size > 0)
        pending->stash = buffer_take(&loop->outputs, pending->stash_size, &pending->stash_capacity);
    if (output->failed || (pending->stash_size > 0 && pending->stash == NULL))
        conn_kill(loop, conn_index(loop, conn));
    else if (pending->stash_size > 0)
        memcpy(pending->stash, loop->scratch.data, pending->stash_size);
}

static_assert(TOKEN_PASS_SIZE_MAX == PASS_SIZE_MAX, "encoders reserve what a pass may take");

struct bytes
requests_pass(const struct loop *loop, const struct token_view *token, char *text)
{
    if (token->state != TOKEN_ACTIVE)
        return (struct bytes){NULL, 0};
    struct bytes event = {token->event->id, token->event->id_size};
    uint32_t size =
        pass_make(&loop->server->pass_secrets, token->user, event, &token->id, token->deadline_ms, text);
    return (struct bytes){text, size};
}

/* Whose pass came with a HOLD? */
static void
check_pass(struct loop *loop, struct request *request)
{
    struct command *command = &request->command;
    command->pass_refused = !pass_check(&loop->server->pass_secrets, request->pass, command->user,
                                        command->event, loop->now_ms);
}

static void
encode_token(struct loop *loop, struct output *output, const struct reply_context *context,
             const struct reply *reply)
{
    char text[PASS_SIZE_MAX];
    struct reply shown = {.status = reply->status,
                          .kind = reply->kind,
                          .command = reply->command,
                          .created = reply->created,
                          .replayed = reply->replayed,
                          .token = reply->token};
    shown.token.pass = requests_pass(loop, &reply->token, text);
    if (context->http != 0)
        http_encode(output, context, &shown, loop->now_ms);
    else
        resp_encode(output, context, &shown, loop->now_ms);
}

static void
encode_reply(struct loop *loop, struct output *output, const struct reply_context *context,
             const struct reply *reply)
{
    if (reply->kind == REPLY_TOKEN)
        encode_token(loop, output, context, reply);
    else if (context->http != 0)
        http_encode(output, context, reply, loop->now_ms);
    else
        resp_encode(output, context, reply, loop->now_ms);
}

/* ---- requests of several commands ---- */

static void
give_command(struct loop *loop, uint32_t slot, const struct command *command)
{
    struct pending *pending = &loop->pendings[slot];
    assert(!pending->in_core);
    pending->in_core = true;
    shard_command(loop->shard, (uint64_t)pending->generation << 32 | slot, command);
}

/* Gives the next command of a request that takes several. */
static void
stream_next(struct loop *loop, uint32_t slot)
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
    give_command(loop, slot, &command);
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

/* A piece of a stream has come. True: that was the last one. */
static bool
stream_piece(struct loop *loop, struct pending *pending, struct output *output, const struct reply *reply)
{
    const struct reply_context *context = &pending->context;
    if (context->kind == REQUEST_EVENT_LIST) {
        if (context->http != 0)
            http_encode_list_separator(output, context, pending->position);
        encode_reply(loop, output, context, reply);
        pending->position++;
        if (pending->position < pending->count)
            return false;
        if (context->http != 0)
            http_encode_list_end(output, context);
        return true;
    }
    encode_reply(loop, output, context, reply);
    if (reply->status != STATUS_OK)
        return true;
    assert(reply->kind == REPLY_MAP);
    assert(reply->map->row_to > pending->position);
    pending->position = reply->map->row_to;
    return reply->map->row_to == reply->map->row_count;
}

static void
stream_reply(struct loop *loop, struct conn *conn, uint32_t slot, const struct reply *reply)
{
    struct pending *pending = &loop->pendings[slot];
    assert(is_first(conn, loop, pending));
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

/* The event is changed; over HTTP the answer is the event as it is now. */
static void
follow_reply(struct loop *loop, struct conn *conn, uint32_t slot, const struct reply *reply)
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
    encode_reply(loop, &output, &pending->context, &answer);
    answer_end(loop, conn, pending, &output);
}

void
requests_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct loop *loop = context;
    uint32_t slot = (uint32_t)tag;
    assert(slot < loop->pendings_used);
    struct pending *pending = &loop->pendings[slot];
    assert(pending->generation == (uint32_t)(tag >> 32));
    assert(pending->in_core);
    pending->in_core = false;
    if (sequence > pending->sequence)
        pending->sequence = sequence;
    if (pending->poll)
        loop->poll_count--;
    if (pending->watch != 0)
        watch_replied(loop, pending->watch, reply);
    if (pending->conn == NONE) {
        pending_free(loop, slot);
        return;
    }
    struct conn *conn = &loop->conns[pending->conn];
    if (conn->dead)
        return; /* forgotten with its connection, at the end of the tick */
    if (pending->streaming) {
        stream_reply(loop, conn, slot, reply);
    } else if (pending->follow) {
        follow_reply(loop, conn, slot, reply);
    } else {
        /* while its command is being given to the core, the context still lies in the decoded request */
        const struct reply_context *reply_context =
            loop->current == slot ? &loop->request.reply_context : &pending->context;
        struct output output;
        answer_begin(loop, conn, pending, &output);
        encode_reply(loop, &output, reply_context, reply);
        answer_end(loop, conn, pending, &output);
    }
}

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

static void
decode(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    struct decode_memory memory = {.owner = loop,
                                   .draft = take_draft,
                                   .change = &loop->change,
                                   .admit = loop->keys != NULL ? guard_bearer : NULL};
    assert(loop->event_memory_taken == NULL);
    if (conn->protocol == PROTOCOL_HTTP) {
        uint64_t random[3] = {random_next(loop->random), random_next(loop->random),
                              random_next(loop->random)};
        uint8_t bytes[24];
        memcpy(bytes, random, sizeof bytes);
        http_decode(data, size, bytes, &memory, &loop->request);
    } else {
        resp_decode(data, size, conn->resp_version, &memory, &loop->request);
    }
}

/* Must run alone on its connection: takes several commands, or changes what the next ones refer to. */
static bool
runs_alone(const struct request *request)
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
static void
begin_watch(struct loop *loop, struct conn *conn, uint32_t slot)
{
    struct pending *pending = &loop->pendings[slot];
    pending->context = loop->request.reply_context;
    pending->watch = watch_begin(loop, conn_index(loop, conn), &loop->request.command);
    conn->alone = true;
    conn->stopped = true;
    give_command(loop, slot, &loop->request.command);
}

/* SEATS, EVENT CREATE, EVENT SET, EVENT LIST: keeps what the later commands need, and the memory the core
 * reads. */
static void
begin_alone(struct loop *loop, struct conn *conn, uint32_t slot)
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
    give_command(loop, slot, command);
}

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
    give_command(loop, slot, command);
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
    uint32_t slot = pending_take(loop);
    if (slot == NONE)
        return false;
    list_append(loop, conn, slot);
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

bool
requests_own(struct loop *loop, const struct command *command, uint64_t watch)
{
    uint32_t slot = pending_take(loop);
    if (slot == NONE)
        return false;
    loop->pendings[slot].conn = NONE;
    loop->pendings[slot].watch = watch;
    give_command(loop, slot, command);
    return true;
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
    if (runs_alone(request) && conn->request_first != NONE) {
        taken = false;
    } else if (request->kind == REQUEST_COMMAND || request->kind == REQUEST_EVENT_LIST) {
        uint32_t slot = pending_take(loop);
        taken = slot != NONE;
        if (taken) {
            list_append(loop, conn, slot);
            bool watches =
                request->kind == REQUEST_COMMAND && (request->command.type == COMMAND_QUEUE_WATCH ||
                                                     request->command.type == COMMAND_QUEUE_UNWATCH);
            if (watches)
                begin_watch(loop, conn, slot);
            else if (runs_alone(request))
                begin_alone(loop, conn, slot);
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

/* Nothing can be framed any more: one answer, behind all the others, then the end. */
static void
answer_framing_error(struct loop *loop, struct conn *conn, const struct request_error *error)
{
    struct request *request = &loop->request;
    request->kind = REQUEST_ERROR;
    request->error = *error;
    request->error.close = true;
    request->reply_context = (struct reply_context){.resp_version = conn->resp_version};
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
            answer_framing_error(loop, conn, &error);
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
    answer_framing_error(loop, conn, &error);
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
            stream_next(loop, conn->request_first);
        return;
    }
    if (conn->stopped && !conn->closing) {
        take_from_input(loop, conn);
        conn_touch(loop, index);
    }
}
