/*
 * http_body.c - the JSON of holds, users, events and seat maps.
 *
 * Nothing here needs escaping: ids and names consist of characters that JSON takes as they are, and all
 * else is numbers and words of ours.
 *
 * See also: http_reply.c for the heads around it, resp_reply.c for the same in RESP.
 */
#include "net/http_reply_internal.h"

#include <assert.h>

/* Writes a literal to an output. */
#define output_literal(output, literal) output_put((output), "" literal, sizeof(literal) - 1)

char *
put_hold_json(char *at, const struct hold_view *hold, uint64_t now_ms)
{
    const char *state = hold_state_word(hold->state);
    at = put_literal(at, "{\"hold\":\"");
    at = put_uuid(at, &hold->id);
    at = put_literal(at, "\",\"event\":\"");
    at = put_bytes(at, hold->event->id, hold->event->id_size);
    at = put_literal(at, "\",\"user\":\"");
    at = put_bytes(at, hold->user.data, hold->user.size);
    at = put_literal(at, "\",\"state\":\"");
    at = put_bytes(at, state, strlen(state));
    at = put_literal(at, "\",\"seats\":[");
    for (uint32_t i = 0; i < hold->seat_count; i++) {
        at = i == 0 ? put_literal(at, "{\"seat\":\"") : put_literal(at, ",{\"seat\":\"");
        at += seat_text(hold->event, hold->seats[i].ref, at);
        at = put_literal(at, "\",\"version\":");
        at = put_unsigned(at, hold->seats[i].version);
        *at++ = '}';
    }
    at = put_literal(at, "],\"pools\":[");
    const struct pool_settings *pools = event_settings_pools(hold->event);
    for (uint32_t i = 0; i < hold->pool_count; i++) {
        const struct name *name = &pools[hold->pools[i].pool].name;
        at = i == 0 ? put_literal(at, "{\"name\":\"") : put_literal(at, ",{\"name\":\"");
        at = put_bytes(at, name->text, name->size);
        at = put_literal(at, "\",\"quantity\":");
        at = put_unsigned(at, hold->pools[i].quantity);
        *at++ = '}';
    }
    at = put_literal(at, "],\"deadline\":\"");
    at = put_rfc3339(at, hold->deadline_ms);
    at = put_literal(at, "\",\"deadline_in_ms\":");
    at = put_unsigned(at, time_left_ms(hold->deadline_ms, now_ms));
    *at++ = '}';
    return at;
}

static char *
put_or_null(char *at, bool there, uint64_t value)
{
    return there ? put_unsigned(at, value) : put_literal(at, "null");
}

/* Each member is always there: null where the state has no such thing. */
char *
put_token_json(char *at, const struct token_view *token, uint64_t now_ms)
{
    const char *state = token_state_word(token->state);
    bool waiting = token->state == TOKEN_WAITING;
    bool active = token->state == TOKEN_ACTIVE;
    at = put_literal(at, "{\"token\":\"");
    at = put_uuid(at, &token->id);
    at = put_literal(at, "\",\"event\":\"");
    at = put_bytes(at, token->event->id, token->event->id_size);
    at = put_literal(at, "\",\"user\":\"");
    at = put_bytes(at, token->user.data, token->user.size);
    at = put_literal(at, "\",\"state\":\"");
    at = put_bytes(at, state, strlen(state));
    at = put_literal(at, "\",\"position\":");
    at = put_or_null(at, token->position > 0, token->position);
    at = put_literal(at, ",\"ahead\":");
    at = put_or_null(at, token->position > 0, token->position - 1);
    at = put_literal(at, ",\"eta_in_ms\":");
    at = put_or_null(at, waiting, token->eta_ms);
    at = put_literal(at, ",\"poll_in_ms\":");
    at = put_or_null(at, waiting, token->poll_ms);
    at = put_literal(at, ",\"chance\":");
    if (waiting)
        at = token->chance_none ? put_literal(at, "\"none\"") : put_literal(at, "\"likely\"");
    else
        at = put_literal(at, "null");
    if (active) {
        at = put_literal(at, ",\"deadline\":\"");
        at = put_rfc3339(at, token->deadline_ms);
        at = put_literal(at, "\",\"deadline_in_ms\":");
        at = put_unsigned(at, time_left_ms(token->deadline_ms, now_ms));
    } else {
        at = put_literal(at, ",\"deadline\":null,\"deadline_in_ms\":null");
    }
    if (token->pass.size > 0) {
        assert(token->pass.size <= TOKEN_PASS_SIZE_MAX);
        at = put_literal(at, ",\"pass\":\"");
        at = put_bytes(at, token->pass.data, token->pass.size);
        *at++ = '"';
    } else {
        at = put_literal(at, ",\"pass\":null");
    }
    *at++ = '}';
    return at;
}

static void
output_number(struct output *output, uint64_t value)
{
    char *at = output_reserve(output, 20);
    if (at != NULL)
        output_commit(output, put_unsigned(at, value));
}

static void
output_name(struct output *output, const struct name *name)
{
    output_literal(output, "{\"name\":\"");
    output_put(output, name->text, name->size);
    output_literal(output, "\"");
}

static void
output_counts(struct output *output, const struct unit_counts *counts)
{
    output_literal(output, ",\"counts\":{\"capacity\":");
    output_number(output, counts->capacity);
    output_literal(output, ",\"free\":");
    output_number(output, counts->free);
    output_literal(output, ",\"held\":");
    output_number(output, counts->held);
    output_literal(output, ",\"sold\":");
    output_number(output, counts->sold);
    output_literal(output, "}");
}

void
http_body_holds(struct output *output, const struct reply *reply, uint64_t now_ms)
{
    output_literal(output, "{\"event\":\"");
    output_put(output, reply->event->id, reply->event->id_size);
    output_literal(output, "\",\"user\":\"");
    output_put(output, reply->user.data, reply->user.size);
    output_literal(output, "\",\"holds\":[");
    struct bytes cursor = reply->holds;
    struct hold_view hold;
    uint32_t count = 0;
    while (reply_next_hold(reply, &cursor, &hold)) {
        if (count++ > 0)
            output_literal(output, ",");
        char *at = output_reserve(output, HOLD_JSON_SIZE_MAX);
        if (at != NULL)
            output_commit(output, put_hold_json(at, &hold, now_ms));
    }
    assert(count == reply->hold_count);
    output_literal(output, "],\"used\":");
    output_number(output, reply->used);
    char *at = output_reserve(output, 64);
    if (at == NULL)
        return;
    if (reply->has_token) {
        at = put_literal(at, ",\"token\":\"");
        at = put_uuid(at, &reply->token_id);
        at = put_literal(at, "\"}");
    } else {
        at = put_literal(at, ",\"token\":null}");
    }
    output_commit(output, at);
}

static void
output_section(struct output *output, const struct event_view *view, uint32_t index)
{
    const struct section_settings *section = &event_settings_sections(view->settings)[index];
    output_name(output, &section->name);
    output_literal(output, ",\"rows\":");
    if (section->regular) {
        output_number(output, section->row_count);
        output_literal(output, ",\"seats_per_row\":");
        output_number(output, section->row_seats);
    } else {
        const struct row_settings *rows = event_settings_rows(view->settings) + section->row_first;
        for (uint32_t i = 0; i < section->row_count; i++) {
            output_put(output, i == 0 ? "[" : ",", 1);
            output_name(output, &rows[i].name);
            output_literal(output, ",\"seats\":");
            output_number(output, rows[i].seat_count);
            output_literal(output, "}");
        }
        output_literal(output, "]");
    }
    output_counts(output, &view->sections[index]);
    output_literal(output, "}");
}

static void
output_queue(struct output *output, const struct event_settings *settings)
{
    output_literal(output, ",\"queue\":{\"active_max\":");
    output_number(output, settings->queue_active_max);
    output_literal(output, ",\"active_seconds\":");
    output_number(output, settings->queue_active_seconds);
    output_literal(output, ",\"grace_seconds\":");
    output_number(output, settings->queue_grace_seconds);
    output_literal(output, ",\"lottery\":");
    if (settings->queue_lottery)
        output_literal(output, "true}");
    else
        output_literal(output, "false}");
}

/* What the seed is is known from the start by its hash, and told when all who are drawn have come. */
static void
output_lottery(struct output *output, const struct event_settings *settings, bool open)
{
    char *at = output_reserve(output, 256);
    if (at == NULL)
        return;
    at = put_literal(at, ",\"lottery_commitment\":\"");
    at = put_lottery_commitment(at, settings);
    *at++ = '"';
    if (open) {
        at = put_literal(at, ",\"lottery_seed\":\"");
        at = put_hex(at, settings->lottery_seed, sizeof settings->lottery_seed);
        *at++ = '"';
    }
    output_commit(output, at);
}

static void
output_settings(struct output *output, const struct event_settings *settings, uint64_t now_ms)
{
    static const char *const statuses[] = {
        [EVENT_OPEN] = "open",
        [EVENT_PAUSED] = "paused",
        [EVENT_CLOSED] = "closed",
    };
    output_literal(output, "{\"id\":\"");
    output_put(output, settings->id, settings->id_size);
    output_literal(output, "\",\"status\":\"");
    output_put(output, statuses[settings->status], strlen(statuses[settings->status]));
    output_literal(output, "\",\"hold_seconds\":");
    output_number(output, settings->hold_seconds);
    output_literal(output, ",\"hold_seconds_max\":");
    output_number(output, settings->hold_seconds_max);
    output_literal(output, ",\"units_per_user_max\":");
    output_number(output, settings->units_per_user_max);
    if (settings->opens_at_ms != 0) {
        output_literal(output, ",\"opens_at\":\"");
        char *at = output_reserve(output, 24);
        if (at != NULL)
            output_commit(output, put_rfc3339(at, settings->opens_at_ms));
        output_literal(output, "\"");
    }
    if (settings->queue_active_max != 0)
        output_queue(output, settings);
    if (settings->queue_lottery)
        output_lottery(output, settings, settings->opens_at_ms <= now_ms);
}

void
http_body_event(struct output *output, const struct reply *reply, uint64_t now_ms)
{
    const struct event_view *view = reply->event_view;
    const struct event_settings *settings = view->settings;
    output_settings(output, settings, now_ms);
    output_literal(output, ",\"sections\":[");
    for (uint32_t i = 0; i < settings->section_count; i++) {
        if (i > 0)
            output_literal(output, ",");
        output_section(output, view, i);
    }
    output_literal(output, "],\"pools\":[");
    const struct pool_settings *pools = event_settings_pools(settings);
    for (uint32_t i = 0; i < settings->pool_count; i++) {
        if (i > 0)
            output_literal(output, ",");
        output_name(output, &pools[i].name);
        output_literal(output, ",\"capacity\":");
        output_number(output, pools[i].capacity);
        output_counts(output, &view->pools[i]);
        output_literal(output, "}");
    }
    output_literal(output, "]");
    output_counts(output, &view->total);
    output_literal(output, "}");
}

void
http_body_map(struct output *output, const struct reply *reply, uint64_t now_ms)
{
    (void)now_ms; /* nothing here runs down */
    const struct map_view *map = reply->map;
    if (map->row_from == 0) {
        const struct name *name = &event_settings_sections(map->event)[map->section].name;
        output_literal(output, "{\"section\":\"");
        output_put(output, name->text, name->size);
        output_literal(output, "\",\"rows\":[");
    }
    const char *letters = map->letters;
    for (uint32_t row = map->row_from; row < map->row_to; row++) {
        char name[NAME_SIZE_MAX];
        uint32_t name_size = section_row_name(map->event, map->section, row, name);
        uint32_t seats = section_row_seats(map->event, map->section, row);
        if (row > 0)
            output_literal(output, ",");
        output_literal(output, "{\"row\":\"");
        output_put(output, name, name_size);
        output_literal(output, "\",\"seats\":\"");
        output_put(output, letters, seats);
        output_literal(output, "\"}");
        letters += seats;
    }
    if (map->row_to == map->row_count)
        output_literal(output, "]}");
}
