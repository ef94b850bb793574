"""A table written as its rows come, and seen by others only when it is whole.

Rows go to a neighbour of the file, which takes its name at the end; whatever stops the writing
leaves what was there before. polars writes a Parquet file in one go only, so its pieces wait on
disk, not in memory, and are streamed into one at the end.
"""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

ROWS = 1_000_000  # of a piece of Parquet; fewer wait in memory


class Output:
    """Writes CSV or Parquet, by the suffix of `path`, which must be one of the two."""

    def __init__(self, path: Path) -> None:
        self.rows = 0  # added so far
        self._path = path
        self._waiting: list[pl.DataFrame] = []
        self._pieces: list[Path] = []

    def __enter__(self) -> Self:
        """Make the place beside the file where the rows wait.

        Raises:
            OSError: the folder of the file does not exist or cannot be written.
        """
        folder = tempfile.mkdtemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        self._folder = Path(folder)
        return self

    def add(self, frame: pl.DataFrame) -> None:
        """More rows, of the same columns.

        Raises:
            OSError: the disk is full, say.
        """
        self.rows += frame.height
        self._waiting.append(frame)
        if sum(waiting.height for waiting in self._waiting) >= ROWS:
            self._flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Give the file its name, or forget it where something went wrong."""
        try:
            if kind is None and self.rows:
                self._flush()
                self._whole().replace(self._path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _flush(self) -> None:
        """What waits becomes the end of the CSV file, or another piece."""
        if not self._waiting:
            return
        frame = pl.concat(self._waiting)
        self._waiting.clear()
        if self._path.suffix == ".csv":
            piece = self._folder / "whole"
            with piece.open("ab") as file:
                frame.write_csv(file, include_header=not self._pieces)
        else:
            piece = self._folder / f"{len(self._pieces)}.parquet"
            frame.write_parquet(piece)
        self._pieces.append(piece)

    def _whole(self) -> Path:
        if self._path.suffix == ".csv" or len(self._pieces) == 1:
            return self._pieces[0]
        whole = self._folder / "whole"
        pl.scan_parquet(self._pieces, glob=False).sink_parquet(whole)
        return whole
