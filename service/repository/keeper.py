"""Keeps the repository as the folder of models asks, while requests run.

Every worker has its own and looks by itself, every `watch_s` seconds: at folders and at the marks
of their files. What is new is read, verified, opened and warmed by one thread of low priority, one
version at a time; only the swap happens on the event loop, and is one assignment. What an admin
asks of one worker is done there at once and written into the folder, where the others find it.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from service.contract.aliases import LIVE
from service.contract.artifact import InvalidArtifact
from service.errors import Conflict
from service.repository import changes
from service.repository.intake import Assembled, Intake, reasons
from service.repository.live import AnyModel, Lineup, Repository, open_version
from service.repository.place import Refusal
from service.telemetry import metrics, version_metrics

NICENESS = 10  # of the thread that opens models; lanes have 5

log = logging.getLogger("gatecast")

P = ParamSpec("P")
R = TypeVar("R")
Listener = Callable[[AnyModel], None]


class Keeper:
    """Changes a repository. On the event loop; what it asks of the disk is asked by its thread."""

    def __init__(
        self,
        intake: Intake,
        repository: Repository,
        *,
        came: Listener = lambda _: None,
        left: Listener = lambda _: None,
    ) -> None:
        """Nothing is watched before `watch`.

        Args:
            came: told of every model before it may answer.
            left: told of every model that no request will find any more.
        """
        self._intake = intake
        self._place = intake.place
        self._repository = repository
        self._came = came
        self._left = left
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "keeper", give_way)
        self._lost = False  # the folder; said once
        _count(repository)
        for name, lineup in repository.lineups.items():
            version_metrics.observe_lineup(name, {}, lineup.roles(), lineup.canary_share)

    @property
    def models(self) -> Path:
        """The folder."""
        return self._intake.models

    @asynccontextmanager
    async def watching(self, every_s: float) -> AsyncIterator[None]:
        """Look every so many seconds; 0: never."""
        task = asyncio.get_running_loop().create_task(self._watch(every_s)) if every_s else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> None:
        """Look once, at every model."""
        async with self._turn:
            names = await self._names()
            for name in names:
                await self._refresh(name, patient=True)
            for name in self._gone(names):
                log.warning("model %s is no longer in the folder, and no longer served", name)
                self._put(name, Assembled(None, {}))

    async def promote(
        self, name: str, version: int | None, alias: str, share: float | None
    ) -> Lineup:
        """Let an alias mean a version, or None to take it away; the model's lineup then.

        Raises:
            NotFound: no such model or version.
            Malformed, Unservable: an alias or a share that cannot be.
            Conflict: the version is bad, or the file cannot be written.
        """
        changes.check_promotion(alias, share)
        async with self._turn:
            await self._aside(changes.check_exists, self._place, name, version)
            if version is None:
                await self._aside(changes.release, self._place, name, alias)
            else:
                await self._open(name, version)
                live = self._live(name)
                await self._aside(changes.promote, self._place, name, version, alias, share, live)
            return await self._refreshed(name)

    async def rollback(self, name: str) -> Lineup:
        """Let the version answer that did before.

        Raises:
            NotFound: no such model.
            Conflict: there is none that is good, or the file cannot be written.
        """
        async with self._turn:
            live = self._live(name)
            lineup = self._repository.lineups.get(name)
            if lineup is not None and lineup.previous is not None:
                target = lineup.previous.metadata.version
            else:
                target = await self._older(name, live)
            await self._aside(changes.promote, self._place, name, target, LIVE, None, live)
            return await self._refreshed(name)

    async def verify(self, name: str, version: int) -> AnyModel:
        """Open a version once more, as if it had just come.

        Raises:
            NotFound: no such model or version.
            Conflict: it failed a check.
        """
        async with self._turn:
            await self._aside(changes.check_exists, self._place, name, version)
            provider = self._intake.provider
            try:
                return await self._aside(open_version, self.models, name, version, provider)
            except InvalidArtifact as error:
                raise Conflict(str(error), "version") from error

    async def delete(self, name: str, version: int) -> None:
        """Take a version away that nothing needs.

        Raises:
            NotFound: no such model or version.
            Conflict: it is needed, or cannot be removed.
        """
        async with self._turn:
            live = self._live(name)
            if live is None:
                live = await self._aside(changes.live_version, self._place, name)
            await self._aside(changes.delete, self._place, name, version, live)
            await self._refresh(name)

    async def load(self, name: str) -> Lineup:
        """Let a model answer, with what its folder holds now.

        Raises:
            NotFound: no such model.
            Conflict: no version of it is good, or the file cannot be written.
        """
        async with self._turn:
            await self._aside(changes.check_exists, self._place, name)
            if (await self._aside(changes.read, self._place, name)).unloaded:
                await self._aside(changes.set_loaded, self._place, name, True)
            return await self._refreshed(name)

    async def unload(self, name: str) -> None:
        """Let a model answer no longer, until it is loaded.

        Raises:
            NotFound: no such model.
            Conflict: the file cannot be written.
        """
        async with self._turn:
            await self._aside(changes.check_exists, self._place, name)
            await self._aside(changes.set_loaded, self._place, name, False)
            await self._refresh(name)

    async def _watch(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Exception:  # tomorrow is another look
                log.exception("the folder of models could not be looked at")

    async def _names(self) -> list[str]:
        """All models on disk; those that are known, where the folder is lost."""
        try:
            names = await self._aside(self._intake.names)
        except OSError as error:
            names, why = [], error.strerror
        else:
            why = "it is empty"
        known = list(self._repository.lineups)
        lost = not names and bool(known)
        if lost and not self._lost:
            log.error("models folder %s is lost (%s); what is live goes on", self.models, why)
        self._lost = lost
        return known if lost else names

    def _gone(self, names: list[str]) -> list[str]:
        there = {*self._repository.lineups, *self._repository.refused}
        return sorted(there.difference(names))

    async def _open(self, name: str, version: int) -> None:
        opened = await self._aside(self._intake.open, name, version)
        if isinstance(opened, Refusal):
            version_metrics.observe_refused_version(name, opened.kind)
            log.error("version refused: %s", opened.reason)
            raise Conflict(f"{opened.reason}; what is live goes on", "version")

    async def _older(self, name: str, live: int | None) -> int:
        candidates = await self._aside(changes.candidates_before, self._place, name, live)
        for version in candidates:
            if isinstance(await self._aside(self._intake.open, name, version), Refusal):
                continue
            return version
        raise Conflict(f"model {name!r}: none of the versions {candidates} is good", "model")

    async def _refreshed(self, name: str) -> Lineup:
        refused = await self._refresh(name)
        lineup = self._repository.lineups.get(name)
        if lineup is None:
            why = "; ".join(refused.values()) or "it is unloaded; load it"
            raise Conflict(f"model {name!r} does not answer: {why}", "model")
        return lineup

    async def _refresh(self, name: str, *, patient: bool = False) -> dict[int, str]:
        before = self._repository.lineups.get(name)
        assemble = self._intake.assemble
        found = await self._aside(assemble, name, before, patient=patient)
        self._put(name, found)
        return reasons(found)

    def _put(self, name: str, found: Assembled) -> None:
        """The swap, between two requests."""
        before, after = self._repository.lineups.get(name), found.lineup
        self._report(name, before, found)
        old, new = ({*one.warm().values()} if one else set() for one in (before, after))
        for model in new - old:
            self._came(model)
        self._repository.put(name, after, reasons(found))
        _count(self._repository)
        for model in old - new:
            self._left(model)

    def _report(self, name: str, before: Lineup | None, found: Assembled) -> None:
        known = self._repository.refused.get(name, {})
        for version, refusal in found.refused.items():
            if known.get(version) != refusal.reason:
                version_metrics.observe_refused_version(name, refusal.kind)
                log.error("version refused: %s", refusal.reason)
        after = found.lineup
        roles = [one.roles() if one else {} for one in (before, after)]
        if roles[0] != roles[1]:
            log.info("model %s: %s", name, _told(roles[1]))
        if before is not None and after is not None and before.live is not after.live:
            version_metrics.observe_swap(name)
        share = after.canary_share if after else 0.0
        version_metrics.observe_lineup(name, roles[0], roles[1], share)

    def _live(self, name: str) -> int | None:
        lineup = self._repository.lineups.get(name)
        return lineup.live.metadata.version if lineup else None

    async def _aside(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))


def _count(repository: Repository) -> None:
    live = {(name, model.metadata.version) for name, model in repository.live.items()}
    metrics.observe_models(live, len(repository.refused))


def _told(roles: dict[str, int]) -> str:
    return ", ".join(f"{alias} {version}" for alias, version in sorted(roles.items())) or "unloaded"


def give_way() -> None:
    """Let every other thread of the process go first."""
    me = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + NICENESS)
