"""What several rooms' tests need: the committed artifact, and a server over it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from tests.end_to_end.server import ServerProcess, client, serving

settings.register_profile("gatecast", deadline=None)  # how fast a machine is proves nothing
settings.load_profile("gatecast")

ARTIFACTS = Path(__file__).parent / "artifacts"


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
