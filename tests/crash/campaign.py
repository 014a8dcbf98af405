"""campaign.py - rounds of kill -9 under load, restart with another shard count, and an audit of every answer.

    tests/crash/run --rounds 1000

One data directory through all rounds. Segments and batches are small and snapshots follow each other, so a kill meets them
in every state. A few clients more stand in waiting rooms (room.py). Some kills come while the server is still starting,
some rounds end with SIGTERM instead, and `holdfast journal verify` runs beside the load and on what the kill has left. What
fails is kept: the directory as it was before the last start (before/) and now (data/).
"""
import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "integration"), str(pathlib.Path(__file__).resolve().parent)]

from api import Http  # noqa: E402
from audit import Audit, KEY_SECONDS  # noqa: E402
from clients import GONE, Client  # noqa: E402
from ledger import ENDED_SECONDS, Event, Ledger, Violation  # noqa: E402
import room  # noqa: E402
from server import BINARY, SLOWNESS, Server  # noqa: E402

MIB = 1 << 20
SETTINGS = (
    "--journal.segment_bytes", 4 * MIB, "--core.batch_bytes_max", MIB, "--journal.snapshot_bytes", 4 * MIB,
    "--core.ended_seconds", ENDED_SECONDS, "--core.key_seconds", KEY_SECONDS,
)
EVENTS_ACTIVE = 3
EVENT_ROUNDS = 12  # then it is retired at the latest
ROOMS, VISITORS = 2, 3


class Operator(threading.Thread):
    """Changes pools' capacities and the seconds of holds while the others work."""

    def __init__(self, server, ledger, seed):
        super().__init__()
        self.server, self.ledger, self.random = server, ledger, random.Random(seed)
        self.failure = None

    def run(self):
        try:
            self.work(Http(self.server))
        except GONE:
            pass
        except BaseException as failure:
            self.failure = failure

    def work(self, api):
        while True:
            time.sleep(self.random.uniform(0.005, 0.05))
            event = self.random.choice(self.ledger.active)
            pools, seconds = dict(event.pools), self.random.choice([300, 301, 302])
            for name in pools:
                pools[name] += self.random.choice([0, 1, 2])
            event.doubtful = {"pools": pools, "hold_seconds": seconds}
            answer = api.change(event.id, hold_seconds=seconds, pools=sorted(pools.items()))
            event.doubtful = None
            if answer.ok:
                event.pools, event.hold_seconds = pools, seconds
            elif answer.code != "busy":
                raise Violation(f"{event}: capacities {pools}: {answer}")


class Crowd(threading.Thread):
    def __init__(self, client, server):
        super().__init__()
        self.client, self.server, self.failure = client, server, None

    def run(self):
        try:
            self.client.run(self.server)
        except BaseException as failure:  # told by the main thread
            self.failure = failure


class Campaign:
    def __init__(self, seed, clients, folder, restarts=True):
        self.random = random.Random(seed)
        self.seed = seed
        self.folder = folder
        self.data = folder / "data"
        self.before = folder / "before"
        self.ledger = Ledger()
        self.ledger.clients = [Client(number, self.ledger, seed) for number in range(clients)]
        self.rooms = []
        self.visitors = [room.Visitor(number, self.rooms, seed) for number in range(VISITORS)]
        self.events = 0
        self.server = None
        self.verifies = []
        self.restarts = restarts

    # ---- a server

    def start(self):
        if self.server is not None:
            shutil.rmtree(self.server.folder, ignore_errors=True)
        shutil.rmtree(self.before, ignore_errors=True)
        if self.data.exists():
            # files that a start has found are never changed, only removed: links are a copy
            shutil.copytree(self.data, self.before, copy_function=link)
        early = 0
        while self.random.random() < 0.2:  # killed while it starts
            server = Server(*SETTINGS, shards=self.random.randrange(1, 5), data=self.data, wait=False)
            time.sleep(self.random.uniform(0, 0.2) * SLOWNESS)
            if server.process.poll() is not None:
                raise Violation(f"the start was refused: exit code {server.process.returncode}: {server.log()}")
            server.kill()
            server.process.stdout.close()
            shutil.rmtree(server.folder, ignore_errors=True)
            early += 1
        begun = time.monotonic()
        self.server = Server(*SETTINGS, shards=self.random.randrange(1, 5), data=self.data)
        return early, time.monotonic() - begun

    def end(self):
        """kill -9, or sometimes SIGTERM."""
        if self.random.random() < 0.1:
            server = self.server
            server.terminate()
            try:
                code = server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                raise Violation(f"still running 30 s after SIGTERM: {server.log()}") from None
            if code != 0:
                raise Violation(f"exit code {code} after SIGTERM: {server.log()[-6000:]}")
            how = "SIGTERM"
        else:
            if self.server.process.poll() is not None:
                raise Violation(f"the server has died, exit code {self.server.process.returncode}: {self.server.log()[-6000:]}")
            self.server.kill()
            how = "kill -9"
        self.server.process.stdout.close()
        return how

    def verify(self):
        return subprocess.Popen([BINARY, "journal", "verify", str(self.data)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    # ---- a round

    def round(self, number):
        ledger = self.ledger
        ledger.round = number
        self.renew_events()
        people = ledger.clients + self.visitors
        crowds = [Crowd(client, self.server) for client in people]
        crowds.append(Operator(self.server, ledger, self.random.random()))
        answered = sum(client.answered for client in people)
        for crowd in crowds:
            crowd.start()
        seconds = self.random.choice([self.random.uniform(0.05, 0.4), self.random.uniform(0.3, 1.0)])
        verify = None
        if self.restarts and self.random.random() < 0.3:
            time.sleep(seconds / 3)
            seconds *= 2 / 3
            verify = self.verify()
        time.sleep(seconds)
        how = self.end()
        for crowd in crowds:
            crowd.join(60 * SLOWNESS)
            if crowd.is_alive():
                raise Violation("a client still waits for an answer a minute after the server's end")
        failures = [crowd.failure for crowd in crowds if crowd.failure is not None]
        if failures:
            raise failures[0]
        self.verified(verify, "beside the load")
        if self.random.random() < 0.3:
            self.verified(self.verify(), f"after {how}")
        shards = self.server.shards
        early, start_seconds = self.start()
        audit = Audit(self.server, ledger, self.random)
        begun = time.monotonic()
        audit.run()
        audit.close()
        places = room.audit(self.server, self.visitors, self.rooms, self.random)
        audit_seconds = time.monotonic() - begun
        answered = sum(client.answered for client in people) - answered
        cuts = self.server.log().count("cut")
        print(f"round {number}: {answered} answers, {how}, {shards} to {self.server.shards} shards"
              f"{f', {early} starts killed' if early else ''}, ready in {start_seconds:.2f} s, "
              f"{audit.looked} looks and {places} places in {audit_seconds:.2f} s, {audit.settled} settled, {cuts} lines of a cut", flush=True)
        if audit_seconds > 5 and audit.waited_for is not None:
            print(f"  looked {audit.waited} times again; last for {audit.waited_for}", flush=True)

    def verified(self, verify, when):
        if verify is None:
            return
        output = verify.communicate(timeout=120 * SLOWNESS)[0]
        if verify.returncode != 0:
            raise Violation(f"journal verify {when}: exit code {verify.returncode}: {output[-3000:]}")

    def renew_events(self):
        """Some events on sale, none older than a few rounds, none nearly sold out."""
        ledger, api = self.ledger, Http(self.server)
        for event in list(ledger.active):
            counts = api.event(event.id)["counts"]
            if counts["sold"] * 10 > counts["capacity"] * 7 or ledger.round - event.round > EVENT_ROUNDS:
                event.retired = True
                ledger.active.remove(event)
                ledger.retired.append(event)
        while len(ledger.active) < EVENTS_ACTIVE:
            self.events += 1
            name = f"e{self.events}"
            event = self.random.choice([
                lambda: Event(name, [("A", [str(r + 1) for r in range(6)], [10] * 6)], {"ga": 40}),
                lambda: Event(name, [("BOX", ["L1", "L2", "R1"], [6, 8, 5]), ("B", ["1", "2", "3", "4"], [12] * 4)], {}, limit=8),
                lambda: Event(name, [("A", ["1", "2"], [15] * 2)], {"deal": 25, "vip": 10}),
                lambda: Event(name, [("BIG", [str(r + 1) for r in range(60)], [40] * 60)], {"ga": 100}),
            ])()
            answer = api.create(event.id, sections=event.sections, pools=sorted(event.pools.items()), hold_seconds=300, limit=event.limit)
            if not answer.ok:
                raise Violation(f"could not create {event}: {answer}")
            event.round = ledger.round
            ledger.active.append(event)
        for old in [old for old in self.rooms if ledger.round - old.round > EVENT_ROUNDS]:
            self.rooms.remove(old)
            for visitor in self.visitors:
                visitor.forget(old)
        while len(self.rooms) < ROOMS:
            self.events += 1
            new = room.Room(f"r{self.events}", self.random.choice([1, 3, 5]), self.random.choice([1, 2, 600]))
            new.round = ledger.round - self.random.randrange(EVENT_ROUNDS)
            answer = api.create(new.id, pools=[("ga", room.UNITS)], hold_seconds=300, queue=(new.active_max, new.active_seconds, 3600))
            if not answer.ok:
                raise Violation(f"could not create {new}: {answer}")
            self.rooms.append(new)
        api.close()

    def run(self, rounds):
        self.start()
        for number in range(1, rounds + 1):
            self.round(number)
        audit = Audit(self.server, self.ledger, self.random)
        audit.run(everything=True)
        audit.close()
        self.server.stop()
        self.server = None
        self.verified(self.verify(), "at the end")
        people = self.ledger.clients + self.visitors
        return sum(client.answered for client in people), sum(client.refused for client in people)


def link(source, target):
    pathlib.Path(target).hardlink_to(source)


def main():
    parser = argparse.ArgumentParser(prog="tests/crash/run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seed", default=None, help="of what is done (the timing is the machine's); default: a new one")
    parser.add_argument("--folder", default=None, help="where the data directory is made; default: a temporary one")
    arguments = parser.parse_args()
    seed = arguments.seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-crash-", dir=arguments.folder))
    campaign = Campaign(seed, arguments.clients, folder)
    try:
        answered, refused = campaign.run(arguments.rounds)
    except BaseException as failure:
        if campaign.server is not None:
            campaign.server.kill()
            print(f"server's log:\n{campaign.server.log()[-4000:]}")
        print(f"kept: {folder}", flush=True)
        if isinstance(failure, AssertionError):
            print(f"violation: {failure}")
            print(f"{campaign.ledger.round - 1} passed, 1 failed")
            return 1
        raise
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{answered} commands answered, {refused} of them refusals; nothing lost, nothing doubled")
    print(f"{arguments.rounds} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
