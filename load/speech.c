/*
 * speech.c - names and states, which both protocols share.
 */
#include "load/speech.h"

const struct speech *
speech_of(const struct load_options *options)
{
    return options->protocol == &http_client ? &http_speech : &resp_speech;
}

enum place_state
place_state_read(struct bytes word)
{
    static const struct {
        const char *word;
        enum place_state state;
    } states[] = {{"waiting", PLACE_WAITING},
                  {"active", PLACE_ACTIVE},
                  {"done", PLACE_DONE},
                  {"left", PLACE_LEFT},
                  {"expired", PLACE_EXPIRED}};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (bytes_equal(word, (struct bytes){states[i].word, (uint32_t)strlen(states[i].word)}))
            return states[i].state;
    return PLACE_UNKNOWN;
}

uint32_t
sale_seat_text(const struct load_options *options, uint32_t seat, char *ret_text)
{
    uint32_t size = sizeof SALE_SECTION - 1;
    memcpy(ret_text, SALE_SECTION, size);
    ret_text[size++] = '/';
    size += digits_write(ret_text + size, seat / options->row_seats + 1);
    ret_text[size++] = '/';
    size += digits_write(ret_text + size, seat % options->row_seats + 1);
    return size;
}

bool
sale_seat_read(const struct load_options *options, struct bytes text, uint32_t *ret_seat)
{
    uint32_t part[2] = {0, 0};
    uint32_t at = sizeof SALE_SECTION - 1;
    if (text.size >= SEAT_TEXT_SIZE_MAX || text.size <= at || memcmp(text.data, SALE_SECTION, at) != 0)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        if (at == text.size || text.data[at++] != '/')
            return false;
        for (; at < text.size && text.data[at] >= '0' && text.data[at] <= '9' && part[i] < 100000; at++)
            part[i] = part[i] * 10 + (uint32_t)(text.data[at] - '0');
    }
    if (at != text.size || part[0] - 1 >= options->rows || part[1] - 1 >= options->row_seats)
        return false;
    *ret_seat = (part[0] - 1) * options->row_seats + part[1] - 1;
    return true;
}
