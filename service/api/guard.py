"""ASGI middleware of what FastAPI serves: who may ask for it, decided before it is looked for."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.keyring import Keyring, presented
from service.access.keyring import Scope as Access
from service.api.responses import answer_error, error_response
from service.errors import ServiceError

# What a key must be for; None: no key is asked for. All other paths, also those that nobody
# serves, need a good key.
SCOPES: dict[str, Access | None] = {
    "/health/live": None,
    "/health/ready": None,
    "/metrics": "metrics",
}
PAGE = ("/docs", "/openapi.json")  # and what lies below the first


class Guard:
    """Around the FastAPI application."""

    def __init__(self, app: ASGIApp, keyring: Keyring | None, open_docs: bool) -> None:
        self.app = app
        self._keyring = keyring
        self._open_docs = open_docs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an exchange, or answer it with what is missing."""
        if scope["type"] == "http" and self._keyring is not None:
            needed = self._needed(scope["path"])
            try:
                if needed is not None:
                    self._keyring.admit(presented(dict(scope["headers"])), needed)
            except ServiceError as error:
                await answer_error(error, error_response)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _needed(self, path: str) -> Access | None:
        if self._open_docs and (path in PAGE or path.startswith("/docs/")):
            return None
        return SCOPES.get(path, "any")
