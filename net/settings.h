/*
 * settings.h - every setting of the server: one table, four places to set them.
 */
#ifndef HOLDFAST_SETTINGS_H
#define HOLDFAST_SETTINGS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define SETTING_TEXT_SIZE_MAX 1024

/* Filled by settings_read(); read-only and shared by all threads afterwards. */
struct settings {
    char data[SETTING_TEXT_SIZE_MAX];
    char http[SETTING_TEXT_SIZE_MAX];
    char resp[SETTING_TEXT_SIZE_MAX];
    uint64_t shards; /* 0: one for each core this process may use */
    char durability[SETTING_TEXT_SIZE_MAX];
    uint64_t segment_bytes;
    uint64_t snapshot_bytes;
    uint64_t connections_max;
    uint64_t pipeline_max;
    uint64_t requests_max;
    uint64_t request_bytes_max;
    uint64_t head_bytes_max;
    uint64_t input_bytes_max;
    uint64_t output_bytes_max;
    uint64_t replies_bytes_max;
    uint64_t request_seconds;
    uint64_t write_seconds;
    uint64_t stop_seconds;
    uint64_t buffers;
    uint64_t buffer_bytes;
    uint64_t mailbox_bytes;
    uint64_t ring_entries;
    uint64_t holds_max;
    uint64_t holds_expected;
    uint64_t users_max;
    uint64_t events_max;
    uint64_t tokens_max;
    uint64_t watchers_max;
    uint64_t seats_max;
    uint64_t operations_max;
    uint64_t event_bytes_max;
    uint64_t key_bytes_max;
    uint64_t batch_bytes_max;
    uint64_t ended_seconds;
    uint64_t key_seconds;
    uint64_t expire_batch;
    char keys_file[SETTING_TEXT_SIZE_MAX]; /* empty: no keys */
    uint64_t user_per_second;              /* 0: no limit */
    uint64_t address_per_second;
    char proxies[SETTING_TEXT_SIZE_MAX]; /* proxies_parse() */
    uint64_t rate_buckets;
    char pass_secret_file[SETTING_TEXT_SIZE_MAX];     /* empty: pass.secret in the data directory */
    char pass_secret_file_old[SETTING_TEXT_SIZE_MAX]; /* empty: none */
    /* holdfast persist */
    char persist_postgres[SETTING_TEXT_SIZE_MAX]; /* empty: none given */
    char persist_http[SETTING_TEXT_SIZE_MAX];
    uint64_t persist_batch_records;
    uint64_t persist_copy_rows;
    uint64_t persist_cache_bytes;
    uint64_t persist_wait_seconds;
    uint64_t persist_backoff_seconds_max;
    char persist_log_rows[SETTING_TEXT_SIZE_MAX];
    char persist_relay[SETTING_TEXT_SIZE_MAX];
    char persist_kafka[SETTING_TEXT_SIZE_MAX]; /* empty: none */
    char persist_kafka_prefix[SETTING_TEXT_SIZE_MAX];
    char persist_kafka_create_topics[SETTING_TEXT_SIZE_MAX];
    uint64_t persist_kafka_partitions;
    uint64_t persist_kafka_replication;
    char persist_kafka_cluster[SETTING_TEXT_SIZE_MAX]; /* empty: the one that is there at first */
    char persist_kafka_config[SETTING_TEXT_SIZE_MAX];  /* empty: none */
    uint64_t persist_outbox_keep_seconds;
    uint64_t persist_relay_rows_max;
    uint64_t persist_relay_bytes_max;
};

struct settings_error {
    char text[768];
};

/* Takes a word that is no setting ("--check") out of the arguments. False: it is not among them. */
bool settings_take_word(int *argc, char **argv, const char *word);

/*
 * Reads defaults, then the file of --config, the environment, and the arguments: what comes later is
 * stronger. argv: what follows the word of the subcommand. environment: NAME=VALUE strings, ended by NULL.
 * False: ret_error says which setting, which value, where it came from and what was expected.
 */
bool settings_read(int argc, char *const argv[], char *const environment[], struct settings *ret_settings,
                   struct settings_error *ret_error);

/* Who reads a setting. */
enum settings_of {
    SETTINGS_OF_SERVER = 1 << 0,
    SETTINGS_OF_PERSISTER = 1 << 1,
};

/* Those that this one reads, each with its default, short name and meaning. */
void settings_help(FILE *file, enum settings_of of);

/* An address of a listener. */
struct listen_address {
    bool off;
    bool loopback;
    struct sockaddr_storage address;
    socklen_t size;
};

/* ADDR:PORT, [ADDR6]:PORT, localhost:PORT or off. False: none of these. */
bool listen_address_parse(const char *text, struct listen_address *ret_address);

/* Writes it back; text holds at least 64 bytes. */
void listen_address_text(const struct listen_address *address, char *ret_text);

#endif
