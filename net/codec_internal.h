/*
 * codec_internal.h - what resp*.c and http*.c share, and nobody else needs: the checks of a command that
 * need no state, and refusals.
 */
#ifndef HOLDFAST_CODEC_INTERNAL_H
#define HOLDFAST_CODEC_INTERNAL_H

#include "net/codec.h"

/* A status in words: "the seat is held by somebody". */
const char *status_text(enum status status);

/*
 * A command put together piece by piece, in any order. Each function returns NULL, or the name of the
 * field that is wrong (static storage); *ret_expected then says what was expected.
 */
const char *command_event(struct command *command, struct bytes id, const char **ret_expected);
const char *command_user(struct command *command, struct bytes id, const char **ret_expected);
const char *command_hold_id(struct command *command, struct bytes id, const char **ret_expected);
const char *command_token(struct command *command, struct bytes id, const char **ret_expected);
const char *command_replaces(struct command *command, struct bytes id, const char **ret_expected);
const char *command_section(struct command *command, struct bytes name, const char **ret_expected);
const char *command_seat(struct command *command, struct bytes text, const char **ret_expected);
const char *command_pool(struct command *command, struct bytes name, int64_t quantity,
                         const char **ret_expected);
const char *command_best(struct command *command, struct bytes section, int64_t quantity,
                         const char **ret_expected);
/* field: "hold_seconds" or "seconds" */
const char *command_seconds(struct command *command, int64_t seconds, const char *field,
                            const char **ret_expected);
/* QUEUE GET's wait: decimal text */
const char *command_wait(struct command *command, struct bytes text, const char **ret_expected);
const char *command_payment_ref(struct command *command, struct bytes text, const char **ret_expected);
/* A HOLD is complete: it wants something, and not too much. */
const char *command_hold_end(struct command *command, const char **ret_expected);

const char *change_status(struct event_change *change, struct bytes word, const char **ret_expected);
const char *change_hold_seconds(struct event_change *change, int64_t seconds, const char **ret_expected);
const char *change_units_per_user_max(struct event_change *change, int64_t units,
                                      const char **ret_expected);
const char *change_queue_active_max(struct event_change *change, int64_t active_max,
                                    const char **ret_expected);
/* names: at least NAME_SIZE_MAX * POOLS_MAX bytes that live as long as the change */
const char *change_pool(struct event_change *change, char *names, struct bytes name, int64_t capacity,
                        const char **ret_expected);
const char *change_end(const struct event_change *change, const char **ret_expected);

extern const char expected_key[];
extern const char expected_integer[];

/* Zeroes a command but for the lists that its counts make void, and enters what kind of request it is. */
void request_command(struct request *request, enum command_type type);

/* Turns the request into a refusal. The first: text of a field from the client, shown as far as it fits
 * and harmless. */
void request_badrequest_named(struct request *request, struct bytes field, const char *expected);
void request_badrequest(struct request *request, const char *field, const char *expected);
void request_refuse(struct request *request, enum status status);
void error_begin(struct request_error *error, enum status status);

#endif
