/*
 * request_order.c - requests in flight, and their answers in the order of the requests.
 *
 * The commands of a connection run at the same time and may end in any order, on several shards. A request
 * in flight is a struct pending in its connection's list, oldest first. A reply that comes in its turn is
 * encoded straight into the connection's output, and so are the stashed ones behind it; one that comes
 * early is encoded into its own small buffer, its stash, and waits:
 *
 *     requests   1 . . . . 2 . . . . 3 . . . . 4
 *                in core   stash     in core   stash         nothing leaves
 *     1 replies  ------------------------------------>       1 and 2 leave, 3 is the oldest
 *
 * The fast path: one shard, the reply comes inside shard_command(), nothing older is in flight: the bytes
 * go from the codec into the output, and the pending slot, which was only lent, is hot in the cache.
 */
#include "net/loop_internal.h"

#include <assert.h>
#include <string.h>

/* ---- pending slots ---- */

uint32_t
request_take(struct loop *loop)
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
    pending->cold = false;
    pending->watch = 0;
    pending->memory = NULL;
    pending->stash = NULL;
    loop->pending_count++;
    return slot;
}

void
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

void
request_append(struct loop *loop, struct conn *conn, uint32_t slot)
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

void
request_give(struct loop *loop, uint32_t slot, const struct command *command)
{
    struct pending *pending = &loop->pendings[slot];
    assert(!pending->in_core);
    pending->in_core = true;
    shard_command(loop->shard, (uint64_t)pending->generation << 32 | slot, command);
}

bool
requests_own(struct loop *loop, const struct command *command, uint64_t watch)
{
    uint32_t slot = request_take(loop);
    if (slot == NONE)
        return false;
    loop->pendings[slot].conn = NONE;
    loop->pendings[slot].watch = watch;
    request_give(loop, slot, command);
    return true;
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
        if (pending->state != PENDING_ANSWERED || pending->cold)
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

bool
answer_is_first(const struct conn *conn, const struct loop *loop, const struct pending *pending)
{
    return conn->request_first != NONE && &loop->pendings[conn->request_first] == pending && !pending->cold;
}

void
answer_begin(struct loop *loop, struct conn *conn, struct pending *pending, struct output *ret_output)
{
    if (answer_is_first(conn, loop, pending))
        conn_output_begin(loop, conn_index(loop, conn), ret_output);
    else
        scratch_output_begin(loop, ret_output);
}

/* The answer is whole. The slot may be gone afterwards. */
void
answer_end(struct loop *loop, struct conn *conn, struct pending *pending, struct output *output)
{
    pending->state = PENDING_ANSWERED;
    conn->alone = false; /* the only one in flight, where it was set */
    if (answer_is_first(conn, loop, pending)) {
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

void
answer_encode(struct loop *loop, struct output *output, const struct reply_context *context,
              const struct reply *reply)
{
    if (reply->kind == REPLY_TOKEN)
        encode_token(loop, output, context, reply);
    else if (context->http != 0)
        http_encode(output, context, reply, loop->now_ms);
    else
        resp_encode(output, context, reply, loop->now_ms);
}

/* An event has been made. Its memory has never been touched, nor has, with the first one, what holds take:
 * whoever came next would wait for the kernel, and everybody with him. So whoever made it does (warm.h):
 * the answer is stashed, at most COLD_MS_MAX. */
static void
wait_cold(struct loop *loop, uint32_t slot)
{
    const struct warmer *warmer = &loop->server->warmer;
    struct pending *pending = &loop->pendings[slot];
    loop_look_warm(loop);
    uint64_t told = warm_told(warmer);
    if (warm_reached(warmer, told) || loop->cold_count == COLD_MAX)
        return;
    if (pending->memory != NULL)
        event_memory_give(loop, pending->memory); /* the core has read it; others wait for one */
    pending->memory = NULL;
    pending->cold = true;
    loop->cold[loop->cold_count++] =
        (struct cold_answer){slot, pending->generation, told, loop->now_ms + COLD_MS_MAX};
}

void
requests_warmed(struct loop *loop)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < loop->cold_count; i++) {
        struct cold_answer *answer = &loop->cold[i];
        struct pending *pending = &loop->pendings[answer->slot];
        if (pending->generation != answer->generation)
            continue; /* gone with its connection */
        if (!warm_reached(&loop->server->warmer, answer->told) && loop->now_ms < answer->until_ms) {
            loop->cold[left++] = *answer;
            continue;
        }
        pending->cold = false;
        if (pending->state == PENDING_ANSWERED && pending->conn != NONE && !loop->conns[pending->conn].dead)
            flush_stashes(loop, &loop->conns[pending->conn]);
    }
    loop->cold_count = left;
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
    if (reply->command == COMMAND_EVENT_CREATE && reply->created && !reply->replayed)
        wait_cold(loop, slot);
    if (pending->streaming) {
        request_stream_reply(loop, conn, slot, reply);
    } else if (pending->follow) {
        request_follow_reply(loop, conn, slot, reply);
    } else {
        /* while its command is being given to the core, the context still lies in the decoded request */
        const struct reply_context *reply_context =
            loop->current == slot ? &loop->request.reply_context : &pending->context;
        struct output output;
        answer_begin(loop, conn, pending, &output);
        answer_encode(loop, &output, reply_context, reply);
        answer_end(loop, conn, pending, &output);
    }
}
