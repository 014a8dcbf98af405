/*
 * persister_base.h - where the beginning of the journal is gone: everything as the newest snapshot has it,
 * as rows.
 *
 * Nothing is published of it: what happened before is over. The rows of requests that a snapshot does not
 * tell (request_id, trace_id, payment_ref, activated_at) are NULL.
 */
#ifndef HOLDFAST_PERSISTER_BASE_H
#define HOLDFAST_PERSISTER_BASE_H

#include "persist/mirror.h"
#include "persist/persister_work.h"

struct base;

/* Reads the snapshot and what of the journal belongs to it, all of it into memory. False: ret_text. */
bool base_open(struct base **ret_base, const struct data_folder *folder,
               char ret_text[MIRROR_TEXT_SIZE_MAX]);
void base_close(struct base *base); /* NULL: nothing */

uint64_t base_generation(const struct base *base);
/* Behind it. */
const struct persister_place *base_place(const struct base *base);
/* Puts the next rows into an empty work. False: there are none, or (work->failed) no memory. */
bool base_next(struct base *base, struct work *work);

#endif
