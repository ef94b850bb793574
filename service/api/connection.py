"""One connection, below HTTP: the short way to a dialect, limits of size and of time, our own words
for bad HTTP, and the news that the caller hung up.

Requests of dialects are answered by `direct`, all others by uvicorn through ASGI, one after the
other in the order in which they came.

uvicorn keeps whatever a client sends before its body, however much that is, and answers what is not
HTTP as plain text that no metric counts. Here both become errors like all others. Nor does it
cancel a handler whose client has gone; ours is, so that its rows leave the queue before they run.
And it waits for ever for the rest of a head or a body, and for a caller who does not read.
"""

import asyncio
from enum import Enum
from typing import cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.api.direct import Direct, default_headers
from service.api.front import Front
from service.api.hangup import HANGUP, Hangup
from service.api.heads import Head, Heads, read_head
from service.api.one_write import OneWrite
from service.api.patience import Patience
from service.api.responses import answer_error, error_response
from service.api.turnstile import judge
from service.api.unread import unread_s
from service.drain import DrainingProtocol
from service.errors import Malformed, ServiceError, TooLarge, TooSlow, Unavailable
from service.house import House
from service.settings import Settings
from service.telemetry import metrics
from service.telemetry.account import outside
from service.telemetry.request_id import HEADER as REQUEST_ID
from service.telemetry.request_id import request_id

_DEFAULTS = Settings.model_construct()  # where uvicorn runs another application


class _Part(Enum):
    """What of a request has begun to come and has not come to its end."""

    HEAD = "head"
    BODY = "body"


class Connection(DrainingProtocol):
    """uvicorn's HTTP protocol, draining, with limits and a short way to the dialects."""

    _head: int | None = None  # bytes of a head that has not ended, after the read it began in
    _coming: _Part | None = None
    _heads: Heads | None = None  # None where the parser must see everything
    _has_read = False
    _unread_s = 0.0  # for which what has just come had waited
    patience: Patience
    _settings = _DEFAULTS
    _hangup: Hangup
    _socket: asyncio.Transport
    _answers: OneWrite  # around it, for uvicorn
    _front: Front | None  # None where uvicorn runs another application
    _house: House  # of the front

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller comes."""
        self._hangup = Hangup()
        self._socket = transport
        self._answers = OneWrite(transport)
        self._front = self.app if isinstance(self.app, Front) else None
        if self._front is not None:
            self._heads, self._house = self._front.heads, self._front.house
            self._settings = self._house.settings
        self.patience = Patience(self.loop, self._give_up)
        super().connection_made(cast(asyncio.Transport, self._answers))
        self.patience.wait(self._settings.head_timeout_s)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(Unavailable("there are too many connections; come again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or was let go."""
        super().connection_lost(exc)
        self.patience.leave()
        self._hangup.happen()
        self.cycle = cast(RequestResponseCycle, None)  # which knows its connection, too

    def data_received(self, data: bytes) -> None:
        """Answer a request with a known head, or feed the parser."""
        self._unread_s = 0.0 if self._has_read else unread_s(self._socket)
        self._has_read = True
        begins, before = self._coming is None, self.cycle
        known = self._heads.find(data) if begins and self._heads is not None else None
        if known is not None:
            self.patience.rest()
            self._begin(*known)
            return
        self._parse(data)
        if begins and self.cycle is not before:
            self._learn(data)

    def _parse(self, data: bytes) -> None:
        """Feed the parser; refuse a head that grows beyond the limit."""
        if self._head is not None:
            self._head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # which `Exchange.content` tells where it matters
            self._heads = None  # the parser reads no more, and nobody else should
        except httptools.HttpParserError:
            self._heads = None
            self._refuse(Malformed("this is not an HTTP/1.1 request; speak HTTP/1.1 and not TLS"))
            return
        limit = self._settings.max_head_bytes
        if self._head and self._head > limit and not self.transport.is_closing():
            message = f"the head of the request has more than {limit} bytes; shorten it"
            self._refuse(TooLarge(message))
        if self._coming is not None and not self.patience.waits:
            self.patience.wait(self._time_for(self._coming))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head = 0
        self.url = b""
        self.headers = []
        self._await(_Part.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those after a chunked body are read by nobody."""
        if self._head is not None:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._head = None
        self._await(_Part.BODY)
        target = None
        if self._front is not None:
            target = self._front.find_url(self.parser.get_method(), self.url)
        if target is None:
            self._pass_on()
        else:
            self._begin(read_head(target, self.headers, self.parser))

    def _begin(self, head: Head, body: bytes | None = None) -> None:
        """Answer a request of a dialect when those before it are answered.

        Where all of it has come, whom there is no room for is told so at once.
        """
        is_next = self.cycle is None or self.cycle.response_complete
        is_let_in = False
        if is_next and body is not None and not self.flow.write_paused:
            verdict = judge(head, self._house, self._unread_s, default_headers(self))
            if isinstance(verdict, bytes):
                self._socket.write(verdict)
                self.server_state.total_requests += 1
                self._rest()
                return
            is_let_in = verdict
        direct = Direct(self, self._socket, head, self._house, self._hangup, body, is_let_in)
        direct.arrived -= self._unread_s
        self.cycle = cast(RequestResponseCycle, direct)
        if is_next:
            direct.begin()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _learn(self, data: bytes) -> None:
        """Remember the head of what has just come, if that was one whole request of a dialect."""
        if isinstance(self.cycle, Direct) and self._coming is None and self._heads is not None:
            self._heads.learn(data, self.cycle.head, self.cycle.size)

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
        self._await(None)
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
            self.patience.wait(self.timeout_keep_alive)  # for the caller to read the rest
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    def pause_writing(self) -> None:
        """The caller reads more slowly than it is answered."""
        super().pause_writing()
        if self._coming is None:
            self.patience.wait(self.timeout_keep_alive)

    def resume_writing(self) -> None:
        """The caller has read on."""
        super().resume_writing()
        if self._coming is None and self.cycle is not None and self.cycle.response_complete:
            self._rest()
        elif self._coming is None:
            self.patience.rest()

    def _await(self, part: _Part | None) -> None:
        """Something has come, and this is next; patience begins where it does not come at once."""
        self._coming = part
        self.patience.rest()

    def _rest(self) -> None:
        """Nothing is asked from now on."""
        if self._coming is None:
            self.patience.wait(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Called by `DrainingProtocol`: what is idle stays open for the grace period."""
        if self._coming is None:
            self.patience.rest()

    def _time_for(self, part: _Part) -> float:
        settings = self._settings
        return settings.head_timeout_s if part is _Part.HEAD else settings.body_timeout_s

    def _give_up(self) -> None:
        """Hang up on who keeps us waiting; those who have begun to ask are told why.

        Who waits for us is no such caller: an answer before this one is not ready, or nobody here
        has read what has come.
        """
        part, cycle = self._coming, self.cycle
        busy = cycle is not None and not cycle.response_complete
        is_ours = (part is _Part.HEAD and busy) or (part is _Part.BODY and self.flow.read_paused)
        if part is None or is_ours:
            if self.flow.write_paused or self.transport.is_closing():
                self._socket.abort()  # closing would wait for a caller who does not read
            elif part is None:
                self.transport.close()
            else:
                self.patience.wait(self._time_for(part))
        elif part is _Part.HEAD:
            self._refuse(self._too_slow(part))
        elif isinstance(cycle, Direct):
            cycle.give_up(self._too_slow(part))
        else:
            self.transport.close()

    def _too_slow(self, part: _Part) -> TooSlow:
        message = f"the {part.value} of the request did not come within {self._time_for(part):g} s"
        return TooSlow(message)

    def _refuse(self, error: ServiceError) -> None:
        """Answer outside of any exchange, and hang up."""
        metrics.observe_request("unknown", str(error.status), 0.0)
        response = answer_error(error, error_response)
        name = self._account_for(error, response.sent)
        headers = [*response.raw_headers, (REQUEST_ID, name), (b"connection", b"close")]
        lines = [STATUS_LINE[error.status], *(n + b": " + v + b"\r\n" for n, v in headers)]
        self.transport.write(b"".join(lines) + b"\r\n" + bytes(response.body))
        self.transport.close()
        self._await(None)
        self.patience.wait(self.timeout_keep_alive)  # for the caller to read it

    def _account_for(self, error: ServiceError, sent: int) -> bytes:
        """Tell the witness of what was no request; the id it is given."""
        name = request_id(None)
        witness = None if self._front is None else self._house.witness
        if witness is not None:
            client = self.client and self.client[0]
            witness.saw(outside(name, str(error.status), sent, client))
        return name.encode()
