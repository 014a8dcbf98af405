"""linearizability.py - was there an order? A checker of concurrent histories of one register.

A history is a list of operations, each with the moment it was sent, the moment its answer was there, and what it did.
It is linearizable if the operations have an order in which each makes sense after the one before it, and which
never turns round two that did not overlap (Herlihy and Wing 1990).

The search is just-in-time linearization (Lowe 2017, after Wing and Gong 1993): events in time order, and beside them the
set of configurations that are possible so far: a state of the register, and which of the operations under way have
taken effect already. An answer removes the configurations in which its operation could not have taken effect by now; when
none is left, there was no order. A read that fits is taken at once, since it changes nothing: that keeps the set small.

The model is a function: step(state, operation) gives the next state, or None where the operation makes no sense. What happens
by itself at a deadline is part of the model where it is known when (a hold), else an operation that nobody answers (a seat).
"""


MS = 1_000_000
CLOCK_SLACK = 2 * MS  # the server's clock is whole milliseconds, anchored once to the wall clock


class Operation:
    """Moments are nanoseconds of the wall clock; answered None: nobody has seen whether it took effect."""

    __slots__ = ("sent", "answered", "what", "argument", "who")

    def __init__(self, sent, answered, what, argument=None, who=None):
        self.sent, self.answered, self.what, self.argument, self.who = sent, answered, what, argument, who

    def __repr__(self):
        return f"[{self.sent}..{self.answered}] {self.what} {self.argument or ''} ({self.who or ''})"


def seat_step(state, operation):
    """A seat: F, or (H, hold), or (S, hold). A read sees the letter alone."""
    what, argument = operation.what, operation.argument
    letter, hold = state
    if what == "read":
        return state if letter == argument else None
    if what == "take":
        return ("H", argument) if letter == "F" else None
    if what == "swap":  # a replace that keeps the seat
        old, new = argument
        return ("H", new) if state == ("H", old) else None
    if what == "free":
        return ("F", None) if state == ("H", argument) else None
    if what == "sell":
        return ("S", hold) if state == ("H", argument) else None
    if what == "late":  # from its own hold, or when that is over and the seat still free
        return ("S", argument) if state in (("H", argument), ("F", None)) else None
    if what == "cancel":
        return ("F", None) if state == ("S", argument) else None
    raise ValueError(what)


SEAT_START = ("F", None)


def hold_step(state, operation):
    """A hold: its state as GETHOLD and refusals name it, and its deadline. It ends by itself at its deadline: from then on
    nothing can be done to it that needs a live one, and before nobody may read that it is over."""
    what, argument = operation.what, operation.argument
    word, deadline = state
    live = word == "held" and operation.sent < deadline + CLOCK_SLACK
    over = word == "expired" or (word == "held" and operation.answered >= deadline - CLOCK_SLACK)
    if what == "read":
        seen, shown = argument
        if seen == "held":
            return state if live and shown in (None, deadline) else None
        if seen == "expired":
            return ("expired", deadline) if over else None
        return state if word == seen else None
    if what == "confirm":  # repeated: the same answer
        return ("confirmed", deadline) if live or word == "confirmed" else None
    if what == "late":
        return ("confirmed", deadline) if live or over or word == "confirmed" else None
    if what == "extend":
        return ("held", argument) if live and argument >= deadline else None
    if what == "release":
        return ("released", deadline) if live or word == "released" else None
    if what == "replace":
        return ("released", deadline) if live else None
    if what == "cancel":
        return ("cancelled", deadline) if word in ("confirmed", "cancelled") else None
    raise ValueError(what)


def check(operations, start, step):
    """None where there was an order, else the operation whose answer has no place, and the states possible before it."""
    events = []
    for number, operation in enumerate(operations):
        events.append((operation.sent, 0, number))  # at one moment: sent before answered, the more lenient way
        if operation.answered is not None:
            assert operation.sent <= operation.answered
            events.append((operation.answered, 1, number))
    events.sort()
    under_way = {}
    configurations = {(start, frozenset())}
    for _, is_answer, number in events:
        if not is_answer:
            under_way[number] = operations[number]
            configurations = {settle(c, under_way, step) for c in configurations}
            continue
        possible, seen, open_ = set(), set(configurations), list(configurations)
        while open_:
            state, done = open_.pop()
            if number in done:
                possible.add((state, done - {number}))
                continue
            for other, operation in under_way.items():
                if other in done:
                    continue
                after = step(state, operation)
                if after is None:
                    continue
                following = settle((after, done | {other}), under_way, step)
                if following not in seen:
                    seen.add(following)
                    open_.append(following)
        if not possible:
            return operations[number], sorted({str(state) for state, _ in configurations})
        del under_way[number]
        configurations = possible
    return None


def settle(configuration, under_way, step):
    """Every operation under way that fits and changes nothing has taken effect."""
    state, done = configuration
    now = {number for number, operation in under_way.items() if number not in done and step(state, operation) == state}
    return (state, done | now) if now else configuration
