"""What benchmarks compile or fetch once and keep in the user's cache."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """A file of the cache, made at first use and whole from the moment it is there.

    Args:
        name: below the cache's own folder.
        make: writes the file that it is given; whatever it raises is raised, and nothing is kept.
    """
    wanted = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gatecast", name)
    if not wanted.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=wanted.parent
        ) as folder:  # others may make it now, too
            made = Path(folder, wanted.name)
            make(made)
            made.rename(wanted)
    return wanted
