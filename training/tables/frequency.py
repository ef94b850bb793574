"""The one frequency of all items of a table, found or given.

An item alone is inferred by `Frequency.infer`. Here whole tables are compared with what the first
item says, by sums over all rows, so that only items that might differ are looked at one by one.
"""

import numpy as np
from numpy.typing import NDArray

from service.contract import grid
from service.contract.frequency import DAY, Frequency, InvalidFrequency, IrregularTime, OffGrid
from training.tables import daylight
from training.tables.rows import Rows
from training.tables.source import InvalidTable

_FEWEST = 3  # timestamps that show a frequency
_FEWEST_BUSINESS = 10  # days without a weekend that are no chance


def parse(freq: str, source: str) -> Frequency:
    """Read an alias.

    Raises:
        InvalidTable: an alias that is not understood.
    """
    try:
        return Frequency.parse(freq)
    except InvalidFrequency as error:
        raise InvalidTable(f"{source}: {error}") from None


def infer(rows: Rows) -> Frequency:
    """The frequency of all items that are long enough to have one.

    Raises:
        InvalidTable: no item is, one has none, or two differ.
    """
    long = np.flatnonzero(rows.ends - rows.first >= _FEWEST)
    if not long.size:
        raise InvalidTable(
            f"{rows.source}: no item has {_FEWEST} timestamps, so freq cannot be inferred; give "
            "--freq"
        )
    candidate = _infer_item(rows, int(long[0]))
    found = {candidate: int(long[0])}
    for item in long[~_agreeing(rows, candidate)[long]]:
        found.setdefault(_infer_item(rows, int(item)), int(item))
    return candidate if len(found) == 1 else _settle(found, rows)


def _infer_item(rows: Rows, item: int) -> Frequency:
    first = int(rows.first[item])
    timestamps = rows.timestamps[first : rows.ends[item]]
    try:
        return Frequency.infer(timestamps)
    except IrregularTime as error:
        at = error.index or 0
        hint = ""
        if at:
            step = np.diff(timestamps)
            values, counts = np.unique(step, return_counts=True)
            usual = values[counts.argmax()]
            hint = daylight.shifted(timestamps[at - 1], timestamps[at], usual)
        raise rows.refuse(first + at, f"{error}{hint}") from None


def _agreeing(rows: Rows, frequency: Frequency) -> NDArray[np.bool_]:
    """[M] items that are certain to have this frequency; the others need a look of their own.

    Certain: most differences are one step, the others whole numbers of them, and no coarser unit
    explains all timestamps, in the order in which `Frequency.infer` tries them.
    """
    size = frequency.count * grid.SIZES[frequency.unit]
    certain = _mostly(rows, grid.number(frequency.unit, rows.timestamps), size)
    if frequency.unit == "s" and frequency.count % DAY and not _all(rows, _midnight(rows)).any():
        return certain
    starts, ends = (_all(rows, grid.falls(unit, rows.timestamps)) for unit in ("MS", "ME"))
    if frequency.unit == "MS":
        return certain & starts
    if frequency.unit == "ME":
        return certain & ends
    weekdays = _all(rows, grid.falls("B", rows.timestamps))
    enough = rows.ends - rows.first >= _FEWEST_BUSINESS
    if frequency.unit == "B":
        days = rows.timestamps.astype("datetime64[D]").astype(np.int64)
        return certain & ~starts & ~ends & weekdays & enough & _mostly(rows, days, 1, whole=False)
    return certain & ~starts & ~ends & ~(weekdays & enough)


def _mostly(
    rows: Rows, numbers: NDArray[np.int64], size: int, *, whole: bool = True
) -> NDArray[np.bool_]:
    """[M] where more than half of the differences are `size`, and all, if so asked, multiples."""
    steps = np.diff(numbers, prepend=numbers[0])
    steps[rows.first] = 0
    same = np.add.reduceat(steps == size, rows.first, dtype=np.int64)
    mostly = 2 * same > rows.ends - rows.first - 1
    return mostly & _all(rows, steps % size == 0) if whole else mostly


def _midnight(rows: Rows) -> NDArray[np.bool_]:
    return np.asarray(rows.timestamps.astype("datetime64[D]") == rows.timestamps, np.bool_)


def _all(rows: Rows, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduceat(good, rows.first))


def _settle(found: dict[Frequency, int], rows: Rows) -> Frequency:
    """Days and business days agree if the days are just too few to show a weekend."""
    business = Frequency.parse("B")
    if set(found) == {Frequency.parse("D"), business}:
        try:
            business.steps(rows.timestamps[rows.first[rows.item]], rows.timestamps)
        except OffGrid:
            pass
        else:
            return business
    (one, first), (other, second) = sorted(found.items(), key=lambda pair: pair[1])[:2]
    raise rows.refuse_item(
        first,
        f"has freq {one.alias}, item {rows.item_ids[second]!r} has freq {other.alias}; a panel has "
        "one: put them in tables of their own, or give --freq",
    )
