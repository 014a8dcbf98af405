/*
 * server_commands.c - the requests that the server answers without asking the core: what Redis clients send
 * when they connect, and HTTP's health, metrics and description.
 *
 * server_answer() is a leaf: it encodes one answer into an output, in its turn or for later (request.c
 * decides).
 */
#include "net/loop_internal.h"

#include "persist/housekeeper.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* docs/openapi.yaml, put into the binary by the build (openapi.S) */
extern const char openapi_begin[];
extern const char openapi_end[];

static struct bytes
text_of(const char *text)
{
    return (struct bytes){text, (uint32_t)strlen(text)};
}

static void
answer_hello(struct loop *loop, struct conn *conn, const struct request *request, struct output *output)
{
    if (request->resp_version != 0)
        conn->resp_version = request->resp_version;
    if (conn->resp_version != 3)
        watches_end(loop, conn_index(loop, conn)); /* RESP2 has no push messages */
    uint8_t version = conn->resp_version;
    resp_map(output, version, 7);
    resp_bulk(output, text_of("server"));
    resp_bulk(output, text_of("holdfast"));
    resp_bulk(output, text_of("version"));
    resp_bulk(output, text_of(HOLDFAST_VERSION));
    resp_bulk(output, text_of("proto"));
    resp_integer(output, version);
    resp_bulk(output, text_of("id"));
    resp_integer(output, (int64_t)conn->id);
    resp_bulk(output, text_of("mode"));
    resp_bulk(output, text_of("standalone"));
    resp_bulk(output, text_of("role"));
    resp_bulk(output, text_of("master"));
    resp_bulk(output, text_of("modules"));
    resp_array(output, 0);
}

static void
set_name(struct conn *conn, struct bytes name)
{
    assert(name.size <= sizeof conn->name);
    memcpy(conn->name, name.data, name.size);
    conn->name_size = (uint8_t)name.size;
}

static void
error_line(struct output *output, const char *text)
{
    struct request_error error = {.status = STATUS_BADREQUEST};
    (void)snprintf(error.text, sizeof error.text, "%s", text); /* ours, and short */
    resp_encode_error(output, &error);
}

static const char not_a_key[] = "NOAUTH this is not a key, or not of this name";

/* Appends to text; what does not fit is cut. */
static void append(char *text, size_t room, size_t *size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
append(char *text, size_t room, size_t *size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text + *size, room - *size, format, arguments);
    va_end(arguments);
    if (written > 0 && (size_t)written < room - *size)
        *size += (size_t)written;
}

static void
answer_info(struct loop *loop, const struct request *request, struct output *output)
{
    struct server *server = loop->server;
    char text[2048];
    size_t size = 0;
    bool all = request->argument.size == 0 || bytes_equal(request->argument, text_of("all")) ||
               bytes_equal(request->argument, text_of("everything")) ||
               bytes_equal(request->argument, text_of("default"));
#define SECTION(name)                                                                                      \
    (all || (request->argument.size == strlen(name) &&                                                     \
             strncasecmp(request->argument.data, name, strlen(name)) == 0))
    uint64_t sum[METRIC_COUNT];
    loop_publish(loop);
    for (enum metric m = 0; m < METRIC_COUNT; m++)
        sum[m] = metrics_sum(server->metrics, server->shard_count, m);
#define SUM(metric) ((unsigned long long)sum[metric])
    if (SECTION("server"))
        append(text, sizeof text, &size,
               "# "
               "Server\r\nholdfast_version:%s\r\nprocess_id:%d\r\nshards:%u\r\ndurability:%s\r\nhttp:%"
               "s\r\nresp:%s\r\n"
               "uptime_in_seconds:%llu\r\n\r\n",
               HOLDFAST_VERSION, (int)getpid(), server->shard_count, server->durable ? "journal" : "memory",
               server->http_text, server->resp_text,
               (unsigned long long)((loop->now_ms - server->started_ms) / 1000));
    if (SECTION("clients"))
        append(text, sizeof text, &size, "# Clients\r\nconnected_clients:%llu\r\nmaxclients:%u\r\n\r\n",
               SUM(METRIC_CONNECTIONS_HTTP) + SUM(METRIC_CONNECTIONS_RESP), server->connections_max);
    if (SECTION("stats"))
        append(text, sizeof text, &size,
               "# Stats\r\ntotal_connections_received:%llu\r\nrejected_connections:%llu\r\n"
               "total_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\nexpired_holds:%llu\r\nrecords:"
               "%llu\r\n\r\n",
               SUM(METRIC_ACCEPTED), SUM(METRIC_REFUSED), SUM(METRIC_BYTES_RECEIVED),
               SUM(METRIC_BYTES_SENT), SUM(METRIC_HOLDS_EXPIRED), SUM(METRIC_RECORDS));
    if (SECTION("replication"))
        append(text, sizeof text, &size, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n");
    if (SECTION("holds"))
        append(text, sizeof text, &size,
               "# Holds\r\nholds_live:%llu\r\nholds_confirmed:%llu\r\nholds_ended:%llu\r\nusers:%llu\r\n"
               "idempotency_keys:%llu\r\nevents:%llu\r\n",
               SUM(METRIC_HOLDS_LIVE), SUM(METRIC_HOLDS_CONFIRMED), SUM(METRIC_HOLDS_ENDED),
               SUM(METRIC_USERS), SUM(METRIC_KEYS), (unsigned long long)shard_event_count(loop->shard));
    if (SECTION("queue"))
        append(
            text, sizeof text, &size,
            "%s# Queue\r\ntokens_waiting:%llu\r\ntokens_active:%llu\r\njoins:%llu\r\nactivations:%llu\r\n",
            all ? "\r\n" : "", SUM(METRIC_QUEUE_WAITING), SUM(METRIC_QUEUE_ACTIVE),
            SUM(METRIC_QUEUE_JOINED), SUM(METRIC_QUEUE_ACTIVATED));
#undef SECTION
#undef SUM
    resp_bulk(output, (struct bytes){text, (uint32_t)size});
}

/* What redis-benchmark and some clients ask for; a pattern as Redis takes it. */
static void
answer_config(struct loop *loop, const struct conn *conn, const struct request *request,
              struct output *output)
{
    char maxclients[16];
    (void)snprintf(maxclients, sizeof maxclients, "%u", loop->server->connections_max); /* fits */
    const char *const pairs[][2] = {
        {"save", ""},       {"appendonly", loop->server->durable ? "yes" : "no"},
        {"databases", "1"}, {"maxclients", maxclients},
        {"maxmemory", "0"}, {"timeout", "0"},
    };
    const size_t count = sizeof pairs / sizeof pairs[0];
    char pattern[64] = "";
    bool found[sizeof pairs / sizeof pairs[0]];
    uint32_t matches = 0;
    if (request->argument.size < sizeof pattern)
        memcpy(pattern, request->argument.data, request->argument.size);
    for (size_t i = 0; i < count; i++) {
        found[i] = fnmatch(pattern, pairs[i][0], FNM_CASEFOLD) == 0;
        matches += found[i];
    }
    resp_map(output, conn->resp_version, matches);
    for (size_t i = 0; i < count; i++) {
        if (found[i]) {
            resp_bulk(output, text_of(pairs[i][0]));
            resp_bulk(output, text_of(pairs[i][1]));
        }
    }
}

static void
answer_metrics(struct loop *loop, const struct request *request, struct output *output)
{
    struct server *server = loop->server;
    size_t capacity;
    char *text = buffer_take(&loop->outputs, METRICS_TEXT_SIZE(server->shard_count), &capacity);
    if (text == NULL) {
        output->failed = true; /* output memory is at its bound: the connection closes */
        return;
    }
    loop_publish(loop);
    struct process_figures figures = server->figures;
    figures.snapshots = atomic_load_explicit(&server->snapshots, memory_order_relaxed);
    figures.snapshots_failed = atomic_load_explicit(&server->snapshots_failed, memory_order_relaxed);
    size_t size = metrics_text(server->metrics, server->shard_count, &figures, text, capacity);
    http_encode_text(output, &request->reply_context, 200, "text/plain; version=0.0.4; charset=utf-8",
                     (struct bytes){text, (uint32_t)size});
    buffer_give(&loop->outputs, text, capacity);
}

static void
answer_http(struct loop *loop, const struct request *request, struct output *output)
{
    const struct reply_context *context = &request->reply_context;
    const char *hindrance = NULL;
    if (atomic_load_explicit(&loop->server->stopping, memory_order_relaxed))
        hindrance = "stopping\n";
    else if (housekeeper_scarce(loop->server->housekeeper))
        hindrance = "no room for the journal\n";
    switch (request->kind) {
    case REQUEST_HEALTHZ:
        http_encode_text(output, context, 200, "text/plain; charset=utf-8", text_of("ok\n"));
        break;
    case REQUEST_READYZ:
        http_encode_text(output, context, hindrance != NULL ? 503 : 200, "text/plain; charset=utf-8",
                         text_of(hindrance != NULL ? hindrance : "ready\n"));
        break;
    case REQUEST_METRICS:
        answer_metrics(loop, request, output);
        break;
    default:
        assert(request->kind == REQUEST_OPENAPI);
        http_encode_text(output, context, 200, "application/yaml",
                         (struct bytes){openapi_begin, (uint32_t)(openapi_end - openapi_begin)});
        break;
    }
}

static void
answer_resp(struct loop *loop, struct conn *conn, const struct request *request, struct output *output)
{
    switch (request->kind) {
    case REQUEST_PING:
        if (request->argument.size == 0)
            resp_simple(output, "PONG");
        else
            resp_bulk(output, request->argument);
        break;
    case REQUEST_ECHO:
        resp_bulk(output, request->argument);
        break;
    case REQUEST_HELLO:
        if (request->argument.size > sizeof conn->name) {
            error_line(output, "ERR Client names are limited to 64 bytes");
            break;
        }
        /* without keys everybody is let in, whatever is shown */
        if (loop->keys != NULL && request->auth_key.data != NULL &&
            !guard_authenticate(loop, conn, request->auth_name, request->auth_key)) {
            error_line(output, not_a_key);
            break;
        }
        if (!guard_authenticated(loop, conn)) {
            error_line(output, "NOAUTH HELLO must be called with the client already authenticated, "
                               "otherwise the HELLO <proto> AUTH <user> <pass> option can be used to "
                               "authenticate the client and select the RESP protocol version at the same "
                               "time");
            break;
        }
        if (request->argument.size > 0)
            set_name(conn, request->argument);
        answer_hello(loop, conn, request, output);
        break;
    case REQUEST_AUTH:
        if (loop->keys != NULL) {
            if (guard_authenticate(loop, conn, request->auth_name, request->auth_key))
                resp_simple(output, "OK");
            else
                error_line(output, not_a_key);
            break;
        }
        /* Redis' default user has no password, so any is taken where a name comes with it */
        if (request->auth_name.size > 0) {
            resp_simple(output, "OK");
            break;
        }
        error_line(
            output,
            "ERR AUTH <password> called without any password configured for the default user. Are you "
            "sure your configuration is correct?");
        break;
    case REQUEST_INFO:
        answer_info(loop, request, output);
        break;
    case REQUEST_COMMAND_TABLE:
        resp_encode_command_table(output, &request->reply_context, request->argument);
        break;
    case REQUEST_CLIENT_SETNAME:
        if (request->argument.size > sizeof conn->name) {
            error_line(output, "ERR Client names are limited to 64 bytes");
            break;
        }
        set_name(conn, request->argument);
        resp_simple(output, "OK");
        break;
    case REQUEST_CLIENT_GETNAME:
        if (conn->name_size == 0)
            resp_null(output, conn->resp_version);
        else
            resp_bulk(output, (struct bytes){conn->name, conn->name_size});
        break;
    case REQUEST_CLIENT_ID:
        resp_integer(output, (int64_t)conn->id);
        break;
    case REQUEST_CONFIG_GET:
        answer_config(loop, conn, request, output);
        break;
    case REQUEST_RESET:
        conn->resp_version = 2;
        conn->name_size = 0;
        watches_end(loop, conn_index(loop, conn));
        conn->key = KEY_ABSENT;
        resp_simple(output, "RESET");
        break;
    default:
        assert(request->kind == REQUEST_CLIENT_SETINFO || request->kind == REQUEST_SELECT ||
               request->kind == REQUEST_QUIT);
        resp_simple(output, "OK");
        break;
    }
}

void
server_answer(struct loop *loop, uint32_t index, const struct request *request, struct output *output)
{
    struct conn *conn = &loop->conns[index];
    if (request->kind == REQUEST_ERROR && conn->protocol == PROTOCOL_HTTP)
        http_encode_error(output, request->reply_context.http != 0 ? &request->reply_context : NULL,
                          &request->error);
    else if (request->kind == REQUEST_ERROR)
        resp_encode_error(output, &request->error);
    else if (conn->protocol == PROTOCOL_HTTP)
        answer_http(loop, request, output);
    else
        answer_resp(loop, conn, request, output);
}

void
server_refuse(enum protocol protocol, const char *what, struct output *output)
{
    struct request_error error = {.status = STATUS_BUSY, .close = true};
    if (protocol == PROTOCOL_HTTP) {
        (void)snprintf(error.text, sizeof error.text, "%s", what); /* ours, and short */
        http_encode_error(output, NULL, &error);
    } else {
        (void)snprintf(error.text, sizeof error.text, "BUSY %s", what); /* likewise */
        resp_encode_error(output, &error);
    }
}
