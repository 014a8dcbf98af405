"""ledger.py - what must be true of the server, from what it has acknowledged.

    Event, Hold    as the answers told them
    Doubt          a command: sent, and perhaps never answered
    Ledger         the events on sale, and every version of a seat that anybody was told
"""
import threading
import time


ENDED_SECONDS = 120  # core.ended_seconds of the servers


class Violation(AssertionError):
    """The server has broken a promise."""


def now_ms():
    return int(time.time() * 1000)


def effective(hold, at_ms):
    """What a hold is at a moment: overdue is expired, whether swept or not."""
    return "expired" if hold.state == "held" and at_ms >= hold.deadline_ms else hold.state


def forgettable(hold):
    """It has been over for so long that the server need not remember it."""
    ended_ms = hold.ended_ms if hold.state != "held" else hold.deadline_ms
    if hold.state == "expired":
        ended_ms = hold.deadline_ms
    return ended_ms is not None and now_ms() > ended_ms + ENDED_SECONDS * 1000


class Event:
    def __init__(self, event, sections=(), pools=(), limit=None, hold_seconds=300):
        self.id = event
        self.sections = list(sections)  # (name, row names, seats in each row)
        self.pools = dict(pools)
        self.limit = limit
        self.hold_seconds = hold_seconds
        self.seats = [f"{name}/{row}/{seat + 1}" for name, rows, counts in sections for row, count in zip(rows, counts)
                      for seat in range(count)]
        self.retired = False
        self.round = 0  # of its beginning
        self.versions = {}  # seat -> [(sent, answered, version, hold id)]
        self.doubtful = None  # a change whose answer never came: {"pools": ..., "hold_seconds": ...}

    def __repr__(self):
        return self.id


class Hold:
    __slots__ = ("id", "user", "event", "deadline_ms", "state", "seats", "pools", "ended_ms", "versions_known", "confirmed_at")

    def __init__(self, hold, user, event, deadline_ms):
        self.id, self.user, self.event, self.deadline_ms = hold, user, event, deadline_ms
        self.state = "held"
        self.seats, self.pools = {}, {}
        self.ended_ms = None
        self.versions_known = True
        self.confirmed_at = None  # sent and answered, where the versions are yet to be looked up

    def end(self, state):
        if self.state != state:
            self.state, self.ended_ms = state, now_ms()

    def confirm(self, seats):
        self.state, self.ended_ms = "confirmed", None
        if seats is not None:
            self.seats = seats
        else:
            self.versions_known = False

    def __repr__(self):
        return f"<hold {self.id} of {self.user} in {self.event}: {self.state}, deadline {self.deadline_ms}, {self.seats} {self.pools}>"


class Doubt:
    def __init__(self, kind, event=None, user=None, hold=None, key=None, request=None, replaces=None, seconds=None, ref=None,
                 again=None):
        self.kind, self.event, self.user, self.hold, self.key = kind, event, user, hold, key
        self.request, self.replaces, self.seconds, self.ref, self.again = request, replaces, seconds, ref, again
        self.sent_ms = self.sent = None

    def __repr__(self):
        parts = [self.kind, str(self.event), str(self.user)]
        for name in ("hold", "request", "replaces", "seconds", "key", "sent_ms"):
            value = getattr(self, name)
            if value is not None and not (name == "seconds" and self.kind != "extend"):
                parts.append(f"{name}={value}")
        return "<" + " ".join(parts) + ">"


class Ledger:
    def __init__(self):
        self.round = 0
        self.active = []
        self.retired = []
        self.clients = []
        self.lock = threading.Lock()

    def version_seen(self, event, seat, version, sent, answered, hold):
        with self.lock:
            event.versions.setdefault(seat, []).append((sent, answered, version, hold.id))

    def check_versions(self, event):
        """A version belongs to one change of one hold, and grows with the order in which answers prove the changes came."""
        for seat, seen in event.versions.items():
            owners = {}
            for _, _, version, hold in seen:
                if owners.setdefault(version, hold) != hold:
                    raise Violation(f"{event} {seat}: version {version} was given to {owners[version]} and to {hold}")
            greatest = 0
            by_answer = sorted((answered, version) for _, answered, version, _ in seen)
            at = 0
            for sent, _, version, hold in sorted(seen):
                while at < len(by_answer) and by_answer[at][0] < sent:
                    greatest = max(greatest, by_answer[at][1])
                    at += 1
                if version <= greatest:
                    raise Violation(f"{event} {seat}: {hold} was given version {version} after {greatest} had been answered")
            if len(seen) > 200:  # what the greatest says is enough for the past
                greatest = max(seen, key=lambda entry: entry[2])
                event.versions[seat] = [entry for entry in seen if entry[2] == greatest[2]] + seen[-50:]
                event.versions[seat] = sorted(set(event.versions[seat]))
