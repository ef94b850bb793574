"""Looks at the scores every so often: as numbers for `/metrics`, and for a version that got bad.

Every worker looks, and one of them rolls back: the one that has put the version into a table first,
where it stays. So a version is rolled back once; who promotes it again has decided otherwise.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import select

from service.errors import ServiceError, Unavailable
from service.quality.recorder import Recorder
from service.quality.scores import Scores, Version, read_scores
from service.quality.store import Store
from service.quality.tables import rollbacks
from service.repository.keeper import Keeper
from service.repository.live import Repository
from service.telemetry import quality_metrics

log = logging.getLogger("gatecast")


@dataclass(frozen=True)
class Limits:
    """When a version is rolled back."""

    recent_s: float  # what counts as recent
    mase: float | None  # above it; None: never
    points: int  # at least so many


class Watch:
    """Of one worker. On the event loop."""

    def __init__(
        self, recorder: Recorder, repository: Repository, keeper: Keeper, limits: Limits
    ) -> None:
        self._recorder = recorder
        self._repository = repository
        self._keeper = keeper
        self._limits = limits
        self._shown: dict[Version, dict[str, float]] = {}  # what /metrics says

    @asynccontextmanager
    async def watching(self, every_s: float) -> AsyncIterator[None]:
        """Look every so many seconds."""
        task = asyncio.get_running_loop().create_task(self._watch(every_s))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """Look once.

        Raises:
            Unavailable: the database is down.
        """
        since = time.time() - self._limits.recent_s
        scores = await self._recorder.ask(lambda store: _read(store, since))
        self._show(scores)
        for name in list(self._repository.lineups):
            if self._is_bad(name, scores):
                await self._roll_back(name, scores)

    def _show(self, scores: dict[Version, Scores]) -> None:
        """What is not recent any more becomes undefined, and does not stay as it was."""
        for of, before in self._shown.items():
            self._shown[of] = dict.fromkeys(before, math.nan) | _gauges(Scores())
        for of, found in scores.items():
            self._shown[of] = self._shown.get(of, {}) | _gauges(found)
        for (model, version), gauges in self._shown.items():
            quality_metrics.observe_scores(model, version, gauges)

    async def _watch(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Unavailable as error:  # the recorder has said so
                log.debug("scores are not read: %s", error)
            except Exception:  # tomorrow is another look
                log.exception("the scores could not be looked at")

    def _is_bad(self, name: str, scores: dict[Version, Scores]) -> bool:
        lineup = self._repository.lineups.get(name)
        limit = self._limits.mase
        if lineup is None or lineup.previous is None or limit is None:
            return False
        found = scores.get((name, lineup.live.metadata.version))
        if found is None or found.mase is None or found.points < self._limits.points:
            return False
        return found.mase > limit

    async def _roll_back(self, name: str, scores: dict[Version, Scores]) -> None:
        """Once, and only to a version that was not rolled back itself."""
        await self._keeper.look()  # another worker may know of another live version by now
        lineup = self._repository.lineups.get(name)
        if lineup is None or lineup.previous is None or not self._is_bad(name, scores):
            return
        bad, target = lineup.live.metadata.version, lineup.previous.metadata.version
        if not await self._recorder.ask(lambda store: _claim(store, name, bad, target)):
            return
        mase, points = scores[name, bad].mase, scores[name, bad].points
        log.error(
            "model %s@%s: MASE %.3g of %s points is above %.3g; rolling back to %s",
            *(name, bad, mase, points, self._limits.mase, target),
        )
        try:
            await self._keeper.rollback(name)
        except ServiceError as error:
            log.error("model %s@%s is not rolled back: %s", name, bad, error)
            quality_metrics.observe_rollback(name, "failed")
        else:
            quality_metrics.observe_rollback(name, "done")


def _read(store: Store, since: float) -> dict[Version, Scores]:
    with store.reading() as connection:
        return read_scores(connection, since)


def _claim(store: Store, model: str, bad: int, target: int) -> bool:
    """Whether this worker is the one that rolls a version back."""
    of = rollbacks.c
    with store.writing() as connection:
        asked = select(of.version).where(of.model == model, of.version.in_([bad, target]))
        if connection.execute(asked).first() is not None:
            return False
        row = {"model": model, "version": bad, "at": time.time()}
        connection.execute(rollbacks.insert().values(row))
    return True


def _gauges(found: Scores) -> dict[str, float]:
    measures = {
        "mase": found.mase,
        "wql": found.wql,
        "outside_share": found.outside,
        "scale_ratio": found.scale_ratio,
        "points": found.points,
        "forecasts": found.forecasts,
        **{f"coverage {width:g}": share for width, share in found.coverage.items()},
    }
    return {name: math.nan if v is None else float(v) for name, v in measures.items()}
