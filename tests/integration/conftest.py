"""conftest.py - what every test may ask for.

    servers   the session's server of each shard count, started when first asked for
    api       the interface over each protocol on each of 1, 2 and 3 shards: a test that takes it runs six times
              (HOLDFAST_SHARDS: on these only, "3" say)
    new_id    names that no other test uses, so that tests share servers and yet are independent

Tests run on several workers at once (pytest -n), each with servers of its own. One that needs the machine to itself, because it
asks for many connections or for what a busy machine cannot give, says @pytest.mark.alone: --alone=not leaves these out, --alone=only runs
them; ./test does both.

A skipped test is a failure here: what a test needs is installed by tests/install and ./test, or the
run is not one.
"""
import itertools
import os
import resource
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from api import Http, Resp  # noqa: E402
from server import Server  # noqa: E402

SHARDS = [int(word) for word in os.environ.get("HOLDFAST_SHARDS", "1 2 3").split()]

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def pytest_addoption(parser):
    parser.addoption("--alone", choices=["not", "only"], help="without the tests that need the machine to themselves, or only these")


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: needs the machine to itself")


def pytest_collection_modifyitems(config, items):
    if alone := config.getoption("--alone"):
        items[:] = [item for item in items if (item.get_closest_marker("alone") is not None) == (alone == "only")]


@pytest.fixture(scope="session")
def servers():
    started = {}

    def get(shards):
        if shards not in started:
            started[shards] = Server(shards=shards)
        assert started[shards].process.poll() is None, f"the server has died: {started[shards].log()[-4000:]}"
        return started[shards]

    yield get
    failures = []
    for server in started.values():
        try:
            server.stop()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture(params=[(s, p) for s in SHARDS for p in (Resp, Http)], ids=lambda x: f"{x[0]}shards-{x[1].protocol}")
def api(request, servers):
    shards, protocol = request.param
    client = protocol(servers(shards))
    client.server = servers(shards)
    yield client
    client.close()


@pytest.fixture
def server(servers):
    return servers(2)


_numbers = itertools.count(1)


@pytest.fixture
def new_id():
    return lambda word="e": f"{word}-{next(_numbers)}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"


@pytest.fixture
def stage(api, new_id):
    """Makes an event of one's own: stage(sections=..., pools=..., limit=...)."""
    from stage import Stage

    return lambda **settings: Stage(api, new_id(), **settings)
