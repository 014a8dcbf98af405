/*
 * pass.h - passes of the waiting room: JWTs by which a gateway sees that a user is admitted to an event.
 */
#ifndef HOLDFAST_PASS_H
#define HOLDFAST_PASS_H

#include "holdfast/limits.h"
#include "holdfast/types.h"

#define PASS_SECRET_SIZE_MAX 1024
#define PASS_SECRET_SIZE_MIN 32   /* RFC 7518, 3.2: as long as the hash; shorter: refused */
#define PASS_SIZE_MAX        512  /* of one that we make */
#define PASS_SHOWN_SIZE_MAX  2048 /* of one that is shown; longer: not a pass */

struct pass_secret {
    uint32_t size; /* 0: none */
    uint8_t bytes[PASS_SECRET_SIZE_MAX];
};

/* Read at the start, read-only afterwards, shared by all threads. */
struct pass_secrets {
    struct pass_secret current; /* signs, and checks */
    struct pass_secret old;     /* checks: while one is being replaced */
};

/* The bytes of a file without white space around them. False: ret_cause says why, with the path. */
bool pass_secret_read(const char *path, struct pass_secret *ret_secret, char *ret_cause, size_t cause_size);
/* Makes the file with a random secret, mode 0600, whole or not at all; one that exists stays. */
bool pass_secret_make(const char *path, char *ret_cause, size_t cause_size);

/* Writes the pass of an active token (PASS_SIZE_MAX bytes of room, no zero at its end); returns its size.
 * Ids are valid ones; exp is the first full second at or after the deadline, so it never ends early (R8).
 */
uint32_t pass_make(const struct pass_secrets *secrets, struct bytes user, struct bytes event,
                   const struct uuid *token, uint64_t deadline_ms, char *ret_text);

/* True: signed by one of the secrets, for this user and event, and not expired. */
bool pass_check(const struct pass_secrets *secrets, struct bytes text, struct bytes user,
                struct bytes event, uint64_t now_ms);

#endif
