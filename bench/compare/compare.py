#!/usr/bin/env python3
"""Holdfast beside what people sell with today, in one session on one machine: what README.md describes.

usage: bench/compare/compare.py [--short | --full] [--build DIR] [--report DIR] [--only KEY,...] [--smoke]

Writes results.json, index.html and report.md into the report's directory.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import plan
import report
import servers

ROOT = servers.ROOT
EVERYBODY = 1_000_000_000
POOLS = (1, 2, 4, 8, 16)
SERVICE_POOLS = (4, 10, 20)


class Comparison:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.binary = pathlib.Path(options.build).resolve() / "holdfast"
        self.points = []
        self.rates = {}  # (key, clients, pipeline) -> purchases a second, the last seen
        self.seconds = 3 if options.full else 1
        self.servers = {}

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    # ---- servers ----

    def start_servers(self):
        keep, work = self.servers, self.work
        wanted = {entry.server for entry in self.entries()}
        for name in ("holdfast", "holdfast-memory", "holdfast-http"):
            if name in wanted:
                keep[name] = servers.Holdfast(work, name, self.binary)
        if wanted & {"postgres", "redlock", "fastapi", "go"}:
            keep["postgres"] = servers.Postgres(work)
        for persistence in ("none", "everysec", "always"):
            if f"redis-{persistence}" in wanted:
                keep[f"redis-{persistence}"] = servers.Redis(work, f"redis-{persistence}", persistence)
        if "redlock" in wanted:
            keep["redlock"] = servers.Redlock(work, keep["postgres"])
        for name, kind in (("fastapi", servers.FastApi), ("go", servers.GoService)):
            if name in wanted:
                keep[name] = kind(work, name, keep["postgres"], SERVICE_POOLS[-1], self.options.python)
                keep[name].restart(SERVICE_POOLS[-1])

    def stop_servers(self):
        for server in reversed(list(self.servers.values())):
            with contextlib.suppress(ProcessLookupError):
                server.stop()

    def entries(self):
        return [entry for entry in plan.ENTRIES if not self.options.only or entry.key in self.options.only.split(",")]

    # ---- one load ----

    def generator(self, words, seconds):
        """holdfast's own generator; its result, whether the audit was content or not."""
        argv = [self.binary, *words, "--json"]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=seconds + 90)
        try:
            result = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise servers.Failed(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stderr[-2000:]}") from None
        result["complaints"] = [line for line in done.stderr.splitlines() if line.startswith("holdfast load: ")]
        return result

    def measure(self, key, how, clients, pipeline=1, pool=0, round_number=0, units=0, **arrivals):
        """Runs one load and keeps what came of it. arrivals: buyers, or rate and seconds."""
        seconds = arrivals.get("seconds", self.seconds)
        words = ["--connections", pool or clients, "--pipeline", clients // pool if pool else pipeline,
                 "--seed", random.getrandbits(40), "--patience", 60]
        if "rate" in arrivals:
            words += ["--arrivals", f"{arrivals['rate']:.0f}@{seconds}", "--backlog", 1_000_000]
        else:
            words += ["--buyers", arrivals.get("buyers", EVERYBODY), "--seconds", max(1, round(seconds))]
        if key.startswith("null-"):
            way = ["--http", "127.0.0.1:1"] if key == "null-http" else []
            result = self.generator(["load", "deal", "--null", *way, "--stock", 10**9, *words], seconds)
        else:
            entry = plan.BY_KEY[key]
            server = self.servers[entry.server]
            many = 10 if self.options.full and entry.units == plan.SEATS else 1  # a longer load must find free seats, too
            units = units or entry.units * many
            server.fresh(units)
            pids = [part for pid in server.pids() for part in ("--server", pid)]
            result = self.generator(["bench", "rival", entry.rival, *server.arguments(), *pids,
                                     "--stock", units, *words], seconds)
            server.sold(result["held"])
        point = {"key": key, "how": how, "clients": clients, "pipeline": pipeline, "pool": pool, "round": round_number,
                 "rate": arrivals.get("rate"), "result": result}
        self.points.append(point)
        rate = result["answers_per_second"] if key.startswith("null-") else result["holds_per_second"]
        if how in ("closed", "pool", "search"):
            self.rates[key, clients, pipeline, pool] = rate
        self.say(f"  {key}, {how}, {clients} clients" + (f", pipeline {pipeline}" if pipeline > 1 else "")
                 + (f", pool {pool}" if pool else "") + f": {rate:,.0f}/s, p99 {result['latency_us']['p99'] / 1000:,.2f} ms"
                 + (f", OVERSOLD {result['oversold']}" if result.get("oversold") else ""))
        return rate

    def bounded(self, key, clients, pipeline, pool=0, more=1):
        """Where the rate is known about, so many buyers as take the wanted part of a second; else a second."""
        if self.options.full:
            return {}
        known = [rate for (k, _, p, q), rate in self.rates.items() if k == key and p == pipeline and bool(q) == bool(pool)]
        same = self.rates.get((key, clients, pipeline, pool))
        guess = same or (min(known) if known else 0)
        return {"buyers": max(clients * pipeline, int(guess * self.options.part * more)), "seconds": 1} if guess else {"seconds": 1}

    # ---- the session ----

    def small_deals(self):
        """Ten units, a hundred buyers at once. The control's window is short: it has a thousand units and is asked longer."""
        self.say("ten units, a hundred buyers at once")
        for entry in self.entries():
            if entry.group != "hall":
                self.measure(entry.key, "small", 100, units=10, buyers=100)
        for entry in self.entries():
            if entry.oversells:
                self.measure(entry.key, "small", 64, units=1000, buyers=3000, seconds=3)

    def search_pools(self):
        """How many connections serve 64 buyers best."""
        self.say("the pool that serves 64 buyers best")
        for entry in self.entries():
            if entry.pooled and not entry.oversells:
                sizes = POOLS if self.options.full else POOLS[::2]
                rates = {size: self.measure(entry.key, "search", 64, pool=size, **self.bounded(entry.key, 64, 1, more=2)) for size in sizes}
                self.pools[entry.key] = max(rates, key=rates.get)
        for name in ("fastapi", "go"):
            service = self.servers.get(name)
            key = {"fastapi": "fastapi", "go": "go-pgx"}[name]
            if service is None:
                continue
            rates = {}
            for size in SERVICE_POOLS:
                service.restart(size)
                rates[size] = self.measure(key, "search", 64, buyers=int(600 * self.seconds), seconds=self.seconds)
            service.restart(max(rates, key=rates.get))

    def rounds(self, points, how, count):
        wanted = {entry.key for entry in self.entries()} | {"null-resp", "null-http"}
        points = [point for point in points if point[0] in wanted]
        for number in range(count):
            self.say(f"{how}: round {number + 1} of {count}")
            turned = number * len(points) // count
            for key, clients, pipeline in points[turned:] + points[:turned]:
                self.measure(key, "closed", clients, pipeline, round_number=number, **self.bounded(key, clients, pipeline))

    def pooled(self, count):
        for number in range(count):
            self.say(f"many buyers over the pool: round {number + 1} of {count}")
            for key, pool in self.pools.items():
                for clients in (64, 256):
                    self.measure(key, "pool", clients, pool=pool, round_number=number, **self.bounded(key, clients, 1, pool))

    def open_loop(self):
        """Each at shares of its own most, and Holdfast at the same rates as well."""
        shares = (0.3, 0.5, 0.8, 1.0, 1.2) if self.options.full else (0.5, 0.8, 1.2)
        seconds = 3 if self.options.full else 0.5
        for entry in self.entries():
            if entry.oversells:
                continue
            rates = {(clients, pool): rate for (key, clients, pipeline, pool), rate in self.rates.items()
                     if key == entry.key and pipeline == 1}
            most = max(rates.values())
            # with as many connections as it was best with, but not a few, over which requests would queue
            clients, pool = max(rates, key=rates.get)
            clients = max(clients, 64)
            self.say(f"open loop: {entry.key}, at most {most:,.0f}/s")
            for share in shares:
                self.measure(entry.key, f"open {share}", clients, pool=pool, rate=max(10, most * share), seconds=seconds)
            if not entry.key.startswith("holdfast"):
                ours = next(e.key for e in plan.ENTRIES if e.group == entry.group and e.key.startswith("holdfast"))
                if ours in {e.key for e in self.entries()}:
                    self.measure(ours, f"beside {entry.key}", clients, rate=max(10, most * 0.8), seconds=seconds)

    def run(self):
        self.pools = {}
        begin = time.monotonic()
        self.start_servers()
        try:
            for entry in self.entries():
                self.measure(entry.key, "warm", 16, buyers=400, seconds=1)
            self.small_deals()
            headline = plan.headline_points()
            if self.options.smoke:
                self.rounds([point for point in headline if point[1] == 64], "headline", 1)
            else:
                self.rounds(headline, "headline", 5)
                self.seconds = min(self.seconds, 2)  # what no aim is about: half an hour is for the headline and the curves
                self.rounds(plan.other_points(), "throughput against clients", 2 if self.options.full else 1)
                self.search_pools()
                self.pooled(2 if self.options.full else 1)
                self.open_loop()
            return {"machine": machine(self.work), "versions": {name: server.version for name, server in self.servers.items()},
                    "settings": {name: server.settings for name, server in self.servers.items()},
                    "promises": {name: server.promise for name, server in self.servers.items()},
                    "pools": self.pools, "seconds": time.monotonic() - begin, "kind": "full" if self.options.full else "short",
                    "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "points": self.points}
        finally:
            self.stop_servers()


def machine(work):
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine())
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = subprocess.run(["df", "--output=fstype", str(work)], capture_output=True, text=True).stdout.split()[-1:]
    system = pathlib.Path("/etc/os-release").read_text().split('PRETTY_NAME="')[1].split('"')[0]
    return {"processors": os.cpu_count(), "model": model, "memory_gib": round(memory_gib), "kernel": platform.release(),
            "system": system, "file_system": disk[0] if disk else "?", "load_before": os.getloadavg()[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="about five minutes (the default)")
    parser.add_argument("--full", action="store_true", help="some twenty minutes")
    parser.add_argument("--smoke", action="store_true", help="one round of few loads: whether it runs")
    parser.add_argument("--build", default=ROOT / "build", help="folder with the holdfast binary (build)")
    parser.add_argument("--python", default=ROOT / ".venv" / "bin" / "python", help="one that has FastAPI (.venv/bin/python)")
    parser.add_argument("--report", default=ROOT / "report", help="where the report goes (report)")
    parser.add_argument("--only", default="", help="keys of rivals, with commas: " + ", ".join(plan.BY_KEY))
    options = parser.parse_args()
    options.part = 0.2 if options.smoke else 0.3  # of a second, where a short run bounds a load
    unknown = set(filter(None, options.only.split(","))) - set(plan.BY_KEY)
    if unknown or (options.short and options.full):
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "either --short or --full")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ["PATH"] += ":/usr/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    # /tmp may be memory; and PostgreSQL's user must be able to enter
    work = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-compare.", dir=os.environ.get("TMPDIR", "/var/tmp")))
    work.chmod(0o755)
    try:
        results = Comparison(options, work).run()
    except servers.Failed as failure:
        sys.exit(f"bench/compare/compare.py: {failure}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    target = pathlib.Path(options.report)
    target.mkdir(parents=True, exist_ok=True)
    (target / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, target)
    return report.verdict(results)


if __name__ == "__main__":
    sys.exit(main())
