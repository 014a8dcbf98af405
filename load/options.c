/*
 * options.c - the arguments of `holdfast load`.
 *
 * Every figure has a range, and a figure out of it is an error that names option, value and range; nothing
 * is rounded in silence. What an option means for a load it does not belong to is nothing, and so is an
 * error too.
 */
#include "load/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: holdfast load deal  [options]             counted stock: every buyer takes units of one pool\n"
    "       holdfast load seats [options]             a hall: everybody is after the front rows\n"
    "       holdfast load raw   [options] -- WORD...  one command again and again; also against other "
    "servers\n"
    "       holdfast load table RESULT.json...        results of earlier loads (--json) beside each other\n"
    "\n"
    "Closed loop: every connection keeps --pipeline requests under way and asks again when one is "
    "answered; every\n"
    "request of a deal or a hall is another buyer, by a user id of its own. Afterwards what the buyers "
    "were told\n"
    "is counted (was anything promised twice?) and compared with what the server says.\n"
    "\n"
    "the server\n"
    "  --resp ADDR:PORT      where it answers                            (127.0.0.1:7781)\n"
    "  --connections N       in all                                      (50)\n"
    "  --pipeline N          requests under way on each connection       (1)\n"
    "  --threads N           of this program                             (1)\n"
    "  --patience SECONDS    fail when nothing is answered for so long   (30)\n"
    "\n"
    "deal and seats\n"
    "  --event NAME          made by the load; must have no holds yet    (a fresh name)\n"
    "  --buyers N                                                        (100)\n"
    "  --hold SECONDS        how long a hold lives                       (300)\n"
    "  --limit N             units a user; 0: no limit                   (0)\n"
    "  --confirm-share F     this share of the holders confirms at once  (0)\n"
    "  --audit-holds N       holds to look up one by one afterwards      (10000)\n"
    "  --kill PID            kill this process, the server, when half of all is held; somebody starts it\n"
    "                        again on the same port; the audit waits for it, at most --patience\n"
    "  --seed N              for the buyers' choices                     (1)\n"
    "  deal:  --stock N      units there are                             (10)\n"
    "         --quantity N   units a buyer wants                         (1)\n"
    "  seats: --rows N       rows of section A                           (200)\n"
    "         --seats-per-row N                                          (250)\n"
    "         --party-max N  a buyer wants 1 to N seats side by side     (4)\n"
    "         --best-share F this share asks for the best seats          (0.3)\n"
    "         --tries N      a refused buyer asks for other seats        (3)\n"
    "\n"
    "raw\n"
    "  --requests N          in all                                      (100000)\n"
    "  --seconds N           stop after so long, whatever --requests says\n"
    "  In a WORD {A-B} is a random number from A to B, and {#} the number of the request, from 0.\n"
    "\n"
    "  --label TEXT          the name of this load in the table\n"
    "  --json                one JSON object on standard output instead of the table\n"
    "\n"
    "Exit codes: 0 done, 1 failed or the audit found a difference, 2 usage.\n";

enum option_code {
    OPTION_RESP = 256,
    OPTION_CONNECTIONS,
    OPTION_PIPELINE,
    OPTION_THREADS,
    OPTION_PATIENCE,
    OPTION_EVENT,
    OPTION_BUYERS,
    OPTION_HOLD,
    OPTION_LIMIT,
    OPTION_CONFIRM_SHARE,
    OPTION_AUDIT_HOLDS,
    OPTION_KILL,
    OPTION_SEED,
    OPTION_STOCK,
    OPTION_QUANTITY,
    OPTION_ROWS,
    OPTION_SEATS_PER_ROW,
    OPTION_PARTY_MAX,
    OPTION_BEST_SHARE,
    OPTION_TRIES,
    OPTION_REQUESTS,
    OPTION_SECONDS,
    OPTION_LABEL,
    OPTION_JSON,
    OPTION_HELP,
};

static const struct option options_long[] = {
    {"resp", required_argument, NULL, OPTION_RESP},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"pipeline", required_argument, NULL, OPTION_PIPELINE},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"patience", required_argument, NULL, OPTION_PATIENCE},
    {"event", required_argument, NULL, OPTION_EVENT},
    {"buyers", required_argument, NULL, OPTION_BUYERS},
    {"hold", required_argument, NULL, OPTION_HOLD},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"confirm-share", required_argument, NULL, OPTION_CONFIRM_SHARE},
    {"audit-holds", required_argument, NULL, OPTION_AUDIT_HOLDS},
    {"kill", required_argument, NULL, OPTION_KILL},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"stock", required_argument, NULL, OPTION_STOCK},
    {"quantity", required_argument, NULL, OPTION_QUANTITY},
    {"rows", required_argument, NULL, OPTION_ROWS},
    {"seats-per-row", required_argument, NULL, OPTION_SEATS_PER_ROW},
    {"party-max", required_argument, NULL, OPTION_PARTY_MAX},
    {"best-share", required_argument, NULL, OPTION_BEST_SHARE},
    {"tries", required_argument, NULL, OPTION_TRIES},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"label", required_argument, NULL, OPTION_LABEL},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* Which loads an option is for. */
#define FOR(kind) (1u << (kind))
#define FOR_SALE  (FOR(LOAD_DEAL) | FOR(LOAD_SEATS))
#define FOR_LOAD  (FOR_SALE | FOR(LOAD_RAW))

static unsigned
option_kinds(int option)
{
    switch (option) {
    case OPTION_STOCK:
    case OPTION_QUANTITY:
        return FOR(LOAD_DEAL);
    case OPTION_ROWS:
    case OPTION_SEATS_PER_ROW:
    case OPTION_PARTY_MAX:
    case OPTION_BEST_SHARE:
    case OPTION_TRIES:
        return FOR(LOAD_SEATS);
    case OPTION_EVENT:
    case OPTION_BUYERS:
    case OPTION_HOLD:
    case OPTION_LIMIT:
    case OPTION_CONFIRM_SHARE:
    case OPTION_AUDIT_HOLDS:
    case OPTION_KILL:
        return FOR_SALE;
    case OPTION_REQUESTS:
    case OPTION_SECONDS:
        return FOR(LOAD_RAW);
    case OPTION_HELP:
        return FOR_LOAD | FOR(LOAD_TABLE);
    default:
        return FOR_LOAD;
    }
}

static bool
number_read(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < min || number > max) {
        fprintf(stderr, "holdfast load: --%s is '%s': expected a number from %llu to %llu\n", name, text,
                (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *ret_number = number;
    return true;
}

static bool
number32_read(const char *name, const char *text, uint32_t min, uint32_t max, uint32_t *ret_number)
{
    uint64_t number;
    if (!number_read(name, text, min, max, &number))
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

static bool
share_read(const char *name, const char *text, double *ret_share)
{
    char *end = NULL;
    double share = strtod(text, &end);
    if (end == text || *end != '\0' || !(share >= 0 && share <= 1)) {
        fprintf(stderr, "holdfast load: --%s is '%s': expected a share from 0 to 1\n", name, text);
        return false;
    }
    *ret_share = share;
    return true;
}

static bool
address_read(const char *text, struct load_options *options)
{
    const char *colon = strrchr(text, ':');
    size_t size = colon != NULL ? (size_t)(colon - text) : 0;
    uint64_t port;
    if (size == 0 || size >= sizeof options->address) {
        fprintf(stderr, "holdfast load: --resp is '%s': expected ADDR:PORT, such as 127.0.0.1:7781\n",
                text);
        return false;
    }
    if (!number_read("resp (its port)", colon + 1, 1, UINT16_MAX, &port))
        return false;
    memcpy(options->address, text, size);
    options->address[size] = '\0';
    options->port = (uint16_t)port;
    return true;
}

/* The characters that the interface allows in an event's name. */
static bool
event_read(const char *text, struct load_options *options)
{
    size_t size = strlen(text);
    size_t plain = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@-");
    if (size == 0 || size > EVENT_ID_SIZE_MAX || plain != size) {
        fprintf(stderr, "holdfast load: --event is '%s': expected 1 to %d of A-Z a-z 0-9 . _ : @ -\n", text,
                EVENT_ID_SIZE_MAX);
        return false;
    }
    memcpy(options->event, text, size + 1);
    return true;
}

static bool
option_read(const char *name, int option, const char *text, struct load_options *options)
{
    switch (option) {
    case OPTION_RESP:
        return address_read(text, options);
    case OPTION_CONNECTIONS:
        return number32_read(name, text, 1, LOAD_CONNECTIONS_MAX, &options->connections);
    case OPTION_PIPELINE:
        return number32_read(name, text, 1, LOAD_PIPELINE_MAX, &options->pipeline);
    case OPTION_THREADS:
        return number32_read(name, text, 1, LOAD_THREADS_MAX, &options->threads);
    case OPTION_PATIENCE:
        return number32_read(name, text, 1, 3600, &options->patience_seconds);
    case OPTION_EVENT:
        return event_read(text, options);
    case OPTION_BUYERS:
    case OPTION_REQUESTS:
        return number_read(name, text, 1, LOAD_BUYERS_MAX, &options->buyers);
    case OPTION_HOLD:
        return number32_read(name, text, 1, SECONDS_MAX, &options->hold_seconds);
    case OPTION_LIMIT:
        return number32_read(name, text, 0, UNITS_PER_USER_MAX, &options->limit);
    case OPTION_CONFIRM_SHARE:
        return share_read(name, text, &options->confirm_share);
    case OPTION_AUDIT_HOLDS:
        return number_read(name, text, 0, LOAD_BUYERS_MAX, &options->audit_holds);
    case OPTION_SEED:
        return number_read(name, text, 0, UINT64_MAX, &options->seed);
    case OPTION_STOCK:
        return number32_read(name, text, 1, POOL_CAPACITY_MAX, &options->stock);
    case OPTION_QUANTITY:
        return number32_read(name, text, 1, UINT16_MAX, &options->quantity);
    case OPTION_KILL:
        return number32_read(name, text, 2, 1u << 30, &options->kill_pid);
    case OPTION_ROWS:
        return number32_read(name, text, 1, ROWS_MAX, &options->rows);
    case OPTION_SEATS_PER_ROW:
        return number32_read(name, text, 1, ROW_SEATS_MAX, &options->row_seats);
    case OPTION_PARTY_MAX:
        return number32_read(name, text, 1, LOAD_PARTY_MAX, &options->party_max);
    case OPTION_BEST_SHARE:
        return share_read(name, text, &options->best_share);
    case OPTION_TRIES:
        return number32_read(name, text, 1, 100, &options->tries);
    case OPTION_SECONDS:
        return number32_read(name, text, 1, 86400, &options->seconds);
    case OPTION_LABEL:
        options->label = text;
        return true;
    case OPTION_JSON:
        options->json = true;
        return true;
    default:
        return false;
    }
}

static bool
kind_read(const char *word, enum load_kind *ret_kind)
{
    static const char *const kinds[] = {
        [LOAD_DEAL] = "deal", [LOAD_SEATS] = "seats", [LOAD_RAW] = "raw", [LOAD_TABLE] = "table"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(word, kinds[i]) == 0) {
            *ret_kind = (enum load_kind)i;
            return true;
        }
    }
    return false;
}

static void
defaults_set(struct load_options *options)
{
    *options = (struct load_options){
        .address = "127.0.0.1",
        .port = 7781,
        .connections = 50,
        .pipeline = 1,
        .threads = 1,
        .patience_seconds = 30,
        .seed = 1,
        .stock = 10,
        .rows = 200,
        .row_seats = 250,
        .hold_seconds = 300,
        .buyers = 100,
        .quantity = 1,
        .party_max = 4,
        .tries = 3,
        .best_share = 0.3,
        .audit_holds = 10000,
    };
}

/* What one option alone cannot say. */
static int
options_check(struct load_options *options)
{
    bool with_words = options->kind == LOAD_RAW || options->kind == LOAD_TABLE;
    if (with_words && options->word_count == 0) {
        fprintf(stderr, "holdfast load: %s\n",
                options->kind == LOAD_RAW ? "raw needs a command after --, such as: raw -- PING"
                                          : "table needs files with results (--json)");
        return 2;
    }
    if (!with_words && options->word_count > 0) {
        fprintf(stderr, "holdfast load: '%s' is no option: see holdfast load --help\n", options->words[0]);
        return 2;
    }
    if (options->kind == LOAD_SEATS && options->party_max > options->row_seats) {
        fprintf(stderr, "holdfast load: --party-max is %u: expected at most the %u seats of a row\n",
                options->party_max, options->row_seats);
        return 2;
    }
    if (options->threads > options->connections)
        options->threads = options->connections;
    if (options->event[0] == '\0')
        snprintf(options->event, sizeof options->event, "load-%lld-%d", (long long)time(NULL),
                 (int)getpid());
    return -1;
}

int
options_read(int argc, char **argv, struct load_options *ret_options)
{
    struct load_options options;
    defaults_set(&options);
    if (argc < 2) {
        fputs(help, stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (!kind_read(argv[1], &options.kind)) {
        fprintf(stderr, "holdfast load: '%s' is not known: expected deal, seats, raw or table (--help)\n",
                argv[1]);
        return 2;
    }
    if (options.kind == LOAD_RAW)
        options.buyers = 100000;
    char **arguments = argv + 1; /* getopt takes the first for the program's name */
    int index = 0;
    optind = 0; /* main has scanned its own */
    opterr = 0;
    for (int option; (option = getopt_long(argc - 1, arguments, "+h", options_long, &index)) != -1;) {
        if (option == 'h' || option == OPTION_HELP) {
            fputs(help, stdout);
            return 0;
        }
        if (option == '?') {
            fprintf(stderr,
                    "holdfast load: '%s' is not known or lacks its value: see holdfast load --help\n",
                    arguments[optind - 1]);
            return 2;
        }
        if ((option_kinds(option) & FOR(options.kind)) == 0) {
            fprintf(stderr, "holdfast load: --%s has no meaning for %s: see holdfast load --help\n",
                    options_long[index].name, argv[1]);
            return 2;
        }
        if (!option_read(options_long[index].name, option, optarg, &options))
            return 2;
    }
    options.words = arguments + optind;
    options.word_count = argc - 1 - optind;
    int code = options_check(&options);
    if (code != -1)
        return code;
    *ret_options = options;
    if (options.label == NULL) /* after the copy, or it would point into this function's own */
        ret_options->label = options.kind == LOAD_RAW ? options.words[0] : ret_options->event;
    return -1;
}
