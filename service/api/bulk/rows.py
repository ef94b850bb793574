"""A long table -> series laid end to end: rows brought together by item and put on their grid.

As in training, order is never repaired: repeated timestamps and unsorted rows are nearly always a
mistake upstream. A step without a row is a missing value.

R rows of N items; M steps of all items from their first row to their last; H steps of the horizon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency, OffGrid
from service.contract.grid import Moments
from service.contract.timestamp import EARLIEST, LATEST, format_timestamp
from service.errors import Malformed, ServiceError, TooLarge, Unservable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """The typed columns of a table."""

    item: NDArray[np.int64]  # [R] the position of each row's item_id
    item_ids: Sequence[str]  # N
    timestamps: Moments  # [R] datetime64[us]
    target: Floats  # [R] NaN = missing
    numbers: Mapping[str, Floats] = field(default_factory=dict)  # [R] each: numeric covariates
    codes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)  # [R] each; -1 = missing


@dataclass(frozen=True)
class Ends:
    """N series end to end, as `Packed` has them."""

    item_ids: Sequence[str]
    starts: Moments  # [N]
    sizes: NDArray[np.int64]  # [N] steps of the target
    target: Floats  # sizes together
    past: Mapping[str, Floats]  # as long as the target
    known: Mapping[str, Floats]  # H more for each series
    static: Mapping[str, Floats]  # [N]
    codes: Mapping[str, NDArray[np.int64]]  # [N]


def end_to_end(rows: Rows, signature: ForecastSignature, most: int) -> Ends:
    """Place every row.

    Args:
        most: steps of all items together.

    Raises:
        Unservable, Malformed, TooLarge: naming the item, and the row as counted from 1.
    """
    order = _together(rows.item)
    item, moments = rows.item[order], rows.timestamps[order]
    firsts = np.flatnonzero(np.append(True, item[1:] != item[:-1]))
    lasts = np.append(firsts[1:], len(item)) - 1
    place = _Place(rows, order)
    place.check(item, moments)
    starts = moments[firsts]
    frequency = Frequency.parse(signature.freq)
    counts = lasts - firsts + 1
    try:
        steps = frequency.steps(np.repeat(starts, counts), moments)
    except OffGrid as error:
        raise place.refuse(error.index, f"timestamp: {error}") from None
    lengths = steps[lasts] + 1
    if float(lengths.sum(dtype=np.float64)) > most:
        at = int(lasts[lengths.argmax()])
        message = f"the gaps before {format_timestamp(moments[at])} would make {lengths.max()} "
        raise place.refuse(at, f"{message}steps of {signature.freq}, the most is {most}", TooLarge)
    offsets = np.cumsum(lengths) - lengths
    at = steps + np.repeat(offsets, counts)

    def spread(values: Floats) -> Floats:
        found = np.full(int(lengths.sum()), np.nan)
        found[at] = values[order]
        return found

    declared = signature.covariates
    target = spread(rows.target)
    ahead = signature.horizon if declared.known else 0
    before = np.arange(len(target)) < np.repeat(offsets + lengths - ahead, lengths)
    _check_horizon(place, target, before, at, lengths, ahead, lasts)
    return Ends(
        item_ids=[rows.item_ids[code] for code in item[firsts].tolist()],
        starts=starts,
        sizes=lengths - ahead,
        target=target[before],
        past={name: spread(rows.numbers[name])[before] for name in declared.past},
        known={name: spread(rows.numbers[name]) for name in declared.known},
        static={n: place.constant(n, rows.numbers[n][order], firsts) for n in declared.static},
        codes={
            one.name: _codes(place, one.name, rows.codes[one.name][order], firsts)
            for one in declared.categories
        },
    )


def _together(item: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order in which the rows of an item follow each other, items as they first appear."""
    if (np.diff(item) >= 0).all():
        return np.arange(len(item))
    first = np.empty(int(item.max()) + 1, np.int64)
    first[item[::-1]] = np.arange(len(item))[::-1]  # of several, the last that is written stays
    return np.argsort(first[item], kind="stable")


class _Place:
    """Rows in the order of their items -> what a message calls them."""

    def __init__(self, rows: Rows, order: NDArray[np.int64]) -> None:
        self._rows = rows
        self._order = order

    def check(self, item: NDArray[np.int64], moments: Moments) -> None:
        """Within the calendar and, in an item, increasing; numbers are finite."""
        outside = (moments < EARLIEST) | (moments > LATEST)
        if outside.any():
            at = int(outside.argmax())
            years = f"{str(EARLIEST)[:4]} to {str(LATEST)[:4]}"
            raise self.refuse(at, f"timestamp {moments[at]} is outside the years {years}")
        still = (item[1:] == item[:-1]) & (moments[1:] <= moments[:-1])
        if still.any():
            at = int(still.argmax()) + 1
            now, before = format_timestamp(moments[at]), format_timestamp(moments[at - 1])
            said = f"timestamp {now} does not come after {before} of row {self._order[at - 1] + 1}"
            raise self.refuse(at, f"{said}; sort the rows and drop repetitions")
        for name, values in {"target": self._rows.target, **self._rows.numbers}.items():
            infinite = np.isinf(values[self._order])
            if infinite.any():
                at = int(infinite.argmax())
                problem = f"{name} is not a finite number; leave it null where it is missing"
                raise self.refuse(at, problem, Malformed)

    def constant(self, name: str, values: Floats, firsts: NDArray[np.int64]) -> Floats:
        """[N] the one value of each item, NaN where it has none."""
        highest = np.fmax.reduceat(values, firsts)
        differs = np.fmin.reduceat(values, firsts) < highest
        if differs.any():
            at = int(firsts[differs.argmax()])
            raise self.refuse(at, f"{name} differs between rows of the item; it is one value each")
        found: Floats = highest
        return found

    def refuse(self, at: int, problem: str, kind: type[ServiceError] = Unservable) -> ServiceError:
        """The error about a row."""
        row = int(self._order[at])
        item_id = self._rows.item_ids[self._rows.item[row]]
        return kind(f"item {item_id!r}, row {row + 1}: {problem}", f"row[{row + 1}]")


def _codes(
    place: _Place, name: str, codes: NDArray[np.int64], firsts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[N] the one category of each item, -1 where it has none."""
    values = np.where(codes < 0, np.nan, codes)
    found = place.constant(name, values, firsts)
    return np.where(np.isnan(found), -1, found).astype(np.int64)


def _check_horizon(
    place: _Place,
    target: Floats,
    before: NDArray[np.bool_],
    at: NDArray[np.int64],
    lengths: NDArray[np.int64],
    ahead: int,
    lasts: NDArray[np.int64],
) -> None:
    """Where covariates are known ahead, the last H steps of each item are for them alone."""
    remedy = (
        f"the last {ahead} steps of each item are the horizon, with the known covariates of this "
        "model and without a target"
    )
    short = lengths <= ahead
    if short.any():
        item = int(short.argmax())
        raise place.refuse(int(lasts[item]), f"the item has {lengths[item]} steps, but {remedy}")
    given = ~np.isnan(target) & ~before
    if given.any():
        row = int(np.searchsorted(at, int(given.argmax())))
        raise place.refuse(row, f"target is {target[given][0]:g}, but {remedy}")
