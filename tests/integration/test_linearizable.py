"""test_linearizable.py - visible at once, linearizable by unit: seeded random histories of 16 clients over both protocols on few
hot seats, checked after the run.

All clients are driven by one thread, which sends the next command of each as soon as its answer is there: sixteen
commands are under way nearly always, and sent and answered are measured outside the server, so an interval is never too
short. Holds end by themselves, too: a third of them after a second, of which a run has four.

What is done: holds of seats, counted units and best seats, by users of one hold and by users with a limit; the same request
again with its key; replaces; confirms, also late; extensions, releases, cancels; and every kind of read.

The checker is linearizability.py; it is tested first, on histories known to be wrong.
"""
import os
import random
import selectors
import time

import pytest

from api import Http, Resp
from linearizability import CLOCK_SLACK, MS, SEAT_START, Operation, check, hold_step, seat_step
from server import SANITIZED, SLOWNESS

CLIENTS = 16
SECTIONS = "ABC"  # a block each, so that the seats have different owners
SEATS = [f"{section}/1/{number}" for section in SECTIONS for number in (1, 2)]
POOL = 6
LIMIT = 4
REGULARS = [f"regular{number}" for number in range(5)]  # users who come again and again, up to the limit
COMMANDS = int(os.environ.get("HOLDFAST_COMMANDS", "1500" if SANITIZED else "6000"))
RUNS_MAX = 4  # histories of one seed, where something that can happen did not
SECONDS = 4  # of a run, at least
SWEPT = 3000 * MS * SLOWNESS  # behind its deadline a hold's units are not counted as held any more; 100 ms, where nobody else is busy


# The checker itself


def history(*rows):
    return [Operation(*row) for row in rows]


def hold_history(*rows):
    """Moments in tenths of a second."""
    return [Operation(sent * 100 * MS, answered * 100 * MS, *what) for sent, answered, *what in rows]


HELD = ("held", 1000 * MS)


def test_the_checker_takes_what_has_an_order():
    assert check(history((0, 9, "take", "h1"), (1, 2, "read", "F"), (3, 4, "read", "H"), (10, 11, "free", "h1")), SEAT_START, seat_step) is None
    assert check(history((0, 5, "take", "a"), (1, 9, "free", "a"), (2, 8, "take", "b"), (3, 7, "sell", "b")), SEAT_START, seat_step) is None
    assert check(history((0, 1, "take", "a"), (2, None, "free", "a"), (3, 4, "read", "H"), (5, 6, "take", "b")), SEAT_START, seat_step) is None
    assert check(history((0, 1, "take", "a"), (2, None, "free", "a"), (3, 4, "late", "a"), (5, 6, "read", "S")), SEAT_START, seat_step) is None
    assert check(history((0, 1, "take", "a"), (2, 3, "swap", ("a", "b")), (4, 5, "sell", "b")), SEAT_START, seat_step) is None
    assert check(hold_history((0, 5, "confirm"), (1, 2, "read", HELD), (6, 7, "confirm"), (8, 9, "cancel")), HELD, hold_step) is None
    assert check(hold_history((9, 11, "confirm"), (11, 12, "read", ("confirmed", None))), HELD, hold_step) is None
    assert check(hold_history((8, 9, "extend", 2000 * MS), (11, 12, "release"), (30, 31, "release")), HELD, hold_step) is None
    assert check(hold_history((9, 12, "read", ("expired", None)), (11, 13, "late")), HELD, hold_step) is None


@pytest.mark.parametrize("rows", [
    [(0, 1, "take", "a"), (2, 3, "take", "b")],  # sold twice
    [(0, 9, "take", "a"), (1, 8, "take", "b")],  # also when at once
    [(0, 1, "take", "a"), (2, 3, "read", "F")],  # a stale read
    [(0, 9, "take", "a"), (1, 2, "read", "H"), (3, 4, "read", "F")],  # a read that goes back
    [(0, 1, "take", "a"), (2, 3, "free", "a"), (4, 5, "read", "H")],  # release not visible
    [(0, 1, "take", "a"), (2, 3, "sell", "b")],  # a stranger's
    [(0, 1, "take", "a"), (2, 3, "sell", "a"), (2, 3, "free", "a")],  # sold and released
    [(0, 1, "take", "a"), (2, 9, "swap", ("a", "b")), (3, 4, "read", "F")],  # free in between
    [(0, 1, "take", "a"), (5, None, "free", "a"), (2, 3, "take", "b")],  # over before its deadline
    [(0, 1, "take", "a"), (2, None, "free", "a"), (3, 4, "take", "b"), (5, 6, "late", "a")],  # late, though another one has it
], ids=lambda rows: "-".join(row[2] for row in rows))
def test_the_checker_refuses_what_has_none(rows):
    assert check(history(*rows), SEAT_START, seat_step) is not None


@pytest.mark.parametrize("rows", [
    [(11, 12, "confirm")],  # at its deadline it was over
    [(11, 12, "read", ("held", None))],
    [(8, 9, "read", ("expired", None))],  # early
    [(8, 9, "extend", 2000 * MS), (11, 12, "read", ("expired", None))],
    [(8, 9, "extend", 900 * MS)],  # backwards
    [(1, 2, "extend", 2000 * MS), (3, 4, "read", HELD)],  # an extension that is not seen
    [(1, 2, "replace"), (3, 4, "confirm")],
    [(1, 2, "replace"), (3, 4, "replace")],
    [(1, 2, "release"), (11, 12, "late")],
    [(1, 2, "confirm"), (3, 4, "release")],
], ids=lambda rows: "-".join(row[2] for row in rows))
def test_the_checker_refuses_what_no_hold_can_do(rows):
    assert check(hold_history(*rows), HELD, hold_step) is not None


# The run


class Client:
    def __init__(self, number, server):
        self.api = (Resp if number % 2 == 0 else Http)(server)
        self.socket = self.api.connection.socket
        self.reader = self.api.connection.reader
        self.user = f"user{number}"
        self.command = None
        self.sent = 0


class Taken:
    """A hold: what is known of how it began. Whose answer made it, where several name it, is not known from outside; it was
    there before each of them, so between the first sent and the first answered."""

    def __init__(self, user, seats, versions, quantity):
        self.user, self.seats, self.versions, self.quantity = user, seats, versions, quantity
        self.asked, self.replaces = set(), None  # what those requests wanted to replace; which of them it did: see ends()
        self.sent = self.answered = self.deadline = 1 << 80

    def named(self, sent, answered, deadline, replaces):
        self.asked.add(replaces)
        self.sent, self.answered, self.deadline = min(self.sent, sent), min(self.answered, answered), min(self.deadline, deadline)


class Phase:
    """Units that were held, or sold, or either: from one moment of an interval to one of another (None: to the end)."""

    def __init__(self, hold, begin, end):
        self.hold, self.begin, self.end = hold, begin, end

    def surely(self, sent, answered):
        return self.begin[1] < sent and (self.end is None or self.end[0] > answered)

    def perhaps(self, sent, answered):
        return self.begin[0] < answered and (self.end is None or self.end[1] > sent)


class Run:
    """What the clients do, and what they were told: per seat, per hold, and for the counts."""

    def __init__(self, server, event, seed, commands=COMMANDS):
        self.dice = random.Random(seed)
        self.event = event
        self.left = self.commands = commands
        self.wall_ns = time.time_ns() - time.monotonic_ns()
        self.clients = [Client(number, server) for number in range(CLIENTS)]
        self.live = []  # (hold, user): more than one client may act on one hold
        self.sold = []
        self.standing = {}  # holds that were not given back yet, as far as was told: hold -> user
        self.alone = []  # holds that are left alone until they end by themselves
        self.seat_history = {seat: [] for seat in SEATS}
        self.hold_history = {}
        self.takes = {}  # hold -> Taken
        self.counts = []  # (sent, answered, counts)
        self.pool_refusals = []  # (sent, answered, quantity, code, remaining)
        self.limits = []  # (sent, answered, user, asked, figures)
        self.keys = {}  # key -> [user, what, the hold, when that was told first]
        self.replays = 0

    def now(self):
        return time.monotonic_ns() + self.wall_ns

    def choose(self, client):
        dice, api = self.dice, client.api
        kind = dice.random()
        if kind < 0.38:
            return self.choose_hold(client)
        if kind < 0.64 and self.live:
            hold, user = self.pick([pair for pair in self.standing.items() if pair[0] not in self.sold], self.over(0.2) or self.live[-12:])
            action = dice.choice(["confirm", "release", "release", "extend"])
            if action == "extend":
                return action, api.extend_request(hold, user, dice.choice([1, 1, 2, 3000])), api.extend_form, hold
            request = api.confirm_request(hold, user) if action == "confirm" else api.release_request(hold, user)
            return action, request, api.ok_form, hold
        if kind < 0.68 and self.live:
            hold, user = dice.choice(self.over(0.4) or self.live[-12:])
            return "late", api.confirm_request(hold, user, late=True), api.ok_form, hold
        if kind < 0.81 and self.sold:
            hold = self.pick([hold for hold in self.sold if hold in self.standing], self.sold[-12:])
            return "cancel", api.cancel_request(hold), api.ok_form, hold
        if kind < 0.87 and self.live:
            hold, _ = dice.choice(self.over(0.5) or self.live[-20:])
            return "get", api.get_request(hold), api.get_form, hold
        if kind < 0.94:
            section = dice.choice(SECTIONS)
            return "map", api.seats_request(self.event, section), api.seats_form, section
        return "counts", api.event_request(self.event), api.event_form, None

    def choose_hold(self, client):
        dice, api = self.dice, client.api
        user, what, key = f"{client.user}-{dice.randrange(10**9)}", dict(seats=dice.sample(SEATS, dice.choice([1, 1, 1, 2, 3]))), None
        if dice.random() < 0.2:
            what["pools"] = [("ga", dice.choice([1, 2]))]
        elif dice.random() < 0.2:
            what = dict(pools=[("ga", dice.choice([1, 2, 3]))])
        elif dice.random() < 0.15:
            what = dict(best=(dice.choice(SECTIONS), dice.choice([1, 2])))
        if dice.random() < 0.45:
            what["ttl"] = 1
        if dice.random() < 0.12 and self.keys:
            key = dice.choice(list(self.keys)[-12:])
            user, what = self.keys[key][:2]
        elif dice.random() < 0.25:
            user = dice.choice(REGULARS)
        elif dice.random() < 0.45:
            # of users who have one hold: of others it would not be known which of their requests has made the hold
            mine = [pair for pair in self.standing.items() if pair[0] not in self.sold]
            mine = [(hold, user) for hold, user in (mine if dice.random() < 0.8 else self.live[-6:]) if user not in REGULARS]
            if mine:
                what["replaces"], user = dice.choice(mine)
                kept = self.takes[what["replaces"]].seats[:1] or [dice.choice(SEATS)]
                what["seats"] = kept + [seat for seat in what.get("seats", ()) if seat not in kept][:dice.choice([0, 1])]
        if key is None and dice.random() < 0.15:
            key = f"key-{self.event}-{self.left}"
            self.keys[key] = [user, what, None, 0]
        return "hold", api.hold_request(self.event, user, key=key, **what), api.hold_form, (user, what, key)

    def pick(self, standing, recent):
        """Half of the time one that has units, or, once all units had gone to older ones, nothing would happen any more."""
        return self.dice.choice(standing if standing and self.dice.random() < 0.6 else recent)

    def over(self, chance):
        """With that chance, holds that were to end by themselves about now; else none."""
        now = self.now()
        if self.dice.random() >= chance:
            return []
        return [(hold, self.takes[hold].user) for hold in self.alone[-50:] if -50 * MS < now - self.takes[hold].deadline < 500 * MS]

    def go(self):
        selector = selectors.DefaultSelector()
        for client in self.clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        begun = self.now()
        for client in self.clients:
            self.send(client)
        waiting = len(self.clients)
        while waiting:
            ready = selector.select(30)
            assert ready, f"no answer within 30 s; {waiting} clients wait"
            free = []
            for key, _ in ready:
                client = key.data
                data = client.socket.recv(1 << 16)
                assert data, "closed by the server"
                answered = self.now()
                client.reader.feed(data)
                value = client.reader.next()
                if value is None:
                    continue
                self.answered(client, client.api.read(value[0], client.command[2]), answered)
                free.append(client)
            early = (self.commands - self.left) * SECONDS / self.commands - (self.now() - begun) / 1e9
            if early > 0.02:
                time.sleep(early)  # then many go at once again
            for client in free:
                if self.left > 0:
                    self.send(client)
                else:
                    waiting -= 1
        for client in self.clients:
            client.api.close()

    def send(self, client):
        self.left -= 1
        client.command = self.choose(client)
        client.sent = self.now()
        client.socket.sendall(client.command[1])

    def answered(self, client, answer, moment):
        kind, _, _, argument = client.command
        sent = client.sent

        def note(target, *what):
            target.append(Operation(sent, moment, *what, who=client.user))

        if kind == "hold":
            self.hold_answered(argument, answer, sent, moment, note)
        elif kind in ("confirm", "late", "release", "cancel", "extend"):
            hold = argument
            if answer.ok:
                note(self.hold_history[hold], kind, *([answer["deadline_ms"] * MS] if kind == "extend" else []))
                if kind in ("confirm", "late") and hold not in self.sold:
                    self.sold.append(hold)
                    self.standing[hold] = self.takes[hold].user
                if kind in ("release", "cancel"):
                    self.standing.pop(hold, None)
            else:
                assert answer.code in ("confirmed", "released", "cancelled", "expired", "limit") + (("noextend",) if kind == "extend" else ()), answer
                assert answer.code != "limit" or kind == "late", answer
                state = {"noextend": "held", "limit": "expired"}.get(answer.code, answer.code)
                note(self.hold_history[hold], "read", (state, None))
                if state != "held" and state != "confirmed":
                    self.standing.pop(hold, None)
        elif kind == "get":
            state, deadline = answer["state"], answer["deadline_ms"] * MS
            note(self.hold_history[argument], "read", (state, deadline if state == "held" else None))
        elif kind == "map":
            for number, letter in enumerate(answer["1"], 1):
                note(self.seat_history[f"{argument}/1/{number}"], "read", letter)
        else:
            self.counts.append((sent, moment, answer.data))

    def hold_answered(self, argument, answer, sent, moment, note):
        user, what, key = argument
        quantity = sum(q for _, q in what.get("pools", ()))
        told = self.keys.get(key)
        if told and told[2] is not None and sent > told[3]:
            assert answer.ok and answer["hold"] == told[2], f"{key} gave {told[2]} before, now {answer}"
            self.replays += 1
        if answer.ok:
            hold, deadline = answer["hold"], answer["deadline_ms"] * MS
            if told:
                assert told[2] in (None, hold), f"{key}: two holds, {told[2]} and {hold}"
                told[2:] = [hold, min(told[3], moment) if told[2] else moment]
            if hold not in self.takes:
                versions = {seat["seat"]: seat["version"] for seat in answer["seats"]}
                self.takes[hold] = Taken(user, list(versions), versions, quantity)
                if what.get("ttl") == 1 and self.dice.random() < 0.5:
                    self.alone.append(hold)
                else:
                    self.live.append((hold, user))
                    self.standing[hold] = user
                if what.get("replaces") != hold:
                    self.standing.pop(what.get("replaces"), None)
                self.hold_history[hold] = []
            self.takes[hold].named(sent, moment, deadline, what.get("replaces"))
            if not told:  # a replay repeats what was
                note(self.hold_history[hold], "read", ("held", deadline))
        elif answer.code in ("held", "sold"):
            note(self.seat_history[answer.figures["unit"]], "read", answer.code[0].upper())
        elif answer.code == "limit":
            self.limits.append((sent, moment, user, what, answer.figures))
        elif answer.code in ("released", "confirmed", "cancelled", "expired"):
            note(self.hold_history[what["replaces"]], "read", (answer.code, None))
        elif answer.code in ("heldout", "soldout") and answer.figures["unit"] == "ga":
            if "replaces" not in what:  # its own units count as free for it
                self.pool_refusals.append((sent, moment, quantity, answer.code, answer.figures["remaining"]))
        else:
            assert answer.code in ("heldout", "soldout", "noadjacent") and "best" in what, (answer, what)

    # ---- afterwards

    def done(self, hold, *actions):
        """What was done to a hold by what may have been repeated: one operation, from the first sent to the first answered; or None."""
        done = [op for op in self.hold_history[hold] if op.what in actions]
        return (min(op.sent for op in done), min(op.answered for op in done)) if done else None

    def ends(self):
        """For each hold: when it was confirmed, replaced, released, cancelled (intervals or None), and its last deadline."""
        replaced = {}
        # A user's first hold replaces none. A later one may also be given to who wants to replace another one of his by just its
        # seats: then it has replaced the one that no other hold has.
        left = {hold: taken for hold, taken in self.takes.items() if None not in taken.asked}
        while left:
            hold = min(left, key=lambda hold: len(left[hold].asked - {hold} - replaced.keys()))
            taken = left.pop(hold)
            old = sorted(taken.asked - {hold} - replaced.keys())
            assert old, f"{hold} has replaced one of {taken.asked}, and so have others"
            taken.replaces = old[0]
            replaced[taken.replaces] = (taken.sent, taken.answered)
        self.end = {}
        for hold, taken in self.takes.items():
            if hold in replaced:
                self.hold_history[hold].append(Operation(*replaced[hold], "replace"))
            deadline = max([taken.deadline] + [op.argument for op in self.hold_history[hold] if op.what == "extend"])
            released = self.done(hold, "release") if hold not in replaced else None
            self.end[hold] = (self.done(hold, "confirm", "late"), replaced.get(hold), released, self.done(hold, "cancel"), deadline)

    def phases(self):
        """When the units of each hold were held, and sold; taken is either."""
        self.held, self.bought, self.taken = [], [], []
        for hold, taken in self.takes.items():
            confirmed, replaced, released, cancelled, deadline = self.end[hold]
            over = (deadline - CLOCK_SLACK, deadline + SWEPT)
            late = confirmed and self.done(hold, "late")
            end = confirmed or replaced or released or over
            if late:
                end = (min(over[0], confirmed[0]), min(over[1], confirmed[1]))
            begin = (taken.sent, taken.answered)
            self.held.append(Phase(hold, begin, end))
            if confirmed:
                self.bought.append(Phase(hold, confirmed, cancelled))
            self.taken.append(Phase(hold, begin, cancelled if confirmed and not late else end))
            if late:
                self.taken.append(Phase(hold, confirmed, cancelled))

    def check_holds(self):
        for hold, operations in self.hold_history.items():
            wrong = check(operations, ("held", self.takes[hold].deadline), hold_step)
            assert wrong is None, f"hold {hold}: {wrong[0]} has no place; states possible: {wrong[1]}\n" + "\n".join(map(str, operations))

    def check_seats(self):
        """The changes of a hold's seats are those of the hold."""
        kept = {(taken.replaces, seat) for taken in self.takes.values() for seat in taken.seats}
        for hold, taken in self.takes.items():
            confirmed, replaced, released, cancelled, deadline = self.end[hold]
            late = self.done(hold, "late")
            old = self.takes[taken.replaces].seats if taken.replaces else []
            for seat in taken.seats:
                changes = [(taken.sent, taken.answered, *(("swap", (taken.replaces, hold)) if seat in old else ("take", hold)))]
                if confirmed:
                    changes.append((*confirmed, "late" if late else "sell", hold))
                if cancelled:
                    changes.append((*cancelled, "cancel", hold))
                if replaced and (hold, seat) not in kept:
                    changes.append((*replaced, "free", hold))
                if released:
                    changes.append((*released, "free", hold))
                if late or not (confirmed or replaced or released):
                    changes.append((deadline - CLOCK_SLACK, None, "free", hold))  # by itself
                self.seat_history[seat] += [Operation(*change) for change in changes]
        for seat, operations in self.seat_history.items():
            wrong = check(operations, SEAT_START, seat_step)
            if wrong is not None:
                around = [op for op in operations if (op.answered or op.sent) > wrong[0].sent - 20 * MS and op.sent < wrong[0].answered]
                raise AssertionError(f"seat {seat}: {wrong[0]} has no place; states possible: {wrong[1]}\n" + "\n".join(map(str, around)))

    def check_versions(self):
        """A seat's version grows: of two holds that took it, the later one has the greater."""
        for seat in SEATS:
            taken = sorted((taken.versions[seat], taken.sent, taken.answered) for taken in self.takes.values()
                           if seat in taken.seats and not taken.replaces)
            for before, after in zip(taken, taken[1:]):
                assert before[0] < after[0], f"{seat}: version {before[0]} twice"
                assert before[1] < after[2], f"{seat}: version {after[0]} was there before version {before[0]}"

    def between(self, phases, sent, answered, units):
        """The least and the most units that may have been so at some moment between sent and answered."""
        least = sum(units(self.takes[phase.hold]) for phase in phases if phase.surely(sent, answered))
        most = sum(units(self.takes[phase.hold]) for phase in phases if phase.perhaps(sent, answered))
        return least, most

    def check_counts(self):
        for sent, answered, event in self.counts:
            for part in event["sections"] + event["pools"]:
                counts, name = part["counts"], part["name"]

                def units(taken):
                    return taken.quantity if name == "ga" else sum(seat[0] == name for seat in taken.seats)

                for what, figure, phases in (("held", counts["held"], self.held), ("sold", counts["sold"], self.bought),
                                             ("taken", counts["held"] + counts["sold"], self.taken)):
                    least, most = self.between(phases, sent, answered, units)
                    assert least <= figure <= most, f"{name}: {counts}, but between {least} and {most} were {what}"

    def check_refusals(self):
        for sent, answered, quantity, code, remaining in self.pool_refusals:
            least, most = self.between(self.taken, sent, answered, lambda taken: taken.quantity)
            assert POOL - most < quantity, f"{code} (remaining {remaining}) though {POOL - most} were free all the time, asked {quantity}"
            assert remaining < quantity and remaining <= POOL - least, (code, remaining, least)
            least, most = self.between(self.bought, sent, answered, lambda taken: taken.quantity)
            assert POOL - least >= quantity if code == "heldout" else POOL - most < quantity, f"{code}: asked {quantity}, sold {least} to {most}"

    def check_limits(self):
        def of(user):
            return lambda taken: (len(taken.seats) + taken.quantity) if taken.user == user else 0

        for sent, answered, user, what, figures in self.limits:
            least, most = self.between(self.taken, sent, answered, of(user))
            asked = len(what.get("seats", ())) + sum(q for _, q in what.get("pools", ())) + (what["best"][1] if "best" in what else 0)
            assert figures["limit"] == LIMIT and least <= figures["used"] <= most, f"{user}: {figures}, but used {least} to {most}"
            assert "replaces" in what or figures["used"] + asked > LIMIT, f"{user}: {figures}, asked {what}"
        for hold, taken in self.takes.items():
            least, _ = self.between([phase for phase in self.taken if phase.hold != hold], taken.sent, taken.answered, of(taken.user))
            own = len(taken.seats) + taken.quantity
            assert least + own <= LIMIT or taken.replaces, f"{hold}: {own} units for {taken.user}, who had {least}"

    def did_not_happen(self):
        """Not an empty run: everything that can happen did; the rarest of it in a run of full length. What did not, or None."""
        done = {op.what for operations in self.hold_history.values() for op in operations}
        read = {op.argument[0] for operations in self.hold_history.values() for op in operations if op.what == "read"}
        long = COMMANDS >= 6000
        happened = {
            "every operation": done >= {"read", "confirm", "late", "release", "extend", "cancel"},
            "every state read": read == {"held", "confirmed", "released", "expired", "cancelled"},
            "many holds": len(self.takes) > COMMANDS / 100,
            "many counts": len(self.counts) > COMMANDS / 60,
            "a refusal by the pool": bool(self.pool_refusals),
            "a refusal by the limit": bool(self.limits),
            "a key used again": not long or bool(self.replays),
            "a seat kept": not long or any(taken.replaces and set(taken.seats) & set(self.takes[taken.replaces].seats) for taken in self.takes.values()),
        }
        return next((what for what, did in happened.items() if not did), None)


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("seed", range(1, 5))
def test_history(servers, new_id, shards, seed):
    """One history; and more of them, each checked, where chance left something out."""
    server, missing = servers(shards), "no run"
    admin = Resp(server)
    for run_seed in range(seed, seed + 100 * RUNS_MAX, 100):
        event = new_id(f"linear-{run_seed}")
        assert admin.create(event, sections=[(name, 1, 2) for name in SECTIONS], pools=[("ga", POOL)], hold_seconds=3600, limit=LIMIT).ok
        run = Run(server, event, run_seed)
        run.go()
        run.ends()
        run.phases()
        run.check_holds()
        run.check_seats()
        run.check_versions()
        run.check_counts()
        run.check_refusals()
        run.check_limits()
        missing = run.did_not_happen()
        if missing is None:
            break
    assert missing is None, f"in none of {RUNS_MAX} histories: {missing}"
    admin.close()
