/*
 * test_ring.c - the end of a write is seen ahead of what completed before it, once, and nothing else is
 * lost.
 */
#include "net/ring.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SOCKETS 3

struct stage {
    struct ring *ring;
    int sockets[SOCKETS][2];
    int pipe[2]; /* full, so that a write to it waits */
    size_t filled;
};

static const char words[] = "ended";

static int
set_up(void **state)
{
    static struct stage stage;
    struct ring_settings settings = {.entries = 16, .buffers = 16, .buffer_bytes = 64};
    char cause[256] = "";
    if (ring_open(&stage.ring, &settings, cause, sizeof cause) != 0)
        fail_msg("%s", cause);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stage.sockets[i]), 0);
        ring_receive(stage.ring, stage.sockets[i][0], (struct ring_target){i, 7});
    }
    assert_int_equal(pipe2(stage.pipe, O_NONBLOCK), 0);
    stage.filled = 0;
    char zeros[4096] = {0};
    for (ssize_t n; (n = write(stage.pipe[1], zeros, sizeof zeros)) > 0;)
        stage.filled += (size_t)n;
    assert_int_equal(fcntl(stage.pipe[1], F_SETFL, 0), 0);
    ring_write(stage.ring, stage.pipe[1], words, sizeof words, 0, (struct ring_target){0, 0});
    assert_int_equal(ring_wait(stage.ring, 0), 0);
    *state = &stage;
    return 0;
}

static int
tear_down(void **state)
{
    struct stage *stage = *state;
    for (uint32_t i = 0; i < SOCKETS; i++) {
        (void)close(stage->sockets[i][0]);
        (void)close(stage->sockets[i][1]);
    }
    (void)close(stage->pipe[0]);
    (void)close(stage->pipe[1]);
    ring_close(stage->ring);
    return 0;
}

static void
let_it_write(struct stage *stage)
{
    char bytes[4096];
    for (size_t taken = 0; taken < stage->filled;) {
        ssize_t n = read(stage->pipe[0], bytes, sizeof bytes);
        assert_true(n > 0);
        taken += (size_t)n;
    }
}

/* Everything that came is in the ring's queue, and nothing was taken from it. */
static void
say_something(struct stage *stage, uint32_t socket)
{
    assert_int_equal(send(stage->sockets[socket][1], "a", 1, 0), 1);
    assert_int_equal(ring_wait(stage->ring, 0), 0);
}

static void
assert_received(struct stage *stage, const struct ring_completion *completion, uint32_t socket)
{
    assert_int_equal(completion->operation, RING_RECEIVE);
    assert_int_equal(completion->target.slot, socket);
    assert_int_equal(completion->target.generation, 7);
    assert_int_equal(completion->result, 1);
    assert_int_equal(ring_buffer(stage->ring, completion->buffer)[0], 'a');
    ring_buffer_return(stage->ring, completion->buffer);
}

static void
test_it_is_seen_ahead_and_once(void **state)
{
    struct stage *stage = *state;
    struct ring_completion completions[8];
    int32_t result = 0;
    say_something(stage, 0);
    say_something(stage, 1);
    assert_false(ring_written(stage->ring, &result));
    let_it_write(stage);
    while (!ring_written(stage->ring, &result)) /* it fetches what the kernel has deferred */
        ;
    assert_int_equal(result, sizeof words);
    assert_false(ring_written(stage->ring, &result));
    say_something(stage, 2);
    /* the place it had, between the second and the third, is passed over, whatever is asked for at a time
     */
    assert_int_equal(ring_reap(stage->ring, completions, 2), 2);
    assert_received(stage, &completions[0], 0);
    assert_received(stage, &completions[1], 1);
    assert_int_equal(ring_reap(stage->ring, completions, 1), 1);
    assert_received(stage, &completions[0], 2);
    assert_int_equal(ring_reap(stage->ring, completions, 8), 0);
    say_something(stage, 0);
    assert_int_equal(ring_reap(stage->ring, completions, 8), 1);
    assert_received(stage, &completions[0], 0);
}

static void
test_who_does_not_look_ahead_reaps_it(void **state)
{
    struct stage *stage = *state;
    struct ring_completion completions[8];
    int32_t result = 0;
    say_something(stage, 0);
    let_it_write(stage);
    uint32_t count = 0;
    while (count < 2) {
        assert_int_equal(ring_wait(stage->ring, 1000), 0);
        count += ring_reap(stage->ring, completions + count, 8 - count);
    }
    assert_int_equal(count, 2);
    assert_received(stage, &completions[0], 0);
    assert_int_equal(completions[1].operation, RING_WRITE);
    assert_int_equal(completions[1].result, sizeof words);
    assert_false(ring_written(stage->ring, &result));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_is_seen_ahead_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_does_not_look_ahead_reaps_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
