/*
 * journal_tool_internal.h - what verify, dump and stats share: a picture of the folder, and the way through
 * a journal.
 *
 * A server may be at work in the folder: files appear, and files that retention no longer needs go. A
 * picture is therefore only what was there when it was taken; who finds something doubtful takes a new one
 * and looks again (journal_tool_verify.c).
 */
#ifndef HOLDFAST_JOURNAL_TOOL_INTERNAL_H
#define HOLDFAST_JOURNAL_TOOL_INTERNAL_H

#include "persist/disk.h"
#include "persist/journal_format.h"
#include "persist/journal_reader.h"

/* A start file or a manifest, read. */
struct small_file {
    struct file_id id;
    uint64_t size;
    uint8_t *bytes; /* NULL: it could not be read, or is damaged: */
    struct journal_fault fault;
    int error; /* negative errno; -EBADMSG: damage; -ENOENT: it has gone since the list was made */
};

struct picture {
    struct file_id *files; /* all with names of ours, sorted: kind, epoch, shard, segment */
    uint32_t file_count;
    uint32_t file_capacity;
    uint32_t tmp_count;
    struct small_file *starts; /* by epoch */
    uint32_t start_count;
    struct small_file *manifests; /* by generation */
    uint32_t manifest_count;
    bool no_memory;
};

struct data_folder {
    const char *path; /* of the data directory */
    struct disk disk; /* its folder journal/ */
    uint64_t route_seed;
};

/* For reading alone; path stays the caller's. 0, or negative errno with the cause in words. */
int data_folder_open(const char *path, struct data_folder *ret_folder, char *ret_cause, size_t cause_size);
void data_folder_close(struct data_folder *folder);

/* 0 or negative errno; freed by picture_done(). */
int picture_take(const struct data_folder *folder, struct picture *ret_picture);
void picture_done(struct picture *picture);

const struct file_header *small_header(const struct small_file *file);
const struct journal_position *small_positions(const struct small_file *file);
/* By epoch or generation; NULL: not there, or not readable. */
const struct small_file *picture_start(const struct picture *picture, uint64_t epoch);
/* The newest epoch that has a start file, 0: none. */
uint64_t picture_epoch(const struct picture *picture);
/* Whether that file was there. */
bool picture_has(const struct picture *picture, enum file_kind kind, uint64_t epoch, uint32_t shard,
                 uint32_t segment);
/* The lowest and the highest segment of a journal. False: it has none. */
bool picture_segments(const struct picture *picture, uint64_t epoch, uint32_t shard, uint32_t *ret_first,
                      uint32_t *ret_last);

/* What a walk through a journal or a part meets. at: where the batch stands. A text: the batch is damaged
 * all the same, and the walk ends. */
typedef const char *batch_met(void *context, const struct batch_header *batch,
                              const struct journal_position *at);

struct walk_end {
    enum journal_read read; /* READ_END, READ_CUT, READ_DAMAGED or READ_FAILED */
    struct journal_fault fault;
    struct journal_position position; /* where it ended */
    bool to_noted_end;                /* the end that the next start file notes */
};

/* From the lowest segment there is to the end: that which the start file of the next epoch notes, or where
 * nothing more stands. */
void walk_journal(const struct data_folder *folder, const struct picture *picture, uint64_t epoch,
                  uint32_t shard, batch_met *met, void *context, struct walk_end *ret_end);
void walk_part(const struct data_folder *folder, uint64_t generation, uint32_t shard, batch_met *met,
               void *context, struct walk_end *ret_end);

int journal_verify(const struct data_folder *folder);
int journal_dump(const struct data_folder *folder);
int journal_stats(const struct data_folder *folder);

#endif
