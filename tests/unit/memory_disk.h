/*
 * memory_disk.h - a disk of memory that fails when told to, and knows what a power loss would leave.
 */
#ifndef HOLDFAST_MEMORY_DISK_H
#define HOLDFAST_MEMORY_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/disk.h"

#define MEMORY_NAMES  512
#define MEMORY_INODES 4096
#define MEMORY_OPEN   256

enum memory_fault {
    FAULT_BEFORE, /* the call does nothing */
    FAULT_AFTER,  /* it does what it should, and says that it has not */
};

struct memory_disk {
    struct disk disk; /* to hand over */

    uint64_t calls;
    uint64_t fail_at; /* the call with this number fails, counted from 1; 0: none */
    enum memory_fault fault;
    int fault_result;
    bool full;                 /* create fails with -ENOSPC */
    const char *fail_removing; /* this name cannot be removed */
    uint32_t open_count;       /* files */
    /* After each call: what is on the disk is looked at. */
    void (*look)(void *context, struct memory_disk *disk);
    void *look_context;

    struct memory_inode {
        uint8_t *data;
        uint8_t *durable; /* what a power loss leaves of it */
        size_t size;
        size_t size_durable;
        bool direct;
    } inodes[MEMORY_INODES];
    uint32_t inode_count;
    struct memory_name {
        char name[64];
        int inode;         /* -1: not there */
        int inode_durable; /* -1: not there after a power loss */
    } names[MEMORY_NAMES];
    uint32_t name_count;
    int open[MEMORY_OPEN]; /* inode; -1: free */
};

void memory_disk_open(struct memory_disk *disk);
void memory_disk_close(struct memory_disk *disk);

/* For tests: a durable file. */
void memory_disk_put(struct memory_disk *disk, const char *name, const void *data, size_t size);
bool memory_disk_has(const struct memory_disk *disk, const char *name);
/* What a power loss leaves of a file. certain: only where its name is there before and after it. */
const uint8_t *memory_disk_durable(const struct memory_disk *disk, const char *name, bool certain,
                                   size_t *ret_size);
/* Which file is open there. */
const char *memory_disk_name(const struct memory_disk *disk, int file);

#endif
