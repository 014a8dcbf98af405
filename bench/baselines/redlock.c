/*
 * redlock.c - a row in PostgreSQL, guarded by a lock in three Redis instances, as Redlock describes it.
 *
 *     LOCKING      SET lock token NX PX to all three; two of them are the lock
 *     PAUSE        it was not to be had: what was got is given back, and after 50 to 250 ms it is tried
 * again BUYING       BEGIN; SELECT stock ─▶ UPDATE stock = n; INSERT hold; COMMIT: nothing but the lock
 * keeps others away UNLOCKING    the token deleted from all three where it is still ours (a script, by its
 * digest)
 *
 * The pause is the one of the libraries (redsync, redlock-py). A shorter one was tried: with 64 buyers it
 * sells less, because the losers' tries then take the Redis instances' and the processors' time.
 *
 * Five descriptors, so the client has an epoll of its own, and that is the descriptor the generator
 * watches.
 */
#include "bench/baselines/postgres_script.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define INSTANCES    3
#define MAJORITY     2
#define LOCK_MS      "8000"
#define PAUSE_MS_MIN 50
#define PAUSE_MS_MAX 250
#define TRIES_MAX    1000
#define TOKEN_SIZE   40
#define WATCH_TIMER  INSTANCES
#define WATCH_ROW    (INSTANCES + 1)

enum phase {
    IDLE,
    LOCKING,
    GIVING_BACK, /* then a pause */
    PAUSE,
    BUYING,
    UNLOCKING, /* then the outcome */
};

struct redlock {
    struct client client;
    struct purchase_queue queue;
    int epoll_fd;
    int timer_fd;
    struct client *locks[INSTANCES];
    char unlock_sha[RIVAL_SHA_SIZE];
    struct postgres *postgres;

    enum phase phase;
    uint32_t awaited; /* answers of the instances */
    uint32_t granted; /* of them, locks */
    uint32_t tries;
    uint64_t token;
    uint64_t random;
    bool deciding; /* the row's second round is under way */
    bool wants_room;
    struct rival_purchase wanted;
    struct rival_outcome outcome;
    char error[RIVAL_ERROR_SIZE];
};

static const char unlock[] =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

static const struct client_kind redlock_client;

static struct redlock *
self(struct client *client)
{
    return (struct redlock *)client;
}

/* ---- opening ---- */

static bool
watch(struct redlock *redlock, int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    return epoll_ctl(redlock->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool
lock_open(struct redlock *redlock, const struct client_place *place, uint32_t number, char *ret_error)
{
    struct client_place at = *place;
    const struct answer *answer;
    at.port = (uint16_t)(place->port + number); /* the instances' ports follow each other */
    redlock->locks[number] = resp_client.open(&at, 10, ret_error);
    if (redlock->locks[number] == NULL ||
        !resp_command(redlock->locks[number], (const char *const[]){"SCRIPT", "LOAD", unlock, NULL},
                      &answer, ret_error))
        return false;
    struct bytes sha = answer_text(answer, 0); /* the same in all three */
    snprintf(redlock->unlock_sha, sizeof redlock->unlock_sha, "%.*s", (int)sha.size, sha.data);
    return watch(redlock, resp_client.fd(redlock->locks[number]), number);
}

static void
redlock_free(struct client *client)
{
    struct redlock *redlock = self(client);
    for (uint32_t i = 0; i < INSTANCES; i++)
        client_free(redlock->locks[i]);
    postgres_close(redlock->postgres);
    if (redlock->timer_fd >= 0)
        close(redlock->timer_fd);
    if (redlock->epoll_fd >= 0)
        close(redlock->epoll_fd);
    free(redlock);
}

static struct client *
redlock_open(const struct client_place *place, uint32_t seconds, char *ret_error)
{
    static _Atomic uint64_t opened;
    char error[RIVAL_ERROR_SIZE] = "";
    struct redlock *redlock = calloc(1, sizeof *redlock);
    (void)seconds;
    if (redlock == NULL) {
        snprintf(ret_error, 160, "out of memory");
        return NULL;
    }
    redlock->client.kind = &redlock_client;
    redlock->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    redlock->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    redlock->random = ++opened;
    redlock->token = redlock->random << 32;
    redlock->postgres = postgres_open(place->target, error);
    bool well =
        redlock->epoll_fd >= 0 && redlock->timer_fd >= 0 && redlock->postgres != NULL &&
        postgres_name(redlock->postgres, "begin", "BEGIN", error) &&
        postgres_name(redlock->postgres, "look", "SELECT stock FROM deal WHERE event_id = 1", error) &&
        postgres_name(redlock->postgres, "write", "UPDATE deal SET stock = $1::bigint WHERE event_id = 1",
                      error) &&
        postgres_name(redlock->postgres, "hold",
                      "INSERT INTO hold (event_id, user_id) VALUES (1, $1::bigint)", error) &&
        postgres_name(redlock->postgres, "commit", "COMMIT", error) &&
        watch(redlock, redlock->timer_fd, WATCH_TIMER) &&
        watch(redlock, postgres_fd(redlock->postgres), WATCH_ROW);
    for (uint32_t i = 0; well && i < INSTANCES; i++)
        well = lock_open(redlock, place, i, error);
    if (!well) {
        snprintf(ret_error, 160, "%.150s", error[0] != '\0' ? error : strerror(errno));
        redlock_free(&redlock->client);
        return NULL;
    }
    return &redlock->client;
}

/* ---- the way of a purchase ---- */

/* One command to every instance. */
static void
ask_all(struct redlock *redlock, enum phase phase)
{
    char token[TOKEN_SIZE];
    struct request_text request;
    snprintf(token, sizeof token, "%llu", (unsigned long long)redlock->token);
    if (phase == LOCKING) {
        request_begin(&request, 6);
        request_text(&request, "SET");
        request_text(&request, "lock:1");
        request_text(&request, token);
        request_text(&request, "NX");
        request_text(&request, "PX");
        request_text(&request, LOCK_MS);
    } else {
        request_begin(&request, 5);
        request_text(&request, "EVALSHA");
        request_text(&request, redlock->unlock_sha);
        request_text(&request, "1");
        request_text(&request, "lock:1");
        request_text(&request, token);
    }
    for (uint32_t i = 0; i < INSTANCES; i++)
        redlock->locks[i]->kind->append(redlock->locks[i], &request);
    redlock->phase = phase;
    redlock->awaited = INSTANCES;
    redlock->granted = 0;
}

static void
lock_try(struct redlock *redlock)
{
    redlock->tries++;
    redlock->token++;
    ask_all(redlock, LOCKING);
}

static void
begin_next(struct redlock *redlock)
{
    const struct rival_purchase *wanted = purchase_queue_begin(&redlock->queue);
    if (wanted == NULL)
        return;
    redlock->wanted = *wanted;
    redlock->tries = 0;
    redlock->outcome = (struct rival_outcome){.unit = RIVAL_UNIT_NONE};
    lock_try(redlock);
}

static void
pause_begin(struct redlock *redlock)
{
    redlock->random = redlock->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    long ms = PAUSE_MS_MIN + (long)((redlock->random >> 33) % (PAUSE_MS_MAX - PAUSE_MS_MIN + 1));
    struct itimerspec when = {.it_value.tv_nsec = ms * 1000000};
    int result = timerfd_settime(redlock->timer_fd, 0, &when, NULL);
    assert(result == 0);
    redlock->phase = PAUSE;
}

/* All instances have answered. True: the purchase is over. */
static bool
answered(struct redlock *redlock)
{
    switch (redlock->phase) {
    case LOCKING:
        if (redlock->granted < MAJORITY) {
            ask_all(redlock, GIVING_BACK);
            return false;
        }
        redlock->phase = BUYING;
        redlock->deciding = false;
        postgres_send(redlock->postgres, "begin", 0, NULL);
        postgres_send(redlock->postgres, "look", 0, NULL);
        postgres_sync(redlock->postgres);
        return false;
    case GIVING_BACK:
        if (redlock->tries == TRIES_MAX) {
            redlock->outcome.kind = RIVAL_GAVE_UP;
            return true;
        }
        pause_begin(redlock);
        return false;
    case UNLOCKING:
        return true;
    case IDLE:
    case PAUSE:
    case BUYING:
        break;
    }
    assert(false); /* instances are asked in the other phases only */
    return false;
}

static int
locks_take(struct redlock *redlock, bool *ret_over)
{
    const struct answer *answer;
    for (uint32_t i = 0; i < INSTANCES; i++) {
        int come;
        while ((come = redlock->locks[i]->kind->next(redlock->locks[i], &answer)) > 0) {
            redlock->granted += answer->values[0].kind == ANSWER_STATUS;
            if (--redlock->awaited == 0 && answered(redlock))
                *ret_over = true;
        }
        if (come < 0) {
            snprintf(redlock->error, sizeof redlock->error, "%s",
                     redlock->locks[i]->kind->error(redlock->locks[i]));
            return -1;
        }
    }
    return 0;
}

static int
row_take(struct redlock *redlock)
{
    struct postgres_round round;
    int come = postgres_round(redlock->postgres, &round);
    for (uint32_t i = 0; come > 0 && i < round.count; i++)
        if (round.results[i].failed)
            come = -1;
    if (come < 0) {
        snprintf(redlock->error, sizeof redlock->error, "the row: %s", postgres_error(redlock->postgres));
        return -1;
    }
    if (come == 0)
        return 0;
    if (redlock->deciding) {
        ask_all(redlock, UNLOCKING);
        return 0;
    }
    int64_t stock = round.results[1].value[0];
    redlock->deciding = true;
    redlock->outcome.kind = stock > 0 ? RIVAL_GRANTED : RIVAL_REFUSED;
    if (stock > 0) {
        redlock->outcome.unit = (uint32_t)(stock - 1);
        postgres_send(redlock->postgres, "write", 1, &(int64_t){stock - 1});
        postgres_send(redlock->postgres, "hold", 1, &(int64_t){redlock->wanted.buyer});
    }
    postgres_send(redlock->postgres, "commit", 0, NULL);
    postgres_sync(redlock->postgres);
    return 0;
}

/* ---- the client ---- */

static int
redlock_fd(const struct client *client)
{
    return ((const struct redlock *)client)->epoll_fd;
}

static const char *
redlock_error(const struct client *client)
{
    return ((const struct redlock *)client)->error;
}

static void
redlock_append(struct client *client, const struct request_text *request)
{
    purchase_queue_add(&self(client)->queue, request);
    begin_next(self(client));
}

/* So little is written at a time that it always fits; what does not is written by the next call. */
static int
redlock_flush(struct client *client)
{
    struct redlock *redlock = self(client);
    for (uint32_t i = 0; i < INSTANCES; i++)
        if (redlock->locks[i]->kind->flush(redlock->locks[i]) < 0)
            return -1;
    return postgres_advance(redlock->postgres, false, &redlock->wants_room) < 0 ? -1 : 1;
}

static int
redlock_read(struct client *client)
{
    struct redlock *redlock = self(client);
    struct epoll_event events[INSTANCES + 2];
    int count = epoll_wait(redlock->epoll_fd, events, INSTANCES + 2, 0);
    int result = count < 0 && errno != EINTR ? -1 : 0;
    for (int i = 0; result == 0 && i < count; i++) {
        uint32_t number = events[i].data.u32;
        uint64_t rings;
        if (number < INSTANCES)
            result = redlock->locks[number]->kind->read(redlock->locks[number]);
        else if (number == WATCH_ROW)
            result = postgres_advance(redlock->postgres, true, &redlock->wants_room);
        else if (read(redlock->timer_fd, &rings, sizeof rings) == sizeof rings && redlock->phase == PAUSE)
            lock_try(redlock);
    }
    if (result < 0)
        snprintf(redlock->error, sizeof redlock->error, "a connection broke");
    return result;
}

static int
redlock_next(struct client *client, const struct answer **ret_answer)
{
    struct redlock *redlock = self(client);
    bool over = false;
    if (row_take(redlock) < 0 || locks_take(redlock, &over) < 0)
        return -1;
    if (over) {
        redlock->outcome.tries = redlock->tries;
        redlock->phase = IDLE;
        *ret_answer = purchase_queue_end(&redlock->queue, &redlock->outcome);
        begin_next(redlock);
    }
    if (redlock_flush(client) < 0)
        return -1;
    return over;
}

static const struct client_kind redlock_client = {
    .name = "redlock",
    .open = redlock_open,
    .free = redlock_free,
    .fd = redlock_fd,
    .error = redlock_error,
    .append = redlock_append,
    .flush = redlock_flush,
    .read = redlock_read,
    .next = redlock_next,
};

static bool
prepare(struct rival_stage *stage, char *ret_error)
{
    for (uint32_t i = 0; i < INSTANCES; i++) {
        struct rival_stage instance = *stage;
        instance.place.port = (uint16_t)(stage->place.port + i);
        if (!redis_prepare(&instance, NULL, unlock, ret_error))
            return false;
    }
    return postgres_prepare_deal(stage, ret_error);
}

const struct rival rival_redlock = {.name = "redlock",
                                    .what = "Redlock (three Redis) before a row in PostgreSQL",
                                    .sale = RIVAL_DEAL,
                                    .client = &redlock_client,
                                    .prepare = prepare,
                                    .write = purchase_write,
                                    .read = purchase_read,
                                    .audit = postgres_audit_deal};
