/*
 * fuzz.h - what the fuzz targets of the codecs share.
 */
#ifndef HOLDFAST_TESTS_FUZZ_H
#define HOLDFAST_TESTS_FUZZ_H

#include "tests/unit/codec_drive.h"

/* One input: libFuzzer calls it, or replay.c does with the committed ones. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Drives the bytes whole, cut in two, and in small steps; aborts where the answers differ. */
void fuzz_cut(enum drive_protocol protocol, const char *data, size_t size);

#endif
