/*
 * server.c - `holdfast serve`: from the settings to running loops, and back.
 *
 *     settings -> data directory -> listeners -> mailboxes -> threads, each opens its loop -> "ready" ->
 * signal -> join
 *
 * The main thread makes what the loops share, starts them, and then only waits for SIGTERM or SIGINT. A
 * thread opens its own loop (a ring belongs to the thread that made it, and memory is touched first where
 * it is used); the main thread waits until all have said how that went, so that a start either succeeds as
 * a whole or ends with the cause. The mutex and the condition here are for start and end only: there is no
 * lock in the request path.
 */
#include "net/server.h"

#include "net/data_directory.h"
#include "net/log.h"
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LISTEN_BACKLOG 4096
/* Files besides connections: rings, eventfds, listeners, the log, the lock, and some air. */
#define FILES_RESERVED (64u + SHARDS_MAX * 5)
#define CAUSE_SIZE     512

extern char **environ;

/* One shard's thread, as the main thread sees it. */
struct shard_thread {
    struct server *server;
    struct start *start;
    pthread_t thread;
    uint32_t index;
    char cause[CAUSE_SIZE];
};

/* Who has opened its loop, and whether all may run. */
struct start {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t opened;
    uint32_t failed;
    bool decided;
    bool go;
};

static void *
run_shard(void *argument)
{
    struct shard_thread *thread = argument;
    struct start *start = thread->start;
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET((size_t)thread->server->cores[thread->index], &core);
    /* unpinned it runs as well, only less steadily */
    int pinned = pthread_setaffinity_np(pthread_self(), sizeof core, &core);
    if (pinned != 0)
        log_warning("could not pin shard %u to core %d: %s", thread->index,
                    thread->server->cores[thread->index], strerror(pinned));
    struct loop *loop = NULL;
    int result = loop_open(&loop, thread->server, thread->index, thread->cause, sizeof thread->cause);

    (void)pthread_mutex_lock(&start->mutex); /* cannot fail: ours, not recursive */
    if (result == 0)
        start->opened++;
    else
        start->failed++;
    (void)pthread_cond_broadcast(&start->changed);
    while (!start->decided)
        (void)pthread_cond_wait(&start->changed, &start->mutex);
    bool go = start->go;
    (void)pthread_mutex_unlock(&start->mutex);

    if (loop != NULL && go)
        loop_run(loop);
    if (loop != NULL)
        loop_close(loop);
    return NULL;
}

/* ---- listeners ---- */

static int
open_listener(const struct listen_address *address, bool shared)
{
    int one = 1;
    int fd = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int result = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (result == 0 && shared)
        result = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (result == 0) /* accepted sockets inherit it */
        result = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (result == 0)
        result = bind(fd, (const struct sockaddr *)(const void *)&address->address, address->size);
    if (result == 0 && shared)
        result = listen(fd, LISTEN_BACKLOG);
    if (result != 0) {
        int error = errno;
        (void)close(fd); /* never used */
        return -error;
    }
    return fd;
}

/* One listener a shard on the same port; port 0 becomes the port that the first one got. */
static bool
open_listeners(struct server *server, enum protocol protocol, const char *setting,
               struct listen_address *address)
{
    if (address->off)
        return true;
    char text[64];
    listen_address_text(address, text);
    /* Without SO_REUSEPORT first: a port that another server listens on must be an error, not a share of
     * its clients. */
    int probe = open_listener(address, false);
    int result = probe;
    if (probe >= 0) {
        if (getsockname(probe, (struct sockaddr *)(void *)&address->address, &address->size) != 0)
            result = -errno;
        (void)close(probe); /* only bound */
    }
    for (uint32_t i = 0; i < server->shard_count && result >= 0; i++) {
        result = open_listener(address, true);
        server->listeners[i][protocol] = result >= 0 ? result : -1;
    }
    if (result < 0)
        log_error("could not listen on %s (%s): %s%s", text, setting, strerror(-result),
                  result == -EADDRINUSE ? ": another process listens there; stop it, or choose another port"
                                        : "");
    return result >= 0;
}

static void
close_listeners(struct server *server)
{
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        for (enum protocol p = 0; p < PROTOCOL_COUNT; p++)
            if (server->listeners[i][p] >= 0)
                (void)close(server->listeners[i][p]); /* nothing to lose */
}

/* ---- what the loops share ---- */

static uint32_t
choose_cores(struct server *server, uint64_t wanted)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        CPU_SET(0, &allowed); /* more cores than a cpu_set_t holds: one is always there */
    int cores[CPU_SETSIZE];
    uint32_t count = 0;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET((size_t)core, &allowed))
            cores[count++] = core;
    uint32_t shards = wanted != 0 ? (uint32_t)wanted : count;
    if (shards > SHARDS_MAX)
        shards = SHARDS_MAX;
    for (uint32_t i = 0; i < shards; i++)
        server->cores[i] = cores[i % count];
    if (shards > count)
        log_warning("%u shards share %u cores: they will wait for one another", shards, count);
    return shards;
}

/* As many files as connections need; fewer allowed: fewer connections. */
static void
raise_files(struct server *server, uint64_t connections_max)
{
    struct rlimit limit;
    server->connections_max = (uint32_t)connections_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t needed = (rlim_t)connections_max + FILES_RESERVED;
    if (limit.rlim_cur < needed) {
        limit.rlim_cur = needed;
        if (limit.rlim_max < needed) {
            struct rlimit higher = {needed, needed};
            if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
                return;
            limit.rlim_cur = limit.rlim_max;
        }
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* looked at again */
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < needed) {
        server->connections_max =
            limit.rlim_cur > FILES_RESERVED + 1 ? (uint32_t)(limit.rlim_cur - FILES_RESERVED) : 1;
        log_warning("at most %u connections instead of %llu (net.connections_max): this process may open "
                    "%llu files; "
                    "raise the limit (ulimit -n)",
                    server->connections_max, (unsigned long long)connections_max,
                    (unsigned long long)limit.rlim_cur);
    }
}

static bool
open_mailboxes(struct server *server)
{
    size_t size = (mailbox_size((size_t)server->settings->mailbox_bytes) + 4095) / 4096 * 4096;
    size_t count = (size_t)server->shard_count * server->shard_count;
    char *memory = mmap(NULL, size * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        log_error("could not reserve %zu bytes of mailboxes: lower net.mailbox_bytes or server.shards",
                  size * count);
        return false;
    }
    for (uint32_t from = 0; from < server->shard_count; from++)
        for (uint32_t to = 0; to < server->shard_count; to++, memory += size)
            if (from != to)
                server->mailboxes[from][to] = mailbox_open(memory, (size_t)server->settings->mailbox_bytes);
    for (uint32_t i = 0; i < server->shard_count; i++) {
        int result = bell_open(&server->bells[i]);
        if (result != 0) {
            log_error("could not make an eventfd: %s", strerror(-result));
            return false;
        }
    }
    return true;
}

static int64_t
clock_offset_ms(void)
{
    struct timespec wall;
    struct timespec monotonic;
    int result = clock_gettime(CLOCK_REALTIME, &wall);
    assert(result == 0);
    result = clock_gettime(CLOCK_MONOTONIC, &monotonic);
    assert(result == 0);
    return (wall.tv_sec - monotonic.tv_sec) * 1000 + wall.tv_nsec / 1000000 - monotonic.tv_nsec / 1000000;
}

/* ---- running ---- */

/* Starts the threads and waits until every loop is open. */
static bool
start_threads(struct server *server, struct shard_thread *threads, struct start *start, uint32_t *ret_count)
{
    uint32_t count = 0;
    int result = 0;
    for (; count < server->shard_count && result == 0; count++) {
        threads[count] = (struct shard_thread){.server = server, .start = start, .index = count};
        result = pthread_create(&threads[count].thread, NULL, run_shard, &threads[count]);
        if (result != 0) {
            log_error("could not start the thread of shard %u: %s", count, strerror(result));
            break;
        }
    }
    (void)pthread_mutex_lock(&start->mutex); /* as in run_shard() */
    while (start->opened + start->failed < count)
        (void)pthread_cond_wait(&start->changed, &start->mutex);
    start->go = start->failed == 0 && result == 0;
    (void)pthread_mutex_unlock(&start->mutex);
    for (uint32_t i = 0; i < count; i++)
        if (threads[i].cause[0] != '\0') {
            log_error("%s", threads[i].cause); /* the others fail for the same reason */
            break;
        }
    *ret_count = count;
    return start->go;
}

static void
decide(struct start *start)
{
    (void)pthread_mutex_lock(&start->mutex); /* as in run_shard() */
    start->decided = true;
    (void)pthread_cond_broadcast(&start->changed);
    (void)pthread_mutex_unlock(&start->mutex);
}

static void
wait_for_signal(struct server *server, const sigset_t *signals)
{
    int signal_number = 0;
    while (sigwait(signals, &signal_number) != 0)
        continue; /* interrupted: waits again */
    log_info("%s: stopping; requests under way are answered",
             signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    /* relaxed: the bells below order it */
    atomic_store_explicit(&server->stopping, true, memory_order_relaxed);
    for (uint32_t i = 0; i < server->shard_count; i++)
        bell_ring_always(&server->bells[i]);
}

static bool
run(struct server *server, const sigset_t *signals)
{
    static struct shard_thread threads[SHARDS_MAX];
    struct start start = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    uint32_t count;
    bool go = start_threads(server, threads, &start, &count);
    if (go) {
        log_info("%u shard%s, http %s, resp %s, durability %s, at most %u connections", server->shard_count,
                 server->shard_count == 1 ? "" : "s", server->http_text, server->resp_text,
                 server->settings->durability, server->connections_max);
        if (server->durable)
            log_warning("journal is kept in memory in this version: answers do not survive the process");
    }
    decide(&start);
    if (go) {
        (void)printf("ready http=%s resp=%s shards=%u data=%s\n", server->http_text, server->resp_text,
                     server->shard_count, server->settings->data);
        (void)fflush(stdout); /* whoever waits for the line has gone where it cannot be written */
        wait_for_signal(server, signals);
    }
    for (uint32_t i = 0; i < count; i++)
        (void)pthread_join(threads[i].thread, NULL); /* started by us, joined once */
    return go;
}

/* Everything that can fail with a message of its own comes before the first thread. */
static bool
prepare(struct server *server, const struct settings *settings, struct data_directory *directory)
{
    struct listen_address addresses[PROTOCOL_COUNT];
    char cause[CAUSE_SIZE];
    if (data_directory_open(settings->data, directory, cause, sizeof cause) != 0) {
        log_error("%s", cause);
        return false;
    }
    server->settings = settings;
    server->route_seed = directory->route_seed;
    server->durable = strcmp(settings->durability, "journal") == 0;
    server->clock_offset_ms = clock_offset_ms();
    server->started_ms = server_now_ms(server);
    server->shard_count = choose_cores(server, settings->shards);
    raise_files(server, settings->connections_max);
    bool valid = listen_address_parse(settings->http, &addresses[PROTOCOL_HTTP]) &&
                 listen_address_parse(settings->resp, &addresses[PROTOCOL_RESP]);
    assert(valid); /* settings_read() has looked */
    if (!open_listeners(server, PROTOCOL_HTTP, "server.http", &addresses[PROTOCOL_HTTP]) ||
        !open_listeners(server, PROTOCOL_RESP, "server.resp", &addresses[PROTOCOL_RESP]))
        return false;
    listen_address_text(&addresses[PROTOCOL_HTTP], server->http_text);
    listen_address_text(&addresses[PROTOCOL_RESP], server->resp_text);
    return open_mailboxes(server);
}

static int
serve(const struct settings *settings)
{
    /* static: some kilobytes of atomics on lines of their own; one server a process */
    static struct server server;
    struct data_directory directory = {.lock_fd = -1};
    sigset_t signals;
    (void)sigemptyset(&signals); /* these four cannot fail with these arguments */
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        for (enum protocol p = 0; p < PROTOCOL_COUNT; p++)
            server.listeners[i][p] = -1;
        server.bells[i].fd = -1;
    }
    bool done = prepare(&server, settings, &directory) && run(&server, &signals);
    close_listeners(&server);
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        if (server.bells[i].fd >= 0)
            bell_done(&server.bells[i]);
    data_directory_close(&directory);
    if (done)
        log_info("stopped");
    return done ? 0 : 1;
}

static void
help(FILE *file)
{
    (void)fprintf(file, "usage: holdfast serve [--check] [--config FILE] [--section.key VALUE]...\n\n"
                        "Runs the server until SIGTERM or SIGINT. Prints one line when it answers:\n"
                        "    ready http=ADDR:PORT resp=ADDR:PORT shards=N data=DIR\n"
                        "--check reads the settings, says what is wrong with them, and ends: 0 or 2.\n\n");
    settings_help(file);
}

int
serve_main(int argc, char **argv)
{
    static struct settings settings;
    struct settings_error error;
    bool check = false;
    int count = 0;
    log_open();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            help(stdout);
            return 0;
        }
        if (strcmp(argv[i], "--check") == 0)
            check = true;
        else
            argv[count++] = argv[i];
    }
    if (!settings_read(count, argv, environ, &settings, &error)) {
        (void)fprintf(stderr, "holdfast serve: %s\n", error.text);
        return 2;
    }
    if (check) {
        (void)printf("settings are valid\n");
        return 0;
    }
    return serve(&settings);
}
