"""A wire dialect: the routes that share an error body.

`front` finds the route of a request, and calls its handler with the exchange.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.access.keyring import Scope as Access
from service.api.asked import Asked
from service.api.exchange import Exchange
from service.api.responses import Errors, Reply

Handler = Callable[[Exchange], Awaitable[Reply]]
Express = Callable[[Exchange, bytes], Asked | None]  # a body that is all there; None: the handler


@dataclass(frozen=True)
class Route:
    """One method and path of a dialect."""

    method: str
    path: str  # a template: /v2/models/{name}
    handler: Handler
    errors: Errors
    runs_model: bool = False  # nothing of it is read where there is no room
    scope: Access | None = "infer"  # what a key must be for; None: no key is asked for
    express: Express | None = None  # a shorter way than the handler, to the same answer


class Target(NamedTuple):
    """What a request asks for."""

    route: Route
    parameters: dict[str, str]  # of the path
    query: bytes = b""


class Dialect:
    """The routes of one wire dialect; what else lies below `prefix` is refused in its words."""

    def __init__(self, errors: Errors, *, prefix: str, tag: str) -> None:
        self.errors = errors
        self.prefix = prefix
        self.tag = tag
        self.routes: list[Route] = []
        self.documentation: list[dict[str, Any]] = []  # FastAPI's options, one for each route

    def get(
        self, path: str, *, scope: Access | None = "infer", **documentation: Any
    ) -> Callable[[Handler], Handler]:
        """Register the handler of a GET."""
        return self._register("GET", path, documentation, scope)

    def post(
        self,
        path: str,
        *,
        runs_model: bool = False,
        scope: Access | None = "infer",
        express: Express | None = None,
        **documentation: Any,
    ) -> Callable[[Handler], Handler]:
        """Register the handler of a POST."""
        return self._register("POST", path, documentation, scope, runs_model, express)

    def delete(
        self, path: str, *, scope: Access | None, **documentation: Any
    ) -> Callable[[Handler], Handler]:
        """Register the handler of a DELETE."""
        return self._register("DELETE", path, documentation, scope)

    def _register(
        self,
        method: str,
        path: str,
        documentation: dict[str, Any],
        scope: Access | None,
        runs_model: bool = False,
        express: Express | None = None,
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            route = Route(method, path, handler, self.errors, runs_model, scope, express)
            self.routes.append(route)
            self.documentation.append(documentation)
            return handler

        return register
