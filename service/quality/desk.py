"""`Desk`: all that a worker has of this room, opened by its settings and closed at the end."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from service.quality.actual import Actual
from service.quality.address import database_url
from service.quality.joining import write_actuals
from service.quality.recorder import Recorder
from service.quality.scores import Scores, Version, read_scores
from service.quality.store import Store
from service.quality.watch import Limits, Watch
from service.repository.keeper import Keeper
from service.repository.live import Repository
from service.settings import Settings
from service.telemetry import quality_metrics

DAY_S = 86_400.0


class Desk:
    """Takes actuals and answers for the scores. On the event loop."""

    def __init__(self, recorder: Recorder, recent_s: float) -> None:
        self.recorder = recorder
        self.recent_s = recent_s  # what counts as recent

    @asynccontextmanager
    async def working(
        self, settings: Settings, repository: Repository, keeper: Keeper
    ) -> AsyncIterator[None]:
        """Forecasts are written and scores are watched."""
        limits = Limits(
            self.recent_s, settings.quality_rollback_mase, settings.quality_rollback_points
        )
        self.recorder.start()
        try:
            watch = Watch(self.recorder, repository, keeper, limits)
            async with watch.watching(settings.quality_watch_s):
                yield
        finally:
            await self.recorder.close()

    async def post(self, read: Callable[[], Sequence[Actual]]) -> int:
        """Write actuals and join them with the forecasts; how many steps of these they meet.

        Args:
            read: makes them, in the thread of the database; of thousands that takes a while.

        Raises:
            Unavailable: nothing is written; the same may be posted again.
            ServiceError: as `read` raises.
        """

        def write(store: Store) -> tuple[int, int]:
            many = read()
            with store.writing() as connection:
                return len(many), write_actuals(store, connection, many, time.time())

        posted, met = await self.recorder.ask(write)
        quality_metrics.observe_actuals(posted, met)
        return met

    async def scores(self, model: str) -> tuple[dict[Version, Scores], dict[Version, Scores]]:
        """The scores of a model's versions: of all that is kept, and recent ones.

        Raises:
            Unavailable: the database is down.
        """
        since = time.time() - self.recent_s

        def read(store: Store) -> tuple[dict[Version, Scores], dict[Version, Scores]]:
            with store.reading() as connection:
                everything = read_scores(connection, model=model)
                return everything, read_scores(connection, since, model)

        return await self.recorder.ask(read)


def make_desk(url: str, settings: Settings) -> Desk:
    """The desk that the settings ask for, which does nothing before `working`."""
    recorder = Recorder(
        Store(database_url(url)),
        share=settings.quality_share,
        keep_s=settings.quality_keep_days * DAY_S,
        keep_rows=settings.quality_keep_rows,
    )
    return Desk(recorder, settings.quality_recent_days * DAY_S)
