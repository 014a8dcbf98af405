"""test_load.py - the load generator: its open loop, its scenarios over both protocols, and that its audit finds lies.

Nothing here asserts how fast anything is. Where time is what is tested (a server that stands still), the test itself makes the
time pass.
"""
import csv
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from liar import LIES, Liar
from server import BINARY, SLOWNESS, Server, clean_environment, run

SMALL_ROOM = ["--buyers", 1500, "--rows", 10, "--seats-per-row", 20, "--active-max", 10, "--think-ms", 2, "--hold", 2,
              "--active-seconds", 5, "--patience", 60]


def text_of(pair):
    return f"{pair[0]}:{pair[1]}"


def result_of(done):
    code, out, text = done
    assert code == 0, text
    return json.loads(out)


def load(*words, environment=None, seconds=60):
    return run("load", words[0], "--json", *words[1:], environment=environment, seconds=seconds)


@pytest.fixture(params=["resp", "http"])
def target(request, server):
    """Where the shared server answers, as options: over each protocol."""
    return [f"--{request.param}", text_of(getattr(server, request.param))]


# ---- scenarios ------------------------------------------------------------------------------------------------------


def test_deal_sells_exactly_its_stock(target):
    result = result_of(load("deal", *target, "--stock", 50, "--buyers", 400, "--confirm-share", 0.5, "--threads", 2))
    assert (result["held"], result["units_held"], result["oversold"], result["audit"]["differences"]) == (50, 50, 0, 0)
    assert sum(result["refused"].values()) == 350 and set(result["refused"]) <= {"HELDOUT", "SOLDOUT"}
    assert result["audit"]["holds_checked"] == 50 and 0 < result["confirmed"] < 50


def test_hall_and_storm(target):
    result = result_of(load("hall", *target, "--rows", 8, "--seats-per-row", 20, "--buyers", 600, "--confirm-share", 0.5))
    assert result["oversold"] == result["audit"]["differences"] == 0
    assert result["audit"]["seats_checked"] == 160 and 0 < result["units_held"] <= 160
    result = result_of(load("storm", *target, "--rows", 2, "--seats-per-row", 10, "--buyers", 300))
    assert (result["held"], result["refused"]) == (1, {"HELD": 299})


def test_who_gives_back_leaves_room_for_others(target):
    result = result_of(load("deal", *target, "--stock", 50, "--buyers", 400, "--release-share", 1))
    assert 50 < result["held"] <= 400
    assert result["oversold"] == result["audit"]["differences"] == result["confirmed"] == 0
    shares = ["--confirm-share", 0.3, "--release-share", 0.7]
    result = result_of(load("hall", *target, "--rows", 8, "--seats-per-row", 20, "--buyers", 600, *shares))
    assert result["oversold"] == result["audit"]["differences"] == 0
    assert result["units_held"] > 160, "nobody gave back"


@pytest.mark.parametrize("protocol, way", [("resp", "watch"), ("resp", "poll"), ("http", "poll"), ("http", "long-poll")])
def test_waiting_room_to_the_last_seat(server, protocol, way):
    """Some join twice, some barge in, some answers are cut off and asked for again under the same key."""
    shares = ["--barge-share", 0.2, "--twice-share", 0.2, "--cut-share", 0.01, "--confirm-share", 0.9]
    result = result_of(load("open", f"--{protocol}", text_of(getattr(server, protocol)), "--wait", way, "--poll-ms", 20,
                            "--wait-connections", 320, *SMALL_ROOM, *shares, seconds=120))
    assert result["units_confirmed"] == result["on_sale"] == 200
    assert (result["oversold"], result["strange"], result["audit"]["differences"]) == (0, 0, 0)
    assert 0 < result["audit"]["active_most"] <= 10
    assert result["audit"]["places_checked"] == result["arrived"] and result["audit"]["admitted"] == result["held"]
    assert result["confirm_refused"]["NOTADMITTED"] > 0, "nobody barged in"
    assert result["retried"] > 0, "no answer was lost"


def test_killed_in_the_middle_of_a_waiting_room(tmp_path):
    """Whoever waits is watched anew, holds and payments are asked for again under their keys; then all of it must fit."""
    first = Server(shards=2, data=tmp_path / "data")
    child = subprocess.Popen([BINARY, "load", "open", "--resp", text_of(first.resp), "--json", *map(str, SMALL_ROOM), "--think-ms", "50"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    seen = wait_for_sales(first)
    first.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)  # who has a slot asks, and is not answered
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = Server("--http", "127.0.0.1:0", "--resp", text_of(first.resp), shards=2, data=tmp_path / "data", listen=False)
    with second:
        out, text = child.communicate(timeout=120 * SLOWNESS)
        result = result_of((child.returncode, out, text))
    assert 0 < seen < 200
    assert result["units_confirmed"] == 200 and result["retried"] > 0
    assert (result["oversold"], result["audit"]["differences"], result["audit"]["active_most"] <= 10) == (0, 0, True)


def wait_for_sales(server):
    """Until a part of the load's event is sold; how much."""
    with socket.create_connection(server.resp) as connection, connection.makefile("rb") as lines:
        for _ in range(6000):
            connection.sendall(b"*2\r\n$5\r\nEVENT\r\n$4\r\nLIST\r\n" + b"PING\r\n")
            answer = b""
            while not answer.endswith(b"+PONG\r\n"):
                answer += lines.readline()
            words = answer.split(b"\r\n")
            sold = next((int(words[i + 1][1:]) for i, word in enumerate(words) if word == b"sold"), 0)
            if sold > 20:
                return sold
            time.sleep(0.005)
    raise AssertionError("nothing was sold")


# ---- the open loop --------------------------------------------------------------------------------------------------


def test_every_arrival_of_a_schedule_comes(target, tmp_path):
    trace = tmp_path / "trace"
    trace.write_text("".join(f"{n / 1000:.3f}\n" for n in range(250)))
    for arrivals, count in [("500@0.5", 250), ("0-1000@0.5", 250), ("100@0.5,800@0.25", 250), (f"trace:{trace}", 250)]:
        series = tmp_path / "series.csv"
        result = result_of(load("deal", *target, "--stock", 100, "--arrivals", arrivals, "--series", series, "--threads", 2))
        assert (result["arrived"], result["asked"], result["dropped"], result["loop"]) == (count, count, 0, "open"), arrivals
        assert (result["held"], result["audit"]["differences"]) == (100, 0)
        rows = list(csv.DictReader(open(series)))
        assert int(rows[-1]["arrived"]) == count and int(rows[-1]["held"]) == 100
        assert [float(r["seconds"]) for r in rows] == sorted(float(r["seconds"]) for r in rows)


def stopped_under_load(server, *words, seconds=1.0):
    """The result of a load during which the server stood still for a second."""
    child = subprocess.Popen([BINARY, "load", *map(str, words), "--resp", text_of(server.resp), "--json"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    assert child.stderr.readline(), "the first line of progress comes after a second"
    os.kill(server.process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(server.process.pid, signal.SIGCONT)
    out, text = child.communicate(timeout=60 * SLOWNESS)
    return result_of((child.returncode, out, text))


def test_a_server_that_stands_still_shows(tmp_path):
    """Of three seconds of arrivals a third comes while it stands still: a tenth of all wait for at least 0.7 s. Those who came
    in that second but found all connections busy are not in the service times: these tell of 20 requests at most."""
    with Server(shards=1) as server:
        latencies = tmp_path / "latencies.csv"
        result = stopped_under_load(server, "deal", "--stock", 10, "--arrivals", "1000@3", "--connections", 20, "--latencies", latencies)
    assert result["asked"] == 3000
    assert result["latency_us"]["max"] >= 990_000
    assert result["latency_us"]["p90"] >= 600_000 and result["latency_us"]["p99"] >= 900_000
    assert result["queued_max"] >= 900, "the queue in front of the connections"
    late = sum(int(row["count"]) for row in csv.DictReader(open(latencies)) if float(row["upper_us"]) > 500_000)
    assert late >= 450


def test_who_finds_the_queue_full_is_dropped_and_counted():
    with Server(shards=1) as server:
        result = stopped_under_load(server, "deal", "--stock", 10, "--arrivals", "1000@3", "--connections", 20, "--backlog", 100)
    assert result["arrived"] == 3000 and result["asked"] + result["dropped"] == 3000
    assert result["dropped"] >= 800 and result["queued_max"] <= 101


@pytest.mark.parametrize("protocol", ["resp", "http"])
def test_null_server(protocol):
    """The generator's own ceiling and lateness, with the very requests of a load."""
    result = result_of(load("deal", "--null", f"--{protocol}", "127.0.0.1:1", "--arrivals", "2000@1"))
    assert result["held"] == 2000 and "audit" not in result and "oversold" not in result
    assert result["late_us"]["max"] >= result["late_us"]["p99"] > 0
    assert {"client_seconds", "server_seconds", "limit"} <= set(result["cpu"])


def test_null_server_in_the_foreground():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    child = subprocess.Popen([BINARY, "load", "null", "--http", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == f"ready http=127.0.0.1:{port}\n"
        result = result_of(load("raw", "--http", f"127.0.0.1:{port}", "--requests", 500, "--", "POST", "/v1/events/x/holds", '{"a":{#}}'))
        assert result["held"] == 500
    finally:
        child.kill()
        child.communicate()


# ---- keys, results, usage -------------------------------------------------------------------------------------------


def test_keys(tmp_path):
    file, key_file = tmp_path / "keys", tmp_path / "key"
    code, out, text = run("keys", "add", "--keys", file, "boss", "operator")
    assert code == 0, text
    key = out.split()[-1]
    key_file.write_text(key + "\n")
    with Server("--keys", file, shards=2) as server:
        for protocol in ("resp", "http"):
            place = [f"--{protocol}", text_of(getattr(server, protocol))]
            code, _, text = load("deal", *place)
            assert code == 1 and "NOAUTH" in text
            for words, environment in ((["--key-file", key_file], None), ([], {"HOLDFAST_LOAD_KEY": key})):
                result = result_of(load("deal", *place, *words, environment=environment))
                assert (result["held"], result["audit"]["differences"]) == (10, 0)
                assert key not in json.dumps(result)
            result = result_of(load("open", *place, "--key-file", key_file, *SMALL_ROOM, "--confirm-share", 1, seconds=120))
            assert result["units_confirmed"] == 200


def test_forms_of_the_result(server, tmp_path):
    files = []
    for name in ("one, \"a\"", "two"):
        code, out, text = load("deal", "--resp", text_of(server.resp), "--label", name)
        assert code == 0, text
        files.append(tmp_path / f"{len(files)}.json")
        files[-1].write_text(out)
    code, out, text = run("load", "table", *files)
    assert code == 0 and "oversold" in out, text
    code, out, text = run("load", "table", "--csv", *files)
    rows = list(csv.reader(out.splitlines()))
    assert code == 0 and rows[0] == ["figure", "one, \"a\"", "two"], text
    assert {len(row) for row in rows} == {3}
    table = {row[0]: row[1:] for row in rows}
    assert table["held"] == ["10", "10"] and table["oversold"] == ["0", "0"] and "latency p99.99 us" in table


def test_usage(server):
    place = ["--resp", text_of(server.resp)]
    for words, told in [
        (["nothing"], "expected deal"), (["deal", "--stock", "0"], "--stock is '0'"), (["deal", "--rows", "5"], "no meaning for deal"),
        (["deal", "--arrivals", "x"], "--arrivals"), (["deal", "--resp", "here"], "ADDR:PORT"), (["raw"], "raw needs a command"),
        (["open", *place, "--wait", "long-poll"], "long polls are HTTP's"), (["deal", "--key-file", "/nowhere"], "could not read a key"),
        (["hall", "--party-max", "5", "--seats-per-row", "4"], "--party-max"), (["storm", "--null"], "no meaning for storm"),
        (["deal", "more"], "'more' is no option"), (["deal", "--confirm-share", "1.5"], "share"), (["null"], "usage"),
    ]:
        code, out, text = run("load", *words)
        assert (code, out) == (2, "") and told in text, (words, code, text)
    code, out, _ = run("load", "--help")
    assert code == 0 and all(word in out for word in ("--arrivals", "storm", "Exit codes"))


# ---- lies -----------------------------------------------------------------------------------------------------------


def against(lie, *words):
    with Liar(lie) as liar:
        return load(*words, "--resp", f"127.0.0.1:{liar.port}", seconds=120)


DEAL = ["deal", "--stock", 20, "--buyers", 100]
HALL = ["hall", "--rows", 5, "--seats-per-row", 20, "--buyers", 300, "--confirm-share", 0.8]
ROOM = ["open", "--wait", "poll", "--poll-ms", 10, "--buyers", 60, "--rows", 5, "--seats-per-row", 10, "--active-max", 5,
        "--active-seconds", 3, "--think-ms", 20, "--vanish-share", 0, "--tries", 5, "--seconds", 20]
ROUGH = [*ROOM, "--twice-share", 1, "--barge-share", 1]


@pytest.mark.parametrize("words", [DEAL, HALL, ROOM, ROUGH], ids=["deal", "hall", "room", "rough"])
def test_nothing_is_found_where_nothing_is_wrong(words):
    result = result_of(against(None, *words))
    assert (result["oversold"], result["strange"], result["audit"]["differences"]) == (0, 0, 0)
    assert result["held"] > 0


@pytest.mark.parametrize("lie, words, told", [
    ("twice", HALL, "OVERSOLD by"),
    ("sells more", DEAL, "OVERSOLD by 1:"),
    ("forgets", HALL, "audit: sold: the buyers were told"),
    ("others", HALL, "other seats than those asked for"),
    ("crowd", ROOM, "6 people certainly were active at once, 5 may be"),
    ("back", ROOM, "a position behind the one told before"),
    ("second", ROUGH, "was given a second place"),
    ("open door", ROUGH, "holds a seat and is still waiting"),
    ("shut door", [*ROOM, "--seconds", 3], "is active and was refused as not admitted"),
])
def test_each_lie_is_found(lie, words, told):
    code, out, text = against(lie, *words)
    assert code == 1 and told in text, (code, text[-3000:])
    json.loads(out)  # the result is there all the same


def test_each_lie_is_tried():
    tried = [mark.args[1] for mark in test_each_lie_is_found.pytestmark if mark.name == "parametrize"][0]
    assert sorted(case[0] for case in tried) == sorted(LIES)
