/*
 * persist_command.c - `holdfast persist`: carries what the server did to PostgreSQL, and on to Kafka.
 *
 * Here are its settings, its signals and its listener; what it does is in persist/persister.c.
 */
#include "net/persist_command.h"

#include "net/persist_status.h"
#include "persist/log.h"
#include "persist/relay_thread.h"
#include "persist/verify.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static atomic_bool stop; /* set by the handler alone */
static_assert(ATOMIC_BOOL_LOCK_FREE == 2, "a signal handler may set it");

static void
stop_asked(int signal)
{
    (void)signal;
    atomic_store_explicit(&stop, true, memory_order_release);
}

static void
help(FILE *file)
{
    (void)fprintf(
        file,
        "usage: holdfast persist --data DIR --pg URI [--config FILE] [--section.key VALUE]...\n"
        "       holdfast persist --migrate --pg URI\n\n"
        "Follows the journals of the data directory DIR and carries each result to PostgreSQL, in order,\n"
        "once; from there to Kafka (--kafka). The server may run, stop and start meanwhile. Prints one\n"
        "line when it has begun:\n"
        "    ready http=ADDR:PORT data=DIR\n"
        "--migrate brings the database's schema up to date, and ends.\n\n");
    settings_help(file, SETTINGS_OF_PERSISTER);
}

static void
fill(const struct settings *settings, struct persister_settings *ret_settings)
{
    *ret_settings = (struct persister_settings){
        .data = settings->data,
        .postgres = settings->persist_postgres,
        .batch_records = (uint32_t)settings->persist_batch_records,
        .copy_rows = (uint32_t)settings->persist_copy_rows,
        .cache_bytes = settings->persist_cache_bytes,
        .wait_ms = (uint32_t)settings->persist_wait_seconds * 1000,
        .backoff_ms_max = (uint32_t)settings->persist_backoff_seconds_max * 1000,
        .log_rows_per_second = strcmp(settings->persist_log_rows, "all") == 0      ? UINT32_MAX
                               : strcmp(settings->persist_log_rows, "sample") == 0 ? PERSISTER_LOG_SAMPLE
                                                                                   : 0,
        .stop = &stop,
    };
}

/* Opens and starts the relay, where there is one to be. False: told. */
static bool
start_relay(const struct settings *settings, struct relay_thread **ret_relay)
{
    char cause[RELAY_CAUSE_SIZE];
    const struct relay_thread_settings relay_settings = {
        .postgres = {.uri = settings->persist_postgres,
                     .application = "holdfast relay",
                     .connect_seconds = 10,
                     .wait_ms = (uint32_t)settings->persist_wait_seconds * 1000},
        .kafka = {.brokers = settings->persist_kafka,
                  .prefix = settings->persist_kafka_prefix,
                  .config_file = settings->persist_kafka_config,
                  .create_topics = strcmp(settings->persist_kafka_create_topics, "yes") == 0,
                  .partitions = (uint32_t)settings->persist_kafka_partitions,
                  .replication = (uint32_t)settings->persist_kafka_replication},
        .cluster = settings->persist_kafka_cluster,
        .rows_max = (uint32_t)settings->persist_relay_rows_max,
        .bytes_max = settings->persist_relay_bytes_max,
        .keep_seconds = settings->persist_outbox_keep_seconds,
    };
    if (settings->persist_kafka[0] == '\0' || strcmp(settings->persist_relay, "builtin") != 0)
        return true;
    if (relay_thread_open(&relay_settings, ret_relay, cause) != 0) {
        log_error("relay: %s", cause);
        return false;
    }
    int result = relay_thread_start(*ret_relay);
    if (result != 0)
        log_error("relay: could not start its thread: %s", strerror(-result));
    return result == 0;
}

static int
carry(const struct settings *settings)
{
    struct persister_settings persister_settings;
    struct persister *persister;
    struct persist_status *status = NULL;
    struct relay_thread *relay = NULL;
    struct listen_address address;
    char listening[64] = "off";
    fill(settings, &persister_settings);
    if (!persister_open(&persister, &persister_settings))
        return 1;
    bool good = start_relay(settings, &relay);
    if (good)
        persister_set_relay(persister, relay);
    good = good && listen_address_parse(settings->persist_http, &address); /* was checked */
    if (good && !address.off) {
        int result = persist_status_open(&status, persister, &address);
        if (result != 0)
            log_error("could not listen at persist.http, '%s': %s: choose another with --persist.http "
                      "ADDR:PORT, or "
                      "off",
                      settings->persist_http, strerror(-result));
        good = result == 0;
        if (good)
            listen_address_text(&address, listening);
    }
    if (good) {
        (void)printf("ready http=%s data=%s\n", listening, settings->data);
        (void)fflush(stdout); /* whoever waits for it will see */
        persister_run(persister);
        log_info("stopped");
    }
    persist_status_close(status);
    relay_thread_stop(relay);
    persister_close(persister);
    return good ? 0 : 1;
}

int
persist_main(int argc, char **argv)
{
    static struct settings settings;
    struct settings_error error;
    log_open();
    if (settings_take_word(&argc, argv, "--help")) {
        help(stdout);
        return 0;
    }
    bool migrate_only = settings_take_word(&argc, argv, "--migrate");
    if (!settings_read(argc - 1, argv + 1, environ, &settings, &error)) {
        (void)fprintf(stderr, "holdfast persist: %s\n", error.text);
        return 2;
    }
    const char *wrong = settings.persist_postgres[0] == '\0' ? "which PostgreSQL? give --pg URI"
                                                             : pg_uri_wrong(settings.persist_postgres);
    if (wrong != NULL) {
        /* its text is not repeated: there may be a password in it */
        (void)fprintf(stderr, "holdfast persist: persist.postgres: %s\n", wrong);
        return 2;
    }
    struct sigaction action = {.sa_handler = stop_asked};
    (void)sigaction(SIGTERM, &action, NULL); /* cannot fail with these arguments, nor the next two */
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (migrate_only) {
        struct persister_settings persister_settings;
        fill(&settings, &persister_settings);
        return persister_migrate(&persister_settings) ? 0 : 1;
    }
    return carry(&settings);
}

int
verify_main(int argc, char **argv)
{
    static struct settings settings;
    struct settings_error error;
    if (settings_take_word(&argc, argv, "--help")) {
        (void)printf("usage: holdfast verify --data DIR --pg URI\n\n"
                     "Replays the journals of the data directory DIR up to where PostgreSQL is, and "
                     "compares every row.\n"
                     "Prints the first ten differences and how many there are in each table. Nothing is "
                     "changed; server\n"
                     "and persister may run. Exit code 0: no difference, 1: some, or it could not be told, "
                     "2: usage.\n");
        return 0;
    }
    if (!settings_read(argc - 1, argv + 1, environ, &settings, &error)) {
        (void)fprintf(stderr, "holdfast verify: %s\n", error.text);
        return 2;
    }
    const char *wrong = settings.persist_postgres[0] == '\0' ? "which PostgreSQL? give --pg URI"
                                                             : pg_uri_wrong(settings.persist_postgres);
    if (wrong != NULL) {
        (void)fprintf(stderr, "holdfast verify: persist.postgres: %s\n", wrong);
        return 2;
    }
    const struct pg_settings pg_settings = {
        .uri = settings.persist_postgres,
        .application = "holdfast verify",
        .connect_seconds = 10,
        .wait_ms = (uint32_t)settings.persist_wait_seconds * 1000,
    };
    return verify(settings.data, &pg_settings);
}
