"""Requests read and answers written in C."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

MOST_LEVELS: int  # of a form

Memory = tuple[NDArray[Any], ...]

@final
class Question:
    """A body that has been read. Shape letters: B series, H horizon steps."""

    @property
    def name(self) -> str | None:
        """Of the model; of a request in tensors, what it calls itself."""

    @property
    def horizon(self) -> int | None:
        """Steps; None: not said."""

    @property
    def levels(self) -> tuple[float, ...] | None:
        """Quantile levels; None: not said."""

    @property
    def first(self) -> str | None:
        """The item_id of the first series; None in tensors."""

    def __len__(self) -> int: ...
    def differ(self) -> bool:
        """Whether no two series have the same item_id."""

    def has_freq(self, freq: str) -> bool:
        """Whether every series has this frequency or says none."""

    def fits(self, fewest: int, most: int, newest: int, /) -> bool:
        """Whether every series has `fewest` to `most` steps, and a value in its `newest` ones."""

    def times(self) -> list[tuple[str, int]]:
        """Start and number of steps of each series."""

    def rows(
        self, buckets: NDArray[np.int64], seconds: list[NDArray[np.int64]] | None = None
    ) -> list[Rows]:
        """The series by bucket.

        Args:
            buckets: of each length, 0..context_length.
            seconds: since 1970-01-01 of each series' newest steps and of the horizon, for a model
                with a calendar.
        """

@final
class Rows:
    """Rows of one bucket, for the engine."""

    @property
    def shape(self) -> int:
        """Steps of a row in a batch."""

    @property
    def places(self) -> list[int]:
        """Which rows of the request they are."""

    def __len__(self) -> int: ...
    def write(self, start: int, stop: int, memory: Memory, at: int, /) -> None:
        """Write the rows start..stop - 1 as the rows at.. of a batch."""

class Form:
    """How forecasts of the native dialect are written."""

    def __new__(
        cls,
        begin: bytes,
        labels: tuple[bytes, ...],
        columns: tuple[int, ...],
        median: int,
        horizon: int,
    ) -> Form:
        """Of a model with Q' levels.

        Args:
            begin: what stands before the first series.
            labels: of the levels that are written, JSON texts.
            columns: theirs among the model's levels; `median`: that of 0.5.
            horizon: steps that are written.
        """

    def write(
        self, question: Question, timestamps: list[bytes], answer: NDArray[np.float32], /
    ) -> bytes:
        """The answer [B, H, Q'] as JSON; `timestamps` are JSON arrays, one for each series."""

def read_forecast(body: bytes, /) -> Question | None:
    """A body of `POST /v1/forecast`; None: the handler is to look at it."""

def read_tensors(body: bytes, /) -> Question | None:
    """The same of an infer request of the Open Inference Protocol to a forecaster."""

def write_numbers(answer: NDArray[np.float32], /) -> bytes:
    """All numbers as one flat JSON array, with the fewest digits that read back to the same."""
