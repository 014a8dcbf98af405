/*
 * test_mailbox.c - the mailbox alone, at its edges, and under two threads with the bell between them.
 */
#include "net/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct mailbox *
make(size_t capacity)
{
    size_t size = (mailbox_size(capacity) + 63) / 64 * 64;
    void *memory = aligned_alloc(64, size);
    assert_non_null(memory);
    memset(memory, 0, size);
    return mailbox_open(memory, capacity);
}

static void
test_empty_then_full_then_empty(void **state)
{
    (void)state;
    struct mailbox *mailbox = make(1024);
    uint64_t message[4];
    uint32_t size;
    uint64_t sent = 0;
    assert_true(mailbox_empty(mailbox));
    assert_false(mailbox_look(mailbox));
    assert_null(mailbox_peek(mailbox, &size));
    for (;;) {
        for (size_t i = 0; i < 4; i++)
            message[i] = sent * 4 + i;
        if (!mailbox_send(mailbox, message, sizeof message))
            break;
        sent++;
    }
    /* 8 bytes of header each: exactly 25 of 40 bytes, and padding for none */
    assert_int_equal(sent, 1024 / 40);
    assert_false(mailbox_empty(mailbox));
    assert_int_equal(mailbox_used(mailbox), sent * 40);
    assert_null(mailbox_peek(mailbox, &size)); /* came behind the last look */
    assert_true(mailbox_look(mailbox));
    for (uint64_t i = 0; i < sent; i++) {
        const uint64_t *got = mailbox_peek(mailbox, &size);
        assert_non_null(got);
        assert_int_equal(size, sizeof message);
        assert_int_equal(got[0], i * 4);
        assert_int_equal(got[3], i * 4 + 3);
        assert_ptr_equal(got, mailbox_peek(mailbox, &size)); /* stays until taken */
        mailbox_take(mailbox);
    }
    assert_true(mailbox_empty(mailbox));
    assert_int_equal(mailbox_used(mailbox), 0);
    assert_true(mailbox_send(mailbox, message, sizeof message));
    free(mailbox);
}

static void
test_room_comes_back_with_each_take(void **state)
{
    (void)state;
    struct mailbox *mailbox = make(256);
    char message[56] = {0};
    uint32_t size;
    while (mailbox_send(mailbox, message, sizeof message))
        continue;
    assert_true(mailbox_look(mailbox));
    assert_non_null(mailbox_peek(mailbox, &size));
    assert_false(mailbox_send(mailbox, message, sizeof message)); /* a peek frees nothing */
    mailbox_take(mailbox);
    assert_true(mailbox_send(mailbox, message, sizeof message));
    assert_false(mailbox_send(mailbox, message, sizeof message));
    free(mailbox);
}

/* Every size at every place of the ring, so that each way to meet the end occurs. */
static void
test_every_place_and_size(void **state)
{
    (void)state;
    struct mailbox *mailbox = make(512);
    for (uint32_t step = 0; step < 5000; step++) {
        uint32_t size = 8 * (1 + step % 16);
        char message[128];
        char expected[128];
        memset(message, (int)(step & 0x7f), size);
        memset(expected, (int)(step & 0x7f), size);
        assert_true(mailbox_send(mailbox, message, size));
        uint32_t got_size;
        assert_true(mailbox_look(mailbox));
        const void *got = mailbox_peek(mailbox, &got_size);
        assert_non_null(got);
        assert_int_equal((uintptr_t)got % 8, 0);
        assert_int_equal(got_size, size);
        assert_memory_equal(got, expected, size);
        mailbox_take(mailbox);
        assert_true(mailbox_empty(mailbox));
    }
    free(mailbox);
}

/* What is foreseen: every message once, in order, none too far ahead, whether all are asked for or not. */
static void
test_foresees_each_message_once(void **state)
{
    (void)state;
    struct mailbox *mailbox = make(4096);
    uint64_t message[16], sent = 0, taken = 0, foreseen = 0, skipped = 0, furthest = 0;
    uint32_t size;
    const uint64_t *next;
    assert_null(mailbox_foresee(mailbox));
    for (uint64_t step = 0; step < 20000; step++) {
        message[0] = sent;
        while (sent - taken < 1 + step % 37 &&
               mailbox_send(mailbox, message, (uint32_t)(8 * (1 + (sent * 7) % 16))))
            message[0] = ++sent;
        if (!mailbox_look(mailbox))
            continue;
        assert_non_null(mailbox_peek(mailbox, &size));
        bool looks = step % 5 != 0;
        while (looks && (next = mailbox_foresee(mailbox)) != NULL) {
            if (foreseen < taken) {
                skipped += taken - foreseen;
                foreseen = taken;
            }
            assert_int_equal(*next, foreseen);
            foreseen++;
            assert_true(foreseen <= sent);
            furthest = foreseen - taken > furthest ? foreseen - taken : furthest;
        }
        assert_true(!looks || foreseen > taken);
        next = mailbox_peek(mailbox, &size);
        assert_int_equal(*next, taken);
        mailbox_take(mailbox);
        taken++;
    }
    assert_true(furthest >= 4 && furthest <= 512 / 16 + 1);
    assert_true(skipped > 0);
    free(mailbox);
}

#define MESSAGES 300000u

struct pair {
    struct mailbox *mailbox;
    struct bell bell;
};

static void *
produce(void *argument)
{
    struct pair *pair = argument;
    for (uint64_t i = 0; i < MESSAGES;) {
        uint64_t message[8];
        uint32_t words = 1 + (uint32_t)(i % 8);
        for (uint32_t w = 0; w < words; w++)
            message[w] = i;
        if (mailbox_send(pair->mailbox, message, words * 8)) {
            i++;
            if (i % 7 == 0 || i == MESSAGES)
                bell_ring(&pair->bell);
        } else {
            bell_ring(&pair->bell);
            sched_yield();
        }
    }
    return NULL;
}

/* The receiver sleeps whenever there is nothing: were a bell missed, it would sleep for ever, and poll
 * times out. */
static void
test_two_threads_lose_nothing(void **state)
{
    (void)state;
    struct pair pair = {.mailbox = make(1024)};
    pthread_t thread;
    uint64_t expected = 0;
    uint64_t sleeps = 0;
    assert_int_equal(bell_open(&pair.bell), 0);
    assert_int_equal(pthread_create(&thread, NULL, produce, &pair), 0);
    while (expected < MESSAGES) {
        uint32_t size;
        const uint64_t *message = mailbox_peek(pair.mailbox, &size);
        if (message == NULL && mailbox_look(pair.mailbox))
            message = mailbox_peek(pair.mailbox, &size);
        const uint64_t *next;
        while (message != NULL && expected % 3 == 0 && (next = mailbox_foresee(pair.mailbox)) != NULL)
            assert_true(*next >= expected);
        if (message != NULL) {
            assert_int_equal(size, 8 * (1 + expected % 8));
            for (uint32_t w = 0; w < size / 8; w++)
                assert_int_equal(message[w], expected);
            mailbox_take(pair.mailbox);
            expected++;
            continue;
        }
        bell_sleep(&pair.bell);
        if (mailbox_empty(pair.mailbox)) {
            struct pollfd poll_fd = {.fd = pair.bell.fd, .events = POLLIN};
            uint64_t count;
            assert_int_equal(poll(&poll_fd, 1, 20000), 1);
            assert_int_equal(read(pair.bell.fd, &count, sizeof count), sizeof count);
            sleeps++;
        }
        bell_awake(&pair.bell);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(mailbox_empty(pair.mailbox));
    assert_true(sleeps > 0);
    bell_done(&pair.bell);
    free(pair.mailbox);
}

static void
test_bell_is_silent_for_who_is_awake(void **state)
{
    (void)state;
    struct bell bell;
    struct pollfd poll_fd;
    assert_int_equal(bell_open(&bell), 0);
    poll_fd = (struct pollfd){.fd = bell.fd, .events = POLLIN};
    bell_ring(&bell);
    assert_int_equal(poll(&poll_fd, 1, 0), 0);
    bell_sleep(&bell);
    bell_ring(&bell);
    assert_int_equal(poll(&poll_fd, 1, 0), 1);
    uint64_t count;
    assert_int_equal(read(bell.fd, &count, sizeof count), sizeof count);
    bell_ring(&bell); /* once for each sleep */
    assert_int_equal(poll(&poll_fd, 1, 0), 0);
    bell_done(&bell);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_then_full_then_empty),
        cmocka_unit_test(test_room_comes_back_with_each_take),
        cmocka_unit_test(test_every_place_and_size),
        cmocka_unit_test(test_foresees_each_message_once),
        cmocka_unit_test(test_two_threads_lose_nothing),
        cmocka_unit_test(test_bell_is_silent_for_who_is_awake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
