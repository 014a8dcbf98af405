"""stage.py - server, persister and clients, for the tests of the persister."""
import atexit
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from postgres import free_port  # noqa: E402
from wire import RespError, RespReader, resp_request  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("HOLDFAST_BINARY", str(ROOT / "build" / "holdfast"))
SLOWNESS = int(os.environ.get("HOLDFAST_SLOWNESS", "1"))


def wait_for(what, seconds=60, every=0.05):
    """Until what() is true; its last value. Seconds are patience, not a measure."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s: {what}")


LOGS = tempfile.TemporaryDirectory(prefix="holdfast-log-")  # of all processes; goes when this one ends


class Process:
    """A holdfast process that prints one ready line."""

    def __init__(self, *arguments, ready=None, environment=None):
        self.log_path = pathlib.Path(tempfile.mkstemp(dir=LOGS.name)[1])
        self.command = [BINARY, *map(str, arguments)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **(environment or {})}
            )
        atexit.register(self.process.kill)  # where a test has failed it is left over; else this does nothing
        self.ready = None
        if ready is not None:
            if not select.select([self.process.stdout], [], [], 60 * SLOWNESS)[0]:
                self.kill()
                raise AssertionError(f"not ready: {self.log()}")
            line = self.process.stdout.readline().decode()
            self.ready = re.match(ready, line)
            if self.ready is None:
                self.process.wait(10)
                raise AssertionError(f"not ready: {line!r}, exit {self.process.returncode}: {self.log()}")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def lines(self):
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60 * SLOWNESS)
        assert code == 0, f"exit {code}: {self.log()[-3000:]}"

    def wait(self, seconds=30):
        return self.process.wait(seconds * SLOWNESS)

    @property
    def running(self):
        return self.process.poll() is None


class Server(Process):
    def __init__(self, data, *arguments, shards=2, http=None, resp=None):
        self.http, self.resp = http or free_port(), resp or free_port()
        super().__init__(
            "serve", "--data", data, "--shards", shards, "--http", f"127.0.0.1:{self.http}", "--resp", f"127.0.0.1:{self.resp}",
            "--journal.segment_bytes", "20MiB", *arguments, ready=r"^ready ",
        )


class Persister(Process):
    def __init__(self, data, uri, *arguments, wait=True, environment=None):
        super().__init__(
            "persist", "--data", data, "--pg", uri, "--persist.http", "127.0.0.1:0", "--persist.backoff_seconds_max", 1,
            *arguments, ready=r"^ready http=127\.0\.0\.1:(\d+)" if wait else None, environment=environment,
        )
        self.http = int(self.ready[1]) if wait else None

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name):
        return self.figure(f"holdfast_persister_{name}")

    def figure(self, name):
        """Whoever's it is, with its labels."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return int(line.split()[1])
        raise AssertionError(f"no metric {name}")


def verify(data, uri):
    """(exit code, what it printed): holdfast verify."""
    done = subprocess.run([BINARY, "verify", "--data", str(data), "--pg", uri], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def journal_end(data):
    """The records that the journals have, by (epoch, shard): holdfast journal dump."""
    done = subprocess.run([BINARY, "journal", "dump", str(data)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ends = {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        ends[record["epoch"], record["shard"]] = record["sequence"]
    return ends


class Client:
    """RESP over one connection, one request at a time."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.reader = RespReader()

    def ask(self, *words):
        self.socket.sendall(resp_request(*words))
        while (answer := self.reader.next()) is None:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server has closed")
            self.reader.feed(data)
        return answer[0]

    def close(self):
        self.socket.close()


class Crowd:
    """A mixed load: holds of seats and pools, confirms, releases, extensions, replacements, cancels, late confirms, and a
    waiting room; deadlines of one second, so that some expire. Goes on over restarts of the server."""

    def __init__(self, port, name, seed, threads=2):
        self.port, self.name = port, name
        self.ending = threading.Event()
        self.answers = 0
        self.failures = []
        self.make()
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed * 1000 + i), i), daemon=True) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def make(self):
        client = Client(self.port)
        for word in ("hall", "deal"):
            made = client.ask(
                "EVENT", "CREATE", f"{self.name}-{word}", "SECTION", "A", 20, 30, "ROW", "BOX", "L1", 6, "ROW", "BOX", "L2", 8,
                "POOL", "ga", 100000, "POOL", "vip", 50, "HOLD", 1, "HOLDMAX", 60,
            )
            assert made == "OK", made
        made = client.ask("EVENT", "CREATE", f"{self.name}-queue", "POOL", "ga", 100000, "HOLD", 5, "QUEUE", 20, 30, 60)
        client.close()

    def run(self, draw, number):
        users = 0
        while not self.ending.is_set():
            try:
                client = Client(self.port)
                while not self.ending.is_set():
                    users += 1
                    self.buy(client, draw, f"u{number}-{users}")
            except (ConnectionError, OSError):
                time.sleep(0.05)  # the server is being started again
            except Exception as error:  # noqa: BLE001 - told by close()
                self.failures.append(error)
                return

    def buy(self, client, draw, user):
        event = self.name + draw.choice(["-hall", "-hall", "-deal"])
        if draw.random() < 0.1:
            token = client.ask("QUEUE", "JOIN", self.name + "-queue", user)
            if not isinstance(token, RespError) and draw.random() < 0.5:
                client.ask("QUEUE", "LEAVE", token[0])
            self.answers += 1
            return
        words = ["HOLD", event, user]
        for seat in {f"A/{draw.randint(1, 20)}/{draw.randint(1, 30)}" for _ in range(draw.randint(0, 3))}:
            words += ["SEAT", seat]
        if len(words) == 3 or draw.random() < 0.3:
            words += ["POOL", draw.choice(["ga", "ga", "vip"]), draw.randint(1, 3)]
        if draw.random() < 0.1:
            words += ["BEST", "BOX", 2]
        hold = client.ask(*words)
        self.answers += 1
        if isinstance(hold, RespError):
            return
        what = draw.random()
        if what < 0.4:
            client.ask("CONFIRM", hold[0], user, "REF", f"pay-{user}")
            if draw.random() < 0.2:
                client.ask("CANCEL", hold[0])
        elif what < 0.6:
            client.ask("RELEASE", hold[0], user)
        elif what < 0.7:
            client.ask("EXTEND", hold[0], user, 2)
        elif what < 0.8:
            client.ask("HOLD", event, user, "SEAT", f"A/{draw.randint(1, 20)}/{draw.randint(1, 30)}", "REPLACE", hold[0])
        elif what < 0.82:
            time.sleep(1.1)
            client.ask("CONFIRM", hold[0], user, "LATE")

    def close(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.failures, self.failures
        assert self.answers > 0


class Proxy:
    """TCP to PostgreSQL, that can cut: right after a COMMIT went through, before its answer is handed back. It can give
    another version out for the server's, and it can keep all it has been given to itself for a while."""

    def __init__(self, port):
        self.target = port
        self.version = None  # of the same length as the real one
        self.cut_after_commit = 0  # how many more times
        self.cuts = 0
        self.silent = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                client, _ = self.listener.accept()
            except OSError:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=30)
            except OSError:
                client.close()  # as a port without a listener would
                continue
            threading.Thread(target=self.carry, args=(client, server), daemon=True).start()

    def carry(self, client, server):
        committed = False
        try:
            while True:
                ready = select.select([client, server], [], [], 60)[0]
                while self.silent:
                    time.sleep(0.02)
                if client in ready:
                    data = client.recv(1 << 16)
                    if not data:
                        break
                    server.sendall(data)
                    # "commit" is the name of the prepared statement that the persister ends a transaction with
                    committed = self.cut_after_commit > 0 and b"commit\x00" in data
                if committed:
                    self.cut_after_commit -= 1
                    self.cuts += 1
                    time.sleep(0.05)  # it arrives; its answer does not
                    break
                if server in ready:
                    data = server.recv(1 << 16)
                    if not data:
                        break
                    if self.version is not None:
                        data = re.sub(rb"(server_version\0)\d\d", rb"\g<1>" + self.version.encode(), data)
                    client.sendall(data)
        except OSError:
            pass
        for end in (client, server):
            end.close()

    def close(self):
        self.open = False
        self.listener.close()
