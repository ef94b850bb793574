"""One connection, below HTTP: the short way to a dialect, a limit for the head of a request, our
own words for bad HTTP, and the news that the caller hung up.

Requests of dialects are answered by `direct`, all others by uvicorn through ASGI, one after the
other in the order in which they came.

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
    """uvicorn's HTTP protocol, draining, with a limit and a short way to the dialects."""

    _head: int | None = None  # bytes of a head that has not ended, after the read it began in
    _idle_since: float | None = None  # seconds of the loop's clock, where nothing is asked
    _hangup: Hangup
    _socket: asyncio.Transport
    _answers: OneWrite  # around it, for uvicorn
    _front: Front | None  # None where uvicorn runs another application

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller comes."""
        self._hangup = Hangup()
        self._socket = transport
        self._answers = OneWrite(transport)
        self._front = self.app if isinstance(self.app, Front) else None
        super().connection_made(cast(asyncio.Transport, self._answers))

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or was let go."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self._hangup.happen()
        self.cycle = cast(RequestResponseCycle, None)  # which knows its connection, too

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse a head that grows beyond the limit."""
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head and self._head > LARGEST_HEAD and not self.transport.is_closing():
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
        front, target = self._front, None
        if front is not None:
            target = front.find_url(self.parser.get_method(), self.url)
        if front is None or target is None:
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
        if self.cycle.response_complete:  # before its body had come
            self._rest()

    def on_response_complete(self) -> None:
        """An answer has ended; the next request that waits has its turn."""
        self._answers.end()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing is asked from now on."""
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Called by uvicorn where a connection is not idle any more.

        One timer for each request would cost as much as the parser, so it is left to ring.
        """
        self._idle_since = None

    def _look_in(self, after_s: float) -> None:
        ring = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(after_s, ring)

    def timeout_keep_alive_handler(self) -> None:
        """Hang up if nothing was asked for so long; else look in again when that might be."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_in(left)
        else:
            self.transport.close()

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
        """No line in the log for each: `Exchange.content` tells the client where it matters."""
