/*
 * outbox_plant.h - planted bugs of the relay, each of which its model test must catch (as core/plant.h for
 * the core). OUTBOX_PLANT is the number of the bug to build in, 0 in every build but that of the test.
 */
#ifndef HOLDFAST_OUTBOX_PLANT_H
#define HOLDFAST_OUTBOX_PLANT_H

#ifndef OUTBOX_PLANT
#define OUTBOX_PLANT 0
#endif

#define OUTBOX_PLANTED(bug) (OUTBOX_PLANT == (bug))

#define OUTBOX_WATERMARK_TOO_SOON                                                                          \
    1 /* outbox_window.c: the watermark does not wait for the delivery report */
#define OUTBOX_KEY_NOT_AWAITED                                                                             \
    2 /* outbox_window.c: a row does not wait for the one before it of its key                             \
       */
#define OUTBOX_CLUSTER_NOT_ASKED 3 /* outbox_relay.c: a lost connection comes back unasked: to whom? */
#define OUTBOX_WATERMARK_BELIEVED                                                                          \
    4                            /* outbox_relay.c: a watermark whose commit was cut off counts as moved */
#define OUTBOX_DEAD_NOT_BURIED 5 /* outbox_relay.c: a dead row is passed, but not put into outbox_dead */
#define OUTBOX_RECALL_FORGOTTEN                                                                            \
    6 /* outbox_window.c: what flew when the producer was closed counts as delivered */

#endif
