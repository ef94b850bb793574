"""How long one connection may keep us waiting: one timer, whatever it is that we wait for.

Nearly every request comes whole and is answered before any patience ends. A timer for each would
cost as much as the parser, so the one that is set is left to ring, and looks then how much is left.
"""

import asyncio
from collections.abc import Callable


class Patience:
    """Calls `ends` when what is waited for has not happened in time."""

    __slots__ = ("_due", "_ends", "_loop", "_rings", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, ends: Callable[[], None]) -> None:
        self._loop = loop
        self._ends: Callable[[], None] | None = ends
        self._due: float | None = None  # seconds of the loop's clock; None: nothing is waited for
        self._rings = 0.0  # when the timer does
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether something is waited for."""
        return self._due is not None

    def wait(self, seconds: float) -> None:
        """Wait for so long, from now, whatever was waited for before."""
        self._due = self._loop.time() + seconds
        if self._timer is None or self._due < self._rings:
            self._set(self._due)

    def rest(self) -> None:
        """What was waited for has happened."""
        self._due = None

    def leave(self) -> None:
        """Wait for nothing any more, and know nobody."""
        self._due = self._ends = None
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = at
        self._timer = self._loop.call_later(max(at - self._loop.time(), 0.0), self.look)

    def look(self) -> None:
        """Called by the timer."""
        self._timer = None
        if self._due is None or self._ends is None:
            return
        if self._due > self._loop.time():
            self._set(self._due)
            return
        self._due = None
        self._ends()
