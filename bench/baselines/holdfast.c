/*
 * holdfast.c - Holdfast itself: HOLD of a unit of a pool, or of a seat, over RESP; the first also over
 * HTTP.
 *
 * The hall is sections 0, 1, ... of up to 1,000 rows of 1,000 seats. Holds live an hour, longer than any
 * measurement, so that nothing comes back meanwhile. Every load has an event of its own; earlier ones stay.
 */
#include "bench/baselines/rival.h"

#include <stdio.h>
#include <string.h>

#define ROW_SEATS       1000u
#define SECTION_ROWS    1000u
#define SECTION_SEATS   (ROW_SEATS * SECTION_ROWS)
#define SECTIONS_MOST   64u
#define CONNECT_SECONDS 10

static bool
event_create(const struct rival_stage *stage, const char *const *words, char *ret_error)
{
    const struct answer *answer;
    struct client *client = resp_client.open(&stage->place, CONNECT_SECONDS, ret_error);
    bool well = client != NULL && resp_command(client, words, &answer, ret_error);
    client_free(client);
    return well;
}

static bool
prepare_deal(struct rival_stage *stage, char *ret_error)
{
    char units[16];
    snprintf(units, sizeof units, "%u", stage->units);
    const char *const words[] = {"EVENT", "CREATE", stage->event, "HOLD", "3600",
                                 "POOL",  "deal",   units,        NULL};
    return event_create(stage, words, ret_error);
}

static bool
prepare_hall(struct rival_stage *stage, char *ret_error)
{
    static const char *const head[] = {"EVENT", "CREATE", NULL, "HOLD", "3600"};
    const char *words[5 + SECTIONS_MOST * 4 + 1];
    char texts[SECTIONS_MOST][2][16];
    uint32_t count = 0;
    uint32_t rows = stage->units / ROW_SEATS;
    if (rows == 0 || rows > SECTIONS_MOST * SECTION_ROWS) {
        snprintf(ret_error, RIVAL_ERROR_SIZE, "a hall has 1,000 to 64,000,000 seats here");
        return false;
    }
    for (; count < 5; count++)
        words[count] = head[count];
    for (uint32_t section = 0; rows > 0; section++) {
        uint32_t here = rows < SECTION_ROWS ? rows : SECTION_ROWS;
        rows -= here;
        snprintf(texts[section][0], sizeof texts[section][0], "%u", section);
        snprintf(texts[section][1], sizeof texts[section][1], "%u", here);
        words[count++] = "SECTION";
        words[count++] = texts[section][0];
        words[count++] = texts[section][1];
        words[count++] = "1000";
    }
    words[2] = stage->event;
    words[count] = NULL;
    return event_create(stage, words, ret_error);
}

static void
hold_begin(const struct rival_stage *stage, struct request_text *request,
           const struct rival_purchase *purchase, uint32_t words)
{
    char user[24];
    snprintf(user, sizeof user, "u%u", purchase->buyer);
    request_begin(request, words);
    request_text(request, "HOLD");
    request_text(request, stage->event);
    request_text(request, user);
}

static void
write_deal(const struct rival_stage *stage, const struct rival_purchase *purchase,
           struct request_text *ret_request)
{
    hold_begin(stage, ret_request, purchase, 6);
    request_text(ret_request, "POOL");
    request_text(ret_request, "deal");
    request_text(ret_request, "1");
}

static void
write_hall(const struct rival_stage *stage, const struct rival_purchase *purchase,
           struct request_text *ret_request)
{
    char seat[32];
    snprintf(seat, sizeof seat, "%u/%u/%u", purchase->seat / SECTION_SEATS,
             purchase->seat / ROW_SEATS % SECTION_ROWS + 1, purchase->seat % ROW_SEATS + 1);
    hold_begin(stage, ret_request, purchase, 5);
    request_text(ret_request, "SEAT");
    request_text(ret_request, seat);
}

/* Whether a refusal is one that a sale has. */
static bool
refused(struct bytes text)
{
    static const char *const words[] = {"HELD ", "SOLD ", "HELDOUT ", "SOLDOUT "};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (text.size > strlen(words[i]) && memcmp(text.data, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

static bool
read_deal(const struct answer *answer, const struct rival_purchase *purchase,
          struct rival_outcome *ret_outcome)
{
    bool granted = answer->values[0].kind == ANSWER_ARRAY;
    (void)purchase;
    ret_outcome->kind = granted ? RIVAL_GRANTED : RIVAL_REFUSED;
    return granted || (answer->values[0].kind == ANSWER_ERROR && refused(answer_text(answer, 0)));
}

/* The seat is told by the answer: the third value after the array, behind hold and deadline. */
static bool
read_hall(const struct answer *answer, const struct rival_purchase *purchase,
          struct rival_outcome *ret_outcome)
{
    char text[32];
    unsigned section, row, number;
    if (!read_deal(answer, purchase, ret_outcome))
        return false;
    if (ret_outcome->kind == RIVAL_REFUSED)
        return true;
    if (answer->count < 5 || answer->values[3].kind != ANSWER_TEXT)
        return false;
    struct bytes seat = answer_text(answer, 3);
    snprintf(text, sizeof text, "%.*s", (int)seat.size, seat.data);
    if (sscanf(text, "%u/%u/%u", &section, &row, &number) != 3)
        return false;
    ret_outcome->unit = section * SECTION_SEATS + (row - 1) * ROW_SEATS + number - 1;
    return true;
}

/* The counts of a whole event: HTTP's answer is a status, then the object; RESP's is the object. */
static bool
counts_read(const struct answer *answer, uint32_t object, struct rival_audit *ret_audit, char *ret_error)
{
    uint32_t counts = answer_find(answer, object, "counts");
    uint32_t held = counts != 0 ? answer_find(answer, counts, "held") : 0;
    uint32_t free = counts != 0 ? answer_find(answer, counts, "free") : 0;
    if (held == 0 || free == 0) {
        snprintf(ret_error, RIVAL_ERROR_SIZE, "the event has no counts");
        return false;
    }
    *ret_audit = (struct rival_audit){(uint64_t)answer->values[held].integer,
                                      (uint64_t)answer->values[free].integer};
    return true;
}

static bool
audit_resp(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    const struct answer *answer;
    struct client *client = resp_client.open(&stage->place, CONNECT_SECONDS, ret_error);
    bool well = client != NULL &&
                resp_command(client, (const char *const[]){"EVENT", "GET", stage->event, NULL}, &answer,
                             ret_error) &&
                counts_read(answer, 0, ret_audit, ret_error);
    client_free(client);
    return well;
}

/* ---- over HTTP ---- */

static bool
http_ask(const struct rival_stage *stage, const char *method, const char *target, const char *body,
         int64_t status, struct rival_audit *ret_audit, char *ret_error)
{
    struct request_text request;
    const struct answer *answer;
    struct client *client = http_client.open(&stage->place, CONNECT_SECONDS, ret_error);
    if (client == NULL)
        return false;
    http_begin(&request, method, (struct bytes){target, (uint32_t)strlen(target)});
    http_end(&request, (struct bytes){body, (uint32_t)strlen(body)});
    client->kind->append(client, &request);
    bool well = client_wait(client, CONNECT_SECONDS, &answer, ret_error);
    if (well && answer->values[0].integer != status) {
        snprintf(ret_error, RIVAL_ERROR_SIZE, "%s %s: status %lld", method, target,
                 (long long)answer->values[0].integer);
        well = false;
    }
    if (well && ret_audit != NULL)
        well = counts_read(answer, 1, ret_audit, ret_error);
    client_free(client);
    return well;
}

static bool
prepare_http(struct rival_stage *stage, char *ret_error)
{
    char body[256];
    snprintf(body, sizeof body,
             "{\"id\":\"%s\",\"hold_seconds\":3600,\"pools\":[{\"name\":\"deal\",\"capacity\":%u}]}",
             stage->event, stage->units);
    return http_ask(stage, "POST", "/v1/events", body, 201, NULL, ret_error);
}

static bool
audit_http(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error)
{
    char target[96];
    snprintf(target, sizeof target, "/v1/events/%s", stage->event);
    return http_ask(stage, "GET", target, "", 200, ret_audit, ret_error);
}

static void
write_http(const struct rival_stage *stage, const struct rival_purchase *purchase,
           struct request_text *ret_request)
{
    char target[96];
    char body[96];
    int size =
        snprintf(body, sizeof body, "{\"user\":\"u%u\",\"pools\":[{\"name\":\"deal\",\"quantity\":1}]}",
                 purchase->buyer);
    int target_size = snprintf(target, sizeof target, "/v1/events/%s/holds", stage->event);
    http_begin(ret_request, "POST", (struct bytes){target, (uint32_t)target_size});
    http_end(ret_request, (struct bytes){body, (uint32_t)size});
}

static bool
read_http(const struct answer *answer, const struct rival_purchase *purchase,
          struct rival_outcome *ret_outcome)
{
    int64_t status = answer->values[0].integer;
    (void)purchase;
    ret_outcome->kind = status == 201 ? RIVAL_GRANTED : RIVAL_REFUSED;
    return status == 201 || status == 409;
}

const struct rival rival_holdfast_resp_deal = {.name = "holdfast-deal",
                                               .what = "Holdfast, a unit of a pool, RESP",
                                               .sale = RIVAL_DEAL,
                                               .client = &resp_client,
                                               .prepare = prepare_deal,
                                               .write = write_deal,
                                               .read = read_deal,
                                               .audit = audit_resp};
const struct rival rival_holdfast_resp_hall = {.name = "holdfast-seat",
                                               .what = "Holdfast, a seat, RESP",
                                               .sale = RIVAL_HALL,
                                               .client = &resp_client,
                                               .prepare = prepare_hall,
                                               .write = write_hall,
                                               .read = read_hall,
                                               .audit = audit_resp};
const struct rival rival_holdfast_http_deal = {.name = "holdfast-http",
                                               .what = "Holdfast, a unit of a pool, HTTP",
                                               .sale = RIVAL_DEAL,
                                               .client = &http_client,
                                               .prepare = prepare_http,
                                               .write = write_http,
                                               .read = read_http,
                                               .audit = audit_http};
