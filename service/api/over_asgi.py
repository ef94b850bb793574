"""An exchange of a dialect behind any ASGI server."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service.api.exchange import Exchange, too_long
from service.api.hangup import hangup_of
from service.house import House


class OverAsgi(Exchange):
    """Its body comes in messages."""

    __slots__ = ("_client", "_receive")

    def __init__(
        self, scope: Scope, receive: Receive, house: House, parameters: dict[str, str]
    ) -> None:
        query: bytes = scope["query_string"]
        super().__init__(house, parameters, query, dict(scope["headers"]), hangup_of(scope))
        self._receive = receive
        self._client: tuple[str, int] | None = scope.get("client")

    @property
    def client(self) -> str | None:
        """The caller's address."""
        return None if self._client is None else self._client[0]

    async def _read(self, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            if not chunks and not more:
                return chunk  # nearly always
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise too_long(limit)
            if not more:
                return b"".join(chunks)
