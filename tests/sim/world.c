/*
 * world.c - the host of the shards: what net/ is in the server, over a disk that loses power.
 *
 *     mailbox[from][to]   messages in order, bounded: send says no when it is full (R7)
 *     journal[shard]      persist/journal_writer.c; its one write on its way ends when the world says so
 * (R2) housekeeper         persist/housekeeper.c, a step at a time among everything else that happens disk
 * disk.c: what a crash leaves is all that the next start has
 *
 * A start, also the first one, is persist/recovery.c over what is on the disk, into any number of shards;
 * it may be cut off itself. What the server's loop does with a journal and with snapshots is done here in
 * the same calls (tend(), take_batch(), end_write(), tell_slice()).
 */
#include "tests/sim/world.h"

#include "persist/housekeeper.h"
#include "persist/journal_writer.h"
#include "persist/recovery.h"
#include "tests/sim/damage.h"
#include "tests/sim/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define QUIESCE_STEPS_MAX 200000
#define MAILBOX_BYTES     1048576
#define WIPE_BYTES_MAX    1048576
#define STARTS_MAX        8 /* after one crash; the last one is let alone */

struct mailbox {
    uint32_t count;
    uint32_t head;  /* bytes taken */
    uint32_t tail;  /* bytes written */
    uint8_t *bytes; /* each message: 8 bytes of size, then itself */
};

/* What the host of one shard knows of its journal. */
struct record_keeper {
    struct journal *journal;
    bool writing;
    int file; /* that is being written */
    uint32_t size;
    uint64_t durable; /* told to the shard */
    bool telling;     /* a snapshot */
    enum scarcity scarcity;
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
    uint64_t keep_ms; /* the housekeeper's */
    uint64_t steps;
    uint64_t touched; /* shards that have done something since they were checked */
    uint32_t shard_count;
    uint32_t mailbox_max; /* messages in one mailbox */
    uint32_t refuse_percent;
    const char *broken;
    char broken_text[320];
    bool full; /* what the journals hold does not fit the bounds of this start */
    bool paused[WORLD_SHARDS];
    struct shard *shards[WORLD_SHARDS];
    struct host hosts[WORLD_SHARDS];
    struct mailbox mailboxes[WORLD_SHARDS][WORLD_SHARDS];
    struct record_keeper keepers[WORLD_SHARDS];
    struct sim_disk *disk;
    struct disk files; /* the same, as persist/ sees it */
    struct housekeeper *housekeeper;
    struct rot rot;
    struct world_counts counts;
    enum scarcity scarcity; /* the worst since it was last asked for */
    uint32_t in_flight;     /* batches, when the last crash came */
    bool trace;
    bool died;
    struct {
        void *memory;
        size_t size; /* mapped */
        size_t used; /* by the last shard */
    } memories[WORLD_SHARDS];
    struct {
        uint32_t slots;
        uint32_t active_max;
        uint32_t most; /* that may be let in, since a lowering as many as there were */
    } loads[SIM_EVENTS];
    uint32_t waiting_count; /* ops whose answers wait, or whose next piece is to be asked for */
    uint32_t waiting[SIM_ROUND_OPS + 1];
};

/* ---- memory ----------------------------------------------------------------------------------- */

struct world *
world_open(void)
{
    struct world *world = calloc(1, sizeof *world);
    assert(world != NULL);
    world->disk = sim_disk_open();
    world->files = sim_disk_interface(world->disk);
    for (uint32_t from = 0; from < WORLD_SHARDS; from++) {
        for (uint32_t to = 0; to < WORLD_SHARDS; to++) {
            world->mailboxes[from][to].bytes = malloc(MAILBOX_BYTES);
            assert(world->mailboxes[from][to].bytes != NULL);
        }
    }
    return world;
}

/* Zeroed memory for a shard: what the last one had is wiped if it was small, else dropped page by page. */
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
    } else if (world->memories[index].used <= WIPE_BYTES_MAX) {
        memset(world->memories[index].memory, 0, world->memories[index].used);
    } else {
        int failed = madvise(world->memories[index].memory, world->memories[index].used, MADV_DONTNEED);
        assert(failed == 0);
    }
    world->memories[index].used = size;
    return world->memories[index].memory;
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
    if (op->request.type == COMMAND_QUEUE_UNWATCH && reply->status == STATUS_OK) {
        world->ops[op->request.watch].watching = false;
    }
    if (op->request.type == COMMAND_QUEUE_WATCH && reply->status == STATUS_OK && op->watch_state == 0) {
        op->watching = reply->token.state <= TOKEN_ACTIVE;
        op->watch_state = (uint8_t)reply->token.state;
        op->watch_position = reply->token.position;
    }
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

static void
host_write(void *context, int file, const void *data, uint32_t size, uint64_t offset)
{
    struct host *host = context;
    struct record_keeper *keeper = &host->world->keepers[host->index];
    assert(!keeper->writing);
    sim_disk_begin(host->world->disk, file, data, size, offset);
    keeper->writing = true;
    keeper->file = file;
    keeper->size = size;
}

static void
host_told(void *context, enum housekeeper_news news, uint64_t number, int result)
{
    struct world *world = context;
    world->counts.snapshots += news == NEWS_SNAPSHOT;
    world->counts.snapshots_failed += news == NEWS_SNAPSHOT_FAILED;
    world->counts.segments_failed += news == NEWS_SEGMENT_FAILED;
    if (world->trace) {
        static const char *const words[] = {"no segment", "segments again", "snapshot", "no snapshot",
                                            "not removed"};
        printf("  housekeeper: %s %llu (%d)\n", words[news], (unsigned long long)number, result);
    }
}

/* ---- a start ---------------------------------------------------------------------------------- */

static uint64_t
route_seed(const struct world *world)
{
    return world->scenario->seed * 0x9e3779b97f4a7c15u;
}

static void
host_push(void *context, uint64_t watch, const struct reply *reply, uint64_t sequence)
{
    struct host *host = context;
    struct op *op = &host->world->ops[watch - 1];
    const struct token_view *token = &reply->token;
    (void)sequence;
    if (!op->sent || op->request.type != COMMAND_QUEUE_WATCH || op->shard != host->index ||
        !uuid_equal(&op->request.hold, &token->id) || reply->kind != REPLY_TOKEN) {
        host->world->broken = "news of a token that nobody watches";
    } else if (op->watch_state > TOKEN_ACTIVE || (uint8_t)token->state < op->watch_state) {
        host->world->broken = "news of a token that has gone on since";
    } else if (token->state == TOKEN_ACTIVE && op->watch_state == TOKEN_ACTIVE) {
        host->world->broken = "news that has been told before"; /* who waits hears of positions, too */
    } else if (token->position > op->watch_position && op->watch_position > 0) {
        host->world->broken = "news that somebody has fallen back";
    }
    op->watching = token->state <= TOKEN_ACTIVE;
    op->watch_state = (uint8_t)token->state;
    op->watch_position = token->position;
    if (token->state == TOKEN_ACTIVE) {
        op->pushed_step = ++host->world->steps;
        op->pushed_ms = host->world->now_ms;
        op->pushed_deadline_ms = token->deadline_ms;
    }
}

static void
open_shards(struct world *world, uint32_t shard_count)
{
    world->shard_count = shard_count;
    for (uint32_t i = 0; i < shard_count; i++) {
        struct shard_settings settings = world->scenario->shard;
        settings.shard_index = i;
        settings.shard_count = shard_count;
        settings.route_seed = route_seed(world);
        settings.id_seed = random_next(world->random);
        world->hosts[i] = (struct host){world, i};
        struct shard_host host = {&world->hosts[i], host_send, host_reply, host_push};
        void *memory = shard_memory(world, i, shard_size(&settings));
        world->shards[i] = shard_open(memory, &settings, &host, world->now_ms);
        world->paused[i] = false;
        world->keepers[i] = (struct record_keeper){.journal = NULL};
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

static void
open_journals(struct world *world, const struct recovery_report *report, const int *files,
              const uint32_t *crcs)
{
    const struct scenario *scenario = world->scenario;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        struct journal_settings settings = {
            .epoch = report->epoch,
            .segment_bytes = scenario->segment_bytes,
            .shard = i,
            .shard_count = world->shard_count,
            .batch_bytes_max = (uint32_t)scenario->shard.batch_bytes_max,
            .seal_ms = 1000,
        };
        struct journal_host host = {&world->hosts[i], host_write};
        int failed = journal_open(&world->keepers[i].journal, &settings, &host, files[i], crcs[i]);
        assert(failed == 0);
    }
    struct housekeeper_settings settings = {
        .epoch = report->epoch,
        .route_seed = route_seed(world),
        .segment_bytes = scenario->segment_bytes,
        .snapshot_bytes = scenario->snapshot_bytes,
        .shard_count = world->shard_count,
        .slice_bytes = SNAPSHOT_SLICE_BYTES,
        .retry_ms = 0,
    };
    struct recovered recovered = {
        .generation = report->generation,
        .journal_bytes = report->journal_bytes + report->old_segments * scenario->segment_bytes,
    };
    int failed =
        housekeeper_open(&world->housekeeper, &world->files, &settings, &recovered, host_told, world);
    assert(failed == 0);
}

/* A torn end is nobody's fault, and only where a batch was on its way. */
static void
check_report(struct world *world, const struct recovery_report *report)
{
    if (report->cut_count > world->in_flight && !rot_active(&world->rot)) {
        world->broken = "a journal was cut where no batch was on its way";
    }
    if (report->snapshot_damaged && !rot_active(&world->rot)) {
        world->broken = "a snapshot is damaged, and nobody did it";
    }
    world->counts.cuts += report->cut_count;
    world->counts.damaged_snapshots += report->snapshot_damaged;
    if (world->trace) {
        printf("  epoch %llu: generation %llu%s, %llu records, %u cuts\n",
               (unsigned long long)report->epoch, (unsigned long long)report->generation,
               report->snapshot_damaged ? " (the newest is damaged)" : "",
               (unsigned long long)report->records, report->cut_count);
        for (uint32_t i = 0; i < report->cut_count; i++) {
            printf("  cut %s at %llu: %llu bytes: %s\n", report->cuts[i].file,
                   (unsigned long long)report->cuts[i].offset, (unsigned long long)report->cuts[i].bytes,
                   report->cuts[i].text);
        }
    }
}

/* Into these shards. Negative errno as recovery says it. */
static int
replay(struct world *world, struct recovery *recovery, uint32_t shard_count,
       struct journal_fault *ret_fault)
{
    uint64_t newest_ms = recovery_report(recovery)->time_newest_ms;
    world->now_ms = newest_ms > world->now_ms ? newest_ms : world->now_ms;
    open_shards(world, shard_count);
    int result = recovery_events(recovery, world->shards, shard_count, ret_fault);
    uint32_t first = random_below(world->random, shard_count);
    for (uint32_t i = 0; result == 0 && i < shard_count; i++) {
        result = recovery_holds(recovery, world->shards, shard_count, (first + i) % shard_count, ret_fault);
    }
    for (uint32_t i = 0; result == 0 && i < shard_count; i++) {
        result =
            recovery_settle(recovery, world->shards, shard_count, (first + i) % shard_count, ret_fault);
    }
    return result;
}

/* One start. 0: the shards work; -EAGAIN: it was cut off. */
static int
start(struct world *world, uint32_t shard_count, bool cut_off, struct journal_fault *ret_fault)
{
    struct recovery *recovery = NULL;
    int result = recovery_open(&recovery, &world->files, route_seed(world), 1, ret_fault);
    if (result != 0) {
        return result;
    }
    result = replay(world, recovery, shard_count, ret_fault);
    if (result != 0) {
        recovery_close(recovery);
        return result;
    }
    check_report(world, recovery_report(recovery));
    if (cut_off && random_chance(world->random, 80)) {
        sim_disk_lose_power_at(world->disk, random_between(world->random, 1, 6 * shard_count + 8));
    } else if (cut_off) {
        sim_disk_full(world->disk, true);
    }
    int files[WORLD_SHARDS];
    uint32_t crcs[WORLD_SHARDS];
    result = recovery_begin(recovery, shard_count, world->scenario->segment_bytes, world->now_ms, files,
                            crcs, ret_fault);
    if (result == 0 && sim_disk_lost_power(world->disk)) {
        world->broken = "a start without a disk";
    }
    if (result != 0 && cut_off) {
        result = -EAGAIN;
    }
    if (result == 0) {
        sim_disk_lose_power_at(world->disk, 0);
        sim_disk_full(world->disk, false);
        open_journals(world, recovery_report(recovery), files, crcs);
    }
    recovery_close(recovery);
    return result;
}

/* Starts until one comes to its end. */
static void
start_over(struct world *world, uint32_t shard_count)
{
    uint32_t before = world->shard_count;
    for (uint32_t i = 0; i < STARTS_MAX; i++) {
        struct journal_fault fault = {.error = 0};
        bool cut_off = i + 1 < STARTS_MAX && random_chance(world->random, world->scenario->again_percent);
        int result = start(world, shard_count, cut_off, &fault);
        if (result == 0) {
            return;
        }
        if (world->trace) {
            printf("  no start (%d): %s at %llu: %s\n", result, fault.file,
                   (unsigned long long)fault.offset, fault.text);
        }
        if (result == -ENOMEM && (world->scenario->bounded || world->scenario->few_places) &&
            shard_count != before) {
            world->full = true; /* other shards, small bounds: a host refuses such a start */
            return;
        }
        if (result == -EBADMSG && rot_explains(&world->rot, &fault)) {
            world->counts.refused++;
            rot_repair(&world->rot, world->disk);
        } else if (result == -EAGAIN) {
            world->counts.cut_off++;
        } else {
            (void)snprintf(world->broken_text, sizeof world->broken_text,
                           "the start is refused (%d): %s at %llu: %s", result, fault.file,
                           (unsigned long long)fault.offset, fault.text);
            world->broken = world->broken_text;
            return;
        }
        sim_disk_crash(world->disk, random_chance(world->random, 70) ? CRASH_POWER : CRASH_KILL);
        shard_count =
            random_chance(world->random, 50) ? shard_count : random_between(world->random, 1, WORLD_SHARDS);
    }
}

static void
stop(struct world *world)
{
    sim_disk_lose_power(world->disk);
    housekeeper_close(world->housekeeper);
    world->housekeeper = NULL;
    world->in_flight = 0;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        world->in_flight += world->keepers[i].writing;
    }
}

static void
close_journals(struct world *world)
{
    for (uint32_t i = 0; i < world->shard_count; i++) {
        journal_close(world->keepers[i].journal);
        world->keepers[i].journal = NULL;
    }
}

void
world_begin(struct world *world, const struct scenario *scenario, struct random *random, struct op *ops,
            bool trace)
{
    if (world->housekeeper != NULL) {
        stop(world);
        close_journals(world);
    }
    world->scenario = scenario;
    world->random = random;
    world->ops = ops;
    world->now_ms = scenario->start_ms;
    world->keep_ms = 0;
    world->steps = 0;
    world->broken = NULL;
    world->full = false;
    world->died = false;
    world->touched = 0;
    world->trace = trace;
    world->in_flight = 0;
    world->scarcity = SCARCE_NOT;
    memset(world->loads, 0, sizeof world->loads);
    world->mailbox_max = scenario->refuse_percent > 0 ? random_between(random, 1, 8) : 4096;
    world->refuse_percent = scenario->refuse_percent;
    sim_disk_empty(world->disk, random);
    world->rot = (struct rot){.bytes = NULL};
    start_over(world, scenario->shard_count);
}

uint64_t
world_now(const struct world *world)
{
    return world->now_ms;
}

uint64_t
world_durable(const struct world *world, uint32_t shard)
{
    return world->keepers[shard].durable;
}

enum scarcity
world_scarcity(struct world *world)
{
    enum scarcity worst = world->scarcity;
    world->scarcity = SCARCE_NOT;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        enum scarcity now = world->keepers[i].scarcity; /* what it was told holds until it is told anew */
        world->scarcity = now > world->scarcity ? now : world->scarcity;
    }
    return worst;
}

const struct world_counts *
world_counts(const struct world *world)
{
    return &world->counts;
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

/* Never are more let in than may be, whatever is on its way: after every step. */
static void
check_queues(struct world *world)
{
    const struct scenario *scenario = world->scenario;
    for (uint32_t e = 0; scenario->queues && e < scenario->event_count; e++) {
        struct queue_load load;
        struct bytes id = {scenario->events[e].id, (uint32_t)strlen(scenario->events[e].id)};
        if (scenario->events[e].active_max == 0 ||
            !shard_queue_load(world->shards, world->shard_count, id, world->now_ms, &load)) {
            continue;
        }
        bool lowered = load.slots > load.active_max && world->loads[e].most > load.active_max;
        uint32_t most = lowered ? world->loads[e].most : load.active_max;
        /* In the step that lowers it somebody may have been let in before that. */
        bool same = load.active_max == world->loads[e].active_max;
        if (load.slots > most || (lowered && same && load.slots > world->loads[e].slots) ||
            load.admitted > load.slots) {
            (void)snprintf(world->broken_text, sizeof world->broken_text,
                           "more are let in than may be: %u admitted, %u slots of %u", load.admitted,
                           load.slots, load.active_max);
            world->broken = world->broken == NULL ? world->broken_text : world->broken;
        }
        world->loads[e].slots = load.slots;
        world->loads[e].most = most;
        world->loads[e].active_max = load.active_max;
    }
}

/* ---- single steps ----------------------------------------------------------------------------- */

/* The shard is about to do something, now. */
static void
touch(struct world *world, uint32_t index)
{
    world->touched |= 1ull << index;
    shard_time(world->shards[index], world->now_ms);
}

static void
submit(struct world *world, uint32_t op_index)
{
    struct op *op = &world->ops[op_index];
    struct command command;
    scenario_command(world->scenario, op, op_index, &command);
    touch(world, op->shard);
    shard_command(world->shards[op->shard], op_index, &command);
    check_queues(world);
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
        bool early = op->sequence > world->keepers[op->shard].durable;
        if (early && !world->scenario->memory_mode) {
            i++;
            continue;
        }
        op->early = early;
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

/* As the server's loop does: some of what is on its way is told of ahead, all of it once in a while. */
static void
foresee(struct world *world, const struct mailbox *mailbox, uint32_t to)
{
    uint32_t count = mailbox->count < 8 || world->steps % 64 == 0 ? mailbox->count : 8;
    uint32_t at = mailbox->head;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size;
        memcpy(&size, mailbox->bytes + at, sizeof size);
        shard_message_foreseen(world->shards[to], mailbox->bytes + at + 8);
        at += size + 8;
    }
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
    foresee(world, mailbox, to);
    memcpy(&size, mailbox->bytes + mailbox->head, sizeof size);
    memcpy(message, mailbox->bytes + mailbox->head + 8, size);
    mailbox->head += size + 8;
    mailbox->count--;
    if (mailbox->count == 0) {
        mailbox->head = 0;
        mailbox->tail = 0;
    }
    touch(world, to);
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

/* What the loop does each tick for its journal: segments come and go, and the shard hears of scarcity. */
static bool
tend(struct world *world, uint32_t index)
{
    struct journal *journal = world->keepers[index].journal;
    bool moved = false;
    uint32_t segment = journal_segment_wanted(journal);
    if (segment != UINT32_MAX) {
        (void)housekeeper_want(world->housekeeper, index, segment);
    }
    int file = housekeeper_made(world->housekeeper, index, &segment);
    if (file >= 0) {
        journal_segment_give(journal, segment, file);
        moved = true;
    }
    while ((file = journal_closed_file(journal)) >= 0) {
        (void)world->files.close(world->files.context,
                                 file); /* every byte of it was durable when it ended */
    }
    enum scarcity scarcity = SCARCE_NOT;
    if (housekeeper_scarce(world->housekeeper))
        scarcity = journal_nearly_full(journal) ? SCARCE_ALL : SCARCE_NEW;
    shard_scarce(world->shards[index], scarcity);
    world->keepers[index].scarcity = scarcity;
    world->scarcity = scarcity > world->scarcity ? scarcity : world->scarcity;
    return moved;
}

/* What was written is durable now: the shard hears of it. */
static void
note_durable(struct world *world, uint32_t index)
{
    struct record_keeper *keeper = &world->keepers[index];
    uint64_t durable = journal_durable(keeper->journal);
    assert(durable >= keeper->durable);
    housekeeper_durable(world->housekeeper, index, durable, journal_bytes(keeper->journal));
    if (durable > keeper->durable) {
        keeper->durable = durable;
        touch(world, index);
        shard_durable(world->shards[index], durable);
    }
}

static bool
take_batch(struct world *world, uint32_t index)
{
    struct record_keeper *keeper = &world->keepers[index];
    bool moved = tend(world, index);
    if (journal_busy(keeper->journal)) {
        return moved;
    }
    touch(world, index);
    struct shard_batch batch = shard_batch(world->shards[index]);
    if (batch.size > 0) {
        journal_append(keeper->journal, batch.data, batch.size, batch.record_count, batch.sequence_first,
                       batch.sequence_last, batch.events, world->now_ms);
        note_durable(world, index);
        return true;
    }
    if (journal_seal_ms(keeper->journal) <= world->now_ms) {
        journal_seal(keeper->journal, world->now_ms);
        return true;
    }
    return moved;
}

/* The write has failed, or was short: the process ends with the cause, and nothing of it was answered. */
static void
fail_write(struct world *world, uint32_t index)
{
    struct record_keeper *keeper = &world->keepers[index];
    int32_t result = random_chance(world->random, 50)
                         ? -EIO
                         : (int32_t)(random_below(world->random, keeper->size / DISK_SECTOR) * DISK_SECTOR);
    if (world->trace) {
        printf("  shard %u: a batch's write ends with %d\n", index, result);
    }
    int failed = journal_written(keeper->journal, result);
    if (failed >= 0) {
        world->broken = "a write that failed is taken for good";
    }
    note_durable(world, index);
    (void)let_answers_leave(world);
    world->died = true;
}

static bool
end_write(struct world *world, uint32_t index)
{
    struct record_keeper *keeper = &world->keepers[index];
    if (!keeper->writing) {
        return false;
    }
    sim_disk_end(world->disk, keeper->file);
    keeper->writing = false;
    int failed = journal_written(keeper->journal, (int32_t)keeper->size);
    assert(failed == 0);
    note_durable(world, index);
    (void)tend(world, index);
    return true;
}

/* The next slice of a snapshot, if one is being written and there is room for it. */
static bool
tell_slice(struct world *world, uint32_t index)
{
    struct record_keeper *keeper = &world->keepers[index];
    struct shard *shard = world->shards[index];
    touch(world, index);
    uint64_t generation = housekeeper_generation(world->housekeeper, index);
    if (generation != 0 && !keeper->telling) {
        struct journal_position position = journal_position(keeper->journal);
        housekeeper_begun(world->housekeeper, index, &position);
        shard_snapshot_begin(shard, generation);
        keeper->telling = true;
        return true;
    }
    if (!keeper->telling) {
        return false;
    }
    uint8_t *records = housekeeper_slice(world->housekeeper, index);
    if (records == NULL) {
        return false;
    }
    uint32_t count = 0;
    bool last = false;
    uint32_t size = shard_snapshot_slice(shard, records, world->scenario->slice_bytes, &count, &last);
    if (size > 0 || last) {
        housekeeper_sliced(world->housekeeper, index, size, count, shard_sequence(shard), world->now_ms,
                           last);
        keeper->telling = !last;
        return true;
    }
    return false;
}

/* Its clock goes on by itself, so that what it tries again is tried again also while the world's stands. */
static bool
keep_house(struct world *world)
{
    world->keep_ms = world->keep_ms < world->now_ms ? world->now_ms : world->keep_ms + 1;
    return housekeeper_step(world->housekeeper, world->keep_ms);
}

static bool
sweep(struct world *world, uint32_t index)
{
    touch(world, index);
    return shard_expire(world->shards[index]);
}

/* The thing that happens is one of a shard: a batch is taken, a write ends, a slice is told, a sweep runs.
 */
static void
step_shard(struct world *world, uint32_t shard, uint32_t draw, bool may_fail)
{
    const struct scenario *scenario = world->scenario;
    if (draw < scenario->write_weight) {
        (void)take_batch(world, shard);
    } else if (draw < 2 * scenario->write_weight) {
        if (may_fail && world->keepers[shard].writing && random_chance(world->random, 10)) {
            fail_write(world, shard);
            return;
        }
        (void)end_write(world, shard);
    } else if (draw < 2 * scenario->write_weight + 2) {
        if (shard != scenario->laggard || random_chance(world->random, 25)) {
            (void)tell_slice(world, shard);
        }
    } else {
        (void)sweep(world, shard);
    }
}

void
world_sweep(struct world *world, bool pause)
{
    for (uint32_t i = 0; i < world->shard_count; i++) {
        (void)sweep(world, i);
    }
    if (pause) {
        world->paused[random_below(world->random, world->shard_count)] = true;
    }
}

void
world_step(struct world *world, bool may_fail)
{
    const struct scenario *scenario = world->scenario;
    world->steps++;
    uint32_t shard = random_below(world->random, world->shard_count);
    uint32_t weights = scenario->deliver_weight + scenario->keep_weight + 2 * scenario->write_weight + 4;
    uint32_t draw = random_below(world->random, weights);
    if (scenario->pause_percent > 0 && random_chance(world->random, scenario->pause_percent)) {
        world->paused[shard] = !world->paused[shard];
    }
    if (scenario->full_percent > 0 && random_chance(world->random, scenario->full_percent)) {
        sim_disk_full(world->disk, !sim_disk_is_full(world->disk));
    }
    if (draw < scenario->deliver_weight) {
        (void)deliver_any(world, false);
    } else if (draw < scenario->deliver_weight + scenario->keep_weight) {
        (void)keep_house(world);
    } else if (!world->paused[shard]) {
        step_shard(world, shard, draw - scenario->deliver_weight - scenario->keep_weight, may_fail);
    }
    world->died = world->died || sim_disk_lost_power(world->disk);
    if (world->died) {
        return;
    }
    (void)let_answers_leave(world);
    check_queues(world);
    for (; world->steps % scenario->check_every == 0 && world->touched != 0;
         world->touched &= world->touched - 1) {
        shard_check(world->shards[__builtin_ctzll(world->touched)]);
    }
}

/* The disk has room again, and the housekeeper has noticed. */
static void
end_scarcity(struct world *world)
{
    sim_disk_full(world->disk, false);
    for (uint32_t i = 0; i < 1000 && housekeeper_scarce(world->housekeeper); i++) {
        (void)keep_house(world);
    }
    assert(!housekeeper_scarce(world->housekeeper));
}

bool
world_quiesce(struct world *world, bool with_sweep)
{
    uint32_t idle = 0;
    uint32_t snapshot_steps = random_chance(world->random, 50) ? random_below(world->random, 60) : 0;
    if (with_sweep) {
        end_scarcity(world);
    }
    for (uint32_t i = 0; i < QUIESCE_STEPS_MAX; i++) {
        bool moved = deliver_any(world, true);
        bool wanting = false;
        for (uint32_t s = 0; s < world->shard_count; s++) {
            world->paused[s] = false;
            moved |= take_batch(world, s);
            moved |= end_write(world, s);
            wanting |= journal_busy(world->keepers[s].journal) && !world->keepers[s].writing;
            if (snapshot_steps > 0 && s != world->scenario->laggard) {
                moved |= tell_slice(world, s);
            }
            bool due = with_sweep && shard_next_expiry_ms(world->shards[s]) <= world->now_ms;
            if (due || shard_backlogged(world->shards[s])) {
                moved |= sweep(world, s) || shard_backlogged(world->shards[s]) || due;
            }
        }
        if (wanting || snapshot_steps > 0) {
            bool kept = keep_house(world);
            moved |= wanting || kept;
            snapshot_steps -= snapshot_steps > 0;
        }
        if (wanting && housekeeper_scarce(world->housekeeper)) {
            end_scarcity(world);
        }
        moved |= let_answers_leave(world);
        check_queues(world);
        world->steps++;
        idle = moved ? 0 : idle + 1;
        if (idle == 1 && with_sweep && world->scenario->queues) {
            /* What a start or a full batch has left to the next tick. */
            for (uint32_t s = 0; s < world->shard_count; s++) {
                idle = sweep(world, s) ? 0 : idle;
            }
        }
        if (idle == 2) {
            return world->waiting_count == 0;
        }
    }
    return false;
}

/* ---- crash ------------------------------------------------------------------------------------ */

void
world_threaten(struct world *world, uint32_t calls)
{
    sim_disk_lose_power_at(world->disk, calls);
}

bool
world_died(const struct world *world)
{
    return world->died;
}

bool
world_writing(const struct world *world)
{
    bool writing = false;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        writing |= world->keepers[i].writing;
    }
    return writing;
}

void
world_crash(struct world *world, uint32_t shard_count)
{
    const struct scenario *scenario = world->scenario;
    world->steps++;
    bool power = sim_disk_lost_power(world->disk) || random_chance(world->random, scenario->power_percent);
    stop(world);
    sim_disk_crash(world->disk, power ? CRASH_POWER : CRASH_KILL);
    close_journals(world);
    /* What was scarce stays noted: who was refused for it may have been answered before. */
    world->died = false;
    world->touched = 0;
    world->counts.crashes++;
    world->counts.in_flight += world->in_flight > 0;
    if (world->trace) {
        printf("%s, %u batches on their way, then %u shards\n", power ? "power loss" : "kill",
               world->in_flight, shard_count);
    }
    if (!rot_active(&world->rot) && random_chance(world->random, scenario->rot_percent)) {
        rot_begin(&world->rot, world->disk, world->random);
        world->counts.rotten += rot_active(&world->rot);
        if (world->trace && rot_active(&world->rot)) {
            printf("  rot: %s at %llu\n", world->rot.name,
                   (unsigned long long)world->rot.patches[0].offset);
        }
    }
    start_over(world, shard_count);
    if (world->full || world->broken != NULL) {
        return;
    }
    for (uint32_t e = 0; e < SIM_EVENTS; e++) {
        world->loads[e].slots = world->loads[e].most; /* of those that were let in when there were more */
    }
    world_check(world);
}

/* ---- checks ----------------------------------------------------------------------------------- */

void
world_check(const struct world *world)
{
    for (uint32_t i = 0; i < world->shard_count; i++) {
        shard_check(world->shards[i]);
    }
    shard_check_all(world->shards, world->shard_count);
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
