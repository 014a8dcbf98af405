"""test_k6.py - each k6 script for a few seconds against a server; k6 itself says whether its thresholds held.

Time is no threshold here: P99_MS is a minute.
"""
import json
import os
import subprocess

import pytest

from server import ROOT, clean_environment

SCRIPTS = {
    "deal": {"STOCK": "100", "RATE": "100", "SECONDS": "2"},
    "hall": {"RATE": "100", "SECONDS": "2"},
    "storm": {"RATE": "100", "SECONDS": "2"},
    "open": {"RATE": "40", "SECONDS": "2"},
}


@pytest.fixture(scope="session")
def k6():
    done = subprocess.run([ROOT / "load" / "k6" / "install"], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def k6_run(k6, script, url, path, settings, key=None):
    """The exit code, what k6 said, and its figures."""
    summary = path / "summary.json"
    environment = {**os.environ, **clean_environment(), **settings, "HOLDFAST_URL": url, "P99_MS": "60000", "K6_NO_USAGE_REPORT": "true"}
    if key:
        environment["HOLDFAST_KEY"] = key
    done = subprocess.run([k6, "run", "--quiet", "--no-color", "--address", "", "--summary-export", summary, ROOT / "load" / "k6" / f"{script}.js"],
                          capture_output=True, text=True, timeout=300, env=environment, stdin=subprocess.DEVNULL)
    figures = json.loads(summary.read_text())["metrics"] if summary.exists() else {}
    return done.returncode, done.stdout + done.stderr, figures


@pytest.mark.parametrize("script", SCRIPTS)
def test_script(k6, server, tmp_path, script):
    code, text, figures = k6_run(k6, script, "http://{}:{}".format(*server.http), tmp_path, SCRIPTS[script])
    assert code == 0, text[-4000:]
    assert figures["checks"]["fails"] == 0 and figures["checks"]["passes"] > 0
    assert figures["units_held"]["count"] > 0 and figures["iterations"]["count"] > 0


def test_every_script_is_run():
    assert sorted(path.stem for path in (ROOT / "load" / "k6").glob("*.js")) == sorted([*SCRIPTS, "holdfast"])


def test_a_threshold_that_does_not_hold_is_told(k6, server, tmp_path):
    """Two deals of one event would sell half each: here, a script that believes in more stock than was made."""
    lie = (ROOT / "load" / "k6" / "deal.js").read_text().replace("capacity: stock }", "capacity: stock + 1 }")
    assert "stock + 1" in lie
    (tmp_path / "lie.js").write_text(lie.replace("./holdfast.js", str(ROOT / "load" / "k6" / "holdfast.js")))
    environment = {**os.environ, **clean_environment(), **SCRIPTS["deal"], "HOLDFAST_URL": "http://{}:{}".format(*server.http)}
    done = subprocess.run([k6, "run", "--quiet", "--address", "", tmp_path / "lie.js"], capture_output=True, text=True, timeout=300,
                          env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 99 and "units_held" in done.stdout + done.stderr
