/*
 * http_json_internal.h - reading JSON members; for http_json.c and http_event_json.c alone, which are the
 * files that know jansson.
 *
 * Functions that return bool or a pointer have refused the request where it is false or NULL.
 */
#ifndef HOLDFAST_HTTP_JSON_INTERNAL_H
#define HOLDFAST_HTTP_JSON_INTERNAL_H

#include "net/http_internal.h"

#include <jansson.h>

/* A name and a number: {"name": "ga", "quantity": 2}. */
struct named_number {
    struct bytes name;
    int64_t number;
};

json_t *json_object_read(struct bytes body, struct request *request);
bool json_string_read(const json_t *value, struct request *request, const char *field,
                      struct bytes *ret_text);
bool json_integer_read(const json_t *value, struct request *request, const char *field,
                       int64_t *ret_number);
/* An object of exactly two members. field: as it is told, its last part is the name of the text member. */
bool json_named_read(const json_t *object, struct request *request, const char *parent, const char *field,
                     const char *number_name, const char *number_field, struct named_number *ret);
/* Refuses where field is not NULL; true: all is well. */
bool json_refuse(struct request *request, const char *field, const char *expected);
/* Refuses a member that is unknown. parent: "" at the top. */
void json_refuse_member(struct request *request, const char *parent, const char *name);

#endif
