"""test_clients.py - clients that people have, unchanged: redis-cli, redis-benchmark, redis-py (RESP2, RESP3), Node's Redis and
HTTP clients, curl, requests, httpx, aiohttp."""
import asyncio
import json
import pathlib
import subprocess

import aiohttp
import httpx
import pytest
import redis
import requests

from api import Http, Resp
from server import SLOWNESS
from wire import Connection, HttpReader, http_request

NODE = pathlib.Path(__file__).parent / "node"


def output(*command, stdin=None):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, input=stdin, timeout=60 * SLOWNESS)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def event(server, new_id):
    name, resp = new_id(), Resp(server)
    assert resp.create(name, sections=[("A", 20, 30)], pools=[("ga", 1_000_000)]).ok
    resp.close()
    return name


@pytest.mark.parametrize("version", ["-2", "-3"])
def test_redis_cli(server, event, version):
    cli = ["redis-cli", version, "-p", server.resp[1]]
    assert output(*cli, "PING") == "PONG\n"
    lines = output(*cli, "HOLD", event, "u1", "SEAT", "A/1/1", "POOL", "ga", "2").split()
    assert len(lines) == 4 and lines[2] == "A/1/1"
    assert output(*cli, "CONFIRM", lines[0], "u1", "REF", "pay 1") == "OK\n"
    assert "confirmed" in output(*cli, "GETHOLD", lines[0])
    assert output(*cli, "HOLD", event, "u2", "SEAT", "A/1/1").startswith("SOLD ")
    assert output(*cli, "SEATS", event, "A").split()[1].startswith("SFFF")
    # from a pipe, as people load data; and redis-cli's mass insertion
    commands = "".join(f"HOLD {event} p{n} POOL ga 1\n" for n in range(500))
    assert len(output(*cli, stdin=commands).split()) == 1000
    assert "errors: 0, replies: 500" in output(*cli, "--pipe", stdin=commands.replace(" p", " q"))
    assert "holdfast" in output(*cli, "INFO").lower()


def test_redis_benchmark(server, event):
    for arguments in (["-t", "ping"], ["HOLD", event, "b:__rand_int__", "POOL", "ga", "1"]):
        text = output("redis-benchmark", "-p", server.resp[1], "-n", 20000, "-c", 50, "-P", 16, "-r", 1_000_000, "-q", *arguments)
        assert "requests per second" in text and "error" not in text.lower(), text
    resp = Resp(server)
    assert resp.event(event)["counts"]["held"] == 20000
    resp.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(server, event, protocol):
    client = redis.Redis(port=server.resp[1], protocol=protocol, decode_responses=True)
    assert client.ping() is True and client.echo("x") == "x"
    # a server without keys is Redis' default user without a password
    assert client.execute_command("AUTH", "default", "whatever") in ("OK", True)
    with pytest.raises(redis.AuthenticationError, match="without any password configured"):
        client.execute_command("AUTH", "whatever")
    hold = client.execute_command("HOLD", event, "py", "SEAT", "A/2/1", "SEAT", "A/2/2")
    assert hold[2::2] == ["A/2/1", "A/2/2"] and isinstance(hold[1], int)
    got = client.execute_command("GETHOLD", hold[0])
    fields = got if protocol == 3 else dict(zip(got[::2], got[1::2]))
    assert fields["state"] == "held" and fields["deadline_ms"] == hold[1]
    with pytest.raises(redis.ResponseError, match="HELD .*unit=A/2/1"):
        client.execute_command("HOLD", event, "other", "SEAT", "A/2/1")
    pipeline = client.pipeline(transaction=False)
    for n in range(1000):
        pipeline.execute_command("HOLD", event, f"py-{n}", "POOL", "ga", 1)
    assert len({answer[0] for answer in pipeline.execute()}) == 1000
    assert client.execute_command("RELEASE", hold[0], "py") in ("OK", b"OK", True)
    assert client.client_setname("tests") and client.client_getname() == "tests"
    assert client.config_get("save") is not None and isinstance(client.info(), dict)
    assert {name.lower() for name in client.command()} >= {"hold", "confirm", "queue", "ping"}
    # an error is one line, whatever of the request it repeats
    for words in (["EVENT"], ["QUEUE"], ["CLIENT"], ["CONFIG"], ["COMMAND"], ["HELLO", protocol], ["CLIENT", "SETINFO"]):
        more = ["v"] if words[-1] == "SETINFO" else []
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command(*words, "X\r\n+FORGED\r\n", *more).execute_command("ECHO", "behind")
        refused, behind = pipeline.execute(raise_on_error=False)
        assert isinstance(refused, redis.ResponseError) and behind == "behind", (words, refused, behind)
    client.close()


def test_redis_py_asyncio(server, event):
    async def main():
        pool = redis.asyncio.BlockingConnectionPool(port=server.resp[1], protocol=3, decode_responses=True, max_connections=20)
        client = redis.asyncio.Redis(connection_pool=pool)
        holds = await asyncio.gather(*(client.execute_command("HOLD", event, f"a{n}", "POOL", "ga", 1) for n in range(300)))
        assert len({hold[0] for hold in holds}) == 300
        await client.aclose()
        await pool.disconnect()

    asyncio.run(main())


def test_node(server, event):
    seen = json.loads(output("node", NODE / "clients.mjs", server.http[1], server.resp[1], event))
    assert seen == {"node-redis-2": 201, "node-redis-3": 201, "ioredis": 100, "fetch": 20, "undici": 50, "agent": 20}
    resp = Resp(server)
    assert resp.event(event)["counts"]["held"] + resp.event(event)["counts"]["sold"] == 402 + 100 + 20 + 50 + 20
    resp.close()


def test_curl(server, event):
    base = f"http://127.0.0.1:{server.http[1]}"
    form = ["-sS", "-w", "\n%{http_code} %{num_connects}\n"]
    body, last = output("curl", *form, "-d", '{"user":"curl","seats":["A/3/1"]}', "-H", "Content-Type: application/json",
                        f"{base}/v1/events/{event}/holds").rsplit("\n", 2)[:2]
    hold = json.loads(body)
    assert last == "201 1" and hold["state"] == "held"
    # two transfers on one connection; a body large enough for curl to send Expect: 100-continue
    lines = output("curl", *form, f"{base}/v1/holds/{hold['hold']}", f"{base}/v1/events/{event}/seats?section=A").strip().split("\n")
    assert lines[1] == "200 1" and lines[3] == "200 0"
    large = json.dumps({"user": "curl", "seats": ["A/3/2"]}) + " " * (1 << 20)
    text = output("curl", *form, "-H", "Content-Type: application/json", "--data-binary", "@-", f"{base}/v1/events/{event}/holds", stdin=large)
    assert text.strip().endswith("201 1"), text
    text = output("curl", *form, "-X", "DELETE", f"{base}/v1/holds/{hold['hold']}?user=curl")
    assert '"released"' in text
    # HEAD wherever GET is, and never a body, which curl -I would wait for or warn of
    for path in ("/healthz", "/metrics", f"/v1/events/{event}", f"/v1/events/{event}/seats?section=A", "/v1/events"):
        assert output("curl", "-sS", "-I", base + path).split(" ")[1] == "200", path
    assert output("curl", "-sS", "-I", f"{base}/v1/events/nobody").split(" ")[1] == "404"
    # HTTP/1.0, as old load balancers probe
    assert output("curl", "-sS", "-0", "-o", "/dev/null", "-w", "%{http_code}", f"{base}/healthz") == "200"


def test_head_is_get_without_content(server, event):
    """On successes of every shape, lists and maps in pieces among them, and on refusals; what is pipelined behind is in step."""
    paths = ["/healthz", "/readyz", "/openapi.yaml", "/v1/events", f"/v1/events/{event}", f"/v1/events/{event}/seats?section=A",
             f"/v1/events/{event}/users/u", "/v1/events/nobody", f"/v1/events/{event}/seats?section=Z", f"/v1/events/{event}?x=1", "/nothing", "/v1/holds/x"]
    with Connection(server.http, HttpReader()) as connection:
        for path in paths:
            connection.reader.no_body = [True, False]
            connection.send(http_request("HEAD", path) + http_request("GET", path))
            head, get = connection.receive(), connection.receive()
            for answer in (head, get):
                del answer.headers["traceparent"], answer.headers["date"]
            assert (head.status, head.headers, head.body) == (get.status, get.headers, b"") and get.body, path
        for method in ("HEAD", "GET"):
            connection.reader.no_body = [method == "HEAD"]
            assert connection.call(http_request(method, f"/v1/events/{event}/holds")).headers["allow"] == "POST"


def test_requests(server, event):
    base = f"http://127.0.0.1:{server.http[1]}"
    with requests.Session() as session:
        ports = set()
        for n in range(20):
            answer = session.post(f"{base}/v1/events/{event}/holds", json={"user": f"requests-{n}", "pools": [{"name": "ga", "quantity": 1}]}, stream=True)
            ports.add(answer.raw.connection.sock.getsockname() if answer.raw.connection else None)
            assert answer.status_code == 201 and answer.json()["state"] == "held"
        assert len(ports) == 1, "one connection is kept alive"
        refused = session.post(f"{base}/v1/events/{event}/holds", json={"user": "x", "seats": ["Z/1/1"]})
        assert refused.status_code == 404 and refused.headers["content-type"].startswith("application/problem+json")
        assert session.get(f"{base}/v1/events").json()["events"]


def test_httpx(server, event):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.http[1]}") as client:
        for n in range(20):
            answer = client.post(f"/v1/events/{event}/holds", json={"user": f"httpx-{n}", "best": {"section": "A", "quantity": 2}})
            assert answer.status_code == 201 and len(answer.json()["seats"]) == 2
        hold = answer.json()["hold"]
        assert client.post(f"/v1/holds/{hold}/confirm", json={"user": "httpx-19"}).json()["state"] == "confirmed"
        assert client.request("DELETE", f"/v1/holds/{hold}", params={"user": "httpx-19"}).json()["code"] == "confirmed"


def test_aiohttp(server, event):
    async def main():
        url = f"http://127.0.0.1:{server.http[1]}/v1/events/{event}/holds"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:

            async def one(n):
                async with session.post(url, json={"user": f"aio-{n}", "pools": [{"name": "ga", "quantity": 1}]}) as answer:
                    assert answer.status == 201
                    return (await answer.json())["hold"]

            assert len(set(await asyncio.gather(*(one(n) for n in range(300))))) == 300

    asyncio.run(main())
    http = Http(server)
    assert http.event(event)["counts"]["held"] == 300
    http.close()
