/*
 * replay.c - a plain main() for a fuzz target: runs the files of a folder, for builds without libFuzzer.
 *
 *     fuzz_resp tests/fuzz/corpus/resp
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int
run_file(const char *folder, const char *name)
{
    char path[4096];
    int path_size = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = path_size > 0 && (size_t)path_size < sizeof path ? fopen(path, "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "could not open %s/%s\n", folder, name);
        return -1;
    }
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, file);
    int failed = ferror(file);
    (void)fclose(file); /* only read */
    if (failed != 0) {
        fprintf(stderr, "could not read %s\n", path);
        return -1;
    }
    return LLVMFuzzerTestOneInput(data, size);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        fprintf(stderr, "could not open the folder %s\n", argv[1]);
        return 1;
    }
    unsigned count = 0;
    int result = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL && result == 0; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        result = run_file(argv[1], entry->d_name);
        count++;
    }
    (void)closedir(folder); /* only read */
    printf("%u inputs\n", count);
    return result == 0 && count > 0 ? 0 : 1;
}
