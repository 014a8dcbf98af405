/*
 * test_faults.c - the disk fails at one call, for every call of a start, work, a snapshot, segments'
 * changes and a restart.
 *
 * What must come of it:
 *
 *     during a start       refused with file and cause, and the directory is as good as before: the next
 * start succeeds and has everything. Or the call did not matter (a close) a batch's write      the process
 * ends: no answer leaves after it, and nothing more is written to the file a segment, a file    new holds
 * are refused (scarcity) or the snapshot fails; both end with the failure always               what was
 * answered is there after the next start
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/persist/stage.h"

#define CALLS_MAX 2000

/* What was answered: one line a command, in order. */
struct script {
    struct memory_disk disk;
    struct stage_book book;
    uint64_t answered; /* of the lines of work(), a bit each */
    bool refused;      /* a start was */
    bool died;
    bool happened;
    char what[64];
    enum { IN_START, IN_WORK, IN_RESTART } where;
};

static const char *const lines[] = {
    "EVENT e",      "HOLD e u1 A/1/1 A/1/2", "HOLD e u2 A/2/1", "POOL e u3 2",
    "CONFIRM u1 0", "RELEASE u2 1",          "EVENT f",         "HOLD f u1 A/1/1",
    "EXTEND u1 3",  "HOLD e u4 A/3/1 A/4/1",
};
#define LINES (sizeof lines / sizeof lines[0])
/* Work that fills a segment, and begins the next one. */
#define FILLING 20

static int
begin(struct script *script, struct stage **ret_stage, uint64_t now_ms)
{
    struct journal_fault fault;
    memset(&fault, 0, sizeof fault);
    int result = stage_open(ret_stage, &script->disk, 2, STAGE_SERVE, now_ms, &fault);
    if (result != 0) {
        script->refused = true;
        if (fault.text[0] == '\0' || fault.file[0] == '\0')
            fail_msg("a start is refused with %d and without file or cause", result);
    }
    return result;
}

/* Commands until one is not answered; true: all were. */
static void
work(struct script *script, struct stage *stage)
{
    for (uint32_t i = 0; i < LINES && !stage_dead(stage); i++) {
        uint32_t holds = stage_book(stage)->count;
        enum status status = stage_do(stage, lines[i]);
        if (stage_dead(stage))
            break;
        /* short of room, and again when it is back */
        for (uint32_t tries = 0; status == STATUS_BUSY && tries < 50; tries++) {
            stage_pass(stage, 100);
            status = stage_do(stage, lines[i]);
        }
        if (stage_dead(stage))
            break;
        assert_int_equal(status, STATUS_OK);
        assert_true(stage_book(stage)->count <= holds + 1);
        script->answered |= 1ull << i;
        if (i == 5 || i == 8)
            (void)stage_snapshot(stage); /* it may fail: then the journal serves */
    }
    for (uint32_t i = 0; i < FILLING && !stage_dead(stage); i++) {
        stage_pass(stage, 2000);
        (void)stage_do(stage, "EXTEND u3 2"); /* a batch; its answer changes nothing that is checked */
    }
    script->book = *stage_book(stage);
}

static uint64_t
now_after(uint32_t seconds)
{
    return STAGE_NOW + (uint64_t)seconds * 1000;
}

/* A start, work, a kill, a start, more work; the disk fails somewhere in it. */
static void
play(struct script *script)
{
    struct stage *stage;
    script->where = IN_START;
    if (begin(script, &stage, now_after(0)) == 0) {
        script->where = IN_WORK;
        work(script, stage);
        script->died = stage_dead(stage);
        if (script->died)
            assert_int_equal(script->disk.writes_after_failure, 0);
        stage_close(stage);
    }
    if (script->disk.failure.happened)
        return;
    script->where = IN_RESTART;
    if (begin(script, &stage, now_after(10)) == 0) {
        stage_set_book(stage, &script->book);
        stage_pass(stage, 100);
        script->died = stage_dead(stage);
        stage_close(stage);
    }
}

/* What must be there after a start from this disk, whose failure is over. */
static void
check_answers(struct script *script, struct memory_disk *left)
{
    struct journal_fault fault;
    struct stage *stage;
    memset(&fault, 0, sizeof fault);
    int result = stage_open(&stage, left, 3, STAGE_SERVE, now_after(20), &fault);
    if (result != 0)
        fail_msg("after '%s' failed with %d the next start is refused: %s at %" PRIu64 ": %s", script->what,
                 script->disk.failure.error, fault.file, fault.offset, fault.text);
    stage_set_book(stage, &script->book);
    char *picture = stage_picture(stage);
    assert_true(script->happened || memory_disk_find(left, "00000001-000-00000002.journal") != NULL ||
                memory_disk_find(left, "00000001-001-00000002.journal") != NULL);
    /* each answered line, by what the picture must then say */
    static const struct {
        uint32_t line;
        const char *text;
        uint32_t not_after; /* another line, answered or in doubt, that changes it */
    } said[] = {
        {0, "OK e 0 300s 52=", UINT32_MAX},
        {4, "OK e u1 confirmed until ", UINT32_MAX},
        {2, "OK e u2 held until ", 5},
        {3, "OK e u3 held until ", UINT32_MAX},
        {5, "OK e u2 released until ", UINT32_MAX},
        {6, "OK f 0 300s 52=", UINT32_MAX},
        {7, "OK f u1 held until ", UINT32_MAX},
        {9, "OK e u4 held until ", UINT32_MAX},
    };
    for (uint32_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        bool answered = (script->answered >> said[i].line & 1) != 0;
        bool changed =
            said[i].not_after != UINT32_MAX && (script->answered >> (said[i].not_after - 1) & 1) != 0;
        if (answered && !changed && strstr(picture, said[i].text) == NULL)
            fail_msg("after '%s' failed with %d: '%s' was answered; there is\n%s", script->what,
                     script->disk.failure.error, lines[said[i].line], picture);
    }
    free(picture);
    stage_close(stage);
}

struct outcome {
    uint64_t calls;
    uint64_t refused;
    uint64_t died;
    uint64_t went_on;
};

static bool
fail_at(uint64_t call, int error, bool for_good, struct outcome *outcome)
{
    static struct script script;
    static struct memory_disk left;
    memset(&script, 0, sizeof script);
    memory_disk_open(&script.disk);
    memory_disk_open(&left);
    script.disk.failure = (struct memory_failure){.call = call, .error = error, .for_good = for_good};
    play(&script);
    script.happened = script.disk.failure.happened;
    memcpy(script.what, script.disk.failure.what, sizeof script.what);
    outcome->calls += script.happened;
    outcome->refused += script.refused;
    outcome->died += script.died;
    outcome->went_on += !script.refused && !script.died;
    if (!for_good && script.happened && script.died && strncmp(script.what, "write batch", 11) != 0)
        fail_msg("'%s' failed with %d, and the process ended", script.what, error);
    if (script.happened && strncmp(script.what, "write batch", 11) == 0)
        assert_true(script.died);
    memory_disk_copy(&left, &script.disk);
    check_answers(&script, &left);
    memory_disk_close(&left);
    memory_disk_close(&script.disk);
    return script.happened;
}

static void
every_call(int error, bool for_good)
{
    struct outcome outcome = {0};
    uint64_t call = 1;
    while (fail_at(call, error, for_good, &outcome)) {
        call++;
        assert_true(call < CALLS_MAX);
    }
    print_message("%" PRIu64 " calls failed: %" PRIu64 " starts refused, %" PRIu64 " ends, %" PRIu64
                  " went on\n",
                  outcome.calls, outcome.refused, outcome.died, outcome.went_on);
    assert_true(outcome.calls > 100);
    assert_true(outcome.refused > 0);
    assert_true(outcome.died > 0);
    assert_true(outcome.went_on > 1);
}

static void
each_call_fails_once(void **state)
{
    (void)state;
    every_call(-EIO, false);
}

static void
each_call_finds_no_space(void **state)
{
    (void)state;
    every_call(-ENOSPC, false);
}

static void
the_disk_dies_at_each_call(void **state)
{
    (void)state;
    every_call(-EIO, true);
}

/* -EINTR stands for a short write of a batch. */
static void
each_batch_is_written_short(void **state)
{
    (void)state;
    every_call(-EINTR, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_once),
        cmocka_unit_test(each_call_finds_no_space),
        cmocka_unit_test(the_disk_dies_at_each_call),
        cmocka_unit_test(each_batch_is_written_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
