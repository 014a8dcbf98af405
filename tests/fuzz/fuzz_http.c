/*
 * fuzz_http.c - any bytes as an HTTP connection's: no crash, and the same answers however they are cut.
 */
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cut(DRIVE_HTTP, (const char *)data, size);
    return 0;
}
