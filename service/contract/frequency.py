"""Regular time: the step of a series, by its pandas alias but without pandas.

A frequency is a count of one of four units (see `grid`), and everything here is integer arithmetic
on the numbers of that grid. Seconds, minutes, hours, days and weeks are one unit, time elapsed, so
60min equals h and 7D equals W; months, quarters and years are counts of months, so 3MS equals QS.

Anchors (W-WED, QS-OCT, YE-JUN) are read and dropped: a series always starts on a step, and its
start then says which weekday or month the others fall on.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.contract import grid
from service.contract.grid import Moments, Unit
from service.contract.timestamp import EARLIEST_YEAR, LATEST_YEAR, format_timestamp

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86400, 604800  # seconds

# Canonical spellings; of one unit the largest first, so that the shortest alias is found.
_SPELLINGS: dict[str, tuple[Unit, int]] = {
    "W": ("s", WEEK),
    "D": ("s", DAY),
    "h": ("s", HOUR),
    "min": ("s", MINUTE),
    "s": ("s", 1),
    "B": ("B", 1),
    "YS": ("MS", 12),
    "QS": ("MS", 3),
    "MS": ("MS", 1),
    "YE": ("ME", 12),
    "QE": ("ME", 3),
    "ME": ("ME", 1),
}
# Spellings of pandas before 2.2.
_LEGACY = {"S": "s", "T": "min", "H": "h", "M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "AS": "YS"}
_ALIAS = re.compile(r"([0-9]{0,6})([A-Za-z]+)(?:-([A-Z]{3}))?")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS_ONLY = 10  # so many days without a weekend are business days, not chance


class InvalidFrequency(ValueError):
    """A text that is not an alias we understand."""


class IrregularTime(ValueError):
    """Timestamps without one step. `index` is the first that breaks it, None if there is none."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class OffCalendar(OverflowError):
    """A step outside the years we know. `index` is the position of its start among those given."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class OffGrid(ValueError):
    """A timestamp where no step can fall. `index` is its position among those asked about."""

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Frequency:
    """The step of a series. Two spellings of one step are equal."""

    unit: Unit
    count: int  # seconds, weekdays or months

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, alias: str) -> "Frequency":
        """Read a pandas offset alias such as h, 15min, W-SUN or 3MS.

        Raises:
            InvalidFrequency: an alias that is not understood; the message lists those that are.
        """
        matched = _ALIAS.fullmatch(alias)
        if matched is None:
            raise _unknown(alias)
        name = _LEGACY.get(matched[2], matched[2])
        count = int(matched[1] or 1)
        if name not in _SPELLINGS or count == 0 or matched[3] not in (None, *_anchors(name)):
            raise _unknown(alias)
        unit, size = _SPELLINGS[name]
        return cls(unit, count * size)

    @classmethod
    def infer(cls, timestamps: Moments) -> Self:
        """Find the step of one series: the most common one (of two equally common, the shorter).

        Gaps are fine, every difference only has to be a multiple of the step. First days of months
        are months and not durations, last days likewise; days without a single weekend are
        business days once there are ten of them.

        Args:
            timestamps: [C] increasing, without repetitions.

        Raises:
            IrregularTime: fewer than 3 timestamps, a difference that is no multiple of the step,
                or a step that is not a whole number of seconds.
        """
        if len(timestamps) < 3:
            raise IrregularTime(
                f"{len(timestamps)} timestamps are too few to infer freq, at least 3 are needed; "
                "give freq"
            )
        unit = _infer_unit(timestamps)
        steps = np.diff(grid.number(unit, timestamps))
        step = _most_common(steps)
        size = grid.SIZES[unit]
        if step % size:
            index = int(np.flatnonzero(steps % size)[0]) + 1
            raise IrregularTime(
                f"{format_timestamp(timestamps[index])} is a fraction of a second after the "
                "timestamp before it; a step is a whole number of seconds: resample the series",
                index,
            )
        offending = np.flatnonzero(steps % step)
        if offending.size:
            raise _irregular(cls(unit, step // size).alias, timestamps, int(offending[0]) + 1)
        return cls(unit, step // size)

    @property
    def alias(self) -> str:
        """The shortest pandas alias (2.2 and newer) of this step, without an anchor."""
        count, name = next(
            (self.count // size, name)
            for name, (unit, size) in _SPELLINGS.items()
            if unit == self.unit and self.count % size == 0
        )
        return name if count == 1 else f"{count}{name}"

    @property
    def seasonality(self) -> int:
        """Steps of the season that is usual for this step; 1 where no usual one is a whole number.

        A year of months and of weeks (52), a week of days, a day of hours and minutes; an hour of
        seconds, else a day of them, except that single seconds have a season of one minute.
        """
        if self.unit == "B":
            return 5 if self.count == 1 else 1
        if self.unit != "s":
            return _whole(12, self.count)
        if self.count % WEEK == 0:
            return _whole(52 * WEEK, self.count)
        if self.count % DAY == 0:
            return 7 if self.count == DAY else 1
        if self.count % MINUTE == 0:
            return _whole(DAY, self.count)
        if self.count == 1:
            return MINUTE
        return _whole(HOUR if HOUR % self.count == 0 else DAY, self.count)

    def check(self, timestamp: np.datetime64) -> None:
        """Make sure that a series of this frequency can start here.

        Any moment can start a series of seconds to weeks, and any month one of quarters or years,
        whatever the anchor of the alias: the start of a series is its anchor.

        Raises:
            OffGrid: no step can fall on the timestamp.
        """
        self._check_places(np.array([timestamp], "datetime64[us]"))

    def timestamps(
        self, start: np.datetime64 | Moments, first: int | NDArray[np.int64], count: int
    ) -> Moments:
        """The steps first .. first + count - 1, counted from start, which is step 0.

        Args:
            start: one, or [B] of them.
            first: one for all, or one per start.

        Returns:
            [count] or [B, count] datetime64[us].

        Raises:
            OffGrid: no step can fall on a start.
            OffCalendar: a step outside EARLIEST_YEAR to LATEST_YEAR.
        """
        starts = np.asarray(start, "datetime64[us]")
        self._check_places(starts.reshape(-1))
        earliest, latest = grid.CALENDAR[self.unit]
        most = (latest - earliest) // self._size + 1  # steps; more would leave int64 as well
        begin = (
            grid.number(self.unit, starts) + np.minimum(np.maximum(first, -most), most) * self._size
        )
        end = begin + min(count - 1, most) * self._size
        offending = np.flatnonzero((begin < earliest) | (begin > latest) | (end > latest))
        if count and offending.size:
            index = int(offending[0])
            step = int(np.broadcast_to(first, starts.shape).flat[index])
            steps = f"steps {step} to {step + count - 1} of {self.alias}"
            origin = format_timestamp(starts.flat[index])
            years = f"{EARLIEST_YEAR} to {LATEST_YEAR}"
            raise OffCalendar(f"{steps} after {origin} leave the years {years}", index)
        return grid.place(self.unit, begin[..., None] + self._size * np.array(range(count), int))

    def steps(self, start: np.datetime64 | Moments, timestamps: Moments) -> NDArray[np.int64]:
        """How many steps after start each timestamp is.

        Args:
            start: one for all, or one per timestamp.
            timestamps: [C].

        Returns:
            [C] int64.

        Raises:
            OffGrid: a start or a timestamp where no step falls; `index` is its position.
        """
        starts = np.broadcast_to(np.asarray(start, "datetime64[us]"), timestamps.shape)
        self._check_places(starts)
        self._check_places(timestamps)
        distance = grid.number(self.unit, timestamps) - grid.number(self.unit, starts)
        steps, remainder = np.divmod(distance, self._size)
        offending = np.flatnonzero(remainder)
        if offending.size:
            index = int(offending[0])
            raise OffGrid(
                f"{format_timestamp(timestamps[index])} is not a whole number of steps of "
                f"{self.alias} after {format_timestamp(starts[index])}; move it there, or use "
                "another freq",
                index,
            )
        return steps

    @property
    def _size(self) -> int:
        """Grid numbers in one step."""
        return self.count * grid.SIZES[self.unit]

    def _check_places(self, timestamps: Moments) -> None:
        offending = np.flatnonzero(~grid.falls(self.unit, timestamps))
        if offending.size:
            index = int(offending[0])
            raise OffGrid(
                f"{format_timestamp(timestamps[index])} cannot be a step of {self.alias}, which "
                f"falls on {grid.RULES[self.unit]}; move it there, or use another freq",
                index,
            )


def _whole(season: int, step: int) -> int:
    return season // step if season % step == 0 else 1


def _anchors(name: str) -> tuple[str, ...]:
    if name == "W":
        return _WEEKDAYS
    return _MONTHS if name in ("QS", "QE", "YS", "YE") else ()


def _unknown(alias: str) -> InvalidFrequency:
    shown = alias if len(alias) <= 40 else f"{alias[:40]}..."
    return InvalidFrequency(
        f"freq {shown!r} is not understood; expected one of s, min, h, D, B, W, MS, ME, QS, QE, "
        "YS, YE, perhaps with a count or an anchor, such as 15min, 2W or QS-OCT"
    )


def _infer_unit(timestamps: Moments) -> Unit:
    days = timestamps.astype("datetime64[D]")
    if (days != timestamps).any():
        return "s"
    units: tuple[Unit, ...] = ("MS", "ME")
    for unit in units:
        if grid.falls(unit, timestamps).all():
            return unit
    daily = len(days) >= _WEEKDAYS_ONLY and _most_common(np.diff(days).astype(np.int64)) == 1
    return "B" if daily and grid.falls("B", timestamps).all() else "s"


def _most_common(steps: NDArray[np.int64]) -> int:
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def _irregular(alias: str, timestamps: Moments, index: int) -> IrregularTime:
    return IrregularTime(
        f"{format_timestamp(timestamps[index])} does not follow "
        f"{format_timestamp(timestamps[index - 1])} by a whole number of steps of {alias}, the "
        "most common step; correct it, resample the series, or give freq",
        index,
    )
