"""test_outcomes.py - every row of the outcome table that a core without a waiting room can give, with its figures, over
both protocols on 1, 2 and 3 shards. Each refusal is proved to change nothing (stage.py)."""
import time
import uuid

import pytest

from stage import about

UNKNOWN = "0198c0de-0000-7000-8000-000000000000"


def test_held_by_another(stage):
    s = stage(sections=[("A", 2, 10)])
    first = s.hold("u1", seats=["A/1/4", "A/1/5"], ttl=500)
    s.hold("u3", seats=["A/2/1"], ttl=100)
    s.hold_refused("held", "u2", {"seats": ["A/1/3", "A/1/4"]}, unit="A/1/4", remaining=17, next_deadline_in_ms=about(500_000))
    assert s.api.get(first["hold"])["state"] == "held"


def test_held_names_the_first_in_the_order_asked(stage):
    s = stage(sections=[("A", 3, 10)])
    s.hold("u1", seats=["A/1/1"])
    s.hold("u2", seats=["A/3/9"])
    s.hold_refused("held", "u3", {"seats": ["A/2/2", "A/3/9", "A/1/1"]}, unit="A/3/9", remaining=28, next_deadline_in_ms=about(600_000))
    s.hold_refused("held", "u3", {"seats": ["A/2/2", "A/1/1", "A/3/9"]}, unit="A/1/1", remaining=28, next_deadline_in_ms=about(600_000))


def test_held_by_oneself_in_another_hold(stage):
    s = stage(sections=[("A", 1, 10)])
    own = s.hold("u1", seats=["A/1/1", "A/1/2"])["hold"]
    figures = dict(unit="A/1/2", remaining=8, next_deadline_in_ms=about(600_000), own=own)
    s.hold_refused("held", "u1", {"seats": ["A/1/2", "A/1/3"]}, **figures)
    s.hold_refused("held", "u1", {"seats": ["A/1/2"]}, **figures)


def test_sold(stage):
    s = stage(sections=[("A", 1, 4)])
    hold = s.hold("u1", seats=["A/1/1"])["hold"]
    assert s.api.confirm(hold, "u1").ok
    s.hold_refused("sold", "u2", {"seats": ["A/1/2", "A/1/1"]}, unit="A/1/1", remaining=3)
    s.hold_refused("sold", "u1", {"seats": ["A/1/1"]}, unit="A/1/1", remaining=3)


def test_heldout_of_a_pool(stage):
    s = stage(pools=[("ga", 5), ("vip", 5)])
    s.hold("u1", pools=[("ga", 1)], ttl=500)
    s.hold("u2", pools=[("ga", 2)], ttl=200)
    s.hold("u3", pools=[("vip", 1)], ttl=100)
    s.hold_refused("heldout", "u4", {"pools": [("vip", 1), ("ga", 3)]}, unit="ga", remaining=2, next_deadline_in_ms=about(200_000))
    assert s.hold("u4", pools=[("ga", 2)]).ok
    s.hold_refused("heldout", "u5", {"pools": [("ga", 1)]}, unit="ga", remaining=0, next_deadline_in_ms=about(200_000))


def test_heldout_of_a_section(stage):
    s = stage(sections=[("A", 1, 4), ("B", 1, 4)])
    s.hold("u1", seats=["A/1/1", "A/1/2"], ttl=500)
    s.hold("u2", seats=["A/1/3"], ttl=200)
    s.hold_refused("heldout", "u3", {"best": ("A", 2)}, unit="A", remaining=1, next_deadline_in_ms=about(200_000))


def test_soldout_of_a_pool(stage):
    s = stage(pools=[("ga", 5)])
    s.hold_refused("soldout", "u1", {"pools": [("ga", 6)]}, unit="ga", remaining=5)
    assert s.api.confirm(s.hold("u1", pools=[("ga", 3)])["hold"], "u1").ok
    s.hold_refused("soldout", "u2", {"pools": [("ga", 3)]}, unit="ga", remaining=2)
    s.hold("u2", pools=[("ga", 1)])
    s.hold_refused("soldout", "u3", {"pools": [("ga", 3)]}, unit="ga", remaining=1)
    s.hold_refused("heldout", "u3", {"pools": [("ga", 2)]}, unit="ga", remaining=1, next_deadline_in_ms=about(600_000))


def test_soldout_of_a_section(stage):
    s = stage(sections=[("A", 2, 2)])
    s.hold_refused("soldout", "u1", {"best": ("A", 5)}, unit="A", remaining=4)
    assert s.api.confirm(s.hold("u1", seats=["A/1/1", "A/2/1"])["hold"], "u1").ok
    s.hold("u2", seats=["A/1/2"])
    s.hold_refused("soldout", "u3", {"best": ("A", 3)}, unit="A", remaining=1)
    s.hold_refused("heldout", "u3", {"best": ("A", 2)}, unit="A", remaining=1, next_deadline_in_ms=about(600_000))
    s.hold("u4", best=("A", 1))
    s.hold_refused("heldout", "u3", {"best": ("A", 1)}, unit="A", remaining=0, next_deadline_in_ms=about(600_000))


def test_noadjacent(stage):
    s = stage(sections=[("A", 2, 6)])
    s.hold("u1", seats=["A/1/3", "A/2/2", "A/2/5"])
    s.hold_refused("noadjacent", "u2", {"best": ("A", 4)}, unit="A", largest_run=3)
    s.hold_refused("noadjacent", "u2", {"best": ("A", 7)}, unit="A", largest_run=3)
    assert s.hold("u2", best=("A", 3)).ok
    s.hold_refused("noadjacent", "u3", {"best": ("A", 3)}, unit="A", largest_run=2)


def test_limit_is_of_the_user_across_holds(stage):
    s = stage(sections=[("A", 1, 10)], pools=[("ga", 10), ("vip", 10)], limit=4)
    s.hold_refused("limit", "u1", {"seats": [f"A/1/{n}" for n in range(1, 6)]}, limit=4, used=0)
    sold = s.hold("u1", seats=["A/1/1"])["hold"]
    s.hold("u1", pools=[("ga", 2)])
    s.hold_refused("limit", "u1", {"pools": [("ga", 1), ("vip", 1)]}, limit=4, used=3)
    assert s.api.confirm(sold, "u1").ok
    s.hold_refused("limit", "u1", {"best": ("A", 2)}, limit=4, used=3)
    s.hold_refused("limit", "u1", {"seats": ["A/1/5"], "pools": [("vip", 1)]}, limit=4, used=3)
    last = s.hold("u1", pools=[("vip", 1)])["hold"]
    s.hold_refused("limit", "u1", {"seats": ["A/1/5"]}, limit=4, used=4)
    assert s.hold("u2", seats=["A/1/5"]).ok
    assert s.api.release(last, "u1").ok
    assert s.hold("u1", seats=["A/1/6"]).ok
    assert s.api.cancel(sold).ok
    s.hold_refused("limit", "u1", {"pools": [("ga", 2)]}, limit=4, used=3)
    assert s.hold("u1", pools=[("ga", 1)]).ok


def test_one_request_over_several_pools_shares_the_limit(stage):
    s = stage(pools=[(name, 10) for name in "abcd"], limit=4)
    s.hold_refused("limit", "u1", {"pools": [("a", 2), ("b", 2), ("c", 1)]}, limit=4, used=0)
    assert s.hold("u1", pools=[("a", 1), ("b", 1), ("c", 1), ("d", 1)]).ok


def test_expired(stage):
    s = stage(sections=[("A", 1, 10)], pools=[("ga", 3)])
    a = s.hold("u1", seats=["A/1/1"], ttl=1)
    b = s.hold("u1", seats=["A/1/2"], pools=[("ga", 2)], ttl=1)
    s.wait_expired()
    assert s.letters("A") == "F" * 10 and s.counts() == (13, 0, 0)
    assert s.api.get(a["hold"])["state"] == "expired" and s.api.get(a["hold"])["deadline_in_ms"] == 0
    s.refused("expired", lambda: s.api.confirm(a["hold"], "u1"))
    s.refused("expired", lambda: s.api.release(a["hold"], "u1"))
    s.refused("expired", lambda: s.api.extend(a["hold"], "u1", 60))
    s.refused("expired", lambda: s.api.cancel(a["hold"]))
    s.hold_refused("expired", "u1", {"seats": ["A/1/1"], "replaces": a["hold"]})
    assert s.api.holds(s.id, "u1").data == []
    s.hold("u2", seats=["A/1/2"])
    s.refused("expired", lambda: s.api.confirm(b["hold"], "u1", late=True), unit="A/1/2")


def test_late_confirm(stage):
    s = stage(sections=[("A", 1, 4)], pools=[("ga", 3)], limit=3)
    back = s.hold("u1", seats=["A/1/1", "A/1/2"], pools=[("ga", 1)], ttl=1)
    over = s.hold("u2", seats=["A/1/3"], ttl=1)
    pool = s.hold("u3", pools=[("ga", 2)], ttl=1)
    live = s.hold("u4", seats=["A/1/4"])
    assert s.api.confirm(live["hold"], "u4", late=True).ok, "late on a live hold is a confirm"
    s.wait_expired()
    assert s.counts() == (6, 0, 1)
    assert s.api.change(s.id, status="paused").ok, "a late confirm is no new hold"
    answer = s.api.confirm(back["hold"], "u1", late=True, ref="pay-1")
    assert answer.ok and s.api.get(back["hold"])["state"] == "confirmed"
    assert s.counts("A") == (1, 0, 3) and s.counts("ga") == (2, 0, 1)
    assert s.api.confirm(back["hold"], "u1", late=True).ok, "repeated: the same answer"
    assert s.api.confirm(back["hold"], "u1").ok, "repeated without late: the same answer"
    assert s.counts() == (3, 0, 4)
    later = s.versions(s.api.get(back["hold"]))
    assert all(later[seat] > version for seat, version in s.versions(back).items())
    assert s.api.change(s.id, status="open").ok
    # a pool that others have taken meanwhile
    s.hold("u5", pools=[("ga", 1)])
    s.refused("expired", lambda: s.api.confirm(pool["hold"], "u3", late=True), unit="ga")
    # the limit: what the user has taken meanwhile counts
    s.hold("u2", seats=["A/1/3"])
    s.refused("expired", lambda: s.api.confirm(over["hold"], "u2", late=True), unit="A/1/3")


def test_late_confirm_within_the_limit(stage):
    s = stage(sections=[("A", 1, 9)], limit=3)
    old = s.hold("u1", seats=["A/1/1", "A/1/2"], ttl=1)
    s.wait_expired()
    s.hold("u1", seats=["A/1/3", "A/1/4"])
    s.refused("limit", lambda: s.api.confirm(old["hold"], "u1", late=True), limit=3, used=2)
    assert s.letters("A") == "FFHHFFFFF"


def test_nohold(stage):
    s = stage(sections=[("A", 1, 4)])
    mine = s.hold("u1", seats=["A/1/1"])["hold"]
    for hold in (UNKNOWN, mine):
        s.refused("nohold", lambda: s.api.confirm(hold, "u2"))
        s.refused("nohold", lambda: s.api.confirm(hold, "u2", late=True))
        s.refused("nohold", lambda: s.api.release(hold, "u2"))
        s.refused("nohold", lambda: s.api.extend(hold, "u2", 60))
        s.hold_refused("nohold", "u2", {"seats": ["A/1/2"], "replaces": hold})
    s.refused("nohold", lambda: s.api.cancel(UNKNOWN))
    s.refused("nohold", lambda: s.api.get(UNKNOWN))
    assert s.api.confirm(mine, "u1").ok
    s.refused("nohold", lambda: s.api.confirm(mine, "u2"))
    s.refused("nohold", lambda: s.api.release(mine, "u2"))


def test_ended_and_confirmed_holds(stage):
    """Every command on a hold in every state that it can be in."""
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 9)])
    released = s.hold("u1", seats=["A/1/1"])["hold"]
    confirmed = s.hold("u1", seats=["A/1/2"], pools=[("ga", 2)])["hold"]
    cancelled = s.hold("u1", seats=["A/1/3"])["hold"]
    live = s.hold("u1", seats=["A/1/4"])["hold"]
    s.refused("notconfirmed", lambda: s.api.cancel(live))
    assert s.api.release(released, "u1").ok
    assert s.api.confirm(confirmed, "u1", ref="r").ok
    assert s.api.confirm(cancelled, "u1").ok
    assert s.api.cancel(cancelled).ok
    assert [s.api.get(h)["state"] for h in (released, confirmed, cancelled, live)] == ["released", "confirmed", "cancelled", "held"]
    assert s.letters("A") == "FSFHFFFFF" and s.counts("ga") == (7, 0, 2)

    before = s.picture()
    assert s.api.release(released, "u1").ok
    assert s.api.confirm(confirmed, "u1").ok
    assert s.api.confirm(confirmed, "u1", ref="another").ok
    assert s.api.cancel(cancelled).ok
    assert s.picture() == before, "a repetition changes nothing"

    for hold, code in ((released, "released"), (cancelled, "cancelled")):
        s.refused(code, lambda: s.api.confirm(hold, "u1"))
        s.refused(code, lambda: s.api.confirm(hold, "u1", late=True))
        s.refused(code, lambda: s.api.extend(hold, "u1", 60))
        s.hold_refused(code, "u1", {"seats": ["A/1/9"], "replaces": hold})
    s.refused("released", lambda: s.api.cancel(released))
    s.refused("cancelled", lambda: s.api.release(cancelled, "u1"))
    s.refused("confirmed", lambda: s.api.release(confirmed, "u1"))
    s.refused("confirmed", lambda: s.api.extend(confirmed, "u1", 60))
    s.hold_refused("confirmed", "u1", {"seats": ["A/1/9"], "replaces": confirmed})


def test_release_repeated_after_someone_else_got_the_seat(stage):
    s = stage(sections=[("A", 1, 2)])
    mine = s.hold("u1", seats=["A/1/1"])["hold"]
    assert s.api.release(mine, "u1").ok
    theirs = s.hold("u2", seats=["A/1/1"])["hold"]
    before = s.picture()
    assert s.api.release(mine, "u1").ok
    assert s.picture() == before
    assert s.api.confirm(theirs, "u2").ok
    assert s.api.release(mine, "u1").ok
    assert s.letters("A") == "SF"


def test_noextend(stage):
    s = stage(sections=[("A", 1, 3)], hold_seconds=10, hold_seconds_max=20)
    hold = s.hold("u1", seats=["A/1/1"], ttl=20)
    s.refused("noextend", lambda: s.api.extend(hold["hold"], "u1", 20), deadline_max_in_ms=about(20_000))
    s.refused("noextend", lambda: s.api.extend(hold["hold"], "u1", 1), deadline_max_in_ms=about(20_000))
    assert s.api.get(hold["hold"])["deadline_ms"] == hold["deadline_ms"]


def test_closed(stage):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 5)])
    live = s.hold("u1", seats=["A/1/1"])["hold"]
    other = s.hold("u1", seats=["A/1/2"])["hold"]
    for status in ("paused", "closed"):
        assert s.api.change(s.id, status=status).ok
        assert s.api.event(s.id)["status"] == status
        s.hold_refused("closed", "u2", {"seats": ["A/1/3"]})
        s.hold_refused("closed", "u2", {"pools": [("ga", 1)]})
        s.hold_refused("closed", "u2", {"best": ("A", 1)})
        s.hold_refused("closed", "u1", {"seats": ["A/1/4"], "replaces": live})
        assert s.hold("u1", seats=["A/1/1"])["hold"] == live, "one's own same hold, also when paused"
        if status == "paused":
            assert s.api.change(s.id, status="open").ok
            assert s.hold("u2", seats=["A/1/9"]).ok
    for status in ("open", "paused"):
        s.refused("closed", lambda: s.api.change(s.id, status=status))
    assert s.api.extend(live, "u1", 700).ok
    assert s.api.confirm(live, "u1").ok
    assert s.api.release(other, "u1").ok
    assert s.api.cancel(live).ok


def test_not_yet_open(stage):
    opens = int(time.time() * 1000) + 1500
    s = stage(sections=[("A", 1, 4)], opens_at_ms=opens)
    left = opens - time.time() * 1000
    # the server's time is that of its turn, which may have begun before it was asked
    s.hold_refused("closed", "u1", {"seats": ["A/1/1"]}, opens_in_ms=lambda ms: 0 < ms <= left + 100)
    assert s.api.event(s.id)["status"] == "open"
    opening = s.api.event(s.id).data
    assert opening.get("opens_at_ms", opens) == opens and 0 < opening["opens_in_ms"] <= 1500
    while time.time() * 1000 < opens + 5:
        time.sleep(0.01)
    assert s.hold("u1", seats=["A/1/1"]).ok


def test_unknown_event(stage, new_id):
    s = stage(sections=[("A", 1, 4)])
    gone = new_id("gone")
    for call in (
        lambda: s.api.event(gone), lambda: s.api.seats(gone, "A"), lambda: s.api.holds(gone, "u1"),
        lambda: s.api.hold(gone, "u1", seats=["A/1/1"]), lambda: s.api.change(gone, status="paused"),
    ):
        s.refused("noevent", call, unit=gone)


def test_unknown_seat_and_pool(stage):
    s = stage(sections=[("A", 2, 4), ("B", ["x", "y"], [3, 5])], pools=[("ga", 5)])
    for seat in ("Z/1/1", "A/3/1", "A/0/1", "A/1/5", "A/1/999999999", "B/1/1", "B/x/4", "B/z/1", "a/1/1"):
        s.hold_refused("noseat", "u1", {"seats": ["A/1/1", seat]}, unit=seat)
    s.hold_refused("noseat", "u1", {"best": ("Z", 1)}, unit="Z")
    s.hold_refused("nopool", "u1", {"seats": ["A/1/1"], "pools": [("ga", 1), ("gb", 1)]}, unit="gb")
    s.refused("noseat", lambda: s.api.seats(s.id, "Z"), unit="Z")
    s.refused("nopool", lambda: s.api.change(s.id, pools=[("gb", 5)]), unit="gb")
    assert s.hold("u1", seats=["B/x/3", "B/y/5"]).ok


def test_exists(stage):
    settings = dict(sections=[("A", 2, 4), ("B", ["x", "y"], [3, 5])], pools=[("ga", 5)], hold_seconds=100, hold_seconds_max=200, limit=3)
    s = stage(**settings)
    s.hold("u1", seats=["A/1/1"])
    before = s.picture()
    again = s.api.create(s.id, **settings)
    assert again.ok and again.status in (None, 200)
    assert s.picture() == before
    for name, value in (
        ("sections", [("A", 2, 4)]), ("sections", [("A", 2, 5), ("B", ["x", "y"], [3, 5])]), ("pools", [("ga", 6)]),
        ("pools", []), ("hold_seconds", 101), ("hold_seconds_max", 201), ("limit", 4),
    ):
        s.refused("exists", lambda: s.api.create(s.id, **{**settings, name: value}))


def test_exists_with_a_queue(stage):
    """Its opening and each setting of its waiting room are settings, too."""
    opens = int(time.time() * 1000) + 3_600_000
    settings = dict(pools=[("ga", 5)], hold_seconds=600, opens_at_ms=opens, queue=(5, 60, 30, True))
    s = stage(**settings)
    before = s.picture()
    assert s.api.create(s.id, **settings).ok and s.picture() == before
    for name, value in (("opens_at_ms", opens + 1), ("opens_at_ms", None), ("queue", None), ("queue", (6, 60, 30, True)), ("queue", (5, 61, 30, True)),
                        ("queue", (5, 60, 31, True)), ("queue", (5, 60, 30, False))):
        s.refused("exists", lambda: s.api.create(s.id, **{**settings, name: value}))


BAD_HOLDS = [
    ("nothing", {}),
    ("same seat twice", {"seats": ["A/1/1", "A/1/1"]}),
    ("same pool twice", {"pools": [("ga", 1), ("ga", 2)]}),
    ("17 seats", {"seats": [f"A/1/{n}" for n in range(1, 18)]}),
    ("16 seats and best of 1", {"seats": [f"A/1/{n}" for n in range(1, 17)], "best": ("A", 1)}),
    ("best of 17", {"best": ("A", 17)}),
    ("best of 0", {"best": ("A", 0)}),
    ("5 pools", {"pools": [(name, 1) for name in ("ga", "b", "c", "d", "e")]}),
    ("quantity 0", {"pools": [("ga", 0)]}),
    ("quantity -1", {"pools": [("ga", -1)]}),
    ("quantity beyond a pool", {"pools": [("ga", 1_000_000_001)]}),
    ("ttl 0", {"seats": ["A/1/1"], "ttl": 0}),
    ("ttl beyond all", {"seats": ["A/1/1"], "ttl": 2_592_001}),
    ("ttl above hold_seconds_max", {"seats": ["A/1/1"], "ttl": 1801}),
    ("leading zero", {"seats": ["A/1/01"]}),
    ("seat 0", {"seats": ["A/1/0"]}),
    ("no number", {"seats": ["A/1"]}),
    ("four parts", {"seats": ["A/1/1/1"]}),
    ("empty row", {"seats": ["A//1"]}),
    ("colon in a row", {"seats": ["A/1:2/1"]}),
    ("section of 17 bytes", {"best": ("A" * 17, 1)}),
    ("replaces no id", {"seats": ["A/1/1"], "replaces": "0198"}),
    ("key of 256 bytes", {"seats": ["A/1/1"], "key": "k" * 256}),
]


@pytest.mark.parametrize("what", [what for _, what in BAD_HOLDS], ids=[name for name, _ in BAD_HOLDS])
def test_badrequest_of_a_hold(stage, what):
    s = stage(sections=[("A", 1, 20)], pools=[("ga", 5)])
    answer = s.refused("badrequest", lambda: s.api.hold(s.id, "u1", **what), field=lambda field: len(field) > 0)
    assert answer.text


@pytest.mark.parametrize("user", ["", "u" * 65, "u 1", "ü", "u/1"])
def test_badrequest_of_a_user(stage, user):
    s = stage(sections=[("A", 1, 20)])
    s.refused("badrequest", lambda: s.api.hold(s.id, user, seats=["A/1/1"]), field=lambda field: "user" in field)


def test_names_at_their_bounds(stage):
    name = "N" * 16
    s = stage(sections=[(name, [name], [1024])], pools=[(name, 1_000_000_000)], limit=1_000_000_000)
    user = "u:@_-." + "x" * 58
    s.hold(user, seats=[f"{name}/{name}/1024"])
    s.hold(user, pools=[(name, 999_999_999)])
    assert s.counts(name) == (1023, 1, 0)
    s.hold_refused("limit", user, {"seats": [f"{name}/{name}/1"]}, limit=1_000_000_000, used=1_000_000_000)


BAD_EVENTS = [
    ("nothing on sale", {}),
    ("same section twice", {"sections": [("A", 1, 1), ("A", 1, 1)]}),
    ("same pool twice", {"pools": [("p", 1), ("p", 1)]}),
    ("same row twice", {"sections": [("A", ["x", "x"], [1, 1])]}),
    ("row of 1025", {"sections": [("A", 1, 1025)]}),
    ("1025 rows", {"sections": [("A", 1025, 1)]}),
    ("no rows", {"sections": [("A", 0, 5)]}),
    ("no seats", {"sections": [("A", 5, 0)]}),
    ("65 sections", {"sections": [(f"s{n}", 1, 1) for n in range(65)]}),
    ("65 pools", {"pools": [(f"p{n}", 1) for n in range(65)]}),
    ("pool beyond", {"pools": [("p", 1_000_000_001)]}),
    ("pool negative", {"pools": [("p", -1)]}),
    ("name of 17 bytes", {"pools": [("p" * 17, 1)]}),
    ("name with a colon", {"pools": [("p:q", 1)]}),
    ("hold_seconds 0", {"pools": [("p", 1)], "hold_seconds": 0}),
    ("hold_seconds beyond", {"pools": [("p", 1)], "hold_seconds": 2_592_001}),
    ("hold_seconds_max beyond", {"pools": [("p", 1)], "hold_seconds_max": 2_592_001}),
    ("hold_seconds above its maximum", {"pools": [("p", 1)], "hold_seconds": 20, "hold_seconds_max": 10}),
    ("limit negative", {"pools": [("p", 1)], "limit": -1}),
]


@pytest.mark.parametrize("what", [what for _, what in BAD_EVENTS], ids=[name for name, _ in BAD_EVENTS])
def test_badrequest_of_an_event(api, new_id, what):
    event = new_id()
    answer = api.create(event, **what)
    assert answer.code == "badrequest" and answer.figures["field"], answer
    assert api.event(event).code == "noevent"


@pytest.mark.parametrize("event", ["e" * 65, "a b", "a/b", "ä"])
def test_badrequest_of_an_event_id(api, event):
    assert api.create(event, pools=[("p", 1)]).code == "badrequest"


def test_an_event_of_all_bounds(stage):
    sections = [(f"s{n}", 1, 1) for n in range(62)] + [("rows", 1024, 1), ("seats", 1, 1024)]
    pools = [(f"p{n}", 1_000_000_000) for n in range(64)]
    s = stage(sections=sections, pools=pools, hold_seconds=2_592_000, hold_seconds_max=2_592_000)
    assert s.counts() == (62 + 2048 + 64_000_000_000, 0, 0)
    s.hold("u1", seats=["rows/1024/1", "seats/1/1024", "s61/1/1"], pools=[("p63", 1_000_000_000)])
    assert s.counts() == (62 + 2045 + 63_000_000_000, 3 + 1_000_000_000, 0)


def test_capacity_of_a_pool(stage):
    s = stage(pools=[("ga", 10), ("vip", 4)])
    sold = s.hold("u1", pools=[("ga", 3)])["hold"]
    assert s.api.confirm(sold, "u1").ok
    s.hold("u2", pools=[("ga", 4)])
    s.refused("badrequest", lambda: s.api.change(s.id, pools=[("ga", 6)]), field=lambda field: len(field) > 0)
    s.refused("badrequest", lambda: s.api.change(s.id, status="paused", pools=[("ga", 6)]), field=lambda field: len(field) > 0)
    assert s.api.change(s.id, pools=[("ga", 7)]).ok
    assert s.counts("ga") == (0, 4, 3)
    s.hold_refused("heldout", "u3", {"pools": [("ga", 1)]}, unit="ga", remaining=0, next_deadline_in_ms=about(600_000))
    assert s.api.change(s.id, pools=[("ga", 1_000_000_000), ("vip", 5)]).ok
    assert s.counts("ga") == (999_999_993, 4, 3) and s.counts("vip") == (5, 0, 0)
    assert s.hold("u3", pools=[("ga", 999_999_993)]).ok


def test_change_of_settings(stage):
    s = stage(sections=[("A", 1, 10)], hold_seconds=600, hold_seconds_max=900)
    s.refused("badrequest", lambda: s.api.change(s.id, status="shut"), field=lambda field: "status" in field)
    s.refused("badrequest", lambda: s.api.change(s.id, hold_seconds=901), field=lambda field: "hold_seconds" in field)
    old = s.hold("u1", seats=["A/1/1"])
    assert s.api.change(s.id, hold_seconds=30, limit=2).ok
    event = s.api.event(s.id)
    assert (event["hold_seconds"], event["hold_seconds_max"], event["units_per_user_max"]) == (30, 900, 2)
    assert s.api.get(old["hold"])["deadline_ms"] == old["deadline_ms"]
    new = s.hold("u1", seats=["A/1/2"])
    assert new["deadline_ms"] < old["deadline_ms"] - 500_000
    s.hold_refused("limit", "u1", {"seats": ["A/1/3"]}, limit=2, used=2)
    assert s.api.change(s.id, limit=1).ok
    s.hold_refused("limit", "u1", {"seats": ["A/1/3"]}, limit=1, used=2)
    assert s.api.change(s.id, limit=0).ok
    assert s.hold("u1", seats=["A/1/3"]).ok


def test_order_of_checks(stage, new_id):
    """Each request has two faults or more; the one that comes first in the order is named."""
    s = stage(sections=[("A", 1, 6), ("B", 1, 2)], pools=[("ga", 3), ("vip", 3)], limit=8)
    gone = new_id("gone")
    key = new_id("key")
    mine = s.hold("u1", seats=["A/1/1"], key=key)
    s.hold("u2", seats=["A/1/2", "A/1/3"])
    assert s.api.confirm(s.hold("u3", seats=["A/1/4"])["hold"], "u3").ok

    def first(code, user="u1", event=None, **what):
        s.users.add(user)
        answer = s.api.hold(event or s.id, user, **what)
        assert answer.code == code, answer
        return answer

    first("badrequest", event=gone, seats=["A/1/1", "A/1/1"], key=key)
    first("keyreused", event=gone, seats=["A/1/1"], key=key)
    first("noevent", event=gone, seats=["Z/1/1"], replaces=UNKNOWN)
    # a hold to be replaced comes before unknown units, unknown units before the limit
    first("nohold", seats=["Z/1/1"], replaces=UNKNOWN)
    first("noseat", seats=["A/1/5", "Z/1/1"], pools=[("zz", 1), ("ga", 3)])
    first("nopool", seats=["A/1/2"], pools=[("zz", 1)])
    first("noseat", pools=[("ga", 3), ("vip", 3)], best=("Z", 1))
    # the limit before availability
    assert first("limit", seats=["A/1/2", "A/1/4"], pools=[("ga", 3), ("vip", 3)]).figures["used"] == 1
    # seats, then pools, then best, each in the order asked
    s.hold("u4", pools=[("ga", 3)])
    s.hold("u4", pools=[("vip", 2)])
    s.hold("u5", seats=["B/1/1"])
    assert first("sold", seats=["A/1/4", "A/1/2"], pools=[("ga", 1)], best=("B", 2)).figures["unit"] == "A/1/4"
    assert first("held", seats=["A/1/2", "A/1/4"], pools=[("ga", 1)], best=("B", 2)).figures["unit"] == "A/1/2"
    assert first("heldout", seats=["A/1/5"], pools=[("vip", 1), ("ga", 1)], best=("B", 2)).figures["unit"] == "ga"
    assert first("heldout", seats=["A/1/5"], pools=[("ga", 1), ("vip", 2)], best=("B", 2)).figures["unit"] == "ga"
    assert first("heldout", seats=["A/1/5"], pools=[("vip", 1)], best=("B", 2)).figures["unit"] == "B"
    # one's own same hold before closed, closed before the hold to be replaced
    assert s.api.change(s.id, status="paused").ok
    assert s.hold("u1", seats=["A/1/1"])["hold"] == mine["hold"]
    assert s.hold("u1", seats=["A/1/1"], replaces=UNKNOWN)["hold"] == mine["hold"], "also where replaces is given"
    first("closed", seats=["A/1/5"], replaces=UNKNOWN)
    first("closed", seats=["Z/1/1"])
    first("noevent", event=gone, seats=["A/1/1"])
    assert s.letters("A") == "HHHSFF" and s.counts("vip") == (1, 2, 0)


def test_ids_of_holds_are_of_time(stage):
    s = stage(sections=[("A", 1, 9)])
    before = int(time.time() * 1000)
    holds = [s.hold(f"u{n}", seats=[f"A/1/{n}"])["hold"] for n in range(1, 9)]
    after = int(time.time() * 1000)
    for hold in holds:
        made = uuid.UUID(hold).int >> 80
        assert before - 5 <= made <= after + 5, "a UUIDv7 begins with its time"
    assert len(set(holds)) == 8
    upper = holds[0].upper()
    assert s.api.get(upper)["hold"] == holds[0]
