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

#define PLANT_NONE 0

#endif
