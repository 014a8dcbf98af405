/*
 * audit.c - what the buyers were told against what the server says, after the last answer.
 *
 *     counts       the sums of what was granted and confirmed; capacity = free + held + sold
 *     seat map     every seat of the hall: H where it was granted, S where confirmed, F where neither
 *     holds        a sample: user, state, units
 *
 * Some truths are not sharp, and each is given exactly its room: a hold whose deadline lies within a second
 * of the audit may show as held or as free (the server's clock is not ours); a request whose answer was
 * lost may have held its units or not; so may a confirm have confirmed. Everything else must fit to the
 * unit.
 */
#include "load/audit.h"

#include "load/speech.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Our clock may differ from the server's by so much. */
#define CLOCK_SLACK_MS 1000
#define ANSWER_SECONDS 30
#define HOLDS_AT_ONCE  128

/* What a unit may show as. */
#define MAY_BE_FREE 1u
#define MAY_BE_HELD 2u
#define MAY_BE_SOLD 4u

void
audit_differs(struct audit *audit, const char *format, ...)
{
    if (audit->differences++ >= DIFFERENCES_SHOWN_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(audit->shown[audit->differences - 1], DIFFERENCE_SIZE_MAX, format, arguments);
    va_end(arguments);
}

/* What a hold's units may show as, asked between two moments of our clock. */
static unsigned
grant_may_be(const struct grant *grant, uint64_t from_ms, uint64_t to_ms)
{
    if (grant->state == GRANT_CONFIRMED)
        return MAY_BE_SOLD;
    if (grant->state == GRANT_RELEASED)
        return MAY_BE_FREE;
    unsigned may = grant->state == GRANT_UNSURE    ? MAY_BE_SOLD
                   : grant->state == GRANT_LEAVING ? MAY_BE_FREE
                                                   : 0;
    if (grant->deadline_ms > from_ms - CLOCK_SLACK_MS)
        may |= MAY_BE_HELD;
    if (grant->deadline_ms <= to_ms + CLOCK_SLACK_MS)
        may |= MAY_BE_FREE;
    return may;
}

/* The audit's own connection, and whom it asks. */
struct asking {
    const struct load_options *options;
    const struct speech *speech;
    struct client *client;
};

static void
put(const struct asking *asking, const struct said *said)
{
    struct request_text request;
    asking->speech->write(asking->options, said, &request);
    asking->client->kind->append(asking->client, &request);
}

/* Asks and waits; an error answer is a failure, too, and told. */
static bool
ask(const struct asking *asking, const struct said *said, const char *what,
    const struct answer **ret_answer, char *ret_error)
{
    char error[160];
    struct told told;
    put(asking, said);
    if (!client_wait(asking->client, ANSWER_SECONDS, ret_answer, error)) {
        snprintf(ret_error, 256, "%s: %.120s", what, error);
        return false;
    }
    const char *wrong = asking->speech->read(asking->options, said, *ret_answer, &told);
    if (wrong != NULL || !told.well) {
        snprintf(ret_error, 256, "%s: %s", what, wrong != NULL ? wrong : told.error);
        return false;
    }
    return true;
}

/* seconds: try again for so long, while nobody listens. */
static bool
asking_open(const struct load_options *options, uint32_t seconds, struct asking *ret_asking,
            char *ret_error)
{
    char error[160];
    const struct timespec nap = {.tv_nsec = 50000000};
    const struct speech *speech = speech_of(options);
    uint64_t end_ms = wall_ms() + (uint64_t)seconds * 1000;
    struct client *client = speech->client->open(&options->place, 10, error);
    while (client == NULL && wall_ms() < end_ms) {
        (void)nanosleep(&nap, NULL); /* a signal only makes it shorter */
        client = speech->client->open(&options->place, 10, error);
    }
    if (client == NULL)
        snprintf(ret_error, 256, "could not connect to %s:%u: %s", options->place.address,
                 options->place.port, error);
    *ret_asking = (struct asking){options, speech, client};
    return client != NULL;
}

struct counts {
    int64_t capacity, free, held, sold;
};

static bool
counts_get(const struct asking *asking, struct counts *ret_counts, char *ret_error)
{
    const struct said said = {.say = SAY_COUNTS};
    const struct answer *answer;
    if (!ask(asking, &said, "the event", &answer, ret_error))
        return false;
    static const char *const names[] = {"capacity", "free", "held", "sold"};
    int64_t *const places[] = {&ret_counts->capacity, &ret_counts->free, &ret_counts->held,
                               &ret_counts->sold};
    uint32_t counts = answer_find(answer, asking->speech->root, "counts");
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t index = counts != 0 ? answer_find(answer, counts, names[i]) : 0;
        if (index == 0 || answer->values[index].kind != ANSWER_INTEGER) {
            snprintf(ret_error, 256, "the event: the answer lacks counts.%s", names[i]);
            return false;
        }
        *places[i] = answer->values[index].integer;
    }
    return true;
}

bool
audit_prepare(const struct load_options *options, bool pool, bool room, char *ret_error)
{
    struct asking asking;
    const struct answer *answer;
    struct counts counts;
    const struct said said = {.say = SAY_CREATE, .with_pool = pool, .with_room = room};
    bool ready = asking_open(options, 0, &asking, ret_error) &&
                 ask(&asking, &said, "making the event", &answer, ret_error) &&
                 counts_get(&asking, &counts, ret_error);
    if (ready && (counts.held != 0 || counts.sold != 0)) {
        snprintf(ret_error, 256,
                 "the event %s has %lld held and %lld sold units already: choose another --event",
                 options->event, (long long)counts.held, (long long)counts.sold);
        ready = false;
    }
    client_free(asking.client);
    return ready;
}

/* Sums of what the buyers were told, least and most. */
static void
counts_compare(const struct load_options *options, bool pool, const struct ledger *ledger,
               uint64_t lost_units, uint64_t from_ms, const struct counts *counts, struct audit *audit)
{
    int64_t held_least = 0, held_most = (int64_t)lost_units, sold_least = 0, sold_most = 0;
    uint64_t to_ms = wall_ms();
    for (uint32_t i = 0; i < ledger->grant_count; i++) {
        unsigned may = grant_may_be(&ledger->grants[i], from_ms, to_ms);
        int64_t units = ledger->grants[i].units;
        held_least += may == MAY_BE_HELD ? units : 0;
        held_most += (may & MAY_BE_HELD) != 0 ? units : 0;
        sold_least += may == MAY_BE_SOLD ? units : 0;
        sold_most += (may & MAY_BE_SOLD) != 0 ? units : 0;
    }
    int64_t capacity = (int64_t)options_units(options, pool);
    if (counts->capacity != capacity)
        audit_differs(audit, "capacity: the load asked for %lld, the server says %lld", (long long)capacity,
                      (long long)counts->capacity);
    if (counts->free + counts->held + counts->sold != counts->capacity)
        audit_differs(audit, "counts do not add up: %lld free + %lld held + %lld sold is not %lld",
                      (long long)counts->free, (long long)counts->held, (long long)counts->sold,
                      (long long)counts->capacity);
    if (counts->held < held_least || counts->held > held_most)
        audit_differs(audit, "held: the buyers were told %lld to %lld units, the server says %lld",
                      (long long)held_least, (long long)held_most, (long long)counts->held);
    if (counts->sold < sold_least || counts->sold > sold_most)
        audit_differs(audit, "sold: the buyers were told %lld to %lld units, the server says %lld",
                      (long long)sold_least, (long long)sold_most, (long long)counts->sold);
}

/* What each seat may show as. A seat granted again shows its last grant: the greatest version. */
static uint8_t *
seats_expected(const struct load_options *options, const struct ledger *ledger, uint64_t lost_units,
               uint64_t from_ms)
{
    size_t seat_count = (size_t)options->rows * options->row_seats;
    uint8_t *expected = malloc(seat_count);
    uint32_t *versions = calloc(seat_count, sizeof *versions);
    if (expected == NULL || versions == NULL) {
        free(expected);
        free(versions);
        return NULL;
    }
    uint64_t to_ms = wall_ms();
    memset(expected, lost_units > 0 ? MAY_BE_FREE | MAY_BE_HELD : MAY_BE_FREE, seat_count);
    for (uint32_t i = 0; i < ledger->grant_count; i++) {
        const struct grant *grant = &ledger->grants[i];
        unsigned may = grant_may_be(grant, from_ms, to_ms);
        if ((may & MAY_BE_FREE) != 0 && lost_units > 0)
            may |= MAY_BE_HELD;
        for (uint32_t j = 0; j < grant->seat_count; j++) {
            const struct granted_seat *seat = &ledger->seats[grant->seat_first + j];
            assert(seat->seat < seat_count);
            if (seat->version > versions[seat->seat]) {
                versions[seat->seat] = seat->version;
                expected[seat->seat] = (uint8_t)may;
            }
        }
    }
    free(versions);
    return expected;
}

static unsigned
letter_is(char letter)
{
    return letter == 'F' ? MAY_BE_FREE : letter == 'H' ? MAY_BE_HELD : letter == 'S' ? MAY_BE_SOLD : 0;
}

static void
map_compare(const struct asking *asking, const struct answer *answer, const uint8_t *expected,
            struct audit *audit)
{
    static const char *const words[] = {"nothing", "free",         "held",         "free or held",
                                        "sold",    "free or sold", "held or sold", "anything"};
    const struct load_options *options = asking->options;
    for (uint32_t row = 0; row < options->rows; row++) {
        struct bytes letters;
        if (!asking->speech->row(answer, options->rows, row, &letters) ||
            letters.size != options->row_seats) {
            audit_differs(audit, "the map has no row %u of %u with %u seats", row + 1, options->rows,
                          options->row_seats);
            continue;
        }
        for (uint32_t i = 0; i < letters.size; i++) {
            unsigned may = expected[(size_t)row * options->row_seats + i];
            audit->seats_checked++;
            if ((letter_is(letters.data[i]) & may) == 0)
                audit_differs(audit,
                              "seat " SALE_SECTION "/%u/%u: the buyers were told %s, the map says %c",
                              row + 1, i + 1, words[may], letters.data[i]);
        }
    }
}

static bool
seats_audit(const struct asking *asking, const struct ledger *ledger, uint64_t lost_units,
            struct audit *audit, char *ret_error)
{
    const struct said said = {.say = SAY_SEATS};
    const struct answer *answer;
    uint64_t from_ms = wall_ms();
    if (!ask(asking, &said, "the seat map", &answer, ret_error))
        return false;
    uint8_t *expected = seats_expected(asking->options, ledger, lost_units, from_ms);
    if (expected == NULL) {
        snprintf(ret_error, 256, "out of memory for the seat map");
        return false;
    }
    map_compare(asking, answer, expected, audit);
    free(expected);
    return true;
}

static bool
text_is(const struct answer *answer, uint32_t index, struct bytes wanted)
{
    return index != 0 && answer->values[index].kind != ANSWER_ARRAY &&
           bytes_equal(answer_text(answer, index), wanted);
}

static bool
state_fits(const struct answer *answer, uint32_t root, const struct grant *grant, unsigned may)
{
    uint32_t state = answer_find(answer, root, "state");
    bool given_back = grant->state == GRANT_RELEASED || grant->state == GRANT_LEAVING;
    if (given_back && text_is(answer, state, (struct bytes){"released", 8}))
        return true;
    return ((may & MAY_BE_HELD) != 0 && text_is(answer, state, (struct bytes){"held", 4})) ||
           ((may & MAY_BE_SOLD) != 0 && text_is(answer, state, (struct bytes){"confirmed", 9})) ||
           ((may & MAY_BE_FREE) != 0 && text_is(answer, state, (struct bytes){"expired", 7}));
}

/* Every seat that the buyer was told is in the hold, and no other. */
static bool
seats_fit(const struct asking *asking, const struct ledger *ledger, const struct grant *grant,
          const struct answer *answer)
{
    uint32_t seats = answer_find(answer, asking->speech->root, "seats");
    if (seats == 0 || answer->values[seats].kind != ANSWER_ARRAY ||
        answer->values[seats].size != grant->seat_count)
        return false;
    uint32_t index = seats + 1;
    uint32_t found = 0;
    for (uint32_t i = 0; i < grant->seat_count; i++) {
        uint32_t name = answer_find(answer, index, "seat");
        uint32_t seat;
        if (name == 0 || answer->values[name].kind != ANSWER_TEXT ||
            !sale_seat_read(asking->options, answer_text(answer, name), &seat))
            return false;
        for (uint32_t j = 0; j < grant->seat_count; j++)
            if (ledger->seats[grant->seat_first + j].seat == seat)
                found |= 1u << j;
        index = answer_skip(answer, index);
    }
    return found == (1u << grant->seat_count) - 1;
}

static bool
units_fit(const struct grant *grant, uint32_t root, const struct answer *answer)
{
    uint32_t pools = answer_find(answer, root, "pools");
    uint32_t quantity = pools != 0 ? answer_find(answer, pools + 1, "quantity") : 0;
    return quantity != 0 && answer->values[quantity].kind == ANSWER_INTEGER &&
           answer->values[quantity].integer == grant->units;
}

static void
hold_compare(const struct asking *asking, const struct ledger *ledger, const struct grant *grant,
             const struct answer *answer, uint64_t from_ms, struct audit *audit)
{
    char hold[UUID_TEXT_SIZE];
    char user[24];
    uint32_t root = asking->speech->root;
    struct told told;
    const struct said said = {.say = SAY_LOOK};
    hold_text_write(&grant->hold, hold);
    struct bytes wanted = {user, buyer_text(grant->buyer, user)};
    audit->holds_checked++;
    const char *wrong = asking->speech->read(asking->options, &said, answer, &told);
    if (wrong != NULL || !told.well) {
        audit_differs(audit, "hold %.36s of %.*s: the server says %s", hold, (int)wanted.size, user,
                      wrong != NULL ? wrong : told.error);
        return;
    }
    if (!text_is(answer, answer_find(answer, root, "user"), wanted))
        audit_differs(audit, "hold %.36s: told to %.*s, the server says it is another user's", hold,
                      (int)wanted.size, user);
    if (!state_fits(answer, root, grant, grant_may_be(grant, from_ms, wall_ms()))) {
        static const char *const words[] = {"held", "confirmed", "perhaps confirmed", "released",
                                            "perhaps released"};
        uint32_t index = answer_find(answer, root, "state");
        bool text = index != 0 && answer->values[index].kind == ANSWER_TEXT;
        struct bytes state = text ? answer_text(answer, index) : (struct bytes){"nothing", 7};
        audit_differs(audit, "hold %.36s of %.*s: the buyer was told %s, the server says %.*s", hold,
                      (int)wanted.size, user, words[grant->state], (int)(state.size < 20 ? state.size : 20),
                      state.data);
    }
    bool fits =
        grant->seat_count > 0 ? seats_fit(asking, ledger, grant, answer) : units_fit(grant, root, answer);
    if (!fits)
        audit_differs(audit, "hold %.36s of %.*s: the server's units are not those the buyer was told",
                      hold, (int)wanted.size, user);
}

/* The sample: every step-th grant, HOLDS_AT_ONCE questions under way. */
static bool
holds_audit(const struct asking *asking, const struct ledger *ledger, struct audit *audit, char *ret_error)
{
    uint64_t wanted = asking->options->audit_holds < ledger->grant_count ? asking->options->audit_holds
                                                                         : ledger->grant_count;
    const struct answer *answer;
    uint64_t from_ms = wall_ms();
    for (uint64_t asked = 0, answered = 0; answered < wanted; answered++) {
        for (; asked < wanted && asked < answered + HOLDS_AT_ONCE; asked++) {
            const struct grant *grant = &ledger->grants[asked * ledger->grant_count / wanted];
            const struct said said = {.say = SAY_LOOK, .id = grant->hold};
            put(asking, &said);
        }
        char error[160];
        if (!client_wait(asking->client, ANSWER_SECONDS, &answer, error)) {
            snprintf(ret_error, 256, "a hold: %.120s", error);
            return false;
        }
        hold_compare(asking, ledger, &ledger->grants[answered * ledger->grant_count / wanted], answer,
                     from_ms, audit);
    }
    return true;
}

bool
audit_run(const struct load_options *options, bool pool, const struct tally *total, struct audit *ret_audit,
          char *ret_error)
{
    struct asking asking;
    struct counts counts;
    const struct ledger *ledger = &total->ledger;
    /* a server that is killed comes back, maybe after the last answer to the crowd */
    bool returns = options->kill_pid != 0 || options->workload->retries;
    if (!asking_open(options, returns ? options->patience_seconds : 0, &asking, ret_error))
        return false;
    uint64_t from_ms = wall_ms();
    bool done = counts_get(&asking, &counts, ret_error);
    if (done)
        counts_compare(options, pool, ledger, total->lost_units, from_ms, &counts, ret_audit);
    if (done && !pool)
        done = seats_audit(&asking, ledger, total->lost_units, ret_audit, ret_error);
    done = done && holds_audit(&asking, ledger, ret_audit, ret_error);
    client_free(asking.client);
    return done;
}
