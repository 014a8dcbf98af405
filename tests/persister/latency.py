"""latency.py - what a persister, and accidents around it, do to the latency of the server: figures, no verdict.

    latency.py --rate 3000 --seconds 10 --repeats 3        tests/persister/run latency is the way to start it

The same open-loop load (holds of a deal at a steady rate, latency from when each should have been served) in turns: without
a persister; beside a persister with relay; beside one under accidents, one after another: the persister is killed, PostgreSQL
stopped at once and started again, a connection cut right after COMMIT was sent, the broker killed and started again. Whoever
shares the processors and the disk with the server has a part in its latency. --apart gives server and load half of the processors,
PostgreSQL, broker and persister the other half, and those two memory for a disk, which stands for machines of their own: what
is left is what the persister does to the server.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from postgres import Postgres
from rounds import of_kafka
from stage import BINARY, Persister, Proxy, Server, wait_for


def measure(server, rate, seconds):
    """(p50, p99, p99.9) in microseconds."""
    done = subprocess.run(
        [BINARY, "load", "deal", "--resp", f"127.0.0.1:{server.resp}", "--arrivals", f"{rate}@{seconds}", "--stock", str(rate * seconds),
         "--connections", "50", "--confirm-share", "0.3", "--release-share", "0.3", "--audit-holds", "100", "--json"],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)["latency_us"]
    return [result[name] for name in ("p50", "p99", "p999")]


class Processors:
    """Of this thread and of what it starts: all, or one half for server and load and the other half for the rest."""

    def __init__(self, apart):
        every = sorted(os.sched_getaffinity(0))
        half = len(every) // 2
        if apart and half == 0:
            sys.exit("latency.py: --apart takes two processors or more")
        self.own, self.others = (every[:half], every[half:]) if apart else (every, every)
        os.sched_setaffinity(0, self.own)

    def __enter__(self):
        os.sched_setaffinity(0, self.others)

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.own)


class Stage:
    def __init__(self):
        self.postgres = Postgres(shared_buffers="256MB", max_wal_size="4GB")
        self.broker = of_kafka("stage").Broker()
        self.proxy = Proxy(self.postgres.port)
        self.uri = self.postgres.uri(self.postgres.database("latency"), port=self.proxy.port)
        self.persister = None

    def start(self, data):
        self.persister = Persister(data, self.uri, "--kafka", self.broker.bootstrap, "--persist.kafka_prefix", "latency.")

    def accidents(self, data, ending, told):
        def after(what):
            told.append(what)
            ending.wait(0.5)
            wait_for(lambda: self.persister.metric("breaker_state") == 0)

        while not ending.is_set():
            self.persister.kill()
            self.start(data)
            after("kill -9 of the persister")
            self.postgres.stop("immediate")
            self.postgres.start()
            after("immediate stop of PostgreSQL")
            self.proxy.cut_after_commit = 1
            after("a connection cut after COMMIT")
            self.broker.kill()
            self.broker.start()
            after("kill -9 of Kafka")

    def close(self):
        if self.persister is not None:
            self.persister.kill()
        self.broker.stop()
        self.postgres.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=3000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--apart", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with all that was started
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-latency-", dir="/var/tmp"))
    data = folder / "data"
    others = Processors(arguments.apart)
    server = Server(data, shards=len(others.own))
    if arguments.apart:
        tempfile.tempdir = "/dev/shm"
    with others:
        stage = Stage()
    ways = {"alone": [], "persister": [], "accidents": []}
    try:
        with others:
            stage.start(data)
        stage.persister.stop()
        print(f"{'p50, p99, p99.9 in ms of ' + str(arguments.rate) + ' holds/s':<44}{'alone':>22}{'beside a persister':>22}{'under accidents':>22}")
        for repeat in range(arguments.repeats):
            told = []
            ways["alone"].append(measure(server, arguments.rate, arguments.seconds))
            with others:
                stage.start(data)
            wait_for(lambda: stage.persister.metric("lag_records") == 0, seconds=600)
            ways["persister"].append(measure(server, arguments.rate, arguments.seconds))
            ending = threading.Event()
            thread = threading.Thread(target=stage.accidents, args=(data, ending, told))
            with others:
                thread.start()  # it inherits the processors
            ways["accidents"].append(measure(server, arguments.rate, arguments.seconds))
            ending.set()
            thread.join()
            wait_for(lambda: stage.persister.metric("lag_records") == 0, seconds=600)
            stage.persister.stop()
            stage.persister = None
            print(f"{f'run {repeat + 1}, {len(told)} accidents':<44}"
                  + "".join(f"{' '.join(f'{us / 1000:.2f}' for us in way[-1]):>22}" for way in ways.values()), flush=True)
            time.sleep(1)
        middle = {name: [statistics.median(column) for column in zip(*way)] for name, way in ways.items()}
        print(f"{'median':<44}" + "".join(f"{' '.join(f'{us / 1000:.2f}' for us in way):>22}" for way in middle.values()))
        print(f"{'p99 against alone':<44}" + "".join(f"{way[1] / middle['alone'][1]:>22.2f}" for way in middle.values()))
    finally:
        stage.close()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
