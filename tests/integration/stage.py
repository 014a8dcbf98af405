"""stage.py - one event under test, and the check that a refused command has changed nothing (R4).

Everything that can be seen of the event and of its users is looked at before and after each refusal:
settings and counts, every section's map, the holds of each user who ever asked.
"""
import re
import time

from server import poll


class Stage:
    def __init__(self, api, event, **settings):
        self.api = api
        self.id = event
        self.users = set()
        self.known = []
        settings.setdefault("hold_seconds", 600)
        answer = api.create(event, **settings)
        assert answer.ok and answer.status in (None, 201), answer
        self.section_names = [section[0] for section in settings.get("sections", ())]

    def picture(self):
        """All that can be seen, without what only counts down."""
        event = self._still(self.api.event(self.id).data)
        maps = {name: self.api.seats(self.id, name).data for name in self.section_names}
        holds = {}
        for user in sorted(self.users):
            holds[user] = sorted((self._still(hold) for hold in self.api.holds(self.id, user).data), key=str)
        known = [self._still(self.api.get(hold).data) for hold in self.known]
        return event, maps, holds, known

    @staticmethod
    def _still(told):
        return {name: value for name, value in told.items() if name not in ("deadline_in_ms", "opens_in_ms")}

    def wait_expired(self):
        """Until what was held for a second has ended and its units are back, which waits for the disk (R3)."""
        time.sleep(1.1)

        def settled():
            holds = [hold for user in self.users for hold in self.api.holds(self.id, user).data if hold["state"] == "held"]
            units = sum(len(hold["seats"]) + sum(pool["quantity"] for pool in hold["pools"]) for hold in holds)
            return self.api.event(self.id)["counts"]["held"] == units

        assert poll(settled), "units of holds that have ended stay held"

    def hold(self, user, **what):
        self.users.add(user)
        answer = self.api.hold(self.id, user, **what)
        assert answer.ok, answer
        if answer["hold"] not in self.known:
            self.known.append(answer["hold"])
        return answer

    def refused(self, code, call, **figures):
        """call() is refused with this code and these figures (a value, or a test of it), and changes nothing."""
        before = self.picture()
        answer = call()
        assert not answer.ok, f"expected {code}, got {answer}"
        assert self.picture() == before, f"{answer} has changed something"
        assert answer.code == code, f"expected {code}, got {answer}"
        expect(answer.figures, figures)
        return answer

    def hold_refused(self, code, user, what, **figures):
        self.users.add(user)
        return self.refused(code, lambda: self.api.hold(self.id, user, **what), **figures)

    def counts(self, part=None):
        event = self.api.event(self.id).data
        if part is None:
            counts = event["counts"]
        else:
            counts = next(p["counts"] for p in event["sections"] + event["pools"] if p["name"] == part)
        return counts["free"], counts["held"], counts["sold"]

    def letters(self, section, row="1"):
        return self.api.seats(self.id, section).data[row]

    def versions(self, answer):
        return {seat["seat"]: seat["version"] for seat in answer["seats"]}


def expect(figures, wanted):
    assert set(figures) == set(wanted), f"figures {figures}, expected {sorted(wanted)}"
    for name, value in wanted.items():
        if callable(value):
            assert value(figures[name]), f"{name}={figures[name]}"
        else:
            assert figures[name] == value, f"{name}={figures[name]}, expected {value}"


def about(ms, slack=30000):
    """A test of a figure that counts down: at most ms, and not far below."""
    return lambda value: ms - slack <= value <= ms


def seat_names(hold):
    return [seat["seat"] for seat in hold["seats"]]


SEAT = re.compile(r"^([^/]+)/([^/]+)/([1-9][0-9]*)$")
