"""Rows from many requests -> batches -> lanes -> each caller its own rows or its own error.

Work-conserving: an idle lane takes whatever waits, at once; while all lanes are busy the next batch
keeps growing until one of them really takes it. There is no timer and no polling, and one wake-up
of the event loop per batch. A job larger than a batch goes back to the end of the line after each
one, so that a bulk request does not hold up single ones.

Knows nothing of HTTP or forecasting. Shape letter: B rows.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import Overloaded, Unavailable

Array = NDArray[Any]
Inputs = tuple[Array, ...]  # every array [B, ...], the same B


class Runner(Protocol):
    """What runs a batch: arrays [B, ...] in, one array [B, ...] out. Called from lane threads."""

    @property
    def run(self) -> Callable[..., Array]:
        """The function that runs a batch."""
        ...


@dataclass(frozen=True)
class BatchReport:
    """What one run did, for whoever measures."""

    rows: int
    waits: tuple[float, ...]  # seconds in the queue, one per piece of a job
    run_seconds: float
    failed: bool
    waiting_rows: int  # in the queue when the run had ended


class Batcher:
    """One queue, `lanes` threads. Every submitted job ends with its rows or with an error."""

    def __init__(
        self,
        lanes: int,
        max_batch_rows: int,
        max_queue_rows: int,
        report: Callable[[BatchReport], None] = lambda _: None,
    ) -> None:
        self.lanes = lanes
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self._report = report
        self._changed = threading.Condition()  # guards everything below
        self._waiting: dict[tuple[object, ...], deque[_Entry]] = {}  # rows that may share a batch
        self._waiting_rows = 0
        self._arrivals = 0
        self._closing = False
        self._row_seconds = 0.0  # moving average of one row's share of a run
        self._jobs: set[_Job] = set()  # unfinished; touched by the event loop only
        self._threads: list[threading.Thread] = []

    @property
    def waiting_rows(self) -> int:
        """Rows that no lane has taken yet."""
        return self._waiting_rows

    def start(self) -> None:
        """Start the lanes; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        for number in range(self.lanes):
            thread = threading.Thread(target=self._lane, name=f"lane-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    async def close(self) -> None:
        """End the lanes. Jobs still waiting get `Unavailable`; running batches finish."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._waiting_rows = 0
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        for job in list(self._jobs):
            self._fail(job, Unavailable("the service is shutting down"))

    async def submit(self, runner: Runner, blocks: Sequence[Inputs]) -> list[Array]:
        """Run every block and return their outputs in the same order.

        Rows share a batch when they are for the same runner and have equal shapes after the first
        axis. All rows of a job are admitted or none.

        Raises:
            Overloaded: more rows would wait than `max_queue_rows`.
            Unavailable: the batcher was closed.
            Exception: whatever `runner.run` raised for a batch that held rows of this job.
        """
        job = _Job(self._loop.create_future(), runner, blocks)
        self._admit(job)
        try:
            return await job.future
        finally:  # also when the caller was cancelled: nobody waits for the rest
            self._jobs.discard(job)
            self._drop(job)

    def _admit(self, job: "_Job") -> None:
        with self._changed:
            if self._closing:
                raise Unavailable("the service is shutting down")
            if self._waiting_rows + job.rows > self.max_queue_rows:
                wait = self._waiting_rows * self._row_seconds / self.lanes
                raise Overloaded(
                    f"{self._waiting_rows} series wait and {job.rows} more would exceed the limit "
                    f"of {self.max_queue_rows}; try again in {math.ceil(wait) or 1} s",
                    retry_after=math.ceil(wait) or 1,
                )
            now = time.monotonic()
            for entry in job.entries:
                self._enqueue(entry, now)
            self._waiting_rows += job.rows
            self._changed.notify(len(job.entries))
        self._jobs.add(job)

    def _enqueue(self, entry: "_Entry", now: float) -> None:
        self._arrivals += 1
        entry.arrival, entry.since = self._arrivals, now
        self._waiting.setdefault(entry.key, deque()).append(entry)

    def _drop(self, job: "_Job") -> None:
        """Forget the rows of a job that no lane has taken; most jobs have none and need no lock."""
        waiting = [entry for entry in job.entries if entry.taken < entry.rows]
        if not waiting:
            return
        with self._changed:
            for entry in waiting:
                queue = self._waiting.get(entry.key)
                if queue and entry in queue:
                    queue.remove(entry)
                    self._waiting_rows -= entry.rows - entry.taken

    def _lane(self) -> None:
        while pieces := self._next_batch():
            started = time.monotonic()
            try:
                result: Array | Exception = _run(pieces)
            except Exception as error:  # the lane survives; the callers get it
                result = error
            seconds = time.monotonic() - started
            self._loop.call_soon_threadsafe(self._settle, pieces, result, started, seconds)

    def _next_batch(self) -> "list[_Piece]":
        """Wait for rows and take the batch of the oldest of them; empty when closing."""
        with self._changed:
            while not self._closing:
                queues = [queue for queue in self._waiting.values() if queue]
                if queues:
                    oldest = min(queues, key=lambda queue: queue[0].arrival)
                    return self._take(oldest)
                self._changed.wait()
            return []

    def _take(self, queue: "deque[_Entry]") -> "list[_Piece]":
        pieces: list[_Piece] = []
        room = self.max_batch_rows
        while queue and room:
            entry = queue.popleft()
            rows = min(room, entry.rows - entry.taken)
            pieces.append(_Piece(entry, entry.taken, entry.taken + rows, entry.since))
            entry.taken += rows
            room -= rows
            if entry.taken < entry.rows:  # to the end of the line
                self._enqueue(entry, time.monotonic())
        self._waiting_rows -= self.max_batch_rows - room
        return pieces

    def _settle(
        self, pieces: "list[_Piece]", result: Array | Exception, started: float, seconds: float
    ) -> None:
        """On the event loop: hand every caller of a finished batch its rows or the error."""
        rows = sum(piece.stop - piece.start for piece in pieces)
        self._row_seconds += 0.1 * (seconds / rows - self._row_seconds)
        offset = 0
        for piece in pieces:
            if isinstance(result, Exception):
                self._fail(piece.entry.job, result)
            else:
                size = piece.stop - piece.start
                piece.entry.job.receive(piece.entry, piece.start, result[offset : offset + size])
                offset += size
        waits = tuple(started - piece.since for piece in pieces)
        failed = isinstance(result, Exception)
        self._report(BatchReport(rows, waits, seconds, failed, self._waiting_rows))

    @staticmethod
    def _fail(job: "_Job", error: Exception) -> None:
        if not job.future.done():
            job.future.set_exception(error)


class _Job:
    """One caller's blocks and the future it waits for."""

    def __init__(
        self, future: asyncio.Future[list[Array]], runner: Runner, blocks: Sequence[Inputs]
    ) -> None:
        self.future = future
        self.entries = [_Entry(self, runner, inputs) for inputs in blocks]
        self.rows = sum(entry.rows for entry in self.entries)
        self._missing = self.rows

    def receive(self, entry: "_Entry", start: int, rows: Array) -> None:
        """Keep the answers to rows start.. of a block; the last ones resolve the future."""
        entry.answers[start] = rows
        self._missing -= len(rows)
        if not self._missing and not self.future.done():
            self.future.set_result([entry.output() for entry in self.entries])


@dataclass(eq=False)
class _Entry:
    """One block of a job, taken by lanes in one or several pieces."""

    job: _Job
    runner: Runner
    inputs: Inputs
    taken: int = 0  # rows that lanes have taken
    arrival: int = 0  # position in the line
    since: float = 0.0  # monotonic seconds of the last time it joined the line
    answers: dict[int, Array] = field(default_factory=dict)  # by first row

    def __post_init__(self) -> None:
        self.rows = len(self.inputs[0])
        self.key = (self.runner, *(array.shape[1:] for array in self.inputs))

    def output(self) -> Array:
        """All answers in the order of the rows."""
        parts = [self.answers[start] for start in sorted(self.answers)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class _Piece:
    """Rows start..stop of an entry, in one batch."""

    entry: _Entry
    start: int
    stop: int
    since: float


def _run(pieces: list[_Piece]) -> Array:
    """Stack the pieces' rows, run them, and check that each row has an answer."""
    slices = [[a[p.start : p.stop] for a in p.entry.inputs] for p in pieces]
    stacked = (
        slices[0] if len(slices) == 1 else [np.concatenate(a) for a in zip(*slices, strict=True)]
    )
    answer = pieces[0].entry.runner.run(*stacked)
    if len(answer) != len(stacked[0]):
        raise RuntimeError(f"{len(stacked[0])} rows went in, {len(answer)} came out")
    return answer
