"""Who sees every request: the access log and traces, where they are wanted.

There is no witness where neither is, and then a request pays for one question.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from service.settings import Settings
from service.telemetry.access_log import AccessLog
from service.telemetry.account import Account

if TYPE_CHECKING:
    from service.telemetry.spans import Trace, Tracing

Header = Callable[[bytes], bytes | None]  # the value of a header or of gRPC's metadata


class Witness:
    """Hands on what is known of requests that have ended. On the event loop."""

    def __init__(self, access: AccessLog | None, tracing: "Tracing | None") -> None:
        self._access = access
        self._tracing = tracing

    def trace(self, header: Header) -> "Trace | None":
        """What a request is called in traces, sampled or not; None where none are made."""
        return None if self._tracing is None else self._tracing.begin(header)

    def saw(self, account: Account) -> None:
        """A request has ended."""
        if self._access is not None:
            self._access.put(account)
        if self._tracing is not None:
            self._tracing.put(account)

    async def close(self) -> None:
        """Hand on what is left."""
        both: list[Any] = [one for one in (self._access, self._tracing) if one is not None]
        await asyncio.gather(*(asyncio.to_thread(one.close) for one in both))


def witness(settings: Settings) -> Witness | None:
    """The witness that the settings ask for."""
    if not settings.access_log and not settings.traces:
        return None
    access = AccessLog(as_json=settings.log_format == "json") if settings.access_log else None
    tracing = None
    if settings.traces:
        from service.telemetry.spans import Tracing  # an extra, and slow to import

        tracing = Tracing()
    return Witness(access, tracing)
