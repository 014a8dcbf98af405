"""test_rate_limits.py - one who asks too often is refused, and nobody else notices: by user, by address, over both protocols
and several shards, at the bound of the table, and behind proxies."""
import re
import socket
import subprocess
import threading
import time

from api import Http, Resp, http_refusal
from server import Server, poll
from wire import RespError, http_request, resp_request

PROXY = "127.0.0.1"


def burst(client, count, make):
    """So many requests in one go: how many were let through, and within how many seconds."""
    begun = time.monotonic()
    client.connection.send(b"".join(make(n) for n in range(count)))
    answers = [client.connection.receive() for _ in range(count)]
    return answers, time.monotonic() - begun


def passed_resp(answers):
    for answer in answers:
        assert not isinstance(answer, RespError) or answer.word == "RATELIMIT", answer
    return sum(not isinstance(answer, RespError) for answer in answers)


def figure(server, name):
    text = Http(server).request("GET", "/metrics").body.decode()
    return sum(int(n) for n in re.findall(r"^" + re.escape(name).replace(r"\*", ".*") + r" (\d+)$", text, re.M))


def test_a_user_over_all_shards():
    """20 requests a second, through connections on every shard and both protocols: one second's worth at once, then the rate."""
    with Server("--rate.user_per_second", 20, shards=3) as server:
        resps, https = [Resp(server) for _ in range(6)], [Http(server) for _ in range(6)]
        resps[0].create("e", pools=[("ga", 1000)])
        begun = time.monotonic()
        passed = 0
        for resp, http in zip(resps, https):
            answers, _ = burst(resp, 50, lambda n: resp_request("HOLDS", "e", "greedy"))
            passed += passed_resp(answers)
            answers, _ = burst(http, 50, lambda n: http_request("GET", "/v1/events/e/users/greedy"))
            for answer in answers:
                assert answer.status == 200 or (answer.status == 429 and http_refusal(answer).code == "ratelimit")
            passed += sum(answer.status == 200 for answer in answers)
        seconds = time.monotonic() - begun
        assert 20 <= passed <= 20 + 20 * seconds + 1, "and not three times that"
        for n in range(100):  # others do not notice
            assert resps[n % 6].holds("e", f"quiet-{n}").ok
        assert poll(lambda: figure(server, 'holdfast_requests_refused_total{shard="*",reason="ratelimit_user"}') == 600 - passed)
        # what names no user is not counted for one; a malformed request is told what is wrong with it
        assert all(not isinstance(a, RespError) for a in burst(resps[0], 100, lambda n: resp_request("EVENT", "GET", "e"))[0])
        answers, _ = burst(resps[0], 100, lambda n: resp_request("HOLD", "e", "greedy", "POOL", "ga", "x"))
        assert all(answer.word == "BADREQUEST" for answer in answers)
        refused = https[0].request("GET", "/v1/events/e/users/greedy")
        if refused.status == 429:
            assert refused.headers["ratelimit-policy"] == '"user";q=20;w=1' and refused.headers["retry-after"] == "1"
        # and when it has waited it may again
        time.sleep(0.2)
        assert resps[1].holds("e", "greedy").ok
        for client in (*resps, *https):
            client.close()


def test_others_do_not_notice_meanwhile():
    """One asks at ten times its rate for three seconds; another, at half of its own, is answered every time."""
    with Server("--rate.user_per_second", 20, shards=2) as server:
        greedy, quiet = Resp(server), Http(server)
        greedy.create("e", pools=[("ga", 100000)])
        counts, over = [], threading.Event()

        def flood():
            while not over.is_set():
                begun = time.monotonic()
                counts.append(passed_resp(burst(greedy, 20, lambda n: resp_request("HOLD", "e", "greedy", "POOL", "ga", 1))[0]))
                time.sleep(max(0, begun + 0.1 - time.monotonic()))

        thread = threading.Thread(target=flood)
        begun = time.monotonic()
        thread.start()
        asked = 0
        while time.monotonic() < begun + 3:
            assert quiet.hold("e", "quiet", pools=[("ga", 1)]).ok, "nobody else's rate"
            asked += 1
            time.sleep(0.1)
        over.set()
        thread.join()
        seconds = time.monotonic() - begun
        assert asked >= 10 and len(counts) >= 10
        assert 20 <= sum(counts) <= 20 + 20 * seconds + 1 < 20 * len(counts)
        assert quiet.event("e")["counts"]["held"] == asked + sum(counts)
        greedy.close()
        quiet.close()


def own_address():
    """An address of this machine that is not loopback's; where there is none, one is added (needs root)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))  # sends nothing
            name = probe.getsockname()[0]
        except OSError:
            name = "127.0.0.1"
    if name.startswith("127."):
        name = "192.0.2.1"
        subprocess.run(["ip", "address", "replace", f"{name}/32", "dev", "lo"], check=True)
    return name


def test_a_real_address(tmp_path):
    """A client beyond loopback: 100 requests a second by default, over both protocols and all connections together, whatever it
    says of its address. Loopback does not notice."""
    from test_keys import add

    key = add(tmp_path / "keys", "op", "operator")
    with Server("--http", "0.0.0.0:0", "--resp", "0.0.0.0:0", "--keys", tmp_path / "keys", listen=False, shards=2) as server:
        near = Resp(server, version=2)
        assert near.command("AUTH", key) == "OK"
        assert near.command("EVENT", "CREATE", "e", "POOL", "ga", 10) == "OK"
        server.http, server.resp = (own_address(), server.http[1]), (own_address(), server.resp[1])
        begun = time.monotonic()
        passed = asked = 0
        for header in ("X-Forwarded-For", "Forwarded"):
            http, resp = Http(server), Resp(server, version=2)
            assert resp.command("AUTH", key) == "OK"
            headers = [("Authorization", f"Bearer {key}"), (header, "127.0.0.1" if header[0] == "X" else "for=127.0.0.1")]
            answers, _ = burst(http, 200, lambda n: http_request("GET", "/v1/events/e", headers=headers))
            for answer in answers:
                assert answer.status == 200 or (answer.status == 429 and answer.headers["ratelimit-policy"] == '"address";q=100;w=1')
            passed += sum(answer.status == 200 for answer in answers)
            passed += passed_resp(burst(resp, 200, lambda n: resp_request("EVENT", "GET", "e"))[0])
            asked += 400
            http.close()
            resp.close()
        seconds = time.monotonic() - begun
        assert 100 <= passed <= 100 + 100 * seconds + 1 and passed < asked
        server.http = ("127.0.0.1", server.http[1])
        assert passed_resp(burst(near, 500, lambda n: resp_request("EVENT", "GET", "e"))[0]) == 500
        metrics = Http(server).request("GET", "/metrics", headers=[("Authorization", f"Bearer {key}")]).body.decode()
        refused = re.findall(r'^holdfast_requests_refused_total\{shard="\d+",reason="ratelimit_address"\} (\d+)$', metrics, re.M)
        assert sum(map(int, refused)) == asked - passed
        near.close()


def test_everything_else_goes_on():
    """Refused requests change nothing, and what was let through is exactly what was done."""
    with Server("--rate.user_per_second", 10, shards=2) as server:
        resp = Resp(server)
        resp.create("e", pools=[("ga", 100000)])
        answers, _ = burst(resp, 300, lambda n: resp_request("HOLD", "e", "u", "POOL", "ga", 1))
        passed = passed_resp(answers)
        assert 10 <= passed < 300
        assert resp.event("e")["counts"]["held"] == passed
        resp.close()


def test_alone_requests_pay_once():
    """SEATS waits for what is in flight before it, and is decoded again: it is not counted twice."""
    with Server("--rate.address_per_second", 60, "--rate.proxies", PROXY, "--rate.buckets", 64, shards=2) as server:
        http = Http(server)
        Resp(server).create("e", sections=[("A", 5, 5)], pools=[("ga", 100000)])
        headers = [("X-Forwarded-For", "198.51.100.1")]
        requests = [http_request("GET", "/v1/events/e/users/u" if n % 2 else "/v1/events/e/seats?section=A", headers=headers) for n in range(60)]
        answers, _ = burst(http, 60, lambda n: requests[n])
        assert [answer.status for answer in answers] == [200] * 60
        http.close()


def test_addresses_behind_proxies():
    with Server("--rate.address_per_second", 10, "--rate.proxies", f"{PROXY},10.0.0.0/8", shards=2) as server:
        http, resp = Http(server), Resp(server)
        resp.create("e", pools=[("ga", 1000)])

        def passed(count, *headers):
            answers, seconds = burst(http, count, lambda n: http_request("GET", "/v1/events/e", headers=headers))
            assert {answer.status for answer in answers} <= {200, 429}
            number = sum(answer.status == 200 for answer in answers)
            for answer in answers:
                if answer.status == 429:
                    http_refusal(answer)
                    assert answer.headers["ratelimit-policy"] == '"address";q=10;w=1'
            assert number <= 10 + 10 * seconds + 1 or number == count
            return number

        assert passed(100) == 100, "loopback is not counted"
        assert passed(100, ("X-Forwarded-For", "198.51.100.1")) < 100
        assert passed(100, ("X-Forwarded-For", "9.9.9.9, 198.51.100.1, 10.1.1.1")) < 50, "the same client, whatever it says of itself"
        assert passed(5, ("X-Forwarded-For", "198.51.100.2")) == 5, "another one does not notice"
        assert passed(100, ("Forwarded", 'for="[2001:db8::1]:443"')) < 100
        assert passed(100, ("Forwarded", "for=\"[2001:db8::2]\"")) < 50, "the same network"
        assert passed(100, ("Forwarded", "for=unknown")) == 100, "the proxy's own address, which is loopback"
        assert passed(100, ("X-Forwarded-For", "127.0.0.1")) == 100
        # order of checks: the address before what is wrong with the request; health is never counted
        headers = [("X-Forwarded-For", "198.51.100.3")]
        answers, _ = burst(http, 100, lambda n: http_request("POST", "/v1/events/e/holds", b"{", headers))
        assert {answer.status for answer in answers} == {400, 429}
        answers, _ = burst(http, 100, lambda n: http_request("GET", "/healthz", headers=headers))
        assert {answer.status for answer in answers} == {200}
        assert passed_resp(burst(resp, 100, lambda n: resp_request("PING"))[0]) == 100
        http.close()
        resp.close()


def test_headers_of_strangers_do_not_count():
    """Not from a proxy: its word on the address is nobody's business, neither to be counted nor to escape."""
    with Server("--rate.address_per_second", 5, "--rate.proxies", "10.0.0.1", shards=1) as server:
        http = Http(server)
        Resp(server).create("e", pools=[("ga", 10)])
        answers, _ = burst(http, 100, lambda n: http_request("GET", "/v1/events/e", headers=[("X-Forwarded-For", "198.51.100.1")]))
        assert {answer.status for answer in answers} == {200}
        http.close()


def test_the_bound_of_the_table():
    """More users at once than there are buckets: some begin anew, none is refused for others' sake."""
    with Server("--rate.user_per_second", 2, "--rate.buckets", 8, shards=2) as server:
        resp = Resp(server)
        resp.create("e", pools=[("ga", 10)])
        answers, _ = burst(resp, 1000, lambda n: resp_request("HOLDS", "e", f"u{n}"))
        assert passed_resp(answers) == 1000
        assert poll(lambda: figure(server, 'holdfast_rate_buckets_evicted_total{shard="*"}'))
        resp.close()


def test_defaults(tmp_path):
    """50 a second for a user where a listener is beyond loopback; none where all are on loopback."""
    from test_keys import add

    key = add(tmp_path / "keys", "op", "operator")
    with Server("--http", "0.0.0.0:0", "--resp", "127.0.0.1:0", "--keys", tmp_path / "keys", listen=False, shards=1) as server:
        resp = Resp(server, version=2)
        assert resp.command("AUTH", key) == "OK"
        assert resp.command("EVENT", "CREATE", "e", "POOL", "ga", 10) == "OK"
        answers, seconds = burst(resp, 500, lambda n: resp_request("HOLDS", "e", "u"))
        assert 50 <= passed_resp(answers) <= 50 + 50 * seconds + 1
        resp.close()
    with Server(shards=1) as server:
        resp = Resp(server)
        resp.create("e", pools=[("ga", 10)])
        assert passed_resp(burst(resp, 2000, lambda n: resp_request("HOLDS", "e", "u"))[0]) == 2000
        resp.close()
