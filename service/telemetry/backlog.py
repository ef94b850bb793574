"""What the event loop leaves to a thread: written or sent later, a batch at a time, or lost.

The event loop pays for one append. A full backlog takes no more, so that neither a log that nobody
reads nor a collector that is gone ever delays an answer or fills the memory; what is lost is
counted.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from service.telemetry import metrics

One = TypeVar("One")

FAREWELL_S = 3.0  # for what is left at the end


class Backlog(Generic[One]):
    """Hands what is put to `work` in a thread of its own."""

    def __init__(
        self, kind: str, work: Callable[[list[One]], None], *, most: int, batch: int, rest_s: float
    ) -> None:
        """Start the thread.

        Args:
            kind: what `/metrics` calls what was lost.
            work: must not raise.
            most: that may wait.
            batch: most that `work` gets at once.
            rest_s: seconds in which what comes is collected.
        """
        self._work = work
        self._most = most
        self._batch = batch
        self._rest_s = rest_s
        self._lost = metrics.lost(kind, "full")
        self._waiting: deque[One] = deque()
        self._come = threading.Event()
        self._leaving = threading.Event()
        self._asleep = True
        self._thread = threading.Thread(target=self._run, name=kind, daemon=True)
        self._thread.start()

    def put(self, one: One) -> None:
        """Leave one to the thread. On the event loop."""
        if len(self._waiting) >= self._most:
            self._lost[0] += 1.0
            return
        self._waiting.append(one)
        if self._asleep:
            self._asleep = False
            self._come.set()

    def close(self) -> bool:
        """Wait for what is left, not for ever; whether all of it was done."""
        self._leaving.set()
        self._come.set()
        self._thread.join(FAREWELL_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._leaving.is_set() or self._waiting:
            self._come.wait()
            self._leaving.wait(self._rest_s)
            self._come.clear()
            self._asleep = True  # from here on, who puts wakes us again
            while self._waiting:
                count = min(len(self._waiting), self._batch)
                self._work([self._waiting.popleft() for _ in range(count)])
