/*
 * server_door.h - the front door of a server, as its start opens it: keys, rates, the secret of passes.
 */
#ifndef HOLDFAST_SERVER_DOOR_H
#define HOLDFAST_SERVER_DOOR_H

#include "net/loop.h"

/* The files that the settings name, where they name any: can they be read, and are they what they should
 * be? Nothing is made. False: told. */
bool door_check(const struct settings *settings);
/* Before the first thread; the data directory is there. False: told. */
bool door_open(struct server *server);
/* SIGHUP, by the main thread while the loops run: the keys file anew. Told, whatever comes of it. */
void door_reload(struct server *server);
/* After the last thread. */
void door_close(struct server *server);

#endif
