"""api.py - the interface of Holdfast over either protocol, with one form of answer.

    Resp(server), Http(server)      the same methods; each returns an Answer

An Answer is `ok` with data, or a refusal: its `code` (small letters in both protocols) and its figures. What
both protocols must keep in every single answer is checked here, so each test checks it again: an HTTP error
is problem+json whose status is the one the outcome table gives its code; in both the figures are those
of the table, none missing and none too many.
"""
import datetime
import re

from wire import Connection, HttpReader, Push, RespError, RespReader, http_request, resp_request

# Outcome table: code -> (HTTP statuses, figures that must be there, figures that may be there)
OUTCOMES = {
    "held": ((409,), {"unit", "remaining", "next_deadline_in_ms"}, {"own"}),
    "sold": ((409,), {"unit", "remaining"}, set()),
    "heldout": ((409,), {"unit", "remaining", "next_deadline_in_ms"}, set()),
    "soldout": ((409,), {"unit", "remaining"}, set()),
    "noadjacent": ((409,), {"unit", "largest_run"}, set()),
    "limit": ((409,), {"limit", "used"}, set()),
    "expired": ((410,), set(), {"unit"}),
    "nohold": ((404,), set(), set()),
    "released": ((409,), set(), set()),
    "confirmed": ((409,), set(), set()),
    "cancelled": ((409,), set(), set()),
    "notconfirmed": ((409,), set(), set()),
    "noextend": ((409,), {"deadline_max_in_ms"}, set()),
    "closed": ((409,), set(), {"opens_in_ms"}),
    "keyreused": ((422,), set(), set()),
    "noevent": ((404,), {"unit"}, set()),
    "notoken": ((404,), {"unit"}, set()),
    "notadmitted": ((403,), set(), set()),
    "noseat": ((404,), {"unit"}, set()),
    "nopool": ((404,), {"unit"}, set()),
    "exists": ((409,), set(), set()),
    "badrequest": ((400,), set(), {"field"}),
    "busy": ((503,), set(), set()),
    "notfound": ((404,), set(), set()),
    "method": ((405,), set(), set()),
    "toolarge": ((413, 414, 431), set(), set()),
    "noauth": ((401, 403), set(), set()),
    "ratelimit": ((429,), set(), set()),
    "mediatype": ((415,), set(), set()),
}
HTTP_ONLY = {"notfound", "method", "toolarge", "mediatype"}
UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


def ms_of(text):
    """Milliseconds since 1970 of a time in an answer: RFC 3339, UTC, milliseconds."""
    assert RFC3339.match(text), f"time {text!r}: expected RFC 3339 in UTC with milliseconds"
    moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    return round((moment - datetime.datetime(1970, 1, 1)).total_seconds() * 1000)


def text_of(ms):
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


class Answer:
    def __init__(self, code, data=None, figures=None, status=None, replayed=None, text=""):
        self.code = code
        self.data = data
        self.figures = figures or {}
        self.status = status  # HTTP's
        self.replayed = replayed  # HTTP's header
        self.text = text

    @property
    def ok(self):
        return self.code == "ok"

    def __getitem__(self, name):
        assert self.ok, f"expected a success, got {self}"
        return self.data[name]

    def __repr__(self):
        return f"<{self.code} {self.data if self.ok else self.figures} {self.status or ''} {self.text!r}>"


def check_refusal(answer, status=None):
    assert answer.code in OUTCOMES, f"{answer}: not a code of the outcome table"
    statuses, must, may = OUTCOMES[answer.code]
    names = set(answer.figures)
    assert must <= names, f"{answer}: figures {sorted(must - names)} are missing"
    assert names <= must | may, f"{answer}: figures {sorted(names - must - may)} do not belong here"
    for name, value in answer.figures.items():
        wanted = str if name in ("unit", "own", "field") else int
        assert isinstance(value, wanted), f"{answer}: {name} is not {wanted.__name__}"
        assert wanted is str or value >= 0, f"{answer}: {name} is negative"
    if status is not None:
        assert status in statuses, f"{answer}: the table gives {statuses}"
    return answer


def resp_refusal(error):
    figures = {}
    for name, value in re.findall(r" ([a-z_]+)=(\S+)", error.line):
        figures[name] = int(value) if name not in ("unit", "own", "field") and value.isdigit() else value
    answer = Answer(error.word.lower(), figures=figures, text=error.line)
    assert error.word.isupper(), f"{error.line}: the first word is a code in capitals"
    if error.word == "ERR":
        return answer
    assert answer.code not in HTTP_ONLY, f"{error.line}: a code of HTTP only"
    return check_refusal(answer)


def http_refusal(answer):
    assert answer.headers.get("content-type", "").split(";")[0] == "application/problem+json", answer
    body = answer.json()
    for name, kind in (("type", str), ("title", str), ("status", int), ("detail", str), ("code", str)):
        assert isinstance(body.get(name), kind), f"{answer}: {name}"
    assert body["status"] == answer.status, answer
    figures = {k: v for k, v in body.items() if k not in ("type", "title", "status", "detail", "code")}
    if body["code"] == "busy":
        assert answer.headers["retry-after"].isdigit(), answer
    if body["code"] == "noauth" and answer.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer", answer
    if body["code"] == "ratelimit":
        wait = answer.headers["retry-after"]
        policy, name, rate = re.fullmatch(r'("(\w+)");q=(\d+);w=1', answer.headers["ratelimit-policy"]).groups()
        assert wait.isdigit() and int(wait) >= 1 and int(rate) >= 1 and name in ("user", "address"), answer
        assert answer.headers["ratelimit"] == f"{policy};r=0;t={wait}", answer
    if body["code"] == "method":
        assert answer.headers["allow"], answer
    return check_refusal(Answer(body["code"], figures=figures, status=answer.status, text=body["detail"]), answer.status)


def hold_of_http(body):
    """A hold object in the one form the tests use: as over RESP, with deadline_ms."""
    assert set(body) == {"hold", "event", "user", "state", "seats", "pools", "deadline", "deadline_in_ms"}, body
    hold = dict(body)
    hold["deadline_ms"] = ms_of(hold.pop("deadline"))
    return check_hold(hold)


def check_hold(hold):
    assert set(hold) == {"hold", "event", "user", "state", "seats", "pools", "deadline_ms", "deadline_in_ms"}, hold
    assert UUID7.match(hold["hold"]), hold
    assert hold["state"] in ("held", "confirmed", "released", "expired", "cancelled"), hold
    assert hold["deadline_in_ms"] >= 0, hold
    for seat in hold["seats"]:
        assert set(seat) == {"seat", "version"} and seat["version"] >= 1, hold
    for pool in hold["pools"]:
        assert set(pool) == {"name", "quantity"} and pool["quantity"] >= 1, hold
    return hold


def check_counts(counts, where):
    assert set(counts) == {"capacity", "free", "held", "sold"}, f"{where}: {counts}"
    assert min(counts.values()) >= 0, f"{where}: {counts}"
    assert counts["capacity"] == counts["free"] + counts["held"] + counts["sold"], f"{where}: {counts}"


def check_event(event):
    required = {"id", "status", "sections", "pools", "hold_seconds", "hold_seconds_max", "units_per_user_max", "counts"}
    assert required <= set(event) <= required | {"opens_at", "opens_at_ms", "opens_in_ms", "queue", "lottery_commitment", "lottery_seed"}, event
    if "queue" in event:
        assert set(event["queue"]) == {"active_max", "active_seconds", "grace_seconds", "lottery"}, event
    assert ("lottery_commitment" in event) == ("queue" in event and bool(event["queue"]["lottery"])), event
    for name in ("lottery_commitment", "lottery_seed"):
        assert re.fullmatch("[0-9a-f]{64}", event.get(name, "0" * 64)), event
    parts = event["sections"] + event["pools"]
    for part in parts:
        check_counts(part["counts"], part["name"])
    check_counts(event["counts"], event["id"])
    for name in ("capacity", "free", "held", "sold"):
        assert event["counts"][name] == sum(part["counts"][name] for part in parts), f"{name} does not add up: {event}"
    return event


TOKEN_STATES = ("waiting", "active", "done", "left", "expired")


def check_token(token):
    """What both protocols tell of a token; passes and deadlines are for active ones, positions for waiting ones."""
    assert UUID7.match(token["token"]), token
    assert token["state"] in TOKEN_STATES, token
    assert token["position"] is None or (token["state"] == "waiting" and token["position"] >= 1), token
    assert (token["deadline_ms"] is not None) == (token["state"] == "active"), token
    assert (token["pass"] is not None) == (token["state"] == "active"), token
    return token


def token_of_resp(value):
    return check_token(dict(zip(("token", "state", "position", "pass", "deadline_ms"), value, strict=True)))


TOKEN_MEMBERS = {"token", "event", "user", "state", "position", "ahead", "eta_in_ms", "poll_in_ms", "chance", "deadline", "deadline_in_ms", "pass"}


def token_of_http(body):
    assert set(body) == TOKEN_MEMBERS, body
    token = dict(body)
    deadline = token.pop("deadline")
    token["deadline_ms"] = ms_of(deadline) if deadline is not None else None
    waiting = token["state"] == "waiting"
    assert token["ahead"] == (token["position"] - 1 if token["position"] else None), body
    assert (token["deadline_in_ms"] is None) == (deadline is None), body
    for name in ("eta_in_ms", "poll_in_ms"):
        assert (token[name] is not None and token[name] >= 0) if waiting else token[name] is None, body
    assert token["chance"] in (("likely", "none") if waiting else (None,)), body
    return check_token(token)


class Resp:
    protocol = "resp"

    def __init__(self, server, version=3, timeout=30):
        self.connection = Connection(server.resp, RespReader(), timeout)
        self.version = version
        if version == 3:
            hello = self.connection.call(resp_request("HELLO", "3"))
            assert hello["proto"] == 3, hello

    def close(self):
        self.connection.close()

    def command(self, *arguments):
        return self.connection.call(resp_request(*arguments))

    def _answer(self, request, form=lambda value: value):
        value = self.connection.call(request)
        if isinstance(value, RespError):
            return resp_refusal(value)
        return Answer("ok", form(value))

    # Bytes of each request and the form of its answer, also for those who drive sockets themselves.

    @staticmethod
    def hold_request(event, user, seats=(), pools=(), best=None, ttl=None, replaces=None, key=None, shown=None):
        words = ["HOLD", event, user]
        for seat in seats:
            words += ["SEAT", seat]
        for name, quantity in pools:
            words += ["POOL", name, quantity]
        if best is not None:
            words += ["BEST", *best]
        if ttl is not None:
            words += ["TTL", ttl]
        if replaces is not None:
            words += ["REPLACE", replaces]
        if shown is not None:
            words += ["PASS", shown]
        if key is not None:
            words += ["KEY", key]
        return resp_request(*words)

    @staticmethod
    def hold_form(value):
        hold, deadline_ms, *rest = value
        assert UUID7.match(hold) and isinstance(deadline_ms, int) and len(rest) % 2 == 0, value
        seats = [{"seat": rest[i], "version": rest[i + 1]} for i in range(0, len(rest), 2)]
        return {"hold": hold, "deadline_ms": deadline_ms, "seats": seats}

    @staticmethod
    def ok_form(value):
        assert value == "OK", value
        return {}

    @staticmethod
    def confirm_request(hold, user, ref=None, late=False, key=None):
        words = ["CONFIRM", hold, user]
        words += ["REF", ref] if ref is not None else []
        words += ["LATE"] if late else []
        words += ["KEY", key] if key is not None else []
        return resp_request(*words)

    @staticmethod
    def release_request(hold, user, key=None):
        return resp_request("RELEASE", hold, user, *(["KEY", key] if key is not None else []))

    @staticmethod
    def cancel_request(hold):
        return resp_request("CANCEL", hold)

    @staticmethod
    def get_request(hold):
        return resp_request("GETHOLD", hold)

    @staticmethod
    def event_request(event):
        return resp_request("EVENT", "GET", event)

    @staticmethod
    def seats_request(event, section):
        return resp_request("SEATS", event, section)

    @staticmethod
    def seats_form(value):
        return {value[i]: value[i + 1] for i in range(0, len(value), 2)}

    @staticmethod
    def read(value, form):
        """An answer from a reader of one's own."""
        return resp_refusal(value) if isinstance(value, RespError) else Answer("ok", form(value))

    def hold(self, event, user, **what):
        return self._answer(self.hold_request(event, user, **what), self.hold_form)

    def confirm(self, hold, user, **what):
        return self._answer(self.confirm_request(hold, user, **what), self.ok_form)

    @staticmethod
    def extend_request(hold, user, seconds, key=None):
        return resp_request("EXTEND", hold, user, seconds, *(["KEY", key] if key is not None else []))

    @staticmethod
    def extend_form(value):
        assert isinstance(value, int), value
        return {"deadline_ms": value}

    def extend(self, hold, user, seconds, key=None):
        return self._answer(self.extend_request(hold, user, seconds, key), self.extend_form)

    def release(self, hold, user, key=None):
        return self._answer(self.release_request(hold, user, key), self.ok_form)

    def cancel(self, hold):
        return self._answer(self.cancel_request(hold), self.ok_form)

    def get(self, hold):
        return self._answer(self.get_request(hold), check_hold)

    def holds(self, event, user):
        return self._answer(resp_request("HOLDS", event, user), lambda value: [check_hold(hold) for hold in value])

    def event(self, event):
        return self._answer(self.event_request(event), check_event)

    event_form = staticmethod(check_event)
    get_form = staticmethod(check_hold)

    def events(self):
        return self._answer(resp_request("EVENT", "LIST"), lambda value: [check_event(event) for event in value])

    def seats(self, event, section):
        return self._answer(self.seats_request(event, section), self.seats_form)

    def join(self, event, user):
        return self._answer(resp_request("QUEUE", "JOIN", event, user), token_of_resp)

    def token(self, token):
        return self._answer(resp_request("QUEUE", "GET", token), token_of_resp)

    def leave(self, token):
        return self._answer(resp_request("QUEUE", "LEAVE", token), token_of_resp)

    def watch(self, token, word="WATCH"):
        return self._answer(resp_request("QUEUE", word, token), token_of_resp)

    def push(self):
        """The next push message."""
        value = self.connection.receive()
        assert isinstance(value, Push) and value[0] == "queue", value
        return token_of_resp(value[1:])

    def create(self, event, sections=(), pools=(), hold_seconds=None, hold_seconds_max=None, limit=None, opens_at_ms=None, queue=None):
        words = ["EVENT", "CREATE", event]
        for name, rows, seats in sections:
            if isinstance(rows, int):
                words += ["SECTION", name, rows, seats]
            else:
                for row, count in zip(rows, seats):
                    words += ["ROW", name, row, count]
        for name, capacity in pools:
            words += ["POOL", name, capacity]
        for word, value in (("HOLD", hold_seconds), ("HOLDMAX", hold_seconds_max), ("LIMIT", limit), ("OPENS", opens_at_ms)):
            if value is not None:
                words += [word, value]
        if queue is not None:
            words += ["QUEUE", *queue[:3]] + (["LOTTERY"] if queue[3:] == (True,) else [])
        return self._answer(resp_request(*words), self.ok_form)

    def change(self, event, status=None, hold_seconds=None, limit=None, pools=(), active_max=None):
        words = ["EVENT", "SET", event]
        for word, value in (("status", status), ("hold_seconds", hold_seconds), ("units_per_user_max", limit), ("queue.active_max", active_max)):
            if value is not None:
                words += [word, value]
        for name, capacity in pools:
            words += [f"pool.{name}.capacity", capacity]
        return self._answer(resp_request(*words), self.ok_form)


class Http:
    protocol = "http"

    def __init__(self, server, timeout=30):
        self.connection = Connection(server.http, HttpReader(), timeout)

    def close(self):
        self.connection.close()

    def request(self, method, target, body=None, headers=()):
        return self.connection.call(http_request(method, target, body, headers))

    def _answer(self, request, form):
        return self.read(self.connection.call(request), form)

    @staticmethod
    def read(answer, form):
        """An answer from a reader of one's own."""
        if answer.status >= 400:
            return http_refusal(answer)
        assert answer.headers.get("content-type", "").split(";")[0] == "application/json", answer
        replayed = answer.headers.get("idempotent-replayed")
        assert replayed in (None, "true"), answer
        return Answer("ok", form(answer.json()), status=answer.status, replayed=replayed == "true")

    @staticmethod
    def _key(key):
        return [("Idempotency-Key", key)] if key is not None else []

    @staticmethod
    def hold_request(event, user, seats=(), pools=(), best=None, ttl=None, replaces=None, key=None, shown=None):
        body = {"user": user}
        if seats:
            body["seats"] = list(seats)
        if pools:
            body["pools"] = [{"name": name, "quantity": quantity} for name, quantity in pools]
        if best is not None:
            body["best"] = {"section": best[0], "quantity": best[1]}
        if ttl is not None:
            body["hold_seconds"] = ttl
        if replaces is not None:
            body["replaces"] = replaces
        if shown is not None:
            body["pass"] = shown
        return http_request("POST", f"/v1/events/{event}/holds", body, Http._key(key))

    hold_form = staticmethod(hold_of_http)
    extend_form = staticmethod(hold_of_http)
    ok_form = staticmethod(hold_of_http)
    get_form = staticmethod(hold_of_http)

    @staticmethod
    def confirm_request(hold, user, ref=None, late=False, key=None):
        body = {"user": user}
        if ref is not None:
            body["payment_ref"] = ref
        if late:
            body["late"] = True
        return http_request("POST", f"/v1/holds/{hold}/confirm", body, Http._key(key))

    @staticmethod
    def release_request(hold, user, key=None):
        return http_request("DELETE", f"/v1/holds/{hold}?user={user}", None, Http._key(key))

    @staticmethod
    def cancel_request(hold):
        return http_request("POST", f"/v1/holds/{hold}/cancel", {})

    @staticmethod
    def get_request(hold):
        return http_request("GET", f"/v1/holds/{hold}")

    @staticmethod
    def event_request(event):
        return http_request("GET", f"/v1/events/{event}")

    @staticmethod
    def event_form(body):
        assert "opens_at_ms" not in body, body
        return check_event(body)

    @staticmethod
    def seats_request(event, section):
        return http_request("GET", f"/v1/events/{event}/seats?section={section}")

    @staticmethod
    def seats_form(body):
        assert set(body) == {"section", "rows"}, body
        return {row["row"]: row["seats"] for row in body["rows"]}

    def hold(self, event, user, **what):
        return self._answer(self.hold_request(event, user, **what), self.hold_form)

    def confirm(self, hold, user, **what):
        return self._answer(self.confirm_request(hold, user, **what), self.ok_form)

    @staticmethod
    def extend_request(hold, user, seconds, key=None):
        return http_request("POST", f"/v1/holds/{hold}/extend", {"user": user, "seconds": seconds}, Http._key(key))

    def extend(self, hold, user, seconds, key=None):
        return self._answer(self.extend_request(hold, user, seconds, key), self.ok_form)

    def release(self, hold, user, key=None):
        return self._answer(self.release_request(hold, user, key), self.ok_form)

    def cancel(self, hold):
        return self._answer(self.cancel_request(hold), self.ok_form)

    def get(self, hold):
        return self._answer(self.get_request(hold), self.get_form)

    def holds(self, event, user):
        def form(body):
            assert set(body) == {"event", "user", "holds", "used", "token"}, body
            assert body["token"] is None or UUID7.match(body["token"]), body
            assert (body["event"], body["user"]) == (event, user), body
            units = sum(len(h["seats"]) + sum(p["quantity"] for p in h["pools"]) for h in body["holds"])
            assert body["used"] == units, body
            return [hold_of_http(hold) for hold in body["holds"]]

        return self._answer(http_request("GET", f"/v1/events/{event}/users/{user}"), form)

    def join(self, event, user):
        return self._answer(http_request("POST", f"/v1/events/{event}/queue", {"user": user}), token_of_http)

    def token(self, token, wait_ms=None):
        query = f"?wait_ms={wait_ms}" if wait_ms is not None else ""
        return self._answer(http_request("GET", f"/v1/queue/{token}{query}"), token_of_http)

    def leave(self, token):
        return self._answer(http_request("DELETE", f"/v1/queue/{token}"), token_of_http)

    def event(self, event):
        return self._answer(self.event_request(event), self.event_form)

    def events(self):
        return self._answer(http_request("GET", "/v1/events"), lambda body: [self.event_form(e) for e in body["events"]])

    def seats(self, event, section):
        return self._answer(self.seats_request(event, section), self.seats_form)

    @staticmethod
    def create_body(event, sections=(), pools=(), hold_seconds=None, hold_seconds_max=None, limit=None, opens_at_ms=None, queue=None):
        body = {"id": event}
        if sections:
            body["sections"] = [
                {"name": name, "rows": rows, "seats_per_row": seats} if isinstance(rows, int)
                else {"name": name, "rows": [{"name": row, "seats": count} for row, count in zip(rows, seats)]}
                for name, rows, seats in sections
            ]
        if pools:
            body["pools"] = [{"name": name, "capacity": capacity} for name, capacity in pools]
        for name, value in (("hold_seconds", hold_seconds), ("hold_seconds_max", hold_seconds_max), ("units_per_user_max", limit)):
            if value is not None:
                body[name] = value
        if opens_at_ms is not None:
            body["opens_at"] = text_of(opens_at_ms)
        if queue is not None:
            body["queue"] = dict(zip(("active_max", "active_seconds", "grace_seconds", "lottery"), queue))
        return body

    def create(self, event, **what):
        return self._answer(http_request("POST", "/v1/events", self.create_body(event, **what)), self.event_form)

    def change(self, event, status=None, hold_seconds=None, limit=None, pools=(), active_max=None):
        body = {} if active_max is None else {"queue": {"active_max": active_max}}
        for name, value in (("status", status), ("hold_seconds", hold_seconds), ("units_per_user_max", limit)):
            if value is not None:
                body[name] = value
        if pools:
            body["pools"] = [{"name": name, "capacity": capacity} for name, capacity in pools]
        return self._answer(http_request("PATCH", f"/v1/events/{event}", body), self.event_form)


def metric(http, name):
    """A figure of /metrics, summed over its labels."""
    text = http.request("GET", "/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(name + r"[{ ]", line))
