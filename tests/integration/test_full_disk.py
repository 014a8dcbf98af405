"""A real small file system filled to the brim: new holds are busy, what ends a hold or pays goes on from a reserve, service
returns by itself when room does, and nothing that was answered is lost.

The file systems are mounted (tmpfs, and ext4 in a file), which takes root or a user namespace of one's own; where neither is
there the tests cannot be run, and say so.
"""
import os
import pathlib
import subprocess
import tempfile

import pytest

from api import Http, Resp
from server import Server, poll, run

MIB = 1 << 20
SETTINGS = ("--journal.segment_bytes", 4 * MIB, "--core.batch_bytes_max", MIB)


def mounted(kind, folder):
    """Mounts 64 MiB on folder/disk; returns it, or raises with the cause."""
    disk = folder / "disk"
    disk.mkdir()
    if kind == "tmpfs":
        commands = [["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]]
    else:
        image = folder / "image"
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        commands = [["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], ["mount", "-o", "loop", str(image), str(disk)]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return disk


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-disk-"))
    try:
        path = mounted(request.param, folder)
    except OSError as error:
        pytest.skip(f"a file system of one's own cannot be mounted here: {error}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def fill(disk, left):
    """A file that leaves so many bytes."""
    filler = disk / "filler"
    with open(filler, "wb") as file:
        size = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


class Buyers:
    """One user a hold."""

    def __init__(self, api):
        self.api = api
        self.number = 0
        self.holds = []  # (hold, user)

    def hold(self, ttl=600):
        self.number += 1
        user = f"u{self.number}"
        answer = self.api.hold("e", user, pools=[("ga", 1)], ttl=ttl)
        if answer.ok:
            self.holds.append((answer["hold"], user))
        return answer

    def until_full(self):
        """Holds until all are refused. Each shard hears in a tick of its own that there is no room, and the user's shard decides."""
        refused = 0
        for _ in range(20000):  # the segments that were made ahead are used up
            answer = self.hold()
            refused = 0 if answer.ok else refused + 1
            if refused == 20:
                break
        assert answer.code == "busy", answer


@pytest.mark.parametrize("shards", [1, 2])
def test_filled_to_the_brim(disk, shards):
    data = disk / "data"
    server = Server(*SETTINGS, shards=shards, data=data)
    api, http = Resp(server), Http(server)
    assert api.create("e", sections=[("A", 10, 10)], pools=[("ga", 1000000)], hold_seconds=300, hold_seconds_max=2000).ok
    assert api.create("q", pools=[("ga", 100)], queue=(1, 3600, 600)).ok
    first, second, third = (api.join("q", user)["token"] for user in ("u1", "u2", "u3"))
    buyers = Buyers(api)
    for _ in range(200):
        assert buyers.hold().ok

    filler = fill(disk, MIB)
    buyers.until_full()
    short = buyers.api.hold("e", "short", seats=["A/1/1"], ttl=1)
    assert short.code == "busy"

    # what is new is refused, over both protocols, and changes nothing
    before = http.event("e").data
    for client in (api, http):
        assert client.hold("e", "x", seats=["A/1/2"]).code == "busy"
        assert client.create("f", pools=[("ga", 1)]).code == "busy"
        assert client.join("q", "x").code == "busy"
        assert client.join("q", "u2")["token"] == second
    assert http.event("e").data == before

    # the rest goes on
    confirmed, released, extended = buyers.holds[:60], buyers.holds[60:100], buyers.holds[100:160]
    for at, (hold, user) in enumerate(confirmed):
        assert (http if at % 2 else api).confirm(hold, user).ok
    for at, (hold, user) in enumerate(released):
        assert (http if at % 2 else api).release(hold, user).ok
    assert http.leave(first)["state"] == "left", "who leaves lets the next one in"
    assert api.token(second)["state"] == "active" and api.token(third)["position"] == 1
    deadlines = {}
    for hold, user in extended:
        answer = api.extend(hold, user, 1000)
        assert answer.ok, answer
        deadlines[hold] = answer["deadline_ms"]
    assert server.process.poll() is None, server.log()

    def check(client, all_holds):
        for hold, user in confirmed:
            assert client.get(hold)["state"] == "confirmed"
        for hold, user in released:
            assert client.get(hold)["state"] == "released"
        for hold, user in extended:
            assert client.get(hold)["deadline_ms"] == deadlines[hold]
        for hold, user in all_holds[160:]:
            assert client.get(hold)["state"] == "held"
        assert [client.token(token)["state"] for token in (first, second, third)] == ["left", "active", "waiting"]

    # a kill, and a start without room: refused with the cause, and nothing is touched
    full = list(buyers.holds)
    server.kill()
    code, _, error = run("serve", "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--data", data, "--shards", shards, *SETTINGS)
    assert code == 1, error
    assert "No space left on device" in error or "space" in error, error
    code, output, _ = run("journal", "verify", data)
    assert code == 0, output

    # room comes back: everything is there
    filler.unlink()
    server = Server(*SETTINGS, shards=shards, data=data)
    api = Resp(server)
    check(api, full)

    # and while it runs: full, then room again, and service returns by itself
    filler = fill(disk, MIB)
    buyers = Buyers(api)
    buyers.number = 100000
    buyers.until_full()
    filler.unlink()
    assert poll(lambda: buyers.hold().ok, 20), server.log()
    check(api, full)
    kept = list(buyers.holds)
    server.kill()
    server = Server(*SETTINGS, shards=3 - shards, data=data)
    api = Resp(server)
    check(api, full)
    for hold, user in kept:
        assert api.get(hold)["state"] == "held"
    api.close()
    server.stop()
