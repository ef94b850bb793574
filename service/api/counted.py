"""ASGI middleware of what FastAPI serves: each exchange ends with an answer, counted and timed."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.exchange import CANCELLED
from service.api.responses import answer_unexpected, error_response
from service.drain import Drain
from service.telemetry import metrics


class Counted:
    """Around the whole FastAPI application."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP exchange through; anything else goes straight to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = CANCELLED

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                if self.drain.begun:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except (Exception, asyncio.CancelledError) as error:
            if status != CANCELLED:
                raise
            await answer_unexpected(error, error_response)(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            metrics.observe_request(route, status, time.perf_counter() - started)
