#!/usr/bin/env python3
"""The server beside its rivals, in one run on one machine: what README.md describes.

usage: bench/server/run.py [--build DIR] [--repeats N] [--seconds N] [--only GROUP,...] [--json FILE] [--quick]

Every measurement starts its server afresh on a free loopback port, prepares it, loads it for some seconds, and stops it.
A repeat goes once through all measurements, so that rivals take turns; a figure is the median of the repeats. Nothing
is asserted about figures; a server that does not start or a load with broken connections ends the run.
"""
import argparse
import contextlib
import json
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

# What is compared: name as the project's aims have it, figure, rival's figure, aim
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
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if child.poll() is not None:
                fail(f"{argv[0]} ended at its start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.025)
        else:
            fail(f"{argv[0]} does not listen on {port} after 10 s")
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
        self.count = 0

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)
        print(f"  {name}: {value:,.0f}", file=sys.stderr, flush=True)

    def directory(self):
        self.count += 1
        path = self.work / f"{self.count}"
        path.mkdir()
        return path

    # ---- servers ----

    @contextlib.contextmanager
    def holdfast(self, durability, event=True):
        http, resp, path = free_port(), free_port(), self.directory()
        argv = [self.binary, "serve", "--data", path / "data", "--http", f"127.0.0.1:{http}",
                "--resp", f"127.0.0.1:{resp}", "--shards", 1, "--durability", durability, "--core.ended_seconds", 1]
        with running(argv, resp, path / "log") as child:
            if event:
                sections = [word for i in range(SECTIONS) for word in ("SECTION", i, ROWS, SEATS)]
                answer = self.cli(resp, "EVENT", "CREATE", "bench", *sections, "POOL", "p", 1000000000, "HOLD", 3600)
                if answer != "OK":
                    fail(f"EVENT CREATE: {answer}")
            yield child, http, resp
        shutil.rmtree(path)

    @contextlib.contextmanager
    def redis(self):
        port, path = free_port(), self.directory()
        argv = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", path, "--save", "", "--appendonly", "no"]
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
    def processor(self, name, pid):
        """Notes what a request cost the server in processor time, which other load disturbs least, and how many cores
        the client had: near 1.0, the client is what limits. Yields a dict that is to get "answers"."""
        before, client, begin, got = cpu_seconds(pid), children_seconds(), time.monotonic(), {}
        yield got
        wall = time.monotonic() - begin
        self.note(f"{name}, server ns a request", (cpu_seconds(pid) - before) / got["answers"] * 1e9)
        self.note(f"{name}, client cores in percent", (children_seconds() - client) / wall * 100)

    def raw(self, name, port, pid, pipeline, *words, refusals=("HELD",)):
        """holdfast load raw: the same client whoever the server is. Holds are counted where granted."""
        with self.processor(f"{name}, pipeline {pipeline}", pid) as got:
            text = command_output([self.binary, "load", "raw", "--resp", f"127.0.0.1:{port}", "--connections", CONNECTIONS,
                                   "--pipeline", pipeline, "--seconds", self.options.seconds, "--requests", 1000000000,
                                   "--seed", random.getrandbits(40), "--json", "--", *words], self.options.seconds + 60)
            result = json.loads(text)
            got["answers"] = result["asked"] - result["lost"]
        strange = {word: count for word, count in result["refused"].items() if word not in refusals}
        if strange or result["lost"]:
            fail(f"{name}: refused with {strange}, {result['lost']} answers lost")
        self.note(f"{name}, pipeline {pipeline}", result["holds_per_second"])
        self.note(f"{name}, pipeline {pipeline}, p99 us", result["latency_us"]["p99"])

    def redis_benchmark(self, name, port, pipeline, *words):
        requests = max(10000, int(self.options.seconds * 300000)) if pipeline > 1 else max(5000, int(self.options.seconds * 50000))
        text = command_output(["redis-benchmark", "-p", port, "-c", CONNECTIONS, "-P", pipeline, "-n", requests,
                               "-r", 10000000, *words], 120)
        found = re.search(r"throughput summary: ([\d.]+)", text)
        if not found:
            fail(f"{name}: redis-benchmark printed no throughput:\n{text[-500:]}")
        self.note(f"{name} (redis-benchmark), pipeline {pipeline}", float(found[1]))

    def wrk(self, name, port, pid):
        with self.processor(name, pid) as got:
            text = command_output(["wrk", "-t", 1, "-c", CONNECTIONS, "-d", f"{self.options.seconds}s", "--latency",
                                   "-s", HERE / "hold.lua", f"http://127.0.0.1:{port}"], self.options.seconds + 60)
            pairs = dict(pair.split("=") for pair in text.split("figures ")[1].split())
            figures = {key: int(value) for key, value in pairs.items()}
            got["answers"] = figures["answers"]
        if figures["broken"] or figures["refused"] > figures["answers"] / 4:
            fail(f"{name}: {figures}")
        self.note(name, figures["answers"] / figures["us"] * 1e6)
        self.note(f"{name}, p99 us", figures["p99_us"])

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
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as answer:
                known = re.findall(r"^holdfast_holds{.*} (\d+)$", answer.read().decode(), re.M)
            if known and not any(map(int, known)):
                return
        fail("the holds of the warm-up were not forgotten")

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
        aim = f">= {ratio['aim']}" if ratio["aim"] else ""
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
    parser.add_argument("--only", default=",".join(groups), help=f"groups: {','.join(groups)}")
    parser.add_argument("--json", help="write all figures to this file, too")
    parser.add_argument("--quick", action="store_true", help="a short smoke: one repeat of one second")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds = 1, 1
    options.warm_holds = WARM_HOLDS // 10 if options.quick else WARM_HOLDS
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
            print(f"repeat {repeat + 1} of {options.repeats}", file=sys.stderr, flush=True)
            for group in chosen:
                getattr(bench, f"group_{group}")()
    ratios = ratios_of(bench.figures)
    report(bench.figures, ratios)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"figures": bench.figures, "ratios": ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
