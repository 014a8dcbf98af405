/*
 * mirror.h - what journals say at some place, rebuilt from their beginning or from a snapshot: every hold,
 * seat, token and event, and which results were published on the way.
 *
 * For `holdfast verify`, which compares it with PostgreSQL, and for a persister that begins where the
 * beginning of the journal is gone. It shares no code with the persister's own way from records to rows
 * (persister_work.c): what one of them gets wrong the other shows.
 */
#ifndef HOLDFAST_MIRROR_H
#define HOLDFAST_MIRROR_H

#include "core/command.h"
#include "core/record.h"
#include "persist/event_table.h"
#include "persist/journal_tool_internal.h"
#include "persist/persister_session.h"

#define MIRROR_TEXT_SIZE_MAX 512

struct mirror_hold {
    struct uuid id;
    uint64_t deadline_ms;
    uint64_t ended_ms; /* 0: not ended */
    uint64_t reflects; /* of a snapshot: the last record that it has in it */
    uint32_t event;    /* number: mirror_event_id() */
    uint8_t state;
    bool kept; /* from a snapshot: who asked for it is not known */
    bool seen; /* the caller's mark */
    uint8_t seat_count;
    uint8_t pool_count;
    uint8_t user_size;
    uint8_t payment_ref_size;
    uint8_t request_id_size;
    struct trace trace;
    char *payment_ref; /* NULL: none; its own memory */
    uint8_t more[];    /* seats, pools, user, request id */
};

struct mirror_seat {
    uint64_t key; /* event number << 32 | seat */
    uint32_t version;
    uint8_t state; /* 0 free, 1 held, 2 sold */
    bool kept;     /* only a snapshot tells its version: it may be higher than any record's */
    bool seen;
    struct uuid hold;
};

struct mirror_token {
    struct uuid id;
    uint64_t activated_ms;
    uint64_t ended_ms;
    uint64_t reflects;
    uint32_t event;
    uint8_t state;
    bool kept;
    bool seen;
    uint8_t user_size;
    char user[USER_ID_SIZE_MAX];
};

/* A result that was published: a row of the outbox. */
struct mirror_result {
    struct uuid id;
    struct uuid of; /* the hold or token; of an event: its number in the first four bytes */
    uint64_t epoch;
    uint64_t sequence;
    uint16_t shard;
    uint8_t type; /* by the order of names in mirror_result_word() */
    bool seen;
};

struct mirror;

int mirror_open(struct mirror **ret_mirror, const struct data_folder *folder); /* 0 or -ENOMEM */
void mirror_close(struct mirror *mirror);                                      /* NULL: nothing */

/* From the beginning of all journals, or else from the newest snapshot that is not behind the place, up to
 * the place. False: ret_text says why. */
bool mirror_build(struct mirror *mirror, const struct persister_place *place,
                  char ret_text[MIRROR_TEXT_SIZE_MAX]);
/* The newest snapshot, with as much journal as belongs to it; *ret_place: there. */
bool mirror_build_base(struct mirror *mirror, struct persister_place *ret_place,
                       char ret_text[MIRROR_TEXT_SIZE_MAX]);
/* The generation of the snapshot that it began with; 0: with the beginning of all journals. */
uint64_t mirror_generation(const struct mirror *mirror);
uint64_t mirror_records(const struct mirror *mirror);

struct event_table *mirror_events(struct mirror *mirror);
struct bytes mirror_event_id(const struct mirror *mirror, uint32_t event);
/* Its settings; NULL: nothing but its id was ever told. */
const struct event_settings *mirror_event_settings(const struct mirror *mirror, uint32_t event);

uint32_t mirror_hold_count(const struct mirror *mirror);
struct mirror_hold *mirror_hold_at(const struct mirror *mirror, uint32_t index);
struct mirror_hold *mirror_hold_find(const struct mirror *mirror, const struct uuid *id);
const struct record_seat *mirror_hold_seats(const struct mirror_hold *hold);
const struct record_pool *mirror_hold_pools(const struct mirror_hold *hold);
struct bytes mirror_hold_user(const struct mirror_hold *hold);
struct bytes mirror_hold_request_id(const struct mirror_hold *hold);

uint32_t mirror_seat_count(const struct mirror *mirror);
struct mirror_seat *mirror_seat_at(const struct mirror *mirror, uint32_t index);
struct mirror_seat *mirror_seat_find(const struct mirror *mirror, uint32_t event, seat_ref ref);
/* The number of an event by its id, or -1. */
int64_t mirror_event_find(const struct mirror *mirror, struct bytes id);

uint32_t mirror_token_count(const struct mirror *mirror);
struct mirror_token *mirror_token_at(const struct mirror *mirror, uint32_t index);
struct mirror_token *mirror_token_find(const struct mirror *mirror, const struct uuid *id);

uint32_t mirror_result_count(const struct mirror *mirror);
struct mirror_result *mirror_result_at(const struct mirror *mirror, uint32_t index);
struct mirror_result *mirror_result_find(struct mirror *mirror, const struct uuid *id);
const char *mirror_result_word(uint8_t type);

#endif
