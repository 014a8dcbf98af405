/*
 * options.h - what `holdfast load` is asked to do.
 */
#ifndef HOLDFAST_LOAD_OPTIONS_H
#define HOLDFAST_LOAD_OPTIONS_H

#include "holdfast/limits.h"
#include "holdfast/types.h"
#include "load/client.h"
#include "load/schedule.h"

struct workload_kind;

#define LOAD_CONNECTIONS_MAX 20000
#define LOAD_PIPELINE_MAX    1024
#define LOAD_THREADS_MAX     64
#define LOAD_BUYERS_MAX      1000000000u
#define LOAD_PARTY_MAX       8
#define LOAD_RAW_WORDS_MAX   32
#define LOAD_BACKLOG_MAX     100000000u
#define LOAD_SERVERS_MAX     8
#define LOAD_KEY_ENVIRONMENT "HOLDFAST_LOAD_KEY"

/* Groups of options; a workload says which it takes, and an option of none of these is an error. */
#define OPTIONS_ALL   1u  /* every load */
#define OPTIONS_EVENT 2u  /* an event of its own, and buyers */
#define OPTIONS_POOL  4u  /* counted stock */
#define OPTIONS_SEATS 8u  /* a hall */
#define OPTIONS_PAY   16u /* some confirm */
#define OPTIONS_ROOM  32u /* a waiting room */
#define OPTIONS_RAW   64u
#define OPTIONS_SALE  128u
#define OPTIONS_NULL  256u /* the null server can stand in */

enum output_form {
    OUTPUT_TEXT,
    OUTPUT_JSON,
    OUTPUT_CSV,
};

enum wait_way {
    WAIT_POLL,
    WAIT_LONG_POLL,
    WAIT_WATCH,
};

struct load_options {
    const struct workload_kind *workload;

    /* the server, and how it is spoken to */
    const struct client_kind *protocol; /* RESP or HTTP */
    struct client_place place;
    uint32_t connections;
    uint32_t wait_connections; /* besides, for those who wait */
    uint32_t pipeline;         /* requests under way on each connection */
    uint32_t threads;
    uint32_t patience_seconds; /* without any answer for so long the load has failed */
    uint64_t seed;
    bool null; /* a server that answers at once and sells nothing, started by the load itself */

    /* when they come; closed loop where open_loop is false */
    bool open_loop;
    struct schedule schedule;
    uint64_t backlog; /* who may stand in front of busy connections; more are dropped */
    uint32_t seconds; /* begin nothing new after so long; 0: no matter */

    /* what is on sale */
    char event[EVENT_ID_SIZE_MAX + 1];
    uint32_t stock;
    uint32_t rows;
    uint32_t row_seats;
    uint32_t hold_seconds;
    uint32_t limit; /* units a user; 0: none */

    /* who buys */
    uint64_t buyers;      /* raw: requests */
    uint32_t quantity;    /* deal: units a buyer */
    uint32_t party_max;   /* seats: a buyer wants 1 to so many */
    uint32_t tries;       /* seats: a buyer who is refused seats asks for others, up to so often in all */
    double best_share;    /* seats: so many ask for BEST rather than for seats by name */
    double zipf;          /* seats: how much the front rows are preferred */
    double confirm_share; /* so many of those who hold confirm */
    double release_share; /* deal, hall: so many of the others give back */

    /* the waiting room */
    uint32_t active_max;
    uint32_t active_seconds;
    uint32_t grace_seconds;
    enum wait_way wait;
    uint32_t poll_ms;
    uint32_t think_ms;   /* between two steps of a buyer, on average */
    double vanish_share; /* of those who hold and do not pay: so many just go, the others give back */
    double barge_share;  /* of those who wait: so many try to hold all the same */
    double twice_share;  /* so many join twice at once */
    double cut_share;    /* so many answers are not read: the connection is cut, and the buyer asks again */

    /* what is printed */
    uint32_t kill_pid; /* the server's process: ended by SIGKILL when half of all is held; 0: not */
    uint32_t server_pids[LOAD_SERVERS_MAX]; /* whose processor time and writes are told */
    uint32_t server_count;
    uint64_t audit_holds; /* look up so many holds one by one, evenly picked */
    enum output_form output;
    const char *label;     /* the scenario's name in the table */
    const char *series;    /* file for counts over time, CSV; or NULL */
    const char *latencies; /* file for the distribution of latencies, CSV; or NULL */

    char *key; /* place.key points here */

    /* raw: the command's words. table: files */
    char **words;
    int word_count;
};

/* Units in all. */
static inline uint64_t
options_units(const struct load_options *options, bool pool)
{
    return pool ? options->stock : (uint64_t)options->rows * options->row_seats;
}

/* Reads the arguments after "load". kinds: ends with NULL. Returns -1 to go on, else the exit code (0 after
 * --help, 2 after an error, which has been told on standard error). The words point into argv; a workload
 * of NULL stands for "table". End with options_done(). */
int options_read(int argc, char **argv, const struct workload_kind *const *kinds,
                 struct load_options *ret_options);
void options_done(struct load_options *options);

#endif
