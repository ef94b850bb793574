"""Leaving in three steps: say so while calls are still answered, refuse new ones, hang up.

gRPC's own way of stopping ends with CANCELLED, which nobody repeats, whatever arrives on a
connection before the client has learned that it is to be closed. Refused for a moment before, a
busy client learns it from UNAVAILABLE, which is the word to ask again or elsewhere.
"""

import asyncio

from service.drain import Drain

_LOOK_S = 0.05  # seconds between two looks at the drain by those who wait for it
_REFUSE_S = 0.1  # longer than a busy client takes to ask again


class Departure:
    """What those wait for who keep a call open: watchers of the health, and streams."""

    def __init__(self, drain: Drain) -> None:
        self.drain = drain
        self.closing = asyncio.Event()  # new calls are refused, open ones come to their end

    async def announced(self) -> None:
        """Return once the service has begun to leave."""
        while self.drain.ready:
            await asyncio.sleep(_LOOK_S)

    async def complete(self) -> None:
        """Announce it unless it was, answer on for the grace period, then refuse."""
        if not self.drain.begun:
            self.drain.begun = True
            await asyncio.sleep(self.drain.grace_s)
        self.closing.set()
        await asyncio.sleep(_REFUSE_S)
