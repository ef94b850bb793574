"""Numbers that each worker adds to in its own memory, and any worker reads of all.

A worker maps a file of its own into memory, in a folder that all share: counting is an addition to
a float64 there, so that nothing has to be flushed, another worker reads what is true now, and a
worker that is killed loses nothing. Without a folder the memory belongs to the process alone; so
does what is first counted while the disk is full, which no request must notice.

The file is a row of blocks of 64 KiB; a block is a row of records, and ends with it or where a
record would have no key. All parts of a record begin at a multiple of 8 bytes:

    int32 bytes of the key, int32 cells, int64 how to add up | key as JSON | float64 cells

One thread counts; the reader's copy of a cell is whole, because aligned float64 are stored at once.
"""

import errno
import fcntl
import json
import logging
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Cells: TypeAlias = memoryview[float]
else:
    Cells = memoryview

Key = tuple[str, ...]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # in the environment
BLOCK = 65536  # bytes, a multiple of the page size
_RECORD = struct.Struct("=iiq")

log = logging.getLogger("gatecast")


class Over(IntFlag):
    """How the workers' cells of one key become one value."""

    ALL = 0  # the sum, dead workers' share included
    LIVING = 1  # only those alive
    LARGEST = 2  # the largest instead of the sum


class Tally:
    """The numbers of this worker by key; `totals` are those of all workers of the folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: int | None = None  # descriptor, open as long as this process lives
        self._shared = 0  # blocks of the file
        self._own: list[mmap.mmap] = []  # blocks that only this process reads
        self._block: mmap.mmap | None = None  # the last one, of either kind
        self._used = BLOCK  # of it
        self._cells: dict[Key, Cells] = {}

    def cells(self, key: Key, count: int = 1, over: Over = Over.ALL) -> Cells:
        """The float64 cells [count] of a key, zero at first; add to them in place."""
        if key not in self._cells:
            self._cells[key] = self._append(key, count, over)
        return self._cells[key]

    def totals(self) -> dict[Key, list[float]]:
        """The cells of every key, added up over the workers."""
        sums: dict[Key, list[float]] = {}
        for alive, data in self._workers():
            for key, over, values in _records(data):
                if Over.LIVING in over and not alive:
                    continue
                so_far = sums.get(key)
                if so_far is None:
                    sums[key] = list(values)  # as it is, also below zero
                    continue
                pairs = zip(so_far, values, strict=True)
                sums[key] = [max(p) if Over.LARGEST in over else sum(p) for p in pairs]
        return sums

    def _append(self, key: Key, count: int, over: Over) -> Cells:
        text = json.dumps(key).encode()
        first = _RECORD.size + _padded(len(text))
        size = first + 8 * count
        if self._block is None or self._used + size > BLOCK:
            self._block = self._new_block()
            self._used = 0
        block, at = self._block, self._used
        self._used += size
        block[at + _RECORD.size : at + _RECORD.size + len(text)] = text
        block[at : at + _RECORD.size] = _RECORD.pack(len(text), count, over)
        return memoryview(block)[at + first : at + size].cast("d")

    def _new_block(self) -> mmap.mmap:
        if self._folder is not None:
            try:
                return self._new_shared_block(self._folder)
            except OSError as error:
                say = "metrics cannot be written to %s (%s); new ones are this worker's own"
                log.error(say, self._folder, error.strerror)
        self._own.append(mmap.mmap(-1, BLOCK))
        return self._own[-1]

    def _new_shared_block(self, folder: Path) -> mmap.mmap:
        """A block at the end of the file, all of it on the disk: else a signal would end us."""
        if self._file is None:
            self._file = _own_file(folder)
        offset = self._shared * BLOCK
        if os.pwrite(self._file, bytes(BLOCK), offset) < BLOCK:
            os.ftruncate(self._file, offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        block = mmap.mmap(self._file, BLOCK, offset=offset)
        self._shared += 1
        return block

    def _workers(self) -> Iterator[tuple[bool, bytes]]:
        """Whether it is alive, and all it has counted, of each worker."""
        yield True, b"".join(bytes(block) for block in self._own)
        if self._folder is None:
            return
        for path in sorted(self._folder.glob("*.tally")):
            with path.open("rb") as file:
                yield _locked(file.fileno()), file.read()


def _own_file(folder: Path) -> int:
    """A new file, locked as long as this process lives."""
    descriptor, _ = tempfile.mkstemp(".tally", dir=folder)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _records(data: bytes) -> Iterator[tuple[Key, Over, tuple[float, ...]]]:
    for block in range(0, len(data), BLOCK):
        at = block
        while at + _RECORD.size <= block + BLOCK:
            length, count, over = _RECORD.unpack_from(data, at)
            if not length:
                break
            key = at + _RECORD.size
            cells = key + _padded(length)
            at = cells + 8 * count
            name = tuple(json.loads(data[key : key + length]))
            yield name, Over(over), struct.unpack_from(f"={count}d", data, cells)


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _locked(file: int) -> bool:
    """Whether a process that lives holds the file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


# Of this process. `gatecast serve` names the folder before it starts several workers.
tally = Tally(Path(os.environ[FOLDER]) if FOLDER in os.environ else None)
