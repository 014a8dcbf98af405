/*
 * codec_table.c - see codec_table.h. The same tables are sent to the real server by the integration tests.
 */
#include "tests/unit/codec_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* after what it needs and does not include */
#include <cmocka.h>
#include <jansson.h>

/* Longer inputs are cut at some places only: every cut of 64 KiB would take minutes. */
#define CUTS_MAX 1500

static void
expect_same(const char *name, size_t cut, const struct drive_text *whole, bool closed,
            const struct drive_text *text, bool text_closed)
{
    if (text->size != whole->size || memcmp(text->data, whole->data, text->size) != 0 ||
        closed != text_closed)
        fail_msg("%s: cut at %zu the answer is\n%s\nand in one piece\n%s", name, cut, text->data,
                 whole->data);
}

/* Every way of cutting the input in two, and a byte at a time. */
static void
cut_everywhere(enum drive_protocol protocol, const char *name, const char *input, size_t size,
               const struct drive_text *whole, bool closed)
{
    size_t stride = 1 + size / CUTS_MAX;
    for (size_t cut = 0; cut < size; cut += stride) {
        struct drive_text text = {0};
        bool text_closed;
        drive(protocol, input, size, cut, size, &text, &text_closed);
        expect_same(name, cut, whole, closed, &text, text_closed);
        drive_free(&text);
    }
    struct drive_text text = {0};
    bool text_closed;
    drive(protocol, input, size, 1, stride, &text, &text_closed);
    expect_same(name, 1, whole, closed, &text, text_closed);
    drive_free(&text);
}

static const char *
member(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text != NULL ? text : "";
}

/* RESP: the whole answer. HTTP: its first line, its body, Allow and Connection. */
static bool
answer_good(enum drive_protocol protocol, const json_t *row, const struct drive_text *answers)
{
    const char *answer = member(row, "answer");
    if (protocol == DRIVE_RESP)
        return answers->size == strlen(answer) && memcmp(answers->data, answer, answers->size) == 0;
    if (answers->data == NULL || strncmp(answers->data, answer, strlen(answer)) != 0)
        return false;
    const char *head_end = strstr(answers->data, "\r\n\r\n");
    if (head_end == NULL)
        return false;
    if (strcmp(head_end + 4, member(row, "body")) != 0)
        return false;
    char line[128];
    const char *allow = member(row, "allow");
    (void)snprintf(line, sizeof line, "\r\nAllow: %s\r\n", allow);
    if ((strstr(answers->data, "\r\nAllow: ") != NULL) != (allow[0] != 0))
        return false;
    if (allow[0] != 0 && strstr(answers->data, line) == NULL)
        return false;
    bool closes = json_is_true(json_object_get(row, "closes"));
    return (strstr(answers->data, "\r\nConnection: close\r\n") != NULL) == closes;
}

size_t
codec_table_run(enum drive_protocol protocol, const char *path)
{
    json_error_t error;
    json_t *rows = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (rows == NULL)
        fail_msg("%s: %s", path, error.text);
    size_t count = json_array_size(rows);
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(rows, i);
        const char *name = member(row, "name");
        size_t size;
        const json_t *text = json_object_get(row, "input");
        char *input = drive_bytes(json_string_value(text), json_string_length(text), &size);
        struct drive_text answers = {0};
        bool closed;
        drive(protocol, input, size, size, 1, &answers, &closed);
        if (!answer_good(protocol, row, &answers) || closed != json_is_true(json_object_get(row, "closes")))
            fail_msg("%s: the answer is\n%s\nclosed: %d, and it should be\n%s%s", name, answers.data,
                     closed, member(row, "answer"), member(row, "body"));
        cut_everywhere(protocol, name, input, size, &answers, closed);
        drive_free(&answers);
        free(input);
    }
    json_decref(rows);
    return count;
}
