/*
 * limits.h - the bounds of the interface (docs/api: the same figures).
 *
 * What is fixed by the contract stands here. What a user may choose (memory, connections) is a
 * setting: core/shard.h and net/settings.h. Each bound names what happens when it is reached.
 */
#ifndef HOLDFAST_LIMITS_H
#define HOLDFAST_LIMITS_H

#include <assert.h>

/* Names. Longer or with other characters: BADREQUEST. */
#define EVENT_ID_SIZE_MAX    64
#define USER_ID_SIZE_MAX     64
#define NAME_SIZE_MAX        16  /* section, row and pool names */
#define SEAT_TEXT_SIZE_MAX   48  /* SECTION/ROW/NUMBER with a number of up to nine digits */
#define UNIT_TEXT_SIZE_MAX   64  /* what a refusal names: a seat, section, pool, event or token */
#define KEY_SIZE_MAX         255 /* idempotency key */
#define REQUEST_ID_SIZE_MAX  128 /* X-Request-ID */
#define PAYMENT_REF_SIZE_MAX 128
#define CALLER_SIZE_MAX      64 /* name of an API key. Longer: the keys file is refused */

/* Events. More: BADREQUEST; the ten thousand and first event: BUSY. */
#define EVENTS_MAX         10000
#define SECTIONS_MAX       64
#define ROWS_MAX           1024 /* a section */
#define ROW_SEATS_MAX      1024
#define POOLS_MAX          64
#define POOL_CAPACITY_MAX  1000000000u
#define SECONDS_MAX        2592000u /* every ..._seconds: 1 to this */
#define UNITS_PER_USER_MAX 1000000000u
#define QUEUE_ACTIVE_MAX   1000000000u
#define LOTTERY_SEED_SIZE  32

/* Waiting room. */
#define POLL_MS_MAX 30000 /* wait_ms; more: BADREQUEST */

/* Holds. More: BADREQUEST. */
#define HOLD_SEATS_MAX 16 /* those of best included */
#define HOLD_POOLS_MAX 4

/* Placement. */
#define BLOCK_SEATS_MAX 1024 /* a block is a run of whole rows of one section */
#define SHARDS_MAX      64

static_assert(ROW_SEATS_MAX <= BLOCK_SEATS_MAX, "rows never straddle blocks");

#endif
