"""Which pages of other origins may ask from a browser, and what they may read: none unless named.

No cookie and no key of the browser's own is ever sent: a page must bring its key itself.
"""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.api.responses import Headers, Reply

METHODS = ("GET", "POST", "DELETE")
_SPLIT = "inference-header-content-length"
SENT = (
    "authorization",
    "content-encoding",
    "content-type",
    "gatecast-timeout-ms",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-request-id",
    _SPLIT,
)
READ = (
    "gatecast-model",
    "retry-after",
    "server-timing",
    "traceresponse",
    "x-request-id",
    _SPLIT,
)
REMEMBERED_S = 600  # for which a browser does not ask again whether it may


class Cors:
    """The origins that are allowed; `*` is all of them."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self.origins = origins
        self._known = frozenset(origin.encode() for origin in origins)

    def around(self, app: FastAPI) -> None:
        """The same for what FastAPI serves."""
        app.add_middleware(
            CORSMiddleware,
            allow_origins=self.origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=READ,
            max_age=REMEMBERED_S,
        )

    def headers(self, origin: bytes | None) -> Headers:
        """What an answer tells the browser of a page; nothing to a page that is not allowed."""
        if origin is None:
            return []
        if b"*" in self._known:
            allowed = b"*"
        elif origin in self._known:
            allowed = origin
        else:
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", ", ".join(READ).encode()),
            (b"vary", b"origin"),
        ]

    def preflight(self) -> Reply:
        """The answer to a browser that asks whether a page may ask; its origin is judged later."""
        headers = [
            (b"access-control-allow-methods", ", ".join(METHODS).encode()),
            (b"access-control-allow-headers", ", ".join(SENT).encode()),
            (b"access-control-max-age", b"%d" % REMEMBERED_S),
        ]
        return Reply(b"", media=b"text/plain", headers=headers)
