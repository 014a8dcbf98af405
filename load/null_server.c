/*
 * null_server.c - a server that answers at once and knows nothing.
 *
 * What a load against it reaches is the generator's own ceiling, and how late it is, its own error: both
 * are measured with the very requests of the load. A request is framed and no more; a hold is "granted",
 * always the same one, so that the client reads and remembers as much as of a real server. One thread,
 * epoll.
 */
#include "load/null_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUESTS_SIZE  65536u /* of a connection, unanswered */
#define ANSWERS_SIZE   65536u
#define EVENTS_AT_ONCE 256

#define HOLD           "00000000-0000-7000-8000-000000000000"

static const char resp_hold[] = "*2\r\n$36\r\n" HOLD "\r\n:4102444800000\r\n";
static const char resp_other[] = "+OK\r\n";

#define HTTP_HEAD(status)                                                                                  \
    "HTTP/1.1 " status "\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\n"     \
    "traceparent: 00-00000000000000000000000000000001-0000000000000001-00\r\n"
static const char http_hold[] =
    HTTP_HEAD("201 Created") "Content-Length: 205\r\n\r\n"
                             "{\"hold\":\"" HOLD
                             "\",\"event\":\"null\",\"user\":\"nobody\",\"state\":\"held\","
                             "\"seats\":[],\"pools\":[{\"name\":\"deal\",\"quantity\":1}],"
                             "\"deadline\":\"2100-01-01T00:00:00.000Z\",\"deadline_in_ms\":300000}";
static const char http_other[] = HTTP_HEAD("200 OK") "Content-Length: 2\r\n\r\n{}";

static_assert(sizeof http_hold < ANSWERS_SIZE / 64, "an answer is small");

struct guest {
    int fd;
    uint32_t size;
    char data[REQUESTS_SIZE];
};

/* What every request is answered with. */
struct answers {
    bool http;
    struct bytes hold;
    struct bytes other;
};

/* A number behind a mark, up to CRLF; 0 where it is not whole. */
static size_t
number_take(const char *data, size_t size, char mark, uint32_t *ret_number)
{
    uint32_t number = 0;
    size_t at = 1;
    if (size < 4 || data[0] != mark)
        return 0;
    for (; at < size && data[at] >= '0' && data[at] <= '9' && number < REQUESTS_SIZE; at++)
        number = number * 10 + (uint32_t)(data[at] - '0');
    if (at + 2 > size || data[at] != '\r')
        return 0;
    *ret_number = number;
    return at + 2;
}

/* The size of the whole request at the beginning, or 0. */
static size_t
resp_frame(const char *data, size_t size, bool *ret_hold)
{
    uint32_t words, word;
    size_t at = number_take(data, size, '*', &words);
    if (at == 0)
        return 0;
    for (uint32_t i = 0; i < words; i++) {
        size_t head = number_take(data + at, size - at, '$', &word);
        if (head == 0 || size - at - head < word + 2u)
            return 0;
        if (i == 0)
            *ret_hold = word == 4 && memcmp(data + at + head, "HOLD", 4) == 0;
        at += head + word + 2;
    }
    return at;
}

static size_t
http_frame(const char *data, size_t size, bool *ret_hold)
{
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - data) + 4;
    size_t length = 0;
    static const char name[] = "\r\nContent-Length:";
    const char *field = memmem(data, head, name, sizeof name - 1);
    if (field != NULL)
        length = strtoul(field + sizeof name - 1, NULL, 10);
    const char *line_end = memchr(data, '\r', head);
    static const char path[] = "/holds ";
    *ret_hold = memmem(data, (size_t)(line_end - data), path, sizeof path - 1) != NULL;
    return size - head >= length ? head + length : 0;
}

/* Everything, however long the guest takes to read it. */
static bool
send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            (void)poll(&wait, 1, 1000); /* then it is tried again */
            continue;
        }
        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* Reads once and answers every whole request. False: the guest has gone. */
static bool
guest_serve(struct guest *guest, const struct answers *answers)
{
    char out[ANSWERS_SIZE];
    size_t out_size = 0, at = 0;
    ssize_t got = recv(guest->fd, guest->data + guest->size, REQUESTS_SIZE - guest->size, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    guest->size += (uint32_t)got;
    for (;;) {
        bool hold = false;
        size_t size = answers->http ? http_frame(guest->data + at, guest->size - at, &hold)
                                    : resp_frame(guest->data + at, guest->size - at, &hold);
        if (size == 0)
            break;
        struct bytes answer = hold ? answers->hold : answers->other;
        if (out_size + answer.size > sizeof out) {
            if (!send_all(guest->fd, out, out_size))
                return false;
            out_size = 0;
        }
        memcpy(out + out_size, answer.data, answer.size);
        out_size += answer.size;
        at += size;
    }
    guest->size -= (uint32_t)at;
    memmove(guest->data, guest->data + at, guest->size);
    return guest->size < REQUESTS_SIZE && send_all(guest->fd, out, out_size);
}

static void
guest_greet(int epoll_fd, int listener)
{
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct guest *guest = malloc(sizeof *guest);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};
    if (guest == NULL || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        free(guest);
        return;
    }
    guest->fd = fd;
    guest->size = 0;
}

/* Does not return. */
static void
serve(int listener, bool http)
{
    const struct answers answers = {
        .http = http,
        .hold = http ? (struct bytes){http_hold, sizeof http_hold - 1}
                     : (struct bytes){resp_hold, sizeof resp_hold - 1},
        .other = http ? (struct bytes){http_other, sizeof http_other - 1}
                      : (struct bytes){resp_other, sizeof resp_other - 1},
    };
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &listening) != 0) {
        perror("holdfast load: null server");
        exit(1);
    }
    for (;;) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int count = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < count; i++) {
            struct guest *guest = events[i].data.ptr;
            if (guest == NULL) {
                guest_greet(epoll_fd, listener);
            } else if (!guest_serve(guest, &answers)) {
                close(guest->fd); /* takes it out of the epoll set */
                free(guest);
            }
        }
    }
}

/* Below 0: errno says why. */
static int
listen_on(const struct sockaddr_in *address)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 && listen(fd, 4096) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

pid_t
null_server_start(const struct client_kind *protocol, uint16_t *ret_port, char *ret_error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = listen_on(&address);
    if (listener < 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        snprintf(ret_error, 160, "could not listen on a free port: %s", strerror(errno));
        return -1;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, SIG_IGN); /* the load asks to the end first */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            _exit(1);
        serve(listener, protocol == &http_client);
    }
    if (pid < 0)
        snprintf(ret_error, 160, "could not start a process: %s", strerror(errno));
    close(listener);
    *ret_port = ntohs(address.sin_port);
    return pid;
}

void
null_server_stop(pid_t pid)
{
    (void)kill(pid, SIGKILL);    /* a child of ours that was not waited for: it exists */
    (void)waitpid(pid, NULL, 0); /* how it ended is known */
}

int
null_main(int argc, char **argv)
{
    static const char usage[] = "usage: holdfast load null --resp ADDR:PORT | --http ADDR:PORT\n";
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct rlimit limit;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    bool http = argc == 3 && strcmp(argv[1], "--http") == 0;
    char text[64];
    char *colon = NULL;
    if (argc == 3 && (http || strcmp(argv[1], "--resp") == 0) && strlen(argv[2]) < sizeof text) {
        memcpy(text, argv[2], strlen(argv[2]) + 1);
        colon = strrchr(text, ':');
    }
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;
    if (colon != NULL)
        *colon = '\0';
    if (port == 0 || port > UINT16_MAX || inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        fputs(usage, stderr);
        return 2;
    }
    address.sin_port = htons((uint16_t)port);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* where it stays low, accepting ends there */
    }
    int listener = listen_on(&address);
    if (listener < 0) {
        fprintf(stderr, "holdfast load: could not listen on %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    printf("ready %s=%s\n", http ? "http" : "resp", argv[2]);
    (void)fflush(stdout); /* whoever waits for the line finds out by waiting */
    serve(listener, http);
    return 1;
}
