/*
 * 0001-messages.c - counts the messages between four shards that one command costs: the evidence of
 * decisions 0001 and 0004. Not part of the build:
 *
 *     gcc -std=c17 -D_GNU_SOURCE -I. -Iinclude -o build/messages docs/decisions/0001-messages.c \
 *         $(find core -name '*.c') -lnettle && build/messages
 *
 * The shards share one thread and one queue; records are durable as soon as nothing else is to be done.
 */
#include "core/message.h"
#include "core/route.h"
#include "core/shard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARDS     4
#define ROUTE_SEED 7
#define ROWS       10 /* of 1,000 seats: a block each */
#define QUEUE_MAX  256

struct entry {
    uint32_t from;
    uint32_t to;
    uint32_t size;
    uint64_t bytes[MESSAGE_SIZE_MAX / 8];
};

static struct shard *shards[SHARDS];
static struct entry queue[QUEUE_MAX];
static uint32_t queue_head;
static uint32_t queue_tail;
static uint32_t sent[MESSAGE_EVENT_DONE + 1];
static bool answered;
static enum status outcome;
static struct uuid last_hold;

static const char *const names[] = {
    [MESSAGE_COMMAND] = "COMMAND",   [MESSAGE_REPLY] = "REPLY",       [MESSAGE_RESERVE] = "RESERVE",
    [MESSAGE_RESERVED] = "RESERVED", [MESSAGE_SETTLE] = "SETTLE",     [MESSAGE_SETTLED] = "SETTLED",
    [MESSAGE_LOOK] = "LOOK",         [MESSAGE_LOOKED] = "LOOKED",     [MESSAGE_COUNT] = "COUNT",
    [MESSAGE_COUNTED] = "COUNTED",   [MESSAGE_MAP] = "MAP",           [MESSAGE_MAPPED] = "MAPPED",
    [MESSAGE_RECALL] = "RECALL",     [MESSAGE_RECALLED] = "RECALLED", [MESSAGE_EVENT_OFFER] = "OFFER",
    [MESSAGE_EVENT_APPLY] = "APPLY", [MESSAGE_EVENT_DONE] = "DONE",
};

static struct bytes
text(const char *words)
{
    return (struct bytes){words, (uint32_t)strlen(words)};
}

static bool
send_message(void *context, uint32_t to, const void *message, uint32_t size)
{
    struct entry *entry = &queue[queue_tail++ % QUEUE_MAX];
    assert(queue_tail - queue_head <= QUEUE_MAX);
    *entry = (struct entry){.from = (uint32_t)(uintptr_t)context, .to = to, .size = size};
    memcpy(entry->bytes, message, size);
    sent[((const struct message_header *)message)->type]++;
    return true;
}

static void
take_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    (void)context, (void)tag, (void)sequence; /* all is durable before the next command */
    answered = true;
    outcome = reply->status;
    if (reply->kind == REPLY_HOLD)
        last_hold = reply->hold.id;
}

/* Until nothing moves any more. */
static void
settle(void)
{
    for (bool more = true; more;) {
        more = false;
        for (; queue_head < queue_tail; queue_head++, more = true) {
            const struct entry *entry = &queue[queue_head % QUEUE_MAX];
            shard_message(shards[entry->to], entry->from, entry->bytes, entry->size);
        }
        for (uint32_t i = 0; i < SHARDS; i++) {
            struct shard_batch batch = shard_batch(shards[i]);
            if (batch.size == 0)
                continue;
            shard_durable(shards[i], batch.sequence_last);
            more = true;
        }
    }
}

static void
count(const char *what, uint32_t at, const struct command *command)
{
    uint32_t total = 0;
    memset(sent, 0, sizeof sent);
    answered = false;
    shard_command(shards[at], 1, command);
    settle();
    assert(answered);
    for (uint32_t i = 0; i <= MESSAGE_EVENT_DONE; i++)
        total += sent[i];
    printf("%-48s %-5s %3u:", what, status_word(outcome), total);
    for (uint32_t i = 0; i <= MESSAGE_EVENT_DONE; i++)
        if (sent[i] > 0)
            printf(" %u %s", sent[i], names[i]);
    printf("\n");
}

static void
open_shards(void)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard_settings settings = {
            .shard_index = i,
            .shard_count = SHARDS,
            .route_seed = ROUTE_SEED,
            .id_seed = i,
            .holds_max = 1000,
            .users_max = 1000,
            .events_max = 10,
            .operations_max = 256,
            .tokens_max = 64,
            .watchers_max = 64,
            .seats_max = 100000,
            .event_bytes_max = 1 << 20,
            .key_bytes_max = 1 << 20,
            .batch_bytes_max = 1 << 20,
            .ended_ms = 3600000,
            .key_ms = 3600000,
            .expire_batch = 100,
        };
        struct shard_host host = {(void *)(uintptr_t)i, send_message, take_reply};
        size_t size = (shard_size(&settings) + 63) / 64 * 64;
        void *memory = aligned_alloc(64, size);
        assert(memory != NULL);
        memset(memory, 0, size);
        shards[i] = shard_open(memory, &settings, &host, 1700000000000);
    }
}

static void
create_event(void)
{
    void *memory = malloc(EVENT_DRAFT_SIZE);
    const char *expected;
    const struct event_settings *settings;
    assert(memory != NULL);
    struct event_draft *draft = event_draft_begin(memory);
    const char *wrong = event_draft_id(draft, text("ev"), &expected);
    assert(wrong == NULL);
    wrong = event_draft_section(draft, text("A"), ROWS, 1000, &expected);
    assert(wrong == NULL);
    wrong = event_draft_pool(draft, text("ga"), 1000000, &expected);
    assert(wrong == NULL);
    wrong = event_draft_end(draft, &settings, &expected);
    assert(wrong == NULL);
    struct command command = {.type = COMMAND_EVENT_CREATE, .settings = settings};
    count("EVENT CREATE", route_shard(route16(route_hash(ROUTE_SEED, text("ev"))), SHARDS), &command);
    free(memory);
}

/* The first row whose block's owner is, or is not, among these shards (a bit each); its name is its number.
 */
static uint32_t
row_of(uint64_t owners, bool among, uint32_t *ret_owner)
{
    for (uint32_t row = 0; row < ROWS; row++) {
        uint64_t hash = route_hash_part(route_hash(ROUTE_SEED, text("ev")), row);
        *ret_owner = route_shard(route16(hash), SHARDS);
        if ((owners >> *ret_owner & 1) == among)
            return row + 1;
    }
    assert(false);
    return 0;
}

static struct seat_name
seat(const char *row, uint32_t number)
{
    return (struct seat_name){text("A"), text(row), number};
}

int
main(void)
{
    char own[8];
    char other[8];
    char third[8];
    char user[8];
    uint32_t owner;
    uint32_t home = 0;
    open_shards();
    create_event();
    /* A user whose home has seats, but not the event: its pools are another shard's. */
    uint64_t event_bit = 1ull << route_shard(route16(route_hash(ROUTE_SEED, text("ev"))), SHARDS);
    (void)snprintf(own, sizeof own, "%u", row_of(event_bit, false, &home));
    for (uint32_t i = 0; i < 1000; i++) {
        (void)snprintf(user, sizeof user, "u%u", i);
        if (route_shard(route16(route_hash(ROUTE_SEED, text(user))), SHARDS) == home)
            break;
    }
    (void)snprintf(other, sizeof other, "%u", row_of(1ull << home, false, &owner));
    (void)snprintf(third, sizeof third, "%u", row_of(1ull << home | 1ull << owner, false, &owner));

    struct command hold = {.type = COMMAND_HOLD, .event = text("ev"), .user = text(user), .seat_count = 1};
    hold.seats[0] = seat(own, 1);
    count("HOLD, a seat of the home's own", home, &hold);
    hold.seats[0] = seat(own, 2);
    count("the same, asked at another shard", (home + 1) % SHARDS, &hold);
    hold.seats[0] = seat(other, 1);
    count("HOLD, a seat of another owner", home, &hold);
    struct uuid held = last_hold;
    hold.key = text("key");
    hold.seats[0] = seat(other, 2);
    count("the same with an idempotency key", home, &hold);
    hold.key.size = 0;
    hold.seat_count = 2;
    hold.seats[0] = seat(other, 3);
    hold.seats[1] = seat(third, 3);
    count("HOLD, seats of two other owners", home, &hold);
    hold.seats[0] = seat(other, 4);
    count("the same, one of them held already", home, &hold);
    hold.seat_count = 0;
    hold.best_count = 2;
    hold.section = text("A");
    count("HOLD, best of 2", home, &hold);
    hold.best_count = 0;
    hold.pool_count = 1;
    hold.pools[0] = (struct pool_quantity){text("ga"), 1};
    count("HOLD, a unit of a sliced pool", home, &hold);
    hold.pools[0].quantity = 985000;
    count("HOLD, 985,000 of its 1,000,000", home, &hold);
    hold.pools[0].quantity = 1;
    count("HOLD, a unit of the pool, which is exact now", home, &hold);

    struct command confirm = {.type = COMMAND_CONFIRM, .user = text(user), .hold = held};
    count("CONFIRM, a seat of another owner", home, &confirm);
    struct command cancel = {.type = COMMAND_CANCEL, .hold = held};
    count("CANCEL of it", home, &cancel);
    struct command get = {.type = COMMAND_EVENT_GET, .event = text("ev")};
    count("EVENT GET", home, &get);
    return 0;
}
