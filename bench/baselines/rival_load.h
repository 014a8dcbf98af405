/*
 * rival_load.h - one rival under the generator's load.
 */
#ifndef HOLDFAST_BENCH_RIVAL_LOAD_H
#define HOLDFAST_BENCH_RIVAL_LOAD_H

/* argv[0]: "rival". Exit codes as of `holdfast load`. */
int rival_main(int argc, char **argv);

#endif
