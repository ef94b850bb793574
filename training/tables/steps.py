"""Rows of a table -> the steps of regular series, all items one after another in one array."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract.frequency import Frequency, OffGrid
from service.contract.timestamp import format_timestamp
from training.tables import daylight
from training.tables.rows import Rows

LONGEST = 10_000_000  # steps of one series; more are the mark of a wrong timestamp or freq
SLICE = 1_000_000  # rows placed at once; bounds the memory of calendar arithmetic


@dataclass(frozen=True, eq=False)
class Steps:
    """The regular steps of M items, and which of them the N rows are."""

    frequency: Frequency
    starts: NDArray[np.datetime64]  # [M] the first timestamp of each item
    lengths: NDArray[np.int64]  # [M] steps from its first to its last row
    offsets: NDArray[np.int64]  # [M] where each item begins among all steps
    at: NDArray[np.int64] | None  # [N] the step of each row; None where every step is one row

    @classmethod
    def of(cls, rows: Rows, frequency: Frequency) -> "Steps":
        """Place every row.

        Raises:
            InvalidTable: a timestamp where no step falls, or a series longer than `LONGEST`.
        """
        starts = rows.timestamps[rows.first]
        steps = np.empty(len(rows.item), np.int64)
        for first in range(0, len(steps), SLICE):
            part = slice(first, first + SLICE)
            try:
                steps[part] = frequency.steps(starts[rows.item[part]], rows.timestamps[part])
            except OffGrid as error:
                at = first + error.index
                raise rows.refuse(at, f"{error}{_hint(rows, at, frequency)}") from None
        lengths = steps[rows.ends - 1] + 1
        _check_lengths(rows, steps, lengths, frequency)
        offsets = np.cumsum(lengths) - lengths
        dense = lengths.sum() == len(steps)
        return cls(
            frequency, starts, lengths, offsets, None if dense else steps + offsets[rows.item]
        )

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[N] values of the rows -> values of all steps, NaN where there is no row."""
        if self.at is None:
            return values
        spread = np.full(self.lengths.sum(), np.nan)
        spread[self.at] = values
        return spread

    def row(self, step: int) -> int | None:
        """The position of the row that is a step (counted over all items), None if none is."""
        if self.at is None:
            return step
        row = int(np.searchsorted(self.at, step))
        return row if row < len(self.at) and self.at[row] == step else None

    def check_followed(self, rows: Rows) -> None:
        """Refuse a table in which nowhere two rows are one step apart: its freq is a coarser one.

        Raises:
            InvalidTable: naming how far apart they are.
        """
        if self.at is None:
            return
        apart = np.diff(self.at)
        apart[rows.first[1:] - 1] = 0
        if (apart == 1).any() or len(rows.item) < 3 * len(rows.first):
            return
        distance = int(apart[apart > 0].min())
        at = int((apart == distance).argmax())
        raise rows.refuse(
            at + 1,
            f"comes {distance} steps of {self.frequency.alias} after "
            f"{rows.places.of(int(rows.numbers[at]))}, and no two rows are nearer; the model "
            f"forecasts {self.frequency.alias}: resample the table or use another model",
        )


def _hint(rows: Rows, at: int, frequency: Frequency) -> str:
    if frequency.unit != "s" or at == rows.first[rows.item[at]]:
        return ""
    step = np.timedelta64(frequency.count, "s")
    return daylight.shifted(rows.timestamps[at - 1], rows.timestamps[at], step)


def _check_lengths(
    rows: Rows, steps: NDArray[np.int64], lengths: NDArray[np.int64], frequency: Frequency
) -> None:
    item = int(lengths.argmax())
    if lengths[item] <= LONGEST:
        return
    first, end = int(rows.first[item]), int(rows.ends[item])
    at = first + 1 + int(np.diff(steps[first:end]).argmax())
    raise rows.refuse(
        at,
        f"the gap before {format_timestamp(rows.timestamps[at])} makes a series of "
        f"{lengths[item]} steps of {frequency.alias}, the longest is {LONGEST}; correct the "
        "timestamp, or give a coarser --freq",
    )
