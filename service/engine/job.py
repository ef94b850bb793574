"""What the engine makes of one caller's rows: a job, an entry for each shape, pieces in batches."""

import asyncio
import logging
import math
from collections.abc import Callable

import msgspec
import numpy as np

from service.engine.pool import Pool
from service.engine.runner import Array, Rows

log = logging.getLogger("gatecast")


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
    """One caller's rows, and what has become of them."""

    __slots__ = (
        "_compute_s",
        "_ended",
        "_joined",
        "_missing",
        "_queue_s",
        "_result",
        "_started",
        "_tell",
        "allowance",
        "deadline",
        "entries",
        "is_over",
        "is_patient",
        "is_short",
        "is_watched",
        "rows",
        "seconds",
        "waiting",
    )

    def __init__(
        self, tell: Callable[["Job"], None], now: float, allowance: float, patient: bool = False
    ) -> None:
        """`tell` is called when there is a result, and not where the caller withdraws."""
        self._tell: Callable[[Job], None] | None = tell
        self._result: Outputs | Exception | None = None
        self.is_over = False  # nobody wants any of its rows any more
        self.is_patient = patient  # its rows let others go first
        self.allowance = allowance  # seconds
        self.deadline = now + allowance  # monotonic seconds
        self.entries: list[Entry] = []
        self.is_watched = False  # its deadline is
        self.rows = self._missing = 0
        self.seconds = 0.0  # of a lane, that its rows take in full batches
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
        self.seconds += entry.count * pool.row_seconds
        self.is_short = self.is_short and pool.short_rows > 0

    @property
    def result(self) -> Outputs | Exception:
        """What came back or what it has failed with, once there is a result.

        Not raised: an error knows the frames it was raised in, and these know who asked.
        """
        assert self._result is not None
        return self._result

    def receive(self, piece: "Piece", rows: Array, started: float, seconds: float) -> bool:
        """Keep the answers to a piece; whether they are the last ones, and the job is over."""
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
        if self._missing or self.is_over:
            return False
        times = self._queue_s, self._compute_s, self.rows
        timing = Timing(*times, self._joined, self._started, self._ended)
        self._result = [entry.output() for entry in self.entries], timing
        self.is_over = True
        return True

    def fail(self, error: Exception) -> bool:
        """Have an error for a result, unless the job is over; whether it is over by this."""
        if self.is_over:
            return False
        self._result = error
        self.is_over = True
        return True

    def tell(self) -> None:
        """Let the caller know that there is a result; others wait to be told behind this one."""
        if self._tell is not None:
            try:
                self._tell(self)
            except Exception as error:
                log.error("unexpected error of one who was told a result", exc_info=error)

    def forget(self) -> None:
        """Let go of the rows and of the caller, who know this job: else a circle would live on."""
        self.entries = []
        self._tell = self._result = None


def resolve(ended: "asyncio.Future[Outputs]", job: Job) -> None:
    """Tell who awaits a job of its result, unless it waits no more."""
    if ended.done():
        return
    if isinstance(job.result, Exception):
        ended.set_exception(job.result)
    else:
        ended.set_result(job.result)


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
