#!/usr/bin/env python3
"""The waiting room's figures: one shard, durable, loopback.

usage: bench/waiting_room.py [--build DIR] [--repeats N] [--waiting N] [--polls N] [--slots N]
                             [--only join,get,opening,slot] [--json FILE] [--quick]

  join     N users join one event over RESP, 50 connections with 64 requests under way each: joins a second, and what
           they cost the server in processor time and in resident memory
  get      QUEUE GET of a token in the middle of them, beside PING by the same client: 50 connections, pipelines of 1 and 16
  opening  N users join before an event with a draw opens: steps of the loop from the opening until all slots are taken
  slot     --polls users wait in HTTP long polls; the holder of the only slot leaves, over and over: from the sending
           of the leave until the next one's poll is answered, two records on the disk in between. And what a client that
           asks every 5 s would have waited: half of that on average, 4.95 s at the 99th percentile

Each repeat starts its servers afresh; a figure is the median of the repeats. Nothing is asserted about figures.
"""
import argparse
import json
import pathlib
import re
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLLED_S = 5


def fail(text):
    sys.exit(f"bench/waiting_room.py: {text}")


def command(*words):
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Server:
    """One shard, durable, in a folder of its own."""

    def __init__(self, binary, folder, *settings):
        self.process = subprocess.Popen(
            [binary, "serve", "--shards", "1", "--data", folder / "data", "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0", *map(str, settings)],
            stdout=subprocess.PIPE, stderr=open(folder / "log", "wb"), stdin=subprocess.DEVNULL, text=True)
        ready = re.match(r"ready http=([\d.]+):(\d+) resp=([\d.]+):(\d+) ", self.process.stdout.readline())
        if not ready:
            fail(f"the server does not start: {(folder / 'log').read_text()}")
        self.http, self.resp = (ready[1], int(ready[2])), (ready[3], int(ready[4]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        if self.process.wait(60) != 0:
            fail("the server did not stop well")

    def ask(self, *words):
        """One command over a connection of its own; the raw answer."""
        with socket.create_connection(self.resp) as connection:
            connection.sendall(command(*words))
            time.sleep(0.01)
            answer = connection.recv(65536)
        if answer[:1] == b"-":
            fail(f"{words}: {answer}")
        return answer

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.http[0]}:{self.http[1]}/metrics") as answer:
            return answer.read().decode()

    def metric(self, name):
        return sum(float(line.split()[-1]) for line in self.metrics().splitlines() if line.startswith(name))

    def steps(self):
        """Steps of the loop by their longest duration in us: counts below each bound."""
        return {float(le): int(count) for le, count in re.findall(r'holdfast_loop_tick_seconds_bucket{[^}]*le="([^"]+)"} (\d+)', self.metrics())}


class Bench:
    def __init__(self, options):
        self.options = options
        self.binary = str(pathlib.Path(options.build) / "holdfast")
        self.figures = {}

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)
        print(f"  {name}: {value:,.3f}" if value < 100 else f"  {name}: {value:,.0f}", file=sys.stderr, flush=True)

    def load(self, server, requests, pipeline, *words):
        """`holdfast load raw`: answers a second, and the server's processor time for each in ns."""
        before = server.cpu_seconds()
        done = subprocess.run(
            [self.binary, "load", "raw", "--resp", f"{server.resp[0]}:{server.resp[1]}", "--connections", "50", "--pipeline", str(pipeline),
             "--requests", str(requests), "--json", "--", *words], capture_output=True, text=True)
        if done.returncode:
            fail(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        result = json.loads(done.stdout)
        return result["answers_per_second"], (server.cpu_seconds() - before) * 1e9 / requests

    def create(self, server, *more):
        server.ask("EVENT", "CREATE", "e", "POOL", "ga", 50000, "QUEUE", self.options.active_max, 3600, 3600, *more)

    def joins(self, folder):
        """join, get"""
        waiting = self.options.waiting
        with Server(self.binary, folder, "--core.tokens_max", 2 * waiting) as server:
            self.options.active_max = 1
            self.create(server)
            # a tenth first: what buffers take that are there for whoever comes is no token's
            self.load(server, waiting // 10, 64, "QUEUE", "JOIN", "e", "first{#}")
            before = server.resident_bytes()
            rate, cpu = self.load(server, waiting, 64, "QUEUE", "JOIN", "e", "u{#}")
            self.note("joins/s, durable", rate)
            self.note("processor time a join, ns", cpu)
            if server.metric('holdfast_queue_tokens{shard="0",state="waiting"}') != waiting + waiting // 10 - 1:
                fail("not everybody waits")
            self.note("resident bytes a waiting token", (server.resident_bytes() - before) / waiting)
            if "get" not in self.options.only:
                return
            token = re.search(rb"\$36\r\n(\S+)\r\n", server.ask("QUEUE", "JOIN", "e", f"u{waiting // 2}"))[1].decode()
            for pipeline, requests in ((1, waiting), (16, 4 * waiting)):
                ping, ping_cpu = self.load(server, requests, pipeline, "PING")
                get, get_cpu = self.load(server, requests, pipeline, "QUEUE", "GET", token)
                self.note(f"PING/s, pipeline {pipeline}", ping)
                self.note(f"QUEUE GET/s, pipeline {pipeline}", get)
                self.note(f"QUEUE GET against PING, pipeline {pipeline}", get / ping)
                self.note(f"processor time of QUEUE GET against PING, pipeline {pipeline}", get_cpu / ping_cpu)

    def opening(self, folder):
        waiting = self.options.waiting
        self.options.active_max = min(5000, waiting // 2)
        with Server(self.binary, folder, "--core.tokens_max", 2 * waiting) as server:
            opens_ms = int(time.time() * 1000) + 3000 + waiting // 100
            self.create(server, "LOTTERY", "OPENS", opens_ms)
            self.load(server, waiting, 64, "QUEUE", "JOIN", "e", "u{#}")
            if time.time() * 1000 > opens_ms - 500:
                fail("the joins took longer than until the opening")
            time.sleep(opens_ms / 1000 - time.time() - 0.2)
            before = server.steps()
            while server.metric("holdfast_queue_activations_total") < self.options.active_max:
                time.sleep(0.02)
            time.sleep(0.5)
            after = server.steps()
            began = {le: after[le] - before[le] for le in after}
            total = max(began.values())
            if self.options.steps:
                print({le: began[le] for le in sorted(began)}, file=sys.stderr)
            self.note("opening: longest step of the loop at most, ms", 1000 * min(le for le in began if began[le] == total))

    def slot(self, folder):
        """The holder leaves, the first one's poll is answered; who was let in joins the end of the queue again by another user."""
        polls, slots = self.options.polls, self.options.slots
        self.options.active_max = 1
        with Server(self.binary, folder) as server:
            self.create(server)
            control = socket.create_connection(server.resp)
            control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            users = 0

            def ask(*words):
                control.sendall(command(*words))
                answer = b""
                while answer.count(b"\r\n") < 8:  # array, token, state, position, pass or nil, deadline or nil
                    answer += control.recv(65536)
                return answer

            def join():
                nonlocal users
                users += 1
                return re.search(rb"\$36\r\n(\S+)\r\n", ask("QUEUE", "JOIN", "e", f"u{users}"))[1].decode()

            def wait(connection, token):
                connection.sendall(f"GET /v1/queue/{token}?wait_ms=30000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                by_connection[connection.fileno()] = (connection, token)

            holder, by_connection, epoll = join(), {}, select.epoll()
            for _ in range(polls):
                connection = socket.create_connection(server.http)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                epoll.register(connection, select.EPOLLIN)
                wait(connection, join())
            while server.metric("holdfast_queue_polls") < polls:
                time.sleep(0.01)
            took_ms = []
            while len(took_ms) < slots:
                sent = time.monotonic_ns()
                control.sendall(command("QUEUE", "LEAVE", holder))
                answered = None
                while answered is None:
                    for fd, _ in epoll.poll():
                        connection, token = by_connection[fd]
                        body = connection.recv(65536)
                        if b'"state":"active"' in body:
                            answered = time.monotonic_ns()
                            holder, place = token, connection
                        elif b'"state":"waiting"' in body:  # its 30 s are over
                            wait(connection, token)
                        else:
                            fail(f"a poll was answered with {body}")
                took_ms.append((answered - sent) / 1e6)
                answer = b""
                while answer.count(b"\r\n") < 8:
                    answer += control.recv(65536)
                wait(place, join())
            took_ms.sort()
            for share in (50, 99):
                self.note(f"slot to poll, p{share}, ms", took_ms[min(slots - 1, slots * share // 100)])
            self.note("slot to poll, longest, ms", took_ms[-1])
            self.note("a client that asks every 5 s at p99, against that", POLLED_S * 990 / took_ms[min(slots - 1, slots * 99 // 100)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=ROOT / "build")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--waiting", type=int, default=1000000)
    parser.add_argument("--polls", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2000)
    parser.add_argument("--only", default="join,get,opening,slot")
    parser.add_argument("--json")
    parser.add_argument("--steps", action="store_true", help="opening: print how many steps took at most how long")
    parser.add_argument("--quick", action="store_true", help="one small repeat: that it works")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.waiting, options.polls, options.slots = 1, 20000, 50, 100
    options.only = options.only.split(",")
    bench = Bench(options)
    for repeat in range(options.repeats):  # each measures all, so that they take turns
        print(f"repeat {repeat + 1}", file=sys.stderr, flush=True)
        for names, measure in (("join get", bench.joins), ("opening", bench.opening), ("slot", bench.slot)):
            if any(name in options.only for name in names.split()):
                with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
                    measure(pathlib.Path(folder))
    for name, values in bench.figures.items():
        median = statistics.median(values)
        text = f"{median:,.3f}" if median < 100 else f"{median:,.0f}"
        spread = f"{min(values):,.3f} to {max(values):,.3f}" if median < 100 else f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:<60} {text:>14}   ({spread})")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(bench.figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
