/*
 * data_directory.h - the directory that belongs to one server at a time.
 */
#ifndef HOLDFAST_DATA_DIRECTORY_H
#define HOLDFAST_DATA_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

struct data_directory {
    int lock_fd;         /* held until data_directory_close() */
    uint64_t route_seed; /* drawn when the directory was made; the same for ever */
};

/* Makes, checks and locks it. 0, or negative errno with the cause and the cure in words, naming the
 * directory. */
int data_directory_open(const char *path, struct data_directory *ret_directory, char *ret_cause,
                        size_t cause_size);
void data_directory_close(struct data_directory *directory);

#endif
