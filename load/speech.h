/*
 * speech.h - what buyers say to Holdfast and what they are told, over RESP and over HTTP.
 */
#ifndef HOLDFAST_LOAD_SPEECH_H
#define HOLDFAST_LOAD_SPEECH_H

#include "load/client.h"
#include "load/ledger.h"
#include "load/options.h"

#define SALE_POOL    "deal"
#define SALE_SECTION "A"

enum say {
    SAY_CREATE, /* the event of the options */
    SAY_COUNTS,
    SAY_SEATS,
    SAY_LOOK, /* at a hold */
    SAY_HOLD,
    SAY_CONFIRM,
    SAY_RELEASE,
    SAY_JOIN,
    SAY_PLACE, /* a look at a place in the waiting room */
    SAY_WATCH, /* RESP only */
    SAY_LEAVE,
};

enum want {
    WANT_POOL,
    WANT_SEATS,
    WANT_BEST,
};

struct said {
    enum say say;
    struct bytes user;
    struct uuid id;   /* a hold's or a token's */
    struct bytes key; /* idempotency; empty: none */
    enum want want;   /* HOLD */
    uint32_t seat;    /* HOLD of seats: the first */
    uint16_t units;
    bool with_pool;   /* CREATE: a pool rather than a hall */
    bool with_room;   /* CREATE: a waiting room */
    uint32_t wait_ms; /* PLACE over HTTP: a long poll */
};

enum place_state {
    PLACE_UNKNOWN,
    PLACE_WAITING,
    PLACE_ACTIVE,
    PLACE_DONE,
    PLACE_LEFT,
    PLACE_EXPIRED,
};

#define TOLD_ERROR_SIZE_MAX 24

struct told {
    bool well;
    char error[TOLD_ERROR_SIZE_MAX]; /* not well: the outcome's word, in capitals */
    struct uuid id;                  /* the hold, or the token */
    uint64_t deadline_ms;
    uint32_t seat_count;
    struct granted_seat seats[LOAD_PARTY_MAX];
    enum place_state state;
    uint32_t position;   /* 0: none was told */
    uint32_t poll_in_ms; /* 0: none was told */
};

struct speech {
    const struct client_kind *client;
    uint32_t root; /* index of an answer's object: COUNTS, LOOK */

    void (*write)(const struct load_options *options, const struct said *said,
                  struct request_text *ret_request);

    /* NULL, or what is wrong with the answer. For HOLD, CONFIRM, RELEASE, JOIN, PLACE, WATCH and LEAVE all
     * of it is told, for the others only whether it is an error. */
    const char *(*read)(const struct load_options *options, const struct said *said,
                        const struct answer *answer, struct told *ret_told);

    /* The letters of a row (from 0) in the answer to SEATS; false where there is no such row. */
    bool (*row)(const struct answer *answer, uint32_t rows, uint32_t row, struct bytes *ret_letters);
};

extern const struct speech resp_speech, http_speech;

const struct speech *speech_of(const struct load_options *options);

/* A push message of a watched place; NULL, or what is wrong with it. */
const char *speech_push(const struct answer *answer, struct told *ret_told);

enum place_state place_state_read(struct bytes word);

/* Writes SECTION/ROW/NUMBER of a seat; returns the size. text holds SEAT_TEXT_SIZE_MAX bytes. */
uint32_t sale_seat_text(const struct load_options *options, uint32_t seat, char *ret_text);
/* And back; false where the text is no seat of the hall. */
bool sale_seat_read(const struct load_options *options, struct bytes text, uint32_t *ret_seat);

#endif
