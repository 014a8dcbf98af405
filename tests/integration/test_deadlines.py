"""test_deadlines.py - a hold never ends early, a confirm at or after the deadline loses, what has expired is for sale again
within 100 ms.

The server's time is the wall clock it had at its start and the monotonic clock since; the tests' clock is the wall
clock of the same machine. A confirm sent after the deadline must lose, always. One answered before the deadline must
win, always. Between the two either may be, and the seat's state must agree. "Within 100 ms" is measured from the
server's own deadline_ms; a busy machine may be late itself, so of several rounds most must keep it.
"""
import threading
import time

import pytest

from api import Http, Resp
from server import SANITIZED, SLOWNESS, poll

CLOCK_SLACK_MS = 2  # milliseconds are cut, and the two clocks were read one after the other


def now_ms():
    return time.time() * 1000


def rounds(on_time):
    """At least three, and until two were on time, for other work may keep the server or the test from running; at most ten."""
    for number in range(10):
        if number < 3 or (on_time() < 2 and not SANITIZED):
            yield number


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("protocol", [Resp, Http])
def test_never_early(servers, new_id, shards, protocol):
    """Polls the seat over the whole life of its hold: free never before the deadline, and soon after."""
    client, event, on_time = protocol(servers(shards)), new_id(), 0
    assert client.create(event, sections=[("A", 1, 2)], pools=[("ga", 1)], hold_seconds=1).ok
    for _ in rounds(lambda: on_time):
        hold = client.hold(event, "u1", seats=["A/1/1"], pools=[("ga", 1)])
        deadline = hold["deadline_ms"]
        freed = None
        while freed is None:
            asked = now_ms()
            state = client.get(hold["hold"])["state"]
            letters = client.seats(event, "A")["1"]
            pool = client.event(event)["pools"][0]["counts"]["held"]
            answered = now_ms()
            if answered < deadline - CLOCK_SLACK_MS:
                assert (state, letters, pool) == ("held", "HF", 1), f"{deadline - answered:.1f} ms early"
            if asked > deadline + CLOCK_SLACK_MS:
                assert state == "expired", "from its deadline on it is expired for everyone"
                if letters == "FF" and pool == 0:
                    freed = answered
                assert asked < deadline + 5000 * SLOWNESS, "never swept"
            time.sleep(0.002)
        on_time += freed - deadline <= 100
    assert on_time >= 2 or SANITIZED, f"within 100 ms in {on_time} of 10 rounds"
    client.close()


@pytest.mark.alone
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_for_sale_again(servers, new_id, shards):
    """Somebody else tries all the time: gets the seat never before the deadline, and within 100 ms of it."""
    first, second, event, on_time = Resp(servers(shards)), Http(servers(shards)), new_id(), 0
    assert first.create(event, sections=[("A", 1, 1)], hold_seconds=1, hold_seconds_max=100).ok
    for _ in rounds(lambda: on_time):
        deadline = first.hold(event, "u1", seats=["A/1/1"])["deadline_ms"]
        while True:
            answer = second.hold(event, "u2", seats=["A/1/1"], ttl=100)
            answered = now_ms()
            if answer.ok:
                break
            assert answer.code == "held", answer
            time.sleep(0.002)
        assert answered >= deadline - CLOCK_SLACK_MS, f"{deadline - answered:.1f} ms early"
        on_time += answered - deadline <= 100
        assert second.release(answer["hold"], "u2").ok
    assert on_time >= 2 or SANITIZED, f"within 100 ms in {on_time} of 10 rounds"
    first.close()
    second.close()


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_confirm_races_expiry(servers, new_id, shards):
    """Many holds with one deadline are confirmed one after the other across it, until some have won and some have lost."""
    client, count = Resp(servers(shards)), 400
    seen, early_ms = {"ok": 0, "expired": 0}, 60
    for _ in range(10):
        now = confirm_across_the_deadline(client, new_id(), count, early_ms)
        for code, times in now.items():
            seen[code] += times
        if all(seen.values()):
            break
        early_ms = early_ms / 2 if now["ok"] else early_ms * 2  # all before, or all behind it
    assert all(seen.values()), f"no race: {seen}"
    client.close()


def confirm_across_the_deadline(client, event, count, early_ms):
    assert client.create(event, sections=[("A", 1, count)], hold_seconds=1).ok
    holds = []
    for n in range(count):
        answer = client.hold(event, f"u{n}", seats=[f"A/1/{n + 1}"])
        holds.append((answer["hold"], answer["deadline_ms"], f"u{n}"))
    seen, states = {"ok": 0, "expired": 0}, []
    middle = (holds[0][1] + holds[-1][1]) / 2
    while now_ms() < middle - early_ms:  # all of them around the deadlines
        time.sleep(0.005)
    for hold, deadline, user in sorted(holds, key=lambda entry: entry[1]):
        asked = now_ms()
        answer = client.confirm(hold, user)
        answered = now_ms()
        seen[answer.code] += 1
        if asked >= deadline + CLOCK_SLACK_MS:
            assert answer.code == "expired", f"confirmed {asked - deadline:.1f} ms after the deadline"
        if answered <= deadline - CLOCK_SLACK_MS:
            assert answer.ok, f"lost {deadline - answered:.1f} ms before the deadline"
        states.append((hold, user, answer.ok))
    assert poll(lambda: client.event(event)["counts"]["held"] == 0), "never swept"
    letters = client.seats(event, "A")["1"]
    for hold, user, won in states:
        assert letters[int(user[1:])] == ("S" if won else "F")
        assert client.get(hold)["state"] == ("confirmed" if won else "expired")
    counts = client.event(event)["counts"]
    assert (counts["sold"], counts["free"], counts["held"]) == (seen["ok"], seen["expired"], 0)
    return seen


def test_one_seat_is_confirmed_by_one_at_its_deadline(server, new_id):
    """At the deadline its holder confirms while another one snatches: never both."""
    event, outcomes = new_id(), []
    admin, holder, thief = Resp(server), Resp(server), Http(server)
    admin.create(event, sections=[("A", 1, 30)], hold_seconds=1, hold_seconds_max=60)
    holds = [holder.hold(event, f"u{n}", seats=[f"A/1/{n + 1}"]) for n in range(30)]
    won, lost = {}, {}

    def confirm_all():
        for n, hold in enumerate(holds):
            while now_ms() < hold["deadline_ms"] - 3:
                time.sleep(0.0005)
            won[n] = holder.confirm(hold["hold"], f"u{n}").ok

    def snatch_all():
        for n, hold in enumerate(holds):
            while now_ms() < hold["deadline_ms"] - 3:
                time.sleep(0.0005)
            lost[n] = thief.hold(event, "thief", seats=[f"A/1/{n + 1}"], ttl=60).ok

    threads = [threading.Thread(target=confirm_all), threading.Thread(target=snatch_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == len(lost) == 30
    letters = admin.seats(event, "A")["1"]
    for n in range(30):
        assert not (won[n] and lost[n]), f"seat {n + 1} was sold and held again"
        outcomes.append(letters[n])
        assert letters[n] == ("S" if won[n] else "H" if lost[n] else letters[n])
    for client in (admin, holder, thief):
        client.close()


@pytest.mark.alone
@pytest.mark.parametrize("shards", [1, 3])
def test_many_holds_of_one_deadline(servers, new_id, shards):
    """Thousands expire at once; all of them come back, and within 100 ms at least once in three times (a machine with other work
    may keep the server, or this test, from running for so long)."""
    client = Resp(servers(shards))
    on_time = False
    for _ in range(3):
        on_time = expired_on_time(client, new_id(), 20000)
        if on_time:
            break
    assert on_time or SANITIZED, "not all for sale again 100 ms after the last deadline"
    client.close()


def expired_on_time(client, event, count):
    assert client.create(event, pools=[("ga", count)], hold_seconds=3).ok
    for first in range(0, count, 500):
        client.connection.send(b"".join(client.hold_request(event, f"u{n}", pools=[("ga", 1)]) for n in range(first, first + 500)))
        last = [client.connection.receive() for _ in range(500)][-1]
    deadline = last[1]
    while now_ms() < deadline + 100:
        time.sleep(0.01)
    on_time = client.event(event)["counts"]["free"] == count
    end = time.monotonic() + 5 * SLOWNESS
    while client.event(event)["counts"]["free"] != count and time.monotonic() < end:
        time.sleep(0.05)
    assert client.event(event)["counts"] == {"capacity": count, "free": count, "held": 0, "sold": 0}
    return on_time
