"""What the engine makes of one caller's rows: a job, an entry for each shape, pieces in batches."""

import asyncio
import math

import msgspec
import numpy as np

from service.engine.pool import Pool
from service.engine.runner import Array, Rows


class Timing(msgspec.Struct, frozen=True, gc=False):
    """Where the time of a job went."""

    queue_s: float  # the longest wait of a row for its batch
    compute_s: float  # the longest run of a batch that held one
    rows: int = 0
    # Monotonic seconds, in this order: its first row joined the line, the first run with a row of
    # it began, the last one ended. Between these two others may have run.
    joined: float = math.inf
    started: float = math.inf
    ended: float = -math.inf

    def longest(self, other: "Timing") -> "Timing":
        """The longer of each, for a request that was answered in parts."""
        return Timing(
            max(self.queue_s, other.queue_s),
            max(self.compute_s, other.compute_s),
            self.rows + other.rows,
            min(self.joined, other.joined),
            min(self.started, other.started),
            max(self.ended, other.ended),
        )


NOWHERE = Timing(0.0, 0.0)

Outputs = tuple[list[Array], Timing]


class Job:
    """One caller's rows and the future it waits for."""

    __slots__ = (
        "_compute_s",
        "_ended",
        "_joined",
        "_missing",
        "_queue_s",
        "_started",
        "allowance",
        "deadline",
        "entries",
        "future",
        "is_patient",
        "is_short",
        "rows",
        "waiting",
    )

    def __init__(
        self, future: "asyncio.Future[Outputs]", now: float, allowance: float, patient: bool = False
    ) -> None:
        self.future = future
        self.is_patient = patient  # its rows let others go first
        self.allowance = allowance  # seconds
        self.deadline = now + allowance  # monotonic seconds
        self.entries: list[Entry] = []
        self.rows = self._missing = 0
        self.waiting = 0  # rows in the line
        self.is_short = True  # all its batches may run on the event loop
        self._queue_s = self._compute_s = 0.0
        self._joined = now
        self._started, self._ended = math.inf, now

    def add(self, pool: Pool, rows: Rows, now: float) -> None:
        """One more part of what the caller asks."""
        entry = Entry(self, pool, rows, now)
        self.entries.append(entry)
        self.rows += entry.count
        self._missing += entry.count
        self.is_short = self.is_short and pool.short_rows > 0

    def receive(self, piece: "Piece", rows: Array, started: float, seconds: float) -> None:
        """Keep the answers to a piece; the last ones resolve the future. On the event loop."""
        piece.entry.answers.append((piece.start, rows))
        self._missing -= len(rows)
        wait = started - piece.since
        if wait > self._queue_s:
            self._queue_s = wait
        if seconds > self._compute_s:
            self._compute_s = seconds
        if started < self._started:
            self._started = started
        if started + seconds > self._ended:
            self._ended = started + seconds
        if not self._missing and not self.future.done():
            outputs = [entry.output() for entry in self.entries]
            times = self._queue_s, self._compute_s, self.rows
            timing = Timing(*times, self._joined, self._started, self._ended)
            self.future.set_result((outputs, timing))

    def forget(self) -> None:
        """Let go of the rows, at the end: entries know their job, and would live on in a circle."""
        self.entries = []

    def fail(self, error: Exception) -> None:
        """Give the caller an error, unless it has its answer or has gone. On the event loop."""
        if not self.future.done():
            self.future.set_exception(error)


class Entry:
    """Rows of one shape of a job, taken by lanes in one or several pieces."""

    __slots__ = ("answers", "count", "job", "pool", "row_seconds", "rows", "since", "waiting")

    def __init__(self, job: Job, pool: Pool, rows: Rows, now: float) -> None:
        self.job = job
        self.pool = pool
        self.rows = rows
        self.count = len(rows)
        self.waiting = 0  # of its rows in the line
        self.row_seconds = 0.0  # what each was expected to cost when it joined
        self.since = now  # monotonic seconds of the last time it joined the line
        self.answers: list[tuple[int, Array]] = []  # with the number of their first row

    def output(self) -> Array:
        """All answers in the order of the rows."""
        if len(self.answers) == 1:
            return self.answers[0][1]
        self.answers.sort(key=lambda answer: answer[0])
        return np.concatenate([rows for _, rows in self.answers])


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Rows start..stop - 1 of an entry, in one batch."""

    entry: Entry
    start: int
    stop: int
    since: float
