"""ASGI middleware of what FastAPI serves: each exchange ends with an answer, counted and timed."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.keyring import presented
from service.api.responses import answer_unexpected, error_response
from service.drain import Drain
from service.telemetry import metrics
from service.telemetry.account import Account
from service.telemetry.request_id import HEADER as REQUEST_ID
from service.telemetry.request_id import request_id


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
        headers = dict(scope["headers"])
        name = request_id(headers.get(REQUEST_ID))
        witness = getattr(scope["app"].state, "witness", None)
        status, sent = metrics.CANCELLED, 0

        async def watch(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = str(message["status"])
                if status >= "400" or witness is not None or REQUEST_ID in headers:
                    message["headers"] = [*message["headers"], (REQUEST_ID, name.encode())]
                if self.drain.begun:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except (Exception, asyncio.CancelledError) as error:
            if status != metrics.CANCELLED:
                raise
            marks = {"request_id": name}
            await answer_unexpected(error, error_response, marks)(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            ended = time.perf_counter()
            metrics.observe_request(route, status, ended - started)
            if witness is not None:
                witness.saw(_account(scope, name, route, status, sent, started, ended))


def _account(
    scope: Scope, name: str, route: str, status: str, sent: int, arrived: float, ended: float
) -> Account:
    keyring = scope["app"].state.keyring
    client = scope.get("client")
    return Account(
        request_id=name,
        method=scope["method"],
        route=route,
        status=status,
        sent=sent,
        arrived=arrived,
        ended=ended,
        wall_ns=time.time_ns(),
        client=client and client[0],
        key=keyring and keyring.id_of(presented(dict(scope["headers"]))),
        answered=None,
    )
