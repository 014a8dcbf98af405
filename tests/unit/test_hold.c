/*
 * test_hold.c - every outcome of holds with its figures, on one shard and on three: the interface's table,
 * line by line, and the cases people got wrong elsewhere.
 */
#include "tests/unit/core_drive.h"

#include <stdio.h>
#include <string.h>

#define HALL                                                                                               \
    "CREATE e SECTION A 2 10 SECTION B 1 5 ROW BOX L1 3 ROW BOX L2 2 POOL ga 10 POOL vip 3 HOLD 300 "      \
    "HOLDMAX 900"

static void
create_hall(struct drive *drive)
{
    expect(drive, "OK new e open 43=43+0+0 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           HALL);
}

/* ---- events ---- */

static void
test_create_again_is_the_same_or_exists(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK e open 43=43+0+0 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0", HALL);
    expect(drive, "EXISTS", "CREATE e SECTION A 2 10 HOLD 300 HOLDMAX 900");
    expect(drive, "EXISTS", HALL " LIMIT 5");
    expect(drive, "NOEVENT unit=f", "GET f");
    expect(drive, "NOEVENT unit=f", "HOLD f u1 SEAT A/1/1");
    expect(drive, "NOEVENT unit=f", "SEATS f A");
    expect(drive, "NOEVENT unit=f", "HOLDS f u1");
    expect(drive, "NOEVENT unit=f", "SET f status paused");
    expect(drive, "OK FFFFFFFFFF/FFFFFFFFFF", "SEATS e A");
    expect(drive, "OK FFF/FF", "SEATS e BOX");
    expect(drive, "NOSEAT unit=C", "SEATS e C");
}

static void
test_create_again_after_a_change(struct drive *drive)
{
    expect(drive, "OK new f open 2=2+0+0 p 2=2+0+0", "CREATE f POOL p 2");
    expect(drive, "OK f paused 5=5+0+0 p 5=5+0+0", "SET f status paused POOL p 5");
    /* a client that lost the answer to its create finds the event it made, or is told that it differs:
     * never a second one */
    expect(drive, "OK f paused 5=5+0+0 p 5=5+0+0", "GET f");
    expect(drive, "EXISTS", "CREATE f POOL p 3");
}

/* ---- the life of a hold ---- */

static void
test_hold_confirm_cancel(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 A/1/2:1 ga*2 in=300000",
           "a = HOLD e u1 SEAT A/1/1 SEAT A/1/2 POOL ga 2");
    expect(drive, "OK e open 43=39+4+0 A 20=18+2+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=8+2+0 vip 3=3+0+0", "GET e");
    expect(drive, "OK HHFFFFFFFF/FFFFFFFFFF", "SEATS e A");
    expect(drive, "OK held A/1/1:1 A/1/2:1 ga*2 in=300000", "GETHOLD a");
    expect(drive, "OK u1 used=4 [a held A/1/1:1 A/1/2:1 ga*2 in=300000]", "HOLDS e u1");
    expect(drive, "NOTCONFIRMED", "CANCEL a");
    drive_pass(drive, 299999);
    expect(drive, "OK confirmed A/1/1:2 A/1/2:2 ga*2 in=1", "CONFIRM a u1 REF pay-1");
    expect(drive, "OK e open 43=39+0+4 A 20=18+0+2 B 5=5+0+0 BOX 5=5+0+0 ga 10=8+0+2 vip 3=3+0+0", "GET e");
    expect(drive, "OK SSFFFFFFFF/FFFFFFFFFF", "SEATS e A");
    expect(drive, "OK u1 used=4 [a confirmed A/1/1:2 A/1/2:2 ga*2 in=1]", "HOLDS e u1");
    drive_pass(drive, 1000);
    drive_sweep(drive); /* what is sold does not expire */
    expect(drive, "OK confirmed A/1/1:2 A/1/2:2 ga*2 in=-999", "CONFIRM a u1 REF pay-1");
    expect(drive, "CONFIRMED", "RELEASE a u1");
    expect(drive, "CONFIRMED", "EXTEND a u1 10");
    expect(drive, "SOLD unit=A/1/2 remaining=18", "HOLD e u2 SEAT A/1/2");
    expect(drive, "OK cancelled A/1/1:2 A/1/2:2 ga*2 in=-999", "CANCEL a");
    expect(drive, "OK cancelled A/1/1:2 A/1/2:2 ga*2 in=-999", "CANCEL a");
    expect(drive, "CANCELLED", "CONFIRM a u1");
    expect(drive, "CANCELLED", "CONFIRM a u1 LATE");
    expect(drive, "CANCELLED", "RELEASE a u1");
    expect(drive, "CANCELLED", "EXTEND a u1 10");
    expect(drive, "CANCELLED", "HOLD e u1 SEAT A/1/9 REPLACE a");
    expect(drive, "OK u1 used=0", "HOLDS e u1");
    expect(drive, "OK e open 43=43+0+0 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           "GET e");
    expect(drive, "OK new held A/1/2:4 in=300000",
           "HOLD e u2 SEAT A/1/2"); /* held, sold, cancelled, held */
    expect(drive, "OK cancelled A/1/1:2 A/1/2:2 ga*2 in=-999", "GETHOLD a");
}

static void
test_release_stays_released(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held BOX/L2/1:1 in=60000", "a = HOLD e u1 SEAT BOX/L2/1 TTL 60");
    expect(drive, "OK released BOX/L2/1:1 in=60000", "RELEASE a u1");
    expect(drive, "OK new held BOX/L2/1:3 in=300000", "b = HOLD e u2 SEAT BOX/L2/1");
    expect(drive, "OK released BOX/L2/1:1 in=60000", "RELEASE a u1");
    expect(drive, "OK held BOX/L2/1:3 in=300000", "GETHOLD b");
    expect(drive, "OK FFF/HF", "SEATS e BOX");
    expect(drive, "RELEASED", "CONFIRM a u1");
    expect(drive, "RELEASED", "CONFIRM a u1 LATE");
    expect(drive, "RELEASED", "EXTEND a u1 60");
    expect(drive, "RELEASED", "CANCEL a");
    expect(drive, "RELEASED", "HOLD e u1 SEAT A/1/1 REPLACE a");
    drive_pass(drive, 60000);
    drive_sweep(drive);
    expect(drive, "OK released BOX/L2/1:1 in=0", "GETHOLD a");
    expect(drive, "OK released BOX/L2/1:1 in=0", "RELEASE a u1");
}

static void
test_unknown_holds(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    for (uint32_t i = 0; i < 8; i++) { /* ids of all routes */
        expect(drive, "NOHOLD", "GETHOLD %cx", 'A' + (int)i * 7);
        expect(drive, "NOHOLD", "CONFIRM %cx u1", 'A' + (int)i * 7);
        expect(drive, "NOHOLD", "CONFIRM %cx u1 LATE", 'A' + (int)i * 7);
        expect(drive, "NOHOLD", "EXTEND %cx u1 5", 'A' + (int)i * 7);
        expect(drive, "NOHOLD", "RELEASE %cx u1", 'A' + (int)i * 7);
        expect(drive, "NOHOLD", "CANCEL %cx", 'A' + (int)i * 7);
        expect(drive, "NOHOLD", "HOLD e u1 SEAT A/2/2 REPLACE %cx", 'A' + (int)i * 7);
    }
    expect(drive, "NOHOLD", "CONFIRM a u2");
    expect(drive, "NOHOLD", "EXTEND a u2 5");
    expect(drive, "NOHOLD", "RELEASE a u2");
    expect(drive, "NOHOLD", "HOLD e u2 SEAT A/2/2 REPLACE a");
    expect(drive, "OK held A/1/1:1 in=300000", "GETHOLD a");
}

/* The hold to be replaced is in this event (api: "one's live hold in this event"). */
static void
test_replace_across_events_is_nohold(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new f open 5=5+0+0 A 5=5+0+0", "CREATE f SECTION A 1 5");
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "NOHOLD", "HOLD f u1 SEAT A/1/2 REPLACE a");
}

/* ---- deadlines ---- */

static void
test_expiry_to_the_millisecond(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 ga*1 in=5000", "a = HOLD e u1 SEAT A/1/1 POOL ga 1 TTL 5");
    drive_pass(drive, 4999);
    drive_sweep(drive);
    expect(drive, "OK held A/1/1:1 ga*1 in=1", "GETHOLD a");
    drive_pass(drive, 1);
    /* not swept, and ended for everyone */
    expect(drive, "OK expired A/1/1:1 ga*1 in=0", "GETHOLD a");
    expect(drive, "EXPIRED", "CONFIRM a u1");
    expect(drive, "EXPIRED", "EXTEND a u1 60");
    expect(drive, "EXPIRED", "RELEASE a u1");
    expect(drive, "EXPIRED", "CANCEL a");
    expect(drive, "EXPIRED", "HOLD e u1 SEAT A/1/2 REPLACE a");
    expect(drive, "OK u1 used=0", "HOLDS e u1");
    drive_pass(drive, 10);
    drive_sweep(drive); /* a tick later at the latest */
    expect(drive, "OK e open 43=43+0+0 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           "GET e");
    expect(drive, "OK expired A/1/1:1 ga*1 in=-10", "GETHOLD a");
    expect(drive, "EXPIRED", "CONFIRM a u1");
    expect(drive, "EXPIRED", "RELEASE a u1");
    expect(drive, "EXPIRED", "CANCEL a");
    expect(drive, "OK new held A/1/1:3 in=300000", "HOLD e u2 SEAT A/1/1");
}

static void
test_extend_to_the_cap(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    drive_pass(drive, 100000);
    expect(drive, "OK held A/1/1:1 in=400000", "EXTEND a u1 400");
    expect(drive, "OK held A/1/1:1 in=400000", "EXTEND a u1 10"); /* never earlier */
    expect(drive, "OK held A/1/1:1 in=400000", "GETHOLD a");
    drive_pass(drive, 399999);
    drive_sweep(drive);
    expect(drive, "OK held A/1/1:1 in=1", "GETHOLD a");
    expect(drive, "OK held A/1/1:1 in=400001", "EXTEND a u1 2592000"); /* 900 s from its start */
    expect(drive, "NOEXTEND deadline_max=400001", "EXTEND a u1 2592000");
    expect(drive, "NOEXTEND deadline_max=400001", "EXTEND a u1 1");
    expect(drive, "HELD unit=A/1/1 remaining=19 next=400001", "HOLD e u2 SEAT A/1/1");
    drive_pass(drive, 400001);
    drive_sweep(drive);
    expect(drive, "OK expired A/1/1:1 in=0", "GETHOLD a");
    expect(drive, "OK FFFFFFFFFF/FFFFFFFFFF", "SEATS e A");
    expect(drive, "BADREQUEST field=hold_seconds", "HOLD e u1 SEAT A/1/1 TTL 901");
    expect(drive, "OK new held A/1/1:3 in=900000", "b = HOLD e u1 SEAT A/1/1 TTL 900");
    expect(drive, "NOEXTEND deadline_max=900000", "EXTEND b u1 1");
}

static void
test_nothing_moves_nothing_is_recorded(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    uint64_t records = drive_figures(drive).records;
    expect(drive, "OK held A/1/1:1 in=300000", "EXTEND a u1 5");
    expect(drive, "OK held A/1/1:1 in=300000", "EXTEND a u1 300");
    expect(drive, "OK held A/1/1:1 in=300000", "HOLD e u1 SEAT A/1/1");
    expect(drive, "HELD unit=A/1/1 remaining=19 next=300000", "HOLD e u2 SEAT A/1/1");
    expect(drive, "NOTCONFIRMED", "CANCEL a");
    assert_int_equal(drive_figures(drive).records, records);
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1");
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1");
    assert_int_equal(drive_figures(drive).records, records + 1);
}

/* ---- late confirm ---- */

static void
test_late_confirm(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 A/2/1:1 ga*2 in=5000",
           "a = HOLD e u1 SEAT A/1/1 SEAT A/2/1 POOL ga 2 TTL 5");
    expect(drive, "OK new held B/1/1:1 in=5000", "b = HOLD e u2 SEAT B/1/1 TTL 5");
    expect(drive, "OK new held vip*2 in=5000", "c = HOLD e u3 POOL vip 2 TTL 5");
    drive_pass(drive, 5000);
    drive_sweep(drive);
    expect(drive, "EXPIRED", "CONFIRM a u1");
    expect(drive, "OK confirmed A/1/1:3 A/2/1:3 ga*2 in=0",
           "CONFIRM a u1 LATE"); /* expired 2, sold 3: one step */
    expect(drive, "OK confirmed A/1/1:3 A/2/1:3 ga*2 in=0", "CONFIRM a u1 LATE");
    expect(drive, "OK confirmed A/1/1:3 A/2/1:3 ga*2 in=0", "CONFIRM a u1");
    expect(drive, "SOLD unit=A/1/1 remaining=18", "HOLD e u4 SEAT A/1/1");
    expect(drive, "OK new held B/1/1:3 in=300000", "HOLD e u4 SEAT B/1/1");
    expect(drive, "EXPIRED unit=B/1/1", "CONFIRM b u2 LATE");
    expect(drive, "OK new held vip*2 in=300000", "HOLD e u4 POOL vip 2");
    expect(drive, "EXPIRED unit=vip", "CONFIRM c u3 LATE");
    expect(drive, "OK u1 used=4 [a confirmed A/1/1:3 A/2/1:3 ga*2 in=0]", "HOLDS e u1");
    expect(drive, "OK expired B/1/1:1 in=0", "GETHOLD b");
}

static void
test_late_confirm_unswept_and_limits(struct drive *drive)
{
    expect(drive, "OK new f open 5=5+0+0 A 5=5+0+0", "CREATE f SECTION A 1 5 LIMIT 2 HOLD 10");
    expect(drive, "OK new held A/1/1:1 A/1/2:1 in=10000", "a = HOLD f u1 SEAT A/1/1 SEAT A/1/2");
    drive_pass(drive, 10000); /* overdue, not swept: late works all the same */
    expect(drive, "OK confirmed A/1/1:3 A/1/2:3 in=0", "CONFIRM a u1 LATE");
    expect(drive, "LIMIT limit=2 used=2", "HOLD f u1 SEAT A/1/3");
    expect(drive, "OK new held A/1/4:1 A/1/5:1 in=10000", "b = HOLD f u2 SEAT A/1/4 SEAT A/1/5");
    drive_pass(drive, 10000);
    drive_sweep(drive);
    expect(drive, "OK new held A/1/3:1 in=10000", "c = HOLD f u2 SEAT A/1/3");
    expect(drive, "LIMIT limit=2 used=1", "CONFIRM b u2 LATE");
    expect(drive, "OK released A/1/3:1 in=10000", "RELEASE c u2");
    expect(drive, "OK confirmed A/1/4:3 A/1/5:3 in=0", "CONFIRM b u2 LATE");
    expect(drive, "OK f open 5=1+0+4 A 5=1+0+4", "GET f");
}

/* ---- availability and its figures ---- */

static void
test_refusals_name_the_first_unit(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/2/5:1 in=300000", "a = HOLD e u1 SEAT A/2/5");
    expect(drive, "OK new held B/1/3:1 in=120000", "b = HOLD e u1 SEAT B/1/3 TTL 120");
    expect(drive, "OK confirmed A/2/5:2 in=300000", "CONFIRM a u1");
    /* in the order asked, whoever owns them */
    expect(drive, "HELD unit=B/1/3 remaining=4 next=120000", "HOLD e u2 SEAT A/1/1 SEAT B/1/3 SEAT A/2/5");
    expect(drive, "SOLD unit=A/2/5 remaining=19", "HOLD e u2 SEAT A/2/5 SEAT B/1/3 SEAT A/1/1");
    expect(drive, "SOLD unit=A/2/5 remaining=19", "HOLD e u2 POOL ga 11 SEAT A/2/5");
    expect(drive, "SOLDOUT unit=ga remaining=10", "HOLD e u2 SEAT A/1/1 POOL ga 11 BEST B 3");
    expect(drive, "SOLDOUT unit=ga remaining=10", "HOLD e u2 POOL ga 11 POOL vip 4");
    expect(drive, "SOLDOUT unit=vip remaining=3", "HOLD e u2 POOL vip 4 POOL ga 11");
    expect(drive, "NOADJACENT unit=B largest_run=2", "HOLD e u2 SEAT A/1/1 POOL ga 10 BEST B 3");
    expect(drive, "NOSEAT unit=A/3/1", "HOLD e u2 SEAT A/2/5 SEAT A/3/1");
    expect(drive, "NOSEAT unit=A/1/11", "HOLD e u2 SEAT A/1/11");
    expect(drive, "NOSEAT unit=A/0/1", "HOLD e u2 SEAT A/0/1");
    expect(drive, "NOSEAT unit=A/01/1", "HOLD e u2 SEAT A/01/1");
    expect(drive, "NOSEAT unit=BOX/L3/1", "HOLD e u2 SEAT BOX/L3/1");
    expect(drive, "NOSEAT unit=BOX/1/1", "HOLD e u2 SEAT BOX/1/1");
    expect(drive, "NOSEAT unit=Z/1/1", "HOLD e u2 SEAT Z/1/1");
    expect(drive, "NOSEAT unit=A/1/999999999", "HOLD e u2 SEAT A/1/999999999");
    expect(drive, "NOPOOL unit=xx", "HOLD e u2 SEAT A/1/1 POOL xx 1");
    expect(drive, "NOSEAT unit=Z", "HOLD e u2 BEST Z 1");
    expect(drive, "NOSEAT unit=A/9/9", "HOLD e u2 SEAT A/9/9 POOL xx 1"); /* seats, then pools */
    expect(drive, "OK u2 used=0", "HOLDS e u2");
    expect(drive, "OK e open 43=41+1+1 A 20=19+0+1 B 5=4+1+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           "GET e");
}

static void
test_pools_heldout_and_soldout(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held ga*4 in=300000", "a = HOLD e u1 POOL ga 4");
    expect(drive, "OK new held ga*4 in=100000", "b = HOLD e u2 POOL ga 4 TTL 100");
    expect(drive, "HELDOUT unit=ga remaining=2 next=100000", "HOLD e u3 POOL ga 3");
    expect(drive, "HELDOUT unit=ga remaining=2 next=100000", "HOLD e u3 POOL ga 10");
    expect(drive, "SOLDOUT unit=ga remaining=2", "HOLD e u3 POOL ga 11");
    expect(drive, "OK confirmed ga*4 in=100000", "CONFIRM b u2");
    expect(drive, "HELDOUT unit=ga remaining=2 next=300000", "HOLD e u3 POOL ga 6");
    expect(drive, "SOLDOUT unit=ga remaining=2", "HOLD e u3 POOL ga 7");
    expect(drive, "OK new held ga*2 in=300000", "c = HOLD e u3 POOL ga 2");
    expect(drive, "HELDOUT unit=ga remaining=0 next=300000", "HOLD e u4 POOL ga 1");
    expect(drive, "OK held ga*4 in=500000", "EXTEND a u1 500");
    expect(drive, "HELDOUT unit=ga remaining=0 next=300000", "HOLD e u4 POOL ga 1");
    expect(drive, "OK released ga*2 in=300000", "RELEASE c u3");
    expect(drive, "HELDOUT unit=ga remaining=2 next=500000", "HOLD e u4 POOL ga 3");
    expect(drive, "OK new held ga*2 in=300000", "c = HOLD e u3 POOL ga 2");
    expect(drive, "OK confirmed ga*2 in=300000", "CONFIRM c u3");
    expect(drive, "OK confirmed ga*4 in=500000", "CONFIRM a u1");
    expect(drive, "SOLDOUT unit=ga remaining=0", "HOLD e u4 POOL ga 1");
    expect(drive, "OK cancelled ga*2 in=300000", "CANCEL c");
    expect(drive, "OK new held ga*2 in=300000", "HOLD e u4 POOL ga 2");
}

static void
test_best_heldout_and_soldout(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held B/1/1:1 B/1/2:1 B/1/3:1 in=200000", "a = HOLD e u1 BEST B 3 TTL 200");
    expect(drive, "HELDOUT unit=B remaining=2 next=200000", "HOLD e u2 BEST B 3");
    expect(drive, "SOLDOUT unit=B remaining=2", "HOLD e u2 BEST B 6");
    expect(drive, "OK confirmed B/1/1:2 B/1/2:2 B/1/3:2 in=200000", "CONFIRM a u1");
    expect(drive, "SOLDOUT unit=B remaining=2", "HOLD e u2 BEST B 3");
    expect(drive, "OK new held B/1/4:1 in=300000", "HOLD e u2 BEST B 1");
    expect(drive, "HELDOUT unit=B remaining=1 next=300000", "HOLD e u3 BEST B 2");
    expect(drive, "OK new held B/1/5:1 in=300000", "HOLD e u3 BEST B 1");
    expect(drive, "HELDOUT unit=B remaining=0 next=300000", "HOLD e u4 BEST B 1");
    expect(drive, "SOLDOUT unit=BOX remaining=5", "HOLD e u4 BEST BOX 6");
    expect(drive, "NOADJACENT unit=BOX largest_run=3", "HOLD e u4 BEST BOX 4");
}

/* Seats asked for by name are taken before best looks. */
static void
test_best_beside_seats_and_pools(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held B/1/3:1 B/1/1:1 B/1/2:1 ga*1 in=300000",
           "a = HOLD e u1 SEAT B/1/3 BEST B 2 POOL ga 1");
    expect(drive, "OK HHHFF", "SEATS e B");
    expect(drive, "HELD unit=B/1/3 remaining=2 next=300000", "HOLD e u2 SEAT B/1/4 SEAT B/1/3 BEST A 2");
    expect(drive, "HELDOUT unit=B remaining=1 next=300000", "HOLD e u2 SEAT B/1/4 BEST B 2");
    expect(drive, "OK HHHFF", "SEATS e B");
}

/* ---- limits ---- */

static void
test_limit_over_all_holds(struct drive *drive)
{
    expect(drive, "OK new f open 25=25+0+0 A 5=5+0+0 p 10=10+0+0 q 10=10+0+0",
           "CREATE f SECTION A 1 5 POOL p 10 POOL q 10 LIMIT 4 HOLD 10");
    expect(drive, "LIMIT limit=4 used=0", "HOLD f u1 POOL p 3 POOL q 2");
    expect(drive, "LIMIT limit=4 used=0", "HOLD f u1 SEAT A/1/1 POOL p 2 BEST A 2");
    expect(drive, "OK new held A/1/1:1 p*1 in=10000", "a = HOLD f u1 SEAT A/1/1 POOL p 1");
    expect(drive, "OK confirmed A/1/1:2 p*1 in=10000", "CONFIRM a u1");
    expect(drive, "LIMIT limit=4 used=2", "HOLD f u1 BEST A 3");
    expect(drive, "OK new held A/1/3:1 A/1/4:1 in=10000", "b = HOLD f u1 SEAT A/1/3 SEAT A/1/4");
    expect(drive, "LIMIT limit=4 used=4", "HOLD f u1 POOL q 1");
    /* the limit comes before availability, unknown units before the limit */
    expect(drive, "LIMIT limit=4 used=4", "HOLD f u1 SEAT A/1/1");
    expect(drive, "NOSEAT unit=A/1/6", "HOLD f u1 SEAT A/1/6");
    expect(drive, "OK held A/1/3:1 A/1/4:1 in=10000", "HOLD f u1 SEAT A/1/4 SEAT A/1/3");
    expect(drive, "OK new held q*4 in=10000", "HOLD f u2 POOL q 4");
    drive_pass(drive, 10000); /* overdue, not swept: counts no more */
    expect(drive, "LIMIT limit=4 used=2", "HOLD f u1 POOL q 3");
    expect(drive, "OK new held q*2 in=10000", "HOLD f u1 POOL q 2");
    expect(drive, "OK cancelled A/1/1:2 p*1 in=0", "CANCEL a");
    expect(drive, "OK new held p*2 in=10000", "HOLD f u1 POOL p 2");
    expect(drive, "LIMIT limit=4 used=4", "HOLD f u1 POOL p 1");
    drive_sweep(drive);
    expect(drive, "OK f open 25=21+4+0 A 5=5+0+0 p 10=8+2+0 q 10=8+2+0", "GET f");
    expect(drive, "OK f open 25=21+4+0 A 5=5+0+0 p 10=8+2+0 q 10=8+2+0", "SET f units_per_user_max 5");
    expect(drive, "LIMIT limit=5 used=4", "HOLD f u1 POOL p 2");
    expect(drive, "OK new held p*1 in=10000", "HOLD f u1 POOL p 1");
    expect(drive, "OK f open 25=20+5+0 A 5=5+0+0 p 10=7+3+0 q 10=8+2+0", "SET f units_per_user_max 1");
    expect(drive, "LIMIT limit=1 used=5", "HOLD f u1 POOL p 1");
    expect(drive, "OK new g open 9=9+0+0 p 9=9+0+0", "CREATE g POOL p 9 LIMIT 1");
    expect(drive, "OK new held p*1 in=300000", "HOLD g u1 POOL p 1"); /* a limit is an event's */
}

/* ---- one's own hold ---- */

static void
test_own_hold(struct drive *drive)
{
    expect(drive, "OK new f open 10=10+0+0 A 10=10+0+0", "CREATE f SECTION A 1 10 LIMIT 3");
    expect(drive, "OK new held A/1/1:1 A/1/2:1 A/1/3:1 in=300000",
           "a = HOLD f u1 SEAT A/1/1 SEAT A/1/2 SEAT A/1/3");
    drive_pass(drive, 1000);
    expect(drive, "OK held A/1/1:1 A/1/2:1 A/1/3:1 in=299000",
           "HOLD f u1 SEAT A/1/3 SEAT A/1/1 SEAT A/1/2");
    expect(drive, "OK f open 10=7+3+0 A 10=7+3+0", "SET f units_per_user_max 6");
    expect(drive, "HELD unit=A/1/2 remaining=7 next=299000 own=a", "HOLD f u1 SEAT A/1/2");
    expect(drive, "HELD unit=A/1/3 remaining=7 next=299000 own=a", "HOLD f u1 SEAT A/1/4 SEAT A/1/3");
    expect(drive, "HELD unit=A/1/1 remaining=7 next=299000", "HOLD f u2 SEAT A/1/1 SEAT A/1/2 SEAT A/1/3");
    expect(drive, "OK f paused 10=7+3+0 A 10=7+3+0", "SET f status paused");
    expect(drive, "OK held A/1/1:1 A/1/2:1 A/1/3:1 in=299000",
           "HOLD f u1 SEAT A/1/1 SEAT A/1/2 SEAT A/1/3");
    expect(drive, "CLOSED", "HOLD f u1 SEAT A/1/1 SEAT A/1/2");
    expect(drive, "OK f open 10=7+3+0 A 10=7+3+0", "SET f status open");
    expect(drive, "OK confirmed A/1/1:2 A/1/2:2 A/1/3:2 in=299000", "CONFIRM a u1");
    expect(drive, "SOLD unit=A/1/1 remaining=7", "HOLD f u1 SEAT A/1/1 SEAT A/1/2 SEAT A/1/3");
}

static void
test_own_hold_with_pools_is_another(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 ga*1 in=300000", "a = HOLD e u1 SEAT A/1/1 POOL ga 1");
    expect(drive, "HELD unit=A/1/1 remaining=19 next=300000 own=a", "HOLD e u1 SEAT A/1/1");
    expect(drive, "HELD unit=A/1/1 remaining=19 next=300000 own=a", "HOLD e u1 SEAT A/1/1 POOL ga 1");
    expect(drive, "OK new held ga*1 in=300000", "b = HOLD e u1 POOL ga 1"); /* units, no identity */
    expect(drive, "OK new held ga*1 in=300000", "c = HOLD e u1 POOL ga 1");
    expect(drive,
           "OK u1 used=4 [c held ga*1 in=300000] [b held ga*1 in=300000] [a held A/1/1:1 ga*1 in=300000]",
           "HOLDS e u1");
    drive_pass(drive, 300000);
    drive_sweep(drive); /* one's own expired hold is nobody's */
    expect(drive, "OK new held A/1/1:3 in=300000", "HOLD e u1 SEAT A/1/1");
}

/* ---- replace ---- */

static void
test_replace(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 A/1/2:1 ga*2 in=300000",
           "a = HOLD e u1 SEAT A/1/1 SEAT A/1/2 POOL ga 2");
    drive_pass(drive, 1000);
    expect(drive, "OK new held A/1/2:3 A/2/2:1 ga*3 vip*1 in=300000",
           "b = HOLD e u1 SEAT A/1/2 SEAT A/2/2 POOL ga 3 POOL vip 1 REPLACE a");
    expect(drive, "OK FHFFFFFFFF/FHFFFFFFFF", "SEATS e A");
    expect(drive, "OK e open 43=37+6+0 A 20=18+2+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=7+3+0 vip 3=2+1+0", "GET e");
    expect(drive, "OK released A/1/1:1 A/1/2:1 ga*2 in=299000", "GETHOLD a");
    expect(drive, "RELEASED", "CONFIRM a u1");
    expect(drive, "OK released A/1/1:1 A/1/2:1 ga*2 in=299000", "RELEASE a u1");
    expect(drive, "OK FHFFFFFFFF/FHFFFFFFFF", "SEATS e A");
    expect(drive, "HELD unit=A/1/2 remaining=18 next=300000", "HOLD e u2 SEAT A/1/2");
    /* refused: the old one stays as it was */
    expect(drive, "OK new held B/1/1:1 in=300000", "HOLD e u2 SEAT B/1/1");
    expect(drive, "HELD unit=B/1/1 remaining=4 next=300000", "HOLD e u1 SEAT A/1/2 SEAT B/1/1 REPLACE b");
    expect(drive, "SOLDOUT unit=ga remaining=7", "HOLD e u1 POOL ga 11 REPLACE b");
    expect(drive, "OK held A/1/2:3 A/2/2:1 ga*3 vip*1 in=300000", "GETHOLD b");
    /* all of a pool: its own units count as free for the one who gives them back */
    expect(drive, "OK new held ga*10 in=300000", "c = HOLD e u1 POOL ga 10 REPLACE b");
    expect(drive, "OK e open 43=32+11+0 A 20=20+0+0 B 5=4+1+0 BOX 5=5+0+0 ga 10=0+10+0 vip 3=3+0+0",
           "GET e");
    expect(drive, "OK new held ga*1 in=300000", "d = HOLD e u1 POOL ga 1 REPLACE c");
    expect(drive, "OK e open 43=41+2+0 A 20=20+0+0 B 5=4+1+0 BOX 5=5+0+0 ga 10=9+1+0 vip 3=3+0+0", "GET e");
    expect(drive, "OK confirmed ga*1 in=300000", "CONFIRM d u1");
    expect(drive, "CONFIRMED", "HOLD e u1 POOL ga 2 REPLACE d");
}

static void
test_replace_keeps_start_and_limit(struct drive *drive)
{
    expect(drive, "OK new f open 10=10+0+0 A 10=10+0+0",
           "CREATE f SECTION A 1 10 LIMIT 3 HOLD 100 HOLDMAX 150");
    expect(drive, "OK new held A/1/1:1 A/1/2:1 in=100000", "a = HOLD f u1 SEAT A/1/1 SEAT A/1/2");
    expect(drive, "OK held A/1/1:1 A/1/2:1 in=100000", "HOLD f u1 SEAT A/1/2 SEAT A/1/1 REPLACE a");
    expect(drive, "LIMIT limit=3 used=2",
           "HOLD f u1 SEAT A/1/5 SEAT A/1/6 SEAT A/1/7 SEAT A/1/8 REPLACE a");
    drive_pass(drive, 90000);
    /* 150 s from the start of the first, however often replaced */
    expect(drive, "OK new held A/1/5:1 A/1/6:1 A/1/7:1 in=60000",
           "b = HOLD f u1 SEAT A/1/5 SEAT A/1/6 SEAT A/1/7 REPLACE a");
    drive_pass(drive, 50000);
    expect(drive, "OK new held A/1/5:3 in=10000", "c = HOLD f u1 SEAT A/1/5 REPLACE b");
    expect(drive, "NOEXTEND deadline_max=10000", "EXTEND c u1 5");
    expect(drive, "OK u1 used=1 [c held A/1/5:3 in=10000]", "HOLDS f u1");
    drive_pass(drive, 10000);
    expect(drive, "EXPIRED", "HOLD f u1 SEAT A/1/1 REPLACE c");
    drive_sweep(drive);
    expect(drive, "OK FFFFFFFFFF", "SEATS f A");
}

static void
test_replace_with_best(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held B/1/1:1 B/1/2:1 B/1/3:1 in=300000",
           "a = HOLD e u1 SEAT B/1/1 SEAT B/1/2 SEAT B/1/3");
    /* best is from the free ones: what is given back is not yet free */
    expect(drive, "OK new held B/1/4:1 B/1/5:1 in=300000", "b = HOLD e u1 BEST B 2 REPLACE a");
    expect(drive, "OK FFFHH", "SEATS e B");
    /* an own live hold's seats cannot be in a hold that replaces another one */
    expect(drive, "OK new held A/1/1:1 in=300000", "c = HOLD e u1 SEAT A/1/1");
    expect(drive, "HELD unit=B/1/4 remaining=3 next=300000 own=b", "HOLD e u1 SEAT B/1/4 REPLACE c");
    /* own same hold wins over replaces: given back unchanged */
    expect(drive, "OK held B/1/4:1 B/1/5:1 in=300000", "HOLD e u1 SEAT B/1/5 SEAT B/1/4 REPLACE c");
    expect(drive, "OK held A/1/1:1 in=300000", "GETHOLD c");
}

/* ---- status of the event ---- */

static void
test_paused_closed_and_not_yet_open(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "OK new held A/1/2:1 in=300000", "b = HOLD e u1 SEAT A/1/2");
    expect(drive, "OK new held A/1/3:1 in=300000", "c = HOLD e u1 SEAT A/1/3");
    expect(drive, "OK e paused 43=40+3+0 A 20=17+3+0 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           "SET e status paused");
    expect(drive, "CLOSED", "HOLD e u2 SEAT A/1/4");
    expect(drive, "CLOSED", "HOLD e u1 SEAT A/1/4 REPLACE a");
    expect(drive, "CLOSED", "HOLD e u2 SEAT Z/9/9"); /* closed comes before unknown seats */
    expect(drive, "OK confirmed A/1/1:2 in=300000", "CONFIRM a u1");
    expect(drive, "OK released A/1/2:1 in=300000", "RELEASE b u1");
    expect(drive, "OK held A/1/3:1 in=600000", "EXTEND c u1 600");
    expect(drive, "OK e closed 43=41+1+1 A 20=18+1+1 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           "SET e status closed");
    expect(drive, "CLOSED", "SET e status open");
    expect(drive, "CLOSED", "SET e status paused");
    expect(drive, "BADREQUEST field=hold_seconds", "SET e status open hold_seconds 2592000");
    expect(drive, "OK e closed 43=41+1+1 A 20=18+1+1 B 5=5+0+0 BOX 5=5+0+0 ga 10=10+0+0 vip 3=3+0+0",
           "SET e status closed");
    expect(drive, "CLOSED", "HOLD e u2 SEAT A/1/4");
    expect(drive, "OK confirmed A/1/3:2 in=600000", "CONFIRM c u1");
    expect(drive, "OK cancelled A/1/1:2 in=300000", "CANCEL a");

    expect(drive, "OK new f open 5=5+0+0 A 5=5+0+0", "CREATE f SECTION A 1 5 OPENS 5000");
    expect(drive, "CLOSED opens=5000", "HOLD f u1 SEAT A/1/1");
    drive_pass(drive, 4999);
    expect(drive, "CLOSED opens=1", "HOLD f u1 BEST A 1");
    drive_pass(drive, 1);
    expect(drive, "OK new held A/1/3:1 in=300000", "HOLD f u1 BEST A 1");
}

static void
test_event_change(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held ga*4 vip*1 in=300000", "a = HOLD e u1 POOL ga 4 POOL vip 1");
    expect(drive, "OK confirmed ga*4 vip*1 in=300000", "CONFIRM a u1");
    expect(drive, "OK new held ga*3 in=300000", "b = HOLD e u1 POOL ga 3");
    expect(drive, "BADREQUEST field=pools.capacity", "SET e POOL ga 6");
    expect(drive, "BADREQUEST field=pools.capacity", "SET e status paused POOL vip 5 POOL ga 6");
    expect(drive, "NOPOOL unit=zz", "SET e POOL zz 6");
    expect(drive, "OK e open 40=32+3+5 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 7=0+3+4 vip 3=2+0+1",
           "SET e POOL ga 7");
    expect(drive, "HELDOUT unit=ga remaining=0 next=300000", "HOLD e u2 POOL ga 1");
    expect(drive,
           "OK e open 1000035=1000027+3+5 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 1000000=999993+3+4 "
           "vip 5=4+0+1",
           "SET e POOL ga 1000000 POOL vip 5");
    expect(drive, "OK new held ga*999993 in=300000", "HOLD e u2 POOL ga 999993");
    expect(drive,
           "OK e open 1000035=34+999996+5 A 20=20+0+0 B 5=5+0+0 BOX 5=5+0+0 ga 1000000=0+999996+4 "
           "vip 5=4+0+1",
           "SET e hold_seconds 20");
    expect(drive, "OK new held vip*1 in=20000", "HOLD e u2 POOL vip 1");
    expect(drive, "BADREQUEST field=hold_seconds", "SET e hold_seconds 901");
}

/* ---- everything together, against plain arithmetic ---- */

/* A pool in its plentiful phase on every shard, then down to the last unit: nothing is ever lost, sold out
 * is exact, and the last units go. */
static void
test_pool_to_the_last_unit(struct drive *drive)
{
    uint32_t sold = 0;
    uint64_t random = 1;
    drive_checks(drive, false);
    expect(drive, "OK new d open 700=700+0+0 p 700=700+0+0", "CREATE d POOL p 700");
    while (sold < 700) {
        uint32_t want = 1 + (uint32_t)(drive_random(&random) % 7);
        const char *got = ask(drive, "x = HOLD d u%u POOL p %u", sold, want);
        uint32_t left = 700 - sold;
        char wanted[80];
        if (want > left)
            (void)snprintf(wanted, sizeof wanted, "SOLDOUT unit=p remaining=%u", left);
        else
            (void)snprintf(wanted, sizeof wanted, "OK new held p*%u in=300000", want);
        assert_string_equal(got, wanted);
        if (want > left)
            continue;
        if (drive_random(&random) % 4 == 0) {
            assert_memory_equal(ask(drive, "RELEASE x u%u", sold), "OK released", 11);
            continue;
        }
        assert_memory_equal(ask(drive, "CONFIRM x u%u", sold), "OK confirmed", 12);
        sold += want;
        drive_check(drive);
    }
    expect(drive, "OK d open 700=0+0+700 p 700=0+0+700", "GET d");
    expect(drive, "SOLDOUT unit=p remaining=0", "HOLD d late POOL p 1");
}

/* Of many at once on all shards, with nothing run between, exactly one gets each unit. */
static void
test_all_at_once(struct drive *drive)
{
    uint32_t tags[100];
    uint32_t won = 0;
    expect(drive, "OK new d open 22=22+0+0 A 12=12+0+0 p 10=10+0+0", "CREATE d SECTION A 3 4 POOL p 10");
    for (uint32_t i = 0; i < 60; i++)
        tags[i] = submit(drive, i, "HOLD d u%u POOL p 1", i);
    drive_run(drive);
    for (uint32_t i = 0; i < 60; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        if (strcmp(got, "OK new held p*1 in=300000") == 0)
            won++;
        else
            assert_string_equal(got, "HELDOUT unit=p remaining=0 next=300000");
    }
    assert_int_equal(won, 10);
    won = 0;
    for (uint32_t i = 0; i < 60; i++) { /* pairs that cross rows, in both orders */
        uint32_t row[2] = {1 + i % 3, 1 + (i + 1) % 3};
        uint32_t number[2] = {2 + i % 3, 1};
        uint32_t first = i % 2;
        tags[i] = submit(drive, i, "HOLD d s%u SEAT A/%u/%u SEAT A/%u/%u", i, row[first], number[first],
                         row[1 - first], number[1 - first]);
    }
    drive_run(drive);
    for (uint32_t i = 0; i < 60; i++) {
        const char *got = answer(drive, tags[i]);
        assert_non_null(got);
        won += memcmp(got, "OK new held", 11) == 0;
    }
    drive_check(drive);
    assert_true(won >= 1);
    assert_true(won <= 3);
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "OK d open 22=%u+%u+0 A 12=%u+%u+0 p 10=0+10+0", 12 - 2 * won,
                   10 + 2 * won, 12 - 2 * won, 2 * won);
    expect(drive, wanted, "GET d");
}

/* ---- durability ---- */

/* R2 and R3: no answer leaves, and no unit is for sale again, before the record is on disk. */
static void
test_nothing_before_it_is_durable(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 vip*3 in=300000", "a = HOLD e u1 SEAT A/1/1 POOL vip 3");
    drive_disk(drive, false);
    uint32_t release = submit(drive, 0, "RELEASE a u1");
    uint32_t hold = submit(drive, 1, "HOLD e u2 SEAT A/2/1");
    drive_run(drive);
    assert_null(answer(drive, release));
    assert_null(answer(drive, hold));
    uint32_t seat = submit(drive, 0, "HOLD e u3 SEAT A/1/1");
    uint32_t pool = submit(drive, 1, "HOLD e u4 POOL vip 1");
    drive_run(drive);
    drive_disk(drive, true);
    drive_run(drive);
    assert_string_equal(answer(drive, release), "OK released A/1/1:1 vip*3 in=300000");
    assert_string_equal(answer(drive, hold), "OK new held A/2/1:1 in=300000");
    /* asked before the release was durable: refused, or made to wait, but never given from under it */
    const char *got = answer(drive, seat);
    assert_non_null(got);
    if (memcmp(got, "OK", 2) != 0)
        assert_memory_equal(got, "HELD unit=A/1/1", 15);
    got = answer(drive, pool);
    assert_non_null(got);
    if (memcmp(got, "OK", 2) != 0)
        assert_memory_equal(got, "HELDOUT unit=vip remaining=0", 28);
    drive_check(drive);
}

/* A replace that waits for its user's own seat, and whose old hold ends meanwhile, is refused with nothing
 * taken. */
static void
test_replace_that_waited_too_long(struct drive *drive)
{
    create_hall(drive);
    expect(drive, "OK new held A/1/1:1 in=300000", "a = HOLD e u1 SEAT A/1/1");
    expect(drive, "OK new held A/2/1:1 in=1000", "b = HOLD e u1 SEAT A/2/1 TTL 1");
    drive_disk(drive, false);
    uint32_t release = submit(drive, 0, "RELEASE a u1");
    uint32_t replace = submit(drive, 0, "HOLD e u1 SEAT A/1/1 REPLACE b");
    drive_run(drive);
    assert_null(answer(drive, replace));
    drive_pass(drive, 1500);
    drive_disk(drive, true);
    drive_run(drive);
    assert_non_null(answer(drive, release));
    assert_string_equal(answer(drive, replace), "EXPIRED");
    drive_sweep(drive);
    drive_check(drive);
    expect(drive, "OK new held A/1/1:3 in=300000", "HOLD e u2 SEAT A/1/1");
}

#define BOTH(test) DRIVE_PLAN(test, 1), DRIVE_PLAN(test, 3)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_create_again_is_the_same_or_exists),
        BOTH(test_create_again_after_a_change),
        BOTH(test_hold_confirm_cancel),
        BOTH(test_release_stays_released),
        BOTH(test_unknown_holds),
        BOTH(test_replace_across_events_is_nohold),
        BOTH(test_expiry_to_the_millisecond),
        BOTH(test_extend_to_the_cap),
        BOTH(test_nothing_moves_nothing_is_recorded),
        BOTH(test_late_confirm),
        BOTH(test_late_confirm_unswept_and_limits),
        BOTH(test_refusals_name_the_first_unit),
        BOTH(test_pools_heldout_and_soldout),
        BOTH(test_best_heldout_and_soldout),
        BOTH(test_best_beside_seats_and_pools),
        BOTH(test_limit_over_all_holds),
        BOTH(test_own_hold),
        BOTH(test_own_hold_with_pools_is_another),
        BOTH(test_replace),
        BOTH(test_replace_keeps_start_and_limit),
        BOTH(test_replace_with_best),
        BOTH(test_paused_closed_and_not_yet_open),
        BOTH(test_event_change),
        BOTH(test_pool_to_the_last_unit),
        BOTH(test_all_at_once),
        BOTH(test_nothing_before_it_is_durable),
        BOTH(test_replace_that_waited_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
