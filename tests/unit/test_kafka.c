/*
 * test_kafka.c - the relay's producer against librdkafka's mock cluster: what its answers become, fatal
 * errors, settings. A real broker: tests/kafka.
 */
#include "persist/kafka.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PRODUCE_REQUEST 0 /* Kafka's ApiKey */
#define REPORTS_MAX     64u

struct heard {
    uint32_t count;
    uint64_t ticket[REPORTS_MAX];
    enum window_outcome outcome[REPORTS_MAX];
    const char *reason[REPORTS_MAX];
};

struct cluster {
    rd_kafka_t *host;
    rd_kafka_mock_cluster_t *mock;
    struct kafka *kafka;
    struct broker broker;
    int wake_fd;
};

static void
hear(void *context, uint64_t ticket, enum window_outcome outcome, const char *reason)
{
    struct heard *heard = context;
    assert_true(heard->count < REPORTS_MAX);
    heard->ticket[heard->count] = ticket;
    heard->outcome[heard->count] = outcome;
    heard->reason[heard->count++] = reason;
}

/* Waits on the eventfd, as the relay's thread does, until so many reports or some news have come. */
static unsigned
await(struct cluster *cluster, struct heard *heard, uint32_t count)
{
    unsigned news = 0;
    for (int i = 0; i < 200 && heard->count < count && (news & BROKER_FATAL) == 0; i++) {
        struct pollfd fd = {.fd = cluster->wake_fd, .events = POLLIN};
        uint64_t rings;
        if (poll(&fd, 1, 100) > 0)
            assert_int_equal(read(cluster->wake_fd, &rings, sizeof rings), sizeof rings);
        news |= cluster->broker.poll(cluster->broker.context, hear, heard);
    }
    return news;
}

static int
open_cluster(void **state)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char cause[RELAY_CAUSE_SIZE] = "";
    assert_non_null(cluster);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL); /* that it has no brokers: it is only the mock's host */
    cluster->host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, cause, sizeof cause);
    assert_non_null(cluster->host);
    cluster->mock = rd_kafka_mock_cluster_new(cluster->host, 1);
    assert_non_null(cluster->mock);
    cluster->wake_fd = eventfd(0, EFD_NONBLOCK);
    assert_true(cluster->wake_fd >= 0);
    const struct kafka_settings settings = {.brokers = rd_kafka_mock_cluster_bootstraps(cluster->mock),
                                            .prefix = "test.",
                                            .config_file = "",
                                            .partitions = 1,
                                            .wake_fd = cluster->wake_fd};
    if (kafka_new(&settings, &cluster->kafka, cause) != 0)
        fail_msg("%s", cause);
    cluster->broker = kafka_broker(cluster->kafka);
    assert_int_equal(cluster->broker.open(cluster->broker.context), 0);
    *state = cluster;
    return 0;
}

static int
close_cluster(void **state)
{
    struct cluster *cluster = *state;
    cluster->broker.close(cluster->broker.context);
    kafka_free(cluster->kafka);
    rd_kafka_mock_cluster_destroy(cluster->mock);
    rd_kafka_destroy(cluster->host);
    (void)close(cluster->wake_fd);
    free(cluster);
    return 0;
}

#define TEXT(text) ((struct bytes){text, sizeof(text) - 1})

static struct outbox_row
row_of(struct bytes payload)
{
    return (struct outbox_row){.id = TEXT("0198f0c1-0000-7000-8000-000000000001"),
                               .aggregatetype = TEXT("hold"),
                               .aggregateid = TEXT("0198f0c1-0000-7000-8000-000000000002"),
                               .type = TEXT("HoldPlaced"),
                               .payload = payload,
                               .seq = TEXT("41")};
}

static void
give(struct cluster *cluster, uint64_t ticket, const struct outbox_row *row, enum broker_give expected)
{
    const char *reason = NULL;
    assert_int_equal(cluster->broker.give(cluster->broker.context, ticket, row, &reason), expected);
    assert_true(expected == BROKER_GIVEN || expected == BROKER_BROKEN || reason != NULL);
}

static void
test_delivers(void **state)
{
    struct cluster *cluster = *state;
    struct heard heard = {0};
    char id[CLUSTER_SIZE_MAX] = "";
    struct outbox_row row = row_of(TEXT("{\"n\": 1}"));
    assert_int_equal(cluster->broker.ask(cluster->broker.context, id), 0);
    assert_true(strlen(id) > 0);
    assert_int_equal(cluster->broker.make_topics(cluster->broker.context), 0);
    for (uint64_t ticket = 1; ticket <= 10; ticket++)
        give(cluster, ticket, &row, BROKER_GIVEN);
    assert_int_equal(await(cluster, &heard, 10) & BROKER_FATAL, 0);
    assert_int_equal(heard.count, 10);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(heard.ticket[i], i + 1);
        assert_int_equal(heard.outcome[i], WINDOW_DELIVERED);
    }
}

/* A broker that has lost what it acknowledged: the producer is done for, and the next one delivers. */
static void
test_fatal_error(void **state)
{
    struct cluster *cluster = *state;
    struct heard heard = {0};
    struct outbox_row row = row_of(TEXT("{}"));
    give(cluster, 1, &row, BROKER_GIVEN);
    (void)await(cluster, &heard, 1);
    assert_int_equal(heard.count, 1);
    rd_kafka_mock_push_request_errors(cluster->mock, PRODUCE_REQUEST, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    give(cluster, 2, &row, BROKER_GIVEN);
    assert_int_equal(await(cluster, &heard, 3) & BROKER_FATAL, BROKER_FATAL);
    assert_true(strstr(cluster->broker.why(cluster->broker.context), "OUT_OF_ORDER") != NULL);
    give(cluster, 3, &row, BROKER_BROKEN);
    cluster->broker.close(cluster->broker.context);
    assert_int_equal(cluster->broker.open(cluster->broker.context), 0);
    heard.count = 0;
    give(cluster, 4, &row, BROKER_GIVEN);
    (void)await(cluster, &heard, 1);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.ticket[0], 4);
    assert_int_equal(heard.outcome[0], WINDOW_DELIVERED);
}

static void
test_refusals(void **state)
{
    struct cluster *cluster = *state;
    struct heard heard = {0};
    char *large = calloc(1, 1100000);
    assert_non_null(large);
    struct outbox_row row = row_of((struct bytes){large, 1100000});
    give(cluster, 1, &row, BROKER_TOO_LARGE); /* by librdkafka itself */
    free(large);
    row = row_of(TEXT("{}"));
    rd_kafka_mock_push_request_errors(cluster->mock, PRODUCE_REQUEST, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    give(cluster, 2, &row, BROKER_GIVEN);
    (void)await(cluster, &heard, 1);
    assert_int_equal(heard.outcome[0], WINDOW_TOO_LARGE);
    rd_kafka_mock_push_request_errors(cluster->mock, PRODUCE_REQUEST, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    give(cluster, 3, &row, BROKER_GIVEN);
    (void)await(cluster, &heard, 2);
    assert_int_equal(heard.outcome[1], WINDOW_REFUSED);
    assert_true(strstr(heard.reason[1], "authorization") != NULL);
    /* librdkafka refuses what is for the topic by itself, until it has asked for the topic anew */
    give(cluster, 4, &row, BROKER_REFUSED);
    assert_int_equal(cluster->broker.make_topics(cluster->broker.context), 0);
    give(cluster, 4, &row, BROKER_GIVEN);
    (void)await(cluster, &heard, 3);
    assert_int_equal(heard.outcome[2], WINDOW_DELIVERED);
    char name[300];
    memset(name, 'x', sizeof name);
    row.aggregatetype = (struct bytes){name, sizeof name};
    give(cluster, 5, &row, BROKER_REFUSED);
}

/* Nobody there: no event is refused, however long it takes, and a close does not wait. */
static void
test_absence(void **state)
{
    struct cluster *cluster = *state;
    struct heard heard = {0};
    char id[CLUSTER_SIZE_MAX];
    struct outbox_row row = row_of(TEXT("{}"));
    give(cluster, 1, &row, BROKER_GIVEN);
    (void)await(cluster, &heard, 1);
    assert_int_equal(rd_kafka_mock_broker_set_down(cluster->mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    give(cluster, 2, &row, BROKER_GIVEN);
    assert_int_equal(cluster->broker.ask(cluster->broker.context, id), -EAGAIN);
    assert_true(strlen(cluster->broker.why(cluster->broker.context)) > 0);
    (void)cluster->broker.poll(cluster->broker.context, hear, &heard);
    assert_int_equal(heard.count, 1);
    assert_int_equal(rd_kafka_mock_broker_set_up(cluster->mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    (void)await(cluster, &heard, 2);
    assert_int_equal(heard.outcome[1], WINDOW_DELIVERED);
}

static void
test_outcomes(void **state)
{
    (void)state;
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR_NO_ERROR), WINDOW_DELIVERED);
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), WINDOW_TOO_LARGE);
    const int returned[] = {RD_KAFKA_RESP_ERR__PURGE_QUEUE,        RD_KAFKA_RESP_ERR__PURGE_INFLIGHT,
                            RD_KAFKA_RESP_ERR__TRANSPORT,          RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
                            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE};
    for (size_t i = 0; i < sizeof returned / sizeof returned[0]; i++)
        assert_int_equal(kafka_outcome(returned[i]), WINDOW_RETURNED);
    const int refused[] = {
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,       RD_KAFKA_RESP_ERR_INVALID_RECORD};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(kafka_outcome(refused[i]), WINDOW_REFUSED);
}

static void
refused_settings(const char *prefix, const char *file_text, const char *expected)
{
    char path[] = "/tmp/test_kafka.XXXXXX";
    char cause[RELAY_CAUSE_SIZE] = "";
    struct kafka *kafka = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file_text, strlen(file_text)), strlen(file_text));
    assert_int_equal(close(fd), 0);
    const struct kafka_settings settings = {
        .brokers = "127.0.0.1:1", .prefix = prefix, .config_file = path, .partitions = 1, .wake_fd = -1};
    int result = kafka_new(&settings, &kafka, cause);
    assert_int_equal(unlink(path), 0);
    if (expected == NULL) {
        assert_int_equal(result, 0);
        kafka_free(kafka);
        return;
    }
    assert_int_equal(result, -EINVAL);
    if (strstr(cause, expected) == NULL || strstr(cause, "secret") != NULL)
        fail_msg("expected '%s' and no secret in: %s", expected, cause);
}

static void
test_settings(void **state)
{
    (void)state;
    refused_settings("holdfast.", "", NULL);
    refused_settings("holdfast.", "# SASL\nsecurity.protocol = sasl_plaintext\nsasl.mechanism=PLAIN\n",
                     NULL);
    refused_settings("hold fast.", "", "persist.kafka_prefix is 'hold fast.'");
    refused_settings("holdfast.", "\nno.such.name=secret\n",
                     "line 2: librdkafka knows no setting 'no.such.name'");
    refused_settings("holdfast.", "security.protocol=secret\n",
                     "line 1: librdkafka does not take this value");
    refused_settings("holdfast.", "acks=0\n", "line 1: 'acks' is the relay's own");
    refused_settings("holdfast.", "enable.idempotence=false\n", "'enable.idempotence' is the relay's own");
    refused_settings("holdfast.", "what is this\n", "line 1: expected NAME=VALUE");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_delivers, open_cluster, close_cluster),
        cmocka_unit_test_setup_teardown(test_fatal_error, open_cluster, close_cluster),
        cmocka_unit_test_setup_teardown(test_refusals, open_cluster, close_cluster),
        cmocka_unit_test_setup_teardown(test_absence, open_cluster, close_cluster),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
