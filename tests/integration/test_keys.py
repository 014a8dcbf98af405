"""test_keys.py - API keys: nothing without one but /healthz, what each role may, over both protocols; the file and its
editor; SIGHUP; and that a key is never shown by anything but the command that made it."""
import json
import os
import pathlib
import re
import signal
import stat
import subprocess

import pytest
import redis

from api import Http, Resp, http_refusal, resp_refusal
from server import BINARY, Server, poll, run
from wire import Connection, HttpReader, RespError, RespReader, http_request, resp_request

ROLES = ("client", "operator", "read")


def add(file, name, role):
    code, out, text = run("keys", "add", "--keys", file, name, role)
    assert code == 0, text
    key = out.strip()
    assert re.fullmatch(r"hf_[A-Za-z0-9_-]{43}", key) and key not in text
    return key


class Door:
    """A server with keys: one of each role, named like it."""

    def __init__(self, folder, *arguments, shards=2):
        self.file = folder / "keys"
        self.keys = {role: add(self.file, role, role) for role in ROLES}
        self.server = Server("--keys", self.file, *arguments, shards=shards)
        operator = self.resp("operator")
        operator.command("EVENT", "CREATE", "e", "SECTION", "A", 5, 10, "POOL", "ga", 1000)
        operator.close()

    def resp(self, role=None, key=None):
        client = Resp(self.server, version=2)
        key = self.keys[role] if role else key
        if key is not None:
            assert client.command("AUTH", key) == "OK"
        return client

    def http(self, method, path, key=None, body=None, headers=()):
        connection = Connection(self.server.http, HttpReader())
        headers = [*headers, ("Authorization", f"Bearer {key}")] if key is not None else headers
        answer = connection.call(http_request(method, path, body, headers))
        connection.close()
        return answer


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    door = Door(tmp_path_factory.mktemp("keys"))
    yield door
    door.server.stop()


EVERYTHING = [("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.yaml"), ("GET", "/v1/events"), ("POST", "/v1/events"),
              ("GET", "/v1/events/e"), ("PATCH", "/v1/events/e"), ("GET", "/v1/events/e/seats?section=A"), ("POST", "/v1/events/e/holds"),
              ("GET", "/v1/events/e/users/u"), ("GET", "/v1/holds/x"), ("DELETE", "/v1/holds/x"), ("POST", "/v1/holds/x/confirm"),
              ("POST", "/v1/holds/x/extend"), ("POST", "/v1/holds/x/cancel"), ("POST", "/v1/events/e/queue"), ("GET", "/v1/queue/x"),
              ("GET", "/v1/queue/x?wait_ms=1"), ("DELETE", "/v1/queue/x"), ("HEAD", "/v1/events/e"), ("GET", "/nothing"), ("POST", "/healthz"), ("GET", "/healthz/")]


def head(door, path, *headers):
    """The whole answer to a HEAD, which has no body."""
    connection = Connection(door.server.http, HttpReader())
    connection.send(http_request("HEAD", path, None, [("Connection", "close"), *headers]))
    answer = connection.receive_all()
    connection.close()
    assert answer.endswith(b"\r\n\r\n"), answer
    return answer


def test_http_without_a_key(door):
    assert door.http("GET", "/healthz").status == 200
    wrong = ["", "nonsense", door.keys["client"][:-1], door.keys["client"] + "x", "x" * 300, door.file.read_text().split()[2]]
    for method, path in EVERYTHING:
        if method == "HEAD":
            assert b" 401 " in head(door, path), path
            continue
        answer = http_refusal(door.http(method, path, body=b"{" if method in ("POST", "PATCH") else None))
        assert (answer.code, answer.status) == ("noauth", 401), (method, path)
    for key in wrong:
        assert http_refusal(door.http("GET", "/v1/events/e", key)).status == 401, key
    for value in (door.keys["read"], f"Basic {door.keys['read']}", f"Bearer{door.keys['read']}", "Bearer", "Bearer "):
        assert door.http("GET", "/v1/events/e", headers=[("Authorization", value)]).status == 401, value
    twice = [("Authorization", f"Bearer {door.keys['read']}")] * 2
    assert door.http("GET", "/v1/events/e", headers=twice).status == 401, "two keys are none"
    for scheme in ("Bearer ", "bearer ", "BEARER   "):
        assert door.http("GET", "/v1/events/e", headers=[("authorization", scheme + door.keys["read"])]).status == 200


def test_resp_without_a_key(door):
    client = door.resp()
    for words in (("PING",), ("INFO",), ("EVENT", "LIST"), ("HOLD", "e", "u", "POOL", "ga", 1), ("HOLD",), ("NONSENSE",), ("CONFIG", "GET", "*"),
                  ("QUEUE", "JOIN", "e", "u"), ("QUEUE", "GET", "x"), ("QUEUE", "LEAVE", "x"), ("QUEUE", "WATCH", "x"),
                  ("CLIENT", "ID"), ("COMMAND",), ("ECHO", "x"), ("SELECT", 0), ("HELLO", 3), ("AUTH", "wrong"), ("AUTH", "client", "wrong"),
                  ("AUTH", "read", door.keys["client"]), ("HELLO", 3, "AUTH", "default", "wrong"), ("AUTH", "")):
        answer = client.command(*words)
        assert isinstance(answer, RespError) and answer.word == "NOAUTH", (words, answer)
    assert client.command("RESET") == "RESET" and client.command("QUIT") == "OK"
    client.close()
    # in one go, with a key in the middle: before it nothing, behind it everything
    client = door.resp()
    key = door.keys["client"]
    batch = (("PING",), ("AUTH", key), ("PING",), ("AUTH", "wrong"), ("PING",), ("RESET",), ("PING",))
    client.connection.send(b"".join(resp_request(*words) for words in batch))
    answers = [client.connection.receive() for _ in batch]
    words = [a.word if isinstance(a, RespError) else a for a in answers]
    assert words == ["NOAUTH", "OK", "PONG", "NOAUTH", "PONG", "RESET", "NOAUTH"], "a wrong key leaves what was; RESET forgets it"
    for words in (("AUTH", key), ("AUTH", "client", key), ("AUTH", "default", key), ("HELLO", 3, "AUTH", "client", key), ("HELLO", 2, "AUTH", "default", key)):
        assert not isinstance(client.command(*words), RespError), words
        assert client.command("PING") == "PONG"
        assert client.command("RESET") == "RESET"
    client.close()


def test_roles_over_http(door):
    """403 for what a role may not, also where the request is malformed; anything else for what it may."""
    may = {
        "read": {("GET", path) for method, path in EVERYTHING if method == "GET"} | {("POST", "/healthz")},
        "client": {("POST", "/v1/events/e/holds"), ("GET", "/v1/events/e/users/u"), ("GET", "/v1/holds/x"), ("DELETE", "/v1/holds/x"),
                   ("POST", "/v1/holds/x/confirm"), ("POST", "/v1/holds/x/extend"), ("GET", "/readyz"), ("GET", "/openapi.yaml"),
                   ("GET", "/v1/events"), ("GET", "/v1/events/e"), ("GET", "/v1/events/e/seats?section=A"), ("POST", "/v1/events/e/queue"),
                   ("GET", "/v1/queue/x"), ("GET", "/v1/queue/x?wait_ms=1"), ("DELETE", "/v1/queue/x"),
                   ("GET", "/nothing"), ("POST", "/healthz"), ("GET", "/healthz/")},
        "operator": set(EVERYTHING),
    }
    for role in ROLES:
        for method, path in EVERYTHING:
            if method == "HEAD":
                assert b" 200 " in head(door, path, ("Authorization", f"Bearer {door.keys[role]}")), role
                continue
            for body in ([b"{}", b"{", b'{"user":1}'] if method in ("POST", "PATCH") else [None]):
                for headers in ([], [("Idempotency-Key", "")]):
                    answer = door.http(method, path, door.keys[role], body, headers)
                    assert (answer.status == 403) == ((method, path) not in may[role]), (role, method, path, answer)
                    if answer.status == 403:
                        assert http_refusal(answer).code == "noauth"


def test_roles_over_resp(door):
    uuid = "01990000-0000-7000-8000-000000000000"
    commands = {
        ("HOLD", "e", "u", "POOL", "ga", 1): "client", ("CONFIRM", uuid, "u"): "client", ("EXTEND", uuid, "u", 5): "client",
        ("RELEASE", uuid, "u"): "client", ("GETHOLD", uuid): "client read", ("HOLDS", "e", "u"): "client read",
        ("EVENT", "GET", "e"): "client read", ("EVENT", "LIST"): "client read", ("SEATS", "e", "A"): "client read", ("EVENT", "CREATE", "f", "POOL", "p", 1): "",
        ("EVENT", "SET", "e", "status", "open"): "", ("CANCEL", uuid): "", ("PING",): "client read", ("INFO",): "client read",
        ("QUEUE", "JOIN", "e", "u"): "client", ("QUEUE", "GET", uuid): "client read", ("QUEUE", "LEAVE", uuid): "client",
        ("QUEUE", "WATCH", uuid): "client", ("QUEUE", "UNWATCH", uuid): "client", ("QUEUE", "JOIN", "e", ""): "client", ("QUEUE", "LEAVE", "x"): "client",
        ("HOLD", "e", "u", "TTL", "x"): "client", ("CANCEL", "x"): "", ("EVENT", "SET", "e", "status", "x"): "",
    }
    for role in ROLES:
        client = door.resp(role)
        client.command("HELLO", 3)  # for WATCH
        for words, who in commands.items():
            answer = client.command(*words)
            refused = isinstance(answer, RespError) and answer.word == "NOAUTH"
            assert refused == (role != "operator" and role not in who.split()), (role, words, answer)
            if refused:
                resp_refusal(answer)
        client.close()


def test_idempotency_keys_belong_to_the_caller(door):
    """Commands that name no user: the key of one API key is not another one's."""
    add(door.file, "operator-2", "operator")
    second = add(door.file, "operator-3", "operator")
    reload(door.server, "5 keys")
    body = {"status": "paused"}
    key = [("Idempotency-Key", "k1")]
    first = door.http("PATCH", "/v1/events/e", door.keys["operator"], {"status": "open"}, key)
    assert first.status == 200
    assert door.http("PATCH", "/v1/events/e", door.keys["operator"], body, key).json()["code"] == "keyreused"
    assert door.http("PATCH", "/v1/events/e", second, {"hold_seconds": 300}, key).status == 200
    assert door.http("PATCH", "/v1/events/e", second, {"status": "open"}, key).json()["code"] == "keyreused"
    # a command that names a user: the user's, whatever key it comes with
    hold = {"user": "idem", "pools": [{"name": "ga", "quantity": 1}]}
    one = door.http("POST", "/v1/events/e/holds", door.keys["client"], hold, key)
    two = door.http("POST", "/v1/events/e/holds", door.keys["operator"], hold, key)
    assert one.status == 201 and one.json()["hold"] == two.json()["hold"] and two.headers["idempotent-replayed"] == "true"


def reload(server, words):
    before = server.log().count("SIGHUP")
    server.process.send_signal(signal.SIGHUP)
    lines = poll(lambda: server.log().splitlines() if server.log().count("SIGHUP") > before else None)
    assert lines, server.log()
    line = [line for line in lines if "SIGHUP" in line][-1]
    assert words in line, line
    return json.loads(line)


def test_reload(tmp_path):
    door = Door(tmp_path)
    old, kept = door.resp("client"), door.resp("operator")
    try:
        new = add(door.file, "new", "client")
        assert door.http("GET", "/v1/events/e/users/u", new).status == 401, "not before SIGHUP"
        assert run("keys", "remove", "--keys", door.file, "client")[0] == 0
        assert old.command("HOLDS", "e", "u") == []
        reload(door.server, "3 keys")
        assert door.http("GET", "/v1/events/e/users/u", new).status == 200
        assert door.http("GET", "/v1/events/e/users/u", door.keys["client"]).status == 401
        assert old.command("HOLDS", "e", "u").word == "NOAUTH", "a connection that is open already as well"
        assert kept.command("PING") == "PONG"
        good = door.file.read_text()
        for bad in (good + "x y z\n", good + good, good.replace("client", "clients")):
            door.file.write_text(bad)
            line = reload(door.server, str(door.file))
            assert line["level"] == "error" and "stay" in line["message"]
            assert door.http("GET", "/v1/events/e/users/u", new).status == 200 and kept.command("PING") == "PONG"
        door.file.unlink()
        assert reload(door.server, str(door.file))["level"] == "error"
        assert kept.command("PING") == "PONG"
        door.file.write_text(good)
        for n in range(20):  # under load, over and over
            kept.connection.send(b"".join(resp_request("HOLD", "e", f"u{n}-{i}", "POOL", "ga", 1) for i in range(20)))
            door.server.process.send_signal(signal.SIGHUP)
            for i in range(20):
                assert not isinstance(kept.connection.receive(), RespError)
    finally:
        old.close()
        kept.close()
        door.server.stop()


def test_who_watches_hears_nothing_more_without_a_key(tmp_path):
    door = Door(tmp_path)
    operator, watcher = door.resp("operator"), Resp(door.server, version=2)
    try:
        operator.command("EVENT", "CREATE", "q", "POOL", "ga", 10, "QUEUE", 1, 600, 600)
        first, second = (operator.command("QUEUE", "JOIN", "q", user)[0] for user in ("a", "b"))
        watcher.command("HELLO", 3, "AUTH", "default", door.keys["client"])
        assert watcher.command("QUEUE", "WATCH", second)[1] == "waiting"
        assert run("keys", "remove", "--keys", door.file, "client")[0] == 0
        reload(door.server, "2 keys")
        assert operator.command("QUEUE", "LEAVE", first)[1] == "left"
        assert watcher.connection.receive_all() == b"", "no news, and no pass"
        assert operator.command("QUEUE", "GET", second)[1] == "active"
    finally:
        operator.close()
        watcher.close()
        door.server.stop()


def test_beyond_loopback_with_keys(tmp_path):
    add(tmp_path / "keys", "op", "operator")
    with Server("--http", "0.0.0.0:0", "--resp", "0.0.0.0:0", "--keys", tmp_path / "keys", listen=False) as server:
        assert Http(server).request("GET", "/healthz").status == 200
        assert Http(server).request("GET", "/readyz").status == 401


def test_start_with_a_bad_file(tmp_path):
    for text, word in ((None, "holdfast keys add"), ("one two three\n", "client, operator or read")):
        if text is not None:
            (tmp_path / "keys").write_text(text)
        code, _, log = run("serve", "--data", tmp_path / "data", "--http", "127.0.0.1:0", "--resp", "off", "--keys", tmp_path / "keys")
        assert code == 1 and str(tmp_path / "keys") in log and word in log


def test_the_editor(tmp_path):
    file = tmp_path / "keys"
    first = add(file, "shop", "client")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first not in file.read_text() and file.read_text().startswith("shop client ")
    file.write_text("# ours\n" + file.read_text().rstrip("\n"))
    file.chmod(0o644)
    add(file, "ops", "operator")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("keys", "list", "--keys", file)[:2] == (0, "shop client\nops operator\n")
    before = file.read_text()
    for arguments, wanted in ((("add", "shop", "read"), 1), (("remove", "nobody"), 1), (("add", "a b", "read"), 2), (("add", "a", "admin"), 2),
                              (("add", "a"), 2), (("remove",), 2), (("list", "x"), 2), ((), 2), (("nonsense",), 2)):
        assert run("keys", *arguments, "--keys", file)[0] == wanted, arguments
    assert run("keys", "list")[0] == 2 and run("keys", "list", "--keys", tmp_path / "none")[0] == 1
    assert run("keys", "--help")[0] == 0
    assert file.read_text() == before
    assert run("keys", "remove", f"--keys={file}", "shop")[0] == 0
    assert file.read_text().startswith("# ours\nops operator ") and len(file.read_text().splitlines()) == 2
    link = tmp_path / "link"
    link.symlink_to(file)
    add(link, "third", "read")
    assert link.is_symlink() and "third read" in file.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys", "link"], "nothing is left behind"
    file.write_text(file.read_text() + "broken\n")
    assert run("keys", "add", "--keys", file, "more", "read")[0] == 1, "a file that is not valid is not edited"
    # many editors at once: each change is there afterwards
    other = tmp_path / "many"
    editors = [subprocess.Popen([BINARY, "keys", "add", "--keys", str(other), f"n{n}", "read"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(20)]
    for editor in editors:
        editor.communicate()
        assert editor.returncode == 0
    assert len(other.read_text().splitlines()) == 20


def test_redis_clients(door):
    key = door.keys["client"]
    port = door.server.resp[1]
    for protocol in (2, 3):
        for name in (None, "client", "default"):
            with redis.Redis(port=port, protocol=protocol, username=name, password=key) as client:
                assert client.ping() and len(client.execute_command("HOLD", "e", f"redis-{protocol}-{name}", "POOL", "ga", "1")) == 2
        with redis.Redis(port=port, protocol=protocol) as client, pytest.raises(redis.exceptions.RedisError):
            client.ping()
    done = subprocess.run(["redis-cli", "-p", str(port), "HOLDS", "e", "nobody"], env={**os.environ, "REDISCLI_AUTH": key}, capture_output=True, text=True)
    assert done.returncode == 0 and "NOAUTH" not in done.stdout + done.stderr


def test_keys_are_never_shown(door):
    """Neither a key nor its hash: in the log, /metrics, INFO, CONFIG, the process' arguments and environment, the data, a
    dump of the journal."""
    door.resp("client").close()
    door.http("GET", "/v1/events/e", door.keys["client"])
    door.http("GET", f"/v1/events/{door.keys['client']}/nothing", door.keys["operator"])
    assert door.http("GET", "/v1/events/e", "a-key-that-nobody-has").status == 401
    assert door.http("POST", "/v1/events", door.keys["read"], {"id": "nobody-may"}).status == 403
    door.resp("operator").close()
    operator = door.resp("operator")
    shown = [door.server.log(), operator.command("INFO"), str(operator.command("CONFIG", "GET", "*")), str(operator.command("CLIENT", "GETNAME")),
             door.http("GET", "/metrics", door.keys["read"]).body.decode()]
    operator.close()
    process = pathlib.Path(f"/proc/{door.server.process.pid}")
    shown += [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
    shown += [path.read_bytes().decode("latin-1") for path in door.server.data.rglob("*") if path.is_file() and path.stat().st_size < 64 << 20]
    shown.append(run("journal", "dump", door.server.data)[1])
    assert '"event":"e"' in shown[-1].replace(": ", ":"), shown[-1][:2000]
    hashes = [line.split()[2] for line in door.file.read_text().splitlines()]
    for text in shown:
        for secret in [*door.keys.values(), *hashes]:
            assert secret not in text
    assert re.search(r'holdfast_requests_refused_total\{shard="\d+",reason="noauth"\} [1-9]', shown[4])
