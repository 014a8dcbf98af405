/*
 * clock_step.c - a wall clock that steps, and a thread that stands still: preloaded before libc, with the
 * file $CLOCK_STEP_FILE, whose two int64 the test changes while the server runs.
 *
 *     step_ms     is added to CLOCK_REALTIME; other clocks are as they are
 *     stall_ms    the next thread of a shard that reads CLOCK_MONOTONIC stands still for so long behind its
 *                 reading, as one that is kept from running; then it is 0 again
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
    _Atomic int64_t step_ms;
    _Atomic int64_t stall_ms;
} * orders;

__attribute__((constructor)) static void
map_step(void)
{
    const char *name = getenv("CLOCK_STEP_FILE");
    int file = name != NULL ? open(name, O_RDWR | O_CLOEXEC) : -1;
    void *page =
        file >= 0 ? mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (page == MAP_FAILED)
        abort();
    orders = page;
    (void)close(file); /* mapped */
}

static void
stall(void)
{
    char thread[16] = "";
    if (atomic_load(&orders->stall_ms) == 0 || prctl(PR_GET_NAME, thread) != 0 ||
        strncmp(thread, "shard ", 6) != 0)
        return;
    int64_t ms = atomic_exchange(&orders->stall_ms, 0);
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    while (ms > 0 && syscall(SYS_nanosleep, &pause, &pause) != 0)
        continue; /* the rest, where a signal has come */
}

int
clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret_time);
    if (result != 0 || orders == NULL)
        return result;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        ret_time->tv_sec += atomic_load(&orders->step_ms) / 1000;
    if (clock == CLOCK_MONOTONIC)
        stall();
    return result;
}
