"""checks.py - what must hold of the outbox and the topics, whatever happened in between."""
import collections


def text(value):
    return None if value is None else value.decode()


def as_row(message, prefix):
    headers = dict(message.headers())
    return (text(headers["id"]), message.topic().removeprefix(prefix), text(message.key()), text(headers["type"]), text(headers["seq"]),
            text(headers["traceparent"]), text(headers["request_id"]), text(message.value()))


def check_published(outbox, messages, prefix):
    """Every event at least once, whole; its copies are the same; the first copies are in order for each key. Returns the
    number of copies."""
    expected = {row[0]: row for row in outbox}
    assert len(expected) == len(outbox)
    place = {row[0]: at for at, row in enumerate(outbox)}
    last = collections.defaultdict(lambda: -1)
    partition = {}
    seen = set()
    for message in messages:
        row = as_row(message, prefix)
        assert [name for name, _ in message.headers()] == ["id", "type", "seq", "traceparent", "request_id"]
        assert row == expected.get(row[0]), "an event differs from its row"
        key = row[1], row[2]
        assert partition.setdefault(key, message.partition()) == message.partition(), f"{key} is in two partitions"
        if row[0] not in seen:
            seen.add(row[0])
            assert place[row[0]] > last[key], f"the first copies of {key} are out of order"
            last[key] = place[row[0]]
    missing = [row for row in outbox if row[0] not in seen]
    assert not missing, f"{len(missing)} events are not in Kafka, the first: {missing[0]}"
    return len(messages) - len(seen)
