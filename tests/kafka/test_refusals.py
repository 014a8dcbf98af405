"""test_refusals.py - what a broker refuses: dead letters with a reason, the others pass, requeue works; and starts that are
refused with cause and remedy."""
import json
import os

import pytest

from checks import check_published
from stage import Broker, poll, run
from test_relay import TRACE, rows


def dead(stage):
    return stage.sql("select id::text, attempts, reason, payload::text from holdfast.outbox_dead order by seq")


def test_too_large(stage):
    stage.broker.create_topic(stage.prefix + "hold", max_message_bytes=5000)
    large, huge = json.dumps({"x": "y" * 10000}), json.dumps({"x": "y" * 1100000})
    stage.insert(rows(300, 10))
    stage.insert([("k1", large, "hold", "HoldPlaced", TRACE, "req-large"), ("k2", huge)])
    stage.insert(rows(300, 10, start=300))
    with stage.persister() as persister:
        assert poll(lambda: persister.relay("dead_total") == 2, 40), persister.metrics()
        stage.await_settled()
        letters = dead(stage)
        assert [letter[1] for letter in letters] == [4, 4]
        assert all("too large" in letter[2] for letter in letters)
        assert [letter[3] for letter in letters] == [large, huge]
        # small ones that shared a batch with a large one, or went over the limit together, are no victims
        assert len(stage.outbox()) == 600
        check_published(stage.outbox(), stage.messages(), stage.prefix)
        line = next(line for line in persister.log_lines() if letters[0][0] in line["message"])
        assert line["trace_id"] == TRACE
        assert line["request_id"] == "req-large"
        assert "is dead after 4 tries" in line["message"]

        # the tool
        code, out, err = stage.outbox_tool("list")
        assert (code, len(out.splitlines())) == (0, 2)
        assert "2 dead" in err
        code, out, _ = stage.outbox_tool("list", "--json")
        listed = [json.loads(line) for line in out.splitlines()]
        assert {letter["id"] for letter in listed} == {letter[0] for letter in letters}
        code, out, _ = stage.outbox_tool("show", letters[0][0].upper())
        assert (code, json.loads(out)["payload"]) == (0, json.loads(large))
        nobody = "0198f0c1-0000-7000-8000-000000000001"
        code, _, err = stage.outbox_tool("requeue", letters[0][0], nobody)
        assert code == 1
        assert "nothing was changed" in err
        assert len(dead(stage)) == 2
        assert stage.outbox_tool("show", nobody)[0] == 1

        # the cause is gone: it is published with the same id, behind all others
        stage.broker.configure_topic(stage.prefix + "hold", max_message_bytes=50000)
        code, out, _ = stage.outbox_tool("requeue", letters[0][0])
        assert (code, out) == (0, "1 requeued\n")
        stage.await_settled()
        outbox = stage.outbox()
        assert outbox[-1][0] == letters[0][0]
        check_published(outbox, stage.messages(), stage.prefix)
        code, out, _ = stage.outbox_tool("drop", "--all")
        assert (code, out) == (0, "1 dropped\n")
        assert dead(stage) == []


def test_unknown_topic_and_no_right_to_write(stage):
    """Both at once, as each takes its time."""
    stage.broker.create_topic(stage.prefix + "token")
    with stage.persister() as persister:
        allow = stage.broker.deny(stage.prefix + "token", "WRITE")  # before the start it would have been refused
        stage.insert([*rows(100, 10), ("a", '{"n": "nowhere"}', "no_such_topic"), ("b", '{"n": "denied"}', "token"), *rows(100, 10, start=100)])
        assert poll(lambda: len(stage.messages("hold")) == 200, 20), "others do not pass"
        assert poll(lambda: persister.relay("dead_total") == 2, 60), persister.metrics()
        stage.await_settled()
        nowhere, denied = dead(stage)
        assert "nknown topic" in nowhere[2]
        assert "uthorization" in denied[2]
        assert (nowhere[1], denied[1]) == (4, 4)
        allow()
        stage.broker.create_topic(stage.prefix + "no_such_topic")
        assert stage.outbox_tool("requeue", "--all")[:2] == (0, "2 requeued\n")
        stage.await_settled()
        assert dead(stage) == []
        check_published(stage.outbox(), stage.messages("hold", "token", "no_such_topic"), stage.prefix)


@pytest.mark.parametrize("arguments, expected", [
    ([], "is missing"), (["list", "--pg", "x", "more"], "a UUID"), (["requeue"], "expected ids"), (["shown"], "not shown"),
    (["list", "--all"], "--all"), (["requeue", "--all", "0198f0c1-0000-7000-8000-000000000001"], "expected ids"),
    (["list", "--pg", "postgresql://u:secret@127.0.0.1/x"], "--pg: "),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_tool_usage(arguments, expected):
    code, _, err = run("outbox", *(arguments or ["list"]))
    assert code == 2
    assert expected in err
    assert "secret" not in err


def test_tool_help_and_failures(stage, postgres):
    code, out, _ = run("outbox", "--help")
    assert code == 0
    assert "requeue ID...|--all" in out
    code, _, err = run("outbox", "list", "--pg", "postgresql://postgres@127.0.0.1:1/x")
    assert (code, err.startswith("holdfast outbox: ")) == (1, True)
    code, _, err = run("outbox", "list", "--pg", postgres.uri("postgres"))
    assert code == 1
    assert "persist --migrate" in err


def config_file(tmp_path, text):
    path = tmp_path / "kafka.conf"
    path.write_text(text)
    os.chmod(path, 0o600)
    return str(path)


SASL = "security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\nsasl.username={}\nsasl.password={}\n"


def test_password_from_a_file(stage, tmp_path):
    good = config_file(tmp_path, SASL.format(Broker.USER, Broker.PASSWORD))
    stage.insert(rows(20, 5))
    with stage.persister("--persist.kafka_config", good, kafka=stage.broker.sasl) as persister:
        stage.await_settled()
        check_published(stage.outbox(), stage.messages(), stage.prefix)
    assert Broker.PASSWORD not in persister.log()
    wrong = config_file(tmp_path, SASL.format(Broker.USER, "not-the-secret"))
    log = stage.refused("--persist.kafka_config", wrong, kafka=stage.broker.sasl)
    assert "uthentication" in log
    assert "not-the-secret" not in log


def test_bad_settings_are_refused_at_the_start(stage, tmp_path):
    assert "'acks' is the relay's own" in stage.refused("--persist.kafka_config", config_file(tmp_path, "acks=0\n"))
    assert "knows no setting 'acs'" in stage.refused("--persist.kafka_config", config_file(tmp_path, "acs=all\n"))
    assert "cannot read '/no/such/file'" in stage.refused("--persist.kafka_config", "/no/such/file")
    assert "persist.kafka_prefix is 'a b'" in stage.refused("--persist.kafka_prefix", "a b")
    log = stage.refused("--persist.kafka_create_topics", "no")
    assert f"the topic {stage.prefix}hold cannot be used: " in log
    assert "Create it" in log
    stage.broker.create_topic(stage.prefix + "hold")
    allow = stage.broker.deny(stage.prefix + "hold", "DESCRIBE")
    log = stage.refused()
    allow()
    assert f"the topic {stage.prefix}hold cannot be used: " in log
    assert "rights to describe and write" in log
    stage.broker.create_topic(stage.prefix + "token")
    forget = stage.broker.rule(stage.prefix + "token", "DESCRIBE", "ALLOW")  # and nothing else
    log = stage.refused()
    assert f"the topic {stage.prefix}token cannot be written to: " in log, log
    assert "uthorization" in log
    assert "rights to describe and write" in log
    forget()
    with stage.persister():
        pass
    assert stage.messages() == [], "asking for the right has written something"
