"""The hidden folder in which a version is built, and what a killed publisher has left of one.

A publisher holds a lock on its folder, which ends with its process however that ends. So the next
one tells what nobody works on any more and takes it away. Where a file system knows no locks,
nothing is taken away.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".unfinished-"


@contextmanager
def unfinished(home: Path) -> Iterator[Path]:
    """A new folder in the model's, for the caller to fill and rename; else gone at the end."""
    with _locked(home):  # so that nobody takes a folder for left behind before it has its lock
        _take_away_leftovers(home)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
        lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _take_away_leftovers(home: Path) -> None:
    for folder in home.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody works on it, or has just ended
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
