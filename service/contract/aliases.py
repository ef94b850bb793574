"""Which version of a model answers: models/<name>/aliases.json.

    {"aliases": {"live": 3, "canary": 4, "shadow": 5}, "shares": {"canary": 5.0, "shadow": 10.0},
     "previous": 2, "unloaded": false}

Whoever reads it sees it as it was before a change or after, never between: it is written beside its
place and renamed into it. Whoever changes it holds a lock on the model's folder meanwhile, so that
of two changes at once neither is lost. Without the file, the highest version answers.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from service.contract.metadata import Frozen

FILE = "aliases.json"
Shared = Literal["canary", "shadow"]  # aliases that mean a version for a share of the requests
LIVE = "live"
CANARY: Final = "canary"
SHADOW: Final = "shadow"
# A name, but never one that reads as a version.
ALIAS_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"

_ALIAS = re.compile(ALIAS_PATTERN)
_SHARED: tuple[Shared, ...] = (CANARY, SHADOW)
MOST_BYTES = 1 << 16  # of the file

Version = Annotated[int, Field(ge=1, le=999_999_999)]
Which = int | str | None  # a version, an alias, or whatever answers now


class InvalidAliases(ValueError):
    """An aliases.json that cannot be read; the message says why."""


class Aliases(Frozen):
    """The file's content; all of it empty where there is none."""

    aliases: Mapping[Annotated[str, Field(pattern=ALIAS_PATTERN)], Version] = {}
    # Percent: of requests for the canary, of answered requests for the shadow.
    shares: Mapping[Shared, Annotated[float, Field(ge=0, le=100)]] = {}
    previous: Version | None = None  # what was live before the last promotion
    unloaded: bool = False  # nothing answers

    def share(self, alias: str) -> float:
        """Percent of requests, 0 where the alias means no version."""
        return next((v for k, v in self.shares.items() if k == alias and k in self.aliases), 0.0)

    def promoted(
        self, alias: str, version: int, share: float | None, live: int | None
    ) -> "Aliases":
        """With an alias that means a version.

        Args:
            share: percent, of the canary or the shadow; None: as it was.
            live: the version that answers now, to come back to.
        """
        aliases = {**self.aliases, alias: version}
        shares = dict(self.shares)
        if share is not None:
            shares |= {name: share for name in _SHARED if name == alias}
        if alias != LIVE:
            return self.model_copy(update={"aliases": aliases, "shares": shares})
        previous = self.previous if live in (None, version) else live
        return Aliases(aliases=aliases, shares=shares, previous=previous)

    def released(self, alias: str) -> "Aliases":
        """Without an alias; where it is `live`, the highest version answers."""
        aliases = {name: version for name, version in self.aliases.items() if name != alias}
        shares = {k: share for k, share in self.shares.items() if k != alias}
        return self.model_copy(update={"aliases": aliases, "shares": shares})


def is_alias(text: str) -> bool:
    """Whether an alias may have this name."""
    return _ALIAS.fullmatch(text) is not None


def read(models: Path, name: str) -> Aliases:
    """The aliases of a model.

    Raises:
        InvalidAliases: there is a file that is none.
    """
    path = models / name / FILE
    try:
        with path.open("rb") as file:
            return parse(name, file.read(MOST_BYTES))
    except FileNotFoundError:
        return Aliases()
    except OSError as error:
        raise InvalidAliases(f"{name}/{FILE}: {error.strerror}") from error


def parse(name: str, data: bytes) -> Aliases:
    """The content of a model's file.

    Raises:
        InvalidAliases: it is none.
    """
    try:
        return Aliases.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise InvalidAliases(f"{name}/{FILE}: {where}: {first['msg']}") from error


def dump(aliases: Aliases) -> bytes:
    """The file's content."""
    return aliases.model_dump_json(indent=2).encode() + b"\n"


def change(models: Path, name: str, edit: Callable[[Aliases], Aliases]) -> Aliases:
    """Read, edit and replace the file while nobody else does; what it is then.

    Args:
        name: of a model that is there.

    Raises:
        InvalidAliases: what is there cannot be read; repair or delete it.
        OSError: the folder of the model cannot be written to.
    """
    with locked(models / name) as home:
        before = read(models, name)
        after = edit(before)
        if after != before:
            replace(models / name, dump(after), home)
    return after


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """The descriptor of a model's folder while nobody else changes the file."""
    home = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(home, fcntl.LOCK_EX)
        yield home
    finally:
        os.close(home)


def replace(folder: Path, data: bytes, home: int) -> None:
    """Give the file in a model's folder another content.

    Args:
        home: from `locked`.

    Raises:
        OSError: it cannot be written.
    """
    descriptor, unfinished = tempfile.mkstemp(prefix=".aliases-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # mkstemp's file is for its owner only
            os.fsync(file.fileno())
        os.rename(unfinished, folder / FILE)
    except BaseException:
        os.unlink(unfinished)
        raise
    os.fsync(home)  # or the rename may be forgotten by a power cut
