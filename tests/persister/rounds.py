"""rounds.py - rounds of accidents under load, each followed by holdfast verify.

    rounds.py --rounds 20 --kafka        tests/persister/run is the way to start it

One round has each accident once, in an order drawn from its seed, under a mixed load: kill -9 of the persister, of the
server, an immediate stop of PostgreSQL, PostgreSQL away for a while, a connection cut right after COMMIT was sent, a second
persister, a restart of the server with another number of shards; with --kafka, kill -9 of the broker, which then stays away
for a while, during the accidents that follow. How long a while is: --away-seconds, by default less than one. Then the load ends, everything certain is carried,
and verify must find nothing; every result is in the outbox once (verify looks each one up), and with --kafka in its topic at
least once, in order for its key.
"""
import argparse
import concurrent.futures
import importlib.util
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from postgres import Postgres  # noqa: E402
from stage import Crowd, Persister, Proxy, Server, journal_end, verify, wait_for  # noqa: E402


def of_kafka(name):
    """A module of tests/kafka, where there is another stage.py."""
    path = pathlib.Path(__file__).resolve().parents[1] / "kafka" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"kafka_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Round:
    def __init__(self, postgres, broker, seed, away_seconds):
        self.postgres, self.broker, self.away_seconds = postgres, broker, away_seconds
        self.draw = random.Random(seed)
        self.prefix = f"round{seed}."
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-round-"))
        self.data = self.folder / "data"
        self.database = postgres.database(f"round{seed}")
        self.proxy = Proxy(postgres.port)
        self.uri = postgres.uri(self.database, port=self.proxy.port)
        self.shards = 2
        self.server = Server(self.data, shards=self.shards)
        self.start_persister()
        self.crowd = Crowd(self.server.resp, f"r{seed}", seed)
        self.refused = 0
        self.beside = concurrent.futures.ThreadPoolExecutor(1)
        self.back = None

    def start_persister(self):
        kafka = ["--kafka", self.broker.bootstrap, "--persist.kafka_prefix", self.prefix, "--persist.kafka_partitions", 3] if self.broker else []
        self.persister = Persister(self.data, self.uri, *kafka)

    def while_away(self):
        return self.away_seconds or self.draw.uniform(0.1, 1.0)

    def kill_persister(self):
        self.persister.kill()
        self.start_persister()

    def kill_server(self):
        self.server.kill()
        self.start_server()

    def other_shards(self):
        self.server.stop()
        self.shards = self.draw.choice([count for count in (1, 2, 3) if count != self.shards])
        self.start_server()

    def start_server(self):
        self.server = Server(self.data, shards=self.shards, http=self.server.http, resp=self.server.resp)

    def kill_postgres(self):
        self.postgres.stop("immediate")
        self.postgres.start()

    def postgres_away(self):
        self.postgres.stop("fast")
        wait_for(lambda: self.persister.metric("breaker_state") != 0)
        status, text = self.persister.get("/healthz")
        assert status == 503, text
        time.sleep(self.while_away())
        wait_for(lambda: self.persister.metric("lag_records") > 0)
        self.postgres.start()

    def kill_kafka(self):
        self.broker.kill()
        wait_for(lambda: self.persister.figure('holdfast_relay_circuit{side="kafka",state="closed"}') == 0)
        self.back = self.beside.submit(self.broker_comes_back, self.while_away())

    def broker_comes_back(self, seconds):
        """Beside the other accidents: a broker takes its time."""
        time.sleep(seconds)
        self.broker.start()

    def cut_after_commit(self):
        before = self.proxy.cuts
        self.proxy.cut_after_commit = 3
        wait_for(lambda: self.proxy.cuts >= before + 3)

    def second_persister(self):
        second = Persister(self.data, self.uri, wait=False)
        code = second.wait()
        assert code == 1, f"the second persister ended with {code}: {second.log()}"
        # who was killed a moment ago may be the one that is named
        assert "another persister is at work" in second.log(), second.log()
        self.refused += 1

    def run(self):
        accidents = [self.kill_persister, self.kill_server, self.kill_postgres, self.postgres_away, self.cut_after_commit, self.second_persister,
                     self.other_shards] + ([self.kill_kafka] if self.broker else [])
        self.draw.shuffle(accidents)
        for accident in accidents:
            time.sleep(self.draw.uniform(0.1, 0.5))
            wait_for(lambda: self.persister.metric("breaker_state") == 0)
            accident()
            assert self.persister.running, self.persister.log()
        time.sleep(0.3)
        self.crowd.close()
        self.end()

    def carried(self):
        rows = self.postgres.sql("SELECT epoch, shard, seq FROM holdfast.cursor", self.database)
        return {(int(epoch), int(shard)): int(seq) for epoch, shard, seq in rows}

    def end(self):
        # the newest epoch's journals, to their ends: with the server up its idle shards seal their last batches
        def all_there():
            ends = journal_end(self.data)
            newest = max(epoch for epoch, _ in ends)
            carried = self.carried()
            return all(carried.get(key, 0) >= seq for key, seq in ends.items() if key[0] == newest)

        if self.back is not None:
            self.back.result()
        wait_for(lambda: self.persister.metric("breaker_state") == 0)
        wait_for(lambda: self.persister.metric("lag_records") == 0, seconds=60 + 2 * (self.away_seconds or 0))
        wait_for(all_there, every=0.3)
        code, text = verify(self.data, self.uri)
        assert code == 0, text
        self.text = text.strip().splitlines()[-1]
        self.server.stop()  # nothing expires any more
        wait_for(lambda: self.persister.metric("lag_records") == 0)
        if self.broker:
            self.text += f", {self.published()}"
        doubles = self.postgres.sql("SELECT count(*) - count(DISTINCT id) FROM holdfast.outbox", self.database)
        assert doubles == [["0"]], doubles
        assert self.persister.metric("holds_missing_total") == 0
        assert self.persister.metric("contradictions_total") == 0
        self.persister.stop()
        self.proxy.close()
        self.beside.shutdown()
        shutil.rmtree(self.folder)
        self.postgres.sql(f'DROP DATABASE "{self.database}" WITH (FORCE)')

    def published(self):
        """Kafka has what the outbox has."""
        last = int(self.postgres.sql("SELECT max(position) FROM holdfast.outbox", self.database)[0][0])
        wait_for(lambda: self.persister.figure("holdfast_relay_watermark") >= last, seconds=60 + 2 * (self.away_seconds or 0))
        assert self.postgres.sql("SELECT count(*) FROM holdfast.outbox_dead", self.database) == [["0"]]
        outbox = [tuple(value or None for value in row) for row in self.postgres.sql(
            "SELECT id, aggregatetype, aggregateid, type, seq, traceparent, request_id, payload::text FROM holdfast.outbox"
            " ORDER BY position", self.database)]
        messages = self.broker.messages(*(self.prefix + name for name in ("hold", "token", "event")))
        copies = of_kafka("checks").check_published(outbox, messages, self.prefix)
        return f"{len(outbox)} events in Kafka, {copies} copies"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--kafka", action="store_true", help="with a broker, which is killed, too")
    parser.add_argument("--away-seconds", type=float, help="how long PostgreSQL and Kafka stay away (a part of a second)")
    arguments = parser.parse_args()
    postgres, broker = None, None
    try:
        postgres = Postgres()
        broker = of_kafka("stage").Broker() if arguments.kafka else None
        for seed in range(arguments.seed, arguments.seed + arguments.rounds):
            begun = time.monotonic()
            one = Round(postgres, broker, seed, arguments.away_seconds)
            one.run()
            print(f"round {seed}: {one.crowd.answers} answers, {one.text} ({time.monotonic() - begun:.1f} s)", flush=True)
    finally:
        if broker is not None:
            broker.stop()
        if postgres is not None:
            postgres.close()
    print(f"{arguments.rounds} passed, 0 failed")


if __name__ == "__main__":
    main()
