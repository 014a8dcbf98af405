"""clients.py - the crowd: threads with real clients of both protocols, and what each of them knows.

    Client(number, ledger, connect)    one at a time over its own users' holds, so what must be true of a hold follows
                                       from this client's own commands and the time
    step(api)                          one command, its answer checked against what is known

A command that was sent and whose answer never came stands in `doubt`: it may have happened or not, until the audit has
looked. See also: ledger.py, audit.py.
"""
import random
import time

import httpx
import redis

from api import Http, Resp
from ledger import Doubt, Hold, Violation, effective, forgettable, now_ms
from wire import HttpAnswer, RespError

CLOCK_SLACK_MS = 20  # the server reads its clock once a tick


class RedisPyConnection:
    """redis-py's connection where api.py expects one of wire.py."""

    def __init__(self, address, timeout=30):
        self.connection = redis.connection.Connection(
            host=address[0], port=address[1], protocol=3, decode_responses=True, socket_timeout=timeout
        )
        self.connection.connect()

    def call(self, data):
        self.connection.send_packed_command([data])
        try:
            return self.connection.read_response()
        except redis.ResponseError as error:
            return RespError(str(error))

    def close(self):
        self.connection.disconnect()


class HttpxConnection:
    """httpx where api.py expects a connection of wire.py."""

    def __init__(self, address, timeout=30):
        self.client = httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=timeout, trust_env=False)

    def call(self, data):
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = [tuple(line.split(": ", 1)) for line in lines if not line.startswith(("Host:", "Content-Length:"))]
        answer = self.client.request(method, target, content=body or None, headers=headers)
        return HttpAnswer(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)

    def close(self):
        self.client.close()


def redis_py(server):
    api = Resp.__new__(Resp)
    api.connection, api.version = RedisPyConnection(server.resp), 3
    return api


def httpx_client(server):
    api = Http.__new__(Http)
    api.connection = HttpxConnection(server.http)
    return api


# In the order in which clients get them.
CONNECTORS = (Resp, Http, redis_py, Resp, Http, redis_py, Resp, httpx_client)
GONE = (OSError, redis.ConnectionError, redis.TimeoutError, httpx.TransportError)

# What a refusal may say, by command and by what the hold is at that moment; busy may come always.
UNITS = {"held", "sold", "heldout", "soldout", "noadjacent", "limit"}
REFUSALS = {
    "confirm": {"held": set(), "confirmed": set(), "released": {"released"}, "expired": {"expired"}, "cancelled": {"cancelled"}},
    "extend": {"held": {"noextend"}, "confirmed": {"confirmed"}, "released": {"released"}, "expired": {"expired"},
               "cancelled": {"cancelled"}},
    "release": {"held": set(), "confirmed": {"confirmed"}, "released": set(), "expired": {"expired"}, "cancelled": {"cancelled"}},
    "cancel": {"held": {"notconfirmed"}, "confirmed": set(), "released": {"released"}, "expired": {"expired"},
               "cancelled": set()},
}
SUCCEEDS = {
    "confirm": {"held", "confirmed"}, "extend": {"held"}, "release": {"held", "released"}, "cancel": {"confirmed", "cancelled"},
}


class Person:
    """One connection at a time, and one command; step() is the kind's own."""

    def __init__(self, number, seed):
        self.number = number
        self.random = random.Random(seed)
        self.doubt = None  # what was sent, and not answered
        self.answered = 0
        self.refused = 0
        self.connect = CONNECTORS[number % len(CONNECTORS)]

    def run(self, server):
        """Commands until the server is gone."""
        try:
            api = self.connect(server)
        except GONE:
            return
        try:
            while True:
                self.step(api)
        except GONE:
            pass
        finally:
            api.close()


class Client(Person):
    def __init__(self, number, ledger, seed):
        super().__init__(number, f"{seed}/{number}")
        self.ledger = ledger
        self.holds = {}  # id -> Hold, of this client's users
        self.keyed = []  # (moment, Doubt, what was answered, whether over HTTP)
        self.keys = 0

    # ---- under load

    def step(self, api):
        what = self.choose()
        if what is None:
            return
        if what.again is not None:
            moment, first, answer, over_http = what.again
            self.repeat(api, first, answer, over_http)
            return
        self.do(api, what)

    def do(self, api, what):
        what.sent_ms = now_ms()
        if what.sent is None:  # else it is repeated, and may have happened, with its versions, since it was first sent
            what.sent = time.monotonic()
        self.doubt = what
        answer = call(api, what)
        answered = time.monotonic()
        self.doubt = None
        self.answered += 1
        self.apply(what, answer, answered)
        if what.key is not None and answer.ok:
            self.keyed.append((answered, what, answer, api.protocol == "http"))
        return answer

    def repeat(self, api, what, first, over_http):
        """The same command with the same key: the first answer again, whatever has happened since."""
        answer = call(api, what)
        self.answered += 1
        if not answer.ok:
            if answer.code == "busy":
                return
            raise Violation(f"{what}: repeated with its key: {answer}; the first answer was {first}")
        if api.protocol == "http" and not answer.replayed:
            raise Violation(f"{what}: repeated with its key and not replayed: {answer}; the first answer was {first}")
        common = set(first.data) & set(answer.data) - {"deadline_in_ms"}
        if api.protocol == "http" and over_http and common != set(first.data) - {"deadline_in_ms"}:
            raise Violation(f"{what}: repeated with its key: {answer}; the first answer was {first}")
        for name in common:
            if first.data[name] != answer.data[name]:
                raise Violation(f"{what}: repeated with its key: {name} is {answer.data[name]}; the first answer was {first}")

    # ---- what to do next

    def choose(self):
        r = self.random
        event = r.choice(self.ledger.active)
        user = f"u{self.number}-{r.randrange(4)}"
        if self.keyed and r.random() < 0.03:
            return Doubt("repeat", again=self.keyed[-1 - r.randrange(min(len(self.keyed), 20))])
        key = self.fresh_key() if r.random() < 0.5 else None
        own = [hold for hold in self.recent() if hold.event is event]
        roll = r.random()
        if own and roll < 0.55:
            hold = r.choice(own)
            state = effective(hold, now_ms())
            kind = {"held": r.choice(["confirm", "confirm", "release", "extend", "replace"]),
                    "expired": r.choice(["confirm", "late", "late", "release"]),
                    "confirmed": r.choice(["cancel", "cancel", "confirm"]),
                    "released": r.choice(["release", "confirm"]), "cancelled": "cancel"}[state]
            if r.random() < 0.05:
                kind = r.choice(["confirm", "late", "release", "extend", "cancel"])
            if kind == "replace":
                return self.new_hold(event, hold.user, key, replaces=hold)
            return Doubt(kind, event=event, user=hold.user, hold=hold, key=key if kind != "cancel" else None,
                         seconds=r.choice([1, 2, 30]), ref=f"ref-{r.randrange(1000)}" if r.random() < 0.5 else None)
        return self.new_hold(event, user, key)

    def new_hold(self, event, user, key, replaces=None):
        r = self.random
        request = {}
        roll = r.random()
        if event.sections and roll < 0.75:
            if roll < 0.3:
                request["seats"] = [r.choice(event.seats)]
            elif roll < 0.5:
                request["seats"] = r.sample(event.seats, r.randrange(2, 6))
            else:
                request["best"] = (r.choice(event.sections)[0], r.randrange(1, 5))
        if event.pools and ("seats" not in request or r.random() < 0.2):
            if not request or r.random() < 0.3:
                request["pools"] = [(name, r.randrange(1, 4)) for name in r.sample(sorted(event.pools), 1)]
        if replaces is not None and replaces.seats and r.random() < 0.5:
            keep = r.choice(sorted(replaces.seats))
            request["seats"] = sorted({keep, *request.get("seats", ())})
        if not request:
            request["seats"] = [r.choice(event.seats)]
        request["ttl"] = r.choice([1, 1, 2, 3, 20, 60])
        return Doubt("hold", event=event, user=user, key=key, request=request, replaces=replaces)

    def fresh_key(self):
        self.keys += 1
        return f"key-{self.ledger.round}-{self.number}-{self.keys}"

    def recent(self):
        holds = list(self.holds.values())[-40:]
        return [hold for hold in holds if not hold.event.retired]

    # ---- what an answer means

    def apply(self, what, answer, answered):
        if what.kind == "hold":
            self.apply_hold(what, answer, answered)
        else:
            self.apply_end(what, answer, answered)

    def possible(self, what):
        """What the hold may have been when the server looked: sent at what.sent_ms, answered by now."""
        hold = what.hold if what.kind != "hold" else what.replaces
        return {effective(hold, what.sent_ms + CLOCK_SLACK_MS if hold.state == "held" else 0),
                effective(hold, what.sent_ms - CLOCK_SLACK_MS), effective(hold, now_ms() + CLOCK_SLACK_MS)}

    def apply_hold(self, what, answer, answered):
        old = what.replaces
        if not answer.ok:
            self.refused += 1
            allowed = UNITS | {"busy", "closed"}
            if old is not None:
                allowed |= self.possible(what) - {"held"}
                allowed |= {"nohold"} if forgettable(old) else set()
            if answer.code not in allowed:
                raise Violation(f"{what}: {answer}, expected a hold or one of {sorted(allowed)}")
            return
        known = self.holds.get(answer["hold"])
        if known is not None:  # one's own same hold
            if effective(known, what.sent_ms - CLOCK_SLACK_MS) != "held":
                raise Violation(f"{what}: gave {known}, which had ended")
            seats = {seat["seat"]: seat["version"] for seat in answer["seats"]}
            if seats != known.seats or answer["deadline_ms"] != known.deadline_ms:
                raise Violation(f"{what}: own hold {known} has changed: {answer}")
            return
        if old is not None:
            if "held" not in self.possible(what):
                raise Violation(f"{what}: replaced {old}, which had ended: {answer}")
            old.end("released")
        hold = Hold(answer["hold"], what.user, what.event, answer["deadline_ms"])
        hold.seats = {seat["seat"]: seat["version"] for seat in answer["seats"]}
        hold.pools = dict(what.request.get("pools", ()))
        wanted = len(what.request.get("seats", ())) + (what.request["best"][1] if "best" in what.request else 0)
        if len(hold.seats) != wanted or not set(what.request.get("seats", ())) <= set(hold.seats):
            raise Violation(f"{what}: asked for {wanted} seats: {answer}")
        self.holds[hold.id] = hold
        for seat, version in hold.seats.items():
            self.ledger.version_seen(what.event, seat, version, what.sent, answered, hold)

    def apply_end(self, what, answer, answered):
        hold, kind = what.hold, "confirm" if what.kind == "late" else what.kind
        possible = self.possible(what)
        if not answer.ok:
            self.refused += 1
            allowed = {"busy"}.union(*(REFUSALS[kind][state] for state in possible))
            if what.kind == "late" and "expired" in possible:
                allowed |= {"expired", "limit", "closed"}
            if forgettable(hold):
                allowed |= {"nohold"}
            if answer.code not in allowed:
                raise Violation(f"{what}: {answer}, expected success or one of {sorted(allowed)}; known: {hold}")
            if answer.code == "expired":
                if hold.state == "held" and now_ms() + CLOCK_SLACK_MS < hold.deadline_ms:
                    raise Violation(f"{what}: ended before its deadline: {answer}; known: {hold}")
                hold.end("expired")
            return
        if what.kind == "late" and "expired" in possible:
            self.late(what, answer, answered)
            return
        if not possible & SUCCEEDS[kind]:
            raise Violation(f"{what}: {answer}, though it was {sorted(possible)}; known: {hold}")
        if kind == "extend":
            if answer["deadline_ms"] < hold.deadline_ms:
                raise Violation(f"{what}: deadline before {hold.deadline_ms}: {answer}")
            hold.deadline_ms = answer["deadline_ms"]
        elif kind == "confirm" and hold.state != "confirmed":
            hold.confirm({seat: version + 1 for seat, version in hold.seats.items()})
            for seat, version in hold.seats.items():
                self.ledger.version_seen(hold.event, seat, version, what.sent, answered, hold)
        elif kind == "release":
            hold.end("released")
        elif kind == "cancel":
            hold.end("cancelled")
        self.same(what, answer)

    def late(self, what, answer, answered):
        """Confirmed; whether it was late or in time is not certain, so the versions are taken from a look at it."""
        hold = what.hold
        hold.confirm(None)
        hold.confirmed_at = (what.sent, answered)
        if "seats" in answer.data:
            self.take_versions(hold, answer)
        self.same(what, answer)

    def take_versions(self, hold, answer):
        seats = {seat["seat"]: seat["version"] for seat in answer["seats"]}
        for seat, version in seats.items():
            if version <= hold.seats[seat]:
                raise Violation(f"{hold}: confirmed, and {seat} is still at version {version}")
            self.ledger.version_seen(hold.event, seat, version, *hold.confirmed_at, hold)
        hold.seats, hold.versions_known = seats, True

    def same(self, what, answer):
        """Over HTTP the answer is the whole hold."""
        if "state" not in answer.data:
            return
        hold = what.hold
        if not hold.versions_known:
            self.take_versions(hold, answer)
        if answer["state"] != hold.state or {s["seat"]: s["version"] for s in answer["seats"]} != hold.seats:
            raise Violation(f"{what}: {answer}; known: {hold}")


def call(api, what):
    hold = what.hold.id if what.hold is not None else None
    if what.kind == "hold":
        request = dict(what.request)
        if what.replaces is not None:
            request["replaces"] = what.replaces.id
        return api.hold(what.event.id, what.user, key=what.key, **request)
    if what.kind in ("confirm", "late"):
        return api.confirm(hold, what.user, ref=what.ref, late=what.kind == "late", key=what.key)
    if what.kind == "extend":
        return api.extend(hold, what.user, what.seconds, key=what.key)
    if what.kind == "release":
        return api.release(hold, what.user, key=what.key)
    return api.cancel(hold)
