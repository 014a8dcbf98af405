/*
 * test_opening.c - the opening of an event with a waiting room, and its draw: many events, many who wait,
 * one shard, driven directly.
 *
 * What the opening costs is counted, not timed: no call lets in, or tells homes of, more than a bounded
 * number of people, however many wait. The draw is judged by 10,000 of them; seeds and tokens are fixed, so
 * the figure is the same every time.
 */
#include "core/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define START_MS   1790000000000u
#define OPENS_MS   (START_MS + 1000)

#define LET_IN_MAX 512 /* in one call: KICK_BATCH, TOKENS_TOLD_BATCH */

struct room {
    struct shard *shard;
    void *memory;
    size_t size;
    uint64_t now_ms;
    uint64_t replies;
    struct reply reply; /* the last one; its views are not valid any more */
};

static bool
send_nowhere(void *context, uint32_t to, const void *message, uint32_t size)
{
    (void)context;
    (void)to;
    (void)message;
    (void)size;
    return false; /* there is one shard */
}

static void
reply_taken(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct room *room = context;
    (void)tag;
    (void)sequence;
    room->reply = *reply;
    room->replies++;
}

static void
room_open(struct room *room, uint32_t events_max, uint32_t tokens_max, uint64_t seed)
{
    struct shard_settings settings = {
        .shard_count = 1,
        .route_seed = 5,
        .id_seed = seed,
        .holds_max = 16,
        .users_max = 16,
        .events_max = events_max,
        .tokens_max = tokens_max,
        .watchers_max = 16,
        .operations_max = 16384,
        .seats_max = 1024,
        .event_bytes_max = events_max * (uint64_t)1024,
        .key_bytes_max = 4096,
        .batch_bytes_max = 64 << 20,
        .ended_ms = 3600000,
        .key_ms = 3600000,
        .expire_batch = 64,
    };
    struct shard_host host = {.context = room, .send = send_nowhere, .reply = reply_taken};
    *room = (struct room){.size = shard_size(&settings), .now_ms = START_MS};
    room->memory =
        mmap(NULL, room->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(room->memory, MAP_FAILED);
    room->shard = shard_open(room->memory, &settings, &host, room->now_ms);
}

static void
room_close(struct room *room)
{
    shard_check(room->shard);
    assert_int_equal(munmap(room->memory, room->size), 0);
}

/* All records so far are on disk. */
static void
durable(struct room *room)
{
    struct shard_batch batch = shard_batch(room->shard);
    if (batch.size > 0)
        shard_durable(room->shard, batch.sequence_last);
}

static void
run(struct room *room, const struct command *command)
{
    uint64_t replies = room->replies;
    shard_command(room->shard, 1, command);
    while (room->replies == replies)
        durable(room);
    assert_int_equal(room->reply.status, STATUS_OK);
}

static struct bytes
text(char *buffer, size_t size, const char *word, uint32_t number)
{
    int length = snprintf(buffer, size, "%s%u", word, number);
    return (struct bytes){buffer, (uint32_t)length};
}

static uint64_t
mix(uint64_t x)
{
    /* splitmix64 (Steele, Lea, Flood) */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* An event with a draw under a seed of its own. */
static void
create(struct room *room, uint32_t event, uint32_t active_max, uint64_t seed)
{
    static _Alignas(8) char memory[EVENT_DRAFT_SIZE];
    char name[16];
    const char *expected;
    const struct event_settings *settings;
    struct event_draft *draft = event_draft_begin(memory);
    assert_null(event_draft_id(draft, text(name, sizeof name, "e", event), &expected));
    assert_null(event_draft_pool(draft, (struct bytes){"ga", 2}, 1000000, &expected));
    assert_null(event_draft_queue(draft, active_max, 3600, 3600, true, &expected));
    assert_null(event_draft_opens_at(draft, OPENS_MS, &expected));
    assert_null(event_draft_end(draft, &settings, &expected));
    uint8_t *lottery =
        ((struct event_settings *)(void *)(memory + ((const char *)settings - memory)))->lottery_seed;
    for (uint32_t i = 0; i < LOTTERY_SEED_SIZE; i += 8) {
        uint64_t part = mix(seed * 4 + i / 8);
        memcpy(lottery + i, &part, 8);
    }
    struct command command = {.type = COMMAND_EVENT_CREATE, .settings = settings};
    run(room, &command);
}

static struct uuid
join(struct room *room, uint32_t event, uint32_t user)
{
    char event_name[16];
    char user_name[16];
    struct command command = {.type = COMMAND_QUEUE_JOIN,
                              .event = text(event_name, sizeof event_name, "e", event),
                              .user = text(user_name, sizeof user_name, "u", user)};
    run(room, &command);
    assert_int_equal(room->reply.token.state, TOKEN_WAITING);
    return room->reply.token.id;
}

static struct queue_load
load_of(const struct room *room, uint32_t event)
{
    char name[16];
    struct queue_load load;
    struct shard *shards[] = {room->shard};
    assert_true(shard_queue_load(shards, 1, text(name, sizeof name, "e", event), room->now_ms, &load));
    return load;
}

static void
test_an_opening_is_sliced(void **state)
{
    enum { WAITING = 60000, SLOTS = 5000 };
    struct room room;
    (void)state; /* none */
    room_open(&room, 1, WAITING, 1);
    create(&room, 0, SLOTS, 1);
    for (uint32_t user = 0; user < WAITING; user++)
        (void)join(&room, 0, user);
    durable(&room);
    room.now_ms = OPENS_MS;
    shard_time(room.shard, room.now_ms);
    /* Nothing gets to the disk: all slots are given out, a few in each call. */
    struct shard_figures figures;
    uint64_t before = 0;
    uint32_t calls = 0;
    for (; before < SLOTS; calls++) {
        (void)shard_expire(room.shard);
        shard_figures(room.shard, &figures);
        assert_in_range(figures.activated - before, 1, LET_IN_MAX);
        before = figures.activated;
    }
    assert_in_range(calls, SLOTS / LET_IN_MAX, SLOTS);
    assert_int_equal(load_of(&room, 0).admitted, 0);
    /* All of it gets there at once: the homes are told, a few in each call, and the host hears that there
     * is more. */
    struct shard_batch batch = shard_batch(room.shard);
    shard_durable(room.shard, batch.sequence_last);
    uint32_t admitted = load_of(&room, 0).admitted;
    assert_in_range(admitted, 1, LET_IN_MAX);
    while (admitted < SLOTS) {
        assert_true(shard_backlogged(room.shard));
        (void)shard_expire(room.shard);
        uint32_t now = load_of(&room, 0).admitted;
        assert_in_range(now - admitted, 1, LET_IN_MAX);
        admitted = now;
    }
    assert_false(shard_backlogged(room.shard));
    assert_int_equal(figures.tokens_waiting, WAITING - SLOTS);
    room_close(&room);
}

/* 10,000 draws of 10: how often who came i-th is drawn k-th, against a thousand times each. */
static void
test_the_draw_is_uniform(void **state)
{
    enum { JOINERS = 10, EVENTS = 500, ROOMS = 20 };
    static uint32_t drawn[JOINERS][JOINERS];
    (void)state; /* none */
    for (uint32_t r = 0; r < ROOMS; r++) {
        struct room room;
        room_open(&room, EVENTS, EVENTS * (JOINERS + 1), mix(r));
        static struct uuid tokens[EVENTS][JOINERS];
        for (uint32_t event = 0; event < EVENTS; event++) {
            create(&room, event, 1, r * EVENTS + event);
            for (uint32_t i = 0; i < JOINERS; i++)
                tokens[event][i] = join(&room, event, i);
        }
        room.now_ms = OPENS_MS;
        shard_time(room.shard, room.now_ms);
        while (shard_expire(room.shard) || shard_backlogged(room.shard))
            durable(&room);
        durable(&room);
        for (uint32_t event = 0; event < EVENTS; event++) {
            bool taken[JOINERS] = {false};
            for (uint32_t i = 0; i < JOINERS; i++) {
                struct command command = {.type = COMMAND_QUEUE_GET, .hold = tokens[event][i]};
                run(&room, &command);
                /* the first one is let in */
                uint64_t place = room.reply.token.state == TOKEN_ACTIVE ? 0 : room.reply.token.position;
                assert_in_range(place, 0, JOINERS - 1);
                assert_false(taken[place]);
                taken[place] = true;
                drawn[i][place]++;
            }
        }
        room_close(&room);
    }
    double chi_square = 0;
    double expected = (double)EVENTS * ROOMS / JOINERS;
    for (uint32_t i = 0; i < JOINERS; i++)
        for (uint32_t k = 0; k < JOINERS; k++)
            chi_square += (drawn[i][k] - expected) * (drawn[i][k] - expected) / expected;
    print_message("chi-square of 10,000 draws of 10: %.1f, 81 degrees of freedom\n", chi_square);
    /* between the quantiles of 0.1 % and 99.9 %: a draw that favours somebody is above, one that is made to
     * look even is below */
    assert_true(chi_square > 46.5);
    assert_true(chi_square < 125.0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_opening_is_sliced),
        cmocka_unit_test(test_the_draw_is_uniform),
    };
    return cmocka_run_group_tests_name("opening", tests, NULL, NULL);
}
