"""Lanes: threads that run one batch after the other."""

import asyncio
import os
import threading
from collections.abc import Callable

NICENESS = 5  # of lanes: the event loop gets three times their share where both want a core


class Lanes:
    """So many threads, each of which calls `run_next` with its identity until that says no."""

    def __init__(self, count: int, run_next: Callable[[int], bool]) -> None:
        self._run_next = run_next
        self._threads = [
            threading.Thread(target=self._lane, name=f"lane-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    async def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _lane(self) -> None:
        me = threading.get_ident()
        _give_way()
        while self._run_next(me):  # which keeps nothing of a batch while it waits for another
            pass


def _give_way() -> None:
    """Let this thread be less urgent than the event loop, which must read and refuse in time."""
    me = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + NICENESS)
