/*
 * test_outbox_relay.c - the relay against a model of PostgreSQL and of Kafka, from seeds.
 *
 * The model database holds an outbox, its watermark and the dead; each call may fail before it did
 * anything, or after, or be the relay's last one: a crash between any two of its steps. The model cluster
 * takes what flies, one partition at a time in order, whenever it likes; acknowledges later; refuses single
 * rows, whole batches, whole topics; loses connections; and is at times replaced by another, empty one at
 * the same address, which takes everything without a word. Now and then a second relay runs on the same
 * database.
 *
 * After every step: what the watermark has passed is in the cluster, or with the dead. In the end, when all
 * is well: every row is in one of them; the dead are those that no try could have brought in; the first
 * copies are in order for each key.
 *
 *     test_outbox_relay [--seeds FIRST COUNT]
 *
 * The same test is built once for each planted bug of outbox_plant.h, and must fail (CMakeLists.txt).
 */
#include "persist/outbox_relay.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS         400u
#define KEYS         24u
#define PARTITIONS   3u
#define FLYING_MAX   64u
#define LOG_MAX      (ROWS * 64u)
#define STEPS        1500u
#define CALM_STEPS   4000u
#define ROW_SIZE_MAX 100u
#define HOME         "home"
#define STRANGER     "stranger"

/* What becomes of a row with the broker. */
enum fate { FATE_FINE, FATE_TOO_LARGE, FATE_UNKNOWN_TOPIC };

struct model_row {
    int64_t position;
    uint32_t key;
    uint32_t size;
    enum fate fate;
    bool dead;
    bool pruned;
    bool home; /* in the cluster */
    uint32_t alone_refused;
    char id[16];
    char key_text[16];
};

struct flight {
    uint64_t ticket;
    uint32_t row;
    bool received;
    bool reported;
    enum window_outcome outcome;
};

struct world;

/* One relay, and its connections. */
struct process {
    struct world *world;
    struct relay *relay; /* NULL: crashed */
    struct flight flying[FLYING_MAX];
    uint32_t flying_count;
    bool open;
    bool lost;
    bool fatal;
    bool deceived;     /* the stranger's acknowledgements were reported, and it was not asked since */
    uint32_t crash_in; /* calls until it is killed; 0: dead */
};

struct world {
    uint64_t seed;
    uint64_t random;
    bool calm; /* nothing fails any more */
    uint64_t now_ms;
    /* the database */
    struct model_row rows[ROWS];
    uint32_t row_count; /* committed */
    int64_t watermark;
    char cluster[CLUSTER_SIZE_MAX];
    /* Kafka */
    bool away;
    bool stranger;
    bool topic_gone;
    uint32_t log[LOG_MAX]; /* rows as the home cluster got them */
    uint32_t log_count;
    /* figures over all seeds, so that a test in which nothing happens is seen */
    struct process processes[2];
};

static struct happened {
    uint64_t rows, copies, dead, crashes, cuts, strangers, refusals, recalls, stale;
} happened;

static uint64_t
draw(struct world *world)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random >> 11;
}

static bool
chance(struct world *world, uint32_t percent)
{
    return !world->calm && draw(world) % 100 < percent;
}

static void
violated(const struct world *world, const char *what, uint32_t row)
{
    (void)printf("seed %llu: %s: row %u, position %lld, key %u\n", (unsigned long long)world->seed, what,
                 row, (long long)world->rows[row].position, world->rows[row].key);
    exit(1);
}

/* Counts down to the crash; true: the process is dead, and nothing that it asks for happens. */
static bool
killed(struct process *process)
{
    if (process->crash_in > 0 && process->crash_in != UINT32_MAX)
        process->crash_in--;
    return process->crash_in == 0;
}

/* ---- the database ---- */

static int
model_load(void *context, int64_t *ret_watermark, char ret_cluster[CLUSTER_SIZE_MAX])
{
    struct process *process = context;
    if (killed(process) || chance(process->world, 5))
        return -EAGAIN;
    *ret_watermark = process->world->watermark;
    memcpy(ret_cluster, process->world->cluster, CLUSTER_SIZE_MAX);
    return 0;
}

static int
model_read(void *context, int64_t after, uint32_t rows_max, uint64_t bytes_max,
           struct outbox_rows **ret_rows)
{
    struct process *process = context;
    struct world *world = process->world;
    if (killed(process) || chance(world, 5))
        return -EAGAIN;
    struct outbox_rows *rows = calloc(1, sizeof *rows);
    assert(rows != NULL);
    rows->rows = calloc(ROWS, sizeof *rows->rows);
    assert(rows->rows != NULL);
    uint64_t bytes = 0;
    uint32_t at = 0;
    for (; at < world->row_count && rows->count < rows_max && bytes < bytes_max; at++) {
        struct model_row *row = &world->rows[at];
        if (row->position <= after || row->dead || row->pruned)
            continue;
        bytes += row->size;
        rows->rows[rows->count++] = (struct outbox_row){
            .position = row->position,
            .id = {row->id, (uint32_t)strlen(row->id)},
            .aggregateid = {row->key_text, (uint32_t)strlen(row->key_text)},
            .payload = {"", row->size}, /* only its size is looked at */
            .type = {"t", 1},
            .aggregatetype = {"a", 1},
        };
    }
    rows->more = at < world->row_count;
    *ret_rows = rows;
    return 0;
}

static void
model_release(void *context, struct outbox_rows *rows)
{
    (void)context;
    memset(rows->rows, 0xee, rows->count * sizeof *rows->rows); /* who still looks is found out */
    free(rows->rows);
    free(rows);
}

static uint32_t
row_at(const struct world *world, int64_t position)
{
    uint32_t i = 0;
    while (i < world->row_count && world->rows[i].position != position)
        i++;
    assert(i < world->row_count); /* else a row that was never there */
    return i;
}

static int
model_settle(void *context, int64_t from, int64_t to, const struct dead_letter *dead, uint32_t dead_count)
{
    struct process *process = context;
    struct world *world = process->world;
    if (killed(process) || chance(world, 5))
        return -EAGAIN;
    if (world->watermark != from) {
        happened.stale++;
        return -ESTALE;
    }
    for (uint32_t i = 0; i < dead_count; i++) {
        struct model_row *row = &world->rows[row_at(world, dead[i].position)];
        assert(dead[i].attempts == WINDOW_TRIES_MAX);
        row->dead = true;
        happened.dead++;
    }
    world->watermark = to;
    if (chance(world, 5)) { /* committed, but the answer is lost */
        happened.cuts++;
        return -EAGAIN;
    }
    return killed(process) ? -EAGAIN : 0;
}

static int
model_name_cluster(void *context, const char *old, const char *cluster)
{
    struct process *process = context;
    struct world *world = process->world;
    if (killed(process) || chance(world, 5))
        return -EAGAIN;
    if (strcmp(world->cluster, old) != 0)
        return -ESTALE;
    (void)snprintf(world->cluster, sizeof world->cluster, "%s", cluster);
    return chance(world, 5) ? -EAGAIN : 0;
}

static int
model_prune(void *context, int64_t upto, uint64_t keep_seconds, uint32_t rows_max, uint32_t *ret_rows)
{
    struct process *process = context;
    struct world *world = process->world;
    (void)keep_seconds;
    if (killed(process) || chance(world, 5))
        return -EAGAIN;
    if (upto > world->watermark)
        violated(world, "a row is pruned before the watermark has passed it", row_at(world, upto));
    *ret_rows = 0;
    for (uint32_t i = 0; i < world->row_count && *ret_rows < rows_max; i++) {
        if (world->rows[i].position <= upto && !world->rows[i].pruned && chance(world, 50)) {
            world->rows[i].pruned = true;
            ++*ret_rows;
        }
    }
    return 0;
}

static const char *
model_why(void *context)
{
    (void)context;
    return "the model says so";
}

/* ---- Kafka ---- */

static int
model_open(void *context)
{
    struct process *process = context;
    if (killed(process) || chance(process->world, 5))
        return -EAGAIN;
    assert(!process->open);
    assert(process->flying_count == 0);
    process->open = true;
    process->lost = process->fatal = process->deceived = false;
    return 0;
}

/* The cluster takes one that flies: into its log, or refused. */
static void
receive(struct world *world, struct flight *flight)
{
    struct model_row *row = &world->rows[flight->row];
    flight->received = true;
    flight->outcome = WINDOW_DELIVERED;
    if (world->stranger)
        return; /* takes everything, keeps it elsewhere */
    if (row->fate == FATE_TOO_LARGE)
        flight->outcome = WINDOW_TOO_LARGE;
    else if (row->fate == FATE_UNKNOWN_TOPIC || world->topic_gone)
        flight->outcome = WINDOW_REFUSED;
    if (flight->outcome != WINDOW_DELIVERED) {
        happened.refusals++;
        return;
    }
    assert(world->log_count < LOG_MAX);
    world->log[world->log_count++] = flight->row;
    happened.copies += row->home;
    row->home = true;
}

static void
model_close(void *context)
{
    struct process *process = context;
    struct world *world = process->world;
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        for (uint32_t i = 0; i < process->flying_count && chance(world, 70); i++)
            if (world->rows[process->flying[i].row].key % PARTITIONS == partition && !world->away &&
                !process->flying[i].received)
                receive(world, &process->flying[i]); /* was on its way */
    happened.recalls += process->flying_count > 0;
    process->flying_count = 0;
    process->open = false;
}

static int
model_ask(void *context, char ret_cluster[CLUSTER_SIZE_MAX])
{
    struct process *process = context;
    struct world *world = process->world;
    if (killed(process) || world->away || chance(world, 3))
        return -EAGAIN;
    assert(process->open);
    process->deceived = false;
    (void)snprintf(ret_cluster, CLUSTER_SIZE_MAX, "%s", world->stranger ? STRANGER : HOME);
    return 0;
}

static int
model_make_topics(void *context)
{
    struct process *process = context;
    struct world *world = process->world;
    if (killed(process) || world->away)
        return -EAGAIN;
    if (chance(world, 50))
        world->topic_gone = false;
    return 0;
}

static int
model_may_write(void *context)
{
    (void)context; /* may be or not: rows are refused then */
    return 0;
}

static enum broker_give
model_give(void *context, uint64_t ticket, const struct outbox_row *row, const char **ret_reason)
{
    struct process *process = context;
    struct world *world = process->world;
    assert(process->open);
    if (killed(process) || process->fatal)
        return BROKER_BROKEN;
    if (process->flying_count == FLYING_MAX || chance(world, 2))
        return BROKER_FULL;
    *ret_reason = "refused by the model";
    uint32_t index = row_at(world, row->position);
    if (world->rows[index].fate == FATE_TOO_LARGE && chance(world, 50))
        return BROKER_TOO_LARGE;
    if (world->rows[index].fate == FATE_UNKNOWN_TOPIC && chance(world, 50))
        return BROKER_REFUSED;
    process->flying[process->flying_count++] = (struct flight){.ticket = ticket, .row = index};
    return BROKER_GIVEN;
}

/* A batch with a row that is too large: all of it is refused. Alone there is nobody beside it. */
static void
refuse_batch(struct process *process, uint32_t partition)
{
    for (uint32_t i = 0; i < process->flying_count; i++) {
        struct flight *flight = &process->flying[i];
        if (process->world->rows[flight->row].key % PARTITIONS == partition && !flight->received) {
            flight->received = true;
            flight->outcome = WINDOW_TOO_LARGE;
            happened.refusals++;
        }
    }
}

/* Some of what flies arrives: of each partition in order. */
static void
move_flying(struct process *process)
{
    struct world *world = process->world;
    if (world->away || process->fatal)
        return;
    for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
        bool large = false;
        uint32_t waiting = 0;
        for (uint32_t i = 0; i < process->flying_count; i++) {
            if (process->flying[i].received ||
                world->rows[process->flying[i].row].key % PARTITIONS != partition)
                continue;
            waiting++;
            large |= world->rows[process->flying[i].row].fate == FATE_TOO_LARGE;
        }
        if (large && waiting > 1 && !world->stranger && draw(world) % 2 == 0) {
            refuse_batch(process, partition);
            continue;
        }
        for (uint32_t i = 0; i < process->flying_count; i++) {
            struct flight *flight = &process->flying[i];
            if (flight->received || world->rows[flight->row].key % PARTITIONS != partition)
                continue;
            if (!world->calm && draw(world) % 3 == 0)
                break;
            receive(world, flight);
        }
    }
}

static unsigned
model_poll(void *context, broker_report *report, void *report_context)
{
    struct process *process = context;
    unsigned news = process->lost ? BROKER_LOST : BROKER_QUIET;
    if (killed(process))
        return BROKER_QUIET;
    process->lost = false;
    if (process->fatal)
        return news | BROKER_FATAL;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < process->flying_count; i++) {
        struct flight flight = process->flying[i];
        process->deceived |= flight.received && process->world->stranger;
        if (flight.received && !chance(process->world, 30))
            report(report_context, flight.ticket, flight.outcome, "refused by the model");
        else
            process->flying[kept++] = flight;
    }
    process->flying_count = kept;
    return news;
}

/* ---- the world ---- */

static void
quiet(void *context, enum relay_level level, const struct outbox_row *row, const char *text)
{
    (void)context;
    (void)level;
    (void)row;
    (void)text;
}

static void
start(struct world *world, struct process *process)
{
    const struct relay_settings settings = {.rows_max = 4 + (uint32_t)(draw(world) % 60),
                                            .bytes_max = 16u << 20,
                                            .random = draw(world),
                                            .cluster = "",
                                            .tell = quiet};
    const struct outbox_store store = {process,      model_load,         model_read,  model_release,
                                       model_settle, model_name_cluster, model_prune, model_why};
    const struct broker broker = {process,         model_open, model_close, model_ask, model_make_topics,
                                  model_may_write, model_give, model_poll,  model_why};
    process->flying_count = 0;
    process->open = false;
    process->crash_in =
        world->calm || draw(world) % 2 == 0 ? UINT32_MAX : 1 + (uint32_t)(draw(world) % 400);
    process->relay = relay_open(&settings, &store, &broker);
    assert(process->relay != NULL);
}

static void
commit_rows(struct world *world)
{
    for (uint32_t n = (uint32_t)(draw(world) % 6); n > 0 && world->row_count < ROWS; n--) {
        struct model_row *row = &world->rows[world->row_count];
        int64_t last = world->row_count == 0 ? 0 : world->rows[world->row_count - 1].position;
        uint32_t dice = (uint32_t)(draw(world) % 100);
        row->position = last + 1 + (int64_t)(draw(world) % 3); /* what was rolled back leaves gaps */
        row->key = (uint32_t)(draw(world) % KEYS);
        row->size = (uint32_t)(draw(world) % ROW_SIZE_MAX);
        row->fate = dice < 3 ? FATE_TOO_LARGE : dice < 6 ? FATE_UNKNOWN_TOPIC : FATE_FINE;
        (void)snprintf(row->id, sizeof row->id, "e%u", world->row_count);
        (void)snprintf(row->key_text, sizeof row->key_text, "k%u", row->key);
        world->row_count++;
        happened.rows++;
    }
}

/* What was not acknowledged to the producer it sends once more, to whoever is there now. */
static void
reconnect(struct process *process)
{
    process->lost |= draw(process->world) % 2 == 0; /* librdkafka does not tell of every connection */
    for (uint32_t i = 0; i < process->flying_count; i++)
        process->flying[i].received = false;
}

static void
weather(struct world *world)
{
    if (chance(world, 2))
        world->away = !world->away;
    if (chance(world, 1))
        world->topic_gone = true; /* until somebody makes it */
    bool deceived = world->processes[0].deceived || world->processes[1].deceived;
    if (chance(world, 2) && world->cluster[0] != '\0' && !(world->stranger && deceived)) {
        world->stranger = !world->stranger;
        happened.strangers += world->stranger;
        for (uint32_t i = 0; i < 2; i++)
            reconnect(&world->processes[i]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct process *process = &world->processes[i];
        process->lost |= chance(world, 2);
        process->fatal |= process->open && chance(world, 1);
    }
}

/* What the watermark has passed is there, or is dead. */
static void
check_watermark(const struct world *world)
{
    for (uint32_t i = 0; i < world->row_count && world->rows[i].position <= world->watermark; i++)
        if (!world->rows[i].home && !world->rows[i].dead)
            violated(world, "the watermark has passed an event that is nowhere", i);
}

static void
check_end(const struct world *world)
{
    bool seen[ROWS] = {false};
    int64_t last[KEYS] = {0};
    for (uint32_t i = 0; i < world->row_count; i++)
        if (!world->rows[i].home && !world->rows[i].dead)
            violated(world, "an event is nowhere", i);
    for (uint32_t i = 0; i < world->log_count; i++) {
        const struct model_row *row = &world->rows[world->log[i]];
        if (seen[world->log[i]])
            continue;
        seen[world->log[i]] = true;
        if (row->dead)
            continue; /* buried by one relay while a deposed one still tried: its consumers see it late */
        if (row->position < last[row->key])
            violated(world, "the first copies are out of order for the key", world->log[i]);
        last[row->key] = row->position;
    }
}

static void
run(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->seed = seed;
    world->processes[0].world = world->processes[1].world = world;
    world->random = seed * 0x9e3779b97f4a7c15u + 1;
    bool two = draw(world) % 4 == 0;
    for (uint32_t step = 0; step < STEPS + CALM_STEPS; step++) {
        world->calm = step >= STEPS;
        if (step == STEPS)
            world->away = world->topic_gone = false;
        if (!world->calm)
            commit_rows(world);
        weather(world);
        if (world->calm && world->stranger && !world->processes[0].deceived &&
            !world->processes[1].deceived) {
            world->stranger = false;
            reconnect(&world->processes[0]);
            reconnect(&world->processes[1]);
        }
        world->now_ms += 1 + draw(world) % 300;
        for (uint32_t i = 0; i < (two ? 2 : 1); i++) {
            struct process *process = &world->processes[i];
            if (process->relay == NULL)
                start(world, process);
            if (world->calm && process->crash_in != 0)
                process->crash_in = UINT32_MAX;
            move_flying(process);
            (void)relay_step(process->relay, world->now_ms, world->now_ms);
            relay_verify(process->relay);
            check_watermark(world);
            if (process->crash_in == 0) {
                happened.crashes++;
                relay_free(process->relay);
                process->relay = NULL;
                process->deceived = false;
            }
        }
        if (world->calm && world->row_count > 0 &&
            world->watermark == world->rows[world->row_count - 1].position)
            break;
    }
    for (uint32_t i = 0; i < 2; i++)
        relay_free(world->processes[i].relay);
    check_end(world);
    for (uint32_t i = 0; i < world->row_count; i++)
        if (world->rows[i].fate != FATE_FINE && world->rows[i].home)
            violated(world, "the model took what it refuses", i);
}

int
main(int argc, char **argv)
{
    uint64_t first = 1;
    uint64_t count = 1500;
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        first = strtoull(argv[2], NULL, 10);
        count = strtoull(argv[3], NULL, 10);
    } else if (argc != 1) {
        (void)fprintf(stderr, "usage: test_outbox_relay [--seeds FIRST COUNT]\n");
        return 2;
    }
    struct world *world = malloc(sizeof *world);
    assert(world != NULL);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint64_t seed = first; seed < first + count; seed++)
        run(world, seed);
    free(world);
    (void)printf(
        "rows %llu, copies %llu, dead %llu, crashes %llu, cut commits %llu, strangers %llu, refusals %llu, "
        "recalls %llu, stale %llu\n",
        (unsigned long long)happened.rows, (unsigned long long)happened.copies,
        (unsigned long long)happened.dead, (unsigned long long)happened.crashes,
        (unsigned long long)happened.cuts, (unsigned long long)happened.strangers,
        (unsigned long long)happened.refusals, (unsigned long long)happened.recalls,
        (unsigned long long)happened.stale);
    assert(count < 100 || (happened.copies > 0 && happened.dead > 0 && happened.crashes > 0));
    assert(count < 100 || (happened.cuts > 0 && happened.strangers > 0 && happened.stale > 0));
    (void)printf("%llu passed, 0 failed\n", (unsigned long long)count);
    return 0;
}
