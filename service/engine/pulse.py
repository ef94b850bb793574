"""How late the event loop is: the time for which a request may have lain unread.

A request that arrives while the loop is busy waits in the kernel, and its deadline runs.
A timer that should ring every few milliseconds tells by how late it rings how long that was.
"""

import asyncio

BEAT_S = 0.01
FADES = 0.97  # of a lateness that is over, after one more beat: half of it in a quarter of a second


class Pulse:
    """Beats while there is something to do. On the event loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lateness = 0.0  # seconds, the most of the last beats
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._is_wanted = False

    def want(self) -> None:
        """There is something to do."""
        self._is_wanted = True
        if self._timer is None:
            self._plan()

    def stop(self) -> None:
        """Nothing will be wanted any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        self._due = self._loop.time() + BEAT_S
        self._timer = self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        late = max(self._loop.time() - self._due, 0.0)
        self.lateness = max(late, FADES * self.lateness)
        self._timer = None
        if self._is_wanted:
            self._is_wanted = False
            self._plan()
        else:
            self.lateness = 0.0
