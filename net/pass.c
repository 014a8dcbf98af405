/*
 * pass.c - passes: JSON Web Tokens (RFC 7519) in the compact form, signed with HMAC-SHA256 (RFC 7515,
 * 7518).
 *
 *     {"alg":"HS256","typ":"JWT"} . {"sub":USER,"aud":EVENT,"jti":TOKEN,"exp":SECONDS} . signature
 *
 * OpenSSL signs, jansson reads the claims. What is left to do by hand is to put the three parts together
 * and to say in which order they are looked at:
 *
 *   1. the signature, over the bytes as they came, by HMAC-SHA256 and nothing else. A header cannot choose:
 *      "alg":"none" has no signature of 32 bytes, and another alg's does not match.
 *   2. only then, what somebody with the secret has written: the header's alg, and no "crit"; the claims.
 *
 * So nothing that a stranger wrote is ever parsed. docs/decisions/0008 compares with libjwt.
 *
 * OpenSSL's HMAC() and jansson allocate while they work and give it back before they return: the one
 * exception to "nothing allocates in the request path"; it concerns requests that bring or ask for a pass.
 */
#include "net/pass.h"

#include "net/base64url.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define SIGNATURE_SIZE    32
#define SECRET_DRAWN_SIZE 32

/* ---- secrets ---- */

static bool
is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
sign(const struct pass_secret *secret, const char *text, size_t size, uint8_t ret_signature[SIGNATURE_SIZE])
{
    unsigned int signature_size = 0;
    const unsigned char *done = HMAC(EVP_sha256(), secret->bytes, (int)secret->size,
                                     (const unsigned char *)text, size, ret_signature, &signature_size);
    assert(done != NULL); /* fails only without memory, or without SHA-256 */
    assert(signature_size == SIGNATURE_SIZE);
}

bool
pass_secret_read(const char *path, struct pass_secret *ret_secret, char *ret_cause, size_t cause_size)
{
    uint8_t bytes[PASS_SECRET_SIZE_MAX + 256];
    size_t size = 0;
    ssize_t got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && got > 0 && size < sizeof bytes) {
        got = read(fd, bytes + size, sizeof bytes - size);
        size += got > 0 ? (size_t)got : 0;
    }
    int error = errno;
    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (fd < 0 || got < 0) {
        (void)snprintf(ret_cause, cause_size, "cannot read the secret of passes '%s': %s", path,
                       strerror(error));
        return false;
    }
    size_t first = 0;
    while (first < size && is_space(bytes[first]))
        first++;
    while (size > first && is_space(bytes[size - 1]))
        size--;
    struct pass_secret secret = {.size = (uint32_t)(size - first)};
    if (secret.size < PASS_SECRET_SIZE_MIN || secret.size > PASS_SECRET_SIZE_MAX) {
        (void)snprintf(ret_cause, cause_size,
                       "the secret of passes in '%s' has %s bytes: expected %d to %d without white space "
                       "around them (openssl rand -hex 32 makes a good one)",
                       path, secret.size < PASS_SECRET_SIZE_MIN ? "too few" : "too many",
                       PASS_SECRET_SIZE_MIN, PASS_SECRET_SIZE_MAX);
        return false;
    }
    memcpy(secret.bytes, bytes + first, secret.size);
    *ret_secret = secret;
    /* The library sets itself up at its first use, which takes milliseconds: not within a request. */
    uint8_t signature[SIGNATURE_SIZE];
    sign(ret_secret, "", 0, signature);
    return true;
}

static int
directory_sync(const char *path)
{
    char copy[PATH_MAX];
    (void)snprintf(copy, sizeof copy, "%s", path); /* it could be opened, so it fits */
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd); /* synced, or failed */
    return result;
}

static int
secret_write(const char *path, const char *temporary, const char *text, size_t size)
{
    (void)unlink(temporary); /* of a start that was cut short */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, size);
    int result = written == (ssize_t)size ? 0 : written < 0 ? -errno : -ENOSPC;
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    /* a link, not a rename: it never takes the place of a secret that is there */
    if (result == 0 && link(temporary, path) != 0 && errno != EEXIST)
        result = -errno;
    (void)unlink(temporary); /* linked, or of no use */
    return result == 0 ? directory_sync(path) : result;
}

bool
pass_secret_make(const char *path, char *ret_cause, size_t cause_size)
{
    char temporary[PATH_MAX];
    uint8_t random[SECRET_DRAWN_SIZE];
    char text[BASE64URL_SIZE(SECRET_DRAWN_SIZE) + 1];
    if (access(path, F_OK) == 0)
        return true;
    int result = 0;
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        result = -ENAMETOOLONG;
    else if (getrandom(random, sizeof random, 0) != sizeof random)
        result = -EIO;
    if (result == 0) {
        char *end = base64url_put(text, random, sizeof random);
        *end++ = '\n';
        result = secret_write(path, temporary, text, (size_t)(end - text));
    }
    if (result != 0)
        (void)snprintf(ret_cause, cause_size, "could not make the secret of passes '%s': %s", path,
                       strerror(-result));
    return result == 0;
}

/* ---- making ---- */

uint32_t
pass_make(const struct pass_secrets *secrets, struct bytes user, struct bytes event,
          const struct uuid *token, uint64_t deadline_ms, char *ret_text)
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    char claims[EVENT_ID_SIZE_MAX + USER_ID_SIZE_MAX + UUID_TEXT_SIZE + 80];
    uint8_t signature[SIGNATURE_SIZE];
    static_assert(BASE64URL_SIZE(sizeof header) + BASE64URL_SIZE(sizeof claims) +
                          BASE64URL_SIZE(SIGNATURE_SIZE) + 2 <=
                      PASS_SIZE_MAX,
                  "the longest pass fits");
    assert(secrets->current.size > 0);
    assert(user.size <= USER_ID_SIZE_MAX);
    assert(event.size <= EVENT_ID_SIZE_MAX);
    const uint8_t *b = token->byte;
    /* ids have no character that JSON would want escaped */
    int size = snprintf(claims, sizeof claims,
                        "{\"sub\":\"%.*s\",\"aud\":\"%.*s\",\"jti\":\"%02x%02x%02x%02x-%02x%02x-%02x%02x-"
                        "%02x%02x-%02x%02x%02x%02x%02x%02x\",\"exp\":%llu}",
                        (int)user.size, user.data, (int)event.size, event.data, b[0], b[1], b[2], b[3],
                        b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15],
                        (unsigned long long)((deadline_ms + 999) / 1000));
    assert(size > 0);
    assert((size_t)size < sizeof claims);
    char *at = base64url_put(ret_text, header, sizeof header - 1);
    *at++ = '.';
    at = base64url_put(at, claims, (size_t)size);
    sign(&secrets->current, ret_text, (size_t)(at - ret_text), signature);
    *at++ = '.';
    at = base64url_put(at, signature, sizeof signature);
    return (uint32_t)(at - ret_text);
}

/* ---- checking ---- */

static bool
signature_good(const struct pass_secret *secret, const char *text, size_t size, const uint8_t *signature)
{
    uint8_t right[SIGNATURE_SIZE];
    if (secret->size == 0)
        return false;
    sign(secret, text, size, right);
    return CRYPTO_memcmp(right, signature, sizeof right) == 0;
}

/* A part as a JSON object, or NULL. */
static json_t *
part_parse(struct bytes part)
{
    uint8_t json[PASS_SHOWN_SIZE_MAX];
    size_t size;
    if (!base64url_parse(part, json, sizeof json, &size))
        return NULL;
    json_t *value = json_loadb((const char *)json, size, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

static bool
string_is(const json_t *value, struct bytes text)
{
    return json_is_string(value) && json_string_length(value) == text.size &&
           memcmp(json_string_value(value), text.data, text.size) == 0;
}

/* RFC 7519, 4.1.3: one, or a list of them. */
static bool
audience_has(const json_t *audience, struct bytes event)
{
    if (!json_is_array(audience))
        return string_is(audience, event);
    for (size_t i = 0; i < json_array_size(audience); i++)
        if (string_is(json_array_get(audience, i), event))
            return true;
    return false;
}

static bool
header_good(struct bytes part)
{
    json_t *header = part_parse(part);
    /* crit: what must be understood, of which there is nothing here (RFC 7515, 4.1.11) */
    bool good = header != NULL && string_is(json_object_get(header, "alg"), (struct bytes){"HS256", 5}) &&
                json_object_get(header, "crit") == NULL;
    json_decref(header);
    return good;
}

static bool
claims_good(struct bytes part, struct bytes user, struct bytes event, uint64_t now_ms)
{
    json_t *claims = part_parse(part);
    double now = (double)now_ms / 1000;
    const json_t *expires = json_object_get(claims, "exp");
    const json_t *not_before = json_object_get(claims, "nbf");
    bool good =
        claims != NULL && string_is(json_object_get(claims, "sub"), user) &&
        audience_has(json_object_get(claims, "aud"), event) && json_is_number(expires) &&
        json_number_value(expires) > now &&
        (not_before == NULL || (json_is_number(not_before) && json_number_value(not_before) <= now));
    json_decref(claims);
    return good;
}

bool
pass_check(const struct pass_secrets *secrets, struct bytes text, struct bytes user, struct bytes event,
           uint64_t now_ms)
{
    uint8_t signature[SIGNATURE_SIZE];
    size_t signature_size;
    if (text.size == 0 || text.size > PASS_SHOWN_SIZE_MAX)
        return false;
    const char *end = text.data + text.size;
    const char *first = memchr(text.data, '.', text.size);
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL)
        return false;
    struct bytes header = {text.data, (uint32_t)(first - text.data)};
    struct bytes claims = {first + 1, (uint32_t)(second - first - 1)};
    struct bytes last = {second + 1, (uint32_t)(end - second - 1)};
    if (!base64url_parse(last, signature, sizeof signature, &signature_size) ||
        signature_size != sizeof signature)
        return false;
    size_t signed_size = (size_t)(second - text.data);
    if (!signature_good(&secrets->current, text.data, signed_size, signature) &&
        !signature_good(&secrets->old, text.data, signed_size, signature))
        return false;
    return header_good(header) && claims_good(claims, user, event, now_ms);
}
