"""The four grids of time: elapsed seconds, weekdays, month starts and month ends.

Each grid counts its places with integers (`number`) and finds them again (`place`). A moment lies
on a grid exactly when placing its number returns it, so no calendar rule is written twice.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.contract.timestamp import EARLIEST, LATEST

Unit = Literal["s", "B", "MS", "ME"]  # elapsed seconds, weekdays, month starts, month ends
Moments = NDArray[np.datetime64]  # datetime64[us]

# Numbers in one second, weekday or month: the grid of seconds is as fine as the timestamps are.
SIZES: dict[Unit, int] = {"s": 1_000_000, "B": 1, "MS": 1, "ME": 1}

RULES: dict[Unit, str] = {
    "s": "any moment",
    "B": "midnight of a weekday, Monday to Friday",
    "MS": "midnight of the first day of a month",
    "ME": "midnight of the last day of a month",
}


def number(unit: Unit, moments: Moments) -> NDArray[np.int64]:
    """The number of the place in whose second, weekday or month each moment lies.

    A weekend counts to the Friday before it.
    """
    if unit == "s":
        return moments.astype("datetime64[us]").astype(np.int64)
    if unit == "B":
        since_monday = moments.astype("datetime64[D]").astype(np.int64) + 3  # day 0: a Thursday
        week, weekday = np.divmod(since_monday, 7)
        return np.asarray(5 * week + np.minimum(weekday, 4), np.int64)
    return moments.astype("datetime64[M]").astype(np.int64)


def place(unit: Unit, numbers: NDArray[np.int64]) -> Moments:
    """The moment of each number, datetime64[us]."""
    if unit == "s":
        return numbers.astype("datetime64[us]")
    if unit == "B":
        week, weekday = np.divmod(numbers, 5)
        return (7 * week + weekday - 3).astype("datetime64[D]").astype("datetime64[us]")
    if unit == "MS":
        return numbers.astype("datetime64[M]").astype("datetime64[us]")
    following = (numbers + 1).astype("datetime64[M]").astype("datetime64[D]")
    return (following - 1).astype("datetime64[us]")


def falls(unit: Unit, moments: Moments) -> NDArray[np.bool_]:
    """Where a moment lies on the grid."""
    return np.equal(place(unit, number(unit, moments)), moments)


# The numbers of the first and the last moment of the calendar.
CALENDAR: dict[Unit, tuple[int, int]] = {
    unit: (int(first), int(last))
    for unit in SIZES
    for first, last in [number(unit, np.array([EARLIEST, LATEST]))]
}
