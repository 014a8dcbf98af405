import itertools
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from postgres import Postgres  # noqa: E402

numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres():
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def uri(postgres):
    return postgres.uri(postgres.database(f"test{next(numbers)}"))


@pytest.fixture
def data():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-data-"))
    yield folder / "data"
    shutil.rmtree(folder)
