"""figures.py - how fast results are carried, published and seen, and what a hold costs in PostgreSQL: figures, no verdict.

    figures.py --repeats 5        tests/persister/run figures is the way to start it

    rows      a backlog of holds of one seat, with rows in hold, hold_seat, seat and outbox, over one connection into empty
              databases, one after the other. Time is that of the transactions (transaction_us_sum: making the rows, COPY, commit)
    relay     that outbox to one Kafka broker, each time into topics of its own: from the ready line to _caught_up 1
    lag       beside a steady load: from a hold's own time, which is before its answer, to the COMMIT of its outbox row
"""
import argparse
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from postgres import Postgres
from rounds import of_kafka
from stage import BINARY, Persister, Server, wait_for

TICKS = os.sysconf("SC_CLK_TCK")
TABLES = ("outbox", "hold", "hold_seat", "seat")


def cpu_us(postmaster):
    """Of a PostgreSQL: those that have ended are in its own sum."""
    ticks = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended
        if int(stat.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks * 1e6 / TICKS


def cpu_us_of(process):
    return sum(map(int, pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])) * 1e6 / TICKS


def load(server, *arguments):
    done = subprocess.run([BINARY, "load", *map(str, arguments), "--resp", f"127.0.0.1:{server.resp}", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def show(name, aim, values, form="{:,.0f}"):
    middle, least, most = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    print(f"{name:<66}{aim:>10}{middle:>12}{f'({least}-{most})' if len(values) > 1 else '':>24}", flush=True)


def rows(postgres, data, name):
    """{figure: value} of one carrying of all there is."""
    postmaster = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
    before = cpu_us(postmaster)
    persister = Persister(data, postgres.uri(postgres.database(name)))
    wait_for(lambda: persister.metric("lag_records") == 0, seconds=600)
    us = persister.metric("transaction_us_sum")
    own_us = cpu_us_of(persister.process)
    persister.stop()
    holds = int(postgres.sql("SELECT count(*) FROM holdfast.hold", name)[0][0])
    sizes = [int(postgres.sql(f"SELECT pg_total_relation_size('holdfast.{table}')", name)[0][0]) for table in TABLES]
    return {"holds": holds, "a second": holds / us * 1e6, "persister": own_us / holds, "postgres": (cpu_us(postmaster) - before) / holds,
            "sizes": [size / holds for size in sizes]}


def relay(postgres, broker, data, name, repeat):
    """Events a second."""
    postgres.sql("UPDATE holdfast.relay SET position = 0", name)
    count = int(postgres.sql("SELECT count(*) FROM holdfast.outbox", name)[0][0])
    persister = Persister(data, postgres.uri(name), "--kafka", broker.bootstrap, "--persist.kafka_prefix", f"figures{repeat}.")
    begun = time.monotonic()
    wait_for(lambda: persister.figure("holdfast_relay_caught_up") == 1, seconds=600)
    took = time.monotonic() - begun
    assert persister.figure("holdfast_relay_delivered_total") == count
    persister.stop()
    return count / took


def lag_ms(postgres, server, data, name, rate, seconds):
    """(p50, p99, p99.9, most) in ms."""
    persister = Persister(data, postgres.uri(name))
    first = postgres.sql("SELECT max(position) FROM holdfast.outbox", name)[0][0]
    load(server, "deal", "--arrivals", f"{rate}@{seconds}", "--stock", rate * seconds, "--connections", 50, "--audit-holds", 100)
    wait_for(lambda: persister.metric("lag_records") == 0, seconds=600)
    persister.stop()
    took = "extract(epoch FROM pg_xact_commit_timestamp(xmin) - created_at) * 1000"
    return list(map(float, postgres.sql(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms),"
        f" percentile_disc(0.999) WITHIN GROUP (ORDER BY ms), max(ms) FROM (SELECT {took} AS ms FROM holdfast.outbox"
        f" WHERE position > {first} AND aggregatetype = 'hold') AS lag", name)[0]))


def run(arguments, folder, postgres, broker):
    data, seats = folder / "data", arguments.holds
    server = Server(data)
    Persister(data, postgres.uri(postgres.database("first"))).stop()  # from here on the server keeps what has to be carried
    load(server, "hall", "--buyers", seats, "--rows", 1000, "--seats-per-row", 1000, "--party-max", 1, "--best-share", 0, "--zipf", 0,
         "--connections", 50, "--pipeline", 16)
    server.stop()  # it would remove what one of the persisters has carried
    print(f"{'':<66}{'aim':>10}{'median':>12}{'least-most':>24}")
    carried, last = [], f"rows{arguments.repeats - 1}"
    for repeat in range(arguments.repeats):
        carried.append(rows(postgres, data, f"rows{repeat}"))
        if repeat > 0:
            postgres.sql(f'DROP DATABASE "rows{repeat - 1}"')
    show("holds carried", "", [one["holds"] for one in carried])
    show("holds a second, all rows and outbox, one connection", "30,000", [one["a second"] for one in carried])
    show("  the persister's processor time a hold, us", "", [one["persister"] for one in carried], "{:.1f}")
    show("  PostgreSQL's, all its processes", "", [one["postgres"] for one in carried], "{:.1f}")
    show("  bytes a hold in PostgreSQL, with indexes", "", [sum(one["sizes"]) for one in carried])
    for place, table in enumerate(TABLES):
        show(f"    in {table}", "", [one["sizes"][place] for one in carried])
    show("events a second to Kafka", "50,000",
         [relay(postgres, broker, data, last, repeat) for repeat in range(arguments.repeats)])
    server = Server(data)
    lags = [lag_ms(postgres, server, data, last, arguments.rate, arguments.seconds) for _ in range(arguments.repeats)]
    for place, (name, aim) in enumerate({"p50": "", "p99": "250", "p99.9": "", "most": ""}.items()):
        show(f"lag of rows behind {arguments.rate:,} holds a second, ms, {name}", aim, [lag[place] for lag in lags], "{:.1f}")
    server.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--holds", type=int, default=300000)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with all that was started
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-figures-", dir="/var/tmp"))
    os.environ.setdefault("KAFKA_JVM", "")  # the broker with all its compilers
    postgres = broker = None
    try:
        postgres = Postgres(shared_buffers="256MB", max_wal_size="4GB", track_commit_timestamp="on")
        broker = of_kafka("stage").Broker()
        run(arguments, folder, postgres, broker)
    finally:
        if broker is not None:
            broker.stop()
        if postgres is not None:
            postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
