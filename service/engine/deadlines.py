"""Deadlines, kept by one timer of the event loop: a job is expired when its time is over.

Jobs lie in slots of a few milliseconds, so that one which ends in time costs two operations on a
set and no timer of its own. On the event loop only.
"""

import asyncio
import math
from collections.abc import Callable

from service.engine.job import Job

GRAIN = 0.002  # seconds: how late an expiry may be


class Deadlines:
    """The jobs that are not answered yet, by the time at which they must be."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[Job], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._slots: dict[int, set[Job]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0  # the slot that the timer is set to

    def add(self, job: Job) -> None:
        """Watch a job."""
        slot = math.ceil(job.deadline / GRAIN)
        jobs = self._slots.get(slot)
        if jobs is None:
            jobs = self._slots[slot] = set()
        jobs.add(job)
        job.is_watched = True
        if self._timer is None or slot < self._armed:
            self._arm(slot)

    def discard(self, job: Job) -> None:
        """Forget a job that was answered, or was never watched."""
        if not job.is_watched:
            return
        job.is_watched = False
        slot = math.ceil(job.deadline / GRAIN)
        jobs = self._slots.get(slot)
        if jobs is not None:
            jobs.discard(job)
            if not jobs:
                del self._slots[slot]

    def jobs(self) -> list[Job]:
        """All that are watched."""
        return [job for jobs in self._slots.values() for job in jobs]

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = slot
        self._timer = self._loop.call_at(slot * GRAIN, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        for slot in sorted(slot for slot in self._slots if slot * GRAIN <= now + GRAIN / 2):
            for job in self._slots.pop(slot):
                self._expire(job)
        if self._slots:
            self._arm(min(self._slots))
