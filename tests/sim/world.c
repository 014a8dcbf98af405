/*
 * world.c - the host of the shards: what net/ and persist/ are in the server.
 *
 *     mailbox[from][to]   messages in order, bounded: send says no when it is full (R7)
 *     journal[shard]      what shard_batch() gave; a prefix of it is durable; answers wait for it (R2)
 *     history             the journals of earlier starts, cut where a crash cut them
 *
 * A crash keeps of each journal what was reported durable, and of the rest any number of whole records: a
 * disk may have written more than it had time to tell. Recovery replays all that is left, the journals of
 * one start in any order, into any number of shards.
 */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define QUIESCE_STEPS_MAX 200000
#define MAILBOX_BYTES     1048576
#define BATCHES_MAX       4096

struct mailbox {
    uint32_t count;
    uint32_t head;  /* bytes taken */
    uint32_t tail;  /* bytes written */
    uint8_t *bytes; /* each message: 8 bytes of size, then itself */
};

struct journal {
    uint8_t *bytes;
    size_t size;
    size_t reserved;
    size_t durable_size;
    uint64_t durable_sequence;
    uint32_t batch_count; /* being written */
    struct {
        size_t end;
        uint64_t sequence;
    } batches[BATCHES_MAX];
};

/* A journal of an earlier start. */
struct old_journal {
    uint8_t *bytes;
    size_t size;
    uint32_t epoch;
};

struct host {
    struct world *world;
    uint32_t index;
};

struct world {
    const struct scenario *scenario;
    struct random *random;
    struct op *ops;
    uint64_t now_ms;
    uint64_t steps;
    uint32_t epoch;
    uint32_t shard_count;
    uint32_t mailbox_max; /* messages in one mailbox */
    uint32_t refuse_percent;
    const char *broken;
    bool full; /* what the journals hold does not fit the bounds of this start */
    bool paused[WORLD_SHARDS];
    struct shard *shards[WORLD_SHARDS];
    struct host hosts[WORLD_SHARDS];
    struct mailbox mailboxes[WORLD_SHARDS][WORLD_SHARDS];
    struct journal journals[WORLD_SHARDS];
    struct {
        void *memory;
        size_t size; /* mapped */
        size_t used; /* by the last shard */
    } memories[WORLD_SHARDS];
    uint32_t old_count;
    uint32_t old_reserved;
    struct old_journal *old;
    uint32_t waiting_count; /* ops whose answers wait, or whose next piece is to be asked for */
    uint32_t waiting[SIM_ROUND_OPS + 1];
};

/* ---- memory ----------------------------------------------------------------------------------- */

struct world *
world_open(void)
{
    struct world *world = calloc(1, sizeof *world);
    assert(world != NULL);
    for (uint32_t from = 0; from < WORLD_SHARDS; from++) {
        for (uint32_t to = 0; to < WORLD_SHARDS; to++) {
            world->mailboxes[from][to].bytes = malloc(MAILBOX_BYTES);
            assert(world->mailboxes[from][to].bytes != NULL);
        }
    }
    return world;
}

/* Zeroed memory for a shard: small ones are wiped, large ones are dropped page by page. */
static void *
shard_memory(struct world *world, uint32_t index, size_t size)
{
    if (world->memories[index].size < size) {
        if (world->memories[index].memory != NULL) {
            (void)munmap(world->memories[index].memory, world->memories[index].size);
        }
        void *memory =
            mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert(memory != MAP_FAILED);
        world->memories[index].memory = memory;
        world->memories[index].size = size;
    } else if (size <= 1048576) {
        memset(world->memories[index].memory, 0, size);
        if (world->memories[index].used > size) {
            memset((uint8_t *)world->memories[index].memory + size, 0, world->memories[index].used - size);
        }
    } else {
        int failed = madvise(world->memories[index].memory, world->memories[index].size, MADV_DONTNEED);
        assert(failed == 0);
    }
    world->memories[index].used = size;
    return world->memories[index].memory;
}

static void
journal_append(struct journal *journal, const uint8_t *data, size_t size)
{
    if (journal->size + size > journal->reserved) {
        journal->reserved = (journal->size + size) * 2;
        journal->bytes = realloc(journal->bytes, journal->reserved);
        assert(journal->bytes != NULL);
    }
    memcpy(journal->bytes + journal->size, data, size);
    journal->size += size;
}

/* ---- the host's functions --------------------------------------------------------------------- */

static bool
host_send(void *context, uint32_t to, const void *message, uint32_t size)
{
    struct host *host = context;
    struct world *world = host->world;
    assert(to < world->shard_count);
    assert(to != host->index);
    assert(size > 0);
    assert(size % 8 == 0);
    assert(size <= MESSAGE_SIZE_MAX);
    struct mailbox *mailbox = &world->mailboxes[host->index][to];
    if (mailbox->count >= world->mailbox_max || mailbox->tail + size + 8 > MAILBOX_BYTES ||
        (world->refuse_percent > 0 && random_chance(world->random, world->refuse_percent))) {
        return false;
    }
    memcpy(mailbox->bytes + mailbox->tail, &size, sizeof size);
    memcpy(mailbox->bytes + mailbox->tail + 8, message, size);
    mailbox->tail += size + 8;
    mailbox->count++;
    return true;
}

static void
wait_for(struct world *world, uint32_t op_index)
{
    assert(world->waiting_count < SIM_ROUND_OPS + 1);
    world->waiting[world->waiting_count++] = op_index;
}

static void
host_reply(void *context, uint64_t tag, const struct reply *reply, uint64_t sequence)
{
    struct host *host = context;
    struct world *world = host->world;
    struct op *op = &world->ops[tag];
    if (!op->sent || op->replied || op->shard != host->index) {
        world->broken = "an answer to a command that waits for none";
        return;
    }
    if (reply->command != (enum command_type)op->request.type) {
        world->broken = "an answer to another command";
        return;
    }
    scenario_answer(world->scenario, reply, &op->answer);
    op->replied = true;
    op->sequence = sequence;
    op->rows_seen = 0;
    if (reply->kind == REPLY_MAP && reply->map->row_to < reply->map->row_count) {
        if (reply->map->row_to <= reply->map->row_from) {
            world->broken = "a piece of a map that goes nowhere";
            return;
        }
        op->rows_seen = reply->map->row_to;
    }
    wait_for(world, (uint32_t)tag);
}

/* ---- begin ------------------------------------------------------------------------------------ */

static void
open_shards(struct world *world, uint32_t shard_count)
{
    world->shard_count = shard_count;
    world->epoch++;
    for (uint32_t i = 0; i < shard_count; i++) {
        struct shard_settings settings = world->scenario->shard;
        settings.shard_index = i;
        settings.shard_count = shard_count;
        settings.route_seed = world->scenario->seed * 0x9e3779b97f4a7c15u;
        settings.id_seed = random_next(world->random);
        world->hosts[i] = (struct host){world, i};
        struct shard_host host = {&world->hosts[i], host_send, host_reply};
        void *memory = shard_memory(world, i, shard_size(&settings));
        world->shards[i] = shard_open(memory, &settings, &host, world->now_ms);
        world->paused[i] = false;
        world->journals[i].size = 0;
        world->journals[i].durable_size = 0;
        world->journals[i].durable_sequence = 0;
        world->journals[i].batch_count = 0;
    }
    for (uint32_t from = 0; from < WORLD_SHARDS; from++) {
        for (uint32_t to = 0; to < WORLD_SHARDS; to++) {
            world->mailboxes[from][to].count = 0;
            world->mailboxes[from][to].head = 0;
            world->mailboxes[from][to].tail = 0;
        }
    }
    world->waiting_count = 0;
}

void
world_begin(struct world *world, const struct scenario *scenario, struct random *random, struct op *ops)
{
    world->scenario = scenario;
    world->random = random;
    world->ops = ops;
    world->now_ms = scenario->start_ms;
    world->steps = 0;
    world->epoch = 0;
    world->broken = NULL;
    world->full = false;
    world->mailbox_max = scenario->refuse_percent > 0 ? random_between(random, 1, 8) : 4096;
    world->refuse_percent = scenario->refuse_percent;
    for (uint32_t i = 0; i < world->old_count; i++) {
        free(world->old[i].bytes);
    }
    world->old_count = 0;
    open_shards(world, scenario->shard_count);
}

uint64_t
world_now(const struct world *world)
{
    return world->now_ms;
}

uint64_t
world_steps(const struct world *world)
{
    return world->steps;
}

uint32_t
world_shard_count(const struct world *world)
{
    return world->shard_count;
}

const char *
world_broken(const struct world *world)
{
    return world->broken;
}

bool
world_full(const struct world *world)
{
    return world->full;
}

void
world_advance(struct world *world, uint64_t ms)
{
    world->now_ms += ms;
}

/* ---- single steps ----------------------------------------------------------------------------- */

static void
submit(struct world *world, uint32_t op_index)
{
    struct op *op = &world->ops[op_index];
    struct command command;
    scenario_command(world->scenario, op, op_index, &command);
    shard_time(world->shards[op->shard], world->now_ms);
    shard_command(world->shards[op->shard], op_index, &command);
}

void
world_send(struct world *world, uint32_t op_index)
{
    struct op *op = &world->ops[op_index];
    assert(!op->sent);
    op->shard %= world->shard_count;
    op->sent = true;
    op->sent_step = ++world->steps;
    op->sent_ms = world->now_ms;
    submit(world, op_index);
}

/* Answers whose records are on disk leave; a map that has more pieces is asked for the next one. */
static bool
let_answers_leave(struct world *world)
{
    bool any = false;
    for (uint32_t i = 0; i < world->waiting_count;) {
        uint32_t op_index = world->waiting[i];
        struct op *op = &world->ops[op_index];
        if (op->sequence > world->journals[op->shard].durable_sequence && !world->scenario->memory_mode) {
            i++;
            continue;
        }
        world->waiting[i] = world->waiting[--world->waiting_count];
        any = true;
        if (op->rows_seen > 0) {
            op->replied = false;
            submit(world, op_index);
        } else {
            op->answered = true;
            op->answered_step = ++world->steps;
            op->answered_ms = world->now_ms;
        }
    }
    return any;
}

static bool
deliver(struct world *world, uint32_t from, uint32_t to)
{
    static uint64_t message[MESSAGE_SIZE_MAX / 8];
    struct mailbox *mailbox = &world->mailboxes[from][to];
    if (mailbox->count == 0) {
        return false;
    }
    uint32_t size = 0;
    memcpy(&size, mailbox->bytes + mailbox->head, sizeof size);
    memcpy(message, mailbox->bytes + mailbox->head + 8, size);
    mailbox->head += size + 8;
    mailbox->count--;
    if (mailbox->count == 0) {
        mailbox->head = 0;
        mailbox->tail = 0;
    }
    shard_time(world->shards[to], world->now_ms);
    shard_message(world->shards[to], from, message, size);
    return true;
}

static bool
deliver_any(struct world *world, bool also_paused)
{
    uint32_t pairs = world->shard_count * world->shard_count;
    uint32_t start = random_below(world->random, pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t pair = (start + i) % pairs;
        uint32_t to = pair % world->shard_count;
        if ((also_paused || !world->paused[to]) && deliver(world, pair / world->shard_count, to)) {
            return true;
        }
    }
    return false;
}

static bool
take_batch(struct world *world, uint32_t index)
{
    struct journal *journal = &world->journals[index];
    if (journal->batch_count == BATCHES_MAX) {
        return false;
    }
    shard_time(world->shards[index], world->now_ms);
    struct shard_batch batch = shard_batch(world->shards[index]);
    if (batch.size == 0) {
        return false;
    }
    journal_append(journal, batch.data, batch.size);
    journal->batches[journal->batch_count].end = journal->size;
    journal->batches[journal->batch_count].sequence = batch.sequence_last;
    journal->batch_count++;
    return true;
}

static bool
end_write(struct world *world, uint32_t index)
{
    struct journal *journal = &world->journals[index];
    if (journal->batch_count == 0) {
        return false;
    }
    journal->durable_size = journal->batches[0].end;
    journal->durable_sequence = journal->batches[0].sequence;
    journal->batch_count--;
    memmove(&journal->batches[0], &journal->batches[1], journal->batch_count * sizeof journal->batches[0]);
    shard_time(world->shards[index], world->now_ms);
    shard_durable(world->shards[index], journal->durable_sequence);
    return true;
}

static bool
sweep(struct world *world, uint32_t index)
{
    shard_time(world->shards[index], world->now_ms);
    return shard_expire(world->shards[index]);
}

void
world_step(struct world *world)
{
    const struct scenario *scenario = world->scenario;
    world->steps++;
    uint32_t shard = random_below(world->random, world->shard_count);
    uint32_t weights = scenario->deliver_weight + 2 * scenario->write_weight + 2;
    uint32_t draw = random_below(world->random, weights);
    if (scenario->pause_percent > 0 && random_chance(world->random, scenario->pause_percent)) {
        world->paused[shard] = !world->paused[shard];
    }
    if (draw < scenario->deliver_weight) {
        (void)deliver_any(world, false);
    } else if (!world->paused[shard]) {
        draw -= scenario->deliver_weight;
        if (draw < scenario->write_weight) {
            (void)take_batch(world, shard);
        } else if (draw < 2 * scenario->write_weight) {
            (void)end_write(world, shard);
        } else {
            (void)sweep(world, shard);
        }
    }
    (void)let_answers_leave(world);
    if (world->steps % scenario->check_every == 0) {
        world_check(world, false);
    }
}

bool
world_quiesce(struct world *world, bool with_sweep)
{
    uint32_t idle = 0;
    for (uint32_t i = 0; i < QUIESCE_STEPS_MAX; i++) {
        bool moved = deliver_any(world, true);
        for (uint32_t s = 0; s < world->shard_count; s++) {
            world->paused[s] = false;
            moved |= take_batch(world, s);
            moved |= end_write(world, s);
            bool due = with_sweep && shard_next_expiry_ms(world->shards[s]) <= world->now_ms;
            if (due || shard_backlogged(world->shards[s])) {
                moved |= sweep(world, s) || shard_backlogged(world->shards[s]) || due;
            }
        }
        moved |= let_answers_leave(world);
        world->steps++;
        idle = moved ? 0 : idle + 1;
        if (idle == 2) {
            return world->waiting_count == 0;
        }
    }
    return false;
}

/* ---- crash ------------------------------------------------------------------------------------ */

/* The durable part and some of the whole records behind it. */
static size_t
surviving_size(struct world *world, const struct journal *journal)
{
    size_t size = journal->durable_size;
    uint32_t chance = random_below(world->random, 101);
    while (size < journal->size && random_chance(world->random, chance)) {
        uint32_t record_size = 0;
        memcpy(&record_size, journal->bytes + size, sizeof record_size);
        assert(record_size >= 8);
        assert(size + record_size <= journal->size);
        size += record_size;
    }
    return size;
}

static void
keep_journal(struct world *world, uint32_t index)
{
    struct journal *journal = &world->journals[index];
    if (random_chance(world->random, 50)) {
        (void)take_batch(world, index);
    }
    size_t size = surviving_size(world, journal);
    if (size == 0) {
        return;
    }
    if (world->old_count == world->old_reserved) {
        world->old_reserved = world->old_reserved * 2 + 16;
        world->old = realloc(world->old, world->old_reserved * sizeof world->old[0]);
        assert(world->old != NULL);
    }
    struct old_journal *old = &world->old[world->old_count++];
    old->bytes = malloc(size);
    assert(old->bytes != NULL);
    memcpy(old->bytes, journal->bytes, size);
    old->size = size;
    old->epoch = world->epoch;
}

static void
replay(struct world *world, enum replay_pass pass)
{
    for (uint32_t i = 0; i < world->old_count; i++) {
        bool sound =
            shard_replay(world->shards, world->shard_count, pass, world->old[i].bytes, world->old[i].size);
        if (!sound && world->scenario->bounded) {
            world->full = true; /* fewer shards, small bounds: a host refuses such a start */
        } else if (!sound) {
            world->broken = "a record that replay does not take";
        }
    }
}

void
world_crash(struct world *world, uint32_t shard_count)
{
    world->steps++;
    uint32_t first = world->old_count;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        keep_journal(world, i);
    }
    /* journals of one start come in any order */
    for (uint32_t i = first; i + 1 < world->old_count; i++) {
        uint32_t other = random_between(world->random, i, world->old_count - 1);
        struct old_journal swap = world->old[i];
        world->old[i] = world->old[other];
        world->old[other] = swap;
    }
    open_shards(world, shard_count);
    replay(world, REPLAY_EVENTS);
    replay(world, REPLAY_HOLDS);
    if (world->full) {
        return;
    }
    shard_replay_done(world->shards, world->shard_count);
    world_check(world, true);
}

/* ---- checks ----------------------------------------------------------------------------------- */

void
world_check(const struct world *world, bool at_rest)
{
    for (uint32_t i = 0; i < world->shard_count; i++) {
        shard_check(world->shards[i]);
    }
    if (at_rest) {
        shard_check_all(world->shards, world->shard_count);
    }
}

uint64_t
world_hash(const struct world *world)
{
    uint64_t hash = world->now_ms;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        hash = (hash ^ shard_hash(world->shards[i])) * 0x100000001b3u;
    }
    return hash;
}
