/*
 * base64url.c - bytes as text that may stand in a URL, a header, or a token.
 *
 * OpenSSL's EVP_EncodeBlock() knows the other alphabet, pads, and its reverse takes several texts for the
 * same bytes, which for a signature must not be.
 */
#include "net/base64url.h"

char *
base64url_put(char *at, const void *data, size_t size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *bytes = data;
    uint32_t bits = 0;
    uint32_t count = 0; /* bits not yet written */
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6)
            *at++ = letters[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *at++ = letters[bits << (6 - count) & 63];
    return at;
}

static int
value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
base64url_parse(struct bytes text, uint8_t *ret_data, size_t room, size_t *ret_size)
{
    uint32_t bits = 0;
    uint32_t count = 0; /* bits not yet taken */
    size_t size = 0;
    if (text.size % 4 == 1 || (size_t)text.size * 3 / 4 > room)
        return false;
    for (uint32_t i = 0; i < text.size; i++) {
        int value = value_of(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            ret_data[size++] = (uint8_t)(bits >> count);
        }
    }
    if ((bits & ((1u << count) - 1)) != 0)
        return false;
    *ret_size = size;
    return true;
}
