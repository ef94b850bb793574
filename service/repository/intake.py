"""The folder of models -> lineups: which versions are wanted, each opened and proved once.

A version is known by the marks of its files. One that is changed in its place is opened again; one
that was refused is looked at again when its files have changed. A folder copied into its place
piece by piece is refused only when it has stopped growing.
"""

import logging
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.contract import aliases, layout
from service.contract.aliases import CANARY, LIVE, SHADOW, Aliases, InvalidAliases
from service.contract.artifact import GOLDEN, METADATA, MODEL, InvalidArtifact
from service.providers import Provider
from service.repository.live import AnyModel, Lineup, Repository, open_version
from service.repository.place import Folder, Place, Refusal
from service.telemetry import version_metrics

log = logging.getLogger("gatecast")

Marks = tuple[tuple[int, int, int], ...]  # inode, size and mtime in ns of the folder and its files


@dataclass(frozen=True)
class Assembled:
    """What the folder of a model comes to."""

    lineup: Lineup | None  # None: nothing answers
    refused: Mapping[int, Refusal]  # by version; 0 is aliases.json


class Intake:
    """Opens versions and remembers what came of it. One thread at a time."""

    def __init__(self, models: Path | Place, provider: Provider) -> None:
        self.place: Place = Folder(models) if isinstance(models, Path) else models
        self.models = self.place.folder
        self.provider = provider
        self._known: dict[tuple[str, int], tuple[Marks, AnyModel | Refusal]] = {}

    def load(self) -> Repository:
        """Open what is wanted of every model; what is bad is reported and left out.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        if not self.models.is_dir():
            message = f"models folder {self.models} does not exist; train a model first"
            raise FileNotFoundError(message)
        repository = Repository({})
        for name in self.names():
            found = self.assemble(name, None)
            repository.put(name, found.lineup, reasons(found))
            for refusal in found.refused.values():
                version_metrics.observe_refused_version(name, refusal.kind)
                log.error("version refused: %s", refusal.reason)
        return repository

    def names(self) -> list[str]:
        """Models with a version, be it refused.

        Raises:
            OSError: there is no such folder.
        """
        return sorted({*layout.names(self.models), *self.place.refused()})

    def assemble(self, name: str, before: Lineup | None, *, patient: bool = False) -> Assembled:
        """The lineup that a model's folder asks for; what is bad leaves in its place what was.

        Args:
            patient: a version that failed is refused only once its files have stopped changing.
        """
        found = _Assembly(self, name, before, patient).run()
        outside = self.place.refused().get(name, {})
        return Assembled(found.lineup, {**outside, **found.refused}) if outside else found

    def open(self, name: str, version: int, *, patient: bool = False) -> AnyModel | Refusal | None:
        """A version, or why it is refused; None: its files are still changing.

        Opened once; a refused one is tried again when its files have changed.
        """
        marks = _marks(layout.folder(self.models, name, version))
        known = self._known.get((name, version))
        if known is not None and known[0] == marks:
            return known[1]
        result: AnyModel | Refusal
        try:
            result = open_version(self.models, name, version, self.provider)
        except InvalidArtifact as error:
            result = Refusal(str(error), error.kind)
        self._known[name, version] = marks, result
        return None if patient and isinstance(result, Refusal) else result

    def forget(self, name: str, kept: Callable[[int], bool]) -> None:
        """Let go of versions of a model that are not to be kept."""
        for key in [key for key in self._known if key[0] == name and not kept(key[1])]:
            del self._known[key]


class _Assembly:
    """One model's folder, looked at once."""

    def __init__(self, intake: Intake, name: str, before: Lineup | None, patient: bool) -> None:
        self._intake = intake
        self._name = name
        self._before = before
        self._patient = patient
        self._versions = layout.versions(intake.models, name)
        self._refused: dict[int, Refusal] = {}
        self._tried: set[int] = set()

    def run(self) -> Assembled:
        try:
            asked = aliases.read(self._intake.models, self._name)
        except InvalidAliases as error:
            remedy = "repair it, or delete it to serve the highest version"
            return Assembled(self._before, {0: Refusal(f"{error}; {remedy}", "aliases")})
        lineup = None if asked.unloaded else self._lineup(asked)
        warm = lineup.warm() if lineup else {}
        self._intake.forget(self._name, lambda v: v in warm or v in self._tried)
        return Assembled(lineup, self._refused)

    def _lineup(self, asked: Aliases) -> Lineup | None:
        live = self._live(asked)
        if live is None:
            return self._before
        others = {}
        for alias, version in asked.aliases.items():
            model = self._open(version) if alias != LIVE else None
            if model is None and self._before is not None:
                model = self._before.aliases.get(alias)
            if model is not None and alias != LIVE:
                others[alias] = model
        return Lineup(
            live,
            self._previous(live),
            others,
            asked.share(CANARY),
            asked.share(SHADOW),
        )

    def _live(self, asked: Aliases) -> AnyModel | None:
        """The first that is good: what the alias says, else the highest; else what answers now."""
        now = self._before.live if self._before else None
        for version in self._candidates(asked):
            model = self._open(version)
            if model is None and now is not None and now.metadata.version == version:
                return now  # its files were damaged, but not what is in memory
            if model is not None:
                return model
        return None

    def _candidates(self, asked: Aliases) -> Iterator[int]:
        pinned = asked.aliases.get(LIVE)
        now = self._before.live.metadata.version if self._before else asked.previous
        if pinned is None:
            yield from reversed(self._versions)
            return
        yield pinned
        if now is not None and now in self._versions:
            yield now

    def _previous(self, live: AnyModel) -> AnyModel | None:
        """What was live before, while it is on disk."""
        before = self._before
        if before is None:
            return None
        stays = before.live.metadata.version == live.metadata.version
        previous = before.previous if stays else before.live
        return previous if previous and previous.metadata.version in self._versions else None

    def _open(self, version: int) -> AnyModel | None:
        if version not in self._versions:
            reason = f"{self._name}/{version}: an alias means it, and there is no such folder"
            self._refused[version] = Refusal(reason, "files")
            return None
        self._tried.add(version)
        opened = self._intake.open(self._name, version, patient=self._patient)
        if isinstance(opened, Refusal):
            self._refused[version] = opened
            return None
        return opened


def reasons(found: Assembled) -> dict[int, str]:
    """Why versions are refused."""
    return {version: refusal.reason for version, refusal in found.refused.items()}


def _marks(folder: Path) -> Marks:
    """What tells whether a version is another one; a missing file has zeros."""
    return tuple(_mark(path) for path in (folder, *(folder / n for n in (METADATA, MODEL, GOLDEN))))


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    if stat.S_ISDIR(found.st_mode):  # files beside the three, such as a report, change nothing
        return found.st_ino, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
