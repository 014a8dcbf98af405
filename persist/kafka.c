/*
 * kafka.c - Kafka as the relay's broker: an idempotent librdkafka producer, and the topics.
 *
 * What is set, and what happens without it (measured with librdkafka 2.0.2, tests/kafka/README.md):
 *
 *   enable.idempotence=true, acks=all     a broker that is killed costs neither events nor their order
 *   message.timeout.ms=0                  else an event that is in the topic may be reported as timed out
 *   reconnect.backoff.max.ms=500          else up to ten seconds are lost after a broker is back
 *   topic.metadata.propagation.max.ms     how long an unknown topic may turn up before it is told: 5 s, not
 * 30 batch.size below the topic's limit    else a batch of small events is refused as too large, as a whole
 *   partitioner=murmur2_random            the partition of a key is that of Java's clients, Debezium among
 * them
 *
 * Payloads are not copied: they are the relay's until their reports have come. The key and the headers are
 * copied by librdkafka.
 *
 * No error callback is set: librdkafka then tells its log, from threads of its own. The last line is kept
 * for why(), and a lost connection is news for the relay (but a hint only: librdkafka keeps repetitions to
 * itself).
 */
#include "persist/kafka.h"

#include <assert.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS_MAX       16u
#define TOPIC_SIZE_MAX   249u /* Kafka's bound */
#define WHY_SIZE         512u
#define ASK_MS           2000
#define CREATE_MS        10000
#define CONFIG_LINE_SIZE 4096u
#define HEADERS          5u
#define UNKNOWN_REASON   "refused with an error that this librdkafka does not know"

struct topic {
    char type[TOPIC_SIZE_MAX + 1]; /* the aggregatetype: what follows the prefix */
    rd_kafka_topic_t *handle;
};

struct kafka {
    /* given */
    char *brokers;
    char *prefix;
    bool create_topics;
    uint32_t partitions;
    uint32_t replication;
    int wake_fd;
    rd_kafka_conf_t *conf; /* what each producer begins with */

    /* a producer; NULL: none */
    rd_kafka_t *producer;
    struct topic topics[TOPICS_MAX];
    uint32_t topic_count;
    uint64_t flying;       /* given, and no report has come yet */
    broker_report *report; /* while it is polled */
    void *report_context;

    /* what is known of its connections */
    char last_error[WHY_SIZE];
    bool lost;
    bool locked_out; /* the brokers are there, but do not know us */

    char why[WHY_SIZE];
};

/* The types that Holdfast has: their topics are made and looked for at the start. */
static const char *const known_types[] = {"hold", "token", "event"};
#define KNOWN_TYPES (sizeof known_types / sizeof known_types[0])

/* Settings that the relay's promises rest on. */
static const char *const own_settings[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "transactional.id",
    "retries",
    "message.send.max.retries",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "partitioner",
};

/* Names and values; the file's come after these and win. */
static const char *const standard_settings[][2] = {
    {"client.id", "holdfast"},
    {"linger.ms", "2"},
    {"batch.size", "524288"},
    {"reconnect.backoff.ms", "100"},
    {"reconnect.backoff.max.ms", "500"},
    {"topic.metadata.propagation.max.ms", "5000"},
    {"log.connection.close", "true"},
    {"enable.idempotence", "true"},
    {"message.timeout.ms", "0"},
    {"partitioner", "murmur2_random"},
    /* the relay's window is the bound, and a smaller one */
    {"queue.buffering.max.messages", "10000000"},
    {"queue.buffering.max.kbytes", "2097151"},
};

static const char *
reason_of(rd_kafka_resp_err_t code)
{
    const char *text = rd_kafka_err2str(code);
    return strncmp(text, "Err-", 4) == 0 ? UNKNOWN_REASON : text; /* those are not static */
}

enum window_outcome
kafka_outcome(int code)
{
    switch ((rd_kafka_resp_err_t)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return WINDOW_DELIVERED;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return WINDOW_TOO_LARGE;
    /* Nobody there, or not able now: no fault of the event. */
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__RETRY:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return WINDOW_RETURNED;
    default:
        return WINDOW_REFUSED;
    }
}

static int
cannot(struct kafka *kafka, int result, const char *what, const char *why)
{
    int size = snprintf(kafka->why, sizeof kafka->why, "%s%s%s", what, why[0] != '\0' ? ": " : "", why);
    assert(size >= 0); /* cut where too long */
    return result;
}

/* The log of librdkafka's own threads: what matters in it comes as an error, too. */
static void
hear_log(const rd_kafka_t *producer, int level, const char *facility, const char *text)
{
    (void)producer;
    (void)level;
    (void)facility;
    (void)text;
}

static void
hear_error(rd_kafka_t *producer, int code, const char *text, void *opaque)
{
    struct kafka *kafka = opaque;
    (void)producer;
    kafka->lost = true;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && kafka->last_error[0] != '\0')
        return; /* the error before it says why */
    kafka->locked_out = code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL;
    (void)snprintf(kafka->last_error, sizeof kafka->last_error, "%s", text);
}

/* Why nobody answers, in librdkafka's words. */
static int
cannot_reach(struct kafka *kafka, rd_kafka_resp_err_t code)
{
    if (kafka->flying == 0)
        (void)rd_kafka_poll(kafka->producer, 0); /* its errors; there are no reports that would be missed */
    bool known = kafka->last_error[0] != '\0';
    return cannot(kafka, kafka->locked_out ? -EACCES : -EAGAIN, kafka->brokers,
                  known ? kafka->last_error : rd_kafka_err2str(code));
}

static void
hear_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    struct kafka *kafka = opaque;
    (void)producer;
    kafka->flying--;
    if (kafka->report == NULL)
        return; /* it is being closed */
    kafka->report(kafka->report_context, (uint64_t)(uintptr_t)message->_private,
                  kafka_outcome(message->err), reason_of(message->err));
}

/* ---- the ports of struct broker ---- */

/* NULL: cannot be had. */
static rd_kafka_topic_t *
topic_of(struct kafka *kafka, struct bytes type)
{
    for (uint32_t i = 0; i < kafka->topic_count; i++)
        if (bytes_equal(type,
                        (struct bytes){kafka->topics[i].type, (uint32_t)strlen(kafka->topics[i].type)}))
            return kafka->topics[i].handle;
    char name[TOPIC_SIZE_MAX + 1];
    int size = snprintf(name, sizeof name, "%s%.*s", kafka->prefix, (int)type.size, type.data);
    if (kafka->topic_count == TOPICS_MAX || size < 0 || (size_t)size >= sizeof name)
        return NULL;
    struct topic *topic = &kafka->topics[kafka->topic_count];
    topic->handle = rd_kafka_topic_new(kafka->producer, name, NULL);
    if (topic->handle == NULL)
        return NULL;
    memcpy(topic->type, type.data, type.size); /* fits: so does the name */
    topic->type[type.size] = '\0';
    kafka->topic_count++;
    return topic->handle;
}

static void
kafka_close(void *context)
{
    struct kafka *kafka = context;
    assert(kafka->producer != NULL);
    kafka->report = NULL;
    /* Without the purge it would wait for a broker that may be gone for good. */
    (void)rd_kafka_purge(kafka->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(kafka->producer) > 0)
        (void)rd_kafka_poll(kafka->producer, 50); /* how many events it has served */
    for (uint32_t i = 0; i < kafka->topic_count; i++)
        rd_kafka_topic_destroy(kafka->topics[i].handle);
    kafka->topic_count = 0;
    rd_kafka_destroy(kafka->producer);
    kafka->producer = NULL;
}

static int
kafka_open(void *context)
{
    static const uint64_t one = 1;
    struct kafka *kafka = context;
    char text[WHY_SIZE] = "";
    assert(kafka->producer == NULL);
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(kafka->conf);
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_log_cb(conf, hear_log);
    rd_kafka_conf_set_error_cb(conf, hear_error);
    rd_kafka_conf_set_dr_msg_cb(conf, hear_delivery);
    kafka->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (kafka->producer == NULL) {
        rd_kafka_conf_destroy(conf);
        return cannot(kafka, -EINVAL, "cannot make a kafka producer", text);
    }
    if (kafka->wake_fd >= 0) {
        rd_kafka_queue_t *queue = rd_kafka_queue_get_main(kafka->producer);
        rd_kafka_queue_io_event_enable(queue, kafka->wake_fd, &one, sizeof one);
        rd_kafka_queue_destroy(queue);
    }
    for (size_t i = 0; i < KNOWN_TYPES; i++)
        if (topic_of(kafka, (struct bytes){known_types[i], (uint32_t)strlen(known_types[i])}) == NULL) {
            kafka_close(kafka);
            return cannot(kafka, -EINVAL, "persist.kafka_prefix is too long for a topic's name", "");
        }
    kafka->flying = 0;
    kafka->lost = kafka->locked_out = false;
    kafka->last_error[0] = '\0';
    return 0;
}

static int
kafka_ask(void *context, char ret_cluster[CLUSTER_SIZE_MAX])
{
    struct kafka *kafka = context;
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(kafka->producer, 0, NULL, &metadata, ASK_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return cannot_reach(kafka, code);
    rd_kafka_metadata_destroy(metadata);
    kafka->locked_out = false;
    kafka->last_error[0] = '\0';
    char *cluster = rd_kafka_clusterid(kafka->producer, 0); /* as that answer had it */
    if (cluster == NULL)
        return cannot(kafka, -EAGAIN, kafka->brokers, "the broker has not told the cluster's id");
    bool fits = strlen(cluster) < CLUSTER_SIZE_MAX;
    if (fits)
        (void)snprintf(ret_cluster, CLUSTER_SIZE_MAX, "%s", cluster);
    rd_kafka_mem_free(kafka->producer, cluster);
    return fits ? 0
                : cannot(kafka, -EINVAL, kafka->brokers, "the cluster's id is longer than any should be");
}

/* The first known topic that is not there, or not for us; 0: all are. */
static int
look_for_topics(struct kafka *kafka)
{
    for (size_t i = 0; i < KNOWN_TYPES; i++) {
        const struct rd_kafka_metadata *metadata;
        rd_kafka_topic_t *handle = kafka->topics[i].handle;
        rd_kafka_resp_err_t code = rd_kafka_metadata(kafka->producer, 0, handle, &metadata, ASK_MS);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return cannot_reach(kafka, code);
        code = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        rd_kafka_metadata_destroy(metadata);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
            continue;
        (void)snprintf(kafka->why, sizeof kafka->why, "the topic %s cannot be used: %s. %s",
                       rd_kafka_topic_name(handle), rd_kafka_err2str(code),
                       code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
                           ? "Give the relay's principal the rights to describe and write it"
                           : "Create it, or let the relay do so (--persist.kafka_create_topics yes, with "
                             "the right to)");
        return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ? -EACCES : -ENOENT;
    }
    return 0;
}

/* What the brokers say to the wish for new topics; 0: they are there. */
static int
topics_created(struct kafka *kafka, rd_kafka_event_t *event)
{
    size_t count;
    if (event == NULL)
        return cannot(kafka, -EAGAIN, kafka->brokers, "no answer to the wish for topics");
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR || result == NULL)
        return cannot_reach(kafka, rd_kafka_event_error(event));
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(topics[i]);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue;
        const char *text = rd_kafka_topic_result_error_string(topics[i]);
        (void)snprintf(kafka->why, sizeof kafka->why,
                       "the topic %s cannot be created: %s. Create it by other means",
                       rd_kafka_topic_result_name(topics[i]), text != NULL ? text : rd_kafka_err2str(code));
        return -EACCES;
    }
    return 0;
}

static int
create_topics(struct kafka *kafka)
{
    rd_kafka_NewTopic_t *topics[KNOWN_TYPES] = {NULL};
    char text[WHY_SIZE] = "";
    int result = 0;
    size_t count = 0;
    for (; count < KNOWN_TYPES && result == 0; count++) {
        topics[count] = rd_kafka_NewTopic_new(
            rd_kafka_topic_name(kafka->topics[count].handle), (int)kafka->partitions,
            kafka->replication == 0 ? -1 : (int)kafka->replication, text, sizeof text);
        if (topics[count] == NULL)
            result = cannot(kafka, -EINVAL, "cannot create topics", text);
    }
    if (result == 0) {
        rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->producer);
        rd_kafka_CreateTopics(kafka->producer, topics, count, NULL, queue);
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CREATE_MS);
        result = topics_created(kafka, event);
        if (event != NULL)
            rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(queue);
    }
    for (size_t i = 0; i < KNOWN_TYPES; i++)
        if (topics[i] != NULL)
            rd_kafka_NewTopic_destroy(topics[i]);
    return result;
}

static int
kafka_make_topics(void *context)
{
    struct kafka *kafka = context;
    char why[WHY_SIZE];
    int found = look_for_topics(kafka);
    if (found != -ENOENT || !kafka->create_topics)
        return found;
    int result = create_topics(kafka);
    if (result != -EACCES)
        return result;
    memcpy(why, kafka->why, sizeof why); /* somebody else may have made them meanwhile */
    found = look_for_topics(kafka);
    if (found == -ENOENT)
        memcpy(kafka->why, why, sizeof why);
    return found;
}

static void
hear_verdict(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    (void)opaque;
    *(rd_kafka_resp_err_t *)message->_private = message->err;
}

/* A producer whose every request is refused: with required acks of 2. NULL: none can be had. */
static rd_kafka_t *
asking_producer(const struct kafka *kafka)
{
    char text[WHY_SIZE], timeout_ms[16];
    (void)snprintf(timeout_ms, sizeof timeout_ms, "%d", ASK_MS); /* fits */
    const char *const settings[][2] = {{"enable.idempotence", "false"},
                                       {"acks", "2"},
                                       {"linger.ms", "0"},
                                       {"message.timeout.ms", timeout_ms}};
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(kafka->conf);
    bool good = true;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        good = good && rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text) ==
                           RD_KAFKA_CONF_OK;
    rd_kafka_conf_set_log_cb(conf, hear_log);
    rd_kafka_conf_set_dr_msg_cb(conf, hear_verdict);
    rd_kafka_t *producer = good ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text) : NULL;
    if (producer == NULL)
        rd_kafka_conf_destroy(conf);
    return producer;
}

/* The right to write is asked for without writing: Kafka's brokers look at the rights to a topic before
 * they refuse a request because of its required acks, which can only be -1, 0 and 1
 * (INVALID_REQUIRED_ACKS). What else comes, or nothing, says nothing: then events tell. */
static int
kafka_may_write(void *context)
{
    struct kafka *kafka = context;
    rd_kafka_resp_err_t verdicts[KNOWN_TYPES] = {RD_KAFKA_RESP_ERR_NO_ERROR};
    rd_kafka_t *producer = asking_producer(kafka);
    if (producer == NULL)
        return 0;
    for (size_t i = 0; i < KNOWN_TYPES; i++)
        (void)rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(rd_kafka_topic_name(kafka->topics[i].handle)),
                                RD_KAFKA_V_OPAQUE(&verdicts[i]),
                                RD_KAFKA_V_END); /* refused on the spot: says nothing */
    (void)rd_kafka_flush(producer, 2 * ASK_MS);  /* not all: likewise */
    (void)rd_kafka_purge(producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(producer) > 0)
        (void)rd_kafka_poll(producer, 50); /* how many events it has served */
    rd_kafka_destroy(producer);
    for (size_t i = 0; i < KNOWN_TYPES; i++)
        if (verdicts[i] == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            (void)snprintf(
                kafka->why, sizeof kafka->why,
                "the topic %s cannot be written to: %s. Give the relay's principal the rights to "
                "describe and write it",
                rd_kafka_topic_name(kafka->topics[i].handle),
                rd_kafka_err2str(verdicts[i])); /* cut where too long */
            return -EACCES;
        }
    return 0;
}

/* Has the producer had an error after which it is of no more use? Then why() tells of it. */
static bool
is_fatal(struct kafka *kafka)
{
    char text[WHY_SIZE] = "";
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(kafka->producer, text, sizeof text);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    (void)cannot(kafka, 0, rd_kafka_err2name(code), text);
    return true;
}

/* NULL: no memory. As one list, and not one by one: librdkafka 2.0.2 frees single headers twice where it
 * refuses the message on the spot. */
static rd_kafka_headers_t *
headers_of(const struct outbox_row *row)
{
    const struct {
        const char *name;
        struct bytes value;
    } headers[] = {
        {"id", row->id},
        {"type", row->type},
        {"seq", row->seq},
        {"traceparent", row->traceparent},
        {"request_id", row->request_id},
    };
    const size_t count = sizeof headers / sizeof headers[0];
    rd_kafka_headers_t *list = rd_kafka_headers_new(count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        rd_kafka_resp_err_t code =
            rd_kafka_header_add(list, headers[i].name, -1, headers[i].value.data, headers[i].value.size);
        assert(code == RD_KAFKA_RESP_ERR_NO_ERROR); /* only a read-only list refuses */
    }
    return list;
}

static enum broker_give
kafka_give(void *context, uint64_t ticket, const struct outbox_row *row, const char **ret_reason)
{
    struct kafka *kafka = context;
    rd_kafka_topic_t *topic = topic_of(kafka, row->aggregatetype);
    if (topic == NULL) {
        *ret_reason = "no topic can have this name, or there are too many of them";
        return BROKER_REFUSED;
    }
    rd_kafka_headers_t *headers = headers_of(row);
    if (headers == NULL)
        return BROKER_FULL;
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = RD_KAFKA_PARTITION_UA},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {(void *)(uintptr_t)row->aggregateid.data, row->aggregateid.size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)row->payload.data, row->payload.size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)ticket},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(kafka->producer, parts, sizeof parts / sizeof parts[0]);
    if (error == NULL) {
        kafka->flying++; /* the headers are librdkafka's now */
        return BROKER_GIVEN;
    }
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    rd_kafka_headers_destroy(headers);
    *ret_reason = reason_of(code);
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return BROKER_FULL;
    if (is_fatal(kafka))
        return BROKER_BROKEN;
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? BROKER_TOO_LARGE : BROKER_REFUSED;
}

static unsigned
kafka_poll(void *context, broker_report *report, void *report_context)
{
    struct kafka *kafka = context;
    unsigned news = BROKER_QUIET;
    kafka->report = report;
    kafka->report_context = report_context;
    (void)rd_kafka_poll(kafka->producer, 0); /* how many events it has served */
    kafka->report = NULL;
    if (kafka->lost)
        news |= BROKER_LOST;
    kafka->lost = false;
    return is_fatal(kafka) ? news | BROKER_FATAL : news;
}

static const char *
kafka_why(void *context)
{
    const struct kafka *kafka = context;
    return kafka->why;
}

struct broker
kafka_broker(struct kafka *kafka)
{
    return (struct broker){kafka,           kafka_open, kafka_close, kafka_ask, kafka_make_topics,
                           kafka_may_write, kafka_give, kafka_poll,  kafka_why};
}

/* ---- settings ---- */

static char *
without_space(char *text)
{
    text += strspn(text, " \t\r\n");
    for (size_t size = strlen(text); size > 0 && strchr(" \t\r\n", text[size - 1]) != NULL; size--)
        text[size - 1] = '\0';
    return text;
}

static int
read_line(struct kafka *kafka, char *line, char ret_cause[WHY_SIZE])
{
    char text[WHY_SIZE] = "";
    if (strlen(line) == CONFIG_LINE_SIZE - 1) {
        (void)snprintf(ret_cause, WHY_SIZE, "the line is too long");
        return -EINVAL;
    }
    char *name = without_space(line);
    if (name[0] == '\0' || name[0] == '#')
        return 0;
    char *value = strchr(name, '=');
    if (value == NULL) {
        (void)snprintf(ret_cause, WHY_SIZE, "expected NAME=VALUE");
        return -EINVAL;
    }
    *value++ = '\0';
    name = without_space(name);
    for (size_t i = 0; i < sizeof own_settings / sizeof own_settings[0]; i++)
        if (strcmp(name, own_settings[i]) == 0) {
            (void)snprintf(ret_cause, WHY_SIZE, "'%s' is the relay's own: its promises rest on it", name);
            return -EINVAL;
        }
    rd_kafka_conf_res_t result =
        rd_kafka_conf_set(kafka->conf, name, without_space(value), text, sizeof text);
    if (result == RD_KAFKA_CONF_OK)
        return 0;
    (void)snprintf(ret_cause, WHY_SIZE,
                   result == RD_KAFKA_CONF_UNKNOWN ? "librdkafka knows no setting '%s'"
                                                   : "librdkafka does not take this value for '%s'",
                   name);
    return -EINVAL;
}

static int
read_file(struct kafka *kafka, const char *path, char ret_cause[RELAY_CAUSE_SIZE])
{
    char line[CONFIG_LINE_SIZE];
    char cause[WHY_SIZE];
    unsigned number = 0;
    int result = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        result = -errno;
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "persist.kafka_config: cannot read '%s': %s", path,
                       strerror(-result));
        return result;
    }
    while (result == 0 && fgets(line, sizeof line, file) != NULL) {
        number++;
        result = read_line(kafka, line, cause);
    }
    if (result != 0)
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "persist.kafka_config: line %u: %s", number, cause);
    else if (ferror(file) != 0) {
        result = -EIO;
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "persist.kafka_config: could not read '%s'", path);
    }
    (void)fclose(file); /* only read from */
    return result;
}

static int
take_settings(struct kafka *kafka, const struct kafka_settings *settings, char ret_cause[RELAY_CAUSE_SIZE])
{
    char text[WHY_SIZE] = "";
    size_t prefix_size = strlen(settings->prefix);
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (prefix_size > TOPIC_SIZE_MAX - 32 || strspn(settings->prefix, allowed) != prefix_size) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE,
                       "persist.kafka_prefix is '%s': expected at most %u letters, digits, or . _ -",
                       settings->prefix, TOPIC_SIZE_MAX - 32);
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof standard_settings / sizeof standard_settings[0]; i++) {
        rd_kafka_conf_res_t result = rd_kafka_conf_set(kafka->conf, standard_settings[i][0],
                                                       standard_settings[i][1], text, sizeof text);
        assert(result == RD_KAFKA_CONF_OK);
    }
    if (rd_kafka_conf_set(kafka->conf, "bootstrap.servers", settings->brokers, text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "persist.kafka is '%s': %s", settings->brokers, text);
        return -EINVAL;
    }
    if (settings->config_file[0] == '\0')
        return 0;
    return read_file(kafka, settings->config_file, ret_cause);
}

int
kafka_new(const struct kafka_settings *settings, struct kafka **ret_kafka, char ret_cause[RELAY_CAUSE_SIZE])
{
    struct kafka *kafka = calloc(1, sizeof *kafka);
    if (kafka == NULL) {
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "no memory");
        return -ENOMEM;
    }
    kafka->create_topics = settings->create_topics;
    kafka->partitions = settings->partitions;
    kafka->replication = settings->replication;
    kafka->wake_fd = settings->wake_fd;
    kafka->conf = rd_kafka_conf_new();
    kafka->brokers = strdup(settings->brokers);
    kafka->prefix = strdup(settings->prefix);
    int result = -ENOMEM;
    if (kafka->brokers == NULL || kafka->prefix == NULL)
        (void)snprintf(ret_cause, RELAY_CAUSE_SIZE, "no memory");
    else
        result = take_settings(kafka, settings, ret_cause);
    if (result != 0) {
        kafka_free(kafka);
        return result;
    }
    *ret_kafka = kafka;
    return 0;
}

void
kafka_free(struct kafka *kafka)
{
    if (kafka == NULL)
        return;
    assert(kafka->producer == NULL);
    rd_kafka_conf_destroy(kafka->conf);
    free(kafka->brokers);
    free(kafka->prefix);
    free(kafka);
}
