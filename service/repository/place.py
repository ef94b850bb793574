"""Where versions and aliases are kept: a folder, or an object store behind one.

Everything is read from a folder. What differs is how that folder comes to be as it should, and what
a change must reach before it counts.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.contract import aliases, layout
from service.contract.aliases import Aliases


@dataclass(frozen=True)
class Refusal:
    """A version that failed a check."""

    reason: str
    kind: str


Refusals = Mapping[str, Mapping[int, Refusal]]  # by model and version


class Place(Protocol):
    """What keeps versions and aliases. One thread at a time."""

    @property
    def folder(self) -> Path:
        """Where all of it is read."""

    def refresh(self, name: str | None = None) -> None:
        """Let the folder hold what there is now, of one model or of all.

        Raises:
            Conflict: what there is cannot be known.
        """

    def refused(self) -> Refusals:
        """What there is and did not get into the folder."""

    def change(self, name: str, edit: Callable[[Aliases], Aliases]) -> Aliases:
        """Change the aliases of a model that is there, losing nobody else's change; what they are.

        Raises:
            InvalidAliases: those that are there cannot be read.
            OSError: they cannot be written.
            Conflict: the same, with what to do.
        """

    def remove(self, name: str, version: int) -> None:
        """Take a version away that is there.

        Raises:
            OSError: it cannot be removed.
            Conflict: the same, with what to do.
        """


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, or one that is mounted."""

    folder: Path

    def refresh(self, name: str | None = None) -> None:
        """It is what there is."""

    def refused(self) -> Refusals:
        """Nothing: whatever there is, is in it."""
        return {}

    def change(self, name: str, edit: Callable[[Aliases], Aliases]) -> Aliases:
        """Under a lock on the model's folder."""
        return aliases.change(self.folder, name, edit)

    def remove(self, name: str, version: int) -> None:
        """Renamed away first, so that it is gone at once for whoever reads."""
        folder = layout.folder(self.folder, name, version)
        grave = tempfile.mkdtemp(prefix=".deleted-", dir=folder.parent)
        os.rename(folder, Path(grave) / folder.name)
        shutil.rmtree(grave, ignore_errors=True)
