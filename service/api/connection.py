"""One connection, below HTTP: a limit for the head of a request, our own words for bad HTTP, and
the news that the caller hung up.

uvicorn keeps whatever a client sends before its body, however much that is, and answers what is not
HTTP as plain text that no metric counts. Here both become errors like all others. Nor does it
cancel a handler whose client has gone; ours is, so that its rows leave the queue before they run.
"""

import asyncio
from typing import cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service import metrics
from service.api.dialect import Front
from service.api.direct import Direct
from service.api.hangup import HANGUP, Hangup
from service.api.one_write import OneWrite
from service.api.responses import answer_error, error_response
from service.drain import DrainingProtocol
from service.errors import Malformed, ServiceError, TooLarge

LARGEST_HEAD = 65536  # bytes of a request line and its headers; one more read may be held


class Connection(DrainingProtocol):
    """uvicorn's HTTP protocol, draining, with a limit, errors in JSON and a short way to dialects.

    Requests on one connection are answered in their order, whichever way they take.
    """

    _head: int | None = None  # bytes of a head that has begun and not ended
    _hangup: Hangup
    _socket: asyncio.Transport
    _answers: OneWrite  # around it, for uvicorn

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller comes."""
        self._hangup = Hangup()
        self._socket = transport
        self._answers = OneWrite(transport)
        super().connection_made(cast(asyncio.Transport, self._answers))

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or was let go."""
        super().connection_lost(exc)
        self._hangup.happen()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse a head that grows beyond the limit."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                message = f"the head of the request has more than {LARGEST_HEAD} bytes; shorten it"
                self._refuse(TooLarge(message))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head = 0
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those after a chunked body are read by nobody."""
        if self._head is not None:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._head = None
        front = cast(Front, self.app)
        target = front.find_url(self.parser.get_method(), self.url)
        if target is None:
            self._pass_on()
            return
        before = self.cycle
        direct = Direct(self, self._socket, target, front.house, self._hangup)
        self.cycle = cast(RequestResponseCycle, direct)
        if before is None or before.response_complete:
            direct.begin()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _pass_on(self) -> None:
        """Let uvicorn begin, with what has come, as it would have."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.scope["state"][HANGUP] = self._hangup
        self.on_url(url)
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begin what has waited for its turn; a thousand of them do not pile up on the stack."""
        if isinstance(cycle, Direct):
            self.loop.call_soon(cycle.begin)
        else:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A piece of a body has come."""
        if isinstance(self.cycle, Direct):
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A body has ended."""
        if isinstance(self.cycle, Direct):
            self.cycle.finish_body()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has ended."""
        self._answers.end()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the bytes are not HTTP."""
        self._refuse(Malformed("this is not an HTTP/1.1 request; speak HTTP/1.1 and not TLS"))

    def _refuse(self, error: ServiceError) -> None:
        """Answer outside of any exchange, and hang up."""
        metrics.observe_request("unknown", str(error.status), 0.0)
        response = answer_error(error, error_response)
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = [STATUS_LINE[error.status], *(n + b": " + v + b"\r\n" for n, v in headers)]
        self.transport.write(b"".join(lines) + b"\r\n" + bytes(response.body))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """No line in the log for each: `read_body` tells the client where it matters."""
