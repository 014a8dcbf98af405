"""test_restart.py - what was answered is there after a restart: after SIGTERM and after kill -9, with the same and with
another number of shards, from the journal alone and from snapshots; and what the start and the stop say of it."""
import json
import re
import signal
import threading
import time

import pytest

from api import Http, Resp
from server import Server, poll

SMALL = ("--journal.segment_bytes", "4MiB", "--core.batch_bytes_max", "1MiB")


class Store:
    """One data directory, and the servers that come and go on it."""

    def __init__(self, path):
        self.path = path
        self.server = None

    def start(self, shards, *arguments):
        self.server = Server(*SMALL, *arguments, data=self.path, shards=shards)
        return Resp(self.server)

    def end(self, how):
        if how == "kill":
            self.server.kill()
        else:
            self.server.terminate()
            assert self.server.wait() == 0, self.server.log()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data")
    yield store
    if store.server is not None:
        store.server.kill()


def metrics(server):
    text = Http(server).request("GET", "/metrics").body.decode()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}


def messages(server, level=None):
    entries = [json.loads(line) for line in server.log().splitlines() if line]
    return [entry["message"] for entry in entries if level in (None, entry["level"])]


def still(hold):
    return {name: value for name, value in hold.items() if name != "deadline_in_ms"}


def picture(api, holds, users):
    """All that can be seen, without what only counts down."""
    seen = {hold: still(api.get(hold).data) for hold in holds}
    seen["events"] = sorted((event for event in api.events().data), key=lambda event: event["id"])
    seen["maps"] = {name: api.seats("hall", name).data for name in ("A", "B")}
    seen["users"] = {user: sorted((still(hold) for hold in api.holds("hall", user).data), key=str) for user in users}
    return seen


def fill(api):
    """Some of everything. Returns the holds, the users, and answers with their idempotency keys."""
    assert api.create("hall", sections=[("A", 20, 30), ("B", 5, 10)], pools=[("ga", 500)], hold_seconds=600, limit=6).ok
    assert api.create("closed", pools=[("x", 3)]).ok
    assert api.change("closed", status="closed").ok
    users = [f"u{i}" for i in range(40)]
    held = [api.hold("hall", user, best=("A", 1 + i % 3), ttl=300 + i) for i, user in enumerate(users)]
    kept = [("hold", users[0], "key-0", api.hold("hall", users[0], pools=[("ga", 2)], key="key-0"))]
    held.append(kept[0][3])
    for i in range(0, 40, 4):
        assert api.confirm(held[i]["hold"], users[i], ref=f"pay-{i}", key=f"confirm-{i}").ok
        assert api.release(held[i + 1]["hold"], users[i + 1]).ok
        assert api.extend(held[i + 2]["hold"], users[i + 2], 500).ok
    assert api.cancel(held[4]["hold"]).ok
    # an answer that changes nothing is remembered, too
    kept.append(("taken", users[39], "key-39", api.hold("hall", users[39], seats=[held[0]["seats"][0]["seat"]], key="key-39")))
    # a hold that replaces another one
    replaced = api.hold("hall", users[3], seats=["B/1/1"], replaces=held[3]["hold"])
    again = api.hold("hall", users[1], seats=[seat["seat"] for seat in held[1]["seats"]])
    holds = [answer["hold"] for answer in held + [replaced, again]]
    return holds, users, held, kept


@pytest.mark.parametrize("how", ["terminate", "kill"])
@pytest.mark.parametrize("protocol", [Resp, Http], ids=lambda protocol: protocol.protocol)
def test_everything_survives_with_any_number_of_shards(store, how, protocol):
    store.start(1)
    api = protocol(store.server)
    holds, users, held, kept = fill(api)
    before = picture(api, holds, users)
    for shards in (3, 2, 2, 1):
        store.end(how)
        store.start(shards)
        api = protocol(store.server)
        assert picture(api, holds, users) == before
        # keys give the first answer again
        again = api.hold("hall", users[0], pools=[("ga", 2)], key="key-0")
        assert again.ok and again["hold"] == kept[0][3]["hold"] and again["deadline_ms"] == kept[0][3]["deadline_ms"]
        assert protocol is Resp or again.replayed
        refused = api.hold("hall", users[39], seats=[held[0]["seats"][0]["seat"]], key="key-39")
        assert (refused.code, refused.figures.get("unit")) == (kept[1][3].code, kept[1][3].figures.get("unit"))
        assert api.confirm(held[0]["hold"], users[0], ref="pay-0", key="confirm-0").ok
        assert api.hold("hall", users[0], pools=[("ga", 1)], key="key-0").code == "keyreused"
        # limits count what was held before
        assert api.hold("hall", users[0], pools=[("ga", 6)]).code == "limit"
        assert picture(api, holds, users) == before


def test_versions_only_grow(store):
    api = store.start(2)
    assert api.create("e", sections=[("A", 1, 8)], hold_seconds=60).ok
    versions = {f"A/1/{i}": 0 for i in range(1, 9)}
    for shards, how in ((1, "kill"), (3, "terminate"), (2, "kill"), (2, "terminate"), (1, "kill")):
        for round in range(3):
            for i in range(1, 9, 2):
                answer = api.hold("e", "u", seats=[f"A/1/{i}", f"A/1/{i + 1}"])
                for seat in answer["seats"]:
                    assert seat["version"] > versions[seat["seat"]], f"after {how}: {answer}"
                    versions[seat["seat"]] = seat["version"]
                assert api.release(answer["hold"], "u").ok
        store.end(how)
        api = store.start(shards)


def test_ids_are_never_given_twice(store):
    api = store.start(2)
    assert api.create("e", pools=[("p", 100000)]).ok
    seen = set()
    for _ in range(3):
        for i in range(50):
            hold = api.hold("e", f"u{i}", pools=[("p", 1)])["hold"]
            assert hold not in seen
            seen.add(hold)
        store.end("kill")
        api = store.start(2)


def test_deadlines_go_on(store):
    """What ends while the server is away has ended when it is back; what does not, lives to its deadline."""
    api = store.start(2)
    assert api.create("e", pools=[("p", 10)], hold_seconds=600).ok
    short = api.hold("e", "u1", pools=[("p", 1)], ttl=1)
    long = api.hold("e", "u2", pools=[("p", 2)], ttl=300)
    store.end("kill")
    time.sleep(1.1)
    api = store.start(1)
    assert api.confirm(short["hold"], "u1").code == "expired"
    assert api.get(long["hold"])["deadline_ms"] == long["deadline_ms"]
    assert poll(lambda: api.event("e")["counts"]["free"] == 8), api.event("e")
    assert api.get(short["hold"])["state"] == "expired"
    store.end("kill")
    api = store.start(2)
    assert api.get(short["hold"])["state"] == "expired"
    assert api.event("e")["counts"] == {"capacity": 10, "free": 8, "held": 2, "sold": 0}


@pytest.mark.parametrize("durability", ["journal", "memory"])
def test_answers_given_under_load_survive_a_kill(store, durability):
    """Several clients at once, killed in the middle: every answer that came is true afterwards. With durability memory only
    that no seat is sold twice, and that what there is, is whole."""
    store.start(2, "--durability", durability, "--journal.snapshot_bytes", "4MiB")
    Resp(store.server).create("e", sections=[("A", 100, 50)], hold_seconds=600)
    told = [{} for _ in range(4)]

    def buy(index):
        try:
            api = Resp(store.server)
            for i in range(index, 5000, 4):
                hold = api.hold("e", f"u{i}", seats=[f"A/{i // 50 + 1}/{i % 50 + 1}"])
                told[index][hold["hold"]] = "held"
                if i % 3 == 0:
                    assert api.confirm(hold["hold"], f"u{i}").ok
                    told[index][hold["hold"]] = "confirmed"
        except (OSError, EOFError, AssertionError):
            assert killed.is_set(), "a client failed before the kill"

    killed = threading.Event()
    threads = [threading.Thread(target=buy, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    assert poll(lambda: sum(map(len, told)) > 500)
    killed.set()
    store.server.kill()
    for thread in threads:
        thread.join()
    api = store.start(3)
    known = 0
    for hold, state in [item for each in told for item in each.items()]:
        answer = api.get(hold)
        known += answer.ok
        if durability == "journal":
            # a confirm whose answer was lost may have been done
            assert answer["state"] in (state, "confirmed"), answer
    assert known >= 1
    counts = api.event("e")["counts"]
    letters = "".join(api.seats("e", "A").data.values())
    assert (letters.count("F"), letters.count("H"), letters.count("S")) == (counts["free"], counts["held"], counts["sold"])


def test_a_stop_writes_a_snapshot_and_older_journal_goes(store):
    api = store.start(2)
    assert api.create("e", pools=[("p", 1000)]).ok
    for _ in range(4):
        for i in range(20):
            assert api.hold("e", f"u{i}", pools=[("p", 1)]).ok
        store.end("terminate")
        assert any(re.match(r"snapshot \d+ is written", message) for message in messages(store.server))
        api = store.start(2)
        assert metrics(store.server)["holdfast_recovery_records"] == 0
    assert api.event("e")["counts"]["held"] == 80

    def names():
        return [path.name for path in (store.path / "journal").iterdir()]

    # what is covered is removed beside the service
    assert poll(lambda: len([name for name in names() if name.endswith(".snapshot")]) <= 2), names()
    assert poll(lambda: not [name for name in names() if name.startswith("00000001")]), f"the first epoch is covered: {names()}"


def test_a_second_sigterm_loses_nothing(store):
    api = store.start(2)
    assert api.create("e", pools=[("p", 1000)]).ok
    for i in range(200):
        assert api.hold("e", f"u{i}", pools=[("p", 1)]).ok
    store.server.terminate()
    store.server.process.send_signal(signal.SIGINT)
    store.server.terminate()
    assert store.server.wait() == 0, store.server.log()
    api = store.start(1)
    assert api.event("e")["counts"]["held"] == 200


def test_a_second_process_is_refused(store):
    api = store.start(1)
    assert api.create("e", pools=[("p", 1)]).ok
    second = Server(data=store.path, shards=1, wait=False)
    assert second.wait() == 1
    assert str(store.path) in second.log() and "in use" in second.log()
    second.kill()
    assert api.hold("e", "u", pools=[("p", 1)]).ok
    store.end("kill")
    assert store.start(1).event("e")["counts"]["held"] == 1


def test_a_port_in_use_changes_nothing_on_disk(store):
    api = store.start(1)
    assert api.create("e", pools=[("p", 1)]).ok
    store.end("terminate")
    names = sorted(path.name for path in (store.path / "journal").iterdir())
    with Server(shards=1) as other:
        failed = Server("--resp", f"127.0.0.1:{other.resp[1]}", "--http", "off", data=store.path, shards=1, listen=False, wait=False)
        assert failed.wait() == 1
        assert "another process listens there" in failed.log()
        failed.kill()
    assert sorted(path.name for path in (store.path / "journal").iterdir()) == names


def test_ready_and_metrics(store):
    api = store.start(2)
    assert Http(store.server).request("GET", "/readyz").status == 200
    assert api.create("e", pools=[("p", 1000)]).ok
    for i in range(100):
        assert api.hold("e", f"u{i}", pools=[("p", 1)]).ok
    seen = poll(lambda: (m := metrics(store.server))['holdfast_journal_batches_total{shard="0"}'] > 0 and m)
    assert seen['holdfast_journal_bytes_total{shard="0"}'] % 4096 == 0
    assert seen['holdfast_journal_write_seconds_total{shard="0"}'] > 0
    assert seen['holdfast_journal_scarcity{shard="0"}'] == 0
    store.end("kill")
    store.start(1)
    seen = metrics(store.server)
    assert seen["holdfast_recovery_records"] == 101
    assert seen["holdfast_recovery_cuts"] == 0
    assert seen['holdfast_holds{shard="0",state="held"}'] == 100


def test_batches_go_both_ways(store):
    """By the ring and by the thread beside it (write_way.h), in one journal."""
    api = store.start(1)
    assert api.create("e", pools=[("p", 1000)]).ok
    for i in range(50):
        assert api.hold("e", f"u{i}", pools=[("p", 1)]).ok
    all_of_them, by_thread = (f'holdfast_journal_{name}_total{{shard="0"}}' for name in ("batches", "thread_batches"))
    seen = poll(lambda: (m := metrics(store.server))[all_of_them] > 50 and m)
    assert 0 < seen[by_thread] < seen[all_of_them]
    store.end("kill")
    assert store.start(1).event("e")["counts"]["held"] == 50


def test_an_idle_journal_is_sealed(store):
    """Within a second the last batch is covered, so that damage in it is found and not cut."""
    api = store.start(1)
    assert api.create("e", pools=[("p", 10)]).ok
    batches = 'holdfast_journal_batches_total{shard="0"}'
    assert poll(lambda: metrics(store.server)[batches] == 2), "the event, then the seal"
    assert api.hold("e", "u", pools=[("p", 1)]).ok
    assert poll(lambda: metrics(store.server)[batches] == 4)
    store.end("kill")
    path = store.path / "journal" / "00000001-000-00000000.journal"
    data = bytearray(path.read_bytes())
    at = data.rindex(b"HFBATCH\n", 0, data.rindex(b"HFBATCH\n"))  # the hold's, before its seal
    data[at + 200] ^= 1
    path.write_bytes(data)
    damaged = Server(*SMALL, data=store.path, shards=1, wait=False)
    assert damaged.wait() == 1
    errors = messages(damaged, "error")
    assert len(errors) == 1 and path.name in errors[0] and str(at) in errors[0] and "journal verify" in errors[0], errors
    damaged.kill()
    data[at + 200] ^= 1
    path.write_bytes(data)
    assert store.start(1).event("e")["counts"]["held"] == 1


def test_a_torn_last_batch_is_cut_and_told(store):
    api = store.start(1)
    assert api.create("e", pools=[("p", 10)]).ok
    store.end("kill")
    path = store.path / "journal" / "00000001-000-00000000.journal"
    data = bytearray(path.read_bytes())
    end = data.rindex(b"HFBATCH\n") + 4096
    data[end : end + 100] = b"HFBATCH\n" + b"torn" * 23
    path.write_bytes(data)
    api = store.start(2)
    assert api.event("e").ok
    warnings = [message for message in messages(store.server, "warning") if "cut" in message]
    assert len(warnings) == 1 and path.name in warnings[0] and f"byte {end}," in warnings[0], warnings
    assert metrics(store.server)["holdfast_recovery_cuts"] == 1


def snapshot_twice(store, shards):
    """Two stops: of the two generations the older one's journals and later ones are kept."""
    for _ in range(2):
        store.start(shards)
        store.end("stop")


def test_what_the_persister_has_not_passed_stays(store):
    api = store.start(2)
    api.create("e", pools=[("ga", 10)])
    first = {f"00000001-{shard:03}-00000000.journal" for shard in range(2)}  # what was made ahead of them, nobody needs
    (store.path / "persist.position").write_text("1 0 0 0\n1 1 0 0\n")
    store.end("stop")
    snapshot_twice(store, 2)
    assert first <= set(names(store))
    (store.path / "persist.position").write_text("99 0 0 0\n99 1 0 0\n")
    snapshot_twice(store, 2)
    assert not [name for name in names(store) if name.startswith("00000001-") and name.endswith(".journal")]


def names(store):
    return [path.name for path in (store.path / "journal").iterdir()]


@pytest.mark.parametrize("shards", [(1, 1), (2, 2), (1, 3)])
def test_more_went_through_a_queue_than_it_has_places(store, shards):
    """Each purchase uses up an admission: the journal may have any number of them, whatever core.tokens_max is."""
    arguments = ("--core.tokens_max", 16)

    def enter(user):
        token = api.join("e", user)["token"]
        assert poll(lambda: api.token(token)["state"] == "active"), api.token(token)
        hold = api.hold("e", user, pools=[("ga", 1)])
        assert hold.ok, hold
        return token, hold["hold"]

    api = store.start(shards[0], *arguments)
    assert api.create("e", pools=[("ga", 100)], queue=(2, 600, 600)).ok
    for i in range(50):
        token, hold = enter(f"u{i}")
        assert api.confirm(hold, f"u{i}").ok
        assert poll(lambda token=token: api.token(token)["state"] == "done"), api.token(token)
    store.end("kill")
    api = store.start(shards[1], *arguments)
    assert api.event("e")["counts"] == {"capacity": 100, "free": 50, "held": 0, "sold": 50}
    enter("u0")


def test_unclean_ends_do_not_fill_the_disk(store):
    """What a server made ahead and never began goes at the next start, and old journals count towards a snapshot."""
    segment_mib, snapshot_mib, shards = 4, 16, 2  # segment_mib: as SMALL has it
    for number in range(16):
        store.start(shards, "--journal.snapshot_bytes", snapshot_mib << 20)

        def at_rest():
            """Each shard has what it makes ahead; the snapshot that a start owes is made (two journals of each shard from
            earlier ends reach snapshot_bytes; of the last end's counts what is written in it), and what it makes
            superfluous is gone."""
            files = names(store)
            journals = [name for name in files if name.endswith(".journal")]
            ready = sum(name.startswith(f"{number + 1:08}-") for name in journals) == shards * 2
            snapshots = [int(name.split(".")[0]) for name in files if name.endswith(".snapshot")]
            bounded = len(journals) * segment_mib <= 3 * snapshot_mib + shards * 2 * segment_mib
            return ready and bounded and max(snapshots, default=0) >= number // 3 and len(snapshots) <= 2

        assert poll(at_rest), sorted(names(store))
        store.end("kill")
