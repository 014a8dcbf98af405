/*
 * load.h - `holdfast load`: buyers over real connections, and the audit of what they were told.
 */
#ifndef HOLDFAST_LOAD_H
#define HOLDFAST_LOAD_H

struct workload_kind;

/* argv[0] is the word "load". Returns the exit code: 0 done and the audit found nothing, 1 failed or the
 * audit found a difference, 2 usage. */
int load_main(int argc, char **argv);

/* The same with workloads of somebody else (workload.h); kinds ends with NULL. */
int load_main_with(int argc, char **argv, const struct workload_kind *const *kinds);

#endif
