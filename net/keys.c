/*
 * keys.c - the table of API keys: read from its file, asked for each request.
 *
 * Only hashes are stored, so whoever reads the file (or a backup of it) cannot come in. A plain SHA-256 is
 * right here, where for passwords it would be wrong: a slow, salted hash makes guessing a short secret
 * dear, and a key is no short secret but 256 random bits (`holdfast keys add` draws it), which nobody
 * guesses at any speed; and it is computed for every HTTP request.
 *
 * Constant time: every key of the table is compared, each with CRYPTO_memcmp(), whether one has matched or
 * not, and what is compared are hashes, of which nobody can choose the bytes. So the time tells neither how
 * much of a key was right, nor which key it was, nor whether it was one.
 *
 * The file: NAME ROLE SHA256-HEX, separated by blanks, one key a line; empty lines and lines that begin
 * with # are passed over. A name comes once, and so does a key: two names for one key would leave it open
 * who came. keys_tool.c edits the file.
 */
#include "net/keys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const role_words[] = {
    [KEY_ROLE_CLIENT] = "client",
    [KEY_ROLE_OPERATOR] = "operator",
    [KEY_ROLE_READ] = "read",
};

const char *
key_role_word(enum key_role role)
{
    assert(role >= KEY_ROLE_CLIENT);
    assert(role <= KEY_ROLE_READ);
    return role_words[role];
}

bool
key_role_parse(struct bytes word, enum key_role *ret_role)
{
    for (enum key_role role = KEY_ROLE_CLIENT; role <= KEY_ROLE_READ; role++) {
        if (bytes_equal(word, (struct bytes){role_words[role], (uint32_t)strlen(role_words[role])})) {
            *ret_role = role;
            return true;
        }
    }
    return false;
}

bool
key_name_valid(struct bytes name)
{
    if (name.size == 0 || name.size > CALLER_SIZE_MAX)
        return false;
    for (uint32_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && c != '.' && c != '_' && c != ':' && c != '@' && c != '-')
            return false;
    }
    return true;
}

void
key_hash_text(struct bytes text, uint8_t ret_hash[KEY_HASH_SIZE])
{
    unsigned int size = 0;
    int done = EVP_Digest(text.data, text.size, ret_hash, &size, EVP_sha256(), NULL);
    assert(done == 1); /* fails only without memory, or without SHA-256 */
    assert(size == KEY_HASH_SIZE);
}

/* ---- reading ---- */

static bool fail(char *ret_cause, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool
fail(char *ret_cause, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ret_cause, KEYS_CAUSE_SIZE_MAX, format, arguments); /* cut where too long */
    va_end(arguments);
    return false;
}

static struct bytes
line_take(struct bytes *text)
{
    const char *end = memchr(text->data, '\n', text->size);
    struct bytes line = {text->data, end != NULL ? (uint32_t)(end - text->data) : text->size};
    uint32_t taken = line.size + (end != NULL);
    *text = (struct bytes){text->data + taken, text->size - taken};
    if (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    return line;
}

static struct bytes
word_take(struct bytes *line)
{
    while (line->size > 0 && (line->data[0] == ' ' || line->data[0] == '\t')) {
        line->data++;
        line->size--;
    }
    struct bytes word = {line->data, 0};
    while (line->size > 0 && line->data[0] != ' ' && line->data[0] != '\t') {
        line->data++;
        line->size--;
        word.size++;
    }
    return word;
}

static int
digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool
hash_parse(struct bytes text, uint8_t ret_hash[KEY_HASH_SIZE])
{
    if (text.size != 2 * KEY_HASH_SIZE)
        return false;
    for (uint32_t i = 0; i < KEY_HASH_SIZE; i++) {
        int high = digit(text.data[2 * i]);
        int low = digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret_hash[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* The messages name what is wrong, never the text of a line: somebody may have put a key where its hash
 * belongs, and this goes to the log. */
static bool
key_parse(const char *path, uint32_t number, struct bytes line, struct key *ret_key, char *ret_cause)
{
    struct key key = {0};
    struct bytes name = word_take(&line);
    struct bytes role = word_take(&line);
    struct bytes hash = word_take(&line);
    if (!key_name_valid(name))
        return fail(ret_cause,
                    "%s:%u: the name is not valid: expected NAME ROLE SHA256-HEX with a name of 1 to "
                    "%u letters, digits, or . _ : @ -",
                    path, number, (unsigned)CALLER_SIZE_MAX);
    key.name_size = (uint8_t)name.size;
    memcpy(key.name, name.data, name.size);
    if (!key_role_parse(role, &key.role))
        return fail(ret_cause, "%s:%u: the role of '%.*s' is not valid: expected client, operator or read",
                    path, number, (int)name.size, name.data);
    if (!hash_parse(hash, key.hash) || word_take(&line).size > 0)
        return fail(ret_cause,
                    "%s:%u: what follows the role of '%.*s' is not valid: expected the SHA-256 of the "
                    "key, 64 hexadecimal digits (holdfast keys add writes such a line)",
                    path, number, (int)name.size, name.data);
    *ret_key = key;
    return true;
}

static bool
key_is_new(const char *path, uint32_t number, const struct keys *keys, const struct key *key,
           char *ret_cause)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct key *other = &keys->keys[i];
        if (other->name_size == key->name_size && memcmp(other->name, key->name, key->name_size) == 0)
            return fail(ret_cause, "%s:%u: the name '%.*s' comes a second time", path, number,
                        key->name_size, key->name);
        if (memcmp(other->hash, key->hash, KEY_HASH_SIZE) == 0)
            return fail(ret_cause, "%s:%u: '%.*s' and '%.*s' have the same key", path, number,
                        other->name_size, other->name, key->name_size, key->name);
    }
    return true;
}

bool
keys_parse(const char *path, struct bytes text, uint64_t generation, struct keys **ret_keys,
           char *ret_cause)
{
    struct keys *keys = calloc(1, sizeof *keys + KEYS_MAX * sizeof keys->keys[0]);
    if (keys == NULL)
        return fail(ret_cause, "%s: no memory for its keys", path);
    keys->generation = generation;
    bool good = true;
    for (uint32_t number = 1; good && text.size > 0; number++) {
        struct bytes line = line_take(&text);
        struct bytes rest = line;
        struct bytes first = word_take(&rest);
        if (first.size == 0 || first.data[0] == '#')
            continue;
        struct key key;
        good = key_parse(path, number, line, &key, ret_cause) &&
               key_is_new(path, number, keys, &key, ret_cause);
        if (good && keys->count == KEYS_MAX)
            good = fail(ret_cause, "%s:%u: expected at most %d keys", path, number, KEYS_MAX);
        if (good)
            keys->keys[keys->count++] = key;
    }
    if (!good) {
        free(keys);
        return false;
    }
    *ret_keys = keys;
    return true;
}

bool
keys_read(const char *path, uint64_t generation, struct keys **ret_keys, char *ret_cause)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(ret_cause, "cannot read the keys file '%s': %s%s", path, strerror(errno),
                    errno == ENOENT ? " (holdfast keys add --keys FILE NAME ROLE makes one)" : "");
    char *text = malloc(KEYS_FILE_SIZE_MAX + 1);
    size_t size = 0;
    ssize_t got = text == NULL ? -1 : 1;
    while (got > 0 && size <= KEYS_FILE_SIZE_MAX) {
        got = read(fd, text + size, KEYS_FILE_SIZE_MAX + 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    int error = errno;
    (void)close(fd); /* only read from */
    bool good = got == 0;
    if (got < 0)
        good = fail(ret_cause, "cannot read the keys file '%s': %s", path, strerror(error));
    else if (!good)
        good = fail(ret_cause, "the keys file '%s' is larger than %u bytes", path, KEYS_FILE_SIZE_MAX);
    else
        good = keys_parse(path, (struct bytes){text, (uint32_t)size}, generation, ret_keys, ret_cause);
    free(text);
    return good;
}

void
keys_free(struct keys *keys)
{
    free(keys);
}

/* ---- finding ---- */

struct key_reader {
    EVP_MD *sha256;
    EVP_MD_CTX *context;
};

struct key_reader *
key_reader_open(void)
{
    struct key_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return NULL;
    /* fetched once: EVP_sha256() would be looked up in OpenSSL's tables for every key */
    reader->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    reader->context = EVP_MD_CTX_new();
    if (reader->sha256 == NULL || reader->context == NULL ||
        EVP_DigestInit_ex(reader->context, reader->sha256, NULL) != 1) {
        key_reader_close(reader);
        return NULL;
    }
    return reader;
}

void
key_reader_close(struct key_reader *reader)
{
    if (reader == NULL)
        return;
    EVP_MD_CTX_free(reader->context);
    EVP_MD_free(reader->sha256);
    free(reader);
}

uint32_t
key_find_hash(const struct keys *keys, const uint8_t hash[KEY_HASH_SIZE])
{
    uint32_t found = KEY_ABSENT;
    for (uint32_t i = 0; i < keys->count; i++) {
        uint32_t differs = CRYPTO_memcmp(keys->keys[i].hash, hash, KEY_HASH_SIZE) != 0;
        uint32_t keep = 0 - differs; /* all ones, or none: no branch on what was found */
        found = (found & keep) | (i & ~keep);
    }
    return found;
}

uint32_t
key_find_text(struct key_reader *reader, const struct keys *keys, struct bytes text,
              uint8_t ret_hash[KEY_HASH_SIZE])
{
    unsigned int size = 0;
    if (text.size == 0 || text.size > KEY_TEXT_SIZE_MAX)
        return KEY_ABSENT;
    /* without a digest named the context takes the one it has: nothing is allocated */
    if (EVP_DigestInit_ex(reader->context, NULL, NULL) != 1 ||
        EVP_DigestUpdate(reader->context, text.data, text.size) != 1 ||
        EVP_DigestFinal_ex(reader->context, ret_hash, &size) != 1)
        return KEY_ABSENT; /* whatever OpenSSL's reason: nobody comes in */
    assert(size == KEY_HASH_SIZE);
    return key_find_hash(keys, ret_hash);
}
