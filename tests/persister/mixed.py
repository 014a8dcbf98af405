"""mixed.py - one big mixed load from `holdfast load`, carried to PostgreSQL (and Kafka), and all of it compared.

    mixed.py --holds 1000000 --kafka        tests/persister/run mixed is the way to start it

A deal, a hall of seats and a waiting room at the same time; holders pay, give back, or just go (holds live for five seconds),
and a small crowd beside them extends, replaces, cancels and pays late. Then everything expires that has to, everything is
carried, and: holdfast verify finds nothing; each id is in the outbox once; with --kafka each event is in its topic at least
once, byte for byte, first copies in order for their key. With --backlog the persister comes only when the load is over.
"""
import argparse
import collections
import hashlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psycopg
from postgres import Postgres
from rounds import of_kafka
from stage import BINARY, Crowd, Persister, Server, verify, wait_for

HOLD_SECONDS = 5
PATIENCE = 3600


def load(server, *arguments):
    command = [BINARY, "load", *map(str, arguments), "--resp", f"127.0.0.1:{server.resp}", "--hold", str(HOLD_SECONDS), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def held(process):
    """What its buyers were told; the load's own audit has found nothing."""
    out, error = process.communicate()
    assert process.returncode == 0, f"{process.args}: {out}{error}"
    return json.loads(out)["held"]


def buy(server, holds):
    """So many holds or a few more; a hall has at most 1,024 seats a row, so beyond two million the rest is deals."""
    people, seats = min(holds, 2000000) // 20, min(holds, 2000000) // 4
    loads = [
        load(server, "open", "--buyers", people, "--arrivals", max(people // 20, 100), "--active-max", 5000, "--active-seconds", 10,
             "--think-ms", 20, "--confirm-share", 0.5, "--vanish-share", 0.3, "--rows", 500, "--seats-per-row", max(people // 100, 10),
             "--zipf", 0, "--connections", 50),
        load(server, "hall", "--buyers", seats, "--rows", 1000, "--seats-per-row", max(seats // 800, 10), "--party-max", 2, "--zipf", 0,
             "--best-share", 0.05, "--confirm-share", 0.5, "--release-share", 0.5, "--connections", 50, "--pipeline", 4),
        load(server, "deal", "--buyers", holds // 2, "--stock", holds // 2, "--confirm-share", 0.4, "--release-share", 0.5,
             "--connections", 50, "--pipeline", 8),
    ]
    so_far = sum(map(held, loads))
    rest = max(holds - so_far, 1)
    return so_far + held(load(server, "deal", "--buyers", rest, "--stock", rest, "--confirm-share", 0.4, "--release-share", 0.5,
                              "--connections", 50, "--pipeline", 8))


def check_topics(bootstrap, uri, prefix):
    """(events, messages) in Kafka; see checks.py, of which this is the same with less memory."""
    import confluent_kafka

    place, text = {}, {}
    with psycopg.connect(uri) as connection, connection.cursor(name="outbox") as cursor:
        cursor.itersize = 20000
        cursor.execute("SELECT position, id::text, payload::text FROM holdfast.outbox ORDER BY position")
        for position, event, payload in cursor:
            event = event.encode()
            assert event not in place
            place[event], text[event] = position, hashlib.md5(payload.encode()).digest()
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "mixed", "enable.auto.commit": False,
                                         "enable.partition.eof": True, "log_level": 0})
    there = consumer.list_topics(timeout=30).topics
    parts = [confluent_kafka.TopicPartition(topic, partition, 0)
             for topic in there if topic.startswith(prefix) for partition in there[topic].partitions]
    consumer.assign(parts)
    seen, last, count, ended = set(), collections.defaultdict(int), 0, 0
    until = time.monotonic() + PATIENCE
    while ended < len(parts):
        assert time.monotonic() < until, "the broker does not tell the end of its topics"
        for message in consumer.consume(10000, 1):
            if message.error() is not None:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                ended += 1
                continue
            event = message.headers()[0][1]
            count += 1
            assert text[event] == hashlib.md5(message.value()).digest(), f"{event} differs from its row"
            if event not in seen:
                seen.add(event)
                key = message.topic(), message.key()
                assert place[event] > last[key], f"the first copies of {key} are out of order"
                last[key] = place[event]
    consumer.close()
    assert len(seen) == len(place), f"{len(place) - len(seen)} events are not in Kafka"
    return len(place), count


def memory_mb(persister):
    status = pathlib.Path(f"/proc/{persister.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def show(name, value):
    print(f"{name:<52}{value:>22}", flush=True)


def run(arguments, folder, postgres, broker):
    data, uri = folder / "data", postgres.uri(postgres.database("mixed"))
    kafka = ["--kafka", broker.bootstrap, "--persist.kafka_prefix", "mixed."] if broker else []
    server = Server(data)
    Persister(data, uri).stop()  # from here on the server keeps what has to be carried
    persister = None if arguments.backlog else Persister(data, uri, *kafka)
    crowd = Crowd(server.resp, "crowd", 1)
    begun = time.monotonic()
    told = buy(server, arguments.holds)
    crowd.close()
    loaded = time.monotonic()
    show("holds that the buyers of the load were told of", f"{told:,}")
    show("  in", f"{loaded - begun:.1f} s")
    time.sleep(HOLD_SECONDS + 2)  # the last ones expire
    if arguments.backlog:
        server.stop()
        begun = time.monotonic()
        persister = Persister(data, uri, *kafka)
    behind = persister.metric("lag_records"), persister.metric("lag_bytes")
    show("lag when the load was over: records, MB of journal", f"{behind[0]:,}, {behind[1] / 1e6:,.1f}")
    wait_for(lambda: persister.metric("lag_records") == 0, seconds=PATIENCE, every=0.2)
    carried = time.monotonic()
    if arguments.backlog:
        show("  carried in", f"{carried - begun:.1f} s")
        show("  records a second", f"{behind[0] / (carried - begun):,.0f}")
    else:
        show("  all carried behind the load after", f"{max(carried - loaded - HOLD_SECONDS - 2, 0):.1f} s")
        server.stop()
        wait_for(lambda: persister.metric("lag_records") == 0)
    for name in ("records_total", "transactions_total", "rows_total", "holds_read_total"):
        show(f"persister: {name}", f"{persister.metric(name):,}")
    assert persister.metric("holds_missing_total") == 0 and persister.metric("contradictions_total") == 0
    if broker:
        last = int(postgres.sql("SELECT max(position) FROM holdfast.outbox", "mixed")[0][0])
        wait_for(lambda: persister.figure("holdfast_relay_watermark") >= last, seconds=PATIENCE, every=0.2)
        show("  Kafka had the last one after another", f"{time.monotonic() - carried:.1f} s")
        assert postgres.sql("SELECT count(*) FROM holdfast.outbox_dead", "mixed") == [["0"]]
    show("persister: largest memory", f"{memory_mb(persister):.0f} MB")
    persister.stop()
    for state, count in postgres.sql("SELECT state, count(*) FROM holdfast.hold GROUP BY 1 ORDER BY 1", "mixed"):
        show(f"holds {state}", f"{int(count):,}")
    holds = int(postgres.sql("SELECT count(*) FROM holdfast.hold", "mixed")[0][0])
    assert holds >= max(told, arguments.holds), "PostgreSQL has fewer holds than the buyers were told of"
    rows, ids = map(int, postgres.sql("SELECT count(*), count(DISTINCT id) FROM holdfast.outbox", "mixed")[0])
    show("rows in the outbox, different ids", f"{rows:,}, {ids:,}")
    assert rows == ids
    if broker:
        events, messages = check_topics(broker.bootstrap, uri, "mixed.")
        show("events in Kafka, copies besides", f"{events:,}, {messages - events:,}")
    begun = time.monotonic()
    code, text = verify(data, uri)
    print(text.strip())
    show("  in", f"{time.monotonic() - begun:.1f} s")
    assert code == 0, "PostgreSQL differs from the journals"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--holds", type=int, default=1000000)
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--backlog", action="store_true", help="the persister comes when the load is over")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with all that was started
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-mixed-", dir="/var/tmp"))
    postgres = broker = None
    try:
        postgres = Postgres(shared_buffers="256MB", max_wal_size="4GB")
        broker = of_kafka("stage").Broker() if arguments.kafka else None
        run(arguments, folder, postgres, broker)
    finally:
        if broker is not None:
            broker.stop()
        if postgres is not None:
            postgres.close()
        shutil.rmtree(folder, ignore_errors=True)
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
