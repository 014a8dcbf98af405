"""What is compared with what: the rivals as they appear in the report, and the ratios with their aims."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    key: str  # in results.json
    rival: str  # the word after `holdfast bench rival`
    label: str
    group: str  # deal, hall, http: what is compared with each other
    server: str  # key of the server
    units: int  # so many that none is sold out while it is measured
    better_at: str
    oversells: bool = False
    pooled: bool = False  # whether a small pool of connections may serve many buyers


MANY = 100_000_000
SEATS = 1_000_000
ROWS = 100_000  # where each unit or seat is a row of PostgreSQL's

ENTRIES = [
    Entry("holdfast-deal", "holdfast-deal", "Holdfast", "deal", "holdfast", MANY, ""),
    Entry("pg-for-update", "postgres-for-update", "PostgreSQL FOR UPDATE", "deal", "postgres", MANY,
          "any rule in the same transaction; the truth is where the reports are", pooled=True),
    Entry("pg-for-update-pipelined", "postgres-for-update-pipelined", "PostgreSQL FOR UPDATE, pipelined", "deal", "postgres", MANY,
          "the same with a driver that sends statements together", pooled=True),
    Entry("pg-conditional", "postgres-conditional", "PostgreSQL conditional UPDATE", "deal", "postgres", MANY,
          "the same, one lock shorter", pooled=True),
    Entry("pg-one-statement", "postgres-one-statement", "PostgreSQL one statement", "deal", "postgres", MANY,
          "the least code that is right, and no second system", pooled=True),
    Entry("pg-skip-locked", "postgres-skip-locked", "PostgreSQL SKIP LOCKED", "deal", "postgres", ROWS,
          "buyers do not wait for each other; each unit has an identity", pooled=True),
    Entry("pg-advisory-lock", "postgres-advisory-lock", "PostgreSQL advisory lock", "deal", "postgres", MANY,
          "guards what is no row", pooled=True),
    Entry("pg-serializable", "postgres-serializable", "PostgreSQL SERIALIZABLE", "deal", "postgres", MANY,
          "right for every rule, without thinking about locks", pooled=True),
    Entry("redlock", "redlock", "Redlock and a row", "deal", "redlock", MANY, "guards what no database knows of"),
    Entry("redis-decr", "redis-decr", "Redis DECR", "deal", "redis-none", MANY, "the least there is: a counter"),
    Entry("redis-lua-deal", "redis-lua-deal", "Redis Lua, stock and stream", "deal", "redis-none", MANY,
          "a stream for workers comes with it"),
    Entry("pg-naive", "postgres-naive", "read, then write (control)", "deal", "postgres", MANY, "nothing: it oversells", oversells=True),
    Entry("holdfast-seat", "holdfast-seat", "Holdfast", "hall", "holdfast", SEATS, ""),
    Entry("holdfast-memory", "holdfast-seat", "Holdfast, --durability memory", "hall", "holdfast-memory", SEATS, ""),
    Entry("pg-seat", "postgres-seat-for-update", "PostgreSQL FOR UPDATE", "hall", "postgres", ROWS,
          "seats are rows: joins, reports, any rule", pooled=True),
    Entry("redis-set-nx", "redis-set-nx", "Redis SET NX PX", "hall", "redis-none", SEATS, "expiry by itself, in one command"),
    Entry("redis-lua-none", "redis-lua-seat", "Redis Lua, not persisted", "hall", "redis-none", SEATS, "the same server serves caches"),
    Entry("redis-lua-everysec", "redis-lua-seat", "Redis Lua, everysec", "hall", "redis-everysec", SEATS, "replicas, Sentinel, Cluster"),
    Entry("redis-lua-always", "redis-lua-seat", "Redis Lua, always", "hall", "redis-always", SEATS, "replicas, Sentinel, Cluster"),
    Entry("holdfast-http", "holdfast-http", "Holdfast", "http", "holdfast-http", MANY, ""),
    Entry("fastapi", "http-order", "FastAPI + asyncpg", "http", "fastapi", MANY, "the shop's own code, in the same process", pooled=False),
    Entry("go-pgx", "http-order", "Go net/http + pgx", "http", "go", MANY, "the same, compiled", pooled=False),
]
BY_KEY = {entry.key: entry for entry in ENTRIES}
GROUPS = {"deal": "a deal: everybody after the same counted stock", "hall": "a hall: each after a seat of his own choice",
          "http": "a deal over HTTP"}
CLIENTS = (1, 16, 64, 256)


@dataclass(frozen=True)
class Aim:
    ours: str
    theirs: str
    clients: int
    pipeline: int
    times: float  # 0: told, but nothing is aimed at
    p99_times: float = 0  # theirs against ours, at least


AIMS = [
    Aim("holdfast-deal", "pg-for-update", 64, 1, 100, p99_times=100),
    Aim("holdfast-deal", "pg-for-update", 256, 1, 300),
    Aim("holdfast-deal", "pg-for-update-pipelined", 64, 1, 0),
    Aim("holdfast-deal", "pg-for-update-pipelined", 256, 1, 0),
    Aim("holdfast-deal", "pg-one-statement", 64, 1, 50),
    Aim("holdfast-seat", "redis-lua-none", 64, 1, 1.5),
    Aim("holdfast-seat", "redis-lua-none", 64, 16, 10),
    Aim("holdfast-memory", "redis-lua-none", 64, 1, 1.5),
    Aim("holdfast-memory", "redis-lua-none", 64, 16, 10),
    Aim("holdfast-seat", "redis-lua-always", 64, 1, 2.5),
    Aim("holdfast-seat", "redis-lua-always", 64, 16, 10),
    Aim("holdfast-http", "fastapi", 64, 1, 80),
    Aim("holdfast-http", "go-pgx", 64, 1, 40),
]
CEILING_SHARE = 0.85  # from here on it is the client that ends the ratio


def headline_points():
    """What every round measures: (key, clients, pipeline), Holdfast first and each once; and the ceilings as ("null-resp" ...)."""
    points = []
    for aim in AIMS:
        way = "null-http" if BY_KEY[aim.ours].group == "http" else "null-resp"
        for point in ((aim.ours, aim.clients, aim.pipeline), (aim.theirs, aim.clients, aim.pipeline), (way, aim.clients, aim.pipeline)):
            if point not in points:
                points.append(point)
    return points


def other_points():
    """Throughput against clients, for what the headline has not got."""
    headline = headline_points()
    wanted = [(entry.key, clients, 1) for entry in ENTRIES for clients in CLIENTS]
    wanted += [(way, clients, 1) for way in ("null-resp", "null-http") for clients in CLIENTS]
    return [point for point in wanted if point not in headline]
