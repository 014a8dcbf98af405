/*
 * bench.c - `holdfast bench`: the way to its parts.
 */
#include "bench/bench.h"

#include "bench/baselines/rival_load.h"
#include "bench/dual_run.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: holdfast bench rival NAME ...  one way to sell, Holdfast's or another, under load\n"
    "       holdfast bench dual-run ...    the same commands through Holdfast and through PostgreSQL\n"
    "\n"
    "Each says more with --help.\n";

int
bench_main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "rival") == 0)
        return rival_main(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "dual-run") == 0)
        return dual_run_main(argc - 1, argv + 1);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    fputs(help, stderr);
    return 2;
}
