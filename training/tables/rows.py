"""The typed rows of a whole table: those of one item together, in time order, texts as numbers.

Order is never repaired: unsorted rows and repeated timestamps are nearly always a mistake upstream,
and sorting would hide it. Only items that are interleaved are brought together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.contract.timestamp import format_timestamp
from training.tables import daylight
from training.tables.source import InvalidTable, Piece, Places
from training.tables.table import NO_ROLES, Roles, tidy

NONE = -1  # code of a missing text


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows of M items."""

    source: str
    places: Places
    item_ids: list[str]  # [M] in order of first appearance
    first: NDArray[np.int64]  # [M] where each item begins
    item: NDArray[np.int32]  # [N] which item each row is of
    timestamps: NDArray[np.datetime64]  # [N] microseconds, increasing within an item
    targets: NDArray[np.float64]  # [N] NaN = missing
    numbers: NDArray[np.uint32]  # [N] the row in the source, from 1
    columns: dict[str, NDArray[np.float64]]  # [N] each, numeric covariates
    codes: dict[str, NDArray[np.int32]]  # [N] each, categories: positions in `texts`, or NONE
    texts: dict[str, list[str]]

    @classmethod
    def of(cls, pieces: Iterable[Piece], source: str, roles: Roles = NO_ROLES) -> "Rows":
        """Type every piece, bring the items together, and refuse timestamps that do not increase.

        Raises:
            InvalidTable: whatever `tidy` refuses, a table without rows, or rows out of order.
        """
        rows = _together(_gather(pieces, source, roles))
        still = np.diff(rows.timestamps) <= np.timedelta64(0)
        still[rows.first[1:] - 1] = False
        if still.any():
            raise _unsorted(rows, int(still.argmax()))
        return rows

    @property
    def ends(self) -> NDArray[np.int64]:
        """[M] where each item ends."""
        return np.append(self.first[1:], len(self.item))

    def refuse(self, at: int, problem: str) -> InvalidTable:
        """The error that names the row at this position and its item."""
        item_id = self.item_ids[self.item[at]]
        place = self.places.of(int(self.numbers[at]))
        return InvalidTable(f"{self.source}: item {item_id!r}, {place}: {problem}")

    def refuse_item(self, item: int, problem: str) -> InvalidTable:
        """The error that names an item."""
        return InvalidTable(f"{self.source}: item {self.item_ids[item]!r} {problem}")


class _Codes:
    """Texts -> numbers in order of first appearance, over all pieces."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}
        self._parts: list[NDArray[np.int32]] = []

    def add(self, column: pl.Series) -> None:
        found = column.drop_nulls().unique(maintain_order=True)
        numbers = [self._known.setdefault(text, len(self._known)) for text in found]
        self.texts = list(self._known)
        if len(found) == 1 and not column.has_nulls():  # one item in a piece: nothing to look up
            self._parts.append(np.full(len(column), numbers[0], np.int32))
            return
        coded = column.replace_strict(found, numbers, default=NONE, return_dtype=pl.Int32)
        self._parts.append(coded.to_numpy())

    def all(self) -> NDArray[np.int32]:
        return _joined(self._parts)


def _gather(pieces: Iterable[Piece], source: str, roles: Roles) -> Rows:
    """All pieces, typed, in the order of the source."""
    places = Places()
    items, categories = _Codes(), {name: _Codes() for name in roles.categories}
    names = ("timestamp", "target", "row", *roles.numeric)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    before = 0
    for piece in pieces:
        places.begin(piece.file, before - piece.first + 1)
        shown = f"{source}: {piece.file}" if piece.file else source
        table = tidy(piece.frame, shown, roles, piece.first)
        shift = before - piece.first + 1  # from the row in its file to the row in the source
        before += piece.frame.height
        items.add(table["item_id"])
        for name, codes in categories.items():
            codes.add(table[name])
        table = table.with_columns(pl.col("row") + pl.lit(shift, pl.UInt32))
        for name in names:
            parts[name].append(table[name].to_numpy())
    joined = {name: _joined(parts.pop(name)) for name in names}  # pop: parts go as they are joined
    if not len(joined["row"]):
        raise InvalidTable(f"{source}: there are no rows below the header; add the observations")
    return Rows(
        source=source,
        places=places,
        item_ids=items.texts,
        first=np.zeros(1, np.int64),  # set once the items are together
        item=items.all(),
        timestamps=joined["timestamp"],
        targets=joined["target"],
        numbers=joined["row"],
        columns={name: joined[name] for name in roles.numeric},
        codes={name: codes.all() for name, codes in categories.items()},
        texts={name: codes.texts for name, codes in categories.items()},
    )


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _together(rows: Rows) -> Rows:
    """Those of one item side by side, in the order of the source."""
    if (np.diff(rows.item) < 0).any():
        indexed = pl.DataFrame({"item": rows.item}).with_row_index("at")
        order = indexed.sort("item", maintain_order=True)["at"].to_numpy()
        rows = replace(
            rows,
            item=rows.item[order],
            timestamps=rows.timestamps[order],
            targets=rows.targets[order],
            numbers=rows.numbers[order],
            columns={name: values[order] for name, values in rows.columns.items()},
            codes={name: codes[order] for name, codes in rows.codes.items()},
        )
    return replace(rows, first=np.flatnonzero(np.diff(rows.item, prepend=-1)))


def _unsorted(rows: Rows, at: int) -> InvalidTable:
    """Repeated timestamps first: sorting would not cure them."""
    table = pl.DataFrame({"item": rows.item, "timestamp": rows.timestamps}).with_row_index("at")
    repeated = table.filter(pl.struct("item", "timestamp").is_duplicated())
    if repeated.height:
        one = repeated.row(0, named=True)
        same = repeated.filter(item=one["item"], timestamp=one["timestamp"])["at"]
        first, second = (rows.places.of(int(rows.numbers[same[k]])) for k in (0, 1))
        moment = rows.timestamps[same[0]]
        return rows.refuse_item(
            one["item"],
            f"has the timestamp {format_timestamp(moment)} in {first} and {second}; keep one of "
            f"them, or sum them up{daylight.repeated(moment)}",
        )
    return rows.refuse(
        at + 1,
        f"{format_timestamp(rows.timestamps[at + 1])} is before "
        f"{format_timestamp(rows.timestamps[at])} of {rows.places.of(int(rows.numbers[at]))}; sort "
        "the rows of each item by timestamp",
    )
