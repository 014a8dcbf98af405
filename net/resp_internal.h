/*
 * resp_internal.h - how the parts of the RESP codec walk a request's arguments.
 */
#ifndef HOLDFAST_RESP_INTERNAL_H
#define HOLDFAST_RESP_INTERNAL_H

#include "net/codec_internal.h"

/* The arguments of a whole frame that are still to come. Its lengths were checked by resp_frame(), so
 * taking one is a walk over digits. */
struct arguments {
    const char *at;
    uint32_t left;
};

static inline struct bytes
argument_take(struct arguments *arguments)
{
    const char *at = arguments->at + 1;
    uint32_t size = (uint32_t)(*at++ - '0');
    while (*at != '\r')
        size = size * 10 + (uint32_t)(*at++ - '0');
    at += 2;
    arguments->at = at + size + 2;
    arguments->left--;
    return (struct bytes){at, size};
}

/* A word of up to eight letters as one number, capitals and small letters alike, so that a switch can
 * tell them apart; 0 for anything longer, or empty. */
#define WORD(a, b, c, d, e, f, g, h)                                                                       \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 |                      \
     (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)

static inline uint64_t
word_of(struct bytes text)
{
    uint64_t word;
    if (text.size - 4 <= 4) {
        uint32_t low;
        uint32_t high;
        memcpy(&low, text.data, 4);
        memcpy(&high, text.data + text.size - 4, 4);
        word = low | (uint64_t)high << (8 * (text.size - 4));
    } else if (text.size - 1 <= 2) {
        uint32_t half = text.size / 2;
        uint32_t last = text.size - 1;
        word = (uint64_t)(uint8_t)text.data[0] | (uint64_t)(uint8_t)text.data[half] << (8 * half) |
               (uint64_t)(uint8_t)text.data[last] << (8 * last);
    } else {
        return 0;
    }
    /* Small letters to capitals, eight at once: the high bit of each byte of `small` says that it is one.
     */
    const uint64_t ones = 0x0101010101010101u;
    uint64_t low_bits = word & (0x7F * ones);
    uint64_t above_z = low_bits + (0x7F - 'z') * ones;
    uint64_t from_a = low_bits + (0x80 - 'a') * ones;
    uint64_t small = (from_a ^ above_z) & ~word & (0x80 * ones);
    return word - (small >> 2);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "WORD() reads the first letter as the lowest byte");

/* Turns the request into an error line of Redis' wording, printf-like, cut to what fits. */
void resp_error_text(struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* name: "hold", or "event|create" */
void resp_error_arity(struct request *request, const char *name);
void resp_error_subcommand(struct request *request, const char *container, struct bytes word);

/* The commands for the core; arguments: those behind the command's name. */
void resp_decode_hold(struct request *request, struct arguments *arguments);
void resp_decode_confirm(struct request *request, struct arguments *arguments);
void resp_decode_extend(struct request *request, struct arguments *arguments);
void resp_decode_release(struct request *request, struct arguments *arguments);
void resp_decode_cancel(struct request *request, struct arguments *arguments);
void resp_decode_gethold(struct request *request, struct arguments *arguments);
void resp_decode_holds(struct request *request, struct arguments *arguments);
void resp_decode_seats(struct request *request, struct arguments *arguments);
/* resp_event.c */
void resp_decode_event(struct request *request, struct arguments *arguments, struct decode_memory *memory);
/* resp_queue.c */
void resp_decode_queue(struct request *request, struct arguments *arguments);
void resp_encode_token(struct output *output, uint8_t version, const struct token_view *token);

#endif
