/*
 * journal_tool_verify.c - every file of a data directory read to its end, and what is whole said.
 *
 * Beside a running server the doubtful is looked at again before it is called damage: a file that retention
 * has removed meanwhile is no fault, nor is a batch that was just being written. So each item (a start
 * file, a generation, a journal) is judged against one picture of the folder, and one that is not whole
 * again against a new picture, LOOKS times with growing pauses. What is then still wrong is.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/record.h"
#include "holdfast/limits.h"
#include "persist/journal_tool_internal.h"

#define LOOKS 5

struct segment_seen {
    uint32_t segment;
    uint64_t batches;
    uint64_t records;
    uint64_t bytes;
};

/* What one look at one journal or part has found. */
struct look {
    struct segment_seen *segments; /* a part: one */
    uint32_t segment_count;
    uint32_t segment_capacity;
    uint64_t reflected; /* a part: up to which record */
    /* positions of manifests that this journal must pass through */
    const struct journal_position *passed[2 * SHARDS_MAX];
    uint32_t pass_count;
    struct walk_end end;
};

/* Up to which record a snapshot shows that a journal went. */
struct reflected {
    uint64_t epoch;
    uint32_t shard;
    uint64_t sequence;
};
#define REFLECTED_MAX (4 * SHARDS_MAX) /* two generations, and two that came meanwhile */

struct verify {
    const struct data_folder *folder;
    struct picture picture;
    struct look look;
    struct reflected reflected[REFLECTED_MAX];
    uint32_t reflected_count;
    uint64_t files;
    uint64_t batches;
    uint64_t records;
    uint64_t bytes;
    uint64_t cuts;
    uint64_t damaged;
};

/* ---- telling ---- */

static void
tell(struct verify *verify, const char *file, const char *verdict)
{
    verify->files++;
    (void)printf("%-38s %s\n", file, verdict);
}

static void
tell_damage(struct verify *verify, const struct journal_fault *fault, const char *remedy)
{
    verify->files++;
    verify->damaged++;
    if (fault->error != 0)
        (void)printf("%-38s could not be read at offset %" PRIu64 ": %s\n", fault->file, fault->offset,
                     fault->text);
    else
        (void)printf("%-38s DAMAGED at offset %" PRIu64 ": %s\n", fault->file, fault->offset, fault->text);
    (void)printf("%-38s what to do: %s\n", "", remedy);
}

static const char *
remedy(const struct journal_fault *fault)
{
    if (fault->error != 0)
        return "see that this user may read the file and that the device is sound, and try again";
    return "restore this file from a backup or from a copy of the directory; where there is none, move the "
           "whole directory away, keep it, and start with an empty one";
}

static const char remedy_snapshot[] =
    "nothing, where another generation is whole: the server then starts from that one and its journal, and "
    "writes new ones; else restore the file from a backup or from a copy of the directory";

/* ---- looking again ---- */

static void
look_begin(struct look *look)
{
    look->segment_count = 0;
    look->reflected = 0;
    look->pass_count = 0;
}

/* A pause, and a new picture. 0 or negative errno. */
static int
look_again(struct verify *verify, uint32_t looked)
{
    const struct timespec pause = {0, 20000000L << looked};
    (void)nanosleep(&pause, NULL); /* shorter is no harm */
    struct picture picture;
    int result = picture_take(verify->folder, &picture);
    if (result != 0)
        return result;
    picture_done(&verify->picture);
    verify->picture = picture;
    return 0;
}

/* ---- batches ---- */

static const char *
check_records(const struct batch_header *batch, bool part)
{
    const uint8_t *record = batch_records(batch);
    uint32_t left = batch->records_size;
    uint32_t count = 0;
    uint64_t sequence = batch->sequence_first;
    while (left > 0) {
        struct record decoded;
        if (!record_decode(record, left, &decoded))
            return "the batch has bytes that are no record";
        if (!part && decoded.header->sequence != sequence)
            return "the batch has a record with another number than the next one";
        sequence++;
        count++;
        record += decoded.header->size;
        left -= decoded.header->size;
    }
    if (count != batch->record_count)
        return "the batch has another number of records than it says";
    if (!part && sequence != batch->sequence_last + 1)
        return "the batch ends with another record than it says";
    return NULL;
}

static struct segment_seen *
segment_of(struct look *look, uint32_t segment)
{
    if (look->segment_count > 0 && look->segments[look->segment_count - 1].segment == segment)
        return &look->segments[look->segment_count - 1];
    if (look->segment_count == look->segment_capacity) {
        uint32_t capacity = look->segment_capacity == 0 ? 64 : look->segment_capacity * 2;
        void *segments = realloc(look->segments, capacity * sizeof look->segments[0]);
        if (segments == NULL)
            return NULL;
        look->segments = segments;
        look->segment_capacity = capacity;
    }
    struct segment_seen *seen = &look->segments[look->segment_count++];
    *seen = (struct segment_seen){.segment = segment};
    return seen;
}

/* The manifests' positions in this journal must be places where a batch begins. */
static const char *
pass(struct look *look, const struct journal_position *at)
{
    for (uint32_t i = 0; i < look->pass_count; i++) {
        const struct journal_position *position = look->passed[i];
        if (position->segment != at->segment || position->offset != at->offset)
            continue;
        if (position->batch != at->batch || position->sequence != at->sequence ||
            (at->batch > 0 && position->chain != at->chain))
            return "the batch is not the one that the snapshot has noted at this place";
        look->passed[i--] = look->passed[--look->pass_count];
    }
    return NULL;
}

static const char *
see_batch(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    struct look *look = context;
    struct segment_seen *seen = segment_of(look, at->segment);
    if (seen == NULL)
        return "no memory";
    const char *wrong = pass(look, at);
    if (wrong != NULL)
        return wrong;
    seen->batches++;
    seen->records += batch->record_count;
    seen->bytes += batch->size;
    return check_records(batch, false);
}

static const char *
see_slice(void *context, const struct batch_header *batch, const struct journal_position *at)
{
    (void)at;
    struct look *look = context;
    struct segment_seen *seen = segment_of(look, 0);
    if (seen == NULL)
        return "no memory";
    seen->batches++;
    seen->records += batch->record_count;
    seen->bytes += batch->size;
    if (batch->sequence_last > look->reflected)
        look->reflected = batch->sequence_last;
    return check_records(batch, true);
}

static void
add_up(struct verify *verify, const struct segment_seen *seen)
{
    verify->batches += seen->batches;
    verify->records += seen->records;
    verify->bytes += seen->bytes;
}

/* ---- start files ---- */

static void
verify_start(struct verify *verify, uint64_t epoch)
{
    char name[FILE_NAME_SIZE], verdict[200];
    file_name(name, FILE_START, epoch, 0, 0);
    for (uint32_t looked = 0;; looked++) {
        const struct small_file *file = NULL;
        for (uint32_t i = 0; i < verify->picture.start_count; i++)
            if (verify->picture.starts[i].id.epoch == epoch)
                file = &verify->picture.starts[i];
        if (file == NULL)
            return; /* retention has removed it */
        if (file->bytes != NULL) {
            (void)snprintf(verdict, sizeof verdict, "whole: epoch %" PRIu64 ", %" PRIu32 " shards", epoch,
                           small_header(file)->shard_count);
            tell(verify, name, verdict);
            return;
        }
        if (looked == LOOKS || look_again(verify, looked) != 0) {
            tell_damage(verify, &file->fault, remedy(&file->fault));
            return;
        }
    }
}

/* ---- generations ---- */

/* Its manifest is damaged or a part is; false: it is gone, or whole. */
static bool
generation_wrong(struct verify *verify, uint64_t generation, struct journal_fault *ret_fault)
{
    const struct small_file *file = NULL;
    for (uint32_t i = 0; i < verify->picture.manifest_count; i++)
        if (verify->picture.manifests[i].id.epoch == generation)
            file = &verify->picture.manifests[i];
    if (file == NULL)
        return false;
    if (file->bytes == NULL) {
        *ret_fault = file->fault;
        return true;
    }
    for (uint32_t i = 0; i < small_header(file)->shard_count; i++) {
        if (picture_has(&verify->picture, FILE_PART, generation, i, 0))
            continue;
        memset(ret_fault, 0, sizeof *ret_fault);
        file_name(ret_fault->file, FILE_PART, generation, i, 0);
        (void)snprintf(ret_fault->text, sizeof ret_fault->text,
                       "the file is missing, and the manifest names it");
        return true;
    }
    return false;
}

static void
verify_manifest(struct verify *verify, uint64_t generation)
{
    struct journal_fault fault;
    char name[FILE_NAME_SIZE], verdict[200];
    file_name(name, FILE_SNAPSHOT, generation, 0, 0);
    for (uint32_t looked = 0; generation_wrong(verify, generation, &fault); looked++) {
        if (looked == LOOKS || look_again(verify, looked) != 0) {
            tell_damage(verify, &fault, fault.error != 0 ? remedy(&fault) : remedy_snapshot);
            return;
        }
    }
    for (uint32_t i = 0; i < verify->picture.manifest_count; i++) {
        const struct small_file *file = &verify->picture.manifests[i];
        if (file->id.epoch != generation || file->bytes == NULL)
            continue;
        (void)snprintf(verdict, sizeof verdict,
                       "whole: generation %" PRIu64 " of epoch %" PRIu64 ", %" PRIu32 " shards", generation,
                       small_header(file)->epoch, small_header(file)->shard_count);
        tell(verify, name, verdict);
    }
}

/* A part of a generation that counts tells of records up to here: its journal must have them. */
static void
reflect(struct verify *verify, uint64_t generation, uint32_t shard, uint64_t sequence)
{
    for (uint32_t i = 0; i < verify->picture.manifest_count; i++) {
        const struct small_file *file = &verify->picture.manifests[i];
        if (file->id.epoch == generation && file->bytes != NULL && verify->reflected_count < REFLECTED_MAX)
            verify->reflected[verify->reflected_count++] = (struct reflected){
                .epoch = small_header(file)->epoch, .shard = shard, .sequence = sequence};
    }
}

static void
verify_part(struct verify *verify, uint64_t generation, uint32_t shard)
{
    struct look *look = &verify->look;
    char name[FILE_NAME_SIZE], verdict[200];
    file_name(name, FILE_PART, generation, shard, 0);
    for (uint32_t looked = 0;; looked++) {
        if (!picture_has(&verify->picture, FILE_PART, generation, shard, 0))
            return; /* retention has removed it */
        look_begin(look);
        walk_part(verify->folder, generation, shard, see_slice, look, &look->end);
        if (look->end.read == READ_END)
            break;
        if (looked == LOOKS || look_again(verify, looked) != 0) {
            tell_damage(verify, &look->end.fault,
                        look->end.fault.error != 0 ? remedy(&look->end.fault) : remedy_snapshot);
            return;
        }
    }
    struct segment_seen seen = {0};
    if (look->segment_count > 0)
        seen = look->segments[0];
    add_up(verify, &seen);
    reflect(verify, generation, shard, look->reflected);
    (void)snprintf(verdict, sizeof verdict, "whole: %" PRIu64 " slices, %" PRIu64 " records", seen.batches,
                   seen.records);
    tell(verify, name, verdict);
}

/* ---- journals ---- */

/* The segment that the oldest snapshot needs this journal from; UINT32_MAX: it is not needed any more. */
static uint32_t
segment_needed(const struct picture *picture, uint64_t epoch, uint32_t shard)
{
    const struct small_file *oldest = NULL;
    for (uint32_t i = picture->manifest_count; i > 0; i--)
        if (picture->manifests[i - 1].bytes != NULL)
            oldest = &picture->manifests[i - 1];
    if (oldest == NULL || small_header(oldest)->epoch < epoch)
        return 0;
    if (small_header(oldest)->epoch > epoch)
        return UINT32_MAX;
    return shard < small_header(oldest)->position_count ? small_positions(oldest)[shard].segment : 0;
}

/* The positions of manifests that lie in what is there of this journal. */
static void
collect_passes(const struct picture *picture, uint64_t epoch, uint32_t shard, uint32_t first,
               struct look *look)
{
    for (uint32_t i = 0; i < picture->manifest_count; i++) {
        const struct small_file *file = &picture->manifests[i];
        if (file->bytes == NULL || small_header(file)->epoch != epoch ||
            shard >= small_header(file)->position_count)
            continue;
        const struct journal_position *position = &small_positions(file)[shard];
        if (position->segment >= first && look->pass_count < 2 * SHARDS_MAX)
            look->passed[look->pass_count++] = position;
    }
}

static void
journal_fault(struct look *look, uint64_t epoch, uint32_t shard, uint32_t segment, uint64_t offset,
              const char *text)
{
    look->end.read = READ_DAMAGED;
    memset(&look->end.fault, 0, sizeof look->end.fault);
    file_name(look->end.fault.file, FILE_JOURNAL, epoch, shard, segment);
    look->end.fault.offset = offset;
    (void)snprintf(look->end.fault.text, sizeof look->end.fault.text, "%s", text);
}

/* One look at a journal. False: nothing of it is there or needed. */
static bool
look_at_journal(struct verify *verify, uint64_t epoch, uint32_t shard)
{
    const struct picture *picture = &verify->picture;
    struct look *look = &verify->look;
    uint32_t first, last, needed = segment_needed(picture, epoch, shard);
    look_begin(look);
    if (!picture_segments(picture, epoch, shard, &first, &last)) {
        if (needed == UINT32_MAX)
            return false;
        journal_fault(look, epoch, shard, needed, 0, "the file is missing");
        return true;
    }
    if (first > needed) {
        journal_fault(look, epoch, shard, needed, 0,
                      "the file is missing, and no snapshot covers what was in it");
        return true;
    }
    collect_passes(picture, epoch, shard, first, look);
    walk_journal(verify->folder, picture, epoch, shard, see_batch, look, &look->end);
    if (look->end.read == READ_END || look->end.read == READ_CUT) {
        const char *wrong = pass(look, &look->end.position);
        if (wrong == NULL && look->pass_count > 0)
            wrong = "the snapshot has noted a place in this journal that is none";
        for (uint32_t i = 0; i < verify->reflected_count && wrong == NULL; i++)
            if (verify->reflected[i].epoch == epoch && verify->reflected[i].shard == shard &&
                verify->reflected[i].sequence > look->end.position.sequence)
                wrong = "it ends here, but the snapshot shows that it went on";
        if (wrong != NULL)
            journal_fault(look, epoch, shard, look->end.position.segment, look->end.position.offset, wrong);
    }
    return true;
}

/* Segments that were made ahead: nothing of them is read at a start. */
static void
tell_segments_ahead(struct verify *verify, uint64_t epoch, uint32_t shard, uint32_t above)
{
    char name[FILE_NAME_SIZE];
    for (uint32_t i = 0; i < verify->picture.file_count; i++) {
        const struct file_id *id = &verify->picture.files[i];
        if (id->kind != FILE_JOURNAL || id->epoch != epoch || id->shard != shard || id->segment <= above)
            continue;
        file_name(name, FILE_JOURNAL, epoch, shard, id->segment);
        tell(verify, name, "made ahead, not begun");
    }
}

static void
tell_journal(struct verify *verify, uint64_t epoch, uint32_t shard)
{
    const struct look *look = &verify->look;
    const struct walk_end *end = &look->end;
    bool ended = end->read == READ_END || end->read == READ_CUT;
    char name[FILE_NAME_SIZE], verdict[320];
    for (uint32_t i = 0; i < look->segment_count; i++) {
        const struct segment_seen *seen = &look->segments[i];
        add_up(verify, seen);
        file_name(name, FILE_JOURNAL, epoch, shard, seen->segment);
        if (!ended && seen->segment == end->position.segment)
            continue; /* told with its damage */
        int size = snprintf(verdict, sizeof verdict, "whole: %" PRIu64 " batches, %" PRIu64 " records",
                            seen->batches, seen->records);
        if (ended && seen->segment == end->position.segment && end->read == READ_END)
            (void)snprintf(verdict + size, sizeof verdict - (size_t)size,
                           "; the journal ends at offset %" PRIu64, end->position.offset);
        if (end->read == READ_CUT && seen->segment == end->position.segment)
            (void)snprintf(verdict, sizeof verdict,
                           "cut at offset %" PRIu64 ", %" PRIu64 " bytes (%" PRIu64 " batches, %" PRIu64
                           " records before): %s",
                           end->fault.offset, end->fault.bytes, seen->batches, seen->records,
                           end->fault.text);
        tell(verify, name, verdict);
    }
    if (ended && (look->segment_count == 0 ||
                  look->segments[look->segment_count - 1].segment != end->position.segment)) {
        file_name(name, FILE_JOURNAL, epoch, shard, end->position.segment);
        if (end->read == READ_CUT)
            (void)snprintf(verdict, sizeof verdict, "cut at offset %" PRIu64 ", %" PRIu64 " bytes: %s",
                           end->fault.offset, end->fault.bytes, end->fault.text);
        else
            (void)snprintf(verdict, sizeof verdict, "whole: no batches yet");
        tell(verify, name, verdict);
    }
    verify->cuts += end->read == READ_CUT;
    if (!ended)
        tell_damage(verify, &end->fault, remedy(&end->fault));
    else
        tell_segments_ahead(verify, epoch, shard, end->position.segment);
}

static void
verify_journal(struct verify *verify, uint64_t epoch, uint32_t shard)
{
    for (uint32_t looked = 0;; looked++) {
        if (!look_at_journal(verify, epoch, shard))
            return;
        /* a torn batch may be one that is just being written */
        if (verify->look.end.read == READ_END || looked == LOOKS || look_again(verify, looked) != 0)
            break;
    }
    tell_journal(verify, epoch, shard);
}

/* The journals of one epoch: as many as its start file says. */
static void
verify_epoch(struct verify *verify, uint64_t epoch)
{
    uint32_t shard_count = 0;
    for (uint32_t looked = 0;; looked++) {
        const struct small_file *start = picture_start(&verify->picture, epoch);
        if (start != NULL) {
            shard_count = small_header(start)->shard_count;
            break;
        }
        if (segment_needed(&verify->picture, epoch, 0) == UINT32_MAX)
            return;
        bool damaged = false; /* then it has been told */
        for (uint32_t i = 0; i < verify->picture.start_count; i++)
            damaged |= verify->picture.starts[i].id.epoch == epoch;
        if (damaged)
            return;
        if (looked == LOOKS || look_again(verify, looked) != 0) {
            struct journal_fault fault = {.text = "the file is missing"};
            file_name(fault.file, FILE_START, epoch, 0, 0);
            tell_damage(verify, &fault, remedy(&fault));
            return;
        }
    }
    for (uint32_t shard = 0; shard < shard_count; shard++)
        verify_journal(verify, epoch, shard);
}

/* The first epoch whose journals are needed. */
static uint64_t
epoch_first(const struct picture *picture)
{
    uint64_t first = 1;
    for (uint32_t i = picture->manifest_count; i > 0; i--)
        if (picture->manifests[i - 1].bytes != NULL)
            first = small_header(&picture->manifests[i - 1])->epoch;
    return first;
}

/* The journal has a batch: then its epoch's start file must be there. */
static bool
has_begun(const struct data_folder *folder, const struct file_id *id)
{
    _Alignas(8) uint8_t block[BLOCK_BYTES];
    char name[FILE_NAME_SIZE];
    int file;
    uint64_t size;
    file_name(name, FILE_JOURNAL, id->epoch, id->shard, id->segment);
    if (folder->disk.open(folder->disk.context, name, &file, &size) != 0)
        return false;
    int result = size < 2 * BLOCK_BYTES
                     ? -ENODATA
                     : folder->disk.read(folder->disk.context, file, block, sizeof block, BLOCK_BYTES);
    (void)folder->disk.close(folder->disk.context, file); /* only read from */
    enum batch_check check = result == 0 ? batch_check(block, sizeof block) : BATCH_NONE;
    return check == BATCH_WHOLE || check == BATCH_SHORT;
}

/* Segments of an epoch without a start file: of a start that did not come so far, or that is just coming.
 */
static void
verify_unstarted(struct verify *verify, const struct picture *listed)
{
    uint64_t missing = 0;
    for (uint32_t i = 0; i < listed->file_count; i++) {
        const struct file_id *id = &listed->files[i];
        char name[FILE_NAME_SIZE];
        if (id->kind != FILE_JOURNAL || id->epoch <= picture_epoch(listed) || id->epoch == missing)
            continue;
        file_name(name, FILE_JOURNAL, id->epoch, id->shard, id->segment);
        if (id->segment == 0 && !has_begun(verify->folder, id)) {
            tell(verify, name, "of a start that was not finished: the next one removes it");
            continue;
        }
        for (uint32_t looked = 0; picture_start(&verify->picture, id->epoch) == NULL; looked++) {
            if (looked < LOOKS && look_again(verify, looked) == 0)
                continue;
            struct journal_fault fault = {
                .text = "the file is missing, but a journal of this epoch has batches"};
            file_name(fault.file, FILE_START, id->epoch, 0, 0);
            tell_damage(verify, &fault, remedy(&fault));
            missing = id->epoch;
            break;
        }
        if (missing != id->epoch)
            tell(verify, name, "begun while the rest was read: not looked at");
    }
}

static void
verify_all(struct verify *verify, const struct picture *listed)
{
    for (uint32_t i = 0; i < listed->file_count; i++)
        if (listed->files[i].kind == FILE_START)
            verify_start(verify, listed->files[i].epoch);
    for (uint32_t i = 0; i < listed->file_count; i++)
        if (listed->files[i].kind == FILE_SNAPSHOT)
            verify_manifest(verify, listed->files[i].epoch);
    for (uint32_t i = 0; i < listed->file_count; i++)
        if (listed->files[i].kind == FILE_PART)
            verify_part(verify, listed->files[i].epoch, listed->files[i].shard);
    for (uint64_t epoch = epoch_first(listed); epoch <= picture_epoch(listed); epoch++)
        verify_epoch(verify, epoch);
    verify_unstarted(verify, listed);
}

int
journal_verify(const struct data_folder *folder)
{
    struct verify verify = {.folder = folder};
    struct picture listed;
    int result = picture_take(folder, &listed);
    if (result == 0) {
        result = picture_take(folder, &verify.picture);
        if (result != 0)
            picture_done(&listed);
    }
    if (result != 0) {
        (void)fprintf(stderr, "holdfast journal: could not read '%s/journal': %s\n", folder->path,
                      strerror(-result));
        return 1;
    }
    verify_all(&verify, &listed);
    (void)printf("%" PRIu64 " files, %" PRIu64 " batches, %" PRIu64 " records, %" PRIu64 " bytes: ",
                 verify.files, verify.batches, verify.records, verify.bytes);
    if (listed.tmp_count > 0)
        (void)printf("%" PRIu32 " files begun and not finished; ", listed.tmp_count);
    if (verify.damaged > 0)
        (void)printf("%" PRIu64 " damaged\n", verify.damaged);
    else if (verify.cuts > 0)
        (void)printf("whole but for %" PRIu64 " torn last batches\n", verify.cuts);
    else
        (void)printf("whole\n");
    picture_done(&listed);
    picture_done(&verify.picture);
    free(verify.look.segments);
    if (fflush(stdout) != 0) {
        (void)fprintf(stderr, "holdfast journal: could not write: %s\n", strerror(errno));
        return 1;
    }
    return verify.damaged > 0 ? 1 : 0;
}
