/*
 * plant.h - planted bugs: compile-time mutations of the core, each of which the simulator must catch.
 *
 * HOLDFAST_PLANT is the number of the bug to build in, 0 in every build that is not a test of the
 * simulator. tests/sim/plants reads this list.
 */
#ifndef HOLDFAST_PLANT_H
#define HOLDFAST_PLANT_H

#ifndef HOLDFAST_PLANT
#define HOLDFAST_PLANT 0
#endif

#define PLANTED(bug)              (HOLDFAST_PLANT == (bug))

#define PLANT_NONE                0
#define PLANT_EARLY_BY_A_TICK     1 /* expiry_wheel.c: a hold ends a tick before its deadline */
#define PLANT_CHECK_THEN_ACT      2 /* owner.c: a seat is checked by the first of two steps only */
#define PLANT_VERSION_NOT_RAISED  3 /* seat_map.c: a new hold gives the seat its old version */
#define PLANT_RECALLED_STILL_SOLD 4 /* pool.c: a recalled slice is still sold from */
#define PLANT_LIMIT_PER_REQUEST   6 /* hold_place.c: the limit counts one request's units only */
#define PLANT_REPLACE_FREES_KEPT  7 /* hold_place.c: a replace gives back the seats it keeps */
#define PLANT_CONFIRM_OVERDUE     8 /* hold_end.c: what is overdue but not swept is confirmed */
#define PLANT_EXTEND_BEYOND_CAP   9 /* hold_end.c: an extension has no cap */
#define PLANT_ANSWER_BEFORE_DURABLE                                                                        \
    10 /* operation.c: units go back and answers leave before the record is durable */
#define PLANT_RETURN_BEFORE_DURABLE                                                                        \
    11                         /* shard.c: an expired hold's units go back before its record is durable */
#define PLANT_VERSION_RESET 12 /* replay.c: ended holds' versions are lost over a restart */
#define PLANT_KEY_FORGOTTEN 5  /* operation.c: an idempotency key is not remembered */

#endif
