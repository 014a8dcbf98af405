/*
 * codec_drive.c - see codec_drive.h.
 */
#include "tests/unit/codec_drive.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct codec_limits drive_limits = {.request_bytes_max = 8 << 20, .head_bytes_max = 16 << 10};

static void
text_room(struct drive_text *text, size_t size)
{
    if (text->capacity - text->size > size)
        return;
    text->capacity = 2 * text->capacity + size + 1;
    text->data = realloc(text->data, text->capacity);
    assert(text->data != NULL);
}

static void
text_put(struct drive_text *text, const char *data, size_t size)
{
    text_room(text, size + 1);
    if (size > 0)
        memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

static void __attribute__((format(printf, 2, 3)))
text_print(struct drive_text *text, const char *format, ...)
{
    char line[1024];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    assert(size >= 0);
    assert((size_t)size < sizeof line);
    text_put(text, line, (size_t)size);
}

/* Grants exactly what is asked for, so that a write beyond it is seen. */
static void
output_grow(struct output *output, size_t size)
{
    assert(size <= OUTPUT_GROW_MAX);
    drive_output_end(output);
    struct drive_text *text = output->owner;
    text_room(text, size + 1);
    output->data = text->data + text->size;
    output->room = size;
}

struct output
drive_output(struct drive_text *text)
{
    text_room(text, 1);
    text->data[text->size] = 0;
    return (struct output){.data = text->data + text->size, .room = 0, .owner = text, .grow = output_grow};
}

void
drive_output_end(struct output *output)
{
    struct drive_text *text = output->owner;
    text->size = (size_t)(output->data - text->data);
    assert(text->size < text->capacity);
    text->data[text->size] = 0;
}

void
drive_free(struct drive_text *text)
{
    free(text->data);
    *text = (struct drive_text){0};
}

static void
show_bytes(struct drive_text *text, const char *name, struct bytes bytes)
{
    text_print(text, " %s=%u:", name, bytes.size);
    text_put(text, bytes.data, bytes.size);
}

static void
show_uuid(struct drive_text *text, const char *name, const struct uuid *uuid)
{
    text_print(text, " %s=", name);
    for (size_t i = 0; i < sizeof uuid->byte; i++)
        text_print(text, "%02x", uuid->byte[i]);
}

static void
show_change(struct drive_text *text, const struct event_change *change)
{
    text_print(text, " status=%d:%d hold_seconds=%d:%u units=%d:%u", change->has_status,
               (int)change->status, change->has_hold_seconds, change->hold_seconds,
               change->has_units_per_user_max, change->units_per_user_max);
    for (uint32_t i = 0; i < change->pool_count; i++) {
        show_bytes(text, "pool", change->pools[i].name);
        text_print(text, "=%u", change->pools[i].quantity);
    }
}

/* What the core asserts of a command, and all of it as text. */
static void
show_command(struct drive_text *text, const struct command *command)
{
    text_print(text, "command=%d seconds=%u late=%d", (int)command->type, command->seconds, command->late);
    show_bytes(text, "event", command->event);
    show_bytes(text, "user", command->user);
    show_bytes(text, "key", command->key);
    show_bytes(text, "request_id", command->request_id);
    show_bytes(text, "payment_ref", command->payment_ref);
    show_bytes(text, "section", command->section);
    show_uuid(text, "hold", &command->hold);
    if (command->has_replaces)
        show_uuid(text, "replaces", &command->replaces);
    assert(command->seat_count + command->best_count <= HOLD_SEATS_MAX);
    assert(command->pool_count <= HOLD_POOLS_MAX);
    assert(command->key.size <= KEY_SIZE_MAX);
    for (uint32_t i = 0; i < command->seat_count; i++) {
        const struct seat_name *seat = &command->seats[i];
        assert(name_valid(seat->section));
        assert(name_valid(seat->row));
        assert(seat->number >= 1 && seat->number <= 999999999);
        show_bytes(text, "seat", seat->section);
        show_bytes(text, "row", seat->row);
        text_print(text, " number=%u", seat->number);
    }
    for (uint32_t i = 0; i < command->pool_count; i++) {
        assert(name_valid(command->pools[i].name));
        show_bytes(text, "pool", command->pools[i].name);
        text_print(text, "=%u", command->pools[i].quantity);
    }
    text_print(text, " best=%u", command->best_count);
    if (command->type == COMMAND_EVENT_CREATE) {
        assert(command->settings->size <= EVENT_SETTINGS_SIZE_MAX);
        show_bytes(text, "settings",
                   (struct bytes){(const char *)command->settings, command->settings->size});
    }
    if (command->type == COMMAND_EVENT_SET)
        show_change(text, command->change);
}

static _Alignas(8) char draft_memory[EVENT_DRAFT_SIZE];
static struct event_change change_memory;
static struct request request_memory;

static void *
draft_take(void *owner)
{
    (void)owner; /* there is one draft */
    return draft_memory;
}

static const uint8_t random_bytes[24] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                         12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};

static void
decode(enum drive_protocol protocol, const char *data, size_t size)
{
    struct decode_memory memory = {.draft = draft_take, .change = &change_memory};
    /* What a codec forgets to set is to show. */
    memset(&request_memory, 0xA5, sizeof request_memory);
    if (protocol == DRIVE_RESP)
        resp_decode(data, size, 2, &memory, &request_memory);
    else
        http_decode(data, size, random_bytes, &memory, &request_memory);
}

const struct request *
drive_decode(enum drive_protocol protocol, const char *data, size_t size)
{
    struct frame frame = {0};
    size_t frame_size = 0;
    struct request_error error;
    enum frame_result result = protocol == DRIVE_RESP
                                   ? resp_frame(&frame, &drive_limits, data, size, &frame_size, &error)
                                   : http_frame(&frame, &drive_limits, data, size, &frame_size, &error);
    if (result != FRAME_WHOLE || frame_size != size)
        return NULL;
    decode(protocol, data, size);
    return &request_memory;
}

static void
answer_error(enum drive_protocol protocol, struct drive_text *answers, const struct reply_context *context,
             const struct request_error *error)
{
    struct output output = drive_output(answers);
    if (protocol == DRIVE_RESP)
        resp_encode_error(&output, error);
    else
        http_encode_error(&output, context, error);
    drive_output_end(&output);
}

/* Decodes a frame and appends what came of it. True: the connection goes on. */
static bool
take_frame(enum drive_protocol protocol, const char *data, size_t size, struct drive_text *answers)
{
    decode(protocol, data, size);
    const struct request *request = &request_memory;
    const struct reply_context *context = &request->reply_context;
    assert(context->kind == request->kind);
    if (request->kind == REQUEST_ERROR) {
        answer_error(protocol, answers, context, &request->error);
        return !request->error.close && context->keep_alive;
    }
    text_print(answers, "kind=%d http=%d keep=%d ", (int)request->kind, context->http, context->keep_alive);
    if (request->kind == REQUEST_COMMAND)
        show_command(answers, &request->command);
    else if (protocol == DRIVE_RESP && request->kind != REQUEST_EVENT_LIST)
        show_bytes(answers, "argument", request->argument);
    text_put(answers, "\n", 1);
    return context->keep_alive && request->kind != REQUEST_QUIT;
}

void
drive(enum drive_protocol protocol, const char *data, size_t size, size_t cut, size_t step,
      struct drive_text *ret_answers, bool *ret_closed)
{
    struct frame frame = {0};
    size_t taken = 0;
    size_t there = cut < size ? cut : size;
    *ret_closed = false;
    text_room(ret_answers, 1);
    ret_answers->data[ret_answers->size] = 0;
    while (!*ret_closed) {
        size_t left = there - taken;
        char *copy = malloc(left > 0 ? left : 1);
        assert(copy != NULL);
        memcpy(copy, data + taken, left);
        size_t frame_size = 0;
        struct request_error error;
        enum frame_result result = protocol == DRIVE_RESP
                                       ? resp_frame(&frame, &drive_limits, copy, left, &frame_size, &error)
                                       : http_frame(&frame, &drive_limits, copy, left, &frame_size, &error);
        assert(frame.scanned <= left || frame.remaining > 0);
        if (result == FRAME_ERROR) {
            assert(error.close);
            struct reply_context context;
            if (protocol == DRIVE_HTTP)
                http_context_unframed(&frame, copy, random_bytes, &context);
            answer_error(protocol, ret_answers, &context, &error);
            *ret_closed = true;
        } else if (result == FRAME_WHOLE) {
            assert(frame_size > 0 && frame_size <= left);
            *ret_closed = !take_frame(protocol, copy, frame_size, ret_answers);
        }
        free(copy);
        if (result == FRAME_WHOLE || result == FRAME_SKIP) {
            assert(frame_size > 0 && frame_size <= left);
            frame = (struct frame){0};
            taken += frame_size;
        } else if (result == FRAME_PARTIAL) {
            if (there == size)
                return;
            there = size - there < step ? size : there + step;
        }
    }
}

char *
drive_bytes(const char *text, size_t text_size, size_t *ret_size)
{
    char *data = malloc(text_size + 1);
    assert(data != NULL);
    size_t size = 0;
    for (size_t i = 0; i < text_size; i++) {
        unsigned lead = (unsigned char)text[i];
        if (lead < 0x80) {
            data[size++] = text[i];
            continue;
        }
        assert(lead == 0xC2 || lead == 0xC3);
        data[size++] = (char)((lead & 3) << 6 | ((unsigned char)text[++i] & 63));
    }
    *ret_size = size;
    return data;
}
