"""test_persister.py - what `holdfast persist` and `holdfast verify` promise, against a real PostgreSQL."""
import json
import os
import pathlib
import shutil
import subprocess
import urllib.request

import jsonschema_rs
import pytest
from postgres import Postgres
from stage import BINARY, ROOT, Client, Crowd, Persister, Process, Proxy, Server, verify, wait_for

SCHEMAS = ROOT / "persist" / "schema"


def database(uri):
    return uri.rsplit("/", 1)[1]


def post(server, path, body, method="POST", **headers):
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def outbox(postgres, uri, where="true"):
    rows = postgres.sql(
        f"SELECT json_build_object('type', type, 'id', id, 'aggregatetype', aggregatetype, 'aggregateid', aggregateid, 'payload', payload,"
        f" 'trace_id', trace_id, 'traceparent', traceparent, 'request_id', request_id) FROM holdfast.outbox WHERE {where} ORDER BY position",
        database(uri),
    )
    return [json.loads(row[0]) for row in rows]


def caught_up(postgres, uri, count):
    """Waits until the outbox has so many rows."""
    wait_for(lambda: int(postgres.sql("SELECT count(*) FROM holdfast.outbox", database(uri))[0][0]) >= count)


def test_every_type_of_result_is_published_as_its_schema_says(postgres, uri, data):
    """Each change of a hold, a token and an event: once, in order, with the object that HTTP shows, less what runs down."""
    server = Server(data)
    persister = Persister(data, uri)
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "e", "SECTION", "A", 3, 10, "ROW", "B", "L1", 4, "POOL", "ga", 20, "HOLD", 1, "HOLDMAX", 60)
    client.ask("EVENT", "CREATE", "q", "POOL", "ga", 20, "QUEUE", 1, 30, 60)
    client.ask("EVENT", "SET", "e", "pool.ga.capacity", 30)
    hold = client.ask("HOLD", "e", "u1", "SEAT", "A/2/9", "SEAT", "A/2/8", "POOL", "ga", 2, "TTL", 30)[0]
    shown = [json.loads(urllib.request.urlopen(f"http://127.0.0.1:{server.http}/v1/holds/{hold}").read())]
    client.ask("EXTEND", hold, "u1", 50)
    client.ask("CONFIRM", hold, "u1", "REF", "paid")
    shown.append(json.loads(urllib.request.urlopen(f"http://127.0.0.1:{server.http}/v1/holds/{hold}").read()))
    client.ask("CANCEL", hold)
    old = client.ask("HOLD", "e", "u2", "SEAT", "A/1/1", "SEAT", "A/1/2")[0]
    new = client.ask("HOLD", "e", "u2", "SEAT", "A/1/2", "REPLACE", old)[0]
    client.ask("RELEASE", new, "u2")
    client.ask("HOLD", "e", "u3", "SEAT", "B/L1/4")  # and let go: expires after a second
    client.ask("QUEUE", "JOIN", "q", "u4")
    token = client.ask("QUEUE", "JOIN", "q", "u5")[0]
    client.ask("QUEUE", "LEAVE", token)
    caught_up(postgres, uri, 17)
    rows = outbox(postgres, uri)
    assert {row["type"] for row in rows} == {path.stem for path in SCHEMAS.glob("*.json")}
    for row in rows:
        schema = json.loads((SCHEMAS / f"{row['type']}.json").read_text())
        jsonschema_rs.validator_for(schema).validate(row["payload"])
        assert row["type"].lower().startswith(row["aggregatetype"])
    of_hold = [row for row in rows if row["aggregateid"] == hold]
    assert [row["type"] for row in of_hold] == ["HoldPlaced", "HoldExtended", "HoldConfirmed", "HoldCancelled"]
    for answer, row in zip(shown, [of_hold[0], of_hold[2]]):
        del answer["deadline_in_ms"]
        assert row["payload"] == answer
    replaced = [row["type"] for row in rows if row["aggregateid"] in (old, new)]
    assert replaced == ["HoldPlaced", "HoldReleased", "HoldPlaced", "HoldReleased"]
    code, text = verify(data, uri)  # beside a server and a persister that run
    assert code == 0, text
    persister.stop()
    server.stop()


def test_a_request_is_known_by_its_ids_to_the_last_row(postgres, uri, data):
    server = Server(data)
    persister = Persister(data, uri)
    post(server, "/v1/events", {"id": "e", "pools": [{"name": "ga", "capacity": 10}]})
    trace = "0af7651916cd43dd8448eb211c80319c"
    post(server, "/v1/events/e/holds", {"user": "u", "pools": [{"name": "ga", "quantity": 1}]}, **{
        "traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "req-4711"})
    caught_up(postgres, uri, 2)
    assert postgres.sql("SELECT trace_id, request_id FROM holdfast.hold", database(uri)) == [[trace, "req-4711"]]
    row = outbox(postgres, uri, "type = 'HoldPlaced'")[0]
    assert (row["trace_id"], row["request_id"]) == (trace, "req-4711")
    assert row["traceparent"].startswith(f"00-{trace}-") and row["traceparent"].endswith("-01")
    line = wait_for(lambda: [line for line in persister.lines() if line.get("request_id") == "req-4711"])[0]
    assert line["trace_id"] == trace and "HoldPlaced" in line["message"]
    persister.stop()
    server.stop()


def test_each_command_is_known_by_its_ids(postgres, uri, data):
    """Of every command that writes a row, over snapshot and restart as well: the row has the ids of its own request."""
    server = Server(data)
    sent = {}

    def ids(type):
        trace = f"{len(sent) + 1:032x}"
        sent[type] = (trace, f"req-{type}")
        return {"traceparent": f"00-{trace}-b7ad6b7169203331-00", "X-Request-ID": f"req-{type}"}

    def hold():
        return post(server, "/v1/events/e/holds", {"user": "u", "pools": [{"name": "ga", "quantity": 1}]}, **ids("HoldPlaced"))["hold"]

    post(server, "/v1/events", {"id": "q", "pools": [{"name": "ga", "capacity": 10}], "queue": {"active_max": 1, "active_seconds": 60, "grace_seconds": 60}})
    post(server, "/v1/events", {"id": "e", "pools": [{"name": "ga", "capacity": 10}]}, **ids("EventCreated"))
    post(server, "/v1/events/e", {"hold_seconds": 60}, "PATCH", **ids("EventChanged"))
    one, two, three = hold(), hold(), hold()
    post(server, f"/v1/holds/{one}/extend", {"user": "u", "seconds": 90}, **ids("HoldExtended"))
    post(server, f"/v1/holds/{one}/confirm", {"user": "u"}, **ids("HoldConfirmed"))
    post(server, f"/v1/holds/{one}/cancel", {}, **ids("HoldCancelled"))
    post(server, f"/v1/holds/{two}?user=u", None, "DELETE", **ids("HoldReleased"))
    post(server, "/v1/events/q/queue", {"user": "a"})
    waiting = post(server, "/v1/events/q/queue", {"user": "b"}, **ids("TokenJoined"))["token"]
    post(server, f"/v1/queue/{waiting}", None, "DELETE", **ids("TokenEnded"))
    server.stop()
    server = Server(data)
    persister = Persister(data, uri)
    caught_up(postgres, uri, 13)
    rows = {row["type"]: (row["trace_id"], row["request_id"]) for row in outbox(postgres, uri, "request_id IS NOT NULL")}
    assert rows == sent
    dump = subprocess.run([BINARY, "journal", "dump", data], capture_output=True, text=True, check=True, timeout=60).stdout
    told = {json.loads(line).get("request_id") for line in dump.splitlines()} - {None}
    assert told == {request_id for _, request_id in sent.values()}
    persister.stop()
    server.stop()


def test_texts_from_outside_are_carried_whatever_bytes_they_have(postgres, uri, data):
    """What the server takes as a payment reference PostgreSQL has to take: a zero byte, which its text does not know."""
    server = Server(data)
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "e", "POOL", "ga", 20)
    refs = ["höhe".encode(), b"a\x00b", b"x" * 128, b"'); DROP SCHEMA holdfast CASCADE; --"]
    said = set()
    for i, ref in enumerate(refs):
        hold = client.ask("HOLD", "e", f"u{i}", "POOL", "ga", 1)[0]
        if client.ask("CONFIRM", hold, f"u{i}", "REF", ref) == "OK":
            said.add(ref.decode().replace("\0", "\ufffd"))
    assert len(said) >= 3
    persister = Persister(data, uri)
    caught_up(postgres, uri, 1 + len(refs) + len(said))
    assert {row[0] for row in postgres.sql("SELECT payment_ref FROM holdfast.hold WHERE state = 'confirmed'", database(uri))} == said
    code, text = verify(data, uri)
    assert code == 0, text
    persister.stop()
    server.stop()


def test_a_late_persister_begins_with_a_snapshot(postgres, uri, data):
    """The journal before it has been removed: rows come from the snapshot, and nothing of the past is published."""
    server = Server(data, "--journal.snapshot_bytes", "4MiB", "--journal.segment_bytes", "17MiB")
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "e", "SECTION", "A", 100, 100, "POOL", "ga", 1000000, "QUEUE", 5, 300, 60)
    crowd = Crowd(server.resp, "c", 7, threads=1)
    wait_for(lambda: crowd.answers > 300)
    first = data / "journal" / "00000001-000-00000000.journal"
    second = data / "journal" / "00000001-001-00000000.journal"

    def removed():
        done = subprocess.run([BINARY, "load", "deal", "--resp", f"127.0.0.1:{server.resp}", "--stock", "40000", "--buyers", "40000",
                               "--connections", "20", "--pipeline", "16", "--audit-holds", "1"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return not first.exists() and not second.exists()

    wait_for(removed, seconds=90, every=0)
    crowd.close()
    persister = Persister(data, uri)
    assert "beginning with the newest snapshot" in persister.log()
    assert int(postgres.sql("SELECT count(*) FROM holdfast.hold", database(uri))[0][0]) > 0
    client.ask("QUEUE", "JOIN", "e", "late")
    wait_for(lambda: outbox(postgres, uri, "type = 'TokenJoined'"))
    client.close()
    code, text = verify(data, uri)
    assert code == 0, text
    persister.stop()
    server.stop()


def test_a_database_of_another_directory_or_ahead_of_the_journal_is_refused(postgres, uri, data):
    server = Server(data)
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "e", "POOL", "ga", 100)
    server.stop()
    copy = data.parent / "copy"
    shutil.copytree(data, copy)
    server = Server(data)
    client = Client(server.resp)
    for i in range(20):
        client.ask("HOLD", "e", f"u{i}", "POOL", "ga", 1)
    persister = Persister(data, uri)
    caught_up(postgres, uri, 21)
    persister.stop()
    server.stop()
    behind = Persister(copy, uri, wait=False)
    assert behind.wait() == 1
    assert "ahead of the journal" in behind.log()
    other = data.parent / "other"
    Server(other).stop()
    stranger = Persister(other, uri, wait=False)
    assert stranger.wait() == 1
    assert "belongs to another data directory" in stranger.log()
    assert verify(other, uri)[0] == 1


def test_bad_settings_end_the_start_with_cause_and_remedy(postgres, uri, data):
    Server(data).stop()
    name = database(uri)
    cases = [
        ("postgresql://postgres@127.0.0.1:1/x", "refused", 1),
        (postgres.uri("nosuch"), "does not exist", 1),
        (postgres.uri(name, user="nosuch"), "does not exist", 1),
        ("http://x", "neither a URI", 2),
        (uri.replace("postgres@", "postgres:geheim@"), "PGPASSFILE", 2),
    ]
    for given, says, code in cases:
        process = Persister(data, given, wait=False)
        assert process.wait() == code, process.log()
        assert says in process.log(), process.log()
        assert "geheim" not in process.log()
    postgres.sql("CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN", name)
    process = Persister(data, postgres.uri(name, user="reader"), wait=False)
    assert process.wait() == 1
    assert "--migrate" in process.log() and "GRANT" in process.log(), process.log()
    assert subprocess.run([BINARY, "persist", "--migrate", "--pg", uri], capture_output=True).returncode == 0
    process = Persister(data, postgres.uri(name, user="reader"), wait=False)
    assert process.wait() == 1
    assert "denied" in process.log() or "GRANT SELECT" in process.log(), process.log()
    postgres.sql("GRANT USAGE ON SCHEMA holdfast TO writer; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA holdfast TO writer;"
                 "GRANT USAGE ON ALL SEQUENCES IN SCHEMA holdfast TO writer", name)
    Persister(data, postgres.uri(name, user="writer")).stop()
    missing = Process("persist", "--data", data.parent / "nothing", "--pg", uri)
    assert missing.wait() == 1 and "is it the server's" in missing.log()


def test_an_old_server_is_refused(postgres, uri, data):
    """The one that is there, under the number of another one. 13 is the oldest that will do."""
    Server(data).stop()
    proxy = Proxy(postgres.port)
    through = postgres.uri(database(uri), port=proxy.port)
    proxy.version = "12"
    old = Persister(data, through, wait=False)
    assert old.wait() == 1
    assert "the server is PostgreSQL 12, and 13 is the oldest that will do: upgrade it" in old.log(), old.log()
    assert verify(data, through)[0] == 1
    proxy.version = "13"
    Persister(data, through).stop()
    proxy.close()


def test_an_event_that_is_far_ahead_in_another_journal(postgres, uri, data):
    """One journal has much, then an event; the other has little, and its first holds are of that event. Transactions are small."""
    server = Server(data)
    Persister(data, uri).stop()  # from here on the server keeps what has to be carried
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "first", "POOL", "ga", 100000)
    for i in range(40):
        client.ask("HOLD", "first", f"u{i}", "POOL", "ga", 1)
    dump = subprocess.run([BINARY, "journal", "dump", str(data)], capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in dump.splitlines()]
    homes = [{record["user"] for record in records if "user" in record and record["shard"] == shard} for shard in (0, 1)]
    assert min(map(len, homes)) > 0
    one, other = sorted(homes[0])[0], sorted(homes[1])[0]
    for _ in range(1000):
        client.ask("HOLD", "first", one, "POOL", "ga", 1)
    for i in range(12):
        client.ask("EVENT", "CREATE", f"later{i}", "POOL", "ga", 100)
        for _ in range(4):
            client.ask("HOLD", f"later{i}", other, "POOL", "ga", 1)
    persister = Persister(data, uri, "--persist.batch_records", 16)
    caught_up(postgres, uri, 1 + 40 + 1000 + 12 * 5)
    assert (persister.metric("contradictions_total"), persister.metric("holds_missing_total")) == (0, 0)
    code, text = verify(data, uri)
    assert code == 0, text
    persister.stop()
    server.stop()


def test_more_live_holds_than_are_remembered(postgres, uri, data):
    """What the memory has no room for is read again from PostgreSQL when it ends; the memory keeps to its setting."""
    server = Server(data)
    persister = Persister(data, uri, "--persist.cache_bytes", "1MiB", "--persist.batch_records", 256)
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "e", "SECTION", "A", 100, 100, "POOL", "ga", 10000, "HOLD", 3600)
    holds = [(f"u{i}", client.ask("HOLD", "e", f"u{i}", "SEAT", f"A/{i // 100 + 1}/{i % 100 + 1}", "POOL", "ga", 1)[0]) for i in range(10000)]
    caught_up(postgres, uri, 1 + 10000)
    wait_for(lambda: persister.metric("lag_records") == 0)
    assert 0 < persister.metric("cache_holds") < 9000
    assert persister.metric("cache_bytes") <= 1 << 20
    for i, (user, hold) in enumerate(holds[:2000]):  # the oldest
        assert client.ask(*(["CONFIRM", hold, user, "REF", "pay"] if i % 2 else ["RELEASE", hold, user])) is not None
    caught_up(postgres, uri, 1 + 10000 + 2000)
    assert persister.metric("holds_read_total") >= 1000
    assert (persister.metric("contradictions_total"), persister.metric("holds_missing_total")) == (0, 0)
    assert persister.metric("cache_bytes") <= 1 << 20
    persister.stop()
    server.stop()
    code, text = verify(data, uri)
    assert code == 0, text


def test_postgresql_that_says_nothing_is_taken_for_gone(postgres, uri, data):
    """A connection that stands and is silent, for longer than persist.wait_seconds; nothing is lost or carried twice."""
    proxy = Proxy(postgres.port)
    server = Server(data)
    through = postgres.uri(database(uri), port=proxy.port)
    persister = Persister(data, through, "--persist.wait_seconds", 1)
    client = Client(server.resp)
    client.ask("EVENT", "CREATE", "e", "POOL", "ga", 1000)
    caught_up(postgres, uri, 1)
    assert persister.metric("breaker_opened_total") == 0
    proxy.silent = True
    for i in range(100):
        client.ask("HOLD", "e", f"u{i}", "POOL", "ga", 1)
    wait_for(lambda: persister.metric("breaker_opened_total") > 0)
    assert persister.get("/healthz")[0] == 503
    assert "did not answer in time" in persister.log()
    proxy.silent = False
    caught_up(postgres, uri, 1 + 100)
    wait_for(lambda: persister.get("/healthz")[0] == 200)
    persister.stop()
    server.stop()
    proxy.close()
    code, text = verify(data, uri)
    assert code == 0, text


def lag(persister):
    return [persister.metric(f"lag_{name}") for name in ("ms", "records", "bytes")]


def test_lag_is_told_while_postgresql_is_away(data):
    """Exactly as many records as were made since, over a restart of the server with more shards; it grows by time alone, too."""
    postgres = Postgres()  # one that may go away
    try:
        name = postgres.database("lag")
        server = Server(data)
        persister = Persister(data, postgres.uri(name))
        client = Client(server.resp)
        client.ask("EVENT", "CREATE", "e", "POOL", "ga", 1000)
        wait_for(lambda: lag(persister) == [0, 0, 0])
        assert postgres.sql("SELECT count(*) FROM holdfast.outbox", name) == [["1"]]
        postgres.stop("immediate")
        wait_for(lambda: persister.get("/healthz")[0] == 503)  # at once, though there is nothing to carry
        for i in range(100):
            client.ask("HOLD", "e", f"u{i}", "POOL", "ga", 1)
        wait_for(lambda: persister.metric("lag_records") == 100)
        ms, _, size = lag(persister)
        assert size > 0 and size % 4096 == 0
        wait_for(lambda: persister.metric("lag_ms") > ms + 200)
        server.stop()
        server = Server(data, shards=3)
        client = Client(server.resp)
        for i in range(60):
            client.ask("HOLD", "e", f"v{i}", "POOL", "ga", 1)
        wait_for(lambda: persister.metric("lag_records") == 160)
        assert persister.metric("lag_bytes") > size
        assert persister.metric("lag_ms") > ms
        postgres.start()
        wait_for(lambda: lag(persister) == [0, 0, 0])
        assert postgres.sql("SELECT count(*) FROM holdfast.outbox", name) == [["161"]]
        persister.stop()
        server.stop()
    finally:
        postgres.close()


def test_a_password_comes_from_a_file_alone(postgres, data):
    """PGPASSFILE works, and neither the arguments nor the log have it."""
    Server(data).stop()
    postgres.sql("CREATE ROLE secret LOGIN PASSWORD 'sesam-oeffne-dich'")
    postgres.sql("CREATE DATABASE vault OWNER secret")
    hba = postgres.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    try:
        hba.write_text("host vault secret 127.0.0.1/32 scram-sha-256\n" + before)
        postgres.sql("SELECT pg_reload_conf()")
        file = data.parent / "pgpass"
        file.write_text(f"127.0.0.1:{postgres.port}:vault:secret:sesam-oeffne-dich\n")
        file.chmod(0o600)
        refused = Persister(data, postgres.uri("vault", user="secret"), wait=False)
        assert refused.wait() == 1 and "no password supplied" in refused.log(), refused.log()
        persister = Persister(data, postgres.uri("vault", user="secret"), environment={"PGPASSFILE": str(file)})
        arguments = pathlib.Path(f"/proc/{persister.process.pid}/cmdline").read_bytes()
        assert b"sesam" not in arguments
        persister.stop()
        assert "sesam" not in persister.log()
    finally:
        hba.write_text(before)
        postgres.sql("SELECT pg_reload_conf()")


def test_migrations_are_applied_once_and_never_changed(postgres, uri):
    migrate = [BINARY, "persist", "--migrate", "--pg", uri]
    together = [subprocess.Popen(migrate, stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.wait() for process in together] == [0] * 4, [process.stderr.read() for process in together]
    files = sorted(path.name for path in (ROOT / "persist" / "migrations").glob("*.sql"))
    assert postgres.sql("SELECT name FROM holdfast.migration ORDER BY number", database(uri)) == [[name] for name in files]
    postgres.sql("UPDATE holdfast.migration SET checksum = 1 WHERE number = 1", database(uri))
    assert subprocess.run(migrate, capture_output=True).returncode == 1
    postgres.sql("DROP SCHEMA holdfast CASCADE", database(uri))
    assert subprocess.run(migrate, capture_output=True).returncode == 0
    postgres.sql("INSERT INTO holdfast.migration (number, name, checksum) VALUES (999, '0999_future.sql', 1)", database(uri))
    later = subprocess.run(migrate, capture_output=True, text=True)
    assert later.returncode == 1 and "0999_future.sql" in later.stderr


def test_verify_finds_every_kind_of_difference(postgres, uri, data):
    server = Server(data)
    persister = Persister(data, uri)
    crowd = Crowd(server.resp, "c", 3, threads=1)
    wait_for(lambda: crowd.answers > 200)
    crowd.close()
    wait_for(lambda: verify(data, uri)[0] == 0)
    persister.stop()
    server.stop()
    wait_for(lambda: verify(data, uri)[0] == 0)
    name = database(uri)
    damages = {
        "event": "UPDATE holdfast.event SET status = 'paused' WHERE id = 'c-hall'",
        "hold": "UPDATE holdfast.hold SET deadline = deadline + interval '1 ms' WHERE id = (SELECT id FROM holdfast.hold LIMIT 1)",
        "hold_seat": "UPDATE holdfast.hold_seat SET version = version + 1 WHERE hold_id = (SELECT hold_id FROM holdfast.hold_seat LIMIT 1)",
        "hold_pool": "DELETE FROM holdfast.hold_pool WHERE hold_id = (SELECT hold_id FROM holdfast.hold_pool LIMIT 1)",
        "seat": "UPDATE holdfast.seat SET hold_id = NULL, state = 'free' WHERE seat = (SELECT seat FROM holdfast.seat WHERE state <> 'free' LIMIT 1)"
                " AND state <> 'free'",
        "token": "DELETE FROM holdfast.token WHERE id = (SELECT id FROM holdfast.token LIMIT 1)",
        "outbox": "DELETE FROM holdfast.outbox WHERE position = 5",
    }
    for table, damage in damages.items():
        # each damage alone: the tables as they were are put back from a copy
        postgres.sql(f"CREATE TABLE kept AS TABLE holdfast.{table}", name)
        postgres.sql(damage, name)
        code, text = verify(data, uri)
        assert code == 1, (table, text)
        assert f"{table}: " in text, (table, text)
        postgres.sql(f"DELETE FROM holdfast.{table}; INSERT INTO holdfast.{table} SELECT * FROM kept; DROP TABLE kept", name)
    assert verify(data, uri)[0] == 0


def test_schemas_only_ever_gain_optional_members():
    """Compared with those of the last release: nothing that a consumer relies on has gone, nothing new is demanded."""
    for path in sorted((SCHEMAS / "released").glob("*.json")):
        released, now = json.loads(path.read_text()), json.loads((SCHEMAS / path.name).read_text())
        compare(released, now, path.stem)


def compare(released, now, where):
    assert released.get("type") == now.get("type"), where
    assert released.get("enum") == now.get("enum") and released.get("const") == now.get("const"), where
    assert released.get("pattern") == now.get("pattern") and released.get("format") == now.get("format"), where
    assert set(released.get("required", [])) <= set(now.get("required", [])), f"{where}: what was always there may be missing"
    old, new = released.get("properties", {}), now.get("properties", {})
    assert set(old) <= set(new), f"{where}: members have gone"
    assert set(now.get("required", [])) - set(released.get("required", [])) <= set(old), f"{where}: a new member is demanded"
    for name in old:
        compare(old[name], new[name], f"{where}.{name}")
    if "items" in released:
        compare(released["items"], now["items"], f"{where}[]")


def test_the_document_of_events_is_fresh():
    done = subprocess.run(["python3", str(ROOT / "persist" / "schema" / "document.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path, status", [("/metrics", 200), ("/healthz", 200), ("/nothing", 404)])
def test_its_own_listener(postgres, uri, data, path, status):
    Server(data).stop()
    persister = Persister(data, uri)
    code, body = persister.get(path)
    assert code == status
    if path == "/metrics":
        assert "# TYPE holdfast_persister_lag_ms gauge" in body
    persister.stop()
