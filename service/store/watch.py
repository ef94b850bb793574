"""Looks at the store while requests run, by a thread, and tells the log and the metrics."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from service.repository.keeper import give_way
from service.store.cache import Look
from service.store.mirror import Mirror
from service.telemetry.store_metrics import observe_store

log = logging.getLogger("gatecast")


@asynccontextmanager
async def watching(
    mirror: Mirror, every_s: float, then: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Look every so many seconds, by turns with the other workers; 0: never.

    Args:
        then: looks at the folder, which may have changed.
    """
    thread = ThreadPoolExecutor(1, "store", give_way)
    task = asyncio.get_running_loop().create_task(_Watch(mirror, thread, then).run(every_s))
    try:
        yield
    finally:
        mirror.leaving.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        thread.shutdown(wait=False, cancel_futures=True)


class _Watch:
    def __init__(
        self, mirror: Mirror, thread: ThreadPoolExecutor, then: Callable[[], Awaitable[None]]
    ) -> None:
        self._mirror = mirror
        self._thread = thread
        self._then = then
        self._failed = self._lost = False

    async def run(self, every_s: float) -> None:
        await self._look(float("inf"))  # what came of the start's look
        while every_s:
            await asyncio.sleep(every_s)
            try:
                await self._look(every_s)
                await self._then()
            except Exception:  # tomorrow is another look
                log.exception("%s could not be looked at", self._mirror.url)

    async def _look(self, turn_s: float) -> None:
        before = self._mirror.loaded
        loop = asyncio.get_running_loop()
        look = await loop.run_in_executor(self._thread, self._mirror.look, turn_s)
        self._tell(look)
        up, loaded = look.failure is None, self._mirror.loaded - before
        observe_store(self._mirror.url, up, look.seen, loaded)

    def _tell(self, look: Look) -> None:
        failed = look.failure is not None
        if failed and not self._failed:
            log.error("%s; what is live goes on", look.failure)
        elif self._failed and not failed:
            log.info("%s answers again", self._mirror.url)
        if look.lost and not self._lost:
            log.error("%s is empty and taken for lost; what is live goes on", self._mirror.url)
        self._failed, self._lost = failed, look.lost
