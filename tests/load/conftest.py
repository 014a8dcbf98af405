"""conftest.py - the load generator's tests use the servers of tests/integration; a skipped test is a failure here, too."""
import os
import resource
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

from server import Server  # noqa: E402

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


@pytest.fixture(scope="session")
def server():
    """One for all tests that only need some server; each makes events of its own."""
    shared = Server(shards=2)
    yield shared
    shared.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
