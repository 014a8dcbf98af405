/*
 * clock_step.c - a wall clock that steps: preloaded before libc, it adds to CLOCK_REALTIME the milliseconds
 * that the file $CLOCK_STEP_FILE says (an int64, which the test changes while the server runs). Other
 * clocks are as they are.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *step_ms;

__attribute__((constructor)) static void
map_step(void)
{
    const char *name = getenv("CLOCK_STEP_FILE");
    int file = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file >= 0 ? mmap(NULL, sizeof *step_ms, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    if (page == MAP_FAILED)
        abort();
    step_ms = page;
    (void)close(file); /* mapped */
}

int
clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret_time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && step_ms != NULL) {
        int64_t ms = *step_ms;
        ret_time->tv_sec += ms / 1000;
    }
    return result;
}
