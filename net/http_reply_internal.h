/*
 * http_reply_internal.h - bodies of HTTP answers, between http_reply.c and http_body.c.
 */
#ifndef HOLDFAST_HTTP_REPLY_INTERNAL_H
#define HOLDFAST_HTTP_REPLY_INTERNAL_H

#include "net/codec_internal.h"
#include "persist/object_json.h"

void http_body_holds(struct output *output, const struct reply *reply, uint64_t now_ms);
void http_body_event(struct output *output, const struct reply *reply, uint64_t now_ms);
/* A piece of a map: with the opening where it begins at row 0, with the end where it is the last. */
void http_body_map(struct output *output, const struct reply *reply, uint64_t now_ms);

#endif
