/*
 * resp_speech.c - what buyers say over RESP, and what its answers tell.
 *
 *     HOLD        [hold, deadline_ms, seat, version, ...]
 *     QUEUE ...   [token, state, position or nil, pass or nil, deadline_ms or nil]
 *     push        [queue, token, state, position or nil, pass or nil, deadline_ms or nil]
 */
#include "load/speech.h"

#include <assert.h>

static void
id_word(struct request_text *request, const struct uuid *id)
{
    char text[UUID_TEXT_SIZE];
    hold_text_write(id, text);
    request_word(request, (struct bytes){text, UUID_TEXT_SIZE});
}

static void
create_write(const struct load_options *options, const struct said *said, struct request_text *request)
{
    request_begin(request, 3u + (said->with_pool ? 3 : 4) + 4 + (options->limit > 0 ? 2 : 0) +
                               (said->with_room ? 4 : 0));
    request_text(request, "EVENT");
    request_text(request, "CREATE");
    request_text(request, options->event);
    if (said->with_pool) {
        request_text(request, "POOL");
        request_text(request, SALE_POOL);
        request_number(request, options->stock);
    } else {
        request_text(request, "SECTION");
        request_text(request, SALE_SECTION);
        request_number(request, options->rows);
        request_number(request, options->row_seats);
    }
    request_text(request, "HOLD");
    request_number(request, options->hold_seconds);
    request_text(request, "HOLDMAX");
    request_number(request, options->hold_seconds);
    if (options->limit > 0) {
        request_text(request, "LIMIT");
        request_number(request, options->limit);
    }
    if (said->with_room) {
        request_text(request, "QUEUE");
        request_number(request, options->active_max);
        request_number(request, options->active_seconds);
        request_number(request, options->grace_seconds);
    }
}

static void
hold_write(const struct load_options *options, const struct said *said, struct request_text *request)
{
    uint32_t words = 3 + (said->want == WANT_SEATS ? 2 * (uint32_t)said->units : 3);
    request_begin(request, words + (said->key.size > 0 ? 2 : 0));
    request_text(request, "HOLD");
    request_text(request, options->event);
    request_word(request, said->user);
    for (uint32_t i = 0; said->want == WANT_SEATS && i < said->units; i++) {
        char seat[SEAT_TEXT_SIZE_MAX];
        request_text(request, "SEAT");
        request_word(request, (struct bytes){seat, sale_seat_text(options, said->seat + i, seat)});
    }
    if (said->want != WANT_SEATS) {
        request_text(request, said->want == WANT_POOL ? "POOL" : "BEST");
        request_text(request, said->want == WANT_POOL ? SALE_POOL : SALE_SECTION);
        request_number(request, said->units);
    }
}

/* A command of one or two words, perhaps an id, perhaps a user. */
static void
plain_write(const struct said *said, const char *first, const char *second, bool id, bool user,
            struct request_text *request)
{
    uint32_t keyed = said->key.size > 0 ? 2 : 0;
    request_begin(request, 1u + (second != NULL) + id + user + keyed);
    request_text(request, first);
    if (second != NULL)
        request_text(request, second);
    if (id)
        id_word(request, &said->id);
    if (user)
        request_word(request, said->user);
}

static void
resp_write(const struct load_options *options, const struct said *said, struct request_text *request)
{
    switch (said->say) {
    case SAY_CREATE:
        create_write(options, said, request);
        return;
    case SAY_COUNTS:
    case SAY_SEATS:
        request_begin(request, 3);
        request_text(request, said->say == SAY_COUNTS ? "EVENT" : "SEATS");
        request_text(request, said->say == SAY_COUNTS ? "GET" : options->event);
        request_text(request, said->say == SAY_COUNTS ? options->event : SALE_SECTION);
        return;
    case SAY_JOIN:
        request_begin(request, 4);
        request_text(request, "QUEUE");
        request_text(request, "JOIN");
        request_text(request, options->event);
        request_word(request, said->user);
        return;
    case SAY_LOOK:
        plain_write(said, "GETHOLD", NULL, true, false, request);
        return;
    case SAY_PLACE:
        plain_write(said, "QUEUE", "GET", true, false, request);
        return;
    case SAY_WATCH:
        plain_write(said, "QUEUE", "WATCH", true, false, request);
        return;
    case SAY_LEAVE:
        plain_write(said, "QUEUE", "LEAVE", true, false, request);
        return;
    case SAY_HOLD:
        hold_write(options, said, request);
        break;
    case SAY_CONFIRM:
        plain_write(said, "CONFIRM", NULL, true, true, request);
        break;
    case SAY_RELEASE:
        plain_write(said, "RELEASE", NULL, true, true, request);
        break;
    }
    if (said->key.size > 0) {
        request_text(request, "KEY");
        request_word(request, said->key);
    }
}

static const char *
hold_read(const struct load_options *options, const struct answer *answer, struct told *told)
{
    const struct answer_value *values = answer->values;
    if (values[0].kind != ANSWER_ARRAY || values[0].size < 2 || answer->count != values[0].size + 1 ||
        values[1].kind != ANSWER_TEXT || !hold_text_read(answer_text(answer, 1), &told->id) ||
        values[2].kind != ANSWER_INTEGER || values[2].integer < 0)
        return "no hold and deadline";
    told->deadline_ms = (uint64_t)values[2].integer;
    uint32_t pairs = (values[0].size - 2) / 2;
    if (values[0].size % 2 != 0 || pairs > LOAD_PARTY_MAX)
        return "another number of seats";
    for (uint32_t i = 0; i < pairs; i++) {
        const struct answer_value *name = &values[3 + 2 * i];
        if (name->kind != ANSWER_TEXT || name[1].kind != ANSWER_INTEGER ||
            !sale_seat_read(options, answer_text(answer, 3 + 2 * i), &told->seats[i].seat))
            return "no seat and version";
        told->seats[i].version = (uint32_t)name[1].integer;
    }
    told->seat_count = pairs;
    return NULL;
}

/* Five values from here on. */
static const char *
place_read(const struct answer *answer, uint32_t at, struct told *told)
{
    const struct answer_value *values = &answer->values[at];
    if (answer->count != at + 5 || values[0].kind != ANSWER_TEXT ||
        !hold_text_read(answer_text(answer, at), &told->id) || values[1].kind != ANSWER_TEXT)
        return "no place";
    told->state = place_state_read(answer_text(answer, at + 1));
    if (told->state == PLACE_UNKNOWN)
        return "no state of a place";
    if (values[2].kind == ANSWER_INTEGER)
        told->position = (uint32_t)values[2].integer;
    if (values[4].kind == ANSWER_INTEGER)
        told->deadline_ms = (uint64_t)values[4].integer;
    return NULL;
}

const char *
speech_push(const struct answer *answer, struct told *ret_told)
{
    struct told told = {.well = true};
    if (answer->values[0].kind != ANSWER_ARRAY || answer->count != 7)
        return "a push message of another form";
    const char *wrong = place_read(answer, 2, &told);
    if (wrong == NULL)
        *ret_told = told;
    return wrong;
}

static const char *
resp_read(const struct load_options *options, const struct said *said, const struct answer *answer,
          struct told *ret_told)
{
    struct told told = {.well = true};
    const char *wrong = NULL;
    if (answer->values[0].kind == ANSWER_ERROR) {
        struct bytes error = answer_text(answer, 0);
        uint32_t size = 0;
        while (size < error.size && size < TOLD_ERROR_SIZE_MAX - 1 && error.data[size] != ' ') {
            told.error[size] = error.data[size];
            size++;
        }
        told.well = false;
        *ret_told = told;
        return NULL;
    }
    switch (said->say) {
    case SAY_HOLD:
        wrong = hold_read(options, answer, &told);
        break;
    case SAY_CONFIRM:
    case SAY_RELEASE:
    case SAY_CREATE:
        if (answer->values[0].kind != ANSWER_STATUS)
            wrong = "neither OK nor an error";
        break;
    case SAY_JOIN:
    case SAY_PLACE:
    case SAY_WATCH:
    case SAY_LEAVE:
        wrong = answer->values[0].kind == ANSWER_ARRAY ? place_read(answer, 1, &told) : "no place";
        break;
    case SAY_COUNTS:
    case SAY_SEATS:
    case SAY_LOOK:
        break;
    }
    if (wrong == NULL)
        *ret_told = told;
    return wrong;
}

static bool
resp_row(const struct answer *answer, uint32_t rows, uint32_t row, struct bytes *ret_letters)
{
    if (answer->values[0].kind != ANSWER_ARRAY || answer->count != 1 + 2 * rows ||
        answer->values[2 + 2 * row].kind != ANSWER_TEXT)
        return false;
    *ret_letters = answer_text(answer, 2 + 2 * row);
    return true;
}

const struct speech resp_speech = {
    .client = &resp_client,
    .root = 0,
    .write = resp_write,
    .read = resp_read,
    .row = resp_row,
};
