"""test_linearizable.py - visible at once, linearizable by unit: seeded random histories of 16 clients over both protocols on few
hot seats, checked after the run.

All clients are driven by one thread, which sends the next command of each as soon as its answer is there: sixteen
commands are under way nearly always, and sent and answered are measured outside the server, so an interval is never too
short. The checker is linearizability.py; it is tested first, on histories known to be wrong.
"""
import os
import random
import selectors
import time

import pytest

from api import Http, Resp
from linearizability import SEAT_START, Operation, check, hold_step, seat_step
from server import SANITIZED

CLIENTS = 16
SECTIONS = "ABC"  # a block each, so that the seats have different owners
SEATS = [f"{section}/1/{number}" for section in SECTIONS for number in (1, 2)]
POOL = 6
COMMANDS = int(os.environ.get("HOLDFAST_COMMANDS", "1500" if SANITIZED else "6000"))


# The checker itself


def history(*rows):
    return [Operation(*row) for row in rows]


def test_the_checker_takes_what_has_an_order():
    assert check(history((0, 9, "take", "h1"), (1, 2, "read", "F"), (3, 4, "read", "H"), (10, 11, "free", "h1")), SEAT_START, seat_step) is None
    assert check(history((0, 5, "take", "a"), (1, 9, "free", "a"), (2, 8, "take", "b"), (3, 7, "sell", "b")), SEAT_START, seat_step) is None
    assert check(history((0, 5, "confirm"), (1, 2, "read", "held"), (6, 7, "confirm"), (8, 9, "cancel")), "held", hold_step) is None


@pytest.mark.parametrize("rows", [
    [(0, 1, "take", "a"), (2, 3, "take", "b")],  # sold twice
    [(0, 9, "take", "a"), (1, 8, "take", "b")],  # also when at once
    [(0, 1, "take", "a"), (2, 3, "read", "F")],  # a stale read
    [(0, 9, "take", "a"), (1, 2, "read", "H"), (3, 4, "read", "F")],  # a read that goes back
    [(0, 1, "take", "a"), (2, 3, "free", "a"), (4, 5, "read", "H")],  # release not visible
    [(0, 1, "take", "a"), (2, 3, "sell", "b")],  # a stranger's
    [(0, 1, "take", "a"), (2, 3, "sell", "a"), (2, 3, "free", "a")],  # sold and released
], ids=lambda rows: "-".join(row[2] for row in rows))
def test_the_checker_refuses_what_has_none(rows):
    assert check(history(*rows), SEAT_START, seat_step) is not None


# The run


class Client:
    def __init__(self, number, server):
        self.api = (Resp if number % 2 == 0 else Http)(server)
        self.socket = self.api.connection.socket
        self.reader = self.api.connection.reader
        self.user = f"user{number}"
        self.command = None
        self.sent = 0


class Run:
    """What the clients do, and what they were told: per seat, per hold, and for the counts."""

    def __init__(self, server, event, seed, commands=COMMANDS):
        self.dice = random.Random(seed)
        self.event = event
        self.left = commands
        self.clients = [Client(number, server) for number in range(CLIENTS)]
        self.live = []  # (hold, user): more than one client may act on one hold
        self.sold = []
        self.standing = {}  # holds that were not given back yet, as far as was told: hold -> user
        self.seat_history = {seat: [] for seat in SEATS}
        self.hold_history = {}
        self.takes = {}  # hold -> [take sent, take answered, return sent, return answered, seats, quantity]
        self.counts = []  # (sent, answered, counts)
        self.pool_refusals = []  # (sent, answered, quantity, code, remaining)

    def choose(self, client):
        dice, api = self.dice, client.api
        kind = dice.random()
        if kind < 0.40:
            seats = dice.sample(SEATS, dice.choice([1, 1, 1, 2, 3]))
            what = dict(seats=seats)
            if dice.random() < 0.2:
                what["pools"] = [("ga", dice.choice([1, 2]))]
            elif dice.random() < 0.2:
                what = dict(pools=[("ga", dice.choice([1, 2, 3]))])
            elif dice.random() < 0.15:
                what = dict(best=(dice.choice(SECTIONS), dice.choice([1, 2])))
            user = f"{client.user}-{dice.randrange(10**9)}"
            return "hold", api.hold_request(self.event, user, **what), api.hold_form, (user, what)
        if kind < 0.62 and self.live:
            hold, user = self.pick([pair for pair in self.standing.items() if pair[0] not in self.sold], self.live[-12:])
            action = dice.choice(["confirm", "release", "release"])
            request = api.confirm_request(hold, user) if action == "confirm" else api.release_request(hold, user)
            return action, request, api.ok_form, hold
        if kind < 0.74 and self.sold:
            hold = self.pick([hold for hold in self.sold if hold in self.standing], self.sold[-12:])
            return "cancel", api.cancel_request(hold), api.ok_form, hold
        if kind < 0.82 and self.live:
            hold, _ = dice.choice(self.live[-20:])
            return "get", api.get_request(hold), api.get_form, hold
        if kind < 0.92:
            section = dice.choice(SECTIONS)
            return "map", api.seats_request(self.event, section), api.seats_form, section
        return "counts", api.event_request(self.event), api.event_form, None

    def pick(self, standing, recent):
        """Half of the time one that has units, or, once all units had gone to older ones, nothing would happen any more."""
        return self.dice.choice(standing if standing and self.dice.random() < 0.5 else recent)

    def go(self):
        selector = selectors.DefaultSelector()
        for client in self.clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        for client in self.clients:
            self.send(client)
        waiting = len(self.clients)
        while waiting:
            ready = selector.select(30)
            assert ready, f"no answer within 30 s; {waiting} clients wait"
            for key, _ in ready:
                client = key.data
                data = client.socket.recv(1 << 16)
                assert data, "closed by the server"
                answered = time.monotonic_ns()
                client.reader.feed(data)
                value = client.reader.next()
                if value is None:
                    continue
                self.answered(client, client.api.read(value[0], client.command[2]), answered)
                if self.left > 0:
                    self.send(client)
                else:
                    waiting -= 1
        for client in self.clients:
            client.api.close()

    def send(self, client):
        self.left -= 1
        client.command = self.choose(client)
        client.sent = time.monotonic_ns()
        client.socket.sendall(client.command[1])

    def answered(self, client, answer, moment):
        kind, _, _, argument = client.command
        sent = client.sent

        def note(target, *what):
            target.append(Operation(sent, moment, *what, who=client.user))

        if kind == "hold":
            user, what = argument
            if answer.ok:
                hold = answer["hold"]
                seats = [seat["seat"] for seat in answer["seats"]]
                quantity = sum(q for _, q in what.get("pools", ()))
                self.takes[hold] = [sent, moment, None, None, seats, quantity]
                self.live.append((hold, user))
                self.standing[hold] = user
                self.hold_history[hold] = []
                for seat in seats:
                    note(self.seat_history[seat], "take", hold)
            elif answer.code in ("held", "sold"):
                note(self.seat_history[answer.figures["unit"]], "read", answer.code[0].upper())
            elif answer.code in ("heldout", "soldout") and answer.figures["unit"] == "ga":
                self.pool_refusals.append((sent, moment, what["pools"][0][1], answer.code, answer.figures["remaining"]))
            else:
                assert answer.code in ("heldout", "soldout", "noadjacent") and "best" in what, (answer, what)
        elif kind in ("confirm", "release", "cancel"):
            hold = argument
            taken = self.takes[hold]
            if answer.ok:
                note(self.hold_history[hold], kind)
                first = sum(1 for op in self.hold_history[hold] if op.what == kind) == 1
                if kind == "confirm" and first:
                    self.sold.append(hold)
                if kind != "confirm":
                    self.standing.pop(hold, None)
                    # of a release that is repeated the first to be sent may have been any of them
                    taken[2] = sent if taken[2] is None else min(taken[2], sent)
                    taken[3] = moment if taken[3] is None else min(taken[3], moment)
            else:
                assert answer.code in ("confirmed", "released", "cancelled"), answer
                note(self.hold_history[hold], "read", answer.code)
        elif kind == "get":
            note(self.hold_history[argument], "read", answer["state"])
        elif kind == "map":
            for number, letter in enumerate(answer["1"], 1):
                note(self.seat_history[f"{argument}/1/{number}"], "read", letter)
        else:
            self.counts.append((sent, moment, answer.data))

    def check_holds(self):
        for hold, operations in self.hold_history.items():
            wrong = check(operations, "held", hold_step)
            assert wrong is None, f"hold {hold}: {wrong[0]} has no place; states possible: {wrong[1]}\n{operations}"

    def check_seats(self):
        """The changes of a hold's seats are those of the hold. Of an action that was repeated, the one that took effect is not
        known from outside: it is one operation from the first sent to the first answered."""
        names = {"release": "free", "confirm": "sell", "cancel": "cancel"}
        for hold, taken in self.takes.items():
            for action, what in names.items():
                done = [op for op in self.hold_history[hold] if op.what == action]
                if done:
                    change = Operation(min(op.sent for op in done), min(op.answered for op in done), what, hold)
                    for seat in taken[4]:
                        self.seat_history[seat].append(change)
        for seat, operations in self.seat_history.items():
            wrong = check(operations, SEAT_START, seat_step)
            if wrong is not None:
                around = [op for op in operations if op.answered > wrong[0].sent - 2_000_000 and op.sent < wrong[0].answered]
                raise AssertionError(f"seat {seat}: {wrong[0]} has no place; states possible: {wrong[1]}\n" + "\n".join(map(str, around)))

    def taken_between(self, sent, answered, units):
        """The least and the most units that may have been taken at some moment between sent and answered."""
        least = most = 0
        for take_sent, take_answered, back_sent, back_answered, seats, quantity in self.takes.values():
            count = units(seats, quantity)
            if take_answered < sent and (back_sent is None or back_sent > answered):
                least += count
            if take_sent < answered and (back_answered is None or back_answered > sent):
                most += count
        return least, most

    def check_counts(self):
        for sent, answered, event in self.counts:
            for part in event["sections"] + event["pools"]:
                counts, name = part["counts"], part["name"]

                def units(seats, quantity):
                    return quantity if name == "ga" else sum(seat[0] == name for seat in seats)

                least, most = self.taken_between(sent, answered, units)
                taken = counts["held"] + counts["sold"]
                assert least <= taken <= most, f"{name}: {counts}, but between {least} and {most} were taken"
        for sent, answered, quantity, code, remaining in self.pool_refusals:
            least, most = self.taken_between(sent, answered, lambda _, q: q)
            assert POOL - most < quantity, f"{code} (remaining {remaining}) though {POOL - most} were free all the time, asked {quantity}"
            assert remaining < quantity and remaining <= POOL - least, (code, remaining, least)


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("seed", range(1, 5))
def test_history(servers, new_id, shards, seed):
    server, event = servers(shards), new_id(f"linear-{seed}")
    admin = Resp(server)
    assert admin.create(event, sections=[(name, 1, 2) for name in SECTIONS], pools=[("ga", POOL)], hold_seconds=3600).ok
    run = Run(server, event, seed)
    run.go()
    run.check_holds()
    run.check_seats()
    run.check_counts()
    # not an empty run: everything that can happen did
    assert len(run.takes) > COMMANDS / 60 and len(run.counts) > COMMANDS / 60, (len(run.takes), len(run.counts))
    assert any(taken[2] is not None for taken in run.takes.values()) and run.pool_refusals and run.sold
    admin.close()
