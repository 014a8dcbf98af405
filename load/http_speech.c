/*
 * http_speech.c - what buyers say over HTTP, and what its answers tell.
 *
 * An answer's first value is the status, the second the body's object (client.h).
 */
#include "load/speech.h"

#include <assert.h>
#include <stdio.h>

#define TARGET_SIZE_MAX 256
#define BODY_SIZE_MAX   1024

/* A text put together piece by piece; its bounds are above all that the options allow. */
struct piece {
    uint32_t size;
    char data[BODY_SIZE_MAX];
};

static void
put(struct piece *piece, struct bytes bytes)
{
    assert(bytes.size <= sizeof piece->data - piece->size);
    memcpy(piece->data + piece->size, bytes.data, bytes.size);
    piece->size += bytes.size;
}

static void
put_text(struct piece *piece, const char *text)
{
    put(piece, (struct bytes){text, (uint32_t)strlen(text)});
}

static void
put_number(struct piece *piece, uint64_t number)
{
    char digits[20];
    put(piece, (struct bytes){digits, digits_write(digits, number)});
}

static void
put_id(struct piece *piece, const struct uuid *id)
{
    char text[UUID_TEXT_SIZE];
    hold_text_write(id, text);
    put(piece, (struct bytes){text, UUID_TEXT_SIZE});
}

static struct bytes
text_of(const struct piece *piece)
{
    return (struct bytes){piece->data, piece->size};
}

/* {"user":"u1" and what follows it: the names of buyers need no escapes. */
static void
put_user(struct piece *body, struct bytes user)
{
    put_text(body, "{\"user\":\"");
    put(body, user);
    put_text(body, "\"");
}

static void
create_body(const struct load_options *options, const struct said *said, struct piece *body)
{
    put_text(body, "{\"id\":\"");
    put_text(body, options->event);
    if (said->with_pool) {
        put_text(body, "\",\"pools\":[{\"name\":\"" SALE_POOL "\",\"capacity\":");
        put_number(body, options->stock);
    } else {
        put_text(body, "\",\"sections\":[{\"name\":\"" SALE_SECTION "\",\"rows\":");
        put_number(body, options->rows);
        put_text(body, ",\"seats_per_row\":");
        put_number(body, options->row_seats);
    }
    put_text(body, "}],\"hold_seconds\":");
    put_number(body, options->hold_seconds);
    put_text(body, ",\"hold_seconds_max\":");
    put_number(body, options->hold_seconds);
    put_text(body, ",\"units_per_user_max\":");
    put_number(body, options->limit);
    if (said->with_room) {
        put_text(body, ",\"queue\":{\"active_max\":");
        put_number(body, options->active_max);
        put_text(body, ",\"active_seconds\":");
        put_number(body, options->active_seconds);
        put_text(body, ",\"grace_seconds\":");
        put_number(body, options->grace_seconds);
        put_text(body, "}");
    }
    put_text(body, "}");
}

static void
hold_body(const struct load_options *options, const struct said *said, struct piece *body)
{
    put_user(body, said->user);
    if (said->want == WANT_SEATS) {
        put_text(body, ",\"seats\":[");
        for (uint32_t i = 0; i < said->units; i++) {
            char seat[SEAT_TEXT_SIZE_MAX];
            put_text(body, i == 0 ? "\"" : ",\"");
            put(body, (struct bytes){seat, sale_seat_text(options, said->seat + i, seat)});
            put_text(body, "\"");
        }
        put_text(body, "]}");
        return;
    }
    put_text(body, said->want == WANT_POOL ? ",\"pools\":[{\"name\":\"" SALE_POOL "\",\"quantity\":"
                                           : ",\"best\":{\"section\":\"" SALE_SECTION "\",\"quantity\":");
    put_number(body, said->units);
    put_text(body, said->want == WANT_POOL ? "}]}" : "}}");
}

static void
event_target(const struct load_options *options, const char *rest, struct piece *target)
{
    put_text(target, "/v1/events/");
    put_text(target, options->event);
    put_text(target, rest);
}

static void
id_target(const char *before, const struct uuid *id, const char *rest, struct piece *target)
{
    put_text(target, before);
    put_id(target, id);
    put_text(target, rest);
}

static void
http_write(const struct load_options *options, const struct said *said, struct request_text *request)
{
    struct piece target, body;
    target.size = body.size = 0;
    const char *method = "GET";
    switch (said->say) {
    case SAY_CREATE:
        method = "POST";
        put_text(&target, "/v1/events");
        create_body(options, said, &body);
        break;
    case SAY_COUNTS:
        event_target(options, "", &target);
        break;
    case SAY_SEATS:
        event_target(options, "/seats?section=" SALE_SECTION, &target);
        break;
    case SAY_LOOK:
        id_target("/v1/holds/", &said->id, "", &target);
        break;
    case SAY_HOLD:
        method = "POST";
        event_target(options, "/holds", &target);
        hold_body(options, said, &body);
        break;
    case SAY_CONFIRM:
        method = "POST";
        id_target("/v1/holds/", &said->id, "/confirm", &target);
        put_user(&body, said->user);
        put_text(&body, "}");
        break;
    case SAY_RELEASE:
        method = "DELETE";
        id_target("/v1/holds/", &said->id, "?user=", &target);
        put(&target, said->user);
        break;
    case SAY_JOIN:
        method = "POST";
        event_target(options, "/queue", &target);
        put_user(&body, said->user);
        put_text(&body, "}");
        break;
    case SAY_PLACE:
    case SAY_WATCH:
        id_target("/v1/queue/", &said->id, said->wait_ms > 0 ? "?wait_ms=" : "", &target);
        if (said->wait_ms > 0)
            put_number(&target, said->wait_ms);
        break;
    case SAY_LEAVE:
        method = "DELETE";
        id_target("/v1/queue/", &said->id, "", &target);
        break;
    }
    assert(target.size <= TARGET_SIZE_MAX);
    http_begin(request, method, text_of(&target));
    if (said->key.size > 0)
        http_header(request, "Idempotency-Key", said->key);
    http_end(request, text_of(&body));
}

/* Days from 1970-01-01 to a date of the Gregorian calendar (after Howard Hinnant's days_from_civil). */
static int64_t
days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* 2026-12-01T10:00:00.000Z in ms since 1970. */
static bool
time_read(struct bytes text, uint64_t *ret_ms)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    int64_t part[7] = {0};
    uint32_t at = 0;
    if (text.size != sizeof form - 1)
        return false;
    for (uint32_t i = 0; i < text.size; i++) {
        if (form[i] != 'd') {
            at++;
            if (text.data[i] != form[i])
                return false;
        } else if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        } else {
            part[at] = part[at] * 10 + (text.data[i] - '0');
        }
    }
    int64_t ms = ((days_of(part[0], part[1], part[2]) * 24 + part[3]) * 60 + part[4]) * 60 + part[5];
    if (ms < 0)
        return false;
    *ret_ms = (uint64_t)(ms * 1000 + part[6]);
    return true;
}

static bool
id_find(const struct answer *answer, const char *name, struct uuid *ret_id)
{
    uint32_t index = answer_find(answer, 1, name);
    return index != 0 && answer->values[index].kind == ANSWER_TEXT &&
           hold_text_read(answer_text(answer, index), ret_id);
}

/* Absent or null: stays what it is. */
static bool
time_find(const struct answer *answer, const char *name, uint64_t *ret_ms)
{
    uint32_t index = answer_find(answer, 1, name);
    if (index == 0 || answer->values[index].kind == ANSWER_NIL)
        return true;
    return answer->values[index].kind == ANSWER_TEXT && time_read(answer_text(answer, index), ret_ms);
}

static uint32_t
number_find(const struct answer *answer, uint32_t object, const char *name)
{
    uint32_t index = answer_find(answer, object, name);
    bool fits = index != 0 && answer->values[index].kind == ANSWER_INTEGER &&
                answer->values[index].integer >= 0 && answer->values[index].integer <= UINT32_MAX;
    return fits ? (uint32_t)answer->values[index].integer : 0;
}

static const char *
hold_read(const struct load_options *options, const struct answer *answer, struct told *told)
{
    if (!id_find(answer, "hold", &told->id) || !time_find(answer, "deadline", &told->deadline_ms) ||
        told->deadline_ms == 0)
        return "no hold and deadline";
    uint32_t seats = answer_find(answer, 1, "seats");
    if (seats == 0 || answer->values[seats].kind != ANSWER_ARRAY)
        return NULL;
    if (answer->values[seats].size > LOAD_PARTY_MAX)
        return "another number of seats";
    uint32_t index = seats + 1;
    for (uint32_t i = 0; i < answer->values[seats].size; i++) {
        uint32_t name = answer_find(answer, index, "seat");
        if (name == 0 || answer->values[name].kind != ANSWER_TEXT ||
            !sale_seat_read(options, answer_text(answer, name), &told->seats[i].seat))
            return "no seat and version";
        told->seats[i].version = number_find(answer, index, "version");
        index = answer_skip(answer, index);
    }
    told->seat_count = answer->values[seats].size;
    return NULL;
}

static const char *
place_read(const struct answer *answer, struct told *told)
{
    uint32_t state = answer_find(answer, 1, "state");
    if (!id_find(answer, "token", &told->id) || state == 0 || answer->values[state].kind != ANSWER_TEXT ||
        !time_find(answer, "deadline", &told->deadline_ms))
        return "no place";
    told->state = place_state_read(answer_text(answer, state));
    told->position = number_find(answer, 1, "position");
    told->poll_in_ms = number_find(answer, 1, "poll_in_ms");
    return told->state == PLACE_UNKNOWN ? "no state of a place" : NULL;
}

static void
error_read(const struct answer *answer, struct told *told)
{
    uint32_t code = answer->count > 1 ? answer_find(answer, 1, "code") : 0;
    if (code == 0 || answer->values[code].kind != ANSWER_TEXT) {
        snprintf(told->error, sizeof told->error, "HTTP-%lld", (long long)answer->values[0].integer);
        return;
    }
    struct bytes word = answer_text(answer, code);
    for (uint32_t i = 0; i < word.size && i < TOLD_ERROR_SIZE_MAX - 1; i++)
        told->error[i] =
            (char)(word.data[i] >= 'a' && word.data[i] <= 'z' ? word.data[i] - 32 : word.data[i]);
}

static const char *
http_read(const struct load_options *options, const struct said *said, const struct answer *answer,
          struct told *ret_told)
{
    struct told told = {.well = answer->values[0].integer < 300};
    const char *wrong = NULL;
    if (!told.well) {
        error_read(answer, &told);
        *ret_told = told;
        return NULL;
    }
    switch (said->say) {
    case SAY_HOLD:
        wrong = hold_read(options, answer, &told);
        break;
    case SAY_JOIN:
    case SAY_PLACE:
    case SAY_WATCH:
    case SAY_LEAVE:
        wrong = place_read(answer, &told);
        break;
    case SAY_CONFIRM:
    case SAY_RELEASE: {
        struct uuid hold;
        if (!id_find(answer, "hold", &hold) || !uuid_equal(&hold, &said->id))
            wrong = "another hold, or none";
        break;
    }
    case SAY_CREATE:
    case SAY_COUNTS:
    case SAY_SEATS:
    case SAY_LOOK:
        break;
    }
    if (wrong == NULL)
        *ret_told = told;
    return wrong;
}

/* {"section":"A","rows":[{"row":"1","seats":"FFH"}, ...]}: each row is five values. */
static bool
http_row(const struct answer *answer, uint32_t rows, uint32_t row, struct bytes *ret_letters)
{
    uint32_t list = answer->count > 1 ? answer_find(answer, 1, "rows") : 0;
    if (list == 0 || answer->values[list].kind != ANSWER_ARRAY || answer->values[list].size != rows ||
        answer->count < list + 1 + 5 * rows)
        return false;
    uint32_t seats = answer_find(answer, list + 1 + 5 * row, "seats");
    if (seats == 0 || answer->values[seats].kind != ANSWER_TEXT)
        return false;
    *ret_letters = answer_text(answer, seats);
    return true;
}

const struct speech http_speech = {
    .client = &http_client,
    .root = 1,
    .write = http_write,
    .read = http_read,
    .row = http_row,
};
