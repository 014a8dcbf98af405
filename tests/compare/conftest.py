"""The servers of bench/compare, once for all tests here."""
import pathlib
import shutil
import sys
import tempfile
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "compare"))

import compare  # noqa: E402
import plan  # noqa: E402


@pytest.fixture(scope="session")
def comparison():
    """A comparison with all of its servers running; loads are run by its own measure()."""
    # /tmp may be memory; and PostgreSQL's user must be able to enter
    work = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-compare-test.", dir="/var/tmp"))
    work.chmod(0o755)
    options = types.SimpleNamespace(build=ROOT / "build", python=sys.executable, only="", full=False, part=0.2, smoke=True)
    running = compare.Comparison(options, work)
    try:
        running.start_servers()
        yield running
    finally:
        running.stop_servers()
        shutil.rmtree(work, ignore_errors=True)


def load(running, key, clients, **how):
    """One load; what the generator said of it."""
    assert key in plan.BY_KEY
    running.measure(key, "test", clients, **how)
    return running.points[-1]["result"]
