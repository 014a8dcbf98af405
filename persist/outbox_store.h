/*
 * outbox_store.h - the outbox in PostgreSQL, as the relay's store: a connection of its own, made anew when
 * it is gone. One thread.
 */
#ifndef HOLDFAST_OUTBOX_STORE_H
#define HOLDFAST_OUTBOX_STORE_H

#include "persist/outbox_relay.h"
#include "persist/pg.h"

struct pg_store;

/* Connects to nobody. settings are copied; the texts in them must outlive the store. NULL: no memory. */
struct pg_store *pg_store_new(const struct pg_settings *settings);
void pg_store_free(struct pg_store *store); /* NULL: nothing */

/* As long as the store. */
struct outbox_store pg_store_outbox(struct pg_store *store);

#endif
