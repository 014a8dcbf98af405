"""Time that is not as it should be: a server that stands still (SIGSTOP), a wall clock that is set by an hour, forward and
back, while it runs and across a restart. A hold never ends early, and is never confirmed at or after its deadline.

HOLDFAST_STOP_SECONDS: for how long the server is stopped (default 4; 30 in the campaign).
"""
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time

import pytest

from api import Http, Resp
from server import ROOT, SLOWNESS, Server, poll
from wire import RespReader

HOUR_MS = 3600 * 1000
STOP_SECONDS = int(os.environ.get("HOLDFAST_STOP_SECONDS", "4"))


def now_ms():
    return time.time() * 1000


# ---- a server that stands still


def stands_still(server):
    """Every thread has stopped: the signal reaches them one by one."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/stat")
    return all(task.read_text().rsplit(")", 1)[1].split()[0] == "T" for task in tasks)


@pytest.mark.parametrize("shards", [1, 2])
def test_stopped_and_continued(shards):
    """Confirms that lie in the sockets when it goes on: those whose hold is over lose, however early they were sent."""
    with Server(shards=shards) as server:
        api = Resp(server)
        assert api.create("e", sections=[("A", 10, 20)], hold_seconds=600).ok
        short = [api.hold("e", f"s{i}", seats=[f"A/1/{i + 1}"], ttl=2 * SLOWNESS)["hold"] for i in range(20)]
        middle = [api.hold("e", f"m{i}", seats=[f"A/2/{i + 1}"], ttl=STOP_SECONDS + 60 * SLOWNESS)["hold"] for i in range(20)]
        ends = [api.get(hold)["deadline_ms"] for hold in short]
        end_of_short = max(ends)
        deadlines = {hold: api.get(hold)["deadline_ms"] for hold in middle}
        clients = [Resp(server) for _ in range(4)]
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert poll(lambda: stands_still(server))
            assert now_ms() < min(ends), "the machine is too slow for this test"
            # before the deadline, and never looked at before it
            for at, hold in enumerate(short[:10]):
                clients[at % 2].connection.send(Resp.confirm_request(hold, f"s{at}"))
            time.sleep(max(STOP_SECONDS, 2 * SLOWNESS + 1))
            assert now_ms() > end_of_short
            for at, hold in enumerate(short[10:], 10):
                clients[2 + at % 2].connection.send(Resp.confirm_request(hold, f"s{at}"))
        finally:
            server.process.send_signal(signal.SIGCONT)
        for at in range(20):
            client = clients[at % 2 if at < 10 else 2 + at % 2]
            answer = client.read(client.connection.receive(), Resp.ok_form)
            assert answer.code == "expired", f"confirmed {now_ms() - end_of_short} ms after the deadline: {answer}"
        for hold, deadline in deadlines.items():
            told = api.get(hold)
            assert (told["state"], told["deadline_ms"]) == ("held", deadline)
        for at, hold in enumerate(middle):
            assert api.confirm(hold, f"m{at}").ok
        # what expired is for sale again
        assert poll(lambda: api.seats("e", "A")["1"] == "F" * 20, 5)
        for client in [api, *clients]:
            client.close()


# ---- a wall clock that steps


class Clock:
    def __init__(self, folder):
        self.library = folder / "clock_step.so"
        self.file = folder / "step"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", str(self.library),
                        str(ROOT / "tests" / "integration" / "clock_step.c")], check=True)
        self.file.write_bytes(struct.pack("<qq", 0, 0))
        self.ms = 0

    def write(self, place, ms):
        with open(self.file, "r+b") as file:
            file.seek(8 * place)
            file.write(struct.pack("<q", ms))

    def set(self, ms):
        self.write(0, ms)
        self.ms = ms

    def stall(self, ms):
        """A shard's thread stands still right behind its next look at the clock."""
        self.write(1, ms)

    def stalled(self):
        return self.file.read_bytes()[8:] == bytes(8)

    def now_ms(self):
        return now_ms() + self.ms

    def environment(self):
        names = {"LD_PRELOAD": str(self.library), "CLOCK_STEP_FILE": str(self.file)}
        # the sanitizer's library wants to be the first one, and need not be for this
        names["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return names


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


def start(clock, data, shards=2):
    return Server(shards=shards, data=data, environment=clock.environment())


def create(api):
    assert api.create("e", sections=[("A", 10, 20)], pools=[("ga", 100)], hold_seconds=600, hold_seconds_max=100000).ok


def hold_when_free(api, event, user, **request):
    """A hold is over at its deadline; its units are for sale again once that is on disk."""
    answers = []
    poll(lambda: answers.append(api.hold(event, user, **request)) or answers[-1].code != "held", 5)
    return answers[-1]


@pytest.mark.alone
def test_a_shard_that_stands_still(clock, tmp_path):
    """One shard does not run for a while, with a clock in its hand that it has read before: what other shards
    forward to it meanwhile is decided by a clock that is not behind the one who asked."""
    with start(clock, tmp_path / "data") as server:
        apis = [Resp(server) for _ in range(8)]  # on both shards
        create(apis[0])
        for round_ in range(6):
            holds = [apis[0].hold("e", f"r{round_}u{i}", seats=[f"A/{round_ + 1}/{i + 1}"], ttl=SLOWNESS) for i in range(16)]  # of both shards
            deadline = max(hold["deadline_ms"] for hold in holds)
            time.sleep(max(0, min(hold["deadline_ms"] for hold in holds) - now_ms() - 300 * SLOWNESS) / 1000)
            clock.stall(900 * SLOWNESS)
            assert poll(clock.stalled, 5) and now_ms() < deadline, "the machine is too slow for this test"
            time.sleep((deadline - now_ms() + 100) / 1000)
            # every hold over one connection of each shard: the one that stands still, and the other
            for api in apis:
                api.connection.send(b"".join(Resp.confirm_request(hold["hold"], f"r{round_}u{i}") for i, hold in enumerate(holds)))
            for api in apis:
                for _ in holds:
                    answer = api.read(api.connection.receive(), Resp.ok_form)
                    assert answer.code == "expired", f"confirmed behind the deadline: {answer}"
        for api in apis:
            api.close()


def test_the_injected_clock_is_the_servers(clock, tmp_path):
    clock.set(HOUR_MS)
    with start(clock, tmp_path / "data") as server:
        api = Resp(server)
        create(api)
        deadline = api.hold("e", "u", seats=["A/1/1"], ttl=600)["deadline_ms"]
        assert abs(deadline - (clock.now_ms() + 600000)) < 30000 * SLOWNESS


@pytest.mark.alone
@pytest.mark.parametrize("step", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
def test_a_step_while_it_runs(clock, tmp_path, step):
    with start(clock, tmp_path / "data") as server:
        api, http = Resp(server), Http(server)
        create(api)
        held = api.hold("e", "u1", seats=["A/1/1"], ttl=600)
        seconds = 3 * SLOWNESS
        begun = time.monotonic()
        short = api.hold("e", "u2", seats=["A/1/2"], ttl=seconds)
        taken = time.monotonic()
        clock.set(step)
        # by the deadline nothing has ended, whatever the wall clock says
        while time.monotonic() < begun + seconds - 0.3:
            state = http.get(short["hold"])["state"]
            if time.monotonic() < begun + seconds - 0.05:
                assert state == "held", f"ended {time.monotonic() - begun:.3f} s after it was placed, for {seconds} s"
            time.sleep(0.02)
        assert poll(lambda: api.get(short["hold"])["state"] == "expired", taken + seconds + 2 - time.monotonic())
        assert api.confirm(short["hold"], "u2").code == "expired"
        told = api.get(held["hold"])
        assert (told["state"], told["deadline_ms"]) == ("held", held["deadline_ms"])
        assert told["deadline_in_ms"] <= 600000
        again = hold_when_free(api, "e", "u3", seats=["A/1/2"], ttl=600)
        assert again.ok and abs(again["deadline_ms"] - held["deadline_ms"]) < 60000 * SLOWNESS
        assert api.confirm(held["hold"], "u1").ok


def test_an_hour_back_across_a_restart(clock, tmp_path):
    """Now is the newest record's time: nothing lives longer than it was promised, as far as the journal tells the time."""
    server = start(clock, tmp_path / "data")
    api = Resp(server)
    create(api)
    held = api.hold("e", "u1", seats=["A/1/1"], ttl=600)
    over = api.hold("e", "u2", seats=["A/1/2"], ttl=1)
    assert poll(lambda: api.get(over["hold"])["state"] == "expired", 5)
    short = api.hold("e", "u3", seats=["A/1/3"], ttl=2)
    server.kill()
    clock.set(-HOUR_MS)
    with start(clock, tmp_path / "data", shards=3) as server:
        api = Resp(server)
        told = api.get(held["hold"])
        assert (told["state"], told["deadline_ms"]) == ("held", held["deadline_ms"])
        assert 0 < told["deadline_in_ms"] <= 600000
        assert api.get(over["hold"])["state"] == "expired"
        assert poll(lambda: api.get(short["hold"])["state"] == "expired", 5)
        new = hold_when_free(api, "e", "u4", seats=["A/1/3"], ttl=600)
        assert new.ok and new["deadline_ms"] >= held["deadline_ms"]
        assert api.confirm(held["hold"], "u1").ok


def test_an_hour_forward_across_restarts_and_back(clock, tmp_path):
    server = start(clock, tmp_path / "data", shards=1)
    api = Resp(server)
    create(api)
    over = api.hold("e", "u1", seats=["A/1/1"], ttl=600)
    held = api.hold("e", "u2", seats=["A/1/2"], ttl=7200)
    server.kill()
    clock.set(HOUR_MS)
    server = start(clock, tmp_path / "data", shards=2)
    api = Resp(server)
    assert api.get(over["hold"])["state"] == "expired"
    assert api.confirm(over["hold"], "u1").code == "expired"
    told = api.get(held["hold"])
    assert (told["state"], told["deadline_ms"]) == ("held", held["deadline_ms"])
    assert 3000000 < told["deadline_in_ms"] <= 3600000
    new = api.hold("e", "u3", seats=["A/1/1"], ttl=600)  # an hour ahead of the clock to come
    assert new.ok
    server.kill()
    clock.set(0)
    with start(clock, tmp_path / "data", shards=3) as server:
        api = Resp(server)
        told = api.get(new["hold"])
        assert (told["state"], told["deadline_ms"]) == ("held", new["deadline_ms"])
        assert 0 < told["deadline_in_ms"] <= 600000
        assert 0 < api.get(held["hold"])["deadline_in_ms"] <= 3600000
        assert api.get(over["hold"])["state"] == "expired"
        assert api.confirm(held["hold"], "u2").ok
