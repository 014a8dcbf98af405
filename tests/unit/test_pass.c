/*
 * test_pass.c - passes: what is made is good for its user, event and time, and nothing else is. Libraries
 * that others use check and make them, too (tests/integration/test_passes.py), by way of this program:
 *
 *     test_pass make SECRET-FILE USER EVENT DEADLINE-MS              prints a pass
 *     test_pass check SECRET-FILE USER EVENT NOW-MS PASS             exits 0 where it is good, 3 where not
 */
#include "net/base64url.h"
#include "net/pass.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1800000000000u

static const char secret_text[] = "0123456789abcdef0123456789abcdef";
static struct pass_secrets secrets;
static const struct uuid token = {{1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}};

static struct bytes
text_of(const char *text)
{
    return (struct bytes){text, (uint32_t)strlen(text)};
}

static void
set_secret(struct pass_secret *secret, const char *text)
{
    secret->size = (uint32_t)strlen(text);
    memcpy(secret->bytes, text, secret->size);
}

static int
make_secrets(void **state)
{
    (void)state;
    memset(&secrets, 0, sizeof secrets);
    set_secret(&secrets.current, secret_text);
    return 0;
}

/* A JWT of any header and claims, signed by any digest, as a library would make it. */
static uint32_t
jwt(const char *header, const char *claims, const EVP_MD *digest, const char *secret, char *ret_text)
{
    unsigned char signature[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    char *at = base64url_put(ret_text, header, strlen(header));
    *at++ = '.';
    at = base64url_put(at, claims, strlen(claims));
    if (digest != NULL)
        assert_non_null(HMAC(digest, secret, (int)strlen(secret), (unsigned char *)ret_text,
                             (size_t)(at - ret_text), signature, &size));
    *at++ = '.';
    at = base64url_put(at, signature, size);
    return (uint32_t)(at - ret_text);
}

static bool
good(struct bytes pass, uint64_t now_ms)
{
    return pass_check(&secrets, pass, text_of("u1"), text_of("concert"), now_ms);
}

static void
test_made_and_checked(void **state)
{
    (void)state;
    char text[PASS_SIZE_MAX];
    uint32_t size = pass_make(&secrets, text_of("u1"), text_of("concert"), &token, NOW + 60000, text);
    struct bytes pass = {text, size};
    assert_true(good(pass, NOW));
    assert_true(good(pass, NOW + 59999));
    assert_false(good(pass, NOW + 60000));
    assert_false(pass_check(&secrets, pass, text_of("u2"), text_of("concert"), NOW));
    assert_false(pass_check(&secrets, pass, text_of("u"), text_of("concert"), NOW));
    assert_false(pass_check(&secrets, pass, text_of("u1"), text_of("concert2"), NOW));
    /* never ends early: a deadline within a second */
    size = pass_make(&secrets, text_of("u1"), text_of("concert"), &token, NOW + 1, text);
    assert_true(good((struct bytes){text, size}, NOW));
    assert_false(good((struct bytes){text, size}, NOW + 1000));
    /* the longest ids */
    char id[64];
    memset(id, 'x', sizeof id);
    struct bytes longest = {id, sizeof id};
    size = pass_make(&secrets, longest, longest, &token, UINT64_MAX - 1000, text);
    assert_in_range(size, 1, PASS_SIZE_MAX);
    assert_true(pass_check(&secrets, (struct bytes){text, size}, longest, longest, NOW));
}

/* Every byte changed, every length cut, bits that base64 leaves over: not a pass. */
static void
test_forged(void **state)
{
    (void)state;
    char text[PASS_SIZE_MAX + 4];
    uint32_t size = pass_make(&secrets, text_of("u1"), text_of("concert"), &token, NOW + 60000, text);
    static const char others[] = "AB.=-_ \n";
    for (uint32_t i = 0; i < size; i++) {
        char was = text[i];
        for (size_t o = 0; o < sizeof others; o++) { /* the zero at the end, too */
            text[i] = others[o];
            if (text[i] != was)
                assert_false(good((struct bytes){text, size}, NOW));
        }
        text[i] = was;
        assert_false(good((struct bytes){text, i}, NOW));
    }
    memset(text + size, 'A', 4);
    for (uint32_t more = 1; more <= 4; more++)
        assert_false(good((struct bytes){text, size + more}, NOW));
    char last = text[size - 1]; /* four letters mean the same byte to a lax reader */
    for (int d = 1; d < 4; d++) {
        text[size - 1] = (char)(last + d);
        assert_false(good((struct bytes){text, size}, NOW));
    }
    char huge[PASS_SHOWN_SIZE_MAX + 1];
    memset(huge, 'a', sizeof huge);
    assert_false(good((struct bytes){huge, sizeof huge}, NOW));
    assert_false(good(text_of(""), NOW));
    assert_false(good(text_of(".."), NOW));
}

static void
test_other_makers(void **state)
{
    (void)state;
    static const char hs256[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    static const char fine[] = "{\"exp\":1800000060,\"jti\":\"x\",\"aud\":\"concert\",\"sub\":\"u1\"}";
    const struct {
        const char *header;
        const char *claims;
        const EVP_MD *digest;
        bool good;
    } rows[] = {
        {hs256, fine, EVP_sha256(), true},
        {"{\"typ\":\"JWT\", \"kid\":\"1\", \"alg\":\"HS256\"}", fine, EVP_sha256(), true},
        {hs256, "{\"exp\":1800000060.5,\"aud\":[\"a\",\"concert\"],\"sub\":\"u1\"}", EVP_sha256(), true},
        {hs256, "{\"exp\":1800000060,\"nbf\":1800000000,\"aud\":\"concert\",\"sub\":\"u1\"}", EVP_sha256(),
         true},
        {hs256, "{\"exp\":1800000060,\"nbf\":1800000001,\"aud\":\"concert\",\"sub\":\"u1\"}", EVP_sha256(),
         false},
        {hs256, "{\"exp\":1800000000,\"aud\":\"concert\",\"sub\":\"u1\"}", EVP_sha256(), false},
        {hs256, "{\"aud\":\"concert\",\"sub\":\"u1\"}", EVP_sha256(), false},
        {hs256, "{\"exp\":\"1800000060\",\"aud\":\"concert\",\"sub\":\"u1\"}", EVP_sha256(), false},
        {hs256, "{\"exp\":1800000060,\"sub\":\"u1\"}", EVP_sha256(), false},
        {hs256, "{\"exp\":1800000060,\"aud\":[],\"sub\":\"u1\"}", EVP_sha256(), false},
        {hs256, "{\"exp\":1800000060,\"aud\":\"concert\"}", EVP_sha256(), false},
        {hs256, "{\"exp\":1800000060,\"aud\":\"concert\",\"sub\":\"u2\",\"sub\":\"u1\"}", EVP_sha256(),
         false},
        {hs256, "[]", EVP_sha256(), false},
        {hs256, "", EVP_sha256(), false},
        {hs256, fine, EVP_sha512(), false},
        {hs256, fine, NULL, false},
        {"{\"alg\":\"none\"}", fine, NULL, false},
        {"{\"alg\":\"none\"}", fine, EVP_sha256(), false},
        {"{\"alg\":\"HS384\"}", fine, EVP_sha256(), false},
        {"{\"alg\":\"HS384\"}", fine, EVP_sha384(), false},
        {"{\"alg\":\"hs256\"}", fine, EVP_sha256(), false},
        {"{}", fine, EVP_sha256(), false},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", fine, EVP_sha256(), false},
    };
    char text[PASS_SHOWN_SIZE_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t size = jwt(rows[i].header, rows[i].claims, rows[i].digest, secret_text, text);
        if (good((struct bytes){text, size}, NOW) != rows[i].good)
            fail_msg("%s %s", rows[i].header, rows[i].claims);
        size =
            jwt(rows[i].header, rows[i].claims, rows[i].digest, "another secret of 32 bytes or so", text);
        assert_false(good((struct bytes){text, size}, NOW));
    }
}

static void
test_two_secrets(void **state)
{
    (void)state;
    char before[PASS_SIZE_MAX];
    char after[PASS_SIZE_MAX];
    uint32_t before_size =
        pass_make(&secrets, text_of("u1"), text_of("concert"), &token, NOW + 60000, before);
    secrets.old = secrets.current;
    set_secret(&secrets.current, "fedcba9876543210fedcba9876543210");
    uint32_t after_size =
        pass_make(&secrets, text_of("u1"), text_of("concert"), &token, NOW + 60000, after);
    assert_true(good((struct bytes){before, before_size}, NOW));
    assert_true(good((struct bytes){after, after_size}, NOW));
    secrets.old.size = 0; /* the rotation is over */
    assert_false(good((struct bytes){before, before_size}, NOW));
    assert_true(good((struct bytes){after, after_size}, NOW));
}

static void
test_secret_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/holdfast-pass-XXXXXX";
    char path[64];
    char cause[512];
    struct pass_secret secret;
    struct pass_secret again;
    struct stat status;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/pass.secret", folder);
    assert_false(pass_secret_read(path, &secret, cause, sizeof cause));
    assert_non_null(strstr(cause, path));
    assert_true(pass_secret_make(path, cause, sizeof cause));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_true(pass_secret_read(path, &secret, cause, sizeof cause));
    assert_int_equal(secret.size, 43);
    assert_true(pass_secret_make(path, cause, sizeof cause)); /* one that is there stays */
    assert_true(pass_secret_read(path, &again, cause, sizeof cause));
    assert_memory_equal(&secret, &again, sizeof secret.size + secret.size);
    static const struct {
        const char *text;
        uint32_t size; /* 0: refused */
    } rows[] = {
        {" \t\r\n0123456789abcdef 123456789abcdef\n\n", 32},
        {"0123456789abcdef0123456789abcdef", 32},
        {"0123456789abcdef0123456789abcde\n", 0},
        {"", 0},
        {" \n", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(rows[i].text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(pass_secret_read(path, &secret, cause, sizeof cause), rows[i].size > 0);
        if (rows[i].size > 0)
            assert_int_equal(secret.size, rows[i].size);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
}

static int
by_hand(int argc, char **argv)
{
    char cause[512];
    char text[PASS_SIZE_MAX];
    memset(&secrets, 0, sizeof secrets);
    if (!pass_secret_read(argv[2], &secrets.current, cause, sizeof cause)) {
        (void)fprintf(stderr, "%s\n", cause);
        return 1;
    }
    uint64_t time_ms = strtoull(argv[5], NULL, 10);
    if (strcmp(argv[1], "make") == 0 && argc == 6) {
        uint32_t size = pass_make(&secrets, text_of(argv[3]), text_of(argv[4]), &token, time_ms, text);
        (void)printf("%.*s\n", (int)size, text);
        return 0;
    }
    if (strcmp(argv[1], "check") == 0 && argc == 7)
        return pass_check(&secrets, text_of(argv[6]), text_of(argv[3]), text_of(argv[4]), time_ms) ? 0 : 3;
    return 2;
}

int
main(int argc, char **argv)
{
    if (argc >= 6)
        return by_hand(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_made_and_checked, make_secrets),
        cmocka_unit_test_setup(test_forged, make_secrets),
        cmocka_unit_test_setup(test_other_makers, make_secrets),
        cmocka_unit_test_setup(test_two_secrets, make_secrets),
        cmocka_unit_test_setup(test_secret_files, make_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
