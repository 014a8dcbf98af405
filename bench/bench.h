/*
 * bench.h - `holdfast bench`: what compares Holdfast with others.
 */
#ifndef HOLDFAST_BENCH_H
#define HOLDFAST_BENCH_H

/* argv[0] is the word "bench". Returns the exit code: 0 done, 1 failed, 2 usage. */
int bench_main(int argc, char **argv);

#endif
