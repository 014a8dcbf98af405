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

#define PLANTED(bug) (HOLDFAST_PLANT == (bug))

/* One bug a line, for tests/sim/plants. */
/* clang-format off */
#define PLANT_NONE                  0
#define PLANT_EARLY_BY_A_TICK       1  /* expiry_wheel.c: a hold ends a tick before its deadline */
#define PLANT_CHECK_THEN_ACT        2  /* owner.c: only the first of several seats is checked before all are taken */
#define PLANT_VERSION_NOT_RAISED    3  /* seat_map.c: a new hold gives the seat its old version */
#define PLANT_RECALLED_STILL_SOLD   4  /* pool.c: a recalled slice is still sold from */
#define PLANT_KEY_FORGOTTEN         5  /* operation.c: an idempotency key is not remembered */
#define PLANT_LIMIT_PER_REQUEST     6  /* hold_place.c: the limit counts one request's units only */
#define PLANT_REPLACE_FREES_KEPT    7  /* hold_decide.c: a replace gives back the seats it keeps */
#define PLANT_CONFIRM_OVERDUE       8  /* hold_end.c: what is overdue but not swept is confirmed */
#define PLANT_EXTEND_BEYOND_CAP     9  /* hold_end.c: an extension has no cap */
#define PLANT_ANSWER_BEFORE_DURABLE 10 /* operation.c: units return, answers leave before the record is durable */
#define PLANT_RETURN_BEFORE_DURABLE 11 /* shard.c: an expired hold's units return before its record is durable */
#define PLANT_VERSION_RESET         12 /* replay.c: ended holds' versions are lost over a restart */
#define PLANT_REPLACE_NOT_REPLAYED  13 /* replay.c: a replace leaves the old hold alive after a restart */
#define PLANT_EXTEND_NOT_RECORDED   14 /* hold_end.c: an extension leaves no record */
#define PLANT_LATE_BEYOND_LIMIT     15 /* hold_end.c: a late confirm does not look at the limit */
#define PLANT_ABORT_FORGOTTEN       16 /* hold_refuse.c: a refused hold of several owners leaves units reserved */
#define PLANT_BEST_LEAVES_ORPHANS   17 /* seat_map.c: best seats do not mind an orphan beside them */
#define PLANT_CAPACITY_UNCHECKED    18 /* event_change.c: a capacity may fall below what is held and sold */
#define PLANT_SOLD_OUT_TOO_SOON     19 /* pool.c: sold out is said while held units may come back */
#define PLANT_ACKNOWLEDGED_TOO_SOON 20 /* journal_writer.c: a batch counts as durable when it is handed over */
#define PLANT_SNAPSHOT_TOO_SOON     21 /* persist/snapshot.c: the manifest does not wait for what the parts reflect */
#define PLANT_EPOCHS_REVERSED       22 /* recovery.c: later epochs are replayed first */
#define PLANT_FOLDER_NOT_SYNCED     23 /* segment.c: a new segment's name is not made durable */
#define PLANT_TORN_TAKEN            24 /* journal_format.c: a batch's crc is not looked at */
#define PLANT_CHAIN_UNCHECKED       25 /* journal_reader.c: the link to the batch before is not looked at */
#define PLANT_CUT_IN_THE_MIDDLE     26 /* journal_reader.c: whole batches behind a torn one are cut off with it */
#define PLANT_BARRIER_NOT_AWAITED   27 /* snapshot.c: a part is written before the other shards' barriers came */
#define PLANT_MARKS_IGNORED         28 /* replay.c: what a snapshot reflects is applied once more */
#define PLANT_SEGMENT_TOO_MANY      29 /* retention.c: a segment is removed that the older generation needs */
#define PLANT_KEYS_NOT_IN_SNAPSHOT  30 /* snapshot.c: idempotency answers are left out */
#define PLANT_VERSIONS_NOT_KEPT     31 /* snapshot.c: seats' versions are left out */
#define PLANT_SHORT_WRITE_TAKEN     32 /* journal_writer.c: a short write counts as a whole one */
#define PLANT_END_NOT_CHECKED       33 /* recovery_read.c: an earlier epoch's journal may end before its noted end */
#define PLANT_START_NOT_SYNCED      34 /* recovery.c: the start file's name is not made durable */
#define PLANT_PART_NOT_SYNCED       35 /* persist/snapshot.c: a part gets its name before it is on the disk */
#define PLANT_WAKE_LOST             40 /* queue.c: a slot that frees lets nobody in while others are active */
#define PLANT_SLOT_BEFORE_REVOKED   41 /* queue.c: a slot is given on before the home has taken the admission away */
#define PLANT_REVOKE_IGNORED        42 /* admission.c: a revoke leaves the admission */
#define PLANT_ADMITTED_OVERDUE      43 /* admission.c: an admission has no deadline */
#define PLANT_DONE_STILL_ADMITTED   44 /* admission.c: a confirm that ends the place leaves the admission */
#define PLANT_DONE_NOT_RECORDED     45 /* record.c: the confirm's record does not say that it ended the place */
#define PLANT_TOKEN_LOST            46 /* queue_record.c: a snapshot forgets who waits */
#define PLANT_DRAW_BY_ARRIVAL       47 /* queue_command.c: early joiners are not drawn */
#define PLANT_RANK_COUNTS_LEAVERS   48 /* token.c: who left is still counted */
#define PLANT_JOIN_TOLD_TOO_SOON    49 /* token.c: a second join is told of a place that is not on disk yet */
#define PLANT_PLACE_NAMED_TOO_SOON  50 /* queue.c: HOLDS names a place that is not on disk yet */
#define PLANT_SILENT_REVIVED        51 /* token.c: who has been silent for too long lives until the sweep */
#define PLANT_LOWERED_UNHEARD       52 /* queue.c: until the next sweep slots are handed on, whatever active_max is */
#define PLANT_REPLAY_SHOWS_NOW      53 /* shard.c: the replay of an event's change shows its settings of now */
#define PLANT_DONE_UNTIL_A_START    54 /* admission.c: after a start a place that is done is active till its home speaks */
#define PLANT_SNAPSHOT_TELLS_NEW    55 /* queue_record.c: a snapshot tells places made after it began */
/* clang-format on */

#endif
