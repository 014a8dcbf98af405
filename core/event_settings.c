/*
 * event_settings.c - building, checking and reading the settings of an event.
 *
 * A draft collects sections, rows and pools in any order: a row may follow rows of another section. The
 * draft's memory is two halves: lists as they come, and the settings as they will be. event_draft_end()
 * sorts rows to their sections, in order, and makes equal settings equal bytes.
 *
 * See also: event_settings.h for the layout.
 */
#include "core/event_settings.h"

#include <assert.h>

struct draft_row {
    struct row_settings row;
    uint16_t section;
    uint16_t zero;
};

struct event_draft {
    struct event_settings fixed;
    struct section_settings sections[SECTIONS_MAX];
    struct pool_settings pools[POOLS_MAX];
    bool has_hold_seconds_max;
    uint32_t row_count;
    struct draft_row rows[]; /* room for SECTIONS_MAX * ROWS_MAX */
};

#define DRAFT_HALF (sizeof(struct event_draft) + (size_t)SECTIONS_MAX * ROWS_MAX * sizeof(struct draft_row))

static_assert(DRAFT_HALF % 8 == 0, "the settings behind the draft are aligned");
static_assert(DRAFT_HALF + EVENT_SETTINGS_SIZE_MAX <= EVENT_DRAFT_SIZE, "both halves fit");
static_assert(EVENT_SETTINGS_SIZE_MAX <= UINT32_MAX, "size fits");

static const char *const expected_name = "1 to 16 characters of A-Z a-z 0-9 . _ @ -";
static const char *const expected_seconds = "a whole number from 1 to 2592000";

const struct section_settings *
event_settings_sections(const struct event_settings *settings)
{
    return (const struct section_settings *)(settings + 1);
}

const struct pool_settings *
event_settings_pools(const struct event_settings *settings)
{
    return (const struct pool_settings *)(event_settings_sections(settings) + settings->section_count);
}

const struct row_settings *
event_settings_rows(const struct event_settings *settings)
{
    return (const struct row_settings *)(event_settings_pools(settings) + settings->pool_count);
}

uint32_t
section_row_seats(const struct event_settings *settings, uint32_t section, uint32_t row)
{
    const struct section_settings *s = &event_settings_sections(settings)[section];
    assert(section < settings->section_count);
    assert(row < s->row_count);
    return s->regular ? s->row_seats : event_settings_rows(settings)[s->row_first + row].seat_count;
}

static bool
name_is(const struct name *name, struct bytes text)
{
    return name->size == text.size && memcmp(name->text, text.data, text.size) == 0;
}

int32_t
event_settings_find_section(const struct event_settings *settings, struct bytes name)
{
    const struct section_settings *sections = event_settings_sections(settings);
    for (int32_t i = 0; i < settings->section_count; i++)
        if (name_is(&sections[i].name, name))
            return i;
    return -1;
}

int32_t
event_settings_find_pool(const struct event_settings *settings, struct bytes name)
{
    const struct pool_settings *pools = event_settings_pools(settings);
    for (int32_t i = 0; i < settings->pool_count; i++)
        if (name_is(&pools[i].name, name))
            return i;
    return -1;
}

/* Bit 0: in ids, bit 1: in names. */
static const uint8_t character_class[256] = {
    ['A' ... 'Z'] = 3, ['a' ... 'z'] = 3, ['0' ... '9'] = 3, ['.'] = 3,
    ['_'] = 3,         ['@'] = 3,         ['-'] = 3,         [':'] = 1,
};

static bool
characters_are(struct bytes text, uint8_t class, uint32_t size_max)
{
    if (text.size == 0 || text.size > size_max)
        return false;
    uint8_t all = class;
    for (uint32_t i = 0; i < text.size; i++)
        all &= character_class[(uint8_t)text.data[i]];
    return all != 0;
}

bool
id_valid(struct bytes id)
{
    return characters_are(id, 1, EVENT_ID_SIZE_MAX);
}

bool
name_valid(struct bytes name)
{
    return characters_are(name, 2, NAME_SIZE_MAX);
}

struct event_draft *
event_draft_begin(void *memory)
{
    assert(((uintptr_t)memory & 7) == 0);
    struct event_draft *draft = memory;
    memset(draft, 0, sizeof *draft);
    draft->fixed.hold_seconds = 300;
    return draft;
}

const char *
event_draft_id(struct event_draft *draft, struct bytes id, const char **ret_expected)
{
    if (!id_valid(id)) {
        *ret_expected = "1 to 64 characters of A-Z a-z 0-9 . _ : @ -";
        return "id";
    }
    memset(draft->fixed.id, 0, sizeof draft->fixed.id);
    memcpy(draft->fixed.id, id.data, id.size);
    draft->fixed.id_size = (uint8_t)id.size;
    return NULL;
}

static void
name_set(struct name *name, struct bytes text)
{
    memset(name, 0, sizeof *name);
    memcpy(name->text, text.data, text.size);
    name->size = (uint8_t)text.size;
}

/* Finds a section of the draft by name, or -1. */
static int32_t
draft_section_find(const struct event_draft *draft, struct bytes name)
{
    for (int32_t i = 0; i < draft->fixed.section_count; i++)
        if (name_is(&draft->sections[i].name, name))
            return i;
    return -1;
}

static const char *
draft_section_add(struct event_draft *draft, struct bytes name, const char **ret_expected)
{
    if (!name_valid(name)) {
        *ret_expected = expected_name;
        return "sections.name";
    }
    if (draft->fixed.section_count == SECTIONS_MAX) {
        *ret_expected = "at most 64 sections";
        return "sections";
    }
    struct section_settings *section = &draft->sections[draft->fixed.section_count++];
    memset(section, 0, sizeof *section);
    name_set(&section->name, name);
    return NULL;
}

const char *
event_draft_section(struct event_draft *draft, struct bytes name, int64_t rows, int64_t row_seats,
                    const char **ret_expected)
{
    if (rows < 1 || rows > ROWS_MAX) {
        *ret_expected = "1 to 1024 rows";
        return "sections.rows";
    }
    if (row_seats < 1 || row_seats > ROW_SEATS_MAX) {
        *ret_expected = "a whole number from 1 to 1024";
        return "sections.seats_per_row";
    }
    if (draft_section_find(draft, name) >= 0) {
        *ret_expected = "each section once";
        return "sections.name";
    }
    const char *field = draft_section_add(draft, name, ret_expected);
    if (field != NULL)
        return field;
    struct section_settings *section = &draft->sections[draft->fixed.section_count - 1];
    section->regular = 1;
    section->row_count = (uint16_t)rows;
    section->row_seats = (uint16_t)row_seats;
    section->seat_count = (uint32_t)(rows * row_seats);
    return NULL;
}

const char *
event_draft_row(struct event_draft *draft, struct bytes section_name, struct bytes row, int64_t seats,
                const char **ret_expected)
{
    if (!name_valid(row)) {
        *ret_expected = expected_name;
        return "sections.rows.name";
    }
    if (seats < 1 || seats > ROW_SEATS_MAX) {
        *ret_expected = "a whole number from 1 to 1024";
        return "sections.rows.seats";
    }
    int32_t index = draft_section_find(draft, section_name);
    if (index < 0) {
        const char *field = draft_section_add(draft, section_name, ret_expected);
        if (field != NULL)
            return field;
        index = draft->fixed.section_count - 1;
    }
    struct section_settings *section = &draft->sections[index];
    if (section->regular) {
        *ret_expected = "either a number of rows or a list of them";
        return "sections.rows";
    }
    if (section->row_count == ROWS_MAX) {
        *ret_expected = "1 to 1024 rows";
        return "sections.rows";
    }
    struct draft_row *entry = &draft->rows[draft->row_count++];
    memset(entry, 0, sizeof *entry);
    name_set(&entry->row.name, row);
    entry->row.seat_count = (uint16_t)seats;
    entry->section = (uint16_t)index;
    section->row_count++;
    section->seat_count += (uint32_t)seats;
    return NULL;
}

const char *
event_draft_pool(struct event_draft *draft, struct bytes name, int64_t capacity, const char **ret_expected)
{
    if (!name_valid(name)) {
        *ret_expected = expected_name;
        return "pools.name";
    }
    if (capacity < 0 || capacity > POOL_CAPACITY_MAX) {
        *ret_expected = "a whole number from 0 to 1000000000";
        return "pools.capacity";
    }
    for (uint32_t i = 0; i < draft->fixed.pool_count; i++) {
        if (name_is(&draft->pools[i].name, name)) {
            *ret_expected = "each pool once";
            return "pools.name";
        }
    }
    if (draft->fixed.pool_count == POOLS_MAX) {
        *ret_expected = "at most 64 pools";
        return "pools";
    }
    struct pool_settings *pool = &draft->pools[draft->fixed.pool_count++];
    memset(pool, 0, sizeof *pool);
    name_set(&pool->name, name);
    pool->capacity = (uint32_t)capacity;
    return NULL;
}

const char *
event_draft_hold_seconds(struct event_draft *draft, int64_t seconds, const char **ret_expected)
{
    if (seconds < 1 || seconds > SECONDS_MAX) {
        *ret_expected = expected_seconds;
        return "hold_seconds";
    }
    draft->fixed.hold_seconds = (uint32_t)seconds;
    return NULL;
}

const char *
event_draft_hold_seconds_max(struct event_draft *draft, int64_t seconds, const char **ret_expected)
{
    if (seconds < 1 || seconds > SECONDS_MAX) {
        *ret_expected = expected_seconds;
        return "hold_seconds_max";
    }
    draft->fixed.hold_seconds_max = (uint32_t)seconds;
    draft->has_hold_seconds_max = true;
    return NULL;
}

const char *
event_draft_units_per_user_max(struct event_draft *draft, int64_t units, const char **ret_expected)
{
    if (units < 0 || units > UNITS_PER_USER_MAX) {
        *ret_expected = "a whole number from 0 to 1000000000";
        return "units_per_user_max";
    }
    draft->fixed.units_per_user_max = (uint32_t)units;
    return NULL;
}

const char *
event_draft_queue(struct event_draft *draft, int64_t active_max, int64_t active_seconds,
                  int64_t grace_seconds, bool lottery, const char **ret_expected)
{
    if (active_max < 1 || active_max > QUEUE_ACTIVE_MAX) {
        *ret_expected = "a whole number from 1 to 1000000000";
        return "queue.active_max";
    }
    *ret_expected = expected_seconds;
    if (active_seconds < 1 || active_seconds > SECONDS_MAX)
        return "queue.active_seconds";
    if (grace_seconds < 1 || grace_seconds > SECONDS_MAX)
        return "queue.grace_seconds";
    draft->fixed.queue_active_max = (uint32_t)active_max;
    draft->fixed.queue_active_seconds = (uint32_t)active_seconds;
    draft->fixed.queue_grace_seconds = (uint32_t)grace_seconds;
    draft->fixed.queue_lottery = lottery;
    return NULL;
}

const char *
event_draft_opens_at(struct event_draft *draft, int64_t opens_at_ms, const char **ret_expected)
{
    if (opens_at_ms < 0 || opens_at_ms > 253402300799999) {
        *ret_expected = "a time from 1970 to 9999";
        return "opens_at";
    }
    draft->fixed.opens_at_ms = (uint64_t)opens_at_ms;
    return NULL;
}

/* Are the rows named 1, 2, ..., all of one length? Then the section is a regular one. */
static bool
rows_are_regular(const struct row_settings *rows, uint32_t row_count)
{
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t number = 0;
        const struct name *name = &rows[i].name;
        if (name->size > 4 || name->text[0] == '0' || rows[i].seat_count != rows[0].seat_count)
            return false;
        for (uint32_t c = 0; c < name->size; c++) {
            if (name->text[c] < '0' || name->text[c] > '9')
                return false;
            number = number * 10 + (uint32_t)(name->text[c] - '0');
        }
        if (number != i + 1)
            return false;
    }
    return true;
}

/* Two rows of one name among at most ROWS_MAX, by a small hash set. */
static bool
rows_repeat(const struct row_settings *rows, uint32_t row_count)
{
    uint16_t slots[2 * ROWS_MAX] = {0};
    assert(row_count <= ROWS_MAX);
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t hash = 2166136261u; /* FNV-1a */
        for (uint32_t c = 0; c < rows[i].name.size; c++)
            hash = (hash ^ (uint8_t)rows[i].name.text[c]) * 16777619u;
        uint32_t slot = hash % (2 * ROWS_MAX);
        while (slots[slot] != 0) {
            if (memcmp(&rows[slots[slot] - 1].name, &rows[i].name, sizeof(struct name)) == 0)
                return true;
            slot = (slot + 1) % (2 * ROWS_MAX);
        }
        slots[slot] = (uint16_t)(i + 1);
    }
    return false;
}

/* Lays the rows behind each other, section after section, in the order they came. */
static const char *
draft_place_rows(const struct event_draft *draft, struct section_settings *sections,
                 struct row_settings *rows, uint32_t *ret_row_count)
{
    uint32_t fill[SECTIONS_MAX];
    uint32_t next = 0;
    for (uint32_t i = 0; i < draft->fixed.section_count; i++) {
        fill[i] = next;
        if (!sections[i].regular)
            next += sections[i].row_count;
    }
    assert(next == draft->row_count);
    for (uint32_t i = 0; i < draft->row_count; i++)
        rows[fill[draft->rows[i].section]++] = draft->rows[i].row;

    uint32_t from = 0;
    uint32_t to = 0;
    for (uint32_t i = 0; i < draft->fixed.section_count; i++) {
        struct section_settings *section = &sections[i];
        if (section->regular)
            continue;
        if (rows_repeat(rows + from, section->row_count))
            return "sections.rows.name";
        uint32_t count = section->row_count;
        if (rows_are_regular(rows + from, count)) {
            section->regular = 1;
            section->row_seats = rows[from].seat_count;
        } else {
            section->row_first = to;
            memmove(rows + to, rows + from, count * sizeof *rows);
            to += count;
        }
        from += count;
    }
    *ret_row_count = to;
    return NULL;
}

const char *
event_draft_end(struct event_draft *draft, const struct event_settings **ret_settings,
                const char **ret_expected)
{
    if (draft->fixed.id_size == 0) {
        *ret_expected = "the event's id";
        return "id";
    }
    if (!draft->has_hold_seconds_max) {
        uint64_t seconds = 3 * (uint64_t)draft->fixed.hold_seconds;
        draft->fixed.hold_seconds_max = seconds > SECONDS_MAX ? SECONDS_MAX : (uint32_t)seconds;
    }
    if (draft->fixed.hold_seconds_max < draft->fixed.hold_seconds) {
        *ret_expected = "at least hold_seconds";
        return "hold_seconds_max";
    }
    uint64_t units = 0;
    for (uint32_t i = 0; i < draft->fixed.section_count; i++)
        units += draft->sections[i].seat_count;
    for (uint32_t i = 0; i < draft->fixed.pool_count; i++)
        units += draft->pools[i].capacity;
    if (units == 0) {
        *ret_expected = "at least one seat or pool unit in all";
        return "sections";
    }

    struct event_settings *settings = (struct event_settings *)((char *)draft + DRAFT_HALF);
    *settings = draft->fixed;
    struct section_settings *sections = (struct section_settings *)(settings + 1);
    memcpy(sections, draft->sections, settings->section_count * sizeof *sections);
    struct pool_settings *pools = (struct pool_settings *)(sections + settings->section_count);
    memcpy(pools, draft->pools, settings->pool_count * sizeof *pools);
    struct row_settings *rows = (struct row_settings *)(pools + settings->pool_count);
    const char *field = draft_place_rows(draft, sections, rows, &settings->row_count);
    if (field != NULL) {
        *ret_expected = "each row of a section once";
        return field;
    }
    settings->size = (uint32_t)((char *)(rows + settings->row_count) - (char *)settings);
    *ret_settings = settings;
    return NULL;
}
