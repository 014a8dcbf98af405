/*
 * codec_table.h - runs a table of bad inputs, tests/integration/bad_*.json: each has a name, an input, the
 * exact answer and whether the connection closes.
 */
#ifndef HOLDFAST_TESTS_CODEC_TABLE_H
#define HOLDFAST_TESTS_CODEC_TABLE_H

#include "tests/unit/codec_drive.h"

/* Fails the cmocka test at the first input with another answer, or whose answer depends on how the bytes
 * are cut. Returns the number of inputs. */
size_t codec_table_run(enum drive_protocol protocol, const char *path);

#endif
