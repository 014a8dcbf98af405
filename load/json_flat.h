/*
 * json_flat.h - JSON as a flat run of values, for answers.
 */
#ifndef HOLDFAST_LOAD_JSON_FLAT_H
#define HOLDFAST_LOAD_JSON_FLAT_H

#include "load/stream.h"

#define JSON_DEPTH_MAX 16

/* Appends the one JSON value that fills the text to the answer's values; texts' places count from base.
 * Escapes are undone where they stand. False: it is no JSON, deeper than JSON_DEPTH_MAX, or memory has
 * ended. Numbers that are no 64-bit integers come as text, true and false as 1 and 0. */
bool json_flatten(char *base, uint32_t first, uint32_t end, struct answer_room *answer);

#endif
