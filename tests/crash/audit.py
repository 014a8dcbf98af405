"""audit.py - a server that has come back, against everything that was acknowledged before.

    audit(server, ledger, random) -> how much was looked at

In this order, with no other traffic: keys whose command was answered are repeated; every hold is looked at, which also
settles what was in doubt; the lists of users' holds must name nothing that nobody asked for; seat maps and counts must be
what the holds make them; then commands in doubt are repeated with their keys.
"""
import time

from api import Http, Resp
from clients import CLOCK_SLACK_MS, call
from ledger import ENDED_SECONDS, Hold, Violation, effective, forgettable, now_ms

KEY_SECONDS = 120  # core.key_seconds of the servers
KEY_MARGIN_SECONDS = 60  # what is nearer to being forgotten is not asked for
SWEEP_SECONDS = 20  # an expired hold's units are free by then


def pipelined(api, requests, form):
    """Answers of many requests over one connection, each with the moment before which it was not asked for."""
    answers = []
    for start in range(0, len(requests), 100):
        some = requests[start : start + 100]
        asked_ms = now_ms()
        api.connection.send(b"".join(some))
        answers += [(api.read(api.connection.receive(), form), asked_ms) for _ in some]
    return answers


class Audit:
    def __init__(self, server, ledger, random):
        self.ledger, self.random = ledger, random
        self.resp, self.http = Resp(server, timeout=60), Http(server, timeout=60)
        self.looked = 0
        self.settled = 0
        self.waited = 0  # looks at units again
        self.waited_for = None

    def close(self):
        self.resp.close()
        self.http.close()

    def run(self, everything=False):
        ledger = self.ledger
        events = list(ledger.active)
        older = [event for event in ledger.retired if event not in events]
        events += older if everything else self.random.sample(older, min(2, len(older)))
        self.repeat_keys()
        for client in ledger.clients:
            self.holds_of(client, events)
        self.lists(events)
        for event in events:
            self.settings(event)
            self.units(event)
            ledger.check_versions(event)
        self.repeat_doubts()
        self.forget()

    # ---- keys

    def repeat_keys(self):
        for client in self.ledger.clients:
            oldest = time.monotonic() - KEY_SECONDS + KEY_MARGIN_SECONDS
            client.keyed = [entry for entry in client.keyed if entry[0] > oldest]
            recent = client.keyed[-30:]
            for _, what, answer, over_http in self.random.sample(recent, min(8, len(recent))):
                client.repeat(self.random.choice([self.resp, self.http]), what, answer, over_http)
                self.looked += 1

    def repeat_doubts(self):
        """A command in doubt, again with its key: if it had happened, this is its answer, else it happens now."""
        for client in self.ledger.clients:
            what, client.doubt = client.doubt, None
            if what is None or what.key is None or what.event.retired:
                continue
            api = self.random.choice([self.resp, self.http])
            found = getattr(what, "found", None)
            if what.kind == "hold" and found is not None:
                answer = call(api, what)
                if not answer.ok or answer["hold"] != found.id:
                    raise Violation(f"{what}: happened as {found}, and repeated with its key: {answer}")
                if api is self.http and not answer.replayed:
                    raise Violation(f"{what}: happened as {found}, and was not replayed: {answer}")
            elif what.kind == "hold" and what.replaces is None:
                # it may have happened and have ended since: then the first answer comes, of a hold that is over
                known, sent = set(client.holds), what.sent_ms
                answer = client.do(api, what)
                # a known one: the user's own same hold was the answer
                if answer.ok and answer.replayed and answer["hold"] not in known and answer["deadline_ms"] > now_ms():
                    raise Violation(f"{what}: in doubt, not in the user's list, and replayed as live: {answer}")
                what.sent_ms = sent
            client.doubt = None

    # ---- holds

    def holds_of(self, client, events):
        whole = set(events)
        holds = [hold for hold in client.holds.values() if not hold.event.retired or hold.event in whole]
        if not holds:
            return
        for hold, (answer, asked_ms) in zip(holds, pipelined(self.resp, [Resp.get_request(hold.id) for hold in holds], Resp.get_form)):
            self.hold(client, hold, answer, asked_ms)
        for hold in self.random.sample(holds, min(5, len(holds))):
            asked_ms = now_ms()
            self.hold(client, hold, self.http.get(hold.id), asked_ms)

    def hold(self, client, hold, answer, asked_ms):
        self.looked += 1
        doubt = client.doubt if client.doubt is not None and hold in (client.doubt.hold, client.doubt.replaces) else None
        if not answer.ok:
            if answer.code == "nohold" and forgettable(hold):
                client.holds.pop(hold.id, None)
                return
            raise Violation(f"lost: {answer} for {hold}")
        told = answer.data
        if (told["event"], told["user"]) != (hold.event.id, hold.user):
            raise Violation(f"{hold} is told as {told}")
        if {pool["name"]: pool["quantity"] for pool in told["pools"]} != hold.pools:
            raise Violation(f"{hold}: pools have changed: {told}")
        versions = {seat["seat"]: seat["version"] for seat in told["seats"]}
        if set(versions) != set(hold.seats):
            raise Violation(f"{hold}: seats have changed: {told}")
        if doubt is not None:
            self.settle(doubt, hold, told, versions)
        state = told["state"]
        possible = {effective(hold, asked_ms - CLOCK_SLACK_MS), effective(hold, now_ms() + CLOCK_SLACK_MS)}
        if state not in possible:
            raise Violation(f"{hold}: is {state} after the restart: {told}; in doubt: {doubt}")
        if state == "expired" and hold.state == "held" and now_ms() + CLOCK_SLACK_MS < hold.deadline_ms:
            raise Violation(f"{hold}: ended before its deadline: {told}")
        if state == "expired":
            hold.end("expired")
        if told["deadline_ms"] != hold.deadline_ms:
            raise Violation(f"{hold}: deadline has changed: {told}; in doubt: {doubt}")
        if not hold.versions_known:
            client.take_versions(hold, answer)
        if versions != hold.seats:
            raise Violation(f"{hold}: versions have changed: {told}; in doubt: {doubt}")

    def settle(self, doubt, hold, told, versions):
        """What a command without an answer may have done to this hold; what the hold says is taken as what happened."""
        self.settled += 1
        state = told["state"]
        if doubt.kind in ("confirm", "late") and state == "confirmed" and hold.state != "confirmed":
            late = doubt.kind == "late" and effective(hold, doubt.sent_ms - CLOCK_SLACK_MS) != "released"
            if effective(hold, doubt.sent_ms - CLOCK_SLACK_MS) not in ("held", "expired" if late else "held"):
                raise Violation(f"{doubt}: confirmed {hold}")
            for seat, version in versions.items():
                if version <= hold.seats[seat]:
                    raise Violation(f"{doubt}: confirmed {hold}, and {seat} is still at version {version}")
                self.ledger.version_seen(hold.event, seat, version, doubt.sent, time.monotonic(), hold)
            hold.confirm(versions)
            hold.versions_known = True
        elif doubt.kind == "release" and state == "released" and hold.state in ("held", "expired"):
            hold.end("released")
        elif doubt.kind == "cancel" and state == "cancelled" and hold.state == "confirmed":
            hold.end("cancelled")
        elif doubt.kind == "hold" and hold is doubt.replaces and state == "released" and hold.state in ("held", "expired"):
            hold.end("released")
            doubt.replaced = True
        elif doubt.kind == "extend" and told["deadline_ms"] > hold.deadline_ms and hold.state in ("held", "expired"):
            if told["deadline_ms"] > now_ms() + doubt.seconds * 1000:
                raise Violation(f"{doubt}: deadline {told['deadline_ms']} is later than was asked for: {hold}")
            hold.deadline_ms = told["deadline_ms"]
            hold.state, hold.ended_ms = "held", None

    # ---- lists of users' holds

    def lists(self, events):
        for event in events:
            known = {}
            for client in self.ledger.clients:
                for hold in client.holds.values():
                    if hold.event is event:
                        known.setdefault(hold.user, {})[hold.id] = hold
            for client in self.ledger.clients:
                for user in {hold.user for hold in client.holds.values() if hold.event is event} | self.doubtful_user(client, event):
                    self.list_of(client, event, user, known.get(user, {}))

    @staticmethod
    def doubtful_user(client, event):
        doubt = client.doubt
        return {doubt.user} if doubt is not None and doubt.kind == "hold" and doubt.event is event else set()

    def list_of(self, client, event, user, known):
        before = now_ms()
        told = self.random.choice([self.resp, self.resp, self.http]).holds(event.id, user)
        after = now_ms()
        listed = {hold["hold"]: hold for hold in told.data}
        self.looked += len(listed)
        for hold in known.values():
            stands = {effective(hold, before - CLOCK_SLACK_MS), effective(hold, after + CLOCK_SLACK_MS)} & {"held", "confirmed"}
            if hold.id not in listed:
                if stands == {effective(hold, after + CLOCK_SLACK_MS)}:
                    raise Violation(f"{hold} is not in its user's list: {told}")
            elif not stands:
                raise Violation(f"{hold} is in its user's list: {listed[hold.id]}")
        for stranger in [hold for name, hold in listed.items() if name not in known]:
            self.adopt(client, event, user, stranger)

    def adopt(self, client, event, user, told):
        """A hold that nobody was told of: it must be what the command in doubt asked for."""
        doubt = client.doubt
        if doubt is None or doubt.kind != "hold" or doubt.event is not event or doubt.user != user or hasattr(doubt, "found"):
            raise Violation(f"nobody asked for {told}; in doubt: {doubt}")
        seats = {seat["seat"]: seat["version"] for seat in told["seats"]}
        asked = doubt.request.get("seats", [])
        best = doubt.request["best"][1] if "best" in doubt.request else 0
        pools = {pool["name"]: pool["quantity"] for pool in told["pools"]}
        if not set(asked) <= set(seats) or len(seats) != len(asked) + best or pools != dict(doubt.request.get("pools", ())):
            raise Violation(f"{doubt}: {told} is not what was asked for")
        if told["state"] != "held" or told["deadline_ms"] > now_ms() + doubt.request["ttl"] * 1000:
            raise Violation(f"{doubt}: {told} is not what was asked for")
        if doubt.replaces is not None and doubt.replaces.state != "released":
            raise Violation(f"{doubt}: {told} stands, and so does {doubt.replaces}")
        hold = Hold(told["hold"], user, event, told["deadline_ms"])
        hold.seats, hold.pools = seats, pools
        client.holds[hold.id] = hold
        doubt.found = hold
        self.settled += 1
        for seat, version in seats.items():
            self.ledger.version_seen(event, seat, version, doubt.sent, time.monotonic(), hold)

    # ---- seats and pools

    def settings(self, event):
        told = self.http.event(event.id)
        if not told.ok:
            raise Violation(f"lost: {event}: {told}")
        pools = {pool["name"]: pool["counts"]["capacity"] for pool in told["pools"]}
        doubt, event.doubtful = event.doubtful, None
        if doubt is not None and (pools, told["hold_seconds"]) == (doubt["pools"], doubt["hold_seconds"]):
            event.pools, event.hold_seconds = doubt["pools"], doubt["hold_seconds"]
        if pools != event.pools or told["hold_seconds"] != event.hold_seconds:
            raise Violation(f"{event}: {told}, expected pools {event.pools}, hold_seconds {event.hold_seconds}; in doubt: {doubt}")

    def units(self, event):
        """Maps and counts are what the holds make them, as soon as what has expired is swept."""
        end = time.monotonic() + SWEEP_SECONDS
        while True:
            wrong = self.units_wrong(event)
            if wrong is None:
                return
            self.waited, self.waited_for = self.waited + 1, f"{event}: {wrong}"
            if time.monotonic() > end:
                raise Violation(f"{event}: {wrong}")
            time.sleep(0.02)

    def units_wrong(self, event):
        holds = [hold for client in self.ledger.clients for hold in client.holds.values() if hold.event is event]
        before = now_ms()
        maps = {name: self.resp.seats(event.id, name).data for name, _, _ in event.sections}
        told = self.random.choice([self.resp, self.http]).event(event.id).data
        after = now_ms()
        owner, letters = {}, {}
        held, sold, perhaps = {}, {}, {}
        for hold in holds:
            first, last = effective(hold, before - CLOCK_SLACK_MS), effective(hold, after + CLOCK_SLACK_MS)
            if first not in ("held", "confirmed"):
                continue
            for seat in hold.seats:
                if last in ("held", "confirmed"):
                    if seat in owner:
                        raise Violation(f"{event} {seat} is in two holds: {owner[seat]} and {hold}")
                    owner[seat] = hold
                letters.setdefault(seat, set()).update({"S"} if first == "confirmed" else {"H"} if last == "held" else {"H", "F"})
            for name, quantity in hold.pools.items():
                which = sold if first == "confirmed" else held if last == "held" else perhaps
                which[name] = which.get(name, 0) + quantity
        for name, rows, counts in event.sections:
            for row, count in zip(rows, counts):
                for seat in range(count):
                    allowed = letters.get(f"{name}/{row}/{seat + 1}", {"F"})
                    if maps[name][row][seat] not in allowed:
                        return f"{name}/{row}/{seat + 1} is {maps[name][row][seat]}, the holds say {sorted(allowed)}: {owner.get(f'{name}/{row}/{seat + 1}')}"
        for section in told["sections"]:
            text = "".join(maps[section["name"]].values())
            counts = section["counts"]
            if (counts["free"], counts["held"], counts["sold"]) != (text.count("F"), text.count("H"), text.count("S")):
                return f"section {section['name']} counts {counts}, its map says {text}"
        for pool in told["pools"]:
            name, counts = pool["name"], pool["counts"]
            least = held.get(name, 0)
            if counts["sold"] != sold.get(name, 0) or not least <= counts["held"] <= least + perhaps.get(name, 0):
                return f"pool {name} counts {counts}, the holds say {least} to {least + perhaps.get(name, 0)} held and {sold.get(name, 0)} sold"
            if counts["held"] + counts["sold"] > event.pools[name]:
                raise Violation(f"{event}: pool {name} is oversold: {counts}")
        return None

    # ---- what may be forgotten

    def forget(self):
        """Ended holds that the server need not remember any longer; some are asked for: they never stand again."""
        oldest = now_ms() - ENDED_SECONDS * 750
        gone = []
        for client in self.ledger.clients:
            for hold in list(client.holds.values()):
                if effective(hold, now_ms()) == "expired":
                    hold.state, hold.ended_ms = "expired", hold.ended_ms or hold.deadline_ms
                if hold.ended_ms is not None and hold.ended_ms < oldest:
                    gone.append(client.holds.pop(hold.id))
        for hold in self.random.sample(gone, min(10, len(gone))):
            answer = self.resp.get(hold.id)
            if answer.code != "nohold" and (not answer.ok or answer["state"] != hold.state):
                raise Violation(f"{hold} was over, and is {answer}")
