/*
 * server.h - `holdfast serve`.
 */
#ifndef HOLDFAST_SERVER_H
#define HOLDFAST_SERVER_H

/* argv: what follows the word serve. Returns the exit code: 0 done, 1 failed, 2 usage. */
int serve_main(int argc, char **argv);

#endif
