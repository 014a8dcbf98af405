"""test_queue.py - the waiting room over both protocols: order, slots, who may hold, opening and draw, long polls, push messages,
restarts.

Nothing here measures time: what has to happen is waited for, with a generous end.
"""
import hashlib
import random
import re
import threading
import time

import jwt
import pytest
import redis

from api import Http, Resp, metric
from server import ROOT, SLOWNESS, Server, poll
from wire import Connection, HttpReader, Push, RespReader, http_request, resp_request


def state_of(api, token):
    return api.token(token)["state"]


def becomes(api, token, state):
    """The token in that state; what is to happen at once is given ten seconds."""
    assert poll(lambda: state_of(api, token) == state), f"{api.token(token)}, expected {state}"
    return api.token(token).data


def join(api, event, *users):
    """The tokens of users who join one after the other."""
    answers = [api.join(event, user) for user in users]
    assert all(answer.ok for answer in answers), answers
    return [answer["token"] for answer in answers]


def now_ms():
    return time.time_ns() // 1_000_000


# ---- order and slots ------------------------------------------------------------------------------------------------


def test_first_come_first_served_with_leavers(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(2, 600, 600)).ok
    users = [f"u{n}" for n in range(30)]
    tokens = join(api, event, *users)
    waiting = tokens[2:]
    assert [state_of(api, token) for token in tokens[:2]] == ["active", "active"]
    dice = random.Random(event)
    active = tokens[:2]
    while waiting:
        # the model: a plain list
        for place, token in enumerate(waiting, 1):
            assert api.token(token)["position"] == place
        leaver = dice.choice(waiting + active)
        assert api.leave(leaver)["state"] == "left"
        assert api.leave(leaver)["state"] == "left"
        if leaver in waiting:
            waiting.remove(leaver)
        else:
            active.remove(leaver)
            active.append(waiting.pop(0))
            becomes(api, active[-1], "active")
    counts = {}
    for token in tokens:
        counts[state_of(api, token)] = counts.get(state_of(api, token), 0) + 1
    assert counts == {"active": 2, "left": 28}


def test_join_again_is_the_same_place(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok
    first, second = api.join(event, "u1"), api.join(event, "u2")
    assert api.protocol == "resp" or (first.status, second.status) == (201, 201)
    again = api.join(event, "u2")
    assert again["token"] == second["token"] and again["position"] == 1
    assert api.protocol == "resp" or again.status == 200
    assert api.leave(second["token"]).ok
    new = api.join(event, "u2")
    assert new["token"] != second["token"]
    assert api.protocol == "resp" or new.status == 201


def test_joining_twice_at_once_is_one_place(server, new_id):
    event = new_id()
    first, second = Resp(server), Http(server)
    assert first.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok
    for n in range(200):
        first.connection.send(resp_request("QUEUE", "JOIN", event, f"u{n}"))
        second.connection.send(http_request("POST", f"/v1/events/{event}/queue", {"user": f"u{n}"}))
        one, two = first.connection.receive(), second.connection.receive()
        assert one[0] == two.json()["token"], (one, two)
    assert first.token(one[0])["position"] == 199
    first.close(), second.close()


def test_never_more_active_than_allowed(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(3, 600, 600)).ok
    tokens = join(api, event, *(f"u{n}" for n in range(10)))

    def states():
        return [state_of(api, token) for token in tokens]

    assert states() == ["active"] * 3 + ["waiting"] * 7
    assert api.change(event, active_max=5).ok
    becomes(api, tokens[4], "active")
    assert states() == ["active"] * 5 + ["waiting"] * 5
    assert api.change(event, active_max=1).ok  # who is in stays
    assert states() == ["active"] * 5 + ["waiting"] * 5
    for token in tokens[:4]:
        assert api.leave(token).ok
    assert states() == ["left"] * 4 + ["active"] + ["waiting"] * 5
    assert api.leave(tokens[4]).ok
    becomes(api, tokens[5], "active")
    assert states() == ["left"] * 5 + ["active"] + ["waiting"] * 4
    assert api.event(event)["queue"]["active_max"] == 1


# ---- who may hold ---------------------------------------------------------------------------------------------------


def test_only_the_admitted_place_holds(api, new_id):
    event = new_id()
    assert api.create(event, sections=[("A", 2, 10)], queue=(1, 600, 600)).ok
    assert api.hold(event, "u1", seats=["A/1/1"]).code == "notadmitted"
    t1, t2 = join(api, event, "u1", "u2")
    assert api.hold(event, "u2", seats=["A/1/1"]).code == "notadmitted"
    held = api.hold(event, "u1", seats=["A/1/1"])
    other = api.hold(event, "u1", seats=["A/1/2"])
    assert api.confirm(held["hold"], "u1").ok
    assert state_of(api, t1) == "active"  # another hold is live
    assert api.confirm(other["hold"], "u1").ok
    assert state_of(api, t1) == "done"
    assert api.hold(event, "u1", seats=["A/1/3"]).code == "notadmitted"
    becomes(api, t2, "active")
    kept = api.hold(event, "u2", seats=["A/1/3"])
    assert api.leave(t2)["state"] == "left"
    assert api.hold(event, "u2", seats=["A/1/4"]).code == "notadmitted"
    assert api.hold(event, "u2", seats=["A/1/3"])["hold"] == kept["hold"]  # its own same hold
    assert api.confirm(kept["hold"], "u2").ok  # what it has stays


def test_active_places_and_silence_end(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(1, 2, 600)).ok
    t1, t2 = join(api, event, "u1", "u2")
    assert 0 < api.token(t1)["deadline_ms"] - now_ms() <= 2000
    assert api.hold(event, "u1", pools=[("ga", 1)]).ok
    becomes(api, t1, "expired")
    becomes(api, t2, "active")
    assert api.hold(event, "u1", pools=[("ga", 1)]).code == "notadmitted"
    silent = new_id()
    assert api.create(silent, pools=[("ga", 100)], queue=(1, 600, 1)).ok
    t1, t2, t3 = join(api, silent, "u1", "u2", "u3")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert api.token(t3)["state"] == "waiting"  # each look is a sign of life
        time.sleep(0.05)
    assert state_of(api, t2) == "expired" and api.token(t3)["position"] == 1


def test_chance(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 3)], queue=(1, 600, 600)).ok
    tokens = join(api, event, *(f"u{n}" for n in range(1, 6)))
    http = Http(api.server)

    def chances():
        return [http.token(token)["chance"] for token in tokens]

    assert chances() == [None, "likely", "likely", "likely", "none"]
    held = api.hold(event, "u1", pools=[("ga", 2)])
    assert chances() == [None, "likely", "likely", "likely", "none"]  # held units may come back
    assert api.confirm(held["hold"], "u1").ok
    becomes(api, tokens[1], "active")
    assert chances() == [None, None, "likely", "none", "none"]
    assert api.cancel(held["hold"]).ok
    assert poll(lambda: chances() == [None, None, "likely", "likely", "likely"]), chances()
    http.close()


def test_paused_and_closed(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 10)], queue=(1, 600, 600)).ok
    t1, t2 = join(api, event, "u1", "u2")
    assert api.change(event, status="paused").ok
    assert api.join(event, "u3").code == "closed"
    assert api.join(event, "u2")["token"] == t2  # who has a place gets it again
    assert api.change(event, status="open").ok
    assert api.join(event, "u3")["position"] == 2
    assert api.change(event, status="closed").ok
    assert [state_of(api, token) for token in (t1, t2)] == ["expired", "expired"]
    assert api.join(event, "u4").code == "closed"
    assert api.leave(t2)["state"] == "expired"


def test_refusals(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 10)]).ok
    answer = api.join(event, "u1")
    assert (answer.code, answer.figures) == ("badrequest", {"field": "event"})
    assert api.join(new_id(), "u1").code == "noevent"
    unknown = "019811f0-7a3b-7c4d-8e5f-0123456789ab"
    assert (refused := api.token(unknown)).code == "notoken" and refused.figures == {"unit": unknown}
    assert api.leave(unknown).code == "notoken"
    answer = api.change(event, active_max=5)
    assert (answer.code, answer.figures) == ("badrequest", {"field": "queue.active_max"})


def test_a_user_sees_its_token(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 10)], queue=(1, 600, 600)).ok
    http = Http(api.server)

    def token_of(user):
        return http.request("GET", f"/v1/events/{event}/users/{user}").json()["token"]

    t1, t2 = join(api, event, "u1", "u2")
    assert (token_of("u1"), token_of("u2"), token_of("u3")) == (t1, t2, None)
    assert api.leave(t1).ok
    assert (token_of("u1"), token_of("u2")) == (None, t2)
    http.close()


def test_passes(api, new_id):
    """Made here and read by PyJWT; made by PyJWT with the server's secret, and by strangers."""
    event, other = new_id(), new_id()
    secret = (api.server.data / "pass.secret").read_bytes().strip()
    assert api.create(event, pools=[("ga", 100)], queue=(2, 600, 600)).ok
    assert api.create(other, pools=[("ga", 100)], queue=(2, 600, 600)).ok
    t1, t2, t3 = join(api, event, "u1", "u2", "u3")
    join(api, other, "u1")
    token = api.token(t1).data
    claims = jwt.decode(token["pass"], secret, algorithms=["HS256"], audience=event)
    assert claims == {"sub": "u1", "aud": event, "jti": t1, "exp": -(-token["deadline_ms"] // 1000)}
    assert api.hold(event, "u1", pools=[("ga", 1)], shown=token["pass"]).ok
    assert api.hold(event, "u1", pools=[("ga", 1)]).ok  # a pass need not come

    def made(key=secret, algorithm="HS256", **changed):
        return jwt.encode({**claims, **changed}, key, algorithm=algorithm)

    assert api.hold(event, "u1", pools=[("ga", 1)], shown=made()).ok
    refused = {
        "forged": made(key=b"x" * 32),
        "expired": made(exp=1_700_000_000),
        "of another user": api.token(t2)["pass"],
        "for another event": made(aud=other),
        "unsigned": made(key=None, algorithm="none"),
        "of another algorithm": made(algorithm="HS512"),
        "none at all": "pass",
        "empty": "",
    }
    for name, shown in refused.items():
        answer = api.hold(event, "u1", pools=[("ga", 1)], shown=shown)
        assert answer.code == "notadmitted", f"a pass that is {name}: {answer}"
    assert api.hold(other, "u1", pools=[("ga", 1)], shown=token["pass"]).code == "notadmitted"
    # an event without a queue asks for no pass, and takes none that is bad
    free = new_id()
    assert api.create(free, pools=[("ga", 100)]).ok
    for shown in (*refused.values(), token["pass"]):
        assert api.hold(free, "u1", pools=[("ga", 1)], shown=shown).code == "notadmitted"
    assert api.hold(free, "u1", pools=[("ga", 1)]).ok and api.hold(free, "u1", pools=[("ga", 1)], shown=made(aud=free)).ok
    # a good pass admits nobody whose place has ended, or is none
    assert api.leave(t1).ok
    assert api.hold(event, "u1", pools=[("ga", 1)], shown=token["pass"]).code == "notadmitted"
    becomes(api, t3, "active")
    assert api.hold(event, "u9", pools=[("ga", 1)], shown=made(sub="u9")).code == "notadmitted"


# ---- opening and draw -----------------------------------------------------------------------------------------------


def documented_draw():
    """The function that docs/lottery.md gives people."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "lottery.md").read_text(), re.S)[1]
    names = {}
    exec(code, names)
    return names["draw"]


def test_opening_without_a_draw(api, new_id):
    event = new_id()
    opens = now_ms() + 1500 * SLOWNESS
    assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 600), opens_at_ms=opens).ok
    assert "lottery_commitment" not in api.event(event).data
    tokens = join(api, event, *(f"u{n}" for n in range(5)))
    answer = api.hold(event, "u0", pools=[("ga", 1)])
    if now_ms() < opens - 200:
        assert answer.code == "closed" and 0 < answer.figures["opens_in_ms"] <= 1500 * SLOWNESS
        assert all(api.token(token)["state"] == "waiting" and api.token(token)["position"] is None for token in tokens)
    becomes(api, tokens[0], "active")
    assert [api.token(token)["position"] for token in tokens[1:]] == [1, 2, 3, 4]
    assert api.hold(event, "u0", pools=[("ga", 1)]).ok


def test_the_draw_is_what_the_documented_lines_say(api, new_id):
    event = new_id()
    opens = now_ms() + 2000 * SLOWNESS
    assert api.create(event, pools=[("ga", 1000)], queue=(3, 600, 600, True), opens_at_ms=opens).ok
    before = api.event(event).data
    tokens = join(api, event, *(f"u{n}" for n in range(40)))
    assert api.leave(tokens.pop(7))["state"] == "left"
    assert now_ms() >= opens or "lottery_seed" not in before
    poll(lambda: "lottery_seed" in api.event(event).data)
    after = api.event(event).data
    assert after["lottery_commitment"] == before["lottery_commitment"]
    assert hashlib.sha256(bytes.fromhex(after["lottery_seed"])).hexdigest() == before["lottery_commitment"]
    late = join(api, event, "late1", "late2")
    drawn = documented_draw()(after, tokens)
    assert drawn != tokens
    for token in drawn[:3]:
        becomes(api, token, "active")
    assert [api.token(token)["position"] for token in drawn[3:] + late] == list(range(1, 39))


def test_the_seed_is_no_part_of_the_request(api, new_id):
    event = new_id()
    http = Http(api.server)
    body = http.create_body(event, pools=[("ga", 10)], queue=(3, 600, 600, True), opens_at_ms=now_ms() + 3_600_000)
    key = [("Idempotency-Key", new_id("key"))]
    first = http.request("POST", "/v1/events", body, key)
    assert first.status == 201
    again = http.request("POST", "/v1/events", body, key)
    assert again.status in (200, 201) and again.headers["idempotent-replayed"] == "true", again
    assert again.json()["lottery_commitment"] == first.json()["lottery_commitment"]
    same = http.request("POST", "/v1/events", body)
    assert same.status == 200 and same.json()["lottery_commitment"] == first.json()["lottery_commitment"]
    body["queue"]["lottery"] = False
    assert http.request("POST", "/v1/events", body, key).json()["code"] == "keyreused"
    assert http.request("POST", "/v1/events", body).json()["code"] == "exists"
    other = http.create(new_id(), pools=[("ga", 10)], queue=(3, 600, 600, True), opens_at_ms=now_ms() + 3_600_000)
    assert other["lottery_commitment"] != first.json()["lottery_commitment"]
    http.close()


# ---- long polls -----------------------------------------------------------------------------------------------------


def test_long_polls_are_answered_when_a_slot_is_free(servers, new_id):
    server = servers(3)
    api = Resp(server)
    event = new_id()
    assert api.create(event, pools=[("ga", 10000)], queue=(1, 600, 600)).ok
    tokens = join(api, event, *(f"u{n}" for n in range(201)))
    polls = [Connection(server.http, HttpReader()) for _ in tokens[1:]]
    for connection, token in zip(polls, tokens[1:]):
        connection.send(http_request("GET", f"/v1/queue/{token}?wait_ms=30000"))
    for holder, connection, token in zip(tokens, polls[:50], tokens[1:]):
        assert api.leave(holder).ok
        answer = connection.receive()
        assert answer.status == 200 and answer.json()["token"] == token and answer.json()["state"] == "active"
    for connection in polls[50:]:  # nobody else was answered
        connection.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.socket.recv(1)
    for token in tokens[51:]:
        assert api.leave(token).ok
    for connection in polls[50:]:
        connection.socket.setblocking(True)
        connection.socket.settimeout(30)
        assert connection.receive().json()["state"] == "left"
    for connection in polls:
        connection.close()
    api.close()


def test_a_long_poll_ends_with_its_time(api, new_id):
    event = new_id()
    assert api.create(event, pools=[("ga", 10)], queue=(1, 600, 600)).ok
    t1, t2 = join(api, event, "u1", "u2")
    http = Http(api.server)
    begun = time.monotonic()
    assert http.token(t2, wait_ms=400)["position"] == 1
    assert time.monotonic() - begun >= 0.398  # not before, but for the milliseconds that clocks are cut to
    assert http.token(t1, wait_ms=30000)["state"] == "active"  # any other state is answered at once
    assert http.token(t2, wait_ms=0)["position"] == 1
    assert http.token("019811f0-7a3b-7c4d-8e5f-0123456789ab", wait_ms=30000).code == "notoken"
    http.close()


def test_a_waiting_poll_is_no_slow_client(new_id):
    with Server("--net.request_seconds", 1, "--net.write_seconds", 1, shards=2) as server:
        http = Http(server)
        assert http.create("e", pools=[("ga", 10)], queue=(1, 600, 2)).ok
        _, t2 = join(http, "e", "u1", "u2")
        # longer than a request may take, and than the grace: an open poll is a sign of life
        assert http.token(t2, wait_ms=4000)["state"] == "waiting"
        assert http.token(t2)["state"] == "waiting"
        http.close()


def test_a_poll_and_what_is_behind_it_are_answered_in_order(server, new_id):
    api, http = Resp(server), Http(server)
    event = new_id()
    assert api.create(event, pools=[("ga", 10)], queue=(1, 600, 600)).ok
    t1, t2 = join(api, event, "u1", "u2")
    http.connection.send(http_request("GET", f"/v1/queue/{t2}?wait_ms=30000") + http_request("GET", f"/v1/queue/{t1}"))
    assert api.leave(t1).ok
    first, second = http.connection.receive().json(), http.connection.receive().json()
    assert (first["token"], first["state"], second["token"]) == (t2, "active", t1)
    api.close(), http.close()


def test_a_stop_answers_polls(new_id):
    with Server("--net.stop_seconds", 60, shards=3) as server:
        api = Resp(server)
        assert api.create("e", pools=[("ga", 10)], queue=(1, 600, 600)).ok
        tokens = join(api, "e", *(f"u{n}" for n in range(20)))
        api.close()
        polls = [Connection(server.http, HttpReader()) for _ in tokens[1:]]
        for connection, token in zip(polls, tokens[1:]):
            connection.send(http_request("GET", f"/v1/queue/{token}?wait_ms=30000"))
        gauge = Http(server)
        assert poll(lambda: metric(gauge, "holdfast_queue_polls") == 19)
        gauge.close()
        server.terminate()
        for place, connection in enumerate(polls, 1):
            assert connection.receive().json()["position"] == place
            connection.close()
        server.wait()


# ---- push messages --------------------------------------------------------------------------------------------------


def test_watches_push_every_change(servers, new_id):
    for shards in (1, 3):
        api, watcher = Resp(servers(shards)), Resp(servers(shards))
        for _ in range(6):  # events, and so queues, of several shards
            event = new_id()
            assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok
            tokens = join(api, event, *(f"u{n}" for n in range(22)))
            last = tokens[-1]
            assert watcher.watch(last)["position"] == 21
            assert watcher.watch(last)["position"] == 21  # twice is once
            for token in tokens[5:8]:
                assert api.leave(token).ok
            push = watcher.push()  # a tenth less
            assert push["token"] == last and push["state"] == "waiting" and push["position"] <= 18
            for token in tokens[:5] + tokens[8:-1]:
                assert api.leave(token).ok
            while push["state"] == "waiting":
                assert push["position"] is None or push["position"] >= 1
                push = watcher.push()
            assert push["state"] == "active" and push["deadline_ms"] > now_ms()
            held = api.hold(event, "u21", pools=[("ga", 1)])
            assert api.confirm(held["hold"], "u21").ok
            assert watcher.push()["state"] == "done"
            assert watcher.command("PING") == "PONG"  # and nothing else came
        api.close(), watcher.close()


def test_watching_ends(server, new_id):
    api, watcher, http = Resp(server), Resp(server), Http(server)
    assert poll(lambda: metric(http, "holdfast_queue_watches") == 0)
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 5)).ok
    first, second, third, fourth = join(api, event, "u1", "u2", "u3", "u4")
    for token in (second, third, fourth):
        assert watcher.watch(token).ok
    assert watcher.watch(second, "UNWATCH")["state"] == "waiting"
    assert watcher.watch(second, "UNWATCH")["state"] == "waiting"
    assert poll(lambda: metric(http, "holdfast_queue_watches") == 2)
    assert api.leave(second).ok
    assert api.leave(third).ok
    push = watcher.push()
    while push["state"] == "waiting":  # positions have fallen
        push = watcher.push()
    assert (push["token"], push["state"]) == (third, "left")
    watcher.close()
    assert poll(lambda: metric(http, "holdfast_queue_watches") == 0)
    # nobody watches it, and nobody asks it (a look at the user is no sign of life): silent
    assert poll(lambda: http.request("GET", f"/v1/events/{event}/users/u4").json()["token"] is None, seconds=30)
    assert state_of(api, fourth) == "expired"
    api.close(), http.close()


def test_resp2_has_no_push_messages(server, new_id):
    api, old = Resp(server), Resp(server, version=2)
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok
    first, second = join(api, event, "u1", "u2")
    for word in ("WATCH", "UNWATCH"):
        error = old.command("QUEUE", word, second)
        assert error.line == "ERR push messages need RESP3: send HELLO 3 first, or ask with QUEUE GET"
    old.command("HELLO", "3")
    assert old.watch(second).ok
    old.command("HELLO", "2")  # the watch has ended
    assert api.leave(first).ok
    becomes(api, second, "active")
    assert old.command("PING") == "PONG"
    assert old.command("QUEUE", "GET", second)[1] == "active"
    api.close(), old.close()


def test_pushes_never_come_within_an_answer(server, new_id):
    """Answers of several pieces, read slowly, while what the connection watches changes all the time: the reader is strict."""
    event, large = new_id(), new_id()
    api = Resp(server)
    assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok
    assert api.create(large, sections=[("A", 1024, 1024)]).ok
    churn = Resp(server)
    stop = threading.Event()
    errors = []

    def come_and_go():
        try:
            while not stop.is_set():
                tokens = join(churn, event, *(f"u{n}" for n in range(20)))
                for token in tokens:
                    assert churn.leave(token).ok
        except Exception as error:  # seen by the test
            errors.append(error)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    reader = RespReader()
    connection = Connection(server.resp, reader)
    connection.call(resp_request("HELLO", "3"))
    pushes = maps = 0
    try:
        for _ in range(12):
            users = [f"u{n}" for n in range(20)]
            tokens = [api.join(event, user) for user in users]
            requests = b"".join(resp_request("QUEUE", "WATCH", answer["token"]) for answer in tokens if answer.ok)
            connection.send(requests + resp_request("SEATS", large, "A"))
            answers = 0
            while answers < 21:
                time.sleep(0.001)
                answer = connection.receive()
                if isinstance(answer, Push):
                    assert answer[0] == "queue" and len(answer) == 6, answer
                    pushes += 1
                elif len(answer) == 2048:
                    assert all(len(row) == 1024 for row in answer[1::2])
                    maps += 1
                    answers += 1
                else:
                    assert len(answer) == 5, answer
                    answers += 1
    finally:
        stop.set()
        thread.join()
    assert not errors, errors
    assert maps == 12 and pushes > 0
    connection.close(), churn.close(), api.close()


def test_redis_py_watches(server, new_id):
    api = Resp(server)
    event = new_id()
    assert api.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok
    first, second = join(api, event, "u1", "u2")
    client = redis.Redis(port=server.resp[1], protocol=3, decode_responses=True, single_connection_client=True)
    pushes = []
    client.connection._parser.set_pubsub_push_handler(pushes.append)
    assert client.execute_command("QUEUE", "WATCH", second) == [second, "waiting", 1, None, None]
    assert api.leave(first).ok
    assert poll(lambda: client.ping() and pushes)
    kind, token, state, position, shown, deadline_ms = pushes[0]
    assert (kind, token, state, position) == ("queue", second, "active", None) and deadline_ms > now_ms()
    assert api.hold(event, "u2", pools=[("ga", 1)], shown=shown).ok
    client.close()
    api.close()


# ---- restarts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_loses_no_place(tmp_path, how):
    data = tmp_path / "data"
    server = Server(data=data, shards=2)
    api = Resp(server)
    assert api.create("e", pools=[("ga", 1000)], queue=(2, 600, 1)).ok
    assert api.create("drawn", pools=[("ga", 1000)], queue=(1, 600, 600, True), opens_at_ms=now_ms() + 3_600_000).ok
    commitment = api.event("drawn")["lottery_commitment"]
    early = join(api, "drawn", "u1", "u2")
    tokens = join(api, "e", *(f"u{n}" for n in range(100)))
    assert api.leave(tokens.pop(50)).ok
    api.close()
    if how == "kill":
        server.kill()
    else:
        server.stop()
    time.sleep(1.5)  # longer than the grace: nobody's runs out because of it
    server = Server(data=data, shards=3)
    api = Resp(server)
    assert [api.token(token)["position"] for token in tokens[2:]] == list(range(1, 98))
    assert [state_of(api, token) for token in tokens[:2]] == ["active", "active"]
    assert api.hold("e", "u0", pools=[("ga", 1)]).ok
    assert api.hold("e", "u2", pools=[("ga", 1)]).code == "notadmitted"
    assert api.join("e", "u5")["token"] == tokens[5]
    assert api.leave(tokens[0]).ok
    becomes(api, tokens[2], "active")
    assert api.event("drawn")["lottery_commitment"] == commitment
    assert api.join("drawn", "u1")["token"] == early[0]
    api.close()
    server.stop()


def test_idempotency_keys(servers, new_id):
    """Over HTTP, for places of every shard: a success is answered again as it was, a refusal is forgotten, another request refused."""
    for shards in (1, 3):
        http = Http(servers(shards))
        for _ in range(4):
            event = new_id()
            assert http.create(event, pools=[("ga", 100)], queue=(1, 600, 600)).ok

            def ask(method, path, key, body=None):
                return http.request(method, path, body, [("Idempotency-Key", key)])

            path, own, leave = f"/v1/events/{event}/queue", new_id("key"), new_id("key")
            (t1,) = join(http, event, "u1")
            assert http.change(event, status="paused").ok
            assert ask("POST", path, own, {"user": "u2"}).json()["code"] == "closed"
            assert http.change(event, status="open").ok
            first = ask("POST", path, own, {"user": "u2"})
            assert first.status == 201 and first.json()["position"] == 1 and "idempotent-replayed" not in first.headers
            assert http.leave(t1).ok
            becomes(http, first.json()["token"], "active")
            again = ask("POST", path, own, {"user": "u2"})
            assert again.status == 201 and again.headers["idempotent-replayed"] == "true"
            told, repeated = first.json(), again.json()
            assert repeated.pop("eta_in_ms") <= told.pop("eta_in_ms") and repeated.pop("poll_in_ms") <= told.pop("poll_in_ms")
            assert repeated == told
            assert ask("POST", path, own, {"user": "u3"}).status == 201, "the key is the user's"
            assert ask("POST", f"/v1/events/{event}/holds", own, {"user": "u2", "pools": [{"name": "ga", "quantity": 1}]}).json()["code"] == "keyreused"
            place = f"/v1/queue/{told['token']}"
            one, two = ask("DELETE", place, leave), ask("DELETE", place, leave)
            assert (one.status, two.status) == (200, 200) and one.json() == two.json() and one.json()["state"] == "left"
            assert "idempotent-replayed" not in one.headers and two.headers["idempotent-replayed"] == "true"
            assert ask("DELETE", f"/v1/queue/{t1}", leave).json()["code"] == "keyreused"
            assert ask("DELETE", "/v1/queue/019811f0-7a3b-7c4d-8e5f-0123456789ab", new_id("key")).json()["code"] == "notoken"
        http.close()


def test_metrics_and_info(new_id):
    with Server(shards=2) as server:
        api, http = Resp(server), Http(server)
        assert api.create("e", pools=[("ga", 10)], queue=(2, 600, 600)).ok
        tokens = join(api, "e", *(f"u{n}" for n in range(5)))
        assert api.leave(tokens[0]).ok
        assert poll(lambda: metric(http, "holdfast_queue_activations_total") == 3)
        text = http.request("GET", "/metrics").body.decode()
        assert sum(float(line.split()[-1]) for line in text.splitlines() if 'state="waiting"' in line) == 2
        assert metric(http, "holdfast_queue_joins_total") == 5
        wait = "holdfast_queue_wait_seconds"
        assert f"# TYPE {wait} histogram" in text and metric(http, wait + "_count") == 3
        for shard in range(2):
            buckets = [(float(le), int(n)) for le, n in re.findall(wait + rf'_bucket{{shard="{shard}",le="([^"]+)"}} (\d+)', text)]
            assert buckets == sorted(buckets) and buckets[-1][0] == float("inf") and [n for _, n in buckets] == sorted(n for _, n in buckets)
        waited = [sum(int(line.split()[-1]) for line in text.splitlines() if line.startswith(wait + "_bucket") and f'le="{le}"' in line) for le in ("7200", "+Inf")]
        assert waited == [3, 3]
        assert api.join("e", "u6").ok and api.change("e", status="paused").ok and api.join("e", "u7").code == "closed"
        refused = r'holdfast_outcomes_total{shard="\d+",status="closed"}'
        assert poll(lambda: metric(http, refused) == 1)
        info = api.command("INFO", "queue")
        assert "tokens_waiting:3\r\ntokens_active:2\r\njoins:6\r\nactivations:3\r\n" in info
        api.close(), http.close()
