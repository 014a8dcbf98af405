/*
 * http_reply_internal.h - bodies of HTTP answers, between http_reply.c and http_body.c.
 */
#ifndef HOLDFAST_HTTP_REPLY_INTERNAL_H
#define HOLDFAST_HTTP_REPLY_INTERNAL_H

#include "net/codec_internal.h"

/* The largest JSON of a hold: names of members, ids, sixteen seats, four pools. */
#define HOLD_JSON_SIZE_MAX                                                                                 \
    (200 + UUID_TEXT_SIZE + EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX +                                         \
     HOLD_SEATS_MAX * (SEAT_TEXT_SIZE_MAX + 34) + HOLD_POOLS_MAX * (NAME_SIZE_MAX + 36))
static_assert(HOLD_JSON_SIZE_MAX <= OUTPUT_GROW_MAX, "one reservation");

/* Writes at most HOLD_JSON_SIZE_MAX bytes. */
char *put_hold_json(char *at, const struct hold_view *hold, uint64_t now_ms);

/* The largest JSON of a token: names of members, ids, numbers, times. */
#define TOKEN_JSON_SIZE_MAX                                                                                \
    (400 + UUID_TEXT_SIZE + EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX + TOKEN_PASS_SIZE_MAX)

/* Writes at most TOKEN_JSON_SIZE_MAX bytes. */
char *put_token_json(char *at, const struct token_view *token, uint64_t now_ms);

void http_body_holds(struct output *output, const struct reply *reply, uint64_t now_ms);
void http_body_event(struct output *output, const struct reply *reply, uint64_t now_ms);
/* A piece of a map: with the opening where it begins at row 0, with the end where it is the last. */
void http_body_map(struct output *output, const struct reply *reply, uint64_t now_ms);

#endif
