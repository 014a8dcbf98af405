/*
 * null_server.h - a server that answers at once and knows nothing: what the generator itself can.
 */
#ifndef HOLDFAST_LOAD_NULL_SERVER_H
#define HOLDFAST_LOAD_NULL_SERVER_H

#include "load/client.h"

#include <sys/types.h>

/* `holdfast load null --resp ADDR:PORT` or `--http ADDR:PORT`: serves until it is killed. argv[0] is
 * "null". Returns the exit code. */
int null_main(int argc, char **argv);

/* The same as a child process on a free port of 127.0.0.1; it ends with its parent. Below 0: ret_error says
 * why, at least 160 bytes. */
pid_t null_server_start(const struct client_kind *protocol, uint16_t *ret_port, char *ret_error);
void null_server_stop(pid_t pid);

#endif
