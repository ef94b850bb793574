"""Takes forecasts from the event loop to the database, and asks the database for others.

One thread owns the database of a worker. The event loop puts copies into a queue and never waits:
nothing wakes the thread, which looks twice in a second. Where the database is down, the queue fills
up to its bounds, and what finds no room is lost and counted; when it is back, the queue is written.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import ForecastMetadata
from service.errors import Unavailable
from service.forecasting.inquiry import Series
from service.quality.given import Given, Key, Row, digest, given
from service.quality.joining import write_forecasts
from service.quality.store import Refused, Store, Unreachable
from service.telemetry import quality_metrics

MOST_ROWS = 65_536  # forecasts of a series that wait
MOST_BYTES = 64 * 2**20
MOST_QUESTIONS = 32  # that wait

FLUSH_S = 0.5  # between two looks into the queue
BATCH = 2048  # rows of one transaction, at least if there are as many
RETRY_S = 1.0  # after the database was down
PRUNE_S = 600.0
FAREWELL_S = 5.0  # for what waits when the service ends
ANSWER_S = 10.0  # for a question
NICENESS = 5  # of the thread, as of lanes

_REMEMBERED = 100_000  # keys of forecasts that are written already

log = logging.getLogger("gatecast")

Found = TypeVar("Found")
Question = Callable[[], None]


class Recorder:
    """Of one worker. `offer` and `ask` on the event loop."""

    def __init__(
        self,
        store: Store,
        *,
        share: float = 100.0,
        keep_s: float = 90 * 86_400.0,
        keep_rows: int = 200_000,
        most_rows: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Nothing is written before `start`.

        Args:
            share: percent of the items that are recorded.
            keep_s, keep_rows: how long and how many forecasts the database keeps.
            most_rows, most_bytes: of the queue.
        """
        self._store = store
        self._share = share
        self._keep_s, self._keep_rows = keep_s, keep_rows
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._queue: deque[Given] = deque()
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._rows_in = self._bytes_in = 0  # all that ever came; written by the event loop alone
        self._rows_out = self._bytes_out = 0  # all that is done; written by the thread alone
        self._batch: list[Given] = []  # taken from the queue, not written yet
        self._written: dict[Key, None] = {}
        self._retry_at = self._prune_at = 0.0  # monotonic seconds
        self._why = ""  # the database is down; empty while it is not
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._done: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        quality_metrics.observe_database(False)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, for some seconds; what is left is lost."""
        assert self._done is not None
        self._questions.put(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._done), FAREWELL_S)
        if left := self._rows_in - self._rows_out:
            quality_metrics.observe_lost("shutdown", left)
            log.warning("%s forecasts are not recorded: the service ended", left)

    def offer(
        self, metadata: ForecastMetadata, many: Sequence[Series], answer: NDArray[np.float32]
    ) -> None:
        """An answer [B, H, Q] was given to these series; keep it if there is room."""
        kept = given(metadata, many, answer)
        rows, size = kept.rows, kept.bytes
        if (
            self._rows_in - self._rows_out + rows > self._most_rows
            or self._bytes_in - self._bytes_out + size > self._most_bytes
        ):
            quality_metrics.observe_lost("full", rows)
            return
        self._rows_in += rows
        self._bytes_in += size
        self._queue.append(kept)

    @property
    def waiting(self) -> int:
        """Forecasts of a series that are not written yet."""
        return self._rows_in - self._rows_out

    async def ask(self, work: Callable[[Store], Found]) -> Found:
        """What the work returns, done by the thread after what was offered before.

        Raises:
            Unavailable: the database is down, too slow, or too many ask.
        """
        if self._questions.qsize() >= MOST_QUESTIONS:
            raise Unavailable("too many wait for the database of actuals; ask again", 1)
        answer: Future[Found] = Future()
        self._questions.put(lambda: self._answer(answer, work))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_S)
        except TimeoutError:
            message = f"the database of actuals has not answered in {ANSWER_S:g} s; ask again"
            raise Unavailable(message, 5) from None

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        going = True
        while going:
            question: Question | None = None
            with suppress(queue.Empty):
                question = self._questions.get(timeout=FLUSH_S)
                going = question is not None
            self._flush(leaving=not going)
            if question is not None:
                question()
            self._prune()
        self._store.close()
        self._tell(self._end)

    def _end(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _flush(self, *, leaving: bool) -> None:
        """Write what waits now, as long as the database takes it; try again where it was down."""
        if time.monotonic() < self._retry_at and not leaving:
            return
        until = self._rows_in
        while self._rows_out < until or self._why:
            rows = sum(one.rows for one in self._batch)
            while self._queue and rows < BATCH:
                self._batch.append(self._queue.popleft())
                rows += self._batch[-1].rows
            try:
                self._write()
            except Unreachable as error:
                self._down(str(error))
                return
            except Exception as error:  # no other batch shall wait for this one
                self._complain(error)
                self._tell(partial(quality_metrics.observe_lost, "failed", rows))
                self._why = ""
            self._rows_out += rows
            self._bytes_out += sum(one.bytes for one in self._batch)
            self._batch = []

    def _answer(self, answer: Future[Found], work: Callable[[Store], Found]) -> None:
        """Unless nobody waits any more; what goes wrong is for whoever asked."""
        if not answer.set_running_or_notify_cancel():
            return
        if self._why and time.monotonic() < self._retry_at:  # whoever asks must not put it off
            answer.set_exception(_unusable(self._why))
            return
        try:
            found = work(self._store)
        except (Unreachable, Refused) as error:
            if isinstance(error, Unreachable):
                self._down(str(error))
            answer.set_exception(_unusable(str(error)))
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(found)
            self._up()

    def _write(self) -> None:
        now = time.time()
        rows: list[Row] = []
        unwritable = 0
        for row in digest(self._batch, self._share, now):
            if row is None:
                unwritable += 1
            elif row.key not in self._written:
                rows.append(row)
        with self._store.writing() as connection:
            if rows:
                write_forecasts(self._store, connection, rows, now)
        self._up()
        if len(self._written) > _REMEMBERED:
            self._written.clear()
        self._written.update(dict.fromkeys(row.key for row in rows))
        self._tell(partial(quality_metrics.observe_recorded, [row.key[:2] for row in rows]))
        if unwritable:
            self._tell(partial(quality_metrics.observe_lost, "unwritable", unwritable))

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at or self._why:
            return
        self._prune_at = time.monotonic() + PRUNE_S
        try:
            self._store.prune(time.time() - self._keep_s, self._keep_rows)
        except Unreachable as error:
            self._down(str(error))
        except Refused as error:
            self._complain(error)

    def _down(self, why: str) -> None:
        """Said once, not at every try."""
        if not self._why:
            log.error("the database of forecasts is down (%s); forecasts go on", why)
            self._tell(partial(quality_metrics.observe_database, True))
        self._why = why
        self._written.clear()  # what was written may be gone with it
        self._retry_at = time.monotonic() + RETRY_S

    def _up(self) -> None:
        if self._why:
            log.info("the database of forecasts is back; %s forecasts wait", self.waiting)
            self._tell(partial(quality_metrics.observe_database, False))
        self._why = ""

    def _complain(self, error: Exception) -> None:
        """Once, and not for every batch."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.error("forecasts are not recorded: %s", error)
            log.debug("forecasts are not recorded", exc_info=error)

    def _tell(self, what: Callable[[], None]) -> None:
        """Let the event loop do it, which alone counts."""
        with suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(what)


def _unusable(why: str) -> Unavailable:
    return Unavailable(f"the database of actuals cannot be used ({why}); ask again", int(RETRY_S))
