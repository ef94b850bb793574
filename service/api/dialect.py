"""A wire dialect: routes that share an error body, and the front door that finds them.

FastAPI's matching, dependency and response machinery costs more than a small model does. The routes
of a dialect pass by it: `Front` finds them in one table and calls the handler with the exchange.
FastAPI documents them, and serves everything else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastapi import FastAPI, Response
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from service import metrics
from service.api.exchange import CANCELLED, Exchange, House
from service.api.hangup import hangup_of
from service.api.responses import answer_error, answer_unexpected, no_route, wrong_method
from service.errors import ServiceError

Handler = Callable[[Exchange], Awaitable[Response]]
Errors = Callable[[ServiceError], Response]  # the dialect's own error body


@dataclass(frozen=True)
class Route:
    """One method and path of a dialect."""

    method: str
    path: str  # a template: /v2/models/{name}
    handler: Handler
    errors: Errors


class Dialect:
    """The routes of one wire dialect; what else lies below `prefix` is refused in its words."""

    def __init__(self, errors: Errors, *, prefix: str, tag: str) -> None:
        self.errors = errors
        self.prefix = prefix
        self.tag = tag
        self.routes: list[Route] = []
        self.documentation: list[dict[str, Any]] = []  # FastAPI's options, one for each route

    def get(self, path: str, **documentation: Any) -> Callable[[Handler], Handler]:
        """Register the handler of a GET."""
        return self._register("GET", path, documentation)

    def post(self, path: str, **documentation: Any) -> Callable[[Handler], Handler]:
        """Register the handler of a POST."""
        return self._register("POST", path, documentation)

    def _register(
        self, method: str, path: str, documentation: dict[str, Any]
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.routes.append(Route(method, path, handler, self.errors))
            self.documentation.append(documentation)
            return handler

        return register


class Front:
    """The ASGI application: routes of dialects by table, everything else by FastAPI."""

    house: House  # known once the service has started

    def __init__(self, app: FastAPI, dialects: Sequence[Dialect]) -> None:
        self.app = app
        self._dialects = sorted(dialects, key=lambda dialect: -len(dialect.prefix))
        self._routes = [
            (compile_path(route.path)[0], route) for one in dialects for route in one.routes
        ]
        self._find = lru_cache(maxsize=1024)(self._search)
        for one in dialects:
            _document(one, app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange."""
        found = self._find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        route, parameters = found
        exchange = Exchange(scope, receive, self.house, parameters)
        status = CANCELLED
        try:
            response = await _answer(route, exchange)
            if response is not None:
                status = str(response.status_code)
                if exchange.draining:
                    response.raw_headers.append((b"connection", b"close"))
                await response(scope, receive, send)
        finally:
            metrics.observe_request(route.path, status, exchange.seconds)

    def _search(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Who answers, also where the answer is that there is no such route; None: FastAPI."""
        others: list[Route] = []
        for pattern, route in self._routes:
            if matched := pattern.match(path):
                if route.method == method:
                    return route, matched.groupdict()
                others.append(route)
        if others:
            allowed = [route.method for route in others]
            return _refusal(others[0].errors, wrong_method(method, path, allowed)), {}
        for dialect in self._dialects:
            if path.startswith(f"{dialect.prefix}/"):
                return _refusal(dialect.errors, no_route(path)), {}
        return None


async def _answer(route: Route, exchange: Exchange) -> Response | None:
    """The handler's answer or its error in the dialect's words; None for a caller who is gone."""
    hangup = hangup_of(exchange.scope)
    hangup.task = asyncio.current_task()
    try:
        return await route.handler(exchange)
    except ServiceError as error:
        return answer_error(error, route.errors)
    except (Exception, asyncio.CancelledError) as error:
        if hangup.happened or isinstance(error, ClientDisconnect):
            metrics.refuse(CANCELLED)
            return None
        return answer_unexpected(error, route.errors)
    finally:
        hangup.task = None


def _refusal(errors: Errors, error: ServiceError) -> Route:
    async def refuse(_: Exchange) -> Response:
        raise error

    return Route("", "unknown", refuse, errors)


def _document(dialect: Dialect, app: FastAPI) -> None:
    for route, options in zip(dialect.routes, dialect.documentation, strict=True):
        app.add_api_route(
            route.path,
            _documented(route.handler),
            methods=[route.method],
            tags=[dialect.tag],
            **options,
        )


def _documented(handler: Handler) -> Callable[[], Awaitable[None]]:
    """What FastAPI is told instead of a handler, whose argument it could not fill; never called."""

    async def answered_by_the_front() -> None:
        raise NotImplementedError  # `Front` finds these routes before FastAPI does

    answered_by_the_front.__name__ = handler.__name__
    answered_by_the_front.__doc__ = handler.__doc__
    return answered_by_the_front
