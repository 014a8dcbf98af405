"""test_deals.py - stock 10, 100 buyers at once: exactly 10, in 1,000 rounds on 1, 2 and 4 shards.

Half of the buyers come over each protocol, each on a connection of its own. All requests of a round are on their
way before the first answer is read. "Sold" is counted from what the buyers were told.
"""
import os
import random

import pytest

from api import Http, Resp
from server import SANITIZED, Server
from wire import resp_request

ROUNDS = int(os.environ.get("HOLDFAST_ROUNDS", "100" if SANITIZED else "1000"))
STOCK, BUYERS = 10, 100


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda n: f"{n}shards")
def crowd(request):
    with Server(shards=request.param) as server:
        buyers = [Resp(server) if n % 2 == 0 else Http(server) for n in range(BUYERS)]
        yield server, buyers
        for buyer in buyers:
            buyer.close()


def rush(buyers, requests):
    """Sends every buyer's request, then reads every answer."""
    for buyer, request in zip(buyers, requests):
        buyer.connection.send(request)
    return [buyer.read(buyer.connection.receive(), buyer.hold_form) for buyer in buyers]


def create_all(server, names, *settings):
    resp = Resp(server)
    for first in range(0, len(names), 100):
        some = names[first : first + 100]
        resp.connection.send(b"".join(resp_request("EVENT", "CREATE", name, *settings) for name in some))
        assert [resp.connection.receive() for _ in some] == ["OK"] * len(some)
    resp.close()


def test_a_pool_of_ten(crowd):
    server, buyers = crowd
    names = [f"deal-{n}" for n in range(ROUNDS)]
    create_all(server, names, "POOL", "ga", STOCK)
    dice = random.Random(3)
    for name in names:
        dice.shuffle(buyers)
        answers = rush(buyers, [b.hold_request(name, f"u{n}", pools=[("ga", 1)]) for n, b in enumerate(buyers)])
        held = [answer for answer in answers if answer.ok]
        assert len(held) == STOCK, f"{name}: {len(held)} of {STOCK}"
        assert len({answer["hold"] for answer in held}) == STOCK
        for answer in answers:
            assert answer.ok or (answer.code, answer.figures["unit"], answer.figures["remaining"]) == ("heldout", "ga", 0), answer
        counts = buyers[0].event(name)["counts"]
        assert counts == {"capacity": STOCK, "free": 0, "held": STOCK, "sold": 0}


def test_a_pool_of_ten_bought_and_given_back(crowd):
    """Winners confirm or release at random, losers come again: in the end ten are sold, and the rest is told sold out."""
    server, buyers = crowd
    names = [f"back-{n}" for n in range(max(ROUNDS // 20, 5))]
    create_all(server, names, "POOL", "ga", STOCK)
    dice = random.Random(4)
    for name in names:
        sold, waiting = 0, list(range(BUYERS))
        for _ in range(60):
            answers = rush([buyers[n] for n in waiting], [buyers[n].hold_request(name, f"u{n}", pools=[("ga", 1)]) for n in waiting])
            held = [(n, answer) for n, answer in zip(waiting, answers) if answer.ok]
            assert sold + len(held) == STOCK, f"{name}: {sold} sold, {len(held)} held"
            for n, answer in held:
                if dice.random() < 0.5:
                    assert buyers[n].confirm(answer["hold"], f"u{n}").ok
                    sold += 1
                    waiting.remove(n)
                else:
                    assert buyers[n].release(answer["hold"], f"u{n}").ok
            if sold == STOCK:
                break
        assert sold == STOCK
        for answer in rush([buyers[n] for n in waiting], [buyers[n].hold_request(name, f"u{n}", pools=[("ga", 1)]) for n in waiting]):
            assert answer.code == "soldout" and answer.figures == {"unit": "ga", "remaining": 0}, answer


def test_ten_seats(crowd):
    """The same with seats: by name (everybody wants the same one first), and by best."""
    server, buyers = crowd
    names = [f"seat-{n}" for n in range(max(ROUNDS // 10, 10))]
    create_all(server, names, "SECTION", "A", 2, 5)
    for number, name in enumerate(names):
        if number % 2 == 0:
            wanted = [{"seats": [f"A/{1 + n % 2}/{1 + n // 2 % 5}"]} for n in range(BUYERS)]
        else:
            wanted = [{"best": ("A", 1)}] * BUYERS
        answers = rush(buyers, [b.hold_request(name, f"u{n}", **wanted[n]) for n, b in enumerate(buyers)])
        taken = [answer["seats"][0]["seat"] for answer in answers if answer.ok]
        assert len(taken) == len(set(taken)) == STOCK, f"{name}: {sorted(taken)}"
        assert {answer.code for answer in answers if not answer.ok} == ({"held"} if number % 2 == 0 else {"heldout"})
        assert set(buyers[1].seats(name, "A").data.values()) == {"HHHHH"}


def test_two_seats_each_and_never_neither(crowd):
    """Of two holds that want the same seats one wins: ten pairs of seats on both sides of blocks, everybody in another order."""
    server, buyers = crowd
    names = [f"pair-{n}" for n in range(max(ROUNDS // 20, 5))]
    create_all(server, names, "SECTION", "A", 2, 1024)
    for name in names:
        wanted = []
        for n in range(BUYERS):
            pair = [f"A/1/{1 + n % 10}", f"A/2/{1 + n % 10}"]
            wanted.append(pair if n < 50 else pair[::-1])
        answers = rush(buyers, [b.hold_request(name, f"u{n}", seats=wanted[n]) for n, b in enumerate(buyers)])
        taken = [seat["seat"] for answer in answers if answer.ok for seat in answer["seats"]]
        assert len(taken) == len(set(taken)) == 20, f"{name}: {sorted(taken)}"
        assert buyers[0].event(name)["counts"]["held"] == 20
