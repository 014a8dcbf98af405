/*
 * mirror_internal.h - for mirror.c, the tables, and mirror_replay.c, which fills them from records.
 */
#ifndef HOLDFAST_MIRROR_INTERNAL_H
#define HOLDFAST_MIRROR_INTERNAL_H

#include "persist/mirror.h"

/* An array of items of one size, and where each is by its hash. */
struct heap {
    uint8_t *items;
    size_t size;
    uint32_t count;
    uint32_t capacity;
    uint32_t *slots; /* index + 1 */
    uint32_t slot_count;
};

struct name_kept {
    uint8_t size;
    char text[EVENT_ID_SIZE_MAX];
};

struct mirror {
    const struct data_folder *folder;
    uint64_t generation;
    uint64_t records;
    struct event_table *events;
    struct heap names;   /* struct name_kept */
    struct heap holds;   /* struct mirror_hold * */
    struct heap seats;   /* struct mirror_seat */
    struct heap tokens;  /* struct mirror_token */
    struct heap results; /* struct mirror_result; sorted, without a table */
    bool sorted;
    /* what is being read */
    uint64_t epoch;
    uint32_t shard;
    bool behind_snapshot; /* in the snapshot's own epoch */
    uint64_t slice_reflects;
    enum seeing { SEE_ALL, SEE_EVENTS, SEE_REST } seeing; /* of a part */
    const char *wrong;                                    /* static storage; NULL: all is well */
};

/* In the order of mirror_result_word(). */
enum result_type {
    PLACED,
    CONFIRMED,
    RELEASED,
    EXPIRED,
    EXTENDED,
    CANCELLED,
    JOINED,
    ACTIVATED,
    ENDED,
    CREATED,
    CHANGED,
};

/* False, and noted in mirror->wrong. */
bool mirror_no_memory(struct mirror *mirror);

/* Each notes it in mirror->wrong where memory ends; then NULL, or nothing has been put in. */
void mirror_put_result(struct mirror *mirror, const struct record *record, uint32_t index,
                       enum result_type type, const struct uuid *of);
/* The number of an event's id, which may be there already. */
uint32_t mirror_put_name(struct mirror *mirror, struct bytes id);
/* Unless a higher version is known. */
void mirror_put_seat(struct mirror *mirror, uint32_t event, seat_ref ref, uint32_t version, uint8_t state,
                     const struct uuid *hold);
/* A hold that is told in whole, and is not there. */
struct mirror_hold *mirror_put_hold(struct mirror *mirror, const struct record *record);
/* A token that is not there, without a state. */
struct mirror_token *mirror_put_token(struct mirror *mirror, const struct record *record);

#endif
