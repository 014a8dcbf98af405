/*
 * codec_text.c - what an outcome means, in words.
 *
 * See also: core/text.c for numbers, ids and times, codec_command.c for the checks of a command's parts.
 */
#include "net/codec_internal.h"

#include <assert.h>

const char *
status_text(enum status status)
{
    static const char *const texts[STATUS_COUNT] = {
        [STATUS_OK] = "done",
        [STATUS_NOAUTH] = "the credentials are missing, wrong, or of a role that may not do this",
        [STATUS_RATELIMIT] = "too many requests",
        [STATUS_BADREQUEST] = "the request is malformed or out of range",
        [STATUS_KEYREUSED] = "the idempotency key was used with another request",
        [STATUS_NOEVENT] = "there is no such event",
        [STATUS_NOHOLD] = "there is no such hold of this user",
        [STATUS_NOTOKEN] = "there is no such queue token",
        [STATUS_CLOSED] = "the event takes no holds now",
        [STATUS_NOTADMITTED] = "the waiting room has not admitted this user",
        [STATUS_EXPIRED] = "the hold is over its deadline",
        [STATUS_RELEASED] = "the hold is released",
        [STATUS_CONFIRMED] = "the hold is confirmed",
        [STATUS_CANCELLED] = "the hold is cancelled",
        [STATUS_NOTCONFIRMED] = "the hold is not confirmed",
        [STATUS_NOEXTEND] = "the hold cannot be extended further",
        [STATUS_NOSEAT] = "there is no such seat",
        [STATUS_NOPOOL] = "there is no such pool",
        [STATUS_LIMIT] = "the user would be over the limit of units",
        [STATUS_HELD] = "the seat is held",
        [STATUS_SOLD] = "the seat is sold",
        [STATUS_HELDOUT] = "too few units are free now, but held ones may come back",
        [STATUS_SOLDOUT] = "too few units are left",
        [STATUS_NOADJACENT] = "not so many seats are free side by side",
        [STATUS_EXISTS] = "the event exists with other settings",
        [STATUS_BUSY] = "a bound is reached and nothing was changed: try again",
    };
    assert((unsigned)status < STATUS_COUNT);
    return texts[status];
}
