"""test_bad_inputs.py - the tables of malformed inputs, against the real server: whole, byte by byte, and cut in two at every byte.

bad_resp.json and bad_http.json are also the unit tests' of the codecs. A row: name, input (each character a byte),
answer (what the answer begins with; RESP: all of it), body (HTTP), closes.
"""
import json
import pathlib
import socket
import time

import pytest

from api import Resp
from server import SANITIZED, SLOWNESS
from wire import HttpReader, http_request, resp_request

FOLDER = pathlib.Path(__file__).parent
TABLES = {name: json.loads((FOLDER / f"bad_{name}.json").read_text()) for name in ("resp", "http")}
ROWS = [(name, row) for name, table in TABLES.items() for row in table]
ALIVE = {
    "resp": (resp_request("ECHO", "alive"), b"$5\r\nalive\r\n"),
    "http": (http_request("GET", "/healthz"), b"HTTP/1.1 200 OK\r\n"),
}


def test_the_tables_are_as_long_as_promised():
    assert len(TABLES["resp"]) >= 40 and len(TABLES["http"]) >= 60


def connect(server, protocol):
    sock = socket.create_connection(server.resp if protocol == "resp" else server.http, timeout=10 * SLOWNESS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send(sock, data):
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused already: the answer tells


def is_whole(protocol, data, row):
    if protocol == "resp":
        return len(data) >= len(row["answer"])
    reader = HttpReader()
    reader.feed(data)
    return reader.next() is not None


def receive(sock, protocol, row):
    """The bytes of the answer; where the connection has to close, all there is until it does."""
    data = b""
    while row["closes"] or not is_whole(protocol, data, row):
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            break
        except (TimeoutError, socket.timeout):
            raise AssertionError(f"{row['name']}: {'not closed' if row['closes'] else 'no whole answer'} after {data!r}") from None
        if not more:
            assert row["closes"], f"{row['name']}: closed after {data!r}"
            break
        data += more
    return data


def check(protocol, row, data, how):
    wanted = row["answer"].encode("latin-1")
    if protocol == "resp":
        assert data == wanted, f"{row['name']} ({how})"
        return
    assert data.startswith(wanted), f"{row['name']} ({how}): {data!r}"
    reader = HttpReader()
    reader.feed(data)
    answer = reader.next()[0]
    assert not reader.buffer, f"{row['name']} ({how}): more than one answer: {data!r}"
    if "body" in row:
        assert answer.body.decode() == row["body"], f"{row['name']} ({how})"
    if "allow" in row:
        assert answer.headers["allow"] == row["allow"], f"{row['name']} ({how})"


def check_alive(sock, protocol, row):
    if not row["closes"]:
        request, wanted = ALIVE[protocol]
        send(sock, request)
        assert sock.recv(65536).startswith(wanted), f"{row['name']}: the connection does not go on"


@pytest.mark.parametrize("protocol,row", ROWS, ids=[f"{name}-{row['name']}" for name, row in ROWS])
def test_whole_and_split(server, protocol, row):
    data = row["input"].encode("latin-1")
    with connect(server, protocol) as sock:
        send(sock, data)
        check(protocol, row, receive(sock, protocol, row), "whole")
        check_alive(sock, protocol, row)
    with connect(server, protocol) as sock:
        for byte in data:
            send(sock, bytes([byte]))
        check(protocol, row, receive(sock, protocol, row), "byte by byte")
        check_alive(sock, protocol, row)
    # every cut at once, each on a connection of its own; of what is long, some
    cuts = list(range(1, len(data)))
    step = max(1, len(cuts) // (20 if SANITIZED else 120))
    cuts = cuts[::step]
    socks = [connect(server, protocol) for _ in cuts]
    for sock, cut in zip(socks, cuts):
        send(sock, data[:cut])
    time.sleep(0.003)
    for sock, cut in zip(socks, cuts):
        send(sock, data[cut:])
    for sock, cut in zip(socks, cuts):
        check(protocol, row, receive(sock, protocol, row), f"cut at {cut}")
        sock.close()


@pytest.mark.parametrize("protocol", TABLES)
def test_nothing_behind_a_bad_one_is_executed(server, new_id, protocol):
    """A whole good hold in the same segment behind each input that closes: one answer, the end, and nobody holds anything."""
    event = new_id()
    admin = Resp(server)
    assert admin.create(event, pools=[("ga", 1000)]).ok
    rows = [row for row in TABLES[protocol] if row["closes"]]
    assert len(rows) >= 40
    for at, row in enumerate(rows):
        smuggled = (resp_request("HOLD", event, f"u{at}", "POOL", "ga", 1) if protocol == "resp" else
                    http_request("POST", f"/v1/events/{event}/holds", {"user": f"u{at}", "pools": [{"name": "ga", "quantity": 1}]}))
        with connect(server, protocol) as sock:
            send(sock, row["input"].encode("latin-1") + smuggled)
            check(protocol, row, receive(sock, protocol, row), "with another behind it")
    assert admin.event(event)["counts"]["held"] == 0
    admin.close()
