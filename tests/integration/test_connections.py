"""test_connections.py - clients that behave badly or come in numbers: pipelines of 10,000, one that never reads, 10,000 idle
ones, heads and bodies by the byte, connections beyond the bound."""
import socket
import threading
import time

import pytest

from api import Http, Resp
from server import SANITIZED, SLOWNESS, Server, poll
from wire import http_request, resp_request


def sender(sock, data):
    """Sends while somebody else reads: a pipeline is larger than what the sockets hold."""
    thread = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
    thread.start()
    return thread


def closed_within(sock, seconds):
    """The seconds until the server closed, or None."""
    sock.settimeout(seconds)
    start = time.monotonic()
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except (TimeoutError, socket.timeout):
        return None
    return time.monotonic() - start


def goes_on(server):
    resp, http = Resp(server), Http(server)
    assert resp.command("PING") == "PONG" and http.request("GET", "/healthz").status == 200
    resp.close()
    http.close()


@pytest.mark.parametrize("shards", [1, 3])
def test_10000_pipelined_over_resp(servers, new_id, shards):
    """In order, though they are done on several shards, with commands of the server itself in between."""
    resp, event = Resp(servers(shards)), new_id()
    assert resp.create(event, sections=[("A", 10, 1000)], pools=[("ga", 10000)]).ok
    requests, count = [], 10000
    for n in range(count):
        if n % 4 == 0:
            requests.append(resp_request("HOLD", event, f"u{n}", "SEAT", f"A/{1 + n // 1000}/{1 + n % 1000}"))
        elif n % 4 == 1:
            requests.append(resp_request("HOLD", event, f"u{n}", "POOL", "ga", "1"))
        elif n % 4 == 2:
            requests.append(resp_request("ECHO", f"number {n}"))
        else:
            requests.append(resp_request("HOLD", event, "u", "SEAT", f"Z/1/{n}"))
    thread = sender(resp.connection.socket, b"".join(requests))
    for n in range(count):
        answer = resp.connection.receive()
        if n % 4 == 0:
            assert answer[2] == f"A/{1 + n // 1000}/{1 + n % 1000}", n
        elif n % 4 == 1:
            assert len(answer) == 2, n
        elif n % 4 == 2:
            assert answer == f"number {n}"
        else:
            assert answer.word == "NOSEAT" and f"unit=Z/1/{n}" in answer.line, n
    thread.join(10)
    assert resp.event(event)["counts"]["held"] == count // 2
    resp.close()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_pipeline_whose_requests_depend_on_each_other(servers, new_id, size):
    """Requests are decoded ahead of those before them: a version, an event, a line or an end in between changes what
    follows, however the bytes are cut."""
    resp, event = Resp(servers(1)), new_id()
    resp.connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    hold = [resp_request("HOLD", event, f"u{n}", "POOL", "ga", "1") for n in range(20)]
    data = b"".join([hold[0], resp_request("EVENT", "CREATE", event, "POOL", "ga", 3), *hold[:2], b"\r\n*0\r\n",
                     f"HOLD {event} u2 POOL ga 1\r\n".encode(), hold[3], resp_request("CLIENT", "GETNAME"),
                     resp_request("HELLO", 3), resp_request("CLIENT", "GETNAME"), *hold[4:], b"HOLD x\r\n",
                     resp_request("EVENT", "SET", event, "pool.ga.capacity", 4), hold[19], resp_request("PING"), b"*1\r\n!\r\n",
                     hold[18]])
    for at in range(0, len(data), size):
        resp.connection.socket.sendall(data[at:at + size])
    answers = [resp.connection.receive() for _ in range(30)]
    words = [answer.word if isinstance(answer, Exception) else answer if isinstance(answer, str) else type(answer).__name__
             for answer in answers]
    assert words == ["NOEVENT", "OK", "list", "list", "list", "HELDOUT", "NoneType", "dict", "NoneType", *["HELDOUT"] * 16, "ERR",
                     "OK", "list", "PONG", "ERR"]
    assert "Protocol error" in answers[-1].line
    assert closed_within(resp.connection.socket, 10) is not None
    resp.close()


@pytest.mark.parametrize("shards", [1, 3])
def test_10000_pipelined_over_http(servers, new_id, shards):
    http, event = Http(servers(shards)), new_id()
    assert http.create(event, sections=[("A", 10, 1000)]).ok
    count = 10000
    requests = [
        Http.hold_request(event, f"u{n}", seats=[f"A/{1 + n // 1000}/{1 + n % 1000}"]) if n % 3 else http_request("GET", f"/nowhere/{n}")
        for n in range(count)
    ]
    thread = sender(http.connection.socket, b"".join(requests))
    for n in range(count):
        answer = http.connection.receive()
        if n % 3:
            assert answer.status == 201 and answer.json()["seats"][0]["seat"] == f"A/{1 + n // 1000}/{1 + n % 1000}", n
        else:
            assert answer.status == 404, n
    thread.join(10)
    assert http.event(event)["counts"]["held"] == sum(1 for n in range(count) if n % 3)
    http.close()


def test_a_client_that_never_reads(new_id):
    """Its requests are not read on once its answers fill the bound; without progress it is closed; others notice nothing."""
    with Server("--net.write_seconds", 2, "--net.output_bytes_max", "64KiB", shards=2) as server:
        resp, event = Resp(server), new_id()
        assert resp.create(event, sections=[("A", 100, 1000)], pools=[("ga", 10**9)]).ok
        before = server.rss_bytes()
        for address, request in ((server.resp, resp_request("SEATS", event, "A")), (server.http, Http.seats_request(event, "A"))):
            deaf = socket.create_connection(address)
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(0.2)
            sent = 0
            start = time.monotonic()
            try:  # SEATS is 100 KB an answer: 5,000 of them are 500 MB
                while sent < 5000 and time.monotonic() - start < 15 * SLOWNESS:
                    deaf.sendall(request)
                    sent += 1
            except (TimeoutError, socket.timeout, ConnectionError):
                pass
            for n in range(20):
                assert resp.hold(event, f"u{n}", pools=[("ga", 1)]).ok, "the others notice nothing"
            if not SANITIZED:
                assert server.rss_bytes() - before < 64 << 20, "what it does not read is not piled up"

            def gone():
                try:
                    deaf.send(b"\r\n")
                    return False
                except (BrokenPipeError, ConnectionResetError):
                    return True
                except (TimeoutError, socket.timeout):
                    return False

            assert poll(gone, 10), "not closed, long after net.write_seconds"
            deaf.close()
        goes_on(server)
        resp.close()


def test_a_client_that_reads_slowly_gets_everything(new_id):
    with Server("--net.output_bytes_max", "16KiB", shards=2) as server:
        resp, event = Resp(server), new_id()
        assert resp.create(event, sections=[("A", 200, 1000)]).ok
        for protocol in (Resp, Http):
            slow = protocol(server)
            thread = sender(slow.connection.socket, slow.seats_request(event, "A") * 20)
            time.sleep(0.3)
            for _ in range(20):
                answer = slow.read(slow.connection.receive(), slow.seats_form)
                assert len(answer.data) == 200 and set(answer.data.values()) == {"F" * 1000}
            thread.join(10)
            slow.close()
        resp.close()


@pytest.mark.alone
def test_10000_idle_connections(new_id):
    count = 2000 if SANITIZED else 10000
    with Server(shards=2) as server:
        goes_on(server)
        idle = []
        for n in range(count):
            idle.append(socket.create_connection(server.resp if n % 2 == 0 else server.http))
            if n % 500 == 0:
                time.sleep(0.01)
        for n in (0, 1, count // 2, count - 2, count - 1):  # they are served, not just in the backlog
            idle[n].sendall(resp_request("PING") if n % 2 == 0 else http_request("GET", "/healthz"))
            idle[n].settimeout(20 * SLOWNESS)
            assert idle[n].recv(4096).startswith(b"+PONG" if n % 2 == 0 else b"HTTP/1.1 200")
        rss = server.rss_bytes()
        print(f"{count} idle connections: {rss / 1e6:.1f} MB resident")
        if not SANITIZED:
            assert rss <= 100e6, f"{rss / 1e6:.1f} MB resident with {count} idle connections"
        resp, event = Resp(server), new_id()
        assert resp.create(event, pools=[("ga", 5)]).ok and resp.hold(event, "u1", pools=[("ga", 1)]).ok
        resp.close()
        for sock in idle:
            sock.close()
        goes_on(server)


SLOW = {
    "http-head": ("http", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 4000),
    "http-body": ("http", b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" + b" " * 4000),
    "http-request-line": ("http", b"GET /" + b"a" * 4000),
    "resp-bulk": ("resp", b"*2\r\n$4\r\nECHO\r\n$4000\r\n" + b"a" * 4000),
    "resp-count": ("resp", b"*1000\r\n" + b"$1\r\na\r\n" * 600),
    "resp-inline": ("resp", b"ECHO " + b"a" * 4000),
}


def test_slowloris():
    """By the byte, ten a second: closed by the deadline of the whole request, however alive the client seems."""
    with Server("--net.request_seconds", 2, shards=2) as server:
        socks = {}
        for name, (protocol, data) in SLOW.items():
            sock = socket.create_connection(server.http if protocol == "http" else server.resp)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            # all but the last byte of what comes before the slow part at once
            head = data.find(b"\r\n\r\n") + 4 if name == "http-body" else 8
            sock.send(data[:head])
            socks[name] = [sock, data, head, time.monotonic(), None]
        idle = [socket.create_connection(address) for address in (server.http, server.resp)]
        end = time.monotonic() + 8 * SLOWNESS
        while time.monotonic() < end and any(entry[4] is None for entry in socks.values()):
            for entry in socks.values():
                sock, data, at, start, closed = entry
                if closed is not None:
                    continue
                try:
                    if sock.recv(4096) == b"":
                        entry[4] = time.monotonic() - start
                        continue
                except BlockingIOError:
                    pass
                except ConnectionResetError:
                    entry[4] = time.monotonic() - start
                    continue
                try:
                    entry[2] += sock.send(data[at : at + 1])
                except (BrokenPipeError, ConnectionResetError):
                    entry[4] = time.monotonic() - start
            time.sleep(0.1)
        for name, (_, _, _, _, closed) in socks.items():
            assert closed is not None, f"{name}: still open"
            assert closed >= 1.8, f"{name}: closed after {closed:.1f} s, before its time"
            assert closed <= 4.5 * SLOWNESS, f"{name}: closed after {closed:.1f} s"
        idle[0].sendall(http_request("GET", "/healthz"))
        idle[1].sendall(resp_request("PING"))
        for sock in idle:
            sock.settimeout(5 * SLOWNESS)
            assert sock.recv(4096).startswith((b"HTTP/1.1 200", b"+PONG")), "an idle connection stays open"
            sock.close()


def test_a_whole_request_in_small_pieces_is_served(server, new_id):
    event = new_id()
    for protocol in (Resp, Http):
        client = protocol(server)
        client.create(event, pools=[("ga", 9)])
        for byte in client.hold_request(event, "u1", pools=[("ga", 1)]):
            client.connection.send(bytes([byte]))
        assert client.read(client.connection.receive(), client.hold_form).ok
        client.close()


def test_half_closed_connections_get_their_answers(server, new_id):
    """A client that shuts its side down after its requests still gets every answer."""
    event = new_id()
    for protocol in (Resp, Http):
        client = protocol(server)
        client.create(event, pools=[("ga", 1000)])
        client.connection.send(b"".join(client.hold_request(event, f"u{n}", pools=[("ga", 1)]) for n in range(100)))
        client.connection.socket.shutdown(socket.SHUT_WR)
        for _ in range(100):
            assert client.read(client.connection.receive(), client.hold_form).ok
        assert client.connection.receive_all() == b""
        client.close()


def test_connections_that_die_with_requests_under_way(server, new_id):
    """Clients that go without their answers: the holds exist, the server goes on."""
    event, resp = new_id(), Resp(server)
    assert resp.create(event, pools=[("ga", 100000)], sections=[("A", 100, 100)]).ok
    for n in range(100):
        client = (Resp if n % 2 else Http)(server)
        client.connection.send(b"".join(client.hold_request(event, f"x{n}-{k}", pools=[("ga", 1)]) for k in range(50)))
        if n % 4 < 2:
            client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        client.close()
    counts = resp.event(event)["counts"]
    assert counts["held"] <= 5000
    goes_on(server)
    resp.close()


def test_http_keep_alive_and_close(server):
    http = Http(server)
    for _ in range(3):
        assert http.request("GET", "/healthz").status == 200
    answer = http.request("GET", "/healthz", headers=[("Connection", "close")])
    assert answer.status == 200 and answer.headers["connection"].lower() == "close"
    assert http.connection.receive_all() == b""
    http.close()


def test_resp_quit_and_reset(server):
    resp = Resp(server)
    assert resp.command("RESET") == "RESET"
    assert resp.command("PING", "x") == "x"
    assert resp.command("CLIENT", "SETNAME", "me") == "OK" and resp.command("CLIENT", "GETNAME") == "me"
    assert isinstance(resp.command("CLIENT", "ID"), int)
    assert resp.command("SELECT", "0") == "OK" and resp.command("SELECT", "1").word == "ERR"
    assert resp.command("HELLO", "4").word == "NOPROTO"
    assert resp.command("QUIT") == "OK" and resp.connection.receive_all() == b""
    resp.close()
