/*
 * server.h - `holdfast serve`.
 */
#ifndef HOLDFAST_SERVER_H
#define HOLDFAST_SERVER_H

/* argv[0] is the word serve; the rest is reordered. Returns the exit code: 0 done, 1 failed, 2 usage. */
int serve_main(int argc, char **argv);

#endif
