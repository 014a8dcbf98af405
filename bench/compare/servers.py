"""The servers of the comparison: each in a directory of its own on free loopback ports, a child of this process, stopped by its id.

A server says what the generator needs (`arguments()`), whose processor time is counted (`pids()`), what it promises, and with which
settings it runs. All stay up for the whole comparison, idle while others are measured. Redis and PostgreSQL are emptied before each
load; Holdfast has an event for each load and keeps the earlier ones, so now and then it begins anew on an empty directory.
"""
import contextlib
import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINES = ROOT / "bench" / "baselines"
CONNECTIONS_MAX = 256
SEATS_OF_HOLDFAST = 30_000_000  # it begins anew beyond: its bound is twice that
HOLDS_OF_HOLDFAST, HOLD_BYTES = 4_000_000, 220  # whose memory is touched at its start, each; it begins anew with half of them


class Failed(Exception):
    pass


def free_port(count=1):
    """The first of so many free ports in a row."""
    for _ in range(200):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                for more in range(1, count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + more))
                return port
    raise Failed("no free ports")


def output(argv, seconds=120, **options):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=seconds, **options)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


class Server:
    """A child process; `probe` is called until it succeeds."""

    def __init__(self, work, name):
        self.directory = work / name
        self.directory.mkdir()
        self.child = None
        self.log = work / f"{name}.log"

    def start_child(self, argv, probe, **options):
        with open(self.log, "ab") as sink:
            self.child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, **options)
        for _ in range(1200):
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError, Failed):
                probe()
                return
            time.sleep(0.025)
        raise Failed(f"{argv[0]} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self, how=signal.SIGTERM):
        if self.child is None:
            return
        self.child.send_signal(how)
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child = None

    def pids(self):
        return [self.child.pid]

    def fresh(self, units):
        """Before a load that sells so many units."""

    def sold(self, held):
        """After a load that sold so many."""


def connect(port):
    socket.create_connection(("127.0.0.1", port), 1).close()


class Holdfast(Server):
    def __init__(self, work, name, binary):
        super().__init__(work, name)
        self.binary, self.http = binary, name.endswith("http")
        self.durability = "memory" if name.endswith("memory") else "journal"
        self.promise = {"journal": "every answer is on disk before it leaves (group commit, O_DIRECT|O_DSYNC)",
                        "memory": "a crash forgets the last answers; the journal is written behind them"}[self.durability]
        self.held = self.seats = 0  # since its start
        self.shards = max(1, (os.cpu_count() or 2) - 1)  # the generator has the core that is left
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self.expected = min(HOLDS_OF_HOLDFAST, memory // 12 // HOLD_BYTES)  # three such servers take a quarter of it at most
        self.settings = (f"--shards {self.shards} (the generator has the other core), --durability {self.durability}, --core.holds_expected "
                         f"{self.expected // self.shards} (memory is touched before, as that of servers that are emptied is); the rest as it comes")
        self.version = output([binary, "version"]).strip()

    def fresh(self, units):
        self.seats += units if units <= SEATS_OF_HOLDFAST else 0  # more is a pool's capacity
        if self.child is not None and self.held < self.expected // 2 and self.seats < SEATS_OF_HOLDFAST:
            return
        self.held, self.seats = 0, units if units <= SEATS_OF_HOLDFAST else 0
        self.stop(signal.SIGKILL)  # nobody waits for its last snapshot; its directory goes
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.ports = {"http": free_port(), "resp": free_port()}
        argv = [self.binary, "serve", "--data", self.directory / "data", "--http", f"127.0.0.1:{self.ports['http']}",
                "--resp", f"127.0.0.1:{self.ports['resp']}", "--shards", self.shards, "--durability", self.durability,
                "--core.holds_expected", self.expected // self.shards]
        self.start_child(argv, lambda: connect(self.ports["resp"]))

    def sold(self, held):
        self.held += held

    def arguments(self):
        way = "http" if self.http else "resp"
        return [f"--{way}", f"127.0.0.1:{self.ports[way]}"]


class Postgres(Server):
    promise = "a commit is on disk before its answer leaves (synchronous_commit = on, group commit)"

    def __init__(self, work):
        super().__init__(work, "postgres")
        candidates = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        if not candidates:
            raise Failed("PostgreSQL is missing: apt-get install postgresql")
        self.bin = pathlib.Path(candidates[-1])
        self.port = free_port()
        self.version = output([self.bin / "postgres", "--version"]).strip()
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        self.options = {"shared_buffers": f"{min(1024, memory_mb // 4)}MB", "max_connections": CONNECTIONS_MAX + 100,
                        "max_wal_size": "8GB", "checkpoint_timeout": "30min", "synchronous_commit": "on",
                        "listen_addresses": "", "unix_socket_directories": self.directory, "port": self.port}
        shown = {key: value for key, value in self.options.items() if key not in ("unix_socket_directories", "port", "listen_addresses")}
        self.settings = ("Unix socket, prepared statements, libpq pipelining within a purchase (but for plain FOR UPDATE: a round trip a statement); "
                         + ", ".join(f"{key} = {value}" for key, value in shown.items()) + "; the rest as Debian has it")
        self.start()

    def as_postgres(self):
        """PostgreSQL refuses to be root."""
        if os.getuid() != 0:
            return []
        shutil.chown(self.directory, "postgres", "postgres")
        return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]

    def start(self):
        user, data = self.as_postgres(), self.directory / "data"
        output([*user, self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--locale", "C.UTF-8"], cwd="/")
        settings = [part for key, value in self.options.items() for part in ("-c", f"{key}={value}")]
        ready = [self.bin / "pg_isready", "-q", "-h", self.directory, "-p", self.port]
        self.start_child([*user, self.bin / "postgres", "-D", data, *settings], lambda: output(ready), cwd="/")

    def stop(self, how=signal.SIGINT):  # fast shutdown
        super().stop(how)

    @property
    def connection(self):
        return f"host={self.directory} port={self.port} user=postgres dbname=postgres"

    @property
    def url(self):
        return f"postgresql://postgres@/postgres?host={self.directory}&port={self.port}"

    def arguments(self):
        return ["--target", self.connection]


class Redis(Server):
    PERSISTENCE = {
        "none": (["--appendonly", "no"], "nothing survives the process"),
        "everysec": (["--appendonly", "yes", "--appendfsync", "everysec"], "a power loss forgets up to two seconds of answers"),
        "always": (["--appendonly", "yes", "--appendfsync", "always"], "the log is synced before the answers of a turn leave"),
    }

    def __init__(self, work, name, persistence, port=None):
        super().__init__(work, name)
        words, self.promise = self.PERSISTENCE[persistence]
        self.port = port or free_port()
        self.version = output(["redis-server", "--version"]).split(" sha")[0].strip()
        self.settings = "one process, TCP, " + " ".join(words) + ", --save '', scripts by EVALSHA"
        self.start_child(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory, "--save", "", *words],
                         lambda: connect(self.port))

    def arguments(self):
        return ["--resp", f"127.0.0.1:{self.port}"]


class Redlock:
    """Three Redis and a row in PostgreSQL."""

    promise = "the row as PostgreSQL; the lock is gone with two of the three processes, and does not hold against a stalled holder"

    def __init__(self, work, postgres):
        port = free_port(3)
        self.postgres = postgres
        self.instances = [Redis(work, f"redlock{number}", "none", port + number) for number in range(3)]
        self.version = f"{self.instances[0].version}; {postgres.version}"
        self.settings = "three Redis without persistence, lock of 8 s, pause of 50 to 250 ms between tries; the row as below"

    def arguments(self):
        return [*self.instances[0].arguments(), *self.postgres.arguments()]

    def pids(self):
        return [pid for server in (*self.instances, self.postgres) for pid in server.pids()]

    def fresh(self, units):
        pass

    def sold(self, held):
        pass

    def stop(self):
        for instance in self.instances:
            instance.stop()


class Service(Server):
    """FastAPI or Go in front of PostgreSQL."""

    promise = Postgres.promise

    def __init__(self, work, name, postgres, pool, python):
        super().__init__(work, name)
        self.name, self.postgres, self.pool, self.python = name, postgres, pool, python
        self.build()

    def restart(self, pool):
        self.stop()
        self.pool, self.port = pool, free_port()
        environment = os.environ | {"LOCK": "for_update", "POOL": str(pool), "PORT": str(self.port), "DATABASE_URL": self.postgres.url}
        self.start_child(self.argv(), lambda: connect(self.port), env=environment, cwd=BASELINES / "fastapi")
        time.sleep(0.3)  # the pool's connections

    def arguments(self):
        return ["--http", f"127.0.0.1:{self.port}", *self.postgres.arguments()]

    def pids(self):
        return [*super().pids(), *self.postgres.pids()]


class FastApi(Service):
    def build(self):
        self.version = output([self.python, "-c", "import sys, fastapi, uvicorn, asyncpg, uvloop, httptools as h\nprint('Python', sys.version.split()[0]"
                               " + ',', ', '.join(f'{m.__name__} {m.__version__}' for m in (fastapi, uvicorn, asyncpg, uvloop, h)))"]).strip()

    @property
    def settings(self):
        return f"uvicorn with uvloop and httptools, 1 worker, pool of {self.pool} (searched), no access log, FOR UPDATE"

    def argv(self):
        return [self.python, "-m", "uvicorn", "app:app", "--port", self.port, "--loop", "uvloop", "--http", "httptools",
                "--no-access-log", "--log-level", "warning"]


class GoService(Service):
    def build(self):
        go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin:/usr/lib/go/bin")
        if go is None:
            raise Failed("Go is missing: apt-get install golang-go")
        environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
        output([go, "build", "-o", self.directory / "orders", "."], 400, cwd=BASELINES / "go", env=environment)
        modules = (BASELINES / "go" / "go.mod").read_text().split()
        self.version = f"{output([go, 'version']).split()[2]}, pgx {modules[modules.index('github.com/jackc/pgx/v5') + 1]}"

    @property
    def settings(self):
        return f"net/http, GOMAXPROCS as it comes, pool of {self.pool} (searched), FOR UPDATE"

    def argv(self):
        return [self.directory / "orders"]
