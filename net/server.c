/*
 * server.c - `holdfast serve`: from the settings to running loops, and back.
 *
 *     settings ─▶ data directory ─▶ its journals, read and checked        server_files.c
 *              ─▶ mailboxes ─▶ threads, each opens its loop               shard_threads.c
 *              ─▶ recovery ─▶ memory ─▶ listeners ─▶ the new epoch ─▶ loops ─▶ "ready"
 *     signal   ─▶ connections drained ─▶ snapshot ─▶ loops end ─▶ join
 *
 * The main thread makes what the loops share, starts them, and then only waits for SIGTERM or SIGINT.
 * Nothing listens before that is done, so whoever asks before is refused and not kept waiting;
 * nothing on the disk is changed before the listeners are there, so a port in use leaves no trace.
 */
#include "net/server.h"

#include "net/data_directory.h"
#include "net/server_door.h"
#include "net/server_files.h"
#include "persist/log.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define LISTEN_BACKLOG 4096
/* Files besides connections: rings, eventfds, listeners, the log, the lock, and some air. */
#define FILES_RESERVED (64u + SHARDS_MAX * 5)

extern char **environ;

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

static bool
open_all_listeners(struct server *server)
{
    struct listen_address addresses[PROTOCOL_COUNT];
    bool valid = listen_address_parse(server->settings->http, &addresses[PROTOCOL_HTTP]) &&
                 listen_address_parse(server->settings->resp, &addresses[PROTOCOL_RESP]);
    assert(valid); /* settings_read() has looked */
    if (!open_listeners(server, PROTOCOL_HTTP, "server.http", &addresses[PROTOCOL_HTTP]) ||
        !open_listeners(server, PROTOCOL_RESP, "server.resp", &addresses[PROTOCOL_RESP]))
        return false;
    listen_address_text(&addresses[PROTOCOL_HTTP], server->http_text);
    listen_address_text(&addresses[PROTOCOL_RESP], server->resp_text);
    return true;
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
    return true;
}

static bool
open_bells(struct server *server)
{
    int result = bell_open(&server->housekeeper_bell);
    if (result == 0)
        result = bell_open(&server->control);
    for (uint32_t i = 0; i < server->shard_count && result == 0; i++)
        result = bell_open(&server->bells[i]);
    if (result != 0)
        log_error("could not make an eventfd: %s", strerror(-result));
    return result == 0;
}

static void
close_bell(struct bell *bell)
{
    if (bell->fd >= 0)
        bell_done(bell);
}

static void
close_bells(struct server *server)
{
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        close_bell(&server->bells[i]);
    close_bell(&server->housekeeper_bell);
    close_bell(&server->control);
}

/* ---- running ---- */

static void
ring_all(struct server *server)
{
    for (uint32_t i = 0; i < server->shard_count; i++)
        bell_ring_always(&server->bells[i]);
}

static void
wait_for_signal(struct server *server, const sigset_t *signals)
{
    int signal_number = 0;
    while (sigwait(signals, &signal_number) != 0 || signal_number == SIGHUP) {
        if (signal_number == SIGHUP)
            door_reload(server);
        signal_number = 0; /* or interrupted: waits again */
    }
    log_info("%s: stopping; requests under way are answered, then a snapshot is written",
             signal_number == SIGINT ? "SIGINT" : "SIGTERM");
}

/* A second signal waits until the process has ended: there is nothing that it could hurry. */
static void
stop(struct server *server, struct server_files *files)
{
    /* relaxed: the bells below order it */
    atomic_store_explicit(&server->stopping, true, memory_order_relaxed);
    ring_all(server);
    while (atomic_load_explicit(&server->drained, memory_order_acquire) < server->shard_count) {
        uint64_t counter;
        ssize_t taken = read(server->control.fd, &counter, sizeof counter);
        assert(taken == sizeof counter || errno == EINTR);
    }
    files_snapshot(files);
    /* release: with the bells */
    atomic_store_explicit(&server->finished, true, memory_order_release);
    ring_all(server);
}

/* From threads that stand still to loops that answer. False: told. */
static bool
start(struct server *server, struct server_files *files, struct shard_threads *threads)
{
    return shard_threads_start(threads, server) && shard_threads_step(threads, STEP_OPEN) &&
           files_recover(files, threads) && shard_threads_step(threads, STEP_WARM) &&
           open_all_listeners(server) && files_begin(files, threads) &&
           shard_threads_step(threads, STEP_BEGIN) && shard_threads_step(threads, STEP_RUN);
}

static bool
run(struct server *server, struct server_files *files, const sigset_t *signals)
{
    static struct shard_threads threads; /* one server a process */
    (void)warm_start(&server->warmer);   /* without it all works the same */
    bool go = start(server, files, &threads);
    if (go) {
        log_info("%u shard%s, http %s, resp %s, durability %s, at most %u connections", server->shard_count,
                 server->shard_count == 1 ? "" : "s", server->http_text, server->resp_text,
                 server->settings->durability, server->connections_max);
        if (!server->durable)
            log_warning(
                "durability memory: answers leave before they are on disk; a crash forgets the last "
                "ones");
        (void)printf("ready http=%s resp=%s shards=%u data=%s\n", server->http_text, server->resp_text,
                     server->shard_count, server->settings->data);
        (void)fflush(stdout); /* whoever waits for the line has gone where it cannot be written */
        wait_for_signal(server, signals);
        stop(server, files);
    }
    shard_threads_join(&threads);
    warm_stop(&server->warmer);
    return go;
}

/* Everything that can fail with a message of its own comes before the first thread. */
static bool
prepare(struct server *server, const struct settings *settings, struct data_directory *directory,
        struct server_files **ret_files)
{
    char cause[CAUSE_SIZE];
    if (data_directory_open(settings->data, directory, cause, sizeof cause) != 0) {
        log_error("%s", cause);
        return false;
    }
    server->settings = settings;
    server->route_seed = directory->route_seed;
    server->durable = strcmp(settings->durability, "journal") == 0;
    server->shard_count = choose_cores(server, settings->shards);
    raise_files(server, settings->connections_max);
    return door_open(server) && open_mailboxes(server) && open_bells(server) &&
           files_open(ret_files, server);
}

static int
serve(const struct settings *settings)
{
    /* static: some kilobytes of atomics on lines of their own; one server a process */
    static struct server server;
    struct data_directory directory = {.lock_fd = -1};
    struct server_files *files = NULL;
    sigset_t signals;
    (void)sigemptyset(&signals); /* these five cannot fail with these arguments */
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    if (settings->keys_file[0] != '\0')
        (void)sigaddset(&signals,
                        SIGHUP); /* without keys a terminal that closes ends the server, as usual */
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the write, and told as such */
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        for (enum protocol p = 0; p < PROTOCOL_COUNT; p++)
            server.listeners[i][p] = -1;
        server.bells[i].fd = -1;
    }
    server.housekeeper_bell.fd = -1;
    server.control.fd = -1;
    bool done = prepare(&server, settings, &directory, &files) && run(&server, files, &signals);
    close_listeners(&server);
    if (files != NULL)
        files_close(files);
    close_bells(&server);
    door_close(&server);
    data_directory_close(&directory);
    if (done)
        log_info("stopped");
    return done ? 0 : 1;
}

static void
help(FILE *file)
{
    (void)fprintf(
        file,
        "usage: holdfast serve [--check] [--config FILE] [--section.key VALUE]...\n\n"
        "Runs the server until SIGTERM or SIGINT. Prints one line when it answers:\n"
        "    ready http=ADDR:PORT resp=ADDR:PORT shards=N data=DIR\n"
        "--check reads the settings and the files they name, says what is wrong with them, and ends: 0 or\n"
        "2.\n\n");
    settings_help(file, SETTINGS_OF_SERVER);
}

int
serve_main(int argc, char **argv)
{
    static struct settings settings;
    struct settings_error error;
    log_open();
    if (settings_take_word(&argc, argv, "--help")) {
        help(stdout);
        return 0;
    }
    bool check = settings_take_word(&argc, argv, "--check");
    if (!settings_read(argc - 1, argv + 1, environ, &settings, &error)) {
        (void)fprintf(stderr, "holdfast serve: %s\n", error.text);
        return 2;
    }
    if (check) {
        if (!door_check(&settings))
            return 2;
        (void)printf("settings are valid\n");
        return 0;
    }
    return serve(&settings);
}
