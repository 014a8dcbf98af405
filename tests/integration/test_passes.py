"""test_passes.py - passes against the JWT libraries that gateways have: PyJWT, and jose in Node. Both check what Holdfast makes, and
Holdfast checks what they make. Holdfast's two functions are run by the unit tests' program; and a server's secret
as its settings say."""
import json
import pathlib
import stat
import subprocess
import time

import jwt
import pytest

from api import Resp
from server import ROOT, BINARY, Server, run

NODE = pathlib.Path(__file__).parent / "node"
BUILT = pathlib.Path(BINARY).resolve().parent / "tests" / "unit" / "test_pass"
PROGRAM = BUILT if BUILT.exists() else ROOT / "build" / "tests" / "unit" / "test_pass"
SECRET = "a secret that is longer than 32 bytes, with blanks"


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "pass.secret"
    file.write_text(f"\n {SECRET}\n\n")
    return file


def make(file, user, event, deadline_ms):
    done = subprocess.run([PROGRAM, "make", file, user, event, str(deadline_ms)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def good(file, user, event, now_ms, text):
    code = subprocess.run([PROGRAM, "check", file, user, event, str(now_ms), text]).returncode
    assert code in (0, 3)
    return code == 0


def node(*arguments):
    done = subprocess.run(["node", "passes.mjs", *map(str, arguments)], cwd=NODE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_made_here_checked_there(secret_file):
    now = int(time.time())
    text = make(secret_file, "u:1@x.example", "concert-42", now * 1000 + 60_500)
    claims = jwt.decode(text, SECRET, algorithms=["HS256"], audience="concert-42", options={"require": ["exp", "sub", "aud", "jti"]})
    assert claims == {"sub": "u:1@x.example", "aud": "concert-42", "jti": "01020304-0506-7708-890a-0b0c0d0e0f10", "exp": now + 61}
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "typ": "JWT"}
    assert node("check", SECRET, "concert-42", text) == {"claims": claims}
    late = make(secret_file, "u", "e", now * 1000 - 5000)
    for token, secret, event in ((text, SECRET + "x", "concert-42"), (text, SECRET, "concert-4"), (text[:-2], SECRET, "concert-42"), (late, SECRET, "e")):
        with pytest.raises(jwt.InvalidTokenError):
            jwt.decode(token, secret, algorithms=["HS256"], audience=event)
        assert "error" in node("check", secret, event, token)


def test_made_there_checked_here(secret_file):
    now = 1_800_000_000
    fine = {"sub": "u1", "aud": "e", "jti": "x", "exp": now + 60}
    for text in (jwt.encode(fine, SECRET, "HS256"), jwt.encode({**fine, "aud": ["d", "e"]}, SECRET, "HS256", headers={"kid": "1"}),
                 node("make", SECRET, "HS256", json.dumps(fine))["token"]):
        assert good(secret_file, "u1", "e", now * 1000, text)
        assert not good(secret_file, "u2", "e", now * 1000, text), "another user's"
        assert not good(secret_file, "u1", "f", now * 1000, text), "another event's"
        assert not good(secret_file, "u1", "e", (now + 60) * 1000, text), "expired"
    for text in (jwt.encode(fine, None, "none"), jwt.encode(fine, SECRET, "HS512"), jwt.encode(fine, SECRET, "HS384"), jwt.encode(fine, SECRET + " ", "HS256"),
                 node("make", SECRET, "HS512", json.dumps(fine))["token"], "", "a.b.c"):
        assert not good(secret_file, "u1", "e", now * 1000, text), "forged"


def test_the_secret_of_a_server(tmp_path):
    data = tmp_path / "data"
    with Server(data=data, shards=1) as server:
        file = data / "pass.secret"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        first = file.read_bytes()
        assert len(first.strip()) >= 32
        assert first.strip().decode() not in server.log()
    with Server(data=data, shards=2):
        assert file.read_bytes() == first, "made once"
    other = tmp_path / "other"
    other.write_text(SECRET)
    with Server("--queue.pass_secret_file", other, "--queue.pass_secret_file_old", file, data=data, shards=1):
        assert file.read_bytes() == first and other.read_text() == SECRET
    other.write_text("short\n")
    for setting in ("--queue.pass_secret_file", "--queue.pass_secret_file_old"):
        for path in (other, tmp_path / "none"):
            code, _, text = run("serve", "--http", "127.0.0.1:0", "--resp", "off", "--data", data, setting, path)
            assert code == 1 and str(path) in text, text


def test_two_secrets_while_one_is_rotated(tmp_path):
    """The old one's passes are taken as long as it is named beside the new one, by which all new ones are made."""
    data, new = tmp_path / "data", tmp_path / "new.secret"
    old = data / "pass.secret"
    new.write_text(SECRET)
    with Server(data=data, shards=1) as server:
        api = Resp(server)
        assert api.create("e", pools=[("ga", 100)], queue=(2, 3600, 600)).ok
        token = api.join("e", "u1")["token"]
        first = api.token(token)["pass"]
        assert jwt.decode(first, old.read_bytes().strip(), algorithms=["HS256"], audience="e")["sub"] == "u1"
        api.close()

    def taken(shown):
        return api.hold("e", "u1", pools=[("ga", 1)], shown=shown).code == "ok"

    with Server("--queue.pass_secret_file", new, "--queue.pass_secret_file_old", old, data=data, shards=2) as server:
        api = Resp(server)
        second = api.token(token)["pass"]
        assert jwt.decode(second, SECRET, algorithms=["HS256"], audience="e")["jti"] == token
        assert taken(first) and taken(second)
        stranger = jwt.encode(jwt.decode(second, SECRET, algorithms=["HS256"], audience="e"), "y" * 32, "HS256")
        assert not taken(stranger)
        api.close()
    with Server("--queue.pass_secret_file", new, data=data, shards=1) as server:
        api = Resp(server)
        assert not taken(first) and taken(second)
        api.close()
