/*
 * fuzz_resp.c - any bytes as a RESP connection's: no crash, and the same answers however they are cut.
 */
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cut(DRIVE_RESP, (const char *)data, size);
    return 0;
}
