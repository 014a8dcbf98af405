/*
 * event_settings.h - the settings of one event, in one run of bytes.
 *
 * The same bytes are the command's argument, the message to the other shards, the body of the journal
 * record and what every shard keeps, so there is one layout and no conversion:
 *
 *     struct event_settings          fixed part
 *     struct section_settings [section_count]
 *     struct pool_settings    [pool_count]
 *     struct row_settings     [row_count]      rows of irregular sections only, section after section
 *
 * Equal settings have equal bytes: unused bytes of names and padding are zero, and an irregular section
 * whose rows are named 1, 2, ... and all have one length is turned into a regular one.
 */
#ifndef HOLDFAST_EVENT_SETTINGS_H
#define HOLDFAST_EVENT_SETTINGS_H

#include "holdfast/limits.h"
#include "holdfast/status.h"
#include "holdfast/types.h"

enum event_status {
    EVENT_OPEN = 0,
    EVENT_PAUSED,
    EVENT_CLOSED,
};

struct name {
    uint8_t size;
    char text[NAME_SIZE_MAX];
};

struct section_settings {
    struct name name;
    uint8_t regular; /* rows are named 1, 2, ... and have row_seats seats each */
    uint16_t row_count;
    uint16_t row_seats; /* 0 where irregular */
    uint32_t row_first; /* irregular: index of the first row in the rows; regular: 0 */
    uint32_t seat_count;
};

struct pool_settings {
    struct name name;
    uint8_t zero[3];
    uint32_t capacity;
};

struct row_settings {
    struct name name;
    uint8_t zero;
    uint16_t seat_count;
};

struct event_settings {
    uint32_t size;      /* of the whole, in bytes */
    uint32_t row_count; /* rows of irregular sections */
    uint16_t section_count;
    uint16_t pool_count;
    uint32_t hold_seconds;
    uint32_t hold_seconds_max;
    uint32_t units_per_user_max; /* 0: no limit */
    uint64_t opens_at_ms;        /* 0: open at once */
    uint8_t status;              /* enum event_status; EVENT_OPEN when created */
    uint8_t id_size;
    char id[EVENT_ID_SIZE_MAX];
    uint8_t queue_lottery; /* early joiners are drawn */
    uint8_t zero[1];
    uint32_t queue_active_max; /* 0: no queue */
    uint32_t queue_active_seconds;
    uint32_t queue_grace_seconds;
    uint8_t zero_more[4];
    /* The draw's secret: 32 random bytes where queue_lottery, else zero. Drawn by whoever makes the
     * command, so it is no part of what is compared (EXISTS, idempotency). */
    uint8_t lottery_seed[LOTTERY_SEED_SIZE];
};

static_assert(sizeof(struct name) == 17, "no padding");
static_assert(sizeof(struct section_settings) == 32, "no padding");
static_assert(sizeof(struct pool_settings) == 24, "no padding");
static_assert(sizeof(struct row_settings) == 20, "no padding");
static_assert(sizeof(struct event_settings) == 152, "no padding");

#define EVENT_SETTINGS_SIZE_MAX                                                                            \
    (sizeof(struct event_settings) + SECTIONS_MAX * sizeof(struct section_settings) +                      \
     POOLS_MAX * sizeof(struct pool_settings) +                                                            \
     (size_t)SECTIONS_MAX * ROWS_MAX * sizeof(struct row_settings))

/* Views into the bytes; the caller keeps the settings alive. */
const struct section_settings *event_settings_sections(const struct event_settings *settings);
const struct pool_settings *event_settings_pools(const struct event_settings *settings);
const struct row_settings *event_settings_rows(const struct event_settings *settings);

/* Seats of one row, and its name as text (regular rows have a computed name): text holds at least
 * NAME_SIZE_MAX bytes; returns its size. */
uint32_t section_row_seats(const struct event_settings *settings, uint32_t section, uint32_t row);
uint32_t section_row_name(const struct event_settings *settings, uint32_t section, uint32_t row,
                          char *ret_text);

/* Index of a section or pool by name, or -1. */
int32_t event_settings_find_section(const struct event_settings *settings, struct bytes name);
int32_t event_settings_find_pool(const struct event_settings *settings, struct bytes name);

/*
 * A draft: settings being put together by a codec from JSON or RESP, in any order. The memory (at least
 * EVENT_DRAFT_SIZE bytes, 8-aligned) is the caller's, need not be zeroed beyond what is used, and
 * holds the result, which is valid as long as the memory is.
 *
 * Each function returns NULL, or the name of the field that is wrong (static storage), for instance
 * "sections.rows"; *ret_expected then says what was expected. After an error the draft is dead.
 */
struct event_draft;
#define EVENT_DRAFT_SIZE (2 * EVENT_SETTINGS_SIZE_MAX + (size_t)SECTIONS_MAX * ROWS_MAX * 4 + 4096)

struct event_draft *event_draft_begin(void *memory);
const char *event_draft_id(struct event_draft *draft, struct bytes id, const char **ret_expected);
/* rows named 1..rows, each with row_seats seats */
const char *event_draft_section(struct event_draft *draft, struct bytes name, int64_t rows,
                                int64_t row_seats, const char **ret_expected);
/* one row of an irregular section, which it makes where it does not exist */
const char *event_draft_row(struct event_draft *draft, struct bytes section, struct bytes row,
                            int64_t seats, const char **ret_expected);
const char *event_draft_pool(struct event_draft *draft, struct bytes name, int64_t capacity,
                             const char **ret_expected);
const char *event_draft_hold_seconds(struct event_draft *draft, int64_t seconds, const char **ret_expected);
const char *event_draft_hold_seconds_max(struct event_draft *draft, int64_t seconds,
                                         const char **ret_expected);
const char *event_draft_units_per_user_max(struct event_draft *draft, int64_t units,
                                           const char **ret_expected);
/* active_max 1 to QUEUE_ACTIVE_MAX */
const char *event_draft_queue(struct event_draft *draft, int64_t active_max, int64_t active_seconds,
                              int64_t grace_seconds, bool lottery, const char **ret_expected);
const char *event_draft_opens_at(struct event_draft *draft, int64_t opens_at_ms, const char **ret_expected);
/* Applies defaults, checks the whole, and gives the settings, which lie in the draft's memory. */
const char *event_draft_end(struct event_draft *draft, const struct event_settings **ret_settings,
                            const char **ret_expected);

/* Names by the interface's rules. */
bool id_valid(struct bytes id);     /* event and user ids */
bool name_valid(struct bytes name); /* section, row and pool names */

#endif
