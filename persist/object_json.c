/*
 * object_json.c - holds, tokens and events as JSON: in answers over HTTP, and in what is published.
 *
 * Nothing here needs escaping: ids and names consist of characters that JSON takes as they are, and all
 * else is numbers and words of ours.
 *
 * What is published is read later than it was written, by others than who asked. So it has nothing that
 * runs down (the members ..._in_ms), nothing that only a look at the whole queue or at all shards can tell
 * (position, chance, counts), and no pass.
 */
#include "persist/object_json.h"

#include "core/text.h"

#include <assert.h>
#include <nettle/sha2.h>

/* Writes a literal to an output. */
#define output_literal(output, literal) output_put((output), "" literal, sizeof(literal) - 1)

char *
put_hold_json(char *at, const struct hold_view *hold, enum object_form form, uint64_t now_ms)
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
    *at++ = '"';
    if (form == OBJECT_ANSWER) {
        at = put_literal(at, ",\"deadline_in_ms\":");
        at = put_unsigned(at, time_left_ms(hold->deadline_ms, now_ms));
    }
    *at++ = '}';
    return at;
}

static char *
put_or_null(char *at, bool there, uint64_t value)
{
    return there ? put_unsigned(at, value) : put_literal(at, "null");
}

/* Where it stands in the queue. */
static char *
put_place(char *at, const struct token_view *token)
{
    bool waiting = token->state == TOKEN_WAITING;
    at = put_literal(at, ",\"position\":");
    at = put_or_null(at, token->position > 0, token->position);
    at = put_literal(at, ",\"ahead\":");
    at = put_or_null(at, token->position > 0, token->position - 1);
    at = put_literal(at, ",\"eta_in_ms\":");
    at = put_or_null(at, waiting, token->eta_ms);
    at = put_literal(at, ",\"poll_in_ms\":");
    at = put_or_null(at, waiting, token->poll_ms);
    at = put_literal(at, ",\"chance\":");
    if (!waiting)
        return put_literal(at, "null");
    return token->chance_none ? put_literal(at, "\"none\"") : put_literal(at, "\"likely\"");
}

static char *
put_pass(char *at, struct bytes pass)
{
    assert(pass.size <= TOKEN_PASS_SIZE_MAX);
    if (pass.size == 0)
        return put_literal(at, ",\"pass\":null");
    at = put_literal(at, ",\"pass\":\"");
    at = put_bytes(at, pass.data, pass.size);
    *at++ = '"';
    return at;
}

/* Each member is always there: null where the state has no such thing. */
char *
put_token_json(char *at, const struct token_view *token, enum object_form form, uint64_t now_ms)
{
    const char *state = token_state_word(token->state);
    bool active = token->state == TOKEN_ACTIVE;
    at = put_literal(at, "{\"token\":\"");
    at = put_uuid(at, &token->id);
    at = put_literal(at, "\",\"event\":\"");
    at = put_bytes(at, token->event->id, token->event->id_size);
    at = put_literal(at, "\",\"user\":\"");
    at = put_bytes(at, token->user.data, token->user.size);
    at = put_literal(at, "\",\"state\":\"");
    at = put_bytes(at, state, strlen(state));
    *at++ = '"';
    if (form == OBJECT_ANSWER)
        at = put_place(at, token);
    if (active) {
        at = put_literal(at, ",\"deadline\":\"");
        at = put_rfc3339(at, token->deadline_ms);
        *at++ = '"';
    } else {
        at = put_literal(at, ",\"deadline\":null");
    }
    if (form == OBJECT_ANSWER) {
        at = put_literal(at, ",\"deadline_in_ms\":");
        at = put_or_null(at, active, time_left_ms(token->deadline_ms, now_ms));
        at = put_pass(at, token->pass);
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

char *
put_lottery_commitment(char *at, const struct event_settings *settings)
{
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&sha);
    sha256_update(&sha, sizeof settings->lottery_seed, settings->lottery_seed);
    sha256_digest(&sha, sizeof digest, digest);
    return put_hex(at, digest, sizeof digest);
}

static void
output_section(struct output *output, const struct event_view *view, enum object_form form, uint32_t index)
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
    if (form == OBJECT_ANSWER)
        output_counts(output, &view->sections[index]);
    output_literal(output, "}");
}

static void
output_queue(struct output *output, const struct event_view *view)
{
    const struct event_settings *settings = view->settings;
    output_literal(output, ",\"queue\":{\"active_max\":");
    output_number(output, view->queue_active_max);
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
output_settings(struct output *output, const struct event_view *view, enum object_form form,
                uint64_t now_ms)
{
    const struct event_settings *settings = view->settings;
    static const char *const statuses[] = {
        [EVENT_OPEN] = "open",
        [EVENT_PAUSED] = "paused",
        [EVENT_CLOSED] = "closed",
    };
    output_literal(output, "{\"id\":\"");
    output_put(output, settings->id, settings->id_size);
    output_literal(output, "\",\"status\":\"");
    output_put(output, statuses[view->status], strlen(statuses[view->status]));
    output_literal(output, "\",\"hold_seconds\":");
    output_number(output, view->hold_seconds);
    output_literal(output, ",\"hold_seconds_max\":");
    output_number(output, settings->hold_seconds_max);
    output_literal(output, ",\"units_per_user_max\":");
    output_number(output, view->units_per_user_max);
    if (settings->opens_at_ms != 0) {
        output_literal(output, ",\"opens_at\":\"");
        char *at = output_reserve(output, 24);
        if (at != NULL)
            output_commit(output, put_rfc3339(at, settings->opens_at_ms));
        output_literal(output, "\"");
        if (form == OBJECT_ANSWER) {
            output_literal(output, ",\"opens_in_ms\":");
            output_number(output, time_left_ms(settings->opens_at_ms, now_ms));
        }
    }
    if (view->queue_active_max != 0)
        output_queue(output, view);
    if (settings->queue_lottery)
        output_lottery(output, settings, view->seed_shown);
}

void
output_event_json(struct output *output, const struct event_view *view, enum object_form form,
                  uint64_t now_ms)
{
    const struct event_settings *settings = view->settings;
    output_settings(output, view, form, now_ms);
    output_literal(output, ",\"sections\":[");
    for (uint32_t i = 0; i < settings->section_count; i++) {
        if (i > 0)
            output_literal(output, ",");
        output_section(output, view, form, i);
    }
    output_literal(output, "],\"pools\":[");
    const struct pool_settings *pools = event_settings_pools(settings);
    for (uint32_t i = 0; i < settings->pool_count; i++) {
        if (i > 0)
            output_literal(output, ",");
        output_name(output, &pools[i].name);
        output_literal(output, ",\"capacity\":");
        output_number(output, view->pools[i].capacity);
        if (form == OBJECT_ANSWER)
            output_counts(output, &view->pools[i]);
        output_literal(output, "}");
    }
    output_literal(output, "]");
    if (form == OBJECT_ANSWER)
        output_counts(output, &view->total);
    output_literal(output, "}");
}
