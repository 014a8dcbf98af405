"""test_debezium.py - the outbox through Debezium's Outbox Event Router, with the connector file of docs/: the same events as
the relay's, byte for byte."""
from checks import as_row, check_published
from stage import new_folder, poll, script
from test_relay import AWKWARD, TRACE, rows


def test_the_same_events(stage):
    stage.insert([(f"k{i}", payload) for i, payload in enumerate(AWKWARD)])
    stage.insert([("k0", "{}", "token", "TokenJoined", TRACE, "request 1"), ("k0", "{}", "event", "EventCreated", None, "äöü")])
    stage.insert(rows(300, 20, ("hold", "token", "event")))
    folder = new_folder("debezium")
    environment = {"PGHOST": "127.0.0.1", "PGPORT": stage.postgres.port, "PGUSER": "postgres", "PGDATABASE": stage.database}
    connect = stage.prefix + "debezium."
    script("debezium-up", folder, stage.broker.bootstrap, f"transforms.outbox.route.topic.replacement={connect}${{routedByValue}}",
           "topic.creation.default.partitions=3", "poll.interval.ms=20", environment=environment)
    topics = [connect + name for name in ("hold", "token", "event")]
    try:
        with stage.persister("--relay", "debezium"):
            stage.insert(rows(300, 20, ("hold", "token"), start=300))
            outbox = stage.outbox()
            assert poll(lambda: len(stage.broker.messages(*topics)) >= len(outbox), 60, 0.3), (folder / "server.log").read_text()[-4000:]
    finally:
        script("kafka-down", folder)
        poll(lambda: stage.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
             or not stage.sql("select from pg_replication_slots"), 20, 0.2)
    theirs = stage.broker.messages(*topics)
    assert check_published(outbox, theirs, connect) == 0
    # and the relay's own: the same messages in the same partitions
    with stage.persister():
        stage.await_settled()
    ours = stage.messages()
    as_sent = lambda messages, prefix: sorted((as_row(m, prefix), m.partition(), m.headers()) for m in messages)  # noqa: E731
    assert as_sent(ours, stage.prefix) == as_sent(theirs, connect)
