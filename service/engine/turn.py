"""Rows that run at the end of the turn of the event loop in which they came, and wait for nobody.

They are in no line, and their deadlines need no watch: a short batch is over before anybody could
look. Only where nobody waits, so that nobody is overtaken. On the event loop.
"""

import asyncio
import time
from collections.abc import Callable

from service.engine.batch import Batch
from service.engine.job import Entry, Job, Piece
from service.engine.pool import Pool


class Turn:
    """The one batch of this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Callable[[], None]) -> None:
        """`run` is called at the end of each turn that is planned."""
        self._loop = loop
        self._run = run
        self.is_planned = False
        self._pool: Pool | None = None
        self._entries: list[Entry] = []
        self._rows = 0

    def plan(self) -> None:
        """Something is to be run."""
        if not self.is_planned:
            self.is_planned = True
            self._loop.call_soon(self._run)

    def admits(self, job: Job) -> bool:
        """Take in a job that can be answered with those who are here already, and in time."""
        entry = job.entries[0]
        pool, rows = entry.pool, self._rows + entry.count
        if rows > pool.short_rows or len(job.entries) > 1 or job.is_patient:
            return False
        if pool is not (self._pool or pool) or pool.cost.seconds(rows) > job.allowance:
            return False
        self._pool, self._rows = pool, rows
        self._entries.append(entry)
        return True

    def take(self) -> Batch | None:
        """All of them, and begin anew; None where nobody wants anything."""
        self.is_planned = False
        pool, entries = self._pool, self._entries
        self._pool, self._entries, self._rows = None, [], 0
        pieces = [Piece(one, 0, one.count, one.since) for one in entries if not one.job.is_over]
        return Batch(pool, pieces, time.monotonic()) if pool is not None and pieces else None

    def jobs(self) -> list[Job]:
        """Those who are here."""
        return [entry.job for entry in self._entries]
