"""liar.py - a small server that speaks Holdfast's RESP and, where it is told to, lies.

    with Liar("forgets") as liar: ... liar.port

It keeps seats, holds and places in plain dictionaries and answers as the interface says, as far as `holdfast load` asks;
a lie is one place where it does not. What it says of itself afterwards (EVENT GET, SEATS) stays as honest as the lie allows: a
generator that only compared a server with itself would find nothing.

    twice         every tenth seat that is held is given to the next one as well
    sells more    the pool gives one unit more than there are
    forgets       every tenth confirmed hold is on sale again a moment later
    others        a hold is of other seats than those asked for
    crowd         one more is let in than may be active
    back          positions rise
    second        who joins again gets another place
    open door     holds without a slot are granted
    shut door     who was let in is refused as not admitted
"""
import asyncio
import collections
import threading
import time
import uuid

LIES = ["twice", "sells more", "forgets", "others", "crowd", "back", "second", "open door", "shut door"]


class Refusal(Exception):
    pass


class Event:
    def __init__(self, words):
        self.seats, self.pool, self.hold_seconds, self.queue = {}, None, 300, None
        while words:
            word = words.pop(0)
            if word == "SECTION":
                self.section, self.rows, self.row_seats = words.pop(0), int(words.pop(0)), int(words.pop(0))
                self.seats = {f"{self.section}/{r + 1}/{n + 1}": None for r in range(self.rows) for n in range(self.row_seats)}
            elif word == "POOL":
                words.pop(0)
                self.pool = int(words.pop(0))
            elif word == "HOLD":
                self.hold_seconds = int(words.pop(0))
            elif word == "QUEUE":
                self.queue = [int(words.pop(0)) for _ in range(3)]
            else:
                words.pop(0)
        self.capacity = len(self.seats) + (self.pool or 0)
        self.waiting, self.active = collections.OrderedDict(), {}
        self.versions = collections.Counter()


class Liar:
    def __init__(self, lie=None):
        assert lie is None or lie in LIES, lie
        self.lie = lie
        self.events, self.holds, self.tokens, self.by_key = {}, {}, {}, {}
        self.taken = self.confirmed = self.looks = 0

    # ---- what is said ----

    def counts(self, event):
        held = sum(h["units"] for h in self.holds.values() if h["event"] is event and h["state"] == "held")
        sold = sum(h["units"] for h in self.holds.values() if h["event"] is event and h["state"] == "confirmed")
        return ["capacity", event.capacity, "free", event.capacity - held - sold, "held", held, "sold", sold]

    def word_event(self, what, name, *rest):
        if what == "CREATE":
            self.events[name] = Event(list(rest))
            return True
        return ["id", name, "counts", self.counts(self.events[name])]

    def word_seats(self, name, section):
        event = self.events[name]
        letters = {None: "F", "held": "H", "confirmed": "S"}
        state = {s: self.holds[h]["state"] if h else None for s, h in event.seats.items()}
        return [x for r in range(event.rows) for x in (
            str(r + 1), "".join(letters[state[f"{section}/{r + 1}/{n + 1}"]] for n in range(event.row_seats)))]

    def free_run(self, event, count):
        for r in range(event.rows):
            for n in range(event.row_seats - count + 1):
                run = [f"{event.section}/{r + 1}/{n + i + 1}" for i in range(count)]
                if all(event.seats[s] is None for s in run):
                    return run
        raise Refusal("SOLDOUT" if sum(h is None for h in event.seats.values()) < count else "NOADJACENT")

    def wanted(self, event, words):
        seats, units = [], 0
        while words:
            word = words.pop(0)
            if word == "SEAT":
                seats.append(words.pop(0))
            elif word == "BEST":
                words.pop(0)
                seats = self.free_run(event, int(words.pop(0)))
            elif word == "POOL":
                words.pop(0)
                units = int(words.pop(0))
                left = self.counts(event)[3] + (self.lie == "sells more")
                if left < units:
                    raise Refusal("SOLDOUT")
        return seats, units

    def word_hold(self, name, user, *words):
        event, words = self.events[name], list(words)
        if "KEY" in words:
            key = (user, words[words.index("KEY") + 1])
            words = words[: words.index("KEY")]
            if key in self.by_key:
                return self.by_key[key]
        else:
            key = None
        admitted = event.queue is None or user in event.active
        if (not admitted and self.lie != "open door") or self.lie == "shut door" and admitted and event.queue:
            raise Refusal("NOTADMITTED")
        seats, units = self.wanted(event, words)
        for seat in seats:
            holder = event.seats[seat]
            self.looks += holder is not None
            if holder and not (self.lie == "twice" and self.looks % 10 == 0):
                raise Refusal("HELD" if self.holds[holder]["state"] == "held" else "SOLD")
        if self.lie == "others" and len(seats) == 1:
            seats = self.free_run(event, 1) if event.seats[seats[0]] is None else seats
        hold, self.taken = str(uuid.uuid4()), self.taken + 1
        for seat in seats:
            event.seats[seat] = hold
            event.versions[seat] += 1
        self.holds[hold] = {"event": event, "user": user, "seats": seats, "units": units or len(seats), "state": "held"}
        answer = [hold, int(time.time() * 1000) + event.hold_seconds * 1000]
        for seat in seats:
            answer += [seat, event.versions[seat]]
        if key:
            self.by_key[key] = answer
        return answer

    def end(self, event, user):
        if event.active.pop(user, None):
            self.activate(event)

    def free(self, hold, state):
        hold["state"] = state
        for seat in hold["seats"]:
            hold["event"].seats[seat] = None

    def word_confirm(self, name, user, *_):
        hold = self.holds[name]
        if hold["state"] == "held":
            hold["state"] = "confirmed"
            self.confirmed += 1
            if self.lie == "forgets" and self.confirmed % 10 == 0:
                self.free(hold, "expired")
            self.end(hold["event"], user)
        return True

    def word_release(self, name, user, *_):
        if self.holds[name]["state"] == "held":
            self.free(self.holds[name], "released")
        return True

    def word_gethold(self, name):
        hold = self.holds[name]
        seats = [["seat", s, "version", 1] for s in hold["seats"]]
        pools = [] if seats else [["name", "deal", "quantity", hold["units"]]]
        return ["hold", name, "user", hold["user"], "state", hold["state"], "seats", seats, "pools", pools]

    # ---- the waiting room ----

    def activate(self, event):
        while event.waiting and len(event.active) < event.queue[0] + (self.lie == "crowd"):
            token, user = event.waiting.popitem(last=False)
            event.active[user] = token
            self.tokens[token]["deadline"] = int(time.time() * 1000) + event.queue[1] * 1000

    def place(self, token):
        entry = self.tokens[token]
        event, user = entry["event"], entry["user"]
        if token in event.waiting:
            position = list(event.waiting).index(token) + 1
            if self.lie == "back":
                self.looks += 1
                position += self.looks
            return [token, "waiting", position, None, None]
        if event.active.get(user) == token:
            return [token, "active", None, "pass", entry["deadline"]]
        return [token, "done", None, None, None]

    def expire(self):
        now = time.time() * 1000
        for event in self.events.values():
            for user, token in list(event.active.items()):
                if self.tokens[token]["deadline"] <= now:
                    self.end(event, user)

    def word_queue(self, what, first, user=None):
        self.expire()
        if what == "JOIN":
            event = self.events[first]
            token = next((t for t, u in event.waiting.items() if u == user), event.active.get(user))
            if token is None or self.lie == "second":
                token = str(uuid.uuid4())
                self.tokens[token] = {"event": event, "user": user}
                event.waiting[token] = user
                self.activate(event)
            return self.place(token)
        if what == "LEAVE":
            entry = self.tokens[first]
            entry["event"].waiting.pop(first, None)
            self.end(entry["event"], entry["user"])
        return self.place(first)

    # ---- sockets ----

    @staticmethod
    def encode(value):
        if value is True:
            return b"+OK\r\n"
        if value is None:
            return b"$-1\r\n"
        if isinstance(value, int):
            return b":%d\r\n" % value
        if isinstance(value, str):
            return b"$%d\r\n%b\r\n" % (len(value), value.encode())
        return b"*%d\r\n" % len(value) + b"".join(map(Liar.encode, value))

    async def serve(self, reader, writer):
        try:
            while True:
                words = []
                for _ in range(int((await reader.readline())[1:] or 0)):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode())
                if not words:
                    return
                try:
                    answer = self.encode(getattr(self, f"word_{words[0].lower()}")(*words[1:]))
                except Refusal as refusal:
                    answer = f"-{refusal} no\r\n".encode()
                writer.write(answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.serve, "127.0.0.1", 0), self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        self.server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
