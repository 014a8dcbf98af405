/* base64url.h - base64 with the alphabet for URLs and without padding (RFC 4648, 5; RFC 7515, 2). */
#ifndef HOLDFAST_BASE64URL_H
#define HOLDFAST_BASE64URL_H

#include "holdfast/types.h"

#define BASE64URL_SIZE(size) (((size)*4 + 2) / 3)

/* Writes BASE64URL_SIZE(size) letters; returns behind the last one. */
char *base64url_put(char *at, const void *data, size_t size);

/* The only text of some bytes is taken: no padding, no blanks, no bits left over that are not zero. False:
 * another text, or more than room bytes. */
bool base64url_parse(struct bytes text, uint8_t *ret_data, size_t room, size_t *ret_size);

#endif
