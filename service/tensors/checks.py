"""What the rows of a request in tensors hold: lengths, numbers, moments and codes a model can use.

All rows are checked in the same few calls, because one request may hold thousands; a row is looked
at alone only to say what is wrong with it. What lies in a row's padding, or before its newest
`context_length` steps, is not looked at.

Shape letters: B rows, T steps, n valid steps of a row, H horizon steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import (
    CATEGORIES,
    CONTEXT,
    KNOWN,
    LENGTHS,
    STATIC,
    TIMESTAMPS,
    ForecastSignature,
)
from service.contract.placement import LARGEST_VALUE
from service.contract.timestamp import EARLIEST, EARLIEST_YEAR, LATEST, LATEST_YEAR
from service.errors import Malformed, Unservable

Array = NDArray[Any]

_FIRST_SECOND, _LAST_SECOND = (
    int(t.astype("datetime64[s]").astype(int)) for t in (EARLIEST, LATEST)
)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest steps of each row: what the model sees."""

    lengths: list[int]
    kept: list[int]
    alike: bool  # all rows have the same length

    def of(self, values: Array, ahead: int = 0) -> Array:
        """Those steps, and so many behind them, of floats [B, T, ...]; NaN where others are."""
        if self.alike:
            return values[:, self.lengths[0] - self.kept[0] : self.lengths[0] + ahead]
        seen = self.mask(values.shape[1], ahead)
        return np.where(seen.reshape(*seen.shape, *[1] * (values.ndim - 2)), values, np.nan)

    def mask(self, width: int, ahead: int = 0) -> NDArray[np.bool_]:
        """Whether a step is one of them, [B, width]."""
        ends = np.array(self.lengths)[:, np.newaxis]
        starts = ends - np.array(self.kept)[:, np.newaxis]
        at = np.arange(width)
        seen: NDArray[np.bool_] = (at >= starts) & (at < ends + ahead)
        return seen


def agree_lengths(lengths: list[int], steps: int, signature: ForecastSignature) -> Newest:
    """Each within its row, and long enough for the model.

    Raises:
        Malformed: outside 1..`steps`.
        Unservable: shorter than the model's minimum.
    """
    least, most = min(lengths), max(lengths)
    if least < 1 or most > steps:
        row = next(row for row, n in enumerate(lengths) if not 1 <= n <= steps)
        raise Malformed(
            f"row {row} of {LENGTHS} is {lengths[row]}, expected 1 to {steps}, the valid steps of "
            f"that row of {CONTEXT}",
            LENGTHS,
        )
    if least < signature.minimum_context:
        raise Unservable(
            f"row {lengths.index(least)} of {LENGTHS} is {least}, this model needs at least "
            f"{signature.minimum_context} steps",
            LENGTHS,
        )
    limit = signature.context_length
    kept = lengths if most <= limit else [min(n, limit) for n in lengths]
    return Newest(lengths, kept, least == most)


def agree_targets(newest: Newest, context: Array) -> None:
    """At least one observed value in each row, and none too large.

    Raises:
        Unservable: naming the row.
    """
    magnitudes = np.abs(newest.of(context))
    if np.maximum.reduce(magnitudes, axis=None) <= LARGEST_VALUE:
        return  # nothing is missing
    peaks = np.fmax.reduce(magnitudes, axis=1)  # NaN where all are missing
    if np.maximum.reduce(peaks) <= LARGEST_VALUE:
        return
    row = int(np.flatnonzero(~(peaks <= LARGEST_VALUE))[0])
    if np.isnan(peaks[row]):
        raise Unservable(
            f"row {row} of {CONTEXT} has no observed value in its newest {newest.kept[row]} steps; "
            "at least one must not be missing",
            CONTEXT,
        )
    raise _too_large(CONTEXT, row, float(peaks[row]))


def agree_beside(newest: Newest, beside: Mapping[str, Array], signature: ForecastSignature) -> None:
    """Numbers that are not too large, moments that exist and go forward, codes that are known.

    Raises:
        Unservable: naming the tensor and the row.
    """
    for name, values in beside.items():
        if name == TIMESTAMPS:
            _agree_moments(newest, values, signature.horizon)
        elif name == CATEGORIES:
            _agree_codes(values, [len(c.values) for c in signature.covariates.categories])
        else:
            ahead = signature.horizon if name == KNOWN else 0
            _agree_numbers(name, values if name == STATIC else newest.of(values, ahead))


def _agree_numbers(name: str, values: Array) -> None:
    peaks = np.fmax.reduce(np.abs(values).reshape(len(values), -1), axis=1)
    if (peaks > LARGEST_VALUE).any():
        row = int(np.flatnonzero(peaks > LARGEST_VALUE)[0])
        raise _too_large(name, row, float(peaks[row]))


def _agree_moments(newest: Newest, seconds: Array, horizon: int) -> None:
    seen = newest.mask(seconds.shape[1], horizon)
    wrong = seen & ((seconds < _FIRST_SECOND) | (seconds > _LAST_SECOND))
    if wrong.any():
        row, step = np.argwhere(wrong)[0]
        raise Unservable(
            f"row {row} of {TIMESTAMPS} holds {seconds[row, step]} at step {step}, expected "
            f"seconds since 1970-01-01 of a year from {EARLIEST_YEAR} to {LATEST_YEAR}",
            TIMESTAMPS,
        )
    back = seen[:, :-1] & seen[:, 1:] & (seconds[:, 1:] <= seconds[:, :-1])
    if back.any():
        row, step = np.argwhere(back)[0]
        raise Unservable(
            f"row {row} of {TIMESTAMPS} does not increase from step {step} to step {step + 1}; "
            "send the steps oldest first, and those of the horizon right behind the row's own",
            TIMESTAMPS,
        )


def _agree_codes(codes: Array, known: Sequence[int]) -> None:
    wrong = (codes < 0) | (codes > np.array(known))
    if wrong.any():
        row, at = np.argwhere(wrong)[0]
        raise Unservable(
            f"row {row} of {CATEGORIES} holds {codes[row, at]} for category {at}, expected 0 "
            f"(unknown) to {known[at]}",
            CATEGORIES,
        )


def _too_large(name: str, row: int, value: float) -> Unservable:
    return Unservable(
        f"row {row} of {name} holds a magnitude of {value:g}; the largest is {LARGEST_VALUE:g}",
        name,
    )
