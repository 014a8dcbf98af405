/*
 * test_route.c - routes and the UUIDv7 that carry them, against the layout of RFC 9562 written down anew.
 */
#include "core/route.h"
#include "core/text.h"
#include "holdfast/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void
test_shards_share_the_routes_evenly(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= SHARDS_MAX; count++) {
        uint32_t routes[SHARDS_MAX] = {0};
        uint32_t before = 0;
        for (uint32_t route = 0; route < 65536; route++) {
            uint32_t shard = route_shard((uint16_t)route, count);
            assert_true(shard < count);
            assert_true(shard >= before);
            assert_int_equal(shard, (uint64_t)route * count / 65536);
            before = shard;
            routes[shard]++;
        }
        for (uint32_t i = 0; i < count; i++)
            assert_in_range(routes[i], 65536 / count, 65536 / count + 1);
    }
}

static void
test_hash_depends_on_seed_name_and_part(void **state)
{
    (void)state;
    uint32_t shards[8] = {0};
    char name[16];
    for (uint32_t i = 0; i < 8000; i++) {
        struct bytes bytes = {name, (uint32_t)snprintf(name, sizeof name, "user-%u", i)};
        uint64_t hash = route_hash(1, bytes);
        assert_true(hash == route_hash(1, bytes));
        assert_true(hash != route_hash(2, bytes));
        assert_true(route_hash_part(hash, 1) != route_hash_part(hash, 2));
        assert_true(route_hash_part(hash, 1) == route_hash_part(hash, 1));
        assert_int_equal(route16(hash), hash >> 48);
        shards[route_shard(route16(hash), 8)]++;
    }
    for (uint32_t i = 0; i < 8; i++) /* 1,000 each; six standard deviations */
        assert_in_range(shards[i], 820, 1180);
    assert_true(route_hash(1, (struct bytes){"ab", 1}) != route_hash(1, (struct bytes){"ab", 2}));
}

static struct uuid
uuid_make(uint64_t now_ms, uint64_t seed, uint64_t counter, uint16_t route)
{
    return uuid_put(now_ms, counter, route, uuid_random(seed, counter));
}

static void
test_uuid_layout(void **state)
{
    (void)state;
    static const uint64_t times[] = {0, 1, 1800000000000, ((uint64_t)1 << 48) - 1};
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t route = 0; route < 65536; route += 4681) {
            struct uuid id = uuid_make(times[i], 99, 0x12345, (uint16_t)route);
            uint64_t ms = 0;
            for (uint32_t b = 0; b < 6; b++)
                ms = ms << 8 | id.byte[b];
            assert_true(ms == times[i]);
            assert_int_equal(id.byte[6] >> 4, 7);
            assert_int_equal((id.byte[6] & 15) << 8 | id.byte[7], 0x345);
            assert_int_equal(id.byte[8] >> 6, 2);
            assert_int_equal((id.byte[8] & 63) << 10 | id.byte[9] << 2 | id.byte[10] >> 6, route);
            assert_int_equal(uuid_route16(&id), route);
        }
    }
}

/* Ids of one millisecond sort as they were made; ids and their hashes do not repeat; the seed decides. */
static void
test_uuid_order_and_spread(void **state)
{
    (void)state;
    uint32_t low[64] = {0};
    struct uuid before = uuid_make(1000, 5, 0, 3);
    for (uint64_t counter = 1; counter < 4096; counter++) {
        struct uuid id = uuid_make(1000, 5, counter, 3);
        struct uuid other = uuid_make(1000, 6, counter, 3);
        assert_true(memcmp(before.byte, id.byte, 16) < 0);
        assert_false(uuid_equal(&id, &other));
        assert_true(uuid_hash(&id) != uuid_hash(&before));
        low[uuid_hash(&id) & 63]++;
        before = id;
    }
    for (uint32_t i = 0; i < 64; i++) /* 64 each */
        assert_in_range(low[i], 20, 130);
    struct uuid later = uuid_make(1001, 5, 0, 3);
    assert_true(memcmp(before.byte, later.byte, 16) < 0);
}

static void
test_uuid_text(void **state)
{
    (void)state;
    struct uuid id = uuid_make(0x0123456789ab, 5, 77, 0xfedc);
    struct uuid back;
    char text[UUID_TEXT_SIZE + 1] = {0};
    text[UUID_TEXT_SIZE] = '!';
    (void)put_uuid(text, &id);
    assert_int_equal(text[UUID_TEXT_SIZE], '!');
    assert_memory_equal(text, "01234567-89ab-7", 15);
    for (uint32_t i = 0; i < UUID_TEXT_SIZE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        assert_int_equal(text[i] == '-', dash);
    }
    assert_true(uuid_parse((struct bytes){text, UUID_TEXT_SIZE}, &back));
    assert_true(uuid_equal(&id, &back));
    for (uint32_t i = 0; i < UUID_TEXT_SIZE; i++) /* upper case, too */
        text[i] = (char)(text[i] >= 'a' && text[i] <= 'f' ? text[i] - 32 : text[i]);
    memset(&back, 0, sizeof back);
    assert_true(uuid_parse((struct bytes){text, UUID_TEXT_SIZE}, &back));
    assert_true(uuid_equal(&id, &back));
}

/* Every byte at every place is written as printf() writes it, and read back. */
static void
test_uuid_digits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 16 * 256; i++) {
        struct uuid id = uuid_make(1800000000000, 5, i, 9);
        uint8_t *byte = &id.byte[i / 256];
        if (i / 256 == 6)
            *byte = (uint8_t)(0x70 | (i & 15));
        else if (i / 256 == 8)
            *byte = (uint8_t)(0x80 | (i & 63));
        else
            *byte = (uint8_t)i;
        char expected[UUID_TEXT_SIZE + 1];
        char *at = expected;
        for (uint32_t k = 0; k < 16; k++)
            at += sprintf(at, k == 4 || k == 6 || k == 8 || k == 10 ? "-%02x" : "%02x", id.byte[k]);
        char text[UUID_TEXT_SIZE];
        assert_ptr_equal(put_uuid(text, &id), text + UUID_TEXT_SIZE);
        assert_memory_equal(text, expected, UUID_TEXT_SIZE);
        struct uuid back;
        assert_true(uuid_parse((struct bytes){text, UUID_TEXT_SIZE}, &back));
        assert_true(uuid_equal(&id, &back));
    }
}

static void
test_uuid_parse_refuses(void **state)
{
    (void)state;
    struct uuid id = uuid_make(1800000000000, 5, 77, 9);
    struct uuid kept = {{1, 2, 3}};
    struct uuid ret = kept;
    char text[UUID_TEXT_SIZE + 1];
    for (uint32_t size = 0; size <= UUID_TEXT_SIZE + 1; size++) {
        (void)put_uuid(text, &id);
        text[UUID_TEXT_SIZE] = '0';
        if (size != UUID_TEXT_SIZE)
            assert_false(uuid_parse((struct bytes){text, size}, &ret));
    }
    for (uint32_t at = 0; at < UUID_TEXT_SIZE; at++) {
        bool dash = at == 8 || at == 13 || at == 18 || at == 23;
        for (uint32_t c = 0; c < 256; c++) {
            (void)put_uuid(text, &id);
            text[at] = (char)c;
            if (dash ? c == '-' : strchr("0123456789abcdefABCDEF", (int)c) != NULL && c != 0)
                continue;
            assert_false(uuid_parse((struct bytes){text, UUID_TEXT_SIZE}, &ret));
        }
    }
    for (char version = '0'; version <= '9'; version++) {
        (void)put_uuid(text, &id);
        text[14] = version;
        if (version != '7')
            assert_false(uuid_parse((struct bytes){text, UUID_TEXT_SIZE}, &ret));
    }
    (void)put_uuid(text, &id);
    text[8] = '0';
    assert_false(uuid_parse((struct bytes){text, UUID_TEXT_SIZE}, &ret));
    assert_true(uuid_equal(&ret, &kept)); /* untouched on failure */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_share_the_routes_evenly),
        cmocka_unit_test(test_hash_depends_on_seed_name_and_part),
        cmocka_unit_test(test_uuid_layout),
        cmocka_unit_test(test_uuid_order_and_spread),
        cmocka_unit_test(test_uuid_text),
        cmocka_unit_test(test_uuid_digits),
        cmocka_unit_test(test_uuid_parse_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
