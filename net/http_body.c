/*
 * http_body.c - the JSON of a user's holds and of seat maps; single objects are in persist/object_json.c.
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

static void
output_number(struct output *output, uint64_t value)
{
    char *at = output_reserve(output, 20);
    if (at != NULL)
        output_commit(output, put_unsigned(at, value));
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
            output_commit(output, put_hold_json(at, &hold, OBJECT_ANSWER, now_ms));
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

void
http_body_event(struct output *output, const struct reply *reply, uint64_t now_ms)
{
    output_event_json(output, reply->event_view, OBJECT_ANSWER, now_ms);
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
