/*
 * outbox_relay.c - carries the rows of the outbox to Kafka, each at least once and in order for its key.
 *
 *       outbox ── fetch ──▶ window ── give ──▶ broker
 *          ▲                  ▲                  │
 *          └──── settle ──────┴──── hear ────────┘
 *
 * One step does all of it once; nothing is kept but what may be lost: a crash between any two lines costs
 * copies, which have the same id, and nothing else. What must hold besides the window's rules:
 *
 *   1. The watermark moves only from where this relay knows it to be (store.settle compares), so of two
 *      relays one notices. A commit whose end is not known is looked up, never assumed.
 *   2. The watermark passes an acknowledgement only after the cluster was asked who it is, and that is done
 *      within SETTLE_MS. An acknowledgement of another cluster at the same address counts for nothing: the
 *      window is forgotten and the watermark stays, until the old one is back or the operator has named
 *      the new one.
 *   3. Who does not answer, broker or database, is asked again for ever, at growing distances; meanwhile
 * the window bounds what waits in memory, and the rest waits in the outbox.
 *   4. Rows are pruned by age only at or before the watermark.
 *
 * Circuits, for the figures: closed; open, from a failure on; half open while the next try is under way.
 *
 * See also: outbox_window.c, outbox_store.c, kafka.c, relay_thread.c.
 */
#include "persist/outbox_relay.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "persist/outbox_plant.h"

#define FETCH_BYTES_MAX (8u << 20)
#define LOOK_MS         500u /* how old the answer may get that there are no more rows */
#define SETTLE_MS       25u  /* a watermark that lags no more than this is good enough while rows fly */
#define PRUNE_MS        2000u
#define PRUNE_ROWS      5000u
#define RETRY_MS        100u /* doubled with each failure in a row */
#define RETRY_MS_MAX    5000u
#define STRANGER_MS     5000u
#define TOPICS_MS       250u /* topics are looked for between a refusal and the next try */
#define FIGURES         (sizeof(struct relay_figures) / sizeof(uint64_t))

static_assert(sizeof(struct relay_figures) % sizeof(uint64_t) == 0, "figures are published one by one");
static_assert(TOPICS_MS <= WINDOW_REST_MS / 2, "topics are made before a refused row is tried again");

/* Rows that were read at once, and how many of them are still in the window. */
struct chunk {
    struct outbox_rows *rows;
    uint32_t left;
};

/* What belongs to a ticket. */
struct held {
    struct chunk *chunk;
    const struct outbox_row *row;
    const char *reason; /* of the last refusal */
};

/* Somebody else who may be away. */
struct far_side {
    enum circuit_state circuit;
    uint32_t failures; /* in a row */
    uint64_t again_ms; /* the next try */
};

enum producer_state { PRODUCER_NONE, PRODUCER_UNSURE, PRODUCER_SURE };

struct relay {
    /* given */
    struct relay_settings settings;
    char told[CLUSTER_SIZE_MAX];
    struct outbox_store store;
    struct broker broker;

    /* the store's side */
    struct far_side store_side;
    char cluster[CLUSTER_SIZE_MAX]; /* that the watermark is about; empty: none yet */
    int64_t watermark;
    bool watermark_known;
    uint32_t cut_run; /* rows of the settle whose end is not known; 0: none */
    int64_t cut_watermark;
    bool more;
    uint64_t look_ms;
    uint64_t settle_ms;
    uint64_t prune_ms;

    /* the broker's side */
    struct far_side broker_side;
    enum producer_state producer;
    char stranger[CLUSTER_SIZE_MAX]; /* the cluster that was refused, and told of; empty: none */
    bool unasked;                    /* something was acknowledged since the cluster was asked who it is */
    uint64_t ask_ms;
    uint64_t topics_ms; /* when to look for topics; UINT64_MAX: no need */

    /* between the two */
    bool ending;
    uint64_t now_ms; /* of this step */
    uint64_t random;
    struct window *window;
    struct held *held; /* at ticket % rows_max */
    uint64_t first_ticket;
    uint64_t next_ticket;
    struct relay_figures figures;
    _Atomic uint64_t published[FIGURES];
};

static void tell(struct relay *relay, enum relay_level level, const struct outbox_row *row,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

static void
tell(struct relay *relay, enum relay_level level, const struct outbox_row *row, const char *format, ...)
{
    char text[RELAY_CAUSE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut where too long */
    va_end(arguments);
    relay->settings.tell(relay->settings.tell_context, level, row, text);
}

static uint64_t
draw(struct relay *relay)
{
    relay->random ^= relay->random << 13; /* xorshift64 (Marsaglia 2003) */
    relay->random ^= relay->random >> 7;
    relay->random ^= relay->random << 17;
    return relay->random;
}

/* ---- who is away ---- */

static bool
side_failed(struct relay *relay, struct far_side *side, uint64_t *opened, uint32_t rest_ms_max)
{
    bool news = side->failures == 0;
    uint32_t doublings = side->failures < 16 ? side->failures : 16;
    uint64_t rest_ms = (uint64_t)RETRY_MS << doublings;
    if (rest_ms > rest_ms_max)
        rest_ms = rest_ms_max;
    side->failures++;
    side->again_ms = relay->now_ms + rest_ms / 2 + draw(relay) % (rest_ms / 2 + 1);
    side->circuit = CIRCUIT_OPEN;
    if (news)
        ++*opened;
    return news;
}

static bool
side_well(struct far_side *side)
{
    bool news = side->failures > 0;
    *side = (struct far_side){.circuit = CIRCUIT_CLOSED};
    return news;
}

static bool
side_due(struct relay *relay, struct far_side *side)
{
    if (relay->now_ms < side->again_ms)
        return false;
    if (side->circuit == CIRCUIT_OPEN)
        side->circuit = CIRCUIT_HALF_OPEN;
    return true;
}

static void
store_failed(struct relay *relay)
{
    if (side_failed(relay, &relay->store_side, &relay->figures.opened_store, RETRY_MS_MAX))
        tell(relay, RELAY_WARNING, NULL, "relay: could not reach the outbox: %s; trying on",
             relay->store.why(relay->store.context));
}

static void
store_well(struct relay *relay)
{
    if (side_well(&relay->store_side))
        tell(relay, RELAY_INFO, NULL, "relay: the outbox is there again");
}

static void
broker_failed(struct relay *relay)
{
    /* Kafka's own pace: it is asked at least once a second, so that a broker that is back is used at once.
     */
    if (side_failed(relay, &relay->broker_side, &relay->figures.opened_broker, 1000))
        tell(relay, RELAY_WARNING, NULL,
             "relay: could not reach kafka: %s; trying on, events wait in the outbox",
             relay->broker.why(relay->broker.context));
}

/* ---- the window and what its rows are made of ---- */

static struct held *
held_of(struct relay *relay, uint64_t ticket)
{
    assert(ticket >= relay->first_ticket);
    assert(ticket < relay->next_ticket);
    return &relay->held[ticket % relay->settings.rows_max];
}

/* Rows before this ticket have left the window. */
static void
release_before(struct relay *relay, uint64_t ticket)
{
    for (; relay->first_ticket < ticket; relay->first_ticket++) {
        struct chunk *chunk = held_of(relay, relay->first_ticket)->chunk;
        if (--chunk->left > 0)
            continue;
        relay->store.release(relay->store.context, chunk->rows);
        free(chunk);
    }
}

static void
producer_close(struct relay *relay)
{
    if (relay->producer != PRODUCER_NONE)
        relay->broker.close(relay->broker.context);
    relay->producer = PRODUCER_NONE;
    window_recall(relay->window);
}

/* Begins anew behind the watermark. What flies must be called back first: its bytes go. */
static void
forget_window(struct relay *relay, int64_t watermark)
{
    producer_close(relay);
    window_reset(relay->window, watermark);
    release_before(relay, relay->next_ticket);
    relay->watermark = watermark;
    relay->cut_run = 0;
    relay->unasked = false;
    relay->more = true;
}

/* The watermark has passed a run: it leaves the window, and its dead are told of. */
static void
run_passed(struct relay *relay, uint32_t run)
{
    struct window_dead dead[RELAY_DEAD_MAX];
    uint32_t dead_count;
    uint32_t same = window_run(relay->window, run, dead, RELAY_DEAD_MAX, &dead_count, &relay->watermark);
    assert(same == run);
    for (uint32_t i = 0; i < dead_count; i++) {
        const struct held *held = held_of(relay, dead[i].ticket);
        const struct outbox_row *row = held->row;
        tell(relay, RELAY_WARNING, row, "relay: event %.*s (%.*s of %.*s %.*s) is dead after %u tries: %s",
             (int)row->id.size, row->id.data, (int)row->type.size, row->type.data,
             (int)row->aggregatetype.size, row->aggregatetype.data, (int)row->aggregateid.size,
             row->aggregateid.data, dead[i].tries, held->reason);
    }
    relay->figures.dead += dead_count;
    relay->figures.settles++;
    relay->settle_ms = relay->now_ms + SETTLE_MS;
    release_before(relay, window_settle(relay->window, run));
}

/* ---- where the watermark is ---- */

/* At the start, and after a commit whose end is not known. */
static int
learn_watermark(struct relay *relay)
{
    int64_t watermark;
    char cluster[CLUSTER_SIZE_MAX];
    int result = relay->store.load(relay->store.context, &watermark, cluster);
    if (result == 0 && relay->told[0] != '\0' && strcmp(relay->told, cluster) != 0) {
        result = relay->store.name_cluster(relay->store.context, cluster, relay->told);
        if (result == 0) {
            tell(relay, RELAY_WARNING, NULL,
                 "relay: from here on events go to kafka's cluster %s; the watermark was about '%s'",
                 relay->told, cluster);
            (void)snprintf(cluster, sizeof cluster, "%s", relay->told); /* of the same size */
        }
    }
    if (result != 0)
        return result;
    memcpy(relay->cluster, cluster, sizeof cluster);
    if (relay->cut_run > 0 && watermark == relay->cut_watermark) {
        run_passed(relay, relay->cut_run);
    } else if (watermark != relay->watermark) {
        forget_window(relay, watermark);
    }
    relay->cut_run = 0;
    relay->watermark_known = true;
    return 0;
}

static bool
know_watermark(struct relay *relay)
{
    if (!side_due(relay, &relay->store_side))
        return false;
    if (relay->watermark_known)
        return true;
    if (learn_watermark(relay) != 0) {
        store_failed(relay);
        return false;
    }
    store_well(relay);
    return true;
}

/* ---- who the cluster is ---- */

static void
stranger_text(const struct relay *relay, const char *cluster, char ret_text[RELAY_CAUSE_SIZE])
{
    (void)snprintf(ret_text, RELAY_CAUSE_SIZE,
                   "kafka's cluster is %s, but the watermark in PostgreSQL is about cluster %s: what was "
                   "delivered there is not here. Name the right brokers with --kafka; or, if the events of "
                   "the outbox shall go on to this cluster, start with --persist.kafka_cluster %s",
                   cluster, relay->cluster, cluster); /* cut where too long */
}

/* Sees to it that the broker is the one that the watermark is about. 0, -EAGAIN, or -EXDEV: another one. */
static int
ask_cluster(struct relay *relay, char ret_cluster[CLUSTER_SIZE_MAX])
{
    int result = relay->broker.ask(relay->broker.context, ret_cluster);
    if (result == 0 && relay->cluster[0] == '\0') {
        result = relay->store.name_cluster(relay->store.context, "", ret_cluster);
        if (result == 0)
            memcpy(relay->cluster, ret_cluster, CLUSTER_SIZE_MAX);
        else
            relay->watermark_known = false; /* learned anew: the failure is told there */
        return result == 0 ? 0 : -EAGAIN;
    }
    if (result == 0 && strcmp(relay->cluster, ret_cluster) != 0)
        return -EXDEV;
    if (result == 0)
        relay->unasked = false;
    return result;
}

static void
meet_stranger(struct relay *relay, const char *cluster)
{
    char text[RELAY_CAUSE_SIZE];
    (void)side_failed(relay, &relay->broker_side, &relay->figures.opened_broker, STRANGER_MS);
    relay->broker_side.again_ms = relay->now_ms + STRANGER_MS;
    stranger_text(relay, cluster, text);
    if (strcmp(relay->stranger, cluster) != 0)
        tell(relay, RELAY_ERROR, NULL, "relay: %s", text);
    memcpy(relay->stranger, cluster, CLUSTER_SIZE_MAX);
    forget_window(relay, relay->watermark);
}

/* Opens a producer where there is none, and asks whose it is. */
static void
mend(struct relay *relay)
{
    char cluster[CLUSTER_SIZE_MAX];
    if (!relay->watermark_known || !side_due(relay, &relay->broker_side))
        return;
    if (relay->producer == PRODUCER_NONE) {
        if (relay->broker.open(relay->broker.context) != 0) {
            broker_failed(relay);
            return;
        }
        relay->producer = PRODUCER_UNSURE;
        relay->topics_ms = 0;
    }
    if (relay->producer == PRODUCER_UNSURE) {
        int result = ask_cluster(relay, cluster);
        if (result == -EXDEV) {
            meet_stranger(relay, cluster);
            return;
        }
        if (result != 0) {
            if (relay->watermark_known) /* else it is the store that did not answer */
                broker_failed(relay);
            return;
        }
        relay->producer = PRODUCER_SURE;
        relay->stranger[0] = '\0';
        if (side_well(&relay->broker_side))
            tell(relay, RELAY_INFO, NULL, "relay: kafka is there again, cluster %s", cluster);
    }
    if (relay->now_ms >= relay->topics_ms) {
        relay->topics_ms = UINT64_MAX;
        /* Where it cannot, rows are refused, and say why. */
        if (relay->broker.make_topics(relay->broker.context) == -EAGAIN)
            relay->producer = PRODUCER_UNSURE;
    }
}

/* ---- the steps ---- */

static void
hear_report(void *context, uint64_t ticket, enum window_outcome outcome, const char *reason)
{
    struct relay *relay = context;
    if (ticket < relay->first_ticket || ticket >= relay->next_ticket)
        return; /* of a window that was forgotten */
    if (outcome == WINDOW_DELIVERED) {
        relay->figures.delivered++;
        relay->unasked = true;
    } else {
        held_of(relay, ticket)->reason = reason;
        if (outcome != WINDOW_RETURNED) {
            relay->figures.refused++;
            if (relay->topics_ms == UINT64_MAX)
                relay->topics_ms = relay->now_ms + TOPICS_MS;
        }
    }
    (void)window_report(relay->window, ticket, outcome, relay->now_ms, draw(relay)); /* it is there */
}

static void
producer_broken(struct relay *relay)
{
    relay->figures.broken++;
    tell(relay, RELAY_WARNING, NULL,
         "relay: the producer has failed: %s; a new one goes on from the watermark",
         relay->broker.why(relay->broker.context));
    if (relay->unasked)
        forget_window(relay, relay->watermark); /* who has acknowledged what is not known any more */
    else
        producer_close(relay);
    (void)side_failed(relay, &relay->broker_side, &relay->figures.opened_broker,
                      RETRY_MS_MAX); /* told above */
}

static void
hear(struct relay *relay)
{
    if (relay->producer == PRODUCER_NONE)
        return;
    unsigned news = relay->broker.poll(relay->broker.context, hear_report, relay);
    if ((news & BROKER_FATAL) != 0)
        producer_broken(relay);
    else if ((news & BROKER_LOST) != 0)
        relay->producer = PRODUCER_UNSURE;
}

static void
give(struct relay *relay)
{
    uint64_t ticket;
    const char *reason = NULL;
    if (relay->producer != PRODUCER_SURE || relay->ending)
        return;
    while (window_next(relay->window, relay->now_ms, &ticket)) {
        const struct outbox_row *row = held_of(relay, ticket)->row;
        switch (relay->broker.give(relay->broker.context, ticket, row, &reason)) {
        case BROKER_GIVEN:
            window_given(relay->window, ticket);
            break;
        case BROKER_FULL:
            return;
        case BROKER_REFUSED:
            hear_report(relay, ticket, WINDOW_REFUSED, reason);
            break;
        case BROKER_TOO_LARGE:
            hear_report(relay, ticket, WINDOW_TOO_LARGE, reason);
            break;
        case BROKER_BROKEN:
            producer_broken(relay);
            return;
        }
    }
}

/* Was all that counts as acknowledged so by the right cluster? Asks where that is not known. */
static bool
acknowledged_here(struct relay *relay)
{
    char cluster[CLUSTER_SIZE_MAX];
    if (!relay->unasked || OUTBOX_PLANTED(OUTBOX_CLUSTER_NOT_ASKED))
        return true;
    relay->ask_ms = relay->now_ms + SETTLE_MS;
    int result = ask_cluster(relay, cluster);
    if (result == -EXDEV) {
        meet_stranger(relay, cluster);
    } else if (result != 0) {
        relay->producer = PRODUCER_UNSURE;
        broker_failed(relay);
    }
    return result == 0;
}

static void
settle(struct relay *relay)
{
    struct window_dead dead[RELAY_DEAD_MAX];
    struct dead_letter letters[RELAY_DEAD_MAX];
    uint32_t dead_count;
    int64_t to;
    uint32_t run = window_run(relay->window, UINT32_MAX, dead, RELAY_DEAD_MAX, &dead_count, &to);
    if (relay->producer != PRODUCER_SURE)
        return;
    if (relay->now_ms >= relay->ask_ms && !acknowledged_here(relay))
        return;
    if (run == 0)
        return;
    if (run < relay->settings.rows_max / 8 && relay->now_ms < relay->settle_ms &&
        window_look(relay->window).flying > 0)
        return;
    if (!know_watermark(relay) || !acknowledged_here(relay))
        return;
    for (uint32_t i = 0; i < dead_count; i++) {
        const struct held *held = held_of(relay, dead[i].ticket);
        letters[i] = (struct dead_letter){held->row->position, held->reason, dead[i].tries};
    }
    if (OUTBOX_PLANTED(OUTBOX_DEAD_NOT_BURIED))
        dead_count = 0;
    int result = relay->store.settle(relay->store.context, relay->watermark, to, letters, dead_count);
    if (OUTBOX_PLANTED(OUTBOX_WATERMARK_BELIEVED) && result == -EAGAIN)
        result = 0;
    if (result == 0) {
        run_passed(relay, run);
        store_well(relay);
        return;
    }
    relay->watermark_known = false;
    if (result == -ESTALE) {
        tell(relay, RELAY_WARNING, NULL, "relay: somebody else has moved the watermark; reading it anew");
        return;
    }
    relay->cut_run = run;
    relay->cut_watermark = to;
    store_failed(relay);
}

static void
take_rows(struct relay *relay, struct chunk *chunk)
{
    struct outbox_rows *rows = chunk->rows;
    chunk->left = rows->count;
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct outbox_row *row = &rows->rows[i];
        uint64_t hash = XXH3_64bits(row->aggregateid.data, row->aggregateid.size);
        uint64_t ticket = window_add(relay->window, row->position, hash, row->payload.size);
        assert(ticket == relay->next_ticket);
        relay->next_ticket++;
        *held_of(relay, ticket) = (struct held){chunk, row, ""};
    }
}

static uint32_t
fetch_rows(const struct relay *relay)
{
    return relay->settings.rows_max < RELAY_FETCH_ROWS ? relay->settings.rows_max : RELAY_FETCH_ROWS;
}

static bool
fetch_room(const struct relay *relay)
{
    return !relay->ending && window_room(relay->window, fetch_rows(relay), FETCH_BYTES_MAX);
}

static void
fetch(struct relay *relay)
{
    if (!fetch_room(relay) || (!relay->more && relay->now_ms < relay->look_ms) || !know_watermark(relay))
        return;
    struct chunk *chunk = malloc(sizeof *chunk);
    if (chunk == NULL)
        return; /* tried again with the next step */
    int result = relay->store.read(relay->store.context, window_position(relay->window), fetch_rows(relay),
                                   FETCH_BYTES_MAX, &chunk->rows);
    if (result != 0) {
        free(chunk);
        store_failed(relay);
        return;
    }
    store_well(relay);
    relay->more = chunk->rows->more;
    relay->look_ms = relay->now_ms + LOOK_MS;
    if (chunk->rows->count == 0) {
        relay->store.release(relay->store.context, chunk->rows);
        free(chunk);
        return;
    }
    take_rows(relay, chunk);
}

static void
prune(struct relay *relay)
{
    uint32_t rows;
    if (relay->now_ms < relay->prune_ms || !know_watermark(relay))
        return;
    relay->prune_ms = relay->now_ms + PRUNE_MS;
    int result = relay->store.prune(relay->store.context, relay->watermark, relay->settings.keep_seconds,
                                    PRUNE_ROWS, &rows);
    if (result != 0) {
        store_failed(relay);
        return;
    }
    relay->figures.pruned += rows;
    if (rows == PRUNE_ROWS)
        relay->prune_ms = relay->now_ms + 1; /* the next portion, after what else there is to do */
}

static void
publish(struct relay *relay, uint64_t wall_ms)
{
    struct window_figures look = window_look(relay->window);
    struct relay_figures *figures = &relay->figures;
    uint64_t values[FIGURES];
    figures->rows = look.rows;
    figures->bytes = look.bytes;
    figures->watermark = (uint64_t)relay->watermark;
    figures->caught_up = look.rows == 0 && !relay->more && relay->watermark_known;
    figures->circuit_broker = relay->broker_side.circuit;
    figures->circuit_store = relay->store_side.circuit;
    figures->lag_ms = 0;
    if (look.rows > 0) {
        uint64_t created_ms = (uint64_t)held_of(relay, relay->first_ticket)->row->created_ms;
        figures->lag_ms = wall_ms > created_ms ? wall_ms - created_ms : 0;
    }
    memcpy(values, figures, sizeof values);
    for (size_t i = 0; i < FIGURES; i++)
        atomic_store_explicit(&relay->published[i], values[i], memory_order_relaxed);
}

/* When there is something to do, if nobody reports or calls before. */
static uint64_t
next_step_ms(const struct relay *relay)
{
    uint64_t store_ms = relay->look_ms < relay->prune_ms ? relay->look_ms : relay->prune_ms;
    uint64_t broker_ms = UINT64_MAX;
    if (window_look(relay->window).rows > 0)
        store_ms = relay->now_ms + SETTLE_MS;
    if (relay->more && fetch_room(relay))
        store_ms = relay->now_ms;
    if (store_ms < relay->store_side.again_ms)
        store_ms = relay->store_side.again_ms;
    if (relay->producer != PRODUCER_SURE)
        broker_ms = relay->broker_side.again_ms;
    else
        broker_ms = relay->topics_ms < window_due_ms(relay->window) ? relay->topics_ms
                                                                    : window_due_ms(relay->window);
    uint64_t next_ms = store_ms < broker_ms ? store_ms : broker_ms;
    return next_ms > relay->now_ms ? next_ms : relay->now_ms;
}

uint64_t
relay_step(struct relay *relay, uint64_t now_ms, uint64_t wall_ms)
{
    relay->now_ms = now_ms;
    (void)know_watermark(relay); /* each step that needs it asks */
    hear(relay);
    mend(relay);
    give(relay);
    settle(relay);
    fetch(relay);
    give(relay);
    prune(relay);
    publish(relay, wall_ms);

    return next_step_ms(relay);
}

void
relay_look(struct relay *relay)
{
    relay->look_ms = 0;
}

void
relay_end(struct relay *relay)
{
    relay->ending = true;
}

bool
relay_ended(const struct relay *relay)
{
    struct window_dead dead[1];
    uint32_t dead_count;
    int64_t position;
    if (relay->producer != PRODUCER_SURE)
        return true; /* nobody is there to settle it with */
    return window_look(relay->window).flying == 0 &&
           window_run(relay->window, 1, dead, 1, &dead_count, &position) == 0;
}

int
relay_check(struct relay *relay, char ret_cause[RELAY_CAUSE_SIZE])
{
    char cluster[CLUSTER_SIZE_MAX];
    int result = learn_watermark(relay);
    if (result != 0) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "%s", relay->store.why(relay->store.context));
        return result == -EAGAIN ? -EIO
                                 : result; /* at the start it must be there: nobody has used it yet */
    }
    result = relay->broker.open(relay->broker.context);
    if (result != 0) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "%s", relay->broker.why(relay->broker.context));
        return result == -EAGAIN ? -EIO : result;
    }
    relay->producer = PRODUCER_UNSURE;
    result = ask_cluster(relay, cluster);
    if (result == -EXDEV) {
        stranger_text(relay, cluster, ret_cause);
        return result;
    }
    if (result == 0)
        result = relay->broker.make_topics(relay->broker.context);
    if (result == 0)
        result = relay->broker.may_write(relay->broker.context);
    if (result != 0) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "%s", relay->broker.why(relay->broker.context));
        return result;
    }
    relay->producer = PRODUCER_SURE;
    relay->topics_ms = UINT64_MAX;
    return 0;
}

struct relay *
relay_open(const struct relay_settings *settings, const struct outbox_store *store,
           const struct broker *broker)
{
    struct relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL)
        return NULL;
    assert(strlen(settings->cluster) < CLUSTER_SIZE_MAX);
    relay->settings = *settings;
    (void)snprintf(relay->told, sizeof relay->told, "%s", settings->cluster); /* fits */
    relay->store = *store;
    relay->broker = *broker;
    relay->random = settings->random | 1;
    relay->more = true;
    relay->topics_ms = UINT64_MAX;
    relay->first_ticket = relay->next_ticket = 1;
    relay->held = calloc(settings->rows_max, sizeof *relay->held);
    relay->window = window_open(settings->rows_max, settings->bytes_max, 0);
    if (relay->held == NULL || relay->window == NULL) {
        relay_free(relay);
        return NULL;
    }
    return relay;
}

void
relay_free(struct relay *relay)
{
    if (relay == NULL)
        return;
    if (relay->window != NULL && relay->held != NULL) {
        producer_close(relay);
        release_before(relay, relay->next_ticket);
    }
    window_free(relay->window);
    free(relay->held);
    free(relay);
}

void
relay_copy_figures(const struct relay *relay, struct relay_figures *ret_figures)
{
    uint64_t values[FIGURES];
    for (size_t i = 0; i < FIGURES; i++)
        values[i] = atomic_load_explicit(&relay->published[i], memory_order_relaxed);
    memcpy(ret_figures, values, sizeof values);
}

void
relay_verify(const struct relay *relay)
{
    window_check(relay->window);
    assert(relay->next_ticket - relay->first_ticket == window_look(relay->window).rows);
    assert(relay->cut_run == 0 || !relay->watermark_known);
    assert(relay->producer != PRODUCER_SURE || relay->cluster[0] != '\0');
}
