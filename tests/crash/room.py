"""room.py - the crowd of the waiting room: joins, looks, leaves, and holds of those who are admitted.

    Visitor(number, rooms, seed)    a client like clients.Client, whose users stand in the queues of the rooms
    audit(server, visitors, rooms)  a server that has come back, against every place that anybody was told of

What must be true: a place goes from waiting to active to its end and never back, and ends only with its time or as its user
asked; who certainly came later is never served before; never more are active than may be; an active place's deadline stands,
until then its user can hold, and nobody else can; a slot that is free goes to the next. Nobody is silent for the grace period.
"""
import time

from api import Http, Resp, token_of_resp
from audit import SWEEP_SECONDS, pipelined
from clients import CLOCK_SLACK_MS, Person
from ledger import ENDED_SECONDS, Violation, now_ms
from server import SLOWNESS
from wire import resp_request

USERS = 6  # of a visitor in each room
ENDED_KEPT = 30  # places of a visitor that are over, and are still looked at
UNITS = 1000000  # so many that the queue never stops for want of them
ENDS = ("done", "left", "expired")


class Room:
    def __init__(self, event, active_max, active_seconds):
        self.id, self.active_max, self.active_seconds = event, active_max, active_seconds
        self.round = 0  # of its beginning

    def __repr__(self):
        return self.id


class Place:
    """As the answers told it, joined between two moments."""

    def __init__(self, token, user, room, sent, answered):
        self.token, self.user, self.room, self.sent, self.answered = token, user, room, sent, answered
        self.state, self.deadline_ms, self.position = "waiting", None, None
        self.may = {"expired"}  # ends that may have come
        self.over = None  # when it was first seen to be
        self.done_by_ms = None  # confirmed while it was active: it is done, or has expired at its deadline

    def __repr__(self):
        return f"<place {self.token} of {self.user} in {self.room}: {self.state}, deadline {self.deadline_ms}, may be {sorted(self.may)}>"

    def certainly_active(self, at_ms, may=frozenset({"expired"})):
        return self.state == "active" and at_ms + CLOCK_SLACK_MS < self.deadline_ms and self.may == may

    def learn(self, told, asked_ms):
        state, answered_ms = told["state"], now_ms()
        wrong = None
        if told["token"] != self.token:
            wrong = "is another"
        elif self.state in ENDS and state != self.state:
            wrong = "was over"
        elif state in ENDS and state not in self.may:
            wrong = "has an end that nobody asked for"
        elif self.state == "active" and state == "waiting":
            wrong = "waits again"
        elif self.state == "active" and state == "active" and told["deadline_ms"] != self.deadline_ms:
            wrong = "has another deadline"
        elif self.state == "active" and state == "expired" and answered_ms + CLOCK_SLACK_MS < self.deadline_ms:
            wrong = "ended before its deadline"
        elif state == "active" and told["deadline_ms"] < asked_ms - CLOCK_SLACK_MS:
            wrong = "is active after its deadline"
        elif state == "expired" and time.monotonic() - self.sent + 0.02 < self.room.active_seconds:
            wrong = "ended before it can have been active for so long"
        if wrong is not None:
            raise Violation(f"{self} {wrong}: {told}")
        self.state, self.deadline_ms, self.position = state, told["deadline_ms"], told["position"]
        if state in ENDS and self.over is None:
            self.over = time.monotonic()

    def forgettable(self):
        return self.over is not None and time.monotonic() - self.over > ENDED_SECONDS / 2


class Visitor(Person):
    def __init__(self, number, rooms, seed):
        super().__init__(number, f"{seed}/room/{number}")
        self.rooms = rooms
        self.current = {}  # (room, user) -> its last place
        self.ended = []  # places that were replaced by another
        self.held = {}  # (room, user) -> id of its hold
        self.sent = None  # when what is in doubt was: (kind, room, user)

    def step(self, api):
        r = self.random
        key = r.choice(self.rooms), f"v{self.number}-{r.randrange(USERS)}"
        kinds = ["join"] * 3
        if key in self.current:
            kinds += ["look"] * 4 + ["leave"]
        kinds += ["confirm", "release", "release"] if key in self.held else ["hold"]
        self.do(api, r.choice(kinds), *key)

    def do(self, api, kind, room, user):
        self.doubt, self.sent = (kind, room, user), time.monotonic()
        getattr(self, kind)(api, room, user)
        self.doubt = None

    def call(self, ask, *arguments, allowed=(), **more):
        """(the answer, when it was asked for)"""
        asked_ms = now_ms()
        answer = ask(*arguments, **more)
        self.answered += 1
        if not answer.ok:
            self.refused += 1
            if answer.code != "busy" and answer.code not in allowed:
                raise Violation(f"{self.doubt}: {answer}; known: {self.current.get(self.doubt[1:])}")
        return answer, asked_ms

    # ---- commands

    def join(self, api, room, user):
        answer, asked_ms = self.call(api.join, room.id, user)
        if not answer.ok:
            return
        answered = time.monotonic()
        place = self.current.get((room, user))
        if place is not None and place.token != answer["token"]:
            if place.state not in ENDS:
                self.look(api, room, user)
            if place.state not in ENDS:
                raise Violation(f"{user} has {place} and {answer}")
            self.ended = [*self.ended, place][-ENDED_KEPT:]
            place = None
        if place is None:
            place = self.current[room, user] = Place(answer["token"], user, room, self.sent, answered)
        place.learn(answer, asked_ms)

    def look(self, api, room, user):
        place = self.current[room, user]
        answer, asked_ms = self.call(api.token, place.token, allowed=("notoken",) if place.forgettable() else ())
        if answer.ok:
            place.learn(answer, asked_ms)

    def leave(self, api, room, user):
        place = self.current[room, user]
        place.may.add("left")
        answer, asked_ms = self.call(api.leave, place.token, allowed=("notoken",) if place.forgettable() else ())
        if not answer.ok:
            place.may.discard("left")
            return
        place.learn(answer, asked_ms)
        if place.state not in ENDS:
            raise Violation(f"{place} was left and stands")

    def hold(self, api, room, user):
        place = self.current.get((room, user))
        answer, asked_ms = self.call(api.hold, room.id, user, pools=[("ga", 1)], ttl=300, allowed=("notadmitted",))
        if not answer.ok:
            if answer.code == "notadmitted" and place is not None and place.certainly_active(now_ms()):
                raise Violation(f"{place} may not hold")
            return
        self.held[room, user] = answer["hold"]
        if place is not None and place.state == "waiting":
            self.look(api, room, user)
        over = place is not None and (place.done_by_ms is not None or (place.state == "active" and place.deadline_ms < asked_ms - CLOCK_SLACK_MS))
        if place is None or over or place.state in ("waiting", "left", "done"):
            raise Violation(f"{user} holds {answer} with {place}")

    def confirm(self, api, room, user):
        place = self.current.get((room, user))
        certain = place is not None and place.may == {"expired"}
        if place is not None:
            place.may.add("done")
        answer, _ = self.call(api.confirm, self.held[room, user], user)
        if not answer.ok:
            if certain:
                place.may.discard("done")
            return
        del self.held[room, user]
        if certain and place.certainly_active(now_ms(), {"expired", "done"}):
            place.done_by_ms = place.deadline_ms
            if self.random.random() < 0.5:
                self.do(api, "hold", room, user)  # too late

    def release(self, api, room, user):
        answer, _ = self.call(api.release, self.held[room, user], user)
        if answer.ok:
            del self.held[room, user]

    def forget(self, room):
        self.ended = [place for place in self.ended if place.room is not room]
        for of in (self.current, self.held):
            for key in [key for key in of if key[0] is room]:
                del of[key]

    # ---- after the server's end

    def settle(self, api):
        """Whether what was never answered has happened."""
        if self.doubt is None:
            return
        kind, room, user = self.doubt
        place, known = self.current.get((room, user)), self.held.get((room, user))
        if kind == "join":
            self.join(api, room, user)  # the place may be there since it was first sent
        elif kind == "leave":
            self.look(api, room, user)
            if place.state not in ENDS:
                place.may.discard("left")
        elif kind in ("hold", "confirm", "release"):
            states = {hold["hold"]: hold["state"] for hold in api.holds(room.id, user).data}
            held = [hold for hold, state in states.items() if state == "held"]
            if len(held) > 1 or (known is not None and kind == "confirm" and known not in states):
                raise Violation(f"{self.doubt}: {states}; known: {known}")
            self.held.pop((room, user), None)
            if held:
                self.held[room, user] = held[0]
            if kind == "confirm" and held and place is not None:
                place.may.discard("done")
        self.doubt = None


# ---- the audit


def audit(server, visitors, rooms, dice):
    """Returns how many places were looked at."""
    resp, http = Resp(server, timeout=60), Http(server, timeout=60)
    for visitor in visitors:
        visitor.settle(dice.choice([resp, http]))
    places = [place for visitor in visitors for place in (*visitor.current.values(), *visitor.ended) if place.room in rooms]
    places.sort(key=lambda place: place.sent, reverse=True)  # so that who was served, or stands before another, is seen first
    look_at(resp, places)
    active = [place for place in places if place.state == "active"]
    look_at(resp, active)  # who is active in both looks was so between them, all at once
    for room in rooms:
        some = [place for place in places if place.room is room]
        in_order(some)
        count = sum(place.state == "active" for place in active if place.room is room)
        if count > room.active_max:
            raise Violation(f"{room}: {count} are active at once, at most {room.active_max} may be")
        comes_to_rest(resp, room, some)
    for visitor in visitors:
        for room, user in dice.sample(sorted(visitor.current, key=lambda key: (key[0].id, key[1])), min(6, len(visitor.current))):
            if room in rooms:
                visitor.do(dice.choice([resp, http]), dice.choice(["join", "look"] + ["hold"] * ((room, user) not in visitor.held)), room, user)
    resp.close(), http.close()
    return len(places)


def look_at(resp, places):
    requests = [resp_request("QUEUE", "GET", place.token) for place in places]
    for place, (answer, asked_ms) in zip(places, pipelined(resp, requests, token_of_resp)):
        if answer.ok:
            place.learn(answer, asked_ms)
        elif answer.code != "notoken" or not place.forgettable():
            raise Violation(f"lost: {answer} for {place}")


def in_order(places):
    """Later ones were looked at first."""
    for later in places:
        served = later.state in ("active", "done", "expired")  # nobody is silent for so long that the place ends
        for earlier in places:
            if earlier.answered >= later.sent or earlier.state != "waiting":
                continue
            if served or (later.state == "waiting" and later.position <= earlier.position):
                raise Violation(f"{later} at {later.position} came after {earlier} at {earlier.position}, and is before it")


def comes_to_rest(resp, room, places):
    """What a confirm ended, what is free, and who has gone, is seen so at last."""
    end = time.monotonic() + SWEEP_SECONDS * SLOWNESS
    while True:
        wrong = None
        states = [place.state for place in places]
        if "waiting" in states and states.count("active") < room.active_max:
            wrong = f"{states.count('waiting')} wait and only {states.count('active')} of {room.active_max} are active"
        positions = sorted(place.position for place in places if place.state == "waiting")
        if positions != list(range(1, len(positions) + 1)):
            wrong = f"positions are {positions}"
        for place in places:
            if place.done_by_ms is not None and place.state != "done" and not (place.state == "expired" and now_ms() >= place.done_by_ms):
                wrong = f"{place} was confirmed while it was active"
        if wrong is None:
            return
        if time.monotonic() > end:
            raise Violation(f"{room}: {wrong}")
        time.sleep(0.02)
        look_at(resp, [place for place in places if place.state not in ENDS])
