"""test_openapi.py - docs/openapi.yaml against the running server by a schema-driven tester: no undocumented status, no answer that
its schema does not allow, no 5xx.

schemathesis makes requests from the description alone, valid ones and broken ones. So that it also gets beyond "unknown
event", the values of ids come from what exists: an event, its seats and pools, holds in every state; they
are handed to it by hooks, for some of the cases.
"""
import os
import pathlib
import random

import hypothesis
import pytest
import schemathesis
import yaml
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api import Http, Resp
from server import ROOT, Server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
EXAMPLES = int(os.environ.get("HOLDFAST_EXAMPLES", "60"))
DESCRIPTION = ROOT / "docs" / "openapi.yaml"
SEEN = {}  # operation -> statuses answered
schema = schemathesis.openapi.from_path(str(DESCRIPTION))


@pytest.fixture(scope="module")
def known():
    """A server with something on it, and the names of that."""
    with Server(shards=2) as server:
        resp = Resp(server)
        resp.create("concert", sections=[("A", 20, 30), ("BOX", ["L1", "L2"], [6, 8])], pools=[("ga", 100000)], limit=10**9, opens_at_ms=1_700_000_000_000)
        holds = []
        for n in range(200):
            hold = resp.hold("concert", "u1", seats=[f"A/{1 + n // 30}/{1 + n % 30}"], pools=[("ga", 1)], ttl=[1, 300][n % 2])["hold"]
            holds.append(hold)
            if n % 5 == 0:
                resp.release(hold, "u1")
            if n % 5 == 1:
                resp.confirm(hold, "u1")
            if n % 25 == 1:
                resp.cancel(hold)
        # a waiting room with places in every state, and one that has not opened
        resp.create("room", pools=[("ga", 1000)], queue=(50, 3600, 3600, True))
        resp.create("later", pools=[("ga", 1000)], queue=(5, 300, 60, True), opens_at_ms=4_000_000_000_000)
        tokens = [resp.join("room", f"u{n}")["token"] for n in range(100)]
        resp.leave(tokens[3]), resp.leave(tokens[99])
        hold = resp.hold("room", "u0", pools=[("ga", 1)])["hold"]
        resp.confirm(hold, "u0")
        tokens += [resp.join("later", f"u{n}")["token"] for n in range(5)]
        yield server, holds, tokens
        assert resp.command("PING") == "PONG"
        counts = resp.event("concert")["counts"]
        assert counts["capacity"] == counts["free"] + counts["held"] + counts["sold"]
        resp.close()


def test_the_description_is_what_the_server_gives(known):
    http = Http(known[0])
    answer = http.request("GET", "/openapi.yaml")
    assert answer.body == pathlib.Path(DESCRIPTION).read_bytes()
    description = yaml.safe_load(answer.body)
    assert description["openapi"].startswith("3.1")
    promised = {
        "/v1/events": {"get", "post"}, "/v1/events/{event}": {"get", "patch"}, "/v1/events/{event}/seats": {"get"},
        "/v1/events/{event}/holds": {"post"}, "/v1/holds/{hold}": {"get", "delete"}, "/v1/holds/{hold}/confirm": {"post"},
        "/v1/holds/{hold}/extend": {"post"}, "/v1/holds/{hold}/cancel": {"post"}, "/v1/events/{event}/users/{user}": {"get"},
        "/v1/events/{event}/queue": {"post"}, "/v1/queue/{token}": {"get", "delete"},
        "/healthz": {"get"}, "/readyz": {"get"}, "/metrics": {"get"}, "/openapi.yaml": {"get"},
    }
    for path, methods in promised.items():
        assert methods <= set(description["paths"][path]), path
    http.close()


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_operation(case, known):
    server, holds, tokens = known
    dice = random.Random(repr((case.path_parameters, case.body)))
    if dice.random() < 0.7:  # beyond "unknown": names that exist
        parameters = dict(case.path_parameters or {})
        for name, values in (("event", ["concert", "concert", "room"]), ("hold", holds), ("user", ["u1"]), ("token", tokens)):
            if name in parameters:
                parameters[name] = dice.choice(values)
        if case.path.endswith("/queue"):
            parameters["event"] = dice.choice(["room", "later", "concert"])
        case.path_parameters = parameters
        wait_ms = case.query.get("wait_ms") if isinstance(case.query, dict) else None
        if wait_ms is not None and (dice.random() < 0.8 or waits_long(wait_ms)):
            case.query = {**case.query, "wait_ms": dice.choice([0, 1, 20])}
        if isinstance(case.body, dict) and "user" in case.body and dice.random() < 0.8:
            case.body = {**case.body, "user": "u1"}
        if isinstance(case.query, dict) and "user" in case.query and dice.random() < 0.8:
            case.query = {**case.query, "user": "u1"}
        if isinstance(case.query, dict) and "section" in case.query and dice.random() < 0.8:
            case.query = {**case.query, "section": "A"}
        if case.path.endswith("/holds") and isinstance(case.body, dict):
            body = dict(case.body)
            if dice.random() < 0.8:
                body.pop("replaces", None)
                body.pop("hold_seconds", None)
            if isinstance(body.get("seats"), list):
                body["seats"] = [f"A/{dice.randrange(1, 21)}/{dice.randrange(1, 31)}" for _ in body["seats"][:3]]
            if isinstance(body.get("pools"), list):
                body["pools"] = [{"name": "ga", "quantity": dice.randrange(1, 5)} for _ in body["pools"][:1]]
            if isinstance(body.get("best"), dict):
                body["best"] = {"section": dice.choice(["A", "BOX"]), "quantity": dice.randrange(1, 9)}
            if dice.random() < 0.5:  # what can succeed
                body = {"user": f"u{dice.randrange(9)}"}
                body.update(dice.choice([{"pools": [{"name": "ga", "quantity": 1}]}, {"best": {"section": "A", "quantity": 2}}]))
            case.body = body
        if case.method == "POST" and case.path.endswith("/events") and isinstance(case.body, dict) and dice.random() < 0.5:
            body = {name: case.body[name] for name in ("sections", "opens_at", "units_per_user_max", "queue") if name in case.body and dice.random() < 0.3}
            case.body = {"id": f"made-{dice.randrange(20)}", "pools": [{"name": "p", "capacity": dice.randrange(1, 3)}], **body}
    if case.method == "PATCH" and isinstance(case.body, dict) and case.body.get("status") == "closed":
        case.body = {**case.body, "status": "paused"}  # final: the rest would only see `closed`
    ask(case, server)


def test_each_operation_at_work(known):
    """What the dice above may miss: each operation by a request that must do its work, and the main one's refusals."""
    server = known[0]
    here, room = {"event": "at-work"}, {"event": "at-work-room"}  # of its own: nobody has changed them
    unit = {"user": "u9", "pools": [{"name": "ga", "quantity": 1}]}
    pools = [{"name": "ga", "capacity": 10}]
    must(server, "GET", "/v1/events", 200)
    must(server, "POST", "/v1/events", 201, body={"id": "at-work", "sections": [{"name": "A", "rows": 2, "seats_per_row": 3}], "pools": pools})
    queue = {"active_max": 1, "active_seconds": 300, "grace_seconds": 60, "lottery": False}
    must(server, "POST", "/v1/events", 201, body={"id": "at-work-room", "pools": pools, "queue": queue})
    must(server, "GET", "/v1/events/{event}", 200, here)
    must(server, "PATCH", "/v1/events/{event}", 200, here, body={"status": "open"})
    must(server, "GET", "/v1/events/{event}/seats", 200, here, query={"section": "A"})
    must(server, "POST", "/v1/events/{event}/holds", 400, here, body={"user": "u9"})
    must(server, "POST", "/v1/events/{event}/holds", 404, {"event": "nowhere"}, body=unit)
    must(server, "POST", "/v1/events/{event}/holds", 409, here, body={"user": "u9", "pools": [{"name": "ga", "quantity": 11}]})
    must(server, "GET", "/v1/events/{event}/users/{user}", 200, {**here, "user": "u9"})
    holds = [{"hold": must(server, "POST", "/v1/events/{event}/holds", 201, here, body=unit)["hold"]} for _ in range(2)]
    must(server, "GET", "/v1/holds/{hold}", 200, holds[0])
    must(server, "POST", "/v1/holds/{hold}/extend", 200, holds[0], body={"user": "u9", "seconds": 60})
    must(server, "DELETE", "/v1/holds/{hold}", 200, holds[0], query={"user": "u9"})
    must(server, "POST", "/v1/holds/{hold}/confirm", 200, holds[1], body={"user": "u9", "payment_ref": "p1"})
    must(server, "POST", "/v1/holds/{hold}/cancel", 200, holds[1], body={})
    token = {"token": must(server, "POST", "/v1/events/{event}/queue", 201, room, body={"user": "u9"})["token"]}
    must(server, "GET", "/v1/queue/{token}", 200, token)
    must(server, "DELETE", "/v1/queue/{token}", 200, token)
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.yaml"):
        must(server, "GET", path, 200)


def must(server, method, path, status, parameters=None, query=None, body=None):
    """The operation with these values; its answer, which has this status."""
    more = {} if body is None else {"body": body, "media_type": "application/json"}
    case = schema[path][method].Case(path_parameters=parameters or {}, query=query or {}, **more)
    answer = ask(case, server)
    assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
    return answer.json() if "json" in answer.headers["content-type"][0] else None


def waits_long(wait_ms):
    """True of what the server takes and waits for, number or its digits: it outlasts the tester's patience."""
    return str(wait_ms).isdecimal() and 20 < int(wait_ms) <= 30000


def ask(case, server):
    answer = case.call_and_validate(base_url=f"http://127.0.0.1:{server.http[1]}", checks=CHECKS)
    SEEN.setdefault(case.operation.label, set()).add(answer.status_code)
    return answer


def test_every_operation_was_seen(known):
    operations = {operation.ok().label for operation in schema.get_all_operations()}
    assert set(SEEN) == operations
    for label, statuses in SEEN.items():
        assert any(status < 300 for status in statuses), f"{label}: {statuses}"
        assert max(statuses) < 500
