/*
 * codec_internal.h - what resp*.c and http*.c share, and nobody else needs: writing into an output,
 * texts of numbers, ids and times, and the checks of a command that need no state.
 */
#ifndef HOLDFAST_CODEC_INTERNAL_H
#define HOLDFAST_CODEC_INTERNAL_H

#include "net/codec.h"

/* Room for `size` bytes (at most OUTPUT_GROW_MAX) and where they go, or NULL where the output has failed.
 */
static inline char *
output_reserve(struct output *output, size_t size)
{
    if (output->room < size) {
        if (!output->failed)
            output->grow(output, size);
        if (output->failed || output->room < size)
            return NULL;
    }
    return output->data;
}

/* Takes what was written from the place output_reserve() gave up to end. */
static inline void
output_commit(struct output *output, char *end)
{
    output->room -= (size_t)(end - output->data);
    output->data = end;
}

/* Bytes of any number. */
void output_put(struct output *output, const char *data, size_t size);

static inline char *
put_bytes(char *at, const char *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

/* The text of a literal, without its zero. */
#define put_literal(at, literal) put_bytes((at), "" literal, sizeof(literal) - 1)

/* At most 20 bytes. */
char *put_unsigned(char *at, uint64_t value);
/* 36 bytes, small letters. */
char *put_uuid(char *at, const struct uuid *uuid);
/* Two small hexadecimal digits a byte. */
char *put_hex(char *at, const uint8_t *data, size_t size);
/* 24 bytes: 2026-12-01T10:00:00.000Z. The year is at most 9999. */
char *put_rfc3339(char *at, uint64_t ms);
/* 29 bytes: Tue, 01 Dec 2026 10:00:00 GMT, RFC 9110's IMF-fixdate. */
char *put_http_date(char *at, uint64_t ms);

/* 64 bytes: the SHA-256 of an event's lottery seed, in hexadecimal digits. */
char *put_lottery_commitment(char *at, const struct event_settings *settings);

/* Decimal, no sign but a minus, no leading zero: the only text of its number. */
bool integer_parse(struct bytes text, int64_t *ret_value);
bool rfc3339_parse(struct bytes text, int64_t *ret_ms);
/* Value of a hexadecimal digit, or -1. */
int hex_digit(char c);
bool utf8_valid(struct bytes text);

static inline uint64_t
time_left_ms(uint64_t deadline_ms, uint64_t now_ms)
{
    return deadline_ms > now_ms ? deadline_ms - now_ms : 0;
}

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
