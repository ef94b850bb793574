"""Looks at the store while requests run, by a thread, and tells the log and the metrics."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from service.repository.keeper import give_way
from service.store.cache import Look
from service.store.mirror import Mirror
from service.telemetry.store_metrics import observe_store

log = logging.getLogger("gatecast")


@asynccontextmanager
async def watching(mirror: Mirror, every_s: float) -> AsyncIterator[None]:
    """Look every so many seconds, by turns with the other workers; 0: never."""
    thread = ThreadPoolExecutor(1, "store", give_way)
    task = asyncio.get_running_loop().create_task(_Watch(mirror, thread).run(every_s))
    try:
        yield
    finally:
        mirror.leaving.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        thread.shutdown(wait=False, cancel_futures=True)


class _Watch:
    def __init__(self, mirror: Mirror, thread: ThreadPoolExecutor) -> None:
        self._mirror = mirror
        self._thread = thread
        self._failed = self._lost = False

    async def run(self, every_s: float) -> None:
        loop = asyncio.get_running_loop()
        turn_s = every_s or float("inf")  # then what came of the first look is all there is to say
        while True:
            before = self._mirror.loaded
            try:
                look = await loop.run_in_executor(self._thread, self._mirror.look, turn_s)
            except Exception:  # a full disk, say; tomorrow is another look
                log.exception("%s could not be looked at", self._mirror.url)
            else:
                self._tell(look)
                up = look.failure is None
                observe_store(self._mirror.url, up, look.seen, self._mirror.loaded - before)
            if not every_s:
                return
            await asyncio.sleep(every_s)

    def _tell(self, look: Look) -> None:
        failed = look.failure is not None
        if failed and not self._failed:
            log.error("%s; what is live goes on", look.failure)
        elif self._failed and not failed:
            log.info("%s answers again", self._mirror.url)
        if look.lost and not self._lost:
            log.error("%s is empty and taken for lost; what is live goes on", self._mirror.url)
        self._failed, self._lost = failed, look.lost
