/*
 * segment.h - makes a segment's file, or nothing.
 */
#ifndef HOLDFAST_SEGMENT_H
#define HOLDFAST_SEGMENT_H

#include "persist/disk.h"
#include "persist/journal_format.h"

/* The name under which a file lies until it is whole. */
#define TMP_NAME_SIZE (FILE_NAME_SIZE + 4u)
void file_name_tmp(char ret_name[TMP_NAME_SIZE], const char *name);

/* Makes the segment that `wanted` says (epoch, shard, shard_count, segment, route_seed, file_size,
 * time_ms): whole and durable under its name, open for durable writes. On failure, negative errno, there is
 * no such file, as far as the disk lets itself be told. ret_header_crc may be NULL. */
int segment_make(const struct disk *disk, const struct file_header *wanted, int *ret_file,
                 uint32_t *ret_header_crc);

#endif
