"""Both databases for the tests of this room, empty for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.quality import tables
from service.quality.address import database_url
from service.quality.store import Store
from tests.service.quality.postgres import Postgres, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of a test process, which tests may kill if they start it again."""
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "quality.db")
    address: str = request.getfixturevalue("postgres").url
    store = Store(database_url(address))
    with store.writing() as connection:
        tables.metadata.drop_all(connection)
    store.close()
    return address


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store of it."""
    opened = Store(database_url(url))
    yield opened
    opened.close()
