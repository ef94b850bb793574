"""The moments that the steps of a series fall on."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency, OffCalendar, OffGrid
from service.contract.grid import Moments
from service.errors import Unservable
from service.forecasting.inquiry import Series

FEW = 4  # different starts and lengths: up to so many are better looked up one by one


def timelines(many: Sequence[Series], signature: ForecastSignature, ahead: int) -> list[Moments]:
    """The moments of each horizon, which begins one step after the last value of its target.

    Where the model has a calendar, the moments of the steps of the context are before them.

    Raises:
        Unservable: a start that no step can fall on, or a step outside the calendar.
    """
    alike = {(series.start.value, len(series.target)) for series in many}
    if len(alike) <= FEW:
        return [_one(series, at, signature, ahead) for at, series in enumerate(many)]
    groups: dict[int, list[int]] = {}  # by steps of the context
    for at, series in enumerate(many):
        steps = min(len(series.target), signature.context_length) if signature.calendar else 0
        groups.setdefault(steps, []).append(at)
    lines: dict[int, Moments] = {}
    frequency = Frequency.parse(signature.freq)
    for steps, rows in groups.items():
        starts = np.array([many[at].start.value for at in rows], "datetime64[us]")
        firsts = np.array([len(many[at].target) for at in rows], np.int64) - steps
        try:
            found = frequency.timestamps(starts, firsts, steps + ahead)
        except (OffGrid, OffCalendar) as error:
            at = rows[error.index]
            raise _unservable(many[at], at, error) from error
        lines.update(zip(rows, found, strict=True))
    return [lines[at] for at in range(len(many))]


def _one(series: Series, at: int, signature: ForecastSignature, ahead: int) -> Moments:
    length = len(series.target)
    steps = min(length, signature.context_length) if signature.calendar else 0
    try:
        return moments(signature.freq, series.start.value, length - steps, steps + ahead)
    except (OffGrid, OffCalendar) as error:
        raise _unservable(series, at, error) from error


@lru_cache(maxsize=1024)  # the callers of a day often ask about the same steps
def moments(freq: str, start: np.datetime64, first: int, count: int) -> Moments:
    """The moments of the steps first..first + count - 1.

    Raises:
        OffGrid, OffCalendar: see `Frequency.timestamps`.
    """
    found = Frequency.parse(freq).timestamps(start, first, count)
    found.flags.writeable = False
    return found


def _unservable(series: Series, at: int, error: Exception) -> Unservable:
    return Unservable(f"series {series.item_id!r}: {error}", f"series[{at}].start")
