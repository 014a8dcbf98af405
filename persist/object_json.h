/*
 * object_json.h - holds, tokens and events as JSON: the objects of docs/openapi.yaml and of docs/events.md.
 */
#ifndef HOLDFAST_OBJECT_JSON_H
#define HOLDFAST_OBJECT_JSON_H

#include "core/command.h"
#include "core/text.h"

/* The longest pass of a token that is given. */
#define TOKEN_PASS_SIZE_MAX 512

enum object_form {
    OBJECT_ANSWER,    /* as HTTP answers */
    OBJECT_PUBLISHED, /* without what runs down, what only a look at the whole can tell, and the pass */
};

/* The largest JSON of a hold: names of members, ids, sixteen seats, four pools. */
#define HOLD_JSON_SIZE_MAX                                                                                 \
    (200 + UUID_TEXT_SIZE + EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX +                                         \
     HOLD_SEATS_MAX * (SEAT_TEXT_SIZE_MAX + 34) + HOLD_POOLS_MAX * (NAME_SIZE_MAX + 36))
static_assert(HOLD_JSON_SIZE_MAX <= OUTPUT_GROW_MAX, "one reservation");

/* Writes at most HOLD_JSON_SIZE_MAX bytes. */
char *put_hold_json(char *at, const struct hold_view *hold, enum object_form form, uint64_t now_ms);

/* The largest JSON of a token: names of members, ids, numbers, times. */
#define TOKEN_JSON_SIZE_MAX                                                                                \
    (400 + UUID_TEXT_SIZE + EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX + TOKEN_PASS_SIZE_MAX)

/* Writes at most TOKEN_JSON_SIZE_MAX bytes. */
char *put_token_json(char *at, const struct token_view *token, enum object_form form, uint64_t now_ms);

/* 64 bytes: the SHA-256 of an event's lottery seed, in hexadecimal digits. */
char *put_lottery_commitment(char *at, const struct event_settings *settings);

/* From the opening on (now_ms) the lottery's seed is told. Of a view that is published only the settings
 * are read. */
void output_event_json(struct output *output, const struct event_view *view, enum object_form form,
                       uint64_t now_ms);

#endif
