/*
 * stage.h - shards in memory with a trivial host: what the micro benchmarks run on.
 */
#ifndef HOLDFAST_BENCH_STAGE_H
#define HOLDFAST_BENCH_STAGE_H

#include "core/shard.h"
#include "net/mailbox.h"

#define STAGE_SHARDS_MAX 2
#define STAGE_SEED       UINT64_C(0x5eed)
#define STAGE_EPOCH_MS   UINT64_C(1800000000000) /* where the benchmarks' own time begins */

struct stage;

/* One shard and the answers it gave. Touched by one thread. */
struct stage_shard {
    struct stage *stage;
    struct shard *shard;
    void *memory;
    size_t memory_size;
    uint32_t index;
    uint64_t now_ms;

    /* answers */
    uint64_t answered;
    uint64_t refused;
    enum status refusal; /* the last one */
    struct uuid *holds;  /* where set: the ids of granted holds go here, by tag */
    void (*heard)(void *context, uint64_t tag, const struct reply *reply); /* where set: every answer */
    void *heard_context;

    struct mailbox *inbox[STAGE_SHARDS_MAX]; /* by sender */
};

struct stage {
    uint32_t shard_count;
    struct stage_shard shards[STAGE_SHARDS_MAX];
    void *mailbox_memory[STAGE_SHARDS_MAX][STAGE_SHARDS_MAX];
};

/* Shards with room for so many holds (and users) and seats each. Ended holds are forgotten after 1 ms.
 * Touched: the memory is there already, as in a server that has run for a while. Ends the process where
 * there is no memory. */
void stage_open(struct stage *stage, uint32_t shard_count, uint32_t holds_max, uint64_t seats_max,
                bool touched);
void stage_done(struct stage *stage);

/* The same, and ended holds and idempotency keys are remembered for so long, with room for a million keys.
 */
void stage_open_remembering(struct stage *stage, uint32_t shard_count, uint32_t holds_max,
                            uint64_t seats_max, uint64_t remember_ms);

/* Makes an event called "e<number>" with section "A" (0 rows: none) and pool "p" (0: none); deadlines far
 * away. By the one thread that set the stage up. */
void stage_event(struct stage *stage, uint32_t number, uint32_t rows, uint32_t row_seats,
                 uint32_t pool_capacity);

/* What a loop does after a run of commands: messages, records, durability. */
void stage_messages(struct stage_shard *at);
void stage_settle(struct stage_shard *at);

/* Moves the time on and lets ended holds be forgotten. */
void stage_forget(struct stage_shard *at);

/* Fails with the last refusal where not exactly so many commands have been answered well since the last
 * call. */
void stage_expect(struct stage_shard *at, uint64_t answered, const char *what);

uint64_t bench_now_ns(void);

/* ---- a command with the memory it points into ---- */

struct order {
    struct command command;
    char event[8];
    char user[UUID_TEXT_SIZE];
    char row[8];
};

enum user_form {
    USER_SHORT, /* u1234567 */
    USER_UUID,  /* 36 characters */
};

/* A hold for a user by number of one seat (row and number from 0; ROW_NONE: one unit of the pool). */
#define ROW_NONE UINT32_MAX
void order_hold(struct order *order, uint32_t event, uint64_t user, enum user_form form, uint32_t row,
                uint32_t seat);

/* Another command about a hold of the user in the order. */
void order_end(struct order *order, enum command_type type, uint64_t user, enum user_form form,
               const struct uuid *hold);

/* ---- results ---- */

#define RUNS_MAX 25

struct result {
    const char *name;
    const char *unit;
    uint32_t count;
    double values[RUNS_MAX];
};

void result_add(struct result *result, double value);
void result_print(struct result *result, bool json);

/* Resident memory of this process, in bytes. */
uint64_t resident_bytes(void);

/* Zeroed memory, the caller's to unmap, that costs nothing until it is touched, or is touched now. As in
 * the server, pages of 2 MiB are asked for. Ends the process where there is none. */
void *stage_memory(size_t size, bool touched);

/* Keeps the calling thread on the processor with this number among those that the process may use; where it
 * cannot, it runs anyway. */
void bench_pin(uint32_t index);

/* shards_bench.c */
void bench_shards(uint32_t runs, uint64_t operations, bool json);

/* machine_bench.c */
void bench_machine(uint32_t runs, uint64_t operations, bool json);

#endif
