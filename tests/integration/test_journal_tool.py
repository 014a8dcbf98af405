"""holdfast journal verify, dump, stats: on a whole directory, on a damaged one, beside a server; and that they never write."""
import hashlib
import json
import shutil
import struct
import threading

import pytest

from api import Http, Resp
from server import Server, run

BLOCK = 4096


def journal(*arguments):
    return run("journal", *arguments)


def batches(path):
    """(offset, size) of each batch of a segment."""
    data = path.read_bytes()
    found, at = [], BLOCK
    while data[at : at + 8] == b"HFBATCH\n":
        size = struct.unpack_from("<I", data, at + 72)[0]
        found.append((at, size))
        at += size
    return found


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def contents(folder):
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two starts, on 2 shards and on 1; the second was killed with a last batch that nothing covers. (folder, holds, tokens)"""
    data = tmp_path_factory.mktemp("tool") / "data"
    server = Server(shards=2, data=data)
    api, http = Resp(server), Http(server)
    assert api.create("concert", sections=[("A", ["front", "2"], [5, 20])], pools=[("ga", 50)]).ok
    holds = [api.hold("concert", f"u{i}", seats=[f"A/2/{i + 1}"])["hold"] for i in range(20)]
    assert api.confirm(holds[0], "u0", ref="order-17").ok
    assert http.release(holds[1], "u1").ok
    assert api.create("club", pools=[("floor", 50)], queue=(1, 60, 60)).ok
    tokens = [api.join("club", f"q{i}")["token"] for i in range(3)]
    assert api.leave(tokens[1]).ok
    bought = api.hold("club", "q0", pools=[("floor", 1)])["hold"]
    assert api.confirm(bought, "q0").ok
    server.kill()
    server = Server(shards=1, data=data)
    api = Resp(server)
    for i in range(10):
        assert api.hold("concert", f"p{i}", pools=[("ga", 2)], key=f"k{i}").ok
    assert api.hold("concert", "last", seats=["A/front/5"]).ok
    server.kill()
    return data, holds, tokens


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "data")
    return tmp_path / "data"


def newest(data):
    """The segment that the last start wrote."""
    return max(path for path in (data / "journal").glob("*-00000000.journal"))


def test_a_whole_directory(made):
    before = contents(made[0])
    code, output, _ = journal("verify", made[0])
    assert code == 0, output
    assert output.splitlines()[-1].endswith(" whole"), output
    told = {line.split()[0] for line in output.splitlines()[:-1]}
    assert told == {path.name for path in (made[0] / "journal").iterdir() if path.suffix != ".tmp"}, output
    assert journal("stats", made[0])[0] == 0
    assert journal("dump", made[0])[0] == 0
    assert contents(made[0]) == before


def test_dump(made):
    data, holds, tokens = made
    code, output, error = journal("dump", data)
    assert code == 0, error
    records = [json.loads(line) for line in output.splitlines()]
    placed = {record["hold"]: record for record in records if record["type"] == "hold_placed"}
    assert len(placed) == 32
    for i, hold in enumerate(holds):
        record = placed[hold]
        assert (record["event"], record["user"], record["state"]) == ("concert", f"u{i}", "held")
        assert record["seats"] == [{"seat": f"A/2/{i + 1}", "version": 1}]
    assert any(record["seats"] == [{"seat": "A/front/5", "version": 1}] for record in placed.values())
    assert sum(record["pools"] == [{"name": "ga", "quantity": 2}] for record in placed.values()) == 10
    confirmed = {record["hold"]: record for record in records if record["type"] == "hold_confirmed"}
    assert confirmed.pop(holds[0])["payment_ref"] == "order-17"
    (of_queue,) = confirmed.values()
    assert of_queue["done_token"] == tokens[0] and of_queue["state"] == "confirmed"
    (released,) = [record for record in records if record["type"] == "hold_released"]
    assert released["hold"] == holds[1] and released["traceparent"].startswith("00-")
    created = {record["event"]: record for record in records if record["type"] == "event_created"}
    assert set(created) == {"concert", "club"}
    assert created["club"]["queue"] == {"active_max": 1, "active_seconds": 60, "grace_seconds": 60, "lottery": False}
    told = {token: [] for token in tokens}
    for record in records:
        if record["type"].startswith("token_"):
            assert (record["event"], record["user"]) == ("club", f"q{tokens.index(record['token'])}")
            told[record["token"]].append((record["type"], record["state"]))
    joined, active = ("token_joined", "waiting"), ("token_activated", "active")
    assert told == {tokens[0]: [joined, active, ("token_ended", "done")], tokens[1]: [joined, ("token_ended", "left")],
                    tokens[2]: [joined, active]}
    for epoch, shard in {(record["epoch"], record["shard"]) for record in records}:
        sequences = [record["sequence"] for record in records if (record["epoch"], record["shard"]) == (epoch, shard)]
        assert sequences == list(range(1, len(sequences) + 1))


def test_stats(made):
    code, output, _ = journal("stats", made[0])
    assert code == 0
    figures = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in output.splitlines()}
    assert figures["hold_placed"] == "32" and figures["hold_confirmed"] == "2", output
    assert [figures[f"token_{word}"] for word in ("joined", "activated", "ended")] == ["3", "2", "2"], output


def refused(data, file, offset, shards=1):
    """The server refuses such a directory: exit code 1, and it names the same place."""
    before = contents(data)
    code, _, error = run("serve", "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--data", data, "--shards", shards)
    assert code == 1, error
    assert file in error and str(offset) in error, error
    after = contents(data)
    assert {name: after.get(name) for name in before if "journal/" in name} == {n: s for n, s in before.items() if "journal/" in n}


@pytest.mark.parametrize("where", ["magic", "crc", "sequence", "records", "padding"])
def test_damage_that_later_batches_cover(copy, where):
    segment = newest(copy)
    offset, size = batches(segment)[2]
    flip(segment, offset + {"magic": 0, "crc": 8, "sequence": 40, "records": 140, "padding": size - 1}[where])
    code, output, _ = journal("verify", copy)
    assert code == 1, output
    (line,) = [line for line in output.splitlines() if "DAMAGED" in line]
    assert segment.name in line and f"offset {offset}" in line, output
    assert "what to do:" in output and "backup" in output
    assert output.splitlines()[-1].endswith("1 damaged"), output
    refused(copy, segment.name, offset)


def test_a_torn_last_batch(copy):
    segment = newest(copy)
    offset, size = batches(segment)[-1]
    flip(segment, offset + 120)
    code, output, _ = journal("verify", copy)
    assert code == 0, output
    (line,) = [line for line in output.splitlines() if "cut at" in line]
    assert segment.name in line and f"offset {offset}, {size} bytes" in line, output
    with Server(shards=2, data=copy) as server:
        assert segment.name in server.log() and str(offset) in server.log()
        api = Resp(server)
        assert api.seats("concert", "A")["front"] == "FFFFF"  # the last one is gone, and nothing else
        assert api.event("concert")["pools"][0]["counts"]["held"] == 20
    # from now on it is known where that journal ended
    assert journal("verify", copy)[0] == 0


def test_an_earlier_epoch_without_its_end(copy):
    segment = next(path for path in sorted((copy / "journal").glob("00000001-*-00000000.journal")) if batches(path))
    offset, _ = batches(segment)[-1]
    flip(segment, offset + 100)
    code, output, _ = journal("verify", copy)
    assert code == 1 and segment.name in output and f"offset {offset}" in output, output
    refused(copy, segment.name, offset)


@pytest.mark.parametrize("pattern", ["00000002.start", "00000001-000-00000000.journal", "00000002-000-00000000.journal"])
def test_a_missing_file(copy, pattern):
    (copy / "journal" / pattern).unlink()
    code, output, _ = journal("verify", copy)
    assert code == 1 and pattern in output, output
    refused(copy, pattern, 0)


def test_a_truncated_segment(copy):
    segment = newest(copy)
    with open(segment, "r+b") as file:
        file.truncate(batches(segment)[1][0] + 100)
    code, output, _ = journal("verify", copy)
    assert code == 1 and segment.name in output, output
    refused(copy, segment.name, 0)


def test_usage(tmp_path, made):
    assert journal()[0] == 2
    assert journal("verify")[0] == 2
    assert journal("mend", made[0])[0] == 2
    code, output, _ = journal("--help")
    assert code == 0 and "verify" in output
    for job in ("verify", "dump", "stats"):
        code, _, error = journal(job, tmp_path)
        assert code == 1 and str(tmp_path) in error


def test_beside_a_server_at_work(tmp_path):
    """Segments come and go, snapshots follow each other: never a word of damage."""
    data = tmp_path / "data"
    settings = ("--journal.segment_bytes", "4MiB", "--core.batch_bytes_max", "1MiB", "--journal.snapshot_bytes", "4MiB")
    with Server(*settings, shards=2, data=data) as server:
        setup = Resp(server)
        assert setup.create("e", pools=[("ga", 1000000)], hold_seconds=60).ok
        stop = threading.Event()
        failures = []

        def work(number):
            try:
                api = Resp(server)
                turn = 0
                while not stop.is_set():
                    turn += 1
                    user = f"u{number}-{turn}"
                    hold = api.hold("e", user, pools=[("ga", 1)])["hold"]
                    assert api.release(hold, user).ok
                api.close()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            # until retention has been at work: the first generation's manifest has gone
            for look in range(400):
                code, output, error = journal(("verify", "verify", "stats")[look % 3], data)
                assert code == 0, output + error
                assert "DAMAGED" not in output, output
                generations = sorted(path.name for path in (data / "journal").glob("*.snapshot"))
                if look >= 12 and generations and generations[0] > "00000001.snapshot":
                    break
            assert generations and generations[0] > "00000001.snapshot", "no snapshot was replaced in all that time"
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures
    assert journal("verify", data)[0] == 0
