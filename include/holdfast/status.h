/*
 * status.h - the outcomes of a command: the same words in RESP, HTTP, metrics and tests.
 */
#ifndef HOLDFAST_STATUS_H
#define HOLDFAST_STATUS_H

enum status {
    STATUS_OK = 0,
    STATUS_NOAUTH,
    STATUS_RATELIMIT,
    STATUS_BADREQUEST,
    STATUS_KEYREUSED,
    STATUS_NOEVENT,
    STATUS_NOHOLD,
    STATUS_NOTOKEN,
    STATUS_CLOSED,
    STATUS_NOTADMITTED,
    STATUS_EXPIRED,
    STATUS_RELEASED,
    STATUS_CONFIRMED,
    STATUS_CANCELLED,
    STATUS_NOTCONFIRMED,
    STATUS_NOEXTEND,
    STATUS_NOSEAT,
    STATUS_NOPOOL,
    STATUS_LIMIT,
    STATUS_HELD,
    STATUS_SOLD,
    STATUS_HELDOUT,
    STATUS_SOLDOUT,
    STATUS_NOADJACENT,
    STATUS_EXISTS,
    STATUS_BUSY,
    STATUS_COUNT,
};

/* The word of a status in capitals, as RESP's first word: static storage. STATUS_OK is "OK". */
const char *status_word(enum status status);

/* The same in small letters, as HTTP's code: static storage. */
const char *status_code(enum status status);

#endif
