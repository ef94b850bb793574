"""One text while it is written: what it has read and written, its deadline, and who waits for it.

Whoever waits is woken when the text is complete; a reader of its pieces also for the first of them
and then at most every `PACE_S`: nobody reads faster, and each time costs as much as several steps.
All on the event loop.
"""

import asyncio
import time

from service.engine.job import NOWHERE, Timing
from service.errors import DeadlineExceeded
from service.generation.agreement import Plan

PACE_S = 0.02


class Sequence:
    """A text on its way."""

    def __init__(self, plan: Plan, allowance: float, *, in_pieces: bool) -> None:
        """Begin, with so many seconds to end.

        Args:
            in_pieces: somebody reads while it is written.
        """
        self.plan = plan
        self.allowance = allowance
        self.codes: list[int] = []  # written
        self.draws = plan.draws()
        self.began = time.monotonic()
        self.deadline = self.began + allowance
        self.ended = False
        self.first_s: float | None = None  # seconds from the beginning to the first token
        self.reason = ""  # why it was not completed: the type of an error, or cancelled
        self.timing: Timing = NOWHERE  # known when it has left the steps
        self._unread = plan.prompt[::-1]
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self.told = 0  # codes that the reader of pieces has
        self._next_news = self.began if in_pieces else float("inf")
        self._timer = asyncio.get_running_loop().call_later(allowance, self._expire)

    @property
    def steps_left(self) -> int:
        """Runs of the model until it is complete."""
        return len(self._unread) + self.plan.length - len(self.codes)

    def open(self) -> int:
        """The first token for the model."""
        return self._unread.pop()

    def advance(self, code: int, now: float) -> int:
        """What the model says next -> its next token.

        Args:
            now: monotonic seconds.
        """
        if self.ended:
            return 0  # any token: nobody looks at the answer
        if self._unread:
            return self._unread.pop()
        if not self.codes:
            self.first_s = now - self.began
        self.codes.append(code)
        if len(self.codes) == self.plan.length:
            self._end()
        elif now >= self._next_news:
            self._next_news = now + PACE_S
            self._news.set()
        return code

    def fail(self, error: Exception) -> None:
        """End it with an error, unless it has ended."""
        if not self.ended:
            self._error = error
            self.reason = getattr(error, "error_type", "internal")
            self._end()

    def leave(self) -> None:
        """Nobody waits for it any more."""
        if not self.ended:
            self.reason = "cancelled"
            self._end()

    async def whole(self) -> list[int]:
        """All codes, once it is complete.

        Raises:
            Exception: why it was not completed.
        """
        await self._news.wait()
        if self._error is not None:
            raise self._error
        return self.codes

    async def piece(self) -> list[int]:
        """The codes since the last piece, as soon as there are any; none at the end.

        Raises:
            Exception: why it was not completed, after all codes that were written.
        """
        await self._news.wait()
        fresh = self.codes[self.told :]
        self.told += len(fresh)
        if not self.ended:
            self._news.clear()
        elif not fresh and self._error is not None:
            raise self._error
        return fresh

    def _end(self) -> None:
        self.ended = True
        self._timer.cancel()
        self._news.set()

    def _expire(self) -> None:
        self.fail(
            DeadlineExceeded(
                f"{len(self.codes)} of {self.plan.length} tokens were written within "
                f"{self.allowance * 1e3:.0f} ms; allow more time or ask for less"
            )
        )
