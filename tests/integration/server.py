"""server.py - one Holdfast process under test: started on free ports and an empty data directory.

The binary is $HOLDFAST_BINARY, else build/holdfast. A server that ends with anything but exit code 0 after
SIGTERM fails the test that used it: that is also how a sanitizer's report is seen.
"""
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("HOLDFAST_BINARY", str(ROOT / "build" / "holdfast"))

# How much slower than a release build the binary may be: a sanitizer's build multiplies what is waited for.
SLOWNESS = int(os.environ.get("HOLDFAST_SLOWNESS", "1"))
SANITIZED = SLOWNESS > 1

# Less to allocate and to remove at hundreds of starts and stops; a flag of a test's own overrides it.
SMALL = {"HOLDFAST_JOURNAL_SEGMENT_BYTES": "20MiB"}

FOLDERS = tempfile.TemporaryDirectory(prefix="holdfast-test-")  # of all servers; goes when this process ends

READY = re.compile(r"^ready http=(\S+) resp=(\S+) shards=(\d+) data=(.+)\n$")


def address(text):
    if text == "off":
        return None
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Server:
    def __init__(self, *arguments, shards=2, environment=None, data=None, listen=True, wait=True, prefix=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=FOLDERS.name))
        self.data = pathlib.Path(data) if data is not None else self.folder / "data"
        command = [*prefix, BINARY, "serve"]
        if listen:
            command += ["--http", "127.0.0.1:0", "--resp", "127.0.0.1:0"]
        if shards is not None:
            command += ["--shards", str(shards)]
        command += ["--data", str(self.data), *map(str, arguments)]
        self.command = command
        self.log_path = self.folder / "stderr"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env={**clean_environment(), **SMALL, **(environment or {})},
            )
        self.http = self.resp = None
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=30):
        if not select.select([self.process.stdout], [], [], seconds * SLOWNESS)[0]:
            self.kill()
            raise AssertionError(f"not ready within {seconds} s: {self.log()}")
        line = self.process.stdout.readline().decode()
        match = READY.match(line)
        if match is None:
            self.process.wait(10)
            raise AssertionError(f"expected the ready line, got {line!r}, exit {self.process.returncode}: {self.log()}")
        self.http, self.resp = address(match[1]), address(match[2])
        self.shards = int(match[3])
        self.ready_data = match[4]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def rss_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS: has the server ended?")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=60):  # long: 64 shards on a busy disk
        return self.process.wait(seconds * SLOWNESS)

    def stop(self):
        """SIGTERM, and exit code 0, else the log."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"still running long after SIGTERM: {self.log()}") from None
        code = self.process.returncode
        log = self.log()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert code == 0, f"exit code {code}: {log[-6000:]}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def clean_environment():
    """The environment without settings that somebody has exported; without the names of the tests' own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}


def run(*arguments, environment=None, prefix=(), seconds=30):
    """The binary to its end: (exit code, stdout, stderr)."""
    done = subprocess.run(
        [*prefix, BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        timeout=seconds * SLOWNESS, env={**clean_environment(), **(environment or {})},
    )
    return done.returncode, done.stdout, done.stderr


def poll(condition, seconds=10, pause=0.01):
    """Waits for condition() to be true, and returns what it gave; its last value where time is up."""
    end = time.monotonic() + seconds * SLOWNESS
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(pause)
