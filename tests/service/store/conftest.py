"""What the tests of stores need: a version to upload."""

from pathlib import Path

import pytest

from tests.artifacts import edit


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The folder of tiny/1, on the machine that trained it."""
    return edit.copy(tmp_path / "trained")
