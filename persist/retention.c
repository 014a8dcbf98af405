/*
 * retention.c - which files are not needed any more, and the order in which they go. A part of the
 * housekeeper.
 *
 *     generations   41        43        44         (42 has failed, its number is not used again)
 *                    x       older    newest
 *     journals      ....x|.....................
 *                        '- the older one's positions: everything from here on stays
 *
 * Two generations are kept: the newest, and the one before it that was whole. When a new one counts:
 *
 *     MANIFESTS   those of all others go first, and the folder is synced: no manifest is left without its
 * parts REST        their parts; what has a .tmp behind its name; and, only where there is an older
 * generation, the segments before its positions, and start files of epochs before its own
 *
 * What goes is found by its name in the folder, so leftovers of crashes and of generations that failed go,
 * too. The persister holds back what it has not passed; then, and when space is short, REST is done again
 * later, for segments and start files alone.
 *
 * At the start the lowest manifest that is there serves as the older one until a new generation counts: an
 * earlier run may have known a better one, and never kept less than this asks for. What the earlier run had
 * no time to remove goes then, but for generations above the newest: they have failed, and count for
 * numbers.
 */
#include "persist/housekeeper_internal.h"

#include "core/plant.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REMOVED_MAX        64    /* in one step */
#define PERSISTED_TEXT_MAX 65536 /* bytes of the persister's file */
#define PERSISTED_MAX      1024  /* lines in it */

/* ---- what the persister has passed ---- */

struct passed_line {
    uint64_t epoch;
    uint64_t shard;
    uint64_t segment;
};
struct passed {
    bool all;       /* there is no persister */
    uint64_t epoch; /* all before this one */
    uint32_t count;
    struct passed_line lines[PERSISTED_MAX];
};

/* One number and the character behind it. */
static bool
passed_number(const char **at, char behind, uint64_t *ret_number)
{
    const char *text = *at;
    uint64_t number = 0;
    uint32_t digits = 0;
    for (; *text >= '0' && *text <= '9' && digits < 19; digits++)
        number = number * 10 + (uint64_t)(*text++ - '0');
    if (digits == 0 || *text != behind)
        return false;
    *ret_number = number;
    *at = text + 1;
    return true;
}

/* 0, or why it is not known. */
static int
passed_read(const struct housekeeper *housekeeper, struct passed *ret_passed)
{
    memset(ret_passed, 0, sizeof *ret_passed);
    const struct housekeeper_settings *settings = &housekeeper->settings;
    if (settings->persisted == NULL) {
        ret_passed->all = true;
        return 0;
    }
    char *text = malloc(PERSISTED_TEXT_MAX + 1);
    if (text == NULL)
        return -ENOMEM;
    int result = settings->persisted(settings->persisted_context, text, PERSISTED_TEXT_MAX);
    if (result <= 0 || result >= PERSISTED_TEXT_MAX) {
        free(text);
        ret_passed->all = result == -ENOENT;
        return ret_passed->all ? 0 : result < 0 ? result : -EBADMSG;
    }
    text[result] = '\0';
    result = 0;
    ret_passed->epoch = UINT64_MAX;
    const char *at = text;
    while (*at != '\0' && result == 0) {
        struct passed_line line;
        uint64_t sequence;
        if (ret_passed->count == PERSISTED_MAX || !passed_number(&at, ' ', &line.epoch) ||
            !passed_number(&at, ' ', &line.shard) || !passed_number(&at, ' ', &sequence) ||
            !passed_number(&at, '\n', &line.segment)) {
            result = -EBADMSG;
            break;
        }
        ret_passed->lines[ret_passed->count++] = line;
        if (line.epoch < ret_passed->epoch)
            ret_passed->epoch = line.epoch;
    }
    free(text);
    if (result != 0)
        memset(ret_passed, 0, sizeof *ret_passed);
    return result;
}

static bool
has_passed(const struct passed *passed, const struct file_id *id)
{
    if (passed->all || id->epoch < passed->epoch)
        return true;
    if (id->kind != FILE_JOURNAL)
        return false;
    for (uint32_t i = 0; i < passed->count; i++) {
        const struct passed_line *line = &passed->lines[i];
        if (line->epoch == id->epoch && line->shard == id->shard)
            return id->segment < line->segment;
    }
    return false;
}

/* ---- what can go ---- */

struct search {
    const struct housekeeper *housekeeper;
    const struct passed *passed;
    enum retention_phase phase;
    bool held_back;
    uint32_t count;
    char names[REMOVED_MAX][TMP_NAME_SIZE];
};

/* A name of ours, taken apart; ret_tmp: it has .tmp behind it. */
static bool
name_parse(const char *name, struct file_id *ret_id, bool *ret_tmp)
{
    char front[TMP_NAME_SIZE];
    size_t size = strlen(name);
    if (size >= sizeof front)
        return false;
    memcpy(front, name, size + 1);
    *ret_tmp = size > 4 && strcmp(name + size - 4, ".tmp") == 0;
    if (*ret_tmp)
        front[size - 4] = '\0';
    return file_name_parse(front, ret_id);
}

/* Of a generation that is kept, or under way, or has failed since. */
static bool
generation_needed(const struct housekeeper *housekeeper, uint64_t generation)
{
    const struct retention *retention = &housekeeper->retention;
    const struct snapshot *snapshot = &housekeeper->snapshot;
    return generation >= retention->newest.generation || generation == retention->older.generation ||
           (snapshot->phase != SNAPSHOT_NONE && generation == snapshot->generation);
}

/* The older generation does not need it. */
static bool
journal_covered(const struct kept *older, const struct file_id *id)
{
    if (older->generation == 0)
        return false;
    if (id->epoch < older->epoch)
        return true;
    return id->kind == FILE_JOURNAL && id->epoch == older->epoch && id->shard < older->shard_count &&
           id->segment < older->segments[id->shard] + PLANTED(PLANT_SEGMENT_TOO_MANY);
}

static bool
can_go(struct search *search, const struct file_id *id, bool tmp)
{
    const struct retention *retention = &search->housekeeper->retention;
    bool of_generation = id->kind == FILE_PART || id->kind == FILE_SNAPSHOT;
    if (search->phase == RETENTION_MANIFESTS)
        return id->kind == FILE_SNAPSHOT && !generation_needed(search->housekeeper, id->epoch);
    if (of_generation)
        return id->kind == FILE_PART && retention->generations &&
               !generation_needed(search->housekeeper, id->epoch);
    if (tmp) /* segments are made in one step: none is under way */
        return true;
    if (!journal_covered(&retention->older, id))
        return false;
    if (has_passed(search->passed, id))
        return true;
    search->held_back = true;
    return false;
}

static void
search_name(void *context, const char *name)
{
    struct search *search = context;
    struct file_id id;
    bool tmp;
    if (search->count < REMOVED_MAX && name_parse(name, &id, &tmp) && can_go(search, &id, tmp))
        memcpy(search->names[search->count++], name, strlen(name) + 1);
}

/* Finds and removes up to REMOVED_MAX files. 0 or the first error; all are tried. */
static int
remove_some(struct search *search, const struct disk *disk)
{
    int result = disk->list(disk->context, search_name, search);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < search->count; i++) {
        int removed = disk->remove(disk->context, search->names[i]);
        if (removed != 0 && removed != -ENOENT && result == 0)
            result = removed;
    }
    return result;
}

/* ---- steps ---- */

static int
manifests_step(struct housekeeper *housekeeper, struct search *search)
{
    struct retention *retention = &housekeeper->retention;
    int result = remove_some(search, &housekeeper->disk);
    /* also where none was found: one removed before may not be gone for good */
    if (result == 0)
        result = housekeeper->disk.sync_folder(housekeeper->disk.context);
    if (result == 0 && search->count < REMOVED_MAX)
        retention->phase = RETENTION_REST;
    return result;
}

static int
rest_step(struct housekeeper *housekeeper, struct search *search, struct passed *passed, uint64_t now_ms)
{
    struct retention *retention = &housekeeper->retention;
    int unknown = passed_read(housekeeper, passed);
    search->passed = passed;
    int result = remove_some(search, &housekeeper->disk);
    if (result == 0 && search->count == REMOVED_MAX)
        return 0;
    retention->phase = RETENTION_NONE;
    retention->held_back = search->held_back;
    retention->again_ms = now_ms + housekeeper->settings.retry_ms;
    if (result == 0)
        retention->generations = false;
    return result != 0 ? result : unknown;
}

/* Told once. What failed is tried again when the next generation counts, or when space is short. */
static void
tell(struct housekeeper *housekeeper, int result)
{
    struct retention *retention = &housekeeper->retention;
    if (result != 0 && !retention->failed)
        housekeeper->told(housekeeper->told_context, NEWS_REMOVE_FAILED, retention->newest.generation,
                          result);
    retention->failed = result != 0;
}

bool
retention_step(struct housekeeper *housekeeper, uint64_t now_ms)
{
    struct retention *retention = &housekeeper->retention;
    if (retention->phase == RETENTION_NONE) {
        bool again = retention->held_back && now_ms >= retention->again_ms;
        if (!retention->due && !again)
            return false;
        retention->due = false;
        retention->phase = retention->generations ? RETENTION_MANIFESTS : RETENTION_REST;
    }
    struct search *search = malloc(sizeof *search);
    struct passed *passed = malloc(sizeof *passed);
    int result = -ENOMEM;
    if (search != NULL && passed != NULL) {
        *search = (struct search){.housekeeper = housekeeper, .phase = retention->phase};
        result = retention->phase == RETENTION_MANIFESTS ? manifests_step(housekeeper, search)
                                                         : rest_step(housekeeper, search, passed, now_ms);
    }
    free(search);
    free(passed);
    if (result != 0)
        retention->phase = RETENTION_NONE;
    if (retention->phase == RETENTION_NONE)
        tell(housekeeper, result);
    return true;
}

void
retention_urged(struct housekeeper *housekeeper)
{
    housekeeper->retention.due = true;
}

void
retention_counts(struct housekeeper *housekeeper, const struct journal_position positions[])
{
    struct retention *retention = &housekeeper->retention;
    if (retention->newest.generation != 0)
        retention->older = retention->newest;
    retention->newest = (struct kept){
        .generation = housekeeper->snapshot.generation,
        .epoch = housekeeper->settings.epoch,
        .shard_count = housekeeper->settings.shard_count,
    };
    for (uint32_t i = 0; i < housekeeper->settings.shard_count; i++)
        retention->newest.segments[i] = positions[i].segment;
    retention->generations = true;
    retention->due = true;
    retention->phase = RETENTION_NONE;
}

/* ---- the start ---- */

struct generations {
    uint64_t highest;
    uint64_t lowest; /* with a manifest */
};

static void
generation_name(void *context, const char *name)
{
    struct generations *generations = context;
    struct file_id id;
    bool tmp;
    if (!name_parse(name, &id, &tmp) || (id.kind != FILE_PART && id.kind != FILE_SNAPSHOT))
        return;
    if (id.epoch > generations->highest)
        generations->highest = id.epoch;
    if (id.kind == FILE_SNAPSHOT && !tmp && id.epoch < generations->lowest)
        generations->lowest = id.epoch;
}

/* What a manifest says. -EBADMSG: it is not whole. */
static int
manifest_read(const struct housekeeper *housekeeper, uint64_t generation, struct kept *ret_kept)
{
    const struct disk *disk = &housekeeper->disk;
    char name[FILE_NAME_SIZE];
    int file;
    uint64_t size;
    _Alignas(8) uint8_t block[BLOCK_BYTES];
    file_name(name, FILE_SNAPSHOT, generation, 0, 0);
    int result = disk->open(disk->context, name, &file, &size);
    if (result != 0)
        return result;
    result = size < sizeof block ? -EBADMSG : disk->read(disk->context, file, block, sizeof block, 0);
    (void)disk->close(disk->context, file); /* only read from */
    if (result != 0)
        return result;
    const struct file_header *header = (const struct file_header *)block;
    if (file_check(block, sizeof block, FILE_SNAPSHOT) != NULL || header->generation != generation ||
        header->route_seed != housekeeper->settings.route_seed || header->shard_count == 0 ||
        header->shard_count > SHARDS_MAX || header->position_count != header->shard_count)
        return -EBADMSG;
    ret_kept->generation = generation;
    ret_kept->epoch = header->epoch;
    ret_kept->shard_count = header->shard_count;
    for (uint32_t i = 0; i < header->shard_count; i++) {
        struct journal_position position;
        memcpy(&position, block + sizeof *header + i * sizeof position, sizeof position);
        ret_kept->segments[i] = position.segment;
    }
    return 0;
}

int
retention_open(struct housekeeper *housekeeper, uint64_t generation_recovered)
{
    struct retention *retention = &housekeeper->retention;
    struct generations generations = {.highest = generation_recovered, .lowest = UINT64_MAX};
    int result = housekeeper->disk.list(housekeeper->disk.context, generation_name, &generations);
    if (result != 0)
        return result;
    housekeeper->snapshot.generation = generations.highest;
    if (generation_recovered == 0)
        return 0;
    result = manifest_read(housekeeper, generation_recovered, &retention->newest);
    if (result != 0)
        return result;
    if (generations.lowest < generation_recovered) {
        /* where it cannot be read nothing goes until a new generation counts */
        struct kept older;
        if (manifest_read(housekeeper, generations.lowest, &older) == 0)
            retention->older = older;
    }
    retention->due = retention->generations = retention->older.generation != 0;
    return 0;
}
