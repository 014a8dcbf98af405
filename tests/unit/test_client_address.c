/*
 * test_client_address.c - whom a request is counted for: addresses, ranges of proxies, and what proxies
 * say.
 */
#include "net/client_address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct bytes
text_of(const char *text)
{
    return (struct bytes){text, (uint32_t)strlen(text)};
}

static void
test_ranges(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0/33",    "10.0.0.0/0",  "::/0",
                                      "2001:db8::/129", "10.0.0",      "proxy.example",
                                      "10.0.0.1/",      "10.0.0.1/8x", "10.0.0.1;10.0.0.2"};
    struct proxies proxies;
    struct client_address address;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(proxies_parse(bad[i], &proxies));
    assert_true(proxies_parse("", &proxies));
    assert_int_equal(proxies.count, 0);
    assert_true(proxies_parse("192.0.2.7, 10.0.0.0/9,2001:db8:1::/47 ::1", &proxies));
    assert_int_equal(proxies.count, 4);
    static const struct {
        const char *text;
        bool is;
    } rows[] = {
        {"192.0.2.7", true},        {"192.0.2.6", false},    {"10.127.255.255", true},
        {"10.128.0.0", false},      {"2001:db8:1::9", true}, {"2001:db8:0:ffff::", true},
        {"2001:db8:2::", false},    {"::1", true},           {"::2", false},
        {"::ffff:192.0.2.7", true}, {"127.0.0.1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(client_address_parse(text_of(rows[i].text), &address));
        assert_int_equal(proxies_have(&proxies, &address), rows[i].is);
    }
}

static void
test_loopback_and_counting(void **state)
{
    (void)state;
    struct client_address address;
    assert_true(client_address_parse(text_of("127.9.9.9"), &address));
    assert_true(client_address_is_loopback(&address));
    assert_int_equal(client_address_counted(&address), 16);
    assert_true(client_address_parse(text_of("::1"), &address));
    assert_true(client_address_is_loopback(&address));
    assert_true(client_address_parse(text_of("128.0.0.1"), &address));
    assert_false(client_address_is_loopback(&address));
    assert_true(client_address_parse(text_of("2001:db8::1"), &address));
    assert_int_equal(client_address_counted(&address), 8); /* its network */
}

static void
test_headers(void **state)
{
    (void)state;
    static const struct {
        const char *forwarded;
        const char *x_forwarded_for;
        const char *client; /* NULL: not told */
    } rows[] = {
        {"", "", NULL},
        {"", "198.51.100.1", "198.51.100.1"},
        {"", "198.51.100.1, 10.0.0.1", "198.51.100.1"},
        {"", "1.2.3.4, 198.51.100.1,10.0.0.1 , 10.0.0.2", "198.51.100.1"}, /* 1.2.3.4 is hearsay */
        {"", "198.51.100.1:4711", "198.51.100.1"},
        {"", "2001:db8::1", "2001:db8::1"},
        {"", "[2001:db8::1]:80", "2001:db8::1"},
        {"", "10.0.0.1, 10.0.0.2", "10.0.0.1"},
        {"", "198.51.100.1, nonsense", NULL},
        {"", "nonsense, 198.51.100.1", "198.51.100.1"},
        {"", " , ,", NULL},
        {"for=192.0.2.60;proto=http;by=203.0.113.43", "", "192.0.2.60"},
        {"for=192.0.2.60", "198.51.100.1", "192.0.2.60"}, /* the standard's header comes first */
        {"For=\"[2001:db8:cafe::17]:4711\"", "", "2001:db8:cafe::17"},
        {"for=192.0.2.43, for=198.51.100.17", "", "198.51.100.17"},
        {"for=192.0.2.43, for=10.1.1.1;by=\"a, b; for=9.9.9.9\"", "", "192.0.2.43"},
        {"for=192.0.2.43, for=unknown", "", NULL},
        {"for=192.0.2.43, for=_hidden, for=10.0.0.1", "", NULL},
        {"proto=https;for=192.0.2.43", "", "192.0.2.43"},
        {"proto=https", "198.51.100.1", NULL},
        {"for=\"192.0.2.43", "", NULL},
        {"for=", "", NULL},
    };
    struct proxies proxies;
    assert_true(proxies_parse("10.0.0.0/8", &proxies));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client_address got;
        struct client_address wanted;
        bool known = client_address_forwarded(&proxies, text_of(rows[i].forwarded),
                                              text_of(rows[i].x_forwarded_for), &got);
        if (known != (rows[i].client != NULL))
            fail_msg("'%s' '%s'", rows[i].forwarded, rows[i].x_forwarded_for);
        if (!known)
            continue;
        assert_true(client_address_parse(text_of(rows[i].client), &wanted));
        if (memcmp(&got, &wanted, sizeof got) != 0)
            fail_msg("'%s' '%s' is not %s", rows[i].forwarded, rows[i].x_forwarded_for, rows[i].client);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_loopback_and_counting),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
