#!/usr/bin/env python3
"""The server beside its rivals, in one run on one machine: what README.md describes.

usage: bench/server/run.py [--build DIR] [--repeats N] [--seconds N] [--pause N] [--calm PERCENT]
                           [--only GROUP,...] [--json FILE] [--quick]

With --calm a load during which other work on the machine took more than so much of a core is not counted but repeated,
whatever it showed; one that is disturbed again and again is counted, and the report names it.

Every measurement starts its server afresh on a free loopback port, prepares it, loads it for some seconds, and stops it.
A repeat goes once through all measurements, so that rivals take turns; a figure is the median of the repeats. Nothing
is asserted about figures; a server that does not start or a load with broken connections ends the run.
"""
import argparse
import contextlib
import json
import mmap
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONNECTIONS = 50
SECTIONS, ROWS, SEATS = 10, 1000, 1000  # ten million seats, so that nearly every hold succeeds
SEAT = f"{{0-{SECTIONS - 1}}}/{{1-{ROWS}}}/{{1-{SEATS}}}"
USER = "u{0-9999999}"
IDLE = 10000
WARM_HOLDS = 1000000  # placed and ended before anything is measured
RECORDS, LIVE = 10000000, 1000000  # what a start finds in the journal; holds in a snapshot
EXPIRY_BATCHES = 8  # in which the holds that expire together are placed
STALL_US = 2048  # the bucket of the loop's steps that is nearest to 2 ms
SNAPSHOT_AFTER_BYTES = 300  # of journal for each live hold: it begins when these are there, and more are placed
NO_SNAPSHOT = 1 << 40  # bytes of journal before the next snapshot: never
BUSY_RATE = 3000  # arrivals a second, of durable holds
TRIES = 8  # of a load that other work disturbs
BARE_WRITE = "bare O_DIRECT|O_DSYNC write of 4 KiB"
ZEROS_BYTES, BLOCK = 64 << 20, 4096  # of the file for bare writes, and of each of them

# What is compared: name as the project's aims have it, figure, rival's figure, aim: at least, or below zero: at most
RATIOS = [
    ("HOLD of a seat against PING, same server, pipeline 16", "holdfast memory HOLD, pipeline 16", "holdfast memory PING, pipeline 16", 0.7),
    ("HOLD of a seat against PING, same server, pipeline 1", "holdfast memory HOLD, pipeline 1", "holdfast memory PING, pipeline 1", 0.85),
    ("HOLD of a seat against Redis Lua, pipeline 16", "holdfast memory HOLD, pipeline 16", "redis Lua hold, pipeline 16", 10),
    ("HOLD of a seat against Redis Lua, without pipelining", "holdfast memory HOLD, pipeline 1", "redis Lua hold, pipeline 1", 1.6),
    ("HTTP hold against nginx return 200 to the same POST", "holdfast memory HTTP hold", "nginx return 200", 0.9),
    ("durability journal against memory, pipeline 16", "holdfast journal HOLD, pipeline 16", "holdfast memory HOLD, pipeline 16", 0.8),
    ("durability journal against memory, pipeline 1", "holdfast journal HOLD, pipeline 1", "holdfast memory HOLD, pipeline 1", None),
    ("PING against Redis PING, pipeline 16", "holdfast memory PING, pipeline 16", "redis PING, pipeline 16", None),
    ("PING against Redis PING, pipeline 1", "holdfast memory PING, pipeline 1", "redis PING, pipeline 1", None),
    ("redis-benchmark: HOLD of a pool's unit against PING, pipeline 16", "holdfast memory HOLD pool (redis-benchmark), pipeline 16", "holdfast memory PING (redis-benchmark), pipeline 16", None),
    ("durable against memory, 50 connections, pipeline 16", "durable journal, 50 connections, pipeline 16", "durable memory, 50 connections, pipeline 16", 0.8),
    ("durable against memory, 256 connections, pipeline 1", "durable journal, 256 connections, pipeline 1", "durable memory, 256 connections, pipeline 1", 0.8),
    ("durable against Redis Lua, appendfsync always, pipeline 16", "durable journal, 50 connections, pipeline 16", "redis Lua always, 50 connections, pipeline 16", 10),
    ("durable against Redis Lua, appendfsync always, 64 connections", "durable journal, 64 connections, pipeline 1", "redis Lua always, 64 connections, pipeline 1", 2.5),
    ("durable latency p50 of one client against a bare write from the same core", "durable journal, 1 connections, pipeline 1, p50 us", "bare O_DIRECT|O_DSYNC write of 4 KiB from the shard's core, p50 us", -1.5),
    ("the same, the bare write from whichever core the kernel gives it", "durable journal, 1 connections, pipeline 1, p50 us", "bare O_DIRECT|O_DSYNC write of 4 KiB, p50 us", None),
    ("durable p50, every other core busy against idle", f"durable, {BUSY_RATE} arrivals a second, beside busy cores, p50 us", f"durable, {BUSY_RATE} arrivals a second, alone, p50 us", None),
    ("durable p99, every other core busy against idle", f"durable, {BUSY_RATE} arrivals a second, beside busy cores, p99 us", f"durable, {BUSY_RATE} arrivals a second, alone, p99 us", None),
]


def fail(text):
    sys.exit(f"bench/server/run.py: {text}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command_output(argv, seconds):
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        fail(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def running(argv, port, log):
    """A child that listens on a port; stopped by its own process id on the way out."""
    with open(log, "wb") as sink:
        child = subprocess.Popen([str(a) for a in argv], stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
    try:
        for _ in range(4000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if child.poll() is not None:
                fail(f"{argv[0]} ended at its start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.025)
        else:
            fail(f"{argv[0]} does not listen on {port} after 100 s")
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Bench:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.binary = pathlib.Path(options.build) / "holdfast"
        self.figures = {}
        self.disturbed = {}  # name -> loads that were counted all the same
        self.count = 0

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)
        print(f"  {name}: {value:,.0f}", file=sys.stderr, flush=True)

    def calmly(self, name, load):
        """Runs load(), which returns what it found, name -> value, until others left the machine alone meanwhile."""
        for tries_left in reversed(range(TRIES if self.options.calm else 1)):
            found = load()
            others = found[f"{name}, others' cores in percent"]
            calm = not self.options.calm or others <= self.options.calm
            if calm or not tries_left:
                break
            print(f"  {name}: disturbed ({others:.0f} %), once more", file=sys.stderr, flush=True)
            time.sleep(1)
        if not calm:
            self.disturbed[name] = self.disturbed.get(name, 0) + 1
        for figure, value in found.items():
            self.note(figure, value)

    def directory(self):
        self.count += 1
        path = self.work / f"{self.count}"
        path.mkdir()
        return path

    # ---- servers ----

    @contextlib.contextmanager
    def holdfast(self, durability, event=True, data=None, settings=("--shards", 1, "--core.ended_seconds", 1)):
        """`data`: a directory that is used again; otherwise one that goes afterwards."""
        http, resp, path = free_port(), free_port(), self.directory()
        argv = [self.binary, "serve", "--data", data or path / "data", "--http", f"127.0.0.1:{http}",
                "--resp", f"127.0.0.1:{resp}", "--durability", durability, *settings]
        with running(argv, resp, path / "log") as child:
            child.log = path / "log"
            if event:
                sections = [word for i in range(SECTIONS) for word in ("SECTION", i, ROWS, SEATS)]
                answer = self.cli(resp, "EVENT", "CREATE", "bench", *sections, "POOL", "p", 1000000000, "HOLD", 3600)
                if answer != "OK":
                    fail(f"EVENT CREATE: {answer}")
            yield child, http, resp
        shutil.rmtree(path)

    @contextlib.contextmanager
    def redis(self, *persistence):
        port, path = free_port(), self.directory()
        argv = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", path, "--save", "",
                *(persistence or ("--appendonly", "no"))]
        with running(argv, port, path / "log") as child:
            yield child, port
        shutil.rmtree(path)

    @contextlib.contextmanager
    def nginx(self):
        port, path = free_port(), self.directory()
        (path / "nginx.conf").write_text((HERE / "nginx.conf").read_text().replace("PORT;", f"{port};"))
        with running(["nginx", "-p", path, "-c", path / "nginx.conf"], port, path / "log") as child:
            yield child, port
        shutil.rmtree(path)

    # ---- loads ----

    def cli(self, port, *words):
        return command_output(["redis-cli", "-p", port, *words], 60).strip()

    @contextlib.contextmanager
    def processor(self, name, pid, found):
        """Finds what a request cost the server in processor time, which other load disturbs least, how many cores the client
        had (near 1.0, the client is what limits), and what the machine's other work had. Within, found["answers"] is set."""
        before, client, busy, begin = cpu_seconds(pid), children_seconds(), busy_seconds(), time.monotonic()
        yield
        wall = time.monotonic() - begin
        server, client = cpu_seconds(pid) - before, children_seconds() - client
        found[f"{name}, server ns a request"] = server / found.pop("answers") * 1e9
        found[f"{name}, client cores in percent"] = client / wall * 100
        found[f"{name}, others' cores in percent"] = max(0, busy_seconds() - busy - server - client) / wall * 100

    def raw(self, name, port, pid, pipeline, *words, refusals=("HELD",), connections=CONNECTIONS):
        """holdfast load raw: the same client whoever the server is. Holds are counted where granted."""
        name = f"{name}, pipeline {pipeline}"

        def load():
            found = {}
            with self.processor(name, pid, found):
                text = command_output([self.binary, "load", "raw", "--resp", f"127.0.0.1:{port}", "--connections", connections,
                                       "--pipeline", pipeline, "--seconds", self.options.seconds, "--requests", 1000000000,
                                       "--seed", random.getrandbits(40), "--json", "--", *words], self.options.seconds + 60)
                result = json.loads(text)
                found["answers"] = result["asked"] - result["lost"]
            strange = {word: count for word, count in result["refused"].items() if word not in refusals}
            if strange or result["lost"]:
                fail(f"{name}: refused with {strange}, {result['lost']} answers lost")
            latency = result["latency_us"]
            return found | {name: result["holds_per_second"], f"{name}, p50 us": latency["p50"], f"{name}, p99 us": latency["p99"]}

        self.calmly(name, load)

    def redis_benchmark(self, name, port, pipeline, *words):
        requests = max(10000, int(self.options.seconds * 300000)) if pipeline > 1 else max(5000, int(self.options.seconds * 50000))
        text = command_output(["redis-benchmark", "-p", port, "-c", CONNECTIONS, "-P", pipeline, "-n", requests,
                               "-r", 10000000, *words], 120)
        found = re.search(r"throughput summary: ([\d.]+)", text)
        if not found:
            fail(f"{name}: redis-benchmark printed no throughput:\n{text[-500:]}")
        self.note(f"{name} (redis-benchmark), pipeline {pipeline}", float(found[1]))

    def wrk(self, name, port, pid):
        def load():
            found = {}
            with self.processor(name, pid, found):
                text = command_output(["wrk", "-t", 1, "-c", CONNECTIONS, "-d", f"{self.options.seconds}s", "--latency",
                                       "-s", HERE / "hold.lua", f"http://127.0.0.1:{port}"], self.options.seconds + 60)
                pairs = dict(pair.split("=") for pair in text.split("figures ")[1].split())
                figures = {key: int(value) for key, value in pairs.items()}
                found["answers"] = figures["answers"]
            if figures["broken"] or figures["refused"] > figures["answers"] / 4:
                fail(f"{name}: {figures}")
            return found | {name: figures["answers"] / figures["us"] * 1e6, f"{name}, p99 us": figures["p99_us"]}

        self.calmly(name, load)

    def load(self, port, requests, *words):
        """Requests that are not measured."""
        command_output([self.binary, "load", "raw", "--resp", f"127.0.0.1:{port}", "--connections", CONNECTIONS, "--pipeline", 16,
                        "--seconds", 120, "--requests", requests, "--seed", random.getrandbits(40), "--json", "--", *words], 180)

    def warm(self, http, resp):
        """Places holds that expire at once and waits until they are forgotten, so that what is measured next finds its memory
        touched. Pings keep the loop turning meanwhile: some holds are forgotten in each turn."""
        self.load(resp, self.options.warm_holds, "HOLD", "bench", USER, "SEAT", SEAT, "TTL", 1)
        for _ in range(100):
            self.load(resp, 300000, "PING")
            known = re.findall(r"^holdfast_holds{.*} (\d+)$", metrics(http), re.M)
            if known and not any(map(int, known)):
                return
        fail("the holds of the warm-up were not forgotten")

    def bare_writes(self, name, cores):
        """What the disk takes for one block that must be on it: into zeros, one after the other, as a journal's batches; from one of
        these cores. The kernel brings whoever waits for a disk to the core of the disk's interrupt, where a write takes a third less."""
        path = self.directory() / "zeros"
        with open(path, "wb") as file:
            for _ in range(ZEROS_BYTES >> 20):
                file.write(bytes(1 << 20))
            os.fsync(file.fileno())
        every = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        file, block, took = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC), mmap.mmap(-1, BLOCK), []
        block.write(b"x" * BLOCK)
        end = time.monotonic() + self.options.seconds
        for offset in range(0, ZEROS_BYTES, BLOCK):
            begin = time.perf_counter_ns()
            if os.pwrite(file, block, offset) != BLOCK:
                fail("a bare write was short")
            took.append((time.perf_counter_ns() - begin) / 1000)
            if time.monotonic() > end:
                break
        os.close(file)
        os.sched_setaffinity(0, every)
        shutil.rmtree(path.parent)
        self.note(f"{name}, p50 us", statistics.median(took))

    def paced_pings(self, port):
        """What one client's way there and back takes after as long a pause as a bare write, in which all that is on the way has
        gone to sleep: with the write itself, what a durable answer cannot be faster than."""
        pause = statistics.median(self.figures[f"{BARE_WRITE}, p50 us"]) / 1e6
        took, end = [], time.monotonic() + self.options.seconds
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < end:
                time.sleep(pause)
                begin = time.perf_counter_ns()
                connection.sendall(b"PING\r\n")
                if connection.recv(64) != b"+PONG\r\n":
                    fail("a PING was not answered")
                took.append((time.perf_counter_ns() - begin) / 1000)
        self.note("PING of one client after a bare write's pause, p50 us", statistics.median(took))

    def hold(self, port, count, *more, refusals=("HELD",)):
        """So many holds, which are not measured, and each of them granted or of a seat that was taken."""
        text = command_output([self.binary, "load", "raw", "--resp", f"127.0.0.1:{port}", "--connections", CONNECTIONS,
                               "--pipeline", 16, "--seconds", 300, "--requests", count, "--seed", random.getrandbits(40), "--json",
                               "--", "HOLD", "bench", USER, "SEAT", SEAT, *more], 330)
        refused = json.loads(text)["refused"]
        if not set(refused) <= set(refusals):
            fail(f"holds were refused with {refused}")

    # ---- measurements ----

    def group_resp(self):
        hold = ("HOLD", "bench", USER, "SEAT", SEAT)
        with self.holdfast("memory") as (child, _, resp):
            self.raw("holdfast memory HOLD, first touch", resp, child.pid, 16, *hold)
        for durability in ("memory", "journal"):
            for pipeline in (16, 1):
                with self.holdfast(durability) as (child, http, resp):
                    self.warm(http, resp)
                    if durability == "memory":
                        self.raw("holdfast memory PING", resp, child.pid, pipeline, "PING", refusals=())
                    self.raw(f"holdfast {durability} HOLD", resp, child.pid, pipeline, *hold)

    def group_redis(self):
        for pipeline in (16, 1):
            with self.redis() as (child, port):
                script = self.cli(port, "SCRIPT", "LOAD", (HERE / "hold_seat.lua").read_text())
                hold = ("EVALSHA", script, 3, "seats", "deadlines", "users", SEAT, USER, int(time.time() * 1000) + 3600000, 1000000)
                self.load(port, self.options.warm_holds, *hold)
                if self.cli(port, "DEL", "seats", "deadlines", "users") != "3":
                    fail("redis: the holds of the warm-up were not there")
                self.raw("redis PING", port, child.pid, pipeline, "PING", refusals=())
                self.raw("redis Lua hold", port, child.pid, pipeline, *hold)

    def group_tools(self):
        for pipeline in (16, 1):
            with self.holdfast("memory") as (_, _, resp):
                self.redis_benchmark("holdfast memory PING", resp, pipeline, "PING")
                self.redis_benchmark("holdfast memory HOLD pool", resp, pipeline, "HOLD", "bench", "u__rand_int__", "POOL", "p", 1)
            with self.redis() as (_, port):
                self.redis_benchmark("redis PING", port, pipeline, "PING")

    def group_http(self):
        with self.holdfast("memory") as (child, http, resp):
            self.warm(http, resp)
            self.wrk("holdfast memory HTTP hold", http, child.pid)
        with self.nginx() as (child, port):
            self.wrk("nginx return 200", port, child.pid)

    def group_durable(self):
        hold = ("HOLD", "bench", USER, "SEAT", SEAT)
        loads = {"memory": ((256, 1), (CONNECTIONS, 16)), "journal": ((1, 1), (64, 1), (256, 1), (CONNECTIONS, 16))}
        for durability, kinds in loads.items():
            with self.holdfast(durability) as (child, http, resp):
                self.warm(http, resp)
                for connections, pipeline in kinds:
                    if connections == 1:
                        every = os.sched_getaffinity(0)
                        self.bare_writes(BARE_WRITE, every)
                        self.bare_writes(f"{BARE_WRITE} from the shard's core", {min(every)})
                        self.paced_pings(resp)
                    self.raw(f"durable {durability}, {connections} connections", resp, child.pid, pipeline, *hold,
                             connections=connections)
        with self.redis("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", 0) as (child, port):
            script = self.cli(port, "SCRIPT", "LOAD", (HERE / "hold_seat.lua").read_text())
            hold = ("EVALSHA", script, 3, "seats", "deadlines", "users", SEAT, USER, int(time.time() * 1000) + 3600000, 1000000)
            for connections, pipeline in ((64, 1), (CONNECTIONS, 16)):
                self.raw(f"redis Lua always, {connections} connections", port, child.pid, pipeline, *hold, connections=connections)

    def group_busy(self):
        """The same steady arrivals with nothing else on the machine, and with a loop that never sleeps on each core but the shard's."""
        arrivals = f"{BUSY_RATE}@{self.options.seconds}"
        shard, *others = sorted(os.sched_getaffinity(0))
        with self.holdfast("journal", event=False) as (_, http, resp):
            for name in ("alone", "beside busy cores"):
                with contextlib.ExitStack() as stack:
                    for core in others if name != "alone" else ():
                        loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                        stack.callback(loop.kill)
                        os.sched_setaffinity(loop.pid, {core})
                    text = command_output(["taskset", "-c", shard, self.binary, "load", "deal", "--resp", f"127.0.0.1:{resp}", "--http", f"127.0.0.1:{http}",
                                           "--stock", 1000000, "--connections", 64, "--arrivals", arrivals, "--json"], self.options.seconds + 60)
                latency = json.loads(text)["latency_us"]
                for percentile in ("p50", "p99"):
                    self.note(f"durable, {BUSY_RATE} arrivals a second, {name}, {percentile} us", latency[percentile])

    def group_restart(self):
        """The directories are made in the first repeat; later repeats start from them again."""
        records, live = self.options.records, self.options.live
        if not hasattr(self, "journal"):
            self.journal, self.snapshot = self.directory() / "data", self.directory() / "data"
            with self.started(self.journal, event=True) as (child, http, resp):
                self.hold(resp, records // 2, "TTL", 1)  # each leaves two records: it is placed, it expires
                while sum_of(metrics(http), 'holdfast_holds{.*state="held"}'):
                    time.sleep(0.1)
                kill(child)
            self.journal_bytes(self.journal)
            with self.started(self.snapshot, event=True) as (child, http, resp):
                self.hold(resp, live)
        for name, data in ((f"{records:,} records of journal", self.journal), (f"snapshot of {live:,} live holds", self.snapshot)):
            forget_pages(data)
            with self.started(data) as (child, _, _):
                found = re.search(r"recovered in (\d+) ms.* and (\d+) records", child.log.read_text())
                self.note(f"restart from {name}, ms", int(found[1]))
                self.note(f"restart from {name}, records of journal", int(found[2]))
                kill(child)
        self.snapshot_beside(live)

    @contextlib.contextmanager
    def started(self, data, event=False, snapshot_bytes=NO_SNAPSHOT):
        """Durable, a shard a core, as it comes but for the snapshot."""
        with self.holdfast("journal", event, data, ("--journal.snapshot_bytes", snapshot_bytes)) as all_of_it:
            yield all_of_it

    def journal_bytes(self, data):
        text = command_output([self.binary, "journal", "stats", data], 300)
        found = re.search(r"bytes a hold +([\d.]+) \(([\d.]+) with", text)
        self.note("bytes a hold in the journal", float(found[1]))
        self.note("bytes a hold in the journal, with heads and padding", float(found[2]))

    def snapshot_beside(self, live):
        """The loop's longest steps under the same load, without a snapshot and with one that begins and ends in it."""
        rounds = 0
        for name, snapshots in (("with", 1), ("without", 0)):
            data = self.directory()
            with self.started(data / "data", True, live * SNAPSHOT_AFTER_BYTES if snapshots else NO_SNAPSHOT) as (_, http, resp):
                self.hold(resp, live)
                before = after = metrics(http)
                for done in range(30):
                    if done == rounds if not snapshots else sum_of(after, "holdfast_snapshots_total{.*}"):
                        break
                    self.hold(resp, live // 4)
                    after = metrics(http)
                rounds = done
            shutil.rmtree(data)
            written = [sum_of(text, 'holdfast_snapshots_total{outcome="written"}') for text in (before, after)]
            if written != [0, snapshots]:
                fail(f"{written} snapshots were written before and by the end of the load, not 0 and {snapshots}")
            self.note_steps(f"{name} a snapshot", before, after)

    def group_expiry(self):
        """A million holds whose deadlines lie within one second: the loop's steps while they expire, and for as long before it."""
        count, batch = self.options.live, self.options.live // EXPIRY_BATCHES
        with self.holdfast("journal") as (_, http, resp):
            self.warm(http, resp)
            end = int(time.time()) + 3 * EXPIRY_BATCHES
            for _ in range(EXPIRY_BATCHES):
                time.sleep(1 - time.time() % 1)  # each behind a full second, and not into the next one
                begin = time.time()
                self.hold(resp, batch, "TTL", end - int(begin))
                if int(time.time()) != int(begin):
                    fail(f"{batch:,} holds took more than a second: the deadlines would not lie within one")
            time.sleep(max(0, end - 4 - time.time()))
            texts = [metrics(http)]
            for moment in (end - 1, end + 2):
                time.sleep(max(0, moment - time.time()))
                texts.append(metrics(http))
            expired = sum_of(texts[2], "holdfast_holds_expired_total{.*}") - sum_of(texts[1], "holdfast_holds_expired_total{.*}")
            if expired < 0.9 * count:
                fail(f"{expired:,.0f} of {count:,} holds expired in their second")
            self.note(f"{count:,} holds expiring within a second: expired", expired)
            for name, before, after in (("idle before", texts[0], texts[1]), (f"{count:,} holds expiring within a second", texts[1], texts[2])):
                self.note_steps(name, before, after)

    def note_steps(self, name, before, after):
        steps = {bound: number - steps_of(before)[bound] for bound, number in steps_of(after).items()}
        self.note(f"longest step of the loop, {name}, at most us", min(bound for bound, number in steps.items() if number == steps[float("inf")]))
        self.note(f"steps of more than {STALL_US} us, {name}", steps[float("inf")] - steps[STALL_US])

    def group_idle(self):
        count = min(IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
        with self.holdfast("memory", event=False) as (child, _, resp), contextlib.ExitStack() as stack:
            before = resident(child.pid)
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", resp), 10))
            if self.cli(resp, "PING") != "PONG":
                fail(f"no PONG with {count} idle connections")
            time.sleep(0.5)
            after = resident(child.pid)
            self.note(f"{count} idle connections: resident KiB", after)
            self.note(f"{count} idle connections: resident KiB more than without", after - before)


def cpu_seconds(pid):
    """Processor time of a process and its children that live now (nginx has its worker)."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for process in (pid, *children):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Of all processors since the machine's start: neither idle nor waiting for a disk."""
    ticks = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def kill(child):
    child.kill()
    child.wait()


def forget_pages(data):
    """The journal is written past the page cache: a start after a crash reads it from the disk."""
    for path in pathlib.Path(data).rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def metrics(http):
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as answer:
        return answer.read().decode()


def sum_of(text, pattern):
    return sum(float(value) for value in re.findall(rf"^{pattern} ([\d.]+)$", text, re.M))


def steps_of(text):
    """The loop's steps of all shards: upper bound in us -> how many were no longer."""
    steps = {}
    for bound, count in re.findall(r'^holdfast_loop_tick_seconds_bucket{.*le="([^"]*)"} (\d+)$', text, re.M):
        us = float("inf") if bound == "+Inf" else round(float(bound) * 1e6)
        steps[us] = steps.get(us, 0) + int(count)
    return steps


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def report(figures, ratios):
    print(f"{'figure':64} {'median':>12} {'min':>12} {'max':>12}  runs")
    for name, values in figures.items():
        print(f"{name:64} {statistics.median(values):12,.0f} {min(values):12,.0f} {max(values):12,.0f}  {len(values)}")
    print(f"\n{'ratio (of medians; least and most: of each repeat)':64} {'median':>12} {'min':>12} {'max':>12} {'by cpu time':>12}  aim")
    for name, ratio in ratios.items():
        aim = f"{'>=' if ratio['aim'] > 0 else '<='} {abs(ratio['aim'])}" if ratio["aim"] else ""
        cpu = f"{ratio['cpu']:12.2f}" if ratio["cpu"] else f"{'-':>12}"
        print(f"{name:64} {ratio['median']:12.2f} {ratio['min']:12.2f} {ratio['max']:12.2f} {cpu}  {aim}")


def ratios_of(figures):
    found = {}
    for name, ours, theirs, aim in RATIOS:
        if ours in figures and theirs in figures:
            cost = [figures.get(f"{figure}, server ns a request") for figure in (ours, theirs)]
            pairs = [a / b for a, b in zip(figures[ours], figures[theirs])]
            found[name] = {"median": statistics.median(figures[ours]) / statistics.median(figures[theirs]),
                           "min": min(pairs), "max": max(pairs), "aim": aim,
                           "cpu": statistics.median(cost[1]) / statistics.median(cost[0]) if all(cost) else None}
    return found


def main():
    groups = [name.removeprefix("group_") for name in vars(Bench) if name.startswith("group_")]
    parser = argparse.ArgumentParser(description="Holdfast beside Redis and nginx, in one run.")
    parser.add_argument("--build", default=ROOT / "build", help="folder with the holdfast binary (build)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load (3)")
    parser.add_argument("--pause", type=int, default=0, help="seconds between repeats, for others on the machine (0)")
    parser.add_argument("--calm", type=int, default=0, help="percent of a core that others may take; 0: no matter (0)")
    parser.add_argument("--only", default=",".join(groups), help=f"groups: {','.join(groups)}")
    parser.add_argument("--json", help="write all figures to this file, too")
    parser.add_argument("--quick", action="store_true", help="a short smoke: one repeat of one second")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds = 1, 1
    options.warm_holds = WARM_HOLDS // 10 if options.quick else WARM_HOLDS
    options.records, options.live = (RECORDS // 50, LIVE // 20) if options.quick else (RECORDS, LIVE)
    chosen = options.only.split(",")
    if not set(chosen) <= set(groups) or options.repeats < 1 or options.seconds < 1:
        parser.error(f"expected groups among {','.join(groups)}, and repeats and seconds above 0")
    for program in ("redis-server", "redis-cli", "redis-benchmark", "nginx", "wrk"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            fail(f"{program} is missing: apt-get install redis-server redis-tools nginx-light wrk")
    os.environ["PATH"] += ":/usr/sbin"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): these figures are not to be quoted", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    with tempfile.TemporaryDirectory(prefix="holdfast-bench.") as work:
        bench = Bench(options, pathlib.Path(work))
        for repeat in range(options.repeats):
            if repeat > 0:
                time.sleep(options.pause)
            print(f"repeat {repeat + 1} of {options.repeats}", file=sys.stderr, flush=True)
            for group in chosen:
                getattr(bench, f"group_{group}")()
    ratios = ratios_of(bench.figures)
    report(bench.figures, ratios)
    for name, loads in bench.disturbed.items():
        print(f"disturbed, {loads} of {options.repeats}: {name}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"figures": bench.figures, "ratios": ratios, "disturbed": bench.disturbed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
