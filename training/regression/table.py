"""A table of numbers -> features and a target; every refusal names the place and the remedy.

All in memory at once: a regression looks at its rows in random order. CSV is typed here from text,
so that a refusal can show the cell.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.contract.placement import LARGEST_VALUE
from training.tables.cells import Cells
from training.tables.source import InvalidTable, Piece, of_frame, pieces

FEWEST = 40  # rows; of fewer, neither the fit nor its judge would be worth a model
ROUNDING = 0.01  # share of a column's standard deviation that float32 may take from its numbers
_LOGICAL = {"true": "1", "false": "0"}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from or to be judged by, finite throughout."""

    names: tuple[str, ...]  # of the features, in the order of the table
    target: str
    features: NDArray[np.float64]  # [N, F]
    targets: NDArray[np.float64]  # [N]
    source: str

    @property
    def rows(self) -> int:
        """N."""
        return len(self.targets)

    @property
    def fingerprint(self) -> str:
        """sha256 of names and numbers: the same for the same table from any file."""
        digest = hashlib.sha256("\0".join((*self.names, self.target)).encode())
        digest.update(np.column_stack([self.features, self.targets]).tobytes())
        return digest.hexdigest()

    def take(self, rows: NDArray[np.int64]) -> "Table":
        """Some rows, in this order."""
        return replace(self, features=self.features[rows], targets=self.targets[rows])


def load(path: Path, target: str, drop: Sequence[str] = ()) -> Table:
    """Read CSV, Parquet, or a folder of Parquet files.

    Args:
        target: the column to predict.
        drop: columns to leave out; all others are features.

    Raises:
        InvalidTable: a file that cannot be read, a column that is not there, without a name or
            twice, a cell that is missing or no finite number, numbers too close for float32, a
            target that never differs, or too few rows.
    """
    if path.suffix.lower() == ".csv" and path.is_file() and not path.stat().st_size:
        raise InvalidTable(
            f"{path}: the file is empty; expected a line of column names, then rows of numbers"
        )
    return _from_pieces(pieces(path), str(path), target, drop)


def from_frame(frame: object, source: str, target: str, drop: Sequence[str] = ()) -> Table:
    """The same of a polars or pandas frame; `source` is how errors name it."""
    return _from_pieces(of_frame(frame, source), source, target, drop)


def _from_pieces(found: Iterable[Piece], source: str, target: str, drop: Sequence[str]) -> Table:
    names: list[str] = []
    blocks = []
    for piece in found:
        names = names or _feature_names(piece.frame.columns, source, target, drop)
        columns = _cells(piece, source, [*names, target])
        blocks.append(
            np.column_stack([_numbers(cells, _way_out(cells.name, target)) for cells in columns])
        )
    numbers = np.concatenate(blocks)
    if len(numbers) < FEWEST:
        raise InvalidTable(f"{source}: {len(numbers)} rows, expected at least {FEWEST}; add rows")
    for name, column in zip([*names, target], numbers.T, strict=True):
        _check_precision(name, column, source, _way_out(name, target))
    if not np.ptp(numbers[:, -1]):
        raise InvalidTable(
            f"{source}: the target {target} is {numbers[0, -1]:g} in every row: there is nothing "
            "to predict; name another with --target"
        )
    features = np.ascontiguousarray(numbers[:, :-1])
    return Table(tuple(names), target, features, np.ascontiguousarray(numbers[:, -1]), source)


def _feature_names(
    columns: Sequence[str], source: str, target: str, drop: Sequence[str]
) -> list[str]:
    listed = ", ".join(columns)
    for option, name in (("--target", target), *(("--drop", name) for name in drop)):
        if name not in columns:
            raise InvalidTable(
                f"{source}: there is no column {name!r}; name one of {listed} with {option}"
            )
    if target in drop:
        raise InvalidTable(f"{source}: {target!r} is the target; it cannot be dropped as well")
    for place, name in enumerate(columns, 1):
        if not name:
            raise InvalidTable(
                f"{source}: column {place} has no name; name it, or write the table without it"
            )
        original, twice, _ = name.partition("_duplicated_")  # the name that polars gives
        if twice and original in columns and re.fullmatch(r".*_duplicated_\d+", name):
            raise InvalidTable(
                f"{source}: the column {original!r} is there twice; each needs a name of its own"
            )
    names = [name for name in columns if name != target and name not in drop]
    if not names:
        raise InvalidTable(
            f"{source}: no column is left to predict {target} from; the table has {listed}"
        )
    return names


def _way_out(name: str, target: str) -> str:
    """How to do without a column."""
    if name == target:
        return "name another column with --target"
    return f"leave the column out with --drop {name}"


def _cells(piece: Piece, source: str, names: Sequence[str]) -> Iterator[Cells]:
    """The columns, with the places of their cells."""
    where = f"{source}/{piece.file}" if piece.file else source
    rows = pl.int_range(piece.first, piece.first + piece.frame.height, eager=True)
    for name in names:
        yield Cells(name, piece.frame[name], rows, where)


def _numbers(cells: Cells, way_out: str) -> NDArray[np.float64]:
    """Finite float64, or an error showing the first cell that is not."""
    given = cells.values
    if given.dtype == pl.String:
        given = given.str.strip_chars()
        given = given.set(given == "", None)
        values = given.str.to_lowercase().replace(_LOGICAL).cast(pl.Float64, strict=False)
    elif given.dtype.is_numeric() or given.dtype in (pl.Boolean, pl.Null):
        values = given.cast(pl.Float64)
    else:
        raise cells.refuse_type(f"expected numbers; convert the column, or {way_out}")
    if (text := values.is_null() & given.is_not_null()).any():
        cell = given.filter(text)[0]
        raise cells.refuse(
            text,
            f" is {cell[:40]!r}, expected a number such as 12.5; fill it in or remove the row if "
            f"it is missing, {way_out} if it is text",
        )
    if (missing := values.is_null() | values.is_nan()).any():
        raise cells.refuse(missing, f" is missing; fill it in, remove the row, or {way_out}")
    if (large := values.abs() > LARGEST_VALUE).any():
        raise cells.refuse(
            large,
            f" is {values.filter(large)[0]:g}, expected a number within {LARGEST_VALUE:g}; correct "
            "or rescale it",
        )
    return values.to_numpy()


def _check_precision(name: str, column: NDArray[np.float64], source: str, way_out: str) -> None:
    """A graph takes float32: numbers that it cannot tell apart must not look like a feature."""
    lost = np.abs(column - column.astype(np.float32)).max()
    if np.ptp(column) and lost > ROUNDING * column.std():
        typical = float(np.median(column))
        raise InvalidTable(
            f"{source}: the numbers in {name} differ too little for float32, which moves them by "
            f"up to {lost:.2g} where their standard deviation is {column.std():.2g}; subtract "
            f"{typical:g} from each, or {way_out}"
        )
