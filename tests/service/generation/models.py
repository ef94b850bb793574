"""Live models for the tests of generation: random weights, and runtimes that can be watched."""

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from service.contract.language import LanguageMetadata, LanguageSignature
from service.repository.live import LiveModel, Repository, narrow, open_version
from service.runtime import Runtime
from tests.artifacts import babble

Model = LiveModel[LanguageMetadata]
NAME = "babble"


@lru_cache
def opened(signature: LanguageSignature | None = None) -> Model:
    """A model of random weights, once for each signature."""
    with TemporaryDirectory() as folder:
        babble.write(Path(folder), NAME, signature)
        return narrow(open_version(Path(folder), NAME, 1, "cpu"), LanguageMetadata)


class Watched:
    """A runtime that notes the tokens of each run, and does what a test wants before it."""

    def __init__(
        self, runtime: Runtime, before: Callable[[NDArray[np.int64]], None] = lambda _: None
    ) -> None:
        self._runtime = runtime
        self._before = before
        self.runs: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def run(self, tokens: NDArray[np.int64], state: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same answer."""
        self.runs.append(tokens.tolist())
        self._before(tokens)
        return self._runtime.run(tokens, state)


class Gate:
    """Holds every run until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, _: NDArray[np.int64]) -> None:
        """Wait."""
        self.entered.release()
        assert self.opened.wait(30)


def watched(model: Model, before: Callable[[NDArray[np.int64]], None]) -> tuple[Model, Watched]:
    """The model behind a watched runtime."""
    runtime = Watched(model.runtime, before)
    return LiveModel(model.metadata, cast(Runtime, runtime)), runtime


def repository(*models: Model) -> Repository:
    """A repository of these models only."""
    return Repository({model.metadata.name: cast(Any, model) for model in models}, {})
