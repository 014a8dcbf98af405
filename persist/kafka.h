/*
 * kafka.h - Kafka as the relay's broker. kafka.c is the only file that touches librdkafka.
 *
 * One thread. See kafka.c for what is set and why.
 */
#ifndef HOLDFAST_KAFKA_H
#define HOLDFAST_KAFKA_H

#include "persist/outbox_relay.h"

struct kafka_settings {
    const char *brokers;     /* HOST:PORT,... */
    const char *prefix;      /* of the topics' names */
    const char *config_file; /* lines NAME=VALUE for librdkafka; empty: none */
    bool create_topics;
    uint32_t partitions;  /* of topics that are created */
    uint32_t replication; /* likewise; 0: the brokers' default */
    int wake_fd;          /* an eventfd: gets 1 when there is something to poll for. -1: none */
};

struct kafka;

/*
 * Looks at the settings and reads the file; connects to nobody. Texts are copied. 0, or negative errno with
 * a cause in ret_cause, never with a value of the file in it: one of them may be a password.
 */
int kafka_new(const struct kafka_settings *settings, struct kafka **ret_kafka,
              char ret_cause[RELAY_CAUSE_SIZE]);

/* The relay that uses it is gone. NULL: nothing. */
void kafka_free(struct kafka *kafka);

/* As long as the kafka. */
struct broker kafka_broker(struct kafka *kafka);

/* What has become of an event whose report has this code of librdkafka's. For its test. */
enum window_outcome kafka_outcome(int code);

#endif
