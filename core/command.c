/*
 * command.c - words and texts of commands and replies.
 *
 * See also: command.h for the structures, message.c for how they cross from shard to shard.
 */
#include "core/command.h"

#include <assert.h>

static const struct {
    const char *word;
    const char *code;
} status_names[STATUS_COUNT] = {
    [STATUS_OK] = {"OK", "ok"},
    [STATUS_NOAUTH] = {"NOAUTH", "noauth"},
    [STATUS_RATELIMIT] = {"RATELIMIT", "ratelimit"},
    [STATUS_BADREQUEST] = {"BADREQUEST", "badrequest"},
    [STATUS_KEYREUSED] = {"KEYREUSED", "keyreused"},
    [STATUS_NOEVENT] = {"NOEVENT", "noevent"},
    [STATUS_NOHOLD] = {"NOHOLD", "nohold"},
    [STATUS_NOTOKEN] = {"NOTOKEN", "notoken"},
    [STATUS_CLOSED] = {"CLOSED", "closed"},
    [STATUS_NOTADMITTED] = {"NOTADMITTED", "notadmitted"},
    [STATUS_EXPIRED] = {"EXPIRED", "expired"},
    [STATUS_RELEASED] = {"RELEASED", "released"},
    [STATUS_CONFIRMED] = {"CONFIRMED", "confirmed"},
    [STATUS_CANCELLED] = {"CANCELLED", "cancelled"},
    [STATUS_NOTCONFIRMED] = {"NOTCONFIRMED", "notconfirmed"},
    [STATUS_NOEXTEND] = {"NOEXTEND", "noextend"},
    [STATUS_NOSEAT] = {"NOSEAT", "noseat"},
    [STATUS_NOPOOL] = {"NOPOOL", "nopool"},
    [STATUS_LIMIT] = {"LIMIT", "limit"},
    [STATUS_HELD] = {"HELD", "held"},
    [STATUS_SOLD] = {"SOLD", "sold"},
    [STATUS_HELDOUT] = {"HELDOUT", "heldout"},
    [STATUS_SOLDOUT] = {"SOLDOUT", "soldout"},
    [STATUS_NOADJACENT] = {"NOADJACENT", "noadjacent"},
    [STATUS_EXISTS] = {"EXISTS", "exists"},
    [STATUS_BUSY] = {"BUSY", "busy"},
};

const char *
status_word(enum status status)
{
    assert((unsigned)status < STATUS_COUNT);
    return status_names[status].word;
}

const char *
status_code(enum status status)
{
    assert((unsigned)status < STATUS_COUNT);
    return status_names[status].code;
}

const char *
hold_state_word(enum hold_state state)
{
    static const char *const words[] = {
        [HOLD_HELD] = "held",       [HOLD_CONFIRMED] = "confirmed", [HOLD_RELEASED] = "released",
        [HOLD_EXPIRED] = "expired", [HOLD_CANCELLED] = "cancelled",
    };
    assert(state >= HOLD_HELD);
    assert(state <= HOLD_CANCELLED);
    return words[state];
}

const char *
token_state_word(enum token_state state)
{
    static const char *const words[] = {
        [TOKEN_WAITING] = "waiting", [TOKEN_ACTIVE] = "active",   [TOKEN_DONE] = "done",
        [TOKEN_LEFT] = "left",       [TOKEN_EXPIRED] = "expired",
    };
    assert(state >= TOKEN_WAITING);
    assert(state <= TOKEN_EXPIRED);
    return words[state];
}

static uint32_t
number_text(uint32_t number, char *ret_text)
{
    char digits[10];
    uint32_t size = 0;
    do {
        digits[size++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (uint32_t i = 0; i < size; i++)
        ret_text[i] = digits[size - 1 - i];
    return size;
}

uint32_t
section_row_name(const struct event_settings *settings, uint32_t section, uint32_t row, char *ret_text)
{
    assert(section < settings->section_count);
    const struct section_settings *s = &event_settings_sections(settings)[section];
    assert(row < s->row_count);
    if (s->regular)
        return number_text(row + 1, ret_text);
    const struct name *name = &event_settings_rows(settings)[s->row_first + row].name;
    memcpy(ret_text, name->text, name->size);
    return name->size;
}

uint32_t
seat_text(const struct event_settings *event, seat_ref ref, char *ret_text)
{
    const struct section_settings *section = &event_settings_sections(event)[SEAT_REF_SECTION(ref)];
    uint32_t size = section->name.size;
    memcpy(ret_text, section->name.text, size);
    ret_text[size++] = '/';
    size += section_row_name(event, SEAT_REF_SECTION(ref), SEAT_REF_ROW(ref), ret_text + size);
    ret_text[size++] = '/';
    size += number_text(SEAT_REF_NUMBER(ref), ret_text + size);
    assert(size <= SEAT_TEXT_SIZE_MAX);
    return size;
}

void
unit_counts_close(struct unit_counts *counts, struct unit_counts *total)
{
    if (counts->sold > counts->capacity)
        counts->sold = counts->capacity;
    if (counts->held > counts->capacity - counts->sold)
        counts->held = counts->capacity - counts->sold;
    counts->free = counts->capacity - counts->sold - counts->held;
    total->capacity += counts->capacity;
    total->free += counts->free;
    total->held += counts->held;
    total->sold += counts->sold;
}

void
event_view_fill(struct event_view *view, const struct event_settings *settings, uint64_t now_ms)
{
    const struct section_settings *sections = event_settings_sections(settings);
    const struct pool_settings *pools = event_settings_pools(settings);
    view->settings = settings;
    view->status = settings->status;
    view->seed_shown = settings->opens_at_ms <= now_ms;
    view->hold_seconds = settings->hold_seconds;
    view->units_per_user_max = settings->units_per_user_max;
    view->queue_active_max = settings->queue_active_max;
    for (uint32_t i = 0; i < settings->section_count; i++)
        view->sections[i].capacity = sections[i].seat_count;
    for (uint32_t i = 0; i < settings->pool_count; i++)
        view->pools[i].capacity = pools[i].capacity;
}
