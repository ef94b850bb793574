"""What every exchange goes through: a body within its limit, a caller who may hang up, a count.

uvicorn does not cancel a handler whose client has gone; `unless_gone` does, so that the rows of a
caller who hung up leave the queue before they are run.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.api.responses import unexpected_response
from service.drain import Drain
from service.errors import Malformed, TooLarge

Answer = TypeVar("Answer")

_UNANSWERED = "cancelled"  # in place of a status


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: more than `limit` bytes are announced or arrive; the rest is not read.
        Malformed: the body was lost, because the client asked to leave HTTP/1.1.
        ClientDisconnect: the caller hung up.
    """
    announced = request.headers.get("content-length", "0")  # the parser lets only digits pass
    if int(announced) > limit:
        raise TooLarge(f"the body has {announced} bytes, the limit is {limit}; split the request")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes; split the request")
        chunks.append(chunk)
    if not size and "upgrade" in request.headers:
        raise Malformed("the body is lost with a header Upgrade; ask in HTTP/1.1 without it")
    return b"".join(chunks)


async def unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do the work, but cancel it when the caller hangs up. The body must have been read.

    Raises:
        ClientDisconnect: the caller hung up first.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # the next message can only be a disconnect
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()


class Counted:
    """ASGI middleware: each exchange ends with an answer, is counted and timed."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP exchange through; anything else goes straight to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = _UNANSWERED

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                if self.drain.begun:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except ClientDisconnect:
            metrics.cancelled.inc()
        except (Exception, asyncio.CancelledError) as error:
            if status != _UNANSWERED:
                raise
            await unexpected_response(error)(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            metrics.requests.labels(route, status).inc()
            metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
