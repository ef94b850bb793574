"""Long work and the event loop: beside it where numpy does it, else in turns with others."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

TURNS = 4  # of which the last ends with a pause
PAUSE = 0.001  # seconds, the least that an event loop counts
LITTLE = 1 << 14  # numbers that numpy looks through in less time than a thread takes to wake


async def aside(
    numbers: int,
    work: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Result:
    """What `work` returns.

    Args:
        numbers: that it looks at; of many, a thread does, where numpy leaves the interpreter to
            the event loop.
    """
    if numbers <= LITTLE:
        return work(*arguments, **named)
    return await asyncio.to_thread(work, *arguments, **named)


class Pace:
    """How long a work that must be done on the event loop holds it.

    Between two turns others run. After some turns the loop sleeps for the least time that it can:
    a thread that wants Python's lock, as lanes do many times a batch, gets it at once then.
    """

    def __init__(self, turn: int) -> None:
        self._turn = turn  # bytes
        self._used = 0  # of this turn
        self._turns = 0

    async def spend(self, count: int) -> None:
        """So many bytes were worked on."""
        self._used += count
        if self._used < self._turn:
            return
        self._used = 0
        self._turns += 1
        await asyncio.sleep(0 if self._turns % TURNS else PAUSE)
