"""test_holds.py - what a hold does when it works: own holds, replace, extend with its cap, idempotency keys, best available,
versions, reads; over both protocols on 1, 2 and 3 shards."""
import random
import re
import time

import pytest

from api import Http, Resp
from stage import about, seat_names


# Own hold


def test_own_hold_again(stage):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 5)], limit=3)
    first = s.hold("u1", seats=["A/1/1", "A/1/2", "A/1/3"])
    assert first.status in (None, 201)
    before = s.picture()
    again = s.hold("u1", seats=["A/1/3", "A/1/1", "A/1/2"])
    assert again["hold"] == first["hold"] and again["deadline_ms"] == first["deadline_ms"]
    assert s.versions(again) == s.versions(first)
    assert again.status in (None, 200), "at the limit, unchanged"
    assert s.hold("u1", seats=["A/1/1", "A/1/2", "A/1/3"], ttl=30)["deadline_ms"] == first["deadline_ms"]
    assert s.picture() == before
    # with pools, or only some of the seats, it is another hold
    s.hold_refused("limit", "u1", {"seats": ["A/1/1", "A/1/2", "A/1/3"], "pools": [("ga", 1)]}, limit=3, used=3)
    assert s.api.change(s.id, limit=0).ok
    own = dict(unit="A/1/1", remaining=6, next_deadline_in_ms=about(600_000), own=first["hold"])
    s.hold_refused("held", "u1", {"seats": ["A/1/1", "A/1/2", "A/1/3"], "pools": [("ga", 1)]}, **own)
    s.hold_refused("held", "u1", {"seats": ["A/1/1", "A/1/2"]}, **own)


def test_own_hold_with_pools_is_not_given_back(stage):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 5)])
    first = s.hold("u1", seats=["A/1/1"], pools=[("ga", 1)])
    s.hold_refused("held", "u1", {"seats": ["A/1/1"]}, unit="A/1/1", remaining=8, next_deadline_in_ms=about(600_000), own=first["hold"])
    a = s.hold("u1", pools=[("ga", 1)])["hold"]
    assert s.hold("u1", pools=[("ga", 1)])["hold"] != a, "the same pool again is one more hold"


def test_own_hold_once_ended_is_a_new_one(stage):
    s = stage(sections=[("A", 1, 9)])
    first = s.hold("u1", seats=["A/1/1"])
    assert s.api.release(first["hold"], "u1").ok
    assert s.hold("u1", seats=["A/1/1"])["hold"] != first["hold"]


# Replace


def test_replace_moves_in_one_step(stage):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 9)], limit=4)
    old = s.hold("u1", seats=["A/1/1", "A/1/2"], pools=[("ga", 2)])
    new = s.hold("u1", seats=["A/1/2", "A/1/3"], pools=[("ga", 1)], replaces=old["hold"])
    assert new["hold"] != old["hold"] and s.letters("A") == "FHHFFFFFF" and s.counts("ga") == (8, 1, 0)
    assert s.versions(new)["A/1/2"] > s.versions(old)["A/1/2"]
    gone = s.api.get(old["hold"])
    assert gone["state"] == "released" and s.versions(gone) == s.versions(old)
    assert [h["hold"] for h in s.api.holds(s.id, "u1").data] == [new["hold"]]
    # at the limit, from and to any mix of units
    full = s.hold("u1", seats=["A/1/8"], pools=[("ga", 3)], replaces=new["hold"])
    best = s.hold("u1", best=("A", 4), replaces=full["hold"])
    assert len(best["seats"]) == 4 and s.counts() == (14, 4, 0)
    s.refused("released", lambda: s.api.confirm(full["hold"], "u1"))
    assert s.api.confirm(best["hold"], "u1").ok


def test_replace_that_is_refused_leaves_the_old_hold(stage):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 3)], limit=4)
    old = s.hold("u1", seats=["A/1/1", "A/1/2"], pools=[("ga", 1)])["hold"]
    s.hold("u2", seats=["A/1/5"], pools=[("ga", 2)])
    s.hold_refused("held", "u1", {"seats": ["A/1/1", "A/1/5"], "replaces": old}, unit="A/1/5", remaining=6, next_deadline_in_ms=about(600_000))
    s.hold_refused("noseat", "u1", {"seats": ["A/1/10"], "replaces": old}, unit="A/1/10")
    s.hold_refused("soldout", "u1", {"pools": [("ga", 4)], "replaces": old}, unit="ga", remaining=0)
    s.hold_refused("limit", "u1", {"best": ("A", 5), "replaces": old}, limit=4, used=3)
    second = s.hold("u1", seats=["A/1/7"])["hold"]
    s.hold_refused("limit", "u1", {"best": ("A", 4), "replaces": old}, limit=4, used=4)
    s.hold_refused("held", "u1", {"seats": ["A/1/1", "A/1/7"], "replaces": old}, unit="A/1/7", remaining=5, next_deadline_in_ms=about(600_000), own=second)
    assert s.api.get(old)["state"] == "held" and s.api.confirm(old, "u1").ok


def test_replace_by_its_own_seats_is_unchanged(stage):
    s = stage(sections=[("A", 1, 9)])
    old = s.hold("u1", seats=["A/1/1", "A/1/2"])
    before = s.picture()
    again = s.hold("u1", seats=["A/1/2", "A/1/1"], replaces=old["hold"], ttl=900)
    assert again["hold"] == old["hold"] and again["deadline_ms"] == old["deadline_ms"] and again.status in (None, 200)
    assert s.picture() == before


def test_replace_is_capped_as_an_extension(stage):
    s = stage(sections=[("A", 1, 9)], hold_seconds=5, hold_seconds_max=8)
    hold = s.hold("u1", seats=["A/1/1"])
    start = hold["deadline_ms"] - 5000
    time.sleep(0.3)
    for n in range(2, 5):
        hold = s.hold("u1", seats=[f"A/1/{n}"], replaces=hold["hold"], ttl=8)
        assert hold["deadline_ms"] == start + 8000, "the old hold's start counts for every later cap"
        time.sleep(0.05)
    s.refused("noextend", lambda: s.api.extend(hold["hold"], "u1", 8), deadline_max_in_ms=about(8000))


def test_replace_of_what_is_not_ones_own_live_hold(stage, new_id):
    s = stage(sections=[("A", 1, 9)])
    theirs = s.hold("u2", seats=["A/1/1"])["hold"]
    s.hold_refused("nohold", "u1", {"seats": ["A/1/2"], "replaces": theirs})
    other = new_id()
    assert s.api.create(other, pools=[("p", 5)]).ok
    elsewhere = s.api.hold(other, "u1", pools=[("p", 1)])["hold"]
    s.hold_refused("nohold", "u1", {"seats": ["A/1/2"], "replaces": elsewhere})
    assert s.api.get(elsewhere)["state"] == "held"


def test_replaced_seats_never_come_free_in_between(server, new_id):
    """One client moves a hold to and fro over a seat that stays; others snatch at that seat all the time."""
    event = new_id()
    mover, thieves = Resp(server), [Resp(server), Http(server)]
    mover.create(event, sections=[("A", 1, 3)])
    hold = mover.hold(event, "mover", seats=["A/1/1", "A/1/2"])["hold"]
    for n in range(300):
        seats = ["A/1/2", "A/1/3"] if n % 2 == 0 else ["A/1/1", "A/1/2"]
        mover.connection.send(mover.hold_request(event, "mover", seats=seats, replaces=hold))
        for thief in thieves:
            answer = thief.hold(event, "thief", seats=["A/1/2"])
            assert answer.code == "held" and "own" not in answer.figures, answer
        hold = mover.read(mover.connection.receive(), mover.hold_form)["hold"]
    for client in (mover, *thieves):
        client.close()


# Extend


def test_extend(stage):
    s = stage(sections=[("A", 1, 9)], hold_seconds=10, hold_seconds_max=20)
    hold = s.hold("u1", seats=["A/1/1"])
    start = hold["deadline_ms"] - 10_000
    time.sleep(0.02)
    before = s.picture()
    answer = s.api.extend(hold["hold"], "u1", 5)
    assert answer["deadline_ms"] == hold["deadline_ms"], "never earlier than it was"
    assert s.picture() == before
    now = int(time.time() * 1000)
    moved = s.api.extend(hold["hold"], "u1", 15)["deadline_ms"]
    assert now + 15_000 - 5 <= moved <= int(time.time() * 1000) + 15_005
    assert s.api.get(hold["hold"])["deadline_ms"] == moved
    assert s.versions(s.api.get(hold["hold"])) == s.versions(hold), "no change of the seat's state"
    capped = s.api.extend(hold["hold"], "u1", 2_592_000)["deadline_ms"]
    assert capped == start + 20_000, "never later than the hold's start + hold_seconds_max"
    s.refused("noextend", lambda: s.api.extend(hold["hold"], "u1", 1), deadline_max_in_ms=about(20_000))
    for seconds in (0, -1, 2_592_001):
        s.refused("badrequest", lambda: s.api.extend(hold["hold"], "u1", seconds), field="seconds")


def test_extend_is_no_way_to_hold_forever(stage):
    s = stage(sections=[("A", 1, 2)], hold_seconds=1, hold_seconds_max=2)
    hold = s.hold("u1", seats=["A/1/1"])
    start = hold["deadline_ms"] - 1000
    last, codes = hold["deadline_ms"], set()
    while time.time() * 1000 < start + 2400:
        answer = s.api.extend(hold["hold"], "u1", 1)
        codes.add(answer.code)
        if answer.ok:
            assert last <= answer["deadline_ms"] <= start + 2000
            last = answer["deadline_ms"]
        time.sleep(0.05)
    assert last == start + 2000 and codes == {"ok", "noextend", "expired"}
    assert s.letters("A") == "FF"


# Idempotency keys


def still(answer):
    """An answer without what is counted anew."""
    return {name: value for name, value in answer.data.items() if name != "deadline_in_ms"}


def test_a_replay_repeats_the_answer(stage, new_id):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 9)], hold_seconds_max=900)
    keys = {name: new_id("key") for name in ("hold", "extend", "confirm", "release")}
    what = dict(seats=["A/1/2", "A/1/1"], pools=[("ga", 2)], key=keys["hold"])
    hold = s.hold("u1", **what)
    other = s.hold("u1", seats=["A/1/5"])["hold"]
    assert s.api.protocol == "resp" or hold.replayed is False
    calls = {
        "hold": lambda: s.api.hold(s.id, "u1", **what),
        "extend": lambda: s.api.extend(hold["hold"], "u1", 800, key=keys["extend"]),
        "confirm": lambda: s.api.confirm(hold["hold"], "u1", ref="pay", key=keys["confirm"]),
        "release": lambda: s.api.release(other, "u1", key=keys["release"]),
    }
    first = {"hold": hold}
    for name in ("extend", "confirm", "release"):
        first[name] = calls[name]()
        assert first[name].ok, first[name]
    before = s.picture()
    for name, call in calls.items():
        replay = call()
        assert replay.ok and still(replay) == still(first[name]), f"{name}: {replay}, first {first[name]}"
        assert replay.status == first[name].status
        assert s.api.protocol == "resp" or replay.replayed is True, name
    assert s.picture() == before


def test_a_key_with_another_request(stage, new_id):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 9)])
    key = new_id("key")
    hold = s.hold("u1", seats=["A/1/1", "A/1/2"], key=key)["hold"]
    for what in (
        {"seats": ["A/1/2", "A/1/1"]}, {"seats": ["A/1/1"]}, {"pools": [("ga", 1)]}, {"best": ("A", 2)},
        {"seats": ["A/1/1", "A/1/2"], "ttl": 60}, {"seats": ["A/1/1", "A/1/2"], "pools": [("ga", 1)]},
        {"seats": ["A/1/1", "A/1/2"], "replaces": hold},
    ):
        s.hold_refused("keyreused", "u1", {**what, "key": key})
    s.refused("keyreused", lambda: s.api.confirm(hold, "u1", key=key))
    s.refused("keyreused", lambda: s.api.extend(hold, "u1", 60, key=key))
    s.refused("keyreused", lambda: s.api.release(hold, "u1", key=key))
    ckey = new_id("key")
    assert s.api.confirm(hold, "u1", ref="a", key=ckey).ok
    s.refused("keyreused", lambda: s.api.confirm(hold, "u1", ref="b", key=ckey))
    s.refused("keyreused", lambda: s.api.confirm(hold, "u1", ref="a", late=True, key=ckey))


def test_a_key_is_over_all_events(stage, new_id):
    s = stage(pools=[("ga", 9)])
    key, other = new_id("key"), new_id()
    assert s.api.create(other, pools=[("ga", 9)]).ok
    s.hold("u1", pools=[("ga", 1)], key=key)
    assert s.api.hold(other, "u1", pools=[("ga", 1)], key=key).code == "keyreused"
    assert s.api.event(other)["counts"]["held"] == 0


def test_a_key_belongs_to_its_user(stage, new_id):
    s = stage(pools=[("ga", 9)])
    key = new_id("key")
    a = s.hold("u1", pools=[("ga", 1)], key=key)["hold"]
    b = s.hold("u2", pools=[("ga", 1)], key=key)["hold"]
    assert a != b and s.counts() == (7, 2, 0)
    assert s.hold("u1", pools=[("ga", 1)], key=key)["hold"] == a


def test_only_successes_are_remembered(stage, new_id):
    s = stage(sections=[("A", 1, 3)], pools=[("ga", 9)])
    key = new_id("key")
    theirs = s.hold("u2", seats=["A/1/1"])["hold"]
    s.hold_refused("held", "u1", {"seats": ["A/1/1"], "key": key}, unit="A/1/1", remaining=2, next_deadline_in_ms=about(600_000))
    assert s.api.release(theirs, "u2").ok
    hold = s.hold("u1", seats=["A/1/1"], key=key)
    again = s.api.hold(s.id, "u1", seats=["A/1/1"], key=key)
    assert again["hold"] == hold["hold"] and (s.api.protocol == "resp" or again.replayed is True)
    # also another request, after a refusal
    key = new_id("key")
    s.hold_refused("noseat", "u1", {"seats": ["A/1/9"], "key": key}, unit="A/1/9")
    assert s.hold("u1", pools=[("ga", 1)], key=key).ok


def test_a_replay_after_the_hold_has_ended(stage, new_id):
    """A retry after a lost reply gets that reply, whatever has happened since."""
    s = stage(sections=[("A", 1, 3)])
    key = new_id("key")
    first = s.hold("u1", seats=["A/1/1"], key=key, ttl=1)
    s.wait_expired()
    s.hold("u2", seats=["A/1/1"])
    before = s.picture()
    again = s.api.hold(s.id, "u1", seats=["A/1/1"], key=key, ttl=1)
    assert again["hold"] == first["hold"] and again["deadline_ms"] == first["deadline_ms"]
    assert s.versions(again) == s.versions(first)
    assert again.data.get("deadline_in_ms", 0) == 0, "never below 0"
    assert s.picture() == before


def test_a_retry_with_a_new_key_after_a_lost_reply(stage, new_id):
    s = stage(sections=[("A", 1, 3)], pools=[("ga", 5)], limit=3)
    first = s.hold("u1", seats=["A/1/1", "A/1/2"], key=new_id("key"))
    again = s.hold("u1", seats=["A/1/1", "A/1/2"], key=new_id("key"))
    assert again["hold"] == first["hold"] and s.counts("A") == (1, 2, 0)
    pool = s.hold("u1", pools=[("ga", 1)], key=new_id("key"))["hold"]
    # of a pool the retry is one more; HOLDS shows what one has, and the limit holds
    s.hold_refused("limit", "u1", {"pools": [("ga", 1)], "key": new_id("key")}, limit=3, used=3)
    assert pool in [hold["hold"] for hold in s.api.holds(s.id, "u1").data]


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_key_is_over_both_protocols(servers, new_id, shards):
    resp, http, event = Resp(servers(shards)), Http(servers(shards)), new_id()
    assert resp.create(event, sections=[("A", 1, 9)], pools=[("ga", 5)], hold_seconds_max=900).ok
    for first, second, seat in ((resp, http, "A/1/1"), (http, resp, "A/1/2")):
        key = new_id("key")
        what = dict(seats=[seat], pools=[("ga", 1)], ttl=60, key=key)
        hold = first.hold(event, "u1", **what)
        again = second.hold(event, "u1", **what)
        for name in ("hold", "deadline_ms", "seats"):
            assert again[name] == hold[name]
        assert second.hold(event, "u1", seats=[seat], key=key).code == "keyreused"
        key = new_id("key")
        a = first.extend(hold["hold"], "u1", 700, key=key)["deadline_ms"]
        time.sleep(0.01)
        assert second.extend(hold["hold"], "u1", 700, key=key)["deadline_ms"] == a
        assert second.extend(hold["hold"], "u1", 701, key=key).code == "keyreused"
        key = new_id("key")
        assert first.confirm(hold["hold"], "u1", ref="p", key=key).ok
        assert second.confirm(hold["hold"], "u1", ref="p", key=key).ok
        assert second.confirm(hold["hold"], "u1", ref="q", key=key).code == "keyreused"
        gone = first.hold(event, "u1", pools=[("ga", 1)])["hold"]
        key = new_id("key")
        assert first.release(gone, "u1", key=key).ok and second.release(gone, "u1", key=key).ok
        assert second.release(hold["hold"], "u1", key=key).code == "keyreused"
    resp.close()
    http.close()


# Best available


def runs(row):
    """Free runs of a row: (first index, size)."""
    found, start = [], None
    for i, letter in enumerate(row + "S"):
        if letter == "F" and start is None:
            start = i
        elif letter != "F" and start is not None:
            found.append((start, i - start))
            start = None
    return found


def best_choices(rows, quantity):
    """By brute force: the set of choices (row name, first number) that the contract calls best. rows: front to back."""
    ranked = []
    for depth, (name, row) in enumerate(rows):
        for start, size in runs(row):
            for first in range(start, start + size - quantity + 1):
                orphan = first - start == 1 or start + size - first - quantity == 1
                middle = abs(2 * first + quantity - len(row))
                ranked.append(((orphan, depth, middle), (name, first + 1)))
    best = min(rank for rank, _ in ranked)
    return {choice for rank, choice in ranked if rank == best}


def check_best(s, section, quantity, user):
    rows = list(s.api.seats(s.id, section).data.items())
    free = sum(row.count("F") for _, row in rows)
    held = sum(row.count("H") for _, row in rows)
    largest = max((size for _, row in rows for _, size in runs(row)), default=0)
    if largest >= quantity:
        names = seat_names(s.hold(user, best=(section, quantity)))
        chosen = sorted((name.split("/")[1], int(name.split("/")[2])) for name in names)
        assert [n for _, n in chosen] == list(range(chosen[0][1], chosen[0][1] + quantity)), f"not side by side: {names}"
        assert chosen[0] in best_choices(rows, quantity), f"{names} of {rows}; best: {best_choices(rows, quantity)}"
    elif free >= quantity:
        s.hold_refused("noadjacent", user, {"best": (section, quantity)}, unit=section, largest_run=largest)
    elif free + held >= quantity:
        s.hold_refused("heldout", user, {"best": (section, quantity)}, unit=section, remaining=free, next_deadline_in_ms=about(600_000))
    else:
        s.hold_refused("soldout", user, {"best": (section, quantity)}, unit=section, remaining=free)


def test_best_front_rows_first_then_the_middle(stage):
    s = stage(sections=[("A", 3, 10)])
    assert seat_names(s.hold("u1", best=("A", 2))) == ["A/1/5", "A/1/6"]
    assert sorted(seat_names(s.hold("u2", best=("A", 4)))) in ([f"A/1/{n}" for n in range(1, 5)], [f"A/1/{n}" for n in range(7, 11)])
    assert seat_names(s.hold("u3", best=("A", 10))) == [f"A/2/{n}" for n in range(1, 11)]
    assert seat_names(s.hold("u4", best=("A", 6))) == [f"A/3/{n}" for n in range(3, 9)]


def test_best_leaves_no_orphan_where_any_choice_of_the_section_does_not(stage):
    s = stage(sections=[("A", ["front", "back"], [3, 4])])
    assert {name.split("/")[1] for name in seat_names(s.hold("u1", best=("A", 2)))} == {"back"}
    assert {name.split("/")[1] for name in seat_names(s.hold("u2", best=("A", 2)))} == {"back"}
    assert {name.split("/")[1] for name in seat_names(s.hold("u3", best=("A", 2)))} == {"front"}, "no other choice is left"
    assert s.letters("A", "back") == "HHHH"


def test_best_beside_taken_seats(stage):
    s = stage(sections=[("A", 1, 8)])
    s.hold("u1", seats=["A/1/4"])
    # 1-3 and 5-8 are free: two of 1-3 leave one; 5-6 leaves two, 7-8 leaves two, 6-7 leaves two orphans
    assert seat_names(s.hold("u2", best=("A", 2))) == ["A/1/5", "A/1/6"]
    assert seat_names(s.hold("u3", best=("A", 1))) in (["A/1/3"], ["A/1/1"])


def test_best_with_seats_and_pools(stage):
    s = stage(sections=[("A", 1, 8)], pools=[("ga", 3)])
    hold = s.hold("u1", seats=["A/1/4", "A/1/5"], pools=[("ga", 1)], best=("A", 2))
    assert set(seat_names(hold)) > {"A/1/4", "A/1/5"} and len(hold["seats"]) == 4
    got = s.api.get(hold["hold"])
    assert got["pools"] == [{"name": "ga", "quantity": 1}] and seat_names(got) == seat_names(hold)
    assert s.counts("A") == (4, 4, 0)


def test_best_at_random_against_brute_force(stage):
    dice = random.Random(7)
    s = stage(sections=[("A", 4, 9), ("B", ["b1", "b2", "b3"], [5, 1, 12])])
    for step in range(60):
        section = dice.choice("AB")
        check_best(s, section, dice.choice([1, 1, 2, 2, 3, 4, 5]), f"u{step}")
        if dice.random() < 0.35 and s.known:
            hold = dice.choice(s.known)
            s.api.release(hold, s.api.get(hold)["user"])


def test_best_over_several_blocks(stage):
    """A section of more than one block, which may lie on several shards: front to back all the same."""
    s = stage(sections=[("A", 6, 600)])
    assert seat_names(s.hold("u", best=("A", 16))) == [f"A/1/{n}" for n in range(293, 309)]
    for row in range(1, 6):
        for first in range(1, 600, 60):
            s.api.hold(s.id, "filler", seats=[f"A/{row}/{n}" for n in range(first + 14, first + 16)])
    for step in range(12):
        check_best(s, "A", 16, f"u{step}")
        check_best(s, "A", 15, f"v{step}")


# Versions


def test_versions_grow_with_every_change(stage):
    s = stage(sections=[("A", 1, 3)])
    seen = []
    for cycle in range(3):
        hold = s.hold(f"u{cycle}", seats=["A/1/2"])
        seen.append(s.versions(hold)["A/1/2"])
        if cycle == 1:
            assert s.api.release(hold["hold"], f"u{cycle}").ok
            assert s.versions(s.api.get(hold["hold"]))["A/1/2"] == seen[-1], "its own last change, also when it has ended"
            continue
        assert s.api.confirm(hold["hold"], f"u{cycle}").ok
        sold = s.versions(s.api.get(hold["hold"]))["A/1/2"]
        assert sold > seen[-1]
        seen.append(sold)
        assert s.api.cancel(hold["hold"]).ok
        assert s.versions(s.api.get(hold["hold"]))["A/1/2"] == sold
    assert seen == sorted(set(seen)), seen
    # between a hold's last change and the next hold lies the change to free
    assert seen[2] > seen[1] + 1 and seen[3] > seen[2] + 1


def test_versions_grow_over_an_expiry(stage):
    s = stage(sections=[("A", 1, 3)])
    first = s.hold("u1", seats=["A/1/1"], ttl=1)
    s.wait_expired()
    second = s.hold("u1", seats=["A/1/1"])
    assert second["hold"] != first["hold"]
    assert s.versions(second)["A/1/1"] > s.versions(first)["A/1/1"] + 1
    assert s.versions(s.api.get(first["hold"])) == s.versions(first)


# Reads


def test_the_user_s_holds(stage):
    s = stage(sections=[("A", 1, 9)], pools=[("ga", 5)])
    live = s.hold("u1", seats=["A/1/1"], pools=[("ga", 2)])["hold"]
    sold = s.hold("u1", seats=["A/1/2"])["hold"]
    gone = s.hold("u1", seats=["A/1/3"])["hold"]
    undone = s.hold("u1", seats=["A/1/4"])["hold"]
    s.hold("u2", seats=["A/1/5"])
    assert s.api.confirm(sold, "u1").ok and s.api.release(gone, "u1").ok
    assert s.api.confirm(undone, "u1").ok and s.api.cancel(undone).ok
    holds = {hold["hold"]: hold for hold in s.api.holds(s.id, "u1").data}
    assert {hold: h["state"] for hold, h in holds.items()} == {live: "held", sold: "confirmed"}
    assert holds[live]["pools"] == [{"name": "ga", "quantity": 2}] and seat_names(holds[sold]) == ["A/1/2"]
    assert s.api.holds(s.id, "nobody").data == []


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_both_protocols_show_the_same(servers, new_id, shards):
    resp, resp2, http, event = Resp(servers(shards)), Resp(servers(shards), version=2), Http(servers(shards)), new_id()
    opens = 1_700_000_000_123
    settings = dict(
        sections=[("A", 2, 5), ("BOX", ["L1", "L2"], [6, 8])], pools=[("ga", 50)], hold_seconds=100, hold_seconds_max=900,
        limit=10, opens_at_ms=opens,
    )
    made = http.create(event, **settings)
    assert made["counts"] == {"capacity": 74, "free": 74, "held": 0, "sold": 0}
    assert made["sections"][0]["rows"] == 2 and made["sections"][0]["seats_per_row"] == 5
    assert made["sections"][1]["rows"] == [{"name": "L1", "seats": 6}, {"name": "L2", "seats": 8}]
    assert resp.create(event, **settings).ok, "the same settings over the other protocol: OK"
    hold = resp.hold(event, "u1", seats=["A/2/5", "BOX/L2/8"], pools=[("ga", 3)])
    a, b = resp.event(event).data, http.event(event).data
    assert (a.pop("opens_at_ms"), b.pop("opens_at")) == (opens, "2023-11-14T22:13:20.123Z") and a == b and a["opens_in_ms"] == 0
    a, b = resp.get(hold["hold"]).data, http.get(hold["hold"]).data
    a.pop("deadline_in_ms"), b.pop("deadline_in_ms")
    assert a == b and a["deadline_ms"] == hold["deadline_ms"]
    assert resp.seats(event, "BOX").data == http.seats(event, "BOX").data == {"L1": "FFFFFF", "L2": "FFFFFFFH"}
    assert event in [e["id"] for e in resp.events().data] and event in [e["id"] for e in http.events().data]
    flat = resp2.command("GETHOLD", hold["hold"])
    fields = dict(zip(flat[::2], flat[1::2]))
    assert fields["hold"] == hold["hold"] and fields["pools"] == [["name", "ga", "quantity", 3]]
    flat = resp2.command("EVENT", "GET", event)
    fields = dict(zip(flat[::2], flat[1::2]))
    assert fields["counts"] == ["capacity", 74, "free", 69, "held", 5, "sold", 0] and fields["id"] == event
    assert resp2.command("SEATS", event, "A") == ["1", "FFFFF", "2", "FFFFH"]
    for client in (resp, resp2, http):
        client.close()


def test_http_headers(server, new_id):
    http, event = Http(server), new_id()
    http.create(event, pools=[("ga", 9)])
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"user": "u1", "pools": [{"name": "ga", "quantity": 1}]}
    answer = http.request("POST", f"/v1/events/{event}/holds", body, [("traceparent", trace), ("X-Request-ID", "r-1")])
    assert answer.status == 201 and answer.headers["x-request-id"] == "r-1"
    assert answer.headers["traceparent"].split("-")[1] == trace.split("-")[1]
    fresh = [http.request("GET", f"/v1/events/{event}").headers["traceparent"] for _ in range(2)]
    assert fresh[0] != fresh[1] and all(len(value.split("-")[1]) == 32 for value in fresh)
    assert http.request("GET", "/healthz").status == 200 and http.request("GET", "/readyz").status == 200
    metrics = http.request("GET", "/metrics")
    assert metrics.status == 200 and b"holdfast_" in metrics.body
    openapi = http.request("GET", "/openapi.yaml")
    assert openapi.status == 200 and b"\nopenapi: 3.1" in openapi.body
    lost = http.request("GET", "/nowhere")
    assert (lost.status, lost.json()["code"]) == (404, "notfound")
    wrong = http.request("PUT", f"/v1/events/{event}")
    assert wrong.status == 405 and {"GET", "PATCH"} <= set(wrong.headers["allow"].replace(" ", "").split(","))
    plain = http.request("POST", "/v1/events", b"{}", [("Content-Type", "text/plain")])
    assert (plain.status, plain.json()["code"]) == (415, "mediatype")
    for parameters, status in (
        ("", 400), ("; charset=utf-8", 400), (' ; Charset="UTF-8" ; x=y', 400), ("; xcharset=latin1", 400),
        ("; Charset=latin1", 415), ("; charset=utf-80", 415), ('; charset="utf-8', 415), ("; charset=utf-8; charset=latin1", 415),
    ):
        asked = http.request("POST", "/v1/events", b"{}", [("Content-Type", "application/json" + parameters)])
        assert asked.status == status, parameters
    http.close()


@pytest.mark.parametrize(
    ("status", "rest"),
    [
        (413, "Content-Length: 99999999\r\n\r\n"),
        (431, "X-Long: " + "a" * 17000),
        (400, "Transfer-Encoding: chunked\r\n\r\n"),
        (400, "X-Request-ID : r-2\r\n\r\n"),
        (400, "Host: y\r\n\r\n"),
        (400, "no colon\r\n\r\n"),
    ],
    ids=["length", "head", "coding", "name", "host", "colon"],
)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_headers_of_what_could_not_be_framed(server, status, rest, method):
    """What was understood before the line that was wrong is returned, and HEAD is answered without content."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Http(server).connection as connection:
        connection.send(f"{method} /v1/events HTTP/1.1\r\nHost: x\r\ntraceparent: {trace}\r\nX-Request-ID: r-1\r\n{rest}".encode())
        head, content = connection.receive_all().split(b"\r\n\r\n", 1)
    line, *headers = head.decode().split("\r\n")
    assert line.split(" ")[1] == str(status)
    assert headers.count(f"traceparent: {trace}") == 1 and headers.count("X-Request-ID: r-1") == 1
    assert "Connection: close" in headers and (content == b"") == (method == "HEAD")


@pytest.mark.parametrize("line", ["GET", "GET /a b HTTP/1.1", "GET / HTTP/2.0", "GET /" + "a" * 17000], ids=["words", "space", "version", "long"])
def test_headers_without_a_request_line(server, line):
    with Http(server).connection as connection:
        connection.send(f"{line}\r\nX-Request-ID: r-1\r\n\r\n".encode())
        head = connection.receive_all().split(b"\r\n\r\n")[0].decode()
    assert len(re.findall(r"^traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r$", head + "\r", re.M)) == 1 and "X-Request-ID" not in head


RESP_BAD = [
    (["HOLD", "e", "u", "SEAT"], "BADREQUEST"), (["HOLD", "e", "u", "SEAT", "A/1/1", "FOO", "1"], "BADREQUEST"),
    (["HOLD", "e", "u", "SEAT", "A/1/1", "TTL", "5", "TTL", "6"], "BADREQUEST"), (["HOLD", "e", "u", "TTL", "x", "SEAT", "A/1/1"], "BADREQUEST"),
    (["HOLD", "e"], "ERR"), (["NOSUCH", "a", "b"], "ERR"), (["EVENT", "NOSUCH"], "ERR"), (["CONFIRM", "x", "u"], "BADREQUEST"),
    (["EXTEND", "0198c0de-0000-7000-8000-000000000000", "u", "1.5"], "BADREQUEST"), (["GETHOLD", "x"], "BADREQUEST"),
]


@pytest.mark.parametrize("words,code", RESP_BAD, ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else x)
def test_resp_keywords(server, words, code):
    resp = Resp(server)
    assert resp.command(*words).word == code
    assert resp.command("PING") == "PONG", "the connection goes on"
    resp.close()


def test_resp_keywords_in_any_order_and_case(server, new_id):
    resp, event = Resp(server), new_id()
    assert resp.command("event", "create", event, "limit", "9", "pool", "ga", "5", "hold", "50", "section", "A", "2", "3", "HoldMax", "60") == "OK"
    hold = resp.command("hold", event, "u1", "ttl", "55", "pool", "ga", "1", "seat", "A/1/1", "Key", "k", "seat", "A/1/2")
    assert hold[2::2] == ["A/1/1", "A/1/2"]
    assert resp.command("confirm", hold[0], "u1", "late", "ref", "pay-1") == "OK"
    resp.close()


JSON_BAD = [
    ('{"user":"u1","seats":["A/1/1"],"x":1}', "x"), ('{"user":"u1","user":"u2","seats":["A/1/1"]}', "user"),
    ('{"user":"u1","seats":["A/1/1"],"hold_seconds":1.0}', "hold_seconds"), ('{"user":"u1","seats":["A/1/1"],"hold_seconds":1e2}', "hold_seconds"),
    ('{"user":"u1","seats":["A/1/1"],"hold_seconds":"1"}', "hold_seconds"), ('{"user":1,"seats":["A/1/1"]}', "user"),
    ('{"seats":["A/1/1"]}', "user"), ('{"user":"u1","seats":"A/1/1"}', "seats"), ('{"user":"u1","seats":["A/1/1"]}x', None),
    ('[]', None), ('', None), ('{"user":"u1"', None), ('{"user":"u1","best":{"section":"A"}}', "best"),
    ('{"user":"u1","seats":["A/1/1"],"hold_seconds":99999999999999999999}', "hold_seconds"), ('{"user":null,"seats":["A/1/1"]}', "user"),
]


@pytest.mark.parametrize("body,field", JSON_BAD, ids=lambda x: str(x)[:50])
def test_json_of_a_hold(server, new_id, body, field):
    http, event = Http(server), new_id()
    http.create(event, sections=[("A", 1, 3)])
    answer = http.request("POST", f"/v1/events/{event}/holds", body.encode())
    assert answer.status == 400 and answer.json()["code"] == "badrequest", answer
    if field is not None:
        assert field in answer.json()["field"], answer
    assert http.event(event)["counts"]["free"] == 3, "the connection goes on, and nothing has changed"
    http.close()
