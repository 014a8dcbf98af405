/*
 * options.h - what `holdfast load` is asked to do.
 */
#ifndef HOLDFAST_LOAD_OPTIONS_H
#define HOLDFAST_LOAD_OPTIONS_H

#include "holdfast/limits.h"
#include "holdfast/types.h"

enum load_kind {
    LOAD_DEAL,  /* counted stock: each buyer takes units of one pool */
    LOAD_SEATS, /* a hall: everybody is after the front rows */
    LOAD_RAW,   /* one command again and again, also against another server that speaks RESP */
    LOAD_TABLE, /* no load: prints results of earlier loads beside each other */
};

#define LOAD_CONNECTIONS_MAX 20000
#define LOAD_PIPELINE_MAX    1024
#define LOAD_THREADS_MAX     64
#define LOAD_BUYERS_MAX      1000000000u
#define LOAD_PARTY_MAX       8
#define LOAD_RAW_WORDS_MAX   32

struct load_options {
    enum load_kind kind;

    /* the server, and how it is spoken to */
    char address[64];
    uint16_t port;
    uint32_t connections;
    uint32_t pipeline; /* requests under way on each connection */
    uint32_t threads;
    uint32_t seconds;          /* raw: stop after so long; 0: after so many requests */
    uint32_t patience_seconds; /* without any answer for so long the load has failed */
    uint64_t seed;

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
    double confirm_share; /* so many of those who hold confirm at once */

    /* what is printed */
    uint32_t kill_pid;    /* the server's process: ended by SIGKILL when half of all is held; 0: not */
    uint64_t audit_holds; /* look up so many holds one by one, evenly picked */
    bool json;
    const char *label; /* the scenario's name in the table */

    /* raw: the command's words. table: files */
    char **words;
    int word_count;
};

/* Reads the arguments after "load". Returns -1 to go on, else the exit code (0 after --help, 2 after an
 * error, which has been told on standard error). The words point into argv. */
int options_read(int argc, char **argv, struct load_options *ret_options);

#endif
