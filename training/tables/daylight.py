"""Local time in a table: the night when an hour comes twice, and the night when one is lacking.

A table says no zone, so this only recognises the pattern: early on a Sunday of the months in which
clocks are changed somewhere. It adds a reason to a message and never changes what is refused.
"""

import numpy as np
from numpy.typing import NDArray

from service.contract.timestamp import format_timestamp

MONTHS = (3, 4, 9, 10, 11)  # of the changes in Europe, the Americas, Australia and New Zealand
HOUR = np.timedelta64(3600, "s")
_DAY = np.timedelta64(1, "D")
_NIGHT = 4 * HOUR  # changes are over by 04:00
_REMEDY = "convert the timestamps to UTC"


def repeated(moment: np.datetime64) -> str:
    """What to add where a timestamp comes twice: nothing, or that the clocks may have gone back."""
    night = _day(moment)
    if not _changes(night) or moment - night >= _NIGHT:
        return ""
    return (
        f"; if the table is in local time, an hour comes twice in the night of {night}, the end of "
        f"daylight saving: {_REMEDY}"
    )


def shifted(before: np.datetime64, after: np.datetime64, step: np.timedelta64) -> str:
    """What to add where a difference is not a multiple of the step but would be by an hour."""
    over = (after - before) % step
    night = next(
        (day for day in np.arange(_day(before), _day(after) + _DAY) if _changes(day)), None
    )
    if night is None or over not in (HOUR % step, (step - HOUR) % step):
        return ""
    return (
        f"; if the table is in local time, the clocks change in the night of {night}, which is an "
        f"hour shorter or longer: {_REMEDY}"
    )


def lacking(
    first: NDArray[np.int64], timestamps: NDArray[np.datetime64], step: np.timedelta64
) -> str:
    """A remark on a table in which every item lacks the same hour of such a night, else nothing.

    A gap is no error, it becomes missing values; so this is for whoever wonders where they are.

    Args:
        first: [M] where each item begins in `timestamps`.
        timestamps: [N], those of one item together and increasing.
    """
    if HOUR % step:
        return ""
    at = np.flatnonzero(np.diff(timestamps) == HOUR + step)
    at = at[~np.isin(at + 1, first)]
    nights = timestamps[at].astype("datetime64[D]")
    candidates, counts = np.unique(
        timestamps[at[timestamps[at] - nights < _NIGHT]], return_counts=True
    )
    ends = np.append(first[1:], len(timestamps)) - 1
    for moment, count in zip(candidates, counts, strict=True):
        spanning = (timestamps[first] <= moment) & (timestamps[ends] > moment)
        if _changes(_day(moment)) and count == spanning.sum():
            return (
                f"every item lacks the hour after {format_timestamp(moment)}, the night when "
                f"daylight saving begins; its steps count as missing. If the table is in local "
                f"time, {_REMEDY}"
            )
    return ""


def _day(moment: np.datetime64) -> np.datetime64:
    day: np.datetime64 = moment.astype("datetime64[D]")
    return day


def _changes(night: np.datetime64) -> bool:
    """A Sunday of a month of changes."""
    month = night.astype("datetime64[M]").astype(int) % 12 + 1
    return bool((night.astype(int) + 4) % 7 == 0 and month in MONTHS)
