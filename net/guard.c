/*
 * guard.c - the front door: whether a request may be executed, by the key it came with and by how many came
 * before it.
 *
 *     decode ─ guard_bearer() in the middle of an HTTP head ─▶ guard_request() ─▶ execute, or the refusal
 *
 * guard_request() keeps the interface's order of checks: noauth, ratelimit, badrequest. A request that
 * could not be decoded comes here, too, as the badrequest that it would be answered, and may leave as a
 * noauth or a ratelimit. What could not even be framed has no key to look at: it is told so, and the
 * connection closes.
 *
 * Who asks. RESP: what AUTH or HELLO ... AUTH left in the connection: the key's hash, and where it lies in
 * the table of keys; after a reload it is looked up again, so a key that was taken away ends with the next
 * request. HTTP: each request brings its own, and is looked at before path and body are read.
 *
 * How often. The client's address first, which is known before anything is decoded, then the user, which
 * is known only of a request that is well-formed. What only greets (HELLO, AUTH, QUIT, RESET) and probes
 * (/healthz, /readyz) is not counted. A refused request takes no token of the limit that refused it.
 *
 * A server without keys and limits comes by here with one branch (loop->guarded).
 *
 * The table of keys is read-only; a reload publishes another one (server.c), which a loop takes up between
 * two ticks, guard_tick(), and says so, so that the old one can be freed. No request sees two tables.
 */
#include "net/loop_internal.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* ---- keys ---- */

int
guard_open(struct loop *loop)
{
    struct server *server = loop->server;
    loop->keys = atomic_load_explicit(&server->keys, memory_order_acquire);
    /* release: what comes with it is only that the table of before is not read any more */
    atomic_store_explicit(&server->keys_taken[loop->index], loop->keys, memory_order_release);
    loop->guarded =
        loop->keys != NULL || server->rate_user.per_second > 0 || server->rate_address.per_second > 0;
    if (loop->keys == NULL)
        return 0;
    loop->key_reader = key_reader_open();
    return loop->key_reader != NULL ? 0 : -1;
}

void
guard_close(struct loop *loop)
{
    key_reader_close(loop->key_reader);
    loop->key_reader = NULL;
}

void
guard_tick(struct loop *loop)
{
    const struct keys *keys = atomic_load_explicit(&loop->server->keys, memory_order_acquire);
    if (keys == loop->keys)
        return;
    loop->keys = keys;
    atomic_store_explicit(&loop->server->keys_taken[loop->index], keys, memory_order_release);
}

/* decode_memory.admit */
bool
guard_bearer(void *owner, struct bytes authorization)
{
    static const char scheme[] = "Bearer ";
    struct loop *loop = owner;
    uint8_t hash[KEY_HASH_SIZE];
    uint32_t scheme_size = sizeof scheme - 1;
    loop->bearer = KEY_ABSENT;
    if (authorization.size <= scheme_size || strncasecmp(authorization.data, scheme, scheme_size) != 0)
        return false;
    struct bytes text = {authorization.data + scheme_size, authorization.size - scheme_size};
    while (text.size > 0 && text.data[0] == ' ') {
        text.data++;
        text.size--;
    }
    loop->bearer = key_find_text(loop->key_reader, loop->keys, text, hash);
    return loop->bearer != KEY_ABSENT;
}

/* The key of this request, or NULL. */
static const struct key *
key_of(struct loop *loop, struct conn *conn)
{
    uint32_t index = loop->bearer;
    if (conn->protocol == PROTOCOL_RESP) {
        if (conn->key_generation != loop->keys->generation && conn->key != KEY_ABSENT) {
            conn->key = key_find_hash(loop->keys, conn->key_hash);
            conn->key_generation = loop->keys->generation;
        }
        index = conn->key;
    }
    return index == KEY_ABSENT ? NULL : &loop->keys->keys[index];
}

bool
guard_authenticated(struct loop *loop, struct conn *conn)
{
    return loop->keys == NULL || key_of(loop, conn) != NULL;
}

bool
guard_authenticate(struct loop *loop, struct conn *conn, struct bytes name, struct bytes text)
{
    static const struct bytes anybody = {"default", 7}; /* what Redis clients say who must say a name */
    uint8_t hash[KEY_HASH_SIZE];
    uint32_t index = key_find_text(loop->key_reader, loop->keys, text, hash);
    if (index == KEY_ABSENT)
        return false;
    const struct key *key = &loop->keys->keys[index];
    if (name.size > 0 && !bytes_equal(name, anybody) &&
        !bytes_equal(name, (struct bytes){key->name, key->name_size}))
        return false;
    conn->key = index;
    conn->key_generation = loop->keys->generation;
    memcpy(conn->key_hash, hash, sizeof conn->key_hash);
    return true;
}

/* ---- roles ---- */

static bool
role_may_command(enum key_role role, enum command_type type)
{
    switch (type) {
    case COMMAND_HOLD:
    case COMMAND_CONFIRM:
    case COMMAND_EXTEND:
    case COMMAND_RELEASE:
    case COMMAND_QUEUE_JOIN:
    case COMMAND_QUEUE_LEAVE:
    case COMMAND_QUEUE_WATCH:
    case COMMAND_QUEUE_UNWATCH:
        return role == KEY_ROLE_CLIENT;
    case COMMAND_HOLD_GET:
    case COMMAND_HOLDS:
    case COMMAND_QUEUE_GET:
    case COMMAND_EVENT_GET:
    case COMMAND_SEATS:
        return true;
    case COMMAND_EVENT_CREATE:
    case COMMAND_EVENT_SET:
    case COMMAND_CANCEL:
        return false;
    }
    return false;
}

static bool
role_may(enum key_role role, const struct request *request)
{
    if (role == KEY_ROLE_OPERATOR)
        return true;
    if (request->reply_context.http != 0 && request->metrics)
        return role == KEY_ROLE_READ;
    if (request->kind == REQUEST_EVENT_LIST)
        return role_may_command(role, COMMAND_EVENT_GET);
    /* a malformed one as well, where it is known what it was to be */
    if (request->kind == REQUEST_COMMAND ||
        (request->kind == REQUEST_ERROR && request->reply_context.command != 0))
        return role_may_command(role, (enum command_type)request->reply_context.command);
    return true;
}

/* What a connection needs before it has shown a key. (HELLO looks for itself.) */
static bool
open_to_strangers(const struct request *request)
{
    switch (request->kind) {
    case REQUEST_HEALTHZ:
    case REQUEST_HELLO:
    case REQUEST_AUTH:
    case REQUEST_QUIT:
    case REQUEST_RESET:
        return true;
    default:
        return false;
    }
}

static void
refuse(struct loop *loop, enum status status, enum metric metric)
{
    struct request *request = &loop->request;
    bool close = request->kind == REQUEST_ERROR && request->error.close;
    request->kind = REQUEST_ERROR;
    request->reply_context.kind = REQUEST_ERROR;
    request->error = (struct request_error){.status = status, .close = close};
    loop->figures.value[metric]++;
}

static bool
keys_allow(struct loop *loop, struct conn *conn)
{
    struct request *request = &loop->request;
    const struct key *key = key_of(loop, conn);
    if (key == NULL) {
        if (open_to_strangers(request))
            return true;
        refuse(loop, STATUS_NOAUTH, METRIC_NOAUTH);
        return false;
    }
    if (!role_may(key->role, request)) {
        refuse(loop, STATUS_NOAUTH, METRIC_NOAUTH);
        request->error.forbidden = true;
        return false;
    }
    if (request->kind == REQUEST_COMMAND)
        request->command.caller = (struct bytes){key->name, key->name_size};
    return true;
}

/* ---- rates ---- */

void
guard_connection(struct loop *loop, struct conn *conn)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    conn->key = KEY_ABSENT;
    if (loop->server->rate_address.per_second == 0)
        return;
    /* a client that has gone already has no address any more, and no request */
    if (getpeername(conn->fd, (struct sockaddr *)(void *)&address, &size) != 0 ||
        !client_address_of(&address, &conn->peer))
        conn->peer = (struct client_address){0};
    conn->proxy = proxies_have(&loop->server->proxies, &conn->peer);
}

static bool
is_counted(const struct request *request)
{
    switch (request->kind) {
    case REQUEST_HEALTHZ:
    case REQUEST_READYZ:
    case REQUEST_HELLO:
    case REQUEST_AUTH:
    case REQUEST_QUIT:
    case REQUEST_RESET:
        return false;
    default:
        return true;
    }
}

static bool
rate_allows(struct loop *loop, struct rate_limit *limit, const char *policy, enum metric metric,
            const void *name, size_t size)
{
    struct rate_answer answer = rate_limit_take(limit, name, size, loop->tick_began_ns);
    if (answer.evicted)
        loop->figures.value[METRIC_RATE_EVICTED]++;
    if (answer.allowed)
        return true;
    refuse(loop, STATUS_RATELIMIT, metric);
    loop->request.error.rate_policy = policy;
    loop->request.error.rate_per_second = limit->per_second;
    loop->request.error.retry_seconds = (answer.wait_ms + 999) / 1000;
    return false;
}

static bool
rates_allow(struct loop *loop, struct conn *conn)
{
    struct server *server = loop->server;
    const struct request *request = &loop->request;
    if (server->rate_address.per_second > 0) {
        struct client_address address = conn->peer;
        if (conn->proxy && conn->protocol == PROTOCOL_HTTP)
            /* where the proxy does not say, it is its own client */
            (void)client_address_forwarded(&server->proxies, request->forwarded, request->x_forwarded_for,
                                           &address);
        if (!client_address_is_loopback(&address) &&
            !rate_allows(loop, &server->rate_address, "address", METRIC_RATELIMIT_ADDRESS, address.byte,
                         client_address_counted(&address)))
            return false;
    }
    if (server->rate_user.per_second > 0 && request->kind == REQUEST_COMMAND &&
        request->command.user.size > 0)
        return rate_allows(loop, &server->rate_user, "user", METRIC_RATELIMIT_USER,
                           request->command.user.data, request->command.user.size);
    return true;
}

void
guard_request(struct loop *loop, struct conn *conn)
{
    assert(loop->guarded);
    if (loop->keys != NULL && !keys_allow(loop, conn))
        return;
    /* one that could not be taken at once, and is decoded a second time, has paid already */
    if (!conn->charged && is_counted(&loop->request))
        conn->charged = rates_allow(loop, conn);
}
