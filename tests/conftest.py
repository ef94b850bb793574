"""What several rooms' tests need: the committed artifact, and a server over it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import settings

from tests.end_to_end.server import ServerProcess, client, serving

if TYPE_CHECKING:
    from tests.end_to_end.s3 import S3

settings.register_profile("gatecast", deadline=None)  # how fast a machine is proves nothing
settings.load_profile("gatecast")

ARTIFACTS = Path(__file__).parent / "artifacts"
TRAINING = Path(__file__).parent / "training"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is dear to set up comes first: a second process steals its work from the end."""
    items.sort(key=lambda item: TRAINING not in item.path.parents)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """A models folder with the one committed model, `tiny`."""
    return ARTIFACTS


@pytest.fixture(scope="session")
def server(artifacts: Path) -> Iterator[ServerProcess]:
    """A server of `tiny`, shared by the tests that leave it as it was."""
    with serving(artifacts) as running:
        yield running


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with client(server) as opened:
        yield opened


@pytest.fixture(scope="session")
def s3_server() -> "S3":
    """A store, for all tests of one process."""
    from tests.end_to_end.s3 import S3  # half a second, for few tests

    return S3()


@pytest.fixture
def s3(s3_server: "S3", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["S3"]:
    """The store with a prefix of the test's own, and a machine that may use it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    s3_server.begin(tmp_path.name)
    yield s3_server
    s3_server.mend()
