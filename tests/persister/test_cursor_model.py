"""test_cursor_model.py - the cursor's protocol, as a model of which every order of steps is tried.

Two persisters (one was started by mistake) carry two journals whose holds take turns on one seat. Each persister reads the
step and the cursor, takes some of what follows, and commits: rows, seat and cursor in one transaction that begins with
step(). Between any two steps it may crash, and the answer to a commit may be lost. Whatever the order: each record below the cursor has
its row once, none above it has one, and the seat is as the highest version that was carried says.

Planted bugs show that the search can fail: a cursor in a transaction of its own, a seat that is written whatever its version, a
commit that does not look at the step.
"""
from collections import deque

import pytest

# of each journal: (version of the seat, its state); only versions tell the order between journals
JOURNALS = (((1, "held"), (2, "free"), (5, "held")), ((3, "held"), (4, "sold")))
NOBODY = None


def apply(state, taken, plant):
    """The rows of a transaction: state is (step, cursor, rows, seat)."""
    step, cursor, rows, seat = state
    rows = list(rows)
    for journal, place in taken:
        rows.append((journal, place))
        change = JOURNALS[journal][place]
        if plant == "no version guard" or seat is None or change[0] > seat[0]:
            seat = change
    return step, cursor, tuple(sorted(rows)), seat


def moves(database, persister, plant):
    """What one persister can do next: (database, persister) pairs. It is None (nothing read), or (step, cursor, taken, written)."""
    if persister is NOBODY:
        yield database, (database[0], database[1], (), False)
        return
    yield database, NOBODY  # a crash
    step, cursor, taken, written = persister
    if not written:
        for journal in range(len(JOURNALS)):
            place = cursor[journal] + sum(1 for other, _ in taken if other == journal)
            if place < len(JOURNALS[journal]) and len(taken) < 2:
                yield database, (step, cursor, (*taken, (journal, place)), False)
    if not taken:
        return
    moved = tuple(cursor[journal] + sum(1 for other, _ in taken if other == journal) for journal in range(len(JOURNALS)))
    if plant == "cursor outside" and not written:
        yield apply(database, taken, plant), (step, cursor, taken, True)
        return
    if database[0] != step and plant != "no step":
        yield database, NOBODY  # step() refuses: all is read anew
        return
    done = database if written else apply(database, taken, plant)
    done = (done[0] + 1, moved, done[2], done[3])
    yield done, (done[0], moved, (), False)
    yield done, NOBODY  # the answer was lost


def wrong(database):
    _, cursor, rows, seat = database
    carried = [(journal, place) for journal in range(len(JOURNALS)) for place in range(cursor[journal])]
    if list(rows) != carried:
        return "a row twice, or missing, or ahead of the cursor"
    newest = max((JOURNALS[journal][place] for journal, place in carried), default=None)
    return None if seat == newest else "a seat that an older change has overwritten"


def search(plant=None):
    """Every state that can be reached; the first that is wrong, or how many there are."""
    first = ((0, (0, 0), (), None), NOBODY, NOBODY)
    seen, todo = {first}, deque([first])
    finished = False
    while todo:
        database, one, other = todo.popleft()
        # with the cursor apart rows are ahead of it for a moment: only what a crash leaves counts
        if (one is NOBODY or not one[3]) and (other is NOBODY or not other[3]) and wrong(database):
            return wrong(database)
        finished |= database[1] == tuple(map(len, JOURNALS))
        following = [(after, mine, other) for after, mine in moves(database, one, plant)]
        following += [(after, one, theirs) for after, theirs in moves(database, other, plant)]
        for state in following:
            if len(state[0][2]) <= 12 and state not in seen:
                seen.add(state)
                todo.append(state)
    assert finished, "the search has never come to the end of the journals"
    return len(seen)


def test_every_order_of_steps_carries_each_record_once():
    assert search() > 500


@pytest.mark.parametrize("plant", ["cursor outside", "no version guard", "no step"])
def test_a_planted_bug_is_found(plant):
    assert isinstance(search(plant), str)
