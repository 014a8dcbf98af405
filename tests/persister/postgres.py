"""postgres.py - a real PostgreSQL of its own: a folder, a free port, and its end.

Debian's programs are used where they lie. As root they run as the user postgres, because PostgreSQL refuses root.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile


def programs():
    """The folder of initdb and pg_ctl, of the newest version there is."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        raise AssertionError("PostgreSQL is not installed: tests/install test")
    return found[-1].parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    def __init__(self, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "postgres")
        self.settings = {"fsync": "on", "max_wal_size": "2GB", **settings}
        self.program("initdb", "-D", self.folder / "data", "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8")
        self.start()

    def program(self, name, *arguments, check=True):
        done = subprocess.run(
            [*self.user, str(programs() / name), *map(str, arguments)], cwd="/", capture_output=True, text=True, timeout=120
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{name}: {done.stdout}{done.stderr}{self.log()}")
        return done.stdout

    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        options += "".join(f" -c {name}={value}" for name, value in self.settings.items())
        # its own output goes to the log: a pipe of ours would never end
        self.program("pg_ctl", "-D", self.folder / "data", "-w", "-t", "60", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode="fast"):
        """immediate: as kill -9 would, with recovery at the next start."""
        self.program("pg_ctl", "-D", self.folder / "data", "-w", "-m", mode, "stop", check=False)

    def uri(self, database="postgres", port=None, user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def sql(self, text, database="postgres", user="postgres"):
        """Rows as lists of text."""
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", "-q", "-F", "\x1f", "-R", "\x1e", "-v", "ON_ERROR_STOP=1", "-d", self.uri(database, user=user), "-c", text],
            capture_output=True, text=True, timeout=120,
        )
        if done.returncode != 0:
            raise AssertionError(f"{text}: {done.stderr}")
        body = done.stdout.rstrip("\n")
        return [row.split("\x1f") for row in body.split("\x1e")] if body else []

    def database(self, name):
        self.sql(f'CREATE DATABASE "{name}"')
        return name

    def close(self):
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
