/*
 * watch.c - which connection watches which token, and the push messages that come of it.
 *
 * The core knows a watch by a number, its tag, which it gives back with each piece of news. Here a tag is
 * the slot of a struct watch and how often that slot has been used, so that news on its way to a connection
 * that has gone, or that watches no more, finds nobody:
 *
 *     WATCH        watched: in the connection's list and in the index by (connection, token)
 *     UNWATCH      out of both at once; the slot is free when the core has answered
 *     news that the token has ended: free, the core has forgotten the watch, too
 *     the connection closes, or turns to RESP2: in the list of those to be ended, which watches_step()
 * tells the core one by one, as often as the core is too busy
 *
 * The same token watched twice by a connection is one watch. Bounds (R7): core.watchers_max of a shard's
 * connections together and WATCHES_OF_CONNECTION_MAX of one are BUSY; a connection that does not read its
 * push messages is closed (conn_push_end).
 *
 * See also: resp_queue.c for the messages' form, core/token_watch.c for what is news.
 */
#include "core/route.h"
#include "net/loop_internal.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

static inline struct watch *
watch_at(const struct loop *loop, uint32_t slot)
{
    return slab_item(&loop->watches.slab, slot);
}

static void
lay_out(struct watches *watches, struct carve *carve, uint32_t count_max)
{
    slab_open(&watches->slab, carve, sizeof(struct watch), count_max);
    index_open(&watches->by_token, carve, count_max);
}

int
watches_open(struct loop *loop)
{
    struct watches *watches = &loop->watches;
    uint32_t count_max = (uint32_t)loop->server->settings->watchers_max;
    struct carve carve = {NULL, 0};
    lay_out(watches, &carve, count_max);
    watches->memory_size = carve.offset;
    watches->memory = mmap(NULL, watches->memory_size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (watches->memory == MAP_FAILED) {
        watches->memory = NULL;
        return -ENOMEM;
    }
    carve = (struct carve){watches->memory, 0};
    lay_out(watches, &carve, count_max);
    watches->ended_first = NONE;
    return 0;
}

static uint64_t
place_hash(uint32_t conn, const struct uuid *token)
{
    return route_hash_part(uuid_hash(token), conn);
}

/* The connection's watch of a token, or NONE. */
static uint32_t
find(const struct loop *loop, uint32_t conn, const struct uuid *token)
{
    struct index_cursor cursor = index_find(&loop->watches.by_token, place_hash(conn, token));
    uint32_t slot;
    while ((slot = index_next(&cursor)) != SLAB_NONE)
        if (watch_at(loop, slot)->conn == conn && uuid_equal(&watch_at(loop, slot)->token, token))
            return slot;
    return NONE;
}

static uint64_t
tag_of(const struct loop *loop, uint32_t slot)
{
    return (uint64_t)watch_at(loop, slot)->generation << 32 | slot;
}

/* The slot of a tag, or NONE where it has been used for something else since, or is free. */
static uint32_t
slot_of(const struct loop *loop, uint64_t tag)
{
    uint32_t slot = (uint32_t)tag;
    assert(slot < loop->watches.slab.fresh);
    return watch_at(loop, slot)->generation == (uint32_t)(tag >> 32) ? slot : NONE;
}

static void
link_watch(struct loop *loop, uint32_t slot, uint32_t index)
{
    struct watch *watch = watch_at(loop, slot);
    struct conn *conn = &loop->conns[index];
    watch->conn = index;
    watch->before = NONE;
    watch->next = conn->watch_first;
    if (conn->watch_first != NONE)
        watch_at(loop, conn->watch_first)->before = slot;
    conn->watch_first = slot;
    conn->watch_count++;
    index_add(&loop->watches.by_token, place_hash(index, &watch->token), slot);
}

static void
unlink_watch(struct loop *loop, uint32_t slot)
{
    struct watch *watch = watch_at(loop, slot);
    struct conn *conn = &loop->conns[watch->conn];
    if (watch->before == NONE)
        conn->watch_first = watch->next;
    else
        watch_at(loop, watch->before)->next = watch->next;
    if (watch->next != NONE)
        watch_at(loop, watch->next)->before = watch->before;
    conn->watch_count--;
    index_remove(&loop->watches.by_token, place_hash(watch->conn, &watch->token), slot);
    watch->conn = NONE;
}

static void
give(struct loop *loop, uint32_t slot)
{
    assert(watch_at(loop, slot)->conn == NONE);
    watch_at(loop, slot)->generation++;
    slab_give(&loop->watches.slab, slot);
}

static void
end_later(struct loop *loop, uint32_t slot)
{
    watch_at(loop, slot)->next = loop->watches.ended_first;
    loop->watches.ended_first = slot;
}

bool
watch_room(const struct loop *loop, const struct conn *conn, const struct command *command)
{
    if (find(loop, conn_index(loop, conn), &command->hold) != NONE)
        return true;
    return slab_left(&loop->watches.slab) > 0 && conn->watch_count < WATCHES_OF_CONNECTION_MAX;
}

uint64_t
watch_begin(struct loop *loop, uint32_t index, struct command *command)
{
    uint32_t slot = find(loop, index, &command->hold);
    bool change = command->type == COMMAND_QUEUE_WATCH ? slot == NONE : slot != NONE;
    if (!change) {
        command->type = COMMAND_QUEUE_GET;
        return 0;
    }
    if (slot == NONE) {
        slot = slab_take(&loop->watches.slab);
        assert(slot != SLAB_NONE); /* watch_room() said so */
        struct watch *watch = watch_at(loop, slot);
        watch->token = command->hold;
        watch->generation += watch->generation == 0; /* a tag is never 0 */
        link_watch(loop, slot, index);
    } else {
        unlink_watch(loop, slot);
    }
    command->watch = tag_of(loop, slot);
    return command->watch;
}

static bool
lives(const struct reply *reply)
{
    return reply->status == STATUS_OK && reply->token.state <= TOKEN_ACTIVE;
}

void
watch_replied(struct loop *loop, uint64_t tag, const struct reply *reply)
{
    uint32_t slot = slot_of(loop, tag);
    if (slot == NONE)
        return; /* news of the token's end came before this */
    if (reply->command == COMMAND_QUEUE_UNWATCH) {
        if (reply->status == STATUS_BUSY)
            end_later(loop, slot); /* it watches no more, and the core will hear of it */
        else
            give(loop, slot);
    } else if (!lives(reply) && watch_at(loop, slot)->conn != NONE) {
        unlink_watch(loop, slot);
        give(loop, slot);
    }
}

void
watch_pushed(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct loop *loop = context;
    uint32_t slot = slot_of(loop, tag);
    if (slot == NONE || watch_at(loop, slot)->conn == NONE)
        return;
    uint32_t index = watch_at(loop, slot)->conn;
    struct conn *conn = &loop->conns[index];
    assert(reply->kind == REPLY_TOKEN);
    if (!lives(reply)) {
        unlink_watch(loop, slot);
        give(loop, slot);
    }
    if (conn->dead || conn->closing)
        return;
    if (!guard_authenticated(loop, conn)) { /* its key was taken away: no more news, and no pass, for it */
        conn_kill(loop, index);
        return;
    }
    struct output output;
    char pass[PASS_SIZE_MAX];
    struct token_view token = reply->token;
    token.pass = requests_pass(loop, &token, pass);
    conn_push_begin(loop, index, &output);
    resp_encode_push(&output, &token);
    conn_push_end(loop, index, &output, sequence);
}

void
watches_end(struct loop *loop, uint32_t index)
{
    struct conn *conn = &loop->conns[index];
    /* bounded by WATCHES_OF_CONNECTION_MAX */
    while (conn->watch_first != NONE) {
        uint32_t slot = conn->watch_first;
        unlink_watch(loop, slot);
        end_later(loop, slot);
    }
}

bool
watches_step(struct loop *loop)
{
    for (uint32_t i = 0; i < WATCHES_ENDED_BATCH && loop->watches.ended_first != NONE; i++) {
        uint32_t slot = loop->watches.ended_first;
        struct watch *watch = watch_at(loop, slot);
        uint64_t tag = tag_of(loop, slot);
        struct command command = {.type = COMMAND_QUEUE_UNWATCH, .hold = watch->token, .watch = tag};
        loop->watches.ended_first = watch->next;
        if (!requests_own(loop, &command, tag)) {
            end_later(loop, slot);
            break;
        }
    }
    return loop->watches.ended_first != NONE;
}
