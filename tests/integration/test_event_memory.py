"""test_event_memory.py - who makes an event waits until its memory is there, so that the crowd does not: warm.h."""
import re
import socket
import struct
import time

import pytest

from api import Http, Resp
from server import SLOWNESS, Server, poll
from wire import http_request, resp_request

SEATS = [("A", 1000, 1000)]  # 12 bytes each
WAIT_MAX = 1.0  # seconds: then it is answered all the same


@pytest.mark.parametrize("client", [Resp, Http])
@pytest.mark.parametrize("shards", [1, 2])
def test_answered_when_its_memory_is_there(client, shards):
    with Server("--durability", "memory", shards=shards) as server:
        api = client(server)
        assert api.create("small", pools=[("ga", 1)]).ok
        before = server.rss_bytes()
        start = time.monotonic()
        assert api.create("e", sections=SEATS, pools=[("ga", 5)]).ok
        took = time.monotonic() - start
        grown = server.rss_bytes() - before
        assert grown >= 11_000_000 or took >= WAIT_MAX, f"{grown} bytes more are resident after {took:.3f} s"
        assert api.hold("e", "u", seats=["A/500/500"]).ok


def test_what_is_pipelined_behind_it_comes_after_it():
    with Server(shards=2) as server:
        with socket.create_connection(server.resp, timeout=10 * SLOWNESS) as sock:
            sock.sendall(resp_request("EVENT", "CREATE", "e", "SECTION", "A", 1000, 1000) + resp_request("HOLD", "e", "u", "SEAT", "A/1/1")
                         + resp_request("EVENT", "CREATE", "f", "SECTION", "A", 1000, 1000) + resp_request("HOLD", "f", "u", "SEAT", "A/1/1"))
            got = b""
            while got.count(b"A/1/1\r\n:1\r\n") < 2:
                got += sock.recv(65536)
            held = rb"\*4\r\n\$36\r\n[0-9a-f-]{36}\r\n:\d+\r\n\$5\r\nA/1/1\r\n:1\r\n"
            assert re.fullmatch(rb"\+OK\r\n" + held + rb"\+OK\r\n" + held, got), got


def test_many_wait_at_once():
    """More of them than there are changes of events at once (16): who only waits for memory keeps nobody else from one."""
    with Server(shards=1) as server:
        api, makers = Resp(server), []
        for n in range(40):
            makers.append(socket.create_connection(server.resp, timeout=10 * SLOWNESS))
            makers[-1].sendall(resp_request("EVENT", "CREATE", f"e{n}", "SECTION", "A", 1000, 1000))
            assert poll(lambda: api.event(f"e{n}").ok, 10, 0.0005)  # it is made
        answers = [sock.recv(64) for sock in makers]
        assert answers == [b"+OK\r\n"] * 40
        for sock in makers:
            sock.close()
        api.close()


@pytest.mark.parametrize("abort", [False, True])
def test_who_made_it_is_gone_before_the_answer(abort):
    """More of them than there are changes of events at once (16), each gone at once; all of it is made, and the next is served.

    Twelve at a time: the seventeenth at once would rightly be BUSY where the disk is slow, and nobody is there to try again.
    """
    with Server(shards=2) as server:
        api = Resp(server)
        for first in (0, 12, 24):
            for n in range(first, first + 12):
                sock = socket.create_connection(server.http if n % 2 else server.resp, timeout=10 * SLOWNESS)
                what = {"event": f"e{n}", "sections": SEATS}
                sock.sendall(http_request("POST", "/v1/events", Http.create_body(**what)) if n % 2
                             else resp_request("EVENT", "CREATE", f"e{n}", "SECTION", "A", 1000, 1000))
                if abort:
                    time.sleep(0.002)  # it has been read; RST then
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            if not abort:
                assert poll(lambda: all(api.event(f"e{n}").ok for n in range(first, first + 12)), 20)
        assert poll(lambda: api.create("last", sections=SEATS).ok, 20)
        assert api.hold("last", "u", seats=["A/1/1"]).ok
        api.close()
