"""test_settings.py - the command line: where settings come from, what is wrong with them, the data directory, the ready line,
the log, and how the server stops."""
import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from api import Http, Resp
from server import BINARY, SLOWNESS, Server, clean_environment, run


def bound(server):
    """How many connections this server takes: which source of net.connections_max has won."""
    taken = []
    try:
        while len(taken) < 20:
            taken.append(Resp(server))
    except (AssertionError, TypeError, ConnectionError):
        pass
    for client in taken:
        client.close()
    return len(taken)


def test_precedence(tmp_path):
    """Flag over environment over file over default."""
    file = tmp_path / "holdfast.ini"
    file.write_text("; a comment\n[net]\nconnections_max = 3\n\n[server]\nshards = 1\n")
    environment = {"HOLDFAST_NET_CONNECTIONS_MAX": "5"}
    cases = [
        (["--config", str(file)], {}, 3), (["--config", str(file)], environment, 5), ([], environment, 5),
        (["--config", str(file), "--net.connections_max", "7"], environment, 7), (["--net.connections_max=6"], environment, 6),
        (["--net.connections_max", "7", "--config", str(file)], {}, 7), ([], {}, 20),
    ]
    for arguments, env, wanted in cases:
        with Server(*arguments, shards=None, environment=env) as server:
            assert bound(server) == wanted, (arguments, env)
            if "--config" in arguments:
                assert server.shards == 1


def test_check_reads_what_the_settings_name(tmp_path):
    keys, secret = tmp_path / "keys", tmp_path / "secret"
    keys.write_text("a client zz\n")
    secret.write_text("short")
    for name, path in (("keys", tmp_path / "none"), ("keys", keys), ("queue.pass_secret_file", tmp_path / "none"), ("queue.pass_secret_file_old", secret)):
        code, _, text = run("serve", "--check", "--data", tmp_path / "data", f"--{name}", path)
        assert code == 2 and str(path) in text, text
    file = tmp_path / "no-section.ini"
    file.write_text("shards = 2\n")
    code, _, text = run("serve", "--check", "--config", file)
    assert code == 2 and "shards" in text and "[section]" in text and str(file) in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "no-section.ini", "secret"], "nothing is made"


def test_help_everywhere():
    for words in (["serve"], ["persist"], ["verify"], ["keys"], ["load"], ["bench"], ["journal"], ["outbox"], ["serve", "--check"], ["persist", "--migrate"],
                  ["verify", "--data", "x"], ["journal", "verify"], ["journal", "dump"], ["journal", "stats"], ["keys", "add"], ["keys", "list"],
                  ["outbox", "list"], ["load", "deal"], ["bench", "dual-run"], ["bench", "rival"]):
        code, out, text = run(*words, "--help")
        assert code == 0 and out.startswith("usage: holdfast " + " ".join(words[:1])), (words, out, text)
    assert run("bench", "rival", "--help")[1].startswith("usage: holdfast bench rival ")


@pytest.mark.parametrize("arguments,environment,words", [
    (["--net.connection_max", "5"], {}, ["net.connection_max", "net.connections_max"]),
    (["--shard", "5"], {}, ["--shard", "shards"]),
    ([], {"HOLDFAST_NET_CONECTIONS_MAX": "5"}, ["HOLDFAST_NET_CONECTIONS_MAX", "net.connections_max"]),
    ([], {"HOLDFAST_SERVR_SHARDS": "2"}, ["HOLDFAST_SERVR_SHARDS", "server.shards"]),
    (["--http", "127.0.0.1:7999", "--resp", "127.0.0.1:7999"], {}, ["server.http", "server.resp", "127.0.0.1:7999"]),
    (["--shards", "many"], {}, ["server.shards", "many"]),
    (["--shards", "-1"], {}, ["server.shards", "-1"]),
    (["--shards", "1.5"], {}, ["server.shards", "1.5"]),
    (["--core.holds_max", "0"], {}, ["core.holds_max", "0"]),
    (["--core.holds_max", "99999999999999999999"], {}, ["core.holds_max"]),
    (["--core.holds_max", "1000", "--core.holds_expected", "1001"], {}, ["core.holds_expected", "1001", "core.holds_max", "1000"]),
    (["--rate.user_per_second", "fast"], {}, ["rate.user_per_second", "fast"]),
    (["--rate.buckets", "1000"], {}, ["rate.buckets", "power of two"]),
    (["--rate.proxies", "10.0.0.0/0"], {}, ["rate.proxies", "10.0.0.0/0"]),
    ([], {"HOLDFAST_AUTH_KEY_FILE": "x"}, ["HOLDFAST_AUTH_KEY_FILE", "auth.keys_file"]),
    (["--durability", "disk"], {}, ["durability", "disk", "journal", "memory"]),
    (["--http", "nonsense"], {}, ["server.http", "nonsense"]),
    (["--http", "127.0.0.1:70000"], {}, ["server.http", "70000"]),
    (["--shards"], {}, ["shards"]),
    (["stray"], {}, ["stray"]),
    ([], {"HOLDFAST_SERVER_SHARDS": "x"}, ["server.shards", "x"]),
    (["--config", "/nonexistent/file.ini"], {}, ["/nonexistent/file.ini"]),
], ids=lambda value: " ".join(map(str, value))[:40] if value else "-")
@pytest.mark.parametrize("check", [True, False], ids=["check", "serve"])
def test_what_is_wrong(tmp_path, arguments, environment, words, check):
    """Exit code 2, and a message that names what was written and what to do; no data directory is made."""
    data = tmp_path / "data"
    listen = ["--http", "off", "--resp", "127.0.0.1:0"] if "--http" not in arguments else ["--resp", "127.0.0.1:0"]
    code, out, text = run("serve", *(["--check"] if check else []), "--data", data, *listen, *arguments, environment=environment)
    assert code == 2, (code, out, text)
    for word in words:
        assert word in text, f"{word!r} is not named: {text}"
    assert not data.exists()


def test_unknown_in_a_file(tmp_path):
    file = tmp_path / "x.ini"
    file.write_text("[net]\npipeline = 4\n")
    code, _, text = run("serve", "--check", "--config", file)
    assert code == 2 and "pipeline" in text and "net.pipeline_max" in text and str(file) in text
    file.write_text("[net]\nnot a setting\n")
    code, _, text = run("serve", "--check", "--config", file)
    assert code == 2 and str(file) in text


def test_check_and_help(tmp_path):
    code, out, text = run("serve", "--check", "--data", tmp_path / "data", "--http", "127.0.0.1:0", "--resp", "off")
    assert code == 0, text
    assert not (tmp_path / "data").exists()
    code, out, _ = run("serve", "--help")
    assert code == 0 and all(word in out for word in ("--data", "core.holds_max", "net.request_seconds", "./data", "7780"))
    code, out, _ = run("--help")
    assert code == 0 and "serve" in out and "version" in out
    code, out, _ = run("version")
    assert code == 0 and out.strip()
    code, _, text = run("nonsense")
    assert code == 2 and "nonsense" in text
    assert run()[0] == 2


def test_beyond_loopback(tmp_path):
    """Without keys everyone may do everything: so only on loopback."""
    for flag in ("--http", "--resp"):
        code, _, text = run("serve", "--data", tmp_path / "data", "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0", flag, "0.0.0.0:0")
        assert code in (1, 2) and "loopback" in text and "holdfast keys add" in text, (code, text)


def test_ready_line(tmp_path):
    with Server(shards=2, data=tmp_path / "data") as server:
        assert server.shards == 2 and server.ready_data == str(tmp_path / "data")
        assert server.http[1] > 0 and server.resp[1] > 0 and server.http[1] != server.resp[1]
    with Server("--http", "off", "--resp", "127.0.0.1:0", shards=1, listen=False) as server:
        assert server.http is None and Resp(server).command("PING") == "PONG"
    with Server("--http", "[::1]:0", "--resp", "off", shards=1, listen=False) as server:
        assert server.resp is None and Http(server).request("GET", "/healthz").status == 200
    with Server(shards=None) as server:
        assert server.shards == len(os.sched_getaffinity(0)), "one for each core this process may use"


def test_a_port_in_use(server):
    code, _, text = run("serve", "--data", server.folder / "other", "--resp", "off", "--http", f"127.0.0.1:{server.http[1]}")
    assert code == 1 and str(server.http[1]) in text


def test_data_directory(tmp_path):
    data = tmp_path / "data"
    with Server(data=data, shards=1) as first:
        code, _, text = run("serve", "--http", "127.0.0.1:0", "--resp", "off", "--data", data)
        assert code == 1 and str(data) in text, text
        assert Resp(first).command("PING") == "PONG", "the first goes on"
    with Server(data=data, shards=2):
        pass  # the same directory again, with another shard count
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "letter.txt").write_text("mine")
    code, _, text = run("serve", "--http", "127.0.0.1:0", "--resp", "off", "--data", strange)
    assert code == 1 and str(strange) in text
    assert [path.name for path in strange.iterdir()] == ["letter.txt"], "a stranger's directory stays as it was"
    empty = tmp_path / "empty"
    empty.mkdir()
    with Server(data=empty, shards=1):
        pass
    code, _, text = run("serve", "--http", "127.0.0.1:0", "--resp", "off", "--data", tmp_path / "no" / "parent")
    assert code == 1 and "parent" in text
    file = tmp_path / "file"
    file.write_text("")
    assert run("serve", "--http", "127.0.0.1:0", "--resp", "off", "--data", file)[0] == 1


def test_a_killed_server_leaves_no_lock(tmp_path):
    server = Server(data=tmp_path / "data", shards=1)
    server.kill()
    with Server(data=tmp_path / "data", shards=1):
        pass


def test_the_log_is_json_where_there_is_no_terminal(tmp_path):
    with Server(data=tmp_path / "data", shards=2) as server:
        Http(server).request("GET", "/healthz")
        server.terminate()
        assert server.wait() == 0
        lines = [line for line in server.log().splitlines() if line]
        assert lines
        for line in lines:
            entry = json.loads(line)
            assert {"time", "level", "message"} <= set(entry), entry
        assert any("O_DSYNC" in json.loads(line)["message"] for line in lines), "how the journal is written is said"


def test_the_log_is_text_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [BINARY, "serve", "--http", "127.0.0.1:0", "--resp", "off", "--shards", "1", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE, stderr=theirs, env=clean_environment())
    os.close(theirs)
    assert process.stdout.readline().startswith(b"ready http=127.0.0.1:")
    process.terminate()
    assert process.wait(20 * SLOWNESS) == 0
    text = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:
            break
        if not more:
            break
        text += more
    os.close(ours)
    process.stdout.close()
    assert text and not any(line.lstrip().startswith(b"{") for line in text.splitlines()), text


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("shards", [1, 3])
def test_stop_under_load(name, shards):
    """Every request that was taken is answered, no answer is cut, nothing that was answered is untrue, and the exit code is 0."""
    server = Server(shards=shards)
    admin = Resp(server)
    assert admin.create("e", pools=[("ga", 10**9)], sections=[("A", 50, 1000)]).ok
    answered, failures = [0] * 6, []
    clients = [Resp(server) if n % 2 else Http(server) for n in range(6)]

    def load(number):
        client, n = clients[number], 0
        try:
            while True:
                client.connection.send(b"".join(client.hold_request("e", f"u{number}-{n + k}", pools=[("ga", 1)]) for k in range(20)))
                n += 20
                for _ in range(20):
                    if not client.read(client.connection.receive(), client.hold_form).ok:
                        failures.append("refused")
                    answered[number] += 1
        except (ConnectionError, BrokenPipeError):
            # closed between two answers: of an answer begun nothing may be missing
            if client.connection.reader.buffer[getattr(client.connection.reader, "at", 0):]:
                failures.append(f"cut: {bytes(client.connection.reader.buffer[:200])!r}")
        except Exception as failure:
            failures.append(repr(failure))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    server.process.send_signal(getattr(signal, name))
    start = time.monotonic()
    code = server.wait()
    took = time.monotonic() - start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a client still waits"
    assert code == 0, server.log()
    assert took < 8 * SLOWNESS
    assert not failures, failures[:5]
    assert min(answered) > 0, answered
    server.stop()


def test_what_was_sent_before_the_stop_is_answered():
    """A pipeline that the server has taken: each of its commands is answered before the connection closes."""
    server = Server(shards=3)
    admin = Resp(server)
    assert admin.create("e", sections=[(name, 1, 1000) for name in "ABC"]).ok
    clients = [Resp(server) if n % 2 else Http(server) for n in range(8)]
    for number, client in enumerate(clients):
        client.connection.send(b"".join(
            client.hold_request("e", f"u{number}-{n}", seats=[f"{name}/1/{1 + number * 100 + n}" for name in "ABC"]) for n in range(100)))
    for client in clients:  # the first answer shows that the pipeline (of 10 KB, one segment of loopback) is there
        assert client.read(client.connection.receive(), client.hold_form).ok
    server.terminate()
    for client in clients:
        for n in range(99):
            assert client.read(client.connection.receive(), client.hold_form).ok, n
        assert client.connection.receive_all() == b""
    server.stop()


def test_io_uring_forbidden(tmp_path):
    filter_ = [sys.executable, str(pathlib.Path(__file__).with_name("forbid_io_uring.py"))]
    code, out, text = run("serve", "--http", "127.0.0.1:0", "--resp", "off", "--data", tmp_path / "data", prefix=filter_)
    assert code == 1 and "ready" not in out, (code, out, text)
    assert "io_uring" in text and "seccomp" in text and "kernel.io_uring_disabled" in text, f"neither cause nor cure: {text}"
