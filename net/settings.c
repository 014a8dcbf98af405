/*
 * settings.c - the table of settings, and the four places they come from.
 *
 * A setting is one row of the table: section, key, where its value lies in struct settings, what is
 * allowed, the default, and one line of help. Everything else here walks the table: a new setting is a new
 * row and a reader.
 *
 *     defaults < INI file (--config FILE) < environment HOLDFAST_SECTION_KEY < --section.key value
 *
 * Wrong values end the start. So do unknown names, with the nearest known one named (edit distance): a
 * setting that is silently ignored is found out at the worst hour. In the environment names that begin with
 * HOLDFAST_ and a known section are ours, and those that miss a setting by a letter or two; others may be
 * somebody else's (HOLDFAST_PORT_7780_TCP is what Kubernetes makes of a service of that name).
 */
#include "net/settings.h"

#include "net/client_address.h"
#include "net/rate_limit.h"
#include "persist/journal_format.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum setting_type {
    SETTING_TEXT, /* may be empty where that is the default */
    SETTING_ADDRESS,
    SETTING_CHOICE,
    SETTING_PROXIES,
    SETTING_COUNT,
    SETTING_BYTES,
    SETTING_RATE, /* a count, or auto */
};

struct setting {
    const char *name;       /* section.key */
    const char *short_name; /* without the dashes, or NULL */
    const char *standard;   /* the default, as one would write it */
    const char *choices;    /* SETTING_CHOICE: words separated by a blank */
    const char *help;
    uint64_t min; /* SETTING_COUNT and SETTING_BYTES */
    uint64_t max;
    size_t offset;
    enum setting_type type;
    bool power_of_two;
};

#define KIB       1024ull
#define MIB       (1024 * KIB)
#define GIB       (1024 * MIB)
#define AT(field) offsetof(struct settings, field)

static const struct setting settings_table[] = {
    {"server.data", "data", "./data", NULL, "directory of this server's data; made if its parent exists", 0,
     0, AT(data), SETTING_TEXT, false},
    {"server.http", "http", "127.0.0.1:7780", NULL, "ADDR:PORT of HTTP; off: none; port 0: any free one", 0,
     0, AT(http), SETTING_ADDRESS, false},
    {"server.resp", "resp", "127.0.0.1:7781", NULL, "ADDR:PORT of RESP; off: none; port 0: any free one", 0,
     0, AT(resp), SETTING_ADDRESS, false},
    {"server.shards", "shards", "0", NULL, "threads, each with its share of users and seats; 0: one a core",
     0, 64, AT(shards), SETTING_COUNT, false},
    {"journal.durability", "durability", "journal", "journal memory",
     "journal: an answer leaves when its record is durable; memory: at once", 0, 0, AT(durability),
     SETTING_CHOICE, false},
    {"journal.segment_bytes", NULL, "64MiB", NULL,
     "one file of a shard's journal; each shard has two or three of them made ahead", 4 * MIB, GIB,
     AT(segment_bytes), SETTING_BYTES, false},
    {"journal.snapshot_bytes", NULL, "512MiB", NULL,
     "a snapshot is written after so much journal of all shards; older journal then goes", 4 * MIB,
     1024 * GIB, AT(snapshot_bytes), SETTING_BYTES, false},

    {"auth.keys_file", "keys", "", NULL,
     "who may come in, a line a key: NAME ROLE SHA256-HEX (holdfast keys); without: everyone, and loopback "
     "only",
     0, 0, AT(keys_file), SETTING_TEXT, false},

    {"rate.user_per_second", NULL, "auto", NULL,
     "requests a second of one user; beyond: ratelimit; 0: no limit; auto: 0 where every listener is on "
     "loopback, else 50",
     0, RATE_PER_SECOND_MAX, AT(user_per_second), SETTING_RATE, false},
    {"rate.address_per_second", NULL, "auto", NULL,
     "requests a second of one client address that is not loopback; likewise, else 100", 0,
     RATE_PER_SECOND_MAX, AT(address_per_second), SETTING_RATE, false},
    {"rate.proxies", NULL, "", NULL,
     "addresses and ranges whose Forwarded or X-Forwarded-For names the client, separated by commas", 0, 0,
     AT(proxies), SETTING_PROXIES, false},
    {"rate.buckets", NULL, "1048576", NULL,
     "users, and addresses, whose rate is known at a time (8 bytes each); a power of two; beyond: some "
     "begin anew",
     RATE_BUCKETS_MIN, 1u << 30, AT(rate_buckets), SETTING_COUNT, true},

    {"queue.pass_secret_file", NULL, "", NULL,
     "what passes are signed with; without: pass.secret in the data directory, made where it is not there",
     0, 0, AT(pass_secret_file), SETTING_TEXT, false},
    {"queue.pass_secret_file_old", NULL, "", NULL, "the secret before it, with which passes are still good",
     0, 0, AT(pass_secret_file_old), SETTING_TEXT, false},

    {"net.connections_max", NULL, "16384", NULL, "connections in all; beyond: told busy and closed", 1,
     1 << 22, AT(connections_max), SETTING_COUNT, false},
    {"net.pipeline_max", NULL, "1024", NULL, "requests in flight on a connection; beyond: not read on", 1,
     1 << 16, AT(pipeline_max), SETTING_COUNT, false},
    {"net.requests_max", NULL, "65536", NULL,
     "requests in flight on a shard; beyond: connections are not read on", 1, 1 << 22, AT(requests_max),
     SETTING_COUNT, false},
    {"net.request_bytes_max", NULL, "8MiB", NULL, "one request with its body; beyond: refused and closed",
     64, GIB, AT(request_bytes_max), SETTING_BYTES, false},
    {"net.head_bytes_max", NULL, "16KiB", NULL, "HTTP request line and headers; beyond: refused and closed",
     64, MIB, AT(head_bytes_max), SETTING_BYTES, false},
    {"net.input_bytes_max", NULL, "256MiB", NULL,
     "incomplete requests of all connections together; beyond: told busy and closed", 64 * KIB, 1024 * GIB,
     AT(input_bytes_max), SETTING_BYTES, false},
    {"net.output_bytes_max", NULL, "1MiB", NULL,
     "answers waiting for one client to read; beyond: its requests are not read on", KIB, GIB,
     AT(output_bytes_max), SETTING_BYTES, false},
    {"net.replies_bytes_max", NULL, "1GiB", NULL,
     "answers waiting on all connections together; beyond: the connection is closed", MIB, 1024 * GIB,
     AT(replies_bytes_max), SETTING_BYTES, false},
    {"net.request_seconds", NULL, "30", NULL, "an incomplete request older than this closes its connection",
     1, 86400, AT(request_seconds), SETTING_COUNT, false},
    {"net.write_seconds", NULL, "30", NULL, "a client that reads nothing for so long is closed", 1, 86400,
     AT(write_seconds), SETTING_COUNT, false},
    {"net.stop_seconds", NULL, "5", NULL, "how long a stop waits for answers under way", 1, 3600,
     AT(stop_seconds), SETTING_COUNT, false},
    {"net.buffers", NULL, "512", NULL,
     "receive buffers of a shard; a power of two; all in use: reading waits", 2, 32768, AT(buffers),
     SETTING_COUNT, true},
    {"net.buffer_bytes", NULL, "8KiB", NULL, "size of a receive buffer", 64, MIB, AT(buffer_bytes),
     SETTING_BYTES, false},
    {"net.mailbox_bytes", NULL, "1MiB", NULL,
     "messages from one shard to another; a power of two; full: the sender keeps them and tries again",
     256 * KIB, GIB, AT(mailbox_bytes), SETTING_BYTES, true},
    {"net.ring_entries", NULL, "4096", NULL, "submission entries of a shard's ring; a power of two", 64,
     32768, AT(ring_entries), SETTING_COUNT, true},

    {"core.holds_max", NULL, "16777216", NULL,
     "holds of a shard: live, confirmed, remembered; beyond: busy", 16, 1u << 30, AT(holds_max),
     SETTING_COUNT, false},
    {"core.holds_expected", NULL, "0", NULL,
     "so many holds of a shard find their memory touched before the start ends; 0: as they come", 0,
     1u << 30, AT(holds_expected), SETTING_COUNT, false},
    {"core.users_max", NULL, "16777216", NULL, "users with a hold in an event, of a shard; beyond: busy",
     16, 1u << 30, AT(users_max), SETTING_COUNT, false},
    {"core.events_max", NULL, "10000", NULL, "events; beyond: busy", 1, 10000, AT(events_max),
     SETTING_COUNT, false},
    {"core.tokens_max", NULL, "4194304", NULL,
     "places in the waiting rooms of a shard's events, remembered ones included; beyond: busy", 16,
     1u << 30, AT(tokens_max), SETTING_COUNT, false},
    {"core.watchers_max", NULL, "1048576", NULL,
     "long polls and watches of a shard's waiting rooms; beyond: busy", 16, 1u << 30, AT(watchers_max),
     SETTING_COUNT, false},
    {"core.seats_max", NULL, "67108864", NULL, "seats of a shard; an event beyond: busy", 16, 1ull << 32,
     AT(seats_max), SETTING_COUNT, false},
    {"core.operations_max", NULL, "65536", NULL, "commands under way in a shard; beyond: busy", 1, 1 << 22,
     AT(operations_max), SETTING_COUNT, false},
    {"core.event_bytes_max", NULL, "256MiB", NULL, "settings of all events; beyond: busy", 4 * KIB,
     16 * GIB, AT(event_bytes_max), SETTING_BYTES, false},
    {"core.key_bytes_max", NULL, "1GiB", NULL,
     "remembered idempotency answers of a shard; beyond: the oldest go", 4 * KIB, 64 * GIB,
     AT(key_bytes_max), SETTING_BYTES, false},
    {"core.batch_bytes_max", NULL, "16MiB", NULL,
     "records of a shard not yet on their way to disk; beyond: busy", 64 * KIB, 16 * KIB *KIB,
     AT(batch_bytes_max), SETTING_BYTES, false},
    {"core.ended_seconds", NULL, "3600", NULL, "how long ended holds are remembered, memory permitting", 1,
     2592000, AT(ended_seconds), SETTING_COUNT, false},
    {"core.key_seconds", NULL, "86400", NULL, "how long idempotency answers are kept, memory permitting", 1,
     2592000, AT(key_seconds), SETTING_COUNT, false},
    {"core.expire_batch", NULL, "256", NULL, "holds expired in one step of the loop at most", 1, 1 << 20,
     AT(expire_batch), SETTING_COUNT, false},

    {"persist.postgres", "pg", "", NULL,
     "PostgreSQL: postgresql://USER@HOST:PORT/DATABASE or key=value; what it does not say comes from "
     "PGHOST, "
     "PGPASSFILE and so on; no password in it",
     0, 0, AT(persist_postgres), SETTING_TEXT, false},
    {"persist.http", NULL, "127.0.0.1:7782", NULL,
     "ADDR:PORT of the persister's /metrics and /healthz; off: none; port 0: any free one", 0, 0,
     AT(persist_http), SETTING_ADDRESS, false},
    {"persist.batch_records", NULL, "16384", NULL, "records in one transaction, about", 1, 1 << 20,
     AT(persist_batch_records), SETTING_COUNT, false},
    {"persist.copy_rows", NULL, "1024", NULL,
     "so many new rows in a transaction, or more, go by COPY, fewer by INSERT", 1, 1 << 30,
     AT(persist_copy_rows), SETTING_COUNT, false},
    {"persist.cache_bytes", NULL, "64MiB", NULL,
     "live holds that are remembered; beyond: the oldest are read again from PostgreSQL", MIB, 64 * GIB,
     AT(persist_cache_bytes), SETTING_BYTES, false},
    {"persist.wait_seconds", NULL, "60", NULL, "PostgreSQL is taken for gone when it is silent for so long",
     1, 3600, AT(persist_wait_seconds), SETTING_COUNT, false},
    {"persist.backoff_seconds_max", NULL, "30", NULL,
     "while PostgreSQL is away it is tried again after 0.1 s, then twice that, up to so long", 1, 3600,
     AT(persist_backoff_seconds_max), SETTING_COUNT, false},
    {"persist.log_rows", NULL, "sample", "none sample all",
     "results whose request had an X-Request-ID are logged: none of them, at most 20 a second, all", 0, 0,
     AT(persist_log_rows), SETTING_CHOICE, false},
    {"persist.relay", "relay", "builtin", "builtin debezium off",
     "who takes the outbox to Kafka: this process, Debezium, nobody", 0, 0, AT(persist_relay),
     SETTING_CHOICE, false},
    {"persist.kafka", "kafka", "", NULL, "HOST:PORT,... of Kafka; without: the outbox stays in PostgreSQL",
     0, 0, AT(persist_kafka), SETTING_TEXT, false},
    {"persist.kafka_prefix", NULL, "holdfast.", NULL, "topics are named so, and hold, token, event", 0, 0,
     AT(persist_kafka_prefix), SETTING_TEXT, false},
    {"persist.kafka_create_topics", NULL, "yes", "yes no", "topics that are missing are made", 0, 0,
     AT(persist_kafka_create_topics), SETTING_CHOICE, false},
    {"persist.kafka_partitions", NULL, "6", NULL, "of a topic that is made", 1, 10000,
     AT(persist_kafka_partitions), SETTING_COUNT, false},
    {"persist.kafka_replication", NULL, "0", NULL,
     "copies of a topic that is made; 0: as the brokers have it", 0, 100, AT(persist_kafka_replication),
     SETTING_COUNT, false},
    {"persist.kafka_cluster", NULL, "", NULL,
     "the id of the cluster to deliver to from now on; without: the one that was delivered to before", 0, 0,
     AT(persist_kafka_cluster), SETTING_TEXT, false},
    {"persist.kafka_config", NULL, "", NULL,
     "file of further settings of librdkafka, key=value (SASL, TLS)", 0, 0, AT(persist_kafka_config),
     SETTING_TEXT, false},
    {"persist.outbox_keep_seconds", NULL, "86400", NULL, "delivered rows stay in the outbox for so long", 0,
     2592000, AT(persist_outbox_keep_seconds), SETTING_COUNT, false},
    {"persist.relay_rows_max", NULL, "65536", NULL, "rows on their way to Kafka; beyond: no more are read",
     1, 1 << 24, AT(persist_relay_rows_max), SETTING_COUNT, false},
    {"persist.relay_bytes_max", NULL, "64MiB", NULL, "bytes on their way to Kafka; likewise", MIB, 64 * GIB,
     AT(persist_relay_bytes_max), SETTING_BYTES, false},
};

#define SETTINGS_COUNT    (sizeof settings_table / sizeof settings_table[0])
#define NAME_SIZE_LIMIT   64

#define RATE_AUTO         UINT64_MAX /* until all settings are known */
#define USER_RATE_OPEN    50u        /* where somebody listens beyond loopback */
#define ADDRESS_RATE_OPEN 100u

static void fail(struct settings_error *ret_error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
fail(struct settings_error *ret_error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ret_error->text, sizeof ret_error->text, format, arguments); /* cut where too long */
    va_end(arguments);
}

/* Levenshtein's distance of two short names. */
static uint32_t
edit_distance(const char *a, const char *b)
{
    size_t a_size = strnlen(a, NAME_SIZE_LIMIT);
    size_t b_size = strnlen(b, NAME_SIZE_LIMIT);
    uint32_t row[NAME_SIZE_LIMIT + 1];
    for (size_t j = 0; j <= b_size; j++)
        row[j] = (uint32_t)j;
    for (size_t i = 1; i <= a_size; i++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= b_size; j++) {
            uint32_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_size];
}

/* The known setting (long or short name) nearest to what somebody wrote. */
static const char *
nearest(const char *name)
{
    const char *best_name = settings_table[0].name;
    uint32_t best = UINT32_MAX;
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const char *names[] = {settings_table[i].name, settings_table[i].short_name};
        for (size_t n = 0; n < 2 && names[n] != NULL; n++) {
            uint32_t distance = edit_distance(name, names[n]);
            if (distance < best) {
                best = distance;
                best_name = names[n];
            }
        }
    }
    return best_name;
}

static const struct setting *
find(const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const struct setting *setting = &settings_table[i];
        if (strcmp(name, setting->name) == 0)
            return setting;
        if (setting->short_name != NULL && strcmp(name, setting->short_name) == 0)
            return setting;
    }
    return NULL;
}

static bool
parse_number(const char *text, bool bytes, uint64_t *ret_value)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    uint64_t factor = 1;
    if (bytes && *end != '\0') {
        if (strcasecmp(end, "KiB") == 0 || strcasecmp(end, "k") == 0)
            factor = KIB;
        else if (strcasecmp(end, "MiB") == 0 || strcasecmp(end, "m") == 0)
            factor = MIB;
        else if (strcasecmp(end, "GiB") == 0 || strcasecmp(end, "g") == 0)
            factor = GIB;
        else
            return false;
    } else if (*end != '\0') {
        return false;
    }
    return !__builtin_mul_overflow((uint64_t)value, factor, ret_value);
}

static bool
is_choice(const char *choices, const char *value)
{
    size_t size = strlen(value);
    for (const char *word = choices; size > 0 && word != NULL;) {
        if (strncmp(word, value, size) == 0 && (word[size] == ' ' || word[size] == '\0'))
            return true;
        word = strchr(word, ' ');
        if (word != NULL)
            word++;
    }
    return false;
}

static bool
set_number(struct settings *settings, const struct setting *setting, const char *value, const char *source,
           struct settings_error *ret_error)
{
    bool bytes = setting->type == SETTING_BYTES;
    uint64_t number;
    if (!parse_number(value, bytes, &number) || number < setting->min || number > setting->max) {
        fail(ret_error, "%s (%s): '%s' is not valid: expected a whole number%s from %llu to %llu",
             setting->name, source, value, bytes ? " of bytes (also with KiB, MiB, GiB)" : "",
             (unsigned long long)setting->min, (unsigned long long)setting->max);
        return false;
    }
    if (setting->power_of_two && (number & (number - 1)) != 0) {
        fail(ret_error, "%s (%s): '%s' is not valid: expected a power of two from %llu to %llu",
             setting->name, source, value, (unsigned long long)setting->min,
             (unsigned long long)setting->max);
        return false;
    }
    memcpy((char *)settings + setting->offset, &number, sizeof number);
    return true;
}

static bool
set_text(struct settings *settings, const struct setting *setting, const char *value, const char *source,
         struct settings_error *ret_error)
{
    struct listen_address address;
    struct proxies proxies;
    bool empty = value[0] == '\0' && setting->standard[0] != '\0';
    if (strlen(value) >= SETTING_TEXT_SIZE_MAX || empty) {
        fail(ret_error, "%s (%s): expected 1 to %d bytes of text", setting->name, source,
             SETTING_TEXT_SIZE_MAX - 1);
        return false;
    }
    if (setting->type == SETTING_ADDRESS && !listen_address_parse(value, &address)) {
        fail(ret_error,
             "%s (%s): '%s' is not valid: expected ADDR:PORT with a numeric address, such as "
             "127.0.0.1:7780 or "
             "[::1]:7780, or off",
             setting->name, source, value);
        return false;
    }
    if (setting->type == SETTING_CHOICE && !is_choice(setting->choices, value)) {
        fail(ret_error, "%s (%s): '%s' is not valid: expected one of: %s", setting->name, source, value,
             setting->choices);
        return false;
    }
    if (setting->type == SETTING_PROXIES && !proxies_parse(value, &proxies)) {
        fail(ret_error,
             "%s (%s): '%s' is not valid: expected at most %d addresses or ranges separated by commas, "
             "such as 10.0.0.0/8,192.0.2.7,2001:db8::/32",
             setting->name, source, value, PROXIES_MAX);
        return false;
    }
    memcpy((char *)settings + setting->offset, value, strlen(value) + 1);
    return true;
}

static bool
set(struct settings *settings, const struct setting *setting, const char *value, const char *source,
    struct settings_error *ret_error)
{
    if (setting->type == SETTING_RATE && strcmp(value, "auto") == 0) {
        const uint64_t later = RATE_AUTO;
        memcpy((char *)settings + setting->offset, &later, sizeof later);
        return true;
    }
    if (setting->type == SETTING_COUNT || setting->type == SETTING_BYTES || setting->type == SETTING_RATE)
        return set_number(settings, setting, value, source, ret_error);
    return set_text(settings, setting, value, source, ret_error);
}

struct file_reader {
    struct settings *settings;
    struct settings_error *error;
    const char *path;
    bool failed;
};

static int
file_setting(void *user, const char *section, const char *key, const char *value)
{
    struct file_reader *reader = user;
    char name[NAME_SIZE_LIMIT];
    if (reader->failed)
        return 0;
    reader->failed = true;
    int size = snprintf(name, sizeof name, "%s.%s", section, key);
    const struct setting *setting = size < (int)sizeof name ? find(name) : NULL;
    if (section[0] == '\0') {
        fail(reader->error,
             "%s: the setting '%s' stands before any [section]; expected one above it, such as [server]",
             reader->path, key);
        return 0;
    }
    if (setting == NULL || strcmp(setting->name, name) != 0) {
        fail(reader->error, "%s: unknown setting '%s' in section [%s]; the nearest known one is '%s'",
             reader->path, key, section, nearest(name));
        return 0;
    }
    if (!set(reader->settings, setting, value, reader->path, reader->error))
        return 0;
    reader->failed = false;
    return 1;
}

static bool
read_file(const char *path, struct settings *settings, struct settings_error *ret_error)
{
    struct file_reader reader = {settings, ret_error, path, false};
    int line = ini_parse(path, file_setting, &reader);
    if (reader.failed)
        return false;
    if (line < 0) {
        fail(ret_error, "cannot read the settings file '%s': %s", path, strerror(errno));
        return false;
    }
    if (line > 0) {
        fail(ret_error, "%s: line %d is neither [section] nor key = value", path, line);
        return false;
    }
    return true;
}

/* Is this a setting's name but for two letters at most? Then somebody meant it. */
static bool
nearly_ours(const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        char known[NAME_SIZE_LIMIT];
        (void)snprintf(known, sizeof known, "%s", settings_table[i].name); /* fits: names are ours */
        *strchr(known, '.') = '_';
        if (edit_distance(name, known) <= 2)
            return true;
    }
    return false;
}

/* HOLDFAST_NET_PIPELINE_MAX becomes net.pipeline_max. False: neither of a known section nor nearly a
 * setting, so not ours. */
static bool
environment_name(const char *variable, char *ret_name, const char **ret_value)
{
    static const char prefix[] = "HOLDFAST_";
    static const char *const sections[] = {"server", "journal", "net",   "core",
                                           "auth",   "rate",    "queue", "persist"};
    if (strncmp(variable, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *from = variable + sizeof prefix - 1;
    const char *equals = strchr(from, '=');
    if (equals == NULL || (size_t)(equals - from) >= NAME_SIZE_LIMIT)
        return false;
    size_t size = (size_t)(equals - from);
    for (size_t i = 0; i < size; i++)
        ret_name[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] + ('a' - 'A') : from[i]);
    ret_name[size] = '\0';
    *ret_value = equals + 1;
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        size_t section_size = strlen(sections[i]);
        if (strncmp(ret_name, sections[i], section_size) == 0 && ret_name[section_size] == '_') {
            ret_name[section_size] = '.';
            return true;
        }
    }
    return nearly_ours(ret_name);
}

static bool
read_environment(char *const environment[], struct settings *settings, struct settings_error *ret_error)
{
    for (; *environment != NULL; environment++) {
        char name[NAME_SIZE_LIMIT];
        const char *value;
        if (!environment_name(*environment, name, &value))
            continue;
        const struct setting *setting = find(name);
        int size = (int)(value - 1 - *environment);
        if (setting == NULL) {
            fail(ret_error, "environment: unknown setting %.*s; the nearest known one is '%s'", size,
                 *environment, nearest(name));
            return false;
        }
        if (!set(settings, setting, value, "environment", ret_error))
            return false;
    }
    return true;
}

/* One argument: its name without dashes, its value (here or in the next argument), how many were taken. */
static bool
argument(int argc, char *const argv[], int index, char *ret_name, const char **ret_value, int *ret_taken,
         struct settings_error *ret_error)
{
    const char *text = argv[index];
    if (strncmp(text, "--", 2) != 0 || text[2] == '\0') {
        fail(ret_error, "unexpected argument '%s': expected --section.key value", text);
        return false;
    }
    const char *name = text + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    if (size >= NAME_SIZE_LIMIT)
        size = NAME_SIZE_LIMIT - 1;
    memcpy(ret_name, name, size);
    ret_name[size] = '\0';
    if (find(ret_name) == NULL && strcmp(ret_name, "config") != 0) {
        fail(ret_error, "unknown setting '--%s'; the nearest known one is '--%s'", ret_name,
             nearest(ret_name));
        return false;
    }
    if (equals == NULL && index + 1 == argc) {
        fail(ret_error, "--%s: its value is missing", ret_name);
        return false;
    }
    *ret_value = equals != NULL ? equals + 1 : argv[index + 1];
    *ret_taken = equals != NULL ? 1 : 2;
    return true;
}

/* The arguments twice: first for the file they name, then for the settings. */
static bool
read_arguments(int argc, char *const argv[], struct settings *settings, const char **ret_config,
               struct settings_error *ret_error)
{
    int taken = 0;
    for (int i = 0; i < argc; i += taken) {
        char name[NAME_SIZE_LIMIT];
        const char *value;
        if (!argument(argc, argv, i, name, &value, &taken, ret_error))
            return false;
        if (strcmp(name, "config") == 0) {
            if (ret_config != NULL)
                *ret_config = value;
        } else if (settings != NULL && !set(settings, find(name), value, "command line", ret_error)) {
            return false;
        }
    }
    return true;
}

/* Port 0 is another one each time. Both are valid. */
static bool
listeners_same(const char *a, const char *b)
{
    struct listen_address first, second;
    char text[2][64];
    (void)listen_address_parse(a, &first);
    (void)listen_address_parse(b, &second);
    if (first.off || second.off)
        return false;
    listen_address_text(&first, text[0]);
    listen_address_text(&second, text[1]);
    return strcmp(text[0], text[1]) == 0 && strcmp(strrchr(text[0], ':'), ":0") != 0;
}

/* What one setting alone cannot tell; and what follows from several. */
static bool
check_together(struct settings *settings, struct settings_error *ret_error)
{
    bool open = false; /* beyond loopback */
    struct listen_address address;
    const char *const listeners[][2] = {{"server.http", settings->http}, {"server.resp", settings->resp}};
    for (size_t i = 0; i < 2; i++) {
        bool valid = listen_address_parse(listeners[i][1], &address);
        assert(valid);
        open |= !address.off && !address.loopback;
        if (!address.off && !address.loopback && settings->keys_file[0] == '\0') {
            fail(ret_error,
                 "%s: '%s': no keys file: a listener beyond loopback would let everyone in; make keys "
                 "(holdfast keys add --keys FILE NAME ROLE) and start with --keys FILE, or listen on "
                 "127.0.0.1 or [::1]",
                 listeners[i][0], listeners[i][1]);
            return false;
        }
    }
    if (settings->user_per_second == RATE_AUTO)
        settings->user_per_second = open ? USER_RATE_OPEN : 0;
    if (settings->address_per_second == RATE_AUTO)
        settings->address_per_second = open ? ADDRESS_RATE_OPEN : 0;
    if (strcmp(settings->http, "off") == 0 && strcmp(settings->resp, "off") == 0) {
        fail(ret_error, "server.http and server.resp are both off: nobody could reach this server");
        return false;
    }
    if (listeners_same(settings->http, settings->resp)) {
        fail(ret_error, "server.http and server.resp are both '%s': expected two ports", settings->http);
        return false;
    }
    if (settings->head_bytes_max > settings->request_bytes_max) {
        fail(ret_error,
             "net.head_bytes_max (%llu) is above net.request_bytes_max (%llu): the head is a part of the "
             "request",
             (unsigned long long)settings->head_bytes_max, (unsigned long long)settings->request_bytes_max);
        return false;
    }
    if (settings->holds_expected > settings->holds_max) {
        fail(ret_error,
             "core.holds_expected (%llu) is above core.holds_max (%llu): no more than these can come",
             (unsigned long long)settings->holds_expected, (unsigned long long)settings->holds_max);
        return false;
    }
    /* the batch's header and its last block that is not full, and the batch that closes the segment; the
     * file's header is one more */
    settings->segment_bytes -= settings->segment_bytes % BLOCK_BYTES;
    if (settings->batch_bytes_max + 3 * BLOCK_BYTES > settings->segment_bytes) {
        fail(
            ret_error,
            "core.batch_bytes_max (%llu) is too much for journal.segment_bytes (%llu): a segment must hold "
            "one batch and %u bytes besides",
            (unsigned long long)settings->batch_bytes_max, (unsigned long long)settings->segment_bytes,
            3 * BLOCK_BYTES);
        return false;
    }
    return true;
}

bool
settings_take_word(int *argc, char **argv, const char *word)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++)
        if (strcmp(argv[i], word) != 0)
            argv[kept++] = argv[i];
    bool found = kept < *argc;
    *argc = kept;
    return found;
}

bool
settings_read(int argc, char *const argv[], char *const environment[], struct settings *ret_settings,
              struct settings_error *ret_error)
{
    struct settings settings = {0};
    const char *config = NULL;
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        bool valid = set(&settings, &settings_table[i], settings_table[i].standard, "default", ret_error);
        assert(valid);
    }
    if (!read_arguments(argc, argv, NULL, &config, ret_error))
        return false;
    if (config != NULL && !read_file(config, &settings, ret_error))
        return false;
    if (!read_environment(environment, &settings, ret_error))
        return false;
    if (!read_arguments(argc, argv, &settings, NULL, ret_error))
        return false;
    if (!check_together(&settings, ret_error))
        return false;
    *ret_settings = settings;
    return true;
}

static unsigned
setting_of(const struct setting *setting)
{
    if (strcmp(setting->name, "server.data") == 0)
        return SETTINGS_OF_SERVER | SETTINGS_OF_PERSISTER;
    return strncmp(setting->name, "persist.", 8) == 0 ? SETTINGS_OF_PERSISTER : SETTINGS_OF_SERVER;
}

void
settings_help(FILE *file, enum settings_of of)
{
    fprintf(file, "Settings (also in the environment, HOLDFAST_SECTION_KEY, or as key = value under "
                  "[section] in the\n"
                  "file of --config FILE; the nearer to the command line, the stronger):\n\n");
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const struct setting *setting = &settings_table[i];
        if ((setting_of(setting) & of) == 0)
            continue;
        char names[2 * NAME_SIZE_LIMIT];
        (void)snprintf(names, sizeof names, "--%s%s%s", setting->name,
                       setting->short_name != NULL ? ", --" : "",
                       setting->short_name != NULL ? setting->short_name : ""); /* fits: names are ours */
        fprintf(file, "  %-36s %s%s%s (default %s)\n", names, setting->help,
                setting->choices != NULL ? "; one of: " : "",
                setting->choices != NULL ? setting->choices : "",
                setting->standard[0] != '\0' ? setting->standard : "none");
    }
}

static bool
parse_port(const char *text, uint16_t *ret_port)
{
    uint64_t port;
    if (!parse_number(text, false, &port) || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool
listen_address_parse(const char *text, struct listen_address *ret_address)
{
    struct listen_address result = {0};
    if (strcmp(text, "off") == 0) {
        result.off = true;
        *ret_address = result;
        return true;
    }
    const char *colon = strrchr(text, ':');
    uint16_t port;
    char host[64];
    if (colon == NULL || !parse_port(colon + 1, &port) || (size_t)(colon - text) >= sizeof host)
        return false;
    size_t size = (size_t)(colon - text);
    memcpy(host, text, size);
    host[size] = '\0';

    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&result.address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&result.address;
    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host[size - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
            return false;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        result.size = sizeof *v6;
        result.loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    } else {
        const char *numeric = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
        if (inet_pton(AF_INET, numeric, &v4->sin_addr) != 1)
            return false;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        result.size = sizeof *v4;
        result.loopback = (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    *ret_address = result;
    return true;
}

void
listen_address_text(const struct listen_address *address, char *ret_text)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->off) {
        memcpy(ret_text, "off", 4);
    } else if (address->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&address->address;
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host,
                        sizeof host); /* cannot fail: a known family, room enough */
        (void)snprintf(ret_text, 64, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&address->address;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host); /* likewise */
        (void)snprintf(ret_text, 64, "%s:%u", host, ntohs(v4->sin_port));
    }
}
