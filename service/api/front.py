"""The front door: finds the route of a request in one table, lets it in, answers it, counts it.

FastAPI's matching, dependency and response machinery costs more than a small model does, so the
routes of dialects pass by it; it documents them, and serves everything else. Behind uvicorn they
pass by ASGI, too: see `direct`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from service.api.cors import Cors
from service.api.dialect import Dialect, Handler, Route, Target
from service.api.documentation import error_responses, path_parameters
from service.api.exchange import Exchange
from service.api.heads import Heads
from service.api.over_asgi import OverAsgi
from service.api.responses import (
    Errors,
    Reply,
    answer_error,
    answer_unexpected,
    no_route,
    wrong_method,
)
from service.errors import ServiceError
from service.house import House
from service.telemetry import metrics


class Front:
    """The ASGI application: routes of dialects by table, everything else by FastAPI."""

    house: House  # known once the service has started

    def __init__(self, app: FastAPI, dialects: Sequence[Dialect], cors: Cors | None = None) -> None:
        self.app = app
        self._cors = cors
        self._dialects = sorted(dialects, key=lambda dialect: -len(dialect.prefix))
        self._routes = [
            (compile_path(route.path)[0], route) for one in dialects for route in one.routes
        ]
        self.heads = Heads()  # that came before
        self.find = lru_cache(maxsize=1024)(self._search)
        self.find_url = lru_cache(maxsize=1024)(self._search_url)
        for one in dialects:
            _document(one, app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange."""
        found = self.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        exchange = OverAsgi(scope, receive, self.house, found.parameters)
        reply = None
        try:
            reply = refuse(found.route, exchange) or await answer(found.route, exchange)
            if reply is not None:
                reply.raw_headers += exchange.own_headers(reply.status_code)
                if exchange.draining:
                    reply.raw_headers.append((b"connection", b"close"))
                await reply(scope, receive, send)
        finally:
            conclude(found.route, exchange, reply)

    def _search_url(self, method: bytes, url: bytes) -> Target | None:
        """The same for a request line as the parser gives it."""
        parsed = httptools.parse_url(url)
        found = self._search(method.decode("ascii"), unquote(parsed.path.decode("ascii")))
        return found and found._replace(query=parsed.query or b"")

    def _search(self, method: str, path: str) -> Target | None:
        """Who answers, also where the answer is that there is no such route; None: FastAPI."""
        others: list[Route] = []
        for pattern, route in self._routes:
            if matched := pattern.match(path):
                if route.method == method:
                    return Target(route, matched.groupdict())
                others.append(route)
        if others and method == "OPTIONS" and self._cors is not None:
            return _preflight(self._cors, others[0])
        if others:
            allowed = [route.method for route in others]
            return _refusal(method, others[0].errors, wrong_method(method, path, allowed))
        for dialect in self._dialects:
            if path.startswith(f"{dialect.prefix}/"):
                return _refusal(method, dialect.errors, no_route(path))
        return None


def refuse(route: Route, exchange: Exchange) -> Reply | None:
    """The answer to who may not do this or for whom there is no room; None for all others."""
    try:
        exchange.admit(route.scope)
        if not route.runs_model:
            return None
        timeout_s = exchange.timeout_s
    except ServiceError as error:
        return answer_error(error, route.errors, exchange.marks)
    full = exchange.house.inference.no_room(timeout_s)
    return None if full is None else answer_error(full, route.errors, exchange.marks)


async def answer(route: Route, exchange: Exchange) -> Reply | None:
    """The handler's answer or its error in the dialect's words; None for a caller who is gone."""
    hangup = exchange.hangup
    task = asyncio.current_task()
    hangup.stop = None if task is None else task.cancel
    try:
        return await route.handler(exchange)
    except ServiceError as error:
        return answer_error(error, route.errors, exchange.marks)
    except (Exception, asyncio.CancelledError) as error:
        if hangup.happened or isinstance(error, ClientDisconnect):
            metrics.refuse(metrics.CANCELLED)
            return None
        return answer_unexpected(error, route.errors, exchange.marks)
    finally:
        hangup.stop = None


def abandon(route: Route, exchange: Exchange) -> None:
    """Count an exchange without a task whose caller has gone before the answer."""
    metrics.refuse(metrics.CANCELLED)
    conclude(route, exchange, None)


def conclude(route: Route, exchange: Exchange, reply: Reply | None) -> None:
    """Count an exchange that has ended, with an answer or with nobody to give it to."""
    status = metrics.CANCELLED if reply is None else str(reply.status_code)
    metrics.observe_request(route.path, status, exchange.seconds)
    if exchange.house.witness is not None:
        sent = 0 if reply is None else reply.sent
        exchange.house.witness.saw(exchange.account(route.method, route.path, status, sent))


def _refusal(method: str, errors: Errors, error: ServiceError) -> Target:
    async def refuse(_: Exchange) -> Reply:
        raise error.with_traceback(None)  # it is raised again and again, and would keep them all

    return Target(Route(method, "unknown", refuse, errors, scope="any"), {})


def _preflight(cors: Cors, route: Route) -> Target:
    async def allow(_: Exchange) -> Reply:
        return cors.preflight()

    return Target(Route("OPTIONS", route.path, allow, route.errors, scope=None), {})


def _document(dialect: Dialect, app: FastAPI) -> None:
    for route, options in zip(dialect.routes, dialect.documentation, strict=True):
        extra = dict(options.get("openapi_extra", {}))
        extra["parameters"] = [*path_parameters(route.path), *extra.get("parameters", [])]
        said = {
            "openapi_extra": extra,
            "responses": _errors_of(route, extra["parameters"]) | options.get("responses", {}),
        }
        app.add_api_route(
            route.path,
            _documented(route.handler),
            methods=[route.method],
            tags=[dialect.tag],
            **(options | said),
        )


def _errors_of(route: Route, parameters: list[dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    of = route.method, parameters, route.scope, route.runs_model
    return error_responses(*of, route.errors)


def _documented(handler: Handler) -> Callable[[], Awaitable[None]]:
    """What FastAPI is told instead of a handler, whose argument it could not fill; never called."""

    async def answered_by_the_front() -> None:
        raise NotImplementedError  # `Front` finds these routes before FastAPI does

    answered_by_the_front.__name__ = handler.__name__
    answered_by_the_front.__doc__ = handler.__doc__
    return answered_by_the_front
