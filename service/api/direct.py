"""An exchange of a dialect, answered without ASGI: from the parser to the handler, to the socket.

uvicorn's cycle costs more than its parser: a dictionary for each head and each part, coroutines
that carry them, and headers that are judged one by one. Here the body is collected where the parser
leaves it, and an answer is one write. Whom there is no room for is answered when the head is
complete, without a task; the body is let go as it comes.
"""

import asyncio
from contextlib import aclosing
from typing import ClassVar

from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.asking import ask
from service.api.dialect import Express
from service.api.exchange import Exchange, too_long
from service.api.front import abandon, answer, conclude, refuse
from service.api.hangup import Hangup
from service.api.heads import Head
from service.api.one_write import CONTINUE
from service.api.responses import Reply, answer_unexpected, mistake
from service.errors import ServiceError
from service.house import House

_LAST_CHUNK = b"0\r\n\r\n"


class Direct(Exchange):
    """Stands where uvicorn's protocol expects a cycle, as far as it asks for one."""

    message_event: ClassVar[asyncio.Event] = asyncio.Event()  # nobody waits for it
    __slots__ = (
        "_announces",
        "_awaited",
        "_chunks",
        "_connection",
        "_is_let_in",
        "_late",
        "_more",
        "_route",
        "_transport",
        "_waiter",
        "disconnected",
        "head",
        "keep_alive",
        "response_complete",
        "size",
    )

    def __init__(
        self,
        connection: HttpToolsProtocol,
        transport: asyncio.Transport,
        head: Head,
        house: House,
        hangup: Hangup,
        body: bytes | None = None,
        is_let_in: bool = False,
    ) -> None:
        """`body` where all of it has come; else `feed` brings it, and `finish_body` its end.

        `is_let_in`: there is room, and everyone may ask.
        """
        target = head.target
        super().__init__(house, target.parameters, target.query, head.headers, hangup)
        self.head = head
        self._is_let_in = is_let_in
        self._connection = connection
        self._transport = transport
        self._route = target.route
        self._announces = head.announces
        self._chunks: list[bytes] = [] if body is None else [body]
        self.size = 0 if body is None else len(body)  # bytes of the body that have come
        self._more = body is None  # will come
        self._waiter: asyncio.Future[None] | None = None  # who wants more
        self._awaited: Express | None = None  # who goes on when the body is there
        self._late: ServiceError | None = None  # what is said of a body that did not come in time
        self.keep_alive = head.keep_alive
        self.disconnected = False
        self.response_complete = False

    @property
    def client(self) -> str | None:
        """The caller's address."""
        address = self._connection.client
        return None if address is None else address[0]

    def begin(self) -> None:
        """Refuse at once, or go on when the body is there where that may spare a task."""
        reply = None if self._is_let_in else refuse(self._route, self)
        if reply is not None or self._route.express is None or self.hangup.happened:
            self._answer(reply)
        elif not self._more:
            self._go(self._route.express)
        elif self._is_soon_there():
            self._awaited = self._route.express
            self.house.drain.held.add(self)
            self.hangup.stop = self._leave
        else:
            self._answer(None)

    def cut_off(self) -> None:
        """Tell the caller that the service leaves before the body has come."""
        self._release()
        self._answer(answer_unexpected(asyncio.CancelledError(), self._route.errors))

    def _is_soon_there(self) -> bool:
        """Whether the body is on its way and short enough for the connection's own memory."""
        announced = int(self._by_name.get(b"content-length", b"0"))
        return not self._announces and 0 < announced <= HIGH_WATER_LIMIT

    def _leave(self) -> None:
        """The caller has gone before its body had come."""
        self._release()
        abandon(self._route, self)

    def _go(self, express: Express) -> None:
        """Ask the engine, or the handler where the body is not a usual one."""
        ask(express, b"".join(self._chunks), self._route, self, self._answer)

    def _answer(self, reply: Reply | None) -> None:
        """Send an answer, no faster than the caller reads; None lets the handler find one."""
        if reply is not None and not self._connection.flow.write_paused:
            self._write(reply)
            self._end()
            conclude(self._route, self, reply)
            return
        task = self._connection.loop.create_task(self._run(reply))
        self._connection.tasks.add(task)
        task.add_done_callback(self._connection.tasks.discard)

    def feed(self, chunk: bytes) -> None:
        """A piece of the body has come."""
        if self.response_complete:
            return
        self._chunks.append(chunk)
        self.size += len(chunk)
        if self._waiter is not None:
            self._wake()
        elif self.size > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()

    def finish_body(self) -> None:
        """The body is complete."""
        self._more = False
        self._resume()
        if self.response_complete and not self.keep_alive:
            self._transport.close()

    def give_up(self, error: ServiceError) -> None:
        """The body will not come; whoever wants it is told so, and then we hang up."""
        self._late = error
        self._more = self.keep_alive = False
        self._resume()
        if self.response_complete:
            self._transport.close()

    async def _read(self, limit: int) -> bytes:
        if self._announces and not self._transport.is_closing():
            self._transport.write(CONTINUE)
            self._announces = False
        while self._more and self.size <= limit and not self.hangup.happened:
            self._connection.flow.resume_reading()
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        self._waiter = None
        if self.hangup.happened:
            raise ClientDisconnect
        if self._late is not None:
            raise self._late
        if self.size > limit:
            raise too_long(limit)
        body = b"".join(self._chunks)
        self._chunks.clear()  # the connection knows this exchange until the next one
        return body

    def _resume(self) -> None:
        """Nothing more of the body will come: whoever waits for it goes on."""
        self._wake()
        express = self._release()
        if express is not None and self._late is None:
            self._go(express)
        elif express is not None:
            self._answer(None)

    def _release(self) -> Express | None:
        """Who was to go on when the body is there, and does not wait for it any more."""
        express, self._awaited = self._awaited, None
        if express is not None:
            self.house.drain.held.discard(self)
            self.hangup.stop = None
        return express

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _run(self, reply: Reply | None) -> None:
        try:
            reply = reply or await answer(self._route, self)
            if reply is not None:
                await self._deliver(reply)
        finally:
            conclude(self._route, self, reply)

    async def _deliver(self, reply: Reply) -> None:
        """Send an answer, no faster than the caller reads it."""
        flow = self._connection.flow
        try:
            if flow.write_paused:
                await flow.drain()
            self._write(reply)
            if reply.parts is not None:
                async with aclosing(reply.parts) as parts:
                    async for part in parts:
                        if flow.write_paused:
                            await flow.drain()
                        if self.hangup.happened:
                            return
                        reply.sent += len(part)
                        self._transport.write(self._piece(part))
                self._transport.write(b"" if self.head.is_old else _LAST_CHUNK)
        except BaseException as error:  # half an answer is none
            self._transport.close()
            if not isinstance(error, Exception):
                raise
            mistake(error, self.marks)
            return
        self._end()

    def _write(self, reply: Reply) -> None:
        """The head, and the body as far as it is there."""
        if self.hangup.happened:
            return
        if self.draining:
            self.keep_alive = False
        texts = [STATUS_LINE[reply.status_code], default_headers(self._connection)]
        for name, value in (*reply.raw_headers, *self.own_headers(reply.status_code)):
            texts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            texts.append(b"connection: close\r\n")
        if reply.parts is not None and not self.head.is_old:
            texts.append(b"transfer-encoding: chunked\r\n")
        texts.append(b"\r\n")
        if not self.head.is_head:
            texts.append(reply.body if reply.parts is None else self._piece(reply.body))
        if self.keep_alive and reply.parts is None:
            self.house.outbox.write(self._transport, b"".join(texts))
        else:  # what follows at once is not held: the end, or more of the answer
            self._transport.write(b"".join(texts))

    def _piece(self, part: bytes) -> bytes:
        """A part of an answer whose length nobody knows; HTTP/1.0 tells its end by hanging up."""
        if self.head.is_old or not part:  # an empty chunk would be the last
            return part
        return b"%x\r\n%b\r\n" % (len(part), part)

    def _end(self) -> None:
        """Hang up where that was agreed on, but within a body the caller would lose the answer."""
        self.response_complete = True
        self._chunks.clear()
        if not self.keep_alive and (self._announces or not self._more):
            self._transport.close()
        self._connection.on_response_complete()


_defaults: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


def default_headers(connection: HttpToolsProtocol) -> bytes:
    """The date: uvicorn makes a new list of it once in a second."""
    global _defaults
    given = connection.server_state.default_headers
    if given is not _defaults[0]:
        _defaults = given, b"".join([b"%b: %b\r\n" % header for header in given])
    return _defaults[1]
