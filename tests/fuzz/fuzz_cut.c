/*
 * fuzz_cut.c - see fuzz.h. Where to cut is drawn from the bytes themselves, so that an input always does
 * the same.
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

void
fuzz_cut(enum drive_protocol protocol, const char *data, size_t size)
{
    struct drive_text whole = {0};
    bool closed;
    drive(protocol, data, size, size, 1, &whole, &closed);
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)data[i]) * 16777619u;
    size_t cuts[3][2] = {
        {size > 0 ? hash % size : 0, size}, {0, 1 + size / 256}, {1, 1 + (hash >> 8) % 17 + size / 1024}};
    for (size_t i = 0; i < 3; i++) {
        struct drive_text text = {0};
        bool text_closed;
        drive(protocol, data, size, cuts[i][0], cuts[i][1], &text, &text_closed);
        if (text.size != whole.size || memcmp(text.data, whole.data, text.size) != 0 ||
            text_closed != closed) {
            fprintf(stderr, "cut at %zu, then by %zu:\n%s\nin one piece:\n%s\n", cuts[i][0], cuts[i][1],
                    text.data, whole.data);
            abort();
        }
        drive_free(&text);
    }
    drive_free(&whole);
}
