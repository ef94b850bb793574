"""The feeding of the short way with damaged bodies, here without the sanitizers."""

import pytest

from benchmarks import sanitize

express = pytest.importorskip("service.express._express", reason="no compiler at installation")


def test_damaged_bodies_are_read_or_left_and_some_of_them_are_read() -> None:
    assert 300 < sanitize.feed(express, 3000, seed=1) < 3000
