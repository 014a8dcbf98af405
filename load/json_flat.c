/*
 * json_flat.c - JSON as a flat run of values.
 *
 * One pass, no tree and no allocation for a value: an object is an array of names and values in turns, as
 * RESP2 has maps. jansson reads the same and costs twice what the rest of an HTTP answer costs the
 * generator (docs/decisions/0012); it stays for the reports.
 */
#include "load/json_flat.h"

struct reader {
    char *base;
    uint32_t at;
    uint32_t end;
    struct answer_room *answer;
};

static void
space_skip(struct reader *reader)
{
    while (reader->at < reader->end && memchr(" \t\r\n", reader->base[reader->at], 4) != NULL)
        reader->at++;
}

static bool
take(struct reader *reader, char wanted)
{
    if (reader->at == reader->end || reader->base[reader->at] != wanted)
        return false;
    reader->at++;
    return true;
}

static bool
word_take(struct reader *reader, const char *word)
{
    uint32_t size = (uint32_t)strlen(word);
    if (reader->end - reader->at < size || memcmp(reader->base + reader->at, word, size) != 0)
        return false;
    reader->at += size;
    return true;
}

static bool
hex4_take(struct reader *reader, uint32_t *ret_code)
{
    uint32_t code = 0;
    if (reader->end - reader->at < 4)
        return false;
    for (uint32_t i = 0; i < 4; i++) {
        char digit = reader->base[reader->at++];
        uint32_t value = digit >= '0' && digit <= '9'   ? (uint32_t)(digit - '0')
                         : digit >= 'a' && digit <= 'f' ? (uint32_t)(digit - 'a') + 10
                         : digit >= 'A' && digit <= 'F' ? (uint32_t)(digit - 'A') + 10
                                                        : 16;
        if (value == 16)
            return false;
        code = code << 4 | value;
    }
    *ret_code = code;
    return true;
}

/* UTF-8 of a code point: at most as long as the escape it stands for. */
static uint32_t
utf8_write(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 63));
        to[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 63));
    to[2] = (char)(0x80 | (code >> 6 & 63));
    to[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* Behind "\u". A pair of surrogates is one code point; one alone is refused. */
static bool
unicode_take(struct reader *reader, uint32_t *to)
{
    uint32_t code, low;
    if (!hex4_take(reader, &code) || (code >= 0xdc00 && code < 0xe000))
        return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (!word_take(reader, "\\u") || !hex4_take(reader, &low) || low < 0xdc00 || low >= 0xe000)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to += utf8_write(reader->base + *to, code);
    return true;
}

/* Behind the first quote. What an escape stands for is never longer, so it is written where it was read. */
static bool
string_take(struct reader *reader)
{
    struct answer_value *value = answer_add(reader->answer, ANSWER_TEXT);
    if (value == NULL)
        return false;
    uint32_t to = reader->at;
    value->text = to;
    while (reader->at < reader->end) {
        char c = reader->base[reader->at++];
        if (c == '"') {
            value->size = to - value->text;
            return true;
        }
        if ((unsigned char)c < 0x20)
            return false;
        if (c != '\\') {
            reader->base[to++] = c;
            continue;
        }
        if (reader->at == reader->end)
            return false;
        char escape = reader->base[reader->at++];
        static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
        const char *name = memchr(names, escape, sizeof names - 1);
        if (name != NULL)
            reader->base[to++] = meanings[name - names];
        else if (escape != 'u' || !unicode_take(reader, &to))
            return false;
    }
    return false;
}

static uint32_t
digits_take(struct reader *reader)
{
    uint32_t first = reader->at;
    while (reader->at < reader->end && reader->base[reader->at] >= '0' && reader->base[reader->at] <= '9')
        reader->at++;
    return reader->at - first;
}

static bool
number_take(struct reader *reader)
{
    uint32_t first = reader->at;
    bool minus = take(reader, '-');
    uint32_t digits_first = reader->at;
    uint32_t digits = digits_take(reader);
    if (digits == 0 || (digits > 1 && reader->base[digits_first] == '0'))
        return false;
    bool whole = digits <= 18;
    if (take(reader, '.')) {
        whole = false;
        if (digits_take(reader) == 0)
            return false;
    }
    if (take(reader, 'e') || take(reader, 'E')) {
        whole = false;
        if (!take(reader, '+'))
            (void)take(reader, '-'); /* a sign may be there */
        if (digits_take(reader) == 0)
            return false;
    }
    struct answer_value *value = answer_add(reader->answer, whole ? ANSWER_INTEGER : ANSWER_TEXT);
    if (value == NULL)
        return false;
    if (!whole) {
        value->text = first;
        value->size = reader->at - first;
        return true;
    }
    int64_t number = 0;
    for (uint32_t i = 0; i < digits; i++)
        number = number * 10 + (reader->base[digits_first + i] - '0');
    value->integer = minus ? -number : number;
    return true;
}

static bool
truth_add(struct reader *reader, enum answer_kind kind, int64_t integer)
{
    struct answer_value *value = answer_add(reader->answer, kind);
    if (value == NULL)
        return false;
    value->integer = integer;
    return true;
}

static bool value_take(struct reader *reader, uint32_t depth);

/* Behind the first bracket. */
static bool
elements_take(struct reader *reader, uint32_t depth, char close)
{
    uint32_t index = reader->answer->count;
    uint32_t size = 0;
    if (depth == JSON_DEPTH_MAX || answer_add(reader->answer, ANSWER_ARRAY) == NULL)
        return false;
    space_skip(reader);
    if (!take(reader, close)) {
        do {
            space_skip(reader);
            if (close == '}') {
                if (!take(reader, '"') || !string_take(reader))
                    return false;
                space_skip(reader);
                if (!take(reader, ':'))
                    return false;
                size++;
            }
            if (!value_take(reader, depth + 1))
                return false;
            size++;
            space_skip(reader);
        } while (take(reader, ','));
        if (!take(reader, close))
            return false;
    }
    reader->answer->values[index].size = size;
    return true;
}

/* Recursion is bounded by JSON_DEPTH_MAX. */
static bool
value_take(struct reader *reader, uint32_t depth)
{
    space_skip(reader);
    if (take(reader, '"'))
        return string_take(reader);
    if (take(reader, '{'))
        return elements_take(reader, depth, '}');
    if (take(reader, '['))
        return elements_take(reader, depth, ']');
    if (word_take(reader, "null"))
        return truth_add(reader, ANSWER_NIL, 0);
    if (word_take(reader, "true"))
        return truth_add(reader, ANSWER_INTEGER, 1);
    if (word_take(reader, "false"))
        return truth_add(reader, ANSWER_INTEGER, 0);
    return number_take(reader);
}

bool
json_flatten(char *base, uint32_t first, uint32_t end, struct answer_room *answer)
{
    struct reader reader = {base, first, end, answer};
    if (!value_take(&reader, 0))
        return false;
    space_skip(&reader);
    return reader.at == reader.end;
}
