"""Long table -> panel: regular series, one value per step, NaN where nothing was observed.

Everything between the file and the arrays works on whole columns, so that a million rows take about
a second; only inferring the frequency goes item by item. Order is never repaired: unsorted rows and
repeated timestamps are nearly always a mistake upstream, and sorting would hide it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.contract.frequency import Frequency, InvalidFrequency, IrregularTime, OffGrid
from service.contract.timestamp import format_timestamp
from training.table import InvalidTable, read, tidy

__all__ = ["InvalidTable", "Panel", "Series", "from_frame", "load"]

LONGEST = 10_000_000  # steps of one series; more are the mark of a wrong timestamp or freq


@dataclass(frozen=True, eq=False)
class Series:
    """One regular series: step k is at start + k steps of the panel's frequency."""

    item_id: str
    start: np.datetime64  # microseconds
    target: NDArray[np.float64]  # one value per step, NaN = missing


@dataclass(frozen=True, eq=False)
class Panel:
    """All series of a training or a forecast, in order of first appearance in their table."""

    series: tuple[Series, ...]
    frequency: Frequency

    @property
    def fingerprint(self) -> str:
        """sha256 over freq, item ids, starts and targets: the identity of the data."""
        digest = hashlib.sha256(f"{self.frequency.alias}\n".encode())
        for series in self.series:
            target = np.where(np.isnan(series.target), np.nan, series.target)  # one NaN of many
            item_id = series.item_id.encode()
            head = (len(item_id), series.start.astype("datetime64[us]").astype(int), len(target))
            digest.update(np.array(head, "<i8").tobytes() + item_id)
            digest.update(target.astype("<f8").tobytes())
        return digest.hexdigest()


def load(path: Path, freq: str | None = None) -> Panel:
    """Read a CSV or Parquet file; see `from_frame`.

    Raises:
        InvalidTable: a file that cannot be read, or whatever `from_frame` refuses.
    """
    return from_frame(read(path), freq, str(path))


def from_frame(frame: pl.DataFrame, freq: str | None = None, source: str = "table") -> Panel:
    """Turn a long table into regular series.

    Args:
        frame: columns item_id, timestamp, target; or unique_id, ds, y; or two columns, timestamp
            and target, for one series named "series". Rows of different items may be interleaved;
            within an item they are sorted by timestamp.
        freq: pandas offset alias; None infers it from the items with at least 3 timestamps, which
            must agree.
        source: what messages call the table.

    Raises:
        InvalidTable: anything that would have to be guessed or repaired; the message names the
            item or row (from 1, the header not counted) and the remedy.
    """
    given = None if freq is None else _parse(freq, source)
    rows = _Rows.of(tidy(frame, source), source)
    frequency = given or _infer(rows)
    return Panel(_regular(rows, frequency), frequency)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a table, those of one item together and in time order."""

    source: str
    item_ids: list[str]
    first: NDArray[np.int64]  # where each item begins
    item: NDArray[np.int64]  # which item each row is of
    timestamps: NDArray[np.datetime64]
    targets: NDArray[np.float64]
    numbers: NDArray[np.uint32]  # the rows of the table as its user counts them

    @classmethod
    def of(cls, table: pl.DataFrame, source: str) -> "_Rows":
        """Bring the items together, and refuse timestamps that do not increase."""
        appeared = pl.col("row").min().over("item_id")
        table = table.with_columns(appeared=appeared).sort("appeared", maintain_order=True)
        new = np.diff(table["appeared"].to_numpy(), prepend=0) != 0
        first = np.flatnonzero(new)
        rows = cls(
            source=source,
            item_ids=table["item_id"].gather(first).to_list(),
            first=first,
            item=np.cumsum(new) - 1,
            timestamps=table["timestamp"].to_numpy(),
            targets=table["target"].to_numpy(),
            numbers=table["row"].to_numpy(),
        )
        still = np.diff(rows.timestamps) <= np.timedelta64(0)
        backwards = np.flatnonzero(still & ~new[1:])
        if backwards.size:
            raise _unsorted(rows, table, int(backwards[0]))
        return rows

    def refuse(self, at: int, problem: str) -> InvalidTable:
        """The error that names the row at this position and its item."""
        item_id = self.item_ids[self.item[at]]
        return InvalidTable(f"{self.source}: item {item_id!r}, row {self.numbers[at]}: {problem}")

    def refuse_item(self, item: int, problem: str) -> InvalidTable:
        """The error that names an item."""
        return InvalidTable(f"{self.source}: item {self.item_ids[item]!r} {problem}")


def _unsorted(rows: _Rows, table: pl.DataFrame, at: int) -> InvalidTable:
    """Repeated timestamps first: sorting would not cure them."""
    repeated = table.filter(pl.struct("item_id", "timestamp").is_duplicated())
    if repeated.height:
        item_id, timestamp = repeated.row(0, named=True)["item_id"], repeated["timestamp"][0]
        same = repeated.filter(item_id=item_id, timestamp=timestamp)["row"]
        return InvalidTable(
            f"{rows.source}: item {item_id!r} has the timestamp {timestamp.isoformat()} in rows "
            f"{same[0]} and {same[1]}; keep one of them, or sum them up"
        )
    return rows.refuse(
        at + 1,
        f"{format_timestamp(rows.timestamps[at + 1])} is before "
        f"{format_timestamp(rows.timestamps[at])} of row {rows.numbers[at]}; sort the rows of each "
        "item by timestamp",
    )


def _parse(freq: str, source: str) -> Frequency:
    try:
        return Frequency.parse(freq)
    except InvalidFrequency as error:
        raise InvalidTable(f"{source}: {error}") from None


def _infer(rows: _Rows) -> Frequency:
    """The one frequency of all items that are long enough to have one."""
    found: dict[Frequency, int] = {}
    ends = np.append(rows.first[1:], len(rows.item))
    for item, (first, end) in enumerate(zip(rows.first, ends, strict=True)):
        if end - first < 3:
            continue
        try:
            found.setdefault(Frequency.infer(rows.timestamps[first:end]), item)
        except IrregularTime as error:
            raise rows.refuse(int(first) + (error.index or 0), str(error)) from None
    if not found:
        raise InvalidTable(
            f"{rows.source}: no item has 3 timestamps, so freq cannot be inferred; give --freq"
        )
    if len(found) > 1:
        return _settle(found, rows)
    return next(iter(found))


def _settle(found: dict[Frequency, int], rows: _Rows) -> Frequency:
    """Days and business days agree if the days are just too few to show a weekend."""
    business = Frequency.parse("B")
    if set(found) == {Frequency.parse("D"), business}:
        try:
            business.steps(rows.timestamps[rows.first[rows.item]], rows.timestamps)
        except OffGrid:
            pass
        else:
            return business
    (one, first), (other, second) = list(found.items())[:2]
    raise rows.refuse_item(
        first,
        f"has freq {one.alias}, item {rows.item_ids[second]!r} has freq {other.alias}; a panel has "
        "one: put them in tables of their own, or give --freq",
    )


def _regular(rows: _Rows, frequency: Frequency) -> tuple[Series, ...]:
    """Place every observation at its step; what no row speaks of is NaN."""
    starts = rows.timestamps[rows.first]
    try:
        steps = frequency.steps(starts[rows.item], rows.timestamps)
    except OffGrid as error:
        raise rows.refuse(error.index, str(error)) from None
    lengths = np.append(steps[rows.first[1:] - 1], steps[-1]) + 1
    _check_lengths(rows, steps, lengths, frequency)
    _check_observed(rows)
    offsets = np.cumsum(lengths) - lengths
    values = np.full(lengths.sum(), np.nan)
    values[offsets[rows.item] + steps] = rows.targets
    return tuple(
        Series(item_id, start, values[offset : offset + length])
        for item_id, start, offset, length in zip(
            rows.item_ids, starts, offsets, lengths, strict=True
        )
    )


def _check_lengths(
    rows: _Rows, steps: NDArray[np.int64], lengths: NDArray[np.int64], frequency: Frequency
) -> None:
    item = int(lengths.argmax())
    if lengths[item] <= LONGEST:
        return
    gaps = np.where(rows.item[1:] == item, np.diff(steps), 0)
    at = int(gaps.argmax()) + 1
    raise rows.refuse(
        at,
        f"the gap before {format_timestamp(rows.timestamps[at])} makes a series of "
        f"{lengths[item]} steps of {frequency.alias}, the longest is {LONGEST}; correct the "
        "timestamp, or give a coarser --freq",
    )


def _check_observed(rows: _Rows) -> None:
    observed = np.logical_or.reduceat(~np.isnan(rows.targets), rows.first)
    if not observed.all():
        raise rows.refuse_item(
            int(observed.argmin()), "has no observed target at all; drop it, or fill some in"
        )
