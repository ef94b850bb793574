"""A file, a folder or a frame -> pieces of a long table, so that its text is never whole in memory.

CSV is read as text and typed later, so that an item "007" stays one and every refusal can show the
row and what stands in it. It is cut at line ends here because the readers of polars either take a
file whole or promise no stable way to take it in parts.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import polars as pl

PIECE = 1_000_000  # rows of Parquet or of a frame that are typed at once
BLOCK = 32 * 2**20  # bytes of CSV that are typed at once

REMEDY = "name the columns item_id, timestamp, target (or unique_id, ds, y)"


class InvalidTable(ValueError):
    """A table that cannot become a panel; the message names the place and the remedy."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a table, as they stand there."""

    frame: pl.DataFrame
    file: str = ""  # of a folder, the file that holds them
    first: int = 1  # the number of the first row in its file, as a user counts: below the header


@dataclass(frozen=True)
class Places:
    """Rows numbered through a whole source -> how a user finds them."""

    _starts: list[int] = field(default_factory=list)  # rows before each file
    _files: list[str] = field(default_factory=list)

    def begin(self, file: str, before: int) -> None:
        """The rows after so many are those of this file."""
        if not self._files or self._files[-1] != file:
            self._starts.append(before)
            self._files.append(file)

    def of(self, row: int) -> str:
        """A row of the source, from 1, as "row 7" or, in a folder, "b.parquet, row 7"."""
        at = bisect_right(self._starts, row - 1) - 1
        file = f"{self._files[at]}, " if self._files[at] else ""
        return f"{file}row {row - self._starts[at]}"


def pieces(path: Path) -> Iterator[Piece]:
    """Read CSV (every column as text), Parquet, or a folder of Parquet files in order of name.

    Raises:
        InvalidTable: no such file, another suffix, a file that cannot be read as what it says, or
            a folder without Parquet files or whose files have different columns.
    """
    suffix = path.suffix.lower()
    if path.is_dir() and suffix != ".csv":
        yield from _of_folder(path)
        return
    if suffix not in (".csv", ".parquet"):
        raise InvalidTable(
            f"{path}: the name must end in .csv or .parquet, or be a folder of .parquet files; "
            "check the path, or convert the table"
        )
    if not path.is_file():
        raise InvalidTable(f"{path}: there is no such file; check the path")
    yield from _read(path, "")


def of_frame(frame: object, source: str) -> Iterator[Piece]:
    """The pieces of a polars or a pandas frame.

    Raises:
        InvalidTable: another type, or a pandas frame without the library that converts it.
    """
    if type(frame).__module__.partition(".")[0] == "pandas":
        frame = _of_pandas(frame, source)
    if not isinstance(frame, pl.DataFrame):
        raise InvalidTable(
            f"{source}: {type(frame).__name__} is not a frame; give a DataFrame of polars or pandas"
        )
    for first in range(0, max(frame.height, 1), PIECE):
        yield Piece(frame.slice(first, PIECE), first=first + 1)


def _of_pandas(frame: object, source: str) -> pl.DataFrame:
    try:
        return pl.from_pandas(frame)
    except ImportError as error:
        raise InvalidTable(
            f"{source}: a pandas frame is converted by pyarrow, which is missing ({error}); "
            "pip install pyarrow, or give a polars frame"
        ) from None


def _of_folder(folder: Path) -> Iterator[Piece]:
    files = sorted(folder.glob("*.parquet"), key=lambda file: file.name)
    if not files:
        raise InvalidTable(f"{folder}: there is no .parquet file in this folder; check the path")
    columns: list[str] = []
    for file in files:
        found = _columns(file)
        columns = columns or found
        if set(found) != set(columns):
            raise InvalidTable(
                f"{folder}: {file.name} has the columns {', '.join(found)}, {files[0].name} has "
                f"{', '.join(columns)}; a table in several files has the same columns in each"
            )
    for file in files:
        yield from _read(file, file.name)


def _columns(file: Path) -> list[str]:
    try:
        return list(pl.read_parquet_schema(file))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(file, error) from error


def _read(path: Path, file: str) -> Iterator[Piece]:
    try:
        if path.suffix.lower() == ".csv":
            with path.open("rb") as stream:
                yield from _of_csv(stream)
        else:
            yield from _of_parquet(path, file)
    except pl.exceptions.NoDataError:
        raise InvalidTable(f"{path}: the file is empty; {REMEDY}") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InvalidTable:
    reason = str(error).strip().partition("\n")[0]
    kind = path.suffix.lower()[1:]
    return InvalidTable(f"{path}: cannot be read as {kind}: {reason}; write the file again")


def _of_parquet(path: Path, file: str) -> Iterator[Piece]:
    table = pl.scan_parquet(path, glob=False)
    height = int(table.select(pl.len()).collect().item())
    for first in range(0, max(height, 1), PIECE):
        yield Piece(table.slice(first, PIECE).collect(), file, first + 1)


def _of_csv(stream: BinaryIO) -> Iterator[Piece]:
    """Every block is read below the header, so that a blank or short first line is one of many."""
    header = b""
    first = 1
    for block in _blocks(stream):
        lines = header + block if header else block.lstrip(b"\r\n")
        frame = pl.read_csv(lines, infer_schema=False)
        header = header or _header(lines)
        yield Piece(frame, first=first)
        first += frame.height


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, about `BLOCK` bytes at a time; at least one block, which may be empty."""
    rest = b""
    while more := stream.read(BLOCK):
        block = rest + more
        end = _last_line_end(block)
        if not block[:end].strip():  # blank lines go with what follows
            end = 0
        rest = block[end:]
        if end:
            yield block[:end]
    if rest or not stream.tell():
        yield rest


def _header(lines: bytes) -> bytes:
    """The first line; a line break inside quotes does not end it."""
    end = lines.find(b"\n") + 1
    while end and lines.count(b'"', 0, end) % 2:
        end = lines.find(b"\n", end) + 1
    return lines[:end]


def _last_line_end(block: bytes) -> int:
    """Where the last whole line ends; a line break inside quotes ends none."""
    end = block.rfind(b"\n") + 1
    quotes = block.count(b'"', 0, end)
    while quotes % 2:
        last, end = end, block.rfind(b"\n", 0, end - 1) + 1
        quotes -= block.count(b'"', end, last)
    return end
