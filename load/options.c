/*
 * options.c - the arguments of `holdfast load`.
 *
 * One table has every option: its name, which loads take it, its range, its default, a line of help. A
 * figure out of range is an error that names option, value and range; nothing is rounded in silence. What
 * an option means for a load it does not belong to is nothing, and so is an error too.
 *
 * An API key is never an argument, where anybody could read it (ps): it comes from a file or the
 * environment.
 */
#include "load/options.h"

#include "load/workload.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum value_type {
    VALUE_FLAG,
    VALUE_NUMBER32,
    VALUE_NUMBER64,
    VALUE_REAL,
    VALUE_TEXT,
    VALUE_OWN, /* read by a function */
};

struct option_row {
    const char *name;
    unsigned groups;
    enum value_type type;
    size_t offset;
    double min, max;
    bool (*read)(const char *name, const char *text, struct load_options *options);
    const char *value; /* for help */
    const char *help;
    const char *otherwise; /* default, for help */
};

static bool
number_read(const char *name, const char *text, double min, double max, uint64_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || (double)number < min ||
        (double)number > max) {
        fprintf(stderr, "holdfast load: --%s is '%s': expected a number from %.0f to %.0f\n", name, text,
                min, max);
        return false;
    }
    *ret_number = number;
    return true;
}

static bool
real_read(const char *name, const char *text, double min, double max, double *ret_real)
{
    char *end = NULL;
    double real = strtod(text, &end);
    if (end == text || *end != '\0' || !(real >= min && real <= max)) {
        fprintf(stderr, "holdfast load: --%s is '%s': expected %s from %g to %g\n", name, text,
                max == 1 ? "a share" : "a number", min, max);
        return false;
    }
    *ret_real = real;
    return true;
}

static bool
place_read(const char *name, const char *text, struct load_options *options)
{
    const char *colon = strrchr(text, ':');
    bool bracket = text[0] == '[' && colon != NULL && colon[-1] == ']'; /* [::1]:7781 */
    const char *first = bracket ? text + 1 : text;
    size_t size = colon != NULL ? (size_t)(colon - first) - bracket : 0;
    uint64_t port;
    if (size == 0 || size >= sizeof options->place.address) {
        fprintf(stderr, "holdfast load: --%s is '%s': expected ADDR:PORT, such as 127.0.0.1:7781\n", name,
                text);
        return false;
    }
    if (!number_read(name, colon + 1, 1, UINT16_MAX, &port))
        return false;
    memcpy(options->place.address, first, size);
    options->place.address[size] = '\0';
    options->place.port = (uint16_t)port;
    options->protocol = strcmp(name, "http") == 0 ? &http_client : &resp_client;
    return true;
}

/* The characters that the interface allows in an event's name. */
static bool
event_read(const char *name, const char *text, struct load_options *options)
{
    size_t size = strlen(text);
    size_t plain = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-");
    if (size == 0 || size > EVENT_ID_SIZE_MAX || plain != size) {
        fprintf(stderr, "holdfast load: --%s is '%s': expected 1 to %d of A-Z a-z 0-9 . _ : @ -\n", name,
                text, EVENT_ID_SIZE_MAX);
        return false;
    }
    memcpy(options->event, text, size + 1);
    return true;
}

static bool
arrivals_read(const char *name, const char *text, struct load_options *options)
{
    char error[160];
    schedule_done(&options->schedule);
    if (!schedule_read(text, &options->schedule, error)) {
        fprintf(stderr, "holdfast load: --%s: %s\n", name, error);
        return false;
    }
    options->open_loop = true;
    return true;
}

static bool
wait_read(const char *name, const char *text, struct load_options *options)
{
    static const char *const ways[] = {
        [WAIT_POLL] = "poll", [WAIT_LONG_POLL] = "long-poll", [WAIT_WATCH] = "watch"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (strcmp(text, ways[i]) == 0) {
            options->wait = (enum wait_way)i;
            return true;
        }
    }
    fprintf(stderr, "holdfast load: --%s is '%s': expected poll, long-poll or watch\n", name, text);
    return false;
}

static bool
key_take(const char *text, struct load_options *options)
{
    free(options->key);
    options->key = strndup(text, strcspn(text, "\r\n"));
    options->place.key = options->key;
    return options->key != NULL;
}

/* The first line of a file. */
static bool
key_file_read(const char *name, const char *text, struct load_options *options)
{
    char line[512];
    FILE *file = fopen(text, "r");
    bool read = file != NULL && fgets(line, sizeof line, file) != NULL && line[0] != '\n' &&
                strchr(line, ' ') == NULL;
    int error = errno;
    if (file != NULL)
        (void)fclose(file); /* only read */
    if (!read) {
        fprintf(stderr, "holdfast load: --%s: could not read a key from %s: %s\n", name, text,
                file == NULL ? strerror(error) : "expected one line with nothing but the key");
        return false;
    }
    return key_take(line, options);
}

static bool
server_read(const char *name, const char *text, struct load_options *options)
{
    uint64_t pid;
    if (options->server_count == LOAD_SERVERS_MAX) {
        fprintf(stderr, "holdfast load: --%s: expected at most %d\n", name, LOAD_SERVERS_MAX);
        return false;
    }
    if (!number_read(name, text, 1, 1u << 30, &pid))
        return false;
    options->server_pids[options->server_count++] = (uint32_t)pid;
    return true;
}

static bool
output_read(const char *name, const char *text, struct load_options *options)
{
    (void)text; /* takes none */
    options->output = strcmp(name, "csv") == 0 ? OUTPUT_CSV : OUTPUT_JSON;
    return true;
}

#define AT(member) offsetof(struct load_options, member)
#define NUMBER(name, groups, member, min, max, help, otherwise)                                            \
    {                                                                                                      \
        name, groups, VALUE_NUMBER32, AT(member), min, max, NULL, "N", help, otherwise                     \
    }
#define NUMBER64(name, groups, member, min, max, help, otherwise)                                          \
    {                                                                                                      \
        name, groups, VALUE_NUMBER64, AT(member), min, max, NULL, "N", help, otherwise                     \
    }
#define SHARE(name, groups, member, help, otherwise)                                                       \
    {                                                                                                      \
        name, groups, VALUE_REAL, AT(member), 0, 1, NULL, "F", help, otherwise                             \
    }
#define TEXT(name, groups, member, value, help)                                                            \
    {                                                                                                      \
        name, groups, VALUE_TEXT, AT(member), 0, 0, NULL, value, help, ""                                  \
    }
#define FLAG(name, groups, member, help)                                                                   \
    {                                                                                                      \
        name, groups, VALUE_FLAG, AT(member), 0, 0, NULL, NULL, help, ""                                   \
    }
#define OWN(name, groups, read, value, help, otherwise)                                                    \
    {                                                                                                      \
        name, groups, VALUE_OWN, 0, 0, 0, read, value, help, otherwise                                     \
    }

#define OPTIONS_TABLE 512u /* for `load table` */

static const struct option_row rows[] = {
    /* clang-format off */
    OWN("resp", OPTIONS_ALL, place_read, "ADDR:PORT", "where it answers, over RESP", "127.0.0.1:7781"),
    OWN("http", OPTIONS_ALL, place_read, "ADDR:PORT", "the same over HTTP instead", ""),
    OWN("key-file", OPTIONS_ALL, key_file_read, "FILE", "an API key, of an operator; or " LOAD_KEY_ENVIRONMENT " in the environment", ""),
    TEXT("target", OPTIONS_ALL, place.target, "TEXT", "for workloads that need more than a port"),
    FLAG("null", OPTIONS_NULL, null, "no server, but one that answers at once: what this client can at most"),
    NUMBER("connections", OPTIONS_ALL, connections, 1, LOAD_CONNECTIONS_MAX, "in all", "50"),
    NUMBER("pipeline", OPTIONS_ALL, pipeline, 1, LOAD_PIPELINE_MAX, "requests under way on each connection", "1"),
    NUMBER("threads", OPTIONS_ALL, threads, 1, LOAD_THREADS_MAX, "of this program", "1"),
    NUMBER("patience", OPTIONS_ALL, patience_seconds, 1, 3600, "fail when nothing is answered for so many seconds", "30"),
    OWN("arrivals", OPTIONS_ALL, arrivals_read, "SCHEDULE", "open loop: 5000, 1000-20000@30, 100@10,900@5 or trace:FILE", "closed loop"),
    NUMBER64("backlog", OPTIONS_ALL, backlog, 0, LOAD_BACKLOG_MAX, "arrivals in front of busy connections; more are dropped, and counted", "100000"),
    NUMBER("seconds", OPTIONS_ALL, seconds, 1, 86400, "begin nothing new after so many seconds", ""),
    NUMBER64("seed", OPTIONS_ALL, seed, 0, 18446744073709549568.0, "for all dice", "1"),

    OWN("event", OPTIONS_EVENT, event_read, "NAME", "made by the load; must have no holds yet", "a fresh name"),
    NUMBER64("buyers", OPTIONS_EVENT, buyers, 1, LOAD_BUYERS_MAX, "who come", "100, or the schedule's"),
    NUMBER("hold", OPTIONS_EVENT, hold_seconds, 1, SECONDS_MAX, "seconds a hold lives", "300"),
    NUMBER("limit", OPTIONS_EVENT, limit, 0, UNITS_PER_USER_MAX, "units a user; 0: no limit", "0"),
    SHARE("confirm-share", OPTIONS_PAY, confirm_share, "so many of the holders pay", "0; open: 0.8"),
    SHARE("release-share", OPTIONS_SALE, release_share, "of those who do not pay: so many give back, the others just go", "0"),
    NUMBER64("audit-holds", OPTIONS_EVENT, audit_holds, 0, LOAD_BUYERS_MAX, "holds to look up one by one afterwards", "10000"),
    NUMBER("kill", OPTIONS_SALE, kill_pid, 2, 1u << 30, "kill this process, the server, when half of all is held; somebody starts it again", ""),

    NUMBER("stock", OPTIONS_POOL, stock, 1, POOL_CAPACITY_MAX, "units there are", "10"),
    NUMBER("quantity", OPTIONS_POOL, quantity, 1, UINT16_MAX, "units a buyer wants", "1"),

    NUMBER("rows", OPTIONS_SEATS, rows, 1, ROWS_MAX, "rows of section A", "200"),
    NUMBER("seats-per-row", OPTIONS_SEATS, row_seats, 1, ROW_SEATS_MAX, "", "250"),
    NUMBER("party-max", OPTIONS_SEATS, party_max, 1, LOAD_PARTY_MAX, "a buyer wants 1 to N seats side by side", "4"),
    SHARE("best-share", OPTIONS_SEATS, best_share, "this share asks for the best seats", "0.3"),
    {"zipf", OPTIONS_SEATS, VALUE_REAL, AT(zipf), 0, 10, NULL, "S", "row r is wanted with a weight of 1/r^S", "1"},
    NUMBER("tries", OPTIONS_SEATS, tries, 1, 100, "a refused buyer asks for other seats", "3; open: 20"),

    NUMBER("active-max", OPTIONS_ROOM, active_max, 1, QUEUE_ACTIVE_MAX, "people who may choose at once", "100"),
    NUMBER("active-seconds", OPTIONS_ROOM, active_seconds, 1, SECONDS_MAX, "how long one may", "300"),
    NUMBER("grace", OPTIONS_ROOM, grace_seconds, 1, SECONDS_MAX, "seconds of silence that end a place", "60"),
    OWN("wait", OPTIONS_ROOM, wait_read, "WAY", "poll; long-poll (HTTP); watch (RESP)", "watch; HTTP: poll"),
    NUMBER("wait-connections", OPTIONS_ROOM, wait_connections, 1, LOAD_CONNECTIONS_MAX, "for watches and long polls, besides the others", "enough"),
    NUMBER("poll-ms", OPTIONS_ROOM, poll_ms, 1, 3600000, "between two polls, where the server does not say", "5000"),
    NUMBER("think-ms", OPTIONS_ROOM, think_ms, 0, 3600000, "between two steps of a person, on average", "1000"),
    SHARE("vanish-share", OPTIONS_ROOM, vanish_share, "of those who do not pay: so many just go, the others give back", "0.2"),
    SHARE("barge-share", OPTIONS_ROOM, barge_share, "of those who wait: so many try to hold all the same", "0"),
    SHARE("twice-share", OPTIONS_ROOM, twice_share, "so many join twice at once", "0"),
    SHARE("cut-share", OPTIONS_ROOM, cut_share, "so many answers are cut off; the request is repeated", "0"),

    NUMBER64("requests", OPTIONS_RAW, buyers, 1, LOAD_BUYERS_MAX, "in all; in a WORD {A-B} is a random number, {#} the request's", "100000"),

    OWN("server", OPTIONS_ALL, server_read, "PID", "tell its processor time and writes, its children's too; may be repeated", ""),
    TEXT("label", OPTIONS_ALL, label, "TEXT", "the name of this load in the table"),
    OWN("json", OPTIONS_ALL | OPTIONS_TABLE, output_read, NULL, "one JSON object instead of the table", ""),
    OWN("csv", OPTIONS_ALL | OPTIONS_TABLE, output_read, NULL, "CSV instead of the table", ""),
    TEXT("series", OPTIONS_ALL, series, "FILE", "counts over time, CSV"),
    TEXT("latencies", OPTIONS_ALL, latencies, "FILE", "the whole distribution of latencies, CSV"),
    /* clang-format on */
};

#define ROW_COUNT   (sizeof rows / sizeof rows[0])
#define OPTION_HELP 255

static void
help_group(FILE *file, unsigned group, const char *title)
{
    (void)fprintf(file, "\n%s\n", title);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct option_row *row = &rows[i];
        char name[64];
        if ((row->groups & group) == 0)
            continue;
        snprintf(name, sizeof name, "--%s %s", row->name, row->value != NULL ? row->value : "");
        (void)fprintf(file, "  %-22s %s%s%s%s\n", name, row->help, row->otherwise[0] != '\0' ? " (" : "",
                      row->otherwise, row->otherwise[0] != '\0' ? ")" : "");
    }
}

/* Who asks: argv[0] is the word behind holdfast, or behind holdfast bench. */
static const char *
command_of(char **argv)
{
    return strcmp(argv[0], "rival") == 0 ? "bench rival" : "load";
}

static void
help(FILE *file, const char *command, const struct workload_kind *const *kinds)
{
    static const struct {
        unsigned group;
        const char *title;
    } groups[] = {
        {OPTIONS_ALL, "all loads"},
        {OPTIONS_NULL, "deal, raw"},
        {OPTIONS_EVENT, "what is on sale"},
        {OPTIONS_PAY, "who pays"},
        {OPTIONS_SALE, "deal, hall"},
        {OPTIONS_POOL, "deal"},
        {OPTIONS_SEATS, "hall, storm, open"},
        {OPTIONS_ROOM, "open"},
        {OPTIONS_RAW, "raw"},
    };
    (void)fprintf(file, "usage: holdfast %s KIND [options]\n\n", command);
    for (size_t i = 0; kinds[i] != NULL; i++)
        (void)fprintf(file, "  %-8s %s\n", kinds[i]->name, kinds[i]->help);
    (void)fprintf(
        file,
        "  table    no load: results of earlier ones (--json) beside each other: table [--csv] FILE...\n"
        "  null     no load: a server that answers at once: null --resp ADDR:PORT | --http ADDR:PORT\n"
        "\n"
        "Closed loop (the default): every connection keeps --pipeline requests under way. Open loop\n"
        "(--arrivals): buyers come by the schedule whatever the server does, and latency counts from when\n"
        "they should have been served. Afterwards what the buyers were told is counted (was anything\n"
        "promised twice?) and compared with what the server says.\n");
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        help_group(file, groups[i].group, groups[i].title);
    (void)fprintf(file, "\nExit codes: 0 done, 1 failed or the audit found a difference, 2 usage.\n");
}

static bool
value_read(const struct option_row *row, const char *text, struct load_options *options)
{
    char *at = (char *)options + row->offset;
    uint64_t number;
    switch (row->type) {
    case VALUE_FLAG:
        *(bool *)at = true;
        return true;
    case VALUE_NUMBER32:
        if (!number_read(row->name, text, row->min, row->max, &number))
            return false;
        *(uint32_t *)(void *)at = (uint32_t)number;
        return true;
    case VALUE_NUMBER64:
        if (!number_read(row->name, text, row->min, row->max, &number))
            return false;
        *(uint64_t *)(void *)at = number;
        return true;
    case VALUE_REAL:
        return real_read(row->name, text, row->min, row->max, (double *)(void *)at);
    case VALUE_TEXT:
        *(const char **)(void *)at = text;
        return true;
    case VALUE_OWN:
        return row->read(row->name, text, options);
    }
    return false;
}

static void
defaults_set(const struct workload_kind *kind, struct load_options *options)
{
    bool room = kind != NULL && (kind->options & OPTIONS_ROOM) != 0;
    *options = (struct load_options){
        .workload = kind,
        .protocol = &resp_client,
        .place = {.address = "127.0.0.1", .port = 7781},
        .connections = 50,
        .pipeline = 1,
        .threads = 1,
        .patience_seconds = 30,
        .seed = 1,
        .backlog = 100000,
        .stock = 10,
        .rows = 200,
        .row_seats = 250,
        .hold_seconds = 300,
        .quantity = 1,
        .party_max = 4,
        .tries = room ? 20 : 3,
        .best_share = 0.3,
        .zipf = 1,
        .confirm_share = room ? 0.8 : 0,
        .audit_holds = 10000,
        .active_max = 100,
        .active_seconds = 300,
        .grace_seconds = 60,
        .wait = WAIT_WATCH,
        .poll_ms = 5000,
        .think_ms = 1000,
        .vanish_share = 0.2,
    };
}

/* A person's watches on one connection; net/watch.c allows 65,536. */
#define WATCHES_OF_CONNECTION 30000u

static bool
room_check(struct load_options *options, bool wait_chosen)
{
    bool http = options->protocol == &http_client;
    if (!wait_chosen)
        options->wait = http ? WAIT_POLL : WAIT_WATCH;
    if (options->wait == (http ? WAIT_WATCH : WAIT_LONG_POLL)) {
        fprintf(stderr, "holdfast load: --wait: %s\n",
                http ? "push messages are RESP's: expected poll or long-poll"
                     : "long polls are HTTP's: expected poll or watch");
        return false;
    }
    if (options->wait == WAIT_POLL)
        options->wait_connections = 0;
    else if (options->wait_connections == 0 && options->wait == WAIT_WATCH)
        options->wait_connections = (uint32_t)(options->buyers / WATCHES_OF_CONNECTION) + options->threads;
    else if (options->wait_connections == 0)
        options->wait_connections = options->connections;
    if (options->wait_connections > 0 && options->wait_connections < options->threads)
        options->wait_connections = options->threads;
    return true;
}

/* What one option alone cannot say. */
static int
options_check(struct load_options *options, bool wait_chosen)
{
    const struct workload_kind *kind = options->workload;
    bool raw = kind != NULL && (kind->options & OPTIONS_RAW) != 0;
    bool with_words = raw || kind == NULL;
    if (with_words && options->word_count == 0) {
        fprintf(stderr, "holdfast load: %s\n",
                raw ? "raw needs a command after --, such as: raw -- PING"
                    : "table needs files with results (--json)");
        return 2;
    }
    if (!with_words && options->word_count > 0) {
        fprintf(stderr, "holdfast load: '%s' is no option: see holdfast load --help\n", options->words[0]);
        return 2;
    }
    if (kind == NULL)
        return -1;
    if ((kind->options & OPTIONS_SEATS) != 0 && options->party_max > options->row_seats) {
        fprintf(stderr, "holdfast load: --party-max is %u: expected at most the %u seats of a row\n",
                options->party_max, options->row_seats);
        return 2;
    }
    uint64_t scheduled = options->open_loop ? schedule_count(&options->schedule) : UINT64_MAX;
    if (options->buyers == 0)
        options->buyers = scheduled != UINT64_MAX ? scheduled : raw ? 100000 : 100;
    if (options->buyers > scheduled)
        options->buyers = scheduled;
    if (options->buyers > LOAD_BUYERS_MAX)
        options->buyers = LOAD_BUYERS_MAX;
    if (options->threads > options->connections)
        options->threads = options->connections;
    if ((kind->options & OPTIONS_ROOM) != 0 && !room_check(options, wait_chosen))
        return 2;
    if ((kind->options & OPTIONS_ROOM) == 0)
        options->wait_connections = 0;
    if (options->event[0] == '\0')
        snprintf(options->event, sizeof options->event, "load-%lld-%d", (long long)time(NULL),
                 (int)getpid());
    return -1;
}

static bool
kind_find(const char *word, const struct workload_kind *const *kinds, const struct workload_kind **ret_kind)
{
    *ret_kind = NULL;
    if (strcmp(word, "table") == 0)
        return true;
    if (strcmp(word, "seats") == 0)
        word = "hall"; /* what it was called */
    for (size_t i = 0; kinds[i] != NULL; i++) {
        if (strcmp(word, kinds[i]->name) == 0) {
            *ret_kind = kinds[i];
            return true;
        }
    }
    fprintf(stderr, "holdfast load: '%s' is not known: expected ", word);
    for (size_t i = 0; kinds[i] != NULL; i++)
        fprintf(stderr, "%s, ", kinds[i]->name);
    fprintf(stderr, "table or null (--help)\n");
    return false;
}

static void
long_options(struct option *ret_options)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        ret_options[i] = (struct option){
            rows[i].name, rows[i].value != NULL ? required_argument : no_argument, NULL, 256 + (int)i};
    ret_options[ROW_COUNT] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    ret_options[ROW_COUNT + 1] = (struct option){NULL, 0, NULL, 0};
}

/* All options; -1, or the exit code. */
static int
arguments_read(int argc, char **argv, const struct workload_kind *const *kinds,
               struct load_options *options)
{
    struct option names[ROW_COUNT + 2];
    const struct workload_kind *kind = options->workload;
    unsigned groups = kind != NULL ? kind->options | OPTIONS_ALL : OPTIONS_TABLE;
    bool wait_chosen = false;
    long_options(names);
    optind = 0; /* main has scanned its own */
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "+h", names, NULL)) != -1;) {
        if (option == 'h' || option == OPTION_HELP) {
            help(stdout, command_of(argv), kinds);
            return 0;
        }
        if (option == '?') {
            fprintf(stderr,
                    "holdfast load: '%s' is not known or lacks its value: see holdfast load --help\n",
                    argv[optind - 1]);
            return 2;
        }
        const struct option_row *row = &rows[option - 256];
        if ((row->groups & groups) == 0) {
            fprintf(stderr, "holdfast load: --%s has no meaning for %s: see holdfast load --help\n",
                    row->name, argv[0]);
            return 2;
        }
        if (!value_read(row, optarg, options))
            return 2;
        wait_chosen = wait_chosen || row->read == wait_read;
    }
    options->words = argv + optind;
    options->word_count = argc - optind;
    return options_check(options, wait_chosen);
}

int
options_read(int argc, char **argv, const struct workload_kind *const *kinds,
             struct load_options *ret_options)
{
    struct load_options options;
    const struct workload_kind *kind;
    if (argc < 2) {
        help(stderr, command_of(argv), kinds);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout, command_of(argv), kinds);
        return 0;
    }
    if (!kind_find(argv[1], kinds, &kind))
        return 2;
    defaults_set(kind, &options);
    const char *key = getenv(LOAD_KEY_ENVIRONMENT);
    if (key != NULL && !key_take(key, &options))
        return 1;
    /* getopt takes the kind for the program's name */
    int code = arguments_read(argc - 1, argv + 1, kinds, &options);
    if (code != -1) {
        options_done(&options);
        return code;
    }
    *ret_options = options;
    if (options.label == NULL) /* after the copy, or it would point into this function's own */
        ret_options->label = options.word_count > 0 ? options.words[0] : ret_options->event;
    return -1;
}

void
options_done(struct load_options *options)
{
    schedule_done(&options->schedule);
    if (options->key != NULL)
        explicit_bzero(options->key, strlen(options->key));
    free(options->key);
    options->key = NULL;
}
