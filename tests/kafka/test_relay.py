"""test_relay.py - the built-in relay against a real broker: everything arrives, in order for its key, whoever dies."""
import json
import os
import threading
import time

import pytest

from checks import check_published
from stage import Broker, poll

TRACE = "0af7651916cd43dd8448eb211c80319c"

# jsonb as it is written must come out byte for byte: numbers with their zeros, escapes, null, nesting, empty things.
AWKWARD = ['{"n": 12.50, "big": 123456789012345678901234567890, "e": 1e-7}', '{"text": "äöü \\"quoted\\" \\u0001 / \\\\", "none": null}',
           '[1, "x", [], {}]', '"only a text"', "{}", '{"seats": [{"seat": "A/12/7", "version": 3}], "deadline": "2026-11-20T10:00:00.000Z"}']


def rows(count, keys, types=("hold",), start=0):
    return [(f"k{i % keys}", json.dumps({"n": i}), types[i % len(types)]) for i in range(start, start + count)]


def test_every_event_arrives_byte_for_byte(stage):
    stage.insert([(f"k{i}", payload) for i, payload in enumerate(AWKWARD)])
    stage.insert([("k0", "{}", "token", "TokenJoined", TRACE, "request 1"), ("k0", "{}", "event", "EventCreated", None, "äöü")])
    stage.insert(rows(2000, 50, ("hold", "token", "event")))
    with stage.persister() as persister:
        stage.await_settled()
        assert check_published(stage.outbox(), stage.messages(), stage.prefix) == 0
        stage.insert(rows(500, 3))
        stage.await_settled()
        assert check_published(stage.outbox(), stage.messages(), stage.prefix) == 0
        figures = persister.metrics()
        assert figures["holdfast_relay_delivered_total"] == len(stage.outbox())
        assert poll(lambda: persister.relay("caught_up") == 1)
        assert persister.relay("window_rows") == 0
    # what is delivered is not delivered again
    with stage.persister():
        stage.insert(rows(10, 3))
        stage.await_settled()
        assert check_published(stage.outbox(), stage.messages(), stage.prefix) == 0


class Writer:
    """Commits events all the time, as a persister under load does."""

    def __init__(self, stage):
        self.stage, self.ended, self.failure = stage, threading.Event(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        at = 0
        try:
            while not self.ended.is_set():
                self.stage.insert(rows(60, 40, ("hold", "token"), at))
                at += 60
                time.sleep(0.02)
        except Exception as failure:  # told by end()
            self.failure = failure

    def end(self):
        self.ended.set()
        self.thread.join()
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize("round_number", range(int(os.environ.get("HOLDFAST_ROUNDS", "1"))))
def test_broker_and_persister_killed_under_load(stage, round_number):
    """The broker is away for longer than any timeout that is not ours. Nothing is refused, memory stays bounded."""
    arguments = ("--persist.relay_rows_max", "5000")
    persister = stage.persister(*arguments)
    writer = Writer(stage)
    assert poll(lambda: persister.relay("delivered_total") > 500, 30)
    stage.broker.kill()
    assert poll(lambda: persister.circuit() == "open", 30), persister.metrics()
    assert "could not reach kafka" in persister.log()
    persister.kill()
    stage.insert(rows(8000, 1000))
    persister = stage.persister(*arguments)  # a start without a broker
    assert poll(lambda: persister.circuit() == "open", 30), persister.metrics()
    assert persister.relay("window_rows") <= 5000
    stage.broker.start()
    assert poll(lambda: persister.relay("delivered_total") > 5000, 30)
    assert "kafka is there again" in persister.log()
    assert persister.circuit() == "closed"
    assert persister.metrics()['holdfast_relay_circuit_opened_total{side="kafka"}'] >= 1
    for _ in range(2):
        persister.kill()
        persister = stage.persister(*arguments)
        assert poll(lambda: persister.relay("delivered_total") > 500, 30)
    writer.end()
    stage.await_settled()
    assert persister.relay("refused_total") == 0
    assert stage.sql("select count(*) from holdfast.outbox_dead") == [(0,)]
    persister.stop()
    copies = check_published(stage.outbox(), stage.messages(), stage.prefix)
    print(f"round {round_number}: {len(stage.outbox())} events, {copies} copies")


def test_another_cluster_is_refused_until_told(stage):
    persister = stage.persister()
    stage.insert(rows(100, 10))
    stage.await_settled()
    first, watermark = stage.sql("select cluster, position from holdfast.relay")[0]
    stage.broker.stop()
    other = Broker(port=stage.broker.port)
    try:
        # while it runs: nothing is settled with the new one
        stage.insert(rows(100, 10, start=100))
        assert poll(lambda: "the watermark in PostgreSQL is about cluster " + first in persister.log(), 30), persister.log()
        assert stage.watermark() == watermark
        persister.stop()
        # at the start
        log = stage.refused()
        cluster = log.split("kafka's cluster is ")[1].split(",")[0]
        assert cluster != first
        assert f"--persist.kafka_cluster {cluster}" in log
        assert stage.watermark() == watermark
        # told
        with stage.persister("--persist.kafka_cluster", cluster):
            stage.await_settled()
        assert stage.sql("select cluster from holdfast.relay") == [(cluster,)]
        published = other.messages(stage.prefix + "hold")
        check_published(stage.outbox()[100:], published, stage.prefix)
        # not the one that was told
        assert "--persist.kafka_cluster" in stage.refused("--persist.kafka_cluster", "no-such-cluster")
    finally:
        other.stop()
        stage.broker.start()


def test_pruned_by_age_only_when_delivered(stage):
    stage.insert(rows(200, 10))
    stage.sql("update holdfast.outbox set created_at = now() - interval '1 hour'")
    stage.insert(rows(50, 10, start=200))
    with stage.persister("--persist.outbox_keep_seconds", "1800") as persister:
        stage.await_settled()
        stage.sql("insert into holdfast.outbox select * from holdfast.outbox where false")
        assert poll(lambda: persister.relay("pruned_total") == 200, 30)
    assert len(stage.outbox()) == 50
    stage.sql("update holdfast.relay set position = 0")
    stage.sql("update holdfast.outbox set created_at = now() - interval '1 hour'")
    with stage.persister("--persist.outbox_keep_seconds", "1800", kafka="127.0.0.1:1") as persister:
        time.sleep(1)
        assert persister.relay("pruned_total") == 0
    assert len(stage.outbox()) == 50


def test_left_alone(stage):
    """For Debezium, or for nobody."""
    stage.insert(rows(10, 10))
    for relay in ("debezium", "off"):
        with stage.persister("--relay", relay) as persister:
            assert not [name for name in persister.metrics() if name.startswith("holdfast_relay_")]
    assert stage.watermark() == 0
    assert stage.messages() == []
