/*
 * fuzz_json.c - any bytes as the body of every request that takes one.
 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define ID "019811f0-7a3b-7c4d-8e5f-0123456789ab"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const lines[] = {
        "POST /v1/events/ev/holds",     "POST /v1/events",
        "PATCH /v1/events/ev",          "POST /v1/holds/" ID "/confirm",
        "POST /v1/holds/" ID "/extend", "POST /v1/holds/" ID "/cancel",
        "POST /v1/events/ev/queue",
    };
    if (size > 1 << 20)
        return 0;
    char *text = malloc(size + 256);
    assert(text != NULL);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        int head =
            snprintf(text, 256, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", lines[i], size);
        assert(head > 0);
        if (size > 0)
            memcpy(text + head, data, size);
        struct drive_text answers = {0};
        bool closed;
        drive(DRIVE_HTTP, text, (size_t)head + size, (size_t)head + size, 1, &answers, &closed);
        assert(!closed); /* whatever the body is, the framing was good */
        assert(answers.size > 0);
        drive_free(&answers);
    }
    free(text);
    return 0;
}
