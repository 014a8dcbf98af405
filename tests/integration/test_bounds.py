"""test_bounds.py - each bound of limits.h and of the settings, reached: the documented refusal, nothing lost, and service again
afterwards. (Bounds of single requests, such as 16 seats, are in test_outcomes.py; those of time and output in
test_connections.py.)"""
import signal
import socket
import time

import pytest

from api import Http, Resp, metric
from server import SANITIZED, SLOWNESS, Server, poll, run
from wire import Connection, HttpReader, http_request, resp_request


def busy_and_closed(address, protocol, data=b""):
    """True where a new connection is told busy and closed."""
    with socket.create_connection(address, timeout=10 * SLOWNESS) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = b""
        while True:
            try:
                more = sock.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            got += more
        return got.startswith(b"-BUSY ") if protocol == "resp" else got.startswith(b"HTTP/1.1 503 ") and b'"busy"' in got


def test_connections_max():
    with Server("--net.connections_max", 8, shards=2) as server:
        clients = [Resp(server) if n % 2 else Http(server) for n in range(8)]
        for client in clients:
            assert client.create("e", pools=[("ga", 5)]).ok
        for _ in range(3):
            assert busy_and_closed(server.resp, "resp") and busy_and_closed(server.http, "http")
        assert clients[0].hold("e", "u", pools=[("ga", 1)]).ok
        clients.pop().close()
        clients.pop().close()

        def served():
            try:
                client = Resp(server)
            except (AssertionError, TypeError, ConnectionError):
                return False
            done = client.hold("e", "v", pools=[("ga", 1)]).ok
            client.close()
            return done

        assert poll(served, 5)
        for client in clients:
            assert client.event("e")["counts"]["held"] == 2
            client.close()


@pytest.mark.parametrize("setting,value", [
    ("net.pipeline_max", 1), ("net.pipeline_max", 4), ("net.requests_max", 1), ("net.requests_max", 8), ("net.buffers", 2),
    ("net.buffer_bytes", 64), ("net.ring_entries", 64), ("net.mailbox_bytes", "256KiB"), ("net.output_bytes_max", "1KiB"),
])
def test_bounds_that_only_slow_down(setting, value):
    """Beyond these bounds reading waits: every command is answered, in order, with no refusal."""
    with Server(f"--{setting}", value, shards=3) as server:
        admin = Resp(server)
        assert admin.create("e", sections=[("A", 3, 1000)], pools=[("ga", 10000)]).ok
        clients, count = [Resp(server), Http(server), Resp(server), Http(server)], 150
        for number, client in enumerate(clients):
            client.connection.send(b"".join(
                client.hold_request("e", f"u{number}-{n}", seats=[f"A/{1 + n % 3}/{1 + number * 200 + n}"], pools=[("ga", 1)]) for n in range(count)))
        for number, client in enumerate(clients):
            for n in range(count):
                answer = client.read(client.connection.receive(), client.hold_form)
                assert answer["seats"][0]["seat"] == f"A/{1 + n % 3}/{1 + number * 200 + n}"
            client.close()
        assert admin.event("e")["counts"]["held"] == 2 * len(clients) * count
        admin.close()


def test_ring_entries():
    """More begins in one step than the queue to the kernel has entries for."""
    with Server("--net.ring_entries", 64, shards=1) as server:
        admin, http = Resp(server), Http(server)
        assert metric(http, "holdfast_ring_full_total") == 0
        clients = [Resp(server) for _ in range(300)]

        def full():
            server.process.send_signal(signal.SIGSTOP)  # so that it finds all of it in one step
            for client in clients:
                client.connection.send(resp_request("PING") * 20)
            server.process.send_signal(signal.SIGCONT)
            for client in clients:
                assert [client.connection.receive() for _ in range(20)] == ["PONG"] * 20
            return metric(http, "holdfast_ring_full_total")

        assert poll(full), "never more than 64 in one step"
        for client in [*clients, admin, http]:
            client.close()


def test_mailbox_bytes():
    """More is sent to other shards than their mailboxes take: it waits, or is refused with nothing changed, and all is there."""
    with Server("--net.mailbox_bytes", "256KiB", shards=3) as server:
        admin, http = Resp(server), Http(server)
        assert admin.create("e", sections=[("A", 1000, 1000), ("B", 1000, 1000)]).ok
        assert metric(http, "holdfast_mailbox_full_total") == 0
        clients, held = [Resp(server) for _ in range(120)], 0
        for round_ in range(16):
            server.process.send_signal(signal.SIGSTOP)  # so that each shard finds all of it in one step
            for number, client in enumerate(clients):
                row = round_ // 2 * len(clients) + number + 1
                client.connection.send(b"".join(client.hold_request("e", f"u{round_}-{row}-{n}", seats=[f"{'AB'[round_ % 2]}/{row}/{n + 1}"]) for n in range(128)))
            server.process.send_signal(signal.SIGCONT)
            for client in clients:
                for _ in range(128):
                    answer = client.read(client.connection.receive(), client.hold_form)
                    assert answer.ok or answer.code == "busy", answer
                    held += answer.ok
            if metric(http, "holdfast_mailbox_full_total"):
                break
        assert metric(http, "holdfast_mailbox_full_total"), "never more than a mailbox takes"
        assert admin.event("e")["counts"]["held"] == held
        assert admin.hold("e", "another", seats=["A/1000/1000"]).ok, "service again"
        for client in [*clients, admin, http]:
            client.close()


def test_request_bytes_max():
    with Server("--net.request_bytes_max", 4096, "--net.head_bytes_max", 2048, shards=1) as server:
        resp, http = Resp(server), Http(server)
        resp.create("e", pools=[("ga", 5)])
        for data in (resp_request("ECHO", "x" * 5000), resp_request(*["a"] * 2000), b"*1\r\n$4097\r\n"):
            client = Resp(server)
            client.connection.send(data)
            assert client.connection.receive_all().startswith(b"-ERR Protocol error: ")
            client.close()
        client = Http(server)
        client.connection.send(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n")
        answer = client.connection.receive()
        assert (answer.status, answer.json()["code"]) == (413, "toolarge")
        assert client.connection.receive_all() == b""
        client.close()
        assert resp.command("ECHO", "x" * 3900) == "x" * 3900
        body = b'{"user":"u1","pools":[{"name":"ga","quantity":1}]' + b" " * 3500 + b"}"
        assert http.request("POST", "/v1/events/e/holds", body).status == 201
        resp.close()
        http.close()


def test_head_bytes_max():
    with Server("--net.head_bytes_max", 512, shards=1) as server:
        for data, status in ((http_request("GET", "/" + "a" * 600), 414), (http_request("GET", "/healthz", headers=[("X-A", "a" * 600)]), 431)):
            client = Http(server)
            answer = client.connection.call(data)
            assert (answer.status, answer.json()["code"]) == (status, "toolarge")
            assert client.connection.receive_all() == b""
            client.close()
        client = Http(server)
        assert client.request("GET", "/healthz", headers=[("X-A", "a" * 300)]).status == 200
        client.close()


def test_input_bytes_max():
    """Incomplete requests of many connections: those beyond are told busy and closed, whole requests are served."""
    with Server("--net.input_bytes_max", "64KiB", shards=1) as server:
        admin = Resp(server)
        admin.create("e", pools=[("ga", 1000)])
        part = b"*2\r\n$4\r\nECHO\r\n$30000\r\n" + b"x" * 20000
        socks = [socket.create_connection(server.resp) for _ in range(12)]
        for sock in socks:
            sock.sendall(part)
        time.sleep(0.3)
        refused, waiting = 0, []
        for sock in socks:
            sock.settimeout(0.2)
            try:
                got = sock.recv(4096)
                refused += 1
                assert got.startswith(b"-BUSY "), got
            except (TimeoutError, socket.timeout):
                waiting.append(sock)
        assert refused > 0 and waiting, f"{refused} refused, {len(waiting)} wait"
        for n in range(50):
            assert admin.hold("e", f"u{n}", pools=[("ga", 1)]).ok
        for sock in waiting:  # nothing of theirs is lost
            sock.settimeout(10 * SLOWNESS)
            sock.sendall(b"x" * 10000 + b"\r\n")
            got = b""
            while len(got) < 30010:
                more = sock.recv(65536)
                assert more, "closed"
                got += more
            assert got == b"$30000\r\n" + b"x" * 30000 + b"\r\n"
        for sock in socks:
            sock.close()
        assert admin.command("ECHO", "y" * 30000) == "y" * 30000, "room again"
        admin.close()


def connections(server):
    """Open ones, without the one that asks."""
    http = Http(server)
    count = metric(http, "holdfast_connections") - 1
    http.close()
    return count


def test_replies_bytes_max():
    with Server("--net.replies_bytes_max", "1MiB", "--net.output_bytes_max", "128KiB", shards=1) as server:
        admin = Resp(server)
        admin.create("e", sections=[("A", 100, 1000)], pools=[("ga", 10)])
        deaf = []
        for _ in range(40):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(server.resp)
            sock.sendall(resp_request("SEATS", "e", "A") * 100)
            deaf.append(sock)

        def closed():
            try:
                return connections(server) < 1 + len(deaf)
            except ConnectionError:
                return False  # it was this one that asked for more than there was

        assert poll(closed), "who does not read is closed"
        time.sleep(0.5)  # those who are left have as much as one may have, and ask for no more
        for n in range(5):
            assert admin.hold("e", f"u{n}", pools=[("ga", 1)]).ok, "who reads is served"
        for sock in deaf:
            sock.close()
        assert poll(lambda: admin.seats("e", "A").ok, 5), "service again"
        admin.close()


def test_stop_seconds():
    """A stop waits so long for who does not take his answers, then ends all the same, and well; nothing is lost."""
    with Server("--net.stop_seconds", 1, shards=2) as server:
        admin = Resp(server)
        assert admin.create("e", sections=[("A", 100, 1000)]).ok
        hold = admin.hold("e", "u", seats=["A/1/1"])["hold"]
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(server.resp)
            deaf.sendall(resp_request("SEATS", "e", "A") * 100)
            time.sleep(0.2)
            begun = time.monotonic()
            server.terminate()
            assert server.process.wait(30 * SLOWNESS) == 0, server.log()
            assert time.monotonic() - begun >= 0.9, "it waited for the answers"
        again = Server(data=server.data, shards=1)
        assert Resp(again).get(hold)["state"] == "held"
        again.stop()


def is_busy(answer):
    assert answer.ok or answer.code == "busy", answer
    return answer.code == "busy"


@pytest.mark.parametrize("protocol", [Resp, Http])
def test_holds_max(protocol):
    with Server("--core.holds_max", 16, shards=1) as server:
        client = protocol(server)
        client.create("e", sections=[("A", 1, 30)], pools=[("ga", 100)])
        holds = []
        for n in range(16):
            answer = client.hold("e", f"u{n}", pools=[("ga", 1)])
            if is_busy(answer):
                break
            holds.append(answer["hold"])
        assert 12 <= len(holds) <= 16
        before = client.event("e").data
        assert is_busy(client.hold("e", "w", pools=[("ga", 1)])) and is_busy(client.hold("e", "w", seats=["A/1/1"]))
        assert is_busy(client.hold("e", "u0", best=("A", 2)))
        assert client.event("e").data == before and client.seats("e", "A")["1"] == "F" * 30
        for n, hold in enumerate(holds):
            assert client.get(hold)["state"] == "held"
        assert client.confirm(holds[0], "u0").ok and client.extend(holds[1], "u1", 600).ok
        assert client.release(holds[2], "u2").ok
        assert poll(lambda: client.hold("e", "w", seats=["A/1/1"]).ok, 5), "an ended hold makes room"
        assert client.event("e")["counts"]["sold"] == 1
        assert client.event("e")["counts"]["held"] == len(holds) - 1
        client.close()


@pytest.mark.parametrize("protocol", [Resp, Http])
def test_users_max(protocol):
    with Server("--core.users_max", 16, shards=1) as server:
        client = protocol(server)
        client.create("e", pools=[("ga", 100)])
        holds = {}
        for n in range(17):
            answer = client.hold("e", f"u{n}", pools=[("ga", 1)])
            if is_busy(answer):
                break
            holds[f"u{n}"] = answer["hold"]
        assert 12 <= len(holds) <= 16
        assert is_busy(client.hold("e", "w", pools=[("ga", 1)]))
        assert client.event("e")["counts"]["held"] == len(holds)
        assert client.hold("e", "u0", pools=[("ga", 1)]).ok, "who has a hold may have another"
        assert client.release(holds["u1"], "u1").ok
        assert poll(lambda: client.hold("e", "w", pools=[("ga", 1)]).ok, 5)
        client.close()


@pytest.mark.parametrize("protocol", [Resp, Http])
def test_events_max(protocol):
    with Server("--core.events_max", 3, shards=2) as server:
        client = protocol(server)
        for n in range(3):
            assert client.create(f"e{n}", pools=[("ga", 5)]).ok
        assert is_busy(client.create("e3", pools=[("ga", 5)]))
        assert client.event("e3").code == "noevent" and len(client.events().data) == 3
        assert client.create("e0", pools=[("ga", 5)]).ok and client.create("e0", pools=[("ga", 6)]).code == "exists"
        assert client.hold("e2", "u", pools=[("ga", 1)]).ok
        client.close()


def test_ten_thousand_events():
    with Server(shards=2) as server:
        client = Resp(server)
        makers = [Resp(server) for _ in range(20)]  # a connection makes one after the other, each on disk before the next
        for maker, first in zip(makers, range(0, 10000, 500)):
            maker.connection.send(b"".join(resp_request("EVENT", "CREATE", f"e{n}", "POOL", "ga", "5") for n in range(first, first + 500)))
        for maker in makers:
            assert [maker.connection.receive() for _ in range(500)] == ["OK"] * 500
            maker.close()
        assert is_busy(client.create("one-more", pools=[("ga", 5)]))
        assert {event["id"] for event in client.events().data} == {f"e{n}" for n in range(10000)}
        http = Http(server)
        assert len(http.events().data) == 10000
        assert http.hold("e9999", "u", pools=[("ga", 1)]).ok and client.event("e9999")["counts"]["held"] == 1
        client.close()
        http.close()


@pytest.mark.parametrize("protocol", [Resp, Http])
def test_seats_max(protocol):
    with Server("--core.seats_max", 100, shards=1) as server:
        client = protocol(server)
        assert is_busy(client.create("large", sections=[("A", 1, 101)]))
        assert client.event("large").code == "noevent"
        assert client.create("most", sections=[("A", 1, 60)]).ok
        assert is_busy(client.create("more", sections=[("A", 1, 60)], pools=[("ga", 5)]))
        assert client.create("rest", sections=[("A", 1, 20)]).ok and client.create("pools", pools=[("ga", 500)]).ok
        assert client.hold("rest", "u", seats=["A/1/20"]).ok and client.hold("most", "u", seats=["A/1/60"]).ok
        client.close()


def test_seats_max_on_several_shards():
    """Some shards have room for their part of the event and others have not: refused as a whole, and no room is lost by it."""
    with Server("--core.seats_max", 3000, shards=3) as server:
        client, made = Resp(server), []
        for n in range(30):
            if not is_busy(client.create(f"e{n}", sections=[("A", 3, 1000)])):
                made.append(f"e{n}")
            else:
                assert client.event(f"e{n}").code == "noevent"
        assert 1 <= len(made) <= 3
        for n in range(200):
            is_busy(client.create(f"again{n}", sections=[("A", 4, 1000)]))
        for name in made:
            assert client.hold(name, "u", best=("A", 5)).ok and client.event(name)["counts"]["held"] == 5
        client.close()


@pytest.mark.parametrize("protocol", [Resp, Http])
def test_event_bytes_max(protocol):
    with Server("--core.event_bytes_max", "4KiB", shards=2) as server:
        client = protocol(server)
        rows = [f"r{n}x" for n in range(400)]
        assert is_busy(client.create("large", sections=[("A", rows, [1] * 400)]))
        assert client.event("large").code == "noevent"
        made = 0
        for n in range(100):
            if is_busy(client.create(f"e{n}", pools=[("ga", 5)])):
                break
            made += 1
        assert 5 <= made < 100
        assert len(client.events().data) == made
        assert client.hold(f"e{made - 1}", "u", pools=[("ga", 1)]).ok
        client.close()


@pytest.mark.parametrize("protocol", [Resp, Http])
def test_key_bytes_max(protocol):
    """The oldest answers are forgotten: a repetition is then a new request; younger keys still replay."""
    with Server("--core.key_bytes_max", "4KiB", shards=1) as server:
        client = protocol(server)
        client.create("e", pools=[("ga", 10000)])
        holds = [client.hold("e", "u", pools=[("ga", 1)], key=f"key-{n}")["hold"] for n in range(300)]
        assert client.event("e")["counts"]["held"] == 300
        assert client.hold("e", "u", pools=[("ga", 1)], key="key-299")["hold"] == holds[299]
        assert client.hold("e", "u", pools=[("ga", 1)], key="key-0")["hold"] not in holds
        assert client.event("e")["counts"]["held"] == 301
        client.close()


def test_tokens_max():
    """16 places of a shard: the next one is refused; an ended one makes room."""
    with Server("--core.tokens_max", 16, shards=1) as server:
        resp, http = Resp(server), Http(server)
        assert resp.create("e", pools=[("ga", 100)], queue=(1, 600, 600)).ok
        tokens = [(http if n % 2 else resp).join("e", f"u{n}")["token"] for n in range(16)]
        for client in (resp, http):
            assert is_busy(client.join("e", "late"))
        assert resp.join("e", "u7")["token"] == tokens[7], "who is there already stays there"
        assert [http.token(token)["position"] for token in tokens[1:]] == list(range(1, 16))
        assert http.leave(tokens[3]).ok
        assert resp.join("e", "late")["position"] == 15
        assert is_busy(http.join("e", "later"))
        resp.close(), http.close()


def test_watchers_max():
    """16 watches and polls of a shard: the next one is busy, and what is watched stays so; service again when one ends."""
    with Server("--core.watchers_max", 16, shards=1) as server:
        api, watcher = Resp(server), Resp(server)
        assert api.create("e", pools=[("ga", 100)], queue=(1, 600, 600)).ok
        tokens = [api.join("e", f"u{n}")["token"] for n in range(20)]
        for token in tokens[1:17]:
            assert watcher.watch(token).ok
        assert is_busy(watcher.watch(tokens[17]))
        assert is_busy(Http(server).token(tokens[17], wait_ms=20000)), "at once"
        assert watcher.watch(tokens[5]).ok, "watching twice is watching once"
        assert watcher.watch(tokens[16], "UNWATCH").ok
        assert watcher.watch(tokens[17]).ok and is_busy(watcher.watch(tokens[18]))
        assert api.leave(tokens[0]).ok
        push = watcher.push()
        while push["state"] == "waiting":
            push = watcher.push()
        assert (push["token"], push["state"]) == (tokens[1], "active")
        watcher.close()
        again = Resp(server)
        assert poll(lambda: again.watch(tokens[18]).ok)
        api.close(), again.close()


def test_polls_beyond_half_of_the_requests():
    """Four of eight requests of a shard may be polls that wait; a fifth is answered at once and told when to ask again."""
    with Server("--net.requests_max", 8, shards=1) as server:
        api = Resp(server)
        assert api.create("e", pools=[("ga", 100)], queue=(1, 600, 600)).ok
        tokens = [api.join("e", f"u{n}")["token"] for n in range(8)]
        polls = [Connection(server.http, HttpReader()) for _ in range(4)]
        for connection, token in zip(polls, tokens[1:]):
            connection.send(http_request("GET", f"/v1/queue/{token}?wait_ms=30000"))
        beyond = Http(server)
        assert poll(lambda: metric(beyond, "holdfast_requests_in_flight") >= 4), "the four have come"
        beyond.connection.send(http_request("GET", f"/v1/queue/{tokens[6]}?wait_ms=30000"))
        answer = beyond.connection.receive().json()
        assert answer["state"] == "waiting" and answer["poll_in_ms"] >= 250
        assert metric(beyond, "holdfast_requests_in_flight") >= 4, "while they wait on"
        assert api.hold("e", "u0", pools=[("ga", 1)]).ok, "the others have room"
        assert api.leave(tokens[0]).ok
        assert polls[0].receive().json()["state"] == "active"
        for connection in polls:
            connection.close()
        beyond.close(), api.close()


def test_ended_tokens_are_forgotten():
    with Server("--core.ended_seconds", 1, shards=1) as server:
        api = Resp(server)
        assert api.create("e", pools=[("ga", 100)], queue=(1, 600, 600)).ok
        token = api.join("e", "u")["token"]
        assert api.leave(token)["state"] == "left" and api.token(token)["state"] == "left"
        assert poll(lambda: api.token(token).code == "notoken")
        api.close()


def test_ended_seconds_and_key_seconds():
    with Server("--core.ended_seconds", 1, "--core.key_seconds", 1, shards=2) as server:
        for client in (Resp(server), Http(server)):
            event = f"e-{client.protocol}"
            client.create(event, sections=[("A", 1, 9)], hold_seconds=60)
            ended = client.hold(event, "u", seats=["A/1/1"])["hold"]
            sold = client.hold(event, "u", seats=["A/1/2"])["hold"]
            live = client.hold(event, "u", seats=["A/1/3"], key=event)["hold"]
            assert client.release(ended, "u").ok and client.confirm(sold, "u").ok
            assert client.get(ended)["state"] == "released"
            assert client.hold(event, "u", seats=["A/1/3"], key=event)["hold"] == live
            assert poll(lambda: client.get(ended).code == "nohold", 10)
            assert client.release(ended, "u").code == "nohold"
            assert client.get(sold)["state"] == "confirmed" and client.get(live)["state"] == "held"
            assert poll(lambda: client.hold(event, "u", seats=["A/1/4"], key=event).ok, 10), "the key is free again"
            client.close()


def rounds_until_all_are_held(event, admin, clients):
    """900 holds over three shards, asked at once, and those that were busy again: how often it took."""
    assert admin.create(event, sections=[(name, 1, 1000) for name in "ABC"], pools=[("ga", 100000)]).ok
    wanted = {n: dict(seats=[f"A/1/{n + 1}", f"B/1/{n + 1}", f"C/1/{n + 1}"], pools=[("ga", 1)]) for n in range(900)}
    for rounds in range(1, 201):
        tried = list(wanted)
        for n in tried:
            client = clients[n % len(clients)]
            client.connection.send(client.hold_request(event, f"u{n}", **wanted[n]))
        for n in tried:
            client = clients[n % len(clients)]
            if not is_busy(client.read(client.connection.receive(), client.hold_form)):
                del wanted[n]
        assert admin.event(event)["counts"]["held"] == 4 * (900 - len(wanted))
        if not wanted:
            break
    assert not wanted, f"{len(wanted)} are still busy after 200 rounds"
    assert set(admin.seats(event, "B")["1"]) == {"H", "F"} and admin.seats(event, "B")["1"].count("H") == 900
    return rounds


@pytest.mark.parametrize("setting,value", [("core.operations_max", 8), ("core.operations_max", 16), ("core.batch_bytes_max", "64KiB")])
def test_bounds_of_work_under_way(setting, value):
    """Beyond them commands are busy, and change nothing: what was answered is what there is; tried again, all succeed."""
    with Server(f"--{setting}", value, shards=3) as server:
        admin = Resp(server)
        clients = [Resp(server) if n % 2 else Http(server) for n in range(6)]
        # a batch is full only where the disk is slower than the clients: not every time
        reached = any(rounds_until_all_are_held(f"e{n}", admin, clients) > 1 for n in range(20))
        assert reached, "none was busy: the bound was not reached"
        for client in (*clients, admin):
            client.close()


@pytest.mark.parametrize("setting", ["core.holds_max", "core.users_max", "core.operations_max", "core.expire_batch", "net.buffers", "net.pipeline_max"])
def test_no_value_that_check_allows_breaks_the_start(setting, tmp_path):
    """The least value that serve --check takes: a server with it starts and serves."""
    least = next(n for n in (2**k for k in range(12)) if run("serve", "--check", f"--{setting}", n)[0] == 0)
    with Server(f"--{setting}", least, shards=2) as server:
        client = Resp(server)
        assert client.create("e", pools=[("ga", 5)]).ok and client.hold("e", "u", pools=[("ga", 1)]).ok
        client.close()


def test_expire_batch():
    with Server("--core.expire_batch", 1, shards=2) as server:
        client = Resp(server)
        client.create("e", pools=[("ga", 3000)], hold_seconds=1)
        client.connection.send(b"".join(client.hold_request("e", f"u{n}", pools=[("ga", 1)]) for n in range(3000)))
        for _ in range(3000):
            last = client.read(client.connection.receive(), client.hold_form)
        assert poll(lambda: client.event("e")["counts"]["free"] == 3000, 10)
        assert time.time() * 1000 >= last["deadline_ms"] - 2
        client.close()


def test_sizes_of_texts(server, new_id):
    event = new_id()
    for client in (Resp(server), Http(server)):
        client.create(event, pools=[("ga", 100)])
        user = client.protocol
        hold = client.hold(event, user, pools=[("ga", 1)], key="k" * 255)["hold"]
        assert client.hold(event, user, pools=[("ga", 1)], key="k" * 255)["hold"] == hold
        assert client.confirm(hold, user, ref="r" * 129).code == "badrequest"
        assert client.confirm(hold, user, ref="r" * 128).ok
        client.close()
    http = Http(server)
    for size, status in ((128, 200), (129, 400)):
        answer = http.request("GET", f"/v1/events/{event}", headers=[("X-Request-ID", "r" * size)])
        assert answer.status == status, answer
    for size, status in ((255, 200), (256, 400)):
        assert http.request("POST", f"/v1/holds/{hold}/confirm", {"user": "http"}, [("Idempotency-Key", "z" * size)]).status == status
    http.close()


def test_the_longest_names(server):
    """Ids and names of full length are taken, and told whole where a refusal names them; one more is malformed."""
    name = "n" * 16
    for client in (Resp(server), Http(server)):
        event, user = client.protocol[0] * 64, "u" * 64
        assert client.create(event, sections=[(name, [name], [5])], pools=[(name[1:] + "p", 5)], limit=1_000_000_000).ok
        assert client.hold(event, user, seats=[f"{name}/{name}/1"])["seats"][0]["seat"] == f"{name}/{name}/1"
        longest = f"{name}/{name}/999999999"
        assert client.hold(event, user, seats=[longest]).figures == {"unit": longest}
        assert client.event("x" * 64).figures == {"unit": "x" * 64}
        for wrong in (client.event(event + "x"), client.create(event + "x", pools=[("p", 1)]), client.hold(event, user + "u", pools=[("p", 1)]),
                      client.hold(event, user, seats=[f"{name}n/{name}/1"]), client.hold(event, user, seats=[f"{name}/{name}/1234567890"]),
                      client.create("e1", sections=[(name + "n", 1, 1)]), client.create("e2", pools=[(name + "n", 1)]),
                      client.create("e3", pools=[("p", 1)], limit=1_000_000_001)):
            assert wrong.code == "badrequest", wrong
        client.close()


def test_shards_max():
    code, _, text = run("serve", "--check", "--shards", 65)
    assert code == 2 and "65" in text
    if not SANITIZED:
        with Server("--journal.segment_bytes", "4MiB", "--core.batch_bytes_max", "1MiB", shards=64) as server:
            client = Http(server)
            assert server.shards == 64 and client.create("e", sections=[("A", 64, 1024)], pools=[("ga", 640)]).ok
            for n in range(1, 65):
                assert client.hold("e", f"u{n}", seats=[f"A/{n}/1"], pools=[("ga", 10)]).ok
            assert client.event("e")["counts"]["held"] == 64 * 11
            assert client.hold("e", "w", pools=[("ga", 1)]).code == "heldout"
            client.close()


def test_memory_of_seats_is_there_before_they_are_held():
    """It is touched by a thread beside the shards, so that no hold waits for the kernel to clear it (net/warm.c)."""
    with Server(shards=1) as server:
        before = server.rss_bytes()
        assert Http(server).create("e", sections=[("A", 1000, 1000)]).ok
        assert poll(lambda: server.rss_bytes() - before >= 13_000_000), (before, server.rss_bytes())


def test_memory_of_expected_holds_is_there_from_the_start():
    """Touched before the ready line, so holds that come find it so: a hundred thousand of them add next to nothing."""
    grown = []
    for expected in (0, 200000):
        with Server("--core.holds_expected", expected, shards=1) as server:
            client = Resp(server)
            at_start = server.rss_bytes()
            assert client.create("e", pools=[("ga", 100000)]).ok
            before = server.rss_bytes()
            for first in range(0, 100000, 10000):
                client.connection.send(b"".join(client.hold_request("e", f"u{first + n}", pools=[("ga", 1)]) for n in range(10000)))
                for _ in range(10000):
                    assert client.read(client.connection.receive(), client.hold_form).ok
            grown.append((at_start, server.rss_bytes() - before))
            client.close()
    if not SANITIZED:  # their own memory of each byte comes when it is used
        (start, late), (start_expected, late_expected) = grown
        assert start_expected - start >= 200000 * 150, grown
        assert late > 100000 * 120 and late_expected < 100000 * 40, grown
