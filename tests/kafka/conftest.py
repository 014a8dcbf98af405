"""conftest.py - one PostgreSQL, one broker and one (idle) server for all tests; for each test a database and topics of its own.

A skipped test is a failure here, too: what is missing is installed by tests/install, or the run is not one.
"""
import concurrent.futures
import itertools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import stage as things  # noqa: E402


@pytest.fixture(scope="session")
def started():
    """Both at once: a broker takes its time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        postgres, broker = pool.submit(things.Postgres, "fsync=off"), pool.submit(things.Broker, sasl=True)
    yield postgres.result(), broker.result()
    broker.result().stop()
    postgres.result().stop()


@pytest.fixture(scope="session")
def postgres(started):
    return started[0]


@pytest.fixture(scope="session")
def session_broker(started):
    return started[1]


@pytest.fixture(scope="session")
def server():
    with things.Server(shards=1) as server:
        yield server


_numbers = itertools.count(1)


class Stage:
    """A database with Holdfast's schema, a prefix for topics, and persisters between the two."""

    def __init__(self, postgres, broker, server):
        self.postgres, self.broker, self.server = postgres, broker, server
        number = next(_numbers)
        self.database, self.prefix = f"stage{number}", f"stage{number}."
        with postgres.connect() as connection:
            connection.execute(f"create database {self.database}")
        self.uri = postgres.uri(self.database)
        code, _, error = things.run("persist", "--migrate", "--pg", self.uri)
        assert code == 0, error
        self.persisters = []
        self.seq = 0

    def sql(self, text, *values):
        with self.postgres.connect(self.database) as connection:
            cursor = connection.execute(text, values or None)
            return cursor.fetchall() if cursor.description else None

    def insert(self, rows):
        """Rows (key, payload, further columns) into the outbox, in one transaction, as the persister does."""
        with self.postgres.connect(self.database) as connection, connection.transaction():
            connection.execute("select from holdfast.persister for update")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "insert into holdfast.outbox (seq, created_at, shard, id, aggregatetype, aggregateid, type, trace_id,"
                    " traceparent, request_id, payload) values (%s, now(), 0, gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s)",
                    [self.row(*row) for row in rows])

    def row(self, key, payload, aggregatetype="hold", type="HoldPlaced", trace=None, request_id=None):
        self.seq += 1
        return self.seq, aggregatetype, key, type, trace, trace and f"00-{trace}-00f067aa0ba902b7-01", request_id, payload

    def outbox(self):
        """What is to be found in Kafka, in the order of publishing."""
        return self.sql("select id::text, aggregatetype, aggregateid, type, seq::text, traceparent, request_id, payload::text"
                        " from holdfast.outbox order by position")

    def persister(self, *arguments, kafka=None, **more):
        persister = things.Persister(self.server, self.uri, "--kafka", kafka or self.broker.bootstrap,
                                     "--persist.kafka_prefix", self.prefix, "--persist.kafka_partitions", "3", *arguments, **more)
        self.persisters.append(persister)
        return persister

    def refused(self, *arguments, kafka=None, code=1):
        """The start is refused: what it says."""
        persister = self.persister(*arguments, kafka=kafka, wait=False)
        assert persister.process.wait(60) == code, persister.log()
        return persister.log()

    def messages(self, *types):
        return self.broker.messages(*(self.prefix + name for name in types or ("hold", "token", "event")))

    def watermark(self):
        return self.sql("select position from holdfast.relay")[0][0]

    def await_settled(self, seconds=60):
        last = self.sql("select coalesce(max(position), 0) from holdfast.outbox")[0][0]
        assert things.poll(lambda: self.watermark() >= last, seconds), \
            f"the watermark is at {self.watermark()}, the outbox at {last}: {self.persisters[-1].log()[-3000:]}"

    def outbox_tool(self, *arguments):
        return things.run("outbox", *arguments, "--pg", self.uri)


@pytest.fixture
def stage(postgres, session_broker, server):
    stage = Stage(postgres, session_broker, server)
    yield stage
    for persister in stage.persisters:
        if persister.process.poll() is None:
            persister.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
