"""test_event_replays.py - POST and PATCH of an event with an idempotency key: a replay shows the event as the first answer
showed it, whatever has become of it, over both protocols' changes, kill -9 and another number of shards."""
import itertools
import threading
import time

import pytest

from api import Http, Resp, ms_of
from server import Server, poll


@pytest.fixture(params=[1, 3], ids=lambda shards: f"{shards}shards")
def http(request, servers):
    client = Http(servers(request.param))
    client.server = servers(request.param)
    yield client
    client.close()


def ask(http, method, path, body, key):
    return http.request(method, path, body, [("Idempotency-Key", key)])


def post(http, body, key):
    return ask(http, "POST", "/v1/events", body, key)


def patch(http, event, body, key):
    return ask(http, "PATCH", f"/v1/events/{event}", body, key)


def still(answer):
    """The event without what is counted anew."""
    body = answer.json()
    body.pop("opens_in_ms", None)
    return body


def same(first, again):
    assert again.status == first.status, (first, again)
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert still(again) == still(first)


def now_is(http, event, **members):
    shown = http.event(event).data
    assert {name: shown[name] for name in members} == members
    return shown


BODY = {"sections": [{"name": "A", "rows": 2, "seats_per_row": 5},
                     {"name": "B", "rows": [{"name": "x", "seats": 3}]}],
        "pools": [{"name": "ga", "capacity": 1000}, {"name": "vip", "capacity": 3}],
        "queue": {"active_max": 5, "active_seconds": 600, "grace_seconds": 600}, "units_per_user_max": 50}
CHANGE = {"status": "paused", "hold_seconds": 77, "units_per_user_max": 9, "queue": {"active_max": 6},
          "pools": [{"name": "ga", "capacity": 1200}]}


def fill(api, event):
    """Takes of everything: held and sold, in sections and pools."""
    for user in ("u1", "u2"):
        assert api.join(event, user).ok
    deadline = time.monotonic() + 10
    while not (held := api.hold(event, "u1", seats=["A/1/1", "B/x/2"], pools=[("ga", 7)])).ok:
        assert held.code == "notadmitted" and time.monotonic() < deadline, held
        time.sleep(0.01)
    while not (sold := api.hold(event, "u2", seats=["A/2/5"], pools=[("vip", 2)])).ok:
        assert sold.code == "notadmitted" and time.monotonic() < deadline, sold
        time.sleep(0.01)
    assert api.confirm(sold["hold"], "u2").ok
    return held["hold"]


@pytest.mark.parametrize("other", [Http, Resp], ids=["http", "resp"])
def test_a_replay_shows_the_event_of_then(http, new_id, other):
    event, created, changed = new_id(), new_id("key"), new_id("key")
    api = other(http.server)
    first = post(http, {"id": event, **BODY}, created)
    assert first.status == 201 and first.json()["counts"] == {"capacity": 1016, "free": 1016, "held": 0, "sold": 0}
    hold = fill(api, event)
    same(first, post(http, {"id": event, **BODY}, created))
    second = patch(http, event, CHANGE, changed)
    assert second.status == 200 and second.json()["counts"] == {"capacity": 1216, "free": 1204, "held": 9, "sold": 3}
    shown = second.json()
    assert (shown["status"], shown["hold_seconds"], shown["units_per_user_max"], shown["queue"]["active_max"]) == ("paused", 77, 9, 6)
    assert shown["sections"][0]["counts"] == {"capacity": 10, "free": 8, "held": 1, "sold": 1}
    assert shown["pools"][0]["capacity"] == 1200 and shown["pools"][0]["counts"] == {"capacity": 1200, "free": 1193, "held": 7, "sold": 0}
    assert shown == now_is(http, event), "the first answer is the event of now"
    assert api.release(hold, "u1").ok
    assert api.change(event, status="open", hold_seconds=78, limit=10, active_max=7, pools=[("ga", 900), ("vip", 4)]).ok
    same(second, patch(http, event, CHANGE, changed))
    same(first, post(http, {"id": event, **BODY}, created))
    assert api.change(event, status="closed").ok
    same(second, patch(http, event, CHANGE, changed))
    now_is(http, event, status="closed", hold_seconds=78, counts={"capacity": 917, "free": 914, "held": 0, "sold": 3})
    # another change with the key is refused, a refused one is not remembered
    assert patch(http, event, {"status": "paused"}, changed).json()["code"] == "keyreused"
    retry = new_id("key")
    assert patch(http, event, {"status": "open"}, retry).json()["code"] == "closed"
    assert patch(http, event, {"hold_seconds": 5}, retry).json()["hold_seconds"] == 5
    assert post(http, {"id": event, **BODY}, new_id("key")).json()["code"] == "exists", "its settings are other ones now"
    api.close()


def test_the_seed_is_shown_where_it_was(http, new_id):
    event, created, before, after = new_id(), new_id("key"), new_id("key"), new_id("key")
    opens = int(time.time() * 1000) + 1500
    body = http.create_body(event, pools=[("ga", 10)], queue=(3, 600, 600, True), opens_at_ms=opens)
    first = post(http, body, created)
    early = patch(http, event, {"hold_seconds": 9}, before)
    assert first.status == 201 and "lottery_seed" not in first.json() and "lottery_seed" not in early.json()
    time.sleep(max(0, opens - time.time() * 1000) / 1000 + 0.05)
    again = post(http, body, created)
    same(first, again)
    assert again.json()["opens_in_ms"] == 0 < first.json()["opens_in_ms"], "this alone is counted anew"
    same(early, patch(http, event, {"hold_seconds": 9}, before))
    late = patch(http, event, {"hold_seconds": 10}, after)
    assert len(late.json()["lottery_seed"]) == 64
    same(late, patch(http, event, {"hold_seconds": 10}, after))
    assert ms_of(late.json()["opens_at"]) == opens


def test_without_a_key_the_event_of_now(http, new_id):
    event = new_id()
    assert http.create(event, pools=[("ga", 10)])["counts"]["free"] == 10
    assert http.hold(event, "u", pools=[("ga", 4)]).ok
    assert http.change(event, hold_seconds=5)["counts"]["free"] == 6
    again = http.request("PATCH", f"/v1/events/{event}", {"hold_seconds": 5})
    assert "idempotent-replayed" not in again.headers and again.json()["counts"]["held"] == 4


def test_a_second_request_while_the_first_is_under_way(http, new_id):
    """Twenty times eight clients at once, each with the same key: one change, one answer, seven replays of it."""
    for _ in range(20):
        event, created, changed = new_id(), new_id("key"), new_id("key")
        body = {"id": event, **BODY}
        for call in (lambda one: post(one, body, created), lambda one: patch(one, event, CHANGE, changed)):
            barrier, answers = threading.Barrier(8), []

            def run():
                one = Http(http.server)
                barrier.wait()
                answers.append(call(one))
                one.close()

            threads = [threading.Thread(target=run) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len({answer.status for answer in answers}) == 1 and answers[0].status in (200, 201)
            assert all(still(answer) == still(answers[0]) for answer in answers)
            assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1


def test_the_longest_event(http, new_id):
    event, key = new_id("e").ljust(64, "x"), new_id("key")
    body = {"id": event, "sections": [{"name": f"section-{i:08}", "rows": 1, "seats_per_row": 2} for i in range(64)],
            "pools": [{"name": f"pool-{i:011}", "capacity": 1_000_000_000} for i in range(64)]}
    first = post(http, body, key)
    assert first.status == 201 and first.json()["counts"]["free"] == 64_000_000_128
    assert http.hold(event, "u", seats=["section-00000063/1/2"], pools=[("pool-00000000063", 999_999_999)]).ok
    same(first, post(http, body, key))
    change = {"pools": [{"name": f"pool-{i:011}", "capacity": 999_999_999 - (i < 63)} for i in range(64)]}
    second = patch(http, event, change, key + "s")
    assert second.status == 200 and second.json()["counts"]["held"] == 1_000_000_000
    assert http.change(event, pools=[("pool-00000000000", 5)]).ok
    same(second, patch(http, event, change, key + "s"))


def test_over_kill_and_other_shards(tmp_path):
    """From the journal alone and from snapshots, with every number of shards in turn."""
    shards, server, kept, snapshots = itertools.cycle([2, 1, 3, 5]), None, [], 0
    journal = tmp_path / "data" / "journal"

    def number(path):
        return int(path.stem)

    small = ("--journal.segment_bytes", "4MiB", "--core.batch_bytes_max", "1MiB", "--journal.snapshot_bytes", "4MiB")
    try:
        for start in range(6):
            server = Server(*small, data=tmp_path / "data", shards=next(shards))
            http, resp = Http(server), Resp(server)
            for method, path, body, key, first in kept:
                same(first, ask(http, method, path, body, key))
            for i in range(3):
                event = f"e{start}-{i}"
                calls = [("POST", "/v1/events", {"id": event, **BODY}, f"made-{event}"),
                         ("PATCH", f"/v1/events/{event}", CHANGE, f"set-{event}")]
                for method, path, body, key in calls:
                    first = ask(http, method, path, body, key)
                    assert first.status in (200, 201), first
                    kept.append((method, path, body, key, first))
                    if method == "POST":
                        fill(resp, event)
                assert resp.change(event, status="open", hold_seconds=20 + start, pools=[("ga", 1100), ("vip", 3)]).ok
            if start % 2 == 1:
                assert resp.create(f"many-{start}", pools=[("p", 9999)]).ok
                for i in range(1200):  # a batch of at least 4 KiB each
                    assert resp.hold(f"many-{start}", f"u{i}", pools=[("p", 1)]).ok
                assert poll(lambda: any(number(path) > snapshots for path in journal.glob("*.snapshot"))), server.log()
                snapshots = max(number(path) for path in journal.glob("*.snapshot"))
            http.close()
            resp.close()
            server.kill()
    finally:
        if server is not None:
            server.kill()
